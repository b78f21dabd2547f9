"""Data layouts against other readers (torchvision, tarfile), and missing, damaged or unusual files."""

import resource
import runpy
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from classified import Classified
from data_files import encoded, pixels, samples, write_cifar, write_folder, write_parquet, write_tar
from rescale.data import BadImage, Loading, Source, batches, folders, open_data, parquet, shards
from rescale.errors import UserError


def assert_is_torchvisions(source: folders.Folder, oracle: ImageFolder, every: int = 1) -> None:
    """The same images and classes and, for every `every`-th image, the same pixels."""
    ours = {source.describe(i): i for i in range(len(source))}
    assert {path: source.strata[i] for path, i in ours.items()} == dict(oracle.samples)
    for path, i in list(ours.items())[::every]:
        assert np.array_equal(np.asarray(source.sample(i).media), np.asarray(oracle.loader(path)))


def test_a_folder_is_read_like_torchvision_does(tmp_path: Path) -> None:
    write_folder(tmp_path / "train")
    write_folder(tmp_path / "val", per_class=2, start=100)
    bee = tmp_path / "train" / "bee"
    (bee / "b" / "a").mkdir(parents=True)
    Image.fromarray(pixels(7)).convert("L").save(bee / "b" / "grey.PNG")
    Image.fromarray(pixels(8)).save(bee / "b" / "lossy.webp")
    Image.fromarray(pixels(9)).convert("CMYK").save(bee / "b" / "a" / "print.jpeg")
    (bee / "notes.txt").write_text("no image")
    (tmp_path / "train" / "list.csv").write_text("no class")
    data = folders.read(tmp_path)
    assert (len(data.train), len(data.val)) == (15, 6)
    for part, source in (("train", data.train), ("val", data.val)):
        oracle = ImageFolder(tmp_path / part)
        assert data.classes == tuple(oracle.classes)
        assert_is_torchvisions(source, oracle)


def test_tiny_imagenet_is_read_like_torchvision_does(tmp_path: Path, data_folder) -> None:
    folder = data_folder("tiny_imagenet20")
    load = runpy.run_path(str(folder / "read_tiny.py"))["load"]
    for part in ("train", "val"):
        jpegs, labels, classes, _, names = load(folder / f"tiny20_{part}.npz")
        for jpeg, label, name in list(zip(jpegs, labels, names, strict=True))[::10]:
            file = tmp_path / part / str(classes[label]) / str(name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(jpeg)
    data = open_data(tmp_path)
    assert (len(data.train), len(data.val), len(data.classes)) == (1000, 100, 20)
    assert_is_torchvisions(data.train, ImageFolder(tmp_path / "train"), every=9)
    assert_is_torchvisions(data.val, ImageFolder(tmp_path / "val"), every=9)


@pytest.mark.parametrize("name", ["validation", "valid", "test"])
def test_names_of_a_folder_s_validation_part(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path / "train")
    write_folder(tmp_path / name, per_class=2)
    assert len(folders.read(tmp_path).val) == 6


def test_a_missing_image_is_reported_as_damaged(tmp_path: Path) -> None:
    write_folder(tmp_path / "folder")
    write_tar(tmp_path / "tar" / "0.tar", samples(range(6)))
    write_parquet(tmp_path / "parquet" / "0.parquet", range(6))
    for name, module in (("folder", folders), ("tar", shards), ("parquet", parquet)):
        source = module.read(tmp_path / name).train
        shutil.rmtree(tmp_path / name)
        with pytest.raises(BadImage, match=rf"{name}\S*.*: .*No such file") as caught:
            source.sample(3)
        assert "\n" not in str(caught.value)


def test_cifar_s_folder_can_be_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_cifar(tmp_path))
    assert open_data(".").format == "cifar"


