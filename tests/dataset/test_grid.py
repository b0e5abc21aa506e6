"""Tones against scipy.signal and against what a period must be."""

import numpy as np
import pytest
from scipy import signal

from syntone.dataset.grid import Grid, render, twins, warnings_for
from syntone.dataset.oscillators import WAVEFORMS, unit_tone

SCIPY = {
    "sine": np.sin,
    "triangle": lambda phase: signal.sawtooth(phase, 0.5),
    "square": signal.square,
    "sawtooth": signal.sawtooth,
}


@pytest.mark.parametrize("waveform", WAVEFORMS)
@pytest.mark.parametrize("freq, sample_rate", [(440.0, 16000), (441.37, 16000), (3999.1, 8000), (7000.0, 44100)])
def test_tone_is_scipy_signal_at_n_over_sample_rate(waveform, freq, sample_rate):
    n_samples = sample_rate // 2
    cycles = freq * np.arange(n_samples) / sample_rate
    expected = SCIPY[waveform](2 * np.pi * cycles)
    found = unit_tone(waveform, freq, sample_rate=sample_rate, n_samples=n_samples)
    # at a jump scipy's phase 2 pi f t falls to either side by rounding, so those samples say nothing
    smooth = np.abs(2 * cycles - np.round(2 * cycles)) > 1e-9
    assert smooth.sum() > 0.8 * n_samples
    np.testing.assert_allclose(found[smooth], expected[smooth], rtol=0, atol=1e-6)  # float32 against float64


def test_corner_points_are_exact_in_every_period():
    """At 400 Hz and 16 kHz a period is 40 samples: every period has the same samples, corners included."""
    for waveform, start in {"sine": 0.0, "triangle": -1.0, "square": 1.0, "sawtooth": -1.0}.items():
        tone = unit_tone(waveform, 400.0, sample_rate=16000, n_samples=16000)
        assert (tone.reshape(-1, 40) == tone[:40]).all()
        assert tone[0] == start
    square = unit_tone("square", 400.0, sample_rate=16000, n_samples=40)
    assert (square == [1.0] * 20 + [-1.0] * 20).all()


@pytest.mark.parametrize("freq", [440.0, 1234.5])
def test_pitch_is_not_detuned(freq):
    """The phase advances by freq / sample_rate a sample: a whole second correlates with exactly that frequency."""
    tone = unit_tone("sine", freq, sample_rate=16000, n_samples=16000).astype(float)
    time = np.arange(16000) / 16000
    assert abs(np.mean(tone * np.sin(2 * np.pi * freq * time)) - 0.5) < 1e-3
    detuned = np.mean(tone * np.sin(2 * np.pi * freq * 16000 / 15999 * time))  # an axis that includes its end point
    assert abs(detuned - 0.5) > 1e-3


def test_rows_are_frequency_then_amplitude_then_waveform():
    grid = Grid(
        sample_rate=8000, n_samples=400, freqs=(500.0, 700.0), amps=(0.25, 0.5, 1.0), waveforms=("square", "sine")
    )
    rows = np.arange(grid.n_tones)
    physical = grid.physical(rows)
    expected = [(w, a, f) for f in grid.freqs for a in grid.amps for w in range(2)]
    assert physical.tolist() == [list(map(float, row)) for row in expected]
    assert grid.levels(rows)[-1].tolist() == [1, 2, 1]
    waves = np.concatenate(list(render(grid)))
    for wave, (w, a, f) in zip(waves, expected, strict=True):
        unit = unit_tone(grid.waveforms[w], f, sample_rate=8000, n_samples=400)
        np.testing.assert_array_equal(wave, np.float32(a) * unit)


def test_blocks_join_to_the_same_tones_however_small():
    grid = Grid(sample_rate=8000, n_samples=100, freqs=(500.0, 900.0), amps=(0.1, 0.2, 0.3), waveforms=tuple(WAVEFORMS))
    whole = list(render(grid))
    small = list(render(grid, block_bytes=1))
    assert len(small) == 6 and max(len(block) for block in small) == 4
    np.testing.assert_array_equal(np.concatenate(whole), np.concatenate(small))


def test_warnings_name_silent_tones_and_half_the_sample_rate():
    grid = Grid(sample_rate=8000, n_samples=800, freqs=(1000.0, 4000.0), amps=(0.5, 1.0), waveforms=tuple(WAVEFORMS))
    silent, nyquist, _ = warnings_for(grid)
    assert "2 sine tones at 4000 Hz are silent" in silent and "half the sample rate" in nyquist
    assert np.abs(np.concatenate(list(render(grid)))).max(axis=1).min() < 1e-6  # they are
    below = Grid(sample_rate=8000, n_samples=800, freqs=(1000.0, 3999.0), amps=(0.5,), waveforms=tuple(WAVEFORMS))
    assert warnings_for(below) == []


def test_waveforms_that_coincide_are_named():
    """Four samples a period: a sine is 0 1 0 -1, a triangle -1 0 1 0. Two: a triangle is -1 1, a square 1 -1."""
    grid = Grid(
        sample_rate=16000, n_samples=1600, freqs=(1000.0, 4000.0, 8000.0), amps=(1.0,), waveforms=tuple(WAVEFORMS)
    )
    assert twins(grid) == [("sine", "triangle", 4000.0), ("triangle", "square", 8000.0)]
    waves = np.concatenate(list(render(grid))).reshape(3, 4, -1)
    for (one, other), row in {(0, 1): 1, (1, 2): 2}.items():  # the same tone, shifted or turned over
        level = np.sqrt(np.mean(waves[row] ** 2, axis=1))
        assert abs(level[one] - level[other]) < 1e-6
    assert any("sine and triangle tones at 4000 Hz have the same spectrum" in line for line in warnings_for(grid))
