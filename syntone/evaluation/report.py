"""The report of an evaluation: one HTML page with its table, figures and sounds, which needs no network.

The page names no folder and no time, so that equal evaluations give equal pages.
"""

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from unicodedata import category

import jinja2
import numpy as np
import torch
from markupsafe import Markup
from PIL import Image
from scipy.io import wavfile

from syntone.dataset.file import Dataset
from syntone.evaluation import tables
from syntone.evaluation.codes import ACTIVE_NATS
from syntone.evaluation.load import Entry, warnings_for
from syntone.evaluation.media import Media, Picture
from syntone.evaluation.scores import Row
from syntone.features.front_end import FrontEnd
from syntone.figures import Sound

FULL_SCALE = 32767  # of 16-bit samples
MAX_SOUND_BYTES = 64 * 10**6  # of all sounds of the page; phones open a page of this size
# Options of create.py in words; those in ALWAYS are always given, the others where they are on.
OPTIONS = {
    "oscillator": "oscillator",
    "freq_scale": "frequency steps",
    "amp_scale": "amplitude steps",
    "level": "level",
    "phase": "phase",
    "snr_db": "noise (dB below the tone)",
    "onset_jitter": "onset jitter (s)",
    "detune_cents": "detuned by (cents)",
    "factor": "extra factors",
    "hold_out": "held out",
    "correlate": "correlated",
}
ALWAYS, OFF = tuple(OPTIONS)[:4], (None, "zero", 0, [])
# Parts of a model's section by `Picture.part` and `Sound.kind`: title, kinds of sounds, and how to listen.
PARTS = {
    "reconstruction": (
        "Reconstructions",
        ("original", "reconstruction"),
        "Each card is a tone and its reconstruction, whose phases are its own: a mel spectrogram has none.",
    ),
    "sample": ("Samples of the prior", ("sample",), "Decoded from z drawn from N(0, I)."),
    "traversal": (
        "Traversals",
        ("traversal",),
        "Each sound moves one latent through the range given, as its row of the figure from left to right, all others "
        f"held. Latents are in the order of their mean KL, in nats; collapsed: at most {ACTIVE_NATS:g}.",
    ),
    "information": ("Factors and latents", (), ""),
}


def printable(value: object) -> object:
    """Replace control and format characters and lone surrogates, which break or reorder a page, by U+FFFD."""
    if isinstance(value, Markup):
        return value
    return "".join("\ufffd" if category(letter)[0] == "C" and letter not in "\n\t" else letter for letter in str(value))


def data_uri(data: bytes, mime: str) -> Markup:
    """Return bytes as a data: URI."""
    return Markup(f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}")


def style_hash(style: str) -> str:
    """Return the hash by which a Content-Security-Policy allows a style sheet."""
    return base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")


PAGE = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    finalize=printable,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
PAGE.filters |= {"data_uri": data_uri, "style_hash": style_hash}


def render(rows: Sequence[Row], entries: Sequence[Entry], media: Sequence[Media], *, state: str, seed: int) -> str:
    """Return the page.

    Parameters
    ----------
    rows : as `tables.table` takes them
    entries : what was evaluated
    media : of each model, or none without figures and sounds
    state, seed : of the evaluation
    """
    left_out = kinds_left_out(media)
    of_model = {one.model: one for one in media}
    return PAGE.get_template("report.html.j2").render(
        table=tables.table(rows),
        caption=tables.caption(rows),
        warnings=_warnings(entries),
        groups=_data_groups(entries),
        seed=seed,
        versions=f"torch {torch.__version__} and numpy {np.__version__}",
        any_sounds=any(one.sounds for one in media),
        left_out=left_out,
        megabytes=MAX_SOUND_BYTES // 10**6,
        animations=[_shown(picture) for one in media for picture in one.pictures if picture.part == "animation"],
        models=[
            {"name": name, "settings": settings(entries, name, state=state)} | _parts(of_model.get(name), left_out)
            for name in dict.fromkeys(row.model for row in rows)
        ],
    )


