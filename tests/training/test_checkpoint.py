"""The checkpoint file: it rebuilds model and front end, and one that is damaged, foreign or does not fit is refused."""

import dataclasses
import pickle
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from sandbox import GOOD, check_refused, in_process

from syntone.errors import InputError
from syntone.training.checkpoint import load_checkpoint, save_checkpoint

GOOD_ONE, NAME = "checkpoints/VAE_seed0.pt", "bad.pt"
UNSAFE = "bad.pt: not a checkpoint that can be read safely"
MISFIT = "bad.pt: the weights are not those of a VAE with the checkpoint's options"


def test_a_checkpoint_is_plain_and_rebuilds_model_and_front_end(world):
    plain = torch.load(GOOD_ONE, weights_only=True)
    assert plain["model_name"] == "VAE" and plain["epoch"] == 1
    checkpoint = load_checkpoint(GOOD_ONE)
    assert checkpoint.front_end().shape == checkpoint.model_config["input_shape"] == (1, 128, 4)
    assert checkpoint.front_end().config() == checkpoint.front_end_config
    for state in ("last", "best"):
        weights = checkpoint.model(state).state_dict()
        assert all(torch.equal(value, weights[name]) for name, value in plain[state].items())
    save_checkpoint("elsewhere.pt", checkpoint)
    assert Path("elsewhere.pt").read_bytes() == Path(GOOD_ONE).read_bytes()


def test_a_failed_write_keeps_the_previous_checkpoint(world, monkeypatch):
    before, checkpoint = Path(GOOD_ONE).read_bytes(), load_checkpoint(GOOD_ONE)

    def full_disk(content, handle):
        handle.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(GOOD_ONE, dataclasses.replace(checkpoint, epoch=2))
    assert Path(GOOD_ONE).read_bytes() == before and not list(Path("checkpoints").glob(".*"))


class Bomb:
    """Unpickling this writes a file."""

    def __reduce__(self):
        return open, ("marker", "w")


def check_checkpoint_refused(pattern: str, capfd, *more: str) -> None:
    argv = [*GOOD["eval.py"].split(), "--model", NAME, *more]
    check_refused(lambda: in_process("eval.py", argv, capfd), script="eval.py", pattern=pattern)
    assert not Path("marker").exists()


# ---- files that are not checkpoints ----


def saved(content: object, **how) -> bytes:
    buffer = BytesIO()
    torch.save(content, buffer, **how)
    return buffer.getvalue()


def compressed() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(GOOD_ONE) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return buffer.getvalue()


def bit_of_a_weight() -> bytes:
    content = bytearray(Path(GOOD_ONE).read_bytes())
    content[content.find(b"/data/0") + 300] ^= 0x10
    return bytes(content)


