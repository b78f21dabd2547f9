"""Cost against the paper's tables, timm's counts, and hooks on the built module."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings

from rescale.cost import cost, printed_flops
from rescale.geometry import Grid, Layer, layers, strided
from rescale.lookup import names, network
from rescale.models import blocks, build, count
from rescale.models.blocks import ConvNorm, Style
from rescale.network import Network
from test_network import any_networks, resnet_names

# ResNet-RS, Pareto table: depth, resolution, parameters (exact, as timm counts), printed M, printed FLOPs (B)
PARETO = [
    (50, 160, 35_691_912, "36", "4.6"),
    (101, 160, 63_618_696, "64", "8.4"),
    (101, 192, 63_618_696, "64", "12"),
    (152, 192, 86_621_576, "87", "18"),
    (152, 224, 86_621_576, "87", "24"),
    (152, 256, 86_621_576, "87", "31"),
    (200, 256, 93_209_992, "93", "40"),
    (270, 256, 129_861_448, "130", "54"),
    (350, 256, 163_956_168, "164", "69"),
    (350, 320, 163_956_168, "164", "107"),
    (420, 320, 191_891_656, "192", "128"),
]


def as_printed(value: float, like: str) -> str:
    return f"{value:.{len(like.partition('.')[2])}f}"


@pytest.mark.parametrize(("depth", "size", "params", "millions", "flops"), PARETO)
def test_pareto_table(depth: int, size: int, params: int, millions: str, flops: str) -> None:
    net = network(f"resnetrs{depth}@{size}")
    assert cost(net).params == params
    assert as_printed(params / 1e6, millions) == millions
    assert as_printed(printed_flops(net) / 1e9, flops) == flops
    if (depth, size) != (152, 192):  # 17.494 is printed 18: see printed_flops
        assert as_printed(2 * cost(net).macs / 1e9, flops) == flops


def test_reference_integers() -> None:
    path = Path(__file__).parent.parent.parent / "shared" / "reference" / "resnet-rs-tables.json"
    if not path.is_file():
        pytest.skip(f"no {path.name} next to the project")
    for row in json.loads(path.read_text())["computed"]["rows"]:
        net = network(f"resnetrs{row['depth']}@{row['res']}")
        biases = sum(layer.width_out for layer in layers(net) if layer.bias)  # not included in its integers
        assert cost(net).params == row["params"]
        assert cost(net).macs - biases == round(row["gmacs"] * 1e9)


def test_known_counts() -> None:
    assert cost(network("resnet50")).params == 25_557_032  # torchvision's documentation
    assert cost(network("resnet18")).params == 11_689_512
    assert cost(network("resnet34")).params == 21_797_672
    assert cost(network("resnet101")).params == 44_549_160
    assert cost(network("resnet152")).params == 60_192_808
    assert cost(network("resnet200@256")).params == 64_673_832
    assert round(cost(network("resnet50")).activations / 1e6, 1) == 11.3  # Fast and Accurate Model Scaling


@pytest.mark.parametrize("name", names())
def test_counted_is_built(name: str) -> None:
    net = network(name)
    with torch.device("meta"):
        assert count(build(net), net.resolution) == cost(net)


@given(resnet_names())
@settings(max_examples=40, deadline=None)
def test_counted_is_built_for_any_network(name: str) -> None:
    net = network(name).with_classes(7)
    with torch.device("meta"):
        assert count(build(net), net.resolution) == cost(net)


@given(any_networks())
@settings(max_examples=100, deadline=None)
def test_counted_is_built_for_any_file(net: Network) -> None:
    with torch.device("meta"):
        assert count(build(net), net.resolution, net.input.channels) == cost(net)


@given(any_networks())
@settings(max_examples=25, deadline=None)
def test_the_listed_sizes_are_the_built_ones(net: Network) -> None:
    """Shapes and outputs of all convolutions, recorded by hooks."""
    recorded = {}
    model = build(net).eval()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(
                lambda m, _, out, name=name: recorded.__setitem__(name.removesuffix(".conv"), (m, out))
            )
    with torch.no_grad():
        model(torch.zeros(1, net.input.channels, net.resolution, net.resolution))
    for layer in layers(net):
        if layer.kind == "conv":
            module, out = recorded.pop(layer.name)
            assert (layer.width_out, *layer.map_out[1:]) == tuple(out.shape[1:])
            assert (layer.kernel[1:], layer.stride[1:]) == (module.kernel_size, module.stride)
            assert (layer.width_in, layer.groups) == (module.in_channels, module.groups)
            assert layer.weights == module.weight.numel() and layer.fan_in == module.weight[0].numel()
            assert layer.full_fan_out == layer.fan_out * layer.groups == module.weight[:, 0].numel()
    assert not recorded


def test_a_layer_of_clips_that_are_not_square() -> None:
    """A 5x3x3 convolution with strides 2x2x1 and four groups, and a pool, against torch's."""
    kernel, stride, size = Grid(5, 3, 3), Grid(2, 2, 1), Grid(8, 14, 9)
    layer = Layer("", "conv", 16, 32, kernel, stride, size, strided(size, stride), 4, norm=True)
    pool = layer._replace(kind="maxpool", width_out=16, groups=1, norm=False)
    images = torch.zeros(1, 16, *size)
    for padding in ("symmetric", "same"):
        style = Style(dimensions=3, padding=padding)
        module = ConvNorm(layer, style)
        outputs = module(images)
        assert outputs.shape[1:] == (32, *layer.map_out)
        assert outputs.numel() * module.conv.weight[0].numel() == layer.macs
        assert sum(p.numel() for p in module.parameters()) == layer.params
        assert blocks._max_pool(pool, style)(images).numel() == pool.outputs
        if module.pad is not None:
            assert module.pad(images).numel() == layer.padded_inputs
    assert images.numel() == layer.inputs and (pool.macs, pool.params, pool.weights) == (0, 0, 0)


def test_maps_are_shared() -> None:
    """Equal maps are one object: the layers of 16 blocks have one Grid per size."""
    listed = layers(network("resnet50"))
    maps = {id(grid): grid for layer in listed for grid in (layer.map_in, layer.map_out)}
    assert len(maps) == len(set(maps.values())) == 7  # 224, 112, 56, 28, 14, 7 and the head's point


def test_layer_names_are_module_paths() -> None:
    net = network("resnetrs50")
    with torch.device("meta"):
        modules = dict(build(net).named_modules())
    assert all(layer.name in modules for layer in layers(net))
