"""InfoMEC: modularity, explicitness and compactness from one normalised information matrix."""

from typing import NamedTuple

import numpy as np

from ._explicitness import logistic_fits
from ._metric import Row, mean_over_factors, mean_over_latents, metric
from ._mutual_information import estimate_information, miller_madow
from ._rows import MAX_ROWS
from ._validation import Sample, discretise


class InfoMEC(NamedTuple):
    """Modularity, explicitness and compactness, each in [0, 1]; larger is better."""

    modularity: float
    explicitness: float
    compactness: float


def concentration(matrix: np.ndarray) -> np.ndarray:
    """(max / sum - 1/C) / (1 - 1/C) of every row; (R, C) -> (R,), 0 for an empty row and for C < 2 (no choice)."""
    n_columns = matrix.shape[1]
    if n_columns < 2:
        return np.zeros(len(matrix))
    total = matrix.sum(axis=1)
    share = np.where(total > 0.0, matrix.max(axis=1) / np.where(total > 0.0, total, 1.0), 1.0 / n_columns)
    return (share - 1.0 / n_columns) / (1.0 - 1.0 / n_columns)


def concentrations(share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Concentration of normalised information (K, J) per latent on one factor, and per factor on one latent."""
    return concentration(share.T), concentration(share)


def normalised_information(sample: Sample) -> np.ndarray:
    """(K, J) share of each factor's entropy in each active latent; see `infomec`."""
    binned = discretise(sample.codes, sample.n_bins, sample.rounding)
    share = []
    for j in np.flatnonzero(sample.active):
        values, latent = np.unique(sample.codes[:, j], return_inverse=True)
        continuous = len(values) > sample.n_bins
        latent = binned[:, j] if continuous else latent
        share.append([miller_madow(factor, latent, corrected=continuous) for factor in sample.classes.T])
    entropy = estimate_information(sample).entropy
    return np.array(share).reshape(-1, sample.n_factors).T / entropy[:, None]


@metric("InfoMEC", factors=2, latents=2, n_rows=10, repeated_levels=2, bins_codes=True, returns=InfoMEC)
def infomec(sample: Sample, *, max_rows: int = MAX_ROWS, seed: int = 0) -> tuple[Row, Row, Row]:
    """InfoMEC: modularity, explicitness and compactness from one normalised information matrix.

    Returns
    -------
    InfoMEC, each in [0, 1]. With n_kj = I_kj / H_k over the J active latents: modularity is the mean over latents of
    max_k n / sum_k n, compactness that over factors of max_j n / sum_j n, both rescaled so that an even spread scores
    0; explicitness is the share of H_k that a multinomial logistic regression explains on held-out rows (at least 0),
    mean over factors. A latent or factor without information adds 0 to its mean. With fewer than two active latents,
    compactness is 0.

    Notes
    -----
    Hsu et al. 2023, "Disentanglement via Latent Quantization". For a discrete latent (at most `n_bins` values), I_kj is
    the plug-in estimate, as in the authors' code. A continuous latent is binned, where the authors use nearest
    neighbours. The Miller-Madow correction then removes the bias that gives noise information. No other metric is
    corrected. Explicitness is held out here and in-sample there; it uses a discrete latent as one number, where theirs
    has a weight for each value. Only explicitness draws rows; the other two use every row.
    """
    modularity, compactness = concentrations(normalised_information(sample))
    cross_entropy = np.array([fit.cross_entropy for fit in logistic_fits(sample, seed=seed, max_rows=max_rows)])
    explicitness = np.clip(1.0 - cross_entropy / estimate_information(sample).entropy, 0.0, 1.0)
    return mean_over_latents(modularity), mean_over_factors(explicitness), mean_over_factors(compactness)
