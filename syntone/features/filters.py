"""Mel filters, with and without skirts, and the power spectrogram that they are applied to."""

import functools
import math

import numpy as np
import torch
from torch import Tensor


def mel_points(sample_rate: int, n_mels: int) -> np.ndarray:
    """Edges and centres of the bands in Hz, float64 (n_mels + 2,): equal steps of Slaney's mel scale from 0 Hz to half
    the sample rate (Slaney 1998, Auditory Toolbox: 3 mels per 200 Hz up to 1 kHz, 27 mels per factor of 6.4 above)."""
    log_step, top = math.log(6.4) / 27, sample_rate / 2
    top_mel = top * 3 / 200 if top < 1000 else 15 + math.log(top / 1000) / log_step
    mels = np.linspace(0.0, top_mel, n_mels + 2)
    return np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(log_step * (mels - 15)))


@functools.lru_cache(maxsize=16)
def mel_filters(sample_rate: int, n_fft: int, n_mels: int) -> np.ndarray:
    """Triangular filters of unit area in Hz: float64 (n_mels, n_fft // 2 + 1)."""
    points = mel_points(sample_rate, n_mels)
    bins = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    low, centre, high = points[:-2, None], points[1:-1, None], points[2:, None]
    triangles = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)).clip(min=0.0)
    return triangles * 2 / (high - low)


def smoothed_filters(sample_rate: int, n_fft: int, n_mels: int, smoothing: float) -> np.ndarray:
    """Mel filters with skirts, float64 (n_mels, n_fft // 2 + 1).

    Each band also receives the power of the others, 10 dB less for every `smoothing` bands of distance. A partial then
    appears as a tent with straight sides in dB, as in excitation patterns of hearing, and tones of neighbouring pitch
    overlap.
    """
    filters = mel_filters(sample_rate, n_fft, n_mels)
    if not smoothing:
        return filters
    distance = np.abs(np.subtract.outer(np.arange(n_mels), np.arange(n_mels)))
    return 10 ** (-distance / smoothing) @ filters


@functools.lru_cache(maxsize=16)
def filter_tensor(
    sample_rate: int, n_fft: int, n_mels: int, smoothing: float, device: torch.device, dtype: torch.dtype
) -> Tensor:
    return torch.tensor(smoothed_filters(sample_rate, n_fft, n_mels, smoothing), device=device, dtype=dtype)


@functools.lru_cache(maxsize=16)
def full_scale_power(sample_rate: int, n_fft: int, n_mels: int, smoothing: float) -> float:
    """The largest mel value over all bands and all sine frequencies of a sine of amplitude 1.

    A sine at frequency f shows the window's transform, shifted to f and halved. It is sampled at 1/16 of a bin; between
    samples the maximum moves by less than 0.01 dB.
    """
    fine, reach = 16, 3
    window = np.hanning(n_fft + 1)[:-1]
    response = np.abs(np.fft.fft(window, fine * n_fft)) ** 2 / 4
    kernel = response[np.arange(-reach * fine, reach * fine + 1)]  # power at distances of 1 / fine bins
    bank = smoothed_filters(sample_rate, n_fft, n_mels, smoothing)
    dense = np.zeros((n_mels, fine * (bank.shape[1] - 1) + 1))
    dense[:, ::fine] = bank
    return max(float(np.convolve(row, kernel, mode="same").max()) for row in dense)


def power_spectrogram(wave: Tensor, *, n_fft: int, hop: int) -> Tensor:
    """|STFT|^2 of waves (B, T): (B, n_fft // 2 + 1, L), periodic Hann window, centred, zeros beyond the edges."""
    window = torch.hann_window(n_fft, device=wave.device, dtype=wave.dtype)
    spectrum = torch.stft(wave, n_fft, hop, window=window, center=True, pad_mode="constant", return_complex=True)
    return spectrum.real.square() + spectrum.imag.square()
