"""Commands, code, links and defaults in README.md and docs/ are right."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

import create
import eval as evaluate_script
import models.vae
import trainvae
from syntone.dataset import load_npz
from syntone.features.front_end import DEFAULTS
from syntone.training.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parent.parent
PAGES = {path: path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}
TEXT = "\n".join(PAGES.values())
SCRIPTS = {"create.py": create, "trainvae.py": trainvae, "eval.py": evaluate_script}
# In code blocks from the start of a line; in running text and tables between backticks.
COMMAND = r"(?:^|`)python ((?:create|trainvae|eval)\.py(?! --help)[^`\n]*)"
COMMANDS = sorted(set(re.findall(COMMAND, TEXT, flags=re.MULTILINE)))
CODE = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


def test_readme_is_of_one_sitting_and_has_the_three_commands():
    readme = PAGES[ROOT / "README.md"]
    assert len(readme.splitlines()) <= 320 and len(readme.encode()) <= 26_000
    for name in SCRIPTS:
        assert re.search(rf"^python {re.escape(name)}", readme, flags=re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the files that flags name are there, empty
    (tmp_path / "recordings").mkdir()
    for name in (
        "Dataset/my_dataset.npz",
        "Dataset/syntone.npz",
        "Dataset/clean.npz",
        "Dataset/recordings.npz",
        "checkpoints/VAE_seed0.pt",
        "checkpoints/BetaVAE_seed0.pt",
        "checkpoints/gainshape/VAE_seed0.pt",
        "checkpoints/pairs/AdaGVAE_seed0.pt",
        "checkpoints/logmel/VAE_seed0.pt",
        "labels.csv",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    words = shlex.split(command)
    argv = [match for word in words[1:] for match in (map(str, Path().glob(word)) if "*" in word else [word])]
    SCRIPTS[words[0]].parse_flags(argv)


SMALLER = {  # the last value of a flag counts
    "create.py": "--num_freqs 4 --num_amps 3 --duration 0.4",
    "trainvae.py": "--epochs 1 --anneal_from 1 --seeds 0 --channels 8 --hidden 16 --device cpu --output_dir {}",
    "eval.py": "--metrics mig --no_figures --device cpu",
}


@pytest.mark.long
def test_every_command_runs(tmp_path, monkeypatch):
    """On smaller grids, for one epoch: first the datasets, then the trainings, then the evaluations."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recordings").mkdir()
    rows = [f"{i}.wav,{('flute', 'violin')[i % 2]},{60 + i % 3}" for i in range(24)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,instrument,pitch", *rows]))
    for i in range(24):
        wave = 0.1 * np.random.default_rng(i).standard_normal(4000).astype(np.float32)
        wavfile.write(tmp_path / "recordings" / f"{i}.wav", 16000, wave)
    for name, script in SCRIPTS.items():
        of_script = [command.removeprefix(name) for command in COMMANDS if command.startswith(name)]
        of_script = [command for command in of_script if "--preset notes" not in command]  # tests/dataset/test_notes.py
        of_script.sort(key=lambda command: "--pairs" in command)  # of a dataset that another command makes
        if name == "trainvae.py":  # the first trains the models that are evaluated
            of_script.sort(key=lambda command: "--model" in command)
        for number, command in enumerate(of_script):
            whole = any(flag in command for flag in ("--from_wav", "--self_test", "--pairs"))
            more = "" if whole else SMALLER[name]
            if "--output_dir" in command:  # a later command evaluates what is there
                more = more.replace("--output_dir {}", "")
            words = f"{command} {more}".format("checkpoints" if not number else f"checkpoints{number}").split()
            if "--codes" in words:
                for file in (word for word in words if word.startswith("mine")):
                    np.savez(file, codes=np.random.default_rng(0).normal(size=(len(load_npz("Dataset/clean.npz")), 4)))
            argv = [match for word in words for match in (map(str, Path().glob(word)) if "*" in word else [word])]
            assert script.main([word.strip('"') for word in argv]) == 0, (name, command)


def test_make_targets_are_there():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"`make ([\w-]+)`", TEXT)) <= targets


