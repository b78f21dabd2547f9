"""Step time, throughput and memory of a network on this machine."""

from rescale.bench.clock import Ask, time_network
from rescale.bench.server import Server
from rescale.bench.timing import Timing, TimingProtocol

__all__ = ["Ask", "Server", "Timing", "TimingProtocol", "time_network"]
