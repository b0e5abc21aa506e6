"""Scores that fit a predictor, fix a factor or compare models, on codes small enough to work out."""

import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

import metrics
from metrics.estimation import check_inputs
from metrics.intervention import _pair_differences, _sort_levels
from metrics.prediction import fit_importance, fitted_rows, logistic_fits, sap_matrix, stratified_split

CLOSE = 1e-9  # standardising and a few sums


def grid(*n_levels, repeats=1):
    return np.tile(np.indices(n_levels).reshape(len(n_levels), -1).T, (repeats, 1))


def test_sap_ordered_is_r2():
    """R^2 of 3 a + b on independent factors is the share of variance, 9 : 1; the second latent knows nothing."""
    factors = grid(4, 4)
    sample = check_inputs("sap", factors=factors, codes=np.stack([factors @ [3, 1], factors[:, 0] % 2], axis=1))
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
    sample = check_inputs("sap", factors=factors, codes=codes, factor_kinds=["nominal", "ordered"])
    np.testing.assert_allclose(sap_matrix(sample), np.eye(2), atol=CLOSE)


def test_split_is_stratified_and_disjoint():
    classes = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], [50, 7, 2, 1]))
    fitted, held_out = stratified_split(classes, factor=0)
    np.testing.assert_array_equal(np.sort(np.concatenate([fitted, held_out])), np.arange(60))
    np.testing.assert_array_equal(np.bincount(classes[held_out], minlength=4), [10, 1, 1, 0])


def test_split_refuses_what_cannot_be_held_out():
    factors = np.stack([np.arange(20), np.arange(20) % 2], axis=1)
    codes = np.random.default_rng(0).random((20, 2))
    for score in (metrics.explicitness, metrics.infomec):
        with pytest.raises(ValueError, match=r"two levels with two rows each in column 0, found 0 .*factor_bins"):
            score(factors=factors, codes=codes)
    assert 0.0 <= metrics.explicitness(factors=factors, codes=codes, factor_bins=2) <= 1.0


def test_fitted_rows():
    rows = fitted_rows(100, seed=1, max_rows=30)
    assert len(set(rows.tolist())) == 30
    np.testing.assert_array_equal(rows, fitted_rows(100, seed=1, max_rows=30))
    assert sorted(fitted_rows(20, seed=0, max_rows=30)) == list(range(20))


@pytest.mark.parametrize("newton_limit", [0, 1000], ids=["lbfgs", "newton"])
@pytest.mark.parametrize("n_levels", [2, 5])
def test_logistic_fit_against_scikit_learn(n_levels, newton_limit, monkeypatch):
    """AUC and cross-entropy of the same fit by either solver. 2e-3: they stop at a gradient of 1e-4."""
    monkeypatch.setattr("metrics.prediction.NEWTON_LIMIT", newton_limit)
    generator = np.random.default_rng(0)
    factors = generator.integers(n_levels, size=(900, 1))
    codes = factors + generator.standard_normal((900, 9))
    sample = check_inputs("explicitness", factors=factors, codes=codes)
    (obtained,) = logistic_fits(sample, seed=4)

    rows = fitted_rows(900, seed=4)
    z, v = sample.standardised[rows], factors[rows, 0]
    fitted, held_out = stratified_split(v, factor=0)
    model = LogisticRegression(C=100.0, tol=1e-6, max_iter=5000).fit(z[fitted], v[fitted])
    p = model.predict_proba(z[held_out])
    auc = np.mean([roc_auc_score(v[held_out] == level, p[:, level]) for level in range(n_levels)])
    assert obtained.auc == pytest.approx(auc, abs=2e-3)
    assert obtained.cross_entropy == pytest.approx(log_loss(v[held_out], p, labels=range(n_levels)), abs=2e-3)


def test_shared_fits_know_their_seed_and_rows(monkeypatch):
    """One sample keeps its fits; another seed or number of rows is another fit, of no more rows than asked for."""
    generator = np.random.default_rng(0)
    factors = generator.integers(3, size=(300, 1))
    sample = check_inputs("explicitness", factors=factors, codes=factors + generator.standard_normal((300, 2)))
    keys = [{"seed": 0}, {"seed": 1}, {"seed": 0, "max_rows": 100}]
    kept = [logistic_fits(sample, **key)[0] for key in keys]
    assert len({fit.cross_entropy for fit in kept}) == 3
    assert [logistic_fits(sample, **key)[0] for key in keys] == kept
    n_fitted = []
    monkeypatch.setattr("metrics.prediction._logistic_fit", lambda codes, classes, factor: n_fitted.append(len(codes)))
    logistic_fits(sample, seed=2, max_rows=100)
    assert n_fitted == [100]


