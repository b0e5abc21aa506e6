"""Codes and reconstruction of models with known answers; cells of the table; content of figures and sounds."""

import io
import json
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import wavfile

from syntone import figures
from syntone.evaluation import codes as evaluation
from syntone.evaluation import tables
from syntone.evaluation.scores import Row
from syntone.features.front_end import FrontEnd
from syntone.features.sounds import scale_of, wav_bytes

FRONT_END = FrontEnd("logmel", sample_rate=8000, n_samples=4000, smoothing=0.0)


class Shift(torch.nn.Module):
    """Encodes two pixels, with given log variances, and decodes everything `offset` too high."""

    def __init__(self, *, logvar: tuple[float, float] = (0.0, 0.0), offset: float = 0.0) -> None:
        super().__init__()
        self.logvar, self.offset = torch.tensor(logvar), offset

    def encode(self, x):
        self.seen = x
        return x[:, 0, :2, 0], self.logvar.expand(len(x), 2)

    def decode(self, z):
        return self.seen + self.offset


def some_features(n: int = 300) -> torch.Tensor:
    return 0.2 + 0.5 * torch.rand((n, *FRONT_END.shape), generator=torch.Generator().manual_seed(0))


def test_codes_are_posterior_means_and_kl_is_closed_form():
    features = some_features()
    codes = evaluation.encode(Shift(logvar=(0.0, -2.0)), features)
    mu = features[:, 0, :2, 0].double().numpy()
    np.testing.assert_array_equal(codes.codes, mu)
    assert codes.codes.dtype == np.float32  # the metrics draw bin edges as wide as the rounding of this type
    expected = 0.5 * (mu**2 + np.exp([0.0, -2.0]) - 1 - [0.0, -2.0]).mean(axis=0)
    np.testing.assert_allclose(codes.kl, expected, rtol=1e-6)  # float32 log variances
    assert codes.order.tolist() == [1, 0]


def test_active_is_above_a_hundredth_of_a_nat():
    codes = evaluation.with_posterior(np.zeros((1, 4)), np.array([0.0, 0.01, 0.0101, 3.0]))
    assert codes.active.tolist() == [False, False, True, True]
    assert codes.order.tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize("offset", [0.0, 0.05, -0.1])
def test_reconstruction_error_is_in_db(offset):
    """Everything `offset` of the range too high is offset x (db_max - db_min) dB off, on any number of tones."""
    found = evaluation.reconstruction_error_db(Shift(offset=offset), some_features(), front_end=FRONT_END)
    assert found == pytest.approx(abs(offset) * (FRONT_END.db_max - FRONT_END.db_min), abs=1e-4)  # float32 decibels


def test_traversal_rows_start_from_the_same_base_and_move_one_latent():
    codes = np.random.default_rng(0).normal(size=(2000, 3)) * [1.0, 2.0, 0.1]
    values = evaluation.traversal_values(codes, n_steps=5)
    base = np.array([0.3, -0.4, 0.5])
    moved = evaluation.traversal_codes(base, values, [2, 0, 1])
    assert moved.shape == (3, 5, 3)
    for row, latent in enumerate([2, 0, 1]):
        np.testing.assert_allclose(moved[row, :, latent], np.linspace(*np.quantile(codes[:, latent], [0.02, 0.98]), 5))
        others = [j for j in range(3) if j != latent]
        assert (moved[row][:, others] == base[others]).all()


def test_rows_to_show_come_in_turn_from_every_group():
    groups = np.repeat([0, 1, 2, 3], 50)
    rows = np.arange(0, 200, 2)
    chosen = evaluation.choose_rows(rows, groups, n=8, rng=np.random.default_rng(0))
    assert groups[chosen].tolist() == [0, 0, 1, 1, 2, 2, 3, 3] and set(chosen) <= set(rows) and len(set(chosen)) == 8
    assert len(evaluation.choose_rows(rows[:3], None, n=8, rng=np.random.default_rng(0))) == 3


# ---- the table ----


def rows(model: str, values: list[float], **more) -> list[Row]:
    return [Row(model, seed, "MIG", None, value, **more) for seed, value in enumerate(values)]


def test_one_seed_shows_the_floors_spread():
    cells = tables.table(rows("VAE", [0.3], floor=0.004, ceiling=0.98, adjusted=0.303, floor_std=0.001))
    assert cells == [["metric", "VAE"], ["training seeds", "1"], ["MIG", "0.300 [0.004 ± 0.001, 0.980] → 0.303"]]


def test_several_seeds_show_mean_and_standard_deviation():
    cells = tables.table(rows("VAE", [0.1, 0.2, 0.3], floor=0.0, ceiling=1.0, adjusted=0.2, floor_std=0.0))
    assert cells[1:] == [["training seeds", "3"], ["MIG", "0.200 ± 0.100 [0.000, 1.000] → 0.200"]]


def test_missing_ceiling_and_missing_model_are_a_dash():
    given = rows("VAE", [0.3], floor=0.1, floor_std=0.0) + rows("BTCVAE", [0.5], floor=0.1, ceiling=0.11, floor_std=0.0)
    given.append(Row("VAE", 0, "reconstruction error (dB)", None, 2.5))
    cells = tables.table(given)
    assert cells[2:] == [
        ["MIG", "0.300 [0.100 ± 0.000, –] → –", "0.500 [0.100 ± 0.000, 0.110] → –"],
        ["reconstruction error (dB)", "2.500", "–"],
    ]


