"""The sixteen operations of the authors' RandAugment, on uint8 RGB images, pixel for pixel.

Geometry is nearest-neighbour and fills with grey 128. Golden arrays from the authors' code hold each of
them (scripts/make_golden_augment.py).
"""

import math
from functools import lru_cache

import numpy as np
from PIL import Image

FILL = (128, 128, 128)
Matrix = tuple[float, float, float, float, float, float]


def auto_contrast(image: Image.Image) -> Image.Image:
    """Stretch each channel to 0..255."""
    low, high = np.array(image.getextrema(), dtype=np.float32).T[..., None]
    flat = high <= low
    scale = np.float32(255) / np.where(flat, np.float32(1), high - low)
    stretched = (_LEVELS * scale - low * scale).clip(0, 255)
    return image.point(np.where(flat, _LEVELS, stretched).astype(np.uint8).ravel().tolist())


def equalize(image: Image.Image) -> Image.Image:
    """Make each channel's histogram flat."""
    histograms = np.array(image.histogram()).reshape(3, 256)
    upto = histograms.cumsum(axis=1)
    brightest = 255 - (histograms[:, ::-1] > 0).argmax(axis=1)
    step = (upto[:, -1:] - histograms[range(3), brightest][:, None]) // 255
    below = np.pad(upto, ((0, 0), (1, 0)))[:, :-1]
    spread = np.where(_LEVELS == 0, 0, (below + step // 2) // np.maximum(step, 1)).clip(0, 255)
    return image.point(np.where(step == 0, _LEVELS, spread).astype(np.uint8).ravel().tolist())


def invert(image: Image.Image) -> Image.Image:
    """255 minus each value."""
    return _mapped(image, _solarize_table(0))


def posterize(image: Image.Image, bits: int) -> Image.Image:
    """Keep the upper `bits` bits, at least 1 (TensorFlow shifts by 7 at most) and at most 8."""
    return _mapped(image, _posterize_table(min(max(bits, 1), 8)))


def solarize(image: Image.Image, threshold: int) -> Image.Image:
    """Invert values at or above the threshold."""
    return _mapped(image, _solarize_table(threshold))


def solarize_add(image: Image.Image, addition: int, threshold: int = 128) -> Image.Image:
    """Add to values below the threshold."""
    return _mapped(image, _solarize_add_table(addition, threshold))


def color(image: Image.Image, factor: float) -> Image.Image:
    """Blend with the image in grey: 0 grey, 1 unchanged, above that more colour."""
    return Image.blend(_grey(image).convert("RGB"), image, factor)


def contrast(image: Image.Image, factor: float, true_mean: bool = False) -> Image.Image:
    """Blend with a uniform grey image.

    The authors' grey is not the mean intensity but (pixels / 256), cut at 255, by an error that they
    confirmed; true_mean takes the mean of the image in grey.
    """
    pixels = image.width * image.height
    level = int(np.asarray(_grey(image)).mean()) if true_mean else min(255, pixels // 256)
    return _mapped(image, _blend_table(level, factor))


def brightness(image: Image.Image, factor: float) -> Image.Image:
    """Blend with black: 0 black, 1 unchanged, above that brighter."""
    return _mapped(image, _blend_table(0, factor))


def sharpness(image: Image.Image, factor: float) -> Image.Image:
    """Blend with a smoothed image, whose border stays as it is."""
    if min(image.size) < 3:
        return image
    smooth = np.array(image)
    smooth[1:-1, 1:-1] = _smoothed(smooth)
    return Image.blend(Image.fromarray(smooth), image, factor)


def _smoothed(pixels: np.ndarray) -> np.ndarray:
    """Mean over 3x3 pixels with the middle weighing 5 of 13, without the border; truncated, as in TensorFlow.

    In integers, but for the sums that 13 divides: there TensorFlow's rounding may fall just short.
    """
    height, pitch = len(pixels), pixels.shape[1] * 3
    values = pixels.reshape(height, pitch)  # neighbours in a row lie 3 apart
    wide = values.astype(np.uint16)
    across = wide[:, :-6] + wide[:, 3:-3] + wide[:, 6:]
    total = across[:-2] + across[1:-1] + across[2:] + wide[1:-1, 3:-3] * np.uint16(4)
    found = total // np.uint16(13)
    whole = np.flatnonzero(found * np.uint16(13) == total)
    corner = whole + whole // (pitch - 6) * 6  # the same place in the image with its border, up and left
    sums = np.zeros(len(whole), dtype=np.float32)
    for i in range(9):  # multiply-add with one rounding, in the order of the kernel
        weight = np.float64(np.float32(5 if i == 4 else 1) / np.float32(13))
        neighbour = values.reshape(-1).take(corner + (i // 3 * pitch + i % 3 * 3))
        sums = (sums + neighbour * weight).astype(np.float32)
    found.reshape(-1)[whole] = sums.clip(0, 255)
    return found.astype(np.uint8).reshape(height - 2, -1, 3)


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


_LEVELS = np.arange(256, dtype=np.float32)


def _mapped(image: Image.Image, table: bytes) -> Image.Image:
    """Every value of every channel through a table of 256."""
    return _from_words(image.tobytes("raw", "RGBX").translate(table), image.size)


def _from_words(words: bytes | np.ndarray, size: tuple[int, int]) -> Image.Image:
    """An RGB image from four bytes a pixel: as Pillow keeps it, so many times faster than from three."""
    return Image.frombytes("RGB", size, words, "raw", "RGBX")


@lru_cache
def _posterize_table(bits: int) -> bytes:
    return bytes(level >> (8 - bits) << (8 - bits) for level in range(256))


@lru_cache
def _solarize_table(threshold: int) -> bytes:
    return bytes(level if level < threshold else 255 - level for level in range(256))


@lru_cache
def _solarize_add_table(addition: int, threshold: int) -> bytes:
    return bytes(min(255, max(0, v + addition)) if v < threshold else v for v in range(256))


@lru_cache(maxsize=512)
def _blend_table(grey: int, factor: float) -> bytes:
    """What blending a uniform grey with each value gives: grey + factor x (value - grey), cut to 0..255."""
    if factor == 1:
        return bytes(range(256))
    base = np.float32(grey)
    return (base + np.float32(factor) * (_LEVELS - base)).clip(0, 255).astype(np.uint8).tobytes()


def _grey(image: Image.Image) -> Image.Image:
    """Luminance as TensorFlow has it: single precision, summed in this order, truncated.

    The same for all 16.7 million colours. Pillow's own conversion takes a third of the time and is one off
    for 116 of them.
    """
    pixels = np.asarray(image)
    total = np.zeros(pixels.shape[:2], dtype=np.float32)
    for channel, weight in enumerate((0.2989, 0.5870, 0.1140)):
        part = pixels[..., channel] * np.float32(1 / 255)
        part *= np.float32(weight)
        total += part
    return Image.fromarray((total * np.float32(255.5)).astype(np.uint8))


def _affine(image: Image.Image, matrix: Matrix) -> Image.Image:
    """Nearest-neighbour transform: output (x, y) comes from (ax + by + c, dx + ey + f), halves rounded away.

    By index maps, since Pillow adds half a pixel before and TensorFlow does not.
    """
    words = np.frombuffer(image.tobytes("raw", "RGBX") + bytes((*FILL, 255)), dtype=np.uint32)
    return _from_words(words.take(_sources(image.size, matrix)), image.size)


@lru_cache(maxsize=64)  # a policy has few of them (v0 30), the same for every image
def _sources(size: tuple[int, int], matrix: Matrix) -> np.ndarray:
    """Where each output pixel comes from, counting through the image; one past its end: from outside."""
    width, height = size
    a, b, c, d, e, f = (np.float32(value) for value in matrix)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    columns, rows = _rounded(a * x + b * y + c), _rounded(d * x + e * y + f)
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    return np.where(inside, rows * width + columns, width * height)


def _rounded(values: np.ndarray) -> np.ndarray:
    """To the nearest integer, halves away from zero; in double precision, so that adding a half is exact."""
    wide = np.asarray(values, dtype=np.float64)
    return np.trunc(wide + np.copysign(0.5, wide)).astype(np.intp)
