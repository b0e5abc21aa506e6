"""Controllability: the change of each factor of decoded tones by each latent.

From each of B anchor tones, one latent moves in S equal steps while the others stay, and `matching` measures every
decoded tone. A step whose mismatch with its best match exceeds a limit is off the dataset's manifold: it is left out
and counted, and interpolated linearly if it lies between others. |difference| is absolute for an ordered factor,
and total variation, sum_c |p_c - q_c| / 2, for the probabilities of a nominal one. Then, for factor k and latent j,

    change        mean over anchors of the largest |difference| between two steps, in the factor's unit or probability
    normalised    change / (range of the factor over the dataset), 1 for a nominal one: in [0, 1]
    smoothness    (1 - largest step / path) / (1 - 1 / number of steps): a ramp has 1, a single jump 0
    monotonicity  |last - first| / path: 1 if the factor never turns back, 0 for there and back

where path is the sum of |differences| of successive steps; it weights the anchors in the means of the last two. The
score of latent j is the share of its effect, sum_k normalised, that is on one factor, rescaled over the K factors that
the features show: (K max_k normalised / sum_k normalised - 1) / (K - 1). It is 1 when the latent moves one factor alone
and 0 when it moves all equally. The model's score is the mean over latents, weighted by effect, and 0 if nothing moves.
The floor is the chance level: the score of random directions through the same codes instead of the latents' axes.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from metrics import Score
from syntone.evaluation.codes import choose_rows, decode, traversal_values
from syntone.evaluation.load import Entry
from syntone.evaluation.matching import Factor, Match, Templates, loudness_patterns, make_templates, match
from syntone.evaluation.scores import CONTROL, Row, score_rows

N_ANCHORS, N_STEPS, N_FLOOR = 16, 15, 2  # anchor tones; steps of a traversal; draws of random directions
N_PAIRS = 200  # averages of two tones, for the limit
MOVED = 1e-6  # normalised; a smaller path is rounding, and has neither smoothness nor monotonicity
DECODED_ROWS = 512  # tones at a time
MAX_LATENTS = 64  # moved, of those that are active; 64 on 32,000 tones take minutes on a CPU
MAX_CLASSES = 32  # of a nominal factor: a blend has a share for each
MATRICES = ("change", "normalised", "smoothness", "monotonicity")  # of Control, (K, J) each


class Control(NamedTuple):
    """Change of K factors by J latents, or directions."""

    factors: tuple[Factor, ...]
    latents: np.ndarray  # (J,) their indices
    measured: tuple[np.ndarray, ...]  # K of (B, J, S, C_k); NaN for off-manifold steps and unseen factors
    mismatch_limit: float  # a step with a larger mismatch is off the manifold
    off_manifold: np.ndarray  # (J,) share of such steps
    change: np.ndarray  # (K, J), as the next three
    normalised: np.ndarray
    smoothness: np.ndarray  # NaN where nothing moves
    monotonicity: np.ndarray  # NaN where nothing moves
    coverage: np.ndarray  # (K,) largest normalised change by one latent
    score_of_latents: np.ndarray  # (J,), NaN without effect
    score: float  # of the model, in [0, 1]; NaN with fewer than two factors to tell apart
    floors: tuple[float, ...] = ()  # scores of random directions


def find_limit(templates: Templates, *, generator: np.random.Generator) -> float:
    """Return the mismatch above which a tone is off the manifold: the median over averages of two random tones.

    With `gainshape` on `clean` it is 0.12; the median mismatch of true tones between two levels is 0.03.
    """
    first, second = torch.from_numpy(generator.choice(len(templates.patterns), (2, N_PAIRS)))
    averages = (templates.patterns[first] + templates.patterns[second]) / 2
    return float(np.median(match(averages, templates).mismatch))


def controllability(
    measure: Callable[[np.ndarray], Match],
    codes: np.ndarray,
    *,
    latents: Sequence[int],
    anchors: Sequence[int],
    templates: Templates,
    generator: np.random.Generator,
    n_floor: int = N_FLOOR,
) -> Control:
    """Traverse latents and score their changes; see the module's docstring.

    The latents of codes (N, D) are moved from the anchors, which are rows of the codes; `measure` decodes codes (Q, D)
    and matches them with the templates. The generator draws `n_floor` sets of directions for the floor.
    """
    latents, factors = np.asarray(latents, dtype=int), templates.factors
    axes, seen = np.eye(codes.shape[1])[latents], [factor.seen for factor in factors]

    def steer(directions: np.ndarray) -> Control:
        walks = traverse(codes, codes[anchors], directions)
        found, shape = measure(walks.reshape(-1, walks.shape[-1])), walks.shape[:3]
        off = found.mismatch > templates.limit
        measured = tuple(np.where(off[:, None], np.nan, one).reshape(*shape, one.shape[1]) for one in found.measured)
        change, smoothness, monotonicity = map(np.stack, zip(*map(effects, measured, factors)))
        normalised = change / [[factor.span] for factor in factors]
        moved = (change, normalised, smoothness, monotonicity, normalised.max(axis=1, initial=0.0))
        moved += scores(normalised[seen])
        return Control(factors, latents, measured, templates.limit, off.reshape(shape).mean(axis=(0, 2)), *moved)

    several = len(latents) > 1 and sum(seen) > 1
    normal = generator.standard_normal((n_floor * several, len(latents), len(latents)))
    floors = tuple(steer(np.linalg.qr(matrix)[0] @ axes).score for matrix in normal)
    return steer(axes)._replace(floors=floors)


def traverse(codes: np.ndarray, anchors: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Move anchors (B, D) along directions (J, D) of unit length, in units of each latent's standard deviation.

    The coordinate along the direction takes equal steps between the 2 % and the 98 % quantile of all codes (N, D);
    everything at right angles stays. Along an axis one latent moves alone. Returns codes (B, J, S, D).
    """
    scale = codes.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    steps = traversal_values((codes / scale) @ directions.T, n_steps=N_STEPS)  # (J, S)
    moved = steps - ((anchors / scale) @ directions.T)[:, :, None]  # (B, J, S)
    return anchors[:, None, None] + moved[..., None] * (directions * scale)[:, None]


