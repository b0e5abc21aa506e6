"""trainvae.py: what it writes, resumes, refuses and prints; options of models and front ends as flags."""

import csv
import functools
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import torch
from sandbox import GOOD, GRID

import create
import eval as evaluate_script
import models.vae
import trainvae
from models import MODELS, PAPERS_MODELS, VAE
from models.networks import Discriminator
from models.options import Option
from syntone.dataset import save_npz
from syntone.features.front_end import DEFAULTS, FrontEnd
from syntone.training import runs
from syntone.training.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]
SMALL = "--channels 8 8 --hidden 16 --n_mels 32 --batch_size 16 --device cpu".split()


@pytest.fixture(autouse=True)
def quick(request, monkeypatch):
    """A small discriminator, and curves in one test only: both take longer than the training."""
    monkeypatch.setattr(models.vae, "Discriminator", functools.partial(Discriminator, hidden=16))
    if "curves" not in request.node.name:
        monkeypatch.setattr(runs, "training_curves", lambda history, title: None)
        monkeypatch.setattr(runs, "png", lambda figure: b"")


@pytest.fixture
def flags(dataset_path, tmp_path):
    """The flags of a short run of a small network into a folder of its own."""

    def build(folder: str, *more) -> list[str]:
        return ["--dataset", str(dataset_path), "--output_dir", str(tmp_path / folder), *SMALL, *map(str, more)]

    return build


def test_the_papers_models_by_default_with_histories_and_curves(flags, tmp_path):
    assert trainvae.main(flags("a", "--epochs", 2)) == 0
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(
        f"{name}_seed0.{ending}" for name in PAPERS_MODELS for ending in ("pt", "csv", "png")
    )
    for name in PAPERS_MODELS:
        checkpoint = load_checkpoint(tmp_path / "a" / f"{name}_seed0.pt")
        assert checkpoint.epoch == 2 and checkpoint.model_config["latent_dim"] == 8
        assert len(checkpoint.train_rows) + len(checkpoint.valid_rows) == 72 and len(checkpoint.valid_rows) == 14
        lines = (tmp_path / "a" / f"{name}_seed0.csv").read_text().splitlines()
        assert lines[0].startswith("epoch,lr,train_loss,train_recon,train_kl") and len(lines) == 3
        assert float(lines[2].split(",")[2]) == checkpoint.history["train_loss"][1]  # every digit


def test_two_epochs_and_two_more_are_four_bit_for_bit(flags, tmp_path):
    every = ["--model", *MODELS, "--anneal_from", 9, "--anneal_epochs", 3]
    assert trainvae.main(flags("whole", "--epochs", 4, *every)) == 0
    assert trainvae.main(flags("parts", "--epochs", 2, *every)) == 0
    assert trainvae.main(flags("parts", "--epochs", 4, *every, "--resume")) == 0
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "parts" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_training_draws_from_the_correlated_distribution(flags, tmp_path):
    """The same tones, in a file with a correlation: all else being equal, the histories must differ."""
    path = tmp_path / "correlated.npz"
    assert create.main([*GRID, "--correlate", "amplitude", "frequency", "0.1", "--file_path", str(path)]) == 0
    assert trainvae.main(flags("plain", "--model", "VAE", "--epochs", 1)) == 0
    assert trainvae.main(flags("correlated", "--model", "VAE", "--epochs", 1, "--dataset", path)) == 0
    one, other = ((tmp_path / folder / "VAE_seed0.csv").read_text() for folder in ("plain", "correlated"))
    assert one != other


def test_seeds_differ_and_the_order_of_models_does_not_matter(flags, tmp_path):
    assert trainvae.main(flags("a", "--epochs", 1, "--model", "VAE", "BetaVAE", "--seeds", 0, 1)) == 0
    assert trainvae.main(flags("b", "--epochs", 1, "--model", "BetaVAE")) == 0
    a, other, b = (tmp_path / name for name in ("a/BetaVAE_seed0.pt", "a/BetaVAE_seed1.pt", "b/BetaVAE_seed0.pt"))
    assert a.read_bytes() == b.read_bytes()
    one, two = load_checkpoint(a), load_checkpoint(other)
    assert not torch.equal(one.train_rows, two.train_rows)
    assert any(not torch.equal(one.last[key], two.last[key]) for key in one.last)


