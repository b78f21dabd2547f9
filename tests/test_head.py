"""Classifiers and features, and linear probes, which leave the backbone bit-identical."""

import sys
from collections.abc import Callable

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from rescale.errors import UserError
from rescale.lookup import network
from rescale.models import Rates, build, make, model_named
from rescale.models.head import classifier_of, features_of, freeze_backbone, train_mode
from rescale.recipes import recipe
from rescale.tasks.classification import Classification
from rescale.training.evaluate import evaluate
from test_models import randomise


class Small(nn.Module):
    """A typical user model: batch norm without weights, dropout, two linear layers."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5))
        self.squeeze = nn.Linear(8, 6)
        self.plain = nn.BatchNorm1d(6, affine=False)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(6, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled = self.body(images).mean((2, 3))
        return self.last(self.drop(self.plain(self.squeeze(pooled))))


RATES = Rates(dropout=0.2, stochastic_depth=0.3, bn_momentum=1.0)
MODELS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "resnet": (lambda: build(network("resnetrs26x0.25@32"), 5, RATES), "head.linear"),
    "efficientnet": (lambda: build(network("efficientnet_b0@32"), 5, RATES), "head.linear"),
    "timm resnet": (lambda: timm.create_model("resnet10t", num_classes=5, drop_rate=0.2), "fc"),
    "timm regnet": (lambda: timm.create_model("regnety_002", num_classes=5, drop_path_rate=0.3), "head.fc"),
    "timm vit": (
        lambda: timm.create_model(
            "vit_tiny_patch16_224", num_classes=5, img_size=32, depth=2, drop_path_rate=0.3
        ),
        "head",
    ),
    "python": (lambda: Small(5), "last"),
}  # fmt: skip


def images(seed: int = 0, size: int = 32) -> torch.Tensor:
    return torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(seed))


def probe_step(module: nn.Module, seed: int) -> None:
    """A training step; its weight decay would also change parameters without a gradient."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, 0.1, weight_decay=0.1)
    F.cross_entropy(module(images(seed)), torch.tensor([0, 1, 2, 3])).backward()
    optimizer.step()


@pytest.mark.parametrize("name", MODELS)
def test_the_classifier_is_the_layer_that_computes_the_outputs(name: str) -> None:
    module, path = randomise(MODELS[name][0]()).eval(), MODELS[name][1]
    classifier = classifier_of(module)
    assert classifier is module.get_submodule(path) and classifier.out_features == 5
    with torch.no_grad():
        outputs, features = module(images()), features_of(module, images())
    assert features.shape == (4, classifier.in_features)
    assert torch.equal(F.linear(features, classifier.weight, classifier.bias), outputs)
    assert not classifier._forward_pre_hooks


@pytest.mark.parametrize("name", MODELS)
def test_a_linear_probe_leaves_the_backbone_bit_identical(name: str) -> None:
    module, path = randomise(MODELS[name][0]()), MODELS[name][1]
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    freeze_backbone(module)
    for step in range(3):
        probe_step(train_mode(module), step)
    after = module.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {f"{path}.weight", f"{path}.bias"}
    assert all(parameter.grad is None for key, parameter in module.named_parameters() if path not in key)


@pytest.mark.parametrize("name", ["resnet", "timm regnet", "python"])
def test_without_train_mode_the_buffers_would_change(name: str) -> None:
    """Shows that the check above can fail."""
    module = randomise(MODELS[name][0]())
    freeze_backbone(module)
    before = {key: buffer.clone() for key, buffer in module.named_buffers()}
    probe_step(module.train(), 0)
    assert any(not torch.equal(before[key], buffer) for key, buffer in module.named_buffers())


@pytest.mark.parametrize("name", ["resnet", "efficientnet", "timm regnet"])
def test_the_backbone_of_a_probe_is_deterministic_and_the_dropout_of_the_head_is_active(name: str) -> None:
    module = randomise(MODELS[name][0]())
    freeze_backbone(module)
    train_mode(module)
    classifier = classifier_of(module)
    dropout = [part for part in module.modules() if isinstance(part, nn.Dropout) and part.p]
    for part in dropout:
        assert part.training
        part.p = 0.0
    first, second = (features_of(module, images()) for _ in range(2))
    assert torch.equal(first, second) and torch.equal(first, features_of(module.eval(), images()))
    assert train_mode(module).training and classifier.training


@pytest.mark.parametrize("name", MODELS)
def test_without_frozen_parameters_all_modules_are_in_training_mode(name: str) -> None:
    module = MODELS[name][0]().eval()
    assert train_mode(module) is module
    assert all(part.training for part in module.modules())


def test_evaluation_leaves_frozen_parts_in_evaluation_mode() -> None:
    module = MODELS["resnet"][0]()
    freeze_backbone(module)
    train_mode(module)
    before = [part.training for part in module.modules()]
    evaluate(module, Classification(recipe("resnet-rs")), [], evaluators=[])
    assert [part.training for part in module.modules()] == before and len(set(before)) == 2


def test_a_python_model(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "probe_models.py").write_text(
        "from test_head import Small\nfrom torch import nn\n"
        "def small(num_classes): return Small(num_classes)\n"
        "def none(num_classes): return nn.Sequential(nn.Conv2d(3, num_classes, 3), nn.Flatten())\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    module, _ = make(model_named("python:probe_models:small").with_classes(7))
    assert classifier_of(module).out_features == 7
    convolution, _ = make(model_named("python:probe_models:none"))
    for function in (classifier_of, freeze_backbone, lambda module: features_of(module, images())):
        with pytest.raises(UserError, match="Sequential: has no linear classifier"):
            function(convolution)
    assert all(parameter.requires_grad for parameter in convolution.parameters())


def test_other_classifiers_are_refused() -> None:
    with pytest.raises(UserError, match="its classifier is Identity"):
        classifier_of(timm.create_model("resnet10t", num_classes=0))

    class PerPixel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(3, 2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.last(images.permute(0, 2, 3, 1))

    with pytest.raises(UserError, match="not one vector per image"):
        features_of(PerPixel(), images())
