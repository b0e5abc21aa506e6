"""Recordings with labels: files and lengths, and that models and metrics work on them."""

import json

import numpy as np
import pytest
from scipy.io import wavfile

import create
import eval as evaluate_script
import trainvae
from syntone.dataset import load_npz
from syntone.dataset.splits import held_out
from syntone.evaluation.report import dataset_words

RATE = 8000


def write_table(path, *rows: str) -> None:
    path.write_text("\n".join(rows) + "\n")


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
    assert (
        "24 sounds (recordings; speaker: 2 nominal levels, level_db: 3 ordered levels), 4,000 samples each" in out.out
    )
    cut = "23 recordings are cut and 0 padded with zeros to 4000 samples, the length of the shortest, 0.wav\n"
    assert cut in out.err and out.err.count("warning") == 1
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
        "20 recordings are shorter than 0.6 s: 0.wav, .* and 15 more; give a shorter duration, or pad them",
    )
    refused(create.main, [*recordings, "--freq_end", "3000"], "--freq_end: no effect on recordings")
    refused(create.main, [*recordings, "--preset", "paper"], "--preset: no effect on recordings")
    refused(create.main, [*recordings, "--from_wav", tmp_path / "none"], "--from_wav: .* is not a folder")
    refused(create.main, [*recordings, "--labels", tmp_path / "none.csv"], "none.csv: No such file or directory; check")
    refused(create.main, recordings[:2], "--from_wav, --labels: one needs the other")
    refused(
        create.main, [*recordings, "--hold_out", "speaker=bob"], "speaker has no level 'bob'; choose from john, mary"
    )
    wavfile.write(tmp_path / "wav" / "5.wav", 44100, np.zeros(5000, np.int16))
    refused(create.main, recordings, r"2 sample rates \(44100 Hz: 5.wav; 8000 Hz: 0.wav, .* and 18 more\); resample")
    (tmp_path / "wav" / "7.wav").write_bytes(b"no sound")
    refused(create.main, recordings, "7.wav: not a readable WAV file")
    (tmp_path / "wav" / "6.wav").unlink()
    refused(create.main, recordings, r"files of the table do not exist \(1\): 6.wav; correct the names in the table")
    assert not (tmp_path / "mine.npz").exists()


def test_a_file_is_named_that_decides_the_length_of_all(tmp_path, recordings, capsys, refused):
    wavfile.write(tmp_path / "wav" / "7.wav", RATE, np.ones(300, np.int16))
    wavfile.write(tmp_path / "wav" / "9.wav", RATE, np.ones(9000, np.int16))
    assert create.main(recordings) == 0
    assert "23 recordings are cut and 0 padded with zeros to 300 samples, the length of the shortest, 7.wav" in (
        capsys.readouterr().err
    )
    assert create.main([*recordings, "--fit", "pad", "--overwrite"]) == 0
    assert "23 padded with zeros to 9000 samples, the length of the longest, 9.wav" in capsys.readouterr().err
    wavfile.write(tmp_path / "wav" / "7.wav", RATE, np.ones(1, np.int16))
    refused(create.main, recordings, "7.wav has 1 samples, expected 2 or more")
    damaged = tmp_path / "wav" / "5.wav"
    damaged.write_bytes(damaged.read_bytes()[:2044])
    for flags in ([], ["--fit", "pad"], ["--duration", "0.1"]):
        refused(
            create.main, [*recordings, *flags], "5.wav: is cut off: its header declares 4200 samples and it holds 1000"
        )


def test_loud_samples_are_refused_and_others_warned_about_with_what_helps(tmp_path, recordings, capsys, refused):
    sound = wavfile.read(tmp_path / "wav" / "5.wav")[1].astype(np.float32)
    wavfile.write(tmp_path / "wav" / "5.wav", RATE, sound)
    refused(create.main, recordings, "5.wav: its samples reach .* none beyond 16; divide")
    wavfile.write(tmp_path / "wav" / "5.wav", RATE, sound / np.abs(sound).max() * 3)
    assert create.main(recordings) == 0
    assert "1 sounds exceed full scale (largest peak 3.000)" in (found := capsys.readouterr().err)
    assert "scale them down" in found and "amplitude" not in found


