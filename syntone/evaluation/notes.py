"""Notes on the scores, for the caption of the table, the report and metrics.json."""

from collections.abc import Sequence

import numpy as np

from metrics import ACTIVE_SHARE, METRICS
from syntone.dataset.pairs import rule_in
from syntone.evaluation.codes import ACTIVE_NATS
from syntone.evaluation.controllability import MAX_CLASSES, MAX_LATENTS, Control
from syntone.evaluation.load import BASELINE, Entry, warnings_for
from syntone.evaluation.media import N_LATENTS
from syntone.evaluation.scores import BINS, FITTED, MAX_FITTED, Row, defined


def notes_on(
    rows: Sequence[Row],
    entries: Sequence[Entry],
    *,
    asked: Sequence[str] | None,
    controls: dict[tuple[str, int], Control] | None,
    figures: bool,
) -> list[str]:
    """Return sentences on binning, inactive latents, empty cells, what is left out, and the dataset.

    Parameters
    ----------
    asked : requested metrics; None for all
    controls : None if controllability was not requested
    figures : whether there are figures and sounds
    """
    n_bins, factor_bins = BINS["n_bins"], BINS["factor_bins"]
    found = [
        f"Each latent is divided into {n_bins} equal-width bins, and an ordered factor with more than {factor_bins} "
        f"levels into {factor_bins}.",
        inactive(rows, entries),
    ]
    if any(row.floor is not None and row.ceiling is None for row in rows):
        found.append("A model with fewer latents than factors has no ceiling.")
    if any(row.ceiling is not None and row.adjusted is None for row in rows):
        found.append(
            "adjusted is empty where ceiling - floor is below 0.1. It is also empty for MIG, MIG-sup, SAP, DCIMIG and "
            "InfoMEC's modularity and compactness where two factors share more than 2 % of the smaller entropy, "
            "because a perfect code is not an upper bound there."
        )
    rules = {entry.label: rule_in(entry.checkpoint.options) for entry in entries if entry.checkpoint is not None}
    for label, rule in rules.items():
        if rule is not None:
            found.append(f"{label} learned from pairs of tones that labels were used to draw: each pair {rule}.")
    scored = [entry for entry in entries if not entry.is_baseline]
    undefined = {} if asked else {name: None for entry in scored for name in METRICS if name not in defined(entry)}
    if undefined:
        found.append(f"Not computed, because not defined for these data or too costly: {', '.join(undefined)}.")
    if asked is None and any(entry.codes.active.sum() > MAX_FITTED for entry in entries):
        found.append(
            f"{', '.join(FITTED)} are not computed for more than {MAX_FITTED} active latents; --metrics computes them."
        )
    widest = max(len(entry.codes.active) for entry in entries if not entry.is_baseline)
    if figures and widest > N_LATENTS:
        found.append(f"Traversals and their sounds show the {N_LATENTS} latents with the largest mean KL.")
    if controls is not None and any(entry.model is not None and entry.key not in controls for entry in entries):
        found.append(f"Controllability is not measured where a nominal factor has more than {MAX_CLASSES} classes.")
    if controls and max(entry.codes.active.sum() for entry in entries if entry.model is not None) > MAX_LATENTS:
        found.append(f"Controllability is measured for the {MAX_LATENTS} active latents with the largest mean KL.")
    return found + [f"Warning: {message}." for message in warnings_for(entries)]


def inactive(rows: Sequence[Row], entries: Sequence[Entry]) -> str:
    """Define active latents, and count the inactive ones of each column."""
    words = []
    for label in dict.fromkeys(row.model for row in rows):  # of baselines, only those that have some
        masks = [entry.codes.active for entry in entries if entry.label == label]
        fewest, most = (function(np.sum(~mask) for mask in masks) for function in (min, max))
        if most or not label.startswith(BASELINE):
            words.append(f"{label} {fewest}{f' to {most}' if most > fewest else ''} of {len(masks[0])}")
    rules = {
        f"its mean KL exceeds {ACTIVE_NATS} nats": any(entry.codes.kl is not None for entry in entries),
        f"(without a posterior) its standard deviation exceeds {ACTIVE_SHARE:g} of the largest one, or as the file "
        "of codes has it": any(entry.codes.kl is None for entry in entries),
    }
    rule = ", or ".join(words for words, applies in rules.items() if applies)
    return f"A latent is active if {rule}. Inactive latents: {', '.join(words)}."
