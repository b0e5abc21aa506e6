"""Guard, discretisation, entropies and mutual information: what every score shares.

Conventions of the package
--------------------------
factors : (N, K) integer levels, one column per generative factor. Never floats: a float array here means that factors
    and codes were swapped, which changes every score and raises nothing elsewhere.
codes : (N, D) real numbers, one column per latent (posterior means, usually).
entropies and mutual information are plug-in estimates in nats. Larger scores are better.
An inactive latent counts as constant; a constant latent is never active.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

KINDS = ("nominal", "ordered")
ZERO_MI = 1e-12  # nats; rounding leaves about 1e-15 where the truth is 0
EDGE = 1e-9  # bin widths; see discretise
MAX_LEVEL_RANGE = 2**31  # far above any level index, far below an overflow in the binning of factors

# Least numbers of factors, latents and rows that a score needs to be defined at all.
NEEDS = {
    "mutual_information": (1, 1, 2),
    "mig": (1, 2, 2),
    "mig_sup": (2, 1, 2),
    "jemmig": (1, 2, 2),
    "dcimig": (2, 1, 2),
    "modularity": (2, 1, 2),
    "sap": (1, 2, 2),
    "dci": (2, 2, 10),
    "explicitness": (1, 1, 10),
    "irs": (2, 1, 2),
    "beta_vae_score": (2, 1, 2),
    "factor_vae_score": (2, 1, 2),
    "infomec": (2, 2, 10),
}


@dataclass(frozen=True, eq=False)
class Sample:
    """Checked input of a score.

    Attributes
    ----------
    levels : (N, K) int64, levels after binning; the target of a regression.
    classes : (N, K) int64, the same relabelled 0 .. n_classes[k] - 1 without gaps.
    n_classes : K ints, at least 2 each.
    kinds : K strings, "nominal" or "ordered".
    codes : (N, D) float64, every active latent divided by a power of two so that its largest magnitude is at most 1
        (exact, and nothing computed from it can overflow); inactive columns are 0.
    active : (D,) bool.
    n_bins : bins per latent.
    """

    levels: np.ndarray
    classes: np.ndarray
    n_classes: tuple[int, ...]
    kinds: tuple[str, ...]
    codes: np.ndarray
    active: np.ndarray
    n_bins: int

    @property
    def n_factors(self) -> int:
        return self.classes.shape[1]

    @property
    def n_latents(self) -> int:
        return self.codes.shape[1]

    @cached_property
    def standardised(self) -> np.ndarray:
        """(N, D) codes with mean 0 and standard deviation 1; inactive columns stay 0."""
        centred = self.codes - self.codes.mean(axis=0)
        # Once more around 0: the first mean of a latent with a large offset is itself rounded.
        centred -= centred.mean(axis=0)
        centred[:, ~self.active] = 0.0
        spread = centred.std(axis=0)
        return centred / np.where(spread > 0.0, spread, 1.0)

    @cached_property
    def information(self) -> Information:
        return estimate_information(self)

    @cached_property
    def memo(self) -> dict:
        """Fits that two scores share, kept as long as the sample lives (see prediction.logistic_fits)."""
        return {}

    def with_codes(self, codes: np.ndarray, active: np.ndarray | None = None) -> Sample:
        """Return the same factors beside other codes."""
        codes, active = check_codes(codes, active)
        return replace(self, codes=codes, active=active)

    def permuted(self, generator: np.random.Generator) -> Sample:
        """Return the same factors beside the same codes in another order of rows."""
        return replace(self, codes=self.codes[generator.permutation(len(self.codes))])


@dataclass(frozen=True, eq=False)
class Information:
    """Entropies and mutual information of factors and binned codes, in nats.

    Attributes
    ----------
    mi : (K, D) mutual information I(v_k; z_j), at least 0; inactive columns are 0.
    entropy : (K,) entropy of every factor.
    joint_entropy : (K, D) entropy of the pair (v_k, z_j).
    active : (D,) bool.
    occupancy : (D,) share of samples in the fullest bin, 1 for an inactive latent. One outlier empties all other
        equal-width bins; this number shows it.
    n_bins : int.
    """

    mi: np.ndarray
    entropy: np.ndarray
    joint_entropy: np.ndarray
    active: np.ndarray
    occupancy: np.ndarray
    n_bins: int


def check_inputs(
    score: str,
    *,
    factors: np.ndarray,
    codes: np.ndarray,
    n_bins: int = 20,
    factor_bins: int | None = None,
    factor_kinds: Sequence[str] | None = None,
    active: np.ndarray | None = None,
) -> Sample:
    """Check the input of a score; the only guard of the package.

    Raises
    ------
    TypeError
        If `factors` is not of an integer type (swapped arguments), or a count is no integer.
    ValueError
        If a shape, a length, a level or a code is not what the score needs; the message says what was expected, what
        was found and what to do.
    """
    n_bins = check_count("n_bins", n_bins, least=2)
    levels = _check_factors(factors)
    codes, active = check_codes(codes, active)
    if len(levels) != len(codes):
        raise ValueError(f"factors has {len(levels)} rows, codes has {len(codes)}; pass one row of each per sample")
    check_needs(score, n_factors=levels.shape[1], n_latents=codes.shape[1], n_rows=len(codes))
    kinds = _check_kinds(factor_kinds, n_factors=levels.shape[1])
    if factor_bins is not None:
        factor_bins = check_count("factor_bins", factor_bins, least=2)
        levels = np.stack(
            [
                bin_levels(column, factor_bins) if kind == "ordered" else column
                for column, kind in zip(levels.T, kinds, strict=True)
            ],
            axis=1,
        )
    classes = np.empty_like(levels)
    n_classes = []
    for k, column in enumerate(levels.T):
        values, classes[:, k] = np.unique(column, return_inverse=True)
        n_classes.append(len(values))
    return Sample(levels, classes, tuple(n_classes), kinds, codes, active, n_bins)


def check_needs(score: str, *, n_factors: int, n_latents: int, n_rows: int) -> None:
    """Refuse fewer factors, latents or rows than `score` is defined for."""
    for what, found, least in zip(
        ("factors", "latents", "rows"), (n_factors, n_latents, n_rows), NEEDS[score], strict=True
    ):
        if found < least:
            raise ValueError(
                f"{score} needs at least {least} {what}, found {found}; leave this score out for these data"
            )


def check_count(name: str, value: int, *, least: int) -> int:
    """Return `value` as an int of at least `least`."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected an integer, found {value!r}")
    try:
        value = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, found {value!r}") from None
    if value < least:
        raise ValueError(f"{name}: expected at least {least}, found {value}")
    return value


