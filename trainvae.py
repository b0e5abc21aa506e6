"""Train VAE-family models on a dataset of tones, without its labels.

    python trainvae.py --dataset Dataset/my_dataset.npz --epochs 100
    python trainvae.py --dataset Dataset/my_dataset.npz --model BetaVAE BTCVAE --beta 8 --seeds 0 1 2
    python trainvae.py --dataset Dataset/my_dataset.npz --epochs 200 --resume
    python trainvae.py --dataset Dataset/my_dataset.npz --epochs 100 --eval_every 10
    torchrun --nproc_per_node=2 trainvae.py --dataset Dataset/my_dataset.npz --epochs 100

Writes <output_dir>/<Model>_seed<S>.pt (last and best state), .csv (every loss term per epoch) and .png (the curves).
"""

import argparse
import contextlib
import functools
import sys
from datetime import timedelta
from pathlib import Path

from tqdm import tqdm

from metrics import METRICS, defined_metrics, evaluate
from models import MODELS, PAPERS_MODELS
from models.options import constructor_parameters
from syntone.cli import Parser, choose_defined, command, nonnegative_float, nonnegative_int, positive_int
from syntone.dataset.file import load_npz
from syntone.device import select_device, tune
from syntone.errors import InputError
from syntone.evaluation.codes import encode
from syntone.features.front_end import DEFAULTS, FrontEnd
from syntone.files import check_writable, lock
from syntone.training import runs
from syntone.training.checkpoint import checkpoint_path
from syntone.training.loop import Settings, annealed_pressure
from syntone.training.options import add_flags, check_given, front_end_parameters, given_options, model_parameters
from syntone.training.parallel import joined_processes

WATCHED = ("mig", "jemmig", "dcimig", "modularity", "sap")  # those that take well under a second
SETTINGS = {"": {name: one for name, one in constructor_parameters(Settings).items() if name != "seed"}}
FEATURES = {kind: front_end_parameters(kind) for kind in DEFAULTS}


