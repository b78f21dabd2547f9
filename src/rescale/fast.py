"""How a model is executed: choices that move time and memory, and results by rounding alone."""

from dataclasses import dataclass

from rescale.errors import UserError, nearest

WORDS = ("channels_last", "contiguous", "compile", "graphs", "recompute")


@dataclass(frozen=True)
class FastMode:
    """layout: of maps and weights in memory, channels_last or contiguous. compile: by torch.compile, which
    costs up to minutes before the first step. graphs: compiled and replayed as CUDA graphs, for networks so
    small that launching kernels takes longer than running them. recompute: keep only each block's input for
    the backward pass and run the block again there: less memory, about a third more time.
    """

    layout: str = "channels_last"
    compile: bool = False
    graphs: bool = False
    recompute: bool = False

    @classmethod
    def parse(cls, text: str) -> "FastMode":
        """Read words joined by +, such as channels_last+compile. UserError for what cannot be meant."""
        words = text.split("+")
        for word in words:
            if word not in WORDS:
                raise UserError(f"fast mode {text!r}: {word!r}: {nearest(word, ('auto', *WORDS))}")
        if {"channels_last", "contiguous"} <= set(words):
            raise UserError(f"fast mode {text!r}: maps lie either channels_last or contiguous")
        if "recompute" in words and {"compile", "graphs"} & set(words):
            raise UserError(
                f"fast mode {text!r}: compile decides by itself what to recompute; drop one of them"
            )
        layout = "contiguous" if "contiguous" in words else "channels_last"
        graphs = "graphs" in words
        return cls(layout, graphs or "compile" in words, graphs, "recompute" in words)

    def __str__(self) -> str:
        chosen = {
            "compile": self.compile and not self.graphs,
            "graphs": self.graphs,
            "recompute": self.recompute,
        }
        return "+".join((self.layout, *(word for word, is_so in chosen.items() if is_so)))


USUAL = FastMode()
