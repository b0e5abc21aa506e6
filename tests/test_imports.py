"""The house rules that imports can break."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {"models": {"models"}, "metrics": {"metrics"}, "syntone": {"syntone", "models"}}


def imported(path: Path) -> set[str]:
    """The first words of all that a file imports, at its top or inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_run_one_way(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        assert imported(path) & {"models", "metrics", "syntone", "create", "trainvae", "eval"} <= ALLOWED[package], path


def test_metrics_do_not_know_torch():
    assert all("torch" not in imported(path) for path in (ROOT / "metrics").rglob("*.py"))


@pytest.mark.parametrize("path", [*(ROOT / "models").rglob("*.py")], ids=lambda path: path.name)
def test_models_never_touch_disk(path):
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert "open" not in calls and not imported(path) & {"pathlib", "os", "io", "shutil"}


def modules_after(code: str) -> set[str]:
    found = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=True,
    )
    return set(found.stdout.split())


def test_create_starts_without_torch_and_scipy():
    loaded = modules_after("import create; create.main(['--freq_end', '9000'])")
    assert "numpy" in loaded and not loaded & {"torch", "scipy", "scipy.signal", "matplotlib"}


@pytest.mark.parametrize(
    "script, wrong_flag", [("trainvae", ["--epochs", "-1"]), ("eval", ["--model", "a.pt", "--state", "worst"])]
)
def test_flags_are_checked_before_torch_is_imported(script, wrong_flag):
    loaded = modules_after(f"import {script}; assert {script}.main({wrong_flag!r}) == 2")
    assert "torch" not in loaded
