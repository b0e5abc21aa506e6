"""The page of an evaluation, results/report.html: its table, its figures and its sounds in one file that needs no network.

It is made of what the evaluation wrote and of nothing else: the figures that lie in its folder, and the sounds that the
tables audio/<model>/sounds.csv name. It names no path and no time, so that equal evaluations give equal pages.
"""

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.io import wavfile

from syntone.dataset.file import Dataset
from syntone.dataset.options import DEFAULTS
from syntone.evaluation import markup
from syntone.evaluation import tables as results
from syntone.evaluation.codes import ACTIVE_NATS
from syntone.evaluation.markup import Picture, Player
from syntone.evaluation.media import Entry, warnings_for
from syntone.features.front_end import FrontEnd
from syntone.files import write_files

FULL_SCALE = 32767  # of 16-bit samples
MAX_SOUND_BYTES = 64 * 10**6  # of all sounds in the page; phones open a page of this size, mail does not carry it
CAPTIONS = {
    "Original_vs_Reconstructed": "waveform, spectrum and mel spectrogram of tones and their reconstructions",
    "Generated_sample": "waveform, spectrum and mel spectrogram of tones decoded from draws of the prior",
    "Latent_Space_Interpolation": "mel spectrograms, each row moving one latent",
    "Mutual_Information": "share of each factor's entropy that each latent knows",
    "Controllability": "what moving each latent changes in the decoded tones",
}
ANIMATIONS = {
    "Original_vs_Reconstructed.gif": "tones and their reconstructions, one after another",
    "Generated_Samples.gif": "tones decoded from draws of the prior, one after another",
}
# Options of create.py in words; the first are told always, the others where they differ from what create.py does without.
OPTIONS = {
    "oscillator": "oscillator",
    "freq_scale": "frequency steps",
    "amp_scale": "amplitude steps",
    "level": "level",
    "phase": "phase",
    "snr_db": "noise (dB below the tone)",
    "onset_jitter": "onset jitter (s)",
    "detune_cents": "detuned by (cents)",
    "factor": "further factors",
    "hold_out": "held out",
    "correlate": "correlated",
}
ALWAYS_TOLD = tuple(OPTIONS)[:4]
# Parts of a model's section: title, the figures that belong there, the kinds of its sounds, and how to listen.
PARTS = (
    (
        "Reconstructions",
        ("Original_vs_Reconstructed",),
        ("original", "reconstruction"),
        "Each card is a tone and what the model makes of it. A reconstruction has phases of its own: a mel spectrogram has none.",
    ),
    ("Samples of the prior", ("Generated_sample",), ("sample",), "Decoded from z drawn from N(0, I)."),
    (
        "Traversals",
        ("Latent_Space_Interpolation",),
        ("traversal",),
        f"Each sound moves one latent through the range given, as its row of the figure from left to right, all others held. "
        f"Latents come in the order of their mean KL, in nats; collapsed is one of at most {ACTIVE_NATS:g}.",
    ),
    ("Factors and latents", ("Mutual_Information", "Controllability"), (), ""),
)
LEVELS = (
    "Sounds are 16-bit copies of the WAV files in audio/, at their level. Where one exceeds full scale, its card says "
    "by how many dB it is down here; the two sounds of a pair always are alike, so that they can be compared."
)


@dataclass(frozen=True)
class Sound:
    """A line of sounds.csv: the model, path below the folder of sounds, kind, description, and where the WAV is."""

    model: str
    name: str
    kind: str
    description: str
    path: Path


