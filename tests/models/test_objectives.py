"""The objectives' terms against golden values, closed forms and identities. Symbols as in models/objectives.py."""

import json
import math
from pathlib import Path

import pytest
import torch

from models import objectives
from models.objectives import (
    LOGVAR_RANGE,
    bounded_logvar,
    importance_log_weights,
    kl_decomposition,
    kl_per_latent,
    permute_dims,
)

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "kl_decomposition.json").read_text())


def drawn(seed: int, n_batch: int = 16, n_latents: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mu, logvar, noise = (torch.randn(n_batch, n_latents, generator=generator, dtype=torch.float64) for _ in range(3))
    logvar = 0.5 * logvar - 1
    return mu + torch.exp(0.5 * logvar) * noise, mu, logvar


@pytest.mark.parametrize("case", range(len(GOLDEN)))
def test_kl_decomposition_agrees_with_golden(case):
    given = GOLDEN[case]
    z, mu, logvar = (torch.tensor(given[key], dtype=torch.float64) for key in ("z", "mu", "logvar"))
    for estimator in ("mss", "mws"):
        found = kl_decomposition(z, mu, logvar, n_data=given["n_data"], estimator=estimator)
        assert [float(term) for term in found] == pytest.approx(given[estimator], abs=1e-9)
        assert all(term.dtype == torch.float64 and term.shape == () for term in found)


@pytest.mark.parametrize("estimator", ["mss", "mws"])
def test_terms_add_up_to_the_log_ratio_of_posterior_and_prior(estimator):
    z, mu, logvar = drawn(0)
    normal = torch.distributions.Normal
    ratio = normal(mu, torch.exp(0.5 * logvar)).log_prob(z) - normal(0.0, 1.0).log_prob(z)
    found = kl_decomposition(z, mu, logvar, n_data=500, estimator=estimator)
    assert float(sum(found)) == pytest.approx(float(ratio.sum(dim=1).mean()), abs=1e-12)


@pytest.mark.parametrize("n_batch, n_data", [(2, 2), (2, 100), (64, 64), (64, 3200)])
def test_mss_weights(n_batch, n_data):
    """Chen et al. 2018, appendix C.2: rows sum to 1, 1 / N on the diagonal."""
    like = torch.zeros((), dtype=torch.float64)
    weights = importance_log_weights(n_batch, n_data, estimator="mss", like=like).exp()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(n_batch, dtype=torch.float64))
    torch.testing.assert_close(weights.diagonal(), torch.full((n_batch,), 1 / n_data, dtype=torch.float64))
    m = n_batch - 1
    beside = weights[torch.arange(n_batch), (torch.arange(n_batch) + 1) % n_batch]
    torch.testing.assert_close(beside, torch.full((n_batch,), (n_data - m) / (n_data * m), dtype=torch.float64))


def test_mss_over_the_whole_dataset_is_the_exact_aggregate_but_for_one_weight():
    """With B = N every other tone weighs 1 / (N - 1), the next one 1 / (N (N - 1)): by hand for N = 2."""
    z = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    mu, logvar = torch.tensor([[0.0], [2.0]], dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64)

    def density(value, mean):
        return math.exp(-0.5 * (value - mean) ** 2) / math.sqrt(2 * math.pi)

    aggregate = [0.5 * density(0, 0) + 0.5 * density(0, 2), 0.5 * density(1, 2) + 0.5 * density(1, 0)]
    mi, tc, dwkl = kl_decomposition(z, mu, logvar, n_data=2)
    own = [density(0, 0), density(1, 2)]
    assert float(mi) == pytest.approx(sum(math.log(o / a) for o, a in zip(own, aggregate)) / 2, abs=1e-12)
    assert float(tc) == pytest.approx(0.0, abs=1e-12)  # one latent has no total correlation
    prior = [density(0, 0), density(1, 0)]
    assert float(dwkl) == pytest.approx(sum(math.log(a / p) for a, p in zip(aggregate, prior)) / 2, abs=1e-12)


