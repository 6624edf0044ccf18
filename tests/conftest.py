"""What several test files share: the built book, a browser and other programs."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
# Without a sandbox, as root in a container needs it; and without calls of the browser's own.
BROWSER_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # small networks; and the cores are for other test files
sys.path.insert(0, str(ROOT / "tools"))

from browsers import BROWSERS, first_installed  # noqa: E402


def skip_or_fail(reason):
    """Skip a test for what this computer lacks, but fail where CI=true."""
    pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)


def program(*names):
    """Return the path of the first program found; without one skip or fail."""
    return first_installed(*names) or skip_or_fail(f"none of these programs is installed: {', '.join(names)}")


def module(name):
    """Import a module; without it skip or fail."""
    try:
        return importlib.import_module(name)
    except ImportError:
        skip_or_fail(f"{name} is not installed")


def jupyter_book(*arguments, folder=ROOT):
    """Run the jupyter-book of this environment."""
    program = Path(sys.executable).with_name("jupyter-book")
    return subprocess.run(
        [program, *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def build_strictly(book, *options, folder=ROOT):
    """Build a book as `make book` does."""
    return jupyter_book("build", book, "-W", "-n", "--keep-going", *options, folder=folder)


@pytest.fixture(scope="session")
def built_book():
    """Return the folder of the built book, brought up to date; what is unchanged is not rebuilt."""
    (BOOK / "_build").mkdir(exist_ok=True)
    with FileLock(BOOK / "_build" / "lock"):  # test files run side by side
        build = build_strictly("book/")
    assert build.returncode == 0, build.stdout[-5000:]
    return BOOK / "_build" / "html"


@pytest.fixture(scope="module")
def browser():
    """Start Chromium: one for each test file, as Playwright allows a single session at a time."""
    path = program(*BROWSERS)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=BROWSER_OPTIONS)
        yield chromium
        chromium.close()
