"""The named experiments behind every cached figure: stream, network, methods, grids, budgets.

An :class:`Experiment` only declares; :mod:`cl_lib.runner` trains it and :mod:`cl_lib.results` keeps it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from cl_lib import streams
from cl_lib.data import Dataset, Split
from cl_lib.methods import (
    EWC,
    L2,
    MAS,
    SI,
    SLNI,
    SLNID,
    SNI,
    SNID,
    AdversarialMemory,
    DeCov,
    Finetune,
    Joint,
    L1Activations,
    L1Weights,
    LwF,
    Method,
    Replay,
    combine,
)
from cl_lib.models import MLP, ConvNet, MemoryMLP, network_input
from cl_lib.runs import Run
from cl_lib.streams import Stream, Task, some

#: How much is trained: ``full`` for a GPU, ``cpu`` for one night on two cores, ``quick`` for minutes,
#: ``twin`` for seconds.
PROFILES = ("full", "cpu", "quick", "twin")
Point = tuple[float, ...]


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
        Replicas trained at once: the unit of work that an interruption can lose.
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

    ``method`` takes one argument for each strength, a tuple that is trained side by side.
    """

    name: str
    method: Callable[..., Method]
    grid: tuple[Point, ...] = ((),)
    width: int | None = None

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
    """

    name: str
    title: str
    dataset: str
    stream: Callable[[Dataset, Budget, int], Stream]
    network: Callable[[Stream, int], nn.Module]
    contenders: tuple[Contender, ...]
    budgets: Mapping[str, Budget]
    training: Mapping[str, float | str]
    measure: Callable[[Run, Stream], dict[str, np.ndarray]] | None = None
    curve_every: int | None = None
    convolutional: bool = False

    def declaration(self, profile: str) -> dict:
        """All that decides the numbers and can be written down: what a manifest records."""
        return {
            "experiment": self.name,
            "dataset": self.dataset,
            "profile": profile,
            "budget": asdict(self.budgets[profile]),
            "training": dict(self.training),
            "contenders": {
                c.name: {"grid": [list(p) for p in c.candidates(self.budgets[profile])], "width": c.width}
                for c in self.lines(profile)
            },
        }

    def lines(self, profile: str) -> tuple[Contender, ...]:
        """The contenders that a profile trains."""
        limit = self.budgets[profile].max_width or math.inf
        return tuple(c for c in self.contenders if (c.width or 0) <= limit)

    def contender(self, name: str) -> Contender:
        """The contender of that name."""
        return next(c for c in self.contenders if c.name == name)


def powers(*values: float) -> tuple[Point, ...]:
    """A grid of one strength."""
    return tuple((float(value),) for value in values)


def pairs(first: tuple[float, ...], second: tuple[float, ...]) -> tuple[Point, ...]:
    """A grid of two strengths: every combination."""
    return tuple((float(a), float(b)) for a in first for b in second)


# Streams and networks


def _cut(data: Split, n: int | None) -> Split:
    return Split(*some(data, n))


def _parts(budget: Budget) -> dict[str, int | None]:
    return {"train": budget.n_train, "validation": budget.n_test, "test": budget.n_test}


def permuted(dataset: Dataset, budget: Budget, seed: int, *, n_tasks: int, keep_first: bool = False):
    """The same images, other pixels: as many tasks as the budget says, or ``n_tasks``."""
    cut = {part: _cut(getattr(dataset, part), n) for part, n in _parts(budget).items()}
    dataset = replace(dataset, **cut)
    return streams.permuted(dataset, budget.n_tasks or n_tasks, seed=seed, keep_first=keep_first)


def grouped(dataset: Dataset, budget: Budget, seed: int, *, n_tasks: int, scenario: str, size=None):
    """Groups of classes in their order; the seed draws nothing here."""
    size = size or len(dataset.classes) // n_tasks
    groups = [tuple(range(size * t, size * t + size)) for t in range(n_tasks)]
    return _shortened(streams.disjoint(dataset, groups, scenario=scenario), budget)


def three_groups(dataset: Dataset, budget: Budget, seed: int) -> Stream:
    """Three tasks of three classes: 0, 1, 2; 4, 5, 6; 7, 8, 9, as Wen & Itti (2018) have them."""
    return _shortened(streams.disjoint(dataset, [(0, 1, 2), (4, 5, 6), (7, 8, 9)]), budget)


def _shortened(stream: Stream, budget: Budget) -> Stream:
    def shorten(task: Task) -> Task:
        return replace(task, **{part: _cut(getattr(task, part), n) for part, n in _parts(budget).items()})

    return replace(stream, tasks=tuple(shorten(task) for task in stream))


def _n_inputs(stream: Stream) -> int:
    return math.prod(stream[0].train.x.shape[1:])


def mlp(stream: Stream, width: int) -> MLP:
    """Two hidden layers."""
    return MLP(_n_inputs(stream), (width, width), stream.n_outputs)


def memory_mlp(stream: Stream, width: int) -> MemoryMLP:
    """Two hidden layers with memory units."""
    return MemoryMLP(_n_inputs(stream), (width, width), stream.n_outputs, n_tasks=len(stream))


def conv_net(stream: Stream, width: int) -> ConvNet:
    """Two convolutions of ``width`` and twice as many filters."""
    shape = tuple(stream[0].train.x.shape[1:])
    if len(shape) == 1:  # a flat square image
        shape = (1, math.isqrt(shape[0]), math.isqrt(shape[0]))
    return ConvNet(shape, (width, 2 * width), 4 * width, stream.n_outputs)


# Methods


N_IMPORTANCE = 1000  # images on which importance is measured


def _train(task: Task) -> Tensor:
    return some(task.train, N_IMPORTANCE)[0]


def _test(task: Task) -> Tensor:
    return some(task.test, N_IMPORTANCE)[0]


def _both(task: Task) -> Tensor:
    return torch.cat([_train(task), _test(task)])


def _classes(task: Task, first: int, stop: int) -> Tensor:
    """Training images of some of the task's classes, counted from the task's first output."""
    label = task.train.y - task.train.y.min()
    wanted = (label >= first) & (label < stop)
    return some(Split(task.train.x[wanted], task.train.y[wanted]), N_IMPORTANCE)[0]


ewc = partial(EWC, samples=N_IMPORTANCE)
mas = partial(MAS, inputs=_train)
local_mas = partial(MAS, inputs=_train, scope="local")


def _reference_lines() -> tuple[Contender, ...]:
    return (Contender("finetune", Finetune), Contender("joint", Joint))


def _all_methods(ewc_grid, si_grid, mas_grid, l2_grid) -> tuple[Contender, ...]:
    return (
        *_reference_lines(),
        Contender("L2", L2, l2_grid),
        Contender("EWC", ewc, ewc_grid),
        Contender("EWC, empirical", partial(ewc, fisher="empirical"), ewc_grid),
        Contender("online EWC", partial(ewc, anchors="latest"), ewc_grid),
        Contender("SI", SI, si_grid),
        Contender("MAS", mas, mas_grid),
        Contender("local MAS", local_mas, mas_grid),
        Contender("LwF", LwF, powers(0.1, 0.3, 1, 3)),
        Contender("replay", partial(Replay, per_task=200), powers(0.3, 1, 3)),
    )


def _memory_methods() -> tuple[Contender, ...]:
    lams = (100.0, 1e3, 1e4)
    both = pairs((0.003, 0.01, 0.03, 0.1), lams)

    def with_ewc(direction: str) -> Callable[..., Method]:
        return lambda eps, lam: combine(AdversarialMemory(eps, direction=direction), ewc(lam))

    return (
        Contender("plain", Finetune),
        Contender("EWC", ewc, powers(1, 10, 100, 1e3, 1e4)),
        Contender("AD alone", AdversarialMemory, powers(0.003, 0.01, 0.03, 0.1)),
        Contender("AD + EWC", with_ewc("adversarial"), both),
        Contender("random + EWC", with_ewc("random"), both),
        Contender("gradient + EWC", with_ewc("gradient"), pairs((0.1, 0.5, 2.0), lams)),
    )


def _selfless_methods() -> tuple[Contender, ...]:
    protect = (0.01, 0.03, 0.1)

    def with_mas(method: type[Method], strengths: tuple[float, ...]) -> dict:
        return {
            "method": lambda own, lam: combine(method(own), mas(lam)),
            "grid": pairs(strengths, protect),
        }

    inhibited, spread = (3e-4, 1e-3, 3e-3), (1e-4, 3e-4, 1e-3)
    return (
        Contender("no regulariser", mas, powers(0.001, 0.003, *protect)),
        Contender("L1 activations", **with_mas(L1Activations, (1e-4, 1e-3, 1e-2))),
        Contender("L1 weights", **with_mas(L1Weights, (1e-6, 1e-5, 1e-4))),
        Contender("DeCov", **with_mas(DeCov, (1e-4, 1e-3, 1e-2))),
        Contender("SNI", **with_mas(SNI, spread)),
        Contender("SLNI", **with_mas(SLNI, inhibited)),
        Contender("SNID", **with_mas(SNID, spread)),
        Contender("SLNID", **with_mas(SLNID, inhibited)),
        Contender(
            "SLNID + EWC",
            lambda own, lam: combine(SLNID(own), ewc(lam)),
            pairs(inhibited, (10.0, 30.0, 100.0)),
        ),
    )


def _estimators() -> tuple[Contender, ...]:
    grid = powers(*(10.0**k for k in range(0, 8)))
    online = partial(EWC, anchors="latest")
    return (
        Contender("none", Finetune),
        Contender("exact", online, grid),
        Contender("exact, 500 images", partial(online, samples=500), grid),
        Contender("sampled", partial(online, fisher="sampled"), grid),
        Contender("empirical", partial(online, fisher="empirical"), grid),
        Contender("batched, 128", partial(online, fisher="batched"), powers(*(10.0**k for k in range(1, 9)))),
    )


def _widths() -> tuple[Contender, ...]:
    lines = []
    for width in (16, 32, 64, 128, 256, 512, 1024, 2048):
        lines.append(Contender(f"finetune, {width} units", Finetune, width=width))
        lines.append(Contender(f"EWC, {width} units", ewc, powers(3, 10, 30, 100), width=width))
    return tuple(lines)


def _mas_inputs() -> tuple[Contender, ...]:
    grid = powers(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)
    sources = {
        "training": _train,
        "test": _test,
        "both": _both,
        "classes 0 and 1": partial(_classes, first=0, stop=2),
        "classes 3 and 4": partial(_classes, first=3, stop=5),
    }
    return (
        *_reference_lines(),
        *(Contender(f"MAS ({name})", partial(MAS, inputs=inputs), grid) for name, inputs in sources.items()),
        Contender("local MAS", local_mas, grid),
    )


# What else is kept of a run


def class_accuracies(run: Run, stream: Stream) -> dict[str, np.ndarray]:
    """Final accuracy on each class of the first task, ``(R, classes)``."""
    task = stream[0]
    x, (first, stop) = network_input(task.test.x), task.outputs
    rows = []
    for r in range(len(run.seeds)):
        with torch.no_grad():
            answer = run.model(r).cpu()(x)[:, first:stop].argmax(1) + first
        right = (answer == task.test.y).float()
        rows.append([right[task.test.y == c].mean().item() for c in task.test.y.unique()])
    return {"class_accuracy": np.array(rows)}


def active_units(run: Run, stream: Stream) -> dict[str, np.ndarray]:
    """Share of active units in each hidden layer on the last task's test images, ``(R, layers)``."""
    x = network_input(stream[-1].test.x)
    rows = []
    for r in range(len(run.seeds)):
        with torch.no_grad():
            hidden = run.model(r).cpu()(x, hidden=True)[1]
        rows.append([(h > 0).float().mean().item() for h in hidden])
    return {"active_units": np.array(rows)}


