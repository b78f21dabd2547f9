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
