"""What importance cannot be measured on is refused before any work, and what came out is looked at."""

from numbers import Integral

from torch import Tensor, nn
from torch.func import functional_call


def is_count(value: object) -> bool:
    """Whether a value is a whole number, 1 or more."""
    return isinstance(value, Integral) and not isinstance(value, bool) and value >= 1


def check_seed(seed: object) -> None:
    """Refuse a seed that is no whole number."""
    if not isinstance(seed, Integral):
        raise TypeError(f"seed is {seed!r}, but must be a whole number.")


def check_samples(x: Tensor, batch_size: int | None) -> None:
    """Refuse what is no tensor of samples, or empty."""
    check_tensor(x, "x")
    if batch_size is not None and not is_count(batch_size):
        raise ValueError(f"batch_size is {batch_size!r}, but must be a whole number, 1 or more, or None.")
    if len(x) == 0:
        raise ValueError("x is empty: importance is a mean over samples and needs at least one.")


def check_tensor(value: Tensor, name: str) -> None:
    """Refuse lists and arrays by name."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} is a {type(value).__name__}, not a tensor; use torch.as_tensor({name}).")


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


def check_outputs(model, params, sample, y, outputs) -> None:
    """Refuse outputs that the model lacks, and labels outside of them."""
    first_replica = {name: p[0] for name, p in params.items()}
    logits = functional_call(model, first_replica, (sample,))
    if logits.ndim != 2:
        raise ValueError(
            f"model gives outputs of shape {tuple(logits.shape)} for one sample, but must give (N, K): a row "
            "of K logits for each."
        )
    n_outputs = logits.shape[-1]
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
