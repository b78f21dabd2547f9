"""Step time, throughput and memory of a network on this machine."""

from rescale.bench.clock import Ask, time_network
from rescale.bench.pool import Workers
from rescale.bench.timing import Timing, TimingProtocol

__all__ = ["Ask", "Timing", "TimingProtocol", "Workers", "time_network"]
