"""Baselines: the scores of scikit-learn's own lines, what they decode, and how they stand beside models and codes."""

import csv
import json

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA, FastICA

import eval as evaluate_script
import trainvae
from metrics import evaluate
from models import build_model
from syntone.dataset.file import load_npz
from syntone.evaluation.baselines import Affine, components
from syntone.evaluation.codes import reconstruct
from syntone.features.front_end import FrontEnd, compute_features
from syntone.training.checkpoint import load_checkpoint

QUICK = ["--metrics", "mig", "sap", "--no_figures", "--device", "cpu"]


@pytest.fixture(scope="module")
def checkpoint(dataset_path, tmp_path_factory):
    """A small VAE with five latents on 72 tones."""
    folder = tmp_path_factory.mktemp("checkpoints")
    flags = "--model VAE --epochs 1 --anneal_from 1 --latent_dim 5 --channels 4 4 --hidden 16 --device cpu"
    assert trainvae.main(["--dataset", str(dataset_path), "--output_dir", str(folder), *flags.split()]) == 0
    return folder / "VAE_seed0.pt"


@pytest.fixture(scope="module")
def pixels(checkpoint, dataset_path):
    """Flattened features of all tones, and the rows that the VAE was trained on."""
    found = load_checkpoint(checkpoint)
    features = compute_features(load_npz(dataset_path).x, found.front_end(), device=torch.device("cpu"))
    return features.flatten(1).numpy(), found.train_rows.numpy()


def rows_of(folder) -> dict[tuple, float | None]:
    with open(folder / "metrics.csv") as handle:
        rows = list(csv.DictReader(handle))
    return {
        (row["model"], row["metric"], row["factor"], column): float(row[column]) if row[column] else None
        for row in rows
        for column in ("value", "floor", "ceiling", "adjusted")
    }


def test_scores_are_those_of_two_lines_of_scikit_learn(checkpoint, dataset_path, pixels, tmp_path):
    argv = ["--model", str(checkpoint), "--output_dir", str(tmp_path), *QUICK]
    assert evaluate_script.main(argv) == 0
    found, (x, train), dataset = rows_of(tmp_path), pixels, load_npz(dataset_path)
    wide = x.astype(np.float64)
    for n, known in ((5, ""), (3, " = factors")):
        pca = PCA(n, svd_solver="randomized", random_state=0).fit(wide[train])
        white = PCA(n, whiten=True, svd_solver="randomized", random_state=0).fit(wide[train])
        ica = FastICA(whiten=False, fun="exp", tol=1e-8, max_iter=10000, random_state=0).fit(
            white.transform(wide[train])
        )
        for name, codes in (("PCA", pca.transform(x)), ("ICA", ica.transform(white.transform(x)))):
            active = codes.std(axis=0) > codes.std(axis=0).max() / 20
            report = evaluate(codes=codes, active=active, metrics=["mig", "sap"], **dataset.labels())
            for metric, score in report.scores.items():
                for column in ("value", "floor", "ceiling", "adjusted"):
                    expected = getattr(score, column)
                    assert found[f"baseline: {name} ({n}{known})", metric, "all", column] == pytest.approx(
                        expected, abs=1e-9
                    )
    header = (tmp_path / "table.md").read_text().splitlines()[0]
    names = [cell.strip() for cell in header.strip("|").split("|")][1:]
    linear = [f"baseline: {name} ({n})" for name in ("PCA", "ICA") for n in ("5", "3 = factors")]
    assert names == ["VAE", *linear]
    assert (tmp_path / "report.html").read_text().count('<th scope="col" class="baseline">') == 4


