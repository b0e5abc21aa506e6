"""The catalogue of bad inputs: dataset files that are damaged, made up, or of another program."""

import gzip
import json
import pickle
import struct
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from catalogue import GOOD, check_refused, in_process

from syntone.dataset.archive import MAX_MEMBERS
from syntone.dataset.file import save_npz
from syntone.errors import InputError

NAME = "bad.npz"
TRUNCATED = (0.001, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999, 0.99999)


class Bomb:
    """Unpickling this writes a file."""

    def __reduce__(self):
        return open, ("marker", "w")


def objects(value: object) -> np.ndarray:
    """An array that only pickle can store."""
    array = np.empty(16, dtype=object)
    array[:] = [value] * 16
    return array


# ---- members that are changed: a function of the member, or None to leave it out ----


def recipe(**more):
    return lambda old: np.array(json.dumps(json.loads(str(old)) | more))


def spoilt(row: int, value: float):
    def change(old: np.ndarray) -> np.ndarray:
        new = old.copy()
        new.reshape(len(new), -1)[row, -1] = value
        return new

    return change


CHANGED = [
    *[
        ({key: None}, f"bad.npz: '{key}' missing")
        for key in ("x", "factors", "factor_values", "factor_names", "factor_kinds", "sample_rate", "recipe")
    ],
    ({"x": lambda x: x.astype(np.float64)}, "bad.npz: 'x' is float64, expected float32"),
    ({"x": lambda x: (32767 * x).astype(np.int16)}, "bad.npz: 'x' is int16 with 2 dimensions, expected floating"),
    ({"x": lambda x: x.astype(np.complex64)}, "bad.npz: 'x' is complex64"),
    ({"x": lambda x: x.astype(">f4")}, "bad.npz: 'x' is >f4, expected float32"),
    ({"x": lambda x: x[0]}, "bad.npz: 'x' is float32 with 1 dimensions, expected floating with 2"),
    ({"x": lambda x: x[:, :, None]}, "bad.npz: 'x' is float32 with 3 dimensions"),
    ({"x": lambda x: x[:-1]}, r"bad.npz: 'factors' has shape \(16, 3\), expected \(15, 3\)"),
    ({"x": lambda x: x[:0]}, r"bad.npz: 'x' has shape \(0, 2000\)"),
    ({"x": lambda x: x[:1]}, r"bad.npz: 'x' has shape \(1, 2000\)"),
    ({"x": lambda x: x[:, :0]}, r"bad.npz: 'x' has shape \(16, 0\)"),
    ({"x": spoilt(15, np.nan)}, "bad.npz: 'x' has a sample in tone 15 that is not finite"),
    ({"x": spoilt(7, np.inf)}, "bad.npz: 'x' has a sample in tone 7 that is not finite"),
    ({"x": spoilt(0, -np.inf)}, "bad.npz: 'x' has a sample in tone 0 that is not finite"),
    ({"x": spoilt(3, -1e30)}, "bad.npz: 'x' has a sample in tone 3 that is not finite or beyond"),
    ({"factors": lambda f: f.astype(float)}, "bad.npz: 'factors' is float64"),
    ({"factors": lambda f: f[:, :2]}, r"bad.npz: 'factors' has shape \(16, 2\), expected \(16, 3\)"),
    ({"factors": lambda f: f.T}, r"bad.npz: 'factors' has shape \(3, 16\)"),
    ({"factors": spoilt(2, -1)}, "bad.npz: 'factors' has values that are no level indices"),
    ({"factors": lambda f: f.astype(np.int64) + 2**31}, "bad.npz: 'factors' has values that are no level indices"),
    ({"factor_values": lambda v: v.astype(int)}, "bad.npz: 'factor_values' is int64"),
    ({"factor_values": spoilt(4, np.nan)}, "bad.npz: 'factor_values' has values that are not finite"),
    ({"factor_values": lambda v: v + 4}, "bad.npz: a tone's class is none of the 4 in 'classes'"),
    ({"factor_names": lambda n: n[:2]}, r"bad.npz: 'factors' has shape \(16, 3\), expected \(16, 2\)"),
    ({"factor_names": lambda n: n.astype("S")}, "bad.npz: 'factor_names' is "),
    (
        {"factor_kinds": lambda k: np.array(["nominal", "ordered", "cardinal"])},
        "bad.npz: 'factor_kinds' has 'cardinal'",
    ),
    ({"factor_kinds": lambda k: k[:1]}, r"bad.npz: 'factor_kinds' has shape \(1,\), expected \(3,\)"),
    ({"sample_rate": lambda r: np.array(0)}, "bad.npz: 'sample_rate' is 0 Hz"),
    ({"sample_rate": lambda r: np.array(-8000)}, "bad.npz: 'sample_rate' is -8000 Hz"),
    ({"sample_rate": lambda r: np.array(2**62)}, f"bad.npz: 'sample_rate' is {2**62} Hz"),
    ({"sample_rate": lambda r: np.array(8000.0)}, "bad.npz: 'sample_rate' is float64"),
    ({"sample_rate": lambda r: np.array([8000])}, "bad.npz: 'sample_rate' is int64 with 1 dimensions"),
    ({"y": lambda y: y[:-1]}, r"bad.npz: 'y' has shape \(15,\)"),
    ({"y": lambda y: y + 1}, "bad.npz: a tone's class is none of the 4"),
    ({"y": lambda y: y - 1}, "bad.npz: a tone's class is none of the 4"),
    ({"classes": lambda c: c[:2]}, "bad.npz: a tone's class is none of the 2"),
    ({"freqs": spoilt(5, np.inf)}, "bad.npz: 'freqs' has values that are not finite"),
    ({"amps": lambda a: a[:, None]}, "bad.npz: 'amps' is float64 with 2 dimensions"),
    ({"recipe": lambda r: np.array("no json")}, "bad.npz: 'recipe' is not a JSON object"),
    ({"recipe": lambda r: np.array("[1]")}, "bad.npz: 'recipe' is not a JSON object"),
    ({"recipe": lambda r: np.array("[" * 100_000)}, "bad.npz: 'recipe' is not a JSON object"),
    ({"recipe": lambda r: np.array("\ud800")}, "bad.npz: '.*' has letters that there are not"),
    (
        {"factor_names": lambda n: np.frombuffer(struct.pack("<3I", 0x110000, 0x61, 0x62), "<U1")},
        "bad.npz: '.*' has letters that there are not",
    ),
    ({"recipe": recipe(format_version=0)}, "bad.npz: format version 0, this program reads 1"),
    ({"recipe": recipe(format_version=2)}, "bad.npz: format version 2, this program reads 1"),
    ({"recipe": recipe(format_version="1")}, "bad.npz: format version 1, this program reads 1"),
    ({"recipe": recipe(format_version=True)}, "bad.npz: format version True, this program reads 1"),
    *[
        ({key: lambda old: objects(Bomb())}, f"bad.npz: '{key}' holds pickled objects, which are never opened")
        for key in ("x", "factors", "recipe", "classes")
    ],
]


