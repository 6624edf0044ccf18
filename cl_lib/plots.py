"""Figures: one look, alt text always, legible on a light page, a dark page and in a plain notebook.

Each chart takes numbers and returns a matplotlib ``Figure``; :func:`show` puts it on the page::

    fig = plots.lines(width, {"EWC": values}, xlabel="hidden units", ylabel="accuracy")
    plots.show(fig, alt="What is seen ...", caption="What was found ...")

Importing sets nothing globally. A figure of your own gets the look inside ``with plots.style():``.
One unit of the layout is one pixel of a figure shown at full width.
"""

import hashlib
import html
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from cl_lib.metrics import Interval, interval

WIDTH = 640
FONT = 12
# A coloured word is this much colour, the rest text colour: 4.5:1 on a light and on a dark page.
INK = 0.65


@dataclass(frozen=True)
class Series:
    """How one thing looks in every figure; dash and marker say it again without colour."""

    colour: str
    linestyle: str | tuple
    marker: str


_LONG, _DENSE, _TRIPLE = (0, (9, 2)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5, 1, 1.5))
SERIES = {
    "task 1": Series("#0072b2", "-", "o"),
    "task 2": Series("#d55e00", "--", "s"),
    "task 3": Series("#009e73", "-.", "^"),
    "task 4": Series("#c46a9d", ":", "D"),
    "task 5": Series("#7a7a7a", _TRIPLE, "v"),
    "finetune": Series("#8a8a8a", "-", "v"),
    "joint": Series("#6e6e6e", "--", "o"),
    "replay": Series("#b07d1a", "-.", "p"),
    "L2": Series("#a0623a", ":", "s"),
    "EWC": Series("#8a5fd0", "-", "D"),
    "online EWC": Series("#3f7fd0", _LONG, "d"),
    "SI": Series("#5c9440", _TRIPLE, "<"),
    "MAS": Series("#00939c", "--", "^"),
    "local MAS": Series("#7d8a1e", _DENSE, "v"),
    "SLNID": Series("#d14a98", "-.", "h"),
    "AD+EWC": Series("#d0433c", _LONG, "*"),
}
SERIES["A"], SERIES["B"] = SERIES["task 1"], SERIES["task 2"]
COLOURS = {role: series.colour for role, series in SERIES.items()}

_STYLE = {
    "figure.figsize": (WIDTH / 72, WIDTH / 144),
    "figure.dpi": 72,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlesize": FONT,
    "font.size": FONT,
    "legend.frameon": False,
    "grid.alpha": 0.13,
    "grid.color": "black",
    "lines.linewidth": 2,
    "lines.markersize": 7,
    "lines.markeredgecolor": "white",
    "lines.markeredgewidth": 0.7,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
}


def style():
    """Give own figures the look of the book: ``with plots.style(): fig, ax = plt.subplots()``."""
    return mpl.rc_context(_STYLE)


def show(fig: Figure, *, alt: str, caption: str | None = None, name: str | None = None):
    """Put a figure on the page as inline SVG that follows the page's colours and font.

    Parameters
    ----------
    fig : matplotlib Figure
        It is closed.
    alt : str of 40 to 250 characters
        What is seen, for a reader who does not see it.
    caption : str, optional
        What was found: plain text, Unicode maths, ``*word*`` and ``**word**`` for emphasis.
    name : str, optional
        The figure's ``id``; in a chapter, link to it by ``<a href="#name">``.

    Returns
    -------
    IPython.display.HTML
        ``<figure class="cl-figure">``; equal figures give equal characters.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described above.
    """
    from IPython.display import HTML
    from matplotlib import pyplot

    _check_words(fig, alt, caption, name)
    svg = _themed_svg(fig, alt.strip())
    pyplot.close(fig)
    kind = "cl-figure cl-wide" if fig.get_figwidth() * 72 > 480 else "cl-figure"
    identity = f' id="{name}"' if name else ""
    paper = "--cl-paper: var(--pst-color-background, var(--jp-layout-color0, transparent))"
    page = f'<figure class="{kind}"{identity} style="margin: 1em 0; {paper}">\n{svg}'
    if caption:
        page += f'<figcaption style="font-size: 0.9em">{_emphasis(caption)}</figcaption>\n'
    return HTML(page + "</figure>")


