"""The FactorVAE score of Kim and Mnih: a majority vote of the latents with the smallest variance."""

from functools import partial

import numpy as np

from ._metric import Row, mean_over_factors, metric
from ._rows import BATCH_SIZE, Levels, draw_first, draw_points, in_blocks
from ._validation import EDGE, Sample

ZERO_SPREAD = 1e-13  # of equal values after standardising, relative to them; rounding leaves about 1e-15


def _votes(codes: np.ndarray, levels: Levels, generator: np.random.Generator, *, rounding: np.ndarray) -> np.ndarray:
    """(N_TRAIN + N_TEST,) latent of the smallest variance in BATCH_SIZE rows that share a level."""
    first = draw_first(levels, 1, generator)
    place = generator.integers(levels.count[first], size=(len(first), BATCH_SIZE))
    batch = levels.order[levels.start[first] + place]
    return in_blocks(lambda rows: _least_varying(codes[rows], rounding), batch)


def _least_varying(values: np.ndarray, rounding: np.ndarray) -> np.ndarray:
    """(B,) latent of the smallest variance in each of (B, BATCH_SIZE, D) batches, the first of equal ones."""
    variance = values.var(axis=1)
    variance[variance <= (ZERO_SPREAD * np.abs(values).max(axis=1)) ** 2] = 0.0
    # Equal variances may differ by rounding, also of the codes; the choice must not depend on the fixed factor.
    spread = np.sqrt(variance)
    return np.argmax(spread <= spread.min(axis=1, keepdims=True) * (1.0 + EDGE / 2) + rounding, axis=1)


@metric("FactorVAE score", factors=2, repeated_levels=1)
def factor_vae_score(sample: Sample, *, seed: int = 0) -> Row:
    """FactorVAE score: accuracy with which the latent of smallest variance identifies the fixed factor.

    Codes are not binned, and inactive latents are left out. The factors need not form a full grid. Each of 1,500 votes
    per factor (1,000 for the majority, 500 held out) uses 64 rows that share a level of the fixed factor.

    Returns
    -------
    float in [0, 1], held-out accuracy. The chance level is 1/K, which is also the score without active latents.

    Notes
    -----
    Kim and Mnih 2018, "Disentangling by Factorising". Variances are relative to each latent's own.
    """
    if not sample.active.any():
        return mean_over_factors(np.full(sample.n_factors, 1.0 / sample.n_factors))
    rounding = sample.rounding[sample.active] / sample.codes[:, sample.active].std(axis=0)
    fitted, held_out = draw_points(sample, partial(_votes, rounding=rounding), seed=seed)
    majority = np.stack([np.bincount(votes, minlength=sample.active.sum()) for votes in fitted]).argmax(axis=0)
    return mean_over_factors(np.mean(majority[held_out] == np.arange(sample.n_factors)[:, None], axis=1))
