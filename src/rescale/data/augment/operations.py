"""The sixteen operations of the authors' RandAugment on uint8 pixels [H, W, 3], bit-exact.

Geometric operations use nearest-neighbour interpolation and fill with grey 128. Golden arrays from the
authors' code test each operation (scripts/make_golden_augment.py). An operation may return its input
unchanged, but never modifies it.
"""

import math
from functools import lru_cache

import numpy as np
from PIL import Image

FILL = 128
Matrix = tuple[float, float, float, float, float, float]


def auto_contrast(pixels: np.ndarray) -> np.ndarray:
    """Stretch each channel to 0..255."""
    rows = pixels.reshape(len(pixels), -1)
    low, high = (extreme.reshape(-1, 3) for extreme in (rows.min(0), rows.max(0)))
    low, high = low.min(0).astype(np.float32), high.max(0).astype(np.float32)
    stretched = (low < high) & ((low > 0) | (high < 255))  # the other channels are left unchanged
    if not stretched.any():
        return pixels
    scale = np.where(stretched, np.float32(255) / np.maximum(high - low, 1), np.float32(1))
    shift = np.where(stretched, low * scale, np.float32(0))
    values = rows * np.tile(scale, pixels.shape[1])
    values -= np.tile(shift, pixels.shape[1])
    return _truncated(values).reshape(pixels.shape)


