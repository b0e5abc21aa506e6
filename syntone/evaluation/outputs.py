"""All that an evaluation writes: rows of scores, notes on them, and the contents of every file."""

from argparse import Namespace
from pathlib import Path

from models import MODELS
from syntone.evaluation import baselines, controllability, report, scores, tables
from syntone.evaluation.codes import ACTIVE_NATS
from syntone.evaluation.codes_file import GivenCodes, codes_file
from syntone.evaluation.control_figure import controllability_figure
from syntone.evaluation.load import Entry, marked
from syntone.evaluation.manifest import manifest
from syntone.evaluation.media import make_media
from syntone.evaluation.notes import notes_on
from syntone.files import csv_text


def evaluate_entries(
    entries: list[Entry], args: Namespace, *, device: object
) -> tuple[list[scores.Row], list[str], dict[Path, bytes | str]]:
    """Score models, codes and baselines; make figures and sounds of the first seed of each model.

    Parameters
    ----------
    entries : models and codes, at least one
    args : flags of eval.py
    device : torch.device of the features

    Returns
    -------
    rows, notes, and the contents of all files by path
    """
    for entry in entries:
        scores.choose_metrics(entry, args.metrics)  # refuses before any work
    made, baseline_notes = baselines.make_baselines(entries, args.baselines, front_end=args.features, device=device)
    every = [*entries, *made]
    wanted = args.metrics is None or scores.CONTROL in args.metrics
    controls = controllability.measure_controls(every, seed=args.seed) if wanted else {}
    rows, latents, media = [], [], {}
    for entry in every:
        information, found = scores.score_codes(entry, scores.choose_metrics(entry, args.metrics), seed=args.seed)
        rows += found
        latents.append(scores.information_details(entry, information))
        control = controls.get(entry.key)
        if control:
            rows += controllability.control_rows(control, entry.key)
            latents[-1][scores.CONTROL] = controllability.control_details(control)
        rows += scores.section_rows(entry, args.metrics, seed=args.seed)
        if not (args.no_figures or entry.is_baseline or entry.name in media):
            figure = control and controllability_figure(control, entry)
            media[entry.name] = make_media(entry, information, control=figure, seed=args.seed, animate=not media)
    rows += scores.agreement_rows(entries)
    columns = list(dict.fromkeys(entry.label for entry in sorted(every, key=_place)))  # not in the order of arguments
    rows.sort(key=lambda row: columns.index(row.model))

    controls_or_none = controls if wanted else None
    notes = notes_on(rows, every, asked=args.metrics, controls=controls_or_none, figures=bool(media)) + baseline_notes
    page = report.render(rows, every, list(media.values()), state=args.state, seed=args.seed, notes=notes)
    files: dict[Path, bytes | str] = {args.output_dir / "report.html": page}
    if wanted:
        files[args.output_dir / "controllability.csv"] = csv_text(*controllability.control_table(controls))
    for one in media.values():
        files |= one.files(figures_dir=args.figures_dir, audio_dir=args.output_dir / "audio")
    if args.write_codes:
        files |= {args.output_dir / "codes" / f"{one.name}_seed{one.seed}.npz": _codes(one) for one in entries}
    details = {"checkpoints": [str(path) for path in args.model], "codes": [str(path) for path in args.codes]}
    details |= {"baselines": args.baselines, "state": args.state, "seed": args.seed}
    details |= {"metrics": args.metrics, "latents": latents}  # metrics: null for all
    details |= scores.BINS | {"active_above_nats": ACTIVE_NATS, "files": manifest(files, folder=args.output_dir)}
    texts = tables.score_files(rows, details=details, notes=notes)
    return rows, notes, {args.output_dir / name: text for name, text in texts.items()} | files


def _place(entry: Entry) -> int:
    """Models in the order of MODELS, then codes, then baselines."""
    if entry.checkpoint is not None:
        return list(MODELS).index(entry.name)
    return len(MODELS) + entry.is_baseline


def _codes(entry: Entry) -> bytes:
    return codes_file(GivenCodes(marked(entry.name), entry.seed, entry.codes.codes, entry.codes.active))
