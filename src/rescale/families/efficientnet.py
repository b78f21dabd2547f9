"""EfficientNet (Tan and Le 2019) and EfficientNet-RS (Bello et al. 2021): name -> Network.

`efficientnet_b0` to `b7`; `tf_efficientnet_b0` and so on, the authors' own (TensorFlow's padding, batch
norm's eps 1e-3), for their weights; `efficientnetrs_b0` and so on, at the slow schedule's resolutions.
"""

import re
from dataclasses import replace

from rescale.cost import cost
from rescale.families.schedule import slow_resolution
from rescale.network import Conv, Head, Input, Network, Stage, Stem
from rescale.rounding import COMPOUND

ROWS = {  # width, depth, resolution: the authors' code, as published
    "b0": (1.0, 1.0, 224),
    "b1": (1.0, 1.1, 240),
    "b2": (1.1, 1.2, 260),
    "b3": (1.2, 1.4, 300),
    "b4": (1.4, 1.8, 380),
    "b5": (1.6, 2.2, 456),
    "b6": (1.8, 2.6, 528),
    "b7": (2.0, 3.1, 600),
}
STAGES = (  # depth, width, stride, kernel, expansion of the input's width: Tan and Le, Table 1
    (1, 16, 1, 3, 1),
    (2, 24, 2, 3, 6),
    (2, 40, 2, 5, 6),
    (3, 80, 2, 3, 6),
    (3, 112, 1, 5, 6),
    (4, 192, 2, 5, 6),
    (1, 320, 1, 3, 6),
)
STEM, HEAD = 32, 1280
_NAME = re.compile(r"(?P<family>tf_efficientnet|efficientnetrs|efficientnet)_(?P<row>b\d)(?:@(?P<size>\d+))?")


def names() -> list[str]:
    """All named EfficientNets."""
    return [
        f"{family}_{row}" for family in ("efficientnet", "efficientnetrs", "tf_efficientnet") for row in ROWS
    ]


def from_name(name: str) -> Network | None:
    """The network with this name; None if the name is not an EfficientNet's."""
    match = _NAME.fullmatch(name)
    if not match or match["row"] not in ROWS:
        return None
    network = efficientnet(name, *ROWS[match["row"]])
    if match["family"] == "tf_efficientnet":
        network = replace(network, padding="same", norm_eps=1e-3)
    if match["family"] == "efficientnetrs":
        network = replace(network, input=Input(slow_resolution(2 * cost(network).macs)))
    return replace(network, input=Input(int(match["size"]))) if match["size"] else network


def efficientnet(name: str, width: float, depth: float, resolution: int) -> Network:
    """B0 with widths (stem and head included) and depths multiplied, and rounded as in the authors' code."""

    def wide(channels: int) -> int:
        return COMPOUND.width(channels * width)

    stages = tuple(
        Stage(
            depth=COMPOUND.depth(blocks * depth),
            width=wide(channels),
            stride=stride,
            kernel=kernel,
            block="inverted",
            bottleneck=float(expand),
            inner_of="input",
            group_width=1,
            se=0.25,
            se_at="inner",
        )
        for blocks, channels, stride, kernel, expand in STAGES
    )
    return Network(
        name,
        Input(resolution),
        Stem((Conv(wide(STEM), 3, 2),)),
        stages,
        Head(1000, wide(HEAD)),
        activation="silu",
        scale_ends=True,
        init="efficientnet",
    )
