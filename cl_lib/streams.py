"""Streams of tasks, made from data sets or from your own tensors.

Labels are stored as indices of the network's outputs, so a "head per task" is a slice of one
output layer. What a scenario is stands in :mod:`cl_lib.tasks`.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from cl_lib.checks import is_count
from cl_lib.data import Dataset, Split, load
from cl_lib.tasks import Stream, Task, check_scenario


def permuted(
    dataset: str | Dataset,
    n_tasks: int,
    *,
    scenario: str = "domain",
    seed: int = 0,
    keep_first: bool = False,
) -> Stream:
    """Each task shows the same images with the pixels in another fixed order.

    Parameters
    ----------
    dataset : str or Dataset
        Name of a data set (:data:`cl_lib.data.DATASETS`) or a loaded one.
    n_tasks : int, at least 1
    scenario : {"domain", "task", "class"}
    seed : int
        Of the permutations. Task t has the same permutation in streams of every length.
    keep_first : bool
        Leave the first task as it is, as Zenke et al. (2017) do.

    Notes
    -----
    Goodfellow et al. (2013); Kirkpatrick et al. (2017). Colour channels are permuted alike.
    """
    dataset = _dataset(dataset)
    _check_count(n_tasks, "n_tasks")
    generator = torch.Generator().manual_seed(seed)
    n_pixels = math.prod(dataset.train.x.shape[_spatial(dataset.train.x) :])
    orders = [torch.randperm(n_pixels, generator=generator) for _ in range(n_tasks)]
    if keep_first:
        orders[0] = torch.arange(n_pixels)
    names = [f"permutation {t + 1}" for t in range(n_tasks)]
    changes = [lambda x, order=order: _reorder(x, order) for order in orders]
    return _changed_inputs(f"permuted {dataset.name}", dataset, names, changes, scenario)


def rotated(dataset: str | Dataset, degrees: Sequence[float], *, scenario: str = "domain") -> Stream:
    """Each task shows the same images turned counter-clockwise by one of the angles.

    Parameters
    ----------
    dataset : str or Dataset
        A data set of square images.
    degrees : sequence of float
        One angle for each task.
    scenario : {"domain", "task", "class"}

    Notes
    -----
    Lopez-Paz & Ranzato (2017). Bilinear interpolation, black outside.
    """
    dataset = _dataset(dataset)
    _check_count(len(degrees), "the number of degrees")
    if not all(math.isfinite(angle) for angle in degrees):
        raise ValueError(f"degrees is {list(degrees)}, but every angle must be a finite number.")
    names = [f"{angle:g} degrees" for angle in degrees]
    changes = [lambda x, angle=angle: _rotate(x, angle) for angle in degrees]
    return _changed_inputs(f"rotated {dataset.name}", dataset, names, changes, scenario)


def split(dataset: str | Dataset, n_tasks: int, *, scenario: str = "task", seed: int | None = None) -> Stream:
    """The classes are dealt out to the tasks in equal groups.

    Parameters
    ----------
    dataset : str or Dataset
    n_tasks : int
        Must divide the number of classes.
    scenario : {"task", "domain", "class"}
    seed : int, optional
        Order of the classes; ``None`` keeps 0, 1, 2, ...

    Notes
    -----
    Split MNIST of Zenke et al. (2017): five tasks of two digits.
    """
    dataset = _dataset(dataset)
    _check_count(n_tasks, "n_tasks")
    n_classes = len(dataset.classes)
    if n_classes % n_tasks:
        raise ValueError(
            f"n_tasks is {n_tasks}, which does not divide the {n_classes} classes of {dataset.name}; "
            "take a divisor, or name the groups yourself with disjoint(...)."
        )
    order = torch.arange(n_classes)
    if seed is not None:
        order = torch.randperm(n_classes, generator=torch.Generator().manual_seed(seed))
    groups = order.reshape(n_tasks, -1).tolist()
    stream = disjoint(dataset, groups, scenario=scenario)
    return Stream(f"split {dataset.name}", scenario, stream.tasks, stream.n_outputs)


def disjoint(dataset: str | Dataset, groups: Sequence[Sequence[int]], *, scenario: str = "domain") -> Stream:
    """Each task holds the images of one group of classes.

    Parameters
    ----------
    dataset : str or Dataset
    groups : sequence of sequences of int
        Classes of each task, such as ``[(0, 1, 2), (4, 5, 6), (7, 8, 9)]``. A class may be unused
        but not in two groups. In the ``domain`` scenario the k-th class of every group is output k.
    scenario : {"domain", "task", "class"}

    Notes
    -----
    Disjoint MNIST of Srivastava et al. (2013); three groups in Wen & Itti (2018).
    """
    dataset = _dataset(dataset)
    _check_count(len(groups), "the number of groups")
    _check_groups(groups, dataset)
    first_outputs = _first_outputs([len(group) for group in groups], scenario)
    parts = [
        {part: _only(dataset, part, group, first) for part in ("train", "validation", "test")}
        for group, first in zip(groups, first_outputs, strict=True)
    ]
    names = ["classes " + ", ".join(dataset.classes[c] for c in group) for group in groups]
    sizes = [len(group) for group in groups]
    return _assemble(f"disjoint {dataset.name}", scenario, names, parts, sizes)


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
        firsts = _first_outputs(sizes, scenario)
        for t, (part, known, first) in enumerate(zip(parts, classes, firsts, strict=True)):
            for key, data in part.items():
                part[key] = _relabel(data, known, first, f"{key}[{t}]")
    names = [f"task {t + 1}" for t in range(len(parts))]
    return _assemble(name, scenario, names, parts, sizes)


def _splits(pairs: Sequence[tuple[Tensor, Tensor]], part: str, n: int | None = None) -> list[Split]:
    """Each task's data, checked; ``n`` is how many tasks there must be."""
    pairs = list(pairs)
    _check_count(len(pairs), f"the number of tasks in {part}")
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


