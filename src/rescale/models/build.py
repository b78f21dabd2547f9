"""Build a module from a network: shapes come from geometry, rates from the recipe."""

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from rescale.geometry import Layer, geometry, layers
from rescale.models.blocks import Head, Rates, ResidualBlock, Stem, Style
from rescale.network import Init, Network

_PIECE = 1 << 15  # elements
_TRUNCATED = 0.87962566103423978  # standard deviation of a standard normal truncated at -2 and 2


class Model(nn.Module):
    """A built network: images [N, channels, R, R] -> logits [N, classes]."""

    def __init__(self, network: Network, rates: Rates) -> None:
        super().__init__()
        shapes, style = geometry(network), Style.of(network, rates)
        self.network = network
        self.stem = Stem(shapes.stem, style)
        stages: list[list[ResidualBlock]] = [[] for _ in network.stages]
        total = sum(block.repeat for block in shapes.blocks)
        for block in shapes.blocks:
            for _ in range(block.repeat):
                drop = rates.drop_path(block.stage, len(stages), sum(map(len, stages)), total)
                stages[block.stage].append(ResidualBlock(block, drop, style))
        self.stages = nn.ModuleList(nn.Sequential(*blocks) for blocks in stages)
        self.head = Head(shapes.head, rates.dropout, style)

    def features(self, x: Tensor) -> list[Tensor]:
        """The output of each stage, the largest map first, for dense tasks."""
        x, outputs = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x)[-1])


def build(network: Network, num_classes: int | None = None, rates: Rates | None = None) -> Model:
    """Build a network as a torch module with newly initialised weights.

    Weights are sampled by torch's default generator, on torch's default device. On the meta device nothing is
    sampled.

    Args:
        network: the network.
        num_classes: outputs of the head, at least 1; None for the network's own.
        rates: dropout, stochastic depth and batch-norm momentum; None for no regularisation and 0.1.

    Returns:
        The module, in training mode. It maps images [N, channels, R, R] to logits [N, classes].

    Source:
        The authors' code; see `initialise` in this module.
    """
    if num_classes is not None:
        network = network.with_classes(num_classes)
    device = torch.get_default_device()
    with torch.device("meta"):  # skips torch's own initialisation, which would be overwritten
        model = Model(network, rates or Rates())
    if device.type == "meta":
        return model
    # not to_empty, which imports sympy: more than half a second
    model = model._apply(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, device=device))
    initialise(model)
    return model


def initialise(model: Model) -> None:
    """Initialise the weights as in the authors' code of the network (`Network.init`); batch norm 1, biases 0.

    resnet-rs (the ResNet-RS TPU code): convolutions normal with variance 1 / fan-in, truncated at two
    standard deviations; batch norm 0 at the end of each residual branch, so that a block initially equals its
    shortcut. fast-scaling (pycls, the code of RegNet): normal with variance 2 / fan-out, where the fan-out is
    that of a convolution without groups. efficientnet (the EfficientNet TPU code): normal with variance
    2 / fan-out, where the fan-out is that of one group. The linear layer: normal with standard deviation
    0.01; for efficientnet, uniform within 1 / sqrt(classes).
    """
    shapes = geometry(model.network)
    by_path = {layer.name: layer for layer in layers(model.network)}
    for path, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            module.reset_parameters()
        elif isinstance(module, _ConvNd | nn.Linear):
            layer = by_path[path.removesuffix(".conv") if path not in by_path else path]
            _initialise_weight(module.weight, layer, shapes.init)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for block in shapes.blocks:
        for path in block.names() if block.zero_norm else ():
            nn.init.zeros_(model.get_submodule(f"{path}.{block.last.name}.norm").weight)  # type: ignore[arg-type]


def _initialise_weight(weight: Tensor, layer: Layer, init: Init) -> None:
    """Initialise the weight of a layer."""
    if layer.kind == "linear":
        if init == "efficientnet":
            bound = 1 / math.sqrt(layer.width_out)
            nn.init.uniform_(weight, -bound, bound)
        else:
            nn.init.normal_(weight, std=0.01)
    elif init == "resnet-rs":
        _truncated_normal(weight, math.sqrt(1 / layer.fan_in) / _TRUNCATED)
    elif init == "efficientnet":
        nn.init.normal_(weight, std=math.sqrt(2 / layer.fan_out))
    else:
        nn.init.normal_(weight, std=math.sqrt(2 / layer.full_fan_out))


@torch.no_grad()
def _truncated_normal(weight: Tensor, std: float) -> None:
    """Normal, truncated at two standard deviations by resampling; in pieces that fit in the cache.

    torch's own function, which inverts the error function, takes five times as long.
    """
    for piece in weight.view(-1).split(_PIECE):
        piece.normal_(0, std)
        beyond = (piece.abs() > 2 * std).nonzero().view(-1)
        while beyond.numel():
            resampled = torch.randn(beyond.numel(), device=piece.device, dtype=piece.dtype) * std
            piece[beyond] = resampled
            beyond = beyond[resampled.abs() > 2 * std]
