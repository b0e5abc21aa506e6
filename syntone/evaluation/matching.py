"""What frequency, level and waveform a decoded tone has: it is matched against tones whose labels are known.

Tones are compared by their loudness patterns: mel power to the power of 0.3 (Stevens 1957), smeared over neighbouring bands
and averaged over a few frames. In decibels a partial at -60 dB weighs as much as the loudest, and between two levels of
frequency, whose bands need not overlap, silence would be nearer than either.

A decoded tone seldom equals one of the dataset, so it is matched against what lies between them too. Around a tone x_0 lie
its neighbours x_n, each of which differs from it in one factor alone: by one level where the factor is ordered, by any
where it is nominal. The match is the point

    x_0 + sum_n a_n (x_n - x_0),    a_n >= 0,    sum of a_n over the neighbours of one factor <= 1,

that is closest to the decoded tone, over its few nearest tones x_0. An ordered factor then measures
v_0 + sum_n a_n (v_n - v_0), in cents, dB or the factor's own unit; a nominal factor has class n with probability a_n, and
the class of x_0 with what is left of 1. So a tone of the dataset measures exactly its own labels, unless its pattern is that
of another tone too, and a blend of the patterns of two neighbours measures the blend of their labels, unless another blend
is the same pattern.

Conventions: patterns (N, P) or (Q, P), float32, on any device; N tones of the dataset, K factors, Q decoded tones.
Nothing is drawn at random.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from syntone.features.front_end import FrontEnd

N_CANDIDATES = 4
MAX_CLASSES = 8  # classes of a nominal factor among which a match may lie: that of the tone and the nearest others
EXPONENT = 0.3  # of power: doubling the loudness takes 10 dB
SMEAR_BANDS, POOLED_FRAMES = 2.0, 4  # standard deviation of the smearing; frames averaged
SEEN = 1e-3  # of the patterns' spread: a factor none of whose steps moves them by more is not in them
PATTERN_ROWS, DISTANCE_ROWS, COMPARED_ROWS, REFERENCE_ROWS = 512, 512, 256, 8192  # in a block
OPPOSITE = -0.7  # cosine between the differences to the level below and to that above
DETOUR = 1e-9  # the same point can lie near several x_0: one must pay for the way, so that the shortest is taken
N_COARSE, N_FINE = 60, 400  # iterations, for choosing among candidates and for the chosen
OCTAVE_CENTS, DECADE_DB = 1200.0, 20.0


@dataclass(frozen=True, eq=False)
class Templates:
    """Tones whose labels are known, ready to be matched.

    Attributes
    ----------
    patterns : (N, P) tensor
    rows : (R,) the tones that serve as x_0: all, but one of each set that differs in unseen factors only
    names, nominal, units : (K,) of every factor; the unit is that of its measurements
    values : (N, K), in these units; the index of its class for a nominal factor
    classes : (K,) number of classes, 0 for an ordered factor
    neighbours : (K,) int arrays (N, n), rows of the patterns, -1 for none
    low, span : (K,) lowest of the dataset's own values and their range, which no measurement leaves; 0 and 1 for a
        nominal factor
    seen : (K,) bool, whether the patterns show the factor at all; those of `paper` features do not show amplitude
    """

    patterns: Tensor
    rows: np.ndarray
    names: tuple[str, ...]
    nominal: tuple[bool, ...]
    units: tuple[str, ...]
    values: np.ndarray
    classes: tuple[int, ...]
    neighbours: tuple[np.ndarray, ...]
    low: np.ndarray
    span: np.ndarray
    seen: np.ndarray


@dataclass(frozen=True, eq=False)
class Match:
    """Measurements of Q decoded tones.

    Attributes
    ----------
    measured : (K,) arrays: (Q,) in the factor's unit, or (Q, C) probabilities; NaN for a factor that the patterns do not show
    mismatch : (Q,) root mean square difference between pattern and match as a share of the pattern's root mean square
    """

    measured: tuple[np.ndarray, ...]
    mismatch: np.ndarray


def loudness_patterns(features: Tensor, front_end: FrontEnd) -> Tensor:
    """Loudness patterns (N, P) of features (N, 1, M, L): non-negative, 0 for silence, about 1 where a full-scale sine is."""
    floor = 10 ** (front_end.db_min / 10)
    reach = int(4 * SMEAR_BANDS)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=features.device) / SMEAR_BANDS).square())
    kernel = (kernel / kernel.sum()).reshape(1, 1, -1, 1)
    width = min(POOLED_FRAMES, features.shape[3])
    found = []
    for block in features.split(PATTERN_ROWS):
        loudness = (front_end.to_mel(block) / front_end.reference).clamp_min(floor) ** EXPONENT - floor**EXPONENT
        pooled = F.avg_pool2d(loudness, (1, width), ceil_mode=True)
        found.append(F.conv2d(pooled, kernel, padding=(reach, 0)).flatten(1))
    return torch.cat(found)


def measured_in(name: str, values: np.ndarray, *, units: dict[str, str]) -> tuple[np.ndarray, str]:
    """Values of an ordered factor as they are measured, and the unit: frequency in Hz as cents above 1 Hz, linear
    amplitude as dB, anything else (and what has no logarithm) as it is."""
    if name == "frequency" and values.min() > 0:
        return OCTAVE_CENTS * np.log2(values), "cents"
    if name == "amplitude" and values.min() > 0:
        return DECADE_DB * np.log10(values), "dB"
    return values, units.get(name, "")


def make_templates(
    patterns: Tensor,
    *,
    factors: np.ndarray,
    factor_values: np.ndarray,
    factor_names: Sequence[str],
    factor_kinds: Sequence[str],
    units: dict[str, str] | None = None,
) -> Templates:
    """Templates of a dataset's own tones.

    Parameters
    ----------
    patterns : (N, P), see `loudness_patterns`
    factors, factor_values : (N, K), levels and physical values of the factors that vary; no full grid is needed
    units : of factors other than frequency and amplitude
    """
    nominal = tuple(kind == "nominal" for kind in factor_kinds)
    columns, names_of_units, classes, neighbours = [], [], [], []
    for k, name in enumerate(factor_names):
        levels, index = np.unique(factors[:, k], return_inverse=True)
        values, unit = (index, "") if nominal[k] else measured_in(name, factor_values[:, k], units=units or {})
        columns.append(values.reshape(-1).astype(np.float64))
        names_of_units.append(unit)
        classes.append(len(levels) if nominal[k] else 0)
        neighbours.append(neighbours_in(factors, k, nominal=nominal[k]))
    smallest = SEEN * _spread(patterns)
    seen = np.array([_is_seen(patterns, near, smallest=smallest) for near in neighbours])
    values = np.stack(columns, axis=1)
    rows = np.arange(len(patterns))
    if not seen.all():  # the level of an unseen factor is arbitrary: one tone stands for all of them
        rows = np.sort(np.unique(factors[:, seen], axis=0, return_index=True)[1]) if seen.any() else rows[:1]
    low = np.where(nominal, 0.0, values.min(axis=0))
    span = np.where(nominal, 1.0, values.max(axis=0) - values.min(axis=0))
    span = np.where(span > 0, span, 1.0)  # levels of one value: nothing to move
    return Templates(
        patterns,
        rows,
        tuple(factor_names),
        nominal,
        tuple(names_of_units),
        values,
        tuple(classes),
        tuple(neighbours),
        low,
        span,
        seen,
    )


def neighbours_in(factors: np.ndarray, factor: int, *, nominal: bool) -> np.ndarray:
    """Rows that differ from each row in one factor alone: (N, 2) of the level below and above that are there, or (N, C - 1)
    of the other classes; -1 for none. Of tones with the same labels, such as takes of one sound, the first stands for all.
    """
    others = np.delete(factors, factor, axis=1)
    group = (
        np.unique(others, axis=0, return_inverse=True)[1].reshape(-1)
        if others.shape[1]
        else np.zeros(len(factors), int)
    )
    level = np.unique(factors[:, factor], return_inverse=True)[1].reshape(-1)
    n_levels = level.max() + 1
    cells, first, cell = np.unique(group * n_levels + level, return_index=True, return_inverse=True)
    if not nominal:
        below, above = np.r_[-1, first[:-1]], np.r_[first[1:], -1]
        below[np.r_[True, cells[1:] // n_levels != cells[:-1] // n_levels]] = -1
        above[np.r_[cells[1:] // n_levels != cells[:-1] // n_levels, True]] = -1
        return np.stack([below, above], axis=1)[cell.reshape(-1)]
    wanted = group[:, None] * n_levels + (level[:, None] + np.arange(1, n_levels)) % n_levels
    place = np.minimum(np.searchsorted(cells, wanted), len(cells) - 1)
    return np.where(cells[place] == wanted, first[place], -1)


def _is_seen(patterns: Tensor, neighbours: np.ndarray, *, smallest: float) -> bool:
    """Whether some tones that differ in one factor alone differ in their patterns; yes where there are no such tones."""
    one, column = np.nonzero(neighbours >= 0)
    other = neighbours[one, column]
    for start in range(0, len(one), COMPARED_ROWS):
        block = slice(start, start + COMPARED_ROWS)
        if bool(((patterns[one[block]] - patterns[other[block]]).square().mean(dim=1) > smallest**2).any()):
            return True
    return len(one) == 0


def _spread(patterns: Tensor) -> float:
    """Root mean square distance of the rows from their mean."""
    mean, total = patterns.mean(dim=0), 0.0
    for block in patterns.split(DISTANCE_ROWS):
        total += float((block - mean).square().mean(dim=1).sum())
    return (total / len(patterns)) ** 0.5


@torch.no_grad()
def match(decoded: Tensor, templates: Templates) -> Match:
    """Measure decoded tones by their patterns (Q, P), on the device of the templates; see the module's docstring."""
    found = [_match_block(block, templates) for block in decoded.split(DISTANCE_ROWS)]
    return Match(
        tuple(np.concatenate(parts) for parts in zip(*[measured for measured, _ in found])),
        np.concatenate([mismatch for _, mismatch in found]),
    )


