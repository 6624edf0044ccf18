"""Local MAS against autograd of each layer's own output, one sample at a time."""

import copy

import pytest
import torch
from oracles import (
    F64,
    CentredLogits,
    Convolutional,
    Embedded,
    Scaled,
    SharedParameter,
    Tied,
    Tokens,
    TwiceUsed,
    Uncalled,
    Unused,
    distance,
    in_second_task,
    replica,
    same_bits,
    weights_of,
)
from torch import nn
from torch.nn import functional

from cl_lib import MLP, ConvNet, importance
from cl_lib.importance import local_mas, population_local_mas
from cl_lib.population import Population

N = 11


def strided():
    first = nn.Conv2d(1, 3, (2, 1), stride=(1, 2), padding=1, dilation=(1, 2), bias=False)
    return nn.Sequential(nn.Unflatten(1, (1, 2, 3)), first, nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))


NETWORKS = {
    "mlp": lambda: MLP(6, (5, 4), 3),
    "one layer": lambda: nn.Linear(6, 3),
    "no bias": lambda: nn.Sequential(nn.Linear(6, 5, bias=False), nn.ReLU(), nn.Linear(5, 3, bias=False)),
    "memory units": in_second_task,
    "ConvNet": lambda: ConvNet((1, 2, 3), channels=(2,), hidden=3, n_outputs=3),
    "user's convolutions": Convolutional,
    "strides": strided,
}
each_network = pytest.mark.parametrize("name", NETWORKS)


def samples(n=N, seed=0):
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(seed), dtype=F64)


def build(name, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = NETWORKS[name]().to(F64)
        model(samples(2))  # lazy layers
        return model


def stages(name, m):
    """The network as functions one after the other; each layer comes with its ReLU."""
    if name == "mlp":
        return [lambda x: m.layers[0](x).relu(), lambda x: m.layers[1](x).relu(), m.layers[2]]
    if name == "memory units":
        hidden = [lambda x, i=i: (m.layers[i](x) + m.memory[i][m.task]).relu() for i in (0, 1)]
        return [*hidden, m.layers[2]]
    if name == "ConvNet":
        flat = [lambda x: functional.max_pool2d(x, 2).flatten(1), lambda x: m.layers[0](x).relu()]
        return [lambda x: m.convolutions[0](x.reshape(-1, 1, 2, 3)).relu(), *flat, m.layers[1]]
    if name == "user's convolutions":
        return [lambda x: m.body[0](x.reshape(-1, 1, 2, 3)).relu(), lambda x: x.flatten(1), m.body[3]]
    if name == "strides":
        return [m[0], lambda x: m[1](x).relu(), m[3], m[4]]
    return [m] if name == "one layer" else [lambda x: m[0](x).relu(), m[2]]


def loop_local_mas(name, model, x, outputs=None):
    """Absolute gradient of the squared norm of each layer's own output, its input being given."""
    model, total = copy.deepcopy(model).to(F64).eval(), {}
    for sample in x.to(F64):
        a, norm = sample[None], 0.0
        for stage in stages(name, model):
            a = stage(a.detach())
            last = a[:, slice(*outputs)] if outputs and a.shape == (1, 3) else a
            norm = norm + (last**2).sum()
        grads = torch.autograd.grad(norm, list(model.parameters()))
        for key, grad in zip(weights_of(model), grads, strict=True):
            total[key] = total.get(key, 0) + grad.abs() / len(x)
    return total


@each_network
def test_importance_is_the_mean_over_samples(name):
    model, x = build(name), samples()
    assert distance(local_mas(model, x), loop_local_mas(name, model, x)) < 1e-12


@pytest.mark.parametrize("name", ["mlp", "one layer", "user's convolutions"])
@pytest.mark.parametrize("outputs", [(0, 3), (1, 3), (1, 2)])
def test_only_competing_outputs_count(name, outputs):
    model, x = build(name), samples()
    found = local_mas(model, x, outputs=outputs)
    assert distance(found, loop_local_mas(name, model, x, outputs)) < 1e-12


def test_hebb_by_hand():
    """2 x y: inputs 1 and 3, output relu(2 * 1 - 1 * 3 + 4) = 3, then a logit -2 * 3."""
    model = MLP(2, (1,), 1).to(F64)
    state = {"0.weight": [[2.0, -1.0]], "0.bias": [4.0], "1.weight": [[-2.0]], "1.bias": [0.0]}
    model.load_state_dict({f"layers.{k}": torch.tensor(v, dtype=F64) for k, v in state.items()})
    found = local_mas(model, torch.tensor([[1.0, 3.0]], dtype=F64))
    assert found["layers.0.weight"].tolist() == [[2 * 1 * 3, 2 * 3 * 3]]
    assert found["layers.0.bias"].tolist() == [2 * 3]
    assert found["layers.1.weight"].tolist() == [[2 * 3 * 6]] and found["layers.1.bias"].tolist() == [12]


def test_a_silent_neuron_does_not_matter():
    model = build("mlp")
    model.layers[0].bias.data[2] = -100.0
    found = local_mas(model, samples())
    assert (found["layers.0.weight"][2] == 0).all() and (found["layers.1.weight"][:, 2] == 0).all()
    assert importance.mas(model, samples())["layers.1.weight"].max() > 0


def test_local_is_not_global_but_in_the_last_layer():
    model, x = build("mlp"), samples()
    local, whole = local_mas(model, x), importance.mas(model, x)
    last = ["layers.2.weight", "layers.2.bias"]
    assert distance({n: local[n] for n in last}, {n: whole[n] for n in last}) < 1e-12
    assert distance({"w": local["layers.0.weight"]}, {"w": whole["layers.0.weight"]}) > 0.1


@pytest.mark.parametrize("batch_size", [1, 4, N, 50])
@each_network
def test_importance_does_not_depend_on_the_batch_size(name, batch_size):
    model, x = build(name), samples()
    assert distance(local_mas(model, x, batch_size=batch_size), local_mas(model, x)) < 1e-12


def test_units_of_other_tasks_do_not_matter():
    found = local_mas(build("memory units"), samples())
    for i in (0, 1):
        assert (found[f"memory.{i}"][[0, 2]] == 0).all() and found[f"memory.{i}"][1].max() > 0
        assert torch.equal(found[f"memory.{i}"][1], found[f"layers.{i}.bias"])


@each_network
def test_replicas_are_measured_as_if_alone(name):
    people, x = Population([build(name, seed) for seed in (0, 1)]), samples()
    found = population_local_mas(people.network, people.params, x)
    for r in range(2):
        alone = {key: value.clone() for key, value in local_mas(build(name, r), x).items()}
        assert distance(replica(found, r), alone) < 1e-12


@each_network
def test_nothing_aliases_and_the_network_stays_as_it_was(name):
    model, x = build(name).train(), samples()
    before = copy.deepcopy(weights_of(model))
    found = local_mas(model, x)
    kept = copy.deepcopy(found)
    assert same_bits(weights_of(model), before) and all(m.training for m in model.modules())
    assert not any(m._forward_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())
    for tensor in (*model.parameters(), x):
        tensor.data.add_(1)
    assert same_bits(found, kept) and not any(value.requires_grad for value in found.values())


@pytest.mark.parametrize("act", [nn.ReLU, nn.SiLU, nn.ELU])
def test_activations_in_place_are_as_those_out_of_place(act):
    def measured(inplace):
        torch.manual_seed(0)
        return local_mas(
            nn.Sequential(nn.Linear(6, 8), act(inplace=inplace), nn.Linear(8, 3)).to(F64), samples()
        )

    assert same_bits(measured(True), measured(False))


def positive(layer):
    """The layer with a bias so large that a ReLU after it changes no value."""
    layer.bias.data.fill_(100.0)
    return layer


def test_networks_that_diverged_are_said_to_have():
    model = build("mlp")
    model.layers[1].weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match="non-finite importance for 'layers.* probably diverged"):
        local_mas(model, samples())


