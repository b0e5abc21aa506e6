"""The checkpoint (.pt): written whole or not at all, read without unpickling, and rebuilt into model and front end."""

import pickle
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models import MODELS, build_model
from syntone.cli import InputError
from syntone.data import Dataset, same_recipe
from syntone.files import replacing
from syntone.mel import FrontEnd
from syntone.splits import held_out

FORMAT_VERSION = 1
STATES = ("last", "best")


@dataclass(frozen=True)
class Checkpoint:
    """All that a finished or unfinished training run is: plain types and tensors only.

    model_name, model_config : what `build_model` needs
    front_end_config : what `FrontEnd` needs
    options : seed, batch_size, lr; whatever else decides what the run computes
    epoch : epochs done; best_epoch : the one of lowest validation loss
    last, best : state dicts of the model
    optimizer : state dict of the optimizer
    history : column name -> one number an epoch
    dataset_path, recipe : where the data was and how it was made
    train_rows, valid_rows : int64, the rows of the dataset that were trained and validated on
    """

    model_name: str
    model_config: dict[str, Any]
    front_end_config: dict[str, Any]
    options: dict[str, Any]
    epoch: int
    best_epoch: int
    last: dict[str, Tensor]
    best: dict[str, Tensor]
    optimizer: dict[str, Any]
    history: dict[str, list[float]]
    dataset_path: str
    recipe: str
    train_rows: Tensor
    valid_rows: Tensor

    @property
    def seed(self) -> int:
        return self.options["seed"]

    def front_end(self) -> FrontEnd:
        return FrontEnd(**self.front_end_config)

    def model(self, state: str = "last") -> nn.Module:
        """The model with its weights, in evaluation mode, on the CPU."""
        if self.model_name not in MODELS:
            raise InputError(f"the checkpoint holds a {self.model_name}, known are {', '.join(MODELS)}; "
                             f"register the model in models.MODELS")
        model = build_model(self.model_name, **self.model_config)
        model.load_state_dict({"last": self.last, "best": self.best}[state])
        return model.eval()


def checkpoint_path(directory: str | Path, model_name: str, seed: int) -> Path:
    return Path(directory) / f"{model_name}_seed{seed}.pt"


def _canonical(value: Any) -> Any:
    """The same content with every container new and every string interned. Pickle writes an object that it meets again
    as a reference, so without this the bytes would tell a resumed run from an uninterrupted one."""
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, dict):
        return {_canonical(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_canonical(item) for item in value)
    return value


def save_checkpoint(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; the bytes depend on its content alone, not on the path."""
    fields = {name: getattr(checkpoint, name) for name in checkpoint.__dataclass_fields__}
    with replacing(path) as handle:
        torch.save(_canonical({"format_version": FORMAT_VERSION} | fields), handle)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint onto the CPU.

    Raises
    ------
    syntone.cli.InputError (a ValueError)
        If the file is missing, damaged, no checkpoint of this project, or of another format version.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; give the path of a .pt that trainvae.py wrote")
    if path.is_dir():
        raise InputError(f"{path}: is a directory; give the path of a .pt file inside it")
    unreadable = f"{path}: not a checkpoint that can be read safely; train it again with trainvae.py"
    if not zipfile.is_zipfile(path):  # torch would fall back to its format of before 2020
        raise InputError(unreadable)
    try:
        fields = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError) as damage:
        raise InputError(unreadable) from damage
    version = fields.pop("format_version", None) if isinstance(fields, dict) else None
    if version != FORMAT_VERSION or set(fields) != set(Checkpoint.__dataclass_fields__):
        raise InputError(f"{path}: format version {version}, this program reads {FORMAT_VERSION}; "
                         f"train it again with trainvae.py")
    return Checkpoint(**fields)


def check_dataset(checkpoint: Checkpoint, dataset: Dataset) -> str | None:
    """Why a dataset is not the one a checkpoint was trained on, or None where it is.

    Raises
    ------
    InputError
        If its tones do not fit the front end at all.
    """
    front_end = checkpoint.front_end()
    if (dataset.sample_rate, dataset.x.shape[1]) != (front_end.sample_rate, front_end.n_samples):
        raise InputError(f"{dataset.path}: {dataset.x.shape[1]} samples at {dataset.sample_rate} Hz, the checkpoint was "
                         f"trained on {front_end.n_samples} at {front_end.sample_rate} Hz; give the dataset it names, "
                         f"{checkpoint.dataset_path}")
    if not same_recipe(dataset.recipe, checkpoint.recipe):
        return f"{dataset.path} was made by another recipe than the dataset that {checkpoint.model_name} was trained on"
    n_split = len(checkpoint.train_rows) + len(checkpoint.valid_rows)
    n_kept = len(dataset) - int(held_out(dataset).sum())
    if n_kept != n_split:
        return f"{dataset.path} has {n_kept} tones, {checkpoint.model_name} was trained on a split of {n_split}"
    return None
