"""How what matters is protected: one file for each method."""

from cl_lib.methods.base import Finetune, Joint, Method
from cl_lib.methods.ewc import EWC
from cl_lib.methods.l2 import L2
from cl_lib.methods.mas import MAS
from cl_lib.methods.quadratic import Quadratic, QuadraticMethod, merge, penalty, single
from cl_lib.methods.si import SI

__all__ = [
    "EWC",
    "L2",
    "MAS",
    "SI",
    "Finetune",
    "Joint",
    "Method",
    "Quadratic",
    "QuadraticMethod",
    "merge",
    "penalty",
    "single",
]
