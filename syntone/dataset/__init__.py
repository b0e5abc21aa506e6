"""Datasets of sounds with known factors: creation, file, labels, audit. Does not import torch."""

from syntone.dataset.file import Dataset, load_npz, save_npz
from syntone.dataset.wav import read_wav

__all__ = ["Dataset", "load_npz", "read_wav", "save_npz"]
