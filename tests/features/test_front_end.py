"""The front end against librosa, against closed forms, and there and back."""

import librosa
import numpy as np
import pytest
import torch

from syntone.dataset.oscillators import WAVEFORMS, unit_tone
from syntone.errors import InputError
from syntone.features.filters import mel_filters, power_spectrogram
from syntone.features.front_end import DEFAULTS, FrontEnd, compute_features
from syntone.features.inversion import mel_energy, unfold_mel

RATES = [(8000, 0.5), (16000, 1.0), (22050, 2.0), (44100, 0.7)]


def tones(sample_rate: int, duration: float, freqs=(440.0, 1234.5, 3700.0), amp: float = 0.8) -> np.ndarray:
    n = round(sample_rate * duration)
    return amp * np.stack([unit_tone(w, f, sample_rate=sample_rate, n_samples=n) for f in freqs for w in WAVEFORMS])


@pytest.mark.parametrize("sample_rate, duration", RATES)
def test_mel_is_librosas(sample_rate, duration):
    waves = tones(sample_rate, duration)
    front_end = FrontEnd("logmel", sample_rate=sample_rate, n_samples=waves.shape[1], smoothing=0.0)
    found = front_end.mel(torch.from_numpy(waves)).squeeze(1).numpy()
    assert found.shape[1:] == front_end.shape[1:]
    for wave, mel in zip(waves, found):
        expected = librosa.feature.melspectrogram(
            y=wave.astype(np.float64), sr=sample_rate, n_fft=2048, hop_length=512, n_mels=128, pad_mode="constant"
        )
        assert np.abs(mel - expected).max() <= 1e-5 * expected.max()
        loud = expected > 1e-8 * expected.max()  # within 80 dB
        assert np.abs(10 * np.log10(mel[loud] / expected[loud])).max() <= 0.05


@pytest.mark.parametrize("sample_rate, duration", RATES)
def test_zero_db_is_the_largest_value_of_any_full_scale_sine(sample_rate, duration):
    """Swept over frequencies, sines of amplitude 1 come close to 0 dB and never above."""
    n = round(sample_rate * duration)
    front_end = FrontEnd("logmel", sample_rate=sample_rate, n_samples=n, smoothing=0.0)
    freqs = np.linspace(50, 2000, 400)  # above 1 kHz the bands widen and the values fall
    sines = np.stack([unit_tone("sine", f, sample_rate=sample_rate, n_samples=n) for f in freqs])
    mel = front_end.mel(torch.from_numpy(sines))[..., 3:-3]  # frames wholly inside the tone
    level = 10 * torch.log10(mel.amax(dim=(1, 2, 3)) / front_end.reference)
    assert -0.2 < level.max() < 0.02  # 0.02 dB: a negative-frequency image that the closed form leaves out


def test_range_holds_the_default_grid_unclipped():
    freqs = np.linspace(440, 8000, 60)
    waves = tones(16000, 1.0, freqs=freqs, amp=1.0)
    front_end = FrontEnd("logmel", sample_rate=16000, n_samples=16000, smoothing=0.0)
    features = front_end.features(torch.from_numpy(waves))
    assert front_end.db_max >= 3 and 0.85 < features.max() < 1.0
    level = front_end.to_db(features).amax(dim=(1, 2, 3)).reshape(len(freqs), len(WAVEFORMS))
    sine, square = (level[5, list(WAVEFORMS).index(name)] for name in ("sine", "square"))
    # a square's fundamental is 4/pi of a sine's; its partials leak a little into the same band
    assert abs(float(square - sine) - 20 * np.log10(4 / np.pi)) < 0.05


def test_logmel_keeps_level_and_paper_erases_it():
    wave = torch.from_numpy(tones(16000, 1.0))
    logmel = FrontEnd("logmel", sample_rate=16000, n_samples=16000, smoothing=0.0)
    paper = FrontEnd("paper", sample_rate=16000, n_samples=16000)
    loud, soft = logmel.features(wave), logmel.features(0.5 * wave)
    inside = (soft > 0.01) & (loud < 0.99)
    step = 20 * np.log10(2) / (logmel.db_max - logmel.db_min)
    torch.testing.assert_close((loud - soft)[inside], torch.full_like(loud[inside], step), atol=1e-5, rtol=0)
    torch.testing.assert_close(paper.features(wave), paper.features(0.5 * wave), atol=1e-6, rtol=0)
    assert paper.features(wave).amax(dim=2).min() == 1.0


