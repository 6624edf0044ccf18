"""Cached results: tables and matrices, whole files or none, manifests and their schema."""

import copy
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from cl_lib import provenance, results
from cl_lib.experiments import EXPERIMENTS
from cl_lib.files import write_atomically
from cl_lib.results import CorruptResult

CACHED = [path.parent.name for path in (ROOT / "results").glob("[!.]*/manifest.json")]
A_DIGEST = "0" * 64
INTERVAL = {"mean": 0.9, "low": 0.8, "high": 1.0}
METHOD = {
    "chosen": [1.0],
    "average": INTERVAL,
    "average_by_seed": [0.9, 0.9],
    "final": [INTERVAL, INTERVAL],
    "when_learned": [INTERVAL, INTERVAL],
}
MANIFEST = {
    "schema": 1,
    "title": "A small experiment",
    "experiment": "small",
    "dataset": "digits",
    "data_sha256": {"pixels": A_DIGEST},
    "stream": "three_groups",
    "stream_seeds": {"search": 1, "test": 0},
    "network": "mlp",
    "profile": "cpu",
    "budget": {
        "seeds": 2, "search_seeds": 2, "epochs": 1, "batch_size": 32, "n_train": None, "n_test": 5, "width": 8
    },
    "training": {"lr": 0.1, "momentum": 0.0, "optimizer": "sgd"},
    "importance_images": 1000,
    "measure": None,
    "curve_every": None,
    "contenders": {"EWC": {"method": "EWC", "grid": [[1.0], [10.0]], "width": None}},
    "seeds": [0, 1],
    "methods": {"EWC": METHOD},
    "devices": ["a processor, 1 thread"],
    "compute_seconds": 1.5,
    "peak_mib": 300,
    "finished": "2026-01-31T12:00:00+00:00",
    "versions": {"python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.6"},
    "git": {"commit": "a" * 40, "dirty": False},
    "twin": {"EWC": {"accuracy": 0.5, "weight_size": 0.1, "effect": 0.01}},
    "mended": [{"since": "2026-01-20", "why": "another network"}],
    "stale": None,
    "files": {"accuracy.csv": A_DIGEST, "search.csv": A_DIGEST, "arrays.npz": A_DIGEST},
}  # fmt: skip


def matrices(n, tasks=3):
    return np.random.default_rng(n).random((n, tasks, tasks)).round(results.DIGITS)


def saved(root, name="small", **changes):
    """Write a small result of EWC at two strengths, found best at 1; return its matrices."""
    kept = matrices(2, tasks=2)
    accuracy = results.to_rows("EWC", [(1.0,)] * 2, [0, 1], kept)
    searched = np.concatenate([np.full((2, 2, 2), 0.8), np.full((2, 2, 2), np.nan)])
    search = results.to_rows("EWC", [(1.0,)] * 2 + [(10.0,)] * 2, [1000, 1001] * 2, searched)
    manifest = {**MANIFEST, "experiment": name, **changes}
    results.save(root / name, accuracy, search, {"EWC/curve": np.arange(3.0)}, manifest)
    return kept


# Tables


@pytest.mark.parametrize("point", [(), (0.5,), (0.5, 30.0)])
def test_matrices_survive_as_rows(point):
    wanted = matrices(3)
    table = results.to_rows("a", [point] * 3, [2, 0, 1], wanted)
    assert list(table.columns) == results.COLUMNS
    assert len(table) == wanted.size
    found = results.to_matrices(table.sample(frac=1, random_state=0))
    np.testing.assert_array_equal(found, wanted[[1, 2, 0]])  # by rising seed
    padded = [*point, np.nan, np.nan][:2]
    np.testing.assert_array_equal(table[["strength", "strength_2"]].drop_duplicates().to_numpy(), [padded])


def test_a_row_says_after_which_task_on_which_task():
    table = results.to_rows("a", [()], [0], np.array([[[0.9, 0.2], [0.6, 0.8]]]))
    rows = [tuple(row) for row in table[["after_task", "on_task", "accuracy"]].to_numpy()]
    assert rows == [(1, 1, 0.9), (1, 2, 0.2), (2, 1, 0.6), (2, 2, 0.8)]


def test_rows_need_a_seed_for_each_matrix():
    with pytest.raises(ValueError):
        results.to_rows("a", [()] * 2, [0], matrices(2))