def write_page(
    directory: str | Path,
    rows: Sequence[results.Row],
    entries: Sequence[Entry],
    *,
    figures_dir: Path | None,
    state: str,
    seed: int,
) -> None:
    """Write report.html into the directory, which holds the evaluation's sounds.

    Parameters
    ----------
    rows : as `results.write_scores` takes them
    entries : what was evaluated
    figures_dir : folder with the figures of this evaluation and no others; None where neither figures nor sounds were made
    state, seed : of the evaluation
    """
    directory = Path(directory)
    models = list(dict.fromkeys(row.model for row in rows))
    pictures, sounds = [], []
    if figures_dir is not None:
        pictures = read_pictures(figures_dir, models, first=entries[0].checkpoint.model_name)
        sounds = [sound for model in models for sound in list_sounds(directory / "audio", model)]
    sounds, left_out = within_limit(sounds)
    loudness = [LEVELS] if sounds else []
    parts = [
        markup.section(
            "scores",
            "Scores",
            [markup.table(results.table(rows), label="Scores"), markup.paragraph(results.caption(rows), kind="soft")],
        ),
        markup.section(
            "evaluated",
            "What was evaluated",
            [*described(entries, seed=seed), *[markup.paragraph(words) for words in [*loudness, left_out] if words]],
        ),
    ]
    links = [("scores", "Scores"), ("evaluated", "Data")]
    shared = [markup.picture(shown) for model, _, shown in pictures if model is None]
    if shared:
        parts.append(markup.section("at-a-glance", "At a glance", shared))
        links.append(("at-a-glance", "At a glance"))
    for number, model in enumerate(models, start=1):
        mine = [(kind, shown) for owner, kind, shown in pictures if owner == model]
        heard = [sound for sound in sounds if sound.model == model]
        note = f"{len(mine)} figures, {len(heard)} sounds" if mine or heard else "no figures or sounds were asked for"
        body = [markup.paragraph(settings(entries, model, state=state), kind="soft"), *_model_parts(mine, heard)]
        parts.append(markup.folded(f"model-{number}", model, note, body, is_open=number == 1))
        links.append((f"model-{number}", model))
    write_files(
        {
            directory / "report.html": markup.document(
                "SynTone evaluation", lead=", ".join(models), links=links, parts=parts
            )
        }
    )


def _model_parts(pictures: Sequence[tuple[str, Picture]], sounds: Sequence[Sound]) -> list[str]:
    """A model's figures, each with the sounds that belong to it, then all others."""
    placed = {figure for _, figures, _, _ in PARTS for figure in figures}
    known = {kind for _, _, kinds, _ in PARTS for kind in kinds}
    others = (
        "Further figures and sounds",
        tuple(dict.fromkeys(kind for kind, _ in pictures if kind not in placed)),
        tuple(dict.fromkeys(sound.kind for sound in sounds if sound.kind not in known)),
        "",
    )
    html = []
    for title, figures, kinds, note in [*PARTS, others]:
        shown = [picture for kind, picture in pictures if kind in figures]
        heard = [sound for sound in sounds if sound.kind in kinds]
        if not shown and not heard:
            continue
        html += [markup.heading(title), *map(markup.picture, shown)]
        if heard:
            cards = [make_card(card) for card in in_cards(heard)]
            html += [markup.paragraph(note, kind="soft")] if note else []
            html.append(markup.pairs(cards) if "original" in kinds else markup.singles(cards))
    return html


# ---- what the evaluation wrote ----


def read_pictures(folder: Path, models: Sequence[str], *, first: str) -> list[tuple[str | None, str, Picture]]:
    """Every PNG and GIF of a folder: the model that its name names, or None; the rest of its name; and itself.

    Parameters
    ----------
    first : the model of the animations
    """
    found = []
    order = list(ANIMATIONS)
    for path in sorted(
        folder.iterdir(), key=lambda path: (order.index(path.name) if path.name in order else -1, path.name)
    ):
        if path.suffix not in markup.IMAGE_TYPES or path.name.startswith("."):
            continue
        model, kind = owner(path.stem, models)
        words = CAPTIONS.get(kind, kind.replace("_", " "))
        if path.name in ANIMATIONS:
            words = f"{first}: {ANIMATIONS[path.name]}"
        found.append((model, kind, Picture(path.name, path.read_bytes(), f"{model}: {words}" if model else words)))
    return found


def owner(stem: str, models: Sequence[str]) -> tuple[str | None, str]:
    """The model that a figure's name names between underscores, or None, and the name without it."""
    for model in sorted(models, key=len, reverse=True):  # of two that fit, the longer is meant
        match = re.fullmatch(rf"(?:(.+)_)?{re.escape(model)}(?:_(.+))?", stem)
        if match:
            return model, "_".join(filter(None, match.groups()))
    return None, stem


