"""Tones with known factors: the four waveforms, the factor grid, and its rendering in blocks.

Conventions: frequencies in Hz, amplitudes are linear peak values, sample n is at time n / sample_rate. Only numpy is
imported, so that creating a dataset starts at once.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

BLOCK_BYTES = 16 * 2**20
FACTOR_NAMES = ("timbre", "amplitude", "frequency")
FACTOR_KINDS = ("nominal", "ordered", "ordered")

# Each takes the phase in cycles, in [0, 1), and has a peak of 1. They are scipy.signal's waveforms at the phase
# 2 pi cycles; in cycles the corner points are exact, whereas 2 pi f t falls to either side of them by rounding.
WAVEFORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sine": lambda cycles: np.sin(2 * np.pi * cycles),
    "triangle": lambda cycles: 1.0 - np.abs(4.0 * cycles - 2.0),
    "square": lambda cycles: np.where(cycles < 0.5, 1.0, -1.0),
    "sawtooth": lambda cycles: 2.0 * cycles - 1.0,
}


@dataclass(frozen=True)
class Grid:
    """Every combination of the factor levels once: frequency outermost, then amplitude, then waveform.

    Parameters
    ----------
    sample_rate : int
        Hz.
    n_samples : int
        Length T of each tone in samples.
    freqs : tuple of float
        Hz, ascending, each in (0, sample_rate / 2].
    amps : tuple of float
        Linear peak amplitudes, ascending.
    waveforms : tuple of str
        Names out of `WAVEFORMS`; timbre is the index into this tuple.
    """

    sample_rate: int
    n_samples: int
    freqs: tuple[float, ...]
    amps: tuple[float, ...]
    waveforms: tuple[str, ...]

    @property
    def n_tones(self) -> int:
        return len(self.freqs) * len(self.amps) * len(self.waveforms)

    @cached_property
    def values(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The levels of timbre (class index), amplitude and frequency in physical units, in `FACTOR_NAMES` order."""
        return np.arange(len(self.waveforms), dtype=float), np.array(self.amps), np.array(self.freqs)

    def levels(self, rows: np.ndarray) -> np.ndarray:
        """Level index of every factor for the given rows: int32 (len(rows), 3), in `FACTOR_NAMES` order."""
        rest, timbre = np.divmod(rows, len(self.waveforms))
        frequency, amplitude = np.divmod(rest, len(self.amps))
        return np.stack([timbre, amplitude, frequency], axis=1).astype(np.int32)

    def physical(self, rows: np.ndarray) -> np.ndarray:
        """The same in physical units: float64 (len(rows), 3)."""
        levels = self.levels(rows)
        return np.stack([values[levels[:, k]] for k, values in enumerate(self.values)], axis=1)


def unit_tone(waveform: str, freq: float, *, sample_rate: int, n_samples: int) -> np.ndarray:
    """One tone of amplitude 1 that starts at phase 0.

    Parameters
    ----------
    waveform : str
        A name out of `WAVEFORMS`.
    freq : float
        Hz.
    sample_rate : int
        Hz.
    n_samples : int
        Length in samples.

    Returns
    -------
    ndarray, float32 (n_samples,), in [-1, 1]
    """
    cycles = np.arange(n_samples, dtype=np.float64)
    cycles *= freq
    cycles /= sample_rate  # freq * n is exact for whole frequencies, so whole cycles stay whole
    cycles -= np.floor(cycles)
    return WAVEFORMS[waveform](cycles).astype(np.float32)


def render(grid: Grid, *, block_bytes: int = BLOCK_BYTES) -> Iterator[np.ndarray]:
    """Render the grid in order, in blocks of bounded size.

    A tone is its unit tone times its amplitude, so each waveform is computed once per frequency.

    Yields
    ------
    ndarray, float32 (n, n_samples)
        The next n rows; together they are all of `grid.n_tones`. A block holds `block_bytes`, or one amplitude of one
        frequency where that is more.
    """
    amps = np.array(grid.amps, dtype=np.float32)
    shape = dict(sample_rate=grid.sample_rate, n_samples=grid.n_samples)
    amps_per_block = max(1, block_bytes // (4 * len(grid.waveforms) * grid.n_samples))
    for freq in grid.freqs:
        units = np.stack([unit_tone(waveform, freq, **shape) for waveform in grid.waveforms])
        for start in range(0, len(amps), amps_per_block):
            block = amps[start:start + amps_per_block, None, None] * units
            yield block.reshape(-1, grid.n_samples)


def twins(grid: Grid) -> list[tuple[str, str, float]]:
    """Pairs of waveforms whose tones of equal amplitude have the same spectrum, so that nothing tells them apart, and the
    frequency in Hz where they do.

    That needs few samples per period: two (half the sample rate) to four are looked at.
    """
    found = []
    for freq in grid.freqs:
        if grid.sample_rate / freq not in (2, 3, 4):
            continue
        period = round(grid.sample_rate / freq)
        spectra = {waveform: np.abs(np.fft.rfft(unit_tone(waveform, freq, sample_rate=grid.sample_rate, n_samples=period)))
                   for waveform in grid.waveforms}
        found += [(one, other, freq) for one, other in itertools.combinations(grid.waveforms, 2)
                  if np.allclose(spectra[one], spectra[other], atol=1e-5)]
    return found


def warnings_for(grid: Grid) -> list[str]:
    """One line each for what a user should know before citing scores on this grid: silent tones, the Nyquist limit, and
    waveforms that coincide."""
    messages = []
    nyquist = grid.sample_rate / 2
    shape = dict(sample_rate=grid.sample_rate, n_samples=grid.n_samples)
    # Only a tone whose every sample falls on a zero of its waveform is silent; that needs few samples per period or
    # very few samples at all, so the ends of the grid are enough to look at.
    silent = [(waveform, freq) for freq in sorted({grid.freqs[0], grid.freqs[-1]}) for waveform in grid.waveforms
              if np.abs(unit_tone(waveform, freq, **shape)).max() < 1e-6]
    for waveform, freq in silent:
        messages.append(f"{len(grid.amps)} {waveform} tones at {freq:g} Hz are silent: every sample falls on a zero")
    if grid.freqs[-1] >= nyquist:
        messages.append(f"frequency {grid.freqs[-1]:g} Hz is half the sample rate, where a tone has no partial but its "
                        f"fundamental; a --freq_end below {nyquist:g} avoids it")
    for one, other, freq in twins(grid):
        messages.append(f"{one} and {other} tones at {freq:g} Hz have the same spectrum and cannot be told apart")
    return messages
