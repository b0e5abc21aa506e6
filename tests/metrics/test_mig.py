"""MIG, MIG-sup, JEMMIG and DCIMIG of small information matrices, worked out by hand."""

import math

import numpy as np
import pytest
from metrics_cases import CLOSE, DIAGONAL, MATRICES, N_BINS, information

from metrics import Information
from metrics._mig import dcimig_of, jemmig_per_factor, mig_per_factor, mig_sup_per_latent

SCALE = 2.0 + math.log(N_BINS)
DEAD = 1 - 2 / SCALE  # JEMMIG of a factor that no latent encodes: H(v, z) - I(1) + I(2) = H = 2


@pytest.mark.parametrize(
    ("name", "mig", "mig_sup", "jemmig", "dcimig"),
    [
        ("diagonal", [1, 1, 1], [1, 1, 1], [1, 1, 1], 1),
        ("empty code", [1, 1, 1], [1, 1, 1], [1, 1, 1], 1),
        ("zero", [0, 0, 0], [], [DEAD] * 3, 0),
        ("redundant", [0, 0, 0], [1] * 6, [DEAD] * 3, 1),
        # JEMMIG: the constant third latent ties with the others at no information, and has the smallest joint entropy
        ("missed", [1, 1, 0], [1, 1], [1, 1, DEAD], 2 / 3),
        # DCIMIG: the gap of the merged latent is 0
        ("merged", [1, 1, 1], [0, 1], [1, 1, 1], 1 / 3),
    ],
)
def test_matrices(name, mig, mig_sup, jemmig, dcimig):
    record = information(MATRICES[name])
    np.testing.assert_allclose(mig_per_factor(record), mig, atol=CLOSE)
    np.testing.assert_allclose(mig_sup_per_latent(record), mig_sup, atol=CLOSE)
    np.testing.assert_allclose(jemmig_per_factor(record), jemmig, atol=CLOSE)
    assert dcimig_of(record) == pytest.approx(dcimig, abs=CLOSE)


def test_mig_divides_by_the_entropy_of_each_factor():
    unequal = information([[1.5, 0.5], [0.25, 0.5]])
    unequal.entropy[:] = [2.0, 4.0]
    np.testing.assert_allclose(mig_per_factor(unequal), [1.0 / 2.0, 0.25 / 4.0], atol=CLOSE)


def test_mig_sup_compares_shares_of_entropy():
    """0.9 of 1 nat is more than 1 of 2 nats."""
    unequal = information([[0.9], [1.0]])
    unequal.entropy[:] = [1.0, 2.0]
    np.testing.assert_allclose(mig_sup_per_latent(unequal), [0.4], atol=CLOSE)


def test_jemmig_is_lowered_by_what_else_a_latent_encodes():
    """A latent of 2.5 nats that encodes a factor of 2: H(v, z) = 2.5, excess 0.5 over the perfect latent."""
    wide = information(DIAGONAL, code_entropy=2.5)
    np.testing.assert_allclose(jemmig_per_factor(wide), [1 - 0.5 / SCALE] * 3, atol=CLOSE)


@pytest.mark.parametrize("order", [[0, 1, 2], [1, 0, 2], [2, 1, 0]])
def test_jemmig_tie_takes_the_smallest_joint_entropy(order):
    """Two latents equal to 5e-10 nats, with joint entropies 3 and 2.2: the second counts, whatever its position."""
    mi, joint_entropy = np.array([[1.0, 1.0 - 5e-10, 0.0]]), np.array([[3.0, 2.2, 2.0]])
    tied = Information(
        mi[:, order], np.array([2.0]), joint_entropy[:, order], np.ones(3, dtype=bool), np.zeros(3), N_BINS
    )
    assert jemmig_per_factor(tied)[0] == pytest.approx(1 - 2.2 / SCALE, abs=1e-8)  # the tie itself is 5e-10 wide


def test_dcimig_counts_the_largest_gap_of_a_factor_once():
    """Both latents belong to the first factor, with gaps 1.5 and 0.5; 1.5 of 4 nats."""
    assert dcimig_of(information([[2.0, 1.0], [0.5, 0.5]])) == pytest.approx(1.5 / 4.0, abs=CLOSE)
