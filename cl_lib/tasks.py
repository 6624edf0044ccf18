"""A task, a stream of tasks, and the question that is asked at the test.

A :class:`Stream` is a tuple of :class:`Task` and a *scenario* (van de Ven & Tolias, 2019), which says
what the network must tell apart when it is tested:

========== ============================================ ==============================
scenario   the question at test time                    outputs
========== ============================================ ==============================
``task``   which class of *this* task? (task is given)  own outputs, only they compete
``domain`` which class? (the same classes everywhere)   shared by all tasks
``class``  which class of the whole stream?             own outputs, all compete
========== ============================================ ==============================
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from cl_lib.checks import check_alike, is_count, is_pair
from cl_lib.data import Split

__all__ = ["SCENARIOS", "Stream", "Task", "check_scenario", "some"]

#: What the network is asked when it is tested, see above.
SCENARIOS = ("task", "domain", "class")


@dataclass(frozen=True)
class Task:
    """One task: its data, and the outputs ``(first, stop)`` that compete in it, ``stop`` excluded."""

    name: str
    train: Split
    validation: Split
    test: Split
    outputs: tuple[int, int]


@dataclass(frozen=True)
class Stream:
    """Tasks in the order in which they are learned.

    Raises
    ------
    ValueError
        If there is no task, if inputs differ in shape or some are uint8 and others not, if a task's outputs
        lie outside ``n_outputs`` or are not those that the scenario says (see the table), or if a label lies
        outside the outputs of its task.
    TypeError
        If a task's outputs are no pair of whole numbers.

    Warns
    -----
    UserWarning
        If a task has a single output of its own (scenario ``task``), which is right whatever is learned.
    """

    name: str
    scenario: str
    tasks: tuple[Task, ...]
    n_outputs: int

    def __post_init__(self) -> None:
        check_scenario(self.scenario)
        if not self.tasks:
            raise ValueError("tasks is empty: a stream needs at least one task.")
        like = self.tasks[0].train.x
        for task in self.tasks:
            if not (isinstance(task.outputs, tuple) and is_pair(task.outputs)):
                raise TypeError(
                    f"{task.name}: outputs is {task.outputs!r}, but must be a tuple (first, stop)."
                )
            first, stop = task.outputs
            if not 0 <= first < stop <= self.n_outputs:
                raise ValueError(
                    f"{task.name}: outputs is {task.outputs}, but must be (first, stop) within the stream's "
                    f"n_outputs={self.n_outputs}."
                )
            for part in ("train", "validation", "test"):
                _check_split(getattr(task, part), task, part, like)
        _check_outputs(self)
        _warn_of_single_outputs(self)

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, index: int) -> Task:
        return self.tasks[index]

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)


def some(data: Split, n: int | None) -> tuple[Tensor, Tensor]:
    """Inputs and labels of ``n`` samples, drawn with a fixed seed; of all if ``n`` is None or too many."""
    if n is None or n >= len(data):
        return data.x, data.y
    chosen = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:n].to(data.x.device)
    return data.x[chosen], data.y[chosen]


def check_scenario(scenario: str) -> None:
    """Refuse a name that is none of :data:`SCENARIOS`."""
    if scenario not in SCENARIOS:
        raise ValueError(f"scenario is {scenario!r}, but must be one of {', '.join(SCENARIOS)}.")


def stream_of(
    name: str,
    scenario: str,
    names: Sequence[str],
    parts: Sequence[dict[str, Split]],
    sizes: Sequence[int],
) -> Stream:
    """A stream of tasks with these names, splits by part, and numbers of classes."""
    firsts = first_outputs(sizes, scenario)
    n_outputs = max(first + size for first, size in zip(firsts, sizes, strict=True))
    tasks = []
    for task_name, splits, first, size in zip(names, parts, firsts, sizes, strict=True):
        own = (first, first + size) if scenario == "task" else (0, n_outputs)
        tasks.append(Task(task_name, outputs=own, **splits))
    return Stream(name, scenario, tuple(tasks), n_outputs)


def first_outputs(sizes: Sequence[int], scenario: str) -> list[int]:
    """The output of each task's first class: tasks of so many classes share outputs or have their own."""
    check_scenario(scenario)
    if scenario == "domain":
        return [0] * len(sizes)
    return [sum(sizes[:t]) for t in range(len(sizes))]


def check_n_tasks(count: int, what: str) -> None:
    """Refuse a number of tasks that is no whole number, or 0."""
    if not is_count(count):
        raise ValueError(f"{what} is {count!r}, but a stream needs a whole number of tasks, 1 or more.")


def _check_outputs(stream: Stream) -> None:
    """Hold the outputs that compete against the scenario, which is what a reader of a result believes."""
    outputs = [task.outputs for task in stream]
    apart = all(one[1] <= other[0] for one, other in pairwise(sorted(outputs)))
    everything = (0, stream.n_outputs)
    fits, wanted = {
        "task": (apart, "ranges that do not overlap"),
        "domain": (len(set(outputs)) == 1, "the same for all tasks"),
        "class": (set(outputs) == {everything}, f"{everything} for all tasks"),
    }[stream.scenario]
    if not fits:
        raise ValueError(
            f"scenario is {stream.scenario!r}, where outputs must be {wanted}, but they are {outputs}."
        )


def _warn_of_single_outputs(stream: Stream) -> None:
    alone = [task.name for task in stream if task.outputs[1] - task.outputs[0] == 1]
    if alone and stream.scenario == "task":
        warnings.warn(
            f"{stream.name}: in {', '.join(alone)} a single output competes with none, so that every answer "
            "is right and nothing is learned. Give each task two classes, or use another scenario.",
            stacklevel=4,
        )


def _check_split(data: Split, task: Task, part: str, like: Tensor) -> None:
    why = "all tasks of a stream share one network and so one input shape"
    check_alike(data.x, like, f"{task.name}: {part}", "the first task's", why)
    first, stop = task.outputs
    low, high = int(data.y.min()), int(data.y.max())
    if low < first or high >= stop:
        raise ValueError(
            f"{task.name}: {part} labels run from {low} to {high}, "
            f"but the outputs of this task are {first} to {stop - 1}."
        )
