"""What importance cannot be measured on is refused before any work, and what came out is looked at."""

import math
import operator
from numbers import Integral, Real

import torch
from torch import Tensor, nn
from torch.func import functional_call


def is_count(value: object) -> bool:
    """Whether a value is a whole number, 1 or more."""
    return isinstance(value, Integral) and not isinstance(value, bool) and value >= 1


def is_pair(value: object) -> bool:
    """Whether a value is two whole numbers."""
    return isinstance(value, tuple | list) and len(value) == 2 and all(isinstance(v, Integral) for v in value)


def is_number(value: object) -> bool:
    """Whether a value is a real number; a tuple of them is none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_positive(value: object, name: str) -> None:
    """Refuse what is no finite number above 0."""
    if not (is_number(value) and 0 < value < math.inf):
        raise ValueError(f"{name} is {value!r}, but must be a finite number above 0.")


def whole_number(value: object) -> int | None:
    """A whole number of any kind as Python's; None for all else, truth values included."""
    if isinstance(value, bool) or getattr(value, "dtype", None) == torch.bool:
        return None
    try:
        return operator.index(value)
    except (TypeError, ValueError):
        return None


def check_seed(seed: object, name: str = "seed is") -> int:
    """Return a seed as PyTorch takes it; refuse what is no whole number, or none that it takes."""
    whole = whole_number(seed)
    if whole is None:
        raise TypeError(f"{name} {seed!r}, but must be a whole number.")
    if not -(2**63) <= whole < 2**64:
        raise ValueError(f"{name} {whole}, but must lie between -2**63 and 2**64 - 1, as PyTorch wants.")
    return whole


def check_samples(x: Tensor, batch_size: int | None) -> None:
    """Refuse what is no tensor of samples, or empty."""
    check_inputs(x, "x")
    if x.ndim < 2:
        use = "x[None] for a single sample, x.reshape(-1, 1) for one feature a sample"
        raise ValueError(f"x has shape {tuple(x.shape)}, but must be (N, features...); use {use}.")
    if batch_size is not None and not is_count(batch_size):
        raise ValueError(f"batch_size is {batch_size!r}, but must be a whole number, 1 or more, or None.")
    if len(x) == 0:
        raise ValueError("x is empty: importance is a mean over samples and needs at least one.")


def check_tensor(value: Tensor, name: str) -> None:
    """Refuse lists and arrays by name."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} is a {type(value).__name__}, not a tensor; use torch.as_tensor({name}).")


def check_inputs(x: Tensor, name: str) -> None:
    """Refuse what is no tensor of inputs; whole numbers that are not uint8 may be levels or features."""
    check_tensor(x, name)
    if x.dtype != torch.uint8 and not x.is_floating_point():
        use = f"{name}.to(torch.uint8) for image levels 0 to 255, or {name}.float()"
        raise TypeError(f"{name} is {x.dtype}, but must be uint8 or floating point; use {use}.")


def check_alike(x: Tensor, like: Tensor, name: str, whose: str, advice: str) -> None:
    """Refuse inputs of another shape or kind than others, those of ``whose``: one network is to take both."""
    shape, wanted = tuple(x.shape[1:]), tuple(like.shape[1:])
    if shape != wanted:
        raise ValueError(f"{name} inputs have shape {shape}, but {whose} have {wanted}; {advice}.")
    if (x.dtype == torch.uint8) != (like.dtype == torch.uint8):
        raise ValueError(
            f"{name} inputs are {x.dtype}, but {whose} are {like.dtype}: uint8 is divided by 255 and "
            "floating point is not, so all must be of one kind."
        )


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


def check_kind(model: nn.Module) -> None:
    """Refuse modules that PyTorch cannot call with other weights than their own, or take derivatives of."""
    for name, module in model.named_modules():
        where = f"part {name!r} of model" if name else "model"
        if isinstance(module, torch.jit.ScriptModule) and next(module.parameters(), None) is not None:
            raise TypeError(
                f"{where} is a {type(module).__name__}, compiled by torch.jit, which cannot be called with "
                "other weights than its own: pass the nn.Module that it was made of."
            )
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            raise TypeError(
                f"{where} is a {type(module).__name__}, which cannot be called with other weights than its "
                "own: pass the nn.Module inside it, its attribute module."
            )
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.sparse:
            raise ValueError(
                f"{where} is an {type(module).__name__} with sparse=True, whose gradients are no plain "
                "tensors: build it with sparse=False."
            )


def check_not_inference() -> None:
    """Refuse to take derivatives where there are none."""
    if torch.is_inference_mode_enabled():
        raise ValueError(
            "torch.inference_mode() is on, in which nothing has a derivative: call this outside of it "
            "(torch.no_grad() does no harm)."
        )


def check_no_renorm(model: nn.Module) -> None:
    """Refuse embeddings that change their weights whenever they are read."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.max_norm is not None:
            raise ValueError(
                f"model has an embedding with max_norm (layer {name!r}), which changes its weights whenever "
                "it is read, so that no sample has a gradient of its own: leave max_norm out."
            )


def own_params(model: nn.Module) -> dict[str, Tensor]:
    """The model's weights as those of a single replica, ``(1, ...)``."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is a {type(model).__name__}, but must be an nn.Module.")
    check_kind(model)
    params = {name: p.detach()[None] for name, p in model.named_parameters()}
    if not params:
        raise ValueError("model has no weights, so there is nothing that importance could be measured of.")
    return params


def first_replica(params: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the first of several replicas."""
    return {name: p[0] for name, p in params.items()}


