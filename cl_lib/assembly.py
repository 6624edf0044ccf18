"""Put the outcomes of units together into the files of a result."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from cl_lib import metrics, results
from cl_lib.declarations import Point
from cl_lib.provenance import loaded
from cl_lib.units import Outcome, Unit


def assemble(
    path: Path,
    declared: dict,
    made_by: dict,
    chosen: dict[str, Point],
    searched: dict[Unit, Outcome],
    final: dict[Unit, Outcome],
) -> None:
    """Put the outcomes together and write the result.

    ``declared`` and ``made_by`` are what the manifest says of the experiment, and of the code.
    """
    arrays: dict[str, list[np.ndarray]] = {}
    by_line: dict[str, list[np.ndarray]] = {}
    for unit, outcome in final.items():
        for what, array in outcome.arrays.items():
            arrays.setdefault(f"{unit.contender}/{what}", []).append(array)
        by_line.setdefault(unit.contender, []).append(outcome.accuracy)
    summary = {
        name: {"chosen": list(chosen[name]), **summarise(np.concatenate(parts))}
        for name, parts in by_line.items()
    }
    records = [outcome.record for outcome in (*searched.values(), *final.values())]
    manifest = {
        "schema": 1,
        **declared,
        "seeds": list(range(declared["budget"]["seeds"])),
        "methods": summary,
        **_cost(records),
        **_made(records),
        **made_by,
        "stale": None,
    }
    tables = [_table(outcomes) for outcomes in (final, searched)]
    results.save(path, *tables, {k: np.concatenate(v) for k, v in arrays.items()}, manifest)


def _cost(records: list[dict]) -> dict:
    """On what the units were made, in how much time and memory."""
    return {
        "devices": _all(record["device"] for record in records),
        "compute_seconds": round(sum(record["seconds"] for record in records), 3),
        "peak_mib": max((record["peak_mib"] for record in records if record["peak_mib"]), default=None),
        "versions": {
            what: results.AND.join(_all(record["versions"][what] for record in records))
            for what in records[0]["versions"]
        },
    }


def _made(records: list[dict]) -> dict:
    """When the last network was trained, and by which code; a run that trains none changes neither."""
    known = [record for record in records if "git" in record]  # units from before records had it may be there
    if not known:
        return {"finished": datetime.now(UTC).isoformat(timespec="seconds"), "git": loaded()}
    named = [record for record in known if record["git"]["commit"]]  # a worker may have no repository
    last = max(named or known, key=lambda record: record["finished"])
    changed = [record["git"]["dirty"] for record in named or known]
    dirty = True in changed or (None if None in changed else False)
    finished = max(record["finished"] for record in known)
    return {"finished": finished, "git": last["git"] | {"dirty": dirty}}


def _all(said: Iterable[str]) -> list[str]:
    """What records say, each once; one that was put together says several."""
    return sorted({one for each in said for one in each.split(results.AND)})


def _table(outcomes: dict[Unit, Outcome]):
    import pandas as pd

    parts = []
    for unit, outcome in outcomes.items():
        replicas = [(point, seed) for point in unit.points for seed in unit.seeds]
        points, seeds = zip(*replicas, strict=True)
        parts.append(results.to_rows(unit.contender, points, seeds, outcome.accuracy))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=results.COLUMNS)


def summarise(matrices: np.ndarray) -> dict:
    """Numbers of a method for the manifest: of accuracy matrices ``(R, T, T)``, means and intervals."""
    averages = metrics.average_accuracy(matrices)
    learned = np.diagonal(matrices, axis1=1, axis2=2)
    return {
        "average": _interval(averages),
        "average_by_seed": np.round(averages, 6).tolist(),
        "final": [_interval(column) for column in matrices[:, -1].T],
        "when_learned": [_interval(column) for column in learned.T],
    }


def _interval(values: np.ndarray) -> dict[str, float]:
    found = metrics.interval(values)
    return {key: round(getattr(found, key), 6) for key in ("mean", "low", "high")}
