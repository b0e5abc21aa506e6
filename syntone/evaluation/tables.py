"""Rows of scores as text: Markdown, LaTeX, CSV, JSON."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from syntone.errors import one_line
from syntone.evaluation.scores import Row
from syntone.files import csv_text

CSV_COLUMNS = ("model", "seed", "metric", "factor", "value", "floor", "ceiling", "adjusted")
WHOLE = "all"  # in files, the factor of a score of all factors
COUNTS = ("active latents", ": tones")  # metrics that count, shown without decimals


def number(value: float | None, digits: int = 3) -> str:
    """Format a number; a dash if it is None or not finite."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Format `mean ± standard deviation`, of one value without deviation, of none as a dash."""
    text = number(float(np.mean(values)) if len(values) else None, digits)
    return text + (f" ± {number(float(np.std(values, ddof=1)), digits)}" if len(values) > 1 else "")


def _mean(values: Sequence[float | None]) -> str:
    """Format the mean; a dash if one is None, because means over different seeds cannot be compared."""
    return number(None if None in values else float(np.mean(values)))


def _cell(rows: Sequence[Row]) -> str:
    """Format one metric of one model, one row per seed, as `0.312 ± 0.020 [0.004, 0.982] → 0.315`."""
    if rows[0].metric.endswith(COUNTS) and len(rows) == 1:
        return number(rows[0].value, 0)
    text = spread([row.value for row in rows])
    if any(row.floor is None for row in rows):
        return text
    floor = _mean([row.floor for row in rows])
    if len(rows) == 1 and rows[0].floor_std is not None:
        floor += f" ± {number(rows[0].floor_std)}"
    return f"{text} [{floor}, {_mean([row.ceiling for row in rows])}] → {_mean([row.adjusted for row in rows])}"


def table(rows: Sequence[Row], *, factors_of: Sequence[str] = ("MIG",)) -> list[list[str]]:
    """Return the cells of the table, header first: one line per metric, one column per model, seeds aggregated.

    The metrics in `factors_of` are followed by one line per factor.
    """
    shown = [row for row in rows if row.factor is None or row.metric.split(": ")[-1] in factors_of]
    groups: dict[tuple[str, str | None], dict[str, list[Row]]] = {}
    for row in shown:
        groups.setdefault((row.metric, row.factor), {}).setdefault(row.model, []).append(row)
    models = list(dict.fromkeys(row.model for row in shown))
    n_seeds = [len({row.seed for row in shown if row.model == model}) for model in models]
    cells = [["metric", *models], ["training seeds", *map(str, n_seeds)]]
    for (metric, factor), of_model in groups.items():
        name = metric if factor is None else f"{metric}, {factor}"
        cells.append([name, *[_cell(of_model[model]) if model in of_model else "–" for model in models]])
    return cells


def caption(rows: Sequence[Row], notes: Sequence[str] = ()) -> str:
    """Return how to read the table, followed by the notes."""
    checkpoints = {(row.model, row.seed) for row in rows}
    one = "There is one training seed; the ± of a floor is the standard deviation over permutations."
    many = "The ± of a score is its standard deviation over training seeds."
    how = (
        "score [floor, ceiling] → adjusted, where the floor is the chance level, the ceiling the score of a perfect "
        "code, and adjusted = (score - floor) / (ceiling - floor). Scores use active latents only; Modularity counts "
        "inactive ones as 0. "
        f"{many if len(checkpoints) > len({model for model, _ in checkpoints}) else one}"
    )
    return one_line(" ".join([how, *notes]))


MARKUP = re.compile(r"[\\|*$<~&]|\b_|_\b|(?<=\])[(\[]")  # an _ within a word needs no escape
LATEX = {"±": r"$\pm$", "→": r"$\to$", "–": "--"} | {letter: rf"\{letter}" for letter in "_%&#${}"}
LATEX |= {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "|": r"\textbar{}"}
LATEX |= {"<": r"\textless{}", ">": r"\textgreater{}"}


def markdown_text(text: str) -> str:
    """Escape text for Markdown and for a terminal."""
    return MARKUP.sub(lambda found: "\\" + found[0], one_line(text))


def latex_text(text: str) -> str:
    """Escape text for LaTeX."""
    return one_line(text).translate(str.maketrans(LATEX))


def to_markdown(cells: Sequence[Sequence[str]]) -> str:
    """Return the table as Markdown, with padded columns for the terminal."""
    cells = [list(map(markdown_text, line)) for line in cells]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in cells]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def to_latex(cells: Sequence[Sequence[str]]) -> str:
    """Return the table as a LaTeX tabular that needs no package."""
    lines = [" & ".join(map(latex_text, line)) + r" \\" for line in cells]
    begin = rf"\begin{{tabular}}{{{'l' * len(cells[0])}}}"
    return "\n".join([begin, r"\hline", lines[0], r"\hline", *lines[1:], r"\hline", r"\end{tabular}", ""])


def score_files(rows: Sequence[Row], *, details: dict, notes: Sequence[str] = ()) -> dict[str, str]:
    """Return the text of metrics.csv, metrics.json, table.md and table.tex by file name.

    Parameters
    ----------
    details : settings and details for the JSON, in plain types
    notes : sentences for the caption
    """
    cells, note = table(rows), caption(rows, notes)
    named = [asdict(row) | {"factor": WHOLE if row.factor is None else row.factor} for row in rows]
    document = details | {"notes": list(notes), "scores": named}
    return {
        "metrics.csv": csv_text(CSV_COLUMNS, ([row[column] for column in CSV_COLUMNS] for row in named)),
        "metrics.json": json.dumps(document, indent=1, allow_nan=False) + "\n",
        "table.md": to_markdown(cells) + f"\n{markdown_text(note)}\n",
        "table.tex": f"% {note}\n" + to_latex(cells),
    }
