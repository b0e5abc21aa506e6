"""Recipes (JSON of all options that determine a dataset) and planned datasets."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from syntone.dataset.file import Blocks, write_members
from syntone.dataset.validation import LARGEST_SAMPLE
from syntone.errors import InputError


def same_recipe(one: str, other: str) -> bool:
    """Return whether two recipes have equal contents."""
    return one == other or json.loads(one) == json.loads(other)


@dataclass(frozen=True)
class Plan:
    """A dataset to be written.

    members : of the file; `x` is computed block by block during the write
    words : description of the sounds
    warnings : one line each, shown before the write
    findings : one line each, shown after the write, during which it is filled
    """

    members: dict[str, np.ndarray | Blocks]
    words: str
    warnings: list[str]
    findings: list[str] = field(default_factory=list)

    @property
    def n_bytes(self) -> int:
        """Size of the file without the directory of the zip."""
        return sum(256 + array.nbytes for array in self.members.values())


def write_plan(path: str | Path, plan: Plan, *, progress: Callable[[int], object]) -> list[str]:
    """Write a planned dataset; return warnings about its samples.

    Parameters
    ----------
    progress : called with the number of sounds in each block

    Raises
    ------
    InputError
        If a sample is beyond the range of `load_npz`. No file is written then.
    """
    x, peaks = plan.members["x"], []

    def watched() -> Iterator[np.ndarray]:
        for block in x.rows:
            progress(len(block))
            peaks.append(np.maximum(block.max(axis=1), -block.min(axis=1)))
            if not peaks[-1].max() <= LARGEST_SAMPLE:  # or NaN
                found = f"a sound has a peak of {peaks[-1].max():g}, above {LARGEST_SAMPLE:g}"
                raise InputError(f"{path}: {found}; choose smaller amplitudes or less noise")
            yield block

    write_members(path, plan.members | {"x": Blocks(x.shape, x.dtype, watched())})
    peak = np.concatenate(peaks)
    if n_loud := (peak > 1 + 1e-6).sum():
        found = f"{n_loud:,} sounds exceed full scale (largest peak {peak.max():.3f})"
        return [f"{found}; they are stored unchanged but clip in integer formats; scale them down"]
    return []