def check_seed(seed: int) -> int:
    """Return `seed` as an int that numpy and scikit-learn both take."""
    try:
        seed = operator.index(seed)
    except TypeError:
        raise TypeError(f"seed: expected an integer, found {seed!r}") from None
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed: expected 0 to 2**32 - 1, found {seed}")
    return seed


def _check_table(name: str, array: np.ndarray, columns: str) -> np.ndarray:
    array = np.asarray(array)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"{name}: expected shape (N, {columns}) with at least one row and column, found "
            f"{array.shape}; a single column is passed as {name}[:, None]"
        )
    return array


def _check_factors(factors: np.ndarray) -> np.ndarray:
    factors = _check_table("factors", factors, "K")
    if factors.dtype.kind not in "iub":
        raise TypeError(
            f"factors: expected integer levels, found {factors.dtype}; if factors and codes were swapped, "
            "exchange them, else pass level indices (np.unique(column, return_inverse=True)[1])"
        )
    for k, column in enumerate(factors.T):
        low, high = int(column.min()), int(column.max())
        if low == high:
            raise ValueError(
                f"factors: expected at least 2 levels in every column, found the single level {low} in "
                f"column {k}; leave this factor out"
            )
        if high - low > MAX_LEVEL_RANGE:
            raise ValueError(
                f"factors: expected level indices, found values from {low} to {high} in column {k}; "
                "relabel them (np.unique(column, return_inverse=True)[1])"
            )
    if factors.dtype.kind == "u":  # uint64 above 2**63 would wrap around
        factors = factors - factors.min(axis=0)
    return factors.astype(np.int64)


