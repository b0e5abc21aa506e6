"""Writing files so that nothing is lost: to a temporary name beside the target, then renamed."""

import os
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


@contextmanager
def replacing(path: str | Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; rename it to `path` when the block ends well, remove it when it does not.

    With `sync` the bytes have reached the disk before the name appears. The name of the temporary file carries the
    process id, so that two processes writing to one path both write whole files and the last one wins.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as handle:
            yield handle
            handle.flush()
            if sync:
                os.fsync(handle.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: str | Path, text: str) -> None:
    """Write a text file (UTF-8) whole or not at all."""
    with replacing(path) as handle:
        handle.write(text.encode("utf-8"))