def test_silence_is_zero_in_both():
    for kind in ("logmel", "paper"):
        front_end = FrontEnd(kind, sample_rate=8000, n_samples=4000, smoothing=0.0)
        assert (front_end.features(torch.zeros(1, 4000)) == 0).all()
        assert (front_end.invert(torch.zeros(1, *front_end.shape)) == 0).all()


def test_features_are_a_function_of_each_tone_alone():
    waves = tones(8000, 0.5, freqs=np.linspace(440, 3700, 18)).astype(np.float32)
    front_end = FrontEnd("logmel", sample_rate=8000, n_samples=4000, smoothing=0.0)
    seen = []
    whole = compute_features(waves, front_end, device=torch.device("cpu"), progress=seen.append)
    assert seen == [64, 8]
    for row in range(len(waves)):
        torch.testing.assert_close(
            whole[row : row + 1], front_end.features(torch.from_numpy(waves[row : row + 1])), atol=1e-6, rtol=0
        )


def test_samples_that_are_not_finite_are_refused():
    waves = np.zeros((72, 4000), np.float32)
    waves[70, 5] = np.nan
    front_end = FrontEnd("logmel", sample_rate=8000, n_samples=4000, smoothing=0.0)
    with pytest.raises(InputError, match="not finite in tone 70"):
        compute_features(waves, front_end, device=torch.device("cpu"))


def test_unknown_kind_is_refused():
    with pytest.raises(InputError, match="'mfcc' is unknown; choose one of logmel, gainshape, paper"):
        FrontEnd("mfcc", sample_rate=8000, n_samples=4000)


def test_mel_energy_is_the_energy_of_the_frames():
    """Against Parseval on the linear spectrum, for partials between the outermost band centres."""
    wave = torch.from_numpy(tones(16000, 1.0, freqs=(440.0, 700.0)))[[0, 4]]  # sines
    front_end = FrontEnd("logmel", sample_rate=16000, n_samples=16000, smoothing=0.0)
    frames = torch.nn.functional.pad(wave, (1024, 1024)).unfold(1, 2048, 512) * torch.hann_window(2048)
    found = mel_energy(front_end.mel(wave).squeeze(1), sample_rate=16000, n_fft=2048)
    torch.testing.assert_close(found.double(), frames.double().square().sum(dim=(1, 2)), rtol=1e-3, atol=0)


def test_unfolding_mel_puts_the_power_back_at_the_tone():
    wave = torch.from_numpy(tones(16000, 1.0, freqs=(1000.0,)))[:1]
    bank = torch.tensor(mel_filters(16000, 2048, 128), dtype=torch.float32)
    power = power_spectrogram(wave.float(), n_fft=2048, hop=512)
    rebuilt = unfold_mel(bank @ power, bank, n_iter=100)
    torch.testing.assert_close(bank @ rebuilt, bank @ power, rtol=0.05, atol=1e-4 * float((bank @ power).max()))
    assert (rebuilt[0, :, 5:-5].argmax(dim=0) == 128).all()  # 1000 Hz is bin 128


@pytest.mark.parametrize("sample_rate, duration", [(8000, 0.5), (16000, 1.0), (44100, 0.7)])
@pytest.mark.parametrize("amp", [0.05, 1.0])
def test_inversion_keeps_level_and_pitch(sample_rate, duration, amp):
    """Wave to features and back: RMS within 1 dB; the strongest partial within the width of a mel band, the front end's
    resolution. Nothing is normalised to full scale."""
    freqs = (500.0, 1100.0, 2500.0)
    waves = tones(sample_rate, duration, freqs=freqs, amp=amp).astype(np.float32)
    front_end = FrontEnd("logmel", sample_rate=sample_rate, n_samples=waves.shape[1], smoothing=0.0)
    rebuilt = front_end.invert(front_end.features(torch.from_numpy(waves))).numpy()
    assert rebuilt.shape == waves.shape
    level = 20 * np.log10(rebuilt.std(axis=1) / waves.std(axis=1))
    assert np.abs(level).max() < 1.0
    spectrum = np.abs(np.fft.rfft(rebuilt * np.hanning(waves.shape[1]), axis=1))
    pitch = spectrum.argmax(axis=1) * sample_rate / waves.shape[1]
    width = np.interp(np.repeat(freqs, len(WAVEFORMS)), front_end.band_hz[:-1], np.diff(front_end.band_hz))
    assert (np.abs(pitch - np.repeat(freqs, len(WAVEFORMS))) < width).all()


