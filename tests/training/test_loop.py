"""The loop: batches, resume bit for bit, history, divergence; and the checkpoint file."""

import dataclasses
import math

import pytest
import torch

import trainvae
from models import MODELS
from syntone.errors import InputError, MachineError
from syntone.training.checkpoint import load_checkpoint, save_checkpoint
from syntone.training.loop import Learner, Pass, batch_sizes, history_csv, stream, train

PAPERS = ["VAE", "BetaVAE", "FactorVAE", "BTCVAE"]


@pytest.fixture
def flags(dataset_path, tmp_path):
    """The flags of a short run into a folder of its own."""

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
            *map(str, more),
        ]

    return build


# ---- batches ----


@pytest.mark.parametrize("n, batch_size", [(3200, 64), (65, 64), (129, 64), (63, 64), (2, 64), (7, 3), (5, 2), (3, 2)])
def test_batches_take_every_row_once_and_none_is_single(n, batch_size):
    sizes = batch_sizes(n, batch_size)
    assert sum(sizes) == n
    assert 2 <= min(sizes) and max(sizes) - min(sizes) <= 1
    assert max(sizes) <= max(batch_size, 3) and len(sizes) == min(math.ceil(n / batch_size), n // 2)


class Mean(torch.nn.Module):
    def losses(self, x, *, generator=None):
        return {"loss": x.mean()}


def test_a_pass_reports_the_mean_over_tones_not_over_batches():
    features = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0])  # batches of 3 and 2: the mean of batch means would be 0.5
    one = Pass(Mean(), features, 5, device=features.device)
    for order in (torch.arange(5), torch.tensor([4, 3, 2, 1, 0])):  # and a second pass starts from nothing
        one.start(order, seed=0)
        for n in (3, 2):
            one.step(n)
        assert one.terms()["loss"] == pytest.approx(0.4)


def test_a_pass_takes_the_rows_in_their_order():
    class Listener(Mean):
        seen = []

        def losses(self, x, *, generator=None):
            self.seen += x.tolist()
            return super().losses(x)

    model = Listener()
    one = Pass(model, torch.arange(10.0), 4, device=torch.device("cpu"))
    one.start(torch.tensor([7, 2, 9, 0]), seed=0)
    one.step(3)
    one.step(1)
    assert model.seen == [7, 2, 9, 0]


def test_streams_differ_by_seed_epoch_and_purpose():
    assert len({stream(s, e, p) for s in (0, 1) for e in (1, 2) for p in (0, 1)}) == 8


# ---- the loop ----


class Line(torch.nn.Module):
    """Fits one number; `spoil` makes a term infinite in one epoch."""

    def __init__(self, spoil: int | None = None) -> None:
        super().__init__()
        self.level = torch.nn.Parameter(torch.zeros(1))
        self.spoil, self.epoch = spoil, 0

    def parameter_groups(self, lr):
        return [{"params": list(self.parameters()), "lr": lr}]

    def losses(self, x, *, generator=None):
        self.epoch += self.training
        recon = (x - self.level).square().mean()
        kl = 0 * recon + (math.inf if self.epoch == self.spoil else 0.0)
        return {"loss": recon + kl, "recon": recon, "kl": kl}


def fit(model, **options):
    saved = []
    learner = Learner(model, torch.arange(6), torch.arange(6, 8), 0, save=saved.append, name="a.pt")
    [progress] = train([learner], torch.ones(8), batch_size=8, lr=0.1, **options)
    return progress, saved


def test_loop_minimises_and_keeps_the_best_state():
    progress, saved = fit(Line(), epochs=60)
    losses = progress.history["valid_loss"]
    assert losses[-1] < 0.01 < losses[0]
    assert progress.best_epoch == 1 + losses.index(min(losses))
    expected = (1 - progress.best["level"]).square().item()
    assert min(losses) == pytest.approx(expected) and saved[-1] is progress


def test_a_term_that_is_not_finite_stops_with_its_name_epoch_and_last_checkpoint():
    with pytest.raises(
        MachineError,
        match=r"training term 'kl' became inf in epoch 3; the last good checkpoint is a\.pt of "
        r"epoch 2",
    ):
        fit(Line(spoil=3), epochs=5)  # which is saved when that happens
    with pytest.raises(MachineError, match="'kl' became inf in epoch 1; no checkpoint a.pt was written yet"):
        fit(Line(spoil=1), epochs=5)


