"""Encode, decode and reconstruct with a trained model: arrays and tensors only.

Conventions: features (N, 1, M, L) in [0, 1]; codes of a model are posterior means, (N, D).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from metrics import active_latents
from models.objectives import kl_per_latent
from syntone.errors import InputError
from syntone.features.front_end import FrontEnd

ACTIVE_NATS = 0.01  # a latent with a smaller mean KL has collapsed: its mean may vary, but has no information
BATCH = 256


@dataclass(frozen=True)
class Codes:
    """Codes (N, D) in the precision in which they were computed, and which latents are active, bool (D,).

    kl : mean KL of each latent, nats, (D,); None for codes without a posterior
    """

    codes: np.ndarray
    active: np.ndarray
    kl: np.ndarray | None = None

    @property
    def order(self) -> np.ndarray:
        """Latents from the largest mean KL, or without a posterior the largest standard deviation, (D,)."""
        strength = self.codes.std(axis=0, dtype=np.float64) if self.kl is None else self.kl
        return np.argsort(-strength, kind="stable")


def with_posterior(codes: np.ndarray, kl: np.ndarray) -> Codes:
    """Return codes whose latents are active where their mean KL is above 0.01 nats."""
    return Codes(codes, kl > ACTIVE_NATS, kl)


def without_posterior(codes: np.ndarray, active: np.ndarray | None = None) -> Codes:
    """Return codes whose latents are active as given, by default as by `metrics.active_latents`."""
    return Codes(codes, active_latents(codes) if active is None else active)


@torch.no_grad()
def encode(model: nn.Module, features: Tensor, *, device: torch.device | None = None) -> Codes:
    """Encode all tones.

    Parameters
    ----------
    device : device of the model; default: that of the features

    Raises
    ------
    InputError
        If a posterior mean or KL is not finite.
    """
    means, divergence = [], 0.0
    for batch in features.split(BATCH):
        batch = batch.to(device or features.device)
        mu, logvar = (value.cpu() for value in model.encode(batch))
        means.append(mu)  # in the model's precision, which sets the tolerance of bin edges
        divergence = divergence + kl_per_latent(mu.double(), logvar.double()).sum(dim=0)  # MPS has no float64
    codes = with_posterior(torch.cat(means).numpy(), (divergence / len(features)).numpy())
    if not (np.isfinite(codes.codes).all() and np.isfinite(codes.kl).all()):
        raise InputError("the model's codes are not finite: it has diverged; evaluate another state or train it again")
    return codes


@torch.no_grad()
def reconstruct(model: nn.Module, features: Tensor) -> Tensor:
    """Decode the posterior means of features (B, 1, M, L)."""
    return torch.cat([model.decode(model.encode(batch)[0]) for batch in features.split(BATCH)])


@torch.no_grad()
def decode(model: nn.Module, codes: np.ndarray, *, device: torch.device) -> Tensor:
    """Decode codes (B, D) to features (B, 1, M, L)."""
    z = torch.from_numpy(np.ascontiguousarray(codes)).to(device=device, dtype=torch.float32)
    return torch.cat([model.decode(batch) for batch in z.split(BATCH)])


def reconstruction_error_db(model: nn.Module, features: Tensor, *, front_end: FrontEnd) -> float:
    """Root mean square difference in dB between features and their reconstruction, over all bands and frames.

    Levels below the front end's range count as equal.
    """
    total, count = 0.0, 0
    for batch in features.split(BATCH):
        difference = front_end.to_db(batch) - front_end.to_db(reconstruct(model, batch))
        total += difference.cpu().double().square().sum().item()
        count += difference.numel()
    return (total / count) ** 0.5


def traversal_values(codes: np.ndarray, *, n_steps: int) -> np.ndarray:
    """Return equal steps between the 2 % and the 98 % quantile of each latent's codes (N, D), as (D, n_steps)."""
    low, high = np.quantile(codes, [0.02, 0.98], axis=0)
    return np.linspace(low, high, n_steps).T


def traversal_codes(base: np.ndarray, values: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """Return codes (R, S, D): in row r, `base` (D,) with latent order[r] moved through its values (S,)."""
    codes = np.tile(base, (len(order), values.shape[1], 1))
    for row, latent in enumerate(order):
        codes[row, :, latent] = values[latent]
    return codes


def choose_rows(rows: np.ndarray, groups: np.ndarray | None, *, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw n of the rows, in turn from the groups (N,); return them in the order of the groups."""
    rows = rng.permutation(rows)
    if groups is None:
        return rows[:n]
    members = [rows[groups[rows] == group] for group in np.unique(groups[rows])]
    turns = [member[turn] for turn in range(n) for member in members if turn < len(member)]
    return np.array(sorted(turns[:n], key=lambda row: groups[row]))
