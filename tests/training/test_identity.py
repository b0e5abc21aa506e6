"""The identity of a dataset: contents decide, whatever the recipe says, in training and in evaluation alike."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sandbox import GOOD, check_refused, in_process

import create
import trainvae
from syntone.dataset import load_npz, save_npz
from syntone.dataset.identity import identify
from syntone.training import load_checkpoint

OWN = '{"format_version": 1, "what": "recordings of a flute"}'


def noise(size: float):
    return lambda x: x + np.float32(size) * np.random.default_rng(0).uniform(-1, 1, x.shape).astype(np.float32)


def flipped(factors: np.ndarray) -> np.ndarray:
    return np.hstack([factors[:, :1], factors[::-1, 1:2], factors[:, 2:]])


CHANGES = {  # what is changed, and the members that differ then
    "other sounds": ({"x": lambda x: x * np.float32(0.9)}, "x"),
    "sounds in another order": ({"x": lambda x: np.roll(x, 1, axis=0)}, "x"),
    "rows in another order": ({key: np.flipud for key in ("x", "factors", "factor_values")}, "x, factors, factor_v"),
    "other labels": ({"factors": flipped}, "factors"),
    "other values": ({"factor_values": lambda values: values * 1.01}, "factor_values"),
    "other names": ({"factor_names": lambda names: np.array(["timbre", "level", "frequency"])}, "factor_names"),
    "other kinds": ({"factor_kinds": lambda kinds: np.array(["ordered"] * 3)}, "factor_kinds"),
}


def write_copy(source: Path, path: Path, changes: dict) -> Path:
    """A dataset file with some members changed, written by numpy as a user's script does it."""
    with np.load(source) as data:
        members = {key: changes.get(key, lambda array: array)(data[key]) for key in data.files}
    path.unlink(missing_ok=True)  # it may be a link
    np.savez(path, **members)
    return path


def difference(one: Path, other: Path) -> str | None:
    return identify(load_npz(one)).difference(identify(load_npz(other)))


@pytest.mark.parametrize("recipe", ["synthesized", "own"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_under_the_same_recipe_is_another_dataset(dataset_path, tmp_path, name, recipe):
    changes, members = CHANGES[name]
    own = {"recipe": lambda _: np.array(OWN)} if recipe == "own" else {}
    before = write_copy(dataset_path, tmp_path / "before.npz", own)
    after = write_copy(dataset_path, tmp_path / "after.npz", changes | own)
    for one, other in ((before, after), (after, before)):  # the changed file may be the one that was trained on
        assert difference(one, other).startswith(f"has other contents ({members}")


def test_a_copy_by_any_writer_is_the_same_dataset(dataset_path, tmp_path):
    by_numpy, by_us = write_copy(dataset_path, tmp_path / "a.npz", {}), tmp_path / "b.npz"
    data = load_npz(dataset_path)
    names = ("x", "factors", "factor_values", "factor_names", "factor_kinds", "sample_rate")
    save_npz(by_us, recipe={"copied": "today"}, **{name: getattr(data, name) for name in names})
    assert difference(dataset_path, by_numpy) is None and difference(dataset_path, by_us) is None


def test_a_recipe_copied_to_other_sounds_is_another_dataset(dataset_path, tmp_path):
    data = load_npz(dataset_path)
    names = ("factors", "factor_values", "factor_names", "factor_kinds", "sample_rate", "y", "classes", "freqs", "amps")
    copied = {name: getattr(data, name) for name in names} | {"recipe": json.loads(data.recipe)}
    save_npz(tmp_path / "a.npz", x=data.x * np.float32(0.9), **copied)
    for one, other in ((dataset_path, tmp_path / "a.npz"), (tmp_path / "a.npz", dataset_path)):
        assert difference(one, other) == "was made by another recipe"  # a user's recipe is kept apart


def test_synthesized_tones_of_another_machine_are_the_same_dataset(dataset_path, tmp_path):
    other = write_copy(dataset_path, tmp_path / "a.npz", {"x": noise(1e-6)})
    assert load_npz(other).digest != load_npz(dataset_path).digest
    assert difference(dataset_path, other) is None
    assert difference(dataset_path, write_copy(dataset_path, other, {"x": noise(1e-4)})) == "has other contents (x)"
    own = {"recipe": lambda _: np.array(OWN)}
    before = write_copy(dataset_path, tmp_path / "own.npz", own)
    assert difference(before, write_copy(dataset_path, other, own | {"x": noise(1e-6)})) == "has other contents (x)"


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"generator_version": 0}, "has other contents (x)"),  # its tones cannot be made here
        ({"num_freqs": "six"}, "has other contents (x)"),
        ({"generator": "create.py --from_wav"}, "has other contents (x)"),
        ({}, None),
    ],
)
def test_a_recipe_that_cannot_be_followed_leaves_it_to_the_digest(dataset_path, tmp_path, change, expected):
    recipe = {"recipe": lambda text: np.array(json.dumps(json.loads(str(text)) | change))}
    before = write_copy(dataset_path, tmp_path / "a.npz", recipe)
    assert difference(before, write_copy(dataset_path, tmp_path / "b.npz", recipe | {"x": noise(1e-6)})) == expected


