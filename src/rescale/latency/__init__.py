"""Step times of networks on a device: calibrate once, then predict them without building the networks."""

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
