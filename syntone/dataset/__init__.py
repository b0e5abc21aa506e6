"""Datasets of tones with known factors: creation, file, labels, audit. Imports no torch."""

from syntone.dataset.file import Dataset, load_npz, save_npz
from syntone.dataset.wav import read_wav

__all__ = ["Dataset", "load_npz", "read_wav", "save_npz"]
