"""Annealing: the factor on everything beside the reconstruction, and how it falls to 1."""

import pytest
import torch

import trainvae
from models import MODELS, build_model
from syntone.training.checkpoint import load_checkpoint
from syntone.training.loop import annealing_factor


def test_pressure_falls_by_one_ratio_from_its_start_to_one():
    seen = [annealing_factor(epoch, start=256.0, epochs=8) for epoch in range(1, 12)]
    assert seen == pytest.approx([256, 128, 64, 32, 16, 8, 4, 2, 1, 1, 1])
    assert [annealing_factor(epoch, start=1.0, epochs=8) for epoch in (1, 5, 9)] == [1, 1, 1]
    assert (
        annealing_factor(1, start=1 / 16, epochs=4) == 1 / 16 and annealing_factor(3, start=1 / 16, epochs=4) == 1 / 4
    )


@pytest.mark.parametrize("name", [name for name in MODELS if name != "CapacityVAE"])
def test_loss_is_reconstruction_and_pressure_times_the_rest(name):
    """In training; validation is always at an annealing factor of 1, so that epochs can be compared."""
    torch.manual_seed(0)
    model = build_model(name, input_shape=(1, 16, 8), **({"n_data": 100} if name == "BTCVAE" else {}))
    x = torch.rand(8, 1, 16, 8)

    def losses() -> dict:
        return model.losses(x, generator=torch.Generator().manual_seed(1))

    at_one = losses()
    rest = at_one["loss"] - at_one["recon"]
    model.annealing.fill_(50.0)
    torch.testing.assert_close(losses()["loss"], at_one["recon"] + 50 * rest, rtol=1e-5, atol=0)  # rest is a difference
    assert all(torch.equal(losses()[term], at_one[term]) for term in at_one if term != "loss")
    model.eval()
    torch.testing.assert_close(losses()["loss"], at_one["loss"], rtol=0, atol=0)


@pytest.mark.parametrize("anneal_from", [256.0, 1 / 16])
def test_capacity_grows_by_the_same_number_of_nats_every_epoch(anneal_from):
    """From 0 in the first epoch to all of it after the last annealed one (Burgess et al. 2018); gamma is constant."""
    torch.manual_seed(0)
    model = build_model("CapacityVAE", input_shape=(1, 16, 8), gamma=7.0, capacity=20.0, anneal_from=anneal_from)
    x = torch.rand(8, 1, 16, 8)
    for epoch, capacity in enumerate([0.0, 5.0, 10.0, 15.0, 20.0, 20.0], start=1):
        model.train().annealing.fill_(annealing_factor(epoch, start=anneal_from, epochs=4))
        found = {term: value.item() for term, value in model.losses(x).items()}
        assert found["capacity_gap"] == pytest.approx(abs(found["kl"] - capacity), rel=1e-5, abs=1e-5)
        assert found["loss"] == pytest.approx(found["recon"] + 7 * found["capacity_gap"], rel=1e-5)
        model.eval()
        assert model.losses(x)["capacity_gap"].item() == pytest.approx(20 - found["kl"], rel=1e-5)


@pytest.fixture
def train(tmp_path, dataset_path):
    def call(model: str, *more) -> dict:
        argv = (
            f"--dataset {dataset_path} --model {model} --output_dir {tmp_path} --channels 8 8 --hidden 16 --n_mels 32"
        )
        assert trainvae.main([*argv.split(), "--overwrite", *map(str, more)]) == 0
        return load_checkpoint(tmp_path / f"{model}_seed0.pt").history

    return call


def test_capacity_follows_the_schedule_of_the_command(train):
    """In the first epoch the capacity is 0 and the gap the KL itself."""
    found = train("CapacityVAE", "--anneal_from", 20, "--epochs", 1)
    assert found["train_capacity_gap"] == pytest.approx(found["train_kl"], rel=1e-4)
    assert found["valid_capacity_gap"] == pytest.approx([25 - found["valid_kl"][0]], rel=1e-4)


def test_the_history_holds_the_factor_and_only_training_uses_it(train):
    annealed = train("BetaVAE", "--epochs", 4, "--anneal_from", 100, "--anneal_epochs", 2)
    assert annealed["annealing"] == pytest.approx([100, 10, 1, 1])
    for phase in ("train", "valid"):
        terms = (annealed[f"{phase}_{term}"] for term in ("loss", "recon", "kl"))
        for loss, recon, kl, annealing in zip(*terms, annealed["annealing"]):
            assert loss == pytest.approx(recon + (annealing if phase == "train" else 1) * 4 * kl, rel=1e-5)


def test_a_large_factor_keeps_latents_unused(train):
    """A weight of 1e6 on the KL leaves nothing of it; without annealing a few epochs use latents."""
    network = ["--channels", 32, 64, 64, "--hidden", 256, "--n_mels", 128, "--epochs", 12]
    annealed = train("BetaVAE", *network, "--anneal_from", 1e6, "--anneal_epochs", 1000)
    free = train("BetaVAE", *network, "--anneal_from", 1)
    assert annealed["valid_kl"][-1] < 0.2 < 1 < free["valid_kl"][-1]


def test_a_run_that_ends_before_the_annealing_is_told_so(train, capsys):
    train("BetaVAE", "--epochs", 2, "--anneal_from", 100, "--anneal_epochs", 2)
    said = capsys.readouterr().out
    assert "the factor of the annealing is still 10 in the last epoch, 2" in said
    assert "give --anneal_epochs 1 or --anneal_from 1" in said
    train("BetaVAE", "--epochs", 2, "--anneal_from", 100, "--anneal_epochs", 1)
    assert "annealing is still" not in capsys.readouterr().out