def list_sounds(folder: Path, model: str) -> list[Sound]:
    """The sounds of a model, as its sounds.csv names them."""
    table = folder / model / "sounds.csv"
    if not table.is_file():
        return []
    lines = csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"), newline=""))
    return [
        Sound(model, f"{model}/{line['file']}", line["kind"], line["description"], folder / model / line["file"])
        for line in lines
    ]


def within_limit(sounds: Sequence[Sound]) -> tuple[list[Sound], str]:
    """The sounds that the page holds, and a sentence on those that it leaves out, if any.

    Kinds are taken in turn, of all models alike, until one would bring the page above MAX_SOUND_BYTES; then all that follow
    are left out.
    """
    total, kept, left_out = 0, [], []
    for kind in dict.fromkeys(sound.kind for sound in sounds):
        total += sum(
            sound.path.stat().st_size * 2 // 3 for sound in sounds if sound.kind == kind
        )  # 32 bits to 16, in base64
        (kept if total <= MAX_SOUND_BYTES else left_out).append(kind)
    if not left_out:
        return list(sounds), ""
    names = ", ".join(f"{kind} sounds" for kind in left_out)
    return (
        [sound for sound in sounds if sound.kind in kept],
        f"Left out, so that the sounds of this page stay below {MAX_SOUND_BYTES // 10**6} MB: {names}; they lie in "
        f"audio/, described by the sounds.csv there.",
    )


def in_cards(sounds: Sequence[Sound]) -> list[list[Sound]]:
    """Originals with their reconstructions, by the number in their names; every other sound alone."""
    cards: dict[str, list[Sound]] = {}
    for sound in sounds:
        number = Path(sound.name).stem.rpartition("_")[2]
        cards.setdefault(number if sound.kind in ("original", "reconstruction") else sound.name, []).append(sound)
    return list(cards.values())


def make_card(sounds: Sequence[Sound]) -> tuple[str, list[Player]]:
    """Title and sounds of a card, as 16-bit PCM: half the size of the files, and played by browsers that know no float.

    The sounds of a card have one gain, so that their levels can be compared: 1 where none exceeds full scale, else that with
    which the loudest sample reaches it, and the title says so.
    """
    waves = [wavfile.read(sound.path) for sound in sounds]
    peak = max(float(np.abs(wave).max(initial=0.0)) for _, wave in waves)
    gain = 1.0 if peak <= 1.0 else 1.0 / peak
    title = sounds[0].description
    if gain < 1.0:
        title += f"; {'both ' if len(sounds) > 1 else ''}{-20 * math.log10(gain):.1f} dB down"
    players = []
    for sound, (sample_rate, wave) in zip(sounds, waves):
        buffer = io.BytesIO()
        wavfile.write(buffer, sample_rate, np.rint(FULL_SCALE * gain * wave.astype(np.float64)).astype(np.int16))
        players.append(Player(sound.name, buffer.getvalue(), sound.kind, f"{sound.model}, {sound.kind}: {title}"))
    return title, players


# ---- what was evaluated, in words ----


def described(entries: Sequence[Entry], *, seed: int) -> list[str]:
    """Warnings, and paragraphs on data, front end and versions."""
    messages = warnings_for(entries)
    for path in {entry.dataset.path for entry in entries}:  # the page is passed on, so it names files and no folders
        messages = [message.replace(str(path), path.name) for message in messages]
    html = [markup.paragraph(f"Warning: {message}.", kind="warning") for message in messages]
    groups: dict[tuple, list[Entry]] = {}
    for entry in entries:
        groups.setdefault((entry.dataset.path, entry.front_end), []).append(entry)
    for group in groups.values():
        models = ", ".join(dict.fromkeys(entry.checkpoint.model_name for entry in group))
        words = f"{dataset_words(group[0].dataset)} {front_end_words(group[0].front_end)}"
        html.append(markup.paragraph(words if len(groups) == 1 else f"{models}: {words}"))
        html.append(
            markup.fold(
                "Recipe of the dataset",
                json.dumps(json.loads(group[0].dataset.recipe), indent=1, sort_keys=True, ensure_ascii=False),
            )
        )
    html.append(
        markup.paragraph(
            f"Figures and sounds are of the first checkpoint of each model, tones and samples drawn with seed {seed}. "
            f"Computed with torch {torch.__version__} and numpy {np.__version__}."
        )
    )
    return html


