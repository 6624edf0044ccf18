"""Running experiments: what is chosen, what is kept, and that an interruption loses nothing."""

import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_experiment
import torch
from conftest import module
from tqdm import tqdm

from cl_lib import (
    __main__,
    assembly,
    compute,
    declarations,
    fit,
    metrics,
    models,
    provenance,
    results,
    runner,
    setups,
    store,
    streams,
    units,
)
from cl_lib.data import Split, load
from cl_lib.experiments import EXPERIMENTS
from cl_lib.methods import EWC, Finetune
from cl_lib.results import CorruptResult
from cl_lib.tasks import Task

TINY, BUDGET = tiny_experiment.TINY, tiny_experiment.BUDGET
ONE_UNIT = 3  # seconds in which a process surely starts and finishes a unit


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Keep other tests' view of the registry free of the tiny experiment."""
    monkeypatch.setitem(EXPERIMENTS, "tiny", TINY)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Run it once, undisturbed."""
    EXPERIMENTS["tiny"] = TINY
    root = tmp_path_factory.mktemp("reference")
    runner.run("tiny", profile="cpu", device="cpu", root=root)
    yield results.load("tiny", root=root), root
    EXPERIMENTS.pop("tiny", None)


def test_the_numbers_are_those_of_fit(reference):
    cached, _ = reference
    stream = setups.permuted(load("digits"), BUDGET, declarations.STREAM_SEEDS["test"], n_tasks=2)
    (strength,) = cached.strength("EWC")
    run = fit(
        lambda: setups.mlp(stream, 8),
        stream,
        EWC((strength,)),  # a tuple, as the runner gives it
        epochs=1,
        batch_size=32,
        seeds=range(3),
        device="cpu",
        **TINY.training,
    )
    np.testing.assert_allclose(cached.matrix("EWC"), run.accuracy, atol=1e-6)
    np.testing.assert_allclose(cached.average("EWC"), metrics.average_accuracy(run.accuracy), atol=1e-6)


def test_the_search_never_sees_test_data_nor_the_final_permutations(monkeypatch):
    seen = []

    def spy(build, stream, method, **options):
        seen.append((stream, options))
        return fit(build, stream, method, **options)

    monkeypatch.setattr(units, "fit", spy)
    unit = units.search_units(TINY, "cpu", BUDGET)[0]
    units.run_unit(unit, "cpu")
    [(stream, options)] = seen
    assert options["evaluate"] == "validation"
    assert len(options["seeds"]) == 2 and min(options["seeds"]) >= 1000, "seeds of no final run"
    final = setups.permuted(load("digits"), BUDGET, declarations.STREAM_SEEDS["test"], n_tasks=2)
    assert not torch.equal(stream[0].train.x, final[0].train.x)


def test_the_strength_is_the_best_of_the_whole_search(reference):
    cached, _ = reference
    strengths, scores = cached.search("EWC")
    assert strengths.tolist() == [[1.0], [10.0], [100.0]]
    assert scores.shape == (3, 2) and np.ptp(scores.mean(1)) > 0.01
    assert cached.strength("EWC") == tuple(strengths[scores.mean(1).argmax()])
    assert cached.strength("finetune") == ()
    assert cached.search("finetune")[0].shape == (0, 0)


def test_the_strength_is_that_of_the_best_mean_over_the_search_seeds():
    points, scores = ((1.0,), (2.0,), (3.0,), (4.0,)), [[0.9, 0.1], [0.8, 0.5], [0.6, 0.6], [0.2, 0.9]]
    unit = units.Unit("tiny", "cpu", BUDGET, "search", "EWC", points, (1000, 1001))
    outcome = units.Outcome(np.reshape(scores, (8, 1, 1)), {}, {})
    assert units.choose(TINY, "cpu", BUDGET, {unit: outcome})["EWC"] == (2.0,)


def only_seed(seed):
    """Train as usual, but let all other seeds diverge."""

    def train(unit, device):
        if set(unit.seeds) != {seed}:
            raise FloatingPointError(f"replicas with seeds {unit.seeds} diverged")
        return real(unit, device)

    real = units.train
    return train


def computed(unit):
    """The outcome of a unit as the runner has it, where what diverges is trained alone."""
    found = {}
    for part, outcome in runner._computed([unit], compute.Here("cpu")):
        found |= dict(zip(part.replicas(), outcome.split(), strict=True))
    accuracy = np.concatenate([found[replica].accuracy for replica in unit.replicas()])
    return units.Outcome(accuracy, {}, {})


def test_a_point_that_diverges_is_never_chosen_and_harms_no_other(monkeypatch):
    def diverging(strength):
        if any(s >= 100 for s in strength):
            raise FloatingPointError("replica 0 diverged")
        return EWC(strength)

    contender = replace(TINY.contender("EWC"), method=diverging)
    monkeypatch.setitem(EXPERIMENTS, "tiny", replace(TINY, contenders=(contender,)))
    unit = units.Unit("tiny", "cpu", BUDGET, "search", "EWC", ((1.0,), (100.0,)), (1000, 1001))
    outcome = computed(unit)
    assert np.isnan(outcome.accuracy[2:]).all() and np.isfinite(outcome.accuracy[:2]).all()
    alone = units.run_unit(replace(unit, points=((1.0,),)), "cpu")
    np.testing.assert_array_equal(outcome.accuracy[:2], alone.accuracy)
    chosen = units.choose(EXPERIMENTS["tiny"], "cpu", BUDGET, {unit: outcome})
    assert chosen["EWC"] == (1.0,)
    # So is a seed that diverges beside one that does not.
    with monkeypatch.context() as inner:
        inner.setattr(units, "train", only_seed(1000))
        partly = computed(unit)
    assert np.isfinite(partly.accuracy).all((1, 2)).tolist() == [True, False, False, False]
    np.testing.assert_array_equal(partly.accuracy[0], outcome.accuracy[0])
    # A unit that is lost as a whole is a part of the grid, and only its end if all others are lost.
    lost = replace(unit, points=((100.0,), (200.0,)))
    nothing = computed(lost)
    assert np.isnan(nothing.accuracy).all() and nothing.accuracy.shape == outcome.accuracy.shape
    assert units.choose(EXPERIMENTS["tiny"], "cpu", BUDGET, {lost: nothing, unit: outcome})["EWC"] == (1.0,)
    with pytest.raises(FloatingPointError, match="EWC diverged at every strength"):
        units.choose(EXPERIMENTS["tiny"], "cpu", BUDGET, {lost: nothing})
    with pytest.raises(FloatingPointError, match="diverged"):
        units.run_unit(replace(unit, stage="test", points=((100.0,),)), "cpu")


def test_units_in_threads_of_one_process_are_what_they_are_alone():
    several = [
        units.Unit("tiny", "cpu", BUDGET, "test", "EWC", ((1.0,),), (seed, seed + 1)) for seed in range(8)
    ]
    alone = [units.run_unit(unit, "cpu").accuracy for unit in several]
    with ThreadPoolExecutor(4) as threads:
        beside = list(threads.map(lambda unit: units.run_unit(unit, "cpu").accuracy, several))
    np.testing.assert_array_equal(beside, alone)


def test_a_unit_that_a_gpu_cannot_hold_is_named(monkeypatch):
    def train(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nand more")

    monkeypatch.setattr(units, "train", train)
    message = r"^tiny: EWC at .* not enough memory \(CUDA out .* GiB\)\. Start fewer .* goes on from here"
    with pytest.raises(MemoryError, match=message):
        units.run_unit(units.search_units(TINY, "cpu", BUDGET)[0], "cpu")


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta"])
def test_a_device_that_cannot_be_used_is_refused_before_any_work(device, tmp_path, monkeypatch):
    monkeypatch.setattr("cl_lib.store.run_twin", lambda _: pytest.fail("the twin ran"))
    with pytest.raises(ValueError, match=f"device is '{device}', which cannot be used"):
        runner.run("tiny", profile="cpu", device=device, root=tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"points": ((2.0,),)},
        {"seeds": (0, 1)},
        {"stage": "test"},
        {"contender": "L2"},
        {"profile": "quick"},
        *({"budget": replace(BUDGET, **{what: 30})} for what in (*declarations.OF_A_NETWORK, "width")),
    ],
)
def test_another_computation_has_another_key(change):
    unit = units.Unit("tiny", "cpu", BUDGET, "search", "EWC", ((1.0,),), (1000, 1001))
    assert replace(unit, **change).key != unit.key
    assert replace(unit).key == unit.key


def test_another_training_has_another_key(monkeypatch):
    unit = units.Unit("tiny", "cpu", BUDGET, "search", "EWC", ((1.0,),), (1000,))
    before = unit.key
    monkeypatch.setitem(EXPERIMENTS, "tiny", replace(TINY, training={**TINY.training, "lr": 0.2}))
    assert unit.key != before
    monkeypatch.setitem(EXPERIMENTS, "tiny", TINY)
    monkeypatch.setattr(declarations, "N_IMPORTANCE", 10)
    assert unit.key != before


def test_the_network_and_the_stream_are_declared(reference, monkeypatch):
    search, test = (
        units.Unit("tiny", "cpu", BUDGET, stage, "EWC", ((1.0,),), (1000,)) for stage in ("search", "test")
    )
    before, made = (search.key, test.key), reference[0].manifest
    assert TINY.made(made)
    with monkeypatch.context() as patch:
        patch.setitem(EXPERIMENTS, "tiny", replace(TINY, network=setups.glorot_mlp))
        assert search.key != before[0] and test.key != before[1]
        assert not EXPERIMENTS["tiny"].made(made)
    monkeypatch.setitem(declarations.STREAM_SEEDS, "search", 7)
    assert search.key != before[0] and test.key == before[1]
    assert not TINY.made(made)


def test_what_is_kept_is_in_the_key_of_final_runs_only(monkeypatch):
    changes = [{}, {"curve_every": 3}, {"measure": setups.active_units}]
    changes += [{"measure": partial(setups.active_units, layer=layer)} for layer in (0, 1)]
    keys = {"search": set(), "test": set()}
    for change in changes:
        monkeypatch.setitem(EXPERIMENTS, "tiny", replace(TINY, **change))
        for stage, found in keys.items():
            found.add(units.Unit("tiny", "cpu", BUDGET, stage, "EWC", ((1.0,),), (1000,)).key)
    assert {stage: len(found) for stage, found in keys.items()} == {"search": 1, "test": len(changes)}


def test_finished_units_are_not_computed_again(reference, monkeypatch):
    cached, root = reference

    def never(unit, device):
        raise AssertionError(f"{unit} was computed again")

    monkeypatch.setattr(compute, "run_unit", never)
    runner.run("tiny", profile="cpu", device="cpu", root=root)
    again = results.load("tiny", root=root)
    assert again.accuracy.equals(cached.accuracy) and again.search_table.equals(cached.search_table)


def test_a_damaged_replica_is_made_again_and_no_other(tmp_path, capsys):
    store = runner.open_store(tmp_path, TINY)
    unit = units.search_units(TINY, "cpu", BUDGET)[0]
    outcome = units.run_unit(unit, "cpu")
    store.write(unit, outcome)
    kept = [store.read(unit)[replica].accuracy for replica in unit.replicas()]
    np.testing.assert_array_equal(np.concatenate(kept), outcome.accuracy)
    *others, replica = unit.replicas()
    file = tmp_path / f"{store.name(replica)}.npz"
    content = file.read_bytes()
    for damaged in (b"", content[: len(content) // 2], content[:60] + b"\xff\x00\xff" + content[63:]):
        file.write_bytes(damaged)
        assert list(store.read(unit)) == others
        assert not file.exists()
    assert "is damaged and is made again" in capsys.readouterr().out


def test_each_replica_of_an_outcome_has_its_own_and_an_equal_share_of_the_time():
    random = np.random.default_rng(0)
    whole = units.Outcome(random.random((3, 2, 2)), {"curve": random.random((3, 4))}, {"seconds": 9.0})
    for r, part in enumerate(whole.split()):
        np.testing.assert_array_equal(part.accuracy, whole.accuracy[[r]])
        np.testing.assert_array_equal(part.arrays["curve"], whole.arrays["curve"][[r]])
        assert part.record["seconds"] == 3


def test_what_is_left_of_a_unit():
    unit = units.Unit("tiny", "cpu", BUDGET, "search", "EWC", ((1.0,), (2.0,), (3.0,)), (7, 8))
    assert [(r.points[0], r.seeds[0]) for r in unit.replicas()] == [
        ((1.0,), 7), ((1.0,), 8), ((2.0,), 7), ((2.0,), 8), ((3.0,), 7), ((3.0,), 8)
    ]  # fmt: skip
    assert unit.without([]) == [unit]
    assert unit.without(unit.replicas()) == []
    _, of_first, _, _, *of_last = unit.replicas()
    left = unit.without([of_first, *of_last])
    assert left == [replace(unit, points=((1.0,),), seeds=(7,)), replace(unit, points=((2.0,),))]


def test_quick_results_lie_apart(tmp_path):
    path = runner.run("tiny", profile="quick", device="cpu", root=tmp_path)
    assert path == tmp_path / ".quick" / "tiny"
    assert not (tmp_path / "tiny").exists()


def test_seeds_can_be_chosen(tmp_path):
    runner.run("tiny", profile="cpu", device="cpu", seeds=2, root=tmp_path)
    cached = results.load("tiny", root=tmp_path)
    assert cached.manifest["seeds"] == [0, 1] and cached.average("EWC").shape == (2,)
    with pytest.raises(ValueError, match="seeds is 1"):
        runner.run("tiny", profile="cpu", seeds=1, root=tmp_path)


def test_less_does_not_replace_more(reference, tmp_path, monkeypatch):
    _, root = reference
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(compute, "run_unit", lambda *_: pytest.fail("work had begun"))
    with pytest.raises(ValueError, match="cpu with 3 seeds; .* cpu with 2 would .* --seeds 3, set CL_LIB"):
        runner.run("tiny", profile="cpu", device="cpu", seeds=2, root=tmp_path)
    manifest = results.load_manifest("tiny", root=tmp_path)
    results.save_manifest(tmp_path / "tiny", manifest | {"profile": "full"})
    with pytest.raises(ValueError, match="holds the profile full .* replace it by less"):
        runner.run("tiny", profile="cpu", device="cpu", seeds=9, root=tmp_path)


def test_less_does_not_replace_what_came_in_between(reference, tmp_path, monkeypatch):
    _, root = reference
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    (tmp_path / "tiny").rename(tmp_path / "later")
    monkeypatch.setattr(runner, "choose", lambda *a: (come(), units.choose(*a))[1])

    def come():
        if (tmp_path / "later").exists():
            (tmp_path / "later").rename(tmp_path / "tiny")

    with pytest.raises(ValueError, match="would replace it by less"):
        runner.run("tiny", profile="cpu", device="cpu", seeds=2, root=tmp_path)
    assert len(results.load_manifest("tiny", root=tmp_path)["seeds"]) == 3


def test_quick_results_may_always_go(tmp_path):
    for seeds in (3, 2):
        runner.run("tiny", profile="quick", device="cpu", seeds=seeds, root=tmp_path)


@pytest.mark.parametrize("name", results.cached())
def test_what_is_cached_can_be_made_again_as_declared(name):
    runner.check_run(name, results.load_manifest(name)["profile"])


@pytest.mark.parametrize("width", [16, 400, 2000])
def test_effort_grows_as_the_number_of_weights(width):
    budget = replace(BUDGET, width=width, epochs=2)
    unit = units.Unit("tiny", "cpu", budget, "test", "EWC", ((1.0,),), (0, 1))
    weights = sum(p.numel() for p in models.MLP(784, (width, width), 10).parameters())
    assert unit.effort == pytest.approx(2 * 2 * weights, rel=0.03)


def test_the_time_that_is_left_is_judged_by_what_this_run_trains(reference, tmp_path, monkeypatch, capsys):
    shutil.copytree(reference[1], tmp_path, dirs_exist_ok=True)
    bars = []

    class Bar(tqdm):
        def close(self):
            bars.append((self.initial, self.n, self.total, self.format_dict["rate"]))
            super().close()

    monkeypatch.setattr(runner, "tqdm", Bar)
    runner.run("tiny", profile="cpu", device="cpu", seeds=4, progress=True, root=tmp_path)
    initial, n, total, rate = bars[0]
    one = units.Unit("tiny", "cpu", BUDGET, "test", "EWC", ((1.0,),), (3,))
    trained = len(TINY.contenders) * one.effort  # one new seed each
    assert n == total and n - initial == trained
    assert rate is None  # tqdm then takes the mean since the start, without what was there


def what_is_trained(monkeypatch):
    """Unit by unit, while the runner works."""
    trained = []

    def spy(unit, device):
        trained.append(unit)
        return units.run_unit(unit, device)

    monkeypatch.setattr(compute, "run_unit", spy)
    return trained


@pytest.mark.parametrize("what", ["", "tiny"], ids=["all that a run left", "the result alone"])
def test_more_seeds_train_only_the_new_ones(what, reference, tmp_path, monkeypatch):
    cached, root = reference
    shutil.copytree(root / what, tmp_path / what, dirs_exist_ok=True)
    trained = what_is_trained(monkeypatch)
    for seeds, new in ((4, [3]), (6, [4, 5])):
        trained.clear()
        runner.run("tiny", profile="cpu", device="cpu", seeds=seeds, root=tmp_path)
        replicas = [replica for unit in trained for replica in unit.replicas()]
        assert {replica.stage for replica in replicas} == {"test"}
        assert sorted(replica.seeds[0] for replica in replicas) == sorted(new * len(TINY.contenders))
    more = results.load("tiny", root=tmp_path)
    assert more.manifest["seeds"] == list(range(6))
    for name in more.methods:
        np.testing.assert_array_equal(more.matrix(name)[:3], cached.matrix(name))


def test_a_result_loses_nothing_when_its_networks_are_taken(tmp_path, monkeypatch, capsys):
    experiment = replace(TINY, curve_every=2, measure=setups.active_units)
    monkeypatch.setitem(EXPERIMENTS, "tiny", experiment)
    for seeds in (2, 4):
        runner.run("tiny", profile="cpu", device="cpu", seeds=seeds, root=tmp_path / f"{seeds} seeds")
    (tmp_path / "taken").mkdir()
    shutil.copytree(tmp_path / "2 seeds" / "tiny", tmp_path / "taken" / "tiny")
    runner.run("tiny", profile="cpu", device="cpu", seeds=4, root=tmp_path / "taken")
    assert "16 networks are taken" in capsys.readouterr().out  # 10 of the search, 2 of each contender
    for file in results.FILES:
        whole, taken = ((tmp_path / way / "tiny" / file).read_bytes() for way in ("4 seeds", "taken"))
        assert taken == whole


@pytest.mark.parametrize("before", [None, "quick"])
def test_who_repeats_a_run_trains_it_again(before, reference, tmp_path, monkeypatch, capsys):
    _, root = reference
    shutil.copytree(root / "tiny", tmp_path / "tiny")
    if before:
        runner.run("tiny", profile=before, device="cpu", seeds=5, root=tmp_path)
    trained = what_is_trained(monkeypatch)
    runner.run("tiny", profile="cpu", device="cpu", root=tmp_path)
    assert "taken" not in capsys.readouterr().out
    assert len([r for unit in trained for r in unit.replicas()]) == 10 + 3 * len(TINY.contenders)
    assert files_of(tmp_path) == files_of(root)


@pytest.mark.parametrize(
    "change, left",
    [
        (lambda m: m.update(stale={"since": "2026-01-01", "why": "a mistake"}), set()),
        (lambda m: m["training"].update(lr=0.2), set()),
        (lambda m: m["budget"].update(width=9), set()),
        (lambda m: m["budget"].update(epochs=9), set()),
        (lambda m: m["contenders"]["EWC"].update(width=9), {"finetune", "L2"}),
        (lambda m: m["contenders"]["EWC"].update(training={"lr": 0.2}), {"finetune", "L2"}),
        (lambda m: m["twin"]["EWC"].update(accuracy=0.9), set()),  # contenders share code
        (lambda m: m.pop("devices"), set()),
        (lambda m: m["stream"]["fixed"].update(n_tasks=3), set()),
        (lambda m: m.update(measure="active_units"), set()),
        (lambda m: m.update(curve_every=5), set()),
        (lambda m: m["data_sha256"].update(pixels="0" * 64), set()),
        (
            lambda m: m["contenders"]["EWC"].update(method={"function": "EWC", "fixed": {"samples": 9}}),
            {"finetune", "L2"},
        ),
    ],
)
def test_what_a_result_had_otherwise_is_trained_again(change, left, reference, tmp_path, monkeypatch):
    cached, root = reference
    shutil.copytree(root / "tiny", tmp_path / "tiny")
    manifest = results.load_manifest("tiny", root=tmp_path)
    change(manifest)
    results.save_manifest(tmp_path / "tiny", manifest)
    trained = what_is_trained(monkeypatch)
    runner.run("tiny", profile="cpu", device="cpu", seeds=4, root=tmp_path)
    of_old_seeds = {r.contender for unit in trained for r in unit.replicas() if r.seeds[0] != 3}
    assert {c.name for c in TINY.contenders} - of_old_seeds == left
    for name in ("finetune", "EWC", "L2"):
        np.testing.assert_array_equal(
            results.load("tiny", root=tmp_path).matrix(name)[:3], cached.matrix(name)
        )


def test_what_an_interrupted_run_left_hides_no_result(reference, tmp_path, monkeypatch):
    cached, root = reference
    shutil.copytree(root / "tiny", tmp_path / "tiny")
    store = runner.open_store(tmp_path / ".units" / "tiny", TINY, cached.manifest)
    unit = units.test_units(TINY, "cpu", BUDGET, dict.fromkeys(("finetune", "EWC", "L2"), ()))[0]
    store.write(unit, units.run_unit(unit, "cpu"))
    trained = what_is_trained(monkeypatch)
    runner.run("tiny", profile="cpu", device="cpu", seeds=4, root=tmp_path)
    assert [(r.stage, r.seeds) for unit in trained for r in unit.replicas()] == 3 * [("test", (3,))]


def test_a_final_run_that_diverges_is_named_and_holds_nothing_up(reference, tmp_path, monkeypatch):
    def sometimes(unit, device):
        if (unit.stage, unit.contender) == ("test", "EWC") and 1 in unit.seeds:
            raise FloatingPointError(f"{unit}: replicas [1] of 2 diverged")
        return units.run_unit(unit, device)

    monkeypatch.setattr(compute, "run_unit", sometimes)
    with pytest.raises(
        FloatingPointError, match=r"^tiny: EWC at \(\d+\), seeds 1: replicas \[1\] of 2 diverged$"
    ):
        runner.run("tiny", profile="cpu", device="cpu", root=tmp_path)
    finals = sorted(file.name.split("-")[1] for file in (tmp_path / ".units" / "tiny").glob("test-*.npz"))
    # Seed 0 of EWC shared a unit with the one that diverged, seed 2 did not.
    assert finals == [*2 * ["EWC"], *3 * ["L2"], *3 * ["finetune"]]
    trained = what_is_trained(monkeypatch)
    runner.run("tiny", profile="cpu", device="cpu", root=tmp_path)
    assert [(r.contender, r.seeds) for unit in trained for r in unit.replicas()] == [("EWC", (1,))]
    assert files_of(tmp_path) == files_of(reference[1])


def test_a_unit_is_halved_until_what_diverges_is_alone(monkeypatch):
    tried = []

    def sometimes(unit, device):
        tried.append(unit.seeds)
        if 1 in unit.seeds:
            raise FloatingPointError("diverged")
        return "trained"

    monkeypatch.setattr(compute, "run_unit", sometimes)
    unit = replace(units.search_units(TINY, "cpu", BUDGET)[0], stage="test", seeds=(0, 1, 2, 3, 4, 5))
    unit = replace(unit, points=unit.points[:1])
    found = {part.seeds: str(what) for part, what in runner._computed([unit], compute.Here("cpu"))}
    assert found == {(0,): "trained", (1,): "diverged", (2,): "trained", (3, 4, 5): "trained"}
    assert tried == [unit.seeds, (0, 1, 2), (3, 4, 5), (0,), (1, 2), (1,), (2,)]


def test_a_longer_grid_trains_only_the_new_strengths(reference, tmp_path, monkeypatch):
    cached, root = reference
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    grid = declarations.powers(0.3, 0.5, 1, 10, 30, 100)
    longer = replace(TINY.contender("EWC"), grid=grid, twin=(10.0,))
    contenders = (TINY.contender("finetune"), longer, TINY.contender("L2"))
    monkeypatch.setitem(EXPERIMENTS, "tiny", replace(TINY, contenders=contenders))
    trained = what_is_trained(monkeypatch)
    runner.run("tiny", profile="cpu", device="cpu", root=tmp_path)
    searched = [unit for unit in trained if unit.stage == "search"]
    assert sorted(point for unit in searched for point in unit.points) == [(0.3,), (0.5,), (30.0,)]
    strengths, scores = results.load("tiny", root=tmp_path).search("EWC")
    assert strengths[:, 0].tolist() == [0.3, 0.5, 1, 10, 30, 100]
    np.testing.assert_array_equal(scores[[2, 3, 5]], cached.search("EWC")[1])


@pytest.mark.parametrize("part", ["method", "network"])
def test_networks_of_a_changed_part_of_ones_own_are_trained_again(part, tmp_path, monkeypatch, capsys):
    """The package is the same, the declaration too: only the twin can tell."""
    way = {"method": EWC, "network": setups.mlp}
    experiment = replace(
        TINY,
        contenders=(declarations.Contender("own", lambda strength: way["method"](strength), ((30.0,),)),),
        network=lambda stream, width: way["network"](stream, width),
    )
    monkeypatch.setitem(EXPERIMENTS, "tiny", experiment)
    trained = what_is_trained(monkeypatch)
    run = partial(runner.run, "tiny", profile="cpu", device="cpu", root=tmp_path)
    run(seeds=3)
    run(seeds=4)
    replicas = [replica.seeds for unit in trained for replica in unit.replicas()]
    assert sorted(replicas) == [(0,), (1,), (2,), (3,)]
    other = {"method": lambda strength: Finetune(), "network": lambda stream, width: setups.mlp(stream, 5)}
    way[part] = other[part]
    run(seeds=5)
    assert "The code behaves otherwise" in capsys.readouterr().out
    replicas = [replica.seeds for unit in trained for replica in unit.replicas()]
    assert sorted(replicas[4:]) == [(0,), (1,), (2,), (3,), (4,)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"contenders": TINY.contenders[:1] * 2},
            r"contenders of 'tiny' are named \['finetune', 'finetune'\]",
        ),
        ({"budgets": {"full": BUDGET, "cpu": BUDGET}}, r"budgets of 'tiny' lacks \['quick', 'twin'\]"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)


def test_fixed_arguments_are_declared_by_their_names():
    fixed = {"function": "permuted", "fixed": {"n_tasks": 2}}
    assert declarations.named(partial(setups.permuted, n_tasks=2)) == fixed
    with pytest.raises(ValueError, match="permuted.* has positional arguments: name each of them"):
        declarations.named(partial(setups.permuted, load("digits")))


@pytest.mark.parametrize("grid", [(), (1.0, 10.0), ((1.0,), (1.0, 2.0)), ((1.0, 2.0, 3.0),)])
def test_a_grid_without_form_is_refused(grid):
    with pytest.raises(ValueError, match=r"grid of 'EWC' is .*tuples of one length.*powers\(\.\.\.\)"):
        declarations.Contender("EWC", EWC, grid)


def test_a_measure_has_the_replicas_first(monkeypatch):
    experiment = replace(TINY, measure=lambda run, stream: {"mine": np.zeros(5)})
    monkeypatch.setitem(EXPERIMENTS, "tiny", experiment)
    unit = units.test_units(experiment, "cpu", BUDGET, {"finetune": (), "EWC": (1.0,), "L2": (1.0,)})[0]
    with pytest.raises(
        ValueError, match="measure of 'tiny' gives 'mine' with a first axis of 5, but there are 2"
    ):
        units.train(unit, "cpu")


def test_a_measure_has_a_name_of_its_own(monkeypatch):
    experiment = replace(TINY, measure=lambda run, stream: {"accuracy": np.zeros(2)})
    monkeypatch.setitem(EXPERIMENTS, "tiny", experiment)
    unit = units.test_units(experiment, "cpu", BUDGET, {"finetune": (), "EWC": (1.0,), "L2": (1.0,)})[0]
    with pytest.raises(ValueError, match="measure of 'tiny' gives 'accuracy', a name that is kept"):
        units.train(unit, "cpu")


def test_a_budget_of_one_seed_is_refused(monkeypatch, tmp_path):
    alone = replace(BUDGET, seeds=1)
    monkeypatch.setitem(EXPERIMENTS, "tiny", replace(TINY, budgets=TINY.budgets | {"cpu": alone}))
    with pytest.raises(ValueError, match="seeds is 1, but an interval needs 2 or more"):
        runner.run("tiny", profile="cpu", device="cpu", root=tmp_path)


def test_an_unknown_experiment_is_refused():
    with pytest.raises(ValueError, match="name is 'tinny', but must be one of permuted-mnist"):
        runner.run("tinny", profile="cpu")


# Interruptions


def start(*arguments, target=None, **options):
    """Start a run in a process of its own, which can be killed."""
    quickest = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in quickest else "spawn")
    context.set_forkserver_preload(["tiny_experiment", "cl_lib.runner"])
    process = context.Process(target=target or run_tiny, args=arguments, kwargs=options)
    process.start()
    return process


def run_tiny(root, trained=None, seeds=None, slow=0.0):
    """Run it; the file ``trained`` gets the names of the units trained here, each ``slow`` seconds longer."""
    torch.set_num_threads(1)
    if trained:
        trained.touch()

        def noted(unit, device):
            with trained.open("a", encoding="utf8") as file:
                print(unit.key, file=file)
            time.sleep(slow)
            return units.run_unit(unit, device)

        compute.run_unit = noted
    runner.run("tiny", profile="cpu", seeds=seeds, device="cpu", root=root, progress=False)


def files_of(root):
    """The result without what may differ: when, how long, how much memory, and the arrays' last digits."""
    path = root / "tiny"
    manifest = json.loads((path / "manifest.json").read_text("utf8"))
    for key in ("finished", "compute_seconds", "peak_mib", "devices"):
        manifest.pop(key)
    manifest["files"].pop("arrays.npz")
    arrays = results.load("tiny", root=root).arrays
    rounded = {name: [float(f"{value:.4g}") for value in array.ravel()] for name, array in arrays.items()}
    return manifest, rounded, (path / "accuracy.csv").read_bytes(), (path / "search.csv").read_bytes()


