"""The study's commands, its tables from numbers known by hand, and the tables of README and docs from its CSV files."""

import csv
import dataclasses
import inspect
import json
import os
from pathlib import Path

import numpy as np
import pytest

import eval as eval_script
import trainvae
from benchmarks import study, study_plots, study_settings, study_tables
from models import MODELS

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = (
    "part",
    "setting",
    "strength",
    "model",
    "seed",
    "metric",
    "factor",
    "value",
    "floor",
    "ceiling",
    "adjusted",
)


def test_pages_hold_the_tables_that_the_csv_files_give():
    for page in study.PAGES:
        text = page.read_text()
        assert "<!-- study: " in text and study_tables.filled(text, study.FOLDER) == text, page.name
    for name, text in study_tables.tables(study.FOLDER, study.CANDIDATES, study.PAIR_CANDIDATES).items():
        assert (study.FOLDER / f"{name}.md").read_text() == text, (
            f"python benchmarks/study.py --tables writes {name}.md"
        )


@pytest.mark.parametrize("page, titles", [("README.md", study_tables.SUMMARY), ("results.md", study_tables.TITLES)])
def test_overviews_are_the_mean_and_spread_of_the_seeds(page, titles):
    """Against numpy on the file itself, by a way of its own."""
    with (study.FOLDER / "scores.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "MIG" and row["factor"] == "all"]
    lines = next(path for path in study.PAGES if path.name == page).read_text().splitlines()
    seen = 0
    for setting, title in titles.items():
        for model in sorted({row["model"] for row in rows if row["setting"] == setting}):
            values = [float(row["value"]) for row in rows if (row["setting"], row["model"]) == (setting, model)]
            if page == "README.md" and model.startswith(("baseline: untrained", "baseline: descriptors")):
                continue
            line = next(line for line in lines if line.startswith(f"| {title} ") and f"| {model} " in line)
            if model.startswith("baseline"):
                assert f"| {values[0]:.2f} " in line and len(values) == 1
                continue
            spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""  # `paper` has one seed of some
            assert f"| {np.mean(values):.2f}{spread} " in line and (
                len(values) >= 3 or setting in ("paper", *study_tables.NOTES)
            )
            seen += 1
    assert seen >= 9


def test_pictures_of_the_study_are_small_and_there():
    pictures = list(study.FOLDER.glob("*.png"))
    assert {path.stem for path in pictures} >= {"selection", "strengths", "reconstruction_and_mig", "rank_correlation"}
    assert all(path.stat().st_size < 400_000 for path in pictures)
    assert sum(path.stat().st_size for path in study.FOLDER.iterdir() if path.is_file()) < 3_500_000
    assert sum(path.stat().st_size for path in study.FOLDER.glob("codes/*/*.npz")) < 32_000_000


def number_rows(folder: Path) -> None:
    """Two models, seeds 0 to 2, MIG 0.1, 0.2, 0.3 and twice that; floor 0, ceiling 1, one factor."""
    lines = []
    for model, scale in (("VAE", 1), ("BetaVAE", 2)):
        for seed in range(3):
            value = scale * (seed + 1) / 10
            for factor, more in (("all", [value, 0, 1, value]), ("timbre", [value, "", "", ""])):
                lines.append(["clean", "clean", "", model, seed, "MIG", factor, *more])
            lines.append(["clean", "clean", "", model, seed, "active latents", "all", 3 + seed, "", "", ""])
    study.write_csv(folder / "scores.csv", [dict(zip(COLUMNS, line)) for line in lines])


def test_tables_of_made_up_numbers(tmp_path):
    number_rows(tmp_path)
    tables = study_tables.tables(tmp_path, {}, {})
    assert set(tables) == {"overview", "clean"}
    vae, beta = (line.split("|")[1:-1] for line in tables["overview"].splitlines()[2:])
    assert [cell.strip() for cell in vae] == [
        "defaults, `clean`",
        "VAE",
        "3",
        "0.20 ± 0.10 [0.00, 1.00] → 0.20 ± 0.10",
        "0.20 ± 0.10",
        "4.0 ± 1.0",
    ]
    assert beta[3].strip() == "0.40 ± 0.20 [0.00, 1.00] → 0.40 ± 0.20"


def test_a_longer_training_stands_below_the_shorter_one():
    """Reconstruction + KL is 50, 49, ..., 41 in the first run: the last five have a mean of 43, the five before 48."""
    scores = [
        {"setting": setting, "model": model, "seed": seed, "metric": "MIG", "factor": None, "value": value}
        for setting, model, seed, value in (
            ("paper", "VAE", 0, 0.25),
            ("paper", "VAE", 1, 0.9),
            ("paper", "FactorVAE", 0, 0.9),
            ("paper_long", "VAE", 0, 0.5),
        )
    ]
    curves = [
        {"setting": setting, "model": "VAE", "seed": 0, "valid_recon": 40.0 - epoch, "valid_kl": 10.0}
        for setting, n in (("paper", 10), ("paper_long", 20))
        for epoch in range(n)
    ]
    _, _, first, second, *_ = study_tables.longer_table(scores, curves).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (first, second)]
    assert cells[0][:2] == cells[1][:2] == ["VAE", study_tables.TITLES["paper"]]
    assert cells[0][2:6] == ["10", "41.0", "-10.4 %", "0.25"]  # 43 / 48 - 1
    assert cells[1][2:6] == ["20", "31.0", "-13.2 %", "0.50"]  # 33 / 38 - 1


