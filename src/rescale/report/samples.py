"""A picture of training images: the originals, and as a recipe augments them."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rescale.data import BadImage, Data, Draw
from rescale.data.augment.levels import SMALL
from rescale.data.draw import order
from rescale.errors import JobError, UserError
from rescale.files import atomic, printable
from rescale.recipes import Recipe
from rescale.tasks import task_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS, EPOCHS = 8, 8
CELL, FIRST, DPI = 1.2, 1.4, 150  # inches per image, factor for the first of a row, dots per inch


def draw_samples(data: Data, recipe: Recipe, resolution: int, seed: int, out: Path) -> None:
    """Write a PNG of ROWS images: each original, then its augmentation in EPOCHS epochs of a resolved recipe.

    Raises UserError if the path cannot be a file, JobError for an image that cannot be decoded.
    """
    from matplotlib.figure import Figure

    if out.is_dir():
        raise UserError(f"{out}: is a folder; name a PNG file")
    if not out.parent.is_dir():
        raise UserError(f"{out}: there is no folder {out.parent}")
    if not len(data.train):
        raise UserError(f"{data.spec}: no training images to draw; give them as --train PATH")
    chosen = [int(index) for index in order(len(data.train), seed, 0)[:ROWS]]
    task = task_of(recipe, data)
    prepare = task.prepare(resolution, training=True)
    size = ((EPOCHS + FIRST) * CELL, len(chosen) * (CELL + 0.12) + 0.8)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    axes = figure.subplots(len(chosen), EPOCHS + 1, squeeze=False, width_ratios=[FIRST] + [1] * EPOCHS)
    for row, index in zip(axes, chosen, strict=True):
        try:
            sample = data.train.sample(index)
            _draw(row[0], sample.media.pixels())
        except BadImage as error:
            raise JobError(f"{error}; `rescale data verify` names all that are damaged") from None
        about = f"{_short(task.caption(sample.target), 18)}, {sample.media.width} x {sample.media.height}"
        row[0].set_title(printable(about), fontsize=7, pad=3, loc="left", parse_math=False)
        for epoch, axis in enumerate(row[1:]):
            tensors = prepare(sample, Draw(seed, epoch, index))
            _draw(axis, task.picture(dict(tensors)))
    for epoch, axis in enumerate(axes[0][1:]):
        axis.set_title(f"epoch {epoch + 1}", fontsize=8, pad=3)
    title = f"{data.spec.name} as {recipe.name} trains on it, at {resolution} x {resolution} pixels"
    figure.suptitle(printable(title), fontsize=11, parse_math=False)
    figure.supxlabel(caption(recipe, resolution), fontsize=8)
    with atomic(out) as temporary:
        figure.savefig(temporary, format="png")


def caption(recipe: Recipe, resolution: int) -> str:
    """The steps that the recipe applies to an image, in order."""
    parts = [f"centre crop, {recipe.eval_crop:g} of the shorter side"]
    if recipe.crop == "random-resized":
        parts = [f"random crop of {recipe.crop_area_min:g} to {recipe.crop_area_max:g} of the image"]
    parts += [recipe.interpolation, f"mirrored by {recipe.flip:g}"]
    if recipe.augment.startswith("randaugment"):
        operations, magnitude = recipe.randaugment_layers, recipe.randaugment_magnitude
        noise = f" +- {recipe.randaugment_noise:g}" * (recipe.randaugment_noise > 0)
        chance = f", each by {recipe.randaugment_chance:g}" * (recipe.randaugment_chance < 1)
        parts.append(f"{recipe.augment}, {operations} operations at {magnitude:g}{noise}{chance}")
    elif recipe.augment != "none":
        parts.append(recipe.augment)
    if recipe.augment in {"randaugment", "autoaugment"} and resolution < SMALL:
        parts.append(f"its constants {recipe.small_images} for small images")
    if recipe.random_erasing:
        parts.append(f"erased by {recipe.random_erasing:g}")
    return "; ".join(parts)


def _draw(axis: "Axes", pixels: np.ndarray) -> None:
    """Pixels as squares where they are enlarged, averaged where they are reduced."""
    shown = CELL * DPI
    axis.imshow(pixels, interpolation="nearest" if max(pixels.shape) < shown else "antialiased")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set(color="0.7", linewidth=0.5)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
