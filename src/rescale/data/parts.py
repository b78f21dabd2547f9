"""Recognise the parts of a data set by the names of its folders and files.

A name is split into words: `seg_train`, `TrainSet`, `imagenet1k-validation-07`. A word such as `train`,
`Validation` or `TESTING` names a part. Where names do not decide, the error shows the options that do.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rescale.errors import UserError, first_few

TRAIN, VAL, TEST = "train", "val", "test"
OPTIONS = "--train PATH --val PATH"  # that state the parts

_WORDS = {
    TRAIN: "train|training|trn",
    VAL: "val|valid|validation|dev|eval|evaluation",
    TEST: "test|testing|tst|holdout|heldout",
}
_PATTERNS = {part: re.compile(f"({words})(sets?|data|images|imgs|split)?") for part, words in _WORDS.items()}
_NEUTRAL = re.compile(
    "(data)?sets?|data|images?|imgs?|pics?|pictures?|photos?|splits?|part|folder|dir|all|my|new|full"
)


class _Name(NamedTuple):
    """What a name says. parts: all that its words name. rest: its other words, without neutral ones."""

    parts: frozenset[str]
    rest: tuple[str, ...]


def part_of(name: str) -> str:
    """The part that a name states, in any case and spelling; "" if it states none or several."""
    parts = _parsed(name).parts
    return next(iter(parts)) if len(parts) == 1 else ""


def parts_among(names: Iterable[str]) -> dict[str, str]:
    """The part of each folder that is named after one, among the folders of a data set.

    A word for a part is enough if nothing or only neutral words stand beside it (`training_set`). Beside
    other words (`cars_train`) another part must have the same ones (`cars_test`): `freight_train` is a class.
    """
    parsed = {name: _parsed(name) for name in names}
    single = {name: read for name, read in parsed.items() if len(read.parts) == 1}

    def has_counterpart(read: _Name) -> bool:
        return any(other.rest == read.rest and other.parts != read.parts for other in single.values())

    return {
        name: next(iter(read.parts))
        for name, read in single.items()
        if not read.rest or has_counterpart(read)
    }


def _parsed(name: str) -> _Name:
    words = [word.lower() for word in re.split(r"[\W\d_]+|(?<=[a-z])(?=[A-Z])", name) if word]
    part = {
        word: next((p for p, pattern in _PATTERNS.items() if pattern.fullmatch(word)), "") for word in words
    }
    rest = tuple(word for word in words if not part[word] and not _NEUTRAL.fullmatch(word))
    return _Name(frozenset(filter(None, part.values())), rest)


# --- folders of class folders


class Content(NamedTuple):
    """What a folder holds. images: images lie directly in it. below: images lie in its subfolders."""

    images: bool
    below: bool


class Layout(NamedTuple):
    """The folders of a data set. train, val: names; val is "" if there is none. unused: the other folders."""

    train: str
    val: str
    unused: tuple[str, ...]


def layout(where: Path, contents: Mapping[str, Content]) -> Layout | None:
    """Decide which folders are parts, and which are classes.

    Args:
        where: the data folder, for messages.
        contents: of each of its folders, by name.

    Returns:
        The parts, or None if the folders are classes: none of them is named after a part, or those that are
        hold images directly and stand among others that hold images (`train`, `car`, `bus`).

    Raises:
        UserError: the names do not decide it; the message shows the options that do.
    """
    parts = parts_among(contents)
    others = [name for name, held in contents.items() if name not in parts and (held.images or held.below)]
    split = {part: [name for name in parts if parts[name] == part] for part in (TRAIN, VAL, TEST)}
    with_classes = [name for name in parts if contents[name].below]
    if not parts or (others and not with_classes):
        return None
    if not with_classes:
        raise UserError(
            _no_class_folders(where, [name for name in parts if contents[name].images], list(parts))
        )
    if not split[TRAIN]:
        held_out = with_classes[0]
        raise UserError(
            f"{where}: has {held_out}/ but no train/; add it, or say which images to train on: {OPTIONS}, or "
            f"--train {where} if its folders are classes"
        )
    train = _single(where, split[TRAIN])
    if not contents[train].below:
        raise UserError(_no_class_folders(where, [train], [train]))
    if others and len(parts) == 1:
        raise UserError(
            f"{where}: is {train}/ a part or a class, beside {first_few([f'{name}/' for name in others])}? "
            f"Give --train {where / train} for a part, or --train {where} for classes"
        )
    val = _validation(where, split, contents)
    return Layout(train, val, tuple(name for name in contents if name not in (train, val)))


def _validation(where: Path, split: Mapping[str, Sequence[str]], contents: Mapping[str, Content]) -> str:
    """The folder to validate on: the validation part, else a test part that has class folders, else ""."""
    if split[VAL]:
        val = _single(where, split[VAL])
        if not contents[val].below:
            raise UserError(
                f"{where}: {val}/ holds no class folders, so the classes of its images are unknown; put them "
                f"in a folder per class, or give --train {where / split[TRAIN][0]} to hold out a tenth"
            )
        return val
    labelled = [name for name in split[TEST] if contents[name].below]
    return _single(where, labelled) if labelled else ""


def _single(where: Path, names: Sequence[str]) -> str:
    if len(names) > 1:
        listed = " and ".join(f"{name}/" for name in names[:3])
        raise UserError(f"{where}: {listed} are the same part by their names; say which to use: {OPTIONS}")
    return names[0]


def _no_class_folders(where: Path, flat: Sequence[str], names: Sequence[str]) -> str:
    if not flat:
        return f"{where / names[0]}: holds no class folders; make a folder per class with its images inside"
    listed = " and ".join(f"{name}/" for name in flat[:3])
    which = f"{where / flat[0]}: holds" if len(flat) == 1 else f"{where}: {listed} hold"
    return (
        f"{which} no class folders; make a folder per class with its images inside, or, if the folders of "
        f"{where} are classes, give --train {where}"
    )


def check_no_parts_inside(where: Path, subfolders: Mapping[str, Collection[str]]) -> None:
    """Refuse class folders that hold a validation or test part, whose images would be trained on.

    Args:
        where: the folder of class folders.
        subfolders: the names of the folders inside each class folder.

    Raises:
        UserError: the name of a subfolder states a validation or test part.
    """
    for name, inside in subfolders.items():
        for inner, part in parts_among(inside).items():
            if part == TRAIN:
                continue
            raise UserError(
                f"{where}: the class folder {name}/ holds {inner}/, a part by its name; "
                + (
                    f"give {where / name} as the data"
                    if len(subfolders) == 1
                    else f"put parts outside of classes ({inner}/{name}/)"
                )
                + f", or give --train {where} to train on all images in it"
            )


# --- files, each of which belongs to one part


@dataclass(frozen=True)
class Files:
    """The files of a data set by part. val: () for no such part. notes: what was recognised, a line each."""

    train: tuple[Path, ...]
    val: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def files_by_part(where: Path, files: Sequence[Path], has_labels: Callable[[Path], bool]) -> Files:
    """Divide files into parts by their names and the names of the folders between them and the data folder.

    If no name states a part, all files are for training. If names state only the other parts, the remaining
    files are for training. A test part is used for validation if there is no validation part and its images
    have labels.

    Args:
        where: the data folder, or the one file.
        files: the files.
        has_labels: whether the images of a file have labels; it is asked about test files only.

    Raises:
        UserError: there are no training files, they lie in several folders with parts of their own, a name
            states two parts, or only some names state one.
    """
    if files == [where]:
        return Files((where,))
    named: dict[str, list[Path]] = {TRAIN: [], VAL: [], TEST: [], "": []}
    for file in files:
        named[_part_of_file(file.relative_to(where))].append(file)
    unnamed = named.pop("")
    if not any(named.values()):
        return Files(tuple(unnamed))
    if named[TRAIN] and unnamed:
        raise UserError(
            f"{where}: {named[TRAIN][0].name} is named after its part and {unnamed[0].name} is not; rename "
            f"it, or say what to use: {OPTIONS}"
        )
    train = named[TRAIN] or unnamed
    val = named[VAL] or (named[TEST] if all(map(has_labels, named[TEST])) else [])
    if not train:
        held_out = described(where, named[VAL] or named[TEST])
        raise UserError(
            f"{where}: has {held_out}, but there are none for training; add train-* files, or "
            f"say what to train on: {OPTIONS}"
        )
    _check_one_folder(where, named[TRAIN])
    notes = [used(described(where, train), described(where, val))]
    if named[TEST] and val != named[TEST]:
        notes.append(unused(described(where, named[TEST])))
    return Files(tuple(train), tuple(val), tuple(notes))


def _check_one_folder(where: Path, files: Sequence[Path]) -> None:
    """Refuse training files in several folders that are not named after parts: each is a data set."""
    folders = {
        next(parent for parent in file.parents if not part_of(parent.name) or parent == where): None
        for file in files
    }
    if len(folders) > 1:
        listed = " and ".join(f"{folder.relative_to(where)}/" for folder in list(folders)[:3])
        raise UserError(f"{where}: {listed} have a training part each; give one of them as the data")


def _part_of_file(relative: Path) -> str:
    """The part that the steps of a path state; "" for none."""
    parts = {part for step in (*relative.parts[:-1], relative.stem) if (part := part_of(step))}
    if len(parts) > 1:
        raise UserError(f"{relative}: its name states {' and '.join(sorted(parts))}; say which: {OPTIONS}")
    return next(iter(parts), "")


def described(where: Path, files: Sequence[Path]) -> str:
    """The first of some files, and the number of the others; "" for none."""
    if not files:
        return ""
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return f"{files[0].relative_to(where).as_posix()}{more}"


def used(train: str, val: str = "") -> str:
    """One line that says which folders or files are the parts. val: "" for none."""
    return f"parts by their names: {train} for training" + (f", {val} for validation" if val else "")


def unused(what: str) -> str:
    """One line that says which part is not used, and how to use it."""
    return f"not used: {what} (rescale eval RUN --val PATH judges a run on it)"


def passed_over(what: str) -> str:
    """One line that says what lies in the data folder and is no part of the data."""
    return f"passed over: {what}"
