"""Baselines that are scored beside the models: PCA, ICA, an untrained encoder, and signal descriptors.

One set is made for each dataset and front end among the models:

    pca           principal components of the features: scikit-learn's PCA, randomized with a fixed seed
    ica           independent components: scikit-learn's FastICA (Hyvärinen and Oja 2000) of the whitened components
    untrained     posterior means of the first model's encoder with its initial weights
    descriptors   classic descriptors of the waveform, standardised; see `descriptors`

PCA and ICA are fitted on the training tones of the first model. They have as many components as the models have
latents, and once more as many as there are factors, a number that no method without labels knows. They decode.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA, FastICA
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from torch import Tensor, nn
from tqdm import tqdm

from models import build_model
from syntone.dataset.splits import training_split
from syntone.device import to_device
from syntone.evaluation.codes import encode, without_posterior
from syntone.evaluation.descriptors import describe
from syntone.evaluation.load import BASELINE, Entry, features_of, marked
from syntone.features.front_end import FrontEnd

BASELINES = ("pca", "ica", "untrained", "descriptors")
DEFAULT = ("pca", "ica")
MAX_FITTED = 8000  # tones that PCA and ICA are fitted on
MAX_COMPONENTS = 64
# Of FastICA. With scikit-learn's default contrast function, tolerance and 200 iterations it stops before it has
# converged, and scores then depend on rounding. These converge on `clean`. No label was used to choose them.
ICA = {"fun": "exp", "tol": 1e-8, "max_iter": 10_000}
BLOCK = 2048  # rows transformed at a time


class Affine(nn.Module):
    """A fitted PCA or ICA with the methods of a model: an affine encoder and decoder of features (B, 1, M, L).

    Decoded features are clipped to [0, 1], the range of every front end.
    """

    def __init__(self, estimator: BaseEstimator, *, shape: Sequence[int], n_components: int):
        super().__init__()
        self.shape = tuple(shape)
        functions = {"encoder": estimator.transform, "decoder": estimator.inverse_transform}
        for (name, function), width in zip(functions.items(), (int(np.prod(shape)), n_components)):
            offset = function(np.zeros((1, width)))  # the weights of an affine function are its values at unit vectors
            weights = np.concatenate([function(block) - offset for block in _blocks(np.eye(width))])
            self.register_buffer(f"{name}_offset", torch.tensor(offset, dtype=torch.float32))
            self.register_buffer(name, torch.tensor(weights, dtype=torch.float32))

    def encode(self, x: Tensor) -> tuple[Tensor, None]:
        """Return the components (B, D); they have no variance."""
        return x.flatten(1) @ self.encoder + self.encoder_offset, None

    def decode(self, z: Tensor) -> Tensor:
        """Return features (B, 1, M, L)."""
        return (z @ self.decoder + self.decoder_offset).clamp(0, 1).unflatten(1, self.shape)


@dataclass(frozen=True)
class Source:
    """What one set of baselines is made from."""

    entry: Entry  # the first of its dataset and front end: a model, or codes where there is no model
    front_end: FrontEnd
    n_latents: tuple[int, ...]  # of its models, and of codes of its dataset
    suffix: str  # of the labels, where there are several sources

    def baseline(self, name: str, codes: np.ndarray, valid_rows: np.ndarray, **decoder: object) -> Entry:
        """Return an entry; `decoder` holds its fields `model`, `front_end` and `features`."""
        label, first = f"{BASELINE}{name}{self.suffix}", self.entry
        return Entry(label, label, first.seed, first.dataset, without_posterior(codes), valid_rows, **decoder)


def components(kind: str, n: int) -> BaseEstimator:
    """Return scikit-learn's estimator of `pca` or `ica` with n components."""
    pca = PCA(n, whiten=kind == "ica", svd_solver="randomized", random_state=0)
    return pca if kind == "pca" else make_pipeline(pca, FastICA(whiten=False, random_state=0, **ICA))


