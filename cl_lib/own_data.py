"""Your own tensors as a stream of tasks."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cl_lib.data import Split
from cl_lib.tasks import Stream, check_n_tasks, check_scenario, first_outputs, stream_of


def from_tensors(
    train: Sequence[tuple[Tensor, Tensor]],
    *,
    test: Sequence[tuple[Tensor, Tensor]] | None = None,
    validation: Sequence[tuple[Tensor, Tensor]] | None = None,
    scenario: str = "domain",
    name: str = "custom",
) -> Stream:
    """Your own data: a list of ``(x, y)`` tensors is a stream.

    Parameters
    ----------
    train : list of (x, y)
        Inputs ``(N, ...)``, floating point or uint8 (then divided by 255), and integer labels ``(N,)``.
    test, validation : list of (x, y), optional
        Where they are missing, one fifth (test) of each task's training data and one tenth (validation) of
        what is left is held out, by a draw with a fixed seed. One sample of each class stays in training,
        whatever is drawn. Tasks with equal labels, such as several versions of the same images, hold out
        the same places.
    scenario : {"domain", "task", "class"}
        ``domain``: labels are output indices. ``task``, ``class``: the distinct labels of each task,
        in rising order, become that task's own outputs.

    Raises
    ------
    ValueError
        For lists of different lengths, with scenario ``task`` or ``class`` a test label that the task's
        training never shows, and all that :class:`cl_lib.data.Split` refuses (shapes that differ, NaN,
        labels below 0, no sample).
    """
    check_scenario(scenario)
    given = {"train": _splits(train, "train")}
    for part, pairs in (("test", test), ("validation", validation)):
        given[part] = None if pairs is None else _splits(pairs, part, len(given["train"]))
    parts = []
    for t, data in enumerate(given["train"]):
        splits = {"train": data}
        for part, share in (("test", 0.2), ("validation", 0.1)):
            if given[part] is None:
                splits["train"], splits[part] = _hold_out(splits["train"], share, t, part)
            else:
                splits[part] = given[part][t]
        parts.append(splits)
    if scenario == "domain":
        sizes = [int(max(data.y.max() for data in given["train"])) + 1] * len(parts)
    else:
        classes = [part["train"].y.unique() for part in parts]
        sizes = [len(c) for c in classes]
        firsts = first_outputs(sizes, scenario)
        for t, (part, known, first) in enumerate(zip(parts, classes, firsts, strict=True)):
            for key, data in part.items():
                part[key] = _relabel(data, known, first, f"{key}[{t}]")
    names = [f"task {t + 1}" for t in range(len(parts))]
    return stream_of(name, scenario, names, parts, sizes)


def _splits(pairs: Sequence[tuple[Tensor, Tensor]], part: str, n: int | None = None) -> list[Split]:
    """Each task's data, checked; ``n`` is how many tasks there must be."""
    pairs = list(pairs)
    check_n_tasks(len(pairs), f"the number of tasks in {part}")
    if n is not None and len(pairs) != n:
        raise ValueError(f"{part} has {len(pairs)} tasks, but train has {n}: give one (x, y) for each.")
    found = []
    for t, pair in enumerate(pairs):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(
                f"{part}[{t}] is a {type(pair).__name__}, but must be a pair (x, y) of tensors: {part} is a "
                "list with one pair for each task."
            )
        try:
            found.append(Split(*pair))
        except (TypeError, ValueError) as error:
            raise type(error)(f"{part}[{t}]: {error}") from None
    return found


def _relabel(data: Split, known: Tensor, first: int, where: str) -> Split:
    unknown = data.y[~torch.isin(data.y, known)]
    if len(unknown):
        raise ValueError(
            f"{where} has label {int(unknown[0])}, which this task's training data never shows; "
            f"its labels are {known.tolist()}."
        )
    return Split(data.x, torch.searchsorted(known, data.y) + first)


def _hold_out(data: Split, share: float, t: int, part: str) -> tuple[Split, Split]:
    """Draw a share of the data, alike for all tasks; of each class one sample stays in training."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    y = data.y[order]
    may_go = torch.ones(len(data), dtype=torch.bool)
    may_go[[int((y == c).nonzero()[-1]) for c in y.unique()]] = False
    held = may_go.nonzero().flatten()[: round(share * len(data))]
    if not len(held):
        raise ValueError(
            f"train[{t}] has {len(data)} samples of {len(y.unique())} classes, too few to hold out a "
            f"{part} set and keep one sample of each class; give {part}=[(x, y), ...] yourself."
        )
    stays = torch.ones(len(data), dtype=torch.bool)
    stays[held] = False
    held, kept = order[held], order[stays]
    return Split(data.x[kept], data.y[kept]), Split(data.x[held], data.y[held])
