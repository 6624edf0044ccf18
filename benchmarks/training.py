"""Speed of training: every method of ``cl_lib.fit`` against an ordinary PyTorch loop, one thread.

An MLP 64-100-100-10 with batches of 32 on the third task of a stream, so that methods have two earlier
tasks consolidated. A step is timed where training is steady: the first steps of the task, which
pay for buffers and caches, are left out.
"""

import statistics
import time
import warnings

import torch
from torch import nn
from torch.nn import functional

from cl_lib import EWC, L2, MAS, MLP, SI, ConvNet, Finetune, Joint, MemoryMLP, fit
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
from cl_lib.streams import from_tensors

N_SAMPLES, BATCH, EPOCHS, N_ROUNDS, N_REPLICAS = 960, 32, 3, 5, 10
STEPS = EPOCHS * N_SAMPLES // BATCH  # of one task
SKIPPED = STEPS // 4
METHODS = {
    "finetune": Finetune(),
    "joint": Joint(),
    "L2": L2(0.03),
    "EWC": EWC(30.0),
    "EWC, gradient": EWC(1.0, step="gradient"),
    "SI": SI(0.1),
    "MAS": MAS(0.01),
    "local MAS": MAS(0.01, scope="local"),
    **{make.__name__: make(1e-3) for make in (SNI, SLNI, SNID, SLNID)},
    "SLNID and MAS": combine(SLNID(1e-3), MAS(0.01)),
    "L1 of activations": L1Activations(1e-3),
    "L1 of weights": L1Weights(1e-4),
    "DeCov": DeCov(1e-3),
    "weight decay": WeightDecay(1e-4),
    "LwF": LwF(1.0),
    "replay": Replay(),
    "AD and EWC": combine(AdversarialMemory(1e-3), EWC(30.0)),
}
OPTIONS = {"epochs": EPOCHS, "batch_size": BATCH, "lr": 0.05, "momentum": 0.9}


def clock():
    return time.process_time(), time.perf_counter()


def made_up_stream():
    generator = torch.Generator().manual_seed(0)
    tasks = []
    for _ in range(3):
        x = torch.rand(N_SAMPLES, 64, generator=generator)
        tasks.append((x, (x @ torch.randn(64, 10, generator=generator)).argmax(1)))
    few = [(x[:10], y[:10]) for x, y in tasks]
    return from_tensors(tasks, test=few, validation=few)


