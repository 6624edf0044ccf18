"""The command line: what it prints, what it refuses, and its exit status."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import tiny_experiment
import torch
from conftest import ROOT

from cl_lib import __main__, compute, experiments, freshness, report, results, runner
from cl_lib.experiments import EXPERIMENTS
from cl_lib.files import write_atomically


@pytest.fixture(scope="module")
def run_once(tmp_path_factory):
    """Run the tiny experiment from the command line."""
    root = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CL_LIB_RESULTS", str(root))
        only_tiny(patch)
        status = __main__.main(["run", "tiny", "--device", "cpu", "--profile", "cpu", "--seeds", "2"])
    return root, status


def only_tiny(patch):
    """Let the registry hold the tiny experiment and one that is not cached."""
    two = {"tiny": tiny_experiment.TINY, "width": EXPERIMENTS["width"]}
    for module in (experiments, __main__, runner, freshness, report):
        if hasattr(module, "EXPERIMENTS"):
            patch.setattr(module, "EXPERIMENTS", two)
    patch.setitem(EXPERIMENTS, "tiny", tiny_experiment.TINY)


@pytest.fixture
def call(run_once, monkeypatch, capsys):
    """Return a function that gives a command's exit status, output and errors."""
    monkeypatch.setenv("CL_LIB_RESULTS", str(run_once[0]))
    only_tiny(monkeypatch)

    def call(*arguments):
        capsys.readouterr()
        try:
            status = __main__.main(list(arguments))
        except SystemExit as stop:  # argparse
            status = stop.code
        return status, *capsys.readouterr()

    return call


def test_run_writes_a_result(run_once):
    root, status = run_once
    assert status == 0
    cached = results.load("tiny", root=root)
    assert cached.manifest["seeds"] == [0, 1] and cached.manifest["profile"] == "cpu"


def test_list_shows_what_is_there_and_what_is_not(call, run_once):
    status, printed, _ = call("list")
    assert status == 0
    head, tiny, width = printed.splitlines()
    assert head.split() == ["name", "profile", "seeds", "on", "finished", "settings", "behaviour", "title"]
    (device,) = results.load_manifest("tiny", root=run_once[0])["devices"]
    assert re.match(rf"tiny +cpu, waits for a GPU +2 +{re.escape(device)} ", tiny)
    assert "as declared" in tiny and "A tiny experiment" in tiny
    assert "not cached" in width
    assert tiny.index("A tiny experiment") == head.index("title")


def test_list_shows_all_devices(call, run_once, tmp_path, monkeypatch):
    shutil.copytree(run_once[0] / "tiny", tmp_path / "tiny")
    manifest = results.load_manifest("tiny", root=tmp_path) | {"devices": ["a CPU", "a GPU"]}
    results.save_manifest(tmp_path / "tiny", manifest)
    monkeypatch.setenv("CL_LIB_RESULTS", str(tmp_path))
    assert " a CPU; a GPU " in call("list")[1]


def test_list_sees_changed_settings(call, monkeypatch):
    tiny = tiny_experiment.TINY
    monkeypatch.setitem(__main__.EXPERIMENTS, "tiny", replace(tiny, training={**tiny.training, "lr": 0.2}))
    assert "changed since" in call("list")[1]


@pytest.mark.parametrize("content", [b"{", b"{}", b'{"files": {}}'])
def test_list_goes_on_past_a_damaged_result(call, tmp_path, monkeypatch, content):
    monkeypatch.setenv("CL_LIB_RESULTS", str(tmp_path))
    write_atomically(tmp_path / "tiny" / "manifest.json", content)
    status, printed, _ = call("list")
    assert status == 0 and "damaged" in printed.splitlines()[1] and "width" in printed


def test_verify_goes_on_past_a_damaged_result(call, run_once, tmp_path, monkeypatch):
    shutil.copytree(run_once[0] / "tiny", tmp_path / "tiny")
    write_atomically(tmp_path / "width" / "manifest.json", b"{")
    monkeypatch.setenv("CL_LIB_RESULTS", str(tmp_path))
    status, printed, _ = call("verify", "width", "tiny")
    assert status == 1 and printed.startswith("width: damaged\n") and printed.endswith("tiny: fresh\n")


