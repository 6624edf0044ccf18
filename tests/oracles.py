"""Slow but obvious: what the package does at once, one sample and one step at a time."""

import copy
import functools
import itertools
import warnings
from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional

from cl_lib import MLP, MemoryMLP, fit
from cl_lib.streams import from_tensors
from cl_lib.tasks import Stream

F64 = torch.float64


# Networks that a user may bring


class TwiceUsed(nn.Module):
    """One linear layer applied two times."""

    def __init__(self):
        super().__init__()
        self.shared, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.last(torch.tanh(self.shared(torch.tanh(self.shared(x)))))


def compiled():
    """A linear layer that torch.jit has compiled."""
    with warnings.catch_warnings(action="ignore"):  # PyTorch advises against it
        return torch.jit.trace(nn.Linear(6, 3), torch.ones(1, 6))


class Tied(nn.Module):
    """The weight of a layer is used once more, transposed, outside the layer."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 4), nn.Linear(6, 3)

    def forward(self, x):
        return self.last(functional.linear(torch.tanh(self.first(x)), self.first.weight.T))


class SharedParameter(nn.Module):
    """Two layers, one weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.last(torch.tanh(self.second(torch.tanh(self.first(x)))))


class Unused(nn.Module):
    """A layer that no input ever reaches."""

    def __init__(self):
        super().__init__()
        self.used, self.idle = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x):
        return self.used(x)


class Uncalled(nn.Module):
    """Layers that are used without being called, or not by position."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.last(input=torch.tanh(self.first.forward(x)))


class Tokens(nn.Module):
    """Each sample becomes several rows of the first layer."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(2, 5), nn.Linear(5, 3)

    def forward(self, x):
        tokens = torch.tanh(self.first(x.reshape(-1, 2)))
        return self.last(tokens.reshape(len(x), 3, 5).mean(1))


class CentredLogits(nn.Module):
    """A weight used twice, under outputs whose plain sum is always zero."""

    def __init__(self):
        super().__init__()
        self.body = Tied()

    def forward(self, x):
        z = self.body(x)
        return z - z.mean(-1, keepdim=True)


