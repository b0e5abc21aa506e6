"""Oscillators: tones of amplitude 1, sampled (naive) or summed from partials (band-limited).

Conventions: frequencies in Hz, phases in cycles, sample n at time n / sample_rate.

The naive oscillators are those of the paper: the ideal waveform is sampled, and partials above half the sample rate
alias. The band-limited oscillators are the Fourier series of the same waveforms, truncated below half the sample rate.
Near a jump they exceed the waveform's peak of 1 by up to 18 % (Gibbs).
"""

import math
from collections.abc import Callable

import numpy as np

VIBRATO_HZ = 5.5  # the rate of most singers and string players, 5 to 6 Hz (Prame 1994)

# Functions of the phase in cycles, in [0, 1), with a peak of 1: the waveforms of scipy.signal at 2 pi cycles. In cycles
# the corner points are exact; 2 pi f t is rounded to either side of them.
WAVEFORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sine": lambda cycles: np.sin(2 * np.pi * cycles),
    "triangle": lambda cycles: 1.0 - np.abs(4.0 * cycles - 2.0),
    "square": lambda cycles: np.where(cycles < 0.5, 1.0, -1.0),
    "sawtooth": lambda cycles: 2.0 * cycles - 1.0,
}
# Fourier coefficients c_k of wave = Re sum_k c_k exp(2 pi i k cycles), k from 1.
PARTIALS: dict[str, Callable[[int], complex]] = {
    "sine": lambda k: -1j if k == 1 else 0.0,
    "triangle": lambda k: -8 / (math.pi * k) ** 2 if k % 2 else 0.0,
    "square": lambda k: -4j / (math.pi * k) if k % 2 else 0.0,
    "sawtooth": lambda k: 2j / (math.pi * k),
}
OSCILLATORS = ("naive", "bandlimited")


def vibrato_depth(cents: float) -> float:
    """Return the relative deviation of the frequency whose highest value is `cents` above the mean."""
    return 2.0 ** (cents / 1200) - 1.0


def phase_cycles(
    freq: float, *, sample_rate: int, n_samples: int, phase: float = 0.0, onset: float = 0.0, vibrato: float = 0.0
) -> np.ndarray:
    """Return the phase of every sample: float64 (n_samples,), cycles.

    Parameters
    ----------
    freq : Hz; with vibrato the mean of f(t) = freq (1 + d sin(2 pi 5.5 Hz t)), integrated in closed form
    phase : cycles at the onset
    onset : seconds; earlier samples have a phase but are not part of the tone
    vibrato : cents from `freq` to the highest frequency
    """
    since = np.arange(n_samples) - onset * sample_rate  # in samples
    cycles = since * freq / sample_rate  # exact at whole cycles of whole frequencies
    if vibrato:
        rate = 2 * np.pi * VIBRATO_HZ
        cycles += freq * vibrato_depth(vibrato) * (1 - np.cos(rate * (since / sample_rate))) / rate
    return cycles + phase


def n_partials(waveform: str, highest: float, *, sample_rate: int) -> int:
    """Return the number of partials below half the sample rate, at least 1, for a fundamental up to `highest` Hz."""
    last = last_partial(highest, sample_rate=sample_rate)
    return sum(PARTIALS[waveform](k) != 0 for k in range(1, last + 1))


def last_partial(highest: float, *, sample_rate: int) -> int:
    """Return the highest partial k below half the sample rate, at least 1 (the fundamental)."""
    return max(1, math.ceil(sample_rate / 2 / highest) - 1)


def sum_partials(waveform: str, cycles: np.ndarray, *, last: int, brightness: float = 0.0) -> np.ndarray:
    """Return the Fourier series of a waveform up to partial `last`, at the phases `cycles`: float64.

    Parameters
    ----------
    brightness : spectral tilt in dB per octave: partial k is amplified by brightness * log2(k) dB
    """
    turn = np.exp(2j * np.pi * cycles)
    total = np.zeros_like(turn)
    for k in range(last, 0, -1):  # Horner's rule: one multiplication per partial, small ones first
        total += PARTIALS[waveform](k) * 10 ** (brightness * math.log2(k) / 20)
        total *= turn
    return total.real


def unit_tone(
    waveform: str,
    freq: float,
    *,
    sample_rate: int,
    n_samples: int,
    oscillator: str = "naive",
    level: str = "peak",
    phase: float = 0.0,
    onset: float = 0.0,
    vibrato: float = 0.0,
    brightness: float = 0.0,
) -> np.ndarray:
    """Return one tone of amplitude 1 without an envelope: float32 (n_samples,).

    Parameters
    ----------
    waveform : a key of `WAVEFORMS`
    freq : Hz
    oscillator : "naive" or "bandlimited"
    level : "peak" (the ideal waveform has a peak of 1) or "rms" (the samples have the RMS of a sine of amplitude 1)
    phase, onset, vibrato : cycles, seconds, cents; see `phase_cycles`
    brightness : dB per octave, see `sum_partials`; band-limited oscillators only
    """
    cycles = phase_cycles(freq, sample_rate=sample_rate, n_samples=n_samples, phase=phase, onset=onset, vibrato=vibrato)
    if oscillator == "naive":
        cycles -= np.floor(cycles)
        wave = WAVEFORMS[waveform](cycles)
    else:
        last = last_partial(freq * (1 + vibrato_depth(vibrato)), sample_rate=sample_rate)
        wave = sum_partials(waveform, cycles, last=1 if waveform == "sine" else last, brightness=brightness)
    if level == "rms":
        rms = math.sqrt(np.mean(np.square(wave)))
        wave = wave * (math.sqrt(0.5) / rms if rms > 1e-6 else 1.0)
    return wave.astype(np.float32)
