"""How the book is built: what runs a page again, what fails a build, what the site check finds."""

import os
import re
import shutil
import subprocess
import sys
import types

import check_site
import pytest
import yaml
from conftest import BOOK, ROOT, build_strictly, jupyter_book

CONFIG = f"""
title: Tiny
execute: {{execute_notebooks: cache}}
only_build_toc_files: true
sphinx:
  local_extensions: {{execution_key: {BOOK}/_ext, recall_warnings: {BOOK}/_ext}}
  config:
    nb_execution_raise_on_error: true
    execution_key_files: ["../tiny/**/*.py", "../results/**/manifest.json"]
    execution_key_packages: [numpy, not-installed]
"""
PAGE = """---
file_format: mystnb
kernelspec: {name: python3, display_name: Python 3}
---
# A page

```{code-cell} python
import sys

sys.path.insert(0, "..")
from tiny import VALUE

with open("../executions.txt", "a") as file:
    file.write("x")
print("The value is", VALUE)
```
"""


@pytest.fixture
def tiny(tmp_path):
    """Make a book of one page, which counts how often it is executed, and its package."""
    for folder in ("book", "tiny", "results"):
        (tmp_path / folder).mkdir()
    (tmp_path / "tiny" / "__init__.py").write_text("VALUE = 1\n")
    (tmp_path / "results" / "manifest.json").write_text("{}")
    (tmp_path / "executions.txt").touch()
    (tmp_path / "book" / "_config.yml").write_text(CONFIG)
    (tmp_path / "book" / "_toc.yml").write_text("format: jb-book\nroot: index\n")
    (tmp_path / "book" / "index.md").write_text(PAGE)
    return tmp_path


def executions(tiny):
    return len((tiny / "executions.txt").read_text())


def built(tiny, *options):
    """Build the tiny book and return the page."""
    build = build_strictly(tiny / "book", *options)
    assert build.returncode == 0, build.stdout
    return (tiny / "book" / "_build" / "html" / "index.html").read_text(encoding="utf8")


# What runs a page again


def test_a_page_runs_again_when_the_package_changes_and_only_then(tiny):
    assert "The value is 1" in built(tiny)
    assert executions(tiny) == 1

    built(tiny)
    built(tiny, "--all")  # reads every page again
    assert executions(tiny) == 1

    (tiny / "tiny" / "__init__.py").write_text("VALUE = 2\n")
    assert "The value is 2" in built(tiny)
    assert executions(tiny) == 2

    (tiny / "tiny" / "__init__.py").write_text("VALUE = 1\n")
    assert "The value is 1" in built(tiny)  # the older cache is still there
    assert executions(tiny) == 2


def test_a_page_runs_again_when_a_result_changes(tiny):
    built(tiny)
    (tiny / "results" / "manifest.json").write_text('{"seeds": 10}')
    built(tiny)
    assert executions(tiny) == 2


@pytest.fixture
def key(monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK / "_ext"))
    import execution_key

    return execution_key


def test_the_key_depends_on_files_packages_and_python(key, tmp_path, monkeypatch):
    (tmp_path / "book").mkdir()
    (tmp_path / "lib").mkdir()
    code = tmp_path / "lib" / "a.py"
    code.write_text("1")
    monkeypatch.delenv("CL_LIB_RESULTS", raising=False)

    def current(packages=("numpy",)):
        return key.execution_key(tmp_path / "book", ["../lib/**/*.py"], packages)

    keys = [current()]
    assert current() == keys[0]
    keys += [current(()), current(("numpy", "not-installed"))]
    code.write_text("2")
    keys.append(current())
    code.rename(tmp_path / "lib" / "b.py")
    keys.append(current())
    monkeypatch.setattr(key.platform, "python_version", lambda: "3.99.0")
    keys.append(current())
    monkeypatch.setenv("CL_LIB_RESULTS", str(tmp_path / "results"))
    for content in ("1", "2"):
        (tmp_path / "results" / "tiny").mkdir(parents=True, exist_ok=True)
        (tmp_path / "results" / "tiny" / "manifest.json").write_text(content)
        keys.append(current())
    assert len(set(keys)) == len(keys)