def test_inversion_draws_nothing():
    front_end = FrontEnd("logmel", sample_rate=8000, n_samples=4000, smoothing=0.0)
    features = front_end.features(torch.from_numpy(tones(8000, 0.5)[:2].astype(np.float32)))
    before = torch.get_rng_state()
    assert torch.equal(front_end.invert(features), front_end.invert(features))
    assert torch.equal(torch.get_rng_state(), before)


def test_waves_of_the_paper_front_end_are_never_loud():
    """Its features hold no level: whatever a model decodes, the wave has the RMS of a sine of amplitude 0.25."""
    paper = FrontEnd("paper", sample_rate=16000, n_samples=16000)
    features = torch.rand((2, *paper.shape), generator=torch.Generator().manual_seed(0))  # a model before it has learnt
    features[1] *= 30
    wave = paper.invert(features)
    torch.testing.assert_close(wave.square().mean(dim=1).sqrt(), torch.full((2,), 0.25 / 2**0.5), rtol=1e-5, atol=0)
    assert paper.invert(torch.zeros((1, *paper.shape))).abs().max() == 0


# ---- skirts, and level apart from shape ----


@pytest.mark.parametrize("smoothing", [4.0, 10.0])
def test_skirts_fall_by_ten_db_in_so_many_bands(smoothing):
    """Far from a sine's own bands every band is 10 / smoothing dB below its neighbour, on both sides, and 0 dB stays
    the largest value of a full-scale sine."""
    wave = torch.from_numpy(tones(16000, 1.0, freqs=(1500.0,), amp=1.0))[:1]
    front_end = FrontEnd("logmel", sample_rate=16000, n_samples=16000, smoothing=smoothing, db_min=-300.0)
    db = front_end.to_db(front_end.features(wave))[0, 0, :, 15].numpy()
    peak = db.argmax()
    assert -3 < db.max() < 0.02
    expected = 10 / smoothing
    np.testing.assert_allclose(
        np.diff(db[peak + 4 : peak + 20]), -expected, atol=0.02
    )  # further off the window's own leak shows
    np.testing.assert_allclose(np.diff(db[peak - 20 : peak - 3]), expected, atol=0.02)


def test_skirts_add_the_power_of_other_bands():
    wave = torch.from_numpy(tones(16000, 1.0))
    plain = FrontEnd("logmel", sample_rate=16000, n_samples=16000, smoothing=0.0)
    smooth = FrontEnd("logmel", sample_rate=16000, n_samples=16000, smoothing=5.0)
    mel = plain.mel(wave)[0, 0, :, 10].double().numpy()
    expected = [sum(10 ** (-abs(band - other) / 5.0) * mel[other] for other in range(128)) for band in range(128)]
    np.testing.assert_allclose(smooth.mel(wave)[0, 0, :, 10].numpy(), expected, rtol=1e-5)


def gain_shape(**more) -> FrontEnd:
    return FrontEnd("gainshape", sample_rate=16000, n_samples=16000, **{"n_mels": 128, "smoothing": 0.0} | more)


def test_gain_shape_keeps_level_and_shape_apart():
    """Half the amplitude is 6.02 dB in the rows of the level and nothing in those of the shape."""
    wave = torch.from_numpy(tones(16000, 1.0))
    front_end = gain_shape()
    loud, soft = front_end.features(wave), front_end.features(0.5 * wave)
    assert loud.shape[1:] == front_end.shape == (1, 144, 32)
    torch.testing.assert_close(loud[:, :, :128], soft[:, :, :128], atol=1e-5, rtol=0)
    step = torch.full_like(loud[:, :, 128:], 20 * np.log10(2) / 66)
    torch.testing.assert_close((loud - soft)[:, :, 128:], step, atol=1e-5, rtol=0)
    assert (loud[:, :, :128].amax(dim=2) == 1).all() and loud.min() == 0


