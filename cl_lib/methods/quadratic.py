r"""The one quadratic penalty under EWC, online EWC and L2.

.. math:: \tfrac12\lambda\sum_i F_i(\theta_i-\theta^*_i)^2

They differ in one thing only: how the importance :math:`F_i` of a weight is measured.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from cl_lib.methods.base import Method, StepSize, Strength, check_strength
from cl_lib.population import Params, Population
from cl_lib.tasks import Task

STEPS = ("implicit", "gradient")


def penalty(
    params: Mapping[str, Tensor], anchor: Mapping[str, Tensor], importance: Mapping[str, Tensor]
) -> Tensor:
    r""":math:`\tfrac12\sum_i F_i(\theta_i-\theta^*_i)^2` over the parameters that have an importance.

    Parameters
    ----------
    params, anchor, importance : dict of Tensor
        Tensors of one name have one shape.

    Returns
    -------
    Tensor, a scalar
        Differentiable in ``params``. Kirkpatrick et al. (2017), Eq. 3, without the factor lambda.

    Raises
    ------
    ValueError
        If there is no importance, or if params or anchor lack a name or differ in shape.
    """
    _check_alike(importance, params=params, anchor=anchor)
    return 0.5 * sum((importance[name] * (params[name] - anchor[name]) ** 2).sum() for name in importance)


@dataclass(frozen=True)
class Quadratic:
    r"""A sum of quadratic penalties, kept as the one quadratic that it is.

    :math:`\tfrac12\sum_tF_t(\theta-\theta_t)^2` :math:`{}=\tfrac12F(\theta-\mu)^2+c` with
    :math:`F=\sum_tF_t` and :math:`\mu=F^{-1}\sum_tF_t\theta_t`: memory does not grow with the number of
    tasks.

    Attributes
    ----------
    importance, centre : dict of Tensor (R, ...)
    constant : Tensor (R,)
        c, which training does not feel but the value of the penalty does.
    """

    importance: dict[str, Tensor]
    centre: dict[str, Tensor]
    constant: Tensor
    _factors: dict[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def factor(self, name: str, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """What each step needs of the importance, computed at the first step only."""
        if name not in self._factors:
            self._factors[name] = compute(self.importance[name])
        return self._factors[name]

    def value(self, params: Mapping[str, Tensor]) -> Tensor:
        """The penalty without lambda and a method's ``factor``, for each replica: ``(R,)``."""
        total = self.constant
        for name, importance in self.importance.items():
            difference = params[name] - self.centre[name]
            total = total + 0.5 * _replica_sums(importance * difference**2)
        return total

    def scaled(self, factor: float) -> "Quadratic":
        """All importances times ``factor``: the forgetting of online EWC."""
        importance = {name: factor * value for name, value in self.importance.items()}
        return Quadratic(importance, self.centre, factor * self.constant)


def single(importance: Mapping[str, Tensor], anchor: Mapping[str, Tensor]) -> Quadratic:
    """The penalty of one task. Both arguments are copied.

    Parameters
    ----------
    importance, anchor : dict of Tensor (R, ...)
        Stacked over replicas; of a single network, ``{name: value[None] for name, value in ...}``.

    Raises
    ------
    ValueError
        If there is no importance, or if anchor lacks a name or differs in shape.
    """
    _check_alike(importance, anchor=anchor)
    importance = {name: value.detach().clone() for name, value in importance.items()}
    centre = {name: anchor[name].detach().clone() for name in importance}
    first = next(iter(importance.values()))
    return Quadratic(importance, centre, first.new_zeros(len(first)))


def merge(old: Quadratic | None, new: Quadratic) -> Quadratic:
    """The sum of two penalties, exactly. In centred form, so that nothing cancels.

    Where neither has importance the centre is the newer one. A parameter that only one of them holds is
    held on by that one.
    """
    if old is None:
        return new
    importance, centre = {**old.importance, **new.importance}, {**old.centre, **new.centre}
    constant = old.constant + new.constant
    for name in filter(old.importance.__contains__, new.importance):
        f_old, f_new = old.importance[name], new.importance[name]
        total = f_old + f_new
        share = torch.where(total > 0, f_new / total.clamp_min(torch.finfo(total.dtype).tiny), 1.0)
        gap = new.centre[name] - old.centre[name]
        importance[name] = total
        centre[name] = torch.where(share == 1, new.centre[name], old.centre[name] + share * gap)
        constant = constant + 0.5 * _replica_sums(f_old * share * gap**2)
    return Quadratic(importance, centre, constant)


def accumulate(
    old: Quadratic | None, importance: Mapping[str, Tensor], params: Mapping[str, Tensor]
) -> Quadratic:
    """One penalty at the latest weights, with the importances of all tasks summed. Copies."""
    before = {} if old is None else old.importance
    zero = {name: torch.zeros_like(value) for name, value in {**before, **importance}.items()}
    total = {name: importance.get(name, z) + before.get(name, z) for name, z in zero.items()}
    return single(total, params)


