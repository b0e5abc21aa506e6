"""How a script begins and ends: flag types, one-line errors, exit statuses.

Exit statuses: 0 done, 1 a fault of the machine (disk full, out of memory), 2 a mistake in what the user gave,
130 interrupted (SIGINT), 143 terminated (SIGTERM). Nothing here imports torch, so that a wrong flag is answered
before torch is loaded.
"""

import argparse
import errno
import functools
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

MACHINE_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EROFS}


class InputError(ValueError):
    """A mistake in what the user gave: one line that says what, where and what to do. Exit status 2."""


class MachineError(RuntimeError):
    """A fault that is not the user's, such as a full disk. Exit status 1."""


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
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and accept(value)):
        raise argparse.ArgumentTypeError(f"expected {wanted}, got {text!r}")
    return value


def positive_int(text: str) -> int:
    return _number(text, int, lambda v: 1 <= v < 2**31, "a whole number from 1 up")


def nonnegative_int(text: str) -> int:
    return _number(text, int, lambda v: 0 <= v < 2**31, "a whole number from 0 up")


def positive_float(text: str) -> float:
    return _number(text, float, lambda v: v > 0, "a finite number above 0")


def finite_float(text: str) -> float:
    return _number(text, float, lambda v: True, "a finite number")


def nonnegative_float(text: str) -> float:
    return _number(text, float, lambda v: v >= 0, "a finite number from 0 up")


def choose_defined(asked: list[str] | None, defined: Iterable[str], *, default: Iterable[str], flag: str, data: str) -> list[str]:
    """What was asked for, refused where it is not defined for the data; without it, the defaults that are."""
    defined = list(defined)
    for name in asked or []:
        if name not in defined:
            raise InputError(f"{flag}: {name} is not defined for {data}; choose from {', '.join(defined) or 'none'}")
    chosen = asked or [name for name in default if name in defined]
    if not chosen:
        raise InputError(f"{flag}: no score is defined for {data}; make a dataset whose factors vary more")
    return chosen


def one_line(text: str) -> str:
    """The text on one line: paths and messages of other libraries may hold line breaks."""
    return " ".join(str(text).split())


def _is_out_of_memory(fault: BaseException) -> bool:
    # torch's own class cannot be named here without importing torch
    return (isinstance(fault, MemoryError) or type(fault).__name__ == "OutOfMemoryError"
            or isinstance(fault, RuntimeError) and "can't allocate memory" in str(fault))


def _on_sigterm(signum, frame) -> None:
    raise Terminated


def command(body: Callable[[list[str] | None], int | None]) -> Callable[[list[str] | None], int]:
    """Make a script's `main(argv=None) -> int` from its body: known faults become one line and an exit status."""

    @functools.wraps(body)
    def main(argv: list[str] | None = None) -> int:
        prog = Path(sys.modules[body.__module__].__file__).name

        def fail(status: int, message: str) -> int:
            print(f"{prog}: error: {one_line(message)}", file=sys.stderr)
            return status

        in_main_thread = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGTERM, _on_sigterm) if in_main_thread else None
        try:
            return body(argv) or 0
        except InputError as mistake:
            return fail(2, mistake)
        except MachineError as fault:
            return fail(1, fault)
        except OSError as fault:
            if isinstance(fault, BrokenPipeError):  # the reader of our output has left, for example `| head`
                sys.stdout = open(os.devnull, "w")
                return 1
            where = f"{fault.filename}: " if fault.filename else ""
            if fault.errno in MACHINE_FAULTS:
                return fail(1, f"{where}{fault.strerror}; free some space or choose another place, then run again")
            return fail(2, f"{where}{fault.strerror or fault}; check the path and its permissions")
        except KeyboardInterrupt:
            return fail(130, "interrupted")
        except Terminated:
            return fail(143, "terminated")
        except Exception as fault:
            if _is_out_of_memory(fault):
                return fail(1, f"out of memory: {one_line(fault)[:200]}; use a smaller grid or batch")
            raise  # a defect of ours: the traceback is what its report needs
        finally:
            if in_main_thread:
                signal.signal(signal.SIGTERM, before)

    return main
