"""The models: shapes at every mel size, objectives as weighted sums of their terms, and who moves whom."""

import math

import pytest
import torch

from models import BTCVAE, MODELS, AdaGVAE, BetaVAE, FactorVAE, build_model
from models.objectives import kl_decomposition
from syntone.features.front_end import FrontEnd

SMALL = {"input_shape": (1, 32, 8), "latent_dim": 4}
NEEDED = {"BTCVAE": {"n_data": 100}}


def small(name: str, **config) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_model(name, **SMALL | NEEDED.get(name, {}) | config)


def tones(n: int = 6) -> torch.Tensor:
    return torch.rand((n, *SMALL["input_shape"]), generator=torch.Generator().manual_seed(1))


def losses_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return model.losses(tones(), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("sample_rate, duration", [(8000, 0.5), (16000, 1.0), (22050, 1.0), (44100, 2.0)])
def test_networks_fit_every_mel_size(sample_rate, duration):
    shape = FrontEnd("logmel", sample_rate=sample_rate, n_samples=round(sample_rate * duration)).shape
    model = build_model("VAE", input_shape=shape)
    x = torch.rand(3, *shape)
    mu, logvar = model.encode(x)
    assert mu.shape == logvar.shape == (3, 8)
    assert model.decode(mu).shape == x.shape
    assert math.isfinite(model.losses(x)["loss"].item())


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 17, 3), (1, 128, 33)])
def test_networks_fit_odd_sizes(shape):
    x = torch.rand(2, *shape)
    model = build_model("VAE", input_shape=shape)
    assert model.decode(model.encode(x)[0]).shape == x.shape


TERMS = {
    "VAE": set(),
    "BetaVAE": set(),
    "FactorVAE": {"tc", "d_loss"},
    "BTCVAE": {"mi", "tc", "dwkl"},
    "DIPVAE": {"cov_off_diagonal", "cov_diagonal"},
    "CapacityVAE": {"capacity_gap"},
    "AdaGVAE": set(),
}


@pytest.mark.parametrize("name", TERMS)
def test_every_term_is_there_a_scalar_and_differentiable(name):
    losses = losses_of(small(name))
    assert set(losses) == {"loss", "recon", "kl"} | TERMS[name]
    assert all(term.shape == () and term.requires_grad for term in losses.values())


@pytest.mark.parametrize(
    "name, config, weights",
    [
        ("VAE", {}, {"recon": 1, "kl": 1}),
        ("BetaVAE", {}, {"recon": 1, "kl": 4}),
        ("BetaVAE", {"beta": 2.5}, {"recon": 1, "kl": 2.5}),
        ("FactorVAE", {}, {"recon": 1, "kl": 1, "tc": 10, "d_loss": 1}),
        ("FactorVAE", {"gamma": 3.0}, {"recon": 1, "kl": 1, "tc": 3, "d_loss": 1}),
        ("BTCVAE", {}, {"recon": 1, "mi": 1, "tc": 6, "dwkl": 1}),
        ("BTCVAE", {"alpha": 0.5, "beta": 2.0, "gamma": 3.0}, {"recon": 1, "mi": 0.5, "tc": 2, "dwkl": 3}),
        ("AdaGVAE", {}, {"recon": 1, "kl": 1}),
        ("AdaGVAE", {"beta": 2.5}, {"recon": 1, "kl": 2.5}),
        ("CapacityVAE", {}, {"recon": 1, "capacity_gap": 1000}),
        ("CapacityVAE", {"gamma": 3.0, "capacity": 0.0}, {"recon": 1, "kl": 3}),
    ],
)
def test_loss_is_the_weighted_sum_of_its_terms(name, config, weights):
    losses = losses_of(small(name, **config))
    expected = sum(weight * losses[term].item() for term, weight in weights.items())
    assert losses["loss"].item() == pytest.approx(expected, rel=1e-6)  # float32 sums


def test_equal_weights_give_equal_objectives():
    """BetaVAE with beta 1 is the VAE; so is BTCVAE with all weights 1, but for sampled instead of analytic KL."""
    vae = small("VAE")
    beta = small("BetaVAE", beta=1.0)
    assert torch.equal(losses_of(vae)["loss"], losses_of(beta)["loss"])
    btc = losses_of(small("BTCVAE", beta=1.0))
    sampled = sum(btc[term].item() for term in ("mi", "tc", "dwkl"))
    assert (btc["loss"] - btc["recon"]).item() == pytest.approx(sampled, abs=1e-2)  # a difference of large float32 sums


