"""The study's table of choices without labels, from numbers known by hand."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import study, study_choice, study_tables

ERROR, DCI = study.ERROR, "DCI disentanglement"


def rows(setting: str, model: str, *, strength: float | str = "", **means: float) -> list[dict]:
    """Two seeds, 0.1 below and above the means; `error` and `dci` are reconstruction error and DCI disentanglement."""
    names = {"mig": "MIG", "dci": DCI, "udr": "UDR", "error": ERROR}
    part = "strengths" if strength else setting
    row = {"part": part, "setting": setting, "strength": strength, "model": model, "factor": "all"}
    return [
        row | {"seed": seed, "metric": names[name], "value": mean + shift, "floor": "", "ceiling": "", "adjusted": ""}
        for name, mean in means.items()
        for seed, shift in ((0, -0.1), (1, 0.1))
    ]


def curve(setting: str, model: str, seed: int, epoch: int, recon: float, kl: float) -> dict:
    row = dict.fromkeys(("annealing", "train_recon", "train_kl", "valid_loss"), 0.0)
    row |= {"valid_recon": recon, "valid_kl": kl}
    return {"setting": setting, "model": model, "seed": seed, "epoch": epoch} | row


def write(folder: Path, scores: list[dict], curves: list[dict]) -> list[list[str]]:
    """Cells of the table that these rows give."""
    study.write_csv(folder / "scores.csv", scores)
    if curves:
        study.write_csv(folder / "curves.csv", curves)
    found = study_choice.choice_table(
        study_tables.read_rows(folder / "scores.csv"),
        study_tables.read_rows(folder / "curves.csv"),
        study_tables.TITLES,
    )
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in found.splitlines() if line.startswith("| ")]


def test_regrets_of_made_up_numbers(tmp_path):
    """Three models: UDR takes the best, recon + KL the second, the error the worst; DCI has another best."""
    scores = rows("clean", "VAE", mig=0.2, dci=0.6, udr=0.2, error=1)
    scores += rows("clean", "BetaVAE", mig=0.8, dci=0.5, udr=0.9, error=3)
    scores += rows("clean", "BTCVAE", mig=0.5, dci=0.9, udr=0.3, error=2)
    # Labels are in what follows: it would win everything.
    scores += rows("clean", "AdaGVAE (pairs)", mig=1, dci=1, udr=1, error=0)
    scores += rows("clean", "baseline: ICA (8)", mig=1, dci=1, error=0)
    curves = [curve("clean", "VAE", seed, epoch, 50 - epoch, 5) for seed in (0, 1) for epoch in (1, 2)]  # 53
    curves += [curve("clean", "BetaVAE", seed, 2, 30, 20) for seed in (0, 1)]  # 50
    # The first epoch is the best of all and the last counts: 48 and 50.
    curves += [curve("clean", "BTCVAE", seed, 2, 40 + 2 * seed, 8) for seed in (0, 1)]
    curves += [curve("clean", "BTCVAE", seed, 1, 1, 1) for seed in (0, 1)]
    curves += [curve("clean", "AdaGVAE (pairs)", 0, 2, 0, 0)]
    title, top = study_tables.TITLES["clean"], "0.80 (BetaVAE)"
    assert write(tmp_path, scores, curves)[1:] == [
        [title, "UDR, largest", "BetaVAE", "0.80", top, "0.00", "0.40"],
        [title, "recon + KL, smallest", "BTCVAE", "0.50", top, "0.30", "0.00"],
        [title, "error, smallest", "VAE", "0.20", top, "0.60", "0.30"],
        [title, "at random", "mean of 3", "0.50", top, "0.30", "0.23"],  # (0.6 + 0 + 0.3) / 3, (0.3 + 0.4 + 0) / 3
    ]


def test_a_criterion_that_a_candidate_lacks_is_not_used(tmp_path):
    scores = rows("clean", "VAE", mig=0.2, dci=0.6, udr=0.2, error=1) + rows("clean", "BetaVAE", mig=0.4, error=2)
    found = write(tmp_path, scores, [curve("clean", "VAE", 0, 1, 1, 1)])
    assert [line[1] for line in found[1:]] == ["error, smallest", "at random"]
    assert [line[5:] for line in found[1:]] == [["0.20", "–"], ["0.10", "–"]]
    assert write(tmp_path, rows("clean", "VAE", mig=0.2, udr=0.2), []) == []  # one model is not a choice
    assert write(tmp_path, rows("clean", "VAE", mig=0.2) + rows("clean", "BetaVAE", mig=0.2), []) == []


def test_strengths_are_one_group_with_the_defaults_among_them(tmp_path):
    scores = rows("gainshape", "BTCVAE", mig=0.5, udr=0.5, error=2)  # beta 6
    scores += rows("gainshape", "VAE", mig=0.9, udr=0.9, error=9)  # has no strength
    scores += rows("BTCVAE_1", "BTCVAE", strength=1.0, mig=0.7, udr=0.6, error=1)
    scores += rows("BTCVAE_24", "BTCVAE", strength=24.0, mig=0.3, udr=0.7, error=3)
    found = [line[1:4] + line[5:6] for line in write(tmp_path, scores, [])[1:] if "strengths" in line[0]]
    assert found == [
        ["UDR, largest", "BTCVAE 24", "0.30", "0.40"],
        ["error, smallest", "BTCVAE 1", "0.70", "0.00"],
        ["at random", "mean of 3", "0.50", "0.20"],
    ]


def test_the_table_of_the_study_against_numpy_on_its_files():
    """By a way of its own: each chosen model has the extreme value, and the regret is the distance from the best."""
    scores = study_tables.read_rows(study.FOLDER / "scores.csv")
    text = study_tables.tables(study.FOLDER, study.CANDIDATES, study.PAIR_CANDIDATES)["choice"]
    settings = {title: name for name, title in study_tables.TITLES.items()}
    seen = 0
    for line in [line for line in text.splitlines() if line.startswith("| ")]:
        title, criterion, chosen, own, _, regret, of_dci = (cell.strip() for cell in line.split("|")[1:-1])
        metric = {"UDR, largest": "UDR", "error, smallest": ERROR}.get(criterion)
        if title not in settings or metric is None:
            continue
        mine = [row for row in scores if row["setting"] == settings[title] and row["factor"] is None]
        models = {row["model"] for row in mine if "baseline" not in row["model"] and "pairs" not in row["model"]}
        mean = {
            (model, name): np.mean([row["value"] for row in mine if (row["model"], row["metric"]) == (model, name)])
            for model in models
            for name in (metric, "MIG", DCI)
        }
        extreme = (max if metric == "UDR" else min)(models, key=lambda model: mean[model, metric])
        assert chosen == extreme and float(own) == pytest.approx(mean[chosen, "MIG"], abs=0.0051)
        for name, cell in (("MIG", regret), (DCI, of_dci)):
            best = max(mean[model, name] for model in models)
            assert float(cell) == pytest.approx(best - mean[chosen, name], abs=0.0051)
        seen += 1
    assert seen == 12
