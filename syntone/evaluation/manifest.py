"""The files of the last evaluation in a folder, of which the next one removes those that it does not write again.

metrics.json lists them with their digests. What has another content by now is someone else's and stays.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

NAME, KEY = "metrics.json", "files"


def _place(path: Path) -> Path:
    return path.parent.resolve() / path.name


def manifest(files: Mapping[Path, bytes | str], *, folder: Path) -> dict[str, str]:
    """Return the digest of every file by its path relative to the folder."""
    found = {}
    for path, content in files.items():
        data = content.encode("utf-8") if isinstance(content, str) else content
        found[os.path.relpath(_place(path), folder.resolve())] = hashlib.sha256(data).hexdigest()
    return found


def left_over(folder: Path, *, written: Iterable[Path], within: Iterable[Path], inputs: Iterable[Path]) -> list[Path]:
    """Return the files to remove: those that the manifest in the folder lists and that are as they were written.

    Parameters
    ----------
    written : files of the new evaluation, which stay
    within : the folders that it writes to; nothing outside them is returned, whatever the manifest lists
    inputs : what the evaluation reads, which stays
    """
    try:
        listed = json.loads((folder / NAME).read_bytes())[KEY].items()
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []  # there is none, or it is of another program
    kept, roots = set(map(_place, written)), [root.resolve() for root in within]
    read = [path for path in inputs if path.exists()]

    def is_left_over(path: Path, digest: str) -> bool:
        if path in kept or not any(map(path.is_relative_to, roots)):
            return False
        if path.is_symlink() or not path.is_file() or any(map(path.samefile, read)):
            return False
        return hashlib.sha256(path.read_bytes()).hexdigest() == digest

    found = []
    for name, digest in listed:
        with suppress(OSError, ValueError):  # a name that cannot be, or a file that cannot be read
            path = _place(folder / name)
            found += [path] if is_left_over(path, digest) else []
    return found
