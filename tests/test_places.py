"""Places that cannot be written, full disks, files of other options, two runs: one line, and nothing is lost."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sandbox import GOOD, ROOT, as_process, check_refused, in_process


def good(script: str, *more: str) -> list[str]:
    return [*GOOD[script].split(), *more]


@pytest.mark.parametrize(
    "script, more, pattern",
    [
        (
            "create.py",
            ["--file_path", "text.txt/new.npz"],
            "--file_path: text.txt is a file, so text.txt/new.npz can",
        ),
        ("create.py", ["--file_path", "tones"], "--file_path: tones does not end in .npz; give tones.npz"),
        ("create.py", ["--file_path", "text.txt", "--overwrite"], "--file_path: text.txt does not end in .npz"),
        ("create.py", ["--file_path", "n" * 300 + ".npz"], "n{300}.npz: File name too long"),
        (
            "create.py",
            ["--file_path", "tones.npz", "--amp_end", "0.5"],
            "--file_path: tones.npz exists and was made",
        ),
        ("trainvae.py", ["--output_dir", "text.txt"], "--output_dir: text.txt is a file"),
        (
            "trainvae.py",
            ["--output_dir", "checkpoints", "--epochs", "3"],
            "checkpoints/VAE_seed0.pt: has 1 of 3",
        ),
        (
            "trainvae.py",
            ["--output_dir", "checkpoints", "--lr", "0.5"],
            "checkpoints/VAE_seed0.pt: was trained with",
        ),
        ("eval.py", ["--output_dir", "text.txt/below"], "--output_dir: text.txt is a file, so "),
        ("eval.py", ["--figures_dir", "text.txt"], "--figures_dir: text.txt is a file"),
    ],
)
def test_place_is_refused(world, capfd, script, more, pattern):
    check_refused(lambda: in_process(script, good(script, *more), capfd), script=script, pattern=pattern)


def test_a_process_refuses_as_main_does(world):
    argv = good("create.py", "--file_path", b"\xff\xfe")
    check_refused(
        lambda: as_process("create.py", argv), script="create.py", pattern=r"--file_path: \\udcff\\udcfe does"
    )


def test_a_path_that_is_not_unicode_is_written(world):
    status, err = as_process("create.py", good("create.py", "--file_path", b"\xff\xfe.npz"))
    assert status == 0 and "Traceback" not in err and os.path.exists(b"\xff\xfe.npz")


@pytest.mark.parametrize(
    "script, more, n_bytes, pattern",
    [
        ("create.py", ["--file_path", "tones.npz", "--amp_end", "0.5", "--overwrite"], 100_000, "tones.npz: "),
        (
            "trainvae.py",
            ["--output_dir", "checkpoints", "--epochs", "2", "--resume"],
            1_000_000,
            "checkpoints/VAE_seed0",
        ),
        ("eval.py", [], 1000, "new/"),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_everything(world, capfd, script, more, n_bytes, pattern):
    """No file may grow beyond n bytes. Python ignores the signal, so the write fails as on a full disk."""

    def run():
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
        try:
            return in_process(script, good(script, *more), capfd)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    check_refused(run, script=script, pattern=f"{pattern}.*File too large", status=1)


def test_the_second_of_two_runs_is_refused_and_the_first_goes_on(world, capfd):
    first = good("trainvae.py", "--epochs", "100000", "--save_seconds", "0")
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "trainvae.py"), *first], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 60
        while not Path("new/VAE_seed0.pt").exists():
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(signal.SIGSTOP)  # so that what it writes meanwhile is not taken for the second's
        check_refused(
            lambda: in_process("trainvae.py", good("trainvae.py"), capfd),
            script="trainvae.py",
            pattern="--output_dir: another run is writing new/VAE_seed0.pt",
        )
    finally:
        process.kill()
        process.wait()
    # the lock of a killed run holds nothing
    assert in_process("trainvae.py", good("trainvae.py", "--overwrite"), capfd)[0] == 0
    assert sorted(path.name for path in Path("new").iterdir()) == [f"VAE_seed0.{end}" for end in ("csv", "png", "pt")]
