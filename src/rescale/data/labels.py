"""Labels of tar shards and Parquet files: which values are labels, and the table from labels to classes."""

import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from rescale.errors import UserError, agree, first_few, nearest, plural

Label = int | str  # a number that was stored as one, or text

NAMES_FILE = "classes.txt"
_SPARSE = 10  # times more numbers than labels: identifiers, not class numbers
_NUMBER = re.compile(r"-?\d+")
_SAME_NUMBER = re.compile(r"([+-]?\d+)(?:\.0*)?")  # other spellings of a whole number
_MISSING = re.compile(r"[+-]?nan(\(ind\))?|null|<na>", re.IGNORECASE)  # that programs write for no value
_MISSING_NUMBER = frozenset({"None", "NA", "N/A", "n/a"})  # they also write; among words it is a class
_LIST = re.compile(r"""\[(\s*|.*[\d,'"].*)\]|\d+([,;\s]\s*\d+)+|.*[\r\n].*""", re.DOTALL)


class ClassTable(NamedTuple):
    """What the labels of a data set mean.

    Args:
        classes: names by number.
        numbers: the class number of each label.
        notes: assumptions, a line each.
        declared: whether the data declares the names.
    """

    classes: tuple[str, ...]
    numbers: Mapping[Label, int]
    notes: tuple[str, ...] = ()
    declared: bool = False


def as_label(value: Any, where: str) -> Label:
    """A stored value as a label: whole numbers are numbers, everything else that can name a class is text.

    Args:
        value: as read from JSON or a table.
        where: the place of the value, for messages.

    Raises:
        UserError: the value is missing (null, NaN, empty), a list, or neither text nor a whole number.
    """
    if isinstance(value, bytes):
        value = _decoded(value, where)
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value.strip():
        return value.strip()
    if missing := _missing(value):
        raise UserError(f"{where} has no label ({missing}); add it or remove the image")
    if isinstance(value, float | Decimal) and math.isfinite(value) and value == int(value):
        return int(value)
    if isinstance(value, list | tuple):
        raise UserError(f"{where} has a list as its label ({_short(value)}); {_ONE_CLASS}")
    raise UserError(f"{where} has the label {_short(value)}; a label is text or a whole number")


def are_missing(values: Iterable[Any]) -> bool:
    """Whether no label of a file is one: all are null or -1, as in tests whose answers are kept back."""
    return {str(value) for value in values} <= {"None", "-1"}


def class_table(where: Path, labels: Mapping[Label, str], names: tuple[str, ...] = ()) -> ClassTable:
    """Decide what a data set's labels mean: all of them are names of classes, or all are class numbers.

    Without `names`, labels are numbers if all of them are whole numbers, written without leading zeros; the
    classes are then 0 to the largest. Otherwise all labels are names, the numbers among them too.

    With `names`, labels that were stored as numbers are indices of `names`, and texts are names; texts of
    which none is a name are indices as well.

    Args:
        where: the data, for messages.
        labels: the different labels, and where each occurs first.
        names: the class names by number, where the data declares them.

    Raises:
        UserError: a label is missing, a list, negative or no class; numbers look like identifiers; labels
            could be names or numbers, which would be different classes.
    """
    for label, place in labels.items():
        _check_text(label, place, names)
    _check_missing_numbers(labels, names)
    if names:
        return _declared(labels, names)
    values = {label: int(label) for label in labels if _NUMBER.fullmatch(str(label))}
    if len(values) < len(labels) or any(str(values[label]) != str(label) for label in values):
        _check_same_numbers(labels)
        return _named(labels)
    return _numbered(where, values, labels)


def declared_names(*folders: Path) -> tuple[str, ...]:
    """The class names in classes.txt, in the first of some folders that has it; () if none has.

    The file has one line per class, and the name is what follows the last tab.
    """
    for file in (folder / NAMES_FILE for folder in folders):
        if file.is_file():
            try:
                lines = file.read_text(encoding="utf-8-sig").splitlines()
            except UnicodeDecodeError:
                raise UserError(f"{file}: not UTF-8 text; save it as UTF-8") from None
            return tuple(line.split("\t")[-1].strip() for line in lines if line.strip())
    return ()


_DECLARE = f"if it is the name of a class, declare it in {NAMES_FILE}"
_ONE_CLASS = "lists are for tasks with several labels an image, classification needs one"


def _missing(value: Any) -> str:
    """What a missing value is called; "" if it is not missing."""
    if value is None:
        return "null"
    if isinstance(value, str) and not value.strip():
        return "empty"
    return "NaN" if isinstance(value, float | Decimal) and math.isnan(value) else ""


