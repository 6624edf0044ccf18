"""Memory aware synapses: the importance against slow definitions, the method against its paper."""

import copy
import functools
from dataclasses import replace

import pytest
import torch
from backpack import backpack, extend
from backpack.extensions import BatchGrad
from oracles import (
    F64,
    STREAM,
    Convolutional,
    Embedded,
    Scaled,
    Tied,
    TwiceUsed,
    after_first_task,
    distance,
    fine_tuning,
    first_tasks,
    plain_training,
    replica,
    same_bits,
    short,
    small_network,
    small_stream,
    weights_of,
)
from torch import nn

from cl_lib import MAS, MLP, ConvNet, mas, training
from cl_lib.importance import MAS_FUNCTIONS, population_local_mas, population_mas
from cl_lib.methods.quadratic import STEPS
from cl_lib.population import Population

N = 11
STREAM3 = small_stream(3)
NETWORKS = {
    "mlp": lambda: MLP(6, (5, 4), 3),
    "linear": lambda: nn.Linear(6, 3, bias=False),
    "dropout": lambda: nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.5), nn.Tanh(), nn.Linear(5, 3)),
    "ConvNet": lambda: ConvNet((1, 2, 3), channels=(2,), hidden=3, n_outputs=3),
    "user's convolutions": Convolutional,
    "layer used twice": TwiceUsed,
    "tied weight": Tied,
    "embedding": Embedded,
    "scalar parameter": Scaled,
}
METHODS = {
    f"{function} {step}": lambda s, function=function, step=step: MAS(s, function=function, step=step)
    for function in MAS_FUNCTIONS
    for step in STEPS
} | {f"local {step}": lambda s, step=step: MAS(s, scope="local", step=step) for step in STEPS}
each_method = pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)
each_function = pytest.mark.parametrize("function", MAS_FUNCTIONS)


def build(name="mlp", seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return NETWORKS[name]().to(F64)


def samples(n=N, seed=0):
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(seed), dtype=F64)


def population(n_strengths=1, name="mlp"):
    return Population([build(name, seed) for seed in (0, 1)], n_strengths)


def move(params, seed=0):
    """New weights near the old ones."""
    generator = torch.Generator().manual_seed(seed)
    return {n: p + 0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in params.items()}


def loop_mas(model, x, *, function="logits", outputs=None):
    """The definition, one sample at a time."""
    model = copy.deepcopy(model).to(F64).eval()
    first, stop = outputs or (0, None)
    total = {name: torch.zeros_like(p) for name, p in weights_of(model).items()}
    for n in range(len(x)):
        output = model(x[n : n + 1].to(F64))[0, first:stop]
        if function == "probabilities":
            output = torch.softmax(output, 0)
        norm = sum(output[k] ** 2 for k in range(len(output)))
        grads = torch.autograd.grad(norm, list(model.parameters()), allow_unused=True)
        for name, grad in zip(total, grads, strict=True):
            total[name] += 0 if grad is None else grad.abs() / len(x)
    return total


# The importance


@each_function
@pytest.mark.parametrize("name", NETWORKS)
def test_importance_is_the_mean_over_samples(name, function):
    model, x = build(name), samples()
    assert distance(mas(model, x, function=function), loop_mas(model, x, function=function)) < 1e-10


@each_function
@pytest.mark.parametrize("name", ["mlp", "user's convolutions"])
@pytest.mark.parametrize("outputs", [(0, 3), (1, 3), (0, 2)])
def test_only_competing_outputs_count(name, function, outputs):
    model, x = build(name), samples()
    found = mas(model, x, function=function, outputs=outputs)
    assert distance(found, loop_mas(model, x, function=function, outputs=outputs)) < 1e-10
    first, stop = outputs
    idle = [row for row in range(3) if not first <= row < stop]
    head = found["layers.2.weight" if name == "mlp" else "body.3.weight"]
    assert (head[idle] == 0).all()