# ---- pictures and sounds ----


def kinds_left_out(media: Sequence[Media]) -> list[str]:
    """Return the kinds of sounds that the page does not hold, so that its sounds stay below MAX_SOUND_BYTES.

    Kinds are taken in turn, of all models alike; where one exceeds the limit, it and all that follow are left out.
    """
    sounds = [sound for one in media for sound in one.sounds]
    total, left_out = 0, []
    for kind in dict.fromkeys(sound.kind for sound in sounds):
        total += sum(2 * len(sound.wave) for sound in sounds if sound.kind == kind) * 4 // 3  # 16 bits, in base64
        if total > MAX_SOUND_BYTES:
            left_out.append(kind)
    return left_out


def _shown(picture: Picture) -> dict:
    width, height = Image.open(BytesIO(picture.data)).size
    mime = "image/gif" if picture.name.endswith("gif") else "image/png"
    return {"picture": picture, "width": width, "height": height, "mime": mime}


def _parts(media: Media | None, left_out: Sequence[str]) -> dict:
    """The parts of a model's section, and how many figures and sounds they have."""
    if media is None:
        return {"note": "no figures or sounds were asked for", "parts": []}
    parts = []
    for part, (title, kinds, note) in PARTS.items():
        pictures = [_shown(picture) for picture in media.pictures if picture.part == part]
        heard = [[sound for sound in media.sounds if sound.kind == kind] for kind in kinds if kind not in left_out]
        cards = [make_card(sounds, media) for sounds in zip(*heard)]
        parts.append({"title": title, "note": note if cards else "", "pictures": pictures, "cards": cards})
    n_pictures = sum(len(part["pictures"]) for part in parts)
    n_sounds = sum(len(card["players"]) for part in parts for card in part["cards"])
    return {"note": f"{n_pictures} figures, {n_sounds} sounds", "parts": parts}


def make_card(sounds: Sequence[Sound], media: Media) -> dict:
    """Return title and players of sounds to compare, as 16-bit PCM: half the size, and every browser plays it.

    The sounds of a card have one gain: 1 where none exceeds full scale, else that with which the loudest sample reaches
    it, and the title gives it.
    """
    peak = max(float(np.abs(sound.wave).max(initial=0.0)) for sound in sounds)
    title = sounds[0].label
    if peak > 1.0:
        title += f"; {'both ' if len(sounds) > 1 else ''}{20 * math.log10(peak):.1f} dB down"
    players = []
    for sound in sounds:
        buffer, gain = BytesIO(), FULL_SCALE / max(peak, 1.0)
        samples = np.asarray(sound.wave, dtype=np.float32).astype(np.float64)  # those of the WAV
        wavfile.write(buffer, media.sample_rate, np.rint(gain * samples).astype(np.int16))
        label = f"{media.model}, {sound.kind}: {title}"
        file = f"{media.model}/{sound.name}.wav"
        players.append({"file": file, "kind": sound.kind, "label": label, "data": buffer.getvalue()})
    return {"title": title, "players": players}


# ---- what was evaluated, in words ----


def _warnings(entries: Sequence[Entry]) -> list[str]:
    """Warnings that name files without their folders: the page is passed on."""
    messages = warnings_for(entries)
    for path in {entry.dataset.path for entry in entries}:
        messages = [message.replace(str(path), path.name) for message in messages]
    return messages


def _data_groups(entries: Sequence[Entry]) -> list[dict]:
    """Dataset and front end in words, with the models that share them, and the recipe."""
    groups: dict[tuple, list[Entry]] = {}
    for entry in entries:
        groups.setdefault((entry.dataset.path, entry.front_end), []).append(entry)
    found = []
    for group in groups.values():
        words = f"{dataset_words(group[0].dataset)} {front_end_words(group[0].front_end)}"
        models = ", ".join(dict.fromkeys(entry.name for entry in group))
        recipe = json.dumps(json.loads(group[0].dataset.recipe), indent=1, sort_keys=True, ensure_ascii=False)
        found.append({"words": words if len(groups) == 1 else f"{models}: {words}", "recipe": recipe})
    return found