def as_is(image: Image.Image, _: np.random.Generator) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_workers_read_files_that_their_parent_has_opened(tmp_path: Path, kind: str) -> None:
    if kind == "tar":
        write_tar(tmp_path / "0.tar", samples(range(48)))
        source: Source = shards.read(tmp_path).train
    else:
        write_parquet(tmp_path / "0.parquet", range(48))
        source = parquet.read(tmp_path).train
    source.sample(0)
    for batch in batches(source, Classified(as_is), Loading(batch=4, workers=2)):
        for image, number in zip(batch.tensors["images"], batch.indices.tolist(), strict=True):
            assert np.array_equal(image.permute(1, 2, 0).numpy(), pixels(number))


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("train/0.tar", "val/0.tar"), ("training/0.tar", "validation/0.tar"), ("0.tar", "val/0.tar"),
        ("train_0.tar", "validation_0.tar"), ("0.tar", "test-0.tar"), ("contest.tar", "Val.tar"),
        ("imagenet1k-train-0000.tar", "imagenet1k-validation-00.tar"),
    ],
)  # fmt: skip
def test_parts_of_shards_by_the_names_of_files_and_folders(tmp_path: Path, train: str, val: str) -> None:
    write_tar(tmp_path / train, samples(range(6)))
    write_tar(tmp_path / val, samples(range(6, 9)))
    data = shards.read(tmp_path)
    assert len(data.train) == 6 and data.val is not None and len(data.val) == 3
    assert set(data.files) == {train, val}


def test_a_truncated_tar_is_rejected(tmp_path: Path) -> None:
    """At any length it is one error with the name of the file, never fewer images."""
    shard = write_tar(tmp_path / "0.tar", samples(range(3)))
    content = shard.read_bytes()
    with tarfile.open(shard) as tar:
        used = tar.getmembers()[-1].offset_data + 512
    for length in {*range(0, used, 97), *range(0, used + 1, 512)}:
        shard.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"0\.tar: (truncated|damaged)"):
            shards.read(tmp_path)
    shard.write_bytes(content[: used + 512])
    assert len(shards.read(tmp_path).train) == 3


def test_many_shards_need_few_open_files(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", samples(range(3)))
    for n in range(1, 60):
        shutil.copyfile(tmp_path / "0.tar", tmp_path / f"{n}.tar")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 30, hard))
    try:
        source = shards.read(tmp_path).train
        assert len({source.sample(i).media.pixels().tobytes() for i in range(len(source))}) == 3
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(source) == 180


def test_the_imagenet_sample_is_read_like_tarfile_does(tmp_path: Path, data_folder) -> None:
    folder = data_folder("imagenet_sample")
    for name in ("imagenet_sample400.tar", "classes.txt"):
        (tmp_path / name).symlink_to(folder / name)
    data = shards.read(tmp_path)
    assert data.val is None and len(data.train) == 400 and len(data.classes) == 1000
    assert set(data.train.strata % 5) == {0, 2}
    ids = [line.split("\t")[1] for line in (folder / "classes.txt").read_text().splitlines()]
    with tarfile.open(folder / "imagenet_sample400.tar") as tar:
        for i in range(0, 400, 16):
            name = data.train.names[i]
            assert ids[data.train.strata[i]] == name.removesuffix(".jpg")
            theirs = Image.open(tar.extractfile(name)).convert("RGB")
            assert np.array_equal(np.asarray(data.train.sample(i).media), np.asarray(theirs))


def test_a_missing_parquet_file_is_detected_by_the_count_in_the_names(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-00000-of-00003.parquet", range(6))
    write_parquet(tmp_path / "train-00002-of-00003.parquet", range(6, 12))
    with pytest.raises(UserError, match=r"train-00001-of-00003\.parquet: missing, one of 3"):
        parquet.read(tmp_path)
    write_parquet(tmp_path / "train-00001-of-00003.parquet", range(12, 18))
    assert len(parquet.read(tmp_path).train) == 18


@pytest.mark.parametrize("kind", [pa.large_binary(), pa.binary()])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_kinds_of_binary_and_compression(tmp_path: Path, kind: pa.DataType, compression: str) -> None:
    cells = [{"bytes": encoded(n), "path": None} for n in range(4)]
    images = pa.array(cells, pa.struct({"bytes": kind, "path": pa.string()}))
    table = pa.table({"img": images, "label": pa.array([0, 1, 0, 1], pa.int8())})
    pq.write_table(table, tmp_path / "train.parquet", compression=compression)
    source = parquet.read(tmp_path).train
    assert all(np.array_equal(np.asarray(source.sample(n).media), pixels(n)) for n in range(4))


def test_row_groups_are_read_once_while_they_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / "train.parquet", range(12), rows_per_group=3)
    groups = []
    read_group = pq.ParquetFile.read_row_group

    def counted(self, group, **options):
        groups.append(group)
        return read_group(self, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    source = parquet.read(tmp_path).train
    for index in (0, 5, 11, 1, 4, 9, 7):
        source.sample(index)
    assert groups == [0, 1, 3, 2]
