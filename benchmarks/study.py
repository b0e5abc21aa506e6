"""The study: which factors the models disentangle, by the three scripts alone.

    python benchmarks/study.py                                   # everything, two trainings at a time on two cores
    python benchmarks/study.py --parts clean gainshape --seeds 0 1 2 3 4 5 6 7 8 9
    python benchmarks/study.py --parts clean gainshape --models MyVAE         # the rows of other models stay
    python benchmarks/study.py --together --jobs 1               # on a GPU: all seeds of a model in one command
    python benchmarks/study.py --list | xargs -P 2 -I{} sh -c '{}'
    python benchmarks/study.py --rescore                         # from the codes in benchmarks/study/codes/
    python benchmarks/study.py --tables                          # from benchmarks/study/*.csv alone

Trains what is not trained yet (checkpoints/study/), scores what is not scored yet (results/study/), and writes
benchmarks/study/: scores.csv and selection.csv with every number, ceilings.csv with upper bounds of MIG by the audits,
codes, provenance.csv with commits and dates, the tables and the plots. Start it again after anything went wrong, or
after --list has run elsewhere: what is finished is left alone. Give the options again that it was started with.

When a metric has changed, --rescore computes all scores again that need codes alone, without training. Reconstruction
errors and controllability of models, which need their decoders, keep their values.
"""

import argparse
import concurrent.futures
import csv
import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import study_tables  # noqa: E402
from benchmarks.study_rows import CURVES, read_rows  # noqa: E402
from benchmarks.study_settings import ALONE, CANDIDATES, CHAIN, DATASETS, PAIR_CANDIDATES, PARTS, SETTINGS, Setting  # noqa: E402
from models import MODELS  # noqa: E402
from syntone.evaluation.load import marked  # noqa: E402
from syntone.evaluation.scores import CONTROL, ERROR  # noqa: E402
from syntone.files import atomic_write, csv_text  # noqa: E402

FOLDER = ROOT / "benchmarks" / "study"
PAGES = [ROOT / "README.md", ROOT / "docs" / "results.md"]
DECODED = (CONTROL, ERROR)  # begin the names of scores that need a decoder


def checkpoints(setting: Setting) -> list[Path]:
    """Those that are there, of the models of the setting."""
    folder = ROOT / setting.folder("checkpoints")
    return [path for model in setting.models for path in sorted(folder.glob(f"{model}_seed*.pt"))]


def codes_folder(setting: Setting) -> Path:
    """Where the codes of a setting are kept."""
    return FOLDER / "codes" / setting.name


def parse_flags(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=PARTS, help="what to train and score (default: all)"
    )
    parser.add_argument(
        "--seeds",
        nargs="+",
        type=int,
        default=[0, 1, 2],
        help="training seeds (default: 0 1 2; the candidates for the defaults have 100 to 102)",
    )
    parser.add_argument(
        "--models", nargs="+", choices=MODELS, help="train and score only these; the rows of the others stay"
    )
    parser.add_argument("--epochs", type=int, default=40, help="default: 40")
    parser.add_argument("--anneal_epochs", type=int, default=34, help="default: 34")
    parser.add_argument(
        "--jobs", type=int, default=max(1, os.cpu_count() or 1), help="trainings at a time (default: one a core)"
    )
    parser.add_argument("--together", action="store_true", help="one command for all seeds of a model, as suits a GPU")
    parser.add_argument("--list", action="store_true", help="print the commands of the trainings and do nothing")
    parser.add_argument("--rescore", action="store_true", help="train nothing: scores from the codes that are kept")
    parser.add_argument(
        "--tables", action="store_true", help="train and score nothing: tables and plots from the CSV files"
    )
    return parser.parse_args(argv)


