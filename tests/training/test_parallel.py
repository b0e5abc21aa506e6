"""Several processes train as one: torchrun on the CPU, and what it is made of."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import trainvae
from models import MODELS, build_model
from syntone.errors import InputError
from syntone.training import runs
from syntone.training.checkpoint import load_checkpoint
from syntone.training.parallel import Gather, Processes, average_gradients, spread

ROOT = Path(__file__).resolve().parents[2]


def read(path: Path) -> dict[str, list[float]]:
    with open(path) as handle:
        rows = list(csv.DictReader(handle))
    return {key: [float(row[key]) for row in rows] for key in rows[0]}


def test_two_processes_train_as_one(tmp_path, dataset_path):
    """Equal batches give equal losses: 58 training tones in batches of 15 and 14, so that the parts are uneven too."""
    flags = [
        "--dataset",
        str(dataset_path),
        "--epochs",
        "2",
        "--batch_size",
        "15",
        "--device",
        "cpu",
        "--model",
        *MODELS,
    ]
    assert trainvae.main([*flags, "--output_dir", str(tmp_path / "one")]) == 0
    subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node=2",
            "trainvae.py",
            *flags,
            "--output_dir",
            str(tmp_path / "two"),
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert sorted(p.name for p in (tmp_path / "two").iterdir()) == sorted(p.name for p in (tmp_path / "one").iterdir())
    for name in MODELS:
        one, two = (read(tmp_path / folder / f"{name}_seed0.csv") for folder in ("one", "two"))
        assert list(one) == list(two)
        scale = max(one["valid_loss"])  # terms near 0 are differences of larger ones: 1e-5 of the loss for them all
        for column in one:
            assert two[column] == pytest.approx(one[column], rel=1e-5, abs=1e-6 * scale), (name, column)


def gradients_of(name: str, processes: Processes) -> dict[str, torch.Tensor]:
    """The gradients of one step on a batch of 7 tones; Adam would hide a factor that they are all off by."""
    torch.manual_seed(0)
    model = build_model(
        name, **{"input_shape": (1, 32, 8), "latent_dim": 4} | ({"n_data": 50} if name == "BTCVAE" else {})
    )
    x = torch.rand((7, 1, 32, 8), generator=torch.Generator().manual_seed(1))
    rows, gather = spread(torch.arange(7), processes)
    model.losses(x[rows], generator=torch.Generator().manual_seed(2), gather=gather)["loss"].backward()
    average_gradients(model.parameters(), processes)
    return {key: parameter.grad for key, parameter in model.named_parameters()}


def save_gradients(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.save({name: gradients_of(name, Processes(2, rank)) for name in MODELS}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_gradients_of_two_processes_are_those_of_one(tmp_path):
    torch.multiprocessing.spawn(save_gradients, args=(str(tmp_path),), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for name in MODELS:
        for key, expected in gradients_of(name, Processes()).items():
            assert torch.equal(found[0][name][key], found[1][name][key])
            tolerance = 1e-5 * float(expected.abs().max())  # float32 sums in another order
            torch.testing.assert_close(found[0][name][key], expected, rtol=1e-4, atol=tolerance)


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
    flags = [
        "--dataset",
        str(dataset_path),
        "--model",
        "BTCVAE",
        "--batch_size",
        "16",
        "--device",
        "cpu",
        "--output_dir",
        str(tmp_path),
    ]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node=2",
            "trainvae.py",
            *flags,
            "--epochs",
            "1",
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    assert trainvae.main([*flags, "--epochs", "2", "--resume"]) == 0
    assert load_checkpoint(tmp_path / "BTCVAE_seed0.pt").epoch == 2


def test_processes_say_an_error_once(tmp_path, dataset_path):
    """torch's own report follows, which is not ours to shorten."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node=2",
            "trainvae.py",
            "--dataset",
            str(dataset_path),
            "--model",
            "GAN",
            "--output_dir",
            str(tmp_path / "a"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode != 0 and done.stderr.count("trainvae.py: error: --model: 'GAN' is unknown") == 1


def test_processes_that_see_other_checkpoints_are_refused(tmp_path, dataset_path):
    """A folder of each process's own: the first has a checkpoint to go on from, the second has none."""
    flags = ["--dataset", str(dataset_path), "--model", "VAE", "--batch_size", "16", "--device", "cpu"]
    assert trainvae.main([*flags, "--epochs", "1", "--output_dir", str(tmp_path / "0")]) == 0
    before = (tmp_path / "0" / "VAE_seed0.pt").read_bytes()
    script = tmp_path / "own.py"
    script.write_text(
        "import os, sys\nimport trainvae\n"
        f"sys.exit(trainvae.main([*sys.argv[1:], '--output_dir', {str(tmp_path)!r} + '/' + os.environ['RANK']]))"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node=2",
            str(script),
            *flags,
            "--epochs",
            "3",
            "--resume",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode != 0 and "--output_dir: the processes do not see the same checkpoints" in done.stderr
    assert (tmp_path / "0" / "VAE_seed0.pt").read_bytes() == before


def test_more_processes_than_tones_in_a_batch_are_refused():
    class Planned:
        path, first_epoch, resume = Path("a.pt"), 1, None
        train_rows, valid_rows = torch.arange(10), torch.arange(3)

    runs.check_processes([Planned], Processes(), batch_size=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "same_everywhere", lambda value, processes: True)
        runs.check_processes([Planned], Processes(3, 0), batch_size=4)
        with pytest.raises(InputError, match="--batch_size: 4 processes cannot share a batch of 3 tones"):
            runs.check_processes([Planned], Processes(4, 0), batch_size=4)
