"""The front end: waveforms to mel features in [0, 1], and back to waveforms.

Conventions: wave (B, T), linear amplitude; mel (B, 1, M, L), power; features (B, 1, rows, L), in [0, 1], where
`gainshape` has more rows than M. Device and dtype are the input's. Frames are centred on multiples of the hop; edges
are padded with zeros. The mel scale is Slaney's, linear below 1 kHz and logarithmic above, each filter scaled to unit
area (librosa's default).
"""

import functools
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from models.options import Option, constructor_parameters
from syntone.errors import InputError
from syntone.features.filters import filter_tensor, full_scale_power, mel_points, power_spectrogram
from syntone.features.inversion import griffin_lim, mel_energy, unfold_mel

DEFAULTS = {  # of the options that a kind has
    "logmel": {"n_mels": 128, "db_min": -80.0, "db_max": 6.0, "smoothing": 5.0},
    "gainshape": {"n_mels": 64, "db_min": -60.0, "db_max": 6.0, "smoothing": 5.0, "range_db": 30.0, "level_rows": 16},
    "paper": {"n_mels": 128},
}
UNUSED = {"db_min": -80.0, "db_max": 6.0, "smoothing": 0.0, "range_db": 30.0, "level_rows": 16}  # of those it lacks
PAPER_AMPLITUDE = 0.25  # of full scale


