"""Maps that are computed again in the backward pass: the gradients keep their bits."""

import contextlib
import copy
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from torch import nn

from rescale.lookup import network
from rescale.models import build
from rescale.models.recomputing import Recomputing
from rescale.network import Network
from test_memory import NAMES
from test_models import randomise
from test_network import any_networks


class Storing(contextlib.AbstractContextManager):
    """Stands in for the hooks: autograd stores all tensors itself."""

    def __init__(self, *_: object) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def gradients(model: nn.Module, images: torch.Tensor, passes: int = 1) -> list[torch.Tensor]:
    """Gradients of the weights and the images, and buffers, after backward passes through one graph."""
    clone, images = copy.deepcopy(model), images.clone().requires_grad_()
    loss = clone(images).float().square().sum()
    for _ in range(passes):
        loss.backward(retain_graph=passes > 1)
    leaves = [images, *(p for p in clone.parameters() if p.requires_grad)]
    return [*(leaf.grad for leaf in leaves), *clone.buffers()]


def assert_equal_gradients(model: nn.Module, images: torch.Tensor, passes: int = 1) -> None:
    recomputed = gradients(model, images, passes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rescale.models.recomputing.saved_tensors_hooks", Storing)
        stored = gradients(model, images, passes)
    assert all(torch.equal(a, b) for a, b in zip(recomputed, stored, strict=True))


def prepared(net: Network, batch: int = 3) -> tuple[nn.Module, torch.Tensor]:
    """The network with random weights in training mode, and images."""
    torch.manual_seed(0)
    side = net.resolution
    return randomise(build(net)).train(), torch.randn(batch, net.input.channels, side, side)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_keep_their_bits(name: str, half: bool) -> None:
    with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
        assert_equal_gradients(*prepared(network(name)))


@settings(max_examples=15, deadline=None)
@given(any_networks())
def test_gradients_of_any_network(net: Network) -> None:
    assert_equal_gradients(*prepared(net, 2))


def test_several_backward_passes_through_one_graph() -> None:
    assert_equal_gradients(*prepared(network("regnety_002@64")), passes=2)


def test_frozen_layers() -> None:
    """Of a layer without a gradient of its own, no operation may need the map."""
    model, images = prepared(network("resnetrs26x0.25@64"))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("conv2.conv" not in name)
    for name, module in model.named_modules():
        if name.endswith("conv1.norm"):
            module.eval()
    assert_equal_gradients(model, images)


def test_a_part_of_a_map_is_stored_as_such() -> None:
    """The first channels begin at the map's address."""
    norm, x = nn.BatchNorm2d(4), torch.randn(2, 4, 3, 3, requires_grad=True)
    with Recomputing() as recomputing:
        first = recomputing.norm_act(norm, nn.ReLU(inplace=True), x)[:, :2]
        (first * first).sum().backward()
    expected = torch.relu(nn.functional.batch_norm(x, None, None, training=True))[:, :2].square().sum()
    assert torch.allclose(x.grad, torch.autograd.grad(expected, x)[0])


def test_maps_of_a_finished_block_are_released() -> None:
    recomputing = Recomputing()
    with recomputing:
        y = recomputing.norm_act(nn.BatchNorm2d(4), nn.ReLU(inplace=True), torch.randn(2, 4, 3, 3))
        assert any(known is y for known, _ in recomputing.maps.values())
    assert not recomputing.maps


@pytest.mark.parametrize("name", ["resnetrs26x0.25@64", "regnety_002@64"])
def test_the_compiler_sees_one_graph(name: str) -> None:
    """It decides itself what to recompute; a break would make its code slower."""
    model, images = prepared(network(name), 2)
    torch._dynamo.reset()
    assert torch._dynamo.explain(model)(images).graph_break_count == 0
