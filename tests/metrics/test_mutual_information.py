"""Entropies and mutual information: plug-in estimates against closed forms and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

import metrics
from metrics._mutual_information import entropy_of_counts, top_two_gap

FACTORS = np.indices((3, 4)).reshape(2, -1).T.repeat(5, axis=0)
CODES = np.random.default_rng(0).standard_normal((len(FACTORS), 3))


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
    """On a full grid only rounding is left of I; below 1e-12 it counts as 0."""
    information = metrics.mutual_information(factors=FACTORS, codes=FACTORS.astype(float))
    np.testing.assert_array_equal(information.mi == 0.0, ~np.eye(2, dtype=bool))
    np.testing.assert_allclose(np.diag(information.mi), np.log([3, 4]), rtol=0, atol=1e-12)


def test_rounding_does_not_count_as_information(monkeypatch):
    """An independent latent leaves some 1e-15 nats, of which modularity would make a ratio."""
    tones = np.indices((100, 10, 4)).reshape(3, -1).T
    data = {"factors": tones[:, 1:], "codes": tones[:, :1].astype(float)}
    np.testing.assert_array_equal(metrics.mutual_information(**data).mi, [[0.0], [0.0]])
    assert metrics.modularity(**data) == 0.0
    monkeypatch.setattr("metrics._mutual_information.ZERO_MI", 0.0)
    assert metrics.mutual_information(**data).mi.all()  # else this test could not fail


def test_occupancy_shows_an_outlier():
    codes = np.stack([np.arange(100.0), np.where(np.arange(100) == 0, 1e4, np.arange(100.0)), np.ones(100)], axis=1)
    information = metrics.mutual_information(factors=np.arange(100)[:, None] % 2, codes=codes)
    np.testing.assert_allclose(information.occupancy, [0.05, 0.99, 1.0])


def test_top_two_gap():
    np.testing.assert_array_equal(top_two_gap(np.array([[3.0, 1.0, 2.5], [1.0, 1.0, 0.0]])), [0.5, 0.0])
    np.testing.assert_array_equal(top_two_gap(np.array([[3.0]])), [3.0])
