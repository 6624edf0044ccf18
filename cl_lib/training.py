"""Train a network on a stream: many replicas at once, task after task.

Replicas (seeds, and values of a method's strength) are trained together, so that a number costs little
more with an interval than without. Each replica has its own initial weights and its own order of
samples, and ends where it would have ended alone.
"""

import math
import operator
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.adam import adam
from torch.optim.sgd import sgd
from tqdm import tqdm

from cl_lib.checks import check_no_batch_statistics
from cl_lib.methods.base import Batch, Finetune, Method
from cl_lib.models import evaluation_mode, network_input
from cl_lib.population import Params, Population, build_networks, masked
from cl_lib.runs import Curves, Run
from cl_lib.streams import Stream, Task

OPTIMIZERS = ("sgd", "adam")


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
        Of the optimiser, which starts anew with each task. Adam has no momentum to set.
    optimizer : {"sgd", "adam"}
    seeds : sequence of int
        Decide initial weights and order of samples.
    evaluate : {"test", "validation"}
        What the accuracies are measured on. Choose strengths on ``"validation"``.
    curve_every : int, optional
        Also measure accuracy every so many steps.
    device : str
        ``"auto"`` takes a GPU if there is one.
    dtype : torch.dtype
    progress : bool, optional
        Show a progress bar; default: on a terminal only.

    Returns
    -------
    Run

    Raises
    ------
    ValueError
        For arguments that do not fit, before any training.
    FloatingPointError
        If a replica diverges; it names the replica and the task.
    """
    method = Finetune() if method is None else method
    _check_kinds(stream, method, seeds)
    seeds = [operator.index(seed) for seed in seeds]
    settings = _Settings(epochs, batch_size, lr, momentum, optimizer, evaluate, curve_every)
    _check_settings(settings, seeds)
    strengths = np.atleast_1d(np.asarray(method.strength, dtype=float))
    place = torch.device(_find_device(device))
    networks = [network.to(place, dtype) for network in build_networks(model, seeds)]
    population = Population(networks, len(strengths))
    tasks = [_on_device(task, place, dtype) for task in stream]
    _check_network(population, tasks[0].train.x[:2], stream)
    trainer = _Trainer(
        population, tasks, method, settings, [torch.Generator().manual_seed(seed) for seed in seeds]
    )
    started = time.perf_counter()
    initial = trainer.accuracies()
    with torch.random.fork_rng():  # dropout draws from the global state
        torch.manual_seed(seeds[0])
        accuracy, curves = trainer.train(progress)
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


@dataclass(frozen=True)
class _Settings:
    epochs: int
    batch_size: int
    lr: float
    momentum: float
    optimizer: str
    evaluate: str
    curve_every: int | None


@dataclass
class _Trainer:
    population: Population
    tasks: list[Task]
    method: Method
    settings: _Settings
    generators: list[torch.Generator]
    state: Any = None

    def train(self, progress: bool | None) -> tuple[np.ndarray, Curves | None]:
        """The accuracy matrix ``(R, T, T)``, and the curves if they are wanted."""
        rows, curve = [], _Curve(self.settings.curve_every)
        start = self.population.copy()
        total = sum(self._n_steps(t) for t in range(len(self.tasks)))
        disable = None if progress is None else not progress  # None: only on a terminal
        with tqdm(total=total, unit="step", disable=disable) as bar:
            curve.record(self.accuracies)
            for t, task in enumerate(self.tasks):
                if self.method.restarts:
                    self.population.restore(start)
                _enter(self.population.network, t)
                self.state = self.method.begin_task(self.state, self.population, task)
                self._train_task(t, bar, curve)
                self.state = self.method.after_task(self.state, self.population, task)
                rows.append(self.accuracies())
        return np.stack(rows, axis=1), curve.finish()

    def _train_task(self, t: int, bar: tqdm, curve: "_Curve") -> None:
        pool = _Pool.of([self.tasks[i] for i in self.method.tasks_seen(t)])
        optimizer = _Optimizer(self.population.params, self.settings)
        for _ in range(self.settings.epochs):
            for index in self._shuffled(len(pool.x)).split(self.settings.batch_size, dim=1):
                self._train_step(pool, index, optimizer)
                bar.update()
                curve.step(self.accuracies)
        curve.end_task()
        self._check_finite(self.tasks[t])

    def _train_step(self, pool: "_Pool", index: Tensor, optimizer: "_Optimizer") -> None:
        x, y, outputs = pool.batch(index)
        logits, hidden = self._forward(x)
        loss = functional.cross_entropy(masked(logits, outputs).flatten(0, 1), y.flatten(), reduction="sum")
        loss = loss / index.shape[1]
        extra = self.method.extra_loss(self.state, self.population, Batch(x, logits, hidden))
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
        _enter(network, now)
        return torch.stack(columns, dim=1).cpu().numpy()

    def _shuffled(self, n: int) -> Tensor:
        """A fresh order of ``n`` samples for each replica, ``(R, n)``; each seed has its own."""
        orders = torch.stack([torch.randperm(n, generator=g) for g in self.generators])
        return orders.repeat(self.population.n_strengths, 1).to(self.tasks[0].train.x.device)

    def _n_steps(self, t: int) -> int:
        n = sum(len(self.tasks[i].train) for i in self.method.tasks_seen(t))
        return self.settings.epochs * math.ceil(n / self.settings.batch_size)

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


class _Optimizer:
    """SGD with momentum, or Adam, by PyTorch's functional kernels, elementwise over all replicas."""

    def __init__(self, params: Params, settings: _Settings):
        self.names, self.params = list(params), list(params.values())
        self.settings = settings
        self.velocity = [torch.zeros_like(p) for p in self.params]
        self.mean = [torch.zeros_like(p) for p in self.params]
        self.square = [torch.zeros_like(p) for p in self.params]
        self.count = [torch.zeros((), device=p.device) for p in self.params]

    def step(self, grads: Params) -> None:
        """Change the weights in place."""
        grads = [grads[name] for name in self.names]
        common = {"lr": self.settings.lr, "weight_decay": 0.0, "maximize": False, "fused": True}
        if self.settings.optimizer == "sgd":
            momentum = {"momentum": self.settings.momentum, "dampening": 0.0, "nesterov": False}
            sgd(self.params, grads, self.velocity, **momentum, **common)
        else:
            moments = (self.mean, self.square, [], self.count)
            adam(
                self.params,
                grads,
                *moments,
                beta1=0.9,
                beta2=0.999,
                eps=1e-8,
                amsgrad=False,
                **common,
            )

    def step_size(self, name: str) -> float | Tensor:
        """The step that one unit of steady gradient makes: a number, or elementwise for Adam."""
        if self.settings.optimizer == "sgd":
            return self.settings.lr / (1 - self.settings.momentum)
        i = self.names.index(name)
        square = self.square[i] / (1 - 0.999 ** self.count[i])
        return self.settings.lr / (square.sqrt() + 1e-8)


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
    if isinstance(getattr(network, "task", None), int):
        network.task = t


