"""Rows of means in their intervals, alone or beside published numbers."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cl_lib.plots.look import (
    WIDTH,
    axes_for,
    band_of,
    given,
    looks_of,
    require,
    style,
    upright,
    write_above,
)
from cl_lib.plots.narrow import alone, when_narrow


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
        If a series is not one number for each replica, or has none.
    """
    looks = looks_of(given(series), styles)
    around = 90 if references else 66
    ax = axes_for(ax, WIDTH, 36 * len(series) + around)
    numbers = []
    for row, ((label, values), look) in enumerate(zip(series.items(), looks, strict=True)):
        if not hasattr(values, "low"):
            values = np.asarray(values, dtype=float)
            require(values.ndim == 1, label, values, "(replicas,)")
            below = np.full(len(values), row + 0.32)
            ax.plot(values, below, "o", color=look.colour, alpha=0.5, markersize=4, mew=0)
            values = values[:, None]
        mean, low, high = band_of(values, label, 1)[:, 0]
        ax.barh(row, high - low, left=low, height=0.26, color=look.colour, alpha=0.4)
        ax.plot(mean, row, look.marker, color=look.colour, markersize=8)
        number = f"{mean:.{digits}f}"
        if np.isfinite(low):
            number += f" ± {(high - low) / 2:.{digits}f}"
        numbers.append(ax.text(1.02, row, number, transform=ax.get_yaxis_transform(), va="center"))
    for name, x in (references or {}).items():
        upright(ax, x)
        write_above(ax, x, name)
    ax.set_yticks(range(len(series)), list(series))
    ax.set(xlabel=xlabel, xlim=xlim, ylim=(len(series) - 0.5, -0.5))
    ax.locator_params(axis="x", nbins=6)  # in the narrow drawing more would touch
    ax.spines["left"].set_visible(False)
    ax.grid(visible=False, axis="y")
    when_narrow(ax, _name_above, numbers, around)
    return ax.figure


def _lead_rows(ax, above: float) -> None:
    """Write each row's name above it instead of beside it, so that the row has the whole width."""
    for row, name in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True):
        _lead(ax, row - above, name.get_text())
    ax.set_yticks([])


def _lead(ax, y: float, text: str, **font) -> None:
    """Write at the left edge of the axes; a long text may run past them instead of taking their width."""
    ax.text(0, y, text, transform=ax.get_yaxis_transform(), va="center", **font).set_in_layout(False)


def _name_above(ax, numbers, around: float) -> None:
    """Write names and numbers above their rows, which take more height for that."""
    _lead_rows(ax, 0.34)
    for number in numbers:
        number.set(x=1, y=number.get_position()[1] - 0.34, ha="right")
    bottom, top = ax.get_ylim()
    ax.set_ylim(bottom, top - 0.1)
    if alone(ax):
        ax.figure.set_figheight((54 * len(numbers) + around) / 72)


@style()
def beside(groups, *, verdicts, xlabel, xlim=None) -> Figure:
    """Our numbers beside published ones: one row each, ours as a dot in its interval, the other upright.

    Parameters
    ----------
    groups : dict
        ``{title: {label: (published, Interval, verdict)}}``, drawn top to bottom.
    verdicts : dict
        ``{verdict: look}``: the key of ``SERIES`` that each verdict looks like, in the legend's order.
    xlabel : str
    xlim : (float, float), optional

    Raises
    ------
    ValueError
        For a verdict without a look.
    """
    looks = dict(zip(verdicts, looks_of(verdicts, verdicts), strict=True))
    n_rows = sum(len(rows) + 1 for rows in given(groups).values())
    ax = axes_for(None, WIDTH, 24 * n_rows + 90)
    at, labels, uprights = 0, {}, []
    for title, rows in groups.items():
        _lead(ax, at, title, weight="bold")
        for row, (label, (published, ours, verdict)) in enumerate(rows.items(), at + 1):
            if verdict not in looks:
                raise ValueError(f"{label!r} has the verdict {verdict!r}, but verdicts has {list(looks)}.")
            look, labels[row] = looks[verdict], label
            ax.barh(row, ours.high - ours.low, left=ours.low, height=0.4, color=look.colour, alpha=0.4)
            uprights += ax.plot([published] * 2, [row - 0.36, row + 0.36], color="black", linewidth=2.5)
            ax.plot(ours.mean, row, look.marker, color=look.colour)
        at += len(rows) + 1
    ax.set_yticks(list(labels), list(labels.values()))
    ax.set(xlabel=xlabel, xlim=xlim, ylim=(at - 0.4, -0.7))
    ax.spines["left"].set_visible(False)
    ax.grid(visible=False, axis="y")
    ax.tick_params(labeltop=True)
    entries = [Line2D([], [], color=v.colour, marker=v.marker, linestyle="") for v in looks.values()]
    entries.append(Line2D([], [], marker="|", linestyle="", markersize=12, mec="black", mew=2.5))
    place = dict(loc="outside upper left", handletextpad=0.2)
    legend = ax.figure.legend(entries, [*looks, "published"], ncols=len(entries), **place)
    when_narrow(ax, _clear_rows, uprights, legend, place)
    return ax.figure


def _clear_rows(ax, uprights, legend, place) -> None:
    """Shorten the uprights, so that they are clear of the names above, and write the legend in two lines."""
    if legend in ax.figure.legends:
        legend.remove()
        words = [text.get_text() for text in legend.get_texts()]
        ax.figure.legend(legend.legend_handles, words, ncols=3, **place)
    for line in uprights:
        low, high = line.get_ydata()
        line.set_ydata([low + 0.2, high])
    _lead_rows(ax, 0.4)
    ax.figure.set_figheight(1.5 * ax.figure.get_figheight())