def anchors(page: str) -> set[str]:
    """Return the anchors that a page's headings have when it is rendered."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page, flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_and_pictures_are_there(path):
    for target in re.findall(r"\]\(([^)]+)\)", PAGES[path]) + re.findall(r'src="([^"]+)"', PAGES[path]):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked.read_text()), target


def test_every_page_is_linked_from_the_readme():
    linked = set(re.findall(r"\]\(docs/([\w.]+)", PAGES[ROOT / "README.md"]))
    assert linked == {path.name for path in PAGES if path.parent.name == "docs"}


def test_metrics_on_arrays_of_ones_own(capsys):
    code = next(block for block in CODE if "from metrics import evaluate, mig" in block)
    exec(compile(code, "docs", "exec"), {})
    out = capsys.readouterr().out
    assert float(out.split()[0]) > 0.5 and "MIG" in out and "SAP" in out


def test_codes_of_any_encoder_are_trained_and_scored(tmp_path, monkeypatch):
    """An encoder that is not ours, on a small grid, with the command below it; MIG against the metric itself."""
    from metrics import mig

    monkeypatch.chdir(tmp_path)
    grid = "--preset clean --num_freqs 4 --num_amps 3 --duration 0.2 --file_path Dataset/clean.npz"
    assert create.main(grid.split()) == 0
    code = next(block for block in CODE if "DataLoader" in block)
    exec(compile(code, "docs", "exec"), {})
    page = (ROOT / "docs" / "adding.md").read_text()
    command = re.search(r"^python eval.py (--codes .*)$", page, flags=re.MULTILINE)[1]
    assert evaluate_script.main([*command.split(), "--metrics", "mig", "--no_figures", "--device", "cpu"]) == 0
    header, *lines = (tmp_path / "results" / "table.md").read_text().splitlines()
    assert [cell.strip() for cell in header.split("|")][2:4] == ["mine", "baseline: PCA (4)"]
    expected = mig(factors=load_npz("Dataset/clean.npz").factors, codes=np.load("mine_seed0.npz")["codes"])
    (row,) = [line for line in lines if line.startswith("| MIG ")]
    assert f"| {expected:.3f} [" in row


def test_arrays_of_ones_own_become_a_dataset(tmp_path, monkeypatch):
    from syntone.dataset.file import load_npz

    monkeypatch.chdir(tmp_path)
    code = next(block for block in CODE if "import save_npz" in block)
    exec(compile(code, "docs", "exec"), {})
    dataset = load_npz("Dataset/own.npz")
    assert dataset.x.shape == (60, 8000) and dataset.factors[:, 0].tolist() == [0] * 20 + [1] * 20 + [2] * 20
    assert trainvae.main(["--dataset", "Dataset/own.npz", "--model", "VAE", "--epochs", "1", "--device", "cpu"]) == 0


def test_a_trained_model_is_used_in_ones_own_script(tmp_path, monkeypatch, dataset_path):
    from syntone.dataset import load_npz, read_wav

    monkeypatch.chdir(tmp_path)
    assert trainvae.main(f"--dataset {dataset_path} --model BTCVAE --epochs 1 --device cpu".split()) == 0
    dataset = load_npz(dataset_path)
    wavfile.write("tone.wav", dataset.sample_rate, np.array(dataset.x[0]))
    code = next(block for block in CODE if "load_checkpoint" in block)
    exec(compile(code, "docs", "exec"), {})
    rate, wave = read_wav("moved.wav")
    assert (rate, wave.shape) == (dataset.sample_rate, dataset.x[0].shape) and 0 < np.abs(wave).max() < 2


def test_the_model_of_the_example_is_trained_and_scored(tmp_path, dataset_path):
    from models import MODELS

    code = next(block for block in CODE if "class " in block)
    names = {"__name__": "models.free_bits"}
    exec(compile(code, "docs", "exec"), names)
    MODELS["FreeBitsVAE"] = names["FreeBitsVAE"]
    try:
        assert (
            trainvae.main(
                [
                    "--dataset",
                    str(dataset_path),
                    "--model",
                    "FreeBitsVAE",
                    "--beta",
                    "7",
                    "--epochs",
                    "1",
                    "--output_dir",
                    str(tmp_path),
                    "--device",
                    "cpu",
                ]
            )
            == 0
        )
        path = tmp_path / "FreeBitsVAE_seed0.pt"
        config = load_checkpoint(path).model_config
        assert config.items() >= {"input_shape": (1, 128, 8), "latent_dim": 8, "beta": 7.0, "free": 0.5}.items()
        assert config["sigma"] == 0.3 and config["channels"] == (32, 64, 64)
        assert "train_paid" in (tmp_path / "FreeBitsVAE_seed0.csv").read_text()
        assert (
            evaluate_script.main(
                [
                    "--model",
                    str(path),
                    "--metrics",
                    "mig",
                    "--no_figures",
                    "--device",
                    "cpu",
                    "--output_dir",
                    str(tmp_path / "results"),
                ]
            )
            == 0
        )
        assert "FreeBitsVAE" in (tmp_path / "results" / "table.md").read_text()
    finally:
        del MODELS["FreeBitsVAE"]


def test_the_networks_of_the_example_are_trained(tmp_path, monkeypatch, dataset_path):
    from models import MODELS

    names = {"__name__": "models.dense"}
    exec(compile(next(block for block in CODE if "class DenseVAE" in block), "docs", "exec"), names)
    monkeypatch.setitem(MODELS, "DenseVAE", names["DenseVAE"])
    flags = f"--dataset {dataset_path} --model DenseVAE --latent_dim 5 --epochs 1 --device cpu --output_dir {tmp_path}"
    assert trainvae.main(flags.split()) == 0
    encoder = load_checkpoint(tmp_path / "DenseVAE_seed0.pt").model().encoder
    assert encoder[-1].out_features == 10


def test_nothing_was_left_to_fill_in():
    assert not re.search(r"@\w+@|TODO|\b[A-Z]+_NOTES\b", TEXT)


def test_defaults_in_the_table_of_models_are_the_constructors():
    import inspect

    from models import MODELS

    for name in ("BetaVAE", "FactorVAE", "BTCVAE", "DIPVAE", "CapacityVAE"):
        row = next(line for line in TEXT.splitlines() if re.match(rf"\| {name} .*`--", line))
        flags = re.findall(r"--(\w+) ([\w.]+)", row)
        assert flags
        for flag, default in flags:
            stated = inspect.signature(MODELS[name]).parameters[flag].default
            assert default == (stated if isinstance(stated, str) else f"{stated:g}")


def test_numbers_that_flags_set_are_the_defaults():
    args = create.parse_flags([])
    assert (args.num_freqs, args.num_amps, args.sample_rate) == (400, 20, 16000)
    assert np.isclose(models.VAE().sigma, 0.3)


def test_front_ends_in_the_table_have_the_defaults_of_the_flags():
    for kind, flags in DEFAULTS.items():
        row = next(line for line in TEXT.splitlines() if re.match(rf"\| {kind} .*`--n_mels", line))
        assert {name: float(value) for name, value in re.findall(r"--(\w+) (-?[\d.]+)", row)} == flags
