"""Datasets of notes: sampled instruments of a soundfont, played by FluidSynth with known instrument, velocity, pitch.

Conventions: pitches and velocities as in MIDI, 69 is 440 Hz; times in seconds; linear amplitudes.
"""

import argparse
import difflib
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from syntone.cli import number
from syntone.dataset.file import Blocks, dataset_members
from syntone.dataset.pitch import cents_off, pitch_report
from syntone.dataset.player import (
    GAIN,
    HELD,
    INSTALL,
    INTERPOLATION,
    PROGRAMS,
    RENDER_RATE,
    SETTINGS,
    Player,
    fluidsynth_version,
)
from syntone.dataset.recipe import Plan
from syntone.dataset.splits import check_study
from syntone.errors import InputError

DEFAULT_INSTRUMENTS = """
    electric_piano_1 harpsichord vibraphone marimba nylon_guitar harp
    accordion violin cello trumpet soprano_sax oboe clarinet flute
""".split()
FONTS = (
    "sounds/sf2/FluidR3_GM.sf2",
    "sounds/sf2/default-GM.sf2",
    "soundfonts/FluidR3_GM.sf2",
    "soundfonts/default.sf2",
)
RMS = 0.03  # of every note with level rms; leaves room for the peaks of plucked notes
TOLD_APART = 0.5  # share of velocity steps that must be distinguishable with level rms
midi = number(int, least=1, most=127)


def add_note_flags(group: argparse._ArgumentGroup) -> None:
    """Add the flags of notes to a parser."""
    span = dict(nargs=3, metavar=("START", "END", "NUM"))
    group.add_argument("--soundfont", nargs="+", type=Path, metavar="SF2", help="soundfonts (default: the system's)")
    names = "programs of General MIDI, for example violin french_horn"
    group.add_argument("--instruments", nargs="+", metavar="NAME", default=DEFAULT_INSTRUMENTS, help=names)
    group.add_argument("--velocities", **span, default=["27", "127", "11"], help="MIDI velocities, 1 to 127")
    group.add_argument("--pitches", **span, default=["60", "84", "25"], help="MIDI pitches, 69: 440 Hz")


def parse_span(name: str, words: Sequence[str]) -> list[int]:
    """Parse START END NUM to equally spaced MIDI numbers."""
    try:
        start, end, num = map(midi, words)
    except argparse.ArgumentTypeError as mistake:
        raise InputError(f"{name}: {mistake}; give START END NUM") from None
    if start > end or (start == end) != (num == 1) or (num > 1 and (end - start) % (num - 1)):
        steps = [n for n in range(2, end - start + 2) if (end - start) % (n - 1) == 0]
        near = min(steps, key=lambda n: abs(n - num), default=1)
        wanted = "START below END" if start > end else f"for example {start} {end} {near}"
        raise InputError(
            f"{name}: {num} levels from {start} to {end} are not equally spaced whole numbers; give {wanted}"
        )
    return np.linspace(start, end, num).astype(int).tolist()


def find_fonts(given: Sequence[Path] | None) -> dict[str, Path]:
    """Return name -> path of the given soundfonts, or of the first that the system has."""
    if not given:
        installed = [Path(share) / font for share in ("/usr/share", "/usr/local/share") for font in FONTS]
        given = [path for path in installed if path.is_file()][:1]
    if not given:
        raise InputError(f"soundfont: none is installed; {INSTALL}; or name a file (.sf2)")
    for path in given:
        if not path.is_file():
            raise InputError(f"soundfont: {path} is not a file; give an .sf2 file")
    if len({path.stem for path in given}) < len(given):
        raise InputError("soundfont: two files have the same name; give each once, or rename one")
    return {path.stem: path for path in given}


def check_notes(instruments: Sequence[str], *, sample_rate: int, duration: float) -> None:
    """Refuse unknown or repeated instruments, and rates and durations that are not possible."""
    for name in instruments:
        if name not in PROGRAMS:
            near = difflib.get_close_matches(name, PROGRAMS, n=3, cutoff=0.4) or DEFAULT_INSTRUMENTS[:3]
            raise InputError(f"instruments: {name!r} is not a program of General MIDI; for example {', '.join(near)}")
    if len(set(instruments)) < len(instruments):
        raise InputError("instruments: a name occurs twice; give each once")
    if not 8000 <= sample_rate <= RENDER_RATE or not 0.1 <= duration <= 60:
        found = f"{sample_rate} Hz and {duration:g} s"
        raise InputError(f"sample_rate, duration: {found}; give 8000 to {RENDER_RATE} Hz and 0.1 to 60 s")


def factors_of(
    fonts: dict[str, Path],
    instruments: Sequence[str],
    velocities: Sequence[int],
    pitches: Sequence[int],
    *,
    named_velocity: bool,
) -> dict[str, tuple[str, np.ndarray, list[str] | None]]:
    """Return the factors of notes: name -> kind, values, names of the levels."""
    factors = {"instrument": ("nominal", np.arange(len(instruments)), list(instruments))}
    if named_velocity:
        factors["velocity"] = ("ordered", np.array(velocities), None)
    factors["frequency"] = ("ordered", 440 * 2 ** ((np.array(pitches) - 69) / 12), None)
    if len(fonts) > 1:
        factors["soundfont"] = ("nominal", np.arange(len(fonts)), list(fonts))
    return factors