def test_only_the_latest_caches_are_kept(key, tmp_path):
    for age in range(5):
        folder = tmp_path / f"cache{age}"
        folder.mkdir()
        (folder / "notebook").touch()
        os.utime(folder, (1e9 - age, 1e9 - age))
    key.remove_old_caches(tmp_path, kept=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache0", "cache1", "cache2"]


def test_the_book_names_real_sources_of_its_outputs():
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))["sphinx"]["config"]
    patterns = config["execution_key_files"]
    assert patterns[:2] == ["../cl_lib/**/*.py", "../results/**/manifest.json"]
    assert all(list(BOOK.glob(pattern)) for pattern in patterns)
    read = re.findall(r'Path\("([^"]+)"\)', (BOOK / "status.md").read_text("utf8"))
    assert read and set(read) <= set(patterns)


@pytest.mark.parametrize("folder", [ROOT, BOOK])
def test_extensions_are_found_from_either_configuration(folder):
    found = subprocess.run(
        [sys.executable, "-c", FIND_EXTENSIONS, folder / "_config.yml"],
        cwd="/",
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr


FIND_EXTENSIONS = """
import sys
from pathlib import Path
from jupyter_book.config import get_final_config

sys.path = [path for path in sys.path if not path.endswith("_ext")]
get_final_config(user_yaml=Path(sys.argv[1]), cli_config={"latex_individualpages": False})
import execution_key, offline_mathjax, recall_warnings
"""


# What is copied into the site


def test_mathjax_is_copied_again_where_a_copy_is_cut_or_outdated(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK / "_ext"))
    import offline_mathjax

    app = types.SimpleNamespace(builder=types.SimpleNamespace(format="html"), outdir=str(tmp_path))
    offline_mathjax._copy_mathjax(app)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    cut, outdated, *_ = whole = sorted(files)
    cut.write_bytes(files[cut][:100])
    outdated.write_bytes(bytes(len(files[outdated])))
    times = {path: path.stat().st_mtime_ns for path in whole[2:]}
    offline_mathjax._copy_mathjax(app)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files
    assert {path: path.stat().st_mtime_ns for path in times} == times


# What fails a build


def test_a_warning_fails_the_build_every_time(tiny):
    (tiny / "book" / "index.md").write_text("# A page\n\n{ref}`nowhere` and [](nothing)\n")
    for _ in range(2):
        build = build_strictly(tiny / "book")
        assert build.returncode != 0
        assert "undefined label: 'nowhere'" in build.stdout
    lenient = jupyter_book("build", tiny / "book")
    assert lenient.returncode == 0
    assert build_strictly(tiny / "book").returncode != 0


def test_an_exception_fails_the_build(tiny):
    (tiny / "tiny" / "__init__.py").write_text("")
    build = build_strictly(tiny / "book")
    assert build.returncode != 0
    assert "ImportError" in build.stdout or "ExecutionError" in build.stdout


# What the site check finds


@pytest.fixture
def checked(tmp_path):
    """Return a function that checks a site of one page with the given body."""
    (tmp_path / "_toc.yml").write_text("{format: jb-book, root: index}")
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "own.css").write_text("a { background: url(own.svg) }")
    (tmp_path / "_static" / "own.svg").touch()
    (tmp_path / "_static" / "own.mjs").write_text('import "./other.mjs";')
    (tmp_path / "_static" / "other.mjs").touch()
    (tmp_path.parent / "beside.svg").touch()

    def check(body):
        (tmp_path / "index.html").write_text(f"<html><body>{body}</body></html>")
        return check_site.check(tmp_path, tmp_path / "_toc.yml")

    check.folder = tmp_path
    return check


GOOD = """
<link rel="stylesheet" href="_static/own.css?v=1"><link rel="canonical" href="https://a.org/">
<img src="data:image/png;base64,AA"><img src="_static/own.svg"><a href="https://a.org">a</a>
<use href="#mark"/><img src="_static/../_static/own.svg" srcset="data:image/png;base64,AA 1x,">
<script type="module">import { a } from "./_static/own.mjs"; import("./_static/own.mjs");</script>
"""


def test_a_complete_site_has_no_problem(checked, capsys):
    assert checked(GOOD) == []
    assert check_site.main(checked.folder, checked.folder / "_toc.yml") == 0
    assert "all pages built and complete" in capsys.readouterr().out


