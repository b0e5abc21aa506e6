"""The contents of a report: every score, its factors, its options, and what it refuses."""

import inspect
import math
import warnings

import numpy as np
import pytest
from metrics_cases import CHEAP, KINDS, NAMES, report

import metrics
from metrics import _explicitness

CLOSE = 1e-9  # sums over 4,000 rows
OPTIONS = {"n_bins": 10, "factor_names": NAMES, "factor_kinds": KINDS, "seed": 5, "n_floor_draws": 2}


@pytest.fixture(scope="module")
def full():
    """All scores of a noisy code on a small random sample."""
    generator = np.random.default_rng(3)
    factors = np.stack([generator.integers(n, size=500) for n in (3, 5, 30)], axis=1)
    codes = factors @ generator.standard_normal((3, 4)) + generator.standard_normal((500, 4))
    steps, before = [], np.random.get_state()
    result = metrics.evaluate(
        factors=factors,
        codes=codes,
        **OPTIONS,
        progress=steps.append,
    )
    metrics.udr(codes=[codes, codes[:, ::-1]], similarity="lasso")
    return factors, codes, result, steps, before, np.random.get_state()


def test_no_global_state_is_drawn_from(full):
    """Metrics also run during training, which must not change."""
    before, after = full[4:]
    np.testing.assert_array_equal(before[1], after[1])
    assert before[2:] == after[2:]


@pytest.mark.parametrize(("given", "recorded", "mig"), [({}, 20, 1.0), ({"factor_bins": 10}, 10, 1.0)])
def test_factor_bins(given, recorded, mig):
    """20 bins of a latent know H_20 = ln 20 of 100 levels, whose entropy is ln 100."""
    factors = np.indices((100, 10)).reshape(2, -1).T
    data = {"factors": factors, "codes": factors.astype(float), "metrics": ["mig"], "n_floor_draws": 1}
    found = metrics.evaluate(**data, **given)
    assert (found.n_bins, found.factor_bins) == (20, recorded)
    assert found.scores["MIG"].value == pytest.approx(mig, abs=CLOSE)
    unbinned = metrics.evaluate(**data, factor_bins=None)
    assert unbinned.factor_bins is None
    assert unbinned.scores["MIG"].value == metrics.mig(factors=factors, codes=data["codes"])
    assert unbinned.scores["MIG"].value == pytest.approx((math.log(20, 100) + 1) / 2, abs=CLOSE)
    finer = metrics.evaluate(**data, n_bins=30)
    assert (finer.n_bins, finer.factor_bins) == (30, 30)
    with pytest.raises(TypeError, match="factor_bins: expected an integer, found 'none'"):
        metrics.evaluate(**data, factor_bins="none")
    # 10 rows per level of 100, one per level of 1,000
    table = np.stack([np.arange(1000), np.arange(1000) % 2], axis=1)
    assert "irs" in metrics.defined_metrics(factors=table, n_latents=2)
    assert "irs" not in metrics.defined_metrics(factors=table, n_latents=2, factor_bins=None)


def test_any_iterable_of_metrics(tones, noise):
    names = ("mig", "sap")
    for given in ((name for name in names), dict.fromkeys(names), iter(names), np.array(names)):
        assert list(report(tones, noise, metrics=given, n_floor_draws=1).scores) == ["MIG", "SAP"]
    with pytest.raises(ValueError, match="found none"):
        report(tones, noise, metrics=iter(()))


def test_report_has_every_score_in_order(full):
    result, steps = full[2:4]
    assert steps == list(metrics.METRICS)
    assert list(result.scores) == [
        "MIG",
        "MIG-sup",
        "JEMMIG",
        "DCIMIG",
        "Modularity",
        "SAP",
        "DCI disentanglement",
        "DCI completeness",
        "DCI informativeness",
        "Explicitness",
        "IRS",
        "BetaVAE score",
        "FactorVAE score",
        "InfoMEC modularity",
        "InfoMEC explicitness",
        "InfoMEC compactness",
    ]


