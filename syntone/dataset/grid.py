"""Grids of tones: all combinations of factor levels, rendering in blocks, and warnings.

Conventions: frequencies in Hz, linear amplitudes, sample n at time n / sample_rate.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from syntone.dataset.file import Blocks, dataset_members
from syntone.dataset.nuisances import add_noise, draw_nuisance, envelope, tone_generator
from syntone.dataset.oscillators import n_partials, unit_tone
from syntone.dataset.recipe import Plan
from syntone.dataset.validation import BLOCK_BYTES

GENERATOR_VERSION = 1  # increased whenever the same options give other tones
CACHE_BYTES = 16 * 2**20  # unit tones kept while only the amplitude changes


@dataclass(frozen=True)
class Grid:
    """All combinations of factor levels, each once.

    Rows are ordered by frequency, then amplitude, waveform and extra factors; the last factor changes fastest.

    Parameters
    ----------
    sample_rate : Hz
    n_samples : length T of each tone
    freqs : Hz, ascending, each in (0, sample_rate / 2]
    amps : linear amplitudes, ascending
    waveforms : names out of `WAVEFORMS`; timbre is the index into this tuple
    extra : extra factors, (name out of `nuisances.FACTORS`, ascending levels in its unit)
    oscillator, level : see `oscillators.unit_tone`
    random_phase, onset_jitter, detune_cents : random nuisances of each tone, see `nuisances.draw_nuisance`
    snr_db : ratio of each tone's power to its white noise, dB
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
        return math.prod(self.shape)

    @property
    def factor_names(self) -> tuple[str, ...]:
        return "timbre", "amplitude", "frequency", *(name for name, _ in self.extra)

    @property
    def factor_kinds(self) -> tuple[str, ...]:
        return "nominal", *("ordered" for _ in self.factor_names[1:])

    @functools.cached_property
    def values(self) -> tuple[np.ndarray, ...]:
        """The levels of every factor in physical units (timbre: class index), in the order of `factor_names`."""
        extra = [np.array(levels) for _, levels in self.extra]
        return np.arange(len(self.waveforms), dtype=float), np.array(self.amps), np.array(self.freqs), *extra

    def levels(self, rows: np.ndarray) -> np.ndarray:
        """Return the level indices of rows: int32 (len(rows), K), in the order of `factor_names`."""
        frequency, amplitude, timbre, *extra = np.unravel_index(rows, self.shape)
        return np.stack([timbre, amplitude, frequency, *extra], axis=1).astype(np.int32)

    def physical(self, rows: np.ndarray) -> np.ndarray:
        """Return the levels of rows in physical units: float64 (len(rows), K)."""
        return np.stack([values[level] for values, level in zip(self.values, self.levels(rows).T)], axis=1)

    @property
    def draws(self) -> bool:
        """Whether tones have random properties, so that they do not share unit tones."""
        noisy = self.snr_db is not None or "noise" in self.factor_names
        return noisy or self.random_phase or self.onset_jitter > 0 or self.detune_cents > 0

    @functools.cached_property
    def unit(self) -> Callable[..., np.ndarray]:
        """`unit_tone` with the options that all tones share."""
        shared = dict(sample_rate=self.sample_rate, n_samples=self.n_samples, oscillator=self.oscillator)
        return functools.partial(unit_tone, **shared, level=self.level)


def render_tone(grid: Grid, row: int, *, unit: Callable[..., np.ndarray]) -> np.ndarray:
    """Return one row of a grid, float32 (n_samples,): unit tone times amplitude, then the envelope, then noise.

    `unit` is `grid.unit` or a cache of it.
    """
    frequency, amplitude, timbre, *places = np.unravel_index(row, grid.shape)
    extra = {"phase": 0.0, "attack": 0.0, "vibrato": 0.0, "brightness": 0.0, "noise": None}
    extra |= {name: levels[place] for (name, levels), place in zip(grid.extra, places)}
    phase, onset, detune, generator = extra["phase"], 0.0, 0.0, None
    if grid.draws:
        generator = tone_generator(grid.seed, row)
        options = dict(random_phase=grid.random_phase, onset_jitter=grid.onset_jitter, detune_cents=grid.detune_cents)
        turn, onset, detune = draw_nuisance(**options, generator=generator)
        phase += turn
    freq = grid.freqs[frequency] * 2 ** (detune / 1200)
    moved = dict(phase=phase, onset=onset, vibrato=extra["vibrato"], brightness=extra["brightness"])
    tone = np.float32(grid.amps[amplitude]) * unit(grid.waveforms[timbre], freq, **moved)
    attack = extra["attack"]
    if onset or attack:
        tone = tone * envelope(n_samples=grid.n_samples, sample_rate=grid.sample_rate, onset=onset, attack=attack)
    for noise_db in (None if grid.snr_db is None else -grid.snr_db, extra["noise"]):
        if noise_db is not None:
            tone = add_noise(tone, noise_db=noise_db, generator=generator)
    return tone


