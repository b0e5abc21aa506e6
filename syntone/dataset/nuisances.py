"""Factors beyond timbre, amplitude and frequency, and nuisances.

A factor takes the same levels in every combination and is in the labels; a nuisance is drawn for every tone and is in
no label. Both are in physical units: phase in cycles, attack and onset in seconds, vibrato and detuning in cents,
brightness in dB per octave, noise in dB against the tone's RMS.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Factor:
    """An extra factor: its unit, the lowest and highest value it may take, and a line for `--help`."""

    unit: str
    lowest: float
    highest: float
    meaning: str


# All are ordered. Phase runs on a circle: its levels lie on a line from START to END only as long as they stay within
# one turn, and a score that uses their order takes the two ends for far apart.
FACTORS: dict[str, Factor] = {
    "phase": Factor("cycles", 0.0, 1.0, "cycles at the onset (0 and 1 are the same: END - START is below 1)"),
    "attack": Factor("s", 0.0, 60.0, "seconds over which the level rises linearly from 0"),
    "vibrato": Factor("cents", 0.0, 1200.0, "cents from the mean to the highest frequency, at 5.5 Hz"),
    "brightness": Factor("dB/octave", -48.0, 48.0, "spectral tilt in dB per octave above the fundamental"),
    "noise": Factor("dB", -200.0, 60.0, "level of white noise in dB against the tone's RMS"),
}


def tone_generator(seed: int, row: int) -> np.random.Generator:
    """The generator of one tone: a tone depends on the seed and its own row, not on the block it is rendered in."""
    return np.random.default_rng([seed, row])


def draw_nuisance(
    *, random_phase: bool, onset_jitter: float, detune_cents: float, generator: np.random.Generator
) -> tuple[float, float, float]:
    """Draw uniformly: phase from a whole turn, onset from [0, onset_jitter] s, detuning from +- detune_cents.

    Three numbers are drawn whatever is asked for, so that one nuisance does not move another.
    """
    turn, late, off = generator.random(3).tolist()
    return turn if random_phase else 0.0, late * onset_jitter, (2 * off - 1) * detune_cents


def envelope(*, n_samples: int, sample_rate: int, onset: float, attack: float) -> np.ndarray:
    """Level over time: 0 before the onset, then a linear rise to 1 over `attack` seconds. float32 (n_samples,)."""
    since = np.arange(n_samples) / sample_rate - onset
    risen = np.minimum(since / attack, 1.0) if attack else np.ones(n_samples)
    return np.where(since < 0, 0.0, risen).astype(np.float32)


def add_noise(tone: np.ndarray, *, noise_db: float, generator: np.random.Generator) -> np.ndarray:
    """The tone (T,) with white Gaussian noise whose expected power lies `noise_db` above the tone's own mean power."""
    rms = np.sqrt(np.mean(np.square(tone, dtype=np.float64)))
    noise = generator.standard_normal(len(tone), dtype=np.float32)
    return tone + noise * np.float32(rms * 10 ** (noise_db / 20))