def logits_of_first(model: nn.Module, params: dict[str, Tensor], x: Tensor, of: str = "x") -> Tensor:
    """Logits of the first replica, on a copy of the inputs, which are those ``of`` a stream or an argument.

    Refuses a model that does not take them, that returns anything but a tensor, or that writes into its
    inputs, which are the data.
    """
    seen = x.clone()
    before = seen._version
    try:
        found = functional_call(model, first_replica(params), (seen,))
    except RuntimeError as error:
        raise ValueError(
            f"model does not accept inputs of shape {tuple(x.shape[1:])}, which {of} has: {error}"
        ) from error
    if not isinstance(found, Tensor):
        raise TypeError(
            f"model returns a {type(found).__name__}, but must return its logits alone, a tensor (N, K)."
        )
    if seen._version != before:
        raise ValueError(
            "model writes into its inputs, so that the data would change while it is trained or measured: "
            "let its first layer work out of place (inplace=False, x = x - 1 instead of x -= 1)."
        )
    return found


def check_no_mixing(model: nn.Module, params: dict[str, Tensor], x: Tensor) -> None:
    """Refuse a model that gives a sample other logits beside others than alone, judged on its first replica.

    One that draws random numbers is not judged.
    """
    first = first_replica(params)

    def forward(samples: Tensor) -> Tensor:
        return functional_call(model, first, (samples,))

    together = forward(x)
    if not torch.equal(together, forward(x)):
        return
    try:
        alone = [forward(sample) for sample in x.split(1)]
    except (RuntimeError, IndexError) as error:
        raise ValueError(
            f"model fails on a batch of one sample ({str(error).splitlines()[0]}): write its forward for "
            "any number of samples."
        ) from error
    if alone[0].shape != together[:1].shape:
        raise ValueError(
            f"model fails on a batch of one sample: its output has shape {tuple(alone[0].shape)} there, but "
            f"{tuple(together.shape)} for {len(x)} samples. Is there a squeeze() in its forward?"
        )
    if not near(torch.cat(alone), together):
        raise ValueError(
            "model gives a sample other logits alone than beside others: it mixes the samples of a batch, so "
            "that no sample has a loss of its own. The first axis must be that of the samples throughout "
            "(is batch_first=True missing?), and statistics must not be taken over it."
        )


def uneven(logits: Tensor) -> Tensor:
    """A factor for each output; an even sum of outputs may have no gradient, as that of a softmax."""
    return torch.linspace(1, 2, logits.shape[-1]).to(logits)


def near(found: Tensor, wanted: Tensor) -> bool:
    """Whether logits are equal up to rounding: on a GPU convolutions round to ten bits."""
    if not wanted.is_floating_point():
        return torch.equal(found, wanted)
    rounding = max(0.01, torch.finfo(wanted.dtype).eps ** 0.5)
    largest = float(wanted.detach().nan_to_num(posinf=0.0, neginf=0.0).abs().max())
    return torch.allclose(found, wanted, rtol=rounding, atol=rounding * largest, equal_nan=True)


def check_draws_nothing(model: nn.Module, params: dict[str, Tensor], x: Tensor, logits: Tensor) -> None:
    """Refuse a model in evaluation mode that does not give its ``logits`` once more, beyond rounding."""
    with torch.random.fork_rng():
        again = logits_of_first(model, params, x)
    if not near(again, logits):
        raise ValueError(
            "model gives other logits when it is called once more: it draws random numbers in evaluation "
            "mode, so that what is measured would be a matter of chance (let it draw in training only, as "
            "F.dropout(x, p, training=self.training) does), or keeps something from call to call."
        )


def check_outputs(model, params, x, y, outputs) -> None:
    """Refuse outputs that the model lacks, and labels outside of them."""
    logits = logits_of_first(model, params, x)
    if logits.ndim != 2:
        raise ValueError(
            f"model gives outputs of shape {tuple(logits.shape)} for {len(x)} samples, but must give "
            "(N, K): a row of K logits for each."
        )
    check_draws_nothing(model, params, x, logits)
    check_no_mixing(model, params, x)
    n_outputs = logits.shape[-1]
    outputs = (0, n_outputs) if outputs is None else outputs
    if not is_pair(outputs) or not 0 <= outputs[0] < outputs[1] <= n_outputs:
        raise ValueError(
            f"outputs is {outputs}, but must be (first, stop) within the model's {n_outputs} outputs."
        )
    first, stop = outputs
    if y is None or y.is_floating_point():
        return
    low, high = int(y.min()), int(y.max())
    if low < first or high >= stop:
        raise ValueError(
            f"y has labels from {low} to {high}, but the outputs that compete are {first} to {stop - 1}."
        )


def check_finite(values: Tensor, name: str, what: str) -> None:
    """Refuse NaN and infinity before any work."""
    if not values.isfinite().all():
        raise ValueError(f"{name}: {what} hold NaN or infinity; clean the data first.")


def finite(result: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies of the importances, if all are finite."""
    for name, value in result.items():
        if not value.isfinite().all():
            raise ValueError(
                f"model gives a non-finite importance for {name!r}: its outputs or weights hold NaN or "
                "infinity on these samples; training probably diverged (lower lr, or use the "
                "implicit penalty step)."
            )
    return {name: value.detach().clone() for name, value in result.items()}
