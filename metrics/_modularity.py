"""Modularity of Ridgeway and Mozer."""

import numpy as np

from ._metric import Row, mean_over_latents, metric
from ._mutual_information import Information, estimate_information
from ._validation import Sample


def modularity_per_latent(information: Information) -> np.ndarray:
    """(D,) 1 - sum of the other factors' squared information over (K - 1) times the best one's; 0 without any."""
    squared = information.mi**2
    best = squared.max(axis=0)
    others = (squared.sum(axis=0) - best) / (np.where(best > 0.0, best, 1.0) * (squared.shape[0] - 1))
    return np.where(best > 0.0, 1.0 - others, 0.0)


@metric("Modularity", factors=2, bins_codes=True)
def modularity(sample: Sample) -> Row:
    """Modularity: does each latent depend on one factor only?

    Returns
    -------
    float in [0, 1], mean over all D latents. A latent without information (constant, inactive) scores 0.

    Notes
    -----
    Ridgeway and Mozer 2018, "Learning Deep Disentangled Embeddings with the F-Statistic Loss". Noise scores 0.5 to
    0.99: its plug-in information grows with a factor's number of levels, so one factor dominates each latent. Compare
    with the chance level (`evaluate`).
    """
    return mean_over_latents(modularity_per_latent(estimate_information(sample)))
