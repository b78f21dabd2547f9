"""Batch norm with one image, which it may refuse, and with several processes.

There, statistics are averaged over the processes, or computed on the global batch.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rescale.errors import UserError
from rescale.geometry import layers
from rescale.models import External, make
from rescale.network import Network
from rescale.recipes import Recipe


class SyncedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the images of all processes, equally many in each. torch's SyncBatchNorm needs GPUs.

    [N, C, H, W] -> the same; mean and variance are those of the N x processes images.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        wide, over = x.float(), (0, 2, 3)
        mine = torch.stack([wide.mean(over), wide.var(over, correction=0)])
        means, variances = _Gathered.apply(mine).unbind(1)  # each [processes, C]
        mean, var = means.mean(0), variances.mean(0) + means.var(0, correction=0)
        self._note(mean.detach(), var.detach(), len(means) * x.numel() // x.shape[1])
        scale = self.weight * (var + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return (wide * scale[:, None, None] + shift[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _note(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Update the running statistics, with the unbiased variance as in torch."""
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
        momentum = float(self.momentum)  # type: ignore[arg-type]
        self.running_mean.lerp_(mean, momentum)  # type: ignore[union-attr]
        self.running_var.lerp_(var * count / (count - 1), momentum)  # type: ignore[union-attr]


class _Gathered(torch.autograd.Function):
    """The tensors of all processes, stacked; the gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor) -> Tensor:
        gathered = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, mine.contiguous())
        return torch.stack(gathered)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient[dist.get_rank()]


def check_images(model: Network | External, recipe: Recipe, images: int) -> None:
    """Refuse a micro-batch of one image for a model with batch norm on a map of one pixel.

    Args:
        model: the model to train.
        recipe: resolved; if it freezes the backbone, batch norm uses the statistics of the weights.
        images: per micro-batch of one process; with synchronised batch norm, of all processes.

    Raises:
        UserError: a batch norm would see one value per channel, which has no variance.
    """
    if images == 1 and recipe.freeze != "backbone" and (name := _norm_of_one_pixel(model)):
        raise UserError(
            f"{model.name}: a micro-batch of one image gives batch norm ({name}, a map of one pixel) one "
            f"value per channel, which has no variance; use two images or more, or a higher resolution"
        )


def _norm_of_one_pixel(model: Network | External) -> str:
    """The first batch norm on a map of one pixel; empty if there is none."""
    if isinstance(model, Network):
        return next((f"{x.name}.norm" for x in layers(model) if x.norm and x.map_out.points == 1), "")
    with torch.device("meta"):  # no memory and no computation
        module, _ = make(model)
        image = torch.zeros(1, 3, model.resolution, model.resolution)
    norms = {name: norm for name, norm in module.named_modules() if isinstance(norm, _BatchNorm)}
    names: list[str] = []

    def note(name: str, inputs: Tensor) -> None:
        if inputs[0, 0].numel() == 1:
            names.append(name)

    for name, norm in norms.items():
        norm.register_forward_pre_hook(
            lambda _, inputs, keywords, name=name: note(name, *inputs, *keywords.values()), with_kwargs=True
        )
    if norms:
        with torch.no_grad():
            module.eval()(image)
    return names[0] if names else ""


def synchronise(module: nn.Module) -> nn.Module:
    """Make every batch norm use the global batch. Raises UserError for other norms than BatchNorm2d."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    unsupported = {type(m).__name__ for m in norms if type(m) is not nn.BatchNorm2d or m.momentum is None}
    if unsupported:
        raise UserError(
            f"--sync-bn: cannot synchronise this model's {', '.join(sorted(unsupported))}; leave it out"
        )
    if any(p.is_cuda for p in module.parameters()):
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for norm in norms:
        norm.__class__ = SyncedBatchNorm  # the same parameters and buffers under the same names
    return module


def own_norms(module: nn.Module) -> list[_BatchNorm]:
    """The batch norms whose running statistics differ between processes."""
    shared = (SyncedBatchNorm, nn.SyncBatchNorm)
    return [m for m in module.modules() if isinstance(m, _BatchNorm) and not isinstance(m, shared)]


@torch.no_grad()
def average_statistics(norms: Sequence[_BatchNorm]) -> None:
    """Replace running means and variances by their means over the processes, except in frozen norms."""
    buffers = [
        buffer
        for norm in norms
        if norm.training
        for buffer in (norm.running_mean, norm.running_var)
        if buffer is not None
    ]
    if buffers:
        flat = torch.cat(buffers)
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        torch._foreach_copy_(buffers, flat.split([len(buffer) for buffer in buffers]))
