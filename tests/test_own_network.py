"""Every method on a network that the package does not know, and what it says where it cannot."""

import copy
import functools

import oracles
import pytest
import torch
from oracles import (
    F64,
    Convolutional,
    SharedParameter,
    Tied,
    compiled,
    distance,
    loop_fisher,
    small_network,
    small_stream,
)
from torch import nn

from cl_lib import EWC, L2, MAS, SI, ConvNet, Finetune, Joint, fisher, fit, mas, training
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
from cl_lib.methods.base import Method
from cl_lib.streams import from_tensors

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


@pytest.mark.parametrize("build", [Mine, lambda: ConvNet((1, 2, 3), (2,), 4, 3)])
def test_inhibition_between_the_pixels_of_a_map_is_refused(build):
    with pytest.raises(ValueError, match="inhibition acts between the neurons of flat layers"):
        short(SLNID(0.1), build)


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


class Attentive(nn.Module):
    """Attention between the two halves of an input, or by mistake between the samples of a batch."""

    def __init__(self, batch_first):
        super().__init__()
        self.look, self.last = nn.MultiheadAttention(3, 1, batch_first=batch_first), nn.Linear(6, 3)

    def forward(self, x):
        halves = x.unflatten(1, (2, 3))
        return self.last((halves + self.look(halves, halves, halves)[0]).flatten(1))


class Read(nn.Module):
    """Numbers are read as words, of which the last is padding."""

    def __init__(self):
        super().__init__()
        self.words, self.last = nn.Embedding(4, 2, padding_idx=3), nn.Linear(12, 3)

    def forward(self, x):
        return self.last(self.words(x.abs().long().clamp(max=3)).flatten(1))


