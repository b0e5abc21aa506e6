"""Tones with their templates, shared by the tests of matching and of controllability."""

import pytest
from oracles import templates_of

import create
from syntone.dataset.file import load_npz

GRID = "--sample_rate 8000 --duration 0.5 --freq_start 430 --freq_end 1030 --num_freqs 7 --num_amps 4"


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """56 tones, 7 frequencies x 4 amplitudes x 2 waveforms, all different from each other."""
    path = tmp_path_factory.mktemp("control") / "tones.npz"
    assert create.main([*GRID.split(), "--waveforms", "sine", "sawtooth", "--file_path", str(path)]) == 0
    return load_npz(path)


@pytest.fixture(scope="session")
def templates(dataset):
    return templates_of(dataset)
