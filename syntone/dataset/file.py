"""Write and read dataset files (.npz).

Members are stored without compression and with a fixed time stamp. The same options therefore give the same bytes, and
the waveforms can be mapped into memory instead of being read. Nothing is ever unpickled.
"""

import errno
import json
import math
import mmap
import struct
import sys
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from syntone.dataset.validation import FORMAT_VERSION, KEYS, LARGEST_SAVED, check_factor_names, first_beyond, misfit
from syntone.errors import InputError, one_line
from syntone.files import atomic_write

DIGESTED = ("x", "factors", "factor_values", "factor_names", "factor_kinds", "sample_rate")
NORESERVE = 0x4000 if sys.platform == "linux" else 0  # MAP_NORESERVE, a constant of mmap since Python 3.13
# Errors of zipfile and of numpy's header parser on damaged files, besides OSError. RuntimeError: a bit that declares
# encryption; OverflowError: an offset beyond 2^63.
DAMAGE = (zipfile.BadZipFile, struct.error, TokenError, EOFError, ValueError, OverflowError, RuntimeError)


@dataclass(frozen=True)
class Blocks:
    """An array that is computed block by block: shape, dtype, and an iterable of consecutive rows."""

    shape: tuple[int, ...]
    dtype: np.dtype
    rows: Iterable[np.ndarray]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class Dataset:
    """Contents of a dataset file; the fields are the keys of the file.

    Changes of `x` in place stay in this process and never reach the file. Pickling (for workers of a DataLoader) and
    copying map the file again, without such changes, instead of copying the waveforms.

    x : float32 (N, T), linear amplitude with full scale at 1; mapped from the file, copied on write
    factors : int32 (N, K), level indices
    factor_values : float64 (N, K), the same in physical units
    factor_names, factor_kinds : (K,) str; kinds are "nominal" or "ordered"
    sample_rate : int, Hz
    recipe : str, JSON: how the file was made
    digest : key -> CRC-32 checksum of the members that training and scores depend on
    y, classes, freqs, amps : waveform index (N,), names (W,), Hz (N,), linear amplitude (N,); None unless tones
    """

    path: Path
    x: np.ndarray
    factors: np.ndarray
    factor_values: np.ndarray
    factor_names: tuple[str, ...]
    factor_kinds: tuple[str, ...]
    sample_rate: int
    recipe: str
    digest: dict[str, int] = field(default_factory=dict)
    y: np.ndarray | None = None
    classes: tuple[str, ...] | None = None
    freqs: np.ndarray | None = None
    amps: np.ndarray | None = None
    mapped: bool = field(default=False, init=False, repr=False)  # set by load_npz: x is mapped from the file

    def __getstate__(self) -> dict:
        return vars(self) | ({"x": None, "path": self.path.absolute()} if self.mapped else {})

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        if self.mapped:
            found = load_npz(self.path)
            if (found.digest, found.recipe) != (self.digest, self.recipe):
                raise InputError(f"{self.path}: was replaced while it was in use; load it again")
            vars(self)["x"] = found.x

    def __len__(self) -> int:
        return len(self.x)

    def labels(self, rows: np.ndarray | None = None) -> dict[str, np.ndarray | list[str]]:
        """Return the factors of all sounds, or of some rows, for a metric; factors with one level are left out."""
        factors = self.factors if rows is None else self.factors[rows]
        varied = [k for k in range(factors.shape[1]) if len(np.unique(factors[:, k])) > 1]
        if not varied:
            raise InputError(f"{self.path}: no factor has two levels, so nothing can be scored; make a larger dataset")
        return {
            "factors": factors[:, varied],
            "factor_names": [self.factor_names[k] for k in varied],
            "factor_kinds": [self.factor_kinds[k] for k in varied],
        }

    def varies(self, rows: np.ndarray) -> bool:
        """Return whether any factor has two levels in some rows."""
        return len(rows) > 0 and bool((self.factors[rows] != self.factors[rows[0]]).any())

    def level_name(self, factor: str, value: float) -> str:
        """Return the name of a level, whose value is its index then; without a name the number as text."""
        names = self.classes if factor == "timbre" else None
        names = json.loads(self.recipe).get("level_names", {}).get(factor, names)
        known = names is not None and value == int(value) and 0 <= value < len(names)
        return names[int(value)] if known else f"{value:g}"

    def describe(self, row: int) -> str:
        """Return the factors of one sound as text, for example `square, amplitude 0.5, 1200 Hz`."""
        words = []
        for name, kind, value in zip(self.factor_names, self.factor_kinds, self.factor_values[row]):
            word = self.level_name(name, value)
            named = word != f"{value:g}"
            if named and kind == "nominal" and not word[0].isdigit():
                words.append(word)
            elif name == "frequency" and not named:
                words.append(f"{value:.0f} Hz")
            else:
                words.append(f"{name} {word if named else f'{value:.3g}'}")
        return ", ".join(words)


