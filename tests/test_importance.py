"""The Fisher against a loop over single samples, BackPACK, and closed forms."""

import copy
import math
from functools import partial

import pytest
import torch
from backpack import backpack, extend
from backpack.extensions import DiagGGNExact, SumGradSquared
from oracles import (
    F64,
    CentredLogits,
    Convolutional,
    Embedded,
    OneWeight,
    Scaled,
    SharedParameter,
    Tied,
    Tokens,
    TwiceUsed,
    Uncalled,
    Unused,
    compiled,
    distance,
    drawn_labels,
    in_second_task,
    loop_batched,
    loop_fisher,
    replica,
    same_bits,
)
from torch import nn

from cl_lib import MLP, ConvNet, derivations, fisher, per_sample
from cl_lib.importance import FISHER_KINDS, local_mas, mas, population_fisher

N = 11
PER_SAMPLE = ("exact", "empirical", "sampled")
CLOSED = {
    "mlp": lambda: MLP(6, (5, 4), 3),
    "one hidden layer": lambda: MLP(6, (5,), 3),
    "linear": lambda: MLP(6, (), 3),
    "linear without bias": lambda: nn.Linear(6, 3, bias=False),
    "sequential": lambda: nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3, bias=False)),
    "memory units": in_second_task,
    "user's convolutions": Convolutional,
    "ConvNet": lambda: ConvNet((1, 2, 3), channels=(2,), hidden=3, n_outputs=3),
    "strided, dilated, padded": lambda: Convolved(stride=(1, 2), dilation=(2, 1), padding=(2, 1)),
    "convolution without bias": lambda: Convolved(bias=False, padding=1),
    "dropout": lambda: nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.5), nn.ReLU(), nn.Linear(5, 3)),
}
GENERAL = {
    "grouped convolution": lambda: Convolved(groups=2, padding=1),
    "circular convolution": lambda: Convolved(padding=1, padding_mode="circular"),
    "padding by name": lambda: Convolved(padding="valid"),
    "convolution used twice": lambda: Convolved(kernel=3, padding=1, twice=True),
    "layer used twice": TwiceUsed,
    "tied weight": Tied,
    "weight that is hardly tied": lambda: HardlyTied(),
    "shared parameter": SharedParameter,
    "unused layer": Unused,
    "layer not called": Uncalled,
    "several rows a sample": Tokens,
    "centred logits": CentredLogits,
    "embedding": Embedded,
    "scalar parameter": Scaled,
    "layer norm": lambda: nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 3)),
    "batch norm in eval mode": lambda: _with_statistics().eval(),
    # whose backward passes are wrong in a vmap within another
    "PReLU": lambda: nn.Sequential(nn.Linear(6, 5), nn.PReLU(), nn.Linear(5, 3)),
    "PReLU for each channel": lambda: nn.Sequential(nn.Linear(6, 3), nn.PReLU(3), nn.Linear(3, 3)),
    "system of equations": lambda: Solved(),
}
CASES = CLOSED | GENERAL


