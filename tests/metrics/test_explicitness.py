"""Explicitness, its logistic fits and the rows that they use."""

import numpy as np
import pytest
from metrics_cases import sample_of
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

import metrics
from metrics._explicitness import logistic_fits
from metrics._rows import fitted_rows, stratified_split


def test_split_is_stratified_and_disjoint():
    classes = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], [50, 7, 2, 1]))
    fitted, held_out = stratified_split(classes, name="a")
    np.testing.assert_array_equal(np.sort(np.concatenate([fitted, held_out])), np.arange(60))
    np.testing.assert_array_equal(np.bincount(classes[held_out], minlength=4), [10, 1, 1, 0])


def test_split_refuses_what_cannot_be_held_out():
    factors = np.stack([np.arange(20), np.arange(20) % 2], axis=1)
    codes = np.random.default_rng(0).random((20, 2))
    for score in (metrics.explicitness, metrics.infomec):
        with pytest.raises(
            ValueError, match=r"two levels with two rows each in 'factor 0', found 0 among 20 rows; merge"
        ):
            score(factors=factors, codes=codes)
    assert 0.0 <= metrics.explicitness(factors=factors, codes=codes, factor_bins=2) <= 1.0


def rare_class(n_rows, n_members, *, n_common=1):
    """(n_rows, 2): a factor with a class of `n_members` beside `n_common` common ones, and one of four levels."""
    generator = np.random.default_rng(0)
    rare = 1 + generator.integers(n_common, size=n_rows)
    rare[generator.permutation(n_rows)[:n_members]] = 0
    return np.stack([rare, generator.integers(4, size=n_rows)], axis=1)


@pytest.mark.parametrize(("n_rows", "n_members"), [(7000, 2), (32_000, 10)])
def test_a_rare_class_keeps_two_rows(n_rows, n_members):
    """Whatever the seed; the other rows are those that were drawn first, in their order."""
    classes = np.unique(rare_class(n_rows, n_members)[:, 0], return_inverse=True)[1][:, None]
    for seed in range(20):
        rows = fitted_rows(classes, seed=seed, max_rows=5000)
        assert len(set(rows.tolist())) == 5000
        assert np.count_nonzero(classes[rows] == 0) >= 2
        plain = np.random.default_rng(seed).permutation(n_rows)[:5000]
        assert len(np.setdiff1d(rows, plain)) <= 2
        if np.count_nonzero(classes[plain] == 0) >= 2:
            np.testing.assert_array_equal(rows, plain)


@pytest.mark.parametrize("kinds", [("nominal", "nominal"), ("ordered", "ordered")])
def test_fitted_scores_of_a_rare_class(kinds):
    """Two of 700 rows, 100 of them drawn: one is fitted, one held out."""
    factors = rare_class(700, 2)
    codes = factors + np.array([[0.0, 0.0]])
    for seed in range(5):
        options = {"factors": factors, "codes": codes, "factor_kinds": kinds, "seed": seed, "max_rows": 100}
        assert metrics.explicitness(**options) == pytest.approx(1.0, abs=1e-9)
        assert metrics.infomec(**options).explicitness > 0.5
        assert metrics.dci(**options).informativeness == pytest.approx(1.0, abs=1e-3)


def test_a_rare_class_in_evaluate():
    """The error names the factor."""
    factors = rare_class(300, 1)
    codes = factors.astype(float)
    fitted = {"metrics": ["explicitness"], "factor_names": ["voice", "pitch"], "n_floor_draws": 1}
    with pytest.raises(ValueError, match=r"two levels with two rows each in 'voice', found 1 among 300 rows"):
        metrics.evaluate(factors=factors, codes=codes, **fitted)
    with pytest.raises(ValueError, match=r"at least 2 levels, found only 3 in 'voice'; leave"):
        metrics.evaluate(factors=factors * [0, 1] + [3, 0], codes=codes, **fitted)
    with pytest.raises(ValueError, match=r"found -1 in row 299 of 'pitch'; leave out rows without a label"):
        metrics.evaluate(factors=np.vstack([factors[:-1], [1, -1]]), codes=codes, **fitted)
    assert "explicitness" not in metrics.defined_metrics(factors=factors, n_latents=2)