def trainings(settings: list[Setting], args: argparse.Namespace) -> list[list[str]]:
    """The commands of all trainings, each of one model and seed (or of all its seeds)."""
    commands = []
    for setting in settings:
        seeds = list(setting.seeds or args.seeds)
        for model in setting.models:
            for group in [seeds] if args.together else [[seed] for seed in seeds]:
                commands.append(
                    [
                        sys.executable,
                        "trainvae.py",
                        "--dataset",
                        setting.dataset,
                        "--model",
                        model,
                        "--seeds",
                        *map(str, group),
                        "--epochs",
                        str(setting.epochs or args.epochs),
                        "--anneal_epochs",
                        str(setting.anneal_epochs or args.anneal_epochs),
                        *shlex.split(setting.flags),
                        *shlex.split(setting.own.get(model, "")),
                        "--output_dir",
                        str(setting.folder("checkpoints")),
                        "--resume",
                    ]
                )
    return commands


def run_all(commands: list[list[str]], *, jobs: int, desc: str) -> None:
    """Run commands, `jobs` at a time, each with its share of the cores; no new one starts after a failure."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}

    def run(command: list[str]) -> subprocess.CompletedProcess:
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    with (
        concurrent.futures.ThreadPoolExecutor(jobs) as pool,
        tqdm(total=len(commands), desc=desc, unit="run", delay=2) as bar,
    ):
        waiting = {pool.submit(run, command): command for command in commands}
        for done in concurrent.futures.as_completed(waiting):
            if done.result().returncode:
                pool.shutdown(wait=False, cancel_futures=True)
                sys.exit(f"{shlex.join(waiting[done])}\n{done.result().stderr.strip()}")
            bar.update()


def evaluations(settings: list[Setting]) -> list[tuple[Setting, list[str]]]:
    """Commands of evaluations that are missing, older than a checkpoint, or of other checkpoints or metrics."""
    commands = []
    for setting in settings:
        paths = [path.relative_to(ROOT) for path in checkpoints(setting)]
        scores = ROOT / setting.folder("results") / "metrics.json"
        newest = max((ROOT / path).stat().st_mtime for path in paths)
        done = scores.exists() and scores.stat().st_mtime > newest
        asked = {"checkpoints": [str(path) for path in paths], "metrics": setting.metrics and list(setting.metrics)}
        if done and asked.items() <= json.loads(scores.read_text()).items():
            continue
        more = ["--metrics", *setting.metrics] if setting.metrics else []
        more += ["--write_codes"] if setting.codes_kept else []
        more += ["--baselines", *((setting.codes_kept and setting.baselines) or ["none"])]
        folder = ["--no_figures", "--output_dir", str(setting.folder("results"))]
        command = [sys.executable, "eval.py", "--model", *map(str, paths), *folder, *more]
        commands.append((setting, command))
    return commands


def rescorings(settings: list[Setting]) -> list[tuple[Setting, list[str]]]:
    """Commands that score the codes that are kept."""
    commands = []
    for setting in settings:
        kept = sorted(codes_folder(setting).glob("*.npz"))
        if paths := [path for path in kept if path.stem.rsplit("_seed", 1)[0] in setting.models]:
            flags = [*shlex.split(setting.flags), "--features", "logmel"]
            given = ["--codes", *[str(path.relative_to(ROOT)) for path in paths], "--dataset", setting.dataset]
            given += ["--features", flags[flags.index("--features") + 1], "--no_figures", "--baselines"]
            given += [name for name in setting.baselines if name != "untrained"] or ["none"]  # it needs a checkpoint
            given += ["--metrics", *setting.metrics] if setting.metrics else []
            folder = ["--output_dir", str(setting.folder("rescored"))]
            commands.append((setting, [sys.executable, "eval.py", *given, *folder]))
    return commands


def rescored(old: list[dict], new: list[dict]) -> list[dict]:
    """Replace the scores of a setting, but keep those of decoders, and of models and seeds that have no codes."""
    keys = ("model", "seed"), ("model", "seed", "metric")
    scored, known = ({tuple(row[name] for name in names) for row in new} for names in keys)
    stay = [row for row in old if (row["model"], row["seed"]) not in scored or row["metric"].startswith(DECODED)]
    stay = [row for row in stay if (row["model"], row["seed"], row["metric"]) not in known]
    return in_order(stay + new)


def in_order(rows: list[dict]) -> list[dict]:
    """Sort rows: the models in the order of MODELS, then the baselines."""
    columns = [*map(marked, MODELS), *dict.fromkeys(row["model"] for row in rows)]
    return sorted(rows, key=lambda row: columns.index(row["model"]))


def beside_others(name: str, setting: Setting, rows: list[dict]) -> list[dict]:
    """Add the rows of the models and baselines that a CSV file of the study has and `rows` has not."""
    found = {row["model"] for row in rows}
    return in_order([row for row in kept_rows(name).get(setting.name, []) if row["model"] not in found] + rows)


def kept_rows(name: str) -> dict[str, list[dict]]:
    """Read the rows of a CSV file of the study by setting. A missing file has no rows."""
    path, known = FOLDER / f"{name}.csv", {}
    if path.exists():
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                known.setdefault(row["setting"], []).append(row)
    return known


def write_rows(name: str, found: dict[str, list[dict]]) -> None:
    """Write the rows of some settings into a CSV file of the study; those of other settings stay."""
    known = kept_rows(name) | {setting: rows for setting, rows in found.items() if rows}
    if rows := [row for setting in SETTINGS for row in known.get(setting.name, [])]:
        write_csv(FOLDER / f"{name}.csv", rows)


def keep_codes(setting: Setting) -> None:
    """Copy the codes that eval.py wrote to the folder that git keeps."""
    for path in sorted((ROOT / setting.folder("results") / "codes").glob("*.npz")):
        codes_folder(setting).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, codes_folder(setting) / path.name)


def this_commit() -> str:
    """Return commit and date; `-dirty` where tracked files differ from the commit."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return f"{commit.stdout.strip() or 'unknown commit'}, {date.today()}"


