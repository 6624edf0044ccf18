"""What papers (or their best public readings) found on the streams of the experiments."""

from collections.abc import Callable, Iterator
from functools import partial
from statistics import fmean

from cl_lib.claims import OUR_BAR, Claim, average, final, gain, learned, over_draws
from cl_lib.contenders import DRAWS
from cl_lib.declarations import on_draw
from cl_lib.metrics import Interval

#: Keys of the bibliography that the claims name, as one would say them.
WORKS = {
    "aljundi2018mas": "Aljundi et al. (2018)",
    "aljundi2019selfless": "Aljundi et al. (2019)",
    "hsu2018reeval": "Hsu et al. (2018)",
    "kirkpatrick2017ewc": "Kirkpatrick et al. (2017)",
    "lomonaco2021avalanche": "Lomonaco et al. (2021)",
    "mirzadeh2022wide": "Mirzadeh et al. (2022)",
    "vandeven2022three": "van de Ven et al. (2022)",
    "vandeven2025fisher": "van de Ven (2025)",
    "wen2018ad": "Wen & Itti (2018)",
    "wen2018submission": "Wen & Itti (2018)",
    "zenke2017si": "Zenke et al. (2017)",
}

_VAN_DE_VEN, _HSU = ("vandeven2022three", "Table 2"), ("hsu2018reeval", "Table 2")
# Ten permutations of MNIST: the number, and where it stands.
_PERMUTED = {
    "EWC": (0.94, "kirkpatrick2017ewc", "number quoted in public benchmarks"),
    "EWC, another code": (0.83, "lomonaco2021avalanche", "their own run of it, width 512"),
    "SI": (0.9694, "zenke2017si", "the authors' stored results, width 2,000"),
    "SI, another code": (0.83, "lomonaco2021avalanche", "their own run of it, width 1,000"),
    "MAS": (0.95, "aljundi2018mas", OUR_BAR),
    "fine-tuning": (0.5741, "zenke2017si", "the authors' stored results, width 2,000, c = 0, a failure"),
}
# Split MNIST: where the number stands, and what it is in the three scenarios.
_SCENARIOS = ("task", "domain", "class")
_SPLIT = {
    "fine-tuning": (_VAN_DE_VEN, (0.8432, 0.6013, 0.1989)),
    "fine-tuning, four passes": (_HSU, (0.9346, 0.5516, 0.1971)),
    "L2": (_HSU, (0.9818, 0.6600, 0.2252)),
    "EWC": (_VAN_DE_VEN, (0.9906, 0.6303, 0.2064)),
    "online EWC": (_HSU, (0.9804, 0.5733, 0.1977)),
    "SI": (_HSU, (0.9856, 0.6476, 0.1967)),
    "MAS": (_HSU, (0.9922, 0.6857, 0.1952)),
    "LwF": (_VAN_DE_VEN, (0.9960, 0.7118, 0.2189)),
    "replay": (_VAN_DE_VEN, (None, 0.9375, 0.8879)),
    "joint training": (_VAN_DE_VEN, (0.9967, 0.9859, 0.9817)),
}


def _contender(what: str) -> str:
    """The experiments' name of a method that the table spells out."""
    name = what.split(",")[0]
    return {"fine-tuning": "finetune", "joint training": "joint"}.get(name, name)


def _permuted(group: str, experiment: str, *, codes: bool) -> Iterator[Claim]:
    """``codes`` adds what other codes reach."""
    for what, (number, source, where) in _PERMUTED.items():
        if what.endswith("another code") and not codes:
            continue
        ours = average(_contender(what))
        failure = what == "fine-tuning"
        yield Claim(group, what, number, source, where, experiment, ours, at_most=failure)


def _split(k: int) -> Iterator[Claim]:
    scenario = _SCENARIOS[k]
    for what, ((source, where), numbers) in _SPLIT.items():
        if numbers[k] is None:
            continue
        may_succeed = scenario != "class" or what in ("replay", "joint training")
        failure = _contender(what) == "finetune" or not may_succeed
        yield Claim(
            f"split MNIST, {scenario}-incremental",
            what,
            numbers[k],
            source,
            where + ", a failure" * failure + ", a memory of its own size" * (what == "replay"),
            f"split-mnist-{scenario}",
            average(_contender(what)),
            at_most=failure,
        )


def _slnid(
    group: str,
    mean: float,
    reached: Callable[[dict], Interval],
    above: Callable[[str], Callable],
    **paper: str,
) -> Iterator[Claim]:
    """``reached`` is its accuracy, ``above`` gives its gain over another."""
    yield Claim(group, "SLNID", mean, ours=reached, **paper)
    yield Claim(group, "SLNID above none", 0.01, ours=above("no regulariser"), difference=True, **paper)
    yield _ahead(group, "SLNID ahead of DeCov", above("DeCov"), **paper)


