"""Make tests/golden/augment.npz, levels.json and autoaugment_v0.json with the ResNet-RS authors' own code.

Needs tf-models-official 2.20 in an environment of its own (3 GB; no part of the project's dependencies):

    python -m venv golden && golden/bin/pip install tf-models-official==2.20.0
    TF_USE_LEGACY_KERAS=1 golden/bin/python scripts/make_golden_augment.py
"""

import functools
import inspect
import json
import re
from pathlib import Path

import numpy as np
import tensorflow as tf
from official.vision.ops import augment

RANDAUGMENT = augment.RandAugment(num_layers=2, magnitude=10).available_ops
OUT = Path(__file__).parent.parent / "tests" / "golden"


def images() -> dict[str, np.ndarray]:
    """Made pictures: gradients, noise, shapes, a flat one, a wide one, and one of the authors' size."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:40, 0:40]
    gradient = np.stack([x * 5, y * 5, 255 - (x + y) * 2], -1)
    shapes = np.full((40, 40, 3), (30, 90, 160))
    shapes[8:28, 10:34] = (220, 40, 60)
    shapes[(x - 26) ** 2 + (y - 26) ** 2 < 120] = (250, 240, 20)
    wide_y, wide_x = np.mgrid[0:32, 0:56]
    wide = np.stack([wide_x * 3 + 40, wide_y * 2 + 60, (wide_x * wide_y) % 200], -1)
    wide = wide + rng.integers(0, 25, wide.shape)
    large_y, large_x = np.mgrid[0:120, 0:160]
    large = np.stack([large_x // 10 * 15, large_y // 8 * 16, (large_x + large_y) // 40 * 30 + 20], -1)
    large[(large_x - 100) ** 2 + (large_y - 50) ** 2 < 900] = (240, 30, 90)
    found = {
        "gradient": gradient,
        "noise": rng.permutation(awkward_colours(24 * 24)).reshape(24, 24, 3),
        "shapes": shapes,
        "flat": np.full((32, 32, 3), 77),
        "wide": wide,
        "large": large,
    }
    return {name: value.astype(np.uint8) for name, value in found.items()}


def awkward_colours(count: int) -> np.ndarray:
    """The colours whose luminance lies closest to a whole number, where rounding errors show: [count, 3]."""
    weights = np.array([2989, 5870, 1140]) * 511  # of 10,000 x 510: levels are truncated after x 255.5 / 255
    colours = np.stack(np.mgrid[0:256, 0:256, 0:256], -1).reshape(-1, 3)
    rest = colours @ weights % 5_100_000
    return colours[np.argsort(np.minimum(rest, 5_100_000 - rest), kind="stable")[:count]]


def calls() -> dict[str, tuple[str, tuple]]:
    """Our operation and its arguments, by the key the result is stored under."""
    made = {"auto_contrast": ("auto_contrast", ()), "equalize": ("equalize", ()), "invert": ("invert", ())}
    for bits in (0, 2, 4, 6, 8):
        made[f"posterize({bits})"] = ("posterize", (bits,))
    for threshold in (0, 77, 128, 255):
        made[f"solarize({threshold})"] = ("solarize", (threshold,))
    for addition in (33, 110, 165, 220):
        made[f"solarize_add({addition})"] = ("solarize_add", (addition,))
    for factor in (0.0, 0.1, 0.64, 1.0, 1.9, 2.8, 3.7):
        for name in ("color", "contrast", "brightness", "sharpness"):
            made[f"{name}({factor})"] = (name, (factor,))
    for sign in (1, -1):
        for level in (10, 15, 20):
            made[f"rotate({sign * 3 * level})"] = ("rotate", (sign * 3.0 * level,))
            made[f"shear_x({sign * 0.03 * level:.3f})"] = ("shear_x", (sign * 0.03 * level,))
            made[f"shear_y({sign * 0.03 * level:.3f})"] = ("shear_y", (sign * 0.03 * level,))
        for pixels in (10, 15.5, 100):  # a half is rounded away from zero
            made[f"translate_x({sign * pixels})"] = ("translate_x", (sign * float(pixels),))
            made[f"translate_y({sign * pixels})"] = ("translate_y", (sign * float(pixels),))
    for half_side, centre in ((4, (3, 9)), (10, (20, 12)), (40, (23, 5))):
        made[f"cutout({half_side}, {centre})"] = ("cutout", (half_side, centre))
    return made


def theirs(name: str, image: tf.Tensor, arguments: tuple) -> tf.Tensor:
    """The authors' operation of that name."""
    if name == "auto_contrast":
        return augment.autocontrast(image)
    if name == "contrast":
        return contrast(image, *arguments)
    if name == "cutout":  # without the drawing of its place
        half_side, (x, y) = arguments
        return augment._fill_rectangle(image, x, y, half_side, half_side, replace=128)
    if name in ("rotate", "shear_x", "shear_y", "translate_x", "translate_y"):
        own = augment.wrapped_rotate if name == "rotate" else getattr(augment, name)
        return own(image, *arguments, [128, 128, 128])
    return getattr(augment, name)(image, *arguments)


def contrast(image: tf.Tensor, factor: float) -> tf.Tensor:
    """As the TPU code has it: a histogram's sum, and not its mean, over 256. The Garden's is another."""
    grey = tf.cast(tf.image.rgb_to_grayscale(image), tf.int32)
    histogram = tf.histogram_fixed_width(grey, [0, 255], nbins=256)
    level = tf.clip_by_value(tf.reduce_sum(tf.cast(histogram, tf.float32)) / 256, 0, 255)
    flat = tf.cast(tf.fill(image.shape, level), tf.uint8)
    return augment.blend(flat, image, factor)


# The TPU code fills what a transform brings in with grey; the Garden's default is to reflect the image.
augment.transform = functools.partial(augment.transform, fill_mode="constant")
augment.translate = functools.partial(augment.translate, fill_mode="constant")


def policy_v0() -> list:
    """The sub-policies as its source lists them."""
    source = inspect.getsource(augment.AutoAugment.policy_v0)
    rows = re.findall(r"\[\s*\('(\w+)', ([\d.]+), (\d+)\),\s*\('(\w+)', ([\d.]+), (\d+)\)\s*\]", source)
    return [[[a, float(p), int(m)], [b, float(q), int(n)]] for a, p, m, b, q, n in rows]


def levels() -> dict:
    """What each operation gets at a level, by operation and level; signs are drawn, so without them."""
    without = ("AutoContrast", "Equalize", "Invert")  # no magnitude
    table = augment.level_to_arg(cutout_const=40.0, translate_const=100.0)
    return {
        name: {level: abs(float(table[name](float(level))[0])) for level in (5, 10, 15, 20)}
        for name in RANDAUGMENT
        if name not in without
    }


def main() -> None:
    """Write the three files."""
    pictures = images()
    arrays = {f"input/{name}": pixels for name, pixels in pictures.items()}
    arguments = {}
    for key, (name, args) in calls().items():
        arguments[key] = [name, list(args)]
        for picture, pixels in pictures.items():
            arrays[f"{key}/{picture}"] = theirs(name, tf.constant(pixels), args).numpy()
    OUT.mkdir(exist_ok=True)
    np.savez_compressed(OUT / "augment.npz", calls=json.dumps(arguments), **arrays)
    (OUT / "autoaugment_v0.json").write_text(json.dumps(policy_v0(), indent=1) + "\n")
    (OUT / "levels.json").write_text(json.dumps(levels(), indent=1) + "\n")
    print(f"{len(arrays)} arrays, {(OUT / 'augment.npz').stat().st_size} bytes")


if __name__ == "__main__":
    main()
