"""Freshness: a changed twin is stale and fails, a note lets it pass, and the pages say so."""

import itertools
import json
import re
import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_experiment
import torch
from conftest import ROOT

from cl_lib import EWC, Finetune, fit, freshness, results, runner, store, twins, units
from cl_lib.data import load
from cl_lib.experiments import EXPERIMENTS
from cl_lib.files import write_atomically
from cl_lib.setups import mlp

TINY = tiny_experiment.TINY
TODAY = "2024-02-29"


@pytest.fixture(autouse=True)
def one_day(monkeypatch):
    """Notes are dated in UTC; a run of the tests may well go past midnight."""
    monkeypatch.setattr(
        freshness, "datetime", SimpleNamespace(now=lambda zone: datetime.fromisoformat(TODAY))
    )


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    EXPERIMENTS["tiny"] = TINY
    path = runner.run("tiny", profile="cpu", device="cpu", root=tmp_path_factory.mktemp("original"))
    yield {file.name: file.read_bytes() for file in path.iterdir()}
    EXPERIMENTS.pop("tiny", None)


@pytest.fixture
def root(original, tmp_path, monkeypatch):
    """Return a folder of results with the tiny experiment in it."""
    monkeypatch.setitem(EXPERIMENTS, "tiny", TINY)
    for name, content in original.items():
        write_atomically(tmp_path / "tiny" / name, content)
    return tmp_path


def edit(root, change):
    """Change the manifest in place."""
    path = root / "tiny" / "manifest.json"
    manifest = json.loads(path.read_text("utf8"))
    change(manifest)
    path.write_text(json.dumps(manifest))


def shift(root, contender="EWC", **by):
    edit(root, lambda m: m["twin"][contender].update({k: m["twin"][contender][k] + d for k, d in by.items()}))


def test_what_was_just_made_is_fresh(root):
    state = freshness.check("tiny", root=root)
    assert (state.verdict, state.found, state.fails) == ("fresh", (), False)
    assert str(state) == "tiny: fresh"


@pytest.mark.parametrize("by", [{"accuracy": 0.1}, {"weight_size": 0.01}, {"effect": 0.02}])
def test_a_changed_twin_is_stale_and_fails(root, by):
    shift(root, **by)
    state = freshness.check("tiny", root=root)
    assert state.verdict == "stale" and state.fails
    [found] = state.found
    assert found.startswith("EWC: ") and ", now " in found
    assert found in str(state)


def test_small_differences_of_machines_are_no_change(root):
    shift(root, accuracy=0.001, weight_size=1e-7, effect=1e-8)
    assert freshness.check("tiny", root=root).verdict == "fresh"


@pytest.mark.parametrize(
    "change, line",
    [
        (lambda m: m["average"].update(high=m["average"]["high"] + 1e-5), "average is not that of its runs"),
        (lambda m: m["average_by_seed"].pop(), "average by seed is not that of its runs"),
        (lambda m: m["final"][1].update(mean=0.5), "final is not that of its runs"),
        (lambda m: m.update(chosen=[7.0]), "its runs were made at another strength than the chosen one"),
    ],
)
def test_a_manifest_must_say_what_the_data_say(change, line, root):
    edit(root, lambda m: change(m["methods"]["EWC"]))
    state = freshness.check("tiny", root=root)
    assert state.fails and f"EWC: {line}" in state.found


def test_the_chosen_strength_must_be_the_best_of_its_search(root):
    cached = results.load("tiny", root=root)
    strengths, scores = cached.search("EWC")
    worst = strengths[np.nanargmin(scores.mean(1)), 0]
    runs, manifest = cached.accuracy, cached.manifest
    runs.loc[runs["method"] == "EWC", "strength"] = worst
    manifest["methods"]["EWC"]["chosen"] = [worst]
    results.save(root / "tiny", runs, cached.search_table, cached.arrays, manifest)
    state = freshness.check("tiny", root=root)
    assert state.found == ("EWC: the chosen strength is not the best of its search",) and state.fails


def test_a_number_that_is_none_any_more_is_a_change():
    stored = {"a": {"accuracy": 0.5, "effect": 1.0}}
    found = twins.differences(stored, {"a": {"accuracy": np.nan, "effect": np.nan}})
    assert found == {"a": ["accuracy 0.5, now nan", "effect on the weights 1, now nan"]}