def _match_block(decoded: Tensor, templates: Templates) -> tuple[list[np.ndarray], np.ndarray]:
    bases = nearest_rows(decoded, templates)  # (Q, candidates)
    n_queries, n_bases = bases.shape
    near, groups = _neighbours_of(bases.reshape(-1), templates)
    queries = np.repeat(np.arange(n_queries), n_bases)
    gram, slope, apart = _inner_products(decoded, templates.patterns, queries, bases.reshape(-1), near)

    shares = blend(gram, slope, groups, n_iter=N_COARSE)
    left, way = _left(gram, slope, apart, shares)
    best = (left + DETOUR * way).reshape(n_queries, n_bases).argmin(axis=1) + np.arange(n_queries) * n_bases
    gram, slope, apart, shares = gram[best], slope[best], apart[best], shares[best]
    _choose_sides(gram, slope, shares, groups, templates)
    shares = blend(gram, slope, groups, n_iter=N_FINE, start=shares)
    left, _ = _left(gram, slope, apart, shares)
    size = decoded.square().sum(dim=1).cpu().numpy().astype(np.float64)

    base, near, measured = bases.reshape(-1)[best], near[best], []
    for k in range(len(templates.names)):
        of_factor = groups == k
        share, rows = shares[:, of_factor], near[:, of_factor]
        own, other = templates.values[base, k], templates.values[np.maximum(rows, 0), k]
        if not templates.nominal[k]:
            value = own + (share * (other - own[:, None])).sum(axis=1)
            measured.append(value if templates.seen[k] else np.full(len(base), np.nan))
            continue
        probability = np.zeros((len(base), templates.classes[k]))
        np.add.at(probability, (np.arange(len(base)), own.astype(int)), 1 - share.sum(axis=1))
        np.add.at(probability, (np.arange(len(base))[:, None], other.astype(int)), share)
        measured.append(probability if templates.seen[k] else np.full_like(probability, np.nan))
    return measured, np.sqrt(left / np.where(size > 0, size, 1.0))


