"""The models. Each subclass of VAE overrides `regularizer`, the part of the objective beside the reconstruction.

The signature of a constructor is the one place of an option's default, range and help text, see `models.options`.
"""

import math
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from models import objectives
from models.networks import Decoder, Discriminator, Encoder
from models.options import Option


class VAE(nn.Module):
    """Variational autoencoder (Kingma and Welling 2014): recon + KL.

    Parameters
    ----------
    input_shape : (1, M, L)
        Of one tone's features.
    latent_dim : int
        D.
    sigma : float
        Standard deviation of the Gaussian likelihood per pixel, in units of the features, which are in [0, 1]. The
        effect of every weight depends on it. The 32 frames of a steady tone are equal, so 0.3 per pixel is 0.3 /
        sqrt(32) per band, or 4.6 dB on the default front end.
    channels, hidden
        Widths of the convolutions (the first takes patches of 4 x 4 pixels, each further one halves M and L), and of
        the layer between them and the latents.

    Attributes
    ----------
    needs_pairs : bool
        Whether `losses` expects pairs of tones that share factors, instead of single tones. The training loop then
        draws pairs.
    """

    needs_pairs: ClassVar[bool] = False

    def __init__(
        self,
        input_shape: tuple[int, int, int] = (1, 128, 32),
        latent_dim: Annotated[int, Option("number of latents", least=1)] = 8,
        *,
        sigma: Annotated[
            float, Option("standard deviation of the likelihood, in units of the features", least=1e-6, most=1e6)
        ] = 0.3,
        channels: Annotated[tuple[int, ...], Option("widths of the convolutions", least=1)] = (32, 64, 64),
        hidden: Annotated[int, Option("width of the layer beside the latents", least=1)] = 256,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.sigma = sigma
        self.encoder = Encoder(input_shape, 2 * latent_dim, channels=channels, hidden=hidden)
        self.decoder = Decoder(input_shape, latent_dim, channels=channels, hidden=hidden)
        # Not part of the state: the training loop sets it in every epoch.
        self.register_buffer("annealing", torch.ones(()), persistent=False)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean and log variance: (B, 1, M, L) -> mu, logvar (B, D)."""
        mu, logvar = self.encoder(x).to(x.dtype).chunk(2, dim=1)  # under autocast the network alone is less precise
        return mu, objectives.bounded_logvar(logvar)

    def decode(self, z: Tensor) -> Tensor:
        """(B, D) -> x_hat (B, 1, M, L), the mean of the Gaussian likelihood; not confined to [0, 1]."""
        return self.decoder(z).to(z.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct x (B, 1, M, L) from the posterior means: x_hat (B, 1, M, L). No noise is added."""
        return self.decode(self.encode(x)[0])

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and logvar (B, D) of the posterior that training uses."""
        return self.encode(x)

    def losses(self, x: Tensor, *, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Compute every term of the objective, scalars, in nats per tone unless the model names another unit.

        "loss" is the sum to minimise. x_hat is decoded from the same z that the other terms use. In training mode
        everything beside the reconstruction is multiplied by `annealing`, a buffer that is 1 unless a schedule sets it
        (CapacityVAE divides by it again).

        Parameters
        ----------
        x : (B, 1, M, L)
            If the model needs pairs: (2 B, 1, M, L), where tone i and tone B + i are a pair.
        generator : draws the noise of z, on the device of x
        """
        mu, logvar = self.posterior(x)
        noise = torch.randn(mu.shape, generator=generator, device=mu.device, dtype=mu.dtype)
        z = mu + torch.exp(0.5 * logvar) * noise
        recon = objectives.reconstruction(x, self.decode(z), sigma=self.sigma)
        kl = objectives.kl_per_latent(mu, logvar).sum() / len(mu)
        regularizer, terms = self.regularizer(z, mu, logvar, kl, generator=generator)
        annealing = self.annealing if self.training else 1.0
        return {"loss": recon + annealing * regularizer, "recon": recon, "kl": kl} | terms

    def regularizer(
        self, z: Tensor, mu: Tensor, logvar: Tensor, kl: Tensor, *, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what is minimised beside the reconstruction, and its terms, unweighted, for the history."""
        return kl, {}

    def parameter_groups(self, lr: float) -> list[dict]:
        """Parameter groups for one Adam."""
        return [{"params": list(self.parameters()), "lr": lr}]


class BetaVAE(VAE):
    """beta-VAE (Higgins et al. 2017, Eq. 4): recon + beta KL."""

    def __init__(
        self,
        *args,
        beta: Annotated[float, Option("weight of the KL divergence", least=0)] = 4.0,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.beta = beta

    def regularizer(self, z, mu, logvar, kl, *, generator):
        return self.beta * kl, {}


class BTCVAE(VAE):
    """beta-TCVAE (Chen et al. 2018, Eq. 4): recon + alpha MI + beta TC + gamma DWKL.

    The three terms are estimates from one batch. A total correlation is at least 0, but its estimate can be below.

    Parameters
    ----------
    n_data : int
        N, the tones in the training set, which the estimator of q(z) needs.
    estimator : "mss" or "mws"
        See `objectives.kl_decomposition`.
    """

    def __init__(
        self,
        *args,
        n_data: int,
        alpha: Annotated[float, Option("weight of the mutual information", least=0)] = 1.0,
        beta: Annotated[float, Option("weight of the total correlation", least=0)] = 6.0,
        gamma: Annotated[float, Option("weight of the dimension-wise KL divergence", least=0)] = 1.0,
        estimator: Annotated[str, Option("minibatch estimator", choices=("mss", "mws"))] = "mss",
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.n_data, self.estimator = n_data, estimator
        self.alpha, self.beta, self.gamma = alpha, beta, gamma

    def regularizer(self, z, mu, logvar, kl, *, generator):
        mi, tc, dwkl = objectives.kl_decomposition(z, mu, logvar, n_data=self.n_data, estimator=self.estimator)
        return self.alpha * mi + self.beta * tc + self.gamma * dwkl, {"mi": mi, "tc": tc, "dwkl": dwkl}


class FactorVAE(VAE):
    """FactorVAE (Kim and Mnih 2018, Eq. 2): recon + KL + gamma TC, and the discriminator's own loss.

    The two players have disjoint parameters. In "tc" the discriminator's weights are detached, so it moves the encoder
    only; in "d_loss" z is detached, so it moves the discriminator only. Their sum therefore needs one backward and one
    optimizer with two parameter groups, and the training loop needs no code for it. Annealing scales the gradient of
    the discriminator's loss too, which Adam divides out.
    """

    def __init__(
        self,
        *args,
        gamma: Annotated[float, Option("weight of the total correlation", least=0)] = 10.0,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.gamma = gamma
        self.discriminator = Discriminator(self.latent_dim)

    def regularizer(self, z, mu, logvar, kl, *, generator):
        frozen = {name: weight.detach() for name, weight in self.discriminator.named_parameters()}
        tc = objectives.density_ratio(torch.func.functional_call(self.discriminator, frozen, (z,)).to(z.dtype))
        permuted = objectives.permute_dims(z.detach(), generator=generator)
        joint, product = self.discriminator(torch.cat([z.detach(), permuted])).to(z.dtype).chunk(2)
        d_loss = objectives.discriminator_loss(joint, product)
        return kl + self.gamma * tc + d_loss, {"tc": tc, "d_loss": d_loss}

    def parameter_groups(self, lr: float) -> list[dict]:
        autoencoder = [*self.encoder.parameters(), *self.decoder.parameters()]
        adversary = {"params": list(self.discriminator.parameters()), "lr": 1e-4, "betas": (0.5, 0.9)}
        return [{"params": autoencoder, "lr": lr}, adversary]


class DIPVAE(VAE):
    """DIP-VAE-II (Kumar et al. 2018, Eq. 7): recon + KL + lambda_od sum_ij C_ij^2 + lambda_d sum_i (C_ii - 1)^2.

    i != j, and C is the covariance of z under the aggregate posterior.

    Squared covariances have no unit; the weights are in nats. The paper names no default; for this variant it has
    lambda_d = lambda_od, and 10 is among the 1 to 50 that Locatello et al. 2019 try.
    """

    def __init__(
        self,
        *args,
        lambda_od: Annotated[float, Option("weight of the squared covariances of latents", least=0)] = 10.0,
        lambda_d: Annotated[
            float, Option("weight of the squared differences of their variances from 1", least=0)
        ] = 10.0,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.lambda_od, self.lambda_d = lambda_od, lambda_d

    def regularizer(self, z, mu, logvar, kl, *, generator):
        off_diagonal, diagonal = objectives.covariance_penalties(objectives.aggregate_covariance(mu, logvar))
        return (
            kl + self.lambda_od * off_diagonal + self.lambda_d * diagonal,
            {"cov_off_diagonal": off_diagonal, "cov_diagonal": diagonal},
        )


class CapacityVAE(VAE):
    """VAE with a capacity C for the KL that grows in training (Burgess et al. 2018, Eq. 8): recon + gamma |KL - C|.

    C grows by the same number of nats every epoch, from 0 to `capacity`, while the training loop's `annealing` falls
    from `anneal_from` to 1. Only the capacity follows this schedule; gamma is constant. Without annealing
    (`anneal_from` 1), and in validation, C is `capacity`.

    Parameters
    ----------
    gamma, capacity : float
        Per nat; nats. The defaults are the paper's for dSprites.
    anneal_from : float
        `annealing` in the first epoch, where C is 0.
    """

    def __init__(
        self,
        *args,
        gamma: Annotated[
            float, Option("weight of the distance of the KL divergence from the capacity", least=0)
        ] = 1000.0,
        capacity: Annotated[float, Option("nats of the KL divergence at the end", least=0)] = 25.0,
        anneal_from: float = 1.0,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.gamma, self.capacity, self.anneal_from = gamma, capacity, anneal_from

    def regularizer(self, z, mu, logvar, kl, *, generator):
        if not self.training or self.anneal_from == 1:
            gap = (kl - self.capacity).abs()
            return self.gamma * gap, {"capacity_gap": gap}
        left = self.annealing.log() / math.log(self.anneal_from)  # 1 in the first epoch, 0 when the factor is 1
        gap = (kl - self.capacity * (1 - left)).abs()
        return self.gamma * gap / self.annealing, {"capacity_gap": gap}  # `losses` multiplies by it


class AdaGVAE(BetaVAE):
    """Ada-GVAE (Locatello et al. 2020): recon + beta KL on pairs of tones that share some factors.

    Both tones of a pair have the same posterior in the latents in which theirs are similar, see
    `objectives.average_shared`. The model receives neither which factors a pair shares nor how many.
    """

    needs_pairs = True

    def __init__(self, *args, beta=1.0, **kwargs) -> None:
        super().__init__(*args, beta=beta, **kwargs)

    def posterior(self, x):
        if len(x) % 2:
            raise ValueError(f"x has {len(x)} tones, expected pairs: as many partners after as many anchors")
        return objectives.average_shared(*self.encode(x))
