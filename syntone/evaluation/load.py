"""Checkpoints with their data, ready to be evaluated."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from syntone.dataset.file import Dataset, load_npz
from syntone.device import to_device
from syntone.errors import InputError
from syntone.features.front_end import FrontEnd, compute_features
from syntone.training.checkpoint import Checkpoint, check_dataset, load_checkpoint


@dataclass(frozen=True)
class Entry:
    """One checkpoint with its data.

    model : on the device, in evaluation mode
    features : (N, 1, M, L) of all tones, shared by all entries of one dataset and front end
    valid_rows : rows to reconstruct: the validation tones, or all tones of a dataset that the model was not trained on
    mismatch : why the dataset is not the one trained on, or None
    """

    checkpoint: Checkpoint
    model: nn.Module
    front_end: FrontEnd
    dataset: Dataset
    features: Tensor
    valid_rows: np.ndarray
    mismatch: str | None

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.checkpoint.model_name

    @property
    def key(self) -> tuple[str, int]:
        """Name of the model and training seed."""
        return self.checkpoint.model_name, self.checkpoint.seed


def load_entries(paths: list[Path], *, dataset_path: Path | None, state: str, device: torch.device) -> list[Entry]:
    """Read checkpoints and their datasets, and compute the features once for all checkpoints that share them.

    Parameters
    ----------
    dataset_path : a dataset to evaluate on instead of the one trained on
    state : "last" or "best", which weights to take

    Raises
    ------
    InputError
        If files are missing or damaged, or do not belong together; if a dataset differs from the one trained on and
        `dataset_path` was not given; if checkpoints of one model differ in more than their seed.
    """
    checkpoints, models = [load_checkpoint(path) for path in paths], []
    for checkpoint, path in zip(checkpoints, paths):
        try:
            models.append(checkpoint.model(state))
        except InputError as mistake:
            raise InputError(f"{path}: {mistake}") from mistake
    _check_seeds(checkpoints, paths)
    datasets: dict[Path, Dataset] = {}
    features: dict[tuple, Tensor] = {}
    entries = []
    for checkpoint, model, path in zip(checkpoints, models, paths):
        source = dataset_path or Path(checkpoint.dataset_path)
        if not source.is_file():
            raise InputError(f"{path}: was trained on {source}, which is not there; give its place with --dataset")
        if source not in datasets:
            datasets[source] = load_npz(source)
        dataset = datasets[source]
        mismatch = check_dataset(checkpoint, dataset)
        if mismatch and dataset_path is None:
            raise InputError(f"{path}: {mismatch}; re-create the dataset, or give --dataset {source} to evaluate on it")
        front_end = checkpoint.front_end()
        if (source, front_end) not in features:
            with tqdm(total=len(dataset), unit="tone", desc="features", delay=2, disable=None) as bar:
                features[source, front_end] = compute_features(dataset.x, front_end, device=device, progress=bar.update)
        model = to_device(model, device)  # in the memory layout of training, so that scores agree to the bit
        rows = np.arange(len(dataset)) if mismatch else checkpoint.valid_rows.numpy()
        entries.append(Entry(checkpoint, model, front_end, dataset, features[source, front_end], rows, mismatch))
    return entries


def _check_seeds(checkpoints: list[Checkpoint], paths: list[Path]) -> None:
    """Refuse checkpoints of one model that differ in more than their seed: they are aggregated over seeds."""
    first: dict[str, tuple] = {}
    seen: set[tuple[str, int]] = set()
    for one, path in zip(checkpoints, paths):
        name, seed = one.model_name, one.seed
        setting = (one.model_config, one.front_end_config, one.epoch, one.recipe, one.options | {"seed": 0})
        if first.setdefault(name, setting) != setting:
            raise InputError(
                f"{path}: was trained with other options than the {name} before it, so the two are not seeds of one "
                f"model; evaluate them one at a time"
            )
        if (name, seed) in seen:
            raise InputError(f"{path}: {name} with seed {seed} was given before; give each once")
        seen.add((name, seed))


def warnings_for(entries: list[Entry]) -> list[str]:
    """Return what a reader of the scores must know, one line each."""
    return list(
        dict.fromkeys(f"{entry.mismatch}; its tones are all taken as unseen" for entry in entries if entry.mismatch)
    )
