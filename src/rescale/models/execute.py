"""Prepare a module for an execution mode: placement, compilation, checkpointing, folded batch norm."""

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
    """Raise UserError for graphs without a GPU and for checkpointing of an external model."""
    if mode.graphs and not device.startswith("cuda"):
        raise UserError(f"execution mode {mode}: CUDA graphs need a GPU; use compile")
    if mode.checkpointing and isinstance(model, External):
        raise UserError(
            f"execution mode {mode}: checkpointing needs the blocks of this project's networks, "
            f"which {model.name} does not have; reduce the batch"
        )


def place(module: nn.Module, mode: ExecutionMode, device: str) -> nn.Module:
    """The module on the device, in the mode's layout, with activation checkpointing if the mode has it."""
    if mode.checkpointing:
        checkpoint_blocks(module)
    return module.to(device).to(memory_format=LAYOUTS[mode.layout])


def executed(module: nn.Module, mode: ExecutionMode) -> nn.Module:
    """The module to call: the module itself, or a compiled version that shares its weights."""
    if not mode.compile:
        return module
    options: dict[str, Any] = {"triton.cudagraphs": mode.graphs}
    compiled: nn.Module = torch.compile(module, dynamic=False, options=options)  # type: ignore[assignment]
    return compiled


def frozen(module: nn.Module, mode: ExecutionMode, example: Tensor) -> nn.Module:
    """Like `executed`, for a module whose weights will not change and inputs like the example under no_grad.

    The module is compiled here, because whether the compiler may treat weights as constants and change their
    layout is a setting of the process that it reads in the first call.
    """
    call = executed(module, mode)
    if mode.compile:
        with torch.no_grad(), torch._inductor.config.patch(freezing=True):
            call(example)
    return call


def folded(module: nn.Module) -> nn.Module | None:
    """The module for inference, its batch norms folded into the convolutions before them.

    module: in evaluation mode. This project's modules are changed in place, so that the weights are not held
    twice. The outputs are equal up to rounding. In external models torch's tracer finds the pairs; returns
    None if it cannot trace the model.
    """
    if any(isinstance(m, ConvNorm) for m in module.modules()):
        for part in [m for m in module.modules() if isinstance(m, ConvNorm)]:
            part.conv = fuse_conv_bn_eval(part.conv, part.norm)
            part.norm = nn.Identity()  # type: ignore[assignment]
        return module
    try:
        return fuse(module)  # copies by itself
    except Exception:  # an external model's code may raise anything when it is called with a tracer's proxies
        return None
