"""InfoMEC's modularity and compactness of small information matrices, worked out by hand."""

import numpy as np
import pytest
from metrics_cases import CLOSE, MATRICES, information

from metrics._infomec import concentration, concentrations


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
def test_matrices(name, modularity, compactness):
    per_latent, per_factor = concentrations(information(MATRICES[name]))
    np.testing.assert_allclose(per_latent, modularity, atol=CLOSE)
    np.testing.assert_allclose(per_factor, compactness, atol=CLOSE)


def test_active_latents_without_information_count():
    """3 of 4 latents are modular; 1/J does not change a one-hot row."""
    per_latent, per_factor = concentrations(information(MATRICES["empty code"], active=[True] * 4))
    np.testing.assert_allclose(per_latent, [1, 1, 1, 0], atol=CLOSE)
    np.testing.assert_allclose(per_factor, [1, 1, 1], atol=CLOSE)


def test_concentration_of_one_column_is_zero():
    np.testing.assert_array_equal(concentration(np.array([[1.0], [2.0]])), [0.0, 0.0])
