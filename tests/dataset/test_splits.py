"""Held-out combinations and correlated factors: what is trained on, how often, and what is scored apart."""

import csv
import json

import numpy as np
import pytest
import torch
from sandbox import GRID

import create
import eval as evaluate_script
import trainvae
from syntone.dataset import load_npz, splits
from syntone.errors import InputError
from syntone.training.checkpoint import load_checkpoint
from syntone.training.loop import draw_order

HELD_OUT = "--hold_out timbre=square,sawtooth frequency=1500:2500 --hold_out amplitude=0.1 frequency=500".split()


def make(tmp_path, *flags: str):
    path = tmp_path / "tones.npz"
    assert create.main([*GRID, "--file_path", str(path), *flags]) == 0
    return load_npz(path)


def test_held_out_combinations_are_exactly_those_of_the_conditions(tmp_path):
    data = make(tmp_path, *HELD_OUT)
    timbre, amplitude, frequency = data.factor_values.T
    expected = (timbre >= 2) & (frequency >= 1500) & (frequency <= 2500) | (amplitude == 0.1) & (frequency == 500)
    np.testing.assert_array_equal(splits.held_out(data), expected)
    assert expected.sum() == 2 * 3 * 3 + 4 and len(data) == 72
    assert json.loads(data.recipe)["hold_out"] == [HELD_OUT[1:3], HELD_OUT[4:]]


def test_the_file_holds_every_tone_and_the_same_ones(tmp_path, dataset_path):
    data, plain = make(tmp_path, *HELD_OUT, "--correlate", "amplitude", "frequency", "0.2"), load_npz(dataset_path)
    np.testing.assert_array_equal(data.x, plain.x)
    np.testing.assert_array_equal(data.factors, plain.factors)


def test_no_held_out_tone_is_trained_or_validated_on(tmp_path):
    data = make(tmp_path, *HELD_OUT)
    for seed in range(3):
        train, valid, weights = splits.training_split(data, seed=seed)
        both = np.concatenate([train, valid])
        assert len(np.unique(both)) == len(both) == 50 and not splits.held_out(data)[both].any()
        assert len(valid) == 10 and weights is None


def test_split_is_by_seed_and_takes_every_tone_once():
    train, valid = splits.split(4000, seed=0)
    assert (len(train), len(valid)) == (3200, 800)
    assert np.array_equal(np.sort(np.concatenate([train, valid])), np.arange(4000))
    again, other = splits.split(4000, seed=0)[0], splits.split(4000, seed=1)[0]
    assert np.array_equal(train, again) and not np.array_equal(train, other)
    with pytest.raises(InputError, match="3 sounds cannot be split"):
        splits.split(3, seed=0)


def test_a_plain_dataset_is_split_as_ever(dataset_path):
    train, valid, weights = splits.training_split(load_npz(dataset_path), seed=3)
    expected = splits.split(72, seed=3)
    assert np.array_equal(train, expected[0]) and np.array_equal(valid, expected[1]) and weights is None
    assert splits.sections(load_npz(dataset_path), generator=np.random.default_rng(0)) == {}


def test_weights_are_the_gaussian_of_traeuble_along_the_diagonal(tmp_path):
    """Levels of 3 amplitudes lie at 0, 1/2, 1, those of 6 frequencies at 0, 1/5, ..., 1."""
    data = make(tmp_path, "--correlate", "amplitude", "frequency", "0.2")
    weights = splits.correlation_weights(data)
    a, b = data.factors[:, 1] / 2, data.factors[:, 2] / 5
    np.testing.assert_allclose(weights, np.exp(-((a - b) ** 2) / (2 * 0.2**2)), rtol=1e-12)
    train, _, drawn = splits.training_split(data, seed=0)
    np.testing.assert_array_equal(drawn, weights[train])


def test_an_epoch_is_drawn_in_proportion_to_the_weights():
    weights = torch.tensor([0.0, 1.0, 2.0, 0.0, 5.0, 0.0])
    draws = torch.cat([draw_order(6, weights, generator=torch.Generator().manual_seed(k)) for k in range(2000)])
    shares = torch.bincount(draws, minlength=6).double() / len(draws)
    # 12,000 draws: a share's standard deviation is at most 0.0046
    np.testing.assert_allclose(shares, weights / 8, atol=0.02)
    assert shares[[0, 3, 5]].sum() == 0 and len(draws) == 12000
    plain = draw_order(50, None, generator=torch.Generator().manual_seed(1))
    assert torch.equal(plain, torch.randperm(50, generator=torch.Generator().manual_seed(1)))


def test_sections_are_the_held_out_tones_and_a_thinned_grid(tmp_path):
    data = make(tmp_path, *HELD_OUT, "--correlate", "amplitude", "frequency", "0.2")
    weights, out = splits.correlation_weights(data), splits.held_out(data)
    counts = np.zeros(72)
    for seed in range(2000):
        found = splits.sections(data, generator=np.random.default_rng(seed))
        counts[found["training distribution"]] += 1
        assert len(np.unique(found["training distribution"])) == len(found["training distribution"])
    np.testing.assert_array_equal(found["held out"], np.flatnonzero(out))
    # a share of 2,000 draws has a standard deviation of at most 0.011
    np.testing.assert_allclose(counts / 2000, np.where(out, 0, weights / weights[~out].max()), atol=0.05)


