"""Methods: invariants that each must keep, and each formula against another way to compute it."""

import copy
import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
import torch
from oracles import (
    F64,
    STREAM,
    Scaled,
    after_first_task,
    distance,
    fine_tuning,
    first_tasks,
    loop_batched,
    loop_fisher,
    mean_loss,
    plain_training,
    replica,
    same_bits,
    short,
    small_network,
    small_stream,
    weights_of,
)
from torch import nn

from cl_lib import EWC, L2, MAS, MLP, SI, Finetune, Joint, derivations, training
from cl_lib.importance import FISHER_KINDS
from cl_lib.methods import (
    SLNID,
    AdversarialMemory,
    DeCov,
    IneffectivePenalty,
    Inhibition,
    L1Activations,
    LwF,
    Quadratic,
    UnstablePenalty,
    WeightDecay,
    merge,
    penalty,
    quadratic,
    single,
)
from cl_lib.methods.base import strength_of
from cl_lib.methods.ewc import ANCHORS
from cl_lib.methods.quadratic import STEPS
from cl_lib.population import Population
from cl_lib.tasks import some

METHODS = {f"L2 {step}": lambda s, step=step: L2(s, step=step) for step in STEPS} | {
    f"EWC {kind} {anchors} {step}": lambda s, kind=kind, anchors=anchors, step=step: EWC(
        s, fisher=kind, anchors=anchors, step=step
    )
    for kind in FISHER_KINDS
    for anchors in ANCHORS
    for step in STEPS
}
each_method = pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)
each_step = pytest.mark.parametrize("step", STEPS)


def population(n_replicas=2, n_strengths=1, build=small_network):
    networks = []
    for seed in range(n_replicas):
        torch.manual_seed(seed)
        networks.append(build().to(F64))
    return Population(networks, n_strengths)


def move(params, seed=0, size=0.3):
    """New weights near the old ones."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: p + size * torch.randn(p.shape, generator=generator, dtype=p.dtype)
        for name, p in params.items()
    }


def fisher_by_definition(model, x, y, kind):
    return loop_batched(model, x, y, 128) if kind == "batched" else loop_fisher(model, x, y, kind=kind)


def snapshot(state):
    return copy.deepcopy((state.importance, state.centre, state.constant))


def unchanged(state, kept):
    importance, centre, constant = kept
    same = same_bits(state.importance, importance) and same_bits(state.centre, centre)
    return same and torch.equal(state.constant, constant)


# The four invariants


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@each_method
def test_strength_zero_is_fine_tuning_bit_for_bit(make, optimizer):
    plain = fine_tuning(seeds=(0, 1), optimizer=optimizer)
    found = short(make(0), seeds=(0, 1), optimizer=optimizer)
    assert same_bits(found.params, plain.params)
    assert (found.accuracy == plain.accuracy).all()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@each_method
def test_strength_above_zero_is_not_fine_tuning(make, optimizer):
    found = short(make(3.0), optimizer=optimizer)
    assert distance(found.params, fine_tuning(optimizer=optimizer).params) > 1e-4


@each_method
def test_nothing_is_protected_in_the_first_task(make):
    assert same_bits(after_first_task(short, make(3.0)).params, short(None, first_tasks(1)).params)


@each_method
def test_penalty_is_zero_at_the_anchor_and_positive_off_it(make):
    run = after_first_task(lambda method: short(method, seeds=(0, 1)), make(1.0))
    assert torch.equal(run.state.value(run.params), torch.zeros(2, dtype=F64))
    assert (run.state.value(move(run.params)) > 0).all()


@each_method
def test_state_is_measured_on_the_task_and_does_not_alias(make):
    replicas, method, task = population(), make(1.0), STREAM[0]
    x, y = task.train.x.clone(), task.train.y.clone()
    task = copy.deepcopy(task)
    state = method.after_task(None, replicas, task)
    kept = snapshot(state)
    for tensor in (*replicas.params.values(), task.train.x):
        tensor.add_(1)
    assert unchanged(state, kept)
    for tensor in (*replicas.params.values(), task.train.x):
        tensor.sub_(1)
    for r in range(2):
        model = copy.deepcopy(replicas.network)
        model.load_state_dict(replica(replicas.params, r))
        expected = {name: torch.ones_like(p) for name, p in weights_of(model).items()}
        if isinstance(method, EWC) and method.fisher == "sampled":
            continue  # drawn labels: tests of importance
        if isinstance(method, EWC):
            expected = fisher_by_definition(model, x, y, method.fisher)
        assert distance(replica(state.importance, r), expected) < 1e-10
        assert distance(replica(state.centre, r), weights_of(model)) < 1e-15


class Branching(nn.Module):
    """A network that reads its data: it trains, but vmap does not follow it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        return self.layer(x) if x.sum().item() < 1e9 else x[:, :3]


