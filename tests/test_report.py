"""The reproduction table: verdicts by hand, and claims that point to something."""

import random
import re

import pytest
from conftest import BOOK
from test_results import MANIFEST

from cl_lib import metrics, report, results
from cl_lib.claims import OUR_BAR, VERDICTS, Claim, average, final, gain, learned, over_draws
from cl_lib.experiments import EXPERIMENTS
from cl_lib.published import CLAIMS, WORKS

KEYS = set(re.findall(r"^@\w+\{([^,]+),", (BOOK / "references.bib").read_text("utf8"), re.MULTILINE))
N_TASKS = {"permuted-mnist-wide": 10, "disjoint-mnist": 3, "disjoint-cifar10": 3}


def interval(low, mean, high):
    return {"mean": mean, "low": low, "high": high}


def number(low, mean, high, n=2):
    return metrics.Interval(mean, low, high, n, "t", 0.95)


def claim(where="abstract", **options):
    return Claim("a group", "a claim", 0.90, "wen2018ad", where, "width", average("EWC"), **options)


@pytest.mark.parametrize(
    "low, mean, high, verdict",
    [
        (0.96, 0.97, 0.98, "above"),
        (0.9506, 0.97, 0.98, "above"),
        (0.9504, 0.97, 0.98, "reached"),  # printed as 0.050 better
        (0.94, 0.95, 0.96, "reached"),
        (0.85, 0.88, 0.91, "reached"),
        (0.85, 0.875, 0.90, "reached"),
        (0.85, 0.875, 0.8996, "reached"),  # as it is printed
        (0.85, 0.875, 0.8994, "partly"),
        (0.85, 0.87, 0.89, "partly"),
        (0.80, 0.83, 0.86, "partly"),
        (0.80, 0.83, 0.85, "partly"),  # 0.050 below, though 0.90 - 0.85 > 0.05 in floats
        (0.80, 0.83, 0.8496, "partly"),
        (0.80, 0.83, 0.8494, "not"),
        (0.80, 0.82, 0.84, "not"),
    ],
)
def test_a_number_is_reached_where_the_interval_reaches_it(low, mean, high, verdict):
    assert claim().verdict(number(low, mean, high)) == verdict


@pytest.mark.parametrize(
    "low, mean, high, verdict",
    [
        (0.10, 0.20, 0.30, "reached"),
        (0.89, 0.92, 0.95, "reached"),
        (0.94, 0.95, 0.96, "partly"),
        (0.95, 0.96, 0.97, "partly"),
        (0.9504, 0.96, 0.97, "partly"),
        (0.9506, 0.96, 0.97, "not"),
        (0.96, 0.97, 0.98, "not"),
    ],
)
def test_a_failure_is_reached_by_being_as_low(low, mean, high, verdict):
    assert claim(at_most=True).verdict(number(low, mean, high)) == verdict


@pytest.mark.parametrize(
    "low, mean, high, verdict",
    [
        (0.5, 0.9, 1.3, "reached"),
        (0.88, 0.8996, 0.92, "reached"),  # as it is printed
        (0.88, 0.8994, 0.92, "partly"),
        (0.1, 0.85, 1.6, "partly"),
        (0.1, 0.84, 1.6, "not"),
        (-0.1, 0.95, 2.0, "not"),
        (-0.3, -0.2, -0.1, "not"),
    ],
)
def test_a_target_of_our_own_is_reached_by_the_mean_with_an_interval_above_zero(low, mean, high, verdict):
    assert claim(where=OUR_BAR).verdict(number(low, mean, high)) == verdict


@pytest.mark.parametrize(
    "low, high, verdict",
    [
        (0.001, 0.4, "reached"),
        (0.0004, 0.4, "partly"),  # printed as 0.000
        (-0.1, 0.4, "partly"),
        (-0.4, -0.0004, "partly"),
        (-0.4, -0.001, "not"),
    ],
)
def test_a_finding_without_a_number_asks_which_is_ahead(low, high, verdict):
    ahead = Claim(
        "group", "a ahead of b", None, "wen2018ad", "abstract", "width", gain("a", "b"), difference=True
    )
    assert ahead.verdict(number(low, (low + high) / 2, high)) == verdict
    assert report.published({"paper": None}) == "> 0" and report.published({"paper": 1 / 3}) == "0.333"
    assert report.published({"paper": -0.0002}) == "0.000"