def nearest_rows(decoded: Tensor, templates: Templates) -> np.ndarray:
    """The nearest templates of tones (Q, P), nearest first: (Q, N_CANDIDATES) rows, fewer where there are fewer. All
    templates are compared, by products of matrices in blocks; float32 rounding may exchange tones whose squared distances
    agree to a millionth of the tones' own squares, which is what more than one candidate is for."""
    n_kept = min(N_CANDIDATES, len(templates.rows))
    squares = decoded.square().sum(dim=1, keepdim=True)
    best, rows = None, None
    everything = len(templates.rows) == len(templates.patterns)
    for start in range(0, len(templates.rows), REFERENCE_ROWS):
        index = templates.rows[start : start + REFERENCE_ROWS]
        block = templates.patterns[start : start + REFERENCE_ROWS] if everything else templates.patterns[index]
        distance = torch.addmm(squares + block.square().sum(dim=1), decoded, block.T, alpha=-2)
        index = torch.from_numpy(index).to(distance.device).expand_as(distance)
        if best is not None:
            distance, index = torch.cat([best, distance], dim=1), torch.cat([rows, index], dim=1)
        best, order = distance.topk(min(n_kept, distance.shape[1]), dim=1, largest=False, sorted=True)
        rows = index.gather(1, order)
    return rows.cpu().numpy()


