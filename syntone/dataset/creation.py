"""What create.py is about to write: counted and described before anything is computed, then computed block by block."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from syntone.dataset.file import Blocks, dataset_members
from syntone.dataset.grid import BLOCK_BYTES, CACHE_BYTES, Grid, render, warnings_for
from syntone.files import WriteBehind

BASE_BYTES = 48 * 2**20  # Python and numpy themselves


@dataclass
class Loudness:
    """Counts tones beyond full scale as blocks pass."""

    n_clipped: int = 0
    peak: float = 0.0

    def count(self, block: np.ndarray) -> None:
        peaks = np.maximum(block.max(axis=1), -block.min(axis=1))
        self.n_clipped += int((peaks > 1 + 1e-6).sum())
        self.peak = max(self.peak, float(peaks.max()))


@dataclass(frozen=True)
class Plan:
    """A dataset to be written.

    recipe : every option
    n_tones, n_samples : shape of `x`
    words : what the tones are, for a person
    memory_bytes : what writing it takes at most, Python included
    warnings : lines for the user, before anything is written
    members_with : function of a counter of rows -> the file's members, `x` as blocks
    loudness : what has passed
    """

    recipe: dict
    n_tones: int
    n_samples: int
    words: str
    memory_bytes: int
    warnings: list[str]
    members_with: Callable[[Callable[[np.ndarray], None]], dict[str, np.ndarray | Blocks]]
    watch_level: bool = False
    loudness: Loudness = field(default_factory=Loudness)

    def members(self, *, progress: Callable[[int], object]) -> dict[str, np.ndarray | Blocks]:
        """The file's members in order; `progress` is called with the number of tones in every block of `x`."""

        def passed(block: np.ndarray) -> None:
            if self.watch_level:
                self.loudness.count(block)
            progress(len(block))

        return self.members_with(passed)

    def warnings_after(self) -> list[str]:
        """What can be said only when every sample has been seen."""
        if not self.loudness.n_clipped:
            return []
        return [
            f"{self.loudness.n_clipped:,} tones exceed full scale, the loudest with a peak of {self.loudness.peak:.3f}: "
            f"they are stored as they are, but clip where samples end at 1; a smaller --amp_end avoids it"
        ]


def counted(blocks: Iterable[np.ndarray], passed: Callable[[np.ndarray], None]) -> Iterator[np.ndarray]:
    for block in blocks:
        passed(block)
        yield block


def blocks_bytes(block_bytes: int) -> int:
    """Memory of all blocks that are there at a time: four wait to be written, one is written, one is computed; large ones
    do not wait, but the last one lives until the next is there."""
    return (6 if block_bytes < WriteBehind.WAIT_BYTES else 2) * block_bytes


def row_ranges(n: int, *, rows: int) -> Iterator[np.ndarray]:
    """The row numbers 0 .. n - 1 in consecutive pieces of at most `rows`."""
    for start in range(0, n, rows):
        yield np.arange(start, min(start + rows, n))


def plan_tones(grid: Grid, recipe: dict) -> Plan:
    """The plan of a grid of tones: its labels and waves come as blocks, so that no grid is too large for memory."""
    n = grid.n_tones

    def per_row(dtype, columns, compute):
        return Blocks((n, *columns), np.dtype(dtype), (compute(rows) for rows in row_ranges(n, rows=2**15)))

    def members(passed):
        k = (len(grid.factor_names),)
        return dataset_members(
            x=Blocks((n, grid.n_samples), np.dtype(np.float32), counted(render(grid), passed)),
            factors=per_row(np.int32, k, grid.levels),
            factor_values=per_row(np.float64, k, grid.physical),
            factor_names=grid.factor_names,
            factor_kinds=grid.factor_kinds,
            sample_rate=grid.sample_rate,
            recipe=recipe,
            y=per_row(np.int64, (), lambda rows: grid.levels(rows)[:, 0].astype(np.int64)),
            classes=grid.waveforms,
            freqs=per_row(np.float64, (), lambda rows: grid.physical(rows)[:, 2]),
            amps=per_row(np.float64, (), lambda rows: grid.physical(rows)[:, 1]),
        )

    words = [
        f"{len(grid.freqs)} frequencies",
        f"{len(grid.amps)} amplitudes",
        f"{len(grid.waveforms)} waveforms",
        *(f"{len(levels)} levels of {name}" for name, levels in grid.further),
    ]
    # one amplitude of one frequency, in float32 and on its way there in complex128, is the least that is computed whole
    smallest = 4 * len(grid.waveforms) * grid.n_samples
    memory = BASE_BYTES + blocks_bytes(max(BLOCK_BYTES, smallest)) + 64 * grid.n_samples
    memory += CACHE_BYTES if grid.further and not grid.draws else smallest
    return Plan(
        recipe=recipe,
        n_tones=n,
        n_samples=grid.n_samples,
        words=" x ".join(words),
        memory_bytes=memory,
        warnings=warnings_for(grid),
        members_with=members,
        watch_level=grid.may_clip,
    )
