"""The table of recordings: a CSV file with a header and one row per file.

Its first column names the files, relative to their folder; each other column is a factor: ordered where every cell is a
number, nominal where none is, with levels in the order of their values or names. Words of ordered factors are in the
order in which they first appear. Invisible characters and superfluous spaces are removed.
"""

import csv
import math
import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from syntone.dataset.splits import Levels
from syntone.dataset.validation import check_factor_names
from syntone.errors import InputError

INVISIBLE = r"\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
EDGES = re.compile(rf"^[\s{INVISIBLE}]+|[\s{INVISIBLE}]+$")
# What pandas, R and spreadsheets write for a missing value, in lower case, and Python's None; `none` is a word.
MISSING = set("- -- ? . na n/a nan -nan nat null #n/a #na <na> #value! #ref! #div/0! #name? #num! #null!".split())


@dataclass(frozen=True)
class Labels:
    """The table of recordings.

    files : N names
    names, kinds : of the K factors
    factors : (N, K) int32, level indices
    values : (N, K) float64, numbers of the table or level indices
    level_names : factor whose levels have names -> their names
    warnings : lines about levels that may not be what was meant
    """

    files: list[str]
    names: list[str]
    kinds: list[str]
    factors: np.ndarray
    values: np.ndarray
    level_names: dict[str, list[str]]
    warnings: list[str]

    @property
    def levels(self) -> Levels:
        """Kind, distinct values and names of the levels of every factor."""
        columns = zip(self.names, self.kinds, self.values.T)
        return {name: (kind, np.unique(column), self.level_names.get(name)) for name, kind, column in columns}


def read_labels(path: Path, folder: Path, *, ordered: Sequence[str] = (), nominal: Sequence[str] = ()) -> Labels:
    """Read the table of the recordings in a folder.

    Parameters
    ----------
    ordered, nominal : names of factors whose kind is given instead of being read from their cells

    Raises
    ------
    InputError
        If it is not a CSV file of equal rows with a header, names a file or a factor twice, lacks a value, or has
        numbers and other cells in a column whose kind is not given as nominal.
    """
    lines, (header, *body) = _read_rows(path)
    _check_layout(path, folder, header, lines, body)
    names = [_clean(cell) for cell in header[1:]]
    check_factor_names(names, where=path)
    for name in [*ordered, *nominal]:
        if name not in names:
            raise InputError(f"{path}: {name!r} is not a factor here; choose from {', '.join(names)}")
    if both := set(ordered) & set(nominal):
        raise InputError(f"{path}: factor {min(both)!r} is given as ordered and as nominal; choose one")
    kinds, factors, values, level_names, warnings = [], [], [], {}, []
    for name, cells in zip(names, zip(*(row[1:] for row in body))):
        given = "ordered" if name in ordered else "nominal" if name in nominal else None
        words = [_clean(cell) for cell in cells]
        numbers = _read_numbers(f"{path}: column {name!r}, row", lines, words, mixed=given == "nominal")
        kind = given or ("ordered" if numbers else "nominal")
        if numbers:
            _, first, levels = np.unique(numbers, return_index=True, return_inverse=True)
            found = [words[row] for row in first]
        else:
            found = list(dict.fromkeys(words)) if kind == "ordered" else sorted(set(words))
            place = {word: level for level, word in enumerate(found)}
            levels = np.array([place[word] for word in words])
            warnings += _doubts(name, found, kind=kind, given=given)
        if kind == "nominal" or not numbers:
            level_names[name] = found
        kinds.append(kind)
        factors.append(levels.astype(np.int32))
        values.append(np.array(numbers if numbers and kind == "ordered" else levels, dtype=np.float64))
    files = [row[0] for row in body]
    return Labels(files, names, kinds, np.stack(factors, axis=1), np.stack(values, axis=1), level_names, warnings)


