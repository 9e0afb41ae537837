"""Blocks that compute with less memory traffic compute the same."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from constyle_arch.archs import ConStyle, layers
from constyle_arch.archs.fused import use_fused
from constyle_arch.archs.maxim_blocks import (
    GatingWeights,
    MultiAxisGatedMLP,
    ResidualDenseAttention,
)
from constyle_arch.archs.nafnet_arch import NAFBlock
from constyle_arch.archs.restormer_arch import TransformerBlock
from tests.networks import TINY


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("name", TINY)
def test_network_and_its_gradients_are_those_of_the_papers_equations(name, layout):
    torch.manual_seed(0)
    network = TINY[name]().double().to(memory_format=layout)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)  # β and γ of a new NAFNet would hide its blocks
    for encoder in (module for module in network.modules() if isinstance(module, ConStyle)):
        encoder.eval()  # statistics of two images divide by next to nothing
    by_equations = deepcopy(network)
    use_fused(by_equations, False)
    lq = torch.rand(2, 3, 64, 128, dtype=torch.double)
    restored, expected = network(lq), by_equations(lq)
    torch.testing.assert_close(restored, expected)
    for output in (restored, expected):
        output.square().mean().backward()
    for (parameter, tensor), other in zip(
        network.named_parameters(), by_equations.parameters(), strict=True
    ):
        assert (tensor.grad - other.grad).norm() <= 1e-9 * other.grad.norm(), parameter


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize(
    ("channels", "bias", "gradients", "product"),
    [
        (8, True, True, True),
        (8, False, False, True),
        (8, True, False, False),
        (300, True, False, True),
    ],
)
def test_pointwise_is_a_convolution_computed_as_the_processor_likes_it(
    monkeypatch, slow, channels, bias, gradients, product
):
    products = []
    linear = nn.functional.linear
    monkeypatch.setattr(layers, "products_are_slow", lambda: slow)
    monkeypatch.setattr(
        nn.functional, "linear", lambda *inputs: products.append(1) or linear(*inputs)
    )
    torch.manual_seed(0)
    tensors = [torch.randn(2, channels, 5, 7).to(memory_format=torch.channels_last)]
    tensors += [torch.randn(6, channels), *([torch.randn(6)] if bias else [])]
    exact = [tensor.double().requires_grad_(gradients) for tensor in tensors]
    tensors = [tensor.requires_grad_(gradients) for tensor in tensors]
    with torch.set_grad_enabled(gradients):
        result = layers.pointwise(*tensors)
        expected = nn.functional.conv2d(exact[0], exact[1][:, :, None, None], *exact[2:])
    assert bool(products) == (product and not slow)
    torch.testing.assert_close(result.double(), expected, rtol=1e-5, atol=1e-4)
    if gradients:
        weights = torch.randn(expected.shape)
        for output in (result, expected):
            (output * weights).sum().backward()
        for tensor, other in zip(tensors, exact, strict=True):
            torch.testing.assert_close(tensor.grad.double(), other.grad, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("gradients", "equation"), [(False, True), (True, False)])
def test_compilers_are_given_the_equation_unless_for_gradients(gradients, equation):
    torch._dynamo.reset()
    graphs = []

    def compiler(graph, inputs):
        graphs.append([str(node.target) for node in graph.graph.nodes])
        return graph.forward

    for fused in (True, False):
        block = NAFBlock(8)
        use_fused(block, fused)
        block.compile(backend=compiler)
        with torch.set_grad_enabled(gradients):
            block(torch.rand(1, 8, 16, 16))
    assert len(graphs) == 2
    assert (graphs[0] == graphs[1]) == equation
    torch._dynamo.reset()


BLOCKS = {
    "NAFBlock": lambda: NAFBlock(8),
    "TransformerBlock": lambda: TransformerBlock(8, heads=2),
    "MultiAxisGatedMLP": lambda: MultiAxisGatedMLP(8, side=4, bias=True),
    "GatingWeights": lambda: GatingWeights(8, side=4, bias=True),
    "ResidualDenseAttention": lambda: ResidualDenseAttention(8, bias=True),
}


def random_block(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    block = BLOCKS[name]().double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    return block, torch.rand(2, 8, 8, 12, dtype=torch.double)


@pytest.mark.parametrize("name", BLOCKS)
def test_hooks_of_layers_that_a_fused_block_skips_are_called_once(name):
    block, x = random_block(name)
    fused, calls = block(x), []
    for layer in block.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            calls.clear()
            handle = layer.register_forward_hook(lambda *_: calls.append(1))
            torch.testing.assert_close(block(x), fused)
            handle.remove()
            assert len(calls) == 1, layer


class Doubled(nn.Module):
    """What libraries for LoRA and quantisation do: another module in the place of a layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.layer(x)


@pytest.mark.parametrize("name", BLOCKS)
def test_layers_put_in_the_place_of_others_are_called(name):
    block, x = random_block(name)
    for path, layer in list(block.named_modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            doubled, replaced = deepcopy(block), deepcopy(block)
            for parameter in doubled.get_submodule(path).parameters():
                parameter.data *= 2
            parent, _, child = path.rpartition(".")
            setattr(replaced.get_submodule(parent), child, Doubled(deepcopy(layer)))
            torch.testing.assert_close(
                replaced(x), doubled(x), msg=lambda text, path=path: f"{path}: {text}"
            )
