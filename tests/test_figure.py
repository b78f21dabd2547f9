"""Figures of merit, and what the first version wrote without them."""

import json
from pathlib import Path

from rescale.figure import Figure
from rescale.training.format_1 import TOP_1, upgraded_position, upgraded_result

GOLDEN = Path(__file__).parent / "golden" / "format-1"


def test_directions() -> None:
    error = Figure("error", "mean error", "degrees", higher_is_better=False)
    assert error.better(1.0, 2.0) and error.better(5.0, error.worst) and not error.better(float("nan"), 1.0)
    assert TOP_1.better(2.0, 1.0) and TOP_1.oriented(3.0) == 3.0 and error.oriented(3.0) == -3.0
    assert (TOP_1.text(76.206), error.number(2.0)) == ("top-1 76.21 %", "2.00 degrees")
    assert Figure(**json.loads(json.dumps(error.as_json()))) == error


def test_a_result_of_format_1() -> None:
    written = json.loads((GOLDEN / "finished" / "result.json").read_text())
    result = upgraded_result(written)
    assert result["figures"] == {k: written[k] for k in ("top1", "top5", "loss")} | {"images": 360}
    assert result["raw"] == {"top1": written["top1_raw"]} and Figure(**result["headline"]) == TOP_1
    assert "top1" not in result and result["identity"] == written["identity"]
    assert upgraded_result(result) == result


def test_a_position_of_format_1() -> None:
    (state,) = (GOLDEN / "unfinished" / "checkpoints").glob("*/state.json")
    written = json.loads(state.read_text())["position"]
    position = upgraded_position(written | {"correct": 30, "loss": 99.5, "images": 50})
    assert position["sums"] == {"loss": [99.5, 50], "top1": [3000.0, 50]}
    assert position["step"] == 8 and "correct" not in position
    assert upgraded_position(position) == position