def effects(measured: np.ndarray, factor: Factor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return change, smoothness and monotonicity, (J,) each, of measurements (B, J, S, C) of one factor.

    An anchor with fewer than two steps on the manifold has a change of 0.
    """
    found = [[walk_effects(walk, nominal=factor.nominal) for walk in walks] for walks in measured.swapaxes(0, 1)]
    found = np.array(found).reshape(*measured.shape[1::-1], 4)  # (J, B, 4)
    path = np.where(found[..., 1] > MOVED * factor.span, found[..., 1], 0.0)
    with np.errstate(invalid="ignore"):
        smoothness, monotonicity = ((path[..., None] * found[..., 2:]).sum(axis=1) / path.sum(axis=1)[:, None]).T
    return found[..., 0].mean(axis=1), smoothness, monotonicity


def walk_effects(walk: np.ndarray, *, nominal: bool) -> tuple[float, float, float, float]:
    """Return change, path, smoothness and monotonicity of one traversal (S, C).

    Steps of NaN are interpolated, those before the first and after the last known step are cut off. Smoothness needs
    two differences: it is 1 for one.
    """
    known = np.flatnonzero(np.isfinite(walk[:, 0]))
    if len(known) < 2 or not np.ptp(walk[known], axis=0).any():
        return 0.0, 0.0, 0.0, 0.0
    steps = np.arange(known[0], known[-1] + 1)
    bridged = np.stack([np.interp(steps, known, column[known]) for column in walk.T], axis=1)
    apart = (0.5 if nominal else 1.0) * np.abs(bridged[:, None] - bridged[None]).sum(axis=2)
    moves = np.diagonal(apart, offset=1)
    path, n_moves = moves.sum(), len(moves)
    smoothness = (1 - moves.max() / path) / (1 - 1 / n_moves) if n_moves > 1 else 1.0
    return apart.max(), path, smoothness, apart[0, -1] / path


def scores(normalised: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the score of every latent, NaN without effect, and of the model, from normalised changes (K, J)."""
    n_factors, effect = len(normalised), normalised.sum(axis=0)
    if n_factors < 2:
        return np.full(normalised.shape[1], np.nan), float("nan")
    share = normalised.max(axis=0) / np.where(effect > 0, effect, np.nan)
    score_of = (n_factors * share - 1) / (n_factors - 1)
    return score_of, float((np.nan_to_num(score_of) * effect).sum() / effect.sum()) if effect.sum() > 0 else 0.0


def decode_and_match(z: np.ndarray, *, entry: Entry, templates: Templates) -> Match:
    """Measure the tones that a model decodes from codes (Q, D)."""
    blocks = np.array_split(z, len(z) // DECODED_ROWS + 1)
    decoded = (decode(entry.model, block, device=templates.patterns.device) for block in blocks)
    return match(torch.cat([loudness_patterns(features, entry.front_end) for features in decoded]), templates)


def measure_controls(entries: list[Entry], *, seed: int) -> dict[tuple[str, int], Control]:
    """Measure every entry that decodes; return the results by key.

    At most MAX_LATENTS active latents are moved, in the entry's order, from anchors among the validation tones. Entries
    that share features share templates. Datasets with a nominal factor of more than MAX_CLASSES classes, such as one
    class per recording, are left out.
    """
    controls, templates, made_of = {}, None, None
    decoders = [entry for entry in entries if entry.model is not None]
    for entry in tqdm(decoders, desc=CONTROL, unit="model", delay=2, disable=None):
        dataset, labels, codes = entry.dataset, entry.dataset.labels(), entry.codes
        nominal = [levels for levels, kind in zip(labels["factors"].T, labels["factor_kinds"]) if kind == "nominal"]
        if any(len(np.unique(levels)) > MAX_CLASSES for levels in nominal):
            tqdm.write(f"no {CONTROL} of {entry.name}, seed {entry.key[1]}: a factor has over {MAX_CLASSES} classes")
            continue
        if made_of is not entry.features:  # checkpoints of one dataset mostly follow one another
            made_of, varied = entry.features, np.isin(dataset.factor_names, labels["factor_names"])
            patterns = loudness_patterns(entry.features, entry.front_end)
            templates = make_templates(patterns, dataset.factor_values[:, varied], labels)
            templates = templates._replace(limit=find_limit(templates, generator=np.random.default_rng(seed)))
        rng, measure = np.random.default_rng(seed), partial(decode_and_match, entry=entry, templates=templates)
        latents = codes.order[codes.active[codes.order]][:MAX_LATENTS]
        given = {"latents": latents, "templates": templates, "generator": rng}
        anchors = choose_rows(entry.valid_rows, dataset.y, n=N_ANCHORS, rng=rng)
        controls[entry.key] = controllability(measure, codes.codes, anchors=anchors, **given)
    return controls


def control_rows(control: Control, key: tuple[str, int]) -> list[Row]:
    """Return rows: score with floor and ceiling (for two factors or more), coverage, share of off-manifold steps."""
    score, floors, off = control.score, control.floors, control.off_manifold
    rows = [Row(*key, CONTROL, None, score)] if np.isfinite(score) else []
    if floors:
        chance = float(np.mean(floors)), float(np.std(floors, ddof=1))
        rows = score_rows(key, CONTROL, Score(score, *chance, ceiling=1.0))
    rows.append(Row(*key, f"{CONTROL}: coverage", None, float(control.coverage.mean())))
    for factor, share in zip(control.factors, control.coverage):
        rows.append(Row(*key, f"{CONTROL}: coverage", factor.name, float(share)))
    return [*rows, Row(*key, f"{CONTROL}: off-manifold steps", None, float(off.mean()) if len(off) else 0.0)]


def control_details(control: Control) -> dict:
    """Return the matrices (K, J) and scores for the JSON, None where a number is not defined."""
    names = ("latents", *MATRICES, "score_of_latents", "score", "mismatch_limit", "off_manifold", "coverage", "floors")
    numbers = {name: np.asarray(getattr(control, name)) for name in names}
    return {
        "factors": [factor.name for factor in control.factors],
        "units": [factor.unit for factor in control.factors],
        "seen_by_the_front_end": [factor.seen for factor in control.factors],
        **{name: np.where(np.isfinite(values), values, None).tolist() for name, values in numbers.items()},
    }


def control_table(controls: dict[tuple[str, int], Control]) -> tuple[tuple[str, ...], list[list]]:
    """Return columns and rows of controllability.csv: a row for each entry, factor and latent, NaN if not defined."""
    rows = []
    for key, control in controls.items():
        for k, j in np.ndindex(control.change.shape):
            factor, matrices = control.factors[k], [getattr(control, name)[k, j] for name in MATRICES]
            numbers = map(float, [*matrices, control.score_of_latents[j], control.off_manifold[j]])
            rows.append([*key, factor.name, f"z{control.latents[j]}", factor.unit, *numbers])
    return ("model", "seed", "factor", "latent", "unit", *MATRICES, "score", "off_manifold"), rows
