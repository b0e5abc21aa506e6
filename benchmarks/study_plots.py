"""The plots of the study: rows of its CSV files in, PNGs out."""

import textwrap
from collections.abc import Collection
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from syntone.evaluation.load import PAIRS
from syntone.files import atomic_write

COLOURS = {
    "VAE": "#4d4d4d",
    "BetaVAE": "#1f4e79",
    "FactorVAE": "#d9601a",
    "BTCVAE": "#2a8a57",
    "DIPVAE": "#8a2a6b",
    "CapacityVAE": "#b0902a",
    "AdaGVAE (pairs)": "#c23b5a",
}
FURTHER = ("#5b5bd6", "#00808a", "#7a4a1e")  # models that were added
MARKERS = "osD^vP*X"
# What is varied, and its default.
STRENGTHS = {
    "BetaVAE": ("beta (weight of the KL)", 4.0),
    "FactorVAE": ("gamma (weight of the TC)", 10.0),
    "BTCVAE": ("beta (weight of the TC)", 6.0),
    "DIPVAE": ("lambda_od = lambda_d", 10.0),
    "CapacityVAE": ("capacity (nats)", 25.0),
}
DPI = 90


def colour_of(model: str, models: list[str]) -> str:
    return COLOURS.get(model) or FURTHER[models.index(model) % len(FURTHER)]


def save(path: Path, figure: Figure) -> None:
    FigureCanvasAgg(figure)
    with atomic_write(path) as handle:
        figure.savefig(handle, format="png", dpi=DPI)


def pick(rows: list[dict], metric: str) -> dict[tuple, float]:
    """One metric by checkpoint: (setting, model, seed)."""
    return {
        (row["setting"], row["model"], row["seed"]): row["value"]
        for row in rows
        if row["metric"] == metric and row["factor"] is None and row["value"] is not None
    }


def by_strength(rows: list[dict], base: str = "gainshape") -> dict[str, dict[float, list[dict]]]:
    """model -> strength -> rows, the runs at the defaults (of the setting `base`) among them."""
    found: dict[str, dict[float, list[dict]]] = {}
    for row in rows:
        strength = row["strength"]
        if row["setting"] == base and row["model"] in STRENGTHS:
            strength = STRENGTHS[row["model"]][1]
        if strength is not None:
            found.setdefault(row["model"], {}).setdefault(strength, []).append(row)
    return {model: dict(sorted(found[model].items())) for model in STRENGTHS if len(found.get(model, {})) > 1}


def strengths_figure(path: Path, rows: list[dict]) -> None:
    """MIG and reconstruction error against strength: dots are seeds, line and band are mean and standard deviation."""
    points = by_strength(rows)
    figure = Figure(figsize=(9, 0.6 + 2.6 * len(points)), layout="constrained")
    axes = figure.subplots(len(points), 2, squeeze=False)
    for row, (model, of_model) in enumerate(points.items()):
        for ax, metric in zip(axes[row], ("MIG", "reconstruction error (dB)")):
            seeds = [np.array(list(pick(one, metric).values())) for one in of_model.values()]
            mean = np.array([one.mean() for one in seeds])
            deviation = np.array([one.std(ddof=1) if len(one) > 1 else 0.0 for one in seeds])
            strength = np.array(list(of_model))
            ax.fill_between(strength, mean - deviation, mean + deviation, color=COLOURS[model], alpha=0.2, linewidth=0)
            ax.plot(strength, mean, color=COLOURS[model])
            for at, values in zip(strength, seeds):
                ax.plot([at] * len(values), values, "o", color=COLOURS[model], markersize=4)
            ax.set_xscale("log")
            ax.set_xticks(strength, [f"{at:g}" for at in strength])
            ax.minorticks_off()
            ax.grid(alpha=0.3)
            ax.set(title=model, xlabel=STRENGTHS[model][0], ylabel=metric)
            ax.set_ylim(0, 1 if metric == "MIG" else None)
    figure.suptitle(
        "Strength of the regularizer on clean, gainshape: dots are seeds, the band ± one standard deviation"
    )
    save(path, figure)


def tradeoff_figure(path: Path, rows: list[dict], titles: dict[str, str]) -> None:
    """MIG against reconstruction error, one marker per checkpoint."""
    rows = [row for row in rows if row["setting"] in titles]
    error, mig = pick(rows, "reconstruction error (dB)"), pick(rows, "MIG")
    models = list(dict.fromkeys(key[1] for key in mig))
    settings = [setting for setting in titles if any(key[0] == setting for key in mig)]
    figure = Figure(figsize=(9, 5), layout="constrained")
    ax = figure.subplots()
    for key in mig:
        if key[0] in settings and key in error:
            ax.plot(error[key], mig[key], MARKERS[settings.index(key[0])], color=colour_of(key[1], models), alpha=0.85)
    handles = [ax.plot([], [], "o", color=colour_of(model, models), label=model)[0] for model in models]
    handles += [
        ax.plot([], [], MARKERS[i], color="#888888", label=titles[name].replace("`", ""))[0]
        for i, name in enumerate(settings)
    ]
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    ax.set(
        xlabel="reconstruction error (dB; each front end has its own range)",
        ylabel="MIG",
        ylim=(0, 1),
        xscale="log",
        title="Reconstruction and disentanglement, one marker per checkpoint",
    )
    ticks = [tick for tick in (0.5, 1, 2, 5, 10, 20, 50) if min(error.values()) / 2 < tick < 2 * max(error.values())]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.grid(alpha=0.3)
    save(path, figure)


