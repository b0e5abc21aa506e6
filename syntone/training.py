"""The training loop: epochs, validation, history, resume. It does not know which model it trains.

Every random number of an epoch comes from a generator that is seeded by (seed, epoch, purpose), so a run that resumes at
an epoch continues with the numbers it would have had.
"""

import copy
import inspect
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO

import numpy as np
import torch
from torch import Tensor, nn

from syntone.cli import MachineError
from syntone.runtime import ALONE, Processes, average_gradients, build_optimizer, place, spread

SHUFFLE, NOISE, VALIDATION, VALIDATION_ORDER = range(4)


@dataclass(frozen=True)
class Progress:
    """Where a run stands after `epoch` epochs. State dicts are copies on the CPU."""

    epoch: int
    best_epoch: int
    last: dict[str, Tensor]
    best: dict[str, Tensor]
    optimizer: dict
    history: dict[str, list[float]]


def stream(seed: int, epoch: int, purpose: int, *, device: torch.device | str = "cpu") -> torch.Generator:
    """The generator for one purpose in one epoch of one run."""
    state = np.random.SeedSequence([seed, epoch, purpose]).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state >> np.uint64(1)))


def batches(rows: Tensor, batch_size: int) -> tuple[Tensor, ...]:
    """Rows in batches whose sizes differ by at most one: no tone is left out, and no batch has a single tone, which the
    estimators could compare with nothing (an odd number of rows in batches of 2 has one batch of 3)."""
    return rows.tensor_split(max(1, min(math.ceil(len(rows) / batch_size), len(rows) // 2)))


def run_epoch(model: nn.Module, features: Tensor, rows: Tensor, *, batch_size: int, generator: torch.Generator,
              optimizer: torch.optim.Optimizer | None = None, processes: Processes = ALONE,
              progress: Callable[[int], None] | None = None) -> dict[str, float]:
    """One pass over the rows; with an optimizer it trains. Returns every loss term, the mean over the tones in nats.

    The sums stay on the device until the end: no step waits for one.
    """
    totals: dict[str, Tensor] = {}
    taken = inspect.signature(model.losses).parameters  # a model of a user's own may take x alone
    for batch in batches(rows, batch_size):
        rows_here, gather = spread(batch, processes)
        given = {"generator": generator, "gather": gather}
        losses = model.losses(features[rows_here], **{key: value for key, value in given.items() if key in taken})
        if optimizer is not None:
            optimizer.zero_grad(set_to_none=True)
            losses["loss"].backward()
            average_gradients(model.parameters(), processes)
            optimizer.step()
        for name, value in losses.items():
            weighted = value.detach() * len(batch)
            totals[name] = totals[name] + weighted if name in totals else weighted
        if progress is not None:
            progress(len(batch))
    sums = torch.stack(list(totals.values())).tolist()
    return {name: total / len(rows) for name, total in zip(totals, sums)}


def _check_finite(terms: dict[str, float], *, epoch: int, phase: str, last_good: str) -> None:
    """Stop where a term is not finite, naming the term itself rather than the sum it has spoiled."""
    bad = sorted((name for name, value in terms.items() if not math.isfinite(value)), key=lambda name: name == "loss")
    if bad:
        raise MachineError(f"{phase} term '{bad[0]}' became {terms[bad[0]]} in epoch {epoch}; {last_good}; "
                           f"try a smaller --lr")


def _copy_state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}


def draw_order(n_rows: int, weights: Tensor | None, *, generator: torch.Generator) -> Tensor:
    """The rows of one epoch, int64 (n_rows,): each once in a random order, or, with weights (n_rows,), as many drawn with
    replacement in proportion to them."""
    if weights is None:
        return torch.randperm(n_rows, generator=generator)
    edges = weights.double().cumsum(0)
    drawn = torch.rand(n_rows, generator=generator, dtype=torch.float64) * edges[-1]
    return torch.searchsorted(edges, drawn, right=True).clamp_max(n_rows - 1)


def train(model: nn.Module, features: Tensor, *, train_rows: Tensor, valid_rows: Tensor, seed: int, epochs: int,
          batch_size: int, lr: float, weights: Tensor | None = None, resume: Progress | None = None,
          save: Callable[[Progress], None],
          save_seconds: float = 20.0, checkpoint_name: str = "", processes: Processes = ALONE,
          score: Callable[[int], dict[str, float]] | None = None, on_epoch: Callable[[int, float], None] | None = None,
          progress: Callable[[int], None] | None = None) -> Progress:
    """Train up to `epochs` epochs and return where the run stands.

    Parameters
    ----------
    model : has `losses(x, generator=...)` and `parameter_groups(lr)`; moved to the device of the features
    features : (N, 1, M, L)
    train_rows, valid_rows : int64, rows of the features
    weights : (len(train_rows),), how often each training row is drawn; None takes each once an epoch
    batch_size : int, at least 2
    lr : float, of Adam
    resume : where to go on; the model's and the optimizer's state are taken from it
    save : called with the progress after the first epoch that ends `save_seconds` or more since the last call, and at
        the end
    checkpoint_name : named in the error of a run that diverges
    processes : those that train together, each with these same arguments
    score : called after every epoch with its number, the model in evaluation mode; what it returns joins the history
    on_epoch : called after every epoch with its number and the seconds it took
    progress : called with the number of tones after every batch

    Raises
    ------
    MachineError
        If a loss term is not finite; names the term, the epoch and the last good checkpoint.
    """
    device = features.device
    place(model, device)
    # Validation in a random order too: neighbours in the file are neighbours in frequency, and a batch of them would
    # bias every estimate over a batch. The order and the noise are the same in every epoch, so that epochs differ by
    # their weights alone.
    valid_order = torch.randperm(len(valid_rows), generator=stream(seed, 0, VALIDATION_ORDER))
    train_rows, valid_rows = train_rows.to(device), valid_rows[valid_order].to(device)
    optimizer = build_optimizer(model.parameter_groups(lr), device=device)
    history: dict[str, list[float]] = {}
    first, best_epoch, best, best_loss, saved_epoch = 1, 0, {}, math.inf, 0
    if resume is not None:
        model.load_state_dict(resume.last)
        optimizer.load_state_dict(resume.optimizer)
        history = copy.deepcopy(resume.history)
        first, best_epoch, best, saved_epoch = resume.epoch + 1, resume.best_epoch, resume.best, resume.epoch
        best_loss = history["valid_loss"][best_epoch - 1]
    done, saved_at = resume, time.monotonic()
    for epoch in range(first, epochs + 1):
        started = time.monotonic()
        order = draw_order(len(train_rows), weights, generator=stream(seed, epoch, SHUFFLE)).to(device)
        model.train()
        trained = run_epoch(model, features, train_rows[order], batch_size=batch_size, optimizer=optimizer,
                            processes=processes, generator=stream(seed, epoch, NOISE, device=device), progress=progress)
        model.eval()
        with torch.no_grad():
            validated = run_epoch(model, features, valid_rows, batch_size=batch_size, processes=processes,
                                  generator=stream(seed, 0, VALIDATION, device=device))
        last_good = (f"the last good checkpoint is {checkpoint_name} of epoch {saved_epoch}" if saved_epoch
                     else "no checkpoint was written yet")
        _check_finite(trained, epoch=epoch, phase="training", last_good=last_good)
        _check_finite(validated, epoch=epoch, phase="validation", last_good=last_good)
        row = {"epoch": epoch, "lr": lr} | {f"train_{name}": value for name, value in trained.items()}
        row |= {f"valid_{name}": value for name, value in validated.items()}
        row |= score(epoch) if score is not None else {}
        for name in dict.fromkeys([*history, *row]):  # a score that is not due in an epoch is NaN there
            history.setdefault(name, [math.nan] * (epoch - 1)).append(row.get(name, math.nan))
        if validated["loss"] < best_loss:
            best_loss, best_epoch, best = validated["loss"], epoch, _copy_state(model)
        if epoch == epochs or time.monotonic() - saved_at >= save_seconds:
            done = Progress(epoch, best_epoch, _copy_state(model), best, optimizer.state_dict(), history)
            save(done)
            saved_at, saved_epoch = time.monotonic(), epoch
        if on_epoch is not None:
            on_epoch(epoch, time.monotonic() - started)
    return done


def history_csv(history: dict[str, list[float]]) -> str:
    """The history as CSV, a row an epoch, every number with all its digits, NaN (a score that was not due) empty."""
    text = StringIO()
    text.write(",".join(history) + "\n")
    for row in zip(*history.values()):
        text.write(",".join("" if math.isnan(value) else repr(value) for value in row) + "\n")
    return text.getvalue()
