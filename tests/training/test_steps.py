"""Seeds side by side, captured steps, features in a file, precision: each gives what plain training gives."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import trainvae
from models import MODELS
from syntone.features.front_end import FrontEnd, compute_features
from syntone.features.memory import place_for
from syntone.training import parallel as runtime
from syntone.training.checkpoint import load_checkpoint
from syntone.training.parallel import Steps, adopt_state, build_optimizer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def flags(dataset_path, tmp_path):
    def build(folder: str, *more) -> list[str]:
        return [
            "--dataset",
            str(dataset_path),
            "--output_dir",
            str(tmp_path / folder),
            "--batch_size",
            "16",
            "--device",
            "cpu",
            "--epochs",
            "2",
            *map(str, more),
        ]

    return build


@pytest.mark.parametrize("name", MODELS)
def test_seeds_side_by_side_are_the_seeds_one_by_one(flags, tmp_path, name):
    """To the bit: every run has its own generators, and a step of one is never part of a step of another."""
    assert trainvae.main(flags("together", "--model", name, "--seeds", 3, 1, 4, "--at_once", 2)) == 0
    assert trainvae.main(flags("alone", "--model", name, "--seeds", 3, 1, 4)) == 0
    for path in (tmp_path / "alone").glob("*.[cp][st]*"):
        assert (tmp_path / "together" / path.name).read_bytes() == path.read_bytes(), path.name
    assert len(list((tmp_path / "alone").glob("*.pt"))) == 3


def test_runs_at_different_epochs_resume_side_by_side(flags, tmp_path):
    """Those at one epoch form a group: what is left of each is trained, and no more."""
    common = ["--model", "VAE", "--seeds"]
    assert trainvae.main(flags("whole", *common, 0, 1, 2, "--epochs", 3)) == 0
    assert trainvae.main(flags("parts", *common, 1, "--epochs", 1)) == 0
    assert trainvae.main(flags("parts", *common, 0, 1, 2, "--epochs", 3, "--at_once", 3, "--resume")) == 0
    for seed in range(3):
        whole, parts = (tmp_path / folder / f"VAE_seed{seed}.pt" for folder in ("whole", "parts"))
        assert whole.read_bytes() == parts.read_bytes()


class Recorder:
    """Stands for torch.cuda where there is no GPU: a graph keeps the work of its block undone and does it when replayed."""

    def __init__(self, monkeypatch) -> None:
        self.capturing, self.captures, self.replays, self.waits = None, 0, 0, []
        outer = self

        class Stream:
            def __init__(self, device=None) -> None:
                self.work = []

            def wait_stream(self, other) -> None:
                outer.waits.append((self, other))

        class Graph:
            def __init__(self) -> None:
                self.work, self.generators = [], []

            def register_generator_state(self, generator) -> None:
                self.generators.append(generator)

            def replay(self) -> None:
                outer.replays += 1
                for call in self.work:
                    call()

        @contextlib.contextmanager
        def graph(target):
            outer.capturing, outer.captures = target, outer.captures + 1
            yield
            outer.capturing = None

        main = Stream()
        for name, value in {
            "Stream": Stream,
            "CUDAGraph": Graph,
            "graph": graph,
            "synchronize": lambda device: None,
            "current_stream": lambda device=None: main,
            "stream": lambda stream: contextlib.nullcontext(),
        }.items():
            monkeypatch.setattr(runtime.torch.cuda, name, value)
        self.main = main

    def do(self, call) -> None:
        """A kernel: now, or when the graph that is being captured is replayed."""
        self.capturing.work.append(call) if self.capturing else call()


def test_every_step_is_taken_once_whether_captured_or_not(monkeypatch):
    fake, taken = Recorder(monkeypatch), []
    generators = [torch.Generator(), torch.Generator()]
    bodies = [lambda n, one=one: fake.do(lambda: taken.append((one, n))) for one in "ab"]
    steps = Steps(bodies, generators, torch.device("cuda", 0))
    sizes = [8] * 6 + [7] * 2 + [8, 7, 7, 7]
    for n in sizes:
        steps(n)
    assert taken == [(one, n) for n in sizes for one in "ab"]
    assert fake.captures == 2 and fake.replays == (7 - 3) + (5 - 3)
    assert all(graph.generators == generators for graph in steps.graphs.values())
    forks, joins = ([pair for pair in fake.waits if pair[k] is fake.main] for k in (1, 0))
    warm, captured = 2 * Steps.WARM_UP * len(bodies), fake.captures * len(bodies)
    assert (
        len(forks) == warm + captured and len(joins) == 2 * warm + captured
    )  # a warm-up step joins each before the next
    first = [pair for pair in fake.waits if fake.main in pair][:3]
    assert [pair[0] is fake.main for pair in first] == [False, True, False]


def test_steps_are_plain_where_there_is_no_gpu_or_no_wish_for_graphs(monkeypatch):
    fake, taken = Recorder(monkeypatch), []
    for device, graphs in ((torch.device("cpu"), True), (torch.device("cuda", 0), False)):
        steps = Steps([taken.append], [torch.Generator()], device, graphs=graphs)
        for n in range(9):
            steps(n)
    assert taken == [*range(9), *range(9)] and not fake.captures and not fake.waits


@pytest.mark.parametrize("rank, expected", [(None, 0), ("3", 1)])
def test_a_gpu_is_named_with_its_number(monkeypatch, rank, expected):
    """Tensors on it have one: without, features would seem to be elsewhere, and no step would be captured."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert runtime.select_device("auto") == torch.device("cuda", expected)