def _read_rows(path: Path) -> tuple[list[int], list[list[str]]]:
    """Return line number and cells of every row that is not blank; cells without spaces and invisible edges."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as handle:
            reader = csv.reader(handle, skipinitialspace=True)
            rows = [(reader.line_num, [EDGES.sub("", cell) for cell in row]) for row in reader]
    except (csv.Error, UnicodeDecodeError) as damage:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({damage}); export it as one") from damage
    found = [(line, row) for line, row in rows if any(row)]
    for line, row in found:
        if broken := next((cell for cell in row if len(cell.splitlines()) > 1), None):
            raise InputError(f"{path}: row {line} has a line break in {broken[:40]!r}; close its quotes, or remove it")
    if found and len(found[0][1]) < 2:
        first = found[0][1][0][:200]
        raise InputError(f"{path}: its first row is one cell, {first!r}; separate file and factors by commas")
    if len(found) < 3:
        raise InputError(
            f"{path}: has {len(found)} rows; give a row of column names, and a row for each of 2 or more files"
        )
    return [line for line, _ in found], [row for _, row in found]


def _clean(cell: str) -> str:
    """Return a cell without invisible characters, with single spaces and composed accents."""
    return " ".join(re.sub(f"[{INVISIBLE}]", "", unicodedata.normalize("NFC", cell)).split())


def _check_layout(path: Path, folder: Path, header: list[str], lines: list[int], body: list[list[str]]) -> None:
    """Refuse a table without a header, with unequal rows, or whose first column does not name each file once."""

    def is_file(cell: str) -> bool:
        return cell.casefold().endswith(".wav") or os.path.isfile(folder / cell)

    if named := next(filter(is_file, header), None):
        raise InputError(f"{path}: its first row names the file {named!r}; begin with a row of column names")
    seen = {}
    for line, row in zip(lines[1:], body):
        if len(row) != len(header):
            raise InputError(
                f"{path}: row {line} has {len(row)} cells, the first row has {len(header)}: {str(header)[:200]}; "
                f"separate cells by commas, and use a decimal point in numbers"
            )
        if not row[0]:
            raise InputError(f"{path}: row {line} has no file name; complete it")
        column = next((k for k, cell in enumerate(row) if is_file(cell)), 0)
        if column:
            raise InputError(
                f"{path}: row {line} has the file name in column {column + 1}, {header[column]!r}; make it the first "
                f"column, without row numbers before it"
            )
        if (first := seen.setdefault(os.path.abspath(folder / row[0]), line)) != line:
            raise InputError(f"{path}: rows {first} and {line} name the same file, {row[0]!r}; name each once")


def _read_numbers(where: str, lines: Sequence[int], words: Sequence[str], *, mixed: bool) -> list[float] | None:
    """Return the numbers of a column, or None where it has other cells; refuse missing values, and both kinds of cells
    unless `mixed`."""
    found = [_number(word) for word in words]
    refused = not mixed and any(number is not None for number in found)
    for line, word, number in zip(lines[1:], words, found):
        if not word or word.casefold() in MISSING or word == "None":
            raise InputError(f"{where} {line}: a missing value ({word!r}); complete it, or leave the row out")
        if number is None and refused:
            raise InputError(
                f"{where} {line}: {word[:40]!r} is not a finite number, other cells of the column are; correct it, or "
                f"make the factor nominal"
            )
    return None if None in found else found


def _number(word: str) -> float | None:
    try:
        value = float(word.replace("\N{MINUS SIGN}", "-"))
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in word else None  # Python reads 1_2 as 12


def _doubts(name: str, levels: Sequence[str], *, kind: str, given: str | None) -> list[str]:
    """Lines about levels that are words."""
    found = []
    if kind == "ordered":
        found.append(f"factor {name} is ordered as its words first appear: {', '.join(levels[:20])}")
    elif given is None and all(re.match(r"\W*\d", level) for level in levels):
        found.append(
            f"factor {name} is nominal, since {levels[0]!r} is not a number; numbers are written as 220 or 0.5"
        )
    same = {}
    twins = next(
        (pair for level in levels if (pair := (same.setdefault(level.casefold(), level), level))[0] != level), None
    )
    if twins:
        found.append(f"factor {name}: {twins[0]!r} and {twins[1]!r} are two levels, though only their case differs")
    return found
