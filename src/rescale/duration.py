"""Durations as text, and an estimate of what remains."""


def clock(seconds: float) -> str:
    """75 -> 1:15 (minutes and seconds); 3675 -> 1:01:15."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def remaining(elapsed: float, done: float, of: float) -> str:
    """What is left at the speed so far: "about 1:15 left"; empty if nothing is done yet or all is.

    Args:
        elapsed: seconds in which `done` parts were done.
        done: parts done; may be a fraction.
        of: all parts, in the same unit.
    """
    return f"about {clock(elapsed / done * (of - done))} left" if 0 < done < of else ""


def roughly(seconds: float) -> str:
    """A duration in its largest unit, to two digits: 40 s, 33 min, 5.5 h, 12 days, 3.4 years."""
    units = (("years", 365.25 * 86400), ("days", 86400), ("h", 3600), ("min", 60), ("s", 1))
    name, size = next((unit for unit in units if seconds >= unit[1]), units[-1])
    value = float(f"{seconds / size:.2g}")
    return f"{value:,.0f} {name}" if value >= 10 or value == int(value) else f"{value:g} {name}"
