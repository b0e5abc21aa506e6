"""The tables of the study, from the CSV files beside them: nothing here trains or scores.

Pages hold some of them between two comments, `<!-- study: NAME -->` and `<!-- end -->`; `fill` writes them there.
"""

import re
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from benchmarks import study_choice, study_hard, study_plots, study_transfer
from benchmarks.study_rows import as_results, read_rows, spread, values
from benchmarks.study_settings import LONGER
from syntone.evaluation import tables as results
from syntone.evaluation.load import BASELINE, marked
from syntone.files import write_files

# Settings of the tables, in the order of the tables.
TITLES = {
    "published": "published, `paper4000`",
    "grid": "defaults, `paper4000`",
    "clean": "defaults, `clean`",
    "gainshape": "`gainshape`, `clean`",
    "paper": "defaults, `paper`",
    "large": "`gainshape`, `paper`",
    "notes": "`logmel`, notes",
    "notes_gainshape": "`gainshape`, notes",
}
NOTES = ("notes", "notes_gainshape")  # have factors of their own, and tables
SUMMARY = {  # settings of the README's table
    "gainshape": "`gainshape`, `clean`",
    "clean": "`logmel`, `clean`",
    "paper": "`logmel`, `paper`",
}
PAIRED = marked("AdaGVAE")
NEW_PAIRS = "new in every epoch"
LINEAR = (f"{BASELINE}PCA", f"{BASELINE}ICA")


def overview(rows: list[dict], settings: list[str]) -> str:
    """A line a model and setting: MIG with floor, ceiling and adjusted value, and what stands behind it."""
    rows = [row for row in rows if row["setting"] in settings]
    factors = list(dict.fromkeys(row["factor"] for row in rows if row["metric"] == "MIG" and row["factor"] is not None))
    columns = {
        "SAP": "SAP",
        "DCI disentanglement": "DCI D",
        "DCIMIG": "DCIMIG",
        "controllability": "controllability, adjusted",
        "UDR": "UDR",
        "active latents": "active",
        "reconstruction error (dB)": "error, dB",
    }
    shown = {name: title for name, title in columns.items() if any(row["metric"] == name for row in rows)}
    cells = [["setting", "model", "seeds", "MIG", *[f"MIG, {factor}" for factor in factors], *shown.values()]]
    for setting in settings:
        mine = [row for row in rows if row["setting"] == setting]
        for model in dict.fromkeys(row["model"] for row in mine):
            one = [row for row in mine if row["model"] == model]
            mig = values(one, "MIG")
            cell = (
                f"{spread(mig)} [{values(one, 'MIG', column='floor').mean():.2f}, "
                f"{values(one, 'MIG', column='ceiling').mean():.2f}] → {spread(values(one, 'MIG', column='adjusted'))}"
            )
            rest = [
                spread(
                    values(one, name, column="adjusted" if name == "controllability" else "value"),
                    1 if name in ("active latents", "reconstruction error (dB)") else 2,
                )
                for name in shown
            ]
            cells.append(
                [
                    TITLES[setting],
                    model,
                    str(len(mig)),
                    cell,
                    *[spread(values(one, "MIG", name)) for name in factors],
                    *rest,
                ]
            )
    return results.to_markdown(cells)


def summary(rows: list[dict], settings: list[str]) -> str:
    """The README's table: five numbers per model, both front ends on `clean`, the default one on `paper`."""
    columns = {"MIG": 2, "DCI disentanglement": 2, "SAP": 2, "UDR": 2, "reconstruction error (dB)": 1}
    cells = [["front end, grid", "model", *columns]]
    for setting in settings:
        mine = [row for row in rows if row["setting"] == setting]
        for model in dict.fromkeys(row["model"] for row in mine):
            if model.startswith(BASELINE) and not model.startswith(LINEAR):
                continue
            one = [row for row in mine if row["model"] == model]
            numbers = [spread(values(one, metric), digits) for metric, digits in columns.items()]
            cells.append([SUMMARY[setting], model, *numbers])
    return results.to_markdown(cells)


def whole_table(rows: list[dict], setting: str) -> str:
    """Every metric of a setting, as eval.py prints it."""
    mine = as_results([row for row in rows if row["setting"] == setting])
    return results.to_markdown(results.table(mine)) + f"\n{results.caption(mine)}\n"


def longer_table(rows: list[dict], curves: list[dict]) -> str:
    """Scores and validation losses of seed 0 after the epochs of a setting, and after four times as many."""
    columns = {"MIG": 2, "SAP": 2, "DCI disentanglement": 2, "reconstruction error (dB)": 1}
    head = ["model", "setting", "epochs", "reconstruction + KL, nats", "its change over five epochs", *columns]
    cells = []
    for short, long in LONGER.items():
        for model in dict.fromkeys(row["model"] for row in rows if row["setting"] == long):
            for setting in (short, long):
                run = {"setting": setting, "model": model, "seed": 0}.items()
                one, curve = ([row for row in every if run <= row.items()] for every in (rows, curves))
                loss = np.array([row["valid_recon"] + row["valid_kl"] for row in curve])
                change = f"{100 * (loss[-5:].mean() / loss[-10:-5].mean() - 1):+.1f} %"
                numbers = [spread(values(one, metric), digits) for metric, digits in columns.items()]
                cells.append([model, TITLES[short], str(len(loss)), f"{loss[-1]:.1f}", change, *numbers])
    note = (
        "Seed 0. Reconstruction + KL is that of the validation sounds after the last epoch; its change is that of the "
        "mean over the last five epochs from the mean over the five before"
    )
    return results.to_markdown([head, *cells]) + f"\n{note}\n"


