"""Write a fixed part of a data set as an image folder, lossless: for small studies.

    python scripts/make_subset.py path/to/cifar cifar-500 --per-class 50

The training images are the first of each class by a hash of their names; all validation images are kept.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from rescale.data import Source, open_data
from rescale.data.splits import rank


def main() -> None:
    """Read the arguments, write the folders."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--per-class", type=int, required=True)
    given = parser.parse_args()
    data = open_data(given.data)
    names = [data.train.describe(i).removeprefix(given.data).lstrip("/") for i in range(len(data.train))]
    ranks, labels = rank(names, "subset"), np.asarray(data.train.strata)
    chosen = []
    for label in range(len(data.classes)):
        members = np.flatnonzero(labels == label)
        chosen += members[np.argsort(ranks[members])[: given.per_class]].tolist()
    write(data.train, sorted(chosen), data.classes, given.out / "train")
    write(data.val, list(range(len(data.val))), data.classes, given.out / "val")
    print(f"{given.out}: {len(chosen)} training and {len(data.val)} validation images")


def write(source: Source, indices: list[int], classes: tuple[str, ...], out: Path) -> None:
    """Write images as PNG, a folder a class."""
    for name in classes:
        (out / name).mkdir(parents=True)
    for index in indices:
        Image.fromarray(source.sample(index).media.pixels()).save(
            out / classes[int(source.strata[index])] / f"{index:06d}.png"
        )


if __name__ == "__main__":
    main()
