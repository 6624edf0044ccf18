"""Three small networks. All give their hidden activations on request.

A head for each task needs no module of its own: a stream says which outputs belong to a task
(:class:`cl_lib.tasks.Task`), so one output layer holds all heads side by side.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral

import torch
from torch import Tensor, nn


def network_input(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Images stored as uint8 become numbers in [0, 1]; floating point is only cast."""
    return x.to(dtype) / 255 if x.dtype == torch.uint8 else x.to(dtype)


def weights_dtype(params: dict[str, Tensor]) -> torch.dtype:
    """What is computed in: the dtype of the first parameter that is floating point; indices are none."""
    return next((p.dtype for p in params.values() if p.is_floating_point()), torch.float32)


def differentiable(params: dict[str, Tensor]) -> dict[str, Tensor]:
    """The parameters that have a derivative: none of whole numbers, such as indices, which are frozen."""
    return {name: p for name, p in params.items() if p.is_floating_point() or p.is_complex()}


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; outside, every module in the mode it was in.

    Inside, attention goes without its fast path, which has no derivative under ``vmap``.
    """
    modes = [(module, module.training) for module in model.modules()]
    fast = torch.backends.mha.get_fastpath_enabled()
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, training in modes:
            module.training = training


def convolves_on_cpu(network: nn.Module) -> bool:
    """Whether replicas are faster one after another than side by side.

    Under ``vmap``, convolutions with weights of their own for each replica are one convolution in groups,
    which on a CPU takes more than twice as long.
    """
    convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return any(isinstance(m, convolutions) and m.weight.device.type == "cpu" for m in network.modules())


class MLP(nn.Module):
    """Fully connected ReLU network ``n_inputs - hidden... - n_outputs``.

    Parameters
    ----------
    n_inputs : int
        Size of an input vector; images are flattened.
    hidden : sequence of int
        Widths of the hidden layers.
    n_outputs : int
        Number of logits; ``stream.n_outputs``.
    """

    def __init__(self, n_inputs: int, hidden: Sequence[int] = (100, 100), n_outputs: int = 10):
        super().__init__()
        if not isinstance(hidden, Iterable):
            raise TypeError(f"hidden is {hidden!r}, but must be a sequence of widths such as (100, 100).")
        widths = [n_inputs, *hidden, n_outputs]
        if any(width < 1 for width in widths):
            raise ValueError(f"widths are {widths}, but every layer needs at least one unit.")
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))

    def forward(self, x: Tensor, hidden: bool = False) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Logits ``(N, n_outputs)``; with ``hidden=True`` also the list of ReLU activations."""
        x = x.flatten(1)
        activations = []
        for layer in range(len(self.layers) - 1):
            x = torch.relu(self._received(layer, x))
            activations.append(x)
        logits = self.layers[-1](x)
        return (logits, activations) if hidden else logits

    def _received(self, layer: int, x: Tensor) -> Tensor:
        return self.layers[layer](x)


class MemoryMLP(MLP):
    """:class:`MLP` with memory units: for each task a vector added to what each hidden layer receives.

    Which task's vectors are in use is the attribute ``task``, an index that training and evaluation set.
    The vectors start at zero, where the network is an ordinary MLP, and are moved by
    :class:`cl_lib.methods.AdversarialMemory`. Under any other method they are weights like the others,
    which the optimiser trains: biases that know their task.

    Parameters
    ----------
    n_inputs, hidden, n_outputs
        As in :class:`MLP`.
    n_tasks : int
        How many tasks get memory units.
    """

    def __init__(
        self, n_inputs: int, hidden: Sequence[int] = (100, 100), n_outputs: int = 10, *, n_tasks: int
    ):
        super().__init__(n_inputs, hidden, n_outputs)
        if n_tasks < 1:
            raise ValueError(f"n_tasks is {n_tasks}, but must be the number of tasks in the stream.")
        widths = [layer.out_features for layer in self.layers[:-1]]
        self.memory = nn.ParameterList(nn.Parameter(torch.zeros(n_tasks, width)) for width in widths)
        self.n_tasks, self.task = n_tasks, 0

    def _received(self, layer: int, x: Tensor) -> Tensor:
        return super()._received(layer, x) + self.memory[layer][self.task]


