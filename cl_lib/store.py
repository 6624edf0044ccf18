"""Where finished units wait for the rest of their experiment: one file each, and a lock."""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm

from cl_lib import results
from cl_lib.declarations import Experiment
from cl_lib.results import CorruptResult
from cl_lib.units import Outcome, Unit, differences, run_twin, slug


@dataclass(frozen=True)
class Store:
    """Outcomes of units, one file each."""

    path: Path

    def read(self, unit: Unit) -> Outcome | None:
        """A finished outcome; a file that is damaged counts as not finished."""
        file = self.path / f"{unit.key}.npz"
        if not file.is_file():
            return None
        try:
            return Outcome.unpack(file.read_bytes())
        except CorruptResult as error:
            tqdm.write(f"{file} is damaged and is made again: {error}")
            file.unlink(missing_ok=True)
            return None

    def write(self, unit: Unit, outcome: Outcome) -> None:
        """Keep an outcome."""
        results.write_atomically(self.path / f"{unit.key}.npz", outcome.pack())

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
