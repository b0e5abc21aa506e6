"""Scores of matrices that one can hold in the head.

Rows are factors, columns latents; answers were worked out by hand. Entropies are 2 for every factor unless said, so
that a share of 1 and an information of 2 are told apart.
"""

import math

import numpy as np
import pytest

from metrics import dci_completeness, dci_disentanglement
from metrics.estimation import Information, top_two_gap
from metrics.information import (
    concentration,
    dcimig_of,
    infomec_compactness_per_factor,
    infomec_modularity_per_latent,
    jemmig_per_factor,
    mig_per_factor,
    mig_sup_per_latent,
    modularity_per_latent,
)
from metrics.intervention import relative_strength

CLOSE = 1e-12  # a handful of double-precision operations

DIAGONAL = np.diag([2.0, 2.0, 2.0])
EMPTY_CODE = np.hstack([DIAGONAL, np.zeros((3, 1))])  # a fourth latent that knows nothing
ZERO = np.zeros((3, 3))
REDUNDANT = np.hstack([DIAGONAL, DIAGONAL])
MISSED = np.diag([2.0, 2.0, 0.0])  # no latent knows the third factor, nor does the third latent know any
MERGED = np.array([[2.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])  # the first latent knows two factors
MATRICES = {
    "diagonal": DIAGONAL,
    "empty code": EMPTY_CODE,
    "zero": ZERO,
    "redundant": REDUNDANT,
    "missed": MISSED,
    "merged": MERGED,
}
LN = math.log
N_BINS = 20


def information(mi, *, entropy=2.0, code_entropy=2.0, active=None):
    """An Information with the given mi; a latent without any is constant unless `active` says so."""
    mi = np.asarray(mi, dtype=float)
    entropies = np.full(len(mi), entropy)
    active = mi.any(axis=0) if active is None else np.asarray(active)
    joint = entropies[:, None] + np.where(active, code_entropy, 0.0) - mi
    return Information(mi, entropies, joint, active, np.zeros(mi.shape[1]), N_BINS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("diagonal", [1, 1, 1]),
        ("empty code", [1, 1, 1]),
        ("zero", [0, 0, 0]),
        ("redundant", [0, 0, 0]),
        ("missed", [1, 1, 0]),
        ("merged", [1, 1, 1]),
    ],
)
def test_mig(name, expected):
    np.testing.assert_allclose(mig_per_factor(information(MATRICES[name])), expected, atol=CLOSE)


def test_mig_divides_by_the_entropy_of_each_factor():
    unequal = information([[1.5, 0.5], [0.25, 0.5]])
    unequal.entropy[:] = [2.0, 4.0]
    np.testing.assert_allclose(mig_per_factor(unequal), [1.0 / 2.0, 0.25 / 4.0], atol=CLOSE)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("diagonal", [1, 1, 1]),
        ("empty code", [1, 1, 1]),
        ("zero", []),
        ("redundant", [1] * 6),
        ("missed", [1, 1]),
        ("merged", [0, 1]),
    ],
)
def test_mig_sup(name, expected):
    np.testing.assert_allclose(mig_sup_per_latent(information(MATRICES[name])), expected, atol=CLOSE)


def test_mig_sup_compares_shares_of_entropy():
    """0.9 of 1 nat is more than 1 of 2 nats."""
    unequal = information([[0.9], [1.0]])
    unequal.entropy[:] = [1.0, 2.0]
    np.testing.assert_allclose(mig_sup_per_latent(unequal), [0.4], atol=CLOSE)


SCALE = 2.0 + LN(N_BINS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("diagonal", [1, 1, 1]),
        ("empty code", [1, 1, 1]),
        # Every latent is constant: H(v, z) = H = 2, no information
        ("zero", [1 - 2 / SCALE] * 3),
        # H(v, z) - I(1) + I(2) = 2 - 2 + 2
        ("redundant", [1 - 2 / SCALE] * 3),
        # The constant third latent ties with the others at no information, and has the smallest joint entropy, 2
        ("missed", [1, 1, 1 - 2 / SCALE]),
        ("merged", [1, 1, 1]),
    ],
)
def test_jemmig(name, expected):
    np.testing.assert_allclose(jemmig_per_factor(information(MATRICES[name])), expected, atol=CLOSE)


def test_jemmig_charges_what_else_a_latent_knows():
    """A latent of 2.5 nats that knows a factor of 2: H(v, z) = 2.5, excess 0.5 over the perfect latent."""
    wide = information(DIAGONAL, code_entropy=2.5)
    np.testing.assert_allclose(jemmig_per_factor(wide), [1 - 0.5 / SCALE] * 3, atol=CLOSE)


