"""Scores that fix a factor and watch the latents (IRS, BetaVAE score, FactorVAE score) or compare trainings (UDR).

None needs a full factor grid: "fixing a factor" means drawing among the rows that share one of its levels. A level with
a single row says nothing about what else varies and is not drawn. Inactive latents are pruned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metrics.estimation import EDGE, Sample, check_codes, check_inputs, check_seed
from metrics.information import mean_or_zero
from metrics.prediction import INVERSE_PENALTY

QUANTILE = 0.99  # of the deviations within a level, as in the published code of IRS: the supremum is one sample's whim
N_TRAIN, N_TEST = 1000, 500  # points per factor
BATCH_SIZE = 64
SIMILARITIES = ("spearman", "lasso")
LASSO_PENALTY = 0.1


@dataclass(frozen=True, eq=False)
class _Levels:
    """Rows of one factor sorted by level: those of row i's level are order[start[i] : start[i] + count[i]]."""

    order: np.ndarray
    start: np.ndarray
    count: np.ndarray
    rank: np.ndarray  # place of every row within its level
    eligible: np.ndarray  # rows whose level has another row


def _sort_levels(classes: np.ndarray, *, factor: int) -> _Levels:
    counts = np.bincount(classes)
    starts = np.cumsum(counts) - counts
    order = np.argsort(classes, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    eligible = np.flatnonzero(counts[classes] >= 2)
    if not len(eligible):
        raise ValueError(
            f"factors: expected a level with at least two rows in column {factor}, found "
            f"{len(counts)} levels in {len(classes)} rows; bin it with factor_bins"
        )
    return _Levels(order, starts[classes], counts[classes], rank - starts[classes], eligible)


def irs_per_latent(sample: Sample) -> np.ndarray:
    """(number of active latents,) best interventional robustness over factors, in [0, 1]."""
    codes = sample.standardised[:, sample.active]
    if not codes.shape[1]:
        return np.empty(0)
    largest = np.abs(codes).max(axis=0)
    robustness = np.empty((sample.n_factors, codes.shape[1]))
    for k, classes in enumerate(sample.classes.T):
        levels = _sort_levels(classes, factor=k)
        groups = np.split(codes[levels.order], np.cumsum(np.bincount(classes))[:-1])
        # The inverted distribution function, unlike interpolation, does not change when every row is doubled.
        deviations = [
            np.quantile(np.abs(group - group.mean(axis=0)), QUANTILE, axis=0, method="inverted_cdf")
            for group in groups
            if len(group) >= 2
        ]
        robustness[k] = 1.0 - np.mean(deviations, axis=0) / largest
    return np.clip(robustness.max(axis=0), 0.0, 1.0)


def irs(
    *,
    factors: np.ndarray,
    codes: np.ndarray,
    factor_bins: int | None = None,
    factor_kinds: Sequence[str] | None = None,
    active: np.ndarray | None = None,
) -> float:
    """Interventional robustness: with its factor fixed, does a latent stay put whatever the other factors do?

    Parameters are those of `mutual_information`, with K >= 2; codes are not binned. All rows are used, nothing is
    drawn.

    Returns
    -------
    float in [0, 1], mean over active latents of the best factor's 1 - deviation; 0 if none is active.

    Raises
    ------
    TypeError, ValueError
        See `check_inputs`; also where no level of a factor has two rows.

    Notes
    -----
    Suter et al. 2019, "Robustly Disentangled Causal Mechanisms". The deviation of latent j under factor k is the 0.99
    quantile of |z_j - mean of its level|, mean over the levels of k, over the largest |z_j - mean of all|. The
    published code weights latents by that largest deviation, which keeps collapsed ones out but makes the score depend
    on the unit of each latent; here inactive latents are pruned and the others count alike.
    """
    sample = check_inputs(
        "irs", factors=factors, codes=codes, factor_bins=factor_bins, factor_kinds=factor_kinds, active=active
    )
    return mean_or_zero(irs_per_latent(sample))


def _pair_differences(codes: np.ndarray, levels: _Levels, n_points: int, generator: np.random.Generator) -> np.ndarray:
    """(n_points, D) mean absolute difference over BATCH_SIZE pairs of different rows of one level."""
    anchors = levels.eligible[generator.integers(len(levels.eligible), size=(n_points, BATCH_SIZE))]
    count = levels.count[anchors]
    step = generator.integers(1, count)
    partners = levels.order[levels.start[anchors] + (levels.rank[anchors] + step) % count]
    return np.abs(codes[anchors] - codes[partners]).mean(axis=1)


def beta_vae_per_factor(sample: Sample, *, seed: int) -> np.ndarray:
    """(K,) held-out accuracy on the points that fixed each factor; 1/K each without an active latent."""
    from sklearn.linear_model import LogisticRegression

    codes = sample.standardised[:, sample.active]
    if not codes.shape[1]:
        return np.full(sample.n_factors, 1.0 / sample.n_factors)
    points = np.stack(
        [
            _pair_differences(
                codes, _sort_levels(classes, factor=k), N_TRAIN + N_TEST, np.random.default_rng([seed, k])
            )
            for k, classes in enumerate(sample.classes.T)
        ]
    )
    fitted, held_out = points[:, :N_TRAIN].reshape(-1, codes.shape[1]), points[:, N_TRAIN:]
    mean, spread = fitted.mean(axis=0), fitted.std(axis=0)
    spread = np.where(spread > 0.0, spread, 1.0)
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000)
    model.fit((fitted - mean) / spread, np.repeat(np.arange(sample.n_factors), N_TRAIN))
    return np.array([np.mean(model.predict((row - mean) / spread) == k) for k, row in enumerate(held_out)])


