"""Weights in TensorFlow-1 checkpoints of ResNet and ResNet-RS (tensorflow/tpu, `models/official/resnet`).

Layers are named by class and number in the order of creation: the convolutions of the stem; in each block the
projection, the three convolutions and the two of squeeze-and-excitation; `dense`. The average of a variable
over training steps, also of the moving statistics, is stored under `/ExponentialMovingAverage`. The authors
evaluate the averages, so they are read.
"""

import re
from glob import escape
from pathlib import Path

from torch import Tensor

from rescale.errors import UserError
from rescale.models.weights.bundle import Bundle, Damaged
from rescale.models.weights.layouts import Place, places
from rescale.models.weights.tensorflow import LEAVES, counted, in_our_names
from rescale.network import Network

AVERAGE = "/ExponentialMovingAverage"
_FILE = re.compile(r"(?P<prefix>.+)\.(index|meta|data-\d{5}-of-\d{5})")


def prefix_of(path: Path) -> Path | None:
    """The common prefix of a checkpoint's files; None if the path is not a checkpoint.

    path: the prefix itself (`model.ckpt`), one of the files, or a folder with one checkpoint in it.
    """
    if match := _FILE.fullmatch(path.name):
        return path.with_name(match["prefix"])
    if path.is_dir():
        inside = sorted(path.glob("*.index"))
        if len(inside) > 1:
            raise UserError(f"{path}: holds {len(inside)} checkpoints; name one, such as {inside[-1]}")
        return inside[0].with_suffix("") if inside else None
    parts = [file for file in path.parent.glob(f"{escape(path.name)}.*") if _FILE.fullmatch(file.name)]
    return path if parts and not path.exists() else None


def files_of(prefix: Path) -> list[Path]:
    """The index file and the data files of a checkpoint, sorted by name."""
    files = prefix.parent.glob(f"{escape(prefix.name)}.*")
    return sorted(file for file in files if _FILE.fullmatch(file.name) and file.suffix != ".meta")


def read_tf1(prefix: Path, network: Network) -> dict[str, Tensor]:
    """The checkpoint's tensors by our names, averaged if it has averages; without the optimizer's state."""
    try:
        bundle = Bundle(prefix)
        wanted = variables(set(bundle.entries))
        if not wanted:
            raise UserError(f"{prefix}: has no variables with TensorFlow 1 names ({_first(bundle)})")
        values = bundle.read(wanted.values())
    except (Damaged, ValueError) as error:
        raise UserError(f"{prefix}: damaged, or not a TensorFlow checkpoint: {error}") from None
    except OSError as error:
        raise UserError(f"{error.filename or prefix}: {error.strerror or error}") from None
    stored = {name: values[source] for name, source in wanted.items()}
    return in_our_names(stored, counted(network, in_creation_order(network)))


def variables(names: set[str]) -> dict[str, str]:
    """The names of the checkpoint's tensors by variable of a layer, such as `conv2d/kernel`."""
    plain = {name.removesuffix(AVERAGE) for name in names}
    own = {name for name in plain if re.fullmatch(r"\w+", name.rpartition("/")[0]) and _leaf(name) in LEAVES}
    return {name: name + AVERAGE if name + AVERAGE in names else name for name in sorted(own)}


def in_creation_order(network: Network) -> list[Place]:
    """The places in the order of creation: in a block, the projection comes first."""
    parts = ("stem", "block", "head")
    return sorted(
        places(network),
        key=lambda place: (
            parts.index(place.part),
            place.stage,
            place.block,
            place.role != "shortcut.project",
        ),
    )


def _leaf(name: str) -> str:
    return name.rpartition("/")[2]


def _first(bundle: Bundle) -> str:
    return f"the first of {len(bundle.entries)} is {min(bundle.entries, default='none')}"
