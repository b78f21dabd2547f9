"""rescale data info, verify, show."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescale.cli.data_options import TrainPart, ValPart, data_spec
from rescale.cli.help import Command, Group
from rescale.cli.models import Json
from rescale.layout import note, wrapped

if TYPE_CHECKING:
    from rescale.data import DataSpec, Source

app = typer.Typer(
    cls=Group, help="Inspect data before training.", no_args_is_help=True, rich_markup_mode=None
)
Spec = Annotated[
    str, typer.Argument(metavar="DATA", help="digits, or a folder of images, CIFAR, tar shards or Parquet.")
]


@app.command("info", cls=Command)
def info(data: Spec = "", train_part: TrainPart = "", val_part: ValPart = "", as_json: Json = False) -> None:
    """Describe a data set: format, classes, counts, sizes.

    Example: rescale data info digits
    """
    from rescale.cli.early import check_data

    spec = _given(data, train_part, val_part)
    check_data(spec)

    from rescale.data import open_data
    from rescale.errors import JobError, first_few, plural

    source = open_data(spec)
    manifest = source.manifest()
    sizes, damaged = _sizes(source.train if len(source.train) else source.val)
    looked_at = len(sizes) + len(damaged)
    if not sizes:
        raise JobError(f"{spec}: none of {looked_at} sampled images can be read; for example {damaged[0]}")
    smallest, largest = (pick(sizes, key=lambda size: size[0] * size[1]) for pick in (min, max))
    manifest["sizes"] = {"looked_at": looked_at, "smallest": list(smallest), "largest": list(largest)}
    manifest["damaged"] = damaged
    if as_json:
        print(json.dumps([manifest], indent=1))
        return
    names = manifest["classes"]
    described = f"{manifest['format']}, {plural(len(names), 'class')} ({first_few(names, 6)})"
    print(wrapped(f"{data or spec}: {described}", "  "))
    print(f"images      {manifest['train']} for training, {manifest['val']} for validation")
    if kinds := _kinds(source.train, source.val):
        print(f"files       {', '.join(f'{count} {kind}' for kind, count in kinds)}")
    print(f"pixels      {_size(smallest)} to {_size(largest)} (of {looked_at} sampled)")
    for line in source.notes:
        print(wrapped(line, " " * 12, first="note        "))
    for line in damaged:
        print(wrapped(line, " " * 12, first="damaged     "))
    assumed = " (ImageNet's, not measured)" if source.has_imagenet_constants else ""
    constants = f"mean {_numbers(manifest['mean'])}, deviation {_numbers(manifest['std'])}{assumed}"
    print(wrapped(constants, " " * 12, first="normalised  "))


@app.command("verify", cls=Command)
def verify(
    data: Spec = "",
    train_part: TrainPart = "",
    val_part: ValPart = "",
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that decode; 0: decode in the main process.")
    ] = 0,
    sums: Annotated[
        Path | None,
        typer.Option(help="File of checksums of all images: written if it does not exist, else compared."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Decode every image and list the damaged ones; exit code 1 if there are any.

    Example: rescale data verify path/to/images --workers 2 --sums images.json
    """
    from rescale.cli.early import check_data

    spec = _given(data, train_part, val_part)
    check_data(spec)

    from rescale.data import open_data
    from rescale.errors import JobError, plural
    from rescale.files import write_json

    before = _sums(sums) if sums is not None and sums.exists() else None
    opened, data = open_data(spec), data or str(spec)
    bad, now = _checked({"train": opened.train, "val": opened.val}, workers)
    if before is not None:
        bad += [
            f"{data}: {key}: pixels differ from {sums}"
            for key in now
            if before.get(key, now[key]) != now[key]
        ]
        bad += [f"{data}: {key}: in {sums}, but missing from the data" for key in before if key not in now]
    images = len(opened.train) + len(opened.val)
    if as_json:
        print(json.dumps([{"data": data, "images": images, "damaged": bad}], indent=1))
    else:
        for line in opened.notes:
            print(note(line), file=sys.stderr)
        for line in bad:
            print(line)
    if bad:
        raise JobError(
            f"{data}: {len(bad)} of {plural(images, 'image')} damaged; "
            f"repair or remove them, or train with --on-bad-image skip"
        )
    if sums is not None and before is None:
        write_json(sums, now)
    if not as_json:
        matched = "" if before is None else f"; they match {sums}"
        print(f"{data}: {plural(images, 'image')} decoded, none damaged{matched}")


