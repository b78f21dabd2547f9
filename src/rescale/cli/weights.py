"""rescale import, rescale export-weights: weights in and out."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescale.cli.models import Json

if TYPE_CHECKING:
    from rescale.network import Network


def import_weights(
    source: Annotated[
        Path,
        typer.Argument(help="A file or folder: safetensors, .pth, .h5, timm's, a TF checkpoint."),
    ],
    model: Annotated[
        str, typer.Option(help="The network they belong to; found by itself in timm's layout.")
    ] = "",
    classes: Annotated[
        int | None, typer.Option(min=1, help="Outputs of the head, if others than the weights'.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A new folder.")] = None,
    as_json: Json = False,
) -> None:
    """Read weights of timm, torchvision, Keras or TensorFlow and keep them in this project's names.

    The folder holds network.yaml and model.safetensors. A head of another size is drawn anew, saying so.

    Example: rescale import resnetrs50.pth --model resnetrs50@160 -o weights/rs50
    """
    from safetensors.torch import save_file

    from rescale.errors import JobError, UserError
    from rescale.files import check_free
    from rescale.lookup import network
    from rescale.models import build, load_weights
    from rescale.network import to_yaml

    if out is None:
        raise UserError("import needs --out, a new folder for the weights")
    check_free(out)
    found = network(model) if model else _named_in(source)
    if classes is not None:
        found = found.with_classes(classes)
    built = build(found)
    loaded = load_weights(built, source)
    try:
        out.mkdir(parents=True, exist_ok=True)
        save_file({name: t.contiguous() for name, t in built.state_dict().items()}, out / "model.safetensors")
        (out / "network.yaml").write_text(to_yaml(found))
    except OSError as error:
        raise JobError(f"{out}: cannot be written ({error.strerror})") from error
    if as_json:
        report = {"name": found.name, "out": str(out), "loaded": loaded.loaded, "notes": list(loaded.notes)}
        print(json.dumps([report], indent=1))
        return
    print(f"{source}: {loaded.loaded} tensors of {found.name}")
    for note in loaded.notes:
        print(f"note: {note}")
    print(f"written: {out}")


def export_weights(
    source: Annotated[Path, typer.Argument(help="A finished run, or a folder of rescale import.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A new folder.")],
) -> None:
    """Write weights in timm's layout, for timm.create_model("local-dir:FOLDER", pretrained=True).

    Where timm is installed, the folder is loaded with it and the outputs are compared.

    Example: rescale export-weights runs/rs50 -o rs50-timm
    """
    from rescale.errors import UserError
    from rescale.lookup import network
    from rescale.models import build, load_weights
    from rescale.models.weights.export import export_weights as export
    from rescale.network import Network

    if (source / "run.json").is_file():
        from rescale.training import Run

        run = Run.open(source)
        if not isinstance(run.model, Network):
            raise UserError(f"{source}: {run.model.name} is not one of this project's networks")
        trained, data, recipe = run.load(), run.data, run.recipe
        notes = export(
            trained,  # type: ignore[arg-type]
            out,
            data["mean"],
            data["std"],
            data["classes"],
            recipe.interpolation.removeprefix("tf1-"),
            recipe.eval_crop,
        )
    elif (source / "network.yaml").is_file():
        built = build(network(source))
        load_weights(built, source)
        notes = export(built, out, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        notes.append("normalisation: ImageNet's, since the folder says none")
    else:
        raise UserError(
            f"{source}: holds no run.json or network.yaml; give a run, or a folder of rescale import"
        )
    for note in notes:
        print(note)
    print(f"written: {out}")


def _named_in(source: Path) -> "Network":
    """The network that a folder names itself: ours, or timm's config.json."""
    from rescale.errors import UserError
    from rescale.lookup import network

    if not source.exists():
        raise UserError(f"{source}: no such file or folder of weights")
    if (source / "network.yaml").is_file():
        return network(source)
    config = source / "config.json"
    if not config.is_file():
        raise UserError(f"{source}: does not name its network; give --model NAME")
    try:
        said = json.loads(config.read_text())
        name, classes = str(said["architecture"]), int(said.get("num_classes", 1000))
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{config}: names no architecture; give --model NAME") from None
    if said.get("model_args"):
        raise UserError(f"{config}: {name} with arguments of its own; give --model NAME")
    found = network(name).with_classes(classes)
    size = said.get("pretrained_cfg", {}).get("input_size")
    return found.at(int(size[-1])) if size and int(size[-1]) != found.resolution else found