class Recurrent(nn.Module):
    """Reads an input number by number."""

    def __init__(self):
        super().__init__()
        self.read, self.last = nn.GRU(1, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.last(self.read(x[..., None])[0][:, -1])


class Alone(nn.Module):
    """Loses the axis of the samples where there is one only."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        return self.last(x).squeeze()


class Two(nn.Linear):
    """Gives more than its logits."""

    def forward(self, x):
        return super().forward(x), x


@pytest.mark.parametrize("method", [EWC(5.0), SI(1.0), MAS(0.5), Finetune()])
def test_attention_trains_and_its_replicas_end_as_they_would_alone(method):
    together = short(method, lambda: Attentive(batch_first=True), seeds=(0, 1))
    alone = short(method, lambda: Attentive(batch_first=True), seeds=(1,))
    assert distance({name: p[1:] for name, p in together.params.items()}, alone.params) < 1e-8


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Attentive(batch_first=False), "mixes the samples of a batch.*batch_first=True"),
        (Alone, "model fails on a batch of one sample"),
    ],
)
def test_networks_in_which_samples_see_each_other_are_refused(build, message):
    for seeds in ((0,), (0, 1)):
        with pytest.raises(ValueError, match=message):
            short(Finetune(), build, seeds=seeds)
    for measure in (fisher, mas):
        with pytest.raises(ValueError, match=message):
            measure(build().to(F64), STREAM[0].train.x)


def test_randomness_is_not_taken_for_mixing():
    class Noisy(nn.Linear):
        def forward(self, x):
            return super().forward(x + torch.rand(()))

    assert short(Finetune(), lambda: Noisy(6, 3)).accuracy.shape == (1, 3, 3)
    for method, seeds in ((Finetune(), (0, 1)), (EWC(1.0), (0,)), (MAS(0.1), (0,))):
        with pytest.raises(ValueError, match=r"draws random numbers in evaluation mode.*self.training"):
            short(method, lambda: Noisy(6, 3), seeds=seeds)


@pytest.mark.parametrize(
    ("build", "message"), [(Read, "padding_idx"), (Recurrent, "cannot be trained side by")]
)
def test_what_vmap_cannot_do_is_refused_for_several_replicas_only(build, message):
    for method in (Finetune(), LwF(1.0), L2(0.5), Replay(per_task=5)):
        assert short(method, build).accuracy.shape == (1, 3, 3)
    with pytest.raises(ValueError, match=message + ".*one seed and one strength at a time"):
        short(Finetune(), build, seeds=(0, 1))


class Drawn(nn.Linear):
    """Multiplies its inputs by numbers of its own, drawn when it is built."""

    def __init__(self, make=lambda draw: draw):
        super().__init__(6, 3)
        self.gain = make(torch.rand(6) * 5)

    def forward(self, x):
        gain = torch.as_tensor(self.gain).to(x)
        return super().forward(x * gain)


class ReadByHand(Read):
    """As Read, by the function."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(4, 2)

    def forward(self, x):
        read = nn.functional.embedding(x.abs().long().clamp(max=3), self.words.weight, padding_idx=0)
        return self.last(read.flatten(1))


@pytest.mark.parametrize("make", [lambda draw: draw, lambda draw: draw.tolist()], ids=["tensor", "list"])
def test_what_differs_between_seeds_is_a_parameter(make):
    random = torch.get_rng_state()
    with pytest.raises(ValueError, match="other logits for seed 7 beside other seeds.*requires_grad=False"):
        short(Finetune(), lambda: Drawn(make), seeds=(4, 7))
    assert short(L2((0.1, 1.0)), lambda: Drawn(make)).accuracy.shape == (2, 3, 3), "one seed, one number"

    def frozen():
        return Drawn(lambda draw: nn.Parameter(draw, requires_grad=False))

    together, alone = short(seeds=(4, 7), build=frozen), short(seeds=(7,), build=frozen)
    assert distance({name: p[1:] for name, p in together.params.items()}, alone.params) < 1e-8
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("options", [{"seeds": (0, 1)}, {"method": L2((0.1, 1.0))}])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_gradients_that_replicas_get_wrong_are_found(options, dtype):
    with pytest.raises(ValueError, match="model gets other gradients in several replicas.*padding_idx"):
        short(build=ReadByHand, dtype=dtype, **options)
    assert short(build=ReadByHand, dtype=dtype).accuracy.shape == (1, 3, 3)
    assert short(build=Mine, dtype=dtype, **options).accuracy.shape == (2, 3, 3)


def test_what_vmap_cannot_do_in_training_mode_is_refused_before_training():
    class Branching(nn.Linear):
        def forward(self, x):
            return super().forward(x if not self.training or x.sum().item() > 0 else x)

    random = torch.get_rng_state()
    with pytest.raises(ValueError, match=r"cannot be trained side by side .*nn.GRUCell or nn.RNNCell will"):
        short(build=lambda: Branching(6, 3), seeds=(0, 1))
    assert short(build=lambda: Branching(6, 3)).accuracy.shape == (1, 3, 3)
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("cell", [nn.GRUCell, nn.RNNCell, nn.LSTMCell])
def test_which_cells_replicas_have_side_by_side(cell):
    class ByStep(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.last = cell(1, 4), nn.Linear(4, 3)

        def forward(self, x):
            state = zeros = x.new_zeros(len(x), 4)
            for one in x.split(1, 1):
                state = self.cell(one, (state, zeros))[0] if cell is nn.LSTMCell else self.cell(one, state)
            return self.last(state)

    if cell is nn.LSTMCell:
        with pytest.raises(ValueError, match="cannot be trained side by side"):
            short(build=ByStep, seeds=(0, 1))
        return
    for method in (EWC(1.0), MAS(0.1)):
        assert short(method, ByStep, seeds=(0, 1)).accuracy.shape == (2, 3, 3)


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
@pytest.mark.parametrize("layer", [nn.ReLU, nn.Dropout])
def test_a_network_that_writes_into_the_data_is_refused(layer, seeds):
    def build():
        return nn.Sequential(layer(inplace=True), nn.Linear(6, 3))

    x, y = STREAM[0].train.x - 0.5, STREAM[0].train.y
    before, own = x.clone(), [(x, y)] * 2
    with pytest.raises(ValueError, match=r"model writes into its inputs.*inplace=False"):
        fit(build, from_tensors(own, test=own, validation=own), seeds=seeds, dtype=F64)
    if layer is nn.ReLU:  # dropout does nothing where importance is measured
        with pytest.raises(ValueError, match="model writes into its inputs"):
            fisher(build().to(F64), x)
    assert torch.equal(x, before) and (before < 0).any()


class Counting(nn.Module):
    """Changes a buffer whenever it is trained."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(6, 3)
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x):
        if self.training:
            self.steps += 1
        return self.last(x)


def test_a_buffer_that_training_changes_belongs_to_one_network():
    run = short(Finetune(), Counting, batch_size=30, epochs=1)
    assert run.model().steps == sum(-(-len(task.train) // 30) for task in STREAM)
    for method, options in (
        (Finetune(), {"seeds": (0, 1)}),
        (L2((0.1, 1.0)), {}),
        (Joint(), {}),
    ):
        with pytest.raises(ValueError, match="model changes its buffer 'steps' when it is called in train"):
            short(method, Counting, **options)


def test_a_buffer_may_be_nan():
    class Unset(Counting):
        def __init__(self):
            super().__init__()
            self.steps.fill_(torch.nan)

    assert short(Finetune(), lambda: Unset().eval(), seeds=(0, 1)).accuracy.shape == (2, 3, 3)


class Remembering(nn.Module):
    """Keeps what it has last computed."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 4), nn.Linear(4, 3)
        self.scale = nn.Parameter(torch.ones(4))  # no closed form for it

    def forward(self, x):
        self.seen = torch.relu(self.first(x)) * self.scale
        return self.last(self.seen)


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
@pytest.mark.parametrize("method", [Finetune(), EWC(1.0), LwF(1.0)])
def test_a_network_that_keeps_its_activations_can_be_copied(method, seeds):
    model = short(method, Remembering, seeds=seeds).model()
    x, y = STREAM[0].train.x, STREAM[0].train.y
    kinds = [functools.partial(fisher, y=y, kind=kind) for kind in FISHER_KINDS]
    for measure in (*kinds, mas, functools.partial(mas, function="probabilities")):
        measure(model, x)
        assert torch.equal(copy.deepcopy(model)(STREAM[0].test.x), model(STREAM[0].test.x))


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (compiled, TypeError, "compiled by torch.jit"),
        (lambda: nn.DataParallel(nn.Linear(6, 3)), TypeError, "model is a DataParallel"),
        (
            lambda: nn.Sequential(nn.DataParallel(nn.Linear(6, 3))),
            TypeError,
            "part '0' of model is a DataPar",
        ),
        (lambda: nn.EmbeddingBag(4, 3, sparse=True), ValueError, "model is an EmbeddingBag with sparse=True"),
    ],
)
def test_modules_that_pytorch_cannot_call_with_other_weights_are_refused(build, error, message):
    for model in (build, build()):
        with pytest.raises(error, match=message):
            fit(model, STREAM)


