"""Options of synthesized tones, which form the recipe: types, defaults, help texts, presets, checks."""

import argparse

import numpy as np

from syntone.cli import Parser, finite_float, nonnegative_float, nonnegative_int, number, positive_float, positive_int
from syntone.dataset.grid import Grid
from syntone.dataset.nuisances import FACTORS
from syntone.dataset.oscillators import OSCILLATORS, WAVEFORMS, vibrato_depth
from syntone.errors import InputError

MAX_SAMPLES = 2**23  # of one tone, which is computed at once: 64 MiB in float64
levels = number(int, least=1, most=10**6)
amplitude = number(float, least=1e-30, most=1e6)  # in the range of float32
decibels = number(float, least=-200, most=200)
cents = number(float, least=0, most=1200)

WAVES = list(WAVEFORMS)
REPEATED = dict(action="append", default=[])
TABLE = {
    "tones": {
        "sample_rate": dict(type=positive_int, default=16000, help="sample rate, Hz"),
        "duration": dict(type=positive_float, default=1.0, help="duration of each tone, seconds"),
        "waveforms": dict(nargs="+", choices=WAVES, default=WAVES, help="waveforms, in the order of their class index"),
        "oscillator": dict(choices=OSCILLATORS, default="naive", help="sampled (with aliasing), or sum of partials"),
        "level": dict(
            choices=("peak", "rms"), default="peak", help="amplitude: peak, or of a sine with equal RMS; notes: rms"
        ),
    },
    "grid: all combinations, ends included": {
        "freq_start": dict(type=positive_float, default=440.0, help="lowest frequency, Hz"),
        "freq_end": dict(type=positive_float, default=None, help="highest frequency, Hz (default: sample rate / 2)"),
        "num_freqs": dict(type=levels, default=400, help="number of frequencies"),
        "freq_scale": dict(choices=("linear", "log"), default="linear", help="steps equal in Hz, or in ratio"),
        "amp_start": dict(type=amplitude, default=0.1, help="smallest amplitude, linear"),
        "amp_end": dict(type=amplitude, default=1.0, help="largest amplitude, linear"),
        "num_amps": dict(type=levels, default=20, help="number of amplitudes"),
        "amp_scale": dict(choices=("linear", "db"), default="linear", help="steps equal in amplitude, or in dB"),
        "factor": dict(
            **REPEATED,
            nargs=4,
            metavar=("NAME", "START", "END", "NUM"),
            help="extra factor, NUM equally spaced levels; repeatable. "
            + "; ".join(f"{name}: {factor.meaning}" for name, factor in FACTORS.items()),
        ),
    },
    "nuisances: random for each tone, not in the labels": {
        "phase": dict(choices=("zero", "random"), default="zero", help="phase at the onset"),
        "snr_db": dict(type=decibels, default=None, help="signal-to-noise ratio of added white noise, dB"),
        "onset_jitter": dict(type=nonnegative_float, default=0.0, help="latest onset, seconds (uniform from 0)"),
        "detune_cents": dict(type=cents, default=0.0, help="largest detuning up or down, cents (uniform)"),
        "seed": dict(type=nonnegative_int, default=0, help="random seed"),
    },
    "training distribution: the file contains all tones": {
        "hold_out": dict(
            **REPEATED,
            nargs="+",
            metavar="NAME=VALUES",
            help="exclude tones from training, e.g. timbre=square frequency=2000:8000 (both); repeatable",
        ),
        "correlate": dict(
            **REPEATED,
            nargs=3,
            metavar=("NAME", "OTHER", "SIGMA"),
            help="correlate two ordered factors in training; SIGMA: width, for levels scaled to [0, 1]; repeatable",
        ),
    },
}
DEFAULTS = {name: how["default"] for group in TABLE.values() for name, how in group.items()}
FOR_RECORDINGS = {"duration", "hold_out", "correlate"}
FOR_NOTES = FOR_RECORDINGS | {"sample_rate", "level"}

