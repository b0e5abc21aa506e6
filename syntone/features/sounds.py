"""Features as sounds to draw and to hear: inverted to waves, with the scale of their figures; waves as WAV."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import torch
from scipy.io import wavfile
from torch import Tensor

from syntone.features.front_end import FrontEnd
from syntone.figures import Scale, Sound


def scale_of(front_end: FrontEnd) -> Scale:
    """Return the axes of figures of this front end."""
    return Scale(
        sample_rate=front_end.sample_rate,
        hop=front_end.hop,
        band_hz=front_end.band_hz,
        db_min=front_end.db_min,
        db_max=front_end.db_max,
        zero_db="largest band of each frame" if front_end.kind == "paper" else "full-scale sine",
    )


def sounds_of(
    features: Tensor, *, front_end: FrontEnd, labels: Sequence[str], kind: str = "", waves: np.ndarray | None = None
) -> list[Sound]:
    """Return features (B, 1, M, L) as sounds named `<kind>_1` and so on; inverted unless `waves` (B, T) are given."""
    if waves is None:
        waves = torch.cat([front_end.invert(batch) for batch in features.split(16)]).cpu().numpy()
    mels = front_end.to_db(features).squeeze(1).cpu().numpy()
    rows = zip(waves, mels, labels, strict=True)
    return [Sound(wave, mel, label, kind, f"{kind}_{i}") for i, (wave, mel, label) in enumerate(rows, start=1)]


def wav_bytes(wave: np.ndarray, sample_rate: int) -> bytes:
    """Encode a wave (T,) as a WAV file of 32-bit floats, which keep its level even where it exceeds full scale."""
    buffer = BytesIO()
    wavfile.write(buffer, sample_rate, np.asarray(wave, dtype=np.float32))
    return buffer.getvalue()
