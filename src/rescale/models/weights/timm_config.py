"""timm's description of weights: `config.json` of a folder in its layout, `pretrained_cfg`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rescale.errors import UserError
from rescale.preprocess import IMAGENET_MEAN, IMAGENET_STD, USUAL_DECODING, Preprocess

CONFIG = "config.json"
_USUAL = {"in_chans": (3,), "global_pool": ("avg", "token")}  # of convolutional networks and transformers


@dataclass(frozen=True)
class TimmConfig:
    """The config.json of a folder in timm's layout.

    Args:
        path: the file.
        values: its content.
    """

    path: Path
    values: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> "TimmConfig":
        """Read a config.json. Raises UserError if it is not a JSON object."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
        except ValueError as error:
            raise UserError(f"{path}: not JSON: {error}") from None
        if not isinstance(values, dict):
            raise UserError(f"{path}: expected an object")
        return cls(path, values)

    @property
    def pretrained(self) -> dict[str, Any]:
        """The part about the weights; before timm 0.9 it was at the top level."""
        inner = self.values.get("pretrained_cfg", self.values)
        above = {key: self.values[key] for key in ("num_classes", "label_names") if key in self.values}
        return {**(inner if isinstance(inner, dict) else {}), **above}

    @property
    def architecture(self) -> str:
        """timm's name of the network, without a tag. Raises UserError if the file has none."""
        name = self.values.get("architecture")
        if not isinstance(name, str) or not name:
            raise UserError(f"{self.path}: names no architecture; give --model NAME")
        if unusual := [key for key, value in self._arguments().items() if value not in _USUAL.get(key, ())]:
            raise UserError(
                f"{self.path}: {name} has unusual values of {', '.join(unusual)}; give --model NAME"
            )
        return name

    def _arguments(self) -> dict[str, Any]:
        """The arguments of the network, except the number of classes."""
        arguments = self.values.get("model_args")
        return (
            {k: v for k, v in arguments.items() if k != "num_classes"} if isinstance(arguments, dict) else {}
        )

    @property
    def classes(self) -> int:
        """Number of outputs of the head."""
        classes = self.pretrained.get("num_classes", 1000)
        if not isinstance(classes, int) or classes < 1:
            raise UserError(f"{self.path}: num_classes: expected a whole number above 0; found {classes!r}")
        return classes

    @property
    def resolution(self) -> int | None:
        """Pixels per side; None if the file does not say."""
        size = self.pretrained.get("input_size")
        return size[-1] if isinstance(size, list) and size and isinstance(size[-1], int) else None


def preprocess_of(pretrained: Mapping[str, Any], resolution: int, where: str) -> tuple[Preprocess, list[str]]:
    """The preprocessing from timm's configuration of weights.

    Args:
        pretrained: mean, std, crop_pct, interpolation and label_names; missing keys have timm's defaults,
            which include ImageNet's normalisation.
        resolution: pixels per side.
        where: prefix of error messages.

    Returns:
        The preprocessing, and notes on what was assumed.
    """
    assumed = [key for key in ("mean", "std") if not pretrained.get(key)]
    names = pretrained.get("label_names") or ()
    if isinstance(names, Mapping):  # index of the output -> name
        numbered = {int(number): name for number, name in names.items() if str(number).isdigit()}
        if sorted(numbered) != list(range(len(names))):
            raise UserError(f"{where}: label_names: expected a name for each output from 0 on")
        names = [numbered[number] for number in range(len(names))]
    values = {
        "mean": pretrained.get("mean") or IMAGENET_MEAN,
        "std": pretrained.get("std") or IMAGENET_STD,
        "resolution": resolution,
        "crop": pretrained.get("crop_pct") or 0.875,
        "interpolation": pretrained.get("interpolation") or "bicubic",
        "labels": names,
        "orientation": USUAL_DECODING.orientation,
        "ranges": USUAL_DECODING.ranges,
    }
    preprocess = Preprocess.from_json(
        {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}, where
    )
    notes = [f"normalisation: ImageNet's is assumed, since {where} does not specify it"] if assumed else []
    if (mode := pretrained.get("crop_mode") or "center") != "center":
        notes.append(f"images: the central square is used instead of timm's crop mode {mode!r}")
    return preprocess, notes
