"""The pressure on what stands beside the reconstruction, and its way down to 1."""

import math

import pytest
import torch

import trainvae
from models import MODELS, build_model
from syntone.training.checkpoint import load_checkpoint
from syntone.training.loop import annealed_pressure


def test_pressure_falls_by_one_ratio_from_its_start_to_one():
    seen = [annealed_pressure(epoch, start=256.0, epochs=8) for epoch in range(1, 12)]
    assert seen == pytest.approx([256, 128, 64, 32, 16, 8, 4, 2, 1, 1, 1])
    assert [annealed_pressure(epoch, start=1.0, epochs=8) for epoch in (1, 5, 9)] == [1, 1, 1]
    assert (
        annealed_pressure(1, start=1 / 16, epochs=4) == 1 / 16 and annealed_pressure(3, start=1 / 16, epochs=4) == 1 / 4
    )


@pytest.mark.parametrize("name", [name for name in MODELS if name != "CapacityVAE"])
def test_loss_is_reconstruction_and_pressure_times_the_rest(name):
    """In training; validation is always at pressure 1, so that epochs can be compared."""
    torch.manual_seed(0)
    model = build_model(name, input_shape=(1, 16, 8), **({"n_data": 100} if name == "BTCVAE" else {}))
    x = torch.rand(8, 1, 16, 8)

    def losses() -> dict:
        return model.losses(x, generator=torch.Generator().manual_seed(1))

    at_one = losses()
    rest = at_one["loss"] - at_one["recon"]
    model.pressure.fill_(50.0)
    torch.testing.assert_close(losses()["loss"], at_one["recon"] + 50 * rest, rtol=1e-5, atol=0)  # rest is a difference
    assert all(torch.equal(losses()[term], at_one[term]) for term in at_one if term != "loss")
    model.eval()
    torch.testing.assert_close(losses()["loss"], at_one["loss"], rtol=0, atol=0)


@pytest.mark.parametrize("anneal_from", [256.0, 1 / 16])
def test_capacity_grows_by_the_same_number_of_nats_every_epoch(anneal_from):
    """From 0 in the first epoch to all of it after the last that anneals (Burgess et al. 2018); its weight stays what it is."""
    torch.manual_seed(0)
    model = build_model("CapacityVAE", input_shape=(1, 16, 8), gamma=7.0, capacity=20.0, anneal_from=anneal_from)
    x = torch.rand(8, 1, 16, 8)
    for epoch, capacity in enumerate([0.0, 5.0, 10.0, 15.0, 20.0, 20.0], start=1):
        model.train().pressure.fill_(annealed_pressure(epoch, start=anneal_from, epochs=4))
        found = {term: value.item() for term, value in model.losses(x).items()}
        assert found["capacity_gap"] == pytest.approx(abs(found["kl"] - capacity), rel=1e-5, abs=1e-5)
        assert found["loss"] == pytest.approx(found["recon"] + 7 * found["capacity_gap"], rel=1e-5)
        model.eval()
        assert model.losses(x)["capacity_gap"].item() == pytest.approx(20 - found["kl"], rel=1e-5)


def test_capacity_follows_the_schedule_of_the_command(tmp_path, dataset_path):
    """The constructor is told where the pressure begins: in the first epoch the capacity is 0 and the gap the KL itself."""
    argv = [
        "--dataset",
        dataset_path,
        "--model",
        "CapacityVAE",
        "--anneal_from",
        20,
        "--epochs",
        1,
        "--output_dir",
        tmp_path,
    ]
    assert trainvae.main([str(word) for word in argv]) == 0
    found = load_checkpoint(tmp_path / "CapacityVAE_seed0.pt")
    assert found.model_config["anneal_from"] == 20
    assert found.history["train_capacity_gap"] == pytest.approx(found.history["train_kl"], rel=1e-4)
    assert found.history["valid_capacity_gap"] == pytest.approx([25 - found.history["valid_kl"][0]], rel=1e-4)


def test_pressure_is_no_part_of_the_state():
    model = build_model("VAE", input_shape=(1, 16, 8))
    assert not any("pressure" in key for key in model.state_dict())


@pytest.fixture
def train(tmp_path, dataset_path):
    def call(name: str, *more) -> dict:
        argv = ["--dataset", dataset_path, "--model", "BetaVAE", "--output_dir", tmp_path / name, *more]
        assert trainvae.main([str(word) for word in argv]) == 0
        return load_checkpoint(tmp_path / name / "BetaVAE_seed0.pt").history

    return call


def test_history_holds_the_pressure_and_training_feels_it(train):
    annealed = train("annealed", "--epochs", 4, "--anneal_from", 100, "--anneal_epochs", 2)
    assert annealed["pressure"] == pytest.approx([100, 10, 1, 1])
    for loss, recon, kl, pressure in zip(
        *(annealed[key] for key in ("train_loss", "train_recon", "train_kl", "pressure"))
    ):
        assert loss == pytest.approx(recon + pressure * 4 * kl, rel=1e-5)
    for loss, recon, kl in zip(*(annealed[key] for key in ("valid_loss", "valid_recon", "valid_kl"))):
        assert loss == pytest.approx(recon + 4 * kl, rel=1e-5)


def test_strong_pressure_keeps_latents_silent(train):
    """A weight of 1e6 on the KL leaves nothing of it; without annealing a few epochs use latents."""
    pressed = train("pressed", "--epochs", 12, "--anneal_from", 1e6, "--anneal_epochs", 1000)
    free = train("free", "--epochs", 12, "--anneal_from", 1)
    assert pressed["valid_kl"][-1] < 0.2 < 1 < free["valid_kl"][-1]


def test_a_run_that_goes_on_keeps_its_schedule(train, tmp_path):
    whole = train("whole", "--epochs", 4, "--anneal_from", 9, "--anneal_epochs", 2)
    train("parts", "--epochs", 1, "--anneal_from", 9, "--anneal_epochs", 2)
    parts = train("parts", "--epochs", 4, "--anneal_from", 9, "--anneal_epochs", 2, "--resume")
    assert parts == whole and math.isclose(whole["pressure"][1], 3)
    assert (tmp_path / "whole/BetaVAE_seed0.pt").read_bytes() == (tmp_path / "parts/BetaVAE_seed0.pt").read_bytes()


def test_another_schedule_is_another_run(train, tmp_path, dataset_path, refused):
    train("one", "--epochs", 1, "--anneal_from", 9, "--anneal_epochs", 2)
    refused(
        trainvae.main,
        [
            "--dataset",
            dataset_path,
            "--model",
            "BetaVAE",
            "--output_dir",
            tmp_path / "one",
            "--epochs",
            2,
            "--anneal_from",
            9,
            "--anneal_epochs",
            3,
            "--resume",
        ],
        "anneal_epochs 2, now 3",
    )


def test_a_run_that_ends_under_pressure_says_so(train, capsys):
    short = train("short", "--epochs", 2, "--anneal_from", 100, "--anneal_epochs", 2)
    said = capsys.readouterr().out
    assert short["pressure"][-1] == pytest.approx(10) and "in epoch 2, the last, the pressure is still 10," in said
    assert "give --anneal_epochs 1 or --anneal_from 1" in said
    assert train("whole", "--epochs", 2, "--anneal_from", 100, "--anneal_epochs", 1)["pressure"][-1] == 1
    train("steady", "--epochs", 2, "--anneal_from", 1)
    assert "pressure is still" not in capsys.readouterr().out
