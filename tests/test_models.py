"""Networks against timm's and torchvision's with the same weights; initialisation; rates; external models."""

import copy
import math
from dataclasses import replace
from functools import partial

import pytest
import timm
import timm.layers
import torch
import torchvision
from timm.models._efficientnet_builder import _init_weight_goog
from torch import nn

from rescale.errors import UserError
from rescale.lookup import network
from rescale.models import Rates, build, cost_of, counted_cost, load_weights, make, model_named
from rescale.models.blocks import SqueezeExcite, StochasticDepth
from rescale.models.count import counted
from rescale.models.external import check_outputs, external_cost
from rescale.network import Head, as_mapping, to_yaml

SE = partial(timm.layers.SEModule, rd_ratio=0.25)  # as in timm's ResNet-RS
PEERS = {
    "resnetrs50": lambda: timm.create_model("resnetrs50"),
    "resnetrs101": lambda: timm.create_model("resnetrs101"),
    "resnet50": lambda: torchvision.models.resnet50(),
    "resnet50d": lambda: timm.create_model("resnet50d"),
    "resnet26": lambda: timm.create_model("resnet26"),
    "resnet18": lambda: torchvision.models.resnet18(),
    "resnet34": lambda: torchvision.models.resnet34(),
    "resnet18d": lambda: timm.create_model("resnet18d"),
    "resnet18+se": lambda: timm.create_model("resnet18", block_args={"attn_layer": SE}),
    "resnext50_32x4d": lambda: torchvision.models.resnext50_32x4d(),
    "regnetx_004_tv": lambda: torchvision.models.regnet_x_400mf(),
    "regnetx_080": lambda: timm.create_model("regnetx_080"),
    "regnety_002": lambda: timm.create_model("regnety_002"),
    "regnety_008_tv": lambda: torchvision.models.regnet_y_800mf(),
    "regnety_040": lambda: timm.create_model("regnety_040"),
    "efficientnet_b0": lambda: timm.create_model("efficientnet_b0"),
    "efficientnet_b3": lambda: torchvision.models.efficientnet_b3(dropout=0.0, stochastic_depth_prob=0.0),
    "tf_efficientnet_b0": lambda: timm.create_model("tf_efficientnet_b0"),
}


def randomise(model: nn.Module) -> nn.Module:
    """Randomise all parameters and buffers, because initial zeros would hide a broken layer."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            continue
        if "var" in name:
            tensor.uniform_(0.5, 2, generator=generator)
        elif tensor.ndim > 1:
            tensor.normal_(0, tensor[0].numel() ** -0.5, generator=generator)
        elif name.endswith("weight"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        else:
            tensor.normal_(0, 0.3, generator=generator)
    return model


def gap(ours: nn.Module, theirs: nn.Module) -> float:
    """Largest difference of outputs, relative to the largest output, in both modes and on an odd size."""
    images = torch.randn(2, 3, 97, 97, generator=torch.Generator().manual_seed(2))
    ours, theirs = copy.deepcopy(ours), copy.deepcopy(theirs)  # training mode changes their statistics
    worst = 0.0
    for training in (False, True):
        ours.train(training)
        theirs.train(training)
        with torch.no_grad():
            a, b = ours(images), theirs(images)
        worst = max(worst, ((a - b).abs().max() / b.abs().max()).item())
    return worst


@pytest.mark.parametrize("name", PEERS)
def test_outputs_equal_the_peers(name: str) -> None:
    theirs = randomise(PEERS[name]())
    ours = build(network(name))
    assert gap(ours, theirs) > 0.1  # before loading they differ: the check can fail
    report = load_weights(ours, theirs.state_dict())
    assert not report.kept and not report.unused
    assert gap(ours, theirs) < 1e-5


def test_regnetz_equals_timm_except_for_the_head() -> None:
    """timm's has a head of 1024 channels; ours has 1000, which agrees with the counts in the paper."""
    theirs = randomise(timm.create_model("regnetz_005"))
    ours = build(replace(network("regnetz_500mf"), head=Head(1000, 1024)))
    load_weights(ours, theirs.state_dict())
    assert gap(ours, theirs) < 1e-5