def test_what_cannot_be_measured_fails_before_training(monkeypatch):
    assert short(build=Branching).accuracy.shape == (1, 2, 2)
    monkeypatch.setattr(training._Trainer, "_train_step", lambda *_: pytest.fail("training had begun"))
    with pytest.raises(ValueError, match=r"gradient of a single sample .* without \.item\(\)"):
        short(EWC(1.0), build=Branching)


@pytest.mark.parametrize("kind", ["exact", "empirical", "batched"])
def test_fisher_of_some_samples_is_that_of_these(kind):
    replicas, task = population(), STREAM[0]
    importance = EWC(1.0, fisher=kind, samples=7).after_task(None, replicas, task).importance
    x, y = some(task.train, 7)
    assert len(x) == 7 < len(task.train) and not torch.equal(x, task.train.x[:7]), "drawn, not the first"
    for r in range(2):
        model = copy.deepcopy(replicas.network)
        model.load_state_dict(replica(replicas.params, r))
        assert distance(replica(importance, r), fisher_by_definition(model, x, y, kind)) < 1e-10


def test_each_seed_draws_labels_of_its_own_and_each_strength_the_same():
    replicas, method = population(n_replicas=2, n_strengths=2), EWC((1.0, 2.0), fisher="sampled")
    for p in replicas.params.values():
        p.copy_(p[:1].expand_as(p))  # all weights alike
    first, second, *again = (
        replica(method.after_task(None, replicas, STREAM[0]).importance, r) for r in range(4)
    )
    assert distance(first, second) > 1e-2
    assert same_bits(again[0], first) and same_bits(again[1], second)


@each_method
def test_an_earlier_state_is_never_changed(make):
    replicas, method = population(), make(2.0)
    first = method.after_task(None, replicas, STREAM[0])
    kept = snapshot(first)
    replicas.restore(move(replicas.params))
    for _ in range(2):
        grads = {name: torch.ones_like(p) for name, p in replicas.params.items()}
        method.add_gradient(first, replicas, grads)
        method.after_step(first, replicas, lambda name: 0.1)
    second = method.after_task(first, replicas, STREAM[1])
    assert unchanged(first, kept)
    kept = snapshot(second)
    replicas.restore(move(replicas.params, seed=1))
    assert unchanged(second, kept)


def test_one_method_serves_many_runs():
    method = EWC(10.0)
    first = short(method)
    assert same_bits(short(method).params, first.params)


@pytest.mark.parametrize("kind", FISHER_KINDS)
def test_only_competing_outputs_are_important(kind):
    stream = small_stream(scenario="task")
    build = lambda: MLP(6, (5,), 6)  # noqa: E731
    state = after_first_task(lambda method: short(method, stream, build), EWC(1.0, fisher=kind)).state
    head = state.importance["layers.1.weight"][0]
    assert (head[3:] == 0).all() and head[:3].max() > 0


# The merged penalty is the sum of the penalties


