"""What latents move, on decoders whose answer is known: oracles that decode the dataset's own tones."""

import csv
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from oracles import grid_oracle, patterns_of, run, templates_of
from PIL import Image

import eval as evaluate_script
import trainvae
from syntone.evaluation import controllability as control
from syntone.evaluation import matching
from syntone.evaluation.codes import with_posterior
from syntone.evaluation.control_figure import controllability_figure
from syntone.features.front_end import FrontEnd
from syntone.figures import png


@pytest.fixture(scope="module")
def sines(dataset):
    """Templates of the sines alone, by amplitude and frequency, with their levels."""
    rows = np.flatnonzero(dataset.factors[:, 0] == 0)
    levels = dataset.factors[rows, 1:]
    labels = {"factors": levels, "factor_names": ["amplitude", "frequency"], "factor_kinds": ["ordered", "ordered"]}
    templates = matching.make_templates(patterns_of(dataset)[rows], dataset.factor_values[rows, 1:], labels)
    return templates, levels.astype(float)


# ---- one traversal ----


def one_walk(values, nominal=False):
    values = np.asarray(values, dtype=float)
    return control.walk_effects(values if values.ndim == 2 else values[:, None], nominal=nominal)


@pytest.mark.parametrize(
    "values, expected",
    [
        (np.linspace(0, 3, 7), (3.0, 3.0, 1.0, 1.0)),  # a ramp: change, path, smoothness, monotonicity
        ([0, 0, 0, 5, 5], (5.0, 5.0, 0.0, 1.0)),  # a jump
        ([0, 1, 2, 1, 0], (2.0, 4.0, 1.0, 0.0)),  # there and back
        ([0, 3, 4], (4.0, 4.0, 0.5, 1.0)),  # (1 - 3 / 4) / (1 - 1 / 2)
        ([2, 2, 2], (0.0, 0.0, 0.0, 0.0)),
        ([np.nan, 0, np.nan, 2, 3, np.nan], (3.0, 3.0, 1.0, 1.0)),  # bridged and cut off
        ([np.nan, 1, np.nan], (0.0, 0.0, 0.0, 0.0)),
    ],
)
def test_a_traversal_in_closed_form(values, expected):
    assert one_walk(values) == pytest.approx(expected, abs=1e-12)


def test_a_nominal_traversal_in_closed_form():
    assert one_walk([[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0]], nominal=True) == pytest.approx((1, 1, 1, 1))
    by_way_of_a_third = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert one_walk(by_way_of_a_third, nominal=True) == pytest.approx((1, 2, 1, 0.5))


def test_scores_in_closed_form():
    given = np.array([[1.0, 0.5, 0.3, 0.0], [0.0, 0.5, 0.1, 0.0]])
    score_of, score = control.scores(given)
    assert score_of == pytest.approx([1.0, 0.0, 0.5, np.nan], nan_ok=True)
    assert score == pytest.approx((1.0 * 1 + 0.0 * 1 + 0.5 * 0.4) / 2.4)
    assert control.scores(np.zeros((3, 2)))[1] == 0.0 and np.isnan(control.scores(np.ones((1, 2)))[1])
    assert control.scores(np.array([[1.0], [1.0], [0.0]]))[1] == pytest.approx((3 / 2 - 1) / 2)


# ---- models whose answer is known ----


def test_noise_is_off_the_manifold_and_moves_nothing(templates, dataset):
    noise = torch.rand((200, templates.patterns.shape[1]), generator=torch.Generator().manual_seed(0))
    limit = control.find_limit(templates, generator=np.random.default_rng(0))
    assert 0.01 < limit < 0.4 < matching.match(noise, templates).mismatch.min()
    codes = dataset.factors.astype(float)
    found = run(lambda z: matching.match(noise[np.arange(len(z)) % 200], templates), codes, templates)
    assert (found.off_manifold == 1.0).all() and (found.change == 0).all() and found.score == 0.0
    assert np.isnan(found.score_of_latents).all() and np.isnan(found.measured[2]).all()


