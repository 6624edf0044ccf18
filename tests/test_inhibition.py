"""Neural inhibition against explicit loops over pairs of neurons and over single samples."""

import copy
import dataclasses
import functools
import math

import oracles
import pytest
import torch
from oracles import F64, STREAM, distance, first_tasks, replica, same_bits, small_stream
from torch import nn

from cl_lib import MLP, ConvNet
from cl_lib.methods import SLNI, SLNID, SNI, SNID, DeCov, Inhibition, L1Activations, inhibition
from cl_lib.methods.base import Batch
from cl_lib.population import Population

VARIANTS = {
    "SNI": SNI,
    "SLNI": SLNI,
    "SNID": SNID,
    "SLNID": SLNID,
    "SNID min": lambda s, **options: SNID(s, discount="min", **options),
    "SLNID min": lambda s, **options: SLNID(s, discount="min", **options),
}
DISCOUNTED = [name for name in VARIANTS if "D" in name]
each_variant = pytest.mark.parametrize("name", VARIANTS)
each_discount = pytest.mark.parametrize("name", DISCOUNTED)


def network():
    return MLP(6, (5, 4), 3)


def conv():
    return ConvNet((1, 2, 3), channels=(2,), hidden=4, n_outputs=3)


short = functools.partial(oracles.short, build=network)
fine_tuning = functools.partial(oracles.fine_tuning, build=network)


def population(build=network, seeds=(0, 1), n_strengths=1):
    networks = []
    for seed in seeds:
        torch.manual_seed(seed)
        networks.append(build().to(F64))
    return Population(networks, n_strengths)


def model_of(people, r):
    model = copy.deepcopy(people.network)
    model.load_state_dict(replica(people.params, r))
    return model


