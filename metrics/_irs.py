"""IRS: interventional robustness score of Suter et al."""

import numpy as np

from ._metric import Row, mean_over_latents, metric
from ._rows import levels_to_fix
from ._validation import Sample

QUANTILE = 0.99  # of the deviations within a level, as in the published code; the maximum depends on one sample


def irs_per_latent(sample: Sample) -> np.ndarray:
    """(number of active latents,) largest interventional robustness over factors, in [0, 1]."""
    codes = sample.standardised[:, sample.active]
    if not codes.shape[1]:
        return np.empty(0)
    largest = np.abs(codes).max(axis=0)
    robustness = np.empty((sample.n_factors, codes.shape[1]))
    for k, levels in enumerate(levels_to_fix(sample)):
        groups = [group for group in np.split(codes[levels.order], np.unique(levels.start)[1:]) if len(group) >= 2]
        deviations = [np.abs(group - group.mean(axis=0)) for group in groups]
        # The inverted distribution function, unlike interpolation, does not change when every row is doubled.
        quantiles = [np.quantile(deviation, QUANTILE, axis=0, method="inverted_cdf") for deviation in deviations]
        robustness[k] = 1.0 - np.mean(quantiles, axis=0) / largest
    return np.clip(robustness.max(axis=0), 0.0, 1.0)


@metric("IRS", factors=2, repeated_levels=1)
def irs(sample: Sample) -> Row:
    """Interventional robustness: is a latent constant while its factor is fixed and the other factors vary?

    Codes are not binned. The metric is deterministic.

    Returns
    -------
    float in [0, 1], mean over active latents of the best factor's 1 - deviation; 0 if none is active.

    Notes
    -----
    Suter et al. 2019, "Robustly Disentangled Causal Mechanisms". The deviation of latent j under factor k is the 0.99
    quantile of |z_j - mean of its level|, mean over the levels of k that have two rows, over the largest
    |z_j - mean of all|. The published code weights latents by that largest deviation, so its score depends on the
    latents' units. Here inactive latents are left out, and the others have equal weights.
    """
    return mean_over_latents(irs_per_latent(sample))