def test_a_run_killed_twenty_times_ends_with_the_same_numbers(reference, tmp_path):
    runner.open_store(tmp_path / ".units" / "tiny", TINY)  # the twin has run: each blow falls into the units
    moments, kills, amid = random.Random(0), 0, 0

    def count(root=tmp_path):
        return len(list((root / ".units" / "tiny").glob("*.npz")))

    while kills < 20 or amid < 8:  # so many were killed amid the work
        before, process = count(), start(tmp_path, trained=tmp_path / "trained", slow=0.05)
        if kills % 2:  # every second blow falls after something new was finished
            while process.is_alive() and count() == before:
                time.sleep(0.01)
        process.join(moments.uniform(0.05, 1.2) / (1 + 9 * (kills % 2)))
        process.kill()  # a process that has just ended is not harmed by it
        process.join()
        if process.exitcode:
            assert os.name != "posix" or process.exitcode == -signal.SIGKILL
            kills += 1
            assert kills < 100
            amid += before < count() < count(reference[1])
        else:  # finished before the blow: begin anew
            for file in (tmp_path / ".units" / "tiny").glob("*.npz"):
                if moments.random() < 0.5:
                    file.unlink()
    finished = {file.stat().st_mtime_ns for file in (tmp_path / ".units" / "tiny").glob("*.npz")}
    process = start(tmp_path)
    process.join()
    assert process.exitcode == 0
    kept = {file.stat().st_mtime_ns for file in (tmp_path / ".units" / "tiny").glob("*.npz")}
    assert finished <= kept  # what was finished was not lost
    assert files_of(tmp_path) == files_of(reference[1])


