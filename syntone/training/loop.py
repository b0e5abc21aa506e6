"""The training loop: epochs, validation, history, resume. It does not know which model it trains.

Several learners of the same sizes train side by side, a step of each in turn; one learner is the common case. Every random
number of an epoch comes from a generator that is seeded by (seed, epoch, purpose), so a run that resumes at an epoch
continues with the numbers it would have had, and a learner among others draws what it draws alone.
"""

import inspect
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from syntone.errors import MachineError, Terminated
from syntone.training.guards import spoilt_state, spoilt_term
from syntone.training.parallel import (
    ALONE,
    Processes,
    Steps,
    adopt_state,
    autocast,
    average_gradients,
    build_optimizer,
    place,
    spread,
)

SHUFFLE, NOISE, VALIDATION, VALIDATION_ORDER = range(4)


@dataclass(frozen=True)
class Progress:
    """Where a run stands after `epoch` epochs. State dicts are copies."""

    epoch: int
    best_epoch: int
    last: dict[str, Tensor]
    best: dict[str, Tensor]
    optimizer: dict
    history: dict[str, list[float]]


@dataclass(frozen=True)
class Learner:
    """One model to train, and what is its own among those that train side by side.

    model : has `losses(x)` and `parameter_groups(lr)`; `losses` may take `generator` and `gather`
    train_rows, valid_rows : int64, rows of the features
    weights : (len(train_rows),), how often each training row is drawn; None takes each once an epoch
    seed : of its order of tones and of its noise
    save : called with its progress (`Progress`)
    name : of its checkpoint, for messages
    pressure : the model's `pressure` by epoch; None: 1 throughout
    resume : where to go on; the model's and the optimizer's state are taken from it
    score : called after every epoch with its number, the model in evaluation mode; what it returns joins the history
    """

    model: nn.Module
    train_rows: Tensor
    valid_rows: Tensor
    seed: int
    save: Callable[[Progress], None]
    name: str = ""
    weights: Tensor | None = None
    pressure: Callable[[int], float] | None = None
    resume: Progress | None = None
    score: Callable[[int], dict[str, float]] | None = None


def stream(seed: int, epoch: int, purpose: int) -> int:
    """The seed of the generator for one purpose in one epoch of one run."""
    state = np.random.SeedSequence([seed, epoch, purpose]).generate_state(1, np.uint64)[0]
    return int(state >> np.uint64(1))