def test_report_equals_the_functions(full):
    """The same numbers through evaluate and through each function, bit for bit."""
    factors, codes, result, *_ = full
    obtained = [row.value for row in result.scores.values()]
    expected = []
    for name in metrics.METRICS:
        function = getattr(metrics, name)
        options = {"n_bins": 10, "factor_bins": 10, "seed": 5, "factor_kinds": KINDS}
        known = inspect.signature(function).parameters
        value = function(factors=factors, codes=codes, **{key: v for key, v in options.items() if key in known})
        expected += list(value) if isinstance(value, tuple) else [value]
    assert obtained == expected


def test_report_of_one_metric_equals_that_of_all(full):
    """What is computed beside a score (and the fits they share) does not change it, its floor or its ceiling."""
    factors, codes, result, *_ = full
    alone = metrics.evaluate(
        factors=factors,
        codes=codes,
        **OPTIONS,
        metrics=["infomec", "beta_vae_score"],
    )
    assert list(alone.scores) == ["InfoMEC modularity", "InfoMEC explicitness", "InfoMEC compactness", "BetaVAE score"]
    for name, row in alone.scores.items():
        assert row == result.scores[name]


def test_rows_are_plain_floats(full):
    for row in full[2].scores.values():
        assert {type(value) for value in (row.value, row.floor, row.floor_std, row.ceiling)} == {float}
        assert row.floor_std > 0.0


def test_per_factor(full):
    """Given for every mean over factors, and its mean is the score (DCI completeness is weighted, here evenly)."""
    with_factors = {
        "MIG",
        "JEMMIG",
        "SAP",
        "DCI completeness",
        "DCI informativeness",
        "Explicitness",
        "BetaVAE score",
        "FactorVAE score",
        "InfoMEC explicitness",
        "InfoMEC compactness",
    }
    for name, row in full[2].scores.items():
        assert (row.per_factor is not None) == (name in with_factors), name
        if row.per_factor is not None:
            assert tuple(row.per_factor) == NAMES
            assert np.mean(list(row.per_factor.values())) == pytest.approx(row.value, abs=CLOSE)


def test_per_factor_names_the_failing_factor(tones, noise):
    codes = np.hstack([tones[:, [0, 2]], noise[:, :2]])
    result = report(tones, codes, metrics=[*CHEAP, "explicitness"], n_floor_draws=1)
    for name in ("MIG", "SAP", "Explicitness"):
        per_factor = result.scores[name].per_factor
        assert per_factor["amplitude"] < 0.1, name
        assert min(per_factor["timbre"], per_factor["frequency"]) > 0.9, name


def test_information_beside_the_scores(full):
    factors, codes, result, *_ = full
    expected = metrics.mutual_information(factors=factors, codes=codes, n_bins=10, factor_bins=10, factor_kinds=KINDS)
    np.testing.assert_array_equal(result.mi, expected.mi)
    np.testing.assert_array_equal(result.entropy, expected.entropy)
    np.testing.assert_array_equal(result.occupancy, expected.occupancy)
    assert result.factor_names == NAMES


