"""What each kind of study offers: its presets with their runs, their time on this machine, what they show."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from rescale.lookup import network
from rescale.network import Network
from rescale.recipes import Recipe, recipe, resolve, with_changes
from rescale.studies.differences import LEAST, smallest_visible
from rescale.studies.kinds import KINDS, Request
from rescale.studies.plan import Item
from rescale.studies.seeds import ASSUMED

MEASURED_MACS = 100e6  # multiply-adds up to which a network's own steps are timed
Seconds = Callable[[Network, Recipe], float]  # of training, for one image


class Offer(NamedTuple):
    """A preset of a kind of study.

    Args:
        kind, preset: their names.
        about: what is trained.
        networks, seeds, runs: their numbers.
        images: training images that the time is estimated for.
        seconds: of all training steps, one run at a time; loading and evaluating images come on top.
        smallest: the smallest difference that its seeds find, with the assumed spread over seeds; None with
            too few seeds.
    """

    kind: str
    preset: str
    about: str
    networks: int
    seeds: int
    runs: int
    images: int
    seconds: float
    smallest: float | None


def offers(seconds: Seconds, done: Callable[[int], None] = lambda count: None) -> list[Offer]:
    """All presets of all kinds.

    Args:
        seconds: the time of a network's training for one image, by a resolved recipe.
        done: called with the number of presets that are estimated.
    """
    listed = []
    for kind, preset in named():
        listed.append(_offer(kind, preset, seconds))
        done(len(listed))
    return listed


def named() -> Iterator[tuple[str, str]]:
    """The names of all kinds, with each of their presets."""
    for name, kind in KINDS.items():
        for preset in kind.PRESETS:
            yield name, preset


def _offer(name: str, preset: str, seconds: Seconds) -> Offer:
    kind = KINDS[name]
    size = kind.PRESETS[preset]
    plan = kind.plan(Request(preset=preset, data=size.data or "images"))
    counts = {label: len(plan.of(label)) for label in plan.labels}
    first = {label: plan.of(label)[0] for label in plan.labels}
    total = sum(counts[label] * _seconds(item, size.images, seconds) for label, item in first.items())
    seeds, comparisons = min(counts.values()), kind.comparisons(len(counts))
    smallest = ASSUMED * smallest_visible(seeds, comparisons) if seeds >= LEAST else None
    return Offer(name, preset, size.about, len(counts), seeds, len(plan.items), size.images, total, smallest)


def _seconds(item: Item, images: int, seconds: Seconds) -> float:
    """Of one run."""
    model = network(item.model)
    resolved = resolve(with_changes(recipe(item.recipe), item.changes), model, images).recipe
    return resolved.total_steps(images // resolved.batch) * resolved.batch * seconds(model, resolved)


def in_proportion(measure: Seconds) -> Seconds:
    """Times of networks of any size: those above `MEASURED_MACS` in proportion to the largest measured one.

    measure: times a network by running it. Each network is timed once.
    """
    from rescale.cost import cost

    known: dict[str, tuple[int, float]] = {}

    def seconds(model: Network, by: Recipe) -> float:
        macs = cost(model).macs
        if macs <= MEASURED_MACS:
            if model.identity not in known:
                known[model.identity] = (macs, measure(model, by))
            return known[model.identity][1]
        if not known:
            raise AssertionError("each kind's first preset is small enough to be timed")
        largest, time = max(known.values())
        return time * macs / largest

    return seconds
