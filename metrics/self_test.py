"""Every metric on codes with known scores.

Expected values are closed forms or intervals derived beside them; none was obtained by running the code. Factors are
full grids, hence exactly independent, of at most 20 levels, so that 20 bins lose no information. H = ln(levels).
"""

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from ._evaluate import FUNCTIONS, evaluate
from ._udr import udr

Interval = tuple[float, float]
ROUNDING = 1e-9  # sums over 8,000 rows round at about 1e-12
N_BINS = 20
LEVELS = (4, 10, 20)
KINDS = ("nominal", "ordered", "ordered")


class Check(NamedTuple):
    """One comparison of the self-test."""

    case: str  # name of the codes
    score: str  # row of a report
    expected: Interval | str  # (low, high), or "refused"
    obtained: float | str
    ok: bool  # whether `obtained` is as expected

    def cells(self) -> tuple[str, str, str, str, str]:
        """Return the five fields as text, for a table."""
        return self.case, self.score, _text(self.expected), _text(self.obtained), "ok" if self.ok else "WRONG"


def _text(value: Interval | float | str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.4f}"
    low, high = value
    return f"{(low + high) / 2:.4f}" if high - low <= 4 * ROUNDING else f"[{low:.4f}, {high:.4f}]"


class _Case(NamedTuple):
    name: str
    factors: np.ndarray
    codes: np.ndarray
    kinds: tuple[str, ...]
    expected: dict[str, float | Interval]  # row of a report -> value up to rounding, or interval
    active: np.ndarray | None = None


def _grid(*n_levels: int, repeats: int) -> np.ndarray:
    """(repeats * prod(n_levels), K) int, every combination of levels equally often."""
    return np.tile(np.indices(n_levels).reshape(len(n_levels), -1).T, (repeats, 1))


# Each latent is one factor, so every gap is a whole entropy, every share 1, and every R^2 is 1 or exactly 0.
# Trees: a target that is a function of one latent leaves the others only what the drawn rows leave unexplained, and
# boosting shrinks that by at least 0.9 per stage, 100 times: above 0.98 (importance) and 0.95 (R^2, accuracy).
# Logistic fit: the logits -s/2 (z - c)^2 of level c are linear in z up to what cancels, have at most
# ln(1 + 2 exp(-s/2) + 2 exp(-2s)) cross-entropy and the penalty s^2 var(c) sum (c - mean)^2 / (2 * 100 * 4,000). The
# optimum is better than s = 20, 8, 3 for 4, 10, 20 levels, hence explains at least 0.99, 0.96, 0.79 of H, 0.91 on
# average; these fits rank the held-out rows of each level first. A margin is left for the held-out rows.
# BetaVAE and FactorVAE score: the fixed factor's latent is constant; the others vary, in every batch of 64.
PERFECT = dict.fromkeys(("MIG", "MIG-sup", "JEMMIG", "DCIMIG", "Modularity", "SAP", "IRS"), 1.0) | {
    "DCI disentanglement": (0.98, 1.0),
    "DCI completeness": (0.98, 1.0),
    "DCI informativeness": (0.95, 1.0),
    "Explicitness": (0.97, 1.0),
    "BetaVAE score": (0.99, 1.0),
    "FactorVAE score": 1.0,
    "InfoMEC modularity": 1.0,
    "InfoMEC explicitness": (0.88, 1.0),
    "InfoMEC compactness": 1.0,
}


