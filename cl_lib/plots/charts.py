"""Accuracy matrices, and losses over a plane."""

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from cl_lib.plots.look import (
    COLOURS,
    FONT,
    NARROW,
    WIDTH,
    Series,
    axes_for,
    band_of,
    given,
    looks_of,
    require,
    style,
)
from cl_lib.plots.narrow import alone, legend_below, when_narrow

_TITLE = "accuracy in %"


@style()
def accuracy_matrix(matrix, *, names=None, ax=None) -> Figure:
    """Accuracy in percent after each task (rows) on each task (columns); framed: just learned.

    Parameters
    ----------
    matrix : array of shape (T, T) or (replicas, T, T)
        In [0, 1]; replicas give the mean with the half width of its 95 % interval. NaN in all: no number.
    names : list of T str, optional
        By default task 1, 2, ...
    ax : Axes, optional
        As in :func:`lines`.

    Raises
    ------
    ValueError
        If the matrix is not square, is not in [0, 1], or there are not T names.
    """
    matrix = np.asarray(matrix, dtype=float)
    square = matrix.ndim in (2, 3) and matrix.shape[-1] == matrix.shape[-2] > 0
    require(square, "matrix", matrix, "(T, T) or (replicas, T, T)")
    outside = matrix[(matrix < 0) | (matrix > 1)]
    if outside.size:
        raise ValueError(
            f"matrix holds {outside[0]:g}, but accuracies are in [0, 1]: divide those in percent by 100."
        )
    n = matrix.shape[-1]
    names = [f"task {k + 1}" for k in range(n)] if names is None else list(names)
    if len(names) != n:
        raise ValueError(f"names has {len(names)} entries, but the matrix covers {n} tasks.")
    means, lows, _ = band_of(matrix.reshape(-1, n * n), "matrix", n * n).reshape(3, n, n)
    ax = axes_for(ax, min(WIDTH, 120 + 88 * n), 44 * n + 56)
    fill = np.full((n, n, 4), mpl.colors.to_rgba(COLOURS["task 1"]))
    fill[..., 3] = 0.6 * np.nan_to_num(means)
    ax.pcolormesh(fill, edgecolors="white", linewidth=2)
    for i, j in np.argwhere(np.isfinite(means)):
        _write_cell(ax, j + 0.5, i + 0.5, 100 * means[i, j], 100 * (means - lows)[i, j])
    when_narrow(ax, _shrink_cells, list(ax.texts))
    for k in range(n):
        ax.add_patch(mpl.patches.Rectangle((k, k), 1, 1, fill=False, linewidth=1.5, clip_on=False))
    middles = np.arange(n) + 0.5
    ax.set_yticks(middles, [f"after {name}" for name in names])
    # Ten columns leave no room to repeat the word.
    ax.set_xticks(middles, [f"on {names[0]}", *(name.removeprefix("task ") for name in names[1:])])
    ax.set(ylim=(n, 0))
    ax.set_title(_TITLE, pad=14)
    ax.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)
    ax.grid(False)
    return ax.figure


def _write_cell(ax, x: float, y: float, mean: float, half: float) -> None:
    several = np.isfinite(half)
    ax.text(x, y - 0.1 * several, f"{mean:.1f}", ha="center", va="center")
    if several:
        ax.text(x, y + 0.26, f"±{half:.1f}", ha="center", va="center", fontsize=FONT - 3)


def _shrink_cells(ax, numbers) -> None:
    """Let the numbers shrink with their cells; the title says which of the short names are whose."""
    rows, columns = (
        [label.get_text() for label in labels] for labels in (ax.get_yticklabels(), ax.get_xticklabels())
    )
    rows = [name.removeprefix("after ").removeprefix("task ") for name in rows]
    columns = [name.removeprefix("on ").removeprefix("task ") for name in columns]
    longest = max(map(len, [*rows, *columns, ""])) * FONT / 2
    cell = max(24, (NARROW - longest) / max(1, len(columns)))
    ax.set_yticks(ax.get_yticks(), rows)
    ax.set_xticks(ax.get_xticks(), columns, rotation=90 if longest > cell else 0)
    if ax.get_title(loc="left") == _TITLE:
        ax.set_title(f"{_TITLE} after (row) on (column)", pad=14)
    for number in numbers:
        number.set_fontsize(number.get_fontsize() * min(1, cell / 36))