def test_explicitness_is_linear():
    """Parity of two latents: all there is to know, none of it linear."""
    factors = np.random.default_rng(0).integers(2, size=(2000, 2))
    parity = factors.sum(axis=1, keepdims=True) % 2
    # 200 held out of each class: 2 AUC - 1 deviates by 2 sqrt(401 / (12 * 200 * 200)) = 0.058 from 0
    assert metrics.explicitness(factors=parity, codes=factors.astype(float)) < 5 * 0.058
    assert metrics.explicitness(factors=factors, codes=factors @ np.array([[1.0, 0.5], [-0.5, 1.0]])) == 1.0


# Boosting looks at every latent and leaves chance little in 240 rows; each split of a forest looks at sqrt(3) of 3.
@pytest.mark.parametrize(("predictor", "tolerance"), [("gradient_boosting", 0.02), ("random_forest", 0.15)])
def test_importance_rows_are_factors(predictor, tolerance):
    factors = grid(3, 4, 5, repeats=5)
    codes = factors[:, [2, 0, 1]].astype(float)
    sample = check_inputs("dci", factors=factors, codes=codes, factor_kinds=["nominal", "ordered", "ordered"])
    importance, informativeness = fit_importance(sample, seed=0, predictor=predictor)
    np.testing.assert_allclose(importance, [[0, 1, 0], [0, 0, 1], [1, 0, 0]], atol=tolerance)
    np.testing.assert_allclose(informativeness, 1.0, atol=0.01)  # the target is a step function of one latent


def test_rounding_below_zero_is_no_importance(monkeypatch):
    """Boosting reports importances like -7e-18 where a split gained nothing; they must not be refused."""

    class Boosting:
        feature_importances_ = np.array([1.0, -7e-18])

        def fit(self, codes, target):
            return self

        def predict(self, codes):
            return np.zeros(len(codes))

    monkeypatch.setattr("metrics.prediction._tree_ensemble", lambda *_: Boosting())
    factors = grid(3, 4, repeats=2)
    obtained = metrics.dci(factors=factors, codes=factors.astype(float))
    # Both factors have all their importance on the first latent
    assert (obtained.disentanglement, obtained.completeness) == pytest.approx((0.0, 1.0), abs=CLOSE)


def test_dci_predictors_differ_and_are_checked():
    generator = np.random.default_rng(0)
    factors = generator.integers(4, size=(200, 2))
    codes = factors + generator.standard_normal((200, 2))
    forest = metrics.dci(factors=factors, codes=codes, predictor="random_forest")
    assert metrics.dci(factors=factors, codes=codes) != forest
    with pytest.raises(ValueError, match=r"predictor: expected one of .*random_forest.* found 'lasso'"):
        metrics.dci(factors=factors, codes=codes, predictor="lasso")


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


@pytest.mark.parametrize("name", ["irs", "beta_vae_score", "factor_vae_score"])
def test_levels_need_two_rows(name):
    factors = np.stack([np.arange(20), np.arange(20) % 2], axis=1)
    codes = np.random.default_rng(0).random((20, 2))
    with pytest.raises(ValueError, match=r"at least two rows in column 0, found 20 levels in 20 rows; .*factor_bins"):
        getattr(metrics, name)(factors=factors, codes=codes)
    assert 0.0 <= getattr(metrics, name)(factors=factors, codes=codes, factor_bins=2) <= 1.0


@pytest.mark.parametrize("name", ["beta_vae_score", "factor_vae_score"])
def test_a_dead_code_can_only_guess(name):
    factors = grid(2, 3, 4)
    assert getattr(metrics, name)(factors=factors, codes=np.ones((24, 3))) == pytest.approx(1 / 3, abs=1e-12)


def test_factor_vae_score_names_two_factors_with_two_latents():
    """The third factor is in no latent, so its votes are split between latents that stand for the others."""
    factors = grid(4, 4, 4, repeats=10)
    obtained = metrics.factor_vae_score(factors=factors, codes=factors[:, :2].astype(float))
    assert obtained == pytest.approx(2 / 3, abs=CLOSE)


