"""Find the model's state dict in a checkpoint, and remove the prefixes of wrappers from its names.

Training scripts save a dictionary with the weights under one key or another, often with averaged ones as well
(timm: `state_dict`, `state_dict_ema`; torchvision's reference scripts: `model`, `model_ema`; pycls:
`model_state`, `ema_state`; Lightning: `state_dict`, with `model.` before each name). Wrappers such as
DistributedDataParallel and torch.compile add prefixes to the names.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from rescale.errors import UserError, first_few, nearest

RAW = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "params")
AVERAGED = (
    *("state_dict_ema", "ema_state_dict", "model_state_dict_ema", "model_ema_state_dict"),
    *("model_ema", "ema_model", "ema", "averaged_model", "swa_model", "average", "params_ema"),
)  # the usual keys, the preferred first; the key of any average contains one of the words
AVERAGE_WORDS = frozenset(("ema", "swa", "avg", "average", "averaged", "polyak", "shadow"))
OPTIMIZER_WORDS = frozenset(("optimizer", "optimizers", "optim"))  # whose state is no weights
MOMENT_WORDS = frozenset(("exp", "sq", "square", "grad"))  # Adam's exp_avg is an average of gradients
WRAPPERS = (
    *("module.", "_orig_mod.", "model.", "backbone.", "net.", "network.", "_forward_module."),
    *("encoder.", "encoder_q."),  # of contrastive learning
)
COUNTER = "n_averaged"  # a counter of torch.optim.swa_utils.AveragedModel, not a weight
LIGHTNING_RAW, LIGHTNING_AVERAGE = "current_model_state", "averaging_state"  # of its WeightAveraging
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # of batch norm; often not averaged
DEPTH = 3  # levels of nested dictionaries that are searched


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of one state dict.

    Args:
        tensors: by name.
        averaged: whether they are an average over training steps; None if the file does not say.
        notes: what was chosen and what was ignored, one line each.
        outside: names of ignored tensors, which are not part of the model.
    """

    tensors: dict[str, Tensor]
    averaged: bool | None = None
    notes: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class StateDict:
    """A state dict in a file.

    Args:
        key: the keys that lead to it, joined by dots; "" is the file itself.
        tensors: by name.
        averaged: whether the file names them as an average over training steps.
    """

    key: str
    tensors: dict[str, Tensor]
    averaged: bool

    @property
    def rank(self) -> int:
        """Rank among the usual keys; the number of these for any other key."""
        usual = AVERAGED if self.averaged else RAW
        if not self.key:
            return 0
        return min((usual.index(part) for part in self.key.split(".") if part in usual), default=len(usual))

    @property
    def is_usual(self) -> bool:
        """Whether one of the usual keys leads to it."""
        return self.rank < len(AVERAGED if self.averaged else RAW)

    @property
    def place(self) -> str:
        """Where it is in the file, for messages."""
        if not self.key and COUNTER in self.tensors:
            return f"with the counter {COUNTER} of torch's AveragedModel"
        return f"under {self.key!r}" if self.key else "at the top level"

    def __str__(self) -> str:
        return self.key or "the top level"


def chosen(content: Any, key: str, wanted: bool | None, where: str) -> Checkpoint:
    """Choose a state dict of a file's content.

    Args:
        content: as it was read.
        key: the key of the state dict; if empty, `wanted` decides.
        wanted: True for the averaged weights, False for the raw ones; None for the averaged ones if there are
            any.
        where: the file, for messages.

    Raises:
        UserError: there is no such state dict, or there are several under unknown keys.
    """
    if key and wanted is not None:
        raise UserError(f"{where}: --weights-key {key} names the weights; leave out --averaged and --raw")
    averaged, raw = _averaged_and_raw(list(_state_dicts(content)))
    every = [*averaged, *raw]
    if not every:
        raise UserError(f"{where}: holds no state dict of tensors")
    if key:
        by_key = {item.key: item for item in every}
        if key not in by_key:
            raise UserError(f"{where}: holds no state dict under {key!r}; {nearest(key, by_key)}")
        return Checkpoint(by_key[key].tensors, by_key[key] in averaged if averaged else None)
    unread = [] if averaged else _unsupported_averages(content, every)
    if wanted is True and not averaged:
        reason = unread[0] if unread else "names no averaged weights"
        names = ", ".join(item.key for item in every if item.key)
        choice = "use --raw or --weights-key" if len(every) > 1 else "use --raw"
        raise UserError(f"{where}: {reason}{f' (it holds {names})' if names else ''}; {choice}")
    counterparts = _counterparts(raw, averaged)
    if wanted is False and not counterparts:
        raise UserError(f"{where}: holds averaged weights only, {averaged[0].place}; use --averaged")
    choices = averaged if averaged and wanted is not False else counterparts
    if len(choices) > 1 and not choices[0].is_usual:
        several = ", ".join(map(str, choices))
        raise UserError(f"{where}: holds several state dicts ({several}); choose one with --weights-key")
    used = choices[0]
    tensors, completed = _completed(used, raw) if used.averaged else (used.tensors, ())
    kind = "averaged weights" if used in averaged else "raw weights" if averaged else "weights"
    notes = (*_note(used, kind, every), *completed, *unread)
    return Checkpoint(tensors, used in averaged if averaged else None, notes)