def test_a_state_saved_on_a_gpu_goes_on_here():
    """Adam refuses a captured state's flags on a CPU."""
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = build_optimizer([{"params": [weight], "lr": 0.1}], device=torch.device("cpu"))
    weight.grad = torch.ones(3)
    optimizer.step()
    state = optimizer.state_dict()
    state["param_groups"][0] |= {"capturable": True, "fused": None}
    again = build_optimizer([{"params": [weight], "lr": 0.1}], device=torch.device("cpu"))
    adopt_state(again, state)
    again.step()
    assert again.param_groups[0]["fused"] and not again.param_groups[0]["capturable"]
    assert again.state[weight]["step"].item() == 2
    assert weight.tolist() == pytest.approx([0.8] * 3)  # Adam's first steps of a constant gradient are lr each


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_loses_no_quality_that_losses_show(flags, tmp_path, name):
    """bfloat16 keeps 8 bits, 0.4 % a product; sums over 1024 pixels average that. 2 % of the loss is a wide margin."""
    for precision in ("float32", "bfloat16"):
        assert trainvae.main(flags(precision, "--model", name, "--precision", precision)) == 0
    one, other = (load_checkpoint(tmp_path / kind / f"{name}_seed0.pt") for kind in ("float32", "bfloat16"))
    assert other.history["valid_loss"] == pytest.approx(one.history["valid_loss"], rel=0.02)
    assert other.history["valid_loss"] != one.history["valid_loss"]
    assert {value.dtype for value in other.last.values()} == {torch.float32}
    assert other.options["precision"] == "bfloat16"


def test_features_in_a_file_train_as_those_in_memory(flags, tmp_path, capsys):
    assert trainvae.main(flags("memory", "--model", "BTCVAE")) == 0
    assert "0.000295 GB in memory" in capsys.readouterr().out  # 72 tones x 128 bands x 8 frames x 4 bytes
    assert trainvae.main(flags("file", "--model", "BTCVAE", "--memory", "0.0002")) == 0
    said = capsys.readouterr().out
    assert f"in a temporary file in {tmp_path / 'file'} (--memory 0.0002 GB)" in said
    assert "peak memory of this process: " in said
    one, other = (tmp_path / folder / "BTCVAE_seed0.pt" for folder in ("memory", "file"))
    assert one.read_bytes() == other.read_bytes()
    assert sorted(path.name for path in other.parent.iterdir()) == [
        f"BTCVAE_seed0.{end}" for end in ("csv", "png", "pt")
    ]


