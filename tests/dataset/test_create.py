"""create.py by its command line, and the dataset file."""

import errno
import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import GRID

import create
from syntone.dataset.file import LATER, Blocks, load_npz, recipe_text, same_recipe, save_npz, write_members
from syntone.dataset.options import recipe_of
from syntone.dataset.oscillators import unit_tone
from syntone.dataset.splits import split
from syntone.errors import InputError
from syntone.files import WriteBehind


def test_file_holds_what_the_contract_says(dataset_path):
    with np.load(dataset_path, allow_pickle=False) as data:
        held = {key: data[key] for key in data}
    n, k, t = 6 * 3 * 4, 3, 4000
    expected = {
        "x": ("float32", (n, t)),
        "factors": ("int32", (n, k)),
        "factor_values": ("float64", (n, k)),
        "y": ("int64", (n,)),
        "freqs": ("float64", (n,)),
        "amps": ("float64", (n,)),
        "sample_rate": ("int64", ()),
    }
    for key, (dtype, shape) in expected.items():
        assert held[key].dtype == dtype and held[key].shape == shape, key
    assert held["factor_names"].tolist() == ["timbre", "amplitude", "frequency"]
    assert held["factor_kinds"].tolist() == ["nominal", "ordered", "ordered"]
    assert held["classes"].tolist() == ["sine", "triangle", "square", "sawtooth"]
    recipe = json.loads(str(held["recipe"]))
    assert recipe["num_freqs"] == 6 and recipe["format_version"] == 1 and recipe["generator_version"] == 1
    row = 4 * (3 * 2 + 1) + 2  # frequency 2, amplitude 1, waveform 2
    assert held["factors"][row].tolist() == [2, 1, 2]
    assert held["factor_values"][row].tolist() == [2.0, 0.55, 1500.0]
    assert (held["y"][row], held["amps"][row], held["freqs"][row]) == (2, 0.55, 1500.0)
    np.testing.assert_array_equal(
        held["x"][row], np.float32(0.55) * unit_tone("square", 1500.0, sample_rate=8000, n_samples=t)
    )


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


def test_members_are_stored_without_clock_times(dataset_path):
    with zipfile.ZipFile(dataset_path) as archive:
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED and info.date_time == (1980, 1, 1, 0, 0, 0)


def test_existing_file_is_left_alone_refused_or_overwritten(tmp_path, capsys, refused):
    path = tmp_path / "tones.npz"
    small = [*GRID, "--file_path", str(path)]
    assert create.main(small) == 0
    first, changed_at = path.read_bytes(), path.stat().st_mtime_ns
    assert create.main(small) == 0
    assert "left alone" in capsys.readouterr().out and path.stat().st_mtime_ns == changed_at
    other = [*small, "--amp_start", "0.2"]
    refused(create.main, other, "exists and was made with other options; give --overwrite")
    assert path.read_bytes() == first
    assert create.main([*other, "--overwrite"]) == 0
    assert load_npz(path).amps.min() == 0.2
    assert [file.name for file in tmp_path.iterdir()] == ["tones.npz"]


def test_size_is_printed_before_writing(tmp_path, capsys):
    path = tmp_path / "tones.npz"
    create.main([*GRID, "--file_path", str(path)])
    out = capsys.readouterr().out
    said = float(re.search(r"72 tones .* ([0-9.]+) GB", out).group(1))
    assert (
        abs(said * 1e9 / path.stat().st_size - 1) < 0.01
    )  # three digits are printed, the zip's directory is estimated