def test_an_oracle_moves_one_factor_per_latent_smoothly(dataset, templates):
    """The factors in another order of latents, one of them downwards: a permuted diagonal."""
    codes = dataset.factors[:, [2, 0, 1]] * [1.0, 1.0, -1.0] + 5

    def to_levels(z):
        return (z - 5)[:, [1, 2, 0]] * [1.0, -1.0, 1.0]

    found = run(grid_oracle(templates, dataset.factors, to_levels), codes, templates)
    np.testing.assert_allclose(found.normalised, [[0, 1, 0], [0, 0, 1], [1, 0, 0]], atol=1e-4)  # patterns are float32
    span = 1200 * np.log2(1030 / 430)
    assert found.change[2, 0] == pytest.approx(span, rel=1e-6) and found.change[1, 2] == pytest.approx(20.0, rel=1e-6)
    assert found.score == pytest.approx(1.0, abs=5e-3) and found.score_of_latents == pytest.approx([1, 1, 1], abs=5e-3)
    moved = found.normalised > 0.5
    np.testing.assert_allclose(found.monotonicity[moved], 1.0, atol=5e-3)
    assert found.smoothness[0, 1] == pytest.approx(1.0, abs=5e-3)  # equal steps from one class to the other
    steps = np.diff(np.interp(np.linspace(0, 6, 15), np.arange(7), np.unique(templates.factors[2].values)))
    expected = (1 - steps.max() / steps.sum()) / (1 - 1 / 14)  # levels are linear in Hz, not in cents
    assert found.smoothness[2, 0] == pytest.approx(expected, abs=0.02)  # some blends have a second answer
    assert found.coverage == pytest.approx([1, 1, 1], abs=1e-3) and (found.off_manifold == 0.0).all()


def test_random_directions_through_an_oracle_score_less(dataset, templates):
    found = run(grid_oracle(templates, dataset.factors), dataset.factors.astype(float), templates, n_floor=3)
    assert len(found.floors) == 3 and np.mean(found.floors) < 0.6 < 0.98 < found.score


def test_a_latent_that_moves_two_factors_equally_scores_zero(sines):
    templates, levels = sines
    codes = np.stack([np.linspace(0, 1, len(levels)), np.linspace(-1, 1, len(levels))], axis=1)
    ends = levels.max(axis=0)
    found = run(grid_oracle(templates, levels, lambda z: z[:, :1].round() * ends), codes, templates)
    np.testing.assert_allclose(found.normalised, [[1, 0], [1, 0]], atol=1e-6)  # the second latent moves nothing
    assert found.score == pytest.approx(0.0, abs=1e-6) and np.isnan(found.score_of_latents[1])
    assert np.isnan(found.monotonicity[:, 1]).all() and np.isnan(found.smoothness[:, 1]).all()


def test_a_latent_that_moves_nothing_changes_no_score(sines):
    templates, levels = sines
    codes = np.column_stack([levels, np.random.default_rng(0).normal(size=(len(levels), 2))])
    found = run(grid_oracle(templates, levels, lambda z: z[:, :2]), codes, templates)
    assert found.score == pytest.approx(1.0, abs=5e-3) and (found.change[:, 2:] < 1e-6).all()


def test_a_jump_is_not_smooth_and_a_turn_is_not_monotone(sines):
    templates, levels = sines
    codes = levels - levels.mean(axis=0)
    jump = run(grid_oracle(templates, levels, lambda z: (z > 0) * levels.max(axis=0)), codes, templates)
    assert [jump.smoothness[1, 1], jump.monotonicity[1, 1]] == pytest.approx([0.0, 1.0], abs=1e-6)
    turn = run(grid_oracle(templates, levels, lambda z: np.abs(z) * 2), codes, templates)
    assert turn.monotonicity[1, 1] == pytest.approx(0.0, abs=1e-3)
    assert turn.change[1, 1] == pytest.approx(jump.change[1, 1])


def test_nothing_moves_without_active_latents_and_one_factor_has_no_score(sines):
    templates, levels = sines
    measure = grid_oracle(templates, levels)
    none = run(measure, levels, templates, latents=[], n_floor=2)
    assert none.score == 0.0 and none.coverage.tolist() == [0, 0] and none.floors == ()
    assert control.control_rows(none, ("VAE", 0))[-1].value == 0.0  # share of off-manifold steps
    one = run(measure, levels, templates, latents=[1], n_floor=2)
    assert one.score == pytest.approx(1.0, abs=5e-3) and one.floors == ()
    assert one.coverage == pytest.approx([0, 1], abs=1e-3)
    row = np.flatnonzero(levels[:, 0] == 2)
    labels = {"factors": levels[row, 1:].astype(int), "factor_names": ["frequency"], "factor_kinds": ["ordered"]}
    hz = 2 ** (templates.factors[1].values[row] / 1200)
    single = matching.make_templates(templates.patterns[row], hz, labels)

    def measure_one(z):
        return matching.match(single.patterns[z[:, 0].round().astype(int)], single)

    found = run(measure_one, levels[row, 1:], single, anchors=7)
    assert np.isnan(found.score) and found.coverage == pytest.approx([1.0])
    assert found.monotonicity[0, 0] == pytest.approx(1.0)
    rows = control.control_rows(found, ("VAE", 0))
    assert [row.metric for row in rows if row.factor is None] == [
        "controllability: coverage",
        "controllability: off-manifold steps",
    ]


