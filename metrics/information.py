"""Scores of the mutual information between factors and binned latents.

Each score is two functions: a pure one of an `Information` record (per factor or per latent, testable with matrices
that one can hold in the head) and the public one of plain arrays, which returns its mean. Their common parameters are
described at `mutual_information`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from metrics.estimation import Information, Sample, check_count, check_inputs, check_seed, top_two_gap
from metrics.prediction import MAX_ROWS, logistic_fits

TIE = 1e-9  # nats; latents as informative as the best one up to rounding


class InfoMEC(NamedTuple):
    """Modularity, explicitness and compactness, each in [0, 1], the higher the better."""

    modularity: float
    explicitness: float
    compactness: float


def mig_per_factor(information: Information) -> np.ndarray:
    """(K,) gap between the two most informative latents over the FACTOR's entropy."""
    return top_two_gap(information.mi) / information.entropy


def mig_sup_per_latent(information: Information) -> np.ndarray:
    """(number of active latents,) gap between the two factors that a latent knows best, in shares of their entropy."""
    share = information.mi / information.entropy[:, None]
    return top_two_gap(share[:, information.active].T)


def jemmig_per_factor(information: Information) -> np.ndarray:
    """(K,) 1 - (H(v_k, z_j*) - I_k(1) + I_k(2)) / (H_k + ln n_bins)."""
    best = information.mi.max(axis=1, keepdims=True)
    # Among equally informative latents the one with the smallest joint entropy, so that their order does not matter.
    candidates = np.where(information.mi >= best - TIE, information.joint_entropy, np.inf)
    excess = candidates.min(axis=1) - top_two_gap(information.mi)
    return 1.0 - excess / (information.entropy + np.log(information.n_bins))


def dcimig_of(information: Information) -> float:
    """Sum over factors of the largest gap of the latents that belong to them, over the sum of entropies."""
    gap = top_two_gap(information.mi.T)
    owner = information.mi.argmax(axis=0)
    largest = np.zeros(len(information.entropy))
    np.maximum.at(largest, owner, gap)
    return float(largest.sum() / information.entropy.sum())


def modularity_per_latent(information: Information) -> np.ndarray:
    """(D,) 1 - sum of the other factors' squared information over (K - 1) times the best one's; 0 without any."""
    squared = information.mi**2
    best = squared.max(axis=0)
    others = (squared.sum(axis=0) - best) / (np.where(best > 0.0, best, 1.0) * (squared.shape[0] - 1))
    return np.where(best > 0.0, 1.0 - others, 0.0)


def concentration(matrix: np.ndarray) -> np.ndarray:
    """(max / sum - 1/C) / (1 - 1/C) of every row; (R, C) -> (R,), 0 for an empty row and for C < 2 (no choice)."""
    n_columns = matrix.shape[1]
    if n_columns < 2:
        return np.zeros(len(matrix))
    total = matrix.sum(axis=1)
    share = np.where(total > 0.0, matrix.max(axis=1) / np.where(total > 0.0, total, 1.0), 1.0 / n_columns)
    return (share - 1.0 / n_columns) / (1.0 - 1.0 / n_columns)


def infomec_modularity_per_latent(information: Information) -> np.ndarray:
    """(number of active latents,) how much of a latent's normalised information is about one factor."""
    return concentration((information.mi / information.entropy[:, None])[:, information.active].T)


def infomec_compactness_per_factor(information: Information) -> np.ndarray:
    """(K,) how much of the normalised information about a factor is in one active latent."""
    return concentration((information.mi / information.entropy[:, None])[:, information.active])


def infomec_explicitness_per_factor(sample: Sample, *, seed: int, max_rows: int = MAX_ROWS) -> np.ndarray:
    """(K,) (H_k - held-out cross-entropy) / H_k, at least 0: worse than the prior is no information."""
    cross_entropy = np.array([fit.cross_entropy for fit in logistic_fits(sample, seed=seed, max_rows=max_rows)])
    return np.clip(1.0 - cross_entropy / sample.information.entropy, 0.0, 1.0)


