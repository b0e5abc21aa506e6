"""The BetaVAE and FactorVAE scores, and the rows that they draw."""

import numpy as np
import pytest
from metrics_cases import grid

import metrics
from metrics._beta_vae import _pair_differences
from metrics._rows import sort_levels

CLOSE = 1e-9  # standardising and a few sums


@pytest.mark.parametrize("name", ["irs", "beta_vae_score", "factor_vae_score"])
def test_levels_need_two_rows(name):
    factors = np.stack([np.arange(20), np.arange(20) % 2], axis=1)
    codes = np.random.default_rng(0).random((20, 2))
    with pytest.raises(ValueError, match=r"at least two rows in 'factor 0', found 20 levels in 20 rows; merge"):
        getattr(metrics, name)(factors=factors, codes=codes)
    assert 0.0 <= getattr(metrics, name)(factors=factors, codes=codes, factor_bins=2) <= 1.0


@pytest.mark.parametrize("name", ["beta_vae_score", "factor_vae_score"])
def test_a_dead_code_scores_chance(name):
    factors = grid(2, 3, 4)
    assert getattr(metrics, name)(factors=factors, codes=np.ones((24, 3))) == pytest.approx(1 / 3, abs=1e-12)


def test_factor_vae_score_of_two_latents_identifies_two_factors():
    """The third factor is in no latent, so its votes are split between the latents of the others."""
    factors = grid(4, 4, 4, repeats=10)
    obtained = metrics.factor_vae_score(factors=factors, codes=factors[:, :2].astype(float))
    assert obtained == pytest.approx(2 / 3, abs=CLOSE)


def test_factor_vae_score_uses_held_out_votes(monkeypatch):
    """1,000 votes are for latent k of factor k; of the 500 held out a fifth are for the other."""

    def votes(codes, levels, generator, rounding):
        factor = int((levels.count == 12).all())  # of 3 levels in 36 rows, not of 4
        return np.where((np.arange(1500) >= 1000) & (np.arange(1500) < 1100), 1 - factor, factor)

    monkeypatch.setattr("metrics._factor_vae._votes", votes)
    factors = grid(4, 3, repeats=3)
    assert metrics.factor_vae_score(factors=factors, codes=factors.astype(float)) == pytest.approx(0.8, abs=CLOSE)


def test_pairs_share_a_level_and_are_two_rows():
    """Levels of two rows at distance 1, in scattered order, and one level of a single row far away."""
    classes = np.array([2, 0, 1, 3, 1, 0, 2])
    codes = np.array([[20.0], [0.0], [10.0], [500.0], [11.0], [1.0], [21.0]])
    differences = _pair_differences(codes, sort_levels(classes), np.random.default_rng(0))
    np.testing.assert_array_equal(differences, np.ones((1500, 1)))


def test_beta_vae_score_identifies_a_missing_factor():
    """With the third factor fixed, no latent varies less than usual, which identifies it."""
    factors = grid(4, 4, 4, repeats=10)
    assert metrics.beta_vae_score(factors=factors, codes=factors[:, :2].astype(float)) > 0.99


@pytest.mark.parametrize("outlier", [1e7, 1e10])
def test_an_outlier_does_not_make_every_variance_a_tie(outlier):
    """A row of 1e7 leaves the others variances near 1e-11 of the whole.

    It is in a batch of its level of 800 rows with probability 1 - (1 - 1/800)^64 = 0.077, so a quarter of that many
    batches vote for any latent: at least 1 - 0.019, less 5 deviations of 1,500 votes, 0.018.
    """
    factors = grid(4, 4, 4, repeats=50)
    codes = factors + 0.3 * np.random.default_rng(0).standard_normal(factors.shape)
    assert metrics.factor_vae_score(factors=factors, codes=codes) == 1.0
    codes[5] = outlier
    assert metrics.factor_vae_score(factors=factors, codes=codes) >= 1.0 - 0.019 - 0.018


def test_ties_follow_the_type_of_the_codes():
    """Sum and difference of two factors vary equally whichever is fixed: the first latent gets all votes."""
    factors = np.indices((5, 5)).reshape(2, -1).T.repeat(20, axis=0)
    codes = np.stack([factors.sum(axis=1), factors[:, 0] - factors[:, 1]], axis=1) * 0.1 + 0.3
    for dtype in (np.float64, np.float32):
        assert metrics.factor_vae_score(factors=factors, codes=codes.astype(dtype)) == 0.5
