"""The outcome of a run: the reported figures, and result.json."""

from collections.abc import Mapping, Sequence
from typing import Any

from rescale.data import DataSpec
from rescale.figure import Figure
from rescale.models import External, counted_cost
from rescale.network import Network
from rescale.recipes import Recipe
from rescale.training.position import Position


def reported(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """The reported figures of an evaluation: those of the averaged weights if there are any."""
    return evaluation.get("averaged") or evaluation.get("raw") or {}


def better(evaluation: Mapping[str, Any], best: Mapping[str, Any], headline: Figure) -> bool:
    """Whether an evaluation is better than the best so far, which may be empty."""
    value = reported(best).get(headline.name, headline.worst)
    return headline.better(reported(evaluation)[headline.name], value)


def outcome(
    model: Network | External,
    recipe: Recipe,
    facts: Mapping[str, Any],
    position: Position,
    final: Mapping[str, Any],
    not_applied: Sequence[str],
    epochs: float,
) -> dict[str, Any]:
    """result.json of a finished run.

    Args:
        model: the trained model.
        recipe: resolved.
        facts: run.json.
        position: at the end.
        final: the reported evaluation, with figures of the raw and possibly of the averaged weights.
        not_applied: settings of the recipe that did not apply to the model.
        epochs: length of the run.
    """
    figures = reported(final)
    counts, source, *_ = counted_cost(model)
    return {
        "model": model.name,
        "resolution": model.resolution,
        **counts._asdict(),
        "counted": source,
        "task": facts["task"],
        "headline": facts["headline"],
        "figures": figures,
        "raw": final["raw"],
        "averaged": "averaged" in final,
        "val_images": figures["images"],
        "best_epoch": position.best.get("epoch"),
        "epochs": epochs,
        "steps": position.step,
        "seconds": round(position.seconds, 2),
        "images_per_s": position.train["images_per_s"],
        "seed": facts["seed"],
        "recipe": recipe.name,
        "data": str(DataSpec.of(facts["data"])),
        "identity": facts["identity"],
        "precision": recipe.precision,
        "not_applied": [*facts["notes"], *not_applied],
        "bad_images": len(position.bad_images),
        "machine": facts["machine"],
    }