@pytest.mark.parametrize("flags", ["--preset clean --num_freqs 3 --num_amps 3", "--phase random --snr_db 20 --seed 3"])
def test_every_kind_of_tones_follows_its_recipe(tmp_path, flags):
    small = "--sample_rate 8000 --duration 0.25 --num_freqs 3 --num_amps 2 --freq_start 500 --freq_end 1000"
    factors = "--factor attack 0 0.1 2 --factor vibrato 0 50 2"
    study = "--hold_out timbre=square --correlate amplitude frequency 1"
    assert create.main(f"{small} {flags} {factors} {study} --file_path {tmp_path}/a.npz".split()) == 0
    assert identify(load_npz(tmp_path / "a.npz")).synthesized


def test_other_hold_outs_of_the_same_sounds_are_another_dataset(dataset_path, tmp_path):
    held = {"recipe": lambda text: np.array(json.dumps(json.loads(str(text)) | {"hold_out": [["timbre=square"]]}))}
    assert difference(dataset_path, write_copy(dataset_path, tmp_path / "a.npz", held)) == (
        "has other hold-outs or correlations"
    )


# ---- the scripts ----


@pytest.mark.parametrize("name", CHANGES)
def test_create_does_not_take_a_changed_file_for_the_one_it_would_make(world, capfd, name):
    write_copy(Path("tones.npz"), Path("new.npz"), CHANGES[name][0])
    pattern = "--file_path: new.npz exists and was changed after it was made with these options; give --overwrite"
    argv = GOOD["create.py"].split()
    check_refused(lambda: in_process("create.py", argv, capfd), script="create.py", pattern=pattern)
    write_copy(Path("tones.npz"), Path("new.npz"), {})
    assert in_process("create.py", argv, capfd) == (0, "")


@pytest.fixture
def own_world(world) -> Path:
    """The sandbox with a dataset of the user's own under tones.npz, and a checkpoint of one epoch on it."""
    write_copy(Path("tones.npz"), Path("own.npz"), {"recipe": lambda _: np.array(OWN)}).replace("tones.npz")
    assert training(["--overwrite"]) == 0
    return world


def training(more: list[str]) -> int:
    return trainvae.main([*GOOD["trainvae.py"].split(), "--output_dir", "checkpoints", *more])


@pytest.mark.parametrize("name", CHANGES)
def test_scripts_refuse_a_dataset_that_was_changed_under_its_recipe(own_world, capfd, name):
    changes, members = CHANGES[name]
    write_copy(Path("tones.npz"), Path("new.npz"), changes).replace("tones.npz")
    where = "checkpoints/VAE_seed0.pt: "
    other = rf"was trained with other options .another dataset, tones.npz: the one given has other contents \({members}"
    for script, more, pattern in [
        ("eval.py", [], rf"tones.npz has other contents \({members}.* than the training data of VAE; re-create"),
        ("trainvae.py", ["--output_dir", "checkpoints", "--epochs", "2", "--resume"], other),
        ("trainvae.py", ["--output_dir", "checkpoints"], other),  # finished: would be left alone
    ]:
        argv = [*GOOD[script].split(), *more]
        check_refused(lambda s=script, a=argv: in_process(s, a, capfd), script=script, pattern=where + pattern)
    status, err = in_process("eval.py", [*GOOD["eval.py"].split(), "--dataset", "tones.npz"], capfd)
    assert status == 0 and f"eval.py: warning: tones.npz has other contents ({members}" in err


def test_renamed_levels_that_move_a_hold_out_are_refused(world, capfd):
    """A hold-out names levels: with other names, tones that were held out would be trained on, and the reverse."""
    held = {"recipe": lambda text: np.array(json.dumps(json.loads(str(text)) | {"hold_out": [["timbre=square"]]}))}
    write_copy(Path("tones.npz"), Path("new.npz"), held).replace("tones.npz")
    assert training(["--overwrite"]) == 0
    renamed = {"classes": lambda names: names[::-1]}
    write_copy(Path("tones.npz"), Path("new.npz"), renamed).replace("tones.npz")
    for script, more, pattern in [
        ("eval.py", [], "tones.npz holds out other tones than the training data of VAE"),
        ("trainvae.py", ["--output_dir", "checkpoints", "--epochs", "2", "--resume"], "another split of tones.npz"),
    ]:
        argv = [*GOOD[script].split(), *more]
        check_refused(lambda s=script, a=argv: in_process(s, a, capfd), script=script, pattern=f".*{pattern}")


def test_an_unchanged_dataset_of_ones_own_is_resumed_and_scored(own_world, capfd):
    write_copy(Path("tones.npz"), Path("new.npz"), {}).replace("tones.npz")
    assert training(["--epochs", "2", "--resume"]) == 0 and training(["--epochs", "2"]) == 0
    assert load_checkpoint("checkpoints/VAE_seed0.pt").epoch == 2
    status, err = in_process("eval.py", GOOD["eval.py"].split(), capfd)
    assert status == 0 and "another recipe" not in err


def test_seeds_that_were_trained_on_other_data_are_not_aggregated(own_world, capfd):
    write_copy(Path("tones.npz"), Path("new.npz"), CHANGES["other sounds"][0]).replace("other.npz")
    assert training(["--seeds", "1", "--dataset", "other.npz"]) == 0
    argv = [*GOOD["eval.py"].split(), "--model", "checkpoints/VAE_seed0.pt", "checkpoints/VAE_seed1.pt"]
    pattern = "checkpoints/VAE_seed1.pt: was trained on other data than the VAE before it"
    check_refused(lambda: in_process("eval.py", argv, capfd), script="eval.py", pattern=pattern)


def test_a_checkpoint_names_its_data_in_plain_types(own_world):
    found = torch.load("checkpoints/VAE_seed0.pt", weights_only=True)
    assert found["digest"] == load_npz("tones.npz").digest and found["synthesized"] is False
