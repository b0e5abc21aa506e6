"""What a dataset file may hold: its keys, their shapes and values, names of factors, sizes of samples."""

import json
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from syntone.errors import InputError

# Every key of the format in the order of the file, its dtype and its dimensions: N tones, K factors, T samples,
# W waveforms. Other keys are ignored.
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
# Full scale is 1. A tone levelled to an RMS of 1 with noise as loud as itself peaks at 7 in a billion samples; 16-bit
# PCM that was not divided by 32768 is far above 16 unless it is next to silence.
LARGEST_SAVED = 16.0
LARGEST_SAMPLE = 1e9  # that a file may hold, checked on writing and reading: the power must stay within float32


def check_factor_names(names: Sequence[str], *, where: str | Path) -> None:
    """Refuse names of factors that are empty, named twice, reserved by the tables of results, or not printable.

    Two names that look alike (accents composed or not, spaces around) are the same.
    """
    seen = Counter(unicodedata.normalize("NFC", str(name)).strip() for name in names)
    for name, count in seen.items():
        if not name or not name.isprintable():
            raise InputError(f"{where}: the factor name {name!r} is empty or has invisible characters; rename it")
        if name == RESERVED:
            raise InputError(f"{where}: the factor name {name!r} is that of the overall score in tables; rename it")
        if count > 1:
            raise InputError(f"{where}: factor {name!r} is named twice; name each once")


def misfit(members: dict[str, np.ndarray]) -> str | None:
    """Return what is missing or does not fit together, in words, or None."""
    missing = [key for key in KEYS if key not in members and key not in OPTIONAL]
    if missing:
        return f"{', '.join(map(repr, missing))} missing"
    for key, array in members.items():
        dtype, dims = np.dtype(KEYS[key][0]), KEYS[key][1]
        kinds = "iu" if dtype.kind == "i" else dtype.kind
        if array.dtype.kind not in kinds or array.ndim != len(dims) or (key == "x" and array.dtype != dtype):
            return f"'{key}' is {array.dtype} with {array.ndim} dimensions, expected {dtype.name} with {len(dims)}"
    n_factors, (n_tones, n_samples) = len(members["factor_names"]), members["x"].shape
    if n_tones < 2 or n_samples < 1 or n_factors < 1:
        return f"'x' has shape {members['x'].shape} and there are {n_factors} factors, expected 2 tones and 1 factor"
    sizes = {"N": n_tones, "T": n_samples, "K": n_factors, "W": len(members.get("classes", ()))}
    for key, array in members.items():
        shape = tuple(sizes[dim] for dim in KEYS[key][1])
        if array.shape != shape:
            return f"'{key}' has shape {array.shape}, expected {shape} to go with 'x' and 'factor_names'"
    return _impossible_value(members)


def _impossible_value(members: dict[str, np.ndarray]) -> str | None:
    """Return which value cannot be, in words, or None. The samples are looked at last: they are most of the file."""
    unknown = set(members["factor_kinds"].tolist()) - {"nominal", "ordered"}
    if unknown:
        return f"'factor_kinds' has {min(unknown)!r}, expected nominal or ordered"
    if not 1 <= members["sample_rate"] < 2**31:
        return f"'sample_rate' is {members['sample_rate']} Hz, expected 1 or more, below 2^31"
    if members["factors"].min() < 0 or members["factors"].max() >= 2**31:
        return "'factors' has values that are not level indices"
    for key in {"factor_values", "freqs", "amps"} & set(members):
        if not np.isfinite(members[key]).all():
            return f"'{key}' has values that are not finite"
    if "classes" in members:
        names, n_classes = members["factor_names"].tolist(), len(members["classes"])
        columns = [members["factor_values"][:, names.index("timbre")]] if "timbre" in names else []
        for column in columns + [members[key] for key in ("y",) if key in members]:
            if column.min() < 0 or column.max() >= n_classes:
                return f"the class of a tone is not one of the {n_classes} in 'classes'"
    try:
        version = json.loads(str(members["recipe"])).get("format_version", FORMAT_VERSION)
    except (ValueError, AttributeError, RecursionError):
        return "'recipe' is not a JSON object"
    if version != FORMAT_VERSION:
        return f"format version {version}, this program reads {FORMAT_VERSION}"
    bad = first_tone_beyond(members["x"], LARGEST_SAMPLE)
    return None if bad is None else f"'x' has a sample in tone {bad} that is not finite or beyond {LARGEST_SAMPLE:g}"


def first_tone_beyond(x: np.ndarray, largest: float) -> int | None:
    """Return the first row of x (N, T) with a sample that is not finite or whose size is above `largest`, or None.

    Reads block by block: x may be mapped from a file that is larger than memory.
    """
    rows = max(1, BLOCK_BYTES // (x.itemsize * x.shape[1]))
    for start in range(0, len(x), rows):
        block = x[start : start + rows]
        if not (-largest <= block.min() and block.max() <= largest):  # NaN fails both; no temporary as |x| would need
            return start + int(np.argmin((np.abs(block) <= largest).all(axis=1)))
    return None
