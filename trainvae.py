"""Train VAE-family models on a dataset of tones, without its labels.

AdaGVAE learns from pairs of tones that share factors: labels are used to draw the pairs, and for nothing else.

    python trainvae.py --dataset Dataset/my_dataset.npz --epochs 100
    python trainvae.py --dataset Dataset/my_dataset.npz --model BetaVAE BTCVAE --beta 8 --seeds 0 1 2
    python trainvae.py --dataset Dataset/my_dataset.npz --epochs 200 --resume
    python trainvae.py --dataset Dataset/my_dataset.npz --epochs 100 --eval_every 10
    python trainvae.py --dataset Dataset/my_dataset.npz --model AdaGVAE --pair_changes 1 --epochs 100
    torchrun --nproc_per_node=2 trainvae.py --dataset Dataset/my_dataset.npz --epochs 100

Writes <output_dir>/<Model>_seed<S>.pt (last and best state), .csv (every loss term per epoch) and .png (the curves).
"""

import argparse
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from metrics import METRICS, defined_metrics, evaluate
from models import MODELS, PAPERS_MODELS
from models.options import constructor_parameters
from syntone.cli import MOST, Parser, choose_defined, command, nonnegative_float, nonnegative_int, number, positive_int
from syntone.dataset.file import Dataset, load_npz
from syntone.dataset.pairs import add_pair_flags, rule_of
from syntone.device import select_device, tune
from syntone.errors import InputError
from syntone.evaluation.codes import encode
from syntone.features.front_end import DEFAULTS, FrontEnd
from syntone.files import check_writable, lock
from syntone.training import runs
from syntone.training.checkpoint import checkpoint_path
from syntone.training.loop import Settings
from syntone.training.options import add_flags, check_given, front_end_parameters, given_options, model_parameters
from syntone.training.parallel import joined_processes

WATCHED = ("mig", "jemmig", "dcimig", "modularity", "sap")  # those that take well under a second
SETTINGS = {"": {name: one for name, one in constructor_parameters(Settings).items() if name != "seed"}}
FEATURES = {kind: front_end_parameters(kind) for kind in DEFAULTS}


def paired() -> list[str]:
    """Return the names of the models that learn from pairs."""
    return [name for name, model in MODELS.items() if model.needs_pairs]


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
    group = parser.add_argument_group(
        f"pairs of {', '.join(paired())}; labels are used to draw them, and for nothing else"
    )
    add_pair_flags(group)
    group.add_argument(
        "--num_pairs",
        type=number(int, least=2, most=MOST),
        help="number of fixed pairs to train on (default: new pairs in every epoch, one for each training tone)",
    )
    add = parser.add_argument_group("scores while training, which no model is trained on").add_argument
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
    args.rule = rule_of(args)
    return args


def check_flags(args: argparse.Namespace) -> None:
    """Refuse flags that argparse cannot check one by one."""
    if args.metrics and not args.eval_every:
        raise InputError("--metrics: needs --eval_every, which adds scores while training; give both or neither")
    for flag in ("model", "seeds"):
        if len(set(getattr(args, flag))) < len(getattr(args, flag)):
            raise InputError(f"--{flag}: a value is given twice; give each once")
    given = [flag for flag in ("pair_changes", "pair_shares", "num_pairs") if getattr(args, flag) is not None]
    if given and not set(paired()) & set(args.model):
        raise InputError(f"--{given[0]}: none of {', '.join(args.model)} learns from pairs; give --model {paired()[0]}")
    if not args.dataset.is_file():
        raise InputError(f"--dataset: {args.dataset} is not a file; make one with create.py --file_path {args.dataset}")
    check_writable(args.output_dir, flag="--output_dir", folder=True)


def choose_scores(args: argparse.Namespace, dataset: Dataset, n_latents: int) -> Callable[..., dict[str, float]] | None:
    """Return a function that scores a model's codes in the epochs in which scores are due; None without --eval_every.

    It draws nothing from torch, so no weight depends on it.
    """
    if not args.eval_every:
        return None
    labels = dataset.labels()
    n_tones, n_factors = labels["factors"].shape
    defined = defined_metrics(factors=labels["factors"], n_latents=n_latents, factor_kinds=labels["factor_kinds"])
    data = f"{n_factors} varied factors, {n_latents} latents and {n_tones} tones"
    metrics = choose_defined(args.metrics, defined, default=WATCHED, flag="--metrics", data=data)

    def score(model: nn.Module, epoch: int, *, features: Tensor, device: torch.device) -> dict[str, float]:
        if epoch % args.eval_every:
            return {}
        codes = encode(model, features, device=device)
        report = evaluate(**labels, codes=codes.codes, active=codes.active, metrics=metrics, n_floor_draws=1)
        found = {f"score_{name}": score.value for name, score in report.scores.items()}
        return {"active_latents": float(codes.active.sum())} | found

    return score


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
        dataset = load_npz(args.dataset)
        front_end = FrontEnd(
            args.features, sample_rate=dataset.sample_rate, n_samples=dataset.x.shape[1], **args.front_end_options
        )
        planned = [
            runs.plan(
                name,
                Settings(seed=seed, **given_options(args, SETTINGS)),
                dataset=dataset,
                front_end=front_end,
                given=args.model_options,
                epochs=args.epochs,
                output_dir=args.output_dir,
                rule=args.rule,
                num_pairs=args.num_pairs,
                resume=args.resume,
                overwrite=args.overwrite,
            )
            for seed in args.seeds
            for name in args.model
        ]
        n_latents = min(run.model_config.get("latent_dim", 2) for run in planned)  # a user's model may fix it
        runs.train_all(
            planned,
            dataset,
            device=device,
            processes=processes,
            save_seconds=args.save_seconds,
            score=choose_scores(args, dataset, n_latents),
        )


if __name__ == "__main__":
    sys.exit(main())
