"""L2 towards the previous solution: the quadratic penalty with all weights equally important."""

from dataclasses import dataclass

import torch

from cl_lib.methods import quadratic
from cl_lib.methods.quadratic import Quadratic, QuadraticMethod
from cl_lib.population import Population
from cl_lib.tasks import Task


@dataclass(frozen=True)
class L2(QuadraticMethod):
    r"""Stay near the previous solution, in every direction alike.

    .. math:: L_T(\theta)+\tfrac12\lambda\sum_i(\theta_i-\theta^*_{T-1,i})^2

    The control in Kirkpatrick et al. (2017), Fig. 2A.

    Parameters
    ----------
    strength : float or tuple of float
        :math:`\lambda`, in units of the loss over squared weights.
    step : {"implicit", "gradient"}
        How the penalty enters, see :class:`cl_lib.methods.quadratic.QuadraticMethod`.
    """

    def after_task(self, state: Quadratic | None, population: Population, task: Task) -> Quadratic:
        """Move the anchor to the weights just learned."""
        ones = {name: torch.ones_like(p) for name, p in population.of_trained(population.params).items()}
        return quadratic.single(ones, population.params)
