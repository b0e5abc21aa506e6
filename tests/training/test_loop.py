"""The loop: batches, order and noise, validation, the best state, and what stops a run that diverges."""

import contextlib
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models import MODELS, build_model
from syntone.errors import InputError, MachineError
from syntone.training import loop
from syntone.training.loop import Settings, Split, batch_sizes, draw_order, nonfinite_state, run_pass, stream, train


@pytest.mark.parametrize("n, batch_size", [(3200, 64), (65, 64), (63, 64), (2, 64), (7, 3), (5, 2), (3, 2)])
def test_batches_take_every_row_once_and_none_is_single(n, batch_size):
    sizes = batch_sizes(n, batch_size)
    assert sum(sizes) == n
    assert 2 <= min(sizes) and max(sizes) - min(sizes) <= 1
    assert max(sizes) <= max(batch_size, 3) and len(sizes) == min(math.ceil(n / batch_size), n // 2)


def test_streams_differ_by_seed_epoch_and_purpose():
    assert len({stream(s, e, p) for s in (0, 1) for e in (1, 2) for p in (0, 1)}) == 8


class Line(torch.nn.Module):
    """Fit one number; in one epoch, one term is `bad` or the loss is scaled. Record rows and random numbers."""

    needs_pairs = False

    def __init__(self, bad: float = 0.0, *, scale: float = 1.0, epoch: int = 0) -> None:
        super().__init__()
        self.level = torch.nn.Parameter(torch.zeros(1))
        self.register_buffer("annealing", torch.ones(()), persistent=False)
        self.bad, self.scale, self.when, self.epoch = bad, scale, epoch, 0
        self.trained, self.validated, self.drawn = [], [], []

    def parameter_groups(self, lr):
        return [{"params": list(self.parameters()), "lr": lr}]

    def losses(self, x, *, generator=None):
        (self.trained if self.training else self.validated).append(x.tolist())
        if not self.training:
            return {"loss": (x - self.level).square().mean()}
        self.epoch += 1  # the tests that count have one batch per epoch
        self.drawn.append(torch.rand(1, generator=generator).item())
        recon = (x - self.level).square().mean()
        kl = 0 * recon + (self.bad if self.epoch == self.when else 0.0)
        return {"loss": (recon + kl) * (self.scale if self.epoch == self.when else 1.0), "recon": recon, "kl": kl}


def fit(model=None, *, features=None, split=None, saved=None, batch_size=8, epochs=5, seed=0, **options):
    """Train on 6 ones, validate on 2; return the model and what was saved."""
    model, saved = model or Line(), [] if saved is None else saved
    features = torch.ones(8) if features is None else features
    settings = Settings(seed=seed, batch_size=batch_size, lr=0.1, anneal_from=1.0)
    split = split or Split(torch.arange(6), torch.arange(6, 8))
    train(model, features, split, settings, epochs=epochs, save=saved.append, name="a.pt", **options)
    return model, saved


def test_a_pass_takes_rows_in_order_and_averages_over_tones():
    """Batches of 3 and 2: the mean of their means would be 0.5."""
    features, order, model = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0]), torch.tensor([1, 2, 0, 4, 3]), Line()
    how = {"batch_size": 3, "generator": torch.Generator(), "device": features.device}
    steps = []
    assert run_pass(model.eval(), features, order, on_step=steps.append, **how)["loss"] == pytest.approx(0.4)
    assert model.validated == [[0, 0, 0], [1, 1]] and steps == [3, 2]


def test_loop_minimises_and_keeps_the_best_state():
    _, saved = fit(epochs=60)
    last = saved[-1]
    losses = last.history["valid_loss"]
    assert losses[-1] < 0.01 < losses[0]
    assert last.best_epoch == 1 + losses.index(min(losses))
    assert min(losses) == pytest.approx((1 - last.best["level"]).square().item())


def test_validation_is_in_a_random_order_and_the_same_every_epoch():
    """Rows of a file are sorted by frequency: batches of neighbours would bias what is estimated over a batch."""
    split = Split(torch.arange(50), torch.arange(50, 100))
    model, _ = fit(features=torch.arange(100.0), split=split, batch_size=25, epochs=2)
    first, second, *again = model.validated
    assert sorted(first + second) == list(range(50, 100)) and again == [first, second]
    assert max(first) - min(first) > 40 and first != sorted(first)


def test_noise_and_order_depend_on_seed_and_epoch():
    one, again, other = (fit(features=torch.arange(8.0), seed=seed, epochs=2)[0] for seed in (0, 0, 1))
    assert (one.drawn, one.trained) == (again.drawn, again.trained)
    assert len({*one.drawn, *other.drawn}) == 4
    assert sorted(one.trained[0]) == sorted(other.trained[0]) == list(range(6))
    assert len({tuple(rows) for rows in one.trained + other.trained}) == 4


