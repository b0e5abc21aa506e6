"""create.py by its command line."""

import hashlib
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from sandbox import GRID, ROOT
from scipy.io import wavfile

import create
from syntone.dataset import load_npz, save_npz
from syntone.dataset.oscillators import unit_tone


def test_every_combination_is_there_once(dataset_path):
    factors = load_npz(dataset_path).factors
    assert len(np.unique(factors, axis=0)) == len(factors) == np.prod(factors.max(axis=0) + 1)


def test_defaults_are_the_papers_grid():
    args = create.parse_flags([])
    grid = create.build_grid(args)
    assert grid.n_tones == 32000 and grid.n_samples == 16000
    assert (grid.freqs[0], grid.freqs[-1], grid.amps[0], grid.amps[-1]) == (440.0, 8000.0, 0.1, 1.0)
    assert args.file_path.as_posix() == "Dataset/syntone.npz"


def test_same_options_give_the_same_bytes(tmp_path, dataset_path):
    again = tmp_path / "elsewhere" / "again.npz"
    assert create.main([*GRID, "--file_path", str(again)]) == 0
    assert again.read_bytes() == dataset_path.read_bytes()


def test_existing_file_is_left_alone_refused_or_overwritten(tmp_path, capsys, refused):
    path = tmp_path / "tones.npz"
    small = [*GRID, "--file_path", str(path)]
    assert create.main(small) == 0
    first, changed_at = path.read_bytes(), path.stat().st_mtime_ns
    assert create.main(small) == 0
    assert "left alone" in capsys.readouterr().out and path.stat().st_mtime_ns == changed_at
    other = [*small, "--amp_start", "0.2"]
    refused(create.main, other, "exists and was made with other options, labels or recordings; give --overwrite")
    assert path.read_bytes() == first
    assert create.main([*other, "--overwrite"]) == 0
    assert load_npz(path).amps.min() == 0.2
    assert [file.name for file in tmp_path.iterdir()] == ["tones.npz"]


def test_size_is_printed_before_writing(tmp_path, capsys):
    path = tmp_path / "tones.npz"
    create.main([*GRID, "--file_path", str(path)])
    out = capsys.readouterr().out
    said = float(re.search(r"72 sounds .* ([0-9.]+) GB", out).group(1))
    # three digits are printed, the zip's directory is estimated
    assert abs(said * 1e9 / path.stat().st_size - 1) < 0.01


def test_wrong_places_are_refused(tmp_path, refused):
    refused(create.main, [*GRID, "--file_path", tmp_path], "is a folder")
    (tmp_path / "file").write_text("text")
    (tmp_path / "file.npz").write_text("text")
    refused(create.main, [*GRID, "--file_path", tmp_path / "file" / "tones.npz"], "is a file")
    refused(create.main, [*GRID, "--file_path", tmp_path / "file.npz"], "exists and is not a readable dataset")
    assert (tmp_path / "file").read_text() == (tmp_path / "file.npz").read_text() == "text"


def test_a_single_tone_is_refused(tmp_path, refused):
    flags = "--num_freqs 1 --freq_end 500 --num_amps 1 --amp_end 0.1 --waveforms sine".split()
    refused(create.main, [*GRID, *flags, "--file_path", tmp_path / "tones.npz"], "the grid has one tone")


def test_a_grid_larger_than_the_disk_is_refused_before_any_work(tmp_path, refused):
    flags = f"--num_freqs 1000000 --num_amps 1000000 --file_path {tmp_path / 'tones.npz'}".split()
    refused(create.main, flags, "needs .* bytes", status=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a limit on address space is not enforced")
def test_a_dataset_larger_than_memory_is_created(tmp_path):
    """410 MB under an enforced limit of 352 MiB (369 MB) on the whole address space, most of which are libraries."""
    path = tmp_path / "tones.npz"
    flags = f"--freq_start 400 --freq_end 7000 --num_freqs 160 --num_amps 10 --file_path {path}".split()
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (352 * 2**20,) * 2)\n"
        f"import create\nassert create.main({flags!r}) == 0"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, env=environment)
    assert found.returncode == 0, found.stderr
    assert path.stat().st_size > 352 * 2**20 and load_npz(path).x[-1].any()


def test_values_are_those_of_the_first_version(tmp_path):
    """Digests of a file of the generator as it was before it knew more than three factors. Without sines, whose last
    bit is the machine's, every operation is exact or rounds in one way."""
    path = tmp_path / "tones.npz"
    assert create.main([*GRID, "--waveforms", "triangle", "square", "sawtooth", "--file_path", str(path)]) == 0
    with np.load(path) as data:
        found = {key: hashlib.sha256(data[key].tobytes()).hexdigest()[:16] for key in ("x", "factors", "factor_values")}
    assert found == {"x": "2acc36f65fe4a405", "factors": "7ed5260504a74fc4", "factor_values": "d08471486fedb131"}


# ---- presets, extra factors, nuisances ----