def test_finished_is_left_alone_unfinished_or_different_is_refused(flags, tmp_path, capsys, refused):
    path = tmp_path / "a" / "VAE_seed0.pt"
    assert trainvae.main(flags("a", "--epochs", 2, "--model", "VAE")) == 0
    before = path.read_bytes()
    assert trainvae.main(flags("a", "--epochs", 2, "--model", "VAE")) == 0
    assert "left alone" in capsys.readouterr().out
    for more, pattern in [
        (["--epochs", 3], "has 2 of 3 epochs; give --resume"),
        (["--epochs", 1, "--resume"], "more than --epochs 1"),
        (["--epochs", 3, "--resume", "--anneal_epochs", 7], r"other options \(anneal_epochs 50, now 7\)"),
        (["--epochs", 2, "--features", "paper"], r"options \(kind logmel, now paper, smoothing 5.0, now 0.0\)"),
    ]:
        refused(trainvae.main, flags("a", "--model", "VAE", *more), pattern)
    assert path.read_bytes() == before
    assert trainvae.main(flags("a", "--epochs", 1, "--model", "VAE", "--overwrite")) == 0
    assert load_checkpoint(path).epoch == 1


@pytest.mark.parametrize("name", ["FactorVAE", "BTCVAE"])
def test_scores_while_training_change_no_weight(flags, tmp_path, name):
    plain = ["--epochs", 3, "--model", name]
    assert trainvae.main(flags("plain", *plain)) == 0
    assert trainvae.main(flags("watched", *plain, "--eval_every", 2, "--metrics", "mig", "sap")) == 0
    one, other = (load_checkpoint(tmp_path / folder / f"{name}_seed0.pt") for folder in ("plain", "watched"))
    assert all(torch.equal(value, other.last[key]) for key, value in one.last.items())
    assert all(one.history[key] == other.history[key] for key in one.history)
    head, *lines = (tmp_path / "watched" / f"{name}_seed0.csv").read_text().splitlines()
    assert head.split(",")[-3:] == ["active_latents", "score_MIG", "score_SAP"]
    assert [line.endswith(",,,") for line in lines] == [True, False, True]


def test_scores_while_training_are_those_of_eval(flags, tmp_path):
    assert trainvae.main(flags("a", "--epochs", 2, "--model", "VAE", "--eval_every", 2)) == 0
    path = tmp_path / "a" / "VAE_seed0.pt"
    argv = f"--model {path} --no_figures --device cpu --metrics mig modularity --baselines none"
    assert evaluate_script.main([*argv.split(), "--output_dir", str(tmp_path / "r")]) == 0
    history = load_checkpoint(path).history
    with open(tmp_path / "r" / "metrics.csv") as handle:
        rows = [
            row for row in csv.DictReader(handle) if row["factor"] == "all" and row["metric"] in ("MIG", "Modularity")
        ]
    assert {row["metric"]: float(row["value"]) for row in rows} == {
        name: history[f"score_{name}"][1] for name in ("MIG", "Modularity")
    }


def test_scores_that_are_not_defined_are_refused_before_training(flags, tmp_path, refused):
    one_latent = ["--epochs", 1, "--model", "VAE", "--latent_dim", 1, "--eval_every", 1]
    refused(
        trainvae.main, flags("a", *one_latent, "--metrics", "mig"), "mig is not defined for 3 varied factors, 1 latents"
    )
    assert not (tmp_path / "a").exists()
    assert trainvae.main(flags("a", *one_latent)) == 0
    history = load_checkpoint(tmp_path / "a" / "VAE_seed0.pt").history
    assert [key for key in history if key.startswith("score_")] == ["score_DCIMIG", "score_Modularity"]


def test_a_class_of_two_tones_is_scored_whatever_rows_are_drawn(tmp_path):
    """7,000 sounds, of which fitted scores take 5,000: for most seeds a random draw leaves one of the class or none."""
    rare, pitch = np.arange(7000) < 2, np.arange(7000) % 5
    wave = 0.5 * np.sin(2 * np.pi * (500 + 300 * pitch[:, None]) * np.arange(64) / 8000) * (1 - 0.5 * rare[:, None])
    factors = np.stack([rare, pitch], axis=1).astype(int)
    labels = {"factor_names": ["rare", "pitch"], "factor_kinds": ["nominal", "ordered"]}
    path = tmp_path / "rare.npz"
    save_npz(path, x=wave, factors=factors, factor_values=factors, sample_rate=8000, recipe={}, **labels)
    small = "--model VAE --epochs 1 --channels 4 --hidden 8 --n_mels 8 --batch_size 1000 --device cpu"
    argv = [*small.split(), "--dataset", str(path), "--output_dir", str(tmp_path), "--eval_every", "1"]
    assert trainvae.main([*argv, "--metrics", "sap", "explicitness"]) == 0
    history = load_checkpoint(tmp_path / "VAE_seed0.pt").history
    assert 0 <= history["score_SAP"][0] <= 1 and -1 <= history["score_Explicitness"][0] <= 1


