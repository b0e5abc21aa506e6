"""Training on pairs: which rows, how often, which tones are counted, and what is refused."""

import csv
import itertools

import numpy as np
import pytest
import torch

import trainvae
from models import MODELS, VAE
from syntone.dataset import load_npz, save_npz
from syntone.dataset.pairs import Rule, plan_pairs
from syntone.dataset.splits import training_split
from syntone.evaluation.load import marked
from syntone.training.checkpoint import load_checkpoint
from syntone.training.loop import Settings, Split, train

SMALL = "--model AdaGVAE --channels 8 8 --hidden 16 --n_mels 32 --batch_size 16 --device cpu".split()


class Recorder(torch.nn.Module):
    """A model that needs pairs and records the rows that it is given: the features are the numbers of the rows."""

    needs_pairs = True

    def __init__(self) -> None:
        super().__init__()
        self.level = torch.nn.Parameter(torch.zeros(1))
        self.register_buffer("annealing", torch.ones(()), persistent=False)
        self.trained, self.validated = [], []

    def parameter_groups(self, lr):
        return [{"params": list(self.parameters()), "lr": lr}]

    def losses(self, x):
        anchors, partners = x.long().chunk(2)
        (self.trained if self.training else self.validated).append(torch.stack([anchors, partners], dim=1).numpy())
        return {"loss": self.level.square().sum()}


@pytest.fixture
def recorded(dataset_path):
    """Two epochs of the loop on pairs that differ in one factor: model, split, dataset, tones counted, history."""
    dataset, model, steps = load_npz(dataset_path), Recorder(), []
    train_rows, valid_rows, weights = training_split(dataset, seed=0)
    rows = {"train": train_rows, "valid": valid_rows, "weights": weights}
    pairs = plan_pairs(dataset, Rule(1), **rows, num_pairs=None, seed=0)
    split = Split(torch.from_numpy(train_rows), torch.from_numpy(valid_rows), pairs=pairs)
    features = torch.arange(len(dataset), dtype=torch.float64)
    done = train(model, features, split, Settings(batch_size=20), epochs=2, on_step=steps.append)
    return model, split, dataset, steps, done.history


def test_an_epoch_takes_every_training_row_once_as_anchor(recorded):
    model, split, dataset, steps, history = recorded
    n = len(split.train)
    per_epoch = len(model.trained) // 2
    first, second = (np.concatenate(model.trained[half]) for half in (slice(per_epoch), slice(per_epoch, None)))
    for pairs in (first, second):
        assert np.array_equal(np.sort(pairs[:, 0]), split.train.numpy()) and np.isin(pairs, split.train).all()
        assert ((dataset.factors[pairs[:, 0]] != dataset.factors[pairs[:, 1]]).sum(axis=1) == 1).all()
    assert not np.array_equal(first, second)  # new partners and another order
    assert [len(batch) for batch in model.trained[:per_epoch]] == [20, 19, 19]  # --batch_size counts pairs
    assert history["tones"] == [2 * n, 2 * n] and sum(steps) == 2 * split.n_tones == 4 * n


def test_validation_pairs_are_fixed_and_within_the_validation_rows(recorded):
    model, split, dataset, _, _ = recorded
    first, second = np.concatenate(model.validated).reshape(2, -1, 2)
    assert np.array_equal(first, second) and np.isin(first, split.valid).all()
    assert len(np.unique(first[:, 0])) == len(first) == 11  # of 14 rows, the others have no partner among them
    assert ((dataset.factors[first[:, 0]] != dataset.factors[first[:, 1]]).sum(axis=1) == 1).all()


def test_flags_reach_the_checkpoint_and_the_user_is_told(dataset_path, tmp_path, capsys):
    argv = ["--dataset", str(dataset_path), *SMALL, "--epochs", "1", "--output_dir", str(tmp_path)]
    assert trainvae.main([*argv, "--pair_shares", "timbre"]) == 0
    assert "AdaGVAE uses labels to draw pairs; each pair shares timbre" in capsys.readouterr().out
    options = load_checkpoint(tmp_path / "AdaGVAE_seed0.pt").options
    assert (options["pair_changes"], options["pair_shares"], options["num_pairs"]) == (1, ("timbre",), None)
    assert trainvae.main([*argv, "--pair_changes", "random", "--num_pairs", "10", "--overwrite"]) == 0
    assert "draw 10 fixed pairs; each pair differs in a random number of factors" in capsys.readouterr().out
    options = load_checkpoint(tmp_path / "AdaGVAE_seed0.pt").options
    assert (options["pair_changes"], options["pair_shares"], options["num_pairs"]) == ("random", (), 10)
    assert trainvae.main([*argv, "--pair_changes", "random", "--num_pairs", "10"]) == 0  # finished: left alone
    with open(tmp_path / "AdaGVAE_seed0.csv", newline="") as file:
        assert [float(row["tones"]) for row in csv.DictReader(file)] == [2 * 58]


def test_other_pairs_are_another_run(dataset_path, tmp_path, refused):
    argv = ["--dataset", str(dataset_path), *SMALL, "--epochs", "1", "--output_dir", str(tmp_path)]
    assert trainvae.main(argv) == 0
    refused(trainvae.main, [*argv, "--pair_changes", "2"], r"other options \(pair_changes 1, now 2\)")
    refused(trainvae.main, [*argv, "--num_pairs", "9"], r"other options \(num_pairs None, now 9\)")


