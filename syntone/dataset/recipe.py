"""The recipe in a dataset file, JSON of every option that decides the file's contents, and datasets to be written."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from syntone.dataset.file import Blocks, write_members
from syntone.dataset.validation import LARGEST_SAMPLE
from syntone.errors import InputError


def same_recipe(one: str, other: str) -> bool:
    """Return whether two recipes ask for the same data."""
    return one == other or json.loads(one) == json.loads(other)


@dataclass(frozen=True)
class Plan:
    """A dataset to be written.

    members : of the file, `x` as blocks that are computed while they are written
    words : what the tones are, for a person
    warnings : lines for the user before anything is written
    """

    members: dict[str, np.ndarray | Blocks]
    words: str
    warnings: list[str]

    @property
    def n_bytes(self) -> int:
        """Size of the file, to within the zip's directory."""
        return sum(256 + array.nbytes for array in self.members.values())


def write_plan(path: str | Path, plan: Plan, *, progress: Callable[[int], object]) -> list[str]:
    """Write a planned dataset; return the warnings that need every sample.

    Parameters
    ----------
    progress : called with the number of tones in every block

    Raises
    ------
    InputError
        If a sample is beyond what `load_npz` reads; nothing is left then.
    """
    x, peaks = plan.members["x"], []

    def watched() -> Iterator[np.ndarray]:
        for block in x.rows:
            progress(len(block))
            peaks.append(np.maximum(block.max(axis=1), -block.min(axis=1)))
            if not peaks[-1].max() <= LARGEST_SAMPLE:  # also not a number
                found = f"a tone peaks at {peaks[-1].max():g}, at most {LARGEST_SAMPLE:g} is readable"
                raise InputError(f"{path}: {found}; choose smaller amplitudes or less noise")
            yield block

    write_members(path, plan.members | {"x": Blocks(x.shape, x.dtype, watched())})
    loud = np.concatenate(peaks)
    n_clipped = (loud > 1 + 1e-6).sum()
    message = (
        f"{n_clipped:,} tones exceed full scale, the loudest with a peak of {loud.max():.3f}: they are stored as they "
        f"are, but clip where samples end at 1; lower their level to avoid it"
    )
    return [message] if n_clipped else []