# ---- writing ----


def dataset_members(*, recipe: dict, **arrays: np.ndarray | Blocks | None) -> dict[str, np.ndarray | Blocks]:
    """Return the members of a dataset file in their order, cast to the dtypes of the format.

    Raises
    ------
    InputError
        If a cast would change a value, such as 22050.5 Hz, or the recipe cannot be written as JSON.
    """
    try:
        arrays["recipe"] = json.dumps({"format_version": FORMAT_VERSION} | recipe, sort_keys=True, allow_nan=False)
        json.loads(arrays["recipe"])
    except (TypeError, ValueError, RecursionError) as fault:
        raise InputError(f"'recipe' cannot be written as JSON ({fault}); use dicts, lists, strings, numbers") from fault
    return {
        key: arrays[key] if isinstance(arrays[key], Blocks) else _cast(key, arrays[key], np.dtype(dtype))
        for key, (dtype, _) in KEYS.items()
        if arrays.get(key) is not None
    }


def _array(key: str, values: object) -> np.ndarray:
    """Return values as an array; refuse masked values, which numpy would treat as valid."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as fault:  # rows of different lengths; a tensor with requires_grad
        raise InputError(f"'{key}' cannot be made an array ({one_line(fault)[:200]})") from fault
    if np.ma.is_masked(values):
        raise InputError(f"'{key}' has masked values; remove those rows")
    return array


def _cast(key: str, values: object, dtype: np.dtype) -> np.ndarray:
    array = _array(key, values)
    if dtype.kind != "U" and array.dtype.kind not in "biuf":
        raise InputError(f"'{key}' is {array.dtype}, expected numbers")
    with np.errstate(invalid="ignore", over="ignore"):  # compared below and in misfit
        cast = array.astype(dtype, order="C")
    if dtype.kind == "i" and (changed := np.ravel(array)[np.ravel(cast != array)]).size:
        raise InputError(f"'{key}' has {changed[0]}, expected whole numbers in the range of {dtype}")
    return cast


def write_members(path: str | Path, members: dict[str, np.ndarray | Blocks]) -> None:
    """Write arrays to a .npz atomically, block by block."""
    with atomic_write(path) as handle:
        pack_members(handle, members, compression=zipfile.ZIP_STORED)


def pack_members(handle: BinaryIO, members: dict[str, np.ndarray | Blocks], *, compression: int) -> None:
    """Write arrays as the contents of a .npz without clock times: equal arrays give equal bytes."""
    with zipfile.ZipFile(handle, "w") as archive:
        for key, array in members.items():
            header = {"descr": npy.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
            info = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = compression
            with archive.open(info, "w", force_zip64=True) as member:
                buffer = BytesIO()
                npy.write_array_header_1_0(buffer, header)
                member.write(buffer.getvalue())
                for rows in array.rows if isinstance(array, Blocks) else [array]:
                    member.write(np.ascontiguousarray(rows, dtype=array.dtype).reshape(-1).view(np.uint8).data)


def save_npz(
    path: str | Path,
    *,
    x: np.ndarray,
    factors: np.ndarray,
    factor_values: np.ndarray,
    factor_names: Sequence[str],
    factor_kinds: Sequence[str],
    sample_rate: int,
    recipe: dict,
    y: np.ndarray | None = None,
    classes: Sequence[str] | None = None,
    freqs: np.ndarray | None = None,
    amps: np.ndarray | None = None,
) -> None:
    """Write a dataset file with the keys and dtypes that `load_npz` reads; see `Dataset` for shapes and units.

    Parameters
    ----------
    x : (N, T), floating point
        Linear amplitude, full scale at 1. Samples beyond 16 (24 dB above full scale) are refused, since they are most
        likely PCM integers. The default front end clips 6 dB above full scale.
    recipe : dict
        Your description of the data: any JSON content. Stored under "own" in the file's recipe.

    Raises
    ------
    syntone.errors.InputError (a ValueError)
        If factors are not level indices, a sample is an integer, not finite or beyond 16, a cast would change a value,
        or the arrays do not fit together.
    """
    x, factors = _array("x", x), _array("factors", factors)
    if factors.dtype.kind not in "iub":
        raise InputError(
            f"'factors' is {factors.dtype}, expected level indices; pass np.unique(column, return_inverse=True)[1] of "
            f"each column, and the values as 'factor_values'"
        )
    if x.dtype.kind != "f":
        raise InputError(
            f"'x' is {x.dtype}, expected floating-point samples with full scale at 1; divide 16-bit PCM by 32768, "
            f"24-bit by 2**23"
        )
    bad = first_beyond(x, LARGEST_SAVED) if x.ndim == 2 and x.size else None
    if bad is not None:
        raise InputError(
            f"'x' reaches {np.abs(x[bad]).max():g} in row {bad}, expected finite samples up to {LARGEST_SAVED:g} with "
            f"full scale at 1; divide 16-bit PCM by 32768"
        )
    labels = dict(factors=factors, factor_values=factor_values, factor_names=factor_names, factor_kinds=factor_kinds)
    tones = dict(y=y, classes=classes, freqs=freqs, amps=amps)
    if classes is not None and len(set(map(str, classes))) < len(classes):
        raise InputError("'classes' has a name twice; rename one")
    members = dataset_members(x=x, sample_rate=sample_rate, recipe={"own": recipe}, **labels, **tones)
    if wrong := misfit(members):
        raise InputError(f"{path}: {wrong}")
    check_factor_names(members["factor_names"], where=path)
    write_members(path, members)


# ---- reading ----


def load_npz(path: str | Path) -> Dataset:
    """Open a dataset file: read the small members and map the waveforms into memory.

    Checksums and the range of the samples are verified, which takes about two seconds for 2 GB in the page cache.

    Raises
    ------
    syntone.errors.InputError (a ValueError)
        If the file is missing, damaged, incomplete, pickled or of another format version, or if its members do not fit
        together or have impossible values.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; make one with create.py")
    with open(path, "rb") as handle:
        try:
            members, digest = _read_members(handle)
        except (*DAMAGE, OSError) as damage:
            if isinstance(damage, OSError) and damage.errno != errno.EINVAL:  # EINVAL: a negative offset
                raise
            wrong = f"cannot be read as a dataset ({one_line(damage)[:200]})"
        else:
            wrong = misfit(members)
    if wrong:
        raise InputError(f"{path}: {wrong}; re-create the file with create.py or syntone.dataset.save_npz")
    check_factor_names(members["factor_names"], where=path)
    texts = {key: tuple(array.tolist()) for key, array in members.items() if array.dtype.kind == "U" and array.ndim}
    arrays = {key: array.astype(KEYS[key][0], copy=False) for key, array in members.items() if array.dtype.kind != "U"}
    arrays |= {"sample_rate": int(arrays["sample_rate"]), "recipe": str(members["recipe"])}
    dataset = Dataset(path=path, digest=digest, **arrays, **texts)
    vars(dataset)["mapped"] = True
    return dataset


