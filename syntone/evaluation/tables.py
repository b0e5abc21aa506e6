"""The files of an evaluation: scores as CSV, JSON, Markdown and LaTeX, and sounds as WAV."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from syntone.files import write_files

CSV_COLUMNS = ("model", "seed", "metric", "factor", "latents", "value", "floor", "ceiling", "adjusted")
CAPTION = (
    "score [floor, ceiling] → adjusted, where adjusted is (score - floor) / (ceiling - floor). "
    "Scores are over active latents. {spread}"
)
COUNTS = ("active latents", ": tones")  # rows that count, shown without decimals
ONE_SEED = "One training seed; the ± of a floor is the spread of its draws."
MANY_SEEDS = "The ± of a score is its standard deviation over training seeds."


@dataclass(frozen=True)
class Row:
    """One number: of one checkpoint, one metric, one factor ("all" for the score itself), over the active or all latents."""

    model: str
    seed: int
    metric: str
    factor: str
    latents: str
    value: float
    floor: float | None = None
    ceiling: float | None = None
    adjusted: float | None = None
    floor_std: float | None = None


def to_csv(rows: Sequence[Row]) -> str:
    """The rows as CSV, numbers with all their digits, empty where there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in rows:
        fields = asdict(row)
        writer.writerow(["" if fields[column] is None else fields[column] for column in CSV_COLUMNS])
    return text.getvalue()


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.3f}"


def _cell(rows: Sequence[Row]) -> str:
    """One model's rows of one metric, a row a seed, as `0.312 ± 0.020 [0.004, 0.982] → 0.315`."""
    values = [row.value for row in rows]
    if rows[0].metric.endswith(COUNTS) and len(rows) == 1:
        return f"{values[0]:.0f}"
    text = _number(_mean(values))
    if len(rows) > 1:
        text += f" ± {_number(float(np.std(values, ddof=1)))}"
    if any(row.floor is None for row in rows):  # a mean over some seeds has no place beside one over all
        return text
    floor = _number(_mean([row.floor for row in rows]))
    if len(rows) == 1 and rows[0].floor_std is not None:
        floor += f" ± {_number(rows[0].floor_std)}"
    ceiling = _number(_mean([row.ceiling for row in rows]))
    return f"{text} [{floor}, {ceiling}] → {_number(_mean([row.adjusted for row in rows]))}"


def table(rows: Sequence[Row], *, factors_of: Sequence[str] = ("MIG",)) -> list[list[str]]:
    """The table as cells, header first: a line a metric, a column a model, seeds aggregated.

    A metric that is there over active latents is shown over those alone. For the metrics in `factors_of`, a line a factor
    follows the score.
    """
    over_active = {row.metric for row in rows if row.latents == "active"}
    shown = [
        row
        for row in rows
        if (row.latents == "active" or row.metric not in over_active)
        and (row.factor == "all" or row.metric.split(": ")[-1] in factors_of)
    ]
    models = list(dict.fromkeys(row.model for row in shown))
    lines = list(dict.fromkeys((row.metric, row.factor) for row in shown))
    counts = {model: len({row.seed for row in shown if row.model == model}) for model in models}
    cells = [["metric", *models], ["training seeds", *[str(counts[model]) for model in models]]]
    for metric, factor in lines:
        name = metric if factor == "all" else f"{metric}, {factor}"
        mine = [
            [row for row in shown if (row.model, row.metric, row.factor) == (model, metric, factor)] for model in models
        ]
        cells.append([name, *[_cell(group) if group else "–" for group in mine]])
    return cells


def caption(rows: Sequence[Row]) -> str:
    """How to read the table."""
    many = any(len({row.seed for row in rows if row.model == model}) > 1 for model in {row.model for row in rows})
    return CAPTION.format(spread=MANY_SEEDS if many else ONE_SEED)


def to_markdown(cells: Sequence[Sequence[str]]) -> str:
    """The table as Markdown, columns padded so that it reads well in a terminal too."""
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in cells]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def to_latex(cells: Sequence[Sequence[str]]) -> str:
    """The table as a LaTeX tabular that needs no package."""
    symbols = {"±": r"$\pm$", "→": r"$\to$", "–": "--", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$"}

    def escape(text: str) -> str:
        return "".join(symbols.get(letter, letter) for letter in text)

    lines = [" & ".join(map(escape, line)) + r" \\" for line in cells]
    columns = "l" * len(cells[0])
    body = "\n".join(
        [rf"\begin{{tabular}}{{{columns}}}", r"\hline", lines[0], r"\hline", *lines[1:], r"\hline", r"\end{tabular}"]
    )
    return body + "\n"


def write_scores(directory: str | Path, rows: Sequence[Row], *, details: dict) -> None:
    """Write metrics.csv, metrics.json, table.md and table.tex into the directory.

    Parameters
    ----------
    details : plain types: what was evaluated, for the JSON
    """
    directory = Path(directory)
    cells, note = table(rows), caption(rows)
    write_files({directory / "metrics.csv": to_csv(rows)})
    document = details | {"scores": [asdict(row) for row in rows]}
    write_files({directory / "metrics.json": json.dumps(document, indent=1, allow_nan=False) + "\n"})
    write_files({directory / "table.md": to_markdown(cells) + f"\n{note}\n"})
    write_files({directory / "table.tex": f"% {note}\n" + to_latex(cells)})
