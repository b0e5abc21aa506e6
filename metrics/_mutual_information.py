"""Entropies and mutual information of factors and binned latents: plug-in estimates, in nats."""

from dataclasses import dataclass

import numpy as np

from ._metric import metric
from ._validation import Sample, discretise, once_per_sample

ZERO_MI = 1e-12  # nats; rounding leaves about 1e-15 where the truth is 0


@dataclass(frozen=True, eq=False)
class Information:
    """Entropies and mutual information of factors and binned codes, in nats.

    Occupancy is near 1 if an outlier moves all other samples into one of the equal-width bins.
    """

    mi: np.ndarray  # (K, D) mutual information I(v_k; z_j), at least 0; inactive columns are 0
    entropy: np.ndarray  # (K,) entropy of every factor
    joint_entropy: np.ndarray  # (K, D) entropy of the pair (v_k, z_j)
    active: np.ndarray  # (D,) bool
    occupancy: np.ndarray  # (D,) share of samples in the fullest bin, 1 for an inactive latent
    n_bins: int  # per latent

    @property
    def share(self) -> np.ndarray:
        """(K, D) mutual information as a share of the factor's entropy, in [0, 1]."""
        return self.mi / self.entropy[:, None]


def entropy_of_counts(counts: np.ndarray) -> float:
    """Plug-in entropy, in nats, of a histogram given as non-negative counts of any shape."""
    counts = counts[counts > 0].astype(np.float64)
    total = counts.sum()
    return float(np.log(total) - np.sum(counts * np.log(counts)) / total)


def miller_madow(a: np.ndarray, b: np.ndarray, *, corrected: bool = True) -> float:
    """Estimate the mutual information of two columns of class indices, in nats, at least 0.

    The Miller-Madow correction subtracts (occupied cells - occupied rows - occupied columns + 1) / 2N, the first-order
    bias of the plug-in estimate.
    """
    cells = np.unique(a * (b.max() + 1) + b, return_counts=True)[1]
    rows, columns = np.bincount(a), np.bincount(b)
    mi = entropy_of_counts(rows) + entropy_of_counts(columns) - entropy_of_counts(cells)
    if corrected:
        mi -= (len(cells) - np.count_nonzero(rows) - np.count_nonzero(columns) + 1) / (2 * len(a))
    return mi if mi > ZERO_MI else 0.0


@once_per_sample
def estimate_information(sample: Sample) -> Information:
    """Estimate all entropies and mutual informations of a sample from joint histograms."""
    n_bins = sample.n_bins
    bins = np.ascontiguousarray(discretise(sample.codes, n_bins, sample.rounding).T)
    histograms = [np.bincount(column) for column in bins]
    code_entropy = np.array([entropy_of_counts(histogram) for histogram in histograms])
    classes = np.ascontiguousarray(sample.classes.T)
    entropy = np.array([entropy_of_counts(np.bincount(column)) for column in classes])
    # The joint entropy with a constant latent is exactly the factor's.
    joint = np.repeat(entropy[:, None], sample.n_latents, axis=1)
    for k, column in enumerate(classes):
        offset = column * n_bins
        for j in np.flatnonzero(sample.active):
            joint[k, j] = entropy_of_counts(np.bincount(offset + bins[j]))
    mi = entropy[:, None] + code_entropy - joint
    # Rounding may leave I slightly above the entropies that bound it.
    mi = np.minimum(mi, np.minimum(entropy[:, None], code_entropy))
    mi[mi < ZERO_MI] = 0.0
    occupancy = np.array([histogram.max() for histogram in histograms]) / len(sample.codes)
    return Information(mi, entropy, joint, sample.active, occupancy, n_bins)


def top_two_gap(matrix: np.ndarray) -> np.ndarray:
    """Largest minus second largest of every row; (R, C) -> (R,). A single column has the gap to 0."""
    if matrix.shape[1] == 1:
        return matrix[:, 0].copy()
    ordered = np.sort(matrix, axis=1)
    return ordered[:, -1] - ordered[:, -2]


@metric("mutual information", bins_codes=True, returns=Information)
def mutual_information(sample: Sample) -> Information:
    """Mutual information between every factor and every binned latent, on which MIG and its relatives are based.

    Returns
    -------
    Information, in nats. The heat map of a report is its `share`.
    """
    return estimate_information(sample)
