"""Read TensorFlow's checkpoints (tensor bundles: NAME.index, NAME.data-00000-of-00001) without TensorFlow.

The index is a sorted table in LevelDB's format (github.com/google/leveldb: doc/table_format.md). It maps the
name of a tensor to a protocol buffer with the location of its bytes, and the empty name to the header. The
messages are defined in tensorflow/core/protobuf/tensor_bundle.proto. Checksums are CRC-32C, rotated and
shifted ("masked") as in LevelDB.
"""

from collections.abc import Collection, Iterator
from math import isqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
FOOTER = 48
SNAPPY = 1  # compression type; 0 is an uncompressed block
DTYPES: dict[int, Any] = {1: "<f4", 2: "<f8", 19: "<f2"}  # tensorflow/core/framework/types.proto
CASTAGNOLI = 0x82F63B78


class Damaged(Exception):
    """The bytes do not follow the format."""


class Entry(NamedTuple):
    """The location of a tensor: data file (shard), offset and size in bytes, and checksum."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    sliced: bool


class Bundle:
    """A checkpoint's tensors by name. Raises Damaged, or OSError if a file is missing."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        table = dict(_table(Path(f"{prefix}.index").read_bytes()))
        header = dict(_fields(table.pop(b"", b"")))
        self.shards = _number(header.get(1, 0))
        if not self.shards or header.get(2, 0) != 0:
            raise Damaged("no header, or numbers in big-endian order")
        self.entries = {name.decode(): _entry(value) for name, value in table.items()}

    def read(self, names: Collection[str]) -> dict[str, np.ndarray]:
        """The values of the tensors."""
        return {name: self._tensor(name, self.entries[name]) for name in names}

    def _tensor(self, name: str, entry: Entry) -> np.ndarray:
        if entry.sliced or entry.dtype not in DTYPES:
            raise Damaged(f"{name} is stored in slices or is not floating-point")
        path = Path(f"{self.prefix}.data-{entry.shard:05d}-of-{self.shards:05d}")
        if entry.offset + entry.size > path.stat().st_size:
            raise Damaged(f"{path.name} is truncated")
        with path.open("rb") as file:
            file.seek(entry.offset)
            data = file.read(entry.size)
        if masked(crc32c(data)) != entry.checksum:
            raise Damaged(f"the checksum of {name} does not match")
        return np.frombuffer(data, DTYPES[entry.dtype]).reshape(entry.shape)


def _entry(data: bytes) -> Entry:
    """Read a BundleEntryProto."""
    fields = dict(_fields(data))
    sizes = [dict(_fields(_bytes(dim))) for number, dim in _fields(_bytes(fields.get(2, b""))) if number == 2]
    shape = tuple(_number(size.get(1, 0)) for size in sizes)
    dtype, shard, offset, size, checksum = (_number(fields.get(number, 0)) for number in (1, 3, 4, 5, 6))
    return Entry(dtype, shape, shard, offset, size, checksum, sliced=7 in fields)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field of a protocol buffer."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind, size = tag & 7, {1: 8, 5: 4}.get(tag & 7, 0)
        if kind in (0, 2):
            size, at = _varint(data, at)
        elif not size:
            raise Damaged(f"a field of unknown kind {kind}")
        if kind == 0:
            yield tag >> 3, size
            continue
        value = _cut(data, at, size)
        yield tag >> 3, value if kind == 2 else int.from_bytes(value, "little")
        at += size


def _number(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise Damaged("bytes instead of a number")
    return value


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise Damaged("a number instead of a message")
    return value


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a sorted table; its footer points to an index of blocks."""
    footer = data[-FOOTER:]
    if len(footer) < FOOTER or not footer.endswith(MAGIC):
        raise Damaged("truncated, or not the index of a checkpoint")
    _, at = _handle(footer, 0)  # skip the metadata block, which is empty
    index, _ = _handle(footer, at)
    for _, block in _block(data, index):
        yield from _block(data, _handle(block, 0)[0])


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Offset and size of a block, and the position after them."""
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return (offset, size), at


def _block(data: bytes, handle: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block. Keys are stored as differences from the previous key."""
    offset, size = handle
    block, kind, checksum = (
        _cut(data, offset, size), _cut(data, offset + size, 1), _cut(data, offset + size + 1, 4)
    )  # fmt: skip
    if masked(crc32c(block + kind)) != int.from_bytes(checksum, "little"):
        raise Damaged("the checksum of a block does not match")
    if kind[0] == SNAPPY:
        import pyarrow

        block = pyarrow.decompress(block, _varint(block, 0)[0], codec="snappy", asbytes=True)
    restarts = int.from_bytes(_cut(block, len(block) - 4, 4), "little")
    key, at, end = b"", 0, len(block) - 4 * (restarts + 1)
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + _cut(block, at, own)
        yield key, _cut(block, at + own, length)
        at += own + length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number stored in groups of seven bits, lowest first, and the position after it."""
    value = shift = 0
    while True:
        byte = _cut(data, at, 1)[0]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _cut(data: bytes, at: int, size: int) -> bytes:
    if at < 0 or at + size > len(data):
        raise Damaged("truncated")
    return data[at : at + size]


def masked(checksum: int) -> int:
    """A checksum masked as in LevelDB."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum (RFC 3720, appendix B.4); 100 MB take about a second.

    The data is split into rows that are processed in parallel. The checksum is linear: the register after a
    row is advanced by as many zeros as a row is long (`carry` has a table for each byte of the register) and
    added to that of the next row.
    """
    data = _ALL_ONES + data
    width = isqrt(len(data)) + 1
    rows = -(-len(data) // width)
    padded = np.zeros(rows * width, np.uint8)
    padded[-len(data) :] = np.frombuffer(data, np.uint8)  # leading zeros do not change the checksum
    register = np.zeros(rows + 1024, np.uint32)
    register[rows:] = (
        np.arange(256, dtype=np.uint32) << np.arange(0, 32, 8, dtype=np.uint32)[:, None]
    ).ravel()
    for column in np.ascontiguousarray(padded.reshape(rows, width).T):
        register[:rows] ^= column
        register = _TABLE[register & 255] ^ (register >> 8)
    carry = register[rows:].reshape(4, 256).tolist()
    total = 0
    for row in register[:rows].tolist():
        parts = total.to_bytes(4, "little")
        total = row
        for table, byte in zip(carry, parts, strict=True):
            total ^= table[byte]
    return int(total) ^ 0xFFFFFFFF


def _crc_table() -> np.ndarray:
    """The register after each possible byte."""
    table: np.ndarray = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> 1) ^ np.where(table & 1, np.uint32(CASTAGNOLI), np.uint32(0))
    return table


_TABLE = _crc_table()
_ALL_ONES = bytes.fromhex("54641f64")  # sets an empty register to all ones, the initial value of the checksum
