"""How a script begins and ends: flag types, one-line errors, exit statuses.

Exit statuses: 0 done, 1 a fault of the machine (disk full, out of memory) or a training that diverged, 2 a mistake in what
the user gave, 130 interrupted (SIGINT), 143 terminated (SIGTERM). Nothing here imports torch, so that a wrong flag is answered
before torch is loaded.
"""

import argparse
import contextlib
import errno
import functools
import io
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

WRITING_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG}
MACHINE_FAULTS = WRITING_FAULTS | {errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EROFS}


class InputError(ValueError):
    """A mistake in what the user gave: one line that says what, where and what to do. Exit status 2."""


class MachineError(RuntimeError):
    """A fault that is not in what the user gave, such as a full disk, or that shows only in the run. Exit status 1."""


class Terminated(BaseException):
    """SIGTERM arrived. Like KeyboardInterrupt, it passes every `except Exception`."""


class Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the commands of the module docstring as they stand and shows every flag's default."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False:  # "(default: None)" tells a reader nothing
            return action.help
        return super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line, without the usage before it."""

    def __init__(self, *, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False, formatter_class=Formatter)

    def error(self, message: str) -> None:
        message = message.removeprefix("argument ")
        raise InputError(message if "--help" in message else f"{message}; see --help")


def _number(text: str, kind: Callable[[str], float], accept: Callable[[float], bool], wanted: str) -> float:
    try:
        value = kind(text)
        good = math.isfinite(value) and accept(value)
    except (ValueError, OverflowError):  # no number, or a whole number with hundreds of digits
        good = False
    if not good:
        raise argparse.ArgumentTypeError(f"expected {wanted}, got {text[:40]!r}")
    return value


def positive_int(text: str) -> int:
    return _number(text, int, lambda v: 1 <= v < 2**31, "a whole number from 1 up, below 2^31")


def nonnegative_int(text: str) -> int:
    return _number(text, int, lambda v: 0 <= v < 2**31, "a whole number from 0 up, below 2^31")


def positive_float(text: str) -> float:
    return _number(text, float, lambda v: v > 0, "a finite number above 0")


def finite_float(text: str) -> float:
    return _number(text, float, lambda v: True, "a finite number")


def nonnegative_float(text: str) -> float:
    return _number(text, float, lambda v: v >= 0, "a finite number from 0 up")


def choose_defined(
    asked: list[str] | None, defined: Iterable[str], *, default: Iterable[str], flag: str, data: str
) -> list[str]:
    """What was asked for, refused where it is not defined for the data; without it, the defaults that are."""
    defined = list(defined)
    for name in asked or []:
        if name not in defined:
            raise InputError(f"{flag}: {name} is not defined for {data}; choose from {', '.join(defined) or 'none'}")
    chosen = asked or [name for name in default if name in defined]
    if not chosen:
        raise InputError(f"{flag}: no score is defined for {data}; make a dataset whose factors vary more")
    return chosen


def one_line(text: object) -> str:
    """The text on one line: paths, messages of other libraries and what is read from a stranger's file may hold line
    breaks, and codes that a terminal obeys."""
    words = " ".join(str(text).split())
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in words)


def _is_out_of_memory(fault: BaseException) -> bool:
    # torch's own class cannot be named here without importing torch
    return (
        isinstance(fault, MemoryError)
        or type(fault).__name__ == "OutOfMemoryError"
        or isinstance(fault, RuntimeError)
        and "can't allocate memory" in str(fault)
    )


def _on_sigterm(signum, frame) -> None:
    raise Terminated


def _end_at_once(signum, frame) -> None:
    status, word = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "terminated")}[signum]
    os.write(2, f"{Path(sys.argv[0]).name}: error: {word}\n".encode())
    os._exit(status)


def end_on_signals() -> None:
    """Answer Ctrl-C and SIGTERM in one line while a script still imports; `command` takes over from there.

    An exception raised inside an import may come out as another one, or abort the process; nothing is open yet, so the
    process can end on the spot. A signal that is ignored, as that of the keyboard is under nohup, stays ignored.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL, _on_sigterm):
            signal.signal(number, _end_at_once)


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """The same for imports inside a command, before it has opened anything."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    end_on_signals()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _came_from(fault: BaseException | None, kind: type[BaseException]) -> bool:
    """Whether an exception was raised because of one of that kind: a library may turn Ctrl-C into an error of its own."""
    return fault is not None and (isinstance(fault, kind) or _came_from(fault.__cause__ or fault.__context__, kind))


def _drop_broken_stdout() -> None:
    """Exchange a standard output that takes nothing more: at its end Python flushes it again, and would fail once more."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        return
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _leave_it_to_the_first(seconds: float = 10.0) -> None:
    """One of several processes of torchrun waits with its error: where the first has the same, it says so, and torchrun
    then ends this one. Where it has not, the error is this one's to say."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    time.sleep(seconds)


def command(body: Callable[[list[str] | None], int | None]) -> Callable[[list[str] | None], int]:
    """Make a script's `main(argv=None) -> int` from its body: known faults become one line and an exit status."""

    @functools.wraps(body)
    def main(argv: list[str] | None = None) -> int:
        prog = Path(sys.modules[body.__module__].__file__).name

        def fail(status: int, message: str) -> int:
            if os.environ.get("RANK", "0") != "0" and in_main_thread:
                _leave_it_to_the_first()
            print(f"{prog}: error: {one_line(message)}", file=sys.stderr)
            return status

        in_main_thread = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGTERM, _on_sigterm) if in_main_thread else None
        if in_main_thread and signal.getsignal(signal.SIGINT) is _end_at_once:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if isinstance(sys.stdout, io.TextIOWrapper):  # a path may hold bytes that are no letters
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            status = body(argv) or 0
            sys.stdout.flush()  # here its fault is answered; at Python's end it would not be
            return status
        except InputError as mistake:
            return fail(2, mistake)
        except MachineError as fault:
            return fail(1, fault)
        except OSError as fault:
            if isinstance(fault, BrokenPipeError):  # the reader of our output has left, for example `| head`
                return 1
            where = f"{fault.filename}: " if fault.filename else ""
            if fault.errno in MACHINE_FAULTS:
                if not where and fault.errno in WRITING_FAULTS:  # files.py names every file that it fails to write
                    where = "standard output: "
                return fail(1, f"{where}{fault.strerror}; free some space or choose another place, then run again")
            return fail(2, f"{where}{fault.strerror or fault}; check the path and its permissions")
        except KeyboardInterrupt as signal_:
            return fail(130, str(signal_) or "interrupted")
        except Terminated as signal_:
            return fail(143, str(signal_) or "terminated")
        except Exception as fault:
            if _came_from(fault, KeyboardInterrupt):
                return fail(130, "interrupted")
            if _came_from(fault, Terminated):
                return fail(143, "terminated")
            if _is_out_of_memory(fault):
                return fail(1, f"out of memory: {one_line(fault)[:200]}; use a smaller grid or batch")
            raise  # a defect of ours: the traceback is what its report needs
        finally:
            _drop_broken_stdout()
            if in_main_thread:
                signal.signal(signal.SIGTERM, before)

    return main