@pytest.mark.parametrize(
    "flags, pattern",
    [
        (["--freq_end", "4001"], "--freq_end: 4001 Hz is above half the sample rate"),
        (["--freq_start", "3500"], "--freq_start: 3500 is above --freq_end 3000"),
        (["--freq_start", "0"], "--freq_start: expected a finite number above 0, got '0'"),
        (["--freq_start", "nan"], "--freq_start: expected a finite number"),
        (["--freq_end", "inf"], "--freq_end: expected a finite number"),
        (["--freq_start", "3000"], "--num_freqs: 6 levels from 3000 to 3000 are all the same"),
        (["--amp_start", "2"], "--amp_start: 2 is above --amp_end 1"),
        (["--amp_start", "-0.5"], "--amp_start: expected a finite number above 0"),
        (["--num_amps", "0"], "--num_amps: expected a whole number from 1 up"),
        (["--num_amps", "2.5"], "--num_amps: expected a whole number"),
        (["--num_freqs", "2000000"], "--num_freqs: 2000000 levels; give at most"),
        (["--duration", "0.0001"], "--duration: 0.0001 s at 8000 Hz is 0.8 samples"),
        (["--duration", "1e9"], "--duration: .* samples; give 2 to"),
        (["--waveforms", "sine", "sine"], "--waveforms: a waveform is named twice"),
        (["--waveforms", "cosine"], "--waveforms: invalid choice: 'cosine'"),
        (["--num_freq", "5"], "unrecognized arguments: --num_freq"),
    ],
)
def test_wrong_flags_are_refused_in_one_line(tmp_path, refused, flags, pattern):
    path = tmp_path / "tones.npz"
    refused(create.main, [*GRID, "--file_path", path, *flags], pattern)
    assert list(tmp_path.iterdir()) == []


def test_wrong_places_are_refused(tmp_path, refused):
    refused(create.main, [*GRID, "--file_path", tmp_path], "is a folder")
    (tmp_path / "file").write_text("text")
    (tmp_path / "file.npz").write_text("text")
    refused(create.main, [*GRID, "--file_path", tmp_path / "file" / "tones.npz"], "is a file")
    refused(create.main, [*GRID, "--file_path", tmp_path / "file.npz"], "exists and is no whole dataset")
    assert (tmp_path / "file").read_text() == (tmp_path / "file.npz").read_text() == "text"


def test_a_grid_larger_than_the_disk_is_refused_before_any_work(tmp_path, refused):
    refused(
        create.main,
        ["--num_freqs", "1000000", "--num_amps", "1000000", "--file_path", tmp_path / "tones.npz"],
        "would take .* bytes",
        status=1,
    )
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_creation_leaves_nothing(tmp_path):
    def rows():
        yield np.zeros((1, 4), np.float32)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_members(tmp_path / "tones.npz", {"x": Blocks((2, 4), np.dtype(np.float32), rows())})
    assert list(tmp_path.iterdir()) == []


# ---- reading ----


def valid_arrays() -> dict:
    return {
        "x": np.random.default_rng(0).normal(size=(4, 16)),
        "factors": [[0], [1], [0], [1]],
        "factor_values": [[0.0], [0.5], [0.0], [0.5]],
        "factor_names": ["depth"],
        "factor_kinds": ["ordered"],
        "sample_rate": 8000,
        "recipe": {"made": "by hand"},
    }


def test_round_trip_of_other_sounds(tmp_path):
    path = tmp_path / "mine.npz"
    arrays = valid_arrays()
    save_npz(path, **arrays)
    data = load_npz(path)
    np.testing.assert_array_equal(data.x, np.float32(arrays["x"]))
    np.testing.assert_array_equal(data.factors, arrays["factors"])
    assert data.factor_names == ("depth",) and data.sample_rate == 8000 and data.y is None
    assert data.describe(1) == "depth 0.5"


def test_plain_savez_is_read_and_unknown_keys_are_ignored(tmp_path):
    path = tmp_path / "mine.npz"
    save_npz(path, **valid_arrays())
    with np.load(path) as data:
        held = dict(data)
    np.savez(path, **held, comment=np.arange(3))
    np.testing.assert_array_equal(load_npz(path).x, held["x"])


