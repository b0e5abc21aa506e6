"""What is evaluated: checkpoints, and codes from files, with their data."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from models import MODELS
from syntone.dataset.file import Dataset, load_npz
from syntone.device import to_device
from syntone.errors import InputError, one_line
from syntone.evaluation.codes import Codes, encode, without_posterior
from syntone.evaluation.codes_file import read_codes
from syntone.features.front_end import FrontEnd, compute_features
from syntone.training.checkpoint import Checkpoint, check_dataset, load_checkpoint

BASELINE = "baseline: "  # begins the labels of baselines
PAIRS = " (pairs)"  # follows the names of models that learn from pairs, which labels were used to draw


@dataclass(frozen=True)
class Entry:
    """Codes of all tones of a dataset, and what they were computed with: a checkpoint, a baseline, or a user's encoder.

    The fields from `model` on are None for codes alone.
    """

    label: str  # in tables: the name, followed by that of the dataset if there are several
    name: str  # of the model
    seed: int
    dataset: Dataset
    codes: Codes  # of all tones
    valid_rows: np.ndarray  # rows to reconstruct: the validation tones, or all tones of another dataset
    mismatch: str | None = None  # how the dataset differs from that of training
    checkpoint: Checkpoint | None = None
    model: nn.Module | None = None  # encodes and decodes; on the device, in evaluation mode
    front_end: FrontEnd | None = None
    features: Tensor | None = None  # (N, 1, M, L) of all tones, shared by all entries of one dataset and front end

    @property
    def is_baseline(self) -> bool:
        return self.label.startswith(BASELINE)

    @property
    def key(self) -> tuple[str, int]:
        """Label and training seed."""
        return self.label, self.seed


def marked(name: str) -> str:
    """Return the name of a model for tables: with a mark if it learns from pairs."""
    return name + (PAIRS if name in MODELS and MODELS[name].needs_pairs else "")


def features_of(dataset: Dataset, front_end: FrontEnd, *, device: torch.device) -> Tensor:
    """Compute the features (N, 1, M, L) of all tones."""
    with tqdm(total=len(dataset), unit="tone", desc="features", delay=2, disable=None) as bar:
        return compute_features(dataset.x, front_end, device=device, progress=bar.update)


def load_entries(paths: list[Path], *, dataset_path: Path | None, state: str, device: torch.device) -> list[Entry]:
    """Read checkpoints and datasets, compute features once per dataset and front end, and encode.

    Parameters
    ----------
    dataset_path : dataset to use instead of that of training
    state : "last" or "best" weights

    Raises
    ------
    InputError
        If files are missing, damaged or inconsistent; if a dataset differs from that of training and `dataset_path` was
        not given; if checkpoints of one model differ in more than their seed; if codes are not finite.
    """
    read = cache(load_npz)

    @cache
    def shared_features(source: Path, front_end: FrontEnd) -> Tensor:
        return features_of(read(source), front_end, device=device)

    def load(checkpoint: Checkpoint, label: str) -> Entry:
        model = to_device(checkpoint.model(state), device)  # in the memory layout of training, for the same bits
        source, front_end = dataset_path or Path(checkpoint.dataset_path), checkpoint.front_end()
        if dataset_path is None and not source.is_file():
            raise InputError(f"was trained on {source}, which does not exist; give its path with --dataset")
        dataset = read(source)
        mismatch = check_dataset(checkpoint, dataset)
        if mismatch and dataset_path is None:
            raise InputError(f"{mismatch}; re-create the dataset, or give --dataset {source} to evaluate on it")
        features = shared_features(source, front_end)
        return Entry(
            label,
            checkpoint.model_name,
            checkpoint.seed,
            dataset,
            encode(model, features),
            valid_rows=np.arange(len(dataset)) if mismatch else checkpoint.valid_rows.numpy(),
            mismatch=mismatch,
            checkpoint=checkpoint,
            model=model,
            front_end=front_end,
            features=features,
        )

    checkpoints = [load_checkpoint(path) for path in paths]
    _check_seeds(checkpoints, paths)
    labels = _labels(checkpoints, one_dataset=dataset_path is not None)
    if dataset_path:
        read(dataset_path)  # so that an error in it does not name the first checkpoint
    entries = []
    for checkpoint, label, path in zip(checkpoints, labels, paths):
        try:
            entries.append(load(checkpoint, label))
        except InputError as mistake:
            raise InputError(f"{path}: {mistake}") from mistake
    return entries


def load_codes(paths: list[Path], *, dataset: Dataset, taken: Iterable[str] = ()) -> list[Entry]:
    """Read files of codes (see `codes_file.read_codes`), whose rows are the tones of the dataset.

    Parameters
    ----------
    taken : names that the codes cannot have: names and labels of checkpoints

    Raises
    ------
    InputError
        If a file cannot be used, a name is taken, or a name and seed is given twice.
    """
    entries: dict[tuple[str, int], Entry] = {}
    for path in paths:
        given = read_codes(path, n_rows=len(dataset))
        if given.name.startswith(BASELINE):
            raise InputError(f"{path}: the name {one_line(given.name)!r} is that of a baseline; give another `name`")
        if given.name in taken:
            raise InputError(f"{path}: a checkpoint is named {given.name} too; give these codes another `name`")
        key = marked(one_line(given.name)), given.seed
        if key in entries:
            raise InputError(f"{path}: {key[0]} with seed {key[1]} was given before; give each once, or another `seed`")
        width = next((len(one.codes.active) for (name, _), one in entries.items() if name == key[0]), None)
        if width not in (None, given.codes.shape[1]):
            raise InputError(
                f"{path}: has {given.codes.shape[1]} columns, and {key[0]} before it {width}, so they are not seeds of "
                "one model; give another `name`"
            )
        codes = without_posterior(given.codes, given.active)
        entries[key] = Entry(key[0], key[0], given.seed, dataset, codes, valid_rows=np.arange(len(dataset)))
    return list(entries.values())


def _labels(checkpoints: list[Checkpoint], *, one_dataset: bool) -> list[str]:
    """Return the marked names of the models, followed by those of their datasets if these differ."""
    first = [  # the first checkpoint with the same dataset
        next(n for n, other in enumerate(checkpoints) if other.data.difference(one.data) is None) for one in checkpoints
    ]
    datasets = {n: one_line(Path(checkpoints[n].dataset_path).name) for n in first}
    if one_dataset or len(datasets) == 1:
        return [marked(one.model_name) for one in checkpoints]
    names = list(datasets.values())
    for number, (n, name) in enumerate(datasets.items(), start=1):
        datasets[n] += f", {number}" if names.count(name) > 1 else ""
    return [f"{marked(one.model_name)} ({datasets[n]})" for one, n in zip(checkpoints, first)]


def _check_seeds(checkpoints: list[Checkpoint], paths: list[Path]) -> None:
    """Refuse checkpoints of one model that differ in more than their seed, because seeds are aggregated."""
    first: dict[str, Checkpoint] = {}
    seen: set[tuple[str, int]] = set()
    for one, path in zip(checkpoints, paths):
        name, seed, before = one.model_name, one.seed, first.setdefault(one.model_name, one)
        settings = [(it.model_config, it.front_end_config, it.epoch, it.options | {"seed": 0}) for it in (before, one)]
        what = "with other options" if settings[0] != settings[1] else "on other data"
        if settings[0] != settings[1] or before.data.difference(one.data):
            raise InputError(
                f"{path}: was trained {what} than the {name} before it, so they are not seeds of one model; evaluate "
                "them separately"
            )
        if (name, seed) in seen:
            raise InputError(f"{path}: {name} with seed {seed} was given before; give each once")
        seen.add((name, seed))


def warnings_for(entries: list[Entry]) -> list[str]:
    """Return one line for each dataset that is not that of training, and for each model that uses no latent."""
    found = [f"{entry.mismatch}; the reconstruction error uses all its tones" for entry in entries if entry.mismatch]
    for entry in entries:
        if not (entry.is_baseline or entry.codes.active.any()):
            found.append(
                f"{entry.label}, seed {entry.seed}: no latent is active, so its scores are those of no code at all; "
                "train the model for more epochs, or with fewer epochs of annealing"
            )
    return list(dict.fromkeys(found))