class HardlyTied(nn.Module):
    """A weight of which a hundredth goes another way as well."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 3), nn.Linear(3, 3)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x))) + 0.01 * x @ self.first.weight.T


class Solved(nn.Module):
    """The solution of a linear system whose matrix the first layer gives."""

    def __init__(self):
        super().__init__()
        self.first, self.last, self.scale = nn.Linear(6, 9), nn.Linear(3, 3), nn.Parameter(torch.ones(()))

    def forward(self, x):
        matrix = torch.tanh(self.first(x)).reshape(-1, 3, 3) + 3 * torch.eye(3, dtype=x.dtype)
        return self.last(torch.linalg.solve(matrix, self.scale * x[:, :3, None])[..., 0])


class Convolved(nn.Module):
    """Two channels of 2 x 3 from a linear layer, a convolution with these options, and their mean."""

    def __init__(self, kernel=(2, 3), twice=False, **options):
        super().__init__()
        self.spread, self.convolution = nn.Linear(6, 12), nn.Conv2d(2, 2, kernel, **options)
        self.twice, self.last = twice, nn.Linear(2, 3)

    def forward(self, x):
        x = torch.tanh(self.convolution(torch.tanh(self.spread(x)).reshape(-1, 2, 2, 3)))
        x = torch.tanh(self.convolution(x)) if self.twice else x
        return self.last(x.flatten(2).mean(2))


def _with_statistics():
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))
    model[1].running_mean.uniform_(-1, 1)
    model[1].running_var.uniform_(0.5, 2)
    return model


def build(name, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return CASES[name]().to(F64)


def samples(n=N, seed=0, shape=(6,), n_labels=3):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, *shape, generator=generator, dtype=F64)
    return x, torch.randint(n_labels, (n,), generator=generator)


def expected_fisher(model, x, y, kind, outputs=None):
    """What the loop gives, with the labels that the kind asks for."""
    labels = drawn_labels(model, x, 3, outputs=outputs) if kind == "sampled" else y
    return loop_fisher(model, x, labels, kind=kind, outputs=outputs)


# Against the definition


@pytest.mark.parametrize("kind", PER_SAMPLE)
@pytest.mark.parametrize("name", CASES)
def test_fisher_is_the_mean_over_samples(name, kind):
    model, (x, y) = build(name), samples()
    found = fisher(model, x, y, kind=kind, seed=3)
    assert distance(found, expected_fisher(model, x, y, kind)) < 1e-10


@pytest.mark.parametrize("batch_size", [1, 4, N, 50])
@pytest.mark.parametrize("name", ["mlp", "layer used twice", "user's convolutions", "embedding"])
def test_batched_is_the_squared_mean_gradient(name, batch_size):
    model, (x, y) = build(name), samples()
    found = fisher(model, x, y, kind="batched", batch_size=batch_size)
    assert distance(found, loop_batched(model, x, y, batch_size)) < 1e-10


def test_batched_takes_128_samples_at_a_time():
    model, (x, y) = build("mlp"), samples(200)
    assert distance(fisher(model, x, y, kind="batched"), loop_batched(model, x, y, 128)) < 1e-10


def test_batched_is_no_fisher_but_for_one_sample_a_batch():
    model, (x, y) = build("mlp"), samples(64)
    empirical = fisher(model, x, y, kind="empirical")
    single = fisher(model, x, y, kind="batched", batch_size=1)
    whole = fisher(model, x, y, kind="batched", batch_size=64)
    assert distance(single, empirical) < 1e-12
    assert distance(whole, empirical) > 0.5


@pytest.mark.parametrize("shape", [(2, 6), (3, 4, 6)])
def test_inputs_with_more_axes(shape):
    class PerPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(6, 5), nn.Linear(5, 3)

        def forward(self, x):
            return self.last(torch.tanh(self.first(x)).flatten(1, -2).mean(1))

    torch.manual_seed(0)
    model, (x, y) = PerPlace().to(F64), samples(shape=shape)
    for kind in PER_SAMPLE:
        expected = expected_fisher(model, x, y, kind)
        assert distance(fisher(model, x, y, kind=kind, seed=3), expected) < 1e-10


@pytest.mark.parametrize("kind", [*PER_SAMPLE, "batched"])
@pytest.mark.parametrize("name", ["mlp", "user's convolutions"])
@pytest.mark.parametrize("outputs", [(0, 3), (1, 3), (0, 2)])
def test_only_competing_outputs_count(name, kind, outputs):
    model, (x, y) = build(name), samples()
    y = y.clamp(outputs[0], outputs[1] - 1)
    found = fisher(model, x, y, kind=kind, outputs=outputs, batch_size=4, seed=3)
    if kind == "batched":
        assert distance(found, loop_batched(model, x, y, 4, outputs=outputs)) < 1e-10
    else:
        assert distance(found, expected_fisher(model, x, y, kind, outputs)) < 1e-10


def test_outputs_that_are_no_rows_of_logits_are_refused():
    model = nn.Sequential(nn.Linear(6, 12), nn.Unflatten(1, (4, 3))).to(F64)
    with pytest.raises(ValueError, match=r"shape \(8, 4, 3\) for 8 samples, but must give \(N, K\)"):
        fisher(model, samples()[0])


def test_images_of_bytes_are_divided_by_255():
    model, y = build("mlp"), samples()[1]
    x = torch.randint(256, (N, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    assert distance(fisher(model, x, y), loop_fisher(model, x.to(F64) / 255, y)) < 1e-10


def test_float32_network_gives_float32_near_the_definition():
    model, (x, y) = build("mlp").float(), samples(100)
    found = fisher(model, x, y)
    assert all(f.dtype == torch.float32 for f in found.values())
    assert distance(found, loop_fisher(model, x, y)) < 1e-5


def test_closed_form_is_used_where_it_holds(monkeypatch):
    calls = []
    for name in ("_closed_sums", "_general_sums"):
        function = getattr(per_sample, name)

        def spy(model, params, x, *rest, name=name, function=function):
            calls.append((name, len(x)))
            return function(model, params, x, *rest)

        monkeypatch.setattr(per_sample, name, spy)
    for name in CASES:
        calls.clear()
        fisher(build(name), samples(50)[0])
        wanted = "_closed_sums" if name in CLOSED else "_general_sums"
        assert [call for call in calls if call[1] == 50] == [(wanted, 50)], name


@pytest.mark.parametrize("name", ["tied weight", "shared parameter", "layer used twice"])
def test_shared_weights_are_found_when_the_first_sample_shows_nothing(name):
    model, (x, y) = build(name), samples()
    x[0] = 0
    model.load_state_dict({k: v * 0 if "bias" in k else v for k, v in model.state_dict().items()})
    assert distance(fisher(model, x, y), loop_fisher(model, x, y)) < 1e-10


def test_shared_weights_are_found_where_gradients_are_tiny():
    model, (x, y) = build("tied weight"), samples()
    model.last.load_state_dict({k: 1e-7 * v for k, v in model.last.state_dict().items()})
    found, expected = fisher(model, x, y), loop_fisher(model, x, y)
    assert distance({"w": found["first.weight"]}, {"w": expected["first.weight"]}) < 1e-8


# Against BackPACK


@pytest.mark.parametrize("width", [(), (8,), (8, 7)])
def test_against_backpack(width):
    torch.manual_seed(1)
    sizes = [6, *width, 4]
    layers = [nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]
    network = [part for layer in layers for part in (layer, nn.Sigmoid())][:-1]
    model, (x, y) = nn.Sequential(*network).to(F64), samples(50, n_labels=4)
    reference = extend(copy.deepcopy(model))
    loss = extend(nn.CrossEntropyLoss(reduction="sum"))
    with backpack(SumGradSquared(), DiagGGNExact()):
        loss(reference(x.clone().requires_grad_()), y).backward()
    named = dict(reference.named_parameters())
    squares = {name: p.sum_grad_squared / len(x) for name, p in named.items()}
    curvature = {name: p.diag_ggn_exact / len(x) for name, p in named.items()}
    assert distance(fisher(model, x, y, kind="empirical"), squares) < 1e-12
    assert distance(fisher(model, x), curvature) < 1e-12


# Against closed forms

XS, YS, W = [1.0, -0.5, 2.0, 0.3, -1.2], [1, 0, 1, 0, 1], 0.7


def logistic(name):
    """The unit as a network, and where its weight is: a scalar, or the second row of a layer."""
    if name == "scalar":
        return OneWeight(W), lambda f: f["w"]
    layer = nn.Linear(1, 2, bias=False).to(F64)
    layer.weight.data = torch.tensor([[0.0], [W]], dtype=F64)
    return layer, lambda f: f["weight"][1, 0]


@pytest.mark.parametrize("name", ["scalar", "layer"])
def test_logistic_unit_by_hand(name):
    model, weight = logistic(name)
    x, y = torch.tensor(XS, dtype=F64)[:, None], torch.tensor(YS)
    closed = derivations.fisher_estimates(XS, YS, W, batch_size=2)
    for kind in ("exact", "empirical", "batched"):
        found = float(weight(fisher(model, x, y, kind=kind, batch_size=2)))
        assert found == pytest.approx(float(closed[kind]), rel=1e-12), kind


def test_sampled_has_the_mean_and_the_variance_of_the_derivation():
    model, weight = logistic("layer")
    x, closed = torch.tensor(XS, dtype=F64)[:, None], derivations.fisher_estimates(XS, YS, W)
    variance = float(closed["sampled_variance"])
    many = float(weight(fisher(model, x.repeat(10_000, 1), kind="sampled")))
    assert abs(many - float(closed["sampled_mean"])) < 4 * math.sqrt(variance / 10_000)
    found = [float(weight(fisher(model, x, kind="sampled", seed=s))) for s in range(300)]
    assert float(torch.tensor(found).var()) == pytest.approx(variance, rel=0.25)


def test_sampled_draws_each_class_as_often_as_the_model_says():
    p, n = torch.tensor([0.1, 0.6, 0.3], dtype=F64), 20_000
    model = nn.Linear(1, 3, bias=False).to(F64)
    model.weight.data = p.log()[:, None]
    found = fisher(model, torch.ones(n, 1, dtype=F64), kind="sampled")["weight"][:, 0]
    # class k has the gradient 1 - p_k when it is drawn and -p_k when not
    share = (found - p**2) / (1 - 2 * p)
    assert float((share - p).abs().max()) < 4 * math.sqrt(0.25 / n)


def test_sampled_is_decided_by_its_seed_alone():
    model, (x, y) = build("mlp"), samples(60)
    first = fisher(model, x, kind="sampled", seed=1)
    torch.manual_seed(99)
    assert same_bits(first, fisher(model, x, y, kind="sampled", seed=1))
    assert distance(first, fisher(model, x, kind="sampled", seed=2)) > 1e-3


def test_the_largest_number_that_can_be_drawn_gives_a_label_too():
    """In single precision probabilities may add up to a little less than it."""
    torch.manual_seed(0)
    model, x = nn.Linear(6, 50), samples(100)[0].float()
    largest = 1 - 2.0**-24
    assert (model(x).softmax(-1).cumsum(-1)[:, -1] < largest).any()
    params = {name: p.detach()[None] for name, p in model.named_parameters()}
    population_fisher(model, params, x, kind="sampled", draw=lambda n: torch.full((n,), largest))


# What it does not depend on, and what it leaves alone


@pytest.mark.parametrize("kind", PER_SAMPLE)
@pytest.mark.parametrize("name", ["mlp", "user's convolutions"])
def test_batch_size_decides_memory_only(name, kind):
    model, (x, y) = build(name), samples(150)
    whole = fisher(model, x, y, kind=kind)
    for batch_size in (1, 7, 150):
        assert distance(fisher(model, x, y, kind=kind, batch_size=batch_size), whole) < 1e-12


@pytest.mark.parametrize("kind", [*PER_SAMPLE, "batched"])
@pytest.mark.parametrize(
    "name", ["mlp", "user's convolutions", "layer used twice", "embedding", "PReLU", "system of equations"]
)
@pytest.mark.parametrize("side_by_side", [False, True], ids=["as on a CPU", "as on a GPU"])
def test_a_population_is_its_replicas(name, kind, side_by_side, monkeypatch):
    if side_by_side:
        monkeypatch.setattr(per_sample, "convolves_on_cpu", lambda network: False)
    models, (x, y) = [build(name, seed) for seed in range(3)], samples(30)
    params, _ = torch.func.stack_module_state(models)
    params = {key: p.detach() for key, p in params.items()}

    def draw(n):
        return torch.stack([torch.rand(n, generator=torch.Generator().manual_seed(s)) for s in range(3)])

    together = population_fisher(models[0], params, x, y, kind=kind, batch_size=8, draw=draw)
    for r, model in enumerate(models):
        alone = fisher(model, x, y, kind=kind, batch_size=8, seed=r)
        assert distance(replica(together, r), alone) < 1e-12


def test_the_order_of_samples_does_not_matter():
    model, (x, y) = build("mlp"), samples(40)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    for kind in ("exact", "empirical"):
        found = fisher(model, x[order], y[order], kind=kind)
        assert distance(found, fisher(model, x, y, kind=kind)) < 1e-12


@pytest.mark.parametrize("kind", [*PER_SAMPLE, "batched"])
@pytest.mark.parametrize("name", ["dropout", "user's convolutions"])
def test_nothing_else_changes(name, kind):
    model, (x, y) = build(name).train(), samples()
    next(iter(model.children())).eval()  # modes are kept one by one
    modes = [module.training for module in model.modules()]
    for p in model.parameters():
        p.grad = torch.full_like(p, 7.0)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    x_before = x.clone()
    fisher(model, x, y, kind=kind)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(p.grad, torch.full_like(p, 7.0)) for p in model.parameters())
    assert same_bits(dict(model.state_dict()), dict(before))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, x_before)
    assert not any(module._forward_hooks for module in model.modules())


def test_modes_come_back_after_an_error():
    model, (x, _) = build("mlp").train(), samples()
    with pytest.raises(ValueError, match="does not accept inputs"):
        fisher(model, x[:, :2])
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("kind", [*PER_SAMPLE, "batched"])
@pytest.mark.parametrize("name", ["linear without bias", "mlp", "user's convolutions"])
def test_result_is_a_plain_copy(name, kind):
    model, (x, y) = build(name), samples(3)
    found = fisher(model, x, y, kind=kind)
    kept = {key: value.clone() for key, value in found.items()}
    assert not any(value.requires_grad for value in found.values())
    for tensor in (*model.parameters(), x):
        tensor.data.add_(1)
    assert same_bits(found, kept)
    storages = [value.untyped_storage().data_ptr() for value in found.values()]
    assert len(set(storages)) == len(storages)


def test_frozen_weights_have_an_importance_too():
    model, (x, y) = build("mlp").requires_grad_(False), samples()
    with torch.no_grad():
        found = fisher(model, x, y)
    assert distance(found, loop_fisher(model.requires_grad_(), x, y)) < 1e-10


# What it refuses


TRUE = {"kind": "empirical"}
REFUSED = [
    ({"kind": "diagonal"}, "kind is 'diagonal', but must be one of exact, sampled"),
    (TRUE | {"y": None}, "y is missing: kind='empirical' needs"),
    ({"kind": "batched", "y": None}, "y is missing: kind='batched' needs"),
    (TRUE | {"y": torch.zeros(4).long()}, r"y has shape \(4,\)"),
    (TRUE | {"y": torch.zeros(N)}, "type torch.float32, but must hold 11 integer labels"),
    (TRUE | {"y": torch.zeros(N).bool()}, "type torch.bool, but must hold 11 integer labels"),
    (TRUE | {"y": torch.zeros(N, 1).long()}, r"y has shape \(11, 1\)"),
    (TRUE | {"y": torch.full((N,), 3)}, "labels from 3 to 3, but.*0 to 2"),
    (TRUE | {"y": torch.zeros(N).long(), "outputs": (1, 3)}, "labels from 0 to 0, but.*1 to 2"),
    ({"kind": "batched", "y": torch.full((N,), -100)}, "labels from -100 to -100"),
    ({"outputs": (1, 5)}, r"outputs is \(1, 5\), but .* model's 3 outputs"),
    ({"outputs": (2, 2)}, r"outputs is \(2, 2\)"),
    ({"outputs": 2}, r"outputs is 2, but must be \(first, stop\)"),
    ({"x": torch.zeros(N, 5)}, r"model does not accept inputs of shape \(5,\), which x has"),
    ({"batch_size": 0}, "batch_size is 0, but must be a whole number, 1 or more, or None"),
    ({"batch_size": 2.0}, "batch_size is 2.0"),
    ({"kind": "sampled", "seed": 2**64}, "seed is 18446744073709551616, but must lie between"),
    ({"x": torch.zeros(0, 6)}, "x is empty"),
    ({"x": torch.full((N, 6), math.nan)}, "x: the inputs hold NaN"),
    ({"x": torch.full((N, 6), math.inf), "kind": "batched"}, "x: the inputs hold NaN"),
    ({"x": torch.ones(N, 6).long()}, "x is torch.int64, but must be uint8 or floating point"),
    ({"x": [[0.0] * 6] * N}, r"x is a list, not a tensor; use torch.as_tensor\(x\)"),
    (TRUE | {"y": [0] * N}, "y is a list, not a tensor"),
]


@pytest.mark.parametrize("kind", ["empirical", "batched"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_labels_of_any_integer_type(kind, dtype):
    x, y = samples()
    assert same_bits(fisher(build("mlp"), x, y.to(dtype), kind=kind), fisher(build("mlp"), x, y, kind=kind))


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[m[:25] for _, m in REFUSED])
def test_refuses(change, message):
    x, y = samples()
    error = TypeError if "not a tensor" in message or "torch.int64" in message else ValueError
    with pytest.raises(error, match=message):
        fisher(build("mlp"), **({"x": x, "y": y} | change))


@pytest.mark.parametrize("kind", [*PER_SAMPLE, "batched"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_refuses_weights_that_are_not_finite(kind, value):
    model, (x, y) = build("mlp"), samples()
    model.layers[1].weight.data[0, 0] = value
    with pytest.raises(ValueError, match="non-finite importance for 'layers.* probably diverged"):
        fisher(model, x, y, kind=kind)


@pytest.mark.parametrize("kind", [*PER_SAMPLE, "batched"])
@pytest.mark.parametrize("training", [True, False])
def test_refuses_statistics_of_the_batch(kind, training):
    x, y = samples()
    norm = nn.BatchNorm1d(6, track_running_stats=training)
    model = nn.Sequential(norm, nn.Linear(6, 3)).to(F64).train(training)
    with pytest.raises(ValueError, match=r"batch normalisation .*layer '0'.*GroupNorm"):
        fisher(model, x, y, kind=kind)


def test_a_model_that_draws_leaves_the_random_state_as_it_was():
    class Noisy(nn.Linear):
        def forward(self, x):
            return super().forward(x) + 1e-9 * torch.rand(())

    model, state = Noisy(6, 3), torch.get_rng_state()
    fisher(model, torch.ones(5, 6), torch.zeros(5).long(), kind="batched")
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", FISHER_KINDS)
def test_a_model_that_draws_in_evaluation_mode_is_refused(kind):
    class Dropping(nn.Linear):
        def forward(self, x):
            return super().forward(nn.functional.dropout(x, 0.5))

    model, x, state = Dropping(6, 3), torch.ones(5, 6), torch.get_rng_state()
    for measure in (partial(fisher, y=torch.zeros(5).long(), kind=kind), mas, local_mas):
        with pytest.raises(ValueError, match=r"draws random numbers in evaluation mode.*self.training"):
            measure(model, x)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", FISHER_KINDS)
def test_a_single_output_is_refused_where_probabilities_count(kind):
    model, x = nn.Linear(6, 1), torch.ones(5, 6)
    for measure in (
        partial(fisher, y=torch.zeros(5).long(), kind=kind),
        partial(mas, function="probabilities"),
    ):
        with pytest.raises(ValueError, match="model has a single output, which competes with none"):
            measure(model, x)
    assert mas(model, x)["weight"].max() > 0
    three = nn.Linear(6, 3)
    for measure in (
        partial(fisher, y=torch.ones(5).long(), kind=kind),
        partial(mas, function="probabilities"),
    ):
        with pytest.raises(ValueError, match=r"outputs is \(1, 2\), a single output, which competes"):
            measure(three, x, outputs=(1, 2))
    assert mas(three, x, outputs=(1, 2))["weight"][1].max() > 0


class Reading(nn.Module):
    """Reads whole numbers as words."""

    def __init__(self, **options):
        super().__init__()
        self.words, self.last = nn.Embedding(4, 3, **options), nn.Linear(18, 3)

    def forward(self, x):
        return self.last(self.words(x.abs().long().clamp(max=3)).flatten(1))


@pytest.mark.parametrize("measure", [fisher, mas, local_mas])
@pytest.mark.parametrize(
    ("build", "shape", "error", "message"),
    [
        (
            compiled,
            (5, 6),
            TypeError,
            "compiled by torch.jit",
        ),
        (
            lambda: nn.DataParallel(nn.Linear(6, 3)),
            (5, 6),
            TypeError,
            "model is a DataParallel.*attribute module",
        ),
        (
            lambda: Reading(sparse=True),
            (5, 6),
            ValueError,
            "part 'words' of model is an Embedding with sparse",
        ),
        (
            lambda: nn.Linear(6, 3),
            (6,),
            ValueError,
            r"x has shape \(6,\), but must be .* x\[None\] for a single",
        ),
        (lambda: nn.Linear(6, 3), (), ValueError, r"x has shape \(\), but must be \(N, features...\)"),
    ],
)
def test_what_has_no_importance_is_named(build, shape, error, message, measure):
    with pytest.raises(error, match=message):
        measure(build(), torch.ones(shape))


def test_an_embedding_that_renormalises_is_refused():
    for measure in (fisher, mas):
        with pytest.raises(ValueError, match=r"embedding with max_norm \(layer 'words'\)"):
            measure(Reading(max_norm=1.0), torch.ones(5, 6))


@pytest.mark.parametrize("measure", [fisher, mas, local_mas])
def test_inference_mode_is_refused(measure):
    model, x = nn.Linear(6, 3), torch.ones(5, 6)
    with torch.no_grad():
        assert measure(model, x)["weight"].shape == (3, 6)
    with torch.inference_mode(), pytest.raises(ValueError, match=r"torch.inference_mode\(\) is on"):
        measure(model, x)
