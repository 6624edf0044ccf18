"""Cached training outputs: small data files beside a manifest that says how they were made.

``results/NAME/`` holds ``accuracy.csv`` (the final runs), ``search.csv`` (the search for strengths, on
validation data), ``arrays.npz`` (without pickle) and ``manifest.json``, which is written last and has the
SHA-256 of the others: a file that does not match is refused.
"""

import hashlib
import io
import json
import os
import zlib
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from filelock import FileLock

from cl_lib import metrics
from cl_lib.files import write_atomically, write_together

#: Columns of the tidy tables.
COLUMNS = ["method", "strength", "strength_2", "seed", "after_task", "on_task", "accuracy"]
#: What lies beside the manifest.
FILES = ("accuracy.csv", "search.csv", "arrays.npz")
SCHEMA = "manifest.schema.json"
AND = "; "  # between the devices that made one replica, where it is not known which did
DIGITS = 6  # of an accuracy in a file; a test set has at most 20,800 images


class CorruptResult(ValueError):
    """A cached file is not what its manifest says."""


def folder() -> Path:
    """Where results lie: ``CL_LIB_RESULTS``, or ``results`` in the clone that the package is used from.

    If it is not used from a clone, but installed: ``results`` in the folder where Python was started.
    """
    if named := os.environ.get("CL_LIB_RESULTS"):
        return Path(named).expanduser()
    clone = Path(__file__).parents[1]
    return (clone if (clone / "pyproject.toml").is_file() else Path.cwd()) / "results"


def load(name: str, *, root: Path | None = None) -> "Cached":
    """The cached runs of an experiment, checked.

    Raises
    ------
    FileNotFoundError
        If nothing is cached under that name.
    CorruptResult
        If a file is missing or not the one the manifest names.
    """
    manifest = load_manifest(name, root=root)
    path, digests = (root or folder()) / name, manifest["files"]
    contents = {file: _checked(path / file, digests.get(file), name) for file in FILES}
    tables = [pd.read_csv(io.BytesIO(contents[file])) for file in FILES[:2]]
    return Cached(name, *tables, load_arrays(contents["arrays.npz"]), manifest)


def cached(root: Path | None = None) -> tuple[str, ...]:
    """Names of all that is cached."""
    return tuple(sorted(path.parent.name for path in (root or folder()).glob("[!.]*/manifest.json")))


def load_manifest(name: str, *, root: Path | None = None) -> dict:
    """The manifest of an experiment alone; it raises what :func:`load` raises."""
    manifest = read_manifest(name, root=root)
    try:
        check_form(manifest)
    except CorruptResult as error:
        path = (root or folder()) / name / "manifest.json"
        raise CorruptResult(f"{path} has not the form of a manifest ({error}); {_again(name)}") from None
    return manifest


def read_manifest(name: str, *, root: Path | None = None) -> dict:
    """What stands in a manifest, which may be that of another version of the code: nothing is checked."""
    path = (root or folder()) / name / "manifest.json"
    try:
        return json.loads(path.read_text("utf8"))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"no results for {name!r} in {path.parents[1]}; there are {', '.join(cached(root)) or 'none'}. "
            f"Make them with: python -m cl_lib run {name}"
        ) from None
    except ValueError as error:
        raise CorruptResult(f"{path} is no JSON ({error}); {_again(name)}") from None


def check_form(manifest: dict) -> None:
    """Hold a manifest against the JSON schema beside this module."""
    from jsonschema.exceptions import best_match

    error = best_match(_form().iter_errors(manifest))
    if error is not None:
        name = manifest.get("experiment") if isinstance(manifest, dict) else None
        where = "/".join(map(str, error.absolute_path)) or "the manifest"
        raise CorruptResult(f"{name}: {where}: {error.message}")


@lru_cache(maxsize=1)
def _form():
    """What holds manifests against the schema, which is itself checked by the tests."""
    from jsonschema.validators import validator_for

    schema = json.loads(Path(__file__).with_name(SCHEMA).read_text("utf8"))
    return validator_for(schema)(schema)