def _assemble(name: str, scenario: str, names, parts, sizes: Sequence[int]) -> Stream:
    check_scenario(scenario)
    firsts = _first_outputs(sizes, scenario)
    n_outputs = max(first + size for first, size in zip(firsts, sizes, strict=True))
    tasks = []
    for task_name, splits, first, size in zip(names, parts, firsts, sizes, strict=True):
        own = (first, first + size) if scenario == "task" else (0, n_outputs)
        tasks.append(Task(task_name, outputs=own, **splits))
    return Stream(name, scenario, tuple(tasks), n_outputs)


def _changed_inputs(name: str, dataset: Dataset, names, changes, scenario: str) -> Stream:
    check_scenario(scenario)
    n_classes = len(dataset.classes)
    parts = []
    for change, first in zip(changes, _first_outputs([n_classes] * len(changes), scenario), strict=True):
        splits = {}
        for part in ("train", "validation", "test"):
            data = getattr(dataset, part)
            splits[part] = Split(change(data.x), data.y + first)
        parts.append(splits)
    return _assemble(name, scenario, names, parts, [n_classes] * len(parts))


def _first_outputs(sizes: Sequence[int], scenario: str) -> list[int]:
    if scenario == "domain":
        return [0] * len(sizes)
    return [sum(sizes[:t]) for t in range(len(sizes))]


def _only(dataset: Dataset, part: str, group: Sequence[int], first: int) -> Split:
    data = getattr(dataset, part)
    position = torch.full((max(int(data.y.max()), *group) + 1,), -1)
    position[torch.tensor(group)] = torch.arange(len(group))
    wanted = position[data.y] >= 0
    if not wanted.any():
        raise ValueError(f"{dataset.name} has no {part} image of the classes {list(group)}.")
    return Split(data.x[wanted], position[data.y[wanted]] + first)


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


def _spatial(x: Tensor) -> int:
    """First axis that is a place in the image: after the channels where there are any."""
    return 2 if x.ndim == 4 else 1


def _reorder(x: Tensor, order: Tensor) -> Tensor:
    return x.flatten(_spatial(x))[..., order].reshape(x.shape)


def _rotate(x: Tensor, degrees: float) -> Tensor:
    side = math.isqrt(x.shape[-1]) if x.ndim == 2 else x.shape[-1]
    if not (side * side == x.shape[-1] if x.ndim == 2 else side == x.shape[-2]):
        raise ValueError(f"dataset has inputs of shape {tuple(x.shape[1:])}: not a square image.")
    images = x.reshape(len(x), -1, side, side).float()
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    matrix = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]])
    grid = functional.affine_grid(matrix.expand(len(x), 2, 3), images.shape, align_corners=False)
    turned = functional.grid_sample(images, grid, align_corners=False)
    turned = turned.round() if x.dtype == torch.uint8 else turned
    return turned.to(x.dtype).reshape(x.shape)


def _dataset(dataset: str | Dataset) -> Dataset:
    if isinstance(dataset, Dataset):
        return dataset
    if isinstance(dataset, str):
        return load(dataset)
    raise TypeError(
        f"dataset is a {type(dataset).__name__}, but must be a name such as 'digits' or a Dataset; "
        "for your own tensors use streams.from_tensors(...)."
    )


def _check_count(count: int, what: str) -> None:
    if not is_count(count):
        raise ValueError(f"{what} is {count!r}, but a stream needs a whole number of tasks, 1 or more.")


def _check_groups(groups: Sequence[Sequence[int]], dataset: Dataset) -> None:
    if not all(isinstance(group, Iterable) for group in groups):
        raise TypeError(f"groups is {groups!r}, but must be a list of groups, such as [(0, 1), (2, 3)].")
    flat = [c for group in groups for c in group]
    outside = [c for c in flat if not 0 <= c < len(dataset.classes)]
    if outside:
        raise ValueError(
            f"groups names class {outside[0]}, but {dataset.name} has "
            f"classes 0 to {len(dataset.classes) - 1}."
        )
    if len(set(flat)) < len(flat) or not all(len(group) for group in groups):
        raise ValueError(f"groups is {list(groups)}: no group may be empty, and no class in two places.")
