"""The catalogue of bad inputs: checkpoints that are damaged, made up, of another model, or not of this dataset."""

import pickle
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from catalogue import GOOD, check_refused, in_process

pytestmark = pytest.mark.catalogue

GOOD_ONE, NAME = "checkpoints/VAE_seed0.pt", "bad.pt"
UNSAFE = "bad.pt: not a checkpoint that can be read safely"
MISFIT = "bad.pt: the weights are not those of a VAE with the options that the checkpoint names"
TRUNCATED = (0.0001, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999, 0.99999)


class Bomb:
    """Unpickling this writes a file."""

    def __reduce__(self):
        return open, ("marker", "w")


def check_checkpoint_refused(pattern: str, capfd, *more: str) -> None:
    argv = [*GOOD["eval.py"].split(), "--model", NAME, *more]
    check_refused(lambda: in_process("eval.py", argv, capfd), script="eval.py", pattern=pattern)
    assert not Path("marker").exists()


# ---- whole files ----


def saved(content: object, **how) -> bytes:
    buffer = BytesIO()
    torch.save(content, buffer, **how)
    return buffer.getvalue()


def rewritten(change: Callable[[str, bytes], bytes], *, compression: int = zipfile.ZIP_STORED) -> bytes:
    """The good checkpoint with its members changed, checksums in order."""
    buffer = BytesIO()
    with zipfile.ZipFile(GOOD_ONE) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return buffer.getvalue()


def with_pickle(content: bytes) -> bytes:
    return rewritten(lambda name, old: content if name.endswith("data.pkl") else old)


def flipped(place: Callable[[bytes], int]) -> bytes:
    content = bytearray(Path(GOOD_ONE).read_bytes())
    content[place(bytes(content))] ^= 0x10
    return bytes(content)


FILES = {
    "empty": (lambda: b"", UNSAFE),
    "text": (lambda: b"no weights", UNSAFE),
    "a pickle with code": (lambda: pickle.dumps(Bomb()), UNSAFE),
    "the format of before 2020, with code": (
        lambda: saved({"a": Bomb()}, _use_new_zipfile_serialization=False),
        UNSAFE,
    ),
    "the format of before 2020": (lambda: saved({"a": torch.ones(3)}, _use_new_zipfile_serialization=False), UNSAFE),
    "code": (lambda: saved({"model_name": Bomb()}), UNSAFE),
    "code in a protocol of later": (
        lambda: saved({"model_name": Bomb()}, pickle_protocol=4),
        UNSAFE,
    ),
    "a class": (lambda: saved(torch.nn.Linear(2, 2)), UNSAFE),
    "half a pickle": (lambda: with_pickle(b"\x80\x02}q\x00("), UNSAFE),
    "no pickle": (lambda: rewritten(lambda name, old: b"" if name.endswith("data.pkl") else old), UNSAFE),
    "short tensor": (lambda: rewritten(lambda name, old: old[:8] if name.endswith("/data/0") else old), UNSAFE),
    "compressed": (
        lambda: rewritten(lambda name, old: old, compression=zipfile.ZIP_DEFLATED),
        UNSAFE,
    ),
    "zip bomb": (
        lambda: rewritten(
            lambda name, old: bytes(50_000_000) if name.endswith("/data/0") else old, compression=zipfile.ZIP_DEFLATED
        ),
        UNSAFE,
    ),
    "a bit of a weight": (
        lambda: flipped(lambda content: content.find(b"/data/0") + 300),
        UNSAFE,
    ),
    "a bit of the pickle": (
        lambda: flipped(lambda content: content.find(b"model_name")),
        UNSAFE,
    ),
    "a dataset": (lambda: Path("tones.npz").read_bytes(), UNSAFE),
    "a tensor": (lambda: saved(torch.zeros(3)), "bad.pt: format version None, this program reads 1"),
    "weights alone": (lambda: saved({"encoder.weight": torch.zeros(3)}), "bad.pt: format version None"),
}


@pytest.mark.parametrize("name", FILES)
def test_made_up_file_is_refused(world, capfd, name):
    make, pattern = FILES[name]
    Path(NAME).write_bytes(make())
    check_checkpoint_refused(pattern, capfd)