@pytest.mark.parametrize(
    "change, pattern",
    [
        ({"factors": [[0.2], [0.9], [1.7], [2.2]]}, "'factors' is float64, expected level indices"),
        ({"factors": [[0], [2**32], [0], [1]]}, "'factors' is int64, expected level indices that fit into int32"),
        ({"factors": [[0], [1], [0]]}, r"'factors' has shape \(3, 1\), expected \(4, 1\)"),
        ({"factor_kinds": ["cardinal"]}, "'factor_kinds' has 'cardinal'"),
        ({"x": np.full((4, 16), np.nan)}, "'x' has samples that are not finite"),
    ],
)
def test_arrays_that_do_not_fit_are_not_written(tmp_path, change, pattern):
    with pytest.raises(InputError, match=pattern):
        save_npz(tmp_path / "mine.npz", **valid_arrays() | change)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change, pattern",
    [
        ({"x": None}, "'x' missing"),
        ({"x": np.zeros((4, 16))}, "'x' is float64, expected float32"),
        ({"x": np.zeros((3, 16), np.float32)}, "'factors' has shape"),
        ({"factors": np.zeros((4, 1))}, "'factors' is float64"),
        ({"factor_kinds": np.array(["cardinal"])}, "'factor_kinds' has 'cardinal'"),
        ({"sample_rate": np.array(0)}, "'sample_rate' is 0 Hz"),
        ({"recipe": np.array("no json")}, "'recipe' is not a JSON object"),
        ({"recipe": np.array('{"format_version": 99}')}, "format version 99, this program reads 1"),
        ({"factors": np.array([[None]] * 4, dtype=object)}, "pickled objects, which are never opened"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, change, pattern):
    path = tmp_path / "mine.npz"
    save_npz(path, **valid_arrays())
    with np.load(path) as data:
        held = dict(data) | change
    np.savez(path, **{key: array for key, array in held.items() if array is not None})
    with pytest.raises(InputError, match=pattern):
        load_npz(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_files_are_refused(tmp_path, dataset_path, share):
    whole = dataset_path.read_bytes()
    path = tmp_path / "cut.npz"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match="not a whole .npz file"):
        load_npz(path)


def test_compressed_members_are_refused(tmp_path):
    np.savez_compressed(tmp_path / "mine.npz", x=np.zeros((4, 16), np.float32))
    with pytest.raises(InputError, match="'x.npy' is compressed"):
        load_npz(tmp_path / "mine.npz")


def test_split_is_by_seed_and_takes_every_tone_once():
    train, valid = split(4000, seed=0)
    assert (len(train), len(valid)) == (3200, 800)
    assert np.array_equal(np.sort(np.concatenate([train, valid])), np.arange(4000))
    assert np.array_equal(train, split(4000, seed=0)[0]) and not np.array_equal(train, split(4000, seed=1)[0])
    with pytest.raises(InputError, match="3 tones cannot be split"):
        split(3, seed=0)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the process's peak memory from Linux's /proc")
def test_memory_stays_small_however_large_the_grid(tmp_path):
    """The README's grid is a file of 256 MB; python and numpy alone take about 40."""
    flags = [
        "--freq_start",
        "400",
        "--num_freqs",
        "100",
        "--num_amps",
        "10",
        "--file_path",
        str(tmp_path / "tones.npz"),
    ]
    code = f"import create\nassert create.main({flags!r}) == 0\nprint(open('/proc/self/status').read())"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(create.__file__).parent, text=True, capture_output=True, check=True
    )
    peak_kilobytes = int(re.search(r"VmHWM:\s+(\d+) kB", found.stdout).group(1))
    assert (tmp_path / "tones.npz").stat().st_size > 256e6 and peak_kilobytes < 128 * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a limit on address space is not enforced")
@pytest.mark.parametrize(
    "flags", [[], ["--oscillator", "bandlimited", "--factor", "attack", "0", "0.2", "2", "--num_amps", "5"]]
)
def test_a_dataset_larger_than_memory_is_created_within_the_memory_that_is_printed(tmp_path, flags):
    """410 MB under an enforced limit of 352 MiB (369 MB) on the whole address space, most of which are libraries; what is resident
    stays within what create.py says before it writes."""
    path = tmp_path / "tones.npz"
    grid = [
        "--freq_start",
        "400",
        "--freq_end",
        "7000",
        "--num_freqs",
        "160",
        "--num_amps",
        "10",
        "--file_path",
        str(path),
    ]
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (352 * 2**20,) * 2)\n"
        f"import create\nassert create.main({[*grid, *flags]!r}) == 0\nprint(open('/proc/self/status').read())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(create.__file__).parent,
        text=True,
        capture_output=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert found.returncode == 0, found.stderr
    said = int(re.search(r"within (\d+) MiB of memory", found.stdout).group(1)) * 2**20
    resident = int(re.search(r"VmHWM:\s+(\d+) kB", found.stdout).group(1)) * 1024
    assert path.stat().st_size > 352 * 2**20 and resident <= said
    assert load_npz(path).x[-1].any()


