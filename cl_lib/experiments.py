"""The named experiments behind every cached figure: stream, network, methods, grids, budgets.

An :class:`Experiment` only declares; :mod:`cl_lib.runner` trains it and :mod:`cl_lib.results` keeps it.
"""

from dataclasses import replace
from functools import partial

from cl_lib.contenders import (
    all_methods,
    authors_si,
    estimators,
    mas_inputs,
    memory_methods,
    neighbourhoods,
    on_other_draws,
    optimizers,
    selfless_methods,
    wide_methods,
    widths,
    without_memory,
)
from cl_lib.declarations import Budget, Contender, Experiment, powers
from cl_lib.setups import (
    active_units,
    class_accuracies,
    conv_net,
    grouped,
    memory_mlp,
    mlp,
    permuted,
    three_groups,
)

_SGD = {"lr": 0.2, "momentum": 0.0, "optimizer": "sgd"}
_ADAM = {"lr": 1e-3, "momentum": 0.0, "optimizer": "adam"}
_MOMENTUM = {"lr": 0.05, "momentum": 0.9, "optimizer": "sgd"}
_AUTHORS = {"lr": 0.01, "momentum": 0.9, "optimizer": "sgd"}
_TWIN = Budget(2, 0, epochs=3, batch_size=16, n_train=300, n_test=180, width=16, n_tasks=3, max_width=32)


def _budgets(full: Budget, cpu: Budget, quick_images: int = 1000) -> dict[str, Budget]:
    quick = replace(
        cpu,
        seeds=2,
        search_seeds=2,
        n_train=min(quick_images, cpu.n_train or quick_images),
        n_test=500,
        epochs=1,
        grid_every=3,
        max_width=1024,
    )
    return {"full": full, "cpu": cpu, "quick": quick, "twin": _TWIN}


def _five_pairs(
    name: str,
    title: str,
    contenders: tuple[Contender, ...],
    budgets: dict[str, Budget],
    *,
    dataset: str = "mnist",
    network=mlp,
    scenario: str = "task",
) -> Experiment:
    """Ten classes in five tasks of two, with Adam."""
    return Experiment(
        name=name,
        title=title,
        dataset=dataset,
        stream=partial(grouped, n_tasks=5, scenario=scenario),
        network=network,
        contenders=contenders,
        budgets=budgets,
        training=_ADAM,
    )


def _split(scenario: str) -> Experiment:
    return _five_pairs(
        f"split-mnist-{scenario}",
        f"Split MNIST, {scenario}-incremental",
        all_methods(
            powers(1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10),
            powers(1, 10, 100, 1e3, 1e4, 1e5),
            powers(0.01, 0.1, 1, 10, 100, 1e3, 1e4),
            powers(1e-2, 0.1, 1, 10, 100),
            ewc_twin=(1e5,),
            mas_twin=(1.0,),
        ),
        _budgets(
            Budget(10, 3, epochs=4, batch_size=128, n_train=None, n_test=None, width=400),
            Budget(10, 3, epochs=4, batch_size=128, n_train=None, n_test=None, width=200, chunk=20),
        ),
        scenario=scenario,
    )


def _disjoint(
    name: str,
    title: str,
    dataset: str,
    stream,
    contenders: tuple[Contender, ...],
    *,
    n_train: int | None = None,
    seeds: int = 10,
    epochs: tuple[int, int] = (5, 3),
) -> Experiment:
    """Tasks that share their outputs, with memory units; ``epochs`` are those of "full" and "cpu"."""
    return Experiment(
        name=name,
        title=title,
        dataset=dataset,
        stream=stream,
        network=memory_mlp,
        contenders=contenders,
        budgets=_budgets(
            Budget(seeds, 5, epochs[0], batch_size=128, n_train=None, n_test=None, width=300),
            Budget(10, 3, epochs[1], batch_size=64, n_train=n_train, n_test=None, width=200, chunk=27),
        ),
        training={**_SGD, "lr": 0.05},
    )


def _selfless(name: str, title: str, width: int, contenders: tuple[Contender, ...]) -> Experiment:
    cpu = Budget(10, 2, epochs=3, batch_size=64, n_train=None, n_test=None, width=width, chunk=12)
    return Experiment(
        name=name,
        title=f"{title}: permuted MNIST, {width} hidden units",
        dataset="mnist",
        stream=partial(permuted, n_tasks=5, keep_first=True),
        network=mlp,
        contenders=contenders,
        budgets=_budgets(
            Budget(10, 5, epochs=5, batch_size=200, n_train=None, n_test=None, width=width),
            cpu,
        ),
        training=_AUTHORS,
        measure=active_units,
    )


