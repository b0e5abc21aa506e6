"""Create a dataset of sounds whose factors are known: synthetic tones, or your own recordings with labels.

    python create.py
    python create.py --sample_rate 16000 --freq_start 400 --freq_end 8000 --num_freqs 100 \\
                     --amp_start 0.1 --amp_end 1.0 --num_amps 10 --file_path "./Dataset/my_dataset.npz"
    python create.py --preset clean --audit --samples --file_path Dataset/clean.npz
    python create.py --preset clean --factor attack 0 0.3 4 --phase random --file_path Dataset/attack.npz
    python create.py --preset clean --hold_out timbre=square frequency=1000:3000 --file_path Dataset/held_out.npz
    python create.py --preset clean --correlate amplitude frequency 0.2 --file_path Dataset/correlated.npz
    python create.py --audit Dataset/syntone.npz
    python create.py --from_wav recordings --labels labels.csv --file_path Dataset/recordings.npz

The first makes the paper's SynTone (32,000 tones, 2.0 GB), the second a grid for a laptop (4,000 tones, 0.26 GB), the
third the grid that we recommend (4,340 tones, 0.28 GB), with an audit of distinguishable tones, pictures and sounds.
"""

import argparse
import shutil
import sys
from pathlib import Path

from tqdm import tqdm

from syntone.cli import Parser, command
from syntone.dataset import load_npz
from syntone.dataset.grid import plan_tones
from syntone.dataset.identity import follows_recipe
from syntone.dataset.options import DEFAULTS, FOR_RECORDINGS, add_options, build_grid, check_options, parse_options
from syntone.dataset.recipe import Plan, same_recipe, write_plan
from syntone.dataset.splits import check_study
from syntone.errors import InputError, MachineError
from syntone.files import check_writable, lock

REPORTS = {"audit", "samples", "figures_dir", "audio_dir"}


def build_parser() -> Parser:
    parser = Parser(prog="create.py", description=__doc__)
    add_options(parser)
    recordings = parser.add_argument_group("recordings instead of tones")
    recordings.add_argument("--from_wav", type=Path, metavar="DIR", help="folder of WAV files of one sample rate")
    recordings.add_argument("--labels", type=Path, metavar="CSV", help="a column of file names, then one per factor")
    lengths = "cut to the shortest, or pad with zeros to the longest; to --duration if that is given"
    recordings.add_argument("--fit", choices=["cut", "pad"], default="cut", help=lengths)
    kinds = dict(nargs="+", action="extend", default=[], metavar="NAME")
    recordings.add_argument(
        "--ordered", **kinds, help="factors that are ordered: words in the order of first appearance"
    )
    recordings.add_argument("--nominal", **kinds, help="factors whose levels are classes: numbers without an order")
    output = parser.add_argument_group("output")
    output.add_argument("--file_path", type=Path, default=Path("Dataset/syntone.npz"), help="dataset file to write")
    output.add_argument("--overwrite", action="store_true", help="replace an existing file made with other options")
    reports = parser.add_argument_group("reports on the new file, or on FILE without making one")
    optional_file = dict(nargs="?", type=Path, const=True, metavar="FILE")
    audit = "indistinguishable tones and the ceiling of MIG: a paragraph, <name>.audit.json, Dataset_Audit.png"
    reports.add_argument("--audit", **optional_file, help=audit)
    reports.add_argument("--samples", **optional_file, help="three tones of each timbre: Samples.png, and WAVs")
    reports.add_argument("--figures_dir", type=Path, default=Path("Dataset/Figures"), help="folder for figures")
    reports.add_argument("--audio_dir", type=Path, default=Path("Dataset/audio"), help="folder for WAVs")
    return parser


def check_effects(args: argparse.Namespace, given: set[str]) -> None:
    """Refuse flags that have no effect together."""
    if args.existing is not None:
        useless, where = given - REPORTS, "on a file that --audit or --samples names"
    elif args.from_wav is not None:
        useless, where = given & {"preset", *DEFAULTS} - FOR_RECORDINGS, "on recordings (--from_wav)"
    else:
        useless, where = given & {"fit", "ordered", "nominal"}, "on synthesized tones, without --from_wav"
    if not useless and not args.samples:
        useless, where = given & {"audio_dir"}, "without --samples"
    if not useless and not args.audit and not args.samples:
        useless, where = given & {"figures_dir"}, "without --audit or --samples"
    if useless:
        flags = ", ".join(f"--{flag}" for flag in sorted(useless))
        raise InputError(f"{flags}: no effect {where}; leave out one or the other")


