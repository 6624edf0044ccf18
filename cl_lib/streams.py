"""Streams of tasks, made from data sets or from your own tensors.

Labels are stored as indices of the network's outputs, so a "head per task" is a slice of one
output layer. What a scenario is stands in :mod:`cl_lib.tasks`.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from cl_lib.checks import check_seed, is_number, whole_number
from cl_lib.data import Dataset, Split, load
from cl_lib.own_data import from_tensors
from cl_lib.tasks import Stream, check_n_tasks, first_outputs, stream_of

__all__ = ["disjoint", "from_tensors", "permuted", "rotated", "split"]


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

    Raises
    ------
    ValueError
        For fewer tasks than one, an unknown scenario or data set, or a seed that PyTorch does not take.
    TypeError
        For a data set that is neither a name nor a :class:`cl_lib.data.Dataset`, or a seed that is no whole
        number.

    Notes
    -----
    Goodfellow et al. (2013); Kirkpatrick et al. (2017). Colour channels are permuted alike.
    """
    dataset = _dataset(dataset)
    check_n_tasks(n_tasks, "n_tasks")
    generator = torch.Generator().manual_seed(check_seed(seed))
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

    Raises
    ------
    ValueError
        For no angle, one that is not finite, images that are not square, or an unknown scenario or data set.
    TypeError
        For angles that are no sequence of numbers, or what is no data set.

    Notes
    -----
    Lopez-Paz & Ranzato (2017). Bilinear interpolation, black outside.
    """
    dataset = _dataset(dataset)
    degrees = degrees.tolist() if isinstance(degrees, Tensor) else degrees
    degrees = list(degrees) if isinstance(degrees, Iterable) else degrees  # it is gone through twice
    if not (isinstance(degrees, list) and all(is_number(angle) for angle in degrees)):
        raise TypeError(f"degrees is {degrees!r}, but must be a list of angles, one a task, such as [0, 45].")
    check_n_tasks(len(degrees), "the number of degrees")
    if not all(math.isfinite(angle) for angle in degrees):
        raise ValueError(f"degrees is {degrees}, but every angle must be a finite number.")
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

    Raises
    ------
    ValueError
        For a number of tasks that does not divide the number of classes, an unknown scenario or data set, or
        a seed that PyTorch does not take.
    TypeError
        For what is no data set, or a seed that is no whole number.

    Notes
    -----
    Split MNIST of Zenke et al. (2017): five tasks of two digits.
    """
    dataset = _dataset(dataset)
    check_n_tasks(n_tasks, "n_tasks")
    n_classes = len(dataset.classes)
    if n_classes % n_tasks:
        raise ValueError(
            f"n_tasks is {n_tasks}, which does not divide the {n_classes} classes of {dataset.name}; "
            "take a divisor, or name the groups yourself with disjoint(...)."
        )
    order = torch.arange(n_classes)
    if seed is not None:
        order = torch.randperm(n_classes, generator=torch.Generator().manual_seed(check_seed(seed)))
    groups = order.reshape(n_tasks, -1).tolist()
    return _of_groups("split", dataset, groups, scenario)


def disjoint(dataset: str | Dataset, groups: Sequence[Sequence[int]], *, scenario: str = "domain") -> Stream:
    """Each task holds the images of one group of classes.

    Parameters
    ----------
    dataset : str or Dataset
    groups : sequence of sequences of int
        Classes of each task, such as ``[(0, 1, 2), (4, 5, 6), (7, 8, 9)]``. A class may be unused
        but not in two groups. In the ``domain`` scenario the k-th class of every group is output k.
    scenario : {"domain", "task", "class"}

    Raises
    ------
    ValueError
        For no group, an empty one, a class in two places or that the data set lacks, or an unknown scenario
        or data set.
    TypeError
        For groups that are no list of lists of whole numbers, or what is no data set.

    Notes
    -----
    Disjoint MNIST of Srivastava et al. (2013); three groups in Wen & Itti (2018).
    """
    dataset = _dataset(dataset)
    return _of_groups("disjoint", dataset, _checked_groups(groups, dataset), scenario)


def _of_groups(kind: str, dataset: Dataset, groups: list[list[int]], scenario: str) -> Stream:
    sizes = [len(group) for group in groups]
    parts = [
        {part: _only(dataset, part, group, first) for part in ("train", "validation", "test")}
        for group, first in zip(groups, first_outputs(sizes, scenario), strict=True)
    ]
    names = ["classes " + ", ".join(dataset.classes[c] for c in group) for group in groups]
    return stream_of(f"{kind} {dataset.name}", scenario, names, parts, sizes)


def _changed_inputs(name: str, dataset: Dataset, names, changes, scenario: str) -> Stream:
    n_classes = len(dataset.classes)
    parts = []
    for change, first in zip(changes, first_outputs([n_classes] * len(changes), scenario), strict=True):
        splits = {}
        for part in ("train", "validation", "test"):
            data = getattr(dataset, part)
            splits[part] = Split(change(data.x), data.y + first)
        parts.append(splits)
    return stream_of(name, scenario, names, parts, [n_classes] * len(parts))


def _only(dataset: Dataset, part: str, group: Sequence[int], first: int) -> Split:
    data = getattr(dataset, part)
    position = torch.full((max(int(data.y.max()), *group) + 1,), -1)
    position[torch.tensor(group)] = torch.arange(len(group))
    wanted = position[data.y] >= 0
    if not wanted.any():
        raise ValueError(f"{dataset.name} has no {part} image of the classes {list(group)}.")
    return Split(data.x[wanted], position[data.y[wanted]] + first)


def _spatial(x: Tensor) -> int:
    """First axis that is a place in the image: after the channels where there are any."""
    return 2 if x.ndim == 4 else 1


def _reorder(x: Tensor, order: Tensor) -> Tensor:
    return x.flatten(_spatial(x))[..., order].reshape(x.shape)


def _rotate(x: Tensor, degrees: float) -> Tensor:
    side = math.isqrt(x.shape[-1]) if x.ndim == 2 else x.shape[-1]
    if not (side * side == x.shape[-1] if x.ndim == 2 else side == x.shape[-2]):
        raise ValueError(f"dataset has inputs of shape {tuple(x.shape[1:])}: not a square image.")
    images = x.reshape(1, -1, side, side).float()  # all turn alike, so as channels of one image
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    matrix = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]])
    grid = functional.affine_grid(matrix[None], (1, 1, side, side), align_corners=False)
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


def _checked_groups(groups: Sequence[Sequence[int]], dataset: Dataset) -> list[list[int]]:
    """The classes of each group as plain numbers, whatever they came in, checked."""
    groups = list(groups) if isinstance(groups, Iterable) else groups
    if not (isinstance(groups, list) and all(isinstance(group, Iterable) for group in groups)):
        raise TypeError(f"groups is {groups!r}, but must be a list of groups, such as [(0, 1), (2, 3)].")
    groups = [[_class_index(c) for c in group] for group in groups]
    check_n_tasks(len(groups), "the number of groups")
    flat = [c for group in groups for c in group]
    outside = [c for c in flat if not 0 <= c < len(dataset.classes)]
    if outside:
        raise ValueError(
            f"groups names class {outside[0]}, but {dataset.name} has "
            f"classes 0 to {len(dataset.classes) - 1}."
        )
    if len(set(flat)) < len(flat) or not all(groups):
        raise ValueError(f"groups is {groups}: no group may be empty, and no class in two places.")
    return groups


def _class_index(c: object) -> int:
    index = whole_number(c)
    if index is None:
        raise TypeError(f"groups holds {c!r}, but a class must be a whole number: the index of its name.")
    return index
