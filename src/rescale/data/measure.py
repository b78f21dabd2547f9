"""What a sample of the images says about all: their orientation, and the range of more than 8 bits."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rescale.data import decode
from rescale.data.orientation import UPRIGHT
from rescale.data.ranges import KINDS, UNMEASURED, Measured, about, agreed, dark
from rescale.data.raw import Encoded, Subset
from rescale.data.source import BadImage, Data, Header, Source
from rescale.errors import agree, plural
from rescale.preprocess import Decoding
from rescale.recipes import Recipe

LOOKED_AT = 64  # images whose headers are read
MEASURED = 256  # images with more than 8 bits whose values are read, if their range is not known
CHECKED = 32  # if it is known


def decoded(data: Data, decoding: Decoding) -> Data:
    """The data with its images decoded by these rules, the ranges they lack measured, and notes on both.

    Args:
        data: as opened; sources of other kinds than encoded images stay as they are.
        decoding: the orientation, and the known ranges.
    """
    headers = list(_headers(data, LOOKED_AT))
    ranges, notes = _measured_ranges(data, decoding, {header.kind for *_, header in headers} - {""})
    turned = sum(header.orientation != UPRIGHT for *_, header in headers)
    if turned:
        notes.insert(0, _about_orientation(turned, len(headers), decoding))
    complete = replace(decoding, ranges=ranges)
    return replace(
        data,
        train=with_decoding(data.train, complete),
        val=with_decoding(data.val, complete),
        minival=None if data.minival is None else with_decoding(data.minival, complete),
        decoding=complete,
        notes=(*data.notes, *notes),
    )


def decoding_of(recipe: Recipe) -> Decoding:
    """How a recipe decodes image files; without ranges, which are measured, unless it sets white."""
    ranges = dict.fromkeys(KINDS, (0.0, recipe.white)) if recipe.white else {}
    return Decoding(recipe.orientation, ranges)


def with_decoding(source: Source, decoding: Decoding) -> Source:
    """The source with its images decoded by these rules."""
    if isinstance(source, Subset):
        return replace(source, source=with_decoding(source.source, decoding))
    if isinstance(source, Encoded):
        dataclass: Any = source
        return replace(dataclass, decoding=decoding)
    return source


def _measured_ranges(
    data: Data, decoding: Decoding, kinds: set[str]
) -> tuple[dict[str, tuple[float, float]] | None, list[str]]:
    """The known ranges and those of the other kinds that occur.

    With a line about each that was measured, and one about each in which images come out almost black.
    """
    ranges, notes = dict(UNMEASURED if decoding.ranges is None else decoding.ranges), []
    for kind in sorted(kinds):
        is_known = kind in ranges
        images = list(_measured(data, kind, CHECKED if is_known else MEASURED))
        if images and not is_known:
            ranges[kind] = agreed(images, kind)
            notes.append(about(images, kind, ranges[kind]))
        if images and (line := dark(images, kind, ranges[kind])):
            notes.append(line)
    return None if decoding.ranges is None else ranges, notes


def _about_orientation(turned: int, looked_at: int, decoding: Decoding) -> str:
    have, are, them = agree(turned, "has is it", "have are them").split()
    what = f"orientation: {turned} of {plural(looked_at, 'image')} looked at {have} an EXIF orientation"
    if decoding.orientation == "exif":
        return (
            f"{what} and {are} turned upright; --set orientation=stored of train and data show leaves {them}"
        )
    but = "" if decoding.leaves_tiff else ", except to TIFF files"
    return f"{what}, which is not applied{but} (orientation=stored)"


def _headers(data: Data, count: int) -> Iterator[tuple[Encoded, int, Header]]:
    """Source, index and header of about `count` images of both parts, without damaged ones."""
    parts = [part for part in (data.train, data.val) if len(part)]
    for part in parts:
        for index in _spread(part, count // len(parts)):
            source, place = _located(part, index)
            if not isinstance(source, Encoded):
                return
            try:
                yield source, place, decode.header(source.encoded(place), source.describe(place))
            except BadImage:
                continue


def _measured(data: Data, kind: str, count: int) -> Iterator[Measured]:
    """The extents of up to `count` images of a kind, without damaged ones."""
    seen = 0
    for source, index, header in _headers(data, 4 * count):
        if header.kind == kind and seen < count:
            try:
                yield decode.measured(source.encoded(index), source.describe(index))
                seen += 1
            except BadImage:
                continue


def _spread(part: Source, count: int) -> Sequence[int]:
    """About `count` positions, evenly spread, in runs of images that are read together."""
    source, _ = _located(part, 0)
    run = getattr(source, "neighbours", 1)
    starts = np.linspace(0, len(part), max(1, min(count, len(part)) // run), endpoint=False).astype(int)
    indices = (starts[:, None] + np.arange(run)).ravel().tolist()
    return sorted({i for i in indices if i < len(part)})


def _located(source: Source, index: int) -> tuple[Source, int]:
    """The source that stores a sample, and the sample's position in it."""
    while isinstance(source, Subset):
        index, source = int(source.indices[index]), source.source
    return source, index
