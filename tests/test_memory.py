"""The predicted memory of a training step against the tensors stored by autograd and torch's allocations."""

from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from torch._C._autograd import SavedTensor

from rescale.cost import cost
from rescale.lookup import network
from rescale.memory import step_memory
from rescale.models import build
from rescale.network import Network
from rescale.optim.averaging import Average
from rescale.optim.optimizers import make_optimizer
from rescale.recipes import Recipe
from test_network import any_networks, resnet_names

NAMES = (
    "resnet18x0.25@64", "resnet18x0.25+se@64",
    "resnet26x0.25@64", "resnetrs26x0.25@64", "resnetrs26x0.25+smallstem@32", "resnext26_8x4d@64",
    "regnetx_002@64", "regnety_002@64", "regnetz_500mf@64", "efficientnet_b0@64", "efficientnet_b0@63",
    "tf_efficientnet_b0@64", "tf_efficientnet_b0@65",
)  # fmt: skip


def stored_bytes(net: Network, batch: int, dtype: torch.dtype | None = None) -> int:
    """Bytes that autograd stores, without weights and statistics."""
    model = build(net).train()
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    images = torch.randn(batch, net.input.channels, net.resolution, net.resolution)
    with torch.autocast("cpu", dtype) if dtype else nullcontext():
        logits = model(images)
    storages = [tensor.untyped_storage() for tensor in stored_tensors(logits)]
    return sum({s.data_ptr(): s.nbytes() for s in storages if s.data_ptr() not in own}.values())


def stored_tensors(result: torch.Tensor) -> Iterator[torch.Tensor]:
    """All tensors that the graph of a result holds, without those that it computes again."""
    waiting, seen = [result.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [previous for previous, _ in node.next_functions]
        for name in dir(node):
            if name.startswith("_raw_saved_") and isinstance(saved := getattr(node, name), SavedTensor):
                packed = saved.data
                if isinstance(packed, torch.Tensor):
                    yield packed


@pytest.mark.parametrize("name", NAMES)
def test_activations_are_the_tensors_stored_by_autograd(name: str) -> None:
    net = network(name)
    assert step_memory(net, 3).activations == stored_bytes(net, 3)


@settings(max_examples=6, deadline=None)
@given(resnet_names())
def test_activations_of_any_resnet(name: str) -> None:
    net = network(name.split("@", maxsplit=1)[0] + "@64")
    if cost(net).params < 40e6:
        assert step_memory(net, 2).activations == stored_bytes(net, 2)


@settings(max_examples=40, deadline=None)
@given(any_networks())
def test_activations_of_any_network(net: Network) -> None:
    """With TensorFlow's padding some tensors are stored twice or shared, so its margin is wide."""
    margin = 0.25 if net.padding == "same" else 0.001
    assert step_memory(net, 2).activations == pytest.approx(stored_bytes(net, 2), rel=margin)


@pytest.mark.parametrize("name", ["resnetrs26x0.25@64", "efficientnet_b0@64"])
def test_half_precision_halves_maps_and_copies_weights(name: str) -> None:
    net = network(name)
    half, full = step_memory(net, 3, "bf16"), step_memory(net, 3)
    copies = half.weights - full.weights
    assert half.activations + copies == pytest.approx(stored_bytes(net, 3, torch.bfloat16), rel=0.002)


def test_weights_gradients_optimizer_average() -> None:
    net = network("resnetrs50")
    model = build(net)
    memory = step_memory(net, 1)
    floats = [t for t in model.state_dict().values() if t.is_floating_point()]
    assert memory.weights == sum(t.nbytes for t in floats)
    assert memory.gradients == memory.optimizer == 4 * cost(net).params
    assert memory.average == sum(t.nbytes for t in Average(model, 0.9).state_dict().values() if t.ndim)
    assert step_memory(net, 1, average=False).peak == memory.peak - memory.average


@pytest.mark.parametrize("name", ["rmsprop", "adamw", "muon"])
def test_an_optimizers_state_is_what_torch_holds(name: str) -> None:
    net = network("resnetrs26x0.25@32")
    model = build(net)
    optimizer = make_optimizer(model, Recipe(lr=0.1, optimizer=name))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    tensors = [t for state in optimizer.state.values() for t in state.values() if torch.is_tensor(t)]
    held = sum(t.nbytes for t in tensors if t.ndim)  # without the counters of steps
    margin = 3e-3 if name == "muon" else 0  # which also keeps the mean squares of a few biases
    assert step_memory(net, 1, optimizer=name).optimizer == pytest.approx(held, rel=margin)


@pytest.mark.parametrize(
    ("name", "margin"), [("resnetrs26x0.5@96", 0.1), ("regnety_002@96", 0.1), ("efficientnet_b0@96", 0.2)]
)
def test_peak_is_what_torch_allocates(name: str, margin: float) -> None:
    """The profiler records all allocations, also workspace: 29 MB in a depthwise convolution's gradient."""
    net, batch = network(name), 8
    model = build(net).train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    images = torch.randn(batch, 3, net.resolution, net.resolution).to(memory_format=torch.channels_last)

    def step() -> None:
        model(images).float().logsumexp(1).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    cpu = torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[cpu], profile_memory=True) as profile:
        step()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    predicted = step_memory(net, batch, average=False)
    constant = predicted.weights + predicted.optimizer
    assert predicted.peak - constant == pytest.approx(peak, rel=margin)
