"""Time create.py on the grids paper4000 and paper, start to exit of the process, against a plain write and sync.

    python benchmarks/create.py
    python benchmarks/create.py --repeats 11 --folder /path/on/the/disk/to/measure

The published generator writes compressed float64 at 122 tones/s on two cores; that figure is quoted, not measured here.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
PAPER4000 = (
    "--sample_rate 16000 --freq_start 400 --freq_end 8000 --num_freqs 100 --amp_start 0.1 --amp_end 1.0 --num_amps 10"
)
GRIDS = {"paper4000": (PAPER4000.split(), 4000), "paper": ([], 32000)}
PUBLISHED = 122.0  # tones/s


def time_create(path: Path, grid: list[str]) -> float:
    """Return the seconds from start to exit of the process."""
    started = time.perf_counter()
    command = [sys.executable, str(ROOT / "create.py"), *grid, "--file_path", str(path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def time_disk(path: Path, n_bytes: int) -> float:
    """Return the seconds to write as many bytes in blocks of 1 MiB and to sync them, as `dd conv=fdatasync` does."""
    block = np.random.default_rng(0).bytes(2**20)
    started = time.perf_counter()
    with open(path, "wb") as handle:
        for _ in range(n_bytes // len(block)):
            handle.write(block)
        handle.flush()
        getattr(os, "fdatasync", os.fsync)(handle.fileno())  # macOS has fsync alone
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=ROOT, help="where to write (default: the project's folder)")
    args = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, numpy {np.__version__}")
    for name, (grid, n_tones) in GRIDS.items():
        creating, disk = [], []
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            path, raw = Path(folder) / "tones.npz", Path(folder) / "raw"
            for _ in range(args.repeats):  # side by side, so that both meet the same noise
                creating.append(time_create(path, grid))
                n_bytes = path.stat().st_size
                path.unlink()
                disk.append(time_disk(raw, n_bytes))
                raw.unlink()
        seconds, plain = statistics.median(creating), statistics.median(disk)
        print(
            f"create.py, {name}: {seconds:.2f} s ({min(creating):.2f} to {max(creating):.2f}, {args.repeats} repeats), "
            f"{n_tones / seconds:,.0f} tones/s, {n_tones / seconds / PUBLISHED:.0f} times the published {PUBLISHED:.0f}"
        )
        print(
            f"  {n_bytes / 1e6:.0f} MB: plain write and sync {plain:.2f} s ({min(disk):.2f} to {max(disk):.2f}), "
            f"{n_bytes / plain / 1e6:.0f} MB/s; create.py {n_bytes / seconds / 1e6:.0f} MB/s, start of Python "
            f"included, {100 * plain / seconds:.0f} % of it",
            flush=True,
        )


if __name__ == "__main__":
    main()
