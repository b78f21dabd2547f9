"""scikit-learn's handwritten digits: 1,797 real scans of 8x8 pixels that come with the package."""

import hashlib

import numpy as np

from rescale.data.raw import Arrays, RawDataset, channel_statistics

NAME = "digits"
_HELD_OUT = 360  # of 1,797; stratified, drawn once by scikit-learn with a fixed seed


def read() -> RawDataset:
    """The digits, a fifth of them held out. Grey values 0..16 become 0..255 in three equal channels."""
    # here, because it takes seconds that other data need not wait for
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    found = load_digits()
    grey = np.round(found.images * (255 / 16)).astype(np.uint8)
    pixels = np.repeat(grey[..., None], 3, axis=3)
    train, val = train_test_split(
        np.arange(len(pixels)), test_size=_HELD_OUT, stratify=found.target, random_state=0
    )
    train, val = np.sort(train), np.sort(val)
    mean, std = channel_statistics(pixels[train])
    labels = found.target.astype(np.int64)
    return RawDataset(
        Arrays("digits/train", pixels[train], labels[train]),
        Arrays("digits/val", pixels[val], labels[val]),
        tuple(str(digit) for digit in range(10)),
        mean,
        std,
        {"digits": hashlib.sha256(pixels.tobytes()).hexdigest()[:16]},
    )
