"""Metrics of disentangled representations, each of plain arrays: factors (N, K) int and codes (N, D) float.

    from metrics import evaluate, mig
    mig(factors=factors, codes=codes, factor_bins=20)
    report = evaluate(factors=factors, codes=codes, factor_kinds=["nominal", "ordered", "ordered"])

All arguments are keyword-only: swapping factors and codes changes every score. Larger is better everywhere.
"""

from metrics.estimation import Information, mutual_information
from metrics.information import InfoMEC, dcimig, infomec, jemmig, mig, mig_sup, modularity
from metrics.intervention import beta_vae_score, factor_vae_score, irs, udr, udr_per_model
from metrics.prediction import DCI, dci, dci_completeness, dci_disentanglement, explicitness, sap
from metrics.report import METRICS, Report, Score, defined_metrics, evaluate
from metrics.self_test import Check, self_test

__all__ = [
    "DCI",
    "METRICS",
    "Check",
    "InfoMEC",
    "Information",
    "Report",
    "Score",
    "beta_vae_score",
    "dci",
    "dci_completeness",
    "dci_disentanglement",
    "dcimig",
    "defined_metrics",
    "evaluate",
    "explicitness",
    "factor_vae_score",
    "infomec",
    "irs",
    "jemmig",
    "mig",
    "mig_sup",
    "modularity",
    "mutual_information",
    "sap",
    "self_test",
    "udr",
    "udr_per_model",
]
