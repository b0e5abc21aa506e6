"""Models that learn from pairs are marked in every table, also where their codes come from a file."""

import csv

import numpy as np
import pytest

import eval as evaluate_script
import trainvae

NAME = "AdaGVAE (pairs)"


@pytest.fixture(scope="module")
def trained(dataset_path, tmp_path_factory):
    """A folder with a small VAE and a small AdaGVAE, and the codes of both, written by eval.py."""
    folder = tmp_path_factory.mktemp("pairs")
    flags = "--model VAE AdaGVAE --epochs 1 --anneal_from 1 --latent_dim 3 --channels 4 4 --hidden 16 --device cpu"
    assert trainvae.main(["--dataset", str(dataset_path), "--output_dir", str(folder), *flags.split()]) == 0
    evaluate(folder, "--model", folder / "VAE_seed0.pt", folder / "AdaGVAE_seed0.pt", "--write_codes")
    return folder


def evaluate(folder, *more) -> None:
    argv = [*more, "--output_dir", folder, "--no_figures", "--baselines", "none", "--metrics", "mig"]
    assert evaluate_script.main(list(map(str, argv))) == 0


def names_in(folder) -> list[str]:
    """The models of the table, after a comparison with those of the CSV."""
    with open(folder / "metrics.csv", newline="") as file:
        found = dict.fromkeys(row["model"] for row in csv.DictReader(file))
    header = (folder / "table.md").read_text().splitlines()[0]
    assert [cell.strip() for cell in header.split("|")[2:-1]] == list(found)
    return list(found)


def test_the_table_marks_the_model_and_the_caption_states_its_pairs(trained):
    assert names_in(trained) == ["VAE", NAME]
    caption = (trained / "table.md").read_text()
    assert f"{NAME} learned from pairs of tones" in caption and "each pair differs in 1 factor." in caption
    assert "VAE learned from pairs" not in caption.replace("AdaGVAE", "")


@pytest.mark.parametrize("without_name", [False, True])
def test_codes_keep_the_mark(trained, dataset_path, tmp_path, without_name):
    """Also codes that a user saved as an array, of which the file name alone tells the model."""
    path = trained / "codes" / "AdaGVAE_seed0.npz"
    if without_name:
        path = tmp_path / "AdaGVAE_seed0.npy"
        np.save(path, np.load(trained / "codes" / "AdaGVAE_seed0.npz")["codes"])
    evaluate(tmp_path / "r", "--codes", path, "--dataset", dataset_path)
    assert names_in(tmp_path / "r") == [NAME]


def test_codes_of_a_checkpoint_that_is_given_too_are_refused(trained, tmp_path, refused):
    """Otherwise one seed would be counted twice in one column."""
    given = ["--model", trained / "AdaGVAE_seed0.pt", "--codes", trained / "codes" / "AdaGVAE_seed0.npz"]
    argv = [*given, "--output_dir", tmp_path / "r"]
    refused(evaluate_script.main, argv, r"a checkpoint is named AdaGVAE \(pairs\) too")
    assert not (tmp_path / "r").exists()
