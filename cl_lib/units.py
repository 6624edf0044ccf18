"""Units of work of an experiment: what is trained at once, and what an interruption can lose.

A unit is one method at some points of its grid, with some seeds. It is a pure function of its
declaration, so it can run anywhere and again. Each of its replicas is what it would be alone, and is kept
under a name of its own: more seeds or more points of a grid leave what is there as it is.
"""

import hashlib
import json
import re
import threading
import time
from collections.abc import Container
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch

from cl_lib import metrics
from cl_lib.data import Dataset, load
from cl_lib.declarations import Budget, Contender, Experiment, Point, recipe
from cl_lib.experiments import EXPERIMENTS
from cl_lib.methods import Method
from cl_lib.provenance import record_of
from cl_lib.results import DIGITS, CorruptResult, load_arrays, pack_arrays
from cl_lib.tasks import Stream
from cl_lib.training import fit, training_device

FIRST_SEARCH_SEED = 1000
# On a CPU: at so many units of a hidden layer a network is fastest alone; of narrower ones, so many at once.
WIDE_ON_CPU, MOST_ON_CPU = 1000, 20


@dataclass(frozen=True)
class Unit:
    """One call of :func:`cl_lib.training.fit`: all ``points`` with all ``seeds``."""

    experiment: str
    profile: str
    budget: Budget
    stage: str
    contender: str
    points: tuple[Point, ...]
    seeds: tuple[int, ...]

    @property
    def key(self) -> str:
        """A name that is another one for every other declaration."""
        declared = EXPERIMENTS[self.experiment].declaration(self.profile, self.budget)
        content = [recipe(declared, self.contender, self.stage), self.points, self.seeds]
        digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
        slug = re.sub("[^A-Za-z0-9]+", "-", self.contender).strip("-")
        return f"{self.stage}-{slug}-{digest}"

    def __str__(self) -> str:
        """As a message names it."""
        points = ", ".join("(" + ", ".join(f"{s:g}" for s in point) + ")" for point in self.points if point)
        strengths = f" at {points}" if points else ""
        return f"{self.experiment}: {self.contender}{strengths}, seeds {', '.join(map(str, self.seeds))}"

    @property
    def dataset(self) -> str:
        """Name of the data set; twins train on digits."""
        return "digits" if self.profile == "twin" else EXPERIMENTS[self.experiment].dataset

    @property
    def width(self) -> int:
        """Units of a hidden layer: the contender's own, or the budget's."""
        return EXPERIMENTS[self.experiment].contender(self.contender).width or self.budget.width

    @property
    def n_replicas(self) -> int:
        """Networks trained at once."""
        return len(self.points) * len(self.seeds)

    def replicas(self) -> list["Unit"]:
        """Each point with each seed as a unit of its own, in the order of the outcome."""
        return [replace(self, points=(point,), seeds=(seed,)) for point in self.points for seed in self.seeds]

    def halves(self) -> list["Unit"]:
        """Its points in two parts or, of a single one, its seeds."""
        what = "points" if len(self.points) > 1 else "seeds"
        values = getattr(self, what)
        middle = len(values) // 2
        return [replace(self, **{what: half}) for half in (values[:middle], values[middle:])]

    def without(self, known: Container["Unit"]) -> list["Unit"]:
        """What is left if some replicas are known: points that lack the same seeds stay together."""
        points_of: dict[tuple[int, ...], list[Point]] = {}
        for point in self.points:
            own = replace(self, points=(point,)).replicas()
            lacking = tuple(replica.seeds[0] for replica in own if replica not in known)
            points_of.setdefault(lacking, []).append(point)
        points_of.pop((), None)
        return [replace(self, points=tuple(points), seeds=seeds) for seeds, points in points_of.items()]

    @property
    def effort(self) -> float:
        """Rough measure of its cost, for the estimate of the time that is left.

        As if each network had two hidden layers, on the pixels of MNIST.
        """
        more = 3 if self.contender == "joint" else 1
        return self.n_replicas * self.budget.epochs * self.width * (784 + self.width) * more