def run_until_two_files_of_four_are_moved(root):
    """End as suddenly as a kill does, while the result is written."""
    replace = os.replace

    def last(part, path):
        replace(part, path)
        if path.name == results.FILES[1]:
            os._exit(9)

    os.replace = last
    run_tiny(root)


def test_a_run_killed_while_it_writes_its_result_is_made_up_for_by_the_next(reference, tmp_path, capsys):
    runner.run("tiny", profile="cpu", device="cpu", seeds=2, root=tmp_path)
    process = start(tmp_path, target=run_until_two_files_of_four_are_moved)
    process.join()
    assert process.exitcode == 9
    with pytest.raises(CorruptResult, match="does not have the SHA-256"):
        results.load("tiny", root=tmp_path)
    runner.run("tiny", profile="cpu", device="cpu", root=tmp_path)
    assert "Nothing is taken from the cached tiny" in capsys.readouterr().out
    assert files_of(tmp_path) == files_of(reference[1])


def test_two_runs_at_once_share_the_work(reference, tmp_path):
    processes = [start(tmp_path, trained=tmp_path / str(i), slow=0.5) for i in range(2)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    trained = [(tmp_path / str(i)).read_text("utf8").split() for i in range(2)]
    assert all(trained)  # both train something, and nothing is trained by both
    assert len(sum(trained, [])) == len(set(sum(trained, [])))
    assert files_of(tmp_path) == files_of(reference[1])
    assert not list((tmp_path / ".units" / "tiny").glob(".*part"))


def test_two_runs_at_once_share_what_is_new_in_a_longer_one(reference, tmp_path):
    shutil.copytree(reference[1], tmp_path, dirs_exist_ok=True)
    processes = [start(tmp_path, trained=tmp_path / str(i), seeds=5) for i in range(2)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    trained = [(tmp_path / str(i)).read_text("utf8").split() for i in range(2)]
    assert len(sum(trained, [])) == len(set(sum(trained, []))) > 0
    assert results.load("tiny", root=tmp_path).manifest["seeds"] == [0, 1, 2, 3, 4]


def test_what_is_left_of_a_unit_is_locked_as_the_whole(reference, tmp_path):
    """The first pass of a run finds nothing settled, later passes do: both mean the same lock."""
    shelf = runner.open_store(tmp_path / ".units" / "tiny", TINY)
    unit = units.search_units(TINY, "cpu", BUDGET)[0]
    settled = dict.fromkeys(unit.replicas()[:1])
    with shelf.lock(unit), ExitStack() as locks:
        assert runner._claim([unit], settled.keys(), shelf, 1, locks) == ([], {})
    with ExitStack() as locks:
        mine, _ = runner._claim([unit], settled.keys(), shelf, 1, locks)
        assert [r for left in mine for r in left.replicas()] == unit.replicas()[1:]


def test_the_commit_is_that_of_the_code_that_trained(tmp_path, monkeypatch):
    run = partial(runner.run, "tiny", profile="cpu", device="cpu", root=tmp_path)

    def made(seeds, digit, day, dirty=False):
        git, record_of = {"commit": digit * 40, "dirty": dirty}, provenance.record_of
        noted = {"git": git, "finished": f"2026-01-0{day}T00:00:00+00:00"}
        monkeypatch.setattr(units, "record_of", lambda *asked: record_of(*asked) | noted)
        run(seeds=seeds)
        manifest = results.load_manifest("tiny", root=tmp_path)
        return manifest["git"]["commit"][0], manifest["git"]["dirty"], manifest["finished"][9]

    assert made(2, "a", 1) == ("a", False, "1")
    assert made(2, "b", 2) == ("a", False, "1")  # which trains nothing
    shutil.rmtree(tmp_path / ".units")
    assert made(3, "b", 2, dirty=True) == ("b", True, "2")  # the rest is taken from the result
    assert made(4, "c", 3) == ("c", True, "3")
    outcome = units.Outcome.split
    monkeypatch.setattr(  # as units were before their records had it
        units.Outcome,
        "split",
        lambda self: [
            replace(o, record={k: v for k, v in o.record.items() if k not in ("git", "finished")})
            for o in outcome(self)
        ],
    )
    assert made(5, "d", 4) == ("c", True, "3")  # the others say
    shutil.rmtree(tmp_path)
    made(2, "d", 4)
    manifest = results.load_manifest("tiny", root=tmp_path)
    assert manifest["git"] == provenance.loaded() and manifest["finished"] > "2026-01-04"


def test_a_worker_without_a_repository_does_not_hide_the_commit():
    def record(commit, day, dirty):
        return {"git": {"commit": commit, "dirty": dirty}, "finished": f"2026-01-0{day}T00:00:00+00:00"}

    made = assembly._made([record("a" * 40, 1, False), record(None, 2, None)])
    assert made["git"] == {"commit": "a" * 40, "dirty": False} and made["finished"][9] == "2"
    assert assembly._made([record(None, 2, None)])["git"] == {"commit": None, "dirty": None}


def test_a_result_of_another_version_is_protected_as_well(reference, tmp_path, capsys):
    shutil.copytree(reference[1] / "tiny", tmp_path / "tiny")
    path = tmp_path / "tiny" / "manifest.json"
    older = json.loads(path.read_text("utf8"))
    del older["network"]
    path.write_text(json.dumps(older), "utf8")
    with pytest.raises(runner.WouldReplaceMore, match="holds the profile cpu with 3 seeds"):
        runner.run("tiny", profile="cpu", device="cpu", seeds=2, root=tmp_path)
    path.write_text(json.dumps(older | {"stale": {"since": "2026-01-01", "why": "a bug"}}), "utf8")
    with pytest.raises(ValueError, match="marked stale while"):
        runner._check_notes("tiny", tmp_path, SimpleNamespace(notes=[]))


def test_a_worker_with_other_code_is_refused(tmp_path):
    unit = units.search_units(TINY, "cpu", BUDGET)[0]
    outcome = compute.run_elsewhere(unit, "cpu", store.code_digest())
    np.testing.assert_array_equal(outcome.accuracy, units.run_unit(unit, "cpu").accuracy)
    with pytest.raises(ValueError, match="a worker has other code .* restart the workers"):
        compute.run_elsewhere(unit, "cpu", "of yesterday")


@pytest.mark.parametrize("address", ["head", "tcp://127.0.0.1:1"])
def test_an_address_without_a_scheduler_is_refused_before_anything_is_trained(address, tmp_path):
    dask, _ = module("dask"), module("distributed")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(ValueError, match=f"scheduler is '{address}', where none answers .* tcp://head:8786"),
    ):
        runner.run("tiny", profile="cpu", root=tmp_path, scheduler=address)
    assert not list(tmp_path.iterdir())


def test_a_finished_run_needs_no_scheduler():
    assert list(compute.Cluster("tcp://127.0.0.1:1", "cpu")([])) == []


def test_a_cluster_that_loses_a_worker_loses_and_doubles_nothing(reference, tmp_path, monkeypatch):
    dask = module("dask")
    from dask.distributed import LocalCluster

    written = []
    write = runner.Store.write

    def note(store, unit, outcome):
        if not written:  # the first result is here, others are under way
            victim = max(cluster.scheduler.workers.values(), key=lambda worker: len(worker.processing))
            cluster.workers[victim.name].process.process.kill()
        written.extend(replica.key for replica in unit.replicas())
        write(store, unit, outcome)

    monkeypatch.setattr(runner.Store, "write", note)
    preload = {"distributed.worker.preload": ["tiny_experiment"], "distributed.comm.timeouts.connect": "60s"}
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "processes": True}
    with dask.config.set(preload), LocalCluster(**options, silence_logs=50) as cluster:
        monkeypatch.setenv("CL_LIB_RESULTS", str(tmp_path))
        for device, on_cpu in (("cpu", True), ("auto", not torch.cuda.is_available())):
            assert compute.Cluster(cluster.scheduler_address, device).on_cpu() is on_cpu
        options = ["--profile", "cpu", "--device", "cpu", "--scheduler", cluster.scheduler_address]
        assert __main__.main(["run", "tiny", *options]) == 0
        lost = [event for _, event in cluster.scheduler.get_events("all") if not event.get("expected", True)]
    assert len(lost) == 1 and lost[0]["processing-tasks"]  # which ran again
    assert len(written) == len(set(written)) == len(list((tmp_path / ".units" / "tiny").glob("*.npz")))
    assert files_of(tmp_path) == files_of(reference[1])


