"""Checks of inputs, and binning of factors and codes."""

import numpy as np
import pytest

import metrics
from metrics._validation import bin_levels, check_inputs, discretise

FACTORS = np.indices((3, 4)).reshape(2, -1).T.repeat(5, axis=0)
CODES = np.random.default_rng(0).standard_normal((len(FACTORS), 3))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"factors": FACTORS.astype(float)}, TypeError, r"factors: expected integer levels, found float64; .*swapped"),
        ({"factors": FACTORS.astype(str)}, TypeError, r"factors: expected integer levels, found <U"),
        ({"factors": FACTORS[:, 0]}, ValueError, r"factors: expected shape \(N, K\) .* found \(60,\); .*\[:, None\]"),
        ({"factors": FACTORS[:50]}, ValueError, r"factors has 50 rows, codes has 60"),
        ({"factors": FACTORS * [1, 0]}, ValueError, r"at least 2 levels, found only 0 in 'factor 1'; leave"),
        ({"factors": np.vstack([FACTORS[:-1], [0, -9999]])}, ValueError, r"found -9999 in row 59 of 'factor 1'; leave"),
        ({"factors": np.ma.masked_equal(FACTORS, 3)}, ValueError, r"factors: expected no masked entries, found 15;"),
        ({"codes": np.ma.masked_greater(CODES, 2)}, ValueError, r"codes: expected no masked entries, found 1; leave"),
        ({"codes": list(np.ma.masked_greater(CODES, 2))}, ValueError, r"codes: expected no masked entries, found 1;"),
        ({"codes": CODES[:, None]}, ValueError, r"found \(60, 1, 3\); pass .*, codes.reshape\(len\(codes\), -1\)"),
        ({"codes": CODES[:, 0]}, ValueError, r"codes: expected shape \(N, D\) .* found \(60,\)"),
        ({"codes": CODES.astype(complex)}, TypeError, r"codes: expected real numbers, found complex128"),
        (
            {"codes": np.where(CODES > 2, np.nan, CODES)},
            ValueError,
            r"finite numbers, found 1 .* row 26, latent 1",
        ),
        (
            {"codes": np.where(CODES < -2, -np.inf, CODES)},
            ValueError,
            r"codes: expected finite numbers, found",
        ),
        ({"codes": CODES[:, :1]}, ValueError, r"mig needs at least 2 latents, found 1; leave this metric out"),
        ({"n_bins": 1}, ValueError, r"n_bins: expected at least 2, found 1"),
        ({"n_bins": 20.0}, TypeError, r"n_bins: expected an integer, found 20.0"),
        ({"factor_bins": 1}, ValueError, r"factor_bins: expected at least 2, found 1"),
        ({"factor_kinds": ["ordered"]}, ValueError, r"factor_kinds: expected 2 of .* found \('ordered',\)"),
        ({"factor_kinds": ["ordered", "continuous"]}, ValueError, r"'nominal', 'ordered'.* found .*'continuous'"),
        ({"active": np.array([True, False])}, ValueError, r"active: expected 3 booleans.* found bool of shape \(2,\)"),
        ({"active": np.array([0, 1, 2])}, ValueError, r"active: expected 3 booleans.* found int64"),
    ],
)
def test_guard(changes, error, message):
    with pytest.raises(error, match=message):
        metrics.mig(**({"factors": FACTORS, "codes": CODES} | changes))


def test_unsigned_levels_do_not_wrap():
    """The same levels, from 0 and from just below and above 2**63, where int64 ends."""
    levels = np.random.default_rng(1).integers(0, 50, size=(600, 1))
    codes = np.concatenate([levels, levels % 7], axis=1) + 0.1
    for start in (2**63 - 20, 2**63 + 5):
        high = levels.astype(np.uint64) + np.uint64(start)
        for function in (metrics.mig, metrics.sap):
            assert function(factors=high, codes=codes, factor_bins=10) == function(
                factors=levels, codes=codes, factor_bins=10
            )


