"""How a network is timed, and the result with the settings that it depends on."""

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from rescale.errors import UserError, nearest
from rescale.execution import ExecutionMode

Mode = Literal["train", "infer"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class TimingProtocol:
    """How to time (ResNet-RS, Appendix H): start at `batch` images, halve until they fit, scale to `batch`.

    mode: a training step (forward, backward, update, average) or inference. device: cpu, cuda, cuda:N.
    precision: auto is what training would choose there. threads: CPU threads, None for all cores.
    warmup: untimed steps before the measurement. repeats: steps that are timed individually. fast: an
    `ExecutionMode` as text, such as channels_last+compile, or auto to choose it by a short measurement.
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
        wrong = [
            f"{name} {value!r}: {nearest(str(value), known)}"
            for name, value, known in (
                ("mode", self.mode, get_args(Mode)),
                ("precision", self.precision, get_args(Precision)),
            )
            if value not in known
        ]
        least = {"batch": 1, "repeats": 1, "warmup": 0, "threads": 1}
        wrong += [
            f"{name} {value}: at least {low}"
            for name, low in least.items()
            if (value := getattr(self, name)) is not None and value < low
        ]
        if self.device.split(":")[0] not in ("cpu", "cuda"):
            wrong.append(f"device {self.device!r}: cpu, cuda or cuda:N")
        if self.fast != "auto":
            try:
                ExecutionMode.parse(self.fast)
            except UserError as error:
                wrong.append(str(error))
        if wrong:
            raise UserError(*wrong)


@dataclass(frozen=True)
class Timing:
    """A measured step time. Seconds are for `batch` images, even if only `batch_fitted` of them fitted.

    latency_s: median of the steps. quartiles_s: first and third quartile. images_per_s: batch / latency_s.
    memory_bytes: the process's peak above its level after import (CPU), or the allocator's peak (CUDA).
    precision, fast: those used. settings: threads, device name, versions, load average, repeats, warm-up,
    date; for inference, whether batch norm was folded.
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
        """Read the output of `to_json`. Raises ValueError for any other JSON."""
        values = json.loads(text)
        names = {item.name for item in fields(cls)}
        if not isinstance(values, dict) or values.keys() != names:
            raise ValueError("not a timing")
        return cls(**{**values, "quartiles_s": tuple(values["quartiles_s"])})


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """First quartile, median, third quartile of at least one value, interpolated linearly."""
    ordered = sorted(values)

    def at(share: float) -> float:
        place = share * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    return at(0.25), at(0.5), at(0.75)
