"""Create a dataset of sounds with known factors: synthetic tones, sampled instruments, or your own recordings.

    python create.py
    python create.py --sample_rate 16000 --freq_start 400 --freq_end 8000 --num_freqs 100 \\
                     --amp_start 0.1 --amp_end 1.0 --num_amps 10 --file_path "./Dataset/my_dataset.npz"
    python create.py --preset clean --audit --samples --file_path Dataset/clean.npz
    python create.py --preset clean --factor attack 0 0.3 4 --phase random --file_path Dataset/attack.npz
    python create.py --preset clean --hold_out timbre=square frequency=1000:3000 --file_path Dataset/held_out.npz
    python create.py --preset clean --correlate amplitude frequency 0.2 --file_path Dataset/correlated.npz
    python create.py --audit Dataset/syntone.npz
    python create.py --pairs pairs.npz --pair_changes 1 --num_pairs 10000 --file_path Dataset/clean.npz
    python create.py --preset notes --file_path Dataset/notes.npz
    python create.py --from_wav recordings --labels labels.csv --file_path Dataset/recordings.npz

The first makes the dataset of the paper (32,000 tones, 2.0 GB), the second a smaller one (4,000 tones, 0.26 GB), the
third the recommended one (4,340 tones, 0.28 GB) with an audit, figures and WAV files.
"""

import argparse
import shutil
import sys
from pathlib import Path

from tqdm import tqdm

from syntone.cli import Parser, command, positive_int
from syntone.dataset import load_npz
from syntone.dataset.grid import plan_tones
from syntone.dataset.identity import follows_recipe
from syntone.dataset.notes import add_note_flags, find_fonts, parse_span, plan_notes
from syntone.dataset.options import (
    DEFAULTS,
    FOR_NOTES,
    FOR_RECORDINGS,
    add_options,
    build_grid,
    check_options,
    parse_options,
)
from syntone.dataset.pairs import add_pair_flags, rule_of, write_pairs
from syntone.dataset.recipe import Plan, same_recipe, write_plan
from syntone.dataset.recordings import plan_recordings
from syntone.dataset.splits import check_study
from syntone.errors import InputError, MachineError
from syntone.files import check_writable, lock

PAIRS = {"pairs", "pair_changes", "pair_shares", "num_pairs"}
NOTES = {"soundfont", "instruments", "velocities", "pitches"}
REPORTS = {"audit", "samples", "figures_dir", "audio_dir"}


def build_parser() -> Parser:
    parser = Parser(prog="create.py", description=__doc__)
    add_options(parser)
    add_note_flags(parser.add_argument_group("notes of sampled instruments (--preset notes), which need FluidSynth"))
    recordings = parser.add_argument_group("recordings instead of tones")
    recordings.add_argument("--from_wav", type=Path, metavar="DIR", help="folder of WAV files with one sample rate")
    recordings.add_argument(
        "--labels", type=Path, metavar="CSV", help="table: column of file names, one column per factor"
    )
    lengths = "cut to the shortest or zero-pad to the longest recording, or to --duration"
    recordings.add_argument("--fit", choices=["cut", "pad"], default="cut", help=lengths)
    kinds = dict(nargs="+", action="extend", default=[], metavar="NAME")
    recordings.add_argument("--ordered", **kinds, help="ordered factors; words in order of first appearance")
    recordings.add_argument("--nominal", **kinds, help="nominal factors, for example class numbers")
    output = parser.add_argument_group("output")
    output.add_argument("--file_path", type=Path, default=Path("Dataset/syntone.npz"), help="dataset file to write")
    output.add_argument("--overwrite", action="store_true", help="replace an existing file")
    reports = parser.add_argument_group("reports on the new dataset, or on an existing FILE")
    optional_file = dict(nargs="?", type=Path, const=True, metavar="FILE")
    audit = "indistinguishable sounds, upper bound of MIG: text, <name>.audit.json, Dataset_Audit.png"
    reports.add_argument("--audit", **optional_file, help=audit)
    reports.add_argument("--samples", **optional_file, help="three sounds per timbre: Samples.png, WAV files")
    reports.add_argument("--figures_dir", type=Path, default=Path("Dataset/Figures"), help="folder of figures")
    reports.add_argument("--audio_dir", type=Path, default=Path("Dataset/audio"), help="folder of WAV files")
    pairs = parser.add_argument_group(
        "pairs of sounds of the dataset at --file_path that share factors, to train elsewhere"
    )
    pairs.add_argument(
        "--pairs", type=Path, metavar="FILE", help="file to write (.npz): rows of pairs, what they share"
    )
    add_pair_flags(pairs)
    pairs.add_argument("--num_pairs", type=positive_int, default=10_000, help="number of pairs")
    return parser


def check_effects(args: argparse.Namespace, given: set[str]) -> None:
    """Refuse given flags that have no effect."""
    reports = REPORTS | (PAIRS | {"file_path", "seed", "overwrite"} if args.pairs else set())
    for unused, flags, where in (
        (args.pairs is None, PAIRS, "without --pairs"),
        (args.existing is not None, given - reports, "on an existing file (--audit FILE, --samples FILE, --pairs)"),
        (args.from_wav is not None, {"preset", *DEFAULTS} - FOR_RECORDINGS, "on recordings (--from_wav)"),
        (args.preset == "notes", set(DEFAULTS) - FOR_NOTES, "on notes (--preset notes)"),
        (args.preset != "notes", NOTES, "without --preset notes"),
        (args.from_wav is None, {"fit", "ordered", "nominal"}, "on synthesized tones, without --from_wav"),
        (not args.samples, {"audio_dir"}, "without --samples"),
        (not args.audit and not args.samples, {"figures_dir"}, "without --audit or --samples"),
    ):
        if unused and given & flags:
            raise InputError(
                f"{', '.join(f'--{flag}' for flag in sorted(given & flags))}: no effect {where}; remove it"
            )


