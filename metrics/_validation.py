"""Checks of all inputs, and the binning of factors and codes.

Float factors are refused: factors and codes were probably swapped, which changes every score and raises no other error.
An inactive latent counts as constant. A constant latent is never active.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

KINDS = ("nominal", "ordered")
EDGE = 1e-9  # in bin widths or standard deviations: closer values count as equal
ROUNDING = 2  # of codes, in units of their type's precision at the largest magnitude of a latent
ACTIVE_SHARE = 1 / 20  # of the largest standard deviation


@dataclass(frozen=True, eq=False)
class Sample:
    """Checked input of a metric.

    Active latents are divided by a power of two so that their largest magnitude is at most 1: exact, and nothing
    computed from them can overflow.
    """

    classes: np.ndarray  # (N, K) int64, 0, 1, ... without gaps, after binning; the target of a regression, too
    kinds: tuple[str, ...]  # K of KINDS
    names: tuple[str, ...]  # K names of the factors
    codes: np.ndarray  # (N, D) float64; inactive columns are 0
    active: np.ndarray  # (D,) bool
    rounding: np.ndarray  # (D,) rounding error of the codes in the type in which they were given
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
        codes, active, rounding, _ = check_codes(codes, None)
        return replace(self, codes=codes, active=active, rounding=rounding)

    def permuted(self, generator: np.random.Generator) -> Self:
        """Return the same factors with the rows of the codes permuted."""
        return replace(self, codes=self.codes[generator.permutation(len(self.codes))])


def once_per_sample(function: Callable) -> Callable:
    """Cache the results of `function(sample, **options)`, which several metrics share, in the sample."""

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
    factor_names: Sequence[str] | None = None,
) -> Sample:
    """Check and bin the arguments that all metrics share; `_metric` describes them and the errors."""
    n_bins = check_integer("n_bins", n_bins, least=2)
    classes, kinds, names = check_factors(factors, factor_bins, kinds=factor_kinds, names=factor_names)
    codes, active, rounding, _ = check_codes(codes, active)
    if len(classes) != len(codes):
        raise ValueError(f"factors has {len(classes)} rows, codes has {len(codes)}; pass one row of each per sample")
    return Sample(classes, kinds, names, codes, active, rounding, n_bins)


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


def to_array(name: str, values: np.ndarray) -> np.ndarray:
    """Convert tensors, data frames and lists to an array; refuse masked entries."""
    if hasattr(values, "detach"):  # numpy cannot convert a tensor with a gradient, of bfloat16 or on a GPU
        values = values.detach().cpu()
        values = values.float() if "bfloat16" in str(values.dtype) else values
    array = np.ma.array(values)
    if np.ma.is_masked(array):
        found = np.ma.count_masked(array)
        raise ValueError(f"{name}: expected no masked entries, found {found}; leave out the rows that have them")
    return array.data


def _check_table(name: str, values: np.ndarray, columns: str) -> np.ndarray:
    table = to_array(name, values)
    if table.ndim != 2 or 0 in table.shape:
        advice = f"a single column is passed as {name}[:, None]"
        advice = advice if table.ndim < 3 else f"pass one row per sample, {name}.reshape(len({name}), -1)"
        raise ValueError(
            f"{name}: expected shape (N, {columns}) with at least one row and column, found {table.shape}; {advice}"
        )
    return table


def check_factors(
    factors: np.ndarray, n_bins: int | None, *, kinds: Sequence[str] | None, names: Sequence[str] | None = None
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Return `Sample.classes` (ordered factors binned at `n_bins`), `Sample.kinds` and `Sample.names`."""
    factors = _check_table("factors", factors, "K")
    if factors.dtype.kind not in "iub":
        raise TypeError(
            f"factors: expected integer levels, found {factors.dtype}; if factors and codes were swapped, "
            "exchange them, else pass level indices (np.unique(column, return_inverse=True)[1])"
        )
    n_factors = factors.shape[1]
    kinds, names = check_kinds(kinds, n_factors=n_factors), _check_names(names, n_factors=n_factors)
    for name, column in zip(names, factors.T):
        row = int(column.argmin())
        if column[row] < 0:
            raise ValueError(
                f"factors: expected level numbers of at least 0, found {column[row]} in row {row} of {name!r}; leave "
                "out rows without a label, or relabel with np.unique(column, return_inverse=True)[1]"
            )
        if column[row] == column.max():
            raise ValueError(
                f"factors: expected at least 2 levels, found only {column[row]} in {name!r}; leave out this factor"
            )
    n_bins = None if n_bins is None else check_integer("factor_bins", n_bins, least=2)
    return np.stack([bin_levels(column, n_bins, kind) for column, kind in zip(factors.T, kinds)], axis=1), kinds, names


