"""Conversion of files in format 1, which the first version wrote. Only classification existed then.

Format 2 names the headline figure in run.json and result.json, and keeps an evaluation's figures together
under `figures`; a position's sums have names.
"""

from collections.abc import Mapping
from typing import Any

from rescale.figure import Figure

TOP_1 = Figure("top1", "top-1", "%", is_share=True)


def is_result(result: Mapping[str, Any]) -> bool:
    """Whether a result.json was written in format 1."""
    return "figures" not in result


def upgraded_result(result: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a result of format 1 to format 2; return any other unchanged."""
    if not is_result(result):
        return dict(result)
    kept = {key: value for key, value in result.items() if key not in ("top1", "top5", "loss", "top1_raw")}
    names = ("top1", "top5", "loss")
    figures = {name: result[name] for name in names if result.get(name) is not None}
    raw = {"top1": result["top1_raw"]} if "top1_raw" in result else figures
    return {
        **kept,
        "task": "classification",
        "headline": TOP_1.as_json(),
        "figures": {**figures, "images": result["val_images"]},
        "raw": raw,
    }


def upgraded_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Add the entries of format 2 to a run.json of format 1; return any other unchanged."""
    if facts["format"] != 1:
        return dict(facts)
    added = {"task": "classification", "headline": TOP_1.as_json(), "data": {"source": facts["data"]}}
    return {**facts, **added}


def upgraded_position(position: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a checkpoint's position of format 1 to format 2; return any other unchanged."""
    if "correct" not in position:
        return dict(position)
    kept = {key: value for key, value in position.items() if key not in ("correct", "loss")}
    correct, images = position["correct"], position["images"]
    return {**kept, "sums": {"loss": [position["loss"], images], "top1": [100.0 * correct, images]}}
