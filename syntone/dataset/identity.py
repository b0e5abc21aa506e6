"""The identity of a dataset, which is that of its contents: two files of one recipe may hold different sounds."""

import argparse
import functools
import json
from dataclasses import dataclass

import numpy as np

from syntone.dataset.file import Dataset
from syntone.dataset.grid import GENERATOR_VERSION, Grid, render_tone
from syntone.dataset.options import build_grid
from syntone.dataset.recipe import same_recipe
from syntone.dataset.splits import study

N_COMPARED = 100  # tones that are compared with those of the recipe
TOLERANCE = 1e-5  # between tones of two machines, in units of full scale, or of the largest amplitude beyond it


@dataclass(frozen=True)
class Identity:
    """What tells one dataset from another.

    recipe : of the file
    digest : checksum of every member that training and scores depend on, by its key
    synthesized : whether the file holds the tones that create.py makes from its recipe, see `follows_recipe`
    """

    recipe: str
    digest: dict[str, int]
    synthesized: bool

    def difference(self, other: "Identity") -> str | None:
        """Describe, as a predicate, how another dataset differs from this one; None if they are the same.

        Equal checksums are the same data. Other machines compute tones that differ in the last digits, so synthesized
        tones of one recipe are the same data too. Hold-outs and correlations decide what is trained on.
        """
        tones = self.synthesized and other.synthesized and same_recipe(self.recipe, other.recipe)
        if self.digest != other.digest and not tones:
            if not same_recipe(self.recipe, other.recipe):
                return "was made by another recipe"
            keys = [key for key in self.digest | other.digest if self.digest.get(key) != other.digest.get(key)]
            return f"has other contents ({', '.join(keys)})"
        return None if study(self.recipe) == study(other.recipe) else "has other hold-outs or correlations"


@functools.lru_cache(maxsize=4)
def identify(dataset: Dataset) -> Identity:
    return Identity(dataset.recipe, dataset.digest, follows_recipe(dataset))


def follows_recipe(dataset: Dataset) -> bool:
    """Return whether a file holds what create.py makes from its recipe on this machine.

    All labels must be equal and 100 tones, drawn from all rows, must agree to 1e-5. A recipe that was copied to other
    sounds, or is of recordings or of another version of the generator, is not followed.
    """
    grid = _grid_of(json.loads(dataset.recipe))
    if grid is None or (grid.n_tones, grid.n_samples) != dataset.x.shape or grid.sample_rate != dataset.sample_rate:
        return False
    if (grid.factor_names, grid.factor_kinds) != (dataset.factor_names, dataset.factor_kinds):
        return False
    rows = np.arange(grid.n_tones)
    if not np.array_equal(grid.levels(rows), dataset.factors):
        return False
    if not np.allclose(grid.physical(rows), dataset.factor_values, rtol=1e-9, atol=0):
        return False
    some = np.random.default_rng(0).permutation(rows)[:N_COMPARED]
    return all(
        np.abs(render_tone(grid, row, unit=grid.unit) - dataset.x[row]).max() <= TOLERANCE * max(1.0, *grid.amps)
        for row in some
    )


def _grid_of(recipe: dict) -> Grid | None:
    """Return the grid of a recipe of create.py, None for any other recipe."""
    if (recipe.get("generator"), recipe.get("generator_version")) != ("create.py", GENERATOR_VERSION):
        return None
    try:
        return build_grid(argparse.Namespace(**recipe))
    except (AttributeError, TypeError, ValueError, ArithmeticError):  # options are missing or of another type
        return None
