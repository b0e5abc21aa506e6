"""Time the metrics on the default grid: 32,000 tones, 4 x 20 x 400 levels, 8 latents.

    python benchmarks/metrics.py
    python benchmarks/metrics.py --repeats 3 --skip_family

Prints machine, versions, medians over repeats, and ratios to a naive baseline measured in the same run. The baseline
computes the scores as published code does: one call of scikit-learn per pair of factor and latent, repeated for every
score.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np

# This file has the package's name: unless the root comes first, `import metrics` imports this file.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import metrics  # noqa: E402

LEVELS = (4, 20, 400)
N_LATENTS = 8
KINDS = ("nominal", "ordered", "ordered")
INFORMATION = ("mig", "mig_sup", "jemmig", "dcimig", "modularity")


def make_codes() -> tuple[np.ndarray, np.ndarray]:
    """Return the grid's levels (32000, 3) and noisy mixtures of them (32000, 8)."""
    generator = np.random.default_rng(0)
    factors = np.indices(LEVELS[::-1]).reshape(3, -1)[::-1].T.copy()
    mixing = generator.standard_normal((3, N_LATENTS))
    codes = (factors / factors.max(axis=0)) @ mixing + 0.05 * generator.standard_normal((len(factors), N_LATENTS))
    return factors, codes


def naive_information(factors: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """(K, D) mutual information as in published code: pair by pair from label arrays."""
    from sklearn.metrics import mutual_info_score

    binned = np.stack([np.digitize(latent, np.histogram(latent, 20)[1][:-1]) for latent in codes.T])
    return np.array([[mutual_info_score(factor, latent) for latent in binned] for factor in factors.T])


def median_seconds(call, repeats: int) -> float:
    """Median wall-clock time of `call` over repeats, after one call to warm up."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def time_family(factors: np.ndarray, codes: np.ndarray) -> dict[str, float]:
    """Seconds of every metric within one evaluate call, value, floors and ceilings together; "" is the preparation."""
    seconds, state = {}, ["", time.perf_counter()]

    def step(name: str) -> None:
        now = time.perf_counter()
        seconds[state[0]] = now - state[1]
        state[:] = [name, now]

    metrics.evaluate(factors=factors, codes=codes, factor_kinds=KINDS, progress=step)
    step("")
    return seconds


def cpu_name() -> str:
    """Name of the processor: from /proc on Linux, elsewhere from platform."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--repeats", type=int, default=7, help="runs per median (default: 7)")
    parser.add_argument("--skip_family", action="store_true", help="time the closed-form scores only")
    args = parser.parse_args(argv)
    if args.repeats < 1:
        parser.error(f"argument --repeats: expected at least 1, found {args.repeats}")

    import scipy
    import sklearn

    print(f"{cpu_name()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}")
    print(
        f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}, "
        f"scikit-learn {sklearn.__version__}"
    )
    factors, codes = make_codes()
    levels = " x ".join(map(str, LEVELS))
    print(f"{len(factors)} rows, levels {levels}, {N_LATENTS} latents, median of {args.repeats}\n")

    difference = np.abs(naive_information(factors, codes) - metrics.mutual_information(factors=factors, codes=codes).mi)
    if difference.max() > 1e-9:
        raise SystemExit(f"the baseline computes another information matrix, by up to {difference.max():.2e} nats")

    def ours() -> None:
        for name in INFORMATION:
            getattr(metrics, name)(factors=factors, codes=codes)

    naive_one = median_seconds(lambda: naive_information(factors, codes), args.repeats)
    naive_all = median_seconds(lambda: [naive_information(factors, codes) for _ in INFORMATION], args.repeats)
    rows = [
        ("one information matrix, naive", naive_one, naive_one),
        (
            "one information matrix",
            median_seconds(lambda: metrics.mutual_information(factors=factors, codes=codes), args.repeats),
            naive_one,
        ),
        (f"{len(INFORMATION)} information scores, naive", naive_all, naive_all),
        (f"{len(INFORMATION)} information scores, one call each", median_seconds(ours, args.repeats), naive_all),
        (
            f"{len(INFORMATION)} information scores, evaluate with floors and ceilings",
            median_seconds(
                lambda: metrics.evaluate(factors=factors, codes=codes, factor_kinds=KINDS, metrics=INFORMATION),
                args.repeats,
            ),
            None,
        ),
        (
            "SAP",
            median_seconds(lambda: metrics.sap(factors=factors, codes=codes, factor_kinds=KINDS), args.repeats),
            None,
        ),
    ]
    print(f"| {'what':<64} | seconds | times faster than naive |\n|{'-' * 66}|--------:|------------------------:|")
    for what, seconds, baseline in rows:
        print(f"| {what:<64} | {seconds:7.3f} | {f'{baseline / seconds:.1f}' if baseline else '':>23} |")
    if not args.skip_family:
        family = time_family(factors, codes)
        print(
            "\n| whole family with floors and ceilings, one run | seconds |\n|-----------------------------------"
            "-------------|--------:|"
        )
        for name, seconds in family.items():
            print(f"| {name or 'preparation':<46} | {seconds:7.2f} |")
        print(f"| {'total':<46} | {sum(family.values()):7.2f} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
