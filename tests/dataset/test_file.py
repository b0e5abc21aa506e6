"""The dataset file: what it holds, what is refused when it is written, and what when it is read."""

import dataclasses
import errno
import json
import pickle
import struct
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch

from syntone.dataset import file, load_npz, save_npz, splits
from syntone.dataset.file import Blocks, write_members
from syntone.dataset.oscillators import unit_tone
from syntone.dataset.recipe import same_recipe
from syntone.dataset.validation import LARGEST_SAVED, first_beyond
from syntone.errors import InputError


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
    tone = np.float32(0.55) * unit_tone("square", 1500.0, sample_rate=8000, n_samples=t)
    np.testing.assert_array_equal(held["x"][row], tone)


def test_members_are_stored_without_clock_times(dataset_path):
    with zipfile.ZipFile(dataset_path) as archive:
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED and info.date_time == (1980, 1, 1, 0, 0, 0)


def test_blocks_are_joined_in_the_file(tmp_path):
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=(n, 1000)).astype(np.float32) for n in (1, 700, 3, 20)]
    members = {"x": Blocks((724, 1000), np.dtype(np.float32), rows), "y": np.arange(5)}
    write_members(tmp_path / "tones.npz", members)
    with np.load(tmp_path / "tones.npz") as data:
        np.testing.assert_array_equal(data["x"], np.concatenate(rows))
        np.testing.assert_array_equal(data["y"], np.arange(5))


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def rows():
        yield np.zeros((1, 4), np.float32)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_members(tmp_path / "tones.npz", {"x": Blocks((2, 4), np.dtype(np.float32), rows())})
    assert list(tmp_path.iterdir()) == []


def test_recipes_are_the_same_by_content():
    one = json.dumps({"made": "by hand", "seed": 1})
    assert same_recipe(one, json.dumps(json.loads(one), indent=1)) and not same_recipe(one, json.dumps({"seed": 1}))


# ---- sounds of a user's own ----


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
    path, arrays = tmp_path / "mine.npz", valid_arrays()
    save_npz(path, **arrays)
    data = load_npz(path)
    np.testing.assert_array_equal(data.x, np.float32(arrays["x"]))
    np.testing.assert_array_equal(data.factors, arrays["factors"])
    assert data.factor_names == ("depth",) and data.sample_rate == 8000 and data.y is None
    assert data.describe(1) == "depth 0.5"


def test_whole_numbers_keep_their_value_in_any_dtype(tmp_path):
    path, arrays = tmp_path / "mine.npz", valid_arrays()
    small = {"factors": np.array(arrays["factors"], np.uint8), "sample_rate": np.float32(22050), "freqs": [1, 2, 3, 4]}
    save_npz(path, **arrays | small)
    data = load_npz(path)
    assert data.factors.dtype == np.int32 and data.factors.tolist() == arrays["factors"]
    assert data.sample_rate == 22050 and data.freqs.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_words_of_a_recipe_are_never_orders(tmp_path):
    """Each of these is a key of the program's own recipes."""
    words = {"hold_out": "speaker 3", "correlate": [["a"]], "level_names": {"depth": 3}, "format_version": "2.0"}
    words |= {"generator": "create.py", "sample_rate": [1]}
    save_npz(tmp_path / "mine.npz", **valid_arrays() | {"recipe": words})
    data = load_npz(tmp_path / "mine.npz")
    assert json.loads(data.recipe) == {"format_version": 1, "own": words}
    assert not splits.held_out(data).any() and splits.correlation_weights(data) is None
    assert data.level_name("depth", 0.0) == "0"


def test_changes_in_place_stay_in_memory(tmp_path):
    path, x = tmp_path / "mine.npz", np.float32(valid_arrays()["x"])
    save_npz(path, **valid_arrays())
    before = path.read_bytes()
    data = load_npz(path)
    wave = torch.from_numpy(data.x)
    wave /= 2
    np.testing.assert_array_equal(data.x, x / 2)
    assert path.read_bytes() == before
    np.testing.assert_array_equal(load_npz(path).x, x)