def test_a_result_is_read_as_it_was_written(tmp_path):
    kept = saved(tmp_path)
    cached = results.load("small", root=tmp_path)
    assert cached.methods == ("EWC",)
    np.testing.assert_array_equal(cached.matrix("EWC"), kept)
    np.testing.assert_allclose(cached.average("EWC"), kept[:, -1].mean(1))
    assert cached.strength("EWC") == (1.0,)
    strengths, scores = cached.search("EWC")
    assert strengths.tolist() == [[1.0], [10.0]]
    np.testing.assert_array_equal(scores, [[0.8, 0.8], [np.nan, np.nan]])
    np.testing.assert_array_equal(cached.arrays["EWC/curve"], [0, 1, 2])
    for ask in (cached.matrix, cached.strength, cached.search):
        with pytest.raises(KeyError, match="no method 'SI'; it has EWC"):
            ask("SI")


def test_a_search_over_two_strengths():
    points = [(a, b) for a in (1.0, 2.0) for b in (0.1, 0.2, 0.3)]
    table = results.to_rows("a", points, [0] * 6, matrices(6))
    manifest = {"methods": {"a": {"chosen": [1.0, 0.2]}}}
    strengths, scores = results.Cached("x", table, table, {}, manifest).search("a")
    assert [tuple(row) for row in strengths] == points
    np.testing.assert_allclose(scores[:, 0], matrices(6)[:, -1].mean(1))


def test_provenance_says_what_was_run():
    line = results.describe(MANIFEST)
    for part in (
        "`small`",
        "one pass",
        "all training images",
        "width 8",
        "2 seeds",
        "a processor",
        "2026-01-31",
    ):
        assert part in line
    assert "waits for a GPU" in line and "Stale" not in line
    more = {**MANIFEST["budget"], "n_train": 5000, "epochs": 3}
    assert ", 3 passes over 5,000 training images a task, " in results.describe({**MANIFEST, "budget": more})
    full = results.describe({**MANIFEST, "profile": "full"})
    assert "waits for a GPU" not in full
    widths = {
        name: {"grid": [[1.0]], "width": w} for name, w in {"wide": 512, "EWC": 16, "middle": 64}.items()
    }
    assert "widths 16 to 512" in results.describe({**MANIFEST, "contenders": widths})
    drawn = {
        f"a, draw {draw}": {"method": "a", "grid": [[]], "width": None, "stream_seed": draw}
        for draw in (2, 3)
    }
    assert ", 2 draws of the stream, 2 seeds each; " in results.describe(
        {**MANIFEST, "contenders": drawn, "methods": {}}
    )
    assert "validation data with 2 seeds" in line
    one = {**MANIFEST, "budget": {**MANIFEST["budget"], "search_seeds": 1}}
    assert "validation data with one seed" in results.describe(one)
    no_choice = {"contenders": {"finetune": {"grid": [[]], "width": None}}, "methods": {}}
    assert "2 seeds; a processor" in results.describe(MANIFEST | no_choice)


def test_the_peak_of_memory_is_in_mebibytes():
    peak = provenance.record_of("cpu", 1)["peak_mib"]
    assert 100 < peak < 100_000 if provenance.resource else peak is None


@pytest.mark.parametrize(
    ("grid", "chosen", "at_an_end"),
    [
        ([[1.0], [10.0], [100.0]], [10.0], False),
        ([[1.0], [10.0], [100.0]], [100.0], True),
        ([[1.0], [10.0], [100.0]], [1.0], True),
        ([[5.0]], [5.0], False),
        ([[]], [], False),
        ([[1.0, 7.0], [2.0, 7.0], [3.0, 7.0]], [2.0, 7.0], False),
        ([[a, b] for a in (1.0, 2.0, 3.0) for b in (4.0, 5.0, 6.0)], [2.0, 6.0], True),
    ],
)
def test_a_strength_at_an_end_of_its_grid_is_told(grid, chosen, at_an_end):
    method = {**MANIFEST["methods"]["EWC"], "chosen": chosen}
    changed = {"contenders": {"EWC": {"grid": grid, "width": None}}, "methods": {"EWC": method}}
    assert results.at_an_end({**MANIFEST, **changed}) == ["EWC"] * at_an_end
    assert ("at an end of the grid" in results.describe({**MANIFEST, **changed})) == at_an_end


def test_where_all_strengths_are_at_an_end_no_method_is_named():
    line = {"grid": [[1.0], [10.0]], "width": None}
    method = {**MANIFEST["methods"]["EWC"], "chosen": [10.0]}
    names = {"EWC": line, "L2": line, "finetune": {"grid": [[]], "width": None}}
    found = results.describe(
        {
            **MANIFEST,
            "contenders": names,
            "methods": {"EWC": method, "L2": method, "finetune": {**method, "chosen": []}},
        }
    )
    assert "beyond it: every method." in found


