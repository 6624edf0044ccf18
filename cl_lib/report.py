"""The reproduction table: what was published, and what we did."""

from functools import lru_cache, partial
from pathlib import Path

from cl_lib import results
from cl_lib.claims import OUR_BAR
from cl_lib.experiments import EXPERIMENTS
from cl_lib.published import CLAIMS, WORKS


def rows(root: Path | None = None) -> list[dict]:
    """One row for each claim, from the manifests alone."""
    found, manifest_of = [], lru_cache(partial(results.load_manifest, root=root))
    for claim in CLAIMS:
        work = WORKS[claim.source]
        source = OUR_BAR.format(work) if claim.own else f"{work}, {claim.where}"
        row = {
            "group": claim.group,
            "what": claim.what,
            "paper": claim.paper,
            "own": claim.own,
            "difference": claim.difference,
            "source": source,
        }
        try:
            manifest = manifest_of(claim.experiment)
        except FileNotFoundError:
            found.append(row | {"ours": None, "verdict": "not run", "run": "-"})
            continue
        try:
            ours, run = claim.ours(manifest["methods"]), _run(manifest)
        except (KeyError, IndexError) as error:
            lacks = f"has no {error}" if isinstance(error, KeyError) else "has too few tasks"
            raise results.CorruptResult(
                f"the manifest of {claim.experiment} {lacks} for {claim.text!r}; make it again "
                f"with: python -m cl_lib run {claim.experiment}"
            ) from None
        found.append(row | {"ours": ours, "verdict": claim.verdict(ours), "run": run})
    return found


def _run(manifest: dict) -> str:
    """How much was trained, as the manifest says."""
    budget = manifest["budget"]
    images = f" over {budget['n_train']:,} images a task" if budget["n_train"] else ""
    passes = f"{budget['epochs']} pass{'es' * (budget['epochs'] > 1)}{images}"
    own_widths = any(contender["width"] for contender in manifest["contenders"].values())
    width = "" if own_widths else f", width {budget['width']}"
    stale = "stale, " if manifest["stale"] else ""
    return f"{stale}{manifest['profile']}: {results.replicas(manifest)}, {passes}{width}"


def published(row: dict) -> str:
    """The number of a row as it is printed; of a finding without a number, its sign."""
    return "> 0" if row["paper"] is None else f"{row['paper']:z.3f}"  # no -0.000


def table(root: Path | None = None) -> str:
    """The reproduction table as Markdown."""
    lines = ["| claim | paper | source | ours | run | verdict |", "|---|---|---|---|---|---|"]
    for row in rows(root):
        claim = f"{row['group']}: {row['what']}"
        cells = (
            claim,
            published(row),
            row["source"],
            str(row["ours"] or "-"),
            row["run"],
            row["verdict"],
        )
        lines.append(f"| {' | '.join(cells)} |")
    missing = sorted(set(EXPERIMENTS) - set(results.cached(root)))
    if missing:
        lines += ["", f"Not cached: {', '.join(missing)}."]
    return "\n".join(lines)
