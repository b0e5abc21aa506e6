"""Read the CSV table of recordings: file names and factors.

The first row is a header. The first column contains file names relative to the folder of the recordings; each other
column is a factor. A column of numbers is ordered and any other column nominal, unless its kind is given. Levels are
sorted by value or name; ordered words keep the order of first appearance.
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
# Missing values as pandas, R and spreadsheets write them, in lower case. `None` is one, but `none` is a level's name.
MISSING = set("- -- ? . na n/a nan -nan nat null #n/a #na <na> #value! #ref! #div/0! #name? #num! #null!".split())


@dataclass(frozen=True)
class Labels:
    """The table of N recordings and K factors.

    files : names of the N files
    names, kinds : of the K factors
    factors : (N, K) int32, level indices
    values : (N, K) float64, numbers of the table, or level indices
    level_names : name of a factor without numbers -> names of its levels
    warnings : one line each
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
        columns = zip(self.names, self.kinds, self.values.T)
        return {name: (kind, np.unique(column), self.level_names.get(name)) for name, kind, column in columns}


def read_labels(path: Path, folder: Path, *, ordered: Sequence[str] = (), nominal: Sequence[str] = ()) -> Labels:
    """Read the table of the recordings in a folder.

    Parameters
    ----------
    ordered, nominal : names of factors whose kind is given

    Raises
    ------
    InputError
        If the file is not CSV in UTF-8 with a header and rows of equal length, a file or a factor occurs twice, a value
        is missing, or a column that is not given as nominal mixes numbers with other cells.
    """
    lines, (header, *body) = _read_rows(path)
    _check_layout(path, folder, header, lines[1:], body)
    names = [_clean(cell) for cell in header[1:]]
    check_factor_names(names, where=path)
    for name in [*ordered, *nominal]:
        if name not in names:
            raise InputError(f"{path}: unknown factor {name!r}; choose from {', '.join(names)}")
        if name in ordered and name in nominal:
            raise InputError(f"{path}: factor {name!r} is given as both ordered and nominal; choose one")
    kinds, factors, values, level_names, warnings = [], [], [], {}, []
    for name, *cells in zip(names, *(row[1:] for row in body)):
        words = [_clean(cell) for cell in cells]
        numbers = _read_numbers(f"{path}: column {name!r}, row", lines[1:], words, mixed=name in nominal)
        kind = "nominal" if name in nominal or (numbers is None and name not in ordered) else "ordered"
        keys = words if numbers is None else numbers
        _, first, levels = np.unique(keys, return_index=True, return_inverse=True)
        if numbers is None:
            if kind == "ordered":
                appearance = np.argsort(first)
                first, levels = first[appearance], np.argsort(appearance)[levels]
            warnings += _word_warnings(name, [words[row] for row in first], kind=kind, given=name in nominal)
        if kind == "nominal" or numbers is None:
            level_names[name] = [words[row] for row in first]
        kinds.append(kind)
        factors.append(levels.astype(np.int32))
        values.append(np.array(levels if name in level_names else numbers, dtype=np.float64))
    files = [row[0] for row in body]
    return Labels(files, names, kinds, np.stack(factors, axis=1), np.stack(values, axis=1), level_names, warnings)


def _read_rows(path: Path) -> tuple[list[int], list[list[str]]]:
    """Return line number and cells of every row that is not blank; cells without spaces and invisible edges."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as handle:
            reader = csv.reader(handle, skipinitialspace=True)
            rows = [(reader.line_num, [EDGES.sub("", cell) for cell in row]) for row in reader]
    except (csv.Error, UnicodeDecodeError) as damage:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({damage}); export it as CSV in UTF-8") from damage
    rows = [(line, row) for line, row in rows if any(row)]
    for line, row in rows:
        if broken := next((cell for cell in row if len(cell.splitlines()) > 1), None):
            raise InputError(f"{path}: row {line} has a line break in {broken[:40]!r}; remove it or close the quotes")
    if rows and len(rows[0][1]) < 2:
        raise InputError(f"{path}: the header has one cell, {rows[0][1][0][:200]!r}; separate columns by commas")
    if len(rows) < 3:
        raise InputError(f"{path}: has {len(rows)} rows, expected a header and a row for each of 2 or more files")
    return [line for line, _ in rows], [row for _, row in rows]


def _clean(cell: str) -> str:
    """Return a cell without invisible characters, with single spaces and composed accents."""
    return " ".join(re.sub(f"[{INVISIBLE}]", "", unicodedata.normalize("NFC", cell)).split())


def _check_layout(path: Path, folder: Path, header: list[str], lines: list[int], body: list[list[str]]) -> None:
    """Refuse a missing header, rows of unequal length, and a first column that does not name each file once."""

    def is_file(cell: str) -> bool:
        return cell.casefold().endswith(".wav") or os.path.isfile(folder / cell)

    if named := next(filter(is_file, header), None):
        raise InputError(f"{path}: the header contains the file name {named!r}; add a first row of column names")
    seen = {}
    for line, row in zip(lines, body):
        where = f"{path}: row {line}"
        if len(row) != len(header):
            raise InputError(
                f"{where} has {len(row)} cells and the header {len(header)}: {str(header)[:200]}; separate cells by "
                f"commas, and use a decimal point in numbers"
            )
        if not row[0]:
            raise InputError(f"{where} has no file name; add it")
        column = next((k for k, cell in enumerate(row) if is_file(cell)), 0)
        if column:
            raise InputError(
                f"{where} has the file name in column {column + 1}, {header[column]!r}; make it the first column, and "
                f"remove row numbers"
            )
        if (first := seen.setdefault(os.path.abspath(folder / row[0]), line)) != line:
            raise InputError(f"{where} names the same file as row {first}, {row[0]!r}; list each file once")


def _read_numbers(where: str, lines: Sequence[int], words: Sequence[str], *, mixed: bool) -> list[float] | None:
    """Return the numbers of a column, or None if it has other cells.

    Missing values are refused, and numbers beside other cells unless `mixed`.
    """
    found = [_number(word) for word in words]
    refused = not mixed and any(number is not None for number in found)
    for line, word, number in zip(lines, words, found):
        if not word or word.casefold() in MISSING or word == "None":
            raise InputError(f"{where} {line}: missing value ({word!r}); fill it in or remove the row")
        if number is None and refused:
            raise InputError(
                f"{where} {line}: {word[:40]!r} is not a finite number, but other cells of the column are; correct it "
                f"or make the factor nominal"
            )
    return None if None in found else found


def _number(word: str) -> float | None:
    try:
        value = float(word.replace("\N{MINUS SIGN}", "-"))
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in word else None  # Python reads 1_2 as 12


def _word_warnings(name: str, levels: Sequence[str], *, kind: str, given: bool) -> list[str]:
    """Return warnings about levels that are words."""
    found = []
    if kind == "ordered":
        found.append(f"levels of {name} are ordered by first appearance: {', '.join(levels[:20])}")
    elif not given and all(re.match(r"\W*\d", level) for level in levels):
        found.append(f"factor {name} is nominal because {levels[0]!r} is not a number; write numbers as 220 or 0.5")
    folded: dict[str, str] = {}
    for level in levels:
        if (twin := folded.setdefault(level.casefold(), level)) != level:
            found.append(f"factor {name}: levels {twin!r} and {level!r} differ only in case")
            break
    return found
