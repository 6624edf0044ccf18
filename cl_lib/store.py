"""Where finished units wait for the rest of their experiment: one file for each replica.

A file's name holds all that decided its content: the declaration, how the code behaved (its twin), and the
notes on why results had been stale. So a run never finds what code that behaves otherwise made, whoever else
writes here.
"""

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from cl_lib import results
from cl_lib.declarations import Experiment, recipe
from cl_lib.files import write_atomically
from cl_lib.provenance import versions
from cl_lib.results import Cached, CorruptResult
from cl_lib.twins import differences, run_twin
from cl_lib.units import Outcome, Unit


@dataclass(frozen=True)
class Store:
    """Outcomes of units, one file for each replica.

    Attributes
    ----------
    path : Path
    twin : dict
        How the code behaves, by contender.
    notes : list of dict
        Why results were stale: networks from before a note are not used after it.
    """

    path: Path
    twin: dict[str, dict[str, float]]
    notes: list[dict[str, str]]

    def name(self, unit: Unit) -> str:
        """A unit's file without its suffix."""
        made_by = json.dumps([self.twin, self.notes], sort_keys=True)
        return f"{unit.key}-{hashlib.sha256(made_by.encode()).hexdigest()[:8]}"

    def read(self, unit: Unit) -> dict[Unit, Outcome]:
        """The outcomes of a unit's finished replicas; a damaged file counts as not finished."""
        return {r: outcome for r in unit.replicas() if (outcome := self._read_file(r)) is not None}

    def _read_file(self, replica: Unit) -> Outcome | None:
        file = self.path / f"{self.name(replica)}.npz"
        if not file.is_file():
            return None
        try:
            return Outcome.unpack(file.read_bytes())
        except CorruptResult as error:
            tqdm.write(f"{file} is damaged and is made again: {error}")
            file.unlink(missing_ok=True)
            return None

    def write(self, unit: Unit, outcome: Outcome) -> None:
        """Keep an outcome, each replica for itself."""
        for replica, own in zip(unit.replicas(), outcome.split(), strict=True):
            write_atomically(self.path / f"{self.name(replica)}.npz", own.pack())

    def lock(self, unit: Unit) -> FileLock:
        """The right to compute a unit; it ends with the process that has it."""
        self.path.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path / f"{self.name(unit)}.lock")

    def start_from(self, cached: Cached, experiment: Experiment, units: list[Unit]) -> None:
        """Take the networks of a result that has a part of ``units``, unless it has all of them.

        What was trained otherwise, or by code that behaves otherwise, is left where it is; what is here
        already stays as it is. Final runs of ``units`` may stand at any strength.
        """
        if cached.manifest["profile"] != units[0].profile or cached.manifest["stale"]:
            return
        held = replicas_of(cached, experiment)
        as_declared = {replica.contender for replica in held}
        if _changed(cached.manifest["twin"], self.twin).keys() & as_declared:
            return
        asked = {_request(replica) for unit in units for replica in unit.replicas()}
        if asked <= set(map(_request, held)):
            return
        new = {replica: outcome for replica, outcome in held.items() if not self.read(replica)}
        for replica, outcome in new.items():
            self.write(replica, outcome)
        if new:
            tqdm.write(f"Of the cached {cached.name} {len(new)} networks are taken, and not trained again.")


def open_store(path: Path, experiment: Experiment, manifest: dict | None = None) -> Store:
    """The store in the folder ``path`` for today's code; ``manifest`` is that of the cached result, if any.

    The twin runs only if the package, torch or NumPy has changed since the last time, or the experiment has
    parts that are not the package's. Where a contender's numbers are not what they were, all of the
    experiment is trained anew, since contenders share code.
    """
    path.mkdir(parents=True, exist_ok=True)
    file, manifest = path / "twin.json", manifest or {}
    with FileLock(path / "twin.lock"):
        code, twin, notes = _read_twin(file)
        digest = digest_of(experiment)
        twin = twin or manifest.get("twin", {})
        if code != digest:
            today = run_twin(experiment)
            changed = _changed(twin, today)
            if changed:
                what = "; ".join(f"{name}: {', '.join(lines)}" for name, lines in changed.items())
                tqdm.write(f"The code behaves otherwise than when networks were trained here ({what}).")
            # Where nothing changed the old numbers stay, or many small changes would add up unseen.
            twin = {name: twin[name] if name in twin and not changed else today[name] for name in today}
        known = [*manifest.get("mended", []), *filter(None, [manifest.get("stale")])]
        notes += [note for note in known if note not in notes]
        content = json.dumps({"code": digest, "twin": twin, "notes": notes}, indent=1)
        write_atomically(file, content.encode())
    return Store(path, twin, notes)


