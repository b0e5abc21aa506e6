"""Devices, processes and what depends on them: the only file that knows which hardware there is.

Under torchrun every process takes its rows of each batch and sees the codes of all: every process computes the loss of
the whole batch, and gradients are averaged. Equal batches therefore give equal losses, however many processes there are.
"""

import ctypes
import os
import platform
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from syntone.errors import InputError, MachineError


@dataclass(frozen=True)
class Processes:
    """How many processes train together and which of them this is."""

    count: int = 1
    rank: int = 0

    @property
    def writes(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0


ALONE = Processes()


def select_device(name: str) -> torch.device:
    """The device of that name; `auto` is cuda, then mps, then cpu, whichever is there first. Under torchrun each process
    of a machine takes a GPU of its own.

    Raises
    ------
    InputError
        If the device is not there.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, there in present.items() if there)
    if not present.get(name, False):
        raise InputError(
            f"--device: {name!r} is not available here; give one of "
            f"{', '.join(device for device, there in present.items() if there)}"
        )
    if name == "cuda":  # with its number, as tensors on it have
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return torch.device(name)


@contextmanager
def joined_processes(device: torch.device) -> Iterator[Processes]:
    """The processes that torchrun has started, joined for the duration of the block; this one alone without torchrun."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_world_size(), dist.get_rank())
    finally:
        dist.destroy_process_group()


def same_everywhere(value: object, processes: Processes) -> bool:
    """Whether all processes hold an equal value, of plain types."""
    if processes.count == 1:
        return True
    values = [None] * processes.count
    dist.all_gather_object(values, value)
    return all(other == values[0] for other in values)


class _GatherRows(torch.autograd.Function):
    """Rows of all processes in their order. Every process goes on with all rows, so each row's gradient is the sum of what
    the processes send back."""

    @staticmethod
    def forward(context, rows: Tensor, sizes: tuple[int, ...], rank: int) -> Tensor:
        context.sizes, context.rank = sizes, rank
        padded = rows.new_zeros((max(sizes), *rows.shape[1:]))  # collectives want equal shapes
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes)])

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor, None, None]:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total.split(context.sizes)[context.rank], None, None


@dataclass(frozen=True)
class Gather:
    """What a model needs to see a batch whose rows are spread over processes, `sizes` rows each."""

    sizes: tuple[int, ...]
    rank: int

    def __call__(self, rows: Tensor) -> Tensor:
        """(sizes[rank], ...) of this process -> (sum(sizes), ...) of all, differentiable."""
        return _GatherRows.apply(rows, self.sizes, self.rank)

    def own(self, rows: Tensor) -> Tensor:
        """(sum(sizes), ...) -> the rows of this process."""
        return rows.split(self.sizes)[self.rank]


def spread(batch: Tensor, processes: Processes) -> tuple[Tensor, Gather | None]:
    """This process's rows of a batch, and how to see the whole of it; None where there is one process."""
    if processes.count == 1:
        return batch, None
    parts = batch.tensor_split(processes.count)
    return parts[processes.rank], Gather(tuple(len(part) for part in parts), processes.rank)


def average_gradients(parameters: Iterable[nn.Parameter], processes: Processes) -> None:
    """Replace every gradient by its mean over the processes, in one message."""
    if processes.count == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= processes.count
    for gradient, mean in zip(gradients, flat.split([gradient.numel() for gradient in gradients])):
        gradient.copy_(mean.view_as(gradient))


def place(model: nn.Module, device: torch.device) -> nn.Module:
    """The model on the device, its weights laid out as the device's convolutions like them: on two cores channels_last
    takes 1.6 times the steps a second of the default layout."""
    if device.type in ("cuda", "cpu"):
        return model.to(device, memory_format=torch.channels_last)
    return model.to(device)


def build_optimizer(groups: list[dict], *, device: torch.device) -> torch.optim.Adam:
    """One Adam over all parameter groups, fused into one kernel where the device has it."""
    return torch.optim.Adam(groups, **_optimizer_flags(device))


