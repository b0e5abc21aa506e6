"""The training loop: epochs, validation, history, resume. It is the same for every model.

Every random number of an epoch comes from a generator seeded by (seed, epoch, purpose), so a resumed run draws the same
numbers as an uninterrupted one.
"""

import copy
import functools
import inspect
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from models.options import Option
from syntone.dataset.pairs import TrainingPairs
from syntone.device import autocast, build_optimizer, to_device
from syntone.errors import InputError, MachineError, Terminated
from syntone.training.parallel import ALONE, Processes, average_gradients, sharded

SHUFFLE, NOISE, VALIDATION, VALIDATION_ORDER, PAIRS = range(5)
BFLOAT16_ERROR = 0.03  # of the largest value; correct kernels stay below 0.01


@dataclass(frozen=True)
class Settings:
    """Options of a run beside those of model and front end. All of them change its result.

    anneal_from, anneal_epochs : see `annealing_factor`
    """

    seed: int = 0
    batch_size: Annotated[int, Option("tones (AdaGVAE: pairs) per step", least=2)] = 64
    lr: Annotated[float, Option("learning rate of Adam", above=0)] = 1e-3
    precision: Annotated[
        str, Option("arithmetic of the networks; weights and losses stay in float32", choices=("float32", "bfloat16"))
    ] = "float32"
    anneal_from: Annotated[
        float,
        Option(
            "factor on every weight but the reconstruction's in the first epoch; it falls by one ratio per epoch, "
            "to 1. 1: no annealing. CapacityVAE: its capacity rises from 0 instead",
            least=1e-6,
        ),
    ] = 500.0
    anneal_epochs: Annotated[
        int, Option("epochs until the factor is 1; with fewer --epochs it stays above 1", least=1)
    ] = 50


@dataclass(frozen=True)
class Split:
    """Rows of the features to train and to validate on, int64.

    weights : (len(train),), how often each training row is drawn; None: each once per epoch
    pairs : the pairs to train and to validate on, of a model that needs them
    """

    train: Tensor
    valid: Tensor
    weights: Tensor | None = None
    pairs: TrainingPairs | None = None

    @property
    def sizes(self) -> tuple[int, int]:
        """Tones or pairs of an epoch to train and to validate on; with correlations, an estimate for training pairs."""
        if self.pairs is None:
            return len(self.train), len(self.valid)
        return len(self.train) - (self.pairs.n_alone if self.pairs.fixed is None else 0), len(self.pairs.valid)

    @property
    def n_tones(self) -> int:
        """Training tones per epoch."""
        return self.sizes[0] * (1 if self.pairs is None else 2)


@dataclass(frozen=True)
class Progress:
    """State of a run after `epoch` epochs. State dicts are copies; the history has one value per epoch and column."""

    epoch: int
    best_epoch: int
    last: dict[str, Tensor]
    best: dict[str, Tensor]
    optimizer: dict
    history: dict[str, list[float]]


def stream(seed: int, epoch: int, purpose: int) -> int:
    """Return the seed of the generator for one purpose in one epoch of one run."""
    state = np.random.SeedSequence([seed, epoch, purpose]).generate_state(1, np.uint64)[0]
    return int(state >> np.uint64(1))


