"""The fitted model of a device's step times: predicts seconds for a network; read and written as JSON."""

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

WORST_MEDIAN, WORST_RANK = 0.15, 0.9  # of a calibration that can be used
FORMAT, VERSION = "rescale runtime model", 1


class Point(NamedTuple):
    """The measurement of one network.

    Args:
        network, family: names.
        mode: train or infer.
        seconds: time of a step over all visits.
        visits: time of a step in each visit, in seconds.
    """

    network: str
    family: str
    mode: Mode
    seconds: float
    visits: tuple[float, ...]


class Errors(NamedTuple):
    """Errors of predictions for n networks that were left out of the fit.

    Args:
        n: number of networks.
        median, p90: median and 90th percentile of the relative error |predicted / measured - 1|.
        within_10: share of the networks with a relative error up to 0.1.
        spearman: rank correlation of predicted and measured times, -1 to 1; NaN for fewer than 3 networks.
    """

    n: int
    median: float
    p90: float
    within_10: float
    spearman: float


@dataclass(frozen=True)
class RuntimeModel:
    """Predicts the time of a step on one device, as a sum over a network's layers.

    `RuntimeModel.read` loads one from the device file that `rescale calibrate` writes. A prediction needs no
    torch and builds no network. It holds for the device, precision, threads and execution mode of the
    calibration.

    Args:
        settings: device, threads, precision, execution mode, versions, load and date of the calibration.
        batch: images per step in the calibration, at least 1.
        coefficients: seconds per unit of work, by mode and kind of work; finite and at least 0. The kinds
            are listed in `WORK` of `rescale.latency.work`.
        errors: cross-validated errors, by mode, by predictor (work: this model; macs, activations, params: a
            power law in one total; again: a second visit to the same networks, which limits what any
            prediction can reach) and by what was left out of the fit (networks, families).
        points: the measured networks.

    Source:
        This project. Method and measured accuracy: docs/runtime.md.
    """

    settings: Mapping[str, Any]
    batch: int
    coefficients: Mapping[Mode, Mapping[str, float]]
    errors: Mapping[Mode, Mapping[str, Mapping[str, Errors]]]
    points: tuple[Point, ...]

    def seconds(self, network: Network, mode: Mode = "infer", batch: int | None = None) -> float:
        """Predict the time of one step.

        Args:
            network: the network, at its own resolution.
            mode: `train` for a whole training step, `infer` for a forward pass.
            batch: images per step, at least 1; None for the batch of the calibration. Any other batch is an
                extrapolation.

        Returns:
            Seconds per step.

        Raises:
            UserError: the mode was not calibrated.
        """
        if mode not in self.coefficients:
            raise UserError(f"no calibration for {mode}; {nearest(mode, self.coefficients)}")
        images = self.batch if batch is None else batch
        by_image, by_step = self._weights[mode]
        amounts = work(network)
        return images * sum(map(mul, by_image, amounts)) + sum(map(mul, by_step, amounts[FIXED:]))

    def weakness(self, mode: Mode) -> str:
        """Why the predictions of a mode are too poor to use; empty if they are not.

        Multiply-adds alone predict with an error of 20 to 30 %; see docs/runtime.md.
        """
        by_predictor = self.errors.get(mode)
        if by_predictor is None:
            return ""
        error = by_predictor["work"]["networks"]
        reasons = []
        if not error.median <= WORST_MEDIAN:
            reasons.append(f"a median error of {100 * error.median:.0f} % (at most {100 * WORST_MEDIAN:.0f})")
        if not error.spearman >= WORST_RANK:
            reasons.append(f"a rank correlation of {error.spearman:.2f} (at least {WORST_RANK})")
        return f"{mode} has {' and '.join(reasons)} on networks left out of the fit" if reasons else ""

    @cached_property
    def _weights(self) -> dict[Mode, tuple[list[float], list[float]]]:
        """Coefficients in the order of WORK: those per image, and those per step."""
        ordered = {mode: [by_kind[kind] for kind in WORK] for mode, by_kind in self.coefficients.items()}
        return {mode: (values[:FIXED], values[FIXED:]) for mode, values in ordered.items()}

    def to_json(self) -> str:
        """The content of a device file, as JSON text."""
        plain = {"format": FORMAT, "version": VERSION, **asdict(self)}
        plain["errors"] = {
            mode: {
                predictor: {unseen: errors._asdict() for unseen, errors in by_unseen.items()}
                for predictor, by_unseen in by_predictor.items()
            }
            for mode, by_predictor in self.errors.items()
        }
        plain["points"] = [point._asdict() for point in self.points]
        return json.dumps(plain, indent=1) + "\n"

    def write(self, path: Path) -> None:
        """Write a device file atomically. Raises JobError if it cannot be written."""
        write_text(path, self.to_json())

    @classmethod
    def read(cls, path: Path | str) -> "RuntimeModel":
        """Read a device file that `rescale calibrate` or `write` wrote.

        Args:
            path: the device file.

        Raises:
            UserError: the file is missing, is not a device file, is damaged, or has another format version.
        """
        try:
            text = Path(path).read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not text"
            raise UserError(
                f"{path}: cannot be read ({reason}); create it with `rescale calibrate --out {path}`"
            ) from None
        try:
            return cls.from_json(text)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    @classmethod
    def from_json(cls, text: str) -> "RuntimeModel":
        """Parse the text that `to_json` returns. Raises UserError as `read` does."""
        try:
            content = json.loads(text)
        except ValueError:
            content = None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise UserError("not a device file; create one with `rescale calibrate`")
        if content.get("version") != VERSION:
            raise UserError(
                f"the device file has version {content.get('version')}, "
                f"this program reads version {VERSION}; calibrate again"
            )
        try:
            model = cls(
                content["settings"],
                int(content["batch"]),
                {
                    mode: {kind: float(by_kind[kind]) for kind in WORK}
                    for mode, by_kind in content["coefficients"].items()
                },
                {
                    mode: {
                        predictor: {unseen: Errors(**errors) for unseen, errors in by_unseen.items()}
                        for predictor, by_unseen in by_predictor.items()
                    }
                    for mode, by_predictor in content["errors"].items()
                },
                tuple(Point(**{**point, "visits": tuple(point["visits"])}) for point in content["points"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"the device file is damaged ({type(error).__name__}: {error}); calibrate again"
            ) from None
        for by_kind in model.coefficients.values():
            for kind in WORK:
                if not 0 <= by_kind[kind] < math.inf:
                    raise UserError(
                        f"the device file is damaged: the coefficient of {kind!r} is {by_kind[kind]}, "
                        f"not a finite time of at least 0; calibrate again"
                    )
        return model
