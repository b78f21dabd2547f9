"""scikit-learn's handwritten digits: 1,797 scans of 8x8 pixels, installed with the package."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from rescale.data.raw import Arrays, RawDataset, channel_statistics
from rescale.errors import UserError

NAME = "digits"
_HELD_OUT = bytes.fromhex(
    "000004883524104000064100934205001a00080100240028062c12001000940a009019120420f8a0028110a000"
    "080a8820441524494240a00a0000004004d80000818020004805c400104008a0100005404800301000020ec409"
    "000224840083a8013c20a6980a0000000b08400804a0184802024041c1008004404684376a8102160044800040"
    "42a0a4180a5000840b8561c608108008004c80c02004068e00010882008100380803c008190000100e01008410"
    "a0210033282904c044c080680e0102830082008822a6402c24042108a860809081a00c02820242120138a41500"
)
"""A bit for each scan, set for the 360 that scikit-learn's stratified split with seed 0 holds out. Importing
scikit-learn for the split would take more than a second in every process."""


def read() -> RawDataset:
    """Load the digits and hold out a fifth. Grey values 0..16 become 0..255 in three equal channels."""
    *grey_values, labels = np.loadtxt(_file(), delimiter=",", dtype=np.int64).T  # 64 pixels and the digit
    grey = np.round(np.stack(grey_values, axis=1).reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    pixels = np.repeat(grey[..., None], 3, axis=3)
    held = np.unpackbits(np.frombuffer(_HELD_OUT, np.uint8), count=len(pixels)).astype(bool)
    mean, std = channel_statistics(pixels[~held])
    return RawDataset(
        Arrays("digits/train", pixels[~held], labels[~held]),
        Arrays("digits/val", pixels[held], labels[held]),
        tuple(str(digit) for digit in range(10)),
        mean,
        std,
        {"digits": hashlib.sha256(pixels.tobytes()).hexdigest()[:16]},
    )


def _file() -> Path:
    """The file of scikit-learn that holds the scans, found without importing scikit-learn."""
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise UserError(f"{NAME}: need scikit-learn; install it with: pip install scikit-learn")
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