def batch_sizes(n_rows: int, batch_size: int) -> list[int]:
    """Return the sizes of the batches of a pass, which differ by at most one.

    No tone is left out, and no batch has a single tone, since the estimators compare tones: an odd number of rows in
    batches of 2 has one batch of 3.
    """
    n_batches = max(1, min(math.ceil(n_rows / batch_size), n_rows // 2))
    small, n_large = divmod(n_rows, n_batches)
    return [small + 1] * n_large + [small] * (n_batches - n_large)


def draw_order(n_rows: int, weights: Tensor | None, *, generator: torch.Generator) -> Tensor:
    """Return the rows of one epoch, int64 (n_rows,).

    Each row once in a random order or, with weights (n_rows,), as many drawn with replacement in proportion to them.
    """
    if weights is None:
        return torch.randperm(n_rows, generator=generator)
    edges = weights.double().cumsum(0)
    drawn = torch.rand(n_rows, generator=generator, dtype=torch.float64) * edges[-1]
    return torch.searchsorted(edges, drawn, right=True).clamp_max(n_rows - 1)


def annealing_factor(epoch: int, *, start: float, epochs: int) -> float:
    """Return the factor on every weight but the reconstruction's in an epoch, the first of which is 1.

    It is `start` in the first epoch and falls by the same ratio every epoch, to 1 after `epochs` epochs. Under a large
    factor a latent is used only if it explains much. As the factor falls, latents come into use one after another, each
    for what explains most of what the others leave.
    """
    return start ** max(0.0, 1 - (epoch - 1) / epochs)


def run_pass(
    model: nn.Module,
    features: Tensor,
    order: Tensor,
    *,
    batch_size: int,
    generator: torch.Generator,
    device: torch.device,
    optimizer: torch.optim.Optimizer | None = None,
    precision: str = "float32",
    processes: Processes = ALONE,
    on_step: Callable[[int], object] | None = None,
) -> dict[str, float]:
    """Pass tones or pairs through the model in batches, as training steps if there is an optimizer.

    Parameters
    ----------
    order : rows of the features (n,), or pairs of rows (n, 2), whose partners follow the anchors in a batch
    batch_size : tones or pairs per batch

    Returns
    -------
    Every loss term, the mean over the tones, in nats.
    """
    # The losses of a user's own model may draw nothing.
    draws = {"generator": generator} if "generator" in inspect.signature(model.losses).parameters else {}
    sums: dict[str, Tensor] = {}
    for rows in order.to(features.device).split(batch_sizes(len(order), batch_size)):
        with autocast(device, precision), sharded(model, processes):
            losses = model.losses(features[rows.reshape(len(rows), -1).T.flatten()].to(device), **draws)
        if optimizer is not None:
            optimizer.zero_grad(set_to_none=True)
            losses["loss"].backward()
            average_gradients(model.parameters(), processes)
            optimizer.step()
        for name, value in losses.items():  # summed on the device, so that no step waits for it
            sums[name] = sums.get(name, 0.0) + value.detach() * len(rows)
        if on_step is not None:
            on_step(rows.numel())
    totals = torch.stack(list(sums.values())).tolist()
    return {name: total / len(order) for name, total in zip(sums, totals)}


def nonfinite_term(terms: dict[str, float], *, phase: str) -> str | None:
    """Describe a loss term that is not finite, a single term before their sum; None if all are finite."""
    bad = sorted((name for name, value in terms.items() if not math.isfinite(value)), key=lambda name: name == "loss")
    return f"{phase} term '{bad[0]}' became {terms[bad[0]]}" if bad else None


def nonfinite_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> str | None:
    """Describe a weight or a moment of its gradients that is not finite; None if all are finite.

    NaN and infinity stay in Adam's moments, so one look per epoch sees a bad gradient of any step. It also sees what no
    loss shows: the square of a gradient above 1.8e19 overflows float32, Adam divides by it, and the weight stops moving
    while the loss stays finite.
    """
    found = []
    for name, weight in model.named_parameters():
        moments = optimizer.state.get(weight, {})
        found.append((f"weight '{name}'", weight.detach()))
        found += [(f"gradients of '{name}' (Adam's {key})", moments[key]) for key in moments if key != "step"]
    finite = torch.stack([value.isfinite().all() for _, value in found]).tolist()
    return next((f"{what} overflowed" for (what, _), good in zip(found, finite) if not good), None)


@torch.no_grad()
def check_bfloat16(model: nn.Module, x: Tensor) -> None:
    """Compare one batch in bfloat16 and float32. Some CPUs compute small convolutions wrongly in bfloat16.

    Raises
    ------
    InputError
        If codes or reconstructions are not finite or differ by more than the precision of bfloat16 explains.
    """
    outputs = []
    for precision in ("float32", "bfloat16"):
        with autocast(x.device, precision):
            mu, logvar = model.encode(x)
            outputs.append((mu, logvar, model.decode(mu)))
    for exact, rounded in zip(*outputs):
        if not (rounded - exact).abs().max() <= BFLOAT16_ERROR * exact.abs().max():
            raise InputError(
                f"this device computes bfloat16 wrongly for features of shape {tuple(x.shape[1:])}; use float32"
            )


def train(
    model: nn.Module,
    features: Tensor,
    split: Split,
    settings: Settings,
    *,
    epochs: int,
    resume: Progress | None = None,
    device: torch.device | None = None,
    processes: Processes = ALONE,
    save: Callable[[Progress], None] = lambda progress: None,
    save_seconds: float = 20.0,
    name: str = "",
    score: Callable[[nn.Module, int], dict[str, float]] | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
    on_step: Callable[[int], object] | None = None,
) -> Progress:
    """Train up to `epochs` epochs and return the state of the run.

    Parameters
    ----------
    model : has `losses(x)`, `parameter_groups(lr)`, `needs_pairs` and the buffer `annealing`
    features : (N, 1, M, L)
    resume : the state from which to continue
    device : where to train; default: where the features are
    processes : those that train together, each with the same arguments
    save : called after the first epoch that ends `save_seconds` or more after the last save, and at the end
    name : of the checkpoint, for messages
    score : called with the model in evaluation mode and the epoch; its result is added to the history
    on_epoch : called after every epoch with its number and its duration in seconds
    on_step : called after every training step with its number of tones

    Raises
    ------
    InputError
        If the device computes bfloat16 wrongly.
    MachineError
        If a loss term, a weight or a gradient is not finite. The epoch before is saved first.
    KeyboardInterrupt, syntone.errors.Terminated
        If SIGINT or SIGTERM arrives. The last whole epoch is saved first.
    """
    device = features.device if device is None else device
    to_device(model, device)
    optimizer = build_optimizer(model.parameter_groups(settings.lr), device=device)
    if resume is not None:
        model.load_state_dict(resume.last)
        optimizer.load_state_dict(resume.optimizer)
    if settings.precision == "bfloat16":
        first = split.train[: batch_sizes(len(split.train), settings.batch_size)[0]]
        check_bfloat16(model, features[first.to(features.device)].to(device))
    run = functools.partial(
        run_pass,
        model,
        features,
        batch_size=settings.batch_size,
        device=device,
        precision=settings.precision,
        processes=processes,
    )
    training = functools.partial(run, optimizer=optimizer, on_step=on_step)
    done, saved_epoch, saved_at = resume, resume.epoch if resume else 0, time.monotonic()
    epoch = saved_epoch

    def save_done() -> None:
        nonlocal saved_epoch
        if done is not None and done.epoch > saved_epoch:
            save(done)
            saved_epoch = done.epoch

    try:
        for epoch in range(saved_epoch + 1, epochs + 1):
            started = time.monotonic()
            row = _run_epoch(epoch, model, split, settings, training=training, validation=run, device=device)
            problem = nonfinite_state(model, optimizer)
            if problem:
                raise MachineError(problem)
            done = _advanced(done, row | (score(model, epoch) if score else {}), model, optimizer)
            if epoch == epochs or time.monotonic() - saved_at >= save_seconds:
                save_done()
                saved_at = time.monotonic()
            if on_epoch is not None:
                on_epoch(epoch, time.monotonic() - started)
    except (MachineError, KeyboardInterrupt, Terminated) as stop:
        save_done()
        saved = f"the last good checkpoint is {name} of epoch {saved_epoch}"
        saved = saved if saved_epoch else f"no checkpoint {name} was written yet"
        if isinstance(stop, MachineError):
            raise MachineError(f"{stop} in epoch {epoch}; {saved}; try a smaller learning rate") from None
        word = "terminated" if isinstance(stop, Terminated) else "interrupted"
        raise type(stop)(f"{word} in epoch {epoch}; {saved}; resume the run to continue") from None
    except Exception:  # for example of `score`: what was trained is kept
        save_done()
        raise
    return done


def _run_epoch(
    epoch: int,
    model: nn.Module,
    split: Split,
    settings: Settings,
    *,
    training: Callable[..., dict[str, float]],
    validation: Callable[..., dict[str, float]],
    device: torch.device,
) -> dict[str, float]:
    """Train and validate for one epoch; return its row of the history."""

    def generator(epoch: int, purpose: int, device: torch.device | str = "cpu") -> torch.Generator:
        return torch.Generator(device).manual_seed(stream(settings.seed, epoch, purpose))

    annealing = annealing_factor(epoch, start=settings.anneal_from, epochs=settings.anneal_epochs)
    model.train()
    model.annealing.fill_(annealing)
    order = split.train[draw_order(len(split.train), split.weights, generator=generator(epoch, SHUFFLE))]
    if model.needs_pairs:
        drawn = np.random.default_rng(stream(settings.seed, epoch, PAIRS))
        order = torch.from_numpy(split.pairs.draw(order.numpy(), generator=drawn))
    n_tones, trained = order.numel(), training(order, generator=generator(epoch, NOISE, device))
    # Validation is in a random order too: neighbours in the file are neighbours in frequency, and a batch of them would
    # bias every estimate over a batch. Order and noise are the same in every epoch, so that only weights differ.
    order = torch.from_numpy(split.pairs.valid) if model.needs_pairs else split.valid
    order = order[torch.randperm(len(order), generator=generator(0, VALIDATION_ORDER))]
    model.eval()
    with torch.no_grad():
        validated = validation(order, generator=generator(0, VALIDATION, device))
    problem = nonfinite_term(trained, phase="training") or nonfinite_term(validated, phase="validation")
    if problem:
        raise MachineError(problem)
    row = {"epoch": epoch, "lr": settings.lr}
    row |= {f"train_{name}": value for name, value in trained.items()}
    row |= {f"valid_{name}": value for name, value in validated.items()}
    return row | {"annealing": annealing, "tones": n_tones}


def _advanced(
    before: Progress | None, row: dict[str, float], model: nn.Module, optimizer: torch.optim.Optimizer
) -> Progress:
    """Return the state after one more epoch, with copies of the state dicts."""
    epoch, history = row["epoch"], {name: list(column) for name, column in before.history.items()} if before else {}
    for name in dict.fromkeys([*history, *row]):  # a score that is not due in an epoch is NaN there
        history.setdefault(name, [math.nan] * (epoch - 1)).append(row.get(name, math.nan))
    last = copy.deepcopy(model.state_dict())
    losses = history["valid_loss"]
    if before is None or losses[-1] < losses[before.best_epoch - 1]:
        best_epoch, best = epoch, last
    else:
        best_epoch, best = before.best_epoch, before.best
    return Progress(epoch, best_epoch, last, best, copy.deepcopy(optimizer.state_dict()), history)
