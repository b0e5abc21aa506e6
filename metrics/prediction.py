"""Scores that fit a predictor of the factors: SAP, DCI, explicitness, and the logistic fit that InfoMEC shares.

SAP is closed-form and uses every row. The others fit on at most `max_rows` rows drawn by `seed` (4 of 5 for the fit,
the rest held out), standardise the codes first, and give equal results for equal seeds. scikit-learn is imported where
it is used: importing this module stays cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from metrics.estimation import EDGE, Sample, check_count, check_inputs, check_seed, top_two_gap

MAX_ROWS = 5000
PREDICTORS = ("gradient_boosting", "random_forest")
# Weak: the score should measure the code, not the penalty. Without any, separable levels send the weights to infinity.
INVERSE_PENALTY = 100.0
NEWTON_LIMIT = 1000  # weights; the Hessian grows with their square, beyond this lbfgs is faster


class DCI(NamedTuple):
    """Disentanglement, completeness and informativeness, each in [0, 1], the higher the better."""

    disentanglement: float
    completeness: float
    informativeness: float


@dataclass(frozen=True, eq=False)
class LogisticFit:
    """What a multinomial logistic regression of one factor on all codes achieves on held-out rows.

    Attributes
    ----------
    auc : one-vs-rest ROC AUC, mean over the factor's levels.
    cross_entropy : nats per row.
    """

    auc: float
    cross_entropy: float


def fitted_rows(n_rows: int, *, seed: int, max_rows: int = MAX_ROWS) -> np.ndarray:
    """Return the indices, in random order, of the rows that a fitted score may see."""
    return np.random.default_rng(seed).permutation(n_rows)[:max_rows]


def stratified_split(classes: np.ndarray, *, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Split rows in random order into positions fitted and held out.

    A fifth of every level, and at least one row of a level with two, is held out.

    Raises
    ------
    ValueError
        If fewer than two levels have two rows: nothing can be both fitted and held out.
    """
    counts = np.bincount(classes)
    n_held_out = np.where(counts >= 2, np.maximum(counts // 5, 1), 0)
    if np.count_nonzero(n_held_out) < 2:
        raise ValueError(
            f"factors: expected at least two levels with two rows each in column {factor}, found "
            f"{np.count_nonzero(n_held_out)} among {len(classes)} rows; bin it with factor_bins"
        )
    order = np.argsort(classes, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    held_out = rank < n_held_out[classes]
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def sap_matrix(sample: Sample) -> np.ndarray:
    """(K, D) how well each latent alone predicts each factor, in [0, 1]; see `sap`."""
    scores = np.empty((sample.n_factors, sample.n_latents))
    for k, kind in enumerate(sample.kinds):
        if kind == "ordered":
            target = sample.levels[:, k] - sample.levels[:, k].mean()
            target /= target.std()
            scores[k] = (target @ sample.standardised / len(target)) ** 2
        else:
            scores[k] = [_balanced_accuracy(latent, sample.classes[:, k]) for latent in sample.standardised.T]
    return np.minimum(scores, 1.0)


def _balanced_accuracy(latent: np.ndarray, classes: np.ndarray) -> float:
    """Chance-corrected balanced accuracy of the nearest-class-mean rule on one standardised latent.

    Levels whose means agree, and values that lie on a boundary, share the credit: neither the numbering of levels nor
    the sign of the latent may decide them.
    """
    counts = np.bincount(classes)
    means = np.bincount(classes, weights=latent) / counts
    order = np.argsort(means)
    apart = np.diff(means[order]) > EDGE
    group = np.empty(len(counts), dtype=np.int64)
    group[order] = np.concatenate([[0], np.cumsum(apart)])
    boundaries = 0.5 * (means[order][:-1] + means[order][1:])[apart]
    accuracy = 0.0
    for shift in (-EDGE, EDGE):
        correct = np.searchsorted(boundaries + shift, latent) == group[classes]
        recall = np.bincount(classes[correct], minlength=len(counts)) / counts
        accuracy += 0.5 * np.mean(recall / np.bincount(group)[group])
    chance = 1.0 / len(counts)
    return max((accuracy - chance) / (1.0 - chance), 0.0)


def sap(
    *,
    factors: np.ndarray,
    codes: np.ndarray,
    factor_bins: int | None = None,
    factor_kinds: Sequence[str] | None = None,
    active: np.ndarray | None = None,
) -> float:
    """Separated attribute predictability: is one latent alone much better than the next at predicting a factor?

    Parameters are those of `mutual_information`, with D >= 2; codes are not binned. All rows are used, nothing is
    drawn.

    Returns
    -------
    float in [0, 1], mean over factors of the gap between the two best latents.

    Raises
    ------
    TypeError, ValueError
        See `check_inputs`.

    Notes
    -----
    Kumar et al. 2018, "Variational Inference of Disentangled Latent Concepts from Unlabeled Observations". An ordered
    factor is scored by R^2 of a linear fit, a nominal one by the balanced accuracy b of a linear classifier, corrected
    for chance: (b - 1/L) / (1 - 1/L) for L levels, at least 0. The classifier is linear discriminant analysis with
    equal priors, which in one dimension is the nearest class mean: closed-form, unchanged by an affine map of the
    latent, and (unlike one-vs-rest margins) able to separate levels that lie between others. It is judged on the rows
    it was fitted to; with L means as its only parameters the optimism is of order sqrt(L / N) and is part of the floor
    too.
    """
    sample = check_inputs(
        "sap", factors=factors, codes=codes, factor_bins=factor_bins, factor_kinds=factor_kinds, active=active
    )
    return float(top_two_gap(sap_matrix(sample)).mean())


def _check_importance(importance: np.ndarray) -> np.ndarray:
    importance = np.asarray(importance, dtype=np.float64)
    if importance.ndim != 2 or min(importance.shape) < 2:
        raise ValueError(
            f"importance: expected shape (K, D) with at least 2 factors and 2 latents, found {importance.shape}"
        )
    if not np.isfinite(importance).all() or (importance < 0.0).any():
        raise ValueError(
            "importance: expected finite non-negative numbers, found "
            f"{importance.min()} as the smallest; take absolute values of coefficients"
        )
    # Only ratios matter; without this the sum of huge entries could overflow.
    return importance / (importance.max() or 1.0)


def one_minus_entropy(importance: np.ndarray) -> np.ndarray:
    """1 - entropy of every normalised row, to the base of its length; (R, C) -> (R,), 0 for an empty row."""
    total = importance.sum(axis=1, keepdims=True)
    share = importance / np.where(total > 0.0, total, 1.0)
    entropy = -np.sum(share * np.log(np.where(share > 0.0, share, 1.0)), axis=1) / np.log(importance.shape[1])
    return np.where(total[:, 0] > 0.0, np.clip(1.0 - entropy, 0.0, 1.0), 0.0)


def _weighted(scores: np.ndarray, weights: np.ndarray) -> float:
    return float(np.minimum(scores @ (weights / (weights.sum() or 1.0)), 1.0))


def dci_disentanglement(importance: np.ndarray) -> float:
    """Does each latent matter to one factor only?

    Parameters
    ----------
    importance : (K, D) non-negative, rows are factors; K >= 2, D >= 2.

    Returns
    -------
    float in [0, 1], sum_j rho_j (1 - H_K(R_.j / sum)), rho_j the share of latent j in the total; a latent without
    importance changes nothing, a matrix of zeros scores 0.

    Raises
    ------
    ValueError
        For a smaller matrix, negative entries, NaN or infinities.

    Notes
    -----
    Eastwood and Williams 2018, "A Framework for the Quantitative Evaluation of Disentangled Representations".
    """
    importance = _check_importance(importance)
    return _weighted(one_minus_entropy(importance.T), importance.sum(axis=0))


def dci_completeness(importance: np.ndarray) -> float:
    """Does each factor need one latent only?

    The same as `dci_disentanglement` across latents: sum_k (1 - H_D(R_k. / sum)), weighted by the factor's share of the
    total (1/K each where a predictor's importances sum to 1).

    Parameters
    ----------
    importance : (K, D) non-negative, rows are factors; K >= 2, D >= 2.

    Returns
    -------
    float in [0, 1].

    Raises
    ------
    ValueError
        For a smaller matrix, negative entries, NaN or infinities.
    """
    importance = _check_importance(importance)
    return _weighted(one_minus_entropy(importance), importance.sum(axis=1))


def _tree_ensemble(predictor: str, kind: str, seed: int):
    from sklearn import ensemble

    names = {
        ("gradient_boosting", "nominal"): ensemble.GradientBoostingClassifier,
        ("gradient_boosting", "ordered"): ensemble.GradientBoostingRegressor,
        ("random_forest", "nominal"): ensemble.RandomForestClassifier,
        ("random_forest", "ordered"): ensemble.RandomForestRegressor,
    }
    return names[predictor, kind](random_state=seed)


def fit_importance(
    sample: Sample, *, seed: int, predictor: str = PREDICTORS[0], max_rows: int = MAX_ROWS
) -> tuple[np.ndarray, np.ndarray]:
    """Fit one predictor per factor; return importance (K, D) and held-out accuracy or R^2 (K,), at least 0."""
    rows = fitted_rows(len(sample.codes), seed=seed, max_rows=max_rows)
    codes = sample.standardised[rows]

    def fit(k: int) -> tuple[np.ndarray, float]:
        if sample.kinds[k] == "nominal":
            target = sample.classes[rows, k]
            fitted, held_out = stratified_split(target, factor=k)
        else:
            target = sample.levels[rows, k].astype(np.float64)
            fitted, held_out = np.split(np.arange(len(rows)), [len(rows) - len(rows) // 5])
        model = _tree_ensemble(predictor, sample.kinds[k], seed).fit(codes[fitted], target[fitted])
        # Splits that gain nothing but rounding leave importances of -1e-17.
        weights = np.maximum(model.feature_importances_, 0.0)
        predicted, truth = model.predict(codes[held_out]), target[held_out]
        if sample.kinds[k] == "nominal":
            return weights, float(np.mean(predicted == truth))
        spread = np.sum((truth - truth.mean()) ** 2)
        error = np.sum((truth - predicted) ** 2)
        return weights, max(1.0 - error / spread, 0.0) if spread > 0.0 else 0.0

    # The trees release the interpreter's lock; each fit has its own seed, so the order of threads changes nothing.
    with ThreadPoolExecutor() as pool:
        importance, informativeness = zip(*pool.map(fit, range(sample.n_factors)), strict=True)
    return np.stack(importance), np.array(informativeness)


def dci(
    *,
    factors: np.ndarray,
    codes: np.ndarray,
    factor_bins: int | None = None,
    factor_kinds: Sequence[str] | None = None,
    active: np.ndarray | None = None,
    predictor: str = "gradient_boosting",
    max_rows: int = MAX_ROWS,
    seed: int = 0,
) -> DCI:
    """Disentanglement, completeness and informativeness of a fitted predictor's importances.

    Parameters are those of `mutual_information`, with K >= 2, D >= 2 and N >= 10; codes are not binned.

    Parameters
    ----------
    predictor : "gradient_boosting" (scikit-learn's defaults, as in Locatello et al. 2019) or "random_forest".
    max_rows : at least 10. Rows drawn for fit and test together.
    seed : int. Draws the rows, the split and the predictor's own randomness.

    Returns
    -------
    DCI, each in [0, 1]. A nominal factor is predicted by a classifier (informativeness: accuracy, whose chance level is
    not 0), an ordered one by a regressor (R^2), on held-out rows.

    Raises
    ------
    TypeError, ValueError
        See `check_inputs`; also for an unknown predictor.

    Notes
    -----
    Eastwood and Williams 2018; see `dci_disentanglement` and `dci_completeness`.
    """
    if predictor not in PREDICTORS:
        raise ValueError(f"predictor: expected one of {PREDICTORS}, found {predictor!r}")
    sample = check_inputs(
        "dci", factors=factors, codes=codes, factor_bins=factor_bins, factor_kinds=factor_kinds, active=active
    )
    importance, informativeness = fit_importance(
        sample, seed=check_seed(seed), predictor=predictor, max_rows=check_count("max_rows", max_rows, least=10)
    )
    return DCI(dci_disentanglement(importance), dci_completeness(importance), float(informativeness.mean()))


def logistic_fits(sample: Sample, *, seed: int, max_rows: int = MAX_ROWS) -> list[LogisticFit]:
    """Fit a multinomial logistic regression of every factor's classes on all codes; once per sample and seed."""
    key = ("logistic_fits", seed, max_rows)
    if key not in sample.memo:
        rows = fitted_rows(len(sample.codes), seed=seed, max_rows=max_rows)
        codes = sample.standardised[rows]
        sample.memo[key] = [_logistic_fit(codes, sample.classes[rows, k], factor=k) for k in range(sample.n_factors)]
    return sample.memo[key]


def _logistic_fit(codes: np.ndarray, classes: np.ndarray, *, factor: int) -> LogisticFit:
    from scipy.special import log_softmax
    from scipy.stats import rankdata
    from sklearn.linear_model import LogisticRegression

    classes = np.unique(classes, return_inverse=True)[1]  # rows were drawn: a rare level may be gone
    fitted, held_out = stratified_split(classes, factor=factor)
    n_weights = (classes.max() + 1) * (codes.shape[1] + 1)
    # Newton has nothing to solve on a dead code, and says so.
    solver = "newton-cholesky" if codes.any() and n_weights <= NEWTON_LIMIT else "lbfgs"
    model = LogisticRegression(C=INVERSE_PENALTY, solver=solver, max_iter=1000).fit(codes[fitted], classes[fitted])
    scores = model.decision_function(codes[held_out])
    if scores.ndim == 1:
        scores = np.stack([np.zeros_like(scores), scores], axis=1)
    log_p = log_softmax(scores, axis=1)
    truth = classes[held_out]
    positives = np.bincount(truth, minlength=log_p.shape[1])
    ranks = rankdata(log_p, axis=0)[np.arange(len(truth)), truth]
    present = positives > 0
    rank_sum = np.bincount(truth, weights=ranks, minlength=len(positives))[present]
    positives = positives[present]
    auc = (rank_sum - positives * (positives + 1) / 2) / (positives * (len(truth) - positives))
    return LogisticFit(float(auc.mean()), float(-log_p[np.arange(len(truth)), truth].mean()))


def explicitness_per_factor(sample: Sample, *, seed: int, max_rows: int = MAX_ROWS) -> np.ndarray:
    """(K,) 2 AUC - 1, at least 0: worse than chance on held-out rows is no information."""
    return np.array([max(2.0 * fit.auc - 1.0, 0.0) for fit in logistic_fits(sample, seed=seed, max_rows=max_rows)])


def explicitness(
    *,
    factors: np.ndarray,
    codes: np.ndarray,
    factor_bins: int | None = None,
    factor_kinds: Sequence[str] | None = None,
    active: np.ndarray | None = None,
    max_rows: int = MAX_ROWS,
    seed: int = 0,
) -> float:
    """Explicitness: can a linear readout of all codes tell the levels of a factor?

    Parameters are those of `mutual_information`, with N >= 10; codes are not binned. Every level is a class, so bin
    ordered factors with many levels (`factor_bins`): 20 take a fraction of a second, 400 most of a minute.

    Parameters
    ----------
    max_rows : at least 10. Rows drawn for fit and test together.
    seed : int. Draws the rows and the split.

    Returns
    -------
    float in [0, 1], mean over factors of 2 AUC - 1, AUC the one-vs-rest area under the ROC curve on held-out rows, mean
    over levels.

    Raises
    ------
    TypeError, ValueError
        See `check_inputs`; also where fewer than two levels of a factor have two rows.

    Notes
    -----
    Ridgeway and Mozer 2018, "Learning Deep Disentangled Embeddings with the F-Statistic Loss". The fit is one
    multinomial logistic regression per factor (L2, C = 100): binary one-vs-rest fits could not single out a level that
    lies between others along a latent.
    """
    sample = check_inputs(
        "explicitness", factors=factors, codes=codes, factor_bins=factor_bins, factor_kinds=factor_kinds, active=active
    )
    return float(
        explicitness_per_factor(
            sample, seed=check_seed(seed), max_rows=check_count("max_rows", max_rows, least=10)
        ).mean()
    )
