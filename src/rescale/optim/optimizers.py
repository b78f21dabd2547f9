"""Optimizers, and which parameters have weight decay."""

from collections.abc import Callable, Iterable
from fnmatch import fnmatch
from typing import Any

import torch
from torch import Tensor, nn

from rescale.recipes import Recipe, check_installed

_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimizer of a resolved recipe; the training step sets its learning rate.

    Weight decay is added to the gradient by SGD and RMSProp, and subtracted from the weight, as
    lr x weight_decay of it, by AdamW (Loshchilov and Hutter 2019) and Muon (Jordan 2024; timm's class, which
    flattens a convolution's kernel to a matrix and trains what is no matrix by AdamW).

    Raises:
        UserError: Muon without a timm that has it.
    """
    groups = decay_groups(model, recipe.weight_decay, recipe.weight_decay_on)
    if recipe.optimizer == "rmsprop":
        return RMSpropTF(groups, float(recipe.lr), recipe.rmsprop_decay, recipe.momentum, recipe.rmsprop_eps)
    if recipe.optimizer == "muon":
        return _muon(groups, recipe)
    # under fp16 torch's fused SGD would keep uninitialised momentum if the scaler skipped the first step
    fused = recipe.precision != "fp16" and all(p.device.type in ("cpu", "cuda") for p in model.parameters())
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, float(recipe.lr), _betas(recipe), recipe.adam_eps, fused=fused)
    nesterov = recipe.nesterov and recipe.momentum > 0
    return torch.optim.SGD(groups, float(recipe.lr), recipe.momentum, nesterov=nesterov, fused=fused)


def decay_groups(model: nn.Module, weight_decay: float, on: str) -> list[dict[str, Any]]:
    """Parameter groups with and without weight decay.

    on: `all`; `not-norm`, all except those of norms (as the ResNet-RS authors, who also decay the biases of
    SE and of the last layer); `weights`, no norms and no biases; `matrices`, no parameters of less than two
    dimensions (norms, layer scale), no biases, and none that match the names or patterns of the model's
    `no_weight_decay()`, as in timm (class token, position embedding).
    """
    norm = {id(p) for m in model.modules() if isinstance(m, _NORMS) for p in m.parameters(recurse=False)}

    names: Callable[[], Iterable[str]] = getattr(model, "no_weight_decay", tuple)
    listed = set(names())

    def is_exempt(name: str, parameter: Tensor) -> bool:
        if on == "all":
            return False
        if on == "matrices":
            is_listed = any(fnmatch(name, pattern) for pattern in listed)
            return parameter.ndim < 2 or name.endswith(".bias") or is_listed
        return id(parameter) in norm or (on == "weights" and name.endswith("bias"))

    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups = [
        {"params": [p for n, p in named if not is_exempt(n, p)], "weight_decay": weight_decay},
        {"params": [p for n, p in named if is_exempt(n, p)], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _muon(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    check_installed(recipe)
    from timm.optim import Muon  # optional

    optimizer: torch.optim.Optimizer = Muon(
        groups,
        float(recipe.lr),
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        eps=recipe.adam_eps,
        betas=_betas(recipe),
    )
    return optimizer


def _betas(recipe: Recipe) -> tuple[float, float]:
    return recipe.adam_beta1, recipe.adam_beta2


class RMSpropTF(torch.optim.Optimizer):
    """RMSProp as in TensorFlow, with which EfficientNet was trained.

    It differs from torch's in three ways: eps is inside the root, the mean square starts at one, and the
    momentum buffer includes the learning rate. At eps 1e-3 the steps differ by orders of magnitude.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        decay: float = 0.9,
        momentum: float = 0.9,
        eps: float = 1e-3,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "decay": decay, "momentum": momentum, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            pairs = [(p, p.grad) for p in group["params"] if p.grad is not None]
            if pairs:
                self._update([p for p, _ in pairs], [gradient for _, gradient in pairs], group)
        return loss

    def _update(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        for p in parameters:
            if not self.state[p]:
                self.state[p] = {"square": torch.ones_like(p), "buffer": torch.zeros_like(p)}
        squares = [self.state[p]["square"] for p in parameters]
        buffers = [self.state[p]["buffer"] for p in parameters]
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))
        torch._foreach_lerp_(squares, torch._foreach_mul(gradients, gradients), 1 - group["decay"])
        roots = torch._foreach_add(squares, group["eps"])
        torch._foreach_sqrt_(roots)
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_addcdiv_(buffers, gradients, roots, value=group["lr"])
        torch._foreach_sub_(parameters, buffers)
