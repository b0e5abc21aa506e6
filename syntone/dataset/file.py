"""The dataset file (.npz): write, read, validate.

Members are stored, not compressed, with a fixed time stamp: the same options give the same bytes, and the waveforms can
be mapped into memory instead of being read. Nothing is ever unpickled.
"""

import json
import math
import tokenize
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from syntone.dataset.archive import BLOCK_BYTES, Archive, open_archive
from syntone.errors import InputError, one_line
from syntone.files import WriteBehind, atomic_write

FORMAT_VERSION = 1
KINDS = ("nominal", "ordered")
# Every key of the format: kind of its dtype, number of dimensions. Other keys are ignored.
KEYS = {
    "x": (np.floating, 2),
    "factors": (np.integer, 2),
    "factor_values": (np.floating, 2),
    "factor_names": (np.str_, 1),
    "factor_kinds": (np.str_, 1),
    "sample_rate": (np.integer, 0),
    "recipe": (np.str_, 0),
    "y": (np.integer, 1),
    "classes": (np.str_, 1),
    "freqs": (np.floating, 1),
    "amps": (np.floating, 1),
}
NEEDED = ("x", "factors", "factor_values", "factor_names", "factor_kinds", "sample_rate", "recipe")
# Full scale is 1. A tone levelled to an RMS of 1 with noise as loud as itself peaks at 7 in a billion samples; 16-bit
# PCM that was not divided by 32768 is far above 16 unless it is next to silence.
LARGEST_SAVED = 16.0
LARGEST_SAMPLE = 1e9  # what a file may hold: from 1e16 on, the power of a tone leaves the range of float32
# What numpy's header parser raises, beside ValueError, on a text that is no header.
HEADER_DAMAGE = (
    ValueError,
    TypeError,
    LookupError,
    SyntaxError,
    EOFError,
    MemoryError,
    RecursionError,
    OverflowError,
    tokenize.TokenError,
    AttributeError,
)
# Options of create.py that came after its first version, with the value under which it made what it makes now: a recipe
# without them means that value.
LATER = {
    "oscillator": "naive",
    "freq_scale": "linear",
    "amp_scale": "linear",
    "level": "peak",
    "phase": "zero",
    "snr_db": None,
    "onset_jitter": 0.0,
    "detune_cents": 0.0,
    "seed": 0,
    "factor": [],
    "hold_out": [],
    "correlate": [],
}
RECREATE = "re-create the file with create.py or syntone.dataset.file.save_npz"


@dataclass(frozen=True)
class Blocks:
    """An array that is never whole in memory: its shape and dtype, and an iterable of consecutive rows."""

    shape: tuple[int, ...]
    dtype: np.dtype
    rows: Iterable[np.ndarray]


