"""Recordings with labels: scaling, lengths, tables, and that models and metrics work on them."""

import json

import numpy as np
import pytest
from scipy.io import wavfile

import create
import eval as evaluate_script
import trainvae
from syntone.dataset import load_npz
from syntone.dataset.recordings import read_labels, read_wav
from syntone.errors import InputError

RATE = 8000


@pytest.mark.parametrize(
    "dtype, full, zero",
    [
        (np.uint8, 127, 128),
        (np.int16, 2**15 - 1, 0),
        (np.int32, 2**31 - 1, 0),
        (np.float32, 1.0, 0),
        (np.float64, 1.0, 0),
    ],
)
def test_samples_are_scaled_to_full_scale(tmp_path, dtype, full, zero):
    samples = np.array([zero, zero + full, zero - full, zero + full // 2 if full > 1 else 0.5], dtype=dtype)
    wavfile.write(tmp_path / "a.wav", RATE, samples)
    rate, wave = read_wav(tmp_path / "a.wav")
    assert rate == RATE and wave.dtype == np.float32
    step = 2 / 256 if dtype == np.uint8 else 1e-4  # one step of the coarsest type; int16 has 2^-15
    np.testing.assert_allclose(wave, [0, 1, -1, 0.5], atol=step)


def test_extremes_of_integers_are_minus_one(tmp_path):
    for dtype, lowest in ((np.uint8, 0), (np.int16, -(2**15)), (np.int32, -(2**31))):
        wavfile.write(tmp_path / "a.wav", RATE, np.array([lowest, lowest], dtype=dtype))
        assert read_wav(tmp_path / "a.wav")[1].tolist() == [-1.0, -1.0]


def test_channels_are_averaged(tmp_path):
    wavfile.write(tmp_path / "a.wav", RATE, np.array([[0.5, -0.1], [0.25, 0.25]], dtype=np.float32))
    np.testing.assert_allclose(read_wav(tmp_path / "a.wav")[1], [0.2, 0.25], atol=1e-7)  # float32


def write_table(path, *rows: str) -> None:
    path.write_text("\n".join(rows) + "\n")


def test_numbers_are_ordered_and_words_nominal(tmp_path):
    write_table(
        tmp_path / "labels.csv",
        "file, pitch,who ,take",
        "a.wav,440.5,mary,1",
        '"b, second.wav",20,"o\'hara",1',
        "",
        "c.wav,100,mary,2x",
    )
    found = read_labels(tmp_path / "labels.csv")
    assert found.files == ["a.wav", "b, second.wav", "c.wav"] and found.names == ["pitch", "who", "take"]
    assert found.kinds == ["ordered", "nominal", "nominal"]
    assert found.factors.tolist() == [[2, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert found.values.tolist() == [[440.5, 0, 0], [20, 1, 0], [100, 0, 1]]
    assert found.level_names == {"who": ["mary", "o'hara"], "take": ["1", "2x"]}


@pytest.mark.parametrize(
    "rows, pattern",
    [
        (["file,who"], "1 rows and 2 columns"),
        (["file", "a.wav", "b.wav"], "3 rows and 1 columns"),
        (["file,who", "a.wav,mary", "b.wav"], r"row 3 \(b.wav\) does not fill the 2 columns"),
        (["file,who", "a.wav,mary", "b.wav,"], "row 3 .* does not fill"),
        (["file,who", "a.wav,mary", "a.wav,john"], "file 'a.wav' is named twice"),
        (["file,who,who", "a.wav,mary,1", "b.wav,john,2"], "factor 'who' is named twice"),
        (["file,,who", "a.wav,mary,1", "b.wav,john,2"], "a column has no name"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path, rows, pattern):
    write_table(tmp_path / "labels.csv", *rows)
    with pytest.raises(InputError, match=pattern):
        read_labels(tmp_path / "labels.csv")


@pytest.fixture
def recordings(tmp_path):
    """24 noises of 0.5 to 0.62 s: two speakers, three loudnesses, four takes."""
    rng = np.random.default_rng(0)
    folder, rows = tmp_path / "wav", ["file,speaker,level_db"]
    folder.mkdir()
    for k in range(24):
        who, level = k % 2, (-20, -10, -3)[k // 2 % 3]
        noise = rng.normal(size=4000 + 40 * k)
        if who:
            noise = np.convolve(noise, np.ones(8) / 8, mode="same")
        wavfile.write(folder / f"{k}.wav", RATE, np.int16(3000 * 10 ** (level / 20) * noise))
        rows.append(f"{k}.wav,{('mary', 'john')[who]},{level}")
    write_table(tmp_path / "labels.csv", *rows)
    return f"--from_wav {folder} --labels {tmp_path / 'labels.csv'} --file_path {tmp_path / 'mine.npz'}".split()


def test_recordings_become_a_dataset(tmp_path, recordings, capsys):
    assert create.main(recordings) == 0
    out = capsys.readouterr()
    assert "24 tones (recordings; speaker: 2 nominal levels, level_db: 3 ordered levels) of 4,000 samples" in out.out
    assert "23 recordings are cut and 0 padded" in out.err
    data = load_npz(tmp_path / "mine.npz")
    assert data.factor_names == ("speaker", "level_db") and data.factor_kinds == ("nominal", "ordered")
    assert data.sample_rate == RATE and data.y is None and data.classes is None
    assert data.factor_values[3].tolist() == [0.0, -10.0] and data.describe(3) == "john, level_db -10"
    samples = wavfile.read(tmp_path / "wav" / "3.wav")[1]
    np.testing.assert_array_equal(data.x[3], (samples[:4000] / 2**15).astype(np.float32))
    assert create.main(recordings) == 0 and "left alone" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags, n_samples",
    [
        (["--fit", "cut"], 4000),
        (["--fit", "pad"], 4920),
        (["--fit", "cut", "--duration", "0.25"], 2000),
        (["--fit", "pad", "--duration", "0.75"], 6000),
        (["--fit", "pad", "--duration", "0.55"], 4400),
    ],
)
def test_lengths_are_fitted_as_the_flags_say(tmp_path, recordings, flags, n_samples):
    assert create.main([*recordings, *flags]) == 0
    data = load_npz(tmp_path / "mine.npz")
    assert data.x.shape == (24, n_samples)
    for k in range(24):
        n = min(n_samples, 4000 + 40 * k)
        assert not data.x[k, n:].any()
        np.testing.assert_array_equal(
            data.x[k, :n], (wavfile.read(tmp_path / "wav" / f"{k}.wav")[1][:n] / 2**15).astype("f4")
        )


def test_what_does_not_fit_is_refused(tmp_path, recordings, refused):
    refused(
        create.main,
        [*recordings, "--duration", "0.6"],
        "20 recordings are shorter than 0.6 s: 0.wav, .* and 15 more; pad them",
    )
    refused(create.main, [*recordings, "--freq_end", "3000"], "--freq_end: is for synthesized tones")
    refused(create.main, [*recordings, "--preset", "paper"], "--preset: is for synthesized tones")
    refused(create.main, [*recordings, "--from_wav", tmp_path / "none"], "--from_wav: .* is not a folder")
    refused(create.main, recordings[:2], "--from_wav, --labels: one needs the other")
    refused(create.main, [*recordings, "--hold_out", "speaker=bob"], "speaker has no 'bob'; choose from john, mary")
    wavfile.write(tmp_path / "wav" / "5.wav", 44100, np.zeros(5000, np.int16))
    refused(create.main, recordings, r"2 sample rates \(44100 Hz: 5.wav; 8000 Hz: 0.wav, .* and 18 more\); resample")
    (tmp_path / "wav" / "7.wav").write_bytes(b"no sound")
    refused(create.main, recordings, "7.wav: not a readable WAV file")
    (tmp_path / "wav" / "6.wav").unlink()
    refused(create.main, recordings, "6.wav: no such file")
    assert not (tmp_path / "mine.npz").exists()


def test_changed_sounds_or_labels_are_other_options(tmp_path, recordings, refused):
    assert create.main(recordings) == 0
    wavfile.write(tmp_path / "wav" / "5.wav", RATE, np.ones(4200, np.int16))
    refused(create.main, recordings, "exists and was made with other options")


def test_models_and_metrics_work_on_recordings(tmp_path, recordings, capsys):
    """Held out: John's loudest."""
    path, figures = tmp_path / "mine.npz", tmp_path / "Figures"
    reports = f"--audit --samples --figures_dir {figures} --audio_dir {tmp_path / 'audio'}".split()
    assert create.main([*recordings, "--hold_out", "speaker=john", "level_db=-3", *reports]) == 0
    assert json.loads((tmp_path / "mine.audit.json").read_text())["tones"] == 24
    train = f"--dataset {path} --model VAE --epochs 1 --device cpu --output_dir {tmp_path}"
    assert trainvae.main(train.split()) == 0
    assert "4 of 24 tones are held out" in capsys.readouterr().out
    score = (
        f"--model {tmp_path / 'VAE_seed0.pt'} --metrics mig --no_figures --device cpu --output_dir {tmp_path}/results"
    )
    assert evaluate_script.main(score.split()) == 0
    table = capsys.readouterr().out
    assert "| MIG, speaker" in table and "| MIG, level_db" in table and "held out: reconstruction error" in table
    assert {picture.name for picture in figures.iterdir()} == {"Dataset_Audit.png", "Samples.png"}
