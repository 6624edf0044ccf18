"""The API reference: every public name is there, with its docstring."""

import inspect
import posixpath

import pytest
from sphinx.util.inventory import InventoryFile

import cl_lib
from cl_lib import derivations, methods

MODULES = [
    "experiments",
    "units",
    "provenance",
    "store",
    "compute",
    "runner",
    "results",
    "freshness",
    "report",
    "claims",
    "published",
]


@pytest.fixture(scope="module")
def documented(built_book):
    """Return {full name: address} of all Python objects that the book describes."""
    with (built_book / "objects.inv").open("rb") as file:
        found = InventoryFile.load(file, "", posixpath.join)
    return {
        n: entry[2] for kind, names in found.items() if kind.startswith("py:") for n, entry in names.items()
    }


def full_name(room, name):
    """Return where a public name is at home: modules by their own name."""
    value = getattr(room, name)
    return value.__name__ if inspect.ismodule(value) else f"{room.__name__}.{name}"


def homes(room, name):
    """Return the names under which something public may be described."""
    value = getattr(room, name)
    module, own = getattr(value, "__module__", None), getattr(value, "__name__", None)
    packages = [f"cl_lib.{package}.{name}" for package in ("methods", "importance")]
    return {full_name(room, name), f"{module}.{own}", *packages}


@pytest.mark.parametrize("room", [cl_lib, methods, derivations], ids=lambda room: room.__name__)
def test_every_public_name_is_documented(documented, room):
    missing = [name for name in room.__all__ if not homes(room, name) & documented.keys()]
    assert missing == []


@pytest.mark.parametrize("name", MODULES)
def test_the_modules_behind_the_experiments_are_documented(documented, name):
    assert f"cl_lib.{name}" in documented


def test_descriptions_lie_on_the_pages_of_the_reference(documented):
    assert {address.split("#")[0].split("/")[0] for address in documented.values()} == {"api"}


def test_the_check_can_fail(documented):
    assert "cl_lib.methods.base.check_strength" not in documented
    assert "cl_lib.methods.ewc.EWC" in documented  # by its home, though described as cl_lib.methods.EWC