@pytest.mark.parametrize(
    "paper, low, high, verdict",
    [
        (-0.009, -0.012, -0.004, "reached"),
        (-0.009, -0.02, 0.01, "reached"),
        (-0.009, -0.004, -0.001, "partly"),
        (-0.009, -0.001, 0.002, "not"),  # no difference where they found one
        (-0.009, 0.03, 0.04, "not"),
        (0.009, 0.001, 0.004, "partly"),
        (0.009, 0.0004, 0.004, "not"),  # printed as 0.000
        (0.009, 0.04, 0.05, "partly"),
        (0.009, -0.05, -0.04, "not"),
        (-0.0002, -0.0003, 0.001, "reached"),
        (-0.0002, -0.05, -0.03, "partly"),
        (-0.0002, 0.03, 0.05, "not"),
    ],
)
def test_a_difference_with_a_number_is_held_from_both_sides(paper, low, high, verdict):
    row = Claim("group", "b less a", paper, "wen2018ad", "table", "width", gain("b", "a"), difference=True)
    assert row.verdict(number(low, (low + high) / 2, high)) == verdict


def test_differences_of_a_published_table_are_computed_from_it():
    """By hand from Table 3 of Aljundi et al. (2018): the sums of a line's eight accuracies, in percent."""
    training, test, both, local = 477.81, 477.63, 478.87, 470.24
    stated = {row.what: row.paper for row in CLAIMS if row.experiment == "mas-inputs"}
    for name, total in (("MAS (test)", test), ("MAS (both)", both), ("local MAS", local)):
        assert stated[f"{name} less MAS (training)"] == pytest.approx((total - training) / 800)


def test_where_ours_stands():
    methods = {
        "a": {
            "average": interval(0.1, 0.2, 0.3),
            "average_by_seed": [0.50, 0.60, 0.70],
            "final": [interval(0.3, 0.4, 0.5), interval(0.4, 0.5, 0.6)],
            "when_learned": [interval(0.5, 0.6, 0.7), interval(0.6, 0.7, 0.8)],
        },
        "b": {"average_by_seed": [0.49, 0.57, 0.68]},
    }
    assert average("a")(methods) == number(0.1, 0.2, 0.3, n=3)
    assert final("a", 1)(methods) == number(0.4, 0.5, 0.6, n=3)
    assert learned("a", 0)(methods) == number(0.5, 0.6, 0.7, n=3)
    found = gain("a", "b")(methods)
    assert found.mean == pytest.approx(0.02)
    # Student's t with two degrees of freedom, 4.3027, times 0.01 / sqrt(3)
    assert found.high - found.mean == pytest.approx(4.3027 * 0.01 / 3**0.5, rel=1e-4)
    assert found.low == pytest.approx(metrics.interval([0.01, 0.03, 0.02]).low)


def entry():
    some = interval(0.8, 0.9, 1.0)
    tasks = {"final": [some] * 2, "when_learned": [some] * 2}
    return {"chosen": [], "average": some, "average_by_seed": [0.9, 0.8], **tasks}


@pytest.mark.parametrize("row", CLAIMS, ids=lambda row: row.text)
def test_a_claim_points_to_an_experiment_a_contender_a_task_and_a_work(row):
    experiment = EXPERIMENTS[row.experiment]
    methods = {contender.name: entry() for contender in experiment.lines("cpu")}
    for found in methods.values():
        for what in ("final", "when_learned"):
            found[what] *= N_TASKS.get(row.experiment, 5)
    found = row.ours(methods)
    assert found.low <= found.mean <= found.high and found.n == (10 if row.group == ON_DRAWS else 2)
    assert row.source in KEYS and row.source in WORKS
    assert row.where and not (row.at_most and row.own)
    assert row.at_most == row.where.split(", a memory")[0].endswith(", a failure")
    assert abs(row.paper or 0) < 0.02 if row.difference else 0.15 < row.paper < 1


@pytest.mark.parametrize("key, name", WORKS.items())
def test_works_are_called_as_the_bibliography_has_them(key, name):
    entry = (BOOK / "references.bib").read_text("utf8").split(f"{{{key},")[1].split("\n}")[0]
    authors = re.search(r"author = \{(.*)\}", entry)[1].split(" and ")
    surnames = [author.split(",")[0] for author in authors]
    called = {1: surnames[0], 2: " & ".join(surnames)}.get(len(surnames), f"{surnames[0]} et al.")
    assert name == f"{called} ({re.search(r'year = .(....)', entry)[1]})"


