"""Small matrices and grids whose scores can be worked out by hand.

Rows are factors, columns latents. Entropies are 2 for every factor unless given, so that a share of 1 and an
information of 2 differ.
"""

import numpy as np

import metrics
from metrics import Information
from metrics._validation import check_inputs

CLOSE = 1e-12  # a handful of double-precision operations
N_BINS = 20
DIAGONAL = np.diag([2.0, 2.0, 2.0])
MATRICES = {
    "diagonal": DIAGONAL,
    "empty code": np.hstack([DIAGONAL, np.zeros((3, 1))]),  # a fourth latent without information
    "zero": np.zeros((3, 3)),
    "redundant": np.hstack([DIAGONAL, DIAGONAL]),
    "missed": np.diag([2.0, 2.0, 0.0]),  # the third factor and the third latent share nothing with any other
    "merged": np.array([[2.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]),  # two factors in the first latent
}


def information(mi, *, entropy=2.0, code_entropy=2.0, active=None):
    """An Information with the given mi; a latent without any is constant unless `active` is given."""
    mi = np.asarray(mi, dtype=float)
    entropies = np.full(len(mi), entropy)
    active = mi.any(axis=0) if active is None else np.asarray(active)
    joint = entropies[:, None] + np.where(active, code_entropy, 0.0) - mi
    return Information(mi, entropies, joint, active, np.zeros(mi.shape[1]), N_BINS)


def grid(*n_levels, repeats=1):
    """(repeats * prod(n_levels), K) int, every combination of levels equally often."""
    return np.tile(np.indices(n_levels).reshape(len(n_levels), -1).T, (repeats, 1))


def sample_of(factors, codes, **options):
    return check_inputs(factors=factors, codes=codes, **options)


KINDS = ("nominal", "ordered", "ordered")  # of the factors of `tones`
NAMES = ("timbre", "amplitude", "frequency")
CHEAP = ("mig", "mig_sup", "jemmig", "dcimig", "modularity", "sap", "irs")


def report(factors, codes, **options):
    """Evaluate the cheap metrics of codes of `tones`."""
    options = {"factor_names": NAMES, "factor_kinds": KINDS, "metrics": CHEAP} | options
    return metrics.evaluate(factors=factors, codes=codes, **options)
