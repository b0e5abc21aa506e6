"""Recordings as a dataset: WAV files of one sample rate, and a table of their factors.

The table is a CSV file with a header. Its first column names the files, relative to the folder; each other column is a
factor: ordered where every value is a number, nominal otherwise, with levels in the order of their values or names.
Samples are scaled to [-1, 1) (integers by 2^(bits - 1), unsigned bytes from 128; 24 bits are what scipy makes 32 of them),
floats are taken as they stand, and the channels of a file are averaged.
"""

import csv
import hashlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from syntone.dataset.creation import BASE_BYTES, Plan, blocks_bytes, counted
from syntone.dataset.file import Blocks, dataset_members
from syntone.dataset.splits import check_correlations, check_hold_outs
from syntone.errors import InputError

SCIPY_BYTES = 32 * 2**20  # its code
MAX_NAMED = 5  # files that an error names


@dataclass(frozen=True)
class Labels:
    """files : N names; names, kinds : K; factors (N, K) int32; values (N, K) float64; level_names : nominal factor -> names
    of its levels."""

    files: list[str]
    names: list[str]
    kinds: list[str]
    factors: np.ndarray
    values: np.ndarray
    level_names: dict[str, list[str]]


def _named(files: Sequence[str]) -> str:
    more = len(files) - MAX_NAMED
    return ", ".join(files[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def read_labels(path: Path) -> Labels:
    """Read the table.

    Raises
    ------
    InputError
        If it is no CSV of equal rows with a header, names a file or a factor twice, or leaves a value empty.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as handle:
            rows = [[cell.strip() for cell in row] for row in csv.reader(handle) if any(cell.strip() for cell in row)]
    except (csv.Error, UnicodeDecodeError) as damage:
        raise InputError(f"--labels: {path} is no CSV file in UTF-8 ({damage}); export it as one") from damage
    if len(rows) < 3 or len(rows[0]) < 2:
        raise InputError(
            f"--labels: {path} has {len(rows)} rows and {len(rows[0]) if rows else 0} columns; give a header, "
            f"a column of file names, one column a factor, and two files or more"
        )
    header, body = rows[0], rows[1:]
    for number, row in enumerate(body, start=2):
        if len(row) != len(header) or not all(row):
            raise InputError(
                f"--labels: {path}: row {number} ({', '.join(row)}) does not fill the {len(header)} columns "
                f"{', '.join(header)}; complete it"
            )
    files, names = [row[0] for row in body], header[1:]
    for words, what in ((files, "file"), (names, "factor")):
        twice = sorted({word for word in words if words.count(word) > 1}) if len(set(words)) < len(words) else []
        if twice or not all(words):
            raise InputError(
                f"--labels: {path} names {what} {twice[0]!r} twice; name each once"
                if twice
                else f"--labels: {path} has a column without a name; name it in the header"
            )
    columns = [_column([row[k] for row in body]) for k in range(1, len(header))]
    return Labels(
        files,
        names,
        [kind for kind, *_ in columns],
        np.stack([levels for _, levels, _, _ in columns], axis=1),
        np.stack([values for _, _, values, _ in columns], axis=1),
        {name: found for name, (*_, found) in zip(names, columns) if found is not None},
    )


def _column(words: list[str]) -> tuple[str, np.ndarray, np.ndarray, list[str] | None]:
    """Kind, level indices, values and level names of one factor."""
    try:
        values = np.array([float(word) if "_" not in word else np.nan for word in words])  # Python reads 1_2 as 12
    except ValueError:
        values = np.array([np.nan])
    if np.isfinite(values).all():
        return "ordered", np.unique(values, return_inverse=True)[1].astype(np.int32), values, None
    names, levels = np.unique(words, return_inverse=True)
    return "nominal", levels.astype(np.int32), levels.astype(np.float64), names.tolist()


def read_wav(path: Path) -> tuple[int, np.ndarray]:
    """Sample rate in Hz and wave, float32 (T,), full scale 1, channels averaged.

    Raises
    ------
    InputError
        If the file is missing, no WAV file that scipy reads, empty, or holds samples that are not finite.
    """
    if not path.is_file():
        raise InputError(f"--labels: {path} is no file; correct its name in the table, or the folder --from_wav")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks that hold no samples
            rate, samples = wavfile.read(path)
    except (ValueError, EOFError, KeyError, TypeError, IndexError, OverflowError) as damage:
        raise InputError(f"{path}: no WAV file that can be read ({damage}); convert it to PCM or float WAV") from damage
    kind, bits = samples.dtype.kind, samples.dtype.itemsize * 8
    wave = samples.astype(np.float32 if bits <= 16 else np.float64)
    if kind == "u":
        wave = (wave - 2 ** (bits - 1)) / 2 ** (bits - 1)
    elif kind == "i":
        wave = wave / 2 ** (bits - 1)
    wave = wave.reshape(len(wave), -1).mean(axis=1).astype(np.float32)
    if not len(wave) or not np.isfinite(wave).all():
        raise InputError(f"{path}: has {'samples that are not finite' if len(wave) else 'no samples'}; leave it out")
    return rate, wave


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def common_length(lengths: dict[str, int], *, fit: str, duration: float | None, sample_rate: int) -> int:
    """Samples of every tone: the shortest recording's (`cut`), the longest's (`pad`), or the duration's.

    Raises
    ------
    InputError
        If recordings are shorter than a duration that `cut` is to reach.
    """
    if duration is None:
        return min(lengths.values()) if fit == "cut" else max(lengths.values())
    wanted = round(duration * sample_rate)
    if wanted < 2:
        raise InputError(f"--duration: {duration:g} s at {sample_rate} Hz is {wanted} samples; give more")
    short = [name for name, length in lengths.items() if length < wanted]
    if short and fit == "cut":
        raise InputError(
            f"--duration: {len(short)} recordings are shorter than {duration:g} s: {_named(short)}; give --fit "
            f"pad to fill them with zeros, or less"
        )
    return wanted


def plan_recordings(
    folder: Path, labels_path: Path, *, fit: str, duration: float | None, hold_out: list, correlate: list
) -> Plan:
    """The plan of a dataset of recordings; every file is read once to be checked and once to be written.

    The recipe holds digests of the table and the sounds, so that a file made of others is not taken for the same.

    Raises
    ------
    InputError
        If table, files and flags do not fit together; mixed sample rates are named with their files.
    """
    labels = read_labels(labels_path)
    levels = {
        name: (kind, np.unique(column)) for name, kind, column in zip(labels.names, labels.kinds, labels.values.T)
    }
    check_hold_outs(hold_out, levels, level_names=labels.level_names)
    check_correlations(correlate, levels)
    rates: dict[int, list[str]] = {}
    lengths, sounds = {}, hashlib.sha256()
    for name in labels.files:
        rate, wave = read_wav(folder / name)
        rates.setdefault(rate, []).append(name)
        lengths[name] = len(wave)
        sounds.update(len(wave).to_bytes(8, "little") + wave.tobytes())
    if len(rates) > 1:
        found = "; ".join(
            f"{rate} Hz: {_named(files)}" for rate, files in sorted(rates.items(), key=lambda it: len(it[1]))
        )
        raise InputError(f"--from_wav: the files have {len(rates)} sample rates ({found}); resample them to one")
    sample_rate = next(iter(rates))
    n_samples = common_length(lengths, fit=fit, duration=duration, sample_rate=sample_rate)
    recipe = {
        "generator": "create.py --from_wav",
        "generator_version": 1,
        "fit": fit,
        "duration": duration,
        "sample_rate": sample_rate,
        "files": len(labels.files),
        "level_names": labels.level_names,
        "labels_sha256": _digest(labels_path.read_bytes()),
        "sounds_sha256": sounds.hexdigest(),
        "hold_out": hold_out,
        "correlate": correlate,
    }

    def fitted() -> Iterator[np.ndarray]:
        for name in labels.files:
            wave = read_wav(folder / name)[1][:n_samples]
            yield np.pad(wave, (0, n_samples - len(wave)))[None]

    def members(passed):
        x = Blocks((len(labels.files), n_samples), np.dtype(np.float32), counted(fitted(), passed))
        return dataset_members(
            x=x,
            factors=labels.factors,
            factor_values=labels.values,
            factor_names=labels.names,
            factor_kinds=labels.kinds,
            sample_rate=sample_rate,
            recipe=recipe,
        )

    words = ", ".join(f"{name}: {len(values)} {kind} levels" for name, (kind, values) in levels.items())
    longest = max(lengths.values())
    return Plan(
        recipe=recipe,
        n_tones=len(labels.files),
        n_samples=n_samples,
        words=f"recordings; {words}",
        memory_bytes=BASE_BYTES + SCIPY_BYTES + 32 * longest + blocks_bytes(4 * n_samples),
        warnings=_warnings(labels, lengths, n_samples),
        members_with=members,
        watch_level=True,
    )


def _warnings(labels: Labels, lengths: dict[str, int], n_samples: int) -> list[str]:
    """What a user should know: factors of one level, and how much was cut or padded."""
    found = [
        f"factor {name} has one level, so nothing can be scored about it"
        for name, column in zip(labels.names, labels.factors.T)
        if column.max() == 0
    ]
    cut = sum(length > n_samples for length in lengths.values())
    padded = sum(length < n_samples for length in lengths.values())
    if cut or padded:
        found.append(
            f"{cut} recordings are cut and {padded} padded with zeros to {n_samples} samples; --fit and --duration "
            f"change that"
        )
    return found