def test_total_correlation_of_independent_latents_is_near_zero_with_mss():
    """q(z | x) = N(mu, 0.25) with mu independent across latents, D 8, B 64, N 3200: the truth is 0. SCIENCE: mss -0.4,
    mws +58; weights in the wrong column or counted D times give -27."""
    generator = torch.Generator().manual_seed(0)
    terms = {"mss": [], "mws": []}
    for _ in range(50):
        mu = math.sqrt(0.75) * torch.randn(64, 8, generator=generator, dtype=torch.float64)
        logvar = torch.full_like(mu, 2 * math.log(0.5))
        z = mu + 0.5 * torch.randn(64, 8, generator=generator, dtype=torch.float64)
        for estimator, found in terms.items():
            found.append(float(kl_decomposition(z, mu, logvar, n_data=3200, estimator=estimator)[1]))
    mss, mws = (sum(found) / 50 for found in terms.values())
    assert -1.5 < mss < 0.5
    # mws adds (D - 1) ln N per tone; against mss, (D - 1)(ln N + ln B - ln M) to the same densities
    assert mws - mss == pytest.approx(7 * math.log(3200), abs=3.0)


@pytest.mark.parametrize(
    "batch, n_data, estimator, pattern",
    [
        (1, 10, "mss", "mss needs 2 <= batch <= n_data, got a batch of 1 out of n_data 10"),
        (12, 10, "mss", "batch of 12 out of n_data 10"),
        (4, 10, "exact", "estimator is 'exact', expected 'mss' or 'mws'"),
    ],
)
def test_estimator_refuses_what_it_is_not_defined_for(batch, n_data, estimator, pattern):
    with pytest.raises(ValueError, match=pattern):
        kl_decomposition(*drawn(0, n_batch=batch), n_data=n_data, estimator=estimator)


def test_gaussian_kl_closed_form():
    mu, logvar = torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([[0.0, 0.0, math.log(4.0)]])
    expected = [[0.0, 0.5, 0.5 * (4 - 1 - math.log(4))]]
    torch.testing.assert_close(kl_per_latent(mu, logvar), torch.tensor(expected))
    z, mu, logvar = drawn(1)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mu, torch.exp(0.5 * logvar)), normal(torch.zeros_like(mu), 1.0))
    torch.testing.assert_close(kl_per_latent(mu, logvar), expected)


def test_reconstruction_sums_pixels_and_averages_tones():
    x, x_hat = torch.zeros(5, 1, 4, 3), torch.full((5, 1, 4, 3), 0.2)
    assert float(objectives.reconstruction(x, x_hat, sigma=0.1)) == pytest.approx(0.5 * 12 * 0.04 / 0.01)
    half = 1 / math.sqrt(2)  # the published setting: the plain sum of squares
    assert float(objectives.reconstruction(x, x_hat, sigma=half)) == pytest.approx(12 * 0.04)


def test_permute_dims_moves_each_latent_on_its_own():
    z = torch.arange(200.0).reshape(50, 4)
    permuted = permute_dims(z, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(permuted.sort(dim=0).values, z)  # each column keeps its values
    rows = (permuted - torch.arange(4.0)) / 4
    assert (rows.std(dim=1) > 0).float().mean() > 0.9  # columns no longer come from one tone


def test_discriminator_loss_of_guessing_is_ln_2_and_of_knowing_is_0():
    guess, first, second = torch.zeros(6, 2), torch.tensor([[30.0, -30.0]] * 6), torch.tensor([[-30.0, 30.0]] * 6)
    assert float(objectives.discriminator_loss(guess, guess)) == pytest.approx(math.log(2))
    assert float(objectives.discriminator_loss(first, second)) == pytest.approx(0.0, abs=1e-6)
    assert float(objectives.discriminator_loss(second, first)) == pytest.approx(60.0, rel=1e-6)


def test_density_ratio_recovers_a_known_total_correlation():
    """The optimal discriminator's logits are log q(z) and log prod q(z_j): for a correlated Gaussian pair TC is
    -0.5 ln(1 - rho^2) (Cover and Thomas 2006, Eq. 8.56)."""
    rho, generator = 0.8, torch.Generator().manual_seed(0)
    covariance = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=torch.float64)
    noise = torch.randn(200_000, 2, generator=generator, dtype=torch.float64)
    z = noise @ torch.linalg.cholesky(covariance).T
    joint = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=torch.float64), covariance).log_prob(z)
    product = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(dim=1)
    found = float(objectives.density_ratio(torch.stack([joint, product], dim=1)))
    assert found == pytest.approx(-0.5 * math.log(1 - rho**2), abs=0.01)  # 200,000 draws of standard deviation 0.8


