"""Measure the factors of decoded tones by matching them with tones whose labels are known.

Tones are compared by their loudness patterns: mel power to the power of 0.3 (Stevens 1957), smeared over neighbouring
bands and averaged over a few frames. Decibels would not do: a partial at -60 dB would weigh as much as the loudest,
and silence would be nearer to a tone between two levels of frequency than either of them.

Decoded tones are matched with blends of the dataset's tones too. The neighbours x_n of a tone x_0 differ from it in one
factor alone: by one level of an ordered factor, or in the class of a nominal one. The match is the point

    x_0 + sum_n a_n (x_n - x_0),    a_n >= 0,    sum of a_n over the neighbours of one factor <= 1,

that is closest to the decoded tone, over its few nearest tones x_0. It measures v_0 + sum_n a_n (v_n - v_0), where v is
in cents, dB or the factor's own unit; for a nominal factor it is 1 in the column of the class and 0 elsewhere, which
gives every class a probability. The labels of a tone of the dataset are therefore measured exactly, and those of a
blend of two neighbours are the blend of theirs, unless another tone or blend has the same pattern.

Conventions: patterns (N, P) or (Q, P), float32, on any device; N tones of the dataset, K factors, Q decoded tones; C_k
is the number of classes of a nominal factor and 1 for an ordered factor. Nothing is drawn at random.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor
from torch.nn import functional as F

from syntone.dataset.nuisances import FACTORS
from syntone.features.front_end import FrontEnd

N_CANDIDATES = 4
EXPONENT = 0.3  # of power: doubling the loudness takes 10 dB
SMEAR_BANDS, POOLED_FRAMES = 2.0, 4  # standard deviation of the smearing; frames averaged
SEEN = 1e-3  # of the patterns' spread: the patterns do not show a factor whose steps are all smaller
BLOCK = 128  # tones at a time
OPPOSITE = -0.7  # cosine between the differences to the level below and to that above
WEIGHT = 1e4  # of the constraints on sums, times the largest difference: they hold to about 1e-8
SAME = 1e-5  # of the decoded tone's size: of blends that are equally close, that around the nearest x_0 is taken


class Factor(NamedTuple):
    """One factor of the dataset's tones."""

    name: str
    unit: str  # "cents", "dB", the factor's own unit, or "probability" for a nominal factor
    nominal: bool
    seen: bool  # whether the patterns show the factor at all; those of `paper` features do not show amplitude
    span: float  # range of the values over the dataset; 1 for a nominal factor
    values: np.ndarray  # (N, C_k) in the unit, or 1 in the column of the class and else 0; NaN for an unseen factor
    neighbours: np.ndarray  # (N, n) rows that differ from each row in this factor alone; the row itself for none


class Templates(NamedTuple):
    """Tones whose labels are known; one of those that differ in unseen factors only."""

    patterns: Tensor  # (N, P)
    factors: tuple[Factor, ...]  # K
    limit: float = np.inf  # mismatch above which a tone is off the manifold, see `controllability.find_limit`


class Match(NamedTuple):
    """Measurements of Q decoded tones."""

    measured: tuple[np.ndarray, ...]  # K of (Q, C_k), in the factor's unit or probabilities; NaN for an unseen factor
    mismatch: np.ndarray  # (Q,) rms difference between pattern and match as a share of the pattern's rms


def loudness_patterns(features: Tensor, front_end: FrontEnd) -> Tensor:
    """Return loudness patterns (N, P) of features (N, 1, M, L): 0 for silence, about 1 for a full-scale sine."""
    floor = 10 ** (front_end.db_min / 10)
    reach = int(4 * SMEAR_BANDS)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=features.device) / SMEAR_BANDS).square())
    kernel = (kernel / kernel.sum()).reshape(1, 1, -1, 1)
    width = min(POOLED_FRAMES, features.shape[3])
    found = []
    for block in features.split(BLOCK):
        power = (front_end.to_mel(block) / front_end.reference).clamp_min(floor)
        loudness = torch.exp(EXPONENT * torch.log(power)) - floor**EXPONENT  # five times faster than `**`
        pooled = F.avg_pool2d(loudness, (1, width), ceil_mode=True)
        found.append(F.conv2d(pooled, kernel, padding=(reach, 0)).flatten(1))
    return torch.cat(found)


