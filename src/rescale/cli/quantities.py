"""Quantities as people type them: 4G, 400M, 1.5e9, 8ms."""

import re

from rescale.errors import UserError

_FACTORS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12}


def quantity(text: str, option: str) -> float:
    """Read a number with a unit of thousands: k, M, G (or B), T. Raises UserError naming the option."""
    found = re.fullmatch(r"(\d*\.?\d+(?:e[+-]?\d+)?)\s*([kmgbt]?)", text.strip(), re.IGNORECASE)
    if not found:
        raise UserError(f"{option} {text}: write a number with k, M, G or T, as in 4G or 400M")
    return float(found[1]) * _FACTORS[found[2].lower()]


def duration(text: str, option: str) -> float:
    """Read seconds from 8ms, 0.5s or 800us. Raises UserError naming the option."""
    found = re.fullmatch(r"(\d*\.?\d+)\s*(us|µs|ms|s)", text.strip())
    if not found or not float(found[1]) > 0:
        raise UserError(f"{option} {text}: write a time above 0 with its unit, as in 8ms, 0.5s or 800us")
    return float(found[1]) * {"s": 1.0, "ms": 1e-3}.get(found[2], 1e-6)


def span(text: str, option: str) -> tuple[float, float]:
    """Read a range such as 12..28, or one number for both ends."""
    low, _, high = text.partition("..")
    try:
        return float(low), float(high or low)
    except ValueError:
        raise UserError(f"{option} {text}: write a range as 12..28, or one number") from None


def budgets(macs: str | None, params: str | None, activations: str | None) -> dict[str, float]:
    """The budgets that were given, as absolute numbers of one image."""
    given = {"macs": macs, "params": params, "activations": activations}
    return {name: quantity(text, f"--{name}") for name, text in given.items() if text is not None}
