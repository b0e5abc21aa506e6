"""Measuring one tone: against tones of the dataset, against blends of these, and by hand."""

import numpy as np
import pytest
import torch
from oracles import templates_of

import create
from benchmarks.matching import errors_without
from syntone.dataset.file import load_npz
from syntone.dataset.oscillators import unit_tone
from syntone.evaluation import controllability as control
from syntone.evaluation import matching
from syntone.features.front_end import FrontEnd


def one_factor(patterns, kind):
    """Templates of tones of one factor, one tone per level, whose values are 0, 1, 2, ..."""
    levels = np.arange(len(patterns))[:, None]
    labels = {"factors": levels, "factor_names": ["x"], "factor_kinds": [kind]}
    return matching.make_templates(torch.tensor(patterns, dtype=torch.float32), levels.astype(float), labels)


def test_tones_of_the_dataset_measure_their_own_labels(dataset, templates):
    found = matching.match(templates.patterns, templates)
    timbre, amplitude, frequency = found.measured
    assert [factor.unit for factor in templates.factors] == ["probability", "dB", "cents"]
    np.testing.assert_allclose(amplitude[:, 0], 20 * np.log10(dataset.amps), atol=1e-6)
    np.testing.assert_allclose(frequency[:, 0], 1200 * np.log2(dataset.freqs), atol=1e-6)
    np.testing.assert_allclose(timbre, np.eye(2)[dataset.y], atol=1e-6)
    assert found.mismatch.max() < 1e-6


@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
@pytest.mark.parametrize("factor", [0, 1, 2])
def test_a_blend_of_two_neighbours_measures_the_blend(dataset, templates, factor, share):
    near = templates.factors[factor].neighbours[:, -1]
    rows = np.flatnonzero(near != np.arange(len(near)))
    blends = (1 - share) * templates.patterns[rows] + share * templates.patterns[near[rows]]
    found = matching.match(blends, templates)
    assert found.mismatch.max() < 1e-3
    right = np.ones(len(rows), bool)
    for known, measured in zip(templates.factors[1:], found.measured[1:]):
        own, other = known.values[rows, 0], known.values[near[rows], 0]
        error = np.abs(measured[:, 0] - (own + share * (other - own))) / known.span
        assert error.max() < 0.05
        right &= error < 1e-3  # patterns are float32
    probability = found.measured[0][np.arange(len(rows)), dataset.y[rows]]
    right &= np.abs(probability - (1 - share if factor == 0 else 1.0)) < 1e-3
    assert right.mean() > (0.7 if factor == 2 else 0.99)  # of frequencies, some have another blend of the same pattern


def test_real_tones_between_the_levels_measure_what_lies_between(tmp_path):
    """Steps of 26 Hz, about a mel band: a tone between two levels is at most a quarter of a step and 1 dB off."""
    grid = "--sample_rate 8000 --duration 0.5 --freq_start 500 --freq_end 1000 --num_freqs 20 --num_amps 5"
    more = "--amp_scale db --waveforms sine sawtooth --oscillator bandlimited"
    assert create.main([*grid.split(), *more.split(), "--file_path", str(tmp_path / "a.npz")]) == 0
    dataset = load_npz(tmp_path / "a.npz")
    levels = np.unique(dataset.freqs)
    between, level = (levels[1:] + levels[:-1]) / 2, 0.4
    how = {"sample_rate": 8000, "n_samples": 4000, "oscillator": "bandlimited"}
    waves = np.stack([level * unit_tone(name, hz, **how) for name in ("sine", "sawtooth") for hz in between])
    front_end = FrontEnd("logmel", sample_rate=8000, n_samples=4000, smoothing=0.0)
    templates = templates_of(dataset)
    patterns = matching.loudness_patterns(front_end.features(torch.from_numpy(waves)), front_end)
    found = matching.match(patterns, templates)
    hz = 2 ** (found.measured[2][:, 0] / 1200)
    assert np.abs(hz - np.tile(between, 2)).max() < (levels[1] - levels[0]) / 4
    assert np.abs(found.measured[1] - 20 * np.log10(level)).max() < 1.0
    own = np.repeat([0, 1], len(between))
    assert found.measured[0][np.arange(len(own)), own].min() > 0.8
    assert found.mismatch.max() < control.find_limit(templates, generator=np.random.default_rng(0))


def test_queries_are_matched_alike_in_blocks(templates, monkeypatch):
    queries = templates.patterns[::5] + 0.01
    expected = matching.match(queries, templates)
    monkeypatch.setattr(matching, "BLOCK", 5)
    found = matching.match(queries, templates)
    for one, other in zip([*found.measured, found.mismatch], [*expected.measured, expected.mismatch]):
        np.testing.assert_allclose(one, other, atol=1e-6)  # products of matrices round otherwise