@pytest.mark.parametrize(
    "layer",
    [
        "stages.1.0.conv2.conv",
        "stages.2.3.se.expand",
        "stages.1.0.shortcut.project.norm",
        "stem.convs.3.conv",
    ],
)
def test_parity_sees_one_broken_layer(layer: str) -> None:
    theirs = randomise(PEERS["resnetrs50"]())
    ours = build(network("resnetrs50"))
    load_weights(ours, theirs.state_dict())
    ours.get_submodule(layer).weight.data.mul_(1.1)
    assert gap(ours, theirs) > 1e-4


def test_a_head_of_another_size_is_kept_and_reported() -> None:
    ours = build(network("resnet26"), num_classes=7)
    before = ours.head.linear.weight.clone()
    report = load_weights(ours, randomise(PEERS["resnet26"]()).state_dict())
    assert torch.equal(before, ours.head.linear.weight)
    assert "1000 classes" in report.notes[0] and set(report.kept) == {
        "head.linear.weight",
        "head.linear.bias",
    }


def test_weights_of_another_network_are_rejected_and_change_nothing() -> None:
    ours = build(network("resnet26"))
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    with pytest.raises(UserError, match=r"not weights of resnet26: .* tensors differ"):
        load_weights(ours, PEERS["resnet50"]().state_dict())
    assert all(torch.equal(before[name], tensor) for name, tensor in ours.state_dict().items())


def test_weight_files(tmp_path) -> None:
    from safetensors.torch import save_file

    theirs = randomise(PEERS["resnet26"]())
    save_file(theirs.state_dict(), tmp_path / "a.safetensors")
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "a.pth")
    for name in ("a.safetensors", "a.pth"):
        ours = build(network("resnet26"))
        load_weights(ours, tmp_path / name)
        assert gap(ours, theirs) < 1e-5


class Evil:
    def __reduce__(self):
        return (print, ("this pickle ran",))


def test_bad_weight_files(tmp_path, capsys) -> None:
    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    (tmp_path / "noise.pth").write_bytes(b"noise")
    for name in ("evil.pth", "list.pth", "cut.safetensors", "noise.pth", "absent.pth"):
        with pytest.raises(UserError, match=name):
            load_weights(build(network("resnet26x0.25")), tmp_path / name)
    assert "this pickle ran" not in capsys.readouterr().out


def test_initialisation_is_the_authors() -> None:
    torch.manual_seed(0)
    model = build(network("resnetrs50"))
    conv = model.stages[2][1].conv2.conv.weight
    assert math.isclose(conv.std().item(), (1 / conv[0].numel()) ** 0.5, rel_tol=0.01)
    assert conv.abs().max() <= 2.01 * (1 / conv[0].numel()) ** 0.5 / 0.8796
    assert math.isclose(model.head.linear.weight.std().item(), 0.01, rel_tol=0.01)
    for block in model.stages[1]:
        assert not block.conv3.norm.weight.any() and block.conv2.norm.weight.all()
    for block in build(network("resnet18")).stages[1]:
        assert not block.conv2.norm.weight.any() and block.conv1.norm.weight.all()
    reduce = next(m for m in model.modules() if isinstance(m, SqueezeExcite)).reduce
    assert not reduce.bias.any()


def norms_are_plain(model: nn.Module) -> bool:
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    plain = all(torch.equal(norm.weight, torch.ones_like(norm.weight)) for norm in norms)
    return plain and not any(norm.bias.any() or norm.running_mean.any() for norm in norms)


@pytest.mark.parametrize("name", ["regnety_040", "regnetz_500mf_g1", "resnext50_32x4d"])
def test_initialisation_of_fast_scaling(name: str) -> None:
    """As in pycls: the fan-out is that of a convolution without groups."""
    torch.manual_seed(0)
    model = build(network(name))
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.weight.numel() > 10_000]
    for conv in convs:
        expected = math.sqrt(2 / (conv.kernel_size[0] ** 2 * conv.out_channels))
        assert math.isclose(conv.weight.std().item(), expected, rel_tol=0.04)
    assert math.isclose(model.head.linear.weight.std().item(), 0.01, rel_tol=0.01)
    assert norms_are_plain(model)