@dataclass(frozen=True)
class Outcome:
    """What a unit leaves: matrices ``(R, T, T)``, other arrays, and how it was made."""

    accuracy: np.ndarray
    arrays: dict[str, np.ndarray]
    record: dict

    def split(self) -> list["Outcome"]:
        """The outcome of each replica, with an equal share of the time."""
        n = len(self.accuracy)
        record = self.record | {"seconds": round(self.record["seconds"] / n, 3)}
        return [
            Outcome(self.accuracy[[r]], {what: array[[r]] for what, array in self.arrays.items()}, record)
            for r in range(n)
        ]

    def pack(self) -> bytes:
        """As bytes: an NPZ file behind its SHA-256."""
        record = np.frombuffer(json.dumps(self.record).encode(), np.uint8)
        content = pack_arrays({"accuracy": self.accuracy, "record": record, **self.arrays})
        return hashlib.sha256(content).digest() + content

    @staticmethod
    def unpack(content: bytes) -> "Outcome":
        """Read what :meth:`pack` wrote; raises :class:`cl_lib.results.CorruptResult`."""
        digest, content = content[:32], content[32:]
        if hashlib.sha256(content).digest() != digest:
            raise CorruptResult("it is not what was written")
        arrays = load_arrays(content)
        record = json.loads(arrays.pop("record").tobytes())
        return Outcome(arrays.pop("accuracy"), arrays, record)


