"""Score trained models, and draw and sound what they do.

    python eval.py --model checkpoints/BetaVAE_seed0.pt
    python eval.py --model checkpoints/*_seed0.pt
    python eval.py --model checkpoints/BetaVAE_seed*.pt --metrics mig sap --no_figures

Prints the table and writes it to results/ (metrics.csv, metrics.json, table.md, table.tex), figures to Figures/ and
sounds to results/audio/. Several seeds of one model are aggregated; figures and sounds are of the first.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from metrics import METRICS, Report, evaluate
from syntone import results
from syntone.cli import InputError, Parser, command, nonnegative_int


def parse_flags(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(prog="eval.py", description=__doc__)
    what = parser.add_argument_group("what to evaluate")
    what.add_argument("--model", nargs="+", type=Path, required=True, help="one or more checkpoints of trainvae.py")
    what.add_argument("--state", choices=["last", "best"], default="last",
                      help="weights after the last epoch, or of the lowest validation loss")
    what.add_argument("--dataset", type=Path, help="dataset file (default: the one named in the checkpoint)")
    what.add_argument("--metrics", nargs="+", choices=METRICS, metavar="METRIC",
                      help=f"scores to compute, of {', '.join(METRICS)} (default: all)")
    what.add_argument("--seed", type=nonnegative_int, default=0,
                      help="of everything drawn here: permutations and splits of the scores, samples, tones shown")
    output = parser.add_argument_group("output")
    output.add_argument("--output_dir", type=Path, default=Path("results"), help="folder for tables and sounds")
    output.add_argument("--figures_dir", type=Path, default=Path("Figures"), help="folder for figures")
    output.add_argument("--no_figures", action="store_true", help="leave out figures and sounds")
    machine = parser.add_argument_group("machine")
    machine.add_argument("--device", choices=["auto", "cuda", "mps", "cpu"], default="auto",
                         help="auto is cuda, then mps, then cpu")
    args = parser.parse_args(argv)
    for flag in ("output_dir", "figures_dir"):
        if getattr(args, flag).exists() and not getattr(args, flag).is_dir():
            raise InputError(f"--{flag}: {getattr(args, flag)} is a file; give a folder")
    for path in args.model:
        if not path.is_file():
            raise InputError(f"--model: {path} is no file; give a .pt that trainvae.py wrote")
    return args


def score_rows(report: Report, *, model: str, seed: int, latents: str) -> list[results.Row]:
    """A report as rows: every score, then its factors."""
    rows = []
    for metric, score in report.scores.items():
        rows.append(results.Row(model, seed, metric, "all", latents, score.value, score.floor, score.ceiling,
                                score.adjusted, score.floor_std))
        for factor, value in (score.per_factor or {}).items():
            rows.append(results.Row(model, seed, metric, factor, latents, value))
    return rows


def evaluate_codes(codes, dataset, args: argparse.Namespace, *, model: str, seed: int) -> list[results.Row]:
    """Scores over the active latents and over all of them, the number of active ones, and the fullest bin."""
    varied = [k for k in range(dataset.factors.shape[1]) if len(np.unique(dataset.factors[:, k])) > 1]
    given = dict(factors=dataset.factors[:, varied], codes=codes.codes, metrics=args.metrics, seed=args.seed,
                 factor_names=[dataset.factor_names[k] for k in varied],
                 factor_kinds=[dataset.factor_kinds[k] for k in varied])
    with tqdm(desc=f"scores of {model}", unit="score", delay=2, disable=None) as bar:
        active = evaluate(**given, active=codes.active, progress=lambda name: bar.update())
        every = active if codes.active.all() else evaluate(**given, progress=lambda name: bar.update())
    fullest = active.occupancy[codes.active].max() if codes.active.any() else 1.0
    counted = [results.Row(model, seed, "active latents", "all", "active", float(codes.active.sum())),
               results.Row(model, seed, "fullest bin", "all", "active", float(fullest))]
    return (counted + score_rows(active, model=model, seed=seed, latents="active")
            + score_rows(every, model=model, seed=seed, latents="all"))


@command
def main(argv: list[str] | None = None) -> int | None:
    args = parse_flags(argv)

    from syntone import showing  # after the flags: torch takes a second
    from syntone.evaluation import encode, reconstruction_error_db
    from syntone.runtime import select_device

    device = select_device(args.device)
    entries = showing.load_entries(args.model, dataset_path=args.dataset, state=args.state, device=device)
    for message in showing.warnings_for(entries):
        print(f"eval.py: warning: {message}", file=sys.stderr)
    rows, shown = [], set()
    for entry in entries:
        name, seed = entry.checkpoint.model_name, entry.checkpoint.seed
        codes = encode(entry.model, entry.features)
        error = reconstruction_error_db(entry.model, entry.features[entry.valid_rows], front_end=entry.front_end)
        rows.append(results.Row(name, seed, "reconstruction error (dB)", "all", "active", error))
        rows += evaluate_codes(codes, entry.dataset, args, model=name, seed=seed)
        if not args.no_figures and name not in shown:
            showing.draw_and_sound(entry, codes, figures_dir=args.figures_dir, audio_dir=args.output_dir / "audio" / name,
                                   seed=args.seed, animate=not shown)
            shown.add(name)
    results.write_scores(args.output_dir, rows, details={"checkpoints": [str(path) for path in args.model],
                                                         "state": args.state, "seed": args.seed})
    print(results.to_markdown(results.table(rows)))
    print(results.caption(rows))
    print(f"tables: {args.output_dir}" + ("" if args.no_figures else
                                          f"; figures: {args.figures_dir}; sounds: {args.output_dir / 'audio'}"))


if __name__ == "__main__":
    sys.exit(main())
