"""The fitted model of this device's run time: a value that prices a network in seconds; JSON in and out."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from operator import mul
from pathlib import Path
from typing import Any, NamedTuple

from rescale.bench.timing import Mode
from rescale.errors import UserError, nearest
from rescale.files import write_text
from rescale.latency.work import FIXED, WORK, work
from rescale.network import Network

FORMAT, VERSION = "rescale runtime model", 1


class Point(NamedTuple):
    """One measured network. seconds: of a step, over all visits; and the median of each visit."""

    network: str
    family: str
    mode: Mode
    seconds: float
    visits: tuple[float, ...]


class Errors(NamedTuple):
    """How far predictions lay from what was measured, over n networks that the fit had not seen.

    median, p90: of |predicted / measured - 1|. within_10: share of them up to 0.1. spearman: of the ranks.
    """

    n: int
    median: float
    p90: float
    within_10: float
    spearman: float


@dataclass(frozen=True)
class RuntimeModel:
    """Seconds of a step on one device, as a sum over a network's layers.

    settings: device, threads, precision, execution mode, versions, load, date. batch: images of a step when
    it was calibrated. coefficients: by mode and kind of work, seconds a unit (`work.py` lists the
    kinds). errors: by mode, by who predicts (work: this model; macs, activations, params: a power of one
    total; again: a second visit to the same networks, the best that can be hoped for), and by what the
    fit had not seen (networks, families).
    points: what was measured.
    """

    settings: Mapping[str, Any]
    batch: int
    coefficients: Mapping[Mode, Mapping[str, float]]
    errors: Mapping[Mode, Mapping[str, Mapping[str, Errors]]]
    points: tuple[Point, ...]

    def seconds(self, network: Network, mode: Mode = "infer", batch: int | None = None) -> float:
        """Seconds of a step of `batch` images (the calibration's if None).

        mode: train is a whole training step, infer a forward pass. Another batch than the calibration's is
        an extrapolation. Raises UserError for a mode that was not calibrated.
        """
        if mode not in self.coefficients:
            raise UserError(f"no calibration for {mode}; {nearest(mode, self.coefficients)}")
        images = self.batch if batch is None else batch
        by_image, by_step = self._weights[mode]
        amounts = work(network)
        return images * sum(map(mul, by_image, amounts)) + sum(map(mul, by_step, amounts[FIXED:]))

    @cached_property
    def _weights(self) -> dict[Mode, tuple[list[float], list[float]]]:
        """Coefficients in the order of `work`: those for each image, and those for each step."""
        ordered = {mode: [given[kind] for kind in WORK] for mode, given in self.coefficients.items()}
        return {mode: (values[:FIXED], values[FIXED:]) for mode, values in ordered.items()}

    def to_json(self) -> str:
        """The text of a device file."""
        plain = {"format": FORMAT, "version": VERSION, **asdict(self)}
        plain["errors"] = {
            mode: {who: {what: found._asdict() for what, found in by.items()} for who, by in some.items()}
            for mode, some in self.errors.items()
        }
        plain["points"] = [point._asdict() for point in self.points]
        return json.dumps(plain, indent=1) + "\n"

    def write(self, path: Path) -> None:
        """Write a device file, whole or not at all."""
        write_text(path, self.to_json())

    @classmethod
    def read(cls, path: Path | str) -> "RuntimeModel":
        """Read a device file. Raises UserError where it is missing, something else, or of another version."""
        try:
            text = Path(path).read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not text"
            raise UserError(
                f"{path}: cannot be read ({reason}); `rescale calibrate --out {path}` makes one"
            ) from None
        try:
            return cls.from_json(text)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    @classmethod
    def from_json(cls, text: str) -> "RuntimeModel":
        """Read what `to_json` wrote; UserError where it is something else."""
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise UserError("not a device file; `rescale calibrate` writes them")
        if found.get("version") != VERSION:
            raise UserError(
                f"a device file of version {found.get('version')}, and this is {VERSION}; calibrate again"
            )
        try:
            made = cls(
                found["settings"],
                int(found["batch"]),
                {
                    mode: {kind: float(given[kind]) for kind in WORK}
                    for mode, given in found["coefficients"].items()
                },
                {
                    mode: {
                        who: {what: Errors(**each) for what, each in by.items()} for who, by in some.items()
                    }
                    for mode, some in found["errors"].items()
                },
                tuple(Point(**{**point, "visits": tuple(point["visits"])}) for point in found["points"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"a damaged device file ({type(error).__name__}: {error}); calibrate again"
            ) from None
        if wrong := [
            kind for given in made.coefficients.values() for kind in WORK if not 0 <= given[kind] < math.inf
        ]:
            raise UserError(
                f"a damaged device file: the coefficient of {wrong[0]!r} is no time; calibrate again"
            )
        return made
