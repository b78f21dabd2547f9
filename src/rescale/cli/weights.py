"""rescale import, rescale export-weights: convert weights from and to other layouts."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rescale.cli.models import Json
from rescale.layout import note, wrapped

if TYPE_CHECKING:
    from rescale.models import External
    from rescale.network import Network
    from rescale.preprocess import Preprocess


def import_weights(
    source: Annotated[
        str,
        typer.Argument(
            help="A file or folder: safetensors, .pth, .h5, timm's, a TF checkpoint, a run; or pretrained."
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="Model of the weights: a network, timm:NAME or python:module:function; "
            "read from the folder in timm's layout."
        ),
    ] = "",
    classes: Annotated[
        int | None, typer.Option(min=1, help="Outputs of the head, if different from the weights'.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A new folder.")] = None,
    weights_key: Annotated[
        str, typer.Option(help="Which weights of a checkpoint, such as state_dict_ema.")
    ] = "",
    averaged: Annotated[
        bool | None,
        typer.Option(
            "--averaged/--raw",
            help="Which weights of a checkpoint with both; default: averaged ones, if there are any.",
        ),
    ] = None,
    mean: Annotated[str, typer.Option(help="Mean of the normalisation, such as 0.485,0.456,0.406.")] = "",
    std: Annotated[str, typer.Option(help="Standard deviation, such as 0.229,0.224,0.225.")] = "",
    crop: Annotated[float | None, typer.Option(help="Central square / shorter side, such as 0.875.")] = None,
    interpolation: Annotated[
        str, typer.Option(help="Interpolation of resizing: bicubic, bilinear, tf1-bicubic.")
    ] = "",
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Text file of output names, one per line.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Convert weights from other projects into a model folder.

    The folder contains network.yaml (external.json for external models), model.safetensors and
    preprocess.json, the preprocessing of inputs. A head of a different size is newly initialised.

    Example: rescale import resnetrs50.pth --model resnetrs50@160 -o weights/rs50
    """
    from rescale.cli.early import check_all, check_model, check_weights
    from rescale.errors import UserError, plural
    from rescale.outputs import check_new_model

    if out is None:
        raise UserError("import needs --out, a new folder for the weights")
    check_all(
        lambda: check_new_model(out),
        lambda: check_model(model) if model else None,
        lambda: check_weights(source),
    )

    from rescale.models import make, model_named
    from rescale.models.folder import write
    from rescale.models.start import fill, starting_weights

    described = model_named(model) if model else _named_in(Path(source))
    weights = starting_weights(source, described, weights_key, averaged)
    described = described.with_classes(classes or weights.classes or _classes(described))
    module, _ = make(described)
    notes = [*weights.notes, *fill(module, described, weights)]
    stated = {
        "mean": _numbers("--mean", mean),
        "std": _numbers("--std", std),
        "crop": crop,
        "interpolation": interpolation or None,
        "labels": _lines(labels) if labels else None,
    }
    preprocess, assumed = _preprocess(
        weights.preprocess, {key: value for key, value in stated.items() if value is not None}, described
    )
    write(out, described, module.state_dict(), preprocess, weights.averaged)
    notes += assumed
    if as_json:
        report = {
            "name": described.name,
            "out": str(out),
            "loaded": len(weights.tensors),
            "averaged": weights.averaged,
            "notes": notes,
        }
        print(json.dumps([report], indent=1))
        return
    print(f"{weights.source}: {plural(len(weights.tensors), 'tensor')} of {described.name}")
    for line in notes:
        print(note(line))
    print(f"written: {out}")


def export_weights(
    source: Annotated[Path, typer.Argument(help="A finished run, or a folder of rescale import.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A new folder.")],
) -> None:
    """Write weights in timm's layout, for timm.create_model("local-dir:FOLDER", pretrained=True).

    If timm is installed, the folder is loaded with it and the outputs are compared.

    Example: rescale export-weights runs/rs50 -o rs50-timm
    """
    from rescale.cli.early import check_folder
    from rescale.errors import UserError

    check_folder(source)

    from rescale.models import Model
    from rescale.models.folder import ModelFolder
    from rescale.models.weights.export import export_weights as export

    folder = ModelFolder.open(source)
    module = folder.load()
    if not isinstance(module, Model):
        raise UserError(f"{source}: {folder.model.name} is not one of this project's networks")
    preprocess, assumed = _preprocess(folder.preprocess, {}, folder.model)
    for line in [*export(module, out, preprocess), *assumed]:
        print(wrapped(line, "  "))
    print(f"written: {out}")


def _named_in(source: Path) -> "Network | External":
    """Read the model's name from the folder: a model folder, or timm's config.json."""
    from rescale.errors import UserError
    from rescale.lookup import names
    from rescale.models import model_named
    from rescale.models.folder import ModelFolder, is_model_folder
    from rescale.models.weights.timm_config import CONFIG, TimmConfig

    if not source.exists():
        raise UserError(f"{source}: no such file or folder of weights")
    if is_model_folder(source):
        return ModelFolder.open(source).model
    if not (source / CONFIG).is_file():
        raise UserError(f"{source}: does not name its network; give --model NAME")
    config = TimmConfig.read(source / CONFIG)
    name = config.architecture
    described = model_named(name if name in names() else f"timm:{name}").with_classes(config.classes)
    size = config.resolution
    return described.at(size) if size and size != described.resolution else described


def _classes(model: "Network | External") -> int:
    from rescale.network import Network

    return model.head.classes if isinstance(model, Network) else model.classes


def _preprocess(
    known: "Preprocess | None", stated: dict[str, Any], model: "Network | External"
) -> "tuple[Preprocess, list[str]]":
    """The preprocessing with the user's values applied, and notes on the values that were assumed."""
    from rescale.errors import UserError, plural
    from rescale.network import Network
    from rescale.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess

    classes = _classes(model)
    preprocess = known or Preprocess(IMAGENET_MEAN, IMAGENET_STD, model.resolution)
    if len(preprocess.labels) != classes:
        preprocess = replace(preprocess, labels=())  # names of another head's outputs
    preprocess = replace(preprocess, resolution=model.resolution, **stated)
    if preprocess.labels and len(preprocess.labels) != classes:
        names = plural(len(preprocess.labels), "name")
        raise UserError(f"--labels: {names} for the {plural(classes, 'output')} of {model.name}")
    channels = model.input.channels if isinstance(model, Network) else 3
    if len(preprocess.mean) != channels:
        raise UserError(
            f"{model.name} takes {plural(channels, 'channel')}; "
            f"give {plural(channels, 'number')} each with --mean and --std"
        )
    if known and known.resolution != preprocess.resolution:
        return preprocess, [
            f"weights for {known.resolution} pixels; {model.name} takes {preprocess.resolution}"
        ]
    keys = [key for key in ("mean", "std", "crop", "interpolation") if not known and key not in stated]
    assumed = ", ".join(f"{key} {_text(getattr(preprocess, key))}" for key in keys)
    return preprocess, [f"assumed, since the weights do not specify it: {assumed}"] if keys else []


def _numbers(option: str, text: str) -> tuple[float, ...] | None:
    from rescale.errors import UserError

    if not text:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"{option} {text}: write numbers separated by commas") from None


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _lines(path: Path) -> tuple[str, ...]:
    from rescale.errors import UserError

    try:
        return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except UnicodeDecodeError:
        raise UserError(f"--labels {path}: not a text file in UTF-8") from None
    except OSError as error:
        raise UserError(f"--labels {path}: cannot be read: {error.strerror or error}") from None
