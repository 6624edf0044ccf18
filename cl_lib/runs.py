"""What a training run leaves behind."""

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from cl_lib.methods.base import Method
from cl_lib.population import Params


@dataclass(frozen=True)
class Curves:
    """Accuracy within the tasks.

    Attributes
    ----------
    step : array (M,)
        Number of optimiser steps taken, from 0.
    accuracy : array (R, M, T)
    boundaries : array (T,)
        The step at which each task ended.
    """

    step: np.ndarray
    accuracy: np.ndarray
    boundaries: np.ndarray


@dataclass(frozen=True)
class Run:
    """What :func:`cl_lib.training.fit` returns.

    Attributes
    ----------
    accuracy : array (R, T, T)
        ``accuracy[r, i, j]``: replica r, after learning task i, on task j.
    initial : array (R, T)
        Accuracy before any training.
    seeds, strength : array (R,)
        Of each replica.
    curves : Curves or None
    params : dict of Tensor (R, ...)
        Final weights.
    state : object
        The method's state after the last task.
    network : nn.Module
        The network's shape, for :meth:`model`.
    method : Method
    seconds : float
        Wall time of the training.
    """

    accuracy: np.ndarray
    initial: np.ndarray
    seeds: np.ndarray
    strength: np.ndarray
    curves: Curves | None
    params: Params
    state: Any
    network: nn.Module
    method: Method
    seconds: float

    def model(self, replica: int = 0) -> nn.Module:
        """A copy of the network with the final weights of one replica, in the mode that it was trained in.

        Call its ``eval()`` before you measure, where it has dropout; :func:`cl_lib.training.fit` does so. A
        network with parts of its own for each task (:class:`~cl_lib.models.MemoryMLP`) answers with those of
        the last one: set its ``task`` first.
        """
        model = copy.deepcopy(self.network)
        model.load_state_dict({name: p[replica] for name, p in self.params.items()}, strict=False)
        return model

    def at(self, strength: float) -> "Run":
        """The replicas that were trained with one strength (without the method's state)."""
        chosen = np.flatnonzero(np.isclose(self.strength, strength, rtol=1e-6, atol=0))
        if not len(chosen):
            known = ", ".join(f"{s:g}" for s in np.unique(self.strength))
            raise ValueError(f"strength is {strength!r}, but this run was trained with {known}.")
        if len(set(self.seeds[chosen])) < len(chosen):
            raise ValueError(
                f"strength is {strength!r}, with which several settings were trained: replicas "
                f"{chosen.tolist()}. Choose among these rows of run.accuracy."
            )
        curves = self.curves and replace(self.curves, accuracy=self.curves.accuracy[chosen])
        return replace(
            self,
            accuracy=self.accuracy[chosen],
            initial=self.initial[chosen],
            seeds=self.seeds[chosen],
            strength=self.strength[chosen],
            params={name: p[chosen] for name, p in self.params.items()},
            curves=curves,
            state=None,
        )
