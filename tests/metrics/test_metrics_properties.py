"""Properties of all metrics; exceptions are listed with their reason."""

import numpy as np
import pytest

import metrics
from metrics import _dci

SAMPLING = ("beta_vae_score", "factor_vae_score")
FITTED = ("dci", "explicitness", "infomec")
CLOSED_FORM = ("mig", "mig_sup", "jemmig", "dcimig", "modularity", "sap", "irs")
ALL = CLOSED_FORM + SAMPLING + FITTED
KINDS = ("nominal", "ordered", "ordered")
NOISE = 0.5

# Closed forms: the same sums in another order. Logistic fits stop at a gradient of 1e-4, which moves scores by less
# than 1e-2; boosted trees break ties between equally good splits by position, and one such split moves an importance by
# percents. FactorVAE's votes and BetaVAE's points are the same draws of rows.
TOLERANCE = {name: 1e-9 for name in CLOSED_FORM} | {
    "factor_vae_score": 1e-9,
    "beta_vae_score": 1e-2,
    "explicitness": 1e-2,
    "infomec": 1e-2,
    "dci": 5e-2,
}


def scores(name, *, factors, codes, **options):
    """The score as a list: one number, or the three of a tuple."""
    if name == "dci":  # boosting takes longest; half the rows have the same properties
        options.setdefault("max_rows", 300)
    result = getattr(metrics, name)(factors=factors, codes=codes, factor_kinds=KINDS, **options)
    return list(result) if isinstance(result, tuple) else [result]


@pytest.fixture(scope="module", autouse=True)
def fewer_trees():
    """30 trees instead of 100: boosting takes most of the time, and each property holds for any number."""
    full = _dci._tree_ensemble
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_dci, "_tree_ensemble", lambda *args: full(*args).set_params(n_estimators=30))
        yield


@pytest.fixture(scope="module")
def data():
    """600 random rows (no full grid) of 4 x 6 x 9 levels, and five noisy latents that mix the factors.

    They are noisy enough that no score is saturated: at 0 or 1 the properties would hold for wrong code too. Codes are
    exact in float32.
    """
    generator = np.random.default_rng(7)
    factors = np.stack([generator.integers(n, size=600) for n in (4, 6, 9)], axis=1)
    mixing = np.array([[2.0, 0.3, 0.0, 0.5, 0.0], [0.0, 1.0, 0.2, 0.5, 0.0], [0.0, 0.2, 1.0, 0.0, 0.0]])
    codes = (factors / factors.max(axis=0)) @ mixing + NOISE * generator.standard_normal((600, 5))
    return factors, codes.astype(np.float32).astype(np.float64)


@pytest.fixture(scope="module")
def plain(data):
    """name -> its scores on the data as they are."""
    return {name: scores(name, factors=data[0], codes=data[1]) for name in ALL}


def test_no_score_is_saturated(plain):
    for name, values in plain.items():
        for value in values:
            assert type(value) is float
            assert 0.02 < value < 0.98, name


def test_registry_is_complete():
    assert set(ALL) == set(metrics.METRICS)


@pytest.mark.parametrize("name", ALL)
def test_range_and_type(name, data):
    factors, codes = data
    generator = np.random.default_rng(0)
    for table in (
        factors.astype(float),
        generator.standard_normal(codes.shape),
        np.zeros(codes.shape),
        generator.standard_cauchy(codes.shape),
    ):
        for value in scores(name, factors=factors, codes=table):
            assert type(value) is float
            assert 0.0 <= value <= 1.0


@pytest.mark.parametrize("name", ALL)
def test_permuted_latents(name, data, plain):
    factors, codes = data
    expected = plain[name]
    obtained = scores(name, factors=factors, codes=codes[:, [3, 0, 4, 2, 1]])
    assert obtained == pytest.approx(expected, abs=TOLERANCE[name])


@pytest.mark.parametrize("name", ALL)
def test_permuted_labels_of_a_nominal_factor(name, data, plain):
    factors, codes = data
    relabelled = factors.copy()
    relabelled[:, 0] = np.array([12, 3, 7, 0])[factors[:, 0]]
    expected = plain[name]
    assert scores(name, factors=relabelled, codes=codes) == pytest.approx(expected, abs=TOLERANCE[name])


# Not SAP and DCI: a regression uses the order of an ordered factor's levels.
@pytest.mark.parametrize("name", [name for name in ALL if name not in ("sap", "dci")])
def test_permuted_labels_of_every_factor(name, data, plain):
    factors, codes = data
    generator = np.random.default_rng(1)
    relabelled = np.stack([generator.permutation(column.max() + 1)[column] for column in factors.T], axis=1)
    expected = plain[name]
    assert scores(name, factors=relabelled, codes=codes) == pytest.approx(expected, abs=TOLERANCE[name])


