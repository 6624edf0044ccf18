"""The words in which an experiment is declared: budgets, contenders and their grids."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial

import numpy as np
from torch import nn

from cl_lib.data import Dataset, digests
from cl_lib.methods import Method
from cl_lib.runs import Run
from cl_lib.tasks import Stream

#: How much is trained: ``full`` for a GPU, ``cpu`` for one night on two cores, ``quick`` for minutes,
#: ``twin`` for seconds.
PROFILES = ("full", "cpu", "quick", "twin")
#: Images on which importance is measured, where a method does not say otherwise.
N_IMPORTANCE = 1000
#: Seeds of the streams that strengths are searched on and that the final runs train on.
STREAM_SEEDS = {"search": 1, "test": 0}
Point = tuple[float, ...]
# What a budget says about a single network; the rest says which networks there are.
OF_A_NETWORK = ("epochs", "batch_size", "n_train", "n_test", "n_tasks")


@dataclass(frozen=True)
class Budget:
    """How much one profile of an experiment trains.

    Attributes
    ----------
    seeds, search_seeds : int
        Replicas of the final runs, and of each point of the search for strengths.
    epochs, batch_size : int
    n_train, n_test : int or None
        At most so many training images, and test or validation images, of each task.
    width : int
        Units of a hidden layer.
    chunk : int
        Replicas trained at once, fewer where a contender's own network is wider: the unit of work that an
        interruption can lose.
    n_tasks : int or None
        Of streams whose length is free; None is the experiment's own.
    grid_every : int
        1 searches the whole grid, 2 every second point.
    max_width : int or None
        Contenders with a wider network of their own are left out.
    """

    seeds: int
    search_seeds: int
    epochs: int
    batch_size: int
    n_train: int | None
    n_test: int | None
    width: int
    chunk: int = 100
    n_tasks: int | None = None
    grid_every: int = 1
    max_width: int | None = None


@dataclass(frozen=True)
class Contender:
    """One line of an experiment: a method, and the strengths from which it may choose.

    ``method`` takes one argument for each strength, a tuple that is trained side by side. ``twin`` is the
    point of its twin (default: the middle of the grid); a grid that grows on one side keeps its old one.
    ``training`` and ``network`` are for what is trained otherwise than the experiment says, ``stream_seed``
    for another draw of the stream in the final runs than ``STREAM_SEEDS["test"]``; it tells draws apart only
    where the stream is drawn at random.

    Raises
    ------
    ValueError
        For a grid whose points are not all tuples of as many numbers: none, one or two; for a
        ``stream_seed`` on which strengths are searched.
    """

    name: str
    method: Callable[..., Method]
    grid: tuple[Point, ...] = ((),)
    width: int | None = None
    twin: Point | None = None
    training: Mapping[str, float | str | bool] = field(default_factory=dict)
    network: Callable[[Stream, int], nn.Module] | None = None
    stream_seed: int | None = None

    def __post_init__(self) -> None:
        sizes = {len(point) if isinstance(point, tuple) else -1 for point in self.grid}
        if len(sizes) != 1 or not sizes <= {0, 1, 2}:
            raise ValueError(
                f"grid of {self.name!r} is {self.grid!r}, but must hold tuples of one length, with the one "
                "or two strengths that method takes; powers(...) and pairs(...) make such grids."
            )
        if self.stream_seed == STREAM_SEEDS["search"]:
            raise ValueError(
                f"stream_seed of {self.name!r} is {self.stream_seed}, the draw on which strengths are "
                "searched: choose another, so that none is tested where it was chosen."
            )

    def seed_of_stream(self, stage: str) -> int:
        """What draws the stream of a stage, "search" or "test"."""
        return _seed_of(stage, self.stream_seed, STREAM_SEEDS[stage])

    def build(self, points: tuple[Point, ...]) -> Method:
        """The method with the strengths of all points side by side."""
        return self.method(*zip(*points, strict=True))

    def candidates(self, budget: Budget) -> tuple[Point, ...]:
        """The part of the grid that this budget searches."""
        return self.grid[:: budget.grid_every]


@dataclass(frozen=True)
class Experiment:
    """A question put to many methods under equal budgets.

    Attributes
    ----------
    stream : callable
        (dataset, budget, seed) -> Stream.
    network : callable
        (stream, width) -> nn.Module.
    training : mapping
        Further arguments of :func:`cl_lib.training.fit`: ``lr``, ``momentum``, ``optimizer``.
    measure : callable, optional
        (run, stream) -> arrays to keep, replicas on their first axis.
    curve_every : int, optional
        Keep accuracy within the tasks every so many steps (final runs only).

    Raises
    ------
    ValueError
        If two contenders have one name, or a profile has no budget.
    """

    name: str
    title: str
    dataset: str
    stream: Callable[[Dataset, Budget, int], Stream]
    network: Callable[[Stream, int], nn.Module]
    contenders: tuple[Contender, ...]
    budgets: Mapping[str, Budget]
    training: Mapping[str, float | str | bool]
    measure: Callable[[Run, Stream], dict[str, np.ndarray]] | None = None
    curve_every: int | None = None

    def __post_init__(self) -> None:
        names = [contender.name for contender in self.contenders]
        if len(set(names)) < len(names):
            raise ValueError(
                f"contenders of {self.name!r} are named {names}, but each needs a name of its own."
            )
        missing = set(PROFILES) - set(self.budgets)
        if missing:
            raise ValueError(f"budgets of {self.name!r} lacks {sorted(missing)}: give one for each profile.")

    def declaration(self, profile: str, budget: Budget | None = None) -> dict:
        """All that decides the numbers and can be written down: what a manifest records.

        ``budget`` is for another one than the profile's.
        """
        budget = budget or self.budgets[profile]
        return {
            "experiment": self.name,
            "dataset": self.dataset,
            "data_sha256": digests(self.dataset),
            "stream": named(self.stream),
            "stream_seeds": STREAM_SEEDS,
            "network": named(self.network),
            "profile": profile,
            "budget": asdict(budget),
            "training": dict(self.training),
            "importance_images": N_IMPORTANCE,
            "measure": named(self.measure),
            "curve_every": self.curve_every,
            "contenders": {
                c.name: {
                    "method": named(c.method),
                    "grid": [list(p) for p in c.candidates(budget)],
                    "width": c.width,
                    **({"training": dict(c.training)} if c.training else {}),
                    **({"network": named(c.network)} if c.network else {}),
                    **({"stream_seed": c.stream_seed} if c.stream_seed is not None else {}),
                }
                for c in self.lines(profile)
            },
        }

    def made(self, manifest: dict) -> bool:
        """Whether a manifest has the settings that are declared now, whatever the number of seeds."""
        declared = self.declaration(manifest["profile"])
        declared["budget"]["seeds"] = len(manifest["seeds"])
        return all(manifest[what] == value for what, value in declared.items())

    def lines(self, profile: str) -> tuple[Contender, ...]:
        """The contenders that a profile trains."""
        limit = self.budgets[profile].max_width or math.inf
        return tuple(c for c in self.contenders if (c.width or 0) <= limit)

    def contender(self, name: str) -> Contender:
        """The contender of that name."""
        return next(c for c in self.contenders if c.name == name)


def named(what):
    """A function by its name, one with fixed arguments with these, a plain value as it is: for JSON.

    Raises
    ------
    ValueError
        For a partial function with positional arguments, which would not be written down.
    """
    if isinstance(what, partial):
        if what.args:
            raise ValueError(
                f"{what} has positional arguments: name each of them, so that they are declared."
            )
        fixed = {key: named(value) for key, value in what.keywords.items()}
        return {"function": named(what.func), "fixed": fixed}
    return getattr(what, "__name__", what)


def on_draw(name: str, draw: int) -> str:
    """The name of a contender that is tested on a draw of its own, the seed ``draw``."""
    return f"{name}, draw {draw}"


def _seed_of(stage: str, own: int | None, usual: int) -> int:
    """What draws a stream: the contender's own seed, if it has one, in the final runs only."""
    return own if stage == "test" and own is not None else usual


