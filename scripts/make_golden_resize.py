"""Make tests/golden/resize.npz with TensorFlow's old bicubic; in make_golden_augment.py's environment."""

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
        f"to_{size}": tf.compat.v1.image.resize_bicubic(picture[None], [size, size])[0].numpy().clip(0, 255)
        for size in (24, 64)
    }
    np.savez_compressed(OUT, input=picture, **made)


if __name__ == "__main__":
    main()
