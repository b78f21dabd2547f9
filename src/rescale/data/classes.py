"""The classes of the two parts of a data set: one rule for all formats and for stated parts."""

from collections.abc import Sequence

import numpy as np

from rescale.errors import UserError, first_few, nearest, plural

_LINES = 6  # of one error


def check_classes(
    where: object, train: Sequence[str], val: Sequence[str], name: str = "validation", *, all_of: bool = False
) -> list[str]:
    """Refuse validation images of a class that training lacks: a typo, or labels of another numbering.

    Args:
        where: the data, for messages.
        train, val: the different classes in each part, in order.
        name: what messages call the validation part.
        all_of: whether the validation part must have all classes, as in folders, which state them.

    Returns:
        One line about the classes without validation images, if any.

    Raises:
        UserError: a validation class is not in training, or one is missing although `all_of` is set.
    """
    unknown = [label for label in val if label not in set(train)]
    missing = [label for label in train if label not in set(val)]
    if val and len(unknown) == len(val):
        raise UserError(
            f"{where}: {name} has other classes ({first_few(val, 3)}) than training ({first_few(train, 3)}); "
            f"name them alike or, if its images have no classes, leave it out: give the training part as "
            f"--train PATH"
        )
    lines = [
        f"{where}: class {label!r} is in {name} but not in training; {nearest(label, train)}"
        for label in unknown
    ]
    if unknown or all_of:
        lines += [f"{where}: class {label!r} is in training but not in {name}" for label in missing]
    if lines:
        more = len(lines) - _LINES
        raise UserError(*lines[:_LINES], *([f"... and {more} more"] if more > 0 else []))
    if not missing or not val:
        return []
    return [f"no validation images of {plural(len(missing), 'class')} ({first_few(missing)})"]


def classes_of(labels: np.ndarray, classes: Sequence[str]) -> list[str]:
    """The names of the classes that occur. labels: int64 [N], class numbers. classes: names by number."""
    return [classes[number] for number in np.unique(labels)]
