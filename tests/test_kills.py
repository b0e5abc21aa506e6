"""SIGKILL at random moments: the same command once more gives the same bytes and leaves nothing else behind."""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sandbox import GOOD, ROOT, contents

from syntone.training import load_checkpoint

COMMANDS = {
    "create.py": "--sample_rate 16000 --freq_start 400 --num_freqs 50 --num_amps 10 --file_path out/new.npz",  # 128 MB
    "trainvae.py": f"{GOOD['trainvae.py']} --model VAE BTCVAE --epochs 3 --save_seconds 0 --resume --output_dir out",
    "eval.py": f"{GOOD['eval.py']} --output_dir out".replace("--no_figures", ""),
}


def start(script: str, words: str, folder: Path) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / script), *words.split()]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def check_kills(world: Path, script: str, *, n_kills: int, seed: int) -> None:
    """Kill a command once in each of n equal parts of the time that it takes, and run it again."""
    began = time.monotonic()
    assert start(script, COMMANDS[script], world).wait(timeout=300) == 0
    seconds = time.monotonic() - began
    expected = contents(world / "out")
    (world / "out").rename(world / "whole")
    draw, landed = random.Random(seed), 0
    while landed < n_kills:
        process = start(script, COMMANDS[script], world)
        time.sleep(seconds * (landed + draw.random()) / n_kills)
        process.kill()
        if process.wait() == 0:  # it was faster than the first time
            seconds *= 0.9
        else:
            landed += 1
            assert start(script, COMMANDS[script], world).wait(timeout=300) == 0
        assert contents(world / "out") == expected
        assert sorted(path.name for path in world.iterdir()) == ["checkpoints", "out", "text.txt", "tones.npz", "whole"]
        shutil.rmtree(world / "out")


def test_a_killed_creation_ends_in_the_same_bytes(world):
    check_kills(world, "create.py", n_kills=1, seed=0)


@pytest.mark.long
@pytest.mark.parametrize("script, n_kills", [("create.py", 10), ("trainvae.py", 8), ("eval.py", 6)])
def test_commands_killed_at_random_moments_end_in_the_same_bytes(world, script, n_kills):
    check_kills(world, script, n_kills=n_kills, seed=1)


def check_killed_training(world: Path, *, n_kills: int, seed: int) -> None:
    """Kill a training each time after it has written one more checkpoint."""
    words = f"{GOOD['trainvae.py']} --model FactorVAE --epochs 8 --save_seconds 0 --resume --output_dir"
    assert start("trainvae.py", f"{words} whole", world).wait(timeout=300) == 0
    draw, path = random.Random(seed), world / "killed" / "FactorVAE_seed0.pt"
    for _ in range(n_kills):
        before = path.stat().st_mtime_ns if path.exists() else 0
        process = start("trainvae.py", f"{words} killed", world)
        while not (path.exists() and path.stat().st_mtime_ns > before):
            assert process.poll() is None, "ended before there was anything to kill"
            time.sleep(0.01)
        time.sleep(draw.uniform(0.0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert load_checkpoint(path).epoch < 8
    assert start("trainvae.py", f"{words} killed", world).wait(timeout=300) == 0
    for name in ("FactorVAE_seed0.pt", "FactorVAE_seed0.csv"):
        assert (world / "whole" / name).read_bytes() == (world / "killed" / name).read_bytes()


def test_a_killed_training_resumes_to_the_same_bytes(world):
    check_killed_training(world, n_kills=1, seed=0)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_a_training_killed_three_times_resumes_to_the_same_bytes(world, seed):
    check_killed_training(world, n_kills=3, seed=seed)


@pytest.mark.parametrize(
    "number, status, word", [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_a_creation_in_one_line_and_leaves_nothing(tmp_path, number, status, word):
    command = [sys.executable, str(ROOT / "create.py"), "--file_path", "new/tones.npz"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()  # the size is printed before writing begins
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert [line for line in err.splitlines() if "warning" not in line] == [f"create.py: error: {word}"]
    assert list(tmp_path.iterdir()) == []