@each_function
@pytest.mark.parametrize("batch_size", [1, 4, N, 50])
@pytest.mark.parametrize("name", ["mlp", "user's convolutions", "layer used twice"])
def test_importance_does_not_depend_on_the_batch_size(name, batch_size, function):
    model, x = build(name), samples()
    found = mas(model, x, function=function, batch_size=batch_size)
    assert distance(found, mas(model, x, function=function)) < 1e-12


@each_function
def test_many_samples_are_taken_in_parts(function):
    model, x = build(), samples(50)
    assert distance(mas(model, x.repeat(100, 1), function=function), mas(model, x, function=function)) < 1e-12


def test_of_a_linear_model_by_hand():
    model = nn.Linear(2, 2, bias=False).to(F64)
    model.weight.data = torch.tensor([[1.0, 2.0], [0.0, -1.0]], dtype=F64)
    x = torch.tensor([[1.0, 1.0], [2.0, -1.0]], dtype=F64)  # outputs (3, -1) and (0, 1)
    assert mas(model, x)["weight"].tolist() == [[3.0, 3.0], [3.0, 2.0]]


def test_of_a_linear_model_in_closed_form():
    model, x = build("linear"), samples()
    z = x @ model.weight.detach().T
    expected = (2 * z.abs()[:, :, None] * x.abs()[:, None]).mean(0)
    torch.testing.assert_close(mas(model, x)["weight"], expected, rtol=1e-13, atol=0)


def test_absolute_value_is_taken_for_each_sample():
    model = nn.Linear(1, 1).to(F64)
    model.weight.data.fill_(1.5), model.bias.data.zero_()
    x = torch.tensor([[1.0], [-1.0]], dtype=F64)  # the slopes at the bias are 3 and -3: no mean of them
    assert float(mas(model, x)["bias"]) == pytest.approx(3.0, rel=1e-14)


def test_of_two_probabilities_in_closed_form():
    """For p = sigmoid(wx): d(p^2 + (1-p)^2)/dw = 2(2p - 1) p (1 - p) x."""
    model = nn.Linear(1, 2, bias=False).to(F64)
    model.weight.data = torch.tensor([[0.7], [0.0]], dtype=F64)
    x = torch.tensor([[1.0], [-0.5], [2.0]], dtype=F64)
    p = torch.sigmoid(0.7 * x)
    expected = float((2 * (2 * p - 1) * p * (1 - p) * x).abs().mean())
    found = mas(model, x, function="probabilities")["weight"].flatten().tolist()
    assert found == pytest.approx([expected, expected], rel=1e-13)


@pytest.mark.parametrize("kind", ["linear", "convolutional"])
def test_against_backpack(kind):
    torch.manual_seed(1)
    if kind == "linear":
        model = nn.Sequential(nn.Linear(6, 8), nn.Sigmoid(), nn.Linear(8, 4)).to(F64)
        x = samples(50)
    else:
        body = nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(6, 4)
        model, x = nn.Sequential(*body).to(F64), samples(50).reshape(50, 1, 2, 3)
    reference, squares = extend(copy.deepcopy(model)), extend(nn.MSELoss(reduction="sum"))
    output = reference(x.clone().requires_grad_())
    with backpack(BatchGrad()):
        squares(output, torch.zeros_like(output)).backward()
    expected = {name: p.grad_batch.abs().mean(0) for name, p in reference.named_parameters()}
    assert distance(mas(model, x), expected) < 1e-12


def test_default_is_the_norm_of_the_logits():
    model, x = build(), samples()
    assert same_bits(mas(model, x), mas(model, x, function="logits"))
    assert distance(mas(model, x), mas(model, x, function="probabilities")) > 0.1
    assert MAS(1.0) == MAS(1.0, function="logits", scope="global", step="implicit")


