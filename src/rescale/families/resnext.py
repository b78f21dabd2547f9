"""ResNeXt (Xie et al. 2017): name -> Network. `resnext50_32x4d`: depth, groups x group width of stage one."""

import re

from rescale.errors import UserError
from rescale.families.resnet import blocks_of
from rescale.network import Conv, Head, Input, Network, Stage, Stem

NAMED = ("resnext50_32x4d", "resnext101_32x4d", "resnext101_32x8d", "resnext101_64x4d", "resnext152_32x4d")
DEPTHS = (26, 50, 101, 152, 200)
LARGEST = 10_000  # groups, and channels of a group
_NAME = re.compile(r"resnext(?P<depth>\d+)_(?P<groups>\d+)x(?P<group>\d+)d(?:@(?P<size>\d+))?")


def names() -> list[str]:
    """All named ResNeXts; `from_name` also takes other depths, groups and group widths."""
    return list(NAMED)


def from_name(name: str) -> Network | None:
    """The network with this name; None if the name is not a ResNeXt's."""
    match = _NAME.fullmatch(name)
    if not match or int(match["depth"]) not in DEPTHS:
        return None
    groups, group = int(match["groups"]), int(match["group"])
    if not (1 <= groups <= LARGEST and 1 <= group <= LARGEST):
        raise UserError(f"{name}: groups and their width are from 1 to {LARGEST}")
    stages = tuple(
        Stage(
            depth=depth,
            width=256 * 2**i,
            stride=1 if i == 0 else 2,
            bottleneck=groups * group / 256,
            group_width=None if groups == 1 else group * 2**i,
        )
        for i, depth in enumerate(blocks_of(int(match["depth"])))
    )
    return Network(name, Input(int(match["size"] or 224)), Stem((Conv(64, 7, 2),), "max"), stages, Head())
