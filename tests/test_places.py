"""Places that cannot be written, full disks, two runs at once; most as real processes."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from catalogue import GOOD, ROOT, as_process, check_refused, in_process

FLAG = {"create.py": "--file_path", "trainvae.py": "--output_dir", "eval.py": "--output_dir"}


def good(script: str, *more: str) -> list[str]:
    return [*GOOD[script].split(), *more]


PLACES = [
    ("create.py", "checkpoints", "--file_path: checkpoints is a folder"),
    ("create.py", ".", r"--file_path: \. is a folder"),
    ("create.py", "text.txt/new.npz", "--file_path: text.txt is a file, so text.txt/new.npz cannot be made"),
    ("create.py", "text.txt", "--file_path: text.txt does not end in .npz"),
    ("create.py", "checkpoints/VAE_seed0.pt", "--file_path: checkpoints/VAE_seed0.pt does not end in .npz"),
    ("create.py", "tones", "--file_path: tones does not end in .npz; give tones.npz"),
    ("create.py", "/proc/nowhere/new.npz", "/proc/nowhere: "),
    ("create.py", "n" * 300 + ".npz", "n{300}.npz: File name too long"),
    ("trainvae.py", "text.txt", "--output_dir: text.txt is a file"),
    ("trainvae.py", "text.txt/below", "--output_dir: text.txt is a file, so "),
    ("trainvae.py", "/proc/nowhere", "/proc/nowhere: "),
    ("trainvae.py", "n" * 300, "n{300}: File name too long"),
    ("eval.py", "text.txt", "--output_dir: text.txt is a file"),
    ("eval.py", "text.txt/below", "--output_dir: text.txt is a file, so "),
    ("eval.py", "/proc/nowhere", "/proc/nowhere: "),
]


@pytest.mark.parametrize(
    "script, place, pattern", [case for case in PLACES if "/proc" not in case[1] or Path("/proc").exists()]
)
def test_place_is_refused(world, capfd, script, place, pattern):
    check_refused(lambda: in_process(script, good(script, FLAG[script], place), capfd), script=script, pattern=pattern)


def test_a_file_as_the_folder_of_figures_is_refused(world, capfd):
    argv = [word for word in good("eval.py", "--figures_dir", "text.txt") if word != "--no_figures"]
    check_refused(
        lambda: in_process("eval.py", argv, capfd), script="eval.py", pattern="--figures_dir: text.txt is a file"
    )


def test_overwriting_spares_what_is_no_dataset(world, capfd):
    check_refused(
        lambda: in_process("create.py", good("create.py", "--file_path", "text.txt", "--overwrite"), capfd),
        script="create.py",
        pattern="--file_path: text.txt does not end in .npz",
    )


def test_a_dataset_of_other_options_is_not_replaced(world, capfd):
    check_refused(
        lambda: in_process("create.py", good("create.py", "--file_path", "tones.npz", "--amp_end", "0.5"), capfd),
        script="create.py",
        pattern="--file_path: tones.npz exists and was made with other options",
    )


@pytest.mark.parametrize(
    "more, pattern",
    [
        (["--epochs", "3"], "has 1 of 3 epochs; give --resume"),
        (["--lr", "0.5"], "was trained with other options .lr 0.001, now 0.5."),
        (["--lr", "0.5", "--resume"], "was trained with other options .lr 0.001, now 0.5."),
        (["--features", "paper"], "was trained with other options .kind logmel, now paper."),
    ],
)
def test_a_checkpoint_of_other_options_is_not_replaced(world, capfd, more, pattern):
    argv = good("trainvae.py", "--output_dir", "checkpoints", *more)
    check_refused(
        lambda: in_process("trainvae.py", argv, capfd),
        script="trainvae.py",
        pattern=f"checkpoints/VAE_seed0.pt: {pattern}",
    )


# ---- as real processes ----


@pytest.mark.parametrize(
    "script, more, pattern",
    [
        ("create.py", ["--num_freqs", "-1"], "--num_freqs: expected a whole number"),
        ("trainvae.py", ["--lr", "nan"], "--lr: expected a finite number"),
        ("trainvae.py", ["--device", "cuda:99"], "--device: invalid choice"),
        ("eval.py", ["--model", "text.txt"], "text.txt: not a checkpoint that can be read safely"),
        ("create.py", ["--file_path", b"\xff\xfe"], r"--file_path: \\udcff\\udcfe does not end in .npz"),
    ],
)
def test_a_process_refuses_as_main_does(world, script, more, pattern):
    check_refused(lambda: as_process(script, good(script, *more)), script=script, pattern=pattern)


def test_a_path_of_no_letters_is_written(world):
    status, err = as_process("create.py", good("create.py", "--file_path", b"\xff\xfe.npz"))
    assert status == 0 and "Traceback" not in err and os.path.exists(b"\xff\xfe.npz")


def small_files_only(n_bytes: int):
    """For a child: no file may grow beyond that. Python ignores the signal, so the write fails as on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))


