"""The checkpoint (.pt): written atomically, read as tensors and plain types only, rebuilt into model and front end."""

import pickle
import sys
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, get_origin

import numpy as np
import torch
from torch import Tensor, nn

from models import MODELS, build_model
from syntone.dataset.file import Dataset
from syntone.dataset.identity import Identity, identify
from syntone.dataset.splits import held_out
from syntone.errors import InputError
from syntone.features.front_end import FrontEnd
from syntone.files import write_files

FORMAT_VERSION = 2
RETRAIN = "train it again with trainvae.py"
# What zipfile raises for a damaged file, and torch.load with `weights_only` for the content of a foreign one.
UNREADABLE = (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, OSError)


@dataclass(frozen=True)
class Checkpoint:
    """Everything about a training run, finished or not, in plain types and tensors.

    model_name, model_config : arguments of `build_model`
    front_end_config : arguments of `FrontEnd`
    options : fields of `syntone.training.loop.Settings` and, of a model that learns from pairs, of
        `syntone.dataset.pairs.Rule`, and `num_pairs`
    epoch, best_epoch : epochs done; the epoch of the lowest validation loss
    last, best : state dicts of the model after these epochs
    optimizer : state dict of the optimizer
    history : column name -> one number per epoch
    dataset_path : where the data was
    recipe, digest, synthesized : what the data was, see `syntone.dataset.identity.Identity`
    train_rows, valid_rows : int64, rows of the dataset used for training and validation
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
    digest: dict[str, int]
    synthesized: bool
    train_rows: Tensor
    valid_rows: Tensor

    @property
    def seed(self) -> int:
        return self.options["seed"]

    @property
    def data(self) -> Identity:
        return Identity(self.recipe, self.digest, self.synthesized)

    def front_end(self) -> FrontEnd:
        """Return the front end that the model was trained with."""
        try:
            return FrontEnd(**self.front_end_config)
        except TypeError as mistake:  # a field that FrontEnd does not have, or of another type
            raise InputError(f"the checkpoint's front end is unknown; {RETRAIN}") from mistake

    def model(self, state: str = "last") -> nn.Module:
        """Return the model with the weights of that state, in evaluation mode, on the CPU.

        Raises
        ------
        InputError
            If the model is not registered here, or the weights do not fit its constructor's arguments.
        """
        if self.model_name not in MODELS:
            raise InputError(
                f"the checkpoint holds a {self.model_name}, known are {', '.join(MODELS)}; "
                f"register the model in models.MODELS"
            )
        shape = self.front_end().shape
        try:
            if tuple(self.model_config.get("input_shape", shape)) != shape:
                raise ValueError("the features have another shape")
            model = build_model(self.model_name, **self.model_config)
            model.load_state_dict({"last": self.last, "best": self.best}[state])
        except (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError) as mistake:
            raise InputError(
                f"the weights are not those of a {self.model_name} with the checkpoint's options; {RETRAIN}"
            ) from mistake
        return model.eval()


def checkpoint_path(directory: str | Path, model_name: str, seed: int) -> Path:
    return Path(directory) / f"{model_name}_seed{seed}.pt"


def _canonical(value: Any) -> Any:
    """Return the same content on the CPU, with every container new and every string interned.

    Pickle writes an object that it meets again as a reference, so without this the bytes of a resumed run would differ
    from those of an uninterrupted one.
    """
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, dict):
        return {_canonical(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_canonical(item) for item in value)
    return value


def checkpoint_bytes(checkpoint: Checkpoint) -> bytes:
    """Return the content of a .pt file; it depends on the checkpoint alone, not on a path."""
    content = BytesIO()
    torch.save(_canonical({"format_version": FORMAT_VERSION} | vars(checkpoint)), content)
    return content.getvalue()


def save_checkpoint(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically."""
    write_files({Path(path): checkpoint_bytes(checkpoint)})


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint onto the CPU.

    Raises
    ------
    syntone.errors.InputError (a ValueError)
        If the file is missing or damaged, is not a checkpoint of this project, or does not fit together.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the path of a .pt file that trainvae.py wrote")
    with open(path, "rb") as file:
        try:
            fields = torch.load(_checked_copy(file), map_location="cpu", weights_only=True)
        except UNREADABLE as damage:
            raise InputError(f"{path}: not a checkpoint that can be read safely; {RETRAIN}") from damage
    version = fields.pop("format_version", None) if isinstance(fields, dict) else None
    if version != FORMAT_VERSION:
        raise InputError(f"{path}: format version {str(version)[:40]}, this program reads {FORMAT_VERSION}; {RETRAIN}")
    wrong = _misfit(fields)
    if wrong:
        raise InputError(f"{path}: {wrong}; {RETRAIN}")
    return Checkpoint(**fields)


