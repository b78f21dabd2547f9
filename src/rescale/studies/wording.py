"""Differences of networks in words: no more than the seeds can tell."""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from rescale import units
from rescale.errors import plural
from rescale.studies.differences import LEAST, LEVEL, Difference
from rescale.studies.rows import Row

if TYPE_CHECKING:  # brings numpy
    from rescale.studies.images import ImageDifference

FEW_SEEDS = ("no common seed", "one seed", "two seeds")


def measured(row: Row) -> str:
    """A network's value with its unit and its spread over seeds."""
    return units.with_unit(units.spread(row.value, row.value_std), row.figure)


def too_few(compared: Iterable[Difference]) -> str:
    """In words, how many seeds there are, if no comparison has enough of them; otherwise empty."""
    seeds = max(difference.seeds for difference in compared)
    return "" if seeds >= LEAST else FEW_SEEDS[seeds]


def method(compared: Collection[Difference]) -> str:
    """How networks were compared: "paired t tests over 3 seeds, 5 % in all 4 comparisons"."""
    seeds = sorted({difference.seeds for difference in compared if difference.seeds >= LEAST})
    count = max(difference.comparisons for difference in compared)
    over = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    level = f"{LEVEL:.0%}".replace("%", " %")
    return f"paired t tests over {over} seeds, {level}" + (
        f" in all {count} comparisons" if count > 1 else ""
    )


def by(difference: Difference, row: Row) -> str:
    """The mean of a difference with its sign and unit: "+0.83 points"."""
    return f"{units.difference(difference.mean or 0.0, row.value)} {units.points(row.figure)}".rstrip()


def beyond_images(compared: "Iterable[ImageDifference]") -> tuple[int, int, str]:
    """How many networks, as trained here, differ by more than the choice of the images explains.

    Returns:
        The number of those that differ, that of all that were tested, and what they exceed, in words.
    """
    tested = [(d.low, d.high, d.images) for d in compared if d.low is not None and d.high is not None]
    apart = sum(low > 0 or high < 0 for low, high, _ in tested)
    images = plural(tested[0][2], "image") if tested else ""
    return apart, len(tested), f"by more than the choice of the {images} explains"