def _check_words(fig, alt, caption, name) -> None:
    if not isinstance(fig, Figure):
        raise TypeError(f"fig is a {type(fig).__name__}, but must be a matplotlib Figure.")
    length = len(alt.strip()) if isinstance(alt, str) else 0
    if not 40 <= length <= 250:
        raise ValueError(
            f"alt has {length} characters, but must have 40 to 250: say in a sentence or two what "
            "is seen (which lines, where they go) for a reader who does not see the figure."
        )
    if caption is not None and not (isinstance(caption, str) and caption.strip()):
        raise ValueError(f"caption is {caption!r}, but must be a sentence that states the finding.")
    if name is not None and not re.fullmatch(r"[A-Za-z][\w-]*", name):
        raise ValueError(f"name is {name!r}, but must be a letter, then letters, digits, - or _.")


def _emphasis(text: str) -> str:
    """HTML of plain text with *a* and **a** as emphasis; the star of θ* stays a star."""
    text = html.escape(text, quote=False)
    for star, tag in ((r"\*\*", "strong"), (r"\*", "em")):
        text = re.sub(rf"(?<![\w*]){star}(\S|\S.*?\S){star}(?![\w*])", rf"<{tag}>\1</{tag}>", text)
    return text


def _themed_svg(fig: Figure, alt: str) -> str:
    """Draw the figure as SVG in the page's text colour, background and font."""
    for patch in (fig.patch, *(ax.patch for ax in fig.axes)):
        *colour, alpha = patch.get_facecolor()
        if alpha == 0 or colour == [1, 1, 1]:
            patch.set_visible(False)
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "cl_lib"}):
        fig.savefig(buffer, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for element in list(root):
        # The metadata credit the drawing program; the style sheet would restyle the whole page.
        if element.tag.endswith("metadata") or element.find("{*}style") is not None:
            root.remove(element)
    for element in root.iter():
        _adapt(element)
    box = root.get("viewBox")
    root.attrib = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": box,
        "role": "img",
        "aria-label": alt,
        "fill": "currentColor",
        "stroke-linejoin": "round",
        "style": f"display: block; width: 100%; max-width: {box.split()[2]}px; height: auto; "
        "overflow: visible",
    }
    return _own_ids(ElementTree.tostring(root, encoding="unicode"))


def _adapt(element) -> None:
    """Black becomes the page's text colour, white its background, and text takes its font."""
    element.tag = element.tag.rpartition("}")[2]
    element.text, element.tail = (element.text or "").strip(), "\n"
    for key, value in list(element.attrib.items()):
        del element.attrib[key]
        if key in ("d", "x", "y"):
            value = re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", value)
        if not value.startswith("rotate(-0 "):
            element.set(key.rpartition("}")[2], " ".join(value.split()))
    rules = dict(rule.split(": ", 1) for rule in element.get("style", "").split("; ") if rule)
    rules.pop("font-family", None)
    for key in ("fill", "stroke"):
        page = {"#000000": "currentColor", "#ffffff": "var(--cl-paper)"}
        if key in rules:
            rules[key] = page.get(rules[key], rules[key])
    if "font-size" in rules:
        rules["font-size"] = f"calc({rules['font-size']} * var(--cl-text, 1))"
        if rules.get("fill", "").startswith("#"):
            rules["fill"] += f"; fill: color-mix(in srgb, {rules['fill']} {INK:.0%}, currentColor)"
    if rules:
        element.set("style", "; ".join(f"{key}: {value}" for key, value in rules.items()))


