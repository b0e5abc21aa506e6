"""Recordings as a dataset: WAV files of one sample rate, and a table of their factors.

The table is a CSV file with a header. Its first column names the files, relative to the folder; each other column is a
factor: ordered where every value is a number, nominal otherwise, with levels in the order of their values or names.
Integer samples are scaled to [-1, 1) (by 2^(bits - 1), unsigned bytes from 128; scipy reads 24 bits as 32), floats are
not scaled, and the channels of a file are averaged.
"""

import csv
import hashlib
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from syntone.dataset.file import Blocks, dataset_members
from syntone.dataset.recipe import Plan
from syntone.dataset.splits import Levels, check_study
from syntone.errors import InputError

MAX_NAMED = 5  # files that an error names


@dataclass(frozen=True)
class Labels:
    """The table of recordings.

    files : N names
    names, kinds : of the K factors
    factors : (N, K) int32, level indices
    values : (N, K) float64, numbers of the table or class indices
    level_names : nominal factor -> names of its levels
    """

    files: list[str]
    names: list[str]
    kinds: list[str]
    factors: np.ndarray
    values: np.ndarray
    level_names: dict[str, list[str]]

    @property
    def levels(self) -> Levels:
        """Kind, distinct values and names of the levels of every factor."""
        columns = zip(self.names, self.kinds, self.values.T)
        return {name: (kind, np.unique(column), self.level_names.get(name)) for name, kind, column in columns}


def _named(files: Sequence[str]) -> str:
    more = f" and {len(files) - MAX_NAMED} more" if len(files) > MAX_NAMED else ""
    return ", ".join(files[:MAX_NAMED]) + more


def read_labels(path: Path) -> Labels:
    """Read the table.

    Raises
    ------
    InputError
        If it is not a CSV file of equal rows with a header, names a file or a factor twice, or leaves a value empty.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as handle:
            rows = [[cell.strip() for cell in row] for row in csv.reader(handle) if any(cell.strip() for cell in row)]
    except (csv.Error, UnicodeDecodeError) as damage:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({damage}); export it as one") from damage
    if len(rows) < 3 or len(rows[0]) < 2:
        raise InputError(
            f"{path}: {len(rows)} rows and {len(rows[0]) if rows else 0} columns; give a header, a column of file "
            f"names, one column per factor, and two files or more"
        )
    header, body = rows[0], rows[1:]
    for number, row in enumerate(body, start=2):
        if len(row) != len(header) or not all(row):
            raise InputError(
                f"{path}: row {number} ({', '.join(row)}) does not fill the {len(header)} columns {', '.join(header)}; "
                f"complete it"
            )
    files, names = [row[0] for row in body], header[1:]
    if not all(names):
        raise InputError(f"{path}: a column has no name; name it in the header")
    for words, what in ((files, "file"), (names, "factor")):
        word, count = Counter(words).most_common(1)[0]
        if count > 1:
            raise InputError(f"{path}: {what} {word!r} is named twice; name each once")
    kinds, factors, values, level_names = zip(*(_column(words) for words in list(zip(*body))[1:]))
    known = {name: found for name, found in zip(names, level_names) if found is not None}
    return Labels(files, names, list(kinds), np.stack(factors, axis=1), np.stack(values, axis=1), known)


def _column(words: Sequence[str]) -> tuple[str, np.ndarray, np.ndarray, list[str] | None]:
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
    """Return sample rate in Hz and wave, float32 (T,), full scale 1, channels averaged.

    Raises
    ------
    InputError
        If the file is missing, not a WAV file that scipy reads, empty, or holds samples that are not finite.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; correct its name in the table of labels, or the folder")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks that hold no samples
            rate, samples = wavfile.read(path)
    except (ValueError, EOFError, KeyError, TypeError, IndexError, OverflowError) as damage:
        raise InputError(f"{path}: not a readable WAV file ({damage}); convert it to PCM or float WAV") from damage
    kind, full = samples.dtype.kind, 2 ** (samples.dtype.itemsize * 8 - 1)
    wave = samples.astype(np.float32 if samples.dtype.itemsize <= 2 else np.float64)
    if kind in "iu":
        wave = (wave - (full if kind == "u" else 0)) / full
    wave = wave.reshape(len(wave), -1).mean(axis=1).astype(np.float32)
    if not len(wave) or not np.isfinite(wave).all():
        raise InputError(f"{path}: has {'samples that are not finite' if len(wave) else 'no samples'}; leave it out")
    return rate, wave


