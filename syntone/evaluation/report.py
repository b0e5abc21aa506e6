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
from syntone.evaluation.media import Media
from syntone.evaluation.scores import Row
from syntone.figures import Sound

FULL_SCALE = 32767  # of 16-bit samples
MAX_SOUND_BYTES = 64 * 10**6  # of all sounds of the page; phones open a page of this size
# Options of create.py beside its grid: the first four are always given, the others where they are on.
OPTIONS = ("oscillator", "freq_scale", "amp_scale", "level")
OPTIONS += ("phase", "snr_db", "onset_jitter", "detune_cents", "factor", "hold_out", "correlate")
OFF = (None, "zero", 0, [])


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


def listed(options: dict, without: str = "") -> str:
    """Return options as `beta 4, channels 8 16`."""

    def word(value: object) -> str:
        if isinstance(value, (tuple, list)):
            return " ".join(f"({word(item)})" if isinstance(item, list) else word(item) for item in value)
        return f"{value:g}" if isinstance(value, float) else str(value)

    return ", ".join(f"{name} {word(value)}" for name, value in options.items() if name != without)


def dataset_words(dataset: Dataset) -> str:
    """Describe a dataset: file name, number and length of its tones, factors with their levels, and options."""
    levels, n_cells = [], 1
    for name, kind, values in zip(dataset.factor_names, dataset.factor_kinds, dataset.factor_values.T):
        found = np.unique(values)
        n_cells *= len(found)
        words = f"{len(found)} levels, {found[0]:g} to {found[-1]:g}{' Hz' if name == 'frequency' else ''}"
        if kind == "nominal" or dataset.level_name(name, found[0]) != f"{found[0]:g}":
            words = ", ".join([dataset.level_name(name, value) for value in found[:12]] + ["..."] * (len(found) > 12))
        levels.append(f"{name} ({words})")
    n, n_samples = dataset.x.shape
    full = n == n_cells == len(np.unique(dataset.factors, axis=0))
    recipe = json.loads(dataset.recipe)
    told = {key: recipe.get(key) for key in OPTIONS if key in OPTIONS[:4] or recipe.get(key) not in OFF}
    return (
        f"{dataset.path.name}: {n:,} sounds of {n_samples / dataset.sample_rate:g} s at {dataset.sample_rate:,} Hz. "
        f"Factors: {', '.join(levels)}{'; every combination once' if full else ''}."
        + (f" Synthesized with {listed(told)}." if recipe.get("generator") == "create.py" else "")
    )


PAGE = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    finalize=printable,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
PAGE.filters |= {
    "data_uri": data_uri,
    "style_hash": style_hash,
    "size": lambda data: Image.open(BytesIO(data)).size,
    "listed": listed,
    "dataset_words": dataset_words,
    "indented": lambda text: json.dumps(json.loads(text), indent=1, sort_keys=True, ensure_ascii=False),
}


def render(
    rows: Sequence[Row],
    entries: Sequence[Entry],
    media: Sequence[Media],
    *,
    state: str,
    seed: int,
    notes: Sequence[str] = (),
) -> str:
    """Return the page: rows of the table and notes on them, what was evaluated and how, media of each model or, without
    figures, none."""
    left_out = kinds_left_out(media)
    groups: dict[tuple, list[Entry]] = {}
    sections: dict[str, list[Entry]] = {}  # of models and codes
    labels = {entry.name: entry.label for entry in entries}
    for entry in entries:
        if not entry.is_baseline:
            groups.setdefault((entry.dataset.path, entry.front_end), []).append(entry)
            sections.setdefault(entry.label, []).append(entry)
    sections = {row.model: sections[row.model] for row in rows if row.model in sections}  # in the order of the table
    return PAGE.get_template("report.html.j2").render(
        table=tables.table(rows),
        caption=tables.caption(rows, notes),
        warnings=warnings_for(entries),
        groups=list(groups.values()),
        sections=sections,
        baselines={entry.label for entry in entries if entry.is_baseline},
        pictures={labels[one.model]: one.pictures for one in media},
        cards={labels[one.model]: make_cards(one, left_out) for one in media},
        left_out=left_out,
        megabytes=MAX_SOUND_BYTES // 10**6,
        active_nats=ACTIVE_NATS,
        state=state,
        seed=seed,
        versions=f"torch {torch.__version__} and numpy {np.__version__}",
    )


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


def make_cards(media: Media, left_out: Sequence[str]) -> dict[str, list[dict]]:
    """Return the cards of one model by the kind of their first sound: originals with reconstructions, others alone."""
    groups: dict[str, list[list[Sound]]] = {}
    for sound in media.sounds:
        if sound.kind not in left_out:
            groups.setdefault(sound.kind, []).append([sound])
    for original, (rebuilt,) in zip(groups.get("original", []), groups.pop("reconstruction", [])):
        original.append(rebuilt)
    return {kind: [_card(sounds, media) for sounds in of_kind] for kind, of_kind in groups.items()}


def _card(sounds: Sequence[Sound], media: Media) -> dict:
    """Title and players of sounds to compare, as 16-bit PCM: half the size, and every browser plays it.

    They have one gain: 1 where none exceeds full scale, else that with which the loudest sample reaches it, and the
    title gives it.
    """
    peak = max(float(np.abs(sound.wave).max(initial=0.0)) for sound in sounds)
    title, gain = sounds[0].label, FULL_SCALE / max(peak, 1.0)
    if peak > 1.0:
        title += f"; {'both ' if len(sounds) > 1 else ''}{20 * math.log10(peak):.1f} dB down"
    players = []
    for sound in sounds:
        buffer = BytesIO()
        wavfile.write(buffer, media.sample_rate, np.rint(gain * sound.wave.astype(np.float64)).astype(np.int16))
        label, file = f"{media.model}, {sound.kind}: {title}", f"{media.model}/{sound.name}.wav"
        players.append({"file": file, "kind": sound.kind, "label": label, "data": buffer.getvalue()})
    return {"title": title, "players": players}
