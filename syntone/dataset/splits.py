"""Tones for training and for validation: held-out combinations and correlated factors.

Both are named in the recipe; the file itself always holds every tone. A hold-out is a list of conditions; tones that
meet them all are kept out of training. Several hold-outs are joined by or. A correlation [one, other, sigma] makes
training tones occur in proportion to exp(-(a - b)^2 / (2 sigma^2)), where a and b are the two ordered factors' levels
scaled to [0, 1] (Träuble et al. 2021, "On Disentangled Representations Learned from Correlated Data", Eq. 1, whose
sigma is in these units); several multiply.
"""

import json
from collections.abc import Mapping, Sequence

import numpy as np

from syntone.dataset.file import Dataset
from syntone.errors import InputError

# Factor -> its kind, its values or class indices, and for a nominal factor the names of its levels.
Levels = Mapping[str, tuple[str, np.ndarray, Sequence[str] | None]]


def _parse_condition(condition: str, levels: Levels) -> tuple[str, np.ndarray]:
    """Return the factor of `NAME=VALUE[,VALUE...]` or `NAME=LOW:HIGH` (both included), and which levels meet it."""
    name, equals, wanted = condition.partition("=")
    if not equals or not wanted:
        raise InputError(f"hold_out: {condition!r} is not a condition; write NAME=VALUE or NAME=LOW:HIGH")
    if name not in levels:
        raise InputError(f"hold_out: {name!r} is not a factor here; choose from {', '.join(levels)}")
    _, values, names = levels[name]
    met = np.zeros(len(values), bool)
    for word in wanted.split(","):
        if names is not None:
            if word not in names:
                raise InputError(f"hold_out: {name} has no {word!r}; choose from {', '.join(names)}")
            met |= np.array(names) == word
            continue
        low, colon, high = word.partition(":")
        try:
            low, high = float(low), float(high if colon else low)
        except ValueError:
            form = f"{name}=VALUE or {name}=LOW:HIGH in the factor's unit"
            raise InputError(f"hold_out: {condition!r}: {word!r} is not a number; write {form}") from None
        found = _between(low, high, values)
        if not found.any() or (found.sum() > 1 and not colon):
            what = "more than one level" if found.any() else "no level"
            near = ", ".join(f"{value:.10g}" for value in sorted(values[np.argsort(np.abs(values - low))[:3]]))
            ends = f"from {values.min():g} to {values.max():g}"
            raise InputError(f"hold_out: {word!r} meets {what} of {name}; they run {ends}, the nearest are {near}")
        met |= found
    return name, met


def _between(low: float, high: float, values: np.ndarray) -> np.ndarray:
    """Return which values lie within both ends, bool, or are printed like an end: with six digits.

    Of a single value the digits that it is typed with count, three at least.
    """
    slack = 1e-9 * np.abs(values)
    met = (values >= low - slack) & (values <= high + slack)
    for digits in range(12, 2, -1) if low == high else (6,):
        if low == high and met.any():
            break
        met |= np.isin([float(f"{value:.{digits}g}") for value in values], (low, high))
    return met


def check_study(
    hold_outs: Sequence[Sequence[str]], correlations: Sequence[tuple[str, str, float]], levels: Levels
) -> None:
    """Refuse hold-outs that name unknown factors or levels or keep out every tone, and correlations of other factors
    than two different ordered ones of two levels or more."""
    for conditions in hold_outs:
        if all(_parse_condition(condition, levels)[1].all() for condition in conditions):
            raise InputError(f"hold_out: every tone meets {' '.join(conditions)}; hold out less")
    for one, other, _ in correlations:
        for name in (one, other):
            if name not in levels:
                raise InputError(f"correlate: {name!r} is not a factor here; choose from {', '.join(levels)}")
            kind, values, _ = levels[name]
            if kind != "ordered" or len(values) < 2:
                raise InputError(
                    f"correlate: {name} is {kind} with {len(values)} levels; choose ordered factors of two or more"
                )
        if one == other:
            raise InputError(f"correlate: {one} with itself; name two factors")


def study(recipe: str) -> dict[str, list]:
    """Return the hold-outs and the correlations that a recipe asks for."""
    found = json.loads(recipe)
    return {key: found.get(key) or [] for key in ("hold_out", "correlate")}


