"""The figure of controllability: Control in, a matplotlib Figure out."""

import textwrap

import numpy as np
from matplotlib import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from syntone.dataset.file import Dataset
from syntone.evaluation.codes import traversal_values
from syntone.evaluation.controllability import N_STEPS, Control
from syntone.evaluation.load import Entry
from syntone.figures import ORIGINAL, panels

MAX_COLUMNS = 12  # latents; more would not be legible
COLOURS = ("#1f4e79", "#d9601a", "#2e8b57", "#8e44ad", "#b8860b", "#c2185b", "#00838f", "#555555")
CLASSES = cycler(linestyle=("-", "--", ":", "-.")) * cycler(color=COLOURS)  # solid lines for the first eight, ...
ANCHORS = {"color": ORIGINAL, "linestyle": "-", "linewidth": 0.9, "alpha": 0.65, "marker": ".", "markersize": 2.5}
DIGITS = {"cents": 0, "dB": 1}  # after the point; 2 of other units


def controllability_figure(control: Control, entry: Entry) -> Figure:
    """Draw a heat map of the change of every factor by every latent, above the factors along each traversal.

    An ordered factor has one line per anchor tone, a nominal one the mean probability of each class.
    """
    seen = [k for k, factor in enumerate(control.factors) if factor.seen]
    latents, map_height = control.latents[:MAX_COLUMNS], 0.62 * len(control.factors)
    score = (
        f"controllability {control.score:.3f}" if np.isfinite(control.score) else "no score for fewer than two factors"
    )
    if control.floors:
        score += f" (chance level {np.mean(control.floors):.3f})"
    n_anchors, n_active = len(control.measured[0]), entry.codes.active.sum()
    shown = f"; the {MAX_COLUMNS} of {n_active} active latents with the largest KL" if n_active > MAX_COLUMNS else ""
    notes = (
        f"Mean over {n_anchors} anchor tones. Each latent takes {N_STEPS} steps from its 2 % to its 98 % quantile, "
        f"the others stay. Dark: the whole range of the factor{shown}. Steps unlike any tone of the dataset (mismatch "
        f"above {100 * control.mismatch_limit:.0f} %) are left out. Monotonicity 1: never turns back; smoothness 1: a "
        "ramp, 0: one jump."
    )
    lines = [f"{entry.name}: change of each factor in decoded tones by each latent; {score}", notes]
    classes = [_class_names(control, k, entry.dataset) for k in seen if control.factors[k].nominal]
    left = max(0.9, 0.2 + 0.1 * max(len(factor.name) for factor in control.factors))  # inches
    right = max([1.0, *(0.1 + _n_columns(names) * (0.4 + 0.07 * max(map(len, names))) for names in classes)])
    n_columns, gap = max(1, len(latents)), (0.2, 0.37)
    total = max(left + right + 1.62 * n_columns, 11.0)
    title = "\n".join(textwrap.fill(line, int(11 * total)) for line in lines)
    top = 0.8 + 0.2 * len(title.split("\n"))
    if not len(latents):
        figure = Figure(figsize=(total, top + 0.5))
        figure.suptitle(title, fontsize=12)
        figure.text(0.5, 0.2, "no latent is active", ha="center", fontsize=12)
        return figure
    width = (total - left - right - (n_columns - 1) * gap[0]) / n_columns
    size = {"width": width, "gap": gap, "margins": (left, right, 0.55, top)}
    figure, axes = panels([map_height, *[1.4] * len(seen)], n_columns, **size, sharex="col", sharey="row")
    figure.suptitle(title, y=1 - 0.1 / figure.get_figheight(), va="top", fontsize=12)
    for cell in axes[0]:
        cell.remove()
    names = [f"z{latent}, KL {entry.codes.kl[latent]:.2f} nats" for latent in latents]
    _draw_map(figure.add_subplot(axes[0, 0].get_gridspec()[0, :]), control, names)
    positions = traversal_values(entry.codes.codes[:, latents], n_steps=N_STEPS)
    for k, row in zip(seen, axes[1:]):
        _draw_walks(row, control, k, positions, dataset=entry.dataset)
    for panel, name in zip(axes[-1], names):
        panel.set_xlabel(name, fontsize=10)
    return figure