def test_gradients_that_the_caller_has_switched_off_are_switched_on():
    with torch.no_grad():
        run = short(EWC(1.0), seeds=(0, 1))
    assert distance(run.params, short(EWC(1.0), seeds=(0, 1)).params) == 0
    with torch.inference_mode(), pytest.raises(ValueError, match=r"torch.inference_mode\(\) is on"):
        short()


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_a_network_may_have_no_gradient_in_evaluation_mode(seeds):
    class Graded(nn.Linear):
        def forward(self, x):
            with torch.set_grad_enabled(self.training):
                return super().forward(x)

    assert short(Finetune(), lambda: Graded(6, 3), seeds=seeds).accuracy.shape == (len(seeds), 3, 3)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_scripted_parts_without_weights_are_used():
    def build():
        return nn.Sequential(nn.Linear(6, 4), torch.jit.script(nn.ReLU()), nn.Linear(4, 3))

    assert short(EWC(1.0), build, seeds=(0, 1)).accuracy.shape == (2, 3, 3)


def test_complex_weights_have_an_importance():
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(3))
            self.turn = nn.Parameter(torch.randn(6, 3, dtype=torch.complex128))

        def forward(self, x):
            return (x.to(torch.complex128) @ self.turn).real + self.shift

    found = fisher(Turned(), STREAM[0].train.x)
    assert found.keys() == {"turn", "shift"} and found["turn"].abs().max() > 0


def test_training_leaves_the_network_that_was_given_as_it_was():
    mine = Mine()
    before = {name: p.clone() for name, p in mine.state_dict().items()}
    run = short(Finetune(), lambda: mine)
    assert run.network is not mine
    assert all(torch.equal(p, before[name]) for name, p in mine.state_dict().items())
    assert {p.dtype for p in mine.parameters()} == {torch.float32} and run.params["mouth.bias"].dtype == F64


