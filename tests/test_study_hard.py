"""The study's part `hard`: its grids, its commands, and its table and figure from numbers known by hand."""

import json
import os
from pathlib import Path

import pytest

import create
import eval as eval_script
import trainvae
from benchmarks import study, study_hard, study_plots, study_settings, study_tables
from syntone.dataset.options import build_grid
from syntone.dataset.recipe import same_recipe

GRIDS = {one.name: study_settings.DATASETS[one.dataset] for one in study.SETTINGS if one.part == "hard"}


def parsed(flags: str):
    return create.parse_flags([*flags.split(), "--file_path", "Dataset/any.npz"])


def differing(one: str, other: str) -> set[str]:
    """Fields in which two grids differ, given as flags of create.py."""
    first, second = (vars(build_grid(parsed(flags))) for flags in (one, other))
    return {name for name in first if first[name] != second[name]}


def test_after_all_changes_the_grid_is_clean():
    flags = study_settings.create_flags(*study_settings.CHANGES)
    assert build_grid(parsed(flags)) == build_grid(parsed("--preset clean"))
    assert study_settings.DATASETS[study_settings.CLEAN] == "--preset clean"
    clean = next(one for one in study.SETTINGS if one.name == study_settings.CHAIN[-1])
    assert clean.dataset == study_settings.CLEAN and clean.flags == study_settings.GAINSHAPE
    recipes = [create.plan(parsed(one)).members["recipe"] for one in (flags, "--preset clean")]
    assert same_recipe(*map(str, recipes))


def test_without_changes_the_grid_is_paper4000():
    paper = build_grid(parsed("--freq_start 400 --freq_end 8000 --num_freqs 100 --num_amps 10"))
    assert build_grid(parsed(GRIDS["hard_0_paper"])) == paper
    assert (paper.oscillator, paper.level, paper.amps[0], paper.amps[-1]) == ("naive", "peak", 0.1, 1.0)


def test_each_grid_has_one_change_more_than_the_one_before():
    """What the grids are made of, by hand: number of frequencies and amplitudes, ends, a step, oscillator, level."""
    chain = [build_grid(parsed(GRIDS[name])) for name in study_settings.CHAIN[:-1]]
    assert [(grid.freqs[0], grid.freqs[-1]) for grid in chain] == [(400, 8000)] + [(440, 2600)] * 6
    assert [grid.oscillator for grid in chain] == ["naive"] * 2 + ["bandlimited"] * 5
    equal_hertz = [grid.freqs[2] - grid.freqs[1] == pytest.approx(grid.freqs[1] - grid.freqs[0]) for grid in chain]
    equal_ratios = [grid.freqs[2] / grid.freqs[1] == pytest.approx(grid.freqs[1] / grid.freqs[0]) for grid in chain]
    assert equal_hertz == [True] * 3 + [False] * 4 and equal_ratios == [False] * 3 + [True] * 4
    equal_db = [grid.amps[2] / grid.amps[1] == pytest.approx(grid.amps[1] / grid.amps[0]) for grid in chain]
    assert equal_db == [False] * 4 + [True] * 3
    ratios = [grid.amps[-1] / grid.amps[0] for grid in chain]
    assert ratios == pytest.approx([10] * 5 + [10**1.5] * 2)
    assert [grid.level for grid in chain] == ["peak"] * 6 + ["rms"]
    assert {(len(grid.freqs), len(grid.amps)) for grid in chain} == {(100, 10)}


def test_each_change_alone_changes_the_same_options_as_in_the_chain():
    fields = [{"freqs"}, {"oscillator"}, {"freqs"}, {"amps"}, {"amps"}, {"level"}, {"freqs", "amps"}]
    chain = [GRIDS.get(name, "--preset clean") for name in study_settings.CHAIN]
    assert [differing(*pair) for pair in zip(chain, chain[1:])] == fields
    assert [differing(chain[0], GRIDS[name]) for name in study_settings.ALONE] == fields
    assert study_settings.ALONE[0] == study_settings.CHAIN[1] and len(set(GRIDS.values())) == 13


