"""Which methods the experiments train, and from which strengths each may choose."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from cl_lib.data import Split
from cl_lib.declarations import N_IMPORTANCE, Contender, Point, on_draw, pairs, powers
from cl_lib.methods import (
    EWC,
    L2,
    MAS,
    SI,
    SLNI,
    SLNID,
    SNI,
    SNID,
    AdversarialMemory,
    DeCov,
    Finetune,
    Joint,
    L1Activations,
    L1Weights,
    LwF,
    Method,
    Replay,
    combine,
)
from cl_lib.setups import glorot_mlp, headed_mlp, mlp
from cl_lib.tasks import Task, some


def _train(task: Task) -> Tensor:
    return some(task.train, N_IMPORTANCE)[0]


def _test(task: Task) -> Tensor:
    return some(task.test, N_IMPORTANCE)[0]


def _both(task: Task) -> Tensor:
    return torch.cat([_train(task), _test(task)])


def _classes(task: Task, first: int, stop: int) -> Tensor:
    """Training images of some of the task's classes, counted from the task's first output."""
    label = task.train.y - task.train.y.min()
    wanted = (label >= first) & (label < stop)
    return some(Split(task.train.x[wanted], task.train.y[wanted]), N_IMPORTANCE)[0]


ewc = partial(EWC, samples=N_IMPORTANCE)
mas = partial(MAS, inputs=_train)
local_mas = partial(MAS, inputs=_train, scope="local")


def _reference_lines() -> tuple[Contender, ...]:
    return (Contender("finetune", Finetune), Contender("joint", Joint))


def all_methods(
    ewc_grid, si_grid, mas_grid, l2_grid, *, ewc_twin: Point | None = None, mas_twin: Point | None = None
) -> tuple[Contender, ...]:
    """Fine-tuning and joint training, every penalty, distillation, replay."""
    return (
        *_reference_lines(),
        Contender("L2", L2, l2_grid),
        Contender("EWC", ewc, ewc_grid, twin=ewc_twin),
        Contender("EWC, empirical", partial(ewc, fisher="empirical"), ewc_grid, twin=ewc_twin),
        Contender("online EWC", partial(ewc, anchors="latest"), ewc_grid, twin=ewc_twin),
        Contender("SI", SI, si_grid),
        Contender("MAS", mas, mas_grid, twin=mas_twin),
        Contender("local MAS", local_mas, mas_grid, twin=mas_twin),
        Contender("LwF", LwF, powers(0.1, 0.3, 1, 3, 10, 30)),
        Contender(
            "replay", partial(Replay, per_task=200), powers(0.03, 0.1, 0.3, 1, 3, 10, 30, 100), twin=(1.0,)
        ),
    )


def wide_methods() -> tuple[Contender, ...]:
    """Fine-tuning and the penalties of which papers report permuted MNIST with a wide network.

    SI also from larger initial weights, which help it where it is trained as its authors did.
    """
    return (
        Contender("finetune", Finetune),
        Contender("EWC", ewc, powers(3, 10, 30, 100), twin=(10.0,)),
        Contender("online EWC", partial(ewc, anchors="latest"), powers(10, 30, 100)),
        Contender("SI", SI, powers(1, 3, 10)),
        Contender("SI, Glorot", SI, powers(0.3, 1, 3, 10, 30), twin=(10.0,), network=glorot_mlp),
        Contender("MAS", mas, powers(0.003, 0.01, 0.03)),
    )


def _memory(eps, lam, *, direction: str) -> Method:
    return combine(AdversarialMemory(eps, direction=direction), ewc(lam))


def _selfless(own, lam, *, regulariser: type[Method], protector: Callable[..., Method]) -> Method:
    return combine(regulariser(own), protector(lam))


def without_memory() -> tuple[Contender, ...]:
    """Plain training and EWC, on networks without memory units: these would know the task."""
    return (
        Contender("plain", Finetune, network=mlp),
        Contender("EWC", ewc, powers(*(10.0**k for k in range(10))), twin=(1e4,), network=mlp),
    )


def memory_methods(steps, lams) -> tuple[Contender, ...]:
    """Memory units with EWC, each part alone, two other directions (ablations), and what to measure them by.

    ``steps`` are the lengths of a signed step, ``lams`` the strengths of EWC beside it. Outputs of a task's
    own are the other way to use that the task is known; joint training has no memory and is not told.
    """
    signed = {"grid": pairs(steps, lams), "twin": (0.1, 1e5)}
    along = {"grid": pairs((0.5, 2.0, 8.0, 30.0), lams), "twin": (30.0, 1e5)}

    return (
        *without_memory(),
        Contender("AD alone", AdversarialMemory, powers(0.01, 0.03, 0.1, 0.3, 1), twin=(0.1,)),
        Contender("AD + EWC", partial(_memory, direction="adversarial"), **signed),
        Contender("random + EWC", partial(_memory, direction="random"), **signed),
        Contender("gradient + EWC", partial(_memory, direction="gradient"), **along),
        Contender(
            "EWC, own heads", ewc, powers(*(10.0**k for k in range(9))), twin=(1e4,), network=headed_mlp
        ),
        Contender("plain, own heads", Finetune, network=headed_mlp),
        Contender("joint", Joint, network=mlp),
    )


def _beside_mas(
    name: str, regulariser: Callable[..., Method], strengths, protect, twin: Point | None = None
) -> Contender:
    """A regulariser of the activations, with MAS as protector."""
    method = partial(_selfless, regulariser=regulariser, protector=mas)
    return Contender(name, method, pairs(strengths, protect), twin=twin)


def selfless_methods() -> tuple[Contender, ...]:
    """Each regulariser of the activations with MAS, SLNID also with EWC; both protectors without any."""
    protect = (0.003, 0.01, 0.03, 0.1)
    inhibited, spread = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2), (3e-5, 1e-4, 3e-4, 1e-3)
    beside_mas = {
        "L1 activations": (L1Activations, (1e-4, 1e-3, 1e-2)),
        "L1 weights": (L1Weights, (1e-7, 1e-6, 1e-5)),
        "DeCov": (DeCov, (1e-3, 1e-2, 1e-1, 1.0)),
        "SNI": (SNI, spread),
        "SLNI": (SLNI, inhibited),
        "SNID": (SNID, spread),
        "SLNID": (SLNID, inhibited),
        "SLNID, minimum": (partial(SLNID, discount="min"), inhibited),
    }
    return (
        Contender("no regulariser", mas, powers(0.001, *protect)),
        *(_beside_mas(n, r, own, protect, twin=(own[1], 0.03)) for n, (r, own) in beside_mas.items()),
        Contender("EWC alone", ewc, powers(1, 3, 10, 30, 100)),
        Contender(
            "SLNID + EWC",
            partial(_selfless, regulariser=SLNID, protector=ewc),
            pairs(inhibited, (1.0, 3.0, 10.0, 30.0)),
            twin=(3e-3, 3.0),  # where inhibition is felt beside EWC
        ),
    )


def neighbourhoods() -> tuple[Contender, ...]:
    """Inhibition by how far it reaches, as a share of the layer, with and without discount.

    A near neighbourhood has fewer pairs than a far one, so its strengths are larger.
    """
    protect = (0.003, 0.01, 0.03, 0.1)
    grids = {
        24: (3e-4, 1e-3, 3e-3, 1e-2),
        12: (1.5e-4, 5e-4, 1.5e-3, 5e-3),
        6: (1e-4, 3e-4, 1e-3, 3e-3),
        3: (5e-5, 1.5e-4, 5e-4, 1.5e-3),
    }
    lines = []
    for near, everywhere in ((SLNI, SNI), (SLNID, SNID)):
        for part, strengths in grids.items():
            name = f"{near.__name__}, 1/{part}"
            regulariser = partial(near, width=1 / part)
            lines.append(_beside_mas(name, regulariser, strengths, protect, twin=(strengths[2], 0.01)))
        strengths = (3e-5, 1e-4, 3e-4, 1e-3)
        lines.append(
            _beside_mas(everywhere.__name__, everywhere, strengths, protect, twin=(strengths[2], 0.01))
        )
    return tuple(lines)


#: Seeds of other permutations than those that strengths are searched on, and all else is tested on.
DRAWS = tuple(range(2, 12))


def on_other_draws() -> tuple[Contender, ...]:
    """MAS alone, with SLNID and with DeCov, on other permutations, at the strengths of selfless-64."""
    lines = (
        Contender("no regulariser", mas, powers(0.01)),
        _beside_mas("SLNID", SLNID, (1e-3,), (0.01,)),
        _beside_mas("DeCov", DeCov, (0.1,), (0.03,)),
    )
    return tuple(replace(c, name=on_draw(c.name, draw), stream_seed=draw) for draw in DRAWS for c in lines)


def estimators(n_powers: int, n_batched: int) -> tuple[Contender, ...]:
    """EWC with each of the five Fishers of van de Ven (2025), over so many powers of ten.

    The batched one is smaller than the others, so its powers begin at 10 and theirs at 1.
    """
    online = partial(EWC, anchors="latest")
    searched = {"grid": powers(*(10.0**k for k in range(n_powers))), "twin": (1e4,)}
    tenfold = {"grid": powers(*(10.0 ** (k + 1) for k in range(n_batched))), "twin": (1e5,)}
    return (
        Contender("none", Finetune),
        Contender("exact", online, **searched),
        Contender("exact, 500 images", partial(online, samples=500), **searched),
        Contender("sampled", partial(online, fisher="sampled"), **searched),
        Contender("empirical", partial(online, fisher="empirical"), **searched),
        Contender("batched, 128", partial(online, fisher="batched"), **tenfold),
    )


def optimizers() -> tuple[Contender, ...]:
    """Fine-tuning with a new optimiser for each task, and with one for all of them."""
    return (
        Contender("new", Finetune),
        Contender("kept", Finetune, training={"keep_optimizer": True}),
    )


def authors_si() -> tuple[Contender, ...]:
    """SI whose penalty enters through the gradient, from two kinds of initial weights.

    Its authors' best run has the strength 0.1. From larger weights the best lies higher, so there the grid
    goes on.
    """
    by_gradient, grid = partial(SI, step="gradient"), (0.03, 0.1, 0.3)
    return (
        Contender("SI", by_gradient, powers(*grid)),
        Contender("SI, Glorot", by_gradient, powers(*grid, 1), twin=(0.1,), network=glorot_mlp),
    )


def widths() -> tuple[Contender, ...]:
    """Fine-tuning and EWC, each at eight widths."""
    lines = []
    for width in (16, 32, 64, 128, 256, 512, 1024, 2048):
        lines.append(Contender(f"finetune, {width} units", Finetune, width=width))
        lines.append(Contender(f"EWC, {width} units", ewc, powers(1, 3, 10, 30, 100, 300), width=width))
    return tuple(lines)


def mas_inputs() -> tuple[Contender, ...]:
    """MAS with importance measured on other inputs, and its local version.

    A search may give two sources two strengths, so those of two users are also compared at the same ones.
    """
    grid = powers(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)
    sources = {
        "training": _train,
        "test": _test,
        "both": _both,
        "classes 0 and 1": partial(_classes, first=0, stop=2),
        "classes 3 and 4": partial(_classes, first=3, stop=5),
    }
    methods = {name: partial(MAS, inputs=inputs) for name, inputs in sources.items()}
    return (
        *_reference_lines(),
        *(Contender(f"MAS ({name})", method, grid) for name, method in methods.items()),
        Contender("local MAS", local_mas, grid),
        *(
            Contender(f"MAS ({name}), strength {lam:g}", methods[name], powers(lam))
            for name in ("classes 0 and 1", "classes 3 and 4")
            for lam in (0.3, 1)
        ),
    )
