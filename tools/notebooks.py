"""Writes the executable pages as notebooks: python tools/notebooks.py [FOLDER], or `make notebooks`.

A notebook holds no outputs and no MyST. Its first code cell finds or installs cl_lib.
"""

import hashlib
import sys
import tomllib
from pathlib import Path

import nbformat
from book_facts import Book
from plain_markdown import PageConverter

ROOT = Path(__file__).parents[1]
INSTALL = """\
import importlib.metadata
import importlib.util
import os
import shutil
import site
import subprocess
import sys

SOURCE = "{source}"
VERSION = "{version}"
FOLDER = os.path.abspath("{name}-{version}")

os.environ.setdefault("OMP_NUM_THREADS", "1")  # faster for small networks
os.environ["GIT_TERMINAL_PROMPT"] = "0"  # fail where a password is asked for
source = os.environ.get("CL_LIB_SOURCE", SOURCE)
package = importlib.util.find_spec("cl_lib")
found = importlib.metadata.distributions(name="cl_lib") if package else []
installed = VERSION in [f"v{{one.version}}" for one in found]
results = os.path.join(FOLDER, "results")
if package:
    beside = os.path.normpath(f"{{package.origin}}/../../results")
    if os.path.isdir(beside):  # a copy of the whole repository
        installed, results = True, beside
results = os.environ.setdefault("CL_LIB_RESULTS", results)


def run(*command):
    print("Running", *command)
    options = {{"stdin": subprocess.DEVNULL, "errors": "replace"}}
    done = subprocess.run(command, capture_output=True, **options)
    if done.returncode:
        said = done.stderr or done.stdout or f"status {{done.returncode}}"
        raise OSError(f"`{{' '.join(command)}}` failed:\\n{{said[-2000:]}}")


try:
    needed = f"{{FOLDER}}/results", f"{{FOLDER}}/pyproject.toml"
    complete = all(map(os.path.exists, needed))
    if not complete and not (installed and os.path.isdir(results)):
        part = f"{{FOLDER}}.part"  # renamed once it is whole
        shutil.rmtree(part, ignore_errors=True)
        clone = ["git", "clone", "-q", "--depth=1", f"--branch={{VERSION}}"]
        run(*clone, source, part)
        os.replace(part, FOLDER)
    if not installed:
        run(sys.executable, "-m", "pip", "install", "-q", FOLDER)
        site.addsitedir(site.getusersitepackages())  # may be new
except OSError as error:
    raise RuntimeError(
        f"{{error}}\\nIs there internet access, is git installed, is there a "
        f"public repository with a tag {{VERSION}} at {{source}}? If not, "
        f"download it, unpack it as {{FOLDER}}, and run this cell again."
    ) from None
importlib.invalidate_caches()
"""


def install_cell(repository, version):
    """Return the code that finds cl_lib, or installs it with the results that the chapters read."""
    name = repository.rsplit("/", 1)[-1]
    return INSTALL.format(source=repository, version=f"v{version}", name=name)


def introduction(book, page):
    """Return a line that says where a notebook comes from."""
    chapter = f"Chapter {book.pages[page]} of " if book.pages[page] else ""
    site = f"[{book.title}]({book.address}/)"
    return f"*{chapter}{site}. [Read it with its outputs]({book.url(page)}), or run it here.*"


def notebook(book, page, version):
    """Return one page as a notebook."""
    cells = PageConverter(page, book).cells(book.sources[page])
    first = cells[0]
    result = nbformat.v4.new_notebook(
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python"},
        }
    )
    install = folded(install_cell(book.repository, version), "Finds cl_lib, or installs it")
    result.cells = [nbformat.v4.new_markdown_cell(f"{first.text}\n\n{introduction(book, page)}"), install]
    for cell in cells[1:]:
        if cell.kind == "markdown":
            result.cells.append(nbformat.v4.new_markdown_cell(cell.text))
        elif cell.title:
            result.cells.append(folded(cell.text, cell.title))
        else:
            result.cells.append(nbformat.v4.new_code_cell(cell.text))
    for index, cell in enumerate(result.cells):
        cell.id = hashlib.sha256(f"{page} {index}".encode()).hexdigest()[:12]
    nbformat.validate(result)
    return result


def folded(code, title):
    """Return a code cell that Jupyter folds, and Colab too, where its title stays visible."""
    metadata = {"jupyter": {"source_hidden": True}, "cellView": "form"}
    return nbformat.v4.new_code_cell(f"# @title {title}\n{code.rstrip()}", metadata=metadata)


def write(folder):
    """Write all notebooks into a folder; delete those whose page is gone."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]["version"]
    book = Book(ROOT)
    folder.mkdir(parents=True, exist_ok=True)
    texts = {f"{p}.ipynb": nbformat.writes(notebook(book, p, version)) + "\n" for p in book.executable}
    for old in folder.glob("*.ipynb"):
        if old.name not in texts:
            old.unlink()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf8", newline="\n")
    return list(texts)


if __name__ == "__main__":
    print("written:", *write(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "notebooks"))