def test_a_score_that_fails_leaves_the_epochs_before(flags, tmp_path, monkeypatch):
    codes = trainvae.encode

    def failing(*args, **how):
        failing.calls += 1
        if failing.calls == 3:
            raise ValueError("no such score")
        return codes(*args, **how)

    failing.calls = 0
    monkeypatch.setattr(trainvae, "encode", failing)
    with pytest.raises(ValueError, match="no such score"):
        trainvae.main(flags("a", "--model", "VAE", "--epochs", 5, "--eval_every", 1, "--save_seconds", 1000))
    assert load_checkpoint(tmp_path / "a" / "VAE_seed0.pt").epoch == 2


@pytest.mark.parametrize("count", ["2", "two", ""])
def test_several_processes_without_torchrun_are_refused_in_one_line(flags, monkeypatch, refused, count):
    monkeypatch.setenv("WORLD_SIZE", count)
    monkeypatch.delenv("RANK", raising=False)
    pattern = rf"WORLD_SIZE is '{count}' in the environment, .*RANK.*; start them with torchrun, or unset"
    refused(trainvae.main, flags("a", "--model", "VAE", "--epochs", 1), pattern)


def test_the_remaining_time_is_printed_after_the_first_epoch_of_each_run(flags, capsys):
    assert trainvae.main(flags("a", "--epochs", 3, "--model", "VAE", "BetaVAE")) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if "per epoch, about" in line]
    assert len(said) == 2 and "remaining 5 epochs" in said[0] and "remaining 2 epochs" in said[1]


def test_a_diverging_run_ends_in_one_line(world, refused, monkeypatch):
    """Codes that explode in the third epoch, as those of too large a learning rate do; the second stays."""
    argv = GOOD["trainvae.py"].split()
    assert trainvae.main([*argv, "--epochs", "2", "--output_dir", "good"]) == 0
    encode = VAE.encode

    def exploding(self, x):
        exploding.calls += self.training
        mu, logvar = encode(self, x)
        return mu * (1e30 if self.training and exploding.calls >= 3 else 1), logvar  # an epoch here is one step

    exploding.calls = 0
    monkeypatch.setattr(VAE, "encode", exploding)
    pattern = "in epoch 3; the last good checkpoint is new/VAE_seed0.pt of epoch 2; try a smaller learning rate"
    refused(trainvae.main, [*argv, "--epochs", "5"], pattern, status=1)
    good, left = (load_checkpoint(f"{folder}/VAE_seed0.pt") for folder in ("good", "new"))
    assert left.epoch == 2 and all(torch.equal(value, left.last[key]) for key, value in good.last.items())


