"""SAP: how much better the best latent predicts a factor than the second best. Closed-form, on all rows."""

import numpy as np

from ._metric import Row, mean_over_factors, metric
from ._mutual_information import top_two_gap
from ._validation import EDGE, Sample


def sap_matrix(sample: Sample) -> np.ndarray:
    """(K, D) how well each latent alone predicts each factor, in [0, 1]; see `sap`."""
    scores = np.empty((sample.n_factors, sample.n_latents))
    tolerance = np.maximum(EDGE, sample.rounding / np.where(sample.active, sample.codes.std(axis=0), 1.0))
    for k, kind in enumerate(sample.kinds):
        if kind == "ordered":
            target = sample.classes[:, k] - sample.classes[:, k].mean()
            target /= target.std()
            scores[k] = (target @ sample.standardised / len(target)) ** 2
        else:
            latents = zip(sample.standardised.T, tolerance)
            scores[k] = [_balanced_accuracy(latent, sample.classes[:, k], edge) for latent, edge in latents]
    return np.minimum(scores, 1.0)


def _balanced_accuracy(latent: np.ndarray, classes: np.ndarray, edge: float) -> float:
    """Chance-corrected balanced accuracy of the nearest-class-mean rule on one standardised latent.

    Levels with equal means share the credit, and so do values on a boundary, so the order of levels and the sign of
    the latent do not change the result. Values closer than `edge` count as equal.
    """
    counts = np.bincount(classes)
    means = np.bincount(classes, weights=latent) / counts
    order = np.argsort(means)
    apart = np.diff(means[order]) > edge
    group = np.empty(len(counts), dtype=np.int64)
    group[order] = np.concatenate([[0], np.cumsum(apart)])
    boundaries = 0.5 * (means[order][:-1] + means[order][1:])[apart]
    accuracy = 0.0
    for shift in (-edge, edge):
        correct = np.searchsorted(boundaries + shift, latent) == group[classes]
        recall = np.bincount(classes[correct], minlength=len(counts)) / counts
        accuracy += 0.5 * np.mean(recall / np.bincount(group)[group])
    chance = 1.0 / len(counts)
    return max((accuracy - chance) / (1.0 - chance), 0.0)


@metric("SAP", latents=2)
def sap(sample: Sample) -> Row:
    """Separated attribute predictability: does one latent alone predict a factor much better than the second best?

    Codes are not binned. The metric is deterministic.

    Returns
    -------
    float in [0, 1], mean over factors of the gap between the two best latents.

    Notes
    -----
    Kumar et al. 2018, "Variational Inference of Disentangled Latent Concepts from Unlabeled Observations". An ordered
    factor is scored by R^2 of a linear fit, a nominal one by the balanced accuracy b of a linear classifier, corrected
    for chance: (b - 1/L) / (1 - 1/L) for L levels, at least 0. The classifier is linear discriminant analysis with
    equal priors, which in one dimension chooses the nearest class mean. It is invariant to affine maps of the latent
    and, unlike one-vs-rest margins, can separate levels that lie between others. It is tested on the rows it was fitted
    to. The optimism of its L means is of order sqrt(L / N), and the chance level includes it.
    """
    return mean_over_factors(top_two_gap(sap_matrix(sample)))
