"""Warnings, with numbers, about quadratic penalties that cannot work: too stiff, or not felt at all."""

import math
import warnings
from numbers import Real

from torch import Tensor
from torch.nn import functional

from cl_lib.methods.base import Method, Strength
from cl_lib.methods.quadratic import Quadratic, QuadraticMethod
from cl_lib.models import evaluation_mode
from cl_lib.population import Params, Population, masked
from cl_lib.tasks import Task

FELT = 1e-3  # a penalty below this share of the loss ...
PULLS = 0.1  # ... whose pull is below this share of the loss's slope does nothing
CALLER_OF_FIT = 4  # a guard is called by the trainer, which is called by fit
LastBatch = tuple[Tensor, Tensor, tuple[int, int] | Tensor]  # x, y, outputs that compete


class UnstablePenalty(UserWarning):
    """Explicit steps on a penalty diverge."""


class IneffectivePenalty(UserWarning):
    """A penalty is so small that training does not feel it."""


def warn_if_unstable(
    method: Method, state: object, population: Population, task: Task, lr: float, momentum: float
) -> None:
    r"""Warn where SGD is unstable on the penalty alone (``step="gradient"``).

    .. math:: \mathrm{lr}\cdot\lambda\cdot\text{factor}\cdot\max_iF_i>2\,(1+\text{momentum})

    The factor is 1 for EWC and L2, 2 for SI and MAS. The limit is that of heavy-ball steps on a parabola;
    the loss's own curvature, which comes on top, is left out. Checked once, before the task's training.
    """
    limit = 2 * (1 + momentum)
    for one, penalty in method.penalties(state):
        if one.step != "gradient":
            continue
        stiffness, replica, name = _stiffest(one, penalty, population)
        if lr * stiffness > limit:
            strength = float(population.per_replica(one.strength)[replica])
            largest = stiffness / one.factor / strength
            warnings.warn(
                f"strength is {strength:g}, too much for explicit steps on {task.name!r}: "
                f"lr * {one.factor:g} * strength * largest importance = {lr:g} * {one.factor:g} * "
                f"{strength:g} * {largest:.3g} = {lr * stiffness:.3g} in {name!r}, and SGD diverges above "
                f"2 * (1 + momentum) = {limit:g}. Take {type(one).__name__} with a strength below "
                f'{strength * limit / (lr * stiffness):.2g}, a lower lr, or step="implicit", which is '
                "stable for every strength.",
                UnstablePenalty,
                stacklevel=CALLER_OF_FIT,
            )


class Effect:
    """Whether penalties of strength > 0 are felt: warns of those below 0.1 % of the loss after every task.

    Measured after a task's training, on its last batch, in evaluation mode; warned of once, after the last
    task, if it holds for every task and every replica. A penalty so strong that it holds the weights at
    the anchor is small as well; it is told apart by its pull, which there balances the slope of the
    loss, and here is below a tenth of it. Several strengths side by side are a search, which may
    include weak ones: no warning.
    """

    def __init__(self) -> None:
        self.felt: set[int] = set()
        self.unfelt: dict[int, tuple[QuadraticMethod, float, float]] = {}

    def measure(self, method: Method, state: object, population: Population, batch: LastBatch) -> None:
        """Look at each penalty in force, after the training of a task."""
        found = [(one, p) for one, p in method.penalties(state) if _is_one_strength(one.strength)]
        if not found:
            return
        loss, slopes = _loss_and_slope(population, *batch)
        for i, (one, penalty) in enumerate(found):
            factor = one.factor * one.strength
            share = float((factor * penalty.value(population.params) / loss).max())
            pull = {
                name: factor * f * (population.params[name] - penalty.centre[name])
                for name, f in penalty.importance.items()
            }
            if share >= FELT or (_norms(pull) >= PULLS * _norms(slopes)).any():
                self.felt.add(i)
                continue
            largest = _stiffest(one, penalty, population)[0] / factor
            _, *before = self.unfelt.get(i, (one, 0.0, 0.0))
            self.unfelt[i] = (one, max(share, before[0]), max(largest, before[1]))

    def warn(self) -> None:
        """Warn of the penalties that were never felt."""
        for i in sorted(self.unfelt.keys() - self.felt):
            one, share, largest = self.unfelt[i]
            warnings.warn(
                f"strength is {float(one.strength):g}, but after each task the penalty of "
                f"{type(one).__name__} is at most {share:.1e} of the loss, below {FELT:g}: it does nothing. "
                f"The largest importance is {largest:.2g}. Raise strength, train longer, or find out why the "
                "importance is small (gradients averaged before they are squared, a network so sure that "
                "they vanish) or why the anchor moves along (a view of the live weights, not a copy).",
                IneffectivePenalty,
                stacklevel=CALLER_OF_FIT,
            )


def _is_one_strength(strength: Strength) -> bool:
    return isinstance(strength, Real) and strength > 0


def _stiffest(method: QuadraticMethod, penalty: Quadratic, population: Population) -> tuple[float, int, str]:
    """Largest curvature of the penalty, the replica and the parameter that have it."""
    factors = method.factor * population.per_replica(method.strength)
    largest = (-math.inf, 0, "")
    for name, importance in penalty.importance.items():
        tops = factors * importance.reshape(population.size, -1).amax(1)
        largest = max(largest, (float(tops.max()), int(tops.argmax()), name))
    return largest


def _loss_and_slope(
    population: Population, x: Tensor, y: Tensor, outputs: tuple[int, int] | Tensor
) -> tuple[Tensor, Params]:
    """Loss of each replica ``(R,)`` on a batch, and its gradient."""
    with evaluation_mode(population.network):
        logits = masked(population.logits(x), outputs)
    losses = functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none")
    loss = losses.reshape(y.shape).mean(1)
    return loss.detach(), population.gradient(loss.sum())


def _norms(stacked: Params) -> Tensor:
    """Euclidean norm over all parameters, ``(R,)``."""
    return sum((p**2).reshape(len(p), -1).sum(1) for p in stacked.values()).sqrt()