def test_four_formats():
    given = rows("A_B", [0.25], floor=0.125, ceiling=1.0, adjusted=1 / 7, floor_std=0.01)
    given.append(Row("A_B", 0, "MIG", "timbre", 0.5))
    files = tables.score_files(given, details={"seed": 0})
    assert files["metrics.csv"].splitlines() == [
        "model,seed,metric,factor,value,floor,ceiling,adjusted",
        f"A_B,0,MIG,all,0.25,0.125,1.0,{1 / 7!r}",
        "A_B,0,MIG,timbre,0.5,,,",
    ]
    document = json.loads(files["metrics.json"])
    assert document["seed"] == 0 and document["scores"][1]["factor"] == "timbre"
    assert "| MIG, timbre    | 0.500 " in files["table.md"]
    tex = files["table.tex"]
    assert r"A\_B" in tex and r"0.250 [0.125 $\pm$ 0.010, 1.000] $\to$ 0.143 \\" in tex and tex.count(r"\hline") == 3


# ---- sounds and figures ----


def test_wav_keeps_a_level_above_full_scale():
    wave = 1.7 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    sample_rate, found = wavfile.read(io.BytesIO(wav_bytes(wave, 8000)))
    assert sample_rate == 8000 and found.dtype == np.float32
    np.testing.assert_allclose(found, wave, atol=1e-6)


def test_spectrum_shows_a_sine_at_its_frequency_and_level():
    wave = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)
    freqs, level = figures.spectrum_db(wave, sample_rate=8000)
    assert freqs[level.argmax()] == 1000.0
    assert level.max() == pytest.approx(20 * np.log10(0.5), abs=1e-6)


def sound(value: float) -> figures.Sound:
    wave = value * np.sin(2 * np.pi * 500 * np.arange(4000) / 8000)
    return figures.Sound(wave, np.full((128, 8), value * 86 - 80), f"tone {value}")


def test_panels_have_the_sizes_that_were_asked_for():
    """Rows of 1 and 3 inches, columns of 2 inches: 0.5 + 6 + 2 * 0.25 + 1 = 8 by 0.25 + 4 + 0.5 + 0.25 = 5."""
    gaps = {"gap": (0.25, 0.5), "margins": (0.5, 1.0, 0.25, 0.25)}
    figure, axes = figures.panels([1.0, 3.0], 3, width=2.0, **gaps)
    assert figure.get_size_inches() == pytest.approx([8, 5])
    inches = [[np.array(one.get_position().bounds) * [8, 5, 8, 5] for one in row] for row in axes]
    np.testing.assert_allclose(inches[0][0], [0.5, 3.75, 2, 1], atol=1e-9)
    np.testing.assert_allclose(inches[1][2], [5.0, 0.25, 2, 3], atol=1e-9)


def test_a_figure_and_what_draws_it_give_the_same_picture():
    scale = scale_of(FRONT_END)
    draw = partial(figures.tones_figure, [[(sound(0.5), sound(0.4))]], scale=scale, title="t")
    assert figures.png(draw) == figures.png(draw())


def test_traversal_figure_has_its_ticks_at_bands_and_frames():
    """Of three bands 500 Hz is the lowest, 1,000 Hz the second; of four frames, 0.25 s apart, 0.5 s is the third."""
    scale = figures.Scale(1000, 250, np.array([500.0, 1000.0, 2000.0]), -60.0, 0.0, "full-scale sine")
    given = {"values": np.zeros((2, 3)), "labels": ["z0", "z1"], "scale": scale, "title": "t"}
    axes = figures.traversal_figure(np.zeros((2, 3, 3, 4)), **given).axes[0]
    left, right, bottom, top = axes.images[5].get_extent()  # second row, third column
    assert top < bottom and axes.get_ylim()[0] > axes.get_ylim()[1]  # y runs downwards
    hertz = {label.get_text(): y for y, label in zip(axes.get_yticks(), axes.get_yticklabels())}  # of the last row
    assert hertz == pytest.approx(
        {f: bottom + (top - bottom) * n / 6 for f, n in (("500", 1), ("1000", 3), ("2000", 5))}
    )
    seconds = {label.get_text(): x for x, label in zip(axes.get_xticks(), axes.get_xticklabels())}  # of the last column
    assert seconds == pytest.approx({t: left + (right - left) * n / 8 for t, n in (("0", 1), ("0.5", 5))})


def test_traversal_figure_shares_one_colour_scale():
    """Equal levels have equal colours in every cell: two figures that differ in one cell differ in that cell only."""
    scale = scale_of(FRONT_END)
    mels = np.full((2, 3, 128, 8), -40.0)
    given = dict(values=np.zeros((2, 3)), labels=["z0", "z1"], scale=scale, title="t")
    before = figures.png(figures.traversal_figure(mels, **given))
    mels[1, 2] = 6.0
    after = figures.png(figures.traversal_figure(mels, **given))
    a, b = (np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int) for data in (before, after))
    different = np.argwhere((a != b).any(axis=2))
    height, width = a.shape[:2]
    assert len(different) and different[:, 0].min() > 0.4 * height and different[:, 1].min() > 0.5 * width


def test_gif_has_a_frame_per_figure():
    pairs = [(sound(0.2), sound(0.3)), (sound(0.8), sound(0.9)), (sound(0.1), sound(1.0))]
    data = figures.gif(figures.tones_figure([[pair]], scale=scale_of(FRONT_END), title="t") for pair in pairs)
    with Image.open(io.BytesIO(data)) as image:
        assert image.n_frames == 3


def test_drawing_draws_no_random_number():
    before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()
    scale = scale_of(FRONT_END)
    figures.tones_figure([[(sound(0.5), sound(0.4))]], scale=scale, title="t")
    figures.training_curves({"epoch": [1, 2], "train_loss": [2.0, 1.0], "valid_loss": [2.0, 1.5]}, title="t")
    assert (np.random.get_state()[1] == before).all() and torch.equal(torch.get_rng_state(), torch_before)
