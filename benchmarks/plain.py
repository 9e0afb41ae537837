"""The networks as their papers' equations have them: eager, NCHW, normalised by hand.

`plain(network)` gives a network's layers these forward passes and leaves its parameters as they are: what the
benchmarks measure against, and a second way of computing the same for the tests.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import TypeVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from constyle_arch.archs import layers, maxim_arch, nafnet_arch, restormer_arch

Network = TypeVar("Network", bound=nn.Module)


class LayerNorm2d(layers.LayerNorm2d):
    """(x − μ) / √(σ² + ε) · w + b over the channels."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=1, keepdim=True)
        variance = (x - mean).pow(2).mean(dim=1, keepdim=True)
        normalized = (x - mean) / torch.sqrt(variance + self.eps)
        return normalized * self.weight[:, None, None] + self.bias[:, None, None]


class BiasFreeLayerNorm2d(restormer_arch.BiasFreeLayerNorm2d):
    """x / √(σ² + ε) · w over the channels."""

    def forward(self, x: Tensor) -> Tensor:
        variance = (x - x.mean(dim=1, keepdim=True)).pow(2).mean(dim=1, keepdim=True)
        return x / torch.sqrt(variance + restormer_arch.LAYER_NORM_EPS) * self.weight[:, None, None]


class TransposedAttention(restormer_arch.TransposedAttention):
    """Restormer, equation 1: V · softmax(K · Q / α) between channels."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        q, k, v = self.qkv_dwconv(self.qkv(x)).chunk(3, dim=1)
        q, k, v = (rearrange(part, "n (head c) y x -> n head c (y x)", head=self.heads) for part in (q, k, v))
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        attention = (q @ k.transpose(-2, -1) * self.temperature).softmax(dim=-1)
        out = rearrange(attention @ v, "n head c (y x) -> n (head c) y x", y=height, x=width)
        return self.project_out(out)


class GatedFeedForward(restormer_arch.GatedFeedForward):
    """Restormer, equation 2: GELU(W_d1 W_p1 x) ⊙ W_d2 W_p2 x."""

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(gate) * value)


class NAFBlock(nafnet_arch.NAFBlock):
    """NAFNet, figure 3(c)."""

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.conv2(self.conv1(self.norm1(x))).chunk(2, dim=1)
        y = a * b
        y = y * self.sca(y.mean(dim=(2, 3), keepdim=True))
        x = x + self.conv3(y) * self.beta
        a, b = self.conv4(self.norm2(x)).chunk(2, dim=1)
        return x + self.conv5(a * b) * self.gamma


class Dense(layers.Dense):
    """A linear map of the last dimension, to which the channels are permuted."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.permute(0, 2, 3, 1), self.weight, self.bias).permute(0, 3, 1, 2)


class TokenMixing(maxim_arch.TokenMixing):
    """MAXIM, section 3.2: a linear map of the tokens, which come last in (N, groups, C, tokens)."""

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = x.shape[2] // self.side, x.shape[3] // self.side
        if self.axis == "block":
            tokens = rearrange(x, "n c (r y) (q x) -> n (r q) c (y x)", y=self.side, x=self.side)
            mixed = F.linear(tokens, self.weight, self.bias)
            return rearrange(mixed, "n (r q) c (y x) -> n c (r y) (q x)", r=rows, y=self.side, x=self.side)
        tokens = rearrange(x, "n c (r y) (q x) -> n (y x) c (r q)", r=self.side, q=self.side)
        mixed = F.linear(tokens, self.weight, self.bias)
        return rearrange(mixed, "n (y x) c (r q) -> n c (r y) (q x)", r=self.side, y=rows, x=columns)


class GatedMLP(maxim_arch.GatedMLP):
    """MAXIM, section 3.2 and figure 3."""

    def forward(self, x: Tensor) -> Tensor:
        u, v = F.gelu(self.expand(self.norm(x))).chunk(2, dim=1)
        v = self.gate.mix(self.gate.norm(v))
        return x + self.reduce(u * (v + 1))


class MultiAxisGatedMLP(maxim_arch.MultiAxisGatedMLP):
    """MAXIM, section 3.2 and figure 3."""

    def forward(self, x: Tensor) -> Tensor:
        u, v = F.gelu(self.expand(self.norm(x))).chunk(2, dim=1)
        return x + self.reduce(torch.cat([self.grid(u), self.block(v)], dim=1))


class GatingWeights(maxim_arch.GatingWeights):
    """MAXIM, section 3.3."""

    def forward(self, x: Tensor) -> Tensor:
        u, v = F.gelu(self.expand(self.norm(x))).chunk(2, dim=1)
        return self.reduce(torch.cat([self.grid(u), self.block(v)], dim=1))


class ResidualConvAttention(maxim_arch.ResidualConvAttention):
    """x + attention(conv(LeakyReLU(conv(norm(x)))))."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(self.conv2(F.leaky_relu(self.conv1(self.norm(x)), 0.2)))


class ResidualDenseAttention(maxim_arch.ResidualDenseAttention):
    """x + attention(dense(GELU(dense(norm(x)))))."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(self.dense2(F.gelu(self.dense1(self.norm(x)))))


class ResizeAndConcat(maxim_arch.ResizeAndConcat):
    """Bilinear and antialiased, whichever way."""

    def forward(self, features: Sequence[Tensor], like: Tensor) -> Tensor:
        return torch.cat(
            [
                module(F.interpolate(x, size=like.shape[-2:], mode="bilinear", antialias=True))
                for module, x in zip(self, features, strict=True)
            ],
            dim=1,
        )


PLAIN = {
    layers.LayerNorm2d: LayerNorm2d,
    layers.Dense: Dense,
    restormer_arch.BiasFreeLayerNorm2d: BiasFreeLayerNorm2d,
    restormer_arch.TransposedAttention: TransposedAttention,
    restormer_arch.GatedFeedForward: GatedFeedForward,
    nafnet_arch.NAFBlock: NAFBlock,
    maxim_arch.TokenMixing: TokenMixing,
    maxim_arch.GatedMLP: GatedMLP,
    maxim_arch.MultiAxisGatedMLP: MultiAxisGatedMLP,
    maxim_arch.GatingWeights: GatingWeights,
    maxim_arch.ResidualConvAttention: ResidualConvAttention,
    maxim_arch.ResidualDenseAttention: ResidualDenseAttention,
    maxim_arch.ResizeAndConcat: ResizeAndConcat,
}


def plain(network: Network) -> Network:
    """A copy of `network` that computes plainly."""
    network = deepcopy(network).to(memory_format=torch.contiguous_format)
    for module in network.modules():
        module.__class__ = PLAIN.get(type(module), type(module))
    return network
