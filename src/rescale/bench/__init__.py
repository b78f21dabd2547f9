"""Step time, throughput and memory of a network on this machine."""

from typing import TYPE_CHECKING

from rescale.imports import on_first_use

if TYPE_CHECKING:
    from rescale.bench.clock import Ask, time_network
    from rescale.bench.server import Server
    from rescale.bench.timing import Timing, TimingProtocol

__getattr__ = on_first_use(  # a plan holds a protocol, and measures nothing
    __name__,
    {
        "rescale.bench.clock": ("Ask", "time_network"),
        "rescale.bench.server": ("Server",),
        "rescale.bench.timing": ("Timing", "TimingProtocol"),
    },
)

__all__ = ["Ask", "Server", "Timing", "TimingProtocol", "time_network"]