def adjusted_columns(rows: list[dict], settings: Collection[str]) -> tuple[list[tuple], dict[str, np.ndarray]]:
    """The checkpoints of models without pairs, of several seeds, that have all metrics, and each metric's values there.

    A checkpoint is (setting, model, seed). Values are adjusted where all checkpoints have that. Metrics that some
    checkpoints lack, or that are constant, are left out.
    """
    rows = [row for row in rows if row["setting"] in settings and row["factor"] is None]
    rows = [row for row in rows if not row["model"].endswith(PAIRS)]  # another kind of learning
    raw = {row["metric"] for row in rows if row["adjusted"] is None}
    rows = [row | {"value": row["value" if row["metric"] in raw else "adjusted"]} for row in rows]
    whole = pick(rows, "JEMMIG").keys()  # a setting that was given a few metrics has none
    several = pick(rows, "UDR") or whole  # a model with one seed has no UDR
    keys = [key for key in pick(rows, "MIG") if key in whole and key in several]
    columns = {}
    for metric in dict.fromkeys(row["metric"] for row in rows):
        found = pick(rows, metric)
        column = np.array([found.get(key, np.nan) for key in keys])
        if len(column) and not np.isnan(column).any() and np.ptp(column) > 0:
            columns[metric] = column
    return keys, columns


def correlation_figure(path: Path, rows: list[dict], titles: dict[str, str]) -> None:
    """Rank correlation of the metrics over all checkpoints that were given all."""
    keys, columns = adjusted_columns(rows, titles)
    if len(columns) < 3 or len(keys) < 4:
        return
    names = list(columns)
    rho = spearmanr(np.array(list(columns.values())).T).statistic
    figure = Figure(figsize=(10, 9), layout="constrained")
    ax = figure.subplots()
    image = ax.imshow(rho, vmin=-1, vmax=1, cmap="RdBu_r")
    ax.set_xticks(range(len(names)), names, rotation=60, ha="right")
    ax.set_yticks(range(len(names)), names)
    for i in range(len(names)):
        for j in range(len(names)):
            ax.text(
                j,
                i,
                f"{rho[i, j]:.1f}".replace("-0.0", "0.0"),
                ha="center",
                va="center",
                fontsize=7,
                color="white" if abs(rho[i, j]) > 0.6 else "black",
            )
    figure.colorbar(image, ax=ax, label="Spearman's rank correlation", shrink=0.7)
    ax.set_title(
        f"Do the metrics agree, adjusted where they have floor and ceiling?\n{len(keys)} checkpoints of "
        f"{len({key[0] for key in keys})} settings"
    )
    save(path, figure)


def curves_figure(path: Path, rows: list[dict], setting: str, title: str) -> None:
    """Validation terms by epoch, the mean over seeds and their range; the annealing factor beside them."""
    rows = [row for row in rows if row["setting"] == setting]
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    axes = figure.subplots(1, 3)
    for ax, term, label in zip(
        axes,
        ("valid_recon", "valid_kl", "annealing"),
        (
            "reconstruction, validation (nats)",
            "KL, validation (nats)",
            "annealing factor" + " (sets CapacityVAE's C)" * ("CapacityVAE" in models),
        ),
    ):
        for model in models:
            seeds = sorted({row["seed"] for row in rows if row["model"] == model})
            lines = [[row[term] for row in rows if (row["model"], row["seed"]) == (model, seed)] for seed in seeds]
            lines = np.array([line for line in lines if len(line) == max(map(len, lines))])  # not those under way
            epochs = np.arange(1, lines.shape[1] + 1)
            ax.fill_between(
                epochs, lines.min(axis=0), lines.max(axis=0), color=colour_of(model, models), alpha=0.2, linewidth=0
            )
            ax.plot(epochs, lines.mean(axis=0), color=colour_of(model, models), label=model)
        ax.set(xlabel="epoch", ylabel=label)
        ax.grid(alpha=0.3)
        if term != "valid_kl":
            ax.set_yscale("log")
    axes[1].legend(frameon=False)
    figure.suptitle(f"{title}: mean over seeds, band is their range")
    save(path, figure)


def selection_figure(path: Path, rows: list[dict]) -> None:
    """UDR, which needs no labels, against MIG, which does: a marker a candidate."""
    figure = Figure(figsize=(6, 5), layout="constrained")
    ax = figure.subplots()
    for setting in dict.fromkeys(row["setting"] for row in rows):
        one = [row for row in rows if row["setting"] == setting]
        x, y = (np.array(list(pick(one, metric).values())) for metric in ("UDR", "MIG"))
        ax.errorbar(
            x.mean(), y.mean(), xerr=x.std(ddof=1), yerr=y.std(ddof=1), fmt="o", color=COLOURS["BetaVAE"], capsize=2
        )
        ax.annotate(str(int(setting)), (x.mean(), y.mean()), xytext=(5, 5), textcoords="offset points")
    ax.set(
        xlabel="UDR (no labels)",
        ylabel="MIG (labels, looked at afterwards)",
        xlim=(0, 1),
        ylim=(0, 1),
        title="Candidates for the defaults, by number: mean and\nstandard deviation over three seeds",
    )
    ax.grid(alpha=0.3)
    save(path, figure)


