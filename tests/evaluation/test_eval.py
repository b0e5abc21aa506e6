"""eval.py by its command line: every file of the contract, aggregation over seeds, a model of one's own, refusals."""

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from conftest import GRID
from scipy.io import wavfile

import create
import eval as evaluate_script
import trainvae
from metrics import Check, evaluate, udr_per_model
from models import MODELS, VAE
from syntone.dataset.file import load_npz
from syntone.evaluation import codes as evaluation
from syntone.features.front_end import compute_features
from syntone.training.checkpoint import load_checkpoint, save_checkpoint

pytestmark = pytest.mark.usefixtures("fewer_tones")
FAST = ["--metrics", "mig", "modularity", "--device", "cpu"]


class OwnVAE(VAE):
    """A user's own model: a KL that is paid for above two nats only."""

    def penalty(self, z, mu, logvar, kl, *, generator):
        excess = (kl - 2.0).relu()
        return excess, {"excess": excess}


@pytest.fixture(scope="module")
def trained(dataset_path, tmp_path_factory):
    """Checkpoints of all models and one more; VAE with two seeds."""
    folder = tmp_path_factory.mktemp("checkpoints")
    flags = [
        "--dataset",
        str(dataset_path),
        "--output_dir",
        str(folder),
        "--epochs",
        "2",
        "--batch_size",
        "16",
        "--device",
        "cpu",
    ]
    MODELS["OwnVAE"] = OwnVAE
    try:
        assert trainvae.main([*flags, "--model", *MODELS]) == 0
        assert trainvae.main([*flags, "--model", "VAE", "--seeds", "1"]) == 0
        yield folder
    finally:
        del MODELS["OwnVAE"]


def run_everything(trained, folder) -> None:
    """An evaluation with everything it writes, of a model of the paper and of one's own."""
    paths = [str(trained / f"{name}_seed0.pt") for name in ("BTCVAE", "OwnVAE")]
    argv = ["--model", *paths, "--output_dir", str(folder / "results"), "--figures_dir", str(folder / "Figures"), *FAST]
    assert evaluate_script.main(argv) == 0


@pytest.fixture(scope="module")
def evaluated(trained, tmp_path_factory, fewer_tones):
    folder = tmp_path_factory.mktemp("evaluated")
    run_everything(trained, folder)
    return folder


def test_every_file_of_the_contract_is_there_also_for_a_model_of_ones_own(evaluated):
    figures = {"Original_vs_Reconstructed.gif", "Generated_Samples.gif"}
    for name in ("BTCVAE", "OwnVAE"):
        figures |= {
            f"Original_vs_Reconstructed_{name}.png",
            f"Generated_sample_{name}.png",
            f"{name}_Latent_Space_Interpolation.png",
            f"{name}_Mutual_Information.png",
        }
        sounds = {path.name for path in (evaluated / "results" / "audio" / name).iterdir()}
        assert {"original_1.wav", "reconstruction_1.wav", "sample_1.wav", "sounds.csv"} <= sounds
        assert {f"traversal_z{j}.wav" for j in range(8)} <= sounds
    assert figures <= {path.name for path in (evaluated / "Figures").iterdir()}
    tables = {path.name for path in (evaluated / "results").iterdir() if path.is_file()}
    assert tables == {"metrics.csv", "metrics.json", "table.md", "table.tex", "report.html"}


def test_a_model_of_ones_own_is_in_every_table(evaluated):
    for name in ("metrics.csv", "metrics.json", "table.md", "table.tex", "report.html"):
        assert "OwnVAE" in (evaluated / "results" / name).read_text()


def read_rows(folder) -> list[dict[str, str]]:
    with open(folder / "metrics.csv") as handle:
        return list(csv.DictReader(handle))


def test_scores_through_the_command_line_are_those_of_python(evaluated, trained, dataset_path):
    checkpoint, dataset = load_checkpoint(trained / "BTCVAE_seed0.pt"), load_npz(dataset_path)
    features = compute_features(dataset.x, checkpoint.front_end(), device=torch.device("cpu"))
    codes = evaluation.encode(checkpoint.model(), features)
    report = evaluate(
        factors=dataset.factors,
        codes=codes.codes,
        factor_kinds=dataset.factor_kinds,
        active=codes.active,
        metrics=["mig", "modularity"],
        seed=0,
    )
    found = {
        row["metric"]: row
        for row in read_rows(evaluated / "results")
        if (row["model"], row["latents"], row["factor"]) == ("BTCVAE", "active", "all")
    }
    for metric, score in report.scores.items():
        for column in ("value", "floor", "ceiling"):
            assert float(found[metric][column]) == getattr(score, column)
    assert float(found["active latents"]["value"]) == codes.active.sum()