def test_differences_by_hand():
    same = {"accuracy": 0.5, "weight_size": 2.0, "effect": 0.01, "curve": 0.6}
    stored = {"a": same, "b": same}
    close = {"accuracy": 0.503, "weight_size": 2.00001, "effect": 0.010001, "curve": 0.601}
    assert twins.differences(stored, {"a": close, "c": same}) == {
        "b": ["only in one of both"],
        "c": ["only in one of both"],
        "a": ["accuracy 0.5, now 0.503"],
    }
    other = same | {"weight_size": 2.003, "effect": 0.00999, "curve": 0.61}
    assert twins.differences({"a": same}, {"a": other})["a"] == [
        "size of weights 2, now 2.003",
        "effect on the weights 0.01, now 0.00999",
        "curve 0.6, now 0.61",
    ]
    other = {"accuracy": 0.5, "weight_size": 2.0, "effect": 0.01, "active_units": 0.3}
    assert twins.differences({"a": same}, {"a": other})["a"] == [
        "active units only in one of both",
        "curve only in one of both",
    ]


def test_a_method_that_has_stopped_working_is_seen_in_every_twin():
    """Each effect is several times what the tolerance lets pass, so none could vanish unseen."""
    plain = {"finetune", "plain", "plain, own heads", "none", "new"}
    for name in results.cached():
        twin = results.load_manifest(name)["twin"]
        effects = {m: numbers["effect"] for m, numbers in twin.items()}
        for method, effect in effects.items():
            if method.split(",")[0] in plain:
                assert effect == 0
            else:
                assert effect > 4 * twins.NO_EFFECT, (name, method)
                gone = {method: twin[method] | {"effect": 0.0}}
                assert twins.differences({method: twin[method]}, gone)


def test_twins_tell_contenders_apart():
    """So a part of a method that is lost is seen, also where the whole still has an effect."""
    as_many = {"exact", "exact, 500 images"}  # the twin has fewer images than that
    for name in results.cached():
        twin = results.load_manifest(name)["twin"]
        for a, b in itertools.combinations(twin, 2):
            differ = twins.differences({"": twin[a]}, {"": twin[b]})
            assert differ or {a, b} == as_many, (name, a, b)


def test_what_is_measured_of_a_run_is_in_the_twin(monkeypatch):
    for name, what in (("selfless-64", "active_units"), ("mas-inputs", "class_accuracy"), ("width", "curve")):
        for numbers in results.load_manifest(name)["twin"].values():
            assert what in numbers
    behaviour = twins.run_twin(TINY)
    monkeypatch.setitem(
        EXPERIMENTS, "tiny", replace(TINY, measure=lambda run, stream: {"two": np.full(3, 2)})
    )
    measured = twins.run_twin(EXPERIMENTS["tiny"])
    assert measured == {name: numbers | {"two": 2.0} for name, numbers in behaviour.items()}
    assert twins.differences(behaviour, measured)["EWC"] == ["two only in one of both"]


def test_a_twin_is_a_run_and_its_effect_a_distance_from_plain_training():
    twin = twins.run_twin(TINY)
    budget = {"epochs": 1, "batch_size": 32, "seeds": (0, 1, 2), "progress": False, **TINY.training}
    stream = TINY.stream(load("digits"), tiny_experiment.BUDGET, 0)

    def run(method):
        return fit(lambda: mlp(stream, 8), stream, method, device="cpu", dtype=torch.float64, **budget)

    found, plain = run(EWC((10.0,))), run(Finetune())
    expected = np.mean([(p - plain.params[name]).square().mean() for name, p in found.params.items()]) ** 0.5
    assert twin["EWC"]["effect"] == pytest.approx(expected, rel=1e-3) and expected > 0
    assert twin["finetune"]["effect"] == 0
    for name, alone in (("EWC", found), ("finetune", plain)):
        assert twin[name]["accuracy"] == pytest.approx(alone.accuracy.mean(), abs=1e-8)


def opened(root):
    """Open the store as a run does."""
    return store.open_store(root / ".units" / "tiny", TINY, results.load_manifest("tiny", root=root))


def unit_of(contender):
    every = units.search_units(TINY, "cpu", tiny_experiment.BUDGET)
    return next(unit for unit in every if unit.contender == contender)


def as_changed_code(monkeypatch, twin, digest="changed"):
    """Let the code be another one, with that twin, as a new process would see it."""
    monkeypatch.setattr(store, "run_twin", lambda _: twin)
    monkeypatch.setattr(store, "code_digest", lambda: digest)


@pytest.mark.parametrize("left", ["the store", "the result alone"])
def test_small_changes_do_not_add_up(left, root, monkeypatch):
    first = opened(root).twin
    if left == "the result alone":
        shutil.rmtree(root / ".units")
    drifted = first | {"EWC": first["EWC"] | {"accuracy": first["EWC"]["accuracy"] + 0.0015}}
    as_changed_code(monkeypatch, drifted)
    assert opened(root).twin == first


