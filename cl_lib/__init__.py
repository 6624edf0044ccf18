"""Continual learning, each method with its equation above it and an oracle beside it."""

from cl_lib import data, derivations, importance, methods, metrics, models, plots, streams
from cl_lib.importance import fisher, mas
from cl_lib.methods import EWC, L2, MAS, SI, Finetune, Joint
from cl_lib.models import MLP, ConvNet, MemoryMLP
from cl_lib.runs import Run
from cl_lib.streams import Stream, Task
from cl_lib.training import fit

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
    "mas",
    "methods",
    "metrics",
    "models",
    "plots",
    "streams",
]
