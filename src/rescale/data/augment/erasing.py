"""Random erasing (Zhong et al. 2017): a box of the image becomes noise."""

import math
from dataclasses import dataclass

import numpy as np

from rescale.data.augment.crops import Box

AREA = (0.02, 1 / 3)  # shares of the image, and aspect ratios: those of timm, which DeiT and ConvNeXt use
RATIO = (0.3, 1 / 0.3)


@dataclass(frozen=True)
class RandomErasing:
    """Replaces one box of an image by normal noise of the data's mean and deviation, pixel by pixel.

    After normalisation the noise has mean 0 and deviation 1, as in the code of DeiT and ConvNeXt; here it is
    rounded to 8 bits, so that it ends at black and white.

    Args:
        probability: that an image is erased, in [0, 1].
        mean, std: of the channels, for pixels in 0..1.
    """

    probability: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """uint8 [H, W, 3] -> the same with a box erased, or the input itself."""
        if rng.random() >= self.probability:
            return pixels
        box = erased_box(pixels.shape[1], pixels.shape[0], rng)
        if box is None:
            return pixels
        noise = rng.standard_normal((box.height, box.width, 3), dtype=np.float32)
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        values = 255 * (mean + std * noise)
        erased = pixels.copy()
        erased[box.top : box.top + box.height, box.left : box.left + box.width] = values.round().clip(0, 255)
        return erased


def erased_box(width: int, height: int, rng: np.random.Generator, attempts: int = 10) -> Box | None:
    """Draw the box: its area is uniform in AREA, the logarithm of height / width in that of RATIO.

    Returns None if no attempt is narrower and lower than the image.
    """
    for _ in range(attempts):
        area = rng.uniform(*AREA) * width * height
        aspect = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        tall, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if tall < height and wide < width:
            top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
            return Box(left, top, wide, tall)
    return None