def _read_members(handle: BinaryIO) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Verify all checksums; return the members of the format and their digest."""
    with zipfile.ZipFile(handle) as archive:
        for info in archive.infolist():
            if info.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"'{info.filename}' is compressed, expected stored members")
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"the checksum of '{damaged}' is wrong")
        present = [key for key in KEYS if f"{key}.npy" in archive.namelist()]
        # Private: changes in place never reach the file. No reserve: the file may be larger than memory.
        flags, prot = mmap.MAP_PRIVATE | NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE
        mapped = mmap.mmap(handle.fileno(), 0, flags=flags, prot=prot)
        found = {key: _view(mapped, archive, archive.getinfo(f"{key}.npy")) for key in present}
        digest = {key: archive.getinfo(f"{key}.npy").CRC for key in DIGESTED if key in found}
    return {key: array if key == "x" else np.array(array) for key, array in found.items()}, digest


def _view(mapped: mmap.mmap, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Return the array of one member as a view into the mapped zip file."""
    with archive.open(info) as member:
        if npy.read_magic(member) != (1, 0):
            raise ValueError(f"'{info.filename}' is not an array of version 1.0")
        shape, fortran, dtype = npy.read_array_header_1_0(member)
        if dtype.hasobject:
            raise ValueError(f"'{info.filename}' holds pickled objects, which are never loaded")
        if member.tell() + math.prod(shape) * dtype.itemsize != info.file_size:
            raise ValueError(f"'{info.filename}' does not have the size of shape {shape} and type {dtype}")
        start = member.tell()
    # The local header has 30 bytes, a name and an extra field; its last 4 bytes are the lengths of these two.
    start += info.header_offset + 30 + sum(struct.unpack_from("<HH", mapped, info.header_offset + 26))
    flat = np.frombuffer(mapped, dtype, math.prod(shape), start)
    return flat.reshape(shape, order="F" if fortran else "C")
