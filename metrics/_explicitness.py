"""Explicitness, and the logistic fits that it shares with InfoMEC. scikit-learn is imported where it is used."""

from typing import NamedTuple

import numpy as np

from ._metric import Row, mean_over_factors, metric
from ._rows import MAX_ROWS, fitted_rows, stratified_split
from ._validation import Sample, once_per_sample

INVERSE_PENALTY = 100.0  # weak; without a regularizer, the weights of separable levels diverge
NEWTON_LIMIT = 1000  # number of weights above which lbfgs is faster


class LogisticFit(NamedTuple):
    """Held-out performance of a multinomial logistic regression of one factor on all codes."""

    auc: float  # one-vs-rest, mean over the factor's levels
    cross_entropy: float  # nats per row


@once_per_sample
def logistic_fits(sample: Sample, *, seed: int, max_rows: int) -> list[LogisticFit]:
    """Fit a multinomial logistic regression of every factor's classes on all codes."""
    rows = fitted_rows(sample.classes, seed=seed, max_rows=max_rows)
    codes = sample.standardised[rows]
    return [_logistic_fit(codes, classes, name=name) for classes, name in zip(sample.classes[rows].T, sample.names)]


def _logistic_fit(codes: np.ndarray, classes: np.ndarray, *, name: str) -> LogisticFit:
    from scipy.special import log_softmax
    from scipy.stats import rankdata
    from sklearn.linear_model import LogisticRegression

    classes = np.unique(classes, return_inverse=True)[1]  # a rare level may not be among the drawn rows
    fitted, held_out = stratified_split(classes, name=name)
    n_weights = (classes.max() + 1) * (codes.shape[1] + 1)
    # Newton's method warns if all codes are zero.
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


@metric("Explicitness", n_rows=10, repeated_levels=2)
def explicitness(sample: Sample, *, max_rows: int = MAX_ROWS, seed: int = 0) -> Row:
    """Explicitness: can a linear classifier predict the levels of a factor from all latents?

    Codes are not binned. Every level is a class, so bin ordered factors with many levels (`factor_bins`): 20 levels
    take a fraction of a second, 1,000 about ten seconds.

    Returns
    -------
    float in [0, 1], mean over factors of 2 AUC - 1 (at least 0). AUC is the one-vs-rest area under the ROC curve on
    held-out rows, mean over levels.

    Notes
    -----
    Ridgeway and Mozer 2018, "Learning Deep Disentangled Embeddings with the F-Statistic Loss". The fit is one
    multinomial logistic regression per factor (L2, C = 100): binary one-vs-rest fits could not separate a level that
    lies between others along a latent.
    """
    fits = logistic_fits(sample, seed=seed, max_rows=max_rows)
    return mean_over_factors(np.array([max(2.0 * fit.auc - 1.0, 0.0) for fit in fits]))
