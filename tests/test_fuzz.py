"""The readers under random damage: the values come back exactly, or a clean refusal does.

A sample in `make test`, always the same; more, drawn anew each time, in `make test-long`.
"""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models import build_model
from syntone.dataset import load_npz, save_npz
from syntone.errors import InputError
from syntone.features.front_end import FrontEnd
from syntone.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

N_SHORT, N_LONG = 25, 1000  # cases of each reader and kind of damage


def write_dataset(path: Path) -> None:
    rng = np.random.default_rng(0)
    levels = np.arange(4)[:, None] % 2
    save_npz(
        path,
        x=0.1 * rng.normal(size=(4, 16)),
        factors=levels,
        factor_values=levels,
        factor_names=["timbre"],
        factor_kinds=["nominal"],
        sample_rate=8000,
        recipe={"made": "for the fuzz"},
        y=levels[:, 0],
        classes=["sine", "square"],
        freqs=np.full(4, 440.0),
        amps=np.full(4, 0.1),
    )


def write_checkpoint(path: Path) -> None:
    front_end = FrontEnd("logmel", sample_rate=8000, n_samples=16, n_fft=16, hop=8, n_mels=2, smoothing=0.0)
    config = {"input_shape": front_end.shape, "latent_dim": 1, "channels": (1,), "hidden": 1, "sigma": 0.1}
    torch.manual_seed(0)
    model = build_model("VAE", **config)
    save_checkpoint(
        path,
        Checkpoint(
            model_name="VAE",
            model_config=config,
            front_end_config=front_end.config(),
            options={"seed": 0, "batch_size": 2, "lr": 0.001},
            epoch=1,
            best_epoch=1,
            last=model.state_dict(),
            best=model.state_dict(),
            optimizer=torch.optim.Adam(model.parameters()).state_dict(),
            history={"epoch": [1], "valid_loss": [0.5]},
            dataset_path="tones.npz",
            recipe="{}",
            digest={"x": 1},
            synthesized=False,
            train_rows=torch.arange(2),
            valid_rows=torch.arange(2, 4),
        ),
    )


def same(one, other) -> bool:
    """Whether two values agree to the last bit, arrays and tensors in type and shape too."""
    if isinstance(one, dict):
        return type(other) is dict and one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and same(one.numpy(), other.numpy())
    if isinstance(one, np.ndarray):
        return (
            isinstance(other, np.ndarray)
            and (one.dtype, one.shape) == (other.dtype, other.shape)
            and one.tobytes() == other.tobytes()
        )
    return type(one) is type(other) and one == other


READERS = {"npz": (write_dataset, load_npz), "pt": (write_checkpoint, load_checkpoint)}


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> dict:
    """Of each reader: a path to write to, the bytes of a good file, and what is read from it."""
    found = {}
    for kind, (write, read) in READERS.items():
        path = tmp_path_factory.mktemp("fuzz") / f"file.{kind}"
        write(path)
        found[kind] = path, path.read_bytes(), read(path)
    return found


def random_bytes(content: bytes) -> st.SearchStrategy[bytes]:
    """Nothing of the good file; half of them begin as a zip does."""
    return st.tuples(st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06"]), st.binary(max_size=400)).map(b"".join)


def truncations(content: bytes) -> st.SearchStrategy[bytes]:
    """A beginning of the good file, an end of it, or all but a part in the middle."""
    cuts = st.lists(st.integers(0, len(content)), min_size=2, max_size=2).map(sorted)
    return st.one_of(
        st.integers(0, len(content) - 1).map(lambda n: content[:n]),
        st.integers(1, len(content) - 1).map(lambda n: content[n:]),
        cuts.map(lambda cut: content[: cut[0]] + content[cut[1] :]),
    )


def bit_flips(content: bytes) -> st.SearchStrategy[bytes]:
    """One to eight bits changed, anywhere, or in the directory at the end, where each means something."""

    def flip(places: list[int]) -> bytes:
        damaged = bytearray(content)
        for place in places:
            damaged[place // 8] ^= 1 << place % 8
        return bytes(damaged)

    directory = 8 * content.find(b"PK\x01\x02")
    anywhere, at_end = st.integers(0, 8 * len(content) - 1), st.integers(directory, 8 * len(content) - 1)
    return st.lists(st.one_of(anywhere, at_end), min_size=1, max_size=8, unique=True).map(flip)


DAMAGES = {"random bytes": random_bytes, "truncation": truncations, "bit flips": bit_flips}
every_reader_and_damage = pytest.mark.parametrize(
    "kind, damage", [(kind, name) for kind in READERS for name in DAMAGES]
)


def fuzz(good: dict, kind: str, damage: str, *, n: int, derandomize: bool) -> None:
    path, content, expected = good[kind]
    read: Callable = READERS[kind][1]
    seen = 0

    @settings(
        max_examples=n,
        derandomize=derandomize,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(DAMAGES[damage](content))
    def exact_or_refused(damaged: bytes) -> None:
        nonlocal seen
        path.unlink(missing_ok=True)  # a new file each time: the one before may still be mapped
        path.write_bytes(damaged)
        try:
            found = read(path)
        except InputError as refusal:
            assert str(path) in str(refusal) and "\n" not in str(refusal)
        else:
            for field in fields(expected):
                assert same(getattr(expected, field.name), getattr(found, field.name)), field.name
        seen += 1

    exact_or_refused()
    assert seen >= n


@every_reader_and_damage
def test_damage_is_read_exactly_or_refused(good, kind, damage):
    fuzz(good, kind, damage, n=N_SHORT, derandomize=True)


@pytest.mark.long
@every_reader_and_damage
def test_more_damage_is_read_exactly_or_refused(good, kind, damage):
    fuzz(good, kind, damage, n=N_LONG, derandomize=False)


@pytest.mark.parametrize("kind", READERS)
def test_harmless_damage_is_not_refused(good, kind):
    """Were every damaged file refused, the fuzz would say nothing of exact values: a time stamp means nothing to us."""
    path, content, expected = good[kind]
    damaged = bytearray(content)
    damaged[10] ^= 1  # the first member's time, in its local header
    path.unlink(missing_ok=True)
    path.write_bytes(bytes(damaged))
    assert all(
        same(getattr(expected, field.name), getattr(READERS[kind][1](path), field.name)) for field in fields(expected)
    )


def test_a_bit_that_makes_a_tensor_a_folder_to_torch_changes_nothing(good):
    """The attribute of a folder, in the zip's directory: torch.load would return memory as it was, and no error."""
    path, content, expected = good["pt"]
    damaged = bytearray(content)
    damaged[content.rfind(b"PK\x01\x02", 0, content.rfind(b"/data/0")) + 38] ^= 0x10
    path.unlink(missing_ok=True)
    path.write_bytes(bytes(damaged))
    assert same(expected.last, load_checkpoint(path).last)