def _neighbours_of(bases: np.ndarray, templates: Templates) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours (B, m) of the rows, -1 for none, and the factor of each of the m columns; none of unseen factors."""
    near, groups = [], []
    for k, neighbours in enumerate(templates.neighbours):
        if not templates.seen[k]:
            continue
        mine = neighbours[bases]
        if mine.shape[1] >= MAX_CLASSES:
            mine = _nearest_classes(bases, mine, templates.patterns)
        near.append(mine)
        groups += [k] * mine.shape[1]
    return (np.concatenate(near, axis=1) if near else np.zeros((len(bases), 0), int)), np.array(groups, dtype=int)


def _nearest_classes(bases: np.ndarray, near: np.ndarray, patterns: Tensor) -> np.ndarray:
    """Of many classes' tones (B, n) those nearest to the base: (B, MAX_CLASSES - 1)."""
    found = np.empty((len(bases), MAX_CLASSES - 1), int)
    for base in np.unique(bases):
        rows = near[bases == base][0]
        apart = (patterns[np.maximum(rows, 0)] - patterns[base]).square().sum(dim=1).cpu().numpy()
        found[bases == base] = rows[np.argsort(np.where(rows < 0, np.inf, apart), kind="stable")[: MAX_CLASSES - 1]]
    return found


