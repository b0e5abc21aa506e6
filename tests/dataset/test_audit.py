"""The audit against closed forms: what is indistinguishable on tiny data, and the ceiling of MIG that follows."""

import json
import math

import numpy as np
import pytest
from sandbox import GRID

import create
from syntone import figures
from syntone.dataset import audit, load_npz, save_npz
from syntone.errors import InputError
from syntone.features.filters import mel_points
from syntone.features.front_end import FrontEnd


def spectra_of(db: np.ndarray) -> audit.Spectrograms:
    """Spectrograms of P pixels whose coarse means are over halves."""
    db = np.float32(db)
    first = np.array([next(k for k in range(len(db)) if (db[k] == row).all()) for row in db])
    coarse = np.stack([half.mean(axis=1) for half in np.array_split(db, 2, axis=1)], axis=1)
    return audit.Spectrograms(db, coarse, first, {})


def test_close_pairs_are_those_of_all_pairs():
    rng = np.random.default_rng(0)
    db = np.repeat(rng.uniform(-3, 3, size=(60, 8)), 3, axis=0) + rng.uniform(-0.3, 0.3, size=(180, 8))
    pairs, found = audit.close_pairs(spectra_of(db), radius=0.5)
    every = np.array([(i, j) for i in range(180) for j in range(i + 1, 180)])
    distance = np.abs(np.float32(db)[every[:, 0]] - np.float32(db)[every[:, 1]]).max(axis=1)
    expected = {tuple(pair) for pair in every[distance <= 0.5].tolist()}
    assert {tuple(sorted(pair)) for pair in pairs.tolist()} == expected and 50 < len(expected) < 180
    np.testing.assert_allclose(sorted(found), sorted(distance[distance <= 0.5]))


def test_equal_rows_are_joined_without_all_their_pairs():
    db = np.zeros((50, 4))
    db[49] = 0.3
    pairs, _ = audit.close_pairs(spectra_of(db), radius=0.5)
    assert len(pairs) == 49 and len(np.unique(audit.equivalence_classes(50, pairs))) == 1


def test_more_pairs_than_can_be_compared_are_refused_before_they_are_listed(monkeypatch):
    """401 rows 0.005 dB apart: each has 100 rows within 0.501 dB on both sides, but for the ends."""
    spectra = spectra_of(np.linspace(0, 2, 401)[:, None] * np.ones(4))
    n_pairs = sum(401 - apart for apart in range(1, 101))
    monkeypatch.setattr(audit, "MAX_PAIRS", n_pairs)  # the estimate is exact, as there are no more than 1,000 rows
    audit.close_pairs(spectra, radius=0.5)
    monkeypatch.setattr(audit, "MAX_PAIRS", n_pairs - 1)
    monkeypatch.setattr(audit, "distances", None)
    with pytest.raises(InputError, match=f"audit: about {n_pairs:,} pairs of sounds .* fewer levels with larger steps"):
        audit.close_pairs(spectra, radius=0.5)


def test_confusions_count_every_tone_that_has_one_of_another_level():
    """Rows 0 to 3 are equal to the bit, row 4 is near them, 5 and 6 are near each other and have equal labels."""
    factors = np.array([[0, 0], [0, 1], [1, 0], [0, 0], [0, 0], [2, 2], [2, 2]])
    found = audit.confusions(
        factors, np.array([[0, 4], [0, 1], [0, 2], [0, 3], [5, 6]]), np.array([0, 0, 0, 0, 4, 5, 6])
    )
    assert found.tolist() == [[True, True]] * 5 + [[False, False]] * 2
    alone = audit.confusions(factors, np.empty((0, 2), int), np.arange(7))
    assert not alone.any()


def test_classes_are_chains_of_indistinguishable_tones():
    classes = audit.equivalence_classes(6, np.array([[0, 1], [1, 2], [4, 5]]))
    assert len(set(classes[:3])) == 1 and classes[4] == classes[5] and len(set(classes.tolist())) == 3


