"""Metrics by hand, in exact fractions; intervals against their definition."""

import math
import subprocess
import sys
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from cl_lib import metrics
from cl_lib.metrics import interval

F = Fraction
# after task i (rows) on task j (columns)
EXACT = [
    [F(9, 10), F(2, 10), F(1, 10)],
    [F(7, 10), F(8, 10), F(3, 10)],
    [F(5, 10), F(6, 10), F(95, 100)],
]
INITIAL = [F(1, 10), F(15, 100), F(12, 100)]
# task 1 is best after task 2: forgetting is not minus backward transfer
LATE_BEST = [
    [F(5, 10), F(0), F(0)],
    [F(8, 10), F(6, 10), F(0)],
    [F(7, 10), F(9, 10), F(4, 10)],
]

# task 2 is better before it is learned than ever after, which is no forgetting
EARLY_BEST = [
    [F(5, 10), F(9, 10), F(0)],
    [F(5, 10), F(6, 10), F(0)],
    [F(5, 10), F(4, 10), F(7, 10)],
]


def floats(matrix):
    return np.array(matrix, dtype=float)


BY_HAND = [
    (metrics.average_accuracy, EXACT, (F(5, 10) + F(6, 10) + F(95, 100)) / 3),
    (metrics.learning_accuracy, EXACT, (F(9, 10) + F(8, 10) + F(95, 100)) / 3),
    (metrics.learning_accuracy, LATE_BEST, F(5, 10)),
    (metrics.forgetting, EXACT, (F(4, 10) + F(2, 10)) / 2),
    (metrics.backward_transfer, EXACT, (F(-4, 10) + F(-2, 10)) / 2),
    (metrics.forgetting, EARLY_BEST, (F(0) + F(2, 10)) / 2),
    (metrics.average_accuracy, LATE_BEST, F(2, 3)),
    (metrics.forgetting, LATE_BEST, (F(1, 10) + F(-3, 10)) / 2),
    (metrics.backward_transfer, LATE_BEST, (F(2, 10) + F(3, 10)) / 2),
]


ALL = (
    metrics.average_accuracy,
    metrics.learning_accuracy,
    metrics.accuracy_so_far,
    metrics.forgetting,
    metrics.backward_transfer,
)


@pytest.mark.parametrize(("metric", "matrix", "expected"), BY_HAND)
def test_by_hand(metric, matrix, expected):
    assert float(metric(floats(matrix))) == pytest.approx(float(expected), abs=1e-15)
    assert float(metric(floats(matrix).tolist())) == pytest.approx(float(expected), abs=1e-15)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (EXACT, [F(9, 10), F(15, 20), (F(5, 10) + F(6, 10) + F(95, 100)) / 3]),
        (EARLY_BEST, [F(5, 10), F(11, 20), F(16, 30)]),
    ],
)
def test_the_learning_curve_by_hand(matrix, expected):
    found = metrics.accuracy_so_far(floats(matrix))
    np.testing.assert_allclose(found, floats(expected), rtol=0, atol=1e-15)


def test_forward_transfer_by_hand():
    expected = (F(2, 10) - F(15, 100) + F(3, 10) - F(12, 100)) / 2
    found = metrics.forward_transfer(floats(EXACT), floats(INITIAL))
    assert float(found) == pytest.approx(float(expected), abs=1e-15)


def test_replicas_are_kept():
    both = np.stack([floats(EXACT), floats(LATE_BEST)])
    for metric in ALL:
        alone = [metric(floats(EXACT)), metric(floats(LATE_BEST))]
        np.testing.assert_array_equal(metric(both), alone)
        np.testing.assert_array_equal(metric(both[:, None]), np.array(alone)[:, None])
    initial = np.stack([floats(INITIAL), np.zeros(3)])
    alone = [metrics.forward_transfer(m, i) for m, i in zip(both, initial, strict=True)]
    np.testing.assert_array_equal(metrics.forward_transfer(both, initial), alone)


def test_two_tasks():
    matrix = [[0.9, 0.1], [0.4, 0.8]]
    assert metrics.forgetting(matrix) == pytest.approx(0.5)
    assert metrics.backward_transfer(matrix) == pytest.approx(-0.5)


@pytest.mark.parametrize("n_tasks", [2, 3, 10])
def test_what_is_left_is_what_was_learned_and_what_was_done_to_it(n_tasks):
    matrix = np.random.default_rng(n_tasks).random((5, n_tasks, n_tasks))
    done = (n_tasks - 1) / n_tasks * metrics.backward_transfer(matrix)
    np.testing.assert_allclose(metrics.average_accuracy(matrix), metrics.learning_accuracy(matrix) + done)


def test_one_task_has_an_average_and_no_transfer():
    assert metrics.average_accuracy([[0.7]]) == pytest.approx(0.7)
    assert metrics.learning_accuracy([[0.7]]) == pytest.approx(0.7)
    assert metrics.accuracy_so_far([[0.7]]) == pytest.approx([0.7])
    for metric in (metrics.forgetting, metrics.backward_transfer):
        with pytest.raises(ValueError, match="covers 1 task, but transfer needs two"):
            metric([[0.7]])
    with pytest.raises(ValueError, match="covers 1 task"):
        metrics.forward_transfer([[0.7]], [0.1])


