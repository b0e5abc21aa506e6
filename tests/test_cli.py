"""Flag types, one-line errors and exit statuses."""

import argparse
import errno
import os
import subprocess
import sys

import pytest
from sandbox import ROOT

from syntone.cli import Parser, choose_defined, command, number, positive_int
from syntone.errors import InputError, MachineError, Terminated, one_line


@pytest.mark.parametrize(
    "parse, good, value",
    [
        (number(int, least=1), "3", 3),
        (number(float, least=0), "0", 0.0),
        (number(float, above=0), "1e-9", 1e-9),
        (number(float, least=-1, most=1), "-1", -1.0),
        (number(float), "-1e300", -1e300),
        (positive_int, "2147483647", 2**31 - 1),
    ],
)
def test_numbers_within_their_range(parse, good, value):
    assert parse(good) == value


@pytest.mark.parametrize(
    "parse, wrong, wanted",
    [
        (number(int, least=1), "0", "a whole number from 1 up"),
        (number(int, least=1), "2.5", "a whole number from 1 up"),
        (number(int, least=1), "9" * 5000, "a whole number from 1 up"),  # more digits than Python converts
        (positive_int, "2147483648", "a whole number from 1 up"),
        (number(float, least=0), "-1e-9", "a finite number from 0 up"),
        (number(float, above=0), "0", "a finite number above 0"),
        (number(float, above=0, most=5), "6", "a finite number above 0 to 5"),
        (number(float, least=1, most=5), "0.5", "a finite number from 1 to 5"),
        (number(float), "nan", "a finite number"),
        (number(float), "1e400", "a finite number"),
        (number(float), "text", "a finite number"),
    ],
)
def test_numbers_outside_their_range(parse, wrong, wanted):
    with pytest.raises(argparse.ArgumentTypeError, match=f"expected {wanted}, got '{wrong[:40]}'"):
        parse(wrong)


def test_a_wrong_flag_is_one_line_without_usage():
    parser = Parser(prog="p.py", description="")
    parser.add_argument("--epochs", type=positive_int)
    with pytest.raises(InputError, match="^--epochs: expected a whole number from 1 up, got 'x'; see --help$"):
        parser.parse_args(["--epochs", "x"])
    with pytest.raises(InputError, match="unrecognized arguments: --epoch 3"):  # no abbreviations
        parser.parse_args(["--epoch", "3"])


def test_metrics_that_are_not_defined_are_refused():
    assert choose_defined(None, ["a", "b"], default=["b", "c"], flag="--m", data="x") == ["b"]
    with pytest.raises(InputError, match="--m: c is not defined for x; choose from a, b"):
        choose_defined(["c"], ["a", "b"], default=["b"], flag="--m", data="x")
    with pytest.raises(InputError, match="--m: no metric is defined for x"):
        choose_defined(None, [], default=["b"], flag="--m", data="x")


def test_one_line_has_no_breaks_and_no_terminal_codes():
    assert one_line("a\n  b\x1b[31m") == r"a b\x1b[31m"


@pytest.mark.parametrize(
    "fault, status, line",
    [
        (InputError("wrong"), 2, "wrong"),
        (MachineError("diverged"), 1, "diverged"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (KeyboardInterrupt("in epoch 3"), 130, "in epoch 3"),
        (Terminated(), 143, "terminated"),
        (
            OSError(errno.ENOSPC, "No space left on device", "a.npz"),
            1,
            "a.npz: No space left on device; free some space",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "a.npz"), 2, "a.npz: Permission denied; check the path"),
        (MemoryError(), 1, "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 1, "out of memory: DefaultCPUAllocator"),
    ],
)
def test_a_known_fault_is_one_line_and_a_status(capsys, fault, status, line):
    @command
    def main(argv):
        raise fault

    assert main([]) == status
    err = capsys.readouterr().err
    assert err.startswith(f"test_cli.py: error: {line}") and err.count("\n") == 1


def test_a_defect_of_ours_keeps_its_traceback():
    @command
    def main(argv):
        return 1 / 0

    with pytest.raises(ZeroDivisionError):
        main([])


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has a device that is always full")
def test_an_output_that_cannot_be_written_is_one_line():
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with open("/dev/full", "wb") as full:
        run = subprocess.run(
            [sys.executable, str(ROOT / "create.py"), "--help"], stdout=full, stderr=subprocess.PIPE, env=buffered
        )
    assert run.returncode in (0, 1) and b"Traceback" not in run.stderr


def test_a_reader_that_leaves_ends_the_script_quietly():
    script = (
        f"{sys.executable} -c \"import syntone.cli as c; f = c.command(lambda a: print('x' * 10**6)); f()\" | head -c 1"
    )
    run = subprocess.run(script, shell=True, cwd=ROOT, capture_output=True)
    assert run.stdout == b"x" and run.stderr == b""
