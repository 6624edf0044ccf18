"""``fit`` against an ordinary PyTorch loop, one network and one sample at a time."""

import copy
import io
import math
import random
import sys

import numpy as np
import pytest
import torch
from oracles import (
    F64,
    Convolutional,
    Embedded,
    Scaled,
    TwiceUsed,
    Unused,
    after_first_task,
    distance,
    plain_training,
    replica,
    same_bits,
    share_right,
    small_stream,
    weights_of,
)
from torch import nn

from cl_lib import (
    EWC,
    L2,
    MAS,
    MLP,
    SI,
    ConvNet,
    Finetune,
    Joint,
    MemoryMLP,
    fit,
    per_sample,
    population,
    streams,
    tasks,
    training,
)
from cl_lib.data import Split
from cl_lib.methods import SLNID, LwF, Replay, combine
from cl_lib.methods.base import strength_of
from cl_lib.optimizers import Optimizer
from cl_lib.population import Population, masked
from cl_lib.settings import Settings
from cl_lib.tasks import Stream

STREAM = small_stream()
SCENARIOS = {scenario: small_stream(scenario=scenario) for scenario in tasks.SCENARIOS}
OPTIMIZERS = {
    "sgd": ({"momentum": 0.0}, lambda p: torch.optim.SGD(p, lr=0.1)),
    "momentum": ({"momentum": 0.9}, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
    "adam": ({"optimizer": "adam"}, lambda p: torch.optim.Adam(p, lr=0.1)),
}
each_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS)


def network():
    return MLP(6, (5,), 3)


def network_for(stream):
    return lambda: MLP(6, (5,), stream.n_outputs)


def short(build=network, stream=STREAM, method=None, **options):
    settings = {"epochs": 2, "batch_size": 8, "lr": 0.1, "dtype": F64} | options
    return fit(build, stream, method, **settings)


# One replica is an ordinary loop


@pytest.mark.parametrize("joint", [False, True], ids=["finetune", "joint"])
@pytest.mark.parametrize("scenario", SCENARIOS)
@each_optimizer
def test_one_replica_is_an_ordinary_loop(optimizer, scenario, joint):
    stream, (options, make_optimizer) = SCENARIOS[scenario], OPTIMIZERS[optimizer]
    after = plain_training(network_for(stream), stream, make_optimizer, seed=3, joint=joint)
    method = Joint() if joint else Finetune()
    run = short(network_for(stream), stream, method, seeds=(3,), **options)
    assert distance(replica(run.params, 0), weights_of(after[-1])) < 1e-10
    assert distance(weights_of(run.model()), weights_of(after[-1])) < 1e-10
    expected = [[share_right(model, task.test, task.outputs) for task in stream] for model in after]
    np.testing.assert_allclose(run.accuracy[0], expected, rtol=1e-12)
    torch.manual_seed(3)
    start = network_for(stream)().to(F64)
    initial = [share_right(start, task.test, task.outputs) for task in stream]
    np.testing.assert_allclose(run.initial[0], initial, rtol=1e-12)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_a_kept_optimizer_takes_its_averages_along(optimizer, scenario):
    stream, (options, make_optimizer), made = SCENARIOS[scenario], OPTIMIZERS[optimizer], []

    def one_for_all(params):
        made.append(made[0] if made else make_optimizer(params))
        return made[-1]

    after = plain_training(network_for(stream), stream, one_for_all, seed=3)
    for seeds in ((3,), (0, 3)):
        kept = short(network_for(stream), stream, seeds=seeds, keep_optimizer=True, **options)
        assert distance(replica(kept.params, -1), weights_of(after[-1])) < 1e-10
    new = short(network_for(stream), stream, seeds=(3,), **options)
    assert distance(replica(new.params, 0), weights_of(after[-1])) > 1e-3


def test_where_the_weights_start_anew_so_does_a_kept_optimizer():
    expected = short(method=Joint(), optimizer="adam")
    kept = short(method=Joint(), optimizer="adam", keep_optimizer=True)
    assert distance(kept.params, expected.params) == 0