@dataclass(frozen=True)
class Cached:
    """Cached runs of one experiment.

    Attributes
    ----------
    accuracy, search_table : DataFrame
        Tidy tables with the columns :data:`COLUMNS`; tasks are counted from 1.
    arrays : dict of array
        What else was kept, by ``method/what``, replicas first.
    manifest : dict
    """

    name: str
    accuracy: pd.DataFrame
    search_table: pd.DataFrame
    arrays: dict[str, np.ndarray]
    manifest: dict = field(repr=False)

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods, in the order of the declaration."""
        return tuple(self.manifest["methods"])

    def matrix(self, method: str) -> np.ndarray:
        """Accuracy after task i on task j at the chosen strength, ``(R, T, T)``."""
        self._known(method)
        return to_matrices(self.accuracy[self.accuracy["method"] == method])

    def average(self, method: str) -> np.ndarray:
        """Average accuracy after the last task, ``(R,)``."""
        return metrics.average_accuracy(self.matrix(method))

    def strength(self, method: str) -> tuple[float, ...]:
        """The strengths chosen on validation data; empty for a method without any."""
        self._known(method)
        return tuple(self.manifest["methods"][method]["chosen"])

    def search(self, method: str) -> tuple[np.ndarray, np.ndarray]:
        """The search: strengths ``(S, k)`` and average validation accuracies ``(S, R)``.

        A point that diverged has NaN.
        """
        self._known(method)
        k = len(self.strength(method))
        table = self.search_table[self.search_table["method"] == method]
        last = table[table["after_task"] == table["after_task"].max()] if len(table) else table
        points = last.groupby(COLUMNS[1 : 1 + k], sort=False) if k else []
        strengths = [np.atleast_1d(key) for key, _ in points]
        scores = [group.groupby("seed")["accuracy"].mean().to_numpy() for _, group in points]
        return np.array(strengths, dtype=float).reshape(len(strengths), k), np.array(scores)

    def provenance(self):
        """One small line for below a figure: on what, with how much, when."""
        from IPython.display import Markdown

        return Markdown(describe(self.manifest))

    def _known(self, method: str) -> None:
        if method not in self.manifest["methods"]:
            raise KeyError(f"{self.name} has no method {method!r}; it has {', '.join(self.methods)}.")


def describe(manifest: dict) -> str:
    """How a cached result was made, in one paragraph of Markdown."""
    budget, epochs = manifest["budget"], manifest["budget"]["epochs"]
    images = budget["n_train"]
    images = f"{images:,} training images a task" if images else "all training images"
    passes = "one pass" if epochs == 1 else f"{epochs} passes"
    widths = sorted({line["width"] or budget["width"] for line in manifest["contenders"].values()})
    width = f"width {widths[0]}" if len(widths) == 1 else f"widths {widths[0]} to {widths[-1]}"
    with_choice = [name for name, line in manifest["contenders"].items() if len(line["grid"]) > 1]
    by = "one seed" if budget["search_seeds"] == 1 else f"{budget['search_seeds']} seeds"
    chosen = f", strengths chosen on validation data with {by}" if with_choice else ""
    text = (
        f"Cached: `{manifest['experiment']}`, {passes} over {images}, {width}, "
        f"{replicas(manifest)}{chosen}; "
        f"{', '.join(manifest['devices'])}, {manifest['finished'][:10]}."
    )
    if ends := at_an_end(manifest):
        whose = "every method" if 1 < len(ends) == len(with_choice) else "; ".join(ends)
        text += f" Best at an end of the grid, so perhaps better beyond it: {whose}."
    if manifest["profile"] != "full":
        text += " A reduced run: the full one waits for a GPU."
    if manifest["stale"]:
        text += f" **Stale since {manifest['stale']['since']}:** {manifest['stale']['why']}"
    return f"<small>{text}</small>"


def replicas(manifest: dict) -> str:
    """How many seeds each contender has and, where draws of the stream are compared, how many draws."""
    seeds = f"{len(manifest['seeds'])} seeds"
    draws = {line["stream_seed"] for line in manifest["contenders"].values() if "stream_seed" in line}
    return f"{len(draws)} draws of the stream, {seeds} each" if draws else seeds


def at_an_end(manifest: dict) -> list[str]:
    """Methods of which a chosen strength is the smallest or the largest that was tried."""
    found = []
    for name, line in manifest["methods"].items():
        tried = [sorted(set(values)) for values in zip(*manifest["contenders"][name]["grid"], strict=True)]
        pairs = zip(line["chosen"], tried, strict=True)
        if any(len(values) > 1 and chosen in (values[0], values[-1]) for chosen, values in pairs):
            found.append(name)
    return found


# Accuracy matrices as tidy rows, and back


def to_rows(method: str, points, seeds, matrices) -> pd.DataFrame:
    """Tidy rows of the replicas' accuracy matrices ``(R, T, T)``; point and seed are given for each."""
    n_tasks = matrices.shape[-1]
    after, on = (grid.ravel() + 1 for grid in np.indices((n_tasks, n_tasks)))
    parts = []
    for point, seed, matrix in zip(points, seeds, matrices, strict=True):
        first, second = (*point, None, None)[:2]
        values = np.round(np.asarray(matrix, float).ravel(), DIGITS)
        columns = (method, first, second, int(seed), after, on, values)
        parts.append(pd.DataFrame(dict(zip(COLUMNS, columns, strict=True))))
    table = pd.concat(parts, ignore_index=True)
    return table.astype({"strength": float, "strength_2": float})


