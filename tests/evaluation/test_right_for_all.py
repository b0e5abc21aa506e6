"""Evaluations of unusual data and names: files of earlier evaluations, many latents, one sample, nasty names."""

import contextlib
import csv
import io
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

import create
import eval as evaluate_script
import trainvae
from syntone import figures
from syntone.dataset import save_npz
from syntone.evaluation import media, tables
from syntone.evaluation.codes import with_posterior
from syntone.evaluation.controllability import control_rows
from syntone.evaluation.manifest import left_over, manifest
from syntone.evaluation.scores import Row
from syntone.features.front_end import FrontEnd
from syntone.features.sounds import scale_of

NASTY = "$\\frac{$ a|b\\ %_#&~^{}<x>*y* _z_"


def own_data(path, factors, *, names, kinds, n_samples=2000):
    """Sines whose pitch rises with the sum of the levels."""
    factors = np.asarray(factors)
    hz = 220 * 2 ** (factors.sum(axis=1) / 3)
    x = 0.5 * np.cos(2 * np.pi * hz[:, None] * np.arange(n_samples) / 8000 + 0.1)
    labels = {"factors": factors, "factor_values": factors.astype(float), "factor_names": names, "factor_kinds": kinds}
    save_npz(path, x=x, sample_rate=8000, recipe={}, **labels)


def train(dataset, folder, *, model="VAE", flags="") -> Path:
    given = f"--model {model} --epochs 1 --anneal_from 1 --batch_size 8 --sigma 0.1 --device cpu".split()
    given += f"--smoothing 0 --channels 4 4 --hidden 16 {flags}".split()
    assert trainvae.main(["--dataset", str(dataset), "--output_dir", str(folder), *given]) == 0
    return folder / f"{model}_seed0.pt"


def evaluate(folder, *paths, flags="--metrics mig --no_figures") -> int:
    argv = ["--model", *map(str, paths), "--output_dir", str(folder), "--device", "cpu", "--baselines", "none"]
    argv += flags.split()
    return evaluate_script.main(argv)