def dataset_words(dataset: Dataset) -> str:
    """Describe a dataset: file name, number and length of its tones, factors with their levels, and options."""
    levels, n_cells = [], 1
    for name, kind, values in zip(dataset.factor_names, dataset.factor_kinds, dataset.factor_values.T):
        found = np.unique(values)
        n_cells *= len(found)
        if kind == "nominal":
            names = [dataset.level_name(name, value) for value in found[:12]] + ["..."] * (len(found) > 12)
            levels.append(f"{name} ({', '.join(names)})")
        else:
            unit = " Hz" if name == "frequency" else ""
            levels.append(f"{name} ({len(found)} levels, {found[0]:g} to {found[-1]:g}{unit})")
    n, n_samples = dataset.x.shape
    grid = "; every combination once" if n == n_cells == len(np.unique(dataset.factors, axis=0)) else ""
    words = (
        f"{dataset.path.name}: {n:,} sounds of {n_samples / dataset.sample_rate:g} s at {dataset.sample_rate:,} Hz. "
        f"Factors: {', '.join(levels)}{grid}."
    )
    recipe = json.loads(dataset.recipe)
    if recipe.get("generator") == "create.py":
        options = {key: recipe.get(key) for key in OPTIONS}
        told = [
            f"{OPTIONS[key]} {value if isinstance(value, str) else json.dumps(value)}"
            for key, value in options.items()
            if key in ALWAYS or value not in OFF
        ]
        words += f" Synthesized: {', '.join(told)}."
    return words


def front_end_words(front_end: FrontEnd) -> str:
    """Describe the features that models see."""
    span = f"from {front_end.db_min:g} to {front_end.db_max:+g} dB against a full-scale sine"
    level = {
        "paper": "linear power, each frame divided by its own maximum",
        "logmel": f"decibels {span}",
        "gainshape": f"decibels down to {front_end.range_db:g} dB below each frame's largest band, and "
        f"{front_end.level_rows} rows that hold the level, {span}",
    }[front_end.kind]
    skirts = f", filters with skirts that fall by 10 dB in {front_end.smoothing:g} bands" if front_end.smoothing else ""
    return (
        f"Models see mel spectrograms ({front_end.kind}: {level}) of {front_end.n_mels} bands{skirts} and "
        f"{front_end.n_frames} frames, window {front_end.n_fft}, hop {front_end.hop}."
    )


def _listed(options: dict, *, without: str) -> str:
    """Options as `beta 4, channels 8 16`."""

    def word(value: object) -> str:
        if isinstance(value, (tuple, list)):
            return " ".join(map(str, value))
        return f"{value:g}" if isinstance(value, float) else str(value)

    return ", ".join(f"{name} {word(value)}" for name, value in options.items() if name != without)


def settings(entries: Sequence[Entry], model: str, *, state: str) -> str:
    """Describe seeds, epochs, objective and training of one model, whose seeds differ in nothing else."""
    checkpoints = [entry.checkpoint for entry in entries if entry.name == model]
    first = checkpoints[0]
    seeds, best = (", ".join(str(getattr(one, field)) for one in checkpoints) for field in ("seed", "best_epoch"))
    weights = "weights after the last" if state == "last" else f"weights of the lowest validation loss (epoch {best})"
    return (
        f"Training seed{'s' if len(checkpoints) > 1 else ''} {seeds}; {first.epoch} "
        f"epoch{'s' if first.epoch > 1 else ''}, {weights}. "
        f"Model: {_listed(first.model_config, without='input_shape')}. "
        f"Training: {_listed(first.options, without='seed')}."
    )
