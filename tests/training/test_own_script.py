"""A trained model in one's own script: read a WAV, encode it, move a latent, decode, write a WAV."""

import numpy as np
import pytest
import torch
from scipy.io import wavfile

import create
import trainvae
from models import MODELS, build_model
from syntone.dataset import load_npz, read_wav
from syntone.errors import InputError
from syntone.features import FrontEnd
from syntone.training import load_checkpoint

SINES = "--sample_rate 8000 --duration 0.5 --freq_start 500 --freq_end 3000 --num_freqs 6 --num_amps 3 --waveforms sine"
TRAINING = (
    "--model VAE --epochs 200 --anneal_from 1 --sigma 0.05 --lr 3e-3 --channels 16 16 --hidden 64 --latent_dim 3 "
    "--save_seconds 1000 --device cpu"
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with sines, a model that has learned them by heart, one tone as 16-bit stereo."""
    folder = tmp_path_factory.mktemp("own")
    assert create.main([*SINES.split(), "--file_path", str(folder / "sines.npz")]) == 0
    argv = ["--dataset", str(folder / "sines.npz"), "--output_dir", str(folder)]
    assert trainvae.main([*argv, *TRAINING.split()]) == 0
    wave = load_npz(folder / "sines.npz").x[4]  # 1000 Hz, amplitude 0.55
    wavfile.write(folder / "tone.wav", 8000, np.round(wave * 32767).astype(np.int16)[:, None].repeat(2, axis=1))
    return folder


def pitch(wave: np.ndarray) -> float:
    return np.abs(np.fft.rfft(wave * np.hanning(len(wave)))).argmax() * 8000 / len(wave)


def test_a_wav_is_encoded_moved_decoded_and_written(trained):
    checkpoint = load_checkpoint(trained / "VAE_seed0.pt")
    model, front_end = checkpoint.model(), checkpoint.front_end()
    rate, wave = read_wav(str(trained / "tone.wav"))
    with torch.no_grad():
        x = front_end.features(torch.from_numpy(wave)[None], sample_rate=rate)
        z, _ = model.encode(x)
        rebuilt = front_end.invert(model(x))[0]
        moved = front_end.invert(model.decode(z + torch.tensor([2.0, 0.0, 0.0])))[0]
    assert z.shape == (1, 3)
    for name, sound in (("rebuilt", rebuilt), ("moved", moved)):
        wavfile.write(trained / f"{name}.wav", rate, sound.numpy())
    rate, written = read_wav(trained / "rebuilt.wav")
    assert rate == 8000 and written.shape == wave.shape
    assert abs(pitch(written) - 1000) < 24  # a mel band
    assert abs(20 * np.log10(written.std() / wave.std())) < 3  # dB: a small model after seconds of training
    change = 20 * np.log10(read_wav(trained / "moved.wav")[1].std() / written.std())
    assert abs(change) > 1 or abs(pitch(moved.numpy()) - pitch(written)) > 24


def front_end(kind: str = "logmel") -> FrontEnd:
    return FrontEnd(kind, sample_rate=8000, n_samples=4000)


@pytest.mark.parametrize("kind", ["logmel", "gainshape", "paper"])
@pytest.mark.parametrize(
    "wave, rate, pattern",
    [
        (torch.zeros(1, 4000), 16000, "waves at 16000 Hz, the front end takes 8000 Hz; resample them"),
        (torch.zeros(1, 3999), 8000, r"waves of shape \(1, 3999\), the front end takes \(B, 4000\) at 8000 Hz; cut"),
        (torch.zeros(1, 4001), None, r"waves of shape \(1, 4001\)"),  # as many frames as 4000 samples have
        (torch.zeros(4000), 8000, r"waves of shape \(4000,\)"),
        (torch.zeros(1, 1, 4000), 8000, r"waves of shape \(1, 1, 4000\)"),
        (torch.zeros(1, 4000, dtype=torch.int16), 8000, "waves are torch.int16, expected floating.* divide 16-bit PCM"),
    ],
)
def test_waves_that_the_model_was_not_trained_on_are_refused(kind, wave, rate, pattern):
    with pytest.raises(InputError, match=pattern):
        front_end(kind).features(wave, sample_rate=rate)


def test_waves_are_tensors_or_arrays():
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 4000)).astype(np.float32)
    assert torch.equal(front_end().features(wave), front_end().features(torch.from_numpy(wave), sample_rate=8000))


def test_features_of_another_shape_are_refused():
    x = torch.zeros(1, 1, 128, 9)  # a frame more than the front end's
    with pytest.raises(InputError, match=r"features of shape \(1, 1, 128, 9\), expected \(B, \*\(1, 128, 8\)\)"):
        front_end().invert(x)
    model = build_model("VAE", input_shape=(1, 128, 8), channels=(4,), hidden=8)
    with pytest.raises(ValueError, match=r"features of shape \(1, 1, 128, 9\), expected \(B, \*\(1, 128, 8\)\)"):
        model.encode(x)  # 9 frames have as many patches of 4 as 8 have


@pytest.mark.parametrize("name", MODELS)
def test_a_model_called_returns_the_reconstruction_from_the_posterior_mean(name):
    torch.manual_seed(0)
    more = {"n_data": 50} if name == "BTCVAE" else {}
    model = build_model(name, input_shape=(1, 32, 7), channels=(8, 8), hidden=16, **more)
    x = torch.rand(3, 1, 32, 7)
    before = torch.get_rng_state()
    for mode in (model.train(), model.eval()):
        assert torch.equal(mode(x), mode.decode(mode.encode(x)[0])) and mode(x).shape == x.shape
    assert torch.equal(torch.get_rng_state(), before)
