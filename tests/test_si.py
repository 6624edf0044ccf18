"""Synaptic intelligence against a loop with PyTorch's own optimisers, and its path integral by hand."""

import copy
import math

import numpy as np
import pytest
import torch
from oracles import (
    F64,
    STREAM,
    after_first_task,
    distance,
    fine_tuning,
    first_tasks,
    mean_loss,
    replica,
    same_bits,
    short,
    small_network,
    small_stream,
    weights_of,
)
from torch import nn

from cl_lib import SI
from cl_lib.methods import quadratic
from cl_lib.methods.quadratic import STEPS
from cl_lib.methods.si import Path
from cl_lib.population import Population

STREAM3 = small_stream(3)
each_step = pytest.mark.parametrize("step", STEPS)
each_optimizer = pytest.mark.parametrize("optimizer", ["sgd", "adam"])


def population(n_strengths=1, seeds=(0, 1)):
    networks = []
    for seed in seeds:
        torch.manual_seed(seed)
        networks.append(small_network().to(F64))
    return Population(networks, n_strengths)


def move(params, seed=0):
    """New weights near the old ones."""
    generator = torch.Generator().manual_seed(seed)
    return {n: p + 0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in params.items()}


# Against a loop


def reach(optimizer, group, p):
    """The step that one unit of steady gradient makes."""
    if isinstance(optimizer, torch.optim.SGD):
        return group["lr"] / (1 - group["momentum"])
    moments = optimizer.state[p]
    square = moments["exp_avg_sq"] / (1 - group["betas"][1] ** float(moments["step"]))
    return group["lr"] / (square.sqrt() + group["eps"])


def pairs(split):
    return zip(split.x, split.y, strict=True)


def one_step(model, samples, optimizer, method, omega, anchor, work):
    """Train on a batch; add minus the loss's slope times the whole move to the work."""
    params = dict(model.named_parameters())
    slopes = torch.autograd.grad(mean_loss(model, samples), list(params.values()))
    before = copy.deepcopy(weights_of(model))
    for (name, p), slope in zip(params.items(), slopes, strict=True):
        pull = 2 * method.strength * omega[name] * (p.detach() - anchor[name])
        p.grad = slope + pull if method.step == "gradient" else slope.clone()
    optimizer.step()
    for (name, p), slope in zip(params.items(), slopes, strict=True):
        if method.step == "implicit":
            stiffness = reach(optimizer, optimizer.param_groups[0], p) * 2 * method.strength * omega[name]
            p.data = (p.data + stiffness * anchor[name]) / (1 + stiffness)
        work[name] -= slope * (p.detach() - before[name])


def slow_si(stream, method, make_optimizer, seed=0, epochs=2, batch_size=8):
    """Final weights, final importances and, for each task, those before they were clipped."""
    torch.manual_seed(seed)
    model, order, unclipped = small_network().to(F64), torch.Generator().manual_seed(seed), []
    omega = {name: torch.zeros_like(p) for name, p in weights_of(model).items()}
    for task in stream:
        anchor = copy.deepcopy(weights_of(model))
        work = {name: torch.zeros_like(p) for name, p in anchor.items()}
        samples = [(x, y, task.outputs) for x, y in pairs(task.train)]
        optimizer = make_optimizer(model.parameters())
        for _ in range(epochs):
            for index in torch.randperm(len(samples), generator=order).split(batch_size):
                batch = [samples[i] for i in index]
                one_step(model, batch, optimizer, method, omega, anchor, work)
        now = weights_of(model)
        omega = {n: omega[n] + work[n] / ((now[n] - anchor[n]) ** 2 + method.damping) for n in now}
        unclipped.append(omega)
        omega = {name: value.clamp(min=0) for name, value in omega.items()}
    return weights_of(model), omega, unclipped


