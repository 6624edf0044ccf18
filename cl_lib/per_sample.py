r"""Means over samples of a function of the per-sample gradient, exact and fast.

Every importance is a mean over samples of a function of the *per-sample* gradient, so it does not
depend on how the samples are batched. With :math:`z(x)` the outputs and vectors :math:`c_k` that
say which derivative is asked for, all of them are

.. math:: \Omega_i=\frac1N\sum_n\sum_k\big|\partial_{\theta_i}\,c_k\!\cdot z(x_n)\big|^q .

For the Fisher :math:`q=2`. There are two ways to the same number: for a layer :math:`h=Wa+b` that sees
each sample once, the gradient of sample n is :math:`g_na_n^\top`, so the sum over samples is the matrix
product :math:`(|g|^q)^\top|a|^q` and one backward pass serves all samples; a vector added to h, such as a
memory unit, has the gradient :math:`g_n` itself. A convolution is such a layer at each of its places l,
with the patch that it sees there for :math:`a_{nl}`; its gradient is :math:`\sum_l g_{nl}a_{nl}^\top`, a
matrix product for each sample. Any other network goes through ``torch.func`` (vmap of the per-sample
gradient).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn import functional

from cl_lib.checks import (
    check_finite,
    check_no_batch_statistics,
    check_no_renorm,
    check_not_inference,
    check_outputs,
    finite,
    first_replica,
    logits_of_first,
    uneven,
)
from cl_lib.models import (
    convolves_on_cpu,
    differentiable,
    evaluation_mode,
    memory_units,
    network_input,
    row_in_use,
    weights_dtype,
)
from cl_lib.population import one_by_one

CHUNK = 4096
CHUNK_OF_PATCHES = 64  # where there are convolutions, whose patches take many times the room of the images
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
        closed = _closed_form_holds(model, params, x)
        if closed and any(isinstance(m, nn.Conv2d) for m in model.modules()):
            chunk = min(chunk, CHUNK_OF_PATCHES)
        sums = _closed_sums if closed else _general_sums
        each = over_replicas if closed and not convolves_on_cpu(model) else one_by_one
        found = mean_in_parts(
            lambda p, xs, ys: sums(model, p, xs, ys, directions, power, outputs), params, x, y, chunk, each
        )
        logits_of_first(model, params, x[:1])  # what a module keeps of it can be copied, unlike vmap's
        return found


def checked_input(model, params, x, y=None, outputs=None) -> Tensor:
    """Inputs as the network takes them, once nothing speaks against measuring on them."""
    x = network_input(x, weights_dtype(params))
    check_finite(x, "x", "the inputs")
    check_outputs(model, params, x[:8], y, outputs)
    return x


def mean_in_parts(sums, params, x, y, chunk, each=None) -> dict[str, Tensor]:
    """``sums(params, x, y)`` of all parts of the data and of all replicas, divided by N.

    ``each`` applies a function to all replicas, by default :func:`over_replicas`.
    """
    each = each or over_replicas
    total = None
    for start in range(0, len(x), chunk):
        labels = None if y is None else y[start : start + chunk]
        part = each(lambda p, a=x[start : start + chunk], b=labels: sums(p, a, b), params)
        total = part if total is None else {k: total[k] + part[k] for k in total}
    return finite({name: value / len(x) for name, value in total.items()})


def _closed_sums(model, params, x, y, directions, power, outputs) -> dict[str, Tensor]:
    """Closed form for networks whose parameters all sit in linear layers and convolutions."""
    layers = _layers(model)
    taps = _taps(model, layers, params, x)
    logits, pull, inputs = vjp(
        lambda taps: _tapped_forward(model, layers, params, x, taps), taps, has_aux=True
    )
    seen = {name: patches(layer, inputs[name]) for name, layer in layers.items()}
    of_linear = {name: torch.zeros_like(tap) for name, tap in taps.items() if tap.ndim == 2}
    result = {}
    for direction in within_outputs(directions, logits, y, outputs):
        for name, grad in pull(direction)[0].items():
            if name in of_linear:
                of_linear[name] = of_linear[name] + grad.abs() ** power
            else:
                _add(result, name, layers[name], *of_convolution(grad.flatten(2), seen[name], power))
    for name, grad in of_linear.items():
        _add(result, name, layers[name], grad.T @ seen[name].abs() ** power, grad.sum(0))
    for name, memory in memory_units(model).items():
        result[memory] = row_in_use(model, of_linear[name].sum(0))
    return result


def _layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers of which a closed form is known."""
    return {name: m for name, m in model.named_modules() if is_matrix_product(m)}


def is_matrix_product(layer: nn.Module) -> bool:
    """Whether a layer is linear, or a plain 2D convolution, which is linear in each of its patches."""
    if not isinstance(layer, nn.Conv2d):
        return isinstance(layer, nn.Linear)
    return layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def patches(layer: nn.Module, x: Tensor) -> Tensor:
    """What a layer multiplies its weights with: its input; for a convolution ``(N, weights, places)``."""
    if isinstance(layer, nn.Linear):
        return x
    return functional.unfold(
        x, layer.kernel_size, dilation=layer.dilation, padding=layer.padding, stride=layer.stride
    )


