"""The self test passes on the metrics as they are, and detects wrong ones."""

import importlib

import numpy as np
import pytest

import metrics
from metrics._mutual_information import top_two_gap

# metrics.self_test is the function of that name, here the module is needed.
module = importlib.import_module("metrics.self_test")


def test_all_ok():
    checks = metrics.self_test(seed=0)
    assert [check.cells() for check in checks if not check.ok] == []
    assert len({(check.case, check.score) for check in checks}) == len(checks)
    rows = {row for function in module.FUNCTIONS.values() for row in function.rows}
    assert {check.score for check in checks} >= rows | {"UDR"}
    assert len(checks) == 161


def divided_by_the_codes_entropy(*, factors, codes, factor_kinds=None, active=None):
    information = metrics.mutual_information(factors=factors, codes=codes, active=active)
    code_entropy = (information.joint_entropy + information.mi - information.entropy[:, None]).max(axis=1)
    return float(np.mean(top_two_gap(information.mi) / np.maximum(code_entropy, 1e-9)))


def without_the_mask(*, factors, codes, factor_kinds=None, active=None):
    return metrics.mig(factors=factors, codes=codes)


def with_factors_and_codes_swapped(*, factors, codes, factor_kinds=None, active=None):
    bins = [np.digitize(column, np.histogram(column, 20)[1][1:-1]) for column in codes.T if np.ptp(column)]
    return metrics.mig(factors=np.stack(bins, axis=1), codes=np.asarray(factors, dtype=float))


def always_one(**_):
    return 1.0


def replace_mig(wrong, monkeypatch):
    wrong.title, wrong.rows = "MIG", ("MIG",)
    monkeypatch.setattr(module, "FUNCTIONS", {"mig": wrong})


@pytest.mark.parametrize(
    ("wrong", "case"),
    [
        (divided_by_the_codes_entropy, "one latent for two factors"),
        (without_the_mask, "perfect and 5 collapsed latents, masked"),
        (with_factors_and_codes_swapped, "every latent twice"),
        (always_one, "noise"),
    ],
)
def test_wrong_scores_are_detected(wrong, case, monkeypatch):
    replace_mig(wrong, monkeypatch)
    failed = {check.case for check in metrics.self_test() if not check.ok}
    assert case in failed


def test_accepting_swapped_arguments_is_detected(monkeypatch):
    replace_mig(always_one, monkeypatch)
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
