"""Scores of checkpoints as rows: disentanglement metrics over active latents, reconstruction error, UDR."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from metrics import METRICS, Report, defined_metrics, evaluate, udr_per_model
from syntone.cli import choose_defined
from syntone.dataset.splits import sections
from syntone.evaluation.codes import Codes, reconstruction_error_db
from syntone.evaluation.load import Entry

CONTROL = "controllability"  # needs a decoder, so it is not in metrics/
ERROR = "reconstruction error (dB)"


@dataclass(frozen=True)
class Row:
    """One number of one checkpoint: a metric, and a factor or "all" for the score itself."""

    model: str
    seed: int
    metric: str
    factor: str
    value: float
    floor: float | None = None
    ceiling: float | None = None
    adjusted: float | None = None
    floor_std: float | None = None


def _defined(codes: Codes, labels: dict) -> tuple[str, ...]:
    """Metrics that are defined for these labels and so many latents."""
    n_latents = codes.codes.shape[1]
    return defined_metrics(factors=labels["factors"], n_latents=n_latents, factor_kinds=labels["factor_kinds"])


def choose_metrics(codes: Codes, labels: dict, asked: list[str] | None) -> list[str]:
    """Return the metrics to compute: those asked for, by default all that are defined; none if only controllability is.

    Raises
    ------
    InputError
        If a metric was asked for that these data do not define.
    """
    of_codes = [name for name in asked or [] if name != CONTROL]
    if asked and not of_codes:
        return []
    n_tones, n_factors = labels["factors"].shape
    data = f"{n_factors} varied factors, {codes.codes.shape[1]} latents and {n_tones} tones"
    return choose_defined(of_codes, _defined(codes, labels), default=METRICS, flag="--metrics", data=data)


def _report_rows(report: Report, entry: Entry) -> Iterator[Row]:
    """Every score, each followed by its factors."""
    for metric, score in report.scores.items():
        values = (score.value, score.floor, score.ceiling, score.adjusted, score.floor_std)
        yield Row(*entry.key, metric, "all", *values)
        for factor, value in (score.per_factor or {}).items():
            yield Row(*entry.key, metric, factor, value)


def score_codes(entry: Entry, codes: Codes, metrics: list[str], *, seed: int) -> tuple[Report, list[Row]]:
    """Evaluate one checkpoint over its active latents.

    Returns
    -------
    report : of all tones; without metrics it has information and entropies all the same
    rows : reconstruction error, number of active latents, fullest bin, and the scores
    """
    error = reconstruction_error_db(entry.model, entry.features[entry.valid_rows], front_end=entry.front_end)
    labels = entry.dataset.labels()
    with tqdm(desc=f"scores of {entry.name}", unit="score", delay=2, disable=None) as bar:
        report = evaluate(
            **labels,
            codes=codes.codes,
            active=codes.active,
            metrics=metrics or _defined(codes, labels)[:1],
            seed=seed,
            progress=lambda name: bar.update(),
        )
    fullest = report.occupancy[codes.active].max() if codes.active.any() else 1.0
    counts = {ERROR: error, "active latents": float(codes.active.sum()), "fullest bin": float(fullest)}
    rows = [Row(*entry.key, name, "all", value) for name, value in counts.items()]
    return report, [*rows, *_report_rows(report, entry)] if metrics else rows


def section_rows(entry: Entry, codes: Codes, asked: list[str] | None, *, seed: int) -> list[Row]:
    """Score the parts of a dataset with hold-outs or correlations apart.

    The parts are the combinations held out of training, and the distribution trained on; see `splits.sections`.
    """
    rows = []
    parts = {} if entry.mismatch else sections(entry.dataset, generator=np.random.default_rng(seed))
    for part, tones in parts.items():
        unseen = tones if part == "held out" else np.intersect1d(tones, entry.valid_rows)
        if len(unseen):
            error = reconstruction_error_db(entry.model, entry.features[unseen], front_end=entry.front_end)
            rows.append(Row(*entry.key, f"{part}: {ERROR}", "all", error))
        rows.append(Row(*entry.key, f"{part}: tones", "all", float(len(tones))))
        if not entry.dataset.varies(tones):
            continue
        labels, values = entry.dataset.labels(tones), codes.codes[tones]
        defined = _defined(codes, labels)
        metrics = [name for name in asked or METRICS if name in defined]
        if metrics:
            active = codes.active & (values.max(axis=0) > values.min(axis=0))
            report = evaluate(**labels, codes=values, active=active, metrics=metrics, seed=seed)
            rows += [replace(row, metric=f"{part}: {row.metric}") for row in _report_rows(report, entry)]
    return rows


def agreement_rows(codes_of: dict[tuple[str, int], Codes]) -> list[Row]:
    """UDR of each seed of a model that has two or more: how well its latents agree with those of the other seeds."""
    rows = []
    for model in dict.fromkeys(name for name, _ in codes_of):
        keys = [key for key in codes_of if key[0] == model]
        if len(keys) < 2:
            continue
        mine = [codes_of[key] for key in keys]
        values = udr_per_model(codes=[codes.codes for codes in mine], active=[codes.active for codes in mine])
        rows += [Row(*key, "UDR", "all", float(value)) for key, value in zip(keys, values)]
    return rows


def information_details(entry: Entry, codes: Codes, report: Report) -> dict:
    """Plain types for the JSON: KL and fullest bin of each latent, entropies and mutual information in nats."""
    return {
        "model": entry.name,
        "seed": entry.checkpoint.seed,
        "kl_nats": codes.kl.tolist(),
        "fullest_bin": report.occupancy.tolist(),
        "factors": list(report.factor_names),
        "entropy_nats": report.entropy.tolist(),
        "mutual_information_nats": report.mi.tolist(),
    }
