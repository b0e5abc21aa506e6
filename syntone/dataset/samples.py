"""Reports on a dataset file: the audit as text, JSON and figure, and a picture and sounds of some of its tones."""

import json
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from syntone import figures as plotting
from syntone.dataset.audit import audit as audit_of
from syntone.dataset.file import Dataset
from syntone.dataset.nuisances import FACTORS
from syntone.features.front_end import FrontEnd
from syntone.features.sounds import scale_of, sounds_of, wav_bytes
from syntone.files import write_files

MAX_LINES = 8  # of one panel


def audit(dataset: Dataset, *, figures_dir: Path) -> None:
    """Print the audit; write <name>.audit.json beside the dataset and Dataset_Audit.png."""
    with tqdm(total=len(dataset), unit="tone", desc="audit", delay=2, disable=None) as bar:
        report, confused = audit_of(dataset, progress=bar.update)
    beside = dataset.path.with_suffix(".audit.json")
    write_files({beside: json.dumps(report, indent=1, allow_nan=False) + "\n"})
    figure = figures_dir / "Dataset_Audit.png"
    factors = [factor | {"label": axis_label(factor["factor"])} for factor in report["steps"]]
    title = (
        f"{dataset.path.name}: {report['tones']:,} tones, {report['indistinguishable']:,} of them indistinguishable from "
        f"one with other labels; MIG can reach {report['mig_ceiling']:.3f}"
    )
    drawn = plotting.audit_figure(
        factors, resolution_db=report["resolution_db"], title=title, shares=confused_shares(dataset, confused)
    )
    write_files({figure: plotting.png(drawn)})
    print(audit_text(report))
    print(f"audit: {beside}; figure: {figure}")


def audit_text(report: dict) -> str:
    """The audit as one paragraph."""
    n, confused, resolution = report["tones"], report["indistinguishable"], report["resolution_db"]
    words = [
        f"{report['dataset']}, {n:,} tones, as their log-mel spectrograms show them: {report['silent'] or 'none'} silent, "
        f"{report['clipped'] or 'none'} beyond full scale, {report['saturated'] or 'none'} above the front end's range."
    ]
    if confused:
        found = ", ".join(
            f"{count:,} from one of another {name}" for name, count in report["indistinguishable_in"].items()
        )
        words.append(
            f"At a resolution of {resolution:g} dB in every pixel, {confused:,} tones ({100 * confused / n:.1f} %) "
            f"cannot be told from a tone with other labels: {found}."
        )
    else:
        words.append(f"At a resolution of {resolution:g} dB in every pixel, every tone can be told from every other.")
    words += [_steps_text(factor) for factor in report["steps"]]
    ceilings = ", ".join(f"{name} {value:.3f}" for name, value in report["mig_ceiling_of"].items())
    words.append(
        f"A code that takes indistinguishable tones for one can reach a MIG of {report['mig_ceiling']:.3f} "
        f"({ceilings})."
    )
    finer = report["at_resolutions"][:-1]
    if confused:
        found = [
            f"{at['resolution_db']:g} dB, {at['indistinguishable']:,} tones, MIG {at['mig_ceiling']:.3f}"
            for at in finer
        ]
        words.append(f"At finer resolutions: {'; '.join(found)}.")
    return " ".join(words)


def _steps_text(factor: dict) -> str:
    """One sentence on the steps of one factor."""
    name, steps = factor["factor"], factor["steps"]
    if not steps:
        return f"No two tones differ in {name} alone."
    kind = "pairs of levels" if factor["kind"] == "nominal" else "steps"
    lost = [step for step in steps if step["told_apart"] < 0.5]
    text = f"Of the {len(steps)} {kind} of {name}, {len(steps) - len(lost)} can be told apart"
    if lost:
        ends = [" and ".join(step.get("names", ())) or f"{step['from']:.4g} to {step['to']:.4g}" for step in lost]
        shown = ends if len(ends) <= 5 else [*ends[:2], "...", ends[-1]]
        text += f", not {', '.join(shown)}"
    if factor["told_apart"] < 1 and factor["told_apart"] > 0:
        text += f" ({100 * factor['told_apart']:.2f} % of the pairs of tones that differ in nothing else)"
    narrow = factor.get("narrower_than_band")
    if narrow:
        text += f"; {narrow} steps are narrower than a mel band"
    return text + "."