def make_templates(patterns: Tensor, factor_values: np.ndarray, labels: dict) -> Templates:
    """Return the templates of a dataset's tones. The tones need not form a full grid.

    Takes patterns (N, P), physical values of the factors that vary (N, K), and the labels of `Dataset.labels`.
    """
    factors, nominal = labels["factors"], [kind == "nominal" for kind in labels["factor_kinds"]]
    smallest = SEEN * float(patterns.var(dim=0, correction=0).mean().sqrt())
    near = [neighbours_in(factors, k, nominal=nominal[k]) for k in range(len(nominal))]
    seen = [_is_seen(patterns, rows, smallest=smallest) for rows in near]
    kept = np.arange(len(patterns))
    if not all(seen):  # the level of an unseen factor is arbitrary: one tone stands for all of them
        levels = np.where(seen, factors, 0)
        kept = np.sort(np.unique(levels, axis=0, return_index=True)[1])
        patterns = patterns[kept]
        near = [neighbours_in(levels[kept], k, nominal=nominal[k]) for k in range(len(nominal))]
    made = []
    for k, name in enumerate(labels["factor_names"]):
        values, unit = _measured_in(name, factor_values[:, k])
        if nominal[k]:
            values, unit = np.equal.outer(factors[:, k], np.unique(factors[:, k])).astype(float), "probability"
        span = float(np.ptp(values)) or 1.0  # levels may have one value
        values = values[kept] if seen[k] else np.full_like(values[kept], np.nan)
        made.append(Factor(name, unit, nominal[k], seen[k], span, values, near[k]))
    return Templates(patterns, tuple(made))


def _measured_in(name: str, values: np.ndarray) -> tuple[np.ndarray, str]:
    """Return the values (N, 1) of an ordered factor in the unit of measurement, and this unit.

    Frequency is measured in cents above 1 Hz, amplitude in dB, other factors (and values without logarithm) as given.
    """
    values = values[:, None].astype(float)
    if name == "frequency" and values.min() > 0:
        return 1200 * np.log2(values), "cents"
    if name == "amplitude" and values.min() > 0:
        return 20 * np.log10(values), "dB"
    return values, FACTORS[name].unit if name in FACTORS else ""


