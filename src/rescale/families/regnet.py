"""RegNetX, Y (Radosavovic et al. 2020) and Z (Dollar et al. 2021): from a name, or generating numbers.

`regnety_040`, `regnety_4gf`, `regnetz_500mf_g1`; by numbers `regnety_d17w32a28.1m2.78g4@224`: depth, first
width, slope, quantisation and group width.
"""

import math
import re
from itertools import groupby

from rescale.errors import UserError
from rescale.network import Conv, Head, Input, Network, Stage, Stem
from rescale.rounding import compatible

WIDTH_STEP = 8
STEM = 32
DEEPEST, WIDEST = 1_000, 100_000  # limits that keep typing mistakes from overflowing or hanging
RATIO = {"x": 1.0, "y": 1.0, "z": 4.0}  # inner / outer width
Z_HEAD = 1000  # not printed; only widths from 976 to 1000 meet the five rows of the paper's Z networks

# name: depth, w0, wa, wm, group width, resolution
DESIGN_SPACES = {  # Radosavovic et al. 2020, under timm's names: multiply-adds in hundreds of millions
    "regnetx_002": (13, 24, 36.44, 2.49, 8, 224),
    "regnetx_004": (22, 24, 24.48, 2.54, 16, 224),
    "regnetx_006": (16, 48, 36.97, 2.24, 24, 224),
    "regnetx_008": (16, 56, 35.73, 2.28, 16, 224),
    "regnetx_016": (18, 80, 34.01, 2.25, 24, 224),
    "regnetx_032": (25, 88, 26.31, 2.25, 48, 224),
    "regnetx_040": (23, 96, 38.65, 2.43, 40, 224),
    "regnetx_064": (17, 184, 60.83, 2.07, 56, 224),
    "regnetx_080": (23, 80, 49.56, 2.88, 120, 224),
    "regnetx_120": (19, 168, 73.36, 2.37, 112, 224),
    "regnetx_160": (22, 216, 55.59, 2.10, 128, 224),
    "regnetx_320": (23, 320, 69.86, 2.00, 168, 224),
    "regnety_002": (13, 24, 36.44, 2.49, 8, 224),
    "regnety_004": (16, 48, 27.89, 2.09, 8, 224),
    "regnety_006": (15, 48, 32.54, 2.32, 16, 224),
    "regnety_008": (14, 56, 38.84, 2.40, 16, 224),
    "regnety_016": (27, 48, 20.71, 2.65, 24, 224),
    "regnety_032": (21, 80, 42.63, 2.66, 24, 224),
    "regnety_040": (22, 96, 31.41, 2.24, 64, 224),
    "regnety_064": (25, 112, 33.22, 2.27, 72, 224),
    "regnety_080": (17, 192, 76.82, 2.19, 56, 224),
    "regnety_120": (19, 168, 73.36, 2.37, 112, 224),
    "regnety_160": (18, 200, 106.23, 2.48, 112, 224),
    "regnety_320": (20, 232, 115.89, 2.53, 232, 224),
}
TORCHVISION = {  # the same numbers with torchvision's group widths, which give different networks
    f"{name}_tv": DESIGN_SPACES[name] for name in ("regnetx_004", "regnety_008", "regnety_080")
}
FAST_SCALING = {  # Dollar et al. 2021, Table 6
    "regnety_500mf": (17, 32, 28.1, 2.78, 4, 224),  # inferred from its scaled siblings; meets the table
    "regnety_4gf_224": (22, 96, 31.41, 2.24, 64, 224),  # equal counts: it is regnety_040
    "regnety_4gf": (26, 88, 30.3, 2.404, 32, 240),  # authors' code
    "regnetz_500mf": (21, 16, 10.7, 2.51, 4, 224),  # a co-author's code
    "regnetz_4gf": (28, 48, 14.5, 2.226, 8, 256),  # a co-author's code
    "regnetz_500mf_g1": (21, 16, 10.7, 2.51, 1, 224),  # depthwise: the paper's G1, numbers not published
    "regnetz_4gf_g1": (28, 48, 14.5, 2.226, 1, 256),
}
ROWS = DESIGN_SPACES | TORCHVISION | FAST_SCALING

