r"""Local memory aware synapses: importance from activity alone, as Hebb would have it.

.. math:: \Omega_{ij}=\frac1N\sum_n2\,|x_i^n\,y_j^n|

Each layer is taken as a function of its own, with input x and output y; :math:`2x_iy_j` is the gradient of
:math:`\|y\|^2` with respect to its weight. A connection matters if its two ends are active together.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from cl_lib.checks import check_samples, first_replica, own_params
from cl_lib.models import memory_units, row_in_use
from cl_lib.per_sample import (
    CHUNK,
    checked_input,
    evaluating,
    hooked,
    is_matrix_product,
    mean_in_parts,
    of_convolution,
    patches,
)

LAYERS = (nn.Linear, nn.Conv2d)


def local_mas(
    model: nn.Module,
    x: Tensor,
    *,
    outputs: tuple[int, int] | None = None,
    batch_size: int | None = None,
) -> dict[str, Tensor]:
    r"""Local memory aware synapses: one forward pass, no backward pass, no labels.

    .. math:: \Omega_{ij}=\frac1N\sum_n2\,|x_i^n\,y_j^n|,\qquad
              y_j=\mathrm{ReLU}\Big(\sum_i\theta_{ij}x_i+b_j\Big)

    The bias is the weight of an input :math:`x=1`. Hidden layers are taken to end in a ReLU; the last layer
    has none, so y is the logits, of which those outside ``outputs`` count as 0. A convolution sums
    :math:`x_iy_j` over its positions before the absolute value; memory units of
    :class:`cl_lib.models.MemoryMLP` count as biases of the task in use.

    Parameters
    ----------
    model : nn.Module
        All its parameters belong to linear layers or plain 2D convolutions, each called once.
    x, outputs, batch_size
        As in :func:`cl_lib.importance.mas`.

    Returns
    -------
    dict[str, Tensor]
        For each parameter the mean absolute gradient of :math:`\|y\|^2` of its own layer, x being given.

    Raises
    ------
    ValueError
        As :func:`cl_lib.importance.mas`, and for a network with parameters of another kind, shared ones,
        layers that are not called just once, or logits that are not the last layer's output as it is.

    Notes
    -----
    Aljundi et al. (2018), the local version. In hidden layers, where x is the output of a ReLU too, nothing
    is negative and the absolute value does nothing; in the last layer, whose logits may be negative, it
    matters.
    """
    params = own_params(model)
    result = population_local_mas(model, params, x, outputs=outputs, batch_size=batch_size)
    return {name: value[0] for name, value in result.items()}


def population_local_mas(
    model: nn.Module,
    params: dict[str, Tensor],
    x: Tensor,
    *,
    outputs: tuple[int, int] | None = None,
    batch_size: int | None = None,
) -> dict[str, Tensor]:
    """:func:`local_mas` for R replicas at once: ``params`` and the result are stacked, ``(R, ...)``."""
    check_samples(x, batch_size)
    layers = _layers(model)
    # a convolution's inputs are unfolded, and take much more memory than those of a linear layer
    largest = 256 if any(isinstance(layer, nn.Conv2d) for layer in layers.values()) else CHUNK
    chunk = batch_size or max(1, largest // len(next(iter(params.values()))))
    with evaluating(model):
        x = checked_input(model, params, x, outputs=outputs)
        _check_calls(model, layers, first_replica(params), x[:1])
        return mean_in_parts(lambda p, xs, _: _sums(model, layers, p, xs, outputs), params, x, None, chunk)


def _sums(model, layers, params, x, outputs) -> dict[str, Tensor]:
    """Sum over samples of the absolute product of what comes in and what goes out."""
    seen = {}
    with _watching(layers, lambda name, a, z: seen.update({name: (a, z.clone())})):  # may change in place
        functional_call(model, params, (x,))
    units, last, result = memory_units(model), list(seen)[-1], {}
    for name, (a, z) in seen.items():
        if name in units:
            z = z + params[units[name]][model.task]
        y = 2 * (_competing(z, outputs) if name == last else torch.relu(z))
        weight, bias = _products(layers[name], a, y)
        prefix = f"{name}." if name else ""
        result[f"{prefix}weight"] = weight
        if layers[name].bias is not None:
            result[f"{prefix}bias"] = bias
        if name in units:
            result[units[name]] = row_in_use(model, bias)
    return result


def _products(layer: nn.Module, a: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """``sum_n |x y|`` for the weight and, with x = 1, for the bias."""
    if isinstance(layer, nn.Linear):
        return y.abs().T @ a.abs(), y.abs().sum(0)
    weight, bias = of_convolution(y.flatten(2), patches(layer, a), power=1)
    return weight.reshape(layer.weight.shape), bias


def _competing(z: Tensor, outputs: tuple[int, int] | None) -> Tensor:
    if outputs is None:
        return z
    first, stop = outputs
    return functional.pad(z[:, first:stop], (first, z.shape[1] - stop))


def _watching(layers: dict[str, nn.Module], see: Callable) -> AbstractContextManager[None]:
    """Call ``see(name, input, output)`` for each layer; a tensor that it returns replaces the output."""
    return hooked(layers, lambda name: lambda _, args, z: see(name, args[0] if args else None, z))


def _layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers that hold the parameters, by name."""
    layers = {name: m for name, m in model.named_modules() if isinstance(m, LAYERS)}
    for name, m in layers.items():
        if not is_matrix_product(m):
            raise _refusal(f"layer {name!r} is a convolution with groups or a padding that is no number")
    owned = [
        f"{name}.{p}".lstrip(".")
        for name, m in layers.items()
        for p in ("weight", "bias")
        if isinstance(getattr(m, p), nn.Parameter)
    ]
    found = {name for name, _ in model.named_parameters()}
    for name in sorted(found - {*owned, *memory_units(model).values()}):
        raise _refusal(f"parameter {name!r} belongs to no linear or convolutional layer")
    for name in sorted(set(owned) - found):
        raise _refusal(f"parameter {name!r} is shared by two layers")
    return layers


def _check_calls(model, layers, params, x) -> None:
    """Find layers that are not called once on whole samples, and weights that are used outside of them."""
    calls = {}

    def cut(name, a, z):
        n_axes = 2 if isinstance(layers[name], nn.Linear) else 4
        if name in calls or a is None or a.ndim != n_axes or len(a) != len(x):
            raise _refusal(f"layer {name!r} is not called once, by position, with one row for each sample")
        if a.requires_grad:
            raise outside
        calls[name] = z.detach(), z._version
        return calls[name][0]

    outside = _refusal("a layer's weight is used outside the layer as well")
    free = memory_units(model).values()
    leaves = {name: p.clone().requires_grad_(name not in free) for name, p in params.items()}
    with torch.enable_grad(), _watching(layers, cut):
        logits = functional_call(model, leaves, (x,))
    for name in layers.keys() - calls.keys():
        raise _refusal(f"layer {name!r} is never called")
    if logits.requires_grad:
        raise outside
    last, version = list(calls.values())[-1]
    same = logits.shape == last.shape and logits.data_ptr() == last.data_ptr()
    if not same or logits._version != version:  # another tensor, or changed in place
        raise _refusal("the logits are not the output of the last layer as it is")


def _refusal(what: str) -> ValueError:
    return ValueError(
        f'model: {what}, and local MAS is defined layer by layer. Use importance.mas, or scope="global".'
    )
