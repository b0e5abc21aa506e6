"""The guard, discretisation and plug-in estimates."""

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

import metrics
from metrics.estimation import bin_levels, check_inputs, discretise, entropy_of_counts

FACTORS = np.indices((3, 4)).reshape(2, -1).T.repeat(5, axis=0)
CODES = np.random.default_rng(0).standard_normal((len(FACTORS), 3))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"factors": FACTORS.astype(float)}, TypeError, r"factors: expected integer levels, found float64; .*swapped"),
        ({"factors": FACTORS.astype(str)}, TypeError, r"factors: expected integer levels, found <U"),
        ({"factors": FACTORS[:, 0]}, ValueError, r"factors: expected shape \(N, K\) .* found \(60,\); .*\[:, None\]"),
        ({"factors": FACTORS[:, :0]}, ValueError, r"factors: expected shape .* found \(60, 0\)"),
        ({"factors": FACTORS[:50]}, ValueError, r"factors has 50 rows, codes has 60"),
        ({"factors": FACTORS * [1, 0]}, ValueError, r"at least 2 levels .* single level 0 in column 1"),
        ({"factors": FACTORS * 2**40}, ValueError, r"expected level indices, found values from 0 to 2199023255552"),
        ({"codes": CODES[:, 0]}, ValueError, r"codes: expected shape \(N, D\) .* found \(60,\)"),
        ({"codes": CODES.astype(complex)}, TypeError, r"codes: expected real numbers, found complex128"),
        ({"codes": np.where(CODES > 2, np.nan, CODES)}, ValueError, r"codes: expected finite numbers, found \d+ that"),
        ({"codes": CODES[:, :1]}, ValueError, r"mig needs at least 2 latents, found 1"),
        ({"n_bins": 1}, ValueError, r"n_bins: expected at least 2, found 1"),
        ({"n_bins": 20.0}, TypeError, r"n_bins: expected an integer, found 20.0"),
        ({"n_bins": True}, TypeError, r"n_bins: expected an integer, found True"),
        ({"factor_bins": 1}, ValueError, r"factor_bins: expected at least 2, found 1"),
        ({"factor_kinds": ["ordered"]}, ValueError, r"factor_kinds: expected 2 of .* found \['ordered'\]"),
        ({"factor_kinds": "ordered"}, ValueError, r"factor_kinds: expected 2 of"),
        ({"factor_kinds": ["ordered", "continuous"]}, ValueError, r"'nominal', 'ordered'.* found .*'continuous'"),
        ({"active": np.array([True, False])}, ValueError, r"active: expected 3 booleans.* found bool of shape \(2,\)"),
        ({"active": np.array([0, 1, 2])}, ValueError, r"active: expected 3 booleans.* found int64"),
    ],
)
def test_guard(changes, error, message):
    with pytest.raises(error, match=message):
        metrics.mig(**({"factors": FACTORS, "codes": CODES} | changes))


@pytest.mark.parametrize(
    ("name", "n_factors", "n_latents", "what"),
    [
        ("mig", 1, 1, "2 latents"),
        ("mig_sup", 1, 3, "2 factors"),
        ("jemmig", 2, 1, "2 latents"),
        ("dcimig", 1, 3, "2 factors"),
        ("modularity", 1, 3, "2 factors"),
        ("sap", 2, 1, "2 latents"),
        ("dci", 1, 3, "2 factors"),
        ("dci", 2, 1, "2 latents"),
        ("irs", 1, 3, "2 factors"),
        ("beta_vae_score", 1, 3, "2 factors"),
        ("factor_vae_score", 1, 3, "2 factors"),
        ("infomec", 1, 3, "2 factors"),
        ("infomec", 2, 1, "2 latents"),
    ],
)
def test_least_factors_and_latents(name, n_factors, n_latents, what):
    with pytest.raises(ValueError, match=f"{name} needs at least {what}, found 1"):
        getattr(metrics, name)(factors=FACTORS[:, :n_factors], codes=CODES[:, :n_latents])


@pytest.mark.parametrize("name", ["dci", "explicitness", "infomec"])
def test_least_rows(name):
    rows = [0, 20, 40, 10, 30, 59]
    with pytest.raises(ValueError, match=f"{name} needs at least 10 rows, found 6"):
        getattr(metrics, name)(factors=FACTORS[rows], codes=CODES[rows])


@pytest.mark.parametrize("name", ["dci", "explicitness", "infomec", "beta_vae_score", "factor_vae_score"])
@pytest.mark.parametrize(("seed", "error"), [(-1, ValueError), (0.5, TypeError), (None, TypeError)])
def test_seed_is_checked(name, seed, error):
    with pytest.raises(error, match="seed: expected"):
        getattr(metrics, name)(factors=FACTORS, codes=CODES, seed=seed)


def test_factor_bins_formula():
    """min((v - lo) * B // (hi - lo), B - 1): 0 .. 10 in 4 bins has edges 2.5, 5, 7.5; 10 joins the last."""
    np.testing.assert_array_equal(bin_levels(np.arange(11) + 7, 4), [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3])
    np.testing.assert_array_equal(bin_levels(np.array([5, 9, 100]), 3), [5, 9, 100])


def test_only_ordered_factors_with_more_levels_are_binned():
    factors = np.stack([np.arange(40), np.arange(40), np.arange(40) % 10], axis=1)
    sample = check_inputs(
        "mig",
        factors=factors,
        codes=np.random.default_rng(0).random((40, 2)),
        factor_bins=10,
        factor_kinds=["nominal", "ordered", "ordered"],
    )
    assert sample.n_classes == (40, 10, 10)
    np.testing.assert_array_equal(sample.levels[:, 2], factors[:, 2])