@style()
def landscape(
    losses,
    paths=None,
    points=None,
    *,
    xlim,
    ylim,
    xlabel,
    ylabel,
    levels=None,
    styles=None,
    ax=None,
) -> Figure:
    """Losses over a plane as contours, shaded where each is almost solved, with paths and points.

    Parameters
    ----------
    losses : dict
        ``{label: f}`` with ``f(x, y)`` of two arrays giving an array of their shape.
    paths : dict, optional
        ``{label: array of shape (steps, 2)}``, drawn with an arrow at the end.
    points : dict, optional
        ``{label: (x, y)}``.
    xlim, ylim : (float, float)
    xlabel, ylabel : str
    levels : rising sequence, optional
        The contours' loss values, the same for each loss; by default evenly spaced in a round bowl.
    styles, ax : optional
        As in :func:`lines`.

    Raises
    ------
    ValueError
        If a loss or a path has the wrong shape, or a loss is constant or not finite.
    """
    x, y = np.meshgrid(np.linspace(*xlim, 161), np.linspace(*ylim, 161))
    heights = {label: _heights(label, loss, x, y) for label, loss in given(losses).items()}
    paths = {label: np.asarray(path, dtype=float) for label, path in (paths or {}).items()}
    for label, path in paths.items():
        fits = path.ndim == 2 and path.shape[1] == 2 and len(path) > 0
        require(fits, label, path, "(steps, 2), with a step at least")
    looks = looks_of([*heights, *paths], styles)
    if levels is None:
        levels = max(map(np.max, heights.values())) * (np.arange(1, 8) / 7) ** 2
    ax = axes_for(ax, WIDTH, 0.62 * WIDTH)
    ax.set(aspect="equal", anchor="W", xlim=xlim, ylim=ylim, xlabel=xlabel)
    ax.set_title(ylabel)
    ax.grid(False)
    for (label, height), look in zip(heights.items(), looks, strict=False):
        ax.contourf(x, y, height, [-np.inf, levels[0]], colors=look.colour, alpha=0.22)
        dashes = dict(colors=look.colour, linestyles=[look.linestyle], linewidths=1)
        ax.contour(x, y, height, levels, **dashes)
        ax.plot([], [], look.linestyle, color=look.colour, linewidth=1, label=f"loss of {label}")
    for (label, path), look in zip(paths.items(), looks[len(heights) :], strict=True):
        _draw_path(ax, path, label, look)
    for label, point in (points or {}).items():
        _draw_point(ax, label, point)
    ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0, handlelength=2.6)
    when_narrow(ax, _name_below)
    return ax.figure


def _name_below(ax) -> None:
    """Move the legend below the plane, which keeps its shape."""
    if alone(ax):
        shape = np.ptp(ax.get_ylim()) / np.ptp(ax.get_xlim())
        ax.figure.set_figheight(((NARROW - 50) * shape + 70) / 72)
    legend_below(ax)


def _heights(label: str, loss, x, y) -> np.ndarray:
    """A loss over the plane, once it has contours."""
    height = np.asarray(loss(x, y), dtype=float)
    require(height.shape == x.shape, label, height, f"{x.shape}, like its arguments x and y")
    if not np.isfinite(height).all():
        raise ValueError(f"{label!r} is not finite everywhere in xlim and ylim: narrow them, or clip it.")
    if np.ptp(height) == 0:
        raise ValueError(f"{label!r} is constant in xlim and ylim, without contours: widen them.")
    return height


def _draw_path(ax, path, label: str, look: Series) -> None:
    marks = dict(marker=look.marker, markevery=(0.0, 0.12))
    ax.plot(*path.T, ls=look.linestyle, color=look.colour, label=label, **marks)
    # The last steps are too short to point anywhere: the arrow starts further back.
    far = np.linalg.norm(path - path[-1], axis=1) > 0.04 * np.ptp(ax.get_xlim())
    tail = path[np.flatnonzero(far)[-1]] if far.any() else path[0]
    arrow = dict(arrowstyle="-|>", color=look.colour, shrinkA=0, shrinkB=4, mutation_scale=16)
    ax.annotate("", path[-1], tail, arrowprops=arrow)


def _draw_point(ax, label: str, point) -> None:
    """Draw a dot with its name to the right, unless the edge is near."""
    left = ax.transLimits.transform(point)[0] > 0.7
    place = dict(textcoords="offset points", ha="right" if left else "left", va="center")
    paper = dict(facecolor="white", edgecolor="none", alpha=0.8, pad=1)
    ax.plot(*point, "o", color="black", zorder=4)
    ax.annotate(label, point, (-8 if left else 8, 0), bbox=paper, zorder=5, **place)
