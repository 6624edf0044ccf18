"""The project's files: layout, pins, Makefile and what the README promises."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
PIN = re.compile(r"([\w.-]+)==([\w.]+)")


def make(*arguments, cwd):
    """Run make on its own, even where make runs the tests."""
    own = {name: v for name, v in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    return subprocess.run(["make", *arguments], cwd=cwd, env=own, capture_output=True, text=True)


def requirement_lines(name):
    """Return the lines of a requirements file that name a package, with their comments."""
    lines = (ROOT / name).read_text(encoding="utf8").splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-"))]


def pins(name):
    """Return {package: version} of a requirements file of which every line is an exact pin."""
    found = {}
    for line in requirement_lines(name):
        pin = PIN.fullmatch(line.split("#")[0].strip())
        assert pin, f"{name}: not an exact pin: {line}"
        found[pin[1].lower().replace("_", "-")] = pin[2]
    return found


# Layout


@pytest.mark.parametrize("name", ["_config.yml", "_toc.yml"])
def test_the_book_folder_links_to_the_files_at_the_top(name):
    link = ROOT / "book" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..", name)
    assert link.resolve() == ROOT / name


def test_files_named_in_the_configuration_exist():
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))
    sphinx = config["sphinx"]["config"]
    scripts = [script[0] for script in sphinx["html_js_files"]]
    assets = [*sphinx["html_css_files"], *scripts]
    wanted = [f"assets/{name}" for name in assets]
    wanted += [config["html"]["favicon"], *config["bibtex_bibfiles"]]
    assert [name for name in wanted if not (ROOT / "book" / name).is_file()] == []


def test_the_address_of_the_repository_stands_in_one_place():
    address = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))["repository"]["url"]
    tracked = ["README.md", "CONTRIBUTING.md", "CITATION.cff", "pyproject.toml", "Makefile"]
    tracked += [f"book/{page.name}" for page in (ROOT / "book").glob("*.md")]
    assert [name for name in tracked if address in (ROOT / name).read_text(encoding="utf8")] == []


def test_version_and_licence_are_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf8"))
    assert project["version"] == citation["version"]
    assert project["license"] == "MIT"
    assert citation["license"] == "MIT" and "CC BY 4.0" in citation["abstract"]  # Zenodo takes one licence
    assert (ROOT / "LICENSE").read_text(encoding="utf8").startswith("MIT License")


# Pins


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-test.txt"])
def test_every_direct_dependency_is_pinned_with_a_reason(name):
    assert pins(name)
    assert [line for line in requirement_lines(name) if not re.search(r"# \w.{9}", line)] == []


def test_constraints_agree_with_the_direct_dependencies():
    constraints = pins("constraints.txt")
    for name in ("requirements.txt", "requirements-test.txt"):
        lines = (ROOT / name).read_text(encoding="utf8").splitlines()
        assert "-c constraints.txt" in lines
        assert pins(name).items() <= constraints.items()


def test_the_packages_that_everything_rests_on():
    direct = pins("requirements.txt")
    assert direct["torch"] == "2.13.0"
    assert direct["jupyter-book"] == "1.0.4.post1"
    assert any(line.startswith("-e .") for line in (ROOT / "requirements.txt").read_text().splitlines())


def test_every_requirement_of_the_package_is_pinned_above_its_lower_bound():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    direct = pins("requirements.txt")
    for requirement in project["dependencies"]:
        name, lower = requirement.split(">=")
        bound, pin = (tuple(map(int, v.split("."))) for v in (lower, direct[name]))
        assert pin >= bound, requirement


def imported(path):
    """Yield the name of each package that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")[0]


def test_what_the_package_imports_is_among_its_requirements():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    needed, optional = (
        {need.split(">=")[0] for need in needs}
        for needs in (project["dependencies"], project["optional-dependencies"]["cluster"])
    )
    names = {name for path in (ROOT / "cl_lib").rglob("*.py") for name in imported(path)}
    provided = importlib.metadata.packages_distributions()
    others = {provided[name][0] for name in names - sys.stdlib_module_names - {"cl_lib"}}
    assert others - optional == needed


# Commands


def test_make_alone_lists_the_targets():
    listed = make(cwd=ROOT)
    assert listed.returncode == 0
    assert {"book", "test", "lint", "benchmark", "clean"} <= TARGETS
    for target in TARGETS:
        assert re.search(rf"^make {target} +\w", listed.stdout, re.MULTILINE), target


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_commands_in_the_documents_exist(name):
    text = (ROOT / name).read_text(encoding="utf8")
    commands = re.findall(r"^(?:\$ )?make(?: ([a-z-]+))?", text, re.MULTILINE)
    commands += re.findall(r"`make ([a-z-]+)", text)
    assert {"book", "test"} <= set(commands)
    assert {command for command in commands if command} <= TARGETS


def test_the_readme_names_files_that_exist():
    links = re.findall(r"\]\(([^)#:]+)\)|src=\"([^\":]+)\"", README)
    names = [first or second for first, second in links]
    assert "book/assets/cover.svg" in names
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_the_readme_shows_the_way_without_make():
    assert "pip install -r requirements.txt" in README
    assert "jupyter-book build book/" in README


@pytest.fixture
def old_python(tmp_path):
    """Make an interpreter that fails every program, as Python 3.9 fails the check of its version."""
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.1"\nexit 1\n')
    old.chmod(0o755)
    return old


def test_an_old_python_is_refused_by_name(old_python, tmp_path):
    refused = make("book", f"PYTHON={old_python}", f"VENV={tmp_path}/venv", cwd=ROOT)
    assert refused.returncode != 0
    assert "needs Python 3.11 or newer" in refused.stderr
    assert "Python 3.9.1" in refused.stderr
    assert "make book PYTHON=" in refused.stderr
    assert not (tmp_path / "venv").exists()


def test_an_environment_that_is_there_needs_no_other_python(old_python, tmp_path):
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to("/bin/true")
    made = make(programs.parent / ".test", f"PYTHON={old_python}", f"VENV={tmp_path}/venv", cwd=ROOT)
    assert made.returncode == 0, made.stderr
    assert (programs.parent / ".test").exists()


def test_a_failure_is_kept_through_a_pipe(tmp_path):
    (tmp_path / "Makefile").write_text(f"include {ROOT}/Makefile\nprobe:\n\tfalse | true\n")
    assert make("probe", cwd=tmp_path).returncode != 0


def test_the_continuous_integration_script():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    lines = script.read_text(encoding="utf8").splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in lines
    assert lines.index("make book") < lines.index("make test")
    assert subprocess.run(["bash", "-n", script]).returncode == 0
