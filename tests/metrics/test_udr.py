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


def test_the_lasso_predicts_a_model_from_the_others():
    """Weights of B's latents in fits of A's, and of A's in fits of B's, differ where one has a latent twice."""
    z = np.random.default_rng(0).standard_normal((500, 3))
    b, c = z @ [[1, 0, 0], [1, 1, 0], [0, 0, 1]], z @ [[1, 1, 0], [0, 1, 0], [0, 1, 1]]
    obtained = metrics.udr_per_model(codes=[z, b, c], similarity="lasso")
    np.testing.assert_allclose(obtained, [0.796, 0.637, 0.621], atol=5e-4)


def test_the_direction_of_the_lasso():
    """Fits by hand. z has two latents of variance 1, exactly uncorrelated; `mixed` z0 and m = (z0 + z1) / sqrt(2).

    From z: z0 has the weights (0.9, 0), m those of 1 / sqrt(2) each, both 0.1 smaller. From `mixed`: z0 has (0.9, 0);
    z1 is uncorrelated with z0 and has 1 / sqrt(2) with m: weights w0 < 0 < w1, where the gradient is the regularizer's.
    """
    z = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=float)
    mixed = np.stack([z[:, 0], z.sum(axis=1)], axis=1)
    r = np.sqrt(0.5)
    of_mixed = np.array([[0.9, 0.0], [r - 0.1, r - 0.1]])
    of_z = np.array([[0.9, 0.0], np.abs(np.linalg.solve([[1.0, r], [r, 1.0]], [0.1, r - 0.1]))])

    def strength(matrix):
        columns = matrix.max(axis=0) ** 2 / matrix.sum(axis=0)
        rows = matrix.max(axis=1) ** 2 / matrix.sum(axis=1)
        return (columns.sum() + rows.sum()) / 4

    obtained = metrics.udr_per_model(codes=[z, mixed], similarity="lasso")
    np.testing.assert_allclose(obtained, [strength(of_z), strength(of_mixed)], atol=1e-4)
    assert abs(strength(of_z) - strength(of_mixed)) > 0.1  # else the direction would not matter


def test_any_iterable_of_models():
    assert metrics.udr(codes=(table for table in [GRID, GRID]), active=iter([None, None])) == pytest.approx(1.0)


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