def test_weights_decide_how_often_a_row_is_drawn():
    weights = torch.cat([torch.zeros(20), torch.full((5,), 3.0), torch.ones(15)])
    drawn = torch.cat([draw_order(40, weights, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)])
    assert len(drawn) == 80 and drawn.min() >= 20
    assert 20 < int((drawn < 25).sum()) < 60  # half of the weight: 40 of 80, standard deviation 4.5


# ---- runs that diverge ----


@pytest.mark.parametrize("save_seconds", [0, 1e9])
def test_a_term_that_is_not_finite_stops_the_run_and_the_epoch_before_is_saved(save_seconds):
    """The term is named, not the sum that it makes infinite."""
    saved = []
    with pytest.raises(
        MachineError, match=r"training term 'kl' became inf in epoch 4; the last good .* a\.pt of epoch 3"
    ):
        fit(Line(math.inf, epoch=4), epochs=9, save_seconds=save_seconds, saved=saved)
    good = fit(epochs=3)[1][-1]
    assert [one.epoch for one in saved] == ([1, 2, 3] if save_seconds == 0 else [3])
    assert torch.equal(saved[-1].last["level"], good.last["level"]) and saved[-1].history == good.history
    for key, moment in good.optimizer["state"][0].items():
        assert torch.equal(saved[-1].optimizer["state"][0][key], moment), key


def test_in_the_first_epoch_there_is_nothing_to_save():
    with pytest.raises(MachineError, match="'kl' became nan in epoch 1; no checkpoint a.pt was written yet"):
        fit(Line(math.nan, epoch=1))


def test_a_gradient_whose_square_overflows_is_found_although_every_loss_is_finite():
    """1e25 is a float32; its square is not, and Adam would divide by it from then on."""
    with pytest.raises(
        MachineError, match=r"gradients of 'level' \(Adam's exp_avg_sq\) overflowed in epoch 3; .*epoch 2"
    ):
        fit(Line(scale=1e25, epoch=3))
    assert fit(Line(scale=1e15, epoch=3))[1][-1].epoch == 5


def test_a_weight_that_is_not_finite_is_named():
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    assert nonfinite_state(model, optimizer) is None
    model.bias.data[1] = math.nan
    assert nonfinite_state(model, optimizer) == "weight 'bias' overflowed"


# ---- precision ----


def neighbours(n: int) -> SimpleNamespace:
    """Pairs of a row with the one before or after it; the last 10 rows validate."""
    pairs = np.stack([np.arange(n), np.arange(n) ^ 1], axis=1)
    return SimpleNamespace(draw=lambda rows, generator: pairs[rows], valid=pairs[-10:])


def bfloat16_histories(name: str, shape=(1, 32, 32)) -> list[dict]:
    found = []
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        more = {"n_data": 40} if name == "BTCVAE" else {}
        model = build_model(name, input_shape=shape, channels=(16, 16), hidden=32, **more)
        features = torch.rand(50, *shape, generator=torch.Generator().manual_seed(0))
        split = Split(torch.arange(40), torch.arange(40, 50), pairs=neighbours(50) if model.needs_pairs else None)
        progress = train(
            model, features, split, Settings(batch_size=20, precision=precision, anneal_from=1.0), epochs=2
        )
        assert {value.dtype for value in progress.last.values()} == {torch.float32}
        found.append(progress.history)
    return found


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_loses_no_quality_that_losses_show(name):
    """It keeps 8 bits, 0.4 % per product; sums over 1024 pixels average that: 2 % of the loss is a wide margin."""
    one, other = bfloat16_histories(name)
    assert other["valid_loss"] == pytest.approx(one["valid_loss"], rel=0.02)
    assert other["valid_loss"] != one["valid_loss"]


@pytest.mark.parametrize("factor", [math.nan, 1.05])
def test_a_device_that_computes_bfloat16_wrongly_is_refused(monkeypatch, factor):
    """As oneDNN does on some CPUs for features of few frames."""
    model = build_model("VAE", input_shape=(1, 16, 16), channels=(8, 8), hidden=16)
    decode = model.decode

    @contextlib.contextmanager
    def wrong(device, precision):
        monkeypatch.setattr(model, "decode", lambda z: decode(z) * (factor if precision == "bfloat16" else 1.0))
        yield

    monkeypatch.setattr(loop, "autocast", wrong)
    split, settings = Split(torch.arange(6), torch.arange(6, 8)), Settings(batch_size=6, precision="bfloat16")
    with pytest.raises(InputError, match=r"computes bfloat16 wrongly for features of shape \(1, 16, 16\); use float32"):
        train(model, torch.rand(8, 1, 16, 16), split, settings, epochs=1)
