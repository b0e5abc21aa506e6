"""Fixtures of several rooms: a small dataset, a sandbox of good files, and the check that a script refuses."""

import re
import signal
from pathlib import Path

import pytest
import sandbox

import create
from syntone.evaluation import media

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a background job, whose children would ignore Ctrl-C too
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def dataset_path(tmp_path_factory) -> Path:
    """72 tones of half a second at 8 kHz."""
    path = tmp_path_factory.mktemp("data") / "tones.npz"
    assert create.main([*sandbox.GRID, "--file_path", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def fewer_tones():
    """Figures and sounds of few tones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(media, "N_FRAMES", 4)  # a waveform each
        patch.setattr(media, "N_STEPS", 3)
        yield


@pytest.fixture
def refused(capsys):
    """Assert that a script refuses: exit status, and one line on stderr that matches."""

    def check(main, argv: list[str], pattern: str, *, status: int = 2) -> None:
        capsys.readouterr()
        assert main([str(word) for word in argv]) == status
        err = capsys.readouterr().err
        lines = [line for line in err.splitlines() if "warning" not in line]
        assert len(lines) == 1, err
        assert re.match(rf"\w+\.py: error: .*{pattern}", lines[0]), err

    return check


@pytest.fixture(scope="session")
def stock(tmp_path_factory) -> Path:
    """A folder with a small dataset and a checkpoint, made once; see `sandbox.build_stock`."""
    folder = tmp_path_factory.mktemp("stock")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        sandbox.build_stock(folder)
    return folder


@pytest.fixture
def world(stock, tmp_path, monkeypatch) -> Path:
    """A copy of the stock for one test, which runs inside it."""
    monkeypatch.chdir(sandbox.copy_stock(stock, tmp_path / "world"))
    return tmp_path / "world"
