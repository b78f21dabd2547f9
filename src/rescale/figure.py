"""A figure of merit: what an evaluation measures, and which direction is better."""

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """What the value of an evaluation means.

    Args:
        name: its key among an evaluation's figures, such as top1.
        label: how people write it, such as top-1.
        unit: such as %; empty for a number without one.
        higher_is_better: the direction.
        is_share: it is the percentage of images that were judged right, so that the number of images alone
            gives it a binomial interval.
    """

    name: str
    label: str
    unit: str = ""
    higher_is_better: bool = True
    is_share: bool = False

    @property
    def worst(self) -> float:
        """A value that any other is better than."""
        return -math.inf if self.higher_is_better else math.inf

    def better(self, value: float, other: float) -> bool:
        """Whether `value` is better than `other`; never for NaN."""
        return value > other if self.higher_is_better else value < other

    def oriented(self, value: float) -> float:
        """The value, or its negative, so that more is better."""
        return value if self.higher_is_better else -value

    def text(self, value: float) -> str:
        """The value with its label and unit: top-1 76.21 %."""
        return f"{self.label} {self.number(value)}"

    def number(self, value: float) -> str:
        """The value with its unit: 76.21 %."""
        return f"{value:.2f} {self.unit}" if self.unit else f"{value:.4g}"

    def as_json(self) -> dict[str, Any]:
        """Plain values, from which `Figure(**plain)` is made again."""
        return asdict(self)
