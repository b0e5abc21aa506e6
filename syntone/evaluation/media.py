"""One checkpoint with its data, ready to be evaluated, and the figures and sounds made from it."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from syntone import figures as plotting
from syntone.dataset.file import Dataset, load_npz
from syntone.errors import InputError
from syntone.evaluation import codes as evaluation
from syntone.features.front_end import FrontEnd, compute_features
from syntone.features.sounds import scale_of, sounds_of, wav_bytes
from syntone.files import write_files
from syntone.training.checkpoint import Checkpoint, check_dataset, load_checkpoint
from syntone.training.parallel import place

N_TONES, N_SAMPLES, N_FRAMES, N_STEPS = 4, 4, 8, 7
PAUSE_SECONDS = 0.1  # between the steps of a traversal row in its WAV


@dataclass(frozen=True)
class Entry:
    """A checkpoint's model on the device, the features of its dataset, and the rows to reconstruct."""

    checkpoint: Checkpoint
    model: nn.Module
    front_end: FrontEnd
    dataset: Dataset
    features: Tensor
    valid_rows: np.ndarray
    mismatch: str | None


def load_entries(paths: list[Path], *, dataset_path: Path | None, state: str, device: torch.device) -> list[Entry]:
    """Read checkpoints and what they were trained on; features are computed once for all that share them.

    A dataset other than the one trained on is refused, unless `dataset_path` asks for it; then all its tones are
    reconstructed, since none was trained on.

    Raises
    ------
    InputError
        If files are missing or damaged, do not belong together, or are not seeds of the same models.
    """
    checkpoints = [load_checkpoint(path) for path in paths]
    models = {}
    for checkpoint, path in zip(checkpoints, paths):
        try:
            models[path] = checkpoint.model(state)
        except InputError as mistake:
            raise InputError(f"{path}: {mistake}") from mistake
    _check_seeds(checkpoints, paths)
    datasets: dict[Path, Dataset] = {}
    features: dict[tuple, Tensor] = {}
    entries = []
    for checkpoint, path in zip(checkpoints, paths):
        source = dataset_path or Path(checkpoint.dataset_path)
        if not source.is_file():
            raise InputError(f"{path}: was trained on {source}, which is not there; give its place with --dataset")
        if source not in datasets:
            datasets[source] = load_npz(source)
        dataset = datasets[source]
        mismatch = check_dataset(checkpoint, dataset)
        if mismatch and dataset_path is None:
            raise InputError(f"{path}: {mismatch}; re-create the dataset, or give --dataset {source} to evaluate on it")
        front_end = checkpoint.front_end()
        if (source, front_end) not in features:
            with tqdm(total=len(dataset), unit="tone", desc="features", delay=2, disable=None) as bar:
                features[source, front_end] = compute_features(dataset.x, front_end, device=device, progress=bar.update)
        model = place(models[path], device)  # laid out as in training, so that scores agree to the bit
        rows = np.arange(len(dataset)) if mismatch else checkpoint.valid_rows.numpy()
        entries.append(Entry(checkpoint, model, front_end, dataset, features[source, front_end], rows, mismatch))
    return entries


def _check_seeds(checkpoints: list[Checkpoint], paths: list[Path]) -> None:
    """Several checkpoints of one model are aggregated over seeds, so they may differ in nothing else."""
    first: dict[str, Checkpoint] = {}
    seen: set[tuple[str, int]] = set()
    for checkpoint, path in zip(checkpoints, paths):
        other = first.setdefault(checkpoint.model_name, checkpoint)
        same = (
            checkpoint.model_config == other.model_config
            and checkpoint.front_end_config == other.front_end_config
            and checkpoint.epoch == other.epoch
            and checkpoint.recipe == other.recipe
            and checkpoint.options | {"seed": 0} == other.options | {"seed": 0}
        )
        if not same:
            raise InputError(
                f"{path}: was trained with other options than the {checkpoint.model_name} before it, so the "
                f"two are no seeds of one model; evaluate them one at a time"
            )
        if (checkpoint.model_name, checkpoint.seed) in seen:
            raise InputError(
                f"{path}: {checkpoint.model_name} with seed {checkpoint.seed} was given before; give each once"
            )
        seen.add((checkpoint.model_name, checkpoint.seed))


def warnings_for(entries: list[Entry]) -> list[str]:
    """What a reader of the scores must know, one line each."""
    return list(
        dict.fromkeys(f"{entry.mismatch}; its tones are all taken as unseen" for entry in entries if entry.mismatch)
    )