def test_what_diverges_on_a_cluster_is_alone_in_the_end(reference, monkeypatch):
    distributed = module("distributed")
    monkeypatch.setattr(units, "train", only_seed(1))
    unit = units.Unit("tiny", "cpu", BUDGET, "test", "EWC", ((1.0,),), (0, 1, 2))
    with distributed.LocalCluster(1, 1, processes=False, dashboard_address=None, silence_logs=50) as cluster:
        elsewhere = compute.Cluster(cluster.scheduler_address, "cpu")
        found = {part.seeds: what for part, what in runner._computed([unit], elsewhere)}
    monkeypatch.undo()
    alone = units.run_unit(replace(unit, seeds=(1,)), "cpu")
    np.testing.assert_array_equal(found.pop((1,)).accuracy, alone.accuracy)
    assert {seeds: str(what).split(":")[1] for seeds, what in found.items()} == {
        (0,): " EWC at (1), seeds 0",
        (2,): " EWC at (1), seeds 2",
    }


def test_a_scheduler_without_workers_is_refused(monkeypatch):
    distributed = module("distributed")
    monkeypatch.setattr(compute, "FIRST_WORKER", 0.1)
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster,
        pytest.raises(ValueError, match=r"which has no worker after 0\.1 seconds: start some"),
    ):
        compute.Cluster(cluster.scheduler_address, "auto").on_cpu()


