"""What each latent moves: traversals are decoded, the decoded tones measured, and the changes of every factor scored.

From each of B base tones, one latent is moved through S values in equal steps while the others stay, and every decoded tone
is measured by `matching`. A step whose pattern the best match misses by more than `tone_limit` is no tone of the dataset's
kind: it is left out, and its share is reported. Along one traversal, steps left out between
others are bridged linearly, and |difference| is absolute for an ordered factor and total variation,
sum_c |p_c - q_c| / 2, for the probabilities of a nominal one. Then, for factor k and latent j,

    change        mean over bases of the largest difference between two steps; cents, dB, the factor's unit, or probability
    normalised    change / (range of the factor over the dataset), 1 for a nominal one: in [0, 1]
    smoothness    (1 - largest step / path) / (1 - 1 / number of steps): a ramp has 1, a single jump 0
    monotonicity  |last - first| / path: never turning back has 1, there and back again 0

where path is the sum of |differences| of successive steps; smoothness and monotonicity are means over bases weighted by
their path. The score of latent j is the share of its whole effect that is on one factor, rescaled,

    (K max_k normalised / sum_k normalised - 1) / (K - 1)

which is 1 when it moves one factor only and 0 when it moves all K equally; the model's is the mean over latents weighted by
their effect, sum_k normalised. K counts the factors that the features show at all. A model in which nothing moves has no
effect and scores 0; coverage, the largest normalised change that one latent makes in a factor, tells it apart too.

The floor is the score of random directions through the same codes instead of the latents' axes: what the model would reach
if its axes meant nothing. The ceiling is 1.

Conventions: codes (N, D), float64; arrays only, but for what `measure` returns. Everything drawn comes from the generator.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from syntone.evaluation.matching import Match, Templates, match

N_BASES, N_STEPS, TAIL = 16, 15, 0.02
N_FLOOR = 2  # draws of random directions
N_PAIRS = 200  # averages of two tones, for the limit
MOVED = 1e-6  # normalised; a smaller path is rounding, and has neither smoothness nor monotonicity


@dataclass(frozen=True, eq=False)
class Control:
    """What J latents move of K factors.

    Attributes
    ----------
    factors, units, nominal : (K,) names, units of change, kinds
    low, span : (K,) lowest value and range of the dataset's own tones; 0 and 1 for a nominal factor
    seen : (K,) bool, whether the features show the factor at all; where not, its change is 0
    latents : (J,) their indices
    positions : (J, S) the values of the latent
    measured : (K,) arrays (B, J, S), or (B, J, S, C) probabilities; NaN for steps that are no tone
    limit : mismatch from which on a step is no tone
    no_tone : (J,) share of steps that are no tone
    change, normalised, smoothness, monotonicity : (K, J); the last two NaN where nothing moves
    score_of : (J,) score of every latent, NaN for one without effect
    score : of the model, in [0, 1]; NaN with fewer than two factors to tell apart
    coverage : (K,) largest normalised change by one latent
    floors : scores of random directions
    """

    factors: tuple[str, ...]
    units: tuple[str, ...]
    nominal: tuple[bool, ...]
    low: np.ndarray
    span: np.ndarray
    seen: np.ndarray
    latents: np.ndarray
    positions: np.ndarray
    measured: tuple[np.ndarray, ...]
    limit: float
    no_tone: np.ndarray
    change: np.ndarray
    normalised: np.ndarray
    smoothness: np.ndarray
    monotonicity: np.ndarray
    score_of: np.ndarray
    score: float
    coverage: np.ndarray
    floors: tuple[float, ...]

    @property
    def no_tone_share(self) -> float:
        """Share of all steps that are no tone; 0 without latents."""
        return float(self.no_tone.mean()) if len(self.no_tone) else 0.0


def tone_limit(templates: Templates, *, generator: np.random.Generator) -> float:
    """The mismatch from which on something is no tone: what the best match misses, as a median, of averages of two tones drawn
    at random, which are halfway from one tone to another and no tone themselves. How much a true tone between two levels is
    missed by depends on front end and grid as much: on the README's grid its median is 0.15 with plain `logmel` (the limit is
    0.24), 0.06 with skirts (0.20), and 0.03 with `gainshape` on `clean` (0.12)."""
    rows = generator.choice(templates.rows, (2, N_PAIRS))
    averages = (templates.patterns[torch.from_numpy(rows[0])] + templates.patterns[torch.from_numpy(rows[1])]) / 2
    return float(np.median(match(averages, templates).mismatch))


def controllability(
    measure: Callable[[np.ndarray], Match],
    *,
    codes: np.ndarray,
    latents: Sequence[int],
    bases: Sequence[int],
    templates: Templates,
    limit: float,
    generator: np.random.Generator,
    n_steps: int = N_STEPS,
    n_floor: int = N_FLOOR,
) -> Control:
    """Traverse latents and score what they move; see the module's docstring.

    Parameters
    ----------
    measure : decodes codes (Q, D) and matches them against the templates
    codes : (N, D) of the dataset's tones; they give the traversals' ends, the 2 % and 98 % quantile of each latent
    latents : the active ones, in the order of the result
    bases : rows of codes to start from
    limit : of `tone_limit`
    generator : of the directions of the floor
    """
    latents = np.asarray(latents, dtype=int)
    axes = np.eye(codes.shape[1])[latents]
    walks, positions = traverse(codes, codes[np.asarray(bases, dtype=int)], axes, n_steps=n_steps)
    measured, no_tone = _measure(measure, walks, templates, limit)
    change, smoothness, monotonicity = effects(measured, templates)
    normalised = change / templates.span[:, None]
    score_of, score = scores(normalised[templates.seen])
    floors = []
    for _ in range(n_floor if len(latents) > 1 and templates.seen.sum() > 1 else 0):
        rotation = np.linalg.qr(generator.standard_normal((len(latents), len(latents))))[0]
        walks, _ = traverse(codes, codes[np.asarray(bases, dtype=int)], rotation @ axes, n_steps=n_steps)
        turned, _, _ = effects(_measure(measure, walks, templates, limit)[0], templates)
        floors.append(scores((turned / templates.span[:, None])[templates.seen])[1])
    return Control(
        factors=templates.names,
        units=templates.units,
        nominal=templates.nominal,
        low=templates.low,
        span=templates.span,
        seen=templates.seen,
        latents=latents,
        positions=positions,
        measured=measured,
        limit=limit,
        no_tone=no_tone,
        change=change,
        normalised=normalised,
        smoothness=smoothness,
        monotonicity=monotonicity,
        score_of=score_of,
        score=score,
        coverage=normalised.max(axis=1, initial=0.0),
        floors=tuple(floors),
    )


def traverse(
    codes: np.ndarray, bases: np.ndarray, directions: np.ndarray, *, n_steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Codes along directions through bases, in units of each latent's standard deviation.

    A base's coordinate along a direction is moved in equal steps between the 2 % and the 98 % quantile that this
    coordinate has over all codes; everything at right angles to it stays. Along an axis that moves one latent alone.

    Parameters
    ----------
    codes, bases : (N, D), (B, D)
    directions : (J, D), of unit length

    Returns
    -------
    walks : (B, J, S, D)
    positions : (J, S) the coordinate, in the latent's own unit where the direction is an axis
    """
    scale = codes.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    low, high = np.quantile((codes / scale) @ directions.T, [TAIL, 1 - TAIL], axis=0)
    steps = np.linspace(low, high, n_steps).T  # (J, S)
    moved = steps[None] - ((bases / scale) @ directions.T)[:, :, None]  # (B, J, S)
    walks = bases[:, None, None, :] + moved[..., None] * (directions * scale)[None, :, None, :]
    return walks, steps * np.sqrt((np.square(directions) * np.square(scale)).sum(axis=1))[:, None]