def parse_flags(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(prog="trainvae.py", description=__doc__)
    add = parser.add_argument_group("what to train").add_argument
    add("--dataset", type=Path, default=Path("Dataset/syntone.npz"), help="dataset file of create.py")
    add(
        "--model",
        nargs="+",
        choices=MODELS,
        metavar="MODEL",
        help=f"of {', '.join(MODELS)}, one after another (default: {' '.join(PAPERS_MODELS)})",
    )
    add(
        "--seeds",
        nargs="+",
        type=nonnegative_int,
        default=[Settings.seed],
        help="one run per model and seed; a seed decides split, weights and noise",
    )
    group = parser.add_argument_group("front end (each kind has the options that name it)")
    group.add_argument(
        "--features",
        choices=list(DEFAULTS),
        default="logmel",
        help="logmel: decibels against a fixed reference; gainshape: the same with each frame's level apart from its "
        "shape; paper: the published code's linear power, each frame divided by its maximum, which erases amplitude",
    )
    add_flags(group, FEATURES)
    group = parser.add_argument_group("optimization")
    group.add_argument("--epochs", type=positive_int, default=100, help="passes over the training tones")
    add_flags(group, SETTINGS)
    models = {name: model_parameters(name) for name in MODELS}
    add_flags(parser.add_argument_group("model (each has the options that name it, with its paper's defaults)"), models)
    add = parser.add_argument_group("scores while training, which uses no factors itself").add_argument
    add("--eval_every", type=positive_int, help="add scores to the history every so many epochs (default: never)")
    add(
        "--metrics",
        nargs="+",
        choices=METRICS,
        metavar="METRIC",
        help=f"scores to add, of {', '.join(METRICS)} (default: {' '.join(WATCHED)})",
    )
    group = parser.add_argument_group("output")
    add = group.add_argument
    add("--output_dir", type=Path, default=Path("checkpoints"), help="folder for checkpoints and histories")
    add(
        "--save_seconds",
        type=nonnegative_float,
        default=20.0,
        help="time between checkpoints, the most that SIGKILL loses; SIGINT and SIGTERM save the last epoch first",
    )
    add = group.add_mutually_exclusive_group().add_argument
    add("--resume", action="store_true", help="continue unfinished runs, start missing ones")
    add("--overwrite", action="store_true", help="start anew, replace existing checkpoints")
    add = parser.add_argument_group("machine").add_argument
    add("--device", choices=["auto", "cuda", "mps", "cpu"], default="auto", help="auto: cuda, then mps, then cpu")
    args = parser.parse_args(argv)
    args.model = args.model or list(PAPERS_MODELS)
    check_flags(args)
    args.front_end_options, args.model_options = given_options(args, FEATURES), given_options(args, models)
    check_given(args.front_end_options, {args.features: FEATURES[args.features]}, flag="--features")
    check_given(args.model_options, {name: models[name] for name in args.model}, flag="--model")
    return args


def check_flags(args: argparse.Namespace) -> None:
    """Refuse flags that argparse cannot check one by one."""
    if args.metrics and not args.eval_every:
        raise InputError("--metrics: needs --eval_every, which adds scores while training; give both or neither")
    for flag in ("model", "seeds"):
        if len(set(getattr(args, flag))) < len(getattr(args, flag)):
            raise InputError(f"--{flag}: a value is given twice; give each once")
    if not args.dataset.is_file():
        raise InputError(f"--dataset: {args.dataset} is not a file; make one with create.py --file_path {args.dataset}")
    check_writable(args.output_dir, flag="--output_dir", folder=True)


def watch(model, epoch: int, *, features, device, labels: dict, metrics: list[str], every: int) -> dict[str, float]:
    """Score the codes of this epoch if scores are due. Draws nothing from torch, so no weight depends on it."""
    if epoch % every:
        return {}
    codes = encode(model, features, device=device)
    report = evaluate(**labels, codes=codes.codes, active=codes.active, metrics=metrics, n_floor_draws=1)
    found = {f"score_{name}": score.value for name, score in report.scores.items()}
    return {"active_latents": float(report.n_active)} | found


def choose_watched(args: argparse.Namespace, labels: dict, n_latents: int) -> list[str]:
    """Return the scores to add while training."""
    n_tones, n_factors = labels["factors"].shape
    defined = defined_metrics(factors=labels["factors"], n_latents=n_latents, factor_kinds=labels["factor_kinds"])
    data = f"{n_factors} varied factors, {n_latents} latents and {n_tones} tones"
    return choose_defined(args.metrics, defined, default=WATCHED, flag="--metrics", data=data)


def notes(run: runs.Run, n_tones: int) -> list[str]:
    """Return what a user should know about the split and the annealing of a run."""
    n_out, found = n_tones - len(run.split.train) - len(run.split.valid), []
    if n_out:
        found.append(f"{n_out:,} of {n_tones:,} tones are held out of training and validation by the dataset's recipe")
    if run.split.weights is not None:
        found.append("training tones are drawn from the correlated distribution of the dataset's recipe")
    n_annealed = run.settings.anneal_epochs
    factor = annealed_pressure(run.epochs, start=run.settings.anneal_from, epochs=n_annealed)
    if factor > 2:
        shorter = f"--anneal_epochs {run.epochs - 1} or " if run.epochs > 1 else ""
        found.append(
            f"--anneal_epochs {n_annealed}: the factor of the annealing is still {factor:.3g} in the last epoch, "
            f"{run.epochs}, so the model uses few latents; for a run this short give {shorter}--anneal_from 1"
        )
    return found


@command
def main(argv: list[str] | None = None) -> int | None:
    args = parse_flags(argv)
    device = select_device(args.device)
    tune(device)
    with contextlib.ExitStack() as held:
        processes = held.enter_context(joined_processes(device))
        for path in [checkpoint_path(args.output_dir, name, seed) for name in args.model for seed in args.seeds]:
            if processes.is_main:
                held.enter_context(lock(path, flag="--output_dir"))
        train_all(args, device=device, processes=processes)


def train_all(args: argparse.Namespace, *, device, processes) -> None:
    """Train the runs that are not finished, one after another."""
    say = functools.partial(print, flush=True) if processes.is_main else (lambda *words: None)
    bar_of = functools.partial(tqdm, unit="tone", delay=2, disable=None if processes.is_main else True)
    dataset = load_npz(args.dataset)
    front_end = FrontEnd(
        args.features, sample_rate=dataset.sample_rate, n_samples=dataset.x.shape[1], **args.front_end_options
    )
    settings = given_options(args, SETTINGS)
    planned = [
        runs.plan(
            name,
            Settings(seed=seed, **settings),
            dataset=dataset,
            front_end=front_end,
            given=args.model_options,
            epochs=args.epochs,
            output_dir=args.output_dir,
            resume=args.resume,
            overwrite=args.overwrite,
        )
        for seed in args.seeds
        for name in args.model
    ]
    runs.check_processes(planned, processes)
    todo = [run for run in planned if run.n_epochs_left]
    for run in planned:
        if not run.n_epochs_left:
            say(f"{run.path} is finished with these options; left alone")
    if not todo:
        return
    for note in notes(todo[0], len(dataset)):
        say(note)
    score = None
    if args.eval_every:
        labels = dataset.labels()
        watched = choose_watched(args, labels, min(run.model_config.get("latent_dim", 2) for run in todo))
    with bar_of(total=len(dataset), desc="features") as bar:
        features = runs.dataset_features(dataset, front_end, device=device, progress=bar.update)
    say(
        f"{len(dataset):,} tones -> features {front_end.shape}, {features.nbytes / 1e9:.3g} GB in memory of "
        f"{features.device}; training on {device}"
    )
    if args.eval_every and processes.is_main:
        score = functools.partial(
            watch, features=features, device=device, labels=labels, metrics=watched, every=args.eval_every
        )
    n_left = sum(run.n_epochs_left for run in todo)
    for run in todo:

        def say_time(epoch: int, seconds: float, run=run, n_left=n_left - 1) -> None:
            if epoch == run.first_epoch:
                rest = timedelta(seconds=round(seconds * n_left))
                say(f"{run.path.stem}: {seconds:.1f} s per epoch, about {rest} for the remaining {n_left} epochs")

        with bar_of(total=run.n_epochs_left * len(run.split.train), desc=run.path.stem) as bar:
            progress = runs.train_run(
                run,
                features,
                device=device,
                processes=processes,
                save_seconds=args.save_seconds,
                score=score,
                on_epoch=say_time,
                on_step=bar.update,
            )
        n_left -= run.n_epochs_left
        say(
            f"{run.path}: epoch {progress.epoch}, validation loss {progress.history['valid_loss'][-1]:.2f} nats, "
            f"best in epoch {progress.best_epoch}"
        )


if __name__ == "__main__":
    sys.exit(main())