def test_a_unit_that_a_cluster_loses_is_named():
    distributed = module("distributed")

    class Lost:
        def __init__(self, error):
            self.error = error

        def result(self):
            raise self.error

    unit = units.search_units(TINY, "cpu", BUDGET)[-1]
    killed = distributed.KilledWorker("a task", "a worker", 3)
    with pytest.raises(ChildProcessError, match=r"^tiny: L2 at .* each worker that had it died \(3 may\)"):
        compute._outcome_of(Lost(killed), unit)
    cancelled = distributed.client.FutureCancelledError("a task", "scheduler-connection-lost")
    with pytest.raises(ConnectionError, match="^tiny: L2 at .* scheduler was lost.* goes on from here"):
        compute._outcome_of(Lost(cancelled), unit)


def test_without_dask_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "dask.distributed", None)
    with pytest.raises(ImportError, match="pip install dask distributed"):
        runner.run("tiny", profile="cpu", root=tmp_path, scheduler="tcp://127.0.0.1:1")


def test_a_unit_in_another_hand_is_waited_for(tmp_path, monkeypatch):
    """The lock is held elsewhere and freed without a result: the unit is then computed here."""
    monkeypatch.setattr(runner, "WAIT", 0.01)
    store = runner.open_store(tmp_path / ".units" / "tiny", TINY)
    unit = units.search_units(TINY, "cpu", BUDGET)[0]
    held = store.lock(unit)
    held.acquire()
    waits = []
    monkeypatch.setattr(time, "sleep", lambda seconds: (waits.append(seconds), held.release()))
    runner.run("tiny", profile="cpu", device="cpu", root=tmp_path)
    assert waits == [0.01]


