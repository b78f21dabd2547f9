"""Keras and TensorFlow 1 weights: golden files written by the libraries, and damaged files.

scripts/check_keras_weights.py writes tests/golden/keras_weights.tar.xz: files of narrow networks with random
variables, and the logits computed by the libraries.
"""

import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pyarrow
import pytest
import torch
from torch import nn

from rescale.errors import UserError
from rescale.lookup import names, network
from rescale.models import build, load_weights
from rescale.models.weights.bundle import MAGIC, Bundle, crc32c, masked
from rescale.models.weights.keras import by_name
from rescale.models.weights.layouts import places
from rescale.models.weights.tensorflow import counted
from rescale.models.weights.tf1 import in_creation_order
from rescale.network import Conv, Head, Input, Network, Stage, Stem

GOLDEN = Path(__file__).parent / "golden" / "keras_weights.tar.xz"
RESNET_RS = network("resnetrs2-1x0.0625@33").with_classes(5)
EFFICIENTNET = Network(
    "narrow",
    Input(33),
    Stem((Conv(8, 3, 2),)),
    tuple(
        Stage(depth, width, stride, kernel, "inverted", ratio, "input", 1, 0.25, "inner")
        for depth, width, stride, kernel, ratio in ((1, 8, 1, 3, 1), (2, 16, 2, 5, 6))
    ),
    Head(5, 16),
    activation="silu",
    padding="same",
    norm_eps=1e-3,
)
FILES = {  # file -> its network, the key of its logits
    "resnetrs.legacy.h5": (RESNET_RS, "resnetrs"),
    "resnetrs.published.h5": (RESNET_RS, "resnetrs"),
    "resnetrs.weights.h5": (RESNET_RS, "resnetrs"),
    "efficientnet.whole.h5": (EFFICIENTNET, "efficientnet"),
    "efficientnet3.weights.h5": (EFFICIENTNET, "efficientnet3"),
    "tf1/model.ckpt": (RESNET_RS, "tf1"),
}