def random_penalties(n_tasks=3, n_replicas=2, zeros=True):
    generator = torch.Generator().manual_seed(0)
    shapes = {"w": (n_replicas, 4, 3), "b": (n_replicas, 4), "scale": (n_replicas,)}
    penalties = []
    for _ in range(n_tasks):
        draw = {k: torch.randn(s, generator=generator, dtype=F64) for k, s in shapes.items()}
        importance = {k: 10 * v**2 for k, v in draw.items()}
        for value in importance.values():
            value[torch.rand(value.shape, generator=generator) < 0.4 * zeros] = 0
        centre = {k: torch.randn(s, generator=generator, dtype=F64) for k, s in shapes.items()}
        penalties.append(quadratic.single(importance, centre))
    for value in penalties:  # weights that no task needs
        value.importance["w"][:, 0] = 0
    return penalties


def merged(penalties):
    total = None
    for one in penalties:
        total = merge(total, one)
    return total


@pytest.mark.parametrize("n_tasks", [1, 2, 3])
def test_merged_penalty_has_value_and_gradient_of_the_sum(n_tasks):
    penalties = random_penalties(n_tasks)
    total = merged(penalties)
    for seed in range(3):
        at = {k: v.requires_grad_() for k, v in move(penalties[0].centre, seed, 2.0).items()}
        for r in range(2):
            separate = sum(
                penalty(replica(at, r), replica(p.centre, r), replica(p.importance, r)) for p in penalties
            )
            found = total.value(at)[r]
            assert float(found.detach()) == pytest.approx(float(separate.detach()), rel=1e-12)
            grads = [torch.autograd.grad(f, list(at.values())) for f in (found, separate)]
            assert distance(*(dict(zip(at, g, strict=True)) for g in grads)) < 1e-12


def test_merged_penalty_against_the_derivation():
    symbols = sp.symbols("f1 a1 f2 a2", positive=True)
    formulas = [sp.lambdify(symbols, formula) for formula in derivations.merge(*symbols)]
    penalties = random_penalties(2)
    total, constant = merged(penalties), torch.zeros(2, dtype=F64)
    for name in total.importance:
        old_f, old_a, new_f, new_a = (v[name] for p in penalties for v in (p.importance, p.centre))
        f, mu, c = (formula(old_f, old_a, new_f, new_a) for formula in formulas)
        nothing = f == 0
        assert nothing.any() or name != "w"
        torch.testing.assert_close(total.importance[name], f)
        torch.testing.assert_close(total.centre[name], torch.where(nothing, new_a, mu))
        constant += 0.5 * torch.where(nothing, 0, c).reshape(2, -1).sum(1)
    torch.testing.assert_close(total.constant, constant)


def test_order_of_merging_does_not_matter():
    penalties = random_penalties(3)
    one, other = merged(penalties), merged(penalties[::-1])
    grouped = merge(penalties[0], merge(penalties[1], penalties[2]))
    at = move(penalties[0].centre)
    for total in (other, grouped):
        torch.testing.assert_close(total.value(at), one.value(at), rtol=1e-12, atol=0)


def test_merging_equal_anchors_moves_nothing_and_costs_nothing():
    (first, second) = random_penalties(2)
    same = Quadratic(second.importance, first.centre, second.constant)
    total = merge(first, same)
    assert same_bits(total.centre, first.centre)
    assert torch.equal(total.constant, torch.zeros(2, dtype=F64))


def test_nothing_cancels_in_single_precision():
    importance, centre = {"w": torch.full((1, 1), 1e6)}, {"w": torch.full((1, 1), 100.0)}
    total = None
    for _ in range(100):
        total = merge(total, quadratic.single(importance, centre))
    assert float(total.centre["w"]) == 100 and float(total.constant) == 0
    assert float(total.importance["w"]) == pytest.approx(1e8)


