"""Named image data sets as tensors, every file checked by its SHA-256 before it is used.

``digits`` comes with scikit-learn and needs no network. The files of the others are looked for in
the ``folder`` argument (or the folder that ``CL_LIB_DATA`` names), then in the cache folder
(``CL_LIB_CACHE``, or the system's), and are downloaded at last. No pickle is ever opened.
"""

import difflib
import gzip
import hashlib
import lzma
import os
import string
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from cl_lib.checks import check_alike, check_inputs, check_tensor
from cl_lib.downloads import SOURCES, content, local_folder

_CLASSES = {
    "digits": "0,1,2,3,4,5,6,7,8,9",
    "mnist": "0,1,2,3,4,5,6,7,8,9",
    "fashion-mnist": "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot",
    "emnist-letters": ",".join(string.ascii_uppercase),
    "cifar-10": "airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck",
}
#: Names that :func:`load` knows.
DATASETS = tuple(_CLASSES)


@dataclass(frozen=True, eq=False)
class Split:
    """Examples with their labels, checked when made.

    Attributes
    ----------
    x : Tensor
        Inputs, shape ``(N, ...)``: uint8 levels 0 to 255, or finite floating point numbers.
    y : Tensor
        Class indices from 0, int64, shape ``(N,)``.

    Raises
    ------
    TypeError
        If ``x`` or ``y`` is not a tensor of such a dtype.
    ValueError
        If the shapes do not fit, there is no example, a label is negative or an input not finite.
    """

    x: Tensor
    y: Tensor

    def __post_init__(self):
        """Refuse what no method could learn from."""
        x, y = self.x, self.y
        check_inputs(x, "x")
        check_tensor(y, "y")
        if y.dtype != torch.int64:
            raise TypeError(f"y is {y.dtype}, but class indices must be int64; use y.long().")
        if x.ndim < 2:
            use = "x.reshape(-1, 1) for one feature an example"
            raise ValueError(f"x has shape {tuple(x.shape)}, but must be (N, features...); use {use}.")
        if y.ndim != 1:
            use = "y.flatten(), or y.argmax(1) for one-hot labels"
            raise ValueError(f"y has shape {tuple(y.shape)}, but must be (N,); use {use}.")
        if len(x) != len(y):
            raise ValueError(f"x has {len(x)} examples, but y {len(y)} labels; make them equal.")
        if x.numel() == 0:
            raise ValueError(f"x is empty, shape {tuple(x.shape)}; give at least one example.")
        if y.min() < 0:
            raise ValueError(f"y holds the label {y.min()}; number the classes from 0.")
        bad = int((~x.isfinite()).sum()) if x.is_floating_point() else 0
        if bad:
            use = "leave these examples out, or use torch.nan_to_num(x)"
            raise ValueError(f"x holds {bad} values that are NaN or infinite; {use}.")

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.y)

    def __repr__(self) -> str:
        """Show shapes, not values."""
        return f"Split(x: {self.x.dtype} {tuple(self.x.shape)}, y: {tuple(self.y.shape)})"


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named data set in three parts; ``classes[k]`` is the name of label ``k``.

    Raises
    ------
    ValueError
        If a label has no name, or if inputs differ in shape or some are uint8 and others not.
    TypeError
        If a part is no :class:`Split`, or the name of a class no string.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]

    def __post_init__(self):
        """Refuse what a stream would take for something else, or leave out."""
        names = self.classes if isinstance(self.classes, tuple | list) else [None]
        if not all(isinstance(name, str) for name in names):
            raise TypeError(f"classes is {self.classes!r}, but must be a tuple of names, one for each label.")
        for part in ("train", "validation", "test"):
            data = getattr(self, part)
            if not isinstance(data, Split):
                raise TypeError(f"{part} is a {type(data).__name__}, but must be a Split(x, y).")
            if data.y.max() >= len(self.classes):
                raise ValueError(
                    f"{part} holds the label {int(data.y.max())}, but classes has {len(self.classes)} names, "
                    f"for labels 0 to {len(self.classes) - 1}; name every class."
                )
            check_alike(data.x, self.train.x, part, "those of train", "give all parts one shape")


def digests(name: str) -> dict[str, str]:
    """SHA-256 of what a data set is made of.

    Of each of its files, as they are offered; of digits, which comes without files, the levels of the
    training images (the bytes of ``load(name).train.x``), without their labels and the other parts.
    """
    if name in SOURCES:
        source = SOURCES[name]
        return {file: source.sha256[file] for file in source.files}
    return {"pixels": _training_pixels(name)}


@lru_cache
def _training_pixels(name: str) -> str:
    return hashlib.sha256(load(name).train.x.numpy().tobytes()).hexdigest()


