"""A calibration with invented figures."""

from typing import Any

from rescale.latency import Errors, Point, RuntimeModel
from rescale.latency.work import WORK

SOME = {
    "pointwise macs": 2e-12,
    "dense macs": 1e-12,
    "grouped macs": 4e-12,
    "uneven macs": 6e-12,
    "depthwise macs": 5e-11,
}
SOME |= {"stem macs": 3e-12, "relu": 1e-10, "silu": 3e-10, "added": 2e-10, "squeezed": 5e-10}
SOME |= {"convolutions": 2e-5, "squeezes": 5e-5, "others": 1e-5, "weights": 4e-10, "step": 1e-3}

SETTINGS = {
    "device": "A processor that does not exist", "cores": 2, "threads": 2, "memory_gib": 8.0,
    "torch": "2.15.0",
    "precision": "bf16", "fast": "channels_last", "runs_on": "cpu", "load_average": 0.1,
    "others_busy_cores": 0.0, "visits": 2, "date": "2026-11-21",
}  # fmt: skip


def runtime(some: dict[str, float] = SOME, batch: int = 8, **settings: Any) -> RuntimeModel:
    """A model with these coefficients for infer, and three times as large ones for train."""
    infer = dict.fromkeys(WORK, 0.0) | some
    train = {kind: 3 * value for kind, value in infer.items()}
    similar = Errors(50, 0.04, 0.09, 0.92, 0.98)
    by_split = {"networks": similar, "families": similar._replace(median=0.08)}
    errors = dict.fromkeys(("work", "macs", "activations", "params"), by_split)
    return RuntimeModel(
        {**SETTINGS, **settings},
        batch,
        {"train": train, "infer": infer},
        {"train": errors, "infer": errors},
        (Point("resnet50@96", "resnet", "infer", 0.05, (0.049, 0.051)),),
    )