def agree(method, optimizer, lr):
    """Hold a run against the loop; returns the loop's importances before they were clipped."""

    def make_optimizer(params):
        if optimizer == "adam":
            return torch.optim.Adam(params, lr=lr)
        return torch.optim.SGD(params, lr=lr, momentum=0.9)

    weights, omega, unclipped = slow_si(STREAM3, method, make_optimizer)
    found = short(method, STREAM3, optimizer=optimizer, lr=lr)
    # Adam's reach is bias-corrected with a step count in single precision
    tolerance = 1e-5 if optimizer == "adam" and method.step == "implicit" else 1e-10
    assert distance(replica(found.params, 0), weights) < tolerance
    assert distance(replica(found.state.penalty.importance, 0), omega) < 10 * tolerance
    return unclipped


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 0.05), ("adam", 0.02)])
@pytest.mark.parametrize("damping", [0.1, 0.001])
@each_step
def test_against_a_loop(step, damping, optimizer, lr):
    agree(SI(0.5, step=step, damping=damping), optimizer, lr)


def test_against_a_loop_that_clips():
    unclipped = agree(SI(0.5, step="gradient", damping=0.001), "adam", 0.2)
    assert any(bool((value < 0).any()) for task in unclipped for value in task.values())


@each_step
def test_replicas_end_where_they_would_have_ended_alone(step):
    together = short(SI((0.2, 2.0), step=step), STREAM3, seeds=(0, 1))
    for r, (strength, seed) in enumerate([(0.2, 0), (0.2, 1), (2.0, 0), (2.0, 1)]):
        alone = short(SI(strength, step=step), STREAM3, seeds=(seed,))
        assert distance(replica(together.params, r), replica(alone.params, 0)) < 1e-10
        found, expected = (replica(run.state.penalty.importance, i) for run, i in ((together, r), (alone, 0)))
        assert distance(found, expected) < 1e-10


def test_path_integral_is_the_drop_of_the_loss():
    """Zenke et al. (2017), Eq. 3: for small steps down the whole gradient, all of the loss is accounted."""
    torch.manual_seed(0)
    start, samples = small_network().to(F64), [(x, y, None) for x, y in pairs(STREAM[0].train)]
    off = []
    for halvings in range(2):
        options = {"lr": 0.1 / 2**halvings, "momentum": 0.0, "batch_size": 20, "epochs": 20 * 2**halvings}
        run = after_first_task(lambda method, o=options: short(method, **o), SI(1.0, damping=0.1))
        end, total = small_network().to(F64), 0.0
        end.load_state_dict(replica(run.params, 0))
        for name, p in weights_of(start).items():
            moved = run.params[name][0] - p
            total += float((run.state.penalty.importance[name][0] * (moved**2 + 0.1)).sum())
        drop = float((mean_loss(start, samples) - mean_loss(end, samples)).detach())
        off.append(abs(total / drop - 1))
    assert off[0] < 0.1 and off[1] < 0.6 * off[0]


# By hand


def one_weight():
    layer = nn.Linear(1, 1, bias=False).to(F64)
    layer.weight.data.fill_(1.0)
    return Population([layer])


def walked(method, steps, state=None):
    """The path after steps that each have a slope and a move: ``[(slope, move), ...]``."""
    people = one_weight()
    state = method.begin_task(state, people, STREAM[0])
    for slope, by in steps:
        method.add_gradient(state, people, {"weight": torch.full((1, 1, 1), slope, dtype=F64)})
        people.params["weight"].add_(by)
        method.after_step(state, people, lambda name: 0.1)
    return people, state


def test_importance_by_hand():
    method = SI(0.0, damping=0.1)
    people, state = walked(method, [(-1.0, 0.3), (0.5, -0.1)])  # work 0.3 + 0.05, moved by 0.2
    assert float(state.work["weight"]) == pytest.approx(0.35, rel=1e-14)
    penalty = method.after_task(state, people, STREAM[0]).penalty
    assert float(penalty.importance["weight"]) == pytest.approx(0.35 / (0.04 + 0.1), rel=1e-14)
    assert float(penalty.centre["weight"]) == pytest.approx(1.2, rel=1e-15)


@pytest.mark.parametrize("damping", [1e-6, 0.1, 10.0])
def test_damping_keeps_a_weight_that_returned_from_mattering_most(damping):
    method = SI(0.0, damping=damping)
    people, state = walked(method, [(-1.0, 0.5), (1.0, -0.5)])  # work 1, moved by nothing
    found = method.after_task(state, people, STREAM[0]).penalty.importance["weight"]
    assert float(found) == pytest.approx(1 / damping, rel=1e-12)


