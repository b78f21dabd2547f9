"""rescale data info, verify, show."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescale.cli.models import Json

if TYPE_CHECKING:
    from rescale.data import Source

app = typer.Typer(help="Look at data before training.", no_args_is_help=True, rich_markup_mode=None)
Spec = Annotated[
    str, typer.Argument(metavar="DATA", help="digits, or a folder of images, CIFAR, tar shards or Parquet.")
]


@app.command("info")
def info(data: Spec, as_json: Json = False) -> None:
    """Say what is there: format, classes, counts, sizes.

    Example: rescale data info digits
    """
    from rescale.data import open_data

    found = open_data(data)
    manifest = found.manifest()
    count = min(64, len(found.train))
    sizes = [found.train.image(i * len(found.train) // count).size for i in range(count)]
    manifest["sizes"] = {"looked_at": count, "smallest": list(min(sizes)), "largest": list(max(sizes))}
    if as_json:
        print(json.dumps([manifest], indent=1))
        return
    names = manifest["classes"]
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    print(f"{data}: {manifest['format']}, {len(names)} classes ({shown})")
    print(f"images      {manifest['train']} to train on, {manifest['val']} to judge on")
    print(f"pixels      {_size(min(sizes))} to {_size(max(sizes))} (of {count} looked at)")
    print(f"normalised  mean {_numbers(manifest['mean'])}, deviation {_numbers(manifest['std'])}")


@app.command("verify")
def verify(data: Spec, as_json: Json = False) -> None:
    """Decode every image and name the damaged ones; exit code 1 where there are any.

    Example: rescale data verify path/to/images
    """
    from rescale.data import open_data
    from rescale.errors import JobError

    found = open_data(data)
    bad = [line for source in (found.train, found.val) for line in _damaged(source)]
    images = len(found.train) + len(found.val)
    if as_json:
        print(json.dumps([{"data": data, "images": images, "damaged": bad}], indent=1))
    else:
        for line in bad:
            print(line)
    if bad:
        raise JobError(f"{data}: {len(bad)} damaged images; mend them, or train with --on-bad-image skip")
    if not as_json:
        print(f"{data}: all {images} images decode")


@app.command("show")
def show(
    data: Spec,
    recipe: Annotated[str, typer.Option(help="A recipe's name or file.")] = "resnet-rs",
    model: Annotated[str, typer.Option(help="Network the recipe is resolved for.")] = "resnetrs50",
    resolution: Annotated[int, typer.Option(min=0, help="Pixels; 0: the network's.")] = 0,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the recipe.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another draw.")] = 0,
    out: Annotated[Path, typer.Option("-o", "--out", help="The PNG file.")] = Path("samples.png"),
) -> None:
    """Draw a grid of training samples as the network will see them: an image a row, first as it is.

    Example: rescale data show digits --recipe resnet-rs --resolution 32
    """
    from rescale.data import open_data
    from rescale.models import model_named
    from rescale.recipes import recipe as recipe_named
    from rescale.recipes import resolve, with_changes
    from rescale.report.samples import draw_samples

    network = model_named(model)
    if resolution:
        network = network.at(resolution)
    chosen = resolve(with_changes(recipe_named(recipe), changes or []), network).recipe
    draw_samples(open_data(data), chosen, network.resolution, seed, out)
    print(f"{out}: samples of {data} under {chosen.name} at {network.resolution} pixels")


def _damaged(source: "Source") -> list[str]:
    from rich.progress import track

    from rescale.data import BadImage

    found = []
    for index in track(range(len(source)), description="decoding", transient=True, console=_console()):
        try:
            source.image(index)
        except BadImage as error:
            found.append(str(error))
    return found


def _console():  # type: ignore[no-untyped-def]
    from rich.console import Console

    return Console(stderr=True)


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _numbers(values: list[float]) -> str:
    return " ".join(f"{value:.3f}" for value in values)