def _own_ids(svg: str) -> str:
    """Keep the ids that something refers to, and name them after the content of the figure."""
    used = list(dict.fromkeys(re.findall(r'(?:url\(|href=")#([\w.-]+)', svg)))
    svg = re.sub(r' id="([\w.-]+)"', lambda found: found[0] if found[1] in used else "", svg)
    content = hashlib.sha256(svg.encode()).hexdigest()[:10]
    names = {old: f"cl-{content}-{k}" for k, old in enumerate(used)}
    place = re.compile(r'(id="|url\(#|href="#)([\w.-]+)')
    return place.sub(lambda found: found[1] + names[found[2]], svg)


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
        If a series does not fit ``x``, or ``log_x`` meets an x that is not positive.
    """
    x = np.asarray(x, dtype=float)
    bands = {label: _band(values, label, len(x)) for label, values in _given(series).items()}
    if log_x and (x <= 0).any():
        raise ValueError(f"log_x needs positive x, but x goes down to {x.min():g}: leave that out.")
    looks = _looks(bands, styles)
    ax = _axes(ax, WIDTH, 0.52 * WIDTH)
    for k, ((mean, low, high), look) in enumerate(zip(bands.values(), looks, strict=True)):
        ax.fill_between(x, low, high, color=look.colour, alpha=0.16, linewidth=0)
        every = None if len(x) <= 12 else (0.03 * k, 0.2)
        ax.plot(x, mean, ls=look.linestyle, color=look.colour, marker=look.marker, markevery=every)
    if log_x:
        _log_axis(ax, x)
    ax.set(xlabel=xlabel, ylim=ylim)
    ax.set_title(ylabel, pad=10 if boundaries is None else 30)
    if boundaries is not None:
        _mark_tasks(ax, x, boundaries)
    _name_lines(ax, x, {label: band[0] for label, band in bands.items()}, looks)
    return ax.figure


def _log_axis(ax, x) -> None:
    ax.set_xscale("log")
    if len(x) <= 8:
        ax.set_xticks(x)
        ax.minorticks_off()
    ax.xaxis.set_minor_formatter(lambda value, place: "")
    ax.xaxis.set_major_formatter(lambda value, place: _plain(value))


def _plain(value: float) -> str:
    """Write 0.01, 100, 10⁶ in the page's font; typeset mathematics would bring its own."""
    if 1e-3 <= value < 1e5:
        return f"{value:g}"
    factor, exponent = f"{value:.0e}".split("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{raised}" if factor == "1" else f"{factor}·10{raised}"


def _mark_tasks(ax, x, boundaries) -> None:
    named = isinstance(boundaries, Mapping)
    ends = np.asarray(list(boundaries.values()) if named else boundaries, dtype=float)
    inside = ends[(ends > x.min()) & (ends < x.max())]
    edges = np.array([x.min(), *inside, x.max()])
    names = list(boundaries) if named else ["task 1", *map(str, range(2, len(edges)))]
    if len(names) != len(edges) - 1 or (np.diff(edges) <= 0).any():
        raise ValueError(
            f"boundaries are {boundaries!r}, but must be rising x between {x.min():g} and "
            f"{x.max():g}, one for each task: where it ends."
        )
    for name, middle in zip(names, (edges[1:] + edges[:-1]) / 2, strict=True):
        _write_above(ax, middle, name)
    for end in inside:
        _upright(ax, end)


def _upright(ax, x: float) -> None:
    ax.axvline(x, color="black", alpha=0.6, linewidth=1, linestyle=":")


def _write_above(ax, x: float, text: str) -> None:
    place = dict(transform=ax.get_xaxis_transform(), ha="center", va="bottom")
    ax.text(x, 1.02, text, fontsize=FONT - 1, **place)


def _name_lines(ax, x, means: Mapping, looks: list[Series]) -> None:
    """Each label beside the end of its line, moved just far enough to keep clear of the others."""
    ends = []
    for label, mean in means.items():
        measured = np.flatnonzero(np.isfinite(mean))
        if not measured.size:
            raise ValueError(f"{label!r} is NaN everywhere: there is nothing to draw.")
        ends.append((x[measured[-1]], mean[measured[-1]]))
    ax.figure.draw_without_rendering()  # only a finished layout knows how far apart the ends are
    heights = ax.transAxes.inverted().transform(ax.transData.transform(ends))[:, 1]
    heights = _spread(heights, 1.4 * FONT * ax.figure.dpi / 72 / ax.bbox.height)
    place = dict(textcoords="axes fraction", va="center", annotation_clip=False)
    for label, end, height, look in zip(means, ends, heights, looks, strict=True):
        leader = dict(arrowstyle="-", color=look.colour, alpha=0.5, relpos=(0, 0.5), shrinkA=1)
        ax.annotate(label, end, (1.03, height), color=look.colour, arrowprops=leader, **place)


def _spread(heights, gap: float) -> np.ndarray:
    """Move heights in [0, 1] at least a gap apart, in the same order and as little as possible."""
    order = np.argsort(heights, kind="stable")
    steps = gap * np.arange(len(order))
    free = isotonic_regression(heights[order] - steps).x
    placed = np.empty(len(order))
    placed[order] = np.clip(free, 0, max(0, 1 - steps[-1])) + steps
    return placed


@style()
def accuracy_matrix(matrix, *, names=None, ax=None) -> Figure:
    """Accuracy in percent after each task (rows) on each task (columns); framed: just learned.

    Parameters
    ----------
    matrix : array of shape (T, T) or (replicas, T, T)
        In [0, 1]; replicas give the mean with the half width of its 95 % interval. NaN: no number.
    names : list of T str, optional
        By default task 1, 2, ...
    ax : Axes, optional
        As in :func:`lines`.

    Raises
    ------
    ValueError
        If the matrix is not square, or there are not T names.
    """
    matrix = np.asarray(matrix, dtype=float)
    square = matrix.ndim in (2, 3) and matrix.shape[-1] == matrix.shape[-2]
    _require(square, "matrix", matrix, "(T, T) or (replicas, T, T)")
    n = matrix.shape[-1]
    names = [f"task {k + 1}" for k in range(n)] if names is None else list(names)
    if len(names) != n:
        raise ValueError(f"names has {len(names)} entries, but the matrix covers {n} tasks.")
    means, lows, _ = _band(matrix.reshape(-1, n * n), "matrix", n * n).reshape(3, n, n)
    ax = _axes(ax, min(WIDTH, 120 + 88 * n), 44 * n + 56)
    fill = np.full((n, n, 4), mpl.colors.to_rgba(COLOURS["task 1"]))
    fill[..., 3] = 0.6 * np.nan_to_num(means)
    ax.pcolormesh(fill, edgecolors="white", linewidth=2)
    for i, j in np.argwhere(np.isfinite(means)):
        _write_cell(ax, j + 0.5, i + 0.5, 100 * means[i, j], 100 * (means - lows)[i, j])
    for k in range(n):
        ax.add_patch(mpl.patches.Rectangle((k, k), 1, 1, fill=False, linewidth=1.5, clip_on=False))
    middles = np.arange(n) + 0.5
    ax.set_yticks(middles, [f"after {name}" for name in names])
    # Ten columns leave no room to repeat the word.
    ax.set_xticks(middles, [f"on {names[0]}", *(name.removeprefix("task ") for name in names[1:])])
    ax.set(ylim=(n, 0))
    ax.set_title("accuracy in %", pad=14)
    ax.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)
    ax.grid(False)
    return ax.figure


