"""Read WAV files: PCM of 8, 16, 24, 32 or 64 bits and float of 32 or 64 bits, in RIFF, RIFX, RF64 and BW64 files.

Integer samples are scaled to [-1, 1) (by 2^(bits - 1), unsigned bytes from 128), floats are not scaled, and the
channels of a file are averaged. The sizes in an unfinished header (of a stream, or of a recorder that was switched off)
count as unknown: the samples reach to the end of the file. Any other file that is shorter than its header declares is
refused as damaged. (scipy's reader raises unrelated errors on such headers, and only warns where samples are missing.)
"""

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from syntone.dataset.validation import LARGEST_SAVED
from syntone.errors import InputError

ORDERS = {b"RIFF": "<", b"RF64": "<", b"BW64": "<", b"RIFX": ">"}
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
CODINGS = {2: "ADPCM", 6: "A-law", 7: "mu-law", 17: "ADPCM", 80: "MPEG", 85: "MP3"}
TYPES = {
    (PCM, 1): "u1",
    (PCM, 2): "i2",
    (PCM, 3): "i4",
    (PCM, 4): "i4",
    (PCM, 8): "i8",
    (FLOAT, 4): "f4",
    (FLOAT, 8): "f8",
}
UNKNOWN_SIZE = 0x7FFFF000  # what streams give instead of a size: this (SoX), 2^31 or 2^32 - 1, or 0 in all places


def read_wav(path: str | Path) -> tuple[int, np.ndarray]:
    """Return sample rate in Hz and wave, float32 (T,), full scale 1, channels averaged.

    Raises
    ------
    InputError
        If the file is missing, not a WAV file of these formats, cut off or empty, or has samples that are not finite or
        beyond 16.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; correct its name or folder")
    with open(path, "rb") as handle:
        try:
            order, header, declared = _find_samples(handle, size=(size := path.stat().st_size))
            kind, n_channels, rate, frame = _parse_format(order, header)
        except ValueError as damage:
            raise InputError(f"{path}: not a readable WAV file ({damage}); convert it to PCM or float WAV") from None
        samples = np.frombuffer(handle.read(min(declared, size)), np.uint8)
    n_declared, n = declared // frame, len(samples) // frame
    if n < n_declared:
        raise InputError(
            f"{path}: is cut off: its header declares {n_declared} samples and it holds {n}; replace it or leave it out"
        )
    if not n:
        raise InputError(f"{path}: has no samples; leave it out")
    wave = _decode(samples[: n * frame].reshape(n * n_channels, -1), kind=kind, order=order).reshape(n, n_channels)
    if not (peak := np.abs(wave).max()) <= LARGEST_SAVED:  # NaN too
        raise InputError(
            f"{path}: its samples reach {peak:g}, expected finite ones with full scale at 1 and none beyond "
            f"{LARGEST_SAVED:g}; divide floats in units of 16-bit PCM by 32768, or leave it out"
        )
    return rate, wave.mean(axis=1).astype(np.float32)


def _find_samples(handle: BinaryIO, *, size: int) -> tuple[str, bytes, int]:
    """Return byte order, contents of the format chunk and bytes of samples, and move to the samples."""
    head = handle.read(12)
    if head[:4] not in ORDERS or head[8:] != b"WAVE":
        raise ValueError(f"begins with {head!r}, expected RIFF, a size and WAVE")
    order, header, long_size = ORDERS[head[:4]], b"", None
    while len(start := handle.read(8)) == 8:
        name, n_bytes = struct.unpack(f"{order}4sI", start)
        left = size - handle.tell()
        if name == b"data":
            if n_bytes == 2**32 - 1 and long_size is not None:
                n_bytes = long_size
            elif n_bytes >= UNKNOWN_SIZE or n_bytes == int.from_bytes(head[4:8]) == 0:
                n_bytes = min(n_bytes or left, left)
            return order, header, n_bytes
        end = handle.tell() + n_bytes + n_bytes % 2
        if name == b"fmt ":
            header = handle.read(min(n_bytes, 40))
        elif name == b"ds64":
            long_size = int.from_bytes(handle.read(16)[8:], "little")
        handle.seek(end)
    raise ValueError("has no chunk of samples")


def _parse_format(order: str, header: bytes) -> tuple[str, int, int, int]:
    """Return type of the samples, channels, rate in Hz and bytes per sample of all channels."""
    if len(header) < 16:
        raise ValueError("has no complete format chunk before its samples")
    coding, n_channels, rate, _, frame, bits = struct.unpack(f"{order}HHIIHH", header[:16])
    if coding == EXTENSIBLE and len(header) >= 26:
        coding = struct.unpack(f"{order}H", header[24:26])[0]
    if coding not in (PCM, FLOAT):
        raise ValueError(f"is coded as {CODINGS.get(coding, f'format {coding}')}, expected PCM or float")
    if not 1 <= rate < 2**31:
        raise ValueError(f"its sample rate is {rate} Hz, expected 1 or more, below 2^31")
    width = frame // n_channels if n_channels else 0
    fits = bits == 8 * width if coding == FLOAT else 8 * (width > 1) < bits <= 8 * width
    if (coding, width) not in TYPES or width * n_channels != frame or not fits:
        raise ValueError(f"{n_channels} channels of {bits} bits in {frame} bytes are not supported")
    return TYPES[coding, width], n_channels, rate, frame


def _decode(samples: np.ndarray, *, kind: str, order: str) -> np.ndarray:
    """Samples as bytes (N, width) -> (N,), full scale 1; float32 for up to 16 bits, else float64."""
    if samples.shape[1] == 3:  # 24 bits are the upper bytes of 32
        samples = np.pad(samples, ((0, 0), (1, 0) if order == "<" else (0, 1)))
    found = np.ascontiguousarray(samples).view(np.dtype(kind).newbyteorder(order))[:, 0]
    wave = found.astype(np.float32 if found.itemsize <= 2 else np.float64)
    full = 2 ** (found.itemsize * 8 - 1)
    return wave if kind[0] == "f" else (wave - (full if kind[0] == "u" else 0)) / full
