"""Extra factors of tones besides timbre, amplitude and frequency, and nuisances.

The labels contain the level of every factor. A nuisance is random for each tone and is not in the labels. Units: phase
in cycles, attack and onset in seconds, vibrato and detuning in cents, brightness in dB per octave, noise in dB relative
to the tone's RMS.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Factor:
    """An extra factor: unit, range of values, and text for `--help`."""

    unit: str
    lowest: float
    highest: float
    meaning: str


# All are ordered. Phase is circular: scores that use the order of levels treat START and END as far apart.
FACTORS: dict[str, Factor] = {
    "phase": Factor("cycles", 0.0, 1.0, "phase at the onset, cycles (END - START below 1)"),
    "attack": Factor("s", 0.0, 60.0, "linear rise from 0, seconds"),
    "vibrato": Factor("cents", 0.0, 1200.0, "mean to highest frequency, cents, at 5.5 Hz"),
    "brightness": Factor("dB/octave", -48.0, 48.0, "spectral tilt above the fundamental, dB/octave"),
    "noise": Factor("dB", -200.0, 60.0, "white noise, dB relative to the tone's RMS"),
}
UNITS = {"frequency": "Hz", "amplitude": "linear"} | {name: factor.unit for name, factor in FACTORS.items()}


def tone_generator(seed: int, row: int) -> np.random.Generator:
    """Return the random generator of one tone, which depends on the seed and the row only."""
    return np.random.default_rng([seed, row])


def draw_nuisance(
    *, random_phase: bool, onset_jitter: float, detune_cents: float, generator: np.random.Generator
) -> tuple[float, float, float]:
    """Draw uniformly: phase from a whole turn, onset from [0, onset_jitter] s, detuning from +- detune_cents.

    Three numbers are always drawn, so each nuisance is independent of the other options.
    """
    turn, late, off = generator.random(3).tolist()
    return turn if random_phase else 0.0, late * onset_jitter, (2 * off - 1) * detune_cents


def envelope(*, n_samples: int, sample_rate: int, onset: float, attack: float) -> np.ndarray:
    """Return the envelope, float32 (n_samples,): 0 before the onset, then a linear rise to 1 over `attack` seconds."""
    since = np.arange(n_samples) / sample_rate - onset
    risen = np.minimum(since / attack, 1.0) if attack else np.ones(n_samples)
    return np.where(since < 0, 0.0, risen).astype(np.float32)


def add_noise(tone: np.ndarray, *, noise_db: float, generator: np.random.Generator) -> np.ndarray:
    """Add white Gaussian noise to a tone (T,); its expected power is `noise_db` above the tone's mean power."""
    rms = np.sqrt(np.mean(np.square(tone, dtype=np.float64)))
    noise = generator.standard_normal(len(tone), dtype=np.float32)
    return tone + noise * np.float32(rms * 10 ** (noise_db / 20))
