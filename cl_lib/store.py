"""Where finished units wait for the rest of their experiment: one file each, and a lock."""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm

from cl_lib import results
from cl_lib.declarations import Experiment
from cl_lib.results import CorruptResult
from cl_lib.units import Outcome, Unit, differences, run_twin


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
        """The numbers of the twin. Units made by code that behaved otherwise are put aside, in ``earlier``.

        The twin runs only if the package has changed since the last time.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        file = self.path / "twin.json"
        with FileLock(self.path / "twin.lock"):
            try:
                known = json.loads(file.read_text("utf8"))
            except (FileNotFoundError, ValueError):
                known = {"code": None, "twin": None}
            if known["code"] == code_digest():
                return known["twin"]
            twin = run_twin(experiment)
            if known["twin"] and (found := differences(known["twin"], twin)):
                self._put_aside(found)
            content = json.dumps({"code": code_digest(), "twin": twin}, indent=1)
            results.write_atomically(file, content.encode())
        return twin

    def _put_aside(self, found: list[str]) -> None:
        aside = self.path / "earlier"
        aside.mkdir(exist_ok=True)
        for unit in self.path.glob("*.npz"):
            unit.replace(aside / unit.name)
        tqdm.write(f"The code behaves otherwise than when its units were made ({'; '.join(found)}).")
        tqdm.write(f"They are in {aside} now, and are made again.")


@lru_cache(maxsize=1)
def code_digest() -> str:
    """SHA-256 of the package's source."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