def strengths_table(rows: list[dict]) -> str:
    """MIG, UDR, active latents and reconstruction error by strength, and how MIG and UDR agree on the rows."""
    means = []
    cells = [["model", "what is varied", "strength", "seeds", "MIG", "UDR", "active", "error, dB"]]
    for model, points in study_plots.by_strength(rows).items():
        for strength, one in points.items():
            cells.append(
                [
                    model,
                    study_plots.STRENGTHS[model][0],
                    f"{strength:g}",
                    str(len(values(one, "MIG"))),
                    spread(values(one, "MIG")),
                    spread(values(one, "UDR")),
                    spread(values(one, "active latents"), 1),
                    spread(values(one, "reconstruction error (dB)"), 1),
                ]
            )
            means.append([values(one, "MIG").mean(), values(one, "UDR").mean()])
    agreement = spearmanr(*zip(*means)).statistic
    return (
        results.to_markdown(cells) + f"\nRank correlation (Spearman) of MIG and UDR over these rows: {agreement:.2f}\n"
    )


def correlations_table(rows: list[dict], settings: list[str]) -> str:
    """Rank correlation of every metric with MIG: over all checkpoints, over those of all settings but the published
    one, and within each setting."""
    groups = {"all": settings, "without the published": [one for one in settings if one != "published"]}
    groups |= {TITLES[one]: [one] for one in settings}
    rows = [row for row in rows if not row["model"].startswith(BASELINE)]
    found = {name: study_plots.adjusted_columns(rows, chosen) for name, chosen in groups.items()}
    found = {name: (keys, columns) for name, (keys, columns) in found.items() if len(keys) > 3 and "MIG" in columns}
    metrics = list(dict.fromkeys(metric for _, columns in found.values() for metric in columns if metric != "MIG"))
    cells = [["rank correlation with MIG", *found], ["checkpoints", *[str(len(keys)) for keys, _ in found.values()]]]
    for metric in metrics:
        cells.append(
            [
                metric,
                *[
                    f"{spearmanr(columns['MIG'], columns[metric]).statistic:.2f}" if metric in columns else "–"
                    for _, columns in found.values()
                ],
            ]
        )
    return results.to_markdown(cells)


def selection_table(rows: list[dict], candidates: dict[str, str]) -> str:
    """The candidates for the defaults: by what is known without labels, then what labels say afterwards."""
    cells = [["", "candidate", "UDR", "active", "error, dB", "MIG, looked at afterwards"]]
    for number, name in enumerate(candidates, start=1):
        one = [row for row in rows if row["setting"] == f"{number:02d}"]
        if one:
            cells.append(
                [
                    str(number),
                    name,
                    spread(values(one, "UDR")),
                    spread(values(one, "active latents"), 1),
                    spread(values(one, "reconstruction error (dB)"), 1),
                    spread(values(one, "MIG")),
                ]
            )
    return results.to_markdown(cells)


def pair_selection_table(rows: list[dict], candidates: dict[str, str]) -> str:
    """The candidates for the training on pairs, on both front ends."""
    cells = [["front end", "", "candidate", "UDR", "active", "error, dB", "MIG, looked at afterwards"]]
    for features in ("logmel", "gainshape"):
        for number, name in enumerate(candidates, start=1):
            one = [row for row in rows if row["setting"] == f"pairs_{features}_{number}"]
            numbers = [values(one, metric) for metric in ("UDR", "active latents", "reconstruction error (dB)", "MIG")]
            cells.append([features, str(number), name, *map(spread, numbers, (2, 1, 1, 2))])
    return results.to_markdown(cells)


def by_pairs(rows: list[dict]) -> dict[str, list[dict]]:
    """Rows of AdaGVAE with `logmel` on `clean` by its pairs: a number of fixed ones, or new ones in every epoch."""
    found: dict[str, list[dict]] = {}
    for row in rows:
        if row["part"] == "pairs" and row["strength"] is not None:
            found.setdefault(f"{int(row['strength']):,}", []).append(row)
    return found | {NEW_PAIRS: of_pairs(rows, "clean")}


def of_pairs(rows: list[dict], setting: str) -> list[dict]:
    return [row for row in rows if (row["setting"], row["model"]) == (setting, PAIRED)]


