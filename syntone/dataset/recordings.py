"""Datasets of recordings: WAV files with one sample rate, and a table of their factors."""

import hashlib
import os
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np

from syntone.dataset.file import Blocks, dataset_members
from syntone.dataset.labels import Labels, read_labels
from syntone.dataset.nuisances import UNITS
from syntone.dataset.recipe import Plan
from syntone.dataset.splits import check_study
from syntone.dataset.wav import read_wav
from syntone.errors import InputError

MAX_NAMED = 5  # files in a message
MAX_LISTED = 10**5  # entries of the folder that are compared with the table


def plan_recordings(
    folder: Path,
    labels_path: Path,
    *,
    fit: str,
    duration: float | None,
    ordered: Sequence[str],
    nominal: Sequence[str],
    hold_out: list,
    correlate: list,
) -> Plan:
    """Return the plan of a dataset of recordings. Every file is read twice: to check it and to write it.

    The recipe contains digests of the table and of the sounds.

    Raises
    ------
    InputError
        If table, files and options do not fit together, for example files with different sample rates.
    """
    labels = read_labels(labels_path, folder, ordered=ordered, nominal=nominal)
    check_study(hold_out, correlate, labels.levels)
    unlabelled = _check_files(folder, labels.files)
    sample_rate, lengths, digest, repeated = _survey(folder, labels.files)
    n_samples, fitted = _common_length(lengths, fit=fit, duration=duration, sample_rate=sample_rate)
    recipe = {
        "generator": "create.py --from_wav",
        "generator_version": 1,
        "fit": fit,
        "duration": duration,
        "sample_rate": sample_rate,
        "files": len(labels.files),
        "level_names": labels.level_names,
        "labels_sha256": hashlib.sha256(labels_path.read_bytes()).hexdigest(),
        "sounds_sha256": digest,
        "hold_out": hold_out,
        "correlate": correlate,
    } | {kind: sorted(names) for kind, names in (("ordered", ordered), ("nominal", nominal)) if names}

    def rows() -> Iterator[np.ndarray]:
        for name in labels.files:
            wave = read_wav(folder / name)[1][:n_samples]
            yield np.pad(wave, (0, n_samples - len(wave)))[None]

    members = dataset_members(
        x=Blocks((len(labels.files), n_samples), np.dtype(np.float32), rows()),
        factors=labels.factors,
        factor_values=labels.values,
        factor_names=labels.names,
        factor_kinds=labels.kinds,
        sample_rate=sample_rate,
        recipe=recipe,
    )
    words = [f"{name}: {len(values)} {kind} levels" for name, (kind, values, _) in labels.levels.items()]
    warnings = labels.warnings + unlabelled + repeated + _factor_warnings(labels) + fitted
    return Plan(members, f"recordings; {', '.join(words)}", warnings)


def _check_files(folder: Path, files: Sequence[str]) -> list[str]:
    """Refuse names of files that do not exist; return a warning about WAV files that are not in the table."""
    entries = [path for path in islice(folder.rglob("*"), MAX_LISTED) if not path.name.startswith(".")]
    missing = [name for name in files if not os.path.isfile(folder / name)]
    if missing:
        near = next((path for path in entries if _loose(path.name) == _loose(missing[0]) and path.is_file()), None)
        advice = "correct the names in the table, or give another folder"
        if near is not None:
            advice = (
                f"the folder has {near.relative_to(folder).as_posix()}; correct the name (case, encoding of accents, "
                f"/ between folders, extension)"
            )
        raise InputError(f"{folder}: files of the table do not exist ({len(missing)}): {_named(missing)}; {advice}")
    labelled = {os.path.abspath(folder / name) for name in files}
    wavs = [path for path in entries if path.suffix.casefold() == ".wav" and os.path.abspath(path) not in labelled]
    names = sorted(path.relative_to(folder).as_posix() for path in wavs)
    return [f"WAV files that are not in the table ({len(names)}): {_named(names)}"] if names else []


def _named(files: Sequence[str]) -> str:
    more = f" and {len(files) - MAX_NAMED} more" if len(files) > MAX_NAMED else ""
    return ", ".join(files[:MAX_NAMED]) + more


def _loose(name: str) -> str:
    """Return a file name without folders, extension, case and the encoding of accents."""
    return unicodedata.normalize("NFC", PurePosixPath(name.replace("\\", "/")).stem).casefold()


def _survey(folder: Path, files: Sequence[str]) -> tuple[int, dict[str, int], str, list[str]]:
    """Return the sample rate in Hz, the length of each file in samples, a digest of all samples, and a warning about
    files with equal samples."""
    rates: dict[int, list[str]] = {}
    lengths, digest, first, repeated = {}, hashlib.sha256(), {}, []
    for name in files:
        rate, wave = read_wav(folder / name)
        rates.setdefault(rate, []).append(name)
        lengths[name] = len(wave)
        digest.update(len(wave).to_bytes(8, "little") + wave.tobytes())
        if (other := first.setdefault(hash(wave.tobytes()), name)) != name:
            repeated.append(f"{name} (as {other})")
    if len(rates) > 1:
        rarest_first = sorted(rates.items(), key=lambda item: len(item[1]))
        found = "; ".join(f"{rate} Hz: {_named(names)}" for rate, names in rarest_first)
        raise InputError(f"{folder}: the files have {len(rates)} sample rates ({found}); resample them to one")
    warning = f"recordings with the same samples as another ({len(repeated)}): {_named(repeated)}"
    return rate, lengths, digest.hexdigest(), [warning] if repeated else []


def _common_length(
    lengths: dict[str, int], *, fit: str, duration: float | None, sample_rate: int
) -> tuple[int, list[str]]:
    """Return the samples of every sound, and a warning about recordings that are cut or padded to it."""
    extreme = (min if fit == "cut" else max)(lengths, key=lengths.get)
    n_samples = lengths[extreme] if duration is None else round(duration * sample_rate)
    if n_samples < 2:
        if duration is None:
            raise InputError(f"{extreme} has {n_samples} samples, expected 2 or more; remove it")
        raise InputError(f"duration: {duration:g} s at {sample_rate} Hz is {n_samples} samples; give more")
    short = [name for name, length in lengths.items() if length < n_samples]
    if short and fit == "cut":
        raise InputError(
            f"duration: {len(short)} recordings are shorter than {duration:g} s: {_named(short)}; give a shorter "
            f"duration, or pad them (fit pad)"
        )
    cut = sum(length > n_samples for length in lengths.values())
    if not cut and not short:
        return n_samples, []
    of = f", the length of the {'shortest' if fit == 'cut' else 'longest'}, {extreme}" if duration is None else ""
    return n_samples, [f"{cut} recordings are cut and {len(short)} padded with zeros to {n_samples} samples{of}"]


def _factor_warnings(labels: Labels) -> list[str]:
    """Return warnings about factors that cannot be scored, and about units that follow from names."""
    found = []
    for name, (kind, values, _) in labels.levels.items():
        if len(values) == 1:
            found.append(f"factor {name} has one level, so it cannot be scored")
        elif kind == "nominal" and len(values) == len(labels.files):
            found.append(f"factor {name} has a different level for each file, so its scores are meaningless")
        elif kind == "ordered" and name in UNITS:
            found.append(f"the unit of factor {name} is assumed to be {UNITS[name]}; rename the column if it is not")
    return found
