"""Make tests/golden/resize.npz with TensorFlow's old bicubic; see make_golden_augment.py for the environment."""

from pathlib import Path

import numpy as np
import tensorflow as tf

OUT = Path(__file__).parent.parent / "tests" / "golden" / "resize.npz"


def main() -> None:
    """Write one made picture, reduced and enlarged."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:50, 0:70]
    picture = np.stack([x * 3, y * 5, 120 + 100 * np.sin(x * y / 40)], -1) + rng.integers(0, 20, (50, 70, 3))
    picture = picture.clip(0, 255).astype(np.uint8)
    made = {
        f"to_{size}": tf.raw_ops.ResizeBicubic(
            images=tf.constant(picture[None]), size=[size, size], align_corners=False, half_pixel_centers=False
        ).numpy()[0].clip(0, 255)
        for size in (24, 96)
    }  # fmt: skip
    np.savez_compressed(
        OUT, input=picture, **{name: array.astype(np.float32) for name, array in made.items()}
    )


if __name__ == "__main__":
    main()