@contextlib.contextmanager
def blank():
    """Pictures of one pixel and fewer sounds, for tests of what is written, not of what is drawn."""
    buffer = io.BytesIO()
    Image.new("L", (1, 1)).save(buffer, format="png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "png", lambda figure: buffer.getvalue())
        patch.setattr(figures, "gif", lambda drawn: buffer.getvalue())
        patch.setattr(media, "N_FRAMES", 2)
        patch.setattr(media, "N_STEPS", 2)
        yield patch


@pytest.fixture
def blank_pictures():
    with blank():
        yield


def read_rows(folder) -> list[dict[str, str]]:
    with open(folder / "metrics.csv") as handle:
        return list(csv.DictReader(handle))


# ---- names ----


def test_a_factor_named_as_a_whole_score_is_not_averaged_into_it():
    rows = [Row("VAE", 0, "MIG", None, 0.25), Row("VAE", 0, "MIG", "all", 0.5), Row("VAE", 0, "MIG", "metric", 0.125)]
    cells = tables.table(rows)
    assert cells[2:] == [["MIG", "0.250"], ["MIG, all", "0.500"], ["MIG, metric", "0.125"]]


def test_coverage_of_a_factor_is_not_that_of_the_model_and_floors_have_their_deviation():
    factors = [SimpleNamespace(name="all"), SimpleNamespace(name="p")]
    given = {"factors": factors, "coverage": np.array([0.2, 0.4]), "off_manifold": np.zeros(1)}
    rows = control_rows(SimpleNamespace(score=0.5, floors=(0.1, 0.3), **given), ("VAE", 0))
    coverage = {row.factor: row.value for row in rows if row.metric == "controllability: coverage"}
    assert coverage == pytest.approx({None: 0.3, "all": 0.2, "p": 0.4})
    assert rows[0].floor_std == pytest.approx(0.02**0.5)  # squares of 0.1 and 0.1, over 2 - 1


@pytest.mark.parametrize(
    "name, markdown, latex",
    [
        ("timbre_class", "timbre_class", r"timbre\_class"),
        ("a|b", r"a\|b", r"a\textbar{}b"),
        ("\\", r"\\", r"\textbackslash{}"),
        ("$x$ 5% #&", r"\$x\$ 5% #\&", r"\$x\$ 5\% \#\&"),
        ("~^{}<b>", r"\~^{}\<b>", r"\textasciitilde{}\textasciicircum{}\{\}\textless{}b\textgreater{}"),
        ("*a* _b_ [c](d)", r"\*a\* \_b\_ [c]\(d)", r"*a* \_b\_ [c](d)"),
        ("a\nb\x1b[31m", r"a b\\x1b[31m", r"a b\textbackslash{}x1b[31m"),
    ],
)
def test_names_are_text_in_markdown_and_latex(name, markdown, latex):
    assert tables.markdown_text(name) == markdown and tables.latex_text(name) == latex
    cells = [["metric", name], [f"MIG, {name}", "0.500"]]
    lines = tables.to_markdown(cells).splitlines()
    assert all(len(re.split(r"(?<!\\)\|", line)) == 4 and line.isprintable() for line in lines)
    assert tables.to_latex(cells).count("\n") == 7


def test_no_text_of_a_figure_is_mathematics_but_numbers_of_log_axes():
    """A text with a dollar sign is mathematics if matplotlib's preprocessing says so; it would refuse the first one."""

    def mathematics(figure) -> dict[str, bool]:
        figures.png(figure)
        texts = sorted(figure.findobj(Text), key=lambda text: text.get_visible())  # numbers on the right are hidden
        return {text.get_text(): text._preprocess_math(text.get_text())[1] for text in texts}

    given = {"factors": [NASTY], "latents": ["$1$", "$2$"]}
    found = mathematics(figures.information_figure(np.full((1, 2), 0.5), order="mean KL", title="$t$", **given))
    assert not any(found.values()) and {NASTY, "$1$", "$2$", "$t$"} <= set(found)
    history = {"epoch": [1, 2], "train_loss": [9.0, 0.1], "valid_loss": [8.0, 0.1]}
    found = mathematics(figures.training_curves(history, title="$a$"))
    assert not found["$a$"] and any(math for text, math in found.items() if "10^" in text)


def test_the_audits_legend_names_a_class_that_begins_with_an_underscore():
    lines = {name: (np.arange(2), np.ones(2)) for name in ("_sine", "$b$")}
    figure = figures.audit_figure([], resolution_db=0.5, shares=("hz", lines), title="t")
    assert [text.get_text() for text in figure.axes[-1].get_legend().get_texts()] == ["_sine", "$b$"]


# ---- unusual data ----


def test_one_sample_per_sound_and_nasty_names_are_evaluated(tmp_path, fewer_tones):
    factors = np.indices((3, 4)).reshape(2, -1).T
    own_data(tmp_path / "$d$.npz", factors, names=[NASTY, "q"], kinds=["nominal", "ordered"], n_samples=1)
    path = train(tmp_path / "$d$.npz", tmp_path, flags="--latent_dim 2")
    assert evaluate(tmp_path / "r", path, flags="--metrics mig controllability") == 0
    made = sorted(file.name for file in (tmp_path / "r" / "Figures").glob("*.png"))
    assert len(made) == 5
    assert NASTY in {row["factor"] for row in read_rows(tmp_path / "r")}


def test_controllability_is_measured_where_no_metric_is_defined(tmp_path, fewer_tones):
    own_data(tmp_path / "d.npz", np.arange(12)[:, None], names=["p"], kinds=["ordered"])
    path = train(tmp_path / "d.npz", tmp_path, flags="--latent_dim 1")
    assert evaluate(tmp_path / "r", path, flags="--metrics controllability") == 0
    assert "controllability: coverage" in (tmp_path / "r" / "table.md").read_text()


def test_metrics_that_the_data_do_not_define_are_named(tmp_path):
    factors = np.concatenate([np.indices((2, 4)).reshape(2, -1).T] * 2)
    factors[-1] = 2, 3  # a level of one sound
    own_data(tmp_path / "d.npz", factors, names=["p", "q"], kinds=["nominal", "ordered"])
    path = train(tmp_path / "d.npz", tmp_path, flags="--latent_dim 1")
    assert evaluate(tmp_path / "r", path, flags="--no_figures") == 0
    text = (tmp_path / "r" / "table.md").read_text()
    assert "not defined for these data or too costly: mig, jemmig, sap, dci, infomec." in text
    assert "A model with fewer latents than factors has no ceiling." in text and "–] → –" in text
    assert evaluate(tmp_path / "r", path, flags="--metrics irs --no_figures") == 0
    assert "not defined" not in (tmp_path / "r" / "table.md").read_text()


def test_an_empty_adjusted_score_of_correlated_factors_is_explained(tmp_path):
    levels = np.arange(48) % 4
    factors = np.stack([levels, np.where(np.arange(48) < 40, levels, 0)], axis=1)
    own_data(tmp_path / "d.npz", factors, names=["p", "q"], kinds=["ordered", "ordered"])
    path = train(tmp_path / "d.npz", tmp_path, flags="--latent_dim 2 --epochs 3")
    assert evaluate(tmp_path / "r", path) == 0
    (mig,) = [row for row in read_rows(tmp_path / "r") if (row["metric"], row["factor"]) == ("MIG", "all")]
    assert mig["ceiling"] and not mig["adjusted"]
    text = (tmp_path / "r" / "table.md").read_text()
    assert "] → –" in text and "adjusted is empty where ceiling - floor is below 0.1. It is also empty for MIG," in text


def test_empty_adjusted_scores_are_dashes_and_explained():
    known = {"floor": 0.1, "ceiling": 0.9, "floor_std": 0.0}
    rows = [Row("VAE", seed, "MIG", None, 0.5, adjusted=adjusted, **known) for seed, adjusted in enumerate((0.5, None))]
    assert tables.table(rows)[-1] == ["MIG", "0.500 ± 0.000 [0.100, 0.900] → –"]
    assert tables.table(rows[:1])[-1][1].endswith("→ 0.500")


# ---- many latents ----


@pytest.fixture(scope="module")
def many(dataset_path, tmp_path_factory):
    """A model of 40 latents, evaluated."""
    folder = tmp_path_factory.mktemp("many")
    with blank() as patch:
        patch.setattr(media, "N_LATENTS", 3)
        patch.setattr("syntone.evaluation.notes.N_LATENTS", 3)
        patch.setattr("syntone.evaluation.controllability.MAX_LATENTS", 2)
        patch.setattr("syntone.evaluation.notes.MAX_LATENTS", 2)
        path = train(dataset_path, folder, flags="--latent_dim 40 --eval_every 1")
        assert evaluate(folder / "r", path, flags="--metrics mig controllability") == 0
    return path, folder / "r"


def test_the_latents_with_the_largest_kl_are_shown_and_named(many):
    path, folder = many
    document = json.loads((folder / "metrics.json").read_text())
    kl = np.array(document["latents"][0]["kl_nats"])
    assert (kl > 0.01).sum() > 3, "too few latents are active: the test would see nothing"
    largest = np.argsort(-kl, kind="stable")
    with open(path.with_suffix(".csv")) as handle:
        assert float(list(csv.DictReader(handle))[-1]["active_latents"]) == (kl > 0.01).sum()  # one rule
    found = {file.stem.removeprefix("traversal_") for file in (folder / "audio" / "VAE").glob("traversal_*.wav")}
    assert found == {f"z{j}" for j in largest[:3]}
    assert document["latents"][0]["controllability"]["latents"] == largest[:2].tolist()
    assert "the 3 of 40 latents with the largest mean KL" in (folder / "report.html").read_text()
    for words in (
        "Traversals and their sounds show the 3 latents with the largest mean KL.",
        "Controllability is measured for the 2 active latents with the largest mean KL.",
        f"A latent is active if its mean KL exceeds 0.01 nats. Inactive latents: VAE {(kl <= 0.01).sum()} of 40.",
    ):
        assert words in document["notes"] and words in (folder / "table.md").read_text()
        assert words in (folder / "report.html").read_text() and words in (folder / "table.tex").read_text()


def test_the_figure_of_information_keeps_the_two_latents_that_mig_compares():
    kl, shares = np.linspace(3, 2, 40), np.zeros((1, 40))
    shares[0, [5, 30, 35]] = 0.3, 0.9, 0.4
    dataset = SimpleNamespace(labels=lambda: {"factor_names": ["p"]})
    entry = SimpleNamespace(codes=with_posterior(np.zeros((2, 40)), kl), name="VAE", dataset=dataset)
    figure = media._information(entry, SimpleNamespace(share=shares))()
    axes = figure.axes[0]
    names = [label.get_text().split("\n")[0] for label in axes.get_xticklabels()]
    assert names == [f"z{j}" for j in [*range(16), 30, 35]]
    assert "gap 0.500" in [text.get_text() for text in axes.texts]
    assert "the 16 of 40 latents with the largest mean KL, and those framed" in figure.get_suptitle()


@pytest.mark.parametrize("title", ["short", "each row moves one latent " * 6])
def test_a_long_title_is_inside_the_figure(title):
    scale = scale_of(FrontEnd("logmel", sample_rate=8000, n_samples=4000))
    given = {"values": np.zeros((1, 2)), "labels": ["z0"], "scale": scale}
    for figure in (
        figures.traversal_figure(np.zeros((1, 2, 128, 8)), title=title, **given),
        figures.information_figure(np.ones((1, 1)), factors=["p"], latents=["z0"], order="mean KL", title=title),
    ):
        figure.draw_without_rendering()
        box, width = figure._suptitle.get_window_extent(), figure.get_figwidth() * figure.dpi
        assert 0 <= box.x0 and box.x1 <= width and figure.get_suptitle().split() == title.split()
        tops = [text.get_window_extent().y1 for axes in figure.axes for text in axes.texts if text.get_text()]
        assert len(tops) > 1 and box.y0 > max(tops)


# ---- models of several datasets ----


def test_models_of_several_datasets_are_told_apart_everywhere(dataset_path, tmp_path):
    other = tmp_path / "other.npz"
    sizes = "--sample_rate 8000 --duration 0.5 --freq_start 500 --freq_end 900 --num_freqs 3 --num_amps 3"
    assert create.main([*sizes.split(), "--file_path", str(other)]) == 0
    paths = [train(dataset_path, tmp_path, model="BetaVAE"), train(other, tmp_path, flags="--epochs 4 --sigma 0.03")]
    flags = "--metrics mig controllability --no_figures"
    assert evaluate(tmp_path / "r", *paths, flags=flags) == 0
    labels = ["VAE (other.npz)", "BetaVAE (tones.npz)"]
    for name in ("metrics.csv", "metrics.json", "controllability.csv", "table.md", "table.tex", "report.html"):
        text = (tmp_path / "r" / name).read_text()
        assert all(label in text for label in labels), name
    twin = tmp_path / "twin" / "tones.npz"
    twin.parent.mkdir()
    shutil.copy(other, twin)
    (tmp_path / "VAE_seed0.pt").unlink()
    assert evaluate(tmp_path / "r", paths[0], train(twin, tmp_path), flags="--metrics mig --no_figures") == 0
    assert "VAE (tones.npz, 2)" in (head := (tmp_path / "r" / "table.md").read_text().splitlines()[0])
    assert "BetaVAE (tones.npz, 1)" in head
    assert evaluate(tmp_path / "one", *paths, flags=f"--dataset {dataset_path} --metrics mig --no_figures") == 0
    assert "| metric " in (head := (tmp_path / "one" / "table.md").read_text().splitlines()[0]) and "(" not in head


def test_seeds_on_copies_of_one_dataset_are_of_one_model(dataset_path, tmp_path):
    shutil.copy(dataset_path, tmp_path / "copy.npz")
    train(dataset_path, tmp_path)
    train(tmp_path / "copy.npz", tmp_path, flags="--seeds 1")
    assert evaluate(tmp_path / "r", tmp_path / "VAE_seed0.pt", tmp_path / "VAE_seed1.pt") == 0
    lines = (tmp_path / "r" / "table.md").read_text().splitlines()
    assert [lines[0].split("|")[2].strip(), lines[2].split("|")[2].strip()] == ["VAE", "2"]


# ---- files of an earlier evaluation ----


def names_in(folder) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_an_evaluation_removes_what_the_last_one_left_and_nothing_else(dataset_path, tmp_path, blank_pictures):
    """Of two models, then of one with fewer latents; a file of someone else and one that was edited stay."""
    two = [train(dataset_path, tmp_path, model=name, flags="--latent_dim 3") for name in ("VAE", "BetaVAE")]
    folder = tmp_path / "r"
    assert evaluate(folder, *two, flags="--metrics mig controllability") == 0
    first = names_in(folder)
    assert {"controllability.csv", "audio/BetaVAE/sounds.csv", "Figures/VAE_Controllability.png"} <= first
    (folder / "audio" / "BetaVAE" / "mine.wav").write_bytes(b"mine")
    (folder / "audio" / "BetaVAE" / "sounds.csv").write_text("edited\n")
    small = train(dataset_path, tmp_path / "small", flags="--latent_dim 2")
    assert evaluate(folder, small, flags="--metrics mig") == 0
    listed, tables = json.loads((folder / "metrics.json").read_text())["files"], {"metrics.csv", "metrics.json"}
    strangers = {"audio/BetaVAE/mine.wav", "audio/BetaVAE/sounds.csv"}
    assert names_in(folder) == {*listed, *tables, "table.md", "table.tex", *strangers}
    assert "audio/VAE/traversal_z2.wav" in first - names_in(folder)
    assert evaluate(folder, small, flags="--no_figures --metrics mig") == 0
    assert not list((folder / "Figures").iterdir()) and (folder / "audio" / "VAE").is_dir()


def test_sounds_in_a_linked_folder_are_removed_too(dataset_path, tmp_path, blank_pictures):
    (tmp_path / "r").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "r" / "audio").symlink_to(tmp_path / "elsewhere")
    assert evaluate(tmp_path / "r", path := train(dataset_path, tmp_path), flags="--metrics mig") == 0
    assert list((tmp_path / "elsewhere" / "VAE").glob("*.wav"))
    assert evaluate(tmp_path / "r", path) == 0
    assert not list((tmp_path / "elsewhere" / "VAE").iterdir()) and (tmp_path / "r" / "audio").is_symlink()