def draw_and_sound(
    entry: Entry, codes: evaluation.Codes, *, figures_dir: Path, audio_dir: Path, seed: int, animate: bool
) -> None:
    """Write the figures and sounds of one model; with `animate` the two GIFs too."""
    name, front_end, model = entry.checkpoint.model_name, entry.front_end, entry.model
    scale = scale_of(front_end)
    device = entry.features.device
    rng = np.random.default_rng(seed)

    chosen = evaluation.choose_rows(entry.valid_rows, entry.dataset.y, n=N_FRAMES, rng=rng)
    rebuilt = evaluation.reconstruct(model, entry.features[chosen])
    labels = [entry.dataset.describe(row) for row in chosen]
    originals = sounds_of(
        entry.features[chosen], front_end=front_end, labels=labels, waves=np.array(entry.dataset.x[chosen])
    )
    decoded = sounds_of(rebuilt, front_end=front_end, labels=["reconstruction"] * len(chosen))
    every = max(1, len(chosen) // N_TONES)
    figure = plotting.tones_figure(
        [[pair] for pair in zip(originals[::every], decoded[::every])],
        scale=scale,
        title=f"{name}: validation tones and their reconstructions",
    )
    write_files({figures_dir / f"Original_vs_Reconstructed_{name}.png": plotting.png(figure)})

    noise = rng.standard_normal((N_FRAMES, codes.codes.shape[1]))
    samples = sounds_of(
        evaluation.decode(model, noise, device=device),
        front_end=front_end,
        labels=[f"sample {i + 1} of the prior" for i in range(N_FRAMES)],
    )
    figure = plotting.tones_figure(
        [[[sample]] for sample in samples[:N_SAMPLES]],
        scale=scale,
        title=f"{name}: tones decoded from z drawn from N(0, I)",
        colours=(plotting.MODEL,),
    )
    write_files({figures_dir / f"Generated_sample_{name}.png": plotting.png(figure)})

    base_row = int(rng.choice(entry.valid_rows))
    values = evaluation.traversal_values(codes.codes, n_steps=N_STEPS)
    moved = evaluation.traversal_codes(codes.codes[base_row], values, codes.order)
    steps = evaluation.decode(model, moved.reshape(-1, moved.shape[2]), device=device)
    walks = sounds_of(steps, front_end=front_end, labels=[""] * len(steps))
    mels = np.stack([walk.mel for walk in walks]).reshape(*moved.shape[:2], *walks[0].mel.shape)
    row_labels = [f"z{j}: {codes.kl[j]:.2f} nats" + ("" if codes.active[j] else "\n(collapsed)") for j in codes.order]
    figure = plotting.traversal_figure(
        mels,
        values=values[codes.order],
        labels=row_labels,
        scale=scale,
        title=f"{name}: each row moves one latent between its 2 % and 98 % quantile, from the code of "
        f"{entry.dataset.describe(base_row)}; rows by mean KL",
    )
    write_files({figures_dir / f"{name}_Latent_Space_Interpolation.png": plotting.png(figure)})

    _write_sounds(
        audio_dir,
        originals,
        decoded,
        samples,
        np.stack([walk.wave for walk in walks]),
        codes.order,
        sample_rate=front_end.sample_rate,
    )
    moves = [
        f"{label}, {steps[0]:+.2f} to {steps[-1]:+.2f}"
        for label, steps in zip((label.replace("\n", " ") for label in row_labels), values[codes.order])
    ]
    _describe_sounds(audio_dir, labels, [sample.label for sample in samples], dict(zip(codes.order, moves)))
    if animate:
        pairs = plotting.tone_gif(
            list(zip(originals, decoded)), scale=scale, title=f"{name}: validation tones and their reconstructions"
        )
        drawn = plotting.tone_gif(
            [[sample] for sample in samples],
            scale=scale,
            title=f"{name}: tones decoded from N(0, I)",
            colours=(plotting.MODEL,),
        )
        gifs = {"Original_vs_Reconstructed.gif": pairs, "Generated_Samples.gif": drawn}
        write_files({figures_dir / file: data for file, data in gifs.items()})


def draw_information(
    entry: Entry, codes: evaluation.Codes, shares: np.ndarray, *, factors: Sequence[str], figures_dir: Path
) -> None:
    """Write the heat map of shares (K, D), mutual information in units of the factors' entropies."""
    name, order = entry.checkpoint.model_name, codes.order
    labels = [f"z{j}\n{codes.kl[j]:.2f}" + ("" if codes.active[j] else "\n(collapsed)") for j in order]
    figure = plotting.information_figure(
        shares[:, order],
        factors=factors,
        latents=labels,
        title=f"{name}: share of each factor's entropy that each latent knows; framed the two that MIG compares",
    )
    write_files({figures_dir / f"{name}_Mutual_Information.png": plotting.png(figure)})


def _write_sounds(
    directory: Path,
    originals: list,
    decoded: list,
    samples: list,
    walks: np.ndarray,
    order: np.ndarray,
    *,
    sample_rate: int,
) -> None:
    """WAVs at their true level; a traversal row is one file, its steps after one another with a pause between."""
    for kind, sounds in (("original", originals), ("reconstruction", decoded), ("sample", samples)):
        for number, sound in enumerate(sounds, start=1):
            write_files({directory / f"{kind}_{number}.wav": wav_bytes(sound.wave, sample_rate)})
    pause = np.zeros((len(order), N_STEPS, int(PAUSE_SECONDS * sample_rate)))
    rows = np.concatenate([walks.reshape(len(order), N_STEPS, -1), pause], axis=2).reshape(len(order), -1)
    for latent, row in zip(order, rows):
        write_files({directory / f"traversal_z{latent}.wav": wav_bytes(row, sample_rate)})


def _describe_sounds(directory: Path, tones: Sequence[str], samples: Sequence[str], moves: dict[int, str]) -> None:
    """sounds.csv, which says of every WAV beside it what it is."""
    named = [
        (f"{kind}_{number}.wav", kind, words)
        for kind, described in (("original", tones), ("reconstruction", tones), ("sample", samples))
        for number, words in enumerate(described, start=1)
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(
        [
            ("file", "kind", "description"),
            *named,
            *[(f"traversal_z{latent}.wav", "traversal", words) for latent, words in moves.items()],
        ]
    )
    write_files({directory / "sounds.csv": text.getvalue()})