def test_images_of_bytes_are_divided_by_255():
    x = torch.randint(256, (N, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    assert distance(mas(build(), x), loop_mas(build(), x.to(F64) / 255)) < 1e-10


@each_function
@pytest.mark.parametrize("name", ["mlp", "ConvNet"])
def test_replicas_are_measured_as_if_alone(name, function):
    people, x = population(name=name), samples()
    found = population_mas(people.network, people.params, x, function=function)
    for r in range(2):
        assert distance(replica(found, r), loop_mas(build(name, r), x, function=function)) < 1e-10


def test_measuring_leaves_the_network_as_it_was():
    model = build("dropout").train()
    before, state = copy.deepcopy(weights_of(model)), torch.get_rng_state()
    mas(model, samples())
    assert same_bits(weights_of(model), before) and model[1].training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in model.parameters())


BROKEN = torch.full((2, 6), float("nan"))
BATCH_NORM = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3)).to(F64)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((build(), samples()), {"function": "softmax"}, ValueError, "function is 'softmax', but must be"),
        ((build(), samples(0)), {}, ValueError, "x is empty: importance is a mean over samples"),
        ((build(), samples().numpy()), {}, TypeError, "x is a ndarray, not a tensor"),
        ((build(), samples()), {"batch_size": 0}, ValueError, "batch_size is 0, but must be a whole number"),
        ((build(), BROKEN), {}, ValueError, "x: the inputs hold NaN or infinity"),
        ((build(), samples()), {"outputs": (1, 4)}, ValueError, r"outputs is \(1, 4\), but must be"),
        ((BATCH_NORM, samples()), {}, ValueError, "batch normalisation in training mode"),
    ],
)
def test_refuses(arguments, options, error, message):
    with pytest.raises(error, match=message):
        mas(*arguments, **options)


def test_refuses_networks_that_diverged():
    model = build()
    model.layers[0].weight.data[0, 0] = float("inf")
    with pytest.raises(ValueError, match="model gives a non-finite importance"):
        mas(model, samples())


# The method


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@each_method
def test_strength_zero_is_fine_tuning_bit_for_bit(make, optimizer):
    plain = fine_tuning(seeds=(0, 1), optimizer=optimizer)
    found = short(make(0), seeds=(0, 1), optimizer=optimizer)
    assert same_bits(found.params, plain.params)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@each_method
def test_strength_above_zero_is_not_fine_tuning(make, optimizer):
    found = short(make(0.3), optimizer=optimizer)
    assert distance(found.params, fine_tuning(optimizer=optimizer).params) > 1e-4


@each_method
def test_nothing_is_protected_in_the_first_task(make):
    assert same_bits(after_first_task(short, make(3.0)).params, short(None, first_tasks(1)).params)


@each_method
def test_penalty_is_zero_at_the_anchor_and_positive_off_it(make):
    run = after_first_task(lambda method: short(method, seeds=(0, 1)), make(1.0))
    assert torch.equal(run.state.value(run.params), torch.zeros(2, dtype=F64))
    assert (run.state.value(move(run.params)) > 0).all()


@each_function
def test_state_is_measured_on_the_task_without_its_labels(function):
    people, method = population(), MAS(1.0, function=function)
    state = method.after_task(None, people, STREAM[0])
    unlabelled = replace(STREAM[0].train, y=torch.zeros_like(STREAM[0].train.y))
    without = method.after_task(None, people, replace(STREAM[0], train=unlabelled))
    assert same_bits(state.importance, without.importance)
    for r in range(2):
        expected = loop_mas(build(seed=r), STREAM[0].train.x, function=function)
        assert distance(replica(state.importance, r), expected) < 1e-10
    assert same_bits(state.centre, people.params)


def test_local_scope_measures_local_importance_without_labels():
    people, task = population(), STREAM[0]
    unlabelled = replace(task, train=replace(task.train, y=torch.zeros_like(task.train.y)))
    for seen in (task, unlabelled):
        state = MAS(1.0, scope="local").after_task(None, people, seen)
        assert same_bits(
            state.importance,
            population_local_mas(people.network, people.params, task.train.x, outputs=task.outputs),
        )


