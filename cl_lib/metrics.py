"""What a run is worth: numbers from the accuracy matrix, and an interval over replicas.

Everything starts from the matrix ``R`` of shape ``(..., T, T)``: ``R[..., i, j]`` is the accuracy on
task ``j`` measured after training on task ``i`` (both counted from 0). Leading axes (replicas) are kept.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A mean with the interval that should hold it, from ``n`` replicas."""

    mean: float
    low: float
    high: float
    n: int
    method: str
    level: float

    def __str__(self) -> str:
        return f"{self.mean:z.3f} [{self.low:z.3f}, {self.high:z.3f}]"  # no -0.000


def average_accuracy(matrix) -> np.ndarray:
    r"""Mean accuracy over all tasks after the last one: :math:`\frac1T\sum_j R_{T,j}`.

    Parameters
    ----------
    matrix : array of shape (..., T, T)
        Accuracy after task i on task j, in [0, 1].

    Returns
    -------
    array of shape (...)

    Notes
    -----
    ACC in Lopez-Paz & Ranzato (2017), Eq. 2.
    """
    return _square(matrix)[..., -1, :].mean(-1)


def learning_accuracy(matrix) -> np.ndarray:
    r"""Mean accuracy on each task when it was just learned: :math:`\frac1T\sum_j R_{j,j}`.

    With it the average accuracy falls into two parts, what was learned and what later tasks did to it:
    :math:`\mathrm{ACC}=\mathrm{LA}+\frac{T-1}T\,\mathrm{BWT}`.

    Parameters
    ----------
    matrix : array of shape (..., T, T)

    Returns
    -------
    array of shape (...)

    Notes
    -----
    LA in Riemer et al. (2019), section 5.
    """
    return _just_learned(_square(matrix)).mean(-1)


def accuracy_so_far(matrix) -> np.ndarray:
    r"""Mean accuracy on the tasks met so far, after each of them: :math:`\frac1i\sum_{j\le i}R_{i,j}`.

    The learning curve of a stream. It ends at :func:`average_accuracy`.

    Parameters
    ----------
    matrix : array of shape (..., T, T)

    Returns
    -------
    array of shape (..., T)

    Notes
    -----
    :math:`A_k` in Chaudhry et al. (2018), section 3.
    """
    matrix = _square(matrix)
    met = np.arange(1, matrix.shape[-1] + 1)
    return np.tril(matrix).sum(-1) / met


def forgetting(matrix) -> np.ndarray:
    r"""How much each earlier task lost since its best moment, averaged over the earlier tasks.

    .. math:: \frac1{T-1}\sum_{j<T}\Big(\max_{j\le i<T}R_{i,j}-R_{T,j}\Big)

    The maximum runs over the moments since the task was learned. It can be negative: later tasks may
    help.

    Parameters
    ----------
    matrix : array of shape (..., T, T), T >= 2

    Returns
    -------
    array of shape (...)

    Notes
    -----
    Chaudhry et al. (2018), Eq. 3 and 4; their maximum also runs over moments before.
    """
    matrix = _square(matrix, at_least=2)
    n_tasks = matrix.shape[-1]
    lost = [matrix[..., j:-1, j].max(-1) - matrix[..., -1, j] for j in range(n_tasks - 1)]
    return np.mean(lost, axis=0)


def backward_transfer(matrix) -> np.ndarray:
    r"""What later tasks did to earlier ones: :math:`\frac1{T-1}\sum_{j<T}(R_{T,j}-R_{j,j})`.

    Parameters
    ----------
    matrix : array of shape (..., T, T), T >= 2

    Returns
    -------
    array of shape (...)
        Negative where learning erased; minus :func:`forgetting` if each task was at its best
        right after it was learned.

    Notes
    -----
    BWT in Lopez-Paz & Ranzato (2017), Eq. 3.
    """
    matrix = _square(matrix, at_least=2)
    return (matrix[..., -1, :-1] - _just_learned(matrix)[..., :-1]).mean(-1)


def forward_transfer(matrix, initial) -> np.ndarray:
    r"""What earlier tasks gave to a task not yet seen: :math:`\frac1{T-1}\sum_{j>1}(R_{j-1,j}-b_j)`.

    Parameters
    ----------
    matrix : array of shape (..., T, T), T >= 2
    initial : array of shape (..., T)
        :math:`b_j`, the accuracy on each task before any training.

    Returns
    -------
    array of shape (...)

    Notes
    -----
    FWT in Lopez-Paz & Ranzato (2017), Eq. 4.
    """
    matrix = _square(matrix, at_least=2)
    initial = np.asarray(initial, dtype=float)
    if initial.shape != matrix.shape[:-1]:
        raise ValueError(
            f"initial has shape {initial.shape}, but the accuracy matrix asks for {matrix.shape[:-1]}: "
            "one accuracy for each replica and task, measured before training (run.initial)."
        )
    before_its_turn = np.diagonal(matrix, offset=1, axis1=-2, axis2=-1)
    return (before_its_turn - initial[..., 1:]).mean(-1)


def interval(values, *, method: str = "t", level: float = 0.95) -> Interval:
    r"""Mean over replicas with a confidence interval.

    Parameters
    ----------
    values : array of shape (n,), n >= 2
        One number for each replica.
    method : {"t", "bootstrap"}
        ``"t"``: :math:`\bar x\pm t_{n-1}\,s/\sqrt n`, exact for normal values. ``"bootstrap"``:
        bias-corrected and accelerated bootstrap (Efron, 1987) with 9,999 resamples and a fixed seed.
    level : float in (0, 1)

    Raises
    ------
    ValueError
        For fewer than two values (one run has no interval), NaN, or an unknown method.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(
            f"values has shape {values.shape}: an interval needs at least two replicas in one axis. "
            "Train with several seeds, for example fit(..., seeds=range(10))."
        )
    if not np.isfinite(values).all():
        raise ValueError("values holds NaN or infinity: a replica diverged; look at run.accuracy.")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, but it must lie between 0 and 1, such as 0.95.")
    if method not in ("t", "bootstrap"):
        raise ValueError(f'method is {method!r}, but must be "t" or "bootstrap".')
    from scipy import stats  # here, as it takes longer to load than all the rest of the package

    mean = float(values.mean())
    if np.ptp(values) == 0:
        low = high = mean
    elif method == "t":
        low, high = stats.t.interval(level, len(values) - 1, mean, stats.sem(values))
    else:
        resampled = stats.bootstrap((values,), np.mean, confidence_level=level, rng=np.random.default_rng(0))
        low, high = resampled.confidence_interval
    return Interval(mean, float(low), float(high), len(values), method, level)


def _just_learned(matrix: np.ndarray) -> np.ndarray:
    """The diagonal of each matrix, ``(..., T)``."""
    return np.diagonal(matrix, axis1=-2, axis2=-1)


def _square(matrix, at_least: int = 1) -> np.ndarray:
    if hasattr(matrix, "accuracy"):
        raise TypeError(f"matrix is a {type(matrix).__name__}, but must be an array: give run.accuracy.")
    matrix = np.asarray(matrix, dtype=float)
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(
            f"matrix has shape {matrix.shape}, but an accuracy matrix is (..., T, T): "
            "one row after each task, one column on each task."
        )
    if matrix.shape[-1] < at_least:
        raise ValueError(f"matrix covers {matrix.shape[-1]} task, but transfer needs two or more.")
    return matrix
