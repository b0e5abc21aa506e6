"""Choice of rows: those that a predictor is fitted to and tested on, and those that share a level of a factor."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ._validation import Sample

MAX_ROWS = 5000
N_TRAIN, N_TEST = 1000, 500  # points per factor of the BetaVAE and FactorVAE scores
BATCH_SIZE = 64
MERGE = "merge its levels into fewer, or leave out this factor or this metric"


class Levels(NamedTuple):
    """Rows of one factor sorted by level; the level of row i occupies order[start[i] : start[i] + count[i]]."""

    order: np.ndarray
    start: np.ndarray
    count: np.ndarray
    rank: np.ndarray  # place of every row within its level


def sort_levels(classes: np.ndarray) -> Levels:
    counts = np.bincount(classes)
    start = (np.cumsum(counts) - counts)[classes]
    order = np.argsort(classes, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return Levels(order, start, counts[classes], rank - start)


def levels_to_fix(sample: Sample) -> Iterator[Levels]:
    """Sort the levels of every factor; refuse a factor whose levels all have a single row."""
    for name, classes in zip(sample.names, sample.classes.T):
        levels = sort_levels(classes)
        if levels.count.max() < 2:
            raise ValueError(
                f"factors: expected a level with at least two rows in {name!r}, found {len(classes)} levels in "
                f"{len(classes)} rows; {MERGE}"
            )
        yield levels


def draw_points(sample: Sample, draw: Callable, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the points of the BetaVAE or FactorVAE score: (K, N_TRAIN, ...) to fit and (K, N_TEST, ...) held out.

    `draw(codes, levels, generator)` computes the points of one factor from the standardised active latents.
    """
    codes = sample.standardised[:, sample.active]
    points = [draw(codes, levels, np.random.default_rng([seed, k])) for k, levels in enumerate(levels_to_fix(sample))]
    return tuple(np.split(np.stack(points), [N_TRAIN], axis=1))


def in_blocks(function: Callable, *rows: np.ndarray) -> np.ndarray:
    """Compute `function(*rows)` of drawn rows, (N_TRAIN + N_TEST, n) each, in blocks, to save memory."""
    blocks = zip(*(np.array_split(table, 30) for table in rows), strict=True)
    return np.concatenate([function(*block) for block in blocks])


def draw_first(levels: Levels, n: int, generator: np.random.Generator) -> np.ndarray:
    """(N_TRAIN + N_TEST, n) rows whose level has another row."""
    rows = np.flatnonzero(levels.count >= 2)
    return rows[generator.integers(len(rows), size=(N_TRAIN + N_TEST, n))]


def fitted_rows(classes: np.ndarray, *, seed: int, max_rows: int) -> np.ndarray:
    """Draw at most `max_rows` rows of classes (N, K), to fit and to test; return indices in random order.

    Every level with two rows keeps two if `max_rows` allows, so that one can be fitted and one held out.
    """
    order = np.random.default_rng(seed).permutation(len(classes))
    needed = np.zeros(len(order), dtype=bool)
    for column in classes[order].T if len(order) > max_rows else ():
        levels = sort_levels(column)
        needed |= (levels.rank < 2) & (levels.count >= 2)
    first = np.argsort(~needed, kind="stable")[:max_rows]
    return order[np.sort(first)]


def regression_split(classes: np.ndarray, *, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Hold out the last fifth of rows in random order; stratified if a part would otherwise have a single level."""
    fitted, held_out = np.split(np.arange(len(classes)), [len(classes) - len(classes) // 5])
    constant = np.ptp(classes[fitted]) == 0 or np.ptp(classes[held_out]) == 0
    repeated = np.count_nonzero(np.bincount(classes) >= 2)
    return stratified_split(classes, name=name) if constant and repeated >= 2 else (fitted, held_out)


def stratified_split(classes: np.ndarray, *, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Hold out a fifth of the rows of every level with two rows, at least one; return positions fitted and held out."""
    counts = np.bincount(classes)
    n_held_out = np.where(counts >= 2, np.maximum(counts // 5, 1), 0)
    n_levels = np.count_nonzero(n_held_out)
    if n_levels < 2:
        raise ValueError(
            f"factors: expected at least two levels with two rows each in {name!r}, found {n_levels} among "
            f"{len(classes)} rows; {MERGE}"
        )
    held_out = sort_levels(classes).rank < n_held_out[classes]
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)