def to_matrices(table: pd.DataFrame) -> np.ndarray:
    """Accuracy matrices ``(R, T, T)`` of the rows of one method at one point, by rising seed."""
    n_tasks = int(table["after_task"].max())
    ordered = table.sort_values(["seed", "after_task", "on_task"])
    return ordered["accuracy"].to_numpy().reshape(-1, n_tasks, n_tasks)


# Files


def lock(name: str, *, root: Path) -> FileLock:
    """The right to change the result of an experiment."""
    path = root / ".units" / name
    path.mkdir(parents=True, exist_ok=True)
    return FileLock(path / "result.lock")


def save(path: Path, accuracy: pd.DataFrame, search: pd.DataFrame, arrays: dict, manifest: dict) -> None:
    """Write a result: the data files, then the manifest that names their SHA-256."""
    contents = {
        "accuracy.csv": _csv(accuracy),
        "search.csv": _csv(search),
        "arrays.npz": pack_arrays(arrays),
    }
    digests = {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
    contents["manifest.json"] = _json({**manifest, "files": digests})
    write_together({path / file: content for file, content in contents.items()})


def save_manifest(path: Path, manifest: dict) -> None:
    """Write the manifest of the result in the folder ``path``."""
    write_atomically(path / "manifest.json", _json(manifest))


def _json(manifest: dict) -> bytes:
    return (json.dumps(manifest, indent=1, allow_nan=False) + "\n").encode()


def pack_arrays(arrays: dict[str, np.ndarray]) -> bytes:
    """The bytes of an NPZ file without pickle."""
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    return packed.getvalue()


def load_arrays(content: bytes) -> dict[str, np.ndarray]:
    """Arrays of an NPZ file; pickled objects are refused.

    Raises
    ------
    CorruptResult
        If the bytes are no NPZ file, or one whose checksums are wrong.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as packed:
            return {name: packed[name] for name in packed.files}
    except (BadZipFile, zlib.error, ValueError, EOFError, OSError, KeyError) as error:
        raise CorruptResult(f"no valid NPZ file: {error}") from error


def _csv(table: pd.DataFrame) -> bytes:
    return table.reindex(columns=COLUMNS).to_csv(index=False, lineterminator="\n").encode()


def _checked(path: Path, digest: str | None, name: str) -> bytes:
    if not path.is_file():
        raise CorruptResult(f"{path} is missing; {_again(name)}")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise CorruptResult(f"{path} does not have the SHA-256 that its manifest names; {_again(name)}")
    return content


def _again(name: str) -> str:
    return f"restore it with git, or make it again with: python -m cl_lib run {name}"
