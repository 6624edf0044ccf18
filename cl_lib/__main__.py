"""Command line: ``python -m cl_lib list | run | verify | report``."""

import argparse
import os
import sys

from cl_lib import results
from cl_lib.data import load
from cl_lib.experiments import EXPERIMENTS


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        status = options.command(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # who reads, such as head, has enough; nor is the end to complain
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, ImportError, FloatingPointError, MemoryError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cl_lib", description="The experiments behind the book.")
    commands = parser.add_subparsers(required=True, metavar="command")

    listing = commands.add_parser("list", help="show the experiments and what is cached")
    listing.set_defaults(command=_list)

    run = commands.add_parser(
        "run", help="train an experiment, or what is left of it, and replace its result"
    )
    run.add_argument("name", nargs="+", choices=[*EXPERIMENTS, "all"], metavar="NAME")
    run.add_argument("--device", default="auto", help='"cpu", "cuda" or "auto" (default)')
    run.add_argument("--seeds", type=int, help="number of final seeds")
    size = run.add_mutually_exclusive_group()
    size.add_argument("--profile", choices=("full", "cpu"), help="default: full on a GPU, cpu without one")
    size.add_argument("--quick", action="store_true", help="two seeds, less data, into results/.quick")
    run.add_argument("--scheduler", metavar="ADDRESS", help="send the work to this Dask scheduler")
    run.set_defaults(command=_run)

    verify = commands.add_parser("verify", help="run the twins again: do the cached numbers still hold?")
    verify.add_argument("name", nargs="*", metavar="NAME", help="default: all")
    verify.add_argument("--stale-because", metavar="WHY", help="write into the manifests that they are stale")
    verify.set_defaults(command=_verify)

    report = commands.add_parser("report", help="print the papers' numbers beside ours")
    report.set_defaults(command=_report)
    return parser


def _list(_: argparse.Namespace) -> int:
    from cl_lib import freshness

    rows = [("name", "profile", "seeds", "on", "finished", "settings", "behaviour", "title")]
    for name, experiment in EXPERIMENTS.items():
        try:
            manifest = results.load(name).manifest
        except (FileNotFoundError, results.CorruptResult) as error:
            state = "not cached" if isinstance(error, FileNotFoundError) else "damaged"
            rows.append((name, "-", "-", state, "", "", "", experiment.title))
            continue
        profile = manifest["profile"]
        rows.append(
            (
                name,
                profile if profile == "full" else f"{profile}, waits for a GPU",
                str(len(manifest["seeds"])),
                results.AND.join(manifest["devices"]),
                manifest["finished"][:10],
                "as declared" if experiment.made(manifest) else "changed since",
                freshness.last_known(name),
                experiment.title,
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _run(options: argparse.Namespace) -> int:
    from cl_lib import runner
    from cl_lib.compute import place

    on_cpu = place(options.device, options.scheduler).on_cpu()
    profile = "quick" if options.quick else options.profile or ("cpu" if on_cpu else "full")
    everything, names = "all" in options.name, []
    for name in EXPERIMENTS if everything else options.name:
        try:
            runner.check_run(name, profile, options.seeds)
            names.append(name)
        except runner.WouldReplaceMore as error:
            if not everything:
                raise
            print(f"{name} is left as it is: {error}")
    if options.scheduler is None:
        for dataset in {EXPERIMENTS[name].dataset for name in names}:
            load(dataset)  # what is missing is said before anything is trained
    failed = False
    for name in names:
        try:
            path = runner.run(
                name,
                profile=profile,
                seeds=options.seeds,
                device=options.device,
                scheduler=options.scheduler,
            )
        except BrokenPipeError as error:  # of a connection to a worker, not of what is printed
            raise ConnectionError(*error.args) from error
        except (ValueError, FloatingPointError, MemoryError, ChildProcessError) as error:
            print(f"error: {error}", file=sys.stderr)  # of one experiment; the others are run
            failed = True
        else:
            print(f"wrote {path}")
    return 2 if failed else 0


def _verify(options: argparse.Namespace) -> int:
    from cl_lib import freshness, runner

    names = [runner.find(name).name for name in options.name or EXPERIMENTS]
    if options.stale_because is not None:
        if not options.name:
            raise ValueError("--stale-because needs the names of the experiments that are stale.")
        for name in names:
            results.load(name)  # all are there and in order, or none is marked
        for name in names:
            freshness.mark_stale(name, options.stale_because)
    if not options.name and not set(names) & set(results.cached()):
        print(f"nothing is cached in {results.folder()}")
        return 1
    failed = 0
    for name in names:
        try:
            state = freshness.check(name)
        except results.CorruptResult as error:
            print(f"{name}: damaged\n    {error}")
            failed += 1
        except Exception as error:  # whatever it is, the others are looked at
            print(f"{name}: its twin fails\n    {type(error).__name__}: {error}")
            failed += 1
        else:
            print(state)
            failed += state.fails or (bool(options.name) and state.verdict == "not cached")
    return int(failed > 0)


def _report(_: argparse.Namespace) -> int:
    from cl_lib import report

    print(report.table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