def test_paper_features_hold_no_amplitude(dataset):
    templates, patterns = templates_of(dataset, "paper"), patterns_of(dataset, "paper")
    assert [factor.seen for factor in templates.factors] == [True, False, True] and len(templates.patterns) == 14
    found = matching.match(patterns, templates)
    assert np.isnan(found.measured[1]).all()
    expected, rounding = 1200 * np.log2(dataset.freqs), 1e-3 * templates.factors[2].span
    np.testing.assert_allclose(found.measured[2][:, 0], expected, atol=rounding)
    oracle = grid_oracle(templates, dataset.factors, patterns=patterns)
    result = run(oracle, dataset.factors.astype(float), templates)
    assert (result.change[1] == 0).all() and np.isnan(result.smoothness[1]).all() and result.coverage[1] == 0
    assert result.score == pytest.approx(1.0, abs=5e-3)  # of the two factors that can be moved


def test_measuring_draws_nothing_of_torch_and_repeats_itself(dataset, templates):
    before = torch.get_rng_state()
    once, again = (
        run(grid_oracle(templates, dataset.factors), dataset.factors.astype(float), templates, n_floor=1)
        for _ in range(2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert once.floors == again.floors and (once.change == again.change).all()


def test_an_axis_of_the_codes_moves_one_latent_alone():
    codes = np.random.default_rng(0).normal(size=(500, 3)) * [1.0, 5.0, 0.2]
    walks = control.traverse(codes, codes[:4], np.eye(3)[[1]])
    expected = np.linspace(*np.quantile(codes[:, 1], [0.02, 0.98]), 15)
    for anchor in range(4):
        np.testing.assert_allclose(walks[anchor, 0, :, 1], expected)
        np.testing.assert_allclose(walks[anchor, 0][:, [0, 2]], np.tile(codes[anchor, [0, 2]], (15, 1)))


# ---- files ----


def test_the_figure_shows_every_latent_and_is_drawn_without_any(dataset, templates):
    """An oracle's change is the whole range in one cell per latent: as many dark cells as there are latents."""
    codes = with_posterior(dataset.factors.astype(float), np.array([2.0, 1.0, 3.0]))
    dark = []
    for latents in ([], [2], [2, 0, 1]):
        found = run(grid_oracle(templates, dataset.factors), codes.codes, templates, latents=latents)
        figure = controllability_figure(found, SimpleNamespace(name="VAE", codes=codes, dataset=dataset))
        with Image.open(io.BytesIO(png(figure))) as image:
            pixels = np.asarray(image.convert("RGB")).astype(int)
        dark.append((np.abs(pixels - [8, 48, 107]).sum(axis=2) < 12).mean())  # the top of Blues
    assert dark[0] == 0 and dark[1] > 0.03 and dark[2] > 0.03  # a third of the map's area each time


def train(dataset, folder, flags):
    flags = f"--model VAE --device cpu {flags}".split()
    assert trainvae.main(["--dataset", str(dataset.path), "--output_dir", str(folder), *flags]) == 0


def evaluate(paths, folder, *flags, metric="controllability"):
    given = ["--model", *map(str, paths), "--metrics", metric, "--device", "cpu", "--output_dir", str(folder)]
    given += ["--baselines", "none"]
    assert evaluate_script.main([*given, *flags]) == 0


@pytest.fixture(scope="module")
def evaluated(dataset, tmp_path_factory, fewer_tones):
    """Two seeds with each kind of features, evaluated in <features>/results."""
    folder = tmp_path_factory.mktemp("evaluated")
    flags = "--epochs 4 --anneal_from 1 --sigma 0.1 --seeds 0 1 --latent_dim 3 --batch_size 8 --features"
    for features, more in (("logmel", []), ("paper", ["--no_figures"])):
        out = folder / features
        train(dataset, out, f"{flags} {features}")
        evaluate([out / f"VAE_seed{seed}.pt" for seed in (0, 1)], out / "results", *more)
    return folder


def read(path):
    with open(path) as handle:
        return list(csv.DictReader(handle))


@pytest.mark.parametrize("features", ["logmel", "paper"])
def test_the_script_writes_rows_matrix_and_figure(evaluated, dataset, features):
    results = evaluated / features / "results"
    rows = [row for row in read(results / "metrics.csv") if row["metric"].startswith("controllability")]
    assert {(row["seed"], row["metric"], row["factor"]) for row in rows} == {
        (seed, f"controllability{metric}", factor)
        for seed in "01"
        for metric, factor in [
            ("", "all"),
            (": off-manifold steps", "all"),
            *[(": coverage", name) for name in ("all", *dataset.factor_names)],
        ]
    }
    matrix = read(results / "controllability.csv")
    details = json.loads((results / "metrics.json").read_text())["latents"][0]["controllability"]
    mine = [row for row in matrix if row["seed"] == "0"]
    assert details["latents"], "no latent is active: the test would see nothing"
    assert len(mine) == 3 * len(details["latents"]) and {row["unit"] for row in mine} == {"probability", "dB", "cents"}
    k, j = details["factors"].index(mine[-1]["factor"]), details["latents"].index(int(mine[-1]["latent"][1:]))
    assert float(mine[-1]["change"]) == details["change"][k][j]
    if features == "paper":
        assert {(float(row["change"]), row["smoothness"]) for row in mine if row["factor"] == "amplitude"} == {
            (0.0, "")
        }
    drawn = {path.name for path in (results / "Figures").glob("*Control*")}
    assert drawn == ({"VAE_Controllability.png"} if features == "logmel" else set())  # which ran with --no_figures
    (line,) = [line for line in (results / "table.md").read_text().splitlines() if "| controllability " in line]
    assert " ± " in line


def test_a_model_without_active_latents_is_evaluated(dataset, tmp_path, fewer_tones):
    train(dataset, tmp_path, "--epochs 1 --sigma 30 --latent_dim 1")
    evaluate([tmp_path / "VAE_seed0.pt"], tmp_path, "--no_figures")
    found = {(row["metric"], row["factor"]): float(row["value"]) for row in read(tmp_path / "metrics.csv")}
    assert found["active latents", "all"] == found["controllability", "all"] == 0
    assert found["controllability: coverage", "all"] == found["controllability: coverage", "frequency"] == 0
    assert read(tmp_path / "controllability.csv") == []


def test_equal_seeds_give_equal_bytes_and_other_metrics_leave_it_out(evaluated, tmp_path):
    out, models = evaluated / "logmel", [str(evaluated / "logmel" / f"VAE_seed{seed}.pt") for seed in (0, 1)]
    evaluate(models, tmp_path / "a", "--no_figures")
    for name in ("controllability.csv", "metrics.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (out / "results" / name).read_bytes()
    evaluate(models, tmp_path / "b", "--no_figures", metric="mig")
    assert not (tmp_path / "b" / "controllability.csv").exists()
    assert "controllability" not in (tmp_path / "b" / "metrics.csv").read_text()


def test_a_factor_of_too_many_classes_leaves_the_checkpoint_out(evaluated, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(control, "MAX_CLASSES", 1)
    evaluate([evaluated / "logmel" / "VAE_seed0.pt"], tmp_path, "--no_figures")
    assert "no controllability of VAE, seed 0: a factor has over 1 classes" in "".join(capsys.readouterr())
    assert "controllability" not in (tmp_path / "metrics.csv").read_text()
    assert "not measured where a nominal factor has more than" in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize("kind, more", [("logmel", {"smoothing": 5.0}), ("gainshape", {"db_min": -80.0})])
def test_limit_of_a_tone_follows_the_front_end(dataset, kind, more):
    """With skirts everything looks more alike. Tones of every other level are on the manifold of those between; the
    mean of all and noise in the pixels are not."""
    front_end = FrontEnd(kind, sample_rate=dataset.sample_rate, n_samples=dataset.x.shape[1], **more)
    features = front_end.features(torch.from_numpy(np.array(dataset.x)))
    patterns = matching.loudness_patterns(features, front_end)
    templates = matching.make_templates(patterns, dataset.factor_values, dataset.labels())
    limit = control.find_limit(templates, generator=np.random.default_rng(0))
    noise = torch.rand((20, *front_end.shape), generator=torch.Generator().manual_seed(0))
    for nothing in (features.mean(dim=0, keepdim=True), noise):
        assert matching.match(matching.loudness_patterns(nothing, front_end), templates).mismatch.min() > limit
    labels = dataset.labels()
    odd = labels["factors"][:, 1] % 2 == 1  # levels of amplitude
    labels["factors"] = labels["factors"][~odd]
    rest = matching.make_templates(patterns[~odd], dataset.factor_values[~odd], labels)
    inside = odd & (dataset.factors[:, 1] < dataset.factors[:, 1].max())
    assert np.median(matching.match(patterns[inside], rest).mismatch) < limit
