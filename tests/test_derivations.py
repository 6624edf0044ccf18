"""The algebra against oracles that share no code with it: autograd, SciPy, enumeration."""

import ast
import itertools
from pathlib import Path

import numpy as np
import pytest
import sympy as sp
import torch
from scipy import integrate, optimize

from cl_lib import derivations as d

F64 = torch.float64
XS, YS, OPTIMUM = (1, 1, 3), (1, 0, 1), sp.log(2)


def world_a(t):
    return ((t[0] - 1) ** 2 + (t[1] - 1) ** 2) / 2


def world_b(t):
    return ((t[0] - 1) ** 2 + (sum(t[1:]) - 9) ** 2) / 2


def numbers(point):
    return np.array(point, dtype=float)


def smallest(function, n):
    result = optimize.minimize(function, np.zeros(n), method="BFGS", options={"gtol": 1e-9})
    return result.x


def quadratic(hessian, centre):
    """Exact loss 1/2 (t - centre)' H (t - centre)."""
    return d.quadratic_penalty(sp.Matrix(hessian), tuple(centre), lam=1)


def torch_descent(loss, start, lr, steps):
    theta = torch.tensor(start, dtype=F64, requires_grad=True)
    optimizer, path = torch.optim.SGD([theta], lr=lr), [list(start)]
    for _ in range(steps):
        optimizer.zero_grad()
        loss(theta).backward()
        optimizer.step()
        path.append(theta.tolist())
    return np.array(path)


@pytest.mark.parametrize("path", sorted(Path(d.__file__).parent.glob("[!_]*.py")), ids=lambda p: p.stem)
def test_modules_need_sympy_and_each_other_only(path):
    tree = ast.parse(path.read_text("utf8"))
    imports = [ast.unparse(n) for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom))]
    assert "import sympy as sp" in imports
    assert [i for i in imports if i != "import sympy as sp" and "cl_lib.derivations" not in i] == []


# --- the three-weight world


@pytest.mark.parametrize("n", [2, 3])
def test_losses_are_those_of_the_world(n):
    point = np.random.default_rng(n).normal(size=n)
    assert float(d.value_at(d.loss_a(), point)) == pytest.approx(world_a(point))
    assert float(d.value_at(d.loss_b(n), point)) == pytest.approx(world_b(point))


def test_world_has_two_or_three_weights():
    with pytest.raises(ValueError, match="n_weights is 4; the world has 2 or 3 weights"):
        d.loss_b(4)


@pytest.mark.parametrize(("n", "best", "loss"), [(2, (1, 5), 16), (3, (1, 1, 8), 0)])
def test_joint_minimiser(n, best, loss):
    assert d.joint_minimiser(n) == best
    assert d.value_at(d.loss_a() + d.loss_b(n), best) == loss
    found = smallest(lambda t: world_a(t) + world_b(t), n)
    np.testing.assert_allclose(found, numbers(best), atol=1e-6)


def test_mean_is_best():
    a, b = sp.symbols("a b", real=True)
    best, curvature = d.mean_is_best()
    assert sp.simplify(best - (a + b) / 2) == 0
    assert curvature == 2
    numeric = optimize.minimize_scalar(lambda t: (t - 1) ** 2 + (t - 9) ** 2)
    assert float(best.subs({a: 1, b: 9})) == pytest.approx(numeric.x) == pytest.approx(5)


@pytest.mark.parametrize(("start", "end", "loss_a"), [((1, 1), (1, 9), 32), ((1, 1, 0), (1, 5, 4), 8)])
def test_training_on_b_forgets_a(start, end, loss_a):
    found = d.gradient_flow_limit(d.loss_b(len(start)), start)
    assert found == end
    assert d.value_at(d.loss_a(), found) == loss_a
    assert d.value_at(d.loss_b(len(start)), found) == 0
    path = torch_descent(world_b, tuple(map(float, start)), 0.1, 400)
    np.testing.assert_allclose(path[-1], numbers(end), atol=1e-9)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_gradient_flow_limit_is_where_descent_ends(rank):
    rng = np.random.default_rng(rank)
    root, centre, start = rng.integers(-3, 4, (rank, 3)), rng.integers(-5, 6, 3), (2, -1, 4)
    hessian = root.T @ root
    found = numbers(d.gradient_flow_limit(quadratic(hessian, centre), start))
    # one step multiplies the distance to the centre by this matrix; take 20,000
    step = np.eye(3) - 0.9 / np.linalg.norm(hessian, 2) * hessian
    end = centre + np.linalg.matrix_power(step, 20_000) @ (start - centre)
    np.testing.assert_allclose(found, end, atol=1e-6)


