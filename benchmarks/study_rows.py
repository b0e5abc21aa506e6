"""Rows of the study's CSV files, and one metric of them."""

import csv
from pathlib import Path

import numpy as np

from syntone.evaluation import tables as results
from syntone.evaluation.scores import Row

CURVES = ("annealing", "train_recon", "train_kl", "valid_recon", "valid_kl", "valid_loss")
NUMBERS = ("value", "floor", "ceiling", "adjusted", "strength", "epoch", "mig_ceiling", *CURVES)


def read_rows(path: Path) -> list[dict]:
    """A CSV file of the study; numbers as floats, what is empty and the factor of a whole score as None."""

    def value(key: str, text: str):
        if key in NUMBERS:
            return float(text) if text else None
        if key == "factor" and text == results.WHOLE:
            return None
        return int(text) if key == "seed" else text

    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [{key: value(key, text) for key, text in row.items()} for row in csv.DictReader(file)]


def as_results(rows: list[dict]) -> list[Row]:
    names = results.CSV_COLUMNS
    return [Row(**{name: row[name] for name in names}) for row in rows]


def values(rows: list[dict], metric: str, factor: str | None = None, column: str = "value") -> np.ndarray:
    """One number a seed."""
    return np.array(
        [row[column] for row in rows if (row["metric"], row["factor"]) == (metric, factor) and row[column] is not None]
    )


def spread(numbers: np.ndarray, digits: int = 2) -> str:
    """mean ± standard deviation over seeds."""
    return results.spread(numbers, digits)
