"""A number or a finding that somebody published, and whether ours reaches it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cl_lib import metrics
from cl_lib.metrics import Interval

OUR_BAR = "our own target; we found no number of {}"
VERDICTS = ("reached", "partly", "not", "above", "not run")


@dataclass(frozen=True)
class Claim:
    """A number that somebody published, and where ours stands in a manifest.

    ``ours`` takes the manifest's ``methods``. ``at_most`` is for numbers
    that are failures, which are reached by being as low. ``source`` is a key of the bibliography.
    ``difference`` is for those of two accuracies, of which ``paper`` may be ``None``: the finding that one
    is ahead, where no number could be read.
    """

    group: str
    what: str
    paper: float | None
    source: str
    where: str
    experiment: str
    ours: Callable[[dict], Interval]
    at_most: bool = False
    difference: bool = False

    @property
    def own(self) -> bool:
        """Whether the number is a target of our own, which no paper states."""
        return self.where == OUR_BAR

    @property
    def text(self) -> str:
        """The claim in one line."""
        return f"{self.group}: {self.what}"

    def verdict(self, found: Interval) -> str:
        """``reached`` where the interval reaches the number or lies above, ``partly`` up to 0.05 below.

        ``above`` where all of the interval is more than five points better, hardly the same experiment; a
        failure, of which the interval may lie below, is never above.

        A difference with a number is ``reached`` where the interval holds the number, ``partly`` where it
        only lies on the same side of 0, and ``not`` otherwise.

        A target of our own is ``reached`` where the mean reaches it, ``partly`` up to 0.05 below, and
        ``not`` where the interval reaches 0, which only that of a gain does. A finding without a number is
        ``reached`` where the interval lies above 0, ``not`` where it lies below, ``partly`` in between.

        All numbers, and what lies between them, are compared with three decimals, as they are printed.
        """
        low, mean, high = (round(value, 3) for value in (found.low, found.mean, found.high))
        if self.paper is None:
            return "reached" if low > 0 else "not" if high < 0 else "partly"
        paper = round(self.paper, 3)
        if self.own:
            missed = round(paper - mean, 3)
            near = "reached" if missed <= 0 else "partly"
            return near if low > 0 and missed <= 0.05 else "not"
        if self.difference:
            same_side = low > 0 if self.paper > 0 else high < 0
            return "reached" if low <= paper <= high else "partly" if same_side else "not"
        if not self.at_most and round(low - paper, 3) > 0.05:
            return "above"
        gap = round(low - paper if self.at_most else paper - high, 3)
        if gap <= 0:
            return "reached"
        return "partly" if gap <= 0.05 else "not"


def average(method: str) -> Callable[[dict], Interval]:
    """Average accuracy after the last task."""
    return lambda methods: _stored(methods[method], methods[method]["average"])


def final(method: str, task: int) -> Callable[[dict], Interval]:
    """Accuracy on a task after the last one."""
    return lambda methods: _stored(methods[method], methods[method]["final"][task])


def learned(method: str, task: int) -> Callable[[dict], Interval]:
    """Accuracy on a task right after learning it."""
    return lambda methods: _stored(methods[method], methods[method]["when_learned"][task])


def gain(method: str, over: str) -> Callable[[dict], Interval]:
    """Paired difference of the average accuracies, seed by seed."""

    def difference(methods: dict) -> Interval:
        a, b = (np.array(methods[name]["average_by_seed"]) for name in (method, over))
        return metrics.interval(a - b)

    return difference


def over_draws(
    number: Callable[[int], Callable[[dict], Interval]], draws: Sequence[int]
) -> Callable[[dict], Interval]:
    """A number on several draws of a stream: ``number(draw)`` as above gives one value, its mean over seeds.

    The interval is over the draws.
    """
    return lambda methods: metrics.interval(np.array([number(draw)(methods).mean for draw in draws]))


def _stored(line: dict, numbers: dict[str, float]) -> Interval:
    """An interval of a manifest, which has them as :func:`cl_lib.metrics.interval` gives them."""
    return Interval(**numbers, n=len(line["average_by_seed"]), method="t", level=0.95)
