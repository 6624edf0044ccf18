"""The algebra of selfless learning against autograd, finite optimisation, enumeration and quadrature."""

import itertools

import numpy as np
import pytest
import sympy as sp
import torch
from scipy import integrate, optimize

from cl_lib import derivations as d
from cl_lib.methods import SLNI, SNI
from cl_lib.methods.base import Batch
from cl_lib.models import MLP
from cl_lib.population import Population

F64 = torch.float64
HALF = sp.Rational(1, 2)
FIFTHS = (sp.Rational(4, 5), sp.Rational(3, 5))
UNITS = [(1, 0, (1, 0)), (1, 1, (HALF, HALF)), (1, 1, (1, 0)), (*FIFTHS, FIFTHS), (2, HALF, (HALF / 2, 1))]


def loss_a(theta, h):
    return ((theta[0] - 1) ** 2 + (h[0] * theta[1] + h[1] * theta[2] - 1) ** 2) / 2


def loss_b(theta):
    return ((theta[0] - 1) ** 2 + (theta[1] + theta[2] - 9) ** 2) / 2


def smallest(function, start):
    return optimize.minimize(function, start, method="BFGS", options={"gtol": 1e-9}).x


# --- two ReLU units


def test_a_unit_that_is_silent_makes_the_three_weight_world():
    assert sp.expand(d.loss_a_of_units(1, 0) - d.loss_a()) == 0
    assert tuple(d.fisher_of_units(1, 0).diagonal()) == d.fisher_diagonal_gaussian()


@pytest.mark.parametrize("h", [(1, 0), (0.8, 0.6), (2, 0.5)])
def test_loss_of_units(h):
    theta = np.random.default_rng(0).normal(size=3)
    assert float(d.value_at(d.loss_a_of_units(*h), theta)) == pytest.approx(loss_a(theta, h))


@pytest.mark.parametrize("h", [(1, 0), (0.8, 0.6), (2, 0.5)])
def test_fisher_of_units_is_the_gauss_newton_matrix(h):
    """For unit noise the Fisher is J'J, with the Jacobian of the two outputs by autograd."""
    outputs = lambda t: torch.stack([t[0], h[0] * t[1] + h[1] * t[2]])  # noqa: E731
    jacobian = torch.autograd.functional.jacobian(outputs, torch.zeros(3, dtype=F64))
    found = np.array(d.fisher_of_units(*h).tolist(), dtype=float)
    np.testing.assert_allclose(found, (jacobian.T @ jacobian).numpy(), atol=1e-12)


DIAGONAL, WHOLE = ([(*unit, whole) for unit in UNITS] for whole in (False, True))
UNIQUE = DIAGONAL + [unit for unit in WHOLE if unit[0] != unit[1]]


@pytest.mark.parametrize("lam", [HALF, 5])
@pytest.mark.parametrize(("h1", "h2", "readout", "whole"), UNIQUE)
def test_after_b_is_where_an_optimiser_arrives(h1, h2, readout, whole, lam):
    h, anchor = np.array([h1, h2], dtype=float), np.array([1, *readout], dtype=float)
    jacobian = np.array([[1, 0, 0], [0, *h]])
    fisher = jacobian.T @ jacobian
    fisher = fisher if whole else np.diag(np.diag(fisher))
    end = smallest(lambda t: loss_b(t) + float(lam) / 2 * (t - anchor) @ fisher @ (t - anchor), anchor)
    found = d.after_b(h1, h2, readout, sp.sympify(lam), whole=whole)
    np.testing.assert_allclose(np.array(found["end"], dtype=float), end, rtol=1e-3, atol=1e-5)
    assert float(found["A"]) == pytest.approx(loss_a(end, h), rel=1e-3, abs=1e-6)
    assert float(found["B"]) == pytest.approx(loss_b(end), rel=1e-3, abs=1e-6)


def test_sparse_weights_leave_no_more_room_than_spread_ones():
    sparse, spread = d.after_b(1, 1, (1, 0)), d.after_b(1, 1, (HALF, HALF))
    assert all(sp.simplify(sparse[task] - spread[task]) == 0 for task in "AB")


def test_after_b_refuses_a_readout_that_does_not_solve_a():
    with pytest.raises(ValueError, match=r"readout is \(1, 1\), which does not solve A"):
        d.after_b(1, 1, (1, 1))


def test_after_b_refuses_a_valley():
    with pytest.raises(ValueError, match="not unique: take units that differ, or the diagonal"):
        d.after_b(1, 1, (HALF, HALF), whole=True)


def test_unit_circle():
    t = sp.Symbol("t", positive=True)
    c, s = d.unit_circle(t)
    assert sp.simplify(c**2 + s**2) == 1
    assert d.unit_circle(0) == (1, 0)
    assert sp.simplify(sp.Matrix(d.unit_circle(sp.sqrt(2) - 1)) - sp.ones(2, 1) / sp.sqrt(2)).is_zero_matrix