def _perfect_cases(factors: np.ndarray) -> Iterator[_Case]:
    levels = factors.astype(np.float64)
    yield _Case("perfect", factors, levels, KINDS, PERFECT)
    mixed = levels[:, [2, 0, 1]] * [-3.0, 0.01, 500.0] + [7.0, -2.0, 1e4]
    yield _Case("permuted, scaled and flipped latents", factors, mixed, KINDS, PERFECT)
    # Constant latents have no information: 3 of 8 are modular. No other score depends on them.
    with_dead = PERFECT | {"Modularity": 3 / 8}
    dead = np.hstack([levels, np.full((len(levels), 5), 0.3)])
    yield _Case("perfect and 5 dead latents", factors, dead, KINDS, with_dead)
    # The small range of a collapsed latent has no effect on its bins. Here it copies a factor: unless it is masked, two
    # latents encode this factor.
    collapsed = np.hstack([1e-4 * levels[:, [0, 1, 2, 0, 1]], levels])
    yield _Case("perfect and 5 collapsed latents, masked", factors, collapsed, KINDS, with_dead, np.arange(8) >= 5)
    yield _Case("perfect and 5 collapsed latents, not masked", factors, collapsed, KINDS, {"MIG": 0.0, "SAP": 0.0})
    entropy = np.log(LEVELS)
    twice = PERFECT | {
        "MIG": 0.0,
        "SAP": 0.0,
        "JEMMIG": float(np.mean(1.0 - entropy / (entropy + np.log(N_BINS)))),  # H(v, z) - I(1) + I(2) = H
        "DCI completeness": (0.60, 1.0),  # half the importance on each copy: 1 - ln 2 / ln 6 = 0.613; all on one: 1
        "InfoMEC compactness": 0.4,  # (1/2 - 1/6) / (1 - 1/6)
    }
    yield _Case("every latent twice", factors, np.hstack([levels, levels]), KINDS, twice)


def _noise_case(factors: np.ndarray, generator: np.random.Generator) -> _Case:
    n_rows, n_latents = len(factors), 8
    n_levels, entropy = np.array(LEVELS), np.log(LEVELS)
    # 2 N I is chi-squared with (levels - 1)(bins - 1) degrees of freedom, fewer where tail bins are empty.
    freedom = (n_levels - 1) * (N_BINS - 1)
    most = (freedom + 5.0 * np.sqrt(2.0 * freedom)) / (2.0 * n_rows)
    expected = {
        "MIG": (0.0, float(np.mean(most / entropy))),
        "MIG-sup": (0.0, float(np.max(most / entropy))),
        # (ln 20 - H(z) + small) / (H_k + ln 20); the range of 8,000 normals is 6.4 to 9.5 deviations, H(z) 2.16 to 2.56
        "JEMMIG": (0.085, 0.172),
        "DCIMIG": (0.0, float(most.sum() / entropy.sum())),
        # Information in the ratio 3 : 9 : 19 gives 1 - (9 + 81) / (2 * 361) = 0.875, each with about 8 % of spread
        "Modularity": (0.80, 0.95),
        "SAP": (0.0, 0.02),  # R^2 below 25 / N (5 deviations); balanced accuracy within 0.04 of 1/4
        "DCI disentanglement": (0.0, 0.1),  # shares of importance within a third of even
        "DCI completeness": (0.0, 0.1),
        # Accuracy 1/4 within 5 deviations of 1,000 rows, R^2 at most a hundredth, mean over three factors
        "DCI informativeness": (0.06, 0.115),
        "Explicitness": (0.0, 0.06),  # 2 AUC - 1 has deviations of 0.025 for 4 levels, less for more, and is cut at 0
        "IRS": (1.0 - 2.65 / 3.4, 1.0 - 2.45 / 5.0),  # 0.99 quantile of |z| 2.45 to 2.65, maximum 3.4 to 5
        # Chance is 1/3, within 5 deviations of 1,500 points and the levels' own sample variances
        "BetaVAE score": (1 / 3 - 0.08, 1 / 3 + 0.08),
        "FactorVAE score": (1 / 3 - 0.08, 1 / 3 + 0.08),
        # Corrected information is near 0 with a similar spread for every factor, and half of it is clipped to 0. The
        # largest share of 3 (or 8) rectified normals gives 0.64 (or 0.43), with standard deviations of 0.13 (0.12).
        "InfoMEC modularity": (0.1, 1.0),
        "InfoMEC explicitness": (0.0, 0.02),
        "InfoMEC compactness": (0.05, 0.95),
    }
    return _Case("noise", factors, generator.standard_normal((n_rows, n_latents)), KINDS, expected)