@pytest.mark.parametrize(
    "name", ["efficientnet_b0", "tf_efficientnet_b1", "efficientnetrs_b0", "efficientnet_b0-dWr-2"]
)
def test_initialisation_of_efficientnet(name: str) -> None:
    """As in timm, which follows the authors' TPU code: the standard deviation of every layer."""
    torch.manual_seed(0)
    ours, theirs = build(network(name)), copy.deepcopy(build(network(name)))
    for path, module in theirs.named_modules():
        _init_weight_goog(module, path)
    large = 0
    for path, module in ours.named_modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        first, second = module.weight.detach(), theirs.get_submodule(path).weight.detach()
        # the ratio of two standard deviations of n samples each has a relative error of about 1 / sqrt(n)
        assert abs(math.log(first.std() / second.std())) < 5 / math.sqrt(first.numel())
        assert module.bias is None or not module.bias.any()
        large += first.numel() > 100_000
    weight, bound = ours.head.linear.weight, 1 / math.sqrt(1000)
    assert 0.999 * bound < weight.abs().max() <= bound and large > 5
    depthwise = ours.stages[1][0].conv2.conv.weight
    assert math.isclose(depthwise.std().item(), math.sqrt(2 / 9), rel_tol=0.1)
    assert norms_are_plain(ours)


def test_the_network_determines_its_initialisation() -> None:
    """Files of the first version do not specify it and get the default; any network can specify another."""
    b0 = network("efficientnet_b0")
    old = as_mapping(b0)
    assert old.pop("init") == "efficientnet"
    torch.manual_seed(0)
    model = build(network(old))
    depthwise = model.stages[-1][0].conv2.conv
    expected = math.sqrt(2 / (9 * depthwise.out_channels))
    assert math.isclose(depthwise.weight.std().item(), expected, rel_tol=0.05)
    assert network(old).identity == b0.identity
    zeroed = build(replace(b0, init="resnet-rs"))
    norms = [(block.skip, block.conv3.norm.weight) for stage in zeroed.stages for block in stage]
    # blocks without a shortcut must not start at zero, because no signal would pass
    assert all(weight.any() == (skip == "none") for skip, weight in norms)
    assert norms_are_plain(build(replace(network("resnet26"), init="fast-scaling")))


def test_stochastic_depth_by_stage_and_by_block() -> None:
    def rates(by: str) -> list[float]:
        model = build(network("resnet26"), rates=Rates(stochastic_depth=0.1, stochastic_depth_by=by))
        return [block.drop_path.rate if block.drop_path else 0 for stage in model.stages for block in stage]

    assert rates("stage") == pytest.approx(
        [0.04, 0.04, 0.06, 0.06, 0.08, 0.08, 0.1, 0.1]
    )  # T: .04 .06 .08 .10
    assert rates("block") == pytest.approx([0.1 * i / 8 for i in range(8)])


def test_stochastic_depth_keeps_the_mean() -> None:
    model = build(network("resnet1-1x0.25"), rates=Rates(stochastic_depth=0.4))
    drop = model.stages[1][0].drop_path.train()
    scaled = drop(torch.ones(20_000, 1, 1, 1))
    assert scaled.unique().tolist() == pytest.approx([0, 1 / 0.6])
    assert abs(scaled.mean().item() - 1) < 0.03


@pytest.mark.parametrize("shape", [(64, 3, 4, 4), (64, 2, 3, 4, 4)])
def test_stochastic_depth_is_torchvisions(shape: tuple[int, ...]) -> None:
    ours, theirs = StochasticDepth(0.3), torchvision.ops.StochasticDepth(0.3, "row")
    x = torch.randn(shape)
    torch.manual_seed(0)
    expected = theirs(x)
    torch.manual_seed(0)
    assert torch.equal(ours(x), expected) and (expected == 0).any()
    assert ours.eval()(x) is x


def test_rates_reach_every_layer() -> None:
    model = build(network("resnetrs50"), rates=Rates(dropout=0.25, bn_momentum=1.0))
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(norm.momentum == 1.0 and norm.eps == 1e-5 for norm in norms)
    assert model.head.dropout.p == 0.25


