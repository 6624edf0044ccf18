r"""Who matters: how strongly each weight is tied to what the network has learned.

Every importance is a mean over samples of a function of the *per-sample* gradient, so it does not
depend on how the samples are batched. With :math:`z(x)` the outputs and vectors :math:`c_k` that
say which derivative is asked for, all of them are

.. math:: \Omega_i=\frac1N\sum_n\sum_k\big|\partial_{\theta_i}\,c_k\!\cdot z(x_n)\big|^q .

For the Fisher :math:`q=2`. There are two ways to the same number: for a layer :math:`h=Wa+b` that sees
each sample once, the gradient of sample n is :math:`g_na_n^\top`, so the sum over samples is the matrix
product :math:`(|g|^q)^\top|a|^q` and one backward pass serves all samples; any other network goes
through ``torch.func`` (vmap of the per-sample gradient).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn import functional

from cl_lib.models import evaluation_mode, network_input

FISHER_KINDS = ("exact", "sampled", "empirical", "batched")
_CHUNK = 4096

# (logits (N, K), labels or draws (N,)) -> the vectors c_k, each (N, K)
Directions = Callable[[Tensor, Tensor | None], Iterator[Tensor]]


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
                  batches, as much public code has it. For teaching; depends on ``batch_size``.
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
        Outputs that compete, :attr:`cl_lib.streams.Task.outputs`. Default: all.
    batch_size : int, optional
        Samples at a time. Decides memory only, except for ``batched`` (default 128).
    seed : int
        Of the drawn labels.

    Returns
    -------
    dict[str, Tensor]
        For each parameter name a tensor of its shape, in squared nats per squared unit of the weight.

    Raises
    ------
    ValueError
        Unknown kind, missing or ill-shaped labels, no samples, non-finite input or output, or batch
        normalisation in training mode.

    Notes
    -----
    Kirkpatrick et al. (2017); the estimators are those of van de Ven (2025).
    """
    params = {name: p.detach()[None] for name, p in model.named_parameters()}
    result = population_fisher(
        model, params, x, y, kind=kind, outputs=outputs, batch_size=batch_size, seed=seed
    )
    return {name: value[0] for name, value in result.items()}