def has_parts_by_task(network: nn.Module) -> bool:
    """Whether a network has an attribute ``task``, an index that says which of its parts are in use."""
    task = getattr(network, "task", None)
    return isinstance(task, Integral) and not isinstance(task, bool)


def memory_units(model: nn.Module) -> dict[str, str]:
    """For each layer whose output memory units are added to: layer -> parameter, both by name."""
    n_layers = len(model.memory) if isinstance(model, MemoryMLP) else 0
    return {f"layers.{i}": f"memory.{i}" for i in range(n_layers)}


def row_in_use(model: MemoryMLP, values: Tensor) -> Tensor:
    """Values for the units of the task in use, zeros for those of other tasks: ``(n_tasks, width)``."""
    in_use = torch.arange(model.n_tasks, device=values.device) == model.task
    return in_use[:, None] * values


class ConvNet(nn.Module):
    """Small convolutional network: 3x3 convolutions with ReLU and 2x2 pooling, then two linear layers.

    No batch normalisation: statistics shared by a batch would tie samples together, and importance
    is defined sample by sample.

    Parameters
    ----------
    shape : (channels, height, width)
        Shape of one image; height and width at least ``2 ** len(channels)``.
    channels : sequence of int
        Filters of each convolution.
    hidden : int
        Units of the fully connected layer before the logits.
    n_outputs : int
    """

    def __init__(
        self,
        shape: tuple[int, int, int] = (3, 32, 32),
        channels: Sequence[int] = (32, 64),
        hidden: int = 128,
        n_outputs: int = 10,
    ):
        super().__init__()
        if min(hidden, n_outputs, *channels, shape[0]) < 1:
            raise ValueError(
                f"shape is {shape}, channels {tuple(channels)}, hidden {hidden}, n_outputs {n_outputs}, but "
                "every layer needs at least one unit."
            )
        height, width = (side // 2 ** len(channels) for side in shape[1:])
        if height < 1 or width < 1:
            raise ValueError(
                f"shape is {shape}: {len(channels)} poolings leave nothing of it; "
                "use fewer channels or larger images."
            )
        depths = [shape[0], *channels]
        self.shape = tuple(shape)
        self._fitting = {self.shape, (math.prod(shape),)} | ({self.shape[1:]} if shape[0] == 1 else set())
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1) for a, b in zip(depths[:-1], depths[1:], strict=True)
        )
        self.layers = nn.ModuleList(
            [nn.Linear(depths[-1] * height * width, hidden), nn.Linear(hidden, n_outputs)]
        )

    def forward(self, x: Tensor, hidden: bool = False) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Logits ``(N, n_outputs)``; with ``hidden=True`` also all ReLU activations in order.

        ``x`` holds images ``(N, *shape)``, of one channel also ``(N, height, width)``, or flat ones.
        """
        if tuple(x.shape[1:]) not in self._fitting:
            raise ValueError(
                f"x holds samples of shape {tuple(x.shape[1:])}, but this network is for images of shape "
                f"{self.shape} (channels, height, width), as they are or flat."
            )
        x = _channels_last(x.reshape(len(x), *self.shape))
        activations = []
        for convolution in self.convolutions:
            received = convolution(x)
            if hidden:
                activations.append(torch.relu(received))
            x = torch.relu(nn.functional.max_pool2d(received, 2))  # as the other way round, with fewer places
        x = torch.relu(self.layers[0](x.flatten(1)))
        activations.append(x)
        logits = self.layers[1](x)
        return (logits, activations) if hidden else logits


def _channels_last(x: Tensor) -> Tensor:
    """The same images ``(N, C, H, W)``, a pixel's channels side by side in memory: faster on a CPU.

    By hand, since ``vmap`` knows no memory formats.
    """
    return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