def _check_alike(importance: Mapping[str, Tensor], **others: Mapping[str, Tensor]) -> None:
    if not importance:
        raise ValueError("importance is empty: a penalty needs at least one parameter to hold.")
    for what, tensors in others.items():
        for name, value in importance.items():
            if name not in tensors:
                raise ValueError(f"{what} lacks {name!r}, of which importance has a value.")
            if tensors[name].shape != value.shape:
                raise ValueError(
                    f"{what}[{name!r}] has shape {tuple(tensors[name].shape)}, but its importance has "
                    f"{tuple(value.shape)}: give tensors of one shape (of several replicas, those of one)."
                )


@dataclass(frozen=True)
class QuadraticMethod(Method):
    """A method that protects by a quadratic penalty; a subclass says what is important.

    Parameters
    ----------
    strength : float or tuple of float
        The factor lambda of the penalty. A tuple trains all its values side by side.
    step : {"implicit", "gradient"}
        ``implicit``: after each step of the optimiser, the exact minimiser of the penalty's own step
        (:meth:`after_step`); it cannot diverge. ``gradient``: the penalty's gradient is added to
        the loss's, as the papers have it; SGD diverges where ``lr * curvature > 2 * (1 + momentum)``,
        the curvature being lambda times ``factor`` times the largest importance; then training warns.

    Raises
    ------
    ValueError
        For a negative strength or an unknown step.
    """

    strength: Strength
    step: str = field(default="implicit", kw_only=True)
    #: The penalty is this times lambda/2 times the sum; 2 where a paper has no factor 1/2.
    factor: ClassVar[float] = 1.0
    min_tasks: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_strength(self.strength)
        if self.step not in STEPS:
            raise ValueError(f'step is {self.step!r}, but must be "implicit" or "gradient".')

    def add_gradient(self, state: Quadratic | None, population: Population, grads: Params) -> None:
        r"""Add :math:`\lambda F(\theta-\mu)` to the gradients (``step="gradient"``)."""
        if state is None or self.step != "gradient":
            return
        for name, centre in state.centre.items():
            p = population.params[name]
            curvature = state.factor(name, lambda f: self._curvature(f, population))
            # Not in place: autograd gives two weights that are only added one tensor for both.
            grads[name] = grads[name].addcmul(curvature, p - centre)

    def after_step(self, state: Quadratic | None, population: Population, step_size: StepSize) -> None:
        r"""Pull every weight towards its anchor (``step="implicit"``).

        .. math:: \theta\leftarrow\frac{\theta+\eta\lambda F\mu}{1+\eta\lambda F}
                  =\theta+w(\mu-\theta),\qquad w=\frac{\eta\lambda F}{1+\eta\lambda F}\in[0,1)

        Stable for every lambda. :math:`\eta` is the step that a steady gradient makes:
        ``lr / (1 - momentum)`` for SGD, where small steps go the way of the gradient form; elementwise
        for Adam, where both end at the same minimiser by different ways, as Adam's normalisation sees
        the loss alone here, and the penalty too there.
        """
        if state is None or self.step != "implicit":
            return
        for name, centre in state.centre.items():
            eta = step_size(name)
            if isinstance(eta, float):  # the same at every step
                weight = state.factor(name, lambda f, eta=eta: _weight(self._curvature(f, population) * eta))
            else:
                curvature = state.factor(name, lambda f: self._curvature(f, population))
                weight = _weight(curvature * eta)
            population.params[name].lerp_(centre, weight)

    def penalties(self, state: Quadratic | None) -> list[tuple["QuadraticMethod", Quadratic]]:
        """The penalty, once there is one."""
        return [] if state is None else [(self, state)]

    def _curvature(self, importance: Tensor, population: Population) -> Tensor:
        return like(self.factor * population.per_replica(self.strength), importance) * importance


@dataclass(frozen=True)
class MeasuredMethod(QuadraticMethod):
    """A quadratic penalty whose importance is measured on the data of each task, by ``_importance``."""

    def begin_task(self, state: Quadratic | None, population: Population, task: Task) -> Quadratic | None:
        """Measure on two samples of the first task: what cannot be measured fails before training."""
        if state is None:
            self._importance(population, task, 2)
        return state

    def _importance(self, population: Population, task: Task, n: int | None = None) -> Params:
        """What matters to a task, measured on its first ``n`` samples."""
        raise NotImplementedError


def _replica_sums(stacked: Tensor) -> Tensor:
    """Sum over all but the axis of replicas; a parameter without axes of its own is stacked to ``(R,)``."""
    return stacked.reshape(len(stacked), -1).sum(1)


def _weight(pull: Tensor) -> Tensor:
    """From eta lambda F, which is overwritten, the share of the way to the anchor."""
    pull.clamp_(max=torch.finfo(pull.dtype).max)
    return pull.div_(1 + pull)


def like(per_replica: Tensor, stacked: Tensor) -> Tensor:
    """View ``(R,)`` so that it broadcasts against ``(R, ...)``."""
    return per_replica.reshape(-1, *[1] * (stacked.ndim - 1))
