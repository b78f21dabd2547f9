"""Models that are not ours: their multiply-adds by closed forms, and a word on those that are not counted."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rescale.cli.models import _counted, show
from rescale.errors import UserError
from rescale.models import model_named
from rescale.models.count import Counted, counted
from rescale.models.external import external_cost
from rescale.models.head import features_of
from rescale.recipes import Recipe
from rescale.training.norms import check_images

SIZE = 8
PIXELS = 3 * SIZE**2


class Net(nn.Module):
    """Layers by name, and what they do."""

    def __init__(self, compute: Callable[[Any, Tensor], Any], **layers: Any) -> None:
        super().__init__()
        self.compute = compute
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Any:
        return self.compute(self, x)


def weights(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(*shape))


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)  # 64 tokens of width 3


def attention(call: Callable[[Any, Tensor], Any]) -> Net:
    layers = {"embed": nn.Linear(3, 16, bias=False), "mha": nn.MultiheadAttention(16, 2, batch_first=True)}
    return Net(lambda net, x: call(net, net.embed(tokens(x)))[0].mean(1), **layers)


ATTENTION = 64 * 3 * 16 + 4 * 64 * 16 * 16 + 2 * 64 * 64 * 16
MODELS: dict[str, tuple[Callable[[], nn.Module], int, str, int]] = {
    # name: model, multiply-adds, how they are counted, activations
    "attention": (lambda: attention(lambda net, t: net.mha(t, t, t)), ATTENTION, "flop counter", 64 * 16 * 5),
    "attention by keywords": (
        lambda: attention(lambda net, t: net.mha(query=t, key=t, value=t)),
        ATTENTION, "flop counter", 64 * 16 * 5,
    ),
    "attention by both": (
        lambda: attention(lambda net, t: net.mha(t, value=t, key=t)), ATTENTION, "flop counter", 64 * 16 * 5,
    ),
    "bilinear": (
        lambda: Net(lambda net, x: net.layer(x[:, 0, 0], x[:, 0, 0]), layer=nn.Bilinear(8, 8, 5)),
        8 * 8 * 5 + 5, "hooks", 5,
    ),
    "a function that is bilinear": (
        lambda: Net(lambda net, x: F.bilinear(x[:, 0, 0], x[:, 0, 0], net.w), w=weights(5, 8, 8)),
        8 * 8 * 5, "flop counter", 0,
    ),
    "matrix and vector": (
        lambda: Net(lambda net, x: (net.w @ x.flatten())[None], w=weights(5, PIXELS)),
        5 * PIXELS, "flop counter", 0,
    ),
    "matrix and vector, added": (
        lambda: Net(
            lambda net, x: torch.addmv(net.b, net.w, x.flatten())[None], w=weights(5, PIXELS), b=weights(5)
        ),
        5 * PIXELS, "flop counter", 0,
    ),
    "two vectors": (
        lambda: Net(lambda net, x: torch.dot(net.w, x.flatten()).view(1, 1), w=weights(PIXELS)),
        PIXELS, "flop counter", 0,
    ),
    "convolution in one dimension": (
        lambda: Net(lambda net, x: net.conv(x.flatten(2)), conv=nn.Conv1d(3, 7, 5)),
        7 * 60 * 3 * 5 + 7 * 60, "hooks", 7 * 60,
    ),
    "convolution in three dimensions": (
        lambda: Net(lambda net, x: net.conv(x[:, None]), conv=nn.Conv3d(1, 2, (1, 3, 3), bias=False)),
        2 * 3 * 36 * 9, "hooks", 2 * 3 * 36,
    ),
    "transposed convolution": (
        lambda: nn.ConvTranspose2d(3, 4, 4, stride=2, bias=False), PIXELS * 4 * 16, "hooks", 4 * 18 * 18,
    ),
    "transposed convolution in groups": (
        lambda: nn.ConvTranspose2d(3, 6, 2, stride=2, groups=3), PIXELS * 2 * 4 + 6 * 256, "hooks", 6 * 256,
    ),
    "a convolution called by keyword": (
        lambda: Net(lambda net, x: net.conv(input=x), conv=nn.ConvTranspose2d(3, 4, 1, bias=False)),
        PIXELS * 4, "hooks", 4 * 64,
    ),
    "a convolution by a function": (
        lambda: Net(lambda net, x: F.conv2d(x, net.w), w=weights(4, 3, 3, 3)), 4 * 27 * 36, "flop counter", 0,
    ),
    "a pool that returns positions": (
        lambda: Net(lambda net, x: net.pool(x)[0], pool=nn.MaxPool2d(2, return_indices=True)), 0, "hooks", 48,
    ),
    "TorchScript": (
        lambda: torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 5))),
        5 * PIXELS, "flop counter", 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_multiply_adds_of_operations(name: str) -> None:
    build, macs, source, activations = MODELS[name]
    for device in ("cpu", "meta"):
        with torch.device(device):
            result = counted(build().eval(), SIZE)
        assert (result.cost.macs, result.source, result.cost.activations) == (macs, source, activations)
        assert not result.uncounted


def test_a_quantised_model() -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 16), nn.ReLU(), nn.Linear(16, 5))
    model = torch.ao.quantization.quantize_dynamic(plain, {nn.Linear}, dtype=torch.qint8)
    result = counted(model, SIZE)
    assert (result.cost.macs, result.source) == (PIXELS * 16 + 16 * 5, "flop counter")
    assert result.outputs == 5 and not result.uncounted


def test_what_is_not_counted_is_named() -> None:
    model = Net(lambda net, x: net.lstm(tokens(x))[0][:, -1], lstm=nn.LSTM(3, 4, batch_first=True)).eval()
    result = counted(model, SIZE)  # one operation on a CPU
    assert result.source == "incomplete" and "rnn" in result.uncounted[0]
    with torch.device("meta"):
        result = counted(copy.deepcopy(model).to("meta"), SIZE)
    assert result.cost.macs == 64 * (3 * 16 + 4 * 16) and result.source == "flop counter"
    by_frequency = Net(lambda net, x: net.head(torch.fft.fft2(x).real.flatten(1)), head=nn.Linear(PIXELS, 5))
    result = counted(by_frequency.eval(), SIZE)
    assert (
        result.cost.macs == PIXELS * 5 + 5 and result.source == "incomplete" and "fft" in result.uncounted[0]
    )


def test_a_failure_of_the_flop_counter_is_not_one_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils import flop_counter

    def fails(*_: object, **__: object) -> int:
        raise AssertionError("a shape it does not expect")

    monkeypatch.setitem(flop_counter.flop_registry, torch.ops.aten.addmm, fails)
    result = counted(nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 5)), SIZE)
    assert result.cost.macs == PIXELS * 5 + 5 and result.outputs == 5
    assert result.source == "incomplete" and "a shape it does not expect" in result.uncounted[0]


def test_a_failure_of_the_model_is_raised() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        counted(nn.Sequential(nn.Flatten(), nn.Linear(7, 5)), SIZE)


PYTHON_MODELS = """
import torch
from torch import nn

