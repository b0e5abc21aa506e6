"""How fast the front end turns tones of 1 s at 16 kHz into features, beside librosa and what training needs.

    python benchmarks/features.py
    python benchmarks/features.py --device cuda --tones 32000

The same tones go through `syntone.features.front_end.compute_features` and, one by one, through librosa's mel
spectrogram and decibels, in turns; medians over repeats. The features agree to float32's rounding, which is checked in
the same run.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from pathlib import Path

import librosa
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from syntone.dataset.grid import Grid, render  # noqa: E402
from syntone.features.front_end import FrontEnd, compute_features  # noqa: E402


def make_waves(n_tones: int) -> np.ndarray:
    """(n_tones, 16000): frequencies from 400 to 6000 Hz, four waveforms."""
    grid = Grid(
        sample_rate=16000,
        n_samples=16000,
        freqs=tuple(np.geomspace(400, 6000, -(-n_tones // 4)).tolist()),
        amps=(0.5,),
        waveforms=("sine", "triangle", "square", "sawtooth"),
    )
    return np.concatenate(list(render(grid)))[:n_tones]


def by_librosa(waves: np.ndarray, e: FrontEnd) -> np.ndarray:
    """Features (n, 1, M, L), tone by tone."""
    found = []
    for wave in waves:
        mel = librosa.feature.melspectrogram(
            y=wave, sr=e.sample_rate, n_fft=e.n_fft, hop_length=e.hop, n_mels=e.n_mels, pad_mode="constant"
        )
        db = librosa.power_to_db(mel, ref=e.reference, amin=1e-12, top_db=None)
        found.append((np.clip(db, e.db_min, e.db_max) - e.db_min) / (e.db_max - e.db_min))
    return np.stack(found)[:, None]


def seconds_of(call) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tones", type=int, default=2048)
    parser.add_argument("--librosa_tones", type=int, default=128, help="of them, through librosa")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    device, waves = torch.device(args.device), make_waves(args.tones)
    front_end = FrontEnd("logmel", sample_rate=16000, n_samples=16000, smoothing=0.0)
    few = waves[: args.librosa_tones]
    apart = np.abs(compute_features(few, front_end, device=device).cpu().numpy() - by_librosa(few, front_end)).max()

    ours, theirs = [], []
    for _ in range(args.repeats):
        ours.append(len(waves) / seconds_of(lambda: compute_features(waves, front_end, device=device).sum().item()))
        theirs.append(len(few) / seconds_of(lambda: by_librosa(few, front_end)))
    machine = torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()}, {os.cpu_count()} cores"
    print(
        f"{machine}, {torch.get_num_threads()} threads, Python {platform.python_version()}, torch {torch.__version__}, "
        f"librosa {librosa.__version__}; medians of {args.repeats} repeats"
    )
    fast, slow = statistics.median(ours), statistics.median(theirs)
    print(
        f"features of {len(waves):,} tones: {fast:,.0f} tones/s ({min(ours):,.0f} to {max(ours):,.0f}); librosa, tone "
        f"by tone: {slow:,.0f} tones/s; {fast / slow:.1f} times; 32,000 tones once: {32000 / fast:.0f} s"
    )
    print(f"largest difference of a feature in [0, 1]: {apart:.1e}")


if __name__ == "__main__":
    main()
