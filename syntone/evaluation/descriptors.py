"""Eight descriptors of sounds, computed by signal processing without training: codes to compare a model with.

The spectrum is that of the whole sound without its mean, through a Hann window; p is its power, a its amplitude, both
normalised to a sum of 1 over the frequencies f between 0 and half the sample rate.

fundamental frequency : frequency of the strongest spectral peak, or that divided by a whole number; see `_fundamental`
RMS level : root mean square relative to a full scale of 1, at least -120 dB
spectral centroid, spectral spread : mean and standard deviation of f under p (Peeters et al. 2011)
spectral slope : slope of the line fitted to the amplitude spectrum by least squares (Peeters 2004), divided by the mean
    amplitude: 0 for a flat spectrum, negative for a falling one
odd-to-even ratio : energy of the odd harmonics over that of the even ones (Peeters 2004), between -60 and 60 dB. Every
    frequency belongs to its nearest harmonic
crest factor : largest magnitude over the root mean square
zero-crossing rate : changes between negative and other samples, per second

Silence has the lowest fundamental frequency, 20 Hz (-53.5 semitones), the lowest RMS level, -120 dB, and 0 for the
others. A constant sound has its own RMS level and is otherwise described as silence.

References
----------
Peeters (2004), A large set of audio features for sound description. Technical report, IRCAM.
Peeters, Giordano, Susini, Misdariis and McAdams (2011), The Timbre Toolbox. J. Acoust. Soc. Am. 130, 2902-2916.
Boersma (1993), Accurate short-term analysis of the fundamental frequency. Proc. Inst. Phonetic Sci. 17, 97-110.
"""

from collections.abc import Callable

import numpy as np
from scipy import fft

NAMES = (
    "fundamental frequency (semitones from 440 Hz)",
    "RMS level (dB)",
    "spectral centroid (Hz)",
    "spectral spread (Hz)",
    "spectral slope (1/kHz)",
    "odd-to-even ratio (dB)",
    "crest factor (dB)",
    "zero-crossing rate (1/s)",
)
ROWS = 32  # computed at a time
LOWEST_HZ = 20.0
SILENT = 1e-6  # RMS at -120 dB
ROUNDING = 1e-7  # of float32 samples, relative to the largest
RATIO_DB = 60.0  # largest odd-to-even ratio
MOST = 0.58  # of the power; the fundamental of a sawtooth has 6 / pi^2 = 0.61
N_PEAKS = 32
N_FRACTIONS = 128
OCTAVE_COST = 0.05  # of autocorrelation, at most 1