@pytest.mark.parametrize("share", TRUNCATED)
def test_truncated_file_is_refused(world, capfd, share):
    whole = Path(GOOD_ONE).read_bytes()
    Path(NAME).write_bytes(whole[: int(share * len(whole))])
    check_checkpoint_refused(UNSAFE, capfd)


# ---- fields that are changed ----


def first_weight(change: Callable[[torch.Tensor], torch.Tensor]):
    def make(weights: dict) -> dict:
        name = next(iter(weights))
        return weights | {name: change(weights[name])}

    return make


def with_entry(key: str, value: object):
    return lambda old: old | {key: value}


FIELDS = [
    ("format_version", lambda old: 0, "bad.pt: format version 0, this program reads 1"),
    ("format_version", lambda old: 2, "bad.pt: format version 2, this program reads 1"),
    ("format_version", lambda old: "1", "bad.pt: format version 1, this program reads 1"),
    *[
        (name, None, f"bad.pt: '{name}' is NoneType, expected")
        for name in (
            "model_name",
            "model_config",
            "front_end_config",
            "options",
            "epoch",
            "best_epoch",
            "last",
            "best",
            "optimizer",
            "history",
            "dataset_path",
            "recipe",
            "train_rows",
            "valid_rows",
        )
    ],
    ("comment", lambda old: "hello", "bad.pt: 'comment' is not known"),
    ("epoch", lambda old: "many", "bad.pt: 'epoch' is str, expected int"),
    ("epoch", lambda old: 0, "bad.pt: epoch 0, best epoch 1 and the history do not fit"),
    ("epoch", lambda old: 10**9, "bad.pt: a column of 'history' has not one number for each of 1000000000 epochs"),
    ("best_epoch", lambda old: 7, "bad.pt: epoch 1, best epoch 7 and the history do not fit"),
    ("history", lambda old: {}, "bad.pt: epoch 1, .* the history do not fit"),
    ("history", with_entry("valid_loss", ["low"]), "bad.pt: a column of 'history'"),
    ("options", lambda old: {}, "bad.pt: 'options' has no seed, batch_size and lr"),
    ("options", with_entry("seed", -1), "bad.pt: 'options' has no seed"),
    ("last", with_entry("weight", "heavy"), "bad.pt: 'last' is not a state of names and tensors"),
    ("last", first_weight(lambda weight: weight[:1]), MISFIT),
    ("last", first_weight(lambda weight: weight.unsqueeze(0)), MISFIT),
    ("last", lambda old: {}, MISFIT),
    ("last", with_entry("encoder.more", torch.zeros(2)), MISFIT),
    ("last", first_weight(lambda weight: weight * float("nan")), "bad.pt: the model's codes are not finite"),
    ("model_name", lambda old: "BTCVAE", "bad.pt: the weights are not those of a BTCVAE"),
    ("model_name", lambda old: "FactorVAE", "bad.pt: the weights are not those of a FactorVAE"),
    ("model_name", lambda old: "GAN", "bad.pt: the checkpoint holds a GAN, known are VAE"),
    ("model_config", with_entry("latent_dim", 4), MISFIT),
    ("model_config", with_entry("latent_dim", 2**40), MISFIT),
    ("model_config", with_entry("latent_dim", -1), MISFIT),
    ("model_config", with_entry("latent_dim", "eight"), MISFIT),
    ("model_config", with_entry("hidden", 2**40), MISFIT),
    ("model_config", with_entry("colour", "red"), MISFIT),
    ("model_config", with_entry("input_shape", (1, 128, 8)), MISFIT),
    ("front_end_config", with_entry("n_mels", 2**40), "bad.pt: the front end .* cannot be computed"),
    ("front_end_config", with_entry("n_fft", 2**40), "bad.pt: the front end .* cannot be computed"),
    ("front_end_config", with_entry("hop", 0), "bad.pt: the front end .* cannot be computed"),
    ("front_end_config", with_entry("db_min", float("nan")), "bad.pt: the front end .* cannot be computed"),
    ("front_end_config", with_entry("kind", "mfcc"), "bad.pt: --features: 'mfcc' is unknown"),
    ("front_end_config", with_entry("colour", "red"), "bad.pt: the checkpoint names a front end that there is not"),
    ("front_end_config", with_entry("n_mels", 64), MISFIT),
    ("valid_rows", lambda old: old + 1000, "bad.pt: tones.npz has 16 tones, VAE was trained on rows up to 10"),
    ("valid_rows", lambda old: -old - 1, "bad.pt: 'train_rows' and 'valid_rows' do not take a row at most once"),
    ("valid_rows", lambda old: old.float(), "bad.pt: 'train_rows' and 'valid_rows' are not lists of row numbers"),
    ("valid_rows", lambda old: old[:, None], "bad.pt: 'train_rows' and 'valid_rows' are not lists of row numbers"),
    (
        "valid_rows",
        lambda old: torch.zeros(1, dtype=torch.int64).expand(10**15),
        "bad.pt: .* are not lists of row numbers",
    ),
    ("train_rows", lambda old: old[:0], "bad.pt: 'train_rows' and 'valid_rows' are not lists of row numbers"),
    ("dataset_path", lambda old: "moved.npz", "bad.pt: was trained on moved.npz, which is not there"),
    ("dataset_path", lambda old: "text.txt", "text.txt: cannot be read as a dataset"),
    ("recipe", lambda old: "{}", "bad.pt: tones.npz was made by another recipe"),
]


