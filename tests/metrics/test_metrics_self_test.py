"""The self test passes on the scores as they are, and catches wrong ones."""

import importlib

import numpy as np
import pytest

import metrics
from metrics.estimation import check_inputs, top_two_gap

# metrics.self_test is the function of that name, here the module is needed.
module = importlib.import_module("metrics.self_test")


def test_all_ok():
    checks = metrics.self_test(seed=0)
    assert [check.cells() for check in checks if not check.ok] == []
    assert len({(check.case, check.score) for check in checks}) == len(checks)
    rows = {row for _, rows, _ in module.FUNCTIONS.values() for row in rows}
    assert {check.score for check in checks} >= rows | {"UDR"}
    assert tuple(module.FUNCTIONS) == metrics.METRICS


def test_rows_are_those_of_a_report():
    factors = np.indices((2, 3)).reshape(2, -1).T.repeat(5, axis=0)
    report = metrics.evaluate(factors=factors, codes=factors.astype(float), n_floor_draws=1)
    assert list(report.scores) == [row for _, rows, _ in module.FUNCTIONS.values() for row in rows]


def divided_by_the_codes_entropy(*, factors, codes, factor_kinds=None, active=None):
    information = check_inputs("mig", factors=factors, codes=codes, active=active).information
    code_entropy = (information.joint_entropy + information.mi - information.entropy[:, None]).max(axis=1)
    return float(np.mean(top_two_gap(information.mi) / np.maximum(code_entropy, 1e-9)))


def without_the_mask(*, factors, codes, factor_kinds=None, active=None):
    return metrics.mig(factors=factors, codes=codes)


def with_factors_and_codes_swapped(*, factors, codes, factor_kinds=None, active=None):
    bins = [np.digitize(column, np.histogram(column, 20)[1][1:-1]) for column in codes.T if np.ptp(column)]
    return metrics.mig(factors=np.stack(bins, axis=1), codes=np.asarray(factors, dtype=float))


def always_one(**_):
    return 1.0


@pytest.mark.parametrize(
    ("wrong", "case"),
    [
        (divided_by_the_codes_entropy, "one latent for two factors"),
        (without_the_mask, "perfect and 5 collapsed latents, masked"),
        (with_factors_and_codes_swapped, "every latent twice"),
        (always_one, "noise"),
    ],
)
def test_wrong_scores_are_caught(wrong, case, monkeypatch):
    monkeypatch.setattr(module, "FUNCTIONS", {"mig": (wrong, ("MIG",), False)})
    failed = {check.case for check in metrics.self_test() if not check.ok}
    assert case in failed


def test_a_score_that_accepts_swapped_arguments_is_caught(monkeypatch):
    monkeypatch.setattr(module, "FUNCTIONS", {"mig": (always_one, ("MIG",), False)})
    obtained = {check.case: check for check in metrics.self_test()}
    swapped = obtained["arguments swapped"]
    assert (swapped.ok, swapped.obtained) == (False, "accepted: 1.0")
    assert swapped.cells() == ("arguments swapped", "MIG", "refused", "accepted: 1.0", "WRONG")


def test_cells():
    assert module.Check("noise", "MIG", (0.0, 0.0075), 0.0004, True).cells() == (
        "noise",
        "MIG",
        "[0.0000, 0.0075]",
        "0.0004",
        "ok",
    )
    assert module.Check("perfect", "MIG", (1 - 1e-9, 1 + 1e-9), 0.9, False).cells() == (
        "perfect",
        "MIG",
        "1.0000",
        "0.9000",
        "WRONG",
    )
