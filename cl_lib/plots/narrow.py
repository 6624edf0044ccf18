"""The same figure for a phone: one column, and words as large as on a wide screen."""

import pickle
from collections.abc import Callable

from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import ScaledTranslation

from cl_lib.plots.look import FONT, NARROW, style


def when_narrow(ax, change: Callable[..., None], *arguments) -> None:
    """Note that ``change(ax, *arguments)`` is due once the figure is narrow."""
    fig = ax.figure
    fig.cl_when_narrow = [*getattr(fig, "cl_when_narrow", ()), (change, ax, *arguments)]


def alone(ax) -> bool:
    """Whether the figure is this chart and nothing else, so that the chart may set its height."""
    return ax.figure.axes == [ax]


def legend_below(ax, handles=(), labels=()) -> None:
    """Name these, and what a legend names already, below the axes; the figure gets as much higher."""
    if before := ax.get_legend():
        handles = [*before.legend_handles, *handles]
        labels = [*(text.get_text() for text in before.get_texts()), *labels]
    if not handles:
        return
    columns = 2 if max(map(len, labels)) * FONT / 2 < NARROW / 2 - 60 else 1
    depth = FONT * (2.6 + len(ax.get_xlabel().splitlines()))
    below = ax.transAxes + ScaledTranslation(0, -depth / 72, ax.figure.dpi_scale_trans)
    place = dict(loc="upper left", bbox_to_anchor=(0, 0), bbox_transform=below, borderaxespad=0)
    ax.legend(handles, labels, ncols=columns, handlelength=2.6, **place)
    n_lines = -(-len(labels) // columns)
    ax.figure.set_figheight(ax.figure.get_figheight() + 1.5 * FONT * n_lines / 72)


@style()
def narrowed(fig: Figure) -> Figure | None:
    """A copy of the figure as wide as a phone, its panels in half as many columns.

    None where there is no such copy: of figures that hold a function of a cell (which cannot be pickled),
    and of panels side by side that are no plain grid.
    """
    try:
        copy = pickle.loads(pickle.dumps(fig))
    except Exception:  # anything may be in it, and the figure is legible without a copy
        return None
    if not _stack(copy):
        return None
    copy.set_figwidth(NARROW / 72)
    engine = copy.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine) and len(copy.axes) > 1:
        engine.set(h_pad=8 / 72)  # what is written below one panel shall not look like the title of the next
    for change, ax, *arguments in getattr(copy, "cl_when_narrow", ()):
        if ax in copy.axes:
            change(ax, *arguments)
    return copy


def _stack(fig: Figure) -> bool:
    """Let panels side by side stand in half as many columns, each in its shape; say whether they could."""
    panels = [ax for ax in fig.axes if ax.get_subplotspec()]  # a colour bar follows its panels
    places = [ax.get_subplotspec() for ax in panels]
    grids = {place.get_gridspec() for place in places}
    if fig.subfigs or len(grids) > 1:
        return False
    n_rows, n_columns = next(iter(grids)).get_geometry() if grids else (1, 1)
    if n_columns == 1:
        return True
    if any(place.num1 != place.num2 for place in places):
        return False
    columns = n_columns // 2
    lines = -(-n_columns // columns)  # that a row becomes
    stacked = GridSpec(n_rows * lines, columns, figure=fig)
    for ax, place in zip(panels, places, strict=True):
        row, column = divmod(place.num1, n_columns)
        ax.set_subplotspec(stacked[row * lines + column // columns, column % columns])
        _number(ax, leftmost=column % columns == 0)
    wider = (NARROW / columns) / (fig.get_figwidth() * 72 / n_columns)
    fig.set_figheight(fig.get_figheight() * lines * wider)
    return True


def _number(ax, leftmost: bool) -> None:
    """Write the numbers of axes that were shared: the panel that had them for all stands elsewhere now."""
    if len(ax.get_shared_x_axes().get_siblings(ax)) > 1:
        ax.tick_params(labelbottom=True)
    if (
        leftmost
        and len(ax.get_shared_y_axes().get_siblings(ax)) > 1
        and ax.yaxis.get_label_position() == "left"
    ):
        ax.tick_params(labelleft=True)