@pytest.mark.parametrize("order", [[0, 1, 2], [1, 0, 2], [2, 1, 0]])
def test_jemmig_tie_takes_the_smallest_joint_entropy(order):
    """Two latents equal to 5e-10 nats, with joint entropies 3 and 2.2: the second counts, wherever it stands."""
    mi, joint_entropy = np.array([[1.0, 1.0 - 5e-10, 0.0]]), np.array([[3.0, 2.2, 2.0]])
    tied = Information(
        mi[:, order], np.array([2.0]), joint_entropy[:, order], np.ones(3, dtype=bool), np.zeros(3), N_BINS
    )
    assert jemmig_per_factor(tied)[0] == pytest.approx(1 - 2.2 / SCALE, abs=1e-8)  # the tie itself is 5e-10 wide


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("diagonal", 1),
        ("empty code", 1),
        ("zero", 0),
        ("redundant", 1),
        ("missed", 2 / 3),
        # The gap of the merged latent is 0
        ("merged", 1 / 3),
    ],
)
def test_dcimig(name, expected):
    assert dcimig_of(information(MATRICES[name])) == pytest.approx(expected, abs=CLOSE)


def test_dcimig_counts_the_largest_gap_of_a_factor_once():
    """Both latents belong to the first factor, with gaps 1.5 and 0.5; 1.5 of 4 nats."""
    assert dcimig_of(information([[2.0, 1.0], [0.5, 0.5]])) == pytest.approx(1.5 / 4.0, abs=CLOSE)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("diagonal", [1, 1, 1]),
        ("empty code", [1, 1, 1, 0]),
        ("zero", [0, 0, 0]),
        ("redundant", [1] * 6),
        ("missed", [1, 1, 0]),
        # 1 - 2^2 / (2^2 (3 - 1))
        ("merged", [1 / 2, 1, 0]),
    ],
)
def test_modularity(name, expected):
    np.testing.assert_allclose(modularity_per_latent(information(MATRICES[name])), expected, atol=CLOSE)


def test_modularity_squares_information():
    """1 - (1^2 + 1^2) / (2^2 * 2)"""
    np.testing.assert_allclose(modularity_per_latent(information([[2.0], [1.0], [1.0]])), [0.75], atol=CLOSE)


@pytest.mark.parametrize(
    ("name", "modularity", "compactness"),
    [
        ("diagonal", [1, 1, 1], [1, 1, 1]),
        ("empty code", [1, 1, 1], [1, 1, 1]),
        ("zero", [], [0, 0, 0]),
        # (1/2 - 1/6) / (1 - 1/6)
        ("redundant", [1] * 6, [0.4] * 3),
        ("missed", [1, 1], [1, 1, 0]),
        # (1/2 - 1/3) / (1 - 1/3)
        ("merged", [1 / 4, 1], [1, 1, 1]),
    ],
)
def test_infomec(name, modularity, compactness):
    record = information(MATRICES[name])
    np.testing.assert_allclose(infomec_modularity_per_latent(record), modularity, atol=CLOSE)
    np.testing.assert_allclose(infomec_compactness_per_factor(record), compactness, atol=CLOSE)


def test_infomec_counts_active_latents_only():
    """An active latent without information joins both means: (3 of 4 modular), 1/J stays out of a one-hot row."""
    record = information(EMPTY_CODE, active=[True] * 4)
    np.testing.assert_allclose(infomec_modularity_per_latent(record), [1, 1, 1, 0], atol=CLOSE)
    np.testing.assert_allclose(infomec_compactness_per_factor(record), [1, 1, 1], atol=CLOSE)


def test_concentration_of_one_column_says_nothing():
    np.testing.assert_array_equal(concentration(np.array([[1.0], [2.0]])), [0.0, 0.0])


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
def test_dci(name, disentanglement, completeness):
    assert dci_disentanglement(MATRICES[name]) == pytest.approx(disentanglement, abs=CLOSE)
    assert dci_completeness(MATRICES[name]) == pytest.approx(completeness, abs=CLOSE)


def test_dci_completeness_weighs_factors_by_importance():
    """The first factor, of 3/4 of the importance, is spread evenly over two latents; the second has one."""
    importance = np.array([[1.5, 1.5], [1.0, 0.0]])
    assert dci_completeness(importance) == pytest.approx(1 / 4, abs=CLOSE)


@pytest.mark.parametrize("importance", [1e-300 * DIAGONAL, 8e307 * DIAGONAL])
def test_dci_depends_on_ratios_only(importance):
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
@pytest.mark.parametrize("function", [dci_disentanglement, dci_completeness])
def test_dci_refuses(function, importance, message):
    with pytest.raises(ValueError, match=message):
        function(importance)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (np.eye(3), 1),
        (np.zeros((3, 3)), 0),
        (np.ones((2, 2)), 1 / 2),
        (np.zeros((0, 3)), 0),
        # Columns 1, 1, 1/2 and rows 1/2 (two equal ones), 1: (1 + 1 + 1 + 1/2 + 1) / 5
        (np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), (3 + 0.5 + 1) / 5),
    ],
)
def test_relative_strength(matrix, expected):
    """Mean over all latents of both models of max^2 / sum."""
    assert relative_strength(matrix) == pytest.approx(expected, abs=CLOSE)


def test_top_two_gap():
    np.testing.assert_array_equal(top_two_gap(np.array([[3.0, 1.0, 2.5], [1.0, 1.0, 0.0]])), [0.5, 0.0])
    np.testing.assert_array_equal(top_two_gap(np.array([[3.0]])), [3.0])
