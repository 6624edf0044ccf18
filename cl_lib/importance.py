r"""Who matters: how strongly each weight is tied to what the network has learned.

Every importance is a mean over samples of a function of the *per-sample* gradient, so it does not
depend on how the samples are batched; :mod:`cl_lib.per_sample` computes it, and :mod:`cl_lib.hebbian`
what needs no gradient.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from cl_lib.checks import check_samples, check_seed, check_tensor, finite, logits_of_first, own_params
from cl_lib.hebbian import local_mas, population_local_mas
from cl_lib.models import differentiable, network_input, weights_dtype
from cl_lib.per_sample import CHUNK, checked_input, evaluating, over_replicas, per_sample_mean

__all__ = ["fisher", "local_mas", "mas", "population_fisher", "population_local_mas", "population_mas"]

MAS_FUNCTIONS = ("logits", "probabilities")
FISHER_KINDS = ("exact", "sampled", "empirical", "batched")


def fisher(
    model: nn.Module,
    x: Tensor,
    y: Tensor | None = None,
    *,
    kind: str = "exact",
    outputs: tuple[int, int] | None = None,
    batch_size: int | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    r"""Diagonal of the Fisher information of a classifier, for each parameter.

    .. math:: F_i=\frac1N\sum_n\mathbb E_{y}\big[(\partial_{\theta_i}\log p_\theta(y\mid x_n))^2\big]

    ============= ==================================================================================
    kind          the inner expectation
    ============= ==================================================================================
    ``exact``     over all classes, each weighted by the probability that the model gives it
    ``sampled``   one label for each sample, drawn from the model; unbiased
    ``empirical`` the true label
    ``batched``   *not* a Fisher: the squared gradient of the mean loss of a batch, averaged over
                  batches, as much public code has it. For teaching; depends on ``batch_size``. With
                  ``batch_size=len(x)`` it is the gradient of all samples averaged first and squared after,
                  which vanishes at an optimum: an exhibit, not an importance.
    ============= ==================================================================================

    Parameters
    ----------
    model : nn.Module
        Maps inputs ``(N, ...)`` to logits ``(N, K)``. It is put into evaluation mode and back.
    x : Tensor (N, ...)
        Inputs; uint8 is divided by 255.
    y : Tensor (N,), optional
        True labels, needed for ``empirical`` and ``batched`` only.
    kind : {"exact", "sampled", "empirical", "batched"}
    outputs : (first, stop), optional
        Outputs that compete, ``Task.outputs``. Default: all.
    batch_size : int, optional
        Samples at a time. Decides memory only, except for ``batched`` (default 128).
    seed : int
        Of the drawn labels.

    Returns
    -------
    dict[str, Tensor]
        For each parameter name a tensor of its shape, in squared nats per squared unit of the weight;
        parameters of whole numbers (indices, always frozen) have none.

    Raises
    ------
    ValueError
        Unknown kind, missing or ill-shaped labels, no samples, non-finite input or output, batch
        normalisation in training mode, a model that writes into its inputs or draws random numbers in
        evaluation mode, a single output, or a seed that PyTorch does not take.

    Notes
    -----
    Kirkpatrick et al. (2017); the estimators are those of van de Ven (2025).
    """
    params = own_params(model)
    draw = partial(_uniform, seed=check_seed(seed))
    result = population_fisher(
        model, params, x, y, kind=kind, outputs=outputs, batch_size=batch_size, draw=draw
    )
    _check_competition(model, params, x, outputs)
    return {name: value[0] for name, value in result.items()}


def _uniform(n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, generator=torch.Generator().manual_seed(seed))


def population_fisher(
    model: nn.Module,
    params: dict[str, Tensor],
    x: Tensor,
    y: Tensor | None = None,
    *,
    kind: str = "exact",
    outputs: tuple[int, int] | None = None,
    batch_size: int | None = None,
    draw: Callable[[int], Tensor] = _uniform,
) -> dict[str, Tensor]:
    """:func:`fisher` for R replicas at once: ``params`` and the result are stacked, ``(R, ...)``.

    ``draw`` gives, for n samples, the uniform numbers by which labels are drawn (``sampled`` only), of shape
    ``(R, n)``, or ``(n,)`` for all replicas alike.
    """
    _check_fisher(kind, x, y, batch_size)
    if kind == "batched":
        return _batched_fisher(model, params, x, y.long(), outputs, batch_size or 128)
    options = {"power": 2, "outputs": outputs}
    if kind == "sampled":
        return _sampled_fisher(
            model, params, x, draw(len(x)).to(x.device), options | {"chunk": batch_size or CHUNK}
        )
    options["chunk"] = batch_size or max(1, CHUNK // len(next(iter(params.values()))))
    if kind == "exact":
        return per_sample_mean(model, params, x, None, _all_labels, **options)
    return per_sample_mean(model, params, x, y.long(), _true_label, **options)


def mas(
    model: nn.Module,
    x: Tensor,
    *,
    function: str = "logits",
    outputs: tuple[int, int] | None = None,
    batch_size: int | None = None,
) -> dict[str, Tensor]:
    r"""Memory aware synapses: how much the output moves when a weight does. No labels.

    .. math:: \Omega_i=\frac1N\sum_n\big|\partial_{\theta_i}\|F(x_n)\|_2^2\big|

    Parameters
    ----------
    model, x, outputs, batch_size
        As in :func:`fisher`; the samples may come from anywhere, at any time.
    function : {"logits", "probabilities"}
        What F is. The authors' code has logits; Benzing (2022) probabilities, whose importances are
        smaller by orders of magnitude.

    Returns
    -------
    dict[str, Tensor]
        In squared output units per unit of the weight.

    Raises
    ------
    ValueError
        As :func:`fisher`; a single output is refused for ``"probabilities"`` only.

    Notes
    -----
    Aljundi et al. (2018), Eq. 2 with the squared norm of the output. The absolute value is taken for
    each sample, as in the paper; the authors' code takes it of the sum over a batch by default.
    """
    params = own_params(model)
    result = population_mas(model, params, x, function=function, outputs=outputs, batch_size=batch_size)
    if function == "probabilities":
        _check_competition(model, params, x, outputs)
    return {name: value[0] for name, value in result.items()}


def population_mas(
    model: nn.Module,
    params: dict[str, Tensor],
    x: Tensor,
    *,
    function: str = "logits",
    outputs: tuple[int, int] | None = None,
    batch_size: int | None = None,
) -> dict[str, Tensor]:
    """:func:`mas` for R replicas at once: ``params`` and the result are stacked, ``(R, ...)``."""
    if function not in MAS_FUNCTIONS:
        raise ValueError(f"function is {function!r}, but must be one of {', '.join(MAS_FUNCTIONS)}.")
    check_samples(x, batch_size)
    directions = _logit_norm if function == "logits" else _probability_norm
    chunk = batch_size or max(1, CHUNK // len(next(iter(params.values()))))
    return per_sample_mean(model, params, x, None, directions, power=1, outputs=outputs, chunk=chunk)


def _all_labels(logits: Tensor, _: Tensor | None) -> Iterator[Tensor]:
    """sqrt(p_c) times the gradient of log p_c, so that the squares sum to the expectation."""
    p = logits.softmax(-1)
    for c in range(logits.shape[-1]):
        yield p[:, c : c + 1].sqrt() * (functional.one_hot(torch.tensor(c), p.shape[-1]).to(p) - p)


def _true_label(logits: Tensor, y: Tensor) -> Iterator[Tensor]:
    yield functional.one_hot(y, logits.shape[-1]) - logits.softmax(-1)


def _drawn_label(logits: Tensor, uniform: Tensor) -> Iterator[Tensor]:
    """Label by the inverse of the cumulative distribution: y ~ p from one uniform number."""
    cumulative = logits.softmax(-1).cumsum(-1)
    y = (cumulative < uniform[:, None] * cumulative[:, -1:]).sum(-1)
    yield from _true_label(logits, y)


def _logit_norm(logits: Tensor, _: Tensor | None) -> Iterator[Tensor]:
    """Gradient of the squared norm of the logits."""
    yield 2 * logits


def _probability_norm(logits: Tensor, _: Tensor | None) -> Iterator[Tensor]:
    """Gradient of the squared norm of the probabilities with respect to the logits."""
    p = logits.softmax(-1)
    yield 2 * p * (p - (p**2).sum(-1, keepdim=True))


def _sampled_fisher(model, params, x, uniform, options) -> dict[str, Tensor]:
    """One replica after the other, since each has labels of its own."""
    found = []
    for r, own in enumerate(uniform.expand(len(next(iter(params.values()))), -1)):
        one = {name: p[r : r + 1] for name, p in params.items()}
        found.append(per_sample_mean(model, one, x, own, _drawn_label, **options))
    return {name: torch.cat([one[name] for one in found]) for name in found[0]}


def _batched_fisher(model, params, x, y, outputs, batch_size) -> dict[str, Tensor]:
    with evaluating(model):
        x = checked_input(model, params, x, y, outputs)
        first, stop = outputs or (0, None)

        def squared(p, xs, ys):
            def loss(weights):
                return functional.cross_entropy(
                    functional_call(model, p | weights, (xs,))[:, first:stop], ys - first
                )

            return {name: g**2 for name, g in torch.func.grad(loss)(differentiable(p)).items()}

        batches = list(zip(x.split(batch_size), y.split(batch_size), strict=True))
        parts = [over_replicas(lambda p, xs=xs, ys=ys: squared(p, xs, ys), params) for xs, ys in batches]
        logits_of_first(model, params, x[:1])  # what a module keeps of it can be copied, unlike vmap's
    return finite({name: sum(part[name] for part in parts) / len(parts) for name in parts[0]})


def _check_competition(model, params, x, outputs) -> None:
    """Refuse a single output, of which every importance that looks at probabilities is zero."""
    with evaluating(model):
        logits = logits_of_first(model, params, network_input(x[:1], weights_dtype(params)))
    first, stop = outputs or (0, logits.shape[-1])
    if stop - first == 1:
        which = "model has" if outputs is None else f"outputs is {tuple(outputs)},"
        raise ValueError(
            f"{which} a single output, which competes with none: its probability is 1 whatever the weights "
            'are, so all importances are zero. Give two outputs, or use mas(function="logits").'
        )


def _check_fisher(kind: str, x: Tensor, y: Tensor | None, batch_size: int | None) -> None:
    if kind not in FISHER_KINDS:
        raise ValueError(f"kind is {kind!r}, but must be one of {', '.join(FISHER_KINDS)}.")
    check_samples(x, batch_size)
    if y is not None:
        check_tensor(y, "y")
    if kind in ("empirical", "batched"):
        if y is None:
            raise ValueError(f"y is missing: kind={kind!r} needs the true labels.")
        if y.shape != (len(x),) or y.is_floating_point() or y.dtype == torch.bool:
            raise ValueError(
                f"y has shape {tuple(y.shape)} and type {y.dtype}, but must hold {len(x)} integer labels."
            )
