"""Scores with their floors and ceilings: what a number means on these factors, this many latents and these bins.

Floor: the same codes with rows permuted (they keep everything but their relation to the factors), mean of several
draws. Ceiling: the best of three oracles with as many latents as the codes. Each row of a report uses the same settings
and the same drawn rows for value, floor and ceiling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from metrics.estimation import (
    NEEDS,
    Sample,
    bin_levels,
    check_count,
    check_inputs,
    check_needs,
    check_seed,
    top_two_gap,
)
from metrics.information import (
    dcimig_of,
    infomec_compactness_per_factor,
    infomec_explicitness_per_factor,
    infomec_modularity_per_latent,
    jemmig_per_factor,
    mean_or_zero,
    mig_per_factor,
    mig_sup_per_latent,
    modularity_per_latent,
)
from metrics.intervention import beta_vae_per_factor, factor_vae_per_factor, irs_per_latent
from metrics.prediction import (
    dci_completeness,
    dci_disentanglement,
    explicitness_per_factor,
    fit_importance,
    one_minus_entropy,
    sap_matrix,
)

MIN_RANGE = 0.02  # ceiling - floor below this says nothing: adjusted is left empty


@dataclass(frozen=True)
class Score:
    """One row of a report.

    Attributes
    ----------
    value : the score.
    floor : mean score of the same codes with rows permuted.
    floor_std : standard deviation over the draws of the floor (0 for one draw).
    ceiling : best score that an oracle of as many latents reaches; None with fewer latents than factors.
    adjusted : (value - floor) / (ceiling - floor); None without ceiling or where that range is below 0.02. Not clipped:
        below 0 is worse than chance, and a fitted score can exceed its ceiling by the noise of its draws.
    per_factor : the score of every factor, by name, where the score is a mean over factors; else None.
    """

    value: float
    floor: float
    floor_std: float
    ceiling: float | None
    adjusted: float | None
    per_factor: dict[str, float] | None


@dataclass(frozen=True, eq=False)
class Report:
    """All scores of one set of codes.

    Attributes
    ----------
    scores : printable name -> Score, in the order of METRICS.
    n_active : number of active latents.
    occupancy : (D,) share of samples in the fullest bin of each latent (1 for an inactive one).
    mi : (K, D) mutual information in nats, after binning of factors and codes.
    entropy : (K,) entropy of the factors as scored, nats.
    factor_names : K names.
    """

    scores: dict[str, Score]
    n_active: int
    occupancy: np.ndarray
    mi: np.ndarray
    entropy: np.ndarray
    factor_names: tuple[str, ...]


@dataclass(frozen=True)
class _Row:
    value: float
    per_factor: np.ndarray | None = None


def _mean(name: str, per_factor: np.ndarray) -> dict[str, _Row]:
    return {name: _Row(float(per_factor.mean()), per_factor)}


def _dci(sample: Sample, seed: int) -> dict[str, _Row]:
    importance, informativeness = fit_importance(sample, seed=seed)
    return {
        "DCI disentanglement": _Row(dci_disentanglement(importance)),
        "DCI completeness": _Row(dci_completeness(importance), one_minus_entropy(importance)),
        **_mean("DCI informativeness", informativeness),
    }


def _infomec(sample: Sample, seed: int) -> dict[str, _Row]:
    return {
        "InfoMEC modularity": _Row(mean_or_zero(infomec_modularity_per_latent(sample.information))),
        **_mean("InfoMEC explicitness", infomec_explicitness_per_factor(sample, seed=seed)),
        **_mean("InfoMEC compactness", infomec_compactness_per_factor(sample.information)),
    }


# Name of the function -> what it adds to a report. Each takes a sample and a seed.
_REGISTRY: dict[str, Callable[[Sample, int], dict[str, _Row]]] = {
    "mig": lambda sample, seed: _mean("MIG", mig_per_factor(sample.information)),
    "mig_sup": lambda sample, seed: {"MIG-sup": _Row(mean_or_zero(mig_sup_per_latent(sample.information)))},
    "jemmig": lambda sample, seed: _mean("JEMMIG", jemmig_per_factor(sample.information)),
    "dcimig": lambda sample, seed: {"DCIMIG": _Row(dcimig_of(sample.information))},
    "modularity": lambda sample, seed: {"Modularity": _Row(float(modularity_per_latent(sample.information).mean()))},
    "sap": lambda sample, seed: _mean("SAP", top_two_gap(sap_matrix(sample))),
    "dci": _dci,
    "explicitness": lambda sample, seed: _mean("Explicitness", explicitness_per_factor(sample, seed=seed)),
    "irs": lambda sample, seed: {"IRS": _Row(mean_or_zero(irs_per_latent(sample)))},
    "beta_vae_score": lambda sample, seed: _mean("BetaVAE score", beta_vae_per_factor(sample, seed=seed)),
    "factor_vae_score": lambda sample, seed: _mean("FactorVAE score", factor_vae_per_factor(sample, seed=seed)),
    "infomec": _infomec,
}
METRICS = tuple(_REGISTRY)


def oracles(sample: Sample, *, seed: int) -> list[Sample]:
    """Codes that know the factors perfectly, with as many latents as the sample; none with fewer latents than factors.

    How many latents are active is the model's doing, not the task's: the oracles may use all D, so a ceiling hardly
    moves with the mask, and a model that let latents die is compared with one that did not.

    The levels as scored (after binning) stand in K latents. The other D - K latents are (a) constant, hence inactive;
    (b) the sample's own latents with rows permuted, those that know least about any factor: the oracle takes over the K
    best; inactive ones stay inactive; (c) the factors again.
    """
    n_factors, n_latents = sample.n_factors, sample.n_latents
    if n_latents < n_factors:
        return []
    levels = sample.levels.astype(np.float64)
    n_rest = n_latents - n_factors
    if n_rest == 0:
        return [sample.with_codes(levels)]
    knowledge = (sample.information.mi / sample.information.entropy[:, None]).max(axis=0)
    rest = sample.codes[:, np.argsort(knowledge, kind="stable")[:n_rest]]
    rest = rest[np.random.default_rng([seed, n_rest]).permutation(len(rest))]
    repeats = levels[:, np.arange(n_rest) % n_factors]
    return [sample.with_codes(np.hstack([levels, filler])) for filler in (np.zeros_like(rest), rest, repeats)]


def defined_metrics(
    *, factors: np.ndarray, n_latents: int, n_bins: int = 20, factor_kinds: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Return the names among METRICS that `evaluate` can compute for these factors and so many latents, in their order.

    Beside the numbers of factors, latents and rows that a score needs, what is fitted and held out needs two levels of
    every factor with two rows each, and what fixes a factor one such level.
    """
    kinds = factor_kinds if factor_kinds is not None else ["ordered"] * factors.shape[1]
    paired = {"nominal": [], "ordered": []}  # levels with at least two rows, of each factor
    for column, kind in zip(factors.T, kinds, strict=True):
        levels = bin_levels(column, n_bins) if kind == "ordered" else column
        paired[kind].append(int(np.sum(np.unique(levels, return_counts=True)[1] >= 2)))
    fewest = min([*paired["nominal"], *paired["ordered"]])
    needed = dict.fromkeys(("explicitness", "infomec"), 2) | dict.fromkeys(
        ("irs", "beta_vae_score", "factor_vae_score"), 1
    )
    found = dict.fromkeys(needed, fewest) | {"dci": min(paired["nominal"], default=2)}
    needed["dci"] = 2
    sizes = (factors.shape[1], n_latents, len(factors))
    return tuple(
        name
        for name in METRICS
        if all(size >= least for size, least in zip(sizes, NEEDS[name], strict=True))
        and found.get(name, 0) >= needed.get(name, 0)
    )


