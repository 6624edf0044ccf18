r"""Means over samples of a function of the per-sample gradient, exact and fast.

Every importance is a mean over samples of a function of the *per-sample* gradient, so it does not
depend on how the samples are batched. With :math:`z(x)` the outputs and vectors :math:`c_k` that
say which derivative is asked for, all of them are

.. math:: \Omega_i=\frac1N\sum_n\sum_k\big|\partial_{\theta_i}\,c_k\!\cdot z(x_n)\big|^q .

For the Fisher :math:`q=2`. There are two ways to the same number: for a layer :math:`h=Wa+b` that sees
each sample once, the gradient of sample n is :math:`g_na_n^\top`, so the sum over samples is the matrix
product :math:`(|g|^q)^\top|a|^q` and one backward pass serves all samples; a vector added to h, such as a
memory unit, has the gradient :math:`g_n` itself. Any other network goes through ``torch.func`` (vmap of the
per-sample gradient).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn import functional

from cl_lib.checks import check_finite, check_no_batch_statistics, check_outputs, finite
from cl_lib.models import evaluation_mode, memory_units, network_input, row_in_use

CHUNK = 4096
# (logits (N, K), labels or draws (N,)) -> the vectors c_k, each (N, K)
Directions = Callable[[Tensor, Tensor | None], Iterator[Tensor]]


def per_sample_mean(
    model: nn.Module,
    params: dict[str, Tensor],
    x: Tensor,
    y: Tensor | None,
    directions: Directions,
    *,
    power: int,
    outputs: tuple[int, int] | None = None,
    chunk: int = CHUNK,
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
    with evaluating(model):
        x = checked_input(model, params, x, y, outputs)
        sums = _linear_sums if _closed_form_holds(model, params, x) else _general_sums
        return mean_in_parts(
            lambda p, xs, ys: sums(model, p, xs, ys, directions, power, outputs), params, x, y, chunk
        )


def checked_input(model, params, x, y=None, outputs=None) -> Tensor:
    """Inputs as the network takes them, once nothing speaks against measuring on them."""
    x = network_input(x, next(iter(params.values())).dtype)
    check_finite(x, "x", "the inputs")
    check_outputs(model, params, x[:1], y, outputs)
    return x


def mean_in_parts(sums, params, x, y, chunk) -> dict[str, Tensor]:
    """``sums(params, x, y)`` of all parts of the data and of all replicas, divided by N."""
    total = None
    for start in range(0, len(x), chunk):
        labels = None if y is None else y[start : start + chunk]
        part = over_replicas(lambda p, a=x[start : start + chunk], b=labels: sums(p, a, b), params)
        total = part if total is None else {k: total[k] + part[k] for k in total}
    return finite({name: value / len(x) for name, value in total.items()})


def _linear_sums(model, params, x, y, directions, power, outputs) -> dict[str, Tensor]:
    """Closed form for networks whose parameters all sit in linear layers."""
    layers = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    taps = {name: x.new_zeros(len(x), layer.out_features) for name, layer in layers.items()}
    logits, pull, inputs = vjp(
        lambda taps: _tapped_forward(model, layers, params, x, taps), taps, has_aux=True
    )
    grads = {name: torch.zeros_like(tap) for name, tap in taps.items()}
    for direction in within_outputs(directions, logits, y, outputs):
        for name, grad in pull(direction)[0].items():
            grads[name] = grads[name] + grad.abs() ** power
    result = {}
    for name, layer in layers.items():
        prefix = f"{name}." if name else ""
        result[f"{prefix}weight"] = grads[name].T @ inputs[name].abs() ** power
        if layer.bias is not None:
            result[f"{prefix}bias"] = grads[name].sum(0)
    for name, memory in memory_units(model).items():
        result[memory] = row_in_use(model, grads[name].sum(0))
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
    in_layers = sum(1 for layer in layers for _ in layer.parameters(recurse=False))
    if len(names) != in_layers + len(memory_units(model)):
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
        bool(((closed[name] - value).abs() <= 1e-3 * value.max()).all()) for name, value in general.items()
    )


def _general_sums(model, params, x, y, directions, power, outputs) -> dict[str, Tensor]:
    """Any network: the per-sample gradient by vmap, for each direction."""
    logits = functional_call(model, params, (x,))
    vectors = torch.stack(list(within_outputs(directions, logits, y, outputs)), 1)

    def one_sample(sample, vectors):
        _, pull = vjp(lambda p: functional_call(model, p, (sample[None],))[0], params)
        return {name: (g.abs() ** power).sum(0) for name, g in vmap(pull)(vectors)[0].items()}

    total = {name: torch.zeros_like(p) for name, p in params.items()}
    step = max(1, 64 // vectors.shape[1])  # 64 copies of the gradient at a time
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        for name, value in vmap(one_sample)(x[part], vectors[part]).items():
            total[name] = total[name] + value.sum(0)
    return total


def within_outputs(directions: Directions, logits, y, outputs) -> Iterator[Tensor]:
    """Directions over the competing outputs only; zero on the others."""
    if outputs is None:
        yield from directions(logits, y)
        return
    first, stop = outputs
    labels = y - first if y is not None and not y.is_floating_point() else y
    for direction in directions(logits[:, first:stop], labels):
        yield functional.pad(direction, (first, logits.shape[-1] - stop))


def over_replicas(function, params: dict[str, Tensor]) -> dict[str, Tensor]:
    """``vmap`` over the replicas; one replica goes without its overhead."""
    if len(next(iter(params.values()))) > 1:
        return vmap(function)(params)
    result = function({name: p[0] for name, p in params.items()})
    return {name: value[None] for name, value in result.items()}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; modes and random state as before outside. Gradients are never touched."""
    check_no_batch_statistics(model)
    with evaluation_mode(model), torch.random.fork_rng(), torch.no_grad():
        yield