class Shuffled(nn.Module):
    """Reads its inputs in an order of its own: indices, as a frozen parameter or as a buffer."""

    def __init__(self, kind):
        super().__init__()
        order = torch.randperm(6)
        if kind == "parameter":
            self.order = nn.Parameter(order, requires_grad=False)
        else:
            self.register_buffer("order", order)
        self.middle, self.mouth = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x, hidden=False):
        thought = torch.relu(self.middle(x[:, self.order]))
        return (self.mouth(thought), [thought]) if hidden else self.mouth(thought)


WITH_INDICES = [*(name for name in METHODS if "local" not in name and name[0] != "S"), "SI"]


@pytest.mark.parametrize("method", [*(METHODS[name] for name in WITH_INDICES), SLNID(0.1)])
def test_whole_numbers_among_the_parameters_change_nothing(method):
    one, other = (short(method, lambda kind=kind: Shuffled(kind)) for kind in ("parameter", "buffer"))
    assert one.params["order"].dtype == torch.int64
    assert all(torch.allclose(one.params[name], p, atol=1e-9) for name, p in other.params.items())
    assert short(method, lambda: Shuffled("parameter"), seeds=(0, 1)).accuracy.shape == (2, 3, 3)


PENALTIES = ["L2", "EWC exact", "EWC batched", "EWC latest", "SI", "MAS", "local MAS"]


@pytest.mark.parametrize("method", [METHODS[name] for name in PENALTIES], ids=PENALTIES)
def test_what_is_frozen_is_not_held(method):
    def build():
        model = Mine()
        model.eye.requires_grad_(False)
        return model

    run = short(method, build, seeds=(0, 1))
    [(_, penalty)] = method.penalties(run.state)
    trained = {name for name, p in build().named_parameters() if p.requires_grad}
    assert penalty.importance.keys() == penalty.centre.keys() == trained
    torch.manual_seed(1)
    assert torch.equal(run.params["eye.bias"][1], build().eye.bias.to(F64))


def test_more_than_logits_is_refused():
    message = "model returns a tuple, but must return its logits alone"
    for seeds in ((0,), (0, 1)):
        with pytest.raises(TypeError, match=message):
            short(Finetune(), lambda: Two(6, 3), seeds=seeds)
    with pytest.raises(TypeError, match=message):
        fisher(Two(6, 3).to(F64), STREAM[0].train.x)


def test_a_network_with_nothing_to_train_or_to_measure_is_refused():
    with pytest.raises(ValueError, match="model has no weight to train: each is frozen"):
        short(Finetune(), lambda: small_network().requires_grad_(False))
    for measure in (fisher, mas, local_mas):
        with pytest.raises(ValueError, match="model has no weights"):
            measure(nn.Flatten(), STREAM[0].train.x)


def test_an_answer_that_is_nan_is_no_answer():
    class Normalised(nn.Linear):
        def forward(self, x):
            return super().forward((x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True))

    blank = (torch.ones(4, 6), torch.zeros(4, dtype=torch.int64))
    given = [(task.train.x, task.train.y) for task in STREAM]
    stream = from_tensors(given, test=[blank, *given[1:]])
    with pytest.raises(
        FloatingPointError, match=r"replicas \[0, 1\] of 2 give NaN for a test sample of 'task 1'"
    ):
        oracles.short(Finetune(), stream, lambda: Normalised(6, 3), seeds=(0, 1))


@pytest.mark.parametrize("shape", ["one for all replicas", "one for each sample"])
def test_what_a_method_adds_to_the_loss_is_one_number_for_each_replica(shape):
    class Own(Method):
        def extra_loss(self, state, population, batch):
            sizes = (batch.logits**2).mean(-1)
            return sizes.mean() if shape == "one for all replicas" else sizes

    with pytest.raises(
        ValueError, match=r"extra_loss of Own has shape .*one number for each replica, \(2,\)"
    ):
        short(Own(), small_network, seeds=(0, 1))


def test_inhibition_needs_the_tensors_that_the_logits_are_made_of(monkeypatch):
    class Copies(Mine):
        def forward(self, x, hidden=False):
            logits, activations = super().forward(x, hidden=True)
            return (logits, [a.clone() for a in activations]) if hidden else logits

    monkeypatch.setattr(training._Trainer, "_train_step", lambda *_: pytest.fail("training had begun"))
    with pytest.raises(ValueError, match="hidden activations that its logits are not made of"):
        short(SLNID(0.1, **FLAT), Copies)
