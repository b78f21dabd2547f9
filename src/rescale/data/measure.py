"""What a sample of the images says about all: their orientation, and the range of more than 8 bits."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rescale.data import decode, depth
from rescale.data.orientation import UPRIGHT
from rescale.data.raw import Encoded, Subset
from rescale.data.source import BadImage, Data, Header, Source
from rescale.errors import agree, plural
from rescale.preprocess import Decoding
from rescale.recipes import Recipe

LOOKED_AT = 64  # images whose headers are read
MEASURED = 256  # images with more than 8 bits whose values are read


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
        notes.insert(0, _about_orientation(turned, len(headers), decoding.orientation))
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
    ranges = dict.fromkeys(depth.KINDS, (0.0, recipe.white)) if recipe.white else {}
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
    """The known ranges and those of the other kinds that occur, with a line about each that was measured."""
    if decoding.ranges is None:
        return None, []
    ranges, notes = dict(decoding.ranges), []
    for kind in sorted(kinds - ranges.keys()):
        found = list(_extents(data, kind))
        if not found:
            continue
        extent = depth.Extent(min(low for low, _ in found), max(high for _, high in found))
        black, white = ranges[kind] = depth.fitting(extent, kind)
        go = agree(len(found), "goes", "go")
        notes.append(
            f"{depth.KINDS[kind]}: {black:g} is black and {white:g} is white, since the values of "
            f"{len(found)} of them {go} from {extent.low:g} to {extent.high:g}; --set white=VALUE sets "
            f"another"
        )
    return ranges, notes


def _about_orientation(turned: int, looked_at: int, orientation: str) -> str:
    have, are, them = agree(turned, "has is it", "have are them").split()
    what = f"orientation: {turned} of {plural(looked_at, 'image')} looked at {have} an EXIF orientation"
    if orientation == "exif":
        return f"{what} and {are} turned upright; --set orientation=stored leaves {them} as stored"
    return f"{what}, which is not applied (orientation=stored)"


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


def _extents(data: Data, kind: str) -> Iterator[depth.Extent]:
    """The extents of up to MEASURED images of a kind, without damaged ones."""
    seen = 0
    for source, index, header in _headers(data, 4 * MEASURED):
        if header.kind == kind and seen < MEASURED:
            try:
                yield decode.extent(source.encoded(index), source.describe(index))
                seen += 1
            except BadImage:
                continue


def _spread(part: Source, count: int) -> Sequence[int]:
    """About `count` positions, evenly spread, in runs of images that are read together."""
    source, _ = _located(part, 0)
    run = getattr(source, "neighbours", 1)
    starts = np.linspace(0, len(part), max(1, min(count, len(part)) // run), endpoint=False).astype(int)
    return [int(i) for i in np.unique(starts[:, None] + np.arange(run)) if i < len(part)]


def _located(source: Source, index: int) -> tuple[Source, int]:
    """The source that stores a sample, and the sample's position in it."""
    while isinstance(source, Subset):
        index, source = int(source.indices[index]), source.source
    return source, index