def _on_device(task: Task, device: torch.device, dtype: torch.dtype) -> Task:
    def move(split):
        return replace(split, x=network_input(split.x, dtype).to(device), y=split.y.to(device))

    return replace(task, train=move(task.train), validation=move(task.validation), test=move(task.test))


def _find_device(device: str) -> str:
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _check_network(population: Population, x: Tensor, stream: Stream) -> None:
    check_no_batch_statistics(population.network)
    n_tasks = getattr(population.network, "n_tasks", len(stream))
    if n_tasks < len(stream):
        raise ValueError(
            f"model was built with n_tasks={n_tasks}, but {stream.name} has {len(stream)} tasks: "
            "build it with n_tasks=len(stream)."
        )
    try:
        with evaluation_mode(population.network):
            logits = population.logits_on_shared(x)
    except RuntimeError as error:
        raise ValueError(
            f"model does not accept inputs of shape {tuple(x.shape[1:])}, which {stream.name} has: {error}"
        ) from error
    if logits.shape[1:] != (len(x), stream.n_outputs):
        raise ValueError(
            f"model gives outputs of shape {tuple(logits.shape[2:])} for each sample, but {stream.name} "
            f"needs {stream.n_outputs} logits; build it with n_outputs=stream.n_outputs."
        )


def _check_kinds(stream: Stream, method: Method, seeds: Sequence[int]) -> None:
    if not isinstance(stream, Stream):
        raise TypeError(
            f"stream is a {type(stream).__name__}, but must be a Stream; of your own tensors "
            "streams.from_tensors(...) makes one."
        )
    if not isinstance(method, Method):
        raise TypeError(f"method is {method!r}, but must be a method such as Finetune() or EWC(100).")
    if isinstance(seeds, Integral):
        raise TypeError(f"seeds is {seeds!r}, but must be a sequence such as ({seeds},) or range(10).")


def _check_settings(settings: _Settings, seeds: list[int]) -> None:
    for name in ("epochs", "batch_size", "curve_every"):
        value = getattr(settings, name)
        if value is None and name == "curve_every":
            continue
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} is {value!r}, but must be a whole number, 1 or more.")
    if not 0 < settings.lr < math.inf:
        raise ValueError(f"lr is {settings.lr!r}, but must be a finite number above 0.")
    if not 0 <= settings.momentum < 1:
        raise ValueError(f"momentum is {settings.momentum!r}, but must lie in [0, 1).")
    if settings.optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer is {settings.optimizer!r}, but must be one of {', '.join(OPTIMIZERS)}.")
    if settings.evaluate not in ("test", "validation"):
        raise ValueError(f'evaluate is {settings.evaluate!r}, but must be "test" or "validation".')
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds is {seeds!r}, but must name at least one seed, each once.")
