"""Networks designed, scaled, counted, trained, timed and compared on one Pareto curve.

The public face. Networks and costs need no torch, so they are imported here; the rest comes with its first
use. (`rescale.network` and `rescale.cost` are the functions, which take the place of the modules they live
in; import Network from here.)
"""

from typing import TYPE_CHECKING

from rescale.cost import Cost, cost
from rescale.errors import JobError, UserError
from rescale.imports import on_first_use
from rescale.lookup import network
from rescale.network import Network
from rescale.scaling import scale

if TYPE_CHECKING:
    from rescale.bench import time_network
    from rescale.data import open_data
    from rescale.latency import RuntimeModel, scale_to_latency
    from rescale.models import External, Rates, build, load_weights
    from rescale.recipes import Recipe, recipe, resolve
    from rescale.training import Run, resume, train

__version__ = "0.1.0"

__getattr__ = on_first_use(
    __name__,
    {
        "rescale.bench": ("time_network",),
        "rescale.latency": ("RuntimeModel", "scale_to_latency"),
        "rescale.data": ("open_data",),
        "rescale.models": ("External", "Rates", "build", "load_weights"),
        "rescale.recipes": ("Recipe", "recipe", "resolve"),
        "rescale.training": ("Run", "resume", "train"),
    },
)

__all__ = [
    "Cost",
    "External",
    "JobError",
    "Network",
    "Rates",
    "Recipe",
    "Run",
    "RuntimeModel",
    "UserError",
    "build",
    "cost",
    "load_weights",
    "network",
    "open_data",
    "recipe",
    "resolve",
    "resume",
    "scale",
    "scale_to_latency",
    "time_network",
    "train",
]