def test_a_pickled_dataset_maps_its_file_again(dataset_path, tmp_path, monkeypatch):
    path = tmp_path / "tones.npz"
    path.write_bytes(dataset_path.read_bytes())
    data = load_npz(path)
    pickled = pickle.dumps(data)
    assert len(pickled) < data.x.nbytes / 50
    monkeypatch.chdir(tmp_path.parent)
    again = pickle.loads(pickled)
    np.testing.assert_array_equal(again.x, data.x)
    np.testing.assert_array_equal(again.factors, data.factors)
    assert again.recipe == data.recipe and again.x.base is not None
    part = dataclasses.replace(data, x=data.x[3:5], factors=data.factors[3:5])  # its waveforms are not the file's
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(part)).x, data.x[3:5])
    save_npz(path, **valid_arrays())
    with pytest.raises(InputError, match="tones.npz: was replaced while it was in use"):
        pickle.loads(pickled)


def test_plain_savez_is_read_and_unknown_keys_are_ignored(tmp_path):
    path = tmp_path / "mine.npz"
    save_npz(path, **valid_arrays())
    with np.load(path) as data:
        held = dict(data)
    for x in (held["x"], np.asfortranarray(held["x"])):
        np.savez(path, **held | {"x": x}, comment=np.arange(3))
        np.testing.assert_array_equal(load_npz(path).x, held["x"])


@pytest.mark.parametrize(
    "change, pattern",
    [
        ({"factors": [[0.2], [0.9], [1.7], [2.2]]}, "'factors' is float64, expected level indices"),
        (
            {"factors": [[0], [2**32], [0], [1]]},
            "'factors' has 4294967296, expected whole numbers in the range of int32",
        ),
        ({"factors": [[0], [1], [0]]}, r"mine.npz: 'factors' has shape \(3, 1\), expected \(4, 1\)"),
        ({"factor_values": np.full((4, 1), np.inf)}, "'factor_values' has values that are not finite"),
        ({"x": np.full((4, 16), 1000, np.int16)}, "'x' is int16, expected floating-point .* divide 16-bit PCM"),
        ({"x": np.full((4, 16), 1000.0)}, "'x' reaches 1000 in row 0, .* divide 16-bit PCM by 32768"),
        ({"x": np.full((4, 16), np.nan)}, "'x' reaches nan in row 0, expected finite samples"),
        ({"x": np.ma.masked_less(np.zeros((4, 16)) + 0.5, 1)}, "'x' has masked values"),
        ({"factors": np.ma.array([[0], [1], [0], [1]], mask=[[1], [0], [0], [0]])}, "'factors' has masked values"),
        ({"sample_rate": 22050.5}, "'sample_rate' has 22050.5, expected whole numbers in the range of int64"),
        ({"sample_rate": np.nan}, "'sample_rate' has nan, expected whole numbers"),
        ({"sample_rate": 1e30}, r"'sample_rate' has 1e\+30, expected whole numbers"),
        ({"sample_rate": "22050"}, "'sample_rate' is <U5, expected numbers"),
        ({"y": [0, 1, 0.5, 1], "classes": ["a", "b"]}, "'y' has 0.5, expected whole numbers in the range of int64"),
        ({"y": np.array([0, 1, 0, 2**64 - 1], np.uint64), "classes": ["a", "b"]}, "'y' has 18446744073709551615"),
        ({"y": [0, 1, 0, 1], "classes": ["a", "a"]}, "'classes' has a name twice"),
        ({"factor_values": [[0j], [1j], [0j], [1j]]}, "'factor_values' is complex128, expected numbers"),
        ({"factor_values": [["0"], ["1"], ["0"], ["1"]]}, "'factor_values' is <U1, expected numbers"),
        ({"factor_values": [[0], [1, 2], [0], [1]]}, "'factor_values' cannot be made an array"),
        ({"freqs": np.ma.array([1.0, 2, 3, 4], mask=[0, 0, 1, 0])}, "'freqs' has masked values"),
        ({"recipe": {"at": {1, 2}}}, "'recipe' cannot be written as JSON .*set.*; use dicts, lists"),
        ({"recipe": {"gain": np.float32(1)}}, "'recipe' cannot be written as JSON .*float32"),
        ({"recipe": {"gain": float("nan")}}, "'recipe' cannot be written as JSON"),
    ],
)
def test_arrays_that_do_not_fit_are_not_written(tmp_path, change, pattern):
    with pytest.raises(InputError, match=pattern):
        save_npz(tmp_path / "mine.npz", **valid_arrays() | change)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "names, pattern",
    [
        (["all", "b"], "the factor name 'all' is reserved for the overall score"),
        (["", "b"], "the factor name '' is empty"),
        ([" ", "b"], "the factor name '' is empty"),
        (["a", "a"], "two factors are called 'a'"),
        (["a", "a "], "two factors are called 'a'"),
        (["\u00e9", "e\u0301"], "two factors are called 'é'"),
        (["a\nb", "b"], r"the factor name 'a\\nb' is empty or has invisible characters"),
        (["a\x1b[31m", "b"], r"the factor name 'a\\x1b\[31m' is empty or has invisible"),
        (["a\u200b", "b"], r"the factor name 'a\\u200b' is empty or has invisible"),
    ],
)
def test_factor_names_that_break_a_table_are_refused(tmp_path, names, pattern):
    path, arrays = tmp_path / "mine.npz", valid_arrays()
    two = arrays | {key: np.repeat(arrays[key], 2, axis=1) for key in ("factors", "factor_values")}
    two |= {"factor_names": names, "factor_kinds": ["ordered"] * 2}
    with pytest.raises(InputError, match=f"mine.npz: {pattern}"):
        save_npz(path, **two)
    assert not path.exists()
    save_npz(path, **two | {"factor_names": ["a", "b"]})
    with np.load(path) as data:
        held = dict(data)
    np.savez(path, **held | {"factor_names": names})
    with pytest.raises(InputError, match=f"mine.npz: {pattern}"):
        load_npz(path)


