"""Command lines: flag types, one-line errors, exit statuses.

Exit statuses: 0 success; 1 fault of the machine (disk full, out of memory) or training that diverged; 2 mistake in the
input; 130 interrupted (SIGINT); 143 terminated (SIGTERM).
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
from collections.abc import Callable, Iterable
from pathlib import Path

from syntone.errors import InputError, MachineError, Terminated, one_line

MACHINE_FAULTS = {
    getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EIO", "EFBIG", "ENOMEM", "EMFILE", "ENFILE", "EROFS")
}


class Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keep the line breaks of the description and show default values."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or action.default == []:  # not informative
            return action.help
        return super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises errors of one line, without the usage."""

    def __init__(self, *, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False, formatter_class=Formatter)

    def error(self, message: str) -> None:
        message = message.removeprefix("argument ")
        raise InputError(message if "--help" in message else f"{message}; see --help")


MOST = 2**31 - 1  # of counts, which must fit into int32


def number(
    kind: type, *, least: float = -math.inf, most: float = math.inf, above: float = -math.inf
) -> Callable[[str], float]:
    """Return an argparse type: a finite number of `kind` (int or float) with `least` <= number <= `most`, > `above`."""
    wanted = "a whole number" if kind is int else "a finite number"
    wanted += f" above {above:g}" if math.isfinite(above) else f" from {least:g}" if math.isfinite(least) else ""
    wanted += f" to {most:g}" if most < MOST else " up" if math.isfinite(least) else ""

    def parse(text: str) -> float:
        try:
            value = kind(text)
            good = math.isfinite(value) and least <= value <= most and value > above
        except (ValueError, OverflowError):  # not a number, or a whole number of hundreds of digits
            good = False
        if not good:
            raise argparse.ArgumentTypeError(f"expected {wanted}, got {text[:40]!r}")
        return value

    return parse


positive_int = number(int, least=1, most=MOST)
nonnegative_int = number(int, least=0, most=MOST)
positive_float = number(float, above=0)
nonnegative_float = number(float, least=0)
finite_float = number(float)


def choose_defined(
    asked: list[str] | None, defined: Iterable[str], *, default: Iterable[str], flag: str, data: str
) -> list[str]:
    """Return the given names, or else those defaults that are defined for the data; refuse names that are not."""
    defined = list(defined)
    for name in asked or []:
        if name not in defined:
            raise InputError(f"{flag}: {name} is not defined for {data}; choose from {', '.join(defined) or 'none'}")
    chosen = asked or [name for name in default if name in defined]
    if not chosen:
        raise InputError(f"{flag}: no metric is defined for {data}; make a dataset with more levels")
    return chosen


def _on_sigterm(signum, frame) -> None:
    raise Terminated


def _is_out_of_memory(fault: BaseException) -> bool:
    # by name, since torch.OutOfMemoryError would need an import of torch
    return isinstance(fault, MemoryError) or "OutOfMemory" in type(fault).__name__ or "can't allocate" in str(fault)


def _status_of(fault: BaseException) -> tuple[int, str] | None:
    """Return exit status and message of a known fault, None for a bug."""
    match fault:
        case InputError():
            return 2, str(fault)
        case MachineError():
            return 1, str(fault)
        case KeyboardInterrupt():
            return 130, str(fault) or "interrupted"
        case Terminated():
            return 143, str(fault) or "terminated"
        case OSError() if fault.errno in MACHINE_FAULTS:
            where = fault.filename or "standard output"
            return 1, f"{where}: {fault.strerror}; free some space or choose another place, then run again"
        case OSError():
            where = f"{fault.filename}: " if fault.filename else ""
            return 2, f"{where}{fault.strerror or fault}; check the path and its permissions"
    if _is_out_of_memory(fault):
        return 1, f"out of memory: {one_line(fault)[:200]}; use a smaller grid or batch"
    return None


def _drop_broken_stdout() -> None:
    """Replace a standard output that cannot be written, since Python flushes it once more at exit."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def command(body: Callable[[list[str] | None], int | None]) -> Callable[[list[str] | None], int]:
    """Decorate the body of a script as `main(argv=None) -> int`: known faults become one line and an exit status."""

    @functools.wraps(body)
    def main(argv: list[str] | None = None) -> int:
        in_main_thread = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGTERM, _on_sigterm) if in_main_thread else None
        if isinstance(sys.stdout, io.TextIOWrapper):  # paths may contain undecodable bytes
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            status = body(argv) or 0
            sys.stdout.flush()  # errors are handled here, not at exit
            return status
        except BrokenPipeError:  # output is no longer read, for example `| head`
            return 1
        except BaseException as fault:
            known = _status_of(fault)
            if known is None:
                raise  # a bug: keep the traceback
            if os.environ.get("RANK", "0") != "0":
                time.sleep(10)  # rank 0 prints the same error, then torchrun ends this process
            print(f"{Path(sys.modules[body.__module__].__file__).name}: error: {one_line(known[1])}", file=sys.stderr)
            return known[0]
        finally:
            _drop_broken_stdout()
            if in_main_thread:
                signal.signal(signal.SIGTERM, before)

    return main