#: All experiments, by name.
#:
#: :meta hide-value:
EXPERIMENTS = {
    e.name: e
    for e in (
        Experiment(
            name="permuted-mnist",
            title="Permuted MNIST, ten tasks, one head",
            dataset="mnist",
            stream=partial(permuted, n_tasks=10),
            network=mlp,
            contenders=all_methods(
                powers(0.3, 1, 3, 10, 30),
                powers(0.03, 0.1, 0.3, 1),
                powers(0.001, 0.003, 0.01, 0.03, 0.1),
                powers(1e-3, 3e-3, 1e-2, 3e-2),
            ),
            budgets=_budgets(
                Budget(10, 3, epochs=5, batch_size=128, n_train=None, n_test=None, width=1000, chunk=30),
                Budget(10, 1, epochs=3, batch_size=128, n_train=None, n_test=None, width=256, chunk=20),
            ),
            training=_SGD,
        ),
        Experiment(
            name="permuted-mnist-wide",
            title="Permuted MNIST, ten tasks, one head, a wide network",
            dataset="mnist",
            stream=partial(permuted, n_tasks=10),
            network=mlp,
            contenders=wide_methods(),
            budgets=_budgets(
                Budget(10, 3, epochs=5, batch_size=128, n_train=None, n_test=None, width=2000, chunk=10),
                Budget(10, 1, epochs=3, batch_size=128, n_train=None, n_test=None, width=1000, chunk=1),
            ),
            training=_MOMENTUM,
        ),
        Experiment(
            name="si-authors",
            title="SI as its authors trained it: permuted MNIST, ten tasks",
            dataset="mnist",
            stream=partial(permuted, n_tasks=10, keep_first=True),
            network=mlp,
            contenders=authors_si(),
            budgets=_budgets(
                Budget(10, 1, epochs=20, batch_size=256, n_train=None, n_test=None, width=2000, chunk=10),
                Budget(10, 1, epochs=20, batch_size=256, n_train=None, n_test=None, width=1000, chunk=1),
            ),
            training={**_ADAM, "keep_optimizer": True},
        ),
        *(_split(scenario) for scenario in ("task", "domain", "class")),
        _five_pairs(
            "kept-adam",
            "A new Adam for each task, or one kept: split MNIST, task-incremental",
            optimizers(),
            _budgets(
                Budget(20, 1, epochs=20, batch_size=128, n_train=None, n_test=None, width=400, chunk=5),
                Budget(10, 1, epochs=20, batch_size=128, n_train=None, n_test=None, width=200, chunk=5),
            ),
        ),
        _disjoint(
            "disjoint-mnist",
            "Disjoint MNIST, three tasks",
            "mnist",
            three_groups,
            memory_methods((0.003, 0.01, 0.03, 0.1, 0.3), (1e3, 1e4, 1e5, 1e6, 1e7, 1e8)),
            seeds=30,
        ),
        _disjoint(
            "disjoint-mnist-long",
            "Disjoint MNIST, three tasks, as many passes as the paper",
            "mnist",
            three_groups,
            without_memory(),
            epochs=(20, 20),
        ),
        _disjoint(
            "disjoint-cifar10",
            "Disjoint CIFAR-10, three tasks",
            "cifar-10",
            three_groups,
            memory_methods((0.01, 0.03, 0.1, 0.3), (1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9)),
        ),
        _disjoint(
            "emnist-letters",
            "EMNIST letters, five tasks",
            "emnist-letters",
            partial(grouped, n_tasks=5, scenario="domain"),
            memory_methods((0.01, 0.03, 0.1, 0.3), (10, 1e2, 1e3, 1e4, 1e5, 1e6)),
            n_train=10_000,
        ),
        _selfless("selfless-64", "Room for later tasks", 64, selfless_methods()),
        _selfless("selfless-128", "Room for later tasks", 128, selfless_methods()),
        _selfless("selfless-draws", "Inhibition on other permutations", 64, on_other_draws()),
        _selfless("selfless-neighbourhood", "How far inhibition reaches", 64, neighbourhoods()),
        Experiment(
            name="width",
            title="Forgetting against width: permuted MNIST, five tasks",
            dataset="mnist",
            stream=partial(permuted, n_tasks=5),
            network=mlp,
            contenders=widths(),
            budgets=_budgets(
                Budget(10, 3, epochs=3, batch_size=128, n_train=None, n_test=None, width=100, chunk=300),
                Budget(10, 2, 3, 32, n_train=6000, n_test=1000, width=100, chunk=8),
            ),
            training=_SGD,
            curve_every=60,
        ),
        Experiment(
            name="mas-inputs",
            title="What MAS is measured on: MNIST in two tasks of five digits",
            dataset="mnist",
            stream=partial(grouped, n_tasks=2, scenario="task"),
            network=mlp,
            contenders=mas_inputs(),
            budgets=_budgets(
                Budget(10, 3, epochs=5, batch_size=128, n_train=None, n_test=None, width=256),
                Budget(10, 2, epochs=4, batch_size=32, n_train=5000, n_test=2500, width=100, chunk=20),
            ),
            training={**_SGD, "lr": 0.05},
            measure=class_accuracies,
        ),
        _five_pairs(
            "fisher-split-mnist",
            "Five Fishers on split MNIST",
            estimators(10, 12),
            _budgets(
                Budget(10, 3, epochs=20, batch_size=128, n_train=None, n_test=None, width=400),
                Budget(10, 2, epochs=4, batch_size=128, n_train=None, n_test=None, width=200, chunk=12),
            ),
        ),
        _five_pairs(
            "fisher-split-cifar10",
            "Five Fishers on split CIFAR-10, a small convolutional network",
            estimators(6, 6),
            _budgets(
                Budget(10, 5, epochs=20, batch_size=128, n_train=None, n_test=None, width=32, chunk=12),
                Budget(10, 5, epochs=5, batch_size=64, n_train=None, n_test=None, width=16, chunk=1),
                quick_images=200,
            ),
            dataset="cifar-10",
            network=conv_net,
        ),
    )
}
