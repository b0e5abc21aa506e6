"""Scores of models, codes and baselines as rows: metrics over active latents, reconstruction error, UDR."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from metrics import METRICS, Information, Score, defined_metrics, evaluate, mutual_information, udr_per_model
from syntone.cli import choose_defined
from syntone.dataset.splits import sections
from syntone.evaluation.codes import reconstruction_error_db
from syntone.evaluation.load import Entry

CONTROL = "controllability"  # needs a decoder, so it is not in metrics/
BINS = {"n_bins": 20, "factor_bins": 20}  # of each latent, and of ordered factors with more levels
ERROR = "reconstruction error (dB)"
FITTED = ("dci", "explicitness", "infomec")  # metrics that fit predictors
MAX_FITTED = 64  # active latents; with more, the fitted metrics are computed only where they are asked for


@dataclass(frozen=True)
class Row:
    """One score of one model (or codes, or baseline) and seed; the factor is None for a score of all factors."""

    model: str
    seed: int
    metric: str
    factor: str | None
    value: float
    floor: float | None = None
    ceiling: float | None = None
    adjusted: float | None = None
    floor_std: float | None = None


def defined(entry: Entry, labels: dict | None = None) -> tuple[str, ...]:
    """Return the metrics that are defined for the labels (by default of all tones) and the model's latents."""
    labels = labels or entry.dataset.labels()
    n_latents = entry.codes.codes.shape[1]
    return defined_metrics(factors=labels["factors"], n_latents=n_latents, factor_kinds=labels["factor_kinds"])


def affordable(entry: Entry, possible: Sequence[str], asked: list[str] | None) -> list[str]:
    """Leave out the metrics that fit predictors if there are many active latents, unless metrics are requested."""
    many = entry.codes.active.sum() > MAX_FITTED and not asked
    return [name for name in possible if not (many and name in FITTED)]


def choose_metrics(entry: Entry, asked: list[str] | None) -> list[str]:
    """Return the metrics to compute, by default all that are defined and affordable; none if only controllability was
    requested.

    Raises
    ------
    InputError
        If a requested metric is not defined for these data. Baselines leave it out.
    """
    of_codes = [name for name in asked or [] if name != CONTROL]
    if asked and not of_codes:
        return []
    possible = affordable(entry, defined(entry), asked)
    if entry.is_baseline:
        return [name for name in of_codes or METRICS if name in possible]
    labels = entry.dataset.labels()
    n_tones, n_factors = labels["factors"].shape
    data = f"{n_factors} varied factors, {entry.codes.codes.shape[1]} latents and {n_tones} tones"
    return choose_defined(of_codes, possible, default=METRICS, flag="--metrics", data=data)


def score_rows(key: tuple[str, int], metric: str, score: Score) -> list[Row]:
    """Return the row of a score, followed by those of its factors."""
    whole = Row(*key, metric, None, score.value, score.floor, score.ceiling, score.adjusted, score.floor_std)
    return [whole, *(Row(*key, metric, factor, value) for factor, value in (score.per_factor or {}).items())]


def score_codes(entry: Entry, metrics: list[str], *, seed: int) -> tuple[Information, list[Row]]:
    """Evaluate codes over their active latents.

    Returns their mutual information, and rows: reconstruction error (of what decodes), number of active latents,
    fullest bin, scores.
    """
    rows = error_rows(entry, entry.valid_rows, ERROR)
    labels, active = entry.dataset.labels(), entry.codes.active
    data = {"codes": entry.codes.codes, "active": active}
    of_factors = {name: labels[name] for name in ("factors", "factor_kinds")}
    information = mutual_information(**of_factors, **data, **BINS)
    fullest = information.occupancy[active].max() if active.any() else 1.0
    counts = {"active latents": float(active.sum()), "fullest bin": float(fullest)}
    rows += [Row(*entry.key, name, None, value) for name, value in counts.items()]
    if metrics:
        with tqdm(desc=f"scores of {entry.name}", unit="score", delay=2, disable=None) as bar:
            given = labels | data | BINS
            report = evaluate(**given, metrics=metrics, seed=seed, progress=lambda name: bar.update())
        for metric, score in report.scores.items():
            rows += score_rows(entry.key, metric, score)
    return information, rows


def error_rows(entry: Entry, tones: np.ndarray, name: str) -> list[Row]:
    """Return the row of the reconstruction error of some tones; none for codes without a decoder, or no tones."""
    if entry.model is None or not len(tones):
        return []
    return [
        Row(
            *entry.key,
            name,
            None,
            reconstruction_error_db(entry.model, entry.features[tones], front_end=entry.front_end),
        )
    ]


def section_rows(entry: Entry, asked: list[str] | None, *, seed: int) -> list[Row]:
    """Score the parts of a dataset with hold-outs or correlations separately; see `splits.sections`."""
    rows = []
    parts = {} if entry.mismatch else sections(entry.dataset, generator=np.random.default_rng(seed))
    for part, tones in parts.items():
        unseen = tones if part == "held out" else np.intersect1d(tones, entry.valid_rows)
        rows += error_rows(entry, unseen, f"{part}: {ERROR}")
        rows.append(Row(*entry.key, f"{part}: tones", None, float(len(tones))))
        if not entry.dataset.varies(tones):
            continue
        labels, codes = entry.dataset.labels(tones), entry.codes.codes[tones]
        possible = affordable(entry, defined(entry, labels), asked)
        metrics = [name for name in asked or METRICS if name in possible]
        if metrics:
            data = {"codes": codes, "active": entry.codes.active}
            report = evaluate(**labels, **data, **BINS, metrics=metrics, seed=seed)
            for metric, score in report.scores.items():
                rows += score_rows(entry.key, f"{part}: {metric}", score)
    return rows


def agreement_rows(entries: list[Entry]) -> list[Row]:
    """Return the UDR of each training seed of models with two or more."""
    rows = []
    for model in dict.fromkeys(entry.name for entry in entries):
        seeds = [entry for entry in entries if entry.name == model]
        if len(seeds) > 1:
            values = udr_per_model(codes=[one.codes.codes for one in seeds], active=[one.codes.active for one in seeds])
            rows += [Row(*entry.key, "UDR", None, float(value)) for entry, value in zip(seeds, values)]
    return rows


def information_details(entry: Entry, information: Information) -> dict:
    """Return KL (null without a posterior) and fullest bin of each latent, entropies and mutual information."""
    return {
        "model": entry.label,
        "seed": entry.seed,
        "active": entry.codes.active.tolist(),
        "kl_nats": None if entry.codes.kl is None else entry.codes.kl.tolist(),
        "fullest_bin": information.occupancy.tolist(),
        "factors": list(entry.dataset.labels()["factor_names"]),
        "entropy_nats": information.entropy.tolist(),
        "mutual_information_nats": information.mi.tolist(),
    }
