"""ResNet (He et al. 2015), ResNet-D (He et al. 2018) and ResNet-RS (Bello et al. 2021): name -> Network.

A name is `resnet` or `resnetrs`, a depth (or four block counts joined by dashes), and then, each if
wanted: `d`, a width multiplier, parts, a resolution. `resnet50d`, `resnetrs152@256`,
`resnet2-2-2-2x0.25+smallstem@32`, `resnet200+se+poolshortcut`. `resnet18` and `resnet34` have basic blocks,
all others bottlenecks.
"""

import re
from itertools import pairwise

from rescale.errors import UserError, nearest
from rescale.network import BlockKind, Conv, Head, Input, Network, Stage, Stem, is_resnet

BASIC = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}  # networks of basic blocks: He et al. 2015, Table 1
BLOCKS = {
    26: (2, 2, 2, 2),  # tensorflow/tpu, detection's ResNet
    50: (3, 4, 6, 3),  # 50 to 152: He et al. 2015, Table 1
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),  # He et al. 2016
    270: (4, 29, 53, 4),  # 270 and deeper: ResNet-RS, Table 11 and Appendix F
    300: (4, 36, 54, 4),
    350: (4, 36, 72, 4),
    400: (6, 48, 72, 6),
    420: (4, 44, 87, 4),
}

RS_RESOLUTION = {50: 160, 101: 192, 152: 256, 200: 256, 270: 256, 350: 256, 420: 320}  # as published
RESOLUTION = 224
WIDEST = 1000  # multiplier of the width; a limit that keeps typing mistakes from overflowing

PARTS = {  # the switches of the additive study; what each replaces ResNet's own part with
    "deepstem": "three 3x3 convolutions (32, 32, 64) for the stem's 7x7 (ResNet-D)",
    "smallstem": "one 3x3 convolution of stride 1 and no pool for the stem: for images of about 32 pixels",
    "convpool": "a 3x3 convolution of stride 2 for the stem's max-pool (ResNet-RS, the authors' code)",
    "blockpool": "no max-pool, the first block takes its stride (ResNet-RS, the paper's text)",
    "poolshortcut": "average pooling before a strided shortcut's 1x1 convolution (ResNet-D)",
    "stride1x1": "a stage's stride on its first 1x1 convolution (ResNet, 2015) and not on the 3x3",
    "se": "squeeze-and-excitation of ratio 0.25 in every block",
}
D_PARTS = ("deepstem", "poolshortcut")
RS_PARTS = ("deepstem", "convpool", "poolshortcut", "se")
_INSTEAD = (("deepstem", "smallstem"), ("convpool", "blockpool", "smallstem"))  # at most one of each

_NAME = re.compile(
    r"(?P<family>resnet(?:rs)?)(?P<depth>\d+(?:-\d+)*)(?P<d>d?)(?:x(?P<width>\d*\.?\d+))?"
    r"(?P<parts>(?:\+\w*)*)(?:@(?P<resolution>\d+))?"
)


def names() -> list[str]:
    """All named ResNets, without widths, parts or resolutions."""
    return [
        *(f"resnet{d}" for d in (*BASIC, *BLOCKS)),
        *(f"resnet{d}d" for d in (*BASIC, *BLOCKS)),
        *(f"resnetrs{d}" for d in BLOCKS),
    ]


def from_name(name: str) -> Network | None:
    """The network with this name; None if the name is not a ResNet's."""
    match = _NAME.fullmatch(name)
    if not match or (match["d"] and match["family"] == "resnetrs"):
        return None
    depth = match["depth"]
    block: BlockKind = "bottleneck"
    blocks: tuple[int, ...]
    if match["family"] == "resnet" and depth in map(str, BASIC):
        blocks, block = BASIC[int(depth)], "basic"
    elif "-" in depth:
        blocks = tuple(int(count) for count in depth.split("-"))
    elif int(depth) in BLOCKS or (match["family"] == "resnetrs" and int(depth) > min(BLOCKS)):
        blocks = blocks_of(int(depth))
    else:
        return None
    listed = match["parts"].split("+")[1:]
    if len(parts := set(listed)) < len(listed) or "" in parts:
        raise UserError(f"{name}: each + is followed by a part of its own, each named once")
    if wrong := sorted(parts - PARTS.keys()):
        raise UserError(*(f"{name}: no part {part!r}; {nearest(part, PARTS)}" for part in wrong))
    published = RESOLUTION
    if match["family"] == "resnetrs":
        # a part in the name replaces the one that ResNet-RS has by default
        parts |= {own for own in RS_PARTS if not any(own in set_ and parts & set(set_) for set_ in _INSTEAD)}
        published = RS_RESOLUTION.get(int(depth) if depth.isdigit() else 0, RESOLUTION)
    if match["d"]:
        parts |= set(D_PARTS)
    resolution = int(match["resolution"] or published)
    return resnet(name, blocks, float(match["width"] or 1), resolution, frozenset(parts), block=block)


