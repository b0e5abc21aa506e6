"""Oscillators, extra factors and nuisances, each against its closed form."""

import numpy as np
import pytest

from syntone.dataset.grid import Grid, render, render_tone, warnings_for
from syntone.dataset.nuisances import FACTORS, add_noise, draw_nuisance, envelope, tone_generator
from syntone.dataset.oscillators import WAVEFORMS, n_partials, phase_cycles, sum_partials, unit_tone

RATE = 16000
SERIES = {
    "sine": lambda k: k == 1,
    "triangle": lambda k: 8 / (np.pi * k) ** 2 * (k % 2),
    "square": lambda k: 4 / (np.pi * k) * (k % 2),
    "sawtooth": lambda k: 2 / (np.pi * k),
}


def amplitudes(wave: np.ndarray) -> np.ndarray:
    """Amplitude at every whole Hz of one second of sound: a DFT over whole periods has no leakage."""
    return np.abs(np.fft.rfft(wave.astype(np.float64))) * 2 / len(wave)


@pytest.mark.parametrize("waveform", WAVEFORMS)
@pytest.mark.parametrize("freq", [440, 1999, 2600, 3500, 5000])
def test_band_limited_partials_are_the_fourier_series_and_nothing_lies_between(waveform, freq):
    found = amplitudes(unit_tone(waveform, freq, sample_rate=RATE, n_samples=RATE, oscillator="bandlimited"))
    expected = np.zeros_like(found)
    for k in range(1, (RATE // 2 - 1) // freq + 1):
        expected[k * freq] = SERIES[waveform](k)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)  # float32 samples


def test_naive_partials_fold_back():
    """A naive sawtooth at 5 kHz has its second partial at 10 kHz, heard at 6 kHz."""
    found = amplitudes(unit_tone("sawtooth", 5000, sample_rate=RATE, n_samples=RATE))
    assert (
        found[6000] > 0.2
        and amplitudes(unit_tone("sawtooth", 5000, sample_rate=RATE, n_samples=RATE, oscillator="bandlimited"))[6000]
        < 1e-6
    )


@pytest.mark.parametrize(
    "waveform, freq, count",
    [
        ("triangle", 2666, 2),
        ("triangle", 2667, 1),
        ("square", 2600, 2),
        ("sawtooth", 3999, 2),
        ("sawtooth", 4000, 1),
        ("sine", 100, 1),
    ],
)
def test_partials_below_half_the_sample_rate_are_counted(waveform, freq, count):
    assert n_partials(waveform, freq, sample_rate=RATE) == count


@pytest.mark.parametrize("oscillator", ["naive", "bandlimited"])
def test_rms_level_is_that_of_a_sine_for_every_waveform(oscillator):
    for waveform in WAVEFORMS:
        for freq in (440.0, 1234.5, 2600.0):
            wave = unit_tone(waveform, freq, sample_rate=RATE, n_samples=RATE, oscillator=oscillator, level="rms")
            assert abs(np.sqrt(np.mean(wave.astype(float) ** 2)) - np.sqrt(0.5)) < 1e-6  # float32 samples
    silent = unit_tone("sine", 8000.0, sample_rate=RATE, n_samples=RATE, level="rms")
    assert np.abs(silent).max() < 1e-6


@pytest.mark.parametrize("oscillator", ["naive", "bandlimited"])
def test_phase_shifts_a_tone_by_its_share_of_a_period(oscillator):
    """At 400 Hz a period has 40 samples, so a quarter turn is ten of them."""
    for waveform in WAVEFORMS:
        start, later = (
            unit_tone(waveform, 400.0, sample_rate=RATE, n_samples=400, oscillator=oscillator, phase=phase)
            for phase in (0.0, 0.25)
        )
        np.testing.assert_allclose(later[:-10], start[10:], rtol=0, atol=1e-6)


def test_band_limited_phases_are_those_of_the_naive_waves():
    for waveform in WAVEFORMS:
        naive, limited = (
            unit_tone(waveform, 50.0, sample_rate=RATE, n_samples=RATE, oscillator=oscillator).astype(float)
            for oscillator in ("naive", "bandlimited")
        )
        assert np.corrcoef(naive, limited)[0, 1] > 0.99  # 159 partials leave less than 1 % of a square's energy out


def test_brightness_tilts_partials_by_decibels_per_octave():
    wave = [
        unit_tone("sawtooth", 500, sample_rate=RATE, n_samples=RATE, oscillator="bandlimited", brightness=tilt)
        for tilt in (0.0, -6.0)
    ]
    k = np.arange(1, 16)
    change = 20 * np.log10(amplitudes(wave[1])[500 * k] / amplitudes(wave[0])[500 * k])
    np.testing.assert_allclose(change, -6 * np.log2(k), atol=1e-3)  # float32 against partials of -36 dB


def test_vibrato_moves_between_the_stated_cents_at_its_rate():
    cycles = phase_cycles(1000.0, sample_rate=RATE, n_samples=RATE, vibrato=50.0)
    freq = np.diff(cycles) * RATE  # the phase's slope
    assert abs(1200 * np.log2(freq.max() / 1000) - 50) < 0.01
    spectrum = np.abs(np.fft.rfft(freq[: 2 * RATE // 11 * 5] - freq.mean()))  # five periods of 5.5 Hz
    assert spectrum[1:].argmax() + 1 == 5


def test_envelope_is_zero_then_a_line_then_one():
    found = envelope(n_samples=1000, sample_rate=1000, onset=0.1, attack=0.2)
    np.testing.assert_allclose(found[:100], 0.0)
    np.testing.assert_allclose(found[100:300], np.arange(200) / 200, atol=1e-6)  # float32
    np.testing.assert_allclose(found[300:], 1.0)
    assert envelope(n_samples=5, sample_rate=5, onset=0.0, attack=0.0).tolist() == [1.0] * 5


def test_noise_has_the_level_asked_for_against_the_tone():
    tone = np.float32(0.3) * unit_tone("sine", 440.0, sample_rate=RATE, n_samples=RATE)
    noisy = add_noise(tone, noise_db=-20.0, generator=np.random.default_rng(0))
    found = 10 * np.log10(np.mean((noisy - tone).astype(float) ** 2) / np.mean(tone.astype(float) ** 2))
    assert abs(found + 20) < 0.2  # 16,000 draws: the power's standard deviation is sqrt(2 / 16000), 0.05 dB


def test_nuisances_are_uniform_and_do_not_move_one_another():
    def draw(**asked):
        options = dict(random_phase=False, onset_jitter=0.0, detune_cents=0.0) | asked
        return [draw_nuisance(**options, generator=tone_generator(3, row)) for row in range(2000)]

    everything = draw(random_phase=True, onset_jitter=0.2, detune_cents=10.0)
    phases, onsets, detunings = zip(*everything)
    assert list(onsets) == [onset for _, onset, _ in draw(onset_jitter=0.2)]
    for values, low, high in ((phases, 0, 1), (onsets, 0, 0.2), (detunings, -10, 10)):
        scaled = (np.sort(values) - low) / (high - low)
        # Kolmogorov-Smirnov at a level of 1e-6: 2.7 / sqrt(n)
        assert np.abs(scaled - np.arange(1, 2001) / 2001).max() < 2.7 / np.sqrt(2000)


def grid_of(**options) -> Grid:
    return Grid(
        **dict(sample_rate=8000, n_samples=4000, freqs=(500.0, 900.0), amps=(0.25, 0.5), waveforms=("sine", "square"))
        | options
    )


def test_detuning_is_the_slope_of_the_phase():
    grid = grid_of(freqs=(500.0,), amps=(1.0,), waveforms=("sine",), detune_cents=30.0, seed=5)
    wave = render_tone(grid, 0, unit=grid.unit)
    drawn = draw_nuisance(random_phase=False, onset_jitter=0.0, detune_cents=30.0, generator=tone_generator(5, 0))
    analytic = np.fft.ifft(np.where(np.arange(4000) < 2000, 2, 0) * np.fft.fft(wave))  # positive frequencies alone
    slope = np.polyfit(np.arange(500, 3500), np.unwrap(np.angle(analytic))[500:3500], 1)[0] * 8000 / (2 * np.pi)
    assert abs(1200 * np.log2(slope / 500) - drawn[2]) < 0.1 and abs(drawn[2]) > 0.5


def test_onsets_are_jittered_within_their_range():
    grid = grid_of(onset_jitter=0.1, freqs=tuple(np.linspace(500, 900, 20)))
    starts = [np.flatnonzero(wave)[0] / 8000 for wave in np.concatenate(list(render(grid)))]
    assert 0 <= min(starts) < 0.02 and 0.08 < max(starts) <= 0.1 + 2 / 8000
    first = np.flatnonzero(render_tone(grid, 0, unit=grid.unit))[0]
    _, onset, _ = draw_nuisance(random_phase=False, onset_jitter=0.1, detune_cents=0.0, generator=tone_generator(0, 0))
    # the first sample of a sine after its onset is near zero, not zero
    assert abs(first / 8000 - onset) <= 2 / 8000


@pytest.mark.parametrize(
    "options",
    [
        {"random_phase": True, "snr_db": 20.0, "onset_jitter": 0.05, "detune_cents": 5.0},
        {"extra": (("phase", (0.0, 0.3)), ("attack", (0.0, 0.1, 0.2)))},
        {"extra": (("noise", (-40.0, -20.0)),)},
        {
            "waveforms": ("square", "sawtooth"),
            "oscillator": "bandlimited",
            "level": "rms",
            "extra": (("brightness", (-6.0, 0.0)), ("vibrato", (0.0, 50.0))),
        },
    ],
)
def test_tones_do_not_depend_on_the_blocks_they_are_rendered_in(options):
    grid = grid_of(**options)
    whole = np.concatenate(list(render(grid)))
    np.testing.assert_array_equal(whole, np.concatenate(list(render(grid, block_bytes=1))))
    np.testing.assert_array_equal(whole[5], render_tone(grid, 5, unit=grid.unit))
    assert len(np.unique(whole, axis=0)) == grid.n_tones
    for seed in (0, 1):
        other = np.concatenate(list(render(grid_of(**options | {"seed": seed}))))
        assert np.array_equal(whole, other) == (seed == 0 or not grid.draws)


def test_extra_factors_are_innermost_and_in_their_units():
    grid = grid_of(extra=(("attack", (0.0, 0.1)), ("phase", (0.0, 0.25, 0.5))))
    assert grid.factor_names == ("timbre", "amplitude", "frequency", "attack", "phase") and grid.n_tones == 48
    physical = grid.physical(np.arange(48))
    expected = [
        (w, a, f, rise, phase)
        for f in (500.0, 900.0)
        for a in (0.25, 0.5)
        for w in (0, 1)
        for rise in (0.0, 0.1)
        for phase in (0.0, 0.25, 0.5)
    ]
    np.testing.assert_array_equal(physical, expected)
    wave = render_tone(grid, 48 - 2, unit=grid.unit)  # the last but one: square of 900 Hz, attack 0.1, phase 0.25
    unit = unit_tone("square", 900.0, sample_rate=8000, n_samples=4000, phase=0.25)
    np.testing.assert_array_equal(
        wave, np.float32(0.5) * unit * envelope(n_samples=4000, sample_rate=8000, onset=0.0, attack=0.1)
    )


def test_tones_with_one_level_of_an_extra_factor_are_those_without_it():
    plain, extra = grid_of(), grid_of(extra=(("phase", (0.0,)), ("attack", (0.0,)), ("vibrato", (0.0,))))
    np.testing.assert_array_equal(np.concatenate(list(render(plain))), np.concatenate(list(render(extra))))


def test_warnings_name_band_limited_waves_that_are_sines():
    grid = grid_of(oscillator="bandlimited", freqs=(500.0, 1300.0, 1400.0, 2100.0), waveforms=tuple(WAVEFORMS))
    found = warnings_for(grid)
    assert len(found) == 3
    for waveform, count in (("triangle", 2), ("square", 2), ("sawtooth", 1)):
        assert any(f"{waveform} tones consist of the fundamental only at {count} of 4" in line for line in found)


def test_every_factor_has_a_range_that_holds_zero_and_a_meaning():
    assert set(FACTORS) == {"phase", "attack", "vibrato", "brightness", "noise"}
    assert all(factor.lowest <= 0 < factor.highest for factor in FACTORS.values())
    cycles = phase_cycles(500.0, sample_rate=8000, n_samples=16)
    np.testing.assert_allclose(sum_partials("sine", cycles, last=7), np.sin(2 * np.pi * cycles), atol=1e-12)
