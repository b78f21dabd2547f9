"""Quantities in options: 4G, 400M, 1.5e9, 8ms."""

import re

from rescale.errors import UserError

_FACTORS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12}


def quantity(text: str, option: str) -> float:
    """Parse a number with a suffix k, M, G (or B) or T. Raises UserError naming the option."""
    match = re.fullmatch(r"(\d*\.?\d+(?:e[+-]?\d+)?)\s*([kmgbt]?)", text.strip(), re.IGNORECASE)
    if not match or not float(match[1]):
        raise UserError(f"{option} {text}: write a number above 0 with k, M, G or T, as in 4G or 400M")
    return float(match[1]) * _FACTORS[match[2].lower()]


def duration(text: str, option: str) -> float:
    """Parse a time such as 8ms, 0.5s or 800us into seconds. Raises UserError naming the option."""
    match = re.fullmatch(r"(\d*\.?\d+)\s*(us|µs|ms|s)", text.strip())
    if not match or not float(match[1]) > 0:
        raise UserError(f"{option} {text}: write a time above 0 with its unit, as in 8ms, 0.5s or 800us")
    return float(match[1]) * {"s": 1.0, "ms": 1e-3}.get(match[2], 1e-6)


def span(text: str, option: str) -> tuple[float, float]:
    """Parse a range such as 12..28; one number stands for both ends."""
    low, _, high = text.partition("..")
    try:
        return float(low), float(high or low)
    except ValueError:
        raise UserError(f"{option} {text}: write a range as 12..28, or one number") from None


def budgets(macs: str | None, params: str | None, activations: str | None) -> dict[str, float]:
    """The budgets set by options, as absolute numbers for one image."""
    texts = {"macs": macs, "params": params, "activations": activations}
    return {name: quantity(text, f"--{name}") for name, text in texts.items() if text is not None}