def _write_cell(ax, x: float, y: float, mean: float, half: float) -> None:
    several = np.isfinite(half)
    ax.text(x, y - 0.1 * several, f"{mean:.1f}", ha="center", va="center")
    if several:
        ax.text(x, y + 0.26, f"±{half:.1f}", ha="center", va="center", fontsize=FONT - 3)


@style()
def bars(series, *, xlabel, xlim=None, references=None, digits=3, styles=None, ax=None) -> Figure:
    """One row a label: the mean as a dot in its 95 % interval, the replicas as points below it.

    Parameters
    ----------
    series : dict
        ``{label: values}``: an array of shape (replicas,) or an ``Interval``; drawn top to bottom.
    xlabel : str
    references : dict, optional
        ``{name: x}``: upright lines to compare with, such as chance or a paper's number.
    digits : int
        Decimals of the mean and half width written beside each row.
    xlim, styles, ax : optional
        As in :func:`lines`.

    Raises
    ------
    ValueError
        If a series is not one number for each replica.
    """
    looks = _looks(_given(series), styles)
    ax = _axes(ax, WIDTH, 36 * len(series) + (90 if references else 66))
    for row, ((label, values), look) in enumerate(zip(series.items(), looks, strict=True)):
        if not hasattr(values, "low"):
            values = np.asarray(values, dtype=float)
            _require(values.ndim == 1, label, values, "(replicas,)")
            below = np.full(len(values), row + 0.32)
            ax.plot(values, below, "o", color=look.colour, alpha=0.5, markersize=4, mew=0)
            values = values[:, None]
        mean, low, high = _band(values, label, 1)[:, 0]
        ax.barh(row, high - low, left=low, height=0.26, color=look.colour, alpha=0.4)
        ax.plot(mean, row, look.marker, color=look.colour, markersize=8)
        number = f"{mean:.{digits}f}"
        if np.isfinite(low):
            number += f" ± {(high - low) / 2:.{digits}f}"
        ax.text(1.02, row, number, transform=ax.get_yaxis_transform(), va="center")
    for name, x in (references or {}).items():
        _upright(ax, x)
        _write_above(ax, x, name)
    ax.set_yticks(range(len(series)), list(series))
    ax.set(xlabel=xlabel, xlim=xlim, ylim=(len(series) - 0.5, -0.5))
    ax.spines["left"].set_visible(False)
    ax.grid(visible=False, axis="y")
    return ax.figure


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
        If a loss or a path has the wrong shape.
    """
    x, y = np.meshgrid(np.linspace(*xlim, 161), np.linspace(*ylim, 161))
    heights = {label: np.asarray(loss(x, y), dtype=float) for label, loss in _given(losses).items()}
    paths = {label: np.asarray(path, dtype=float) for label, path in (paths or {}).items()}
    for label, height in heights.items():
        _require(height.shape == x.shape, label, height, f"{x.shape}, like its arguments x and y")
    for label, path in paths.items():
        _require(path.ndim == 2 and path.shape[1] == 2, label, path, "(steps, 2)")
    looks = _looks([*heights, *paths], styles)
    if levels is None:
        levels = max(map(np.max, heights.values())) * (np.arange(1, 8) / 7) ** 2
    ax = _axes(ax, WIDTH, 0.62 * WIDTH)
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
    return ax.figure


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


def _axes(ax, width: float, height: float):
    return ax or Figure(figsize=(width / 72, height / 72)).add_subplot()


def _given(series: Mapping) -> Mapping:
    if not isinstance(series, Mapping) or not series:
        raise ValueError(f"got {series!r}, but expected a dict with an entry for each label.")
    return series


def _require(fits: bool, label: str, array, shape: str) -> None:
    if not fits:
        raise ValueError(f"{label!r} has shape {array.shape}, but must be {shape}.")


def _looks(labels, styles: Mapping[str, str] | None) -> list[Series]:
    """Find each label's look: the one asked for, its own, or one that nobody here has taken."""
    keys = [(styles or {}).get(label, label) for label in labels]
    unknown = set((styles or {}).values()) - SERIES.keys()
    if unknown:
        raise ValueError(f"styles ask for {sorted(unknown)}, but the looks are {list(SERIES)}.")
    taken = {SERIES[key] for key in keys if key in SERIES}
    free = cycle(look for look in SERIES.values() if look not in taken)
    return [SERIES[key] if key in SERIES else next(free) for key in keys]


def _band(values, label: str, n_points: int) -> np.ndarray:
    """Mean, low and high, shape (3, n_points); low and high are NaN for a single replica."""
    if hasattr(values, "low"):
        band = np.array([values.mean, values.low, values.high], dtype=float).reshape(3, -1)
    elif len(values) and hasattr(values[0], "low"):
        band = np.array([(point.mean, point.low, point.high) for point in values]).T
    else:
        replicas = np.asarray(values, dtype=float)
        _require(replicas.ndim == 2, label, replicas, "(replicas, points)")
        band = np.array([_ends(column) for column in replicas.T]).T
    if band.shape[1] != n_points:
        raise ValueError(f"{label!r} has {band.shape[1]} points, but {n_points} are needed.")
    return band


def _ends(column: np.ndarray) -> tuple[float, float, float]:
    if len(column) < 2 or np.isnan(column).all():
        return column[0], np.nan, np.nan
    found: Interval = interval(column)
    return found.mean, found.low, found.high
