"""The decorator of all metrics. A metric is written as a function of a checked `Sample` and called with arrays:

>>> @metric("MIG", latents=2, bins_codes=True)
... def mig(sample: Sample) -> Row: ...
>>> mig(factors=factors, codes=codes, factor_bins=20)  # a float

To add one, write it in a file of its own, and add it to `_evaluate.FUNCTIONS` and to the cases of `self_test`.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._validation import Sample, check_inputs, check_integer, check_seed

PARAMETERS = {  # shared by several metrics
    "factors": "(N, K) int, level number of every factor, from 0, at least 2 levels each. K >= {0}, N >= {2}.",
    "codes": "(N, D) float, one column per latent. D >= {1}.",
    "n_bins": "int, at least 2. Equal-width bins per latent, between its minimum and maximum.",
    "factor_bins": "int or None. Bin ordered factors with more levels than this; None uses levels as classes. "
    "The default of `evaluate` is `n_bins`.",
    "factor_kinds": 'K of "nominal" or "ordered"; default all ordered. A nominal factor is never binned.',
    "active": "(D,) bool; default every latent that is not constant. Inactive latents count as constant.",
    "max_rows": "int, at least 10. Rows drawn to fit and test a predictor, 4 of 5 to fit.",
    "seed": "int. Random seed of rows, splits and predictors.",
}
RAISES = """Raises
------
TypeError
    If `factors` is not of an integer type (factors and codes were swapped), or a count is not an integer.
ValueError
    If a shape, a length, a level or a code is not as described above{repeated}.
"""


@dataclass(frozen=True, eq=False)
class Row:
    """One score, and the (K,) scores of the factors if it is their mean."""

    value: float
    per_factor: np.ndarray | None = None


def mean_over_factors(per_factor: np.ndarray) -> Row:
    return Row(float(per_factor.mean()), per_factor)


def mean_over_latents(per_latent: np.ndarray) -> Row:
    """Mean over latents; 0 without active latents."""
    return Row(float(np.mean(per_latent)) if len(per_latent) else 0.0)


def metric(
    title: str,
    *,
    factors: int = 1,
    latents: int = 1,
    n_rows: int = 2,
    repeated_levels: int = 0,
    bins_codes: bool = False,
    returns: Any = float,
) -> Callable[[Callable], Callable]:
    """Turn `compute(sample, **options)` into a public function of plain arrays.

    Its keyword-only parameters are those of `check_inputs`, without `n_bins` unless `bins_codes`, and the options of
    `compute`. They are added to its docstring.

    Parameters
    ----------
    title : name in a report, followed by the field where the result has several.
    factors, latents, n_rows : smallest numbers for which the metric is defined.
    repeated_levels : how many levels of every factor must have at least two rows.
    returns : type of the result. For float, `compute` returns a Row; for a named tuple of floats, a tuple of Rows.
    """

    def decorate(compute: Callable) -> Callable:
        shared = inspect.signature(check_inputs).parameters.values()
        left_out = {"factor_names"} if bins_codes else {"factor_names", "n_bins"}
        shared = [parameter for parameter in shared if parameter.name not in left_out]
        options = list(inspect.signature(compute).parameters.values())[1:]
        signature = inspect.Signature([*shared, *options], return_annotation=returns)

        @functools.wraps(compute)
        def public(**arguments):
            try:
                signature.bind(**arguments)
            except TypeError as error:
                raise TypeError(f"{compute.__name__}: {error}") from None
            given = {option.name: arguments.pop(option.name) for option in options if option.name in arguments}
            if "seed" in given:
                given["seed"] = check_seed(given["seed"])
            if "max_rows" in given:
                given["max_rows"] = check_integer("max_rows", given["max_rows"], least=10)
            sample = check_inputs(**arguments)
            check_needs(public, sample)
            result = compute(sample, **given)
            if isinstance(result, Row):
                return result.value
            return returns(*(row.value for row in result)) if isinstance(result, tuple) else result

        public.compute, public.title, public.needs = compute, title, (factors, latents, n_rows)
        public.rows = tuple(f"{title} {field}" for field in getattr(returns, "_fields", ())) or (title,)
        public.repeated_levels = repeated_levels
        public.__signature__ = signature
        public.__doc__ = public.__doc__ and _complete(public)  # None under python -OO
        return public

    return decorate


def _complete(function: Callable) -> str:
    """Add to a docstring the sections that all metrics share: Parameters before Returns, Raises before Notes."""
    n = function.repeated_levels
    repeated = f", or fewer than {n} levels of a factor have two rows" if n else ""
    start, notes, rest = inspect.cleandoc(function.__doc__).partition("Notes\n-----\n")
    start, returns, result = start.partition("Returns\n-------\n")
    shared = [name for name in inspect.signature(function).parameters if name in PARAMETERS]
    described = "\n".join(f"{name} : {PARAMETERS[name]}" for name in shared).format(*function.needs)
    raises = RAISES.format(repeated=repeated)
    parameters = f"Parameters\n----------\n{described}\n"
    return f"{start}{parameters}\n{returns}{result.rstrip()}\n\n{raises}\n{notes}{rest}".rstrip()


def check_needs(function: Callable, sample: Sample) -> None:
    """Refuse fewer factors, latents or rows than a metric needs."""
    sizes = {"factors": sample.n_factors, "latents": sample.n_latents, "rows": len(sample.codes)}
    for (what, found), least in zip(sizes.items(), function.needs, strict=True):
        if found < least:
            raise ValueError(f"{function.__name__} needs at least {least} {what}, found {found}; leave this metric out")