def _inner_products(
    decoded: Tensor, patterns: Tensor, queries: np.ndarray, bases: np.ndarray, near: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """With u_n = x_n - x_0 and r = y - x_0: u_n u_m (B, m, m), u_n r (B, m) and r r (B,), float64. Differences are taken
    before products, so that an exact tone has r = 0 to the bit."""
    n_near = near.shape[1]
    gram, slope, apart = np.empty((len(bases), n_near, n_near)), np.empty((len(bases), n_near)), np.empty(len(bases))
    for start in range(0, len(bases), COMPARED_ROWS):
        block = slice(start, start + COMPARED_ROWS)
        origin = patterns[bases[block]]
        difference = (decoded[queries[block]] - origin)[:, None]
        rows = np.where(near[block] < 0, bases[block, None], near[block])  # no neighbour: a difference of 0
        steps = patterns[rows.reshape(-1)].reshape(*rows.shape, -1) - origin[:, None]
        every = torch.cat([steps, difference], dim=1)
        every = every if every.device.type == "mps" else every.double()  # MPS has no float64
        products = (every @ every.transpose(1, 2)).cpu().numpy().astype(np.float64)
        gram[block], slope[block], apart[block] = products[:, :-1, :-1], products[:, :-1, -1], products[:, -1, -1]
    return gram, slope, apart


def _choose_sides(
    gram: np.ndarray, slope: np.ndarray, shares: np.ndarray, groups: np.ndarray, templates: Templates
) -> None:
    """Take the level below or above out of the problems, in place, where the two lie in opposite directions: a little of
    both would be the same point as none, and leave open what is measured."""
    for k in np.flatnonzero(templates.seen):
        if templates.nominal[k]:
            continue
        below, above = np.flatnonzero(groups == k)
        size = np.sqrt(np.einsum("bnn->bn", gram))
        opposite = gram[:, below, above] < OPPOSITE * size[:, below] * size[:, above]
        net = shares[:, above] * size[:, above] - shares[:, below] * size[:, below]
        for dropped, kept, chosen in ((below, above, opposite & (net >= 0)), (above, below, opposite & (net < 0))):
            shares[chosen, kept] = np.minimum(np.abs(net[chosen]) / size[chosen, kept], 1.0)
            shares[chosen, dropped] = 0.0
            slope[chosen, dropped] = 0.0
            gram[chosen, dropped, :] = 0.0
            gram[chosen, :, dropped] = 0.0


def _left(gram: np.ndarray, slope: np.ndarray, apart: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """|r - sum_n a_n u_n|^2, what is left, and |sum_n a_n u_n|^2, the way from x_0 to the match, (B,) each."""
    way = np.einsum("bn,bnm,bm->b", shares, gram, shares)
    return np.maximum(apart - 2 * (shares * slope).sum(axis=1) + way, 0.0), way


def blend(
    gram: np.ndarray, slope: np.ndarray, groups: np.ndarray, *, n_iter: int, start: np.ndarray | None = None
) -> np.ndarray:
    """The shares a (B, m) that minimise a G a / 2 - a s with a >= 0 and a sum of at most 1 within each group.

    Accelerated projected gradient (Beck and Teboulle 2009), its momentum dropped in a problem where it turns uphill
    (O'Donoghue and Candes 2015). Each group has a step of its own, from the bound
    G <= diag(G_nn sum_m |corr_nm|), since a step in level moves the features far less than one in frequency.

    Parameters
    ----------
    gram, slope : (B, m, m), (B, m)
    groups : (m,) the group of each share
    """
    size = np.sqrt(np.maximum(np.einsum("bnn->bn", gram), 1e-12))
    bound = size**2 * (np.abs(gram) / (size[:, :, None] * size[:, None, :])).sum(axis=2)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    for member in members:
        bound[:, member] = bound[:, member].max(axis=1, keepdims=True)
    bound = np.maximum(bound, 1e-12)
    shares = np.zeros_like(slope) if start is None else start
    ahead, momentum = shares, np.ones(len(slope))
    for _ in range(n_iter):
        raw = ahead - (np.matmul(gram, ahead[:, :, None])[:, :, 0] - slope) / bound
        moved = np.empty_like(raw)
        for member in members:
            moved[:, member] = _into_simplex(raw[:, member])
        uphill = ((ahead - moved) * bound * (moved - shares)).sum(axis=1) > 0
        momentum = np.where(uphill, 1.0, momentum)
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = moved + ((momentum - 1) / following)[:, None] * (moved - shares)
        if np.abs(moved - shares).max(initial=0.0) < 1e-12:
            return moved
        shares, momentum = moved, following
    return shares


def _into_simplex(points: np.ndarray) -> np.ndarray:
    """The nearest points with no negative coordinate and a sum of at most 1, (B, n); Duchi et al. 2008, Fig. 1."""
    found = np.maximum(points, 0.0)
    over = found.sum(axis=1) > 1
    if over.any():
        descending = -np.sort(-points[over], axis=1)
        beyond = (np.cumsum(descending, axis=1) - 1) / np.arange(1, points.shape[1] + 1)
        n_positive = (descending > beyond).sum(axis=1)
        found[over] = np.maximum(points[over] - beyond[np.arange(len(beyond)), n_positive - 1][:, None], 0.0)
    return found