def test_external_models(tmp_path, monkeypatch) -> None:
    assert cost_of(model_named("timm:resnetrs50@160")) == cost_of(model_named("resnetrs50@160"))
    rates = Rates(dropout=0.2, stochastic_depth=0.1, bn_momentum=1.0)
    module, missed = make(model_named("timm:resnet18@64").with_classes(5), rates)
    assert module(torch.zeros(2, 3, 64, 64)).shape == (2, 5)
    assert any(line.startswith("not applied: ") and "by stage" in line for line in missed)
    assert all(m.momentum == 1.0 for m in module.modules() if isinstance(m, nn.BatchNorm2d))
    (tmp_path / "mine.py").write_text(
        "from torch import nn\ndef net(num_classes):\n"
        "    pooled = nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()\n"
        "    return nn.Sequential(*pooled, nn.Linear(8, num_classes))\n"
        "def wrong(num_classes):\n    return 3\n"
    )
    monkeypatch.chdir(tmp_path)
    module, missed = make(model_named("python:mine:net@32").with_classes(4), rates)
    assert module(torch.zeros(2, 3, 32, 32)).shape == (2, 4)
    assert len(missed) == 3  # dropout, stochastic depth, batch-norm momentum
    assert model_named("python:mine:net@32").identity == "python:mine:net@32/1000"
    for text, words in {
        "timm:resnetsr50": "did you mean 'resnetrs50'",
        "timm:resnet18@x": "not a resolution",
        "python:mine": "python:package.module:function",
        "python:mine:nothing": "nothing",
        "python:mine:wrong": "not an nn.Module",
    }.items():
        with pytest.raises(UserError, match=words):
            make(model_named(text))


PYTHON_MODELS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, resolution=224, *, drop_rate=0.0, drop_path_rate=0.0):
        super().__init__()
        self.rates = drop_rate, drop_path_rate
        self.linear = nn.Linear(3 * resolution**2, num_classes)

    def forward(self, x):
        return self.linear(x.flatten(1))

def keywords(**arguments):
    assert set(arguments) == {"num_classes"}
    return Net(**arguments)

def of_224(num_classes):
    return Net(num_classes)

def values(num_classes):
    assert torch.zeros(1).item() == 0  # impossible on the meta device
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))

def no_classes():
    return Net(10)

def fails(num_classes):
    raise ValueError("two\\nlines")

nothing = 3
"""


@pytest.fixture
def python_models(tmp_path, monkeypatch) -> None:
    (tmp_path / "python_models.py").write_text(PYTHON_MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    external_cost.cache_clear()


def test_the_contract_of_python_functions(python_models) -> None:
    """num_classes is always passed; resolution, drop_rate and drop_path_rate where they are parameters."""
    rates = Rates(dropout=0.2, stochastic_depth=0.1)
    net = model_named("python:python_models:Net@16").with_classes(5)
    module, missed = make(net, rates)
    assert module.rates == (0.2, 0.1) and module.linear.weight.shape == (5, 3 * 16**2) and not missed
    assert cost_of(net).macs == 5 * 3 * 16**2 + 5
    module, missed = make(model_named("python:python_models:keywords").with_classes(5), rates)
    assert module.linear.out_features == 5 and len(missed) == 2 and "takes no drop_rate" in missed[0]
    state = torch.random.get_rng_state()
    assert cost_of(model_named("python:python_models:values@8")).macs == 4 * 27 * 36 + 4 * 36 + 4000 + 1000
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("of_224@16", r"fails on an image of 16 x 16 pixels .*let its function take `resolution`"),
        ("no_classes", r"takes no num_classes.*write: def no_classes\(num_classes, \.\.\.\)"),
        ("fails", "called with num_classes=1000 it raised ValueError: two lines"),
        ("nothing", "is a int, not a function"),
        ("absent", "cannot be imported: AttributeError"),
        ("nowhere.models:net", "run the command in the folder that holds nowhere, or add that to PYTHONPATH"),
        (
            "python_models.deeper:net",
            "No module named 'python_models.deeper'; 'python_models' is not a package$",
        ),
    ],
)
def test_python_functions_that_cannot_be_used(python_models, name: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        cost_of(model_named(f"python:{name if ':' in name else f'python_models:{name}'}"))
    assert len(caught.value.lines) == 1 and "\n" not in str(caught.value)


RETURNING = """
from torch import nn
class Returning(nn.Module):
    def __init__(self, classes, kind):
        super().__init__()
        self.linear, self.kind = nn.Linear(768, classes), kind
    def forward(self, x):
        y = self.linear(x.flatten(1))
        if self.kind == "aux":
            return (y, y) if self.training else y
        wider = nn.functional.pad(y, (0, 1))
        return {"dict": {"logits": y}, "map": y[:, :, None], "pair": (y, y), "one more": wider}[self.kind]
