"""Every method on a network that the package does not know, and what it says where it cannot."""

import oracles
import pytest
import torch
from oracles import F64, Convolutional, SharedParameter, Tied, distance, loop_fisher, small_stream
from torch import nn

from cl_lib import EWC, L2, MAS, SI, Finetune, Joint, fisher, mas
from cl_lib.importance import FISHER_KINDS, local_mas
from cl_lib.methods import (
    SLNI,
    SLNID,
    SNI,
    SNID,
    AdversarialMemory,
    DeCov,
    L1Activations,
    L1Weights,
    LwF,
    Replay,
    WeightDecay,
    combine,
)

STREAM = small_stream(3)
pytestmark = pytest.mark.filterwarnings("ignore::cl_lib.methods.IneffectivePenalty")


class Mine(nn.Module):
    """A convolution and two linear layers, under names of their own."""

    def __init__(self):
        super().__init__()
        self.eye, self.middle, self.mouth = nn.Conv2d(1, 2, 2), nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x, hidden=False):
        seen = torch.relu(self.eye(x.reshape(-1, 1, 2, 3)))
        thought = torch.relu(self.middle(seen.flatten(1)))
        logits = self.mouth(thought)
        return (logits, [seen, thought]) if hidden else logits


FLAT = {"layers": (1,)}  # inhibition acts between the neurons of flat layers
METHODS = {
    "joint": Joint(),
    "L2": L2(0.5),
    **{f"EWC {kind}": EWC(5.0, fisher=kind) for kind in FISHER_KINDS},
    "EWC latest": EWC(5.0, anchors="latest", gamma=0.5),
    "EWC gradient": EWC(0.5, step="gradient"),
    "SI": SI(1.0),
    "MAS": MAS(0.5),
    "MAS of probabilities": MAS(5.0, function="probabilities"),
    "local MAS": MAS(0.5, scope="local"),
    **{make.__name__: make(0.1, **FLAT) for make in (SNI, SLNI, SNID, SLNID)},
    "L1 of activations": L1Activations(0.1),
    "L1 of weights": L1Weights(0.1),
    "DeCov": DeCov(1.0),
    "weight decay": WeightDecay(0.1),
    "LwF": LwF(1.0),
    "replay": Replay(per_task=5),
    "SLNID and MAS": combine(SLNID(0.1, **FLAT), MAS(0.5)),
}


def short(method=None, build=Mine, **options):
    return oracles.short(method, STREAM, build, **{"lr": 0.05} | options)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_trains_it(method):
    together = short(method, seeds=(0, 1))
    assert together.params.keys() == dict(Mine().named_parameters()).keys()
    assert all(p.isfinite().all() for p in together.params.values())
    assert distance(together.params, short(seeds=(0, 1)).params) > 1e-5, "it does something"
    alone = short(method, seeds=(1,))
    second = {name: p[1:] for name, p in together.params.items()}
    assert distance(second, alone.params) < 1e-8


def test_fine_tuning_is_the_default():
    assert distance(short(Finetune()).params, short().params) == 0


@pytest.mark.parametrize("method", [SLNID(0.1), SNI(0.1), L1Activations(0.1), DeCov(0.1)])
def test_hidden_activations_are_asked_for(method):
    message = r"model gives no hidden activations: its forward must take hidden=True and return \(logits"
    for seeds in ((0,), (0, 1)):
        with pytest.raises(TypeError, match=message):
            short(method, Convolutional, seeds=seeds)


def test_inhibition_between_the_pixels_of_a_map_is_refused():
    with pytest.raises(ValueError, match="inhibition acts between the neurons of flat layers"):
        short(SLNID(0.1))


def test_memory_units_are_asked_for():
    with pytest.raises(TypeError, match="model is a Mine, which has no memory units; use cl_lib.MemoryMLP"):
        short(AdversarialMemory(0.1))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_statistics_of_the_batch_are_refused(method):
    def build():
        return nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))

    with pytest.raises(ValueError, match="batch normalisation in training mode .*GroupNorm"):
        short(method, build)


@pytest.mark.parametrize("build", [Tied, SharedParameter])
def test_shared_weights_take_the_general_path_or_are_refused(build):
    torch.manual_seed(0)
    model, x = build().to(F64), STREAM[0].train.x
    assert distance(fisher(model, x), loop_fisher(model, x)) < 1e-10
    assert all(value.isfinite().all() for value in mas(model, x).values())
    with pytest.raises(ValueError, match="shared by two layers|used outside the layer"):
        local_mas(model, x)
    with pytest.raises(ValueError, match='scope="global"'):
        short(MAS(0.1, scope="local"), build)