def note_commit(settings: list[Setting], column: str, words: str, models: list[str] | None) -> None:
    """Write into provenance.csv with which commit and when settings, or some models in them, were trained or scored."""
    path, columns = FOLDER / "provenance.csv", ("setting", "trained", "scored")
    known = {row["setting"]: row for row in read_rows(path)}
    empty = dict.fromkeys(columns, "")
    new = {}
    for one in settings:
        row = empty | known.get(one.name, {"setting": one.name})
        before = row[column].split(f"; {', '.join(models)}: ")[0] + "; " if models and row[column] else ""
        new[one.name] = [row | {column: f"{before}{', '.join(models)}: {words}" if models else words}]
    write_rows("provenance", new)


def create_dataset(path: str) -> None:
    given = [*shlex.split(DATASETS[path]), "--file_path", path]
    if subprocess.run([sys.executable, "create.py", *given], cwd=ROOT).returncode:
        sys.exit(f"study.py: {path} could not be made")


def ceiling_row(setting: Setting) -> dict:
    """The upper bound of MIG by the audit of the setting's dataset, which is audited unless it has been."""
    dataset = ROOT / setting.dataset
    path = dataset.with_suffix(".audit.json")
    if not path.exists() or path.stat().st_mtime < dataset.stat().st_mtime:
        pictures = str(Path("Dataset") / "Figures" / dataset.stem)
        command = [sys.executable, "create.py", "--audit", setting.dataset, "--figures_dir", pictures]
        subprocess.run(command, cwd=ROOT, check=True)
    report = json.loads(path.read_text())
    names = ("dataset", "tones", "indistinguishable", "mig_ceiling")
    return {"setting": setting.name} | {name: report[name] for name in names}


def rows_of(setting: Setting, base: str) -> list[dict]:
    """The scores that an evaluation of the setting wrote, none if there is none."""
    path = ROOT / setting.folder(base) / "metrics.csv"
    strength = "" if setting.strength is None else setting.strength
    more = {"part": setting.part, "setting": setting.name, "strength": strength}
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [more | row for row in csv.DictReader(file)]