@pytest.mark.parametrize(("earlier", "expected"), [(None, 0.0), (0.5, 0.0), (5.0, 5.0 - 0.3 / 0.19)])
def test_importance_is_clipped_at_zero(earlier, expected):
    """A move of 0.3 up a slope of 1 costs 0.3; the sum over tasks is clipped, not each task's share."""
    method, state = SI(0.0, damping=0.1), None
    if earlier is not None:
        one = quadratic.single({"weight": torch.full((1, 1, 1), earlier, dtype=F64)}, one_weight().params)
        state = Path(one, {}, {}, {}, {})
    people, state = walked(method, [(1.0, 0.3)], state)
    found = method.after_task(state, people, STREAM[0]).penalty.importance["weight"]
    assert float(found) == pytest.approx(expected, abs=1e-14)


def test_paths_of_tasks_are_separate():
    method = SI(0.0, damping=0.1)
    people, state = walked(method, [(-1.0, 0.3)])
    first = method.after_task(state, people, STREAM[0])
    second = method.begin_task(first, people, STREAM[1])
    assert float(second.work["weight"]) == 0 and torch.equal(second.start["weight"], people.params["weight"])
    end = method.after_task(second, people, STREAM[1])
    assert torch.equal(end.penalty.importance["weight"], first.penalty.importance["weight"])


# The penalty's part


def learned(strengths, step):
    """A population off the anchor, in the middle of its second task."""
    people, method = population(len(strengths)), SI(strengths, step=step)
    state = method.begin_task(None, people, STREAM[0])
    for value in state.work.values():
        value.copy_(torch.linspace(0.1, 2, value.numel(), dtype=F64).reshape(value.shape))
    state = method.after_task(state, people, STREAM[0])
    anchor = people.copy()
    people.restore(move(anchor))
    return people, method, method.begin_task(state, people, STREAM[1]), anchor


STRENGTHS = (0.7, 20.0, 0.0)


