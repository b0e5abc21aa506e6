"""Decoders whose answer is known: what tests of matching and of controllability share."""

import numpy as np
import torch

from syntone.evaluation import controllability as control
from syntone.evaluation import matching
from syntone.features.front_end import FrontEnd, compute_features


def patterns_of(dataset, kind="logmel"):
    front_end = FrontEnd(kind, sample_rate=dataset.sample_rate, n_samples=dataset.x.shape[1], smoothing=0.0)
    features = compute_features(dataset.x, front_end, device=torch.device("cpu"))
    return matching.loudness_patterns(features, front_end)


def templates_of(dataset, kind="logmel"):
    patterns = patterns_of(dataset, kind)
    return matching.make_templates(patterns, dataset.factor_values, dataset.labels())


def grid_oracle(templates, levels, to_levels=lambda z: z, *, patterns=None):
    """A decoder whose latents are level indices: multilinear between the tones of a full grid, exact at the levels."""
    n_levels = (levels.max(axis=0) + 1).astype(int)
    order = np.ravel_multi_index(levels.astype(int).T, n_levels)
    patterns = templates.patterns if patterns is None else patterns
    grid = patterns[np.argsort(order)].double().reshape(*n_levels, -1)

    def measure(z):
        at = np.clip(to_levels(z), 0, n_levels - 1)
        low = np.minimum(np.floor(at).astype(int), n_levels - 2)
        share, decoded = at - low, 0.0
        for corner in np.ndindex(*[2] * len(n_levels)):
            weight = np.prod(np.where(corner, share, 1 - share), axis=1)
            decoded = decoded + torch.from_numpy(weight)[:, None] * grid[tuple((low + corner).T)]
        return matching.match(decoded.float(), templates)

    return measure


def run(measure, codes, templates, *, latents=None, anchors=8, n_floor=0):
    return control.controllability(
        measure,
        codes=codes,
        latents=range(codes.shape[1]) if latents is None else latents,
        anchors=np.arange(0, len(codes), len(codes) // anchors)[:anchors],
        templates=templates._replace(limit=0.3),
        generator=np.random.default_rng(0),
        n_floor=n_floor,
    )
