"""Datasets of notes: sampled instruments of a soundfont, played by FluidSynth with known instrument, velocity, pitch.

FluidSynth has no filter against aliasing where it transposes samples. Notes are therefore rendered at 48 kHz and
decimated. A new synthesizer plays every note, because a used one keeps sounds and gains of the note before.

Conventions: pitches and velocities as in MIDI, 69 is 440 Hz; times in seconds; linear amplitudes.
"""

import argparse
import ctypes
import difflib
import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from syntone.cli import number
from syntone.dataset.file import Blocks, dataset_members
from syntone.dataset.recipe import Plan
from syntone.dataset.splits import check_study
from syntone.errors import InputError

# The programs of General MIDI, in their order.
PROGRAMS = """
    acoustic_grand_piano bright_acoustic_piano electric_grand_piano honky_tonk_piano electric_piano_1 electric_piano_2
    harpsichord clavinet celesta glockenspiel music_box vibraphone marimba xylophone tubular_bells dulcimer
    drawbar_organ percussive_organ rock_organ church_organ reed_organ accordion harmonica tango_accordion
    nylon_guitar steel_guitar jazz_guitar clean_guitar muted_guitar overdriven_guitar distortion_guitar
    guitar_harmonics acoustic_bass finger_bass pick_bass fretless_bass slap_bass_1 slap_bass_2 synth_bass_1
    synth_bass_2 violin viola cello contrabass tremolo_strings pizzicato_strings harp timpani string_ensemble_1
    string_ensemble_2 synth_strings_1 synth_strings_2 choir_aahs voice_oohs synth_voice orchestra_hit trumpet trombone
    tuba muted_trumpet french_horn brass_section synth_brass_1 synth_brass_2 soprano_sax alto_sax tenor_sax
    baritone_sax oboe english_horn bassoon clarinet piccolo flute recorder pan_flute blown_bottle shakuhachi whistle
    ocarina square_lead sawtooth_lead calliope_lead chiff_lead charang_lead voice_lead fifths_lead bass_lead
    new_age_pad warm_pad polysynth_pad choir_pad bowed_pad metallic_pad halo_pad sweep_pad rain soundtrack crystal
    atmosphere brightness goblins echoes sci_fi sitar banjo shamisen koto kalimba bagpipe fiddle shanai tinkle_bell
    agogo steel_drums woodblock taiko_drum melodic_tom synth_drum reverse_cymbal guitar_fret_noise breath_noise
    seashore bird_tweet telephone_ring helicopter applause gunshot
""".split()
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
INSTALL = "apt install fluidsynth fluid-soundfont-gm; pip install -r requirements-sounds.txt"
RENDER_RATE = 48000  # Hz
BLOCK = 64  # samples that FluidSynth computes at once; events take effect between blocks
HELD = 0.8  # share of the duration until the key is released, so that a note has onset, sustain and release
GAIN = 1.5  # the default notes then have peaks up to 0.8
RMS = 0.03  # of every note with level rms; leaves room for the peaks of plucked notes
SETTINGS = {"synth.reverb.active": 0, "synth.chorus.active": 0, "synth.cpu-cores": 1, "synth.polyphony": 32}
INTERPOLATION = 7  # FluidSynth's highest order
SILENT = 1e-4  # peak below which a note counts as silent
IN_TUNE = 20  # cents
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


