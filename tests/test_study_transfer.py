"""The study's table and figure `transfer`, from numbers known by hand."""

import numpy as np
import pytest

from benchmarks import study_settings, study_transfer

MODELS = ("VAE", "BetaVAE", "FactorVAE", "BTCVAE", "DIPVAE", "baseline: PCA (8)")


def rows_of(setting, numbers, metric="MIG", seeds=(0, 1)):
    """Seeds 0.01 apart; the value is another number than the adjusted one."""
    return [
        dict(setting=setting, model=model, seed=seed, metric=metric, factor=None, value=0.5, adjusted=mig + 0.01 * seed)
        for model, mig in numbers.items()
        for seed in (seeds if model in study_transfer.COLOURS else (0,))
    ]


def scores(tones, notes, **more):
    """Of `logmel` alone."""
    return rows_of("clean", dict(zip(MODELS, tones)), **more) + rows_of("notes", dict(zip(MODELS, notes)), **more)


@pytest.mark.parametrize(
    "notes, rho",
    [
        ([0.2, 0.3, 0.4, 0.5, 0.6, 0.7], 1.0),
        ([0.7, 0.6, 0.5, 0.4, 0.3, 0.2], -1.0),
        # 1 - 6 sum(d^2) / (n (n^2 - 1)) with d = 1, 1, 1, 1, 1, 1
        ([0.3, 0.2, 0.5, 0.4, 0.7, 0.6], 1 - 6 * 6 / (6 * 35)),
    ],
)
def test_rank_correlation_of_known_ranks(notes, rho):
    found = study_transfer.correlations(scores([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], notes))
    assert set(found) == {"MIG"} and "`gainshape`" not in found["MIG"]
    for group, n in (("`logmel`", 6), ("both", 6)):
        assert found["MIG"][group][:2] == (n, pytest.approx(rho))
    assert found["MIG"]["both, without baselines"][0] == 5


def test_the_interval_holds_the_correlation_and_is_narrow_where_all_draws_agree():
    n, rho, low, high = study_transfer.correlations(scores([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [2, 3, 4, 5, 6, 7]))["MIG"][
        "both"
    ]
    assert (n, rho, low, high) == (6, 1.0, pytest.approx(1.0), pytest.approx(1.0))  # seeds are closer than models
    _, rho, low, high = study_transfer.correlations(scores([1, 2, 3, 4, 5, 6], [2, 1, 4, 6, 3, 5]))["MIG"]["both"]
    assert -1 <= low < rho < high <= 1 and high - low > 0.3


def test_seeds_are_drawn_too():
    """Two models whose seeds differ by more than their means: their order is open."""
    one = np.array([0.0, 1.0]), np.array([0.0, 1.0])
    two = np.array([0.2, 1.2]), np.array([0.2, 1.2])
    three = np.array([3.0, 3.0]), np.array([3.0, 3.0])
    low, high = study_transfer.interval([one, two, three])
    assert low < 1.0 == high
    steady = [tuple(np.full(2, pair[0].mean()) for _ in pair) for pair in (one, two, three)]
    assert study_transfer.interval(steady) == pytest.approx((1.0, 1.0))


def test_pairs_and_models_of_one_side_are_left_out_and_untrained_encoders_are_one_baseline():
    rows = scores([0.1, 0.2, 0.3], [0.1, 0.2, 0.3])
    rows += rows_of("clean", {"AdaGVAE (pairs)": 0.9}) + rows_of("notes", {"AdaGVAE (pairs)": 0.9})
    rows += rows_of("clean", {"baseline: untrained BTCVAE": 0.0, "CapacityVAE": 0.1})
    rows += rows_of("notes", {"baseline: untrained VAE": 0.0})
    known = study_transfer.pairs_of(rows, "MIG")
    assert [model for _, model in known] == ["VAE", "BetaVAE", "FactorVAE", "untrained"]
    tones, notes = known["`logmel`", "BetaVAE"]
    assert tones.tolist() == notes.tolist() == pytest.approx([0.2, 0.21])


def test_too_few_models_or_equal_scores_have_no_correlation():
    assert study_transfer.correlations(scores([0.1, 0.2], [0.1, 0.2])) == {}
    assert study_transfer.correlations(scores([0.1, 0.2, 0.3], [0.5, 0.5, 0.5], seeds=(0,))) == {}


def test_table_and_figure(tmp_path):
    rows = scores([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    line = study_transfer.transfer_table(rows).splitlines()[2]
    assert [cell.strip() for cell in line.split("|")[1:6]] == ["MIG", "6", "-1.00 [-1.00, -1.00]", "0", "–"]
    study_transfer.transfer_figure(tmp_path / "transfer.png", rows)
    assert (tmp_path / "transfer.png").read_bytes().startswith(b"\x89PNG")


def test_notes_have_the_flags_of_clean():
    """Nothing is tuned on notes; FactorVAE computes in single precision."""
    settings = {one.name: one for one in study_settings.SETTINGS}
    for tones, notes in study_transfer.TONES_AND_NOTES.values():
        one, other = settings[tones], settings[notes]
        assert (one.flags, one.models, one.epochs, one.seeds) == (other.flags, other.models, other.epochs, other.seeds)
        assert one.own | {"FactorVAE": ""} == other.own | {"FactorVAE": ""} and one.baselines == other.baselines
        assert study_settings.DATASETS[other.dataset] == "--preset notes"