@pytest.mark.parametrize(
    "there, name",
    [
        ("Take.wav", "take.WAV"),
        ("cafe\u0301.wav", "caf\u00e9.wav"),
        ("caf\u00e9.wav", "cafe\u0301.wav"),
        ("one/a b.wav", r"one\a b.wav"),
        ("one/ab.wav", "ab.wav"),
        ("ab.wav", "recordings/ab.wav"),
        ("ab.wav", "ab"),
        ("ab.flac", "ab.wav"),
    ],
)
def test_a_missing_file_is_shown_with_the_one_that_is_meant(tmp_path, recordings, refused, there, name):
    path = tmp_path / "wav" / there
    path.parent.mkdir(exist_ok=True)
    (tmp_path / "wav" / "5.wav").rename(path)
    table = tmp_path / "labels.csv"
    table.write_text(table.read_text().replace("\n5.wav", f"\n{name}"), encoding="utf-8")
    refused(
        create.main, recordings, rf"files of the table do not exist \(1\): .*; the folder has {there}; correct the name"
    )


def test_files_without_labels_and_equal_files_are_named(tmp_path, recordings, capsys):
    for name in ("extra.WAV", "._0.wav"):
        (tmp_path / "wav" / name).write_bytes(b"not read")
    (tmp_path / "wav" / "8.wav").unlink()
    (tmp_path / "wav" / "8.wav").symlink_to(tmp_path / "wav" / "4.wav")
    assert create.main(recordings) == 0
    err = capsys.readouterr().err
    assert "WAV files that are not in the table (1): extra.WAV\n" in err
    assert "recordings with the same samples as another (1): 8.wav (as 4.wav)\n" in err


def test_factors_that_cannot_be_scored_or_have_a_unit_by_name_are_named(tmp_path, recordings, capsys):
    rows = [f"{k}.wav,{100 + k % 4},{k % 3},take {k},one" for k in range(24)]
    write_table(tmp_path / "labels.csv", "file,frequency,attack,take,room", *rows)
    assert create.main(recordings) == 0
    err = capsys.readouterr().err
    assert "the unit of factor frequency is assumed to be Hz; rename the column if it is not" in err
    assert "the unit of factor attack is assumed to be s; rename" in err
    assert "factor take has a different level for each file" in err and "factor room has one level" in err


def test_given_kinds_are_in_the_file_and_its_recipe(tmp_path, recordings, capsys, refused):
    rows = [f"{k}.wav,{('pp', 'mf', 'ff')[k % 3]},{(10, 9)[k % 2]}" for k in range(24)]
    write_table(tmp_path / "labels.csv", "file,dynamics,frequency", *rows)
    kinds = "--ordered dynamics --nominal frequency --hold_out dynamics=mf,ff frequency=10".split()
    assert create.main([*recordings, *kinds]) == 0
    out = capsys.readouterr()
    assert "dynamics: 3 ordered levels, frequency: 2 nominal levels" in out.out
    assert "levels of dynamics are ordered by first appearance: pp, mf, ff" in out.err and "Hz" not in out.err
    data = load_npz(tmp_path / "mine.npz")
    assert data.factor_kinds == ("ordered", "nominal") and data.factor_values[:2].tolist() == [[0, 1], [1, 0]]
    assert data.describe(1) == "dynamics mf, frequency 9"
    assert "Factors: dynamics (pp, mf, ff), frequency (9, 10)" in dataset_words(data)
    recipe = json.loads(data.recipe)
    assert recipe["ordered"] == ["dynamics"] and recipe["nominal"] == ["frequency"]
    meant = [k % 3 in (1, 2) and k % 2 == 0 for k in range(24)]
    assert held_out(data).tolist() == meant
    assert create.main([*recordings, *kinds]) == 0 and "left alone" in capsys.readouterr().out
    refused(create.main, [*recordings, "--nominal", "frequency"], "was made with other options, labels or recordings")
    refused(create.main, [*recordings, "--ordered", "pitch"], "unknown factor 'pitch'; choose from dynamics, freq")
    refused(
        create.main, [*recordings, *kinds, "--nominal", "dynamics"], "'dynamics' is given as both ordered and nominal"
    )
    refused(create.main, ["--ordered", "dynamics"], "--ordered: no effect on synthesized tones")


def test_changed_sounds_or_labels_are_other_options(tmp_path, recordings, refused):
    assert create.main(recordings) == 0
    wavfile.write(tmp_path / "wav" / "5.wav", RATE, np.ones(4200, np.int16))
    refused(create.main, recordings, "exists and was made with other options, labels or recordings")


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
