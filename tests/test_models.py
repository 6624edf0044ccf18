"""The two networks, against layers applied by hand."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from cl_lib import MLP, ConvNet
from cl_lib.models import (
    MemoryMLP,
    convolves_on_cpu,
    evaluation_mode,
    has_parts_by_task,
    network_input,
)


def test_mlp_by_hand():
    model, x = MLP(6, (5, 4), 3), torch.randn(7, 2, 3)
    first, second, last = model.layers
    h1 = (x.reshape(7, 6) @ first.weight.T + first.bias).clamp(min=0)
    h2 = (h1 @ second.weight.T + second.bias).clamp(min=0)
    logits, hidden = model(x, hidden=True)
    assert [tuple(h.shape) for h in hidden] == [(7, 5), (7, 4)]
    for found, expected in zip(hidden, (h1, h2), strict=True):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(logits, h2 @ last.weight.T + last.bias)
    assert torch.equal(model(x), logits)


def test_mlp_without_hidden_layer_is_linear():
    model, x = MLP(6, (), 3), torch.randn(2, 6)
    logits, hidden = model(x, hidden=True)
    assert hidden == [] and len(model.layers) == 1
    assert torch.equal(logits, model.layers[0](x))


def test_mlp_defaults_are_those_of_the_book():
    shapes = [tuple(p.shape) for p in MLP(64).parameters()]
    assert shapes == [(100, 64), (100,), (100, 100), (100,), (10, 100), (10,)]


@pytest.mark.parametrize("sizes", [(0, (5,), 3), (6, (5, 0), 3), (6, (5,), 0)])
def test_mlp_refuses_empty_layers(sizes):
    with pytest.raises(TypeError, match=r"hidden is 400, but must be a sequence of widths such as"):
        MLP(784, 400)
    with pytest.raises(ValueError, match="widths are .* every layer needs at least one unit"):
        MLP(*sizes)


def test_convnet_by_hand():
    model = ConvNet((2, 8, 9), channels=(3, 4), hidden=5, n_outputs=6)
    x = torch.randn(7, 2, 8, 9)
    expected, h = [], x
    for layer in model.convolutions:
        h = functional.conv2d(h, layer.weight, layer.bias, padding=1).clamp(min=0)
        expected.append(h)
        # the largest of each 2 x 2 square; an odd last column is dropped
        h = h[..., : h.shape[-1] // 2 * 2].unfold(2, 2, 2).unfold(3, 2, 2).amax((-1, -2))
    expected.append(model.layers[0](h.flatten(1)).clamp(min=0))
    logits, hidden = model(x, hidden=True)
    assert [tuple(h.shape) for h in hidden] == [(7, 3, 8, 9), (7, 4, 4, 4), (7, 5)]
    for found, wanted in zip(hidden, expected, strict=True):
        torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(logits, model.layers[1](expected[-1]))
    assert torch.equal(model(x), logits)


@pytest.mark.parametrize("hidden", [False, True])
def test_convnet_pools_first_with_the_gradient_of_pooling_last(hidden):
    torch.manual_seed(0)
    model = ConvNet((2, 8, 9), channels=(3, 4), hidden=5, n_outputs=6).double()
    x = torch.randn(7, 2, 8, 9, dtype=torch.float64)

    def by_hand():
        h, activations = x, []
        for layer in model.convolutions:
            activations.append(functional.conv2d(h, layer.weight, layer.bias, padding=1).relu())
            h = functional.max_pool2d(activations[-1], 2)
        activations.append(model.layers[0](h.flatten(1)).relu())
        return model.layers[1](activations[-1]), activations

    def gradients(logits, activations):
        loss = logits.square().sum() + sum(h.square().sum() for h in activations)
        return torch.autograd.grad(loss, list(model.parameters()))

    logits, activations = by_hand()
    expected = gradients(logits, activations if hidden else [])
    found = gradients(*model(x, hidden=True)) if hidden else gradients(model(x), [])
    for ours, theirs in zip(found, expected, strict=True):
        assert theirs.abs().max() > 0.1
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "network, expected",
    [
        (lambda: MLP(6), False),
        (lambda: ConvNet((1, 8, 8)), True),
        (lambda: nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten()), True),
        (lambda: ConvNet((1, 8, 8)).to("meta"), False),
    ],
)
def test_convolves_on_cpu(network, expected):
    assert convolves_on_cpu(network()) is expected


@pytest.mark.parametrize(
    "shape, given", [((1, 8, 8), (3, 8, 8)), ((3, 8, 8), (8, 8, 3)), ((3, 8, 8), (8, 8))]
)
def test_convnet_takes_no_other_images_than_its_own(shape, given):
    with pytest.raises(ValueError, match=r"x holds samples of shape .* images of shape .* or flat"):
        ConvNet(shape, channels=(3,), hidden=5)(torch.randn(64, *given))


def test_convnet_takes_flat_images_and_grey_ones_without_their_channel():
    x, network = torch.randn(4, 1, 8, 8), ConvNet((1, 8, 8), channels=(3,), hidden=5)
    assert network(x).shape == (4, 10)
    assert torch.equal(network(x), network(x.flatten(1))) and torch.equal(network(x), network(x[:, 0]))


@pytest.mark.parametrize(
    "sizes", [{"hidden": 0}, {"channels": (3, 0)}, {"n_outputs": 0}, {"shape": (0, 8, 8)}]
)
def test_convnet_refuses_layers_without_units(sizes):
    with pytest.raises(ValueError, match="but every layer needs at least one unit"):
        ConvNet(**{"shape": (1, 8, 8), "channels": (3,), "hidden": 5} | sizes)


def test_a_task_is_named_by_any_whole_number():
    network = MemoryMLP(4, (3,), 2, n_tasks=2)
    for task in (0, np.int64(1)):
        network.task = task
        assert has_parts_by_task(network)
    for task in (True, "first", None):
        network.task = task
        assert not has_parts_by_task(network)


def test_convnet_refuses_images_too_small():
    with pytest.raises(ValueError, match=r"shape is \(1, 8, 3\): 2 poolings leave nothing"):
        ConvNet((1, 8, 3), channels=(2, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_network_input(dtype):
    found = network_input(torch.tensor([0, 51, 255], dtype=torch.uint8), dtype)
    torch.testing.assert_close(found, torch.tensor([0, 0.2, 1], dtype=dtype))
    numbers = torch.tensor([-3.0, 300.0])
    assert torch.equal(network_input(numbers, dtype), numbers.to(dtype))


@pytest.mark.parametrize("error", [None, RuntimeError])
def test_evaluation_mode_gives_every_mode_back(error):
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(), nn.Dropout()))
    model[1][0].eval()
    modes = [module.training for module in model.modules()]
    torch.backends.mha.set_fastpath_enabled(True)
    try:
        with evaluation_mode(model):
            assert not any(module.training for module in model.modules())
            assert not torch.backends.mha.get_fastpath_enabled()
            if error:
                raise error
    except RuntimeError:
        pass
    assert [module.training for module in model.modules()] == modes
    assert torch.backends.mha.get_fastpath_enabled()


def test_widths_may_come_from_a_generator():
    model = MemoryMLP(6, (width for width in (5, 4)), 3, n_tasks=2)
    assert [tuple(units.shape) for units in model.memory] == [(2, 5), (2, 4)]
    assert model(torch.ones(1, 6)).shape == (1, 3)