# The experiments

_SGD = {"lr": 0.2, "momentum": 0.0, "optimizer": "sgd"}
_ADAM = {"lr": 1e-3, "momentum": 0.0, "optimizer": "adam"}
_AUTHORS = {"lr": 0.01, "momentum": 0.9, "optimizer": "sgd"}
_TWIN = Budget(2, 0, epochs=1, batch_size=32, n_train=300, n_test=180, width=16, n_tasks=3, max_width=32)


def _budgets(full: Budget, cpu: Budget) -> dict[str, Budget]:
    quick = replace(
        cpu, seeds=2, search_seeds=2, n_train=min(1000, cpu.n_train), n_test=500, epochs=1, grid_every=2
    )
    return {"full": full, "cpu": cpu, "quick": quick, "twin": _TWIN}


def _split(scenario: str) -> Experiment:
    strong = scenario != "task"
    return Experiment(
        name=f"split-mnist-{scenario}",
        title=f"Split MNIST, {scenario}-incremental",
        dataset="mnist",
        stream=partial(grouped, n_tasks=5, scenario=scenario),
        network=mlp,
        contenders=_all_methods(
            powers(1e2, 1e3, 1e4, 1e5, 1e6),
            powers(0.1, 1, 10, 100) if not strong else powers(1, 10, 100, 1e3),
            powers(0.01, 0.1, 1, 10),
            powers(1e-3, 1e-2, 0.1, 1),
        ),
        budgets=_budgets(
            Budget(10, 3, epochs=4, batch_size=128, n_train=None, n_test=None, width=400),
            Budget(5, 2, epochs=3, batch_size=64, n_train=2000, n_test=1000, width=100, chunk=20),
        ),
        training=_ADAM,
    )


