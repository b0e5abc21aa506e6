"""The same command twice gives the same bytes on the CPU, whatever else has been computed in between."""

from pathlib import Path

import torch
from sandbox import GOOD, as_process, contents

import create
import eval as evaluate_script
import trainvae
from syntone.evaluation import media as showing


def test_dataset_and_another_process_agree(world):
    assert create.main(GOOD["create.py"].split()) == 0
    assert as_process("create.py", [*GOOD["create.py"].split(), "--file_path", "again.npz"])[0] == 0
    assert Path("new.npz").read_bytes() == Path("again.npz").read_bytes()


def test_evaluation_is_equal_to_the_byte(world):
    """Scores and report; the generator of torch is in another state the second time."""
    argv = [*GOOD["eval.py"].split(), "--metrics", "mig", "sap", "--output_dir", "new"]
    found = []
    for folder in ("one", "two"):
        assert evaluate_script.main(argv) == 0
        found.append(contents(Path("new")))
        Path("new").rename(folder)
        torch.rand(3)
    assert found[0] == found[1]
    assert found[0].keys() == {"metrics.csv", "metrics.json", "table.md", "table.tex", "report.html"}


def test_another_process_trains_the_same(world):
    """Checkpoints, histories and curves."""
    names = ("FactorVAE", "BTCVAE")
    argv = [*GOOD["trainvae.py"].split(), "--epochs", "2", "--batch_size", "5", "--model", *names]
    assert trainvae.main([*argv, "--output_dir", "one"]) == 0
    assert as_process("trainvae.py", [*argv, "--output_dir", "two"])[0] == 0
    assert contents(Path("one")) == contents(Path("two"))
    assert contents(Path("one")).keys() == {
        f"{name}_seed0.{ending}" for name in names for ending in ("pt", "csv", "png")
    }


def test_figures_and_sounds_are_equal_to_the_byte(world, monkeypatch):
    monkeypatch.setattr(showing, "N_FRAMES", 2)
    monkeypatch.setattr(showing, "N_STEPS", 2)
    argv = [word for word in GOOD["eval.py"].split() if word != "--no_figures"]
    for folder in ("one", "two"):
        assert evaluate_script.main([*argv, "--output_dir", folder, "--figures_dir", f"{folder}/Figures"]) == 0
    assert contents(Path("one")) == contents(Path("two")) and len(list(Path("one").rglob("*.wav"))) > 8