def beta_vae_score(
    *,
    factors: np.ndarray,
    codes: np.ndarray,
    factor_bins: int | None = None,
    factor_kinds: Sequence[str] | None = None,
    active: np.ndarray | None = None,
    seed: int = 0,
) -> float:
    """BetaVAE score: from how much each latent moves, can a linear classifier tell which factor was held fixed?

    Parameters are those of `mutual_information`, with K >= 2; codes are not binned.

    Parameters
    ----------
    seed : int. Draws 1,500 points per factor, 1,000 to fit and 500 held out, each of 64 pairs.

    Returns
    -------
    float in [0, 1], held-out accuracy, every factor equally often; chance is 1/K, which a code without active latents
    scores.

    Raises
    ------
    TypeError, ValueError
        See `check_inputs`; also where no level of a factor has two rows.

    Notes
    -----
    Higgins et al. 2017, "beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework". Latents
    are standardised first. The score is 1 for codes that are far from disentangled (two factors in one latent, say):
    see `self_test`.
    """
    sample = check_inputs(
        "beta_vae_score",
        factors=factors,
        codes=codes,
        factor_bins=factor_bins,
        factor_kinds=factor_kinds,
        active=active,
    )
    return float(beta_vae_per_factor(sample, seed=check_seed(seed)).mean())


def _votes(codes: np.ndarray, levels: _Levels, n_votes: int, generator: np.random.Generator) -> np.ndarray:
    """(n_votes,) latent of the smallest variance in BATCH_SIZE rows that share a level."""
    anchors = levels.eligible[generator.integers(len(levels.eligible), size=(n_votes, 1))]
    rows = levels.order[levels.start[anchors] + generator.integers(levels.count[anchors], size=(n_votes, BATCH_SIZE))]
    variance = codes[rows].var(axis=1)
    # The first of equal ones: the rounding of two equal variances must not depend on which factor was fixed.
    return np.argmax(variance <= variance.min(axis=1, keepdims=True) + EDGE, axis=1)


def factor_vae_per_factor(sample: Sample, *, seed: int) -> np.ndarray:
    """(K,) share of held-out votes that the majority classifier gets right; 1/K each without an active latent."""
    codes = sample.standardised[:, sample.active]
    if not codes.shape[1]:
        return np.full(sample.n_factors, 1.0 / sample.n_factors)
    votes = np.stack(
        [
            _votes(codes, _sort_levels(classes, factor=k), N_TRAIN + N_TEST, np.random.default_rng([seed, k]))
            for k, classes in enumerate(sample.classes.T)
        ]
    )
    table = np.stack([np.bincount(row, minlength=codes.shape[1]) for row in votes[:, :N_TRAIN]])
    majority = table.argmax(axis=0)
    return np.mean(majority[votes[:, N_TRAIN:]] == np.arange(sample.n_factors)[:, None], axis=1)


def factor_vae_score(
    *,
    factors: np.ndarray,
    codes: np.ndarray,
    factor_bins: int | None = None,
    factor_kinds: Sequence[str] | None = None,
    active: np.ndarray | None = None,
    seed: int = 0,
) -> float:
    """FactorVAE score: does the latent that varies least name the factor that was held fixed?

    Parameters are those of `mutual_information`, with K >= 2; codes are not binned.

    Parameters
    ----------
    seed : int. Draws 1,500 votes per factor, 1,000 for the majority and 500 held out, each of 64 rows.

    Returns
    -------
    float in [0, 1], held-out accuracy of the majority vote, every factor equally often; a code without active latents
    scores chance, 1/K.

    Raises
    ------
    TypeError, ValueError
        See `check_inputs`; also where no level of a factor has two rows.

    Notes
    -----
    Kim and Mnih 2018, "Disentangling by Factorising". Variances are relative to each latent's own.
    """
    sample = check_inputs(
        "factor_vae_score",
        factors=factors,
        codes=codes,
        factor_bins=factor_bins,
        factor_kinds=factor_kinds,
        active=active,
    )
    return float(factor_vae_per_factor(sample, seed=check_seed(seed)).mean())