def _selfless(width: int, mean: float) -> Iterator[Claim]:
    paper = {"source": "aljundi2019selfless", "where": OUR_BAR, "experiment": f"selfless-{width}"}
    group = f"room for later tasks, {width} units"
    yield from _slnid(group, mean, average("SLNID"), partial(gain, "SLNID"), **paper)
    beside_ewc = gain("SLNID + EWC", "EWC alone")
    yield _ahead(group, "SLNID + EWC ahead of EWC", beside_ewc, **paper)


def _draws() -> Iterator[Claim]:
    def above(other: str) -> Callable[[dict], Interval]:
        return over_draws(lambda draw: gain(on_draw("SLNID", draw), on_draw(other, draw)), DRAWS)

    group = "room for later tasks, 64 units, ten other pixel orders (intervals over orders)"
    paper = {"source": "aljundi2019selfless", "where": OUR_BAR, "experiment": "selfless-draws"}
    reached = over_draws(lambda draw: average(on_draw("SLNID", draw)), DRAWS)
    yield from _slnid(group, 0.935, reached, above, **paper)


def _neighbourhoods() -> Iterator[Claim]:
    group = "room for later tasks, how far inhibition reaches"
    paper = {"source": "aljundi2019selfless", "where": OUR_BAR, "experiment": "selfless-neighbourhood"}
    for near, everywhere in (("SLNI", "SNI"), ("SLNID", "SNID")):
        what = f"{near}, a sixth of the layer, ahead of {everywhere}"
        yield _ahead(group, what, gain(f"{near}, 1/6", everywhere), **paper)


def _directions(group: str, experiment: str) -> Iterator[Claim]:
    """Whether it is the adversarial direction that helps."""
    paper = {"source": "wen2018ad", "where": OUR_BAR, "experiment": experiment}
    for other in ("random", "gradient"):
        ours = gain("AD + EWC", f"{other} + EWC")
        yield _ahead(group, f"AD + EWC ahead of a {other} memory", ours, **paper)


# Accuracies on the first and the second task, for four pairs of tasks.
_MAS_INPUTS = {
    "MAS (training)": (0.5324, 0.550, 0.5761, 0.4962, 0.7733, 0.5039, 0.7724, 0.5738),
    "MAS (test)": (0.5343, 0.5507, 0.5731, 0.4901, 0.7762, 0.5029, 0.7745, 0.5745),
    "MAS (both)": (0.5329, 0.5604, 0.5783, 0.4956, 0.7752, 0.4970, 0.7754, 0.5739),
    "local MAS": (0.5136, 0.5567, 0.5679, 0.4908, 0.7396, 0.505, 0.7620, 0.5668),
}


def _mas_inputs() -> Iterator[Claim]:
    base, *others = _MAS_INPUTS
    for name in others:
        yield Claim(
            "MNIST, two tasks of five digits",
            f"{name} less {base}",
            fmean(_MAS_INPUTS[name]) - fmean(_MAS_INPUTS[base]),
            "aljundi2018mas",
            "Table 3, mean over four pairs of other data sets",
            "mas-inputs",
            gain(name, base),
            difference=True,
        )


def _abstract(group: str, experiment: str) -> Iterator[Claim]:
    """What the abstract of AD says of disjoint MNIST without AD."""
    paper = {"source": "wen2018ad", "experiment": experiment}
    yield Claim(group, "task 1 when learned", 0.9924, where="abstract", ours=learned("plain", 0), **paper)
    for method, number in (("plain", 0.3295), ("EWC", 0.4102)):
        what, ours = f"task 1 after task 3, {method}", final(method, 0)
        yield Claim(group, what, number, where="abstract, a failure", ours=ours, at_most=True, **paper)


def _ahead(group: str, what: str, ours: Callable[[dict], Interval], **paper: str) -> Claim:
    """The finding that one method is ahead of another, without a number."""
    return Claim(group, what, None, ours=ours, difference=True, **paper)


