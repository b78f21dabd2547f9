"""Cost of a module counted by hooks: for external models, and to check the arithmetic of `cost`."""

from typing import Any

import torch
from torch import Tensor, nn

from rescale.cost import Cost

_COUNTED = (nn.Conv2d, nn.Linear, nn.MaxPool2d, nn.AvgPool2d)


def count(model: nn.Module, resolution: int, channels: int = 3) -> Cost:
    """Cost of one image, counted in a forward pass; for this project's networks equal to that of `cost`.

    Convolutions, linear layers and spatial pools are counted if they are modules. Products in functions, as
    in attention, are not.
    """
    macs = activations = 0

    def add(module: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal macs, activations
        activations += output.numel()
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            macs += output.numel() * (fan_in + (module.bias is not None))

    hooks = [m.register_forward_hook(add) for m in model.modules() if isinstance(m, _COUNTED)]
    was_training = model.training
    weight = next(model.parameters())
    try:
        image = torch.zeros(1, channels, resolution, resolution, device=weight.device, dtype=weight.dtype)
        with torch.no_grad():
            model.eval()(image)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return Cost(macs, sum(p.numel() for p in model.parameters()), activations)