@pytest.mark.parametrize("shape", [(3,), (2, 3), (4, 3, 2)])
def test_refuses_what_is_no_accuracy_matrix(shape):
    for metric in ALL:
        with pytest.raises(ValueError, match=r"matrix has shape .* is \(\.\.\., T, T\)"):
            metric(np.zeros(shape))


def test_a_run_is_no_matrix():
    run = SimpleNamespace(accuracy=np.ones((1, 2, 2)))
    for metric in ALL:
        with pytest.raises(TypeError, match="matrix is a .*, but must be an array: give run.accuracy"):
            metric(run)


def test_refuses_initial_accuracies_of_another_shape():
    with pytest.raises(ValueError, match=r"initial has shape \(2,\), .*asks for \(3,\).*run.initial"):
        metrics.forward_transfer(floats(EXACT), [0.1, 0.1])


# Intervals

VALUES = [0.91, 0.89, 0.94, 0.90, 0.92]


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_t_interval_in_closed_form(level):
    found = interval(VALUES, level=level)
    mean = sum(VALUES) / 5
    deviation = math.sqrt(sum((v - mean) ** 2 for v in VALUES) / 4)
    # Student's distribution with 4 degrees of freedom has (1 + level) / 2 below this
    quantile = stats.t(4).ppf((1 + level) / 2)
    half = quantile * deviation / math.sqrt(5)
    assert found.mean == pytest.approx(mean)
    assert (found.low, found.high) == pytest.approx((mean - half, mean + half))
    assert (found.n, found.method, found.level) == (5, "t", level)


def test_t_interval_of_two_values_by_hand():
    # one degree of freedom is Cauchy's distribution, whose 97.5% quantile is tan(0.475 pi)
    half = math.tan(0.475 * math.pi) * 0.1  # standard error of 0.4 and 0.6
    found = interval([0.4, 0.6])
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half))


def test_bootstrap_interval_is_scipys_and_always_the_same():
    values = [0.5, 0.9, 0.91, 0.92, 0.93, 0.94]  # so skewed that bias and acceleration are felt
    found = interval(values, method="bootstrap", level=0.9)
    reference = stats.bootstrap(
        (values,), np.mean, confidence_level=0.9, method="BCa", rng=np.random.default_rng(5)
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=4e-3)
    assert found == interval(values, method="bootstrap", level=0.9)
    assert min(values) <= found.low < found.mean < found.high <= max(values)


@pytest.mark.parametrize("method", ["t", "bootstrap"])
def test_intervals_hold_the_truth_as_often_as_they_say(method):
    random, trials = np.random.default_rng(0), 200
    samples = random.normal(3, 2, (trials, 30))
    held = [i.low <= 3 <= i.high for i in (interval(s, method=method, level=0.8) for s in samples)]
    assert abs(np.mean(held) - 0.8) < 4 * math.sqrt(0.8 * 0.2 / trials)


@pytest.mark.parametrize("method", ["t", "bootstrap"])
def test_equal_values_have_an_interval_without_width(method):
    found = interval([0.3, 0.3, 0.3], method=method)
    assert found.low == found.high == found.mean == pytest.approx(0.3)


def test_reads_as_one_writes_it():
    assert str(metrics.Interval(0.91234, 0.9049, 0.9191, 5, "t", 0.95)) == "0.912 [0.905, 0.919]"
    assert str(metrics.Interval(-1e-5, -2e-5, -0.0, 5, "t", 0.95)) == "0.000 [0.000, 0.000]"


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([0.5], {}, "needs at least two replicas.*seeds=range"),
        (0.5, {}, r"values has shape \(\)"),
        ([[0.5, 0.6]], {}, r"values has shape \(1, 2\)"),
        ([0.5, math.nan], {}, "values holds NaN or infinity"),
        ([0.5, math.inf], {}, "values holds NaN or infinity"),
        (VALUES, {"level": 95}, "level is 95, but it must lie between 0 and 1"),
        (VALUES, {"level": 0}, "level is 0"),
        (VALUES, {"method": "normal"}, 'method is \'normal\', but must be "t" or "bootstrap"'),
        ([0.5, 0.5], {"method": "normal"}, "method is 'normal'"),
    ],
)
def test_interval_refuses(values, options, message):
    with pytest.raises(ValueError, match=message):
        interval(values, **options)


def test_importing_the_package_loads_nothing_heavy_beside_torch():
    heavy = ("matplotlib", "sympy.core", "scipy.stats", "sklearn", "pandas", "pooch")
    code = "import sys, torch; before = set(sys.modules); import cl_lib; "
    code += f"print([m for m in {heavy!r} if m in sys.modules and m not in before])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    code = "import cl_lib; assert cl_lib.plots.lines and cl_lib.derivations.loss_a"
    subprocess.run([sys.executable, "-c", code], check=True)
