"""Agreement with values that independent public implementations gave for the same codes.

golden/codes.npz: levels of 4 timbres, 10 amplitudes and 100 frequencies, and seven codes of them. golden/scores.json:
their scores with levels as classes and with the frequency binned to 20. golden/dci_matrices.json: latents by factors.
"""

import json
from pathlib import Path

import numpy as np
import pytest

import metrics

GOLDEN = Path(__file__).parents[1] / "golden"
SCORES = json.loads((GOLDEN / "scores.json").read_text())
MATRICES = json.loads((GOLDEN / "dci_matrices.json").read_text())
FACTOR_BINS = {"classes": None, "factor_bins_20": 20}
EXACT = 1e-9  # both sides sum the same histograms in double precision, in another order


@pytest.fixture(scope="module")
def arrays():
    with np.load(GOLDEN / "codes.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.mark.parametrize("setting", FACTOR_BINS)
@pytest.mark.parametrize("case", SCORES)
def test_information_scores_agree(case, setting, arrays):
    expected = SCORES[case][setting]
    data = {"factors": arrays[f"{case}_factors"], "codes": arrays[f"{case}_codes"], "factor_bins": FACTOR_BINS[setting]}

    information = metrics.mutual_information(**data)
    np.testing.assert_allclose(information.mi, expected["mi_nats"], rtol=0, atol=EXACT)
    np.testing.assert_allclose(information.entropy, expected["h_nats"], rtol=0, atol=EXACT)
    for name in ("mig", "jemmig", "dcimig", "modularity"):
        assert getattr(metrics, name)(**data) == pytest.approx(expected[name], rel=0, abs=EXACT), name


@pytest.mark.parametrize("setting", ["factor_bins_20"])
@pytest.mark.parametrize("case", SCORES)
def test_report_rows_agree(case, setting, arrays):
    """evaluate bins as `factor_bins_20` does, and its per-factor values are the published ones."""
    report = metrics.evaluate(
        factors=arrays[f"{case}_factors"],
        codes=arrays[f"{case}_codes"],
        n_floor_draws=1,
        metrics=["mig", "jemmig", "dcimig", "modularity"],
    )
    expected = SCORES[case][setting]
    for row in ("MIG", "JEMMIG", "DCIMIG", "Modularity"):
        assert report.scores[row].value == pytest.approx(expected[row.lower()], rel=0, abs=EXACT), row
    np.testing.assert_allclose(
        list(report.scores["MIG"].per_factor.values()), expected["mig_per_factor"], rtol=0, atol=EXACT
    )


@pytest.mark.parametrize("case", SCORES)
def test_sap_agrees(case, arrays):
    """1e-6: the published covariance divides by N - 1 or N, and adds a small constant to the variance."""
    obtained = metrics.sap(factors=arrays[f"{case}_factors"], codes=arrays[f"{case}_codes"])
    assert obtained == pytest.approx(SCORES[case]["sap_r2"], rel=0, abs=1e-6)


@pytest.mark.parametrize("case", MATRICES)
def test_dci_agrees(case):
    """1e-9: the published entropies add 1e-11 to every importance."""
    importance = np.array(case["R_latents_by_factors"]).T
    assert metrics.dci_disentanglement(importance) == pytest.approx(case["disentanglement"], rel=0, abs=1e-9)
    assert metrics.dci_completeness(importance) == pytest.approx(case["completeness"], rel=0, abs=1e-9)
