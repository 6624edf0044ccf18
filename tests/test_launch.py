"""The rocket: where Colab, Binder and the download lead, in this repository and in a fork."""

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
import types
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import check_launch
import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import BOOK, ROOT, build_strictly
from nbformat import v4

import notebooks

CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))
REPOSITORY, BRANCH = CONFIG["repository"]["url"], CONFIG["repository"]["branch"]
TINY = f"""
title: Tiny
execute: {{execute_notebooks: "off"}}
only_build_toc_files: true
repository: {{url: {REPOSITORY}, branch: main, path_to_book: book}}
sphinx:
  local_extensions: {{launch_notebooks: {BOOK}/_ext}}
"""
KERNEL = "---\nfile_format: mystnb\nkernelspec: {name: python3, display_name: Python 3}\n---\n"


@pytest.fixture
def launch(monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK / "_ext"))
    import launch_notebooks

    return launch_notebooks


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Make a book of a page that can be run and a page that cannot."""
    for variable in ("GITHUB_REPOSITORY", "GITHUB_SERVER_URL"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "book").mkdir()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "book" / "_config.yml").write_text(TINY)
    (tmp_path / "book" / "_toc.yml").write_text("{format: jb-book, root: index, chapters: [{file: run}]}")
    (tmp_path / "book" / "index.md").write_text("# Text\n")
    (tmp_path / "book" / "run.md").write_text(f"{KERNEL}# Run\n")
    (tmp_path / "notebooks" / "run.ipynb").write_text("{}")
    return tmp_path


def buttons(site, page):
    """Return {text: address} of the links in the header of a page."""
    soup = BeautifulSoup((site / f"{page}.html").read_text("utf8"), "html.parser")
    links = soup.find(class_="article-header-buttons").find_all("a", href=True)
    return {link.get_text(strip=True): link["href"] for link in links}


def opened_by_colab(address):
    """Return the repository, the branch and the file that Colab opens."""
    match = re.fullmatch(
        r"https://colab\.research\.google\.com/github/([^/]+/[^/]+)/blob/([^/]+)/(.+)", address
    )
    return match.groups()


def opened_by_binder(address):
    """Return the repository, the branch and the file that Binder opens."""
    url = urlsplit(address)
    assert url.netloc == "mybinder.org"
    repository, branch = re.fullmatch(r"/v2/gh/([^/]+/[^/]+)/([^/]+)", url.path).groups()
    [path] = parse_qs(url.query)["urlpath"]
    assert path.startswith("lab/tree/")
    return repository, branch, path.removeprefix("lab/tree/")


# The built book


def test_every_launch_address_opens_a_file_of_the_repository(built_book, launch):
    here = launch.repository(REPOSITORY, os.environ).removeprefix("https://github.com/")
    pages = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    for page in pages:
        found = buttons(built_book, page)
        assert opened_by_colab(found["Colab"]) == (here, BRANCH, f"notebooks/{page}.ipynb")
        assert opened_by_binder(found["Binder"]) == (here, BRANCH, f"notebooks/{page}.ipynb")
        download = built_book / found[".ipynb"]
        assert download.read_bytes() == (ROOT / "notebooks" / f"{page}.ipynb").read_bytes()
    others = {path.stem for path in BOOK.glob("*.md")} - pages
    assert {"index", "notation"} <= others
    for page in others:
        assert not {"Colab", "Binder", ".ipynb"} & buttons(built_book, page).keys()


# A fork


@pytest.mark.parametrize("variables", [{}, {"GITHUB_REPOSITORY": "someone/their-fork"}])
def test_the_buttons_open_the_repository_that_builds(tiny, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    build = build_strictly(tiny / "book")
    assert build.returncode == 0, build.stdout
    wanted = variables.get("GITHUB_REPOSITORY", REPOSITORY.removeprefix("https://github.com/"))
    found = buttons(tiny / "book" / "_build" / "html", "run")
    assert opened_by_colab(found["Colab"])[0] == wanted
    assert opened_by_binder(found["Binder"])[0] == wanted
    assert "Colab" not in buttons(tiny / "book" / "_build" / "html", "index")


def test_a_page_without_its_notebook_fails_the_build(tiny):
    (tiny / "notebooks" / "run.ipynb").unlink()
    build = build_strictly(tiny / "book")
    assert build.returncode != 0
    assert "run has no notebook: run `make notebooks`" in build.stdout


def test_the_server_of_the_repository_is_kept(launch):
    variables = {"GITHUB_REPOSITORY": "a/b", "GITHUB_SERVER_URL": "https://git.example"}
    assert launch.repository("https://github.com/c/d", variables) == "https://git.example/a/b"
    assert launch.repository("https://github.com/c/d", {}) == "https://github.com/c/d"


# The first cell


@pytest.fixture
def first_cell(tmp_path, monkeypatch):
    """Return a function that runs the first cell in an empty folder, with some cl_lib there or none."""
    monkeypatch.chdir(tmp_path)
    for name in ("CL_LIB_RESULTS", "CL_LIB_SOURCE", "OMP_NUM_THREADS", "GIT_TERMINAL_PROMPT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    code = notebooks.install_cell("https://github.com/me/book", "1.2")

    def run(package=None, version="1.2"):
        spec = package and types.SimpleNamespace(origin=str(package / "cl_lib" / "__init__.py"))
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
        installed = [types.SimpleNamespace(version=version)] if package else []
        monkeypatch.setattr(importlib.metadata, "distributions", lambda name: installed)
        exec(code, {})

    run.code = code
    return run


def unpacked(folder):
    """Make what is looked for in a copy of the repository."""
    (folder / "results").mkdir(parents=True)
    (folder / "pyproject.toml").touch()


@pytest.fixture
def calls(monkeypatch):
    """Return the list of commands that the first cell gives; none is run, but clones are made."""
    given = []

    def record(command, **options):
        given.append(list(command))
        if command[0] == "git":
            unpacked(Path(command[-1]))
        return types.SimpleNamespace(returncode=0)

    monkeypatch.setattr("subprocess.run", record)
    return given


def test_nothing_is_installed_where_the_package_and_its_results_are(first_cell, tmp_path, calls):
    (tmp_path / "source" / "cl_lib").mkdir(parents=True)
    (tmp_path / "source" / "results").mkdir()
    first_cell(tmp_path / "source")
    assert calls == []
    assert os.environ["CL_LIB_RESULTS"] == str(tmp_path / "source" / "results")
    assert os.environ["OMP_NUM_THREADS"] == "1"


def test_results_named_by_the_reader_are_taken(first_cell, tmp_path, calls, monkeypatch):
    monkeypatch.setenv("CL_LIB_RESULTS", str(tmp_path))
    first_cell(tmp_path / "site-packages")
    assert calls == [] and os.environ["CL_LIB_RESULTS"] == str(tmp_path)


def test_a_package_without_results_is_given_them(first_cell, tmp_path, calls):
    first_cell(tmp_path / "site-packages")
    assert [command[:2] for command in calls] == [["git", "clone"]]
    assert os.environ["CL_LIB_RESULTS"] == str(tmp_path / "book-v1.2" / "results")


def test_a_package_of_another_version_is_replaced(first_cell, tmp_path, calls):
    first_cell(tmp_path / "site-packages", version="1.1")
    assert [command[:4] for command in calls] == [
        ["git", "clone", "-q", "--depth=1"],
        [sys.executable, "-m", "pip", "install"],
    ]
    (tmp_path / "source" / "cl_lib").mkdir(parents=True)
    (tmp_path / "source" / "results").mkdir()
    calls.clear()
    first_cell(tmp_path / "source", version="1.1")  # a copy of the repository is the reader's own
    assert calls == []


def test_results_are_found_again_after_a_restart(first_cell, tmp_path, calls):
    unpacked(tmp_path / "book-v1.2")
    first_cell(tmp_path / "site-packages")
    assert calls == []
    assert os.environ["CL_LIB_RESULTS"] == str(tmp_path / "book-v1.2" / "results")


def test_a_clone_of_another_version_is_left_alone(first_cell, tmp_path, calls):
    (tmp_path / "book-v1.1" / "results").mkdir(parents=True)
    first_cell()
    assert calls[0][-1] == str(tmp_path / "book-v1.2.part")
    assert (tmp_path / "book-v1.1" / "results").is_dir()


def test_an_interrupted_clone_is_made_again(first_cell, tmp_path, calls, monkeypatch):
    record = subprocess.run

    def interrupt(command, **options):
        Path(command[-1], ".git").mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr("subprocess.run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        first_cell()
    monkeypatch.setattr("subprocess.run", record)
    first_cell()
    assert [command[0] for command in calls] == ["git", sys.executable]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["book-v1.2"]
    assert not (tmp_path / "book-v1.2" / ".git").exists()


def test_a_step_that_was_killed_without_a_word_has_failed(first_cell, monkeypatch):
    killed = types.SimpleNamespace(returncode=-9, stderr="", stdout="")
    monkeypatch.setattr("subprocess.run", lambda *command, **options: killed)
    with pytest.raises(RuntimeError, match="git clone .* failed:\nstatus -9\n"):
        first_cell()


def test_a_folder_with_something_else_in_it_is_kept(first_cell, tmp_path, calls):
    (tmp_path / "book-v1.2").mkdir()
    (tmp_path / "book-v1.2" / "mine").touch()
    with pytest.raises(RuntimeError, match="unpack it as"):
        first_cell()
    assert (tmp_path / "book-v1.2" / "mine").exists()


def test_a_failed_installation_says_what_to_do(first_cell, tmp_path, monkeypatch):
    monkeypatch.setenv("CL_LIB_SOURCE", str(tmp_path / "nowhere"))
    with pytest.raises(RuntimeError) as failure:
        first_cell()
    message = str(failure.value)
    assert "git clone" in message and "nowhere" in message
    assert f"a tag v1.2 at {tmp_path / 'nowhere'}" in message
    assert f"unpack it as {tmp_path / 'book-v1.2'}" in message


def test_a_machine_without_git_is_told_so(first_cell, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="is git installed"):
        first_cell()


def test_a_folder_put_there_by_hand_is_installed(first_cell, tmp_path, calls):
    unpacked(tmp_path / "book-v1.2")
    first_cell()
    assert calls == [[sys.executable, "-m", "pip", "install", "-q", str(tmp_path / "book-v1.2")]]


def test_the_first_cell_fits_the_page(first_cell):
    assert max(map(len, first_cell.code.splitlines())) <= 78


# Binder


def test_binder_installs_the_package_at_the_pinned_versions():
    lines = (ROOT / "binder" / "requirements.txt").read_text("utf8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        "--extra-index-url https://download.pytorch.org/whl/cpu",
        "-c ../constraints.txt",
        "-e .",
    ]
    assert (ROOT / "binder" / "runtime.txt").read_text("utf8") == "python-3.11\n"


# The long check of both


@pytest.mark.parametrize(
    "words, launch, versions",
    [
        (["colab"], "colab", "pinned"),
        (["colab", "--newest"], "colab", "newest"),
        (["colab", "--oldest"], "colab", "oldest"),
        (["binder"], "binder", None),
    ],
)
def test_the_command_line_says_what_is_checked(words, launch, versions):
    asked = check_launch.arguments(words)
    assert (asked.launch, getattr(asked, "versions", None)) == (launch, versions)


@pytest.mark.parametrize(
    "words",
    [[], ["colba"], ["colab", "--latest"], ["colab", "--new"], ["colab", "--newest", "--oldest"]]
    + [["binder", "--newest"]],
)
def test_a_mistyped_command_line_is_refused(words, capsys):
    with pytest.raises(SystemExit) as refused:
        check_launch.arguments(words)
    assert refused.value.code == 2 and "usage: " in capsys.readouterr().err


def test_what_is_installed_before_the_first_cell():
    newest, pinned, oldest = map(check_launch.preinstalled, ("newest", "pinned", "oldest"))
    assert pinned == ["-c", str(ROOT / "constraints.txt"), *newest]
    assert {"torch", "numpy"} <= set(newest) and not any("=" in name for name in newest)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
    bounds = [need.replace(">=", "~=") + ".0" for need in project["dependencies"]]
    assert oldest[1:] == [bound for bound in bounds if not bound.startswith("torch")]
    assert oldest[0] in (ROOT / "constraints.txt").read_text("utf8").splitlines()


@pytest.mark.parametrize("versions, pinned", [("pinned", True), ("newest", False), ("oldest", False)])
def test_what_the_first_cell_installs_is_pinned_where_it_is_to_be(tmp_path, monkeypatch, versions, pinned):
    environments = []
    monkeypatch.setenv("PIP_CONSTRAINT", "somebody's own")
    monkeypatch.setattr(check_launch, "published", lambda folder: folder)
    monkeypatch.setattr(check_launch, "environment", lambda folder, *names: folder)
    monkeypatch.setattr(check_launch, "problems", lambda notebook: [])
    monkeypatch.setattr(check_launch, "run", lambda *command, env=None, **_: environments.append(env))
    check_launch.check_colab(tmp_path, versions)
    found = {env.get("PIP_CONSTRAINT") for env in filter(None, environments)}
    assert found == {str(ROOT / "constraints.txt") if pinned else None}


def test_what_is_wrong_with_a_notebook_is_said():
    figure = v4.new_output("display_data", {"text/html": '<figure class="cl-figure">'})
    failed = v4.new_output("error", ename="NameError", evalue="name 'a' is not defined")

    def said(source, *outputs, count=1):
        cell = v4.new_code_cell(source, outputs=list(outputs), execution_count=count)
        return check_launch.problems(v4.new_notebook(cells=[v4.new_markdown_cell("text"), cell]))

    assert said("1") == said("plots.show(fig)", figure) == []
    assert said("1", count=None) == ["not run: '1'"]
    assert said("a", failed) == ["NameError: name 'a' is not defined"]
    assert said("plots.show(fig)") == ["it shows no figure"]
