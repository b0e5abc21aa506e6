"""Reports on a dataset file: the audit as text, JSON and figure, and a figure and sounds of some of its tones."""

import json
import re
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from syntone import figures
from syntone.dataset.audit import MAX_CLASSES, audit
from syntone.dataset.file import Dataset
from syntone.dataset.nuisances import FACTORS
from syntone.features.front_end import FrontEnd
from syntone.features.sounds import scale_of, sounds_of, wav_bytes
from syntone.files import write_files

MAX_LINES = 8  # of one panel
UNITS = {"frequency": "Hz"} | {name: factor.unit for name, factor in FACTORS.items()}


def write_audit(dataset: Dataset, *, figures_dir: Path) -> str:
    """Write <name>.audit.json beside the dataset and Dataset_Audit.png; return the audit as a paragraph."""
    with tqdm(total=len(dataset), unit="tone", desc="audit", delay=2, disable=None) as bar:
        report, confused = audit(dataset, progress=bar.update)
    beside, picture = dataset.path.with_suffix(".audit.json"), figures_dir / "Dataset_Audit.png"
    figure = figures.audit_figure(
        [factor | {"label": axis_label(factor["factor"])} for factor in report["steps"]],
        resolution_db=report["resolution_db"],
        shares=confused_shares(dataset, confused),
        title=f"{dataset.path.name}: {report['tones']:,} tones, {report['indistinguishable']:,} of them "
        f"indistinguishable from one with other labels; MIG can reach {report['mig_ceiling']:.3f}",
    )
    write_files({beside: json.dumps(report, indent=1, allow_nan=False) + "\n", picture: figures.png(figure)})
    return f"{audit_text(report)}\naudit: {beside}; figure: {picture}"


def audit_text(report: dict) -> str:
    """Return the audit as one paragraph."""
    n, confused, ceiling = report["tones"], report["indistinguishable"], report["mig_ceiling"]
    words = [
        f"{report['dataset']}, {n:,} tones, as their log-mel spectrograms show them: "
        f"{report['silent'] or 'none'} silent, {report['clipped'] or 'none'} beyond full scale, "
        f"{report['saturated'] or 'none'} above the front end's range.",
        f"At a resolution of {report['resolution_db']:g} dB in every pixel,",
    ]
    if confused:
        counts = [f"{count:,} from one of another {name}" for name, count in report["indistinguishable_in"].items()]
        words.append(f"{confused:,} tones ({100 * confused / n:.1f} %) cannot be told from a tone with other labels:")
        words.append(", ".join(counts) + ".")
    else:
        words.append("every tone can be told from every other.")
    words += [_steps_text(factor) for factor in report["steps"]]
    of_factors = ", ".join(f"{name} {value:.3f}" for name, value in report["mig_ceiling_of"].items())
    words.append(f"A code that takes indistinguishable tones for one can reach a MIG of {ceiling:.3f} ({of_factors}).")
    if confused:
        finer = [
            f"{at['resolution_db']:g} dB, {at['indistinguishable']:,} tones, MIG {at['mig_ceiling']:.3f}"
            for at in report["at_resolutions"][:-1]
        ]
        words.append(f"At finer resolutions: {'; '.join(finer)}.")
    return " ".join(words)


def _steps_text(factor: dict) -> str:
    """One sentence on the steps of one factor."""
    name, steps = factor["factor"], factor["steps"]
    if factor["kind"] == "nominal" and factor["levels"] > MAX_CLASSES:
        return f"The {factor['levels']} levels of {name} are not compared in pairs, which is done up to {MAX_CLASSES}."
    if not steps:
        return f"No two tones differ in {name} alone."
    kind = "pairs of levels" if factor["kind"] == "nominal" else "steps"
    lost = [step for step in steps if step["told_apart"] < 0.5]
    text = f"Of the {len(steps)} {kind} of {name}, {len(steps) - len(lost)} can be told apart"
    if lost:
        ends = [" and ".join(step.get("names", ())) or f"{step['from']:.4g} to {step['to']:.4g}" for step in lost]
        text += f", not {', '.join(ends if len(ends) <= 5 else [*ends[:2], '...', ends[-1]])}"
    if 0 < factor["told_apart"] < 1:
        text += f" ({100 * factor['told_apart']:.2f} % of the pairs of tones that differ in nothing else)"
    if factor.get("narrower_than_band"):
        text += f"; {factor['narrower_than_band']} steps are narrower than a mel band"
    return text + "."


def confused_shares(dataset: Dataset, confused: np.ndarray) -> tuple[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Return the share of indistinguishable tones over the ordered factor of most levels, for the audit's figure.

    There is one line per level of the first nominal factor: an x label, and for each line its name, values and shares.
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
        line = dataset.level_name(names[nominal[0]], value) if nominal else "all tones"
        lines[line] = levels, np.bincount(level, confused[rows]) / np.bincount(level)
    return axis_label(names[axis]), lines


def axis_label(name: str) -> str:
    """Return a factor's name with its unit, where it is known."""
    return f"{name} ({UNITS[name]})" if name in UNITS else name


def write_samples(dataset: Dataset, *, figures_dir: Path, audio_dir: Path) -> str:
    """Write Samples.png and WAVs of the tones that `sample_rows` chooses; return where they are."""
    front_end = FrontEnd("logmel", sample_rate=dataset.sample_rate, n_samples=dataset.x.shape[1], smoothing=0.0)
    lines = sample_rows(dataset)
    rows = [row for line in lines for row in line]
    waves, labels = np.array(dataset.x[rows]), [dataset.describe(row) for row in rows]
    sounds = sounds_of(front_end.features(torch.from_numpy(waves)), front_end=front_end, labels=labels, waves=waves)
    of_row = dict(zip(rows, sounds))
    grid = [[[of_row[row]] for row in line] for line in lines]
    figure = figures.tones_figure(grid, scale=scale_of(front_end), title=f"Tones of {dataset.path.name}")
    written, taken = {figures_dir / "Samples.png": figures.png(figure)}, set()
    for row, sound in of_row.items():
        name = re.sub(r"[^\w.-]", "_", sound.label.replace(", ", "_"))[:80]
        name += f"_{row}" if name.lower() in taken else ""  # some file systems take a and A for the same
        taken.add(name.lower())
        written[audio_dir / f"{name}.wav"] = wav_bytes(sound.wave, dataset.sample_rate)
    write_files(written)
    return f"samples: {figures_dir / 'Samples.png'}; sounds: {audio_dir}"


def sample_rows(dataset: Dataset) -> list[list[int]]:
    """Return rows to show, one list per level of the first nominal factor (at most 8).

    It holds the tones nearest to the lowest, the middle and the highest level of frequency (without it, of the ordered
    factor of most levels) and to the middle of all other factors, each tone once.
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
    for group in np.unique(groups)[:MAX_LINES]:
        members, line = np.flatnonzero(groups == group), []
        for place in (0.0, 0.5, 1.0) if axis else (0.5,):
            wanted = np.full(places.shape[1], 0.5)
            wanted[axis] = place
            off = np.abs(places[members] - wanted)
            off[:, nominal] = 0
            off[:, axis] *= len(wanted)  # the place on this axis comes first
            line.append(int(members[off.sum(axis=1).argmin()]))
        found.append(list(dict.fromkeys(line)))
    return found