# Files


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "new" / "file"
    for content in (b"first", b"second"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert [p.name for p in path.parent.iterdir()] == ["file"]
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o644


def test_a_result_is_written_whole_before_any_file_is_replaced(tmp_path, monkeypatch):
    moved, replace, written, fsync = [], os.replace, [], os.fsync

    def write(number):
        written.append(number)
        if len(written) == fails_at:
            raise OSError("the disk is full")
        fsync(number)

    monkeypatch.setattr(os, "replace", lambda part, path: (moved.append(path.name), replace(part, path)))
    monkeypatch.setattr(os, "fsync", write)
    fails_at = 4  # the manifest
    with pytest.raises(OSError, match="disk is full"):
        saved(tmp_path)
    assert not moved and not list((tmp_path / "small").iterdir())
    fails_at = None
    saved(tmp_path)
    assert moved == [*results.FILES, "manifest.json"]


@pytest.mark.skipif(os.name != "posix", reason="folders cannot be synchronised there")
def test_a_file_outlasts_a_power_cut_and_so_does_its_name(tmp_path, monkeypatch):
    synchronised, fsync = [], os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda number: (synchronised.append(os.fstat(number).st_ino), fsync(number))
    )
    write_atomically(tmp_path / "file", b"content")
    assert synchronised == [(tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino]


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
def test_a_failing_write_leaves_the_old_file(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="disk is full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_pickles_are_refused():
    packed = results.pack_arrays({"a": np.array([{"an": "object"}], dtype=object)})
    with pytest.raises(CorruptResult, match="no valid NPZ"):
        results.load_arrays(packed)


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"files": {}}', json.dumps(MANIFEST | {"seeds": 2}), json.dumps([MANIFEST])]
)
def test_a_manifest_without_form_is_corrupt(tmp_path, content):
    saved(tmp_path)
    (tmp_path / "small" / "manifest.json").write_text(content)
    with pytest.raises(CorruptResult, match="not the form of a manifest .* python -m cl_lib run small"):
        results.load_manifest("small", root=tmp_path)


def test_where_results_lie(monkeypatch, tmp_path):
    monkeypatch.delenv("CL_LIB_RESULTS", raising=False)
    assert results.folder() == ROOT / "results"
    with monkeypatch.context() as installed:
        installed.setattr(results, "__file__", str(tmp_path / "site-packages" / "cl_lib" / "results.py"))
        installed.chdir(tmp_path)
        assert results.folder() == tmp_path / "results"
    monkeypatch.setenv("CL_LIB_RESULTS", "~/mine")
    assert results.folder() == Path.home() / "mine"
    monkeypatch.setenv("CL_LIB_RESULTS", str(tmp_path))
    saved(tmp_path)
    saved(tmp_path / ".quick")
    assert results.cached() == ("small",)
    assert results.load("small").name == "small"


# Manifests


