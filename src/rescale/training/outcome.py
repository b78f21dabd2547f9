"""What a run came to: the figures that count, and result.json."""

from collections.abc import Mapping, Sequence
from typing import Any

from rescale.models import External, cost_of
from rescale.network import Network
from rescale.recipes import Recipe
from rescale.training.position import Position


def reported(row: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of an evaluation that count: the averaged weights' where there are such."""
    return row.get("averaged") or row.get("raw") or {"top1": -1.0}


def outcome(
    model: Network | External,
    recipe: Recipe,
    facts: Mapping[str, Any],
    at: Position,
    final: Mapping[str, Any],
    not_applied: Sequence[str],
) -> dict[str, Any]:
    """result.json of a finished run. facts: run.json. final: the evaluation that is reported."""
    figures = reported(final)
    return {
        "model": model.name,
        "resolution": model.resolution,
        **cost_of(model)._asdict(),
        "top1": figures["top1"],
        "top5": figures["top5"],
        "loss": figures["loss"],
        "top1_raw": final["raw"]["top1"],
        "averaged": "averaged" in final,
        "val_images": figures["images"],
        "best_epoch": at.best.get("epoch"),
        "epochs": recipe.epochs,
        "steps": at.step,
        "seconds": round(at.seconds, 2),
        "images_per_s": at.train["images_per_s"],
        "seed": facts["seed"],
        "recipe": recipe.name,
        "data": facts["data"],
        "identity": facts["identity"],
        "precision": recipe.precision,
        "not_applied": [*facts["notes"], *not_applied],
        "bad_images": len(at.bad_images),
        "machine": facts["machine"],
    }