def neighbours_in(factors: np.ndarray, factor: int, *, nominal: bool) -> np.ndarray:
    """Return rows that differ from each row in one factor only.

    They are (N, 2), the next level below and above, or (N, C - 1), the other classes; the row itself stands for none.
    Of tones with equal labels the first is taken.
    """
    levels, level = np.unique(factors[:, factor], return_inverse=True)
    others = np.where(np.arange(factors.shape[1]) == factor, 0, factors)
    cell = np.unique(others, axis=0, return_inverse=True)[1].reshape(-1) * len(levels) + level
    cells, first, place = np.unique(cell, return_index=True, return_inverse=True)
    group = cell[:, None] // len(levels)
    if nominal:
        wanted = group * len(levels) + (level[:, None] + np.arange(1, len(levels))) % len(levels)
        near = np.minimum(np.searchsorted(cells, wanted), len(cells) - 1)
        there = cells[near] == wanted
    else:
        near = np.clip(place[:, None] + [-1, 1], 0, len(cells) - 1)
        there = (cells[near] // len(levels) == group) & (near != place[:, None])
    return np.where(there, first[near], np.arange(len(factors))[:, None])


def _is_seen(patterns: Tensor, neighbours: np.ndarray, *, smallest: float) -> bool:
    """Return whether tones that differ in one factor only have different patterns; True without such tones."""
    if (neighbours == np.arange(len(neighbours))[:, None]).all():
        return True
    return any(bool(((patterns[near] - patterns).square().mean(dim=1) > smallest**2).any()) for near in neighbours.T)


def match(decoded: Tensor, templates: Templates) -> Match:
    """Measure decoded tones by their patterns (Q, P), on the device of the templates; see the module's docstring."""
    measured, mismatch = zip(*[_match_block(block, templates) for block in decoded.split(BLOCK)])
    return Match(tuple(map(np.concatenate, zip(*measured))), np.concatenate(mismatch))


def _match_block(decoded: Tensor, templates: Templates) -> Match:
    patterns, factors, _ = templates
    n_near = min(N_CANDIDATES, len(patterns))
    tones = torch.cdist(decoded, patterns).topk(n_near, largest=False).indices.flatten().cpu().numpy()  # (Q n_near,)
    near = np.concatenate([factor.neighbours[tones] for factor in factors], axis=1)  # (Q n_near, m)
    member = np.repeat(np.eye(len(factors)), [factor.neighbours.shape[1] for factor in factors], axis=1)  # (K, m)
    corners = torch.cat([patterns[near], decoded.repeat_interleave(n_near, dim=0)[:, None]], dim=1)
    differences = corners.cpu().double() - patterns[tones][:, None].cpu().double()
    reduced = np.linalg.qr(differences.transpose(1, 2).numpy(), mode="r")  # the same lengths and angles in m + 1 rows

    shares, left = blend(reduced, member)
    left, size = left.reshape(-1, n_near), np.linalg.norm(decoded.cpu().double(), axis=1)
    best = (left <= left.min(axis=1, keepdims=True) + SAME * size[:, None]).argmax(axis=1)
    best += n_near * np.arange(len(decoded))
    reduced, shares, tones, near = reduced[best], shares[best], tones[best], near[best]
    below = member[[not factor.nominal for factor in factors]].argmax(axis=1)  # columns of ordered factors; above: next
    kept = _sides(reduced[:, :, :-1], shares, below)
    shares, left = blend(reduced * np.pad(kept, ((0, 0), (0, 1)), constant_values=1.0)[:, None], member)
    shares *= kept

    measured = []
    for factor, mine in zip(factors, member.astype(bool)):
        own = factor.values[tones]
        steps = factor.values[near[:, mine]] - own[:, None]
        measured.append(own + np.einsum("qn,qnc->qc", shares[:, mine], steps))
    return Match(tuple(measured), left / np.where(size > 0, size, 1.0))


def _sides(steps: np.ndarray, shares: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Return which shares to keep, 1 or 0 (Q, m).

    Where the levels below and above lie in opposite directions, the side with the larger step (share times
    distance) is kept: equal steps to both sides give the same point as none, so the measurement would not be unique.
    """
    kept, size, above = np.ones_like(shares), np.linalg.norm(steps, axis=1), below + 1
    product = np.einsum("qpk,qpk->qk", steps[:, :, below], steps[:, :, above])
    opposite = product < OPPOSITE * size[:, below] * size[:, above]
    upward = (shares * size)[:, above] >= (shares * size)[:, below]
    kept[:, below], kept[:, above] = ~(opposite & upward), ~(opposite & ~upward)
    return kept


def blend(systems: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return shares a >= 0 (B, m) that minimise |r - U a|, and the residual (B,), for systems [U, r] (B, P, m + 1).

    In each group of `member` (G, m), 1 where a share is in a group, their sum is at most 1. One call of scipy's `nnls`
    per system: in one more row, of large weight, each group's sum and a slack add up to 1.
    """
    n_groups, n_shares = member.shape
    weight = WEIGHT * np.abs(systems).max(axis=(1, 2), initial=0.0, keepdims=True)
    sums = weight * np.hstack([member, np.eye(n_groups), np.ones((n_groups, 1))])  # shares, slacks, 1
    problems = np.concatenate([np.insert(systems, [n_shares] * n_groups, 0.0, axis=2), sums], axis=1)
    solved = [nnls(one[:, :-1], one[:, -1], maxiter=1000)[0][:n_shares] for one in problems]
    shares = np.reshape(solved, (len(systems), n_shares))
    left = systems[:, :, -1] - np.einsum("bpn,bn->bp", systems[:, :, :-1], shares)
    return shares, np.linalg.norm(left, axis=1)
