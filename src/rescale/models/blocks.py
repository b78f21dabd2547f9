"""The modules of a network; their shapes come from the layers of `geometry`."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.utils.checkpoint import checkpoint

from rescale.geometry import POINT, Block, Grid, Layer, same_padding
from rescale.models.recomputing import Recomputing
from rescale.network import Network

Sides = tuple[int, ...]  # of a kernel, stride or padding, one per dimension, as torch expects them

# by the number of dimensions that a network's maps have
CONVS: dict[int, Callable[..., _ConvNd]] = {2: nn.Conv2d, 3: nn.Conv3d}
NORMS: dict[int, Callable[..., _BatchNorm]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAX_POOLS: dict[int, Callable[..., nn.Module]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVERAGE_POOLS: dict[int, Callable[..., nn.Module]] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}

# not in place for SiLU, whose gradient needs the input, which would then be copied
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": partial(nn.ReLU, inplace=True), "silu": nn.SiLU}


@dataclass(frozen=True)
class Rates:
    """The values of a recipe that are built into a model; they are not part of the network.

    Args:
        dropout: rate for the pooled features, in [0, 1).
        stochastic_depth: probability that the last block's branch is dropped, in [0, 1).
        stochastic_depth_by: how the probability grows up to the last block. `stage`: rate * l / 5 in stages
            l = 2..5. `block`: rate * i / blocks, with i from 0.
        bn_momentum: share of the new batch in the running statistics (torch's momentum), in [0, 1]. At 1 the
            statistics are those of the last batch.

    Source:
        `stage`: the ResNet-RS authors' code. `block`: the EfficientNet authors' code.
    """

    dropout: float = 0.0
    stochastic_depth: float = 0.0
    stochastic_depth_by: Literal["stage", "block"] = "stage"
    bn_momentum: float = 0.1

    def drop_path(self, stage: int, stages: int, block: int, blocks: int) -> float:
        """Probability of dropping a block's branch; stages and blocks are counted from 0."""
        if self.stochastic_depth_by == "stage":
            return self.stochastic_depth * (stage + 2) / (stages + 1)
        return self.stochastic_depth * block / blocks


@dataclass(frozen=True)
class Style:
    """Settings that all layers of a network share. dimensions: of feature maps, 2 for images, 3 for clips."""

    dimensions: int = 2
    activation: Literal["relu", "silu"] = "relu"
    padding: Literal["symmetric", "same"] = "symmetric"
    norm_eps: float = 1e-5
    bn_momentum: float = 0.1

    @classmethod
    def of(cls, network: Network, rates: Rates) -> "Style":
        """The style of a network, with the recipe's batch-norm momentum."""
        return cls(2, network.activation, network.padding, network.norm_eps, rates.bn_momentum)

    def sides(self, grid: Grid) -> Sides:
        """A grid's extent along each of the maps' dimensions."""
        return grid[-self.dimensions :]

    def act(self) -> nn.Module:
        """A new module of the activation."""
        return ACTIVATIONS[self.activation]()


class SamePad(nn.Module):
    """Pad like TensorFlow's `same`: an odd pixel is added at the end."""

    def __init__(self, kernel: Sides, stride: Sides, value: float = 0.0) -> None:
        super().__init__()
        self.kernel, self.stride, self.value = kernel, stride, value

    def forward(self, x: Tensor) -> Tensor:
        ends: list[int] = []
        for side, kernel, stride in zip(x.shape[2:], self.kernel, self.stride, strict=True):
            total = same_padding(side, kernel, stride)
            ends = [total // 2, total - total // 2, *ends]  # F.pad begins with the last dimension
        return F.pad(x, ends, value=self.value)


class ConvNorm(nn.Module):
    """A convolution without bias, batch norm, and the activation where the layer has one."""

    def __init__(self, layer: Layer, style: Style) -> None:
        super().__init__()
        same = style.padding == "same" and layer.stride != POINT
        self.pad = SamePad(style.sides(layer.kernel), style.sides(layer.stride)) if same else None
        self.conv = convolution(layer, style, padded=not same)
        norm = NORMS[style.dimensions]
        self.norm = norm(layer.width_out, eps=style.norm_eps, momentum=style.bn_momentum)
        self.act = style.act() if layer.active else None

    def forward(self, x: Tensor, recomputing: Recomputing | None = None) -> Tensor:
        """recomputing: the result is computed again in the backward pass, so that it need not be stored."""
        if self.pad is not None:
            x = self.pad(x)
        x = self.conv(x)
        if recomputing is not None:
            return recomputing.norm_act(self.norm, self.act, x)
        x = self.norm(x)
        return x if self.act is None else self.act(x)


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation (Hu et al. 2018): scale each channel by a function of all channels' means.

    Mean, reduce, activation, expand, sigmoid.
    """

    def __init__(self, reduce: Layer, expand: Layer, style: Style) -> None:
        super().__init__()
        self.reduce = convolution(reduce, style)
        self.act = style.act()
        self.expand = convolution(expand, style)

    def forward(self, x: Tensor, recomputing: Recomputing) -> Tensor:
        """recomputing: the product is computed again in the backward pass if x is."""
        weight = self.act(self.reduce(x.mean(map_dimensions(x), keepdim=True)))
        return recomputing.product(x, torch.sigmoid(self.expand(weight)))


class StochasticDepth(nn.Module):
    """In training, drops a branch for each image with probability `rate`, in [0, 1), or scales it up.

    The same random numbers as torchvision's, whose import takes as long as torch's.

    Source: Deep Networks with Stochastic Depth (Huang et al., 2016).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training:
            return branch
        kept = branch.new_empty((len(branch),) + (1,) * (branch.dim() - 1)).bernoulli_(1 - self.rate)
        return branch * kept.div_(1 - self.rate)


class Shortcut(nn.Module):
    """The projection shortcut of a block that changes width or size; in ResNet-D after average pooling."""

    def __init__(self, pool: Layer | None, conv: Layer, style: Style) -> None:
        super().__init__()
        self.pool: nn.Module = nn.Identity()
        if pool:  # like TensorFlow's SAME, whose mean excludes the padding
            average = AVERAGE_POOLS[style.dimensions]
            sides = style.sides(pool.kernel), style.sides(pool.stride)
            self.pool = average(*sides, ceil_mode=True, count_include_pad=False)
        self.project = ConvNorm(conv, style)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.pool(x))


class ResidualBlock(nn.Module):
    """Two or three convolutions, squeeze-and-excitation and a shortcut.

    Bottlenecks (1x1, kernel x kernel, 1x1) and basic blocks (two kernel x kernel) have an activation after
    the sum, inverted bottlenecks have none.
    """

    def __init__(self, block: Block, drop_path: float, style: Style) -> None:
        super().__init__()
        part = block.layers
        squeeze = SqueezeExcite(part["se.reduce"], part["se.expand"], style) if "se.reduce" in part else None
        self.conv1 = ConvNorm(part["conv1"], style) if "conv1" in part else None
        self.conv2 = ConvNorm(part["conv2"], style)
        self.conv3 = ConvNorm(part["conv3"], style) if "conv3" in part else None
        self.se = squeeze
        self.se_inner = block.se_inner
        self.skip = block.skip
        self.shortcut = (
            Shortcut(part.get("shortcut.pool"), part["shortcut.project"], style)
            if block.skip == "project"
            else None
        )
        # a block without a shortcut cannot be dropped
        dropped = drop_path if block.skip != "none" else 0.0
        self.drop_path = StochasticDepth(dropped) if dropped else None
        self.act = style.act() if block.active else None
        self.checkpointed = False  # store only the input, and run again in the backward pass

    def forward(self, x: Tensor) -> Tensor:
        if self.checkpointed and torch.is_grad_enabled():
            return checkpoint(self._run, x, use_reentrant=False, context_fn=self._contexts)
        return self._run(x)

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Contexts of the first run and of the second one in the backward pass.

        The second run must not update the running statistics again.
        """
        return nullcontext(), statistics_kept(self)

    def _run(self, x: Tensor) -> Tensor:
        with Recomputing(enabled=not self.checkpointed) as recomputing:
            branch, last = x if self.conv1 is None else self.conv1(x, recomputing), self.conv2
            if self.conv3 is not None:
                branch, last = self.conv2(branch, recomputing), self.conv3
            if self.se is not None and self.se_inner:
                branch = self.se(branch, recomputing)
            if self.se is not None and not self.se_inner:
                branch = self.se(last(branch, recomputing), recomputing)
            else:  # a sum stores nothing
                branch = last(branch)
        if self.drop_path is not None:
            branch = self.drop_path(branch)
        if self.skip != "none":
            branch = branch + (x if self.shortcut is None else self.shortcut(x))
        return branch if self.act is None else self.act(branch)


class Stem(nn.Module):
    """Convolutions with batch norm and activation, and an optional max-pool."""

    def __init__(self, layers: tuple[Layer, ...], style: Style) -> None:
        super().__init__()
        self.convs = nn.Sequential(*(ConvNorm(layer, style) for layer in layers if layer.kind == "conv"))
        pools = [_max_pool(layer, style) for layer in layers if layer.kind == "maxpool"]
        self.pool = pools[0] if pools else None

    def forward(self, x: Tensor) -> Tensor:
        *inner, last = self.convs
        with Recomputing() as recomputing:
            for conv in inner:
                x = conv(x, recomputing)
            # without a pool the blocks that follow need the output
            return last(x) if self.pool is None else self.pool(last(x, recomputing))


class Head(nn.Module):
    """An optional convolution, global average pooling, dropout and a linear layer.

    [N, C, ...] -> [N, classes]
    """

    def __init__(self, layers: tuple[Layer, ...], dropout: float, style: Style) -> None:
        super().__init__()
        *convs, linear = layers
        self.conv = ConvNorm(convs[0], style) if convs else None
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(linear.width_in, linear.width_out)

    def forward(self, x: Tensor) -> Tensor:
        if self.conv is not None:
            x = self.conv(x)
        return self.linear(self.dropout(x.mean(map_dimensions(x))))


def checkpoint_blocks(model: nn.Module) -> None:
    """Use activation checkpointing in every block: only its input is stored for the backward pass."""
    for module in model.modules():
        if isinstance(module, ResidualBlock):
            module.checkpointed = True


@contextmanager
def statistics_kept(module: nn.Module) -> Iterator[None]:
    """Within this context, batch norm in training mode does not update its running statistics."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    saved = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, counter) in zip(norms, saved, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, counter


def convolution(layer: Layer, style: Style, *, padded: bool = True) -> _ConvNd:
    """The convolution of a layer. padded: by half the kernel, so that a stride of 1 keeps the size."""
    kernel, conv = style.sides(layer.kernel), CONVS[style.dimensions]
    padding = half(kernel) if padded else 0
    widths = layer.width_in, layer.width_out
    return conv(*widths, kernel, style.sides(layer.stride), padding, groups=layer.groups, bias=layer.bias)


def half(kernel: Sides) -> Sides:
    """The padding per side of an odd kernel that keeps the size."""
    return tuple(side // 2 for side in kernel)


def map_dimensions(x: Tensor) -> Sides:
    """The dimensions of a batch of maps after the first two (images and channels)."""
    return tuple(range(2, x.ndim))


def _max_pool(layer: Layer, style: Style) -> nn.Module:
    kernel, stride, pool = style.sides(layer.kernel), style.sides(layer.stride), MAX_POOLS[style.dimensions]
    if style.padding == "same":
        return nn.Sequential(SamePad(kernel, stride, value=-torch.inf), pool(kernel, stride))
    return pool(kernel, stride, padding=half(kernel))
