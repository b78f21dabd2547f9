"""build(network) -> nn.Module. Nothing is decided here: the shapes are geometry's, the rates the recipe's."""

import math

from torch import Tensor, nn

from rescale.geometry import geometry
from rescale.models.blocks import Bottleneck, Head, Rates, Stem
from rescale.network import Network

_TRUNCATED = 0.87962566103423978  # standard deviation of a normal cut off at two of its own


class Model(nn.Module):
    """A built network: images [N, channels, R, R] -> logits [N, classes]."""

    def __init__(self, network: Network, rates: Rates) -> None:
        super().__init__()
        shapes = geometry(network)
        self.network = network
        self.stem = Stem(shapes.stem, rates)
        stages: list[list[Bottleneck]] = [[] for _ in network.stages]
        for i, block in enumerate(shapes.blocks):
            drop = rates.drop_path(block.stage, len(stages), i, len(shapes.blocks))
            stages[block.stage].append(Bottleneck(block, drop, rates))
        self.stages = nn.ModuleList(nn.Sequential(*blocks) for blocks in stages)
        self.head = Head(shapes.head, rates.dropout)

    def features(self, x: Tensor) -> list[Tensor]:
        """The output of each stage, the largest map first: what dense tasks stand on."""
        x, found = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x)[-1])


def build(network: Network, num_classes: int | None = None, rates: Rates | None = None) -> Model:
    """Build a network with freshly drawn weights (torch's default generator decides them).

    num_classes: short for build(network.with_classes(num_classes)).
    """
    if num_classes is not None:
        network = network.with_classes(num_classes)
    model = Model(network, rates or Rates())
    if next(model.parameters()).device.type != "meta":
        initialise(model)
    return model


def initialise(model: nn.Module) -> None:
    """Draw the weights as the ResNet-RS authors' TPU code does.

    Convolutions: normal of variance 1 / fan_in, cut off at two deviations; linear: normal of 0.01;
    biases 0; batch norm 1, but 0 at the end of each residual branch, so that a block begins as its shortcut.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            std = math.sqrt(1 / fan_in) / _TRUNCATED
            nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
    for module in model.modules():
        if isinstance(module, Bottleneck):
            nn.init.zeros_(module.conv3.norm.weight)