@each_method
def test_importances_add_up_at_the_latest_anchor_and_nothing_aliases(make):
    people, method, states, alone = population(), make(1.0), [None], []
    for t, task in enumerate(STREAM3):
        people.restore(move(people.params, seed=t))
        alone.append(method.after_task(None, people, task).importance)
        states.append(method.after_task(states[-1], people, task))
    kept = [copy.deepcopy((s.importance, s.centre, s.constant)) for s in states[1:]]
    assert same_bits(states[-1].centre, people.params)
    assert distance(states[-1].importance, {n: sum(a[n] for a in alone) for n in people.params}) < 1e-14
    people.restore(move(people.params, seed=9))
    for state, (importance, centre, constant) in zip(states[1:], kept, strict=True):
        method.add_gradient(state, people, people.copy())
        method.after_step(state, people, lambda name: 0.1)
        assert same_bits(state.importance, importance) and same_bits(state.centre, centre)
        assert torch.equal(state.constant, constant)


def test_inputs_say_what_is_protected():
    people, asked = population(), []

    def some(task):
        asked.append(task.name)
        return task.validation.x[:4]

    state = MAS(1.0, inputs=some).after_task(None, people, STREAM[1])
    assert asked == [STREAM[1].name]
    for r in range(2):
        expected = loop_mas(build(seed=r), STREAM[1].validation.x[:4])
        assert distance(replica(state.importance, r), expected) < 1e-10
    usual = short(MAS(0.3))
    assert same_bits(short(MAS(0.3, inputs=lambda task: task.train.x)).params, usual.params)
    assert distance(short(MAS(0.3, inputs=some)).params, usual.params) > 1e-6


def test_inputs_that_are_none_at_all_are_refused():
    with pytest.raises(ValueError, match="x is empty"):
        MAS(1.0, inputs=lambda task: task.train.x[:0]).after_task(None, population(), STREAM[0])


@pytest.mark.parametrize("options", [*({"function": f} for f in MAS_FUNCTIONS), {"scope": "local"}], ids=str)
def test_only_the_head_in_use_is_important(options):
    stream = small_stream(scenario="task")
    run = functools.partial(short, stream=stream, build=lambda: MLP(6, (5,), 6))
    state = after_first_task(run, MAS(1.0, **options)).state
    head = state.importance["layers.1.weight"][0]
    assert (head[3:] == 0).all() and head[:3].max() > 0


# The penalty has no factor 1/2


