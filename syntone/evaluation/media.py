"""Figures and sounds of one checkpoint, in memory."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from joblib import Parallel, cpu_count, delayed
from matplotlib.figure import Figure

from metrics import Information
from syntone import figures
from syntone.evaluation.codes import Codes, choose_rows, decode, reconstruct, traversal_codes, traversal_values
from syntone.evaluation.load import Entry
from syntone.features.sounds import scale_of, sounds_of, wav_bytes
from syntone.figures import Sound
from syntone.files import csv_text

N_ROWS, N_FRAMES = 4, 8  # tones and samples in the figures, and in the GIFs and as sounds
N_LATENTS, N_STEPS = 16, 7  # traversals, of the latents with the largest KL, and the steps of each
MAX_PROCESSES = 8  # as many as DCI, which uses the same
PAUSE_SECONDS = 0.1  # between the steps of a traversal in its WAV


@dataclass(frozen=True)
class Picture:
    """One PNG or GIF."""

    name: str  # of the file
    data: bytes
    part: str  # "reconstruction", "sample", "traversal", "information" or "animation"
    caption: str  # what it shows, in words


@dataclass(frozen=True)
class Media:
    """Pictures and sounds of one model; the first model of an evaluation has animations, too."""

    model: str
    sample_rate: int
    pictures: list[Picture]
    sounds: list[Sound]

    def files(self, *, figures_dir: Path, audio_dir: Path) -> dict[Path, bytes | str]:
        """Return the contents of all files: pictures, WAVs at their true level, and sounds.csv on the WAVs."""
        folder = audio_dir / self.model
        if not self.sounds:
            return {figures_dir / picture.name: picture.data for picture in self.pictures}
        found = {figures_dir / picture.name: picture.data for picture in self.pictures}
        found |= {folder / f"{sound.name}.wav": wav_bytes(sound.wave, self.sample_rate) for sound in self.sounds}
        lines = [(f"{sound.name}.wav", sound.kind, sound.label) for sound in self.sounds]
        return found | {folder / "sounds.csv": csv_text(("file", "kind", "description"), lines)}


def make_media(entry: Entry, information: Information, *, control: Figure | None, seed: int, animate: bool) -> Media:
    """Draw reconstructions, samples, traversals and mutual information of a model, and invert them to sounds.

    `information` is of the entry's codes, `control` the figure of controllability, where it was measured; the seed
    draws the tones and samples shown; `animate` adds the two GIFs. Codes without a decoder have one figure and no
    sounds.
    """
    name = entry.name
    if entry.model is None:
        figure, words = _information(entry, information), "share of each factor's entropy in each latent"
        picture = Picture(f"{name}_Mutual_Information.png", figures.png(figure), "information", f"{name}: {words}")
        return Media(name, entry.dataset.sample_rate, [picture], [])
    rng, scale = np.random.default_rng(seed), scale_of(entry.front_end)
    originals, rebuilt = _reconstructions(entry, rng)
    samples = _samples(entry, rng)
    traversal, walks = _traversals(entry, rng)
    tones, drawn = "tones and their reconstructions", "tones decoded from z drawn from N(0, I)"
    draw_pairs = partial(figures.tones_figure, scale=scale, title=f"{name}: validation {tones}")
    draw_samples = partial(figures.tones_figure, scale=scale, title=f"{name}: {drawn}", colours=(figures.MODEL,))
    pairs, singles = [[pair] for pair in zip(originals, rebuilt)], [[[sample]] for sample in samples]  # rows of figures
    shown = pairs[:: max(1, len(pairs) // N_ROWS)]
    moving, shares = "mel spectrograms; each row moves one latent", "share of each factor's entropy in each latent"
    if chosen := _of_all(entry.codes):
        moving, shares = moving + chosen, f"{shares}{chosen} and those compared by MIG"
    made = [
        (f"Original_vs_Reconstructed_{name}.png", "reconstruction", partial(draw_pairs, shown), tones),
        (f"Generated_sample_{name}.png", "sample", partial(draw_samples, singles[:N_ROWS]), drawn),
        (f"{name}_Latent_Space_Interpolation.png", "traversal", traversal, moving),
        (f"{name}_Mutual_Information.png", "information", _information(entry, information), shares),
    ]
    if control is not None:
        made.append((f"{name}_Controllability.png", "information", control, "change of each factor by each latent"))
    encoded = [delayed(figures.png)(figure) for _, _, figure, _ in made]
    if animate:
        for file, draw, rows, words in (
            ("Original_vs_Reconstructed", draw_pairs, pairs, tones),
            ("Generated_Samples", draw_samples, singles, drawn),
        ):
            made.append((f"{file}.gif", "animation", None, f"{words}, one after another"))
            encoded.append(delayed(figures.gif)([partial(draw, [row]) for row in rows]))
    data = Parallel(n_jobs=min(MAX_PROCESSES, cpu_count()))(encoded)  # threads that draw would wait for each other
    pictures = [Picture(file, one, part, f"{name}: {words}") for one, (file, part, _, words) in zip(data, made)]
    return Media(name, entry.front_end.sample_rate, pictures, [*originals, *rebuilt, *samples, *walks])


def _reconstructions(entry: Entry, rng: np.random.Generator) -> tuple[list[Sound], list[Sound]]:
    """Return validation tones and their reconstructions."""
    rows = choose_rows(entry.valid_rows, entry.dataset.y, n=N_FRAMES, rng=rng)
    features, labels = entry.features[rows], [entry.dataset.describe(row) for row in rows]
    waves = np.array(entry.dataset.x[rows])
    originals = sounds_of(features, front_end=entry.front_end, labels=labels, kind="original", waves=waves)
    rebuilt = reconstruct(entry.model, features)
    return originals, sounds_of(rebuilt, front_end=entry.front_end, labels=labels, kind="reconstruction")


def _samples(entry: Entry, rng: np.random.Generator) -> list[Sound]:
    """Return tones decoded from draws of the prior."""
    noise = rng.standard_normal((N_FRAMES, entry.codes.codes.shape[1]))
    labels = [f"sample {number} of the prior" for number in range(1, N_FRAMES + 1)]
    decoded = decode(entry.model, noise, device=entry.features.device)
    return sounds_of(decoded, front_end=entry.front_end, labels=labels, kind="sample")


def _latent_label(codes: Codes, latent: int, *, break_at: str = "\n") -> str:
    return f"z{latent}: {codes.kl[latent]:.2f} nats" + ("" if codes.active[latent] else f"{break_at}(inactive)")


def _latent_name(codes: Codes, latent: int) -> str:
    kl = "" if codes.kl is None else f"\n{codes.kl[latent]:.2f}"
    return f"z{latent}{kl}" + ("" if codes.active[latent] else "\n(inactive)")


def _of_all(codes: Codes) -> str:
    """Name the choice of latents where not all are shown."""
    n = len(codes.active)
    return f": the {N_LATENTS} of {n} latents with the largest {_order(codes)}" if n > N_LATENTS else ""


def _order(codes: Codes) -> str:
    return "standard deviation" if codes.kl is None else "mean KL"


def _traversals(entry: Entry, rng: np.random.Generator) -> tuple[Callable[[], Figure], list[Sound]]:
    """Return what draws the traversals, and one sound per latent: its steps in a row, with pauses."""
    base, codes, latents = int(rng.choice(entry.valid_rows)), entry.codes, entry.codes.order[:N_LATENTS]
    values = traversal_values(codes.codes, n_steps=N_STEPS)
    moved = traversal_codes(codes.codes[base], values, latents)
    decoded = decode(entry.model, moved.reshape(-1, moved.shape[2]), device=entry.features.device)
    steps = sounds_of(decoded, front_end=entry.front_end, labels=[""] * len(decoded))
    mels = np.stack([step.mel for step in steps]).reshape(*moved.shape[:2], *steps[0].mel.shape)
    waves = np.stack([step.wave for step in steps]).reshape(*moved.shape[:2], -1)
    draw = partial(
        figures.traversal_figure,
        mels,
        values=values[latents],
        labels=[_latent_label(codes, latent) for latent in latents],
        scale=scale_of(entry.front_end),
        title=f"{entry.name}: each row moves one latent between its 2 % and 98 % quantile, from the code of "
        f"{entry.dataset.describe(base)}; rows by mean KL{_of_all(codes)}",
    )
    pause = np.zeros((*moved.shape[:2], int(PAUSE_SECONDS * entry.front_end.sample_rate)))
    joined = np.concatenate([waves, pause], axis=2).reshape(len(moved), -1)
    sounds = []
    for latent, wave, mel in zip(latents, joined, mels):
        label = f"{_latent_label(codes, latent, break_at=' ')}, {values[latent, 0]:+.2f} to {values[latent, -1]:+.2f}"
        sounds.append(Sound(wave, np.concatenate(mel, axis=1), label, "traversal", f"traversal_z{latent}"))
    return draw, sounds


def _information(entry: Entry, information: Information) -> Callable[[], Figure]:
    """Return what draws the mutual information of factors and latents, in units of the factors' entropies, of the
    latents with the largest KL and the two that are most informative on each factor."""
    codes, shares = entry.codes, information.share[:, entry.codes.order]
    best = np.argsort(-shares, axis=1, kind="stable")[:, :2]
    shown = np.union1d(best, np.arange(min(N_LATENTS, len(codes.order))))
    chosen = f"\nshown{_of_all(codes)}, and those framed" if _of_all(codes) else ""
    return partial(
        figures.information_figure,
        shares[:, shown],
        factors=entry.dataset.labels()["factor_names"],
        latents=[_latent_name(codes, j) for j in codes.order[shown]],
        order=_order(codes),
        title=f"{entry.name}: share of each factor's entropy in each latent; framed: the two compared by MIG{chosen}",
    )
