"""UDR: agreement of the latents of models with different training seeds. Needs no factors."""

from collections.abc import Sequence

import numpy as np

from ._validation import check_codes

SIMILARITIES = ("spearman", "lasso")
LASSO_PENALTY = 0.1


def _similarity(codes_a: np.ndarray, codes_b: np.ndarray, similarity: str) -> np.ndarray:
    """(D_a, D_b) at least 0: rank correlation, or the weights of a sparse linear fit of a from b."""
    if similarity == "spearman":
        return np.abs(codes_a.T @ codes_b) / len(codes_a)
    from sklearn.linear_model import Lasso

    # Without a seed, scikit-learn draws from the global generator, although cyclic descent is not random.
    lasso = Lasso(alpha=LASSO_PENALTY, precompute=True, random_state=0)
    weights = [lasso.fit(codes_b, target).coef_.copy() for target in codes_a.T]
    return np.abs(np.stack(weights))


def relative_strength(similarity: np.ndarray) -> float:
    """Agreement of two models from the (D_a, D_b) similarity of their active latents; 0 if either has none."""
    if not similarity.size:
        return 0.0
    total = 0.0
    for matrix in (similarity, similarity.T):
        weight = matrix.sum(axis=0)
        total += np.sum(matrix.max(axis=0) ** 2 / np.where(weight > 0.0, weight, 1.0))
    return float(min(total / sum(similarity.shape), 1.0))


def udr_per_model(
    *, codes: Sequence[np.ndarray], active: Sequence[np.ndarray] | None = None, similarity: str = "spearman"
) -> np.ndarray:
    """Unsupervised disentanglement ranking of every model; parameters and errors are those of `udr`.

    Returns
    -------
    (M,) float in [0, 1], for each model the median of its agreement with the others.
    """
    from scipy.stats import rankdata

    if similarity not in SIMILARITIES:
        raise ValueError(f"similarity: expected one of {SIMILARITIES}, found {similarity!r}")
    one_array = hasattr(codes, "shape")
    codes = [] if one_array else list(codes)
    if len(codes) < 2:
        found = "one array" if one_array else len(codes)
        raise ValueError(f"codes: expected a list of at least 2 arrays (N, D), one per trained model, found {found}")
    active = [None] * len(codes) if active is None else list(active)
    if len(active) != len(codes):
        raise ValueError(f"active: expected {len(codes)} masks, one per model, found {len(active)}")
    prepared = []
    for model, (table, mask) in enumerate(zip(codes, active, strict=True)):
        table, mask, *_ = check_codes(table, mask)
        n_rows = len(prepared[0]) if prepared else len(table)
        if len(table) < 2 or len(table) != n_rows:
            raise ValueError(
                f"codes: expected the same 2 or more rows for every model, found {len(table)} for model "
                f"{model} and {n_rows} for model 0; encode the same samples with each"
            )
        table = table[:, mask]
        if similarity == "spearman":
            table = rankdata(table, axis=0)
        table = table - table.mean(axis=0)
        prepared.append(table / table.std(axis=0))
    pairs = [[relative_strength(_similarity(a, b, similarity)) for b in prepared if b is not a] for a in prepared]
    return np.median(pairs, axis=1)


def udr(
    *, codes: Sequence[np.ndarray], active: Sequence[np.ndarray] | None = None, similarity: str = "spearman"
) -> float:
    """Unsupervised disentanglement ranking: do models with different training seeds find the same latents?

    Parameters
    ----------
    codes : M >= 2 arrays (N, D_m), the same N samples encoded by each model.
    active : M masks (D_m,) bool; default every latent that is not constant. Inactive latents are left out.
    similarity : "spearman" (rank correlation) or "lasso" (weights of a sparse linear fit, regularizer 0.1).

    Returns
    -------
    float in [0, 1], mean over models of `udr_per_model`.

    Raises
    ------
    TypeError, ValueError
        For fewer than two models, rows that differ, NaN or infinite codes, an unknown similarity.

    Notes
    -----
    Duan et al. 2020, "Unsupervised Model Selection for Variational Disentangled Representation Learning", who define
    both similarities R_ab. With the lasso, R_ab are the weights that predict the latents of a from those of b. The
    score of a pair of models is the mean of max R^2 / sum R over their active latents; the score of a model is the
    median over its pairs. Spearman is the default: it has no hyperparameter, is invariant to monotone maps of a latent,
    and scores 1 for permuted latents, where the lasso scores 0.9.
    """
    return float(udr_per_model(codes=codes, active=active, similarity=similarity).mean())