def _optimizer_flags(device: torch.device) -> dict[str, bool]:
    # capturable: the step count lives on the GPU, so that a captured step can advance it
    return {"fused": device.type in ("cuda", "cpu"), "capturable": device.type == "cuda"}


def adopt_state(optimizer: torch.optim.Adam, state: dict) -> None:
    """Load a state that may have been saved on another kind of device, whose flags it carries."""
    device = optimizer.param_groups[0]["params"][0].device
    flags = _optimizer_flags(device)
    optimizer.load_state_dict({**state, "param_groups": [group | flags for group in state["param_groups"]]})


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager:
    """The context in which networks compute in that precision. Weights and loss terms stay in float32."""
    return nullcontext() if precision == torch.float32 else torch.autocast(device.type, dtype=precision)


def tune(device: torch.device) -> None:
    """Settings of the whole process that change speed but, on a CPU, not a bit of the result.

    On a GPU, float32 products of matrices go through TensorFloat-32, as convolutions do by torch's default. glibc is told
    to keep freed memory: it would hand every activation of over 128 KiB back to the system and have it zeroed page by
    page at the next step, which took a third of a step's time on two cores.
    """
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        warnings.filterwarnings("ignore", message=".*without CUDA graph capture")  # the first steps are meant to be
    if platform.libc_ver()[0] == "glibc":
        m_trim_threshold, m_mmap_threshold = -1, -3  # names and numbers of malloc.h
        libc = ctypes.CDLL(None)
        libc.mallopt(m_mmap_threshold, 32 * 2**20)  # the largest that glibc takes
        libc.mallopt(m_trim_threshold, 2**31 - 1)


class Steps:
    """Calls one step of several models, `steps(n)` with n tones each; on a GPU as one captured graph.

    A step of these small networks is a hundred kernels of a few microseconds, so a GPU would wait for Python most of the
    time. The first steps of every batch size are taken as they are, which sets up what is made on first use; the next is
    captured, and from then on replayed. Each model has a stream of its own, so that the kernels of several run side by
    side. A step is never run twice and no weight is touched by the capture, so the numbers are those of plain steps.

    Parameters
    ----------
    bodies : step(n) of each model; reads and writes only what stays in its place in memory, and never waits
    generators : of torch, one a model, from which its step draws
    graphs : False takes every step as it is
    """

    WARM_UP = 3

    def __init__(
        self,
        bodies: Sequence[Callable[[int], None]],
        generators: Sequence[torch.Generator],
        device: torch.device,
        *,
        graphs: bool = True,
    ) -> None:
        self.bodies, self.generators, self.device = bodies, generators, device
        self.captures = graphs and device.type == "cuda"
        self.streams = [torch.cuda.Stream(device) for _ in bodies] if self.captures else []
        self.taken: Counter[int] = Counter()
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}

    def __call__(self, n: int) -> None:
        if not self.captures:
            for body in self.bodies:
                body(n)
            return
        if n not in self.graphs:
            self.taken[n] += 1
            if (
                self.taken[n] <= self.WARM_UP
            ):  # in turn: what one model makes for all on first use is there for the next
                return self._side_by_side(n, in_turn=True)
            self.graphs[n] = self._captured(n)
        self.graphs[n].replay()

    def _side_by_side(self, n: int, *, in_turn: bool = False) -> None:
        here = torch.cuda.current_stream(self.device)
        for stream, body in zip(self.streams, self.bodies):
            stream.wait_stream(here)
            with torch.cuda.stream(stream):
                body(n)
            if in_turn:
                here.wait_stream(stream)
        for stream in self.streams:
            here.wait_stream(stream)

    def _captured(self, n: int) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        for generator in self.generators:
            graph.register_generator_state(generator)
        torch.cuda.synchronize(self.device)
        try:
            with torch.cuda.graph(graph):
                self._side_by_side(n)
        except RuntimeError as fault:
            raise MachineError(
                f"a training step could not be captured for the GPU ({str(fault).splitlines()[0]}); give --no_graphs"
            ) from fault
        return graph
