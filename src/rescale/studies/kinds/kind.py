"""What a kind of study is: a question, presets, a plan and an analysis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rescale.bench.timing import TimingProtocol
from rescale.data.spec import DataSpec
from rescale.errors import UserError, nearest
from rescale.studies.differences import Difference
from rescale.studies.plan import Plan
from rescale.studies.rows import Row

if TYPE_CHECKING:  # they bring numpy
    import numpy as np

    from rescale.studies.images import ImageDifference

SEEDS = 5  # of a study that claims something


@dataclass(frozen=True)
class Preset:
    """A size at which a kind of study can be run.

    Args:
        about: what it takes, in a few words.
        models: the networks.
        data: a built-in data set; empty: the user's own.
        recipe: the recipe that all runs have or begin with.
        changes: of the recipe, in all runs, each with the reason for it: a text, empty if the paper has it.
        images: training images of such data, which estimates of time assume.
    """

    about: str
    models: tuple[str, ...]
    data: str
    recipe: str
    changes: Mapping[str, str] = field(default_factory=dict)
    images: int = 50_000

    def notes(self, changes: Sequence[str]) -> tuple[str, ...]:
        """The reasons for those of these changes that are the preset's own."""
        return tuple(f"{change}: {why}" for change, why in self.changes.items() if why and change in changes)


@dataclass(frozen=True)
class Request:
    """What a user asks of a kind of study; empty values leave the choice to the preset or the kind.

    Args:
        preset: tiny, small, paper, or none.
        data: what the networks are trained on.
        models: networks, as on the command line.
        recipes: names or files.
        seeds: number of seeds; 0 for the kind's own.
        changes: "key=value" on top of the recipe, in all runs.
        rows: a file with the rows of an additive study.
        timing: how the networks are timed.
        title: heading of the report.
        command: the command that asks.
    """

    preset: str = ""
    data: str | DataSpec = ""
    models: tuple[str, ...] = ()
    recipes: tuple[str, ...] = ()
    seeds: int = 0
    changes: tuple[str, ...] = ()
    rows: Path | None = None
    timing: TimingProtocol = field(default_factory=TimingProtocol)
    title: str = ""
    command: str = ""


@dataclass(frozen=True)
class Outcome:
    """The results of a study, before they are compared.

    Args:
        plan: the study's plan.
        rows: the networks that have a finished run, in the plan's order.
        values: of the headline figure, by label and seed.
        scores: of the networks whose runs have scores of single images, by label: [seeds, images]; the
            images are those that all these runs have.
    """

    plan: Plan
    rows: Sequence[Row]
    values: Mapping[str, Mapping[int, float]]
    scores: Mapping[str, "np.ndarray"]


@dataclass(frozen=True)
class Analysis:
    """What a study says, as values that a report draws and prints.

    Args:
        answer: the result in a sentence or two.
        rows: the networks in the order of the report's tables.
        differences: over seeds, by the label of one of the two networks that are compared.
        over_images: the same over images.
        columns: names of the table's columns, beside the networks' names (`rescale.report.columns`).
        figures: names of the figures, the most important one first (`rescale.report.figures`).
        ranked: the rows are in the order of their values.
        published: the paper's own values, by label. They are never ours.
    """

    answer: str
    rows: Sequence[Row]
    differences: Mapping[str, Difference]
    over_images: Mapping[str, "ImageDifference"]
    columns: tuple[str, ...]
    figures: tuple[str, ...]
    ranked: bool
    published: Mapping[str, float] = field(default_factory=dict)


class Kind(Protocol):
    """A kind of study. Each is a module in this package, with these names.

    Args:
        QUESTION: what it answers, in a sentence.
        ABOUT: what it does, in a sentence.
        EXAMPLE: a command.
        SOURCE: the paper's table or figure that it repeats.
        PRESETS: by name; the first is the smallest.
    """

    QUESTION: str
    ABOUT: str
    EXAMPLE: str
    SOURCE: str
    PRESETS: Mapping[str, Preset]

    def plan(self, request: Request) -> Plan:
        """The plan of what is asked for. Raises UserError: something is missing, or has no meaning here."""

    def comparisons(self, networks: int) -> int:
        """The number of comparisons that the level of its tests is divided among."""

    def analyse(self, outcome: Outcome) -> Analysis:
        """Compare the networks and answer the question."""


def chosen_preset(presets: Mapping[str, Preset], name: str) -> Preset | None:
    """The preset of this name; None without a name. Raises UserError if there is none of it."""
    if not name:
        return None
    if name not in presets:
        raise UserError(f"--preset {name}: {nearest(name, presets)}")
    return presets[name]
