"""Optimizers and averaging against timm, torch and closed forms."""

import copy
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import timm.optim
import torch
from torch import nn

from rescale.cli.early import check_recipe
from rescale.errors import UserError
from rescale.lookup import network
from rescale.models import build
from rescale.optim.averaging import Average
from rescale.optim.optimizers import RMSpropTF, decay_groups, make_optimizer
from rescale.recipes import Recipe
from rescale.training import train


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 5))


def trained(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (step + 1)
        optimizer.zero_grad()
        images = torch.randn(4, 3, 8, 8, generator=generator)
        model(images.to(next(model.parameters()).dtype)).square().mean().backward()
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("weight_decay", [0.0, 1e-2])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_rmsprop_is_tensorflows(weight_decay: float, momentum: float) -> None:
    ours, theirs = small(), small()
    mine = RMSpropTF(ours.parameters(), 0.1, 0.9, momentum, 1e-3, weight_decay)
    peer = timm.optim.RMSpropTF(
        theirs.parameters(), 0.1, alpha=0.9, eps=1e-3, weight_decay=weight_decay, momentum=momentum
    )
    assert torch.allclose(trained(ours, mine), trained(theirs, peer), rtol=1e-5, atol=1e-6)
    torch_model = small()
    other = torch.optim.RMSprop(
        torch_model.parameters(), 0.1, alpha=0.9, eps=1e-3, weight_decay=weight_decay, momentum=momentum
    )
    assert not torch.allclose(
        trained(small(), RMSpropTF(small().parameters(), 0.1)), trained(torch_model, other), rtol=1e-2
    )


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_torchs(nesterov: bool) -> None:
    ours, theirs = small(), small()
    recipe = Recipe(lr=0.1, nesterov=nesterov, weight_decay=1e-2, weight_decay_on="all")
    peer = torch.optim.SGD(theirs.parameters(), 0.1, 0.9, weight_decay=1e-2, nesterov=nesterov)
    assert torch.allclose(
        trained(ours, make_optimizer(ours, recipe)), trained(theirs, peer), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("precision", ["fp32", "fp16"])  # fused or not
def test_adamw_is_torchs_with_groups_made_by_hand(precision: str) -> None:
    # in float64: of the gradient of a bias before batch norm, which is 0, float32 leaves only the rounding
    ours, theirs = small().double().to(memory_format=torch.channels_last), small().double()
    recipe = Recipe(
        lr=0.1, optimizer="adamw", weight_decay=0.3, weight_decay_on="matrices", precision=precision,
        adam_beta1=0.8, adam_beta2=0.95, adam_eps=1e-3,
    )  # fmt: skip
    conv, norm, _, linear = theirs
    groups = [
        {"params": [conv.weight, linear.weight], "weight_decay": 0.3},
        {"params": [conv.bias, norm.weight, norm.bias, linear.bias], "weight_decay": 0.0},
    ]
    peer = torch.optim.AdamW(groups, 0.1, (0.8, 0.95), eps=1e-3, foreach=False)
    mine = make_optimizer(ours, recipe)
    assert bool(mine.defaults["fused"]) == (precision == "fp32")
    torch.testing.assert_close(trained(ours, mine), trained(theirs, peer), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("nesterov", [False, True])
def test_muon_is_timms(nesterov: bool) -> None:
    """The rate of each step, which `trained` sets, is that of both kinds of parameters."""
    ours, theirs = small(), small()
    recipe = Recipe(
        lr=0.7, optimizer="muon", momentum=0.8, nesterov=nesterov, weight_decay=0.3,
        weight_decay_on="matrices", adam_beta1=0.8, adam_beta2=0.95, adam_eps=1e-3,
    )  # fmt: skip
    conv, norm, _, linear = theirs
    groups = [
        {"params": [conv.weight, linear.weight], "weight_decay": 0.3},
        {"params": [conv.bias, norm.weight, norm.bias, linear.bias], "use_fallback": True},
    ]
    peer = timm.optim.Muon(groups, momentum=0.8, nesterov=nesterov, eps=1e-3, betas=(0.8, 0.95))
    torch.testing.assert_close(trained(ours, make_optimizer(ours, recipe)), trained(theirs, peer))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit_tiny_patch16_224", {"img_size": 32, "patch_size": 8}),  # class token, positions
        ("convnext_atto", {}),  # layer scale
        ("swin_tiny_patch4_window7_224", {}),  # tables of relative positions
        ("resnet18", {}),  # lists no parameters
    ],
)
def test_matrices_decay_as_in_timm(name: str, options: dict) -> None:
    model = timm.create_model(name, num_classes=3, **options)
    listed = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()
    names = {id(p): n for n, p in model.named_parameters()}
    first, second = (
        {group["weight_decay"]: {names[id(p)] for p in group["params"]} for group in groups}
        for groups in (
            decay_groups(model, 0.05, "matrices"),
            timm.optim.param_groups_weight_decay(model, 0.05, no_weight_decay_list=listed),
        )
    )
    assert first == second and set(first) == {0.05, 0.0}


@pytest.mark.parametrize(
    ("found", "words"), [(None, "which is not installed"), ("1.0.26", "found 1.0.26"), ("1.0.27.dev0", "")]
)
def test_muon_without_a_timm_that_has_it_is_one_line(
    found: str | None, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def version(_: str) -> str:
        if found is None:
            raise PackageNotFoundError
        return found

    monkeypatch.setattr("rescale.recipes.needs.version", version)
    if not words:
        assert make_optimizer(small(), Recipe(lr=0.1, optimizer="muon"))
        return
    out = tmp_path / "run"
    with pytest.raises(UserError, match=words) as caught:
        train(network("resnet26x0.25@32"), Recipe(optimizer="muon", epochs=1, batch=64), "digits", out)
    assert len(caught.value.lines) == 1 and not out.exists()
    with pytest.raises(UserError, match=words):
        check_recipe("resnet-rs", ["optimizer=muon"])
    assert check_recipe("resnet-rs", ["optimizer=adamw"]).optimizer == "adamw"


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_a_first_step_that_overflows_has_no_effect(name: str) -> None:
    """fp16: the scaler skips it; torch's fused SGD would then use uninitialised momentum."""

    def parameters(overflows: int) -> torch.Tensor:
        model, scaler = small(), torch.amp.GradScaler("cpu", init_scale=4.0)
        optimizer = make_optimizer(model, Recipe(lr=0.1, precision="fp16", optimizer=name))
        for step in range(overflows + 1):
            garbage = [torch.full_like(p, 1e9) for p in model.parameters()]
            del garbage  # uninitialised memory will contain these values
            loss = model(torch.ones(4, 3, 8, 8)).square().mean()
            scaler.scale(loss).backward()
            if step < overflows:
                next(model.parameters()).grad.fill_(torch.inf)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    torch.testing.assert_close(parameters(overflows=2), parameters(overflows=0), rtol=1e-5, atol=1e-6)


def test_parameters_with_weight_decay() -> None:
    model = build(network("resnetrs26x0.25"))
    sizes = {
        on: sum(p.numel() for p in decay_groups(model, 1.0, on)[0]["params"])
        for on in ("all", "not-norm", "weights")
    }
    norm = sum(p.numel() for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters())
    biases = sum(
        m.bias.numel() for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear) and m.bias is not None
    )
    total = sum(p.numel() for p in model.parameters())
    assert biases and sizes == {"all": total, "not-norm": total - norm, "weights": total - norm - biases}


def test_average_is_the_authors() -> None:
    model = small()
    average = Average(model, 0.9999)
    expected = {name: tensor.clone().double() for name, tensor in model.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    for t in range(1, 30):
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.normal_(generator=generator)
            else:
                tensor.add_(1)
        average.update(t)
        decay = min(0.9999, (1 + t) / (10 + t))  # first update: 2/11
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                expected[name] = decay * expected[name] + (1 - decay) * tensor.double()
            else:
                expected[name] = tensor
    state = average.state_dict()
    assert set(state) == set(expected)
    assert all(torch.allclose(state[name].double(), expected[name].double(), atol=1e-5) for name in expected)
    assert average.decay_at(1) == pytest.approx(2 / 11) and average.decay_at(10**7) == 0.9999


def test_average_swaps_in_and_out_even_on_an_error() -> None:
    model = small()
    average = Average(model, 0.9)
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1)
    current = copy.deepcopy(model.state_dict())
    with pytest.raises(KeyError), average.swapped_in(model):
        assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
        raise KeyError
    assert all(torch.equal(current[name], tensor) for name, tensor in model.state_dict().items())
    assert all(torch.equal(before[name], tensor) for name, tensor in average.state_dict().items())