@pytest.mark.parametrize("strength", [0.7, (0.7, 20.0, 0.0)])
def test_gradient_step_adds_the_gradient_of_the_papers_penalty(strength):
    strengths = strength if isinstance(strength, tuple) else (strength,)
    people, method = population(len(strengths), "scalar parameter"), MAS(strength, step="gradient")
    state = method.after_task(None, people, STREAM[0])
    anchor = people.copy()
    people.restore(move(anchor))
    at = {name: p.clone().requires_grad_() for name, p in people.params.items()}
    loss = sum(p.sum() for p in at.values())
    for r in range(people.size):
        for name, p in at.items():
            omega = state.importance[name][r]
            loss = loss + strengths[r // 2] * (omega * (p[r] - anchor[name][r]) ** 2).sum()
    expected = dict(zip(at, torch.autograd.grad(loss, list(at.values())), strict=True))
    grads, before = {name: torch.ones_like(p) for name, p in people.params.items()}, people.copy()
    method.add_gradient(state, people, grads)
    method.after_step(state, people, lambda name: 0.1)
    assert distance(grads, expected) < 1e-14
    assert same_bits(people.params, before), "the gradient is all that this step adds"


@pytest.mark.parametrize("eta", [0.3, "elementwise"])
def test_implicit_step_minimises_the_papers_penalty_near_where_the_optimiser_went(eta):
    strengths = (0.5, 40.0)
    people, method = population(2, "scalar parameter"), MAS(strengths)
    state = method.after_task(None, people, STREAM[0])
    anchor = people.copy()
    people.restore(move(anchor))
    before, grads = people.copy(), {name: torch.ones_like(p) for name, p in people.params.items()}
    sizes = {name: torch.full_like(p, 0.3) if eta == 0.3 else 0.1 + p**2 for name, p in before.items()}
    method.add_gradient(state, people, grads)
    method.after_step(state, people, lambda name: eta if eta == 0.3 else sizes[name])
    assert all((g == 1).all() for g in grads.values()), "the step is all that is added"
    for name, p in people.params.items():
        for r in range(4):
            slope = 2 * strengths[r // 2] * state.importance[name][r] * (p[r] - anchor[name][r])
            assert float((slope + (p[r] - before[name][r]) / sizes[name][r]).abs().max()) < 1e-12
            assert float(slope.abs().max()) > 1e-3, "the penalty must be at work"


def paper_penalty(strength, function):
    """Aljundi et al. (2018), Eq. 4, with importances by a loop and no factor 1/2."""
    importances = []

    def value(earlier, network):
        for t in range(len(importances), len(earlier)):
            importances.append(loop_mas(earlier[t], STREAM3[t].train.x, function=function))
        total = torch.zeros((), dtype=F64)
        for omega in importances:
            anchor = weights_of(earlier[-1])
            for name, p in network.named_parameters():
                total = total + (omega[name] * (p - anchor[name]) ** 2).sum()
        return strength * total

    return value


@pytest.mark.filterwarnings("ignore::cl_lib.methods.IneffectivePenalty")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@each_function
def test_gradient_step_is_descent_on_the_loss_of_the_paper(function, optimizer):
    def make_optimizer(params):
        if optimizer == "adam":
            return torch.optim.Adam(params, lr=0.02)
        return torch.optim.SGD(params, lr=0.05, momentum=0.9)

    expected = plain_training(small_network, STREAM3, make_optimizer, penalty=paper_penalty(0.2, function))
    lr = 0.02 if optimizer == "adam" else 0.05
    found = short(MAS(0.2, function=function, step="gradient"), STREAM3, optimizer=optimizer, lr=lr)
    assert distance(replica(found.params, 0), weights_of(expected[-1])) < 1e-10


def test_method_refuses_inputs_that_are_no_function():
    with pytest.raises(TypeError, match="inputs is a Tensor, but must be a function of the task; .*lambda"):
        MAS(1.0, inputs=STREAM[0].train.x)


@pytest.mark.parametrize(
    ("method", "build", "error", "message"),
    [
        (MAS(1.0, inputs=lambda task: [1.0]), small_network, TypeError, r"inputs\(task\) is a list"),
        (MAS(1.0, inputs=lambda task: task.train.x[:0]), small_network, ValueError, "x is empty"),
        (
            MAS(1.0, scope="local"),
            lambda: nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4), nn.Linear(4, 3)),
            ValueError,
            "parameter '1.bias' belongs to no",
        ),
        (
            MAS(1.0, scope="local"),
            lambda: nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU()),
            ValueError,
            "the logits are not the output of the last layer as it is",
        ),
    ],
)
def test_what_cannot_be_measured_fails_before_training(method, build, error, message, monkeypatch):
    monkeypatch.setattr(training._Trainer, "_train_step", lambda *_: pytest.fail("training had begun"))
    with pytest.raises(error, match=message):
        short(method, build=build)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": -1}, "strength is -1, but must be a finite number >= 0"),
        ({"strength": ()}, "strength is empty"),
        ({"strength": 1.0, "function": "softmax"}, "function is 'softmax', but must be one of logits, prob"),
        ({"strength": 1.0, "scope": "near"}, "scope is 'near', but must be one of global, local"),
        (
            {"strength": 1.0, "scope": "local", "function": "probabilities"},
            "function is 'prob.*leave function",
        ),
        ({"strength": 1.0, "step": "explicit"}, "step is 'explicit', but must be \"implicit\" or"),
    ],
)
def test_method_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        MAS(**options)
