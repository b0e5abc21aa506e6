"""Evaluate trained models, or codes of other encoders: disentanglement metrics, figures and audio.

    python eval.py --model checkpoints/BetaVAE_seed0.pt
    python eval.py --model checkpoints/*_seed0.pt --write_codes
    python eval.py --codes mine.npz --dataset Dataset/clean.npz
    python eval.py --model checkpoints/BetaVAE_seed*.pt --metrics mig sap --no_figures
    python eval.py --self_test

Prints the scores and writes to results/: the scores (metrics.csv, metrics.json, table.md, table.tex), the change of
each factor by each latent (controllability.csv), Figures/, audio/, and report.html, which holds all of these and needs
no network. Baselines are scored beside the models. Training seeds of one model are aggregated; figures and sounds show
the first. Files of the last evaluation that are not written again are removed.
"""

import gc
import sys
from argparse import Namespace
from pathlib import Path

from metrics import METRICS, self_test
from syntone.cli import Parser, command, nonnegative_int
from syntone.dataset import load_npz
from syntone.device import select_device
from syntone.errors import InputError, one_line
from syntone.evaluation import baselines, scores, tables
from syntone.evaluation.load import Entry, load_codes, load_entries, warnings_for
from syntone.evaluation.manifest import left_over
from syntone.evaluation.outputs import evaluate_entries
from syntone.features.front_end import DEFAULTS
from syntone.files import check_writable, lock, write_files


def parse_flags(argv: list[str] | None) -> Namespace:
    parser = Parser(prog="eval.py", description=__doc__)
    known = [*METRICS, scores.CONTROL]
    what = parser.add_argument_group("what to evaluate")
    what.add_argument("--model", nargs="+", type=Path, default=[], help="checkpoint files (.pt)")
    what.add_argument(
        "--codes",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="codes (N, D) of the dataset: .npz, .npy, .csv",
    )
    what.add_argument(
        "--state", choices=["last", "best"], default="last", help="weights: last epoch, or lowest validation loss"
    )
    what.add_argument("--dataset", type=Path, help="dataset file (default: the one named in the checkpoint)")
    what.add_argument(
        "--baselines",
        nargs="+",
        choices=[*baselines.BASELINES, "none"],
        metavar="BASELINE",
        help=f"any of {', '.join(baselines.BASELINES)}; or none (default: {' '.join(baselines.DEFAULT)})",
    )
    what.add_argument(
        "--features", choices=list(DEFAULTS), help="front end of pca and ica with --codes alone (default: logmel)"
    )
    what.add_argument(
        "--metrics", nargs="+", choices=known, metavar="METRIC", help=f"any of {', '.join(known)} (default: all)"
    )
    what.add_argument(
        "--self_test", action="store_true", help="check the metrics on codes with known scores; exit status 1 on error"
    )
    what.add_argument("--seed", type=nonnegative_int, default=0, help="random seed")
    output = parser.add_argument_group("output")
    output.add_argument("--output_dir", type=Path, default=Path("results"), help="folder for tables, report and sounds")
    output.add_argument("--figures_dir", type=Path, help="folder for figures (default: <output_dir>/Figures)")
    output.add_argument("--no_figures", action="store_true", help="no figures, no sounds")
    output.add_argument(
        "--write_codes", action="store_true", help="write the codes of every model to <output_dir>/codes/"
    )
    machine = parser.add_argument_group("machine")
    machine.add_argument(
        "--device", choices=["auto", "cuda", "mps", "cpu"], default="auto", help="auto: cuda, then mps, then cpu"
    )
    args = parser.parse_args(argv)
    args.figures_dir = args.figures_dir or args.output_dir / "Figures"
    for flag in ("output_dir", "figures_dir"):
        check_writable(getattr(args, flag), flag=f"--{flag}", folder=True)
    check_combination(args)
    args.features = args.features or next(iter(DEFAULTS))
    args.baselines = [name for name in dict.fromkeys(args.baselines or baselines.DEFAULT) if name != "none"]
    return args


def check_combination(args: Namespace) -> None:
    """Refuse flags that do not go together."""
    if not (args.model or args.codes or args.self_test):
        raise InputError(
            "--model: nothing to evaluate is given; give checkpoints (.pt), --codes with --dataset, or --self_test"
        )
    if args.self_test and (args.model or args.codes):
        raise InputError(
            f"--self_test: cannot be combined with --{'model' if args.model else 'codes'}; give one of them"
        )
    if args.codes and not args.model and not args.dataset:
        raise InputError("--codes: the dataset of the codes is not given; give it with --dataset")
    chosen = args.baselines or []
    if "none" in chosen and len(chosen) > 1:
        raise InputError("--baselines: none excludes the others; give none alone")
    if args.model and args.features:
        raise InputError("--features: the front end is that of the checkpoints; leave it out")
    if not args.model and "untrained" in chosen:
        raise InputError(
            "--baselines: untrained needs a checkpoint, whose encoder it takes; give --model or leave it out"
        )
    if not args.model and args.write_codes:
        raise InputError("--write_codes: there is no checkpoint whose codes could be written; give --model")


def run_self_test(seed: int) -> int:
    """Print expected and obtained scores of codes with known scores; return the exit status."""
    checks = self_test(seed=seed)
    print(tables.to_markdown([("case", "score", "expected", "obtained", ""), *(check.cells() for check in checks)]))
    wrong = sum(not check.ok for check in checks)
    print(f"{len(checks)} checks, {wrong} wrong")
    return 1 if wrong else 0


def load(args: Namespace, device: object) -> list[Entry]:
    """Load the checkpoints, then the codes, whose rows are the tones of the same dataset."""
    entries = load_entries(args.model, dataset_path=args.dataset, state=args.state, device=device)
    if not args.codes:
        return entries
    paths = {entry.dataset.path for entry in entries} or {args.dataset}
    if len(paths) > 1:
        raise InputError("--codes: the checkpoints have several datasets; give that of the codes with --dataset")
    dataset = entries[0].dataset if entries else load_npz(args.dataset)
    taken = {name for entry in entries for name in (entry.name, entry.label)}
    return entries + load_codes(args.codes, dataset=dataset, taken=taken)


@command
def main(argv: list[str] | None = None) -> int | None:
    args = parse_flags(argv)
    if args.self_test:
        return run_self_test(args.seed)
    device = select_device(args.device)
    with lock(args.output_dir / "report.html", flag="--output_dir"):
        entries = load(args, device)
        for message in warnings_for(entries):
            print(f"eval.py: warning: {one_line(message)}", file=sys.stderr)
        rows, notes, files = evaluate_entries(entries, args, device=device)
        audio_dir = args.output_dir / "audio"
        inputs = [*args.model, *args.codes, *(entry.dataset.path for entry in entries)]
        folders = [args.output_dir, args.figures_dir, audio_dir]
        old = left_over(args.output_dir, written=files, within=folders, inputs=inputs)
        write_files(files)
        for path in old:
            path.unlink(missing_ok=True)
    print(tables.to_markdown(tables.table(rows)))
    print(tables.caption(rows, notes))
    made = "" if args.no_figures else f"; figures: {args.figures_dir}; sounds: {audio_dir}"
    print(one_line(f"report: {args.output_dir / 'report.html'}; tables: {args.output_dir}{made}"))


if __name__ == "__main__":
    gc.freeze()  # garbage collections then skip the 300,000 objects of the imports, which take seconds to visit
    sys.exit(main())
