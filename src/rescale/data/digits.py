"""scikit-learn's handwritten digits: 1,797 scans of 8x8 pixels, installed with the package."""

import hashlib

import numpy as np

from rescale.data.raw import Arrays, RawDataset, channel_statistics

NAME = "digits"
_HELD_OUT = 360  # of 1,797; a stratified split by scikit-learn with a fixed seed


def read() -> RawDataset:
    """Load the digits and hold out a fifth. Grey values 0..16 become 0..255 in three equal channels."""
    # imported here: it takes seconds, which other data sets need not spend
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    grey = np.round(digits.images * (255 / 16)).astype(np.uint8)
    pixels = np.repeat(grey[..., None], 3, axis=3)
    train, val = train_test_split(
        np.arange(len(pixels)), test_size=_HELD_OUT, stratify=digits.target, random_state=0
    )
    train, val = np.sort(train), np.sort(val)
    mean, std = channel_statistics(pixels[train])
    labels = digits.target.astype(np.int64)
    return RawDataset(
        Arrays("digits/train", pixels[train], labels[train]),
        Arrays("digits/val", pixels[val], labels[val]),
        tuple(str(digit) for digit in range(10)),
        mean,
        std,
        {"digits": hashlib.sha256(pixels.tobytes()).hexdigest()[:16]},
    )
