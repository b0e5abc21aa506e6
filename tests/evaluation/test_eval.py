"""eval.py by its command line, without figures: scores, aggregation over seeds, refusals. Figures: test_report.py."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import torch
from sandbox import GRID

import create
import eval as evaluate_script
import trainvae
from metrics import Check, evaluate, udr_per_model
from syntone.dataset.file import load_npz
from syntone.evaluation.codes import encode
from syntone.features.front_end import compute_features
from syntone.training.checkpoint import load_checkpoint, save_checkpoint

FAST = ["--metrics", "mig", "modularity", "--no_figures", "--device", "cpu", "--baselines", "none"]


@pytest.fixture(scope="module")
def trained(dataset_path, tmp_path_factory):
    """Checkpoints of a VAE with two seeds."""
    folder = tmp_path_factory.mktemp("checkpoints")
    flags = f"--output_dir {folder} --model VAE --seeds 0 1 --epochs 2 --batch_size 16 --device cpu"
    assert trainvae.main(["--dataset", str(dataset_path), *flags.split()]) == 0
    return folder


def run(folder, *paths, more=()) -> int:
    return evaluate_script.main(["--model", *map(str, paths), "--output_dir", str(folder), *FAST, *more])


@pytest.fixture(scope="module")
def evaluated(trained, tmp_path_factory):
    """Both seeds, evaluated together."""
    folder = tmp_path_factory.mktemp("evaluated")
    assert run(folder, trained / "VAE_seed0.pt", trained / "VAE_seed1.pt") == 0
    return folder


def read_rows(folder) -> list[dict[str, str]]:
    with open(folder / "metrics.csv") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture(scope="module")
def codes_of(trained, dataset_path):
    """Dataset, and checkpoint and codes of each seed, from Python."""
    dataset, found = load_npz(dataset_path), []
    for seed in (0, 1):
        checkpoint = load_checkpoint(trained / f"VAE_seed{seed}.pt")
        features = compute_features(dataset.x, checkpoint.front_end(), device=torch.device("cpu"))
        model = checkpoint.model().to(memory_format=torch.channels_last)
        found.append((checkpoint, encode(model, features)))
    return dataset, found


def test_scores_through_the_command_line_are_those_of_python(evaluated, codes_of):
    dataset, ((_, codes), _) = codes_of
    report = evaluate(
        factors=dataset.factors,
        codes=codes.codes,
        factor_kinds=dataset.factor_kinds,
        active=codes.active,
        metrics=["mig", "modularity"],
        seed=0,
    )
    rows = [row for row in read_rows(evaluated) if row["seed"] == "0"]
    found = {row["metric"]: row for row in rows if row["factor"] == "all"}
    assert set(report.scores) == {"MIG", "Modularity"}
    for metric, score in report.scores.items():
        for column in ("value", "floor", "ceiling"):
            assert float(found[metric][column]) == getattr(score, column)
    assert float(found["active latents"]["value"]) == codes.active.sum()
    assert {row["factor"] for row in rows if row["metric"] == "MIG"} == {"all", "timbre", "amplitude", "frequency"}


def test_reconstruction_error_is_of_the_validation_tones(evaluated, codes_of):
    dataset, ((checkpoint, _), _) = codes_of
    front_end, model = checkpoint.front_end(), checkpoint.model()
    x = front_end.features(torch.from_numpy(dataset.x[checkpoint.valid_rows.numpy()]))
    with torch.no_grad():
        x_hat = model.decode(model.encode(x)[0])
    expected = (front_end.to_db(x) - front_end.to_db(x_hat)).square().mean().sqrt().item()
    found = {(row["metric"], row["seed"]): float(row["value"]) for row in read_rows(evaluated)}
    error = found["reconstruction error (dB)", "0"]
    assert error == pytest.approx(expected, rel=1e-4)  # batches of another size round float32 sums differently


def test_seeds_are_aggregated_and_their_agreement_is_in_the_table(evaluated, codes_of):
    rows, table = read_rows(evaluated), (evaluated / "table.md").read_text()
    values = [float(row["value"]) for row in rows if (row["metric"], row["factor"]) == ("MIG", "all")]
    assert len(values) == 2 and f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f} [" in table
    assert "standard deviation over training seeds" in table and not (evaluated / "audio").exists()
    codes = [codes for _, codes in codes_of[1]]
    expected = udr_per_model(codes=[c.codes for c in codes], active=[c.active for c in codes])
    found = [float(row["value"]) for row in rows if row["metric"] == "UDR"]
    assert found == pytest.approx(expected.tolist(), abs=1e-12) and "| UDR " in table


def test_state_chooses_the_weights(trained, tmp_path):
    """Of a run whose best epoch is its first, the best and the last state give different codes."""
    checkpoint = load_checkpoint(trained / "VAE_seed0.pt")
    first = {name: 1.01 * value for name, value in checkpoint.last.items()}
    save_checkpoint(tmp_path / "a.pt", dataclasses.replace(checkpoint, best=first, best_epoch=1))
    found = {}
    for state in ("last", "best"):
        assert run(tmp_path / state, tmp_path / "a.pt", more=["--state", state]) == 0
        found[state] = json.loads((tmp_path / state / "metrics.json").read_text())
        assert found[state]["state"] == state and found[state]["metrics"] == FAST[1:3]
        assert found[state]["checkpoints"] == [str(tmp_path / "a.pt")]
    assert found["last"]["latents"][0]["kl_nats"] != found["best"]["latents"][0]["kl_nats"]


def test_a_diverged_model_is_refused(trained, tmp_path, refused):
    checkpoint = load_checkpoint(trained / "VAE_seed0.pt")
    diverged = {name: 1e30 * value for name, value in checkpoint.last.items()}
    save_checkpoint(tmp_path / "a.pt", dataclasses.replace(checkpoint, last=diverged))
    argv = ["--model", tmp_path / "a.pt", "--output_dir", tmp_path / "r", *FAST]
    refused(evaluate_script.main, argv, "codes are not finite: it has diverged")
    assert not (tmp_path / "r").exists()


def test_self_test_prints_expected_beside_obtained_and_exits_1_if_one_is_wrong(monkeypatch, capsys):
    good, bad = Check("perfect", "MIG", (1.0, 1.0), 1.0, True), Check("noise", "MIG", (0.0, 0.1), 0.9, False)
    monkeypatch.setattr(evaluate_script, "self_test", lambda *, seed: [good])
    assert evaluate_script.main(["--self_test"]) == 0
    monkeypatch.setattr(evaluate_script, "self_test", lambda *, seed: [good, bad])
    assert evaluate_script.main(["--self_test"]) == 1
    out = capsys.readouterr().out
    assert "| noise   | MIG   | [0.0000, 0.1000] | 0.9000   | WRONG |" in out and "2 checks, 1 wrong" in out


def test_a_dataset_of_another_recipe_is_refused_unless_asked_for(trained, tmp_path, capsys, refused):
    """The report names the dataset without its folder."""
    other = tmp_path / "other.npz"
    assert create.main([*GRID, "--amp_start", "0.3", "--file_path", str(other)]) == 0
    assert run(tmp_path / "r", trained / "VAE_seed0.pt", more=["--dataset", str(other)]) == 0
    assert "warning: " in (err := capsys.readouterr().err) and "another recipe" in err
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert "other.npz was made by another recipe" in page and str(tmp_path) not in page
    checkpoint = load_checkpoint(trained / "VAE_seed0.pt")
    save_checkpoint(tmp_path / "a.pt", dataclasses.replace(checkpoint, dataset_path=str(other)))
    argv = ["--model", tmp_path / "a.pt", "--output_dir", tmp_path / "r", *FAST]
    refused(evaluate_script.main, argv, "made by another recipe .* give --dataset")


def test_tones_of_another_length_are_refused(trained, tmp_path, refused):
    other = tmp_path / "other.npz"
    assert create.main([*GRID, "--duration", "0.25", "--file_path", str(other)]) == 0
    argv = ["--model", trained / "VAE_seed0.pt", "--dataset", other, *FAST]
    refused(evaluate_script.main, argv, "2000 samples at 8000 Hz, the checkpoint was trained on 4000")


@pytest.mark.parametrize(
    "argv, pattern",
    [
        (["--model", "nowhere.pt"], "nowhere.pt: no such file"),
        ([], "--model: nothing to evaluate is given"),
        (["--codes", "a.npz"], "--codes: the dataset of the codes is not given"),
        (["--codes", "a.npz", "--self_test"], "--self_test: cannot be combined with --codes"),
        (["--codes", "a.npz", "--dataset", "b.npz", "--write_codes"], "--write_codes: there is no checkpoint"),
        (["--codes", "a.npz", "--dataset", "b.npz", "--baselines", "untrained"], "untrained needs a checkpoint"),
        (["--model", "{vae}", "--baselines", "none", "pca"], "--baselines: none excludes the others"),
        (["--model", "{vae}", "--baselines", "lda"], "--baselines: invalid choice: 'lda'"),
        (["--model", "{vae}", "--features", "logmel"], "--features: the front end is that of the checkpoints"),
        (["--model", "{vae}", "--metrics", "migg"], "--metrics: invalid choice: 'migg'"),
        (["--model", "{vae}", "--state", "worst"], "--state: invalid choice: 'worst'"),
        (["--model", "{vae}", "{vae}"], "VAE with seed 0 was given before"),
        (["--model", "{vae}", "--output_dir", "{vae}"], "--output_dir: .* is a file"),
        (["--model", "{vae}", "--dataset", "nowhere.npz"], "nowhere.npz: no such file"),
        (["--model", "{csv}"], "not a checkpoint that can be read safely"),
    ],
)
def test_wrong_flags_are_refused_in_one_line(trained, tmp_path, monkeypatch, refused, argv, pattern):
    monkeypatch.chdir(tmp_path)
    names = {"vae": trained / "VAE_seed0.pt", "csv": trained / "VAE_seed0.csv"}
    refused(evaluate_script.main, [word.format(**names) for word in argv], pattern)


def test_checkpoints_that_differ_in_more_than_their_seed_are_refused(trained, tmp_path, refused):
    checkpoint = load_checkpoint(trained / "VAE_seed1.pt")
    save_checkpoint(tmp_path / "a.pt", dataclasses.replace(checkpoint, options=checkpoint.options | {"lr": 0.5}))
    argv = ["--model", trained / "VAE_seed0.pt", tmp_path / "a.pt", "--output_dir", tmp_path / "r", *FAST]
    refused(evaluate_script.main, argv, "they are not seeds of one model")
