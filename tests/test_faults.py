"""Killed runs: a sample in `make test`, more in `make test-long`."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import counted

from syntone.training.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parent.parent
N_SHORT = 2  # kills in `make test`: of a training and of a creation
N_LONG, N_EACH = 4, 3  # trainings in `make test-long`, and kills of each


def run_and_kill(arguments: list[str], *, seen: Callable[[], bool], after: float) -> None:
    """Start a script and kill it `after` seconds from the moment at which `seen` is true; it must still be running."""
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not seen():
        assert process.poll() is None, "ended before there was anything to kill"
        time.sleep(0.01)
    time.sleep(after)
    assert process.poll() is None, "ended before the kill"
    process.send_signal(signal.SIGKILL)
    process.wait()
    counted["kills"] += 1


def finish(arguments: list[str]) -> None:
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def check_killed_training(tmp_path: Path, dataset_path: Path, *, n_kills: int, seed: int) -> None:
    def command(folder: str) -> list[str]:
        return [
            "trainvae.py",
            "--dataset",
            str(dataset_path),
            "--model",
            "FactorVAE",
            "--epochs",
            "8",
            "--save_seconds",
            "0",
            "--device",
            "cpu",
            "--output_dir",
            str(tmp_path / folder),
            "--resume",
        ]

    finish(command("whole"))
    draw, path = random.Random(seed), tmp_path / "killed" / "FactorVAE_seed0.pt"
    for _ in range(n_kills):  # each run writes at least one checkpoint more, then dies before the last
        before = path.stat().st_mtime_ns if path.exists() else 0
        run_and_kill(
            command("killed"),
            seen=lambda: path.exists() and path.stat().st_mtime_ns > before,
            after=draw.uniform(0.0, 0.2),
        )
    assert load_checkpoint(path).epoch < 8
    finish(command("killed"))
    for ending in ("pt", "csv"):
        whole, killed = (tmp_path / folder / f"FactorVAE_seed0.{ending}" for folder in ("whole", "killed"))
        assert whole.read_bytes() == killed.read_bytes()


def test_a_killed_training_resumes_to_the_same_bytes(tmp_path, dataset_path):
    check_killed_training(tmp_path, dataset_path, n_kills=1, seed=0)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(N_LONG))
def test_a_training_killed_three_times_resumes_to_the_same_bytes(tmp_path, dataset_path, seed):
    check_killed_training(tmp_path, dataset_path, n_kills=N_EACH, seed=seed)


def test_a_killed_creation_never_leaves_a_part_under_its_name(tmp_path):
    path = tmp_path / "tones.npz"
    run_and_kill(["create.py", "--file_path", str(path)], seen=lambda: any(tmp_path.glob(".*.tmp")), after=0.3)
    assert not path.exists() and len(list(tmp_path.glob(".*.tmp"))) == 1
    small = [sys.executable, "create.py", "--num_freqs", "3", "--num_amps", "2", "--file_path", str(path)]
    subprocess.run(small, cwd=ROOT, check=True, capture_output=True)
    assert [file.name for file in tmp_path.iterdir()] == ["tones.npz"]  # and what it left is removed


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_creation_in_one_line_and_leave_nothing(tmp_path, number, status):
    process = subprocess.Popen(
        [sys.executable, "create.py", "--file_path", str(tmp_path / "tones.npz")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()  # the size is printed before writing begins
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == status
    assert [line for line in err.splitlines() if "warning" not in line] == [
        "create.py: error: " + {130: "interrupted", 143: "terminated"}[status]
    ]
    assert list(tmp_path.iterdir()) == []
