r"""Memory aware synapses: a weight matters if the network's output moves with it. No labels.

.. math:: L_T(\theta)+\lambda\sum_i\Omega_i(\theta_i-\theta^*_i)^2
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from cl_lib.checks import check_inputs
from cl_lib.importance import MAS_FUNCTIONS, population_local_mas, population_mas
from cl_lib.methods import quadratic
from cl_lib.methods.quadratic import MeasuredMethod, Quadratic
from cl_lib.population import Params, Population
from cl_lib.tasks import Task

SCOPES = ("global", "local")


def training_inputs(task: Task) -> Tensor:
    """The inputs that the task was learned from."""
    return task.train.x


@dataclass(frozen=True)
class MAS(MeasuredMethod):
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
        Task -> the unlabelled inputs ``(N, ...)`` on which importance is measured. The task's own inputs are
        floating point there, uint8 divided by 255 already. Default: its training inputs. With inputs of one
        user only, what that user needs is protected.
    scope : {"global", "local"}
        ``global``: how much a weight moves the network's output. ``local``: how much it moves the output of
        its own layer, from forward activations alone, see :func:`cl_lib.importance.local_mas`.
    step : {"implicit", "gradient"}
        How the penalty enters, see :class:`cl_lib.methods.quadratic.QuadraticMethod`.

    Raises
    ------
    ValueError
        For a negative strength or an unknown choice; local MAS also for networks that it cannot measure.
    TypeError
        If ``inputs`` is no function, or gives no tensor of inputs (uint8 or floating point).
    """

    function: str = "logits"
    inputs: Callable[[Task], Tensor] = training_inputs
    scope: str = field(default="global", kw_only=True)
    factor: ClassVar[float] = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.function not in MAS_FUNCTIONS:
            raise ValueError(f"function is {self.function!r}, but must be one of {', '.join(MAS_FUNCTIONS)}.")
        if self.scope not in SCOPES:
            raise ValueError(f"scope is {self.scope!r}, but must be one of {', '.join(SCOPES)}.")
        if self.scope == "local" and self.function != "logits":
            raise ValueError(
                f'function is {self.function!r} with scope="local", which looks at the output of each layer '
                "as it is: leave function out."
            )
        if not callable(self.inputs):
            raise TypeError(
                f"inputs is a {type(self.inputs).__name__}, but must be a function of the task; for a fixed "
                "tensor x write inputs=lambda task: x."
            )

    def after_task(self, state: Quadratic | None, population: Population, task: Task) -> Quadratic:
        """Measure the importance on the task just learned and move the anchor."""
        return quadratic.accumulate(state, self._importance(population, task), population.params)

    def _importance(self, population: Population, task: Task, n: int | None = None) -> Params:
        x = self.inputs(task)
        check_inputs(x, "inputs(task)")
        x = x[:n].to(next(iter(population.params.values())).device)
        where = population.network, population.params, x
        if self.scope == "local":
            found = population_local_mas(*where, outputs=task.outputs)
        else:
            found = population_mas(*where, function=self.function, outputs=task.outputs)
        return population.of_trained(found)
