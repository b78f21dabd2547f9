"""Find the model's state dict in a checkpoint, and remove the prefixes of wrappers from its names.

Training scripts save a dictionary with the weights under one key or another, often with averaged ones as well
(timm: `state_dict`, `state_dict_ema`; torchvision's reference scripts: `model`, `model_ema`; Lightning:
`state_dict`, with `model.` before each name). Wrappers such as DistributedDataParallel and torch.compile
add prefixes to the names.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from rescale.errors import UserError, nearest

RAW = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "params")
AVERAGED = (
    *("state_dict_ema", "ema_state_dict", "model_state_dict_ema", "model_ema_state_dict"),
    *("model_ema", "ema_model", "ema", "averaged_model", "swa_model", "average", "params_ema"),
)
WRAPPERS = (
    *("module.", "_orig_mod.", "model.", "backbone.", "net.", "network.", "_forward_module."),
    *("encoder.", "encoder_q."),  # of contrastive learning
)
COUNTER = "n_averaged"  # a counter of torch.optim.swa_utils.AveragedModel, not a weight
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
    candidates = dict(_state_dicts(content))
    if not candidates:
        raise UserError(f"{where}: holds no state dict of tensors")
    averaged = [name for name in candidates if _is_averaged(name)]
    averaged.sort(key=lambda name: min(AVERAGED.index(part) for part in name.split(".") if part in AVERAGED))
    if key:
        if key not in candidates:
            raise UserError(f"{where}: holds no state dict under {key!r}; {nearest(key, candidates)}")
        return Checkpoint(candidates[key], key in averaged if averaged else None)
    others = [name for name in candidates if name not in averaged]
    raw = sorted((name for name in others if _rank(name) < len(RAW)), key=_rank)
    unread = (
        []
        if averaged
        else [f"the averaged weights under {n!r} are in an unsupported form" for n in _unread(content)]
    )
    if wanted is True and not averaged:
        raise UserError(f"{where}: {unread[0] if unread else 'names no averaged weights'}; use --raw")
    if wanted is False and averaged and not others:
        raise UserError(f"{where}: holds averaged weights only, under {averaged[0]!r}; use --averaged")
    if averaged and wanted is not False:
        names = [*averaged, *(raw or others)]
        return Checkpoint(candidates[averaged[0]], True, _note("averaged weights", names))
    if not raw and len(others) > 1:
        raise UserError(
            f"{where}: holds several state dicts ({', '.join(others)}); choose one with --weights-key"
        )
    names = [*(raw or others), *averaged]
    notes = _note("raw weights" if averaged else "weights", names) if len(names) > 1 else ()
    return Checkpoint(candidates[names[0]], False if averaged else None, (*notes, *unread))


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


def _state_dicts(content: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Each state dict in the content, with the keys that lead to it joined by dots."""
    if not isinstance(content, Mapping) or len(path) > DEPTH:
        return
    if not all(isinstance(name, str) for name in content):  # the state of an optimizer, keyed by numbers
        return
    if not _is_state_dict(content):
        for name, value in content.items():
            yield from _state_dicts(value, (*path, name))
        return
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    groups = {name.partition(".")[0] for name in tensors}
    if len(groups) > 1 and groups & set(AVERAGED):  # two models in one state dict
        for group in sorted(groups):
            inside = {n.removeprefix(f"{group}."): t for n, t in tensors.items() if n.startswith(f"{group}.")}
            if inside:
                yield ".".join((*path, group)), inside
        return
    yield ".".join(path), tensors


def _is_state_dict(content: Mapping[str, Any]) -> bool:
    """Whether it maps names to tensors; numbers and the extra state of modules may be among them."""
    plain = all(
        isinstance(value, Tensor | int | float | None) or name.endswith("_extra_state")
        for name, value in content.items()
    )
    return plain and any(isinstance(value, Tensor) and value.ndim for value in content.values())


def _is_averaged(name: str) -> bool:
    return any(part in AVERAGED for part in name.split("."))


def _rank(name: str) -> int:
    """Rank among the usual keys of raw weights, which precede all others. "" is the file itself."""
    if not name:
        return 0
    return min((RAW.index(part) for part in name.split(".") if part in RAW), default=len(RAW))


def _note(kind: str, names: list[str]) -> tuple[str, ...]:
    used, *others = names
    choice = "rescale import chooses by --averaged, --raw or --weights-key"
    also = f"; the file also holds {', '.join(others)} ({choice})" if others else ""
    return (f"the {kind} under {used!r} are used{also}",)


def _unread(content: Any) -> list[str]:
    """Keys of averaged weights whose value is not a state dict, such as a list of tensors."""
    if not isinstance(content, Mapping):
        return []
    return [name for name in AVERAGED if isinstance(content.get(name), Mapping | list) and content[name]]