class Player:
    """FluidSynth with one soundfont, which stays in memory between the synthesizers of single notes."""

    def __init__(self, path: Path) -> None:
        self.module, self.path = load_fluidsynth(), path
        self.library = self.module._fl
        pointer, whole = ctypes.c_void_p, ctypes.c_int
        for name, result, *arguments in (  # functions that pyfluidsynth does not declare
            ("get_sfont_by_id", pointer, pointer, whole),
            ("add_sfont", whole, pointer, pointer),
            ("remove_sfont", whole, pointer, pointer),
            ("set_interp_method", whole, pointer, whole, whole),
            # In floating point: 16-bit output is dithered, which depends on the notes before.
            ("write_float", whole, pointer, whole, pointer, whole, whole, pointer, whole, whole),
        ):
            function = getattr(self.library, f"fluid_synth_{name}")
            function.restype, function.argtypes = result, arguments
        for level in range(5):
            self.library.fluid_set_log_function(level, None, None)  # return values are checked instead
        self.owner = self.module.Synth()
        number = self.owner.sfload(str(path))
        if number < 0:
            raise InputError(f"soundfont: {path} cannot be read as a soundfont; give an .sf2 file")
        self.font = self.library.fluid_synth_get_sfont_by_id(self.owner.synth, number)
        self.library.fluid_synth_remove_sfont(self.owner.synth, self.font)

    def play(self, instrument: str, velocity: int, pitch: int, *, sample_rate: int, n_samples: int) -> np.ndarray:
        """Return a note as float32 (n_samples,): the mean of both channels, at `sample_rate` in Hz."""
        from scipy.signal import resample_poly

        duration = n_samples / sample_rate
        n_blocks = math.ceil(duration * RENDER_RATE / BLOCK)
        stereo = np.zeros((2, n_blocks * BLOCK), np.float32)
        released = round(HELD * duration * RENDER_RATE / BLOCK) * BLOCK
        synth = self.module.Synth(gain=GAIN, samplerate=RENDER_RATE, channels=16, **SETTINGS)
        number = self.library.fluid_synth_add_sfont(synth.synth, self.font)
        try:
            self.library.fluid_synth_set_interp_method(synth.synth, -1, INTERPOLATION)
            if synth.program_select(0, number, 0, PROGRAMS.index(instrument)):
                raise InputError(f"instruments: {self.path} has no {instrument}; leave it out")
            synth.noteon(0, pitch, velocity)
            for start, end in ((0, released), (released, stereo.shape[1])):
                left, right = (channel[start:].ctypes.data for channel in stereo)
                self.library.fluid_synth_write_float(synth.synth, end - start, left, 0, 1, right, 0, 1)
                synth.noteoff(0, pitch)
        finally:
            self.library.fluid_synth_remove_sfont(synth.synth, self.font)
            synth.delete()
        if np.abs(stereo).max() < SILENT:
            found = f"{instrument} of {self.path.name} is silent at pitch {pitch}, velocity {velocity}"
            raise InputError(f"pitches: {found}; choose a narrower range, or leave the instrument out")
        common = math.gcd(sample_rate, RENDER_RATE)
        wave = resample_poly(stereo.mean(axis=0), sample_rate // common, RENDER_RATE // common, window=("kaiser", 8.6))
        return np.pad(wave, (0, max(0, n_samples - len(wave))))[:n_samples].astype(np.float32)


def load_fluidsynth():
    """Import pyfluidsynth, which is optional and loads the FluidSynth library."""
    try:
        import fluidsynth
    except (ImportError, OSError, AttributeError) as fault:  # no package; no library; a library without a function
        raise InputError(f"notes need FluidSynth and pyfluidsynth ({str(fault)[:80]}); {INSTALL}") from None
    return fluidsynth


def cents_off(wave: np.ndarray, frequency: float, *, sample_rate: int) -> float:
    """Return the deviation of a note's fundamental from `frequency` in Hz, in cents: the median over frames.

    The normalized autocorrelation of each frame (Boersma 1993) is interpolated; its first peak within 5 % of the
    highest is the period. Periods of up to one octave and a semitone above and below are considered.
    """
    length, zoom = min(len(wave), round(24 * sample_rate / frequency)), 8
    window = np.hanning(length)
    size = 2 ** math.ceil(math.log2(2 * length))
    lags = np.arange(
        math.floor(zoom * sample_rate / frequency / 2.12), math.ceil(zoom * sample_rate / frequency * 2.12)
    )

    def correlation(frame: np.ndarray) -> np.ndarray:
        power = np.abs(np.fft.rfft(frame, size)) ** 2
        found = np.fft.irfft(power, size * zoom)
        return found[lags] / found[0]

    of_window, found = correlation(window), []
    last = max(0, round(HELD * len(wave)) - length)
    for start in np.linspace(min(0.15 * len(wave), last), last, 8).astype(int):
        frame = wave[start : start + length].astype(np.float64)
        if not frame.any():  # a note that has decayed
            continue
        r = correlation((frame - frame.mean()) * window) / of_window
        peaks = 1 + np.flatnonzero((r[1:-1] >= r[:-2]) & (r[1:-1] > r[2:]))
        if len(peaks):
            first = peaks[r[peaks] >= r[peaks].max() - 0.05][0]
            before, here, after = r[first - 1 : first + 2]
            period = lags[first] + (before - after) / (before - 2 * here + after) / 2  # vertex of a parabola
            found.append(1200 * math.log2(zoom * sample_rate / period / frequency))
    return float(np.median(found)) if found else math.nan


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
    `velocity_is_heard`.

    Raises
    ------
    InputError
        If FluidSynth or a soundfont is missing, or a name or number is not possible.
    """
    for name in instruments:
        if name not in PROGRAMS:
            near = difflib.get_close_matches(name, PROGRAMS, n=3, cutoff=0.4) or DEFAULT_INSTRUMENTS[:3]
            raise InputError(f"instruments: {name!r} is not a program of General MIDI; for example {', '.join(near)}")
    if len(set(instruments)) < len(instruments):
        raise InputError("instruments: a name occurs twice; give each once")
    if not 8000 <= sample_rate <= RENDER_RATE or not 0.1 <= duration <= 60:
        found = f"{sample_rate} Hz and {duration:g} s"
        raise InputError(f"sample_rate, duration: {found}; give 8000 to {RENDER_RATE} Hz and 0.1 to 60 s")
    players = [Player(path) for path in fonts.values()]
    n_samples = round(sample_rate * duration)

    def play(instrument: str, velocity: int, pitch: int, font: int) -> np.ndarray:
        wave = players[font].play(instrument, velocity, pitch, sample_rate=sample_rate, n_samples=n_samples)
        return wave if level != "rms" else (wave * (RMS / np.sqrt(np.mean(np.square(wave))))).astype(np.float32)

    said, kept = [], list(velocities)
    if level == "rms" and len(velocities) > 1:
        ends = sorted({pitches[0], pitches[len(pitches) // 2], pitches[-1]})
        series = [
            np.stack([play(name, velocity, pitch, font) for velocity in velocities])
            for name in instruments
            for pitch in ends
            for font in range(len(players))
        ]
        share = share_told_apart(series, sample_rate=sample_rate)
        kept = kept if share >= TOLD_APART else [velocities[len(velocities) // 2]]
        what = "stays a factor" if len(kept) > 1 else f"is left out (all notes have velocity {kept[0]})"
        said.append(f"velocity {what}: at equal RMS {100 * share:.0f} % of its steps can be told apart")
    factors = {"instrument": ("nominal", np.arange(len(instruments)), list(instruments))}
    if level != "rms" or len(kept) > 1:
        factors["velocity"] = ("ordered", np.array(kept), None)
    factors["frequency"] = ("ordered", 440 * 2 ** ((np.array(pitches) - 69) / 12), None)
    if len(fonts) > 1:
        factors["soundfont"] = ("nominal", np.arange(len(fonts)), list(fonts))
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
        findings.extend(pitch_report(np.array(off), [instruments[name] for name in places[2]]))

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


def pitch_report(off: np.ndarray, instruments: Sequence[str]) -> list[str]:
    """Return lines on how many notes are in tune, and which instruments are not; `off` in cents, NaN without pitch."""
    tuned = np.abs(off) <= IN_TUNE
    line = f"pitch: {100 * tuned.mean():.1f} % of {len(off):,} notes are within {IN_TUNE} cents of their label"
    names, place = np.unique(instruments, return_inverse=True)
    wrong = np.bincount(place, ~tuned)
    worst = [k for k in np.argsort(-wrong, kind="stable")[:5] if wrong[k]]
    named = ", ".join(f"{names[k]} {wrong[k]:.0f} of {(place == k).sum()}" for k in worst)
    return [f"{line}; outliers: {named}" if worst else line]


def fluidsynth_version(library: ctypes.CDLL) -> str:
    library.fluid_version_str.restype = ctypes.c_char_p
    return library.fluid_version_str().decode()


def file_sha256(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
