"""How a result was made: the machine, the versions of what computes, the commit."""

import importlib.metadata
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import torch

try:
    import resource
except ImportError:  # on Windows
    resource = None


def record_of(device: str, seconds: float) -> dict:
    """How and when a unit was made; the peak of memory is the unit's on a GPU, else of the process so far."""
    if device.startswith("cuda"):
        name, peak = torch.cuda.get_device_name(device), torch.cuda.max_memory_allocated(device)
    else:
        name = f"{processor()}, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"
        peak = _peak_memory()
    return {
        "device": name,
        "seconds": round(seconds, 3),
        "peak_mib": peak and round(peak / 2**20),
        "versions": versions(),
        "git": loaded(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Of Python and of what computes."""
    others = {name: importlib.metadata.version(name) for name in ("torch", "numpy")}
    return {"python": platform.python_version(), **others}


def _peak_memory() -> int | None:
    """Most bytes that this process has held; None where the system does not tell."""
    if resource is None:
        return None
    unit_of = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_of


@lru_cache(maxsize=1)
def processor() -> str:
    """The processor's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf8") as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def git_state() -> dict:
    """The commit, and whether tracked files differ from it; ``None`` where no repository has the package."""
    here = Path(__file__)

    def git(*arguments: str) -> str | None:
        options = {"cwd": here.parent, "capture_output": True, "text": True, "check": True}
        try:
            return subprocess.run(["git", *arguments], **options).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return None

    if git("ls-files", "--error-unmatch", here.name) is None:  # installed below somebody else's repository
        return {"commit": None, "dirty": None}
    changed = git("--no-optional-locks", "status", "--porcelain", "--untracked-files=no", "--", ".")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if changed is None else bool(changed)}


@lru_cache(maxsize=1)
def loaded() -> dict:
    """The state of the code when this process first asked, also if the files change later."""
    return git_state()