def factor(strengths, r):
    return strengths[r // 2]


def test_gradient_step_adds_the_gradient_of_the_papers_penalty():
    people, method, state, anchor = learned(STRENGTHS, "gradient")
    at = {name: p.clone().requires_grad_() for name, p in people.params.items()}
    loss = sum(p.sum() for p in at.values())
    for r in range(people.size):
        for name, p in at.items():
            omega = state.penalty.importance[name][r]
            loss = loss + factor(STRENGTHS, r) * (omega * (p[r] - anchor[name][r]) ** 2).sum()
    expected = dict(zip(at, torch.autograd.grad(loss, list(at.values())), strict=True))
    grads, before = {name: torch.ones_like(p) for name, p in people.params.items()}, people.copy()
    method.add_gradient(state, people, grads)
    method.after_step(state, people, lambda name: 0.1)
    assert distance(grads, expected) < 1e-14
    assert same_bits(people.params, before), "the gradient is all that this step adds"


def test_implicit_step_minimises_the_papers_penalty_near_where_the_optimiser_went():
    people, method, state, anchor = learned(STRENGTHS, "implicit")
    grads, before, eta = {name: torch.ones_like(p) for name, p in people.params.items()}, people.copy(), 0.3
    method.add_gradient(state, people, grads)
    assert all((g == 1).all() for g in grads.values()), "the step is all that is added"
    method.after_step(state, people, lambda name: eta)
    for r in range(people.size):
        for name, p in people.params.items():
            omega = state.penalty.importance[name][r]
            slope = 2 * factor(STRENGTHS, r) * omega * (p[r] - anchor[name][r])
            assert float((slope + (p[r] - before[name][r]) / eta).abs().max()) < 1e-12


def test_penaltys_gradient_is_not_in_the_path():
    people, method, state, _ = learned(STRENGTHS, "gradient")
    grads = {name: torch.full_like(p, 3.0) for name, p in people.params.items()}
    method.add_gradient(state, people, grads)
    assert any(float((g - 3).abs().max()) > 0.1 for g in grads.values()), "there is a penalty"
    for p in people.params.values():
        p.sub_(0.5)
    method.after_step(state, people, lambda name: 0.1)
    for work in state.work.values():
        torch.testing.assert_close(work, torch.full_like(work, 1.5), rtol=1e-12, atol=0)


def test_implicit_pull_is_part_of_the_path():
    people, method, state, _ = learned(STRENGTHS, "implicit")
    before = people.copy()
    method.add_gradient(state, people, {name: torch.full_like(p, 3.0) for name, p in before.items()})
    method.after_step(state, people, lambda name: 0.1)
    expected = {name: 3 * (before[name] - p) for name, p in people.params.items()}
    assert distance(state.work, expected) < 1e-14


# Invariants


@each_optimizer
@each_step
def test_strength_zero_is_fine_tuning_bit_for_bit(step, optimizer):
    plain = fine_tuning(seeds=(0, 1), optimizer=optimizer)
    found = short(SI(0, step=step), seeds=(0, 1), optimizer=optimizer)
    assert same_bits(found.params, plain.params)


@each_optimizer
@each_step
def test_strength_above_zero_is_not_fine_tuning(step, optimizer):
    found = short(SI(1.0, step=step), optimizer=optimizer, device="cpu", dtype=torch.float32)
    plain = short(optimizer=optimizer, device="cpu", dtype=torch.float32)
    assert distance(found.params, plain.params) > 1e-3


@each_step
def test_nothing_is_protected_in_the_first_task(step):
    assert same_bits(after_first_task(short, SI(9.0, step=step)).params, short(None, first_tasks(1)).params)


@each_step
def test_penalty_is_zero_at_the_anchor_and_positive_off_it(step):
    run = after_first_task(lambda method: short(method, seeds=(0, 1)), SI(1.0, step=step))
    penalty = run.state.penalty
    assert torch.equal(penalty.value(run.params), torch.zeros(2, dtype=F64))
    assert (penalty.value(move(run.params)) > 0).all()


def test_anchor_is_the_latest_solution():
    run = short(SI(1.0), STREAM3)
    assert same_bits(run.state.penalty.centre, run.params)


def test_state_holds_copies():
    people, method = population(), SI(1.0)
    state = method.begin_task(None, people, STREAM[0])
    grads = {name: torch.full_like(p, 2.0) for name, p in people.params.items()}
    start = people.copy()
    method.add_gradient(state, people, grads)
    for tensor in (*people.params.values(), *grads.values()):
        tensor.sub_(0.5)
    assert same_bits(state.start, start) and same_bits(state.before, start)
    assert all((slope == 2).all() for slope in state.slope.values())
    method.after_step(state, people, lambda name: 0.1)
    assert all((work == 1).all() for work in state.work.values()), "2 times 0.5"
    end = method.after_task(state, people, STREAM[0])
    kept = copy.deepcopy((end.penalty.importance, end.penalty.centre))
    later = method.begin_task(end, people, STREAM[1])
    for _ in range(2):
        method.add_gradient(later, people, {name: torch.ones_like(p) for name, p in people.params.items()})
        people.restore(move(people.params))
        method.after_step(later, people, lambda name: 0.1)
    method.after_task(later, people, STREAM[1])
    assert same_bits(end.penalty.importance, kept[0]) and same_bits(end.penalty.centre, kept[1])


def test_one_method_serves_many_runs():
    method = SI(1.0)
    assert same_bits(short(method).params, short(method).params)


@each_optimizer
def test_implicit_step_is_stable_for_every_strength(optimizer):
    strengths = tuple(10.0**k for k in range(-3, 13, 3))
    run = short(SI(strengths), STREAM3, optimizer=optimizer, dtype=torch.float32)
    assert all(p.isfinite().all() for p in run.params.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": -1}, "strength is -1, but must be a finite number >= 0"),
        ({"strength": ()}, "strength is empty"),
        ({"strength": 1.0, "step": "explicit"}, "step is 'explicit', but must be \"implicit\" or"),
        ({"strength": 1.0, "damping": 0}, "damping is 0, but must be a finite number above 0"),
        ({"strength": 1.0, "damping": -0.1}, "damping is -0.1"),
        ({"strength": 1.0, "damping": "0.1"}, "damping is '0.1'"),
        (
            {"strength": np.ones(2)},
            r"strength is array.*, but must be a finite number >= 0, or a tuple of them",
        ),
        ({"strength": 1.0, "damping": math.nan}, "damping is nan"),
        ({"strength": 1.0, "damping": math.inf}, "damping is inf"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        SI(**options)


def test_defaults():
    assert SI(1.0) == SI(1.0, damping=0.1, step="implicit")
