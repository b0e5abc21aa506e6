"""Train VAE-family models on a dataset of tones, without its labels.

    python trainvae.py --dataset Dataset/my_dataset.npz --epochs 100
    python trainvae.py --dataset Dataset/my_dataset.npz --model BetaVAE BTCVAE --beta 8 --seeds 0 1 2
    python trainvae.py --dataset Dataset/my_dataset.npz --epochs 200 --resume
    python trainvae.py --dataset Dataset/my_dataset.npz --epochs 100 --eval_every 10
    torchrun --nproc_per_node=2 trainvae.py --dataset Dataset/my_dataset.npz --epochs 100

Writes <output_dir>/<Model>_seed<S>.pt (last and best state), .csv (every loss term per epoch) and .png (the curves).
"""

if __name__ == "__main__":  # before the imports that take a moment, so that Ctrl-C ends them in one line too
    from syntone.cli import end_on_signals

    end_on_signals()

import argparse
import contextlib
import functools
import sys
from pathlib import Path

from tqdm import tqdm

from metrics import METRICS, defined_metrics, evaluate
from syntone.cli import (
    InputError,
    Parser,
    choose_defined,
    command,
    importing,
    nonnegative_float,
    nonnegative_int,
    positive_float,
    positive_int,
)
from syntone.files import check_writable_folder, locked

WATCHED = ("mig", "jemmig", "dcimig", "modularity", "sap")  # those that take well under a second
# Flags that reach a model's constructor where it has a parameter of that name.
MODEL_FLAGS = ("latent_dim", "sigma", "beta", "gamma", "alpha", "estimator")