def _disjoint(name: str, title: str, dataset: str, stream, *, lr: float, cpu_train: int) -> Experiment:
    return Experiment(
        name=name,
        title=title,
        dataset=dataset,
        stream=stream,
        network=memory_mlp,
        contenders=_memory_methods(),
        budgets=_budgets(
            Budget(10, 3, epochs=5, batch_size=128, n_train=None, n_test=None, width=300),
            Budget(5, 2, epochs=3, batch_size=32, n_train=cpu_train, n_test=1500, width=100, chunk=24),
        ),
        training={**_SGD, "lr": lr},
    )


def _selfless(width: int) -> Experiment:
    return Experiment(
        name=f"selfless-{width}",
        title=f"Room for later tasks: permuted MNIST, {width} hidden units",
        dataset="mnist",
        stream=partial(permuted, n_tasks=5, keep_first=True),
        network=mlp,
        contenders=_selfless_methods(),
        budgets=_budgets(
            Budget(10, 3, epochs=5, batch_size=200, n_train=None, n_test=None, width=width),
            Budget(5, 2, epochs=3, batch_size=32, n_train=5000, n_test=1500, width=width, chunk=32),
        ),
        training=_AUTHORS,
        measure=active_units,
    )


def _fisher(name: str, title: str, dataset: str, network, cpu: Budget, full: Budget) -> Experiment:
    return Experiment(
        name=name,
        title=title,
        dataset=dataset,
        stream=partial(grouped, n_tasks=5, scenario="task"),
        network=network,
        contenders=_estimators(),
        budgets=_budgets(full, cpu),
        training=_ADAM,
        convolutional=network is conv_net,
    )


