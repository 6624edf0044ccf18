"""Runs the notebooks as Colab and Binder do, in clean environments: make check-launch.

python tools/check_launch.py colab|binder [--newest|--oldest]

colab   In an environment with little but torch, numpy, matplotlib and sympy, and in an empty folder,
        each notebook installs cl_lib from a copy of this checkout and runs. With --newest it uses
        the newest packages that pip finds, not the pinned ones; with --oldest the first that
        pyproject.toml admits, but for torch, whose old versions bring gigabytes.
binder  Follows repo2docker's steps, starts its server, opens the path that the button opens in
        headless Chromium, runs all cells, and looks at the last figure.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import nbformat
from browsers import BROWSERS, first_installed

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
CONSTRAINTS = ROOT / "constraints.txt"
PREINSTALLED = ["torch", "numpy", "matplotlib", "sympy"]
# What repo2docker 2026.4.0 installs for Python 3.11 before it looks at a repository.
BINDER_BASE = ["jupyterlab==4.4.9", "notebook==7.4.7", "jupyter_server==2.17.0"]
SECONDS_FOR_A_NOTEBOOK = 600


def run(*command, **options):
    """Run a program; fail if it does."""
    print("$", *command, flush=True)
    subprocess.run([str(part) for part in command], check=True, **options)


def published(folder):
    """Copy this checkout into a repository with the tag from which the notebooks install."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]["version"]
    listed = ["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    git = ["git", "-C", folder, "-c", "user.name=check", "-c", "user.email=check@localhost"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "copy"], ["tag", f"v{version}"]):
        run(*git, *command)
    return folder


def environment(folder, *requirements, cwd=ROOT):
    """Make a virtual environment with some packages; return its folder of programs."""
    venv.create(folder, with_pip=True)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    run(programs / "python", "-m", "pip", "install", "-q", *requirements, cwd=cwd)
    return programs


def variables(programs, **added):
    """Return environment variables that show nothing of this checkout."""
    hidden = {"PYTHONPATH", "VIRTUAL_ENV", "CL_LIB_RESULTS", "MAKEFLAGS", "OMP_NUM_THREADS", "PIP_CONSTRAINT"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return {**kept, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", **added}


def problems(notebook):
    """Return what is wrong with a notebook that was run."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    found = [f"not run: {cell.source[:60]!r}" for cell in cells if not cell.execution_count]
    found += [f"{out.ename}: {out.evalue}" for out in outputs if out.output_type == "error"]
    wanted = any("plots.show(" in cell.source for cell in cells)
    return [*found, "it shows no figure"] if wanted and not last_figure(notebook) else found


def last_figure(notebook):
    """Return the HTML of the last figure of a notebook that was run, or None."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = [o.data["text/html"] for c in cells for o in c.outputs if "text/html" in o.get("data", {})]
    return next((html for html in reversed(shown) if "cl-figure" in html), None)


def preinstalled(versions):
    """Return what is installed before the first cell runs: "pinned", "newest" or "oldest" packages."""
    if versions != "oldest":
        return [*(["-c", str(CONSTRAINTS)] if versions == "pinned" else []), *PREINSTALLED]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    bounds = dict(need.split(">=") for need in project["dependencies"])
    pins = CONSTRAINTS.read_text(encoding="utf8").splitlines()
    torch = next(pin for pin in pins if pin.startswith("torch=="))
    return [torch, *(f"{name}~={bound}.0" for name, bound in bounds.items() if name != "torch")]


def check_colab(folder, versions):
    """Run each notebook in an empty folder, where cl_lib must be installed by its first cell."""
    source = published(folder / "published")
    programs = environment(folder / "venv", *preinstalled(versions), "ipykernel", "nbclient")
    # The first cell installs what cl_lib needs, without a word of constraints.
    pinned = {"PIP_CONSTRAINT": str(CONSTRAINTS)} if versions == "pinned" else {}
    for original in sorted((ROOT / "notebooks").glob("*.ipynb")):
        empty = folder / f"empty-{original.stem}"
        empty.mkdir()
        shutil.copy2(original, empty)
        seconds = time.perf_counter()
        timeout = f"--timeout={SECONDS_FOR_A_NOTEBOOK}"
        variables_here = variables(programs, CL_LIB_SOURCE=str(source), **pinned)
        run(programs / "jupyter-execute", "--inplace", timeout, original.name, cwd=empty, env=variables_here)
        if found := problems(nbformat.read(empty / original.name, as_version=4)):
            raise SystemExit(f"{original.name}: {found}")
        print(f"{original.name}: ran in {time.perf_counter() - seconds:.0f} s", flush=True)
        # The next notebook starts on a machine that does not know cl_lib.
        run(programs / "python", "-m", "pip", "uninstall", "-q", "-y", "cl_lib")


def check_binder(folder):
    """Install, serve and open the notebooks as Binder does."""
    from launch_notebooks import launch_addresses

    copy = published(folder / "copy")
    programs = environment(folder / "venv", *BINDER_BASE)
    requirements = copy / "binder" / "requirements.txt"
    lines = requirements.read_text(encoding="utf8").splitlines()
    if os.environ.get("CL_LIB_NO_EXTRA_INDEX"):
        lines = [line for line in lines if not line.startswith("--extra-index-url")]
    requirements.write_text("\n".join(lines) + "\n", encoding="utf8")
    run(programs / "pip", "install", "-q", "--no-cache-dir", "-r", "binder/requirements.txt", cwd=copy)
    for notebook in sorted((copy / "notebooks").glob("*.ipynb")):
        address = launch_addresses("https://github.com/any/any", "main", notebook.stem)["Binder"]
        [path] = parse_qs(urlsplit(address).query)["urlpath"]
        with served(copy, programs) as (host, token):
            open_and_run(f"{host}/{path}?token={token}", notebook)


class served:  # noqa: N801
    """The server that repo2docker's image starts, for the time of a with block."""

    def __init__(self, folder, programs):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        options = ["--ip=127.0.0.1", f"--port={self.port}", "--no-browser", "--allow-root"]
        command = [programs / "jupyter", "notebook", *options, "--IdentityProvider.token=check"]
        log = (folder / "server.log").open("w")
        # New settings: the machine's own are no part of Binder, and a lab opens what was open before.
        settings = str(folder / f".jupyter-{self.port}")
        own = dict.fromkeys(("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"), settings)
        self.server = subprocess.Popen(command, cwd=folder, env=variables(programs, **own), stderr=log)

    def __enter__(self):
        for _ in range(120):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return f"http://127.0.0.1:{self.port}", "check"
            time.sleep(0.5)
        raise TimeoutError("the Jupyter server did not start within a minute")

    def __exit__(self, *error):
        self.server.terminate()
        self.server.wait(30)


def open_and_run(url, notebook):
    """Open an address in Chromium, run all cells, save, and look at the last figure."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=first_installed(*BROWSERS), args=["--no-sandbox"]
        )
        page = chromium.new_page(viewport={"width": 1200, "height": 1000})
        page.set_default_timeout(120_000)
        page.goto(url)
        page.locator(".jp-Notebook .jp-Cell:visible").first.wait_for()
        page.locator('.jp-Toolbar-kernelStatus[title*="Idle" i], [data-status="idle"]').first.wait_for()
        seconds = time.perf_counter()
        page.locator(".jp-Notebook .jp-Cell:visible").first.click()  # the menu acts on what has the focus
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.locator('.lm-Menu-item[data-command="runmenu:run-all"]').click()
        executed = wait_until_saved(page, notebook)
        print(f"{notebook.name}: ran in JupyterLab in {time.perf_counter() - seconds:.0f} s", flush=True)
        if found := problems(executed):
            raise SystemExit(f"{notebook.name}: {found}")
        if last_figure(executed):
            figure = page.locator("figure.cl-figure").last
            scroll_to(figure, page)
            box = figure.locator("svg").first.bounding_box()
            if not box or min(box["width"], box["height"]) < 100:
                raise SystemExit(f"{notebook.name}: the last figure is not seen: {box}")
        if shots := os.environ.get("CL_LIB_SCREENSHOTS"):
            page.screenshot(path=Path(shots) / f"{notebook.stem}.png")
        chromium.close()


def scroll_to(element, page):
    """Scroll up from the end until an element is seen; the lab holds no cells that are far from sight."""
    panel = page.locator(".jp-WindowedPanel-outer").first
    height, seen = panel.evaluate("panel => [panel.scrollHeight, panel.clientHeight]")
    for place in range(height, -seen, -seen // 2):
        panel.evaluate("(panel, place) => { panel.scrollTop = place; }", place)
        page.wait_for_timeout(500)
        if element.is_visible():
            element.scroll_into_view_if_needed()
            return
    raise SystemExit("the last figure is nowhere in the notebook")


def wait_until_saved(page, file):
    """Save until every code cell of the file was run, or one has failed; return the notebook."""
    for _ in range(SECONDS_FOR_A_NOTEBOOK // 5):
        page.wait_for_timeout(5000)
        page.keyboard.press("Control+s")
        page.wait_for_timeout(1000)
        try:
            notebook = nbformat.read(file, as_version=4)
        except (json.JSONDecodeError, nbformat.reader.NotJSONError):
            continue
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        failed = any(out.output_type == "error" for cell in cells for out in cell.outputs)
        if failed or all(cell.execution_count for cell in cells):
            return notebook
    raise TimeoutError(f"{file.name} was not run within {SECONDS_FOR_A_NOTEBOOK} seconds")


def arguments(words):
    """Return which launch is checked, and with which versions, as the command line says."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    launches = parser.add_subparsers(dest="launch", required=True)
    launches.add_parser("binder")
    colab = launches.add_parser("colab", allow_abbrev=False)
    colab.set_defaults(versions="pinned")
    versions = colab.add_mutually_exclusive_group()
    for name in ("newest", "oldest"):
        versions.add_argument(f"--{name}", dest="versions", action="store_const", const=name)
    return parser.parse_args(words)


if __name__ == "__main__":
    asked = arguments(sys.argv[1:])
    with tempfile.TemporaryDirectory() as temporary:
        if asked.launch == "colab":
            check_colab(Path(temporary), asked.versions)
        else:
            check_binder(Path(temporary))