@pytest.mark.parametrize("kind", ["pca", "ica"])
def test_affine_is_the_estimator_both_ways(pixels, kind):
    x, train = pixels
    shape = (1, 128, x.shape[1] // 128)
    estimator = components(kind, 4).fit(x[train].astype(np.float64))
    model = Affine(estimator, shape=shape, n_components=4)
    features = torch.from_numpy(x).unflatten(1, shape)
    codes = estimator.transform(x)
    np.testing.assert_allclose(model.encode(features)[0].numpy(), codes, atol=1e-4)  # float32 sums over 1,000 pixels
    expected = np.clip(estimator.inverse_transform(codes), 0, 1)
    np.testing.assert_allclose(reconstruct(model, features).flatten(1).numpy(), expected, atol=1e-4)


def test_pca_error_is_that_of_the_dropped_components(checkpoint, dataset_path, pixels, tmp_path):
    """Of unclipped linear reconstructions; PCA and ICA span the same space. 86 dB are mapped to [0, 1]."""
    argv = ["--model", str(checkpoint), "--output_dir", str(tmp_path), *QUICK]
    assert evaluate_script.main(argv) == 0
    found, (x, train) = rows_of(tmp_path), pixels
    valid = np.setdiff1d(np.arange(len(x)), train)
    centred = x[train].astype(np.float64) - x[train].mean(axis=0)
    for n, words in ((5, "5"), (3, "3 = factors")):
        axes = np.linalg.svd(centred, full_matrices=False)[2][:n]
        rest = x[valid] - x[train].mean(axis=0)
        rest = rest - rest @ axes.T @ axes
        errors = [
            found[f"baseline: {name} ({words})", "reconstruction error (dB)", "all", "value"] for name in ("PCA", "ICA")
        ]
        assert errors[0] == pytest.approx(errors[1], rel=1e-3)
        assert errors[0] == pytest.approx(86 * np.sqrt((rest**2).mean()), rel=0.02)  # clipping reduces it a little


def test_untrained_is_the_encoder_before_its_first_step(checkpoint, dataset_path, pixels, tmp_path):
    argv = [
        "--model",
        str(checkpoint),
        "--baselines",
        "untrained",
        "descriptors",
        "--output_dir",
        str(tmp_path),
        *QUICK,
    ]
    assert evaluate_script.main(argv) == 0
    found, stored = rows_of(tmp_path), load_checkpoint(checkpoint)
    torch.manual_seed(stored.seed)
    model = build_model("VAE", **stored.model_config).eval()
    x = torch.from_numpy(pixels[0]).unflatten(1, stored.front_end().shape)
    with torch.no_grad():
        codes = model.encode(x)[0].numpy()
    report = evaluate(codes=codes, metrics=["mig"], **load_npz(dataset_path).labels())
    value = found["baseline: untrained VAE", "MIG", "all", "value"]
    assert value == pytest.approx(report.scores["MIG"].value, abs=0.02)  # a code on a bin edge may round to either side
    names = {model for model, *_ in found}
    assert names == {"VAE", "baseline: untrained VAE", "baseline: descriptors"}
    assert ("baseline: descriptors", "reconstruction error (dB)", "all", "value") not in found
    details = json.loads((tmp_path / "metrics.json").read_text())["latents"][-1]
    share = np.array(details["mutual_information_nats"]) / np.array(details["entropy_nats"])[:, None]
    k = details["factors"].index("frequency")
    assert details["model"] == "baseline: descriptors" and share[k, 0] > 0.9  # the fundamental frequency


def test_baselines_of_codes_alone_use_the_given_front_end_and_the_same_split(dataset_path, pixels, tmp_path):
    dataset = load_npz(dataset_path)
    np.savez(tmp_path / "mine.npz", codes=dataset.factors.astype(np.float32))
    argv = ["--codes", tmp_path / "mine.npz", "--dataset", dataset_path, "--output_dir", tmp_path / "r", *QUICK]
    argv += ["--features", "gainshape", "--baselines", "pca"]
    assert evaluate_script.main([str(word) for word in argv]) == 0
    front_end = FrontEnd("gainshape", dataset.sample_rate, dataset.x.shape[1])
    x = compute_features(dataset.x, front_end, device=torch.device("cpu")).flatten(1).numpy()
    pca = PCA(3, svd_solver="randomized", random_state=0).fit(x[pixels[1]].astype(np.float64))  # seed 0, as trainvae.py
    report = evaluate(codes=pca.transform(x), metrics=["mig"], **dataset.labels())
    found = rows_of(tmp_path / "r")
    assert found["baseline: PCA (3 = factors)", "MIG", "all", "value"] == report.scores["MIG"].value
    assert found["mine", "MIG", "all", "adjusted"] == 1.0  # the factors themselves


def test_written_codes_give_the_same_scores_to_the_bit(checkpoint, dataset_path, tmp_path):
    every = ["--device", "cpu", "--baselines", "none", "--no_figures"]
    assert (
        evaluate_script.main(["--model", str(checkpoint), "--output_dir", str(tmp_path / "a"), "--write_codes", *every])
        == 0
    )
    written = tmp_path / "a" / "codes" / "VAE_seed0.npz"
    assert "codes/VAE_seed0.npz" in json.loads((tmp_path / "a" / "metrics.json").read_text())["files"]
    argv = ["--codes", str(written), "--dataset", str(dataset_path), "--output_dir", str(tmp_path / "b")]
    assert evaluate_script.main([*argv, *every]) == 0
    first, second = rows_of(tmp_path / "a"), rows_of(tmp_path / "b")
    decoded = {key for key in first if key[1].startswith(("controllability", "reconstruction error"))}
    assert decoded and second == {key: value for key, value in first.items() if key not in decoded}
    page = (tmp_path / "b" / "report.html").read_text()
    assert "need a decoder" in page and "Training seed" not in page


def test_codes_stand_beside_a_model_and_agree_over_seeds(checkpoint, dataset_path, tmp_path):
    levels, rng = load_npz(dataset_path).factors, np.random.default_rng(0)
    for seed in (0, 1):
        np.save(
            tmp_path / f"mine_seed{seed}.npy", levels @ np.diag([1.0, 2.0, 3.0]) + 0.01 * rng.normal(size=levels.shape)
        )
    argv = ["--model", checkpoint, "--codes", *sorted(tmp_path.glob("*.npy")), "--output_dir", tmp_path / "r"]
    flags = ["--metrics", "mig", "--device", "cpu", "--baselines", "none"]
    assert evaluate_script.main([*map(str, argv), *flags]) == 0
    lines = (tmp_path / "r" / "table.md").read_text().splitlines()
    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines[:-2]}
    assert cells["metric"] == ["VAE", "mine"] and cells["training seeds"] == ["1", "2"]
    assert cells["UDR"][0] == "–" and float(cells["UDR"][1].split()[0]) > 0.8
    drawn = {path.name for path in (tmp_path / "r" / "Figures").glob("mine*")}
    assert drawn == {"mine_Mutual_Information.png"} and not (tmp_path / "r" / "audio" / "mine").exists()


