"""Rules: functions from a model and a length of training to the value of a field, each with its source.

Table 8, Table 12 and the scaling study (Appendix E) are those of ResNet-RS, arXiv v1. The prefix `OWN` marks
sources of this project's own rules, where the papers give none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from rescale.recipes.recipe import Recipe

OWN = "own rule: "
WIDTH_DROPOUT = ((0.25, 0.0), (0.5, 0.1), (1.0, 0.25), (1.5, 0.6), (2.0, 0.75))  # ResNet-RS, Table 12
STUDY_WIDTHS, STUDY_SIZES = (0.25, 0.5, 1.0, 1.5, 2.0), (128, 160, 224, 320, 448)
TABLE_8 = {  # depth in layers (272 and 419 are its 270 and 420) and resolution of each row
    (50, 160), (101, 160), (101, 192), (152, 192), (152, 224), (152, 256),
    (200, 256), (272, 256), (350, 256), (350, 320), (419, 320),
}  # fmt: skip
MINIVAL = 0.02  # 20 of ImageNet's 1024 shards
SHORT, REGULARIZED_FROM, LONG = 100, 200, 350  # epochs: Appendix E, own, Table 8 and Appendix E
LEAST_BATCH = 128  # own: below it the linear rule keeps the learning rate constant
WARMUP, FULL_WARMUP_FROM, WARMUP_SHARE = 5.0, 90, 0.05  # epochs, epochs of the run, own
CONVNEXT_WARMUP, CONVNEXT_EPOCHS = 20.0, 300  # ConvNeXt, Table 5


@dataclass(frozen=True)
class Facts:
    """The facts that rules depend on.

    resolution: in pixels. depth (in layers) and width (a multiplier): None for models other than ResNets.
    epochs: length of the run, None if unknown. native_bf16: the device multiplies bfloat16 in hardware.
    """

    resolution: int
    depth: int | None = None
    width: float | None = None
    epochs: float | None = None
    native_bf16: bool = False


class Value(NamedTuple):
    """A value and its source. instead_of: the value of a longer run if this one is too short."""

    value: Any
    source: str
    instead_of: Any = None


Rule = Callable[[Recipe, Facts], Value]


def off_in_short_runs(rule: Rule) -> Rule:
    """The rule for runs of 350 epochs; off up to 100 epochs, as in the authors' runs of 10 and 100.

    For lengths in between the papers say nothing; here it is on from 200 epochs. A run of unknown length
    counts as long.
    """

    def by_length(recipe: Recipe, facts: Facts) -> Value:
        in_long_runs = rule(recipe, facts)
        if facts.epochs is None or facts.epochs >= LONG:
            return in_long_runs
        if facts.epochs >= REGULARIZED_FROM:
            source = in_long_runs.source.removeprefix(OWN)
            return Value(in_long_runs.value, OWN + f"on from {REGULARIZED_FROM} epochs; {source}")
        off = "none" if isinstance(in_long_runs.value, str) else 0.0
        if facts.epochs <= SHORT:
            return Value(off, f"Appendix E: none up to {SHORT} epochs", in_long_runs.value)
        return Value(off, OWN + f"none below {REGULARIZED_FROM} epochs", in_long_runs.value)

    return by_length


def scaled_lr(recipe: Recipe, _: Facts) -> Value:
    """The linear rule: 0.1 x batch / 256 in ResNet-RS, as in its code (the paper prints 0.1/B)."""
    return Value(recipe.lr_per_256 * recipe.batch / 256, f"linear rule: {recipe.lr_per_256:g} x batch / 256")


def scaled_lr_from_128(recipe: Recipe, facts: Facts) -> Value:
    """The linear rule; with SGD, batches below 128 have the learning rate of 128."""
    if recipe.optimizer != "sgd" or recipe.batch >= LEAST_BATCH:
        return scaled_lr(recipe, facts)
    source = OWN + f"{recipe.lr_per_256:g} x {LEAST_BATCH} / 256 below batch {LEAST_BATCH}"
    return Value(recipe.lr_per_256 * LEAST_BATCH / 256, source)


def short_run_warmup(recipe: Recipe, facts: Facts) -> Value:
    """Five epochs in runs of the authors' lengths (the shortest is 90 epochs), 5 % of shorter runs."""
    if facts.epochs is None or facts.epochs >= FULL_WARMUP_FROM:
        return Value(WARMUP, "authors' code: 5 epochs")
    return Value(WARMUP_SHARE * facts.epochs, OWN + "5 % of a short run")


def warmup_share(_: Recipe, facts: Facts) -> Value:
    """5 % of the run; five epochs if its length is unknown."""
    if facts.epochs is None:
        return Value(WARMUP, OWN + "5 % of a run of 100 epochs")
    return Value(WARMUP_SHARE * facts.epochs, OWN + "5 % of the run")


def convnext_warmup(_: Recipe, facts: Facts) -> Value:
    """20 epochs in runs of ConvNeXt's 300 epochs and longer, the same share (6.7 %) of shorter runs."""
    if facts.epochs is None or facts.epochs >= CONVNEXT_EPOCHS:
        return Value(CONVNEXT_WARMUP, "ConvNeXt, Table 5")
    warmup = CONVNEXT_WARMUP * facts.epochs / CONVNEXT_EPOCHS
    return Value(warmup, OWN + "the share of ConvNeXt's 20 of 300 epochs")


