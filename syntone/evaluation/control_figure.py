"""The figure of controllability: Control in, a matplotlib Figure out."""

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from syntone.dataset.file import Dataset
from syntone.evaluation.codes import Codes
from syntone.evaluation.controllability import Control
from syntone.evaluation.matching import Factor
from syntone.figures import ORIGINAL

MAX_LATENTS = 12  # columns; more would not be legible
CLASS_COLOURS = ("#1f4e79", "#d9601a", "#2e8b57", "#8e44ad", "#b8860b", "#c2185b", "#00838f", "#555555")
DIGITS = {"cents": 0, "dB": 1}  # after the point; 2 of other units


def controllability_figure(control: Control, codes: Codes, *, dataset: Dataset, model: str) -> Figure:
    """Heat map of the change of every factor by every latent, and below it, in the same columns, what was measured
    along the traversals: a line per anchor tone, and for a nominal factor a line per class, its mean probability over
    these."""
    seen = [(k, factor) for k, factor in enumerate(control.factors) if factor.seen]
    n_latents = min(len(control.latents), MAX_LATENTS)
    map_height = 0.62 * len(control.factors)
    size = (max(3.4 + 1.62 * n_latents, 11.0), 2.2 + map_height + 1.75 * len(seen) * bool(n_latents))
    figure = Figure(figsize=size, layout="constrained")
    letters = int(9.5 * size[0])
    figure.suptitle("\n".join(textwrap.fill(line, letters) for line in _title(control, model)), fontsize=12)
    if not n_latents:
        figure.text(0.5, 0.2, "no latent is active", ha="center", fontsize=12)
        return figure
    ratios = [map_height + 0.1, *[1.6] * len(seen)]
    axes = figure.subplots(len(ratios), n_latents, squeeze=False, sharex="col", sharey="row", height_ratios=ratios)
    for cell in axes[0]:
        cell.remove()
    _draw_map(figure.add_subplot(axes[0, 0].get_gridspec()[0, :]), control, codes, n_latents)
    for row, (k, factor) in zip(axes[1:], seen):
        classes, low, label = _panel_texts(factor, dataset)
        for j, panel in enumerate(row):
            shift = factor.low if factor.unit == "cents" else 0.0
            _draw_panel(panel, control.positions[j], control.measured[k][:, j] - shift, classes)
            monotonicity, smoothness = control.monotonicity[k, j], control.smoothness[k, j]
            moves = f"mono {monotonicity:.2f}  smooth {smoothness:.2f}"
            panel.set_title(moves if np.isfinite(monotonicity) else "nothing moves", fontsize=9, pad=3)
        row[0].set_ylim(low - 0.04 * factor.span, low + 1.04 * factor.span)
        row[0].set_ylabel(label, fontsize=10)
        if classes:
            row[-1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, handlelength=1.2)
    for panel, latent in zip(axes[-1], control.latents):
        panel.set_xlabel(f"z{latent}, KL {codes.kl[latent]:.2f} nats", fontsize=10)
    return figure


def _title(control: Control, model: str) -> list[str]:
    score = f"controllability {control.score:.3f}" if np.isfinite(control.score) else "a score needs two factors"
    if control.floors:
        score += f" (one factor per latent: 1, random directions: {np.mean(control.floors):.3f})"
    n_anchors, n_latents, n_steps, _ = control.measured[0].shape
    shown = f"; the {MAX_LATENTS} of {n_latents} with the largest KL" if n_latents > MAX_LATENTS else ""
    how = f"mean change over {n_anchors} anchor tones, each latent in {n_steps} steps between its 2 % and 98 % quantile"
    left_out = f"steps with a mismatch above {100 * control.mismatch_limit:.0f} % are off the manifold and left out"
    return [f"{model}, what each latent changes: {score}", f"{how}; dark: the factor's whole range{shown}; {left_out}"]


def _draw_map(axes: Axes, control: Control, codes: Codes, n_latents: int) -> None:
    """Cells with the change and its share of the factor's range."""
    axes.imshow(control.normalised[:, :n_latents], cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for k, factor in enumerate(control.factors):
        for j, (change, share) in enumerate(zip(control.change[k, :n_latents], control.normalised[k])):
            unit = "" if factor.n_classes else " " + factor.unit
            text = f"{change:.{DIGITS.get(factor.unit, 2)}f}{unit}" + (f"\n{share:.2f}" if unit.strip() else "")
            how = {"color": "white" if share > 0.55 else "black", "ha": "center", "va": "center", "fontsize": 10}
            axes.text(j, k, text if factor.seen else "–", **how)
        covered = f"at most {control.coverage[k]:.2f}\nof its range" if factor.seen else "not in these\nfeatures"
        axes.text(n_latents - 0.45, k, covered, ha="left", va="center", fontsize=9)
    heads = []
    for latent, score, share in zip(control.latents[:n_latents], control.score_of_latents, control.off_manifold):
        effect = f"score {score:.2f}" if np.isfinite(score) else "no effect"
        heads.append(f"z{latent}, KL {codes.kl[latent]:.2f} nats\n{effect}, {100 * share:.0f} % off")
    axes.set_xticks(range(n_latents), heads, fontsize=9)
    axes.set_yticks(range(len(control.factors)), [factor.name for factor in control.factors], fontsize=11)
    axes.set_xticks(np.arange(1, n_latents) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(control.factors)) - 0.5, minor=True)
    axes.xaxis.tick_top()
    axes.tick_params(which="both", length=0)
    axes.grid(which="minor", color="white", linewidth=2)


def _panel_texts(factor: Factor, dataset: Dataset) -> tuple[list[str], float, str]:
    """Names of the classes, lower end and label of the y axis."""
    if factor.n_classes:
        column = dataset.factor_names.index(factor.name)
        first = np.unique(dataset.factors[:, column], return_index=True)[1]
        names = [dataset.level_name(factor.name, value) for value in dataset.factor_values[first, column]]
        return names, 0.0, f"probability of {factor.name}"
    if factor.unit == "cents":
        return [], 0.0, f"{factor.name}\n(cents above lowest)"
    return [], factor.low, f"{factor.name} ({factor.unit})" if factor.unit else factor.name


def _draw_panel(axes: Axes, positions: np.ndarray, measured: np.ndarray, classes: list[str]) -> None:
    """One latent and one factor, (B, S, C): a line per anchor, or per class its mean over the anchors."""
    if classes:
        known = np.isfinite(measured[..., 0]).sum(axis=0)
        mean = np.nansum(measured, axis=0) / np.where(known, known, np.nan)[:, None]
        for c, (name, colour) in enumerate(zip(classes, CLASS_COLOURS)):
            axes.plot(positions, mean[:, c], color=colour, linewidth=1.6, label=name)
    else:
        axes.plot(positions, measured[..., 0].T, color=ORIGINAL, linewidth=0.9, alpha=0.65, marker=".", markersize=2.5)
    axes.set_xlim(positions[0], positions[-1])
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