@pytest.mark.parametrize("content", ["{", "{}", "[]", "null"])
def test_a_damaged_twin_lets_no_other_codes_networks_pass(content, root, monkeypatch):
    kept = opened(root)
    unit = unit_of("EWC")
    kept.write(unit, units.run_unit(unit, "cpu"))
    assert opened(root).read(unit)
    (kept.path / "twin.json").write_text(content)
    as_changed_code(monkeypatch, kept.twin | {"EWC": {"accuracy": 0.0, "weight_size": 1.0, "effect": 0.0}})
    assert not opened(root).read(unit)


def test_stale_results_are_not_made_again_from_their_networks(root):
    kept = opened(root)
    unit = unit_of("EWC")
    outcome = units.run_unit(unit, "cpu")
    kept.write(unit, outcome)
    freshness.mark_stale("tiny", "the penalty was wrong", root=root)
    kept.write(unit, outcome)  # by a run that was under way
    assert not opened(root).read(unit)
    shutil.rmtree(root / ".units")
    assert not opened(root).read(unit)


def test_a_note_that_came_from_elsewhere_counts(root):
    """The result is replaced by one that was made again on another machine; networks from before lie here."""
    kept = opened(root)
    unit = unit_of("EWC")
    kept.write(unit, units.run_unit(unit, "cpu"))
    note = {"since": TODAY, "why": "the penalty was wrong"}
    edit(root, lambda m: m.update(mended=[note]))
    assert opened(root).notes == [note]
    assert not opened(root).read(unit)


def test_a_run_under_way_does_not_wash_a_note_off(root, monkeypatch):
    choose = runner.choose

    def marked_meanwhile(*arguments):
        if results.load_manifest("tiny", root=root)["stale"] is None:
            freshness.mark_stale("tiny", "the penalty was wrong", root=root)
        return choose(*arguments)

    monkeypatch.setattr(runner, "choose", marked_meanwhile)
    with pytest.raises(ValueError, match="tiny was marked stale while this run was under way"):
        runner.run("tiny", profile="cpu", device="cpu", root=root)
    assert results.load_manifest("tiny", root=root)["stale"]
    runner.run("tiny", profile="cpu", device="cpu", root=root)
    manifest = results.load_manifest("tiny", root=root)
    assert manifest["stale"] is None and manifest["mended"][0]["why"] == "the penalty was wrong"
    with pytest.raises(
        ValueError, match="why is 'the penalty was wrong', for which tiny was made again today"
    ):
        freshness.mark_stale("tiny", "the penalty was wrong", root=root)


def test_a_contender_more_or_less_is_a_change(root):
    edit(root, lambda m: m["twin"].pop("L2"))
    assert freshness.check("tiny", root=root).found == ("L2: only in one of both",)


def test_with_a_note_it_passes_and_the_page_says_so(root):
    shift(root, accuracy=0.1)
    freshness.mark_stale("tiny", "the loss has changed", root=root)
    state = freshness.check("tiny", root=root)
    assert state.verdict == f"known stale since {TODAY}" and not state.fails and state.found
    shown = results.load("tiny", root=root).provenance().data
    assert f"**Stale since {TODAY}:** the loss has changed" in shown


def test_a_note_counts_where_the_twin_sees_nothing(root):
    freshness.mark_stale("tiny", "trained on the wrong images", root=root)
    assert freshness.check("tiny", root=root).verdict == f"known stale since {TODAY}"


def test_a_note_says_why_and_about_what(root):
    with pytest.raises(ValueError, match="why is empty"):
        freshness.mark_stale("tiny", " ", root=root)
    with pytest.raises(FileNotFoundError, match="no results for 'width'"):
        freshness.mark_stale("width", "a reason", root=root)


def test_damage_is_found_before_the_twin_runs(root, monkeypatch):
    monkeypatch.setattr(freshness, "run_twin", lambda _: pytest.fail("the twin ran"))
    edit(root, lambda m: m.pop("files"))
    with pytest.raises(results.CorruptResult, match="'files' is a required property"):
        freshness.check("tiny", root=root)
    edit(root, lambda m: m.update(files={}))
    with pytest.raises(results.CorruptResult, match="tiny: files: "):
        freshness.check("tiny", root=root)


def test_what_is_not_cached_does_not_fail(root):
    state = freshness.check("width", root=root)
    assert state.verdict == "not cached" and not state.fails


# The last known verdict