def test_aggregate_covariance_is_that_of_many_draws():
    """By hand for two tones: Cov of the means is [[2, -2], [-2, 2]] (unbiased), the noise adds its mean variances."""
    mu = torch.tensor([[0.0, 3.0], [2.0, 1.0]], dtype=torch.float64)
    logvar = torch.tensor([[0.5, 1.0], [1.5, 3.0]], dtype=torch.float64).log()
    found = objectives.aggregate_covariance(mu, logvar)
    torch.testing.assert_close(found, torch.tensor([[3.0, -2.0], [-2.0, 4.0]], dtype=torch.float64))
    _, mu, logvar = drawn(5, n_batch=4000)
    noise = torch.randn(4000, 4, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    draws = mu + torch.exp(0.5 * logvar) * noise
    torch.testing.assert_close(
        objectives.aggregate_covariance(mu, logvar), torch.cov(draws.T), atol=0.12, rtol=0
    )  # 4 deviations


def test_aggregate_covariance_does_not_depend_on_the_batch_on_average():
    """The mean over batches of 4 is that of all tones: a covariance divided by the batch's size would be 3/4 of it."""
    generator = torch.Generator().manual_seed(7)
    mu = torch.randn(40_000, 2, generator=generator, dtype=torch.float64)
    quiet = torch.full((4, 2), -30.0, dtype=torch.float64)
    mean = torch.stack([objectives.aggregate_covariance(batch, quiet) for batch in mu.split(4)]).mean(dim=0)
    torch.testing.assert_close(
        mean, torch.eye(2, dtype=torch.float64), atol=0.03, rtol=0
    )  # 10,000 batches of deviation 0.8


def test_covariance_penalties_by_hand():
    covariance = torch.tensor([[3.0, -2.0, 0.5], [-2.0, 1.0, 0.0], [0.5, 0.0, 0.5]], dtype=torch.float64)
    off_diagonal, diagonal = objectives.covariance_penalties(covariance)
    assert float(off_diagonal) == 8.5  # both triangles: 2 (4 + 0.25 + 0)
    assert float(diagonal) == 4.25  # 2 squared and 0.5 squared
    assert [float(term) for term in objectives.covariance_penalties(torch.eye(3))] == [0.0, 0.0]


def test_covariance_is_no_less_precise_under_autocast():
    """float32 has 24 bits, bfloat16 would leave 8: an error of 1e-3."""
    _, mu, logvar = drawn(8)
    exact = objectives.aggregate_covariance(mu, logvar)
    for autocast in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            found = objectives.aggregate_covariance(mu.float(), logvar.float())
        torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-6)


# ---- the bound on logvar ----


def test_ordinary_log_variances_are_unchanged_to_the_bit():
    logvar = torch.cat([torch.linspace(*LOGVAR_RANGE, 100_001), torch.tensor([-0.1, 1e-30, 0.0])])
    assert torch.equal(bounded_logvar(logvar), logvar)


def test_log_variances_beyond_the_range_are_held_and_pulled_back():
    logvar = torch.tensor([-1e4, -31.0, 21.0, 1e4], requires_grad=True)
    held = bounded_logvar(logvar)
    assert torch.allclose(held, torch.tensor([-30.0, -30.0, 20.0, 20.0]))
    assert torch.isfinite(held.exp()).all() and torch.isfinite((-held).exp()).all()
    kl_per_latent(torch.zeros(4), held).sum().backward()
    assert (logvar.grad[:2] < 0).all() and (logvar.grad[2:] > 0).all() and torch.isfinite(logvar.grad).all()


def test_an_overflow_is_not_hidden_by_the_bound():
    assert torch.isnan(bounded_logvar(torch.tensor([math.inf, -math.inf, math.nan]))).all()