def _measure(
    measure: Callable[[np.ndarray], Match], walks: np.ndarray, templates: Templates, limit: float
) -> tuple[tuple, np.ndarray]:
    """Measurements along the walks, NaN where a step is no tone; and the share of these for each direction."""
    n_bases, n_walks, n_steps, _ = walks.shape
    if n_walks == 0:
        empty = [(0, 0, n_steps) + ((n,) if n else ()) for n in templates.classes]
        return tuple(np.zeros(shape) for shape in empty), np.zeros(0)
    found = measure(walks.reshape(-1, walks.shape[-1]))
    no_tone = found.mismatch > limit
    measured = []
    for values in found.measured:
        values = values.copy()
        values[no_tone] = np.nan
        measured.append(values.reshape(n_bases, n_walks, n_steps, *values.shape[1:]))
    return tuple(measured), no_tone.reshape(n_bases, n_walks, n_steps).mean(axis=(0, 2))


def effects(measured: Sequence[np.ndarray], templates: Templates) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """change, smoothness and monotonicity, (K, J) each, of measurements (B, J, S) or (B, J, S, C).

    A base of which fewer than two steps are tones counts with a change of 0: it cannot be steered.
    """
    shape = (len(measured), measured[0].shape[1])
    change, smooth, straight, path = np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for k, values in enumerate(measured):
        if not templates.seen[k]:
            continue
        for j in range(shape[1]):
            for walk in values[:, j]:
                found = walk_effects(walk if walk.ndim == 2 else walk[:, None], nominal=templates.nominal[k])
                change[k, j] += found[0] / len(values)
                if found[1] > MOVED * templates.span[k]:
                    path[k, j] += found[1]
                    smooth[k, j] += found[1] * found[2]
                    straight[k, j] += found[1] * found[3]
    with np.errstate(invalid="ignore"):
        return change, smooth / path, straight / path


def walk_effects(walk: np.ndarray, *, nominal: bool) -> tuple[float, float, float, float]:
    """Change, path, smoothness and monotonicity of one traversal (S, C), C = 1 for an ordered factor; steps of NaN are
    bridged, those before the first and after the last tone are cut off. Smoothness needs two differences: it is 1 for one.
    """
    tones = np.flatnonzero(np.isfinite(walk[:, 0]))
    if len(tones) < 2:
        return 0.0, 0.0, 0.0, 0.0
    steps = np.arange(tones[0], tones[-1] + 1)
    bridged = np.stack([np.interp(steps, tones, column[tones]) for column in walk.T], axis=1)
    weight = 0.5 if nominal else 1.0
    apart = weight * np.abs(bridged[:, None] - bridged[None]).sum(axis=2)
    moves = apart[np.arange(len(steps) - 1), np.arange(1, len(steps))]
    path, n_moves = moves.sum(), len(moves)
    if path == 0:
        return 0.0, 0.0, 0.0, 0.0
    smoothness = (1 - moves.max() / path) / (1 - 1 / n_moves) if n_moves > 1 else 1.0
    return float(apart.max()), float(path), float(smoothness), float(apart[0, -1] / path)


def scores(normalised: np.ndarray) -> tuple[np.ndarray, float]:
    """The score of every latent, NaN where it has no effect, and the model's, of normalised changes (K, J)."""
    n_factors, effect = len(normalised), normalised.sum(axis=0)
    if n_factors < 2:
        return np.full(normalised.shape[1], np.nan), float("nan")
    share = normalised.max(axis=0) / np.where(effect > 0, effect, np.nan)
    score_of = (n_factors * share - 1) / (n_factors - 1)
    return score_of, float((np.nan_to_num(score_of) * effect).sum() / effect.sum()) if effect.sum() > 0 else 0.0
