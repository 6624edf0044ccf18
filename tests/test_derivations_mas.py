"""The algebra of the MAS chapter against oracles that share no code with it: autograd, sampling, cl_lib."""

import math

import numpy as np
import pytest
import sympy as sp
import torch
from torch import nn

from cl_lib import derivations as d
from cl_lib.importance import mas

F64 = torch.float64


def same(pair):
    return sp.simplify(pair[0] - pair[1]) == 0


def gradient(function, *values):
    points = [torch.tensor(float(v), dtype=F64, requires_grad=True) for v in values]
    return [g.item() for g in torch.autograd.grad(function(*points), points)]


def linear(weights):
    layer = nn.Linear(2, 2, bias=False).to(F64)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights))
    return layer


def test_a_small_step_moves_the_output_by_its_slope():
    series, linear_part = d.taylor_step()
    assert same((series, linear_part))
    v, w, x, d_v, d_w, eps = (sp.Symbol(s, real=True) for s in ("v", "w", "x", "d_v", "d_w", "epsilon"))
    values = {v: 0.7, w: -1.1, x: 0.9, d_v: 2.0, d_w: -3.0}
    slopes = gradient(lambda v, w: v * torch.tanh(w * 0.9), 0.7, -1.1)
    expected = 2.0 * slopes[0] - 3.0 * slopes[1]
    assert float(series.subs(values).coeff(eps)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_the_squared_norm_needs_one_pass(n_outputs):
    derivative, product = d.squared_norm_gradient(n_outputs)
    assert same((derivative, product))
    theta = sp.Symbol("theta", real=True)
    powers = {sp.Function(f"F{k + 1}")(theta): theta ** (k + 1) for k in range(n_outputs)}
    found = float(derivative.subs(powers).doit().subs(theta, 0.7))
    (expected,) = gradient(lambda t: sum(t ** (2 * k + 2) for k in range(n_outputs)), 0.7)
    assert found == pytest.approx(expected)


def test_a_turn_is_seen_by_the_jacobian_only():
    turned = d.turning_output()
    a, b = sp.symbols("a b", real=True)
    assert same((turned["jacobian"], a**2 + b**2)) and turned["norm"] == 0

    def norm(t):
        return (torch.cos(t) * 2 - torch.sin(t) * 3) ** 2 + (torch.sin(t) * 2 + torch.cos(t) * 3) ** 2

    assert abs(gradient(norm, 0.4)[0]) < 1e-12


def test_a_linear_net_multiplies_output_and_input():
    net = d.linear_net()
    assert (net["squared norm"] - net["hebb"]).expand() == sp.zeros(2, 2)
    weights, x = [[0.5, -2.0], [1.5, 0.25]], [3.0, -1.0]
    at = {sp.Symbol(f"W{k + 1}{j + 1}", real=True): weights[k][j] for k in range(2) for j in range(2)}
    at |= {sp.Symbol(f"x{j + 1}", real=True): x[j] for j in range(2)}
    measured = mas(linear(weights), torch.tensor([x], dtype=F64))["weight"].numpy()
    found = np.abs(np.array(net["squared norm"].subs(at), dtype=float))
    assert found == pytest.approx(measured)
    jacobian = np.array(net["jacobian"].subs(at), dtype=float)
    assert jacobian == pytest.approx(np.array([[9.0, 1.0], [9.0, 1.0]]))


@pytest.mark.parametrize("point", [(1, 1, 0), (2, -3, 5), (0, 4, 1)])
def test_importance_in_the_three_weight_world(point):
    found = d.mas_importance(d.THETA[:2], point)
    slopes = gradient(lambda a, b, c: a**2 + b**2 + 0 * c, *point)
    assert [float(f) for f in found] == pytest.approx([abs(s) for s in slopes])
    shared = d.mas_importance((d.THETA[0], d.THETA[1] + d.THETA[2]), point)
    slopes = gradient(lambda a, b, c: a**2 + (b + c) ** 2, *point)
    assert [float(f) for f in shared] == pytest.approx([abs(s) for s in slopes])


def test_importance_refuses_a_point_of_two_weights():
    with pytest.raises(ValueError, match="point has 2 weights"):
        d.mas_importance(d.THETA[:2], (1, 1))


def test_the_fisher_of_a_gaussian_output_by_sampling():
    both = d.gaussian_fisher()
    assert same((both["fisher"], both["jacobian"]))
    slopes = np.array([0.6, -1.7])
    scores = np.random.default_rng(0).standard_normal((200_000, 2)) @ slopes
    at = dict(zip(sp.symbols("a b", real=True), slopes, strict=True))
    assert float(both["fisher"].subs(at)) == pytest.approx((scores**2).mean(), rel=0.02)


def test_the_absolute_value_is_the_root_of_the_square():
    absolute, root = d.absolute_and_square()
    s = sp.Symbol("s", positive=True)
    assert float((absolute / root).subs(s, 3)) == pytest.approx(math.sqrt(2 / math.pi))
    g = 3 * np.random.default_rng(0).standard_normal(200_000)
    assert float(absolute.subs(s, 3)) == pytest.approx(np.abs(g).mean(), rel=0.02)


@pytest.mark.parametrize("weight", [-1.3, 0.4, 2.0])
def test_a_logistic_unit_by_autograd(weight):
    unit = d.mas_of_logistic()
    assert all(same(pair) for pair in unit.values())
    x_value = 1.5
    at = {sp.Symbol("w", real=True): weight, sp.Symbol("x", positive=True): x_value}
    found = {name: float(pair[1].subs(at)) for name, pair in unit.items()}
    (logits,) = gradient(lambda w: (w * x_value) ** 2, weight)
    assert found["logits"] == pytest.approx(logits)

    def probabilities(w):
        p = torch.sigmoid(w * x_value)
        return p**2 + (1 - p) ** 2

    assert found["probabilities"] == pytest.approx(gradient(probabilities, weight)[0])
    p = 1 / (1 + math.exp(-weight * x_value))
    (one,) = gradient(lambda w: nn.functional.logsigmoid(w * x_value), weight)
    (zero,) = gradient(lambda w: nn.functional.logsigmoid(-w * x_value), weight)
    assert found["absolute Fisher"] == pytest.approx(p * abs(one) + (1 - p) * abs(zero))


def test_a_relu_layer_is_hebbian():
    pairs = d.hebbian_layer()
    assert set(pairs) == {"fires", "silent"}
    assert all(gradient_ == product for gradient_, product in pairs.values())
    theta = sp.symbols("theta1:3", real=True)
    x = sp.symbols("x1:3", real=True)
    for name, weights in (("fires", (2.0, 0.5)), ("silent", (-2.0, 0.5))):
        at = dict(zip((*theta, *x), (*weights, 0.8, 0.3), strict=True))
        slopes = gradient(lambda a, b: torch.relu(a * 0.8 + b * 0.3) ** 2, *weights)
        assert [float(g) for g in pairs[name][0].subs(at)] == pytest.approx(slopes)


@pytest.mark.parametrize(
    ("gradients", "expected"), [((3, -3), (0, 3)), ((1, 2), (1.5, 1.5)), ((-4,), (4, 4))]
)
def test_signs_cancel_in_a_batch(gradients, expected):
    late, early = d.batch_cancels(gradients)
    assert (float(late), float(early)) == expected and late <= early


def test_a_batch_has_at_least_one_gradient():
    with pytest.raises(ValueError, match="gradients is empty"):
        d.batch_cancels(())


def test_importance_grows_with_the_square_of_the_outputs():
    assert same(d.scaled_outputs())
    weights, x = [[0.5, -2.0], [1.5, 0.25]], torch.tensor([[3.0, -1.0]], dtype=F64)
    large = linear([[10 * w for w in row] for row in weights])
    # F = 10 G(theta): the importance for theta is 10 times that for the layer's own weight 10 theta.
    assert (10 * mas(large, x)["weight"]).numpy() == pytest.approx(
        100 * mas(linear(weights), x)["weight"].numpy()
    )