def test_nothing_is_removed_if_the_evaluation_fails(dataset_path, tmp_path, refused, blank_pictures):
    path = train(dataset_path, tmp_path)
    folder = tmp_path / "r"
    assert evaluate(folder, path, flags="--metrics controllability --no_figures") == 0
    before = {name: (folder / name).read_bytes() for name in names_in(folder)}
    (folder / "audio").write_text("where a folder should be")
    argv = ["--model", path, "--output_dir", folder, "--device", "cpu", "--metrics", "mig"]
    refused(evaluate_script.main, argv, "audio")
    (folder / "audio").unlink()
    assert {name: (folder / name).read_bytes() for name in names_in(folder)} == before


def test_an_edited_manifest_removes_no_input_folder_link_or_file_elsewhere(tmp_path):
    folder, figures_dir, outside = tmp_path / "r", tmp_path / "f", tmp_path / "outside"
    for place in (folder / "sub", figures_dir, outside):
        place.mkdir(parents=True)
    (folder / "link").symlink_to(outside)
    (folder / "file_link").symlink_to(outside / "a")
    files = {folder / name: "x" for name in ("a", "input", "written", "sub/b")} | {figures_dir / "c": "x"}
    files |= {outside / "a": "x"}
    for path, text in files.items():
        path.write_text(text)
    digest = set(manifest(files, folder=folder).values()).pop()
    names = [
        *manifest(files, folder=folder),
        "../outside/a",
        "link/a",
        "file_link",
        "sub",
        ".",
        "..",
        "",
        "gone",
        "a\0",
        "\ud800",
        "a" * 5000,
    ]
    given = {"written": [folder / "written"], "within": [folder, figures_dir], "inputs": [folder / "input"]}

    def found(listed) -> set[Path]:
        (folder / "metrics.json").write_text(json.dumps(listed))
        return set(left_over(folder, **given))

    listed = {name: digest for name in [*names, str(outside / "a"), str(folder / "input")]}
    assert found({"files": listed}) == {folder / "a", folder / "sub" / "b", figures_dir / "c"}
    assert found({"files": {"a": "another digest"}}) == set()
    for broken in ({}, [], {"files": ["a"]}, {"files": None}, 3):
        assert found(broken) == set()
    (folder / "metrics.json").write_bytes(b"\xff{")
    assert left_over(folder, **given) == []
    (folder / "metrics.json").unlink()
    assert left_over(folder, **given) == []


def test_self_test_takes_no_model(refused):
    refused(evaluate_script.main, ["--self_test", "--model", "a.pt"], "--self_test: ")
