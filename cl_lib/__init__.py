"""Continual learning, each method with its equation above it and an oracle beside it."""

from cl_lib import data, derivations, importance, methods, metrics, models, plots, streams
from cl_lib.importance import fisher
from cl_lib.methods import EWC, L2, Finetune, Joint
from cl_lib.models import MLP, ConvNet
from cl_lib.runs import Run
from cl_lib.streams import Stream, Task
from cl_lib.training import fit

__all__ = [
    "EWC",
    "L2",
    "MLP",
    "ConvNet",
    "Finetune",
    "Joint",
    "Run",
    "Stream",
    "Task",
    "data",
    "derivations",
    "fisher",
    "fit",
    "importance",
    "methods",
    "metrics",
    "models",
    "plots",
    "streams",
]
