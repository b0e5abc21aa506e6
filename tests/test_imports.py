"""The one rule for imports: scripts -> evaluation -> training -> dataset -> features -> models, metrics, the ground."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ["features", "dataset", "training", "evaluation"]  # each may import those before it
SCRIPTS = ["create", "trainvae", "eval"]
FILES = [path for folder in ("models", "metrics", "syntone") for path in sorted((ROOT / folder).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Absolute names of all modules that a file imports, at its top or inside functions."""
    package = path.relative_to(ROOT).parent.parts
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(
                [*package[: len(package) - node.level + 1], node.module or ""] if node.level else [node.module]
            )
            names |= {base.strip("."), *(f"{base.strip('.')}.{alias.name}" for alias in node.names)}
    return names


def rooms_of(names: set[str]) -> set[str]:
    """The rooms that imported names belong to; "ground" for modules of syntone beside the rooms."""
    found = set()
    for first, *rest in (name.split(".") for name in names):
        if first in ("models", "metrics", *SCRIPTS):
            found.add(first)
        elif first == "syntone" and rest:
            found.add(rest[0] if rest[0] in ROOMS else "ground")
    return found


def allowed(room: str) -> set[str]:
    if room in ("models", "metrics", "ground"):
        return {room}
    return {"ground", "models", "metrics", *ROOMS[: ROOMS.index(room) + 1]}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    top, *rest = path.relative_to(ROOT).parts
    room = top if top != "syntone" else rest[0] if rest[0] in ROOMS else "ground"
    assert rooms_of(imported(path)) <= allowed(room)


def test_a_backward_import_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "syntone" / "dataset" / "file.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "def load():\n    from syntone.training import loop\n    from . import recipe\n    import syntone.cli\n"
    )
    assert rooms_of(imported(path)) == {"training", "dataset", "ground"}
    assert not rooms_of(imported(path)) <= allowed("dataset")


def test_metrics_do_not_know_torch():
    assert not any(
        name.split(".")[0] == "torch" for path in (ROOT / "metrics").rglob("*.py") for name in imported(path)
    )


def test_models_never_touch_disk():
    for path in (ROOT / "models").rglob("*.py"):
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        assert "open" not in {node.func.id for node in nodes if isinstance(node.func, ast.Name)}
        assert not imported(path) & {"pathlib", "os", "io", "shutil"}


def test_create_starts_without_torch_and_scipy():
    code = "import sys, create; create.main(['--freq_end', '9000']); print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=True)
    loaded = set(found.stdout.split())
    assert "numpy" in loaded and not loaded & {"torch", "scipy", "scipy.signal", "matplotlib"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_importing_a_script_does_nothing(script, tmp_path):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {script}"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, text=True, capture_output=True, check=True)
    assert found.stdout == found.stderr == "" and not list(tmp_path.iterdir())