@dataclass(frozen=True)
class Dataset:
    """What a dataset file holds; the fields are the keys of the file.

    x : float32 (N, T), linear amplitude with full scale at 1; mapped from the file, read only
    factors : int32 (N, K) level indices; factor_values : float64 (N, K) the same in physical units
    factor_names, factor_kinds : (K,) str; kinds are "nominal" or "ordered"
    sample_rate : int, Hz
    recipe : str, JSON: how the file was made
    y, classes, freqs, amps : waveform index (N,), names (W,), Hz (N,), linear amplitude (N,); None where not synthesized
    """

    path: Path
    x: np.ndarray
    factors: np.ndarray
    factor_values: np.ndarray
    factor_names: tuple[str, ...]
    factor_kinds: tuple[str, ...]
    sample_rate: int
    recipe: str
    y: np.ndarray | None = None
    classes: tuple[str, ...] | None = None
    freqs: np.ndarray | None = None
    amps: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x)

    def labels(self, rows: np.ndarray | None = None) -> dict[str, np.ndarray | list[str]]:
        """The factors that vary, their names and kinds: what a score takes beside codes; of all tones, or of some rows.
        A factor of one level says nothing and is left out."""
        factors = self.factors if rows is None else self.factors[rows]
        varied = [k for k in range(factors.shape[1]) if len(np.unique(factors[:, k])) > 1]
        if not varied:
            raise InputError(f"{self.path}: no factor has two levels, so there is nothing to score; make a larger grid")
        return {
            "factors": factors[:, varied],
            "factor_names": [self.factor_names[k] for k in varied],
            "factor_kinds": [self.factor_kinds[k] for k in varied],
        }

    def varies(self, rows: np.ndarray) -> bool:
        """Whether a factor has two levels among some rows."""
        return len(rows) > 0 and bool((self.factors[rows] != self.factors[rows[0]]).any())

    def level_name(self, factor: str, value: float) -> str:
        """The name of a nominal factor's level, whose value is a class index; the number where it has no name."""
        names = self.classes if factor == "timbre" else None
        names = json.loads(self.recipe).get("level_names", {}).get(factor, names)
        known = names is not None and value == int(value) and 0 <= value < len(names)
        return names[int(value)] if known else f"{value:g}"

    def describe(self, row: int) -> str:
        """The factors of one tone for a person, for example `square, 0.50, 1200 Hz`."""
        words = []
        for name, kind, value in zip(self.factor_names, self.factor_kinds, self.factor_values[row]):
            if kind == "nominal" and self.level_name(name, value) != f"{value:g}":
                words.append(self.level_name(name, value))
            elif name == "frequency":
                words.append(f"{value:.0f} Hz")
            else:
                words.append(f"{name} {value:.3g}")
        return ", ".join(words)