def leaves(value, path=()):
    """Yield the path of every key and of the first entry of every list."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list) and value:
        yield (*path, 0)
        yield from leaves(value[0], (*path, 0))


def changed(path, value):
    """Return the manifest with one entry replaced; None deletes it."""
    manifest = copy.deepcopy(MANIFEST)
    inner = manifest
    for key in path[:-1]:
        inner = inner[key]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return manifest


def test_the_schema_accepts_a_manifest():
    results.check_form(MANIFEST)
    results.check_form({**MANIFEST, "stale": {"since": "2026-02-01", "why": "another loss"}})
    results.check_form({**MANIFEST, "stream": {"function": "permuted", "fixed": {"n_tasks": 2}}})
    kept = {"method": "EWC", "grid": [[1.0]], "width": None, "training": {"keep_optimizer": True}}
    results.check_form({**MANIFEST, "contenders": {"EWC": kept}})


FREE = {("contenders", "EWC"), ("data_sha256", "pixels"), ("twin", "EWC"), ("methods", "EWC")}
ENTRIES = list(leaves(MANIFEST))


@pytest.mark.parametrize("path", ENTRIES, ids=lambda path: "/".join(map(str, path)))
def test_the_schema_refuses_an_entry_of_another_type(path):
    with pytest.raises(CorruptResult, match=path[0]):
        results.check_form(changed(path, {"no": "such thing"}))


REQUIRED = [p for p in ENTRIES if isinstance(p[-1], str) and p not in FREE]


@pytest.mark.parametrize("path", REQUIRED, ids=lambda path: "/".join(map(str, path)))
def test_the_schema_misses_what_is_left_out(path):
    with pytest.raises(CorruptResult, match=path[-1]):
        results.check_form(changed(path, None))


@pytest.mark.parametrize(
    "path, value",
    [
        (("schema",), 2),
        (("profile",), "twin"),
        (("dataset",), "imagenet"),
        (("experiment",), "../small"),
        (("budget", "epochs"), -1),
        (("budget", "epochs"), 1.5),
        (("training", "optimizer"), "rmsprop"),
        (("training", "learning_rate"), 0.1),
        (("contenders", "EWC", "training"), {}),
        (("contenders", "EWC", "training"), {"keep_optimizer": 1}),
        (("contenders", "EWC", "grid"), [[-1.0]]),
        (("seeds",), [0]),
        (("seeds",), [0, 0]),
        (("methods",), {}),
        (("methods", "EWC", "chosen"), [1.0, 2.0, 3.0]),
        (("methods", "EWC", "average_by_seed"), [0.9, 1.1]),
        (("methods", "EWC", "average"), {**INTERVAL, "median": 0.9}),
        (("devices",), []),
        (("compute_seconds",), 0),
        (("finished",), "31 January 2026"),
        (("git", "commit"), "a" * 39),
        (("data_sha256",), {}),
        (("data_sha256", "pixels"), "A" * 64),
        (("twin", "EWC", "weight_size"), 0),
        (("stale",), {"since": "2026-02-01"}),
        (("stale",), {"since": "yesterday", "why": "another loss"}),
        (("stale",), {"since": "2026-02-01", "why": ""}),
        (("files", "model.pt"), A_DIGEST),
        (("stream",), {"function": "permuted"}),
        (("measure",), ""),
        (("curve_every",), 0),
        (("contenders", "EWC", "method"), {"function": "EWC", "fixed": {}, "more": 1}),
        (("mended",), [{"since": "2026-02-01"}]),
        (("comment",), "a new entry"),
    ],
)  # fmt: skip
def test_the_schema_refuses_values(path, value):
    with pytest.raises(CorruptResult, match="small: "):
        results.check_form(changed(path, value))


# What is cached


def test_git_leaves_the_bytes_of_results_as_they_are_on_every_system():
    file = f"results/{CACHED[0]}/accuracy.csv"
    command = ["git", "check-attr", "eol", file]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert said.strip() == f"{file}: eol: lf"


@pytest.mark.parametrize("name", CACHED)
def test_a_cached_result_is_whole(name, monkeypatch):
    monkeypatch.delenv("CL_LIB_RESULTS", raising=False)
    cached = results.load(name)
    manifest = cached.manifest
    assert manifest["experiment"] == name and name in EXPERIMENTS
    assert tuple(manifest["contenders"]) == cached.methods
    for method in cached.methods:  # what the manifest says of them, freshness.check looks at
        matrix = cached.matrix(method)
        assert matrix.shape[0] == len(manifest["seeds"]) and matrix.shape[1] == matrix.shape[2]
        trained_at = cached.accuracy.set_index("method").loc[[method], ["strength", "strength_2"]]
        assert len(trained_at.drop_duplicates()) == 1
    assert pd.concat([cached.accuracy, cached.search_table])["accuracy"].dropna().between(0, 1).all()


def test_the_results_are_small_and_hold_nothing_else():
    root = ROOT / "results"
    files = [
        p for p in root.rglob("*") if p.is_file() and p.relative_to(root).parts[0] not in (".units", ".quick")
    ]
    assert sum(p.stat().st_size for p in files) < 8e6
    wanted = {"manifest.json", *results.FILES}
    assert {p.name for p in files} <= {"README.md", *wanted}
    for name in CACHED:
        assert {p.name for p in (root / name).iterdir()} == wanted


def test_a_manifest_is_json_for_everybody(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        saved(tmp_path, peak_mib=float("nan"))
    assert not (tmp_path / "small" / "manifest.json").exists()
    saved(tmp_path)
    assert json.loads((tmp_path / "small" / "manifest.json").read_text("utf8"))["files"]


@pytest.mark.parametrize("right", [1, 10_399, 20_799])
def test_a_single_image_of_the_largest_test_set_is_not_rounded_away(right):
    table = results.to_rows("a", [()], [0], np.array([[[right / 20_800]]]))
    assert results.to_matrices(table).item() * 20_800 == pytest.approx(right, abs=0.05)


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_write_that_is_stopped_leaves_nothing(tmp_path, monkeypatch, error):
    def fail(part, _):
        assert Path(part).parent == tmp_path  # elsewhere it could not be renamed
        raise error

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(error):
        write_atomically(tmp_path / "file", b"new")
    assert not list(tmp_path.iterdir())
