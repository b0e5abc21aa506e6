"""Tones with known factors: the grid of all combinations, its rendering in blocks, and warnings about it.

Conventions: frequencies in Hz, amplitudes are linear, sample n is at time n / sample_rate. Imports numpy alone, so that
creating a dataset starts at once.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from syntone.dataset.file import BLOCK_BYTES, Blocks, Plan, dataset_members
from syntone.dataset.nuisances import add_noise, draw_nuisance, envelope, tone_generator
from syntone.dataset.oscillators import n_partials, unit_tone

CACHE_BYTES = 16 * 2**20  # unit tones kept while only the amplitude changes
FACTOR_NAMES = ("timbre", "amplitude", "frequency")
FACTOR_KINDS = ("nominal", "ordered", "ordered")


@dataclass(frozen=True)
class Grid:
    """Every combination of the factor levels once.

    Frequency is outermost, then amplitude, waveform, and extra factors in their order, the last one changing fastest.

    Parameters
    ----------
    sample_rate : Hz
    n_samples : length T of each tone
    freqs : Hz, ascending, each in (0, sample_rate / 2]
    amps : linear amplitudes, ascending
    waveforms : names out of `WAVEFORMS`; timbre is the index into this tuple
    extra : extra factors, (name out of `nuisances.FACTORS`, ascending levels in its unit)
    oscillator, level : see `oscillators.unit_tone`
    random_phase, onset_jitter, detune_cents : nuisances drawn for every tone, see `nuisances.draw_nuisance`
    snr_db : white noise so many dB below every tone's RMS
    seed : random seed of the nuisances
    """

    sample_rate: int
    n_samples: int
    freqs: tuple[float, ...]
    amps: tuple[float, ...]
    waveforms: tuple[str, ...]
    extra: tuple[tuple[str, tuple[float, ...]], ...] = ()
    oscillator: str = "naive"
    level: str = "peak"
    random_phase: bool = False
    onset_jitter: float = 0.0
    detune_cents: float = 0.0
    snr_db: float | None = None
    seed: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers of levels from the outermost to the innermost."""
        return len(self.freqs), len(self.amps), len(self.waveforms), *(len(levels) for _, levels in self.extra)

    @property
    def n_tones(self) -> int:
        return int(np.prod(self.shape, dtype=object))

    @property
    def factor_names(self) -> tuple[str, ...]:
        return *FACTOR_NAMES, *(name for name, _ in self.extra)

    @property
    def factor_kinds(self) -> tuple[str, ...]:
        return *FACTOR_KINDS, *("ordered" for _ in self.extra)

    @cached_property
    def values(self) -> tuple[np.ndarray, ...]:
        """The levels of every factor in physical units (timbre: class index), in the order of `factor_names`."""
        return (
            np.arange(len(self.waveforms), dtype=float),
            np.array(self.amps),
            np.array(self.freqs),
            *(np.array(levels) for _, levels in self.extra),
        )

    def levels(self, rows: np.ndarray) -> np.ndarray:
        """Level index of every factor for the given rows: int32 (len(rows), K), in the order of `factor_names`."""
        frequency, amplitude, timbre, *extra = np.unravel_index(rows, self.shape)
        return np.stack([timbre, amplitude, frequency, *extra], axis=1).astype(np.int32)

    def physical(self, rows: np.ndarray) -> np.ndarray:
        """The same in physical units: float64 (len(rows), K)."""
        levels = self.levels(rows)
        return np.stack([values[levels[:, k]] for k, values in enumerate(self.values)], axis=1)

    @property
    def draws(self) -> bool:
        """Whether a tone holds anything random, so that no two tones share a unit tone."""
        return (
            self.random_phase
            or self.onset_jitter > 0
            or self.detune_cents > 0
            or self.snr_db is not None
            or "noise" in self.factor_names
        )

    @property
    def may_clip(self) -> bool:
        """Whether a sample may exceed 1: a naive oscillator of peak level cannot, up to amplitude 1."""
        return self.amps[-1] > 1 or self.level == "rms" or self.oscillator != "naive" or self.draws