def parse_flags(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(prog="trainvae.py", description=__doc__)
    what = parser.add_argument_group("what to train")
    what.add_argument("--dataset", type=Path, default=Path("Dataset/syntone.npz"), help="dataset file of create.py")
    what.add_argument("--model", nargs="+", help="VAE, BetaVAE, FactorVAE, BTCVAE or a model of your own "
                                                 "(default: all, one after another)")
    what.add_argument("--seeds", nargs="+", type=nonnegative_int, default=[0],
                      help="one run a model and seed; a seed decides the split, the weights and the noise")
    what.add_argument("--features", choices=["logmel", "paper"], default="logmel",
                      help="front end: decibels against a fixed reference, or the published code's linear power with "
                           "each frame divided by its maximum, which erases amplitude")
    how = parser.add_argument_group("optimization")
    how.add_argument("--epochs", type=positive_int, default=100, help="passes over the training tones")
    how.add_argument("--batch_size", type=positive_int, default=64, help="tones a step, at least 2")
    how.add_argument("--lr", type=positive_float, default=1e-3, help="learning rate of Adam")
    objective = parser.add_argument_group("objective (each model takes those it has; defaults are its paper's)")
    objective.add_argument("--latent_dim", type=positive_int, default=8, help="number of latents")
    objective.add_argument("--sigma", type=positive_float, default=0.1,
                           help="standard deviation of the Gaussian likelihood, in units of the features in [0, 1]")
    objective.add_argument("--beta", type=nonnegative_float,
                           help="weight of the KL (BetaVAE, default: 4) or of the TC (BTCVAE, default: 6)")
    objective.add_argument("--gamma", type=nonnegative_float,
                           help="weight of the TC (FactorVAE, default: 10) or of the dimension-wise KL (BTCVAE, default: 1)")
    objective.add_argument("--alpha", type=nonnegative_float,
                           help="weight of the mutual information (BTCVAE, default: 1)")
    objective.add_argument("--estimator", choices=["mss", "mws"], help="minibatch estimator (BTCVAE, default: mss)")
    watching = parser.add_argument_group("scores while training (they look at the factors; the training never does)")
    watching.add_argument("--eval_every", type=positive_int, metavar="N",
                          help="add scores to the history every N epochs; they change no weight (default: never)")
    watching.add_argument("--metrics", nargs="+", choices=METRICS, metavar="METRIC",
                          help=f"scores to add, of {', '.join(METRICS)} (default: {' '.join(WATCHED)})")
    output = parser.add_argument_group("output")
    output.add_argument("--output_dir", type=Path, default=Path("checkpoints"), help="folder for checkpoints and histories")
    output.add_argument("--save_seconds", type=nonnegative_float, default=20.0,
                        help="time between checkpoints; a run that is killed loses this and the epoch under way")
    output.add_argument("--resume", action="store_true", help="continue what is unfinished, start what is not there")
    output.add_argument("--overwrite", action="store_true", help="start anew, replacing what is there")
    machine = parser.add_argument_group("machine")
    machine.add_argument("--device", choices=["auto", "cuda", "mps", "cpu"], default="auto",
                         help="auto is cuda, then mps, then cpu")
    args = parser.parse_args(argv)
    check_flags(args)
    return args


def check_flags(args: argparse.Namespace) -> None:
    """Refuse flags that argparse cannot judge one by one."""
    if args.batch_size < 2:
        raise InputError("--batch_size: 1 leaves the estimators nothing to compare; give at least 2")
    if args.resume and args.overwrite:
        raise InputError("--resume, --overwrite: one continues what the other throws away; give one of them")
    for flag in ("model", "seeds"):
        values = getattr(args, flag) or []
        if len(set(values)) < len(values):
            raise InputError(f"--{flag}: a value is given twice; give each once")
    if not args.dataset.is_file():
        raise InputError(f"--dataset: {args.dataset} is no file; make one with create.py --file_path {args.dataset}")
    check_writable_folder(args.output_dir, flag="--output_dir")
    if not 1e-6 <= args.sigma <= 1e6:
        raise InputError(f"--sigma: {args.sigma:g} takes the loss out of the range of float32; give 1e-6 to 1e6")
    for flag in ("beta", "gamma", "alpha"):
        if (getattr(args, flag) or 0) > 1e9:
            raise InputError(f"--{flag}: {getattr(args, flag):g} takes the loss out of the range of float32; give 1e9 or less")


def watch(model, features, labels: dict, metrics: list[str], every: int, epoch: int) -> dict[str, float]:
    """Scores of the codes as they are in this epoch, where they are due. Nothing here is drawn from torch."""
    from syntone.evaluation import encode

    if epoch % every:
        return {}
    codes = encode(model, features)
    report = evaluate(**labels, codes=codes.codes, active=codes.active, metrics=metrics, n_floor_draws=1)
    found = {f"score_{name}": score.value for name, score in report.scores.items()}
    return {"active_latents": float(report.n_active)} | found


@command
def main(argv: list[str] | None = None) -> int | None:
    args = parse_flags(argv)

    with importing():  # after the flags: torch takes a second
        from models import MODELS
        from syntone import runs
        from syntone.checkpoint import checkpoint_path
        from syntone.runtime import joined_processes, select_device

    names = args.model or list(MODELS)
    overrides = {flag: getattr(args, flag) for flag in MODEL_FLAGS if getattr(args, flag) is not None}
    runs.check_models(names, overrides)
    device = select_device(args.device)
    with contextlib.ExitStack() as held:
        processes = held.enter_context(joined_processes(device))
        for path in [checkpoint_path(args.output_dir, name, seed) for name in names for seed in args.seeds]:
            if processes.writes:
                held.enter_context(locked(path, flag="--output_dir"))
        train_all(args, names, overrides, device=device, processes=processes)


def train_all(args: argparse.Namespace, names: list[str], overrides: dict, *, device, processes) -> None:
    """Train what is not finished yet, one model and seed after another."""
    import torch

    from models import build_model
    from syntone import runs
    from syntone.data import load_npz
    from syntone.mel import FrontEnd, compute_features
    from syntone.memory import check_training
    from syntone.training import train

    say = functools.partial(print, flush=True) if processes.writes else (lambda *words: None)
    bar_of = functools.partial(tqdm, unit="tone", delay=2, disable=None if processes.writes else True)
    dataset = load_npz(args.dataset)
    front_end = FrontEnd(args.features, sample_rate=dataset.sample_rate, n_samples=dataset.x.shape[1])
    planned = [runs.plan(name, seed, args=args, dataset=dataset, front_end=front_end, overrides=overrides)
               for seed in args.seeds for name in names]
    for run in planned:
        if not run.n_epochs_left:
            say(f"{run.path} is finished with these options; left alone")
    todo = [run for run in planned if run.n_epochs_left]
    if not todo:
        return
    labels, watched_metrics = {}, []
    if args.eval_every:
        labels = dataset.labels()
        factors = labels["factors"]
        defined = defined_metrics(factors=factors, n_latents=args.latent_dim, factor_kinds=labels["factor_kinds"])
        watched_metrics = choose_defined(
            args.metrics, defined, default=WATCHED, flag="--metrics",
            data=f"{factors.shape[1]} varied factors, {args.latent_dim} latents and {len(factors)} tones")
    for run in todo:
        check_training(run.model_name, run.model_config, batch_size=min(args.batch_size, len(run.train_rows)), device=device)
    say(f"{len(dataset):,} tones -> features {front_end.shape} on {device}")
    with bar_of(total=len(dataset), desc="features") as bar:
        features = compute_features(dataset.x, front_end, device=device, progress=bar.update)

    for number, run in enumerate(todo):
        torch.manual_seed(run.seed)
        model = build_model(run.model_name, **run.model_config)
        left_after = sum(other.n_epochs_left for other in todo[number + 1:])

        def say_time(epoch, seconds, run=run, left_after=left_after):
            if epoch == run.first_epoch:
                to_go = args.epochs - epoch + left_after
                say(f"{run.path.stem}: {seconds:.1f} s an epoch, so about {runs.duration(seconds * to_go)} for the "
                    f"{to_go} epochs to go")

        watched = bool(watched_metrics) and processes.writes
        with bar_of(total=run.n_epochs_left * len(run.train_rows), desc=run.path.stem) as bar:
            progress = train(
                model, features, train_rows=run.train_rows, valid_rows=run.valid_rows, seed=run.seed, epochs=args.epochs,
                batch_size=args.batch_size, lr=args.lr, resume=run.resume, processes=processes,
                save=functools.partial(runs.save, run) if processes.writes else (lambda progress: None),
                save_seconds=args.save_seconds, checkpoint_name=str(run.path), on_epoch=say_time, progress=bar.update,
                score=functools.partial(watch, model, features, labels, watched_metrics, args.eval_every) if watched else None)
        last = progress.history["valid_loss"][-1]
        say(f"{run.path}: epoch {progress.epoch}, validation loss {last:.2f} nats, best in epoch {progress.best_epoch}")


if __name__ == "__main__":
    sys.exit(main())