def _similarity(codes_a: np.ndarray, codes_b: np.ndarray, similarity: str) -> np.ndarray:
    """(D_a, D_b) in [0, 1]: rank correlation, or the weights of a sparse linear fit of b from a."""
    if similarity == "spearman":
        return np.abs(codes_a.T @ codes_b) / len(codes_a)
    from sklearn.linear_model import Lasso

    # Cyclic descent is not random, yet without a seed scikit-learn would draw from the caller's global generator.
    lasso = Lasso(alpha=LASSO_PENALTY, precompute=True, random_state=0)
    weights = [lasso.fit(codes_a, target).coef_.copy() for target in codes_b.T]
    return np.minimum(np.abs(np.stack(weights, axis=1)), 1.0)


def relative_strength(similarity: np.ndarray) -> float:
    """Agreement of two models from the (D_a, D_b) similarity of their active latents; 0 if either has none."""
    if not similarity.size:
        return 0.0
    total = 0.0
    for matrix in (similarity, similarity.T):
        weight = matrix.sum(axis=0)
        total += np.sum(matrix.max(axis=0) ** 2 / np.where(weight > 0.0, weight, 1.0))
    return float(min(total / sum(similarity.shape), 1.0))


def udr_per_model(
    *,
    codes: Sequence[np.ndarray],
    active: Sequence[np.ndarray] | None = None,
    similarity: str = "spearman",
) -> np.ndarray:
    """Unsupervised disentanglement ranking of every model; see `udr`.

    Returns
    -------
    (M,) float in [0, 1], for each model the median of its agreement with the others.
    """
    from scipy.stats import rankdata

    if similarity not in SIMILARITIES:
        raise ValueError(f"similarity: expected one of {SIMILARITIES}, found {similarity!r}")
    if isinstance(codes, np.ndarray) or len(codes) < 2:
        raise ValueError(
            f"codes: expected a list of at least 2 arrays (N, D), one per trained model, found "
            f"{'one array' if isinstance(codes, np.ndarray) else len(codes)}"
        )
    if active is None:
        active = [None] * len(codes)
    if len(active) != len(codes):
        raise ValueError(f"active: expected {len(codes)} masks, one per model, found {len(active)}")
    prepared = []
    for model, (table, mask) in enumerate(zip(codes, active, strict=True)):
        table, mask = check_codes(table, mask)
        if len(table) < 2 or len(table) != len(codes[0]):
            raise ValueError(
                f"codes: expected the same 2 or more rows for every model, found {len(table)} for model "
                f"{model} and {len(codes[0])} for model 0; encode the same samples with each"
            )
        table = table[:, mask]
        if similarity == "spearman":
            table = rankdata(table, axis=0)
        table = table - table.mean(axis=0)
        prepared.append(table / table.std(axis=0))
    return np.array(
        [
            np.median(
                [relative_strength(_similarity(mine, theirs, similarity)) for theirs in prepared if theirs is not mine]
            )
            for mine in prepared
        ]
    )


def udr(
    *,
    codes: Sequence[np.ndarray],
    active: Sequence[np.ndarray] | None = None,
    similarity: str = "spearman",
) -> float:
    """Unsupervised disentanglement ranking: do trainings from different seeds find the same latents? Needs no factors.

    Parameters
    ----------
    codes : M >= 2 arrays (N, D_m), the same N samples encoded by each model.
    active : M masks (D_m,) bool; default every latent that is not constant. Inactive latents are similar to none.
    similarity : "spearman" (rank correlation) or "lasso" (weights of a sparse linear fit, penalty 0.1).

    Returns
    -------
    float in [0, 1], mean over models of `udr_per_model`.

    Raises
    ------
    TypeError, ValueError
        For fewer than two models, rows that differ, NaN or infinite codes, an unknown similarity.

    Notes
    -----
    Duan et al. 2020, "Unsupervised Model Selection for Variational Disentangled Representation Learning", who
    define both similarities R_ab. A pair of models scores the mean over all their active latents of max R^2 / sum R,
    and a model the median over its pairs. Spearman is the default here: it has no penalty to tune, is unchanged by
    monotone maps of a latent, and scores 1 for equal latents in another order, where the penalty holds the lasso to
    0.9.
    """
    return float(udr_per_model(codes=codes, active=active, similarity=similarity).mean())
