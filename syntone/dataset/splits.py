"""Rows for training and validation: held-out combinations and correlated factors.

The file contains every sound; its recipe contains hold-outs and correlations. A hold-out is a list of conditions;
sounds that meet all of them are excluded from training. Several hold-outs are joined by or. A correlation
[one, other, sigma] draws training sounds in proportion to exp(-(a - b)^2 / (2 sigma^2)), where a and b are the levels
of two ordered factors, scaled to [0, 1] (Träuble et al. 2021, "On Disentangled Representations Learned from Correlated
Data", Eq. 1). The weights of several correlations are multiplied.
"""

import json
from collections.abc import Mapping, Sequence

import numpy as np

from syntone.dataset.file import Dataset
from syntone.errors import InputError

# Factor -> kind, values (or class indices) of its levels, and names of its levels if they have any.
Levels = Mapping[str, tuple[str, np.ndarray, Sequence[str] | None]]


def _parse_condition(condition: str, levels: Levels) -> tuple[str, np.ndarray]:
    """Parse `NAME=VALUE[,VALUE...]` or `NAME=LOW:HIGH` (ends included): return the factor and which levels meet it."""
    name, equals, wanted = condition.partition("=")
    if not equals or not wanted:
        raise InputError(f"hold_out: {condition!r} is not a condition; write NAME=VALUE or NAME=LOW:HIGH")
    if name not in levels:
        raise InputError(f"hold_out: unknown factor {name!r}; choose from {', '.join(levels)}")
    _, values, names = levels[name]
    met = np.zeros(len(values), bool)
    for word in wanted.split(","):
        if names is not None:
            if word not in names:
                raise InputError(f"hold_out: {name} has no level {word!r}; choose from {', '.join(names)}")
            met |= np.array(names) == word
            continue
        low, colon, high = word.partition(":")
        try:
            low, high = float(low), float(high if colon else low)
        except ValueError:
            raise InputError(
                f"hold_out: {condition!r}: {word!r} is not a number; write {name}=VALUE or {name}=LOW:HIGH"
            ) from None
        found = _between(low, high, values)
        if not found.any() or (found.sum() > 1 and not colon):
            count = "more than one level" if found.any() else "no level"
            near = ", ".join(f"{value:.10g}" for value in sorted(values[np.argsort(np.abs(values - low))[:3]]))
            ends = f"{values.min():g} to {values.max():g}"
            raise InputError(f"hold_out: {word!r} matches {count} of {name} ({ends}); the nearest are {near}")
        met |= found
    return name, met


def _between(low: float, high: float, values: np.ndarray) -> np.ndarray:
    """Return which values lie between both ends or are equal to an end when printed, with six digits.

    A single value is compared with 12 digits, then with fewer, down to 3, until a level matches.
    """
    slack = 1e-9 * np.abs(values)
    met = (values >= low - slack) & (values <= high + slack)
    for digits in range(12, 2, -1) if low == high else (6,):
        if low < high or not met.any():
            met |= np.isin([float(f"{value:.{digits}g}") for value in values], (low, high))
    return met


def check_study(
    hold_outs: Sequence[Sequence[str]], correlations: Sequence[tuple[str, str, float]], levels: Levels
) -> None:
    """Refuse hold-outs of unknown factors or levels or of all sounds, and correlations other than of two different
    ordered factors with two or more levels."""
    for conditions in hold_outs:
        if all(_parse_condition(condition, levels)[1].all() for condition in conditions):
            raise InputError(f"hold_out: every sound meets {' '.join(conditions)}; hold out fewer")
    for one, other, _ in correlations:
        for name in (one, other):
            if name not in levels:
                raise InputError(f"correlate: unknown factor {name!r}; choose from {', '.join(levels)}")
            kind, values, _ = levels[name]
            if kind != "ordered" or len(values) < 2:
                raise InputError(
                    f"correlate: {name} is {kind} with {len(values)} levels; choose ordered factors with 2 or more"
                )
        if one == other:
            raise InputError(f"correlate: {one} is given twice; choose two factors")


def study(recipe: str) -> dict[str, list]:
    """Return the hold-outs and correlations of a recipe."""
    found = json.loads(recipe)
    return {key: found.get(key) or [] for key in ("hold_out", "correlate")}


def held_out(dataset: Dataset) -> np.ndarray:
    """Return whether each sound is excluded from training: bool (N,).

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
    """Return the relative frequency of each sound in training, float64 (N,), at most 1; None if all are equal."""
    correlations = study(dataset.recipe)["correlate"]
    if not correlations:
        return None
    exponent = np.zeros(len(dataset))
    for one, other, sigma in correlations:
        exponent -= np.square(_scaled_levels(dataset, one) - _scaled_levels(dataset, other)) / (2 * sigma**2)
    return np.exp(exponent)


def _scaled_levels(dataset: Dataset, name: str) -> np.ndarray:
    """Return level indices scaled to [0, 1]: steps are equal in any unit and on any scale."""
    if name not in dataset.factor_names:
        raise InputError(f"{dataset.path}: the recipe correlates an unknown factor, {name!r}")
    levels = dataset.factors[:, dataset.factor_names.index(name)].astype(np.float64)
    return (levels - levels.min()) / max(levels.max() - levels.min(), 1)


def split(n: int, *, seed: int, validation: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Return rows for training and for validation, drawn without replacement: int64, ascending.

    Validation has round(validation * n) rows, at least 2 (batch estimators need two).
    """
    n_valid = max(2, round(validation * n))
    if n - n_valid < 2:
        raise InputError(f"{n} sounds cannot be split into 2 or more for training and for validation; add sounds")
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[n_valid:]), np.sort(order[:n_valid])


def training_split(dataset: Dataset, *, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return rows for training and for validation without held-out ones, and the weights of the training rows.

    Returns
    -------
    train, valid : ndarray, int64, ascending
    weights : ndarray, float64 (len(train),), or None if each row occurs once per epoch
    """
    kept = np.flatnonzero(~held_out(dataset))
    if len(kept) < 4:
        has = "has" if len(kept) == len(dataset) else f"its hold-outs leave {len(kept)} of"
        raise InputError(f"{dataset.path}: {has} {len(dataset)} sounds; training and validation need 2 or more each")
    train, valid = (kept[rows] for rows in split(len(kept), seed=seed))
    weights = correlation_weights(dataset)
    if weights is not None and (weights[train] > 1e-6 * weights[train].max(initial=1e-300)).sum() < 2:
        raise InputError(
            f"{dataset.path}: its correlations leave fewer than two sounds for training; make the dataset again with "
            f"a larger sigma"
        )
    return train, valid, None if weights is None else weights[train]


def sections(dataset: Dataset, *, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Return the parts of a dataset that are scored separately, as ascending rows.

    `held out` contains the held-out rows. `training distribution` contains the others; with correlations, each is kept
    with a probability in proportion to its weight. Rows are not repeated, since repeated rows inflate plug-in
    information and leak from fitting into testing. Without hold-outs and correlations there are no parts.
    """
    out, weights = held_out(dataset), correlation_weights(dataset)
    if not out.any() and weights is None:
        return {}
    found = {"held out": np.flatnonzero(out)} if out.any() else {}
    kept = ~out
    if weights is not None:
        kept &= generator.random(len(dataset)) < weights / weights[~out].max()
    return found | {"training distribution": np.flatnonzero(kept)}