def unwrapped(names: Collection[str], known: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """Remove prefixes of wrappers until as many names as possible are known.

    Returns:
        Names without prefixes by full name, and the names that are not inside the wrapper.
    """
    best = bare = {name: name for name in names}
    while True:
        counts = {prefix: sum(name.startswith(prefix) for name in bare.values()) for prefix in WRAPPERS}
        prefix = max(counts, key=lambda wrapper: counts[wrapper])
        if not counts[prefix]:
            return best, [name for name in names if name not in best and name != COUNTER]
        bare = {full: name.removeprefix(prefix) for full, name in bare.items() if name.startswith(prefix)}
        if len(set(bare.values()) & set(known)) > len(set(best.values()) & set(known)):
            best = bare


def _is_average(key: str) -> bool:
    """Whether a key is named like an average of weights: it contains a word such as ema, in any case."""
    words = _words(key)
    return bool(words & AVERAGE_WORDS) and not words & MOMENT_WORDS


def _words(key: str) -> set[str]:
    """The words of a key in lower case: `modelEMA_best` has model, ema and best."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", key)}


def _averaged_and_raw(every: list[StateDict]) -> tuple[list[StateDict], list[StateDict]]:
    """The averaged and the other state dicts, each in order of preference.

    An unusual key that is only named like an average's, such as avg_losses, must have the names of another
    state dict.
    """
    others = [item for item in every if not item.averaged]
    averaged = [
        item
        for item in every
        if item.averaged
        and (item.is_usual or COUNTER in item.tensors or not others or _has_counterpart(item, others))
    ]
    unclear = [replace(item, averaged=False) for item in every if item.averaged and item not in averaged]
    return sorted(averaged, key=lambda item: item.rank), sorted([*others, *unclear], key=lambda i: i.rank)


def _counterparts(raw: list[StateDict], averaged: list[StateDict]) -> list[StateDict]:
    """The raw state dicts of the model whose averaged weights the file holds; all, if it holds none."""
    if not averaged:
        return raw
    same = [item for item in raw if _alike(item.tensors, averaged[0].tensors)]
    return same or [item for item in raw if item.is_usual]


def _has_counterpart(item: StateDict, others: list[StateDict]) -> bool:
    return any(_alike(item.tensors, other.tensors) for other in others)


def _alike(first: Iterable[str], second: Iterable[str]) -> bool:
    """Whether two sets of names belong to the same model, apart from prefixes and batch norm's statistics."""
    ours, theirs = _names_inside(first), _names_inside(second)
    return 2 * len(ours & theirs) > len(ours | theirs)


def _names_inside(names: Iterable[str]) -> set[str]:
    """The names of a model's parameters without the prefixes that all of them have."""
    inside = {name for name in names if name != COUNTER and not name.endswith(STATISTICS)}
    while prefix := next((w for w in WRAPPERS if inside and all(n.startswith(w) for n in inside)), ""):
        inside = {name.removeprefix(prefix) for name in inside}
    return inside


def _completed(used: StateDict, raw: list[StateDict]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Averaged weights with batch norm's statistics, if only the raw ones have these, and a note about it."""
    for other in raw:
        lacking = {name: tensor for name, tensor in other.tensors.items() if name not in used.tensors}
        same_names = used.tensors.keys() <= other.tensors.keys()
        if same_names and lacking and all(name.endswith(STATISTICS) for name in lacking):
            what = f"batch norm's statistics ({first_few(list(lacking), 2)})"
            return used.tensors | lacking, (f"{what} are not averaged; those under {other.key!r} are used",)
    return used.tensors, ()


def _state_dicts(content: Any, path: tuple[str, ...] = ()) -> Iterator[StateDict]:
    """Each state dict in the content, except those of optimizers."""
    if not isinstance(content, Mapping) or len(path) > DEPTH or (path and _words(path[-1]) & OPTIMIZER_WORDS):
        return
    if not all(isinstance(name, str) for name in content):  # the state of an optimizer, keyed by numbers
        return
    if not _is_state_dict(content):
        by_lightning = LIGHTNING_RAW in content and LIGHTNING_AVERAGE in content
        for name, value in content.items():
            for item in _state_dicts(value, (*path, name)):
                is_average = item.averaged or (by_lightning and name == "state_dict")
                yield StateDict(item.key, item.tensors, is_average)
        return
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    yield from _split(tensors, path) or [
        StateDict(".".join(path), tensors, COUNTER in tensors or _is_average(".".join(path)))
    ]


def _split(tensors: dict[str, Tensor], path: tuple[str, ...]) -> list[StateDict]:
    """The models in a state dict that holds one and its average, such as `net.*` and `net_ema.*`.

    Returns:
        One state dict for each first part of the names; or the average and the rest, if only the average's
        names have a first part of their own. Empty if the state dict holds one model only.
    """
    groups = sorted({name.partition(".")[0] for name in tensors if "." in name})
    parts = {group: _inside(tensors, group) for group in groups}
    if len(groups) == 1 and len(parts[groups[0]]) == len(tensors):
        return _split(parts[groups[0]], (*path, groups[0]))
    # a layer that is named like an average, such as avg_proj, has few of the tensors
    averages = [group for group in groups if _is_average(group) and 4 * len(parts[group]) >= len(tensors)]
    others = [group for group in groups if group not in averages]
    if any(_alike(parts[group], parts[other]) for group in averages for other in others):
        return [StateDict(".".join((*path, group)), parts[group], group in averages) for group in groups]
    rest = {name: tensor for name, tensor in tensors.items() if name.partition(".")[0] not in averages}
    averages = [group for group in averages if _alike(parts[group], rest)]
    if not averages:
        return []
    average_parts = [StateDict(".".join((*path, group)), parts[group], True) for group in averages]
    return [*average_parts, StateDict(".".join(path), rest, False)]


def _inside(tensors: dict[str, Tensor], group: str) -> dict[str, Tensor]:
    """The tensors whose names begin with the group, without it."""
    return {
        name.removeprefix(f"{group}."): tensor
        for name, tensor in tensors.items()
        if name.startswith(f"{group}.")
    }


def _is_state_dict(content: Mapping[str, Any]) -> bool:
    """Whether it maps names to tensors; numbers and the extra state of modules may be among them."""
    plain = all(
        isinstance(value, Tensor | int | float | None) or name.endswith("_extra_state")
        for name, value in content.items()
    )
    return plain and any(isinstance(value, Tensor) and value.ndim for value in content.values())


def _note(used: StateDict, kind: str, every: list[StateDict]) -> tuple[str, ...]:
    """What is used, and the other state dicts of the same model; nothing if there was no choice."""
    others = [item for item in every if item is not used and _alike(item.tensors, used.tensors)]
    if not others and not used.averaged:
        return ()
    choice = "rescale import chooses by --averaged, --raw or --weights-key"
    also = f"; the file also holds {', '.join(map(str, others))} ({choice})" if others else ""
    return (f"the {kind} {used.place} are used{also}",)


def _unsupported_averages(content: Any, every: list[StateDict]) -> list[str]:
    """A note for each key of averaged weights whose value is not a state dict, such as a list of tensors."""
    if not isinstance(content, Mapping):
        return []
    shapes = {tensor.shape for item in every for tensor in item.tensors.values() if tensor.ndim}
    return [
        f"the averaged weights under {name!r} are in an unsupported form"
        for name, value in content.items()
        if isinstance(name, str)
        and _is_average(name)
        and not isinstance(value, Tensor)
        and any(tensor.shape in shapes for tensor in _tensors_in(value))
    ]


def _tensors_in(value: Any, depth: int = 0) -> Iterator[Tensor]:
    """The tensors in nested lists and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | list | tuple) and depth <= DEPTH:
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors_in(inner, depth + 1)
