"""Methods that add a term to the loss: rehearsal, distillation, and plain regularisers."""

import pytest
import torch
from oracles import F64, after_first_task, distance, mean_loss, same_bits, small_stream
from torch import nn
from torch.nn import functional

from cl_lib import MLP, Finetune, fit
from cl_lib.methods import DeCov, L1Activations, L1Weights, LwF, Replay, WeightDecay
from cl_lib.methods.base import Batch
from cl_lib.population import Population, build_networks, masked
from cl_lib.tasks import Stream

METHODS = {"Replay": Replay, "LwF": LwF}
REGULARISERS = {"L1Activations": L1Activations, "L1Weights": L1Weights, "WeightDecay": WeightDecay}
REGULARISERS["DeCov"] = DeCov
every_method = pytest.mark.parametrize("make", (METHODS | REGULARISERS).values(), ids=METHODS | REGULARISERS)
every_regulariser = pytest.mark.parametrize("name", REGULARISERS)


def short(method=None, scenario="domain", n_tasks=2, **options):
    stream = small_stream(n_tasks, scenario)
    settings = {"epochs": 2, "batch_size": 8, "lr": 0.1, "dtype": F64} | options
    return fit(lambda: MLP(6, (5,), stream.n_outputs), stream, method, **settings)


def population(scenario="domain", seeds=(0, 1)):
    networks = []
    for seed in seeds:
        torch.manual_seed(seed)
        networks.append(MLP(6, (5, 4), small_stream(2, scenario).n_outputs).to(F64))
    return Population(networks, seeds=seeds)


def batch_of(people, x):
    logits, hidden = people.logits_and_hidden(x)
    return Batch(x, logits, hidden)


def inputs(n=7, seed=0):
    return torch.randn(2, n, 6, generator=torch.Generator().manual_seed(seed), dtype=F64)


@every_method
def test_strength_zero_is_fine_tuning_bit_for_bit(make):
    assert same_bits(short(make(0.0), seeds=(0, 1)).params, short(seeds=(0, 1)).params)


@every_method
def test_strength_above_zero_is_not_fine_tuning(make):
    assert distance(short(make(0.5)).params, short().params) > 1e-4


@pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)
def test_nothing_is_added_in_the_first_task(make):
    plain = after_first_task(short, Finetune())
    assert same_bits(after_first_task(short, make(3.0)).params, plain.params)


@every_method
def test_replicas_end_where_they_would_have_ended_alone(make):
    together = short(make((0.1, 0.5)), seeds=(0, 1))
    for r, (strength, seed) in enumerate([(0.1, 0), (0.1, 1), (0.5, 0), (0.5, 1)]):
        alone = short(make(strength), seeds=(seed,))
        for name, p in alone.params.items():
            assert torch.allclose(p[0], together.params[name][r], atol=1e-10)


@every_method
def test_refuses_a_negative_strength(make):
    with pytest.raises(ValueError, match="strength is -1, but must be a finite number >= 0"):
        make(-1)


def slow_term(name, model, x):
    """The term for one replica, unit by unit."""
    _, hidden = model(x, hidden=True)
    if name == "L1Activations":
        return sum(float(h[m].abs().sum()) for h in hidden for m in range(len(x))) / len(x)
    if name == "L1Weights":
        return sum(float(p.abs().sum()) for p in model.parameters())
    if name == "WeightDecay":
        return sum(float((p**2).sum()) for p in model.parameters()) / 2
    total = 0.0
    for h in hidden:
        for i in range(h.shape[1]):
            for j in range(h.shape[1]):
                if i != j:
                    a, b = h[:, i] - h[:, i].mean(), h[:, j] - h[:, j].mean()
                    total += 0.5 * float((a * b).mean() ** 2)
    return total


@pytest.mark.parametrize("name", ["DeCov", "L1Activations"])
def test_a_network_without_hidden_layers_has_no_activations_to_act_on(name):
    with pytest.raises(ValueError, match=f"model has no hidden layer, so {name} has nothing to act on"):
        fit(lambda: MLP(6, (), 3), small_stream(1), REGULARISERS[name](2.0), dtype=F64)


@every_regulariser
@torch.no_grad()
def test_term_against_a_loop(name):
    people, x = population(), inputs()
    found = REGULARISERS[name](2.0).extra_loss(None, people, batch_of(people, x))
    for r in range(2):
        model = MLP(6, (5, 4), 3).to(F64)
        model.load_state_dict({key: p[r] for key, p in people.params.items()})
        assert float(found[r]) == pytest.approx(2 * slow_term(name, model, x[r]), rel=1e-12)


