"""Encoder, decoder and discriminator: layers as a loop over a list of channels.

Conventions: x (B, 1, M, L). The first layer takes patches of 4 x 4 pixels; every further layer halves (or doubles) M
and L. The input is padded with zeros to whole multiples of that and the output is cropped back; any M and L of at least
1 work.

The literature's network (Higgins et al. 2017: four layers of stride 2, the first with 32 channels at half the
resolution) spends most of its arithmetic in its outermost two layers. Patches avoid them: on two cores a step takes
less than half the time at the same reconstruction error (benchmarks/train.py compares both).
"""

import math

from torch import Tensor, nn
from torch.nn import functional as F

PATCH = 4
KERNEL, STRIDE, PADDING = 4, 2, 1


def padded_size(input_shape: tuple[int, int, int], n_layers: int) -> tuple[int, int]:
    """Round (M, L) up to multiples of the patch under one position of the last layer: 4 * 2 ** (n_layers - 1)."""
    step = PATCH * STRIDE ** (n_layers - 1)
    return math.ceil(input_shape[1] / step) * step, math.ceil(input_shape[2] / step) * step


class Encoder(nn.Module):
    """Patches, strided convolutions, a hidden layer and `n_outputs` outputs: (B, 1, M, L) -> (B, n_outputs)."""

    def __init__(
        self, input_shape: tuple[int, int, int], n_outputs: int, *, channels: tuple[int, ...], hidden: int
    ) -> None:
        super().__init__()
        self.input_shape = tuple(input_shape)
        height, width = padded_size(input_shape, len(channels))
        self.pad = (0, width - input_shape[2], 0, height - input_shape[1])
        layers = [nn.Conv2d(input_shape[0], channels[0], PATCH, PATCH), nn.SiLU()]
        for n_in, n_out in zip(channels, channels[1:]):
            layers += [nn.Conv2d(n_in, n_out, KERNEL, STRIDE, PADDING), nn.SiLU()]
        self.convolutions = nn.Sequential(*layers)
        n_features = channels[-1] * height * width // (PATCH * STRIDE ** (len(channels) - 1)) ** 2
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(n_features, hidden), nn.SiLU(), nn.Linear(hidden, n_outputs))

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1:] != self.input_shape:
            raise ValueError(f"features of shape {tuple(x.shape)}, expected (B, *{self.input_shape}) of the model")
        return self.head(self.convolutions(F.pad(x, self.pad) if any(self.pad) else x))


class Decoder(nn.Module):
    """The encoder in reverse: (B, D) -> (B, 1, M, L).

    The output is linear: most pixels lie at the floor of the range, where a sigmoid has hardly a gradient.
    """

    def __init__(
        self, input_shape: tuple[int, int, int], latent_dim: int, *, channels: tuple[int, ...], hidden: int
    ) -> None:
        super().__init__()
        self.crop = input_shape[1:]
        step = PATCH * STRIDE ** (len(channels) - 1)
        height, width = padded_size(input_shape, len(channels))
        self.start = (channels[-1], height // step, width // step)
        self.head = nn.Sequential(
            nn.Linear(latent_dim, hidden), nn.SiLU(), nn.Linear(hidden, math.prod(self.start)), nn.SiLU()
        )
        layers = []
        for n_in, n_out in zip(channels[::-1], channels[-2::-1]):
            layers += [nn.ConvTranspose2d(n_in, n_out, KERNEL, STRIDE, PADDING), nn.SiLU()]
        # A product at each position, laid out as its patch (Shi et al. 2016), equals a transposed convolution of kernel
        # and stride 4, in a fraction of its time on a CPU.
        layers += [nn.Conv2d(channels[0], input_shape[0] * PATCH**2, 1), nn.PixelShuffle(PATCH)]
        self.convolutions = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        x = self.convolutions(self.head(z).unflatten(1, self.start))
        return x[..., : self.crop[0], : self.crop[1]]


class Discriminator(nn.Module):
    """Distinguish z from z permuted within each latent: (B, D) -> (B, 2) logits, the first for unpermuted z.

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