@dataclass(frozen=True)
class FrontEnd:
    """A fixed front end; two with equal fields compute equal features. None: the default of the kind, see DEFAULTS.

    Parameters
    ----------
    kind : "logmel", "gainshape" or "paper"
        `logmel`: decibels against one fixed reference, clipped to [db_min, db_max] and mapped to [0, 1].
        `gainshape`: the decibels of each frame in two parts, as in gain-shape quantisation (Gray 1984): its level (the
        largest band) and its shape (the bands against that level). Within `range_db` of it, level + shape is `logmel`.
        `paper`: linear power, each frame divided by its own maximum, as in the published code; this erases amplitude.
    sample_rate, n_samples : int
        Of the waveforms: Hz, and their length T.
    n_fft, hop, n_mels : int
        Window and hop in samples; number of bands between 0 Hz and sample_rate / 2.
    db_min, db_max : float
        dB. 0 dB is the largest mel value that a full-scale sine takes in any band. A full-scale square's fundamental is
        2.1 dB above a sine's, so db_max leaves room for every tone of peak amplitude 1.
    smoothing : float
        Bands over which the skirts of every filter fall by 10 dB, on both sides; 0: no skirts. See `smoothed_filters`.
    range_db, level_rows
        `gainshape`: the shape is clipped to [-range_db, 0] dB and mapped to [0, 1]. Its M rows are followed by
        `level_rows` equal rows with the level, [db_min, db_max] mapped to [0, 1]. Their number is the level's weight.
    """

    kind: str
    sample_rate: int
    n_samples: int
    n_fft: int = 2048
    hop: int = 512
    n_mels: Annotated[int, Option("mel bands", least=1, most=2048)] = None
    db_min: Annotated[float, Option("dB that become 0", least=-1000, most=1000)] = None
    db_max: Annotated[float, Option("dB that become 1", least=-1000, most=1000)] = None
    smoothing: Annotated[float, Option("bands in which skirts fall by 10 dB; 0: no skirts", least=0, most=1000)] = None
    range_db: Annotated[float, Option("dB below the level that a frame's shape keeps", above=0, most=1000)] = None
    level_rows: Annotated[int, Option("rows that hold the level", least=1, most=2048)] = None

    def __post_init__(self) -> None:
        if self.kind not in DEFAULTS:
            raise InputError(f"front end {self.kind!r} is unknown; choose one of {', '.join(DEFAULTS)}")
        parameters = constructor_parameters(FrontEnd)
        for name, default in (UNUSED | DEFAULTS[self.kind]).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
            if not parameters[name].accepts(getattr(self, name)):
                raise InputError(f"{name} of the front end is {getattr(self, name)}; give {parameters[name].wanted()}")
        if not self.db_min < self.db_max:
            raise InputError(f"db_min {self.db_min:g} is not below db_max {self.db_max:g}")
        if min(self.sample_rate, self.n_samples, self.hop) < 1 or not max(16, self.hop) <= self.n_fft <= 2**20:
            raise InputError(f"the front end {self} cannot be computed; n_fft is 16 to 2^20, hop 1 to n_fft")

    def config(self) -> dict:
        """Return the fields as plain types, from which `FrontEnd(**config)` is rebuilt."""
        return asdict(self)

    @property
    def n_frames(self) -> int:
        return 1 + self.n_samples // self.hop

    @property
    def shape(self) -> tuple[int, int, int]:
        """(1, rows, L) of one tone's features: M bands, and for `gainshape` the rows of the level."""
        return 1, self.n_mels + (self.level_rows if self.kind == "gainshape" else 0), self.n_frames

    @property
    def band_hz(self) -> np.ndarray:
        """Centre frequency of every band in Hz, (M,)."""
        return mel_points(self.sample_rate, self.n_mels)[1:-1]

    @property
    def reference(self) -> float:
        """The mel power of 0 dB."""
        return full_scale_power(self.sample_rate, self.n_fft, self.n_mels, self.smoothing)

    def bank(self, like: Tensor) -> Tensor:
        """The filters, (M, n_fft // 2 + 1), of the device and the dtype of another tensor."""
        return filter_tensor(self.sample_rate, self.n_fft, self.n_mels, self.smoothing, like.device, like.dtype)

    def mel(self, wave: Tensor) -> Tensor:
        """Compute the mel power spectrogram of waves (B, T): (B, 1, M, L).

        Raises
        ------
        InputError
            If the waves have another length than the front end's, or are integers.
        """
        wave = torch.as_tensor(wave)
        if wave.ndim != 2 or wave.shape[1] != self.n_samples:
            raise InputError(
                f"waves of shape {tuple(wave.shape)}, the front end takes (B, {self.n_samples}) at {self.sample_rate} "
                f"Hz; cut them, or pad them with zeros"
            )
        if not wave.is_floating_point():
            raise InputError(
                f"waves are {wave.dtype}, expected floating-point samples with full scale at 1; divide 16-bit PCM by "
                f"32768"
            )
        return (self.bank(wave) @ power_spectrogram(wave, n_fft=self.n_fft, hop=self.hop)).unsqueeze(1)

    def features(self, wave: Tensor, *, sample_rate: int | None = None) -> Tensor:
        """Compute the features of waves (B, T): (B, 1, rows, L), in [0, 1].

        Parameters
        ----------
        sample_rate : Hz, of the waves; compared with the front end's where it is given

        Raises
        ------
        InputError
            If the waves have another sample rate or length than the front end's, or are integers.
        """
        if sample_rate is not None and sample_rate != self.sample_rate:
            raise InputError(
                f"waves at {sample_rate} Hz, the front end takes {self.sample_rate} Hz; resample them, for example "
                f"with scipy.signal.resample_poly"
            )
        mel = self.mel(wave)
        if self.kind == "paper":
            peak = mel.amax(dim=2, keepdim=True)
            return mel / torch.where(peak > 0, peak, 1.0)  # a silent frame stays 0
        span = self.db_max - self.db_min
        if self.kind == "logmel":
            return ((self._decibels(mel, self.db_min) - self.db_min) / span).clamp(0.0, 1.0)
        db = self._decibels(mel, self.db_min - self.range_db)
        level = db.amax(dim=2, keepdim=True).clamp(self.db_min, self.db_max)
        shape = ((db - level) / self.range_db + 1).clamp(0.0, 1.0)
        return torch.cat([shape, ((level - self.db_min) / span).expand(-1, -1, self.level_rows, -1)], dim=2)

    def _decibels(self, mel: Tensor, floor: float) -> Tensor:
        return 10 * torch.log10(mel.clamp_min(self.reference * 10 ** (floor / 10)) / self.reference)

    def to_db(self, features: Tensor) -> Tensor:
        """Return features as dB in [db_min, db_max], (B, 1, M, L): against the reference, for `paper` against each
        frame's own maximum, which is all that is left."""
        if self.kind == "paper":
            return (10 * torch.log10(features.clamp_min(10 ** (self.db_min / 10)))).clamp_max(self.db_max)
        span = self.db_max - self.db_min
        if self.kind == "logmel":
            return features.clamp(0.0, 1.0) * span + self.db_min
        shape, level = self._split(features)
        return (shape + level).clamp(self.db_min, self.db_max)

    def _split(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Shape (B, 1, M, L) and level (B, 1, 1, L) of `gainshape`, dB."""
        shape, level = features.clamp(0.0, 1.0).split([self.n_mels, self.level_rows], dim=2)
        return (shape - 1) * self.range_db, level.mean(dim=2, keepdim=True) * (self.db_max - self.db_min) + self.db_min

    def to_mel(self, features: Tensor) -> Tensor:
        """Return features as mel power, (B, 1, M, L).

        The floor of the range counts as silence. For `gainshape` the floor of the shape is subtracted from the power,
        so that a pixel just above it is nearly silent. `paper` has erased the level: every frame gets a full-scale
        sine's.
        """
        if self.kind == "paper":
            return features.clamp_min(0.0) * self.reference
        if self.kind == "gainshape":
            shape, level = self._split(features)
            power = 10 ** (level / 10) * (10 ** (shape / 10) - 10 ** (-self.range_db / 10))
            return torch.where(level > self.db_min, power, 0.0).clamp_min(0.0) * self.reference
        db = self.to_db(features)
        return torch.where(db > self.db_min, 10 ** (db / 10) * self.reference, 0.0)

    def invert(self, features: Tensor) -> Tensor:
        """Return waves (B, T) whose features come close to the given ones, (B, 1, rows, L) in [0, 1], at their level.

        The mel spectrogram is unfolded to a linear one (this removes the skirts), Griffin-Lim finds phases, and the
        energy is set to the spectrogram's by Parseval's theorem; peaks are never normalised. `paper` has erased the
        level: its waves get the RMS of a sine of amplitude PAPER_AMPLITUDE.

        Raises
        ------
        InputError
            If the features have another shape than the front end's.
        """
        if features.shape[1:] != self.shape:
            raise InputError(f"features of shape {tuple(features.shape)}, expected (B, *{self.shape}) of the front end")
        mel = self.to_mel(features).squeeze(1).to(torch.float32)
        power = unfold_mel(mel, self.bank(mel))
        wave = griffin_lim(power.sqrt(), n_fft=self.n_fft, hop=self.hop, n_samples=self.n_samples)
        if self.kind == "paper":
            rms = wave.square().mean(dim=1, keepdim=True).sqrt()
            return wave * torch.where(rms > 0, PAPER_AMPLITUDE / math.sqrt(2) / rms.clamp_min(1e-30), 0.0)
        plain = filter_tensor(self.sample_rate, self.n_fft, self.n_mels, 0.0, mel.device, mel.dtype)
        energy = functools.partial(mel_energy, sample_rate=self.sample_rate, n_fft=self.n_fft)
        wanted = energy(plain @ power if self.smoothing else mel)
        found = energy(plain @ power_spectrogram(wave, n_fft=self.n_fft, hop=self.hop))
        return wave * torch.where(found > 0, (wanted / found.clamp_min(1e-30)).sqrt(), 0.0).unsqueeze(1)


def compute_features(
    wave: np.ndarray,
    front_end: FrontEnd,
    *,
    device: torch.device,
    keep: torch.device | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Compute the features of a whole dataset in blocks of rows: (N, 1, rows, L) float32.

    Parameters
    ----------
    wave : (N, T), may be mapped from a file
    device : where they are computed
    keep : where they are kept; default: the same device
    progress : called with the number of rows of each block

    Raises
    ------
    InputError
        If a sample is not finite.
    """
    rows = 64 if device.type == "cpu" else 1024  # 64 stay in a CPU's cache
    features = torch.empty((len(wave), *front_end.shape), device=keep or device)
    for start in range(0, len(wave), rows):
        block = torch.from_numpy(np.array(wave[start : start + rows], dtype=np.float32))
        if not bool(torch.isfinite(block).all()):
            bad = start + int((~torch.isfinite(block)).any(dim=1).nonzero()[0])
            raise InputError(f"'x' has a sample that is not finite in tone {bad}; re-create the dataset")
        features[start : start + len(block)] = front_end.features(block.to(device))
        if progress is not None:
            progress(len(block))
    return features
