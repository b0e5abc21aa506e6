"""What several test files need: a small grid on disk, and the flags that keep runs short."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

GRID = ["--sample_rate", "8000", "--duration", "0.5", "--freq_start", "500", "--freq_end", "3000", "--num_freqs", "6",
        "--num_amps", "3"]


@pytest.fixture(scope="session")
def dataset_path(tmp_path_factory) -> Path:
    """72 tones of half a second at 8 kHz."""
    import create

    path = tmp_path_factory.mktemp("data") / "tones.npz"
    assert create.main([*GRID, "--file_path", str(path)]) == 0
    return path


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


def pytest_configure(config):
    config.addinivalue_line("markers", "long: minutes of random faults, run by `make test-long`")
