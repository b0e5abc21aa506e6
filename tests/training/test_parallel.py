"""Several processes train as one: torchrun on the CPU, and what it is made of."""

import csv
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import trainvae
from models import MODELS, build_model
from syntone.errors import InputError
from syntone.training import runs
from syntone.training.checkpoint import load_checkpoint
from syntone.training.loop import Settings, Split
from syntone.training.parallel import Processes, average_gradients, sharded

ROOT = Path(__file__).resolve().parents[2]


def flags_of(dataset_path, *more) -> list[str]:
    small = "--channels 8 8 --hidden 16 --n_mels 32 --batch_size 15 --device cpu"
    return ["--dataset", str(dataset_path), *small.split(), *map(str, more)]


def torchrun(script, *more) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script), *more],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )


def read(path: Path) -> dict[str, list[float]]:
    with open(path) as handle:
        rows = list(csv.DictReader(handle))
    return {key: [float(row[key]) for row in rows] for key in rows[0]}


def test_two_processes_train_as_one(tmp_path, dataset_path):
    """Equal batches give equal losses: 58 training tones in batches of 15 and 14, so that the parts are uneven too.

    Annealing is off: a factor of 500 also multiplies the rounding errors of the small terms.
    """
    flags = flags_of(dataset_path, "--model", *MODELS, "--anneal_from", "1")
    one, two = tmp_path / "one", tmp_path / "two"
    assert trainvae.main([*flags, "--epochs", "2", "--output_dir", str(one)]) == 0
    done = torchrun("trainvae.py", *flags, "--epochs", "2", "--output_dir", str(two))
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr.replace("torch/distributed/run", "")
    assert sorted(path.name for path in two.iterdir()) == sorted(path.name for path in one.iterdir())
    for name in MODELS:
        alone, together = read(one / f"{name}_seed0.csv"), read(two / f"{name}_seed0.csv")
        assert list(alone) == list(together)
        scale = max(alone["valid_loss"])  # terms near 0 are differences of larger ones: 1e-5 of the loss for them all
        for column in alone:
            assert together[column] == pytest.approx(alone[column], rel=1e-5, abs=1e-6 * scale), (name, column)
    more = ["--model", "BTCVAE", "--epochs", "3", "--resume"]  # one process continues what two began
    assert trainvae.main([*flags, *more, "--output_dir", str(two)]) == 0
    assert load_checkpoint(two / "BTCVAE_seed0.pt").epoch == 3


def gradients_of(name: str, processes: Processes) -> dict[str, torch.Tensor]:
    """The gradients of one step on 7 tones or pairs; Adam would hide a factor that they are all off by."""
    torch.manual_seed(0)
    more = {"n_data": 50} if name == "BTCVAE" else {}
    model = build_model(name, input_shape=(1, 32, 8), latent_dim=4, channels=(8, 8), hidden=16, **more)
    x = torch.rand((14 if model.needs_pairs else 7, 1, 32, 8), generator=torch.Generator().manual_seed(1))
    with sharded(model, processes):
        losses = model.losses(x, generator=torch.Generator().manual_seed(2))
    losses["loss"].backward()
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


def test_processes_print_an_error_once(tmp_path, dataset_path):
    """torch's own report follows."""
    done = torchrun("trainvae.py", *flags_of(dataset_path, "--model", "GAN", "--output_dir", tmp_path / "a"))
    assert done.returncode != 0 and done.stderr.count("trainvae.py: error: --model: invalid choice: 'GAN'") == 1


def test_processes_that_see_other_checkpoints_are_refused(tmp_path, dataset_path):
    """A folder of each process's own: the first has a checkpoint to continue from, the second has none."""
    flags = flags_of(dataset_path, "--model", "VAE")
    assert trainvae.main([*flags, "--epochs", "1", "--output_dir", str(tmp_path / "0")]) == 0
    before = (tmp_path / "0" / "VAE_seed0.pt").read_bytes()
    script = tmp_path / "own.py"
    script.write_text(
        "import os, sys\nimport trainvae\n"
        f"sys.exit(trainvae.main([*sys.argv[1:], '--output_dir', {str(tmp_path)!r} + '/' + os.environ['RANK']]))"
    )
    done = torchrun(script, *flags, "--epochs", "3", "--resume")
    assert done.returncode != 0 and "--output_dir: the processes see different checkpoints" in done.stderr
    assert (tmp_path / "0" / "VAE_seed0.pt").read_bytes() == before


def test_more_processes_than_tones_in_a_batch_are_refused(monkeypatch):
    run = SimpleNamespace(
        path="a.pt",
        first_epoch=1,
        resume=None,
        split=Split(torch.arange(10), torch.arange(3)),
        settings=Settings(batch_size=4),
    )
    monkeypatch.setattr(runs, "same_everywhere", lambda value, processes: True)
    runs.check_processes([run], Processes(3, 0))
    with pytest.raises(InputError, match="--batch_size: 4 processes cannot share a batch of 3 tones"):
        runs.check_processes([run], Processes(4, 0))
    pairs = SimpleNamespace(n_alone=0, fixed=None, valid=torch.zeros(2, 2))  # of 4 validation tones, 2 have a partner
    paired = SimpleNamespace(**vars(run) | {"split": Split(torch.arange(11), torch.arange(4), pairs=pairs)})
    with pytest.raises(InputError, match="3 processes cannot share a batch of 2 tones"):
        runs.check_processes([run, paired], Processes(3, 0))
