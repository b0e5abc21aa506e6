"""Notes: names and numbers, pitch, and what FluidSynth renders (skipped where it or a soundfont is absent)."""

import csv
import json
import sys

import numpy as np
import pytest
from scipy.signal import sawtooth

import create
import eval as eval_script
import trainvae
from syntone.dataset import load_npz, notes
from syntone.dataset.notes import parse_span
from syntone.dataset.pitch import cents_off
from syntone.dataset.player import Player, load_fluidsynth
from syntone.errors import InputError

try:
    load_fluidsynth()
    FONTS = notes.find_fonts(None)
    WHY = ""
except InputError as missing:
    FONTS, WHY = {}, str(missing)
rendered = pytest.mark.skipif(bool(WHY), reason=WHY)
SMALL = "--preset notes --instruments flute harpsichord --velocities 40 120 3 --pitches 60 84 3 --duration 0.5".split()


@pytest.mark.parametrize("frequency", [261.63, 523.25, 1046.5])
@pytest.mark.parametrize("off", [0.0, 15.0, -35.0, 1200.0, -1200.0])
def test_pitch_of_tones_is_found(frequency, off):
    """Within 3 cents, also an octave off, for one partial, for many, and for a weak fundamental in noise."""
    phase = 2 * np.pi * frequency * 2 ** (off / 1200) * np.arange(16000) / 16000
    noise = 0.01 * np.random.default_rng(0).standard_normal(16000)
    weak = 0.1 * np.sin(phase) + np.sin(2 * phase) + np.sin(3 * phase) + noise
    for wave in (np.sin(phase), sawtooth(phase, 0.5) + noise, weak, np.exp(-np.arange(16000) / 3000) * np.sin(phase)):
        assert abs(cents_off(wave, frequency, sample_rate=16000) - off) < 3


def test_silence_has_no_pitch():
    assert np.isnan(cents_off(np.zeros(16000), 440.0, sample_rate=16000))


def test_spans_are_whole_and_equally_spaced():
    assert parse_span("pitches", ["60", "84", "3"]) == [60, 72, 84] and parse_span("pitches", ["60", "60", "1"]) == [60]


@pytest.mark.parametrize(
    "flags, pattern",
    [
        ("--pitches 60 84 4", ""),
        ("--pitches 60 84 6", "pitches: 6 levels from 60 to 84 are not equally spaced .* 60 84 5"),
        ("--pitches 84 60 2", "pitches: .*START below END"),
        ("--velocities 0 127 2", "velocities: expected a whole number from 1 to 127, got '0'"),
        ("--instruments violine", "instruments: 'violine' is not a program of General MIDI; for example violin"),
        ("--instruments oboe oboe", "instruments: a name occurs twice"),
        ("--soundfont none.sf2", "soundfont: none.sf2 is not a file"),
        ("--level peak", "--level: notes have the level that is played"),
        ("--num_freqs 3 --seed 1", "--num_freqs, --seed: no effect on notes"),
    ],
)
def test_what_cannot_be_played_is_refused(tmp_path, monkeypatch, refused, flags, pattern):
    monkeypatch.chdir(tmp_path)
    if not pattern:
        assert create.parse_flags(["--preset", "notes", *flags.split()]).pitches == [60, 68, 76, 84]
    elif WHY and "--instruments" in flags:
        pytest.skip(WHY)
    else:
        refused(create.main, ["--preset", "notes", *flags.split()], pattern)
        assert not list(tmp_path.rglob("*.npz"))


def test_flags_of_notes_need_the_preset(refused):
    refused(create.main, ["--pitches", "60", "84", "3"], "--pitches: no effect without --preset notes")


def test_what_is_missing_is_said_in_one_line(tmp_path, monkeypatch, refused):
    font = tmp_path / "font.sf2"
    font.touch()
    monkeypatch.setitem(sys.modules, "fluidsynth", None)
    argv = ["--preset", "notes", "--soundfont", font, "--file_path", tmp_path / "notes.npz"]
    refused(create.main, argv, "notes need FluidSynth and pyfluidsynth .*; apt install fluidsynth fluid-soundfont-gm")
    monkeypatch.setattr(notes, "FONTS", ())
    refused(create.main, argv[:2], "soundfont: none is installed; apt install")