@pytest.mark.parametrize("t", [sp.Rational(1, 10), sp.Rational(1, 4), sp.Rational(2, 5)])
@pytest.mark.parametrize("lam", [HALF, 1, 7])
def test_losses_depend_on_the_inhibition_alone(t, lam):
    c, s = d.unit_circle(t)
    end = d.after_b(c, s, (c, s), sp.sympify(lam))
    for found, expected in zip(d.losses_by_inhibition(c * s, lam), (end["A"], end["B"]), strict=True):
        assert sp.simplify(found - expected) == 0


@pytest.mark.parametrize("r", [0.05, 0.3, 0.5])
def test_best_strength_against_a_search(r):
    total = sp.lambdify(d.LAM, sum(d.losses_by_inhibition(sp.Float(r))))
    found = optimize.minimize_scalar(total, bounds=(1e-3, 50), method="bounded", options={"xatol": 1e-9})
    best, least = d.best_strength(sp.Float(r))
    assert float(best) == pytest.approx(found.x, rel=1e-4)
    assert float(least) == pytest.approx(found.fun, rel=1e-9)


# --- inhibition


@pytest.mark.parametrize("local", [False, True])
def test_inhibition_is_the_one_of_cl_lib(local):
    h = torch.rand(1, 3, 4, generator=torch.Generator().manual_seed(0), dtype=F64)
    weights = [[np.exp(-((i - j) ** 2) / (2 * (4 / 6) ** 2)) for j in range(4)] for i in range(4)]
    method = SLNI(1.0) if local else SNI(1.0)
    people = Population([MLP(2, (4,), 2).to(F64)])
    expected = method.extra_loss(None, people, Batch(torch.zeros(0), torch.zeros(0), [h]))
    found = d.inhibition(sp.Matrix(h[0].tolist()), sp.Matrix(weights) if local else None)
    assert float(found) == pytest.approx(float(expected), rel=1e-12)


def test_inhibition_is_the_off_diagonal_of_the_fisher():
    a, b = sp.symbols("a b", positive=True)
    fisher = d.fisher_of_units(a, b)
    off_diagonal = sum(fisher[i, j] for i, j in itertools.permutations(range(3), 2))
    assert sp.expand(d.inhibition(sp.Matrix([[a, b]])) - off_diagonal) == 0


@pytest.mark.parametrize(("m", "n"), [(1, 2), (2, 3), (3, 4)])
def test_gradient_by_sympy_and_by_autograd(m, n):
    left, right = d.inhibition_gradient(m, n)
    assert (left - right).is_zero_matrix
    generator = torch.Generator().manual_seed(n)
    h = torch.rand(m, n, generator=generator, dtype=F64, requires_grad=True)
    w = torch.rand(n, n, generator=generator, dtype=F64)
    w = w + w.T
    pairs = itertools.permutations(range(n), 2)
    (grad,) = torch.autograd.grad(sum((w[i, j] * h[:, i] * h[:, j]).sum() for i, j in pairs) / m, h)
    values = {f"h_{i + 1}^{k + 1}": float(h[k, i].detach()) for k in range(m) for i in range(n)}
    values |= {f"w_{i + 1}{j + 1}": float(w[i, j]) for i in range(n) for j in range(i, n)}
    numbers = left.subs({s: values[s.name] for s in left.free_symbols})
    np.testing.assert_allclose(np.array(numbers.tolist(), dtype=float), grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("n", [2, 3, 6])
def test_competition_against_numpy(n):
    expected = np.linalg.eigvalsh(2 * (np.ones((n, n)) - np.eye(n)))
    found = sorted(float(value) for value, times in d.competition(n).items() for _ in range(times))
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize(("a", "b"), [(0, 0), (0.5, 2), (3, 1)])
def test_discounts(a, b):
    total, least, ratio = (float(value) for value in d.discounts(sp.Float(a), sp.Float(b)))
    assert total == pytest.approx(np.exp(-a) * np.exp(-b))
    assert least == pytest.approx(min(np.exp(-a), np.exp(-b)))
    assert ratio == pytest.approx(total / least)


@pytest.mark.parametrize("width", [0.05, 1 / 6, 1.0])
def test_neighbourhood_share_against_quadrature_and_a_wide_layer(width):
    by_sympy, closed = (float(value) for value in d.neighbourhood_share(sp.Float(width)))
    square = integrate.dblquad(lambda v, u: np.exp(-((u - v) ** 2) / (2 * width**2)), 0, 1, 0, 1)[0]
    index = np.arange(2000)
    pairs = np.exp(-((index[:, None] - index) ** 2) / (2 * (width * 2000) ** 2))
    assert by_sympy == pytest.approx(closed) == pytest.approx(square, rel=1e-6)
    assert (pairs.sum() - 2000) / 2000**2 == pytest.approx(closed, rel=0.01)
