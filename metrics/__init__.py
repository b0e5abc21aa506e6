"""Disentanglement metrics of plain arrays: factors (N, K) int and codes (N, D) float.

    from metrics import evaluate, mig  # in this repository; after `pip install .`: from syntone_metrics import ...
    mig(factors=factors, codes=codes, factor_bins=20)
    report = evaluate(factors=factors, codes=codes, factor_kinds=["nominal", "ordered", "ordered"])

All arguments are keyword-only, because swapping factors and codes changes every score. In every metric, larger is
better. Information is in nats.
"""

from ._beta_vae import beta_vae_score
from ._dci import DCI, dci, dci_completeness, dci_disentanglement
from ._evaluate import METRICS, Report, Score, defined_metrics, evaluate
from ._explicitness import explicitness
from ._factor_vae import factor_vae_score
from ._infomec import InfoMEC, infomec
from ._irs import irs
from ._mig import dcimig, jemmig, mig, mig_sup
from ._modularity import modularity
from ._mutual_information import Information, mutual_information
from ._sap import sap
from ._udr import udr, udr_per_model
from ._validation import ACTIVE_SHARE, active_latents
from .self_test import Check, self_test

__all__ = ["beta_vae_score", "dci", "dcimig", "explicitness", "factor_vae_score", "infomec", "irs", "jemmig", "mig"]
__all__ += ["mig_sup", "modularity", "sap", "udr", "udr_per_model"]
__all__ += ["active_latents", "dci_completeness", "dci_disentanglement", "defined_metrics", "evaluate"]
__all__ += ["mutual_information", "self_test"]
__all__ += ["ACTIVE_SHARE", "DCI", "METRICS", "Check", "InfoMEC", "Information", "Report", "Score"]