def test_loud_noise_is_written():
    """Levelled to an RMS of 1, with noise as loud as the tone: far above full scale, and legitimate."""
    noise = np.random.default_rng(0).normal(size=(10, 100_000)).astype(np.float32)
    assert np.abs(noise).max() > 4 and first_beyond(np.sqrt(2) + noise, LARGEST_SAVED) is None


# ---- reading ----


class Bomb:
    """Unpickling this writes a file."""

    def __reduce__(self):
        return open, ("marker", "w")


def bombs(_) -> np.ndarray:
    array = np.empty(2, dtype=object)
    array[:] = [Bomb(), Bomb()]
    return array


def sample(row: int, value: float):
    def change(x: np.ndarray) -> np.ndarray:
        x[row, -1] = value
        return x

    return change


@pytest.fixture
def held(dataset_path, tmp_path, monkeypatch) -> dict[str, np.ndarray]:
    """The arrays of a good file of 72 tones, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    with np.load(dataset_path) as data:
        return dict(data)


@pytest.mark.parametrize(
    "key, change, pattern",
    [
        ("recipe", None, "'recipe' missing"),
        ("x", lambda x: x.astype(np.float64), "'x' is float64 with 2 dimensions, expected float32 with 2"),
        ("x", lambda x: x.astype(">f4"), "'x' is >f4"),
        ("x", lambda x: x[0], "'x' is float32 with 1 dimensions"),
        ("x", lambda x: x[:-1], r"'factors' has shape \(72, 3\), expected \(71, 3\)"),
        ("x", lambda x: x[:0], r"'x' has shape \(0, 4000\)"),
        ("x", sample(15, np.nan), "'x' has a sample in row 15 that is not finite"),
        ("x", sample(3, -1e30), "'x' has a sample in row 3 that is not finite or beyond"),
        ("factors", lambda f: f.astype(float), "'factors' is float64"),
        ("factors", lambda f: f - 1, "'factors' has values that are not level indices"),
        ("factor_values", lambda v: v + np.nan, "'factor_values' has values that are not finite"),
        ("factor_values", lambda v: v + 4, "the class of a sound is not an index of the 4 'classes'"),
        ("y", lambda y: y - 1, "the class of a sound is not an index of the 4"),
        ("factor_names", lambda n: n.astype("S"), "'factor_names' is "),
        ("factor_kinds", lambda k: np.array(["nominal", "ordered", "cardinal"]), "'factor_kinds' has 'cardinal'"),
        ("factor_kinds", lambda k: k[:1], r"'factor_kinds' has shape \(1,\), expected \(3,\)"),
        ("sample_rate", lambda r: np.array(0), "'sample_rate' is 0 Hz"),
        ("recipe", lambda r: np.array("no json"), "'recipe' is not a JSON object"),
        ("recipe", lambda r: np.array("[1]"), "'recipe' is not a JSON object"),
        ("recipe", lambda r: np.array('{"format_version": 99}'), "format version 99, this program reads 1"),
        ("x", bombs, "cannot be read as a dataset .*'x.npy' holds pickled objects"),
        ("factors", bombs, "cannot be read as a dataset .*'factors.npy' holds pickled objects"),
    ],
)
def test_changed_member_is_refused(held, key, change, pattern):
    held[key] = change(held[key]) if change else None
    np.savez("bad.npz", **{name: array for name, array in held.items() if array is not None})
    with pytest.raises(InputError, match=f"^bad.npz: {pattern}.*; re-create"):
        load_npz("bad.npz")
    assert not Path("marker").exists()


def flipped(content: bytes, needle: bytes, *, by: int, last: bool = False) -> bytes:
    """One bit changed, `by` bytes after the first or last place of `needle`."""
    damaged = bytearray(content)
    damaged[(content.rfind if last else content.find)(needle) + by] ^= 1
    return bytes(damaged)


def with_x(content: bytes, x: bytes, *, compression: int = zipfile.ZIP_STORED) -> bytes:
    """The file with another member `x`, checksums in order."""
    buffer = BytesIO()
    with zipfile.ZipFile(BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(name, x if name == "x.npy" else old.read(name), compression if name == "x.npy" else None)
    return buffer.getvalue()


def header(text: str) -> bytes:
    """The start of a .npy file with that text as its description."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + text.encode().ljust(117) + b"\n"


