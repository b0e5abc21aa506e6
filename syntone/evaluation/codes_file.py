"""Files of codes that a user computed with an encoder of their own: .npz, .npy or .csv. Nothing is ever unpickled."""

import csv
import errno
import re
import zipfile
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from syntone.dataset.file import DAMAGE, pack_members
from syntone.errors import InputError, one_line

MEMBERS = ("codes", "active", "name", "seed")  # of a .npz; others are ignored
SUFFIXES = (".npz", ".npy", ".csv")
SAVE = "np.savez(path, codes=codes)"


@dataclass(frozen=True, eq=False)
class GivenCodes:
    """Codes (N, D), and which latents are active, bool (D,), or None if the file does not say."""

    name: str
    seed: int
    codes: np.ndarray
    active: np.ndarray | None = None


def codes_file(given: GivenCodes) -> bytes:
    """Return the contents of a .npz that `read_codes` reads; equal codes give equal bytes."""
    members = {"codes": given.codes, "active": given.active, "name": np.array(given.name), "seed": np.array(given.seed)}
    buffer = BytesIO()
    present = {key: array for key, array in members.items() if array is not None}
    pack_members(buffer, present, compression=zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def read_codes(path: Path, *, n_rows: int) -> GivenCodes:
    """Read the codes of `n_rows` tones, one row per tone in the order of the dataset.

    Floating-point codes keep their precision; integers and numbers of a CSV become float64. A .npz may hold `active`,
    `name` and `seed` beside `codes`. Otherwise name and seed are those of a file name `<name>_seed<S>.npz`, or the
    file name and 0.

    Raises
    ------
    InputError
        If the file is missing or damaged, the codes are not finite numbers (n_rows, D), or another member does not fit.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: expected codes in a file that ends in {', '.join(SUFFIXES)}; write it with {SAVE}")
    if not path.is_file():
        raise InputError(f"{path}: no such file; write it with {SAVE}")
    members = _read_csv(path) if path.suffix.lower() == ".csv" else _read_arrays(path)
    codes = _check_codes(members["codes"], n_rows=n_rows, path=path)
    active = members.get("active")
    if active is not None and (active.dtype != bool or active.shape != codes.shape[1:]):
        raise InputError(
            f"{path}: 'active' is {_shown(active)}, expected {codes.shape[1]} booleans, one per latent; correct it or "
            "leave it out"
        )
    in_file_name = re.fullmatch("(.+)_seed([0-9]+)", path.stem)
    name, seed = in_file_name.groups() if in_file_name else (path.stem, "0")
    name, seed = members.get("name", np.array(name)), members.get("seed", np.array(int(seed)))
    return GivenCodes(_check_name(name, path=path), _check_seed(seed, path=path), codes, active)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the members of a .npz that are known, or the array of a .npy as its codes."""
    try:
        with open(path, "rb") as handle:
            loaded = np.load(handle, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"codes": loaded}
            if "codes" not in loaded.files:
                found = one_line(", ".join(loaded.files))[:200] or "no member"
                raise InputError(f"{path}: has no member 'codes', only {found}; write it with {SAVE}")
            return {key: np.asarray(loaded[key]) for key in MEMBERS if key in loaded.files}
    except InputError:
        raise
    except (*DAMAGE, zlib.error, OSError) as damage:
        if isinstance(damage, OSError) and damage.errno != errno.EINVAL:  # EINVAL: a place before the file's start
            raise
        raise InputError(
            f"{path}: cannot be read as codes ({one_line(damage)[:200]}); write it again with {SAVE}, where codes is "
            "an array of numbers"
        ) from damage


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    """Return the codes of a CSV with a header."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle)
            rows = [(reader.line_num, row) for row in reader if row]
    except (csv.Error, UnicodeDecodeError) as damage:
        raise InputError(f"{path}: cannot be read as CSV ({one_line(damage)[:200]}); save it as UTF-8") from damage
    header = rows[0][1] if rows else []
    # Column names of pandas are 0, 1, ...; another line of numbers is the codes of the first tone.
    if header != [str(column) for column in range(len(header))] and all(_number(cell) is not None for cell in header):
        raise InputError(f"{path}: the first line has no names of columns; add a header such as z0,z1,z2")
    if header and not header[0].strip():
        raise InputError(f"{path}: the first column has no name, as an index that pandas writes; leave it out")
    codes = np.empty((len(rows[1:]), len(header)))
    for index, (line, row) in enumerate(rows[1:]):
        if len(row) != len(header):
            raise InputError(f"{path}: line {line} has {len(row)} cells, the header {len(header)}; correct it")
        for column, cell in enumerate(row):
            value = _number(cell)
            if value is None:
                raise InputError(
                    f"{path}: line {line}, column {one_line(header[column])!r} has {one_line(cell)[:40]!r}, expected a "
                    "number such as 0.5; separate columns with commas"
                )
            codes[index, column] = value
    return {"codes": codes}


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _check_codes(codes: np.ndarray, *, n_rows: int, path: Path) -> np.ndarray:
    if codes.dtype.kind not in "biuf":
        raise InputError(f"{path}: the codes are {codes.dtype}, expected real numbers; convert them to float")
    if codes.ndim != 2 or codes.shape[0] != n_rows or codes.shape[1] == 0:
        advice = "give one row per tone, in the order of the dataset"
        if codes.ndim == 1:
            advice = "save one latent as codes[:, None]"
        elif codes.ndim == 2 and codes.shape[1] == n_rows:
            advice = "save the transpose, codes.T"
        raise InputError(f"{path}: the codes have shape {codes.shape}, expected ({n_rows}, latents); {advice}")
    kept = codes.dtype.kind == "f" and codes.dtype.itemsize <= 8
    with np.errstate(over="ignore"):  # of long double, reported below
        codes = codes.astype(codes.dtype.newbyteorder("=") if kept else np.float64, order="C")
    nonfinite = np.argwhere(~np.isfinite(codes))
    if len(nonfinite):
        row, column = nonfinite[0]
        raise InputError(
            f"{path}: {len(nonfinite)} codes are NaN or infinite, the first in row {row}, column {column} (both "
            "counted from 0); correct the encoder"
        )
    return codes


def _check_name(name: np.ndarray, *, path: Path) -> str:
    text = name.item() if name.ndim == 0 and name.dtype.kind == "U" else ""
    if not text.strip() or not text.isprintable() or set(text) & set("/\\"):
        raise InputError(f"{path}: the name is {_shown(name)}, expected printable text without / and \\; give another")
    return text


def _check_seed(seed: np.ndarray, *, path: Path) -> int:
    if seed.ndim or seed.dtype.kind not in "iu" or seed < 0:
        raise InputError(f"{path}: 'seed' is {_shown(seed)}, expected one whole number of at least 0; correct it")
    return int(seed)


def _shown(array: np.ndarray) -> str:
    return f"{array.tolist()!r:.80} ({array.dtype})"
