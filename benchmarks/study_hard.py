"""Why the paper's grid is hard: the table `hard`, from `paper4000` to `clean`."""

from dataclasses import dataclass

import numpy as np

from benchmarks.study_rows import spread, values
from benchmarks.study_settings import ALONE, CHAIN, CHANGES
from syntone.evaluation import tables as results
from syntone.evaluation.load import BASELINE

SERIES = ("BetaVAE", "BTCVAE", f"{BASELINE}ICA (8)", f"{BASELINE}ICA (3 = factors)")


@dataclass(frozen=True)
class Step:
    """One grid: MIG of the models and ICA, one number per seed, and the audit's upper bound of MIG."""

    change: str
    becomes: str
    mig: dict[str, np.ndarray]
    ceiling: float | None


def steps(scores: list[dict], ceilings: list[dict]) -> dict[str, list[Step]]:
    """The grids of both blocks of the table, in order; what has no rows yet is empty."""
    bounds = {row["setting"]: row["mig_ceiling"] for row in ceilings}

    def step(setting: str, change: str, becomes: str) -> Step:
        rows = [row for row in scores if row["setting"] == setting]
        mig = {name: values([row for row in rows if row["model"] == name], "MIG") for name in SERIES}
        return Step(change, becomes, mig, bounds.get(setting))

    named = [(f"{n}. {name}", becomes) for n, (name, becomes, _) in enumerate(CHANGES.values(), start=1)]
    paper = step(CHAIN[0], "none: `paper4000`", "")
    last = step(CHAIN[-1], f"{named[-1][0]}: `clean`", named[-1][1])
    chain = [step(setting, *words) for setting, words in zip(CHAIN[1:-1], named)]
    return {
        "One change after another": [paper, *chain, last],
        "Each change alone": [paper, *(step(setting, *words) for setting, words in zip(ALONE, named))],
    }


def hard_table(scores: list[dict], ceilings: list[dict]) -> str:
    """Two blocks, one change after another and each change alone: MIG by grid."""
    header = [
        "change",
        "it becomes",
        "seeds",
        *(name.removeprefix(BASELINE) for name in SERIES),
        "ceiling of the audit",
    ]
    blocks = []
    for title, grids in steps(scores, ceilings).items():
        cells = [
            [
                grid.change,
                grid.becomes or "–",
                " / ".join(str(len(grid.mig[name])) for name in SERIES[:2]),
                *(spread(grid.mig[name]) for name in SERIES),
                results.number(grid.ceiling, 3),
            ]
            for grid in grids
        ]
        blocks.append(f"{title}:\n\n{results.to_markdown([header, *cells])}")
    note = (
        "MIG with `gainshape`, mean ± standard deviation over seeds; seeds: of BetaVAE / BTCVAE. Ceiling of the "
        "audit: no code that is equal for tones whose spectrograms differ by at most 0.5 dB in every pixel has more MIG"
    )
    return "\n".join([*blocks, f"{note}\n"])
