"""Indistinguishable sounds in a dataset, and the upper bound of MIG that follows.

Two sounds are indistinguishable if no pixel of their log-mel spectrograms differs by more than the resolution. The
default, 0.5 dB, is about the smallest intensity difference that listeners hear in a steady tone (0.5 to 1 dB: Jesteadt,
Wier and Green 1977). A steady tone fills some 600 of 4,096 pixels, so 0.5 dB in all of them changes the reconstruction
error by 1 nat at the default sigma (600 x 0.5 x (0.5 / 8.6)^2). The report repeats its counts at finer resolutions.

Conventions: spectrograms in dB, (N, P) float32, P pixels; a distance is the largest difference over the pixels, dB.
"""

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from metrics._validation import bin_levels
from syntone.dataset.file import Dataset
from syntone.errors import InputError
from syntone.features.front_end import FrontEnd, compute_features

RESOLUTIONS_DB = (0.05, 0.1, 0.25, 0.5)  # the last is the resolution of the report
EDGE_FRAMES, BAND_GROUPS = 2, 8  # regions of the coarse means
BLOCK_ROWS = 512
MAX_PAIRS = 10**7  # compared pixel by pixel: about a minute, and 0.3 GB
MAX_CLASSES = 50  # of a nominal factor whose levels are compared in pairs
N_BINS = 20  # of an ordered factor in eval.py


@dataclass(frozen=True)
class Spectrograms:
    """Log-mel spectrograms of all sounds.

    db : (N, P), mapped from a temporary file
    coarse : (N, C), means over groups of pixels
    first : (N,), the first row with an identical spectrogram
    counts : number of silent sounds (all pixels at the lower end of the range), clipped sounds (a sample exceeds full
        scale) and saturated sounds (a pixel is at the upper end of the range)
    """

    db: np.ndarray
    coarse: np.ndarray
    first: np.ndarray
    counts: dict[str, int]


