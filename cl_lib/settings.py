"""The settings of a training run, and what is refused before it begins."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import torch
from torch import Tensor, nn

from cl_lib.checks import (
    check_draws_nothing,
    check_no_batch_statistics,
    check_no_mixing,
    check_not_inference,
    check_positive,
    check_seed,
    is_count,
    is_number,
    logits_of_first,
    near,
    uneven,
)
from cl_lib.methods.base import Method, strength_of
from cl_lib.methods.combined import Combined
from cl_lib.models import evaluation_mode, has_parts_by_task
from cl_lib.population import Population, same
from cl_lib.tasks import Stream

OPTIMIZERS = ("sgd", "adam")


@dataclass(frozen=True)
class Settings:
    """Arguments of :func:`cl_lib.training.fit`, which has them explained.

    Raises
    ------
    ValueError
        For values that no training can have.
    """

    epochs: int
    batch_size: int
    lr: float
    momentum: float
    optimizer: str
    keep_optimizer: bool
    evaluate: str
    curve_every: int | None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "curve_every"):
            value = getattr(self, name)
            if value is None and name == "curve_every":
                continue
            if not is_count(value):
                raise ValueError(f"{name} is {value!r}, but must be a whole number, 1 or more.")
        check_positive(self.lr, "lr")
        object.__setattr__(self, "lr", float(self.lr))
        if not (is_number(self.momentum) and 0 <= self.momentum < 1):
            raise ValueError(f"momentum is {self.momentum!r}, but must lie in [0, 1).")
        object.__setattr__(self, "momentum", float(self.momentum))
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer is {self.optimizer!r}, but must be one of {', '.join(OPTIMIZERS)}.")
        if not isinstance(self.keep_optimizer, bool):
            raise ValueError(f"keep_optimizer is {self.keep_optimizer!r}, but must be True or False.")
        if self.evaluate not in ("test", "validation"):
            raise ValueError(f'evaluate is {self.evaluate!r}, but must be "test" or "validation".')


def check_seeds(seeds: Sequence[int]) -> list[int]:
    """Return seeds as a list; refuse no seed at all, one that is named twice, and one that is none."""
    found = [check_seed(seed, "seeds holds") for seed in seeds]
    if not found or len(set(found)) < len(found):
        raise ValueError(f"seeds is {found!r}, but must name at least one seed, each once.")
    return found


def check_dtype(dtype: torch.dtype, method: Method) -> None:
    """Refuse half precision, in which fused optimisers fail on a CPU, and what cannot hold a strength."""
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype is {dtype!r}, but must be torch.float32 or torch.float64.")
    for own in method.methods if isinstance(method, Combined) else (method,):
        strongest = float(np.max(strength_of(own)))
        if strongest > torch.finfo(dtype).max:
            raise ValueError(
                f"strength of {type(own).__name__} is {strongest:g}, more than {dtype} can hold: "
                "lower it, or give dtype=torch.float64."
            )


def check_arguments(stream: Stream, method: Method, seeds: Sequence[int]) -> None:
    """Refuse arguments of the wrong kind, and a stream too short for the method."""
    if not isinstance(stream, Stream):
        raise TypeError(
            f"stream is a {type(stream).__name__}, but must be a Stream; of your own tensors "
            "streams.from_tensors(...) makes one."
        )
    if not isinstance(method, Method):
        raise TypeError(f"method is {method!r}, but must be a method such as Finetune() or EWC(100).")
    if len(stream) < method.min_tasks:
        raise ValueError(
            f"stream has one task, {stream[0].name!r}, but {type(method).__name__} protects earlier tasks "
            "from later ones and would do nothing. Give it two tasks or more; or train with Finetune(), and "
            "measure importance with cl_lib.fisher or cl_lib.mas."
        )
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        example = seeds if isinstance(seeds, Integral) else 0
        raise TypeError(f"seeds is {seeds!r}, but must be a sequence such as ({example},) or range(10).")
    check_not_inference()


def check_network(
    population: Population, networks: Sequence[nn.Module], x: Tensor, stream: Stream, method: Method
) -> None:
    """Refuse a network that does not fit the stream or the method, or that mixes the samples of a batch.

    ``networks`` are those of the seeds, of which the population has taken the weights.
    """
    check_no_batch_statistics(population.network)
    _check_padding(population)
    buffers = {name: buffer.clone() for name, buffer in population.network.named_buffers()}
    if not any(leaf.requires_grad for leaf in population.leaves.values()):
        raise ValueError(
            "model has no weight to train: each is frozen (requires_grad=False), or there is none."
        )
    if method.mixes_tasks and len(stream) > 1 and has_parts_by_task(population.network):
        raise ValueError(
            f"model has parts of its own for each task (its attribute task), but {type(method).__name__} "
            "trains on examples of several tasks, or on answers to several, in one step, and all would pass "
            "through the parts of one task. Use a network without such parts."
        )
    n_tasks = getattr(population.network, "n_tasks", len(stream))
    if n_tasks < len(stream):
        raise ValueError(
            f"model was built with n_tasks={n_tasks}, but {stream.name} has {len(stream)} tasks: "
            "build it with n_tasks=len(stream)."
        )
    with torch.no_grad(), evaluation_mode(population.network):
        logits = _first_logits(population, x, stream)
        if logits.shape[1:] != (len(x), stream.n_outputs):
            raise ValueError(
                f"model gives outputs of shape {tuple(logits.shape[2:])} for each sample, but {stream.name} "
                f"needs {stream.n_outputs} logits; build it with n_outputs=stream.n_outputs."
            )
        broken = (~logits.isfinite()).any(-1).any(-1).nonzero().flatten().tolist()
        if broken:
            raise ValueError(
                f"model: replicas {broken} of {population.size} give NaN or infinite logits on the first "
                f"samples of {stream.name}, before any training; look at its forward and its initial weights."
            )
        check_no_mixing(population.network, population.params, x)
    with torch.no_grad(), torch.random.fork_rng():  # in training mode, where dropout acts
        logits_of_first(population.network, population.params, x)
    _check_buffers_stay(population, buffers, method)
    if population.size > 1:
        with torch.random.fork_rng():
            _check_side_by_side(population, networks, x)


def _check_buffers_stay(population: Population, before: dict[str, Tensor], method: Method) -> None:
    """Put back buffers that a forward pass has changed; refuse them where they would belong to several."""
    for name, buffer in population.network.named_buffers():
        if name not in before or same(buffer, before[name]):
            continue
        if population.size > 1 or method.restarts:
            raise ValueError(
                f"model changes its buffer {name!r} when it is called in training mode, but replicas share "
                "their buffers, and joint training, which starts anew with each task, does not put them "
                "back. Call eval() on the module that has it before you train; or train one seed and one "
                "strength at a time, with another method."
            )
        buffer.copy_(before[name])


def _first_logits(population: Population, x: Tensor, stream: Stream) -> Tensor:
    """Logits ``(R, N, K)`` of the first samples; tells a wrong input from replicas that cannot be stacked."""
    logits = logits_of_first(population.network, population.params, x, of=stream.name)
    if population.size > 1:
        check_draws_nothing(population.network, population.params, x, logits)
    with _side_by_side(population):
        return population.logits_on_shared(x)


@contextmanager
def _side_by_side(population: Population) -> Iterator[None]:
    """Say what replicas lack that run alone, but not together."""
    try:
        yield
    except RuntimeError as error:
        raise ValueError(
            f"model runs alone, but its {population.size} replicas cannot be trained side by side by "
            f"torch.func.vmap ({str(error).splitlines()[0]}). Train one seed and one strength at a time, or "
            "write its forward without branches on the data and without nn.RNN, nn.LSTM and nn.GRU (an "
            "nn.GRUCell or nn.RNNCell will do, with an initial state of your own)."
        ) from error


def _check_side_by_side(population: Population, networks: Sequence[nn.Module], x: Tensor) -> None:
    """Hold the replicas against the networks of their seeds, each alone: in training they are one network."""
    each = x.expand(population.size, *x.shape)
    with torch.no_grad(), _side_by_side(population):  # in training mode, where dropout acts
        population.logits(each)
    last = networks[-1]
    with evaluation_mode(population.network), evaluation_mode(last):
        together = population.logits_on_shared(x)
        for seed, network, found in zip(population.seeds, networks, together[: len(networks)], strict=True):
            with torch.no_grad(), evaluation_mode(network):
                if not near(found, network(x)):
                    raise ValueError(
                        f"model gives other logits for seed {seed} beside other seeds than alone: something "
                        "differs between seeds that is no parameter, such as a number or a tensor that its "
                        "__init__ draws, and replicas share all but their parameters. Make what differs a "
                        "parameter with requires_grad=False, or build it alike for every seed."
                    )
        # On two lots: in one of them a unit may lie so near its threshold that rounding decides.
        if all(_gradients_differ(population, last, few) for few in each.split(-(-len(x) // 2), dim=1)):
            raise ValueError(
                "model gets other gradients in several replicas side by side than alone, as PyTorch's "
                "functional.embedding does with padding_idx. Train one seed and one strength at a time, or "
                "leave padding_idx out and multiply what the embedding gives by (x != padding_idx)."
            )


def _gradients_differ(population: Population, last: nn.Module, x: Tensor) -> bool:
    """Whether the last replica gets another gradient than its network alone, by more than rounding."""

    def loss(logits: Tensor) -> Tensor:
        return (logits * uneven(logits)).sum()

    weights = {name: p for name, p in last.named_parameters() if p.requires_grad}
    with torch.enable_grad():
        alone = loss(last(x[-1]))
        if not alone.requires_grad:
            return False  # it has none in evaluation mode
        wanted = torch.autograd.grad(alone, list(weights.values()), allow_unused=True)
        with _side_by_side(population):
            found = population.gradient(loss(population.logits(x)))
    wanted = {
        name: torch.zeros_like(weights[name]) if g is None else g
        for name, g in zip(weights, wanted, strict=True)
    }
    largest = max(g.norm() for g in wanted.values())
    return any(
        bool((found[name][-1] - g).norm() > 0.1 * g.norm() + 1e-3 * largest) for name, g in wanted.items()
    )


def _check_padding(population: Population) -> None:
    """Refuse padding of embeddings side by side: ``vmap`` honours it in the first replica only."""
    for name, module in population.network.named_modules():
        if population.size > 1 and getattr(module, "padding_idx", None) is not None:
            raise ValueError(
                f"model has a padding_idx (layer {name!r}), which PyTorch honours only in the first of "
                "several replicas. Train one seed and one strength at a time, or leave it out and multiply "
                "what the layer gives by (x != padding_idx)."
            )