def plain_steps(stream):
    """Clock readings after each step of an ordinary loop."""
    torch.manual_seed(0)
    x, y, model, readings = stream[2].train.x, stream[2].train.y, MLP(64), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(EPOCHS):
        for index in torch.randperm(len(x)).split(BATCH):
            loss = functional.cross_entropy(model(x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            readings.append(clock())
    return readings


def fit_steps(stream, name, n_replicas):
    """Clock readings after each step of ``fit`` on the third task."""
    readings, method = [], METHODS[name]

    class Watched(type(method)):
        def after_step(self, *arguments):
            super().after_step(*arguments)
            readings.append(clock())

    watched = Watched(**vars(method))
    build = (lambda: MemoryMLP(64, n_tasks=3)) if "AD" in name else lambda: MLP(64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # made-up data may leave a penalty unfelt
        fit(build, stream, watched, seeds=range(n_replicas), **OPTIONS)
    return readings[-STEPS:]


def per_step(readings):
    """CPU and wall seconds of a step, once training is steady."""
    (cpu, wall), (cpu_end, wall_end) = readings[SKIPPED], readings[-1]
    n_steps = len(readings) - 1 - SKIPPED
    return (cpu_end - cpu) / n_steps, (wall_end - wall) / n_steps


def contenders():
    yield "plain PyTorch", 1, plain_steps
    for n in (1, N_REPLICAS):
        for name in METHODS:
            yield name, n, lambda s, name=name, n=n: fit_steps(s, name, n)


def measure_steps(stream):
    times = {}
    for _ in range(N_ROUNDS):
        for name, n_replicas, run in contenders():
            times.setdefault((name, n_replicas), []).append(per_step(run(stream)))
    return times


def report_steps(times):
    print(f"64-100-100-10, batch {BATCH}, third task, torch {torch.__version__}, one thread,")
    print(f"medians of {N_ROUNDS} interleaved rounds; one replica's steps in a second")
    print(f"{'':18} {'replicas':>8} {'by CPU time [least, most]':>28} {'by wall':>9} {'ratio':>7}")
    baseline = statistics.median(cpu for cpu, _ in times["plain PyTorch", 1])
    for (name, n), found in times.items():
        cpu, wall = ([n / seconds for seconds in column] for column in zip(*found, strict=True))
        middle = statistics.median(cpu)
        spread = f"{middle:7.0f} [{min(cpu):.0f}, {max(cpu):.0f}]"
        line = f"{name:18} {n:8} {spread:>28} {statistics.median(wall):9.0f}"
        print(f"{line} {middle * baseline:6.2f}x")


def measure_population(stream):
    """All of ``fit``, Fishers and accuracies included: runs one by one, and as one population."""
    ratios, totals = [], []
    for _ in range(N_ROUNDS):
        readings = [clock()]
        for seed in range(N_REPLICAS):
            fit(lambda: MLP(64), stream, EWC(30.0), seeds=(seed,), **OPTIONS)
        readings.append(clock())
        fit(lambda: MLP(64), stream, EWC(30.0), seeds=range(N_REPLICAS), **OPTIONS)
        readings.append(clock())
        single, together = (b[0] - a[0] for a, b in zip(readings, readings[1:], strict=False))
        totals.append((single, together))
        ratios.append(single / together)
    single, together = (statistics.median(column) for column in zip(*totals, strict=True))
    print(f"\n{N_REPLICAS} runs with EWC, CPU time: {single:.2f} s one by one, {together:.2f} s as one")
    print(f"population: {statistics.median(ratios):.1f}x [{min(ratios):.1f}, {max(ratios):.1f}]")


def textbook_convnet():
    return nn.Sequential(
        nn.Unflatten(1, (3, 32, 32)),
        *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * 8 * 8, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


def one_task(n_samples, n_inputs):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(n_samples, n_inputs, generator=generator)
    y = torch.randint(10, (n_samples,), generator=generator)
    few = [(x[:10], y[:10])]
    return from_tensors([(x, y)], test=few, validation=few)


def measure_images():
    """A convolutional network on images like CIFAR-10's: an ordinary network, ours, and three replicas."""
    batch_size, n_steps = 64, 50
    stream = one_task(n_steps * batch_size, 3072)

    def ours():
        return ConvNet(channels=(16, 32), hidden=64)

    cases = {"nn.Sequential": (textbook_convnet, 1), "ConvNet": (ours, 1), "ConvNet, replicas": (ours, 3)}
    times = {name: [] for name in cases}
    for _ in range(N_ROUNDS):
        for name, (build, n) in cases.items():
            start = time.process_time()
            fit(build, stream, seeds=range(n), epochs=1, batch_size=batch_size)
            times[name].append((time.process_time() - start) / n)
    print(f"\nimages, 16 and 32 filters, batch {batch_size}; CPU time of one replica's step")
    for name, found in times.items():
        found = [1e3 * seconds / n_steps for seconds in found]
        print(f"{name:18} {statistics.median(found):6.1f} ms [{min(found):.1f}, {max(found):.1f}]")


def measure_widths():
    """How many networks of a width it pays to train at once."""
    stream = one_task(1280, 784)
    times = {(width, n): [] for width in (64, 256, 1000) for n in (1, 20, 100) if width * n < 30_000}
    for _ in range(N_ROUNDS):
        for (width, n), found in times.items():
            start = time.process_time()
            for first in range(max(1, 20 // n)):
                fit(
                    lambda w=width: MLP(784, (w, w)),
                    stream,
                    seeds=range(first, first + n),
                    epochs=1,
                    batch_size=128,
                )
            found.append((time.process_time() - start) / max(20, n))
    print("\n784-h-h-10, batch 128; CPU time of one network of so many at once, relative to one alone")
    for (width, n), found in times.items():
        alone = statistics.median(times[width, 1])
        print(f"h = {width:4}, {n:3} at once: {statistics.median(found) / alone:5.2f}")


def main():
    torch.set_num_threads(1)
    stream = made_up_stream()
    report_steps(measure_steps(stream))
    measure_population(stream)
    measure_images()
    measure_widths()


if __name__ == "__main__":
    main()