@pytest.mark.catalogue
@pytest.mark.parametrize("change, pattern", CHANGED)
def test_changed_member_is_refused(world, capfd, change, pattern):
    with np.load("tones.npz") as data:
        held = dict(data)
    for key, make in change.items():
        held[key] = make(held[key]) if make else None
    np.savez(NAME, **{key: array for key, array in held.items() if array is not None})
    check_dataset_refused(pattern, capfd)


def check_dataset_refused(pattern: str, capfd) -> None:
    """trainvae.py refuses it as a dataset; the whole of it is checked before anything is computed."""
    argv = [*GOOD["trainvae.py"].split(), "--dataset", NAME]
    check_refused(lambda: in_process("trainvae.py", argv, capfd), script="trainvae.py", pattern=pattern)
    assert not Path("marker").exists()


# ---- whole files ----


def header(text: str) -> bytes:
    """The start of a .npy file with that text as its description."""
    content = text.encode("latin1").ljust(118 - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(content)) + content


def with_member(name: str, content: bytes, *, compression: int = zipfile.ZIP_STORED) -> bytes:
    """The good dataset with one member replaced, checksums in order."""
    buffer = BytesIO()
    with zipfile.ZipFile("tones.npz") as old, zipfile.ZipFile(buffer, "w") as new:
        for key in old.namelist():
            new.writestr(
                key,
                content if key == name else old.read(key),
                compress_type=compression if key == name else zipfile.ZIP_STORED,
            )
    return buffer.getvalue()


def member(name: str) -> bytes:
    with zipfile.ZipFile("tones.npz") as archive:
        return archive.read(name)


def flipped(needle: bytes, *, by: int, last: bool = False) -> bytes:
    """The good dataset with one bit changed, `by` bytes after the first or last place of `needle`."""
    content = bytearray(Path("tones.npz").read_bytes())
    content[(content.rfind if last else content.find)(needle) + by] ^= 1
    return bytes(content)


def stating(name: str, n_bytes: int, content: bytes) -> bytes:
    """The good dataset with one member replaced, of which the directory states another length."""
    whole = bytearray(with_member(name, content))
    entry = whole.rfind(b"PK\x01\x02", 0, whole.rfind(name.encode()))
    whole[entry + 20 : entry + 28] = struct.pack("<II", n_bytes, n_bytes)
    return bytes(whole)