"""


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("dict", r"returns a dict in evaluation; classification needs one tensor \[images, num_classes\]"),
        ("map", r"returns a tensor of shape \[2, 5, 1\] in evaluation"),
        ("pair", "returns a tuple in evaluation"),
        ("aux", "returns a tuple in training"),
        ("one more", "has 6 outputs in evaluation, not num_classes=5"),
    ],
)
def test_outputs_that_classification_cannot_use(kind: str, words: str, tmp_path, monkeypatch) -> None:
    name = f"returning_{kind.replace(' ', '_')}"
    (tmp_path / f"{name}.py").write_text(
        RETURNING + f"def model(num_classes): return Returning(num_classes, {kind!r})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=words) as caught:
        check_outputs(model_named(f"python:{name}:model@16").with_classes(5))
    assert len(caught.value.lines) == 1


def test_outputs_of_torchvisions_and_timms_models() -> None:
    check_outputs(model_named("python:torchvision.models:resnet18@32").with_classes(5))
    check_outputs(model_named("timm:resnet10t@32").with_classes(5))
    with pytest.raises(UserError, match="returns a GoogLeNetOutputs in training"):
        check_outputs(model_named("python:torchvision.models:googlenet@64").with_classes(5))


def test_labels_of_models(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    theirs, plain = model_named("small=timm:resnet10t@64"), model_named("timm:resnet10t@64")
    assert theirs.name == "small" and theirs.resolution == 64 and theirs.identity == plain.identity
    assert make(theirs.with_classes(3))[0](torch.zeros(2, 3, 64, 64)).shape == (2, 3)
    ours = model_named("mine=resnet18@64")
    assert ours.name == "mine" and ours.identity == network("resnet18@64").identity
    (tmp_path / "a=b.yaml").write_text(to_yaml(network("resnet18@64")))
    assert model_named("a=b.yaml").name == "resnet18@64"


class Attention(nn.Module):
    """A transformer on 8 x 8 patches, with torch's modules or with the functions in them."""

    def __init__(self, functional: bool) -> None:
        super().__init__()
        self.functional = functional
        self.patches = nn.Conv2d(3, 64, 8, 8)
        self.attention = nn.MultiheadAttention(64, 4, batch_first=True)
        self.qkv, self.out = nn.Linear(64, 192), nn.Linear(64, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        if not self.functional:
            return self.attention(x, x, x)[0].mean(1)
        q, k, v = self.qkv(x).unflatten(2, (3, 4, 16)).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out(attended.transpose(1, 2).flatten(2)).mean(1)


@pytest.mark.parametrize("functional", [True, False])
def test_attention_is_counted(functional: bool) -> None:
    """By hand, for n tokens of width w: n w 3 w and n w w for projections, 2 n n w for attention."""
    patches = 64 * 64 * 3 * 8 * 8
    by_hand = patches + 64 * 64 * 192 + 64 * 64 * 64 + 2 * 64 * 64 * 64
    for device in ("cpu", "meta"):
        with torch.device(device):
            cost, source, *_ = counted(Attention(functional).eval(), 64)
        assert (cost.macs, source) == (by_hand, "flop counter")
        assert cost.activations == 64 * 64 * (1 + 3 + 1)


def test_the_count_of_timms_models() -> None:
    """1.254 G is torch's own count; a network without attention is counted as ours are."""
    vit, source, *_ = counted_cost(model_named("timm:vit_tiny_patch16_224"))
    assert (vit.macs, vit.params, source) == (1_253_683_200, 5_717_416, "flop counter")
    assert counted_cost(model_named("timm:resnet18")) == (cost_of(network("resnet18")), "hooks", 1000, ())
    assert counted_cost(network("resnet18")).source == "arithmetic"
    half = counted_cost(model_named("timm:vit_tiny_patch16_224@112")).cost
    assert half.macs < vit.macs / 4  # it was refused
