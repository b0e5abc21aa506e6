"""All scores of one set of codes, each with its floor (chance level) and its ceiling (score of a perfect code).

Noise does not score 0 in every metric, and a perfect code does not score 1 in every setting.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from joblib import Parallel, cpu_count, delayed

from ._beta_vae import beta_vae_score
from ._dci import check_work, dci, dci_work
from ._explicitness import explicitness
from ._factor_vae import factor_vae_score
from ._infomec import infomec
from ._irs import irs
from ._metric import Row, check_needs
from ._mig import dcimig, jemmig, mig, mig_sup
from ._modularity import modularity
from ._mutual_information import estimate_information, miller_madow
from ._sap import sap
from ._validation import Sample, check_factors, check_inputs, check_integer, check_seed

MIN_RANGE = 0.1  # of ceiling - floor; below, there is no adjusted score
MAX_SHARED = 0.02  # share of entropy that two factors have in common; above, oracles do not bound these scores:
GAP_SCORES = ("MIG", "MIG-sup", "SAP", "DCIMIG", "InfoMEC modularity", "InfoMEC compactness")
MAX_PROCESSES = 8  # a metric is computed nine times
DEFAULT_BINS = "n_bins"
_INFORMATION = (mig, mig_sup, jemmig, dcimig, modularity)
_OTHERS = (sap, dci, explicitness, irs, beta_vae_score, factor_vae_score, infomec)
FUNCTIONS: dict[str, Callable] = {function.__name__: function for function in _INFORMATION + _OTHERS}
METRICS = tuple(FUNCTIONS)


@dataclass(frozen=True)
class Score:
    """One row of the result of `evaluate`."""

    value: float
    floor: float  # chance level: mean score of the same codes with their rows permuted
    floor_std: float  # standard deviation over permutations; 0 for one
    ceiling: float | None  # best score of an oracle with as many latents; None with fewer latents than factors
    per_factor: dict[str, float] | None = None  # scores of the factors by name, if the score is their mean
    bounded: bool = True  # False if a code can exceed the ceiling: a gap score with correlated factors

    @property
    def adjusted(self) -> float | None:
        """(value - floor) / (ceiling - floor): 0 at the chance level, 1 at the ceiling.

        None without a ceiling, if ceiling - floor is below 0.1, or if the ceiling is not a bound. Not clipped: a code
        can score below chance, and a code that is better suited to a linear readout can exceed the ceiling of
        Explicitness.
        """
        has_range = self.bounded and self.ceiling is not None and self.ceiling - self.floor >= MIN_RANGE
        return (self.value - self.floor) / (self.ceiling - self.floor) if has_range else None


@dataclass(frozen=True, eq=False)
class Report:
    """All scores of one set of codes, and their mutual information with the factors (see `Information`)."""

    scores: dict[str, Score]  # by printed name, in the order of METRICS
    n_active: int  # number of active latents
    occupancy: np.ndarray  # (D,) share of samples in the fullest bin of each latent
    mi: np.ndarray  # (K, D) mutual information in nats, after binning of factors and codes
    entropy: np.ndarray  # (K,) entropy of the factors after binning, in nats
    factor_names: tuple[str, ...]
    n_bins: int  # bins per latent
    factor_bins: int | None  # bins of ordered factors with more levels; None: all levels are classes
    shared: float  # largest mutual information of two factors, as a share of the smaller entropy


def shared_information(sample: Sample) -> float:
    """Largest I(v_k; v_l) / min(H_k, H_l) of two factors, Miller-Madow corrected; 0 for independent factors.

    If factors are correlated, each latent of an oracle has information about both, so another code can have larger
    gaps.
    """
    entropy = estimate_information(sample).entropy
    pairs = combinations(range(sample.n_factors), 2)
    shares = [miller_madow(*sample.classes[:, pair].T) / entropy[list(pair)].min() for pair in pairs]
    return float(max(shares, default=0.0))


def oracles(sample: Sample, *, seed: int) -> list[Sample]:
    """Return codes that encode the factors perfectly, with the sample's number of latents D; none if D < K.

    K latents are the class indices after binning. The other D - K latents are (a) constant, hence inactive; (b) the
    sample's least informative latents with rows permuted, of which inactive ones stay inactive; (c) the factors again.
    The sample's mask is not applied, so that models with collapsed latents have the same ceiling as others.
    """
    n_rest = sample.n_latents - sample.n_factors
    if n_rest < 0:
        return []
    levels = sample.classes.astype(np.float64)
    if n_rest == 0:
        return [sample.with_codes(levels)]
    most = estimate_information(sample).share.max(axis=0)
    rest = sample.codes[:, np.argsort(most, kind="stable")[:n_rest]]
    rest = rest[np.random.default_rng([seed, n_rest]).permutation(len(rest))]
    repeats = levels[:, np.arange(n_rest) % sample.n_factors]
    return [sample.with_codes(np.hstack([levels, filler])) for filler in (np.zeros_like(rest), rest, repeats)]


def defined_metrics(
    *,
    factors: np.ndarray,
    n_latents: int,
    n_bins: int = 20,
    factor_bins: int | str | None = DEFAULT_BINS,
    factor_kinds: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """Return the names of METRICS that `evaluate` can compute for these factors and this number of latents.

    Each metric needs a minimum of factors, latents and rows. Fitted metrics need two levels with two rows in every
    factor, and metrics that fix a factor need one. The cost of DCI is limited. Parameters and errors are those of
    `evaluate`; `n_latents` counts active and inactive latents.
    """
    n_bins, n_latents = check_integer("n_bins", n_bins, least=2), check_integer("n_latents", n_latents, least=1)
    factor_bins = n_bins if factor_bins == DEFAULT_BINS else factor_bins
    classes, kinds, _ = check_factors(factors, factor_bins, kinds=factor_kinds)
    repeated = [np.count_nonzero(np.bincount(column) >= 2) for column in classes.T]
    sizes = (classes.shape[1], n_latents, len(classes))

    def is_defined(function: Callable) -> bool:
        if any(size < least for size, least in zip(sizes, function.needs, strict=True)):
            return False
        if function is dci:  # an ordered factor needs no repeated level
            repeats = all(n >= 2 for n, kind in zip(repeated, kinds) if kind == "nominal")
            return repeats and dci_work(classes, kinds, n_latents=n_latents) <= 1.0
        return min(repeated) >= function.repeated_levels

    return tuple(name for name, function in FUNCTIONS.items() if is_defined(function))


def _check_metrics(metrics: Sequence[str], sample: Sample) -> dict[str, Callable]:
    if isinstance(metrics, str):
        raise ValueError(f"metrics: expected a list of names, found the string {metrics!r}; pass [{metrics!r}]")
    metrics = list(metrics)
    unknown = [name for name in metrics if name not in FUNCTIONS]
    if unknown or not metrics:
        found = ", ".join(map(repr, unknown)) or "none"
        raise ValueError(f"metrics: expected names among {', '.join(METRICS)}, found {found}")
    for name in metrics:
        check_needs(FUNCTIONS[name], sample)
    if "dci" in metrics:  # the oracles may use every latent
        check_work(sample.classes, sample.kinds, n_latents=sample.n_latents)
    return {name: FUNCTIONS[name] for name in metrics}


def _rows(function: Callable, sample: Sample, *, seed: int) -> dict[str, Row]:
    """Compute all rows of one metric."""
    options = {"seed": seed} if "seed" in inspect.signature(function).parameters else {}
    result = function.compute(sample, **options)
    return dict(zip(function.rows, result if isinstance(result, tuple) else (result,), strict=True))


def evaluate(
    *,
    factors: np.ndarray,
    codes: np.ndarray,
    n_bins: int = 20,
    factor_bins: int | str | None = DEFAULT_BINS,
    factor_names: Sequence[str] | None = None,
    factor_kinds: Sequence[str] | None = None,
    active: np.ndarray | None = None,
    metrics: Sequence[str] | None = None,
    seed: int = 0,
    n_floor_draws: int = 5,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Compute scores with floors (chance levels) and ceilings (scores of perfect codes); see `Score`.

    Parameters
    ----------
    factors : (N, K) int, level number of every factor, from 0, at least 2 levels each.
    codes : (N, D) float, one column per latent.
    n_bins : int, at least 2. Equal-width bins per latent.
    factor_bins : int, None or "n_bins". Bin ordered factors with more levels than this, for every metric. The default
        is `n_bins`. None uses levels as classes, which is the default of the single functions.
    factor_names : K different strings; default "factor 0", "factor 1", ...
    factor_kinds : K of "nominal" or "ordered"; default all ordered. A nominal factor is never binned.
    active : (D,) bool; default every latent that is not constant. Inactive latents count as constant.
    metrics : iterable of names in METRICS; default all.
    seed : int. Random seed of permutations, rows, splits and predictors.
    n_floor_draws : int, at least 1. Permutations for the floor.
    progress : called with the name of each metric before it is computed.

    Returns
    -------
    Report

    Raises
    ------
    TypeError, ValueError
        As every metric; also for metrics that are unknown or not defined for these data (see `defined_metrics`).

    Notes
    -----
    Value, floors and ceilings use the same settings, and fitted metrics the same rows of the factors (at most 5,000).
    DCI is fitted in one process per core (joblib).
    `Score.adjusted` is None for MIG, MIG-sup, SAP, DCIMIG, InfoMEC modularity and compactness if two factors share more
    than 2 % of the smaller entropy (`Report.shared`), because perfect codes are not an upper bound there.

    Examples
    --------
    >>> import numpy as np
    >>> factors = np.indices((3, 4)).reshape(2, -1).T.repeat(50, axis=0)
    >>> score = evaluate(factors=factors, codes=1.5 * factors, metrics=["mig"]).scores["MIG"]
    >>> round(score.value, 6), round(score.adjusted, 6), score.floor < 0.1
    (1.0, 1.0, True)

    `evaluate` divides a factor of 100 levels into 20 bins. `mig` uses all levels as classes, which 20 bins of a latent
    cannot separate, unless `factor_bins` is given:

    >>> factors = np.indices((100, 10)).reshape(2, -1).T
    >>> data = {"factors": factors, "codes": factors.astype(float)}
    >>> report = evaluate(**data, metrics=["mig"])
    >>> report.scores["MIG"].value, report.factor_bins, mig(**data, factor_bins=20)
    (1.0, 20, 1.0)
    >>> unbinned = evaluate(**data, metrics=["mig"], factor_bins=None).scores["MIG"].value
    >>> round(unbinned, 3), round(mig(**data), 3)
    (0.825, 0.825)
    """
    seed = check_seed(seed)
    n_floor_draws = check_integer("n_floor_draws", n_floor_draws, least=1)
    factor_bins = n_bins if factor_bins == DEFAULT_BINS else factor_bins
    sample = check_inputs(
        factors=factors,
        codes=codes,
        n_bins=n_bins,
        factor_bins=factor_bins,
        factor_kinds=factor_kinds,
        active=active,
        factor_names=factor_names,
    )
    chance = [sample.permuted(np.random.default_rng([seed, draw])) for draw in range(n_floor_draws)]
    perfect = oracles(sample, seed=seed)
    shared = shared_information(sample)
    scores = {}
    for metric, function in _check_metrics(METRICS if metrics is None else metrics, sample).items():
        if progress is not None:
            progress(metric)
        # Processes only for what takes longer than starting them. Each fit is seeded: their order has no effect.
        run = Parallel(n_jobs=min(MAX_PROCESSES, cpu_count()) if function is dci else 1)
        found, *others = run(delayed(_rows)(function, one, seed=seed) for one in [sample, *chance, *perfect])
        floors, ceilings = others[:n_floor_draws], others[n_floor_draws:]
        for name, row in found.items():
            draws, each = [draw[name].value for draw in floors], row.per_factor
            scores[name] = Score(
                row.value,
                floor=float(np.mean(draws)),
                floor_std=float(np.std(draws, ddof=1)) if n_floor_draws > 1 else 0.0,
                ceiling=max((oracle[name].value for oracle in ceilings), default=None),
                per_factor=None if each is None else dict(zip(sample.names, each.tolist(), strict=True)),
                bounded=shared <= MAX_SHARED or name not in GAP_SCORES,
            )
    information = estimate_information(sample)
    return Report(
        scores,
        n_active=int(sample.active.sum()),
        occupancy=information.occupancy,
        mi=information.mi,
        entropy=information.entropy,
        factor_names=sample.names,
        n_bins=n_bins,
        factor_bins=factor_bins,
        shared=shared,
    )
