"""Train VAE-family models on a dataset of tones, without its labels.

    python trainvae.py --dataset Dataset/my_dataset.npz --epochs 100
    python trainvae.py --dataset Dataset/my_dataset.npz --model BetaVAE BTCVAE --beta 8 --seeds 0 1 2
    python trainvae.py --dataset Dataset/my_dataset.npz --epochs 200 --resume
    python trainvae.py --dataset Dataset/my_dataset.npz --epochs 100 --eval_every 10
    python trainvae.py --dataset Dataset/my_dataset.npz --epochs 100 --seeds 0 1 2 3 4 5 6 7 8 9 --precision bfloat16
    torchrun --nproc_per_node=2 trainvae.py --dataset Dataset/my_dataset.npz --epochs 100

Writes <output_dir>/<Model>_seed<S>.pt (last and best state), .csv (every loss term per epoch) and .png (the curves).
"""

import argparse
import contextlib
import functools
import sys
from pathlib import Path

from tqdm import tqdm

from metrics import METRICS, defined_metrics, evaluate
from syntone.cli import (
    Parser,
    choose_defined,
    command,
    finite_float,
    nonnegative_float,
    nonnegative_int,
    positive_float,
    positive_int,
)
from syntone.errors import InputError
from syntone.files import check_writable, lock

WATCHED = ("mig", "jemmig", "dcimig", "modularity", "sap")  # those that take well under a second
# Flags that reach a model's constructor where it has a parameter of that name.
MODEL_FLAGS = (
    "latent_dim",
    "channels",
    "hidden",
    "sigma",
    "beta",
    "gamma",
    "alpha",
    "estimator",
    "lambda_od",
    "lambda_d",
    "capacity",
)
# Flags of the front end and their defaults by kind; what a kind does not have is left out.
FRONT_END_FLAGS = {
    "logmel": {"n_mels": 128, "db_min": -80.0, "db_max": 6.0, "smoothing": 5.0},
    "gainshape": {"n_mels": 64, "db_min": -60.0, "db_max": 6.0, "smoothing": 5.0, "range_db": 30.0, "level_rows": 16},
    "paper": {"n_mels": 128},
}
FRONT_END_HELP = {
    "n_mels": (positive_int, "mel bands"),
    "smoothing": (
        nonnegative_float,
        "bands over which the skirts of a mel filter fall by 10 dB, so that neighbouring pitches overlap; 0 is none",
    ),
    "db_min": (finite_float, "dB that become 0"),
    "db_max": (finite_float, "dB that become 1"),
    "range_db": (positive_float, "dB below the level that the shape of a frame keeps"),
    "level_rows": (positive_int, "rows that hold the level"),
}


