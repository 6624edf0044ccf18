"""Run experiments so that nothing that was finished is lost, alone, side by side or on a cluster.

Each replica is written atomically when its unit is done, under a name that says what was computed. A run
looks for these files first, so one that was killed goes on where it stopped and ends with the same numbers.
One that wants more than the cached result has, more seeds or more strengths, trains only what is new. One
that wants the same takes nothing from there, since that is what repeating means. A lock for each unit lets
several runs share the work; the system frees it when its holder dies.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from filelock import Timeout
from tqdm import tqdm

from cl_lib import results
from cl_lib.assembly import assemble
from cl_lib.compute import Cluster, Here, place
from cl_lib.declarations import Experiment
from cl_lib.experiments import EXPERIMENTS
from cl_lib.provenance import loaded
from cl_lib.store import Store, open_store
from cl_lib.units import Outcome, Unit, choose, search_units, test_units

RUN_PROFILES = ("full", "cpu", "quick")
WAIT = 0.5  # seconds between looks at units that another run has in hand


def run(
    name: str,
    *,
    profile: str,
    seeds: int | None = None,
    device: str = "auto",
    scheduler: str | None = None,
    progress: bool | None = None,
    root: Path | None = None,
) -> Path:
    """Run an experiment, or what is left of it, and write its result.

    Parameters
    ----------
    name : str
        One of :data:`cl_lib.experiments.EXPERIMENTS`.
    profile : {"full", "cpu", "quick"}
    seeds : int, optional
        Other than the profile's number of final seeds.
    device : str
    scheduler : str, optional
        Address of a Dask scheduler, to which the units are sent.
    progress : bool, optional
        Show a bar; default: on a terminal only.
    root : Path, optional
        Folder of results. Quick ones go into its folder ``.quick``.

    Returns
    -------
    Path
        Folder of the result.

    Raises
    ------
    ValueError
        For an unknown name, profile or device, or fewer than two seeds; if the result there holds more than
        this run would, a fuller profile or more seeds, or was marked stale while this run was under way; if
        no scheduler answers, it has no worker, or one of its workers has other code.
    FloatingPointError
        If a final run diverges; all other networks are finished and kept.
    MemoryError, ChildProcessError, ConnectionError
        If a GPU cannot hold a unit, every worker that had it died, or the scheduler is lost; what is finished
        is kept.
    """
    root = root or results.folder()
    check_run(name, profile, seeds, root=root)
    loaded()  # of the code that trains, not of a later commit
    compute = place(device, scheduler)
    on_cpu = compute.on_cpu()
    experiment = EXPERIMENTS[name]
    budget = experiment.budgets[profile]
    budget = replace(budget, seeds=seeds or budget.seeds)
    path = (root / ".quick" if profile == "quick" else root) / name
    cached = _load(name, root)
    store = open_store(root / ".units" / name, experiment, cached and cached.manifest)
    asked = (experiment, profile, budget)
    searching = search_units(*asked, on_cpu=on_cpu)
    as_many = test_units(*asked, choose(*asked, {}), on_cpu=on_cpu)
    if cached:
        _take(cached, store, experiment, searching + as_many)
    total = sum(unit.effort for unit in (*searching, *as_many))
    disable = None if progress is None else not progress
    with tqdm(total=total, desc=name, disable=disable, bar_format=_BAR, smoothing=0) as bar:
        searched = _finish(searching, store, compute, bar)
        chosen = choose(*asked, searched)
        final = _finish(test_units(*asked, chosen, on_cpu=on_cpu), store, compute, bar)
    with results.lock(name, root=root):
        check_run(name, profile, seeds, root=root)  # another run may have ended since
        _check_notes(name, root, store)
        declared = {"title": experiment.title, **experiment.declaration(profile, budget)}
        made_by = {"twin": store.twin, "mended": store.notes}
        assemble(path, declared, made_by, chosen, searched, final)
    return path


def _load(name: str, root: Path) -> results.Cached | None:
    """The result that is cached, if there is one in order."""
    try:
        return results.load(name, root=root)
    except FileNotFoundError:
        return None
    except results.CorruptResult as error:
        tqdm.write(f"Nothing is taken from the cached {name}: {error}")
        return None


def _take(cached: results.Cached, store: Store, experiment: Experiment, units: list[Unit]) -> None:
    """Take what the cached result has of ``units``, if its manifest says enough."""
    try:
        store.start_from(cached, experiment, units)
    except KeyError as error:
        tqdm.write(f"Nothing is taken from the cached {cached.name}: its manifest has no {error}.")


def _check_notes(name: str, root: Path, store: Store) -> None:
    """Refuse to wash off a note that was written after this run had begun."""
    try:
        note = results.read_manifest(name, root=root)["stale"]
    except (FileNotFoundError, results.CorruptResult, KeyError, TypeError):
        return
    if note not in (None, *store.notes):
        raise ValueError(
            f"{name} was marked stale while this run was under way, so its networks may be stale too; "
            "start it again."
        )


_BAR = "{desc}: {percentage:3.0f}% |{bar}| {elapsed} < {remaining}"


def find(name: str) -> Experiment:
    """The experiment of that name."""
    if name not in EXPERIMENTS:
        raise ValueError(f"name is {name!r}, but must be one of {', '.join(EXPERIMENTS)}.")
    return EXPERIMENTS[name]


class WouldReplaceMore(ValueError):
    """A run would put less in the place of more."""


def check_run(name: str, profile: str, seeds: int | None = None, *, root: Path | None = None) -> None:
    """Refuse a run that cannot be, or that would put less in the place of more; quick results may always go.

    Raises
    ------
    ValueError
        For an unknown name or profile, or fewer than two seeds.
    WouldReplaceMore
        If the result there, unless it is stale, is of a fuller profile, or of the same one with more seeds.
    """
    experiment = find(name)
    if profile not in RUN_PROFILES:
        raise ValueError(f"profile is {profile!r}, but must be one of {', '.join(RUN_PROFILES)}.")
    wanted = experiment.budgets[profile].seeds if seeds is None else seeds
    if wanted < 2:
        raise ValueError(f"seeds is {wanted}, but an interval needs 2 or more.")
    if profile == "quick":
        return
    root = root or results.folder()
    try:
        there = results.read_manifest(name, root=root)  # also of another version, which protects it as well
        held, n, stale = RUN_PROFILES.index(there["profile"]), len(there["seeds"]), there["stale"]
    except (FileNotFoundError, results.CorruptResult, KeyError, TypeError, ValueError):
        return
    asked = RUN_PROFILES.index(profile)
    fuller, more = held < asked, held == asked and n > wanted
    if stale or not (fuller or more):
        return
    way = f"Ask for --seeds {n}, set" if more else "Set"
    raise WouldReplaceMore(
        f"{root / name} holds the profile {there['profile']} with {n} seeds; a run of the profile {profile} "
        f"with {wanted} would replace it by less. {way} CL_LIB_RESULTS to another folder, or delete that one."
    )


def _finish(units: list[Unit], store: Store, compute: Here | Cluster, bar: tqdm) -> dict[Unit, Outcome]:
    """The outcome of each replica: those that are there, are computed now, or are finished by other runs."""
    outcomes: dict[Unit, Outcome] = {}
    failed: dict[Unit, FloatingPointError] = {}
    just_begun = True

    def done(found: dict[Unit, Outcome], *, before: bool = False) -> None:
        effort = sum(replica.effort for replica in found)
        if before:
            # No time since the start went into it, so the estimate leaves it out; what other runs finish
            # meanwhile counts, for they go on. (A hidden bar has no initial.)
            bar.initial = getattr(bar, "initial", 0) + effort
        bar.update(effort)
        outcomes.update(found)

    while missing := [unit for unit in units if unit.without(outcomes | failed)]:
        with ExitStack() as locks:
            mine, known = _claim(missing, outcomes.keys() | failed.keys(), store, compute.at_once, locks)
            come = {replica: outcome for replica, outcome in known.items() if replica not in outcomes}
            done(come, before=just_begun)
            just_begun = False
            for unit, found in _computed(mine, compute):
                if isinstance(found, FloatingPointError):
                    failed[unit] = found
                    continue
                store.write(unit, found)
                done(dict(zip(unit.replicas(), found.split(), strict=True)))
        if not mine and not come:
            time.sleep(WAIT)
    if failed:
        raise FloatingPointError("\n".join(map(str, failed.values())))
    return {replica: outcomes[replica] for unit in units for replica in unit.replicas()}


def _computed(
    units: list[Unit], compute: Here | Cluster
) -> Iterator[tuple[Unit, Outcome | FloatingPointError]]:
    """What comes of each unit; one that diverged is halved until what diverges is alone."""
    again: list[Unit] = []
    for unit, result in compute(units):
        try:
            found = result()
        except FloatingPointError as error:
            if unit.n_replicas > 1:
                again += unit.halves()
                continue
            found = error
        yield unit, found
    if again:
        yield from _computed(again, compute)


def _claim(
    units: list[Unit], settled: set[Unit], store: Store, at_once: int, locks: ExitStack
) -> tuple[list[Unit], dict[Unit, Outcome]]:
    """What to compute now of units whose locks are held, and the outcomes that are there already.

    A lock is that of the whole unit also where only some of its replicas are left, so that all runs mean
    the same one; ``settled`` are replicas that need nothing more.
    """
    mine, known = [], {}
    for unit in units:
        found = store.read(unit)
        if unit.without(settled | found.keys()) and len(mine) < at_once:
            with suppress(Timeout):
                locks.enter_context(store.lock(unit).acquire(blocking=False))
                found = store.read(unit)  # some may have been finished since the first look
                mine += unit.without(settled | found.keys())
        known |= found
    return mine, known