def held_out(dataset: Dataset) -> np.ndarray:
    """Return whether each tone is kept out of training: bool (N,).

    Raises
    ------
    InputError
        If the recipe's hold-outs do not fit the file's factors.
    """
    found = np.zeros(len(dataset), bool)
    hold_outs = study(dataset.recipe)["hold_out"]
    if not hold_outs:
        return found
    levels, places = {}, {}
    for name, kind, column in zip(dataset.factor_names, dataset.factor_kinds, dataset.factor_values.T):
        values, places[name] = np.unique(column, return_inverse=True)
        named = kind == "nominal" or name in json.loads(dataset.recipe).get("level_names", {})
        names = [dataset.level_name(name, value) for value in values] if named else None
        levels[name] = kind, values, names
    for conditions in hold_outs:
        parsed = [_parse_condition(condition, levels) for condition in conditions]
        found |= np.all([met[places[name]] for name, met in parsed], axis=0)
    return found


def correlation_weights(dataset: Dataset) -> np.ndarray | None:
    """Return how often each tone occurs in training, up to a factor: float64 (N,), at most 1; None: equally often."""
    correlations = study(dataset.recipe)["correlate"]
    if not correlations:
        return None
    exponent = np.zeros(len(dataset))
    for one, other, sigma in correlations:
        exponent -= np.square(_scaled_levels(dataset, one) - _scaled_levels(dataset, other)) / (2 * sigma**2)
    return np.exp(exponent)


def _scaled_levels(dataset: Dataset, name: str) -> np.ndarray:
    """Level indices scaled to [0, 1]: equal steps whatever the unit, so a log-spaced factor is as evenly spread."""
    if name not in dataset.factor_names:
        raise InputError(f"{dataset.path}: its recipe correlates {name!r}, which is not one of its factors")
    levels = dataset.factors[:, dataset.factor_names.index(name)].astype(np.float64)
    return (levels - levels.min()) / max(levels.max() - levels.min(), 1)


def split(n: int, *, seed: int, validation: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Return rows for training and for validation, drawn without replacement.

    Returns
    -------
    train, valid : ndarray, int64, ascending
        `valid` has round(validation * n) rows, at least 2 (an estimator over a batch needs two tones).
    """
    n_valid = max(2, round(validation * n))
    if n - n_valid < 2:
        raise InputError(f"{n} tones cannot be split into 2 or more for training and validation each; make more tones")
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[n_valid:]), np.sort(order[:n_valid])


def training_split(dataset: Dataset, *, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return rows for training and for validation, none of them held out, and how often each training row is drawn.

    Returns
    -------
    train, valid : ndarray, int64, ascending
    weights : ndarray, float64 (len(train),), or None where each training tone is taken once an epoch
    """
    kept = np.flatnonzero(~held_out(dataset))
    if len(kept) < 4:
        has = "has" if len(kept) == len(dataset) else f"its hold-outs leave {len(kept)} of"
        raise InputError(
            f"{dataset.path}: {has} {len(dataset)} tones; training and validation need 2 each: make it again with more"
        )
    train, valid = (kept[rows] for rows in split(len(kept), seed=seed))
    weights = correlation_weights(dataset)
    if weights is not None and (weights[train] > 1e-6 * weights[train].max(initial=1e-300)).sum() < 2:
        raise InputError(
            f"{dataset.path}: its correlations leave fewer than two tones that are ever trained on; make the dataset "
            f"again with a larger sigma"
        )
    return train, valid, None if weights is None else weights[train]


def sections(dataset: Dataset, *, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Return the parts of a dataset that are scored apart, as ascending rows; empty without hold-outs and correlations.

    `held out` are the combinations that no training saw, `training distribution` the others as often as training met
    them: with correlations, each tone is kept with a probability in proportion to its weight. No tone is taken twice,
    since repeated rows inflate plug-in information and leak from fitting into testing.
    """
    out, weights = held_out(dataset), correlation_weights(dataset)
    if not out.any() and weights is None:
        return {}
    found = {"held out": np.flatnonzero(out)} if out.any() else {}
    kept = ~out
    if weights is not None:
        kept &= generator.random(len(dataset)) < weights / weights[~out].max()
    return found | {"training distribution": np.flatnonzero(kept)}