def test_reconstruction_error_is_of_the_validation_tones(evaluated, trained, dataset_path):
    checkpoint, dataset = load_checkpoint(trained / "BTCVAE_seed0.pt"), load_npz(dataset_path)
    front_end = checkpoint.front_end()
    x = front_end.features(torch.from_numpy(dataset.x[checkpoint.valid_rows.numpy()]))
    model = checkpoint.model()
    with torch.no_grad():
        x_hat = model.decode(model.encode(x)[0])
    expected = (front_end.to_db(x) - front_end.to_db(x_hat)).square().mean().sqrt().item()
    found = [
        float(row["value"])
        for row in read_rows(evaluated / "results")
        if row["metric"] == "reconstruction error (dB)" and row["model"] == "BTCVAE"
    ]
    assert found == [pytest.approx(expected, rel=1e-4)]  # batches of another size round float32 sums differently


def test_originals_sound_as_they_are(evaluated, dataset_path):
    dataset = load_npz(dataset_path)
    waves = np.array(dataset.x)
    for number in range(1, 5):
        sample_rate, wave = wavfile.read(evaluated / "results" / "audio" / "BTCVAE" / f"original_{number}.wav")
        assert sample_rate == dataset.sample_rate and (waves == wave).all(axis=1).sum() == 1


def test_scores_over_all_latents_are_written_too(evaluated):
    rows = read_rows(evaluated / "results")
    assert {row["latents"] for row in rows} == {"active", "all"}
    assert {row["factor"] for row in rows if row["metric"] == "MIG"} == {"all", "timbre", "amplitude", "frequency"}


def test_the_same_command_gives_the_same_files(evaluated, trained, tmp_path):
    run_everything(trained, tmp_path)
    for path in (evaluated / "results").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "results" / path.relative_to(evaluated / "results")).read_bytes()


