"""Decoders whose answer is known, and the tones that they decode: what tests of matching and of control share."""

import numpy as np
import pytest
import torch

import create
from syntone.dataset.file import load_npz
from syntone.evaluation import controllability as control
from syntone.evaluation import matching
from syntone.features.front_end import FrontEnd, compute_features

GRID = [
    "--sample_rate",
    "8000",
    "--duration",
    "0.5",
    "--freq_start",
    "430",
    "--freq_end",
    "1030",
    "--num_freqs",
    "7",
    "--num_amps",
    "4",
    "--waveforms",
    "sine",
    "sawtooth",
]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """56 tones, 7 frequencies x 4 amplitudes x 2 waveforms, all different from each other."""
    path = tmp_path_factory.mktemp("control") / "tones.npz"
    assert create.main([*GRID, "--file_path", str(path)]) == 0
    return load_npz(path)


def patterns_of(dataset, kind="logmel"):
    front_end = FrontEnd(kind, sample_rate=dataset.sample_rate, n_samples=dataset.x.shape[1], smoothing=0.0)
    return matching.loudness_patterns(compute_features(dataset.x, front_end, device=CPU), front_end)


@pytest.fixture(scope="module")
def templates(dataset):
    return matching.make_templates(patterns_of(dataset), factor_values=dataset.factor_values, **dataset.labels())


def grid_oracle(templates, levels, to_levels=lambda z: z):
    """A decoder whose latents are level indices: multilinear between the tones of a full grid, exact at the levels."""
    n_levels = (levels.max(axis=0) + 1).astype(int)
    order = np.ravel_multi_index(levels.astype(int).T, n_levels)
    grid = templates.patterns[np.argsort(order)].double().reshape(*n_levels, -1)

    def measure(z):
        at = np.clip(to_levels(z), 0, n_levels - 1)
        low = np.minimum(np.floor(at).astype(int), n_levels - 2)
        share, decoded = at - low, 0.0
        for corner in np.ndindex(*[2] * len(n_levels)):
            weight = np.prod(np.where(corner, share, 1 - share), axis=1)
            decoded = decoded + torch.from_numpy(weight)[:, None] * grid[tuple((low + corner).T)]
        return matching.match(decoded.float(), templates)

    return measure


def run(measure, codes, templates, *, latents=None, bases=8, **more):
    return control.controllability(
        measure,
        codes=codes,
        latents=range(codes.shape[1]) if latents is None else latents,
        bases=np.arange(0, len(codes), len(codes) // bases)[:bases],
        templates=templates,
        generator=np.random.default_rng(0),
        **{"n_steps": 13, "n_floor": 0, "limit": 0.3} | more,
    )