@pytest.mark.parametrize(
    ("name", "n_factors", "n_latents"),
    [
        ("mig", 1, 2),
        ("mig_sup", 2, 1),
        ("jemmig", 1, 2),
        ("dcimig", 2, 1),
        ("modularity", 2, 1),
        ("sap", 1, 2),
        ("dci", 2, 2),
        ("explicitness", 1, 1),
        ("irs", 2, 1),
        ("beta_vae_score", 2, 1),
        ("factor_vae_score", 2, 1),
        ("infomec", 2, 2),
    ],
)
def test_least_factors_and_latents(name, n_factors, n_latents):
    function = getattr(metrics, name)
    if n_factors > 1:
        with pytest.raises(ValueError, match=f"{name} needs at least {n_factors} factors, found 1"):
            function(factors=FACTORS[:, :1], codes=CODES)
    if n_latents > 1:
        with pytest.raises(ValueError, match=f"{name} needs at least {n_latents} latents, found 1"):
            function(factors=FACTORS, codes=CODES[:, :1])
    result = function(factors=FACTORS[:, :n_factors], codes=CODES[:, :n_latents])
    assert np.all((np.array(result) >= 0.0) & (np.array(result) <= 1.0))


@pytest.mark.parametrize("name", ["dci", "explicitness", "infomec"])
def test_least_rows(name):
    rows = [0, 20, 40, 10, 30, 59]
    with pytest.raises(ValueError, match=f"{name} needs at least 10 rows, found 6"):
        getattr(metrics, name)(factors=FACTORS[rows], codes=CODES[rows])
    with pytest.raises(ValueError, match="max_rows: expected at least 10, found 9"):
        getattr(metrics, name)(factors=FACTORS, codes=CODES, max_rows=9)


@pytest.mark.parametrize("name", ["dci", "explicitness", "infomec", "beta_vae_score", "factor_vae_score"])
def test_seed_is_checked(name):
    for seed, error in [(-1, ValueError), (2**32, ValueError), (0.5, TypeError)]:
        with pytest.raises(error, match=f"seed: expected .*found {seed}"):
            getattr(metrics, name)(factors=FACTORS, codes=CODES, seed=seed)


def test_factor_bins_formula():
    """min((v - lo) * B // (hi - lo), B - 1): 0 .. 10 in 4 bins has edges 2.5, 5, 7.5; 10 joins the last."""
    np.testing.assert_array_equal(bin_levels(np.arange(11) + 7, 4), [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3])
    np.testing.assert_array_equal(bin_levels(np.array([5, 9, 100]), 3), [0, 1, 2])
    np.testing.assert_array_equal(bin_levels(np.array([5, 9, 100, 5000]), 2), [0, 0, 1, 1])  # of indices, not numbers


def test_only_ordered_factors_with_more_levels_are_binned():
    factors = np.stack([np.arange(40), np.arange(40), np.arange(40) % 10], axis=1)
    sample = check_inputs(
        factors=factors,
        codes=np.random.default_rng(0).random((40, 2)),
        factor_bins=10,
        factor_kinds=["nominal", "ordered", "ordered"],
    )
    np.testing.assert_array_equal(sample.classes.max(axis=0) + 1, [40, 10, 10])
    np.testing.assert_array_equal(sample.classes[:, 2], factors[:, 2])


def test_classes_have_no_gaps():
    factors = np.array([[5, 2], [900, 4], [5, 4], [7, 2]])
    sample = check_inputs(factors=factors, codes=np.eye(4)[:, :2])
    np.testing.assert_array_equal(sample.classes, [[0, 0], [2, 1], [0, 1], [1, 0]])


def test_discretise():
    """Bins of width 1 from 0 to 4: an edge belongs to the bin above it, the maximum to the last."""
    codes = np.array([[0.0], [0.99], [1.0], [2.5], [3.0], [4.0]]) / 4.0
    np.testing.assert_array_equal(discretise(codes, 4)[:, 0], [0, 0, 1, 2, 3, 3])