def test_gradient_flow_limit_refuses_what_it_cannot_follow():
    t1, t2, _ = d.THETA
    with pytest.raises(ValueError, match="quadratic in the 2 weights of start"):
        d.gradient_flow_limit(t1**4 + t2**2, (1, 1))
    with pytest.raises(ValueError, match="quadratic in the 2 weights of start"):
        d.gradient_flow_limit(d.loss_b(3), (1, 1))
    with pytest.raises(ValueError, match="must be convex and have a minimum"):
        d.gradient_flow_limit(t1**2 - t2**2, (1, 1))
    with pytest.raises(ValueError, match="must be convex and have a minimum"):
        d.gradient_flow_limit(t1**2 + t2, (1, 1))


def test_gradient_descent_follows_torch():
    path = d.gradient_descent(d.loss_b(), (1.0, 1.0, 0.0), 0.3, 15)
    expected = torch_descent(world_b, (1.0, 1.0, 0.0), 0.3, 15)
    assert path.shape == (16, 3)
    np.testing.assert_allclose(np.array(path, dtype=float), expected, rtol=1e-12)


def test_gradient_descent_is_exact_for_an_exact_rate():
    path = d.gradient_descent(d.loss_b(), (1, 1, 0), sp.Rational(1, 4), 3)
    # the distance to (1, 5, 4) halves each time: curvature 2, rate 1/4
    left = [sp.Rational(4, 2**k) for k in range(4)]
    assert path.tolist() == [[1, 5 - gap, 4 - gap] for gap in left]


def test_gradient_descent_follows_any_loss():
    path = d.gradient_descent(d.THETA[0] ** 4, (1,), sp.Rational(1, 8), 2)
    assert path.tolist() == [[1], [sp.Rational(1, 2)], [sp.Rational(7, 16)]]


# --- importance and penalty


def test_fisher_of_task_a():
    assert d.fisher_diagonal_gaussian() == (1, 1, 0)
    # expectation by quadrature, score by autograd
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    theta = torch.tensor([0.3, -1.2, 2.0], dtype=F64, requires_grad=True)
    total = np.zeros(3)
    for (e1, q1), (e2, q2) in itertools.product(zip(nodes, weights, strict=True), repeat=2):
        y = theta.detach()[:2] + torch.tensor([e1, e2])
        normal = torch.distributions.Normal(theta[:2], 1.0)
        (score,) = torch.autograd.grad(normal.log_prob(y).sum() + 0 * theta.sum(), theta)
        total += q1 * q2 / (2 * np.pi) * score.numpy() ** 2
    np.testing.assert_allclose(total, [1, 1, 0], atol=1e-12)
    hessian = torch.autograd.functional.hessian(world_a, theta.detach())
    np.testing.assert_allclose(hessian, np.diag([1.0, 1.0, 0.0]))


def test_ewc_finds_the_perfect_solution_for_every_strength():
    importance = d.fisher_diagonal_gaussian()
    found = d.penalised_minimiser(d.loss_b(), importance, (1, 1, 0))
    assert found == (1, 1, 8)
    assert d.value_at(d.loss_a(), found) == d.value_at(d.loss_b(), found) == 0
    assert d.penalised_minimiser(d.loss_b(), importance, (1, 1, 0), lam=0) == (1, 5, 4)
    hessian = sp.hessian(d.loss_b() + d.quadratic_penalty(importance, (1, 1, 0)), d.THETA)
    assert sp.expand(hessian.det() - d.LAM * (1 + d.LAM)) == 0


