"""The whole chain on real data: permuted digits, three tasks, strength chosen on validation."""

import pytest

from cl_lib import EWC, MLP, Finetune, Joint, fit, metrics, streams

SEEDS, GRID = range(3), (2.0, 20.0, 200.0)


def network():
    return MLP(64, (100, 100), 10)


def accuracies(method, **options):
    """Mean accuracy over the tasks after the last one, for each replica."""
    stream = streams.permuted("digits", 3)
    run = fit(network, stream, method, epochs=10, batch_size=32, lr=0.05, seeds=SEEDS, **options)
    return run, metrics.average_accuracy(run.accuracy)


@pytest.fixture(scope="module")
def finetune():
    return accuracies(Finetune())


@pytest.fixture(scope="module")
def ewc():
    run, _ = accuracies(EWC(GRID), evaluate="validation")
    chosen = max(GRID, key=lambda s: metrics.average_accuracy(run.at(s).accuracy).mean())
    return accuracies(EWC(chosen))


def test_joint_training_learns_all_three_tasks():
    assert accuracies(Joint())[1].mean() > 0.95


def test_fine_tuning_forgets(finetune):
    run, accuracy = finetune
    assert accuracy.mean() < 0.58
    assert run.accuracy[:, 2, 2].mean() > 0.95, "the last task itself is learned"
    assert metrics.forgetting(run.accuracy).mean() > 0.5


def test_ewc_keeps_what_fine_tuning_loses(ewc, finetune):
    run, accuracy = ewc
    assert accuracy.mean() > 0.86
    assert accuracy.mean() > finetune[1].mean() + 0.25
    assert min(accuracy - finetune[1]) > 0.15, "for every seed"
    assert metrics.forgetting(run.accuracy).mean() < 0.15


def test_the_penalty_is_at_work(ewc):
    run, _ = ewc
    strength = float(run.strength[0])
    assert GRID[0] < strength < GRID[-1], "the best strength lies inside the grid"
    # the penalty of the weights in the end, in nats, against a chance-level loss of log 10 = 2.3
    alone = run.state.value(run.params) * strength
    assert (alone > 0.02).all() and (alone < 5).all()
