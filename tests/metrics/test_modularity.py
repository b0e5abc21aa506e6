"""Modularity of small information matrices, worked out by hand."""

import numpy as np
import pytest
from metrics_cases import CLOSE, MATRICES, information

from metrics._modularity import modularity_per_latent


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
def test_matrices(name, expected):
    np.testing.assert_allclose(modularity_per_latent(information(MATRICES[name])), expected, atol=CLOSE)


def test_information_is_squared():
    """1 - (1^2 + 1^2) / (2^2 * 2)"""
    np.testing.assert_allclose(modularity_per_latent(information([[2.0], [1.0], [1.0]])), [0.75], atol=CLOSE)
