"""Replicas of one network, stacked: every weight has a first axis R, and one forward pass serves all."""

import copy
import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from cl_lib.checks import check_kind
from cl_lib.models import convolves_on_cpu, evaluation_mode, weights_dtype

Params = dict[str, Tensor]
# Images in one forward pass of an evaluation: on a CPU so few that a convolution's activations stay in its
# cache, on a GPU enough to fill it.
AT_ONCE_ON_CPU, AT_ONCE = 200, 2000


class Population:
    """R replicas of one network: every seed with every strength, strengths outermost.

    Attributes
    ----------
    network : nn.Module
        The network's shape; its own weights are not used.
    params : dict of Tensor (R, ...)
        The live weights, changed in place. Who keeps them must copy them.
    leaves : dict of Tensor
        The same memory, as what gradients are taken of. One replica is trained without its axis R,
        which spares the overhead of ``vmap``.
    seeds : tuple of int
        Of the networks; those of the replicas are these once for each strength.
    n_strengths : int
    """

    def __init__(
        self, networks: Sequence[nn.Module], n_strengths: int = 1, *, seeds: Sequence[int] | None = None
    ):
        stacked, buffers = stack_module_state(list(networks))
        _check_buffers(buffers)
        self.network = networks[0]
        self.seeds = tuple(range(len(networks)) if seeds is None else seeds)
        self.n_strengths = n_strengths
        self.params: Params = {
            name: p.detach().repeat(n_strengths, *[1] * (p.ndim - 1)) for name, p in stacked.items()
        }
        self.size = len(networks) * n_strengths
        self.leaves: Params = {
            name: (p[0] if self.size == 1 else p).detach().requires_grad_(stacked[name].requires_grad)
            for name, p in self.params.items()
        }
        # A single network goes without vmap: it may do what vmap cannot.
        self._one_by_one = self.size == 1 or convolves_on_cpu(networks[0])

    @property
    def trained(self) -> list[str]:
        """Names of the weights that are trained; the others are frozen."""
        return [name for name, leaf in self.leaves.items() if leaf.requires_grad]

    def of_trained(self, values: Params) -> Params:
        """What belongs to trained weights: frozen ones need no importance."""
        return {name: values[name] for name in self.trained}

    def per_replica(self, strength: float | Sequence[float]) -> Tensor:
        """The strength of each replica, ``(R,)``."""
        device = next(iter(self.params.values())).device
        values = np.asarray(strength, dtype=float).reshape(-1)  # whatever kind of numbers they are
        values = torch.as_tensor(values, dtype=weights_dtype(self.params), device=device)
        return (
            values.repeat_interleave(self.size // len(values))
            if len(values) > 1
            else values.expand(self.size)
        )

    def sources(self, seed: int) -> list[torch.Generator]:
        """A source of random numbers for each of ``seeds``, others for every other ``seed``."""
        states = [np.random.SeedSequence([int(seed) % 2**64, own % 2**64]) for own in self.seeds]
        return [torch.Generator().manual_seed(int(state.generate_state(1)[0])) for state in states]

    def drawn(self, draw: Callable[[torch.Generator], Tensor], sources: list[torch.Generator]) -> Tensor:
        """What ``draw`` takes from each seed's source, ``(R, ...)``: one draw for all strengths of a seed.

        So a replica draws what it would draw alone.
        """
        found = torch.stack([draw(source) for source in sources])
        return found.repeat(self.n_strengths, *[1] * (found.ndim - 1))

    def copy(self) -> Params:
        """The weights as they are now, ``(R, ...)``."""
        return {name: p.clone() for name, p in self.params.items()}

    def restore(self, params: Params) -> None:
        """Put back weights that :meth:`copy` gave."""
        for name, p in self.params.items():
            p.copy_(params[name])

    def logits(self, x: Tensor) -> Tensor:
        """Logits ``(R, B, K)`` for inputs ``(R, B, ...)``, differentiable in the leaves."""
        if self.size == 1:
            return functional_call(self.network, self.leaves, (x[0],))[None]
        return self._of_all(self.leaves, x, randomness="different")

    def logits_of(self, params: Params, x: Tensor) -> Tensor:
        """Logits ``(R, B, K)`` of other weights ``(R, ...)`` in evaluation mode, without gradient."""
        with torch.no_grad(), evaluation_mode(self.network):
            return self._of_all(params, x)

    def logits_and_hidden(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """:meth:`logits` and the hidden activations, of a network called with ``hidden=True``."""
        if self.size == 1:
            logits, hidden = with_hidden(self.network, self.leaves, x[0])
            return logits[None], [h[None] for h in hidden]
        call = functools.partial(with_hidden, self.network)
        return self._of_all(self.leaves, x, call=call, randomness="different")

    def logits_on_shared(self, x: Tensor) -> Tensor:
        """Logits ``(R, B, K)`` for inputs ``(B, ...)`` that all replicas see; without gradient."""
        with torch.no_grad():
            return self._of_all(self.params, x, shared=True)

    def gradient(self, loss: Tensor) -> Params:
        """Gradient of a loss summed over replicas, ``(R, ...)``: no replica feels another's loss.

        Of the trained weights, zero for those that are not used. Contiguous like the weights, which the
        optimiser's fused kernels take for granted.
        """
        names = self.trained
        grads = torch.autograd.grad(loss, [self.leaves[name] for name in names], allow_unused=True)
        return {
            name: torch.zeros_like(self.params[name])
            if grad is None
            else grad.reshape(self.params[name].shape).contiguous()
            for name, grad in zip(names, grads, strict=True)
        }

    def accuracy(self, x: Tensor, y: Tensor, outputs: tuple[int, int]) -> Tensor:
        """Share of right answers of each replica among the competing outputs, ``(R,)``; NaN if a logit is."""
        right, n = 0.0, AT_ONCE_ON_CPU if x.device.type == "cpu" else AT_ONCE
        with evaluation_mode(self.network):
            for xs, ys in zip(x.split(n), y.split(n), strict=True):
                logits = masked(self.logits_on_shared(xs), outputs)
                found = (logits.argmax(-1) == ys).sum(1).double()
                right = right + found.masked_fill(logits.isnan().any(-1).any(-1), math.nan)
        return right / len(x)

    def diverged(self) -> list[int]:
        """Indices of the replicas with a weight that is not finite."""
        finite = torch.stack([p.reshape(self.size, -1).isfinite().all(1) for p in self.params.values()]).all(
            0
        )
        return (~finite).nonzero().flatten().tolist()

    def _of_all(self, params: Params, x: Tensor, *, call=None, shared=False, randomness="error"):
        """What the network gives for every replica's weights ``(R, ...)`` and inputs, or for shared ones."""
        call = call or self._call
        if not self._one_by_one:
            return vmap(call, in_dims=(0, None if shared else 0), randomness=randomness)(params, x)
        return one_by_one(call, params, [x] * self.size if shared else x)

    def _call(self, params: Params, x: Tensor) -> Tensor:
        return functional_call(self.network, params, (x,))


def one_by_one(function: Callable, params: Params, *inputs):
    """What ``function(params, ...)`` gives for each replica's weights and inputs, stacked; no ``vmap``."""
    n = len(next(iter(params.values())))
    replicas = ({name: p[r] for name, p in params.items()} for r in range(n))
    return _stacked([function(*of_one) for of_one in zip(replicas, *inputs, strict=True)])


def _stacked(found):
    """Tensors of all replicas as one; tuples, lists and dicts of them part by part."""
    if isinstance(found[0], Tensor):
        return torch.stack(found)
    if isinstance(found[0], dict):
        return {name: torch.stack([of_one[name] for of_one in found]) for name in found[0]}
    return type(found[0])(_stacked(of_all) for of_all in zip(*found, strict=True))


def with_hidden(network: nn.Module, params: Params, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits and hidden activations of one replica, ``(N, ...)`` each.

    Raises
    ------
    TypeError
        For a network that does not know ``hidden=True``, or answers it with anything else.
    """
    try:
        found = functional_call(network, params, (x,), {"hidden": True})
        _check_hidden(found, len(x))
    except TypeError as error:
        raise TypeError(
            "model gives no hidden activations: its forward must take hidden=True and return "
            f"(logits, [activations of each layer]), as cl_lib.MLP does ({error})."
        ) from error
    return found


def _check_hidden(found: object, n: int) -> None:
    """Refuse what is no pair of logits and a list of activations, each with a row for every sample."""
    if not (isinstance(found, tuple | list) and len(found) == 2 and isinstance(found[0], Tensor)):
        raise TypeError(f"with hidden=True it returned a {type(found).__name__}, not such a pair")
    if not isinstance(found[1], tuple | list):
        raise TypeError(f"its hidden activations are a {type(found[1]).__name__}, not a list of tensors")
    for i, h in enumerate(found[1]):
        if not isinstance(h, Tensor):
            raise TypeError(f"its hidden activations [{i}] are a {type(h).__name__}, not a tensor")
        if h.shape[:1] != (n,):
            raise TypeError(f"its hidden activations [{i}] have shape {tuple(h.shape)} for {n} samples")


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are equal, NaN being equal to NaN."""
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())


def _check_buffers(buffers: dict[str, Tensor]) -> None:
    for name, stacked in buffers.items():
        if not same(stacked, stacked[:1].expand_as(stacked)):
            raise ValueError(
                f"model has a buffer {name!r} that differs between seeds, but replicas share their buffers: "
                "build it alike for every seed, or make it a parameter with requires_grad=False."
            )


def build_networks(model: nn.Module | Callable[[], nn.Module], seeds: Sequence[int]) -> list[nn.Module]:
    """One network for each seed, a copy, so that training leaves the caller's as it was.

    Raises
    ------
    ValueError
        If a network is given for several seeds, or one object is built for several.
    TypeError
        If there is neither a network nor a function that builds one, or PyTorch cannot call the network with
        other weights than its own.
    """
    if isinstance(model, nn.Module):
        check_kind(model)
        if len(seeds) > 1:
            raise ValueError(
                f"model is a network, but there are {len(seeds)} seeds: all replicas would start from "
                "the same weights. Pass a function that builds it, such as lambda: MLP(64), or, if "
                "that is meant, lambda: copy.deepcopy(model)."
            )
        return [copy.deepcopy(model)]
    if not callable(model):
        raise TypeError(
            f"model is a {type(model).__name__}, but must be an nn.Module or a function that builds one."
        )
    with torch.random.fork_rng():
        networks = [_built(model, seed) for seed in seeds]
    if len({id(network) for network in networks}) < len(networks):
        raise ValueError(
            "model() returned one and the same network for several seeds, so that all replicas would start "
            "from the same weights. Build a new one in each call, such as lambda: MLP(64), or, if that is "
            "meant, lambda: copy.deepcopy(network)."
        )
    return [copy.deepcopy(network) for network in networks]


def _built(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    torch.manual_seed(seed)
    network = build()
    if not isinstance(network, nn.Module):
        raise TypeError(f"model() returned a {type(network).__name__}, but must build an nn.Module.")
    check_kind(network)
    return network


def masked(logits: Tensor, outputs: tuple[int, int] | Tensor) -> Tensor:
    """Logits in which the outputs that do not compete are minus infinity.

    Parameters
    ----------
    logits : Tensor (..., K)
    outputs : (first, stop), or Tensor (..., 2) with a pair for each sample
    """
    index = torch.arange(logits.shape[-1], device=logits.device)
    if isinstance(outputs, Tensor):
        competes = (index >= outputs[..., :1]) & (index < outputs[..., 1:])
        return logits.masked_fill(~competes, -math.inf)
    if outputs == (0, logits.shape[-1]):
        return logits
    return logits.masked_fill((index < outputs[0]) | (index >= outputs[1]), -math.inf)
