"""An experiment of about a second, registered on import: for tests that start other processes."""

from functools import partial

from cl_lib.declarations import Budget, Contender, Experiment, powers
from cl_lib.experiments import EXPERIMENTS
from cl_lib.methods import EWC, L2, Finetune
from cl_lib.setups import mlp, permuted

BUDGET = Budget(3, 2, epochs=1, batch_size=32, n_train=100, n_test=50, width=8, chunk=2, n_tasks=2)
TINY = Experiment(
    name="tiny",
    title="A tiny experiment",
    dataset="digits",
    stream=partial(permuted, n_tasks=2),
    network=mlp,
    contenders=(
        Contender("finetune", Finetune),
        Contender("EWC", EWC, powers(1, 10, 100)),
        Contender("L2", L2, powers(0.1, 1)),
    ),
    budgets={"full": BUDGET, "cpu": BUDGET, "quick": BUDGET, "twin": BUDGET},
    training={"lr": 0.5, "momentum": 0.9, "optimizer": "sgd"},  # so quick that strengths differ in accuracy
)
EXPERIMENTS["tiny"] = TINY