def pairs_table(rows: list[dict]) -> str:
    """What AdaGVAE reaches: by number of labelled pairs, with beta 4, and on other features and tones."""
    columns = {"SAP": "SAP", "DCI disentanglement": "DCI D", "reconstruction error (dB)": "error, dB"}
    found = {f"`logmel`, `clean`; {name}": one for name, one in by_pairs(rows).items()}
    found |= {
        f"{title}; {NEW_PAIRS}": one
        for title, setting in (
            ("`logmel`, `clean`, beta 4", "pairs_beta4"),
            ("`gainshape`, `clean`", "gainshape"),
            ("`logmel`, `paper4000`", "grid"),
        )
        if (one := of_pairs(rows, setting))
    }
    factors = list(dict.fromkeys(row["factor"] for one in found.values() for row in one if row["metric"] == "MIG"))
    titles = ["MIG", *[f"MIG, {factor}" for factor in factors if factor is not None], *columns.values()]
    cells = [["features, tones; pairs", "seeds", *titles, "controllability, adjusted"]]
    for name, one in found.items():
        numbers = [values(one, "MIG", factor) for factor in factors] + [values(one, metric) for metric in columns]
        numbers.append(values(one, "controllability", column="adjusted"))
        cells.append([name, str(len(numbers[0])), *map(spread, numbers)])
    return results.to_markdown(cells)


def tables(folder: Path, candidates: dict[str, str], pair_candidates: dict[str, str]) -> dict[str, str]:
    """Every table by name, as Markdown, from the CSV files in the folder."""
    scores, selected = read_rows(folder / "scores.csv"), read_rows(folder / "selection.csv")
    every = [setting for setting in TITLES if any(row["setting"] == setting for row in scores)]
    there = [setting for setting in every if setting not in NOTES]
    found = {"overview": overview(scores, there)} if there else {}
    if set(SUMMARY) <= set(there):
        found["summary"] = summary(scores, list(SUMMARY))
    found |= {setting: whole_table(scores, setting) for setting in every}
    if any(row["setting"] in LONGER.values() for row in scores):
        found["longer"] = longer_table(scores, read_rows(folder / "curves.csv"))
    if of_notes := [setting for setting in every if setting in NOTES]:
        found["overview_notes"] = overview(scores, of_notes)
        found["transfer"] = study_transfer.transfer_table(scores)
    if study_plots.by_strength(scores):
        found["strengths"] = strengths_table(scores)
    if study_plots.adjusted_columns(scores, there)[0]:
        found["correlations"] = correlations_table(scores, there)
    if provenance := read_rows(folder / "provenance.csv"):
        titled = [
            (TITLES[row["setting"]], row["trained"], row["scored"]) for row in provenance if row["setting"] in TITLES
        ]
        found["provenance"] = results.to_markdown([("setting", "trained", "scored"), *titled])
    if selected:
        found["selection"] = selection_table(selected, candidates)
    if any(row["part"] == "pair_selection" for row in selected):
        found["pair_selection"] = pair_selection_table(selected, pair_candidates)
    if any(row["part"] == "pairs" for row in scores):
        found["pairs"] = pairs_table(scores)
    if choice := study_choice.choice_table(scores, read_rows(folder / "curves.csv"), TITLES):
        found["choice"] = choice
    if any(row["part"] == "hard" for row in scores):
        found["hard"] = study_hard.hard_table(scores, read_rows(folder / "ceilings.csv"))
    return found


def write_all(folder: Path, candidates: dict[str, str], pair_candidates: dict[str, str]) -> None:
    """Write every table and plot beside the CSV files."""
    for name, text in tables(folder, candidates, pair_candidates).items():
        write_files({folder / f"{name}.md": text})
    scores = read_rows(folder / "scores.csv")
    if any(row["part"] == "hard" for row in scores):
        steps = study_hard.steps(scores, read_rows(folder / "ceilings.csv"))
        study_plots.hard_figure(folder / "hard.png", steps)
    if any(row["setting"] in NOTES for row in scores):
        study_transfer.transfer_figure(folder / "transfer.png", scores)
    scores = [row for row in scores if not row["model"].startswith(BASELINE)]
    if any(row["part"] == "pairs" for row in scores):
        of_clean = [row for row in scores if row["setting"] == "clean"]
        references = {
            f"{model}, no pairs": values([row for row in of_clean if row["model"] == model], "MIG").mean()
            for model in ("BTCVAE", "VAE")
        }
        study_plots.pairs_figure(folder / "pairs.png", by_pairs(scores), references)
    study_plots.draw_all(
        folder,
        scores=scores,
        selected=read_rows(folder / "selection.csv"),
        curves=read_rows(folder / "curves.csv"),
        titles=TITLES | {long: f"{TITLES[short]}, longer" for short, long in LONGER.items()},
        alone=(*NOTES, *LONGER.values()),
    )


def filled(page: str, folder: Path) -> str:
    """Return the text of a page with the tables of the folder in their places.

    Raises
    ------
    FileNotFoundError
        If the page names a table that the folder does not have.
    """

    def table(match: re.Match) -> str:
        return f"<!-- study: {match[1]} -->\n\n{(folder / f'{match[1]}.md').read_text()}\n<!-- end -->"

    return re.sub(r"<!-- study: (\w+) -->\n.*?<!-- end -->", table, page, flags=re.DOTALL)


def fill(pages: list[Path], folder: Path) -> None:
    """Write the tables of the folder into pages."""
    write_files({path: filled(path.read_text(), folder) for path in pages})