def test_presets_set_defaults_only():
    assert vars(create.parse_flags(["--preset", "paper"])) == vars(create.parse_flags([]))
    clean = create.parse_flags(["--preset", "clean"])
    assert (clean.oscillator, clean.freq_scale, clean.amp_scale, clean.level) == ("bandlimited", "log", "db", "rms")
    lower = create.parse_flags(["--preset", "clean", "--sample_rate", "8000"])
    assert clean.freq_end == 2600 and lower.freq_end == 1300
    mixed = create.parse_flags(["--num_freqs", "7", "--preset", "clean", "--oscillator", "naive", "--freq_end", "2000"])
    assert (mixed.num_freqs, mixed.oscillator, mixed.freq_end, mixed.level) == (7, "naive", 2000.0, "rms")
    # a flag takes precedence, also with its default
    assert create.parse_flags(["--num_freqs", "400", "--preset", "clean"]).num_freqs == 400
    assert "preset" not in json.loads(str(create.plan(clean).members["recipe"]))


def test_scales_are_even_in_ratios():
    grid = create.build_grid(
        create.parse_flags(
            "--freq_scale log --freq_end 7040 --num_freqs 5 --amp_scale db --amp_start 0.01 --num_amps 3".split()
        )
    )
    np.testing.assert_allclose(grid.freqs, [440, 880, 1760, 3520, 7040])
    np.testing.assert_allclose(grid.amps, [0.01, 0.1, 1.0])


def test_extra_factors_are_in_the_file(tmp_path):
    path = tmp_path / "tones.npz"
    flags = "--waveforms square sawtooth --oscillator bandlimited".split()
    flags += "--factor brightness -12 0 3 --factor noise -60 -20 2".split()
    assert create.main([*GRID, *flags, "--file_path", str(path)]) == 0
    data = load_npz(path)
    assert data.factor_names == ("timbre", "amplitude", "frequency", "brightness", "noise")
    assert data.factor_kinds == ("nominal", "ordered", "ordered", "ordered", "ordered")
    assert data.x.shape == (6 * 3 * 2 * 3 * 2, 4000) and len(np.unique(data.factors, axis=0)) == len(data)
    assert data.factor_values[-1].tolist() == [1.0, 1.0, 3000.0, 0.0, -20.0]
    assert data.describe(0) == "square, amplitude 0.1, 500 Hz, brightness -12, noise -60"
    again = tmp_path / "again.npz"
    assert create.main([*GRID, *flags, "--file_path", str(again)]) == 0 and again.read_bytes() == path.read_bytes()
    other = tmp_path / "other.npz"
    assert create.main([*GRID, *flags, "--seed", "1", "--file_path", str(other)]) == 0
    assert not np.array_equal(load_npz(other).x, data.x)


def test_tones_beyond_full_scale_are_named(tmp_path, capsys):
    def warned(*flags):
        capsys.readouterr()
        assert create.main([*GRID, *flags, "--file_path", str(tmp_path / "tones.npz"), "--overwrite"]) == 0
        found = re.search(r"warning: (\d+) sounds exceed full scale", capsys.readouterr().err)
        peaks = np.abs(load_npz(tmp_path / "tones.npz").x).max(axis=1)
        assert int(found.group(1) if found else 0) == (peaks > 1 + 1e-6).sum()
        return found is not None

    assert not warned() and not warned("--amp_end", "0.5", "--level", "rms")
    assert warned("--level", "rms") and warned("--oscillator", "bandlimited") and warned("--amp_end", "2")
    assert warned("--snr_db", "0")


def test_samples_show_each_tone_once(tmp_path):
    """Of two frequencies there is no middle one; sounds whose file names would be the same stay apart."""
    flags = ["--samples", "--figures_dir", str(tmp_path), "--audio_dir", str(tmp_path / "audio")]
    flags += ["--num_freqs", "2", "--num_amps", "1", "--waveforms", "sine", "square"]
    assert create.main([*GRID, *flags, "--file_path", str(tmp_path / "tones.npz")]) == 0
    names = [f"{wave}_amplitude_0.1_{freq}_Hz.wav" for wave in ("sine", "square") for freq in (3000, 500)]
    assert sorted(os.listdir(tmp_path / "audio")) == names

    own = {
        "factor_kinds": ["nominal", "ordered"],
        "factor_names": ["timbre", "f"],
        "classes": ["a b", "a_B", "c" * 300],
    }
    values = np.array([[0, 1.0001], [0, 1.0002], [0, 1.0003], [1, 1.0002], [2, 2], [2, 3]])
    levels = np.stack([np.unique(column, return_inverse=True)[1] for column in values.T], axis=1)
    x = np.random.default_rng(0).normal(size=(6, 4000)) / 10
    path = tmp_path / "own.npz"
    save_npz(path, x=x, factors=levels, factor_values=values, sample_rate=8000, recipe={}, **own)
    places = ["--figures_dir", str(tmp_path), "--audio_dir", str(tmp_path / "own")]
    assert create.main(["--samples", str(path), *places]) == 0
    sounds = [wavfile.read(sound)[1].tobytes() for sound in (tmp_path / "own").iterdir()]
    # of the first class, the sound nearest to the middle level of all is also the nearest to the highest
    assert sorted(sounds) == sorted(np.float32(wave).tobytes() for wave in x[[0, 2, 3, 4, 5]])