class Embedded(nn.Module):
    """Inputs are rows of a table."""

    def __init__(self):
        super().__init__()
        self.table, self.last = nn.Embedding(7, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.last(torch.tanh(self.table((3 * x.abs()).long().clamp(max=6))).mean(1))


class Convolutional(nn.Module):
    """A convolutional network as anybody would write it."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4, 3))

    def forward(self, x):
        return self.body(x.reshape(-1, 1, 2, 3))


class Scaled(nn.Module):
    """A parameter without axes."""

    def __init__(self):
        super().__init__()
        self.layer, self.scale = nn.Linear(6, 3), nn.Parameter(torch.tensor(1.5))

    def forward(self, x):
        return self.scale * self.layer(x)


def in_second_task():
    """A network with memory units, none of them zero, that works on its second task."""
    model = MemoryMLP(6, (5, 4), 3, n_tasks=3)
    model.task = 1
    for units in model.memory:
        nn.init.normal_(units)
    return model


class OneWeight(nn.Module):
    """The logistic unit as a softmax over the logits 0 and wx."""

    def __init__(self, w):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(float(w), dtype=F64))

    def forward(self, x):
        return torch.cat([torch.zeros_like(x), self.w * x], 1)


# Importance


def log_probabilities(model, x, outputs=None):
    first, stop = outputs or (0, None)
    return model(x)[:, first:stop].log_softmax(-1), first


def squared_gradient(model, scalar):
    grads = torch.autograd.grad(scalar, list(model.parameters()), allow_unused=True, retain_graph=True)
    names = [name for name, _ in model.named_parameters()]
    return {
        name: torch.zeros_like(p) if g is None else g**2
        for name, p, g in zip(names, model.parameters(), grads, strict=True)
    }


def weighted_sum(parts):
    """Sum of ``weight * dict`` over pairs."""
    total = {}
    for weight, part in parts:
        for name, value in part.items():
            total[name] = total.get(name, 0) + weight * value
    return total


def loop_fisher(model, x, y=None, *, kind="exact", outputs=None):
    """The definition, one sample and one label at a time, in float64."""
    model = copy.deepcopy(model).to(F64).eval()
    parts = []
    for n in range(len(x)):
        log_p, first = log_probabilities(model, x[n : n + 1].to(F64), outputs)
        if kind == "exact":
            labels = [(float(p), c) for c, p in enumerate(log_p[0].detach().exp())]
        else:
            labels = [(1.0, int(y[n]) - first)]
        parts += [(p / len(x), squared_gradient(model, log_p[0, c])) for p, c in labels]
    return weighted_sum(parts)


def loop_batched(model, x, y, batch_size, *, outputs=None):
    """What much public code calls Fisher: the squared gradient of each batch's mean loss."""
    model = copy.deepcopy(model).to(F64).eval()
    starts = range(0, len(x), batch_size)
    parts = []
    for start in starts:
        xs, ys = x[start : start + batch_size].to(F64), y[start : start + batch_size]
        log_p, first = log_probabilities(model, xs, outputs)
        loss = -log_p[torch.arange(len(ys)), ys - first].mean()
        parts.append((1 / len(starts), squared_gradient(model, loss)))
    return weighted_sum(parts)


def drawn_labels(model, x, seed, *, outputs=None):
    """The label whose slice of the unit interval holds the sample's uniform number."""
    uniform = torch.rand(len(x), generator=torch.Generator().manual_seed(seed))
    model = copy.deepcopy(model).to(F64).eval()
    labels = []
    for n in range(len(x)):
        log_p, first = log_probabilities(model, x[n : n + 1].to(F64), outputs)
        edges = itertools.accumulate(log_p[0].exp().tolist())
        label = next((c for c, edge in enumerate(edges) if uniform[n] <= edge), log_p.shape[1] - 1)
        labels.append(label + first)
    return torch.tensor(labels)


# Training


def small_stream(n_tasks=2, scenario="domain", n=20, shape=(6,)):
    """Tasks that disagree: inputs of the same kind, labels from another linear rule with noise."""
    generator = torch.Generator().manual_seed(0)

    def draw(size, rule):
        x = torch.randn(size, *shape, generator=generator, dtype=F64)
        scores = x.flatten(1) @ rule + torch.randn(size, 3, generator=generator, dtype=F64)
        return x, scores.argmax(1)

    rules = torch.randn(n_tasks, 6, 3, generator=generator, dtype=F64)
    parts = [[draw(size, rule) for rule in rules] for size in (n, 15, 25)]
    train, validation, test = parts
    return from_tensors(train, validation=validation, test=test, scenario=scenario)


STREAM = small_stream()


def small_network():
    return MLP(6, (5,), 3)


def short(method=None, stream=STREAM, build=small_network, **options):
    """A run of a few steps in float64."""
    settings = {"epochs": 2, "batch_size": 8, "lr": 0.1, "dtype": F64} | options
    return fit(build, stream, method, **settings)


@functools.cache
def fine_tuning(**options):
    return short(**options)


def first_tasks(n, stream=STREAM):
    return Stream(stream.name, stream.scenario, stream.tasks[:n], stream.n_outputs)


def watched(method):
    """The method, and a list that a run with it fills: state and weights after each task."""
    after = []

    class Watched(type(method)):
        def after_task(self, state, population, task):
            state = super().after_task(state, population, task)
            after.append(SimpleNamespace(state=state, params=population.copy()))
            return state

    return Watched(**vars(method)), after


def after_first_task(run, method):
    """State and weights after the first task of ``run(method)``, whatever comes of the second."""
    method, after = watched(method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(method)
    return after[0]


def mean_loss(network, samples):
    """Cross-entropy over ``(x, y, outputs)``, sample by sample."""
    losses = []
    for x, y, outputs in samples:
        log_p, first = log_probabilities(network, x[None].to(F64), outputs)
        losses.append(-log_p[0, int(y) - first])
    return torch.stack(losses).mean()


def plain_training(
    build, stream, make_optimizer, *, seed=0, epochs=2, batch_size=8, joint=False, penalty=None
):
    """An ordinary PyTorch loop; returns the network after each task.

    ``penalty(earlier, network)`` is added to the loss, given the networks after the earlier tasks.
    """
    torch.manual_seed(seed)
    network = build().to(F64)
    start, order, after, pool = copy.deepcopy(network), torch.Generator(), [], []
    order.manual_seed(seed)
    for task in stream:
        pool = pool if joint else []
        pool += [(x, y, task.outputs) for x, y in zip(task.train.x, task.train.y, strict=True)]
        network = copy.deepcopy(start) if joint else network
        optimizer = make_optimizer(network.parameters())
        for _ in range(epochs):
            for index in torch.randperm(len(pool), generator=order).split(batch_size):
                loss = mean_loss(network, [pool[i] for i in index])
                if penalty is not None:
                    loss = loss + penalty(after, network)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        after.append(copy.deepcopy(network))
    return after


def share_right(network, split, outputs):
    """Accuracy among the outputs that compete."""
    first, stop = outputs
    guesses = [int(network(x[None].to(F64))[0, first:stop].argmax()) + first for x in split.x]
    return sum(g == int(y) for g, y in zip(guesses, split.y, strict=True)) / len(split)


# Comparison


def weights_of(model):
    return {name: p.detach() for name, p in model.named_parameters()}


def replica(params, r):
    return {name: p[r] for name, p in params.items()}


def distance(found, expected):
    """Largest difference over all tensors, relative to the largest entry."""
    assert found.keys() == expected.keys()
    assert all(found[name].shape == expected[name].shape for name in found)
    scale = max(float(value.abs().max()) for value in expected.values())
    assert scale > 0, "nothing to compare with"
    return max(float((found[name] - expected[name]).abs().max()) for name in found) / scale


def same_bits(found, expected):
    return found.keys() == expected.keys() and all(torch.equal(found[n], expected[n]) for n in found)