def change_field(source: str, target: str, field: str, make) -> None:
    fields = torch.load(source, weights_only=True)
    value = make(fields.get(field)) if make else None
    fields.pop(field, None)
    Path(target).unlink(missing_ok=True)
    torch.save(fields | ({field: value} if make else {}), target)


@pytest.mark.parametrize("field, make, pattern", FIELDS)
def test_changed_field_is_refused(world, capfd, field, make, pattern):
    change_field(GOOD_ONE, NAME, field, make)
    check_checkpoint_refused(pattern, capfd)


def test_weights_of_another_shape_are_refused_in_the_best_state_too(world, capfd):
    change_field(GOOD_ONE, NAME, "best", first_weight(lambda weight: weight[:1]))
    check_checkpoint_refused(MISFIT, capfd, "--state", "best")


# ---- what a training would go on from ----


def spoilt_moment(old: dict) -> dict:
    state = dict(old["state"])
    state[0] = state[0] | {"exp_avg": torch.zeros(3)}
    return old | {"state": state}


RESUMED = [
    ("optimizer", lambda old: {}, "'optimizer' is not the state of this model's"),
    ("optimizer", lambda old: old | {"param_groups": []}, "'optimizer' is not the state of this model's"),
    ("optimizer", spoilt_moment, "'optimizer' is not the state of this model's"),
    ("last", first_weight(lambda weight: weight[:1]), "the weights are not those of a VAE"),
    ("recipe", lambda old: "{}", r"was trained with other options \(another dataset, tones.npz\)"),
    ("options", with_entry("lr", 0.5), r"was trained with other options \(lr 0.5, now 0.001\)"),
    ("options", with_entry("seed", 3), r"was trained with other options \(seed 3, now 0\)"),
    ("model_name", lambda old: "BetaVAE", r"was trained with other options \(model BetaVAE, now VAE\)"),
    ("model_config", with_entry("latent_dim", 3), r"was trained with other options \(latent_dim 3, now 8\)"),
]


@pytest.mark.parametrize("field, make, pattern", RESUMED)
def test_training_does_not_go_on_from_what_does_not_fit(world, capfd, field, make, pattern):
    change_field(GOOD_ONE, GOOD_ONE, field, make)
    argv = [*GOOD["trainvae.py"].split(), "--output_dir", "checkpoints", "--epochs", "3", "--resume"]
    check_refused(
        lambda: in_process("trainvae.py", argv, capfd), script="trainvae.py", pattern=f"{GOOD_ONE}: {pattern}"
    )


@pytest.mark.parametrize("content", [b"", b"no weights", pickle.dumps(Bomb())])
@pytest.mark.parametrize("flag", ["--resume", "--epochs=1"])
def test_training_does_not_go_on_from_a_damaged_file(world, capfd, content, flag):
    Path(GOOD_ONE).unlink()
    Path(GOOD_ONE).write_bytes(content)
    argv = [*GOOD["trainvae.py"].split(), "--output_dir", "checkpoints", flag]
    check_refused(
        lambda: in_process("trainvae.py", argv, capfd),
        script="trainvae.py",
        pattern=f"{GOOD_ONE}: not a checkpoint that can be read safely",
    )
    assert not Path("marker").exists()


