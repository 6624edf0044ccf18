"""What the experiments are put together from: streams, networks, and what is measured of a run."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from cl_lib import streams
from cl_lib.data import Dataset, Split
from cl_lib.declarations import Budget
from cl_lib.models import MLP, ConvNet, MemoryMLP, network_input, weights_dtype
from cl_lib.runs import Run
from cl_lib.tasks import Stream, Task, some

# Streams and networks


def _shortened(whole: Dataset | Task, budget: Budget) -> Dataset | Task:
    """A data set or a task with at most as many images in each part as the budget says."""
    sizes = {"train": budget.n_train, "validation": budget.n_test, "test": budget.n_test}
    return replace(whole, **{part: Split(*some(getattr(whole, part), n)) for part, n in sizes.items()})


def permuted(dataset: Dataset, budget: Budget, seed: int, *, n_tasks: int, keep_first: bool = False):
    """The same images, other pixels: as many tasks as the budget says, or ``n_tasks``."""
    dataset = _shortened(dataset, budget)
    return streams.permuted(dataset, budget.n_tasks or n_tasks, seed=seed, keep_first=keep_first)


def grouped(dataset: Dataset, budget: Budget, seed: int, *, n_tasks: int, scenario: str) -> Stream:
    """Groups of classes in their order; the seed draws nothing here."""
    size = len(dataset.classes) // n_tasks
    groups = [tuple(range(size * t, size * t + size)) for t in range(n_tasks)]
    return _disjoint_tasks(dataset, groups, budget, scenario)


def three_groups(dataset: Dataset, budget: Budget, seed: int) -> Stream:
    """Three tasks of three classes: 0, 1, 2; 4, 5, 6; 7, 8, 9, as Wen & Itti (2018) have them."""
    return _disjoint_tasks(dataset, [(0, 1, 2), (4, 5, 6), (7, 8, 9)], budget)


def _disjoint_tasks(dataset: Dataset, groups, budget: Budget, scenario: str = "domain") -> Stream:
    stream = streams.disjoint(dataset, groups, scenario=scenario)
    return replace(stream, tasks=tuple(_shortened(task, budget) for task in stream))


def _n_inputs(stream: Stream) -> int:
    return math.prod(stream[0].train.x.shape[1:])


def mlp(stream: Stream, width: int) -> MLP:
    """Two hidden layers."""
    return MLP(_n_inputs(stream), (width, width), stream.n_outputs)


def glorot_mlp(stream: Stream, width: int) -> MLP:
    """:func:`mlp` with the initial weights of Keras: Glorot & Bengio (2010), equation 16; biases zero."""
    network = mlp(stream, width)
    for layer in network.layers:
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return network


def memory_mlp(stream: Stream, width: int) -> MemoryMLP:
    """Two hidden layers with memory units."""
    return MemoryMLP(_n_inputs(stream), (width, width), stream.n_outputs, n_tasks=len(stream))


class Headed(MLP):
    """:class:`cl_lib.models.MLP` with outputs of their own for each task: ``task`` says whose are in use."""

    def __init__(self, n_inputs: int, hidden: tuple[int, ...], n_outputs: int, n_tasks: int):
        super().__init__(n_inputs, hidden, n_outputs * n_tasks)
        self.n_outputs, self.n_tasks, self.task = n_outputs, n_tasks, 0

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(N, n_outputs)``."""
        first = self.task * self.n_outputs
        return super().forward(x)[:, first : first + self.n_outputs]


def headed_mlp(stream: Stream, width: int) -> Headed:
    """Two hidden layers, and an output layer for each task."""
    return Headed(_n_inputs(stream), (width, width), stream.n_outputs, len(stream))


def conv_net(stream: Stream, width: int) -> ConvNet:
    """Two convolutions of ``width`` and twice as many filters."""
    shape = tuple(stream[0].train.x.shape[1:])
    if len(shape) == 1:  # a flat square image
        shape = (1, math.isqrt(shape[0]), math.isqrt(shape[0]))
    return ConvNet(shape, (width, 2 * width), 4 * width, stream.n_outputs)


# What else is kept of a run


def _for_each(run: Run, measure: Callable[[nn.Module], list[float]]) -> np.ndarray:
    """What is measured of each replica's network, on the CPU, ``(R, ...)``."""
    with torch.no_grad():
        return np.array([measure(run.model(r).cpu()) for r in range(len(run.seeds))])


def _inputs(run: Run, task: Task) -> torch.Tensor:
    """The task's test images, as the run's networks take them."""
    return network_input(task.test.x, weights_dtype(run.params))


def class_accuracies(run: Run, stream: Stream) -> dict[str, np.ndarray]:
    """Final accuracy on each class of the first task, ``(R, classes)``."""
    task = stream[0]
    x, (first, stop) = _inputs(run, task), task.outputs

    def measure(network: nn.Module) -> list[float]:
        right = (network(x)[:, first:stop].argmax(1) + first == task.test.y).float()
        return [right[task.test.y == c].mean().item() for c in task.test.y.unique()]

    return {"class_accuracy": _for_each(run, measure)}


def active_units(run: Run, stream: Stream) -> dict[str, np.ndarray]:
    """Share of active units in each hidden layer on the last task's test images, ``(R, layers)``."""
    x = _inputs(run, stream[-1])

    def measure(network: nn.Module) -> list[float]:
        return [(h > 0).float().mean().item() for h in network(x, hidden=True)[1]]

    return {"active_units": _for_each(run, measure)}
