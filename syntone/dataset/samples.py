"""Reports on a dataset file: the audit as text, JSON and figure; samples as figure and WAV files."""

import json
import re
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from syntone import figures
from syntone.dataset.audit import MAX_CLASSES, audit
from syntone.dataset.file import Dataset
from syntone.dataset.nuisances import UNITS
from syntone.features.front_end import FrontEnd
from syntone.features.sounds import scale_of, sounds_of, wav_bytes
from syntone.files import write_files

MAX_LINES = 8  # in one panel


def write_audit(dataset: Dataset, *, figures_dir: Path) -> str:
    """Write <name>.audit.json beside the dataset and Dataset_Audit.png; return the audit as a paragraph."""
    with tqdm(total=len(dataset), unit="sound", desc="audit", delay=2, disable=None) as bar:
        report, confused = audit(dataset, progress=bar.update)
    beside, picture = dataset.path.with_suffix(".audit.json"), figures_dir / "Dataset_Audit.png"
    figure = figures.audit_figure(
        [factor | {"label": axis_label(factor["factor"])} for factor in report["steps"]],
        resolution_db=report["resolution_db"],
        shares=confused_shares(dataset, confused),
        title=f"{dataset.path.name}: {report['indistinguishable']:,} of {report['tones']:,} sounds are "
        f"indistinguishable from one with other labels; MIG is at most {report['mig_ceiling']:.3f}",
    )
    write_files({beside: json.dumps(report, indent=1, allow_nan=False) + "\n", picture: figures.png(figure)})
    return f"{audit_text(report)}\naudit: {beside}; figure: {picture}"


def audit_text(report: dict) -> str:
    """Return the audit as one paragraph."""
    n, confused, ceiling = report["tones"], report["indistinguishable"], report["mig_ceiling"]
    words = [
        f"{report['dataset']}: {n:,} sounds, of which {report['silent']} are silent, {report['clipped']} exceed full "
        f"scale and {report['saturated']} exceed the range of the front end.",
        f"At a resolution of {report['resolution_db']:g} dB per pixel of the log-mel spectrogram,",
    ]
    if confused:
        counts = [f"{count:,} with another {name}" for name, count in report["indistinguishable_in"].items()]
        words.append(f"{confused:,} ({100 * confused / n:.1f} %) are indistinguishable from a sound with other labels:")
        words.append(", ".join(counts) + ".")
    else:
        words.append("every sound can be distinguished from all sounds with other labels.")
    words += [_steps_text(factor) for factor in report["steps"]]
    of_factors = ", ".join(f"{name} {value:.3f}" for name, value in report["mig_ceiling_of"].items())
    words.append(f"MIG is therefore at most {ceiling:.3f} ({of_factors}).")
    if confused:
        finer = [
            f"{at['indistinguishable']:,} sounds and MIG at most {at['mig_ceiling']:.3f} ({at['resolution_db']:g} dB)"
            for at in report["at_resolutions"][:-1]
        ]
        words.append(f"At finer resolutions: {'; '.join(finer)}.")
    return " ".join(words)


def _steps_text(factor: dict) -> str:
    """Return one sentence on the steps of a factor."""
    name, steps = factor["factor"], factor["steps"]
    if factor["kind"] == "nominal" and factor["levels"] > MAX_CLASSES:
        return f"The {factor['levels']} levels of {name} are not compared in pairs (more than {MAX_CLASSES})."
    if not steps:
        return f"No two sounds differ in {name} only."
    kind = "pairs of levels" if factor["kind"] == "nominal" else "steps"
    lost = [step for step in steps if step["told_apart"] < 0.5]
    text = f"{len(steps) - len(lost)} of {len(steps)} {kind} of {name} can be distinguished"
    if lost:
        ends = [" and ".join(step.get("names", ())) or f"{step['from']:.4g} to {step['to']:.4g}" for step in lost]
        text += f", but not {', '.join(ends if len(ends) <= 5 else [*ends[:2], '...', ends[-1]])}"
    if 0 < factor["told_apart"] < 1:
        text += f" ({100 * factor['told_apart']:.2f} % of the pairs of sounds that differ in {name} only)"
    if factor.get("narrower_than_band"):
        text += f"; {factor['narrower_than_band']} steps are narrower than a mel band"
    return text + "."