@app.command("show", cls=Command)
def show(
    data: Spec = "",
    train_part: TrainPart = "",
    val_part: ValPart = "",
    recipe: Annotated[str, typer.Option(help="A recipe's name or file.")] = "resnet-rs",
    model: Annotated[str, typer.Option(help="Network the recipe is resolved for.")] = "resnetrs50",
    resolution: Annotated[int, typer.Option(min=0, help="Input size in pixels; 0: the network's.")] = 0,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the recipe.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the augmentation.")] = 0,
    out: Annotated[Path, typer.Option("-o", "--out", help="The PNG file.")] = Path("samples.png"),
) -> None:
    """Draw a grid of training samples after augmentation: one image per row, the original first.

    Example: rescale data show digits --recipe resnet-rs --resolution 32
    """
    from rescale.cli.early import check_all, check_data, check_model, check_recipe

    spec = _given(data, train_part, val_part)
    check_all(lambda: check_data(spec), lambda: check_model(model), lambda: check_recipe(recipe, changes))

    from rescale.data import decoding_of, open_data
    from rescale.models import model_named
    from rescale.recipes import resolve
    from rescale.report.samples import draw_samples

    network = model_named(model)
    if resolution:
        network = network.at(resolution)
    chosen = resolve(check_recipe(recipe, changes), network).recipe
    opened = open_data(spec, decoding=decoding_of(chosen))
    for line in opened.notes:
        print(note(line))
    draw_samples(opened, chosen, network.resolution, seed, out)
    print(f"{out}: samples of {data or spec} under {chosen.name} at {network.resolution} pixels")


def _given(data: str, train: str, val: str) -> "DataSpec":
    """The data that the arguments state. Raises UserError if they state none."""
    from rescale.errors import UserError

    spec = data_spec(data, train, val)
    if spec is None:
        raise UserError("no data given; give digits or a path, or --train PATH --val PATH")
    return spec


def _kinds(*sources: "Source") -> list[tuple[str, int]]:
    """The endings of the images' names and how many have them, the most frequent first."""
    from rescale.data.files import EXTENSIONS

    keys = (source.key(i) for source in sources for i in range(len(source)))
    endings = Counter("." + key.rpartition(".")[2].lower() for key in keys)
    return [(ending, count) for ending, count in endings.most_common() if ending in EXTENSIONS]


def _sizes(source: "Source") -> tuple[list[tuple[int, int]], list[str]]:
    """Width and height of up to 64 images, evenly spread, and one line for each damaged one."""
    from rescale.data import BadImage

    count = min(64, len(source))
    sizes, damaged = [], []
    for i in range(count):
        try:
            sizes.append(source.sample(i * len(source) // count).media.size)
        except BadImage as error:
            damaged.append(str(error))
    return sizes, damaged


def _checked(parts: dict[str, "Source"], workers: int) -> tuple[list[str], dict[str, str]]:
    """One line for each damaged image, and the checksums of the others by split and key."""
    from rich.progress import track

    from rescale.data.checking import check
    from rescale.terminal import console

    screen = console(stderr=True)
    bad: list[str] = []
    sums: dict[str, str] = {}
    for part, source in parts.items():
        checks = track(
            check(source, workers),
            part,
            total=len(source),
            console=screen,
            transient=True,
            disable=not screen.is_terminal,
        )
        for result in checks:
            if result.complaint:
                bad.append(result.complaint)
            else:
                sums[f"{part}/{result.key}"] = result.sum
    return bad, sums


def _sums(file: Path) -> dict[str, str]:
    from rescale.errors import UserError

    try:
        sums = json.loads(file.read_text())
    except (OSError, ValueError):
        sums = None
    if not isinstance(sums, dict):
        raise UserError(f"{file}: not a file of checksums; give the path of a new file to write them to")
    return sums


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _numbers(values: list[float]) -> str:
    return " ".join(f"{value:.3f}" for value in values)