@pytest.mark.parametrize("name", ["L1Activations", "DeCov"])
def test_term_is_a_mean_over_samples(name):
    people, x = population(), inputs()
    twice = torch.cat([x, x], dim=1)
    once = REGULARISERS[name](1.0).extra_loss(None, people, batch_of(people, x))
    assert torch.allclose(once, REGULARISERS[name](1.0).extra_loss(None, people, batch_of(people, twice)))


@pytest.mark.parametrize("scenario", ["domain", "task", "class"])
def test_memory_holds_examples_of_each_task(scenario):
    stream = small_stream(3, scenario)
    memory = fit(
        lambda: MLP(6, (5,), stream.n_outputs), stream, Replay(per_task=6), epochs=1, dtype=F64
    ).state
    assert len(memory.y) == len(memory.x) == len(memory.outputs) == 18
    places = []
    for t, task in enumerate(stream):
        for k in range(6 * t, 6 * t + 6):
            where = (task.train.x == memory.x[k]).all(1).nonzero().flatten()
            assert len(where) == 1 and task.train.y[where[0]] == memory.y[k]
            assert tuple(memory.outputs[k].tolist()) == task.outputs
            places.append(int(where[0]))
    assert places[:6] != places[6:12] != places[12:], "drawn anew for each task"


@pytest.mark.parametrize("n_tasks", [1, 2])
@torch.no_grad()
def test_replayed_loss_against_a_loop(n_tasks):
    people, stream = population("task"), small_stream(2, "task")
    method, memory = Replay(0.5, per_task=4), None
    for task in stream.tasks[:n_tasks]:
        memory = method.after_task(memory, people, task)
    states = [source.get_state() for source in memory.drawing]
    found = method.extra_loss(memory, people, Batch(inputs(), None, []))
    index = []
    for source, state in zip(memory.drawing, states, strict=True):
        source.set_state(state)
        index.append(torch.randint(4 * n_tasks, (7,), generator=source).tolist())
        assert {i // 4 for i in index[-1]} == {*range(n_tasks)}, "each task is practised"
    assert index[0] != index[1], "each seed practises examples of its own"
    for r in range(2):
        model = MLP(6, (5, 4), 6).to(F64)
        model.load_state_dict({key: p[r] for key, p in people.params.items()})
        expected = mean_loss(model, [(memory.x[i], memory.y[i], stream[i // 4].outputs) for i in index[r]])
        assert float(found[r]) == pytest.approx(0.5 * float(expected), rel=1e-12)


def test_memory_smaller_than_asked_for_keeps_all():
    people, stream = population(), small_stream()
    assert len(Replay(per_task=10**6).after_task(None, people, stream[0]).y) == len(stream[0].train)


@pytest.mark.parametrize("per_task", [0, -1, 2.5])
def test_refuses_an_empty_memory(per_task):
    with pytest.raises(ValueError, match="per_task is .* whole number, 1 or more"):
        Replay(per_task=per_task)


def next_draws(memory):
    return [int(torch.randint(10**9, (), generator=source)) for source in memory.drawing]


@pytest.mark.parametrize("seeds", [(0, 1), (1, -1)])
def test_another_seed_keeps_and_draws_others(seeds):
    people, task = population(seeds=seeds), small_stream()[0]
    first, second = (Replay(per_task=9, seed=seed).after_task(None, people, task) for seed in seeds)
    assert not torch.equal(first.x, second.x)
    assert len({*next_draws(first), *next_draws(second)}) == 4


def test_draws_do_not_begin_anew_with_a_task():
    people, stream = population(), small_stream()
    memory = Replay().after_task(None, people, stream[0])
    before = next_draws(memory)
    assert not {*before} & {*next_draws(Replay().after_task(memory, people, stream[1]))}


def test_refuses_a_seed_that_is_none():
    with pytest.raises(TypeError, match="seed is 1.5, but must be a whole number"):
        Replay(seed=1.5)


def test_replay_does_not_move_the_global_random_state():
    before = torch.get_rng_state()
    short(Replay(1.0))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("scenario", ["domain", "task", "class"])
@torch.no_grad()
def test_distillation_against_the_formula(scenario):
    people, stream = population(scenario), small_stream(2, scenario)
    method = LwF(0.7, temperature=3.0)
    teacher = method.after_task(None, people, stream[0])
    with torch.no_grad():
        for p in people.params.values():
            p.add_(0.1)
    x = inputs()
    found = method.extra_loss(teacher, people, batch_of(people, x))
    first, stop = 0, 3  # what the first task taught, in the class scenario too
    for r in range(2):
        old, new = (MLP(6, (5, 4), stream.n_outputs).to(F64) for _ in range(2))
        old.load_state_dict({key: p[r] for key, p in teacher.params.items()})
        new.load_state_dict({key: p[r] for key, p in people.params.items()})
        p_old = old(x[r])[:, first:stop].softmax(1) ** (1 / 3)
        p_new = new(x[r])[:, first:stop].softmax(1) ** (1 / 3)
        p_old, p_new = p_old / p_old.sum(1, keepdim=True), p_new / p_new.sum(1, keepdim=True)
        expected = -(p_old * p_new.log()).sum(1).mean()
        assert float(found[r]) == pytest.approx(0.7 * float(expected), rel=1e-10)


def test_distillation_adds_up_over_the_earlier_questions():
    people, stream = population("task"), small_stream(3, "task")
    method, both, alone = LwF(0.7), None, []
    for task in stream.tasks[:2]:  # the same weights after both: one teacher
        both = method.after_task(both, people, task)
        alone.append(method.after_task(None, people, task))
    people.restore({name: p + 0.1 for name, p in people.params.items()})
    batch = batch_of(people, inputs())
    found, *each = (method.extra_loss(teacher, people, batch).detach() for teacher in (both, *alone))
    torch.testing.assert_close(found, sum(each))
    assert all((one > 0).all() for one in each)


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_teacher_answers_without_dropout(seeds):
    def build(dropout):
        return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Dropout(dropout), nn.Linear(5, 3)).to(F64)

    def distilled(dropout):
        people = Population(build_networks(lambda: build(dropout), seeds))
        method, x = LwF(1.0), inputs()[: len(seeds)]
        teacher = method.after_task(None, people, small_stream()[0])
        return method.extra_loss(teacher, people, Batch(x, x[..., :3], []))

    torch.testing.assert_close(distilled(0.5), distilled(0.0))


def test_teacher_keeps_the_buffers_that_training_changes():
    class Scaled(MLP):
        def __init__(self):
            super().__init__(6, (5,), 3)
            self.register_buffer("scale", torch.ones(()))

        def forward(self, x):
            return self.scale * super().forward(x)

    people = Population([Scaled().to(F64)])
    teacher = LwF(1.0).after_task(None, people, small_stream()[0])
    x = inputs()[:1]
    batch = Batch(x, people.logits(x).detach(), [])
    before = LwF(1.0).extra_loss(teacher, people, batch)
    people.network.scale.mul_(3.0)
    assert torch.equal(LwF(1.0).extra_loss(teacher, people, batch), before)
    assert people.network.scale == 3


def test_teacher_is_a_copy():
    people, stream = population(), small_stream()
    teacher = LwF(1.0).after_task(None, people, stream[0])
    kept = {name: p.clone() for name, p in teacher.params.items()}
    for p in people.params.values():
        p.add_(1.0)
    assert same_bits(teacher.params, kept)


def test_teacher_is_asked_all_earlier_questions():
    stream, people = small_stream(3, "task"), population("task")
    state = None
    for task in stream.tasks[:2]:
        state = LwF(1.0).after_task(state, people, task)
    assert state.questions == {(0, 3): [0, 1, 2], (3, 6): [3, 4, 5]}


def test_teacher_is_not_asked_for_classes_that_it_never_saw():
    stream, people, state = small_stream(3, "class"), population("class"), None
    seen = []
    for task in stream:
        state = LwF(1.0).after_task(state, people, task)
        seen.append(state.questions[0, 9])
    assert seen == [[0, 1, 2], [0, 1, 2, 3, 4, 5], list(range(9))]


@pytest.mark.parametrize("temperature", [0, -1.0, float("inf"), float("nan"), "2", (1.0, 2.0)])
def test_refuses_a_temperature(temperature):
    with pytest.raises(ValueError, match="temperature is .* finite number above 0"):
        LwF(1.0, temperature=temperature)


def test_replay_is_at_work():
    """With the memory of all data, the first task is not forgotten."""
    stream = small_stream(2)
    first = Stream(stream.name, stream.scenario, stream.tasks[:1], stream.n_outputs)

    def loss_on_first(run):
        logits = masked(run.model()(first[0].train.x), first[0].outputs)
        return functional.cross_entropy(logits, first[0].train.y).item()

    plain, practised = short(epochs=40), short(Replay(1.0, per_task=100), epochs=40)
    assert loss_on_first(practised) < 0.5 * loss_on_first(plain)