def _check_metrics(metrics: Sequence[str] | None, sample: Sample) -> tuple[str, ...]:
    if metrics is None:
        metrics = METRICS
    if isinstance(metrics, str):
        raise ValueError(f"metrics: expected a list of names, found the string {metrics!r}; pass [{metrics!r}]")
    unknown = [name for name in metrics if name not in _REGISTRY]
    if unknown or not metrics:
        raise ValueError(
            f"metrics: expected names among {', '.join(METRICS)}, found {', '.join(map(repr, unknown)) or 'none'}"
        )
    for name in metrics:
        check_needs(name, n_factors=sample.n_factors, n_latents=sample.n_latents, n_rows=len(sample.codes))
    return tuple(dict.fromkeys(metrics))


def _check_names(names: Sequence[str] | None, *, n_factors: int) -> tuple[str, ...]:
    if names is None:
        return tuple(f"factor {k}" for k in range(n_factors))
    names = tuple(str(name) for name in names)
    if len(names) != n_factors or len(set(names)) != n_factors:
        raise ValueError(f"factor_names: expected {n_factors} different names, one per factor, found {names}")
    return names


def evaluate(
    *,
    factors: np.ndarray,
    codes: np.ndarray,
    n_bins: int = 20,
    factor_names: Sequence[str] | None = None,
    factor_kinds: Sequence[str] | None = None,
    active: np.ndarray | None = None,
    metrics: Sequence[str] | None = None,
    seed: int = 0,
    n_floor_draws: int = 5,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Compute scores with floors and ceilings.

    Parameters
    ----------
    factors : (N, K) int, level of every factor, at least 2 levels each.
    codes : (N, D) float, one column per latent.
    n_bins : int, at least 2. Equal-width bins per latent; ordered factors with more levels are binned to as many, for
        every score alike (an oracle cannot exceed MIG 0.88 when frequency keeps 100 classes against 20 bins).
    factor_names : K different strings; default "factor 0", ...
    factor_kinds : K of "nominal" or "ordered"; default all ordered. Nominal factors stay classes.
    active : (D,) bool; default every latent that is not constant. Inactive latents count as constant.
    metrics : names among METRICS; default all.
    seed : int. Draws permutations, rows, splits and the fitted predictors' own randomness.
    n_floor_draws : int, at least 1.
    progress : called with the name of each score before it is computed.

    Returns
    -------
    Report

    Raises
    ------
    TypeError, ValueError
        See `check_inputs`; also for unknown metrics (the message lists the known ones) and for scores that these data
        do not define.

    Notes
    -----
    DCI, explicitness and InfoMEC's explicitness fit on at most 5,000 rows, drawn once by `seed`: the same factors' rows
    for value, floors and ceilings.
    """
    seed = check_seed(seed)
    n_floor_draws = check_count("n_floor_draws", n_floor_draws, least=1)
    sample = check_inputs(
        "mutual_information",
        factors=factors,
        codes=codes,
        n_bins=n_bins,
        factor_bins=n_bins,
        factor_kinds=factor_kinds,
        active=active,
    )
    names = _check_names(factor_names, n_factors=sample.n_factors)
    chance = [sample.permuted(np.random.default_rng([seed, draw])) for draw in range(n_floor_draws)]
    perfect = oracles(sample, seed=seed)
    scores = {}
    for metric in _check_metrics(metrics, sample):
        if progress is not None:
            progress(metric)
        compute = _REGISTRY[metric]
        floors = [compute(draw, seed) for draw in chance]
        ceilings = [compute(oracle, seed) for oracle in perfect]
        for name, row in compute(sample, seed).items():
            scores[name] = _score(
                row, [floor[name].value for floor in floors], [ceiling[name].value for ceiling in ceilings], names
            )
    information = sample.information
    return Report(scores, int(sample.active.sum()), information.occupancy, information.mi, information.entropy, names)


def _score(row: _Row, floors: list[float], ceilings: list[float], names: tuple[str, ...]) -> Score:
    floor = float(np.mean(floors))
    floor_std = float(np.std(floors, ddof=1)) if len(floors) > 1 else 0.0
    ceiling = max(ceilings) if ceilings else None
    adjusted = None
    if ceiling is not None and ceiling - floor >= MIN_RANGE:
        adjusted = (row.value - floor) / (ceiling - floor)
    per_factor = None
    if row.per_factor is not None:
        per_factor = dict(zip(names, map(float, row.per_factor), strict=True))
    return Score(row.value, floor, floor_std, ceiling, adjusted, per_factor)