def test_features_written_to_a_file_are_those_computed(tmp_path):
    waves = torch.rand((7, 4000), generator=torch.Generator().manual_seed(0)).numpy() - 0.5
    front_end = FrontEnd("logmel", sample_rate=8000, n_samples=4000)
    cpu = torch.device("cpu")
    with open(tmp_path / "features", "w+b") as file:
        kept = compute_features(waves, front_end, device=cpu, keep=file, rows=3)
    assert torch.equal(kept, compute_features(waves, front_end, device=cpu, rows=3))
    assert (tmp_path / "features").stat().st_size == kept.nbytes


@pytest.mark.parametrize(
    "device, n_bytes, expected",
    [
        ("cpu", 99, "device"),
        ("cpu", 101, "file"),
        ("cuda", 60, "device"),
        ("cuda", 99, "memory"),
        ("cuda", 101, "file"),
    ],
)
def test_features_are_kept_where_they_fit(monkeypatch, device, n_bytes, expected):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (90, 1000))  # free, all
    assert place_for(n_bytes, device=torch.device(device), limit=100) == expected


def test_peak_memory_is_in_bytes():
    """In a process of its own, where nothing larger came before."""
    code = (
        "from syntone.features.memory import peak_memory\nbefore = peak_memory()\nblock = bytes([1]) * 300_000_000\n"
        "print(peak_memory() - before)"
    )
    grown = int(
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    )
    assert 250e6 < grown < 350e6


@pytest.mark.parametrize(
    "number, status, word", [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_signals_save_the_last_whole_epoch_and_say_so(tmp_path, dataset_path, number, status, word):
    """--save_seconds is far away, so what is there was saved by the signal; resumed, it ends in the bytes of a whole run."""
    command = [
        sys.executable,
        "trainvae.py",
        "--dataset",
        str(dataset_path),
        "--model",
        "FactorVAE",
        "--device",
        "cpu",
        "--save_seconds",
        "1000",
        "--output_dir",
        str(tmp_path / "a"),
        "--resume",
        "--epochs",
    ]
    process = subprocess.Popen([*command, "500"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if "an epoch, so about" in line:
            break
    time.sleep(0.5)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == status
    path = tmp_path / "a" / "FactorVAE_seed0.pt"
    epoch = load_checkpoint(path).epoch
    assert err.splitlines() == [
        f"trainvae.py: error: {word} in epoch {epoch + 1}; the last good checkpoint is {path} of epoch "
        f"{epoch}; give --resume to go on"
    ]
    subprocess.run([*command, str(epoch + 1)], cwd=ROOT, check=True, capture_output=True)
    command[command.index(str(tmp_path / "a"))] = str(tmp_path / "b")
    subprocess.run([*command, str(epoch + 1)], cwd=ROOT, check=True, capture_output=True)
    assert path.read_bytes() == (tmp_path / "b" / "FactorVAE_seed0.pt").read_bytes()


@pytest.mark.long
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of private memory are enforced on Linux")
@pytest.mark.parametrize("memory, status", [("0.01", 0), ("100", 1)])
def test_a_limit_that_features_exceed_is_enough_with_the_flag(tmp_path, memory, status):
    """8,000 tones: 131 MB of features, 512 MB of waves, and 300 MB of private memory on top of what torch takes. Pages of
    mapped files do not count there: the system takes them back when it needs them."""
    import create

    path = tmp_path / "tones.npz"
    assert create.main(["--num_freqs", "200", "--num_amps", "10", "--freq_end", "7000", "--file_path", str(path)]) == 0
    code = f"""
import re, resource, sys
import torch, trainvae
from syntone.training import runs
torch.nn.functional.conv2d(torch.rand(64, 1, 128, 32), torch.rand(8, 1, 4, 4))  # libraries that load on first use
taken = 1024 * int(re.search(r"VmData:\\s+(\\d+)", open("/proc/self/status").read()).group(1))
resource.setrlimit(resource.RLIMIT_DATA, (taken + 300_000_000,) * 2)
sys.exit(trainvae.main(["--dataset", {str(path)!r}, "--model", "VAE", "--epochs", "1", "--batch_size", "32", "--device", "cpu",
                        "--output_dir", {str(tmp_path / "out")!r}, "--memory", {memory!r}]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == status, done.stderr
    assert ("temporary file" in done.stdout) == (status == 0) and ("out of memory" in done.stderr) == (status == 1)
