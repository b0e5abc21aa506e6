"""Data that several tests of metrics share."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def tones():
    """The grid of the 4,000-tone dataset: 4 timbres, 10 amplitudes, 100 frequencies."""
    return np.indices((100, 10, 4)).reshape(3, -1)[::-1].T


@pytest.fixture(scope="session")
def noise():
    return np.random.default_rng(0).standard_normal((4000, 8))