def render(grid: Grid, *, block_bytes: int = BLOCK_BYTES) -> Iterator[np.ndarray]:
    """Yield all rows of the grid in order, in blocks (n, n_samples) float32 of at most `block_bytes` or one tone.

    If only timbre, amplitude and frequency vary, each waveform is computed once per frequency and scaled. A block then
    contains at least one amplitude of one frequency.
    """
    tones_per_block = max(1, block_bytes // (4 * grid.n_samples))
    if grid.extra or grid.draws:
        n_cached = 0 if grid.draws else max(1, CACHE_BYTES // (4 * grid.n_samples))
        unit = functools.lru_cache(n_cached)(grid.unit)
        for start in range(0, grid.n_tones, tones_per_block):
            rows = range(start, min(start + tones_per_block, grid.n_tones))
            yield np.stack([render_tone(grid, row, unit=unit) for row in rows])
        return
    amps, amps_per_block = np.array(grid.amps, dtype=np.float32), max(1, tones_per_block // len(grid.waveforms))
    for freq in grid.freqs:
        units = np.stack([grid.unit(waveform, freq) for waveform in grid.waveforms])
        for start in range(0, len(amps), amps_per_block):
            block = amps[start : start + amps_per_block, None, None] * units
            yield block.reshape(-1, grid.n_samples)


def plan_tones(grid: Grid, options: dict) -> Plan:
    """Return the plan of a grid's file. Labels and waveforms are blocks, so a grid may be larger than memory."""
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
        recipe={"generator": "create.py", "generator_version": GENERATOR_VERSION} | options,
        y=per_row(np.int64, (n,), lambda rows: grid.levels(rows)[:, 0]),
        classes=grid.waveforms,
        freqs=per_row(np.float64, (n,), lambda rows: grid.physical(rows)[:, 2]),
        amps=per_row(np.float64, (n,), lambda rows: grid.physical(rows)[:, 1]),
    )
    return Plan(members, " x ".join(sizes), warnings_for(grid))


def twins(grid: Grid) -> list[tuple[str, str, float]]:
    """Return pairs of waveforms whose naive tones have equal spectra, and the frequency in Hz.

    This happens at few samples per period; two (half the sample rate) to four are checked.
    """
    found = []
    for freq in grid.freqs:
        period = grid.sample_rate / freq
        if period not in (2, 3, 4):
            continue
        one_period = dict(sample_rate=grid.sample_rate, n_samples=int(period))
        spectra = [np.abs(np.fft.rfft(unit_tone(waveform, freq, **one_period))) for waveform in grid.waveforms]
        for (one, spectrum), (other, another) in itertools.combinations(zip(grid.waveforms, spectra), 2):
            if np.allclose(spectrum, another, atol=1e-5):
                found.append((one, other, freq))
    return found


def warnings_for(grid: Grid) -> list[str]:
    """Return one line per warning: silent tones, tones at the Nyquist frequency, equal waveforms, unused options."""
    messages = []
    # A tone is silent only if all samples fall on zeros of its waveform: at few samples per period, or few samples in
    # all. The lowest and highest frequency are therefore enough.
    varied = grid.random_phase or grid.detune_cents or {"phase", "vibrato"} & set(grid.factor_names)
    count = grid.n_tones // (len(grid.freqs) * len(grid.waveforms))
    for freq, waveform in itertools.product(sorted({grid.freqs[0], grid.freqs[-1]}), grid.waveforms):
        if not varied and np.abs(grid.unit(waveform, freq)).max() < 1e-6:
            messages.append(f"{count} {waveform} tones at {freq:g} Hz are silent: all samples fall on zeros")
    if grid.freqs[-1] >= grid.sample_rate / 2:
        messages.append(
            f"frequency {grid.freqs[-1]:g} Hz is half the sample rate, where tones consist of the fundamental only; "
            f"choose a lower highest frequency"
        )
    for one, other, freq in twins(grid) if grid.oscillator == "naive" and not varied else []:
        messages.append(f"{one} and {other} tones at {freq:g} Hz have the same spectrum and cannot be distinguished")
    for waveform in grid.waveforms if grid.oscillator == "bandlimited" else ():
        alone = sum(n_partials(waveform, freq, sample_rate=grid.sample_rate) == 1 for freq in grid.freqs)
        if alone and waveform != "sine":
            messages.append(
                f"band-limited {waveform} tones consist of the fundamental only at {alone} of {len(grid.freqs)} "
                f"frequencies, where they differ from sines in amplitude only; choose a lower highest frequency"
            )
    if grid.seed and not grid.draws:
        messages.append("these tones have no random properties, so the random seed has no effect")
    if "brightness" in grid.factor_names and "sine" in grid.waveforms:
        messages.append("brightness has no effect on sines, which have one partial; leave sines out")
    return messages
