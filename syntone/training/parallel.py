"""Several processes of torchrun that train one model.

Each process encodes and decodes its rows of a batch, exchanges the results and computes the loss of the whole batch.
Equal batches therefore give equal losses for any number of processes, and models need no code for it.
"""

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather

from syntone.errors import InputError, one_line


@dataclass(frozen=True)
class Processes:
    """Number of processes that train together, and the rank of this one."""

    count: int = 1
    rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0


ALONE = Processes()


@contextmanager
def joined_processes(device: torch.device) -> Iterator[Processes]:
    """Join the processes that torchrun started for the duration of the block; without torchrun, this one alone.

    Raises
    ------
    InputError
        If the environment announces several processes, but does not tell how they are joined.
    """
    count = os.environ.get("WORLD_SIZE", "1")
    if count == "1":
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except (ValueError, RuntimeError) as fault:
        raise InputError(
            f"WORLD_SIZE is {count!r} in the environment, but the processes cannot be joined "
            f"({one_line(fault)[:200]}); start them with torchrun, or unset WORLD_SIZE"
        ) from fault
    try:
        yield Processes(dist.get_world_size(), dist.get_rank())
    finally:
        dist.destroy_process_group()


def same_everywhere(value: object, processes: Processes) -> bool:
    """Return whether all processes hold an equal value, of plain types."""
    if processes.count == 1:
        return True
    values = [None] * processes.count
    dist.all_gather_object(values, value)
    return all(other == values[0] for other in values)


@contextmanager
def sharded(model: nn.Module, processes: Processes) -> Iterator[None]:
    """Share the work of encoder and decoder: in the block, each process computes its rows and receives all rows."""
    if processes.count == 1:
        yield
        return
    networks = (model.encoder, model.decoder)
    for network in networks:
        network.forward = _sharded_forward(network.forward, processes)  # hides the method of the class
    try:
        yield
    finally:
        for network in networks:
            del network.forward


def _sharded_forward(forward, processes: Processes):
    def compute(rows: Tensor) -> Tensor:
        parts = rows.tensor_split(processes.count)
        own = forward(parts[processes.rank]).to(rows.dtype)
        missing = len(parts[0]) - len(own)  # the first part is a largest one; collectives need equal shapes
        padded = torch.cat([own, own.new_zeros(missing, *own.shape[1:])])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch 2.13 has a new name, which torch 2.11 lacks
            gathered = all_gather(padded)
        return torch.cat([part[: len(rows)] for part, rows in zip(gathered, parts)])

    return compute


def average_gradients(parameters: Iterable[nn.Parameter], processes: Processes) -> None:
    """Replace every gradient by its mean over the processes, in one message.

    The gradient of gathered rows is the sum over the processes, so the mean is the gradient of one process alone.
    """
    if processes.count == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= processes.count
    for gradient, mean in zip(gradients, flat.split([gradient.numel() for gradient in gradients])):
        gradient.copy_(mean.view_as(gradient))