def pairs_figure(path: Path, rows: dict[str, list[dict]], references: dict[str, float]) -> None:
    """MIG, mean and of each factor, by number of labelled pairs: dots are seeds, lines their means.

    Parameters
    ----------
    rows : by what is written at the axis, in its order
    references : MIG of models without pairs, drawn as horizontal lines, by their names
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    ax, places = figure.subplots(), np.arange(len(rows))
    factors = list(dict.fromkeys(row["factor"] for one in rows.values() for row in one if row["metric"] == "MIG"))
    colours = dict(zip(factors, ["black", "#1f4e79", "#d9601a", "#2a8a57", *FURTHER]))
    for factor in factors:
        seeds = [
            [row["value"] for row in one if (row["metric"], row["factor"]) == ("MIG", factor)] for one in rows.values()
        ]
        how = {"color": colours[factor], "linewidth": 2.5 if factor is None else 1.2}
        ax.plot(places, [np.mean(values) for values in seeds], label=factor or "mean of the factors", **how)
        for place, values in zip(places, seeds):
            ax.plot([place] * len(values), values, "o", markersize=4, color=colours[factor])
    for style, (name, value) in zip(("--", ":", "-."), references.items()):
        ax.axhline(value, color="#888888", linestyle=style, linewidth=1, label=name)
    ax.set_xticks(places, rows)
    ax.set(xlabel="pairs that labels were used to draw", ylabel="MIG", ylim=(0, 1))
    ax.set_title("What pairs cost: AdaGVAE on clean, logmel; dots are seeds")
    ax.grid(alpha=0.3)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    save(path, figure)


def hard_figure(path: Path, blocks: dict[str, list]) -> None:
    """MIG by grid, one panel per block (see `study_hard.steps`), the first of them a chain.

    Dots are seeds, bars their means, which lines join along the chain.
    """
    figure = Figure(figsize=(10, 8), layout="constrained")
    panels = figure.subplots(len(blocks), 1, sharey=True)
    for ax, (title, grids) in zip(panels, blocks.items()):
        places, names = np.arange(len(grids)), list(grids[0].mig)
        for number, name in enumerate(names):
            shifted = places + (number - (len(names) - 1) / 2) * 0.12
            seeds = [grid.mig[name] for grid in grids]
            means = [values.mean() if len(values) else np.nan for values in seeds]
            how = {"color": COLOURS.get(name, "#888888"), "linewidth": 1.2}
            marker = {"marker": "o", "markersize": 4} if name in COLOURS else {"marker": "x+"[number % 2]}
            dots = {"color": how["color"], "linestyle": "", **marker}
            for at, values in zip(shifted, seeds):
                ax.plot([at] * len(values), values, **dots)
            if name in COLOURS:
                ax.hlines(means, shifted - 0.06, shifted + 0.06, color=how["color"], linewidth=2)
            if ax is panels[0]:
                ax.plot(shifted, means, linestyle="-" if name in COLOURS else ":", **how)
            ax.plot([], [], label=name, **dots)
        bounds = [np.nan if grid.ceiling is None else grid.ceiling for grid in grids]
        ax.hlines(bounds, places - 0.5, places + 0.5, color="black", linewidth=0.8, label="ceiling of the audit")
        ax.set_xticks(places, [textwrap.fill(grid.change.replace("`", ""), 13) for grid in grids])
        ax.set(title=title, xlabel="change of the grid", ylabel="MIG", ylim=(0, 1.04), xlim=(-0.5, len(grids) - 0.5))
        ax.grid(alpha=0.3, axis="y")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle("From paper4000 to clean, gainshape: dots are seeds, bars their means")
    save(path, figure)


def draw_all(
    folder: Path,
    *,
    scores: list[dict],
    selected: list[dict],
    curves: list[dict],
    titles: dict[str, str],
    alone: Collection[str] = (),
) -> None:
    """Every plot for which there are rows. The settings `alone` are not pooled with the others."""
    pooled = {setting: title for setting, title in titles.items() if setting not in alone}
    if by_strength(scores):
        strengths_figure(folder / "strengths.png", scores)
    if any(row["setting"] in pooled for row in scores):
        tradeoff_figure(folder / "reconstruction_and_mig.png", scores, pooled)
        correlation_figure(folder / "rank_correlation.png", scores, pooled)
    for setting in dict.fromkeys(row["setting"] for row in curves):
        curves_figure(folder / f"curves_{setting}.png", curves, setting, titles[setting].replace("`", ""))
    if selected := [row for row in selected if row["part"] == "selection"]:
        selection_figure(folder / "selection.png", selected)