def mean_or_zero(values: np.ndarray) -> float:
    """Mean, 0 for no values at all (a code without active latents has shown nothing)."""
    return float(np.mean(values)) if len(values) else 0.0


def mig(
    *,
    factors: np.ndarray,
    codes: np.ndarray,
    n_bins: int = 20,
    factor_bins: int | None = None,
    factor_kinds: Sequence[str] | None = None,
    active: np.ndarray | None = None,
) -> float:
    """Mutual information gap: does one latent alone know a factor?

    Parameters are those of `mutual_information`, with D >= 2.

    Returns
    -------
    float in [0, 1], mean over factors of (I_k(1) - I_k(2)) / H_k.

    Raises
    ------
    TypeError, ValueError
        See `check_inputs`.

    Notes
    -----
    Eq. 6 of Chen et al. 2018, "Isolating Sources of Disentanglement in VAEs". H_k is the entropy of the factor;
    dividing by that of the code, as one public library does, is another score.
    """
    sample = check_inputs(
        "mig",
        factors=factors,
        codes=codes,
        n_bins=n_bins,
        factor_bins=factor_bins,
        factor_kinds=factor_kinds,
        active=active,
    )
    return float(mig_per_factor(sample.information).mean())


def mig_sup(
    *,
    factors: np.ndarray,
    codes: np.ndarray,
    n_bins: int = 20,
    factor_bins: int | None = None,
    factor_kinds: Sequence[str] | None = None,
    active: np.ndarray | None = None,
) -> float:
    """MIG-sup: does a latent know one factor only?

    Parameters are those of `mutual_information`, with K >= 2.

    Returns
    -------
    float in [0, 1], mean over active latents of the gap between the two largest I_kj / H_k; 0 if none is active.

    Raises
    ------
    TypeError, ValueError
        See `check_inputs`.

    Notes
    -----
    Li et al. 2020, "Progressive Learning and Disentanglement of Hierarchical Representations".
    """
    sample = check_inputs(
        "mig_sup",
        factors=factors,
        codes=codes,
        n_bins=n_bins,
        factor_bins=factor_bins,
        factor_kinds=factor_kinds,
        active=active,
    )
    return mean_or_zero(mig_sup_per_latent(sample.information))


def jemmig(
    *,
    factors: np.ndarray,
    codes: np.ndarray,
    n_bins: int = 20,
    factor_bins: int | None = None,
    factor_kinds: Sequence[str] | None = None,
    active: np.ndarray | None = None,
) -> float:
    """Joint entropy minus mutual information gap: MIG that also asks the latent to know nothing else.

    Parameters are those of `mutual_information`, with D >= 2.

    Returns
    -------
    float in [0, 1], the normalised form (1 is best): mean over factors of
    1 - (H(v_k, z_j*) - I_k(1) + I_k(2)) / (H_k + ln n_bins), j* the most informative latent.

    Raises
    ------
    TypeError, ValueError
        See `check_inputs`.

    Notes
    -----
    Do and Tran 2020, "Theory and Evaluation Metrics for Learning Disentangled Representations". Among latents within
    1e-9 nats of the maximum, j* is the one with the smallest H(v_k, z_j). A constant latent has the smallest joint
    entropy there is: a dead code scores ln n_bins / (H_k + ln n_bins), far above 0. Read the score beside its floor.
    """
    sample = check_inputs(
        "jemmig",
        factors=factors,
        codes=codes,
        n_bins=n_bins,
        factor_bins=factor_bins,
        factor_kinds=factor_kinds,
        active=active,
    )
    return float(jemmig_per_factor(sample.information).mean())