@pytest.mark.parametrize("scale", [1e-3, 0.1, 0.3, 3.7, 1e6])
@pytest.mark.parametrize("shift", [0.0, 1 / 3, -12.7])
def test_lattices_keep_their_bins(scale, shift):
    """21 levels lie on the edges of 20 bins; rounding must not merge neighbours."""
    levels = np.arange(21.0)
    sample = check_inputs(factors=np.arange(21)[:, None], codes=(levels * scale + shift)[:, None])
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
    np.testing.assert_array_equal(check_inputs(factors=FACTORS, codes=codes).active, [True] * 3 + [False] * 2)
    mask = np.array([False, True, True, True, True])
    np.testing.assert_array_equal(
        check_inputs(factors=FACTORS, codes=codes, active=mask).active, [False, True, True, False, False]
    )
    single = (1.0 + 1e-9 * CODES).astype(np.float32)
    assert not check_inputs(factors=FACTORS, codes=single).active.any()


def test_active_latents():
    """More than 1/20 of the largest standard deviation, whatever the scale; never a constant one."""
    latents = np.random.default_rng(0).permutation(np.linspace(-1, 1, 60))[:, None] * [4.0, 0.201, 0.199, 1e-4, 0.0]
    for codes in (latents, latents * 1e307, latents * 1e-300, latents + 1e3, latents.astype(np.float32)):
        np.testing.assert_array_equal(metrics.active_latents(codes), [True, True, False, False, False])
    rounding = 1e8 + 1e-9 * latents[:, :1]  # a constant latent whose rounding is larger than the others' range
    codes = np.hstack([rounding, 1e-12 * latents])
    np.testing.assert_array_equal(metrics.active_latents(codes), [False, True, True, False, False, False])
    assert not metrics.active_latents(np.ones((5, 3))).any()
    with pytest.raises(ValueError, match="codes: expected finite numbers"):
        metrics.active_latents([[np.nan], [1.0]])


def test_active_latents_restore_a_perfect_code():
    """Five collapsed copies of the factors: MIG 0 with every latent that varies, 1 with the active ones."""
    factors = np.indices((3, 4, 5)).reshape(3, -1).T
    codes = np.hstack([factors, 1e-4 * factors[:, [0, 1, 2, 0, 1]]])
    assert metrics.mig(factors=factors, codes=codes) == pytest.approx(0.0, abs=1e-12)
    active = metrics.active_latents(codes)
    assert metrics.mig(factors=factors, codes=codes, active=active) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_the_tolerance_of_edges_follows_the_type(dtype):
    """21 levels lie on the edges of 20 bins; the last two share one, which costs 2 ln 2 / 21 of ln 21."""
    factors = np.indices((21, 2)).reshape(2, -1).T
    share = metrics.mutual_information(factors=factors, codes=(factors * 0.1 + 0.3).astype(dtype)).share
    assert share[0, 0] == pytest.approx(1 - 2 * np.log(2) / 21 / np.log(21), abs=1e-12)
    assert share[0, 0] == pytest.approx(0.978, abs=5e-4)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_tolerance_merges_no_levels(dtype):
    """As many levels as bins keep a bin each, whatever the precision of their type."""
    factors = np.arange(20)[:, None]
    for codes in (factors, factors * 0.1 + 10.0, factors + 1000.0):
        bins = metrics.mutual_information(factors=factors, codes=codes.astype(dtype))
        assert bins.occupancy[0] == pytest.approx(1 / 20)