def test_trainings_are_those_of_the_setting_that_ends_the_chain(tmp_path, monkeypatch):
    """13 grids, two models, three seeds, each with the flags of `gainshape` on `clean`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Dataset").mkdir()
    for name in study_settings.DATASETS:
        (tmp_path / name).touch()
    args = study.parse_flags(["--parts", "hard"])
    own, clean = ([one for one in study.SETTINGS if one.part == part] for part in ("hard", "gainshape"))
    commands = study.trainings(own, args)
    assert len(commands) == 13 * 2 * 3
    like = {}
    for command in study.trainings(clean, args) + commands:
        one = vars(trainvae.parse_flags(command[2:]))
        key = one["model"][0], one["seeds"][0]
        rest = {name: value for name, value in one.items() if name not in ("dataset", "output_dir")}
        assert like.setdefault(key, rest) == rest and one["epochs"] == 40


def test_codes_and_ica_of_few_metrics(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "ROOT", tmp_path)
    monkeypatch.setattr(study, "FOLDER", tmp_path / "study")
    setting = next(one for one in study.SETTINGS if one.name == "hard_only_6_level")
    for path in (
        tmp_path / setting.folder("checkpoints") / "BetaVAE_seed0.pt",
        study.codes_folder(setting) / "BTCVAE_seed0.npz",
    ):
        path.parent.mkdir(parents=True)
        path.touch()
    ((_, command),) = study.evaluations([setting])
    args = eval_script.parse_flags(command[2:])
    assert (args.metrics, args.baselines, args.write_codes) == (["mig", "sap"], ["ica"], True)
    ((_, command),) = study.rescorings([setting])
    args = eval_script.parse_flags(command[2:])
    assert (args.metrics, args.baselines, args.features) == (["mig", "sap"], ["ica"], "gainshape")
    assert args.dataset == Path("Dataset/hard_only_6_level.npz")


def test_ceilings_are_those_of_the_audits_and_new_ones_where_the_dataset_is_newer(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "ROOT", tmp_path)
    (tmp_path / "Dataset").mkdir()
    setting = next(one for one in study.SETTINGS if one.name == "hard_1_range")
    dataset, audit = tmp_path / "Dataset" / "hard_1_range.npz", tmp_path / "Dataset" / "hard_1_range.audit.json"
    report = {"dataset": dataset.name, "tones": 4000, "indistinguishable": 7, "mig_ceiling": 0.75, "steps": []}
    asked = []

    def run(command, **how):
        asked.append(create.parse_flags(command[2:]).audit)
        audit.write_text(json.dumps(report))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study.subprocess, "run", run)
    dataset.touch()
    expected = {"setting": "hard_1_range", "dataset": dataset.name, "tones": 4000, "indistinguishable": 7}
    assert study.ceiling_row(setting) == expected | {"mig_ceiling": 0.75}
    assert asked == [Path("Dataset/hard_1_range.npz")]
    os.utime(dataset, (1, 1))
    study.ceiling_row(setting)
    assert len(asked) == 1
    os.utime(audit, (0, 0))
    study.ceiling_row(setting)
    assert len(asked) == 2


def number_rows(folder: Path) -> None:
    """MIG 0.1, 0.2, 0.3 of BetaVAE and twice that of BTCVAE everywhere, 0.4 and 0.6 less on `clean`; ICA 0.05, 0.07."""
    rows = []
    for setting in dict.fromkeys([*study_settings.CHAIN, *study_settings.ALONE]):
        less = 0.6 if setting == "gainshape" else 0
        numbers = [("BetaVAE", seed, (seed + 1) / 10) for seed in range(3)]
        numbers += [("BTCVAE", seed, (seed + 1) / 5 - less) for seed in range(3)]
        numbers += [("baseline: ICA (8)", 0, 0.05), ("baseline: ICA (3 = factors)", 0, 0.07)]
        for model, seed, value in numbers:
            row = {"part": "gainshape" if less else "hard", "setting": setting, "strength": "", "model": model}
            row |= {"seed": seed, "metric": "MIG", "factor": "all", "value": value, "floor": 0, "ceiling": 1}
            rows.append(row | {"adjusted": value})
    study.write_csv(folder / "scores.csv", rows)
    bounds = {"hard_0_paper": 0.875, "gainshape": 1}
    study.write_csv(folder / "ceilings.csv", [{"setting": name, "mig_ceiling": at} for name, at in bounds.items()])


def test_table_of_made_up_numbers(tmp_path):
    number_rows(tmp_path)
    text = study_tables.tables(tmp_path, {}, {})["hard"]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert len(lines) == 2 * (1 + 1 + 7)
    assert lines[0] == lines[9]
    assert lines[0][2:] == ["seeds", "BetaVAE", "BTCVAE", "ICA (8)", "ICA (3 = factors)", "ceiling of the audit"]
    paper = ["none: `paper4000`", "–", "3 / 3", "0.20 ± 0.10", "0.40 ± 0.20", "0.05", "0.07", "0.875"]
    assert lines[1] == lines[10] == paper
    assert [line[0] for line in lines[2:9]] == [
        "1. range of frequency",
        "2. oscillator",
        "3. steps of frequency",
        "4. steps of amplitude",
        "5. range of amplitude",
        "6. level",
        "7. numbers of levels: `clean`",
    ]
    assert lines[8][2:] == ["3 / 3", "0.20 ± 0.10", "-0.20 ± 0.20", "0.05", "0.07", "1.000"]
    assert lines[17][0] == "7. numbers of levels" and lines[17][3:5] == ["0.20 ± 0.10", "0.40 ± 0.20"]
    assert [line[-1] for line in lines[2:8] + lines[11:]] == ["–"] * 13


def test_what_has_no_rows_is_left_out(tmp_path):
    """No table without rows; a grid under way has dashes."""
    number_rows(tmp_path)
    text = (tmp_path / "scores.csv").read_text().splitlines()
    some = [line for line in text if not line.startswith("hard,")]
    (tmp_path / "scores.csv").write_text("\n".join(some))
    assert "hard" not in study_tables.tables(tmp_path, {}, {})
    some += [line for line in text if line.startswith("hard,hard_0_paper,")]
    (tmp_path / "scores.csv").write_text("\n".join(some))
    rows = study_tables.read_rows(tmp_path / "scores.csv")
    blocks = study_hard.steps(rows, [])
    chain, alone = blocks.values()
    assert [len(grid.mig["BetaVAE"]) for grid in chain] == [3, 0, 0, 0, 0, 0, 0, 3]
    assert [len(grid.mig["BetaVAE"]) for grid in alone] == [3] + [0] * 7
    study_plots.hard_figure(tmp_path / "hard.png", blocks)
    assert (tmp_path / "hard.png").stat().st_size > 10_000
    lines = [[cell.strip() for cell in line.split("|")[4:-1]] for line in study_hard.hard_table(rows, []).splitlines()]
    assert lines.count(["–"] * 5) == 13