class Gained(nn.Linear):
    """A linear layer with one parameter more."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.gain * super().forward(x)


def grouped():
    return nn.Sequential(
        nn.Unflatten(1, (2, 3, 1)), nn.Conv2d(2, 2, 1, groups=2), nn.Flatten(), nn.Linear(6, 3)
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Scaled, "parameter 'scale' belongs to no linear or convolutional layer"),
        (Embedded, "parameter 'table.weight' belongs to no"),
        (SharedParameter, "parameter 'second.weight' is shared by two layers"),
        (Tied, "a layer's weight is used outside the layer as well"),
        (TwiceUsed, "layer 'shared' is not called once"),
        (Tokens, "layer 'first' is not called once, by position, with one row for each sample"),
        (Uncalled, "layer 'last' is not called once, by position"),
        (Unused, "layer 'idle' is never called"),
        (lambda: CentredLogits().requires_grad_(False), "a layer's weight is used outside"),
        (
            lambda: nn.Sequential(nn.Linear(6, 4), nn.Flatten(), nn.AvgPool1d(2)),
            "the logits are not the output",
        ),
        (lambda: nn.Sequential(nn.Linear(6, 3), nn.ReLU()), "the logits are not the output"),
        (lambda: nn.Sequential(nn.Linear(6, 3), nn.ReLU(inplace=True)), "the logits are not the output"),
        (lambda: nn.Sequential(positive(nn.Linear(6, 3)), nn.ReLU()), "the logits are not the output"),
        (lambda: nn.Sequential(nn.Linear(6, 3), nn.Softmax(1)), "the logits are not the output"),
        (lambda: nn.Sequential(Gained(6, 4), nn.ReLU(), nn.Linear(4, 3)), "parameter '0.gain' belongs to no"),
        (grouped, "layer '1' is a convolution with groups"),
        (lambda: nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3)), "parameter '1.bias' belongs to no"),
    ],
)
def test_refuses_networks(make, message):
    with pytest.raises(ValueError, match=f"model: {message}.*Use importance.mas"):
        local_mas(make().to(F64), samples())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": samples(0)}, "x is empty"),
        ({"x": torch.full((2, 6), float("nan"))}, "x: the inputs hold NaN"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"outputs": (1, 4)}, r"outputs is \(1, 4\), but must be"),
    ],
)
def test_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        local_mas(build("mlp"), **({"x": samples()} | change))