def test_the_verdict_is_known_until_code_or_manifest_change(root, monkeypatch):
    assert freshness.last_known("tiny", root=root) == "not verified"
    freshness.check("tiny", root=root)
    assert freshness.last_known("tiny", root=root) == "fresh"
    assert freshness.last_known("width", root=root) == "not cached"
    with monkeypatch.context() as other:
        other.setattr(store, "code_digest", lambda: "another")
        assert freshness.last_known("tiny", root=root) == "not verified"
    assert freshness.last_known("tiny", root=root) == "fresh"
    freshness.mark_stale("tiny", "a reason", root=root)
    assert freshness.last_known("tiny", root=root) == "not verified"
    (root / ".units" / "verified.json").write_text("{")
    assert freshness.last_known("tiny", root=root) == "not verified"


def test_a_folder_that_keeps_no_verdicts_does_not_fail(root):
    (root / ".units").write_text("where a folder would be")
    assert freshness.check("tiny", root=root).verdict == "fresh"
    assert freshness.check_within(0, root=root)["tiny"].verdict == "fresh"


def test_a_verdict_is_about_the_manifest_that_was_looked_at(root, monkeypatch):
    def meanwhile(experiment):
        freshness.mark_stale("tiny", "a reason", root=root)
        return twins.run_twin(experiment)

    monkeypatch.setattr(freshness, "run_twin", meanwhile)
    assert freshness.check("tiny", root=root).verdict == "fresh"
    assert freshness.last_known("tiny", root=root) == "not verified"


def test_checks_end_in_time(root, monkeypatch):
    second = EXPERIMENTS["mas-inputs"]
    manifest = json.loads((root / "tiny" / "manifest.json").read_text("utf8"))
    write_atomically(root / "mas-inputs" / "manifest.json", json.dumps(manifest).encode())
    ran = []

    def check(name, root):
        ran.append(name)
        return freshness.State(name, "fresh")

    monkeypatch.setattr(freshness, "check", check)
    states = freshness.check_within(1e6, root=root)
    assert len(second.contenders) > len(TINY.contenders)
    assert ran == ["tiny", "mas-inputs"] and list(states) == ["mas-inputs", "tiny"]
    ran.clear()
    states = freshness.check_within(0, root=root)
    assert ran == ["tiny"]
    assert {name: s.verdict for name, s in states.items()} == {"tiny": "fresh", "mas-inputs": "not verified"}


def test_what_is_known_to_be_in_order_leaves_the_time_to_others(root, monkeypatch):
    manifest = json.loads((root / "tiny" / "manifest.json").read_text("utf8"))
    for name in ("mas-inputs", "width"):
        write_atomically(root / name / "manifest.json", json.dumps(manifest).encode())
    known = {"tiny": "fresh", "mas-inputs": "stale", "width": "known stale since 2024-02-29"}
    ran = []

    def check(name, root):
        ran.append(name)
        return freshness.State(name, "fresh")

    monkeypatch.setattr(freshness, "check", check)
    monkeypatch.setattr(freshness, "last_known", lambda name, root: known[name])
    states = freshness.check_within(1e6, root=root)
    assert ran == ["mas-inputs"]  # a stale one is looked at again, to say what differs
    assert {name: s.verdict for name, s in states.items()} == known | {"mas-inputs": "fresh"}
    known["mas-inputs"] = "fresh"
    freshness.check_within(1e6, root=root)
    assert ran == ["mas-inputs", "tiny"]


# Units of other code


def test_networks_of_code_that_behaved_otherwise_are_not_used(root, monkeypatch, capsys):
    before = opened(root)
    unit, another = unit_of("EWC"), unit_of("L2")
    outcomes = {each: units.run_unit(each, "cpu") for each in (unit, another)}
    for each in outcomes:
        before.write(each, outcomes[each])
    twin = before.twin
    assert twin == results.load_manifest("tiny", root=root)["twin"]

    slightly = twin["L2"]["accuracy"] + 0.001
    other = {
        **twin,
        "EWC": {"accuracy": 0.0, "weight_size": 1.0, "effect": 0.0},
        "L2": twin["L2"] | {"accuracy": slightly},
    }
    monkeypatch.setattr(store, "run_twin", lambda _: other)
    assert opened(root).twin == twin  # the twin runs only where the code has changed
    as_changed_code(monkeypatch, other)
    after = opened(root)
    assert after.twin == other
    before.write(unit, outcomes[unit])  # by a run of the old code that is still under way
    assert not after.read(unit) and not after.read(another)  # contenders share code
    assert "The code behaves otherwise than when networks were trained here (EWC: " in capsys.readouterr().out
    as_changed_code(monkeypatch, twin, "as it was")
    assert opened(root).read(unit)


