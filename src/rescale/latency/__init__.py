"""How long a step of a network takes on a device: calibrated once, predicted without building anything."""

from rescale.latency.model import Errors, Point, RuntimeModel
from rescale.latency.scale import Round, Scaled, differences, measured_here, scale_to_latency

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
