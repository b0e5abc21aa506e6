"""SIGKILL at random moments, from Python's start to the last rename: the same command once more ends in the same bytes, and
nothing else is left. A sample in `make test`, all in `make test-long`; trainings that are killed several times are in
test_faults.py."""

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from catalogue import GOOD, ROOT, contents
from conftest import counted

SOUNDS = "--sample_rate 16000 --freq_start 400 --num_freqs 50 --num_amps 10 --file_path out/new.npz"  # 128 MB
COMMANDS = {
    "create.py": SOUNDS,
    "trainvae.py": f"{GOOD['trainvae.py']} --model VAE BTCVAE --epochs 3 --save_seconds 0 --resume --output_dir out",
    "eval.py": f"{GOOD['eval.py']} --output_dir out".replace("--no_figures", "--figures_dir out/Figures"),
    "eval.py, tables": f"{GOOD['eval.py']} --output_dir out",
}
SHORT = {"create.py": 1, "eval.py, tables": 1}
LONG = {"create.py": 10, "trainvae.py": 8, "eval.py": 6}


def start(name: str, folder: Path) -> subprocess.Popen:
    script = name.split(",")[0]
    return subprocess.Popen(
        [sys.executable, str(ROOT / script), *COMMANDS[name].split()],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def check_kills(world: Path, name: str, *, n_kills: int, seed: int) -> None:
    """Kill a command at each of n moments, spread at random over the time that it takes, and let it run again."""
    began = time.monotonic()
    assert start(name, world).wait(timeout=300) == 0
    seconds = time.monotonic() - began
    expected = contents(world / "out")
    (world / "out").rename(world / "whole")
    draw, landed = random.Random(seed), 0
    while landed < n_kills:
        process = start(name, world)
        time.sleep(
            seconds * (landed + draw.random()) / n_kills
        )  # one moment in each n-th, so that no phase is left out
        process.kill()
        if process.wait() == 0:  # it was faster than the first time
            seconds *= 0.9
        else:
            landed += 1
            assert start(name, world).wait(timeout=300) == 0
        assert contents(world / "out") == expected
        assert sorted(path.name for path in world.iterdir()) == ["checkpoints", "out", "text.txt", "tones.npz", "whole"]
        shutil.rmtree(world / "out")
    counted["kills"] += landed


@pytest.mark.parametrize("name", SHORT)
def test_a_killed_command_ends_in_the_same_bytes(world, name):
    check_kills(world, name, n_kills=SHORT[name], seed=0)


@pytest.mark.long
@pytest.mark.parametrize("name", LONG)
def test_commands_killed_at_random_moments_end_in_the_same_bytes(world, name):
    check_kills(world, name, n_kills=LONG[name], seed=1)
