"""The sixteen operations of the authors' RandAugment, on uint8 RGB images, pixel for pixel.

Geometry is nearest-neighbour and fills with grey 128. Golden arrays from the authors' code hold each of
them (scripts/make_golden_augment.py).
"""

import math
from functools import lru_cache

import numpy as np
from PIL import Image

FILL = (128, 128, 128)


def auto_contrast(image: Image.Image) -> Image.Image:
    """Stretch each channel to 0..255."""
    table: list[int] = []
    for low, high in image.getextrema():
        if high > low:
            scale = np.float32(255) / np.float32(high - low)
            levels = np.arange(256, dtype=np.float32) * scale + np.float32(-np.float32(low) * scale)
            table += levels.clip(0, 255).astype(np.uint8).tolist()
        else:
            table += range(256)
    return image.point(table)


def equalize(image: Image.Image) -> Image.Image:
    """Make each channel's histogram flat."""
    table: list[int] = []
    histograms = np.array(image.histogram()).reshape(3, 256)
    for histogram in histograms:
        present = histogram[histogram > 0]
        step = (int(present.sum()) - int(present[-1])) // 255
        if step == 0:
            table += range(256)
            continue
        levels = (np.cumsum(histogram) + step // 2) // step
        table += np.concatenate([[0], levels[:-1]]).clip(0, 255).tolist()
    return image.point(table)


def invert(image: Image.Image) -> Image.Image:
    """255 minus each value."""
    return image.point(_INVERT)


def posterize(image: Image.Image, bits: int) -> Image.Image:
    """Keep the upper `bits` bits, at least 1 (TensorFlow shifts by 7 at most) and at most 8."""
    shift = 8 - min(max(bits, 1), 8)
    return image.point([(level >> shift) << shift for level in range(256)] * 3)


def solarize(image: Image.Image, threshold: int) -> Image.Image:
    """Invert values at or above the threshold."""
    return image.point([level if level < threshold else 255 - level for level in range(256)] * 3)


def solarize_add(image: Image.Image, addition: int, threshold: int = 128) -> Image.Image:
    """Add to values below the threshold."""
    return image.point([min(255, max(0, v + addition)) if v < threshold else v for v in range(256)] * 3)


def color(image: Image.Image, factor: float) -> Image.Image:
    """Blend with the image in grey: 0 grey, 1 unchanged, above that more colour."""
    return _blend(np.asarray(_grey(image))[..., None], np.asarray(image), factor)


def contrast(image: Image.Image, factor: float, true_mean: bool = False) -> Image.Image:
    """Blend with a uniform grey image.

    The authors' grey is not the mean intensity but (pixels / 256), cut at 255, by an error that they
    confirmed; true_mean takes the mean of the image in grey.
    """
    if true_mean:
        level = int(np.asarray(_grey(image), dtype=np.float32).mean())
    else:
        level = min(255, int(np.float32(image.width * image.height) / np.float32(256)))
    return image.point(_blend_table(level, round(float(factor), 6)) * 3)


def brightness(image: Image.Image, factor: float) -> Image.Image:
    """Blend with black: 0 black, 1 unchanged, above that brighter."""
    return image.point(_blend_table(0, round(float(factor), 6)) * 3)


def sharpness(image: Image.Image, factor: float) -> Image.Image:
    """Blend with a smoothed image, whose border stays as it is."""
    if min(image.size) < 3:
        return image
    pixels = np.asarray(image)
    smooth = pixels.copy()
    smooth[1:-1, 1:-1] = _smoothed(pixels)
    return _blend(smooth, pixels, factor)


def _smoothed(pixels: np.ndarray) -> np.ndarray:
    """Mean over 3x3 pixels with the middle weighing 5 of 13, without the border; truncated, as TensorFlow does.

    In integers, but for the sums that 13 divides: there TensorFlow's rounding may fall just short.
    """
    across = pixels[:, :-2].astype(np.uint16)
    across += pixels[:, 1:-1]
    across += pixels[:, 2:]
    total = across[:-2] + across[1:-1] + across[2:] + pixels[1:-1, 1:-1] * np.uint16(4)
    found = total // np.uint16(13)
    y, x, channel = np.nonzero(found * np.uint16(13) == total)
    sums = np.zeros(len(y), dtype=np.float32)
    for i in range(9):  # multiply-add with one rounding, in the order of the kernel
        weight = np.float64(np.float32(5 if i == 4 else 1) / np.float32(13))
        sums = (sums + pixels[y + i // 3, x + i % 3, channel] * weight).astype(np.float32)
    found[y, x, channel] = sums.astype(np.uint16)
    return found.astype(np.uint8)


def rotate(image: Image.Image, degrees: float) -> Image.Image:
    """Rotate about the centre; positive turns counter-clockwise."""
    angle = np.float32(math.radians(degrees))  # in single precision throughout, as TensorFlow
    cos, sin = np.cos(angle), np.sin(angle)
    right, bottom = np.float32(image.width - 1), np.float32(image.height - 1)
    x0 = (right - (cos * right - sin * bottom)) / 2
    y0 = (bottom - (sin * right + cos * bottom)) / 2
    return _affine(image, (cos, -sin, x0, sin, cos, y0))


def shear_x(image: Image.Image, level: float) -> Image.Image:
    """Move rows sideways in proportion to their distance from the top."""
    return _affine(image, (1, level, 0, 0, 1, 0))


def shear_y(image: Image.Image, level: float) -> Image.Image:
    """Move columns up or down in proportion to their distance from the left."""
    return _affine(image, (1, 0, 0, level, 1, 0))


def translate_x(image: Image.Image, pixels: float) -> Image.Image:
    """Move sideways; positive to the left."""
    return _affine(image, (1, 0, pixels, 0, 1, 0))


def translate_y(image: Image.Image, pixels: float) -> Image.Image:
    """Move up or down; positive up."""
    return _affine(image, (1, 0, 0, 0, 1, pixels))


def cutout(image: Image.Image, half_side: int, centre: tuple[int, int]) -> Image.Image:
    """Grey out a square of twice the half side about centre (x, y), cut at the border."""
    x, y = centre
    box = (
        max(0, x - half_side),
        max(0, y - half_side),
        min(image.width, x + half_side),
        min(image.height, y + half_side),
    )
    if box[2] <= box[0] or box[3] <= box[1]:
        return image
    image = image.copy()
    image.paste(FILL, box)
    return image


_INVERT = [255 - level for level in range(256)] * 3


def _affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    """Nearest-neighbour transform: output (x, y) comes from (ax + by + c, dx + ey + f), halves rounded away.

    By index maps, since Pillow adds half a pixel before and TensorFlow does not.
    """
    width, height = image.size
    a, b, c, d, e, f = (np.float32(value) for value in matrix)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    if b == 0 and d == 0 and a == 1 and e == 1:
        return _shifted(image, int(_rounded(c)), int(_rounded(f)))
    columns = _rounded(a * x + b * y + c)
    rows = _rounded(d * x + e * y + f)
    outside = (columns < 0) | (columns >= width) | (rows < 0) | (rows >= height)
    flat = rows * width + columns
    flat[outside] = width * height  # one more pixel, of the fill
    source = np.empty((width * height + 1, 3), dtype=np.uint8)
    source[:-1] = np.asarray(image).reshape(-1, 3)
    source[-1] = FILL
    return Image.fromarray(source[flat])


def _rounded(values: np.ndarray) -> np.ndarray:
    """To the nearest integer, halves away from zero; in double precision, so that adding a half is exact."""
    wide = np.asarray(values, dtype=np.float64)
    return np.trunc(wide + np.copysign(0.5, wide)).astype(np.int32)


def _shifted(image: Image.Image, x: int, y: int) -> Image.Image:
    moved = Image.new("RGB", image.size, FILL)
    moved.paste(image, (-x, -y))
    return moved


def _grey(image: Image.Image) -> np.ndarray:
    """Luminance as TensorFlow has it, as uint8."""
    pixels = np.asarray(image).astype(np.float32) * np.float32(1 / 255)
    weights = np.array([0.2989, 0.5870, 0.1140], dtype=np.float32)
    grey = pixels @ weights
    return np.floor(grey * np.float32(255.5)).clip(0, 255).astype(np.uint8)


def _blend(first: np.ndarray, second: np.ndarray, factor: float) -> Image.Image:
    """first + factor x (second - first), cut to 0..255; factor 1 gives the second as it is."""
    if factor == 1:
        return Image.fromarray(np.ascontiguousarray(second))
    if factor == 0:
        return Image.fromarray(np.broadcast_to(first, second.shape).copy())
    base = first.astype(np.float32)
    mixed = base + np.float32(factor) * (second.astype(np.float32) - base)
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))


@lru_cache(maxsize=1024)
def _blend_table(level: int, factor: float) -> list[int]:
    """What blending a uniform grey with each value gives."""
    values = np.arange(256, dtype=np.float32)
    if factor == 1:
        return list(range(256))
    base = np.float32(level)
    return (base + np.float32(factor) * (values - base)).clip(0, 255).astype(np.uint8).tolist()
