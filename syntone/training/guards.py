"""What is looked at once an epoch, so that a run that diverges says so and no step waits for the device."""

import math

import torch
from torch import nn


def spoilt_term(terms: dict[str, float], *, phase: str) -> str | None:
    """Which loss term is not finite, in words; None where all are. The term itself is named rather than the sum that it
    has spoiled."""
    bad = sorted((name for name, value in terms.items() if not math.isfinite(value)), key=lambda name: name == "loss")
    return f"{phase} term '{bad[0]}' became {terms[bad[0]]}" if bad else None


def spoilt_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> str | None:
    """Which weight, or which moment of its gradients, is not finite, in words; None where all are.

    Adam's moments remember every gradient: NaN and infinity stay in them, so one look at the end of an epoch sees a bad
    gradient of any of its steps. It also sees what no loss tells: the square of a gradient above 1.8e19 overflows in
    float32 and in bfloat16 alike, Adam divides by it, and the weight never moves again while the loss stays finite.
    """
    found = []
    for name, weight in model.named_parameters():
        found.append((f"weight '{name}'", weight.detach()))
        for key, moment in optimizer.state.get(weight, {}).items():
            if (
                torch.is_tensor(moment) and moment.shape == weight.shape
            ):  # not the count of steps, which lies on the CPU
                found.append((f"gradients of '{name}' (Adam's {key})", moment))
    finite = torch.stack([value.isfinite().all() for _, value in found]).tolist()
    return next((f"{what} overflowed" for (what, _), good in zip(found, finite) if not good), None)