def activations(n_replicas=2, m=7, widths=(5, 4), seed=0):
    """Activations of ReLU units, many of them off."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n_replicas, m, n, generator=generator, dtype=F64).relu() for n in widths]


def importances(n_replicas=2, widths=(5, 4)):
    generator = torch.Generator().manual_seed(3)
    return [2 * torch.rand(n_replicas, n, generator=generator, dtype=F64) for n in widths]


def term(method, hidden, state=None, people=None):
    """What the method adds to the loss for given activations, ``(R,)``."""
    people = people or population()
    return method.extra_loss(state, people, Batch(torch.zeros(0), torch.zeros(0), hidden))


def pair_weight(name, i, j, n, alpha=None, width=1 / 6):
    """How strongly neuron i inhibits neuron j."""
    weight = math.exp(-((i - j) ** 2) / (2 * (width * n) ** 2)) if "L" in name else 1.0
    if alpha is None or name not in DISCOUNTED:
        return weight
    a, b = float(alpha[i]), float(alpha[j])
    return weight * (math.exp(-max(a, b)) if "min" in name else math.exp(-a - b))


def loop_term(name, layer, alpha=None, width=1 / 6):
    """Pair by pair and sample by sample, for one layer of one replica."""
    m, n = layer.shape
    total = 0.0
    for i in range(n):
        for j in range(n):
            if i != j:
                together = sum(float(layer[k, i]) * float(layer[k, j]) for k in range(m))
                total += pair_weight(name, i, j, n, alpha, width) * together / m
    return total


def loop_importance(model, x, outputs, names=("layers.0", "layers.1")):
    """Batch size 1: the absolute gradient of the squared norm at what each hidden layer gives its ReLU."""
    modules, seen = dict(model.named_modules()), {}
    handles = [
        modules[name].register_forward_hook(lambda _, args, out, name=name: seen.__setitem__(name, out))
        for name in names
    ]
    totals = [0.0] * len(names)
    for sample in x:
        norm = (model(sample[None])[0, outputs[0] : outputs[1]] ** 2).sum()
        grads = torch.autograd.grad(norm, [seen[name] for name in names])
        totals = [total + grad[0].abs() / len(x) for total, grad in zip(totals, grads, strict=True)]
    for handle in handles:
        handle.remove()
    return totals


# The penalty


@pytest.mark.parametrize("width", [1 / 6, 0.5])
@pytest.mark.parametrize("discounted", [False, True])
@each_variant
def test_value_against_a_loop_over_pairs(name, discounted, width):
    hidden, alphas = activations(), importances() if discounted else None
    found = term(VARIANTS[name](2.0, width=width), hidden, alphas)
    for r in range(2):
        expected = sum(
            loop_term(name, h[r], alphas[k][r] if discounted else None, width) for k, h in enumerate(hidden)
        )
        assert float(found[r]) == pytest.approx(2 * expected, rel=1e-12)


def test_variants_are_the_table_of_the_docstring():
    made = {name: (VARIANTS[name](1.0).local, VARIANTS[name](1.0).discount) for name in VARIANTS}
    assert made["SNI"] == (False, None) and made["SLNI"] == (True, None)
    assert made["SNID"] == (False, "sum") and made["SLNID"] == (True, "sum")
    assert Inhibition(1.0) == SLNID(1.0) == Inhibition(1.0, width=1 / 6, layers=None)


def test_by_hand():
    """Two samples: neurons 0 and 2 together, then all three. Each pair counts twice."""
    h = [torch.tensor([[[1.0, 0.0, 2.0], [3.0, 1.0, 1.0]]], dtype=F64)]
    people = population(seeds=(0,))
    assert term(SNI(1.0), h, people=people).tolist() == [2 * (2 + 3 + 3 + 1) / 2]
    near, far = math.exp(-1 / (2 * 0.5**2)), math.exp(-4 / (2 * 0.5**2))  # sigma is 3 / 6
    found = float(term(SLNI(1.0), h, people=people))
    assert found == pytest.approx(2 * (near * (3 + 1) + far * (2 + 3)) / 2, rel=1e-13)


def test_first_and_last_neuron_are_no_neighbours():
    h = torch.zeros(1, 1, 12, dtype=F64)
    h[..., 0] = h[..., -1] = 1
    found = float(term(SLNI(1.0), [h], people=population(seeds=(0,))))
    assert found == pytest.approx(2 * math.exp(-(11**2) / (2 * 2**2)), rel=1e-12)


def test_one_active_neuron_is_left_in_peace():
    h = torch.zeros(1, 4, 5, dtype=F64)
    h[0, range(4), [0, 2, 2, 4]] = 3
    assert float(term(SNI(1.0), [h], people=population(seeds=(0,)))) == 0


@each_variant
def test_gradient_of_an_activation_is_the_inhibition_by_its_neighbours(name):
    h, alpha = activations(widths=(5,), m=4)[0].requires_grad_(), importances(widths=(5,))[0]
    (grad,) = torch.autograd.grad(term(VARIANTS[name](1.0), [h], [alpha]).sum(), h)
    with torch.no_grad():
        for r in range(2):
            for k in range(4):
                for i in range(5):
                    neighbours = [j for j in range(5) if j != i]
                    pull = sum(pair_weight(name, i, j, 5, alpha[r]) * float(h[r, k, j]) for j in neighbours)
                    assert float(grad[r, k, i]) == pytest.approx(2 / 4 * pull, rel=1e-12, abs=1e-15)


@each_variant
def test_value_is_a_mean_over_the_batch(name):
    hidden, alphas, method = activations(), importances(), VARIANTS[name](1.0)
    twice = [torch.cat([h, h], dim=1) for h in hidden]
    torch.testing.assert_close(term(method, twice, alphas), term(method, hidden, alphas), rtol=1e-13, atol=0)


@each_variant
@pytest.mark.parametrize(("layers", "chosen"), [((0,), [0]), ((1,), [1]), ((-1,), [1]), ((1, 0), [1, 0])])
def test_layers_are_chosen(name, layers, chosen):
    hidden = activations()
    alphas = [importances()[k] for k in chosen]
    found = term(VARIANTS[name](1.0, layers=layers), hidden, alphas)
    for r in range(2):
        expected = sum(loop_term(name, hidden[k][r], a[r]) for k, a in zip(chosen, alphas, strict=True))
        assert float(found[r]) == pytest.approx(expected, rel=1e-12)


def test_each_replica_has_its_strength():
    hidden, people = activations(n_replicas=4), population(n_strengths=2)
    found, unit = (term(SLNI(s), hidden, people=people) for s in ((0.5, 3.0), 1.0))
    torch.testing.assert_close(found, unit * torch.tensor([0.5, 0.5, 3.0, 3.0], dtype=F64))


# The importance of neurons


@pytest.mark.parametrize("scenario", ["domain", "task"])
@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_neuron_importance_against_a_loop(seeds, scenario):
    stream = small_stream(2, scenario)
    people = population(lambda: MLP(6, (5, 4), stream.n_outputs), seeds)
    state = SLNID(1.0).after_task(None, people, stream[1])
    for r in range(len(seeds)):
        expected = loop_importance(model_of(people, r), stream[1].train.x, stream[1].outputs)
        assert distance(dict(enumerate(a[r] for a in state)), dict(enumerate(expected))) < 1e-12


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_neuron_importance_in_a_convolutional_network(seeds):
    people = population(conv, seeds)
    (alpha,) = SLNID(1.0, layers=(-1,)).after_task(None, people, STREAM[0])
    for r in range(len(seeds)):
        (expected,) = loop_importance(model_of(people, r), STREAM[0].train.x, (0, 3), ["layers.0"])
        assert distance({0: alpha[r]}, {0: expected}) < 1e-12


def test_neurons_that_are_off_have_no_importance():
    people = population()
    people.params["layers.0.bias"][:, 2] = -100
    state = SLNID(1.0).after_task(None, people, STREAM[0])
    assert (state[0][:, 2] == 0).all() and (state[0].sum(1) > 0).all()


class Dropping(MLP):
    def __init__(self, share):
        super().__init__(6, (5, 4), 3)
        self.dropout = nn.Dropout(share)

    def forward(self, x, *, hidden=False):
        return super().forward(self.dropout(x), hidden=hidden)


def test_every_replica_has_dropout_of_its_own():
    run = short(SLNI((0.0, 0.0)), build=lambda: Dropping(0.5))
    assert distance(replica(run.params, 0), replica(run.params, 1)) > 1e-3


def test_neuron_importance_is_measured_without_dropout():
    found, expected = (
        dict(enumerate(SLNID(1.0).after_task(None, population(lambda share=s: Dropping(share)), STREAM[0])))
        for s in (0.5, 0.0)
    )
    assert distance(found, expected) < 1e-12


@pytest.mark.parametrize("chunk", [1, 7, 20])
def test_neuron_importance_does_not_depend_on_the_batch_size(chunk):
    people, choose = population(), SLNID(1.0)._chosen
    usual = inhibition._neuron_importance(people, STREAM[0], choose)
    found = inhibition._neuron_importance(people, STREAM[0], choose, chunk=chunk)
    assert distance(dict(enumerate(found)), dict(enumerate(usual))) < 1e-13


def test_neuron_importances_add_up_and_nothing_aliases():
    people, method = population(), SLNID(1.0)
    first = method.after_task(None, people, STREAM[0])
    alone = method.after_task(None, people, STREAM[1])
    both = method.after_task(first, people, STREAM[1])
    kept = copy.deepcopy((first, both))
    for p in people.params.values():
        p.add_(1)
    method.after_task(both, people, STREAM[0])
    for k in range(2):
        torch.testing.assert_close(both[k], first[k] + alone[k], rtol=1e-14, atol=0)
        assert torch.equal(first[k], kept[0][k]) and torch.equal(both[k], kept[1][k])
        assert not first[k].requires_grad


def test_without_discount_nothing_is_kept():
    assert SNI(1.0).after_task(None, population(), STREAM[0]) is None
    assert short(SLNI(0.1)).state is None


def test_labels_are_not_needed():
    people, task = population(), STREAM[0]
    unlabelled = dataclasses.replace(task.train, y=torch.zeros_like(task.train.y))
    unlabelled = dataclasses.replace(task, train=unlabelled)
    with_labels, without = (SLNID(1.0).after_task(None, people, t) for t in (task, unlabelled))
    assert all(torch.equal(a, b) for a, b in zip(with_labels, without, strict=True))


def test_measuring_leaves_the_weights_as_they_were():
    people = population()
    before = people.copy()
    SLNID(1.0).after_task(None, people, STREAM[0])
    assert same_bits(people.params, before)
    assert not any(p.requires_grad for p in people.params.values())
    assert all(leaf.grad is None for leaf in people.leaves.values())


# Training


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@each_variant
def test_strength_zero_is_fine_tuning_bit_for_bit(name, optimizer, seeds):
    plain = fine_tuning(optimizer=optimizer, seeds=seeds)
    assert same_bits(short(VARIANTS[name](0.0), optimizer=optimizer, seeds=seeds).params, plain.params)


@each_variant
def test_strength_above_zero_is_not_fine_tuning_even_in_the_first_task(name):
    found = short(VARIANTS[name](0.1), first_tasks(1)).params
    assert distance(found, short(None, first_tasks(1)).params) > 1e-4


@pytest.mark.parametrize(("discounted", "plain"), [("SNID", "SNI"), ("SLNID", "SLNI"), ("SLNID min", "SLNI")])
def test_discount_begins_with_the_second_task(discounted, plain):
    pair = VARIANTS[discounted], VARIANTS[plain]
    assert same_bits(*(short(make(0.1), first_tasks(1), seeds=(0, 1)).params for make in pair))
    assert distance(*(short(make(0.1)).params for make in pair)) > 1e-4


@each_variant
def test_replicas_end_where_they_would_have_ended_alone(name):
    together = short(VARIANTS[name]((0.05, 0.2)), seeds=(0, 1))
    for r, (strength, seed) in enumerate([(0.05, 0), (0.05, 1), (0.2, 0), (0.2, 1)]):
        alone = short(VARIANTS[name](strength), seeds=(seed,))
        assert distance(replica(together.params, r), replica(alone.params, 0)) < 1e-10


def test_inhibited_neurons_are_less_active_together():
    x, left = STREAM[0].train.x, []
    for strength in (0.0, 0.3):
        _, hidden = short(SLNI(strength), first_tasks(1), epochs=20).model()(x, hidden=True)
        left.append(sum(loop_term("SLNI", h.detach()) for h in hidden))
    assert left[1] < 0.5 * left[0]


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_convolutional_network_with_its_flat_layer(seeds):
    found = short(SLNID(0.1, layers=(-1,)), build=conv, seeds=seeds)
    assert [a.shape for a in found.state] == [(len(seeds), 4)]
    assert distance(found.params, short(build=conv, seeds=seeds).params) > 1e-4


# What is refused


@pytest.mark.parametrize("layers", [None, (0,)])
@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_refuses_convolutional_layers(layers, seeds):
    message = r"activations of shape \(2, 2, 3\) a sample.*flat layers: choose those with layers"
    with pytest.raises(ValueError, match=message):
        short(SLNI(0.1, layers=layers), build=conv, seeds=seeds)


@each_variant
def test_refuses_networks_without_hidden_layers(name):
    with pytest.raises(ValueError, match="layers is None, but the model has 0 hidden layers"):
        short(VARIANTS[name](0.1), build=lambda: MLP(6, (), 3))


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_refuses_networks_that_hide_their_activations(seeds):
    with pytest.raises(TypeError, match="model gives no hidden activations: its forward must take hidden="):
        short(SLNID(0.1), build=lambda: torch.nn.Linear(6, 3), seeds=seeds)


class Answering(nn.Module):
    """One hidden layer, handed out in a form of one's own."""

    def __init__(self, answer, act=torch.relu):
        super().__init__()
        self.first, self.last, self.answer, self.act = nn.Linear(6, 5), nn.Linear(5, 3), answer, act

    def forward(self, x, hidden=False):
        h = self.act(self.first(x))
        return self.answer(self.last(h), h) if hidden else self.last(h)


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
@pytest.mark.parametrize("method", [SLNID(0.1), SNI(0.1), L1Activations(0.1), DeCov(0.1)])
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda z, h: (z, h), "its hidden activations are a Tensor, not a list"),
        (lambda z, h: z, "it returned a Tensor, not such a pair"),
        (lambda z, h: (z, [h, None]), r"hidden activations \[1\] are a NoneType"),
        (lambda z, h: (z, [h.T]), r"hidden activations \[0\] have shape \(5, \d+\) for \d+ samples"),
    ],
)
def test_refuses_hidden_activations_in_another_form(answer, message, method, seeds):
    with pytest.raises(TypeError, match=f"model gives no hidden activations.*{message}"):
        short(method, build=lambda: Answering(answer), seeds=seeds)
    run = short(method, build=lambda: Answering(lambda z, h: (z, (h,))), seeds=seeds)
    assert run.accuracy.shape[0] == len(seeds), "a tuple will do"


