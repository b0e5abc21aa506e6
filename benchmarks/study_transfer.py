"""Does a ranking transfer from tones to notes? The table and the figure `transfer`.

Both are descriptive: few models, chosen by us, on one grid of tones and one of notes.
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import rankdata

from benchmarks.study_plots import COLOURS, save
from benchmarks.study_rows import values
from models import MODELS
from syntone.evaluation import tables as results
from syntone.evaluation.load import BASELINE, PAIRS
from syntone.evaluation.scores import CONTROL

TONES_AND_NOTES = {"`logmel`": ("clean", "notes"), "`gainshape`": ("gainshape", "notes_gainshape")}
POOLED, TRAINED = "both", "both, without baselines"
GROUPS = (*TONES_AND_NOTES, POOLED, TRAINED)
COLUMNS = {  # of a score, where it has floor and ceiling in all rows: adjusted
    "MIG": "adjusted",
    "DCI disentanglement": "adjusted",
    "SAP": "adjusted",
    "InfoMEC modularity": "adjusted",
    "InfoMEC compactness": "adjusted",
    "InfoMEC explicitness": "adjusted",
    "UDR": "value",
    CONTROL: "adjusted",
}
DRAWS, LEVEL = 2000, 0.95
BASELINES = {  # drawn hollow
    "PCA (8)": "#2b7bba",
    "PCA (3 = factors)": "#6baed6",
    "ICA (8)": "#e6550d",
    "ICA (3 = factors)": "#fdae6b",
    "untrained": "#999999",
    "descriptors": "#31a354",
}
MARKERS = {"`logmel`": "o", "`gainshape`": "s"}
Pair = tuple[np.ndarray, np.ndarray]  # the values of all seeds on tones, and on notes


def pairs_of(scores: list[dict], metric: str) -> dict[tuple[str, str], Pair]:
    """(front end, model or baseline) -> its values on tones and on notes, of all that have both. Models that learn from
    pairs are left out: they have another kind of supervision."""
    found = {}
    for front_end, settings in TONES_AND_NOTES.items():
        columns: list[dict[str, np.ndarray]] = []
        for setting in settings:
            rows = [row for row in scores if row["setting"] == setting and not row["model"].endswith(PAIRS)]
            models = dict.fromkeys(row["model"] for row in rows)
            mine = {
                one: values([r for r in rows if r["model"] == one], metric, column=COLUMNS[metric]) for one in models
            }
            columns.append({name_of(one): numbers for one, numbers in mine.items() if len(numbers)})
        found |= {(front_end, one): (columns[0][one], columns[1][one]) for one in columns[0] if one in columns[1]}
    return found


def name_of(model: str) -> str:
    """The name of a row in short; an untrained encoder is the same for all models."""
    short = model.removeprefix(BASELINE)
    return "untrained" if short.startswith("untrained") else short


def rank_correlation(pairs: list[Pair]) -> float:
    """Spearman's rank correlation of the means over seeds; NaN for fewer than three models, or a constant."""
    means = np.array([[tones.mean(), notes.mean()] for tones, notes in pairs])
    if len(means) < 3 or not np.ptp(means, axis=0).all():
        return np.nan
    return float(np.corrcoef(rankdata(means, axis=0).T)[0, 1])  # ten times faster than scipy's spearmanr


def interval(pairs: list[Pair], *, seed: int = 0) -> tuple[float, float]:
    """Percentile interval of the rank correlation, by drawing seeds of each model, and models, with replacement.

    A model that is drawn twice has the same seeds both times, so that it is as good as itself."""
    rng, n = np.random.default_rng(seed), len(pairs)
    means = [[rng.choice(one, (DRAWS, len(one))).mean(axis=1) for one in pair] for pair in pairs]
    drawn = np.array(means)[rng.integers(n, size=(DRAWS, n)), :, np.arange(DRAWS)[:, None]]  # (DRAWS, n, 2)
    ranks = rankdata(drawn, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):  # a draw of one model alone has no correlation
        found = ranks.prod(axis=2).sum(axis=1) / np.sqrt(np.square(ranks).sum(axis=1).prod(axis=1))
    low, high = np.nanquantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def correlations(scores: list[dict]) -> dict[str, dict[str, tuple[int, float, float, float]]]:
    """metric -> one of GROUPS -> number of models, rank correlation, and its interval."""
    found: dict[str, dict[str, tuple[int, float, float, float]]] = {}
    for metric in COLUMNS:
        known = pairs_of(scores, metric)
        groups = {name: [pair for key, pair in known.items() if key[0] == name] for name in TONES_AND_NOTES}
        groups |= {POOLED: list(known.values()), TRAINED: [pair for key, pair in known.items() if key[1] in MODELS]}
        for name, pairs in groups.items():
            if np.isfinite(rho := rank_correlation(pairs)):
                found.setdefault(metric, {})[name] = (len(pairs), rho, *interval(pairs))
    return found