def test_importances_of_any_size_merge():
    sizes = torch.tensor([[2e-38, 1e-20, 1.0, 1e20, 0.0]])
    for old in sizes[0]:
        first = quadratic.single({"w": torch.full((1, 5), float(old))}, {"w": torch.zeros(1, 5)})
        total = merge(first, quadratic.single({"w": sizes}, {"w": torch.ones(1, 5)}))
        share = sizes.double() / (sizes.double() + float(old))
        share[(sizes == 0) & (old == 0)] = 1
        torch.testing.assert_close(total.centre["w"].double(), share, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("shared", ["w", None])
def test_a_parameter_that_one_penalty_lacks_is_held_by_the_other(shared):
    old, new = random_penalties(2)
    for value, gone in ((old, "b"), (new, "scale")):
        for part in (value.importance, value.centre):
            del part[gone]
            if shared is None:
                part.pop("w" if value is new else "scale")
    at = move(old.centre | new.centre)
    torch.testing.assert_close(merge(old, new).value(at), old.value(at) + new.value(at))
    summed = quadratic.accumulate(old, new.importance, at)
    assert summed.importance.keys() == old.importance.keys() | new.importance.keys()
    assert same_bits(summed.centre, at)
    for name, value in summed.importance.items():
        each = [p.importance[name] for p in (old, new) if name in p.importance]
        torch.testing.assert_close(value, sum(each))


def test_scaled_penalty_has_its_value_scaled_and_the_original_kept():
    total = merged(random_penalties(3))
    at, kept = move(total.centre), snapshot(total)
    torch.testing.assert_close(total.scaled(0.3).value(at), 0.3 * total.value(at))
    assert (total.constant > 0).all() and unchanged(total, kept)


def test_single_copies_both_arguments():
    importance, anchor = {"w": torch.ones(1, 3)}, {"w": torch.zeros(1, 3), "other": torch.ones(1)}
    made = quadratic.single(importance, anchor)
    importance["w"].add_(1), anchor["w"].add_(1)
    assert torch.equal(made.importance["w"], torch.ones(1, 3))
    assert torch.equal(made.centre["w"], torch.zeros(1, 3)) and made.centre.keys() == {"w"}


def test_penalty_by_hand():
    at, anchor = (
        {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3.0)},
        {"a": torch.tensor([0.0, 4.0])},
    )
    found = penalty(at, anchor, {"a": torch.tensor([5.0, 0.5])})
    assert float(found) == pytest.approx((5 * 1 + 0.5 * 4) / 2)


@pytest.mark.parametrize(
    "importance, anchor, message",
    [
        ({}, {}, "importance is empty"),
        ({"a": torch.ones(2)}, {}, "anchor lacks 'a'"),
        ({"a": torch.ones(2)}, {"a": torch.ones(3, 2)}, r"anchor\['a'\] has shape \(3, 2\), .* has \(2,\)"),
    ],
)
def test_a_penalty_of_tensors_that_do_not_fit_is_refused(importance, anchor, message):
    with pytest.raises(ValueError, match=message):
        penalty({"a": torch.zeros(2)}, anchor, importance)
    with pytest.raises(ValueError, match=message):
        quadratic.single(importance, anchor)
    with pytest.raises(ValueError, match=message.replace("anchor", "params")):
        penalty(anchor, importance, importance)


# How the anchors of many tasks are kept


def visit(method, n_tasks=3):
    """States after each task, with the weights and importances that they were made of."""
    replicas, stream, state, seen = population(), small_stream(n_tasks), None, []
    for t, task in enumerate(stream):
        replicas.restore(move(replicas.params, seed=t))
        alone = EWC(1.0, fisher=method.fisher).after_task(None, replicas, task)
        state = method.after_task(state, replicas, task)
        seen.append((state, alone.importance, replicas.copy()))
    return seen


@pytest.mark.parametrize("kind", FISHER_KINDS)
def test_separate_anchors_add_up_the_penalties(kind):
    seen = visit(EWC(1.0, fisher=kind))
    at = move(seen[0][2], seed=9)
    expected = sum(quadratic.single(f, anchor).value(at) for _, f, anchor in seen)
    torch.testing.assert_close(seen[-1][0].value(at), expected, rtol=1e-12, atol=0)