def test_stored_intervals_are_read_as_they_were_made():
    """Manifests have mean, low and high; what kind of interval they are is known to the code alone."""
    manifest = results.load_manifest("permuted-mnist")["methods"]
    for name, line in manifest.items():
        expected = metrics.interval(line["average_by_seed"])
        found = average(name)(manifest)
        assert (found.n, found.method, found.level) == (expected.n, expected.method, expected.level)
        assert (found.mean, found.low, found.high) == pytest.approx(
            (expected.mean, expected.low, expected.high), abs=2e-6
        )


def test_claims_are_told_apart():
    assert len({row.text for row in CLAIMS}) == len(CLAIMS)


def manifest(root, name, methods, stale=None, **budget):
    lines = {c.name: {"method": "a", "grid": [[]], "width": c.width} for c in EXPERIMENTS[name].contenders}
    content = {"budget": MANIFEST["budget"] | budget, "seeds": [0, 1, 2], "methods": methods}
    results.save_manifest(root / name, MANIFEST | content | {"contenders": lines, "stale": stale})


def test_the_table_is_made_from_the_manifests_alone(tmp_path):
    experiment = EXPERIMENTS["permuted-mnist-wide"]
    methods = {contender.name: entry() for contender in experiment.contenders}
    methods["EWC"]["average"] = interval(0.93, 0.935, 0.945)
    methods["SI"]["average"] = interval(0.93, 0.94, 0.95)
    methods["finetune"]["average"] = interval(0.7, 0.8, 0.9)
    manifest(tmp_path, "permuted-mnist-wide", methods, epochs=2, n_train=5000, width=100)
    rows = {f"{row['group']}: {row['what']}": row for row in report.rows(tmp_path)}
    assert list(rows) == [claim.text for claim in CLAIMS]
    assert set(verdict["verdict"] for verdict in rows.values()) <= set(VERDICTS)
    verdicts = {name: row["verdict"] for name, row in rows.items() if row["verdict"] != "not run"}
    assert verdicts == {
        "permuted MNIST, 10 tasks: EWC": "reached",
        "permuted MNIST, 10 tasks: EWC, another code": "above",
        "permuted MNIST, 10 tasks: SI": "partly",
        "permuted MNIST, 10 tasks: SI, another code": "above",
        "permuted MNIST, 10 tasks: MAS": "partly",
        "permuted MNIST, 10 tasks: fine-tuning": "not",
    }
    table = report.table(tmp_path).splitlines()
    source = "Kirkpatrick et al. (2017), number quoted in public benchmarks"
    assert table[2].startswith(f"| permuted MNIST, 10 tasks: EWC | 0.940 | {source} |")
    assert "| our own target; we found no number of Aljundi et al. (2018) |" in table[6]
    run = "cpu: 3 seeds, 2 passes over 5,000 images a task, width 100"
    assert table[2].endswith(f"| 0.935 [0.930, 0.945] | {run} | reached |")
    assert {line.count("|") for line in table[: len(CLAIMS) + 2]} == {7}
    missing = table[-1].removeprefix("Not cached: ").removesuffix(".").split(", ")
    assert set(missing) == set(EXPERIMENTS) - {"permuted-mnist-wide"}


def test_a_run_over_all_images_names_no_number_of_them(tmp_path):
    methods = {contender.name: entry() for contender in EXPERIMENTS["permuted-mnist-wide"].contenders}
    manifest(tmp_path, "permuted-mnist-wide", methods, epochs=1, n_train=None, width=10)
    assert report.rows(tmp_path)[0]["run"] == "cpu: 3 seeds, 1 pass, width 10"
    manifest(
        tmp_path,
        "permuted-mnist-wide",
        methods,
        stale={"since": "2026-02-01", "why": "a bug"},
        epochs=1,
        n_train=None,
        width=10,
    )
    assert report.rows(tmp_path)[0]["run"] == "stale, cpu: 3 seeds, 1 pass, width 10"


def test_a_run_in_which_each_contender_has_its_own_width_names_none(tmp_path):
    names = [contender.name for contender in EXPERIMENTS["width"].contenders]
    manifest(tmp_path, "width", dict.fromkeys(names, entry()), epochs=3, n_train=6000, width=100)
    (run,) = {row["run"] for row in report.rows(tmp_path) if row["verdict"] != "not run"}
    assert run == "cpu: 3 seeds, 3 passes over 6,000 images a task"


