"""WAV files: samples of every coding, damaged headers, and that the rest is refused in one line."""

import struct

import numpy as np
import pytest
from scipy.io import wavfile

from syntone.dataset.wav import read_wav
from syntone.errors import InputError

RATE = 8000
INT16 = np.array([0, 1000, -2000, 32767, -32768], np.int16)
BYTES = INT16.astype("<i2").tobytes()
WAVE = INT16 / np.float32(2**15)


def chunk(name: bytes, contents: bytes, *, size: int | None = None, order: str = "<") -> bytes:
    return name + struct.pack(f"{order}I", len(contents) if size is None else size) + contents


def form(*, coding: int = 1, channels: int = 1, rate: int = RATE, width: int = 2, bits: int | None = None, order="<"):
    frame = channels * width
    bits = 8 * width if bits is None else bits
    fields = (coding, channels, rate, rate * frame % 2**32, frame, bits)
    return chunk(b"fmt ", struct.pack(f"{order}HHIIHH", *fields), order=order)


def riff(*chunks: bytes, size: int | None = None, name: bytes = b"RIFF", order: str = "<") -> bytes:
    contents = b"WAVE" + b"".join(chunks)
    return chunk(name, contents, size=size, order=order)


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
    for dtype, lowest in ((np.uint8, 0), (np.int16, -(2**15)), (np.int32, -(2**31)), (np.int64, -(2**63))):
        wavfile.write(tmp_path / "a.wav", RATE, np.array([lowest, lowest], dtype=dtype))
        assert read_wav(tmp_path / "a.wav")[1].tolist() == [-1.0, -1.0]


def test_channels_are_averaged(tmp_path):
    wavfile.write(tmp_path / "a.wav", RATE, np.array([[0.5, -0.1], [0.25, 0.25]], dtype=np.float32))
    np.testing.assert_allclose(read_wav(tmp_path / "a.wav")[1], [0.2, 0.25], atol=1e-7)  # float32


INT24 = b"".join((int(sample) * 256).to_bytes(3, "little", signed=True) for sample in INT16)
EXTENSION = struct.pack("<HHIH", 22, 16, 4, 1) + bytes.fromhex("000000001000800000aa00389b71")
EXTENSIBLE = chunk(b"fmt ", struct.pack("<HHIIHH", 0xFFFE, 1, RATE, 2 * RATE, 2, 16) + EXTENSION)
DATA, LONG = chunk(b"data", BYTES), 2**32 - 1


@pytest.mark.parametrize(
    "contents",
    [
        pytest.param(riff(form(), DATA), id="16 bits"),
        pytest.param(riff(form(width=3), chunk(b"data", INT24)), id="24 bits"),
        pytest.param(riff(form(bits=12), DATA), id="12 of 16 bits"),
        pytest.param(riff(EXTENSIBLE, DATA), id="extensible"),
        pytest.param(
            riff(form(channels=2), chunk(b"data", np.repeat(INT16, 2).astype("<i2").tobytes())), id="two channels"
        ),
        pytest.param(
            riff(form(order=">"), chunk(b"data", INT16.astype(">i2").tobytes(), order=">"), name=b"RIFX", order=">"),
            id="big-endian",
        ),
        pytest.param(
            riff(
                chunk(b"ds64", struct.pack("<QQQI", 100, len(BYTES), 5, 0)),
                form(),
                chunk(b"data", BYTES, size=LONG),
                size=LONG,
                name=b"RF64",
            ),
            id="RF64",
        ),
        pytest.param(riff(form(), DATA, size=0), id="size 0 of the whole"),
        pytest.param(riff(form(), chunk(b"data", BYTES, size=0), size=0), id="all sizes 0"),
        pytest.param(riff(form(), chunk(b"data", BYTES, size=LONG), size=LONG), id="ffmpeg to a pipe"),
        pytest.param(riff(form(), chunk(b"data", BYTES, size=0x7FFFF000), size=0x7FFFF024), id="SoX to a pipe"),
        pytest.param(riff(form(), chunk(b"data", BYTES, size=2**31)), id="unfinished recording"),
        pytest.param(riff(chunk(b"LIST", b"odd") + b"\0", form(), DATA, b"ID3 and others"), id="other chunks"),
        pytest.param(riff(form(), chunk(b"data", BYTES + b"\0")), id="a byte too many"),
    ],
)
def test_every_header_ends_in_the_same_samples(tmp_path, contents):
    (tmp_path / "a.wav").write_bytes(contents)
    rate, wave = read_wav(tmp_path / "a.wav")
    assert rate == RATE
    np.testing.assert_array_equal(wave, WAVE)


