"""SGD with momentum, and Adam, for all replicas at once."""

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from cl_lib.population import Params
from cl_lib.settings import Settings


class Optimizer:
    """SGD with momentum, or Adam, by PyTorch's functional kernels, elementwise over all replicas."""

    def __init__(self, params: Params, settings: Settings):
        self.names, self.params = list(params), list(params.values())
        self.settings = settings
        self.velocity = [torch.zeros_like(p) for p in self.params]
        self.mean = [torch.zeros_like(p) for p in self.params]
        self.square = [torch.zeros_like(p) for p in self.params]
        self.count = [torch.zeros((), device=p.device) for p in self.params]

    def step(self, grads: Params) -> None:
        """Change the weights in place."""
        grads = [grads[name] for name in self.names]
        common = {"lr": self.settings.lr, "weight_decay": 0.0, "maximize": False, "fused": True}
        if self.settings.optimizer == "sgd":
            momentum = {"momentum": self.settings.momentum, "dampening": 0.0, "nesterov": False}
            sgd(self.params, grads, self.velocity, **momentum, **common)
        else:
            moments = (self.mean, self.square, [], self.count)
            adam(
                self.params,
                grads,
                *moments,
                beta1=0.9,
                beta2=0.999,
                eps=1e-8,
                amsgrad=False,
                **common,
            )

    def step_size(self, name: str) -> float | Tensor:
        """The step that one unit of steady gradient makes: a number, or elementwise for Adam."""
        if self.settings.optimizer == "sgd":
            return self.settings.lr / (1 - self.settings.momentum)
        i = self.names.index(name)
        square = self.square[i] / (1 - 0.999 ** self.count[i])
        return square.sqrt_().add_(1e-8).reciprocal_().mul_(self.settings.lr)
