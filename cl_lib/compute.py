"""Where units of work are computed: in this process, or on a Dask cluster."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from cl_lib.units import Outcome, Unit, run_unit


@dataclass(frozen=True)
class Here:
    """Compute in this process, one unit after the other."""

    device: str
    at_once: int = 1

    def __call__(self, units: list[Unit]) -> Iterator[tuple[Unit, Callable[[], Outcome]]]:
        """Yield each unit with what gives its outcome."""
        for unit in units:
            yield unit, partial(run_unit, unit, self.device)


@dataclass(frozen=True)
class Cluster:
    """Send units to a Dask cluster, which runs one again if its worker dies."""

    address: str
    device: str
    at_once: int = 1000

    def __call__(self, units: list[Unit]) -> Iterator[tuple[Unit, Callable[[], Outcome]]]:
        """Yield each unit with what gives its outcome, in the order in which they finish."""
        try:
            from dask.distributed import Client, as_completed
        except ImportError:
            raise ImportError(
                "scheduler needs the package distributed: pip install dask distributed."
            ) from None
        with Client(self.address) as client:
            futures = {
                client.submit(run_unit, unit, self.device, key=unit.key, pure=False): unit for unit in units
            }
            for future in as_completed(list(futures)):
                yield futures[future], partial(_outcome_of, future, futures[future])


def _outcome_of(future, unit: Unit) -> Outcome:
    """What came of a unit that was sent away."""
    from dask.distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        raise ChildProcessError(
            f"{unit}: the scheduler gave it up, since each worker that had it died ({error.allowed_failures} "
            "may). Give workers more memory or time, or raise distributed.scheduler.allowed-failures; the "
            "same command goes on from here."
        ) from None
