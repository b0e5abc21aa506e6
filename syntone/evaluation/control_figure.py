"""The figure of what each latent moves. Arrays in, a figure out, as in syntone/figures.py: nothing here sees a model."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from syntone.figures import ORIGINAL

MAX_LATENTS = 12  # columns; more would not be legible
MAX_CLASSES = 8
CLASS_COLOURS = ("#1f4e79", "#d9601a", "#2e8b57", "#8e44ad", "#b8860b", "#c2185b", "#00838f", "#555555")


def controllability_figure(
    *,
    normalised: np.ndarray,
    cells: Sequence[Sequence[str]],
    factors: Sequence[str],
    rows_right: Sequence[str],
    latents: Sequence[str],
    positions: np.ndarray,
    measured: Sequence[np.ndarray | None],
    axes_labels: Sequence[str],
    limits: Sequence[tuple[float, float]],
    classes: Sequence[Sequence[str]],
    notes: Sequence[Sequence[str]],
    title: str,
) -> Figure:
    """Heat map of the change of every factor by every latent, and below it, in the same columns, what was measured along
    the traversals: a line a base tone, and for a nominal factor a line a class, its mean probability over the base tones.

    Parameters
    ----------
    normalised : (K, J), in [0, 1]; the first MAX_LATENTS columns are drawn
    cells : K x J texts in the map
    factors, rows_right : K labels on the left and on the right
    latents : J column heads
    positions : (J, S) of the latents
    measured : K of (B, J, S), (B, J, S, C), NaN where there is nothing to draw, or None for a factor without panels
    axes_labels, limits : K labels and ranges of the panels' y axes
    classes : K lists of class names, empty for ordered factors
    notes : K x J texts above the panels
    """
    n_factors, n_latents = normalised.shape[0], min(normalised.shape[1], MAX_LATENTS)
    drawn = [k for k in range(n_factors) if measured[k] is not None]
    n_columns = max(n_latents, 1)
    figure = Figure(
        figsize=(max(3.4 + 1.62 * n_columns, 11.0), 2.2 + 0.62 * n_factors + 1.75 * len(drawn) * bool(n_latents)),
        layout="constrained",
    )
    if not n_latents:
        figure.text(0.5, 0.2, "no latent is active, so there is nothing to move", ha="center", fontsize=12)
        return _finish(figure, title)
    grid = figure.add_gridspec(1 + len(drawn), n_columns, height_ratios=[0.62 * n_factors + 0.1, *[1.6] * len(drawn)])
    head = figure.add_subplot(grid[0, :])
    _draw_map(head, normalised[:, :n_latents], cells, factors, rows_right, latents)
    for row, k in enumerate(drawn, start=1):
        for j in range(n_latents):
            axes = figure.add_subplot(grid[row, j])
            _draw_panel(axes, positions[j], measured[k][:, j], classes[k])
            pad = 0.04 * (limits[k][1] - limits[k][0])
            axes.set_ylim(limits[k][0] - pad, limits[k][1] + pad)
            axes.set_title(notes[k][j], fontsize=9, pad=3)
            if j:
                axes.set_yticklabels([])
            else:
                axes.set_ylabel(axes_labels[k], fontsize=10)
            if classes[k] and j == n_latents - 1:
                axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, handlelength=1.2)
            if row == len(drawn):
                axes.set_xlabel(latents[j].split("\n")[0], fontsize=10)
            else:
                axes.set_xticklabels([])
    return _finish(figure, title)


def _finish(figure: Figure, title: str) -> Figure:
    """Add the title in lines that fit the width."""
    letters = int(9.5 * figure.get_figwidth())
    figure.suptitle("\n".join(textwrap.fill(line, letters) for line in title.split("\n")), fontsize=12)
    return figure


def _draw_map(
    axes: Axes,
    normalised: np.ndarray,
    cells: Sequence[Sequence[str]],
    factors: Sequence[str],
    rows_right: Sequence[str],
    latents: Sequence[str],
) -> None:
    n_factors, n_latents = normalised.shape
    axes.imshow(normalised, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for k in range(n_factors):
        for j in range(n_latents):
            axes.text(
                j,
                k,
                cells[k][j],
                ha="center",
                va="center",
                fontsize=10,
                color="white" if normalised[k, j] > 0.55 else "black",
            )
        axes.text(n_latents - 0.45, k, rows_right[k], ha="left", va="center", fontsize=9)
    axes.set_xticks(range(n_latents), latents[:n_latents], fontsize=9)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_yticks(range(n_factors), factors, fontsize=11)
    axes.set_xticks(np.arange(1, n_latents) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, n_factors) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="minor", length=0)


def _draw_panel(axes: Axes, positions: np.ndarray, measured: np.ndarray, classes: Sequence[str]) -> None:
    """One latent and one factor: (B, S), or (B, S, C)."""
    if classes:
        known = np.isfinite(measured[..., 0])
        counts = known.sum(axis=0)
        mean = np.where(known[..., None], measured, 0.0).sum(axis=0) / np.where(counts, counts, np.nan)[:, None]
        for c, name in enumerate(classes[:MAX_CLASSES]):
            axes.plot(positions, mean[:, c], color=CLASS_COLOURS[c % len(CLASS_COLOURS)], linewidth=1.6, label=name)
    else:
        for base in measured:
            axes.plot(positions, base, color=ORIGINAL, linewidth=0.9, alpha=0.65, marker=".", markersize=2.5)
    axes.set_xlim(positions[0], positions[-1])
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
