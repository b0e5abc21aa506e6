"""Several processes train as one: torchrun on the CPU, and what it is made of."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import trainvae
from syntone.checkpoint import load_checkpoint
from syntone.runtime import Gather, Processes, spread

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("VAE", "BetaVAE", "FactorVAE", "BTCVAE")


def read(path: Path) -> dict[str, list[float]]:
    with open(path) as handle:
        rows = list(csv.DictReader(handle))
    return {key: [float(row[key]) for row in rows] for key in rows[0]}


def test_two_processes_train_as_one(tmp_path, dataset_path):
    """Equal batches give equal losses: 58 training tones in batches of 15 and 14, so that the parts are uneven too."""
    flags = ["--dataset", str(dataset_path), "--epochs", "2", "--batch_size", "15", "--device", "cpu"]
    assert trainvae.main([*flags, "--output_dir", str(tmp_path / "one")]) == 0
    subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "trainvae.py",
                    *flags, "--output_dir", str(tmp_path / "two")], cwd=ROOT, check=True, capture_output=True,
                   env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert sorted(p.name for p in (tmp_path / "two").iterdir()) == sorted(p.name for p in (tmp_path / "one").iterdir())
    for name in MODELS:
        one, two = (read(tmp_path / folder / f"{name}_seed0.csv") for folder in ("one", "two"))
        assert list(one) == list(two)
        scale = max(one["valid_loss"])  # terms near 0 are differences of larger ones: 1e-5 of the loss for them all
        for column in one:
            assert two[column] == pytest.approx(one[column], rel=1e-5, abs=1e-6 * scale), (name, column)


def test_one_process_sees_its_batch_as_it_is():
    batch = torch.arange(5)
    rows, gather = spread(batch, Processes())
    assert rows is batch and gather is None


@pytest.mark.parametrize("n, count", [(8, 2), (7, 2), (7, 3), (2, 3)])
def test_processes_share_a_batch_without_loss(n, count):
    batch = torch.arange(n)
    parts = [spread(batch, Processes(count, rank)) for rank in range(count)]
    assert torch.equal(torch.cat([rows for rows, _ in parts]), batch)
    for rank, (rows, gather) in enumerate(parts):
        assert gather == Gather(tuple(len(other) for other, _ in parts), rank)
        assert torch.equal(gather.own(batch), rows)


def test_checkpoint_of_two_processes_resumes_with_one(tmp_path, dataset_path):
    flags = ["--dataset", str(dataset_path), "--model", "BTCVAE", "--batch_size", "16", "--device", "cpu", "--output_dir",
             str(tmp_path)]
    subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "trainvae.py",
                    *flags, "--epochs", "1"], cwd=ROOT, check=True, capture_output=True)
    assert trainvae.main([*flags, "--epochs", "2", "--resume"]) == 0
    assert load_checkpoint(tmp_path / "BTCVAE_seed0.pt").epoch == 2
