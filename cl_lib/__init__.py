"""Continual learning, each method with its equation above it and an oracle beside it."""

import importlib
from typing import TYPE_CHECKING

from cl_lib import data, importance, methods, metrics, models, streams
from cl_lib.importance import fisher, local_mas, mas
from cl_lib.methods import EWC, L2, MAS, SI, Finetune, Joint
from cl_lib.models import MLP, ConvNet, MemoryMLP
from cl_lib.runs import Run
from cl_lib.tasks import Stream, Task
from cl_lib.training import fit

if TYPE_CHECKING:
    from cl_lib import derivations, plots, report, results

__all__ = [
    "EWC",
    "L2",
    "MAS",
    "MLP",
    "SI",
    "ConvNet",
    "Finetune",
    "Joint",
    "MemoryMLP",
    "Run",
    "Stream",
    "Task",
    "data",
    "derivations",
    "fisher",
    "fit",
    "importance",
    "local_mas",
    "mas",
    "methods",
    "metrics",
    "models",
    "plots",
    "report",
    "results",
    "streams",
]


def __getattr__(name: str):
    """Load what brings matplotlib, sympy or pandas when it is first asked for."""
    if name in ("derivations", "plots", "report", "results"):
        return importlib.import_module(f"cl_lib.{name}")
    raise AttributeError(f"module 'cl_lib' has no attribute {name!r}")