#: All experiments, by name.
#:
#: :meta hide-value:
EXPERIMENTS = {
    e.name: e
    for e in (
        Experiment(
            name="permuted-mnist",
            title="Permuted MNIST, ten tasks, one head",
            dataset="mnist",
            stream=partial(permuted, n_tasks=10),
            network=mlp,
            contenders=_all_methods(
                powers(3, 10, 30, 100),
                powers(0.03, 0.1, 0.3, 1),
                powers(0.001, 0.003, 0.01, 0.03, 0.1),
                powers(3e-4, 1e-3, 3e-3, 1e-2),
            ),
            budgets=_budgets(
                Budget(10, 3, epochs=10, batch_size=128, n_train=None, n_test=None, width=1000, chunk=30),
                Budget(5, 2, epochs=3, batch_size=32, n_train=10_000, n_test=2000, width=100, chunk=20),
            ),
            training=_SGD,
        ),
        *(_split(scenario) for scenario in ("task", "domain", "class")),
        _disjoint(
            "disjoint-mnist", "Disjoint MNIST, three tasks", "mnist", three_groups, lr=0.1, cpu_train=6000
        ),
        _disjoint(
            "disjoint-cifar10",
            "Disjoint CIFAR-10, three tasks",
            "cifar-10",
            three_groups,
            lr=0.05,
            cpu_train=4000,
        ),
        _disjoint(
            "emnist-letters",
            "EMNIST letters, five tasks",
            "emnist-letters",
            partial(grouped, n_tasks=5, scenario="domain"),
            lr=0.1,
            cpu_train=4000,
        ),
        *(_selfless(width) for width in (64, 128)),
        Experiment(
            name="width",
            title="Forgetting against width: permuted MNIST, five tasks",
            dataset="mnist",
            stream=partial(permuted, n_tasks=5),
            network=mlp,
            contenders=_widths(),
            budgets=_budgets(
                Budget(10, 3, epochs=3, batch_size=128, n_train=None, n_test=None, width=100, chunk=30),
                Budget(
                    5,
                    2,
                    epochs=3,
                    batch_size=32,
                    n_train=6000,
                    n_test=1000,
                    width=100,
                    chunk=8,
                    max_width=512,
                ),
            ),
            training=_SGD,
            curve_every=60,
        ),
        Experiment(
            name="mas-inputs",
            title="What MAS is measured on: MNIST in two tasks of five digits",
            dataset="mnist",
            stream=partial(grouped, n_tasks=2, scenario="task"),
            network=mlp,
            contenders=_mas_inputs(),
            budgets=_budgets(
                Budget(10, 3, epochs=5, batch_size=128, n_train=None, n_test=None, width=256),
                Budget(5, 2, epochs=4, batch_size=32, n_train=5000, n_test=2500, width=100, chunk=20),
            ),
            training={**_SGD, "lr": 0.05},
            measure=class_accuracies,
        ),
        _fisher(
            "fisher-split-mnist",
            "Five Fishers on split MNIST",
            "mnist",
            mlp,
            Budget(5, 2, epochs=3, batch_size=64, n_train=2000, n_test=1000, width=100, chunk=24),
            Budget(10, 3, epochs=20, batch_size=128, n_train=None, n_test=None, width=400),
        ),
        _fisher(
            "fisher-split-cifar10",
            "Five Fishers on split CIFAR-10, a small convolutional network",
            "cifar-10",
            conv_net,
            Budget(3, 2, epochs=3, batch_size=64, n_train=1000, n_test=1000, width=8, chunk=8),
            Budget(3, 2, epochs=20, batch_size=128, n_train=None, n_test=None, width=32, chunk=12),
        ),
    )
}