def test_strengths_in_between_are_the_constructors_defaults():
    """Runs at a model's own strength are those of the gainshape setting; the sweep has one below and one above."""
    flags = {"lambda_od = lambda_d": "lambda_od"}
    for model, (title, own) in study_plots.STRENGTHS.items():
        assert inspect.signature(MODELS[model]).parameters[flags.get(title, title.split()[0])].default == own
        below, above = (
            setting.strength
            for setting in study_settings.strengths(study_settings.GAINSHAPE)
            if setting.models == (model,)
        )
        assert below < own < above


def test_points_of_a_strength_are_its_seeds():
    def row(part, setting, strength, seed, value):
        return {
            "part": part,
            "setting": setting,
            "strength": strength,
            "model": "BTCVAE",
            "seed": seed,
            "metric": "MIG",
            "factor": "all",
            "value": value,
        }

    points = study_plots.by_strength(
        [
            row("strengths", "BTCVAE_24", 24.0, 0, 0.3),
            row("gainshape", "gainshape", None, 0, 0.1),
            row("gainshape", "gainshape", None, 1, 0.2),
            row("clean", "clean", None, 0, 0.9),
        ]
    )
    assert {at: [one["value"] for one in rows] for at, rows in points["BTCVAE"].items()} == {
        6.0: [0.1, 0.2],
        24.0: [0.3],
    }


def test_evaluations_are_repeated_where_checkpoints_or_metrics_differ(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "ROOT", tmp_path)
    setting = study_settings.Setting("clean", "clean", study_settings.CLEAN, metrics=("mig",))
    everything = study_settings.Setting("clean", "clean", study_settings.CLEAN)
    checkpoint, scores = (tmp_path / setting.folder(base) for base in ("checkpoints", "results"))
    checkpoint.mkdir(parents=True)
    scores.mkdir(parents=True)
    (checkpoint / "VAE_seed0.pt").touch()
    os.utime(checkpoint / "VAE_seed0.pt", (1, 1))
    asked = {"checkpoints": [str(setting.folder("checkpoints") / "VAE_seed0.pt")], "metrics": ["mig"], "seed": 0}
    (scores / "metrics.json").write_text(json.dumps(asked))
    assert study.evaluations([setting]) == []
    ((_, command),) = study.evaluations([everything])
    assert "--metrics" not in command and command[3] == asked["checkpoints"][0]
    (checkpoint / "RemovedVAE_seed0.pt").touch()
    assert study.evaluations([setting]) == []
    (checkpoint / "VAE_seed1.pt").touch()
    os.utime(checkpoint / "VAE_seed1.pt", (1, 1))
    assert study.evaluations([setting])[0][1][-4:] == ["--metrics", "mig", "--baselines", "none"]


def test_a_page_is_filled_between_the_marks_and_nowhere_else(tmp_path):
    (tmp_path / "clean.md").write_text("| new |\n")
    text = "before\n<!-- study: clean -->\n\n| old |\n\n<!-- end -->\nafter <!-- end -->\n"
    assert (
        study_tables.filled(text, tmp_path)
        == "before\n<!-- study: clean -->\n\n| new |\n\n<!-- end -->\nafter <!-- end -->\n"
    )
    with pytest.raises(FileNotFoundError):
        study_tables.filled("<!-- study: nothing -->\n<!-- end -->", tmp_path)


