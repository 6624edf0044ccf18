"""Are cached results still what the code would produce? Decided by behaviour, not by reading the code.

Every experiment has a twin of a few CPU seconds, :func:`cl_lib.twins.run_twin`. Its numbers are stored in
the manifest; where running it again gives other numbers, the cached ones are stale too. A stale result
fails :func:`check` unless its manifest says since when and why, and then the pages that use it say so.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from filelock import FileLock

from cl_lib import results
from cl_lib.assembly import summarise
from cl_lib.experiments import EXPERIMENTS
from cl_lib.files import write_atomically
from cl_lib.store import digest_of
from cl_lib.twins import differences, run_twin


@dataclass(frozen=True)
class State:
    """What :func:`check` found: ``fresh``, ``stale``, ``known stale`` or ``not cached``."""

    name: str
    verdict: str
    found: tuple[str, ...] = ()

    @property
    def fails(self) -> bool:
        """Whether a build must stop."""
        return self.verdict == "stale"

    def __str__(self) -> str:
        return "\n    ".join([f"{self.name}: {self.verdict}", *self.found])


def check(name: str, *, root: Path | None = None) -> State:
    """Run the twin of an experiment and hold it against the manifest, and the manifest against the data.

    Raises
    ------
    cl_lib.results.CorruptResult
        If a file is damaged, or the manifest does not have the form of its schema.
    """
    root = root or results.folder()
    if not (root / name / "manifest.json").is_file():
        return State(name, "not cached")
    digest = _digest(name, root)  # of what is looked at, should another process change it meanwhile
    cached = results.load(name, root=root)
    found = differences(cached.manifest["twin"], run_twin(EXPERIMENTS[name]))
    lines = tuple(f"{contender}: {line}" for contender, those in found.items() for line in those)
    lines += tuple(_summed_up(cached))
    state = State(name, _verdict(lines, cached.manifest), lines)
    with suppress(OSError):  # where nothing can be written, the twin is run again next time
        _remember(state, digest, root)
    return state


def _verdict(found: tuple[str, ...], manifest: dict) -> str:
    if manifest["stale"]:  # also where nothing here sees why
        return f"known stale since {manifest['stale']['since']}"
    return "stale" if found else "fresh"


def _summed_up(cached: results.Cached) -> Iterator[str]:
    """Where the manifest's strengths, means or intervals are not what the tables give today."""
    for name in cached.methods:
        written = cached.manifest["methods"][name]
        for what, today in summarise(cached.matrix(name)).items():
            if not _equal(written[what], today):
                yield f"{name}: {what.replace('_', ' ')} is not that of its runs"
        own = cached.accuracy.loc[cached.accuracy["method"] == name, ["strength", "strength_2"]]
        if not _equal(own.iloc[0].dropna().tolist(), written["chosen"]):
            yield f"{name}: its runs were made at another strength than the chosen one"
        strengths, scores = cached.search(name)
        if len(strengths):
            means = np.nan_to_num(scores.mean(1), nan=-1)  # a point that diverged is the worst
            chosen = np.abs(strengths - written["chosen"]).sum(1).argmin()
            if means[chosen] < means.max() - 1e-6:
                yield f"{name}: the chosen strength is not the best of its search"


def _equal(written, today) -> bool:
    """Whether numbers, nested alike, differ by no more than their rounding."""
    first, second = (list(_numbers(value)) for value in (written, today))
    return len(first) == len(second) and np.allclose(first, second, rtol=1e-9, atol=2e-6)


def _numbers(value) -> Iterator[float]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _numbers(inner)
    else:
        yield value


def mark_stale(name: str, why: str, *, root: Path | None = None) -> None:
    """Write into the manifest since when (today) and why the result is stale.

    No run uses networks from before a note again, and a run under way does not wash it off.
    """
    if not why.strip():
        raise ValueError("why is empty: say in a sentence what changed.")
    root = root or results.folder()
    with results.lock(name, root=root):
        manifest = results.load(name, root=root).manifest
        note = {"since": datetime.now(UTC).date().isoformat(), "why": why}
        if note in manifest["mended"]:
            raise ValueError(f"why is {why!r}, for which {name} was made again today: say what is wrong now.")
        manifest["stale"] = note
        results.save_manifest(root / name, manifest)


def last_known(name: str, *, root: Path | None = None) -> str:
    """The verdict of the last check, if neither the package nor the manifest has changed since."""
    root = root or results.folder()
    if not (root / name / "manifest.json").is_file():
        return "not cached"
    digest, verdict = _read_stamps(root).get(name, ("", ""))
    return verdict if digest == _digest(name, root) else "not verified"


def check_within(seconds: float, *, root: Path | None = None) -> dict[str, State]:
    """Check what is cached and not yet known to be in order, the quickest twins first, while there is time.

    At least one twin is run, again if all are known.
    """
    root, started, states = root or results.folder(), time.monotonic(), {}
    known = {name: last_known(name, root=root) for name in results.cached(root) if name in EXPERIMENTS}

    def settled(name: str) -> bool:
        return known[name] == "fresh" or known[name].startswith("known stale")

    for name in sorted(known, key=lambda name: (settled(name), len(EXPERIMENTS[name].contenders))):
        over = states and (settled(name) or time.monotonic() - started > seconds)
        states[name] = State(name, known[name]) if over else check(name, root=root)
    return dict(sorted(states.items()))


def _remember(state: State, digest: str, root: Path) -> None:
    file = _stamps(root)
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):  # checks may run side by side
        stamps = _read_stamps(root) | {state.name: (digest, state.verdict)}
        write_atomically(file, json.dumps(stamps, indent=1).encode())


def _read_stamps(root: Path) -> dict:
    try:
        return json.loads(_stamps(root).read_text("utf8"))
    except (OSError, ValueError):
        return {}


def _stamps(root: Path) -> Path:
    return root / ".units" / "verified.json"


def _digest(name: str, root: Path) -> str:
    """Of the code and a manifest: what a verdict depends on."""
    manifest = (root / name / "manifest.json").read_bytes()
    return hashlib.sha256(manifest + digest_of(EXPERIMENTS[name]).encode()).hexdigest()