@each_variant
@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_refuses_negative_activations(name, seeds):
    with pytest.raises(ValueError, match="negative activations .* Use ReLU"):
        short(VARIANTS[name](0.1), build=lambda: Answering(lambda z, h: (z, [h]), torch.tanh), seeds=seeds)


@pytest.mark.parametrize("layers", [(2,), (-3,), (0, 2)])
def test_refuses_layers_that_the_network_lacks(layers):
    with pytest.raises(ValueError, match=r"layers is \(.*\), but the model has 2 hidden layers"):
        short(SLNID(0.1, layers=layers))


@pytest.mark.parametrize("layers", [(1, -1), (0, 0)])
def test_refuses_a_layer_that_is_named_twice(layers):
    with pytest.raises(ValueError, match=r"layers is .* names one of the model's 2 hidden layers twice"):
        short(SLNI(0.1, layers=layers))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": -1}, "strength is -1, but must be a finite number >= 0"),
        ({"strength": ()}, "strength is empty"),
        ({"discount": "max"}, 'discount is \'max\', but must be "sum", "min" or None'),
        ({"width": 0}, "width is 0, but must be a finite number above 0"),
        ({"width": -1.0}, "width is -1.0"),
        ({"width": (0.1, 0.2)}, r"width is \(0.1, 0.2\)"),
        ({"width": math.nan}, "width is nan"),
        ({"width": math.inf}, "width is inf"),
        ({"layers": ()}, r"layers is \(\), but must be None or a tuple of indices"),
        ({"layers": 0}, "layers is 0, but must be None or a tuple"),
        ({"layers": (0.5,)}, r"layers is \(0.5,\), but must be None or a tuple"),
    ],
)
def test_refuses_choices(options, message):
    with pytest.raises(ValueError, match=message):
        Inhibition(**{"strength": 1.0} | options)
