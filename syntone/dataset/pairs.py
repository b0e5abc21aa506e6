"""Pairs of sounds that share factors: weak supervision. Labels are used to draw the pairs, and for nothing else.

A rule states what the sounds of a pair share. It can be met in several ways: a pair that differs in k of K factors
shares the other K - k, so there are as many ways as choices of k factors (Locatello et al. 2020, "Weakly-Supervised
Disentanglement Without Compromises").
"""

import argparse
import itertools
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from syntone.cli import positive_int
from syntone.dataset.file import Dataset, write_members
from syntone.dataset.splits import correlation_weights, held_out
from syntone.errors import InputError

RANDOM = "random"


@dataclass(frozen=True)
class Rule:
    """What the sounds of a pair share.

    pair_changes : number of factors that differ, or "random": from 1 to K - 1, drawn for each pair
    pair_shares : names of factors that are equal. If given, `pair_changes` has no effect: one or more others differ
    """

    pair_changes: int | str = 1
    pair_shares: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.pair_shares:
            return f"shares {', '.join(self.pair_shares)}"
        number = "a random number of" if self.pair_changes == RANDOM else self.pair_changes
        return f"differs in {number} factor{'' if number == 1 else 's'}"


def changes(text: str) -> int | str:
    """Type of a flag: a positive integer or "random"."""
    return text if text == RANDOM else positive_int(text)


def add_pair_flags(group: argparse._ArgumentGroup) -> None:
    """Add the flags of a rule; None where they are not given."""
    words = f"factors in which a pair differs: a number, or {RANDOM}: 1 to all but one (default: {Rule.pair_changes})"
    group.add_argument("--pair_changes", type=changes, metavar="K", help=words)
    words = "factors that a pair shares, instead of --pair_changes; one or more others differ"
    group.add_argument("--pair_shares", nargs="+", metavar="NAME", help=words)


def rule_of(args: argparse.Namespace) -> Rule:
    """Return the rule of the flags, of which only one may be given."""
    if args.pair_changes is not None and args.pair_shares is not None:
        raise InputError("--pair_changes, --pair_shares: each states what a pair shares; give one of them")
    shares = args.pair_shares and tuple(sorted(set(args.pair_shares)))  # the order has no effect
    given = {"pair_changes": args.pair_changes, "pair_shares": shares}
    return Rule(**{name: value for name, value in given.items() if value is not None})


def rule_in(options: dict) -> Rule | None:
    """Return the rule among the options of a training run; None if it had no pairs."""
    names = Rule.__dataclass_fields__
    return Rule(**{name: options[name] for name in names}) if names.keys() <= options.keys() else None


def ways_to_share(factor_names: list[str], rule: Rule) -> list[tuple[list[int], float]]:
    """Return the ways to meet a rule: the columns of the factors that are shared, and the relative frequency.

    Parameters
    ----------
    factor_names : the K factors that vary

    Raises
    ------
    InputError
        If the rule names unknown factors, or leaves no factor to share or to differ.
    """
    n_factors = len(factor_names)
    if rule.pair_shares:
        unknown = [name for name in rule.pair_shares if name not in factor_names]
        if unknown:
            raise InputError(f"pair_shares: no factor {unknown[0]!r} varies; choose from {', '.join(factor_names)}")
        if len(set(rule.pair_shares)) == n_factors:
            raise InputError("pair_shares: all factors are named, so a pair differs in nothing; leave one out")
        return [(sorted(factor_names.index(name) for name in set(rule.pair_shares)), 1.0)]
    if n_factors < 2:
        raise InputError(f"pair_changes: only {factor_names[0]} varies, so a pair shares nothing; add a factor")
    if rule.pair_changes != RANDOM and rule.pair_changes >= n_factors:
        raise InputError(
            f"pair_changes: a pair that differs in {rule.pair_changes} of {n_factors} factors shares nothing; "
            f"give 1 to {n_factors - 1}, or {RANDOM}"
        )
    counts = range(1, n_factors) if rule.pair_changes == RANDOM else [rule.pair_changes]
    return [
        (list(shared), 1 / math.comb(n_factors, n_changes))
        for n_changes in counts
        for shared in itertools.combinations(range(n_factors), n_factors - n_changes)
    ]