@pytest.mark.parametrize("name", ALL)
def test_permuted_factors(name, data, plain):
    """The mean over factors does not care about their order. Drawing scores draw other rows for each factor then."""
    factors, codes = data
    tolerance = 0.05 if name in SAMPLING else TOLERANCE[name]  # 0.05: five deviations of 1,500 held-out points
    expected = plain[name]
    obtained = scores(name, factors=factors[:, [0, 2, 1]], codes=codes)
    assert obtained == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("scale", [[-1.0] * 5, [1e-3, -40.0, 1.0, -1.0, 1e200]], ids=["sign", "affine"])
@pytest.mark.parametrize("name", ALL)
def test_sign_and_affine_change(name, scale, data, plain):
    """The shift is at most 100 scales: beyond, float64 itself loses the digits that the tolerance asks for."""
    factors, codes = data
    changed = codes * scale + np.array([0.0, 3.0, -1.0, 100.0, 1e201]) * (np.array(scale) != -1.0)
    expected = plain[name]
    assert scores(name, factors=factors, codes=changed) == pytest.approx(expected, abs=TOLERANCE[name])


# Fitted scores hold rows out: a row's double would be fitted to. Sampling scores draw other rows.
@pytest.mark.parametrize("name", CLOSED_FORM)
def test_duplicated_rows(name, data, plain):
    factors, codes = data
    expected = plain[name]
    doubled = scores(name, factors=np.tile(factors, (2, 1)), codes=np.tile(codes, (2, 1)))
    assert doubled == pytest.approx(expected, abs=TOLERANCE[name])


# Not the others: they draw rows by position.
@pytest.mark.parametrize("name", CLOSED_FORM)
def test_rows_in_another_order(name, data, plain):
    factors, codes = data
    order = np.random.default_rng(2).permutation(len(codes))
    expected = plain[name]
    assert scores(name, factors=factors[order], codes=codes[order]) == pytest.approx(expected, abs=TOLERANCE[name])


@pytest.mark.parametrize("name", ALL)
def test_constant_latent(name, data, plain):
    """A constant latent changes nothing but what is defined over all D latents."""
    factors, codes = data
    expected = list(plain[name])
    if name == "modularity":  # mean over all latents, one more of which scores 0
        expected = [expected[0] * 5 / 6]
    if name == "dci":  # completeness compares with an even spread over D latents: the base of its logarithm
        expected[1] = 1.0 - (1.0 - expected[1]) * np.log(5) / np.log(6)
    extended = np.insert(codes, 2, 0.1, axis=1)
    assert scores(name, factors=factors, codes=extended) == pytest.approx(expected, abs=TOLERANCE[name])


@pytest.mark.parametrize("name", ALL)
def test_inactive_latent_counts_as_constant(name, data, plain):
    """Bit for bit: a latent that encodes a factor perfectly, masked, is as if it were constant."""
    factors, codes = data
    perfect = np.insert(codes, 2, factors[:, 2], axis=1)
    before = factors.copy(), perfect.copy()
    masked = scores(name, factors=factors, codes=perfect, active=np.arange(6) != 2)
    np.testing.assert_array_equal(factors, before[0])  # inputs are not changed
    np.testing.assert_array_equal(perfect, before[1])
    assert masked == scores(name, factors=factors, codes=np.insert(codes, 2, 0.0, axis=1))
    assert masked != scores(name, factors=factors, codes=perfect)


@pytest.mark.parametrize("name", SAMPLING + FITTED)
def test_other_seeds_draw_other_rows(name, data):
    factors, codes = data
    noisy = codes + np.random.default_rng(0).standard_normal(codes.shape)
    results = {tuple(scores(name, factors=factors, codes=noisy, seed=seed)) for seed in range(2)}
    assert len(results) > 1


@pytest.mark.parametrize("name", ALL)
def test_types_of_arrays_do_not_matter(name, data, plain):
    """Bit for bit: integers of any width, lists, Fortran order, float32."""
    factors, codes = data
    single = codes.astype(np.float32)
    assert scores(name, factors=np.asfortranarray(factors.astype(np.uint8)), codes=single) == plain[name]
    assert scores(name, factors=factors.tolist(), codes=codes.tolist()) == plain[name]


@pytest.mark.parametrize("name", ALL)
def test_swapped_arguments_are_refused(name, data):
    factors, codes = data
    with pytest.raises(TypeError, match=r"factors: expected integer levels, found float64; if .* swapped"):
        getattr(metrics, name)(factors=codes, codes=factors)


@pytest.mark.parametrize("name", [*ALL, "udr", "udr_per_model", "evaluate", "mutual_information", "self_test"])
def test_arguments_are_keyword_only(name, data):
    with pytest.raises(TypeError, match="positional"):
        getattr(metrics, name)(*data)
