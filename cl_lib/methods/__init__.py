"""How what matters is protected: one file for each method."""

from cl_lib.methods.base import Batch, Finetune, Joint, Method
from cl_lib.methods.combined import combine
from cl_lib.methods.ewc import EWC
from cl_lib.methods.guards import IneffectivePenalty, UnstablePenalty
from cl_lib.methods.inhibition import SLNI, SLNID, SNI, SNID, Inhibition
from cl_lib.methods.l2 import L2
from cl_lib.methods.lwf import LwF
from cl_lib.methods.mas import MAS
from cl_lib.methods.memory import AdversarialMemory
from cl_lib.methods.quadratic import Quadratic, QuadraticMethod, merge, penalty, single
from cl_lib.methods.regularisers import DeCov, L1Activations, L1Weights, Regulariser, WeightDecay
from cl_lib.methods.replay import Replay
from cl_lib.methods.si import SI

__all__ = [
    "EWC",
    "L2",
    "MAS",
    "SI",
    "SLNI",
    "SLNID",
    "SNI",
    "SNID",
    "AdversarialMemory",
    "Batch",
    "DeCov",
    "Finetune",
    "IneffectivePenalty",
    "Inhibition",
    "Joint",
    "L1Activations",
    "L1Weights",
    "LwF",
    "Method",
    "Quadratic",
    "QuadraticMethod",
    "Regulariser",
    "Replay",
    "UnstablePenalty",
    "WeightDecay",
    "combine",
    "merge",
    "penalty",
    "single",
]