def spectrograms(
    dataset: Dataset, front_end: FrontEnd, *, progress: Callable[[int], object] | None = None
) -> Spectrograms:
    """Compute spectrograms block by block into a temporary file, which bounds memory."""
    n, (_, n_mels, n_frames) = len(dataset), front_end.shape
    db = np.memmap(tempfile.TemporaryFile(), dtype=np.float32, mode="w+", shape=(n, n_mels * n_frames))
    edge = min(EDGE_FRAMES, n_frames // 3)
    parts = [slice(0, edge), slice(edge, n_frames - edge), slice(n_frames - edge, n_frames)] if edge else [slice(None)]
    bands = np.array_split(np.arange(n_mels), BAND_GROUPS)
    coarse = np.empty((n, len(parts) * len(bands)), np.float32)
    first, seen = np.arange(n), {}
    counts = dict.fromkeys(("silent", "clipped", "saturated"), 0)
    for start in range(0, n, BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        wave = np.array(dataset.x[rows])
        features = compute_features(wave, front_end, device=torch.device("cpu"))
        block = front_end.to_db(features)[:, 0]
        db[rows] = block.flatten(1).numpy()
        coarse[rows] = torch.stack([block[:, group, part].mean(dim=(1, 2)) for part in parts for group in bands], dim=1)
        for row in range(start, start + len(wave)):
            first[row] = seen.setdefault(hashlib.blake2b(db[row], digest_size=16).digest(), row)
        pixels = features.flatten(1)
        counts["silent"] += int((pixels <= 0).all(dim=1).sum())
        counts["clipped"] += int((np.abs(wave).max(axis=1) > 1 + 1e-6).sum())
        counts["saturated"] += int((pixels >= 1).any(dim=1).sum())
        if progress is not None:
            progress(len(wave))
    return Spectrograms(db, coarse, first, counts)


def distances(db: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return the largest difference over the pixels between the rows of each pair: (len(pairs),) float32, dB."""
    found = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), BLOCK_ROWS):
        one, other = pairs[start : start + BLOCK_ROWS].T
        difference = db[one]
        difference -= db[other]
        found[start : start + BLOCK_ROWS] = np.abs(difference, out=difference).max(axis=1)
    return found


def close_pairs(spectra: Spectrograms, *, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Return all pairs of rows within `radius` dB of each other, and their distances.

    The search is exact: means over pixels never differ by more than the largest difference of a pixel, so a tree over
    the coarse means finds all candidates, which are then compared pixel by pixel. Of identical rows only the first is
    compared; each of the others is paired with the first.

    Raises
    ------
    InputError
        If there are more candidates than `MAX_PAIRS`, estimated from 1,000 rows.
    """
    distinct = np.unique(spectra.first)
    tree, reach = cKDTree(spectra.coarse[distinct]), radius + 1e-3  # float32 means are rounded
    some = np.random.default_rng(0).permutation(distinct)[:1000]
    near_some = tree.query_ball_point(spectra.coarse[some], reach, p=np.inf, return_length=True)
    if (expected := (near_some.mean() - 1) * len(distinct) / 2) > MAX_PAIRS:
        raise InputError(
            f"audit: about {expected:,.0f} pairs of sounds are similar (within {radius:g} dB in means of pixels), at "
            f"most {MAX_PAIRS:,} are compared; audit a dataset of fewer levels with larger steps"
        )
    candidates = tree.query_pairs(reach, p=np.inf, output_type="ndarray")
    repeats = np.flatnonzero(spectra.first != np.arange(len(spectra.first)))
    pairs = np.concatenate([distinct[candidates], np.stack([spectra.first[repeats], repeats], axis=1)])
    found = distances(spectra.db, pairs)
    near = found <= radius
    return pairs[near], found[near]


def equivalence_classes(n: int, pairs: np.ndarray) -> np.ndarray:
    """Return the class of each row, (n,): connected components of the indistinguishable pairs.

    A code that is equal for indistinguishable sounds is constant on each class.
    """
    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return connected_components(links, directed=False)[1]


def confusions(factors: np.ndarray, pairs: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return whether each sound is indistinguishable from one with another level of each factor: bool (N, K).

    Parameters
    ----------
    pairs, first : see `close_pairs`; identical rows share their neighbours
    """
    one, other = first[pairs].T
    differs = np.zeros(factors.shape, bool)
    for extreme in (np.minimum, np.maximum):  # a level differs from another one of a set if it is not both extremes
        of_equals = factors.copy()
        extreme.at(of_equals, first, factors)
        near = of_equals.copy()
        extreme.at(near, one, of_equals[other])
        extreme.at(near, other, of_equals[one])
        differs |= near[first] != factors
    return differs


def entropy(labels: np.ndarray) -> float:
    """Return the entropy in nats of labels (N,), or of the rows of (N, K)."""
    counts = np.unique(labels, axis=0, return_counts=True)[1]
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def mig_ceilings(factors: np.ndarray, kinds: Sequence[str], classes: np.ndarray) -> np.ndarray:
    """Return an upper bound of MIG for each factor, (K,): I(v; class) / H(v).

    A code that is constant on the classes is a function of the class. The data-processing inequality then gives
    I(v; z) <= I(v; class) for every factor v and latent z. MIG subtracts the information in a second latent, at least
    0, and divides by H(v). Levels are binned as in eval.py.
    """
    found = []
    for levels, kind in zip(factors.T, kinds, strict=True):
        scored = bin_levels(levels.astype(np.int64), N_BINS) if kind == "ordered" else levels
        own = entropy(scored)
        found.append((own + entropy(classes) - entropy(np.stack([scored, classes], axis=1))) / own)
    return np.clip(found, 0.0, 1.0)


def step_pairs(factors: np.ndarray, factor: int, *, kind: str) -> np.ndarray:
    """Return pairs of rows that differ in one factor only: by one level if it is ordered, by any if it is nominal.

    Of rows with the same labels, such as repeated takes, the first represents all.
    """
    others = factors.copy()
    others[:, factor] = 0
    group = np.unique(others, axis=0, return_inverse=True)[1].reshape(-1)
    level = np.unique(factors[:, factor], return_inverse=True)[1]
    order = np.unique(np.stack([group, level], axis=1), axis=0, return_index=True)[1]  # sorted by group, then level
    pairs, farthest = [], 1 if kind == "ordered" else level.max()
    for reach in range(1, farthest + 1):
        one, other = order[:-reach], order[reach:]
        apart = level[other] - level[one]
        kept = (group[one] == group[other]) & (apart <= farthest)
        pairs.append(np.stack([one[kept], other[kept]], axis=1))
    return np.concatenate(pairs)


def audit_steps(dataset: Dataset, labels: dict, db: np.ndarray, *, front_end: FrontEnd) -> list[dict]:
    """Return the steps of every factor.

    A step has both values, the number of pairs of sounds, the share of distinguishable pairs, and the smallest and the
    median distance in dB. Frequency also has the number of steps that are narrower than a mel band. Nominal factors
    with more than `MAX_CLASSES` levels have no steps.
    """
    report = []
    for k, (name, kind) in enumerate(zip(labels["factor_names"], labels["factor_kinds"])):
        values = dataset.factor_values[:, dataset.factor_names.index(name)]
        n_levels = len(np.unique(labels["factors"][:, k]))
        listed = kind == "ordered" or n_levels <= MAX_CLASSES
        pairs = step_pairs(labels["factors"], k, kind=kind) if listed else np.empty((0, 2), int)
        found = distances(db, pairs)
        told_apart = found > RESOLUTIONS_DB[-1]
        steps, ends = [], values[pairs]
        for low, high in np.unique(ends, axis=0):
            here = (ends == (low, high)).all(axis=1)
            step = {"from": float(low), "to": float(high), "pairs": int(here.sum())}
            step["told_apart"] = float(told_apart[here].mean())
            step |= {"smallest_db": float(found[here].min()), "median_db": float(np.median(found[here]))}
            if kind == "nominal":
                step["names"] = [dataset.level_name(name, low), dataset.level_name(name, high)]
            steps.append(step)
        factor = {"factor": name, "kind": kind, "levels": n_levels}
        factor["told_apart"] = float(told_apart.mean()) if len(found) else None
        if name == "frequency" and kind == "ordered":
            low = np.unique(values)
            width = np.interp(low[:-1], front_end.band_hz[:-1], np.diff(front_end.band_hz))
            factor["narrower_than_band"] = int((np.diff(low) < width * (1 - 1e-9)).sum())
        report.append(factor | {"steps": steps})
    return report


def audit(dataset: Dataset, *, progress: Callable[[int], object] | None = None) -> tuple[dict, np.ndarray]:
    """Return the report as plain types, and which sounds are indistinguishable from one with other labels: (N,)."""
    labels = dataset.labels()  # raises if no factor varies
    front_end = FrontEnd("logmel", sample_rate=dataset.sample_rate, n_samples=dataset.x.shape[1], smoothing=0.0)
    spectra = spectrograms(dataset, front_end, progress=progress)
    factors, kinds, names = labels["factors"], labels["factor_kinds"], labels["factor_names"]
    pairs, found = close_pairs(spectra, radius=RESOLUTIONS_DB[-1])
    at = []
    for resolution in RESOLUTIONS_DB:
        near = pairs[found <= resolution]
        differs = confusions(factors, near, spectra.first)
        classes = equivalence_classes(len(dataset), near)
        ceilings = mig_ceilings(factors, kinds, classes)
        counts = {"indistinguishable": int(differs.any(axis=1).sum()), "classes": int(classes.max()) + 1}
        bounds = {"mig_ceiling": float(ceilings.mean()), "mig_ceiling_of": dict(zip(names, ceilings.tolist()))}
        at.append({"resolution_db": resolution} | counts | bounds)
    report = {"dataset": dataset.path.name, "tones": len(dataset), "front_end": front_end.config()}
    report |= spectra.counts | at[-1]
    report["indistinguishable_in"] = dict(zip(names, differs.sum(axis=0).tolist()))
    report["at_resolutions"] = at
    report["steps"] = audit_steps(dataset, labels, spectra.db, front_end=front_end)
    return report, differs.any(axis=1)
