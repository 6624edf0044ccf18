"""Memory units: against an ordinary loop, and what stays where it is."""

import oracles
import pytest
import torch
from oracles import F64, distance, loop_fisher, replica, small_stream
from torch.nn import functional

from cl_lib import EWC, MLP, MemoryMLP, fisher, fit
from cl_lib.methods import AdversarialMemory, combine

STREAM = small_stream(3)


def network(n_tasks=3):
    return MemoryMLP(6, (5, 4), 3, n_tasks=n_tasks)


def short(method=None, build=network, **options):
    return oracles.short(method, STREAM, build, **options)


def loop(step, seed=0):
    """Train with an ordinary module, ordinary SGD, and ``step(gradient)`` for the units."""
    torch.manual_seed(seed)
    model, shuffle = network().to(F64), torch.Generator().manual_seed(seed)
    shared = [p for name, p in model.named_parameters() if not name.startswith("memory")]
    for t, task in enumerate(STREAM):
        model.task, sgd = t, torch.optim.SGD(shared, lr=0.1, momentum=0.9)
        for _ in range(2):
            for index in torch.randperm(len(task.train), generator=shuffle).split(8):
                model.zero_grad()
                functional.cross_entropy(model(task.train.x[index]), task.train.y[index]).backward()
                with torch.no_grad():
                    for units in model.memory:
                        units[t] -= step(units.grad[t])
                sgd.step()
    return model


@pytest.mark.parametrize(
    "direction, step", [("adversarial", lambda g: 0.05 * g.sign()), ("gradient", lambda g: 0.05 * g)]
)
def test_units_move_as_in_an_ordinary_loop(direction, step):
    run = short(AdversarialMemory(0.05, direction=direction), seeds=(0, 1))
    for r in range(2):
        expected = {name: p.detach() for name, p in loop(step, seed=r).named_parameters()}
        assert distance({name: p[r] for name, p in run.params.items()}, expected) < 1e-10


@pytest.mark.parametrize("direction", ["adversarial", "random", "gradient"])
def test_replicas_end_where_they_would_have_ended_alone(direction):
    together = short(AdversarialMemory((0.01, 0.05), direction=direction), seeds=(3, 4))
    for r, (step, seed) in enumerate([(0.01, 3), (0.01, 4), (0.05, 3), (0.05, 4)]):
        alone = short(AdversarialMemory(step, direction=direction), seeds=(seed,))
        assert distance({name: p[r] for name, p in together.params.items()}, replica(alone.params, 0)) < 1e-10


def test_random_steps_differ_between_seeds_of_replicas_and_of_the_method():
    one, other, third = (
        short(AdversarialMemory(0.05, direction="random", seed=own), seeds=(seed,)).params["memory.0"]
        for own, seed in ((0, 3), (0, -3), (-1, 3))
    )
    assert not torch.equal(one, other) and not torch.equal(one, third)


def test_random_steps_have_the_right_size_and_no_direction():
    run = short(AdversarialMemory(0.05, direction="random"))
    n_steps = 2 * 3  # epochs times batches of a task
    for name, p in run.params.items():
        if name.startswith("memory."):
            taken = p / 0.05
            assert torch.allclose(taken, taken.round(), atol=1e-9)
            assert (taken.abs() <= n_steps).all() and (taken.round() % 2 == n_steps % 2).all()
            assert taken.min() < 0 < taken.max()


def test_without_steps_it_is_fine_tuning_bit_for_bit():
    plain = short(None, lambda: MLP(6, (5, 4), 3), seeds=(0, 1))
    still = short(AdversarialMemory(0.0), seeds=(0, 1))
    assert all(torch.equal(p, still.params[name]) for name, p in plain.params.items())
    assert (plain.accuracy == still.accuracy).all()


def test_steps_change_what_is_learned():
    first = short(AdversarialMemory(0.05)).params
    assert distance(first, short(AdversarialMemory(0.0)).params) > 1e-3


def test_each_task_is_tested_with_its_own_units():
    run = short(AdversarialMemory(0.3), seeds=(0, 1))
    for r in range(2):
        model = run.model(r)
        for t, task in enumerate(STREAM):
            model.task = t
            right = (model(task.test.x).argmax(1) == task.test.y).double().mean()
            assert right.item() == pytest.approx(run.accuracy[r, -1, t])


def test_units_of_other_tasks_stay():
    one = fit(network, type(STREAM)("one", "domain", STREAM.tasks[:1], 3), AdversarialMemory(0.1), epochs=1)
    for name, p in one.params.items():
        if name.startswith("memory."):
            assert (p[:, 0] != 0).any() and (p[:, 1:] == 0).all()


def test_ewc_beside_it_measures_the_fisher_with_the_units_in_place():
    one = type(STREAM)("one", "domain", STREAM.tasks[:1], 3)
    run = fit(network, one, combine(AdversarialMemory(0.2), EWC(1.0)), epochs=1, dtype=F64)
    expected = loop_fisher(run.model(), STREAM[0].train.x, kind="exact")
    assert distance({n: f[0] for n, f in run.state[1].importance.items()}, expected) < 1e-10
    assert distance(fisher(run.model(), STREAM[0].train.x), expected) < 1e-10


def test_without_steps_ad_plus_ewc_is_ewc():
    plain = short(EWC(3.0), lambda: MLP(6, (5, 4), 3))
    still = short(combine(AdversarialMemory(0.0), EWC(3.0)))
    assert distance({n: still.params[n] for n in plain.params}, plain.params) < 1e-10


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: AdversarialMemory(-1), ValueError, "strength is -1"),
        (lambda: AdversarialMemory(1, seed=1.5), TypeError, "seed is 1.5, but must be a whole number"),
        (lambda: AdversarialMemory(1, direction="up"), ValueError, "direction is 'up', but must be one of"),
        (lambda: short(AdversarialMemory(1), lambda: MLP(6, (5,), 3)), TypeError, "use cl_lib.MemoryMLP"),
        (lambda: short(build=lambda: network(2)), ValueError, "n_tasks=2, but custom has 3 tasks"),
        (lambda: network(0), ValueError, "n_tasks is 0, but must be the number of tasks"),
    ],
)
def test_refuses(make, error, message):
    with pytest.raises(error, match=message):
        make()