def test_validation_is_in_a_random_order_and_the_same_every_epoch():
    """Rows of a file are sorted by frequency: batches of neighbours would bias what is estimated over a batch."""

    class Looker(Line):
        seen = []

        def losses(self, x, *, generator=None):
            if not self.training:
                self.seen.append(x.tolist())
            return super().losses(x)

    model = Looker()
    learner = Learner(model, torch.arange(50), torch.arange(50, 100), 0, save=lambda progress: None)
    train([learner], torch.arange(100.0), epochs=2, batch_size=25, lr=0.1)
    first, second, *again = model.seen
    assert sorted(first + second) == list(range(50, 100)) and again == [first, second]
    assert max(first) - min(first) > 40 and first != sorted(first)


class Noise(Line):
    """Writes down what it draws and what it sees while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn, self.seen = [], []

    def losses(self, x, *, generator=None):
        if self.training:
            self.drawn.append(torch.rand(1, generator=generator).item())
            self.seen += x.tolist()
        return super().losses(x)


def train_noise(seed: int, *, weights=None) -> Noise:
    model = Noise()
    learner = Learner(model, torch.arange(40), torch.arange(40, 50), seed, save=lambda progress: None, weights=weights)
    train([learner], torch.arange(50.0), epochs=2, batch_size=40, lr=0.1)
    return model


def test_noise_and_order_are_of_the_seed_and_the_epoch():
    one, again, other = (train_noise(seed) for seed in (0, 0, 1))
    assert (one.drawn, one.seen) == (again.drawn, again.seen)
    assert len({*one.drawn, *other.drawn}) == 4
    assert sorted(one.seen[:40]) == sorted(other.seen[:40]) == list(range(40)) and one.seen[:40] != other.seen[:40]
    assert one.seen[:40] != one.seen[40:]


def test_weights_say_how_often_a_row_is_trained_on():
    seen = train_noise(0, weights=torch.cat([torch.zeros(20), torch.full((5,), 3.0), torch.ones(15)])).seen
    assert len(seen) == 80 and min(seen) >= 20
    heavy = sum(value < 25 for value in seen)  # half of the weight: 40 of 80, standard deviation 4.5
    assert 20 < heavy < 60


# ---- trainvae.py ----


def test_the_papers_models_by_default_with_histories_and_curves(flags, tmp_path):
    assert trainvae.main(flags("a", "--epochs", 2)) == 0
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(
        f"{name}_seed0.{ending}" for name in PAPERS for ending in ("pt", "csv", "png")
    )
    for name in PAPERS:
        checkpoint = load_checkpoint(tmp_path / "a" / f"{name}_seed0.pt")
        assert checkpoint.epoch == 2 and checkpoint.model_config["latent_dim"] == 8
        assert len(checkpoint.train_rows) + len(checkpoint.valid_rows) == 72 and len(checkpoint.valid_rows) == 14
        lines = (tmp_path / "a" / f"{name}_seed0.csv").read_text().splitlines()
        assert lines[0].startswith("epoch,lr,train_loss,train_recon,train_kl") and len(lines) == 3
        assert float(lines[2].split(",")[2]) == checkpoint.history["train_loss"][1]


@pytest.mark.parametrize("name", MODELS)
def test_two_epochs_and_two_more_are_four_bit_for_bit(flags, tmp_path, name):
    assert trainvae.main(flags("whole", "--epochs", 4, "--model", name)) == 0
    assert trainvae.main(flags("parts", "--epochs", 2, "--model", name)) == 0
    assert trainvae.main(flags("parts", "--epochs", 4, "--model", name, "--resume")) == 0
    for ending in ("pt", "csv"):
        whole, parts = (tmp_path / folder / f"{name}_seed0.{ending}" for folder in ("whole", "parts"))
        assert whole.read_bytes() == parts.read_bytes()


def test_scores_that_are_not_defined_are_refused_before_training(flags, tmp_path, refused):
    refused(
        trainvae.main,
        flags("a", "--epochs", 1, "--model", "VAE", "--latent_dim", 1, "--eval_every", 1, "--metrics", "mig"),
        "mig is not defined for 3 varied factors, 1 latents",
    )
    assert not (tmp_path / "a").exists()
    assert trainvae.main(flags("a", "--epochs", 1, "--model", "VAE", "--latent_dim", 1, "--eval_every", 1)) == 0
    history = load_checkpoint(tmp_path / "a" / "VAE_seed0.pt").history
    assert [key for key in history if key.startswith("score_")] == ["score_DCIMIG", "score_Modularity"]


def test_seeds_differ_and_the_order_of_models_does_not_matter(flags, tmp_path):
    assert trainvae.main(flags("a", "--epochs", 1, "--model", "VAE", "BetaVAE", "--seeds", 0, 1)) == 0
    assert trainvae.main(flags("b", "--epochs", 1, "--model", "BetaVAE")) == 0
    a, other, b = (tmp_path / name for name in ("a/BetaVAE_seed0.pt", "a/BetaVAE_seed1.pt", "b/BetaVAE_seed0.pt"))
    assert a.read_bytes() == b.read_bytes()
    assert not torch.equal(load_checkpoint(a).train_rows, load_checkpoint(other).train_rows)


def test_finished_is_left_alone_unfinished_or_different_is_refused(flags, tmp_path, capsys, refused):
    path = tmp_path / "a" / "VAE_seed0.pt"
    assert trainvae.main(flags("a", "--epochs", 2, "--model", "VAE")) == 0
    before = path.read_bytes()
    assert trainvae.main(flags("a", "--epochs", 2, "--model", "VAE")) == 0
    assert "left alone" in capsys.readouterr().out
    refused(trainvae.main, flags("a", "--epochs", 3, "--model", "VAE"), "has 2 of 3 epochs; give --resume")
    refused(trainvae.main, flags("a", "--epochs", 1, "--model", "VAE", "--resume"), "more than --epochs 1")
    refused(
        trainvae.main,
        flags("a", "--epochs", 3, "--model", "VAE", "--resume", "--lr", "0.01"),
        r"other options \(lr 0.001, now 0.01\)",
    )
    refused(
        trainvae.main,
        flags("a", "--epochs", 2, "--model", "VAE", "--features", "paper"),
        r"other options \(kind logmel, now paper, smoothing 5.0, now 0.0\)",
    )
    assert path.read_bytes() == before
    assert trainvae.main(flags("a", "--epochs", 1, "--model", "VAE", "--overwrite")) == 0
    assert load_checkpoint(path).epoch == 1


@pytest.mark.parametrize("name", ["FactorVAE", "BTCVAE"])
def test_scores_while_training_change_no_weight(flags, tmp_path, name):
    plain = ["--epochs", 3, "--model", name]
    assert trainvae.main(flags("plain", *plain)) == 0
    assert trainvae.main(flags("watched", *plain, "--eval_every", 2, "--metrics", "mig", "sap")) == 0
    one, other = (load_checkpoint(tmp_path / folder / f"{name}_seed0.pt") for folder in ("plain", "watched"))
    assert all(torch.equal(value, other.last[key]) for key, value in one.last.items())
    assert all(one.history[key] == other.history[key] for key in one.history)
    head, *lines = (tmp_path / "watched" / f"{name}_seed0.csv").read_text().splitlines()
    assert head.split(",")[-3:] == ["active_latents", "score_MIG", "score_SAP"]
    assert [line.endswith(",,,") for line in lines] == [True, False, True]
    assert 0 <= float(lines[1].split(",")[-2]) <= 1


def test_scores_while_training_are_those_of_eval(flags, tmp_path, dataset_path):
    import eval as evaluate_script

    assert trainvae.main(flags("a", "--epochs", 2, "--model", "VAE", "--eval_every", 2)) == 0
    path = tmp_path / "a" / "VAE_seed0.pt"
    assert (
        evaluate_script.main(
            [
                "--model",
                str(path),
                "--no_figures",
                "--device",
                "cpu",
                "--metrics",
                "mig",
                "modularity",
                "--output_dir",
                str(tmp_path / "r"),
            ]
        )
        == 0
    )
    history = load_checkpoint(path).history
    for line in (tmp_path / "r" / "metrics.csv").read_text().splitlines():
        model, seed, metric, factor, latents, value, *_ = line.split(",")
        if metric in ("MIG", "Modularity") and (factor, latents) == ("all", "active"):
            assert history[f"score_{metric}"][1] == float(value)


def test_the_time_to_go_is_said_after_the_first_epoch(flags, capsys):
    assert trainvae.main(flags("a", "--epochs", 3, "--model", "VAE", "BetaVAE")) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if "an epoch, so about" in line]
    assert len(said) == 2 and "for the 5 epochs to go" in said[0] and "for the 2 epochs to go" in said[1]


def test_a_diverging_run_ends_in_one_line(flags, refused):
    refused(
        trainvae.main, flags("a", "--epochs", 3, "--model", "VAE", "--lr", "1e20"), "term 'recon' became nan", status=1
    )


@pytest.mark.parametrize(
    "more, pattern",
    [
        (["--model", "GAN"], "--model: 'GAN' is unknown; choose from VAE, BetaVAE"),
        (["--model", "VAE", "VAE"], "--model: a value is given twice"),
        (["--model", "VAE", "--beta", "2"], "--beta: none of VAE has it"),
        (["--epochs", "0"], "--epochs: expected a whole number from 1 up"),
        (["--batch_size", "1"], "--batch_size: 1 leaves the estimators nothing"),
        (["--lr", "nan"], "--lr: expected a finite number above 0"),
        (["--sigma", "0"], "--sigma: expected a finite number above 0"),
        (["--beta", "-1"], "--beta: expected a finite number from 0 up"),
        (["--seeds", "-1"], "--seeds: expected a whole number from 0 up"),
        (["--features", "mfcc"], "--features: invalid choice: 'mfcc'"),
        (["--resume", "--overwrite"], "--resume, --overwrite: one continues"),
        (["--metrics", "mig"], "--metrics: are scores while training, which --eval_every N asks for"),
        (["--epoch", "2"], "unrecognized arguments: --epoch"),
        (["--dataset", "nowhere.npz"], "--dataset: nowhere.npz is no file; make one with create.py"),
    ],
)
def test_wrong_flags_are_refused_in_one_line(flags, tmp_path, refused, more, pattern):
    refused(trainvae.main, flags("a", *more), pattern)
    assert not (tmp_path / "a").exists()


def test_objective_flags_reach_the_models_that_have_them(flags, tmp_path):
    assert trainvae.main(flags("a", "--epochs", 1, "--model", "VAE", "BTCVAE", "--beta", 2, "--sigma", 0.5)) == 0
    vae, btc = (load_checkpoint(tmp_path / "a" / f"{name}_seed0.pt").model_config for name in ("VAE", "BTCVAE"))
    assert (btc["beta"], btc["sigma"], btc["n_data"], btc["gamma"]) == (2.0, 0.5, 58, 1.0)
    assert vae["sigma"] == 0.5 and "beta" not in vae


# ---- the checkpoint ----


def test_checkpoint_is_plain_and_rebuilds_model_and_front_end(flags, tmp_path):
    assert trainvae.main(flags("a", "--epochs", 1, "--model", "FactorVAE")) == 0
    path = tmp_path / "a" / "FactorVAE_seed0.pt"
    plain = torch.load(path, weights_only=True)
    assert plain["model_name"] == "FactorVAE" and plain["epoch"] == 1
    checkpoint = load_checkpoint(path)
    assert checkpoint.front_end().shape == checkpoint.model_config["input_shape"] == (1, 128, 8)
    model = checkpoint.model("best")
    assert all(torch.equal(value, checkpoint.best[name]) for name, value in model.state_dict().items())
    again = tmp_path / "elsewhere.pt"
    save_checkpoint(again, checkpoint)
    assert again.read_bytes() == path.read_bytes()


class Bomb:
    """Unpickling this would write a file."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self):
        return open, (self.marker, "w")