def draw_pairs(
    labels: dict,
    rule: Rule,
    anchors: np.ndarray,
    *,
    among: np.ndarray,
    weights: np.ndarray | None = None,
    generator: np.random.Generator,
) -> np.ndarray:
    """Draw a partner for each anchor.

    The ways to meet the rule are tried in a random order until one has a partner, so the grid may be incomplete. With
    `pair_changes`, the partner differs in all factors that are not shared, with `pair_shares` in one or more of them.

    Parameters
    ----------
    labels : "factors" (N, K) that vary, "factor_names", see `Dataset.labels`
    anchors : int64 (n,), rows
    among : int64 (M,), rows from which partners are drawn
    weights : float64 (M,), relative frequency of the rows of `among`; None: all are equally likely

    Returns
    -------
    int64 (m, 2): rows of anchor and partner, in the order of the anchors. Anchors without a partner are left out.
    """
    factors, ways = labels["factors"], ways_to_share(labels["factor_names"], rule)
    likely = np.zeros(len(factors))
    likely[among] = 1 if weights is None else weights
    groups = [_groups(factors, shared, among, likely) for shared, _ in ways]
    fit = np.logical_or if rule.pair_shares else np.logical_and
    # Of several exponential times, the first is each of them in proportion to its rate.
    times = generator.exponential(size=(len(anchors), len(ways))) / [rate for _, rate in ways]
    pairs = []
    for anchor, order, chance in zip(anchors, np.argsort(times, axis=1), generator.random(len(anchors))):
        for way in order:
            group_of, others, groups_of_way = groups[way]
            near, levels, rates = groups_of_way[group_of[anchor]]
            edges = np.cumsum(rates * fit.reduce(levels != factors[anchor, others, None]))
            if len(near) and edges[-1] > 0:
                pairs.append((anchor, near[np.searchsorted(edges, chance * edges[-1], side="right")]))
                break
    return np.array(pairs, np.int64).reshape(-1, 2)


