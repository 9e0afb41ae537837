"""The networks' blocks computed with less memory traffic than their `forward`'s equations.

A block's `forward` is its paper's equation. `fusible` lets a function of this module compute it
instead, on CPUs and where no compiler does. Three things make that faster and smaller:

- What is to be gated is computed as two tensors. The halves of one would not be contiguous, and
  every operation on them slower by a multiple.
- What stands for a product of images is a product of small matrices, wherever that is the same.
- Activations and products are not kept for the backward pass, but computed again.

A fused block reads the weights of some of its layers instead of calling them. Where a call would do
more than the layer's class says, because it has hooks or another layer stands in its place (LoRA,
quantisation), the block is computed by its equation.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from constyle_arch.archs.layers import Dense, at_least_float32, gradient_checkpoint, pointwise

if TYPE_CHECKING:
    from constyle_arch.archs.maxim_blocks import (
        GatedMLP,
        GatingWeights,
        MultiAxisGatedMLP,
        ResidualDenseAttention,
        TokenMixing,
    )
    from constyle_arch.archs.nafnet_arch import NAFBlock
    from constyle_arch.archs.restormer_arch import GatedFeedForward, TransposedAttention

ALIGNMENT = 16
"""Hidden channels of Restormer are padded to a multiple of it, which vector units prefer."""


class Fusible(nn.Module):
    """A module whose `forward` is an equation that a function of this module may compute."""

    fused = True


Block = TypeVar("Block", bound=Fusible)
Forward = Callable[[Block, Tensor], Tensor]


def use_fused(network: nn.Module, fused: bool = True) -> None:
    """Compute the blocks of a network fused, the default except on GPUs, or by their equations.

    Args:
        network: is changed in place; its weights stay what they are.
        fused: False for the equations, which GPUs compute in any case.
    """
    for module in network.modules():
        if isinstance(module, Fusible):
            module.fused = fused


def fusible(
    fast: Forward[Block], **skipped: type[nn.Module]
) -> Callable[[Forward[Block]], Forward[Block]]:
    """Have `fast` compute what the decorated `forward` says; see `use_fused`.

    Args:
        fast: takes the block and the input of its `forward`.
        **skipped: the block's layers that `fast` does not call exactly once, with their classes.
    """
    forwards = {name: layer.forward for name, layer in skipped.items()}

    def decorate(equation: Forward[Block]) -> Forward[Block]:
        @wraps(equation)
        def forward(block: Block, x: Tensor) -> Tensor:
            fused = block.fused and _pays(x)
            fused = fused and all(
                _does_nothing_else(getattr(block, name), expected)
                for name, expected in forwards.items()
            )
            return (fast if fused else equation)(block, x)

        return forward

    return decorate


def _pays(x: Tensor) -> bool:
    """Whether what is fused is faster than the equations.

    On GPUs it is more kernels to launch. Compilers and exporters fuse the equations better
    themselves, unless they have to compute gradients.
    """
    compiled = torch.compiler.is_compiling() and not torch.is_grad_enabled()
    return not x.is_cuda and not compiled


def _does_nothing_else(layer: nn.Module, forward: Callable[..., object]) -> bool:
    """Whether calling `layer` is this `forward`, and nothing besides, in its layers neither."""
    return type(layer).forward is forward and not any(
        part._forward_hooks
        or part._forward_pre_hooks
        or part._backward_hooks
        or part._backward_pre_hooks
        for part in layer.modules()
    )


def naf_block(block: "NAFBlock", x: Tensor) -> Tensor:
    """NAFNet's block: x + β · W₃(y · W(mean(y))) of y = a · b, then x + γ · W₅(a · b).

    β and γ scale weights, of C·C numbers, instead of images: β · (W₃ y + c) = (β · W₃) y + β · c.
    """

    def feed_forward(a: Tensor, b: Tensor) -> Tensor:
        return _scaled_convolution(a * b, block.conv5, block.gamma)

    a, b = _convolve_halves(block.norm1(x), block.conv1, block.conv2)
    y = a * b
    y = y * block.sca(y)  # both kept: recomputing them takes a tenth of a step's time
    x = x + _scaled_convolution(y, block.conv3, block.beta)
    return x + gradient_checkpoint(feed_forward, *_convolve_halves(block.norm2(x), block.conv4))


def transposed_attention(attention: "TransposedAttention", qkv: Tensor) -> Tensor:
    """Restormer's attention between channels: W · (softmax(t q̂ k̂ᵀ) v), q̂ = q / |q|, k̂ = k / |k|.

    Nothing of the size of an image is computed that a matrix of C·C numbers can stand for:
    q̂ k̂ᵀ = q kᵀ / (|q| |k|ᵀ), and W · (A v) = (W · A) v.
    """
    n, channels, height, width = qkv.shape
    q, k, v = qkv.permute(0, 2, 3, 1).reshape(n, height * width, channels).chunk(3, dim=-1)
    heads = attention.heads
    q_heads, k_heads = (rearrange(part, "n p (h c) -> n h p c", h=heads) for part in (q, k))
    norms = _l2_norms(q), _l2_norms(k)
    q_norm, k_norm = (rearrange(norm, "n (h c) -> n h c", h=heads) for norm in norms)
    if qkv.dtype == torch.float16:  # which a sum of products over an image leaves
        cosines = (q_heads / q_norm[..., None, :]).mT @ (k_heads / k_norm[..., None, :])
    else:
        cosines = (q_heads.mT @ k_heads) / q_norm[..., :, None] / k_norm[..., None, :]
    weights = (cosines * attention.temperature).softmax(dim=-1)
    weights = weights.to(attention.project_out.weight.dtype)
    projection = rearrange(attention.project_out.weight, "o (h c) 1 1 -> h o c", h=attention.heads)
    projection = rearrange(projection @ weights, "n h o c -> n (h c) o")
    out = (v @ projection).reshape(n, height, width, -1).permute(0, 3, 1, 2)
    bias = attention.project_out.bias
    return out if bias is None else out + bias[:, None, None]


def gated_feed_forward(layer: "GatedFeedForward", x: Tensor) -> Tensor:
    """Restormer's feed-forward layer: W (GELU(a) · b) of the halves a, b, padded in channels."""

    def gate(a: Tensor, b: Tensor) -> Tensor:
        weight = _aligned(layer.project_out.weight.flatten(1), ALIGNMENT, dim=1)
        return pointwise(F.gelu(a) * b, weight, layer.project_out.bias)

    halves = _convolve_halves(x, layer.project_in, layer.dwconv, alignment=ALIGNMENT)
    return gradient_checkpoint(gate, *halves)