def _changed(before: dict, today: dict) -> dict[str, list[str]]:
    """What differs in the behaviour of those contenders that were there before and are there today."""
    both = before.keys() & today.keys()
    return differences(*({name: twin[name] for name in both} for twin in (before, today)))


def _request(replica: Unit) -> tuple:
    """What a user asks for: in final runs the strength is found by the search."""
    point = replica.points if replica.stage == "search" else None
    return replica.stage, replica.contender, point, replica.seeds


def replicas_of(cached: Cached, experiment: Experiment) -> dict[Unit, Outcome]:
    """The replicas of a result as they were before they were put together, with an equal share of its time.

    Those that were trained in another way than declared now are left out.
    """
    manifest, profile = cached.manifest, cached.manifest["profile"]
    declared, budget = experiment.declaration(profile), experiment.budgets[profile]
    found = {
        (stage, name, point, seed): rows
        for stage, table in (("test", cached.accuracy), ("search", cached.search_table))
        for (name, point, seed), rows in _by_replica(table)
    }
    record = {
        "device": results.AND.join(manifest["devices"]),
        "seconds": round(manifest["compute_seconds"] / max(1, len(found)), 3),
        "peak_mib": manifest["peak_mib"],
        "versions": manifest["versions"],
        "git": manifest["git"],
        "finished": manifest["finished"],
    }
    outcomes = {}
    for (stage, name, point, seed), rows in found.items():
        known = name in declared["contenders"]
        if known and recipe(manifest, name, stage) == recipe(declared, name, stage):
            unit = Unit(experiment.name, profile, budget, stage, name, (point,), (seed,))
            outcomes[unit] = Outcome(results.to_matrices(rows), _arrays_of(cached, unit), record)
    return outcomes


def _by_replica(table):
    """The rows of each replica of a tidy table, by method, point and seed."""
    for (name, *strengths, seed), rows in table.groupby(REPLICA, dropna=False):
        point = tuple(float(f"{s:.12g}") for s in strengths if not np.isnan(s))  # as it was declared
        yield (name, point, int(seed)), rows


REPLICA = ["method", "strength", "strength_2", "seed"]


def _arrays_of(cached: Cached, replica: Unit) -> dict[str, np.ndarray]:
    if replica.stage == "search":
        return {}
    at = [cached.manifest["seeds"].index(replica.seeds[0])]
    own = {
        name: what for name in cached.arrays if (what := name.removeprefix(f"{replica.contender}/")) != name
    }
    return {what: cached.arrays[name][at] for name, what in own.items()}


def _read_twin(file: Path) -> tuple[str | None, dict, list]:
    """Digest of the code that was here last, its twin and the notes; without a sound file nothing."""
    try:
        known = json.loads(file.read_text("utf8"))
        return known["code"], known["twin"], known["notes"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None, {}, []


@lru_cache(maxsize=1)
def code_digest() -> str:
    """SHA-256 of the package's source and of the versions of what computes.

    How a version was built does not count, so builds for CPUs and for GPUs can work together ("2.0+cpu"
    is "2.0"), nor does Python's last number.
    """
    made_with = {what: version.split("+")[0] for what, version in versions().items()}
    made_with["python"] = made_with["python"].rpartition(".")[0]
    digest = hashlib.sha256(json.dumps(made_with).encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def digest_of(experiment: Experiment) -> str:
    """:func:`code_digest` with the names of an experiment's parts; for parts from elsewhere never the same.

    What such a part does may have changed wherever it is written, and only the twin can tell.
    """
    parts = [experiment.stream, experiment.network, experiment.measure]
    parts += [part for c in experiment.contenders for part in (c.method, c.network)]
    names = [name for part in filter(None, parts) for name in _names(part)]
    known = all(name.startswith(f"{__package__}.") for name in names)
    content = [code_digest(), names, "" if known else uuid.uuid4().hex]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _names(part: Callable) -> Iterator[str]:
    """Where a function comes from, or those that a partial one is made of."""
    if isinstance(part, partial):
        for inner in filter(callable, (part.func, *part.args, *part.keywords.values())):
            yield from _names(inner)
    else:
        found = part if hasattr(part, "__qualname__") else type(part)
        yield f"{found.__module__}.{found.__qualname__}"