def resnet(
    name: str,
    blocks: tuple[int, ...],
    width: float = 1.0,
    resolution: int = RESOLUTION,
    parts: frozenset[str] = frozenset(),
    classes: int = 1000,
    block: BlockKind = "bottleneck",
) -> Network:
    """A ResNet with any block counts.

    block: bottleneck or basic. parts: any of PARTS. width: multiplies the widths of stem and stages, which
    are rounded down to whole numbers, not to a multiple, as in the authors' code.
    """
    if not width <= WIDEST:
        raise UserError(f"{name}: a width multiplier is at most {WIDEST}")
    for group in _INSTEAD:
        if len(both := sorted(parts & set(group))) > 1:
            raise UserError(f"{name}: {' and '.join(both)} exclude each other; choose one")
    if block == "basic" and "stride1x1" in parts:
        raise UserError(f"{name}: stride1x1 is for bottlenecks; a basic block has no 1x1 convolution")
    narrowest = int(32 * width) if "deepstem" in parts else int(64 * width)
    if narrowest < 1 or min(blocks) < 1:
        raise UserError(
            f"{name}: width {width} or a stage of {min(blocks)} blocks leaves nothing; use larger ones"
        )
    strides = [1, *[2] * (len(blocks) - 1)]
    if "blockpool" in parts:
        strides[0] = 2
    expansion = 1 if block == "basic" else 4  # width of a block / width of its 3x3 convolutions
    stages = tuple(
        Stage(
            depth=depth,
            width=expansion * int(64 * 2**i * width),
            stride=stride,
            block=block,
            bottleneck=1 / expansion,
            se=0.25 if "se" in parts else 0.0,
            shortcut="pool" if "poolshortcut" in parts else "conv",
            stride_at="conv1" if block == "basic" or "stride1x1" in parts else "conv2",
        )
        for i, (depth, stride) in enumerate(zip(blocks, strides, strict=True))
    )
    return Network(name, Input(resolution), _stem(width, parts), stages, Head(classes))


def blocks_of(depth: int) -> tuple[int, ...]:
    """Block counts of a ResNet by its depth in layers: the listed ones exactly, others between them.

    Between two listed depths each count is interpolated and rounded half to even, beyond 420 the counts
    keep 420's proportions (this project's rule; the paper says only that c3 and c4 grow). depth >= 26.
    """
    if depth in BLOCKS:
        return BLOCKS[depth]
    if depth < min(BLOCKS):
        raise UserError(f"depth {depth}: the shallowest ResNet of bottlenecks has {min(BLOCKS)} layers")
    if depth > max(BLOCKS):
        return tuple(round(count * depth / max(BLOCKS)) for count in BLOCKS[max(BLOCKS)])
    low, high = next((a, b) for a, b in pairwise(BLOCKS) if a < depth < b)
    share = (depth - low) / (high - low)
    return tuple(round(a + (b - a) * share) for a, b in zip(BLOCKS[low], BLOCKS[high], strict=True))


def layers_and_width(network: Network) -> tuple[int, float] | None:
    """Depth in layers and width multiplier, by which ResNets are named and scaled; None for other networks.

    Layers: three convolutions a bottleneck, two a basic block, the first layer and the last; ResNet-270, 300,
    350, 400 and 420 have 272, 296, 350, 398 and 419. Width: multiplier against ResNet, whose first stage has
    3x3 convolutions of 64 channels.
    """
    if not is_resnet(network):
        return None
    first = network.stages[0]
    convs = 2 if first.block == "basic" else 3
    return convs * sum(stage.depth for stage in network.stages) + 2, first.width * first.bottleneck / 64


def _stem(width: float, parts: frozenset[str]) -> Stem:
    half, full = int(32 * width), int(64 * width)
    if "smallstem" in parts:
        return Stem((Conv(full, 3, 1),))
    convs: tuple[Conv, ...] = (Conv(full, 7, 2),)
    if "deepstem" in parts:
        convs = (Conv(half, 3, 2), Conv(half, 3, 1), Conv(full, 3, 1))
    if "convpool" in parts:
        return Stem((*convs, Conv(full, 3, 2)))
    return Stem(convs, "none" if "blockpool" in parts else "max")