_NUMBERS = re.compile(
    r"regnet(?P<kind>[xyz])_d(?P<depth>\d+)w(?P<w0>\d+)a(?P<wa>\d*\.?\d+)m(?P<wm>\d*\.?\d+)g(?P<group>\d+)"
)


def names() -> list[str]:
    """All named RegNets."""
    return list(ROWS)


def from_name(name: str) -> Network | None:
    """The network with a name, or with the generating numbers in it; None if the name is not a RegNet's."""
    base, _, size = name.partition("@")
    if size and not size.isdigit():
        return None
    if base in ROWS:
        depth, w0, wa, wm, group, resolution = ROWS[base]
        return regnet(base[6], depth, w0, wa, wm, group, int(size or resolution), name)
    if not (match := _NUMBERS.fullmatch(base)):
        return None
    numbers = int(match["depth"]), int(match["w0"]), float(match["wa"]), float(match["wm"])
    return regnet(match["kind"], *numbers, int(match["group"]), int(size or 224), name)


def regnet(
    kind: str, depth: int, w0: int, wa: float, wm: float, group: int, resolution: int = 224, name: str = ""
) -> Network:
    """A RegNet of kind x, y or z by its generating numbers.

    Blocks get widths w0 + wa * j, quantised to w0 * wm^k and multiples of 8; blocks of one width make a
    stage; widths and groups are made to fit. Raises UserError where a level of the quantisation is
    skipped (those numbers make no RegNet) or a number is out of range.
    """
    name = name or f"regnet{kind}_d{depth}w{w0}a{wa:g}m{wm:g}g{group}@{resolution}"
    if depth < 1 or w0 < 8 or w0 % WIDTH_STEP or wa < 0 or wm <= 1 or group < 1:
        raise UserError(
            f"{name}: depth >= 1, w0 a multiple of 8, wa >= 0, wm > 1 and a group width >= 1 make a RegNet"
        )
    if not (depth <= DEEPEST and max(w0, wa, wm) <= WIDEST):
        raise UserError(f"{name}: a RegNet has at most {DEEPEST} blocks, and w0, wa and wm up to {WIDEST}")
    grouped = runs(depth, w0, wa, wm)
    if grouped is None:
        raise UserError(
            f"{name}: a width between w0 and the last is skipped; use a larger depth or a smaller wa"
        )
    fit = torchvision_compatible if name.split("@")[0] in TORCHVISION else compatible
    stages = tuple(_stage(kind, blocks, *fit(width, RATIO[kind], group)) for blocks, width in grouped)
    return Network(
        name,
        Input(resolution),
        Stem((Conv(STEM, 3, 2),)),
        stages,
        Head(1000, Z_HEAD if kind == "z" else 0),
        activation="silu" if kind == "z" else "relu",
    )


def runs(depth: int, w0: int, wa: float, wm: float) -> list[tuple[int, int]] | None:
    """(blocks, width) of each stage; None if a level of the quantisation is skipped."""
    log = math.log(wm)
    levels = [round(math.log((w0 + wa * j) / w0) / log) for j in range(depth)]
    widths = [round(w0 * wm**level / WIDTH_STEP) * WIDTH_STEP for level in levels]
    grouped = [(len(list(same)), width) for width, same in groupby(widths)]
    return grouped if len(grouped) == levels[-1] + 1 else None


def torchvision_compatible(width: int, ratio: float, group: int) -> tuple[int, int]:
    """Width and groups as torchvision fits them: the nearest multiple that loses at most a tenth."""
    inner = int(width * ratio)
    group = min(group, inner)
    near = max(group, (inner + group // 2) // group * group)
    return int((near + group if near < 0.9 * inner else near) / ratio), group


def _stage(kind: str, depth: int, width: int, group: int) -> Stage:
    ratio = RATIO[kind]
    return Stage(
        depth=depth,
        width=width,
        block="inverted" if kind == "z" else "bottleneck",
        bottleneck=ratio,
        group_width=None if group == int(width * ratio) else group,
        se=0.0 if kind == "x" else 0.25,
        se_at="inner",
    )
