"""Twins: a few seconds of an experiment, on digits, whose numbers say how its code behaves."""

from collections.abc import Container, Iterator

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
    """How the experiment's code behaves.

    For each contender an accuracy, the size of the weights, and the method's effect: how far from the end
    of plain training its weights end (root mean square, the same seeds).
    """
    behaviour, plain = {}, {}
    for unit in twin_units(experiment):
        if unit.width not in plain:
            plain[unit.width] = train(unit, "cpu", Finetune())[0].params
        run, arrays, _ = train(unit, "cpu")
        moved = [(run.params[name] - there).square().mean() for name, there in plain[unit.width].items()]
        behaviour[unit.contender] = {
            "accuracy": round(float(run.accuracy.mean()), 6),
            "weight_size": round(float(arrays["weight_size"].mean()), 8),
            "effect": round(float(torch.stack(moved).mean().sqrt()), 8),
        }
    return behaviour


def speakers_for(contender: str, twin: Container[str]) -> Container[str]:
    """The contenders of a twin that say how this one is trained: itself; all of them where it has no part.

    Twins leave out wide networks, and any change in a twin may be theirs, too.
    """
    return {contender} if contender in twin else twin


#: An effect below this, in units of a weight, counts as none.
NO_EFFECT = 2e-5


def differences(
    stored: dict, found: dict, *, accuracy: float = 0.02, weight_size: float = 1e-3, effect: float = 0.1
) -> dict[str, list[str]]:
    """What differs between two behaviours, by contender.

    Accuracies are compared in points, sizes of weights and effects relatively.
    """
    lines = {name: ["only in one of both"] for name in sorted(stored.keys() ^ found.keys())}
    for name in sorted(stored.keys() & found.keys()):
        old, new, differs = stored[name], found[name], []
        if abs(old["accuracy"] - new["accuracy"]) > accuracy:
            differs.append(f"accuracy {old['accuracy']:.4f}, now {new['accuracy']:.4f}")
        if abs(old["weight_size"] - new["weight_size"]) > weight_size * old["weight_size"]:
            differs.append(f"size of weights {old['weight_size']:.6g}, now {new['weight_size']:.6g}")
        if abs(old["effect"] - new["effect"]) > effect * old["effect"] + NO_EFFECT:
            differs.append(f"effect on the weights {old['effect']:.3g}, now {new['effect']:.3g}")
        if differs:
            lines[name] = differs
    return lines
