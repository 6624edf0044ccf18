"""Experience replay: keep a few old examples and go on practising them."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from cl_lib.checks import check_seed, is_count
from cl_lib.methods.base import Batch, Method, Strength, check_strength
from cl_lib.population import Population, masked
from cl_lib.tasks import Task


@dataclass(frozen=True)
class Memory:
    """Kept examples of all earlier tasks, each with the outputs that competed.

    ``keeping`` decides what is kept of the tasks to come, ``drawing`` what each seed practises.
    """

    x: Tensor
    y: Tensor
    outputs: Tensor
    keeping: torch.Generator
    drawing: list[torch.Generator]


@dataclass(frozen=True)
class Replay(Method):
    r"""Each step also trains on as many examples drawn from a small memory: :math:`L_T+\lambda L_{memory}`.

    Parameters
    ----------
    strength : float or tuple of float
        :math:`\lambda`, factor of the mean loss on the drawn examples.
    per_task : int
        Examples kept of each task, drawn at random from its training data. All replicas keep the same.
    seed : int
        Of what is kept and, with the replica's own seed, of what is drawn.

    Raises
    ------
    ValueError
        For a negative strength or a memory of no example.
    TypeError
        For a seed that is no whole number.
    """

    strength: Strength = 1.0
    per_task: int = field(default=200, kw_only=True)
    seed: int = field(default=0, kw_only=True)
    min_tasks = 2
    mixes_tasks = True

    def __post_init__(self) -> None:
        check_strength(self.strength)
        if not is_count(self.per_task):
            raise ValueError(f"per_task is {self.per_task!r}, but must be a whole number, 1 or more.")
        check_seed(self.seed)

    def extra_loss(self, state: Memory | None, population: Population, batch: Batch) -> Tensor | None:
        """Mean loss on examples drawn anew for each replica, ``(R,)``."""
        if state is None:
            return None
        shape = batch.x.shape[:2]
        index = population.drawn(
            lambda source: torch.randint(len(state.y), shape[1:], generator=source), state.drawing
        ).to(state.y.device)
        logits = masked(population.logits(state.x[index]), state.outputs[index])
        loss = functional.cross_entropy(logits.flatten(0, 1), state.y[index].flatten(), reduction="none")
        return population.per_replica(self.strength) * loss.reshape(shape).mean(1)

    def after_task(self, state: Memory | None, population: Population, task: Task) -> Memory:
        """Keep some examples of the task just learned."""
        if state is None:
            keeping = torch.Generator().manual_seed(int(self.seed))
            drawing = population.sources(self.seed)
        else:
            keeping, drawing = state.keeping, state.drawing
        kept = torch.randperm(len(task.train), generator=keeping)[: self.per_task]
        kept = kept.to(task.train.y.device)
        x, y = task.train.x[kept], task.train.y[kept]
        outputs = torch.tensor(task.outputs, device=y.device).expand(len(y), 2)
        if state is not None:
            x, y = torch.cat([state.x, x]), torch.cat([state.y, y])
            outputs = torch.cat([state.outputs, outputs])
        return Memory(x, y, outputs, keeping, drawing)