def _check_text(label: Label, place: str, names: tuple[str, ...]) -> None:
    """Refuse a text that stands for a missing value or a list, unless a class is declared by that name."""
    text = str(label)
    if text in names:
        return
    if _MISSING.fullmatch(text):
        raise UserError(f"{place} has no label ({text!r}); add it or remove the image; {_DECLARE}")
    if _LIST.fullmatch(text):
        raise UserError(f"{place} has a list as its label ({_short(text)}); {_ONE_CLASS}; {_DECLARE}")


def _check_missing_numbers(labels: Mapping[Label, str], names: tuple[str, ...]) -> None:
    """Refuse a text that stands for a missing number among labels that are all numbers otherwise."""
    missing = [label for label in labels if label in _MISSING_NUMBER and label not in names]
    others = [label for label in labels if label not in missing]
    if missing and others and all(_SAME_NUMBER.fullmatch(str(label)) for label in others):
        raise UserError(
            f"{labels[missing[0]]}: label {missing[0]!r} stands beside numbers, so it may be a missing "
            f"label; add it or remove the image; {_DECLARE}"
        )


def _check_same_numbers(labels: Mapping[Label, str]) -> None:
    """Refuse names that are the same number, such as 1, 01 and 1.0."""
    spelt: dict[int, str] = {}
    for label in labels:
        if not (number := _SAME_NUMBER.fullmatch(str(label))):
            continue
        if (other := spelt.setdefault(int(number[1]), str(label))) != str(label):
            raise UserError(
                f"{labels[label]}: label {str(label)!r} is the same number as label {other!r}; write each "
                f"class in one way, or declare both in {NAMES_FILE}"
            )


def _named(labels: Mapping[Label, str]) -> ClassTable:
    classes = tuple(sorted({str(label) for label in labels}))
    numbers = {name: number for number, name in enumerate(classes)}
    return ClassTable(classes, {label: numbers[str(label)] for label in labels})


def _numbered(where: Path, values: Mapping[Label, int], labels: Mapping[Label, str]) -> ClassTable:
    for label, value in values.items():
        if value < 0:
            raise UserError(
                f"{labels[label]}: label {value}: class numbers start at 0; correct it, or leave out images "
                f"without a class"
            )
    present = sorted(set(values.values()))
    count = present[-1] + 1
    if count > _SPARSE * len(present):
        largest = next(label for label in values if values[label] == present[-1])
        folder = where if where.is_dir() else where.parent
        many = plural(len(present), "label")
        raise UserError(
            f"{labels[largest]}: label {largest}: the data has {many} from {present[0]} to {present[-1]}; if"
            f" they are identifiers, list them as class names in {folder / NAMES_FILE}, one "
            f"a line; if they are class numbers, list the names of all classes there, from number 0 on"
            + f", and give the data as --train {where}"
            * (where != folder)
        )
    notes = []
    if empty := count - len(present):
        has = agree(empty, "has", "have")
        notes.append(f"labels are the class numbers 0 to {count - 1}; {empty} of them {has} no images")
    return ClassTable(tuple(map(str, range(count))), values, tuple(notes))


def _declared(labels: Mapping[Label, str], names: tuple[str, ...]) -> ClassTable:
    position = {name.strip(): number for number, name in enumerate(names)}
    by_name = {label: position[str(label)] for label in labels if str(label) in position}
    by_index = {
        label: int(label)
        for label in labels
        if _NUMBER.fullmatch(str(label)) and 0 <= int(label) < len(names)
    }
    all_named, all_indices = len(by_name) == len(labels), len(by_index) == len(labels)
    stored_as_numbers = all(isinstance(label, int) for label in labels)
    if all_indices and (stored_as_numbers or not all_named or by_name == by_index):
        return ClassTable(names, by_index, declared=True)
    if all_indices:
        label = next(label for label in labels if by_name[label] != by_index[label])
        raise UserError(
            f"{labels[label]}: label {str(label)!r} may be the name of a class or the number of class "
            f"{names[by_index[label]]!r}; use names that are no numbers"
        )
    if all_named:
        if several := next((label for label in labels if names.count(str(label)) > 1), None):
            raise UserError(
                f"{labels[several]}: {str(several)!r} is the name of several classes; use their numbers"
            )
        return ClassTable(names, by_name, declared=True)
    label = next(label for label in labels if label not in by_name and (by_name or label not in by_index))
    hint = nearest(str(label), names) if isinstance(label, str) else f"known: {first_few(names)}"
    count = plural(len(names), "class")
    raise UserError(f"{labels[label]}: class {str(label)!r} is not among the {count}; {hint}")


def _decoded(value: bytes, where: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise UserError(f"{where} has a label that is not UTF-8 text; correct it") from None


def _short(value: Any) -> str:
    text = value if isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
