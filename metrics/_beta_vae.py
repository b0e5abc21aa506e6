"""The BetaVAE score of Higgins et al.: a linear classifier of the fixed factor."""

import numpy as np

from ._explicitness import INVERSE_PENALTY
from ._metric import Row, mean_over_factors, metric
from ._rows import BATCH_SIZE, N_TRAIN, Levels, draw_first, draw_points, in_blocks
from ._validation import Sample


def _pair_differences(codes: np.ndarray, levels: Levels, generator: np.random.Generator) -> np.ndarray:
    """(N_TRAIN + N_TEST, D) mean absolute difference over BATCH_SIZE pairs of different rows of one level."""
    first = draw_first(levels, BATCH_SIZE, generator)
    count = levels.count[first]
    step = generator.integers(1, count)
    second = levels.order[levels.start[first] + (levels.rank[first] + step) % count]
    return in_blocks(lambda one, other: np.abs(codes[one] - codes[other]).mean(axis=1), first, second)


@metric("BetaVAE score", factors=2, repeated_levels=1)
def beta_vae_score(sample: Sample, *, seed: int = 0) -> Row:
    """BetaVAE score: accuracy of a linear classifier that identifies the fixed factor from differences of codes.

    Codes are not binned, and inactive latents are left out. The factors need not form a full grid. Each of 1,500 points
    per factor (1,000 to fit, 500 held out) is the mean over 64 pairs of rows that share a level of the fixed factor.

    Returns
    -------
    float in [0, 1], held-out accuracy. The chance level is 1/K, which is also the score without active latents.

    Notes
    -----
    Higgins et al. 2017, "beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework". Latents
    are standardised first. Entangled codes, such as two factors in one latent, can score 1: see `self_test`.
    """
    from sklearn.linear_model import LogisticRegression

    if not sample.active.any():
        return mean_over_factors(np.full(sample.n_factors, 1.0 / sample.n_factors))
    fitted, held_out = draw_points(sample, _pair_differences, seed=seed)
    fitted = fitted.reshape(-1, fitted.shape[-1])
    mean, spread = fitted.mean(axis=0), fitted.std(axis=0)
    spread = np.where(spread > 0.0, spread, 1.0)
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000)
    model.fit((fitted - mean) / spread, np.repeat(np.arange(sample.n_factors), N_TRAIN))
    correct = [np.mean(model.predict((points - mean) / spread) == k) for k, points in enumerate(held_out)]
    return mean_over_factors(np.array(correct))
