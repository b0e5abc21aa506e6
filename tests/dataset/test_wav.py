"""WAV files: samples of every coding, headers of streams, and that the rest is refused in one line."""

import struct

import numpy as np
import pytest
from scipy.io import wavfile

from syntone.dataset.wav import read_wav
from syntone.errors import InputError

RATE = 8000
INT16 = np.array([0, 1000, -2000, 32767, -32768], np.int16)
BYTES = INT16.astype("<i2").tobytes()
INT24 = b"".join((int(sample) * 256).to_bytes(3, "little", signed=True) for sample in INT16)
UNKNOWN = 2**32 - 1


def chunk(name: bytes, contents: bytes, *, size: int | None = None, order: str = "<") -> bytes:
    return name + struct.pack(f"{order}I", len(contents) if size is None else size) + contents


def form(*, coding: int = 1, channels: int = 1, rate: int = RATE, width: int = 2, bits: int | None = None, order="<"):
    frame = channels * width
    fields = (coding, channels, rate, rate * frame % 2**32, frame, 8 * width if bits is None else bits)
    extension = b""
    if coding == 0xFFFE:
        extension = struct.pack("<HHIH", 22, 8 * width, 4, 1) + bytes.fromhex("000000001000800000aa00389b71")
    return chunk(b"fmt ", struct.pack(f"{order}HHIIHH", *fields) + extension, order=order)


def riff(*chunks: bytes, size: int | None = None, name: bytes = b"RIFF", order: str = "<") -> bytes:
    return chunk(name, b"WAVE" + b"".join(chunks), size=size, order=order)


DATA = chunk(b"data", BYTES)
DS64 = chunk(b"ds64", struct.pack("<QQQI", 4 + 36 + 24 + 18, len(BYTES), 5, 0))
RF64 = riff(DS64, form(), chunk(b"data", BYTES, size=UNKNOWN), size=UNKNOWN, name=b"RF64")
EXTENSIBLE = riff(form(coding=0xFFFE), DATA)
STEREO24 = riff(form(channels=2, width=3), chunk(b"data", b"".join(INT24[i : i + 3] * 2 for i in range(0, 15, 3))))


@pytest.mark.parametrize(
    "dtype, samples, expected",
    [
        (np.uint8, [128, 0, 255], [0, -1, 127 / 128]),
        (np.int16, [0, -(2**15), 2**14], [0, -1, 0.5]),
        (np.int32, [0, -(2**31), 2**30], [0, -1, 0.5]),
        (np.int64, [0, -(2**63), 2**62], [0, -1, 0.5]),
        (np.float32, [0, -1, 1.5], [0, -1, 1.5]),
        (np.float64, [0, -16, 0.25], [0, -16, 0.25]),
        (np.float32, [[0.5, -0.25], [0, 0], [1, 2]], [0.125, 0, 1.5]),
        (np.int16, [[-(2**15), 2**14]], [-0.25]),
    ],
)
def test_samples_are_scaled_to_full_scale_and_channels_averaged(tmp_path, dtype, samples, expected):
    wavfile.write(tmp_path / "a.wav", RATE, np.array(samples, dtype))
    rate, wave = read_wav(tmp_path / "a.wav")
    assert rate == RATE and wave.dtype == np.float32
    np.testing.assert_array_equal(wave, expected)  # powers of two: exact


@pytest.mark.parametrize(
    "contents",
    [
        pytest.param(riff(form(width=3), chunk(b"data", INT24)), id="24 bits"),
        pytest.param(STEREO24, id="24 bits, two channels"),
        pytest.param(riff(form(bits=12), DATA), id="12 of 16 bits"),
        pytest.param(EXTENSIBLE, id="extensible"),
        pytest.param(
            riff(form(order=">"), chunk(b"data", INT16.astype(">i2").tobytes(), order=">"), name=b"RIFX", order=">"),
            id="big-endian",
        ),
        pytest.param(RF64, id="RF64"),
        pytest.param(riff(form(), chunk(b"data", BYTES, size=UNKNOWN), size=UNKNOWN), id="ffmpeg to a pipe"),
        pytest.param(riff(form(), chunk(b"data", BYTES, size=0x7FFFF000), size=0x7FFFF024), id="SoX to a pipe"),
        pytest.param(riff(form(), chunk(b"data", BYTES, size=2**31), size=2**31 + 36), id="arecord to a pipe"),
        pytest.param(riff(chunk(b"bext", b"even"), form(), DATA, chunk(b"id3 ", b"even"), b"ID3"), id="other chunks"),
    ],
)
def test_every_header_ends_in_the_same_samples(tmp_path, contents, recwarn):
    (tmp_path / "a.wav").write_bytes(contents)
    rate, wave = read_wav(tmp_path / "a.wav")
    assert rate == RATE and not recwarn.list
    np.testing.assert_array_equal(wave, INT16 / np.float32(2**15))