def test_at_most_5000_rows_are_fitted(monkeypatch):
    """Value, floors and ceilings fit the same rows of the factors."""
    seen = []

    def fit(codes, classes, *, name, original=_explicitness._logistic_fit):
        seen.append(classes.copy())
        return original(codes, classes, name=name)

    monkeypatch.setattr("metrics._explicitness._logistic_fit", fit)
    generator = np.random.default_rng(0)
    factors = generator.integers(3, size=(6000, 1))
    codes = generator.standard_normal((6000, 2))
    metrics.evaluate(factors=factors, codes=codes, n_floor_draws=2, metrics=["explicitness"])
    assert len(seen) == 1 + 2 + 3
    assert {len(classes) for classes in seen} == {5000}
    for classes in seen:
        np.testing.assert_array_equal(classes, seen[0])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"metrics": ["mig", "MIG"]},
            ValueError,
            r"metrics: expected names among mig, mig_sup, .*infomec, found 'MIG'",
        ),
        ({"metrics": []}, ValueError, "found none"),
        ({"metrics": "mig"}, ValueError, r"found the string 'mig'; pass \['mig'\]"),
        ({"factor_names": ("a", "b")}, ValueError, "factor_names: expected 3 different names"),
        ({"n_floor_draws": 0}, ValueError, "n_floor_draws: expected at least 1, found 0"),
        ({"n_bins": 1}, ValueError, "n_bins: expected at least 2, found 1"),
        ({"seed": -1}, ValueError, "seed: expected 0 to 4294967295, found -1"),
    ],
)
def test_refusals(changes, error, message, tones, noise):
    with pytest.raises(error, match=message):
        report(tones, noise, **changes)


def test_defined_metrics_of_other_types(tones):
    """A list is a table; strings, floats and a single column are refused as in `evaluate`."""
    assert metrics.defined_metrics(factors=tones.tolist(), n_latents=8) == metrics.METRICS
    for factors, error, message in [
        (tones.astype(str), TypeError, "factors: expected integer levels, found <U"),
        (tones.astype(float), TypeError, "factors: expected integer levels, found float64"),
        (tones[:, 0], ValueError, r"factors: expected shape \(N, K\) .* found \(4000,\)"),
        ("abc", ValueError, r"factors: expected shape \(N, K\) .* found \(\)"),
    ]:
        with pytest.raises(error, match=message):
            metrics.defined_metrics(factors=factors, n_latents=8)


def test_defined_metrics(tones, noise):
    assert metrics.defined_metrics(factors=tones, n_latents=8) == metrics.METRICS
    assert metrics.defined_metrics(factors=tones[:, :1], n_latents=1) == ("explicitness",)
    assert metrics.defined_metrics(factors=tones[:9, :1], n_latents=2) == ("mig", "jemmig", "sap")
    one_latent = metrics.defined_metrics(factors=tones, n_latents=1)
    assert list(report(tones, noise[:, :1], metrics=one_latent, n_floor_draws=1).scores) == [
        "MIG-sup",
        "DCIMIG",
        "Modularity",
        "Explicitness",
        "IRS",
        "BetaVAE score",
        "FactorVAE score",
    ]


@pytest.mark.parametrize("kinds", [("ordered", "ordered"), ("nominal", "ordered"), ("nominal", "nominal")])
def test_levels_of_one_row_define_no_fit_and_no_fixing(kinds):
    """Of 12 levels with one row each none can be held out or fixed. Only trees on ordered factors can be fitted."""
    factors = np.stack([np.arange(12), np.arange(12)[::-1]], axis=1)
    codes = np.random.default_rng(0).standard_normal((12, 3))
    defined = metrics.defined_metrics(factors=factors, n_latents=3, factor_kinds=kinds)
    assert defined == ("mig", "mig_sup", "jemmig", "dcimig", "modularity", "sap") + (
        ("dci",) if "nominal" not in kinds else ()
    )
    found = metrics.evaluate(factors=factors, codes=codes, factor_kinds=kinds, metrics=defined, n_floor_draws=1)
    assert len(found.scores) >= 6


def test_scores_that_the_data_do_not_define(tones, noise):
    with pytest.raises(ValueError, match="mig_sup needs at least 2 factors, found 1; leave this metric out"):
        report(tones[:, :1], noise, factor_names=["a"], factor_kinds=None)
    with pytest.raises(ValueError, match="mig needs at least 2 latents, found 1"):
        report(tones, noise[:, :1])
    assert list(report(tones, noise[:, :1], metrics=["modularity"]).scores) == ["Modularity"]


def test_no_warnings():
    """Separable classes, constant latents, noise."""
    factors = np.indices((4, 5)).reshape(2, -1).T.repeat(10, axis=0)
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
