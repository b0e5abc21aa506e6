"""Read WAV files with scipy: PCM of up to 64 bits and float of 32 or 64 bits, in RIFF, RIFX and RF64 files."""

import io
import warnings
from pathlib import Path

import numpy as np

from syntone.dataset.validation import LARGEST_SAVED
from syntone.errors import InputError

CUT_OFF = "Reached EOF prematurely"  # scipy's warning about missing samples
STREAM = r".* expected (21474|42949)\d{5} bytes"  # 2 or 4 GiB, declared where the size is not known (ffmpeg, SoX)


def read_wav(path: str | Path) -> tuple[int, np.ndarray]:
    """Return sample rate in Hz and wave, float32 (T,), full scale 1, channels averaged.

    Integer samples are scaled to [-1, 1) (by 2^(bits - 1), unsigned bytes from 128), floats are not scaled.

    Raises
    ------
    InputError
        If the file is missing, not a WAV file that scipy reads, cut off or empty, or has samples that are not finite or
        beyond 16.
    """
    from scipy.io import wavfile  # here, so that create.py starts without scipy

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; correct its name or folder")
    contents = io.BytesIO(path.read_bytes())  # from a path, scipy allocates what the header declares: up to 4 GiB
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # about chunks of other contents
            warnings.filterwarnings("error", CUT_OFF, wavfile.WavFileWarning)
            warnings.filterwarnings("ignore", STREAM, wavfile.WavFileWarning)
            rate, samples = wavfile.read(contents)
    except wavfile.WavFileWarning as warning:
        raise InputError(f"{path}: is cut off ({str(warning).rstrip('.')}); replace it or leave it out") from None
    except Exception as problem:  # what scipy raises on other damage has no common type
        found = "its header declares no samples" if isinstance(problem, UnboundLocalError) else problem
        raise InputError(
            f"{path}: not a readable WAV file ({found}): it is cut off, damaged or of another coding; convert it to "
            "PCM or float WAV, or leave it out"
        ) from None
    if not 1 <= rate < 2**31:
        raise InputError(f"{path}: its sample rate is {rate} Hz, expected 1 or more, below 2^31; correct its header")
    if not len(samples):
        raise InputError(f"{path}: has no samples; leave it out")
    wave = samples.astype(np.float32 if samples.itemsize <= 2 else np.float64).reshape(len(samples), -1)
    if samples.dtype.kind != "f":
        full = 2 ** (samples.itemsize * 8 - 1)
        wave = (wave - (full if samples.dtype.kind == "u" else 0)) / full
    if not (peak := np.abs(wave).max()) <= LARGEST_SAVED:  # NaN too
        raise InputError(
            f"{path}: its samples reach {peak:g}, expected finite ones with full scale at 1 and none beyond "
            f"{LARGEST_SAVED:g}; divide floats in units of 16-bit PCM by 32768, or leave it out"
        )
    return rate, wave.mean(axis=1).astype(np.float32)
