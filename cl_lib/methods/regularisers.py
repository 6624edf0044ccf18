r"""What neural inhibition is compared with: plain sparsity of activations or weights, and DeCov."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cl_lib.methods.base import Batch, Method, Strength, check_strength
from cl_lib.population import Population


@dataclass(frozen=True)
class Regulariser(Method):
    """A term added to the loss of every task; it keeps nothing and remembers nothing.

    Parameters
    ----------
    strength : float or tuple of float
        Factor of the term.

    Raises
    ------
    ValueError
        For a negative strength; in training, if the term needs hidden layers and the model has none.
    """

    strength: Strength

    def __post_init__(self) -> None:
        check_strength(self.strength)

    def extra_loss(self, state: Any, population: Population, batch: Batch) -> Tensor:
        """The term for each replica, ``(R,)``."""
        if self.uses_hidden and not batch.hidden:
            raise ValueError(f"model has no hidden layer, so {type(self).__name__} has nothing to act on.")
        return population.per_replica(self.strength) * self.term(population, batch)

    def term(self, population: Population, batch: Batch) -> Tensor:
        """The term without its factor, ``(R,)``."""
        raise NotImplementedError


class L1Activations(Regulariser):
    r"""Sparse activations: :math:`\frac1M\sum_m\sum_i|h_i^m|` over all hidden layers."""

    uses_hidden = True

    def term(self, population: Population, batch: Batch) -> Tensor:
        """Mean over samples of the summed absolute activations."""
        return sum(h.abs().flatten(2).sum(2).mean(1) for h in batch.hidden)


class DeCov(Regulariser):
    r"""Decorrelated activations: :math:`\frac12(\|C\|_F^2-\|\mathrm{diag}\,C\|^2)` for each layer.

    C is the covariance of the activations over the batch, with the mean over its samples
    (Cogswell et al., 2016). Unlike inhibition it lets units be active together if they vary apart. Maps of
    convolutions are flattened, each place a unit, which makes C large.
    """

    uses_hidden = True

    def term(self, population: Population, batch: Batch) -> Tensor:
        """Squared covariances of different units, halved."""
        total = 0.0
        for h in batch.hidden:
            centred = (h - h.mean(1, keepdim=True)).flatten(2)
            covariance = centred.transpose(1, 2) @ centred / h.shape[1]
            own = torch.diagonal(covariance, dim1=1, dim2=2)
            total = total + 0.5 * ((covariance**2).sum((1, 2)) - (own**2).sum(1))
        return total


class L1Weights(Regulariser):
    r"""Sparse weights: :math:`\sum_i|\theta_i|`, biases included."""

    def term(self, population: Population, batch: Batch) -> Tensor:
        """Sum of absolute weights."""
        return sum(p.abs().reshape(population.size, -1).sum(1) for p in population.leaves.values())


class WeightDecay(Regulariser):
    r"""Small weights: :math:`\frac12\sum_i\theta_i^2`, biases included."""

    def term(self, population: Population, batch: Batch) -> Tensor:
        """Half the sum of squared weights."""
        leaves = population.leaves.values()
        return 0.5 * sum((p**2).reshape(population.size, -1).sum(1) for p in leaves)
