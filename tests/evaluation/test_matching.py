"""Measuring one tone: against tones of the dataset, against what lies between them, and by hand."""

import numpy as np
import pytest
import torch
from oracles import dataset, patterns_of, templates  # noqa: F401 (fixtures)

import create
from syntone.dataset.file import load_npz
from syntone.dataset.oscillators import unit_tone
from syntone.evaluation import controllability as control
from syntone.evaluation import matching
from syntone.features.front_end import FrontEnd


def test_tones_of_the_dataset_measure_their_own_labels(dataset, templates):
    found = matching.match(templates.patterns, templates)
    timbre, amplitude, frequency = found.measured
    assert templates.units == ("", "dB", "cents")
    np.testing.assert_allclose(amplitude, 20 * np.log10(dataset.amps), atol=1e-6)
    np.testing.assert_allclose(frequency, 1200 * np.log2(dataset.freqs), atol=1e-6)
    np.testing.assert_allclose(timbre, np.eye(2)[dataset.y], atol=1e-6)
    assert found.mismatch.max() < 1e-6


@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
@pytest.mark.parametrize("factor", [0, 1, 2])
def test_a_blend_of_two_neighbours_measures_the_blend(dataset, templates, factor, share):
    near = templates.neighbours[factor][:, -1]
    rows = np.flatnonzero(near >= 0)
    blends = (1 - share) * templates.patterns[rows] + share * templates.patterns[near[rows]]
    found = matching.match(blends, templates)
    assert found.mismatch.max() < 1e-3
    right = np.ones(len(rows), bool)
    for k in (1, 2):
        own, other = templates.values[rows, k], templates.values[near[rows], k]
        error = np.abs(found.measured[k] - (own + share * (other - own))) / templates.span[k]
        assert error.max() < 0.05
        right &= error < 1e-3  # iterations
    probability = found.measured[0][np.arange(len(rows)), dataset.y[rows]]
    right &= np.abs(probability - (1 - share if factor == 0 else 1.0)) < 1e-3
    assert right.mean() > (0.7 if factor == 2 else 0.99)  # of frequencies, some have another blend of the same pattern


def test_real_tones_between_the_levels_measure_what_lies_between(tmp_path):
    """Steps of 26 Hz, about a mel band: a tone in the middle of two levels is a quarter of a step off at most, and 1 dB."""
    grid = [
        "--sample_rate",
        "8000",
        "--duration",
        "0.5",
        "--freq_start",
        "500",
        "--freq_end",
        "1000",
        "--num_freqs",
        "20",
        "--num_amps",
        "5",
        "--amp_scale",
        "db",
        "--waveforms",
        "sine",
        "sawtooth",
        "--oscillator",
        "bandlimited",
    ]
    assert create.main([*grid, "--file_path", str(tmp_path / "a.npz")]) == 0
    dataset = load_npz(tmp_path / "a.npz")
    levels = np.unique(dataset.freqs)
    between = (levels[1:] + levels[:-1]) / 2
    level = 0.4
    waves = np.stack(
        [
            level * unit_tone(name, hz, sample_rate=8000, n_samples=4000, oscillator="bandlimited")
            for name in ("sine", "sawtooth")
            for hz in between
        ]
    )
    front_end = FrontEnd("logmel", sample_rate=8000, n_samples=4000, smoothing=0.0)
    templates = matching.make_templates(patterns_of(dataset), factor_values=dataset.factor_values, **dataset.labels())
    found = matching.match(
        matching.loudness_patterns(front_end.features(torch.from_numpy(waves)), front_end), templates
    )
    step = levels[1] - levels[0]
    hz = 2 ** (found.measured[2] / 1200)
    assert np.abs(hz - np.tile(between, 2)).max() < step / 4
    assert np.abs(found.measured[1] - 20 * np.log10(level)).max() < 1.0
    own = np.repeat([0, 1], len(between))
    assert found.measured[0][np.arange(len(own)), own].min() > 0.8
    assert found.mismatch.max() < control.tone_limit(templates, generator=np.random.default_rng(0))


def test_the_nearest_rows_are_those_of_all_tones_in_blocks_too(templates, monkeypatch):
    queries = templates.patterns[::5] + 0.01
    expected = (
        torch.cdist(queries.double(), templates.patterns.double()).argsort(dim=1)[:, : matching.N_CANDIDATES].numpy()
    )
    monkeypatch.setattr(matching, "REFERENCE_ROWS", 9)
    np.testing.assert_array_equal(matching.nearest_rows(queries, templates), expected)


def test_neighbours_differ_in_one_factor_alone_also_without_a_full_grid():
    factors = np.array([[0, 0], [0, 3], [1, 0], [2, 3], [0, 1], [0, 0]])  # the last is another take of the first
    assert matching.neighbours_in(factors, 1, nominal=False).tolist() == [
        [-1, 4],
        [4, -1],
        [-1, -1],
        [-1, -1],
        [0, 1],
        [-1, 4],
    ]
    near = matching.neighbours_in(factors, 0, nominal=True)  # the other two classes in turn, from one's own
    assert near.tolist() == [[2, -1], [-1, 3], [-1, 0], [1, -1], [-1, -1], [2, -1]]


def test_shares_stay_in_their_simplices_and_solve_what_can_be_solved_by_hand():
    eye = np.eye(3)[None]
    for slope, groups, expected in [
        ([0.3, -1.0, 0.5], [0, 0, 1], [0.3, 0.0, 0.5]),
        ([2.0, 2.0, 3.0], [0, 0, 1], [0.5, 0.5, 1.0]),
        ([1.5, 0.7, 0.2], [0, 0, 0], [0.9, 0.1, 0.0]),
    ]:
        found = matching.blend(eye, np.array([slope]), np.array(groups), n_iter=300)
        np.testing.assert_allclose(found[0], expected, atol=1e-9)
    gram = np.array([[[4.0, 1.9], [1.9, 1.0]]])  # nearly parallel, of unlike size: G a = s has the solution (0.2, 0.4)
    found = matching.blend(gram, gram @ np.array([0.2, 0.4]), np.array([0, 1]), n_iter=2000)
    np.testing.assert_allclose(found[0], [0.2, 0.4], atol=1e-6)


def test_many_classes_are_matched_among_the_nearest(monkeypatch):
    """Twelve classes one tone each, on a line: a blend of two is found although not all neighbours are looked at."""
    patterns = torch.eye(12)
    templates = matching.make_templates(
        patterns,
        factors=np.arange(12)[:, None],
        factor_values=np.arange(12.0)[:, None],
        factor_names=["kind"],
        factor_kinds=["nominal"],
    )
    found = matching.match(patterns, templates)
    np.testing.assert_allclose(found.measured[0], np.eye(12), atol=1e-9)
    monkeypatch.setattr(matching, "MAX_CLASSES", 12)
    np.testing.assert_allclose(
        matching.match(0.5 * patterns[:1] + 0.5 * patterns[7:8], templates).measured[0][0, [0, 7]], 0.5, atol=1e-6
    )
