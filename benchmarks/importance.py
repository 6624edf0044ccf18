"""Time of an importance, one thread: 2,000 samples through an MLP 64-100-100-10, and 200 images of 3x32x32
through a convolutional network of 16 and 32 filters.

The closed forms of ``cl_lib.fisher`` and ``cl_lib.mas`` against a loop over single samples, against their
own general path (``torch.func``), and against BackPACK where that is installed. Before anything is
timed, all must agree with the loop in double precision. Local MAS, and networks with memory units,
have a closed form only here.
"""

import copy
import statistics
import time
from unittest import mock

import torch
from torch import nn
from torch.nn import functional

from cl_lib import MLP, ConvNet, MemoryMLP, fisher, mas, per_sample
from cl_lib.importance import local_mas

try:
    from backpack import backpack, extend
    from backpack.extensions import BatchGrad, DiagGGNExact, DiagGGNMC, SumGradSquared
except ImportError:
    backpack = None

N_SAMPLES, N_IMAGES, N_CHECKED, N_ROUNDS = 2000, 200, 200, 5
KINDS = ("empirical", "sampled", "exact", "MAS")


def closed_form(model, x, y, kind):
    if kind == "local MAS":
        return local_mas(model, x)
    return mas(model, x) if kind == "MAS" else fisher(model, x, y, kind=kind)


def general_path(model, x, y, kind):
    with mock.patch.object(per_sample, "_closed_form_holds", return_value=False):
        return closed_form(model, x, y, kind)


def loop_of_mas(model, x):
    """One backward pass for each sample."""
    params = list(model.parameters())
    total = [torch.zeros_like(p) for p in params]
    for sample in x:
        grads = torch.autograd.grad((model(sample[None]) ** 2).sum(), params)
        for sums, grad in zip(total, grads, strict=True):
            sums.add_(grad.abs(), alpha=1 / len(x))
    return dict(zip([name for name, _ in model.named_parameters()], total, strict=True))


def loop(model, x, y, kind):
    """One backward pass for each sample and label."""
    if kind == "MAS":
        return loop_of_mas(model, x)
    params = list(model.parameters())
    total = [torch.zeros_like(p) for p in params]
    for n in range(len(x)):
        log_p = model(x[n : n + 1]).log_softmax(1)[0]
        p = log_p.detach().exp()
        if kind == "empirical":
            weighted = [(1.0, y[n])]
        elif kind == "sampled":
            weighted = [(1.0, torch.multinomial(p, 1)[0])]
        else:
            weighted = list(zip(p.tolist(), range(len(p)), strict=True))
        for weight, label in weighted:
            grads = torch.autograd.grad(log_p[label], params, retain_graph=True)
            for sums, grad in zip(total, grads, strict=True):
                sums.add_(grad**2, alpha=weight / len(x))
    return dict(zip([name for name, _ in model.named_parameters()], total, strict=True))


def with_backpack(model, x, y, kind):
    """BackPACK wants modules in sequence, and inputs that ask for a gradient."""
    convolutions = getattr(model, "convolutions", ())
    layers = [part for layer in convolutions for part in (copy.deepcopy(layer), nn.ReLU(), nn.MaxPool2d(2))]
    layers += [nn.Flatten()] if layers else []
    layers += [part for layer in model.layers for part in (copy.deepcopy(layer), nn.ReLU())][:-1]
    network, x = extend(nn.Sequential(*layers)), x.reshape(len(x), *getattr(model, "shape", x.shape[1:]))
    loss = extend((nn.MSELoss if kind == "MAS" else nn.CrossEntropyLoss)(reduction="sum"))
    extensions = {
        "empirical": (SumGradSquared(), "sum_grad_squared"),
        "sampled": (DiagGGNMC(mc_samples=1), "diag_ggn_mc"),
        "exact": (DiagGGNExact(), "diag_ggn_exact"),
        "MAS": (BatchGrad(), "grad_batch"),
    }
    extension, attribute = extensions[kind]
    with backpack(extension):
        output = network(x.clone().requires_grad_())
        loss(output, torch.zeros_like(output) if kind == "MAS" else y).backward()
    names = [name for name, _ in model.named_parameters()]
    found = [getattr(p, attribute) for p in network.parameters()]
    found = [f.abs().mean(0) if kind == "MAS" else f / len(x) for f in found]
    return dict(zip(names, found, strict=True))


CONTENDERS = {"closed form": closed_form, "torch.func": general_path, "loop": loop}
if backpack is not None:
    CONTENDERS["BackPACK"] = with_backpack


CASES = [(name, kind) for kind in KINDS for name in CONTENDERS]
ONLY_HERE = [("closed form", "local MAS"), ("memory units", "exact"), ("memory units", "MAS")]


def trained_model(build, x, y):
    torch.manual_seed(0)
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(50):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


def check(model, x, y):
    """The loop is the definition; drawn labels differ, so ``sampled`` is left to the tests."""
    model, x, y = copy.deepcopy(model).double(), x[:N_CHECKED].double(), y[:N_CHECKED]
    for kind in ("empirical", "exact", "MAS"):
        expected = loop(model, x, y, kind)
        for name, contender in CONTENDERS.items():
            found = contender(model, x, y, kind)
            scale = max(float(value.max()) for value in expected.values())
            error = max(float((found[k] - expected[k]).abs().max()) for k in expected) / scale
            assert error < 1e-10, f"{name} is wrong about {kind}: relative error {error:.1e}"
    print(f"all agree with the loop on {N_CHECKED} samples in float64 to 1e-10")


def measure(model, x, y, cases):
    """CPU and wall seconds of each contender in each round; a first, unused round warms up."""
    times, memory = {case: [] for case in cases}, MemoryMLP(64, n_tasks=10)
    for round_ in range(N_ROUNDS + 1):
        for (name, kind), found in times.items():
            inputs = (x, y) if round_ else (x[:10], y[:10])
            cpu, wall = time.process_time(), time.perf_counter()
            if name == "memory units":
                closed_form(memory, *inputs, kind)
            else:
                CONTENDERS[name](model, *inputs, kind)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            if round_:
                found.append((cpu, wall))
    return times


def report(what, times):
    print(f"{what}, torch {torch.__version__}, one thread,")
    print(f"medians of {N_ROUNDS} interleaved rounds [least, most]; ratio of CPU time to closed form")
    print(f"{'':12} {'':10} {'CPU s':>26} {'wall s':>9} {'ratio':>7}")
    for (name, kind), found in times.items():
        cpu, wall = zip(*found, strict=True)
        ours = statistics.median(c for c, _ in times["closed form", kind])
        middle = statistics.median(cpu)
        spread = f"{middle:8.4f} [{min(cpu):.4f}, {max(cpu):.4f}]"
        line = f"{kind:12} {name:12} {spread:>24} {statistics.median(wall):9.4f}"
        print(f"{line} {middle / ours:6.1f}x")


def main():
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    for what, n, width, build, cases in (
        ("samples, 64-100-100-10", N_SAMPLES, 64, lambda: MLP(64), CASES + ONLY_HERE),
        ("images, 16 and 32 filters", N_IMAGES, 3072, lambda: ConvNet(channels=(16, 32), hidden=64), CASES),
    ):
        x = torch.rand(n, width, generator=generator)
        y = torch.randint(10, (n,), generator=generator)
        model = trained_model(build, x, y)
        check(model, x, y)
        report(f"{n} {what}", measure(model, x, y, cases))


if __name__ == "__main__":
    main()
