"""A small world of good files, and the check that a refusal leaves it untouched."""

import os
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import create
import eval as evaluate_script
import trainvae

ROOT = Path(__file__).resolve().parent.parent
GRID = (
    "--sample_rate 8000 --duration 0.5 --freq_start 500 --freq_end 3000 --num_freqs 6 --num_amps 3".split()
)  # 72 tones
MAINS = {"create.py": create.main, "trainvae.py": trainvae.main, "eval.py": evaluate_script.main}
# Commands that succeed in the world as it is; a case adds what spoils them, and of a flag given twice the last counts.
GOOD = {
    "create.py": "--sample_rate 8000 --duration 0.25 --freq_start 500 --freq_end 3000 --num_freqs 2 --num_amps 2 "
    "--file_path new.npz",
    "trainvae.py": "--dataset tones.npz --model VAE --epochs 1 --output_dir new --device cpu",
    "eval.py": "--model checkpoints/VAE_seed0.pt --metrics mig --no_figures --output_dir new --device cpu",
}
Outcome = tuple[int, str]  # exit status, standard error


def build_stock(folder: Path) -> None:
    """Make a dataset of 16 tones and a checkpoint of a VAE from inside the folder, so that all paths are relative."""
    assert create.main(f"{GOOD['create.py']} --file_path tones.npz".split()) == 0
    assert trainvae.main(f"{GOOD['trainvae.py']} --output_dir checkpoints".split()) == 0
    (folder / "text.txt").write_text("a file that is neither dataset nor checkpoint\n")


def copy_stock(stock: Path, world: Path) -> Path:
    """The stock once more, as links: what a script may replace it never changes in place."""
    shutil.copytree(stock, world, copy_function=os.link)
    return world


def contents(folder: Path) -> dict[str, int | None]:
    """Every file by its checksum, and every folder."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else zlib.crc32(path.read_bytes())
        for path in sorted(folder.rglob("*"))
    }


def in_process(script: str, argv: list[str], capfd) -> Outcome:
    capfd.readouterr()
    status = MAINS[script](argv)
    return status, capfd.readouterr().err


def as_process(script: str, argv: list[str | bytes], **how) -> Outcome:
    """Run a script by its command line in the current folder, as a user does."""
    found = subprocess.run(
        [sys.executable, str(ROOT / script), *argv],
        stderr=subprocess.PIPE,
        **{"stdout": subprocess.DEVNULL, "timeout": 120} | how,
    )
    return found.returncode, found.stderr.decode(errors="backslashreplace")


def check_refused(run: Callable[[], Outcome], *, script: str, pattern: str, status: int = 2) -> None:
    """A script's run from the current folder ends in that status and in one line, and leaves every file as it was.

    `pattern` must match right after `prog: error: `, so that it begins with the flag or the file that the line names.
    """
    before = contents(Path.cwd())
    found, err = run()
    lines = [line for line in err.splitlines() if f"{script}: warning: " not in line]
    assert "Traceback" not in err and len(lines) == 1, err
    assert re.match(rf"{re.escape(script)}: error: {pattern}", lines[0]), lines[0]
    assert found == status and lines[0].isprintable(), err  # no codes that a terminal obeys
    assert contents(Path.cwd()) == before