WITH_FIGURES = [word for word in good("eval.py", "--figures_dir", "Figures") if word != "--no_figures"]
FULL = [
    (as_process, "create.py", good("create.py"), 0, "new.npz: File too large"),
    (as_process, "create.py", good("create.py"), 100_000, "new.npz: File too large"),
    (
        as_process,
        "create.py",
        good("create.py", "--file_path", "tones.npz", "--amp_end", "0.5", "--overwrite"),
        100_000,
        "tones.npz: File too large",
    ),
    (as_process, "trainvae.py", good("trainvae.py"), 1_000_000, "new/VAE_seed0.pt: File too large"),
    (
        in_process,
        "trainvae.py",
        good("trainvae.py", "--epochs", "2", "--resume", "--output_dir", "checkpoints"),
        1_000_000,
        "checkpoints/VAE_seed0.pt: File too large",
    ),
    (
        in_process,
        "trainvae.py",
        good("trainvae.py", "--overwrite", "--lr", "0.1", "--output_dir", "checkpoints"),
        20_000,
        "checkpoints/VAE_seed0.pt: File too large",
    ),
    (in_process, "eval.py", good("eval.py"), 1000, "new/metrics.json: File too large"),
    (in_process, "eval.py", WITH_FIGURES, 50_000, r"Figures/.*\.png: File too large"),
]


@pytest.mark.parametrize("how, script, argv, n_bytes, pattern", FULL)
def test_a_full_disk_is_one_line_and_leaves_everything(world, capfd, how, script, argv, n_bytes, pattern):
    def run():
        if how is as_process:
            return as_process(script, argv, preexec_fn=small_files_only(n_bytes))
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
        try:
            return in_process(script, argv, capfd)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    check_refused(run, script=script, pattern=pattern, status=1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
@pytest.mark.parametrize("name", ["new.npz", "tones.npz"])  # of which the second is left alone, and says so at the end
def test_a_full_standard_output_is_one_line(world, name):
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with open("/dev/full", "wb") as full:
        check_refused(
            lambda: as_process("create.py", good("create.py", "--file_path", name), stdout=full, env=buffered),
            script="create.py",
            pattern="standard output: No space left on device",
            status=1,
        )


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    "script, argv, moments",
    [
        ("create.py", ["--file_path", "new.npz"], (0.0, 0.3)),
        ("trainvae.py", good("trainvae.py", "--epochs", "100000"), (0.0, 1.0)),
    ],
)
def test_a_signal_is_one_line_while_python_still_imports_too(world, script, argv, moments, number, status):
    def run(after: float) -> tuple[int, str]:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / script), *argv], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        wait_until(lambda: answers_signals(process.pid), process)
        time.sleep(after)
        process.send_signal(number)
        return finished(process)

    word = {130: "interrupted", 143: "terminated"}[status]
    for after in moments:
        check_refused(lambda: run(after), script=script, pattern=f"{word}$", status=status)


def answers_signals(pid: int) -> bool:
    """Whether a process has an answer of its own to SIGTERM; what comes before is Python's start, which no script can guard."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():  # not on macOS: most likely by then
        time.sleep(0.1)
        return True
    caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def finished(process: subprocess.Popen) -> tuple[int, str]:
    _, err = process.communicate(timeout=60)
    return process.returncode, err.decode()


def wait_until(seen, process: subprocess.Popen) -> None:
    until = time.monotonic() + 60
    while not seen():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize(
    "script, first, trace, second, pattern",
    [
        (
            "create.py",
            ["--file_path", "new.npz"],
            ".new.npz.tmp",
            good("create.py"),
            "--file_path: another run is writing new.npz",
        ),
        (
            "trainvae.py",
            good("trainvae.py", "--epochs", "100000", "--save_seconds", "0"),
            "new/VAE_seed0.pt",
            good("trainvae.py"),
            "--output_dir: another run is writing new/VAE_seed0.pt",
        ),
        (
            "eval.py",
            good("eval.py"),
            "new/.results.tmp",
            good("eval.py"),
            "--output_dir: another run is writing new/results",
        ),
    ],
)
def test_the_second_of_two_runs_is_refused_and_the_first_goes_on(world, capfd, script, first, trace, second, pattern):
    process = subprocess.Popen(
        [sys.executable, str(ROOT / script), *first], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: any(Path().glob(trace)), process)
        process.send_signal(signal.SIGSTOP)  # so that what it writes meanwhile is not taken for the second's
        check_refused(lambda: in_process(script, second, capfd), script=script, pattern=pattern)
        process.send_signal(signal.SIGCONT)
        if script == "eval.py":
            assert process.wait(timeout=120) == 0
            assert sorted(path.name for path in Path("new").iterdir()) == [
                "metrics.csv",
                "metrics.json",
                "report.html",
                "table.md",
                "table.tex",
            ]
    finally:
        process.kill()
        process.wait()
    assert (
        in_process(script, [*second, "--overwrite"] if script != "eval.py" else second, capfd)[0] == 0
    )  # a dead run's lock
    assert not [path for path in Path().rglob(".*") if path.suffix in (".lock", ".tmp")]


@pytest.mark.parametrize("two", [["VAE", "BetaVAE"]])
def test_two_runs_of_different_models_share_a_folder(world, capfd, two):
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "trainvae.py"), *good("trainvae.py", "--model", two[0])], stdout=subprocess.DEVNULL
    )
    assert in_process("trainvae.py", good("trainvae.py", "--model", two[1]), capfd)[0] == 0
    assert process.wait(timeout=120) == 0
    assert sorted(path.name for path in Path("new").iterdir()) == sorted(
        f"{name}_seed0.{ending}" for name in two for ending in ("pt", "csv", "png")
    )