@pytest.mark.parametrize(
    "body",
    [
        '<script src="https://cdn.org/x.js"></script>',
        '<link rel="stylesheet" href="//fonts.org/x.css">',
        '<link rel="preload" href="https://fonts.org/x.woff">',
        '<img src="http://a.org/x.png">',
        '<img src="data:," srcset="https://a.org/x.png 2x">',
        '<iframe src="https://a.org/"></iframe>',
        '<object data="https://a.org/x.svg"></object>',
        "<style>@import 'https://fonts.org/x.css'</style>",
        '<p style="background: url(https://a.org/x.png)"></p>',
        '<video poster="https://a.org/x.png"></video>',
        '<svg><image href="https://a.org/x.png"/></svg>',
        '<svg><use xlink:href="https://a.org/x.svg#a"/></svg>',
        '<svg><filter><feImage href="https://a.org/x.png"/></filter></svg>',
        '<script type="module">import "https://a.org/x.mjs"</script>',
        '<script type="module">import { a } from "//a.org/x.mjs"</script>',
        '<script type="module">await import("https://a.org/x.mjs")</script>',
    ],
)
def test_a_request_to_another_host_is_found(checked, body):
    [problem] = checked(body)
    assert problem.startswith("index: loads ")
    assert problem.endswith(" from another host")


def test_a_style_sheet_that_loads_from_another_host_is_found(checked):
    (checked.folder / "_static" / "own.css").write_text("@font-face {src: url('https://a.org/f')}")
    assert checked("") == ["_static/own.css: loads https://a.org/f from another host"]


@pytest.mark.parametrize(
    ("imported", "problem"),
    [
        ("https://a.org/x.mjs", "loads https://a.org/x.mjs from another host"),
        ("./gone.mjs", "loads ./gone.mjs, which is not in the site"),
    ],
)
def test_a_module_that_imports_what_is_not_in_the_site_is_found(checked, imported, problem):
    (checked.folder / "_static" / "own.mjs").write_text(f'export * from "{imported}";')
    assert checked("") == [f"_static/own.mjs: {problem}"]


@pytest.mark.parametrize(
    ("body", "url"),
    [
        ('<script src="_static/gone.js"></script>', "_static/gone.js"),
        ('<img src="../beside.svg">', "../beside.svg"),
        ('<img src="data:," srcset="data:image/png;base64,AA 1x, gone.png 2x,">', "gone.png"),
        ('<svg><use href="gone.svg#a"/></svg>', "gone.svg#a"),
    ],
)
def test_a_missing_file_is_found(checked, body, url):
    assert checked(body) == [f"index: loads {url}, which is not in the site"]


def test_an_absolute_path_is_found_as_projects_lie_in_a_folder_of_their_host(checked):
    [problem] = checked('<img src="/_static/own.svg">')
    assert problem.startswith("index: loads /_static/own.svg, which is found only where")


def test_a_traceback_is_found(checked):
    body = "<pre><span>Traceback</span> (most recent <b>call</b> last)</pre>"
    assert checked(body) == ["index: shows a traceback"]


def test_pages_are_held_against_the_table_of_contents(checked, capsys):
    (checked.folder / "_toc.yml").write_text(
        "{root: index, parts: [{chapters: [{file: a}, {file: b.md, sections: [{file: c/d}]}]}]}"
    )
    (checked.folder / "old.html").touch()
    (checked.folder / "search.html").touch()
    assert checked("") == [
        "a: in _toc.yml but not built",
        "b: in _toc.yml but not built",
        "c/d: in _toc.yml but not built",
        "old: built but not in _toc.yml; an old page? (make clean)",
    ]
    assert check_site.main(checked.folder, checked.folder / "_toc.yml") == 1
    assert "a: in _toc.yml but not built" in capsys.readouterr().out


def test_a_copy_of_the_book_without_its_styles_is_refused(built_book, tmp_path):
    shutil.copytree(built_book, tmp_path / "html")
    (tmp_path / "html" / "_static" / "book.css").unlink()
    problems = check_site.check(tmp_path / "html", ROOT / "_toc.yml")
    assert len(problems) >= 1
    assert all("book.css" in problem for problem in problems)
