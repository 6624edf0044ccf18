"""Speed of training: ``cl_lib.fit`` against an ordinary PyTorch loop, one thread.

An MLP 64-100-100-10 with batches of 32 on the third task of a stream, so that EWC has two earlier
tasks consolidated. A step is timed where training is steady: the first steps of the task, which
pay for buffers and caches, are left out.
"""

import statistics
import time

import torch
from torch.nn import functional

from cl_lib import EWC, MLP, Finetune, fit
from cl_lib.streams import from_tensors

N_SAMPLES, BATCH, EPOCHS, N_ROUNDS, N_REPLICAS = 1280, 32, 5, 5, 10
STEPS = EPOCHS * N_SAMPLES // BATCH  # of one task
SKIPPED = STEPS // 4
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


def fit_steps(stream, method, n_replicas):
    """Clock readings after each step of ``fit`` on the third task."""
    readings = []

    class Watched(type(method)):
        def after_step(self, *arguments):
            super().after_step(*arguments)
            readings.append(clock())

    watched = Watched(**vars(method))
    fit(lambda: MLP(64), stream, watched, seeds=range(n_replicas), **OPTIONS)
    return readings[2 * STEPS :]


def per_step(readings):
    """CPU and wall seconds of a step, once training is steady."""
    (cpu, wall), (cpu_end, wall_end) = readings[SKIPPED], readings[-1]
    n_steps = len(readings) - 1 - SKIPPED
    return (cpu_end - cpu) / n_steps, (wall_end - wall) / n_steps


def contenders():
    methods = {
        "finetune": Finetune(),
        "EWC, implicit": EWC(30.0),
        "EWC, gradient": EWC(30.0, step="gradient"),
    }
    yield "plain PyTorch", 1, plain_steps
    for n in (1, N_REPLICAS):
        for name, method in methods.items():
            yield name, n, lambda s, method=method, n=n: fit_steps(s, method, n)


def measure_steps(stream):
    times = {}
    for _ in range(N_ROUNDS):
        for name, n_replicas, run in contenders():
            times.setdefault((name, n_replicas), []).append(per_step(run(stream)))
    return times


def report_steps(times):
    print(f"64-100-100-10, batch {BATCH}, third task, torch {torch.__version__}, one thread,")
    print(f"medians of {N_ROUNDS} interleaved rounds; one replica's steps in a second")
    print(f"{'':16} {'replicas':>8} {'by CPU time [least, most]':>28} {'by wall':>9} {'ratio':>7}")
    baseline = statistics.median(cpu for cpu, _ in times["plain PyTorch", 1])
    for (name, n), found in times.items():
        cpu, wall = ([n / seconds for seconds in column] for column in zip(*found, strict=True))
        middle = statistics.median(cpu)
        spread = f"{middle:7.0f} [{min(cpu):.0f}, {max(cpu):.0f}]"
        line = f"{name:16} {n:8} {spread:>28} {statistics.median(wall):9.0f}"
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


def main():
    torch.set_num_threads(1)
    stream = made_up_stream()
    report_steps(measure_steps(stream))
    measure_population(stream)


if __name__ == "__main__":
    main()