def test_latest_anchor_adds_up_the_importances():
    seen = visit(EWC(1.0, anchors="latest"))
    state, _, anchor = seen[-1]
    expected = {name: sum(f[name] for _, f, _ in seen) for name in anchor}
    assert distance(state.importance, expected) < 1e-14
    assert same_bits(state.centre, anchor)
    assert torch.equal(state.constant, torch.zeros(2, dtype=F64))


@pytest.mark.parametrize("gamma", [0.9, 0.5, 0.0])
def test_online_recursion(gamma):
    # Schwarz et al. (2018): F <- gamma F + F_t after task t, and gamma F is what the penalty uses
    online = 0.0
    for state, f, anchor in visit(EWC(1.0, anchors="latest", gamma=gamma)):
        online = {name: f[name] + (gamma * online[name] if online else 0) for name in f}
        if gamma:
            assert distance(state.importance, {n: gamma * v for n, v in online.items()}) < 1e-14
        else:
            assert all((value == 0).all() for value in state.importance.values())
        assert same_bits(state.centre, anchor)


def test_forgetting_all_is_fine_tuning():
    with pytest.warns(IneffectivePenalty, match="the penalty of EWC is at most 0.0e.00 of the loss"):
        found = short(EWC(9.0, anchors="latest", gamma=0.0))
    assert same_bits(found.params, short().params)


def test_l2_keeps_the_last_anchor_only():
    replicas, method = population(), L2(1.0)
    state = method.after_task(None, replicas, STREAM[0])
    replicas.restore(move(replicas.params))
    state = method.after_task(state, replicas, STREAM[1])
    assert same_bits(state.centre, replicas.params)
    assert all((value == 1).all() for value in state.importance.values())


def test_anchors_matter_from_the_third_task_on():
    runs = {}
    for n in (2, 3):
        stream = small_stream(n)
        runs[n] = [short(EWC(30.0, anchors=a), stream).params for a in ANCHORS]
    assert same_bits(*runs[2])
    assert distance(*runs[3]) > 1e-3


# Gradient step: the loss of the paper, by autograd


def paper_penalty(method):
    """The penalty of Kirkpatrick et al. (2017), Eq. 3, from Fishers by a loop, for autograd."""
    fishers = []

    def value(earlier, network):
        for t in range(len(fishers), len(earlier)):
            task = STREAM3[t]
            if isinstance(method, L2):
                fishers.append({n: torch.ones_like(p) for n, p in weights_of(network).items()})
            else:
                x, y, kind = task.train.x, task.train.y, method.fisher
                fishers.append(loop_fisher(earlier[t], x, y, kind=kind, outputs=task.outputs))
        params, total = dict(network.named_parameters()), torch.zeros((), dtype=F64)
        for t in range(len(earlier)) if isinstance(method, EWC) else range(len(earlier))[-1:]:
            anchor = weights_of(earlier[t])
            if isinstance(method, EWC) and method.anchors == "latest":
                anchor = weights_of(earlier[-1])
            for name, f in fishers[t].items():
                total = total + (f * (params[name] - anchor[name]) ** 2).sum()
        return 0.5 * method.strength * total

    return value


STREAM3 = small_stream(3)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize(
    "method",
    [
        EWC(2.0, step="gradient"),
        EWC(2.0, fisher="empirical", step="gradient"),
        EWC(2.0, anchors="latest", step="gradient"),
        L2(0.3, step="gradient"),
    ],
    ids=["exact", "empirical", "latest", "L2"],
)
def test_gradient_step_is_descent_on_the_loss_of_the_paper(method, optimizer):
    def make_optimizer(params):
        if optimizer == "adam":
            return torch.optim.Adam(params, lr=0.02)
        return torch.optim.SGD(params, lr=0.05, momentum=0.9)

    expected = plain_training(small_network, STREAM3, make_optimizer, penalty=paper_penalty(method))
    lr = 0.02 if optimizer == "adam" else 0.05
    found = short(method, STREAM3, optimizer=optimizer, lr=lr)
    assert distance(replica(found.params, 0), weights_of(expected[-1])) < 1e-10