def check_npz(path: Path, *, flag: str) -> None:
    """Refuse a path that cannot be written or is not that of a .npz file."""
    check_writable(path, flag=flag)
    if path.suffix != ".npz":  # also protects other files from --overwrite
        raise InputError(f"{flag}: {path} does not end in .npz; give {path}.npz")


def parse_flags(argv: list[str] | None) -> argparse.Namespace:
    args, given = parse_options(build_parser(), argv)
    existing = (args.audit, args.samples, args.pairs and args.file_path)
    args.existing = next((path for path in existing if isinstance(path, Path)), None)
    for flag, path in (("audit", args.audit), ("samples", args.samples)):
        if path is True:
            setattr(args, flag, args.existing or args.file_path)
    check_effects(args, given)
    if args.audit:
        check_writable(args.audit.with_suffix(".audit.json"), flag="--audit")
    if args.audit or args.samples:
        check_writable(args.figures_dir, flag="--figures_dir", folder=True)
    if args.samples:
        check_writable(args.audio_dir, flag="--audio_dir", folder=True)
    args.rule = rule_of(args)
    if args.pairs:
        check_npz(args.pairs, flag="--pairs")
        if args.pairs.resolve() == args.file_path.resolve():
            raise InputError(f"--pairs: {args.pairs} is the dataset; give another path")
        if args.pairs.exists() and not args.overwrite:
            raise InputError(f"--pairs: {args.pairs} exists; give --overwrite or another path")
    if args.existing is not None:
        return args
    if (args.from_wav is None) != (args.labels is None):
        raise InputError("--from_wav, --labels: one needs the other; give both or neither")
    check_npz(args.file_path, flag="--file_path")
    if args.preset == "notes":
        if args.level == "peak":
            raise InputError("--level: notes have the level that is played, or equal RMS; give rms or leave it out")
        for name in ("velocities", "pitches"):
            setattr(args, name, parse_span(name, getattr(args, name)))
        return args
    if args.from_wav is None:
        check_options(args)
        grid = build_grid(args)
        if grid.n_tones < 2:
            raise InputError("--num_freqs, --num_amps, --waveforms: the grid has one tone; give 2 levels of one factor")
        level_names = (grid.waveforms, *(None for _ in grid.factor_names[1:]))
        levels = dict(zip(grid.factor_names, zip(grid.factor_kinds, grid.values, level_names)))
        check_study(args.hold_out, args.correlate, levels)
        return args
    if "duration" not in given:
        args.duration = None
    if not args.from_wav.is_dir():
        raise InputError(f"--from_wav: {args.from_wav} is not a folder; give the folder of the WAV files")
    return args


def plan(args: argparse.Namespace) -> Plan:
    if args.preset == "notes":
        names = ("instruments", "velocities", "pitches", *sorted(FOR_NOTES))
        return plan_notes(find_fonts(args.soundfont), **{name: getattr(args, name) for name in names})
    if args.from_wav is None:
        return plan_tones(build_grid(args), {name: getattr(args, name) for name in DEFAULTS})
    names = ("fit", "duration", "ordered", "nominal", "hold_out", "correlate")
    return plan_recordings(args.from_wav, args.labels, **{name: getattr(args, name) for name in names})


def create(path: Path, planned: Plan, *, overwrite: bool) -> None:
    """Write the dataset file unless it exists with the same contents."""
    if path.exists() and not overwrite:
        try:
            found = load_npz(path)
        except InputError:
            found = None
        what = "is not a readable dataset" if found is None else "was made with other options, labels or recordings"
        if found is not None and same_recipe(found.recipe, str(planned.members["recipe"])):
            if "freqs" not in planned.members or follows_recipe(found):  # recordings, or the tones of the recipe
                print(f"{path} was already made with these options; left alone")
                return
            what = "was changed after it was made with these options"
        raise InputError(f"--file_path: {path} exists and {what}; give --overwrite or another path")
    size, free = planned.n_bytes, shutil.disk_usage(path.resolve().parent).free
    if size > free:
        raise MachineError(f"--file_path: {path} needs {size:,} bytes, {free:,} are free; make fewer or shorter sounds")
    n_sounds, n_samples = planned.members["x"].shape
    print(f"{path}: {n_sounds:,} sounds ({planned.words}), {n_samples:,} samples each, {size / 1e9:.3g} GB", flush=True)
    warn(planned.warnings)
    with tqdm(total=n_sounds, unit="sound", delay=2, disable=None) as bar:
        warnings = write_plan(path, planned, progress=bar.update)
    warn(warnings)
    for line in planned.findings:
        print(line)


def warn(messages: list[str]) -> None:
    for message in messages:
        print(f"create.py: warning: {message}", file=sys.stderr)


@command
def main(argv: list[str] | None = None) -> int | None:
    args = parse_flags(argv)
    if args.existing is None:
        with lock(args.file_path, flag="--file_path"):
            create(args.file_path, plan(args), overwrite=args.overwrite)
    if args.audit or args.samples:
        from syntone.dataset.samples import write_audit, write_samples  # imports torch and matplotlib
    if args.audit:
        print(write_audit(load_npz(args.audit), figures_dir=args.figures_dir))
    if args.samples:
        print(write_samples(load_npz(args.samples), figures_dir=args.figures_dir, audio_dir=args.audio_dir))
    if args.pairs:
        how = {"num_pairs": args.num_pairs, "seed": args.seed}
        print(write_pairs(args.pairs, load_npz(args.file_path), args.rule, **how))


if __name__ == "__main__":
    sys.exit(main())