def _rotated_case() -> _Case:
    """Two factors of 20 levels, latents a + f and a - f: symmetric in factors and in latents, so every gap is 0."""
    factors = _grid(20, 20, repeats=20)
    codes = np.stack([factors.sum(axis=1), factors[:, 0] - factors[:, 1]], axis=1) / np.sqrt(2.0)
    two_h = 2.0 * np.log(20.0)
    gaps = ("MIG", "MIG-sup", "DCIMIG", "SAP", "InfoMEC modularity", "InfoMEC compactness")
    expected = dict.fromkeys(gaps, 0.0) | {
        # Given a, the latent takes 20 neighbouring values of 39, two at most in each of the 10 or 11 bins they reach:
        # H(z | a) lies between ln 10 and ln 11.
        "JEMMIG": (1.0 - (np.log(20.0) + np.log(11.0)) / two_h, 1.0 - (np.log(20.0) + np.log(10.0)) / two_h),
        "Modularity": 0.0,  # 1 - I^2 / (I^2 (K - 1)) with K = 2
        # Shares of importance between 0.37 and 0.63, 1/2 by symmetry: 1 - entropy below 0.05
        "DCI disentanglement": (0.0, 0.05),
        "DCI completeness": (0.0, 0.05),
        "DCI informativeness": (0.9, 1.0),  # a = (z1 + z2) / sqrt(2): a sum of steps, which trees of depth 3 fit
        "Explicitness": PERFECT["Explicitness"],  # a rotation changes neither what is linear nor the penalty
        "InfoMEC explicitness": (0.75, 1.0),
        # With a fixed the latent moves by |f - mean|, at most 9.5, of 19 at most; a tenth of the rows are that far out
        "IRS": 0.5,
        # Fixing a or f moves both latents alike: chance, within 5 standard deviations of 1,000 points
        "BetaVAE score": (0.42, 0.58),
        "FactorVAE score": 0.5,
    }
    return _Case("two factors rotated by 45 degrees", factors, codes, ("ordered", "ordered"), expected)


def _merged_case() -> _Case:
    """Factors a (4 levels) and b (5) in one latent 5 a + b (20 values), c in another, a third latent dead."""
    factors = _grid(4, 5, 20, repeats=20)
    a, b, c = factors.T
    codes = np.stack([5.0 * a + b, c, np.zeros(len(c))], axis=1)
    h_a, h_b, h_c = np.log([4.0, 5.0, 20.0])
    excess_a, excess_b = (h_c - h_a) / (h_a + h_c), (h_c - h_b) / (h_b + h_c)
    purity = 1.0 - np.log(2.0) / np.log(3.0)  # of a latent that two of three factors share evenly
    disentanglement = (2.0 * purity + 1.0) / 3.0
    expected = {
        # MIG measures whether a factor has one latent, not whether a latent has one factor: merging does not lower it
        "MIG": 1.0,
        "MIG-sup": 0.5,
        "JEMMIG": 1.0 - (excess_a + excess_b) / 3.0,  # H(a, z) = ln 20, I(1) = H_a, I(2) = 0
        "DCIMIG": (h_b - h_a + h_c) / (h_a + h_b + h_c),
        "Modularity": (1.0 - h_a**2 / (2.0 * h_b**2) + 1.0 + 0.0) / 3.0,
        # R^2 of 5 a + b: var(5 a) / (var(5 a) + var(b)) for a, the rest for b; their sum is 1, and c has 1
        "SAP": 2.0 / 3.0,
        # Each row of importance sums to 1: (1, 0), (1, 0), (0, 1), up to 0.02 as in PERFECT
        "DCI disentanglement": (disentanglement - 0.02, disentanglement + 0.02),
        "DCI completeness": (0.98, 1.0),
        "IRS": (1.0 - 2.0 / 9.5 + 1.0) / 2.0,  # with a fixed, b moves the latent by at most 2 of 9.5; c's does not move
        "BetaVAE score": (0.99, 1.0),  # |z1 - z1'| is 1.6 with a fixed, 6.25 with b fixed; c has its own latent
        # Two latents identify two factors: a (variance ratio 0.06) and c (0) always, b never
        "FactorVAE score": 2.0 / 3.0,
        "InfoMEC modularity": 0.625,  # ((1/2 + 1) / 2 - 1/3) / (1 - 1/3)
        "InfoMEC compactness": 1.0,
    }
    return _Case("one latent for two factors", factors, codes, ("ordered",) * 3, expected)


