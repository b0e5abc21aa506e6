"""Create a dataset of synthetic tones whose timbre, amplitude and frequency are known.

    python create.py
    python create.py --sample_rate 16000 --freq_start 400 --freq_end 8000 --num_freqs 100 \\
                     --amp_start 0.1 --amp_end 1.0 --num_amps 10 --file_path "./Dataset/my_dataset.npz"

The first makes the paper's SynTone (32,000 tones, 2.0 GB), the second a grid for a laptop (4,000 tones, 0.26 GB).
"""

if __name__ == "__main__":  # before the imports that take a moment, so that Ctrl-C ends them in one line too
    from syntone.cli import end_on_signals

    end_on_signals()

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from syntone import synthesis
from syntone.cli import InputError, MachineError, Parser, command, positive_float, positive_int
from syntone.data import Blocks, dataset_members, npz_size, read_recipe, recipe_text, row_ranges, write_members
from syntone.files import check_writable_path, locked

GENERATOR_VERSION = 1
MAX_LEVELS = 10**6
MAX_TONE_BYTES = 64 * 2**20  # one unit tone in float64 and its temporaries, the smallest thing that is computed whole


def parse_flags(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(prog="create.py", description=__doc__)
    tones = parser.add_argument_group("tones")
    tones.add_argument("--sample_rate", type=positive_int, default=16000, help="samples per second, Hz")
    tones.add_argument("--duration", type=positive_float, default=1.0, help="length of each tone, seconds")
    tones.add_argument("--waveforms", nargs="+", choices=list(synthesis.WAVEFORMS), default=list(synthesis.WAVEFORMS),
                       help="timbres, in the order of their class index")
    grid = parser.add_argument_group("grid: every combination once, levels in linear steps, both ends included")
    grid.add_argument("--freq_start", type=positive_float, default=440.0, help="lowest frequency, Hz")
    grid.add_argument("--freq_end", type=positive_float, help="highest frequency, Hz (default: half the sample rate)")
    grid.add_argument("--num_freqs", type=positive_int, default=400, help="number of frequencies")
    grid.add_argument("--amp_start", type=positive_float, default=0.1, help="smallest peak amplitude, linear")
    grid.add_argument("--amp_end", type=positive_float, default=1.0, help="largest peak amplitude, linear")
    grid.add_argument("--num_amps", type=positive_int, default=20, help="number of amplitudes")
    output = parser.add_argument_group("output")
    output.add_argument("--file_path", type=Path, default=Path("Dataset/syntone.npz"), help="dataset file to write")
    output.add_argument("--overwrite", action="store_true", help="replace an existing file made with other options")
    args = parser.parse_args(argv)
    if args.freq_end is None:
        args.freq_end = args.sample_rate / 2
    check_flags(args)
    return args


def check_flags(args: argparse.Namespace) -> None:
    """Refuse flags that argparse cannot judge one by one."""
    nyquist = args.sample_rate / 2
    if args.freq_end > nyquist:
        raise InputError(f"--freq_end: {args.freq_end:g} Hz is above half the sample rate, where tones fold back; "
                         f"give {nyquist:g} or less")
    for low, high, num in (("freq_start", "freq_end", "num_freqs"), ("amp_start", "amp_end", "num_amps")):
        start, end = getattr(args, low), getattr(args, high)
        if start > end:
            raise InputError(f"--{low}: {start:g} is above --{high} {end:g}; give {end:g} or less")
        if getattr(args, num) > MAX_LEVELS:
            raise InputError(f"--{num}: {getattr(args, num)} levels; give at most {MAX_LEVELS}")
        if start == end and getattr(args, num) > 1:
            raise InputError(f"--{num}: {getattr(args, num)} levels from {start:g} to {end:g} are all the same; give 1")
    if args.amp_end > 1e6 or args.amp_start < 1e-30:
        raise InputError("--amp_start, --amp_end: float32 samples hold amplitudes from 1e-30 to 1e6; stay between them")
    if len(set(args.waveforms)) < len(args.waveforms):
        raise InputError("--waveforms: a waveform is named twice; name each once")
    n_samples = args.sample_rate * args.duration
    if not 2 <= round(n_samples) <= MAX_TONE_BYTES // 8:
        raise InputError(f"--duration: {args.duration:g} s at {args.sample_rate} Hz is {n_samples:.6g} samples; "
                         f"give 2 to {MAX_TONE_BYTES // 8} (this tone would take {8 * n_samples:,.0f} bytes to compute)")
    check_writable_path(args.file_path, flag="--file_path")
    if args.file_path.suffix != ".npz":  # also guards any other file against --overwrite
        raise InputError(f"--file_path: {args.file_path} does not end in .npz; give {args.file_path}.npz")


def build_grid(args: argparse.Namespace) -> synthesis.Grid:
    return synthesis.Grid(
        sample_rate=args.sample_rate, n_samples=round(args.sample_rate * args.duration),
        freqs=tuple(np.linspace(args.freq_start, args.freq_end, args.num_freqs).tolist()),
        amps=tuple(np.linspace(args.amp_start, args.amp_end, args.num_amps).tolist()), waveforms=tuple(args.waveforms))


def build_members(grid: synthesis.Grid, recipe: dict, *, bar: tqdm) -> dict[str, np.ndarray | Blocks]:
    """The dataset's members as blocks, so that no grid is too large for memory; `bar` counts the tones."""
    n = grid.n_tones

    def per_row(dtype, columns, compute):
        shape = (n, *columns)
        return Blocks(shape, np.dtype(dtype), (compute(rows) for rows in row_ranges(n, rows=2**18)))

    def counted(blocks):
        for block in blocks:
            yield block
            bar.update(len(block))

    x = Blocks((n, grid.n_samples), np.dtype(np.float32), counted(synthesis.render(grid)))
    return dataset_members(
        x=x, factors=per_row(np.int32, (3,), grid.levels), factor_values=per_row(np.float64, (3,), grid.physical),
        factor_names=synthesis.FACTOR_NAMES, factor_kinds=synthesis.FACTOR_KINDS, sample_rate=grid.sample_rate,
        recipe=recipe, y=per_row(np.int64, (), lambda rows: grid.levels(rows)[:, 0].astype(np.int64)),
        classes=grid.waveforms, freqs=per_row(np.float64, (), lambda rows: grid.physical(rows)[:, 2]),
        amps=per_row(np.float64, (), lambda rows: grid.physical(rows)[:, 1]))


def is_made(args: argparse.Namespace, recipe: dict) -> bool:
    """Whether the file is there already, made with these options; one made with others is refused without --overwrite."""
    if args.overwrite or not args.file_path.exists():
        return False
    found = read_recipe(args.file_path)
    if found == recipe_text(recipe):
        return True
    what = "is no whole dataset" if found is None else "was made with other options"
    raise InputError(f"--file_path: {args.file_path} exists and {what}; give --overwrite to replace it or another path")


def write_dataset(args: argparse.Namespace, recipe: dict) -> None:
    """Say what is written, and write it."""
    grid = build_grid(args)
    with tqdm(total=grid.n_tones, unit="tone", delay=2, disable=None) as bar:
        members = build_members(grid, recipe, bar=bar)
        n_bytes = npz_size(members)
        free = shutil.disk_usage(args.file_path.parent).free
        if n_bytes > free:
            raise MachineError(f"--file_path: {args.file_path} would take {n_bytes:,} bytes and {free:,} are free there; "
                               f"free some space, choose another disk or a smaller grid")
        print(f"{args.file_path}: {grid.n_tones:,} tones ({args.num_freqs} frequencies x {args.num_amps} amplitudes x "
              f"{len(args.waveforms)} waveforms) of {grid.n_samples:,} samples, {n_bytes / 1e9:.3g} GB", flush=True)
        for message in synthesis.warnings_for(grid):
            print(f"create.py: warning: {message}", file=sys.stderr)
        write_members(args.file_path, members)


@command
def main(argv: list[str] | None = None) -> int | None:
    args = parse_flags(argv)
    options = {key: value for key, value in vars(args).items() if key not in ("file_path", "overwrite")}
    recipe = {"generator": "create.py", "generator_version": GENERATOR_VERSION} | options
    with locked(args.file_path, flag="--file_path"):
        if is_made(args, recipe):
            print(f"{args.file_path} was made with these options already; left alone")
        else:
            write_dataset(args, recipe)


if __name__ == "__main__":
    sys.exit(main())