@pytest.mark.parametrize("strength", [0.7, (0.7, 20.0, 0.0)])
def test_added_gradient_is_that_of_the_penalty(strength):
    n_strengths = len(strength) if isinstance(strength, tuple) else 1
    replicas = population(2, n_strengths, build=Scaled)
    method = EWC(strength, step="gradient")
    state = method.after_task(None, replicas, STREAM[0])
    replicas.restore(move(replicas.params))
    at = {name: p.clone().requires_grad_() for name, p in replicas.params.items()}
    factors = torch.tensor(strength, dtype=F64).reshape(-1).repeat_interleave(2)
    loss = (factors * state.value(at)).sum() + sum(p.sum() for p in at.values())
    expected = dict(zip(at, torch.autograd.grad(loss, list(at.values())), strict=True))
    grads = {name: torch.ones_like(p) for name, p in replicas.params.items()}
    before = replicas.copy()
    method.add_gradient(state, replicas, grads)
    method.after_step(state, replicas, lambda name: 0.1)
    assert distance(grads, expected) < 1e-14
    assert same_bits(replicas.params, before), "the gradient is all that this step adds"


# Implicit step


@pytest.mark.parametrize("eta", [0.3, "elementwise"])
def test_implicit_step_is_the_proximal_step(eta):
    strengths = (0.5, 40.0)
    replicas = population(1, 2, build=Scaled)
    method = EWC(strengths)
    state = method.after_task(None, replicas, STREAM[0])
    replicas.restore(move(replicas.params))
    before = replicas.copy()
    sizes = {name: torch.full_like(p, 0.3) if eta == 0.3 else 0.1 + p**2 for name, p in before.items()}
    grads = {name: torch.ones_like(p) for name, p in before.items()}
    method.add_gradient(state, replicas, grads)
    assert all((g == 1).all() for g in grads.values()), "the step is all that is added"
    for _ in range(2):  # the second time from what the first one kept
        replicas.restore(before)
        method.after_step(state, replicas, lambda name: eta if eta == 0.3 else sizes[name])
        for name, found in replicas.params.items():
            for at in [(0,) * found.ndim, (1,) * found.ndim]:
                arguments = (sizes, {name: None}, state.importance, state.centre)
                lr, _, f, anchor = (v[name] if v[name] is None else float(v[name][at]) for v in arguments)
                expected = derivations.proximal_step(float(before[name][at]), lr, strengths[at[0]], f, anchor)
                assert float(found[at]) == pytest.approx(float(expected), rel=1e-12)


def linear_network():
    return MLP(6, (), 3)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("make", [EWC, L2])
def test_steps_agree_in_the_limit_of_small_learning_rates(make, momentum):
    apart = []
    for halvings in range(3):
        lr = 0.05 * (1 - momentum) / 2**halvings
        options = {"lr": lr, "momentum": momentum, "epochs": 40 * 2**halvings, "batch_size": 20}
        runs = [short(make(2.0, step=step), build=linear_network, **options) for step in STEPS]
        apart.append(distance(runs[0].params, runs[1].params))
    assert apart[0] > 1e-3, "so near already that the test says nothing"
    assert apart[1] < 0.6 * apart[0] and apart[2] < 0.6 * apart[1]


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"lr": 0.5, "momentum": 0.0}, 1e-3),
        ({"lr": 0.1, "momentum": 0.9}, 1e-3),
        ({"lr": 0.1, "optimizer": "adam"}, 2e-2),
    ],
    ids=["sgd", "momentum", "adam"],
)
@pytest.mark.parametrize("method", [EWC(5.0), L2(0.5)], ids=["EWC", "L2"])
@each_step
def test_training_ends_at_the_minimiser_of_loss_plus_penalty(method, step, options, tolerance):
    method = dataclasses.replace(method, step=step)
    options = {"epochs": 200, "batch_size": 20, "build": linear_network} | options
    model = short(method, **options).model()
    state = after_first_task(lambda method: short(method, **options), method).state
    samples = [(x, y, None) for x, y in zip(STREAM[1].train.x, STREAM[1].train.y, strict=True)]
    stacked = {name: p[None] for name, p in model.named_parameters()}
    pull = method.strength * state.value(stacked)[0]
    up, down = (
        torch.autograd.grad(value, list(model.parameters())) for value in (mean_loss(model, samples), pull)
    )
    strongest = max(float(slope.abs().max()) for slope in up)
    assert strongest > 0.1, "loss and penalty must pull against each other"
    assert max(float((a + b).abs().max()) for a, b in zip(up, down, strict=True)) < (tolerance * strongest)