def equalize(pixels: np.ndarray) -> np.ndarray:
    """Equalize the histogram of each channel."""
    image = Image.fromarray(pixels)
    histograms = np.array(image.histogram()).reshape(3, 256)
    cumulative = histograms.cumsum(axis=1)
    brightest = 255 - (histograms[:, ::-1] > 0).argmax(axis=1)
    step = (cumulative[:, -1:] - histograms[range(3), brightest][:, None]) // 255
    below = np.pad(cumulative, ((0, 0), (1, 0)))[:, :-1]
    spread = np.where(_LEVELS == 0, 0, (below + step // 2) // np.maximum(step, 1)).clip(0, 255)
    return np.array(image.point(np.where(step == 0, _LEVELS, spread).astype(np.uint8).ravel().tolist()))


def invert(pixels: np.ndarray) -> np.ndarray:
    """255 minus each value."""
    return ~pixels


def posterize(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Keep the upper `bits` bits, at least 1 (TensorFlow shifts by 7 at most) and at most 8."""
    return pixels & np.uint8(256 - (256 >> min(max(bits, 1), 8)))


def solarize(pixels: np.ndarray, threshold: int) -> np.ndarray:
    """Invert values at or above the threshold."""
    return pixels ^ _mask(pixels >= threshold)


def solarize_add(pixels: np.ndarray, addition: int, threshold: int = 128) -> np.ndarray:
    """Add 0..255 to values below the threshold."""
    brighter = np.minimum(pixels, np.uint8(255 - addition)) + np.uint8(addition)
    return pixels ^ ((pixels ^ brighter) & _mask(pixels < threshold))


def color(pixels: np.ndarray, factor: float) -> np.ndarray:
    """Blend with the greyscale image. factor: 0 is grey, 1 unchanged, above 1 more saturated."""
    return _blended(np.repeat(_grey(pixels), 3).reshape(pixels.shape), pixels, factor)


def contrast(pixels: np.ndarray, factor: float, true_mean: bool = False) -> np.ndarray:
    """Blend with a uniform grey image. factor: 0 is grey, 1 unchanged, above 1 more contrast.

    The authors' grey level is not the mean intensity but pixels / 256, clipped to 255, by an error that they
    confirmed. true_mean uses the mean intensity instead.
    """
    area = pixels.shape[0] * pixels.shape[1]
    level = int(_grey(pixels).mean()) if true_mean else min(255, area // 256)
    return _mapped(pixels, _blend_table(level, factor))


def brightness(pixels: np.ndarray, factor: float) -> np.ndarray:
    """Blend with black. factor: 0 is black, 1 unchanged, above 1 brighter."""
    return _mapped(pixels, _blend_table(0, factor))


def sharpness(pixels: np.ndarray, factor: float) -> np.ndarray:
    """Blend with a smoothed image. The border is not smoothed. factor: 0 is smooth, 1 unchanged."""
    if min(pixels.shape[:2]) < 3:
        return pixels
    smooth = pixels.copy()
    smooth[1:-1, 1:-1] = _smoothed(pixels)
    return _blended(smooth, pixels, factor)


def _smoothed(pixels: np.ndarray) -> np.ndarray:
    """Weighted mean over 3x3 pixels (centre 5 of 13), without the border; truncated as in TensorFlow.

    Computed in integers, except for sums divisible by 13, where TensorFlow's rounding can fall just short.
    """
    height, pitch = len(pixels), pixels.shape[1] * 3
    values = pixels.reshape(height, pitch)  # horizontal neighbours are 3 apart
    wide = values.astype(np.uint16)
    across = wide[:, :-6] + wide[:, 3:-3]
    across += wide[:, 6:]
    total = wide[1:-1, 3:-3] * np.uint16(4)
    for row in (across[:-2], across[1:-1], across[2:]):
        total += row
    means = total // np.uint16(13)
    whole = np.flatnonzero(means * np.uint16(13) == total)
    corner = whole + whole // (pitch - 6) * 6  # upper left neighbour in the image with border
    neighbours = values.reshape(-1).take(corner + (np.arange(3)[:, None] * pitch + (0, 3, 6)).reshape(9, 1))
    sums = np.zeros(len(whole), dtype=np.float32)
    for product in neighbours * _SMOOTHING:  # fused multiply-add, in the order of the kernel
        np.add(sums, product, out=sums, casting="same_kind")
    means.reshape(-1)[whole] = sums.clip(0, 255)
    return means.astype(np.uint8).reshape(height - 2, -1, 3)


def rotate(pixels: np.ndarray, degrees: float) -> np.ndarray:
    """Rotate about the centre; positive turns counter-clockwise."""
    angle = np.float32(math.radians(degrees))  # single precision throughout, as in TensorFlow
    cos, sin = np.cos(angle), np.sin(angle)
    right, bottom = np.float32(pixels.shape[1] - 1), np.float32(pixels.shape[0] - 1)
    x0 = (right - (cos * right - sin * bottom)) / 2
    y0 = (bottom - (sin * right + cos * bottom)) / 2
    return _affine(pixels, (cos, -sin, x0, sin, cos, y0))


def shear_x(pixels: np.ndarray, level: float) -> np.ndarray:
    """Shift each row horizontally in proportion to its distance from the top."""
    return _affine(pixels, (1, level, 0, 0, 1, 0))


def shear_y(pixels: np.ndarray, level: float) -> np.ndarray:
    """Shift each column vertically in proportion to its distance from the left."""
    return _affine(pixels, (1, 0, 0, level, 1, 0))


def translate_x(pixels: np.ndarray, distance: float) -> np.ndarray:
    """Shift horizontally. distance: pixels, positive to the left."""
    return _affine(pixels, (1, 0, distance, 0, 1, 0))


def translate_y(pixels: np.ndarray, distance: float) -> np.ndarray:
    """Shift vertically. distance: pixels, positive upwards."""
    return _affine(pixels, (1, 0, 0, 0, 1, distance))


def cutout(pixels: np.ndarray, half_side: int, centre: tuple[int, int]) -> np.ndarray:
    """Fill a square around centre (x, y) with grey, clipped at the border. half_side: in pixels."""
    x, y = centre
    filled = pixels.copy()
    filled[max(0, y - half_side) : y + half_side, max(0, x - half_side) : x + half_side] = FILL
    return filled


_LEVELS = np.arange(256, dtype=np.float32)
_SMOOTHING = (np.array([[1], [1], [1], [1], [5], [1], [1], [1], [1]], np.float32) / np.float32(13)).astype(
    float
)


def _blended(base: np.ndarray, pixels: np.ndarray, factor: float) -> np.ndarray:
    """base + factor x (pixels - base), clipped to 0..255. A factor of 1 returns the pixels."""
    start = base.astype(np.float32)
    values = pixels.astype(np.float32)
    values -= start
    values *= np.float32(factor)
    values += start
    return _truncated(values)


def _truncated(values: np.ndarray) -> np.ndarray:
    """Floats to uint8, clipped to 0..255; modifies its argument."""
    return values.clip(0, 255, out=values).astype(np.uint8)


def _mask(condition: np.ndarray) -> np.ndarray:
    """255 where true, 0 where false. Bitwise operations with it are many times as fast as np.where."""
    return np.uint8(0) - condition.view(np.uint8)


def _mapped(pixels: np.ndarray, table: bytes) -> np.ndarray:
    """Map every value through a table of 256. bytearray.translate is the fastest way in NumPy or Python."""
    return np.frombuffer(bytearray(pixels).translate(table), np.uint8).reshape(pixels.shape)


@lru_cache(maxsize=512)
def _blend_table(grey: int, factor: float) -> bytes:
    """Table of blends with a uniform grey: grey + factor x (value - grey), clipped to 0..255."""
    if factor == 1:
        return bytes(range(256))
    base = np.float32(grey)
    return (base + np.float32(factor) * (_LEVELS - base)).clip(0, 255).astype(np.uint8).tobytes()


def _grey(pixels: np.ndarray) -> np.ndarray:
    """Luminance as in TensorFlow: single precision, summed in this order, truncated. uint8 [H, W].

    It agrees for all 16.7 million colours. Pillow's conversion takes a third of the time, but differs by one
    for 116 of them.
    """
    total = np.zeros(pixels.shape[:2], dtype=np.float32)
    for channel, weight in enumerate((0.2989, 0.5870, 0.1140)):
        part = pixels[..., channel] * np.float32(1 / 255)
        part *= np.float32(weight)
        total += part
    return (total * np.float32(255.5)).astype(np.uint8)


def _affine(pixels: np.ndarray, matrix: Matrix) -> np.ndarray:
    """Affine nearest-neighbour transform: output (x, y) is input (ax + by + c, dx + ey + f).

    Halves are rounded away from zero. Pillow is not used because it adds half a pixel first and TensorFlow
    does not.
    """
    values = np.append(pixels, np.uint8(FILL))
    height, width = pixels.shape[:2]
    return values.take(_sources(height, width, matrix)).reshape(pixels.shape)


@lru_cache(maxsize=32)  # a policy has few matrices (v0: 20 rotations and shears), the same for every image
def _sources(height: int, width: int, matrix: Matrix) -> np.ndarray:
    """Flat input index of each output value; the index past the end stands for outside the image."""
    a, b, c, d, e, f = (np.float32(value) for value in matrix)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    columns, rows = _rounded(a * x + b * y + c), _rounded(d * x + e * y + f)
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    first = (rows * width + columns)[..., None] * 3
    return np.where(inside[..., None], first + np.arange(3), height * width * 3).reshape(-1)


def _rounded(values: np.ndarray) -> np.ndarray:
    """Round to integers, halves away from zero. In double precision, so that adding .5 is exact."""
    wide = np.asarray(values, dtype=np.float64)
    return np.trunc(wide + np.copysign(0.5, wide)).astype(np.intp)
