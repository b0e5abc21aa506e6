"""The dataset: its grid of tones, its file, its labels and what can be told apart in it. Imports no torch."""

from syntone.dataset.file import Dataset, load_npz, save_npz

__all__ = ["Dataset", "load_npz", "save_npz"]