def test_factor_vae_score_judges_votes_that_were_held_out(monkeypatch):
    """1,000 votes name latent k for factor k, of the 500 held out a fifth name the other."""

    def votes(codes, levels, n_votes, generator):
        factor = int((levels.count == 12).all())  # of 3 levels in 36 rows, not of 4
        return np.where((np.arange(n_votes) >= 1000) & (np.arange(n_votes) < 1100), 1 - factor, factor)

    monkeypatch.setattr("metrics.intervention._votes", votes)
    factors = grid(4, 3, repeats=3)
    assert metrics.factor_vae_score(factors=factors, codes=factors.astype(float)) == pytest.approx(0.8, abs=CLOSE)


def test_pairs_share_a_level_and_are_two_rows():
    """Levels of two rows at distance 1, in scattered order, and one level of a single row far away."""
    classes = np.array([2, 0, 1, 3, 1, 0, 2])
    codes = np.array([[20.0], [0.0], [10.0], [500.0], [11.0], [1.0], [21.0]])
    levels = _sort_levels(classes, factor=0)
    np.testing.assert_array_equal(_pair_differences(codes, levels, 50, np.random.default_rng(0)), np.ones((50, 1)))


def test_beta_vae_score_knows_a_missing_factor():
    """No latent moves less than usual: that, too, tells the third factor."""
    factors = grid(4, 4, 4, repeats=10)
    assert metrics.beta_vae_score(factors=factors, codes=factors[:, :2].astype(float)) > 0.99


class TestUDR:
    GRID = grid(4, 5, 6, repeats=3).astype(float)

    def test_the_same_latents(self):
        """Ranks of a full grid are uncorrelated: R is a permutation matrix."""
        others = [self.GRID[:, [1, 2, 0]] * [-1.0, 2.0, 9.0], np.exp(self.GRID)]
        assert metrics.udr(codes=[self.GRID, *others]) == pytest.approx(1.0, abs=CLOSE)

    def test_the_penalty_of_the_lasso(self):
        """Soft threshold of a correlation of 1 at 0.1, up to the tolerance of coordinate descent."""
        codes = [self.GRID, -self.GRID[:, ::-1]]
        assert metrics.udr(codes=codes, similarity="lasso") == pytest.approx(0.9, abs=1e-4)

    def test_duplicates(self):
        """3 latents against 6: every column of R has one 1, every row two: (6 + 3 / 2) / 9."""
        assert metrics.udr(codes=[self.GRID, np.hstack([self.GRID, self.GRID])]) == pytest.approx(7.5 / 9, abs=CLOSE)

    def test_inactive_latents_are_similar_to_none(self):
        masked = np.hstack([self.GRID, 1e-4 * self.GRID])
        active = [None, np.arange(6) < 3]
        assert metrics.udr(codes=[self.GRID, masked], active=active) == pytest.approx(1.0, abs=CLOSE)
        assert metrics.udr(codes=[self.GRID, masked]) < 0.9

    def test_dead_models(self):
        assert metrics.udr(codes=[np.zeros_like(self.GRID), self.GRID]) == 0.0
        assert metrics.udr(codes=[np.zeros_like(self.GRID)] * 2) == 0.0

    def test_each_model_has_the_median_of_its_pairs(self):
        """Three equal models and a dead one: pairs of 1, 1, 0 for the former, 0, 0, 0 for the latter."""
        obtained = metrics.udr_per_model(codes=[self.GRID, self.GRID, self.GRID, np.zeros((360, 1))])
        np.testing.assert_allclose(obtained, [1, 1, 1, 0], atol=CLOSE)

    def test_the_same_array_twice_is_two_models(self):
        assert metrics.udr(codes=[self.GRID, self.GRID]) == pytest.approx(1.0, abs=CLOSE)

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
    def test_refusals(self, changes, error, message):
        with pytest.raises(error, match=message):
            metrics.udr(**changes)


def test_no_warnings():
    """Nothing that a user must read past: separable classes, constant latents, noise."""
    factors = grid(4, 5, repeats=10)
    noise = np.random.default_rng(0).standard_normal(factors.shape)
    for codes in (factors.astype(float), np.zeros(factors.shape), noise):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            metrics.evaluate(
                factors=factors,
                codes=codes,
                n_floor_draws=1,
                metrics=["mig", "sap", "explicitness", "irs", "beta_vae_score", "factor_vae_score", "infomec"],
            )
