"""Lines over steps, tasks, widths or strengths, each named at its end."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator, NullFormatter
from scipy.optimize import isotonic_regression

from cl_lib.plots.look import (
    FONT,
    NARROW,
    WIDTH,
    axes_for,
    band_of,
    given,
    looks_of,
    style,
    upright,
    write_above,
)
from cl_lib.plots.narrow import legend_below, when_narrow


@style()
def lines(
    x, series, *, xlabel, ylabel, log_x=False, boundaries=None, ylim=None, styles=None, ax=None
) -> Figure:
    """One line a label: the mean over replicas in its 95 % interval, named at the line's end.

    Parameters
    ----------
    x : array of shape (n,)
    series : dict
        ``{label: values}``: values of shape (replicas, n), a list of n ``Interval``, or an object
        whose ``mean``, ``low``, ``high`` are arrays of shape (n,). A column of NaN is a gap.
    xlabel, ylabel : str
    log_x : bool
    boundaries : sequence or dict, optional
        The x where each task ends: switches, with the stretches between them named task 1, 2, ...
        or by the keys of ``{name: end}``.
    ylim : (float, float), optional
    styles : dict, optional
        ``{label: key of SERIES}`` for labels that are not keys themselves.
    ax : Axes, optional
        Draw here (made inside ``with plots.style()``) instead of in a new figure.

    Raises
    ------
    ValueError
        If a series has no replica or does not fit ``x``, if ``log_x`` meets an x that is not positive, or a
        task of ``boundaries`` lies outside ``x``.
    """
    x = np.asarray(x, dtype=float)
    bands = {label: band_of(values, label, len(x)) for label, values in given(series).items()}
    if log_x and (x <= 0).any():
        raise ValueError(f"log_x needs positive x, but x goes down to {x.min():g}: leave that out.")
    looks = looks_of(bands, styles)
    ax = axes_for(ax, WIDTH, 0.52 * WIDTH)
    drawn = []
    for k, ((mean, low, high), look) in enumerate(zip(bands.values(), looks, strict=True)):
        ax.fill_between(x, low, high, color=look.colour, alpha=0.16, linewidth=0)
        every = None if len(x) <= 12 else (0.03 * k, 0.2)
        dash = dict(ls=look.linestyle, color=look.colour, marker=look.marker, markevery=every)
        drawn += ax.plot(x, mean, **dash)
    if log_x:
        _log_axis(ax, x)
    else:
        when_narrow(ax, _fewer_ticks)
    ax.set(xlabel=xlabel, ylim=ylim)
    ax.set_title(ylabel, pad=10 if boundaries is None else 30)
    if boundaries is not None:
        _mark_tasks(ax, x, boundaries)
    names = _name_lines(ax, drawn, list(bands))
    when_narrow(ax, _name_again, drawn, names)
    return ax.figure


def _fewer_ticks(ax) -> None:
    locator = ax.xaxis.get_major_locator()
    if isinstance(locator, MaxNLocator):  # ticks that somebody placed, with words of their own, stay
        locator.set_params(nbins=5)


def _log_axis(ax, x) -> None:
    ax.set_xscale("log")
    powers = np.floor(np.log10(x.max())) - np.ceil(np.log10(x.min())) + 1
    if len(x) <= 8 or powers < 2:  # too few powers of ten to read the axis by
        ax.set_xticks(_even(x, 8))
        ax.minorticks_off()
        when_narrow(ax, _fewer_of, x)
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter(_plain)


def _even(x, most: int) -> np.ndarray:
    """At most so many of the x, spread evenly over a logarithmic axis, the first and the last among them."""
    return np.unique([x[np.argmin(abs(np.log(x / at)))] for at in np.geomspace(x.min(), x.max(), most)])


def _fewer_of(ax, x) -> None:
    if np.array_equal(ax.get_xticks(), _even(x, 8)):  # those that somebody placed since then stay
        ax.set_xticks(_even(x, 5))


def _plain(value: float, place=None) -> str:
    """Write 0.01, 100, 10⁶ in the page's font; typeset mathematics would bring its own."""
    if 1e-3 <= value < 1e5:
        return f"{value:g}"
    factor, exponent = f"{value:.2e}".split("e")
    factor = f"{float(factor):g}"
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{raised}" if factor == "1" else f"{factor}·10{raised}"


def _mark_tasks(ax, x, boundaries) -> None:
    named = isinstance(boundaries, Mapping)
    ends = np.asarray(list(boundaries.values()) if named else boundaries, dtype=float)
    inside = ends[(ends > x.min()) & (ends < x.max())]
    edges = np.array([x.min(), *inside, x.max()])
    names = list(boundaries) if named else ["task 1", *map(str, range(2, len(edges)))]
    unseen = (ends < x.min()).any() or (ends >= x.max()).sum() > 1  # the last task may end after the last x
    if unseen or len(names) != len(edges) - 1 or (np.diff(edges) <= 0).any():
        raise ValueError(
            f"boundaries are {boundaries!r}, but must be rising x between {x.min():g} and "
            f"{x.max():g}, one for each task: where it ends."
        )
    for name, middle in zip(names, (edges[1:] + edges[:-1]) / 2, strict=True):
        write_above(ax, middle, name)
    for end in inside:
        upright(ax, end)


def _name_lines(ax, drawn, labels) -> list:
    """Each label beside the end of its line, moved just far enough to keep clear of the others."""
    ends = []
    for label, line in zip(labels, drawn, strict=True):
        measured = np.flatnonzero(np.isfinite(line.get_ydata()))
        if not measured.size:
            raise ValueError(f"{label!r} is NaN everywhere: there is nothing to draw.")
        x, y = line.get_xydata()[measured[-1]]
        ends.append((x, np.clip(y, *sorted(ax.get_ylim()))))
    ax.figure.draw_without_rendering()  # only a finished layout knows how far apart the ends are
    heights = ax.transAxes.inverted().transform(ax.transData.transform(ends))[:, 1]
    heights = _spread(heights, 1.4 * FONT * ax.figure.dpi / 72 / ax.bbox.height)
    place = dict(textcoords="axes fraction", va="center", annotation_clip=False)
    names = []
    for label, end, height, line in zip(labels, ends, heights, drawn, strict=True):
        leader = dict(arrowstyle="-", color=line.get_color(), alpha=0.5, relpos=(0, 0.5), shrinkA=1)
        place |= dict(xytext=(1.03, height), color=line.get_color(), arrowprops=leader)
        names.append(ax.annotate(label, end, **place))
    return names


def _name_again(ax, drawn, names) -> None:
    """Name the lines at their ends, or in a legend where that would take the width from them."""
    if any(name.figure is None for name in names):
        return  # somebody removed one, and may have named the lines in another way
    labels = [name.get_text() for name in names]
    longest = max(Text.get_window_extent(name).width for name in names)  # without their leaders
    for name in names:
        name.remove()
    if longest < 0.25 * NARROW:
        _name_lines(ax, drawn, labels)
    else:
        legend_below(ax, drawn, labels)


def _spread(heights, gap: float) -> np.ndarray:
    """Move heights in [0, 1] at least a gap apart, in the same order and as little as possible."""
    order = np.argsort(heights, kind="stable")
    steps = gap * np.arange(len(order))
    free = isotonic_regression(heights[order] - steps).x
    placed = np.empty(len(order))
    placed[order] = np.clip(free, 0, max(0, 1 - steps[-1])) + steps
    return placed