def confused_shares(dataset: Dataset, confused: np.ndarray) -> tuple[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """The share of indistinguishable tones over the ordered factor of most levels, one line a level of the first
    nominal factor: the x label, and for each line its name, values and shares."""
    kinds, counts = dataset.factor_kinds, [len(np.unique(column)) for column in dataset.factors.T]
    ordered = [k for k, kind in enumerate(kinds) if kind == "ordered"]
    axis = max(ordered or range(len(kinds)), key=lambda k: counts[k])
    nominal = [k for k, kind in enumerate(kinds) if kind == "nominal" and k != axis and counts[k] <= MAX_LINES]
    values = dataset.factor_values[:, axis]
    groups = {"all tones": np.ones(len(dataset), bool)}
    if nominal:
        column = dataset.factor_values[:, nominal[0]]
        groups = {
            dataset.level_name(dataset.factor_names[nominal[0]], value): column == value for value in np.unique(column)
        }
    lines = {}
    for name, rows in groups.items():
        levels, level = np.unique(values[rows], return_inverse=True)
        lines[name] = levels, np.bincount(level, confused[rows]) / np.bincount(level)
    return axis_label(dataset.factor_names[axis]), lines


def axis_label(name: str) -> str:
    """A factor's name with its unit, where we know it."""
    units = {"frequency": "Hz"} | {known: factor.unit for known, factor in FACTORS.items()}
    return f"{name} ({units[name]})" if name in units else name


def samples(dataset: Dataset, *, figures_dir: Path, audio_dir: Path) -> None:
    """Write Samples.png and WAVs of the tones that `sample_rows` chooses."""
    front_end = FrontEnd("logmel", sample_rate=dataset.sample_rate, n_samples=dataset.x.shape[1])
    rows = sample_rows(dataset)
    waves = np.array(dataset.x[rows.reshape(-1)])
    features = front_end.features(torch.from_numpy(waves))
    labels = [dataset.describe(row) for row in rows.reshape(-1)]
    sounds = sounds_of(features, front_end=front_end, labels=labels, waves=waves)
    grid = [[[sound] for sound in sounds[i : i + rows.shape[1]]] for i in range(0, len(sounds), rows.shape[1])]
    figure = plotting.tones_figure(grid, scale=scale_of(front_end), title=f"Tones of {dataset.path.name}")
    write_files({figures_dir / "Samples.png": plotting.png(figure)})
    for sound in sounds:
        name = "".join(
            letter if letter.isalnum() or letter in ".-" else "_" for letter in sound.label.replace(", ", "_")
        )
        write_files({audio_dir / f"{name}.wav": wav_bytes(sound.wave, dataset.sample_rate)})
    print(f"samples: {figures_dir / 'Samples.png'}; sounds: {audio_dir}")


def sample_rows(dataset: Dataset) -> np.ndarray:
    """Rows to show, (R, C): a row of the picture for each level of the first nominal factor (at most 8), and for each
    the tones nearest to the lowest, the middle and the highest level of frequency (without it, of the ordered factor of
    most levels) and to the middle of all other factors."""
    counts = [len(np.unique(column)) for column in dataset.factors.T]
    nominal = [k for k, kind in enumerate(dataset.factor_kinds) if kind == "nominal"][:1]
    ordered = [k for k, kind in enumerate(dataset.factor_kinds) if kind == "ordered" and counts[k] > 1]
    named = [k for k in ordered if dataset.factor_names[k] == "frequency"]
    axis = (named or sorted(ordered, key=lambda k: -counts[k]))[:1]
    levels = np.stack(
        [
            np.unique(column, return_inverse=True)[1].reshape(-1) / max(count - 1, 1)
            for column, count in zip(dataset.factors.T, counts)
        ],
        axis=1,
    )
    found = []
    groups = np.unique(dataset.factors[:, nominal[0]])[:MAX_LINES] if nominal else [None]
    for group in groups:
        members = np.flatnonzero(dataset.factors[:, nominal[0]] == group) if nominal else np.arange(len(dataset))
        line = []
        for place in (0.0, 0.5, 1.0) if axis else (0.5,):
            wanted = np.full(levels.shape[1], 0.5)
            wanted[axis] = place
            off = np.abs(levels[members] - wanted)
            off[:, nominal] = 0
            off[:, axis] *= len(wanted)  # the place on this axis comes first
            line.append(members[off.sum(axis=1).argmin()])
        found.append(line)
    return np.array(found)