@pytest.mark.parametrize(
    "number, status, word", [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_signals_save_the_last_whole_epoch(flags, tmp_path, number, status, word):
    """--save_seconds is far away, so what is there was saved by the signal."""
    argv = flags("a", "--model", "VAE", "--save_seconds", 1000, "--epochs", 100000)
    process = subprocess.Popen(
        [sys.executable, "trainvae.py", *argv], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert any("per epoch, about" in line for line in process.stdout)
    time.sleep(0.2)
    process.send_signal(number)
    _, err = process.communicate()
    path = tmp_path / "a" / "VAE_seed0.pt"
    epoch = load_checkpoint(path).epoch
    assert process.returncode == status and err.splitlines() == [
        f"trainvae.py: error: {word} in epoch {epoch + 1}; the last good checkpoint is {path} of epoch {epoch}; "
        f"resume the run to continue"
    ]
    if number == signal.SIGINT:
        assert trainvae.main(flags("a", "--model", "VAE", "--epochs", epoch + 1, "--resume")) == 0
        assert trainvae.main(flags("b", "--model", "VAE", "--epochs", epoch + 1)) == 0
        assert path.read_bytes() == (tmp_path / "b" / "VAE_seed0.pt").read_bytes()


# ---- flags ----


def test_options_reach_the_models_that_have_them(flags, tmp_path):
    assert trainvae.main(flags("a", "--epochs", 1, "--model", "VAE", "BTCVAE", "--beta", 2, "--sigma", 0.5)) == 0
    vae, btc = (load_checkpoint(tmp_path / "a" / f"{name}_seed0.pt").model_config for name in ("VAE", "BTCVAE"))
    assert (btc["beta"], btc["sigma"], btc["n_data"], btc["gamma"], btc["channels"]) == (2.0, 0.5, 58, 1.0, (8, 8))
    assert vae["sigma"] == 0.5 and "beta" not in vae


class MyVAE(VAE):
    def __init__(
        self,
        *args,
        power: Annotated[float, Option("exponent of the KL divergence", least=0.5, most=4)] = 1.0,
        beta: Annotated[float, Option("weight of the KL divergence", most=10)] = 3.0,
        centred=False,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.power, self.beta, self.centred = power, beta, centred

    def losses(self, x):
        return super().losses(x)

    def regularizer(self, z, mu, logvar, kl, *, generator):
        return self.beta * kl**self.power, {}


def test_the_options_of_a_users_own_model_are_flags(flags, tmp_path, monkeypatch, refused, capsys):
    monkeypatch.setitem(MODELS, "MyVAE", MyVAE)
    with pytest.raises(SystemExit):
        trainvae.parse_flags(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "exponent of the KL divergence (MyVAE: 1)" in text
    assert (
        "weight of the KL divergence (BetaVAE: 4, AdaGVAE: 1, MyVAE: 3); weight of the total correlation (BTCVAE: 6)"
        in text
    )
    mine = ["--model", "MyVAE", "--epochs", 1]
    assert trainvae.main(flags("a", *mine, "--power", 2, "--centred")) == 0
    config = load_checkpoint(tmp_path / "a" / "MyVAE_seed0.pt").model_config
    assert config.items() >= {"power": 2.0, "beta": 3.0, "centred": True, "hidden": 16, "latent_dim": 8}.items()
    refused(trainvae.main, flags("a", *mine, "--power", 5), "--power: expected a finite number from 0.5 to 4")
    refused(trainvae.main, flags("a", *mine, "--beta", 11), "--beta: 11.0 is out of range for MyVAE; give ")
    refused(trainvae.main, flags("a", "--model", "VAE", "--power", 2), "--power: none of VAE has it")


@pytest.mark.parametrize("kind", DEFAULTS)
def test_front_ends_of_the_command_are_those_of_the_library(flags, tmp_path, kind):
    argv = [
        word
        for word in flags("a", "--epochs", 1, "--model", "VAE", "--features", kind)
        if word not in ("--n_mels", "32")
    ]
    assert trainvae.main(argv) == 0
    found = load_checkpoint(tmp_path / "a" / "VAE_seed0.pt").front_end()
    assert found == FrontEnd(kind, sample_rate=8000, n_samples=4000)


@pytest.mark.parametrize(
    "more, pattern",
    [
        (["--model", "GAN"], "--model: invalid choice: 'GAN' .choose from .?VAE"),
        (["--model", "VAE", "VAE"], "--model: a value is given twice"),
        (["--model", "VAE", "--beta", "2"], "--beta: none of VAE has it"),
        (["--epochs", "0"], "--epochs: expected a whole number from 1 up"),
        (["--batch_size", "1"], "--batch_size: expected a whole number from 2 to"),
        (["--lr", "nan"], "--lr: expected a finite number above 0"),
        (["--sigma", "0"], "--sigma: expected a finite number from 1e-06 to 1e\\+06"),
        (["--beta", "-1"], "--beta: expected a finite number from 0 to 1e\\+09"),
        (["--channels", "8", "0"], "--channels: expected a whole number from 1"),
        (["--estimator", "mean"], "--estimator: invalid choice: 'mean'"),
        (["--seeds", "-1"], "--seeds: expected a whole number from 0 up"),
        (["--features", "mfcc"], "--features: invalid choice: 'mfcc'"),
        (["--features", "paper", "--smoothing", "5"], "--smoothing: none of paper has it"),
        (["--smoothing", "1001"], "--smoothing: expected a finite number from 0 to 1000"),
        (["--db_min", "10"], "db_min 10 is not below db_max 6"),
        (["--anneal_from", "1e10"], "--anneal_from: expected a finite number from 1e-06 to 1e\\+09"),
        (["--resume", "--overwrite"], "--overwrite: not allowed with argument --resume"),
        (["--metrics", "mig"], "--metrics: needs --eval_every"),
        (["--dataset", "nowhere.npz"], "--dataset: nowhere.npz is not a file; make one with create.py"),
    ],
)
def test_wrong_flags_are_refused_in_one_line(flags, tmp_path, refused, more, pattern):
    refused(trainvae.main, flags("a", *more), pattern)
    assert not (tmp_path / "a").exists()