def test_neighbours_differ_in_one_factor_alone_also_without_a_full_grid():
    factors = np.array([[0, 0], [0, 3], [1, 0], [2, 3], [0, 1], [0, 0]])  # the last is another take of the first
    near = matching.neighbours_in(factors, 1, nominal=False)  # the levels below and above; the row itself for none
    assert near.tolist() == [[0, 4], [4, 1], [2, 2], [3, 3], [0, 1], [5, 4]]
    near = matching.neighbours_in(factors, 0, nominal=True)  # the other two classes in turn, from one's own
    assert near.tolist() == [[2, 0], [1, 3], [2, 0], [1, 3], [4, 4], [2, 5]]


@pytest.mark.parametrize(
    "target, groups, expected",
    [
        ([0.3, -1.0, 0.5], [0, 0, 1], [0.3, 0.0, 0.5]),
        ([2.0, 2.0, 3.0], [0, 0, 1], [0.5, 0.5, 1.0]),
        ([1.5, 0.7, 0.2], [0, 0, 0], [0.9, 0.1, 0.0]),
        ([0.0, 0.0, 0.0], [0, 1, 2], [0.0, 0.0, 0.0]),
    ],
)
def test_shares_of_orthogonal_steps_in_closed_form(target, groups, expected):
    member = np.equal.outer(np.unique(groups), groups).astype(float)
    shares, left = matching.blend(np.column_stack([np.eye(3), target])[None], member)
    np.testing.assert_allclose(shares[0], expected, atol=1e-7)  # sums hold to WEIGHT ** -2
    assert left[0] == pytest.approx(np.linalg.norm(np.subtract(target, expected)), abs=1e-7)


def test_no_point_of_a_grid_of_shares_is_closer_than_the_blend():
    """Random steps of sizes that differ by a thousand, and nearly parallel ones."""
    rng = np.random.default_rng(0)
    member = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 41)] * 3), axis=-1).reshape(-1, 3)
    grid = grid[grid[:, :2].sum(axis=1) <= 1 + 1e-12]
    systems = rng.normal(size=(60, 10, 4)) * [1.0, 1.0, 0.001, 1.0]
    systems[::2, :, 1] = 1.5 * systems[::2, :, 0] + 0.01 * systems[::2, :, 1]
    shares, left = matching.blend(systems, member)
    assert shares.min() >= 0 and (shares @ member.T).max() < 1 + 1e-6
    for system, one, own in zip(systems, shares, left):
        assert own == pytest.approx(np.linalg.norm(system[:, -1] - system[:, :-1] @ one))
        assert own < np.linalg.norm(system[:, -1] - grid @ system[:, :-1].T, axis=1).min() + 1e-6


def test_a_tone_lies_on_one_side_of_opposite_levels():
    """Shares 0.4 of (-1, 0.1) and 0.6 of (1, 0.1) would be closest to (0.2, 0.3); the latter alone has 0.23 / 1.01."""
    templates = one_factor([[0.0, 0.1], [1.0, 0.0], [2.0, 0.1]], "ordered")
    queries = torch.tensor([[1.2, 0.3], [0.8, 0.3], [1.5, 0.05]])
    found = matching.match(queries, templates).measured[0][:, 0]
    np.testing.assert_allclose(found, [1 + 0.23 / 1.01, 1 - 0.23 / 1.01, 1.5], atol=1e-5)


def test_a_blend_of_two_classes_out_of_twelve():
    templates = one_factor(np.eye(12), "nominal")
    np.testing.assert_allclose(matching.match(templates.patterns, templates).measured[0], np.eye(12), atol=1e-9)
    blend = 0.5 * templates.patterns[:1] + 0.5 * templates.patterns[7:8]
    np.testing.assert_allclose(matching.match(blend, templates).measured[0][0, [0, 7]], 0.5, atol=1e-6)


def test_the_benchmark_measures_left_out_levels_exactly_where_patterns_are_linear_in_the_factors(dataset):
    """Cents, dB and class as patterns: every left-out sound is a blend of its neighbours. With noise it is not."""
    timbre, amplitude, frequency = dataset.factor_values.T
    values = [np.eye(2)[timbre.astype(int)], np.log2(frequency)[:, None], np.log10(amplitude)[:, None]]
    patterns = torch.tensor(np.hstack(values), dtype=torch.float32)
    for factor in ("amplitude", "frequency"):
        lines = errors_without(patterns, dataset, factor, most=50)
        assert [line[:3] for line in lines] == [
            [factor, *words] for words in (("timbre", "probability"), ("amplitude", "dB"), ("frequency", "cents"))
        ]
        assert max(float(line[3]) for line in lines) < 0.01 and float(lines[0][6]) < 1e-3
    noise = 0.2 * torch.randn(patterns.shape, generator=torch.Generator().manual_seed(0))
    lines = errors_without(patterns + noise, dataset, "frequency", most=50)
    assert float(lines[2][3]) > 20 and float(lines[0][6]) > 0.005