def _compare(case: str, score: str, expected: float | Interval, obtained: float) -> Check:
    low, high = expected if isinstance(expected, tuple) else (expected - ROUNDING, expected + ROUNDING)
    return Check(case, score, (low, high), obtained, bool(low <= obtained <= high + ROUNDING))


def _known_checks(case: _Case, *, seed: int) -> Iterator[Check]:
    data = {"factors": case.factors, "codes": case.codes, "factor_kinds": case.kinds, "active": case.active}
    for function in FUNCTIONS.values():
        if case.expected.keys().isdisjoint(function.rows):
            continue
        draws = "seed" in inspect.signature(function).parameters
        result = function(**data, seed=seed) if draws else function(**data)
        for row, value in zip(function.rows, result if isinstance(result, tuple) else (result,), strict=True):
            if row in case.expected:
                yield _compare(case.name, row, case.expected[row], value)


def _adjusted_checks(factors: np.ndarray, generator: np.random.Generator, *, seed: int) -> Iterator[Check]:
    """A perfect code is at its ceiling, noise at its floor.

    Noise and its permutations differ in which of 8 latents seems best: 0.01 in JEMMIG (their entropies differ by 0.06
    nats of about 5), less in the others. 0.05 is five times that.
    """
    perfect = np.hstack([factors.astype(np.float64), np.zeros((len(factors), 5))])
    noise = generator.standard_normal(perfect.shape)
    for case, codes, expected in ("perfect, adjusted", perfect, 1.0), ("noise, adjusted", noise, (-0.05, 0.05)):
        metrics = ("mig", "jemmig", "dcimig", "sap")
        report = evaluate(factors=factors, codes=codes, factor_kinds=KINDS, metrics=metrics, seed=seed)
        for row, score in report.scores.items():
            yield _compare(case, row, expected, float("nan") if score.adjusted is None else score.adjusted)


def _udr_checks(factors: np.ndarray, generator: np.random.Generator) -> Iterator[Check]:
    levels = factors.astype(np.float64)
    other = levels[:, [2, 0, 1]] * [-1.0, 3.0, 1.0]
    yield _compare("two seeds, the same latents permuted", "UDR", 1.0, udr(codes=[levels, other]))
    noise = [generator.standard_normal((len(levels), 8)) for _ in range(2)]
    # Correlations of noise are below 5 / sqrt(8,000) = 0.056, and max^2 / sum is at most max
    yield _compare("two seeds, nothing in common", "UDR", (0.0, 0.056), udr(codes=noise))


def _refusal_checks(generator: np.random.Generator) -> Iterator[Check]:
    factors = _grid(4, 5, repeats=5)
    codes = factors + 0.1 * generator.standard_normal(factors.shape)
    for function in FUNCTIONS.values():
        swapped, positional = partial(function, factors=codes, codes=factors), partial(function, factors, codes)
        yield _refusal("arguments swapped", function.title, swapped, word="swapped")
        yield _refusal("arguments by position", function.title, positional, word="positional")


def _refusal(case: str, score: str, call: Callable[[], object], word: str) -> Check:
    try:
        obtained = f"accepted: {call()}"
    except TypeError as error:
        obtained = "refused" if word in str(error) else f"TypeError: {error}"
    return Check(case, score, "refused", obtained, obtained == "refused")


def self_test(*, seed: int = 0) -> list[Check]:
    """Compute every metric on codes with known scores, in about 10 seconds.

    Parameters
    ----------
    seed : int. Random seed of the noise codes and of the metrics.

    Returns
    -------
    list of Check; `ok` is False for a wrong score.
    """
    generator = np.random.default_rng(seed)
    factors = _grid(*LEVELS, repeats=10)  # 8,000 rows
    cases = [*_perfect_cases(factors), _noise_case(factors, generator), _rotated_case(), _merged_case()]
    return [
        *(check for case in cases for check in _known_checks(case, seed=seed)),
        *_adjusted_checks(factors, generator, seed=seed),
        *_udr_checks(factors, generator),
        *_refusal_checks(generator),
    ]