def bn_momentum(recipe: Recipe, _: Facts) -> Value:
    """1 with weight averaging, otherwise 0.1: the authors' 0 and 0.9, which are the share of the old value.

    Their code rejects other values with weight averaging.
    """
    if recipe.ema:
        return Value(1.0, "authors' code: 1 with an EMA")
    return Value(0.1, "authors' code: 0.1 without an EMA")


def randaugment(_: Recipe, __: Facts) -> Value:
    """RandAugment for every network."""
    return Value("randaugment", "Appendix C")


def label_smoothing(_: Recipe, __: Facts) -> Value:
    """0.1 for every network: Table 8 and the scaling study."""
    return Value(0.1, "Table 8, Appendix E")


def dropout_table_8(_: Recipe, facts: Facts) -> Value:
    """0.25, or 0.4 from 320 pixels; for widths other than 1, the scaling study's value by width."""
    if facts.width is not None and facts.width != 1:
        return Value(width_dropout(facts.width), OWN + "Table 12 by width")
    rate = 0.4 if facts.resolution >= 320 else 0.25
    return Value(rate, "Table 8" if _in_table_8(facts) else OWN + "Table 8 by resolution")


def dropout_study(_: Recipe, facts: Facts) -> Value:
    """By width only (Table 12)."""
    if facts.width is None:
        return Value(width_dropout(1.0), OWN + "Table 12, as for width 1")
    source = "Table 12" if facts.width in STUDY_WIDTHS else OWN + "Table 12 by width"
    return Value(width_dropout(facts.width), source)


def stochastic_depth_table_8(_: Recipe, facts: Facts) -> Value:
    """0.1 from 200 layers, otherwise 0."""
    if facts.depth is None:
        return Value(0.0, OWN + "0 where the depth is not known")
    rate = 0.1 if facts.depth >= 200 else 0.0
    return Value(rate, "Table 8" if _in_table_8(facts) else OWN + "Table 8 by depth")


def stochastic_depth_study(_: Recipe, facts: Facts) -> Value:
    """0.2 from 224 pixels, unless the width is 0.25; otherwise 0."""
    rate = 0.2 if facts.resolution >= 224 and facts.width != 0.25 else 0.0
    if facts.width is None:
        return Value(rate, OWN + "scaling study, as for width 1")
    return Value(rate, "scaling study" if _in_study(facts) else OWN + "scaling study by size")


def magnitude(_: Recipe, facts: Facts) -> Value:
    """10 for narrow networks and up to 160 pixels, 15 up to 320, then 20.

    This agrees with Table 8 and the scaling study at all sizes that they contain; other sizes are our choice.
    """
    narrow = facts.width is not None and facts.width <= 0.5
    value = 10.0 if narrow or facts.resolution <= 160 else 15.0 if facts.resolution <= 320 else 20.0
    if _in_table_8(facts):
        return Value(value, "Table 8")
    return Value(value, "scaling study" if _in_study(facts) else OWN + "by width and resolution")


def keep_best_table_8(recipe: Recipe, facts: Facts) -> Value:
    """Early stopping, for the two largest networks only (Appendix B); never without held-out images."""
    if recipe.minival == 0:
        return Value(False, "nothing is held out to choose on")
    largest = _in_table_8(facts) and facts.resolution == 320
    return Value(largest, "Appendix B: 350@320, 420@320")


def minival_when_kept(recipe: Recipe, _: Facts) -> Value:
    """2 % if the best epoch is selected on held-out images, otherwise none."""
    if recipe.keep_best:
        return Value(MINIVAL, "20 of ImageNet's 1024 shards")
    return Value(0.0, "not needed without keep_best")


def precision(_: Recipe, facts: Facts) -> Value:
    """bfloat16, as the authors use, if the device supports it in hardware."""
    if facts.native_bf16:
        return Value("bf16", "authors' code; in hardware here")
    return Value("fp32", OWN + "no bf16 in hardware here")


# In order of application: later rules may depend on values that earlier ones set.
RULES: dict[tuple[str, str], Rule] = {
    ("precision", "auto"): precision,
    ("lr", "scaled"): scaled_lr,
    ("lr", "scaled-from-128"): scaled_lr_from_128,
    ("warmup_epochs", "short-run"): short_run_warmup,
    ("warmup_epochs", "5-percent"): warmup_share,
    ("warmup_epochs", "20-in-300"): convnext_warmup,
    ("bn_momentum", "with-ema"): bn_momentum,
    ("dropout", "table-8"): off_in_short_runs(dropout_table_8),
    ("dropout", "scaling-study"): off_in_short_runs(dropout_study),
    ("stochastic_depth", "table-8"): off_in_short_runs(stochastic_depth_table_8),
    ("stochastic_depth", "scaling-study"): off_in_short_runs(stochastic_depth_study),
    ("label_smoothing", "by-length"): off_in_short_runs(label_smoothing),
    ("augment", "by-length"): off_in_short_runs(randaugment),
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


def _in_table_8(facts: Facts) -> bool:
    return facts.width == 1 and (facts.depth, facts.resolution) in TABLE_8


def _in_study(facts: Facts) -> bool:
    return facts.width in STUDY_WIDTHS and facts.resolution in STUDY_SIZES
