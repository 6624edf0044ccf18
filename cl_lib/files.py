"""Files that are whole or not there, whatever happens while they are written."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is either whole or not there, whatever happens meanwhile."""
    write_together({path: content})


def write_together(contents: dict[Path, bytes]) -> None:
    """Write all of these files beside their places, then move each there, in this order.

    What is killed in between leaves some of them new and others as they were, but each whole.
    """
    waiting = []
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            number, part = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
            waiting.append((part, path))
            with os.fdopen(number, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(part, 0o644)
        while waiting:
            os.replace(*waiting[0])  # Windows replaces no open file
            waiting.pop(0)
    finally:
        for part, _ in waiting:
            Path(part).unlink(missing_ok=True)
    for folder in {path.parent for path in contents}:
        _sync(folder)


def _sync(folder: Path) -> None:
    """Let what was moved into a folder outlast a power cut, where the system can."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
