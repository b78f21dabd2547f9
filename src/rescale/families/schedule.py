"""The slow resolution schedule of ResNet-RS (Bello et al. 2021): resolution by multiply-adds."""

import math
from itertools import pairwise

# FLOPs (2 x multiply-adds, in billions) and resolution of ResNet-RS's Pareto table
PARETO = (
    (4.6, 160), (8.4, 160), (12, 192), (18, 192), (24, 224), (31, 256),
    (40, 256), (54, 256), (69, 256), (107, 320), (128, 320),
)  # fmt: skip
RESOLUTION_STEP = 32


def slow_resolution(flops: float) -> int:
    """Resolution in pixels for a network of this many FLOPs (2 x multiply-adds, absolute).

    ResNet-RS 6.2 gives no formula. This project's rule interpolates the resolutions of its Pareto table
    linearly in log2(FLOPs) and rounds to multiples of 32; it gives 160 below the table and 320 above.
    """
    billions = flops / 1e9
    if billions <= PARETO[0][0]:
        return PARETO[0][1]
    for (low, at_low), (high, at_high) in pairwise(PARETO):
        if billions <= high:
            share = math.log2(billions / low) / math.log2(high / low)
            return round((at_low + (at_high - at_low) * share) / RESOLUTION_STEP) * RESOLUTION_STEP
    return PARETO[-1][1]
