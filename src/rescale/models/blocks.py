"""The modules a network is built of; each takes its shapes from geometry's layers."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from rescale.geometry import Block, Layer


@dataclass(frozen=True)
class Rates:
    """What a recipe sets inside a model. One network has one identity, whatever it is trained with.

    dropout: of the pooled features, [0, 1). stochastic_depth: chance that the last block's branch is
    dropped, [0, 1), growing `by` stage (rate * l / 5 in stages l = 2..5, the ResNet-RS authors' code)
    or by block (rate * i / blocks, i from 0, EfficientNet's). bn_momentum: torch's, the share of the
    new batch; 1 keeps the last batch's statistics, as the authors do under an average of the weights.
    """

    dropout: float = 0.0
    stochastic_depth: float = 0.0
    stochastic_depth_by: Literal["stage", "block"] = "stage"
    bn_momentum: float = 0.1
    bn_eps: float = 1e-5

    def drop_path(self, stage: int, stages: int, block: int, blocks: int) -> float:
        """Chance to drop a block's branch; stage and block count from 0 over the whole network."""
        if self.stochastic_depth_by == "stage":
            return self.stochastic_depth * (stage + 2) / (stages + 1)
        return self.stochastic_depth * block / blocks


class ConvNorm(nn.Module):
    """A convolution without bias, then batch norm."""

    def __init__(self, layer: Layer, rates: Rates) -> None:
        super().__init__()
        self.conv = conv2d(layer)
        self.norm = nn.BatchNorm2d(layer.width_out, eps=rates.bn_eps, momentum=rates.bn_momentum)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class SqueezeExcite(nn.Module):
    """Reweigh channels by what the whole map holds (Hu et al. 2018): mean, reduce, ReLU, expand, sigmoid."""

    def __init__(self, reduce: Layer, expand: Layer) -> None:
        super().__init__()
        self.reduce = conv2d(reduce)
        self.expand = conv2d(expand)

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.relu(self.reduce(x.mean((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.expand(weight))


class Shortcut(nn.Module):
    """The projection past a block that changes width or size, after average pooling in ResNet-D."""

    def __init__(self, pool: Layer | None, conv: Layer, rates: Rates) -> None:
        super().__init__()
        self.pool: nn.Module = nn.Identity()
        if pool:  # ceil_mode and count_include_pad: TensorFlow's SAME, whose mean leaves the padding out
            self.pool = nn.AvgPool2d(pool.kernel, pool.stride, ceil_mode=True, count_include_pad=False)
        self.project = ConvNorm(conv, rates)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.pool(x))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1, squeeze-and-excitation, stochastic depth; added to the shortcut."""

    def __init__(self, block: Block, drop_path: float, rates: Rates) -> None:
        super().__init__()
        part = block.layers
        self.conv1 = ConvNorm(part["conv1"], rates)
        self.conv2 = ConvNorm(part["conv2"], rates)
        self.conv3 = ConvNorm(part["conv3"], rates)
        self.se = SqueezeExcite(part["se.reduce"], part["se.expand"]) if "se.reduce" in part else None
        self.drop_path = StochasticDepth(drop_path, "row") if drop_path else None
        self.shortcut = (
            Shortcut(part.get("shortcut.pool"), part["shortcut.project"], rates)
            if "shortcut.project" in part
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        branch = torch.relu_(self.conv1(x))
        branch = torch.relu_(self.conv2(branch))
        branch = self.conv3(branch)
        if self.se is not None:
            branch = self.se(branch)
        if self.drop_path is not None:
            branch = self.drop_path(branch)
        bypass = x if self.shortcut is None else self.shortcut(x)
        return torch.relu_(branch + bypass)


class Stem(nn.Module):
    """Convolutions with batch norm and ReLU, then a max-pool if there is one."""

    def __init__(self, layers: tuple[Layer, ...], rates: Rates) -> None:
        super().__init__()
        self.convs = nn.ModuleList(ConvNorm(layer, rates) for layer in layers if layer.kind == "conv")
        pools = [layer for layer in layers if layer.kind == "maxpool"]
        self.pool = nn.MaxPool2d(pools[0].kernel, pools[0].stride, padding=1) if pools else None

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = torch.relu_(conv(x))
        return x if self.pool is None else self.pool(x)


class Head(nn.Module):
    """Global average pooling, dropout, one linear layer: [N, C, H, W] -> [N, classes]."""

    def __init__(self, layer: Layer, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(layer.width_in, layer.width_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.dropout(x.mean((2, 3))))


def conv2d(layer: Layer) -> nn.Conv2d:
    """The convolution of a layer, padded by half its kernel."""
    return nn.Conv2d(
        layer.width_in, layer.width_out, layer.kernel, layer.stride, layer.kernel // 2, bias=layer.bias
    )
