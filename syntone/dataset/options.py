"""What create.py's flags mean: the presets, the checks that no single flag can make, the grid and its recipe.

A recipe holds every option that decides what is in a dataset file.
"""

import argparse

import numpy as np

from syntone.dataset.file import LATER
from syntone.dataset.grid import Grid
from syntone.dataset.nuisances import FACTORS
from syntone.dataset.oscillators import vibrato_depth
from syntone.dataset.splits import check_correlations, check_hold_outs
from syntone.errors import InputError

GENERATOR_VERSION = 1
MAX_LEVELS = 10**6
MAX_TONE_BYTES = 64 * 2**20  # one unit tone in float64 and its temporaries, the smallest thing that is computed whole

# `clean`, for 16 kHz, 1 s and the default front end, and why:
# bandlimited: no partial folds back to where it belongs to no harmonic series, so timbre is what its name says.
# freq_end 0.1625 sample_rate (2,600 Hz): the third partial of triangle and square, their second that is there, stays
#   below half the sample rate and below the centre of the last mel band, so that every wave but the sine keeps two.
# 35 frequencies in equal ratios from 440 Hz: the smallest step, 23.6 Hz at 440 Hz, is wider than a mel band, 23.4 Hz;
#   with 36 it would not be, so this is as many as the band allows.
# 31 amplitudes in equal steps of 1 dB, -34 to -4 dB: a step is twice the resolution of the audit, the softest tone lies
#   far above the front end's floor, and the loudest (a sawtooth at -4 dB) peaks at 0.88.
# rms: the waveforms have equal energy, so level says nothing about timbre.
PRESETS = {
    "paper": {"freq_start": 440.0, "freq_end": 0.5, "num_freqs": 400, "amp_start": 0.1, "amp_end": 1.0, "num_amps": 20}
    | {key: LATER[key] for key in ("oscillator", "freq_scale", "amp_scale", "level")},
    "clean": {
        "freq_start": 440.0,
        "freq_end": 0.1625,
        "num_freqs": 35,
        "amp_start": 10 ** (-34 / 20),
        "amp_end": 10 ** (-4 / 20),
        "num_amps": 31,
        "oscillator": "bandlimited",
        "freq_scale": "log",
        "amp_scale": "db",
        "level": "rms",
    },
}  # freq_end in units of the sample rate


def parse_factors(words: list[list[str]]) -> list[list]:
    """`--factor NAME START END NUM`, repeated, as [name, start, end, num]."""
    found = []
    for name, *numbers in words:
        if name not in FACTORS:
            raise InputError(f"--factor: {name!r} is unknown; choose from {', '.join(FACTORS)}")
        try:
            start, end, num = float(numbers[0]), float(numbers[1]), int(numbers[2])
        except ValueError:
            raise InputError(
                f"--factor {name}: expected two numbers and a count, got {' '.join(numbers)!r}; give for "
                f"example --factor {name} 0 0.5 6"
            ) from None
        known = FACTORS[name]
        if not known.lowest <= start <= end <= known.highest:  # refuses NaN too
            raise InputError(
                f"--factor {name}: from {start:g} to {end:g}; give START <= END between {known.lowest:g} and "
                f"{known.highest:g} {known.unit}"
            )
        _check_levels(f"factor {name}", start, end, num)
        if name == "phase" and end - start >= 1:
            raise InputError(
                f"--factor phase: {start:g} and {end:g} cycles are the same phase; give an END below "
                f"{start + 1:g}, for example {start + 1 - 1 / num:g}"
            )
        found.append([name, start, end, num])
    names = [name for name, *_ in found]
    if len(set(names)) < len(names):
        raise InputError("--factor: a factor is named twice; name each once")
    return found


def parse_correlations(words: list[list[str]]) -> list[list]:
    """`--correlate NAME OTHER SIGMA`, repeated, as [name, other, sigma]."""
    found = []
    for one, other, sigma in words:
        try:
            width = float(sigma)
        except ValueError:
            width = 0.0
        if not 1e-3 <= width <= 1e3:
            raise InputError(
                f"--correlate: sigma is {sigma!r}; give a number from 0.001 to 1000, in units of levels scaled "
                f"to [0, 1]"
            )
        found.append([one, other, width])
    return found


def _check_levels(flag: str, start: float, end: float, num: int) -> None:
    if not 1 <= num <= MAX_LEVELS:
        raise InputError(f"--{flag}: {num} levels; give at most {MAX_LEVELS}, and 1 or more")
    if start == end and num > 1:
        raise InputError(f"--{flag}: {num} levels from {start:g} to {end:g} are all the same; give 1")