def overlapping() -> bytes:
    """Each of a hundred members holds all that follow it: an archive of 4 MB that takes as long to check as 200 MB."""
    names = [f"{number:02}" for number in range(100)]
    local = [b"PK\x03\x04" + bytes(22) + struct.pack("<HH", 2, 0) + name.encode() for name in names]
    body = b"".join(local) + bytes(4_000_000)
    starts = [32 * number for number in range(100)]
    directory = b""
    for name, start in zip(names, starts):
        content = body[start + 32 :]
        directory += (
            b"PK\x01\x02"
            + bytes(12)
            + struct.pack("<III", zlib.crc32(content), len(content), len(content))
            + struct.pack("<HHHHHI", 2, 0, 0, 0, 0, 0)
            + struct.pack("<I", start)
            + name.encode()
        )
    return body + directory + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 100, 100, len(directory), len(body), 0)


def terminal_codes() -> bytes:
    """A member whose name would clear the screen and begin a line of its own, were it printed."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("\x1b[2J\ncreate.py: all is well", b"")
    return buffer.getvalue()


def many_members() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(MAX_MEMBERS + 1):
            archive.writestr(str(number), b"")
    return buffer.getvalue()


def twice_one_name() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile("tones.npz") as old, zipfile.ZipFile(buffer, "w") as new:
        for key in [*old.namelist(), "x.npy"]:
            with pytest.warns(UserWarning) if key in new.namelist() else nothing():
                new.writestr(key, old.read(key))
    return buffer.getvalue()


class nothing:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


NOT_WHOLE = "bad.npz: not a whole .npz file"
FILES = {
    "empty": (lambda: b"", NOT_WHOLE),
    "text": (lambda: b"these are no tones", NOT_WHOLE),
    "gzip": (lambda: gzip.compress(b"these are no tones"), NOT_WHOLE),
    "npy": (lambda: header("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }") + bytes(4), NOT_WHOLE),
    "a pickle": (lambda: pickle.dumps(Bomb()), NOT_WHOLE),
    "a pickle in a zip's member": (
        lambda: with_member("x.npy", pickle.dumps(Bomb())),
        f"{NOT_WHOLE} .*'x' is no array",
    ),
    "zip without members": (lambda: b"PK\x05\x06" + bytes(18), "bad.npz: 'x', .* missing"),
    "a bit of a sample": (lambda: flipped(b"x.npy", by=100_000), f"{NOT_WHOLE} .*checksum of 'x.npy' is wrong"),
    "a bit of a level": (lambda: flipped(b"factors.npy", by=300), f"{NOT_WHOLE} .*checksum of 'factors.npy' is wrong"),
    "a bit of a name": (lambda: flipped(b"amps.npy", by=0), f"{NOT_WHOLE} .*another name in the directory"),
    "a bit of a name in the directory": (lambda: flipped(b"amps.npy", by=0, last=True), f"{NOT_WHOLE} .*another name"),
    "a bit of an offset": (
        lambda: flipped(b"PK\x01\x02", by=42, last=True),
        f"{NOT_WHOLE} .*not where the directory says",
    ),
    "two of one name": (twice_one_name, f"{NOT_WHOLE} .*two members have one name"),
    "compressed": (
        lambda: with_member("x.npy", member("x.npy"), compression=zipfile.ZIP_DEFLATED),
        "bad.npz: 'x.npy' is compressed, so it could unpack to any size",
    ),
    "zip bomb": (
        lambda: with_member("x.npy", bytes(50_000_000), compression=zipfile.ZIP_DEFLATED),
        "bad.npz: 'x.npy' is compressed, so it could unpack to any size",
    ),
    "zip bomb beside the data": (
        lambda: with_member("amps.npy", bytes(50_000_000), compression=zipfile.ZIP_BZIP2),
        "bad.npz: 'amps.npy' is compressed",
    ),
    "terminal codes in a name": (terminal_codes, r"bad.npz: '\\x1b\[2J create.py: all is well' is compressed"),
    "many members": (many_members, f"{NOT_WHOLE} .*20,001 members"),
    "members in members": (overlapping, f"{NOT_WHOLE} .*its members overlap"),
    "longer than the file": (
        lambda: stating(
            "x.npy",
            128 + 64_000_000,
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (16, 1000000), }") + bytes(64),
        ),
        f"{NOT_WHOLE} .*'x.npy' should hold 64000128 bytes and does not",
    ),
    "petabytes announced": (
        lambda: with_member(
            "x.npy", header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000), }") + bytes(64)
        ),
        f"{NOT_WHOLE} .*'x' of shape .* does not fill its place",
    ),
    "negative shape": (
        lambda: with_member(
            "x.npy", header("{'descr': '<f4', 'fortran_order': False, 'shape': (-4, -4), }") + bytes(64)
        ),
        f"{NOT_WHOLE} .*does not fill its place",
    ),
    "nested header": (lambda: with_member("x.npy", header("(" * 110)), f"{NOT_WHOLE} .*'x' is no array"),
    "code in a header": (lambda: with_member("x.npy", header("open('marker', 'w')")), f"{NOT_WHOLE} .*'x' is no array"),
    "unknown type": (
        lambda: with_member("x.npy", header("{'descr': 'z9', 'fortran_order': False, 'shape': (2, 2), }")),
        f"{NOT_WHOLE} .*'x' is no array",
    ),
    "header of a later version": (lambda: with_member("x.npy", b"\x93NUMPY\x09\x00" + bytes(64)), f"{NOT_WHOLE} .*'x'"),
}


@pytest.mark.catalogue
@pytest.mark.parametrize("name", FILES)
def test_made_up_file_is_refused(world, capfd, name):
    make, pattern = FILES[name]
    Path(NAME).write_bytes(make())
    check_dataset_refused(pattern, capfd)


@pytest.mark.catalogue
@pytest.mark.parametrize("share", TRUNCATED)
def test_truncated_file_is_refused(world, capfd, share):
    whole = Path("tones.npz").read_bytes()
    Path(NAME).write_bytes(whole[: int(share * len(whole))])
    check_dataset_refused(NOT_WHOLE, capfd)


@pytest.mark.catalogue
@pytest.mark.parametrize("name", ["a bit of a sample", "text", "a pickle"])
def test_create_does_not_take_a_damaged_file_for_its_own(world, capfd, name):
    """The same options, so that a whole file would be left alone with exit status 0."""
    content = FILES[name][0]()
    Path("tones.npz").unlink()
    Path("tones.npz").write_bytes(content)
    argv = [*GOOD["create.py"].split(), "--file_path", "tones.npz"]
    check_refused(
        lambda: in_process("create.py", argv, capfd),
        script="create.py",
        pattern="--file_path: tones.npz exists and is no whole dataset; give --overwrite",
    )


@pytest.mark.catalogue
def test_features_larger_than_memory_are_refused_before_it_is_taken(world, capfd, monkeypatch):
    monkeypatch.setattr("syntone.features.front_end.memory_bytes", lambda device: 30_000)
    check_refused(
        lambda: in_process("trainvae.py", GOOD["trainvae.py"].split(), capfd),
        script="trainvae.py",
        status=1,
        pattern="the features of 16 tones would take 32,768 bytes, and cpu has 30,000",
    )


@pytest.mark.catalogue
@pytest.mark.parametrize(
    "change, pattern",
    [
        (
            {"x": np.full((4, 16), 1000, np.int16)},
            r"'x' is int16, expected floating-point .* divide 16-bit PCM by 32768",
        ),
        ({"x": np.full((4, 16), 1000.0)}, r"'x' reaches 1000 in tone 0, .* divide 16-bit PCM by 32768"),
        ({"x": np.full((4, 16), np.nan)}, "'x' has samples that are not finite, in tone 0"),
        ({"x": np.zeros((4, 16), complex)}, "'x' is complex128"),
        ({"factors": np.zeros((4, 1))}, "'factors' is float64, expected level indices"),
        ({"factor_values": np.full((4, 1), np.inf)}, ".*'factor_values' has values that are not finite"),
    ],
)
def test_saving_refuses_what_would_not_be_read(tmp_path, change, pattern):
    good = {
        "x": np.zeros((4, 16)),
        "factors": np.arange(4)[:, None],
        "factor_values": np.zeros((4, 1)),
        "factor_names": ["depth"],
        "factor_kinds": ["ordered"],
        "sample_rate": 8000,
        "recipe": {},
    }
    save_npz(tmp_path / "good.npz", **good)
    with pytest.raises(InputError, match=pattern):
        save_npz(tmp_path / NAME, **good | change)
    assert [path.name for path in tmp_path.iterdir()] == ["good.npz"]


def test_saving_takes_loud_noise():
    """Levelled to an RMS of 1, with noise as loud as the tone: far above full scale, and legitimate."""
    from syntone.dataset.file import LARGEST_SAVED, first_tone_beyond

    noise = np.random.default_rng(0).normal(size=(10, 100_000)).astype(np.float32)
    assert np.abs(noise).max() > 4 and first_tone_beyond(np.sqrt(2) + noise, LARGEST_SAVED) is None