def parse_flags(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(prog="trainvae.py", description=__doc__)
    what = parser.add_argument_group("what to train")
    what.add_argument("--dataset", type=Path, default=Path("Dataset/syntone.npz"), help="dataset file of create.py")
    what.add_argument(
        "--model",
        nargs="+",
        help="VAE, BetaVAE, FactorVAE, BTCVAE, DIPVAE, CapacityVAE or a model "
        "of your own (default: the first four, one after another)",
    )
    what.add_argument(
        "--seeds",
        nargs="+",
        type=nonnegative_int,
        default=[0],
        help="one run a model and seed; a seed decides the split, the weights and the noise",
    )
    what.add_argument(
        "--features",
        choices=list(FRONT_END_FLAGS),
        default="logmel",
        help="front end: decibels against a fixed reference; the same with the level of each frame kept apart "
        "from its shape; or the published code's linear power with each frame divided by its maximum, "
        "which erases amplitude",
    )
    for flag, (kind, words) in FRONT_END_HELP.items():
        defaults = ", ".join(f"{name}: {had[flag]:g}" for name, had in FRONT_END_FLAGS.items() if flag in had)
        what.add_argument(f"--{flag}", type=kind, help=f"{words} (default, {defaults})")
    how = parser.add_argument_group("optimization")
    how.add_argument("--epochs", type=positive_int, default=100, help="passes over the training tones")
    how.add_argument("--batch_size", type=positive_int, default=64, help="tones a step, at least 2")
    how.add_argument("--lr", type=positive_float, default=1e-3, help="learning rate of Adam")
    how.add_argument(
        "--anneal_from",
        type=positive_float,
        default=500.0,
        metavar="FACTOR",
        help="factor on every weight but the reconstruction's in the first epoch; it falls by the same ratio every "
        "epoch, to 1. 1 anneals nothing. (CapacityVAE: its capacity rises from 0 instead)",
    )
    how.add_argument(
        "--anneal_epochs",
        type=positive_int,
        default=50,
        metavar="N",
        help="epochs until the factor is 1; fewer --epochs end under pressure",
    )
    objective = parser.add_argument_group(
        "objective (each model takes those it has; defaults are its paper's, where it names one)"
    )
    objective.add_argument("--latent_dim", type=positive_int, default=8, help="number of latents")
    objective.add_argument(
        "--channels",
        nargs="+",
        type=positive_int,
        metavar="WIDTH",
        help="widths of the convolutions (default: 32 64 64)",
    )
    objective.add_argument("--hidden", type=positive_int, help="width of the layer beside the latents (default: 256)")
    objective.add_argument(
        "--sigma",
        type=positive_float,
        default=0.3,
        help="standard deviation of the Gaussian likelihood, in units of the features in [0, 1]",
    )
    objective.add_argument(
        "--beta",
        type=nonnegative_float,
        help="weight of the KL (BetaVAE, default: 4) or of the TC (BTCVAE, default: 6)",
    )
    objective.add_argument(
        "--gamma",
        type=nonnegative_float,
        help="weight of the TC (FactorVAE, default: 10), of the dimension-wise KL (BTCVAE, default: 1) or of "
        "the KL's distance from the capacity (CapacityVAE, default: 1000)",
    )
    objective.add_argument(
        "--alpha", type=nonnegative_float, help="weight of the mutual information (BTCVAE, default: 1)"
    )
    objective.add_argument("--estimator", choices=["mss", "mws"], help="minibatch estimator (BTCVAE, default: mss)")
    objective.add_argument(
        "--lambda_od", type=nonnegative_float, help="weight of the squared covariances of latents (DIPVAE, default: 10)"
    )
    objective.add_argument(
        "--lambda_d",
        type=nonnegative_float,
        help="weight of the squared differences of their variances from 1 (DIPVAE, default: 10)",
    )
    objective.add_argument(
        "--capacity", type=nonnegative_float, help="nats at which the KL is held in the end (CapacityVAE, default: 25)"
    )
    watching = parser.add_argument_group("scores while training (they look at the factors; the training never does)")
    watching.add_argument(
        "--eval_every",
        type=positive_int,
        metavar="N",
        help="add scores to the history every N epochs; they change no weight (default: never)",
    )
    watching.add_argument(
        "--metrics",
        nargs="+",
        choices=METRICS,
        metavar="METRIC",
        help=f"scores to add, of {', '.join(METRICS)} (default: {' '.join(WATCHED)})",
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--output_dir", type=Path, default=Path("checkpoints"), help="folder for checkpoints and histories"
    )
    output.add_argument(
        "--save_seconds",
        type=nonnegative_float,
        default=20.0,
        help="time between checkpoints: what a run that is killed (SIGKILL) loses at most, beside the epoch "
        "under way; SIGINT and SIGTERM save the last whole epoch first",
    )
    output.add_argument("--resume", action="store_true", help="continue what is unfinished, start what is not there")
    output.add_argument("--overwrite", action="store_true", help="start anew, atomic_write what is there")
    machine = parser.add_argument_group("machine")
    machine.add_argument(
        "--device", choices=["auto", "cuda", "mps", "cpu"], default="auto", help="auto is cuda, then mps, then cpu"
    )
    machine.add_argument(
        "--precision",
        choices=["float32", "bfloat16"],
        default="float32",
        help="arithmetic of the networks; weights and losses stay in float32",
    )
    machine.add_argument(
        "--at_once",
        type=positive_int,
        metavar="N",
        help="seeds of a model that train side by side, with the result of one after another; one that "
        "diverges stops those beside it (default: all on a GPU, 1 elsewhere)",
    )
    machine.add_argument(
        "--memory",
        type=positive_float,
        metavar="GB",
        help="main memory for features; larger ones are kept in a temporary file in --output_dir (default: "
        "half of what there is)",
    )
    machine.add_argument(
        "--no_graphs", action="store_true", help="on a GPU, launch every step instead of replaying one"
    )
    args = parser.parse_args(argv)
    check_flags(args)
    return args


def check_flags(args: argparse.Namespace) -> None:
    """Refuse flags that argparse cannot judge one by one."""
    if args.batch_size < 2:
        raise InputError("--batch_size: 1 leaves the estimators nothing to compare; give at least 2")
    if args.metrics and not args.eval_every:
        raise InputError("--metrics: are scores while training, which --eval_every N asks for; give both or neither")
    if args.resume and args.overwrite:
        raise InputError("--resume, --overwrite: one continues what the other throws away; give one of them")
    for flag in ("model", "seeds"):
        values = getattr(args, flag) or []
        if len(set(values)) < len(values):
            raise InputError(f"--{flag}: a value is given twice; give each once")
    if not args.dataset.is_file():
        raise InputError(f"--dataset: {args.dataset} is no file; make one with create.py --file_path {args.dataset}")
    check_writable(args.output_dir, flag="--output_dir", folder=True)
    if not 1e-6 <= args.sigma <= 1e6:
        raise InputError(f"--sigma: {args.sigma:g} takes the loss out of the range of float32; give 1e-6 to 1e6")
    if not 1e-6 <= args.anneal_from <= 1e9:
        raise InputError(
            f"--anneal_from: {args.anneal_from:g} takes the loss out of the range of float32; give 1e-6 to 1e9"
        )
    for flag in FRONT_END_HELP:
        if getattr(args, flag) is not None and flag not in FRONT_END_FLAGS[args.features]:
            raise InputError(f"--{flag}: --features {args.features} has no such thing; leave it out")
    front_end = front_end_config(args)
    for flag, most in (("n_mels", 2048), ("level_rows", 2048), ("smoothing", 1000), ("range_db", 1000)):
        if front_end.get(flag, 0) > most:
            raise InputError(f"--{flag}: {front_end[flag]:g} is more than can be computed; give at most {most}")
    if "db_min" in front_end and not -1000 <= front_end["db_min"] < front_end["db_max"] <= 1000:
        raise InputError(
            f"--db_min, --db_max: from {front_end['db_min']:g} to {front_end['db_max']:g} dB is no range; give "
            f"two numbers from -1000 to 1000, the smaller one first"
        )
    for flag in ("beta", "gamma", "alpha", "lambda_od", "lambda_d", "capacity"):
        if (getattr(args, flag) or 0) > 1e9:
            raise InputError(
                f"--{flag}: {getattr(args, flag):g} takes the loss out of the range of float32; give 1e9 or less"
            )


def front_end_config(args: argparse.Namespace) -> dict:
    """The flags of the front end that the chosen kind has, defaults included."""
    return {
        flag: default if getattr(args, flag) is None else getattr(args, flag)
        for flag, default in FRONT_END_FLAGS[args.features].items()
    }


def watch(model, features, device, labels: dict, metrics: list[str], every: int, epoch: int) -> dict[str, float]:
    """Scores of the codes as they are in this epoch, where they are due. Nothing here is drawn from torch."""
    from syntone.evaluation.codes import encode

    if epoch % every:
        return {}
    codes = encode(model, features, device=device)
    report = evaluate(**labels, codes=codes.codes, active=codes.active, metrics=metrics, n_floor_draws=1)
    found = {f"score_{name}": score.value for name, score in report.scores.items()}
    return {"active_latents": float(report.n_active)} | found


def choose_watched(args: argparse.Namespace, dataset) -> tuple[dict, list[str]]:
    """What the scores while training need of the data, and which are asked for; nothing without --eval_every."""
    if not args.eval_every:
        return {}, []
    labels = dataset.labels()
    n_tones, n_factors = labels["factors"].shape
    defined = defined_metrics(factors=labels["factors"], n_latents=args.latent_dim, factor_kinds=labels["factor_kinds"])
    return labels, choose_defined(
        args.metrics,
        defined,
        default=WATCHED,
        flag="--metrics",
        data=f"{n_factors} varied factors, {args.latent_dim} latents and {n_tones} tones",
    )


@command
def main(argv: list[str] | None = None) -> int | None:
    args = parse_flags(argv)

    from models import PAPERS_MODELS
    from syntone.training import runs
    from syntone.training.checkpoint import checkpoint_path
    from syntone.training.parallel import joined_processes, select_device, tune

    names = args.model or list(PAPERS_MODELS)
    given = {flag: getattr(args, flag) for flag in MODEL_FLAGS if getattr(args, flag) is not None}
    overrides = {flag: tuple(value) if isinstance(value, list) else value for flag, value in given.items()}
    runs.check_models(names, overrides)
    device = select_device(args.device)
    tune(device)
    with contextlib.ExitStack() as held:
        processes = held.enter_context(joined_processes(device))
        for path in [checkpoint_path(args.output_dir, name, seed) for name in names for seed in args.seeds]:
            if processes.writes:
                held.enter_context(lock(path, flag="--output_dir"))
        train_all(args, names, overrides, device=device, processes=processes)


def train_all(args: argparse.Namespace, names: list[str], overrides: dict, *, device, processes) -> None:
    """Train what is not finished yet: the seeds of a model side by side on a GPU, else one run after another."""
    from syntone.dataset.file import load_npz
    from syntone.features.front_end import FrontEnd
    from syntone.features.memory import check_training, peak_memory
    from syntone.training import runs
    from syntone.training.loop import annealed_pressure

    say = functools.partial(print, flush=True) if processes.writes else (lambda *words: None)
    bar_of = functools.partial(tqdm, unit="tone", delay=2, disable=None if processes.writes else True)
    dataset = load_npz(args.dataset)
    front_end = FrontEnd(
        args.features, sample_rate=dataset.sample_rate, n_samples=dataset.x.shape[1], **front_end_config(args)
    )
    planned = [
        runs.plan(name, seed, args=args, dataset=dataset, front_end=front_end, overrides=overrides)
        for seed in args.seeds
        for name in names
    ]
    runs.check_processes(planned, processes, batch_size=args.batch_size)
    for run in planned:
        if not run.n_epochs_left:
            say(f"{run.path} is finished with these options; left alone")
    todo = [run for run in planned if run.n_epochs_left]
    if not todo:
        return
    n_out = len(dataset) - len(todo[0].train_rows) - len(todo[0].valid_rows)
    if n_out:
        say(
            f"{n_out:,} of {len(dataset):,} tones are held out of training and validation, as the dataset's recipe says"
        )
    if todo[0].weights is not None:
        say("training tones are drawn from the correlated distribution of the dataset's recipe")
    left = annealed_pressure(args.epochs, start=args.anneal_from, epochs=args.anneal_epochs)
    if left > 2:
        shorter = f"--anneal_epochs {args.epochs - 1} or " if args.epochs > 1 else ""
        say(
            f"--anneal_epochs {args.anneal_epochs}: in epoch {args.epochs}, the last, the pressure is still {left:.3g}, under which a "
            f"model uses few latents; for a run this short give {shorter}--anneal_from 1"
        )
    labels, watched = choose_watched(args, dataset)
    for run in todo:
        check_training(
            run.model_name, run.model_config, batch_size=min(args.batch_size, len(run.train_rows)), device=device
        )
    with bar_of(total=len(dataset), desc="features") as bar:
        features, where = runs.features_of(
            dataset, front_end, device=device, memory=args.memory, folder=args.output_dir, progress=bar.update
        )
    say(
        f"{len(dataset):,} tones -> features {front_end.shape}, {features.nbytes / 1e9:.3g} GB in {where}; training on {device}"
    )

    groups = runs.side_by_side(todo, at_once=args.at_once or (len(args.seeds) if device.type == "cuda" else 1))
    epochs_to_go = sum(group[0].n_epochs_left for group in groups)
    for group in groups:
        first = group[0]
        title = first.path.stem + (f" and {len(group) - 1} more seeds" if len(group) > 1 else "")

        def say_time(epoch, seconds, first=first, title=title, epochs_to_go=epochs_to_go):
            if epoch == first.first_epoch:
                say(
                    f"{title}: {seconds:.1f} s an epoch, so about {runs.duration(seconds * (epochs_to_go - 1))} for the "
                    f"{epochs_to_go - 1} epochs to go"
                )

        score = functools.partial(
            watch, features=features, device=device, labels=labels, metrics=watched, every=args.eval_every
        )
        with bar_of(total=first.n_epochs_left * len(first.train_rows) * len(group), desc=title) as bar:
            finished = runs.train_group(
                group,
                features,
                args=args,
                device=device,
                processes=processes,
                on_epoch=say_time,
                score=score if watched and processes.writes else None,
                progress=bar.update,
            )
        epochs_to_go -= first.n_epochs_left
        for run, progress in zip(group, finished):
            last = progress.history["valid_loss"][-1]
            say(
                f"{run.path}: epoch {progress.epoch}, validation loss {last:.2f} nats, best in epoch {progress.best_epoch}"
            )
    say(f"peak memory of this process: {peak_memory() / 1e9:.2f} GB, pages of mapped files included")


if __name__ == "__main__":
    sys.exit(main())