@pytest.mark.parametrize("more", [[], ["--num_pairs", "100"]])
def test_equal_and_resumed_runs_give_equal_bytes(dataset_path, tmp_path, more):
    argv = ["--dataset", str(dataset_path), *SMALL, *more]
    for folder, epochs in (("whole", "2"), ("again", "2"), ("parts", "1"), ("parts", "2")):
        assert trainvae.main([*argv, "--epochs", epochs, "--output_dir", str(tmp_path / folder), "--resume"]) == 0
    for name in ("AdaGVAE_seed0.pt", "AdaGVAE_seed0.csv"):
        whole, again, parts = ((tmp_path / folder / name).read_bytes() for folder in ("whole", "again", "parts"))
        assert whole == again == parts


def test_each_seed_and_epoch_draws_other_partners(recorded):
    """Equal random numbers would change the same factor of the n-th pair, not in a third of the pairs."""
    model, split, dataset, _, _ = recorded
    other = Recorder()
    features = torch.arange(len(dataset), dtype=torch.float64)
    train(other, features, split, Settings(batch_size=20, seed=1), epochs=1)
    half = len(model.trained) // 2
    epochs = [model.trained[:half], model.trained[half:], other.trained]
    levels = [dataset.factors[np.concatenate(batches)] for batches in epochs]
    changed = [(pairs[:, 0] != pairs[:, 1]).argmax(axis=1) for pairs in levels]
    assert all((one == another).mean() < 0.6 for one, another in itertools.combinations(changed, 2))


def test_the_order_of_shared_factors_has_no_effect(dataset_path, tmp_path, capsys):
    argv = ["--dataset", str(dataset_path), *SMALL, "--epochs", "1", "--output_dir", str(tmp_path), "--pair_shares"]
    assert trainvae.main([*argv, "timbre", "amplitude"]) == 0
    assert trainvae.main([*argv, "amplitude", "timbre", "timbre"]) == 0
    assert "is finished with these options; left alone" in capsys.readouterr().out


class OwnPairs(VAE):
    """A user's own model that learns from pairs: it adds the distance of the means in a pair."""

    needs_pairs = True

    def regularizer(self, z, mu, logvar, kl, *, generator):
        first, second = mu.chunk(2)
        apart = (first - second).square().sum() / len(first)
        return kl + apart, {"apart": apart}


def test_a_users_own_model_learns_from_pairs(dataset_path, tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "OwnPairs", OwnPairs)
    argv = ["--dataset", str(dataset_path), *SMALL, "--model", "OwnPairs", "--pair_changes", "2", "--epochs", "1"]
    assert trainvae.main([*argv, "--output_dir", str(tmp_path)]) == 0
    found = load_checkpoint(tmp_path / "OwnPairs_seed0.pt")
    assert found.options["pair_changes"] == 2 and found.history["train_apart"][0] > 0
    assert marked("OwnPairs") == "OwnPairs (pairs)"


def test_models_without_pairs_keep_no_rule(dataset_path, tmp_path):
    argv = ["--dataset", str(dataset_path), *SMALL, "--model", "VAE", "AdaGVAE", "--pair_changes", "2", "--epochs", "1"]
    assert trainvae.main([*argv, "--output_dir", str(tmp_path)]) == 0
    assert "pair_changes" not in load_checkpoint(tmp_path / "VAE_seed0.pt").options
    assert load_checkpoint(tmp_path / "AdaGVAE_seed0.pt").options["pair_changes"] == 2


@pytest.mark.parametrize(
    "flags, pattern",
    [
        (
            "--model VAE BTCVAE --pair_changes 1",
            "--pair_changes: none of VAE, BTCVAE learns from pairs; give --model Ada",
        ),
        ("--model VAE --num_pairs 100", "--num_pairs: none of VAE learns from pairs"),
        ("--model AdaGVAE --pair_changes 3", "pair_changes: a pair that differs in 3 of 3 factors shares nothing"),
        ("--model AdaGVAE --pair_shares pitch", "pair_shares: no factor 'pitch' varies"),
        ("--model AdaGVAE --pair_shares timbre --pair_changes 1", "--pair_changes, --pair_shares: each states"),
        ("--model AdaGVAE --pair_changes some", "--pair_changes: expected a whole number from 1 up, got 'some'"),
    ],
)
def test_wrong_flags_are_refused(dataset_path, tmp_path, refused, flags, pattern):
    argv = ["--dataset", str(dataset_path), *flags.split(), "--epochs", "1", "--output_dir", str(tmp_path / "new")]
    refused(trainvae.main, argv, pattern)
    assert not (tmp_path / "new").exists()


def test_rows_without_a_partner_are_skipped_and_counted(tmp_path, capsys):
    """Recordings of 30 notes of two instruments and one of a third at a pitch of its own."""
    generator, factors = np.random.default_rng(0), [[i, p] for i in range(2) for p in range(15)] + [[2, 15]]
    arrays = {"factors": np.array(factors), "factor_values": np.array(factors, float)}
    names = {"factor_names": ["instrument", "pitch"], "factor_kinds": ["nominal", "ordered"]}
    x = generator.standard_normal((31, 2000)) * 0.1
    save_npz(tmp_path / "notes.npz", x=x, sample_rate=8000, recipe={}, **arrays, **names)
    dataset = load_npz(tmp_path / "notes.npz")
    seed = next(seed for seed in range(9) if 30 in training_split(dataset, seed=seed)[0])
    argv = ["--dataset", str(tmp_path / "notes.npz"), *SMALL, "--epochs", "1", "--output_dir", str(tmp_path)]
    assert trainvae.main([*argv, "--seeds", str(seed)]) == 0
    assert "1 of 25 tones have no partner and are skipped" in capsys.readouterr().out
    history = load_checkpoint(tmp_path / f"AdaGVAE_seed{seed}.pt").history
    assert history["tones"] == [2 * 24]


def test_the_registry_says_what_a_model_needs():
    assert [name for name, model in MODELS.items() if model.needs_pairs] == ["AdaGVAE"]
