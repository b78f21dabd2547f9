"""How a model is executed: options that change time and memory, and results only by rounding."""

from dataclasses import dataclass

from rescale.errors import UserError, nearest

OPTIONS = ("channels_last", "contiguous", "compile", "graphs", "checkpointing")
_EARLIER = {"recompute": "checkpointing"}  # the name in runs of format 1


@dataclass(frozen=True)
class ExecutionMode:
    """An execution mode.

    Args:
        layout: memory layout of feature maps and weights, channels_last or contiguous.
        compile: use torch.compile, which can take minutes before the first step.
        graphs: compile, and replay as CUDA graphs; for networks so small that launching kernels takes longer
            than running them.
        checkpointing: activation checkpointing. Keep only each block's input for the backward pass and run
            the block again there: less memory, about a third more time.
    """

    layout: str = "channels_last"
    compile: bool = False
    graphs: bool = False
    checkpointing: bool = False

    @classmethod
    def parse(cls, text: str) -> "ExecutionMode":
        """Read options joined by +, such as channels_last+compile. UserError for an unknown mode."""
        options = [_EARLIER.get(option, option) for option in text.split("+")]
        for option in options:
            if option not in OPTIONS:
                hint = nearest(option, ("auto", *OPTIONS))
                raise UserError(f"execution mode {text!r}: {option!r}: {hint}")
        if {"channels_last", "contiguous"} <= set(options):
            raise UserError(f"execution mode {text!r}: choose one of channels_last and contiguous")
        if "checkpointing" in options and {"compile", "graphs"} & set(options):
            raise UserError(
                f"execution mode {text!r}: the compiler itself decides what to recompute; "
                f"drop checkpointing or compile"
            )
        layout = "contiguous" if "contiguous" in options else "channels_last"
        graphs = "graphs" in options
        return cls(layout, graphs or "compile" in options, graphs, "checkpointing" in options)

    def __str__(self) -> str:
        switches = {
            "compile": self.compile and not self.graphs,
            "graphs": self.graphs,
            "checkpointing": self.checkpointing,
        }
        return "+".join((self.layout, *(option for option, is_on in switches.items() if is_on)))


USUAL = ExecutionMode()