def of_convolution(grad: Tensor, seen: Tensor, power: int) -> tuple[Tensor, Tensor]:
    """Sums over samples for the weights, as a matrix, and for the bias."""
    weight = (grad @ seen.mT).abs() ** power
    return weight.sum(0), (grad.sum(2).abs() ** power).sum(0)


def _add(result: dict[str, Tensor], name: str, layer: nn.Module, weight: Tensor, bias: Tensor) -> None:
    prefix = f"{name}." if name else ""
    sums = {f"{prefix}weight": weight.reshape(layer.weight.shape)}
    if layer.bias is not None:
        sums[f"{prefix}bias"] = bias
    for key, value in sums.items():
        result[key] = result[key] + value if key in result else value


def _taps(model, layers, params, x) -> dict[str, Tensor]:
    """Zeros of the shape of each layer's output."""
    shapes = {name: (layer.out_features,) for name, layer in layers.items() if isinstance(layer, nn.Linear)}
    others = {name: layer for name, layer in layers.items() if name not in shapes}

    def note(name):
        def hook(_, args, output):
            shapes[name] = output.shape[1:]

        return hook

    if others:
        with hooked(others, note):
            functional_call(model, params, (x[:1],))
    if shapes.keys() != layers.keys():
        raise _NotClosedForm
    return {name: x.new_zeros(len(x), *shapes[name]) for name in layers}


def _tapped_forward(model, layers, params, x, taps):
    """Forward pass with a tap added to the output of each layer, whose gradient is then g."""
    inputs = {}

    def tap(name):
        axes = 2 if isinstance(layers[name], nn.Linear) else 4

        def hook(_, args, output):
            if len(args) != 1 or args[0].ndim != axes or len(args[0]) != len(x) or name in inputs:
                raise _NotClosedForm
            inputs[name] = args[0]
            return output + taps[name]

        return hook

    with hooked(layers, tap):
        logits = functional_call(model, params, (x,))
    if inputs.keys() != layers.keys():
        raise _NotClosedForm
    return logits, inputs


@contextmanager
def hooked(layers: dict[str, nn.Module], hook_of: Callable[[str], Callable]) -> Iterator[None]:
    """Each layer with the forward hook ``hook_of(name)`` inside, without it outside."""
    handles = [layer.register_forward_hook(hook_of(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _NotClosedForm(Exception):
    """A layer saw something else than each sample once, or was not called at all."""


def _closed_form_holds(model: nn.Module, params: dict[str, Tensor], x: Tensor) -> bool:
    """Hold the closed form against autograd on a few samples: finds shared and hidden weights too."""
    names = {name for name, _ in model.named_parameters()}
    in_layers = sum(1 for layer in _layers(model).values() for _ in layer.parameters(recurse=False))
    if len(names) != in_layers + len(memory_units(model)):
        return False
    first = first_replica(params)
    few = x[:: max(1, len(x) // 8)][:8]  # from all over the data: a single one may be all zero

    def once(logits, _):
        yield uneven(logits).expand_as(logits)

    try:
        closed = _closed_sums(model, first, few, None, once, 1, None)
    except _NotClosedForm:
        return False
    general = _general_sums(model, first, few, None, once, 1, None)
    return closed.keys() == general.keys() and all(
        bool(((closed[name] - value).abs() <= 1e-3 * value.max()).all()) for name, value in general.items()
    )


def _general_sums(model, params, x, y, directions, power, outputs) -> dict[str, Tensor]:
    """Any network: the per-sample gradient by vmap, for each direction.

    There is one vmap, over the samples. In another one around or inside it some backward passes of PyTorch
    (that of ``PReLU``, of ``linalg.solve``) give other numbers without a word.
    """
    logits = functional_call(model, params, (x,))
    weights = differentiable(params)

    def one_sample(sample, vector):
        _, pull = vjp(lambda p: functional_call(model, params | p, (sample[None],))[0], weights)
        return {name: g.abs() ** power for name, g in pull(vector)[0].items()}

    total = {name: torch.zeros_like(p) for name, p in weights.items()}
    for vectors in within_outputs(directions, logits, y, outputs):
        for few, own in zip(
            x.split(64), vectors.split(64), strict=True
        ):  # 64 copies of the gradient at a time
            try:
                gradients = vmap(one_sample)(few, own)
            except RuntimeError as error:
                raise ValueError(
                    "model: the gradient of a single sample cannot be taken by torch.func.vmap "
                    f"({str(error).splitlines()[0]}). Write its forward without .item(), without branches on "
                    "the data, and without autograd functions that have no vmap rule."
                ) from error
            for name, value in gradients.items():
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
    several = len(next(iter(params.values()))) > 1
    return vmap(function)(params) if several else one_by_one(function, params)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; modes and random state as before outside. Gradients are never touched."""
    check_not_inference()
    check_no_batch_statistics(model)
    check_no_renorm(model)
    with evaluation_mode(model), torch.random.fork_rng(), torch.no_grad():
        yield