def test_fitted_metrics_of_many_columns_are_computed_on_request_only(dataset_path, tmp_path):
    codes = np.random.default_rng(0).normal(size=(len(load_npz(dataset_path)), 65))
    np.save(tmp_path / "wide.npy", codes)
    argv = ["--codes", tmp_path / "wide.npy", "--dataset", dataset_path, "--output_dir", tmp_path / "r", "--no_figures"]
    argv = [*map(str, argv), "--baselines", "none"]
    assert evaluate_script.main(argv) == 0
    metrics = {metric for _, metric, *_ in rows_of(tmp_path / "r")}
    assert "MIG" in metrics and not any(name.startswith(("DCI ", "Explicitness", "InfoMEC")) for name in metrics)
    assert "are not computed for more than 64 active latents" in (tmp_path / "r" / "table.md").read_text()
    assert evaluate_script.main([*argv, "--metrics", "explicitness"]) == 0
    assert ("wide", "Explicitness", "all", "value") in rows_of(tmp_path / "r")


@pytest.mark.parametrize(
    "names, pattern",
    [
        (["VAE_seed3.npy"], "a checkpoint is named VAE too"),
        (["a.npy", "a.csv"], "a with seed 0 was given before"),
        (["baseline: mine.npy"], "'baseline: mine' is that of a baseline"),
        (["b_seed0.npy", "b_seed1.npy"], "has 3 columns, and b before it 2"),
        (["short.npy"], r"shape \(71, 2\), expected \(72, latents\)"),
    ],
)
def test_codes_that_do_not_fit_are_refused(checkpoint, tmp_path, refused, names, pattern):
    shapes = {"b_seed1.npy": (72, 3), "short.npy": (71, 2)}
    for number, name in enumerate(names):
        codes = np.random.default_rng(number).normal(size=shapes.get(name, (72, 2)))
        if name.endswith("csv"):
            np.savetxt(tmp_path / name, codes, delimiter=",", header="z0,z1", comments="")
        else:
            np.save(tmp_path / name, codes)
    argv = ["--model", checkpoint, "--codes", *(tmp_path / name for name in names), "--output_dir", tmp_path / "r"]
    refused(evaluate_script.main, argv, pattern)
    assert not (tmp_path / "r").exists()
