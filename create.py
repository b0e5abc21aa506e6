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
third the grid that we recommend (4,340 tones, 0.28 GB), with a report of what can be told apart and pictures of it.
"""

import argparse
import shutil
import sys
from pathlib import Path

from tqdm import tqdm

from syntone.cli import Parser, command, finite_float, nonnegative_float, nonnegative_int, positive_float, positive_int
from syntone.dataset.creation import plan_tones
from syntone.dataset.file import LATER, load_npz, npz_size, read_recipe, recipe_text, same_recipe, write_members
from syntone.dataset.nuisances import FACTORS
from syntone.dataset.options import (
    PRESETS,
    build_grid,
    check_options,
    check_study,
    parse_correlations,
    parse_factors,
    recipe_of,
)
from syntone.dataset.oscillators import OSCILLATORS, WAVEFORMS
from syntone.errors import InputError, MachineError
from syntone.files import check_writable, lock

# Flags that say something about recordings; what else decides the data is for synthesized tones only.
FOR_RECORDINGS = {"from_wav", "labels", "fit", "duration", "hold_out", "correlate"}


def build_parser() -> Parser:
    parser = Parser(prog="create.py", description=__doc__)
    tones = parser.add_argument_group("tones")
    tones.add_argument(
        "--preset",
        choices=list(PRESETS),
        default="paper",
        help="sets defaults only: the published grid, or the one that we recommend (README)",
    )
    tones.add_argument("--sample_rate", type=positive_int, default=16000, help="samples per second, Hz")
    tones.add_argument("--duration", type=positive_float, default=1.0, help="length of each tone, seconds")
    tones.add_argument(
        "--waveforms",
        nargs="+",
        choices=list(WAVEFORMS),
        default=list(WAVEFORMS),
        help="timbres, in the order of their class index",
    )
    tones.add_argument(
        "--oscillator",
        choices=OSCILLATORS,
        help="sample the ideal wave, whose upper partials fold back, or sum its partials below half the sample rate",
    )
    tones.add_argument(
        "--level",
        choices=["peak", "rms"],
        help="amplitude is the ideal wave's peak, or that of the sine with the same RMS",
    )
    grid = parser.add_argument_group("grid: every combination once, both ends included")
    grid.add_argument("--freq_start", type=positive_float, help="lowest frequency, Hz")
    grid.add_argument(
        "--freq_end",
        type=positive_float,
        default=None,
        help="highest frequency, Hz (default: half the sample rate; clean: 0.1625 of it)",
    )
    grid.add_argument("--num_freqs", type=positive_int, help="number of frequencies")
    grid.add_argument("--freq_scale", choices=["linear", "log"], help="equal steps in Hz, or equal ratios")
    grid.add_argument("--amp_start", type=positive_float, help="smallest amplitude, linear")
    grid.add_argument("--amp_end", type=positive_float, help="largest amplitude, linear")
    grid.add_argument("--num_amps", type=positive_int, help="number of amplitudes")
    grid.add_argument("--amp_scale", choices=["linear", "db"], help="equal steps, or equal steps in decibels")
    grid.add_argument(
        "--factor",
        nargs=4,
        action="append",
        default=[],
        metavar=("NAME", "START", "END", "NUM"),
        help="a further factor in NUM equal steps; repeatable. "
        + "; ".join(f"{name}: {factor.meaning}" for name, factor in FACTORS.items()),
    )
    nuisances = parser.add_argument_group("nuisances: drawn for every tone, in no label")
    nuisances.add_argument("--phase", choices=["zero", "random"], default=LATER["phase"], help="phase at the onset")
    nuisances.add_argument("--snr_db", type=finite_float, help="add white noise so many dB below each tone's RMS")
    nuisances.add_argument(
        "--onset_jitter",
        type=nonnegative_float,
        default=LATER["onset_jitter"],
        help="tones begin up to so many seconds late, uniformly",
    )
    nuisances.add_argument(
        "--detune_cents",
        type=nonnegative_float,
        default=LATER["detune_cents"],
        help="tones are off their frequency by up to so many cents, uniformly",
    )
    nuisances.add_argument("--seed", type=nonnegative_int, default=LATER["seed"], help="of everything drawn")
    study = parser.add_argument_group("training distribution: the file holds every tone; trainvae.py trains on these")
    study.add_argument(
        "--hold_out",
        nargs="+",
        action="append",
        default=[],
        metavar="NAME=VALUES",
        help="keep tones that meet all conditions out of training, for example timbre=square "
        "frequency=2000:8000; repeatable, joined by or",
    )
    study.add_argument(
        "--correlate",
        nargs=3,
        action="append",
        default=[],
        metavar=("NAME", "OTHER", "SIGMA"),
        help="train on tones drawn near the diagonal of two ordered factors' levels, scaled to [0, 1]; repeatable",
    )
    recordings = parser.add_argument_group("recordings instead of tones")
    recordings.add_argument("--from_wav", type=Path, metavar="DIR", help="folder of WAV files of one sample rate")
    recordings.add_argument("--labels", type=Path, metavar="CSV", help="a column of file names, then one a factor")
    recordings.add_argument(
        "--fit",
        choices=["cut", "pad"],
        default="cut",
        help="cut all to the shortest (or --duration), or pad with zeros to the longest (or it)",
    )
    output = parser.add_argument_group("output")
    output.add_argument("--file_path", type=Path, default=Path("Dataset/syntone.npz"), help="dataset file to write")
    output.add_argument("--overwrite", action="store_true", help="replace an existing file made with other options")
    reports = parser.add_argument_group("reports on the file that is made, or on FILE, and then nothing is made")
    reports.add_argument(
        "--audit",
        nargs="?",
        type=Path,
        const=True,
        metavar="FILE",
        help="what the front end cannot tell apart, and the ceiling of MIG that follows: a paragraph, "
        "<name>.audit.json beside the dataset, Dataset_Audit.png",
    )
    reports.add_argument(
        "--samples",
        nargs="?",
        type=Path,
        const=True,
        metavar="FILE",
        help="a low, a middle and a high tone of each timbre: Samples.png, and WAVs",
    )
    reports.add_argument("--figures_dir", type=Path, default=Path("Figures"), help="folder for figures")
    reports.add_argument("--audio_dir", type=Path, default=Path("results/audio/dataset"), help="folder for WAVs")
    parser.set_defaults(**PRESETS["paper"] | {"freq_end": None})
    return parser


def parse_flags(argv: list[str] | None) -> argparse.Namespace:
    parser = build_parser()
    args = parser.parse_args(argv)
    given = parser.parse_args(argv, argparse.Namespace(**dict.fromkeys(vars(args))))  # no default over what is there
    given = {key for key, value in vars(given).items() if value is not None}
    preset = PRESETS[args.preset]
    for key in preset.keys() - given:
        setattr(args, key, preset[key])
    if "freq_end" not in given:
        args.freq_end = preset["freq_end"] * args.sample_rate
    check_flags(args, given)
    return args


def check_flags(args: argparse.Namespace, given: set[str]) -> None:
    """Refuse flags that argparse cannot judge one by one; parse those of several words."""
    if args.labels is not None and args.from_wav is None:
        raise InputError("--labels: names the factors of --from_wav, which is not given; give both or neither")
    for flag in ("audit", "samples"):
        path = getattr(args, flag)
        if isinstance(path, Path) and not path.is_file():
            raise InputError(
                f"--{flag}: {path} is no file; give a dataset file of create.py, or --{flag} alone to report "
                f"on the file that is made"
            )
    for flag in ("figures_dir", "audio_dir"):
        if getattr(args, flag).exists() and not getattr(args, flag).is_dir():
            raise InputError(f"--{flag}: {getattr(args, flag)} is a file; give a folder")
    args.correlate = parse_correlations(args.correlate)
    check_writable(args.file_path, flag="--file_path")
    if args.file_path.suffix != ".npz":  # also guards any other file against --overwrite
        raise InputError(f"--file_path: {args.file_path} does not end in .npz; give {args.file_path}.npz")
    if args.from_wav is None:
        args.factor = parse_factors(args.factor)
        check_options(args)
        check_study(args, build_grid(args))
        return
    decide_data = set(recipe_of(args)) - FOR_RECORDINGS
    for flag in sorted(given & (decide_data | {"preset"})):
        raise InputError(f"--{flag}: is for synthesized tones and means nothing with --from_wav; leave it out")
    args.duration = args.duration if "duration" in given else None
    if not args.from_wav.is_dir():
        raise InputError(f"--from_wav: {args.from_wav} is no folder; give the folder of the WAV files")
    if args.labels is None or not args.labels.is_file():
        raise InputError(
            "--labels: --from_wav needs a CSV file of labels; give one with a column of file names, then one "
            "column a factor"
        )


def create(args: argparse.Namespace) -> None:
    """Make the dataset file, unless it is there already."""
    if args.from_wav is not None:
        from syntone.dataset.recordings import plan_recordings  # scipy.io takes a while

        plan = plan_recordings(
            args.from_wav,
            args.labels,
            fit=args.fit,
            duration=args.duration,
            hold_out=args.hold_out,
            correlate=args.correlate,
        )
    else:
        plan = plan_tones(build_grid(args), recipe_of(args))
    if args.file_path.exists() and not args.overwrite:
        found = read_recipe(args.file_path)
        if found is not None and same_recipe(found, recipe_text(plan.recipe)):
            print(f"{args.file_path} was made with these options already; left alone")
            return
        what = "is no whole dataset" if found is None else "was made with other options"
        raise InputError(
            f"--file_path: {args.file_path} exists and {what}; give --overwrite to replace it or another path"
        )
    with tqdm(total=plan.n_tones, unit="tone", delay=2, disable=None) as bar:
        members = plan.members(progress=bar.update)
        n_bytes, free = npz_size(members), shutil.disk_usage(args.file_path.parent).free
        if n_bytes > free:
            raise MachineError(
                f"--file_path: {args.file_path} would take {n_bytes:,} bytes and {free:,} are free there; "
                f"free some space, choose another disk or a smaller grid"
            )
        print(
            f"{args.file_path}: {plan.n_tones:,} tones ({plan.words}) of {plan.n_samples:,} samples, "
            f"{n_bytes / 1e9:.3g} GB, within {plan.memory_bytes / 2**20:.0f} MiB of memory",
            flush=True,
        )
        for message in plan.warnings:
            print(f"create.py: warning: {message}", file=sys.stderr)
        write_members(args.file_path, members)
    for message in plan.warnings_after():
        print(f"create.py: warning: {message}", file=sys.stderr)


@command
def main(argv: list[str] | None = None) -> int | None:
    args = parse_flags(argv)
    reports = {flag: getattr(args, flag) for flag in ("audit", "samples") if getattr(args, flag) is not None}
    if not any(isinstance(path, Path) for path in reports.values()):
        with lock(args.file_path, flag="--file_path"):
            create(args)
    made = next((path for path in reports.values() if isinstance(path, Path)), args.file_path)
    for flag, path in reports.items():
        from syntone.dataset import samples as writers  # torch and matplotlib, only now

        dataset = load_npz(made if path is True else path)
        if flag == "audit":
            writers.audit(dataset, figures_dir=args.figures_dir)
        else:
            writers.samples(dataset, figures_dir=args.figures_dir, audio_dir=args.audio_dir)


if __name__ == "__main__":
    sys.exit(main())