def write_csv(path: Path, rows: list[dict]) -> None:
    with atomic_write(path) as handle:
        columns = dict.fromkeys(name for row in rows for name in row)
        handle.write(csv_text(columns, [[row.get(name, "") for name in columns] for row in rows]).encode())


def curves(settings: list[Setting]) -> dict[str, list[dict]]:
    """Loss terms by epoch of all trainings outside sweeps, from the histories beside the checkpoints."""
    rows: dict[str, list[dict]] = {}
    for setting in settings:
        for path in checkpoints(setting) if setting.part in study_tables.TITLES else []:
            model, seed = path.stem.rsplit("_seed", 1)
            with path.with_suffix(".csv").open(newline="") as file:
                rows.setdefault(setting.name, []).extend(
                    {
                        "setting": setting.name,
                        "model": marked(model),
                        "seed": seed,
                        "epoch": line["epoch"],
                        **{key: f"{float(line[key]):.6g}" for key in CURVES},
                    }
                    for line in csv.DictReader(file)
                )
    return rows


def main(argv: list[str] | None = None) -> int:
    args, commit = parse_flags(argv), this_commit()  # before any file of the study changes
    chosen = [setting for setting in SETTINGS if setting.part in args.parts]
    if args.models:
        chosen = [replace(one, models=tuple(set(one.models) & set(args.models)), baselines=()) for one in chosen]
        chosen = [one for one in chosen if one.models]
    commands = trainings(chosen, args)
    if args.list:
        print("\n".join(map(shlex.join, commands)))
        return 0
    if args.rescore:
        waiting = rescorings(chosen)
        for path in dict.fromkeys(setting.dataset for setting, _ in waiting):
            create_dataset(path)
        run_all([command for _, command in waiting], jobs=args.jobs, desc="evaluations")
        for setting, _ in waiting:
            before = kept_rows("scores").get(setting.name, [])
            write_rows("scores", {setting.name: rescored(before, rows_of(setting, "rescored"))})
        note_commit([setting for setting, _ in waiting], "scored", commit, args.models)
    elif not args.tables:
        audited = [one for one in SETTINGS if one.name in {*CHAIN, *ALONE} and "hard" in {one.part for one in chosen}]
        for path in dict.fromkeys(setting.dataset for setting in chosen + audited):
            create_dataset(path)
        write_rows("ceilings", {setting.name: [ceiling_row(setting)] for setting in audited})
        before = {path: path.stat().st_mtime_ns for setting in chosen for path in checkpoints(setting)}
        run_all(commands, jobs=args.jobs, desc="trainings")
        changed = [one for one in chosen if any(before.get(p) != p.stat().st_mtime_ns for p in checkpoints(one))]
        note_commit(changed, "trained", commit, args.models)
        waiting = evaluations(chosen)
        run_all([command for _, command in waiting], jobs=args.jobs, desc="evaluations")
        note_commit([setting for setting, _ in waiting], "scored", commit, args.models)
        for setting in chosen:
            keep_codes(setting)
            name = "selection" if "selection" in setting.part else "scores"
            rows = rows_of(setting, "results")
            write_rows(name, {setting.name: beside_others(name, setting, rows) if args.models else rows})
        found = {name: in_order(rows) for name, rows in curves(chosen).items()}
        if args.models:
            found = {one.name: beside_others("curves", one, found.get(one.name, [])) for one in chosen}
        write_rows("curves", found)
    study_tables.write_all(FOLDER, CANDIDATES, PAIR_CANDIDATES)
    try:
        study_tables.fill(PAGES, FOLDER)
    except FileNotFoundError as missing:
        sys.exit(f"study.py: a page names a table that is missing, {Path(missing.filename).name}; run its part first")
    print(f"tables and plots: {FOLDER.relative_to(ROOT)}; also in {', '.join(path.name for path in PAGES)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
