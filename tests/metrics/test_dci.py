"""DCI: scores of small importance matrices, and the importances that the trees find."""

import math

import numpy as np
import pytest
from metrics_cases import CLOSE, DIAGONAL, MATRICES, grid, sample_of

import metrics
from metrics import dci_completeness, dci_disentanglement
from metrics._dci import dci_work, fit_importance

LN = math.log


@pytest.mark.parametrize(
    ("name", "disentanglement", "completeness"),
    [
        ("diagonal", 1, 1),
        # A latent without importance has weight 0 ...
        ("empty code", 1, 1),
        ("zero", 0, 0),
        # ... two latents for each factor: 1 - ln 2 / ln 6
        ("redundant", 1, 1 - LN(2) / LN(6)),
        ("missed", 1, 1),
        # Two thirds of the importance are on a latent shared by two of three factors: (2 (1 - ln 2 / ln 3) + 1) / 3
        ("merged", (2 * (1 - LN(2) / LN(3)) + 1) / 3, 1),
    ],
)
def test_matrices(name, disentanglement, completeness):
    assert dci_disentanglement(MATRICES[name]) == pytest.approx(disentanglement, abs=CLOSE)
    assert dci_completeness(MATRICES[name]) == pytest.approx(completeness, abs=CLOSE)


def test_completeness_weighs_factors_by_importance():
    """The first factor, of 3/4 of the importance, is spread evenly over two latents; the second has one."""
    assert dci_completeness(np.array([[1.5, 1.5], [1.0, 0.0]])) == pytest.approx(1 / 4, abs=CLOSE)


@pytest.mark.parametrize("importance", [1e-300 * DIAGONAL, 8e307 * DIAGONAL])
def test_only_ratios_of_importance_matter(importance):
    assert dci_disentanglement(importance) == pytest.approx(1.0, abs=CLOSE)


@pytest.mark.parametrize(
    ("importance", "message"),
    [
        (np.ones(3), r"expected shape \(K, D\)"),
        (np.ones((1, 3)), r"at least 2 factors"),
        (-DIAGONAL, "non-negative"),
        (np.full((2, 2), np.nan), "finite"),
    ],
)
def test_importance_is_checked(importance, message):
    for function in (dci_disentanglement, dci_completeness):
        with pytest.raises(ValueError, match=message):
            function(importance)


# Boosting looks at every latent and leaves little to chance in 240 rows; each split of a forest looks at sqrt(3) of 3.
@pytest.mark.parametrize(("predictor", "tolerance"), [("gradient_boosting", 0.02), ("random_forest", 0.15)])
def test_importance_rows_are_factors(predictor, tolerance):
    factors = grid(3, 4, 5, repeats=5)
    sample = sample_of(factors, factors[:, [2, 0, 1]].astype(float), factor_kinds=["nominal", "ordered", "ordered"])
    importance, informativeness = fit_importance(sample, seed=0, predictor=predictor, max_rows=5000)
    np.testing.assert_allclose(importance, [[0, 1, 0], [0, 0, 1], [1, 0, 0]], atol=tolerance)
    np.testing.assert_allclose(informativeness, 1.0, atol=0.01)  # the target is a step function of one latent


def test_rounding_below_zero_counts_as_no_importance(monkeypatch):
    """Boosting reports importances like -7e-18 where a split gained nothing; they must not be refused."""

    class Boosting:
        feature_importances_ = np.array([1.0, -7e-18])

        def fit(self, codes, target):
            return self

        def predict(self, codes):
            return np.zeros(len(codes))

    monkeypatch.setattr("metrics._dci._tree_ensemble", lambda *_: Boosting())
    factors = grid(3, 4, repeats=2)
    obtained = metrics.dci(factors=factors, codes=factors.astype(float))
    # Both factors have all their importance on the first latent
    assert (obtained.disentanglement, obtained.completeness) == pytest.approx((0.0, 1.0), abs=1e-9)


def test_predictors_differ_and_are_checked():
    generator = np.random.default_rng(0)
    factors = generator.integers(4, size=(200, 2))
    codes = factors + generator.standard_normal((200, 2))
    forest = metrics.dci(factors=factors, codes=codes, predictor="random_forest")
    assert metrics.dci(factors=factors, codes=codes) != forest
    with pytest.raises(ValueError, match=r"predictor: expected one of .*random_forest.* found 'lasso'"):
        metrics.dci(factors=factors, codes=codes, predictor="lasso")


def test_work_without_bound_is_refused():
    """512 latents, or 1,000 classes: minutes a fit. Inactive latents are free; a forest is cheaper."""
    generator = np.random.default_rng(0)
    factors = np.stack([np.arange(5000) % n for n in (1000, 3)], axis=1)
    codes = generator.standard_normal((5000, 512))
    with pytest.raises(ValueError, match=r"dci: 8 latents and \[1000, 3\] levels cost 8.0 times the limit; leave"):
        metrics.dci(factors=factors, codes=codes[:, :8], factor_kinds=["nominal", "ordered"])
    with pytest.raises(ValueError, match=r"dci: 512 latents and .* 1.0 times the limit; .*random_forest"):
        metrics.dci(factors=factors, codes=codes)
    with pytest.raises(ValueError, match="dci: 512 latents"):  # the oracles use every latent
        metrics.evaluate(factors=factors, codes=codes, active=np.arange(512) < 4, metrics=["mig", "dci"])
    for n_latents, is_defined in [(8, True), (512, False)]:
        assert ("dci" in metrics.defined_metrics(factors=factors, n_latents=n_latents)) == is_defined
    assert dci_work(factors, ("ordered",) * 2, n_latents=500) == 1.0
    assert dci_work(factors, ("nominal", "ordered"), n_latents=4, max_rows=1000) == pytest.approx(0.8008)
    metrics.dci(factors=factors, codes=codes, active=np.arange(512) < 2, max_rows=50)
