"""UDR: agreement of models whose latents are known."""

import numpy as np
import pytest
from metrics_cases import grid

import metrics
from metrics._udr import relative_strength

CLOSE = 1e-9  # standardising and a few sums


GRID = grid(4, 5, 6, repeats=3).astype(float)


def test_the_same_latents():
    """Ranks of a full grid are uncorrelated: R is a permutation matrix."""
    others = [GRID[:, [1, 2, 0]] * [-1.0, 2.0, 9.0], np.exp(GRID)]
    assert metrics.udr(codes=[GRID, *others]) == pytest.approx(1.0, abs=CLOSE)


def test_the_penalty_of_the_lasso():
    """Soft threshold of a correlation of 1 at 0.1, up to the tolerance of coordinate descent."""
    codes = [GRID, -GRID[:, ::-1]]
    assert metrics.udr(codes=codes, similarity="lasso") == pytest.approx(0.9, abs=1e-4)


def test_duplicates():
    """3 latents against 6: every column of R has one 1, every row two: (6 + 3 / 2) / 9."""
    assert metrics.udr(codes=[GRID, np.hstack([GRID, GRID])]) == pytest.approx(7.5 / 9, abs=CLOSE)


def test_inactive_latents_are_similar_to_none():
    masked = np.hstack([GRID, 1e-4 * GRID])
    active = [None, np.arange(6) < 3]
    assert metrics.udr(codes=[GRID, masked], active=active) == pytest.approx(1.0, abs=CLOSE)
    assert metrics.udr(codes=[GRID, masked]) < 0.9


def test_dead_models():
    assert metrics.udr(codes=[np.zeros_like(GRID), GRID]) == 0.0
    assert metrics.udr(codes=[np.zeros_like(GRID)] * 2) == 0.0


def test_each_model_has_the_median_of_its_pairs():
    """Three equal models and a dead one: pairs of 1, 1, 0 for the former, 0, 0, 0 for the latter."""
    obtained = metrics.udr_per_model(codes=[GRID, GRID, GRID, np.zeros((360, 1))])
    np.testing.assert_allclose(obtained, [1, 1, 1, 0], atol=CLOSE)


def test_the_same_array_twice_is_two_models():
    assert metrics.udr(codes=[GRID, GRID]) == pytest.approx(1.0, abs=CLOSE)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"codes": [GRID]}, ValueError, "at least 2 arrays .* found 1"),
        ({"codes": np.stack([GRID, GRID])}, ValueError, "found one array"),
        ({"codes": [GRID, GRID[1:]]}, ValueError, "found 359 for model 1 and 360 for model 0"),
        ({"codes": [GRID, GRID * np.nan]}, ValueError, "finite"),
        ({"codes": [GRID, GRID], "active": [None]}, ValueError, "expected 2 masks, one per model, found 1"),
        ({"codes": [GRID, GRID], "similarity": "pearson"}, ValueError, "spearman.* found 'pearson'"),
    ],
)
def test_refusals(changes, error, message):
    with pytest.raises(error, match=message):
        metrics.udr(**changes)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (np.eye(3), 1),
        (np.zeros((3, 3)), 0),
        (np.ones((2, 2)), 1 / 2),
        (np.zeros((0, 3)), 0),
        # Columns 1, 1, 1/2 and rows 1/2 (two equal ones), 1: (1 + 1 + 1 + 1/2 + 1) / 5
        (np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), (3 + 0.5 + 1) / 5),
    ],
)
def test_relative_strength(matrix, expected):
    """Mean over all latents of both models of max^2 / sum."""
    assert relative_strength(matrix) == pytest.approx(expected, abs=CLOSE)