def grid_factors(*sizes: int) -> np.ndarray:
    return np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes), axis=1)


def test_ceiling_where_three_of_four_timbres_collapse_above_a_frequency():
    """4 timbres, 10 frequencies, of which the upper 4 let three timbres fall together: timbre loses ln 3 of its ln 4 in
    three quarters of 40 % of the tones, frequency nothing."""
    factors = grid_factors(4, 10)
    classes = np.where(
        (factors[:, 1] >= 6) & (factors[:, 0] < 3), 100 + factors[:, 1], factors[:, 0] * 10 + factors[:, 1]
    )
    timbre, frequency = audit.mig_ceilings(factors, ["nominal", "ordered"], classes)
    assert abs(timbre - (1 - 0.4 * 0.75 * math.log(3) / math.log(4))) < 1e-12 and abs(frequency - 1) < 1e-12


def test_ceilings_at_the_ends():
    factors = grid_factors(3, 5)
    np.testing.assert_allclose(audit.mig_ceilings(factors, ["ordered"] * 2, np.arange(15)), 1.0)
    np.testing.assert_allclose(audit.mig_ceilings(factors, ["ordered"] * 2, np.zeros(15, int)), 0.0, atol=1e-12)
    # neighbours merge in pairs inside one of 20 bins: nothing that is scored is lost
    many = grid_factors(40)
    np.testing.assert_allclose(audit.mig_ceilings(many, ["ordered"], many[:, 0] // 2), 1.0)
    np.testing.assert_allclose(audit.mig_ceilings(many, ["nominal"], many[:, 0] // 2), 1 - math.log(2) / math.log(40))


def test_steps_pair_tones_that_differ_in_one_factor_alone():
    factors = grid_factors(3, 2, 4)
    pairs = audit.step_pairs(factors, 2, kind="ordered")
    assert len(pairs) == 3 * 2 * 3
    assert (factors[pairs[:, 1]] - factors[pairs[:, 0]] == [0, 0, 1]).all()
    classes = audit.step_pairs(factors, 0, kind="nominal")
    assert len(classes) == 3 * 8 and (factors[classes[:, 0], 1:] == factors[classes[:, 1], 1:]).all()
    shuffled = np.random.default_rng(0).permutation(factors)[:20]  # no full grid is needed
    some = audit.step_pairs(shuffled, 1, kind="ordered")
    assert (shuffled[some[:, 1]] - shuffled[some[:, 0]] == [0, 1, 0]).all()


def make(tmp_path, *flags: str):
    path = tmp_path / "tones.npz"
    assert create.main([*GRID, "--file_path", str(path), *flags]) == 0
    return load_npz(path)


def test_band_limited_waves_of_equal_energy_collapse_where_they_are_sines(tmp_path):
    """8 kHz, 6 frequencies from 500 to 3,000 Hz: square and sine are one above 1,333 Hz (4 frequencies), the sawtooth
    joins from 2,000 Hz (3 of them). Timbre loses ln 2 in two thirds of the tones of one frequency, and ln 3 in all of
    three."""
    flags = ["--oscillator", "bandlimited", "--level", "rms", "--waveforms", "sine", "square", "sawtooth"]
    report, confused = audit.audit(make(tmp_path, *flags))
    lost = (1 / 6 * 2 / 3 * math.log(2) + 3 / 6 * math.log(3)) / math.log(3)
    assert abs(report["mig_ceiling_of"]["timbre"] - (1 - lost)) < 1e-9
    assert report["mig_ceiling_of"]["amplitude"] == pytest.approx(1) and report["mig_ceiling_of"][
        "frequency"
    ] == pytest.approx(1)
    assert confused.sum() == report["indistinguishable"] == 3 * (2 + 3 * 3)
    assert report["indistinguishable_in"] == {"timbre": 33, "amplitude": 0, "frequency": 0}


def test_silent_and_clipped_tones_and_small_steps_are_counted(tmp_path):
    flags = "--waveforms sine --freq_end 4000 --num_freqs 8 --amp_start 1.0 --amp_end 1.1 --num_amps 3".split()
    report, _ = audit.audit(make(tmp_path, *flags))
    assert report["silent"] == 3 and report["clipped"] == 2 * 7  # the sines at half the sample rate
    amplitude, frequency = report["steps"]
    assert [factor["factor"] for factor in report["steps"]] == ["amplitude", "frequency"]
    # a step of 1.05 / 1 is 0.42 dB, below the resolution
    assert [step["told_apart"] for step in amplitude["steps"]] == [0.0, 0.0]
    assert amplitude["steps"][0]["median_db"] == pytest.approx(20 * math.log10(1.05), abs=1e-3)  # float32 spectrograms
    assert frequency["told_apart"] == 1.0 and len(frequency["steps"]) == 7
    assert report["mig_ceiling_of"]["amplitude"] == pytest.approx(0, abs=1e-9)
    # so amplitude is lost, and the silent tones are no worse for frequency: they are one class, and so is every other
    assert report["mig_ceiling_of"]["frequency"] == pytest.approx(1)


def test_the_clean_preset_is_what_it_promises(tmp_path):
    """Steps on the whole grid, and the audit of its upper end, where least partials are left."""
    path = tmp_path / "clean.npz"
    args = create.parse_flags(["--preset", "clean"])
    grid = create.build_grid(args)
    assert grid.n_tones == 4340
    points = mel_points(16000, 128)
    step = np.diff(grid.freqs)
    assert (step > np.interp(grid.freqs[:-1], points[:-1], np.diff(points))).all()
    with_one_more = np.geomspace(grid.freqs[0], grid.freqs[-1], 36)
    assert np.diff(with_one_more)[0] < points[1]  # below 1 kHz all bands are as wide as the first
    assert 3 * grid.freqs[-1] < points[-2]
    np.testing.assert_allclose(20 * np.log10(np.array(grid.amps[1:]) / grid.amps[:-1]), 1.0)
    assert create.main(["--preset", "clean", "--freq_start", "2000", "--num_freqs", "3", "--file_path", str(path)]) == 0
    report, confused = audit.audit(load_npz(path))
    assert not confused.any() and report["mig_ceiling"] == pytest.approx(1)
    assert (report["silent"], report["clipped"], report["saturated"]) == (0, 0, 0)
    waves = load_npz(path).x.reshape(3, 31, 4, -1).astype(float)
    rms = np.sqrt(np.mean(waves**2, axis=3))
    np.testing.assert_allclose(rms, np.broadcast_to(np.array(grid.amps)[:, None] / np.sqrt(2), rms.shape), rtol=1e-5)


def test_a_bare_audit_reports_on_the_file_made_and_a_path_makes_nothing(tmp_path, capsys, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)
    flags = [*GRID, "--file_path", "tones.npz"]
    assert create.main([*flags, "--audit"]) == 0
    out = capsys.readouterr().out
    assert "tones.npz: 72 sounds, of which 0 are silent" in out and "MIG is therefore at most" in out
    report = json.loads((tmp_path / "tones.audit.json").read_text())
    assert report["tones"] == 72 and {"steps", "mig_ceiling", "at_resolutions"} <= set(report)
    assert (tmp_path / "Dataset" / "Figures" / "Dataset_Audit.png").read_bytes()[:4] == b"\x89PNG"
    (tmp_path / "tones.audit.json").unlink()
    assert create.main(["--audit", "tones.npz", "--figures_dir", "elsewhere"]) == 0
    assert (tmp_path / "tones.audit.json").exists() and (tmp_path / "elsewhere" / "Dataset_Audit.png").exists()
    assert not (tmp_path / "Dataset" / "syntone.npz").exists()
    for flag in ("--audit", "--samples"):
        refused(create.main, [flag, "none.npz"], "none.npz: no such file; make one with create.py")


def test_pairs_of_many_classes_are_not_listed(tmp_path, capsys):
    """60 classes would make 1,770 pairs; the tones of two of them are equal."""
    x = np.random.default_rng(0).normal(size=(60, 1000)) / 10
    x[1] = x[0]
    path, classes = tmp_path / "mine.npz", np.arange(60)
    labels = dict(factor_names=["speaker"], factor_kinds=["nominal"], sample_rate=8000, recipe={})
    save_npz(path, x=x, factors=classes[:, None], factor_values=classes[:, None], **labels)
    report, confused = audit.audit(load_npz(path))
    assert np.flatnonzero(confused).tolist() == [0, 1]
    assert report["steps"] == [{"factor": "speaker", "kind": "nominal", "levels": 60, "told_apart": None, "steps": []}]
    assert create.main(["--audit", str(path), "--figures_dir", str(tmp_path)]) == 0
    assert "The 60 levels of speaker are not compared in pairs (more than 50)." in capsys.readouterr().out


def test_data_without_ordered_factors_or_pairs_is_audited(tmp_path):
    """Five sounds with two nominal labels, no two of which differ in one alone."""
    path = tmp_path / "mine.npz"
    noise = np.random.default_rng(0).normal(size=(5, 2048)) * 0.1
    save_npz(
        path,
        x=noise,
        factors=[[k, k] for k in range(5)],
        factor_values=[[k, k] for k in range(5)],
        factor_names=["who", "where"],
        factor_kinds=["nominal"] * 2,
        sample_rate=8000,
        recipe={},
    )
    assert create.main(["--audit", str(path), "--figures_dir", str(tmp_path)]) == 0
    report = json.loads(path.with_suffix(".audit.json").read_text())
    assert report["mig_ceiling"] == pytest.approx(1) and [factor["steps"] for factor in report["steps"]] == [[], []]


def test_spectrograms_are_the_front_ends(dataset_path):
    data = load_npz(dataset_path)
    front_end = FrontEnd("logmel", sample_rate=8000, n_samples=4000, smoothing=0.0)
    spectra = audit.spectrograms(data, front_end)
    import torch

    expected = front_end.to_db(front_end.features(torch.from_numpy(np.array(data.x[:5]))))
    np.testing.assert_allclose(spectra.db[:5], expected.flatten(1).numpy(), atol=1e-4)  # blocks round differently
    assert spectra.coarse.shape == (72, 24)
    np.testing.assert_allclose(
        spectra.coarse[0, :2], [expected[0, 0, 16 * k : 16 * k + 16, :2].mean() for k in range(2)], atol=1e-3
    )


def test_steps_of_several_takes_are_all_compared():
    """Of three instruments, two pitches and three takes: three pairs of instruments per pitch, one step of pitch."""
    factors = np.stack([np.repeat([0, 1, 2], 6), np.tile(np.repeat([0, 1], 3), 3)], axis=1)
    instruments = audit.step_pairs(factors, 0, kind="nominal")
    assert {tuple(sorted(factors[pair, 0])) for pair in instruments} == {(0, 1), (0, 2), (1, 2)} and len(
        instruments
    ) == 6
    assert len(audit.step_pairs(factors, 1, kind="ordered")) == 3


def test_of_many_pairs_of_levels_the_closest_are_drawn():
    steps = [dict(names=["a", f"b{k}"], smallest_db=90.0 - k, median_db=100.0) for k in range(91)]
    factor = dict(factor="instrument", kind="nominal", steps=steps, label="instrument")
    shares = ("x", {"all sounds": (np.arange(2), np.zeros(2))})
    first, _ = figures.audit_figure([factor], resolution_db=0.5, shares=shares, title="").axes
    names = [label.get_text() for label in first.get_yticklabels()]
    assert names == [f"a / b{k}" for k in range(90, 69, -1)] and "the 21 closest of 91 pairs" in first.get_title()
    factor["steps"] = steps[:6]
    first, _ = figures.audit_figure([factor], resolution_db=0.5, shares=shares, title="").axes
    assert len(first.get_yticks()) == 6 and "closest" not in first.get_title()
