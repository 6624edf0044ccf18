r"""Selfless sequential learning: neurons that inhibit their neighbours leave room for later tasks.

.. math:: R=\frac1M\sum_{i\ne j}e^{-(\alpha_i+\alpha_j)}\,e^{-(i-j)^2/2\sigma^2}\sum_mh_i^mh_j^m
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from cl_lib.checks import check_positive
from cl_lib.methods.base import Batch, Method, Strength, check_strength
from cl_lib.models import differentiable, evaluation_mode, network_input, weights_dtype
from cl_lib.population import Params, Population, one_by_one, with_hidden
from cl_lib.tasks import Task

DISCOUNTS = ("sum", "min")
Choice = Callable[[list[Tensor]], list[Tensor]]  # the hidden layers -> those that are regularised


@dataclass(frozen=True)
class Inhibition(Method):
    r"""Representation regulariser of Aljundi et al. (2019), for hidden layers of ReLU units.

    With activations :math:`h_i^m\ge0` of neuron i for sample m of a batch of M, each pair counted
    twice as in the authors' code, layers summed. The two factors can be switched off:

    ======== ========== ============
    name     ``local``  ``discount``
    ======== ========== ============
    SNI      False      None
    SLNI     True       None
    SNID     False      "sum"
    SLNID    True       "sum"
    ======== ========== ============

    Parameters
    ----------
    strength : float or tuple of float
        Factor of R. R grows with the number of neurons in reach, so a strength fits one width only.
    local : bool
        Neighbours count most: a Gaussian over neuron indices, 1 at distance 0, :math:`\sigma` = ``width``
        times the number of neurons, no wrap-around.
    discount : {"sum", "min", None}
        Neurons that matter to earlier tasks are spared: :math:`e^{-(\alpha_i+\alpha_j)}` with importance
        :math:`\alpha_i=\frac1N\sum_n|\partial\|F(x_n)\|_2^2/\partial n_i|` at the input of the ReLU, summed
        over tasks; ``min`` is the authors' code, :math:`e^{-\max(\alpha_i,\alpha_j)}`.
    width : float
        :math:`\sigma` as a share of the neurons of a layer; 1/6 in the authors' demos.
    layers : tuple of int, optional
        Hidden layers to regularise; default all. Each must be flat, ``(B, N)``.

    Raises
    ------
    ValueError
        For a negative strength, an unknown discount, a width that is not above 0, or layers that are
        no indices, that the model lacks, or that are named twice.
    """

    strength: Strength
    local: bool = field(default=True, kw_only=True)
    discount: str | None = field(default="sum", kw_only=True)
    width: float = field(default=1 / 6, kw_only=True)
    layers: tuple[int, ...] | None = field(default=None, kw_only=True)
    uses_hidden = True

    def __post_init__(self) -> None:
        check_strength(self.strength)
        if self.discount is not None and self.discount not in DISCOUNTS:
            raise ValueError(f'discount is {self.discount!r}, but must be "sum", "min" or None.')
        check_positive(self.width, "width")
        if self.layers is not None and not _are_indices(self.layers):
            raise ValueError(
                f"layers is {self.layers!r}, but must be None or a tuple of indices such as (0, -1)."
            )

    def begin_task(
        self, state: list[Tensor] | None, population: Population, task: Task
    ) -> list[Tensor] | None:
        """Look at a few samples of the first task: what cannot be measured fails before training."""
        if state is None:
            x = network_input(task.train.x[:8], weights_dtype(population.params))
            with torch.random.fork_rng(), torch.no_grad(), evaluation_mode(population.network):
                _, hidden = population.logits_and_hidden(x.expand(population.size, *x.shape))
            hidden = self._chosen(hidden)
            _check_flat(hidden, axes=2)
            _check_not_negative(hidden)
        if state is None and self.discount is not None:
            _neuron_importance(population, task, self._chosen, 2)
        return state

    def extra_loss(self, state: list[Tensor] | None, population: Population, batch: Batch) -> Tensor:
        """The penalty of this batch, ``(R,)``."""
        hidden = self._chosen(batch.hidden)
        _check_flat(hidden, axes=2)
        alphas = [None] * len(hidden) if state is None else state
        pairs = [self._pairs(h, alpha) for h, alpha in zip(hidden, alphas, strict=True)]
        return population.per_replica(self.strength) * sum(pairs)

    def after_task(
        self, state: list[Tensor] | None, population: Population, task: Task
    ) -> list[Tensor] | None:
        """Add the importance of each neuron for the task just learned."""
        if self.discount is None:
            return None
        new = _neuron_importance(population, task, self._chosen)
        return new if state is None else [a + b for a, b in zip(state, new, strict=True)]

    def _chosen(self, layers: list[Tensor]) -> list[Tensor]:
        chosen = range(len(layers)) if self.layers is None else self.layers
        if not layers or any(not -len(layers) <= i < len(layers) for i in chosen):
            raise ValueError(
                f"layers is {self.layers}, but the model has {len(layers)} hidden layers; "
                "inhibition needs at least one to act on."
            )
        if len({i % len(layers) for i in chosen}) < len(chosen):
            raise ValueError(
                f"layers is {self.layers}, but names one of the model's {len(layers)} hidden layers twice."
            )
        return [layers[i] for i in chosen]

    def _pairs(self, h: Tensor, alpha: Tensor | None) -> Tensor:
        """Weighted sum over pairs of neurons, mean over samples, ``(R,)``."""
        weights = self._neighbours(h.shape[2], h)
        if alpha is not None and self.discount == "sum":
            h = h * torch.exp(-alpha)[:, None]
        if alpha is not None and self.discount == "min":
            spared = torch.exp(-alpha)
            weights = weights * torch.minimum(spared[:, :, None], spared[:, None, :])
        return ((h @ weights) * h).sum((1, 2)) / h.shape[1]

    def _neighbours(self, n: int, like: Tensor) -> Tensor:
        index = torch.arange(n, dtype=like.dtype, device=like.device)
        distance = index[:, None] - index
        weights = torch.exp(-(distance**2) / (2 * (self.width * n) ** 2)) if self.local else distance * 0 + 1
        return weights.fill_diagonal_(0)


def SNI(strength: Strength, **options) -> Inhibition:
    """Sparse coding through neural inhibition: all pairs alike."""
    return Inhibition(strength, local=False, discount=None, **options)


def SLNI(strength: Strength, **options) -> Inhibition:
    """Sparse coding through local neural inhibition: no discount for earlier tasks."""
    return Inhibition(strength, local=True, discount=None, **options)


def SNID(strength: Strength, **options) -> Inhibition:
    """Neural inhibition with discount, all pairs alike."""
    return Inhibition(strength, **{"local": False, "discount": "sum"} | options)


def SLNID(strength: Strength, **options) -> Inhibition:
    """Local neural inhibition with discount: the method of the paper."""
    return Inhibition(strength, **{"local": True, "discount": "sum"} | options)


def _check_flat(hidden: list[Tensor], axes: int) -> None:
    """Refuse layers whose activations, behind the ``axes`` of replicas and samples, are no vectors."""
    for h in hidden:
        if h.ndim != axes + 1:
            raise ValueError(
                f"a hidden layer gives activations of shape {tuple(h.shape[axes:])} a sample, but inhibition "
                "acts between the neurons of flat layers: choose those with layers=(...)."
            )


def _check_not_negative(hidden: list[Tensor]) -> None:
    """Refuse activations of two signs: two neurons of opposite signs would be rewarded, not inhibited."""
    for h in hidden:
        if h.min() < 0:
            raise ValueError(
                f"a hidden layer gives negative activations (down to {float(h.min()):.2g}), but inhibition "
                "acts on activations of 0 or more: it would reward two of opposite signs. Use ReLU, or "
                "choose other layers with layers=(...)."
            )


def _are_indices(layers: object) -> bool:
    return isinstance(layers, tuple) and bool(layers) and all(isinstance(i, int) for i in layers)


def _neuron_importance(
    population: Population, task: Task, choose: Choice, n: int | None = None, chunk: int = 500
) -> list[Tensor]:
    """Mean over samples (the first n) of the absolute gradient of the squared output norm, ``(R, N)``."""
    x = network_input(task.train.x[:n], weights_dtype(population.params))

    def of_one(params: Params) -> list[Tensor]:
        params = params | {n: p.detach().requires_grad_() for n, p in differentiable(params).items()}
        parts = [_slopes(population.network, params, part, task, choose) for part in x.split(chunk)]
        return [sum(layer) / len(x) for layer in zip(*parts, strict=True)]

    with evaluation_mode(population.network):
        # one by one: what is differentiated must be the very tensor that the output was made of
        return one_by_one(of_one, population.params)


def _slopes(network: nn.Module, params: Params, x: Tensor, task: Task, choose: Choice) -> list[Tensor]:
    """Absolute gradients at the input of each ReLU, summed over samples: ``(N,)`` per layer."""
    first, stop = task.outputs
    logits, hidden = with_hidden(network, params, x)
    hidden = choose(hidden)
    _check_flat(hidden, axes=1)
    try:
        grads = torch.autograd.grad((logits[:, first:stop] ** 2).sum(), hidden)
    except RuntimeError as error:
        raise ValueError(
            "model gives hidden activations that its logits are not made of, so that no neuron has an "
            "importance: its forward must return, with hidden=True, the very tensors that it goes on with, "
            f"not copies, views or detached ones ({str(error).splitlines()[0]})."
        ) from error
    return [(g * (h > 0)).abs().sum(0).detach() for g, h in zip(grads, hidden, strict=True)]
