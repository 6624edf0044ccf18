"""The look that all figures share: colours, dashes, markers, and what every chart asks of its numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from cl_lib.metrics import Interval, interval

WIDTH = 640
NARROW = 340  # the column of a phone
FONT = 12


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
    "AD+EWC": Series("#d0433c", _LONG, "X"),
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


def axes_for(ax, width: float, height: float):
    """The given axes, or those of a new figure."""
    return ax or Figure(figsize=(width / 72, height / 72)).add_subplot()


def given(series: Mapping) -> Mapping:
    """The series, once there is one."""
    if not isinstance(series, Mapping) or not series:
        raise ValueError(f"got {series!r}, but expected a dict with an entry for each label.")
    return series


def require(fits: bool, label: str, array, shape: str) -> None:
    """Refuse an array of the wrong shape."""
    if not fits:
        raise ValueError(f"{label!r} has shape {array.shape}, but must be {shape}.")


def looks_of(labels, styles: Mapping[str, str] | None) -> list[Series]:
    """Find each label's look: the one asked for, its own, or one that nobody here has taken."""
    keys = [(styles or {}).get(label, label) for label in labels]
    unknown = set((styles or {}).values()) - SERIES.keys()
    if unknown:
        raise ValueError(f"styles ask for {sorted(unknown)}, but the looks are {list(SERIES)}.")
    absent = sorted((styles or {}).keys() - set(labels))
    if absent:
        raise ValueError(f"styles name {absent}, which nobody draws; the labels are {list(labels)}.")
    taken = {SERIES[key] for key in keys if key in SERIES}
    free = cycle(look for look in SERIES.values() if look not in taken)
    unnamed = [label for label, key in zip(labels, keys, strict=True) if key not in SERIES]
    if unnamed and len(taken) == len(set(SERIES.values())):
        raise ValueError(f"no look is left for {unnamed}: draw fewer labels, or name a look in styles.")
    return [SERIES[key] if key in SERIES else next(free) for key in keys]


def band_of(values, label: str, n_points: int) -> np.ndarray:
    """Mean, low and high, shape (3, n_points); low and high are NaN for a single replica."""
    if hasattr(values, "low"):
        band = np.array([values.mean, values.low, values.high], dtype=float).reshape(3, -1)
    elif hasattr(next(iter(values), None), "low"):
        band = np.array([(point.mean, point.low, point.high) for point in values]).T
    else:
        replicas = np.asarray(values, dtype=float)
        require(replicas.ndim == 2, label, replicas, "(replicas, points)")
        if not len(replicas):
            raise ValueError(f"{label!r} has no replicas: give at least one, or leave the label out.")
        band = np.array([_ends(column) for column in replicas.T]).T
    if band.shape[1] != n_points:
        raise ValueError(f"{label!r} has {band.shape[1]} points, but {n_points} are needed.")
    return band


def _ends(column: np.ndarray) -> tuple[float, float, float]:
    if len(column) < 2 or np.isnan(column).all():
        return column[0], np.nan, np.nan
    found: Interval = interval(column)
    return found.mean, found.low, found.high


def upright(ax, x: float) -> None:
    """Draw a thin line from the bottom to the top."""
    ax.axvline(x, color="black", alpha=0.6, linewidth=1, linestyle=":")


def write_above(ax, x: float, text: str) -> None:
    """Write above the axes, at a place of the x-axis."""
    place = dict(transform=ax.get_xaxis_transform(), ha="center", va="bottom")
    ax.text(x, 1.02, text, fontsize=FONT - 1, **place)
