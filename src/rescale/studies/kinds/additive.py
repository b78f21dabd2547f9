"""Additive: changes of a recipe and of a network, each added to the ones before it."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rescale.data.spec import DataSpec
from rescale.errors import UserError, plural
from rescale.lookup import is_external, network
from rescale.studies.differences import Difference, paired_differences
from rescale.studies.kinds.kind import SEEDS, Analysis, Outcome, Preset, Request, chosen_preset
from rescale.studies.plan import Item, Plan, check_names, check_size, default_title, family, merged
from rescale.studies.rows import Row
from rescale.studies.wording import beyond_images, by, method, too_few
from rescale.yaml_input import read_dataclass

if TYPE_CHECKING:  # brings numpy
    from rescale.studies.images import ImageDifference

QUESTION = "What does each change bring, added to the ones before it?"
ABOUT = "Trains a network with more and more of the changes, each row with several seeds."
EXAMPLE = "rescale study additive --data images --models resnet26x0.25@64 --out studies/additive"
SOURCE = "ResNet-RS, Table 1"
COLUMNS = (
    "value", "difference", "published", "over images", "sign-flip", "adds", "time", "MACs", "params", "front",
)  # fmt: skip


@dataclass(frozen=True)
class Change:
    """A row of the study: what it adds to the row above.

    Args:
        label: the row's name.
        changes: "key=value" of the recipe.
        parts: of the network's name, such as "se".
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    label: str
    changes: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rows:
    """A file of rows. model, recipe: of the first row; changes: of all rows."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    rows: tuple[Change, ...]
    model: str = ""
    recipe: str = ""
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lengths:
    """The numbers in which presets differ. short, long: epochs. magnitude: of RandAugment.

    parts: of ResNet-D, as far as the network can have them.
    """

    short: int
    long: int
    magnitude: int
    parts: tuple[str, ...]


_LENGTHS = {
    "tiny": Lengths(2, 8, 10, ("poolshortcut",)),
    "small": Lengths(30, 117, 10, ("deepstem", "convpool", "poolshortcut")),
    "paper": Lengths(90, 350, 15, ("deepstem", "convpool", "poolshortcut")),
}
PRESETS: Mapping[str, Preset] = {
    "tiny": Preset(
        "digits, 10 k parameters, 2 and 8 epochs",
        ("resnet1-1-1x0.0625+smallstem@8",),
        "digits",
        "resnet-2015",
        {
            "batch=32": "4096 images are more than there are",
            "flip=0": "a mirrored digit is another digit",
            "crop_area_min=0.8": "a small part of a digit does not say which it is",
            "eval_crop=1": "a digit fills its scan: the centre crop would leave out a pixel on each side",
        },
        images=1_437,
    ),
    "small": Preset(
        "your images, 64 pixels, 30, 117 epochs",
        ("resnet26x0.25@64",),
        "",
        "resnet-2015",
        {"batch=128": "4096 images are more than small data sets fill"},
    ),
    "paper": Preset(
        "ImageNet, ResNet-200, 90, 350 epochs",
        ("resnet200@256",),
        "",
        "resnet-2015",
        images=1_281_167,
    ),
}
PUBLISHED = {  # ImageNet, percent, means of two runs: Table 1
    "ResNet": 79.0,
    "+ cosine schedule": 79.3,
    "+ longer training": 78.8,
    "+ weight average": 79.1,
    "+ label smoothing": 80.4,
    "+ stochastic depth": 80.6,
    "+ RandAugment": 81.0,
    "+ dropout": 80.7,
    "+ lower weight decay": 82.2,
    "+ squeeze-and-excitation": 82.9,
    "+ ResNet-D": 83.4,
}


def table_1(lengths: Lengths) -> tuple[Change, ...]:
    """The rows of the paper's table. All rates are numbers, so that no rule for short runs switches one off.

    The rates are not printed there; those of the last row's network in Table 8 are taken for all rows.
    """
    rates = (
        (f"epochs={lengths.short}",),
        ("schedule=cosine",),
        (f"epochs={lengths.long}",),
        ("ema=0.9999",),
        ("label_smoothing=0.1",),
        ("stochastic_depth=0.1",),
        ("augment=randaugment", "randaugment_layers=2", f"randaugment_magnitude={lengths.magnitude}"),
        ("dropout=0.25",),
        ("weight_decay=4e-5",),
    )
    *labels, excitation, resnet_d = PUBLISHED
    return (
        *(Change(label, changes) for label, changes in zip(labels, rates, strict=True)),
        Change(excitation, parts=("se",)),
        Change(resnet_d, parts=lengths.parts),
    )


def plan(request: Request) -> Plan:
    """Every row with each seed. Raises UserError: data is missing, or the rows' file is wrong."""
    preset = chosen_preset(PRESETS, request.preset) or (PRESETS["small"] if request.rows is None else None)
    if len(request.models) > 1 or len(request.recipes) > 1:
        raise UserError("an additive study begins with one network and one recipe; make a study for each")
    if request.rows is not None:
        written = read_rows(request.rows)
    else:
        written = Rows(table_1(_LENGTHS[request.preset or "small"]))
    model = (*request.models, *filter(None, [written.model]), *(preset.models if preset else ()))
    recipe = (*request.recipes, *filter(None, [written.recipe]), *([preset.recipe] if preset else []))
    data = request.data or (preset.data if preset else "")
    wanted = (("--models", model), ("--recipe", recipe), ("--data", data))
    if missing := [name for name, value in wanted if not value]:
        raise UserError(
            f"{' and '.join(missing)} missing, as in: rescale study additive --data images --out a, "
            "or --preset tiny"
        )
    shared = merged(merged(preset.changes if preset else (), written.changes), request.changes)
    first = Item(model[0], recipe[0], DataSpec.of(data).plain(), changes=shared, group=family(model[0]))
    seeds = request.seeds or SEEDS
    check_size(len(written.rows), seeds)
    possible, left_out = possible_rows(model[0], written.rows, request.rows)
    rows = tuple(cumulative(first, possible))
    notes = (*(preset.notes(shared) if preset else ()), *left_out)
    made = Plan(
        request.title or default_title([first]).replace("speed and accuracy", "the additive study"),
        tuple(replace(row, seed=seed) for seed in range(seeds) for row in rows),
        request.timing,
        request.command,
        notes,
        kind="additive",
    )
    check_names(made)
    return made


