"""What a plan will cost on this machine, before any of it runs: each network's step is timed briefly."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from rescale.bench import Ask, TimingProtocol, time_network
from rescale.models import External
from rescale.network import Network
from rescale.recipes import Recipe
from rescale.studies.checks import Prepared
from rescale.studies.plan import Item

Progress = Callable[[int, int, str], None]
LARGEST = 32  # images of a timed step at most; the time of larger ones is in proportion
WARMUP, REPEATS = 1, 3


class Price(NamedTuple):
    """The price of one run.

    Args:
        steps: optimizer steps of the run.
        batch: images per step.
        seconds: of all its steps, without loading images and without evaluations.
    """

    steps: int
    batch: int
    seconds: float


def prices(
    runs: Mapping[Item, Prepared],
    items: Iterable[Item],
    protocol: TimingProtocol,
    ask: Ask,
    progress: Progress = lambda done, of, label: None,
) -> dict[Item, Price]:
    """The price of each of these items, by a few steps of each network and recipe.

    Args:
        runs: what each item trains.
        items: the items to price.
        protocol: device, threads and execution mode of the trainings.
        ask: answers requests for measurements.
        progress: called with the number of networks that are timed, that of all, and the last one's label.

    Raises:
        JobError: a model fails, or not one image fits into memory.
    """
    without_seed = {item: replace(item, seed=0) for item in items}
    different = {key: item for item, key in without_seed.items()}
    by_network: dict[Item, Price] = {}
    for key, item in different.items():
        by_network[key] = _price(runs[item], protocol, ask)
        progress(len(by_network), len(different), item.label)
    return {item: by_network[key] for item, key in without_seed.items()}


def seconds_of_image(model: Network | External, recipe: Recipe, protocol: TimingProtocol, ask: Ask) -> float:
    """The time of training for one image, by a few steps.

    Args:
        model: the model.
        recipe: resolved; of its batch `LARGEST` images at most are timed.
        protocol: device, threads and execution mode of the training.
        ask: answers requests for measurements.

    Raises:
        JobError: the model fails, or not one image fits into memory.
    """
    timed = replace(
        protocol,
        mode="train",
        batch=min(recipe.batch // recipe.accumulate, LARGEST),
        precision="auto",
        warmup=WARMUP,
        repeats=REPEATS,
    )
    return 1 / time_network(model, timed, recipe, ask).images_per_s


def _price(run: Prepared, protocol: TimingProtocol, ask: Ask) -> Price:
    recipe = run.recipe
    steps = recipe.total_steps(run.images // recipe.batch)
    seconds = seconds_of_image(run.model, recipe, protocol, ask)
    return Price(steps, recipe.batch, steps * recipe.batch * seconds)