def test_sampled_kl_of_btcvae_agrees_with_the_analytic_one_on_average():
    model = small("BTCVAE")
    with torch.no_grad():
        model.encoder.head[-1].bias[:4] += 1.0  # posterior means away from 0, so that the KL is not small
        x, generator = tones(50), torch.Generator().manual_seed(3)
        draws = [model.losses(x, generator=generator) for _ in range(100)]
    sampled = sum(float(d["mi"] + d["tc"] + d["dwkl"]) for d in draws) / 100
    assert sampled == pytest.approx(float(draws[0]["kl"]), abs=0.1)  # 5,000 draws of a ratio with deviation near 2


def gradients(model: torch.nn.Module, term: str) -> dict[str, bool]:
    """Which parts of the model a term moves."""
    model.zero_grad(set_to_none=True)
    losses_of(model)[term].backward()
    return {
        part: any(p.grad is not None and p.grad.abs().max() > 0 for p in getattr(model, part).parameters())
        for part in ("encoder", "decoder", "discriminator")
    }


@pytest.mark.parametrize(
    "term, moved",
    [
        ("tc", ["encoder"]),
        ("d_loss", ["discriminator"]),
        ("kl", ["encoder"]),
        ("recon", ["encoder", "decoder"]),
        ("loss", ["encoder", "decoder", "discriminator"]),
    ],
)
def test_each_term_of_factorvae_moves_its_own_player_only(term, moved):
    found = gradients(small("FactorVAE"), term)
    assert [part for part, moves in found.items() if moves] == moved


def test_discriminator_gradient_in_the_sum_is_that_of_its_own_loss():
    """One backward of the sum gives the discriminator what a backward of d_loss alone gives it, unweighted by gamma."""
    model = small("FactorVAE")
    seen = {}
    for term in ("loss", "d_loss"):
        model.zero_grad(set_to_none=True)
        losses_of(model)[term].backward()
        seen[term] = [p.grad.clone() for p in model.discriminator.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(seen["loss"], seen["d_loss"], strict=True))


def test_factorvae_has_two_disjoint_groups_with_the_papers_settings():
    autoencoder, adversary = small("FactorVAE").parameter_groups(1e-3)
    assert not set(map(id, autoencoder["params"])) & set(map(id, adversary["params"]))
    assert (autoencoder["lr"], adversary["lr"], adversary["betas"]) == (1e-3, 1e-4, (0.5, 0.9))
    n_parameters = sum(1 for _ in small("FactorVAE").parameters())
    assert len(autoencoder["params"]) + len(adversary["params"]) == n_parameters


def test_discriminator_is_the_papers():
    """Six layers of 1000 units with LeakyReLU 0.2, then two logits."""
    layers = list(small("FactorVAE").discriminator.layers)
    linear = [layer for layer in layers if isinstance(layer, torch.nn.Linear)]
    assert [layer.out_features for layer in linear] == [1000] * 6 + [2] and linear[0].in_features == 4
    leaky = [layer for layer in layers if isinstance(layer, torch.nn.LeakyReLU)]
    assert len(leaky) == 6 and all(layer.negative_slope == 0.2 for layer in leaky)


def test_discriminator_learns_dependent_latents_and_its_tc_rises():
    """Trained on z with two equal latents, the ratio must turn positive; on independent ones it must stay near 0."""
    from models.networks import Discriminator
    from models.objectives import density_ratio, discriminator_loss, permute_dims

    found = {}
    for dependent in (True, False):
        torch.manual_seed(0)
        network, generator = Discriminator(2, hidden=64), torch.Generator().manual_seed(0)
        adam = torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.5, 0.9))
        for _ in range(150):
            z = torch.randn(256, 2, generator=generator)
            z[:, 1] = z[:, 0] + 0.1 * z[:, 1] if dependent else z[:, 1]
            loss = discriminator_loss(network(z), network(permute_dims(z, generator=generator)))
            adam.zero_grad()
            loss.backward()
            adam.step()
        found[dependent] = density_ratio(network(z)).item()
    assert found[True] > 1.0 and abs(found[False]) < 0.2