class Attention(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.patches, self.head = nn.Conv2d(3, 16, 4, 4), nn.Linear(16, num_classes)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, x):
        t = self.patches(x).flatten(2).transpose(1, 2)
        return self.head(self.attention(query=t, key=t, value=t)[0].mean(1))

def script(num_classes):
    return torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(192, num_classes)))
"""


def test_commands_count_models_of_users(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models_to_count.py").write_text(PYTHON_MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    external_cost.cache_clear()

    def cost(name: str, size: int = 8) -> Counted:
        return external_cost(model_named(f"python:models_to_count:{name}@{size}").with_classes(5))

    assert cost("Attention").outputs == 5 and cost("Attention").source == "flop counter"
    assert cost("script").cost.macs == 192 * 5 and cost("script").outputs == 5
    with pytest.raises(
        UserError, match=r"fails on an image of 16 x 16 pixels .*choose the one that it is made"
    ):
        cost("script", 16)


def test_what_is_not_counted_is_shown(tmp_path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (tmp_path / "models_by_frequency.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, num_classes):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(192, num_classes))\n"
        "    def forward(self, x):\n"
        "        return super().forward(torch.fft.fft2(x).real)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    rows = [_counted("python:models_by_frequency:Net@8", 5)]
    assert rows[0]["macs"] == 192 * 5 + 5 and rows[0]["counted"] == "incomplete"
    show(rows, as_json=False)
    text = " ".join(capsys.readouterr().out.split())
    assert "incomplete" in text and "Net@8: its multiply-adds are a lower bound, without aten::_fft" in text


def test_layers_called_by_keyword_are_seen() -> None:
    net = Net(
        lambda net, x: net.head(input=net.norm(input=x).flatten(1)),
        norm=nn.BatchNorm2d(3),
        head=nn.Linear(3, 5),
    )
    assert features_of(net.eval(), torch.ones(2, 3, 1, 1)).shape == (2, 3)


def test_a_batch_norm_called_by_keyword_is_checked(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models_with_norm.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, num_classes):\n"
        "        super().__init__()\n"
        "        self.norm, self.head = nn.BatchNorm2d(3), nn.Linear(3, num_classes)\n"
        "    def forward(self, x):\n"
        "        return self.head(self.norm(input=x.mean((2, 3), keepdim=True)).flatten(1))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"gives batch norm \(norm, a map of one pixel\)"):
        check_images(model_named("python:models_with_norm:Net@8"), Recipe(), 1)