def test_verify_goes_on_past_a_twin_that_fails(call, run_once, tmp_path, monkeypatch):
    for name in ("tiny", "width"):
        shutil.copytree(run_once[0] / "tiny", tmp_path / name)
    monkeypatch.setenv("CL_LIB_RESULTS", str(tmp_path))
    run_twin = freshness.run_twin

    def broken(experiment):
        if experiment.name == "width":
            raise FloatingPointError("replicas [0] of 2 diverged on 'x'")
        return run_twin(experiment)

    monkeypatch.setattr(freshness, "run_twin", broken)
    status, printed, _ = call("verify", "width", "tiny")
    assert status == 1 and printed.startswith("width: its twin fails\n    FloatingPointError: replicas [0]")
    assert printed.endswith("tiny: fresh\n")


@pytest.mark.parametrize("kind", [FloatingPointError, ValueError, MemoryError, ChildProcessError])
def test_a_run_that_fails_leaves_the_others_their_turn(kind, call, tmp_path, monkeypatch):
    def run(name, **_):
        if name == "tiny":
            raise kind("tiny: EWC, seed 0 diverged")
        return tmp_path / name

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(runner, "check_run", lambda *_: None)
    monkeypatch.setattr(__main__, "load", lambda *_: None)
    status, printed, errors = call("run", "tiny", "width", "--device", "cpu")
    assert status == 2 and printed == f"wrote {tmp_path / 'width'}\n"
    assert errors == "error: tiny: EWC, seed 0 diverged\n"


def test_all_results_are_looked_at_before_the_first_run(call, monkeypatch):
    monkeypatch.setattr(runner, "run", lambda *_, **__: pytest.fail("a run had begun"))
    refused = {"tiny": None, "width": ValueError("it would replace more")}

    def check(name, *_):
        if refused[name]:
            raise refused[name]

    monkeypatch.setattr(runner, "check_run", check)
    status, _, errors = call("run", "tiny", "width", "--device", "cpu")
    assert status == 2 and "error: it would replace more" in errors


def test_all_leaves_alone_what_a_run_would_replace_by_less(call, run_once, tmp_path, monkeypatch):
    manifest = results.load_manifest("tiny", root=run_once[0]) | {"profile": "full"}
    results.save_manifest(tmp_path / "tiny", manifest)
    monkeypatch.setenv("CL_LIB_RESULTS", str(tmp_path))
    begun = []
    monkeypatch.setattr(runner, "run", lambda name, **_: begun.append(name) or tmp_path / name)
    status, printed, errors = call("run", "all", "--device", "cpu", "--profile", "cpu")
    assert (status, begun, errors) == (0, ["width"], "")
    assert printed.startswith("tiny is left as it is: ") and "holds the profile full" in printed
    status, _, errors = call("run", "tiny", "--device", "cpu", "--profile", "cpu")
    assert status == 2 and begun == ["width"] and "holds the profile full" in errors


def test_a_second_run_finds_everything_done(call, monkeypatch):
    monkeypatch.setattr(compute, "run_unit", lambda *_: pytest.fail("computed again"))
    status, printed, _ = call("run", "tiny", "--device", "cpu", "--profile", "cpu", "--seeds", "2")
    assert status == 0 and printed.startswith("wrote ")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["run", "tinny"], "invalid choice: 'tinny'"),
        (["run"], "required: NAME"),
        (["run", "tiny", "--profile", "huge"], "invalid choice: 'huge'"),
        (["run", "tiny", "--profile", "full", "--quick"], "not allowed with argument"),
        (["run", "tiny", "--seeds", "1"], "error: seeds is 1, but an interval needs 2 or more."),
        (["verify", "tinny"], "error: name is 'tinny', but must be one of tiny, width."),
        (["verify", "--stale-because", "it is old"], "--stale-because needs the names"),
        (["verify", "tiny", "--stale-because", " "], "error: why is empty"),
        (["verify", "width", "--stale-because", "it is old"], "error: no results for 'width'"),
        (["paint"], "invalid choice: 'paint'"),
        ([], "required: command"),
    ],
)
def test_wrong_arguments_are_refused(call, arguments, message):
    status, printed, errors = call(*arguments)
    assert status == 2 and printed == "" and message in errors


def test_verify_says_fresh_and_list_remembers(call):
    assert call("verify", "tiny")[:2] == (0, "tiny: fresh\n")
    assert call("verify")[:2] == (0, "tiny: fresh\nwidth: not cached\n")
    assert call("verify", "width")[:2] == (1, "width: not cached\n")  # asked for by name
    assert "fresh" in call("list")[1].splitlines()[1]