#: The rows of the table.
#:
#: :meta hide-value:
CLAIMS = (
    *_permuted("permuted MNIST, 10 tasks", "permuted-mnist-wide", codes=True),
    *_permuted("permuted MNIST, 10 tasks, without momentum", "permuted-mnist", codes=False),
    *(
        Claim(
            "permuted MNIST, 10 tasks, as SI's authors train",
            what,
            0.9694,
            "zenke2017si",
            "the authors' stored results, width 2,000",
            "si-authors",
            average(name),
        )
        for what, name in (("SI", "SI"), ("SI, initial weights of Keras", "SI, Glorot"))
    ),
    *_split(0),
    *(
        Claim(
            "split MNIST, task-incremental",
            what,
            number,
            "aljundi2018mas",
            "mean over the tasks of " + where,
            "split-mnist-task",
            average("MAS"),
        )
        for what, number, where in (
            (
                "MAS, the authors' demo",
                0.9886,
                "its stored output, best pass of each task chosen on test images",
            ),
            (
                "MAS, the same with old data",
                0.9927,
                "its other output, importances measured anew on all old tasks",
            ),
        )
    ),
    Claim(
        "split MNIST, task-incremental, 20 passes",
        "fine-tuning, one Adam kept",
        _SPLIT["fine-tuning"][1][0],
        "vandeven2022three",
        "Table 2, a failure",
        "kept-adam",
        average("kept"),
        at_most=True,
    ),
    *_split(1),
    *_split(2),
    *_abstract("disjoint MNIST", "disjoint-mnist"),
    Claim(
        "disjoint MNIST",
        "task 1 after task 3, AD + EWC",
        0.9453,
        "wen2018ad",
        "abstract",
        "disjoint-mnist",
        final("AD + EWC", 0),
    ),
    Claim(
        "disjoint MNIST",
        "mean after task 3, AD + EWC",
        0.94,
        "wen2018ad",
        OUR_BAR,
        "disjoint-mnist",
        average("AD + EWC"),
    ),
    *_directions("disjoint MNIST", "disjoint-mnist"),
    *_abstract("disjoint MNIST, 20 passes", "disjoint-mnist-long"),
    Claim(
        "disjoint CIFAR-10",
        "task 1 when learned",
        0.7010,
        "wen2018ad",
        "abstract",
        "disjoint-cifar10",
        learned("plain", 0),
    ),
    Claim(
        "disjoint CIFAR-10",
        "task 1 after task 3, AD + EWC",
        0.6773,
        "wen2018ad",
        "abstract",
        "disjoint-cifar10",
        final("AD + EWC", 0),
    ),
    *(
        Claim(
            "disjoint CIFAR-10",
            f"task 1 after task 3, {method}",
            1 / 3,
            "wen2018ad",
            "abstract, at chance, which we read as one in three, a failure",
            "disjoint-cifar10",
            final(method, 0),
            at_most=True,
        )
        for method in ("plain", "EWC")
    ),
    *_directions("disjoint CIFAR-10", "disjoint-cifar10"),
    _ahead(
        "EMNIST letters",
        "AD + EWC ahead of EWC",
        gain("AD + EWC", "EWC"),
        source="wen2018submission",
        where="as on MNIST; no number could be read",
        experiment="emnist-letters",
    ),
    *_directions("EMNIST letters", "emnist-letters"),
    *_selfless(64, 0.935),
    *_selfless(128, 0.95),
    *_draws(),
    *_neighbourhoods(),
    _ahead(
        "permuted MNIST, 5 tasks",
        "fine-tuning with 2,048 units ahead of 16",
        gain("finetune, 2048 units", "finetune, 16 units"),
        source="mirzadeh2022wide",
        where="wide networks forget less, on other streams",
        experiment="width",
    ),
    *(
        _ahead(
            "permuted MNIST, 5 tasks",
            f"EWC ahead of fine-tuning, {width:,} units",
            gain(f"EWC, {width} units", f"finetune, {width} units"),
            source="kirkpatrick2017ewc",
            where="Figure 2, another width",
            experiment="width",
        )
        for width in (16, 2048)
    ),
    *_mas_inputs(),
    *(
        Claim(
            f"split {dataset}, online EWC",
            "fine-tuning" if ours == "none" else f"Fisher: {ours}",
            numbers[dataset],
            "vandeven2025fisher",
            where + ", a failure" * (ours == "none"),
            experiment,
            average(ours),
            at_most=ours == "none",
        )
        for dataset, experiment, where in (
            ("MNIST", "fisher-split-mnist", "table of best strengths"),
            ("CIFAR-10", "fisher-split-cifar10", "table of best strengths, a reduced ResNet-18"),
        )
        for ours, numbers in {
            "none": {"MNIST": 0.8541, "CIFAR-10": 0.6953},
            "exact": {"MNIST": 0.9912, "CIFAR-10": 0.8491},
            "exact, 500 images": {"MNIST": 0.9893, "CIFAR-10": 0.8457},
            "sampled": {"MNIST": 0.9912, "CIFAR-10": 0.8377},
            "empirical": {"MNIST": 0.9912, "CIFAR-10": 0.8328},
            "batched, 128": {"MNIST": 0.9911, "CIFAR-10": 0.8338},
        }.items()
    ),
)