def test_a_manifest_without_what_is_claimed_is_named(tmp_path, monkeypatch):
    manifest(tmp_path, "permuted-mnist-wide", {"SI": entry()}, epochs=2, n_train=5000, width=100)
    message = "permuted-mnist-wide has no 'EWC' for 'permuted MNIST, 10 tasks: EWC'; make it again"
    with pytest.raises(results.CorruptResult, match=message):
        report.rows(tmp_path)
    monkeypatch.setattr(results, "check_form", lambda _: None)  # which asks for two tasks
    lines = {name: entry() | {"final": []} for name in ("plain", "EWC", "AD + EWC")}
    manifest(
        tmp_path,
        "permuted-mnist-wide",
        {c.name: entry() for c in EXPERIMENTS["permuted-mnist-wide"].contenders},
        epochs=2,
        n_train=5000,
        width=100,
    )
    manifest(tmp_path, "disjoint-mnist", lines, epochs=2, n_train=5000, width=100)
    with pytest.raises(
        results.CorruptResult, match="disjoint-mnist has too few tasks for 'disjoint MNIST: task"
    ):
        report.rows(tmp_path)


def test_bars_of_our_own_are_told_from_published_numbers():
    own = [row for row in report.rows() if row["own"]]
    assert len(own) == 22 and all(row["source"].startswith("our own target; ") for row in own)


def test_an_empty_folder_gives_a_table_of_what_is_not_run(tmp_path):
    assert {row["verdict"] for row in report.rows(tmp_path)} == {"not run"}
    assert report.table(tmp_path).count("| not run |") == len(CLAIMS)


# Where each claim's number stands: in an experiment's method, on average unless something else is said.
LEARNED, ENDED = " when learned, task 1", " in the end, task 1"
OF_SPLIT_MNIST = {
    "fine-tuning": "finetune",
    "fine-tuning, four passes": "finetune",
    "joint training": "joint",
    **{method: method for method in ("L2", "EWC", "online EWC", "SI", "MAS", "LwF", "replay")},
}
OF_DISJOINT = {
    "task 1 when learned": "plain" + LEARNED,
    "task 1 after task 3, plain": "plain" + ENDED,
    "task 1 after task 3, EWC": "EWC" + ENDED,
}
WITH_AD = {"task 1 after task 3, AD + EWC": "AD + EWC" + ENDED}
OF_DIRECTIONS = {
    f"AD + EWC ahead of a {other} memory": f"AD + EWC less {other} + EWC" for other in ("random", "gradient")
}
OF_SELFLESS = {
    "SLNID": "SLNID",
    "SLNID above none": "SLNID less no regulariser",
    "SLNID ahead of DeCov": "SLNID less DeCov",
    "SLNID + EWC ahead of EWC": "SLNID + EWC less EWC alone",
}
ON_DRAWS = "room for later tasks, 64 units, ten other pixel orders (intervals over orders)"
ON_EACH_DRAW = ("SLNID", "no regulariser", "DeCov")
OF_FISHERS = {
    "fine-tuning": "none",
    **{f"Fisher: {kind}": kind for kind in ("exact", "exact, 500 images", "sampled", "empirical")},
    "Fisher: batched, 128": "batched, 128",
}
STANDS = {
    ("permuted MNIST, 10 tasks", "permuted-mnist-wide"): {
        "EWC": "EWC",
        "EWC, another code": "EWC",
        "SI": "SI",
        "SI, another code": "SI",
        "MAS": "MAS",
        "fine-tuning": "finetune",
    },
    ("permuted MNIST, 10 tasks, without momentum", "permuted-mnist"): {
        "EWC": "EWC",
        "SI": "SI",
        "MAS": "MAS",
        "fine-tuning": "finetune",
    },
    ("permuted MNIST, 10 tasks, as SI's authors train", "si-authors"): {
        "SI": "SI",
        "SI, initial weights of Keras": "SI, Glorot",
    },
    ("split MNIST, task-incremental", "split-mnist-task"): {
        **{what: name for what, name in OF_SPLIT_MNIST.items() if what != "replay"},
        "MAS, the authors' demo": "MAS",
        "MAS, the same with old data": "MAS",
    },
    ("split MNIST, task-incremental, 20 passes", "kept-adam"): {"fine-tuning, one Adam kept": "kept"},
    ("split MNIST, domain-incremental", "split-mnist-domain"): OF_SPLIT_MNIST,
    ("split MNIST, class-incremental", "split-mnist-class"): OF_SPLIT_MNIST,
    ("disjoint MNIST", "disjoint-mnist"): OF_DISJOINT
    | WITH_AD
    | OF_DIRECTIONS
    | {"mean after task 3, AD + EWC": "AD + EWC"},
    ("disjoint MNIST, 20 passes", "disjoint-mnist-long"): OF_DISJOINT,
    ("disjoint CIFAR-10", "disjoint-cifar10"): OF_DISJOINT | WITH_AD | OF_DIRECTIONS,
    ("EMNIST letters", "emnist-letters"): OF_DIRECTIONS | {"AD + EWC ahead of EWC": "AD + EWC less EWC"},
    ("room for later tasks, 64 units", "selfless-64"): OF_SELFLESS,
    ("room for later tasks, 128 units", "selfless-128"): OF_SELFLESS,
    ("room for later tasks, how far inhibition reaches", "selfless-neighbourhood"): {
        "SLNI, a sixth of the layer, ahead of SNI": "SLNI, 1/6 less SNI",
        "SLNID, a sixth of the layer, ahead of SNID": "SLNID, 1/6 less SNID",
    },
    ("permuted MNIST, 5 tasks", "width"): {
        "fine-tuning with 2,048 units ahead of 16": "finetune, 2048 units less finetune, 16 units",
        "EWC ahead of fine-tuning, 16 units": "EWC, 16 units less finetune, 16 units",
        "EWC ahead of fine-tuning, 2,048 units": "EWC, 2048 units less finetune, 2048 units",
    },
    ("MNIST, two tasks of five digits", "mas-inputs"): {
        f"{name} less MAS (training)": f"{name} less MAS (training)"
        for name in ("MAS (test)", "MAS (both)", "local MAS")
    },
    ("split MNIST, online EWC", "fisher-split-mnist"): OF_FISHERS,
    ("split CIFAR-10, online EWC", "fisher-split-cifar10"): OF_FISHERS,
}


