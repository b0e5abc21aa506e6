"""What several test files need: a small grid on disk, and the flags that keep runs short."""

import signal
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

if (
    signal.getsignal(signal.SIGINT) == signal.SIG_IGN
):  # a shell's background job, whose children would ignore Ctrl-C as well
    signal.signal(signal.SIGINT, signal.default_int_handler)

GRID = [
    "--sample_rate",
    "8000",
    "--duration",
    "0.5",
    "--freq_start",
    "500",
    "--freq_end",
    "3000",
    "--num_freqs",
    "6",
    "--num_amps",
    "3",
]


@pytest.fixture(scope="session")
def dataset_path(tmp_path_factory) -> Path:
    """72 tones of half a second at 8 kHz."""
    import create

    path = tmp_path_factory.mktemp("data") / "tones.npz"
    assert create.main([*GRID, "--file_path", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def fewer_tones():
    """Rough sounds and figures of few tones: most of an evaluation's time goes into inverting spectrograms."""
    from syntone.evaluation import media as showing
    from syntone.features import front_end as mel

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(showing, "N_FRAMES", 4)  # a waveform each
        patch.setattr(showing, "N_STEPS", 3)
        patch.setattr(mel, "SKIRT_ITERATIONS", 40)
        yield


@pytest.fixture
def refused(capsys):
    """Assert that a script refuses: exit status, and one line on stderr that matches."""
    import re

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
    """A folder with a small dataset and a checkpoint, made once; see `catalogue.build_stock`."""
    import catalogue

    folder = tmp_path_factory.mktemp("stock")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        catalogue.build_stock(folder)
    return folder


@pytest.fixture
def world(stock, tmp_path, monkeypatch) -> Path:
    """A copy of the stock for one test, which runs inside it."""
    from catalogue import copy_stock

    monkeypatch.chdir(copy_stock(stock, tmp_path / "world"))
    return tmp_path / "world"
