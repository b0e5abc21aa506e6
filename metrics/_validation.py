"""Checks of all inputs, and the binning of factors and codes.

Float factors are refused: they mean that factors and codes were swapped, which changes every score and raises no other
error. An inactive latent counts as constant; a constant latent is never active.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

KINDS = ("nominal", "ordered")
EDGE = 1e-9  # in bin widths or standard deviations: closer values count as equal
ACTIVE_SHARE = 1 / 20  # of the largest standard deviation


@dataclass(frozen=True, eq=False)
class Sample:
    """Checked input of a metric.

    Active latents are divided by a power of two so that their largest magnitude is at most 1: exact, and nothing
    computed from them can overflow.
    """

    levels: np.ndarray  # (N, K) int64, after binning; the target of a regression
    classes: np.ndarray  # (N, K) int64, the same relabelled 0, 1, ... without gaps
    kinds: tuple[str, ...]  # K of KINDS
    codes: np.ndarray  # (N, D) float64; inactive columns are 0
    active: np.ndarray  # (D,) bool
    n_bins: int  # per latent
    results: dict = field(init=False, default_factory=dict)  # see once_per_sample

    @property
    def n_factors(self) -> int:
        return self.classes.shape[1]

    @property
    def n_latents(self) -> int:
        return self.codes.shape[1]

    @functools.cached_property
    def standardised(self) -> np.ndarray:
        """(N, D) codes with mean 0 and standard deviation 1; inactive columns are 0."""
        centred = self.codes - self.codes.mean(axis=0)
        # Twice: the first mean of a latent with a large offset is itself rounded.
        centred -= centred.mean(axis=0)
        centred[:, ~self.active] = 0.0
        spread = centred.std(axis=0)
        return centred / np.where(spread > 0.0, spread, 1.0)

    def with_codes(self, codes: np.ndarray) -> Self:
        """Return the same factors with other codes, of which every latent that varies is active."""
        codes, active = check_codes(codes, None)
        return replace(self, codes=codes, active=active)

    def permuted(self, generator: np.random.Generator) -> Self:
        """Return the same factors with the rows of the codes permuted."""
        return replace(self, codes=self.codes[generator.permutation(len(self.codes))])


def once_per_sample(function: Callable) -> Callable:
    """Keep the results of `function(sample, **options)`, which several metrics share, as long as the sample exists."""

    @functools.wraps(function)
    def kept(sample: Sample, **options):
        key = (function.__name__, *sorted(options.items()))
        if key not in sample.results:
            sample.results[key] = function(sample, **options)
        return sample.results[key]

    return kept


def check_inputs(
    *,
    factors: np.ndarray,
    codes: np.ndarray,
    n_bins: int = 20,
    factor_bins: int | None = None,
    factor_kinds: Sequence[str] | None = None,
    active: np.ndarray | None = None,
) -> Sample:
    """Check and bin the arguments that all metrics share; `_metric` describes them and the errors."""
    n_bins = check_integer("n_bins", n_bins, least=2)
    levels = _check_factors(factors)
    codes, active = check_codes(codes, active)
    if len(levels) != len(codes):
        raise ValueError(f"factors has {len(levels)} rows, codes has {len(codes)}; pass one row of each per sample")
    kinds = check_kinds(factor_kinds, n_factors=levels.shape[1])
    if factor_bins is not None:
        factor_bins = check_integer("factor_bins", factor_bins, least=2)
        columns = [bin_levels(column, factor_bins, kind) for column, kind in zip(levels.T, kinds)]
        levels = np.stack(columns, axis=1)
    classes = np.stack([np.unique(column, return_inverse=True)[1] for column in levels.T], axis=1)
    return Sample(levels, classes, kinds, codes, active, n_bins)


def check_integer(name: str, value: int, *, least: int, most: int | None = None) -> int:
    """Return `value` as an int between `least` and `most`."""
    try:
        value = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, found {value!r}") from None
    if value < least or (most is not None and value > most):
        expected = f"at least {least}" if most is None else f"{least} to {most}"
        raise ValueError(f"{name}: expected {expected}, found {value}")
    return value


def check_seed(seed: int) -> int:
    """Return `seed` as an int that both numpy and scikit-learn accept."""
    return check_integer("seed", seed, least=0, most=2**32 - 1)


def _check_table(name: str, array: np.ndarray, columns: str) -> np.ndarray:
    array = np.asarray(array)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"{name}: expected shape (N, {columns}) with at least one row and column, found {array.shape}; "
            f"a single column is passed as {name}[:, None]"
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
        if not 0 < high - low < 2**31:  # far above any level index, far below an overflow of the binning
            raise ValueError(
                f"factors: expected at least 2 level indices in every column, found {low} to {high} in column {k}; "
                "leave a factor of one level out, relabel others with np.unique(column, return_inverse=True)[1]"
            )
    lowest = factors.min(axis=0) if factors.dtype.kind == "u" else 0  # uint64 above 2**63 would wrap around
    return (factors - lowest).astype(np.int64)


def _scaled_codes(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return codes as float64 times 2 ** -exponent, at most 1 in magnitude; which latents vary; (D,) exponent."""
    codes = _check_table("codes", codes, "D")
    if codes.dtype.kind not in "iubf":
        raise TypeError(f"codes: expected real numbers, found {codes.dtype}")
    # Constant up to the rounding of the type in which the codes were computed.
    precision = 8.0 * np.finfo(codes.dtype).eps if codes.dtype.kind == "f" else 0.0
    codes = codes.astype(np.float64)
    broken = np.argwhere(~np.isfinite(codes))
    if len(broken):
        row, latent = broken[0]
        raise ValueError(
            f"codes: expected finite numbers, found {len(broken)} that are NaN or infinite, the first in row {row}, "
            f"latent {latent}; a diverged model has no scores"
        )
    exponent = np.frexp(np.abs(codes).max(axis=0))[1]
    codes = np.ldexp(codes, -exponent)
    return codes, np.ptp(codes, axis=0) > precision * np.abs(codes).max(axis=0), exponent


