"""Evaluate trained models: disentanglement metrics, figures and audio.

    python eval.py --model checkpoints/BetaVAE_seed0.pt
    python eval.py --model checkpoints/*_seed0.pt
    python eval.py --model checkpoints/BetaVAE_seed*.pt --metrics mig sap --no_figures
    python eval.py --self_test

Prints the scores and writes to results/: the scores (metrics.csv, metrics.json, table.md, table.tex), the change of
each factor by each latent (controllability.csv), Figures/, audio/, and report.html, which holds all of these and needs
no network. Training seeds of one model are aggregated; figures and sounds show the first. Files of the last evaluation
that are not written again are removed.
"""

import sys
from argparse import Namespace
from pathlib import Path

from metrics import METRICS, self_test
from models import MODELS
from syntone.cli import Parser, command, nonnegative_int
from syntone.device import select_device
from syntone.errors import InputError, one_line
from syntone.evaluation import controllability, report, scores, tables
from syntone.evaluation.codes import ACTIVE_NATS
from syntone.evaluation.control_figure import controllability_figure
from syntone.evaluation.load import Entry, load_entries, warnings_for
from syntone.evaluation.manifest import left_over, manifest
from syntone.evaluation.media import make_media
from syntone.evaluation.notes import notes_on
from syntone.files import check_writable, csv_text, lock, write_files


def parse_flags(argv: list[str] | None) -> Namespace:
    parser = Parser(prog="eval.py", description=__doc__)
    known = [*METRICS, scores.CONTROL]
    what = parser.add_argument_group("what to evaluate")
    what.add_argument("--model", nargs="+", type=Path, help="checkpoint files (.pt)")
    what.add_argument(
        "--state", choices=["last", "best"], default="last", help="weights: last epoch, or lowest validation loss"
    )
    what.add_argument("--dataset", type=Path, help="dataset file (default: the one named in the checkpoint)")
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
    machine = parser.add_argument_group("machine")
    machine.add_argument(
        "--device", choices=["auto", "cuda", "mps", "cpu"], default="auto", help="auto: cuda, then mps, then cpu"
    )
    args = parser.parse_args(argv)
    args.figures_dir = args.figures_dir or args.output_dir / "Figures"
    for flag in ("output_dir", "figures_dir"):
        check_writable(getattr(args, flag), flag=f"--{flag}", folder=True)
    if not args.model and not args.self_test:
        raise InputError("--model: no checkpoint is given; give one or more .pt files of trainvae.py, or --self_test")
    if args.model and args.self_test:
        raise InputError("--self_test: cannot be combined with --model; give one of the two")
    return args


def run_self_test(seed: int) -> int:
    """Print expected and obtained scores of codes with known scores; return the exit status."""
    checks = self_test(seed=seed)
    print(tables.to_markdown([("case", "score", "expected", "obtained", ""), *(check.cells() for check in checks)]))
    wrong = sum(not check.ok for check in checks)
    print(f"{len(checks)} checks, {wrong} wrong")
    return 1 if wrong else 0


def evaluate_entries(
    entries: list[Entry], args: Namespace
) -> tuple[list[scores.Row], list[str], dict[Path, bytes | str]]:
    """Score every checkpoint; make figures and sounds of the first of each model. Return rows, notes and all files."""
    metrics_of = [scores.choose_metrics(entry, args.metrics) for entry in entries]  # refuses before any work
    wanted = args.metrics is None or scores.CONTROL in args.metrics
    controls = controllability.measure_controls(entries, seed=args.seed) if wanted else {}
    rows, latents, media = [], [], {}
    for entry, metrics in zip(entries, metrics_of):
        information, found = scores.score_codes(entry, metrics, seed=args.seed)
        rows += found
        latents.append(scores.information_details(entry, information))
        control = controls.get(entry.key)
        if control:
            rows += controllability.control_rows(control, entry.key)
            latents[-1][scores.CONTROL] = controllability.control_details(control)
        rows += scores.section_rows(entry, args.metrics, seed=args.seed)
        if not args.no_figures and entry.name not in media:
            figure = control and controllability_figure(control, entry)
            media[entry.name] = make_media(entry, information, control=figure, seed=args.seed, animate=not media)
    rows += scores.agreement_rows(entries)
    place = {entry.label: list(MODELS).index(entry.name) for entry in entries}
    rows.sort(key=lambda row: place[row.model])  # the order of columns does not depend on that of the arguments

    controls_or_none = controls if wanted else None
    notes = notes_on(rows, entries, asked=args.metrics, controls=controls_or_none, figures=bool(media))
    page = report.render(rows, entries, list(media.values()), state=args.state, seed=args.seed, notes=notes)
    files: dict[Path, bytes | str] = {args.output_dir / "report.html": page}
    if wanted:
        files[args.output_dir / "controllability.csv"] = csv_text(*controllability.control_table(controls))
    for one in media.values():
        files |= one.files(figures_dir=args.figures_dir, audio_dir=args.output_dir / "audio")
    details = {"checkpoints": [str(path) for path in args.model], "state": args.state, "seed": args.seed}
    details |= {"metrics": args.metrics, "latents": latents}  # metrics: null for all
    details |= scores.BINS | {"active_above_nats": ACTIVE_NATS, "files": manifest(files, folder=args.output_dir)}
    texts = tables.score_files(rows, details=details, notes=notes)
    return rows, notes, {args.output_dir / name: text for name, text in texts.items()} | files


@command
def main(argv: list[str] | None = None) -> int | None:
    args = parse_flags(argv)
    if args.self_test:
        return run_self_test(args.seed)
    device = select_device(args.device)
    with lock(args.output_dir / "report.html", flag="--output_dir"):
        entries = load_entries(args.model, dataset_path=args.dataset, state=args.state, device=device)
        for message in warnings_for(entries):
            print(f"eval.py: warning: {one_line(message)}", file=sys.stderr)
        rows, notes, files = evaluate_entries(entries, args)
        audio_dir = args.output_dir / "audio"
        inputs = [*args.model, *(entry.dataset.path for entry in entries)]
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
    sys.exit(main())
