"""The algebra of memory units against oracles that share no code with it: autograd, SciPy, enumeration."""

import itertools
import math

import numpy as np
import pytest
import sympy as sp
import torch
from scipy import integrate, optimize

from cl_lib import derivations as d

RNG = np.random.default_rng(0)


def world_c(p):
    return ((p[0] - 1) ** 2 + (p[1] + p[2] + p[3] - 5) ** 2) / 2


def penalised(p, lam):
    away = np.array(p[:3]) - (1, 1, 8)
    return world_c(p) + lam / 2 * (np.array([2, 2, 1]) * away**2).sum()


def numbers(point, **values):
    return np.array([float(sp.sympify(p).subs({d.LAM: values.get("lam", 0)})) for p in point])


def test_after_a_and_b_nothing_is_left_to_do_and_every_weight_matters():
    before = (*d.THETA,)
    assert d.penalised_minimiser(d.loss_b(), (1, 1, 0), anchor=(1, 1, 0)) == d.AFTER_A_AND_B
    curvatures = [sp.hessian(loss, before).diagonal() for loss in (d.loss_a(), d.loss_b())]
    assert tuple(curvatures[0] + curvatures[1]) == d.FISHER_A_AND_B


def test_loss_of_c():
    point = RNG.normal(size=4)
    values = dict(zip((*d.THETA, d.MEMORY), point, strict=True))
    assert float(d.loss_c(d.MEMORY).subs(values)) == pytest.approx(world_c(point))
    assert d.loss_c() == d.loss_c(d.MEMORY).subs(d.MEMORY, 0)


@pytest.mark.parametrize("lam", [0.1, 1.0, 7.0])
def test_ends_with_and_without_memory_are_minima(lam):
    found = optimize.minimize(lambda p: penalised([*p, 0], lam), (1, 1, 8), options={"gtol": 1e-9}).x
    assert np.allclose(numbers(d.without_memory(), lam=lam), found, atol=1e-5)
    end, determinant = d.with_memory()
    found = optimize.minimize(lambda p: penalised(p, lam), (1, 1, 8, 0), options={"gtol": 1e-9}).x
    assert np.allclose(numbers(end), found, atol=1e-4)
    stiff, anchor = torch.tensor([2, 2, 1]), torch.tensor([1, 1, 8])

    def total(p):
        return world_c(p) + lam / 2 * (stiff * (p[:3] - anchor) ** 2).sum()

    hessian = torch.autograd.functional.hessian(total, torch.zeros(4, dtype=torch.float64))
    assert float(determinant.subs(d.LAM, lam)) == pytest.approx(torch.linalg.det(hessian).item())


def share_by_integration(speed, rate):
    """Part of m in closing the residual of 4, when m moves by ``rate(r)`` and each weight by -r."""

    def flow(_, state):
        r, m = state
        return [-2 * r + speed * rate(r), speed * rate(r)]

    def arrived(_, state):
        return state[0] - 1e-9

    arrived.terminal = True
    end = integrate.solve_ivp(flow, (0, 60), [4, 0], events=arrived, rtol=1e-10, atol=1e-12)
    return -end.y[1, -1] / 4


@pytest.mark.parametrize("speed", [0.2, 1.0, 10.0])
def test_who_does_the_work_in_a_race(speed):
    plain, signed = d.plain_share(), d.signed_share(4)
    assert float(plain.subs(d.SPEED, speed)) == pytest.approx(share_by_integration(speed, lambda r: -r))
    expected = share_by_integration(speed, lambda r: -1.0)
    assert float(signed.subs(d.SPEED, speed)) == pytest.approx(expected, rel=1e-6)
    assert float(signed.subs(d.SPEED, speed)) == pytest.approx(speed / 8 * math.log(1 + 8 / speed))


@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_no_step_in_the_box_beats_the_signed_one(signs):
    best, gap = d.signed_step(signs)
    assert best.is_negative and gap.is_nonnegative
    size, epsilon = RNG.uniform(0.1, 2, 3), 0.3
    gradient = np.array(signs) * size
    linear = optimize.linprog(gradient, bounds=[(-epsilon, epsilon)] * 3)
    values = {f"a{i + 1}": size[i] for i in range(3)} | {"epsilon": epsilon}
    by_name = {symbol: values[symbol.name] for symbol in best.free_symbols}
    assert float(best.subs(by_name)) == pytest.approx(linear.fun)
    steps = RNG.uniform(-epsilon, epsilon, (5, 3))
    for step in steps:
        slack = {f"u{i + 1}": 1 + step[i] * signs[i] / epsilon for i in range(3)}
        names = values | slack
        missed = float(gap.subs({symbol: names[symbol.name] for symbol in gap.free_symbols}))
        assert missed == pytest.approx(gradient @ step - linear.fun)


def test_random_signs_by_drawing_them():
    values = (1, -2, 4, 3)
    mean, square = d.random_signs(values)
    drawn = RNG.choice((-1, 1), size=(200_000, 4)) @ np.array(values)
    assert mean == 0 and square == 1 + 4 + 16 + 9
    assert drawn.mean() == pytest.approx(0, abs=0.1)
    assert (drawn**2).mean() == pytest.approx(square, rel=0.02)


def test_a_silenced_unit_is_silent_and_learns_nothing():
    weights, bias = (2.0, -1.0, 0.5), 0.3
    shift = d.silencing_shift(weights, bias)
    assert shift == pytest.approx(-bias - sum(max(w, 0) for w in weights))
    inputs = torch.tensor(RNG.uniform(size=(2000, 3)))
    w = torch.tensor(weights, dtype=torch.float64, requires_grad=True)
    assert torch.relu(inputs @ w + bias + shift).sum() == 0
    (gradient,) = torch.autograd.grad(torch.relu(inputs @ w + bias + shift).sum(), w)
    assert (gradient == 0).all()
    assert torch.relu(torch.tensor([1.0, 0, 1]).double() @ w + bias + shift + 1e-6) > 0


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: d.signed_step((1, 0)), "must hold 1 or -1"),
        (lambda: d.signed_step(()), "must hold 1 or -1"),
        (lambda: d.random_signs(()), "values is empty"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
