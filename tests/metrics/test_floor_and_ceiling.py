"""Floors, ceilings and adjusted scores, against the numbers that the definitions imply."""

import dataclasses
import math

import numpy as np
import pytest
from metrics_cases import CHEAP, report

import metrics
from metrics._evaluate import oracles
from metrics._mutual_information import estimate_information
from metrics._validation import check_inputs

CLOSE = 1e-9  # sums over 4,000 rows


def test_perfect_code_beside_noise(tones, noise):
    """MIG 0.99: what is missing is the largest plug-in information of 5 noise latents, at most
    ((levels - 1) 19 + 5 deviations) / 8,000 nats of ln(levels), 0.017 on average."""
    codes = np.hstack([tones, noise[:, :5]])
    assert metrics.mig(factors=tones, codes=codes, factor_bins=20) == pytest.approx(0.99, abs=0.0075)
    assert report(tones, codes).scores["MIG"].value == metrics.mig(factors=tones, codes=codes, factor_bins=20)


def test_perfect_code_the_wrong_way_round(tones, noise):
    """Binned codes taken for factors: each has at most one latent, and only K of D have one, so MIG is about K / D."""
    codes = np.hstack([tones, noise[:, :5]])
    binned = np.stack([np.digitize(column, np.histogram(column, 20)[1][1:-1]) for column in codes.T], axis=1)
    frequency_in_20 = np.stack([tones[:, 0], tones[:, 1], tones[:, 2] // 5], axis=1)
    wrong = metrics.mig(factors=binned, codes=frequency_in_20.astype(float))
    # Noise adds its plug-in information to five of eight terms, at most 0.01 each
    assert 3 / 8 - CLOSE <= wrong <= 3 / 8 + 5 / 8 * 0.02
    with pytest.raises(TypeError, match="swapped"):
        metrics.mig(factors=codes, codes=tones)


def test_oracle_is_limited_by_bins(tones):
    """100 classes in 20 bins: (1 + 1 + ln 20 / ln 100) / 3 = 0.88; binned to 20, 1."""
    limit = pytest.approx((2 + math.log(20, 100)) / 3, abs=CLOSE)
    assert metrics.mig(factors=tones, codes=tones.astype(float)) == limit
    assert report(tones, tones.astype(float)).scores["MIG"].ceiling == pytest.approx(1.0, abs=CLOSE)
    nominal = report(tones, tones.astype(float), factor_kinds=("nominal", "ordered", "nominal")).scores["MIG"]
    assert nominal.ceiling == limit
    assert nominal.adjusted == pytest.approx(1.0, abs=CLOSE)


def test_collapsed_latents(tones):
    """Five latents of range 1e-4 that mix the factors: 1.00 when masked, about 0.58 when not, adjusted likewise."""
    unmasked = []
    for seed in range(5):
        mixing = np.random.default_rng(seed).standard_normal((3, 5))
        codes = np.hstack([tones, 1e-4 * (tones / tones.max(axis=0)) @ mixing])
        active = np.arange(8) < 3
        masked = report(tones, codes, active=active)
        assert masked.scores["MIG"].value == pytest.approx(1.0, abs=CLOSE)
        assert masked.scores["MIG"].adjusted == pytest.approx(1.0, abs=CLOSE)
        assert masked.n_active == 3
        full = report(tones, codes)
        assert full.n_active == 8
        unmasked.append(full.scores["MIG"].value)
    # One mixture of three loses about half of the best gaps; 0.1 covers the draws of the mixture
    assert np.mean(unmasked) == pytest.approx(0.55, abs=0.1)


def test_floors_of_noise(tones, noise):
    """Modularity of noise follows the squared degrees of freedom: 1 - (3^2 + 9^2) / (2 * 19^2) = 0.875 with 20 bins and
    1 - (3^2 + 9^2) / (2 * 99^2) = 0.995 with 100 classes; JEMMIG (ln 20 - H(z)) / (H_k + ln 20), about 0.11."""
    scores = report(tones, noise).scores
    assert scores["Modularity"].floor == pytest.approx(0.875, abs=0.03)  # 8 % in each information
    # H(z) is 2.16 to 2.56 nats for a range of 6.4 to 9.5 deviations
    assert 0.085 < scores["JEMMIG"].floor < 0.172
    assert scores["MIG"].floor < 0.02
    assert metrics.modularity(factors=tones, codes=noise) == pytest.approx(0.995, abs=0.003)
    for row in scores.values():
        # Noise is one more draw of its own floor; 6 deviations of a deviation that is itself estimated from 5 draws
        assert abs(row.value - row.floor) <= 6 * row.floor_std


def test_floor_permutes_rows_of_the_same_codes(tones):
    """The floor of a dead code is its own score; of a code that says nothing else than JEMMIG's constant, too."""
    dead = report(tones, np.zeros((4000, 8))).scores
    for row in dead.values():
        assert row.floor == row.value
        assert row.floor_std == 0.0
    expected = np.mean(math.log(20) / (np.log([4, 10, 20]) + math.log(20)))
    assert dead["JEMMIG"].floor == pytest.approx(expected, abs=CLOSE)


def test_spread_of_the_floor(tones, noise):
    """Two draws a, b: their sample deviation is |a - b| / sqrt(2), the mean (a + b) / 2; one draw has none."""
    one, two = (report(tones, noise, n_floor_draws=n).scores["MIG"] for n in (1, 2))
    assert one.floor_std == 0.0
    assert two.floor_std == pytest.approx(math.sqrt(2.0) * abs(two.floor - one.floor), rel=CLOSE)


@pytest.mark.parametrize("n_bins", [5, 40])
def test_jemmig_of_a_dead_code(tones, n_bins):
    """H(v, z) = H, no information: ln n_bins / (H + ln n_bins)."""
    expected = np.mean(math.log(n_bins) / (np.log([4, 10, 100]) + math.log(n_bins)))
    assert metrics.jemmig(factors=tones, codes=np.zeros((4000, 2)), n_bins=n_bins) == pytest.approx(expected, abs=CLOSE)


def test_adjusted(tones, noise):
    codes = np.hstack([tones + noise[:, :3], noise[:, 3:]])
    for row in report(tones, codes).scores.values():
        assert row.adjusted == pytest.approx((row.value - row.floor) / (row.ceiling - row.floor), abs=CLOSE)


def test_adjusted_is_empty_without_range(noise):
    """1,000 classes beside 2: Modularity of noise is 1 - (1 / 999)^2, nothing is left up to the ceiling of 1."""
    factors = np.stack([np.arange(4000) % 1000, np.arange(4000) // 2000], axis=1)
    row = report(factors, noise[:, :4], factor_names=None, factor_kinds=["nominal"] * 2).scores["Modularity"]
    assert row.ceiling - row.floor < 0.1
    assert row.adjusted is None


@pytest.mark.parametrize(("ceiling", "adjusted"), [(0.61, 0.4 / 0.11), (0.59, None), (None, None)])
def test_adjusted_needs_a_range_of_a_tenth(ceiling, adjusted):
    score = metrics.Score(value=0.9, floor=0.5, floor_std=0.0, ceiling=ceiling)
    assert score.adjusted == (adjusted and pytest.approx(adjusted, abs=CLOSE))
    assert dataclasses.replace(score, bounded=False).adjusted is None


def correlated(share, *, n_rows=4000):
    """Two factors of 4 levels; in a `share` of the rows the second equals the first."""
    generator = np.random.default_rng(0)
    first, second = generator.integers(4, size=(2, n_rows))
    return np.stack([first, np.where(generator.random(n_rows) < share, first, second)], axis=1)


@pytest.mark.parametrize(("share", "bounded"), [(0.0, True), (0.1, True), (0.4, False)])
def test_gap_scores_are_not_adjusted_where_factors_are_correlated(share, bounded):
    """Equal with probability p = 1/4 + 3/4 share, else each other level alike: I = ln 4 + p ln p + q ln(q / 3), with
    q = 1 - p: 1 % of ln 4 for a tenth, 14 % for four tenths. Miller-Madow leaves independent factors about 0."""
    factors = correlated(share)
    codes = np.hstack([factors, factors[:, :1]]) + np.random.default_rng(1).standard_normal((4000, 3))
    names = ("mig", "mig_sup", "jemmig", "dcimig", "sap", "explicitness", "infomec")
    found = metrics.evaluate(factors=factors, codes=codes, metrics=names, n_floor_draws=1)
    p = 1 / 4 + 3 / 4 * share
    expected = 1 + (p * math.log(p) + (1 - p) * math.log((1 - p) / 3)) / math.log(4)
    # The rows are a sample: the share varies by sqrt(share (1 - share) / N) or so, which moves I by less than a tenth
    assert found.shared == pytest.approx(expected, abs=0.002 + 0.1 * expected)
    gaps = {"MIG", "MIG-sup", "DCIMIG", "SAP", "InfoMEC modularity", "InfoMEC compactness"}
    assert {name for name, row in found.scores.items() if row.adjusted is None} == (set() if bounded else gaps)


def test_one_factor_shares_nothing(tones, noise):
    found = metrics.evaluate(factors=tones[:, :1], codes=noise, metrics=["mig"], n_floor_draws=1)
    assert found.shared == 0.0


def test_the_oracle_holds_indices_of_irregular_levels():
    """(0, 1, 2, 127): bins of the numbers would merge three levels. A code of the indices reaches the ceiling."""
    indices = np.indices((4, 4)).reshape(2, -1).T.repeat(25, axis=0)
    factors = np.array([0, 1, 2, 127])[indices]
    found = metrics.evaluate(factors=factors, codes=indices.astype(float), metrics=CHEAP)
    for name in ("MIG", "MIG-sup", "JEMMIG", "DCIMIG", "Modularity", "SAP"):
        row = found.scores[name]
        if name == "JEMMIG":  # 1 - H / (H + ln 20) + I / ...: (H + ln 20 - H + H) / (H + ln 20) = 1
            assert row.value == pytest.approx(1.0, abs=CLOSE)
        assert (row.value, row.ceiling) == pytest.approx((1.0, 1.0), abs=CLOSE), name
    plain = metrics.evaluate(factors=indices, codes=indices.astype(float), metrics=CHEAP)
    assert {name: row.value for name, row in found.scores.items()} == {n: r.value for n, r in plain.scores.items()}


def test_no_ceiling_with_fewer_latents_than_factors(tones, noise):
    for row in report(tones, noise[:, :2]).scores.values():
        assert row.ceiling is None
        assert row.adjusted is None


def test_ceilings_are_those_of_an_oracle(tones, noise):
    """Each is reached by one of the oracles: MIG and SAP with constants, Modularity and MIG-sup with repeats."""
    for name, row in report(tones, noise).scores.items():
        assert row.ceiling == pytest.approx(1.0, abs=CLOSE), name


@pytest.mark.parametrize("informed", [False, True])
def test_oracles(tones, noise, informed):
    """Whether the codes are noise or know every factor, the latents that fill the second oracle know nothing."""
    codes = tones[:, np.arange(8) % 3] + 1e-3 * noise if informed else noise
    sample = check_inputs(factors=tones, codes=codes, factor_bins=20, active=np.arange(8) != 2)
    constant, own, repeats = oracles(sample, seed=0)
    np.testing.assert_array_equal(constant.active, [True] * 3 + [False] * 5)
    assert own.active.sum() == 7  # the inactive latent knows least: it is among the five that stay, still inactive
    assert repeats.active.all()
    for oracle in (constant, own, repeats):
        assert oracle.n_latents == 8
        assert metrics.mig(factors=sample.classes, codes=oracle.codes[:, :3]) == pytest.approx(1.0, abs=CLOSE)
    information = estimate_information(own)
    bound = ((np.array([4, 10, 20]) - 1) * 19 + 5 * np.sqrt(2 * (np.array([4, 10, 20]) - 1) * 19)) / 8000  # chi-squared
    assert (information.mi[:, 3:] <= bound[:, None]).all()


def test_ceiling_does_not_depend_on_the_order_of_latents(tones, noise):
    codes = np.hstack([tones + noise[:, :3], 1e-3 * noise[:, 3:] ** 3])
    plain, other = report(tones, codes).scores, report(tones, codes[:, ::-1]).scores
    for name in plain:
        found, expected = ([*dataclasses.astuple(of[name])[:4], of[name].adjusted] for of in (other, plain))
        assert found == pytest.approx(expected, abs=CLOSE), name