def test_seeds_are_aggregated(trained, tmp_path, capsys):
    argv = [
        "--model",
        str(trained / "VAE_seed0.pt"),
        str(trained / "VAE_seed1.pt"),
        "--no_figures",
        "--output_dir",
        str(tmp_path),
        *FAST,
    ]
    assert evaluate_script.main(argv) == 0
    values = [
        float(row["value"])
        for row in read_rows(tmp_path)
        if (row["metric"], row["factor"], row["latents"]) == ("MIG", "all", "active")
    ]
    out = capsys.readouterr().out
    assert len(values) == 2 and f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f} [" in out
    assert "standard deviation over training seeds" in out and not (tmp_path / "audio").exists()


def test_seeds_agreement_is_in_the_table(trained, dataset_path, tmp_path, capsys):
    paths = [trained / f"VAE_seed{seed}.pt" for seed in (0, 1)]
    assert (
        evaluate_script.main(["--model", *map(str, paths), "--no_figures", "--output_dir", str(tmp_path), *FAST]) == 0
    )
    dataset, codes = load_npz(dataset_path), []
    for path in paths:
        checkpoint = load_checkpoint(path)
        features = compute_features(dataset.x, checkpoint.front_end(), device=torch.device("cpu"))
        codes.append(evaluation.encode(checkpoint.model().to(memory_format=torch.channels_last), features))
    expected = udr_per_model(codes=[c.codes for c in codes], active=[c.active for c in codes])
    found = [float(row["value"]) for row in read_rows(tmp_path) if row["metric"] == "UDR"]
    assert found == pytest.approx(expected.tolist(), abs=1e-12) and "| UDR " in capsys.readouterr().out


def test_state_chooses_the_weights(trained, tmp_path):
    """Of a run whose best epoch is its first, the best and the last state give different codes."""
    checkpoint = load_checkpoint(trained / "VAE_seed0.pt")
    first = {name: 1.01 * value for name, value in checkpoint.last.items()}
    save_checkpoint(tmp_path / "a.pt", dataclasses.replace(checkpoint, best=first, best_epoch=1))
    kl = {}
    for state in ("last", "best"):
        assert (
            evaluate_script.main(
                [
                    "--model",
                    str(tmp_path / "a.pt"),
                    "--state",
                    state,
                    "--no_figures",
                    "--output_dir",
                    str(tmp_path / state),
                    *FAST,
                ]
            )
            == 0
        )
        kl[state] = json.loads((tmp_path / state / "metrics.json").read_text())["latents"][0]["kl_nats"]
    assert kl["last"] != kl["best"]


def test_a_diverged_model_is_refused(trained, tmp_path, refused):
    checkpoint = load_checkpoint(trained / "VAE_seed0.pt")
    spoilt = {name: 1e30 * value for name, value in checkpoint.last.items()}
    save_checkpoint(tmp_path / "a.pt", dataclasses.replace(checkpoint, last=spoilt))
    refused(
        evaluate_script.main,
        ["--model", tmp_path / "a.pt", "--no_figures", "--output_dir", tmp_path / "r", *FAST],
        "codes are not finite: it has diverged",
    )
    assert not (tmp_path / "r").exists()


def test_the_paper_front_end_is_trained_and_evaluated(dataset_path, tmp_path):
    assert (
        trainvae.main(
            [
                "--dataset",
                str(dataset_path),
                "--output_dir",
                str(tmp_path),
                "--epochs",
                "1",
                "--model",
                "BTCVAE",
                "--features",
                "paper",
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    assert (
        evaluate_script.main(
            [
                "--model",
                str(tmp_path / "BTCVAE_seed0.pt"),
                "--output_dir",
                str(tmp_path / "results"),
                "--figures_dir",
                str(tmp_path / "Figures"),
                *FAST,
            ]
        )
        == 0
    )
    row = next(row for row in read_rows(tmp_path / "results") if row["metric"] == "reconstruction error (dB)")
    assert 0 < float(row["value"]) < 86 and (tmp_path / "Figures" / "Generated_sample_BTCVAE.png").exists()


def test_self_test_prints_expected_beside_obtained_and_exits_1_if_one_is_wrong(monkeypatch, capsys):
    good, bad = Check("perfect", "MIG", (1.0, 1.0), 1.0, True), Check("noise", "MIG", (0.0, 0.1), 0.9, False)
    monkeypatch.setattr(evaluate_script, "self_test", lambda *, seed: [good])
    assert evaluate_script.main(["--self_test"]) == 0
    monkeypatch.setattr(evaluate_script, "self_test", lambda *, seed: [good, bad])
    assert evaluate_script.main(["--self_test"]) == 1
    out = capsys.readouterr().out
    assert "| noise   | MIG   | [0.0000, 0.1000] | 0.9000   | WRONG |" in out and "2 checks, 1 wrong" in out


def test_a_dataset_of_another_recipe_is_refused_unless_asked_for(trained, tmp_path, capsys, refused):
    other = tmp_path / "other.npz"
    assert create.main([*GRID, "--amp_start", "0.3", "--file_path", str(other)]) == 0
    checkpoint = load_checkpoint(trained / "VAE_seed0.pt")
    moved = tmp_path / "moved.pt"
    shutil.copy(trained / "VAE_seed0.pt", moved)
    out = ["--output_dir", str(tmp_path / "r"), "--no_figures", *FAST]
    assert evaluate_script.main(["--model", str(moved), "--dataset", str(other), *out]) == 0
    assert "warning: " in (err := capsys.readouterr().err) and "another recipe" in err
    kept = tmp_path / "kept.npz"
    shutil.copy(checkpoint.dataset_path, kept)
    try:
        shutil.copy(other, checkpoint.dataset_path)
        refused(evaluate_script.main, ["--model", moved, *out], "made by another recipe .* give --dataset")
    finally:
        shutil.copy(kept, checkpoint.dataset_path)


def test_tones_of_another_length_are_refused(trained, tmp_path, refused):
    other = tmp_path / "other.npz"
    assert create.main([*GRID, "--duration", "0.25", "--file_path", str(other)]) == 0
    refused(
        evaluate_script.main,
        ["--model", trained / "VAE_seed0.pt", "--dataset", other, *FAST],
        "2000 samples at 8000 Hz, the checkpoint was trained on 4000",
    )


@pytest.mark.parametrize(
    "argv, pattern",
    [
        (["--model", "nowhere.pt"], "--model: nowhere.pt is no file"),
        ([], "--model: no checkpoint is given"),
        (["--model", "{vae}", "--metrics", "migg"], "--metrics: invalid choice: 'migg'"),
        (["--model", "{vae}", "--state", "worst"], "--state: invalid choice: 'worst'"),
        (["--model", "{vae}", "{vae}"], "VAE with seed 0 was given before"),
        (["--model", "{vae}", "--output_dir", "{vae}"], "--output_dir: .* is a file"),
        (["--model", "{vae}", "--dataset", "nowhere.npz"], "was trained on nowhere.npz, which is not there"),
        (["--model", "{csv}"], "not a checkpoint that can be read safely"),
    ],
)
def test_wrong_flags_are_refused_in_one_line(trained, tmp_path, refused, argv, pattern):
    names = {"vae": trained / "VAE_seed0.pt", "csv": trained / "VAE_seed0.csv"}
    refused(evaluate_script.main, [word.format(**names) for word in argv] or [], pattern)


def test_checkpoints_that_are_no_seeds_of_one_model_are_refused(trained, dataset_path, tmp_path, refused):
    assert (
        trainvae.main(
            [
                "--dataset",
                str(dataset_path),
                "--output_dir",
                str(tmp_path),
                "--epochs",
                "1",
                "--model",
                "VAE",
                "--seeds",
                "5",
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    refused(
        evaluate_script.main,
        ["--model", trained / "VAE_seed0.pt", tmp_path / "VAE_seed5.pt", *FAST],
        "are no seeds of one model|two are no seeds of one model",
    )


def test_json_says_what_was_evaluated(evaluated):
    document = json.loads((evaluated / "results" / "metrics.json").read_text())
    assert document["state"] == "last" and len(document["checkpoints"]) == 2
    assert document["metrics"] == FAST[1:3]