class World(nn.Module):
    """The three-weight world has no input; only its weights are used."""

    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([1.0, 1.0, 0.0], dtype=F64))


@each_step
@pytest.mark.parametrize(("make", "importance"), [(EWC, (1, 1, 0)), (L2, (1, 1, 1))], ids=["EWC", "L2"])
@pytest.mark.parametrize("strength", [0.1, 2.0])
def test_three_weight_world(step, make, importance, strength):
    replicas, method, lr = population(1, build=World), make(strength, step=step), 0.3
    anchor = replicas.copy()
    state = quadratic.single({"theta": torch.tensor([importance], dtype=F64)}, anchor)
    for _ in range(2000):
        t1, t2, t3 = replicas.params["theta"][0].tolist()
        slope = torch.tensor([[t1 - 1, t2 + t3 - 9, t2 + t3 - 9]], dtype=F64)
        grads = {"theta": slope}
        method.add_gradient(state, replicas, grads)
        replicas.params["theta"].sub_(lr * grads["theta"])
        method.after_step(state, replicas, lambda name: lr)
    expected = derivations.penalised_minimiser(
        derivations.loss_b(), importance, (1, 1, 0), Fraction(strength)
    )
    assert replicas.params["theta"][0].tolist() == pytest.approx([float(v) for v in expected], abs=1e-4)


def test_implicit_step_stays_at_the_anchor_where_the_gradient_step_diverges():
    options = {"seeds": (0, 1), "dtype": torch.float32, "epochs": 5}
    anchor = after_first_task(lambda method: short(method, **options), EWC(1e8))
    run = short(EWC((1.0, 1e8)), **options)
    for name, f in anchor.state.importance.items():
        held = f > 1e-3  # for these lambda times F is 1e5 and more
        moved = (run.params[name][2:] - anchor.params[name])[held].abs()
        free = (run.params[name][:2] - anchor.params[name])[held].abs()
        assert held.any() and float(moved.max()) < 1e-3 < float(free.max())
    message = r"replicas \[2, 3\] of 4 diverged on 'task 2'.*lr or strength.*step=\"implicit\""
    stiff = pytest.warns(
        UnstablePenalty, match=r"strength is 1e\+08, too much for explicit steps on 'task 2'"
    )
    with stiff, pytest.raises(FloatingPointError, match=message):
        short(EWC((1.0, 1e8), step="gradient"), **options)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("fisher", FISHER_KINDS)
def test_implicit_step_is_stable_for_every_strength(fisher, optimizer):
    strengths = tuple(10.0**k for k in range(-3, 13, 3))
    run = short(EWC(strengths, fisher=fisher), optimizer=optimizer, dtype=torch.float32, lr=0.5)
    assert all(p.isfinite().all() for p in run.params.values())


def test_a_pull_beyond_the_largest_number_ends_at_the_anchor():
    """In single precision the product of importance, strength and step is infinite here."""
    people = Population([small_network().float()])
    anchor = {name: p + 1 for name, p in people.params.items()}
    state = single({name: torch.full_like(p, 1e30) for name, p in anchor.items()}, anchor)
    L2(1e30).after_step(state, people, lambda name: 0.1)
    assert same_bits(people.params, anchor)


# What methods refuse, and their defaults


