"""How much memory there is, how much a training would take, asked before any is taken, and how much was taken."""

import os
import platform
import resource
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from models import build_model
from syntone.errors import InputError

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container on Linux


def memory_bytes(device: torch.device) -> int:
    """All memory that the device has, free or not: what is more can never fit."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [Path(limit).read_text().strip() for limit in LIMITS if Path(limit).is_file()]
    return min([total, *[int(limit) for limit in limits if limit.isdigit()]])


def peak_memory() -> int:
    """The most bytes of main memory that this process has held at a time, pages of mapped files included."""
    with suppress(
        OSError, StopIteration
    ):  # Linux: what getrusage says includes what the parent held when it started this
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


def place_for(n_bytes: int, *, device: torch.device, limit: int) -> str:
    """Where features of so many bytes are kept: on the "device" where they leave it a third of what is free, else in main
    "memory" up to the limit, else in a "file"."""
    if device.type == "cuda" and n_bytes <= torch.cuda.mem_get_info(device)[0] * 2 // 3:
        return "device"
    if n_bytes > limit:
        return "file"
    return "memory" if device.type == "cuda" else "device"


def training_bytes(model_name: str, config: dict[str, Any], *, batch_size: int) -> int:
    """Bytes that weights, gradients, Adam's moments and what one step keeps for its backward pass take, at least.

    The step is gone through without memory, on torch's meta device, where tensors have shapes and no content.
    """
    kept = 0

    def note(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    with torch.device("meta"):
        model = build_model(model_name, **config)
        weights = sum(weight.numel() * weight.element_size() for weight in model.parameters())
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            model.losses(torch.empty(batch_size, *config["input_shape"]))
    return 4 * weights + kept


def check_training(model_name: str, config: dict[str, Any], *, batch_size: int, device: torch.device) -> None:
    """Refuse a training that the device's memory can never hold, before it is tried.

    Raises
    ------
    InputError
        Names the flags that decide, and the bytes.
    """
    try:
        wanted = training_bytes(model_name, config, batch_size=batch_size)
    except (
        NotImplementedError,
        RuntimeError,
        TypeError,
    ):  # a model of a user's own may look at values: then it is tried
        return
    there = memory_bytes(device)
    if wanted > there:
        raise InputError(
            f"--latent_dim, --hidden, --channels, --batch_size: {model_name} would take {wanted:,} bytes and "
            f"{device} has {there:,}; give smaller ones"
        )
