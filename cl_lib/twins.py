"""Twins: a few seconds of an experiment, on digits, whose numbers say how its code behaves."""

from collections.abc import Iterator

import torch

from cl_lib.declarations import Experiment
from cl_lib.methods import Finetune
from cl_lib.units import Unit, train


def twin_units(experiment: Experiment) -> Iterator[Unit]:
    """A few seconds of the same experiment, on digits: each contender at one point of its grid."""
    budget = experiment.budgets["twin"]
    seeds = tuple(range(budget.seeds))
    for contender in experiment.lines("twin"):
        point = contender.twin or contender.grid[len(contender.grid) // 2]
        yield Unit(experiment.name, "twin", budget, "test", contender.name, (point,), seeds)


def run_twin(experiment: Experiment) -> dict[str, dict[str, float]]:
    """How the experiment's code behaves, in double precision, so that machines differ by almost nothing.

    For each contender an accuracy, the method's effect (how far from the end of plain training its weights
    end: root mean square, the same seeds and draw of the stream), and the mean of each array that is kept,
    such as the size of the weights.
    """
    behaviour, plain = {}, {}
    for unit in twin_units(experiment):
        contender = experiment.contender(unit.contender)
        kind = unit.width, contender.network, contender.stream_seed
        if kind not in plain:
            plain[kind] = train(unit, "cpu", Finetune(), torch.float64)[0].params
        run, arrays, _ = train(unit, "cpu", dtype=torch.float64)
        moved = [(run.params[name] - there).square().mean() for name, there in plain[kind].items()]
        behaviour[unit.contender] = {
            "accuracy": round(float(run.accuracy.mean()), 8),
            "effect": round(float(torch.stack(moved).mean().sqrt()), 10),
            **{what: round(float(array.mean()), 10) for what, array in arrays.items()},
        }
    return behaviour


#: An effect below this, in units of a weight, counts as none.
NO_EFFECT = 1e-7
# What may differ and yet count as equal: absolutely, and as a share of the stored number.
_TOLERANCES = {"accuracy": (2e-3, 0.0), "weight_size": (0.0, 1e-5), "effect": (NO_EFFECT, 1e-4)}
_OF_AN_ARRAY = (2e-3, 1e-5)


def differences(stored: dict, found: dict) -> dict[str, list[str]]:
    """What differs between two behaviours, by contender."""
    lines = {name: ["only in one of both"] for name in sorted(stored.keys() ^ found.keys())}
    for name in sorted(stored.keys() & found.keys()):
        old, new = stored[name], found[name]
        differs = [f"{_said(what)} only in one of both" for what in sorted(old.keys() ^ new.keys())]
        for what in (what for what in old if what in new):
            absolute, share = _TOLERANCES.get(what, _OF_AN_ARRAY)
            if not abs(old[what] - new[what]) <= absolute + share * abs(old[what]):  # NaN is a change
                differs.append(f"{_said(what)} {old[what]:.6g}, now {new[what]:.6g}")
        if differs:
            lines[name] = differs
    return lines


def _said(what: str) -> str:
    names = {"weight_size": "size of weights", "effect": "effect on the weights"}
    return names.get(what, what.replace("_", " "))
