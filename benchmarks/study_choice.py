"""Choosing a model without labels, and what it costs: the table `choice`."""

import numpy as np

from benchmarks.study_plots import by_strength
from benchmarks.study_rows import values
from syntone.evaluation import tables as results
from syntone.evaluation.load import BASELINE, PAIRS
from syntone.evaluation.scores import ERROR

DCI = "DCI disentanglement"
LOSS = "valid_recon + valid_kl"
CRITERIA = {"UDR, largest": ("UDR", 1), "recon + KL, smallest": (LOSS, -1), "error, smallest": (ERROR, -1)}
SETTINGS = ("gainshape", "clean", "grid", "published", "notes_gainshape", "notes")  # `large` has one model


def negative_elbo(curves: list[dict]) -> float:
    """recon + KL of the validation tones after the last epoch, in nats: mean over the seeds of one model."""
    last: dict[int, dict] = {}
    for row in curves:
        if row["epoch"] >= last.get(row["seed"], row)["epoch"]:
            last[row["seed"]] = row
    return float(np.mean([row["valid_recon"] + row["valid_kl"] for row in last.values()])) if last else np.nan


def candidate(rows: list[dict], curves: list[dict]) -> dict[str, float]:
    """The means over seeds by which a candidate is chosen and judged; those that it lacks are left out."""
    found = {name: values(rows, name) for name in ("UDR", ERROR, "MIG", DCI)}
    means = {name: float(numbers.mean()) for name, numbers in found.items() if len(numbers)}
    return means | ({} if np.isnan(loss := negative_elbo(curves)) else {LOSS: loss})


def candidates(scores: list[dict], curves: list[dict], titles: dict[str, str]) -> dict[str, dict[str, dict]]:
    """title -> candidate -> its means, of models without labels."""
    scores = [row for row in scores if not row["model"].startswith(BASELINE) and not row["model"].endswith(PAIRS)]
    found = {}
    for setting in SETTINGS:
        mine = [row for row in scores if row["setting"] == setting]
        found[titles[setting]] = {
            model: candidate(
                [row for row in mine if row["model"] == model],
                [row for row in curves if (row["setting"], row["model"]) == (setting, model)],
            )
            for model in dict.fromkeys(row["model"] for row in mine)
        }
    found[f"{titles['gainshape']}, all strengths"] = {
        f"{model} {strength:g}": candidate(rows, [])
        for model, points in by_strength(scores).items()
        for strength, rows in points.items()
    }
    return {title: models for title, models in found.items() if len(models) > 1}


def lines(title: str, models: dict[str, dict]) -> list[list[str]]:
    """One line per criterion that all candidates have, then one of a random choice; none without a criterion."""
    usable = {name: how for name, how in CRITERIA.items() if all(how[0] in means for means in models.values())}
    judged = [name for name in ("MIG", DCI) if all(name in means for means in models.values())]
    if not usable or "MIG" not in judged:
        return []
    best = {metric: max(models, key=lambda name: models[name][metric]) for metric in judged}
    chosen = {name: max(models, key=lambda one: sign * models[one][key]) for name, (key, sign) in usable.items()}
    cells = []
    for criterion, words, names in (
        *((criterion, name, [name]) for criterion, name in chosen.items()),
        ("at random", f"mean of {len(models)}", list(models)),
    ):
        own = {metric: float(np.mean([models[name][metric] for name in names])) for metric in judged}
        regrets = [models[best[metric]][metric] - own[metric] if metric in own else None for metric in ("MIG", DCI)]
        top = f"{results.number(models[best['MIG']]['MIG'], 2)} ({best['MIG']})"
        numbers = [results.number(regret, 2) for regret in regrets]
        cells.append([title, criterion, words, results.number(own["MIG"], 2), top, *numbers])
    return cells


def choice_table(scores: list[dict], curves: list[dict], titles: dict[str, str]) -> str:
    """Which model each criterion without labels chooses, and how far below the best it is; empty if none can."""
    header = ["setting", "criterion", "chosen", "its MIG", "best MIG", "regret in MIG", "regret in DCI D"]
    cells = [line for title, models in candidates(scores, curves, titles).items() for line in lines(title, models)]
    if not cells:
        return ""
    note = (
        "Means over seeds. Regret: the best mean among the candidates of the setting minus that of the chosen "
        "one, computed before rounding. At random: the mean over the candidates. recon + KL: the negative ELBO of "
        "the validation tones after the last epoch (nats), which all models share; losses of different objectives "
        "are not comparable. error: reconstruction error (dB). Left out: baselines, and models that learn from "
        "pairs. A number after a model is its strength; these runs have no recon + KL, and DCI only at the "
        "defaults"
    )
    return results.to_markdown([header, *cells]) + f"\n{note}\n"
