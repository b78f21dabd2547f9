"""How images are prepared for a model, and what its outputs mean."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from rescale.errors import UserError, nearest, plural
from rescale.files import write_json

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
INTERPOLATIONS = ("bicubic", "bilinear", "tf1-bicubic")
ORIENTATIONS = ("exif", "stored")
Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Decoding:
    """How a stored image becomes upright pixels with 8 bits a channel.

    Args:
        orientation: `exif` turns images by the orientation that the camera stored with them; `stored` does
            not.
        ranges: for images with more than 8 bits, the values that become black and white, by kind of values:
            `uint16`, `int32`, `float32`. A kind that is missing is measured on the data. None: as in versions
            that did not measure: 65535 (of floats: 255) is white, and TIFF files are turned in any case.
    """

    orientation: str = ORIENTATIONS[0]
    ranges: Ranges | None = field(default_factory=dict)

    @property
    def leaves_tiff(self) -> bool:
        """Whether TIFF files stay as they are stored, although Pillow turns them."""
        return self.orientation == "stored" and self.ranges is not None


USUAL_DECODING = Decoding()
BEFORE = Decoding("stored", None)
"""Of runs, model folders and checksums of versions that did not say how they decoded."""


@dataclass(frozen=True)
class Preprocess:
    """How an image is prepared for a model, and what each output means.

    Args:
        mean: mean of each channel, for pixels from 0 to 1; it is subtracted.
        std: standard deviation of each channel, above 0; the difference is divided by it.
        resolution: pixels per side of the model's square input.
        crop: side of the central crop / shorter side of the image, above 0; a crop above 1 extends beyond the
            image.
        interpolation: of resizing; `bicubic`, `bilinear` or `tf1-bicubic`.
        labels: the name of each output, in order; empty if unknown.
        orientation, ranges: how image files become pixels, as in `Decoding`.

    Raises:
        UserError: a value is out of its range; the line names the key.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    resolution: int
    crop: float = 0.875
    interpolation: str = "bicubic"
    labels: tuple[str, ...] = ()
    orientation: str = ORIENTATIONS[0]
    ranges: Ranges | None = field(default_factory=dict)

    def __post_init__(self) -> None:
        if mistakes := _mistakes(vars(self)):
            raise UserError(*mistakes)

    @classmethod
    def from_json(cls, values: Any, where: str = "preprocess") -> "Preprocess":
        """Create it from a JSON object. Files of versions without `orientation` and `ranges` mean `BEFORE`.

        Args:
            values: the object, as `json.loads` returns it.
            where: prefix of error messages.

        Raises:
            UserError: one line for each key that is missing, unknown or out of its range.
        """
        if not isinstance(values, Mapping):
            raise UserError(f"{where}: expected an object with mean, std and resolution")
        values = {"orientation": BEFORE.orientation, "ranges": BEFORE.ranges} | dict(values)
        known = [field.name for field in fields(cls)]
        mistakes = [f"no key {key!r}; {nearest(str(key), known)}" for key in values if key not in known]
        mistakes += [f"{key} is missing" for key in ("mean", "std", "resolution") if key not in values]
        if mistakes := mistakes or _mistakes(values):
            raise UserError(*(f"{where}: {mistake}" for mistake in mistakes))
        arguments: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        if values["ranges"] is not None:
            arguments["ranges"] = {kind: tuple(limits) for kind, limits in values["ranges"].items()}
        return cls(**arguments)

    @classmethod
    def read(cls, path: Path) -> "Preprocess":
        """Read a `preprocess.json`.

        Raises:
            UserError: the file cannot be read, or a key is wrong; the line names file and key.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
        except ValueError as error:
            raise UserError(f"{path}: not JSON: {error}") from None
        return cls.from_json(values, where=str(path))

    @property
    def decoding(self) -> Decoding:
        """How image files become pixels."""
        return Decoding(self.orientation, self.ranges)

    def write(self, path: Path) -> None:
        """Write it as JSON, atomically. Raises JobError if that fails."""
        write_json(path, asdict(self))


def _mistakes(values: Mapping[str, Any]) -> list[str]:
    """The mistakes in the values, one line per key."""
    mistakes = []
    for key in ("mean", "std"):
        value = values.get(key, [0])
        if not (_is_list(value) and value and all(map(_is_number, value))):
            mistakes.append(f"{key}: expected a list of numbers, one for each channel; found {value!r}")
    if not mistakes and {"mean", "std"} <= values.keys():
        if len(values["mean"]) != len(values["std"]):
            mistakes.append(f"std: {plural(len(values['std']), 'value')}, but mean has {len(values['mean'])}")
        if not all(value > 0 for value in values["std"]):
            mistakes.append(f"std: expected values above 0; found {list(values['std'])}")
    resolution = values.get("resolution", 1)
    if not isinstance(resolution, int) or isinstance(resolution, bool) or resolution < 1:
        mistakes.append(f"resolution: expected a whole number of pixels, at least 1; found {resolution!r}")
    crop = values.get("crop", 1.0)
    if not _is_number(crop) or crop <= 0:
        mistakes.append(f"crop: expected a share of the shorter side, above 0; found {crop!r}")
    interpolation = values.get("interpolation", INTERPOLATIONS[0])
    if interpolation not in INTERPOLATIONS:
        mistakes.append(f"interpolation: expected {', '.join(INTERPOLATIONS)}; found {interpolation!r}")
    labels = values.get("labels", ())
    if not _is_list(labels) or not all(isinstance(label, str) for label in labels):
        mistakes.append("labels: expected a list of names, one for each output")
    orientation = values.get("orientation", ORIENTATIONS[0])
    if orientation not in ORIENTATIONS:
        mistakes.append(f"orientation: expected {' or '.join(ORIENTATIONS)}; found {orientation!r}")
    ranges = values.get("ranges")
    if ranges is not None and not (isinstance(ranges, Mapping) and all(map(_is_range, ranges.values()))):
        mistakes.append(f"ranges: expected the values of black and white by kind; found {ranges!r}")
    return mistakes


def _is_range(value: Any) -> bool:
    return _is_list(value) and len(value) == 2 and all(map(_is_number, value)) and value[0] < value[1]


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
