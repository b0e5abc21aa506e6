"""Score trained models, and draw and sound what they do.

    python eval.py --model checkpoints/BetaVAE_seed0.pt
    python eval.py --model checkpoints/*_seed0.pt
    python eval.py --model checkpoints/BetaVAE_seed*.pt --metrics mig sap --no_figures
    python eval.py --self_test

Prints the table and writes it to results/ (metrics.csv, metrics.json, table.md, table.tex, and what each latent moves to
controllability.csv), figures to Figures/, sounds to results/audio/, and all of them in one page, results/report.html, that a
browser opens without a network. Several seeds of one model are aggregated; figures and sounds are of the first.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from metrics import METRICS, Report, defined_metrics, evaluate, self_test, udr_per_model
from syntone.cli import Parser, choose_defined, command, nonnegative_int
from syntone.errors import InputError
from syntone.evaluation import tables as results
from syntone.files import check_writable, staged

CONTROL = "controllability"  # the one score that needs a decoder, so it is not in metrics/

if TYPE_CHECKING:  # torch is imported after the flags
    from syntone.evaluation.codes import Codes
    from syntone.evaluation.media import Entry


def parse_flags(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(prog="eval.py", description=__doc__)
    what = parser.add_argument_group("what to evaluate")
    what.add_argument("--model", nargs="+", type=Path, help="one or more checkpoints of trainvae.py")
    what.add_argument(
        "--state",
        choices=["last", "best"],
        default="last",
        help="weights after the last epoch, or of the lowest validation loss",
    )
    what.add_argument("--dataset", type=Path, help="dataset file (default: the one named in the checkpoint)")
    what.add_argument(
        "--metrics",
        nargs="+",
        choices=[*METRICS, CONTROL],
        metavar="METRIC",
        help=f"scores to compute, of {', '.join([*METRICS, CONTROL])} (default: all)",
    )
    what.add_argument(
        "--self_test",
        action="store_true",
        help="score codes whose answer is known and print expected beside obtained; a wrong score exits 1",
    )
    what.add_argument(
        "--seed",
        type=nonnegative_int,
        default=0,
        help="of everything drawn here: permutations and splits of the scores, samples, tones shown",
    )
    output = parser.add_argument_group("output")
    output.add_argument("--output_dir", type=Path, default=Path("results"), help="folder for tables and sounds")
    output.add_argument("--figures_dir", type=Path, default=Path("Figures"), help="folder for figures")
    output.add_argument("--no_figures", action="store_true", help="leave out figures and sounds")
    machine = parser.add_argument_group("machine")
    machine.add_argument(
        "--device", choices=["auto", "cuda", "mps", "cpu"], default="auto", help="auto is cuda, then mps, then cpu"
    )
    args = parser.parse_args(argv)
    for flag in ("output_dir", "figures_dir"):
        check_writable(getattr(args, flag), flag=f"--{flag}", folder=True)
    if not args.model and not args.self_test:
        raise InputError("--model: no checkpoint is given; give one or more .pt that trainvae.py wrote, or --self_test")
    for path in args.model or []:
        if not path.is_file():
            raise InputError(f"--model: {path} is no file; give a .pt that trainvae.py wrote")
    return args


def score_rows(report: Report, *, model: str, seed: int, latents: str) -> list[results.Row]:
    """A report as rows: every score, then its factors."""
    rows = []
    for metric, score in report.scores.items():
        rows.append(
            results.Row(
                model,
                seed,
                metric,
                "all",
                latents,
                score.value,
                score.floor,
                score.ceiling,
                score.adjusted,
                score.floor_std,
            )
        )
        for factor, value in (score.per_factor or {}).items():
            rows.append(results.Row(model, seed, metric, factor, latents, value))
    return rows


def choose_metrics(codes: Codes, labels: dict, asked: list[str] | None) -> list[str]:
    """The scores to compute of these codes: what was asked for, or all that are defined for the data."""
    factors, n_latents = labels["factors"], codes.codes.shape[1]
    defined = defined_metrics(factors=factors, n_latents=n_latents, factor_kinds=labels["factor_kinds"])
    of_codes = [name for name in asked or [] if name != CONTROL]
    if asked and not of_codes:
        return []
    return choose_defined(
        of_codes,
        defined,
        default=METRICS,
        flag="--metrics",
        data=f"{factors.shape[1]} varied factors, {n_latents} latents and {len(factors)} tones",
    )


def evaluate_codes(
    codes: Codes, labels: dict, metrics: list[str], *, model: str, seed: int, draws: int
) -> tuple[Report, list[results.Row]]:
    """The report over the active latents, and the rows: scores over active and over all latents, the number of active
    ones, and the fullest bin."""
    defined = defined_metrics(
        factors=labels["factors"], n_latents=codes.codes.shape[1], factor_kinds=labels["factor_kinds"]
    )
    given = labels | dict(codes=codes.codes, metrics=metrics or defined[:1], seed=draws)  # any holds the information
    with tqdm(desc=f"scores of {model}", unit="score", delay=2, disable=None) as bar:
        active = evaluate(**given, active=codes.active, progress=lambda name: bar.update())
        every = active if codes.active.all() else evaluate(**given, progress=lambda name: bar.update())
    fullest = active.occupancy[codes.active].max() if codes.active.any() else 1.0
    counted = [
        results.Row(model, seed, "active latents", "all", "active", float(codes.active.sum())),
        results.Row(model, seed, "fullest bin", "all", "active", float(fullest)),
    ]
    if not metrics:
        return active, counted
    return active, (
        counted
        + score_rows(active, model=model, seed=seed, latents="active")
        + score_rows(every, model=model, seed=seed, latents="all")
    )


def section_rows(entry: Entry, codes: Codes, args: argparse.Namespace, *, model: str, seed: int) -> list[results.Row]:
    """Scores over the parts of a dataset that hold-outs and correlations make: the combinations that no training saw, and
    the distribution that it was trained on. The scores before them are over the whole grid."""
    from syntone.dataset.splits import sections
    from syntone.evaluation.codes import reconstruction_error_db

    rows = []
    parts = {} if entry.mismatch else sections(entry.dataset, generator=np.random.default_rng(args.seed))
    for part, tones in parts.items():
        seen = tones if part == "held out" else np.intersect1d(tones, entry.valid_rows)
        if len(seen):
            error = reconstruction_error_db(entry.model, entry.features[seen], front_end=entry.front_end)
            rows.append(results.Row(model, seed, f"{part}: reconstruction error (dB)", "all", "all", error))
        rows.append(results.Row(model, seed, f"{part}: tones", "all", "all", float(len(tones))))
        if not entry.dataset.varies(tones):
            continue
        labels = entry.dataset.labels(tones)
        defined = defined_metrics(
            factors=labels["factors"], n_latents=codes.codes.shape[1], factor_kinds=labels["factor_kinds"]
        )
        metrics = [name for name in args.metrics or METRICS if name in defined]
        values = codes.codes[tones]
        active = codes.active & (values.max(axis=0) > values.min(axis=0))
        if metrics:
            report = evaluate(**labels, codes=values, active=active, metrics=metrics, seed=args.seed)
            rows += [
                replace(row, metric=f"{part}: {row.metric}")
                for row in score_rows(report, model=model, seed=seed, latents="active")
            ]
    return rows


def agreement_rows(codes_of: dict[tuple[str, int], Codes]) -> list[results.Row]:
    """UDR of every seed of each model that has two or more: how well its latents agree with those of the others."""
    rows = []
    for model in dict.fromkeys(name for name, _ in codes_of):
        seeds = [seed for name, seed in codes_of if name == model]
        if len(seeds) < 2:
            continue
        mine = [codes_of[model, seed] for seed in seeds]
        values = udr_per_model(codes=[codes.codes for codes in mine], active=[codes.active for codes in mine])
        rows += [results.Row(model, seed, "UDR", "all", "active", float(value)) for seed, value in zip(seeds, values)]
    return rows


def run_self_test(seed: int) -> int:
    """Print what every score should give on codes whose answer is known, and what it gives."""
    checks = self_test(seed=seed)
    print(results.to_markdown([("case", "score", "expected", "obtained", ""), *(check.cells() for check in checks)]))
    wrong = sum(not check.ok for check in checks)
    print(f"{len(checks)} checks, {wrong} wrong")
    return 1 if wrong else 0


@command
def main(argv: list[str] | None = None) -> int | None:
    args = parse_flags(argv)
    if args.self_test:
        return run_self_test(args.seed)

    from models import MODELS
    from syntone.evaluation import media as showing
    from syntone.evaluation import report as page
    from syntone.evaluation.codes import encode
    from syntone.training.parallel import select_device

    device = select_device(args.device)
    with contextlib.ExitStack() as held:
        stages: dict[Path, Path] = {}  # two flags may name one folder
        for flag in ("output_dir",) if args.no_figures else ("output_dir", "figures_dir"):
            folder = getattr(args, flag)
            if folder.resolve() not in stages:
                stages[folder.resolve()] = held.enter_context(staged(folder, flag=f"--{flag}"))
        entries = showing.load_entries(args.model, dataset_path=args.dataset, state=args.state, device=device)
        for message in showing.warnings_for(entries):
            print(f"eval.py: warning: {message}", file=sys.stderr)
        codes_of = {}
        for entry, path in zip(entries, args.model):
            try:
                codes_of[entry.checkpoint.model_name, entry.checkpoint.seed] = encode(entry.model, entry.features)
            except InputError as mistake:
                raise InputError(f"{path}: {mistake}") from mistake
        rows, latents = evaluate_entries(entries, codes_of, args, stages)
        rows += agreement_rows(codes_of)
        rows.sort(key=lambda row: list(MODELS).index(row.model))  # columns in one order, whatever the shell's
        details = {
            "checkpoints": [str(path) for path in args.model],
            "state": args.state,
            "seed": args.seed,
            "metrics": args.metrics,
            "latents": latents,
        }  # metrics: those asked for; null: all
        results.write_scores(stages[args.output_dir.resolve()], rows, details=details)
        page.write_page(
            stages[args.output_dir.resolve()],
            rows,
            entries,
            state=args.state,
            seed=args.seed,
            figures_dir=None if args.no_figures else stages[args.figures_dir.resolve()],
        )
    print(results.to_markdown(results.table(rows)))
    print(results.caption(rows))
    print(
        f"page: {args.output_dir / 'report.html'}; tables: {args.output_dir}"
        + ("" if args.no_figures else f"; figures: {args.figures_dir}; sounds: {args.output_dir / 'audio'}")
    )


def evaluate_entries(
    entries: list, codes_of: dict[tuple[str, int], Codes], args: argparse.Namespace, stages: dict[Path, Path]
) -> tuple[list[results.Row], list[dict]]:
    """Score every checkpoint, and draw and sound the first of each model into the stages; the rows, and what the JSON says
    about the latents of each."""
    from syntone.evaluation import control_report
    from syntone.evaluation import media as showing
    from syntone.evaluation.codes import reconstruction_error_db

    metrics_of = {
        key: choose_metrics(codes, entry.dataset.labels(), args.metrics)  # all refusals before any work
        for entry, (key, codes) in zip(entries, codes_of.items())
    }
    controls = {}
    if args.metrics is None or CONTROL in args.metrics:
        controls = control_report.measure_controls(entries, codes_of, seed=args.seed)
        control_report.write_control(stages[args.output_dir.resolve()] / "controllability.csv", controls)
    rows, latents, drawn = [], [], set()
    for entry, ((name, seed), codes) in zip(entries, codes_of.items()):
        error = reconstruction_error_db(entry.model, entry.features[entry.valid_rows], front_end=entry.front_end)
        report, scores = evaluate_codes(
            codes, entry.dataset.labels(), metrics_of[name, seed], model=name, seed=seed, draws=args.seed
        )
        control = controls.get((name, seed))
        rows += [
            results.Row(name, seed, "reconstruction error (dB)", "all", "all", error),
            *scores,
            *(control_report.control_rows(control, model=name, seed=seed) if control else []),
            *section_rows(entry, codes, args, model=name, seed=seed),
        ]
        if not args.no_figures and name not in drawn:
            figures = stages[args.figures_dir.resolve()]
            showing.draw_and_sound(
                entry,
                codes,
                figures_dir=figures,
                seed=args.seed,
                animate=not drawn,
                audio_dir=stages[args.output_dir.resolve()] / "audio" / name,
            )
            showing.draw_information(
                entry, codes, report.mi / report.entropy[:, None], factors=report.factor_names, figures_dir=figures
            )
            if control:
                control_report.draw_control(control, codes, dataset=entry.dataset, model=name, figures_dir=figures)
            drawn.add(name)
        latents.append(
            {
                "model": name,
                "seed": seed,
                "kl_nats": codes.kl.tolist(),
                "fullest_bin": report.occupancy.tolist(),
                "factors": list(report.factor_names),
                "entropy_nats": report.entropy.tolist(),
                "mutual_information_nats": report.mi.tolist(),
            }
            | ({CONTROL: control_report.control_details(control)} if control else {})
        )
    return rows, latents


if __name__ == "__main__":
    sys.exit(main())
