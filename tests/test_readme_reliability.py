"""The counts in the README's reliability section are those of the tests."""

import re
import sys
from pathlib import Path

import pytest
import test_faults
import test_fuzz
import test_kills

ROOT = Path(__file__).resolve().parent.parent


def counts(what: str) -> list[int]:
    """The numbers of the table's row that begins with `what`."""
    row = next(line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith(f"| {what}"))
    return [int(cell.replace(",", "")) for cell in re.findall(r"\| ([\d,]+) (?=\|)", row)]


def test_the_catalogue_has_as_many_cases(request):
    items = [item for item in request.session.items if item.get_closest_marker("catalogue")]
    if len({item.path for item in items}) < len(list((ROOT / "tests").glob("test_catalogue_*.py"))):
        pytest.skip("only a part of the catalogue was collected")
    if sys.platform != "linux":
        pytest.skip("some places are bad on Linux only")
    assert counts("bad inputs") == [len(items)]


def test_the_fuzz_draws_as_many_files():
    n_kinds = len(test_fuzz.READERS) * len(test_fuzz.DAMAGES)
    assert counts("damaged datasets") == [n_kinds * test_fuzz.N_SHORT, n_kinds * test_fuzz.N_LONG]


def test_as_many_runs_are_killed():
    short = test_faults.N_SHORT + sum(test_kills.SHORT.values())
    assert counts("SIGKILLs") == [short, test_faults.N_LONG * test_faults.N_EACH + sum(test_kills.LONG.values())]
