"""Checks of a dataset file: keys, shapes, values, factor names, size of samples."""

import json
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from syntone.errors import InputError

# Every key in the order of the file, with dtype and dimensions: N sounds, K factors, T samples, W waveforms. Other keys
# are ignored.
KEYS = {
    "factors": (np.int32, "NK"),
    "factor_values": (np.float64, "NK"),
    "factor_names": (np.str_, "K"),
    "factor_kinds": (np.str_, "K"),
    "sample_rate": (np.int64, ""),
    "recipe": (np.str_, ""),
    "y": (np.int64, "N"),
    "classes": (np.str_, "W"),
    "freqs": (np.float64, "N"),
    "amps": (np.float64, "N"),
    "x": (np.float32, "NT"),
}
FORMAT_VERSION = 1
OPTIONAL = {"y", "classes", "freqs", "amps"}
RESERVED = "all"  # the factor of a score over all factors in the tables of eval.py
BLOCK_BYTES = 4 * 2**20  # samples that are computed or checked at a time
# Full scale is 1. A tone with an RMS of 1 and noise as loud as itself has a peak of 7 in a billion samples, and 16-bit
# PCM that was not divided by 32768 is above 16 unless it is almost silent.
LARGEST_SAVED = 16.0
LARGEST_SAMPLE = 1e9  # in a file; larger powers overflow float32


def check_factor_names(names: Sequence[str], *, where: str | Path) -> None:
    """Refuse factor names that are empty, reserved, not printable, or equal but for spaces and accent encoding."""
    for name, count in Counter(unicodedata.normalize("NFC", str(name)).strip() for name in names).items():
        if not name or not name.isprintable():
            raise InputError(f"{where}: the factor name {name!r} is empty or has invisible characters; rename it")
        if name == RESERVED:
            raise InputError(f"{where}: the factor name {name!r} is reserved for the overall score; rename it")
        if count > 1:
            raise InputError(f"{where}: two factors are called {name!r}; rename one")


def misfit(members: dict[str, np.ndarray]) -> str | None:
    """Describe the first member that is missing, of wrong shape or of impossible value; None if all are valid."""
    missing = [key for key in KEYS if key not in members and key not in OPTIONAL]
    if missing:
        return f"{', '.join(map(repr, missing))} missing"
    for key, array in members.items():
        dtype, dims = np.dtype(KEYS[key][0]), KEYS[key][1]
        kinds = "iu" if dtype.kind == "i" else dtype.kind
        if array.dtype.kind not in kinds or array.ndim != len(dims) or (key == "x" and array.dtype != dtype):
            return f"'{key}' is {array.dtype} with {array.ndim} dimensions, expected {dtype.name} with {len(dims)}"
    n_factors, (n_sounds, n_samples) = len(members["factor_names"]), members["x"].shape
    if n_sounds < 2 or n_samples < 1 or n_factors < 1:
        return (
            f"'x' has shape {members['x'].shape} with {n_factors} factors, expected 2 or more sounds, 1 or more factors"
        )
    sizes = {"N": n_sounds, "T": n_samples, "K": n_factors, "W": len(members.get("classes", ()))}
    for key, array in members.items():
        shape = tuple(sizes[dim] for dim in KEYS[key][1])
        if array.shape != shape:
            return f"'{key}' has shape {array.shape}, expected {shape} as in 'x' and 'factor_names'"
    return _impossible_value(members)


def _impossible_value(members: dict[str, np.ndarray]) -> str | None:
    """Describe the first impossible value. The samples, most of the file, are checked last."""
    if unknown := set(members["factor_kinds"].tolist()) - {"nominal", "ordered"}:
        return f"'factor_kinds' has {min(unknown)!r}, expected nominal or ordered"
    if not 1 <= members["sample_rate"] < 2**31:
        return f"'sample_rate' is {members['sample_rate']} Hz, expected 1 or more, below 2^31"
    if members["factors"].min() < 0 or members["factors"].max() >= 2**31:
        return "'factors' has values that are not level indices"
    for key in ("factor_values", "freqs", "amps"):
        if key in members and not np.isfinite(members[key]).all():
            return f"'{key}' has values that are not finite"
    if "classes" in members:
        indices = dict(zip(members["factor_names"].tolist(), members["factor_values"].T))
        for column in (indices.get("timbre"), members.get("y")):
            if column is not None and (column.min() < 0 or column.max() >= len(members["classes"])):
                return f"the class of a sound is not an index of the {len(members['classes'])} 'classes'"
    try:
        version = json.loads(str(members["recipe"])).get("format_version", FORMAT_VERSION)
    except (ValueError, AttributeError, RecursionError):
        return "'recipe' is not a JSON object"
    if version != FORMAT_VERSION:
        return f"format version {version}, this program reads {FORMAT_VERSION}"
    bad = first_beyond(members["x"], LARGEST_SAMPLE)
    return None if bad is None else f"'x' has a sample in row {bad} that is not finite or beyond {LARGEST_SAMPLE:g}"


def first_beyond(x: np.ndarray, largest: float) -> int | None:
    """Return the first row of x (N, T) with a sample that is not finite or beyond +-`largest`, or None.

    Reads block by block, since x may be mapped from a file that is larger than memory.
    """
    rows = max(1, BLOCK_BYTES // (x.itemsize * x.shape[1]))
    for start in range(0, len(x), rows):
        block = x[start : start + rows]
        if not (-largest <= block.min() and block.max() <= largest):  # NaN fails both; |x| would need a copy
            return start + int(np.argmin((np.abs(block) <= largest).all(axis=1)))
    return None
