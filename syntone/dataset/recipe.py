"""The recipe in a dataset file: JSON that names every option which decides the file's contents."""

import json

FORMAT_VERSION = 1
GENERATOR_VERSION = 1


def recipe_of(options: dict) -> dict:
    """Return the recipe of synthesized tones: all their options, and the generator's version."""
    return {"generator": "create.py", "generator_version": GENERATOR_VERSION} | options


def recipe_text(recipe: dict) -> str:
    """Return the recipe as the JSON that a dataset file stores."""
    return json.dumps({"format_version": FORMAT_VERSION} | recipe, sort_keys=True, allow_nan=False)


def same_recipe(one: str, other: str) -> bool:
    """Return whether two recipes ask for the same data."""
    return one == other or json.loads(one) == json.loads(other)