def recipe(declared: dict, contender: str, stage: str) -> str:
    """The part of a declaration that decides what comes out of one contender's networks, as JSON.

    ``declared`` is :meth:`Experiment.declaration` or a manifest, which holds it; ``stage`` is "search" or
    "test". Networks of equal recipe, strength and seed are the same.
    """
    own, budget = declared["contenders"][contender], declared["budget"]
    whole = ("experiment", "profile", "dataset", "data_sha256", "stream", "importance_images")
    kept = ("measure", "curve_every") if stage == "test" else ()
    content = {
        **{what: declared[what] for what in (*whole, *kept)},
        "training": declared["training"] | own.get("training", {}),
        "budget": {what: budget[what] for what in OF_A_NETWORK},
        "stage": stage,
        "stream_seed": _seed_of(stage, own.get("stream_seed"), declared["stream_seeds"][stage]),
        "contender": contender,
        "method": own["method"],
        "width": own["width"] or budget["width"],
        "network": own.get("network", declared["network"]),
    }
    return json.dumps(content, sort_keys=True)


def powers(*values: float) -> tuple[Point, ...]:
    """A grid of one strength."""
    return tuple((float(value),) for value in values)


def pairs(first: tuple[float, ...], second: tuple[float, ...]) -> tuple[Point, ...]:
    """A grid of two strengths: every combination."""
    return tuple((float(a), float(b)) for a in first for b in second)