# ---- dataset and checkpoint that do not belong together ----


def other_dataset(*more: str, capfd) -> str:
    status, err = in_process("create.py", [*GOOD["create.py"].split(), *more, "--file_path", "other.npz"], capfd)
    assert status == 0, err
    return "other.npz"


@pytest.mark.parametrize(
    "more, pattern",
    [
        (["--duration", "0.5"], "other.npz: 4000 samples at 8000 Hz, the checkpoint was trained on 2000 at 8000 Hz"),
        (
            ["--sample_rate", "16000", "--duration", "0.125"],
            "other.npz: 2000 samples at 16000 Hz, the checkpoint was trained on",
        ),
    ],
)
def test_tones_that_do_not_fit_the_model_are_refused(world, capfd, more, pattern):
    other_dataset(*more, capfd=capfd)
    argv = [*GOOD["eval.py"].split(), "--dataset", "other.npz"]
    check_refused(lambda: in_process("eval.py", argv, capfd), script="eval.py", pattern=pattern)


def test_another_dataset_under_the_old_name_is_refused(world, capfd):
    Path(other_dataset("--amp_start", "0.5", capfd=capfd)).replace("tones.npz")
    argv = GOOD["eval.py"].split()
    check_refused(
        lambda: in_process("eval.py", argv, capfd),
        script="eval.py",
        pattern=f"{GOOD_ONE}: tones.npz was made by another recipe",
    )
    argv = [*GOOD["trainvae.py"].split(), "--output_dir", "checkpoints", "--epochs", "2", "--resume"]
    check_refused(
        lambda: in_process("trainvae.py", argv, capfd),
        script="trainvae.py",
        pattern=f"{GOOD_ONE}: was trained with other options .another dataset, tones.npz",
    )


def test_a_dataset_of_the_same_recipe_and_other_length_is_refused(world, capfd):
    with np.load("tones.npz") as data:
        held = {key: array[:12] if array.shape[:1] == (16,) else array for key, array in dict(data).items()}
    Path("tones.npz").unlink()
    np.savez("tones.npz", **held)
    check_refused(
        lambda: in_process("eval.py", GOOD["eval.py"].split(), capfd),
        script="eval.py",
        pattern=f"{GOOD_ONE}: tones.npz has 12 tones, VAE was trained on a split of 16",
    )


def test_checkpoints_that_are_no_seeds_of_one_model_are_refused(world, capfd):
    change_field(GOOD_ONE, NAME, "options", lambda old: old | {"seed": 1, "lr": 0.5})
    argv = [*GOOD["eval.py"].split(), "--model", GOOD_ONE, NAME]
    check_refused(
        lambda: in_process("eval.py", argv, capfd),
        script="eval.py",
        pattern="bad.pt: was trained with other options than the VAE before it",
    )


def test_a_checkpoint_that_diverged_stops_before_others_are_drawn(world, capfd):
    fields = torch.load(GOOD_ONE, weights_only=True)
    spoilt = first_weight(lambda weight: weight * float("nan"))(fields["last"])
    torch.save(fields | {"last": spoilt, "model_name": "BetaVAE"}, NAME)
    argv = [word for word in GOOD["eval.py"].split() if word != "--no_figures"]
    argv += ["--model", GOOD_ONE, NAME, "--figures_dir", "Figures"]
    check_refused(
        lambda: in_process("eval.py", argv, capfd), script="eval.py", pattern="bad.pt: the model's codes are not finite"
    )


def test_scores_of_factors_that_do_not_vary_are_refused(world, capfd):
    with np.load("tones.npz") as data:
        held = dict(data) | {"factors": np.zeros((16, 3), np.int32)}
    Path("tones.npz").unlink()
    np.savez("tones.npz", **held)
    check_refused(
        lambda: in_process("eval.py", GOOD["eval.py"].split(), capfd),
        script="eval.py",
        pattern="tones.npz: no factor has two levels",
    )