def load(
    name: str,
    *,
    folder: str | os.PathLike | None = None,
    progress: bool | None = None,
) -> Dataset:
    """Load a data set: ``x`` holds uint8 levels 0 to 255, ``y`` labels from 0.

    ================== ================== =======================
    name               x of an example    train, validation, test
    ================== ================== =======================
    ``digits``         ``(64,)``          1253, 180, 364
    ``mnist``          ``(784,)``         50000, 10000, 10000
    ``fashion-mnist``  ``(784,)``         50000, 10000, 10000
    ``emnist-letters`` ``(784,)``         104000, 20800, 20800
    ``cifar-10``       ``(3, 32, 32)``    40000, 10000, 10000
    ================== ================== =======================

    Digits are drawn class by class, 70, 10 and 20 per cent, always the same ones. Elsewhere the
    last training images are the validation part: classes are equally frequent there in EMNIST, and
    within 10 per cent of that in MNIST and CIFAR-10. Letters are upright, A (or a) has label 0.

    Parameters
    ----------
    name : str
        One of :data:`DATASETS`.
    folder : path, optional
        Folder with the data files, directly or in a folder named like the data set; files missing
        there are taken from the cache or downloaded. Default: the environment variable
        ``CL_LIB_DATA``. Not used for ``digits``.
    progress : bool, optional
        Show a bar while downloading. Default: only on a terminal.

    Raises
    ------
    ValueError
        For an unknown name, a folder that does not exist, or a file in it with the wrong SHA-256.
    OSError
        If a file can neither be found nor downloaded, or the cache cannot be written.
    """
    if name not in DATASETS:
        near = difflib.get_close_matches(str(name).lower(), DATASETS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"name is {name!r}, but must be one of {', '.join(DATASETS)}{hint}")
    return _digits() if name == "digits" else _from_files(name, folder, progress)


def _from_files(name: str, folder: str | os.PathLike | None, progress: bool | None) -> Dataset:
    local = local_folder(folder)
    progress = sys.stderr.isatty() if progress is None else progress
    packed = [content(name, file, local, progress) for file in SOURCES[name].files]
    with ThreadPoolExecutor() as pool:  # decompression releases the interpreter lock
        raw = list(pool.map(_decompress, packed))
    train, test = _cifar(raw) if name == "cifar-10" else _idx(raw, name == "emnist-letters")
    stop = len(train[1]) - SOURCES[name].validation
    last = [part[stop:] for part in train]
    parts = [_split(*pair) for pair in ([part[:stop] for part in train], last, test)]
    return Dataset(name, *parts, classes=tuple(_CLASSES[name].split(",")))


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    return Split(torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64)))


def _digits() -> Dataset:
    from sklearn.datasets import load_digits  # here, as importing scikit-learn takes a second

    levels, labels = load_digits(return_X_y=True)  # levels 0 to 16
    images = (levels.astype(np.int64) * 255 // 16).astype(np.uint8)
    parts = [_split(images[chosen], labels[chosen]) for chosen in _stratified(labels)]
    return Dataset("digits", *parts, classes=tuple(_CLASSES["digits"].split(",")))


def _stratified(labels: np.ndarray) -> list[np.ndarray]:
    """Draw 70, 10 and 20 per cent of each class; indices in the original order."""
    shuffle = np.random.RandomState(0)  # its stream never changes, unlike default_rng's
    parts = []
    for label in np.unique(labels):
        members = shuffle.permutation(np.flatnonzero(labels == label))
        parts.append(np.split(members, [len(members) * 7 // 10, len(members) * 8 // 10]))
    return [np.sort(np.concatenate(part)) for part in zip(*parts, strict=True)]


def _idx(raw: list[bytes], letters: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images and labels, training then test, from files in the format of MNIST."""
    arrays = []
    for data in raw:
        ndim = data[3]
        shape = np.frombuffer(data, ">u4", ndim, offset=4)
        arrays.append(np.frombuffer(data, np.uint8, offset=4 + 4 * ndim).reshape(shape))
    if letters:  # images are stored transposed, labels counted from 1
        arrays = [a.transpose(0, 2, 1) if a.ndim == 3 else a - 1 for a in arrays]
    x_train, y_train, x_test, y_test = arrays
    return [(x.reshape(len(x), -1), y) for x, y in ((x_train, y_train), (x_test, y_test))]


def _cifar(raw: list[bytes]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images and labels from records of one label byte and three planes of 32 x 32 levels."""
    batches = [np.frombuffer(data, np.uint8).reshape(-1, 1 + 3 * 32 * 32) for data in raw]
    pairs = []
    for records in (np.concatenate(batches[:-1]), batches[-1]):
        pairs.append((records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]))
    return pairs


def _decompress(data: bytes) -> bytes:
    if data.startswith(b"\x1f\x8b"):
        return gzip.decompress(data)
    return lzma.decompress(data) if data.startswith(b"\xfd7zXZ\0") else data
