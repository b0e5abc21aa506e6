"""Writing files so that nothing is lost: to a temporary name beside the target, then renamed, by one run at a time."""

import errno
import fcntl
import glob
import os
import platform
import queue
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


def check_writable_folder(path: str | Path, *, flag: str) -> Path:
    """Refuse a path that can never become a folder to write into."""
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise InputError(f"{flag}: {path} is a file; give a folder")
    check_writable_path(path / "file", flag=flag)
    return path


@contextmanager
def locked(path: str | Path, *, flag: str) -> Iterator[None]:
    """Keep other runs from writing the file `path` for the duration of the block.

    The lock is a hidden file beside it, removed at the end together with the folders that were made for it and are still
    empty. What a killed process leaves of it locks nothing.

    Raises
    ------
    InputError
        If another run holds it.
    """
    path = Path(path)
    made = [place for place in path.parents if not place.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = path.with_name(f".{path.name}.lock")
        handle = _take(lock)
        if handle is None:
            raise InputError(f"{flag}: another run is writing {path}; wait for its end or give another path")
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            os.close(handle)
    finally:
        for place in made:
            with suppress(OSError):  # something was written there
                place.rmdir()


def _take(lock: Path) -> int | None:
    """The lock file, open and locked; None where another process holds it."""
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError as fault:
            if fault.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise  # those are of file systems without locks: better unguarded there than not at all
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(lock)):
                return handle
        os.close(handle)  # its last holder has just removed it: once more


@contextmanager
def staged(folder: str | Path, *, flag: str) -> Iterator[Path]:
    """A temporary folder inside `folder`. What the block wrote there is moved into `folder` when it ends well, and removed
    when it does not, so that files which belong together appear together. One run at a time, as with `locked`."""
    folder = Path(folder)
    with locked(folder / "results", flag=flag):
        stage = temporary_path(folder / "results")
        stage.mkdir()
        try:
            yield stage
            for path in sorted(stage.rglob("*")):
                target = folder / path.relative_to(stage)
                target.mkdir(exist_ok=True) if path.is_dir() else os.replace(path, target)
        except OSError as fault:
            fault.filename = str(fault.filename or folder).replace(
                str(stage), str(folder)
            )  # the place that the user knows
            raise
        finally:
            shutil.rmtree(stage)


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
            shutil.rmtree(stale) if stale.is_dir() else stale.unlink(missing_ok=True)
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
        if isinstance(fault, OSError) and fault.filename in (
            None,
            str(temporary),
        ):  # a failed write does not say of what
            fault.filename = str(path)
        raise


class WriteBehind:
    """A file opened for writing whose large writes happen in a thread, so that what comes next is computed meanwhile.

    The thread also syncs now and then: the disk works from the start, not only at the end. At most `n_waiting` buffers
    wait, none after one of WAIT_BYTES or more, and they must not change after they were given. What goes wrong in the
    thread is raised by the next call.
    """

    SYNC_BYTES, WAIT_BYTES = 64 * 2**20, 8 * 2**20

    def __init__(self, handle: BinaryIO, *, n_waiting: int = 4) -> None:
        self._handle, self._queue, self._fault = handle, queue.Queue(n_waiting), None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        unsynced, sync = 0, getattr(os, "fdatasync", os.fsync)  # macOS has fsync alone
        while (data := self._queue.get()) is not None:
            try:
                if self._fault is None:
                    self._handle.write(data)
                    unsynced += memoryview(data).nbytes
                    if unsynced >= self.SYNC_BYTES:
                        self._handle.flush()
                        sync(self._handle.fileno())
                        unsynced = 0
            except BaseException as fault:  # raised by the thread that writes, which can do something about it
                self._fault = fault
            finally:
                data = None  # a buffer that is written is not kept until the next comes
                self._queue.task_done()

    def _drain(self) -> None:
        self._queue.join()
        if self._fault is not None:
            raise self._fault

    def write(self, data: bytes | memoryview) -> int:
        if self._fault is not None:
            raise self._fault
        n_bytes = memoryview(data).nbytes
        self._queue.put(data)
        if n_bytes >= self.WAIT_BYTES:
            self._drain()
        return n_bytes

    def tell(self) -> int:
        self._drain()
        return self._handle.tell()

    def seek(self, *where: int) -> int:
        self._drain()
        return self._handle.seek(*where)

    def flush(self) -> None:
        self._drain()
        self._handle.flush()

    def __enter__(self) -> "WriteBehind":
        return self

    def __exit__(self, kind, *rest) -> None:
        self._queue.put(None)
        self._thread.join()
        if self._fault is not None and kind is None:
            raise self._fault


def write_text(path: str | Path, text: str) -> None:
    """Write a text file (UTF-8) whole or not at all."""
    with replacing(path) as handle:
        handle.write(text.encode("utf-8"))
