r"""Learning without forgetting: on the new images, answer the old questions as before.

.. math:: L_T+\lambda\,L_{KD},\qquad L_{KD}=-\sum_ip'_i\log\hat p'_i,\quad
          p'_i=\frac{p_i^{1/\tau}}{\sum_jp_j^{1/\tau}}
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cl_lib.checks import check_positive
from cl_lib.methods.base import Batch, Method, Strength, check_strength
from cl_lib.population import Params, Population
from cl_lib.tasks import Task


@dataclass(frozen=True)
class Teacher:
    """The network as it was before the task, and what earlier tasks asked.

    ``buffers`` are those of a single replica, ``(1, ...)``; several have none that change.
    ``questions`` maps outputs that competed, ``(first, stop)``, to those among them that were ever right.
    """

    params: Params
    buffers: Params
    questions: dict[tuple[int, int], list[int]]


@dataclass(frozen=True)
class LwF(Method):
    r"""Learning without forgetting (Li & Hoiem, 2018) by distillation from the network before the task.

    For every set of outputs that an earlier task let compete, the new network's softened probabilities
    on the new task's inputs are held to the old network's. Only classes that were learned take part: of
    the others the old network knows nothing. No old data, no importance. The paper's warm-up of a new head,
    with the rest frozen, is left out.

    Parameters
    ----------
    strength : float or tuple of float
        :math:`\lambda`, factor of the mean distillation loss.
    temperature : float
        :math:`\tau`; 2 in the paper.

    Raises
    ------
    ValueError
        For a negative strength or a temperature that is not above 0.
    """

    strength: Strength
    temperature: float = field(default=2.0, kw_only=True)
    min_tasks = 2
    mixes_tasks = True

    def __post_init__(self) -> None:
        check_strength(self.strength)
        check_positive(self.temperature, "temperature")

    def extra_loss(self, state: Teacher | None, population: Population, batch: Batch) -> Tensor | None:
        """Distillation loss, mean over samples, ``(R,)``."""
        if state is None:
            return None
        old_logits = population.logits_of(state.params | state.buffers, batch.x)
        total = 0.0
        for learned in state.questions.values():
            soft = torch.softmax(old_logits[..., learned] / self.temperature, -1)
            log_new = torch.log_softmax(batch.logits[..., learned] / self.temperature, -1)
            total = total - (soft * log_new).sum(-1).mean(1)
        return population.per_replica(self.strength) * total

    def after_task(self, state: Teacher | None, population: Population, task: Task) -> Teacher:
        """The network as it is now becomes the teacher."""
        earlier = {} if state is None else state.questions
        learned = {*earlier.get(task.outputs, ()), *task.train.y.unique().tolist()}
        named = population.network.named_buffers() if population.size == 1 else ()
        buffers = {name: buffer.clone()[None] for name, buffer in named}
        return Teacher(population.copy(), buffers, earlier | {task.outputs: sorted(learned)})