def test_gain_shape_loses_nothing_within_its_range():
    """Level and shape together are the decibels of logmel, where they are within 30 dB of the frame's largest band."""
    wave = torch.from_numpy(tones(16000, 1.0))
    plain = FrontEnd("logmel", sample_rate=16000, n_samples=16000, db_min=-60.0, smoothing=0.0)
    expected, found = plain.to_db(plain.features(wave)), gain_shape().to_db(gain_shape().features(wave))
    near = expected > expected.amax(dim=2, keepdim=True) - 29.9
    torch.testing.assert_close(found[near], expected[near], atol=1e-3, rtol=0)
    far = expected < expected.amax(dim=2, keepdim=True) - 30.1
    floor = (expected.amax(dim=2, keepdim=True) - 30).clamp_min(-60).expand_as(found)
    assert far.any()
    torch.testing.assert_close(found[far], floor[far], atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", ["logmel", "gainshape"])
@pytest.mark.parametrize("off", [1e-4, -1e-4])
def test_features_nearly_right_are_nearly_right_in_db_and_in_power(kind, off):
    """No cliff at the floor, about which a decoder's output scatters."""
    wave = torch.from_numpy(tones(16000, 1.0))
    front_end = FrontEnd(kind, sample_rate=16000, n_samples=16000, n_mels=128, db_min=-80.0)
    features = front_end.features(wave)
    assert (front_end.to_db(features + off) - front_end.to_db(features)).abs().max() < 0.02
    power, close = front_end.to_mel(features), front_end.to_mel(features + off)
    assert (close - power).abs().max() < 0.005 * power.max()  # 0.02 dB


def test_gain_shape_of_silence_is_zero_and_stays_silent():
    front_end = gain_shape(smoothing=10.0)
    assert (front_end.features(torch.zeros(1, 16000)) == 0).all()
    assert (front_end.invert(torch.zeros(1, *front_end.shape)) == 0).all()


@pytest.mark.parametrize("kind, smoothing", [("gainshape", 0.0), ("gainshape", 10.0), ("logmel", 10.0)])
@pytest.mark.parametrize("amp", [0.05, 1.0])
def test_inversion_undoes_skirts_and_level(kind, smoothing, amp):
    """RMS within 1 dB and the strongest partial within a mel band, as without skirts."""
    freqs = (500.0, 1100.0, 2500.0)
    waves = tones(16000, 1.0, freqs=freqs, amp=amp).astype(np.float32)
    front_end = FrontEnd(kind, sample_rate=16000, n_samples=16000, n_mels=128, db_min=-80.0, smoothing=smoothing)
    rebuilt = front_end.invert(front_end.features(torch.from_numpy(waves))).numpy()
    assert np.abs(20 * np.log10(rebuilt.std(axis=1) / waves.std(axis=1))).max() < 1.0
    pitch = np.abs(np.fft.rfft(rebuilt * np.hanning(16000), axis=1)).argmax(axis=1)
    width = np.interp(np.repeat(freqs, len(WAVEFORMS)), front_end.band_hz[:-1], np.diff(front_end.band_hz))
    assert (np.abs(pitch - np.repeat(freqs, len(WAVEFORMS))) < width).all()


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"smoothing": float("nan")}, "smoothing of the front end is nan; give 0 to 1000"),
        ({"range_db": 0.0}, "range_db of the front end is 0.0; give more than 0, to 1000"),
        ({"level_rows": 2**40}, "level_rows of the front end is 1099511627776"),
        ({"db_min": 7.0}, "db_min 7 is not below db_max 6"),
        ({"hop": 0}, "cannot be computed"),
    ],
)
def test_a_front_end_that_cannot_be_computed_is_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        FrontEnd("gainshape", sample_rate=8000, n_samples=4000, **wrong)


@pytest.mark.parametrize("kind", DEFAULTS)
def test_defaults_are_those_of_the_kind_and_a_config_rebuilds_them(kind):
    front_end = FrontEnd(kind, sample_rate=8000, n_samples=4000)
    assert front_end.config().items() >= DEFAULTS[kind].items()
    assert FrontEnd(**front_end.config()) == front_end
