"""Descriptors of sounds with closed forms, of sounds without a fundamental, and of the tones that create.py makes."""

import numpy as np
import pytest

import create
from syntone.dataset.file import load_npz
from syntone.dataset.oscillators import unit_tone
from syntone.evaluation.descriptors import NAMES, describe

F0, LEVEL, CENTROID, SPREAD, SLOPE, ODD_TO_EVEN, CREST, ZCR = range(len(NAMES))
RATE = 16000
SILENCE = [12 * np.log2(20 / 440), -120, 0, 0, 0, 0, 0, 0]


def one(wave: np.ndarray, sample_rate: int = RATE) -> np.ndarray:
    return describe(np.asarray(wave, dtype=np.float32)[None], sample_rate)[0]


def cents(described: np.ndarray, freqs: np.ndarray) -> np.ndarray:
    return 100 * (described[..., F0] - 12 * np.log2(np.asarray(freqs) / 440))


def tone(waveform: str, freq: float, oscillator: str = "naive") -> np.ndarray:
    return unit_tone(waveform, freq, sample_rate=RATE, n_samples=RATE, oscillator=oscillator)


def noise(n_samples: int = RATE) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).normal(size=n_samples)


def impulses(period: int) -> np.ndarray:
    wave = np.zeros(RATE)
    wave[::period] = 1.0
    return wave


@pytest.mark.parametrize("seconds", [0.25, 1.0, 2.0])
@pytest.mark.parametrize("sample_rate", [8000, 16000, 22050, 44100])
def test_sines(sample_rate, seconds):
    freqs = np.array([80, 124, 440, 996, 1504, 2712, 3988])  # whole cycles in every length
    times = np.arange(int(seconds * sample_rate)) / sample_rate
    found = describe(0.3 * np.sin(2 * np.pi * freqs[:, None] * times + 1).astype(np.float32), sample_rate)
    assert np.abs(cents(found, freqs)).max() < 3  # 0.03 bins of a quarter of a second at 80 Hz
    np.testing.assert_allclose(found[:, LEVEL], 20 * np.log10(0.3 / 2**0.5), atol=0.001)
    np.testing.assert_allclose(found[:, CENTROID], freqs, atol=0.2 / seconds)
    assert found[:, SPREAD].max() < 1 / seconds  # bins of the window's main lobe
    np.testing.assert_allclose(found[:, CREST], 20 * np.log10(2**0.5), atol=0.01)  # no sample is on the peak
    np.testing.assert_allclose(found[:, ZCR], 2 * freqs, atol=1.1 / seconds)  # a crossing more or less
    slope = (freqs - sample_rate / 4) / (sample_rate**2 / 48) * 1000  # cov / var of one line among all frequencies
    np.testing.assert_allclose(found[:, SLOPE], slope, atol=0.02)
    assert (found[:, ODD_TO_EVEN] == 60).all()


def test_square():
    found = one(0.5 * tone("square", 100))
    np.testing.assert_allclose(found[[LEVEL, CREST]], [20 * np.log10(0.5), 0], atol=1e-6)
    assert found[ODD_TO_EVEN] == 60 and abs(found[ZCR] - 200) <= 1 and abs(cents(found, 100)) < 1


def test_sawtooth():
    found = one(tone("sawtooth", 100, "bandlimited"))
    k = np.arange(1, 80)  # partials below 8 kHz; their power is 1 / k^2
    share = k**-2.0 / (k**-2.0).sum()
    centroid = (100 * k * share).sum()
    np.testing.assert_allclose(found[CENTROID], centroid, rtol=1e-3)
    np.testing.assert_allclose(found[SPREAD], ((100 * k - centroid) ** 2 * share).sum() ** 0.5, rtol=1e-3)
    np.testing.assert_allclose(found[ODD_TO_EVEN], 10 * np.log10(share[::2].sum() / share[1::2].sum()), atol=1e-3)
    np.testing.assert_allclose(found[ODD_TO_EVEN], 10 * np.log10(3), atol=0.05)  # pi^2 / 8 : pi^2 / 24, of all partials
    np.testing.assert_allclose(found[LEVEL], 10 * np.log10(1 / 3), atol=0.05)


def test_triangle():
    found = one(0.5 * tone("triangle", 100))
    np.testing.assert_allclose(found[LEVEL], 20 * np.log10(0.5 / 3**0.5), atol=2e-3)  # 160 samples per period
    np.testing.assert_allclose(found[CREST], 20 * np.log10(3**0.5), atol=2e-3)
    assert found[ODD_TO_EVEN] == 60 and abs(cents(found, 100)) < 1


@pytest.mark.parametrize("waveform", ["sine", "triangle", "square", "sawtooth"])
def test_fundamental_of_aliased_tones(waveform):
    freqs = np.geomspace(60, 7900, 60)
    assert np.abs(cents(describe(np.stack([tone(waveform, freq) for freq in freqs]), RATE), freqs)).max() < 1