def describe(waves: np.ndarray, sample_rate: int, *, progress: Callable[[int], None] | None = None) -> np.ndarray:
    """Compute the descriptors of each sound: (N, 8) float64, finite, in the order of `NAMES`.

    Parameters
    ----------
    waves : (N, T), finite, linear amplitude with full scale at 1; may be mapped from a file
    sample_rate : Hz
    progress : called with the number of sounds of each block
    """
    n_samples = waves.shape[1]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(n_samples) + 0.5) / n_samples)
    n_fft = 2 * fft.next_fast_len(-(-n_samples // 2), real=True)  # even, so that one bin is half the sample rate
    freqs = fft.rfftfreq(n_fft, 1 / sample_rate)
    described = np.empty((len(waves), len(NAMES)))
    for start in range(0, len(waves), ROWS):
        wave = np.asarray(waves[start : start + ROWS], dtype=np.float64)
        peak = np.abs(wave).max(axis=1)
        rms = np.sqrt(np.square(wave).mean(axis=1))
        unit = wave / np.where(peak > 0, peak, 1.0)[:, None]  # so that no power underflows
        unit -= unit.mean(axis=1, keepdims=True)
        unit[np.abs(unit).max(axis=1) <= ROUNDING] = 0.0
        power = np.square(np.abs(fft.rfft(unit * window, n_fft)))
        fundamental = np.array([_fundamental(row, freqs[1]) for row in power])
        centroid = _mean(freqs, power)
        described[start : start + len(wave)] = np.stack(
            [
                12 * np.log2(fundamental / 440.0),
                20 * np.log10(np.maximum(rms, SILENT)),
                centroid,
                np.sqrt(_mean(np.square(freqs - centroid[:, None]), power)),
                _slope(np.sqrt(power), freqs),
                _odd_to_even(power, freqs, fundamental),
                20 * np.log10(np.where(peak > 0, peak, 1.0) / np.where(peak > 0, rms, 1.0)),
                np.diff(wave < 0, axis=1).sum(axis=1) * sample_rate / max(n_samples - 1, 1),
            ],
            axis=1,
        )
        if progress is not None:
            progress(len(wave))
    return described


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted mean of each row, 0 for a row without weight."""
    total = weights.sum(axis=1)
    return (weights * values).sum(axis=1) / np.where(total > 0, total, 1.0)


def _slope(amplitude: np.ndarray, freqs: np.ndarray) -> np.ndarray:
    """Return the slope of the regression of amplitude / mean amplitude on frequency: cov / var, per kHz."""
    slope = (_mean(freqs, amplitude) - freqs.mean()) / freqs.var() * 1000
    return np.where(amplitude.any(axis=1), slope, 0.0)


def _odd_to_even(power: np.ndarray, freqs: np.ndarray, fundamental: np.ndarray) -> np.ndarray:
    harmonic = np.rint(freqs / fundamental[:, None]).astype(np.int64)
    odd = np.where(harmonic % 2 == 1, power, 0.0).sum(axis=1)
    even = np.where((harmonic % 2 == 0) & (harmonic > 0), power, 0.0).sum(axis=1)
    ratio = (odd + 1e-200) / (even + 1e-200)  # 1 in silence
    return np.clip(10 * np.log10(ratio), -RATIO_DB, RATIO_DB)


def _fundamental(power: np.ndarray, step: float) -> float:
    """Return the fundamental frequency of one spectrum (F,), whose bins are `step` Hz apart: Hz, at least 20.

    The strongest peak is the fundamental if it has most of the power. This is right for aliased tones, too, whose
    folded partials are not multiples of the fundamental. Otherwise the fundamental is the strongest peak's frequency
    divided by the whole number k with the largest autocorrelation of the 32 strongest peaks at a lag of one period,
    minus a cost per octave that favours small k, as in Boersma (1993). A parabola through the logarithms of three bins
    interpolates the frequency of each peak.
    """
    before, bins = power[:-1], power[1:]
    after = np.append(power[2:], power[-2])  # mirrored at half the sample rate
    peaks = np.flatnonzero((bins > before) & (bins >= after) & (bins > 1e-20 * bins.max()))
    if not len(peaks):
        return LOWEST_HZ
    peaks = peaks[np.argsort(-bins[peaks], kind="stable")[:N_PEAKS]]
    left, middle, right = (np.log(np.maximum(values[peaks], 1e-300)) for values in (before, bins, after))
    curvature = np.minimum(left - 2 * middle + right, -1e-12)  # 0 between powers that differ by rounding
    found = (peaks + 1 + 0.5 * (left - right) / curvature) * step
    strongest = peaks[0] + 1
    lobe = power[max(strongest - 2, 1) : strongest + 3]
    k = 1
    if lobe.sum() < MOST * power.sum():
        fractions = np.arange(1, np.clip(found[0] / LOWEST_HZ, 1, N_FRACTIONS) + 1)
        turns = np.outer(fractions, found / found[0])
        similarity = np.cos(2 * np.pi * turns) @ bins[peaks] / bins[peaks].sum()
        k = fractions[np.argmax(similarity - OCTAVE_COST * np.log2(fractions))]
    return max(found[0] / k, LOWEST_HZ)