def test_verify_of_nothing_fails(call, tmp_path, monkeypatch):
    monkeypatch.setenv("CL_LIB_RESULTS", str(tmp_path))
    assert call("verify")[:2] == (1, f"nothing is cached in {tmp_path}\n")


def test_verify_fails_until_there_is_a_note(call, run_once):
    path = run_once[0] / "tiny" / "manifest.json"
    before = path.read_bytes()
    manifest = json.loads(before)
    manifest["twin"]["EWC"]["weight_size"] *= 2
    path.write_text(json.dumps(manifest))
    status, printed, _ = call("verify")
    assert status == 1 and printed.startswith("tiny: stale\n    EWC: size of weights")
    assert "stale" in call("list")[1].splitlines()[1]
    status, printed, _ = call("verify", "tiny", "--stale-because", "the penalty has changed")
    assert status == 0 and printed.startswith("tiny: known stale since ")
    assert json.loads(path.read_bytes())["stale"]["why"] == "the penalty has changed"
    path.write_bytes(before)


def test_all_are_marked_stale_or_none(call, run_once):
    path = run_once[0] / "tiny" / "manifest.json"
    before = path.read_bytes()
    status, _, errors = call("verify", "tiny", "width", "--stale-because", "the penalty has changed")
    assert status == 2 and "error: no results for 'width'" in errors
    assert path.read_bytes() == before


def test_missing_data_are_named_before_anything_is_trained(call, tmp_path, monkeypatch):
    monkeypatch.setenv("CL_LIB_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setattr(runner, "run", lambda name, **_: pytest.fail("trained"))
    status, _, errors = call("run", "tiny", "width", "--device", "cpu", "--quick")
    assert status == 2 and "CL_LIB_DATA" in errors


def test_report_prints_the_table(call):
    status, printed, _ = call("report")
    assert status == 0
    assert printed.startswith("| claim | paper | source | ours | run | verdict |")


@pytest.mark.parametrize(
    "error, status, message",
    [
        (FloatingPointError("replica 0 diverged"), 2, "error: replica 0 diverged"),
        (KeyboardInterrupt(), 130, "goes on from here"),
    ],
)
def test_a_run_that_ends_early(call, monkeypatch, error, status, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(runner, "run", fail)
    found, _, errors = call("run", "tiny")
    assert found == status and message in errors


def test_it_can_be_called(tmp_path):
    found = subprocess.run(
        [sys.executable, "-m", "cl_lib", "run", "nothing"], cwd=ROOT, capture_output=True, text=True
    )
    assert found.returncode == 2 and "permuted-mnist" in found.stderr


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a closed pipe is another error")
def test_who_has_read_enough_may_close_the_pipe(tmp_path):
    command = [sys.executable, "-m", "cl_lib", "list"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = os.environ | {"CL_LIB_RESULTS": str(tmp_path)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) as listing:
        listing.stdout.close()
        assert listing.stderr.read() == b"" and listing.wait() == 1


def test_another_broken_pipe_is_said(call, monkeypatch):
    def fail(*_, **__):
        raise BrokenPipeError(32, "worker connection")

    monkeypatch.setattr(runner, "run", fail)
    found, _, errors = call("run", "tiny")
    assert found == 2 and "worker connection" in errors


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize(
    "words, expected",
    [
        ([], {}),
        (["--quick", "--seeds", "7"], {"profile": "quick", "seeds": 7}),
        (["--device", "cpu"], {"profile": "cpu", "device": "cpu"}),
        (["--device", "cuda:1", "--profile", "cpu"], {"profile": "cpu", "device": "cuda:1"}),
    ],
)
def test_what_a_command_asks_for_is_what_is_run(words, expected, gpu, monkeypatch, tmp_path):
    monkeypatch.setenv("CL_LIB_RESULTS", str(tmp_path))
    only_tiny(monkeypatch)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    if "cuda:1" in words:  # a GPU that is not here
        monkeypatch.setattr(compute, "training_device", torch.device)
    seen = []
    monkeypatch.setattr(runner, "run", lambda name, **asked: seen.append(asked) or tmp_path)
    assert __main__.main(["run", "tiny", *words]) == 0
    otherwise = {"profile": "full" if gpu else "cpu", "seeds": None, "device": "auto", "scheduler": None}
    assert seen == [otherwise | expected]
