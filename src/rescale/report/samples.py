"""A picture of what a network sees: training images as they are, and as a recipe augments them."""

from pathlib import Path

import matplotlib
import numpy as np

from rescale.data import Data
from rescale.data.augment import train_transform
from rescale.data.loading import order
from rescale.recipes import Recipe

ROWS, COLUMNS = 8, 9


def draw_samples(data: Data, recipe: Recipe, resolution: int, seed: int, out: Path) -> None:
    """Write a PNG of ROWS images, each as it is and in COLUMNS - 1 epochs by a resolved recipe."""
    from matplotlib.figure import Figure

    chosen = order(len(data.train), seed, 0)[:ROWS]
    transform = train_transform(recipe, resolution)
    figure = Figure(figsize=(COLUMNS * 1.15 + 0.6, len(chosen) * 1.2 + 0.8), dpi=110, layout="constrained")
    axes = figure.subplots(len(chosen), COLUMNS, squeeze=False)
    for row, index in enumerate(chosen):
        image = data.train.image(int(index))
        pictures = [np.asarray(image)]
        for epoch in range(COLUMNS - 1):
            made = transform(image, np.random.default_rng((seed, epoch, int(index))))
            pictures.append(made.permute(1, 2, 0).numpy())
        for axis, pixels in zip(axes[row], pictures, strict=True):
            axis.imshow(pixels, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
        name = data.classes[int(data.train.labels[int(index)])]
        axes[row][0].set_ylabel(name[:14], fontsize=8)
        axes[row][0].set_xlabel(f"{image.width}x{image.height}", fontsize=6, labelpad=1)
    axes[0][0].set_title("as it is", fontsize=8)
    axes[0][1].set_title(f"as trained on, {resolution} px", fontsize=8, loc="left")
    policy: str = recipe.augment
    if policy.startswith("randaugment"):
        policy += f" {recipe.randaugment_layers} x {recipe.randaugment_magnitude:g}, {recipe.small_images}"
    figure.suptitle(
        f"{data.spec} under {recipe.name}: {recipe.crop} crop, flip {recipe.flip:g}, {policy}", fontsize=9
    )
    with matplotlib.rc_context({"svg.hashsalt": "rescale"}):
        figure.savefig(out)