@each_optimizer
def test_the_step_of_a_unit_of_steady_gradient(optimizer):
    options = {"momentum": 0.0, "optimizer": "sgd"} | OPTIMIZERS[optimizer][0]
    settings = Settings(1, 1, 0.1, keep_optimizer=False, evaluate="test", curve_every=None, **options)
    params, slope = {"w": torch.zeros(1, 2, dtype=F64)}, torch.tensor([[1e-7, -0.5]], dtype=F64)
    steps = Optimizer(params, settings)
    for _ in range(300):
        before = params["w"].clone()
        steps.step({"w": slope})
    torch.testing.assert_close(before - params["w"], steps.step_size("w") * slope, rtol=1e-4, atol=0)


@pytest.mark.parametrize("build", [TwiceUsed, Convolutional, Embedded, Scaled, Unused])
def test_any_network_is_trained_as_by_an_ordinary_loop(build):
    options, make_optimizer = OPTIMIZERS["momentum"]
    after = plain_training(build, STREAM, make_optimizer, seed=1)
    for seeds in ((1,), (0, 1)):
        run = short(build, seeds=seeds, **options)
        assert distance(replica(run.params, -1), weights_of(after[-1])) < 1e-10


def test_every_replica_of_a_population_is_an_ordinary_loop():
    options, make_optimizer = OPTIMIZERS["momentum"]
    run = short(seeds=(5, 0, 2), **options)
    for r, seed in enumerate((5, 0, 2)):
        after = plain_training(network, STREAM, make_optimizer, seed=seed)
        assert distance(replica(run.params, r), weights_of(after[-1])) < 1e-10


