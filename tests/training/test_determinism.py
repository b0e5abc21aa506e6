"""The same command twice gives the same bytes on the CPU, whatever else has been computed in between."""

from pathlib import Path

import pytest
import torch
from catalogue import GOOD, as_process, contents

import create
import eval as evaluate_script
import trainvae
from models import MODELS
from syntone.evaluation import media as showing


def test_dataset_and_another_process_agree(world):
    assert create.main(GOOD["create.py"].split()) == 0
    assert as_process("create.py", [*GOOD["create.py"].split(), "--file_path", "again.npz"])[0] == 0
    assert Path("new.npz").read_bytes() == Path("again.npz").read_bytes()


@pytest.mark.parametrize("name", MODELS)
def test_training_and_evaluation_are_equal_to_the_byte(world, name):
    """Checkpoint, history, curves and scores; the generator of torch stands elsewhere the second time."""
    found = []
    for folder in ("one", "two"):
        argv = [
            *GOOD["trainvae.py"].split(),
            "--model",
            name,
            "--epochs",
            "2",
            "--batch_size",
            "5",
            "--output_dir",
            "new",
        ]
        assert trainvae.main(argv) == 0
        argv = [
            *GOOD["eval.py"].split(),
            "--model",
            f"new/{name}_seed0.pt",
            "--metrics",
            "mig",
            "sap",
            "--output_dir",
            "new",
        ]
        assert evaluate_script.main(argv) == 0
        found.append(contents(Path("new")))
        Path("new").rename(folder)
        torch.rand(3)
    assert found[0] == found[1]
    assert found[0].keys() == {f"{name}_seed0.{ending}" for ending in ("pt", "csv", "png")} | {
        "metrics.csv",
        "metrics.json",
        "table.md",
        "table.tex",
        "report.html",
    }


def test_another_process_trains_the_same(world):
    argv = [*GOOD["trainvae.py"].split(), "--model", "FactorVAE", "--output_dir"]
    assert trainvae.main([*argv, "one"]) == 0
    assert as_process("trainvae.py", [*argv, "two"])[0] == 0
    assert contents(Path("one")) == contents(Path("two"))


def test_figures_and_sounds_are_equal_to_the_byte(world, monkeypatch):
    monkeypatch.setattr(showing, "N_FRAMES", 2)
    monkeypatch.setattr(showing, "N_STEPS", 2)
    argv = [word for word in GOOD["eval.py"].split() if word != "--no_figures"]
    for folder in ("one", "two"):
        assert evaluate_script.main([*argv, "--output_dir", folder, "--figures_dir", f"{folder}/Figures"]) == 0
    assert contents(Path("one")) == contents(Path("two")) and len(list(Path("one").rglob("*.wav"))) > 8


def test_another_seed_trains_another_model(world):
    """The test above would hold if nothing were computed."""
    assert trainvae.main([*GOOD["trainvae.py"].split(), "--seeds", "0", "1"]) == 0
    one, two = (torch.load(f"new/VAE_seed{seed}.pt", weights_only=True)["last"] for seed in (0, 1))
    assert any(not torch.equal(one[key], two[key]) for key in one)