def test_code_in_a_checkpoint_is_never_run(tmp_path):
    path, marker = tmp_path / "evil.pt", tmp_path / "marker"
    torch.save({"model_name": Bomb(str(marker))}, path)
    with pytest.raises(InputError, match="evil.pt: not a checkpoint that can be read safely"):
        load_checkpoint(path)
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 broken"])
def test_damaged_checkpoints_are_refused(tmp_path, content):
    (tmp_path / "bad.pt").write_bytes(content)
    with pytest.raises(InputError, match="bad.pt: not a checkpoint that can be read safely"):
        load_checkpoint(tmp_path / "bad.pt")


def test_other_files_and_versions_are_refused(tmp_path):
    torch.save({"format_version": 99}, tmp_path / "new.pt")
    with pytest.raises(InputError, match="format version 99, this program reads 1"):
        load_checkpoint(tmp_path / "new.pt")
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    with pytest.raises(InputError, match="format version None"):
        load_checkpoint(tmp_path / "tensor.pt")
    with pytest.raises(InputError, match="no such file"):
        load_checkpoint(tmp_path / "none.pt")


def test_a_failed_write_keeps_the_previous_checkpoint(flags, tmp_path, monkeypatch):
    assert trainvae.main(flags("a", "--epochs", 1, "--model", "VAE")) == 0
    path = tmp_path / "a" / "VAE_seed0.pt"
    before, checkpoint = path.read_bytes(), load_checkpoint(path)

    def full_disk(content, handle):
        handle.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, dataclasses.replace(checkpoint, epoch=2))
    assert (
        path.read_bytes() == before
        and not list((tmp_path / "a").glob("*.tmp"))
        and not list((tmp_path / "a").glob(".*"))
    )


def test_history_keeps_every_digit():
    assert (
        history_csv({"epoch": [1, 2], "train_loss": [0.1, 1 / 3]}) == "epoch,train_loss\n1,0.1\n2,0.3333333333333333\n"
    )
