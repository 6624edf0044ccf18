"""Warnings about penalties: each fires with its numbers where it should, and nowhere else."""

import re
import warnings

import numpy as np
import pytest
import torch
from oracles import F64, STREAM, small_network, small_stream, watched

from cl_lib import EWC, L2, MAS, MLP, SI, Finetune, fit
from cl_lib.methods import SLNI, IneffectivePenalty, Replay, UnstablePenalty, combine, merge, single
from cl_lib.methods.guards import Effect
from cl_lib.population import Population

METHODS = {
    "L2": (L2, 1),
    "EWC": (EWC, 1),
    "SI": (SI, 2),
    "MAS": (MAS, 2),
    "local MAS": (lambda s, **options: MAS(s, scope="local", **options), 2),
    "in company": (lambda s, **options: combine(SLNI(1e-3), MAS(s, **options)), 2),
}
each_method = pytest.mark.parametrize("make, factor", METHODS.values(), ids=METHODS)


def short(method, stream=STREAM, build=small_network, **options):
    """As in ``oracles``, but here, since a warning names the file that calls ``fit``."""
    settings = {"epochs": 2, "batch_size": 8, "lr": 0.1, "dtype": F64} | options
    return fit(build, stream, method, **settings)


def silent(method, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return short(method, **options)


def largest_importance(method, **options):
    """After the first task, where the strength has not mattered yet."""
    method, after = watched(method)
    silent(method, **options)
    ((_, penalty),) = method.penalties(after[0].state)
    return max(float(value.max()) for value in penalty.importance.values())


# Too stiff


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@each_method
def test_warns_above_the_limit_of_stability(make, factor, momentum):
    options, limit = {"momentum": momentum, "lr": 0.1}, 2 * (1 + momentum)
    largest = largest_importance(make(0, step="gradient"), **options)
    strength = limit / (0.1 * factor * largest)
    silent(make(0.97 * strength, step="gradient"), **options)
    numbers = rf"{largest:.3g} = {1.03 * limit:.3g} in 'layers.* above 2 \* \(1 \+ momentum\) = {limit:g}\. "
    advice = (
        rf"Take \w+ with a strength below {re.escape(f'{strength:.2g}')}, a lower lr, or step=\"implicit\""
    )
    with pytest.warns(UnstablePenalty, match=numbers + advice) as caught:
        short(make(1.03 * strength, step="gradient"), **options)
    assert caught[0].filename == __file__, "the warning points at the call of fit"


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_the_limit_is_that_of_steps_on_a_parabola(momentum):
    def distance_after(curvature, n_steps=3000, lr=0.1):
        at, velocity = 1.0, 0.0
        for _ in range(n_steps):
            velocity = momentum * velocity + curvature * at
            at -= lr * velocity
        return abs(at)

    limit = 2 * (1 + momentum) / 0.1
    assert distance_after(0.98 * limit) < 1e-3 and distance_after(1.02 * limit) > 1e3


@pytest.mark.parametrize(
    "options, step",
    [({}, "implicit"), ({"optimizer": "adam"}, "gradient"), ({"optimizer": "adam"}, "implicit")],
)
def test_what_cannot_diverge_is_not_warned_of(options, step):
    silent(L2(1e4, step=step), **options)


def test_one_strength_of_a_grid_that_is_too_stiff_is_named():
    with pytest.warns(UnstablePenalty, match="strength is 50, too much"):
        short(L2((0.1, 1.0, 50.0), step="gradient"), momentum=0.0, lr=0.05)


# Too weak


@each_method
def test_warns_of_a_penalty_that_is_not_felt(make, factor):
    weak = 1e-4
    with pytest.warns(IneffectivePenalty, match="after each task the penalty of") as caught:
        run = short(make(weak), seeds=(0, 1))
    assert len(caught) == 1 and caught[0].filename == __file__
    share = float(str(caught[0].message).split("at most ")[1].split()[0])
    assert 0 < share < 1e-3 and f"strength is {weak:g}, " in str(caught[0].message)
    largest = largest_importance(make(0), seeds=(0, 1))
    assert f"The largest importance is {largest:.2g}. " in str(caught[0].message)
    assert run.seeds.tolist() == [0, 1]


def test_every_penalty_in_company_is_looked_at():
    with pytest.warns(IneffectivePenalty) as caught:
        short(combine(L2(1e-4), EWC(1e-4)))
    assert ["penalty of L2" in str(w.message) for w in caught] == [True, False]


def test_warns_of_numpy_strengths_too():
    with pytest.warns(IneffectivePenalty, match="strength is 0.0001, "):
        short(L2(np.float32(1e-4)), seeds=(0, 1))


def test_the_share_is_that_of_the_last_batch():
    method, after = watched(L2(1e-3))
    with pytest.warns(IneffectivePenalty) as caught:
        short(method, batch_size=20)  # one batch an epoch: the whole task
    model, task = MLP(6, (5,), 3).to(F64), STREAM[1]
    now = {name: p[0] for name, p in after[1].params.items()}
    model.load_state_dict(now)
    loss = torch.nn.functional.cross_entropy(model(task.train.x), task.train.y)
    squares = sum(((now[name] - p[0]) ** 2).sum() for name, p in after[0].params.items())
    assert f"at most {float(0.5e-3 * squares / loss.detach()):.1e} of the loss" in str(caught[0].message)


@pytest.mark.parametrize("moved, limit_is", [(10.0, "share"), (1e-3, "pull")])
def test_what_is_felt_is_a_thousandth_of_the_loss_or_a_tenth_of_its_slope(moved, limit_is):
    torch.manual_seed(0)
    model, task = small_network().to(F64), STREAM[1]
    people = Population([model, small_network().to(F64)])
    anchored = L2(1.0).after_task(None, people, task)
    people.params["layers.0.weight"][0, 0, 0] += moved  # the other replica feels nothing
    model.load_state_dict({name: p[0] for name, p in people.params.items()})
    loss = torch.nn.functional.cross_entropy(model(task.train.x), task.train.y)
    slopes = torch.autograd.grad(loss, list(model.parameters()))
    slope = sum(float((g**2).sum()) for g in slopes) ** 0.5
    limit = {"share": 1e-3 * loss.item() / (moved**2 / 2), "pull": 0.1 * slope / moved}
    assert limit[limit_is] == min(limit.values())
    batch = (task.train.x.expand(2, -1, -1), task.train.y.expand(2, -1), task.outputs)
    for times, n_warnings in ((0.99, 1), (1.01, 0)):
        effect = Effect()
        effect.measure(L2(times * limit[limit_is]), anchored, people, batch)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            effect.warn()
        assert len(caught) == n_warnings


@each_method
def test_a_penalty_that_is_felt_is_not_warned_of(make, factor):
    silent(make(1.0), epochs=5)


def test_a_penalty_felt_in_one_task_is_not_warned_of():
    class Waking(L2):
        def after_task(self, state, population, task):
            anchored = super().after_task(state, population, task)
            return anchored.scaled(asleep.get(task.name, 1.0))

    three, asleep = small_stream(3), {"task 1": 1e-9}
    silent(Waking(1.0), stream=three)
    asleep["task 2"] = 1e-15
    with pytest.warns(IneffectivePenalty, match=r"at most .*e-(09|10) .* largest importance is 1e-09\."):
        short(Waking(1.0), three)


@pytest.mark.parametrize("strength", [1e3, 1e8])
@each_method
def test_a_penalty_that_holds_everything_is_not_warned_of(make, factor, strength):
    silent(make(strength), epochs=5)


@pytest.mark.parametrize(
    "method", [Finetune(), Replay(1e-9), L2(0), L2((1e-9, 1e-8)), combine(L2((1e-9, 1e-8)), EWC(0))]
)
def test_no_strength_and_grids_are_not_warned_of(method):
    silent(method)


def test_gradients_averaged_before_they_are_squared_are_found():
    class SquaredTooLate(EWC):
        def after_task(self, state, population, task):
            whole = EWC(1.0, fisher="batched").after_task(None, population, task)
            tiny = {name: 1e-3 * f for name, f in whole.importance.items()}
            return merge(state, single(tiny, population.params))

    with pytest.warns(IneffectivePenalty, match="SquaredTooLate.* averaged before they are squared"):
        short(SquaredTooLate(1.0))


def test_an_anchor_that_moves_along_is_found():
    class Aliased(EWC):
        def after_task(self, state, population, task):
            measured = super().after_task(state, population, task)
            measured.centre.update(population.params)
            return measured

    with pytest.warns(IneffectivePenalty, match="Aliased is at most 0.0e.00.*a view of the live"):
        short(Aliased(10.0))


def test_looking_at_the_penalty_changes_no_training():
    def with_dropout():
        return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 3))

    three = small_stream(3)
    with pytest.warns(IneffectivePenalty):
        looked = short(L2(1e-300), three, with_dropout)
    plain = short(None, three, with_dropout)
    assert all(torch.equal(p, looked.params[name]) for name, p in plain.params.items())