def make_baselines(
    entries: Sequence[Entry], kinds: Sequence[str], *, front_end: str, device: torch.device
) -> tuple[list[Entry], list[str]]:
    """Return the baselines, and notes on them.

    Parameters
    ----------
    entries : models and codes that are evaluated, at least one
    kinds : of BASELINES
    front_end : kind of front end where there is no model
    """
    found, notes = [], []
    sources = _sources(entries, front_end)
    with tqdm(desc="baselines", total=len(sources) * len(kinds), delay=2, disable=None) as bar:
        for source in sources:
            for kind in kinds:
                if kind in DEFAULT:
                    found += _components(source, kind, notes, device=device)
                elif kind == "untrained":
                    found.append(_untrained(source))
                else:
                    found.append(_descriptors(source))
                bar.update()
    if set(kinds) & set(DEFAULT):
        front_ends = " and ".join(dict.fromkeys(source.front_end.kind for source in sources))
        notes.insert(
            0,
            f"PCA and ICA of the {front_ends} features were fitted on at most {MAX_FITTED:,} training tones of seed "
            f"{found[0].seed}; (= factors): with as many components as factors, a number that no method without labels "
            "knows.",
        )
    return found, notes


def _sources(entries: Sequence[Entry], front_end: str) -> list[Source]:
    models = [entry for entry in entries if entry.model is not None]
    groups: dict[tuple, list[Entry]] = {}
    for entry in models or entries:
        kind = entry.front_end or FrontEnd(front_end, entry.dataset.sample_rate, entry.dataset.x.shape[1])
        groups.setdefault((entry.dataset.path, kind), []).append(entry)
    datasets, names = {path for path, _ in groups}, []
    for (_, kind), (first, *_) in groups.items():
        name = f", {kind.kind}" + (first.label[len(marked(first.name)) :] if len(datasets) > 1 else "")
        names.append(name if name not in names else f"{name}, {len(names) + 1}")
    found = []
    for ((path, kind), group), name in zip(groups.items(), names):
        codes = [entry for entry in entries if entry.model is None and entry.dataset.path == path and models]
        widths = dict.fromkeys(len(entry.codes.active) for entry in [*group, *codes])
        found.append(Source(group[0], kind, tuple(widths), name if len(groups) > 1 else ""))
    return found


def _split(entry: Entry) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows for training and validation: the model's, or new ones for codes or another dataset."""
    if entry.checkpoint is None or entry.mismatch:
        return training_split(entry.dataset, seed=entry.seed)[:2]
    return entry.checkpoint.train_rows.numpy(), entry.valid_rows


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))


def _components(source: Source, kind: str, notes: list[str], *, device: torch.device) -> list[Entry]:
    """Fit PCA or ICA once with D and once with K components; note where ICA has not converged."""
    first, features = source.entry, source.entry.features
    if features is None:
        features = features_of(first.dataset, source.front_end, device=device)
    train, valid = _split(first)
    if len(train) > MAX_FITTED:
        train = np.sort(np.random.default_rng(first.seed).choice(train, MAX_FITTED, replace=False))
    pixels = features.flatten(1).cpu().numpy()
    n_factors, most = first.dataset.labels()["factors"].shape[1], min(MAX_COMPONENTS, len(train) - 1, pixels.shape[1])
    found = []
    for n in dict.fromkeys(min(n, most) for n in (*source.n_latents, n_factors)):
        name = f"{kind.upper()} ({n}{' = factors' if n == n_factors else ''})"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            estimator = components(kind, n).fit(pixels[train].astype(np.float64))
        if any(issubclass(one.category, ConvergenceWarning) for one in caught):
            notes.append(f"{name}{source.suffix} had not converged after {ICA['max_iter']:,} iterations.")
        codes = np.concatenate([estimator.transform(block) for block in _blocks(pixels)])
        model = to_device(Affine(estimator, shape=features.shape[1:], n_components=n), features.device).eval()
        found.append(source.baseline(name, codes, valid, model=model, front_end=source.front_end, features=features))
    return found


def _untrained(source: Source) -> Entry:
    """Encode with the first model before its training."""
    first = source.entry
    with torch.random.fork_rng(devices=[]):  # the weights that its training began with
        torch.manual_seed(first.seed)
        model = build_model(first.name, **first.checkpoint.model_config).eval()
    codes = encode(to_device(model, first.features.device), first.features).codes
    return source.baseline(f"untrained {first.name}", codes, first.valid_rows)


def _descriptors(source: Source) -> Entry:
    """Describe the waveforms; divide each descriptor by its standard deviation, since each has a unit of its own."""
    dataset = source.entry.dataset
    with tqdm(total=len(dataset), desc="descriptors", unit="tone", delay=2, disable=None) as bar:
        values = describe(dataset.x, dataset.sample_rate, progress=bar.update)
    spread = values.std(axis=0)
    return source.baseline(
        "descriptors", (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1), source.entry.valid_rows
    )