def search_units(experiment: Experiment, profile: str, budget: Budget, *, on_cpu=False) -> list[Unit]:
    """The search for strengths, for every contender that has a choice; smaller units ``on_cpu``."""
    first, units = FIRST_SEARCH_SEED, []
    for contender in experiment.lines(profile):
        points, n = contender.candidates(budget), _at_once(contender, budget, on_cpu)
        for some in _chunks(points, max(1, n // budget.search_seeds)) if len(points) > 1 else ():
            for seeds in _chunks(tuple(range(first, first + budget.search_seeds)), n):
                units.append(Unit(experiment.name, profile, budget, "search", contender.name, some, seeds))
    return units


def test_units(
    experiment: Experiment, profile: str, budget: Budget, chosen: dict[str, Point], *, on_cpu=False
) -> list[Unit]:
    """The final runs, each contender at its chosen point; smaller units ``on_cpu``."""
    return [
        Unit(experiment.name, profile, budget, "test", contender.name, (chosen[contender.name],), seeds)
        for contender in experiment.lines(profile)
        for seeds in _chunks(tuple(range(budget.seeds)), _at_once(contender, budget, on_cpu))
    ]


def _at_once(contender: Contender, budget: Budget, on_cpu: bool) -> int:
    """Replicas trained at once: of a network wider than the budget's, fewer; side by side they slow down.

    A CPU, whose cache is small, has the least to gain from many, and they would be lost together.
    """
    width, most = contender.width or budget.width, budget.chunk
    if on_cpu:
        most = 1 if width >= WIDE_ON_CPU else min(most, MOST_ON_CPU)
    return max(1, min(most, budget.chunk * budget.width // width))


def choose(experiment: Experiment, profile: str, budget: Budget, outcomes: dict[Unit, Outcome]) -> dict:
    """The point of each contender with the best mean validation accuracy; one that diverged never is.

    Raises
    ------
    FloatingPointError
        If a contender diverged at every point of its grid.
    """
    scores: dict[str, dict[Point, list[float]]] = {}
    for unit, outcome in outcomes.items():
        of_points = metrics.average_accuracy(outcome.accuracy).reshape(len(unit.points), -1)
        for point, found in zip(unit.points, of_points, strict=True):
            scores.setdefault(unit.contender, {}).setdefault(point, []).extend(found)
    chosen = {c.name: c.candidates(budget)[0] for c in experiment.lines(profile)}
    for contender, found in scores.items():
        means = {point: np.mean(of_seeds) for point, of_seeds in found.items()}
        finite = {point: mean for point, mean in means.items() if np.isfinite(mean)}
        if not finite:
            raise FloatingPointError(
                f"{experiment.name}: {contender} diverged at every strength of its grid; lower them."
            )
        chosen[contender] = max(finite, key=finite.get)
    return chosen


def run_unit(unit: Unit, device: str = "auto") -> Outcome:
    """Train a unit. A single network of a search that diverges gets NaN: its strength is out.

    Raises
    ------
    FloatingPointError
        If a final run diverges, or one of several networks, which would take the others along.
    MemoryError
        If a GPU has not enough of it.
    """
    with _ONE_AT_A_TIME:
        place = training_device(device)
        if place.type == "cuda":
            torch.cuda.reset_peak_memory_stats(place)
        started = time.perf_counter()
        try:
            run, arrays, used = train(unit, device)
            accuracy = np.round(run.accuracy, DIGITS)
        except FloatingPointError as error:
            if unit.stage != "search" or unit.n_replicas > 1:
                raise FloatingPointError(f"{unit}: {error}") from None
            n_tasks = len(_stream(unit))
            accuracy, arrays, used = np.full((1, n_tasks, n_tasks), np.nan), {}, str(place)
        except torch.OutOfMemoryError as error:
            raise MemoryError(
                f"{unit}: {place} has not enough memory ({str(error).splitlines()[0]}). Start fewer "
                "processes there; the same command goes on from here."
            ) from None
        return Outcome(accuracy, arrays, record_of(used, time.perf_counter() - started))


# Initial weights come from torch's random state, which the threads of a process share.
_ONE_AT_A_TIME = threading.Lock()


def train(unit: Unit, device: str, method: Method | None = None, dtype: torch.dtype = torch.float32):
    """The run of a unit, what is kept of it, and its device; ``method`` is for another than its own."""
    experiment = EXPERIMENTS[unit.experiment]
    searching = unit.stage == "search"
    stream, contender = _stream(unit), experiment.contender(unit.contender)
    network = contender.network or experiment.network
    run = fit(
        lambda: network(stream, unit.width),
        stream,
        method or contender.build(unit.points),
        epochs=unit.budget.epochs,
        batch_size=unit.budget.batch_size,
        seeds=unit.seeds,
        evaluate="validation" if searching else "test",
        curve_every=None if searching else experiment.curve_every,
        device=device,
        dtype=dtype,
        progress=False,
        **{**experiment.training, **contender.training},
    )
    arrays = {} if searching else _kept(experiment, run, stream)
    return run, arrays, str(next(iter(run.params.values())).device)


def _stream(unit: Unit) -> Stream:
    experiment = EXPERIMENTS[unit.experiment]
    seed = experiment.contender(unit.contender).seed_of_stream(unit.stage)
    return experiment.stream(_dataset(unit.dataset), unit.budget, seed)


_RESERVED = ("accuracy", "record", "effect", "curve", "curve_step", "weight_size")


def _kept(experiment: Experiment, run, stream) -> dict[str, np.ndarray]:
    arrays = experiment.measure(run, stream) if experiment.measure else {}
    for what, array in arrays.items():
        if what in _RESERVED:
            raise ValueError(
                f"measure of {experiment.name!r} gives {what!r}, a name that is kept for what every run has: "
                f"choose one other than {', '.join(_RESERVED)}."
            )
        if len(array) != len(run.seeds):
            raise ValueError(
                f"measure of {experiment.name!r} gives {what!r} with a first axis of {len(array)}, but there "
                f"are {len(run.seeds)} replicas: their axis must be the first."
            )
    if run.curves is not None:
        arrays |= {
            "curve": run.curves.accuracy.astype(np.float32),
            "curve_step": np.tile(run.curves.step, (len(run.seeds), 1)),
        }
    sizes = [p.double().flatten(1).square().mean(1).cpu() for p in run.params.values()]
    return arrays | {"weight_size": torch.stack(sizes, 1).mean(1).sqrt().numpy()}


@lru_cache(maxsize=2)
def _dataset(name: str) -> Dataset:
    return load(name)


def _chunks(items: tuple, size: int) -> list[tuple]:
    return [items[i : i + size] for i in range(0, len(items), size)]
