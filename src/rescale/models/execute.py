"""A built module made ready to be run in a mode: placed, compiled, recomputing, batch norm folded."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rescale.errors import UserError
from rescale.execution import ExecutionMode
from rescale.models.blocks import ConvNorm, checkpoint_blocks
from rescale.models.external import External
from rescale.network import Network

LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


def check_mode(model: Network | External, mode: ExecutionMode, device: str) -> None:
    """UserError for graphs without a GPU, and for checkpointing in a model that is not ours."""
    if mode.graphs and not device.startswith("cuda"):
        raise UserError(f"execution mode {mode}: CUDA graphs need a GPU; use compile")
    if mode.checkpointing and isinstance(model, External):
        raise UserError(
            f"execution mode {mode}: {model.name} has no blocks "
            f"of this project, which checkpointing needs; lower the batch"
        )


def place(module: nn.Module, mode: ExecutionMode, device: str) -> nn.Module:
    """The module on the device, in the mode's layout, and recomputing where that is asked for."""
    if mode.checkpointing:
        checkpoint_blocks(module)
    return module.to(device).to(memory_format=LAYOUTS[mode.layout])


def executed(module: nn.Module, mode: ExecutionMode) -> nn.Module:
    """What is called in the module's place: itself, or a compiled form of it on the same weights."""
    if not mode.compile:
        return module
    options: dict[str, Any] = {"triton.cudagraphs": mode.graphs}
    compiled: nn.Module = torch.compile(module, dynamic=False, options=options)  # type: ignore[assignment]
    return compiled


def frozen(module: nn.Module, mode: ExecutionMode, example: Tensor) -> nn.Module:
    """As `executed`, of a module whose weights will not change, for inputs like the example under no_grad.

    It is compiled here: the compiler asks while it traces, in the first call, whether it may take the weights
    for constants and lay them out anew, and it asks a setting of the whole process.
    """
    call = executed(module, mode)
    if mode.compile:
        with torch.no_grad(), torch._inductor.config.patch(freezing=True):
            call(example)
    return call


def folded(module: nn.Module) -> nn.Module | None:
    """The module for inference, its batch norms folded into the convolutions before them.

    module: in evaluation mode; used up where it is ours, so that the weights are not held twice. The outputs
    are the same up to rounding. Of models that are not ours torch's tracer finds the pairs; None where it
    cannot follow the model.
    """
    if any(isinstance(m, ConvNorm) for m in module.modules()):
        for part in [m for m in module.modules() if isinstance(m, ConvNorm)]:
            part.conv = fuse_conv_bn_eval(part.conv, part.norm)
            part.norm = nn.Identity()  # type: ignore[assignment]
        return module
    try:
        return fuse(module)  # copies by itself
    except Exception:  # whatever a foreign model's code raises when it is given a tracer's proxies
        return None