@pytest.mark.parametrize(
    "flags, pattern",
    [
        (["--hold_out", "timbre"], "'timbre' is not a condition; write NAME=VALUE"),
        (["--hold_out", "colour=red"], "unknown factor 'colour'; choose from timbre, amplitude, frequency"),
        (["--hold_out", "timbre=flute"], "timbre has no level 'flute'; choose from sine, triangle"),
        (["--hold_out", "frequency=high"], "'high' is not a number"),
        (
            ["--hold_out", "frequency=5000:6000"],
            "'5000:6000' matches no level of frequency .* nearest are 2000, 2500, 3000",
        ),
        (["--hold_out", "frequency=500,999"], "'999' matches no level of frequency .* nearest are 500, 1000, 1500"),
        (["--hold_out", "frequency=999.99"], "'999.99' matches no level of frequency"),
        (["--hold_out", "frequency=0:9000"], "every sound meets frequency=0:9000"),
        (["--correlate", "timbre", "frequency", "0.2"], "timbre is nominal"),
        (["--correlate", "amplitude", "amplitude", "0.2"], "amplitude is given twice"),
        (["--correlate", "amplitude", "pitch", "0.2"], "unknown factor 'pitch'"),
        (["--correlate", "amplitude", "frequency", "0"], "correlate: sigma.* got '0'"),
        (["--correlate", "amplitude", "frequency", "wide"], "correlate: sigma.* got 'wide'"),
    ],
)
def test_conditions_that_mean_nothing_are_refused(tmp_path, refused, flags, pattern):
    refused(create.main, [*GRID, "--file_path", tmp_path / "tones.npz", *flags], pattern)
    assert list(tmp_path.iterdir()) == []


def test_a_value_meets_the_level_that_is_printed_like_it():
    """Levels of `--preset clean` as the audit's text (4 digits), JSON, figures (6) and file names (Hz) print them."""
    levels = np.geomspace(440, 2600, 35)
    of = {"frequency": ("ordered", levels, None), "level": ("ordered", np.array([0.0, 0.1, 1.0004, 1.0041]), None)}

    def met(condition):
        return splits._parse_condition(condition, of)[1].nonzero()[0].tolist()

    assert levels[1] != 463.601
    for word in ("463.601", "463.6", "464", "463.6011", str(levels[1])):
        assert met(f"frequency={word}") == [1], word
    assert met("frequency=463.601:488.469") == [1, 2] and met("frequency=464:500") == [2]
    assert met("level=0") == [0] and met("level=1.0") == [2] and met("level=1.00") == [2]


def test_a_value_that_several_levels_are_printed_like_is_refused():
    of = {"level": ("ordered", np.array([1.0002, 1.0004, 2.0]), None)}
    with pytest.raises(InputError, match="hold_out: '1' matches more than one level of level .*are 1.0002, 1.0004, 2$"):
        splits._parse_condition("level=1", of)


def test_few_sounds_are_not_blamed_on_hold_outs(tmp_path):
    flags = "--num_freqs 1 --num_amps 3 --waveforms sine".split()
    with pytest.raises(InputError, match="tones.npz: has 3 sounds; training and validation need 2 or more each"):
        splits.training_split(make(tmp_path, *flags), seed=0)


def test_too_few_tones_left_are_refused_by_the_training(tmp_path, refused):
    make(tmp_path, "--hold_out", "frequency=500:2500", "--hold_out", "timbre=sine,square,triangle")
    refused(
        trainvae.main,
        ["--dataset", tmp_path / "tones.npz", "--output_dir", tmp_path, "--device", "cpu"],
        "its hold-outs leave 3 of 72 sounds",
    )


def test_a_correlation_that_leaves_one_tone_is_refused(tmp_path):
    """Levels of 2 amplitudes and 6 frequencies meet at 0 and 1 alone; one of the two is held out."""
    flags = "--num_amps 2 --waveforms sine --correlate amplitude frequency 0.001".split()
    flags += "--hold_out amplitude=1 frequency=3000".split()
    data = make(tmp_path, *flags)
    with pytest.raises(InputError, match="its correlations leave fewer than two sounds"):
        splits.training_split(data, seed=0)


def test_training_and_evaluation_honour_them(tmp_path, capsys):
    data = make(tmp_path, *HELD_OUT, "--correlate", "amplitude", "frequency", "0.3")
    path = tmp_path / "BTCVAE_seed0.pt"
    train = f"--model BTCVAE --device cpu --batch_size 8 --output_dir {tmp_path} --dataset {data.path}".split()
    assert trainvae.main([*train, "--epochs", "1"]) == 0
    assert "22 of 72 tones are held out" in capsys.readouterr().out
    found, history = load_checkpoint(path), path.with_suffix(".csv").read_text()
    assert found.model_config["n_data"] == len(found.train_rows) == 40 and len(found.valid_rows) == 10
    assert trainvae.main([*train, "--epochs", "2", "--resume"]) == 0
    resumed = path.read_bytes()
    assert trainvae.main([*train, "--epochs", "2", "--overwrite"]) == 0 and path.read_bytes() == resumed
    capsys.readouterr()
    results = tmp_path / "results"
    score = f"--model {path} --metrics mig sap --no_figures --output_dir {results} --device cpu".split()
    assert evaluate_script.main(score) == 0
    table = capsys.readouterr().out
    with open(results / "metrics.csv") as handle:
        metrics = {row["metric"] for row in csv.DictReader(handle)}
    for part in ("held out", "training distribution"):
        assert {f"{part}: MIG", f"{part}: SAP", f"{part}: reconstruction error (dB)"} <= metrics
        assert f"| {part}: MIG, frequency" in table
    assert {"MIG", "SAP", "reconstruction error (dB)"} <= metrics and "| held out: tones" in table and "| 22 " in table
    # the same tones without the correlation: all else being equal, the training must differ
    assert create.main([*GRID, *HELD_OUT, "--file_path", str(data.path), "--overwrite"]) == 0
    assert trainvae.main([*train, "--epochs", "1", "--overwrite"]) == 0
    assert path.with_suffix(".csv").read_text() != history
