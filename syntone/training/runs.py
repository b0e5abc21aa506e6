"""Which training runs a command asks for, and what is there of each already."""

import argparse
import functools
import inspect
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models import MODELS, build_model
from syntone.dataset.file import Dataset
from syntone.dataset.recipe import same_recipe
from syntone.dataset.splits import training_split
from syntone.errors import InputError
from syntone.features.front_end import FrontEnd, compute_features
from syntone.features.memory import memory_bytes, place_for
from syntone.figures import png, training_curves
from syntone.files import write_files
from syntone.training.checkpoint import Checkpoint, check_resumable, checkpoint_path, load_checkpoint, save_checkpoint
from syntone.training.loop import Learner, Progress, annealed_pressure, batch_sizes, history_csv, train
from syntone.training.parallel import Processes, same_everywhere

DEFAULTS = {"latent_dim": 8, "sigma": 0.3}  # flags that every run has; a model that lacks one ignores its default


@dataclass(frozen=True)
class Run:
    """One model and seed: what it is trained with, where it is kept, and where it stands."""

    model_name: str
    model_config: dict[str, Any]
    front_end: FrontEnd
    options: dict[str, Any]
    epochs: int
    path: Path
    dataset_path: str
    recipe: str
    train_rows: Tensor
    valid_rows: Tensor
    weights: Tensor | None  # how often each training row is drawn; None: each once an epoch
    resume: Progress | None

    @property
    def seed(self) -> int:
        return self.options["seed"]

    @property
    def first_epoch(self) -> int:
        return self.resume.epoch + 1 if self.resume else 1

    @property
    def n_epochs_left(self) -> int:
        return self.epochs + 1 - self.first_epoch

    def checkpoint(self, progress: Progress) -> Checkpoint:
        return Checkpoint(
            model_name=self.model_name,
            model_config=self.model_config,
            front_end_config=self.front_end.config(),
            options=self.options,
            dataset_path=self.dataset_path,
            recipe=self.recipe,
            train_rows=self.train_rows,
            valid_rows=self.valid_rows,
            **vars(progress),
        )


def constructor_parameters(name: str) -> dict[str, inspect.Parameter]:
    """The parameters of a model's constructor by name; where it passes on **kwargs, those of the class it extends too."""
    found: dict[str, inspect.Parameter] = {}
    for cls in MODELS[name].__mro__:
        if "__init__" not in vars(cls):
            continue
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        found = {p.name: p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)} | found
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return found


def check_models(names: list[str], overrides: dict[str, Any]) -> None:
    """Refuse models that are not registered, and objective flags that no chosen model has."""
    for name in names:
        if name not in MODELS:
            raise InputError(f"--model: {name!r} is unknown; choose from {', '.join(MODELS)}")
    for flag, value in overrides.items():
        if value != DEFAULTS.get(flag) and not any(flag in constructor_parameters(name) for name in names):
            raise InputError(f"--{flag}: none of {', '.join(names)} has it; leave it out or choose another model")


def model_config(name: str, *, overrides: dict[str, Any], **known: Any) -> dict[str, Any]:
    """Every argument of the constructor, defaults included, so that a later change of a default changes no checkpoint.
    `known` is what a run knows and a flag of the model does not set: each is passed on where the constructor has it."""
    parameters = constructor_parameters(name)
    given = known | overrides
    defaults = {key: p.default for key, p in parameters.items() if p.default is not inspect.Parameter.empty}
    return defaults | {key: value for key, value in given.items() if key in parameters}


def plan(
    name: str, seed: int, *, args: argparse.Namespace, dataset: Dataset, front_end: FrontEnd, overrides: dict[str, Any]
) -> Run:
    """One run as the flags ask for it, resumed from what is there.

    Raises
    ------
    InputError
        If a checkpoint is there that is unfinished or different, and neither --resume nor --overwrite was given, or
        that cannot be continued with these options.
    """
    train_rows, valid_rows, weights = training_split(dataset, seed=seed)
    path = checkpoint_path(args.output_dir, name, seed)
    found = load_checkpoint(path) if path.exists() and not args.overwrite else None
    options = {
        "seed": seed,
        "batch_size": args.batch_size,
        "lr": args.lr,
        "precision": args.precision,
        "anneal_from": args.anneal_from,
        "anneal_epochs": args.anneal_epochs,
    }
    run = Run(
        model_name=name,
        front_end=front_end,
        epochs=args.epochs,
        path=path,
        options=options,
        model_config=model_config(
            name, overrides=overrides, input_shape=front_end.shape, n_data=len(train_rows), anneal_from=args.anneal_from
        ),
        dataset_path=str(args.dataset),
        recipe=dataset.recipe,
        train_rows=torch.from_numpy(train_rows),
        valid_rows=torch.from_numpy(valid_rows),
        weights=None if weights is None else torch.from_numpy(weights),
        resume=None,
    )
    if found is None:
        return run
    different = _differences(found, run)
    if different:
        raise InputError(
            f"{run.path}: was trained with other options ({different}); give --overwrite to start anew or "
            f"another --output_dir"
        )
    if found.epoch > args.epochs:
        raise InputError(
            f"{run.path}: has {found.epoch} epochs, more than --epochs {args.epochs}; give --epochs "
            f"{found.epoch} or more, or --overwrite to start anew"
        )
    if found.epoch < args.epochs and not args.resume:
        raise InputError(
            f"{run.path}: has {found.epoch} of {args.epochs} epochs; give --resume to go on or --overwrite to "
            f"start anew"
        )
    if found.epoch < args.epochs:
        check_resumable(found, path=run.path)
    progress = Progress(**{name: getattr(found, name) for name in Progress.__dataclass_fields__})
    return Run(**vars(run) | {"resume": progress})