def render_tone(grid: Grid, row: int, *, unit=unit_tone) -> np.ndarray:
    """Return one row of a grid, float32 (n_samples,): unit tone times amplitude, then the envelope, then noise."""
    timbre, amplitude, frequency, *_ = grid.levels(np.array([row]))[0]
    extra = dict(zip(grid.factor_names[3:], grid.physical(np.array([row]))[0, 3:].tolist()))
    generator = tone_generator(grid.seed, row) if grid.draws else None
    phase, onset, detune = extra.get("phase", 0.0), 0.0, 0.0
    if generator is not None:
        drawn = draw_nuisance(
            random_phase=grid.random_phase,
            onset_jitter=grid.onset_jitter,
            detune_cents=grid.detune_cents,
            generator=generator,
        )
        phase, onset, detune = phase + drawn.phase, drawn.onset, drawn.detune
    tone = unit(
        grid.waveforms[timbre],
        grid.freqs[frequency] * 2 ** (detune / 1200),
        sample_rate=grid.sample_rate,
        n_samples=grid.n_samples,
        oscillator=grid.oscillator,
        level=grid.level,
        phase=phase,
        onset=onset,
        vibrato=extra.get("vibrato", 0.0),
        brightness=extra.get("brightness", 0.0),
    )
    tone = np.float32(grid.amps[amplitude]) * tone
    attack = extra.get("attack", 0.0)
    if onset or attack:
        tone = tone * envelope(n_samples=grid.n_samples, sample_rate=grid.sample_rate, onset=onset, attack=attack)
    for noise_db in (-grid.snr_db if grid.snr_db is not None else None, extra.get("noise")):
        if noise_db is not None:
            tone = add_noise(tone, noise_db=noise_db, generator=generator)
    return tone