FILES = {
    "empty": (lambda: b"", UNSAFE),
    "text": (lambda: b"no weights", UNSAFE),
    "half": (lambda: Path(GOOD_ONE).read_bytes()[:50_000], UNSAFE),
    "a pickle with code": (lambda: pickle.dumps(Bomb()), UNSAFE),
    "code": (lambda: saved({"model_name": Bomb()}), UNSAFE),
    "a class": (lambda: saved(torch.nn.Linear(2, 2)), UNSAFE),
    "torch's format before 2020": (lambda: saved({"a": torch.ones(3)}, _use_new_zipfile_serialization=False), UNSAFE),
    "compressed": (compressed, UNSAFE),
    "a bit of a weight": (bit_of_a_weight, UNSAFE),
    "a dataset": (lambda: Path("tones.npz").read_bytes(), UNSAFE),
    "a tensor": (lambda: saved(torch.zeros(3)), "bad.pt: format version None, this program reads 2"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_a_checkpoint_is_refused(world, capfd, name):
    make, pattern = FILES[name]
    Path(NAME).write_bytes(make())
    check_checkpoint_refused(pattern, capfd)


def test_a_path_without_a_file_is_refused(tmp_path):
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(InputError, match="no such file; give the path of a .pt file"):
            load_checkpoint(path)


# ---- fields that do not fit ----


def first_weight(change: Callable[[torch.Tensor], torch.Tensor]):
    def make(weights: dict) -> dict:
        name = next(iter(weights))
        return weights | {name: change(weights[name])}

    return make


def with_entry(key: str, value: object):
    return lambda old: old | {key: value}


FIELDS = [
    ("format_version", lambda old: 1, "bad.pt: format version 1, this program reads 2; train it again with train"),
    ("digest", None, "bad.pt: 'digest' is NoneType, expected dict"),
    ("recipe", None, "bad.pt: 'recipe' is NoneType, expected str"),
    ("comment", lambda old: "hello", "bad.pt: it has other fields than model_name, "),
    ("best_epoch", lambda old: 7, "bad.pt: 'history' and best epoch 7 do not fit 1 epochs"),
    ("history", with_entry("valid_loss", [1.0, 2.0]), "bad.pt: 'history' and best epoch 1 do not fit 1 epochs"),
    ("options", lambda old: {}, "bad.pt: 'options' has no seed, batch_size and lr"),
    ("last", with_entry("weight", "heavy"), "bad.pt: 'last' and 'best' are not states of tensors"),
    ("last", first_weight(lambda weight: weight[:1]), MISFIT),
    ("last", first_weight(lambda weight: weight * float("nan")), "bad.pt: the model's codes are not finite"),
    ("model_name", lambda old: "BTCVAE", "bad.pt: the weights are not those of a BTCVAE"),
    ("model_name", lambda old: "GAN", "bad.pt: the checkpoint holds a GAN, known are VAE"),
    ("model_config", with_entry("latent_dim", 4), MISFIT),
    ("model_config", with_entry("latent_dim", 2**40), MISFIT),
    ("model_config", with_entry("colour", "red"), MISFIT),
    ("front_end_config", with_entry("n_mels", 64), MISFIT),
    ("front_end_config", with_entry("n_fft", 2**40), "bad.pt: the front end .* cannot be computed"),
    ("front_end_config", with_entry("kind", "mfcc"), "bad.pt: front end 'mfcc' is unknown"),
    ("front_end_config", with_entry("colour", "red"), "bad.pt: the checkpoint's front end is unknown"),
    ("valid_rows", lambda old: old + 1000, "bad.pt: tones.npz holds out other tones"),
    ("valid_rows", lambda old: old.float(), "bad.pt: 'train_rows' and 'valid_rows' are not lists of row numbers"),
    ("dataset_path", lambda old: "moved.npz", "bad.pt: was trained on moved.npz, which does not exist"),
]


def change_field(source: str, target: str, field: str, make) -> None:
    fields = torch.load(source, weights_only=True)
    value = make(fields.get(field)) if make else None
    fields.pop(field, None)
    Path(target).unlink(missing_ok=True)
    torch.save(fields | ({field: value} if make else {}), target)


@pytest.mark.parametrize("field, make, pattern", FIELDS)
def test_a_field_that_does_not_fit_is_refused(world, capfd, field, make, pattern):
    change_field(GOOD_ONE, NAME, field, make)
    check_checkpoint_refused(pattern, capfd)


def test_weights_of_the_best_state_are_checked_too(world, capfd):
    change_field(GOOD_ONE, NAME, "best", first_weight(lambda weight: weight[:1]))
    check_checkpoint_refused(MISFIT, capfd, "--state", "best")


# ---- checkpoints that a training cannot continue ----


RESUMED = [
    ("last", first_weight(lambda weight: weight[:1]), "the weights are not those of a VAE"),
    ("options", with_entry("lr", 0.5), r"was trained with other options \(lr 0.5, now 0.001\)"),
    ("model_config", with_entry("latent_dim", 3), r"was trained with other options \(latent_dim 3, now 8\)"),
]


@pytest.mark.parametrize("field, make, pattern", RESUMED)
def test_training_does_not_continue_from_what_does_not_fit(world, capfd, field, make, pattern):
    change_field(GOOD_ONE, GOOD_ONE, field, make)
    argv = [*GOOD["trainvae.py"].split(), "--output_dir", "checkpoints", "--epochs", "3", "--resume"]
    check_refused(
        lambda: in_process("trainvae.py", argv, capfd), script="trainvae.py", pattern=f"{GOOD_ONE}: {pattern}"
    )


# ---- datasets that do not belong to a checkpoint ----


def other_dataset(*more: str, capfd) -> str:
    status, err = in_process("create.py", [*GOOD["create.py"].split(), *more, "--file_path", "other.npz"], capfd)
    assert status == 0, err
    return "other.npz"


def test_tones_that_do_not_fit_the_model_are_refused(world, capfd):
    other_dataset("--duration", "0.5", capfd=capfd)
    argv = [*GOOD["eval.py"].split(), "--dataset", "other.npz"]
    pattern = f"{GOOD_ONE}: other.npz: 4000 samples at 8000 Hz, the checkpoint was trained on 2000 at 8000 Hz"
    check_refused(lambda: in_process("eval.py", argv, capfd), script="eval.py", pattern=pattern)


def test_another_dataset_under_the_old_name_is_refused(world, capfd):
    Path(other_dataset("--amp_start", "0.5", capfd=capfd)).replace("tones.npz")
    for script, more, pattern in [
        ("eval.py", [], f"{GOOD_ONE}: tones.npz was made by another recipe"),
        (
            "trainvae.py",
            ["--output_dir", "checkpoints", "--epochs", "2", "--resume"],
            f"{GOOD_ONE}: was trained with other options .another dataset, tones.npz",
        ),
    ]:
        argv = [*GOOD[script].split(), *more]
        check_refused(lambda s=script, a=argv: in_process(s, a, capfd), script=script, pattern=pattern)


def test_a_dataset_of_the_same_recipe_and_other_length_is_refused(world, capfd):
    with np.load("tones.npz") as data:
        held = {key: array[:12] if array.shape[:1] == (16,) else array for key, array in dict(data).items()}
    Path("tones.npz").unlink()
    np.savez("tones.npz", **held)
    pattern = f"{GOOD_ONE}: tones.npz has other contents .x, factors, factor_values"
    check_refused(lambda: in_process("eval.py", GOOD["eval.py"].split(), capfd), script="eval.py", pattern=pattern)


def test_checkpoints_that_are_not_seeds_of_one_model_are_refused(world, capfd):
    change_field(GOOD_ONE, NAME, "options", lambda old: old | {"seed": 1, "lr": 0.5})
    argv = [*GOOD["eval.py"].split(), "--model", GOOD_ONE, NAME]
    pattern = "bad.pt: was trained with other options than the VAE before it"
    check_refused(lambda: in_process("eval.py", argv, capfd), script="eval.py", pattern=pattern)


def test_a_checkpoint_that_diverged_stops_before_others_are_drawn(world, capfd):
    fields = torch.load(GOOD_ONE, weights_only=True)
    diverged = first_weight(lambda weight: weight * float("nan"))(fields["last"])
    torch.save(fields | {"last": diverged, "model_name": "BetaVAE"}, NAME)
    argv = [word for word in GOOD["eval.py"].split() if word != "--no_figures"]
    argv += ["--model", GOOD_ONE, NAME, "--figures_dir", "Figures"]
    pattern = "bad.pt: the model's codes are not finite"
    check_refused(lambda: in_process("eval.py", argv, capfd), script="eval.py", pattern=pattern)


def test_scores_of_factors_that_do_not_vary_are_refused(world, capfd):
    with np.load("tones.npz") as data:
        held = dict(data) | {"factors": np.zeros((16, 3), np.int32)}
    Path("tones.npz").unlink()
    np.savez("tones.npz", **held)
    argv = [*GOOD["eval.py"].split(), "--dataset", "tones.npz"]
    pattern = "tones.npz: no factor has two levels"
    check_refused(lambda: in_process("eval.py", argv, capfd), script="eval.py", pattern=pattern)
