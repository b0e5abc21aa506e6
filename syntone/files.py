"""Atomic writes and locks: a file is written under a temporary name beside its target, then renamed.

A symbolic link is kept; the file that it points to is replaced.
"""

import csv
import errno
import io
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from syntone.errors import InputError


def _followed(path: str | Path) -> Path:
    return Path(os.path.realpath(path) if os.path.islink(path) else path)


def check_writable(path: str | Path, *, flag: str, folder: bool = False) -> Path:
    """Refuse a path that cannot become a file (or folder), before any work."""
    path = Path(path)
    if path.is_dir() if not folder else path.is_file():
        kind = "file; give a folder" if folder else "folder; give the path of a file"
        raise InputError(f"{flag}: {path} is a {kind}")
    target = _followed(path)
    existing = next(parent for parent in [target, *target.parents] if parent.exists())
    if not existing.is_dir() and existing != target:
        raise InputError(f"{flag}: {existing} is a file, so {path} cannot be made; choose another path")
    for place in (existing, existing if existing.is_dir() else existing.parent):  # where the temporary file is made
        if not os.access(place, os.W_OK):
            raise InputError(f"{flag}: {place} is not writable, so {path} cannot be written; choose another path")
    return path


@contextmanager
def lock(path: str | Path, *, flag: str) -> Iterator[None]:
    """Lock `path` against writes by other processes.

    Raises
    ------
    InputError
        If another process has the lock.
    """
    target = _followed(path)
    made = [folder for folder in target.parents if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    hidden = target.with_name(f".{target.name}.lock")
    try:
        with FileLock(hidden, blocking=False):
            try:
                yield
            finally:
                hidden.unlink(missing_ok=True)
    except Timeout:
        raise InputError(f"{flag}: another run is writing {path}; wait until it ends or give another path") from None
    finally:
        for folder in made:
            with suppress(OSError):  # not empty
                folder.rmdir()


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` after the block, or remove it on an error."""
    target = _followed(path)
    if target.is_dir():  # before write_files renames any
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as fault:
        if fault.filename in (None, str(temporary)):  # a failed write does not name its file
            fault.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; rename it to `path` after the block, or remove it on an error.

    The bytes are on the disk before the rename. The next write overwrites the temporary file of a killed process.
    """
    with _temporary(Path(path)) as temporary, open(temporary, "w+b") as handle:
        yield handle
        handle.flush()
        os.fsync(handle.fileno())


def write_files(files: Mapping[Path, bytes | str]) -> None:
    """Write files that belong together: all are written before any is replaced. Text is encoded as UTF-8."""
    with ExitStack() as written:
        for path, content in files.items():
            temporary = written.enter_context(_temporary(path))
            with open(temporary, "wb") as handle:  # closed at once: macOS allows 256 open files
                handle.write(content.encode("utf-8") if isinstance(content, str) else content)
                handle.flush()
                os.fsync(handle.fileno())


def csv_text(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return rows as CSV: numbers with all their digits, None and NaN as empty cells."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if isinstance(cell, float) and math.isnan(cell) else cell for cell in row])
    return text.getvalue()