def check_codes(codes: np.ndarray, active: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return `Sample.codes`, `Sample.active`, `Sample.rounding` and the exponents (D,) by which codes were scaled."""
    codes = _check_table("codes", codes, "D")
    if codes.dtype.kind not in "iubf":
        raise TypeError(f"codes: expected real numbers, found {codes.dtype}")
    precision = np.finfo(codes.dtype).eps if codes.dtype.kind == "f" else 0.0
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
    rounding = ROUNDING * float(precision) * np.abs(codes).max(axis=0)
    varies = np.ptp(codes, axis=0) > 4.0 * rounding
    active = varies if active is None else to_array("active", active)
    if active.dtype != bool or active.shape != varies.shape:
        raise ValueError(
            f"active: expected {len(varies)} booleans, one per latent, found {active.dtype} of shape {active.shape}; "
            "for indices of active latents pass np.isin(np.arange(D), indices)"
        )
    active = active & varies
    return np.where(active, codes, 0.0), active, rounding, exponent


def active_latents(codes: np.ndarray) -> np.ndarray:
    """Select the active latents of codes without a posterior.

    A latent is active when its standard deviation exceeds 1/20 of the largest latent's. Pass the result as `active`:
    by default, the metrics use every latent that is not constant, even a collapsed one of range 1e-4.

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
    codes, _, _, exponent = check_codes(codes, None)
    spread = np.ldexp(codes.std(axis=0), exponent - exponent.max())
    return spread > ACTIVE_SHARE * spread.max()


def check_kinds(kinds: Sequence[str] | None, *, n_factors: int) -> tuple[str, ...]:
    """Return the kinds of all factors, by default ordered."""
    kinds = ("ordered",) * n_factors if kinds is None else tuple(kinds)
    if len(kinds) != n_factors or any(kind not in KINDS for kind in kinds):
        raise ValueError(f"factor_kinds: expected {n_factors} of {KINDS}, one per factor, found {kinds!r}")
    return tuple(str(kind) for kind in kinds)


def _check_names(names: Sequence[str] | None, *, n_factors: int) -> tuple[str, ...]:
    if names is None:
        return tuple(f"factor {k}" for k in range(n_factors))
    names = names if isinstance(names, str) else tuple(map(str, names))
    if isinstance(names, str) or not len(names) == len(set(names)) == n_factors:
        raise ValueError(f"factor_names: expected {n_factors} different names, one per factor, found {names!r}")
    return names


def bin_levels(levels: np.ndarray, n_bins: int | None, kind: str = "ordered") -> np.ndarray:
    """Return class indices 0, 1, ... of the levels of one factor, (N,) integers.

    An ordered factor with more than `n_bins` levels is binned by index, because level numbers may be irregular.
    """
    values, classes = np.unique(levels, return_inverse=True)
    if kind == "nominal" or n_bins is None or len(values) <= n_bins:
        return classes
    return np.minimum(classes * n_bins // (len(values) - 1), n_bins - 1)


def discretise(codes: np.ndarray, n_bins: int, rounding: np.ndarray | float = 0.0) -> np.ndarray:
    """Bin every latent of `Sample.codes` into equal-width bins 0 .. n_bins - 1 between its own minimum and maximum."""
    low = codes.min(axis=0)
    width = codes.max(axis=0) - low
    width = np.where(width > 0.0, width, 1.0)
    # Codes on a lattice (levels, quantised latents) lie on bin edges, where rounding would decide the bin. A tolerance
    # of at most 1 / n_bins does not merge the levels of a lattice of n_bins levels.
    tolerance = np.clip(rounding / width * n_bins, EDGE, 1.0 / n_bins)
    position = (codes - low) / width * n_bins
    return np.minimum(np.floor(position + tolerance).astype(np.int64), n_bins - 1)