def test_a_fault_while_writing_behind_is_raised_and_nothing_is_left(tmp_path, monkeypatch):
    """The disk fills up while the next rows are computed."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full, raising=False)
    monkeypatch.setattr(WriteBehind, "SYNC_BYTES", 2**20)
    rows = (np.zeros((2**16, 4), np.float32) for _ in range(50))
    with pytest.raises(OSError, match="No space left"):
        write_members(tmp_path / "tones.npz", {"x": Blocks((50 * 2**16, 4), np.dtype(np.float32), rows)})
    assert list(tmp_path.iterdir()) == [] and next(rows, None) is not None  # and not all rows were computed for nothing


def test_what_is_written_behind_is_what_was_given(tmp_path):
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=(n, 1000)).astype(np.float32) for n in (1, 700, 3, 3000, 20)]
    write_members(tmp_path / "tones.npz", {"x": Blocks((3724, 1000), np.dtype(np.float32), rows), "y": np.arange(5)})
    with zipfile.ZipFile(tmp_path / "tones.npz") as archive:
        assert archive.testzip() is None  # check sums
    with np.load(tmp_path / "tones.npz") as data:
        np.testing.assert_array_equal(data["x"], np.concatenate(rows))
        np.testing.assert_array_equal(data["y"], np.arange(5))


def test_values_are_those_of_the_first_version(tmp_path):
    """Digests of a file of the generator as it was before it knew more than three factors. Without sines, whose last bit
    is the machine's, every operation is exact or rounds in one way."""
    path = tmp_path / "tones.npz"
    assert create.main([*GRID, "--waveforms", "triangle", "square", "sawtooth", "--file_path", str(path)]) == 0
    with np.load(path) as data:
        found = {key: hashlib.sha256(data[key].tobytes()).hexdigest()[:16] for key in ("x", "factors", "factor_values")}
    assert found == {"x": "2acc36f65fe4a405", "factors": "7ed5260504a74fc4", "factor_values": "d08471486fedb131"}


def test_a_file_of_the_first_version_is_left_alone(tmp_path, capsys):
    path = tmp_path / "tones.npz"
    flags = [*GRID, "--file_path", str(path)]
    assert create.main(flags) == 0
    with np.load(path) as data:
        held = dict(data)
    old = {key: value for key, value in json.loads(str(held["recipe"])).items() if key not in LATER}
    assert len(old) == 12
    np.savez(path, **held | {"recipe": np.array(json.dumps(old, sort_keys=True))})
    assert create.main(flags) == 0 and "left alone" in capsys.readouterr().out
    assert same_recipe(load_npz(path).recipe, str(held["recipe"]))
    assert not same_recipe(load_npz(path).recipe, str(held["recipe"]).replace('"naive"', '"bandlimited"'))


# ---- presets, further factors, nuisances ----


def test_presets_set_defaults_only():
    assert vars(create.parse_flags(["--preset", "paper"])) == vars(create.parse_flags([]))
    clean = create.parse_flags(["--preset", "clean"])
    assert (clean.oscillator, clean.freq_scale, clean.amp_scale, clean.level) == ("bandlimited", "log", "db", "rms")
    assert (
        clean.freq_end == 2600 and create.parse_flags(["--preset", "clean", "--sample_rate", "8000"]).freq_end == 1300
    )
    mixed = create.parse_flags(["--num_freqs", "7", "--preset", "clean", "--oscillator", "naive", "--freq_end", "2000"])
    assert (mixed.num_freqs, mixed.oscillator, mixed.freq_end, mixed.level) == (7, "naive", 2000.0, "rms")
    assert (
        create.parse_flags(["--num_freqs", "400", "--preset", "clean"]).num_freqs == 400
    )  # a flag wins, also by its default
    assert "preset" not in json.loads(recipe_text(recipe_of(clean)))


def test_scales_are_even_in_ratios():
    grid = create.build_grid(
        create.parse_flags(
            [
                "--freq_scale",
                "log",
                "--freq_end",
                "7040",
                "--num_freqs",
                "5",
                "--amp_scale",
                "db",
                "--amp_start",
                "0.01",
                "--num_amps",
                "3",
            ]
        )
    )
    np.testing.assert_allclose(grid.freqs, [440, 880, 1760, 3520, 7040])
    np.testing.assert_allclose(grid.amps, [0.01, 0.1, 1.0])