def plan_notes(
    fonts: dict[str, Path],
    *,
    instruments: Sequence[str],
    velocities: Sequence[int],
    pitches: Sequence[int],
    level: str,
    sample_rate: int,
    duration: float,
    hold_out: list,
    correlate: list,
) -> Plan:
    """Return the plan of a dataset of notes: every combination of pitch, velocity, instrument and soundfont once.

    With level `rms` all notes have equal RMS, and velocity is left out unless it can still be heard, see
    `share_of_steps`.

    Raises
    ------
    InputError
        If FluidSynth or a soundfont is missing, or a name or number is not possible.
    """
    check_notes(instruments, sample_rate=sample_rate, duration=duration)
    players = [Player(path) for path in fonts.values()]
    n_samples = round(sample_rate * duration)

    def play(instrument: str, velocity: int, pitch: int, font: int) -> np.ndarray:
        wave = players[font].play(instrument, velocity, pitch, sample_rate=sample_rate, n_samples=n_samples)
        return wave if level != "rms" else (wave * (RMS / np.sqrt(np.mean(np.square(wave))))).astype(np.float32)

    said, kept = [], list(velocities)
    if level == "rms" and len(velocities) > 1:
        share = share_of_steps(play, len(fonts), instruments, velocities, pitches, sample_rate=sample_rate)
        kept = kept if share >= TOLD_APART else [velocities[len(velocities) // 2]]
        what = "stays a factor" if len(kept) > 1 else f"is left out (all notes have velocity {kept[0]})"
        said.append(f"velocity {what}: at equal RMS {100 * share:.0f} % of its steps can be told apart")
    factors = factors_of(fonts, instruments, kept, pitches, named_velocity=level != "rms" or len(kept) > 1)
    check_study(hold_out, correlate, factors)
    shape = (len(pitches), len(kept), len(instruments), len(fonts))
    places = np.unravel_index(np.arange(math.prod(shape)), shape)
    columns = dict(zip(("frequency", "velocity", "instrument", "soundfont"), places))
    findings: list[str] = []

    def rows() -> Iterator[np.ndarray]:
        off = []
        for pitch, velocity, name, font in zip(*places):
            wave = play(instruments[name], kept[velocity], pitches[pitch], font)
            off.append(cents_off(wave, 440 * 2 ** ((pitches[pitch] - 69) / 12), sample_rate=sample_rate))
            yield wave[None]
        names = [f"{name} ({font})" if len(fonts) > 1 else name for name in instruments for font in fonts]
        findings.extend(pitch_report(np.array(off), [names[k] for k in places[2] * len(fonts) + places[3]]))

    recipe = {
        "generator": "create.py --preset notes",
        "generator_version": 1,
        "player": f"FluidSynth {fluidsynth_version(players[0].library)}",
        "soundfonts": {name: file_sha256(path) for name, path in fonts.items()},
        "settings": SETTINGS | {"synth.gain": GAIN, "interpolation": INTERPOLATION, "rate": RENDER_RATE},
        "held": HELD,
        "instruments": list(instruments),
        "velocities": list(velocities),
        "pitches": list(pitches),
        "level": level,
        "rms": RMS if level == "rms" else None,
        "sample_rate": sample_rate,
        "duration": duration,
        "level_names": {name: names for name, (_, _, names) in factors.items() if names},
        "hold_out": hold_out,
        "correlate": correlate,
    }
    members = dataset_members(
        x=Blocks((math.prod(shape), n_samples), np.dtype(np.float32), rows()),
        factors=np.stack([columns[name] for name in factors], axis=1),
        factor_values=np.stack([values[columns[name]] for name, (_, values, _) in factors.items()], axis=1),
        factor_names=list(factors),
        factor_kinds=[kind for kind, _, _ in factors.values()],
        sample_rate=sample_rate,
        recipe=recipe,
    )
    words = " x ".join(f"{len(values)} levels of {name}" for name, (_, values, _) in factors.items())
    return Plan(members, f"notes; {words}", said, findings)


def share_of_steps(
    play: Callable[[str, int, int, int], np.ndarray],
    n_fonts: int,
    instruments: Sequence[str],
    velocities: Sequence[int],
    pitches: Sequence[int],
    *,
    sample_rate: int,
) -> float:
    """Return the share of steps of velocity that can be told apart at the lowest, a middle and the highest pitch."""
    ends = sorted({pitches[0], pitches[len(pitches) // 2], pitches[-1]})
    series = [
        np.stack([play(name, velocity, pitch, font) for velocity in velocities])
        for name in instruments
        for pitch in ends
        for font in range(n_fonts)
    ]
    return share_told_apart(series, sample_rate=sample_rate)


def share_told_apart(series: Sequence[np.ndarray], *, sample_rate: int) -> float:
    """Return the share of neighbours in series of waveforms (V, T) that the audit can tell apart."""
    import torch

    from syntone.dataset.audit import RESOLUTIONS_DB, distances
    from syntone.features.front_end import FrontEnd, compute_features

    front_end = FrontEnd("logmel", sample_rate=sample_rate, n_samples=series[0].shape[1], smoothing=0.0)
    found = []
    for waves in series:
        features = compute_features(waves, front_end, device=torch.device("cpu"))
        db = front_end.to_db(features).flatten(1).numpy()
        steps = np.arange(len(waves) - 1)
        found.append(distances(db, np.stack([steps, steps + 1], axis=1)) > RESOLUTIONS_DB[-1])
    return float(np.mean(found))


def file_sha256(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