def dcimig(
    *,
    factors: np.ndarray,
    codes: np.ndarray,
    n_bins: int = 20,
    factor_bins: int | None = None,
    factor_kinds: Sequence[str] | None = None,
    active: np.ndarray | None = None,
) -> float:
    """DCIMIG: gaps of latents, each credited to the factor that the latent knows best.

    Parameters are those of `mutual_information`, with K >= 2.

    Returns
    -------
    float in [0, 1]; a factor that is no latent's best adds 0 to the sum over factors.

    Raises
    ------
    TypeError, ValueError
        See `check_inputs`.

    Notes
    -----
    Sepliarskaia et al. 2019, "Evaluating Disentangled Representations".
    """
    sample = check_inputs(
        "dcimig",
        factors=factors,
        codes=codes,
        n_bins=n_bins,
        factor_bins=factor_bins,
        factor_kinds=factor_kinds,
        active=active,
    )
    return dcimig_of(sample.information)


def modularity(
    *,
    factors: np.ndarray,
    codes: np.ndarray,
    n_bins: int = 20,
    factor_bins: int | None = None,
    factor_kinds: Sequence[str] | None = None,
    active: np.ndarray | None = None,
) -> float:
    """Modularity: does each latent depend on one factor only?

    Parameters are those of `mutual_information`, with K >= 2.

    Returns
    -------
    float in [0, 1], mean over all D latents; one without information (constant, inactive) scores 0.

    Raises
    ------
    TypeError, ValueError
        See `check_inputs`.

    Notes
    -----
    Ridgeway and Mozer 2018, "Learning Deep Disentangled Embeddings with the F-Statistic Loss". Pure noise scores
    0.5 to 0.99: plug-in information of noise grows with the number of levels, so the factor with most levels looks like
    the only one that a noisy latent knows. Read the score beside its floor.
    """
    sample = check_inputs(
        "modularity",
        factors=factors,
        codes=codes,
        n_bins=n_bins,
        factor_bins=factor_bins,
        factor_kinds=factor_kinds,
        active=active,
    )
    return float(modularity_per_latent(sample.information).mean())


def infomec(
    *,
    factors: np.ndarray,
    codes: np.ndarray,
    n_bins: int = 20,
    factor_bins: int | None = None,
    factor_kinds: Sequence[str] | None = None,
    active: np.ndarray | None = None,
    max_rows: int = MAX_ROWS,
    seed: int = 0,
) -> InfoMEC:
    """InfoMEC: modularity, explicitness and compactness from one normalised information matrix.

    Parameters are those of `mutual_information`, with K >= 2, D >= 2 and N >= 10.

    Parameters
    ----------
    max_rows : at least 10. Rows drawn to fit and test the explicitness; the other two use every row.
    seed : int. Draws the rows and the split.

    Returns
    -------
    InfoMEC, each in [0, 1]. With n_kj = I_kj / H_k over the J active latents: modularity is the mean over latents of
    max_k n / sum_k n, compactness that over factors of max_j n / sum_j n, both rescaled so that an even spread scores
    0; explicitness the share of H_k that a multinomial logistic regression explains on held-out rows, mean over
    factors. A latent or factor without any information adds 0 to its mean; compactness is 0 for fewer than two active
    latents, where it cannot tell anything.

    Raises
    ------
    TypeError, ValueError
        See `check_inputs`; also where fewer than two levels of a factor have two rows.

    Notes
    -----
    Hsu et al. 2023, "Disentanglement via Latent Quantization", with binned instead of nearest-neighbour
    mutual information, as for every other score here.
    """
    seed, max_rows = check_seed(seed), check_count("max_rows", max_rows, least=10)
    sample = check_inputs(
        "infomec",
        factors=factors,
        codes=codes,
        n_bins=n_bins,
        factor_bins=factor_bins,
        factor_kinds=factor_kinds,
        active=active,
    )
    return InfoMEC(
        mean_or_zero(infomec_modularity_per_latent(sample.information)),
        float(infomec_explicitness_per_factor(sample, seed=seed, max_rows=max_rows).mean()),
        float(infomec_compactness_per_factor(sample.information).mean()),
    )