def made_up_number(where):
    """Another one for every place of a manifest."""
    return random.Random(where).random()


def made_up_methods(experiment):
    """The methods of a manifest in which no two numbers are equal."""

    def entry(name):
        cells = {
            kind: [interval(0, made_up_number(f"{name} {words}, task {t}"), 1) for t in (1, 2, 3)]
            for kind, words in (("final", "in the end"), ("when_learned", "when learned"))
        }
        mean = made_up_number(name)
        return cells | {"average": interval(0, mean, 1), "average_by_seed": [mean, mean]}

    return {contender.name: entry(contender.name) for contender in EXPERIMENTS[experiment].contenders}


def test_each_claim_shows_its_own_number():
    found, expected = {}, {}
    for claim in CLAIMS:
        key = (claim.group, claim.experiment, claim.what)
        found[key] = claim.ours(made_up_methods(claim.experiment)).mean
    draws = [f", draw {draw}" for draw in range(2, 12)]
    ended = {name: [made_up_number(name + draw) for draw in draws] for name in ON_EACH_DRAW}
    over = {name: sum(each) / len(each) for name, each in ended.items()}
    expected[ON_DRAWS, "selfless-draws", "SLNID"] = over["SLNID"]
    for what, other in (("SLNID above none", "no regulariser"), ("SLNID ahead of DeCov", "DeCov")):
        expected[ON_DRAWS, "selfless-draws", what] = over["SLNID"] - over[other]
    for (group, experiment), stands in STANDS.items():
        for what, where in stands.items():
            own, _, base = where.partition(" less ")
            expected[group, experiment, what] = made_up_number(own) - (made_up_number(base) if base else 0)
    assert found == pytest.approx(expected)


def test_a_gain_on_several_draws_has_the_interval_over_the_draws():
    accuracies = {"one, draw 4": (0.5, 0.9), "two, draw 4": (0.4, 0.6)}  # ahead by 0.2
    accuracies |= {"one, draw 5": (0.7, 0.7), "two, draw 5": (0.5, 0.7)}  # by 0.1
    accuracies |= {"one, draw 6": (0.3, 0.3), "two, draw 6": (0.0, 0.0)}  # by 0.3
    methods = {name: {"average_by_seed": list(values)} for name, values in accuracies.items()}
    found = over_draws(lambda draw: gain(f"one, draw {draw}", f"two, draw {draw}"), (4, 5, 6))(methods)
    half = 4.302653 * 0.1 / 3**0.5  # Student's t with two degrees of freedom
    assert (found.low, found.mean, found.high) == pytest.approx((0.2 - half, 0.2, 0.2 + half))
    assert found.n == 3


