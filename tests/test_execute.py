"""The modes in which a model is run change time and memory, and results by rounding at most."""

import copy
import shutil

import pytest
import torch
from torch import nn

import rescale
from rescale.data import Batch
from rescale.errors import UserError
from rescale.execution import USUAL, ExecutionMode
from rescale.models import Rates, build, model_named
from rescale.models.blocks import ConvNorm, checkpoint_blocks
from rescale.models.execute import check_mode, executed, folded, frozen
from rescale.recipes import recipe, resolve
from rescale.tasks import task_of
from rescale.training.step import Stepper
from test_models import randomise

NAMES = (
    "resnetrs50x0.25@64",
    "resnext50_32x4d@64",
    "efficientnet_b0@64",
    "tf_efficientnet_b0@64",
    "regnety_500mf@64",
)


def drawn_anew(name: str) -> nn.Module:
    rates = Rates(dropout=0.2, stochastic_depth=0.3, bn_momentum=0.3)
    return randomise(build(rescale.network(name), 10, rates))


def step(model: nn.Module) -> torch.Tensor:
    torch.manual_seed(1)  # of dropout and stochastic depth
    out = model(torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(2)))
    out.square().sum().backward()
    return out


@pytest.mark.parametrize("name", NAMES)
def test_recomputing_changes_no_bit(name: str) -> None:
    plain = drawn_anew(name).train()
    again = copy.deepcopy(plain)
    checkpoint_blocks(again)
    assert torch.equal(step(plain), step(again))
    for (key, left), right in zip(plain.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(left.grad, right.grad), key
    for (key, left), right in zip(plain.named_buffers(), again.buffers(), strict=True):
        assert torch.equal(left, right), key


def test_recomputing_keeps_less() -> None:
    def kept(model: nn.Module) -> int:
        sizes: dict[int, int] = {}

        def count(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            model(torch.randn(2, 3, 64, 64))
        return sum(sizes.values())

    plain = drawn_anew("resnetrs50x0.25@64").train()
    again = copy.deepcopy(plain)
    checkpoint_blocks(again)
    assert kept(again) < kept(plain) / 2


@pytest.mark.parametrize("name", NAMES)
def test_folding_gives_the_same_outputs(name: str) -> None:
    torch.manual_seed(3)
    model = drawn_anew(name).train()
    with torch.no_grad():
        for _ in range(20):  # statistics of real maps: drawn ones let the images' differences die out
            model(torch.randn(8, 3, 64, 64))
    model.eval()
    simpler = folded(copy.deepcopy(model))
    assert simpler is not None
    assert not any(isinstance(m, nn.BatchNorm2d) for m in simpler.modules())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        wanted = model(images)
        torch.testing.assert_close(simpler(images), wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
        next(m for m in simpler.modules() if isinstance(m, ConvNorm)).conv.bias.add_(1)  # a wrong fold shows
        assert not torch.allclose(simpler(images), wanted, rtol=1e-3)


def test_folding_a_model_that_is_not_ours() -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model("regnety_002", num_classes=10).eval()
    simpler = folded(model)
    assert simpler is not None and not any(isinstance(m, nn.BatchNorm2d) for m in simpler.modules())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(simpler(images), model(images), rtol=1e-4, atol=1e-5)


def test_what_cannot_be_traced_stays_as_it_is() -> None:
    class Branching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    assert folded(Branching()) is None


@pytest.mark.parametrize(
    "text",
    [
        "channels_last",
        "contiguous",
        "channels_last+compile",
        "contiguous+graphs",
        "channels_last+checkpointing",
    ],
)
def test_modes_read_as_they_are_written(text: str) -> None:
    assert str(ExecutionMode.parse(text)) == text


def test_words_alone_mean_channels_last() -> None:
    assert ExecutionMode.parse("compile") == ExecutionMode(compile=True)
    assert ExecutionMode.parse("channels_last") == USUAL


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("channel_last", "did you mean 'channels_last'"),
        ("", "known: auto"),
        ("channels_last+contiguous", "choose one"),
        ("compile+checkpointing", "drop checkpointing"),
    ],
)
def test_modes_that_cannot_be_meant(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        ExecutionMode.parse(text)


def test_modes_that_cannot_be_had() -> None:
    net = rescale.network("resnetrs50")
    with pytest.raises(UserError, match="GPU"):
        check_mode(net, ExecutionMode(compile=True, graphs=True), "cpu")
    with pytest.raises(UserError, match="checkpointing needs the blocks of this project"):
        check_mode(model_named("python:torch.nn:Identity@8"), ExecutionMode(checkpointing=True), "cpu")
    check_mode(net, ExecutionMode(checkpointing=True), "cpu")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU needs g++")
def test_compiled_steps_follow_the_plain_ones() -> None:
    plain = drawn_anew("resnetrs26x0.125@32").train()
    again = copy.deepcopy(plain)
    call = executed(again, ExecutionMode(compile=True))
    for module in (plain, again):  # torch draws other random numbers in compiled code
        for part in module.modules():
            if hasattr(part, "drop_path"):
                part.drop_path = None
        module.head.dropout.p = 0.0
    images = torch.randn(4, 3, 32, 32)
    expected, output = plain(images), call(images)
    torch.testing.assert_close(output, expected, rtol=1e-3, atol=1e-4)
    expected.square().sum().backward()
    output.square().sum().backward()
    for (key, left), right in zip(plain.named_parameters(), again.named_parameters(), strict=True):
        torch.testing.assert_close(
            right[1].grad, left.grad, rtol=1e-2, atol=1e-2 * float(left.grad.abs().max()), msg=key
        )


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU needs g++")
def test_frozen_weights_are_constants(monkeypatch) -> None:
    from torch._inductor import freezing

    original, inputs = freezing.freeze, []

    def spied(*args, **options):
        graph, kept = original(*args, **options)
        inputs.append(len(kept))
        return graph, kept

    monkeypatch.setattr(freezing, "freeze", spied)
    model = drawn_anew("resnetrs26x0.125@32").eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        wanted = model(images)
        call = frozen(model, ExecutionMode(compile=True), images)
        torch.testing.assert_close(call(images), wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
    assert inputs == [1]  # the images alone; the weights have become constants
    assert frozen(model, USUAL, images) is model


def test_gradients_that_keep_their_memory_give_the_same_steps() -> None:
    """CUDA graphs need them so, where micro-batches add up."""
    net, ends, places = rescale.network("resnetrs1-1x0.125+smallstem@8"), [], []
    chosen = resolve(recipe("resnet-rs", batch=8, accumulate=2, precision="fp32"), net).recipe
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (6, 4, 3, 8, 8), dtype=torch.uint8, generator=draw)
    batches = [Batch({"images": each, "labels": torch.arange(4)}, 4, torch.arange(4)) for each in images]
    for keep in (False, True):
        torch.manual_seed(0)
        model = build(net)
        task = task_of(chosen).placed("cpu", torch.contiguous_format)
        stepper = Stepper(model, model, task, chosen, 10, keep_gradients=keep)
        for step in range(3):
            stepper(batches[2 * step : 2 * step + 2], step)
            places.append([None if p.grad is None else p.grad.data_ptr() for p in model.parameters()])
        ends.append(model.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert set(places[0]) == {None} and places[3] == places[4] == places[5] and None not in places[3]