@pytest.mark.parametrize("make", [EWC, L2])
@pytest.mark.parametrize("strength", [-1, math.nan, math.inf, "10", None, 1j, (1.0, -2.0), True])
def test_refuses_strengths(make, strength):
    with pytest.raises(ValueError, match="strength is .* must be a finite number >= 0"):
        make(strength)


def test_numpy_numbers_are_strengths_and_counts():
    own = EWC(tuple(np.float32([0.5, 2.0])), samples=np.int64(20))
    assert same_bits(short(own).params, short(EWC((0.5, 2.0), samples=20)).params)


@pytest.mark.parametrize("step", ["implicit", "gradient"])
def test_fractions_are_numbers(step):
    half, tenth = Fraction(1, 2), Fraction(1, 10)
    found = short(EWC(half, step=step), lr=tenth, momentum=half)
    assert same_bits(found.params, short(EWC(0.5, step=step), lr=0.1, momentum=0.5).params)
    assert found.strength == [0.5]


@pytest.mark.parametrize("make", [EWC, L2])
def test_refuses_no_strength_at_all(make):
    with pytest.raises(ValueError, match="strength is empty: give a number, or a tuple"):
        make(())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EWC(1.0, step="explicit"), "step is 'explicit', but must be \"implicit\" or"),
        (lambda: L2(1.0, step="explicit"), "step is 'explicit'"),
        (lambda: EWC(1.0, fisher="diagonal"), "fisher is 'diagonal', but must be one of exact"),
        (
            lambda: EWC(1.0, anchors="both"),
            "anchors is 'both', but must be one of separate, latest",
        ),
        (lambda: EWC(1.0, gamma=0.5), "gamma is 0.5 with anchors='separate'.*\"latest\" only"),
        (lambda: EWC(1.0, anchors="latest", gamma=1.5), r"gamma is 1.5 .*must lie in \[0, 1\]"),
        (lambda: EWC(1.0, anchors="latest", gamma=-0.1), "gamma is -0.1"),
        (lambda: EWC(1.0, anchors="latest", gamma=math.nan), "gamma is nan"),
        (lambda: EWC(1.0, samples=100.0), "samples is 100.0, but must be a whole number, 1 or more, or None"),
        (lambda: EWC(1.0, samples=0), "samples is 0"),
        (lambda: EWC(1.0, samples=True), "samples is True"),
    ],
)
def test_refuses_choices(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_defaults():
    assert EWC(1.0) == EWC(1.0, fisher="exact", anchors="separate", gamma=1.0, step="implicit")
    assert L2(1.0) == L2(1.0, step="implicit")
    assert strength_of(Finetune()) == strength_of(Joint()) == 0.0


@pytest.mark.parametrize(
    "kind", [EWC, L2, MAS, SI, LwF, Inhibition, SLNID, AdversarialMemory, DeCov, L1Activations, WeightDecay]
)
def test_a_method_with_a_strength_does_not_go_without(kind):
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'strength'"):
        kind()


@pytest.mark.parametrize("method", [Finetune(), Joint(), L2(1.0), EWC(1.0)])
def test_settings_cannot_be_changed(method):
    with pytest.raises(AttributeError):
        method.strength = 5.0


class Sum(nn.Module):
    """A linear layer whose weight is a sum of two; autograd gives both one gradient."""

    def __init__(self):
        super().__init__()
        self.base = nn.Parameter(torch.zeros(10, 64))
        self.delta = nn.Parameter(torch.zeros(10, 64))

    def forward(self, x):
        return x @ (self.base + self.delta).T


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_weights_that_share_a_gradient_are_pulled_once(seeds):
    population = Population([Sum() for _ in seeds])
    grads = population.gradient(population.logits(torch.ones(len(seeds), 2, 64)).sum() * 0)
    anchor = {name: p.detach() - 1 for name, p in population.params.items()}
    ones = {name: torch.ones_like(p) for name, p in anchor.items()}
    L2(3.0, step="gradient").add_gradient(single(ones, anchor), population, grads)
    for name, found in grads.items():
        assert torch.equal(found, torch.full_like(found, 3.0)), name
