"""The terms of the objectives, as pure functions.

All but covariances are in nats per tone: sums over pixels or latents, means over the batch.

Symbols: x, x_hat (B, 1, M, L); mu, logvar, z (B, D); N tones in the training set, n_data.
"""

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

LOGVAR_RANGE = (-30.0, 20.0)


def bounded_logvar(logvar: Tensor) -> Tensor:
    """The log variance, limited to [-30, 20], so that its exponential and the inverse do not overflow.

    Within the range it is unchanged to the bit; a standard deviation below exp(-15) = 3e-7 is about the spacing of
    float32 at 1. The gradient passes as if there were no bound: that of a clamp is zero beyond it, where a latent would
    be stuck, while here the KL pulls it back. Infinity becomes NaN, so that an overflow is detected.
    """
    return logvar + (logvar.clamp(*LOGVAR_RANGE) - logvar).detach()


def reconstruction(x: Tensor, x_hat: Tensor, *, sigma: float) -> Tensor:
    """0.5 sum (x - x_hat)^2 / sigma^2: the negative Gaussian log-likelihood less its constant."""
    return 0.5 / sigma**2 * (x - x_hat).square().sum() / len(x)


def kl_per_latent(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(q(z_j | x) || N(0, 1)) for every tone and latent: (B, D), at least 0 (Kingma and Welling 2014, appendix B)."""
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar)


def symmetric_kl(mu: Tensor, logvar: Tensor, other_mu: Tensor, other_logvar: Tensor) -> Tensor:
    """(KL(q || p) + KL(p || q)) / 2 of two Gaussians, elementwise: equal shapes in, the same shape out, at least 0."""
    of_variances = 4 * torch.sinh(0.5 * (logvar - other_logvar)).square()  # v / w + w / v - 2, without cancellation
    return 0.25 * (of_variances + (mu - other_mu).square() * (torch.exp(-logvar) + torch.exp(-other_logvar)))


def shared_latents(delta: Tensor) -> Tensor:
    """Which latents the two elements of a pair share, by the distances of their posteriors: (B, D) -> bool (B, D).

    Those below the middle between the largest and the smallest distance of the pair, or all if all are equal
    (Locatello et al. 2020, whose distance is the KL divergence in one direction).
    """
    largest, smallest = delta.amax(dim=1, keepdim=True), delta.amin(dim=1, keepdim=True)
    return (delta < (largest + smallest) / 2) | (largest == smallest)


def average_shared(mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    """Replace the posteriors of the latents that two elements share by their average (Ada-GVAE, Locatello et al. 2020).

    The average has the mean of the means and the mean of the variances. Which latents are shared is decided without
    gradient.

    Parameters
    ----------
    mu, logvar : (2 B, D)
        Row i and row B + i are a pair.

    Returns
    -------
    mu, logvar : (2 B, D)
    """
    (mu_1, mu_2), (logvar_1, logvar_2) = mu.chunk(2), logvar.chunk(2)
    with torch.no_grad():
        shared = shared_latents(symmetric_kl(mu_1, logvar_1, mu_2, logvar_2)).repeat(2, 1)
    mean = (0.5 * (mu_1 + mu_2)).repeat(2, 1)
    log_mean_variance = (torch.logaddexp(logvar_1, logvar_2) - math.log(2)).repeat(2, 1)
    return torch.where(shared, mean, mu), torch.where(shared, log_mean_variance, logvar)


def gaussian_log_density(z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """log N(z; mu, exp(logvar)), elementwise with broadcasting."""
    return -0.5 * (math.log(2 * math.pi) + logvar + (z - mu).square() * torch.exp(-logvar))


def importance_log_weights(n_batch: int, n_data: int, *, estimator: str, like: Tensor) -> Tensor:
    """Log of the weight of q(z_i | x_j) in the estimate of q(z_i), (B, B) or a scalar for `mws`.

    `mss`: stratified sampling (Chen et al. 2018, appendix C.2; their M + 1 is our B). A row sums to 1: the tone's own
    posterior is known to be one of N, one other stands for the N - M that are not in the batch, the rest count 1 / M.
    `mws`: weighted sampling (their Eq. 4), 1 / (N B) throughout.
    """
    if estimator == "mws":
        return torch.full((), -math.log(n_data * n_batch), dtype=like.dtype, device=like.device)
    if estimator != "mss":
        raise ValueError(f"estimator is {estimator!r}, expected 'mss' or 'mws'")
    if n_batch < 2 or n_data < n_batch:
        raise ValueError(f"mss needs 2 <= batch <= n_data, got a batch of {n_batch} out of n_data {n_data}")
    return _stratified_log_weights(n_batch, n_data, like.dtype, like.device)


@functools.lru_cache(maxsize=16)
def _stratified_log_weights(n_batch: int, n_data: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    m = n_batch - 1
    rows = torch.arange(n_batch, device=device)
    weights = torch.full((n_batch, n_batch), 1 / m, dtype=dtype, device=device)
    weights[rows, (rows + 1) % n_batch] = (n_data - m) / (n_data * m)
    weights[rows, rows] = 1 / n_data
    return weights.log()


def kl_decomposition(
    z: Tensor, mu: Tensor, logvar: Tensor, *, n_data: int, estimator: str = "mss"
) -> tuple[Tensor, Tensor, Tensor]:
    """Minibatch estimates of index-code mutual information, total correlation and dimension-wise KL.

    Parameters
    ----------
    z : (B, D), drawn from the posterior of the same rows
    mu, logvar : (B, D)
    n_data : int
        Tones in the training set, at least B.
    estimator : "mss" or "mws"
        See `importance_log_weights`.

    Returns
    -------
    mi, tc, dwkl : scalars in the input's dtype, batch means, nats
        Their sum is the mean of log q(z | x) - log p(z), whatever the estimator (Chen et al. 2018, Eq. 2). The
        estimate of tc can be below 0.
    """
    log_q_zx = gaussian_log_density(z, mu, logvar).sum(dim=1)
    log_p_z = gaussian_log_density(z, torch.zeros_like(z), torch.zeros_like(z)).sum(dim=1)
    pairs = gaussian_log_density(z[:, None], mu[None], logvar[None])  # (B, B, D): z of row i under the posterior of j
    weights = importance_log_weights(len(z), n_data, estimator=estimator, like=z)
    log_q_z = torch.logsumexp(weights + pairs.sum(dim=2), dim=1)
    log_q_zj = torch.logsumexp(weights[..., None] + pairs, dim=1).sum(dim=1)  # weights once in each marginal
    return (log_q_zx - log_q_z).mean(), (log_q_z - log_q_zj).mean(), (log_q_zj - log_p_z).mean()


def permute_dims(z: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Each latent permuted across the batch on its own: a sample of the product of marginals (Kim and Mnih 2018,
    Algorithm 1). (B, D) -> (B, D)."""
    order = torch.rand(z.shape, generator=generator, device=z.device).argsort(dim=0)
    return z.gather(0, order)


def density_ratio(logits: Tensor) -> Tensor:
    """Total correlation estimated by a discriminator: mean log D(z) / (1 - D(z)) from its logits (B, 2) on z."""
    return (logits[:, 0] - logits[:, 1]).mean()


def discriminator_loss(logits_joint: Tensor, logits_permuted: Tensor) -> Tensor:
    """Cross-entropy of the discriminator for z (class 0) and permuted z (class 1), mean of both; chance is ln 2."""
    return -0.5 * (F.log_softmax(logits_joint, dim=1)[:, 0].mean() + F.log_softmax(logits_permuted, dim=1)[:, 1].mean())


def aggregate_covariance(mu: Tensor, logvar: Tensor) -> Tensor:
    """Covariance of z over tones and noise, (D, D): that of the means plus the mean of the variances.

    Kumar et al. 2018, Eq. 5. The former is the unbiased estimate from the batch, of at least 2 tones.
    """
    centred = mu - mu.mean(dim=0)
    with torch.autocast(mu.device.type, enabled=False):  # a term of the loss: not in bfloat16
        of_means = centred.T @ centred / (len(mu) - 1)
    return of_means + torch.diag_embed(logvar.exp().mean(dim=0))


def covariance_penalties(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Distance of a covariance (D, D) from the identity (Kumar et al. 2018, Eq. 7).

    The sum of the squares off the diagonal, and the sum of the squared differences from 1 on it.
    """
    variances = torch.diagonal(covariance)
    off_diagonal = covariance - torch.diag_embed(variances)
    return off_diagonal.square().sum(), (variances - 1).square().sum()
