"""Rules that turn a rate's name into a number for one model, each with where it comes from.

T8: ResNet-RS, Table 8. Study: its scaling study (Appendix F). Own: a rule of this project's, where the
papers give none; it is marked so wherever it is printed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from rescale.recipes.recipe import Recipe

OWN = "own rule: "
WIDTH_DROPOUT = ((0.25, 0.0), (0.5, 0.1), (1.0, 0.25), (1.5, 0.6), (2.0, 0.75))  # ResNet-RS, Table 12
MINIVAL = 0.02  # 20 of ImageNet's 1024 shards


@dataclass(frozen=True)
class Facts:
    """What rules look at. depth and width are None for a model that is not ours."""

    resolution: int
    depth: int | None = None
    width: float | None = None
    native_bf16: bool = False


class Value(NamedTuple):
    """A number and where it comes from."""

    value: Any
    source: str


Rule = Callable[[Recipe, Facts], Value]


def scaled_lr(recipe: Recipe, _: Facts) -> Value:
    """The linear rule: 0.1 x batch / 256 in ResNet-RS (the paper prints 0.1/B; its code has this)."""
    return Value(recipe.lr_per_256 * recipe.batch / 256, f"{recipe.lr_per_256:g} x batch / 256")


def short_run_warmup(recipe: Recipe, _: Facts) -> Value:
    """Five epochs in runs of the papers' lengths (90 and up), 5 % of shorter ones."""
    if recipe.epochs >= 90:
        return Value(5.0, "authors' code: 5")
    return Value(0.05 * recipe.epochs, OWN + "5 % of a short run")


def bn_momentum(recipe: Recipe, _: Facts) -> Value:
    """1 under an average (the authors' code refuses anything else), otherwise torch's and ResNet's 0.1."""
    if recipe.ema:
        return Value(1.0, "authors' code: 0 in TensorFlow's sense under an average")
    return Value(0.1, "ResNet: 0.9 in TensorFlow's sense")


def dropout_table_8(_: Recipe, facts: Facts) -> Value:
    """0.25, from 320 pixels 0.4; for other widths than 1 the study's by width."""
    if facts.width is not None and facts.width != 1:
        return Value(width_dropout(facts.width), OWN + "Table 12 by width, linear between its rows")
    rate = 0.4 if facts.resolution >= 320 else 0.25
    return Value(rate, _table_8(facts, "by resolution"))


def dropout_study(_: Recipe, facts: Facts) -> Value:
    """By width alone."""
    width = 1.0 if facts.width is None else facts.width
    listed = any(width == row for row, _ in WIDTH_DROPOUT)
    between = "" if listed else OWN
    return Value(width_dropout(width), _no_width(facts, f"{between}Table 12 by width"))


def stochastic_depth_table_8(_: Recipe, facts: Facts) -> Value:
    """0.1 from 200 layers up."""
    if facts.depth is None:
        return Value(0.0, OWN + "0 where the depth is not known")
    return Value(0.1 if facts.depth >= 200 else 0.0, _table_8(facts, "by depth"))


def stochastic_depth_study(_: Recipe, facts: Facts) -> Value:
    """0.2 from 224 pixels up, unless the width is 0.25."""
    on = facts.resolution >= 224 and facts.width != 0.25
    return Value(0.2 if on else 0.0, _no_width(facts, "scaling study by resolution and width"))


def magnitude(_: Recipe, facts: Facts) -> Value:
    """10 for narrow networks and up to 160 pixels, 15 up to 320, then 20.

    Table 8 and the scaling study agree with it at every size they print; between those it is our own.
    """
    narrow = facts.width is not None and facts.width <= 0.5
    value = 10.0 if narrow or facts.resolution <= 160 else 15.0 if facts.resolution <= 320 else 20.0
    printed = facts.width in (0.25, 0.5, 1, 1.5, 2) and facts.resolution in (
        128,
        160,
        192,
        224,
        256,
        320,
        448,
    )
    return Value(value, "Table 8 and scaling study" if printed else OWN + "their magnitudes off the tables")


def keep_best_table_8(_: Recipe, facts: Facts) -> Value:
    """Early stopping, for the two largest networks only (Appendix B)."""
    largest = facts.depth is not None and facts.depth >= 350 and facts.resolution >= 320
    return Value(largest, "Appendix B: only 350 and 420 at 320 pixels")


def minival_when_kept(recipe: Recipe, _: Facts) -> Value:
    """2 % where the best epoch is chosen on it, else nothing is held out."""
    if recipe.keep_best:
        return Value(MINIVAL, "20 of 1024 shards, held out of training")
    return Value(0.0, "not needed without keep_best")


def precision(_: Recipe, facts: Facts) -> Value:
    """bfloat16, as the authors, where the device has it in hardware."""
    if facts.native_bf16:
        return Value("bf16", "authors' code; this device has it in hardware")
    return Value("fp32", OWN + "this device has no bfloat16 in hardware")


RULES: dict[tuple[str, str], Rule] = {  # in the order they are applied: later ones may read earlier fields
    ("precision", "auto"): precision,
    ("lr", "scaled"): scaled_lr,
    ("warmup_epochs", "short-run"): short_run_warmup,
    ("bn_momentum", "with-ema"): bn_momentum,
    ("dropout", "table-8"): dropout_table_8,
    ("dropout", "scaling-study"): dropout_study,
    ("stochastic_depth", "table-8"): stochastic_depth_table_8,
    ("stochastic_depth", "scaling-study"): stochastic_depth_study,
    ("randaugment_magnitude", "table-8"): magnitude,
    ("randaugment_magnitude", "scaling-study"): magnitude,
    ("keep_best", "table-8"): keep_best_table_8,
    ("minival", "when-kept"): minival_when_kept,
}


def width_dropout(width: float) -> float:
    """Dropout by width multiplier: Table 12, linear between its rows and constant outside them."""
    rows = WIDTH_DROPOUT
    if width <= rows[0][0]:
        return rows[0][1]
    for (low, at_low), (high, at_high) in pairwise(rows):
        if width <= high:
            return at_low + (at_high - at_low) * (width - low) / (high - low)
    return rows[-1][1]


def _table_8(facts: Facts, how: str) -> str:
    rows = {(50, 160), (101, 160), (101, 192), (152, 192), (152, 224), (152, 256), (200, 256)}
    rows |= {(272, 256), (350, 256), (350, 320), (419, 320)}  # 270 and 420 by their real layers
    if (facts.depth, facts.resolution) in rows:
        return "Table 8"
    return f"{OWN}Table 8 {how}"


def _no_width(facts: Facts, source: str) -> str:
    return source if facts.width is not None else f"{OWN}as for width 1, {source}"
