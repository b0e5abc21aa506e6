"""Ada-GVAE: its distance and its average in closed form, what equal tones share, gradients, and a solvable toy."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from models import AdaGVAE, BetaVAE
from models.objectives import average_shared, kl_per_latent, reconstruction, shared_latents, symmetric_kl

SMALL = {"input_shape": (1, 32, 8), "latent_dim": 4}


def posteriors(n: int = 6, d: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, d, generator=generator, dtype=torch.float64) for _ in range(2)]


def test_symmetric_kl_is_the_mean_of_both_directions():
    (mu, logvar), (other_mu, other_logvar) = posteriors(), posteriors(seed=1)
    one, other = Normal(mu, torch.exp(0.5 * logvar)), Normal(other_mu, torch.exp(0.5 * other_logvar))
    expected = (kl_divergence(one, other) + kl_divergence(other, one)) / 2
    found = symmetric_kl(mu, logvar, other_mu, other_logvar)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found, symmetric_kl(other_mu, other_logvar, mu, logvar), rtol=1e-14, atol=0)


def test_symmetric_kl_by_hand():
    """N(0, 1) and N(2, 1): (2^2 / 2 + 2^2 / 2) / 2 = 2. N(0, 1) and N(0, 4): (4 + 1 / 4 - 2) / 4 = 9 / 16."""
    zero, two, log_four = torch.zeros(1), torch.full((1,), 2.0), torch.full((1,), math.log(4))
    assert symmetric_kl(zero, zero, two, zero).item() == pytest.approx(2)
    assert symmetric_kl(zero, zero, zero, log_four).item() == pytest.approx(9 / 16)


def test_latents_below_the_middle_of_the_distances_are_shared():
    """Middles 5, 5, 2 and 3; one at the middle is not shared, one above the mean can be. All are shared if equal."""
    delta = torch.tensor([[0.0, 4.9, 5.0, 10.0], [0.0, 0.0, 4.0, 10.0], [1.0, 1.0, 1.0, 3.0], [3.0, 3.0, 3.0, 3.0]])
    expected = [[True, True, False, False], [True, True, True, False], [True, True, True, False], [True] * 4]
    assert shared_latents(delta).tolist() == expected


def test_the_average_has_the_mean_of_means_and_of_variances():
    """Latent 0 differs by 4, so it stays; latent 1 differs little and becomes N(1.1, (1 + 3) / 2)."""
    mu = torch.tensor([[0.0, 1.0], [4.0, 1.2]])
    logvar = torch.tensor([[0.0, 0.0], [0.0, math.log(3)]])
    new_mu, new_logvar = average_shared(mu, logvar)
    torch.testing.assert_close(new_mu, torch.tensor([[0.0, 1.1], [4.0, 1.1]]))
    torch.testing.assert_close(new_logvar, torch.tensor([[0.0, math.log(2)], [0.0, math.log(2)]]))


def test_pairs_are_row_i_and_row_b_plus_i():
    mu, logvar = posteriors(6)
    new_mu, new_logvar = average_shared(mu, logvar)
    for i in range(3):
        pair_mu, pair_logvar = average_shared(mu[[i, 3 + i]], logvar[[i, 3 + i]])
        assert torch.equal(new_mu[[i, 3 + i]], pair_mu)
        torch.testing.assert_close(new_logvar[[i, 3 + i]], pair_logvar, rtol=1e-12, atol=0)  # log rounds by array size
    assert not torch.equal(new_mu, mu)


def test_a_tone_paired_with_itself_shares_every_latent_and_is_an_ordinary_beta_vae():
    torch.manual_seed(0)
    model = AdaGVAE(**SMALL, beta=3.0)
    twin = BetaVAE(**SMALL, beta=3.0)
    twin.load_state_dict(model.state_dict())
    x = torch.rand((3, *SMALL["input_shape"]), generator=torch.Generator().manual_seed(1)).repeat(2, 1, 1, 1)
    mu, logvar = model.encode(x)
    for found, expected in zip(model.posterior(x), (mu, logvar)):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    found, expected = (one.losses(x, generator=torch.Generator().manual_seed(2)) for one in (model, twin))
    for term in expected:
        torch.testing.assert_close(found[term], expected[term], rtol=1e-6, atol=1e-6)


def test_the_loss_is_the_mean_of_both_tones_under_the_replaced_posteriors():
    torch.manual_seed(0)
    model = AdaGVAE(**SMALL, beta=3.0)
    x = 50 * torch.rand((6, *SMALL["input_shape"]), generator=torch.Generator().manual_seed(1))  # posteriors are apart
    losses = model.losses(x, generator=torch.Generator().manual_seed(2))
    mu, logvar = average_shared(*model.encode(x))
    noise = torch.randn(mu.shape, generator=torch.Generator().manual_seed(2))
    x_hat = model.decode(mu + torch.exp(0.5 * logvar) * noise)
    recon = sum(reconstruction(x[[i]], x_hat[[i]], sigma=model.sigma) for i in range(6)) / 6
    kl = kl_divergence(Normal(mu, torch.exp(0.5 * logvar)), Normal(0.0, 1.0)).sum() / 6
    assert losses["recon"].item() == pytest.approx(recon.item(), rel=1e-6)
    assert losses["kl"].item() == pytest.approx(kl.item(), rel=1e-5)
    assert kl_per_latent(*model.encode(x)).sum().item() / 6 != pytest.approx(kl.item(), rel=1e-3)
    assert losses["loss"].item() == pytest.approx((recon + 3 * kl).item(), rel=1e-6)


def test_gradients_reach_both_encodings_of_a_shared_latent_alike_and_an_own_one_alone():
    """d mean / d mu_1 = 1/2, and v = (v_1 + v_2) / 2 gives d log v / d logvar_1 = v_1 / (v_1 + v_2)."""
    mu = torch.tensor([[0.0, 1.0], [4.0, 1.2]], requires_grad=True)
    logvar = torch.tensor([[0.0, 0.0], [0.0, math.log(3)]], requires_grad=True)
    new_mu, new_logvar = average_shared(mu, logvar)
    of_mu = torch.autograd.grad(new_mu[0].sum(), mu)[0]
    of_logvar = torch.autograd.grad(new_logvar[0].sum(), logvar)[0]
    torch.testing.assert_close(of_mu, torch.tensor([[1.0, 0.5], [0.0, 0.5]]))
    torch.testing.assert_close(of_logvar, torch.tensor([[1.0, 0.25], [0.0, 0.75]]))


def test_an_odd_number_of_tones_is_refused():
    with pytest.raises(ValueError, match="x has 5 tones, expected pairs"):
        AdaGVAE(**SMALL).losses(torch.rand(5, *SMALL["input_shape"]))


# ---- a toy with a known answer ----


def linear(cls: type, *, seed: int, paired: bool) -> nn.Module:
    """Train a linear-Gaussian model on x = A s, two independent N(0, 1) sources and a rotation A by 45 degrees.

    Probabilistic PCA cannot tell the sources apart: their rotations have the same likelihood. With `paired`, the tones
    of a pair share one source, by turns the first and the second.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = cls(input_shape=(1, 2, 1), latent_dim=2, beta=1.0, sigma=0.1)
    model.encoder = nn.Sequential(nn.Flatten(), nn.Linear(2, 4))
    model.decoder = nn.Sequential(nn.Linear(2, 2), nn.Unflatten(1, (1, 2, 1)))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    rotation = torch.tensor([[1.0, 1.0], [-1.0, 1.0]]) / math.sqrt(2)
    for _ in range(800):
        sources = torch.randn(2, 128, 2, generator=generator)
        if paired:
            sources[1, :64, 0], sources[1, 64:, 1] = sources[0, :64, 0], sources[0, 64:, 1]
        loss = model.losses((sources.reshape(256, 2) @ rotation.T)[:, None, :, None], generator=generator)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return (model.encoder[1].weight[:2] @ rotation).abs()  # |d mu_j / d s_k|


def purity(response: torch.Tensor) -> float:
    """Share of each latent's response that belongs to one source: 1 if sources are apart, 0.71 at 45 degrees."""
    return (response.amax(dim=1) / response.norm(dim=1)).min().item()


def test_each_source_of_a_linear_toy_ends_in_one_latent_with_pairs_only():
    found = [linear(AdaGVAE, seed=seed, paired=True) for seed in (0, 1)]
    for response in found:
        assert purity(response) > 0.99 and set(response.argmax(dim=1).tolist()) == {0, 1}
    assert min(purity(linear(BetaVAE, seed=seed, paired=False)) for seed in (0, 1)) < 0.95