def test_what_another_run_finishes_meanwhile_counts_as_progress(tmp_path, monkeypatch):
    store = runner.open_store(tmp_path / ".units" / "tiny", TINY)
    first, second, *_ = units.search_units(TINY, "cpu", BUDGET)
    store.write(first, units.run_unit(first, "cpu"))
    outcome, held = units.run_unit(second, "cpu"), store.lock(second)
    held.acquire()
    monkeypatch.setattr(time, "sleep", lambda _: (store.write(second, outcome), held.release()))
    with tqdm(total=first.effort + second.effort, file=io.StringIO()) as bar:
        runner._finish([first, second], store, compute.Here("cpu"), bar)
        assert (bar.initial, bar.n) == (first.effort, bar.total)


# The declared experiments


def test_wide_networks_are_trained_in_smaller_groups():
    experiment = EXPERIMENTS["width"]
    budget = replace(experiment.budgets["cpu"], width=100, chunk=8, seeds=10, search_seeds=2)
    chosen = {c.name: c.grid[0] for c in experiment.contenders}
    sizes = {16: 8, 64: 8, 128: 6, 256: 3, 512: 1, 1024: 1, 2048: 1}
    for stage in (
        units.test_units(experiment, "cpu", budget, chosen),
        units.search_units(experiment, "cpu", budget),
    ):
        for width, size in sizes.items():
            groups = [unit.n_replicas for unit in stage if unit.contender == f"EWC, {width} units"]
            assert max(groups) == (size if stage[0].stage == "test" else max(1, 2 * (size // 2)))
            assert sum(groups) == (10 if stage[0].stage == "test" else 2 * 6)


@pytest.mark.parametrize("name, most", [("width", None), ("selfless-64", 20), ("permuted-mnist-wide", 1)])
def test_on_a_cpu_the_same_networks_are_trained_in_small_groups(name, most):
    experiment = EXPERIMENTS[name]
    asked = {"experiment": experiment, "profile": "full", "budget": experiment.budgets["full"]}
    asked["budget"] = replace(asked["budget"], seeds=30, search_seeds=5)
    chosen = {c.name: c.grid[0] for c in experiment.contenders}
    for make, more in ((units.search_units, {}), (units.test_units, {"chosen": chosen})):
        large, small = (make(**asked, **more, on_cpu=on_cpu) for on_cpu in (False, True))
        assert {r for u in small for r in u.replicas()} == {r for u in large for r in u.replicas()}
        assert sum(u.n_replicas for u in small) == sum(u.n_replicas for u in large)
        assert max(u.n_replicas for u in large) > max(u.n_replicas for u in small)
        for unit in small:
            assert unit.n_replicas <= (1 if unit.width >= 1000 else 20)
        assert most is None or max(u.n_replicas for u in small) == most


@pytest.mark.parametrize("device, on_cpu", [("cpu", True), ("auto", not torch.cuda.is_available())])
def test_a_run_knows_whether_it_is_on_a_cpu(device, on_cpu):
    assert compute.Here(device).on_cpu() is on_cpu


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name != "tiny"])
def test_an_experiment_is_declared_in_full(name):
    experiment = EXPERIMENTS[name]
    assert experiment.name == name and set(experiment.budgets) == set(declarations.PROFILES)
    names = [c.name for c in experiment.contenders]
    assert len(set(names)) == len(names)
    for profile in ("full", "cpu", "quick"):
        budget = experiment.budgets[profile]
        assert budget.seeds >= (2 if profile == "quick" else 10)
        for contender in experiment.lines(profile):
            assert contender.twin in (None, *contender.grid)
            method = contender.build(contender.candidates(budget))
            if contender.grid != ((),):
                assert len(np.atleast_1d(method.strength)) == len(contender.candidates(budget))
    json.dumps(experiment.declaration("full"))


def test_a_contender_may_be_trained_otherwise(tmp_path, monkeypatch):
    slower = declarations.Contender("slower", Finetune, training={"lr": 0.01})
    experiment = replace(TINY, contenders=(TINY.contender("finetune"), slower))
    monkeypatch.setitem(EXPERIMENTS, "tiny", experiment)
    found = [
        units.run_unit(units.Unit("tiny", "cpu", BUDGET, "test", name, ((),), (0, 1)), "cpu").accuracy
        for name in ("finetune", "slower")
    ]
    alone = replace(TINY, training={**TINY.training, "lr": 0.01})
    monkeypatch.setitem(EXPERIMENTS, "tiny", alone)
    lone = units.run_unit(units.Unit("tiny", "cpu", BUDGET, "test", "finetune", ((),), (0, 1)), "cpu")
    np.testing.assert_array_equal(found[1], lone.accuracy)
    assert (found[0] != found[1]).any()
    monkeypatch.setitem(EXPERIMENTS, "tiny", experiment)
    runner.run("tiny", profile="cpu", device="cpu", root=tmp_path)
    manifest = results.load_manifest("tiny", root=tmp_path)
    assert manifest["contenders"]["slower"]["training"] == {"lr": 0.01}
    assert "training" not in manifest["contenders"]["finetune"]
    results.check_form(manifest)


def test_a_contender_may_have_a_network_of_its_own(tmp_path, monkeypatch):
    def with_memory(stream, width):
        return models.MemoryMLP(64, (width, width), stream.n_outputs, n_tasks=len(stream))

    plain = declarations.Contender("plain", Finetune, network=setups.mlp)
    experiment = replace(TINY, network=with_memory, contenders=(TINY.contender("finetune"), plain))
    monkeypatch.setitem(EXPERIMENTS, "tiny", experiment)
    runs = {
        name: units.train(units.Unit("tiny", "cpu", BUDGET, "test", name, ((),), (0, 1)), "cpu")[0]
        for name in ("finetune", "plain")
    }
    assert "memory.0" in runs["finetune"].params and "memory.0" not in runs["plain"].params
    monkeypatch.setitem(EXPERIMENTS, "tiny", replace(TINY, network=setups.mlp))
    lone = units.train(units.Unit("tiny", "cpu", BUDGET, "test", "finetune", ((),), (0, 1)), "cpu")[0]
    np.testing.assert_array_equal(runs["plain"].accuracy, lone.accuracy)
    monkeypatch.setitem(EXPERIMENTS, "tiny", experiment)
    runner.run("tiny", profile="cpu", device="cpu", root=tmp_path)
    manifest = results.load_manifest("tiny", root=tmp_path)
    assert manifest["contenders"]["plain"]["network"] == "mlp"
    assert "network" not in manifest["contenders"]["finetune"]
    assert manifest["twin"]["plain"]["effect"] == 0
    results.check_form(manifest)
    own, of_all = (
        declarations.recipe(manifest | {"contenders": {"plain": entry}}, "plain", "test")
        for entry in (manifest["contenders"]["plain"], manifest["contenders"]["finetune"])
    )
    assert own != of_all


def test_a_contender_may_be_tested_on_another_draw_of_the_stream(tmp_path, monkeypatch):
    plain = TINY.contender("finetune")
    there = replace(plain, name="there", stream_seed=5)
    experiment = replace(TINY, contenders=(plain, there, replace(TINY.contender("EWC"), stream_seed=5)))

    def trained(name, stage, point=()):
        return units.train(units.Unit("tiny", "cpu", BUDGET, stage, name, (point,), (0, 1)), "cpu")[
            0
        ].accuracy

    at_home = trained("finetune", "test"), trained("EWC", "search", (1.0,))
    key = units.Unit("tiny", "cpu", BUDGET, "search", "EWC", ((1.0,),), (0,)).key
    monkeypatch.setitem(EXPERIMENTS, "tiny", experiment)
    away, searched = trained("there", "test"), trained("EWC", "search", (1.0,))
    assert (away != at_home[0]).any()
    np.testing.assert_array_equal(searched, at_home[1])  # a search has the draw of all searches
    assert units.Unit("tiny", "cpu", BUDGET, "search", "EWC", ((1.0,),), (0,)).key == key
    runner.run("tiny", profile="cpu", device="cpu", root=tmp_path)
    manifest = results.load_manifest("tiny", root=tmp_path)
    assert manifest["contenders"]["there"]["stream_seed"] == 5
    assert "stream_seed" not in manifest["contenders"]["finetune"]
    assert manifest["twin"]["there"]["effect"] == 0 and experiment.made(manifest)
    unit = units.Unit("tiny", "cpu", BUDGET, "test", "there", ((),), (0,))
    before, elsewhere = unit.key, replace(there, stream_seed=6)
    with monkeypatch.context() as patch:
        moved = replace(experiment, contenders=(plain, elsewhere, experiment.contenders[2]))
        patch.setitem(EXPERIMENTS, "tiny", moved)
        assert unit.key != before and not moved.made(manifest)
    with pytest.raises(
        ValueError, match="stream_seed of 'there' is 1, the draw on which strengths are searched"
    ):
        replace(there, stream_seed=1)
    cached = results.load("tiny", root=tmp_path)
    np.testing.assert_allclose(cached.matrix("there")[:2], away, atol=1e-6)
    monkeypatch.setitem(declarations.STREAM_SEEDS, "test", 5)
    np.testing.assert_array_equal(trained("finetune", "test"), away)
    seeds = [
        json.loads(declarations.recipe(manifest, name, "test"))["stream_seed"]
        for name in ("finetune", "there")
    ]
    assert seeds == [0, 5]


def test_other_draws_have_the_strengths_that_were_chosen_for_64_units():
    chosen = results.load_manifest("selfless-64")["methods"]
    lines = EXPERIMENTS["selfless-draws"].contenders
    assert len({line.stream_seed for line in lines}) == 10 and len(lines) == 30
    for line in lines:
        name = line.name.removesuffix(f", draw {line.stream_seed}")
        assert line.grid == (tuple(chosen[name]["chosen"]),)


def test_mas_is_measured_on_the_inputs_that_its_name_says():
    whole = replace(BUDGET, n_train=None, n_test=None)
    task = setups.grouped(load("digits"), whole, 0, n_tasks=2, scenario="task")[1]
    train, label = task.train.x, task.train.y - 5

    def images(x):
        return sorted(x.tolist())

    named = {"training": train, "test": task.test.x, "both": torch.cat([train, task.test.x])}
    named |= {f"classes {c} and {c + 1}": train[(label == c) | (label == c + 1)] for c in (0, 3)}
    for name, expected in named.items():
        method = EXPERIMENTS["mas-inputs"].contender(f"MAS ({name})").build(((1.0,),))
        assert images(method.inputs(task)) == images(expected)


def test_mas_is_measured_on_no_more_images_than_are_declared():
    n = declarations.N_IMPORTANCE
    split = Split(torch.zeros(2 * n + 2, 1), torch.tensor([0, 3]).repeat_interleave(n + 1))
    task = Task("large", train=split, validation=split, test=split, outputs=(0, 5))
    for contender in EXPERIMENTS["mas-inputs"].contenders:
        if "MAS" in contender.name:
            found = len(contender.build(((1.0,),)).inputs(task))
            assert found == (2 * n if contender.name == "MAS (both)" else n), contender.name


def test_what_plain_training_is_compared_with_has_no_memory_units():
    for name in ("disjoint-mnist", "disjoint-cifar10", "emnist-letters"):
        experiment = EXPERIMENTS[name]
        for contender in experiment.contenders:
            assert (contender.network is setups.mlp) == (contender.name in ("plain", "EWC", "joint"))
            assert (contender.network is setups.headed_mlp) == contender.name.endswith("own heads")


def test_outputs_of_a_tasks_own_are_its_own():
    stream = EXPERIMENTS["disjoint-mnist"].stream(load("digits"), TINY.budgets["cpu"], 0)
    run = fit(lambda: setups.headed_mlp(stream, 20), stream, EWC(1e3), epochs=5)
    network, shared = run.model(), setups.mlp(stream, 20)
    x = stream[0].test.x.float() / 255
    for network.task in range(3):
        rows = slice(3 * network.task, 3 * network.task + 3)
        state = network.state_dict()
        for kind in ("weight", "bias"):
            state[f"layers.2.{kind}"] = state[f"layers.2.{kind}"][rows]
        shared.load_state_dict(state)
        assert torch.allclose(network(x), shared(x), atol=1e-6)
    importance = run.state.importance["layers.2.weight"][0]
    assert (importance > 0).any(1).all()


def test_initial_weights_of_glorot():
    contender = EXPERIMENTS["si-authors"].contender("SI, Glorot")
    stream = setups.permuted(load("digits"), BUDGET, 0, n_tasks=2)
    torch.manual_seed(0)
    network = contender.network(stream, 300)
    for layer, (n_in, n_out) in zip(network.layers, ((64, 300), (300, 300), (300, 10)), strict=True):
        weights, limit = layer.weight.detach().double(), (6 / (n_in + n_out)) ** 0.5
        assert weights.shape == (n_out, n_in) and not layer.bias.any()
        assert weights.abs().max() <= limit  # uniform up to there: mean square limit^2 / 3
        assert weights.square().mean().item() == pytest.approx(limit**2 / 3, rel=0.06)


def test_curves_and_measures_are_kept(monkeypatch):
    experiment = replace(TINY, curve_every=2, measure=setups.active_units)
    monkeypatch.setitem(EXPERIMENTS, "tiny", experiment)
    unit = units.Unit("tiny", "cpu", BUDGET, "test", "EWC", ((1.0,),), (0, 1, 2))
    run, arrays, _ = units.train(unit, "cpu")
    np.testing.assert_allclose(arrays["curve"], run.curves.accuracy, rtol=1e-6)
    np.testing.assert_array_equal(arrays["curve_step"], [run.curves.step] * 3)
    stream = setups.permuted(load("digits"), BUDGET, declarations.STREAM_SEEDS["test"], n_tasks=2)
    last = stream[1].test.x / 255
    for r, model in enumerate(map(run.model, range(3))):
        active = [(h > 0).double().mean().item() for h in model(last, hidden=True)[1]]
        np.testing.assert_allclose(arrays["active_units"][r], active, rtol=1e-6)
        size = np.mean([(p**2).mean().item() for p in model.parameters()]) ** 0.5
        assert arrays["weight_size"][r] == pytest.approx(size, rel=1e-6)


def test_class_accuracies_average_to_the_accuracy():
    stream = streams.split("digits", 2)
    run = fit(lambda: setups.mlp(stream, 16), stream, epochs=2, seeds=(0, 1))
    per_class = setups.class_accuracies(run, stream)["class_accuracy"]
    counts = stream[0].test.y.bincount().numpy()
    np.testing.assert_allclose((per_class * counts / counts.sum()).sum(1), run.accuracy[:, -1, 0], atol=1e-6)


def test_groups_and_cuts():
    letters = replace(load("digits"), classes=tuple("abcdefghij"))
    budget = replace(BUDGET, n_train=7, n_test=3)
    stream = setups.grouped(letters, budget, 0, n_tasks=3, scenario="domain")
    assert [len(task.train) for task in stream] == [7, 7, 7]
    assert [len(part) for task in stream for part in (task.test, task.validation)] == 6 * [3]
    assert stream.n_outputs == 3  # a tenth class is left over
    assert declarations.pairs((1, 2), (3,)) == ((1.0, 3.0), (2.0, 3.0))
    assert TINY.contender("EWC").candidates(replace(BUDGET, grid_every=2)) == ((1.0,), (100.0,))


# Corrupt results


def test_a_result_that_was_touched_is_refused(reference, tmp_path):
    import shutil

    _, root = reference
    for file in results.FILES:
        shutil.copytree(root / "tiny", tmp_path / "tiny", dirs_exist_ok=True)
        path = tmp_path / "tiny" / file
        path.write_bytes(path.read_bytes().replace(b"0", b"1", 1) + b" ")
        with pytest.raises(CorruptResult, match=rf"{file} does not have the SHA-256"):
            results.load("tiny", root=tmp_path)
        path.unlink()
        with pytest.raises(CorruptResult, match=rf"{file} is missing"):
            results.load("tiny", root=tmp_path)
    (tmp_path / "tiny" / "manifest.json").write_text("{")
    with pytest.raises(CorruptResult, match="is no JSON"):
        results.load("tiny", root=tmp_path)
    with pytest.raises(FileNotFoundError, match="python -m cl_lib run nothing"):
        results.load("nothing", root=tmp_path)


def test_an_outcome_keeps_a_single_image(monkeypatch):
    made = SimpleNamespace(accuracy=np.full((1, 1, 1), 12_345 / 20_800))
    monkeypatch.setattr(units, "train", lambda *_: (made, {}, "cpu"))
    unit = units.Unit("tiny", "cpu", BUDGET, "test", "finetune", ((),), (0,))
    assert units.run_unit(unit, "cpu").accuracy.item() == pytest.approx(12_345 / 20_800, abs=1e-6)


@pytest.mark.parametrize("part", ["stream", "measure"])
def test_an_own_stream_or_measure_that_changes_is_noticed(part, tmp_path, monkeypatch, capsys):
    way = {"stream": partial(setups.permuted, n_tasks=2), "measure": setups.active_units}
    own = {
        "stream": lambda dataset, budget, seed: way["stream"](dataset, budget, seed),
        "measure": lambda run, stream: way["measure"](run, stream),
    }
    experiment = replace(TINY, contenders=TINY.contenders[:1], **{part: own[part]})
    monkeypatch.setitem(EXPERIMENTS, "tiny", experiment)
    run = partial(runner.run, "tiny", profile="cpu", device="cpu", root=tmp_path)
    run(seeds=2)
    way["stream"] = partial(setups.permuted, n_tasks=2, keep_first=True)
    way["measure"] = lambda *of: {n: 2 * values for n, values in setups.active_units(*of).items()}
    run(seeds=3)
    assert "The code behaves otherwise" in capsys.readouterr().out


def test_the_commit_that_trains_is_noted(tmp_path, monkeypatch):
    package = tmp_path / "cl_lib"
    package.mkdir()
    (package / "provenance.py").touch()
    monkeypatch.setattr(provenance, "__file__", str(package / "provenance.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    def git(*words):
        who = ("-c", "user.name=t", "-c", "user.email=t@localhost")
        return subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True, text=True)

    assert provenance.git_state() == {"commit": None, "dirty": None}
    git("init", "-q"), git("add", "-A"), git("commit", "-q", "-m", "one")
    head = git("rev-parse", "HEAD").stdout.strip()
    (package / "untracked").touch()
    assert provenance.git_state() == {"commit": head, "dirty": False}
    (package / "provenance.py").write_text("x")
    assert provenance.git_state() == {"commit": head, "dirty": True}
    (package / "installed.py").touch()  # a repository around a package that it does not hold
    monkeypatch.setattr(provenance, "__file__", str(package / "installed.py"))
    assert provenance.git_state() == {"commit": None, "dirty": None}


def test_the_cost_is_that_of_all_units():
    def record(device, seconds, peak):
        return {"device": device, "seconds": seconds, "peak_mib": peak, "versions": {"torch": "2"}}

    found = assembly._cost([record("a", 1.5, 10), record("b; a", 2.0, 30), record("a", 0.5, None)])
    assert found == {
        "devices": ["a", "b"], "compute_seconds": 4.0, "peak_mib": 30, "versions": {"torch": "2"}
    }  # fmt: skip


def test_what_is_taken_from_a_result_has_its_share_of_the_time(reference):
    cached, _ = reference
    shares = [outcome.record["seconds"] for outcome in store.replicas_of(cached, TINY).values()]
    assert sum(shares) == pytest.approx(cached.manifest["compute_seconds"], abs=0.001 * len(shares))


def test_a_corrupt_result_is_made_again_by_the_command_that_its_message_names(reference, tmp_path, capsys):
    shutil.copytree(reference[1] / "tiny", tmp_path / "tiny")
    (tmp_path / "tiny" / "accuracy.csv").write_bytes(b"damaged")
    runner.run("tiny", profile="cpu", device="cpu", root=tmp_path)
    assert "Nothing is taken from the cached tiny" in capsys.readouterr().out
    results.load("tiny", root=tmp_path)


def test_a_result_that_another_process_writes_is_waited_for(reference, tmp_path):
    shutil.copytree(reference[1], tmp_path, dirs_exist_ok=True)
    before = results.load_manifest("tiny", root=tmp_path)
    more = partial(runner.run, "tiny", profile="cpu", device="cpu", seeds=4, root=tmp_path)
    with ThreadPoolExecutor() as pool:
        with results.lock("tiny", root=tmp_path):
            waiting = pool.submit(more)
            time.sleep(3)
            assert not waiting.done() and results.load_manifest("tiny", root=tmp_path) == before
        waiting.result(60)
    assert len(results.load_manifest("tiny", root=tmp_path)["seeds"]) == 4
