"""The numerical guard: what is not finite is seen within an epoch, and the epoch before it is kept."""

import math

import pytest
import torch
from catalogue import GOOD

import trainvae
from models import MODELS, build_model
from models.objectives import LOGVAR_RANGE, bounded_logvar, kl_per_latent
from syntone.errors import MachineError
from syntone.training.checkpoint import load_checkpoint
from syntone.training.guards import spoilt_state, spoilt_term
from syntone.training.loop import Learner, train


class Line(torch.nn.Module):
    """Fits one number; in one epoch its loss is multiplied by `spoil`, which leaves it finite unless it is not."""

    def __init__(self, spoil: float, *, epoch: int) -> None:
        super().__init__()
        self.level = torch.nn.Parameter(torch.zeros(1))
        self.spoil, self.when, self.epoch = spoil, epoch, 0

    def parameter_groups(self, lr):
        return [{"params": list(self.parameters()), "lr": lr}]

    def losses(self, x, *, generator=None):
        self.epoch += self.training
        loss = (x - self.level).square().mean()
        return {"loss": loss * self.spoil if self.training and self.epoch == self.when else loss}


def fit(model, *, epochs=5, save_seconds=1e9, saved=None):
    saved = [] if saved is None else saved
    learner = Learner(model, torch.arange(6), torch.arange(6, 8), 0, save=saved.append, name="a.pt")
    train([learner], torch.ones(8), batch_size=8, lr=0.1, epochs=epochs, save_seconds=save_seconds)
    return saved


def test_a_gradient_whose_square_overflows_is_seen_though_every_loss_is_finite():
    """1e25 is a float32; its square is not, and Adam would divide by it from then on."""
    with pytest.raises(
        MachineError,
        match=r"gradients of 'level' \(Adam's exp_avg_sq\) overflowed in epoch 3; the last good "
        r"checkpoint is a\.pt of epoch 2; try a smaller --lr",
    ):
        fit(Line(1e25, epoch=3))


def test_a_gradient_that_is_large_and_no_more_is_not_refused():
    assert fit(Line(1e15, epoch=3))[-1].epoch == 5


@pytest.mark.parametrize("save_seconds", [0, 1e9])
def test_the_epoch_before_is_saved_once_and_can_be_resumed(save_seconds):
    saved = []
    with pytest.raises(MachineError, match="training term 'loss' became inf in epoch 4; the last good .* of epoch 3"):
        fit(Line(math.inf, epoch=4), epochs=9, save_seconds=save_seconds, saved=saved)
    good = fit(Line(1, epoch=0), epochs=3)[-1]
    assert [one.epoch for one in saved] == ([1, 2, 3] if save_seconds == 0 else [3])
    assert torch.equal(saved[-1].last["level"], good.last["level"]) and saved[-1].history == good.history
    for key, moment in good.optimizer["state"][0].items():
        assert torch.equal(saved[-1].optimizer["state"][0][key], moment), key


def test_in_the_first_epoch_there_is_nothing_to_keep():
    with pytest.raises(MachineError, match="became nan in epoch 1; no checkpoint a.pt was written yet"):
        fit(Line(math.nan, epoch=1))


def test_terms_are_named_before_the_sum_they_spoil():
    assert spoilt_term({"loss": math.inf, "kl": math.inf}, phase="validation") == "validation term 'kl' became inf"
    assert spoilt_term({"loss": 1.0, "kl": 0.0}, phase="validation") is None


def test_a_weight_that_is_not_finite_is_named():
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    assert spoilt_state(model, optimizer) is None
    model.bias.data[1] = math.nan
    assert spoilt_state(model, optimizer) == "weight 'bias' overflowed"


@pytest.mark.parametrize("name", MODELS)
def test_a_run_that_diverges_leaves_its_last_good_checkpoint(world, capsys, monkeypatch, name):
    """Weights that explode in the third epoch, as those of too large a learning rate do."""
    argv = [*GOOD["trainvae.py"].split(), "--model", name]
    assert trainvae.main([*argv, "--epochs", "2", "--output_dir", "good"]) == 0
    encode = MODELS[name].encode

    def exploding(self, x):
        exploding.calls += self.training and not x.is_meta  # the estimate of memory has no values
        mu, logvar = encode(self, x)
        return mu * (1e30 if self.training and exploding.calls >= 3 else 1), logvar  # an epoch here is one step

    exploding.calls = 0
    monkeypatch.setattr(MODELS[name], "encode", exploding)
    capsys.readouterr()
    assert trainvae.main([*argv, "--epochs", "5"]) == 1
    err = capsys.readouterr().err
    assert (
        f"in epoch 3; the last good checkpoint is new/{name}_seed0.pt of epoch 2" in err and len(err.splitlines()) == 1
    )
    good, left = (load_checkpoint(f"{folder}/{name}_seed0.pt") for folder in ("good", "new"))
    assert left.epoch == 2 and all(torch.equal(value, left.last[key]) for key, value in good.last.items())


def test_too_large_a_learning_rate_is_seen(world, capsys):
    assert trainvae.main([*GOOD["trainvae.py"].split(), "--lr", "1e20", "--epochs", "9"]) == 1
    assert "in epoch 1; no checkpoint new/VAE_seed0.pt was written yet; try a smaller --lr" in capsys.readouterr().err


# ---- the bound on logvar ----


def test_ordinary_log_variances_are_unchanged_to_the_bit():
    logvar = torch.cat([torch.linspace(*LOGVAR_RANGE, 100_001), torch.tensor([-0.1, 1e-30, 0.0])])
    assert torch.equal(bounded_logvar(logvar), logvar)


def test_log_variances_beyond_the_range_are_held_and_pulled_back():
    logvar = torch.tensor([-1e4, -31.0, 21.0, 1e4], requires_grad=True)
    held = bounded_logvar(logvar)
    assert torch.allclose(held, torch.tensor([-30.0, -30.0, 20.0, 20.0]))
    assert torch.isfinite(held.exp()).all() and torch.isfinite((-held).exp()).all()
    kl_per_latent(torch.zeros(4), held).sum().backward()
    assert (logvar.grad[:2] < 0).all() and (logvar.grad[2:] > 0).all() and torch.isfinite(logvar.grad).all()


def test_an_overflow_is_not_hidden_by_the_bound():
    assert torch.isnan(bounded_logvar(torch.tensor([math.inf, -math.inf, math.nan]))).all()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("level", [-1e3, 1e3])
def test_a_model_whose_log_variances_ran_away_has_finite_losses_and_gradients(name, level):
    torch.manual_seed(0)
    model = build_model(
        name, **{"input_shape": (1, 16, 16), "latent_dim": 2} | ({"n_data": 50} if name == "BTCVAE" else {})
    )
    last = model.encoder.head[-1]
    last.bias.data[2:] = level
    losses = model.losses(torch.rand(4, 1, 16, 16))
    losses["loss"].backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters() if weight.grad is not None)
    assert (last.bias.grad[2:] != 0).all()  # it can come back
