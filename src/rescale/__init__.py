"""Networks designed, scaled, counted, trained, timed and compared on one Pareto curve.

The public face. Networks and costs need no torch, so they are imported here; the rest comes with its first
use. (`rescale.network` and `rescale.cost` are the functions, which take the place of the modules they live
in; import Network from here.)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rescale.cost import Cost, cost
from rescale.errors import JobError, UserError
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

_HOMES = {
    "rescale.bench": ("time_network",),
    "rescale.latency": ("RuntimeModel", "scale_to_latency"),
    "rescale.data": ("open_data",),
    "rescale.models": ("External", "Rates", "build", "load_weights"),
    "rescale.recipes": ("Recipe", "recipe", "resolve"),
    "rescale.training": ("Run", "resume", "train"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

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


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rescale' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