def check_codes(codes: np.ndarray, active: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    codes = _check_table("codes", codes, "D")
    if codes.dtype.kind not in "iubf":
        raise TypeError(f"codes: expected real numbers, found {codes.dtype}")
    # Constant up to the rounding of the type that the codes were computed in.
    precision = 8.0 * np.finfo(codes.dtype).eps if codes.dtype.kind == "f" else 0.0
    codes = codes.astype(np.float64)
    finite = np.isfinite(codes)
    if not finite.all():
        row, latent = np.argwhere(~finite)[0]
        raise ValueError(
            f"codes: expected finite numbers, found {np.size(finite) - np.sum(finite)} that are NaN or "
            f"infinite, the first in row {row}, latent {latent}; a diverged model has no scores"
        )
    magnitude = np.abs(codes).max(axis=0)
    codes = np.ldexp(codes, -np.frexp(magnitude)[1])
    varies = np.ptp(codes, axis=0) > precision * np.abs(codes).max(axis=0)
    if active is None:
        active = varies
    else:
        active = np.asarray(active)
        if active.dtype != bool or active.shape != (codes.shape[1],):
            raise ValueError(
                f"active: expected {codes.shape[1]} booleans, one per latent, found {active.dtype} of "
                f"shape {active.shape}; for indices of active latents pass np.isin(np.arange(D), indices)"
            )
        active = active & varies
    return np.where(active, codes, 0.0), active


def _check_kinds(kinds: Sequence[str] | None, *, n_factors: int) -> tuple[str, ...]:
    if kinds is None:
        return ("ordered",) * n_factors
    if isinstance(kinds, str) or len(kinds) != n_factors or any(kind not in KINDS for kind in kinds):
        raise ValueError(f"factor_kinds: expected {n_factors} of {KINDS}, one per factor, found {kinds!r}")
    return tuple(str(kind) for kind in kinds)


def bin_levels(levels: np.ndarray, n_bins: int) -> np.ndarray:
    """Bin one column of levels, (N,) integers, if it has more than `n_bins` of them."""
    if len(np.unique(levels)) <= n_bins:
        return levels
    low, high = levels.min(), levels.max()
    return np.minimum((levels - low) * n_bins // (high - low), n_bins - 1)


def discretise(codes: np.ndarray, n_bins: int) -> np.ndarray:
    """Put every latent into equal-width bins between its own minimum and maximum.

    Parameters
    ----------
    codes : (N, D) float, magnitudes at most 1 (as `Sample` holds them).

    Returns
    -------
    (N, D) int64 in 0 .. n_bins - 1; a constant latent is all 0.

    Notes
    -----
    A value less than 1e-9 bin widths below an edge counts as lying on it. Codes on a lattice (levels, quantised
    latents) lie on edges exactly, and without this the rounding of z * scale + shift would decide their bin.
    """
    low = codes.min(axis=0)
    width = codes.max(axis=0) - low
    position = (codes - low) / np.where(width > 0.0, width, 1.0) * n_bins
    return np.minimum(np.floor(position + EDGE).astype(np.int64), n_bins - 1)


def entropy_of_counts(counts: np.ndarray) -> float:
    """Plug-in entropy, in nats, of a histogram given as non-negative counts of any shape."""
    counts = counts[counts > 0].astype(np.float64)
    total = counts.sum()
    return float(np.log(total) - np.sum(counts * np.log(counts)) / total)


def estimate_information(sample: Sample) -> Information:
    """Estimate all entropies and mutual informations of a sample from joint histograms."""
    n_bins, shape = sample.n_bins, (sample.n_factors, sample.n_latents)
    bins = np.ascontiguousarray(discretise(sample.codes, n_bins).T)
    histograms = [np.bincount(column, minlength=n_bins) for column in bins]
    code_entropy = np.array([entropy_of_counts(histogram) for histogram in histograms])
    classes = np.ascontiguousarray(sample.classes.T)
    entropy = np.array([entropy_of_counts(np.bincount(column)) for column in classes])
    # A latent that is constant adds nothing to a factor's entropy; no histogram is needed to know it.
    joint = np.repeat(entropy[:, None], shape[1], axis=1)
    for k, column in enumerate(classes):
        offset = column * n_bins
        for j in np.flatnonzero(sample.active):
            joint[k, j] = entropy_of_counts(np.bincount(offset + bins[j], minlength=sample.n_classes[k] * n_bins))
    mi = entropy[:, None] + code_entropy - joint
    # Rounding may leave I a hair above the entropies that bound it.
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


def mutual_information(
    *,
    factors: np.ndarray,
    codes: np.ndarray,
    n_bins: int = 20,
    factor_bins: int | None = None,
    factor_kinds: Sequence[str] | None = None,
    active: np.ndarray | None = None,
) -> Information:
    """Mutual information between every factor and every binned latent; the matrix behind MIG and its relatives.

    Parameters
    ----------
    factors : (N, K) int, level of every factor. K >= 1, at least 2 levels each.
    codes : (N, D) float, one column per latent.
    n_bins : int, at least 2. Equal-width bins per latent, between its minimum and maximum.
    factor_bins : int or None. Bin every ordered factor with more levels than this; None uses levels as classes.
    factor_kinds : K of "nominal" or "ordered"; default all ordered. A nominal factor is never binned.
    active : (D,) bool; default every latent that is not constant. Inactive latents count as constant.

    Returns
    -------
    Information, in nats. The heat map of a report is `mi / entropy[:, None]`.

    Raises
    ------
    TypeError, ValueError
        As every score of this package: see `check_inputs`.
    """
    return check_inputs(
        "mutual_information",
        factors=factors,
        codes=codes,
        n_bins=n_bins,
        factor_bins=factor_bins,
        factor_kinds=factor_kinds,
        active=active,
    ).information