@pytest.fixture(scope="module")
def golden(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    with tarfile.open(GOLDEN) as archive:
        archive.extractall(folder, filter="data")
    return folder


def gap(model: nn.Module, golden: Path, key: str) -> float:
    """Largest difference from the library's logits, relative to the largest."""
    expected = np.load(golden / "expected.npz")
    images = torch.from_numpy(expected[f"{key}/images"]).permute(0, 3, 1, 2)
    with torch.no_grad():
        ours = model.eval()(images).numpy()
    theirs = expected[f"{key}/logits"]
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


@pytest.mark.parametrize("file", FILES)
def test_outputs_equal_the_librarys(file: str, golden: Path) -> None:
    net, key = FILES[file]
    model = build(net)
    assert gap(model, golden, key) > 0.1  # before loading they differ: the check can fail
    report = load_weights(model, golden / file)
    assert not report.kept and not report.unused and not report.notes
    assert gap(model, golden, key) < 1e-5


@pytest.mark.parametrize("file", FILES)
def test_parity_sees_every_tensor_and_its_axes(file: str, golden: Path) -> None:
    net, key = FILES[file]
    model = build(net)
    load_weights(model, golden / file)
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            continue
        before = tensor.clone()
        if tensor.ndim == 4 and tensor.shape[2] > 1:
            tensor.copy_(before.transpose(2, 3))  # swaps H and W
        elif tensor.ndim > 1 and min(tensor.shape[:2]) > 1:
            tensor.copy_(before.flatten(1).T.reshape(tensor.shape))  # swaps I and O
        else:
            tensor.copy_(before.roll(1) * 1.1 + 0.1)
        assert gap(model, golden, key) > 3e-5, name
        tensor.copy_(before)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean, module.bias.data = module.bias.data, module.running_mean
    assert gap(model, golden, key) > 0.01


def test_a_checkpoint_is_given_by_prefix_file_or_folder(golden: Path) -> None:
    for path in ("tf1", "tf1/model.ckpt.index", "tf1/model.ckpt.data-00000-of-00001"):
        model = build(RESNET_RS)
        load_weights(model, golden / path)
        assert gap(model, golden, "tf1") < 1e-5


def test_archives_of_keras_3(golden: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("model.weights.h5", (golden / "efficientnet3.weights.h5").read_bytes())
    model = build(EFFICIENTNET)
    load_weights(model, tmp_path / "a.keras")
    assert gap(model, golden, "efficientnet3") < 1e-5
    (tmp_path / "b.keras").write_bytes((tmp_path / "a.keras").read_bytes()[:-100])
    with pytest.raises(UserError, match=r"b.keras: damaged"):
        load_weights(model, tmp_path / "b.keras")


NAMED = [name for name in names() if name.startswith(("resnetrs", "tf_efficientnet"))]


@pytest.mark.parametrize("name", NAMED)
def test_every_layer_has_a_unique_name(name: str) -> None:
    net = network(name)
    theirs = by_name(net)
    ours = {f"{p.ours}{leaf}" for p in places(net) for leaf in ((".conv", ".norm") if p.normed else ("",))}
    assert set(theirs.values()) == ours
    for order in (places(net), in_creation_order(net)):
        assert set(counted(net, order).values()) == ours


def test_names_are_the_published_ones() -> None:
    ours_by_theirs = counted(network("resnetrs50"), in_creation_order(network("resnetrs50")))
    assert sum(name.startswith("conv2d") for name in ours_by_theirs) == 88
    assert sum(name.startswith("batch_normalization") for name in ours_by_theirs) == 56
    assert ours_by_theirs["conv2d_4"] == "stages.0.0.shortcut.project.conv"
    assert ours_by_theirs["batch_normalization_4"] == "stages.0.0.shortcut.project.norm"
    assert ours_by_theirs["conv2d_9"] == "stages.0.0.se.expand"
    assert ours_by_theirs["dense"] == "head.linear"
    assert by_name(network("tf_efficientnet_b0"))["block6d_se_reduce"] == "stages.5.3.se.reduce"


@pytest.mark.parametrize("file", ["resnetrs.weights.h5", "resnetrs.published.h5", "tf1/model.ckpt"])
def test_weights_of_another_network(file: str, golden: Path) -> None:
    other = build(network("resnetrs2-2x0.0625"))
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(UserError, match=r"not weights of resnetrs2-2x0.0625.*stages.1.1.*missing") as raised:
        load_weights(other, golden / file)
    assert len(raised.value.lines) == 1
    wider = build(network("resnetrs2-1x0.125"))
    with pytest.raises(UserError, match=r"stem.convs.0.conv.weight: \(2, 3, 3, 3\), here \(4, 3, 3, 3\)"):
        load_weights(wider, golden / file)
    # in a shallower network the numbers denote other layers, the names do not
    words = (
        "c2_block_1_batch_norm_1/beta: unknown here"
        if "published" in file
        else r"conv1.*, here \(8, 16, 1, 1\)"
    )
    with pytest.raises(UserError, match=words):
        load_weights(build(network("resnetrs1-1x0.0625").with_classes(5)), golden / file)
    assert all(torch.equal(before[name], tensor) for name, tensor in other.state_dict().items())


def test_a_head_of_another_size_is_not_loaded(golden: Path) -> None:
    for file in ("resnetrs.weights.h5", "tf1"):
        report = load_weights(build(RESNET_RS.with_classes(7)), golden / file)
        assert "head of 5 classes" in report.notes[0]


def refused(path: Path, words: str, net: Network = RESNET_RS) -> None:
    with pytest.raises(UserError, match=words) as raised:
        load_weights(build(net), path)
    assert len(raised.value.lines) == 1 and "\n" not in str(raised.value)


def test_bad_keras_files(golden: Path, tmp_path: Path, monkeypatch) -> None:
    whole = (golden / "resnetrs.weights.h5").read_bytes()
    for size in (0, 7, 2000, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.h5").write_bytes(whole[:size])
        refused(tmp_path / "cut.h5", r"cut.h5: damaged, or not a Keras file")
    refused(tmp_path / "absent.h5", "absent.h5: no such file")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["measured/temperature"] = np.zeros(3)
    refused(tmp_path / "other.h5", "other.h5: has no layers in Keras' format; its content: measured")
    shutil.copy(golden / "resnetrs.legacy.h5", tmp_path / "text.h5")
    with h5py.File(tmp_path / "text.h5", "a") as file:
        name = "stem_1_stem_conv_1/stem_1_stem_conv_1/kernel:0"
        del file[name]
        file[name] = "words"
    refused(tmp_path / "text.h5", "text.h5: damaged")
    monkeypatch.setitem(sys.modules, "h5py", None)
    refused(golden / "resnetrs.legacy.h5", "pip install 'rescale-vision\\[keras\\]'")


def test_bad_checkpoints(golden: Path, tmp_path: Path) -> None:
    index = (golden / "tf1" / "model.ckpt.index").read_bytes()
    data = (golden / "tf1" / "model.ckpt.data-00000-of-00001").read_bytes()
    prefix = tmp_path / "model.ckpt"
    index_file, data_file = Path(f"{prefix}.index"), Path(f"{prefix}.data-00000-of-00001")

    index_file.write_bytes(index)
    refused(prefix, r"model.ckpt.data-00000-of-00001: No such file")
    data_file.write_bytes(data[:-5000])
    refused(prefix, "data-00000-of-00001 is truncated")
    flipped = bytearray(data)
    flipped[Bundle(golden / "tf1" / "model.ckpt").entries["dense/bias/ExponentialMovingAverage"].offset] ^= 1
    data_file.write_bytes(flipped)
    refused(prefix, "the checksum of dense/bias/ExponentialMovingAverage does not match")
    data_file.write_bytes(data)
    load_weights(build(RESNET_RS), prefix)
    for size in (0, 20, 4000, len(index) - 1):
        index_file.write_bytes(index[:size])
        refused(prefix, "model.ckpt: damaged, or not a TensorFlow checkpoint")
    for at in range(0, len(index), 97):  # no other error; a few bytes have no effect
        index_file.write_bytes(index[:at] + bytes([index[at] ^ 255]) + index[at + 1 :])
        try:
            load_weights(build(RESNET_RS), prefix)
        except UserError as error:
            assert len(error.lines) == 1
    index_file.unlink()
    refused(prefix, r"model.ckpt.index: No such file")
    for name in "ab":
        (tmp_path / f"{name}.index").write_bytes(index)
    refused(tmp_path, "holds 2 checkpoints; name one")


def varint(value: int) -> bytes:
    encoded = b""
    while value > 127:
        encoded, value = encoded + bytes([value & 127 | 128]), value >> 7
    return encoded + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def block(pairs: list[tuple[bytes, bytes]], snappy: bool) -> bytes:
    """A block of a table with unshortened keys, its compression type and its checksum."""
    entries = b"".join(varint(0) + varint(len(k)) + varint(len(v)) + k + v for k, v in pairs)
    content = entries + (0).to_bytes(4, "little") + (1).to_bytes(4, "little")
    content = pyarrow.compress(content, codec="snappy", asbytes=True) if snappy else content
    content += bytes([snappy])
    return content + masked(crc32c(content)).to_bytes(4, "little")


def write_checkpoint(prefix: Path, tensors: dict[str, np.ndarray], snappy: bool, shards: int = 2) -> None:
    """Write a checkpoint in TensorFlow's format, in several blocks and data files."""
    data = [b""] * shards
    pairs = [(b"", field(1, shards) + field(3, field(1, 1)))]
    for i, (name, values) in enumerate(sorted(tensors.items())):
        shape = b"".join(field(2, field(1, size)) for size in values.shape)
        raw, shard = values.tobytes(), i % shards
        kind = {"float32": 1, "float64": 2, "int64": 9}[values.dtype.name]
        entry = field(1, kind) + field(2, shape) + field(3, shard) + field(4, len(data[shard]))
        entry += field(5, len(raw)) + varint(6 << 3 | 5) + masked(crc32c(raw)).to_bytes(4, "little")
        pairs.append((name.encode(), entry))
        data[shard] += raw
    table, handles = b"", []
    for group in (pairs[:1], pairs[1:]):
        stored = block(group, snappy)
        handles.append((group[-1][0], varint(len(table)) + varint(len(stored) - 5)))
        table += stored
    index = block(handles, snappy)
    footer = varint(0) + varint(0) + varint(len(table)) + varint(len(index) - 5)
    Path(f"{prefix}.index").write_bytes(table + index + footer.ljust(40, b"\0") + MAGIC)
    for shard, content in enumerate(data):
        Path(f"{prefix}.data-{shard:05d}-of-{shards:05d}").write_bytes(content)


@pytest.mark.parametrize("snappy", [False, True])
def test_checkpoints_without_averages_compressed_and_in_shards(
    golden: Path, tmp_path: Path, snappy: bool
) -> None:
    bundle = Bundle(golden / "tf1" / "model.ckpt")
    averages = [name for name in bundle.entries if name.endswith("/ExponentialMovingAverage")]
    tensors = {name.rpartition("/")[0]: value for name, value in bundle.read(averages).items()}
    tensors["dense/kernel"] = tensors["dense/kernel"].astype(np.float64)
    tensors["global_step"] = np.array(7)
    write_checkpoint(tmp_path / "a-7", tensors, snappy)
    model = build(RESNET_RS)
    load_weights(model, tmp_path / "a-7")
    assert gap(model, golden, "tf1") < 1e-5
    write_checkpoint(tmp_path / "a-7", tensors | {"dense/bias": np.zeros(5, np.int64)}, snappy)
    refused(tmp_path / "a-7", "dense/bias is stored in slices or is not floating-point")
    object_based = {"model/conv2d/kernel/.ATTRIBUTES/VARIABLE_VALUE": np.zeros(2, np.float32)}
    write_checkpoint(tmp_path / "b", object_based, snappy)
    refused(tmp_path / "b", "has no variables with TensorFlow 1 names .*VARIABLE_VALUE")


def test_checksum() -> None:
    """RFC 3720, appendix B.4, and the customary check value."""
    known = {bytes(32): 0x8A9136AA, b"\xff" * 32: 0x62A8AB43, bytes(range(32)): 0x46DD794E}
    assert all(crc32c(data) == value for data, value in known.items())
    assert crc32c(b"123456789") == 0xE3069283 and crc32c(b"") == 0
