"""DCI: disentanglement, completeness and informativeness of the importances of fitted trees."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ._metric import Row, mean_over_factors, metric
from ._rows import MAX_ROWS, fitted_rows, regression_split, stratified_split
from ._validation import Sample, to_array

PREDICTORS = {"gradient_boosting": "GradientBoosting", "random_forest": "RandomForest"}
MAX_WORK = 5_000_000  # rows x trees x latents; about 90 s of one core


class DCI(NamedTuple):
    """Disentanglement, completeness and informativeness, each in [0, 1]; larger is better."""

    disentanglement: float
    completeness: float
    informativeness: float


def _check_importance(importance: np.ndarray) -> np.ndarray:
    importance = to_array("importance", importance).astype(np.float64)
    if importance.ndim != 2 or min(importance.shape) < 2:
        raise ValueError(
            f"importance: expected shape (K, D) with at least 2 factors and 2 latents, found {importance.shape}"
        )
    if not np.isfinite(importance).all() or (importance < 0.0).any():
        raise ValueError(
            f"importance: expected finite non-negative numbers, found {importance.min()} as the smallest; "
            "take absolute values of coefficients"
        )
    # Only ratios matter, and the sum of huge entries could overflow.
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
    """Disentanglement of an importance matrix: is each latent important for one factor only?

    Parameters
    ----------
    importance : (K, D) non-negative, rows are factors; K >= 2, D >= 2.

    Returns
    -------
    float in [0, 1], sum_j rho_j (1 - H_K(R_.j / sum)), where rho_j is the share of latent j in the total. A latent
    without importance has no effect. A matrix of zeros scores 0.

    Raises
    ------
    ValueError
        For a smaller matrix, negative entries, NaN or infinities.

    Notes
    -----
    Eastwood and Williams 2018, "A Framework for the Quantitative Evaluation of Disentangled Representations".

    Examples
    --------
    >>> dci_disentanglement([[1, 0, 0], [0, 2, 0]])
    1.0
    """
    importance = _check_importance(importance)
    return _weighted(one_minus_entropy(importance.T), importance.sum(axis=0))


def dci_completeness(importance: np.ndarray) -> float:
    """Completeness of an importance matrix: is one latent important for each factor?

    Returns sum_k (1 - H_D(R_k. / sum)), weighted by the factor's share of the total (1/K each if a predictor's
    importances sum to 1). Parameters, range and errors are those of `dci_disentanglement`.
    """
    importance = _check_importance(importance)
    return _weighted(one_minus_entropy(importance), importance.sum(axis=1))


def dci_work(
    classes: np.ndarray,
    kinds: Sequence[str],
    *,
    n_latents: int,
    predictor: str = "gradient_boosting",
    max_rows: int = MAX_ROWS,
) -> float:
    """Cost of `dci` relative to its limit; above 1, `dci` is refused.

    A boosting stage fits one tree per ordered factor and per class of a nominal one (one tree for two classes), and
    each split tries every latent. A forest fits one tree per factor, and each split tries sqrt(n_latents).
    """
    n_levels = classes.max(axis=0) + 1
    n_trees = sum(int(n) if kind == "nominal" and n > 2 else 1 for n, kind in zip(n_levels, kinds, strict=True))
    n_tried = n_latents if predictor == "gradient_boosting" else n_latents**0.5
    return min(len(classes), max_rows) * n_trees * n_tried / MAX_WORK


def check_work(classes: np.ndarray, kinds: Sequence[str], *, n_latents: int, **options) -> None:
    """Refuse a `dci` that takes too long. The options are those of `dci_work`."""
    work = dci_work(classes, kinds, n_latents=n_latents, **options)
    if work > 1.0:
        raise ValueError(
            f"dci: {n_latents} latents and {(classes.max(axis=0) + 1).tolist()} levels cost {work:.1f} times the "
            'limit; leave this metric out, or use fewer rows (max_rows), fewer latents or predictor="random_forest"'
        )


def _tree_ensemble(predictor: str, kind: str, seed: int):
    from sklearn import ensemble

    name = PREDICTORS[predictor] + ("Classifier" if kind == "nominal" else "Regressor")
    return getattr(ensemble, name)(random_state=seed)


def fit_importance(sample: Sample, *, seed: int, predictor: str, max_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Fit one predictor per factor; return importance (K, D) and held-out accuracy or R^2 (K,), at least 0."""
    import sklearn

    # A classifier needs rows of every class; a regressor only needs rows of the most common level and of others.
    groups = [
        classes if kind == "nominal" else (classes != np.bincount(classes).argmax()).astype(int)
        for classes, kind in zip(sample.classes.T, sample.kinds)
    ]
    rows = fitted_rows(np.stack(groups, axis=1), seed=seed, max_rows=max_rows)
    codes = sample.standardised[rows]

    def fit(k: int) -> tuple[np.ndarray, float]:
        nominal = sample.kinds[k] == "nominal"
        classes = sample.classes[rows, k]
        split = stratified_split if nominal else regression_split
        fitted, held_out = split(classes, name=sample.names[k])
        target = classes if nominal else classes.astype(np.float64)
        with sklearn.config_context(skip_parameter_validation=True, assume_finite=True):  # else checked for every tree
            model = _tree_ensemble(predictor, sample.kinds[k], seed).fit(codes[fitted], target[fitted])
        # Rounding leaves importances such as -1e-17.
        weights = np.maximum(model.feature_importances_, 0.0)
        predicted, truth = model.predict(codes[held_out]), target[held_out]
        if nominal:
            return weights, float(np.mean(predicted == truth))
        spread = np.sum((truth - truth.mean()) ** 2)
        error = np.sum((truth - predicted) ** 2)
        return weights, max(1.0 - error / spread, 0.0) if spread > 0.0 else 0.0

    importance, informativeness = zip(*map(fit, range(sample.n_factors)), strict=True)
    return np.stack(importance), np.array(informativeness)


@metric("DCI", factors=2, latents=2, n_rows=10, returns=DCI)
def dci(
    sample: Sample, *, predictor: str = "gradient_boosting", max_rows: int = MAX_ROWS, seed: int = 0
) -> tuple[Row, Row, Row]:
    """Disentanglement, completeness and informativeness of a fitted predictor's importances.

    Codes are not binned. A nominal factor needs two levels with two rows each. The cost is rows x latents x (ordered
    factors + classes of nominal ones). A cost above 5,000,000 is refused, such as 5,000 rows of 8 latents and 126
    classes, or of 334 latents and 3 ordered factors.

    Returns
    -------
    DCI, each in [0, 1]. Informativeness is the accuracy of a classifier for a nominal factor (its chance level is not
    0), and R^2 of a regressor for an ordered one, on held-out rows.

    Other Parameters
    ----------------
    predictor : "gradient_boosting" (scikit-learn's defaults) or "random_forest". Locatello et al. 2019 boost a
        classifier for every factor; here only nominal factors have one.

    Notes
    -----
    Eastwood and Williams 2018; see `dci_disentanglement` and `dci_completeness`.
    """
    if predictor not in PREDICTORS:
        raise ValueError(f"predictor: expected one of {tuple(PREDICTORS)}, found {predictor!r}")
    n_active = int(sample.active.sum())
    check_work(sample.classes, sample.kinds, n_latents=n_active, predictor=predictor, max_rows=max_rows)
    importance, informativeness = fit_importance(sample, seed=seed, predictor=predictor, max_rows=max_rows)
    return (
        Row(dci_disentanglement(importance)),
        Row(dci_completeness(importance), one_minus_entropy(importance)),
        mean_over_factors(informativeness),
    )