@pytest.mark.parametrize("together, count", [(False, None), (True, None)])
def test_every_command_of_the_study_is_understood(tmp_path, monkeypatch, together, count):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Dataset").mkdir()
    for name in study.DATASETS:
        (tmp_path / name).touch()
    args = study.parse_flags(["--seeds", "3", "4"] + (["--together"] if together else []))
    commands = study.trainings(study.SETTINGS, args)
    parsed = [trainvae.parse_flags(command[2:]) for command in commands]
    written = [(one.output_dir, name, seed) for one in parsed for name in one.model for seed in one.seeds]
    assert len(written) == len(set(written))  # no run writes where another does
    own_seeds = {setting.name: setting.seeds for setting in study.SETTINGS}
    for one in parsed:
        wanted = own_seeds[one.output_dir.name] or (3, 4)
        assert set(one.seeds) <= set(wanted) and len(one.seeds) == (len(wanted) if together else 1)


def test_published_setting_is_the_published_objective_times_64():
    """0.5 / sigma^2 is 64 times that of sigma 1 / sqrt(2); weights are the nominal ones, not a 64th of them."""
    flags = dict(zip(study_settings.PUBLISHED.split()[::2], study_settings.PUBLISHED.split()[1::2]))
    assert flags["--features"] == "paper" and float(flags["--anneal_from"]) == 1
    assert 0.5 / float(flags["--sigma"]) ** 2 == pytest.approx(64 * 0.5 / (1 / np.sqrt(2)) ** 2, rel=1e-12)
    setting = next(setting for setting in study.SETTINGS if setting.name == "published")
    assert setting.own == {
        "BTCVAE": "--beta 4",
        "FactorVAE": f"--gamma 6 {study_settings.FASTER}",
    }  # BetaVAE's default is 4


def test_correlations_of_made_up_numbers(tmp_path):
    """SAP rises with MIG within each setting and falls between them; constants and sweeps are left out."""
    lines = []
    for setting, base in (("clean", 0), ("grid", 10)):
        for seed in range(4):
            for metric, value in (("MIG", base + seed), ("JEMMIG", seed), ("SAP", seed - base), ("IRS", 1)):
                lines.append([setting, setting, "", "VAE", seed, metric, "all", 5, 0, 1, value])
    lines.append(["strengths", "VAE_2", 2, "VAE", 0, "MIG", "all", 5, 0, 1, 99])
    study.write_csv(tmp_path / "scores.csv", [dict(zip(COLUMNS, line)) for line in lines])
    found = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
        for line in study_tables.tables(tmp_path, {}, {})["correlations"].splitlines()
    }
    assert found["rank correlation with MIG"] == [
        "all",
        "without the published",
        "defaults, `paper4000`",
        "defaults, `clean`",
    ]
    assert found["checkpoints"] == ["8", "8", "4", "4"]
    # ranks of MIG 1 to 8; of SAP 5 to 8, then 1 to 4: 1 - 6 * 8 * 16 / (8 * 63)
    assert found["SAP"] == ["-0.52", "-0.52", "1.00", "1.00"] and "IRS" not in found


def test_rescoring_keeps_what_needs_a_decoder_or_has_no_codes():
    def row(model, metric, value):
        return {"model": model, "seed": "0", "metric": metric, "factor": "all", "value": value}

    untrained, pca = "baseline: untrained VAE", "baseline: PCA (8)"
    old = [
        row("VAE", study.ERROR, 1),
        row("VAE", "MIG", 2),
        row("VAE", "gone", 3),
        row("VAE", f"{study.CONTROL}: x", 4),
    ]
    old += [row("VAE", "MIG", 9) | {"seed": "1"}]  # whose codes are not kept
    old += [row(untrained, "MIG", 5), row(pca, study.ERROR, 6), row(pca, "MIG", 7)]
    new = [row(pca, study.ERROR, 60), row(pca, "MIG", 70), row("VAE", "MIG", 20), row("VAE", "SAP", 80)]
    found = [(one["model"], one["metric"], one["value"]) for one in study.rescored(old, new)]
    of_vae = [("VAE", study.ERROR, 1), ("VAE", f"{study.CONTROL}: x", 4), ("VAE", "MIG", 9), ("VAE", "MIG", 20)]
    of_vae += [("VAE", "SAP", 80)]
    assert found == [*of_vae, (untrained, "MIG", 5), (pca, study.ERROR, 60), (pca, "MIG", 70)]


def test_rows_of_other_settings_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "FOLDER", tmp_path)
    study.write_rows(
        "scores", {"clean": [{"setting": "clean", "value": "1"}], "grid": [{"setting": "grid", "value": "2"}]}
    )
    study.write_rows("scores", {"clean": [{"setting": "clean", "value": "3"}], "large": []})
    assert (tmp_path / "scores.csv").read_text() == "setting,value\ngrid,2\nclean,3\n"
    study.write_rows("scores", {"clean": [{"setting": "clean", "more": "4"}]})
    assert (tmp_path / "scores.csv").read_text() == "setting,value,more\ngrid,2,\nclean,,4\n"