def _groups(
    factors: np.ndarray, shared: list[int], rows: np.ndarray, likely: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """Group rows by the values of the shared factors.

    Returns
    -------
    The group of every row, the columns of the other factors, and of each group: the given rows that are in it, their
    levels of the other factors (L, n), and their relative frequency.
    """
    group_of = np.unique(factors[:, shared], axis=0, return_inverse=True)[1].ravel()
    order = rows[np.argsort(group_of[rows], kind="stable")]
    ends = np.cumsum(np.bincount(group_of[rows], minlength=group_of.max() + 1))
    others = np.delete(np.arange(factors.shape[1]), shared)
    levels, members = factors.T[others], np.split(order, ends[:-1])
    return group_of, others, [(near, levels.take(near, axis=1), likely[near]) for near in members]


def draw_fixed_pairs(
    labels: dict,
    rule: Rule,
    rows: np.ndarray,
    *,
    num_pairs: int,
    weights: np.ndarray | None = None,
    generator: np.random.Generator,
    progress: Callable[[int], object] = lambda n: None,
) -> np.ndarray:
    """Draw a number of pairs within some rows, int64 (num_pairs, 2), or (0, 2) if there are none.

    Each row is an anchor equally often, give or take one; with weights (len(rows),), in proportion to them. `progress`
    is called with the number of new pairs.
    """
    pairs = np.empty((0, 2), np.int64)
    chances = None if weights is None else weights / weights.sum()
    while (n_before := len(pairs)) < num_pairs:
        anchors = generator.permutation(rows) if chances is None else generator.choice(rows, len(rows), p=chances)
        more = draw_pairs(labels, rule, anchors, among=rows, weights=weights, generator=generator)
        if not len(more):
            break
        if chances is None:
            rows = np.sort(more[:, 0])  # without those that are in no pair
        pairs = np.concatenate([pairs, more[: num_pairs - len(pairs)]])
        progress(len(pairs) - n_before)
    return pairs


@dataclass(frozen=True, eq=False)
class TrainingPairs:
    """The pairs of one training run.

    labels, rule : see `draw_pairs`
    train : int64 (n,), training rows
    weights : float64 (n,), their relative frequency, or None
    valid : int64 (m, 2), pairs within the validation rows
    n_alone : training rows without a partner
    fixed : int64 (P, 2), the only pairs to train on; None: new pairs in every epoch
    """

    labels: dict
    rule: Rule
    train: np.ndarray
    weights: np.ndarray | None
    valid: np.ndarray
    n_alone: int
    fixed: np.ndarray | None = None

    def draw(self, anchors: np.ndarray, *, generator: np.random.Generator) -> np.ndarray:
        """Return the pairs of one epoch, int64 (m, 2): one for each anchor that has a partner.

        Of fixed pairs as many as there are anchors, each equally often, give or take one. If there are more fixed pairs
        than anchors, each epoch has another part of them.
        """
        if self.fixed is not None:
            n = max(len(anchors), len(self.fixed))
            return self.fixed[generator.permutation(n)[: len(anchors)] % len(self.fixed)]
        return draw_pairs(self.labels, self.rule, anchors, among=self.train, weights=self.weights, generator=generator)


def plan_pairs(
    dataset: Dataset,
    rule: Rule,
    *,
    train: np.ndarray,
    valid: np.ndarray,
    weights: np.ndarray | None,
    num_pairs: int | None,
    seed: int,
) -> TrainingPairs:
    """Prepare the pairs of a training run, within the training rows and within the validation rows.

    Parameters
    ----------
    train, valid, weights : see `splits.training_split`
    num_pairs : number of fixed pairs to train on; None: new pairs in every epoch

    Raises
    ------
    InputError
        If the rule does not fit the factors, or fewer than two pairs meet it.
    """
    labels = dataset.labels()
    ways_to_share(labels["factor_names"], rule)
    generator = np.random.default_rng(seed)
    fixed, found, alone = None, {}, {}
    for name, rows, likely in (("validation", valid, None), ("training", train, weights)):
        anchors = rows if likely is None else rows[likely > 0]  # others are never drawn
        found[name] = draw_pairs(labels, rule, anchors, among=rows, weights=likely, generator=generator)
        alone[name] = len(anchors) - len(found[name])
        if len(found[name]) < 2:
            raise InputError(
                f"{dataset.path}: {len(found[name])} of {len(rows)} {name} tones are in a pair that {rule}; choose "
                "other pairs, or make a dataset with more combinations of levels"
            )
    if num_pairs is not None:
        drawn = {"num_pairs": num_pairs, "weights": weights, "generator": generator}
        fixed = draw_fixed_pairs(labels, rule, train, **drawn)
    return TrainingPairs(labels, rule, train, weights, found["validation"], alone["training"], fixed)


def write_pairs(path: Path, dataset: Dataset, rule: Rule, *, num_pairs: int, seed: int) -> str:
    """Write pairs of a dataset's sounds as a .npz, without held-out sounds; return one line about them.

    Keys: `pairs` int64 (P, 2), rows of the dataset; `shared` bool (P, K), which factors are equal; `factor_names` (K,);
    `recipe`, JSON with rule, seed, and recipe and digest of the dataset.

    Raises
    ------
    InputError
        If the rule does not fit the factors, or no pair meets it.
    """
    rows, weights = np.flatnonzero(~held_out(dataset)), correlation_weights(dataset)
    weights = None if weights is None else weights[rows]
    generator = np.random.default_rng(seed)
    how = {"num_pairs": num_pairs, "weights": weights, "generator": generator}
    with tqdm(total=num_pairs, unit="pair", desc="pairs", delay=2, disable=None) as bar:
        pairs = draw_fixed_pairs(dataset.labels(), rule, rows, **how, progress=bar.update)
    if not len(pairs):
        raise InputError(f"pairs: no two sounds of {dataset.path} are a pair that {rule}; choose other pairs")
    shared = dataset.factors[pairs[:, 0]] == dataset.factors[pairs[:, 1]]
    recipe = asdict(rule) | {"seed": seed, "dataset": json.loads(dataset.recipe), "digest": dataset.digest}
    texts = {"factor_names": np.array(dataset.factor_names), "recipe": np.array(json.dumps(recipe, sort_keys=True))}
    write_members(path, {"pairs": pairs, "shared": shared} | texts)
    n_alone = len(rows) - len(draw_pairs(dataset.labels(), rule, rows, among=rows, generator=generator))
    what = f"{len(pairs):,} pairs of {len(np.unique(pairs)):,} sounds; each pair {rule}"
    return f"{path}: {what}; {n_alone:,} of {len(rows):,} sounds have no partner"
