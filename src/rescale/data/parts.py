"""Recognise the parts of a data set by the names of its folders and files.

A name is split into words: `seg_train`, `TrainSet`, `imagenet1k-validation-07`. A word such as `train`,
`Validation` or `TESTING` names a part. Where names do not decide, the error shows the options that do.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rescale.data.files import as_argument, pattern_of
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


_SHORT = {"tr": TRAIN, "te": TEST, "va": VAL}  # words for parts if tr and another occur: te is a language


class _Name(NamedTuple):
    """What a name says. parts: all that its words name. rest: its other words, without neutral ones."""

    parts: frozenset[str]
    rest: tuple[str, ...]


def part_of(name: str) -> str:
    """The part that a name states, in any case and spelling; "" if it states none or several."""
    return _part(name)


def parts_among(names: Iterable[str]) -> dict[str, str]:
    """The part of each folder that is named after one, among the folders of a data set.

    A word for a part is enough if nothing or only neutral words stand beside it (`training_set`). Beside
    other words (`cars_train`) another part must have the same ones (`cars_test`): `freight_train` is a class.
    """
    single = _single_parts(names)

    def has_counterpart(read: _Name) -> bool:
        return any(other.rest == read.rest and other.parts != read.parts for other in single.values())

    return {
        name: next(iter(read.parts))
        for name, read in single.items()
        if not read.rest or has_counterpart(read)
    }


def _part(name: str, short: bool = False) -> str:
    parts = _parsed(name, short).parts
    return next(iter(parts)) if len(parts) == 1 else ""


def stated_among(names: Iterable[str]) -> dict[str, str]:
    """The part of each folder that states one with any words beside it; {} if they all state the same."""
    parts = {name: next(iter(read.parts)) for name, read in _single_parts(names).items()}
    return parts if len(set(parts.values())) > 1 else {}


def _single_parts(names: Iterable[str]) -> dict[str, _Name]:
    """What the names say that state exactly one part."""
    names = list(names)
    short = _have_short_words(names)
    parsed = {name: _parsed(name, short) for name in names}
    return {name: read for name, read in parsed.items() if len(read.parts) == 1}


def _have_short_words(names: Iterable[str]) -> bool:
    """Whether the short words for parts occur: that for training and another one."""
    words = {word for name in names for word in _words(name)} & _SHORT.keys()
    return "tr" in words and len(words) > 1


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.split(r"[\W\d_]+|(?<=[a-z])(?=[A-Z])", name) if word]


def _parsed(name: str, short: bool = False) -> _Name:
    """What a name says. short: whether the short words are words for parts."""
    words = _words(name)
    part = {
        word: next((p for p, pattern in _PATTERNS.items() if pattern.fullmatch(word)), "") for word in words
    }
    if short:
        part |= {word: _SHORT[word] for word in words if word in _SHORT}
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
    if not parts:
        _check_no_unclear_parts(where, contents)
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


def _check_no_unclear_parts(where: Path, contents: Mapping[str, Content]) -> None:
    """Refuse folders that state several parts with other words beside them (`train_aug`, `val_clean`).

    They are classes if they hold images directly and stand among others that hold images.
    """
    holding = [name for name, held in contents.items() if held.images or held.below]
    stated = stated_among(holding)
    with_classes = any(contents[name].below for name in stated)
    if not stated or (len(stated) < len(holding) and not with_classes):
        return
    paths = {part: as_argument(where / name) for name, part in reversed(stated.items())}
    train = f"--train {paths.get(TRAIN, 'PATH')}"
    val = f"--val {paths.get(VAL) or paths.get(TEST, 'PATH')}"
    listed = " and ".join(f"{name}/" for name in list(stated)[:3])
    raise UserError(
        f"{where}: are {listed} parts or classes? Give {train} {val} for parts, or "
        f"--train {as_argument(where)} for classes"
    )


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


def check_no_parts_inside(where: Path, folders: Iterable[str]) -> None:
    """Refuse class folders that hold a part at any depth, since a test part would be trained on.

    Args:
        where: the folder of class folders.
        folders: the paths, below `where`, of the folders that hold images.

    Raises:
        UserError: the name of a folder below a class states a validation or test part, or a training part
            below the only class.
    """
    folders = list(folders)
    inside: dict[str, dict[str, None]] = {}
    for folder in folders:
        steps = folder.split("/")
        for depth in range(1, len(steps)):
            inside.setdefault("/".join(steps[:depth]), {})[steps[depth]] = None
    classes = {folder.partition("/")[0] for folder in folders}
    for above, names in inside.items():
        for name, part in (parts_among(names) or stated_among(names)).items():
            has_classes = any(folder.startswith(f"{above}/{name}/") for folder in folders)
            if part != TRAIN or (has_classes and len(classes) == 1):
                raise UserError(_part_inside(where, above, name, has_classes))


def _part_inside(where: Path, above: str, name: str, has_classes: bool) -> str:
    label, _, below = f"{above}/{name}".partition("/")
    if has_classes:
        remedy = f"give {as_argument(where / above)} as the data"
    else:
        remedy = f"put parts outside of classes ({name}/{label}/)"
    return (
        f"{where}: the class folder {label}/ holds {below}/, a part by its name; {remedy}, or give "
        f"--train {as_argument(where)} to train on all images in it"
    )


# --- files, each of which belongs to one part


@dataclass(frozen=True)
class Files:
    """The files of a data set by part.

    Args:
        train, val: the files that are read; val is () if there is no such part.
        unread: files that a note names because they are not read.
        notes: what was recognised, a line each.
    """

    train: tuple[Path, ...]
    val: tuple[Path, ...] = ()
    unread: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def files_by_part(where: Path, files: Sequence[Path], has_labels: Callable[[Path], bool]) -> Files:
    """Divide files into parts by their names and the names of the folders between them and the data folder.

    If no name states a part, all files are for training. If names state only the other parts, the remaining
    files are for training. A test part is used for validation if there is no validation part and its images
    have labels.

    Args:
        where: the data folder, the one file, or a pattern.
        files: the files.
        has_labels: whether the images of a file have labels; it is asked about test files only.

    Raises:
        UserError: there are no training files, they lie in several folders with parts of their own, a name
            states two parts, or only some names state one.
    """
    if files == [where]:
        return Files((where,))
    root = where if where.is_dir() else where.parent
    short = _have_short_words(step for file in files for step in file.relative_to(root).with_suffix("").parts)
    named: dict[str, list[Path]] = {TRAIN: [], VAL: [], TEST: [], "": []}
    for file in files:
        named[_part_of_file(file.relative_to(root), short)].append(file)
    unnamed = named.pop("")
    if not any(named.values()):
        return Files(tuple(unnamed))
    if named[TRAIN] and unnamed:
        options = f"--train {_given_as(named[TRAIN])}"
        if held_out := named[VAL] or named[TEST]:
            options += f" --val {_given_as(held_out)}"
        raise UserError(
            f"{where}: {named[TRAIN][0].relative_to(root)} is named after its part and "
            f"{unnamed[0].relative_to(root)} is not; rename it, or say what to use: {options}"
        )
    train = named[TRAIN] or unnamed
    val = named[VAL] or (named[TEST] if all(map(has_labels, named[TEST])) else [])
    if not train:
        others = described(root, named[VAL] or named[TEST])
        raise UserError(
            f"{where}: has {others}, but there are none for training; add train-* files, or "
            f"say what to train on: {OPTIONS}"
        )
    if named[TRAIN]:
        _check_one_folder(root, [*train, *val], short)
    notes = [used(described(root, train), described(root, val))]
    left = named[TEST] if val != named[TEST] else []
    if left:
        usable = bool(named[VAL]) and _may_have_labels(left[0], has_labels)
        notes.append(unused(described(root, left), _given_as(left) if usable else ""))
    return Files(tuple(train), tuple(val), tuple(left), tuple(notes))


def _may_have_labels(file: Path, has_labels: Callable[[Path], bool]) -> bool:
    """Whether a file that is not used has labels, or is damaged, which is reported when it is used."""
    try:
        return has_labels(file)
    except UserError:
        return True


def _check_one_folder(where: Path, files: Sequence[Path], short: bool) -> None:
    """Refuse parts in several folders that are not named after parts: each is a data set."""
    folders = {
        next(parent for parent in file.parents if not _part(parent.name, short) or parent == where): None
        for file in files
    }
    if len(folders) > 1:
        listed = " and ".join(f"{folder.relative_to(where)}/" for folder in list(folders)[:3])
        raise UserError(
            f"{where}: {listed} hold files of the parts; give one of them as the data, or say what to use: "
            f"{OPTIONS}"
        )


def _part_of_file(relative: Path, short: bool) -> str:
    """The part that the steps of a path state; "" for none."""
    parts = {part for step in (*relative.parts[:-1], relative.stem) if (part := _part(step, short))}
    if len(parts) > 1:
        raise UserError(f"{relative}: its name states {' and '.join(sorted(parts))}; say which: {OPTIONS}")
    return next(iter(parts), "")


def described(where: Path, files: Sequence[Path]) -> str:
    """The first of some files, and the number of the others; "" for none."""
    if not files:
        return ""
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return f"{files[0].relative_to(where).as_posix()}{more}"


def _given_as(files: Sequence[Path]) -> str:
    """Some files as an argument of a command; PATH if no pattern stands for just these."""
    path = pattern_of(files)
    return as_argument(path) if path else "PATH"


def used(train: str, val: str = "") -> str:
    """One line that says which folders or files are the parts. val: "" for none."""
    return f"parts by their names: {train} for training" + (f", {val} for validation" if val else "")


def unused(what: str, argument: str) -> str:
    """One line that says which part is not used. argument: its path, as typed; "" if it has no labels."""
    reason = f"rescale eval RUN --val {argument} judges a run on it" if argument else "without labels"
    return f"not used: {what} ({reason})"


def passed_over(what: str) -> str:
    """One line that says what lies in the data folder and is no part of the data."""
    return f"passed over: {what}"