def render(grid: Grid, *, block_bytes: int = BLOCK_BYTES) -> Iterator[np.ndarray]:
    """Yield all rows of the grid in order, in blocks (n, n_samples) float32 of at most `block_bytes` or one tone.

    Where nothing but timbre, amplitude and frequency varies, each waveform is computed once per frequency and scaled;
    a block then holds one amplitude of one frequency at least.
    """
    if grid.extra or grid.draws:
        yield from _render_by_row(grid, block_bytes=block_bytes)
        return
    amps = np.array(grid.amps, dtype=np.float32)
    tone = functools.partial(
        unit_tone, sample_rate=grid.sample_rate, n_samples=grid.n_samples, oscillator=grid.oscillator, level=grid.level
    )
    amps_per_block = max(1, block_bytes // (4 * len(grid.waveforms) * grid.n_samples))
    for freq in grid.freqs:
        units = np.stack([tone(waveform, freq) for waveform in grid.waveforms])
        for start in range(0, len(amps), amps_per_block):
            block = amps[start : start + amps_per_block, None, None] * units
            yield block.reshape(-1, grid.n_samples)


def _render_by_row(grid: Grid, *, block_bytes: int) -> Iterator[np.ndarray]:
    n_cached = 0 if grid.draws else max(1, CACHE_BYTES // (4 * grid.n_samples))
    unit = functools.lru_cache(maxsize=n_cached)(unit_tone) if n_cached else unit_tone
    rows_per_block = min(grid.n_tones, max(1, block_bytes // (4 * grid.n_samples)))
    for start in range(0, grid.n_tones, rows_per_block):
        rows = range(start, min(start + rows_per_block, grid.n_tones))
        yield np.stack([render_tone(grid, row, unit=unit) for row in rows])


def plan_tones(grid: Grid, recipe: dict) -> Plan:
    """Return the plan of a grid's file. Labels and waves come as blocks, so no grid is too large for memory."""
    n, k = grid.n_tones, len(grid.factor_names)

    def per_row(dtype: type, shape: tuple[int, ...], compute: Callable[[np.ndarray], np.ndarray]) -> Blocks:
        rows = (np.arange(start, min(start + 2**15, n)) for start in range(0, n, 2**15))
        return Blocks(shape, np.dtype(dtype), map(compute, rows))

    sizes = [f"{len(grid.freqs)} frequencies", f"{len(grid.amps)} amplitudes", f"{len(grid.waveforms)} waveforms"]
    sizes += [f"{len(levels)} levels of {name}" for name, levels in grid.extra]
    members = dataset_members(
        x=Blocks((n, grid.n_samples), np.dtype(np.float32), render(grid)),
        factors=per_row(np.int32, (n, k), grid.levels),
        factor_values=per_row(np.float64, (n, k), grid.physical),
        factor_names=grid.factor_names,
        factor_kinds=grid.factor_kinds,
        sample_rate=grid.sample_rate,
        recipe=recipe,
        y=per_row(np.int64, (n,), lambda rows: grid.levels(rows)[:, 0]),
        classes=grid.waveforms,
        freqs=per_row(np.float64, (n,), lambda rows: grid.physical(rows)[:, 2]),
        amps=per_row(np.float64, (n,), lambda rows: grid.physical(rows)[:, 1]),
    )
    return Plan(recipe, members, " x ".join(sizes), warnings_for(grid), grid.may_clip)


def twins(grid: Grid) -> list[tuple[str, str, float]]:
    """Return pairs of waveforms whose naive tones of equal amplitude have the same spectrum, and that frequency in Hz.

    That needs few samples per period: two (half the sample rate) to four are looked at.
    """
    found = []
    for freq in grid.freqs:
        if grid.sample_rate / freq not in (2, 3, 4):
            continue
        period = round(grid.sample_rate / freq)
        spectra = {
            waveform: np.abs(np.fft.rfft(unit_tone(waveform, freq, sample_rate=grid.sample_rate, n_samples=period)))
            for waveform in grid.waveforms
        }
        found += [
            (one, other, freq)
            for one, other in itertools.combinations(grid.waveforms, 2)
            if np.allclose(spectra[one], spectra[other], atol=1e-5)
        ]
    return found


def warnings_for(grid: Grid) -> list[str]:
    """Return one line each for silent tones, tones at the Nyquist limit, and waveforms that coincide."""
    messages = []
    nyquist = grid.sample_rate / 2
    shape = dict(sample_rate=grid.sample_rate, n_samples=grid.n_samples, oscillator=grid.oscillator)
    # Only a tone whose every sample falls on a zero of its waveform is silent; that needs few samples per period or
    # very few samples at all, so the ends of the grid are enough to look at.
    varied = grid.random_phase or grid.detune_cents or {"phase", "vibrato"} & set(grid.factor_names)
    count = grid.n_tones // (len(grid.freqs) * len(grid.waveforms))
    for freq, waveform in itertools.product(sorted({grid.freqs[0], grid.freqs[-1]}), grid.waveforms):
        if not varied and np.abs(unit_tone(waveform, freq, **shape)).max() < 1e-6:
            messages.append(f"{count} {waveform} tones at {freq:g} Hz are silent: every sample falls on a zero")
    if grid.freqs[-1] >= nyquist:
        messages.append(
            f"frequency {grid.freqs[-1]:g} Hz is half the sample rate, where a tone has no partial but its "
            f"fundamental; a lower highest frequency avoids it"
        )
    for one, other, freq in twins(grid) if grid.oscillator == "naive" and not varied else []:
        messages.append(f"{one} and {other} tones at {freq:g} Hz have the same spectrum and cannot be told apart")
    for waveform in grid.waveforms if grid.oscillator == "bandlimited" else ():
        alone = [freq for freq in grid.freqs if n_partials(waveform, freq, sample_rate=grid.sample_rate) == 1]
        if alone and waveform != "sine":
            messages.append(
                f"band-limited {waveform} tones keep no partial but the fundamental at {len(alone)} of "
                f"{len(grid.freqs)} frequencies, where they differ from sines in level alone; a lower highest "
                f"frequency avoids it"
            )
    if "brightness" in grid.factor_names and "sine" in grid.waveforms:
        messages.append("a sine has one partial, so brightness changes nothing in it; leave sines out")
    return messages
