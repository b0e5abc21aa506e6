"""Pairs: what they share, how they are drawn, grids with gaps, and the file for training elsewhere."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import create
from syntone.dataset import load_npz
from syntone.dataset.pairs import Rule, draw_fixed_pairs, draw_pairs, plan_pairs, ways_to_share
from syntone.errors import InputError

NAMES = ["timbre", "amplitude", "frequency", "attack"]


def labels_of(*sizes: int, keep=slice(None)) -> dict:
    """A grid with every combination of levels once, or some of its rows."""
    grid = np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), axis=-1).reshape(-1, len(sizes))
    return {"factors": grid[keep].astype(np.int32), "factor_names": NAMES[: len(sizes)]}


def draw(labels: dict, rule: Rule, *, among=None, repeats=1, seed=0, weights=None) -> np.ndarray:
    among = np.arange(len(labels["factors"])) if among is None else among
    generator = np.random.default_rng(seed)
    return draw_pairs(labels, rule, np.tile(among, repeats), among=among, weights=weights, generator=generator)


def n_differing(labels: dict, pairs: np.ndarray) -> np.ndarray:
    one, other = labels["factors"][pairs[:, 0]], labels["factors"][pairs[:, 1]]
    return (one != other).sum(axis=1)


@pytest.mark.parametrize("changes", [1, 2])
def test_a_pair_differs_in_exactly_so_many_factors(changes):
    labels = labels_of(3, 4, 5)
    pairs = draw(labels, Rule(changes), repeats=20)
    assert (n_differing(labels, pairs) == changes).all()
    assert np.array_equal(pairs[:, 0], np.tile(np.arange(60), 20))  # every anchor once per pass, in order


@pytest.mark.parametrize("changes", [1, 2, "random"])
def test_factors_and_levels_are_drawn_uniformly(changes):
    """On a complete grid: each choice of k factors is equally likely, and each k of "random" from 1 to K - 1."""
    labels = labels_of(3, 4, 5)
    pairs = draw(labels, Rule(changes), repeats=200)  # 12,000: a share of 1/3 has a standard deviation of 0.0043
    differs = labels["factors"][pairs[:, 0]] != labels["factors"][pairs[:, 1]]
    counts = np.bincount(differs.sum(axis=1), minlength=4) / len(pairs)
    expected = {1: [0, 1, 0, 0], 2: [0, 0, 1, 0], "random": [0, 0.5, 0.5, 0]}[changes]
    assert counts == pytest.approx(expected, abs=0.02)
    assert differs.mean(axis=0) == pytest.approx({1: 1 / 3, 2: 2 / 3, "random": 0.5}[changes], abs=0.02)
    steps = (labels["factors"][pairs[:, 1], 2] - labels["factors"][pairs[:, 0], 2])[differs[:, 2]] % 5
    assert np.bincount(steps, minlength=5)[1:] / len(steps) == pytest.approx(1 / 4, abs=0.03)


def test_random_numbers_of_changes_are_equally_likely():
    """Of 4 factors, 4 ways lead to one change, 6 to two and 4 to three."""
    labels = labels_of(2, 2, 2, 2)
    counts = np.bincount(n_differing(labels, draw(labels, Rule("random"), repeats=800)), minlength=5)
    assert counts / 12_800 == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3, 0], abs=0.02)


def test_named_factors_are_shared_and_the_others_are_as_they_come():
    """The partner is any other row with the same timbre, so most differ in both others."""
    labels = labels_of(3, 4, 5)
    pairs = draw(labels, Rule(pair_shares=("timbre",)), repeats=50)
    differs = labels["factors"][pairs[:, 0]] != labels["factors"][pairs[:, 1]]
    assert not differs[:, 0].any() and differs[:, 1:].any(axis=1).all()
    assert differs[:, 1:].mean(axis=0) == pytest.approx([15 / 19, 16 / 19], abs=0.03)  # of 19 other rows


def test_an_incomplete_grid_uses_the_ways_it_has():
    """Rows (0, 0), (0, 1), (1, 0) and (2, 2): the last has no partner, the second only one by its amplitude."""
    labels = labels_of(3, 3, keep=[0, 1, 3, 8])
    pairs = draw(labels, Rule(1), repeats=50)
    assert set(map(tuple, pairs.tolist())) == {(0, 1), (0, 2), (1, 0), (2, 0)}


def test_equal_rows_are_not_a_pair():
    """A recording that was made twice has no label that differs."""
    factors = np.array([[0, 0], [0, 0], [1, 1], [1, 2]])
    labels = {"factors": factors, "factor_names": NAMES[:2]}
    assert set(map(tuple, draw(labels, Rule(1), repeats=9).tolist())) == {(2, 3), (3, 2)}
    assert set(map(tuple, draw(labels, Rule(pair_shares=("timbre",)), repeats=9).tolist())) == {(2, 3), (3, 2)}


def test_partners_are_from_the_same_rows():
    labels, among = labels_of(3, 4, 5), np.arange(0, 60, 2)
    assert np.isin(draw(labels, Rule(1), among=among, repeats=5), among).all()


def test_partners_follow_the_weights():
    """Of the two partners in each direction, one is three times as likely; a weight of 0 is never drawn."""
    labels = labels_of(2, 4)
    weights = np.array([1, 1, 3, 0, 1, 1, 3, 0])
    pairs = draw(labels, Rule(pair_shares=("timbre",)), weights=weights, repeats=2000)
    partners = pairs[pairs[:, 0] == 0, 1]
    assert np.bincount(partners, minlength=8) / len(partners) == pytest.approx(
        [0, 1 / 4, 3 / 4, 0, 0, 0, 0, 0], abs=0.04
    )


def test_pairs_depend_on_which_levels_are_equal_alone():
    """Levels with other numbers in another order give the same pairs: no other use is made of labels."""
    labels = labels_of(3, 4, 5)
    renamed = labels | {"factors": np.array([7, 2, 9, 4, 1])[labels["factors"]]}
    assert np.array_equal(draw(labels, Rule("random")), draw(renamed, Rule("random")))


@pytest.mark.parametrize("num_pairs", [None, 3000])
def test_training_pairs_follow_the_weights(num_pairs):
    """Amplitudes have the weights 1, 3 and 0 with each of two timbres: anchors and partners are drawn in proportion."""
    labels = labels_of(2, 3)
    dataset = SimpleNamespace(path="tones.npz", labels=lambda: labels)
    rows = {"train": np.arange(6), "valid": np.arange(6), "weights": np.array([1.0, 3, 0, 1, 3, 0])}
    pairs = plan_pairs(dataset, Rule(pair_shares=("timbre",)), **rows, num_pairs=num_pairs, seed=0)
    anchors = np.tile([0, 1, 1, 1, 3, 4, 4, 4], 500)
    drawn = pairs.draw(anchors, generator=np.random.default_rng(0)) % 3
    assert set(drawn.ravel()) == {0, 1}
    for column in drawn.T:  # among other rows of the same timbre, only one amplitude is left as partner
        assert 0.2 < (column == 0).mean() < 0.8
    if num_pairs:
        assert (drawn[:, 0] == 0).mean() == pytest.approx(1 / 4, abs=0.03)


def test_equal_seeds_plan_equal_pairs():
    labels = labels_of(3, 4, 5)
    dataset = SimpleNamespace(path="tones.npz", labels=lambda: labels)
    rows = {"train": np.arange(40), "valid": np.arange(40, 60), "weights": None}
    one, again, other = (plan_pairs(dataset, Rule(1), **rows, num_pairs=30, seed=seed) for seed in (0, 0, 1))
    for name in ("fixed", "valid"):
        assert np.array_equal(getattr(one, name), getattr(again, name))
        assert not np.array_equal(getattr(one, name), getattr(other, name))


def test_equal_seeds_draw_equal_pairs():
    labels = labels_of(3, 4, 5)
    one, again, other = (draw(labels, Rule("random"), seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(one, again) and not np.array_equal(one, other)


@pytest.mark.parametrize(
    "rule, names, pattern",
    [
        (
            Rule(3),
            NAMES[:3],
            "a pair that differs in 3 of 3 factors shares nothing; give 1 to 2, or random",
        ),
        (Rule(1), NAMES[:1], "only timbre varies"),
        (Rule(pair_shares=("pitch",)), NAMES[:3], "no factor 'pitch' varies; choose from timbre, amplitude, frequency"),
        (Rule(pair_shares=tuple(NAMES)), NAMES, "all factors are named"),
    ],
)
def test_a_rule_that_no_pair_can_meet_is_refused(rule, names, pattern):
    with pytest.raises(InputError, match=pattern):
        ways_to_share(names, rule)


def test_data_without_any_pair_are_refused():
    """On the diagonal of a grid no two rows share a level."""
    diagonal = labels_of(9, 9, keep=slice(None, None, 10))
    assert draw(diagonal, Rule(1)).shape == (0, 2)
    dataset = SimpleNamespace(path="tones.npz", labels=lambda: diagonal)
    rows = {"train": np.arange(6), "valid": np.arange(6, 9), "weights": None}
    with pytest.raises(
        InputError, match=r"tones\.npz: 0 of 3 validation tones are in a pair that differs in 1 factor;"
    ):
        plan_pairs(dataset, Rule(1), **rows, num_pairs=None, seed=0)


def test_correlations_that_leave_no_pair_are_refused():
    """Rows on the diagonal of a grid are drawn, and only the others, of weight 0, would be partners."""
    labels = labels_of(4, 4)
    dataset = SimpleNamespace(path="tones.npz", labels=lambda: labels)
    rows = {"train": np.arange(12), "valid": np.arange(12, 16), "weights": np.eye(4).ravel()[:12]}
    for num_pairs in (None, 5):
        with pytest.raises(InputError, match="0 of 12 training tones are in a pair that differs in 1 factor"):
            plan_pairs(dataset, Rule(1), **rows, num_pairs=num_pairs, seed=0)


def test_training_pairs_stay_within_their_part_and_count_who_is_alone():
    labels = labels_of(3, 3, keep=[0, 1, 3, 8, 4, 5])
    dataset = SimpleNamespace(path="tones.npz", labels=lambda: labels)
    rows = {"train": np.arange(4), "valid": np.array([4, 5]), "weights": None}
    pairs = plan_pairs(dataset, Rule(1), **rows, num_pairs=None, seed=0)
    assert pairs.n_alone == 1 and pairs.valid.tolist() == [[4, 5], [5, 4]]
    drawn = pairs.draw(np.array([3, 2, 1, 0]), generator=np.random.default_rng(0))
    assert drawn[:, 0].tolist() == [2, 1, 0] and np.isin(drawn, [0, 1, 2]).all()


def test_fixed_pairs_are_repeated_equally_often():
    labels = labels_of(3, 4, 5)
    dataset = SimpleNamespace(path="tones.npz", labels=lambda: labels)
    rows = {"train": np.arange(40), "valid": np.arange(40, 60), "weights": None}
    pairs = plan_pairs(dataset, Rule(1), **rows, num_pairs=12, seed=0)
    drawn = pairs.draw(np.arange(40), generator=np.random.default_rng(0))
    known = [tuple(pair) for pair in pairs.fixed.tolist()]
    times = [list(map(tuple, drawn.tolist())).count(pair) / known.count(pair) for pair in known]
    assert len(drawn) == 40 and set(map(tuple, drawn.tolist())) == set(known) and 3 <= min(times) <= max(times) <= 4


def test_more_fixed_pairs_than_training_rows_are_all_used():
    """An epoch of 40 rows has 40 of the 120 pairs, each at most once; 30 epochs miss one with a chance of 5e-6."""
    labels = labels_of(3, 4, 5)
    dataset = SimpleNamespace(path="tones.npz", labels=lambda: labels)
    rows = {"train": np.arange(40), "valid": np.arange(40, 60), "weights": None}
    pairs = plan_pairs(dataset, Rule(1), **rows, num_pairs=120, seed=0)
    known, seen = set(map(tuple, pairs.fixed.tolist())), set()
    for epoch in range(30):
        drawn = pairs.draw(np.arange(40), generator=np.random.default_rng(epoch))
        assert len(drawn) == 40
        seen |= set(map(tuple, drawn.tolist()))
    assert seen == known


def test_rows_without_a_partner_are_anchors_of_the_first_pass_only():
    """Of 301 rows 2 are a pair, so 200 fixed pairs take 100 passes."""
    labels, passes = {"factors": np.array([*[[k, k] for k in range(300)], [0, 300]]), "factor_names": NAMES[:2]}, []

    class Recording(np.random.Generator):
        def permutation(self, rows):
            passes.append(len(rows))
            return super().permutation(rows)

    generator = Recording(np.random.PCG64(0))
    pairs = draw_fixed_pairs(labels, Rule(1), np.arange(301), num_pairs=200, generator=generator)
    assert set(map(tuple, pairs.tolist())) == {(0, 300), (300, 0)} and passes == [301, *[2] * 99]


def test_fixed_pairs_take_every_row_as_anchor_before_one_twice():
    labels = labels_of(3, 4, 5)
    done, generator = [], np.random.default_rng(0)
    pairs = draw_fixed_pairs(labels, Rule(1), np.arange(60), num_pairs=150, generator=generator, progress=done.append)
    assert done == [60, 60, 30]
    assert len(pairs) == 150 and set(np.bincount(pairs[:, 0], minlength=60)) == {2, 3}
    assert (n_differing(labels, pairs) == 1).all()


# ---- the command ----


@pytest.mark.parametrize("flags, n_shared", [(["--pair_changes", "1"], {2}), (["--pair_shares", "timbre"], {1, 2})])
def test_the_file_names_pairs_and_what_they_share(dataset_path, tmp_path, capsys, flags, n_shared):
    path = tmp_path / "pairs.npz"
    argv = ["--pairs", str(path), *flags, "--num_pairs", "300", "--file_path", str(dataset_path)]
    before = dataset_path.read_bytes()
    assert create.main(argv) == 0
    assert "300 pairs of 72 sounds" in capsys.readouterr().out and dataset_path.read_bytes() == before
    with np.load(path, allow_pickle=False) as found:
        pairs, shared, names, recipe = (found[key] for key in ("pairs", "shared", "factor_names", "recipe"))
    dataset = load_npz(dataset_path)
    assert pairs.shape == (300, 2) and pairs.dtype == np.int64 and names.tolist() == list(dataset.factor_names)
    assert np.array_equal(shared, dataset.factors[pairs[:, 0]] == dataset.factors[pairs[:, 1]])
    assert set(shared.sum(axis=1)) == n_shared
    assert json.loads(str(recipe))["digest"] == dataset.digest
    assert create.main([*argv[:1], str(tmp_path / "again.npz"), *argv[2:]]) == 0
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()
    assert create.main([*argv[:1], str(tmp_path / "other.npz"), *argv[2:], "--seed", "1"]) == 0
    assert (tmp_path / "other.npz").read_bytes() != path.read_bytes()


def test_held_out_sounds_are_in_no_pair(tmp_path):
    data, path = tmp_path / "tones.npz", tmp_path / "pairs.npz"
    grid = "--num_freqs 4 --num_amps 3 --duration 0.1 --hold_out timbre=square".split()
    assert create.main([*grid, "--file_path", str(data)]) == 0
    assert create.main(["--pairs", str(path), "--file_path", str(data)]) == 0
    dataset = load_npz(data)
    square = dataset.classes.index("square")
    assert (
        square not in set(dataset.factors[np.load(path)["pairs"].ravel(), 0]) and len(np.load(path)["pairs"]) == 10000
    )


def test_pairs_of_correlated_sounds_follow_the_correlation(tmp_path):
    """With sigma 0.1 the levels are 0.1 apart or less in most pairs; of all combinations they are 1 / 3 apart."""
    data, path = tmp_path / "tones.npz", tmp_path / "pairs.npz"
    grid = "--num_freqs 11 --num_amps 11 --waveforms sine triangle --duration 0.1 --correlate amplitude frequency 0.1"
    assert create.main([*grid.split(), "--file_path", str(data)]) == 0
    assert create.main(["--pairs", str(path), "--num_pairs", "2000", "--file_path", str(data)]) == 0
    levels = load_npz(data).factors[np.load(path)["pairs"]]
    assert (np.abs(levels[..., 1] - levels[..., 2]).mean(axis=0) < 1.5).all()


@pytest.mark.parametrize(
    "flags, pattern",
    [
        ("--pairs p.npz --file_path none.npz", "none.npz: no such file"),
        ("--pairs p.npz --file_path tones.npz --num_amps 3", "--num_amps: no effect on an existing file"),
        (
            "--pairs p.npz --file_path tones.npz --pair_changes 1 --pair_shares timbre",
            "--pair_changes, --pair_shares: ",
        ),
        ("--pairs p.npz --file_path tones.npz --pair_changes 3", "pair_changes: a pair that differs in 3 of 3"),
        ("--pairs p.npz --file_path tones.npz --pair_changes 0", "--pair_changes: expected a whole number from 1"),
        ("--pairs p.txt --file_path tones.npz", "--pairs: p.txt does not end in .npz"),
        ("--pairs tones.npz --overwrite --file_path tones.npz", "--pairs: tones.npz is the dataset"),
        ("--pairs text.npz --file_path tones.npz", "--pairs: text.npz exists; give --overwrite or another path"),
        ("--pair_changes 1 --file_path new.npz", "--pair_changes: no effect without --pairs"),
    ],
)
def test_wrong_flags_are_refused(world, refused, flags, pattern):
    (world / "text.npz").write_text("another file")
    refused(create.main, flags.split(), pattern)
    assert not (world / "p.npz").exists()