def check_codes(codes: np.ndarray, active: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return `Sample.codes` and `Sample.active` for codes of any real type and scale."""
    codes, varies, _ = _scaled_codes(codes)
    if active is None:
        active = varies
    else:
        active = np.asarray(active)
        if active.dtype != bool or active.shape != (codes.shape[1],):
            raise ValueError(
                f"active: expected {codes.shape[1]} booleans, one per latent, found {active.dtype} of shape "
                f"{active.shape}; for indices of active latents pass np.isin(np.arange(D), indices)"
            )
        active = active & varies
    return np.where(active, codes, 0.0), active


def active_latents(codes: np.ndarray) -> np.ndarray:
    """Choose the active latents of codes that come without a posterior: those that vary as much as the others.

    A latent is active when its standard deviation exceeds 1/20 of the largest latent's. Pass the result as `active`:
    the metrics themselves take every latent that is not constant, also a collapsed one of range 1e-4.

    Parameters
    ----------
    codes : (N, D) float, one column per latent.

    Returns
    -------
    (D,) bool.

    Raises
    ------
    TypeError, ValueError
        If `codes` is not a table of finite real numbers.

    Examples
    --------
    >>> active_latents([[0.0, 0.01, 5.0], [1.0, 0.02, 5.0]])
    array([ True, False, False])
    """
    codes, varies, exponent = _scaled_codes(codes)
    spread = np.where(varies, np.ldexp(codes.std(axis=0), exponent - exponent.max()), 0.0)
    return spread > ACTIVE_SHARE * spread.max()


def check_kinds(kinds: Sequence[str] | None, *, n_factors: int) -> tuple[str, ...]:
    """Return the kinds of all factors, by default ordered."""
    if kinds is None:
        return ("ordered",) * n_factors
    if isinstance(kinds, str) or len(kinds) != n_factors or any(kind not in KINDS for kind in kinds):
        raise ValueError(f"factor_kinds: expected {n_factors} of {KINDS}, one per factor, found {kinds!r}")
    return tuple(str(kind) for kind in kinds)


def bin_levels(levels: np.ndarray, n_bins: int, kind: str = "ordered") -> np.ndarray:
    """Bin the levels of one factor, (N,) integers, if it is ordered and has more than `n_bins` of them."""
    if kind == "nominal" or len(np.unique(levels)) <= n_bins:
        return levels
    low, high = levels.min(), levels.max()
    return np.minimum((levels - low) * n_bins // (high - low), n_bins - 1)


def discretise(codes: np.ndarray, n_bins: int) -> np.ndarray:
    """Bin every latent of `Sample.codes` into equal-width bins 0 .. n_bins - 1 between its own minimum and maximum."""
    low = codes.min(axis=0)
    width = codes.max(axis=0) - low
    position = (codes - low) / np.where(width > 0.0, width, 1.0) * n_bins
    # Codes on a lattice (levels, quantised latents) lie exactly on edges; without EDGE, the rounding of
    # z * scale + shift would decide their bin.
    return np.minimum(np.floor(position + EDGE).astype(np.int64), n_bins - 1)
