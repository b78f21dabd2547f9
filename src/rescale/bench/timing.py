"""How a network is timed, and the result with the settings it depends on."""

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from rescale.errors import UserError, nearest
from rescale.execution import ExecutionMode

Mode = Literal["train", "infer"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class TimingProtocol:
    """How to time: start at `batch` images, halve until they fit, scale the time to `batch`.

    Args:
        mode: `train` (forward, backward, update, weight average) or `infer` (a forward pass).
        batch: images per step, at least 1.
        device: cpu, cuda or cuda:N.
        precision: `auto` is what training would choose on that device.
        threads: CPU threads; None for all cores.
        warmup: untimed steps before the timed ones.
        repeats: timed steps; the median counts.
        fast: an `ExecutionMode` as text, such as channels_last+compile, or `auto`, the fastest in a few
            short measurements.

    Raises:
        UserError: a value is unknown or out of range.

    Source: ResNet-RS, Appendix H.
    """

    mode: Mode = "train"
    batch: int = 32
    device: str = "cpu"
    precision: Precision = "auto"
    threads: int | None = None
    warmup: int = 3
    repeats: int = 15
    fast: str = "channels_last"

    def __post_init__(self) -> None:
        mistakes = [
            f"{name} {value!r}: {nearest(str(value), known)}"
            for name, value, known in (
                ("mode", self.mode, get_args(Mode)),
                ("precision", self.precision, get_args(Precision)),
            )
            if value not in known
        ]
        least = {"batch": 1, "repeats": 1, "warmup": 0, "threads": 1}
        mistakes += [
            f"{name} {value}: must be at least {low}"
            for name, low in least.items()
            if (value := getattr(self, name)) is not None and value < low
        ]
        if self.device.split(":")[0] not in ("cpu", "cuda"):
            mistakes.append(f"device {self.device!r}: use cpu, cuda or cuda:N")
        if self.fast != "auto":
            try:
                ExecutionMode.parse(self.fast)
            except UserError as error:
                mistakes.append(str(error))
        if mistakes:
            raise UserError(*mistakes)


@dataclass(frozen=True)
class Timing:
    """A measurement. Seconds are scaled to `batch` images where only `batch_fitted` of them fitted.

    Args:
        model: its name.
        resolution: pixels a side.
        mode: `train` or `infer`.
        batch: images that the times are given for.
        batch_fitted: images per step that fitted into memory.
        latency_s: median seconds per step.
        quartiles_s: first and third quartile.
        images_per_s: batch / latency_s.
        memory_bytes: on a CPU the process's peak above its level after imports, on a GPU the
            allocator's peak.
        precision: of the step, never auto.
        fast: execution mode of the step, never auto.
        settings: threads, device's name, versions, load average, warm-up, repeats and date; for inference
            also whether batch norm was folded into the convolutions.
    """

    model: str
    resolution: int
    mode: Mode
    batch: int
    batch_fitted: int
    latency_s: float
    quartiles_s: tuple[float, float]
    images_per_s: float
    memory_bytes: int
    precision: str
    fast: str
    settings: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> "Timing":
        """Read what `to_json` wrote; raises ValueError for anything else."""
        values = json.loads(text)
        names = {item.name for item in fields(cls)}
        if not isinstance(values, dict) or values.keys() != names:
            raise ValueError("not a timing")
        return cls(**{**values, "quartiles_s": tuple(values["quartiles_s"])})


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """First quartile, median and third quartile of at least one value, interpolated linearly."""
    ordered = sorted(values)

    def at(share: float) -> float:
        position = share * (len(ordered) - 1)
        low = int(position)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (position - low) * (ordered[high] - ordered[low])

    return at(0.25), at(0.5), at(0.75)