def read_rows(path: Path) -> Rows:
    """Read a file of rows. Raises UserError: each mistake with its place and the nearest right key."""
    rows = read_dataclass(path, Rows, {"rows": Change})
    if len(rows.rows) < 2:
        raise UserError(f"{path}: an additive study has two rows or more, found {len(rows.rows)}")
    return rows


def possible_rows(
    model: str, rows: Sequence[Change], file: Path | None
) -> tuple[list[Change], tuple[str, ...]]:
    """The rows that a network can have: those whose parts its name takes.

    A wrong name is not reported here: it is one with all rows.

    Args:
        model: the first row's.
        rows: all rows.
        file: that a person wrote them to; None for the paper's.

    Returns:
        The rows, and a note on those that are left out.

    Raises:
        UserError: a person's row has parts that the network cannot have.
    """
    impossible = [row for row in rows if row.parts and not takes(model, row.parts)]
    if not impossible:
        return list(rows), ()
    if file is not None:
        row = impossible[0]
        raise UserError(
            f"{file}: {row.label}: {model} has no parts {', '.join(row.parts)}; parts belong to the names "
            "of ResNets"
        )
    names = ", ".join(row.label for row in impossible)
    note = f"left out: {names}: {model} is not the name of a ResNet, which could have these parts"
    return [row for row in rows if row not in impossible], (note,)


def takes(model: str, parts: Sequence[str]) -> bool:
    """Whether parts can be added to a network's name."""
    if is_external(model):
        return False
    try:
        network(model)
    except UserError:  # which the check of the plan says better
        return True
    try:
        network(with_parts(model, parts))
    except UserError:
        return False
    return True


def with_parts(model: str, parts: Sequence[str]) -> str:
    """A network's name with parts, before its resolution."""
    name, at, size = model.rpartition("@")
    added = "".join(f"+{part}" for part in parts)
    return f"{name}{added}@{size}" if at else f"{model}{added}"


def cumulative(first: Item, rows: Sequence[Change]) -> list[Item]:
    """An item for each row, with the changes and parts of the rows above it."""
    items, item = [], first
    for row in rows:
        model = with_parts(item.model, row.parts)
        item = replace(item, model=model, changes=merged(item.changes, row.changes), label=row.label)
        items.append(item)
    return items


def comparisons(networks: int) -> int:
    """Each row is compared with the row above."""
    return networks - 1


def analyse(outcome: Outcome) -> Analysis:
    """The networks in the plan's order, each compared with the one above it."""
    from rescale.studies.images import over_images

    rows = list(outcome.rows)
    values = [outcome.values[row.label] for row in rows]
    compared = paired_differences(list(itertools.pairwise(values)))
    differences = {row.label: difference for row, difference in zip(rows[1:], compared, strict=True)}
    scores = outcome.scores
    of_images = {
        row.label: over_images(scores[above.label], scores[row.label], max(1, comparisons(len(rows))))
        for above, row in itertools.pairwise(rows)
        if above.label in scores and row.label in scores
    }
    answer = _answer(rows, differences, of_images) if rows else ""
    published = {row.label: PUBLISHED[row.label] for row in rows if row.label in PUBLISHED}
    return Analysis(answer, rows, differences, of_images, COLUMNS, ("steps", "pareto"), False, published)


def _answer(
    rows: Sequence[Row], compared: Mapping[str, Difference], of_images: Mapping[str, "ImageDifference"]
) -> str:
    """Which rows differ from the row above by more than chance."""
    if not compared:
        return f"Only {rows[0].label} has finished, so there is nothing to compare it with."
    differences = list(compared.values())
    if few := too_few(differences):
        apart, tested, chance = beyond_images(of_images.values())
        verb = "differs" if apart == 1 else "differ"
        also = f" As trained here, {apart} of {plural(tested, 'row')} {verb} from the row above {chance}."
        return f"By {few}, no row is told apart from the row above.{also * bool(tested)}"
    if all(difference.p is None for difference in differences):
        return "All seeds differ alike, so no row is told apart from the row above."
    apart_rows = [row for row in rows if row.label in compared and compared[row.label].told_apart]
    if not apart_rows:
        return f"No row is told apart from the row above ({method(differences)})."
    named = ", ".join(f"{row.label} ({by(compared[row.label], row)})" for row in apart_rows)
    rest = len(compared) - len(apart_rows)
    others = f" {rest} other row{'s are' if rest > 1 else ' is'} not." if rest else ""
    return f"Told apart from the row above: {named}; {method(differences)}.{others}"