def test_networks_are_kept_as_long_as_no_contender_changes(root, monkeypatch):
    wide = replace(TINY.contender("EWC"), name="wide EWC", width=32)
    budgets = TINY.budgets | {"twin": replace(TINY.budgets["twin"], max_width=16)}
    experiment = replace(TINY, contenders=(*TINY.contenders, wide), budgets=budgets)
    monkeypatch.setitem(EXPERIMENTS, "tiny", experiment)
    runner.run("tiny", profile="cpu", device="cpu", root=root)
    cached = results.load("tiny", root=root)
    assert "wide EWC" in cached.methods and "wide EWC" not in cached.manifest["twin"]

    wide_unit, narrow_unit = (
        next(u for u in units.search_units(experiment, "cpu", tiny_experiment.BUDGET) if u.contender == name)
        for name in ("wide EWC", "L2")
    )
    asked = [wide_unit, narrow_unit, replace(wide_unit, seeds=(99,))]
    same = store.Store(root / "same", cached.manifest["twin"], [])
    same.start_from(cached, experiment, asked)
    assert same.read(wide_unit) and same.read(narrow_unit)

    other = cached.manifest["twin"] | {"EWC": {"accuracy": 0.0, "weight_size": 1.0, "effect": 0.0}}
    changed = store.Store(root / "changed", other, [])
    changed.start_from(cached, experiment, asked)
    for unit in (wide_unit, narrow_unit):
        assert not changed.read(unit)
        assert changed.name(unit) != same.name(unit)

    redeclared = replace(TINY.contender("EWC"), training={"lr": 0.2})  # so its twin differs, and no other
    contenders = (TINY.contender("finetune"), redeclared, TINY.contender("L2"), wide)
    free = store.Store(root / "free", other, [])
    free.start_from(cached, replace(experiment, contenders=contenders), asked)
    assert free.read(wide_unit) and free.read(narrow_unit)

    more = cached.manifest["twin"] | {"another": {"accuracy": 0.0, "weight_size": 1.0, "effect": 0.0}}
    joined = store.Store(root / "joined", more, [])
    joined.start_from(cached, experiment, asked)
    assert joined.read(wide_unit) and joined.read(narrow_unit)


def test_another_torch_runs_the_twin_again(monkeypatch):
    now = {"python": "3.11.2", "torch": "2.13.0+cpu"}
    digests = []
    for change in ({}, {"torch": "9.9"}, {"python": "3.12.2"}, {"torch": "2.13.0"}, {"python": "3.11.9"}):
        monkeypatch.setattr(store, "versions", lambda change=change: now | change)
        digests.append(store.code_digest.__wrapped__())
    first, torch_, python, gpu, last_number = digests
    assert torch_ != first != python and first == gpu == last_number


# What is cached


@pytest.mark.parametrize("name", results.cached(ROOT / "results"))
def test_a_cached_result_is_fresh_or_says_why_not(name):
    state = freshness.check(name, root=ROOT / "results")
    assert not state.fails, str(state)


@pytest.mark.parametrize("name", results.cached(ROOT / "results"))
def test_a_cached_result_has_the_settings_that_are_declared(name):
    assert EXPERIMENTS[name].made(results.load_manifest(name, root=ROOT / "results")), "run it again"


def test_the_schema_lies_beside_the_module():
    schema = json.loads((ROOT / "cl_lib" / results.SCHEMA).read_text("utf8"))
    assert set(schema["required"]) == set(schema["properties"])
    project = (ROOT / "pyproject.toml").read_text("utf8")
    assert re.search(rf'package-data\]\ncl_lib = \["{results.SCHEMA}"\]', project)


def test_a_change_of_any_source_file_is_noticed(tmp_path, monkeypatch):
    package = tmp_path / "cl_lib"
    shutil.copytree(Path(store.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(store, "__file__", str(package / "store.py"))
    before, files = store.code_digest.__wrapped__(), list(package.rglob("*.py"))
    assert any(file.parent.name == "methods" for file in files)
    for file in files:
        source = file.read_bytes()
        file.write_bytes(source + b"\n")
        assert store.code_digest.__wrapped__() != before, file
        file.write_bytes(source)


@pytest.mark.parametrize("file", results.FILES)
def test_a_damaged_data_file_is_no_fresh_result(root, file, monkeypatch):
    monkeypatch.setattr(freshness, "run_twin", lambda _: pytest.fail("the twin ran"))
    path = root / "tiny" / file
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    with pytest.raises(results.CorruptResult, match=file):
        freshness.check("tiny", root=root)