DAMAGES = {
    "empty": (lambda good: b"", "not a zip file"),
    "text": (lambda good: b"not tones", "not a zip file"),
    "a pickle": (lambda good: pickle.dumps(Bomb()), "not a zip file"),
    "a pickle as x": (lambda good: with_x(good, pickle.dumps(Bomb())), "magic"),
    "truncated": (lambda good: good[: len(good) // 2], "not a zip file"),
    "one byte short": (lambda good: good[:-1], ""),
    "a bit of a sample": (lambda good: flipped(good, b"x.npy", by=100_000), "checksum of 'x.npy' is wrong"),
    "a bit of a level": (lambda good: flipped(good, b"factors.npy", by=300), "checksum of 'factors.npy' is wrong"),
    "a bit of a name": (lambda good: flipped(good, b"amps.npy", by=0), "checksum of .amps.npy. is wrong"),
    "a bit of an offset": (lambda good: flipped(good, b"PK\x01\x02", by=42, last=True), ""),
    "zip bomb": (lambda good: with_x(good, bytes(10**7), compression=zipfile.ZIP_DEFLATED), "'x.npy' is compressed"),
    "nested header": (lambda good: with_x(good, header("(" * 110)), ""),
    "code in a header": (lambda good: with_x(good, header("open('marker', 'w')")), ""),
    "petabytes announced": (
        lambda good: with_x(good, header("{'descr': '<f4', 'fortran_order': False, 'shape': (10**9, 10**6)}")),
        "",
    ),
    "longer than its member": (
        lambda good: with_x(good, header("{'descr': '<f4', 'fortran_order': False, 'shape': (4, 4), }") + bytes(60)),
        "does not have the size of shape",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_file_is_refused(dataset_path, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    damage, pattern = DAMAGES[name]
    Path("bad.npz").write_bytes(damage(dataset_path.read_bytes()))
    with pytest.raises(
        InputError, match=rf"^bad.npz: cannot be read as a dataset \(.*{pattern}.*\); re-create"
    ) as found:
        load_npz("bad.npz")
    assert "\n" not in str(found.value) and not Path("marker").exists()


@pytest.mark.parametrize("fault", [MemoryError(), OSError(errno.ENOMEM, "no memory"), AttributeError("a defect")])
def test_a_fault_of_the_machine_or_of_ours_is_not_taken_for_damage(dataset_path, monkeypatch, fault):
    def fail(*_):
        raise fault

    monkeypatch.setattr(file.npy, "read_magic", fail)
    with pytest.raises(type(fault)):
        load_npz(dataset_path)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="none.npz: no such file"):
        load_npz(tmp_path / "none.npz")
