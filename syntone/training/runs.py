"""The training runs of one command: what each is trained with, and the state of its checkpoint."""

import functools
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from models import MODELS, build_model
from models.options import REQUIRED, constructor_parameters
from syntone.dataset.file import Dataset
from syntone.dataset.identity import Identity, identify
from syntone.dataset.pairs import Rule, plan_pairs
from syntone.dataset.splits import training_split
from syntone.errors import InputError
from syntone.features.front_end import FrontEnd, compute_features
from syntone.figures import png, training_curves
from syntone.files import csv_text, write_files
from syntone.training.checkpoint import Checkpoint, checkpoint_bytes, checkpoint_path, load_checkpoint
from syntone.training.loop import Progress, Settings, Split, annealing_factor, batch_sizes, train
from syntone.training.parallel import Processes, same_everywhere

ANY_ONE = Rule()  # pairs differ in one factor


@dataclass(frozen=True)
class Run:
    """One model and seed: what it is trained with, where it is stored, and its progress so far (None: not started)."""

    model_name: str
    model_config: dict[str, Any]
    front_end: FrontEnd
    settings: Settings
    split: Split
    epochs: int
    path: Path
    dataset_path: str
    data: Identity
    resume: Progress | None = None

    @property
    def first_epoch(self) -> int:
        return self.resume.epoch + 1 if self.resume else 1

    @property
    def n_epochs_left(self) -> int:
        return self.epochs + 1 - self.first_epoch

    @property
    def options(self) -> dict[str, Any]:
        """Settings and, of a model that needs pairs, the rule of its pairs and the number of fixed ones or None."""
        pairs = self.split.pairs
        if pairs is None:
            return asdict(self.settings)
        fixed = {"num_pairs": None if pairs.fixed is None else len(pairs.fixed)}
        return asdict(self.settings) | asdict(pairs.rule) | fixed

    def checkpoint(self, progress: Progress) -> Checkpoint:
        """Return the checkpoint of the run."""
        return Checkpoint(
            model_name=self.model_name,
            model_config=self.model_config,
            front_end_config=self.front_end.config(),
            options=self.options,
            dataset_path=self.dataset_path,
            train_rows=self.split.train,
            valid_rows=self.split.valid,
            **vars(self.data),
            **vars(progress),
        )


def model_config(name: str, *, given: dict[str, Any]) -> dict[str, Any]:
    """Return every argument of a model's constructor, defaults included, so that checkpoints keep their meaning.

    Of `given`, the model takes the arguments that its constructor has.

    Raises
    ------
    InputError
        If an argument without a default is missing.
    """
    parameters = constructor_parameters(MODELS[name])
    config = {key: parameter.default for key, parameter in parameters.items()}
    config |= {key: value for key, value in given.items() if key in parameters}
    missing = [key for key, value in config.items() if value is REQUIRED]
    if missing:
        raise InputError(f"--{missing[0]}: {name} has no default for it; give a value")
    return config


