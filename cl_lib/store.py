"""Where finished units wait for the rest of their experiment: one file for each replica."""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from cl_lib import results
from cl_lib.declarations import Experiment
from cl_lib.results import Cached, CorruptResult
from cl_lib.twins import differences, run_twin
from cl_lib.units import OF_A_UNIT, Outcome, Unit, slug


@dataclass(frozen=True)
class Store:
    """Outcomes of units, one file for each replica."""

    path: Path

    def read(self, unit: Unit) -> dict[Unit, Outcome]:
        """The outcomes of a unit's finished replicas; a damaged file counts as not finished."""
        return {r: outcome for r in unit.replicas() if (outcome := self._read_file(r)) is not None}

    def _read_file(self, replica: Unit) -> Outcome | None:
        file = self.path / f"{replica.key}.npz"
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
            results.write_atomically(self.path / f"{replica.key}.npz", own.pack())

    def lock(self, unit: Unit) -> FileLock:
        """The right to compute a unit; it ends with the process that has it."""
        self.path.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path / f"{unit.key}.lock")

    def behaviour(self, experiment: Experiment) -> dict:
        """The numbers of the twin. What code that behaved otherwise has made is put aside, in ``earlier``.

        The twin runs only if the package has changed since the last time. Contenders whose numbers are what
        they were keep their units.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        file = self.path / "twin.json"
        with FileLock(self.path / "twin.lock"):
            code, twin = _read_twin(file)
            if code == code_digest():
                return twin
            today = run_twin(experiment)
            changed = differences(twin, today)
            if not twin:
                self.put_aside("Nothing says what code made these units.")
            for contender, found in changed.items():
                why = f"The code behaves otherwise than when the units of {contender!r} were made"
                self.put_aside(f"{why}: {'; '.join(found)}.", contender)
            # Where nothing changed the old numbers stay, or many small changes would add up unseen.
            twin = {name: today[name] if name in changed else twin[name] for name in today}
            content = json.dumps({"code": code_digest(), "twin": twin}, indent=1)
            results.write_atomically(file, content.encode())
        return twin

    def start_from(self, cached: Cached, experiment: Experiment, units: list[Unit], behaviour: dict) -> None:
        """Take the networks of a result that has a part of what is to be made, unless it has all of it.

        Networks of contenders that behave otherwise now are left where they are. Final runs of ``units`` may
        stand at any strength.
        """
        changed = differences(cached.manifest["twin"], behaviour)
        held = {r: o for r, o in replicas_of(cached, experiment).items() if r.contender not in changed}
        asked = {_request(replica) for unit in units for replica in unit.replicas()}
        if cached.manifest["profile"] != units[0].profile or asked <= set(map(_request, held)):
            return
        for replica, outcome in held.items():
            self.write(replica, outcome)
        if held:
            tqdm.write(f"Of the cached {cached.name} {len(held)} networks are taken, and not trained again.")

    def put_aside(self, why: str, contender: str | None = None) -> None:
        """Move the units of a contender, or all, out of the way, into ``earlier``."""
        every = contender is None
        mine = re.compile("" if every else rf"(search|test)-{re.escape(slug(contender))}-[0-9a-f]{{16}}\.npz")
        units = [unit for unit in self.path.glob("*.npz") if mine.match(unit.name)]
        if not units:
            return
        aside = self.path / "earlier"
        aside.mkdir(exist_ok=True)
        for unit in units:
            unit.replace(aside / unit.name)
        tqdm.write(f"{why}\nThey are in {aside} now, and are made again.")


def _request(replica: Unit) -> tuple:
    """What a user asks for: in final runs the strength is found by the search."""
    point = replica.points if replica.stage == "search" else None
    return replica.stage, replica.contender, point, replica.seeds


def replicas_of(cached: Cached, experiment: Experiment) -> dict[Unit, Outcome]:
    """The replicas of a result as they were before they were put together, with an equal share of its time.

    None if the result is stale, or was trained in another way than declared now.
    """
    manifest, profile = cached.manifest, cached.manifest["profile"]
    if manifest["stale"] or _decisive(manifest) != _decisive(experiment.declaration(profile)):
        return {}
    budget, widths = experiment.budgets[profile], {c.name: c.width for c in experiment.lines(profile)}
    units = {}
    for stage, table in (("test", cached.accuracy), ("search", cached.search_table)):
        for (name, *strengths, seed), rows in table.groupby(REPLICA, dropna=False):
            if name in widths and manifest["contenders"][name]["width"] == widths[name]:
                point = tuple(float(f"{s:.12g}") for s in strengths if not np.isnan(s))  # as it was declared
                unit = Unit(experiment.name, profile, budget, stage, name, (point,), (int(seed),))
                units[unit] = results.to_matrices(rows)
    record = {
        "device": results.AND.join(manifest["devices"]),
        "seconds": round(manifest["compute_seconds"] / max(1, len(units)), 3),
        "peak_mib": manifest["peak_mib"],
    }
    return {unit: Outcome(matrix, _arrays_of(cached, unit), record) for unit, matrix in units.items()}


REPLICA = ["method", "strength", "strength_2", "seed"]


def _decisive(declared: dict) -> list:
    """The part of a declaration that decides the numbers of every replica."""
    whole = [declared[what] for what in ("dataset", "training", "importance_images")]
    return whole + [declared["budget"][what] for what in (*OF_A_UNIT, "width")]


def _arrays_of(cached: Cached, replica: Unit) -> dict[str, np.ndarray]:
    if replica.stage == "search":
        return {}
    at = [cached.manifest["seeds"].index(replica.seeds[0])]
    own = {
        name: what for name in cached.arrays if (what := name.removeprefix(f"{replica.contender}/")) != name
    }
    return {what: cached.arrays[name][at] for name, what in own.items()}


def _read_twin(file: Path) -> tuple[str | None, dict]:
    """Digest of the code that made the units, and its twin; without a sound file an empty one."""
    try:
        known = json.loads(file.read_text("utf8"))
        return known["code"], known["twin"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None, {}


@lru_cache(maxsize=1)
def code_digest() -> str:
    """SHA-256 of the package's source."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