def parse_flags(argv: list[str] | None) -> argparse.Namespace:
    args, given = parse_options(build_parser(), argv)
    named = [path for path in (args.audit, args.samples) if isinstance(path, Path)]
    args.existing = named[0] if named else None
    for flag in ("audit", "samples"):
        path = getattr(args, flag)
        if isinstance(path, Path) and not path.is_file():
            raise InputError(f"--{flag}: {path}: no such file; give a dataset file, or --{flag} alone for the new one")
        if path is True:
            setattr(args, flag, args.existing or args.file_path)
    for flag, needed in (("figures_dir", args.audit or args.samples), ("audio_dir", args.samples)):
        if needed:
            check_writable(getattr(args, flag), flag=f"--{flag}", folder=True)
    check_effects(args, given)
    if args.audit:
        check_writable(args.audit.with_suffix(".audit.json"), flag="--audit")
    if args.existing is not None:
        return args
    if (args.from_wav is None) != (args.labels is None):
        raise InputError("--from_wav, --labels: one needs the other; give both or neither")
    check_writable(args.file_path, flag="--file_path")
    if args.file_path.suffix != ".npz":  # also guards any other file against --overwrite
        raise InputError(f"--file_path: {args.file_path} does not end in .npz; give {args.file_path}.npz")
    if args.from_wav is None:
        check_options(args)
        grid = build_grid(args)
        if grid.n_tones < 2:
            raise InputError("--num_freqs, --num_amps, --waveforms: the grid is a single tone; give 2 levels of one")
        level_names = (grid.waveforms, *(None for _ in grid.factor_names[1:]))
        levels = dict(zip(grid.factor_names, zip(grid.factor_kinds, grid.values, level_names)))
        check_study(args.hold_out, args.correlate, levels)
        return args
    if "duration" not in given:
        args.duration = None
    if not args.from_wav.is_dir():
        raise InputError(f"--from_wav: {args.from_wav} is not a folder; give the folder of the WAV files")
    if not args.labels.is_file():
        raise InputError(f"--labels: {args.labels} is not a file; give a CSV file of file names and factors")
    return args


def plan(args: argparse.Namespace) -> Plan:
    if args.from_wav is None:
        return plan_tones(build_grid(args), {name: getattr(args, name) for name in DEFAULTS})
    from syntone.dataset.recordings import plan_recordings  # scipy.io takes a while

    names = ("fit", "duration", "ordered", "nominal", "hold_out", "correlate")
    options = {name: getattr(args, name) for name in names}
    return plan_recordings(args.from_wav, args.labels, **options)


def create(path: Path, planned: Plan, *, overwrite: bool) -> None:
    """Write the dataset file, unless one with the same recipe is there."""
    if path.exists() and not overwrite:
        try:
            found = load_npz(path)
        except InputError:
            found = None
        what = "is not a readable dataset" if found is None else "was made with other options or recordings"
        if found is not None and same_recipe(found.recipe, str(planned.members["recipe"])):
            if "freqs" not in planned.members or follows_recipe(found):  # recordings, or the tones of the recipe
                print(f"{path} was made with these options already; left alone")
                return
            what = "was changed since it was made with these options"
        raise InputError(f"--file_path: {path} exists and {what}; give --overwrite to replace it or another path")
    free, (n_tones, n_samples) = shutil.disk_usage(path.resolve().parent).free, planned.members["x"].shape
    size = planned.n_bytes
    if size > free:
        raise MachineError(
            f"--file_path: {path} would take {size:,} bytes, {free:,} are free; make fewer or shorter sounds"
        )
    tones = f"{n_tones:,} tones ({planned.words}) of {n_samples:,} samples"
    print(f"{path}: {tones}, {size / 1e9:.3g} GB", flush=True)
    warn(planned.warnings)
    with tqdm(total=n_tones, unit="tone", delay=2, disable=None) as bar:
        late = write_plan(path, planned, progress=bar.update)
    warn(late)


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
        from syntone.dataset.samples import write_audit, write_samples  # torch and matplotlib, only now
    if args.audit:
        print(write_audit(load_npz(args.audit), figures_dir=args.figures_dir))
    if args.samples:
        print(write_samples(load_npz(args.samples), figures_dir=args.figures_dir, audio_dir=args.audio_dir))


if __name__ == "__main__":
    sys.exit(main())
