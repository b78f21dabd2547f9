"""Make tests/golden/crops.json: TensorFlow's random boxes; in make_golden_augment.py's environment."""

import json
from pathlib import Path

import numpy as np
import tensorflow as tf

OUT = Path(__file__).parent.parent / "tests" / "golden" / "crops.json"
SIZES = ((500, 375), (64, 64), (32, 32), (8, 8), (300, 60))
BOXES = 20_000


def boxes(width: int, height: int) -> np.ndarray:
    """Height and width of each of BOXES boxes, drawn with the arguments of the ResNet-RS authors."""

    def box(number: tf.Tensor) -> tf.Tensor:
        return tf.image.stateless_sample_distorted_bounding_box(
            [height, width, 3],
            tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
            seed=tf.stack([number, 0]),
            min_object_covered=0.1,
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(0.08, 1.0),
            max_attempts=10,
        )[1][:2]

    return tf.function(lambda: tf.map_fn(box, tf.range(BOXES)))().numpy()


def main() -> None:
    """Write the shares of boxes up to some areas and ratios, the least area, and the failures."""
    found = []
    for width, height in SIZES:
        tall, wide = boxes(width, height).T
        part = (tall != height) | (wide != width)
        area, ratio = (tall * wide / (width * height))[part], (wide / tall)[part]
        upto = {
            "area": {at: float((area <= at).mean()) for at in (0.12, 0.15, 0.2, 0.3, 0.45, 0.6, 0.8)},
            "ratio": {at: float((ratio <= at).mean()) for at in (0.77, 0.85, 0.95, 1.05, 1.15, 1.25, 1.31)},
        }
        whole = float(1 - part.mean())
        found.append({"size": [width, height], "whole": whole, "least": float(area.min()), "upto": upto})
    OUT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