def test_x_hat_comes_from_the_same_z_as_the_other_terms():
    """One draw of noise: with the generator's state repeated by hand, decoding mu + std eps gives the reported term."""
    model = small("BTCVAE")
    losses = losses_of(model)
    x = tones()
    mu, logvar = model.encode(x)
    eps = torch.randn(mu.shape, generator=torch.Generator().manual_seed(2))
    z = mu + torch.exp(0.5 * logvar) * eps
    expected = 0.5 * (x - model.decode(z)).square().sum() / 0.3**2 / len(x)
    assert losses["recon"].item() == pytest.approx(expected.item(), rel=1e-6)
    mi = kl_decomposition(z, mu, logvar, n_data=100)[0]
    assert losses["mi"].item() == pytest.approx(mi.item(), abs=1e-5)


def test_registry_and_errors():
    assert list(MODELS)[:4] == ["VAE", "BetaVAE", "FactorVAE", "BTCVAE"]  # a user's own come after them
    with pytest.raises(ValueError, match="model 'GAN' is unknown, expected one of VAE, BetaVAE"):
        build_model("GAN")
    with pytest.raises(TypeError, match="n_data"):
        build_model("BTCVAE")


@pytest.mark.parametrize(
    "config, weights",
    [({}, (10, 10)), ({"lambda_od": 3.0, "lambda_d": 0.0}, (3, 0)), ({"lambda_od": 0.0, "lambda_d": 2.0}, (0, 2))],
)
def test_dipvae_weighs_the_covariances_of_its_posterior(config, weights):
    """Against torch.cov, on codes that are correlated: those of a new model hardly are."""
    mu = torch.randn(12, 3, generator=torch.Generator().manual_seed(3)) @ torch.tensor(
        [[1.0, 0.8, 0.0], [0, 1, 0.5], [0, 0, 2]]
    )
    logvar = torch.randn(12, 3, generator=torch.Generator().manual_seed(4))
    kl = torch.tensor(5.0)
    regularizer, terms = small("DIPVAE", **config).regularizer(mu, mu, logvar, kl, generator=None)
    covariance = torch.cov(mu.T) + torch.diag(logvar.exp().mean(dim=0))
    difference = (covariance - torch.eye(3)).square()
    diagonal, off_diagonal = difference.trace().item(), (difference.sum() - difference.trace()).item()
    assert min(diagonal, off_diagonal) > 0.5
    assert terms["cov_diagonal"].item() == pytest.approx(diagonal, rel=1e-5)
    assert terms["cov_off_diagonal"].item() == pytest.approx(off_diagonal, rel=1e-5)
    assert regularizer.item() == pytest.approx(5 + weights[0] * off_diagonal + weights[1] * diagonal, rel=1e-5)


def test_capacity_draws_the_kl_up_from_below_and_down_from_above():
    for capacity, sign in ((100.0, -1), (0.0, 1)):
        model = small("CapacityVAE", gamma=3.0, capacity=capacity)
        losses = losses_of(model)
        weight = model.encoder.head[-1].bias
        of_penalty, of_kl = (
            torch.autograd.grad(term, weight, retain_graph=True)[0]
            for term in (losses["loss"] - losses["recon"], losses["kl"])
        )
        torch.testing.assert_close(of_penalty, sign * 3 * of_kl, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("level", [-1e3, 1e3])
def test_a_model_with_extreme_log_variances_has_finite_losses_and_gradients(name, level):
    model = small(name)
    last = model.encoder.head[-1]
    last.bias.data[4:] = level
    losses = losses_of(model)
    losses["loss"].backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters() if weight.grad is not None)
    assert (last.bias.grad[4:] != 0).all()  # it can come back


def test_defaults_are_the_papers():
    assert BetaVAE().beta == 4.0 and AdaGVAE().beta == 1.0 and FactorVAE().gamma == 10.0
    btc = BTCVAE(n_data=100)
    assert (btc.alpha, btc.beta, btc.gamma, btc.estimator) == (1.0, 6.0, 1.0, "mss")