def test_masks_of_other_arguments():
    hidden = np.ma.array(np.ones((2, 3)), mask=[[0, 0, 1], [0, 0, 0]])
    with pytest.raises(ValueError, match="importance: expected no masked entries, found 1"):
        metrics.dci_disentanglement(hidden)
    with pytest.raises(ValueError, match="active: expected no masked entries, found 1"):
        metrics.mig(factors=FACTORS, codes=CODES, active=np.ma.array([True] * 3, mask=[0, 1, 0]))
    nothing_hidden = np.ma.masked_invalid(CODES)
    assert metrics.mig(factors=FACTORS, codes=nothing_hidden) == metrics.mig(factors=FACTORS, codes=CODES)


class Table:
    """What a table of another library offers: columns when iterated, an array when asked."""

    def __init__(self, values):
        self.values, self.shape = values, values.shape

    def __iter__(self):
        return iter("abc")

    def __len__(self):
        return len(self.values)

    def __array__(self, dtype=None, copy=None):
        return self.values


def test_tables_of_other_libraries():
    assert metrics.mig(factors=Table(FACTORS), codes=Table(CODES)) == metrics.mig(factors=FACTORS, codes=CODES)
    assert metrics.defined_metrics(factors=Table(FACTORS), n_latents=3) == metrics.METRICS
    with pytest.raises(ValueError, match="found one array"):
        metrics.udr(codes=Table(CODES))


class Tensor:
    """What a tensor with a gradient offers; this package must not import torch."""

    def __init__(self, values, dtype):
        self.values, self.dtype = values, dtype

    def detach(self):
        return Tensor(self.values, self.dtype + " detached")

    def cpu(self):
        return Tensor(self.values, self.dtype + " cpu")

    def float(self):
        return Tensor(self.values, "float32 detached cpu")

    def __array__(self, dtype=None, copy=None):
        if "bfloat16" in self.dtype or not self.dtype.endswith("detached cpu"):
            raise TypeError(self.dtype)
        return self.values


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_tensors_are_converted(dtype):
    codes = CODES.astype(np.float32)
    expected = metrics.mig(factors=FACTORS, codes=codes)
    tensor, mask = Tensor(codes, dtype), Tensor(np.ones(3, bool), "bool")
    assert metrics.mig(factors=Tensor(FACTORS, "int64"), codes=tensor, active=mask) == expected
    assert metrics.udr(codes=[tensor, tensor]) == metrics.udr(codes=[codes, codes])


def test_torch_tensors():
    torch = pytest.importorskip("torch")
    codes = torch.from_numpy(CODES)
    for tensor in (codes.clone().requires_grad_(), codes.bfloat16(), codes.float()):
        given = metrics.mig(factors=torch.from_numpy(FACTORS), codes=tensor)
        assert given == metrics.mig(factors=FACTORS, codes=tensor.detach().double().numpy())


def test_levels_are_numbered_before_they_are_binned():
    """21 logarithmic steps in hertz, in 20 bins: the last two share a bin, as for the indices 0 .. 20."""
    indices = np.indices((21, 4)).reshape(2, -1).T
    hertz = indices.copy()
    hertz[:, 0] = np.round(np.geomspace(20, 20_000, 21))[indices[:, 0]]
    codes = np.random.default_rng(0).standard_normal((84, 3)) + indices[:, :1]
    for name in ("mig", "jemmig", "sap", "modularity", "irs"):
        scores = [getattr(metrics, name)(factors=v, codes=codes, factor_bins=20) for v in (indices, hertz)]
        assert scores[0] == scores[1], name
    assert len(np.unique(bin_levels(hertz[:, 0], 20))) == 20


@pytest.mark.parametrize("names", ["ab", ("a", "a"), ("a",)])
def test_names_are_checked(names):
    with pytest.raises(ValueError, match="factor_names: expected 2 different names, one per factor, found"):
        metrics.evaluate(factors=FACTORS, codes=CODES, factor_names=names, metrics=["mig"])


def test_any_iterable_of_kinds():
    kinds = ("nominal", "ordered")
    assert metrics.sap(factors=FACTORS, codes=CODES, factor_kinds=iter(kinds)) == metrics.sap(
        factors=FACTORS, codes=CODES, factor_kinds=kinds
    )