def test_fitted_rows():
    """Without rare levels the first rows of a permutation."""
    classes = np.arange(100)[:, None] % [2, 3]
    rows = fitted_rows(classes, seed=1, max_rows=30)
    np.testing.assert_array_equal(rows, np.random.default_rng(1).permutation(100)[:30])
    assert sorted(fitted_rows(classes[:20], seed=0, max_rows=30)) == list(range(20))


@pytest.mark.parametrize("newton_limit", [0, 1000], ids=["lbfgs", "newton"])
@pytest.mark.parametrize("n_levels", [2, 5])
def test_logistic_fit_against_scikit_learn(n_levels, newton_limit, monkeypatch):
    """AUC and cross-entropy of the same fit by either solver. 2e-3: they stop at a gradient of 1e-4."""
    monkeypatch.setattr("metrics._explicitness.NEWTON_LIMIT", newton_limit)
    generator = np.random.default_rng(0)
    factors = generator.integers(n_levels, size=(900, 1))
    codes = factors + generator.standard_normal((900, 9))
    sample = sample_of(factors, codes)
    (obtained,) = logistic_fits(sample, seed=4, max_rows=5000)

    rows = fitted_rows(factors, seed=4, max_rows=5000)
    z, v = sample.standardised[rows], factors[rows, 0]
    fitted, held_out = stratified_split(v, name="a")
    model = LogisticRegression(C=100.0, tol=1e-6, max_iter=5000).fit(z[fitted], v[fitted])
    p = model.predict_proba(z[held_out])
    auc = np.mean([roc_auc_score(v[held_out] == level, p[:, level]) for level in range(n_levels)])
    assert obtained.auc == pytest.approx(auc, abs=2e-3)
    assert obtained.cross_entropy == pytest.approx(log_loss(v[held_out], p, labels=range(n_levels)), abs=2e-3)


def test_shared_fits_are_kept_by_seed_and_rows(monkeypatch):
    """One sample keeps its fits; another seed or number of rows is another fit, of no more rows than asked for."""
    generator = np.random.default_rng(0)
    factors = generator.integers(3, size=(300, 1))
    sample = sample_of(factors, factors + generator.standard_normal((300, 2)))
    keys = [{"seed": seed, "max_rows": n} for seed, n in [(0, 5000), (1, 5000), (0, 100)]]
    kept = [logistic_fits(sample, **key)[0] for key in keys]
    assert len({fit.cross_entropy for fit in kept}) == 3
    assert [logistic_fits(sample, **key)[0] for key in keys] == kept
    n_fitted = []
    monkeypatch.setattr("metrics._explicitness._logistic_fit", lambda codes, classes, name: n_fitted.append(len(codes)))
    logistic_fits(sample, seed=2, max_rows=100)
    assert n_fitted == [100]


def test_levels_that_are_not_drawn_are_left_out():
    """Level 1 has a single row, which is not among the 20 drawn: it could as well have level 0."""
    factors = np.repeat([[0], [2]], 50, axis=0)
    codes = factors + np.random.default_rng(0).standard_normal((100, 1))
    rare = factors.copy()
    rare[np.setdiff1d(np.arange(50), fitted_rows(factors, seed=0, max_rows=20))[0]] = 1
    expected = metrics.explicitness(factors=factors, codes=codes, max_rows=20)
    assert metrics.explicitness(factors=rare, codes=codes, max_rows=20) == expected


def test_explicitness_is_linear():
    """Parity of two latents is a function of the codes, but not a linear one."""
    factors = np.random.default_rng(0).integers(2, size=(2000, 2))
    parity = factors.sum(axis=1, keepdims=True) % 2
    # 200 held out of each class: 2 AUC - 1 deviates by 2 sqrt(401 / (12 * 200 * 200)) = 0.058 from 0
    assert metrics.explicitness(factors=parity, codes=factors.astype(float)) < 5 * 0.058
    assert metrics.explicitness(factors=factors, codes=factors @ np.array([[1.0, 0.5], [-0.5, 1.0]])) == 1.0