def plan(
    name: str,
    settings: Settings,
    *,
    dataset: Dataset,
    front_end: FrontEnd,
    given: dict[str, Any],
    epochs: int,
    output_dir: Path,
    rule: Rule = ANY_ONE,
    num_pairs: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Run:
    """Return one run, with the progress of its checkpoint.

    Parameters
    ----------
    given : options of models, of which the model takes its own
    rule, num_pairs : for a model that needs pairs, see `syntone.dataset.pairs.plan_pairs`

    Raises
    ------
    InputError
        If a checkpoint exists that is unfinished or different, and neither `resume` nor `overwrite` was given, or that
        cannot be continued with these options.
    """
    parts = training_split(dataset, seed=settings.seed)
    pairs = None
    if MODELS[name].needs_pairs:
        train, valid, weights = parts
        rows = {"train": train, "valid": valid, "weights": weights}
        pairs = plan_pairs(dataset, rule, **rows, num_pairs=num_pairs, seed=settings.seed)
    split = Split(*[None if part is None else torch.from_numpy(part) for part in parts], pairs=pairs)
    known = {"input_shape": front_end.shape, "n_data": len(split.train), "anneal_from": settings.anneal_from}
    path = checkpoint_path(output_dir, name, settings.seed)
    run = Run(
        model_name=name,
        model_config=model_config(name, given=known | given),
        front_end=front_end,
        settings=settings,
        split=split,
        epochs=epochs,
        path=path,
        dataset_path=str(dataset.path),
        data=identify(dataset),
    )
    if overwrite or not path.exists():
        return run
    found = load_checkpoint(path)
    different, problem = _differences(found, run), None
    if different:
        problem = (
            f"was trained with other options ({different}); give --overwrite to replace it or another --output_dir"
        )
    elif found.epoch > epochs:
        problem = f"has {found.epoch} epochs, more than --epochs {epochs}; give more, or --overwrite to start anew"
    elif found.epoch < epochs and not resume:
        problem = f"has {found.epoch} of {epochs} epochs; give --resume to continue or --overwrite to start anew"
    if problem:
        raise InputError(f"{path}: {problem}")
    try:
        found.model()
    except InputError as mistake:
        raise InputError(f"{path}: {mistake}") from mistake
    return replace(run, resume=Progress(**{name: getattr(found, name) for name in Progress.__dataclass_fields__}))


def _differences(found: Checkpoint, run: Run) -> str:
    """List the options in which a checkpoint differs from a run; empty if there are none."""
    was = {"model": found.model_name} | found.model_config | found.front_end_config | found.options
    now = {"model": run.model_name} | run.model_config | run.front_end.config() | run.options
    words = [f"{key} {was.get(key)}, now {now.get(key)}" for key in was | now if was.get(key) != now.get(key)]
    if difference := found.data.difference(run.data):
        words.append(f"another dataset, {found.dataset_path}: the one given {difference}")
    elif not torch.equal(found.train_rows, run.split.train):
        words.append(f"another split of {found.dataset_path}: its hold-outs mean other tones now")
    return ", ".join(words)


def check_processes(runs: list[Run], processes: Processes) -> None:
    """Refuse processes that would not continue from the same checkpoints, or that outnumber the tones of a batch.

    Raises
    ------
    InputError
        In every process alike.
    """
    weights = [run.resume.last.values() if run.resume else () for run in runs]
    states = [
        (str(run.path), run.first_epoch, sum(float(w.double().sum()) for w in of)) for run, of in zip(runs, weights)
    ]
    if not same_everywhere(states, processes):
        raise InputError("--output_dir: the processes see different checkpoints in it; give a folder that all share")
    smallest = min(min(batch_sizes(size, run.settings.batch_size)) for run in runs for size in run.split.sizes)
    if processes.count > smallest:
        raise InputError(
            f"--batch_size: {processes.count} processes cannot share a batch of {smallest} tones; start fewer or give "
            f"a larger dataset or batch"
        )


def notes(run: Run, n_tones: int) -> list[str]:
    """Return notes for the user about the split, the pairs and the annealing of a run."""
    n_out, found = n_tones - len(run.split.train) - len(run.split.valid), []
    if n_out:
        found.append(f"{n_out:,} of {n_tones:,} tones are held out of training and validation by the dataset's recipe")
    if run.split.weights is not None:
        found.append("training tones are drawn from the correlated distribution of the dataset's recipe")
    if pairs := run.split.pairs:
        n_pairs = "" if pairs.fixed is None else f"{len(pairs.fixed):,} fixed "
        found.append(f"{run.model_name} uses labels to draw {n_pairs}pairs; each pair {pairs.rule}")
        if pairs.n_alone:
            found.append(f"{pairs.n_alone:,} of {len(run.split.train):,} tones have no partner and are skipped")
    n_annealed = run.settings.anneal_epochs
    factor = annealing_factor(run.epochs, start=run.settings.anneal_from, epochs=n_annealed)
    if factor > 2:
        shorter = f"--anneal_epochs {run.epochs - 1} or " if run.epochs > 1 else ""
        found.append(
            f"--anneal_epochs {n_annealed}: the factor of the annealing is still {factor:.3g} in the last epoch, "
            f"{run.epochs}, so the model uses few latents; for a run this short give {shorter}--anneal_from 1"
        )
    return found


def train_all(
    planned: list[Run],
    dataset: Dataset,
    *,
    device: torch.device,
    processes: Processes,
    save_seconds: float,
    score: Callable[..., dict[str, float]] | None = None,
) -> None:
    """Train the runs that are not finished, one after another; the main process prints and writes.

    `score` is called after every epoch with the model, the epoch, features and device; its result joins the history.
    """
    check_processes(planned, processes)
    say = functools.partial(print, flush=True) if processes.is_main else (lambda *words: None)
    bar_of = functools.partial(tqdm, unit="tone", delay=2, disable=None if processes.is_main else True)
    todo = [run for run in planned if run.n_epochs_left]
    for run in planned:
        if not run.n_epochs_left:
            say(f"{run.path} is finished with these options; left alone")
    if not todo:
        return
    for note in dict.fromkeys(note for run in todo for note in notes(run, len(dataset))):
        say(note)
    front_end = todo[0].front_end
    n_bytes = 4 * len(dataset) * math.prod(front_end.shape)
    fits = device.type != "cuda" or n_bytes <= torch.cuda.mem_get_info(device)[0] * 2 / 3  # a third for the training
    with bar_of(total=len(dataset), desc="features") as bar:
        keep = device if fits else torch.device("cpu")
        features = compute_features(dataset.x, front_end, device=device, keep=keep, progress=bar.update)
    say(f"{len(dataset):,} tones -> features {front_end.shape}, {n_bytes / 1e9:.3g} GB on {keep}; training on {device}")
    if score is not None:
        score = functools.partial(score, features=features, device=device) if processes.is_main else None
    n_left = sum(run.n_epochs_left for run in todo)
    for run in todo:

        def on_epoch(epoch: int, seconds: float, run=run, n_left=n_left - 1) -> None:
            if epoch == run.first_epoch:
                rest = timedelta(seconds=round(seconds * n_left))
                say(f"{run.path.stem}: {seconds:.1f} s per epoch, about {rest} for the remaining {n_left} epochs")

        with bar_of(total=run.n_epochs_left * run.split.n_tones, desc=run.path.stem) as bar:
            how = {"save_seconds": save_seconds, "score": score, "on_epoch": on_epoch, "on_step": bar.update}
            progress = train_run(run, features, device=device, processes=processes, **how)
        n_left -= run.n_epochs_left
        loss = progress.history["valid_loss"][-1]
        say(f"{run.path}: epoch {progress.epoch}, validation loss {loss:.2f} nats, best in epoch {progress.best_epoch}")


def train_run(run: Run, features: Tensor, *, processes: Processes, **how: Any) -> Progress:
    """Train a run to its last epoch; `how` is passed to `loop.train`."""
    torch.manual_seed(run.settings.seed)  # of the weights
    return train(
        build_model(run.model_name, **run.model_config),
        features,
        run.split,
        run.settings,
        epochs=run.epochs,
        resume=run.resume,
        processes=processes,
        save=functools.partial(save, run) if processes.is_main else (lambda progress: None),
        name=str(run.path),
        **how,
    )


def save(run: Run, progress: Progress) -> None:
    """Write checkpoint, history and curves.

    The first file of `write_files` is written first and takes its name last: where the checkpoint exists, the others
    are at least as new, and since it is the largest, a full disk shows before any of the three is replaced.
    """
    history = progress.history
    write_files(
        {
            run.path: checkpoint_bytes(run.checkpoint(progress)),
            run.path.with_suffix(".csv"): csv_text(history, zip(*history.values())),
            run.path.with_suffix(".png"): png(training_curves(history, title=run.path.stem)),
        }
    )
