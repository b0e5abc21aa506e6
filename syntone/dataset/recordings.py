"""Recordings as a dataset: WAV files of one sample rate, and a table of their factors."""

import hashlib
import os
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np

from syntone.dataset.file import Blocks, dataset_members
from syntone.dataset.labels import Labels, read_labels
from syntone.dataset.nuisances import FACTORS
from syntone.dataset.recipe import Plan
from syntone.dataset.splits import check_study
from syntone.dataset.wav import read_wav
from syntone.errors import InputError

MAX_NAMED = 5  # files that a message names
MAX_LISTED = 10**5  # entries of the folder that are compared with the table
UNITS = {"frequency": "Hz", "amplitude": "linear amplitude"} | {name: factor.unit for name, factor in FACTORS.items()}


def _named(files: Sequence[str]) -> str:
    more = f" and {len(files) - MAX_NAMED} more" if len(files) > MAX_NAMED else ""
    return ", ".join(files[:MAX_NAMED]) + more


def _check_files(folder: Path, files: Sequence[str]) -> list[str]:
    """Refuse names that are not files of the folder; return a line about WAV files that the table does not name."""
    entries = [path for path in islice(folder.rglob("*"), MAX_LISTED) if not path.name.startswith(".")]
    missing = [name for name in files if not os.path.isfile(folder / name)]
    if missing:
        near = next((path for path in entries if _loose(path.name) == _loose(missing[0]) and path.is_file()), None)
        advice = "correct the names in the table, or give another folder"
        if near is not None:
            advice = (
                f"it has {near.relative_to(folder).as_posix()}; correct the name: upper and lower case, the encoding "
                f"of accents, / between folders and the ending count"
            )
        raise InputError(f"{folder}: has no such files: {_named(missing)} ({len(missing)} of the table); {advice}")
    named = {os.path.abspath(folder / name) for name in files}
    wavs = [path for path in entries if path.suffix.casefold() == ".wav" and os.path.abspath(path) not in named]
    others = _named(sorted(path.relative_to(folder).as_posix() for path in wavs))
    return [f"{len(wavs)} WAV files of the folder are not in the table: {others}"] if wavs else []


def _loose(name: str) -> str:
    """Return a file name without folders, ending, case and the encoding of accents."""
    return unicodedata.normalize("NFC", PurePosixPath(name.replace("\\", "/")).stem).casefold()


def _common_length(lengths: dict[str, int], *, fit: str, duration: float | None, sample_rate: int) -> int:
    """Return the samples of every tone: the shortest recording's (`cut`), the longest's (`pad`), or the duration's."""
    wanted = (min if fit == "cut" else max)(lengths.values()) if duration is None else round(duration * sample_rate)
    if wanted < 2:
        if duration is None:
            raise InputError(f"{_of_length(lengths, wanted)} has {wanted} samples, expected 2 or more; leave it out")
        raise InputError(f"duration: {duration:g} s at {sample_rate} Hz is {wanted} samples; give more")
    short = [name for name, length in lengths.items() if length < wanted]
    if short and fit == "cut":
        raise InputError(
            f"duration: {len(short)} recordings are shorter than {duration:g} s: {_named(short)}; pad them (fit pad) "
            f"or give less"
        )
    return wanted


def _of_length(lengths: dict[str, int], n_samples: int) -> str | None:
    return next((name for name, length in lengths.items() if length == n_samples), None)


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
    """Return the plan of a dataset of recordings; every file is read once to be checked and once to be written.

    The recipe holds digests of the table and the sounds, so that a file made of others is not taken for the same.

    Raises
    ------
    InputError
        If table, files and options do not fit together; mixed sample rates are named with their files.
    """
    labels = read_labels(labels_path, folder, ordered=ordered, nominal=nominal)
    check_study(hold_out, correlate, labels.levels)
    warnings = labels.warnings + _check_files(folder, labels.files)
    sample_rate, lengths, digest, twins = _survey(folder, labels.files)
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
    } | {kind: sorted(names) for kind, names in (("ordered", ordered), ("nominal", nominal)) if names}

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
    warnings += twins + _warnings(labels, lengths, n_samples, duration=duration)
    return Plan(members, f"recordings; {', '.join(words)}", warnings)


def _survey(folder: Path, files: Sequence[str]) -> tuple[int, dict[str, int], str, list[str]]:
    """Sample rate in Hz, length of each file in samples, a digest of all samples, and lines about equal files."""
    rates: dict[int, list[str]] = {}
    lengths, sounds, first, twins = {}, hashlib.sha256(), {}, []
    for name in files:
        rate, wave = read_wav(folder / name)
        rates.setdefault(rate, []).append(name)
        lengths[name] = len(wave)
        sounds.update(len(wave).to_bytes(8, "little") + wave.tobytes())
        if (other := first.setdefault(hash(wave.tobytes()), name)) != name:
            twins.append(f"{name} (as {other})")
    if len(rates) > 1:
        rarest_first = sorted(rates.items(), key=lambda item: len(item[1]))
        found = "; ".join(f"{rate} Hz: {_named(names)}" for rate, names in rarest_first)
        raise InputError(f"{folder}: the files have {len(rates)} sample rates ({found}); resample them to one")
    lines = [f"{len(twins)} recordings have the same samples as another: {_named(twins)}"] if twins else []
    return rate, lengths, sounds.hexdigest(), lines


def _warnings(labels: Labels, lengths: dict[str, int], n_samples: int, *, duration: float | None) -> list[str]:
    """Lines about factors that cannot be scored or have a unit by their name, and about what was cut or padded."""
    found = []
    for name, (kind, values, _) in labels.levels.items():
        if len(values) == 1:
            found.append(f"factor {name} has one level, so nothing can be scored about it")
        elif kind == "nominal" and len(values) == len(labels.files):
            found.append(f"factor {name} has another level for each file, so its scores mean nothing")
        elif kind == "ordered" and name in UNITS:
            found.append(f"factor {name} is taken to be in {UNITS[name]}; rename the column if it is not")
    cut = sum(length > n_samples for length in lengths.values())
    padded = sum(length < n_samples for length in lengths.values())
    if cut or padded:
        done = f"{cut} recordings are cut and {padded} padded with zeros to {n_samples} samples"
        if duration is None:
            done += f", the length of the {'shortest' if cut else 'longest'}, {_of_length(lengths, n_samples)}"
        found.append(f"{done}; fit and duration change that")
    return found
