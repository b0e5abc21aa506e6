"""SAP on codes small enough to work out."""

import numpy as np
import pytest
from metrics_cases import grid, sample_of

import metrics
from metrics._sap import sap_matrix

CLOSE = 1e-9  # standardising and a few sums


def test_sap_ordered_is_r2():
    """R^2 of 3 a + b on independent factors is the share of variance, 9 : 1; the second latent knows nothing."""
    factors = grid(4, 4)
    sample = sample_of(factors, np.stack([factors @ [3, 1], factors[:, 0] % 2], axis=1))
    # Levels 0..3 and their parity 0, 1, 0, 1: covariance 1/4, variances 5/4 and 1/4
    np.testing.assert_allclose(sap_matrix(sample), [[0.9, 0.2], [0.1, 0.0]], atol=CLOSE)
    assert metrics.sap(factors=factors, codes=sample.codes) == pytest.approx((0.7 + 0.1) / 2, abs=CLOSE)


@pytest.mark.parametrize(
    ("latent", "expected"),
    [
        # Nearest mean of 0.25 and 0.75: three of four right in each class, (0.75 - 0.5) / 0.5
        ([0, 0, 0, 1, 1, 1, 1, 0], 0.5),
        ([0, 0, 0, 0, 1, 1, 1, 1], 1.0),
        # Equal means: nothing linear, whatever the spread
        ([-1, 1, -1, 1, -3, 3, -3, 3], 0.0),
        # Means 0 and 2, the last value lies on the boundary 1 and counts half: recalls 1 and 3.5/4
        ([0, 0, 0, 0, 7 / 3, 7 / 3, 7 / 3, 1], 0.875),
    ],
)
def test_sap_nominal_is_balanced_accuracy(latent, expected):
    for sign in (1.0, -1.0):
        codes = np.stack([sign * np.array(latent, dtype=float), np.zeros(8)], axis=1)
        obtained = metrics.sap(factors=np.repeat([[0], [1]], 4, axis=0), codes=codes, factor_kinds=["nominal"])
        assert obtained == pytest.approx(expected, abs=CLOSE)


def test_sap_nominal_is_balanced():
    """90 of a class at 0; 10 of another, half at 0 and half at 1: recalls 1 and 1/2, where the accuracy is 0.95."""
    factors = np.repeat([0, 1], [90, 10])[:, None]
    codes = np.stack([np.arange(100) >= 95, np.zeros(100)], axis=1)
    assert metrics.sap(factors=factors, codes=codes, factor_kinds=["nominal"]) == pytest.approx(0.5, abs=CLOSE)


def test_sap_nominal_levels_at_one_place_share_the_credit():
    """98 of one class and 2 of another at the same place: always guessing the large class is worth nothing."""
    factors = np.repeat([0, 1, 2], [98, 2, 100])[:, None]
    codes = np.stack([factors[:, 0] >= 2, np.zeros(200)], axis=1)
    # Recalls 1/2, 1/2 and 1: (2/3 - 1/3) / (2/3)
    assert metrics.sap(factors=factors, codes=codes, factor_kinds=["nominal"]) == pytest.approx(0.5, abs=CLOSE)


def test_sap_nominal_separates_levels_between_others():
    factors = grid(4, 3)
    codes = np.stack([np.array([2.0, -1.0, 5.0, 0.0])[factors[:, 0]], factors[:, 1]], axis=1)
    sample = sample_of(factors, codes, factor_kinds=["nominal", "ordered"])
    np.testing.assert_allclose(sap_matrix(sample), np.eye(2), atol=CLOSE)


@pytest.mark.parametrize("kind", ["ordered", "nominal"])
@pytest.mark.parametrize("offset", [10**9, 2**53, 2**62])
def test_sap_of_levels_with_an_offset(kind, offset):
    """Levels are numbered as np.unique does; float64 cannot tell such neighbours apart."""
    factors = grid(4, 3)
    codes = factors @ np.array([[1.0, 0.3], [0.2, 1.0]])
    expected = metrics.sap(factors=factors, codes=codes, factor_kinds=[kind] * 2)
    assert 0.1 < expected < 1.0
    assert metrics.sap(factors=factors + offset, codes=codes, factor_kinds=[kind] * 2) == expected


def test_sap_nominal_of_float32_on_a_boundary():
    """Two classes at 0.3 .. 0.7 in steps of 0.1 and at 0.6 .. 1.0: the boundary 0.65 is a half step; with means 0.5
    and 0.7, values of 0.6 lie on the boundary and count half, in every type."""
    latent = np.array([0.3, 0.5, 0.6, 0.6, 0.5, 0.6, 0.7, 0.7, 0.8, 0.7])
    factors = np.repeat([0, 1], 5)[:, None]
    for dtype in (np.float64, np.float32):
        codes = np.stack([latent.astype(dtype), np.zeros(10, dtype)], axis=1)
        # Means 0.5 and 0.7: recalls (1 + 1 + 1/2 + 1/2 + 1) / 5 and (1/2 + 4) / 5
        obtained = metrics.sap(factors=factors, codes=codes, factor_kinds=["nominal"])
        assert obtained == pytest.approx(2 * (0.8 + 0.9) / 2 - 1, abs=CLOSE)
