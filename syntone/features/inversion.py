"""Mel spectrograms back to waveforms: unfolding to a linear spectrogram, phases, Griffin-Lim."""

import math

import torch
from torch import Tensor

from syntone.features.filters import mel_points


def mel_energy(mel: Tensor, *, sample_rate: int, n_fft: int) -> Tensor:
    """Energy (sum of squared windowed samples over all frames) that a mel spectrogram (B, M, L) implies: (B,).

    A triangle's area is half its base, so a filter of unit area times that is a triangle of height 1, and neighbouring
    triangles of height 1 add up to 1 between the outermost centres: the sum is the power of the one-sided spectrum, and
    Parseval's theorem does the rest.
    """
    points = mel_points(sample_rate, mel.shape[1])
    area = torch.tensor((points[2:] - points[:-2]) / 2, device=mel.device, dtype=mel.dtype)
    return 2 * (mel * area[:, None]).sum(dim=(1, 2)) / n_fft


def unfold_mel(mel: Tensor, bank: Tensor, *, n_iter: int = 100) -> Tensor:
    """A non-negative linear power spectrogram (B, F, L) whose mel spectrogram is close to `mel` (B, M, L).

    Richardson-Lucy iterations (Richardson 1972, Lucy 1974): they keep power non-negative and gather it in peaks, as the
    spectrum of a tone has it, where a least-squares inverse would spread it over each band. Each frame is extrapolated
    along its last step (Biggs and Andrews 1997): 50 iterations fit wide filters about as well as 400 without.
    """
    n_batch, n_mels, n_frames = mel.shape
    mel = mel.transpose(0, 1).reshape(n_mels, -1)  # one matrix: products of a batch of small ones are slower
    back = bank.T / bank.sum(dim=0).clamp_min(1e-12)[:, None]
    power = start = back @ mel
    change = torch.zeros_like(power)
    for _ in range(n_iter):
        updated = start * (back @ (mel / (bank @ start).clamp_min(1e-20)))
        previous, change = change, updated - start
        along = (change * previous).sum(dim=0) / previous.square().sum(dim=0).clamp_min(1e-30)
        power, start = updated, (updated + along.clamp(0.0, 1.0) * (updated - power)).clamp_min(0.0)
    return power.reshape(-1, n_batch, n_frames).transpose(0, 1)


def advancing_phases(power: Tensor, *, n_fft: int, hop: int, reach: int = 4, n_shifts: int = 3) -> Tensor:
    """Phases (B, F, L) in radians that steady partials would have, from the power spectrogram alone.

    Every bin takes the frequency of the partial it belongs to: the centroid of the power within `reach` bins, moved
    uphill `n_shifts` times (mean shift). From frame to frame its phase advances by that frequency. Within one partial
    neighbouring bins alternate in sign, as in the transform of a window that starts at the frame's first sample.
    """
    n_batch, n_bins, n_frames = power.shape
    bins = torch.arange(n_bins, device=power.device, dtype=power.dtype)[None, :, None]

    def local_sum(x: Tensor) -> Tensor:
        flat = x.transpose(1, 2).reshape(-1, 1, n_bins)
        summed = torch.nn.functional.avg_pool1d(flat, 2 * reach + 1, stride=1, padding=reach) * (2 * reach + 1)
        return summed.reshape(n_batch, n_frames, n_bins).transpose(1, 2)

    mass = local_sum(power)
    frequency = torch.where(mass > 1e-20, local_sum(power * bins) / mass.clamp_min(1e-20), bins)  # in bins
    for _ in range(n_shifts):
        below = frequency.floor().long().clamp(0, n_bins - 2)
        share = frequency - below
        frequency = frequency.gather(1, below) * (1 - share) + frequency.gather(1, below + 1) * share
    return torch.cumsum(frequency * (2 * math.pi * hop / n_fft), dim=2) - math.pi * bins


def griffin_lim(magnitude: Tensor, *, n_fft: int, hop: int, n_samples: int, n_iter: int = 16) -> Tensor:
    """Waves (B, n_samples) whose spectrogram comes close to `magnitude` (B, F, L).

    Griffin and Lim 1984, started from the phases of steady partials instead of random ones: nothing is drawn, and the
    pitch of a decoded tone is that of its spectral peaks from the start.
    """
    window = torch.hann_window(n_fft, device=magnitude.device, dtype=magnitude.dtype)
    frames = dict(n_fft=n_fft, hop_length=hop, window=window, center=True)
    phases = advancing_phases(magnitude.square(), n_fft=n_fft, hop=hop)
    wave = torch.istft(torch.polar(magnitude, phases), **frames, length=n_samples)
    for _ in range(n_iter):
        rebuilt = torch.stft(wave, **frames, pad_mode="constant", return_complex=True)
        wave = torch.istft(magnitude * rebuilt / rebuilt.abs().clamp_min(1e-16), **frames, length=n_samples)
    return wave
