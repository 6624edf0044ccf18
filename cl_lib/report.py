"""The reproduction table: what a paper (or its best public reading) found, and what we did."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cl_lib import metrics, results
from cl_lib.experiments import EXPERIMENTS
from cl_lib.metrics import Interval

OUR_BAR = "our own target; we found no number of {}"
VERDICTS = ("reproduced", "partly", "not", "above", "not run")
#: Keys of the bibliography that the claims name, as one would say them.
WORKS = {
    "aljundi2018mas": "Aljundi et al. (2018)",
    "aljundi2019selfless": "Aljundi et al. (2019)",
    "hsu2018reeval": "Hsu et al. (2018)",
    "kirkpatrick2017ewc": "Kirkpatrick et al. (2017)",
    "vandeven2022three": "van de Ven et al. (2022)",
    "vandeven2025fisher": "van de Ven (2025)",
    "wen2018ad": "Wen & Itti (2018)",
    "zenke2017si": "Zenke et al. (2017)",
}


@dataclass(frozen=True)
class Claim:
    """A number that somebody published, and where ours stands in a manifest.

    ``ours`` takes the manifest's ``methods``. ``at_most`` is for numbers
    that are failures, which are reproduced by being as low. ``source`` is a key of the bibliography.
    """

    group: str
    what: str
    paper: float
    source: str
    where: str
    experiment: str
    ours: Callable[[dict], Interval]
    at_most: bool = False

    @property
    def own(self) -> bool:
        """Whether the number is a target of our own, which no paper states."""
        return self.where == OUR_BAR

    @property
    def text(self) -> str:
        """The claim in one line."""
        return f"{self.group}: {self.what}"

    def verdict(self, found: Interval) -> str:
        """``reproduced`` where the interval reaches the number or lies above, ``partly`` up to 0.05 below.

        ``above`` where all of the interval is more than five points better, hardly the same experiment.

        A target of our own is ``reproduced`` where the mean reaches it, ``partly`` up to 0.05 below, and
        ``not`` where the interval reaches 0, which only that of a gain does.
        """
        if self.own:
            missed = round(self.paper - round(found.mean, 3), 3)
            reached = "reproduced" if missed <= 0 else "partly"
            return reached if found.low > 0 and missed <= 0.05 else "not"
        if not self.at_most and found.low > self.paper + 0.05:
            return "above"
        paper, low, high = (round(value, 3) for value in (self.paper, found.low, found.high))  # as printed
        gap = low - paper if self.at_most else paper - high
        if gap <= 0:
            return "reproduced"
        return "partly" if gap <= 0.05 else "not"


def average(method: str) -> Callable[[dict], Interval]:
    """Average accuracy after the last task."""
    return lambda methods: _stored(methods[method], methods[method]["average"])


def final(method: str, task: int) -> Callable[[dict], Interval]:
    """Accuracy on a task after the last one."""
    return lambda methods: _stored(methods[method], methods[method]["final"][task])


def learned(method: str, task: int) -> Callable[[dict], Interval]:
    """Accuracy on a task right after learning it."""
    return lambda methods: _stored(methods[method], methods[method]["when_learned"][task])


def gain(method: str, over: str) -> Callable[[dict], Interval]:
    """Paired difference of the average accuracies, seed by seed."""

    def difference(methods: dict) -> Interval:
        a, b = (np.array(methods[name]["average_by_seed"]) for name in (method, over))
        return metrics.interval(a - b)

    return difference


def _stored(line: dict, numbers: dict[str, float]) -> Interval:
    """An interval of a manifest, which has them as :func:`cl_lib.metrics.interval` gives them."""
    return Interval(**numbers, n=len(line["average_by_seed"]), method="t", level=0.95)


_VAN_DE_VEN, _HSU = ("vandeven2022three", "Table 2"), ("hsu2018reeval", "Table 2")
# Split MNIST: where the number stands, and what it is in the three scenarios.
_SCENARIOS = ("task", "domain", "class")
_SPLIT = {
    "fine-tuning": (_VAN_DE_VEN, (0.8432, 0.6013, 0.1989)),
    "L2": (_HSU, (0.9818, 0.6600, 0.2252)),
    "EWC": (_VAN_DE_VEN, (0.9906, 0.6303, 0.2064)),
    "SI": (_HSU, (0.9856, 0.6476, 0.1967)),
    "MAS": (_HSU, (0.9922, 0.6857, 0.1952)),
    "LwF": (_VAN_DE_VEN, (0.9960, 0.7118, 0.2189)),
    "replay": (_VAN_DE_VEN, (None, 0.9375, 0.8879)),
    "joint training": (_VAN_DE_VEN, (0.9967, 0.9859, 0.9817)),
}


def _split(k: int) -> Iterator[Claim]:
    scenario = _SCENARIOS[k]
    for what, ((source, where), numbers) in _SPLIT.items():
        if numbers[k] is None:
            continue
        failure = what == "fine-tuning" or (scenario == "class" and what not in ("replay", "joint training"))
        yield Claim(
            f"split MNIST, {scenario}-incremental",
            what,
            numbers[k],
            source,
            where + ", a failure" * failure + ", a memory of its own size" * (what == "replay"),
            f"split-mnist-{scenario}",
            average({"fine-tuning": "finetune", "joint training": "joint"}.get(what, what)),
            at_most=failure,
        )


def _selfless(width: int, what: str, bar: float, ours) -> Claim:
    group = f"room for later tasks, {width} units"
    return Claim(group, what, bar, "aljundi2019selfless", OUR_BAR, f"selfless-{width}", ours)


#: The rows of the table.
#:
#: :meta hide-value:
CLAIMS = (
    *(
        Claim(
            "permuted MNIST, 10 tasks",
            what,
            number,
            source,
            where,
            "permuted-mnist-wide",
            average({"fine-tuning": "finetune"}.get(what, what)),
            at_most=what == "fine-tuning",
        )
        for what, number, source, where in (
            ("EWC", 0.94, "kirkpatrick2017ewc", "number quoted in public benchmarks"),
            ("SI", 0.9694, "zenke2017si", "the authors' stored results, width 2,000"),
            ("MAS", 0.95, "aljundi2018mas", OUR_BAR),
            ("fine-tuning", 0.5741, "zenke2017si", "the authors' stored results, width 2,000, c = 0"),
        )
    ),
    *(claim for k in range(3) for claim in _split(k)),
    Claim(
        "disjoint MNIST",
        "task 1 when learned",
        0.9924,
        "wen2018ad",
        "abstract",
        "disjoint-mnist",
        learned("plain", 0),
    ),
    Claim(
        "disjoint MNIST",
        "task 1 after task 3, plain",
        0.3295,
        "wen2018ad",
        "abstract",
        "disjoint-mnist",
        final("plain", 0),
        at_most=True,
    ),
    Claim(
        "disjoint MNIST",
        "task 1 after task 3, EWC",
        0.4102,
        "wen2018ad",
        "abstract",
        "disjoint-mnist",
        final("EWC", 0),
    ),
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
    _selfless(64, "SLNID", 0.935, average("SLNID")),
    _selfless(64, "SLNID above none", 0.01, gain("SLNID", "no regulariser")),
    _selfless(128, "SLNID", 0.95, average("SLNID")),
    _selfless(128, "SLNID above none", 0.01, gain("SLNID", "no regulariser")),
    *(
        Claim(
            f"split {dataset}, online EWC",
            f"Fisher: {ours}",
            numbers[dataset],
            "vandeven2025fisher",
            where,
            experiment,
            average(ours),
        )
        for dataset, experiment, where in (
            ("MNIST", "fisher-split-mnist", "table of best strengths"),
            ("CIFAR-10", "fisher-split-cifar10", "table of best strengths, a reduced ResNet-18"),
        )
        for ours, numbers in {
            "exact": {"MNIST": 0.9912, "CIFAR-10": 0.8491},
            "exact, 500 images": {"MNIST": 0.9893, "CIFAR-10": 0.8457},
            "sampled": {"MNIST": 0.9912, "CIFAR-10": 0.8377},
            "empirical": {"MNIST": 0.9912, "CIFAR-10": 0.8328},
            "batched, 128": {"MNIST": 0.9911, "CIFAR-10": 0.8338},
        }.items()
    ),
)


def rows(root: Path | None = None) -> list[dict]:
    """One row for each claim, from the manifests alone."""
    found = []
    for claim in CLAIMS:
        work = WORKS[claim.source]
        source = OUR_BAR.format(work) if claim.own else f"{work}, {claim.where}"
        row = {
            "group": claim.group,
            "what": claim.what,
            "paper": claim.paper,
            "own": claim.own,
            "source": source,
        }
        try:
            manifest = results.load_manifest(claim.experiment, root=root)
        except FileNotFoundError:
            found.append(row | {"ours": None, "verdict": "not run", "run": "-"})
            continue
        try:
            ours = claim.ours(manifest["methods"])
        except (KeyError, IndexError) as error:
            lacks = f"has no {error}" if isinstance(error, KeyError) else "has too few tasks"
            raise results.CorruptResult(
                f"the manifest of {claim.experiment} {lacks} for {claim.text!r}; make it again "
                f"with: python -m cl_lib run {claim.experiment}"
            ) from None
        found.append(row | {"ours": ours, "verdict": claim.verdict(ours), "run": _run(manifest)})
    return found


def _run(manifest: dict) -> str:
    """How much was trained, as the manifest says."""
    budget = manifest["budget"]
    images = f" over {budget['n_train']:,} images a task" if budget["n_train"] else ""
    passes = f"{budget['epochs']} pass{'es' * (budget['epochs'] > 1)}{images}"
    stale = "stale, " if manifest["stale"] else ""
    return f"{stale}{manifest['profile']}: {len(manifest['seeds'])} seeds, {passes}, width {budget['width']}"


def table(root: Path | None = None) -> str:
    """The reproduction table as Markdown."""
    lines = ["| claim | paper | source | ours | run | verdict |", "|---|---|---|---|---|---|"]
    for row in rows(root):
        claim = f"{row['group']}: {row['what']}"
        cells = (
            claim,
            f"{row['paper']:.3f}",
            row["source"],
            str(row["ours"] or "-"),
            row["run"],
            row["verdict"],
        )
        lines.append(f"| {' | '.join(cells)} |")
    missing = sorted(set(EXPERIMENTS) - set(results.cached(root)))
    if missing:
        lines += ["", f"Not cached: {', '.join(missing)}."]
    return "\n".join(lines)