def token_mixing(layer: "TokenMixing", x: Tensor) -> Tensor:
    """MAXIM's map W t + b of the tokens t of all groups and channels, as one product."""
    sizes, channels = layer.sizes(x), x.shape[1]
    grouped = f"({layer.tokens}) (n {layer.groups} c)"
    tokens = rearrange(x, f"n c (rows y) (columns x) -> {grouped}", **sizes)
    weight, bias = layer.weight, layer.bias
    mixed = weight @ tokens if bias is None else torch.addmm(bias[:, None], weight, tokens)
    pattern = f"{grouped} -> n (rows y) (columns x) c"
    return rearrange(mixed, pattern, n=len(x), c=channels, **sizes).permute(0, 3, 1, 2)


def gated_mlp(layer: "GatedMLP", x: Tensor) -> Tensor:
    """MAXIM's gMLP: x + W (u · (M LN(v) + 1)) of the halves u, v after GELU.

    u · (m + 1) is computed as u + u · m in one pass. M is not computed again, W's input is.
    """

    def mixed(v: Tensor) -> Tensor:
        return layer.gate.mix(layer.gate.norm(layer.gelu(v)))

    def gated(u: Tensor, m: Tensor) -> Tensor:
        u = layer.gelu(u)
        return layer.reduce(u.addcmul(u, m))

    u, v = _convolve_halves(layer.norm(x), layer.expand)
    return x + gradient_checkpoint(gated, u, gradient_checkpoint(mixed, v))


