"""List the files of an evaluation in metrics.json, so that the next evaluation can remove those it does not write.

A file whose content no longer has the listed digest is not removed.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

NAME, KEY = "metrics.json", "files"


def _place(path: Path) -> Path:
    """Resolve links of folders, but not of the file."""
    return path.parent.resolve() / path.name


def manifest(files: Mapping[Path, bytes | str], *, folder: Path) -> dict[str, str]:
    """Return the digest of every file by its path relative to the folder."""
    encoded = {path: text.encode("utf-8") if isinstance(text, str) else text for path, text in files.items()}
    root = folder.resolve()
    return {os.path.relpath(_place(path), root): hashlib.sha256(data).hexdigest() for path, data in encoded.items()}


def left_over(folder: Path, *, written: Iterable[Path], within: Iterable[Path], inputs: Iterable[Path]) -> list[Path]:
    """Return the files to remove: those listed in the folder's manifest that have not changed since.

    Parameters
    ----------
    written : files of the new evaluation, which are kept
    within : folders of the new evaluation; files outside them are kept, even if the manifest lists them
    inputs : files that the evaluation reads, which are kept
    """
    try:
        listed = json.loads((folder / NAME).read_bytes())[KEY].items()
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return []  # no manifest, or a file of another program
    kept, roots = set(map(_place, written)), [root.resolve() for root in within]
    read, found = [path for path in inputs if path.exists()], []
    for name, digest in listed:
        with suppress(OSError, ValueError):  # an invalid name, or a file that cannot be read
            path = _place(folder / name)
            if path in kept or not any(map(path.is_relative_to, roots)) or any(map(path.samefile, read)):
                continue
            is_file = path.is_file() and not path.is_symlink()
            if is_file and hashlib.sha256(path.read_bytes()).hexdigest() == digest:
                found.append(path)
    return found