def transfer_table(scores: list[dict]) -> str:
    """Rank correlation between tones and notes by metric, for each front end and for both together."""
    cells = [["metric", *(f"{name}: {what}" for name in GROUPS for what in ("n", "correlation"))]]
    for metric, groups in correlations(scores).items():
        line = [metric]
        for name in GROUPS:
            n, rho, low, high = groups.get(name, (0, np.nan, np.nan, np.nan))
            line += [str(n), f"{rho:.2f} [{low:.2f}, {high:.2f}]" if n else "–"]
        cells.append(line)
    note = (
        "Spearman's rank correlation of the means over seeds on `clean` and on notes; n: models and baselines. In "
        f"brackets the {100 * LEVEL:.0f} % percentile interval of {DRAWS:,} draws of models, with replacement, and of "
        "seeds of each. Scores are adjusted, except UDR, which only models have. "
        "AdaGVAE, which learns from pairs, is left out"
    )
    return results.to_markdown(cells) + f"\n{note}\n"


def transfer_figure(path: Path, scores: list[dict]) -> None:
    """MIG on notes against MIG on tones, and the rank correlations of all metrics."""
    figure = Figure(figsize=(12, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    draw_models(left, pairs_of(scores, "MIG"))
    found = correlations(scores)
    for number, name in enumerate(GROUPS):
        for place, groups in enumerate(found.values()):
            if name in groups:
                n, rho, low, high = groups[name]
                at = place + 0.19 * (number - 1.5)
                how = {
                    "color": "#888888" if name in MARKERS else "black",
                    "marker": MARKERS.get(name) or "D^"[name == TRAINED],
                }
                right.errorbar(
                    rho, at, xerr=[[max(rho - low, 0)], [max(high - rho, 0)]], capsize=2, markersize=5, **how
                )
                right.annotate(f"n = {n}", (1.08, at), va="center", fontsize=7, annotation_clip=False)
        right.plot([], [], linestyle="", label=name.replace("`", ""), **how)
    right.set_yticks(range(len(found)), found)
    right.invert_yaxis()
    right.axvline(0, color="black", linewidth=0.8)
    right.set_xticks([-1, -0.5, 0, 0.5, 1])
    right.set(xlim=(-1.05, 1.05), xlabel="rank correlation (Spearman) of clean and notes")
    right.set_title(f"Rank correlation, {100 * LEVEL:.0f} % bootstrap interval", fontsize=11)
    right.grid(alpha=0.3, axis="x")
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, fontsize=8, frameon=False)
    save(path, figure)


def draw_models(axes: Axes, pairs: dict[tuple[str, str], Pair]) -> None:
    """One marker per model or baseline and front end: means over seeds, bars are standard deviations."""
    shown = {model: {"color": colour} for model, colour in COLOURS.items()}
    shown |= {model: {"color": colour, "markerfacecolor": "none"} for model, colour in BASELINES.items()}
    for (front_end, model), (tones, notes) in pairs.items():
        bars = [one.std(ddof=1) if len(one) > 1 else 0.0 for one in (tones, notes)]
        how = {"marker": MARKERS[front_end], "linewidth": 0.8, "markersize": 6, **shown[model]}
        axes.errorbar(tones.mean(), notes.mean(), xerr=bars[0], yerr=bars[1], **how)
    for model in dict.fromkeys(model for _, model in pairs):
        axes.plot([], [], "o", label=model, **shown[model])
    for front_end, marker in MARKERS.items():
        axes.plot([], [], marker, color="black", linestyle="", markersize=4, label=front_end.replace("`", ""))
    axes.set(xlabel="MIG on tones (clean), adjusted", ylabel="MIG on notes, adjusted", xlim=(0, 1), ylim=(0, None))
    axes.set_title("Models and baselines (hollow); bars: standard deviation over seeds", fontsize=11)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, ncols=2)
