"""The weights that a run keeps temporary its checkpoints: the reported ones, and the best so far."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from rescale.files import atomic
from rescale.optim.averaging import Average


def save_reported(path: Path, model: nn.Module, average: Average | None) -> None:
    """Write the reported weights: the averaged ones if there are any."""
    state = model.state_dict()
    if average is not None:
        with average.swapped_in(model):
            state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    _write(path, state)


def save_both(path: Path, model: nn.Module, average: Average | None) -> None:
    """Write raw and averaged weights into one file."""
    parts = {"model": model.state_dict()}
    if average is not None:
        parts["average"] = average.state_dict()
    _write(path, {f"{part}.{name}": t for part, state in parts.items() for name, t in state.items()})


def load_both(saved: Mapping[str, Tensor], model: nn.Module, average: Average | None) -> None:
    """Load the weights that `save_both` wrote."""
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}}
    for name, tensor in saved.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    model.load_state_dict(parts["model"])
    if average is not None:
        average.load_state_dict(parts["average"])


def _write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    with atomic(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)