def _class_names(control: Control, k: int, dataset: Dataset) -> list[str]:
    column = dataset.factor_names.index(control.factors[k].name)
    first = np.unique(dataset.factors[:, column], return_index=True)[1]
    return [dataset.level_name(control.factors[k].name, value) for value in dataset.factor_values[first, column]]


def _n_columns(names: list[str]) -> int:
    """Return the number of columns of a legend."""
    return 1 + len(names) // 9


def _draw_map(axes: Axes, control: Control, names: list[str]) -> None:
    """Cells with the change and its share of the factor's range."""
    shares = control.normalised[:, : len(names)]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for k, factor in enumerate(control.factors):
        for j, share in enumerate(shares[k]):
            text = f"{control.change[k, j]:.{DIGITS.get(factor.unit, 2)}f}"
            text += "" if factor.nominal else f" {factor.unit}".rstrip() + f"\n{share:.2f}"
            how = {"color": "white" if share > 0.55 else "black", "ha": "center", "va": "center", "fontsize": 10}
            axes.text(j, k, text if factor.seen else "–", **how)
        covered = f"at most {control.coverage[k]:.2f}\nof its range" if factor.seen else "erased by\nfront end"
        axes.text(len(names) - 0.45, k, covered, ha="left", va="center", fontsize=9)
    effects = [f"score {score:.2f}" if np.isfinite(score) else "no change" for score in control.score_of_latents]
    left_out = [f"{100 * share:.0f} % of steps left out" for share in control.off_manifold]
    heads = [f"{name}\n{effect}\n{off}" for name, effect, off in zip(names, effects, left_out)]
    axes.set_xticks(range(len(heads)), heads, fontsize=9)
    axes.set_yticks(range(len(shares)), [factor.name for factor in control.factors], fontsize=11)
    axes.set_xticks(np.arange(1, len(heads)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(shares)) - 0.5, minor=True)
    axes.xaxis.tick_top()
    axes.tick_params(which="both", length=0)
    axes.grid(which="minor", color="white", linewidth=2)


def _draw_walks(panels: np.ndarray, control: Control, k: int, positions: np.ndarray, *, dataset: Dataset) -> None:
    """Factor k measured along the traversals: one panel per latent, one line per anchor or class."""
    factor, measured, low = control.factors[k], control.measured[k], control.factors[k].values.min()
    label = f"{factor.name} ({factor.unit})" if factor.unit else factor.name
    if factor.unit == "cents":
        measured, low, label = measured - low, 0.0, f"{factor.name}\n(cents above lowest)"
    curves, style = measured[..., 0].transpose(1, 2, 0), ANCHORS
    if factor.nominal:
        names, label = _class_names(control, k, dataset), f"probability of {factor.name}"
        curves, style = np.ma.masked_invalid(measured).mean(axis=0), {"linewidth": 1.6}
    moving = zip(control.monotonicity[k], control.smoothness[k])
    for panel, position, curve, (monotonicity, smoothness) in zip(panels, positions, curves, moving):
        panel.set_prop_cycle(CLASSES)
        panel.plot(position, curve, **style)
        moves = f"monotonicity {monotonicity:.2f}\nsmoothness {smoothness:.2f}"
        panel.set_title(moves if np.isfinite(monotonicity) else "no change", fontsize=8, pad=3)
        panel.set_xlim(position[0], position[-1])
        panel.tick_params(labelsize=8)
        panel.grid(alpha=0.3)
    panels[0].set_ylim(low - 0.04 * factor.span, low + 1.04 * factor.span)
    panels[0].set_ylabel(label, fontsize=10)
    if factor.nominal:
        place = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "ncols": _n_columns(names)}
        panels[-1].legend(panels[-1].lines, names, fontsize=8, frameon=False, handlelength=1.2, **place)