def batch_sizes(n_rows: int, batch_size: int) -> list[int]:
    """The sizes of the batches of a pass, which differ by at most one: no tone is left out, and no batch has a single tone,
    which the estimators could compare with nothing (an odd number of rows in batches of 2 has one batch of 3)."""
    n_batches = max(1, min(math.ceil(n_rows / batch_size), n_rows // 2))
    small, n_large = divmod(n_rows, n_batches)
    return [small + 1] * n_large + [small] * (n_batches - n_large)


class Pass:
    """A model's way through as many rows, time and again: the order, the place in it and the sums of the terms stay where
    they are in memory, so that a step can be captured once and replayed, and nothing waits for the device before the end."""

    def __init__(
        self,
        model: nn.Module,
        features: Tensor,
        n_rows: int,
        *,
        device: torch.device,
        optimizer: torch.optim.Optimizer | None = None,
        processes: Processes = ALONE,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.model, self.features, self.optimizer = model, features, optimizer
        self.device, self.processes, self.precision = device, processes, precision
        self.generator = torch.Generator(device)
        self.order = torch.empty(n_rows, dtype=torch.int64, device=features.device)
        self.place = torch.zeros((), dtype=torch.int64, device=features.device)
        self.ahead = torch.arange(n_rows, device=features.device)
        self.sums: dict[str, Tensor] = {}
        self.taken = inspect.signature(model.losses).parameters.keys()  # a model of a user's own may take x alone

    def start(self, order: Tensor, *, seed: int) -> None:
        self.order.copy_(order)
        self.generator.manual_seed(seed)
        self.place.zero_()
        for total in self.sums.values():
            total.zero_()

    def step(self, n: int) -> None:
        """One batch: the next n rows of the order. With an optimizer it trains."""
        rows, gather = spread(self.order[self.place + self.ahead[:n]], self.processes)
        self.place += n
        x = self.features[rows].to(self.device, non_blocking=True)
        given = {key: value for key, value in (("generator", self.generator), ("gather", gather)) if key in self.taken}
        with autocast(self.device, self.precision):
            losses = self.model.losses(x, **given)
        if self.optimizer is not None:
            self.optimizer.zero_grad(set_to_none=True)
            losses["loss"].backward()
            average_gradients(self.model.parameters(), self.processes)
            self.optimizer.step()
        for name, value in losses.items():
            if name not in self.sums:
                self.sums[name] = torch.zeros((), device=self.device)
            self.sums[name] += value.detach() * n

    def terms(self) -> dict[str, float]:
        """Every loss term, the mean over the tones in nats; the one place that waits for the device."""
        sums = torch.stack(list(self.sums.values())).tolist()
        return {name: total / len(self.order) for name, total in zip(self.sums, sums)}


class _Training:
    """A learner at work: its passes, its optimizer, its history, and what has been saved of it."""

    def __init__(self, learner: Learner, features: Tensor, *, device: torch.device, lr: float, **how: Any) -> None:
        model, resume = learner.model, learner.resume
        place(model, device)
        self.learner, self.lr = learner, lr
        self.optimizer = build_optimizer(model.parameter_groups(lr), device=device)
        self.training = Pass(model, features, len(learner.train_rows), device=device, optimizer=self.optimizer, **how)
        self.validation = Pass(model, features, len(learner.valid_rows), device=device, **how)
        # Validation in a random order too: neighbours in the file are neighbours in frequency, and a batch of them would
        # bias every estimate over a batch. The order and the noise are the same in every epoch, so that epochs differ by
        # their weights alone.
        shuffled = torch.randperm(len(learner.valid_rows), generator=self._drawn(0, VALIDATION_ORDER))
        self.valid_order = learner.valid_rows[shuffled]
        self.history: dict[str, list[float]] = {}
        self.epoch, self.best_epoch, self.best, self.best_loss = 0, 0, {}, math.inf
        if resume is not None:
            model.load_state_dict(resume.last)
            adopt_state(self.optimizer, resume.optimizer)
            self.history = {name: list(column) for name, column in resume.history.items()}
            self.epoch, self.best_epoch, self.best = resume.epoch, resume.best_epoch, resume.best
            self.best_loss = self.history["valid_loss"][self.best_epoch - 1]
        self.stands, self.saved_epoch = resume, self.epoch

    def _drawn(self, epoch: int, purpose: int) -> torch.Generator:
        return torch.Generator().manual_seed(stream(self.learner.seed, epoch, purpose))

    def start_training(self, epoch: int) -> None:
        rows = self.learner.train_rows
        order = draw_order(len(rows), self.learner.weights, generator=self._drawn(epoch, SHUFFLE))
        self.learner.model.train()
        if self.learner.pressure is not None:
            self.learner.model.pressure.fill_(self.learner.pressure(epoch))
        self.training.start(rows[order], seed=stream(self.learner.seed, epoch, NOISE))

    def start_validation(self) -> None:
        self.learner.model.eval()
        self.validation.start(self.valid_order, seed=stream(self.learner.seed, 0, VALIDATION))

    def finish_epoch(self, epoch: int) -> None:
        """Note the epoch's terms, or stop where one is not finite: what stands then is the epoch before."""
        trained, validated = self.training.terms(), self.validation.terms()
        problem = (
            spoilt_term(trained, phase="training")
            or spoilt_term(validated, phase="validation")
            or spoilt_state(self.learner.model, self.optimizer)
        )
        if problem:
            self.save()  # the epoch before was good
            raise MachineError(f"{problem} in epoch {epoch}; {self.what_is_saved()}; try a smaller --lr")
        row = {"epoch": epoch, "lr": self.lr}
        row |= {f"train_{name}": value for name, value in trained.items()}
        row |= {f"valid_{name}": value for name, value in validated.items()}
        row |= {"pressure": self.learner.pressure(epoch)} if self.learner.pressure is not None else {}
        row |= self.learner.score(epoch) if self.learner.score is not None else {}
        for name in dict.fromkeys([*self.history, *row]):  # a score that is not due in an epoch is NaN there
            self.history.setdefault(name, [math.nan] * (epoch - 1)).append(row.get(name, math.nan))
        last = _copied(self.learner.model.state_dict())
        if validated["loss"] < self.best_loss:
            self.best_loss, self.best_epoch, self.best = validated["loss"], epoch, last
        self.stands = Progress(
            epoch,
            self.best_epoch,
            last,
            self.best,
            _copied(self.optimizer.state_dict()),
            {name: list(column) for name, column in self.history.items()},
        )
        self.epoch = epoch

    def what_is_saved(self) -> str:
        if not self.saved_epoch:
            return f"no checkpoint {self.learner.name} was written yet"
        return f"the last good checkpoint is {self.learner.name} of epoch {self.saved_epoch}"

    def save(self) -> None:
        """Save the last whole epoch, where that is not done yet."""
        if self.saved_epoch < self.epoch:
            self.learner.save(self.stands)
            self.saved_epoch = self.epoch


def _copied(value: Any) -> Any:
    """A state dict whose tensors are copies, on the device on which they are."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def annealed_pressure(epoch: int, *, start: float, epochs: int) -> float:
    """The pressure in an epoch (the first is 1): `start` in the first, then falling by the same ratio every epoch, to 1 after
    `epochs` epochs. Under strong pressure a latent has to be worth much before it is used at all; as the pressure falls,
    latents come into use one after another, each for what explains most of what the others leave."""
    return start ** max(0.0, 1 - (epoch - 1) / epochs)


def draw_order(n_rows: int, weights: Tensor | None, *, generator: torch.Generator) -> Tensor:
    """The rows of one epoch, int64 (n_rows,): each once in a random order, or, with weights (n_rows,), as many drawn with
    replacement in proportion to them."""
    if weights is None:
        return torch.randperm(n_rows, generator=generator)
    edges = weights.double().cumsum(0)
    drawn = torch.rand(n_rows, generator=generator, dtype=torch.float64) * edges[-1]
    return torch.searchsorted(edges, drawn, right=True).clamp_max(n_rows - 1)


def train(
    learners: Sequence[Learner],
    features: Tensor,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    device: torch.device | None = None,
    precision: torch.dtype = torch.float32,
    save_seconds: float = 20.0,
    processes: Processes = ALONE,
    graphs: bool = True,
    on_epoch: Callable[[int, float], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Progress]:
    """Train up to `epochs` epochs and return where each run stands.

    Parameters
    ----------
    learners : of the same numbers of rows and at the same epoch; a step of each in turn
    features : (N, 1, M, L)
    batch_size : int, at least 2
    lr : float, of Adam
    device : where the models are; default: where the features are
    precision : torch.float32, or torch.bfloat16 for the networks' arithmetic; weights and terms stay in float32
    save_seconds : after the first epoch that ends so long or longer since the last save, and at the end, all are saved
    processes : those that train together, each with these same arguments
    graphs : on a GPU, capture the steps and replay them
    on_epoch : called after every epoch with its number and the seconds it took
    progress : called with the number of tones after every step

    Raises
    ------
    MachineError
        If a loss term, a weight or a gradient is not finite; names it, the epoch and the last good checkpoint, which is
        that of the epoch before.
    KeyboardInterrupt, syntone.errors.Terminated
        If SIGINT or SIGTERM arrives: the last whole epoch is saved first.
    """
    device = features.device if device is None else device
    how = {"device": device, "processes": processes, "precision": precision}
    work = [_Training(learner, features, lr=lr, **how) for learner in learners]
    graphs = graphs and features.device.type == device.type and processes.count == 1
    training_steps = Steps(
        [one.training.step for one in work], [one.training.generator for one in work], device, graphs=graphs
    )
    validation_steps = Steps(
        [one.validation.step for one in work], [one.validation.generator for one in work], device, graphs=graphs
    )
    epoch, saved_at = work[0].epoch, time.monotonic()
    try:
        for epoch in range(work[0].epoch + 1, epochs + 1):
            started = time.monotonic()
            for one in work:
                one.start_training(epoch)
            for n in batch_sizes(len(work[0].training.order), batch_size):
                training_steps(n)
                if progress is not None:
                    progress(n * len(work))
            with torch.no_grad():
                for one in work:
                    one.start_validation()
                for n in batch_sizes(len(work[0].validation.order), batch_size):
                    validation_steps(n)
            for one in work:
                one.finish_epoch(epoch)
            if epoch == epochs or time.monotonic() - saved_at >= save_seconds:
                for one in work:
                    one.save()
                saved_at = time.monotonic()
            if on_epoch is not None:
                on_epoch(epoch, time.monotonic() - started)
    except MachineError:  # one has diverged: the others keep what they have
        for one in work:
            one.save()
        raise
    except (KeyboardInterrupt, Terminated) as signal:
        for one in work:
            one.save()
        word = "terminated" if isinstance(signal, Terminated) else "interrupted"
        raise type(signal)(f"{word} in epoch {epoch}; {work[0].what_is_saved()}; give --resume to go on") from None
    return [one.stands for one in work]


def history_csv(history: dict[str, list[float]]) -> str:
    """The history as CSV, a row an epoch, every number with all its digits, NaN (a score that was not due) empty."""
    text = StringIO()
    text.write(",".join(history) + "\n")
    for row in zip(*history.values()):
        text.write(",".join("" if math.isnan(value) else repr(value) for value in row) + "\n")
    return text.getvalue()