def test_each_experiment_is_judged():
    assert {claim.experiment for claim in CLAIMS} == set(EXPERIMENTS) - {"tiny"}  # of other tests


# What papers state once more, in percent. Split MNIST: task-, domain- and class-incremental.
OF_HSU = {
    "fine-tuning, four passes": (93.46, 55.16, 19.71),
    "L2": (98.18, 66.00, 22.52),
    "online EWC": (98.04, 57.33, 19.77),
    "SI": (98.56, 64.76, 19.67),
    "MAS": (99.22, 68.57, 19.52),
}
OF_VAN_DE_VEN = {
    "fine-tuning": (84.32, 60.13, 19.89),
    "EWC": (99.06, 63.03, 20.64),
    "LwF": (99.60, 71.18, 21.89),
    "replay": (None, 93.75, 88.79),
    "joint training": (99.67, 98.59, 98.17),
}
OF_OTHERS = {
    ("kirkpatrick2017ewc", "permuted MNIST, 10 tasks"): {"EWC": 94},
    ("lomonaco2021avalanche", "permuted MNIST, 10 tasks"): {
        "EWC, another code": 83,
        "SI, another code": 83,
    },
    ("kirkpatrick2017ewc", "permuted MNIST, 10 tasks, without momentum"): {"EWC": 94},
    ("zenke2017si", "permuted MNIST, 10 tasks"): {"SI": 96.94, "fine-tuning": 57.41},
    ("zenke2017si", "permuted MNIST, 10 tasks, without momentum"): {"SI": 96.94, "fine-tuning": 57.41},
    ("zenke2017si", "permuted MNIST, 10 tasks, as SI's authors train"): {
        "SI": 96.94,
        "SI, initial weights of Keras": 96.94,
    },
    # Accuracies on the five tasks that the two demos end with.
    ("aljundi2018mas", "split MNIST, task-incremental"): {
        "MAS, the authors' demo": round((99.49 + 99.65 + 98.00 + 98.10 + 99.04) / 5, 2),
        "MAS, the same with old data": round((99.40 + 99.80 + 98.43 + 99.20 + 99.50) / 5, 2),
    },
    ("vandeven2022three", "split MNIST, task-incremental, 20 passes"): {"fine-tuning, one Adam kept": 84.32},
    ("wen2018ad", "disjoint MNIST"): {
        "task 1 when learned": 99.24,
        "task 1 after task 3, plain": 32.95,
        "task 1 after task 3, EWC": 41.02,
        "task 1 after task 3, AD + EWC": 94.53,
    },
    ("wen2018ad", "disjoint MNIST, 20 passes"): {
        "task 1 when learned": 99.24,
        "task 1 after task 3, plain": 32.95,
        "task 1 after task 3, EWC": 41.02,
    },
    ("wen2018ad", "disjoint CIFAR-10"): {
        "task 1 when learned": 70.10,
        "task 1 after task 3, plain": 33.3333,  # by chance, one in three
        "task 1 after task 3, EWC": 33.3333,
        "task 1 after task 3, AD + EWC": 67.73,
    },
    ("vandeven2025fisher", "split MNIST, online EWC"): {
        "fine-tuning": 85.41,
        "Fisher: exact": 99.12,
        "Fisher: exact, 500 images": 98.93,
        "Fisher: sampled": 99.12,
        "Fisher: empirical": 99.12,
        "Fisher: batched, 128": 99.11,
    },
    ("vandeven2025fisher", "split CIFAR-10, online EWC"): {
        "fine-tuning": 69.53,
        "Fisher: exact": 84.91,
        "Fisher: exact, 500 images": 84.57,
        "Fisher: sampled": 83.77,
        "Fisher: empirical": 83.28,
        "Fisher: batched, 128": 83.38,
    },
}


def test_published_numbers_are_those_of_the_papers():
    tables = dict(OF_OTHERS)
    for source, table in (("hsu2018reeval", OF_HSU), ("vandeven2022three", OF_VAN_DE_VEN)):
        for k, scenario in enumerate(("task", "domain", "class")):
            numbers = {what: row[k] for what, row in table.items() if row[k] is not None}
            tables[source, f"split MNIST, {scenario}-incremental"] = numbers
    found = {}
    for claim in CLAIMS:
        if not claim.own and not claim.difference:
            table = found.setdefault((claim.source, claim.group), {})
            table[claim.what] = round(100 * claim.paper, 4)
    assert found == tables