@pytest.mark.parametrize("n", [1, 200, 201, 450])
@pytest.mark.parametrize("n_replicas", [1, 2])
def test_accuracy_counts_every_image_once(n, n_replicas):
    networks = [network().to(F64) for _ in range(n_replicas)]
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(n), dtype=F64)
    y = torch.arange(n) % 3
    found = Population(networks).accuracy(x, y, (0, 3))
    expected = [(each(x).argmax(1) == y).double().mean().item() for each in networks]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_bytes_are_divided_by_255():
    def as_numbers(split):
        return Split(split.x.to(F64) / 255, split.y)

    x = torch.randint(256, (30, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pairs = [(x, torch.arange(30) % 3)]
    stream = streams.from_tensors(pairs, test=pairs, validation=pairs)
    numbers = [(x.to(F64) / 255, torch.arange(30) % 3)]
    expected = short(stream=streams.from_tensors(numbers, test=numbers, validation=numbers))
    assert distance(short(stream=stream).params, expected.params) < 1e-12


def test_validation_is_what_is_measured_if_asked_for():
    test, validation = short(seeds=(0, 1)), short(seeds=(0, 1), evaluate="validation")
    assert same_bits(test.params, validation.params)
    for run, part in ((test, "test"), (validation, "validation")):
        for r in range(2):
            row = [share_right(run.model(r), getattr(task, part), task.outputs) for task in STREAM]
            np.testing.assert_allclose(run.accuracy[r, -1], row, rtol=1e-12)
    assert (test.accuracy != validation.accuracy).any()


# A population is its replicas


POPULATIONS = {
    "finetune": Finetune(),
    "joint": Joint(),
    "L2": L2((0.1, 2.0)),
    "EWC": EWC((0.0, 1.0, 50.0)),
    "EWC sampled": EWC(10.0, fisher="sampled"),
    "EWC empirical, latest": EWC((3.0, 0.5), fisher="empirical", anchors="latest", gamma=0.5),
    "EWC gradient": EWC((0.5, 2.0), step="gradient"),
}


def alone(method, strength):
    kind = type(method)
    settings = {k: v for k, v in vars(method).items() if k != "strength"}
    return kind(strength=strength, **settings) if settings else kind()


@pytest.mark.filterwarnings("ignore::cl_lib.methods.IneffectivePenalty")
@each_optimizer
@pytest.mark.parametrize("method", POPULATIONS.values(), ids=POPULATIONS)
def test_replicas_end_where_they_would_have_ended_alone(method, optimizer):
    seeds, options = (4, 0, 7), OPTIMIZERS[optimizer][0] | {"curve_every": 2, "lr": 0.05}
    together = short(method=method, seeds=seeds, **options)
    strengths = np.atleast_1d(strength_of(method)).tolist()
    pairs = [(strength, seed) for strength in strengths for seed in seeds]
    assert list(zip(together.strength, together.seeds, strict=True)) == pairs
    for r, (strength, seed) in enumerate(pairs):
        single = short(method=alone(method, strength), seeds=(seed,), **options)
        assert distance(replica(together.params, r), replica(single.params, 0)) < 1e-9
        np.testing.assert_allclose(together.accuracy[r], single.accuracy[0])
        np.testing.assert_allclose(together.initial[r], single.initial[0])
        np.testing.assert_allclose(together.curves.accuracy[r], single.curves.accuracy[0])
    finals = [replica(together.params, r)["layers.0.weight"] for r in range(len(pairs))]
    assert all(not torch.equal(a, b) for i, a in enumerate(finals) for b in finals[:i])


@pytest.mark.parametrize("scenario", ["task", "class"])
@pytest.mark.parametrize("method", [Joint(), EWC(5.0)], ids=["joint", "EWC"])
def test_ten_seeds_with_heads_of_their_own(method, scenario):
    stream = SCENARIOS[scenario]
    build, seeds = network_for(stream), range(10)
    together = short(build, stream, method, seeds=seeds)
    for seed in seeds:
        single = short(build, stream, method, seeds=(seed,))
        assert distance(replica(together.params, seed), replica(single.params, 0)) < 1e-9
        np.testing.assert_allclose(together.accuracy[seed], single.accuracy[0])


@pytest.mark.filterwarnings("ignore::cl_lib.methods.IneffectivePenalty")
@pytest.mark.parametrize("side_by_side", [False, True], ids=["as on a CPU", "as on a GPU"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_ten_seeds_of_a_convolutional_network(optimizer, side_by_side, monkeypatch):
    if side_by_side:
        monkeypatch.setattr(population, "convolves_on_cpu", lambda network: False)
        monkeypatch.setattr(per_sample, "convolves_on_cpu", lambda network: False)
    stream = small_stream(shape=(1, 2, 3))

    def build():
        return ConvNet((1, 2, 3), channels=(3,), hidden=4, n_outputs=3)

    together = short(build, stream, EWC(5.0), seeds=range(10), optimizer=optimizer, epochs=1)
    for seed in range(10):
        single = short(build, stream, EWC(5.0), seeds=(seed,), optimizer=optimizer, epochs=1)
        assert distance(replica(together.params, seed), replica(single.params, 0)) < 1e-6


# Scenarios


def first_tasks(n, stream):
    return Stream(stream.name, stream.scenario, stream.tasks[:n], stream.n_outputs)


@each_optimizer
@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_heads_of_other_tasks_do_not_move(optimizer, seeds):
    stream, options = small_stream(3, scenario="task"), OPTIMIZERS[optimizer][0]
    build, heads = network_for(stream), ["layers.1.weight", "layers.1.bias"]
    after = [short(build, first_tasks(n, stream), seeds=seeds, **options).params for n in (1, 2, 3)]
    torch.manual_seed(0)
    before = weights_of(build().to(F64))
    for name in heads:
        assert torch.equal(after[0][name][0, 3:], before[name][3:])
        for t in (1, 2):
            own = slice(3 * t, 3 * t + 3)
            assert not torch.equal(after[t][name][:, own], after[t - 1][name][:, own])
            assert torch.equal(after[t][name][:, : 3 * t], after[t - 1][name][:, : 3 * t])
            assert torch.equal(after[t][name][:, 3 * t + 3 :], after[t - 1][name][:, 3 * t + 3 :])


def test_all_outputs_compete_in_the_class_scenario():
    stream = SCENARIOS["class"]
    run = short(network_for(stream), first_tasks(1, stream), epochs=10)
    torch.manual_seed(0)
    before = network_for(stream)().to(F64).layers[-1].bias.detach()
    assert (run.params["layers.1.bias"][0, 3:] < before[3:]).all()
    run = short(network_for(stream), stream, epochs=10)
    assert run.accuracy[0, 1, 0] == 0, "after task 2 nothing is taken for a class of task 1"


def test_masked():
    logits = torch.arange(6.0).reshape(2, 3)
    assert masked(logits, (0, 3)) is logits
    gone = -math.inf
    assert masked(logits, (1, 2)).tolist() == [[gone, 1, gone], [gone, 4, gone]]
    pairs = torch.tensor([[0, 1], [1, 3]])
    assert masked(logits, pairs).tolist() == [[0, gone, gone], [gone, 4, 5]]


# Curves


@pytest.mark.parametrize("method", [EWC(1.0), Joint()], ids=["EWC", "joint"])
def test_curves_meet_the_accuracy_matrix_at_the_boundaries(method):
    every = 2
    run = short(method=method, seeds=(0, 1), curve_every=every, epochs=2, batch_size=10)
    ends = [4, 12] if isinstance(method, Joint) else [4, 8]
    curves = run.curves
    assert curves.boundaries.tolist() == ends
    assert curves.step.tolist() == list(range(0, ends[-1] + 1, every))
    assert curves.accuracy.shape == (2, len(curves.step), 2)
    np.testing.assert_array_equal(curves.accuracy[:, 0], run.initial)
    for t, end in enumerate(ends):
        np.testing.assert_array_equal(curves.accuracy[:, end // every], run.accuracy[:, t])


def test_curves_show_what_training_for_fewer_steps_gives():
    run = short(curve_every=3, epochs=4, batch_size=20)  # one step an epoch
    assert run.curves.step.tolist() == [0, 3, 6]
    assert run.curves.boundaries.tolist() == [4, 8]
    early = short(stream=first_tasks(1, STREAM), epochs=3, batch_size=20)
    assert run.curves.accuracy[0, 1, 0] == early.accuracy[0, 0, 0]


@pytest.mark.parametrize("build", [network, lambda: MemoryMLP(6, (5,), 3, n_tasks=2)], ids=["MLP", "memory"])
def test_looking_changes_nothing(build):
    plain, watched = short(build), short(build, curve_every=1)
    assert plain.curves is None and watched.curves is not None
    assert same_bits(plain.params, watched.params)
    np.testing.assert_array_equal(plain.accuracy, watched.accuracy)


# What a run holds


def test_run_describes_itself():
    method = EWC((1.0, 5.0))
    run = short(method=method, seeds=(3, 1))
    assert run.accuracy.shape == (4, 2, 2) and run.initial.shape == (4, 2)
    assert run.seeds.tolist() == [3, 1, 3, 1] and run.strength.tolist() == [1, 1, 5, 5]
    assert run.method is method and run.seconds > 0
    assert all(len(p) == 4 and p.dtype == F64 for p in run.params.values())
    assert all(torch.isfinite(run.state.value(run.params)).tolist())
    assert short().state is None


def test_defaults_are_one_float32_replica_without_protection():
    run = fit(network, STREAM, epochs=1)
    assert run.method == Finetune() and run.seeds.tolist() == [0] and run.strength.tolist() == [0]
    assert {p.dtype for p in run.params.values()} == {torch.float32}


def test_model_is_a_copy_with_the_weights_of_its_replica():
    run = short(seeds=(0, 1))
    kept = copy.deepcopy(run.params)
    for r in range(2):
        model = run.model(r)
        assert same_bits(weights_of(model), replica(run.params, r))
        with torch.no_grad():
            for p in model.parameters():
                p.add_(1)
    assert same_bits(run.params, kept)
    assert same_bits(weights_of(run.model()), replica(kept, 0))
    assert run.model(0) is not run.model(0)


def test_model_of_a_network_with_shared_weights():
    def build():
        model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Linear(6, 3))
        model[2].weight = model[0].weight
        return model

    run = short(build)
    model = run.model()
    assert model[2].weight is model[0].weight
    assert torch.equal(model[2].weight, run.params["0.weight"][0])


def test_at_gives_the_replicas_of_one_strength():
    run = short(method=EWC((1.0, 5.0, 0.0)), seeds=(3, 1), curve_every=4)
    part = run.at(5)
    assert part.seeds.tolist() == [3, 1] and part.strength.tolist() == [5, 5]
    np.testing.assert_array_equal(part.accuracy, run.accuracy[2:4])
    np.testing.assert_array_equal(part.initial, run.initial[2:4])
    np.testing.assert_array_equal(part.curves.accuracy, run.curves.accuracy[2:4])
    np.testing.assert_array_equal(part.curves.step, run.curves.step)
    assert same_bits(part.params, {name: p[2:4] for name, p in run.params.items()})
    assert same_bits(weights_of(part.model(1)), replica(run.params, 3))
    assert short(method=EWC((1.0, 2.0))).at(1.0).curves is None
    with pytest.raises(ValueError, match="strength is 2.0, but this run was trained with 0, 1, 5"):
        run.at(2.0)


def test_at_does_not_mix_settings_that_share_a_strength():
    run = short(method=combine(EWC((1.0, 1.0, 2.0)), SLNID((0.1, 0.2, 0.2))), seeds=(3, 1))
    assert run.at(2.0).seeds.tolist() == [3, 1]
    with pytest.raises(ValueError, match=r"strength is 1.0, with which several settings.*\[0, 1, 2, 3\]"):
        run.at(1.0)


def test_at_tells_tiny_strengths_apart():
    strengths = (0.0, 1e-9, 1e-12, 1.0, 1.00001)
    run = short(method=EWC(strengths))
    assert [len(run.at(strength).seeds) for strength in strengths] == [1] * 5
    assert len(run.at(float(np.float32(1.00001))).seeds) == 1


# What is left alone


def test_model_instance_is_the_start_and_is_not_changed():
    torch.manual_seed(8)
    model = network()
    model.layers[0].eval()
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    run = short(model, seeds=(2,))
    assert same_bits(dict(model.state_dict()), dict(before))
    assert [m.training for m in model.modules()] == modes
    assert all(p.dtype == torch.float32 and p.grad is None for p in model.parameters())
    expected = short(lambda: copy.deepcopy(model), seeds=(2,))
    assert same_bits(run.params, expected.params)


def test_stream_is_not_changed():
    stream = small_stream()
    short(stream=stream, method=EWC(1.0))
    for task, expected in zip(stream, small_stream(), strict=True):
        for part in ("train", "validation", "test"):
            assert torch.equal(getattr(task, part).x, getattr(expected, part).x)
            assert torch.equal(getattr(task, part).y, getattr(expected, part).y)


def with_dropout():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


@pytest.mark.parametrize("build", [network, with_dropout])
@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_global_random_states_are_neither_used_nor_moved(build, seeds):
    runs = []
    for noise in (1, 2):
        torch.manual_seed(noise), np.random.seed(noise), random.seed(noise)
        states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
        runs.append(short(build, method=EWC(1.0, fisher="sampled"), seeds=seeds))
        assert torch.equal(torch.get_rng_state(), states[0])
        assert (np.random.get_state()[1] == states[1]).all() and random.getstate() == states[2]
    assert same_bits(runs[0].params, runs[1].params)


def test_dropout_is_on_in_training_and_off_in_measuring():
    run = short(with_dropout, seeds=(0, 1), epochs=5)
    still = short(lambda: with_dropout().eval(), seeds=(0, 1), epochs=5)
    assert distance(run.params, still.params) > 1e-2
    for r in range(2):
        row = [share_right(run.model(r).eval(), task.test, task.outputs) for task in STREAM]
        np.testing.assert_allclose(run.accuracy[r, -1], row)
    assert not torch.equal(*run.params["0.weight"])


@pytest.mark.parametrize("build", [with_dropout, lambda: with_dropout().eval()])
def test_every_replica_has_dropout_of_its_own(build):
    # in the first task two strengths of one seed differ in nothing but what dropout draws
    run = after_first_task(lambda method: short(build, method=method), L2((1.0, 2.0)))
    first, second = (replica(run.params, r) for r in range(2))
    assert (distance(first, second) > 1e-3) == build().training


def test_dropout_is_drawn_by_the_seed():
    torch.manual_seed(0)
    model = with_dropout()
    one = [(torch.ones(1, 6, dtype=F64), torch.tensor([1]))]  # a single sample has no order to be drawn
    stream = streams.from_tensors(one, validation=one, test=one)
    first, second = (short(model, Stream("", "task", stream.tasks, 3), seeds=(seed,)) for seed in (0, 1))
    assert distance(first.params, second.params) > 1e-3


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
@pytest.mark.parametrize("method", [Finetune(), L2(1.0), EWC(1.0)])
def test_frozen_parameters_stay_as_they_are(method, seeds):
    def build():
        model = network()
        model.layers[0].weight.requires_grad_(False)
        return model

    run = short(build, method=method, seeds=seeds)
    torch.manual_seed(seeds[-1])
    before = build().to(F64)
    assert torch.equal(run.params["layers.0.weight"][-1], before.layers[0].weight)
    assert not torch.equal(run.params["layers.0.bias"][-1], before.layers[0].bias)


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_batch_normalisation_with_fixed_statistics_stays_fixed(seeds):
    def build():
        model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
        model[1].eval()
        return model

    run = short(build, method=EWC(1.0), seeds=seeds)
    model = run.model()
    assert (model[1].running_mean == 0).all() and (model[1].running_var == 1).all()
    assert not model[1].training and model[0].training

    def the_same_without():
        model = build()
        model[1] = Scale(model[1])
        return model

    class Scale(nn.Module):
        def __init__(self, norm):
            super().__init__()
            self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

        def forward(self, x):
            return x / math.sqrt(1 + self.eps) * self.weight + self.bias

    assert distance(run.params, short(the_same_without, method=EWC(1.0), seeds=seeds).params) < 1e-9


class Projected(nn.Module):
    def __init__(self, seed=None):
        super().__init__()
        draw = None if seed is None else torch.Generator().manual_seed(seed)
        self.register_buffer("projection", torch.randn(6, 6, generator=draw))
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        return self.layer(x @ self.projection)


def test_buffers_must_be_shared_by_all_seeds():
    with pytest.raises(ValueError, match="buffer 'projection' that differs between seeds"):
        short(Projected, seeds=(0, 1))
    together = short(lambda: Projected(5), seeds=(0, 1))
    single = short(lambda: Projected(5), seeds=(1,))
    assert distance(replica(together.params, 1), replica(single.params, 0)) < 1e-12
    short(Projected, seeds=(1,))


# Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("progress", "stream", "shown"),
    [
        (None, io.StringIO, False),
        (None, Terminal, True),
        (False, Terminal, False),
        (True, io.StringIO, True),
    ],
)
def test_progress_bar(progress, stream, shown, monkeypatch):
    for name in ("stderr", "stdout"):
        monkeypatch.setattr(sys, name, stream())
    short(progress=progress)
    assert sys.stdout.getvalue() == ""
    text = sys.stderr.getvalue()
    assert ("12/12" in text and "step" in text) if shown else text == ""


def test_progress_bar_counts_all_steps_of_joint_training(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    short(method=Joint(), progress=True)
    assert "16/16" in sys.stderr.getvalue()  # 2 epochs of 3 batches, then of 5


# Devices


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("method", [Joint(), EWC((1.0, 10.0), fisher="sampled")])
def test_gpu_and_cpu_agree(method, optimizer):
    runs = [
        short(method=method, seeds=(0, 1), optimizer=optimizer, device=device) for device in ("cpu", "cuda")
    ]
    on_gpu = {name: p.cpu() for name, p in runs[1].params.items()}
    assert distance(on_gpu, runs[0].params) < 1e-8


def test_auto_takes_the_gpu_if_there_is_one():
    device = next(iter(short(device="auto").params.values())).device.type
    assert device == ("cuda" if torch.cuda.is_available() else "cpu")


# What is refused, before any training


def no_network():
    return [1, 2]


ONE_TASK = first_tasks(1, STREAM)
ONE_NETWORK = network()
PROTECTING = {
    "L2": L2(1.0),
    "EWC": EWC((1.0, 2.0)),
    "SI": SI(1.0),
    "MAS": MAS(0.0),
    "LwF": LwF(1.0),
    "Replay": Replay(),
    "Combined": combine(EWC(1.0), Replay()),
}
REFUSED = [
    ({"epochs": 0}, ValueError, "epochs is 0, but must be a whole number, 1 or more"),
    ({"epochs": 1.5}, ValueError, "epochs is 1.5"),
    ({"batch_size": 0}, ValueError, "batch_size is 0"),
    ({"batch_size": None}, ValueError, "batch_size is None"),
    ({"curve_every": 0}, ValueError, "curve_every is 0"),
    ({"lr": 0.0}, ValueError, "lr is 0.0, but must be a finite number above 0"),
    ({"lr": math.inf}, ValueError, "lr is inf"),
    ({"lr": math.nan}, ValueError, "lr is nan"),
    ({"lr": "0.1"}, ValueError, "lr is '0.1'"),
    ({"lr": None}, ValueError, "lr is None"),
    *(
        ({"dtype": dtype}, ValueError, f"dtype is {dtype}, but must be torch.float32 or torch.float64")
        for dtype in (torch.float16, torch.bfloat16, torch.int64)
    ),
    *(
        (
            {"method": method, "dtype": torch.float32},
            ValueError,
            r"strength of EWC is 1e\+39, more than torch.float32",
        )
        for method in (
            EWC((1.0, 1e39)),
            combine(L2(1.0), EWC(1e39)),
            combine(L2(1.0), combine(Finetune(), EWC(1e39))),
        )
    ),
    ({"momentum": 1.0}, ValueError, r"momentum is 1.0, but must lie in \[0, 1\)"),
    ({"momentum": -0.1}, ValueError, "momentum is -0.1"),
    ({"optimizer": "rmsprop"}, ValueError, "optimizer is 'rmsprop', but must be one of sgd, adam"),
    ({"keep_optimizer": None}, ValueError, "keep_optimizer is None, but must be True or False"),
    ({"keep_optimizer": "yes"}, ValueError, "keep_optimizer is 'yes'"),
    ({"evaluate": "train"}, ValueError, "evaluate is 'train', but must be"),
    ({"seeds": ()}, ValueError, r"seeds is \[\], but must name at least one"),
    ({"seeds": (1, 1)}, ValueError, r"seeds is \[1, 1\], but must .* each once"),
    ({"seeds": (0, 0.5)}, TypeError, "seeds holds 0.5, but must be a whole number"),
    ({"seeds": (0, True)}, TypeError, "seeds holds True"),
    ({"seeds": (0, 2**64)}, ValueError, "seeds holds 18446744073709551616, but must lie between"),
    ({"seeds": 3}, TypeError, r"seeds is 3, but must be a sequence such as \(3,\)"),
    ({"seeds": None}, TypeError, r"seeds is None, but must be a sequence such as \(0,\)"),
    ({"seeds": 1.5}, TypeError, r"seeds is 1.5, but must be a sequence such as \(0,\)"),
    ({"seeds": "12"}, TypeError, r"seeds is '12', but must be a sequence such as \(0,\)"),
    ({"stream": [(1, 2)]}, TypeError, "stream is a list, .*streams.from_tensors"),
    ({"method": EWC}, TypeError, "method is <class .*, but must be a method such as Finetune()"),
    ({"method": "ewc"}, TypeError, "method is 'ewc'"),
    *(
        (
            {"method": method, "stream": ONE_TASK},
            ValueError,
            f"stream has one task, 'task 1', but {name} prot",
        )
        for name, method in PROTECTING.items()
    ),
    (
        {"build": network(), "seeds": (0, 1)},
        ValueError,
        "model is a network, but there are 2 seeds",
    ),
    *(
        (
            {"build": lambda: MemoryMLP(6, (5,), 3, n_tasks=3), "method": method},
            ValueError,
            f"model has parts of its own for each task .*, but {type(method).__name__} trains on examples of",
        )
        for method in (Joint(), Replay(), LwF(1.0), combine(EWC(1.0), Replay()))
    ),
    (
        {"build": lambda: ONE_NETWORK, "seeds": (0, 1)},
        ValueError,
        "model\\(\\) returned one and the same network for several seeds",
    ),
    ({"build": "mlp"}, TypeError, "model is a str, but must be an nn.Module or a function"),
    ({"build": no_network}, TypeError, r"model\(\) returned a list, but must build an nn.Module"),
    ({"build": lambda: MLP(6, (5,), 4)}, ValueError, r"outputs of shape \(4,\).*needs 3 logits"),
    ({"build": lambda: MLP(7, (5,), 3)}, ValueError, r"does not accept inputs of shape \(6,\)"),
    (
        {"build": lambda: nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3))},
        ValueError,
        "batch normalisation in training mode",
    ),
]


@pytest.mark.parametrize(("change", "error", "message"), REFUSED, ids=[m[:28] for *_, m in REFUSED])
@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_refuses(change, error, message, seeds, monkeypatch):
    def never(*_):
        raise AssertionError("training had begun")

    if "seeds" not in change and isinstance(change.get("build"), nn.Module):
        seeds = (0,)
    monkeypatch.setattr(training._Trainer, "train", never)
    with pytest.raises(error, match=message):
        short(**({"seeds": seeds} | change))


def test_parts_by_task_do_not_matter_where_there_is_one_task_or_no_index():
    short(lambda: MemoryMLP(6, (5,), 3, n_tasks=1), ONE_TASK, Joint())

    def flagged():
        model = MLP(6, (5,), 3)
        model.task = True
        return model

    short(flagged, method=Joint())


@pytest.mark.parametrize("method", [Finetune(), Joint(), SLNID(0.1), combine(SLNID(0.1), EWC(1.0))])
def test_one_task_is_enough_for_methods_that_do_more_than_protect(method):
    assert short(stream=ONE_TASK, method=method).accuracy.shape == (1, 1, 1)


def test_numpy_numbers_are_numbers():
    found = short(epochs=np.int64(2), lr=np.float64(0.1), seeds=np.arange(2))
    assert same_bits(found.params, short(seeds=(0, 1)).params)


def test_weights_that_are_infinite_have_diverged():
    people = Population([network() for _ in range(3)])
    people.params["layers.0.bias"][1, 0] = math.inf
    assert people.diverged() == [1]


def test_diverged_replicas_are_named():
    def build():
        model = network()
        if torch.initial_seed() == 1:
            model.layers[0].weight.data.fill_(first_weights)
        return model

    first_weights = 1e30
    with pytest.raises(FloatingPointError, match=r"replicas \[1\] of 3 diverged on 'task 1'"):
        short(build, seeds=(0, 1, 2), dtype=torch.float32)
    first_weights = math.nan
    with pytest.raises(ValueError, match=r"replicas \[1\] of 3 give NaN .* before any training"):
        short(build, seeds=(0, 1, 2))