def check_processes(planned: list[Run], processes: Processes, *, batch_size: int) -> None:
    """Refuse processes of torchrun that do not go on from the same checkpoints, or that are more than tones in a batch.

    Raises
    ------
    InputError
        In every process alike.
    """
    stands = [
        (
            str(run.path),
            run.first_epoch,
            sum(value.double().sum().item() for value in run.resume.last.values()) if run.resume else 0.0,
        )
        for run in planned
    ]
    if not same_everywhere(stands, processes):
        raise InputError(
            "--output_dir: the processes do not see the same checkpoints in it; give a folder that all share"
        )
    for run in planned:
        smallest = min(batch_sizes(len(run.train_rows), batch_size) + batch_sizes(len(run.valid_rows), batch_size))
        if processes.count > smallest:
            raise InputError(
                f"--batch_size: {processes.count} processes cannot share a batch of {smallest} tones; start "
                f"fewer processes or give a larger dataset or batch"
            )


def save(run: Run, progress: Progress) -> None:
    """Write checkpoint, curves and history. The checkpoint takes its name last: where it is there, the others are at least
    as new. It is the largest, so a full disk shows before any of the three is replaced."""

    def beside() -> None:
        curves = png(training_curves(progress.history, title=run.path.stem))
        write_files({run.path.with_suffix(".png"): curves, run.path.with_suffix(".csv"): history_csv(progress.history)})

    save_checkpoint(run.path, run.checkpoint(progress), beside=beside)


def features_of(
    dataset: Dataset,
    front_end: FrontEnd,
    *,
    device: torch.device,
    memory: float | None,
    folder: Path,
    progress: Callable[[int], None],
) -> tuple[Tensor, str]:
    """The features of every tone, (N, 1, M, L), and where they are, in words.

    They are kept on the device, in main memory or, where they exceed `memory` (GB; None: half of what there is), in a
    file in `folder` that has no name and goes with the process, however that ends.
    """
    limit = memory_bytes(torch.device("cpu")) / 2 if memory is None else memory * 1e9
    n_bytes = 4 * len(dataset) * math.prod(front_end.shape)
    place = place_for(n_bytes, device=device, limit=limit)
    compute = functools.partial(compute_features, dataset.x, front_end, device=device, progress=progress)
    folder.mkdir(parents=True, exist_ok=True)
    if place == "file":
        with tempfile.TemporaryFile(dir=folder) as file:
            return compute(keep=file), f"a temporary file in {folder} (--memory {limit / 1e9:.3g} GB)"
    if place == "memory":
        return compute(keep=torch.device("cpu")), f"main memory (--memory {limit / 1e9:.3g} GB)"
    return compute(), "memory" if device.type == "cpu" else f"the memory of {device}"


def side_by_side(runs: list[Run], *, at_once: int) -> list[list[Run]]:
    """Runs in groups that train together: one model at one epoch, up to `at_once` seeds; in the order of their first."""
    alike: dict[tuple, list[Run]] = {}
    for run in runs:
        key = run.model_name, run.first_epoch, len(run.train_rows), len(run.valid_rows)
        alike.setdefault(key if at_once > 1 else (run.path,), []).append(run)
    return [group[start : start + at_once] for group in alike.values() for start in range(0, len(group), at_once)]


def train_group(
    group: list[Run],
    features: Tensor,
    *,
    args: argparse.Namespace,
    device: torch.device,
    processes: Processes,
    score: Callable | None,
    **calls: Callable,
) -> list[Progress]:
    """Train runs side by side to their last epoch. `score(model, epoch=...)` as in `Learner`, with the model."""
    learners = []
    for run in group:
        torch.manual_seed(run.seed)  # of the weights
        model = build_model(run.model_name, **run.model_config)
        pressure = functools.partial(
            annealed_pressure, start=run.options["anneal_from"], epochs=run.options["anneal_epochs"]
        )
        learners.append(
            Learner(
                model=model,
                train_rows=run.train_rows,
                valid_rows=run.valid_rows,
                seed=run.seed,
                name=str(run.path),
                weights=run.weights,
                pressure=pressure,
                resume=run.resume,
                save=functools.partial(save, run) if processes.writes else (lambda progress: None),
                score=None if score is None else lambda epoch, model=model: score(model, epoch=epoch),
            )
        )
    return train(
        learners,
        features,
        epochs=args.epochs,
        batch_size=args.batch_size,
        lr=args.lr,
        device=device,
        precision=getattr(torch, args.precision),
        save_seconds=args.save_seconds,
        processes=processes,
        graphs=not args.no_graphs,
        **calls,
    )


def _differences(found: Checkpoint, run: Run) -> str:
    """What a checkpoint was trained with that this run is not, in words; empty where they agree."""
    was = found.model_config | found.front_end_config | found.options
    now = run.model_config | run.front_end.config() | run.options
    was, now = {"model": found.model_name} | was, {"model": run.model_name} | now
    words = [f"{key} {was.get(key)}, now {now.get(key)}" for key in was | now if was.get(key) != now.get(key)]
    if not same_recipe(found.recipe, run.recipe):
        words.append(f"another dataset, {found.dataset_path}")
    return ", ".join(words)


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