UNREADABLE = (
    "not a readable WAV file .*: it is cut off, damaged or of another coding; convert it to PCM or float WAV, or"
)


@pytest.mark.parametrize(
    "contents, found, pattern",
    [
        (b"", "File format b'' not understood", UNREADABLE),
        (b"ID3\x04" + bytes(200), "File format b'ID3", UNREADABLE),
        (riff(form(), DATA, name=b"BW64"), "File format b'BW64' not understood", UNREADABLE),
        (b"RIFF\x24\0\0\0AVI " + bytes(50), "form type is b'AVI '", UNREADABLE),
        (riff(form()), "its header declares no samples", UNREADABLE),
        (riff(form())[:30], "unpack requires a buffer", UNREADABLE),
        (riff(DATA, form()), "No fmt chunk before data", UNREADABLE),
        (riff(form(), DATA, size=0), "its header declares no samples", UNREADABLE),  # of an unfinished recording
        (riff(form(coding=6, width=1), DATA), "Unknown wave file format: ALAW", UNREADABLE),
        (riff(form(coding=0x55, width=1, bits=0), DATA), "Unknown wave file format: MPEGLAYER3", UNREADABLE),
        (riff(form(coding=3), DATA), "16-bit floating-point data", UNREADABLE),
        (riff(form(rate=2**31), DATA), "nSamplesPerSec = 2147483648", UNREADABLE),
        (riff(form(channels=0), DATA), "division or modulo by zero", UNREADABLE),
        (riff(form(width=9, bits=16), DATA), "'<i9' not understood", UNREADABLE),
        (STEREO24[:-1], "cannot reshape array", UNREADABLE),
        (riff(form(), DATA)[:-4], "50 bytes, expected 54", r"is cut off \(.*\); replace it or leave it out"),
        (RF64[:-4], "86 bytes, expected 90", r"is cut off \(.*\); replace it or leave it out"),
        (riff(form(), chunk(b"data", b"")), "", "has no samples; leave it out"),
        (riff(form(rate=0), DATA), "", "its sample rate is 0 Hz, expected 1 or more, below 2.31; correct"),
        (
            riff(form(coding=3, rate=2**31, width=4), chunk(b"data", bytes(8))),
            "",
            "its sample rate is 2147483648 Hz, expected 1 or more",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "file",
)
def test_what_holds_no_samples_is_refused_by_name(tmp_path, contents, found, pattern):
    (tmp_path / "a.wav").write_bytes(contents)
    with pytest.raises(InputError, match=f"a.wav: {pattern}") as refusal:
        read_wav(tmp_path / "a.wav")
    assert found in str(refusal.value)


def test_a_folder_is_not_a_recording(tmp_path):
    (tmp_path / "a.wav").mkdir()
    with pytest.raises(InputError, match="a.wav: no such file"):
        read_wav(tmp_path / "a.wav")


def test_samples_beyond_16_or_not_finite_are_refused(tmp_path):
    for largest in (16.5, -16.5, 16383.5, np.nan, np.inf, 1e300):
        for samples in ([0, largest], [[0, 0], [largest, -largest]]):  # also where the channels' mean is 0
            wavfile.write(tmp_path / "a.wav", RATE, np.array(samples, np.float64))
            with pytest.raises(InputError, match="a.wav: its samples reach .* none beyond 16; divide .* by 32768"):
                read_wav(tmp_path / "a.wav")


def test_a_shortened_file_is_refused_and_a_changed_one_ends_in_samples_or_in_one_line(tmp_path):
    path, outcomes, rng = tmp_path / "a.wav", set(), np.random.default_rng(0)
    for good in (EXTENSIBLE, STEREO24, RF64):
        changed = [bytearray(good) for _ in range(100)]
        for contents in changed:
            for place in rng.integers(0, len(good) - len(BYTES), size=rng.integers(1, 4)):
                contents[place] = rng.choice([0, 1, 2, 255, rng.integers(256)])
        for contents in [good[:n] for n in range(len(good))] + changed:
            path.write_bytes(contents)
            try:
                outcomes.add((len(contents) < len(good), read_wav(path)[1].dtype.name))
            except InputError as refusal:
                assert str(refusal).startswith(f"{path}: ") and "\n" not in str(refusal)
                outcomes.add((len(contents) < len(good), "refused"))
    assert outcomes == {(True, "refused"), (False, "refused"), (False, "float32")}
