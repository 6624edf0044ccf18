"""Where units of work are computed: in this process, or on a Dask cluster."""

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import partial

from cl_lib.store import code_digest
from cl_lib.training import training_device
from cl_lib.units import Outcome, Unit, run_unit

_LOADED = code_digest()  # of the code as this process has it, also if the files change later
FIRST_WORKER = 60  # seconds in which a worker must have come to the scheduler


@dataclass(frozen=True)
class Here:
    """Compute in this process, one unit after the other."""

    device: str
    at_once: int = 1

    def on_cpu(self) -> bool:
        """Whether units should be small; refuses a device that is not there."""
        return training_device(self.device).type == "cpu"

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

    def on_cpu(self) -> bool:
        """Whether units should be small: where every worker that is there by now computes on a CPU.

        Refuses an address at which no scheduler answers, or to whose scheduler no worker comes.
        """
        with self._connect() as client:
            try:
                client.submit(int, pure=False).result(FIRST_WORKER)  # wakes one that grows with its work
            except TimeoutError:
                raise ValueError(
                    f"scheduler is {self.address!r}, which has no worker after {FIRST_WORKER} seconds: start "
                    f"some, such as with dask worker {self.address}, then give the command again."
                ) from None
            if self.device == "cpu":
                return True
            devices = client.run(training_device, self.device, on_error="ignore").values()
        return bool(devices) and all(device.type == "cpu" for device in devices)

    def _connect(self):
        try:
            from dask.distributed import Client
        except ImportError:
            raise ImportError(
                "scheduler needs the package distributed: pip install dask distributed."
            ) from None
        try:
            return Client(self.address)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"scheduler is {self.address!r}, where none answers ({error}); it must be the address that "
                "dask scheduler prints, such as tcp://head:8786."
            ) from None

    def _key(self, unit: Unit) -> str:
        """Under which the scheduler knows a unit: other code of another client is other work."""
        return f"{unit.key}-{self.device}-{_LOADED[:8]}"

    def __call__(self, units: list[Unit]) -> Iterator[tuple[Unit, Callable[[], Outcome]]]:
        """Yield each unit with what gives its outcome, in the order in which they finish."""
        if not units:
            return
        from dask.distributed import as_completed

        with self._connect() as client:
            job = partial(client.submit, run_elsewhere, pure=False)
            futures = {job(unit, self.device, _LOADED, key=self._key(unit)): unit for unit in units}
            for future in as_completed(list(futures)):
                yield futures[future], partial(_outcome_of, future, futures[future])


def place(device: str, scheduler: str | None) -> Here | Cluster:
    """Where units are computed: here, or where a scheduler is named, on its cluster."""
    return Here(device) if scheduler is None else Cluster(scheduler, device)


def run_elsewhere(unit: Unit, device: str, code: str) -> Outcome:
    """Train a unit on a worker, whose code must be that of the run which asks, by its digest.

    Raises
    ------
    ValueError
        If it is other code.
    """
    if code != _LOADED:
        raise ValueError(
            "a worker has other code of cl_lib, or other versions of what computes, than the run that "
            "sends it work: give all of them the same, then restart the workers."
        )
    return run_unit(unit, device)


def _outcome_of(future, unit: Unit) -> Outcome:
    """What came of a unit that was sent away."""
    from dask.distributed import KilledWorker

    try:
        return future.result()
    except CancelledError:
        raise ConnectionError(
            f"{unit}: the scheduler was lost, or has dropped it; once one is there, the same command goes on "
            "from here."
        ) from None
    except KilledWorker as error:
        raise ChildProcessError(
            f"{unit}: the scheduler gave it up, since each worker that had it died ({error.allowed_failures} "
            "may). Give workers more memory or time, or raise distributed.scheduler.allowed-failures; the "
            "same command goes on from here."
        ) from None