def test_a_model_is_added_beside_the_others(tmp_path, monkeypatch):
    """In the order of MODELS, before the baselines; its own old rows go."""
    monkeypatch.setattr(study, "FOLDER", tmp_path)
    old = [("VAE", 1), ("BTCVAE", 2), ("AdaGVAE (pairs)", 3), ("baseline: PCA (8)", 4)]
    study.write_rows("scores", {"clean": [{"setting": "clean", "model": model, "value": n} for model, n in old]})
    setting = next(one for one in study.SETTINGS if one.name == "clean")
    new = [{"setting": "clean", "model": model, "value": 9} for model in ("AdaGVAE (pairs)", "BetaVAE")]
    found = [(row["model"], str(row["value"])) for row in study.beside_others("scores", setting, new)]
    expected = [("VAE", "1"), ("BetaVAE", "9"), ("BTCVAE", "2"), ("AdaGVAE (pairs)", "9"), ("baseline: PCA (8)", "4")]
    assert found == expected


def test_commits_of_added_models_stand_beside_those_of_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "FOLDER", tmp_path)
    setting = next(one for one in study.SETTINGS if one.name == "clean")
    for words, models in (("aaa", None), ("bbb", ["AdaGVAE"]), ("ccc", ["AdaGVAE"])):
        study.note_commit([setting], "trained", words, models)
    assert study.kept_rows("provenance")["clean"][0]["trained"] == "aaa; AdaGVAE: ccc"
    study.note_commit([setting], "trained", "ddd", None)
    assert study.kept_rows("provenance")["clean"][0]["trained"] == "ddd"


def test_the_learning_curve_of_made_up_numbers(tmp_path):
    """100 and 1,000 pairs with MIG 0.1 and 0.2 (timbre twice that) in every seed, new pairs with 0.3."""
    lines = []
    for part, setting, strength, mig in (
        ("clean", "clean", "", 0.3),
        ("pairs", "pairs_100", 100, 0.1),
        ("pairs", "pairs_1000", 1000, 0.2),
    ):
        for seed in range(3):
            for metric, factor, value in (("MIG", "all", mig), ("MIG", "timbre", 2 * mig), ("SAP", "all", 3 * mig)):
                lines.append([part, setting, strength, "AdaGVAE (pairs)", seed, metric, factor, value, 0, 1, value])
    study.write_csv(tmp_path / "scores.csv", [dict(zip(COLUMNS, line)) for line in lines])
    cells = [
        [cell.strip() for cell in line.split("|")[1:6]]
        for line in study_tables.tables(tmp_path, {}, {})["pairs"].splitlines()
    ]
    assert cells[0] == ["features, tones; pairs", "seeds", "MIG", "MIG, timbre", "SAP"]
    assert cells[2:] == [
        ["`logmel`, `clean`; 100", "3", "0.10 ± 0.00", "0.20 ± 0.00", "0.30 ± 0.00"],
        ["`logmel`, `clean`; 1,000", "3", "0.20 ± 0.00", "0.40 ± 0.00", "0.60 ± 0.00"],
        ["`logmel`, `clean`; new in every epoch", "3", "0.30 ± 0.00", "0.60 ± 0.00", "0.90 ± 0.00"],
    ]


def test_kept_codes_are_scored_with_the_front_end_of_their_setting(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "ROOT", tmp_path)
    monkeypatch.setattr(study, "FOLDER", tmp_path / "study")
    for name in ("gainshape", "clean"):
        (tmp_path / "study" / "codes" / name).mkdir(parents=True)
        (tmp_path / "study" / "codes" / name / "VAE_seed0.npz").touch()
    commands = {setting.name: command for setting, command in study.rescorings(study.SETTINGS)}
    assert set(commands) == {"gainshape", "clean"}
    for name, kind in (("gainshape", "gainshape"), ("clean", "logmel")):
        args = eval_script.parse_flags(commands[name][2:])
        assert args.features == kind and args.dataset == Path(study_settings.CLEAN)
        assert args.codes == [Path("study") / "codes" / name / "VAE_seed0.npz"] and "untrained" not in args.baselines
    others = [dataclasses.replace(setting, models=("BetaVAE",)) for setting in study.SETTINGS]
    assert not study.rescorings(others)
