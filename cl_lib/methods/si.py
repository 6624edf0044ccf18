r"""Synaptic intelligence: a weight matters if moving it brought the loss down.

.. math:: \omega_i=-\sum_{\text{steps}}g_i\,\Delta\theta_i,\qquad
          \Omega_i\leftarrow\max\Big(0,\,\Omega_i+\frac{\omega_i}{\Delta_i^2+\xi}\Big)
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from cl_lib.checks import check_positive
from cl_lib.methods import quadratic
from cl_lib.methods.base import StepSize
from cl_lib.methods.quadratic import Quadratic, QuadraticMethod
from cl_lib.population import Params, Population
from cl_lib.tasks import Task


@dataclass(frozen=True)
class Path:
    """What SI keeps: the penalty of earlier tasks, and the path of this one. All ``(R, ...)``.

    ``before`` and ``slope`` are the weights and the loss's gradient at the step under way.
    """

    penalty: Quadratic | None
    start: Params
    work: Params
    before: Params
    slope: Params


@dataclass(frozen=True)
class SI(QuadraticMethod):
    r"""Synaptic intelligence (Zenke et al., 2017, Eq. 4 and 5).

    The penalty is :math:`c\sum_i\Omega_i(\theta_i-\theta^*_i)^2` at the latest solution, without a factor
    1/2. The path integral takes the gradient of the task's loss alone, without the penalty's; importances
    are summed over tasks and clipped at 0 from below, as in the authors' code. Within
    :func:`~cl_lib.methods.combine` the slope holds the terms that other methods add to the loss, and the
    penalty gradients of methods named before SI.

    Parameters
    ----------
    strength : float or tuple of float
        c, dimensionless.
    damping : float
        :math:`\xi`, in squared units of a weight; keeps weights that hardly moved from mattering most.
    step : {"implicit", "gradient"}
        How the penalty enters, see :class:`cl_lib.methods.quadratic.QuadraticMethod`.

    Raises
    ------
    ValueError
        For a negative strength or a damping that is not above 0.
    """

    damping: float = 0.1
    factor: ClassVar[float] = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self.damping, "damping")

    def begin_task(self, state: Path | None, population: Population, task: Task) -> Path:
        """Start a new path at the weights as they are."""
        zeros = {name: torch.zeros_like(p) for name, p in population.of_trained(population.params).items()}
        penalty = None if state is None else state.penalty
        return Path(penalty, start=population.copy(), work=zeros, before={}, slope={})

    def add_gradient(self, state: Path, population: Population, grads: Params) -> None:
        """Note weights and slope before the step; then add the penalty's gradient, if asked for."""
        for name, grad in grads.items():
            state.before[name] = population.params[name].clone()
            state.slope[name] = grad.clone()
        super().add_gradient(state.penalty, population, grads)

    def after_step(self, state: Path, population: Population, step_size: StepSize) -> None:
        """Take the penalty's step, if implicit; then add the work of the whole step to the path."""
        super().after_step(state.penalty, population, step_size)
        for name, work in state.work.items():
            work.addcmul_(state.slope[name], state.before[name] - population.params[name])

    def after_task(self, state: Path, population: Population, task: Task) -> Path:
        """Turn the path into importances and move the anchor."""
        importance = {}
        for name, work in state.work.items():
            moved = population.params[name] - state.start[name]
            old = 0.0 if state.penalty is None else state.penalty.importance[name]
            importance[name] = (old + work / (moved**2 + self.damping)).clamp_min(0)
        penalty = quadratic.single(importance, population.params)
        return Path(penalty, start={}, work={}, before={}, slope={})

    def penalties(self, state: Path) -> list[tuple[QuadraticMethod, Quadratic]]:
        """The penalty of earlier tasks, once there is one."""
        return super().penalties(state.penalty)