def _common_length(lengths: dict[str, int], *, fit: str, duration: float | None, sample_rate: int) -> int:
    """Return the samples of every tone: the shortest recording's (`cut`), the longest's (`pad`), or the duration's."""
    if duration is None:
        return min(lengths.values()) if fit == "cut" else max(lengths.values())
    wanted = round(duration * sample_rate)
    if wanted < 2:
        raise InputError(f"duration: {duration:g} s at {sample_rate} Hz is {wanted} samples; give more")
    short = [name for name, length in lengths.items() if length < wanted]
    if short and fit == "cut":
        raise InputError(
            f"duration: {len(short)} recordings are shorter than {duration:g} s: {_named(short)}; pad them (fit pad) "
            f"or give less"
        )
    return wanted


def plan_recordings(
    folder: Path, labels_path: Path, *, fit: str, duration: float | None, hold_out: list, correlate: list
) -> Plan:
    """Return the plan of a dataset of recordings; every file is read once to be checked and once to be written.

    The recipe holds digests of the table and the sounds, so that a file made of others is not taken for the same.

    Raises
    ------
    InputError
        If table, files and options do not fit together; mixed sample rates are named with their files.
    """
    labels = read_labels(labels_path)
    check_study(hold_out, correlate, labels.levels)
    sample_rate, lengths, digest = _survey(folder, labels.files)
    n, n_samples = len(labels.files), _common_length(lengths, fit=fit, duration=duration, sample_rate=sample_rate)
    recipe = {
        "generator": "create.py --from_wav",
        "generator_version": 1,
        "fit": fit,
        "duration": duration,
        "sample_rate": sample_rate,
        "files": n,
        "level_names": labels.level_names,
        "labels_sha256": hashlib.sha256(labels_path.read_bytes()).hexdigest(),
        "sounds_sha256": digest,
        "hold_out": hold_out,
        "correlate": correlate,
    }

    def fitted() -> Iterator[np.ndarray]:
        for name in labels.files:
            wave = read_wav(folder / name)[1][:n_samples]
            yield np.pad(wave, (0, n_samples - len(wave)))[None]

    members = dataset_members(
        x=Blocks((n, n_samples), np.dtype(np.float32), fitted()),
        factors=labels.factors,
        factor_values=labels.values,
        factor_names=labels.names,
        factor_kinds=labels.kinds,
        sample_rate=sample_rate,
        recipe=recipe,
    )
    words = [f"{name}: {len(values)} {kind} levels" for name, (kind, values, _) in labels.levels.items()]
    return Plan(members, f"recordings; {', '.join(words)}", _warnings(labels, lengths, n_samples))


def _survey(folder: Path, files: Sequence[str]) -> tuple[int, dict[str, int], str]:
    """Sample rate in Hz, length of each file in samples, and a digest of all samples."""
    rates: dict[int, list[str]] = {}
    lengths, sounds = {}, hashlib.sha256()
    for name in files:
        rate, wave = read_wav(folder / name)
        rates.setdefault(rate, []).append(name)
        lengths[name] = len(wave)
        sounds.update(len(wave).to_bytes(8, "little") + wave.tobytes())
    if len(rates) > 1:
        rarest_first = sorted(rates.items(), key=lambda item: len(item[1]))
        found = "; ".join(f"{rate} Hz: {_named(names)}" for rate, names in rarest_first)
        raise InputError(f"{folder}: the files have {len(rates)} sample rates ({found}); resample them to one")
    return rate, lengths, sounds.hexdigest()


def _warnings(labels: Labels, lengths: dict[str, int], n_samples: int) -> list[str]:
    """Lines about factors of one level, and about how much was cut or padded."""
    constant = [name for name, (_, values, _) in labels.levels.items() if len(values) == 1]
    found = [f"factor {name} has one level, so nothing can be scored about it" for name in constant]
    cut = sum(length > n_samples for length in lengths.values())
    padded = sum(length < n_samples for length in lengths.values())
    if cut or padded:
        done = f"{cut} recordings are cut and {padded} padded with zeros to {n_samples} samples"
        found.append(f"{done}; fit and duration change that")
    return found