def confused_shares(dataset: Dataset, confused: np.ndarray) -> tuple[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Return the share of indistinguishable sounds over the ordered factor with most levels, for the audit's figure.

    Returns an x label and one line per level of the first nominal factor: name -> values, shares.
    """
    names, kinds = dataset.factor_names, dataset.factor_kinds
    counts = [len(np.unique(column)) for column in dataset.factors.T]
    ordered = [k for k, kind in enumerate(kinds) if kind == "ordered"]
    axis = max(ordered or range(len(kinds)), key=lambda k: counts[k])
    nominal = [k for k, kind in enumerate(kinds) if kind == "nominal" and k != axis and counts[k] <= MAX_LINES]
    column = dataset.factor_values[:, nominal[0]] if nominal else np.zeros(len(dataset))
    lines = {}
    for value in np.unique(column):
        rows = column == value
        levels, level = np.unique(dataset.factor_values[rows, axis], return_inverse=True)
        line = dataset.level_name(names[nominal[0]], value) if nominal else "all sounds"
        lines[line] = levels, np.bincount(level, confused[rows]) / np.bincount(level)
    return axis_label(names[axis]), lines


def axis_label(name: str) -> str:
    """Return a factor's name with its unit if that is known."""
    return f"{name} ({UNITS[name]})" if name in UNITS else name


def write_samples(dataset: Dataset, *, figures_dir: Path, audio_dir: Path) -> str:
    """Write Samples.png and WAV files of the rows of `sample_rows`; return a line with their paths."""
    front_end = FrontEnd("logmel", sample_rate=dataset.sample_rate, n_samples=dataset.x.shape[1], smoothing=0.0)
    lines = sample_rows(dataset)
    rows = [row for line in lines for row in line]
    waves, labels = np.array(dataset.x[rows]), [dataset.describe(row) for row in rows]
    sounds = sounds_of(front_end.features(torch.from_numpy(waves)), front_end=front_end, labels=labels, waves=waves)
    of_row = dict(zip(rows, sounds))
    grid = [[[of_row[row]] for row in line] for line in lines]
    figure = figures.tones_figure(grid, scale=scale_of(front_end), title=f"Sounds of {dataset.path.name}")
    written, taken = {figures_dir / "Samples.png": figures.png(figure)}, set()
    for row, sound in of_row.items():
        name = re.sub(r"[^\w.-]", "_", sound.label.replace(", ", "_"))[:80]
        name += f"_{row}" if name.lower() in taken else ""  # some file systems ignore case
        taken.add(name.lower())
        written[audio_dir / f"{name}.wav"] = wav_bytes(sound.wave, dataset.sample_rate)
    write_files(written)
    return f"samples: {figures_dir / 'Samples.png'}; sounds: {audio_dir}"


def sample_rows(dataset: Dataset) -> list[list[int]]:
    """Return rows to show, one list per level of the first nominal factor (8 of them, equally spaced, of more).

    A list has the sounds nearest to the lowest, middle and highest level of frequency (or of the ordered factor with
    most levels) and to the middle level of all other factors, each once.
    """
    levels = np.stack([np.unique(column, return_inverse=True)[1] for column in dataset.factors.T], axis=1)
    highest = levels.max(axis=0)
    nominal = [k for k, kind in enumerate(dataset.factor_kinds) if kind == "nominal"][:1]
    ordered = [k for k, kind in enumerate(dataset.factor_kinds) if kind == "ordered" and highest[k]]
    named = [k for k in ordered if dataset.factor_names[k] == "frequency"]
    axis = (named or sorted(ordered, key=lambda k: -highest[k]))[:1]
    places = levels / np.maximum(highest, 1)
    groups = levels[:, nominal[0]] if nominal else np.zeros(len(dataset))
    found = []
    present = np.unique(groups)
    for group in present[np.linspace(0, len(present) - 1, min(len(present), MAX_LINES)).astype(int)]:
        members, line = np.flatnonzero(groups == group), []
        for place in (0.0, 0.5, 1.0) if axis else (0.5,):
            wanted = np.full(places.shape[1], 0.5)
            wanted[axis] = place
            off = np.abs(places[members] - wanted)
            off[:, nominal] = 0
            off[:, axis] *= len(wanted)  # this axis has priority
            line.append(int(members[off.sum(axis=1).argmin()]))
        found.append(list(dict.fromkeys(line)))
    return found