def dataset_words(dataset: Dataset) -> str:
    """File name, number and length of its tones, every factor with its levels, and how they were made."""
    levels, n_cells = [], 1
    for name, kind, values in zip(dataset.factor_names, dataset.factor_kinds, dataset.factor_values.T):
        found = np.unique(values)
        n_cells *= len(found)
        if kind == "nominal":
            shown = [dataset.level_name(name, value) for value in found[:12]]
            levels.append(f"{name} ({', '.join(shown)}{', ...' if len(found) > 12 else ''})")
        else:
            levels.append(
                f"{name} ({len(found)} levels, {found[0]:g} to {found[-1]:g}{' Hz' if name == 'frequency' else ''})"
            )
    n, n_samples = dataset.x.shape
    grid = "; every combination once" if n == n_cells == len(np.unique(dataset.factors, axis=0)) else ""
    recipe = json.loads(dataset.recipe)
    words = (
        f"{dataset.path.name}: {n:,} sounds of {n_samples / dataset.sample_rate:g} s at {dataset.sample_rate:,} Hz. "
        f"Factors: {', '.join(levels)}{grid}."
    )
    if recipe.get("generator") == "create.py":
        recipe = DEFAULTS | recipe
        told = [
            f"{words} {recipe[key] if isinstance(recipe[key], str) else json.dumps(recipe[key])}"
            for key, words in OPTIONS.items()
            if key in ALWAYS_TOLD or recipe[key] != DEFAULTS[key]
        ]
        words += f" Synthesized: {', '.join(told)}."
    return words


def front_end_words(front_end: FrontEnd) -> str:
    """What the models see."""
    level = "linear power, each frame divided by its own maximum"
    span = f"from {front_end.db_min:g} to {front_end.db_max:+g} dB against a full-scale sine"
    if front_end.kind == "logmel":
        level = f"decibels {span}"
    if front_end.kind == "gainshape":
        level = (
            f"decibels down to {front_end.range_db:g} dB below each frame's largest band, and {front_end.level_rows} rows that "
            f"hold the level, {span}"
        )
    skirts = f", filters with skirts that fall by 10 dB in {front_end.smoothing:g} bands" if front_end.smoothing else ""
    return (
        f"Models see mel spectrograms ({front_end.kind}: {level}) of {front_end.n_mels} bands{skirts} and "
        f"{front_end.n_frames} frames, window {front_end.n_fft}, hop {front_end.hop}."
    )


def settings(entries: Sequence[Entry], model: str, *, state: str) -> str:
    """Seeds, epochs, objective and training of one model; its seeds differ in nothing else."""
    checkpoints = [entry.checkpoint for entry in entries if entry.checkpoint.model_name == model]
    first = checkpoints[0]
    seeds = ", ".join(str(checkpoint.seed) for checkpoint in checkpoints)
    best = ", ".join(str(checkpoint.best_epoch) for checkpoint in checkpoints)
    weights = "weights after the last" if state == "last" else f"weights of the lowest validation loss (epoch {best})"

    def listed(options: dict, *, without: Sequence[str]) -> str:
        return ", ".join(
            f"{name} {value:g}"
            if isinstance(value, float)
            else f"{name} {' '.join(map(str, value)) if isinstance(value, (tuple, list)) else value}"
            for name, value in options.items()
            if name not in without
        )

    epochs = f"{first.epoch} epoch{'s' if first.epoch > 1 else ''}"
    return (
        f"Training seed{'s' if len(checkpoints) > 1 else ''} {seeds}; {epochs}, {weights}. "
        f"Model: {listed(first.model_config, without=('input_shape',))}. "
        f"Training: {listed(first.options, without=('seed',))}."
    )
