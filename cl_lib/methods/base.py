"""What a method is: plain fine-tuning, with six places where it may step in.

A method is a frozen dataclass of settings. What it has learned about earlier tasks lives in a *state*
that :func:`cl_lib.training.fit` carries from hook to hook, so one method object can serve many runs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cl_lib.checks import is_number
from cl_lib.population import Params, Population
from cl_lib.tasks import Task

Strength = float | tuple[float, ...]
StepSize = Callable[[str], float | Tensor]


@dataclass(frozen=True)
class Batch:
    """What one training step sees, for R replicas and B samples each.

    Attributes
    ----------
    x : Tensor (R, B, ...)
    logits : Tensor (R, B, K)
        Of all outputs, differentiable in the population's leaves.
    hidden : list of Tensor (R, B, ...)
        Activations of the hidden layers; empty unless the method ``uses_hidden``.
    """

    x: Tensor
    logits: Tensor
    hidden: list[Tensor]


class Method:
    """Base of all methods: does nothing, which is fine-tuning.

    A method that is trained at one strength, or at several side by side, has it as its attribute
    ``strength``. (None stands here: a dataclass would take it as its own default.)
    """

    restarts = False
    uses_hidden = False
    #: Whether one step trains on examples of several tasks, or on answers to several.
    mixes_tasks = False
    #: Fewest tasks with which the method does anything: 2 if it only protects earlier tasks.
    min_tasks = 1

    def tasks_seen(self, t: int) -> range:
        """Indices of the tasks whose data step ``t`` trains on."""
        return range(t, t + 1)

    def begin_task(self, state: Any, population: Population, task: Task) -> Any:
        """Prepare for the task that comes; return the new state.

        The inputs of the task, ``task.train.x``, are floating point here: uint8 is divided by 255 already.
        """
        return state

    def extra_loss(self, state: Any, population: Population, batch: Batch) -> Tensor | None:
        """What is added to the loss of each replica, ``(R,)``."""
        return None

    def add_gradient(self, state: Any, population: Population, grads: Params) -> None:
        """Add to the gradients ``(R, ...)`` in place, before the optimiser's step."""

    def after_step(self, state: Any, population: Population, step_size: StepSize) -> None:
        """Change the weights in place, after the optimiser's step.

        ``step_size(name)`` is the step that one unit of steady gradient makes.
        """

    def after_task(self, state: Any, population: Population, task: Task) -> Any:
        """Learn what matters from the finished task, as :meth:`begin_task` got it; return the new state."""
        return state

    def penalties(self, state: Any) -> list[tuple[Any, Any]]:
        """The quadratic penalties in force, each behind the method that set it."""
        return []


@dataclass(frozen=True)
class Finetune(Method):
    """Train on each task in turn and protect nothing: the lower reference line."""


@dataclass(frozen=True)
class Joint(Method):
    """Train on all tasks so far together, from the initial weights: the upper reference line.

    At the end of the stream each image has been seen as often as by the other methods.
    """

    restarts = True
    mixes_tasks = True

    def tasks_seen(self, t: int) -> range:
        """All tasks up to ``t``."""
        return range(t + 1)


def added_to_loss(method: Method, state: Any, population: Population, batch: Batch) -> Tensor | None:
    """What a method adds to the loss, if anything.

    Raises
    ------
    ValueError
        If it is not one number for each replica.
    """
    extra = method.extra_loss(state, population, batch)
    if extra is not None and extra.shape != (population.size,):
        raise ValueError(
            f"extra_loss of {type(method).__name__} has shape {tuple(extra.shape)}, but must be one "
            f"number for each replica, {(population.size,)}: a mean over the samples of each."
        )
    return extra


def strength_of(method: Method) -> Strength:
    """The strength of a method, 0 where it has none."""
    return getattr(method, "strength", 0.0)


def check_strength(strength: Strength, name: str = "strength") -> None:
    """Refuse a strength that is no number >= 0.

    Raises
    ------
    ValueError
        For a negative, NaN or infinite strength, or an empty tuple.
    """
    values = strength if isinstance(strength, tuple | list) else (strength,)
    if not values:
        raise ValueError(f"{name} is empty: give a number, or a tuple of numbers to train side by side.")
    for value in values:
        if not is_number(value) or not math.isfinite(value) or value < 0:
            raise ValueError(
                f"{name} is {strength!r}, but must be a finite number >= 0, or a tuple of them to train side "
                "by side: a negative one would reward forgetting."
            )