def test_further_factors_are_in_the_file(tmp_path):
    path = tmp_path / "tones.npz"
    flags = [
        "--waveforms",
        "square",
        "sawtooth",
        "--oscillator",
        "bandlimited",
        "--factor",
        "brightness",
        "-12",
        "0",
        "3",
        "--factor",
        "noise",
        "-60",
        "-20",
        "2",
    ]
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
        found = re.search(r"warning: (\d+) tones exceed full scale", capsys.readouterr().err)
        peaks = np.abs(load_npz(tmp_path / "tones.npz").x).max(axis=1)
        assert int(found.group(1) if found else 0) == (peaks > 1 + 1e-6).sum()
        return found is not None

    assert not warned() and not warned("--amp_end", "0.5", "--level", "rms")
    assert warned("--level", "rms") and warned("--oscillator", "bandlimited") and warned("--amp_end", "2")
    assert warned("--snr_db", "0")


@pytest.mark.parametrize(
    "flags, pattern",
    [
        (["--factor", "colour", "0", "1", "2"], "--factor: 'colour' is unknown; choose from phase, attack"),
        (["--factor", "attack", "0", "x", "2"], "--factor attack: expected two numbers and a count"),
        (["--factor", "attack", "0", "nan", "2"], "--factor attack: from 0 to nan; give START <= END"),
        (["--factor", "attack", "0.2", "0.1", "2"], "give START <= END between 0 and 60 s"),
        (["--factor", "attack", "0", "0.6", "2"], "does not end within --duration 0.5"),
        (["--factor", "attack", "0.1", "0.1", "2"], "--factor attack: 2 levels from 0.1 to 0.1 are all the same"),
        (["--factor", "attack", "0", "0.1", "0"], "--factor attack: 0 levels"),
        (["--factor", "attack", "0", "0.1"], "--factor: expected 4 arguments"),
        (
            ["--factor", "noise", "-9", "0", "2", "--factor", "noise", "-9", "0", "2"],
            "--factor: a factor is named twice",
        ),
        (
            ["--factor", "phase", "0", "1", "4"],
            "0 and 1 cycles are the same phase; give an END below 1, for example 0.75",
        ),
        (["--factor", "phase", "0", "0.5", "2", "--phase", "random"], "--phase, --factor phase"),
        (["--factor", "noise", "-9", "0", "2", "--snr_db", "9"], "--snr_db, --factor noise"),
        (["--factor", "brightness", "-9", "0", "2"], "--factor brightness: .* give --oscillator bandlimited"),
        (["--freq_end", "4000", "--factor", "vibrato", "0", "100", "2"], "reaches 4237.85 Hz .* give 3775.5"),
        (["--freq_end", "4000", "--detune_cents", "100"], "reaches 4237.85 Hz with its detuning"),
        (["--detune_cents", "2000"], "more than an octave"),
        (["--onset_jitter", "0.5"], "--onset_jitter: 0.5 s leaves nothing"),
        (["--snr_db", "inf"], "--snr_db: expected a finite number"),
        (["--snr_db", "1000"], "--snr_db: 1000 dB is beyond"),
        (["--labels", "labels.csv"], "--labels: names the factors of --from_wav"),
        (["--preset", "best"], "--preset: invalid choice"),
    ],
)
def test_wrong_options_are_refused_in_one_line(tmp_path, refused, flags, pattern):
    refused(create.main, [*GRID, "--file_path", tmp_path / "tones.npz", *flags], pattern)
    assert list(tmp_path.iterdir()) == []


def test_samples_are_drawn_and_sounded(tmp_path, dataset_path):
    from scipy.io import wavfile

    flags = ["--samples", str(dataset_path), "--figures_dir", str(tmp_path), "--audio_dir", str(tmp_path / "audio")]
    assert create.main(flags) == 0
    assert (tmp_path / "Samples.png").read_bytes()[:4] == b"\x89PNG"
    assert len(list((tmp_path / "audio").iterdir())) == 12
    rate, wave = wavfile.read(tmp_path / "audio" / "square_amplitude_0.55_500_Hz.wav")
    assert rate == 8000
    np.testing.assert_array_equal(wave, np.float32(0.55) * unit_tone("square", 500.0, sample_rate=8000, n_samples=4000))