def test_fundamental_without_a_strong_first_partial():
    times = np.arange(RATE) / RATE
    missing = sum(np.sin(2 * np.pi * 200 * k * times + k) for k in range(2, 9))
    weak = sum(level * np.sin(2 * np.pi * 150 * k * times) for k, level in ((1, 0.5), (2, 1), (3, 0.7), (4, 0.3)))
    assert np.abs(cents(describe(np.stack([missing, weak]), RATE), [200, 150])).max() < 1
    assert abs(cents(one(missing + noise()), 200)) < 1


def test_noise():
    found = one(noise())
    assert np.abs(found[LEVEL] + 20) < 0.1 and np.abs(found[ODD_TO_EVEN]) <= 60
    np.testing.assert_allclose(found[CENTROID], RATE / 4, rtol=0.03)
    np.testing.assert_allclose(found[SPREAD], RATE / 48**0.5, rtol=0.03)  # of equal shares from 0 to half the rate
    np.testing.assert_allclose(found[ZCR], RATE / 2, rtol=0.03)
    assert abs(found[SLOPE]) < 0.01 and -53.6 < found[F0] <= 12 * np.log2(RATE / 2 / 440)


@pytest.mark.parametrize("period", [20, 100, 200])
def test_impulses(period):
    found = one(impulses(period))
    assert abs(cents(found, RATE / period)) < 1  # all partials are equal
    np.testing.assert_allclose(found[[LEVEL, CREST]], [-10 * np.log10(period), 10 * np.log10(period)], atol=1e-6)
    np.testing.assert_allclose(found[CENTROID], RATE / 4, rtol=2 / period)  # the partial at 0 Hz is left out
    assert found[ZCR] == 0 and abs(found[SLOPE]) < 2 / period


def test_silence_constant_and_one_sample():
    np.testing.assert_allclose(one(np.zeros(RATE)), SILENCE)
    np.testing.assert_allclose(one([0.0]), SILENCE)
    for wave in (np.full(RATE, 0.5), [-0.5]):
        np.testing.assert_allclose(one(wave), [SILENCE[F0], 20 * np.log10(0.5), *SILENCE[2:]], atol=1e-9)


@pytest.mark.parametrize("n_samples", [1, 2, 3, 7, 50, 4001])
def test_every_sound_has_finite_descriptors(n_samples):
    waves = [noise(n_samples), np.eye(1, n_samples)[0], np.cos(np.pi * np.arange(n_samples)), 1e-40 * noise(n_samples)]
    found = describe(np.array(waves, dtype=np.float32), RATE)
    assert found.shape == (4, 8) and found.dtype == np.float64 and np.isfinite(found).all()
    assert (found[:, F0] <= 12 * np.log2(RATE / 2 / 440)).all()


def test_amplitude_changes_the_level_only():
    wave = tone("sawtooth", 300) + noise()
    loud, quiet = one(wave), one(wave / 1024)
    assert loud[LEVEL] - quiet[LEVEL] == pytest.approx(20 * np.log10(1024))
    np.testing.assert_array_equal(np.delete(loud, LEVEL), np.delete(quiet, LEVEL))  # by a power of two: exact


def test_sounds_are_described_one_by_one(tmp_path):
    waves = np.stack([tone("sawtooth", freq)[:4000] for freq in np.geomspace(60, 7000, 75)])
    np.save(tmp_path / "waves.npy", waves)
    steps = []
    found = describe(np.load(tmp_path / "waves.npy", mmap_mode="r"), RATE, progress=steps.append)
    assert sum(steps) == 75 and len(steps) > 1
    np.testing.assert_allclose(found, [one(wave) for wave in waves], rtol=1e-9, atol=1e-9)


def test_fundamental_of_the_recommended_grid(tmp_path):
    path = tmp_path / "clean.npz"
    argv = ["--preset", "clean", "--num_freqs", "12", "--num_amps", "3", "--file_path", str(path)]
    assert create.main(argv) == 0
    dataset = load_npz(path)
    share = (np.abs(cents(describe(dataset.x, dataset.sample_rate), dataset.freqs)) < 50).mean()
    print(f"fundamental frequency within 50 cents: {share:.1%} of {len(dataset)} tones")
    assert share == 1


def test_turning_a_sound_upside_down_changes_nothing():
    """Of 16,000 samples one in 100 is -1: the crest factor is 10 log10(100) dB, whatever the sign of the peak."""
    for wave in (impulses(100), tone("sawtooth", 500) ** 3):
        np.testing.assert_allclose(one(-wave)[:CREST], one(wave)[:CREST], atol=1e-9)
        np.testing.assert_allclose(one(-wave)[CREST], one(wave)[CREST], atol=1e-9)
    np.testing.assert_allclose(one(-impulses(100))[CREST], 20, atol=1e-6)