def _checked_copy(file: BinaryIO) -> BytesIO:
    """Return a .pt archive in memory, each member compared with its checksum, which torch does not do."""
    copy = BytesIO()
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(copy, "w") as checked:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:
                raise zipfile.BadZipFile(f"{member.filename} is compressed, so it could unpack to any size")
            checked.writestr(member.filename, archive.read(member))
    copy.seek(0)
    return copy


def _misfit(fields: dict[str, Any]) -> str | None:
    """Describe a field that is missing or does not fit the others; None if there is none."""
    wanted = {name: get_origin(field.type) or field.type for name, field in Checkpoint.__dataclass_fields__.items()}
    for name, kind in wanted.items():
        if type(fields.get(name)) is not kind:
            return f"'{name}' is {type(fields.get(name)).__name__}, expected {kind.__name__}"
    options, history, epoch = fields["options"], fields["history"], fields["epoch"]
    rows = fields["train_rows"], fields["valid_rows"]
    checks = {
        f"it has other fields than {', '.join(wanted)}": set(fields) == set(wanted),
        "'last' and 'best' are not states of tensors": all(
            isinstance(value, Tensor) for state in (fields["last"], fields["best"]) for value in state.values()
        ),
        "'options' has no seed, batch_size and lr": {"seed", "batch_size", "lr"} <= set(options)
        and type(options["seed"]) is int,
        f"'history' and best epoch {fields['best_epoch']} do not fit {epoch} epochs": "valid_loss" in history
        and 1 <= fields["best_epoch"] <= epoch
        and all(isinstance(column, list) and len(column) == epoch for column in history.values()),
        "'train_rows' and 'valid_rows' are not lists of row numbers": all(
            one.dtype == torch.int64 and one.dim() == 1 and len(one) >= 2 and int(one.min()) >= 0 for one in rows
        ),
    }
    return next((words for words, good in checks.items() if not good), None)


def check_dataset(checkpoint: Checkpoint, dataset: Dataset) -> str | None:
    """Describe how a dataset differs from the one that a checkpoint was trained on; None if it does not.

    Raises
    ------
    InputError
        If its tones do not fit the front end.
    """
    front_end = checkpoint.front_end()
    if (dataset.sample_rate, dataset.x.shape[1]) != (front_end.sample_rate, front_end.n_samples):
        raise InputError(
            f"{dataset.path}: {dataset.x.shape[1]} samples at {dataset.sample_rate} Hz, the checkpoint was "
            f"trained on {front_end.n_samples} at {front_end.sample_rate} Hz; give the dataset it names, "
            f"{checkpoint.dataset_path}"
        )
    difference = checkpoint.data.difference(identify(dataset))
    if difference:
        return f"{dataset.path.name} {difference} than the training data of {checkpoint.model_name}"
    used = torch.cat([checkpoint.train_rows, checkpoint.valid_rows]).sort().values.numpy()
    if not np.array_equal(used, np.flatnonzero(~held_out(dataset))):  # hold-outs name levels, which may be renamed
        return f"{dataset.path.name} holds out other tones than the training data of {checkpoint.model_name}"
    return None
