"""Pareto: networks by the same recipe, on one curve of speed and accuracy."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rescale import units
from rescale.errors import UserError, first_few, plural
from rescale.studies.analysis import best_first
from rescale.studies.differences import Difference, against_best
from rescale.studies.kinds.kind import Analysis, Outcome, Preset, Request, chosen_preset
from rescale.studies.plan import Plan, merged, pareto_plan
from rescale.studies.rows import Row
from rescale.studies.wording import beyond_images, measured, method, too_few

if TYPE_CHECKING:  # brings numpy
    from rescale.studies.images import ImageDifference

QUESTION = "Which networks are the most accurate for their time, trained by the same recipe?"
ABOUT = "Trains networks by the same recipe, times them on this machine and draws the Pareto curve."
EXAMPLE = "rescale study pareto --models resnetrs50,timm:resnet50 --data images --seeds 3 --out studies/a"
SOURCE = "ResNet-RS, Figure 4 and Table 7"
COLUMNS = ("value", "published", "time", "images/s", "memory", "MACs", "params", "activ.", "front")

PUBLISHED = {  # ImageNet, percent: Table 7
    "resnetrs50@160": 78.8,
    "resnetrs101@160": 80.3,
    "resnetrs101@192": 81.2,
    "resnetrs152@192": 82.0,
    "resnetrs152@224": 82.8,
    "resnetrs152@256": 83.0,
    "resnetrs200@256": 83.4,
    "resnetrs270@256": 83.8,
    "resnetrs350@256": 84.0,
    "resnetrs350@320": 84.2,
    "resnetrs420@320": 84.4,
}

_DIGITS = {
    "epochs=10": "350 epochs take hours here",
    "batch=32": "4096 images are more than there are",
    "flip=0": "a mirrored digit is another digit",
    "crop_area_min=0.8": "a small part of a digit does not say which it is",
    "eval_crop=1": "a digit fills its scan: the centre crop would leave out a pixel on each side",
}
_SMALL = {
    "epochs=30": "350 epochs take days on one GPU",
    "batch=128": "4096 images are more than small data sets fill",
}
PRESETS: Mapping[str, Preset] = {
    "tiny": Preset(
        "digits, three networks, 10 epochs",
        tuple(f"resnetrs{depths}+smallstem@8" for depths in ("1-1-1x0.0625", "1-1-1x0.125", "2-2-2x0.125")),
        "digits",
        "resnet-rs",
        _DIGITS,
        images=1_437,
    ),
    "small": Preset(
        "your images, 32 or 64 pixels, 30 epochs",
        ("resnetrs26x0.25@32", "resnetrs26x0.25@64", "resnetrs50x0.25@64", "resnetrs50x0.5@64"),
        "",
        "resnet-rs",
        _SMALL,
    ),
    "paper": Preset(
        "ImageNet, ResNet-RS, 350 epochs",
        tuple(PUBLISHED),
        "",
        "resnet-rs",
        images=1_281_167,
    ),
}


def plan(request: Request) -> Plan:
    """Every model by every recipe, with each seed. Raises UserError: models or data are missing."""
    preset = chosen_preset(PRESETS, request.preset)
    if request.rows is not None:
        raise UserError("--rows is for rescale study additive; name the networks by --models")
    models = request.models or (preset.models if preset else ())
    data = request.data or (preset.data if preset else "")
    if missing := [name for name, value in (("--models", models), ("--data", data)) if not value]:
        raise UserError(
            f"{' and '.join(missing)} missing, as in: rescale study pareto --models resnetrs50 --data images "
            "--out a, or --preset tiny"
        )
    changes = merged(preset.changes if preset else (), request.changes)
    return pareto_plan(
        models,
        request.recipes or ((preset.recipe if preset else "resnet-rs"),),
        data,
        seeds=request.seeds or 1,
        changes=changes,
        timing=request.timing,
        title=request.title,
        command=request.command,
        notes=preset.notes(changes) if preset else (),
    )


def comparisons(networks: int) -> int:
    """Any pair could have been compared, since the best network is known from the same values."""
    return math.comb(networks, 2)


def analyse(outcome: Outcome) -> Analysis:
    """The networks from the best to the worst; the best one is compared with each of the others."""
    from rescale.studies.images import over_images

    rows = best_first(outcome.rows)
    compared = against_best([outcome.values[row.label] for row in rows], 0) if rows else []
    differences = {row.label: difference for row, difference in zip(rows[1:], compared, strict=True)}
    scores, count = outcome.scores, comparisons(len(rows))
    of_images = {
        row.label: over_images(scores[row.label], scores[rows[0].label], count)
        for row in rows[1:]
        if row.label in scores and rows[0].label in scores
    }
    parts = (_best(rows, differences, of_images), _front(rows)) if rows else ()
    answer = " ".join(part for part in parts if part)
    names = {row.label: f"{row.model.partition('@')[0]}@{row.resolution}" for row in rows}
    published = {label: PUBLISHED[name] for label, name in names.items() if name in PUBLISHED}
    return Analysis(answer, rows, differences, of_images, COLUMNS, ("pareto",), True, published)


def _best(
    rows: Sequence[Row], compared: Mapping[str, Difference], of_images: Mapping[str, "ImageDifference"]
) -> str:
    """The best network, and from which others it is told apart."""
    best = rows[0]
    which = "highest" if best.figure.higher_is_better else "lowest"
    text = f"The {which} {best.figure.label} is {measured(best)}, by {best.label}"
    if not compared:
        return f"{text}."
    differences = list(compared.values())
    if all(difference.told_apart for difference in differences):
        return f"{text}, which is told apart from every other network ({method(differences)})."
    if few := too_few(differences):
        apart, tested, chance = beyond_images(of_images.values())
        also = f" As trained here, it differs from {apart} of {plural(tested, 'other')} {chance}."
        return f"{text}; by {few}, networks are not told apart.{also * bool(tested)}"
    if all(difference.p is None for difference in differences):
        return f"{text}; all seeds differ alike, so networks are not told apart."
    close = [label for label, difference in compared.items() if not difference.told_apart]
    return f"{text}, which is not told apart from {first_few(close, 3)} ({method(differences)})."


def _front(rows: Sequence[Row]) -> str:
    """How many networks are on the front, and what its fast end costs."""
    on_front = [row for row in rows if row.on_front]
    if not on_front:
        return ""
    best, fastest = rows[0], min(on_front, key=lambda row: row.latency_s or 0)
    verb = "is" if len(on_front) == 1 else "are"
    text = f"{len(on_front)} of {plural(len(rows), 'network')} {verb} on the front"
    if fastest is not best and best.latency_s and fastest.latency_s:
        ratio = units.digits(best.latency_s / fastest.latency_s)
        text += f"; its fast end, {fastest.label}, is {ratio}× as fast at {measured(fastest)}"
    return text + "."
