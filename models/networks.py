"""Encoder, decoder and discriminator: layers as a loop over a list of channels.

Conventions: x (B, 1, M, L). Every layer halves (or doubles) M and L, so the input is padded with zeros to a multiple of
2 ** n_layers and the output is cropped back; any M and L of at least 1 work.
"""

import math

from torch import Tensor, nn
from torch.nn import functional as F

KERNEL, STRIDE, PADDING = 4, 2, 1


def padded_size(input_shape: tuple[int, int, int], n_layers: int) -> tuple[int, int]:
    """(M, L) rounded up to multiples of 2 ** n_layers."""
    step = STRIDE ** n_layers
    return math.ceil(input_shape[1] / step) * step, math.ceil(input_shape[2] / step) * step


class Encoder(nn.Module):
    """Strided convolutions, then a hidden layer, then `n_outputs` numbers a tone: (B, 1, M, L) -> (B, n_outputs)."""

    def __init__(self, input_shape: tuple[int, int, int], n_outputs: int, *, channels: tuple[int, ...],
                 hidden: int) -> None:
        super().__init__()
        height, width = padded_size(input_shape, len(channels))
        self.pad = (0, width - input_shape[2], 0, height - input_shape[1])
        layers = []
        for n_in, n_out in zip((input_shape[0], *channels), channels):
            layers += [nn.Conv2d(n_in, n_out, KERNEL, STRIDE, PADDING), nn.SiLU()]
        self.convolutions = nn.Sequential(*layers)
        n_features = channels[-1] * (height * width) // STRIDE ** (2 * len(channels))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(n_features, hidden), nn.SiLU(), nn.Linear(hidden, n_outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.convolutions(F.pad(x, self.pad) if any(self.pad) else x))


class Decoder(nn.Module):
    """The encoder turned round: (B, D) -> (B, 1, M, L). The output is linear: most pixels lie at the floor of the range,
    where a sigmoid has hardly a gradient."""

    def __init__(self, input_shape: tuple[int, int, int], latent_dim: int, *, channels: tuple[int, ...],
                 hidden: int) -> None:
        super().__init__()
        self.crop = input_shape[1:]
        height, width = padded_size(input_shape, len(channels))
        self.start = (channels[-1], height // STRIDE ** len(channels), width // STRIDE ** len(channels))
        self.head = nn.Sequential(nn.Linear(latent_dim, hidden), nn.SiLU(), nn.Linear(hidden, math.prod(self.start)),
                                  nn.SiLU())
        backwards = (*channels[::-1], input_shape[0])
        layers = []
        for n_in, n_out in zip(backwards, backwards[1:]):
            layers += [nn.ConvTranspose2d(n_in, n_out, KERNEL, STRIDE, PADDING), nn.SiLU()]
        self.convolutions = nn.Sequential(*layers[:-1])

    def forward(self, z: Tensor) -> Tensor:
        x = self.convolutions(self.head(z).unflatten(1, self.start))
        return x[..., :self.crop[0], :self.crop[1]]


class Discriminator(nn.Module):
    """Tells z from z permuted within each latent: (B, D) -> (B, 2) logits, the first for z as it came.

    Six layers of 1000 units with LeakyReLU 0.2 (Kim and Mnih 2018, Table 1 of the appendix).
    """

    def __init__(self, latent_dim: int, *, hidden: int = 1000, n_layers: int = 6) -> None:
        super().__init__()
        layers = []
        for n_in in (latent_dim, *[hidden] * (n_layers - 1)):
            layers += [nn.Linear(n_in, hidden), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden, 2))

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)
