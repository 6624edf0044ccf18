"""Several methods at once: one keeps old weights, another leaves room, a third rehearses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cl_lib.methods.base import Batch, Method, StepSize, Strength, added_to_loss, strength_of
from cl_lib.population import Params, Population
from cl_lib.tasks import Task


@dataclass(frozen=True)
class Combined(Method):
    """Methods whose hooks run one after the other, each with its own strength and state."""

    methods: tuple[Method, ...]

    @property
    def strength(self) -> Strength:
        """The strengths that are trained side by side: those of the first method that has several.

        If none has several, the strength of the first method that has one.
        """
        own = [strength_of(method) for method in self.methods if hasattr(method, "strength")]
        return next(iter([*_several(self.methods), *own]), 0.0)

    @property
    def uses_hidden(self) -> bool:
        """Whether one of the methods needs hidden activations."""
        return any(method.uses_hidden for method in self.methods)

    @property
    def mixes_tasks(self) -> bool:
        """Whether one of the methods mixes tasks in one step."""
        return any(method.mixes_tasks for method in self.methods)

    @property
    def min_tasks(self) -> int:
        """The fewest tasks with which one of the methods does anything."""
        return min(method.min_tasks for method in self.methods)

    def begin_task(self, state: Any, population: Population, task: Task) -> tuple:
        """Prepare each method."""
        return tuple(m.begin_task(s, population, task) for m, s in self._with(state))

    def extra_loss(self, state: Any, population: Population, batch: Batch) -> Tensor | None:
        """Sum of what the methods add."""
        losses = [added_to_loss(m, s, population, batch) for m, s in self._with(state)]
        losses = [loss for loss in losses if loss is not None]
        return sum(losses) if losses else None

    def add_gradient(self, state: Any, population: Population, grads: Params) -> None:
        """Let each method add to the gradients."""
        for method, own in self._with(state):
            method.add_gradient(own, population, grads)

    def after_step(self, state: Any, population: Population, step_size: StepSize) -> None:
        """Let each method change the weights."""
        for method, own in self._with(state):
            method.after_step(own, population, step_size)

    def after_task(self, state: Any, population: Population, task: Task) -> tuple:
        """Let each method learn from the finished task."""
        return tuple(m.after_task(s, population, task) for m, s in self._with(state))

    def penalties(self, state: tuple) -> list[tuple[Any, Any]]:
        """Those of all methods."""
        return [pair for method, own in self._with(state) for pair in method.penalties(own)]

    def _with(self, state: tuple | None):
        return zip(self.methods, state or [None] * len(self.methods), strict=True)


def combine(*methods: Method) -> Combined:
    """Use several methods at once, such as ``combine(SLNID(1e-3), MAS(0.01))``.

    Strengths that are tuples are trained side by side in pairs, so they must have one length. The methods
    act in the order in which they are named. Of two stiff penalties with implicit steps the last one has
    the last word. Memory units of the task at hand are left alone by EWC, MAS and SI, which give them no
    importance until it ends, but not by L2.

    Raises
    ------
    ValueError
        For fewer than two methods, tuples of different lengths, or a method that chooses its own training
        data or starts anew with each task (joint training).
    TypeError
        For anything that is not a method.
    """
    for method in methods:
        if not isinstance(method, Method):
            raise TypeError(f"methods holds {method!r}, but each must be a method such as MAS(0.01).")
    methods = tuple(own for m in methods for own in (m.methods if isinstance(m, Combined) else (m,)))
    if len(methods) < 2:
        raise ValueError(f"methods holds {len(methods)}: combine needs two or more.")
    lengths = {len(strengths) for strengths in _several(methods)}
    if len(lengths) > 1:
        raise ValueError(
            f"strengths have {sorted(lengths)} values: they are trained in pairs, so give equally many, "
            "repeating them for a grid."
        )
    for method in methods:
        if method.restarts or type(method).tasks_seen is not Method.tasks_seen:
            raise ValueError(
                f"methods holds {type(method).__name__}, which chooses its own training data or start "
                "(tasks_seen, restarts): train it alone."
            )
    return Combined(methods)


def _several(methods: Sequence[Method]) -> list[Sequence[float]]:
    """The strengths of those methods that have several."""
    return [s for m in methods if isinstance(s := strength_of(m), tuple | list)]
