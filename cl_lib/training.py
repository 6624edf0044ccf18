"""Train a network on a stream: many replicas at once, task after task.

Replicas (seeds, and values of a method's strength) are trained together, so that a number costs little
more with an interval than without. Each replica has its own initial weights and its own order of
samples, and ends where it would have ended alone. (The exception, the masks of dropout, are drawn for all
replicas at once.)
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from cl_lib.checks import logits_of_first
from cl_lib.methods.base import Batch, Finetune, Method, added_to_loss, strength_of
from cl_lib.methods.guards import Effect, warn_if_unstable
from cl_lib.models import evaluation_mode, has_parts_by_task, network_input
from cl_lib.optimizers import Optimizer
from cl_lib.population import Population, build_networks, masked
from cl_lib.runs import Curves, Run
from cl_lib.settings import Settings, check_arguments, check_dtype, check_network, check_seeds
from cl_lib.tasks import Stream, Task


def fit(
    model: nn.Module | Callable[[], nn.Module],
    stream: Stream,
    method: Method | None = None,
    *,
    epochs: int = 10,
    batch_size: int = 32,
    lr: float = 0.05,
    momentum: float = 0.9,
    optimizer: str = "sgd",
    keep_optimizer: bool = False,
    seeds: Sequence[int] = (0,),
    evaluate: str = "test",
    curve_every: int | None = None,
    device: str = "auto",
    dtype: torch.dtype = torch.float32,
    progress: bool | None = None,
) -> Run:
    """Train one network for each seed (and each strength of the method) on the tasks in turn.

    Parameters
    ----------
    model : callable or nn.Module
        A function without arguments that builds the network, called once for each seed right after
        ``torch.manual_seed(seed)``; or a network, with a single seed, whose weights are the start (it is
        not changed). It maps ``(N, ...)`` to logits ``(N, stream.n_outputs)``. Modules are trained in the
        mode they come in, and frozen parameters (``requires_grad=False``) stay as they are.
    stream : Stream
    method : Method
        Default: :class:`~cl_lib.methods.Finetune`. If its strength is a tuple, every strength is
        trained with every seed.
    epochs, batch_size : int
        Passes over a task's training data, samples in a step; the last batch may be smaller.
    lr, momentum : float
        Of the optimiser. Adam has no momentum to set.
    optimizer : {"sgd", "adam"}
    keep_optimizer : bool
        Take its running averages along into the next task. Default: it starts anew with each task, as it
        always does where the weights do (joint training).
    seeds : sequence of int
        Decide initial weights and order of samples.
    evaluate : {"test", "validation"}
        What the accuracies are measured on. Choose strengths on ``"validation"``.
    curve_every : int, optional
        Also measure accuracy every so many steps.
    device : str
        ``"auto"`` takes a GPU if there is one.
    dtype : {torch.float32, torch.float64}
        Of the weights and of all that is computed from them.
    progress : bool, optional
        Show a progress bar; default: on a terminal only.

    Returns
    -------
    Run

    Raises
    ------
    ValueError
        For arguments that do not fit, before any training; also for a single task with a method that only
        protects earlier ones.
    TypeError
        For a model, stream, method or seeds of the wrong kind.
    FloatingPointError
        If a replica diverges; it names the replica and the task.

    Warns
    -----
    UnstablePenalty, IneffectivePenalty
        Where a quadratic penalty is too stiff for explicit steps, or never felt, see
        :mod:`cl_lib.methods.guards`.
    """
    method = Finetune() if method is None else method
    check_arguments(stream, method, seeds)
    settings = Settings(epochs, batch_size, lr, momentum, optimizer, keep_optimizer, evaluate, curve_every)
    seeds = check_seeds(seeds)
    check_dtype(dtype, method)
    strengths = np.atleast_1d(np.asarray(strength_of(method), dtype=float))
    place = training_device(device)
    networks = [network.to(place, dtype) for network in build_networks(model, seeds)]
    population = Population(networks, len(strengths), seeds=seeds)
    tasks = [_on_device(task, place, dtype) for task in stream]
    check_network(population, networks, tasks[0].train.x[:8], stream, method)
    trainer = _Trainer(
        population, tasks, method, settings, [torch.Generator().manual_seed(seed) for seed in seeds]
    )
    started = time.perf_counter()
    initial = trainer.accuracies()
    # Dropout draws from the global state; the caller may have switched gradients off.
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seeds[0])
        accuracy, curves = trainer.train(progress)
        with torch.no_grad(), evaluation_mode(population.network):
            # What a module keeps of a forward pass shall be a tensor that can be copied, none of vmap's.
            logits_of_first(population.network, population.params, tasks[-1].train.x[:1])
    return Run(
        accuracy=accuracy,
        initial=initial,
        seeds=np.tile(seeds, len(strengths)),
        strength=np.repeat(strengths, len(seeds)),
        curves=curves,
        params=population.copy(),
        state=trainer.state,
        network=population.network,
        method=method,
        seconds=time.perf_counter() - started,
    )


@dataclass
class _Trainer:
    population: Population
    tasks: list[Task]
    method: Method
    settings: Settings
    generators: list[torch.Generator]
    state: Any = None

    def train(self, progress: bool | None) -> tuple[np.ndarray, Curves | None]:
        """The accuracy matrix ``(R, T, T)``, and the curves if they are wanted."""
        rows, curve, effect, optimizer = [], _Curve(self.settings.curve_every), Effect(), None
        start = self.population.copy()
        total = sum(self._n_steps(t) for t in range(len(self.tasks)))
        disable = None if progress is None else not progress  # None: only on a terminal
        with tqdm(total=total, unit="step", disable=disable) as bar:
            curve.record(self.accuracies)
            for t, task in enumerate(self.tasks):
                if self.method.restarts:
                    self.population.restore(start)
                if optimizer is None or self.method.restarts or not self.settings.keep_optimizer:
                    trained = self.population.of_trained(self.population.params)
                    optimizer = Optimizer(trained, self.settings)
                _enter(self.population.network, t)
                self.state = self.method.begin_task(self.state, self.population, task)
                if self.settings.optimizer == "sgd":
                    how = self.settings.lr, self.settings.momentum
                    warn_if_unstable(self.method, self.state, self.population, task, *how)
                last = self._train_task(t, optimizer, bar, curve)
                effect.measure(self.method, self.state, self.population, last)
                self.state = self.method.after_task(self.state, self.population, task)
                rows.append(self.accuracies())
        effect.warn()
        return np.stack(rows, axis=1), curve.finish()

    def _train_task(self, t: int, optimizer: Optimizer, bar: tqdm, curve: "_Curve") -> tuple:
        """Train on one task; return the last batch."""
        pool = _Pool.of([self.tasks[i] for i in self.method.tasks_seen(t)])
        for _ in range(self.settings.epochs):
            for index in self._shuffled(len(pool.x)).split(self.settings.batch_size, dim=1):
                self._train_step(pool, index, optimizer)
                bar.update()
                curve.step(self.accuracies)
        curve.end_task()
        self._check_finite(self.tasks[t])
        return pool.batch(index)

    def _train_step(self, pool: "_Pool", index: Tensor, optimizer: Optimizer) -> None:
        x, y, outputs = pool.batch(index)
        logits, hidden = self._forward(x)
        loss = functional.cross_entropy(masked(logits, outputs).flatten(0, 1), y.flatten(), reduction="sum")
        loss = loss / index.shape[1]
        extra = added_to_loss(self.method, self.state, self.population, Batch(x, logits, hidden))
        if extra is not None:
            loss = loss + extra.sum()
        grads = self.population.gradient(loss)
        self.method.add_gradient(self.state, self.population, grads)
        optimizer.step(grads)
        self.method.after_step(self.state, self.population, optimizer.step_size)

    def _forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        if self.method.uses_hidden:
            return self.population.logits_and_hidden(x)
        return self.population.logits(x), []

    def accuracies(self) -> np.ndarray:
        """Accuracy of each replica on each task, ``(R, T)``."""
        network, columns = self.population.network, []
        now = getattr(network, "task", None)
        for t, task in enumerate(self.tasks):
            _enter(network, t)
            split = getattr(task, self.settings.evaluate)
            columns.append(self.population.accuracy(split.x, split.y, task.outputs))
            self._check_answers(columns[-1], task)
        _enter(network, now)
        return torch.stack(columns, dim=1).cpu().numpy()

    def _shuffled(self, n: int) -> Tensor:
        """A fresh order of ``n`` samples for each replica, ``(R, n)``; each seed has its own."""
        orders = self.population.drawn(lambda source: torch.randperm(n, generator=source), self.generators)
        return orders.to(self.tasks[0].train.x.device)

    def _n_steps(self, t: int) -> int:
        n = sum(len(self.tasks[i].train) for i in self.method.tasks_seen(t))
        return self.settings.epochs * math.ceil(n / self.settings.batch_size)

    def _check_answers(self, accuracy: Tensor, task: Task) -> None:
        lost = accuracy.isnan().nonzero().flatten().tolist()
        if lost:
            raise FloatingPointError(
                f"replicas {lost} of {self.population.size} give NaN for a {self.settings.evaluate} sample "
                f"of {task.name!r}. If training diverged, lower lr or strength; if not, the network's "
                "forward cannot take that sample (a division by zero, say)."
            )

    def _check_finite(self, task: Task) -> None:
        lost = self.population.diverged()
        if lost:
            raise FloatingPointError(
                f"replicas {lost} of {self.population.size} diverged on {task.name!r}: their weights are not "
                'finite. Lower lr or strength, or use step="implicit", which is stable for every strength.'
            )


@dataclass(frozen=True)
class _Pool:
    """Training data of one step of the stream; ``outputs`` is one pair, or a pair for each sample."""

    x: Tensor
    y: Tensor
    outputs: tuple[int, int] | Tensor

    @staticmethod
    def of(tasks: Sequence[Task]) -> "_Pool":
        x, y = torch.cat([t.train.x for t in tasks]), torch.cat([t.train.y for t in tasks])
        pairs = {task.outputs for task in tasks}
        if len(pairs) == 1:
            return _Pool(x, y, pairs.pop())
        outputs = [torch.tensor(t.outputs, device=x.device).expand(len(t.train), 2) for t in tasks]
        return _Pool(x, y, torch.cat(outputs))

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor, tuple[int, int] | Tensor]:
        outputs = self.outputs[index] if isinstance(self.outputs, Tensor) else self.outputs
        return self.x[index], self.y[index], outputs


class _Curve:
    """Accuracies measured within the tasks, if asked for."""

    def __init__(self, every: int | None):
        self.every, self.n_steps = every, 0
        self.steps, self.values, self.boundaries = [], [], []

    def step(self, accuracies: Callable[[], np.ndarray]) -> None:
        self.n_steps += 1
        self.record(accuracies)

    def record(self, accuracies: Callable[[], np.ndarray]) -> None:
        if self.every and self.n_steps % self.every == 0:
            self.steps.append(self.n_steps)
            self.values.append(accuracies())

    def end_task(self) -> None:
        self.boundaries.append(self.n_steps)

    def finish(self) -> Curves | None:
        if not self.every:
            return None
        return Curves(np.array(self.steps), np.stack(self.values, axis=1), np.array(self.boundaries))


def _enter(network: nn.Module, t: int | None) -> None:
    """Tell a network with parts of its own for each task which task it is in."""
    if has_parts_by_task(network):
        network.task = t


def _on_device(task: Task, device: torch.device, dtype: torch.dtype) -> Task:
    def move(split):
        return replace(split, x=network_input(split.x, dtype).to(device), y=split.y.to(device))

    return replace(task, train=move(task.train), validation=move(task.validation), test=move(task.test))


def training_device(device: str) -> torch.device:
    """The device of that name; ``"auto"`` is a GPU if there is one.

    Raises
    ------
    ValueError
        If there is no such device, or it cannot be used.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(1, device=device).cpu().to(device).device  # which "meta" cannot
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f'device is {device!r}, which cannot be used ({reason}); "auto" finds one.'
        ) from None