def multi_axis_gated_mlp(layer: "MultiAxisGatedMLP", x: Tensor) -> Tensor:
    """MAXIM's multi-axis layer: x + W [grid(u), block(v)] of the halves u, v after GELU."""
    u, v = _convolve_halves(layer.norm(x), layer.expand)
    mixed = [layer.grid(layer.gelu(u)), layer.block(layer.gelu(v))]
    return x + layer.reduce(torch.cat(mixed, dim=1))


def gating_weights(layer: "GatingWeights", x: Tensor) -> Tensor:
    """What gates in MAXIM's cross gating: W [M₁ u, M₂ v] of the halves u, v after GELU."""
    u, v = _convolve_halves(layer.norm(x), layer.expand)
    u = gradient_checkpoint(lambda y: layer.grid(layer.gelu(y)), u)
    v = gradient_checkpoint(lambda y: layer.block(layer.gelu(y)), v)
    return layer.reduce(torch.cat([u, v], dim=1))


def residual_dense_attention(layer: "ResidualDenseAttention", x: Tensor) -> Tensor:
    """MAXIM's RDCAB: x + attention(W₂ GELU(W₁ LN(x))); GELU is recomputed, W₂'s product is not."""
    y = gradient_checkpoint(lambda y: layer.dense2(layer.gelu(y)), layer.dense1(layer.norm(x)))
    return x + layer.attention(y)


def _convolve_halves(
    x: Tensor, first: nn.Conv2d | Dense, *depthwise: nn.Conv2d, alignment: int = 1
) -> list[Tensor]:
    """Both halves of the channels that a pointwise and depthwise convolutions make of `x` in turn.

    Args:
        x: the input (N, C, H, W).
        first: the pointwise one, which takes the channels of `x`.
        depthwise: those that follow.
        alignment: each half gets channels of zeros until their number is a multiple of it.
    """
    layers = [_halves_of(layer, alignment) for layer in (first, *depthwise)]
    halves = []
    for (weight, bias), *others in zip(*layers, strict=True):
        y = pointwise(x, weight.flatten(1), bias)
        for convolution, (weight, bias) in zip(depthwise, others, strict=True):
            y = F.conv2d(y, weight, bias, padding=convolution.padding, groups=len(weight))
        halves.append(y)
    return halves


def _halves_of(layer: nn.Conv2d | Dense, alignment: int) -> list[tuple[Tensor, Tensor | None]]:
    """Weight and bias of both halves of a layer's output channels, each aligned.

    They are cut once: the gradient of a half that is cut alone has zeros for the other.
    """

    def cut(tensor: Tensor) -> tuple[Tensor, ...]:
        return _aligned(tensor.reshape(2, -1, *tensor.shape[1:]), alignment, dim=1).unbind()

    biases: Sequence[Tensor | None] = (None, None) if layer.bias is None else cut(layer.bias)
    return list(zip(cut(layer.weight), biases, strict=True))


def _aligned(tensor: Tensor, alignment: int, dim: int) -> Tensor:
    """`tensor` with zeros appended until its length along `dim` is a multiple of `alignment`."""
    missing = -tensor.shape[dim] % alignment
    return F.pad(tensor, [0, 0] * (tensor.dim() - 1 - dim) + [0, missing]) if missing else tensor


def _scaled_convolution(x: Tensor, convolution: nn.Conv2d, scale: Tensor) -> Tensor:
    """`convolution(x) * scale`, (1, C, 1, 1), applied to the smaller of weight and result."""
    assert convolution.bias is not None
    weight = convolution.weight.flatten(1)
    if not torch.compiler.is_compiling() and x[:, 0].numel() < x.shape[1]:
        return pointwise(x, weight, convolution.bias) * scale
    scale = scale.flatten()
    return pointwise(x, weight * scale[:, None], convolution.bias * scale)


def _l2_norms(x: Tensor) -> Tensor:
    """L2 norms over the pixels, in at least float32: (N, P, C) to (N, C), at least 1e-12."""
    return at_least_float32(x).square().sum(dim=1).sqrt().clamp_min(1e-12)