def check_options(args: argparse.Namespace) -> None:
    """Refuse options of synthesized tones that argparse cannot judge one by one. `args.factor` is parsed already."""
    nyquist = args.sample_rate / 2
    if args.freq_end > nyquist:
        raise InputError(
            f"--freq_end: {args.freq_end:g} Hz is above half the sample rate, where tones fold back; "
            f"give {nyquist:g} or less"
        )
    for low, high, num in (("freq_start", "freq_end", "num_freqs"), ("amp_start", "amp_end", "num_amps")):
        start, end = getattr(args, low), getattr(args, high)
        if start > end:
            raise InputError(f"--{low}: {start:g} is above --{high} {end:g}; give {end:g} or less")
        _check_levels(num, start, end, getattr(args, num))
    if args.amp_end > 1e6 or args.amp_start < 1e-30:
        raise InputError("--amp_start, --amp_end: float32 samples hold amplitudes from 1e-30 to 1e6; stay between them")
    if len(set(args.waveforms)) < len(args.waveforms):
        raise InputError("--waveforms: a waveform is named twice; name each once")
    n_samples = args.sample_rate * args.duration
    if not 2 <= round(n_samples) <= MAX_TONE_BYTES // 8:
        raise InputError(
            f"--duration: {args.duration:g} s at {args.sample_rate} Hz is {n_samples:.6g} samples; "
            f"give 2 to {MAX_TONE_BYTES // 8} (this tone would take {8 * n_samples:,.0f} bytes to compute)"
        )
    _check_together(args, {name: (start, end) for name, start, end, _ in args.factor})


def _check_together(args: argparse.Namespace, factors: dict[str, tuple[float, float]]) -> None:
    """Options that exclude each other, and frequencies that detuning or vibrato would push over half the sample rate."""
    nyquist = args.sample_rate / 2
    if "phase" in factors and args.phase == "random":
        raise InputError("--phase, --factor phase: a phase cannot be drawn and be a factor; leave one of them out")
    if "noise" in factors and args.snr_db is not None:
        raise InputError("--snr_db, --factor noise: both set the noise; leave one of them out")
    if "brightness" in factors and args.oscillator == "naive":
        raise InputError(
            "--factor brightness: it tilts partials, which a naive oscillator does not have one by one; give "
            "--oscillator bandlimited"
        )
    if "attack" in factors and factors["attack"][1] + args.onset_jitter >= args.duration:
        raise InputError(
            f"--factor attack: an attack of {factors['attack'][1]:g} s after an onset of up to "
            f"{args.onset_jitter:g} s does not end within --duration {args.duration:g}; give less"
        )
    if args.onset_jitter >= args.duration:
        raise InputError(
            f"--onset_jitter: {args.onset_jitter:g} s leaves nothing of a tone of {args.duration:g} s; give "
            f"less than --duration"
        )
    if args.detune_cents > 1200:
        raise InputError(f"--detune_cents: {args.detune_cents:g} is more than an octave; give 1200 or less")
    if args.snr_db is not None and abs(args.snr_db) > 200:
        raise InputError(f"--snr_db: {args.snr_db:g} dB is beyond what float32 samples hold; give -200 to 200")
    highest = args.freq_end * 2 ** (args.detune_cents / 1200) * (1 + vibrato_depth(factors.get("vibrato", (0, 0))[1]))
    if highest > nyquist * (1 + 1e-12):
        raise InputError(
            f"--freq_end: {args.freq_end:g} Hz reaches {highest:.6g} Hz with its detuning and vibrato, above "
            f"half the sample rate; give {args.freq_end * nyquist / highest:.6g} or less"
        )


def check_study(args: argparse.Namespace, grid: Grid) -> None:
    """Refuse hold-outs and correlations that name what the grid does not have."""
    levels = {name: (kind, values) for name, kind, values in zip(grid.factor_names, grid.factor_kinds, grid.values)}
    check_hold_outs(args.hold_out, levels, level_names={"timbre": grid.waveforms})
    check_correlations(args.correlate, levels)


def _spaced(start: float, end: float, num: int, *, even_ratios: bool) -> tuple[float, ...]:
    return tuple((np.geomspace if even_ratios else np.linspace)(start, end, num).tolist())


def build_grid(args: argparse.Namespace) -> Grid:
    return Grid(
        sample_rate=args.sample_rate,
        n_samples=round(args.sample_rate * args.duration),
        freqs=_spaced(args.freq_start, args.freq_end, args.num_freqs, even_ratios=args.freq_scale == "log"),
        amps=_spaced(args.amp_start, args.amp_end, args.num_amps, even_ratios=args.amp_scale == "db"),
        waveforms=tuple(args.waveforms),
        oscillator=args.oscillator,
        level=args.level,
        random_phase=args.phase == "random",
        onset_jitter=args.onset_jitter,
        detune_cents=args.detune_cents,
        snr_db=args.snr_db,
        seed=args.seed,
        further=tuple((name, _spaced(start, end, num, even_ratios=False)) for name, start, end, num in args.factor),
    )


def recipe_of(args: argparse.Namespace) -> dict:
    """Every option of synthesized tones, as the file stores it."""
    first = (
        "sample_rate",
        "duration",
        "waveforms",
        "freq_start",
        "freq_end",
        "num_freqs",
        "amp_start",
        "amp_end",
        "num_amps",
    )
    options = {key: getattr(args, key) for key in (*first, *LATER)}
    return {"generator": "create.py", "generator_version": GENERATOR_VERSION} | options
