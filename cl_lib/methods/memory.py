r"""Long-term memory: each task shifts the hidden units its own way, and is looked up by its index.

.. math:: M_t\leftarrow M_t-\varepsilon\,\mathrm{sign}(\partial L_t/\partial M_t)
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cl_lib.checks import check_seed
from cl_lib.methods.base import Method, Strength, check_strength
from cl_lib.models import MemoryMLP
from cl_lib.population import Params, Population
from cl_lib.tasks import Task

DIRECTIONS = ("adversarial", "random", "gradient")


@dataclass(frozen=True)
class Moving:
    """The task whose memory units move, and each seed's random numbers for the ``random`` direction."""

    task: int
    sources: list[torch.Generator]


@dataclass(frozen=True)
class AdversarialMemory(Method):
    r"""Memory units moved along the adversarial direction, our reading of Wen & Itti (2018).

    Only the abstract and the opening of the paper could be read. *Verified there:* task-dependent memory
    units, moved along the (adversarial) direction of the task's gradient, beside EWC on the shared weights.
    *Our reading:* the units are vectors added to what the hidden layers receive; they start at zero, take one
    signed step of size :math:`\varepsilon` for every batch of their task, are frozen when the task ends, and
    the task's index is known when it is tested. Use it with :class:`cl_lib.models.MemoryMLP`, and as
    ``combine(AdversarialMemory(0.1), EWC(1000))`` for AD+EWC.

    Parameters
    ----------
    strength : float or tuple of float
        :math:`\varepsilon`, the step of a unit, in units of what a hidden layer receives.
    direction : {"adversarial", "random", "gradient"}
        ``adversarial``: the sign of the gradient; it lowers the loss as an adversarial example raises it.
        For ablations, ``random``: a random sign; ``gradient``: the gradient itself, a plainly trained bias of
        the task with the learning rate :math:`\varepsilon`.
    seed : int
        Of the random signs, with the replica's own seed.

    Raises
    ------
    ValueError
        For a negative strength or an unknown direction.
    TypeError
        For a seed that is no whole number; in training, if the network has no memory units.
    """

    strength: Strength
    direction: str = field(default="adversarial", kw_only=True)
    seed: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        check_strength(self.strength)
        if self.direction not in DIRECTIONS:
            raise ValueError(f"direction is {self.direction!r}, but must be one of {', '.join(DIRECTIONS)}.")
        check_seed(self.seed)

    def begin_task(self, state: Moving | None, population: Population, task: Task) -> Moving:
        """From now on the units of this task move."""
        network = population.network
        if not isinstance(network, MemoryMLP):
            raise TypeError(
                f"model is a {type(network).__name__}, which has no memory units; use cl_lib.MemoryMLP."
            )
        return Moving(network.task, population.sources(self.seed) if state is None else state.sources)

    def add_gradient(self, state: Moving, population: Population, grads: Params) -> None:
        """Move the units of this task; the optimiser leaves them alone."""
        step = population.per_replica(self.strength)
        for name in grads:
            if name.startswith("memory."):
                own = grads[name][:, state.task]
                population.params[name][:, state.task] -= step[:, None] * self._along(own, state, population)
                grads[name].zero_()

    def _along(self, grad: Tensor, state: Moving, population: Population) -> Tensor:
        if self.direction == "gradient":
            return grad
        if self.direction == "adversarial":
            return grad.sign()
        coins = population.drawn(
            lambda source: torch.randint(2, grad.shape[1:], generator=source), state.sources
        )
        return (2 * coins - 1).to(grad)