def _npy_header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    buffer = BytesIO()
    npy.write_array_header_1_0(buffer, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _as_blocks(array: np.ndarray | Blocks) -> Blocks:
    if isinstance(array, Blocks):
        return array
    array = np.asarray(array, order="C")
    return Blocks(array.shape, array.dtype, [array])


def npz_size(members: dict[str, np.ndarray | Blocks]) -> int:
    """Bytes that `save_npz` writes for these members, to within the zip's directory (about 100 bytes a member)."""
    blocks = {key: _as_blocks(array) for key, array in members.items()}
    return sum(
        len(_npy_header(b.shape, b.dtype)) + math.prod(b.shape) * b.dtype.itemsize + 128 for b in blocks.values()
    )


def write_members(path: str | Path, members: dict[str, np.ndarray | Blocks]) -> None:
    """Write arrays to a .npz as they come, block by block; the file appears under its name only when it is whole.

    Raises
    ------
    ValueError
        If the rows of a `Blocks` do not add up to its shape, or an array holds objects (they would be pickled).
    """
    with (
        atomic_write(path) as handle,
        WriteBehind(handle) as behind,
        zipfile.ZipFile(behind, "w", zipfile.ZIP_STORED) as archive,
    ):
        for key, array in members.items():
            blocks = _as_blocks(array)
            if blocks.dtype.hasobject:
                raise ValueError(
                    f"'{key}' has dtype {blocks.dtype}, which only pickle can store; give numbers or strings"
                )
            info = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            n_rows = 0
            with archive.open(info, "w", force_zip64=True) as member:
                member.write(_npy_header(blocks.shape, blocks.dtype))
                for rows in blocks.rows:
                    member.write(np.ascontiguousarray(rows, dtype=blocks.dtype).reshape(-1).view(np.uint8).data)
                    n_rows += len(rows) if blocks.shape else 1
            if n_rows != (blocks.shape[0] if blocks.shape else 1):
                raise ValueError(f"'{key}' was announced with shape {blocks.shape}, but {n_rows} rows came")


def save_npz(
    path: str | Path,
    *,
    x: np.ndarray | Blocks,
    factors: np.ndarray | Blocks,
    factor_values: np.ndarray | Blocks,
    factor_names: Iterable[str],
    factor_kinds: Iterable[str],
    sample_rate: int,
    recipe: dict,
    y: np.ndarray | Blocks | None = None,
    classes: Iterable[str] | None = None,
    freqs: np.ndarray | Blocks | None = None,
    amps: np.ndarray | Blocks | None = None,
) -> None:
    """Write a dataset file with the keys and dtypes that `load_npz` reads; see `Dataset` for shapes and units.

    Parameters
    ----------
    x : (N, T), floating point
        Linear amplitude, full scale at 1. Louder tones are written up to 16 (24 dB above full scale), beyond which
        samples are taken for PCM integers; the default front end clips 6 dB above full scale.
    recipe : dict
        How the data was made; written as JSON with the format version added.

    Raises
    ------
    syntone.errors.InputError (a ValueError)
        If factors are no level indices, a sample is an integer, not finite or beyond 16, or the arrays do not fit
        together.
    """
    if not isinstance(factors, Blocks):
        factors = np.asarray(factors)
        if factors.dtype.kind not in "iub" or np.abs(factors.astype(np.float64)).max(initial=0) >= 2**31:
            raise InputError(
                f"'factors' is {factors.dtype}, expected level indices that fit into int32; pass "
                f"np.unique(column, return_inverse=True)[1] of each, and the values as 'factor_values'"
            )
    if not isinstance(x, Blocks):
        _check_samples(np.asarray(x))
    members = dataset_members(
        x=x,
        factors=factors,
        factor_values=factor_values,
        factor_names=factor_names,
        factor_kinds=factor_kinds,
        sample_rate=sample_rate,
        recipe=recipe,
        y=y,
        classes=classes,
        freqs=freqs,
        amps=amps,
    )
    if not any(isinstance(array, Blocks) for array in members.values()):
        _check(Path(path), members)
    write_members(path, members)


def _check_samples(x: np.ndarray) -> None:
    """Refuse samples that are no waveforms in units of full scale."""
    if x.dtype.kind != "f":
        raise InputError(
            f"'x' is {x.dtype}, expected floating-point samples with full scale at 1; divide 16-bit PCM by "
            f"32768, 24-bit by 2**23"
        )
    if x.ndim == 2 and x.size:  # other shapes are refused with all else that does not fit
        bad = first_tone_beyond(x, LARGEST_SAVED)
        if bad is not None and not np.isfinite(x[bad]).all():
            raise InputError(f"'x' has samples that are not finite, in tone {bad}; leave such tones out")
        if bad is not None:
            raise InputError(
                f"'x' reaches {np.abs(x[bad]).max():g} in tone {bad}, expected samples with full scale at 1 and "
                f"none beyond {LARGEST_SAVED:g}; divide 16-bit PCM by 32768"
            )


def dataset_members(
    *,
    recipe: dict,
    sample_rate: int,
    x,
    factors,
    factor_values,
    factor_names,
    factor_kinds,
    y=None,
    classes=None,
    freqs=None,
    amps=None,
) -> dict[str, np.ndarray | Blocks]:
    """The members of a dataset file in their order, cast to the dtypes of the format."""

    def cast(array, dtype):
        return array if isinstance(array, Blocks) else np.asarray(array, dtype=dtype)

    members = {
        "factors": cast(factors, np.int32),
        "factor_values": cast(factor_values, np.float64),
        "factor_names": np.array(list(factor_names), dtype=np.str_),
        "factor_kinds": np.array(list(factor_kinds), dtype=np.str_),
        "sample_rate": np.array(sample_rate, dtype=np.int64),
        "recipe": np.array(recipe_text(recipe)),
    }
    if y is not None:
        members["y"] = cast(y, np.int64)
    if classes is not None:
        members["classes"] = np.array(list(classes), dtype=np.str_)
    for key, array in (("freqs", freqs), ("amps", amps)):
        if array is not None:
            members[key] = cast(array, np.float64)
    return members | {"x": cast(x, np.float32)}


def recipe_text(recipe: dict) -> str:
    """The recipe as the JSON that a dataset file stores."""
    return json.dumps({"format_version": FORMAT_VERSION} | recipe, sort_keys=True, allow_nan=False)


def same_recipe(one: str, other: str) -> bool:
    """Whether two recipes ask for the same data; those of earlier versions lack the options that came later."""
    if one == other:
        return True
    first, second = (LATER | json.loads(text) for text in (one, other))
    return "generator_version" in first and first == second


# ---- reading ----


def _open_member(archive: Archive, key: str) -> np.ndarray:
    """Map a member into memory, after its header has told its shape; its samples are not read yet."""
    member = archive.members[f"{key}.npy"]
    with open(archive.path, "rb") as handle:
        handle.seek(member.start)
        try:
            version = npy.read_magic(handle)
            read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, dtype = read_header(handle)
        except HEADER_DAMAGE as damage:
            raise archive.damaged(f"'{key}' is no array: {one_line(damage)[:100]}") from damage
        offset = handle.tell()
    if dtype.hasobject:
        raise InputError(f"{archive.path}: '{key}' holds pickled objects, which are never opened; {RECREATE}")
    n_bytes = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or offset - member.start + n_bytes != member.n_bytes:
        raise archive.damaged(f"'{key}' of shape {shape} and type {dtype} does not fill its place")
    if n_bytes == 0:
        return np.empty(shape, dtype)
    return np.memmap(archive.path, dtype=dtype, mode="r", offset=offset, shape=shape, order="F" if fortran else "C")


def _read_members(path: Path) -> dict[str, np.ndarray]:
    """The members that the format knows, mapped from a file whose every byte was compared with its checksum."""
    if not path.exists():
        raise InputError(f"{path}: no such file; make one with create.py --file_path {path}")
    if path.is_dir():
        raise InputError(f"{path}: is a directory; give the path of a .npz file")
    archive = open_archive(path, remedy=RECREATE)
    members = {key: _open_member(archive, key) for key in KEYS if f"{key}.npy" in archive.members}
    archive.check_all()
    return members


def _check(path: Path, members: dict[str, np.ndarray]) -> None:
    """Refuse a file whose members are missing, of another type, or do not fit together."""
    missing = [key for key in NEEDED if key not in members]
    if missing:
        raise InputError(f"{path}: {', '.join(repr(k) for k in missing)} missing; {RECREATE}")
    for key, (kind, n_dims) in KEYS.items():
        array = members.get(key)
        if array is not None and not (np.issubdtype(array.dtype, kind) and array.ndim == n_dims):
            raise InputError(
                f"{path}: '{key}' is {array.dtype} with {array.ndim} dimensions, expected {kind.__name__} "
                f"with {n_dims}; {RECREATE}"
            )
    if members["x"].dtype != np.float32:
        raise InputError(f"{path}: 'x' is {members['x'].dtype}, expected float32; {RECREATE}")
    n, k = len(members["x"]), len(members["factor_names"])
    if n < 2 or members["x"].shape[1] < 1 or k < 1:
        raise InputError(
            f"{path}: 'x' has shape {members['x'].shape} and there are {k} factors; at least 2 tones and "
            f"1 factor are needed; {RECREATE}"
        )
    for key, shape in (
        ("factors", (n, k)),
        ("factor_values", (n, k)),
        ("factor_kinds", (k,)),
        ("y", (n,)),
        ("freqs", (n,)),
        ("amps", (n,)),
    ):
        if key in members and members[key].shape != shape:
            raise InputError(
                f"{path}: '{key}' has shape {members[key].shape}, expected {shape} to go with 'x' and "
                f"'factor_names'; {RECREATE}"
            )
    _check_values(path, members)
    try:
        version = json.loads(str(members["recipe"])).get("format_version", FORMAT_VERSION)
    except (ValueError, AttributeError, RecursionError) as damage:
        raise InputError(f"{path}: 'recipe' is not a JSON object; {RECREATE}") from damage
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise InputError(f"{path}: format version {version}, this program reads {FORMAT_VERSION}; {RECREATE}")


def _check_values(path: Path, members: dict[str, np.ndarray]) -> None:
    """Refuse values that no tone has. The samples are looked at last and in blocks: they are most of the file."""
    for key in ("factor_names", "factor_kinds", "classes", "recipe"):
        if key in members and members[key].dtype.itemsize:
            letters = (
                np.array(members[key]).reshape(-1).view(np.dtype(np.uint32).newbyteorder(members[key].dtype.byteorder))
            )
            if (
                (letters > 0x10FFFF) | (letters // 0x800 == 0x1B)
            ).any():  # numpy makes strings of them that end in a crash
                raise InputError(f"{path}: '{key}' has letters that there are not; {RECREATE}")
    unknown = sorted(set(members["factor_kinds"].tolist()) - set(KINDS))
    if unknown:
        raise InputError(f"{path}: 'factor_kinds' has {unknown[0]!r}, expected nominal or ordered; {RECREATE}")
    if not 1 <= int(members["sample_rate"]) < 2**31:
        raise InputError(
            f"{path}: 'sample_rate' is {int(members['sample_rate'])} Hz, expected 1 or more, below 2^31; {RECREATE}"
        )
    if members["factors"].min() < 0 or members["factors"].max() >= 2**31:
        raise InputError(f"{path}: 'factors' has values that are no level indices; {RECREATE}")
    for key in ("factor_values", "freqs", "amps"):
        if key in members and not np.isfinite(members[key]).all():
            raise InputError(f"{path}: '{key}' has values that are not finite; {RECREATE}")
    if "classes" in members:
        names, n_classes = members["factor_names"].tolist(), len(members["classes"])
        indices = [members["factor_values"][:, names.index("timbre")]] if "timbre" in names else []
        for column in indices + [members[key] for key in ("y",) if key in members]:
            if column.min() < 0 or column.max() >= n_classes:
                raise InputError(f"{path}: a tone's class is none of the {n_classes} in 'classes'; {RECREATE}")
    bad = first_tone_beyond(members["x"], LARGEST_SAMPLE)
    if bad is not None:
        raise InputError(
            f"{path}: 'x' has a sample in tone {bad} that is not finite or beyond {LARGEST_SAMPLE:g}; {RECREATE}"
        )


def first_tone_beyond(x: np.ndarray, largest: float) -> int | None:
    """The first row of x (N, T) with a sample that is not finite or whose size is above `largest`; None where all are
    within. Reads block by block: x may be mapped from a file that is larger than memory."""
    rows = max(1, BLOCK_BYTES // max(1, x.itemsize * x.shape[1]))
    for start in range(0, len(x), rows):
        block = x[start : start + rows]
        if not (-largest <= block.min() and block.max() <= largest):  # NaN fails both; no temporary as |x| would need
            return start + int(np.argmin((np.abs(block) <= largest).all(axis=1)))
    return None


def load_npz(path: str | Path) -> Dataset:
    """Open a dataset file: small members are read, the waveforms are mapped into memory.

    The whole file is read once, in blocks, for its checksums and its range; 2 GB that are in the page cache take about
    two seconds.

    Raises
    ------
    syntone.errors.InputError (a ValueError)
        If the file is missing, damaged, incomplete, pickled, of another format version, does not fit together, or has a
        sample that is not finite.
    """
    path = Path(path)
    members = _read_members(path)
    _check(path, members)

    def words(key: str) -> tuple[str, ...] | None:
        return tuple(members[key].tolist()) if key in members else None

    def numbers(key: str) -> np.ndarray | None:
        return np.array(members[key]) if key in members else None

    return Dataset(
        path=path,
        x=members["x"],
        factors=numbers("factors"),
        factor_values=numbers("factor_values"),
        factor_names=words("factor_names"),
        factor_kinds=words("factor_kinds"),
        sample_rate=int(members["sample_rate"]),
        recipe=str(members["recipe"]),
        y=numbers("y"),
        classes=words("classes"),
        freqs=numbers("freqs"),
        amps=numbers("amps"),
    )


def read_recipe(path: str | Path) -> str | None:
    """The recipe of a dataset file, None where the file is not a whole dataset."""
    try:
        return load_npz(path).recipe
    except InputError:
        return None
