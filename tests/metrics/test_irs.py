"""IRS on codes small enough to work out."""

import numpy as np
import pytest
from metrics_cases import grid

import metrics

CLOSE = 1e-9  # standardising and a few sums


def test_irs_by_hand():
    """z = a + b / 2 on a 2 x 2 grid: with a fixed it moves by 1/4 of at most 3/4; the second latent is a."""
    factors = grid(2, 2)
    codes = np.stack([factors @ [1.0, 0.5], factors[:, 0]], axis=1)
    assert metrics.irs(factors=factors, codes=codes) == pytest.approx((2 / 3 + 1) / 2, abs=CLOSE)


def test_irs_takes_the_quantile_of_deviations():
    """One row in 200 far out within a level is left out by the 0.99 quantile, not by the largest deviation of all."""
    factors = np.stack([np.repeat([0, 1], 200), np.arange(400) % 2], axis=1)
    latent = np.where(factors[:, 0] == 0, -1.0, 1.0)
    latent[[0, 399]] = [-100.0, 100.0]
    # Level means -1.495 and 1.495, so 0.495 for all but the two; the largest deviation is 100
    assert metrics.irs(factors=factors, codes=latent[:, None]) == pytest.approx(1 - 0.495 / 100, abs=CLOSE)
