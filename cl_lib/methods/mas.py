r"""Memory aware synapses: a weight matters if the network's output moves with it. No labels.

.. math:: L_T(\theta)+\lambda\sum_i\Omega_i(\theta_i-\theta^*_i)^2
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cl_lib.importance import MAS_FUNCTIONS, population_mas
from cl_lib.methods import quadratic
from cl_lib.methods.quadratic import Quadratic, QuadraticMethod
from cl_lib.population import Population
from cl_lib.streams import Task


def training_inputs(task: Task) -> Tensor:
    """The inputs that the task was learned from."""
    return task.train.x


@dataclass(frozen=True)
class MAS(QuadraticMethod):
    r"""Memory aware synapses (Aljundi et al., 2018, Eq. 4).

    Importances of all tasks are summed, the anchor is the latest solution.

    Parameters
    ----------
    strength : float or tuple of float
        :math:`\lambda`; the penalty has no factor 1/2. Its unit is that of the loss over the importance
        times a squared weight, so its size depends on the size of the outputs.
    function : {"logits", "probabilities"}
        See :func:`cl_lib.importance.mas`.
    inputs : callable
        Task -> the unlabelled inputs ``(N, ...)`` on which importance is measured. Default: the task's
        training inputs. With inputs of one user only, what that user needs is protected.
    step : {"implicit", "gradient"}
        How the penalty enters, see :class:`cl_lib.methods.quadratic.QuadraticMethod`.
    """

    function: str = "logits"
    inputs: Callable[[Task], Tensor] = training_inputs
    factor: ClassVar[float] = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.function not in MAS_FUNCTIONS:
            raise ValueError(f"function is {self.function!r}, but must be one of {', '.join(MAS_FUNCTIONS)}.")

    def after_task(self, state: Quadratic | None, population: Population, task: Task) -> Quadratic:
        """Measure the importance on the task just learned and move the anchor."""
        importance = population_mas(
            population.network,
            population.params,
            self.inputs(task).to(next(iter(population.params.values())).device),
            function=self.function,
            outputs=task.outputs,
        )
        return quadratic.accumulate(state, importance, population.params)
