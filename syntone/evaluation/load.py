"""Checkpoints with their data and codes, ready to be evaluated."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from syntone.dataset.file import Dataset, load_npz
from syntone.device import to_device
from syntone.errors import InputError, one_line
from syntone.evaluation.codes import Codes, encode
from syntone.features.front_end import FrontEnd, compute_features
from syntone.training.checkpoint import Checkpoint, check_dataset, load_checkpoint


@dataclass(frozen=True)
class Entry:
    """One checkpoint with its data."""

    label: str  # in tables: name of the model, with that of its dataset where several are evaluated together
    checkpoint: Checkpoint
    model: nn.Module  # on the device, in evaluation mode
    front_end: FrontEnd
    dataset: Dataset
    features: Tensor  # (N, 1, M, L) of all tones, shared by all entries of one dataset and front end
    codes: Codes  # of all tones
    valid_rows: np.ndarray  # rows to reconstruct: the validation tones, or all where the model was trained on others
    mismatch: str | None  # why the dataset is not the one trained on

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.checkpoint.model_name

    @property
    def key(self) -> tuple[str, int]:
        """Label and training seed."""
        return self.label, self.checkpoint.seed


def load_entries(paths: list[Path], *, dataset_path: Path | None, state: str, device: torch.device) -> list[Entry]:
    """Read checkpoints and their datasets, compute features once for all checkpoints that share them, and encode.

    Parameters
    ----------
    dataset_path : a dataset to evaluate on instead of the one trained on
    state : "last" or "best", which weights to take

    Raises
    ------
    InputError
        If files are missing or damaged, or do not belong together; if a dataset differs from the one trained on and
        `dataset_path` was not given; if checkpoints of one model differ in more than their seed; if codes are not
        finite.
    """
    read = cache(load_npz)

    @cache
    def features_of(source: Path, front_end: FrontEnd) -> Tensor:
        waves = read(source).x
        with tqdm(total=len(waves), unit="tone", desc="features", delay=2, disable=None) as bar:
            return compute_features(waves, front_end, device=device, progress=bar.update)

    def load(checkpoint: Checkpoint, label: str) -> Entry:
        model = to_device(checkpoint.model(state), device)  # in the layout of training, so that scores agree to the bit
        source, front_end = dataset_path or Path(checkpoint.dataset_path), checkpoint.front_end()
        if dataset_path is None and not source.is_file():
            raise InputError(f"was trained on {source}, which is not there; give its place with --dataset")
        dataset = read(source)
        mismatch = check_dataset(checkpoint, dataset)
        if mismatch and dataset_path is None:
            raise InputError(f"{mismatch}; re-create the dataset, or give --dataset {source} to evaluate on it")
        features = features_of(source, front_end)
        rows = np.arange(len(dataset)) if mismatch else checkpoint.valid_rows.numpy()
        return Entry(label, checkpoint, model, front_end, dataset, features, encode(model, features), rows, mismatch)

    checkpoints = [load_checkpoint(path) for path in paths]
    _check_seeds(checkpoints, paths)
    labels = _labels(checkpoints, one_dataset=dataset_path is not None)
    if dataset_path:
        read(dataset_path)  # a mistake in it is not one of the first checkpoint
    entries = []
    for checkpoint, label, path in zip(checkpoints, labels, paths):
        try:
            entries.append(load(checkpoint, label))
        except InputError as mistake:
            raise InputError(f"{path}: {mistake}") from mistake
    return entries


def _labels(checkpoints: list[Checkpoint], *, one_dataset: bool) -> list[str]:
    """Return the models' names, with those of the datasets where these differ, numbered where equal."""
    first: list[Checkpoint] = []  # of each dataset
    number_of = []
    for one in checkpoints:
        same = [number for number, other in enumerate(first) if other.data.difference(one.data) is None]
        number_of.append(same[0] if same else len(first))
        first += [] if same else [one]
    if one_dataset or len(first) == 1:
        return [one.model_name for one in checkpoints]
    names = [one_line(Path(one.dataset_path).name) for one in first]
    names = [f"{name}, {n}" if names.count(name) > 1 else name for n, name in enumerate(names, start=1)]
    return [f"{one.model_name} ({names[number]})" for one, number in zip(checkpoints, number_of)]


def _check_seeds(checkpoints: list[Checkpoint], paths: list[Path]) -> None:
    """Refuse checkpoints of one model that differ in more than their seed: they are aggregated over seeds."""
    first: dict[str, Checkpoint] = {}
    seen: set[tuple[str, int]] = set()
    for one, path in zip(checkpoints, paths):
        name, seed, before = one.model_name, one.seed, first.setdefault(one.model_name, one)
        settings = [(it.model_config, it.front_end_config, it.epoch, it.options | {"seed": 0}) for it in (before, one)]
        what = "with other options" if settings[0] != settings[1] else "on other data"
        if settings[0] != settings[1] or before.data.difference(one.data):
            raise InputError(
                f"{path}: was trained {what} than the {name} before it, so the two are not seeds of one model; "
                f"evaluate them one at a time"
            )
        if (name, seed) in seen:
            raise InputError(f"{path}: {name} with seed {seed} was given before; give each once")
        seen.add((name, seed))


def warnings_for(entries: list[Entry]) -> list[str]:
    """Return what a reader of the scores must know, one line each."""
    found = [f"{entry.mismatch}; its tones are all taken as unseen" for entry in entries if entry.mismatch]
    return list(dict.fromkeys(found))
