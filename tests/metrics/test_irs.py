"""IRS on codes small enough to work out."""

import numpy as np
import pytest
from metrics_cases import grid

import metrics

CLOSE = 1e-9  # standardising and a few sums


def test_irs_by_hand():
    """On a 2 x 2 grid, with a fixed, a + b / 2 moves by 1/4 of at most 3/4, a + b / 4 by 1/8 of 5/8, a not at all."""
    factors = grid(2, 2)
    codes = factors @ np.array([[1.0, 1.0, 1.0], [0.5, 0.25, 0.0]])
    assert metrics.irs(factors=factors, codes=codes) == pytest.approx((2 / 3 + 4 / 5 + 1) / 3, abs=CLOSE)


def test_irs_uses_the_quantile_of_deviations():
    """One row in 200 far out within a level is left out by the 0.99 quantile, not by the largest deviation of all."""
    factors = np.stack([np.repeat([0, 1], 200), np.arange(400) % 2], axis=1)
    latent = np.where(factors[:, 0] == 0, -1.0, 1.0)
    latent[[0, 399]] = [-100.0, 100.0]
    # Level means -1.495 and 1.495, so 0.495 for all but the two; the largest deviation is 100
    assert metrics.irs(factors=factors, codes=latent[:, None]) == pytest.approx(1 - 0.495 / 100, abs=CLOSE)