# Reasons for the values of `clean`, at 16 kHz, 1 s and the default front end:
# bandlimited: no aliasing.
# freq_end 0.1625 sample_rate (2,600 Hz): the third partial is below half the sample rate and the centre of the last mel
#   band, so all waveforms except the sine have two or more partials.
# 35 frequencies in equal ratios from 440 Hz: the smallest step, 23.6 Hz at 440 Hz, is wider than a mel band, 23.4 Hz;
#   with 36 it would be narrower.
# 31 amplitudes in steps of 1 dB, -34 to -4 dB: a step is twice the resolution of the audit, all tones are far above the
#   front end's floor, and the largest peak (sawtooth) is 0.88.
# rms: waveforms have equal energy, so amplitude is independent of timbre.
PRESETS = {
    "paper": {"freq_end": 0.5},  # freq_end in units of the sample rate
    "clean": {
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
    "notes": {"freq_end": 0.5, "level": "played"},  # of notes.py; the other options of tones have no effect
}


def add_options(parser: Parser) -> None:
    """Add a flag for each option, and --preset."""
    presets = dict(
        choices=list(PRESETS), default="paper", help="grid of the paper, recommended grid, or sampled instruments"
    )
    parser.add_argument("--preset", **presets)
    for title, options in TABLE.items():
        group = parser.add_argument_group(title)
        for name, how in options.items():
            group.add_argument(f"--{name}", **how)


def parse_options(parser: Parser, argv: list[str] | None) -> tuple[argparse.Namespace, set[str]]:
    """Return all flags, completed by the preset's values and the defaults, and the names of those given."""
    defaults = vars(parser.parse_args([]))
    args = parser.parse_args(argv, argparse.Namespace(**dict.fromkeys(defaults)))  # no default over an attribute
    given = {name for name, value in vars(args).items() if value is not None}
    for name, value in (defaults | PRESETS[args.preset or defaults["preset"]]).items():
        if name not in given:
            setattr(args, name, value * args.sample_rate if name == "freq_end" else value)
    args.factor = [_parse_factor(*words) for words in args.factor]
    args.correlate = [_parse_correlation(*words) for words in args.correlate]
    return args, given


def _parse_factor(name: str, *words: str) -> list:
    """Parse `--factor NAME START END NUM` to [name, start, end, num]."""
    if name not in FACTORS:
        raise InputError(f"--factor: unknown factor {name!r}; choose from {', '.join(FACTORS)}")
    known = FACTORS[name]
    try:
        start, end, num = finite_float(words[0]), finite_float(words[1]), levels(words[2])
    except argparse.ArgumentTypeError as mistake:
        raise InputError(f"--factor {name}: {mistake}; give for example --factor {name} 0 0.5 6") from None
    if not known.lowest <= start <= end <= known.highest:
        wanted = f"START <= END between {known.lowest:g} and {known.highest:g} {known.unit}"
        raise InputError(f"--factor {name}: from {start:g} to {end:g}; give {wanted}")
    _check_distinct(f"factor {name}", start, end, num)
    if start < end and num == 1:
        raise InputError(
            f"--factor {name}: one level cannot be both {start:g} and {end:g}; give more levels or one value"
        )
    if name == "phase" and end - start >= 1:
        wanted = f"an END below {start + 1:g}, for example {start + 1 - 1 / num:g}"
        raise InputError(f"--factor phase: {start:g} and {end:g} cycles are the same phase; give {wanted}")
    return [name, start, end, num]


def _parse_correlation(one: str, other: str, sigma: str) -> list:
    """Parse `--correlate NAME OTHER SIGMA` to [name, other, sigma]."""
    try:
        return [one, other, number(float, least=1e-3, most=1e3)(sigma)]
    except argparse.ArgumentTypeError as mistake:
        raise InputError(f"--correlate: sigma, in units of levels scaled to [0, 1]: {mistake}") from None


def _check_distinct(flag: str, start: float, end: float, num: int) -> None:
    if start == end and num > 1:
        raise InputError(f"--{flag}: {num} levels from {start:g} to {end:g} are all the same; give 1")


def check_options(args: argparse.Namespace) -> None:
    """Refuse options of synthesized tones that contradict each other."""
    for low, high, num in (("freq_start", "freq_end", "num_freqs"), ("amp_start", "amp_end", "num_amps")):
        start, end = getattr(args, low), getattr(args, high)
        if start > end:
            raise InputError(f"--{low}: {start:g} is above --{high} {end:g}; give {end:g} or less")
        _check_distinct(num, start, end, getattr(args, num))
    for flag, names in (("waveforms", args.waveforms), ("factor", [name for name, *_ in args.factor])):
        if len(set(names)) < len(names):
            raise InputError(f"--{flag}: a {flag.removesuffix('s')} occurs twice; give each once")
    n_samples = args.sample_rate * args.duration
    if not 2 <= round(n_samples) <= MAX_SAMPLES:
        found = f"{args.duration:g} s at {args.sample_rate} Hz is {n_samples:.6g} samples"
        raise InputError(f"--duration: {found}; give 2 to {MAX_SAMPLES}")
    ends = {name: end for name, _, end, _ in args.factor}
    if "phase" in ends and args.phase == "random":
        raise InputError("--phase, --factor phase: phase cannot be both random and a factor; leave one of them out")
    if "noise" in ends and args.snr_db is not None:
        raise InputError("--snr_db, --factor noise: both set the noise; leave one of them out")
    if "brightness" in ends and args.oscillator == "naive":
        raise InputError("--factor brightness: is defined for partials; give --oscillator bandlimited")
    onset_end = args.onset_jitter + ends.get("attack", 0.0)
    if onset_end >= args.duration:
        raise InputError(
            f"--onset_jitter, --factor attack: latest onset and longest attack take {onset_end:g} s, not less than "
            f"--duration {args.duration:g}; give less"
        )
    nyquist = args.sample_rate / 2
    highest = args.freq_end * 2 ** (args.detune_cents / 1200) * (1 + vibrato_depth(ends.get("vibrato", 0.0)))
    if highest > nyquist * (1 + 1e-12):
        moved = f" (with detuning and vibrato {highest:.6g} Hz)" if highest > args.freq_end else ""
        raise InputError(
            f"--freq_end: {args.freq_end:g} Hz{moved} is above half the sample rate; give "
            f"{args.freq_end * nyquist / highest:.6g} or less"
        )


def _spaced(scale: str, start: float, end: float, num: int) -> tuple[float, ...]:
    return tuple((np.linspace if scale == "linear" else np.geomspace)(start, end, num).tolist())


def build_grid(args: argparse.Namespace) -> Grid:
    same = ("sample_rate", "oscillator", "level", "onset_jitter", "detune_cents", "snr_db", "seed")
    return Grid(
        **{name: getattr(args, name) for name in same},
        n_samples=round(args.sample_rate * args.duration),
        freqs=_spaced(args.freq_scale, args.freq_start, args.freq_end, args.num_freqs),
        amps=_spaced(args.amp_scale, args.amp_start, args.amp_end, args.num_amps),
        waveforms=tuple(args.waveforms),
        random_phase=args.phase == "random",
        extra=tuple((name, _spaced("linear", *ends)) for name, *ends in args.factor),
    )
