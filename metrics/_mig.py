"""MIG and its variants: gaps between mutual informations of factors and binned latents."""

import numpy as np

from ._metric import Row, mean_over_factors, mean_over_latents, metric
from ._mutual_information import Information, estimate_information, top_two_gap
from ._validation import Sample

TIE = 1e-9  # nats; latents this close to the best one count as equally informative


def mig_per_factor(information: Information) -> np.ndarray:
    """(K,) gap between the two most informative latents, over the FACTOR's entropy."""
    return top_two_gap(information.mi) / information.entropy


@metric("MIG", latents=2, bins_codes=True)
def mig(sample: Sample) -> Row:
    """Mutual information gap: is a factor encoded in one latent alone?

    Returns
    -------
    float in [0, 1], mean over factors of (I_k(1) - I_k(2)) / H_k.

    Notes
    -----
    Eq. 6 of Chen et al. 2018, "Isolating Sources of Disentanglement in VAEs". H_k is the entropy of the factor; one
    public library divides by the entropy of the code, which gives other scores.

    Examples
    --------
    Two factors of 3 and 4 levels, each in a latent of its own:

    >>> import numpy as np
    >>> factors = np.indices((3, 4)).reshape(2, -1).T
    >>> round(mig(factors=factors, codes=1.5 * factors), 6)
    1.0

    A factor of 100 levels has more classes than a latent has bins. `evaluate` bins it by default:

    >>> factors = np.indices((100, 10)).reshape(2, -1).T
    >>> round(mig(factors=factors, codes=1.5 * factors), 3)
    0.825
    >>> round(mig(factors=factors, codes=1.5 * factors, factor_bins=20), 3)
    1.0
    """
    return mean_over_factors(mig_per_factor(estimate_information(sample)))


def mig_sup_per_latent(information: Information) -> np.ndarray:
    """(number of active latents,) gap between the two largest shares of a factor's entropy in a latent."""
    return top_two_gap(information.share[:, information.active].T)


@metric("MIG-sup", factors=2, bins_codes=True)
def mig_sup(sample: Sample) -> Row:
    """MIG-sup: does a latent encode one factor alone?

    Returns
    -------
    float in [0, 1], mean over active latents of the gap between the two largest I_kj / H_k; 0 if none is active.

    Notes
    -----
    Li et al. 2020, "Progressive Learning and Disentanglement of Hierarchical Representations".
    """
    return mean_over_latents(mig_sup_per_latent(estimate_information(sample)))


def jemmig_per_factor(information: Information) -> np.ndarray:
    """(K,) 1 - (H(v_k, z_j*) - I_k(1) + I_k(2)) / (H_k + ln n_bins)."""
    best = information.mi.max(axis=1, keepdims=True)
    # Of equally informative latents, that with the smallest joint entropy, so that their order has no effect.
    candidates = np.where(information.mi >= best - TIE, information.joint_entropy, np.inf)
    excess = candidates.min(axis=1) - top_two_gap(information.mi)
    return 1.0 - excess / (information.entropy + np.log(information.n_bins))


@metric("JEMMIG", latents=2, bins_codes=True)
def jemmig(sample: Sample) -> Row:
    """JEMMIG: MIG, lowered by the other information in the most informative latent.

    Returns
    -------
    float in [0, 1], the normalised form (1 is best): mean over factors of
    1 - (H(v_k, z_j*) - I_k(1) + I_k(2)) / (H_k + ln n_bins), j* the most informative latent.

    Notes
    -----
    Do and Tran 2020, "Theory and Evaluation Metrics for Learning Disentangled Representations". Among latents within
    1e-9 nats of the maximum, j* is the one with the smallest H(v_k, z_j). A constant latent has the smallest possible
    joint entropy, so a code without active latents scores ln n_bins / (H_k + ln n_bins), far above 0. Compare with the
    chance level (`evaluate`).
    """
    return mean_over_factors(jemmig_per_factor(estimate_information(sample)))


def dcimig_of(information: Information) -> float:
    """Sum over factors of the largest gap among their latents, divided by the sum of entropies."""
    gap = top_two_gap(information.mi.T)
    owner = information.mi.argmax(axis=0)
    largest = np.zeros(len(information.entropy))
    np.maximum.at(largest, owner, gap)
    return float(largest.sum() / information.entropy.sum())


@metric("DCIMIG", factors=2, bins_codes=True)
def dcimig(sample: Sample) -> Row:
    """DCIMIG: gap between the two best factors of each latent, credited to the best one.

    Returns
    -------
    float in [0, 1]. A factor that is not the best of any latent adds 0.

    Notes
    -----
    Sepliarskaia et al. 2019, "Evaluating Disentangled Representations".
    """
    return Row(dcimig_of(estimate_information(sample)))
