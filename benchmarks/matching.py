"""How well controllability measures sounds that are not in the dataset.

    python benchmarks/matching.py --dataset Dataset/clean.npz
    python benchmarks/matching.py --dataset Dataset/notes.npz

Every second level of one ordered factor is left out. Sounds at these levels are measured by matching them with the
sounds that are left, as decoded sounds are. Prints, for each factor that is left out in turn: the error of every
factor, in its unit (or 1 - the probability of the right class), and how many sounds count as off the manifold. The
levels that are left lie twice as far apart as in the dataset, so decoded sounds are measured better than this.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from syntone.dataset import load_npz  # noqa: E402
from syntone.dataset.file import Dataset  # noqa: E402
from syntone.evaluation import tables  # noqa: E402
from syntone.evaluation.controllability import find_limit  # noqa: E402
from syntone.evaluation.matching import Templates, loudness_patterns, make_templates, match  # noqa: E402
from syntone.features.front_end import FrontEnd, compute_features  # noqa: E402


def templates_of(patterns: torch.Tensor, dataset: Dataset, rows: np.ndarray) -> Templates:
    """Templates of some rows of a dataset, all of whose factors vary."""
    return make_templates(patterns[rows], dataset.factor_values[rows], dataset.labels(rows))


def errors_without(patterns: torch.Tensor, dataset: Dataset, factor: str, *, most: int) -> list[list[str]]:
    """One line per factor: errors of at most `most` sounds at every second level of `factor`, which are left out."""
    column = dataset.factor_names.index(factor)
    out = dataset.factors[:, column] % 2 == 1
    out &= dataset.factors[:, column] < dataset.factors[:, column].max()  # between two levels that are left
    rng = np.random.default_rng(0)
    asked = np.sort(rng.permutation(np.flatnonzero(out))[:most])
    templates = templates_of(patterns, dataset, np.flatnonzero(dataset.factors[:, column] % 2 == 0))
    limit = find_limit(templates, generator=rng)
    truth = templates_of(patterns, dataset, np.arange(len(patterns))).factors
    found = match(patterns[asked], templates)
    lines = []
    for known, measured in zip(truth, found.measured):
        own = known.values[asked]
        if known.nominal:
            error, unit, steps = 1 - (own * measured).sum(axis=1), "probability", "–"
        else:
            error, unit = np.abs(measured - own)[:, 0], known.unit or known.name
            step = known.span / (len(np.unique(known.values)) - 1)  # of the whole dataset
            steps = f"{np.median(error) / step:.2f}"
        numbers = [f"{np.median(error):.3g}", f"{np.quantile(error, 0.9):.3g}", steps]
        lines.append([factor, known.name, unit, *numbers])
    off = f"{100 * np.mean(found.mismatch > limit):.1f} %"
    return [[*line, f"{np.median(found.mismatch):.3f}", f"{limit:.3f}", off, str(len(asked))] for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True, help="dataset file of a full grid")
    parser.add_argument("--most", type=int, default=500, help="sounds to measure (default: 500)")
    args = parser.parse_args()
    dataset = load_npz(args.dataset)
    front_end = FrontEnd("logmel", sample_rate=dataset.sample_rate, n_samples=dataset.x.shape[1], smoothing=0.0)
    patterns = loudness_patterns(compute_features(dataset.x, front_end, device=torch.device("cpu")), front_end)
    head = ["left out", "measured", "unit", "median error", "90 %", "in steps", "mismatch", "limit", "off", "sounds"]
    lines = [head]
    for name, kind in zip(dataset.factor_names, dataset.factor_kinds):
        if kind == "ordered":
            lines += errors_without(patterns, dataset, name, most=args.most)
    print(tables.to_markdown(lines))


if __name__ == "__main__":
    main()
