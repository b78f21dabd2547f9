"""How long a step of a network takes on a device: calibrated once, predicted without building anything."""

from rescale.bench.runtime.latency import Round, Scaled, differences, measured_here, scale_to_latency
from rescale.bench.runtime.model import Errors, Point, RuntimeModel

__all__ = [
    "Errors",
    "Point",
    "Round",
    "RuntimeModel",
    "Scaled",
    "differences",
    "measured_here",
    "scale_to_latency",
]