def population_fisher(
    model: nn.Module,
    params: dict[str, Tensor],
    x: Tensor,
    y: Tensor | None = None,
    *,
    kind: str = "exact",
    outputs: tuple[int, int] | None = None,
    batch_size: int | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """:func:`fisher` for R replicas at once: ``params`` and the result are stacked, ``(R, ...)``."""
    _check_fisher(kind, x, y, batch_size)
    n_replicas = len(next(iter(params.values())))
    if kind == "exact":
        y = None
    if kind == "sampled":
        y = torch.rand(len(x), generator=torch.Generator().manual_seed(seed)).to(x.device)
    if kind == "batched":
        return _batched_fisher(model, params, x, y, outputs, batch_size or 128)
    directions = {"exact": _all_labels, "sampled": _drawn_label, "empirical": _true_label}[kind]
    chunk = batch_size or max(1, _CHUNK // n_replicas)
    return per_sample_mean(model, params, x, y, directions, power=2, outputs=outputs, chunk=chunk)


def per_sample_mean(
    model: nn.Module,
    params: dict[str, Tensor],
    x: Tensor,
    y: Tensor | None,
    directions: Directions,
    *,
    power: int,
    outputs: tuple[int, int] | None = None,
    chunk: int = _CHUNK,
) -> dict[str, Tensor]:
    r""":math:`\frac1N\sum_n\sum_k|\partial_\theta\,c_k\cdot z(x_n)|^q` for R replicas at once.

    Parameters
    ----------
    params : dict of Tensor (R, ...)
    directions : callable
        Gives the vectors :math:`c_k` from the logits and ``y``.
    power : {1, 2}
        The exponent q.

    Returns
    -------
    dict of Tensor (R, ...)
    """
    with _evaluating(model):
        x = network_input(x, next(iter(params.values())).dtype)
        _check_finite(x, "x", "the inputs")
        _check_outputs(model, params, x[:1], y, outputs)
        sums = _linear_sums if _closed_form_holds(model, params, x) else _general_sums
        total = None
        for start in range(0, len(x), chunk):
            labels = None if y is None else y[start : start + chunk]
            part = _over_replicas(
                lambda p, a=x[start : start + chunk], b=labels: sums(
                    model, p, a, b, directions, power, outputs
                ),
                params,
            )
            total = part if total is None else {k: total[k] + part[k] for k in total}
    return _finite({name: value / len(x) for name, value in total.items()})


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


def _linear_sums(model, params, x, y, directions, power, outputs) -> dict[str, Tensor]:
    """Closed form for networks whose parameters all sit in linear layers."""
    layers = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    taps = {name: x.new_zeros(len(x), layer.out_features) for name, layer in layers.items()}
    logits, pull, inputs = vjp(
        lambda taps: _tapped_forward(model, layers, params, x, taps), taps, has_aux=True
    )
    grads = {name: torch.zeros_like(tap) for name, tap in taps.items()}
    for direction in _within(directions, logits, y, outputs):
        for name, grad in pull(direction)[0].items():
            grads[name] = grads[name] + grad.abs() ** power
    result = {}
    for name, layer in layers.items():
        prefix = f"{name}." if name else ""
        result[f"{prefix}weight"] = grads[name].T @ inputs[name].abs() ** power
        if layer.bias is not None:
            result[f"{prefix}bias"] = grads[name].sum(0)
    return result


def _tapped_forward(model, layers, params, x, taps):
    """Forward pass with a tap added to the output of each layer, whose gradient is then g."""
    inputs = {}

    def tap(name):
        def hook(_, args, output):
            if len(args) != 1 or args[0].shape[:-1] != x.shape[:1] or name in inputs:
                raise _NotClosedForm
            inputs[name] = args[0]
            return output + taps[name]

        return hook

    handles = [layer.register_forward_hook(tap(name)) for name, layer in layers.items()]
    try:
        logits = functional_call(model, params, (x,))
    finally:
        for handle in handles:
            handle.remove()
    if inputs.keys() != layers.keys():
        raise _NotClosedForm
    return logits, inputs


class _NotClosedForm(Exception):
    """A linear layer saw something else than each sample once, or was not called at all."""


def _closed_form_holds(model: nn.Module, params: dict[str, Tensor], x: Tensor) -> bool:
    """Hold the closed form against autograd on a few samples: finds shared and hidden weights too."""
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    names = {name for name, _ in model.named_parameters()}
    if len(names) != sum(1 for layer in layers for _ in layer.parameters(recurse=False)):
        return False
    first = {name: p[0] for name, p in params.items()}
    few = x[:: max(1, len(x) // 8)][:8]  # from all over the data: a single one may be all zero

    def uneven(logits, _):  # an even sum of the outputs may have no gradient, as that of a softmax
        yield torch.linspace(1, 2, logits.shape[-1]).to(logits).expand_as(logits)

    try:
        closed = _linear_sums(model, first, few, None, uneven, 1, None)
    except _NotClosedForm:
        return False
    general = _general_sums(model, first, few, None, uneven, 1, None)
    return closed.keys() == general.keys() and all(
        bool(((closed[name] - value).abs() <= 1e-3 * value.max()).all())
        for name, value in general.items()
    )


def _general_sums(model, params, x, y, directions, power, outputs) -> dict[str, Tensor]:
    """Any network: the per-sample gradient by vmap, for each direction."""
    logits = functional_call(model, params, (x,))
    vectors = torch.stack(list(_within(directions, logits, y, outputs)), 1)

    def one_sample(sample, vectors):
        _, pull = vjp(lambda p: functional_call(model, p, (sample[None],))[0], params)
        return {name: (g.abs() ** power).sum(0) for name, g in vmap(pull)(vectors)[0].items()}

    total = {name: torch.zeros_like(p) for name, p in params.items()}
    for start in range(0, len(x), 64):  # 64 copies of the gradient at a time
        part = slice(start, start + 64)
        for name, value in vmap(one_sample)(x[part], vectors[part]).items():
            total[name] = total[name] + value.sum(0)
    return total


def _within(directions: Directions, logits, y, outputs) -> Iterator[Tensor]:
    """Directions over the competing outputs only; zero on the others."""
    if outputs is None:
        yield from directions(logits, y)
        return
    first, stop = outputs
    labels = y - first if y is not None and not y.is_floating_point() else y
    for direction in directions(logits[:, first:stop], labels):
        yield functional.pad(direction, (first, logits.shape[-1] - stop))


def _batched_fisher(model, params, x, y, outputs, batch_size) -> dict[str, Tensor]:
    with _evaluating(model):
        x = network_input(x, next(iter(params.values())).dtype)
        _check_finite(x, "x", "the inputs")
        _check_outputs(model, params, x[:1], y, outputs)
        first, stop = outputs or (0, None)

        def squared(p, xs, ys):
            def loss(p):
                return functional.cross_entropy(
                    functional_call(model, p, (xs,))[:, first:stop], ys - first
                )

            return {name: g**2 for name, g in torch.func.grad(loss)(p).items()}

        batches = list(zip(x.split(batch_size), y.split(batch_size), strict=True))
        parts = [
            _over_replicas(lambda p, xs=xs, ys=ys: squared(p, xs, ys), params) for xs, ys in batches
        ]
    return _finite({name: sum(part[name] for part in parts) / len(parts) for name in params})


def _over_replicas(function, params: dict[str, Tensor]) -> dict[str, Tensor]:
    """``vmap`` over the replicas; one replica goes without its overhead."""
    if len(next(iter(params.values()))) > 1:
        return vmap(function)(params)
    result = function({name: p[0] for name, p in params.items()})
    return {name: value[None] for name, value in result.items()}


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; modes and random state as before outside. Gradients are never touched."""
    check_no_batch_statistics(model)
    with evaluation_mode(model), torch.random.fork_rng(), torch.no_grad():
        yield


def check_no_batch_statistics(model: nn.Module) -> None:
    """Refuse batch normalisation that would mix the samples of a batch.

    Raises
    ------
    ValueError
        For a batch normalisation layer in training mode, or one without running statistics.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (
            module.training or not module.track_running_stats
        ):
            raise ValueError(
                f"model has batch normalisation in training mode (layer {name!r}): its output mixes the "
                "samples of a batch, so no sample has a gradient of its own. Call model.eval() first, or use "
                "GroupNorm or LayerNorm."
            )


def _check_fisher(kind: str, x: Tensor, y: Tensor | None, batch_size: int | None) -> None:
    if kind not in FISHER_KINDS:
        raise ValueError(f"kind is {kind!r}, but must be one of {', '.join(FISHER_KINDS)}.")
    for name, value in (("x", x), ("y", y)):
        if not isinstance(value, Tensor) and not (name == "y" and value is None):
            raise TypeError(
                f"{name} is a {type(value).__name__}, not a tensor; use torch.as_tensor({name})."
            )
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, but must be 1 or more, or None.")
    if len(x) == 0:
        raise ValueError("x is empty: importance is a mean over samples and needs at least one.")
    if kind in ("empirical", "batched"):
        if y is None:
            raise ValueError(f"y is missing: kind={kind!r} needs the true labels.")
        if y.shape != (len(x),) or y.is_floating_point():
            raise ValueError(
                f"y has shape {tuple(y.shape)} and type {y.dtype}, but must hold {len(x)} integer labels."
            )


def _check_outputs(model, params, sample, y, outputs) -> None:
    first_replica = {name: p[0] for name, p in params.items()}
    n_outputs = functional_call(model, first_replica, (sample,)).shape[-1]
    first, stop = outputs or (0, n_outputs)
    if not 0 <= first < stop <= n_outputs:
        raise ValueError(
            f"outputs is {outputs}, but must be (first, stop) within the model's {n_outputs} outputs."
        )
    if y is None or y.is_floating_point():
        return
    low, high = int(y.min()), int(y.max())
    if low < first or high >= stop:
        raise ValueError(
            f"y has labels from {low} to {high}, but the outputs that compete are {first} to {stop - 1}."
        )


def _check_finite(values: Tensor, name: str, what: str) -> None:
    if not values.isfinite().all():
        raise ValueError(f"{name}: {what} hold NaN or infinity; clean the data first.")


def _finite(result: dict[str, Tensor]) -> dict[str, Tensor]:
    for name, value in result.items():
        if not value.isfinite().all():
            raise ValueError(
                f"model gives a non-finite importance for {name!r}: its outputs or weights hold NaN or infinity "
                "on these samples; training probably diverged (lower lr, or use the implicit penalty step)."
            )
    return {name: value.detach().clone() for name, value in result.items()}