@pytest.mark.parametrize(
    "contents, pattern",
    [
        (b"", "begins with b''"),
        (b"ID3\x04" + bytes(200), r"begins with b'ID3"),
        (b"RIFF\x24\0\0\0AVI " + bytes(50), "expected RIFF, a size and WAVE"),
        (riff(form()), "no chunk of samples"),
        (riff(form())[:30], "no chunk of samples"),
        (riff(form(), b"da"), "no chunk of samples"),
        (riff(form(), chunk(b"data", b"")), "has no samples; leave it out"),
        (riff(form(), chunk(b"data", b"\1")), "has no samples; leave it out"),
        (riff(DATA, form()), "no complete format chunk before its samples"),
        (riff(form(), DATA)[:-4], "is cut off: its header declares 5 samples and it holds 3; replace it"),
        (riff(form(), DATA[:-4], size=0), "is cut off: its header declares 5 samples and it holds 3"),
        (riff(form(coding=6, width=1), DATA), "is coded as A-law, expected PCM or float"),
        (riff(form(coding=7, width=1), DATA), "is coded as mu-law"),
        (riff(form(coding=17, width=1, bits=4), DATA), "is coded as ADPCM"),
        (riff(form(coding=0x55, width=1, bits=0), DATA), "is coded as MP3"),
        (riff(form(coding=333), DATA), "is coded as format 333"),
        (riff(form(rate=0), DATA), "its sample rate is 0 Hz, expected 1 or more, below 2"),
        (riff(form(rate=2**31), DATA), "its sample rate is 2147483648 Hz"),
        (riff(form(channels=0), DATA), "0 channels of 16 bits in 0 bytes are not supported"),
        (riff(form(channels=2, width=5), DATA), "2 channels of 40 bits in 10 bytes are not supported"),
        (riff(chunk(b"fmt ", struct.pack("<HHIIHH", 1, 65535, RATE, 0, 2, 16)), DATA), "65535 channels of 16 bits"),
        (riff(form(bits=0), DATA), "1 channels of 0 bits"),
        (riff(form(coding=3), DATA), "1 channels of 16 bits in 2 bytes are not supported"),
        (
            riff(
                chunk(b"ds64", struct.pack("<QQQI", 0, 2**63, 0, 0)),
                form(),
                chunk(b"data", BYTES, size=LONG),
                name=b"RF64",
            ),
            "is cut off",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "file",
)
def test_what_holds_no_samples_is_refused_by_name(tmp_path, contents, pattern):
    (tmp_path / "a.wav").write_bytes(contents)
    with pytest.raises(InputError, match=f"a.wav.*{pattern}"):
        read_wav(tmp_path / "a.wav")


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
    wavfile.write(tmp_path / "a.wav", RATE, np.array([0.0, -16.0]))
    assert read_wav(tmp_path / "a.wav")[1].tolist() == [0.0, -16.0]


def test_any_shortened_or_changed_file_ends_in_samples_or_in_one_line(tmp_path):
    good = riff(chunk(b"LIST", b"text"), EXTENSIBLE, DATA)
    rng = np.random.default_rng(0)
    broken = [good[:n] for n in range(len(good))]
    for _ in range(200):
        changed = bytearray(good)
        for place in rng.integers(0, len(good) - len(BYTES), size=rng.integers(1, 4)):
            changed[place] = rng.choice([0, 1, 2, 255, rng.integers(256)])
        broken.append(bytes(changed))
    outcomes = set()
    for contents in broken:
        (tmp_path / "a.wav").write_bytes(contents)
        try:
            outcomes.add(read_wav(tmp_path / "a.wav")[1].dtype.name)
        except InputError as refusal:
            assert str(refusal).startswith(f"{tmp_path}/a.wav: ")
            outcomes.add("refused")
    assert outcomes == {"float32", "refused"}