def test_equal_importance_has_no_good_strength():
    found = d.penalised_minimiser(d.loss_b(), (1, 1, 1), (1, 1, 0))
    losses = d.value_at(d.loss_a(), found), d.value_at(d.loss_b(), found)
    assert sp.simplify(losses[0] - 32 / (d.LAM + 2) ** 2) == 0
    assert sp.simplify(losses[1] - 32 * d.LAM**2 / (d.LAM + 2) ** 2) == 0
    assert sp.solve(sum(losses), d.LAM) == []


@pytest.mark.parametrize("lam", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("importance", [(1, 1, 0), (1, 1, 1), (0.5, 2, 3)])
def test_penalised_minimiser_against_a_search(importance, lam):
    anchor, exact = np.array([1.0, 1.0, 0.0]), [sp.nsimplify(f) for f in importance]
    found = smallest(lambda t: world_b(t) + lam / 2 * np.sum(np.array(importance) * (t - anchor) ** 2), 3)
    point = d.penalised_minimiser(d.loss_b(), exact, (1, 1, 0))
    np.testing.assert_allclose(numbers([sp.sympify(v).subs(d.LAM, lam) for v in point]), found, atol=1e-5)


def test_singular_penalty_is_decided_by_descent_from_the_anchor():
    found = d.penalised_minimiser(d.loss_b(), (1, 0, 0), (1, 1, 0))
    assert found == (1, 5, 4)


def test_penalty_refuses_another_number_of_weights():
    with pytest.raises(ValueError, match="importance has 2 weights, anchor 3"):
        d.quadratic_penalty((1, 1), (1, 1, 0))


def test_whole_hessian_is_joint_training():
    rng = np.random.default_rng(0)
    roots, (a, b) = rng.integers(-3, 4, (2, 3, 3)), rng.integers(-5, 6, (2, 3))
    h_a, h_b = (r.T @ r + np.eye(3, dtype=int) for r in roots)
    found = d.penalised_minimiser(quadratic(h_b, b), sp.Matrix(h_a), tuple(a), lam=1)
    joint = np.linalg.solve(h_a + h_b, h_a @ a + h_b @ b)
    np.testing.assert_allclose(numbers(found), joint, rtol=1e-12)
    diagonal = d.penalised_minimiser(quadratic(h_b, b), np.diag(h_a), tuple(a), lam=1)
    assert np.abs(numbers(diagonal) - joint).max() > 0.1


def test_rotated_bowl_closed_form():
    c, lam = sp.Symbol("c", real=True), d.LAM
    bowl = d.rotated_bowl(c)
    theta = 1 / (1 + lam * (1 - c**2))
    assert sp.simplify(bowl["full"][0] - theta) == 0
    assert sp.simplify(bowl["full"][1] + c * theta) == 0
    assert bowl["diagonal"] == (1 / (lam + 1), 0)


def test_rotated_bowl_against_a_search():
    bowl, hessian = d.rotated_bowl(sp.Rational(4, 5), lam=1), np.array([[1, 0.8], [0.8, 1]])
    for name, kept in {"full": hessian, "diagonal": np.eye(2)}.items():
        found = smallest(lambda t, kept=kept: (t[0] - 1) ** 2 / 2 + t @ kept @ t / 2, 2)
        np.testing.assert_allclose(numbers(bowl[name]), found, atol=1e-6)
        at = d.value_at(bowl["loss_a"], bowl[name])
        assert float(at) == pytest.approx(found @ hessian @ found / 2, abs=1e-6)
    total = {
        name: d.value_at(bowl["loss_a"] + (d.THETA[0] - 1) ** 2 / 2, bowl[name])
        for name in ("full", "diagonal")
    }
    assert total == {"full": sp.Rational(9, 68), "diagonal": sp.Rational(1, 4)}


# --- several tasks


def test_merge_is_the_sum():
    f1, a1, f2, a2, theta = symbols = sp.symbols("F1 a1 F2 a2 theta")
    importance, anchor, constant = d.merge(f1, a1, f2, a2)
    assert constant == f1 * f2 * (a1 - a2) ** 2 / (f1 + f2)
    separate = f1 * (theta - a1) ** 2 + f2 * (theta - a2) ** 2
    merged = importance * (theta - anchor) ** 2 + constant
    assert sp.simplify(separate - merged) == 0
    values = dict(zip(symbols, np.random.default_rng(1).uniform(1, 3, 5), strict=True))
    assert float(merged.subs(values)) == pytest.approx(float(separate.subs(values)))
    assert d.merge(1, 1, 1, 9) == (2, 5, 32)
    assert d.merge(2, 7, 0, 5) == (2, 7, 0)


def test_merge_refuses_two_weights_without_importance():
    with pytest.raises(ValueError, match=r"f1 \+ f2 is 0"):
        d.merge(0, 1, 0, 2)


def test_latest_anchor_is_joint_and_separate_counts_a_twice():
    anchors = d.two_anchors_or_one()
    f_a, f_b = sp.symbols("F_A F_B", positive=True)
    a, c = sp.symbols("a c", real=True)
    assert anchors["latest"] == anchors["joint"]
    off = f_a * f_b * (a - c) / (f_a + f_b) ** 2
    assert sp.simplify(anchors["separate"] - anchors["joint"] - off) == 0


def test_anchors_against_a_search():
    f_a, f_b, a, c = 2.0, 0.7, -1.0, 3.0
    names = {"F_A": f_a, "F_B": f_b, "a": a, "c": c}

    def search(f):
        return optimize.minimize_scalar(f, options={"xtol": 1e-12}).x

    b = search(lambda t: f_a * (t - a) ** 2 + f_b * (t - c) ** 2)
    expected = {
        "joint": b,
        "latest": search(lambda t: (f_a + f_b) * (t - b) ** 2),
        "separate": search(lambda t: f_a * (t - a) ** 2 + f_b * (t - b) ** 2),
    }
    for name, anchor in d.two_anchors_or_one().items():
        value = anchor.subs({s: names[s.name] for s in anchor.free_symbols})
        assert float(value) == pytest.approx(expected[name], abs=1e-6)


# --- Bayes and Laplace


def test_sequential_bayes_equals_joint():
    (mean, precision), (joint_mean, joint_precision) = d.sequential_equals_joint()
    assert sp.simplify(mean - joint_mean) == 0
    assert sp.simplify(precision - joint_precision) == 0
    assert {s.name for s in mean.free_symbols} == {"m", "tau", "x1", "x2", "x3"}


def test_gaussian_posterior_by_bayes_rule_on_a_grid():
    m, tau, xs = 0.5, 2.0, (1.0, -2.0, 0.4)
    grid = np.linspace(-6, 6, 4001)
    weight = np.exp(-tau / 2 * (grid - m) ** 2)
    for x in xs:
        weight = weight * np.exp(-((grid - x) ** 2) / 2)
    weight /= weight.sum()
    mean = (weight * grid).sum()
    precision = 1 / (weight * (grid - mean) ** 2).sum()
    found = numbers(d.gaussian_posterior(m, tau, xs))
    np.testing.assert_allclose(found, [mean, precision], rtol=1e-9)


def nll(w, x, y):
    """Negative log-likelihood of a logistic unit by torch's own function."""
    return torch.nn.functional.binary_cross_entropy_with_logits(w * x, y)


def data(seed, n=7):
    rng = np.random.default_rng(seed)
    xs = np.round(rng.normal(size=n) * 2, 2)
    return xs, (rng.uniform(size=n) < 1 / (1 + np.exp(-0.8 * xs))).astype(int)


def test_negative_log_posterior_against_torch():
    xs, ys = data(0)
    w = torch.tensor(0.37, dtype=F64)
    expected = sum(nll(w, x, y) for x, y in torch.tensor(np.stack([xs, ys], 1))) + 1.5 / 2 * w**2
    assert float(d.negative_log_posterior(xs, ys, 0.37, 1.5)) == pytest.approx(expected.item())
    assert d.negative_log_posterior((1,), (1,), 0, 1) == sp.log(2)
    with pytest.raises(ValueError, match=r"ys is \[1, -1\], but labels must be 0 or 1"):
        d.negative_log_posterior((1, 2), (1, -1), 0)


def test_laplace_precision_is_curvature_at_the_mode():
    (xs, ys), tau = data(1), 0.7
    pairs = torch.tensor(np.stack([xs, ys], 1))

    def loss(w):
        return sum(nll(w, x, y) for x, y in pairs) + tau / 2 * w**2

    mode = optimize.minimize_scalar(lambda w: loss(torch.tensor(w, dtype=F64)).item()).x
    curvature = torch.autograd.functional.hessian(loss, torch.tensor(mode, dtype=F64)).item()
    precision = float(d.laplace_precision(xs, ys, mode, tau))
    assert precision == pytest.approx(curvature, rel=1e-9)
    exact = float(d.fisher_estimates(xs, ys, mode)["exact"])
    assert precision == pytest.approx(len(xs) * exact + tau, rel=1e-9)


def test_laplace_gaussian_approaches_the_posterior_with_data():
    errors = []
    for copies in (1, 16):
        xs, ys = XS * copies, YS * copies
        loss = sp.lambdify(w := sp.Symbol("w"), d.negative_log_posterior(xs, ys, w, 0.1), "numpy")
        mode = optimize.minimize_scalar(loss).x
        precision = float(d.laplace_precision(xs, ys, mode, 0.1))

        def posterior(w, loss=loss, mode=mode):
            return np.exp(loss(mode) - loss(w))

        mass = integrate.quad(posterior, mode - 8, mode + 8, points=[mode])[0]
        errors.append(abs(mass / np.sqrt(2 * np.pi / precision) - 1))
    assert errors[1] < errors[0] / 4
    assert errors[1] < 0.03


# --- the Fisher and its estimators


def test_fisher_of_a_logistic_unit_is_the_hessian():
    proof = d.fisher_logistic()
    assert len(proof["hessian"]) == 2
    for side in (proof["fisher"], *proof["hessian"]):
        assert sp.simplify(side - proof["closed"]) == 0
    values = {sp.Symbol("w", real=True): 0.6, sp.Symbol("x", real=True): -1.7}
    w, x = torch.tensor(0.6, dtype=F64, requires_grad=True), torch.tensor(-1.7, dtype=F64)
    p, expected = torch.sigmoid(w * x).item(), 0.0
    for y, chance in ((0.0, 1 - p), (1.0, p)):
        (g,) = torch.autograd.grad(nll(w, x, torch.tensor(y, dtype=F64)), w)
        expected += chance * g.item() ** 2
    assert float(proof["fisher"].subs(values)) == pytest.approx(expected)


@pytest.mark.parametrize("x", [(1,), sp.symbols("x1:3", real=True)])
def test_fisher_of_a_softmax_is_the_hessian(x):
    proof = d.fisher_softmax(x)
    assert len(proof["hessian"]) == 3
    assert all(side == proof["closed"] for side in (proof["fisher"], *proof["hessian"]))


def test_fisher_of_logits_is_diag_p_minus_pp():
    p1, p2 = sp.symbols("p1 p2", positive=True)
    p = sp.Matrix([p1, p2, 1 - p1 - p2])
    assert (d.fisher_softmax()["fisher"] - (sp.diag(*p) - p * p.T)).expand() == sp.zeros(3)


def test_fisher_of_a_softmax_against_autograd():
    weights = torch.randn(3, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    inputs = (0.8, -1.3)

    def log_p(flat, y):
        return (flat.reshape(3, 2) @ torch.tensor(inputs, dtype=F64)).log_softmax(0)[y]

    flat = weights.flatten()
    p = torch.stack([log_p(flat, y) for y in range(3)]).exp()
    scores = [torch.func.grad(log_p)(flat, y) for y in range(3)]
    expected = sum(q * torch.outer(s, s) for q, s in zip(p, scores, strict=True))
    x = sp.symbols("x1:3", real=True)
    proof = d.fisher_softmax(x)
    values = dict(zip(x, inputs, strict=True))
    values |= dict(zip(sp.symbols("p1 p2", positive=True), p.tolist()[:2], strict=True))
    np.testing.assert_allclose(np.array(proof["fisher"].subs(values), dtype=float), expected, atol=1e-12)
    for y in range(3):
        hessian = torch.autograd.functional.hessian(lambda v, y=y: -log_p(v, y), flat)
        found = np.array(proof["hessian"][y].subs(values), dtype=float)
        np.testing.assert_allclose(found, hessian, atol=1e-12)


def batch_one_loop(xs, ys, w):
    """Gradient of log p for each sample and each label, one autograd call at a time: (N, 2)."""
    weight = torch.tensor(float(w), dtype=F64, requires_grad=True)

    def gradient(x, y):
        x, y = torch.tensor([float(x), float(y)], dtype=F64)
        return torch.autograd.grad(-nll(weight, x, y), weight)[0].item()

    table = np.array([[gradient(x, y) for y in (0, 1)] for x in xs])
    chances = 1 / (1 + np.exp(-float(w) * np.array(xs, dtype=float)))
    return table, table[range(len(xs)), list(ys)], chances


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_fisher_estimates_against_a_batch_one_loop(seed, batch_size):
    xs, ys = data(seed)
    w = 0.45
    table, true, p = batch_one_loop(xs, ys, w)
    chances = np.stack([1 - p, p], 1)
    draws = np.array(list(itertools.product((0, 1), repeat=len(xs))))
    rows = np.arange(len(xs))
    likely = chances[rows, draws].prod(1)
    estimates = (table[rows, draws] ** 2).mean(1)
    mean = (likely * estimates).sum()
    batches = [true[i : i + batch_size].mean() ** 2 for i in range(0, len(xs), batch_size)]
    expected = {
        "exact": (chances * table**2).sum(1).mean(),
        "sampled_mean": mean,
        "sampled_variance": (likely * (estimates - mean) ** 2).sum(),
        "empirical": (true**2).mean(),
        "batched": np.mean(batches),
        "summed": true.sum() ** 2,
    }
    found = d.fisher_estimates(xs, ys, w, batch_size)
    assert {name: float(v) for name, v in found.items()} == pytest.approx(expected, rel=1e-10)


def test_fisher_estimates_of_the_example():
    found = d.fisher_estimates(XS, YS, OPTIMUM)
    fractions = {"exact": (4, 9), "sampled_mean": (4, 9), "sampled_variance": (44, 81)}
    fractions |= {"empirical": (2, 9), "batched": (5, 72), "summed": (0, 1)}
    assert found == {name: sp.Rational(*value) for name, value in fractions.items()}
    loss = sp.lambdify(w := sp.Symbol("w"), d.negative_log_posterior(XS, YS, w), "numpy")
    assert optimize.minimize_scalar(loss).x == pytest.approx(float(OPTIMUM), abs=1e-6)


def test_fisher_estimates_of_a_symbolic_weight():
    w = sp.Symbol("w", real=True)
    found = d.fisher_estimates(XS, YS, w)
    assert sp.simplify(found["exact"] - found["sampled_mean"]) == 0
    p = [d.sigmoid(w * x) for x in XS]
    variance = sum(q * (1 - q) * (1 - 2 * q) ** 2 * x**4 for x, q in zip(XS, p, strict=True)) / 9
    assert sp.simplify(found["sampled_variance"] - variance) == 0


def test_batches_of_one_are_empirical_and_one_batch_is_the_sum():
    one = d.fisher_estimates(XS, YS, sp.log(3), batch_size=1)
    whole = d.fisher_estimates(XS, YS, sp.log(3), batch_size=3)
    assert one["batched"] == one["empirical"]
    assert whole["batched"] == whole["summed"] / 9 != 0


def test_summed_is_zero_where_training_has_converged():
    xs, ys = data(3, 30)
    slope = sp.lambdify(w := sp.Symbol("w"), d.negative_log_posterior(xs, ys, w).diff(w), "numpy")
    optimum = optimize.brentq(slope, -5, 5, xtol=1e-14)
    found = d.fisher_estimates(xs, ys, optimum)
    assert float(found["summed"]) < 1e-20
    assert float(found["exact"]) > 0.1
    assert float(found["empirical"]) > 0.1


def test_fisher_estimates_refuses_ill_shaped_data():
    with pytest.raises(ValueError, match="xs has 2 samples, ys has 1 labels"):
        d.fisher_estimates((1, 2), (1,), 0)
    with pytest.raises(ValueError, match="xs has 0 samples"):
        d.fisher_estimates((), (), 0)
    with pytest.raises(ValueError, match="batch_size is 0; it must be at least 1"):
        d.fisher_estimates((1,), (1,), 0, batch_size=0)


def test_squares_at_a_stationary_point():
    square_of_sum, sum_of_squares = d.squares_at_a_stationary_point()
    assert square_of_sum == 0
    g = np.random.default_rng(2).normal(size=2)
    value = sum_of_squares.subs(dict(zip(sp.symbols("g1 g2", real=True), g, strict=True)))
    assert float(value) == pytest.approx(np.sum(np.array([*g, -g.sum()]) ** 2))


# --- steps and layers


def test_proximal_step():
    v, lr, lam, importance, anchor = symbols = sp.symbols("v eta lambda F a", positive=True)
    step = d.proximal_step(*symbols)
    closed = (v + lr * lam * importance * anchor) / (1 + lr * lam * importance)
    assert sp.simplify(step - closed) == 0
    numeric = optimize.minimize_scalar(
        lambda t: (t - 2) ** 2 / (2 * 0.1) + 50 / 2 * 3 * (t + 1) ** 2, options={"xtol": 1e-12}
    )
    assert float(d.proximal_step(2, 0.1, 50, 3, -1)) == pytest.approx(numeric.x, abs=1e-7)


def test_stable_steps():
    explicit, implicit = d.stable_steps()
    assert explicit == sp.Interval.open(0, 2)
    assert implicit == sp.Interval.open(0, sp.oo)


@pytest.mark.parametrize("s", [0.5, 1.9, 2.1, 40.0])
def test_steps_are_stable_where_the_proof_says(s):
    """Eta lambda F = s, with the anchor at 3 and a start at 4: plain steps by autograd."""
    explicit, implicit = d.stable_steps()
    path = torch_descent(lambda t: (s / 0.1 / 2 * (t - 3) ** 2).sum(), (4.0,), 0.1, 5)
    assert (abs(path[-1, 0] - 3) < 1) == (sp.Float(s) in explicit)
    theta = 4.0
    for _ in range(5):
        theta = d.proximal_step(theta, 0.1, s / 0.1, 1, 3)
    assert (abs(theta - 3) < 1) == (sp.Float(s) in implicit)


def test_linear_layer_identity():
    left, right = d.linear_layer_identity()
    assert left == right
    assert left.shape == (2, 2)
    assert all(entry.atoms(sp.Subs, sp.Derivative) for entry in left)


def test_linear_layer_identity_against_a_batch_one_loop():
    generator = torch.Generator().manual_seed(0)
    weight, bias, inputs = (
        torch.randn(shape, dtype=F64, generator=generator) for shape in ((2, 2), (2,), (2, 2))
    )

    def loss(y):
        return torch.sin(y[0]) * torch.exp(y[1] / 2) + y[0] ** 3

    def sample_loss(weight, a):
        return loss(weight @ a + bias)

    loop = sum(torch.func.grad(sample_loss)(weight, a) ** 2 for a in inputs)
    g = torch.stack([torch.func.grad(loss)(weight @ a + bias) for a in inputs])
    torch.testing.assert_close((g**2).T @ inputs**2, loop)

    # the symbolic side, with the undefined losses made this one
    y = sp.symbols("y1 y2")
    chosen = sp.Lambda(y, sp.sin(y[0]) * sp.exp(y[1] / 2) + y[0] ** 3)
    values = dict(zip(sp.symbols("W1:3(1:3)"), weight.flatten().tolist(), strict=True))
    values |= dict(zip(sp.symbols("b1:3"), bias.tolist(), strict=True))
    values |= dict(zip(sp.symbols("a1:3(1:3)"), inputs.flatten().tolist(), strict=True))
    for side in d.linear_layer_identity():
        for name in ("ell1", "ell2"):
            side = side.replace(sp.Function(name), chosen)
        found = np.array(side.doit().subs(values), dtype=float)
        np.testing.assert_allclose(found, loop, rtol=1e-10)
