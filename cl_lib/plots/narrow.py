"""The same figure for a phone: one column, and words as large as on a wide screen."""

import pickle
from collections.abc import Callable

from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.transforms import ScaledTranslation

from cl_lib.plots.look import FONT, NARROW, style


def when_narrow(ax, change: Callable[[], None]) -> None:
    """Note what a chart has to change in its axes once the figure is narrow."""
    fig = ax.figure
    fig.cl_when_narrow = [*getattr(fig, "cl_when_narrow", ()), change]


def alone(ax) -> bool:
    """Whether the figure is this chart and nothing else, so that the chart may set its height."""
    return ax.figure.axes == [ax]


def legend_below(ax, handles, labels) -> None:
    """Name what is drawn below the axes, and make the figure as much higher as that takes."""
    columns = 2 if max(map(len, labels)) * FONT / 2 < NARROW / 2 - 60 else 1
    below = ax.transAxes + ScaledTranslation(0, -3.6 * FONT / 72, ax.figure.dpi_scale_trans)
    place = dict(loc="upper left", bbox_to_anchor=(0, 0), bbox_transform=below, borderaxespad=0)
    ax.legend(handles, labels, ncols=columns, handlelength=2.6, **place)
    lines = -(-len(labels) // columns)
    ax.figure.set_figheight(ax.figure.get_figheight() + 1.5 * FONT * lines / 72)


@style()
def narrowed(fig: Figure) -> Figure | None:
    """A copy of the figure as wide as a phone, its panels in half as many columns.

    None where it cannot be copied: matplotlib pickles no function that lives in another.
    """
    try:
        copy = pickle.loads(pickle.dumps(fig))
    except (pickle.PicklingError, AttributeError, TypeError):
        return None
    _stack(copy)
    copy.set_figwidth(NARROW / 72)
    engine = copy.get_layout_engine()
    if engine and len(copy.axes) > 1:
        engine.set(h_pad=8 / 72)  # what is written below one panel shall not look like the title of the next
    for change in getattr(copy, "cl_when_narrow", ()):
        change()
    return copy


def _stack(fig: Figure) -> None:
    """Let panels that stand side by side stand one under the other, each in its shape."""
    places = [ax.get_subplotspec() for ax in fig.axes]
    grids = {place.get_gridspec() if place else None for place in places}
    if len(grids) != 1 or None in grids:
        return
    [grid] = grids
    n_rows, n_columns = grid.get_geometry()
    if n_columns == 1 or any(place.num1 != place.num2 for place in places):
        return
    columns = n_columns // 2
    rows = n_rows * -(-n_columns // columns)
    stacked = GridSpec(rows, columns, figure=fig)
    for ax, place in zip(fig.axes, places, strict=True):
        at = place.num1
        ax.set_subplotspec(stacked[at // columns, at % columns])
        if at % columns == 0 and len(ax.get_shared_y_axes().get_siblings(ax)) > 1:
            ax.tick_params(labelleft=True)  # which the panel to the left had for both
    wider = (NARROW / columns) / (fig.get_figwidth() * 72 / n_columns)
    fig.set_figheight(fig.get_figheight() * rows / n_rows * wider)
