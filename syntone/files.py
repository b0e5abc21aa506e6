"""Writing files so that nothing is lost: to a temporary name beside the target, then renamed."""

import glob
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from syntone.cli import InputError


def check_writable_path(path: str | Path, *, flag: str) -> Path:
    """Refuse a path that can never become a file, before any work is done for it."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{flag}: {path} is a directory; give the path of a file")
    for parent in path.parents:
        if parent.exists():
            if not parent.is_dir():
                raise InputError(f"{flag}: {parent} is a file, so {path} cannot be made; choose another path")
            if not os.access(parent, os.W_OK):
                raise InputError(f"{flag}: {parent} is not writable; choose another path")
            break
    return path


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def temporary_path(path: Path) -> Path:
    """A name beside `path` for what is not whole yet; what killed processes of this machine left there is removed.

    Host and process stand in the name, so that two processes writing to one path both write whole files and the last
    one wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    start = f".{path.name}.{platform.node()}."
    for stale in path.parent.glob(f"{glob.escape(start)}*.tmp"):
        pid = stale.name.removeprefix(start).removesuffix(".tmp")
        if pid.isdigit() and not _is_running(int(pid)):
            stale.unlink(missing_ok=True)
    return path.with_name(f"{start}{os.getpid()}.tmp")


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; rename it to `path` when the block ends well, remove it when it does not.

    The bytes have reached the disk before the name appears.
    """
    path = Path(path)
    temporary = temporary_path(path)
    try:
        with open(temporary, "wb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except BaseException as fault:
        temporary.unlink(missing_ok=True)
        if isinstance(fault, OSError) and fault.filename in (None, str(temporary)):  # a failed write does not say of what
            fault.filename = str(path)
        raise


def write_text(path: str | Path, text: str) -> None:
    """Write a text file (UTF-8) whole or not at all."""
    with replacing(path) as handle:
        handle.write(text.encode("utf-8"))
