"""Pitch of notes: how far each is from its label, and a report on all."""

import math
from collections.abc import Sequence

import numpy as np

from syntone.dataset.player import HELD

IN_TUNE = 20  # cents


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


def pitch_report(off: np.ndarray, instruments: Sequence[str]) -> list[str]:
    """Return lines on how many notes are in tune, and which instruments are not; `off` in cents, NaN without pitch."""
    tuned = np.abs(off) <= IN_TUNE
    line = f"pitch: {100 * tuned.mean():.1f} % of {len(off):,} notes are within {IN_TUNE} cents of their label"
    names, place = np.unique(instruments, return_inverse=True)
    wrong = np.bincount(place, ~tuned)
    worst = [k for k in np.argsort(-wrong, kind="stable")[:5] if wrong[k]]
    named = ", ".join(f"{names[k]} {wrong[k]:.0f} of {(place == k).sum()}" for k in worst)
    return [f"{line}; outliers: {named}" if worst else line]