@rendered
def test_a_note_does_not_depend_on_the_notes_before():
    how = dict(sample_rate=16000, n_samples=16000)
    path = next(iter(FONTS.values()))
    alone = Player(path).play("violin", 100, 60, **how)
    player = Player(path)
    for before in (("choir_aahs", 127, 70), ("harp", 20, 61), ("violin", 100, 60)):
        player.play(*before, **how)
    np.testing.assert_array_equal(player.play("violin", 100, 60, **how), alone)


@rendered
def test_notes_become_a_dataset(tmp_path, capsys):
    argv = [*SMALL, "--file_path", str(tmp_path / "notes.npz")]
    assert create.main(argv) == 0
    assert "pitch: 100.0 % of 18 notes are within 20 cents" in capsys.readouterr().out
    assert create.main(argv) == 0 and "left alone" in capsys.readouterr().out
    assert create.main([*argv[:-1], str(tmp_path / "again.npz")]) == 0
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "notes.npz").read_bytes()
    data = load_npz(tmp_path / "notes.npz")
    assert data.factor_names == ("instrument", "velocity", "frequency") and data.x.shape == (18, 8000)
    np.testing.assert_allclose(np.unique(data.factor_values[:, 2]), [261.6256, 523.2511, 1046.5023], rtol=1e-6)
    assert data.describe(1) == "harpsichord, velocity 40, 262 Hz"
    rms = np.sqrt(np.mean(np.square(data.x), axis=1)).reshape(3, 3, 2)  # pitch, velocity, instrument
    assert (np.diff(rms, axis=1) > 0).all() and np.abs(data.x).max() < 1
    recipe = json.loads(data.recipe)
    assert recipe["generator"] == "create.py --preset notes" and recipe["settings"]["synth.reverb.active"] == 0


@rendered
def test_equal_rms_and_two_soundfonts(tmp_path, capsys):
    (tmp_path / "other.sf2").symlink_to(next(iter(FONTS.values())))
    more = f"--level rms --soundfont {next(iter(FONTS.values()))} {tmp_path / 'other.sf2'} --hold_out soundfont=other"
    assert create.main([*SMALL, *more.split(), "--file_path", str(tmp_path / "notes.npz")]) == 0
    data = load_npz(tmp_path / "notes.npz")
    assert data.factor_names[-1] == "soundfont" and "at equal RMS" in capsys.readouterr().err
    np.testing.assert_allclose(np.sqrt(np.mean(np.square(data.x), axis=1)), notes.RMS, rtol=1e-5)


@rendered
def test_notes_are_trained_on_and_evaluated_as_tones_are(tmp_path):
    """Controllability measures cents, velocity and the probability of an instrument."""
    path, folder = tmp_path / "notes.npz", tmp_path / "checkpoints"
    assert create.main([*SMALL[:-6], *"--pitches 60 84 5 --duration 0.5 --file_path".split(), str(path)]) == 0
    train = ["--dataset", str(path), "--model", "VAE", "AdaGVAE", "--epochs", "2", "--anneal_epochs", "1"]
    assert trainvae.main([*train, "--output_dir", str(folder), "--device", "cpu"]) == 0
    models = [str(folder / f"{name}_seed0.pt") for name in ("VAE", "AdaGVAE")]
    metrics = ["--metrics", "mig", "sap", "controllability", "--baselines", "pca", "descriptors"]
    assert eval_script.main(["--model", *models, *metrics, "--output_dir", str(tmp_path / "results")]) == 0
    with (tmp_path / "results" / "controllability.csv").open(newline="") as file:
        units = {row["factor"]: row["unit"] for row in csv.DictReader(file)}
    assert units == {"instrument": "probability", "velocity": "", "frequency": "cents"}
    page = (tmp_path / "results" / "report.html").read_text()
    assert "harpsichord, velocity" in page and "AdaGVAE (pairs)" in page and "MIG, instrument" in page