def test_classes_have_no_gaps():
    factors = np.array([[5, -2], [900, 0], [5, 0], [7, -2]])
    sample = check_inputs("mig", factors=factors, codes=np.eye(4)[:, :2])
    np.testing.assert_array_equal(sample.classes, [[0, 0], [2, 1], [0, 1], [1, 0]])


def test_unsigned_levels_do_not_wrap():
    high = np.array([[2**64 - 1], [2**64 - 2]], dtype=np.uint64)
    sample = check_inputs("explicitness", factors=np.tile(high, (5, 1)), codes=np.arange(10)[:, None])
    np.testing.assert_array_equal(sample.classes[:2], [[1], [0]])


def test_discretise():
    """Bins of width 1 from 0 to 4: an edge belongs to the bin above it, the maximum to the last."""
    codes = np.array([[0.0], [0.99], [1.0], [2.5], [3.0], [4.0]]) / 4.0
    np.testing.assert_array_equal(discretise(codes, 4)[:, 0], [0, 0, 1, 2, 3, 3])


@pytest.mark.parametrize("scale", [1e-3, 0.1, 0.3, 3.7, 1e6])
@pytest.mark.parametrize("shift", [0.0, 1 / 3, -12.7])
def test_lattices_keep_their_bins(scale, shift):
    """21 levels lie on the edges of 20 bins; rounding must not merge neighbours."""
    levels = np.arange(21.0)
    sample = check_inputs("explicitness", factors=np.arange(21)[:, None], codes=(levels * scale + shift)[:, None])
    np.testing.assert_array_equal(discretise(sample.codes, 20)[:, 0], np.minimum(np.arange(21), 19))


@pytest.mark.parametrize(
    "codes",
    [CODES * 1e307, CODES * 1e-308, CODES * 1e-3 + 1e6, (CODES * 100).astype(np.int64)],
    ids=["huge", "subnormal", "offset", "integers"],
)
def test_extreme_codes_keep_their_bins(codes):
    """No overflow, no division by zero, and the information of the same codes at scale 1."""
    reference = np.trunc(CODES * 100) if codes.dtype == np.int64 else CODES
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        obtained = metrics.mutual_information(factors=FACTORS, codes=codes).mi
    expected = metrics.mutual_information(factors=FACTORS, codes=reference).mi
    np.testing.assert_allclose(obtained, expected, rtol=0, atol=1e-12)  # sums of 60 terms


def test_constant_latents_are_inactive():
    """Also up to rounding in the type of the codes, and whatever the caller's mask says."""
    codes = np.hstack([CODES, np.full((60, 1), 0.1), 5.0 + 1e-15 * CODES[:, :1]])
    np.testing.assert_array_equal(check_inputs("mig", factors=FACTORS, codes=codes).active, [True] * 3 + [False] * 2)
    mask = np.array([False, True, True, True, True])
    np.testing.assert_array_equal(
        check_inputs("mig", factors=FACTORS, codes=codes, active=mask).active, [False, True, True, False, False]
    )
    single = (1.0 + 1e-9 * CODES).astype(np.float32)
    assert not check_inputs("mig", factors=FACTORS, codes=single).active.any()


def test_entropy():
    assert entropy_of_counts(np.array([7, 0, 7])) == pytest.approx(np.log(2), abs=1e-15)
    assert entropy_of_counts(np.array([1, 3])) == pytest.approx(0.75 * np.log(4 / 3) + 0.25 * np.log(4), abs=1e-15)
    assert entropy_of_counts(np.array([9, 0])) == 0.0


def test_mutual_information_against_scikit_learn():
    information = metrics.mutual_information(factors=FACTORS, codes=CODES, n_bins=5)
    bins = [np.digitize(column, np.histogram(column, 5)[1][1:-1]) for column in CODES.T]
    expected = [[mutual_info_score(factor, column) for column in bins] for factor in FACTORS.T]
    np.testing.assert_allclose(information.mi, expected, rtol=0, atol=1e-12)  # sums of 60 terms
    joint = [
        [entropy_of_counts(np.unique(np.stack([factor, column]), axis=1, return_counts=True)[1]) for column in bins]
        for factor in FACTORS.T
    ]
    np.testing.assert_allclose(information.joint_entropy, joint, rtol=0, atol=1e-12)


def test_information_of_independent_factors_is_zero():
    """On a full grid, rounding alone is left of I; below 1e-12 it counts as 0."""
    information = metrics.mutual_information(factors=FACTORS, codes=FACTORS.astype(float))
    np.testing.assert_array_equal(information.mi == 0.0, ~np.eye(2, dtype=bool))
    np.testing.assert_allclose(np.diag(information.mi), np.log([3, 4]), rtol=0, atol=1e-12)


def test_rounding_is_no_information(monkeypatch):
    """An independent latent leaves some 1e-15 nats, of which modularity would make a ratio."""
    tones = np.indices((100, 10, 4)).reshape(3, -1).T
    data = {"factors": tones[:, 1:], "codes": tones[:, :1].astype(float)}
    np.testing.assert_array_equal(metrics.mutual_information(**data).mi, [[0.0], [0.0]])
    assert metrics.modularity(**data) == 0.0
    monkeypatch.setattr("metrics.estimation.ZERO_MI", 0.0)
    assert metrics.mutual_information(**data).mi.all()  # else this test could not fail


def test_occupancy_shows_an_outlier():
    codes = np.stack([np.arange(100.0), np.where(np.arange(100) == 0, 1e4, np.arange(100.0)), np.ones(100)], axis=1)
    information = metrics.mutual_information(factors=np.arange(100)[:, None] % 2, codes=codes)
    np.testing.assert_allclose(information.occupancy, [0.05, 0.99, 1.0])