@pytest.mark.parametrize(
    "flags, pattern",
    [
        ("--preset clean --num_freqs 7 --audit tones.npz", "--num_freqs, --preset: no effect on an existing file"),
        ("--samples tones.npz --hold_out timbre=sine", "--hold_out: no effect on an existing file"),
        ("--audit --samples tones.npz --seed 0", "--seed: no effect on an existing file"),
        (
            "--audit tones.npz --file_path new.npz --overwrite",
            "--file_path, --overwrite: no effect on an existing file",
        ),
        (
            "--audit tones.npz --from_wav . --labels l.csv --fit cut",
            "--fit, --from_wav, --labels: no effect on an existing file",
        ),
        ("--audit tones.npz --audio_dir audio", "--audio_dir: no effect without --samples"),
        ("--figures_dir figures", "--figures_dir: no effect without --audit or --samples"),
        ("--audio_dir audio", "--audio_dir: no effect without --samples"),
        ("--from_wav . --labels l.csv --preset clean --num_amps 2", "--num_amps, --preset: no effect on recordings"),
        ("--from_wav . --labels l.csv --figures_dir figures", "--figures_dir: no effect without --audit"),
        ("--fit cut", "--fit: no effect on synthesized tones, without --from_wav"),
        ("--ordered timbre --nominal frequency", "--nominal, --ordered: no effect on synthesized tones"),
        ("--labels l.csv", "--from_wav, --labels: one needs the other"),
    ],
)
def test_flags_without_effect_are_refused(tmp_path, monkeypatch, dataset_path, refused, flags, pattern):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tones.npz").write_bytes(dataset_path.read_bytes())
    (tmp_path / "l.csv").write_text("file,a\n")
    refused(create.main, flags.split(), pattern)
    assert sorted(os.listdir()) == ["l.csv", "tones.npz"]


def test_a_seed_without_randomness_is_warned_about(tmp_path, capsys):
    def warned(*flags):
        assert create.main([*GRID, *flags, "--overwrite", "--file_path", str(tmp_path / "tones.npz")]) == 0
        return "the random seed has no effect" in capsys.readouterr().err

    assert warned("--seed", "3") and not warned() and not warned("--seed", "3", "--phase", "random")


def test_a_file_that_is_not_a_dataset_is_not_audited(tmp_path, refused):
    (tmp_path / "text.txt").write_text("not tones")
    refused(create.main, ["--audit", tmp_path / "text.txt"], "text.txt: cannot be read as a dataset")


def test_a_folder_that_cannot_hold_the_audit_is_refused_before_the_work(tmp_path, monkeypatch, dataset_path, refused):
    access = os.access
    monkeypatch.setattr(os, "access", lambda place, mode: place != dataset_path.parent and access(place, mode))
    monkeypatch.chdir(tmp_path)
    refused(create.main, ["--audit", dataset_path], "--audit: .* is not writable, so .*tones.audit.json cannot be")
    assert os.listdir() == []


def test_a_dataset_is_written_through_a_link(tmp_path, dataset_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "tones.npz").symlink_to("disk/real.npz")
    assert create.main([*GRID, "--file_path", str(tmp_path / "tones.npz")]) == 0
    assert (tmp_path / "tones.npz").is_symlink()
    assert (tmp_path / "disk" / "real.npz").read_bytes() == dataset_path.read_bytes()


def test_tones_that_could_not_be_read_again_are_not_written(tmp_path, refused):
    """The loudest amplitude with noise 100 dB above it peaks at about 5e11."""
    flags = ["--amp_end", "1e6", "--snr_db", "-100", "--file_path", tmp_path / "tones.npz"]
    refused(create.main, [*GRID, *flags], "tones.npz: a sound has a peak of .*e.*, above 1e.09; choose smaller")
    assert list(tmp_path.iterdir()) == []


def test_samples_are_drawn_and_sounded(tmp_path, dataset_path):
    flags = ["--samples", str(dataset_path), "--figures_dir", str(tmp_path), "--audio_dir", str(tmp_path / "audio")]
    assert create.main(flags) == 0
    assert (tmp_path / "Samples.png").read_bytes()[:4] == b"\x89PNG"
    assert len(list((tmp_path / "audio").iterdir())) == 12
    rate, wave = wavfile.read(tmp_path / "audio" / "square_amplitude_0.55_500_Hz.wav")
    assert rate == 8000
    np.testing.assert_array_equal(wave, np.float32(0.55) * unit_tone("square", 500.0, sample_rate=8000, n_samples=4000))
