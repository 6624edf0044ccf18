r"""Elastic weight consolidation: the importance of a weight is its Fisher information.

.. math:: L_T(\theta)+\tfrac12\lambda\sum_{t<T}\sum_iF_{t,i}(\theta_i-\theta^*_{t,i})^2
"""

from dataclasses import dataclass

import torch

from cl_lib.checks import is_count, is_number
from cl_lib.importance import FISHER_KINDS, population_fisher
from cl_lib.methods import quadratic
from cl_lib.methods.quadratic import MeasuredMethod, Quadratic
from cl_lib.population import Params, Population
from cl_lib.tasks import Task, some

ANCHORS = ("separate", "latest")


@dataclass(frozen=True)
class EWC(MeasuredMethod):
    r"""Elastic weight consolidation (Kirkpatrick et al., 2017, Eq. 3).

    Parameters
    ----------
    strength : float or tuple of float
        :math:`\lambda`, dimensionless: a loss has no unit, and the Fisher is one over a squared weight. A
        tuple trains all its values side by side.
    fisher : {"exact", "sampled", "empirical", "batched"}
        How the Fisher is estimated, see :func:`cl_lib.importance.fisher`. The labels of ``sampled`` are
        drawn anew for each seed of the run.
    anchors : {"separate", "latest"}
        ``separate``: each task's penalty stays at that task's own solution, as in the paper and the
        authors' reply (2018); merged exactly, in constant memory. ``latest``: one penalty with the
        summed Fisher at the latest solution, Huszar (2018); with ``gamma < 1`` it is online EWC.
    gamma : float in [0, 1]
        Forgetting factor of online EWC (Schwarz et al., 2018, Eq. 8 and 9), which multiplies the
        summed Fisher in the update and in the penalty. Only with ``anchors="latest"``. Their normalisation
        of each task's Fisher, by which tasks of unlike loss count alike, is left out.
    samples : int, optional
        Measure the Fisher on so many of the task's training samples, drawn with a fixed seed; van de Ven
        (2025) finds 500 to be enough for the exact one. Default: all.
    step : {"implicit", "gradient"}
        How the penalty enters, see :class:`cl_lib.methods.quadratic.QuadraticMethod`.

    Raises
    ------
    ValueError
        For a negative strength or an unknown choice.
    """

    fisher: str = "exact"
    anchors: str = "separate"
    gamma: float = 1.0
    samples: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fisher not in FISHER_KINDS:
            raise ValueError(f"fisher is {self.fisher!r}, but must be one of {', '.join(FISHER_KINDS)}.")
        if self.anchors not in ANCHORS:
            raise ValueError(f"anchors is {self.anchors!r}, but must be one of {', '.join(ANCHORS)}.")
        inside = is_number(self.gamma) and 0 <= self.gamma <= 1
        if not inside or (self.gamma < 1 and self.anchors == "separate"):
            raise ValueError(
                f"gamma is {self.gamma} with anchors={self.anchors!r}, but must lie in [0, 1], "
                'and forgetting (gamma < 1) is defined for anchors="latest" only.'
            )
        if self.samples is not None and not is_count(self.samples):
            raise ValueError(
                f"samples is {self.samples!r}, but must be a whole number, 1 or more, or None for all."
            )

    def after_task(self, state: Quadratic | None, population: Population, task: Task) -> Quadratic:
        """Measure the Fisher on the task just learned and add it to the penalty."""
        importance = self._importance(population, task)
        if self.anchors == "separate":
            merged = quadratic.merge(state, quadratic.single(importance, population.params))
        else:
            merged = quadratic.accumulate(state, importance, population.params)
        return merged.scaled(self.gamma) if self.gamma < 1 else merged

    def _importance(self, population: Population, task: Task, n: int | None = None) -> Params:
        x, y = some(task.train, self.samples)
        found = population_fisher(
            population.network,
            population.params,
            x[:n],
            y[:n],
            kind=self.fisher,
            outputs=task.outputs,
            draw=lambda n: population.drawn(lambda s: torch.rand(n, generator=s), population.sources(0)),
        )
        return population.of_trained(found)
