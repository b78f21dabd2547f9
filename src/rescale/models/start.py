"""Starting weights: from a model folder, a finished run, a file, or timm's pretrained weights."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rescale.errors import UserError, agree, first_few, plural
from rescale.lookup import label_and_name
from rescale.models.external import External
from rescale.models.folder import ModelFolder, is_model_folder
from rescale.models.head import classifier_name, classifier_of
from rescale.models.make import make, model_named
from rescale.models.weights.export import architecture
from rescale.models.weights.layouts import tensor_names
from rescale.models.weights.load import digest, fitting, read_weights
from rescale.models.weights.pretrained import pretrained
from rescale.models.weights.timm_config import CONFIG, TimmConfig, preprocess_of
from rescale.network import Network
from rescale.outputs import NETWORK_FILE, RUN_FILE, WEIGHTS
from rescale.preprocess import Preprocess

PRETRAINED = "pretrained"


@dataclass(frozen=True)
class StartingWeights:
    """Weights that a model starts from.

    Args:
        source: the user's argument, and what it was resolved to.
        sha256: of the weights file.
        averaged: whether they are an average over training steps; None if unknown.
        tensors: by the names in the module's state dict.
        classes: number of outputs of their classifier; None if the model has no single linear classifier.
        preprocess: how their inputs were prepared; None if the source does not say.
        notes: assumptions and choices, one line each.
    """

    source: str
    sha256: str
    averaged: bool | None
    tensors: dict[str, Tensor]
    classes: int | None = None
    preprocess: Preprocess | None = None
    notes: tuple[str, ...] = ()


def model_to_train(text: str, weights: str = "") -> Network | External:
    """The model that a new run trains, by name, file or folder.

    Args:
        text: as `model_named` reads it, or a model folder.
        weights: the starting weights, if there are any.

    Raises:
        UserError: there is no such model, or a folder with trained weights stands for it and no starting
            weights are given: its weights would silently not be used.
    """
    folder = Path(label_and_name(text)[1])
    trained = is_model_folder(folder) and any((folder / file).exists() for file in (WEIGHTS, RUN_FILE))
    if trained and not weights:
        kind, instead = (
            ("a trained model", f"rescale train --weights {folder} starts from its weights")
            if (folder / WEIGHTS).exists()
            else ("an unfinished run", f"rescale train --resume {folder} continues it")
        )
        stored = ModelFolder(folder).model
        name = (stored.source or stored.name) if isinstance(stored, External) else str(folder / NETWORK_FILE)
        raise UserError(
            f"{folder}: holds {kind}, which a new run does not use: name {name} to train this model from "
            f"newly initialised weights; {instead}"
        )
    return model_named(text)


def starting_weights(
    text: str, model: Network | External, key: str = "", averaged: bool | None = None
) -> StartingWeights:
    """Read the weights that a model is to start from. The model is built on the meta device only.

    Args:
        text: a model folder, a finished run, a file or folder of weights as `import` reads them, or
            `pretrained`: timm's own weights of the same network.
        model: the model to fill; its input size and classes may differ from those of the weights.
        key: which state dict of a training script's checkpoint to take.
        averaged: True for its averaged weights, False for the raw ones; None prefers the averaged ones.

    Raises:
        UserError: there is no such file, the run has not finished, the folder holds another network, or
            timm's weights are not available; one line says what to do.
    """
    path = Path(text)
    is_folder = is_model_folder(path)
    if (key or averaged is not None) and (is_folder or text == PRETRAINED):
        raise UserError(
            f"{text}: holds one set of weights; --weights-key, --averaged and --raw are for files of "
            f"training scripts"
        )
    if text == PRETRAINED:
        return _pretrained(model)
    if is_folder:
        return _from_folder(ModelFolder.open(path), model)
    if not path.exists() and text.startswith(PRETRAINED):
        raise UserError(f"{text}: no such file; write {PRETRAINED} for timm's default weights")
    module = _on_meta(model)
    weights = read_weights(path, module, key, averaged)
    preprocess, notes = _config_in(path, model)
    return StartingWeights(
        text,
        digest(path),
        weights.averaged,
        weights.tensors,
        _outputs(module, weights.tensors),
        preprocess,
        (*weights.notes, *notes),
    )


def fill(
    module: nn.Module, model: Network | External, weights: StartingWeights, classes: Sequence[str] = ()
) -> list[str]:
    """Load starting weights into a module. If anything but the head does not fit, the module is unchanged.

    The rows of the classifier are matched to the classes by name if the weights name their outputs. Without
    names they are used in order if the counts agree. Otherwise the classifier keeps its initial weights.

    Args:
        module: built by `make(model)`.
        model: its description, for error messages.
        classes: of the data, in the order of the module's outputs; if empty, only the counts are compared.

    Returns:
        What was done to the head and what was assumed, one line each.

    Raises:
        UserError: any other tensor does not fit; the message names the tensors.
    """
    name = classifier_name(module)
    head = [] if name is None else [n for n in (f"{name}.weight", f"{name}.bias") if n in module.state_dict()]
    tensors = dict(weights.tensors)
    notes: list[str] = []
    may_lack: list[str] = []
    if name is not None and weights.classes is not None:
        outputs = classifier_of(module).out_features
        labels = weights.preprocess.labels if weights.preprocess else ()
        rows, notes = _rows(labels, tuple(classes), weights.classes, outputs)
        if rows is None:
            may_lack = head
            tensors = {n: tensor for n, tensor in tensors.items() if n not in head}
        else:
            tensors |= {n: tensors[n][rows] for n in head if n in tensors}
    fits = fitting(module, tensors, model.name, may_lack)
    module.load_state_dict({**module.state_dict(), **fits})
    return notes


def class_order(labels: Sequence[str], classes: Sequence[str]) -> list[int] | None:
    """The output of each class, by name.

    Args:
        labels: the name of each output.
        classes: the data's classes, some of the labels in any order.

    Returns:
        The index of the output for each class; None if a class is missing among the labels or its name occurs
        more than once.
    """
    if tuple(labels) == tuple(classes):
        return list(range(len(labels)))
    numbers = _unique(labels)
    if len(set(classes)) < len(classes) or not all(name in numbers for name in classes):
        return None
    return [numbers[name] for name in classes]


def differences(first: Network, second: Network) -> list[str]:
    """The structural differences of two networks, one line each, except input size and classes."""
    theirs, ours = (dict(_flat(asdict(net))) for net in (first, second))
    if len(first.stages) != len(second.stages):
        return [f"{plural(len(first.stages), 'stage')}, not {len(second.stages)}"]
    skipped = ("name", "scale_ends", "init", "input.resolution", "head.classes")
    keys = [key for key in {**theirs, **ours} if key not in skipped and theirs.get(key) != ours.get(key)]
    return [f"{key} is {theirs.get(key)}, not {ours.get(key)}" for key in keys]


def _rows(
    labels: tuple[str, ...], classes: tuple[str, ...], theirs: int, ours: int
) -> tuple[list[int] | None, list[str]]:
    """The rows of the weights' classifier that fill the module's, in order (None: a new one), and notes."""
    if labels and len(labels) != theirs:
        names = plural(len(labels), "name")
        raise UserError(f"the weights have {plural(theirs, 'output')} and {names}; correct the labels")
    new = f"the head is newly initialised for {plural(ours, 'class')}"
    if labels and classes:
        order = class_order(labels, classes)
        if order is None:
            matched = len(_unique(labels).keys() & set(classes))
            named = f"the names of the weights' {plural(theirs, 'output')}"
            return None, [f"{new}: {matched} of them {agree(matched, 'is', 'are')} among {named}"]
        if order == list(range(theirs)):
            return order, []
        what = "in another order" if len(order) == theirs else f"{len(order)} of {theirs}"
        return order, [f"the head's outputs are matched to the classes by name ({what})"]
    if theirs != ours:
        return None, [f"{new} (the weights have {theirs})"]
    assumed = (
        f"the weights name no classes: their {plural(theirs, 'output')} are taken in the order of the "
        f"data's classes"
    )
    return list(range(theirs)), [f"{assumed} ({first_few(classes)})"] if classes else []


def _unique(labels: Sequence[str]) -> dict[str, int]:
    """Index of the output by name, for names that occur once."""
    counts = Counter(labels)
    return {name: number for number, name in enumerate(labels) if counts[name] == 1}


def _from_folder(folder: ModelFolder, model: Network | External) -> StartingWeights:
    _check_same(folder.path, folder.model, model)
    module, tensors = _on_meta(model), folder.tensors()
    outputs = _outputs(module, tensors)
    return StartingWeights(
        str(folder.path), folder.sha256, folder.averaged, tensors, outputs, folder.preprocess
    )


def _pretrained(model: Network | External) -> StartingWeights:
    if isinstance(model, Network):
        timm_model = architecture(model)
        if timm_model.arguments:
            raise UserError(f"{model.name}: timm has no pretrained weights for a network of this structure")
        weights = pretrained(timm_model.name)
        names = tensor_names(model, timm_model.layout)
        tensors = {names.get(name, name): tensor for name, tensor in weights.tensors.items()}
    elif model.origin.startswith("timm:"):
        weights = pretrained(model.origin.removeprefix("timm:"))
        tensors = weights.tensors
    else:
        raise UserError(f"{model.name}: only timm's networks have {PRETRAINED} weights; give a file")
    return StartingWeights(
        f"{PRETRAINED}: {weights.name}",
        digest(weights.file),
        None,
        tensors,
        _outputs(_on_meta(model), tensors),
        weights.preprocess,
        tuple(weights.notes),
    )


def _check_same(path: Path, stored: Network | External, model: Network | External) -> None:
    """Raise UserError if the weights belong to a network of another structure."""
    if isinstance(stored, Network) and isinstance(model, Network):
        if lines := differences(stored, model):
            more = f"; {len(lines) - 3} more" if len(lines) > 3 else ""
            raise UserError(f"{path}: holds {stored.name}, another network: {'; '.join(lines[:3])}{more}")
        return
    if (
        isinstance(stored, External)
        and isinstance(model, External)
        and _structure(stored) == _structure(model)
    ):
        return
    for_timm = isinstance(stored, Network) and model.name.startswith("timm:")
    layout = f"; in timm's names: rescale export-weights {path} -o FOLDER" if for_timm else ""
    raise UserError(f"{path}: holds {stored.name}, not {model.name}{layout}")


def _structure(model: External) -> str:
    """The name without the parts that do not change the module: input size and timm's weights tag."""
    name = model.origin
    return name.split(".")[0] if name.startswith("timm:") else name


def _on_meta(model: Network | External) -> nn.Module:
    """The module on the meta device: names and shapes of its tensors, without memory.

    On the CPU if an external model's code needs values.
    """
    try:
        with torch.device("meta"):
            return make(model)[0]
    except UserError:
        with torch.random.fork_rng(devices=[]):
            return make(model)[0]


def _outputs(module: nn.Module, tensors: dict[str, Tensor]) -> int | None:
    """Number of outputs of the classifier whose weight is among the tensors."""
    weight = tensors.get(f"{classifier_name(module)}.weight")
    return None if weight is None or weight.ndim != 2 else weight.shape[0]


def _config_in(path: Path, model: Network | External) -> tuple[Preprocess | None, list[str]]:
    """The preprocessing from timm's config.json in the folder of the weights, and notes."""
    if not (path / CONFIG).is_file():
        return None, []
    config = TimmConfig.read(path / CONFIG)
    return preprocess_of(config.pretrained, config.resolution or model.resolution, str(config.path))


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each plain value of a nested structure with its path, such as stages[1].depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, tuple | list):
        for number, inner in enumerate(value):
            yield from _flat(inner, f"{path}[{number}]")
    else:
        yield path, value
