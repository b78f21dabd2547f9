"""open_data: what it recognises, how it splits, what it refuses; batches of every format."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from classified import Classified
from data_files import CLASSES, encoded, pixels, samples, write_cifar, write_folder, write_parquet, write_tar
from rescale.data import Loading, batches, open_data
from rescale.data.folders import Folder
from rescale.data.splits import split
from rescale.errors import UserError
from rescale.recipes import Recipe
from rescale.tasks import task_of


def make_folder(path: Path) -> None:
    write_folder(path / "train", per_class=10)
    write_folder(path / "val", per_class=2, start=100)


def make_tar(path: Path) -> None:
    write_tar(path / "train-0.tar", samples(range(15)))
    write_tar(path / "train-1.tar", samples(range(15, 30)))
    write_tar(path / "val-0.tar", samples(range(100, 106)))


def make_parquet(path: Path) -> None:
    write_parquet(path / "data" / "train-00000-of-00002.parquet", range(15))
    write_parquet(path / "data" / "train-00001-of-00002.parquet", range(15, 30))
    write_parquet(path / "data" / "validation-00000-of-00001.parquet", range(100, 106))


MAKERS: dict[str, Callable[[Path], object]] = {
    "image folder": make_folder,
    "tar shards": make_tar,
    "parquet": make_parquet,
    "cifar": write_cifar,
}


def pixel_tensor(image: Image.Image, rng: np.random.Generator) -> torch.Tensor:
    """The image with noise: what a transform may do."""
    noisy = np.asarray(image) ^ rng.integers(0, 256, np.asarray(image).shape, dtype=np.uint8)
    return torch.from_numpy(noisy).permute(2, 0, 1)


@pytest.mark.parametrize("kind", MAKERS)
def test_each_format_is_recognised_and_batches_are_the_same_for_any_workers(
    kind: str, tmp_path: Path
) -> None:
    MAKERS[kind](tmp_path)
    data = open_data(str(tmp_path))
    assert data.format == kind
    assert len(data.train) == 30 and len(data.val) == 6
    assert np.bincount(data.train.strata).tolist() == [10, 10, 10]
    assert data.train.strata.dtype == np.int64

    def load(workers: int, skip: int = 0) -> list:
        loading = Loading(batch=8, seed=1, epoch=2, workers=workers, skip=skip)
        return list(batches(data.train, Classified(pixel_tensor), loading))

    def same(a: list, b: list) -> bool:
        pairs = zip(a, b, strict=True)
        return all(torch.equal(x.tensors[name], y.tensors[name]) for x, y in pairs for name in x.tensors)

    whole = load(0)
    for other in (load(1), load(2)):
        assert same(whole, other)
    assert same(whole[2:], load(1, skip=2))


@pytest.mark.parametrize("kind", MAKERS)
def test_a_data_set_is_the_same_wherever_it_lies(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Splits and digest follow from names and content, not from the path or how it is written."""
    MAKERS[kind](tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    monkeypatch.chdir(tmp_path)
    opened = [open_data(spec, minival=0.1) for spec in ("here", "./here/", tmp_path / "there")]
    held = [
        [data.minival.key(i) for i in range(len(data.minival))] for data in opened if data.minival is not None
    ]
    assert held[0] == held[1] == held[2] and len(held[0]) == 3
    assert len({data.digest for data in opened}) == 1
    assert opened[0].manifest()["files"]


def test_digits_are_scikit_learns() -> None:
    data = open_data("digits")
    assert data.classes == tuple("0123456789") and len(data.train) + len(data.val) == 1797
    assert 0.19 < len(data.val) / 1797 < 0.21
    assert (np.bincount(data.val.strata) > 30).all()
    shown = {
        tuple(np.asarray(s.sample(i).media)[..., 0].ravel())
        for s in (data.train, data.val)
        for i in range(len(s))
    }
    scans = {tuple(scan.astype(int)) for scan in np.round(load_digits().data * 255 / 16)}
    assert shown == scans
    values = np.stack([np.asarray(data.train.sample(i).media) for i in range(len(data.train))]) / 255
    assert data.mean == pytest.approx(values.mean((0, 1, 2)))
    assert data.std == pytest.approx(values.std((0, 1, 2)))


@pytest.mark.parametrize("kind", ["image folder", "tar shards", "parquet"])
def test_data_of_one_part_is_split_the_same_way_each_time(kind: str, tmp_path: Path) -> None:
    if kind == "image folder":
        write_folder(tmp_path, per_class=20)
    elif kind == "tar shards":
        write_tar(tmp_path / "all.tar", samples(range(60)))
    else:
        write_parquet(tmp_path / "all.parquet", range(60))
    data, again = open_data(tmp_path), open_data(tmp_path)
    assert np.bincount(data.val.strata).tolist() == [2, 2, 2]
    assert np.bincount(data.train.strata).tolist() == [18, 18, 18]
    parts = [[s.describe(i) for i in range(len(s))] for s in (data.train, data.val, again.val)]
    assert not set(parts[0]) & set(parts[1]) and len(set(parts[0] + parts[1])) == 60
    assert parts[1] == parts[2]


def test_minival_is_two_percent_of_each_class_and_stays_when_images_are_added() -> None:
    def keys(images: int) -> set[str]:
        source = Folder(Path(), tuple(f"{i}.png" for i in range(images)), np.arange(images) % 5)
        kept, held = split(source, 0.02, "minival")
        assert len(kept) + len(held) == images and not set(kept.indices) & set(held.indices)
        assert (np.bincount(held.strata) == round(0.02 * images / 5)).all()
        return {held.key(i) for i in range(len(held))}

    before, after = keys(5000), keys(5500)
    assert len(before & after) > 0.8 * len(before)
    assert keys(5000) == before


def test_a_class_of_one_image_keeps_it_for_training(tmp_path: Path) -> None:
    write_folder(tmp_path, per_class=1)
    data = open_data(tmp_path)
    assert len(data.train) == 3 and len(data.val) == 0
    with pytest.raises(UserError, match="none can be held out"):
        open_data(tmp_path, minival=0.02)


def test_other_content_has_another_digest(tmp_path: Path) -> None:
    for kind, make in MAKERS.items():
        make(tmp_path / kind)
    before = {kind: open_data(tmp_path / kind).digest for kind in MAKERS}
    assert len(set(before.values())) == len(MAKERS)
    (tmp_path / "image folder" / "train" / "ant" / "0000.png").write_bytes(encoded(0) + b" ")
    cifar = tmp_path / "cifar" / "cifar-10-batches-py"
    shutil.copy(cifar / "data_batch_2", cifar / "data_batch_1")
    write_tar(tmp_path / "tar shards" / "val-0.tar", [("x.png", encoded(7)), ("x.cls", b"1")])
    write_parquet(tmp_path / "parquet" / "data" / "train-00001-of-00002.parquet", range(16, 31))
    for kind, digest in before.items():
        assert open_data(tmp_path / kind).digest != digest


def refused(path: str | Path, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        data = open_data(path)
        task_of(Recipe(), data).check(data)
    for word in words:
        assert word in str(caught.value)


def test_a_misspelt_word_or_path_gets_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path / "flowers" / "small")
    refused("digit", "digit: no such data", "'digits'")
    refused("flovers", "'flowers'")
    refused(tmp_path / "flovers" / "small", "flovers: no such data", "'flowers'")
    refused("flowers/smal", "'small'")


def test_folders_without_data_are_refused(tmp_path: Path) -> None:
    refused(tmp_path, f"{tmp_path}: is empty")
    (tmp_path / "notes.txt").touch()
    refused(tmp_path, "no data of a known layout")
    refused(tmp_path / "notes.txt", "is a file of another type")
    (tmp_path / "a.png").write_bytes(encoded(0))
    refused(tmp_path, "no class folders")
    (tmp_path / "train").mkdir()
    refused(tmp_path, "train: holds no class folders")


@pytest.mark.parametrize("name", ["images.zip", "IMAGES.TAR.GZ", "train.tgz", "train.tar.bz2", "a.7z"])
def test_packed_archives_are_to_be_unpacked(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    refused(tmp_path / name, f"{name}: is a packed archive; unpack it and give the folder")
    (tmp_path / "README.md").touch()
    refused(tmp_path, f"holds no images but 1 packed archive: unpack {name}")


def test_one_class_is_refused_by_name(tmp_path: Path) -> None:
    write_folder(tmp_path / "folder", classes=("ant",))
    refused(tmp_path / "folder", "1 class only (ant)")
    write_tar(tmp_path / "tar" / "0.tar", [("a.png", encoded(0)), ("a.cls", b"ant")])
    refused(tmp_path / "tar", "1 class only (ant)")


def test_classes_without_images_are_named(tmp_path: Path) -> None:
    make_folder(tmp_path)
    (tmp_path / "train" / "dog").mkdir()
    (tmp_path / "train" / "dog" / "readme.txt").touch()
    (tmp_path / "val" / "dog").mkdir()
    refused(tmp_path, "train: no images in class 'dog'")
    (tmp_path / "train" / "dog" / "a.png").write_bytes(encoded(0))
    refused(tmp_path, "val: no images in class 'dog'")


def test_classes_that_differ_are_named(tmp_path: Path) -> None:
    make_folder(tmp_path / "folder")
    (tmp_path / "folder" / "val" / "cow").rename(tmp_path / "folder" / "val" / "cows")
    refused(tmp_path / "folder", "class 'cows' is in val/ but not in training; did you mean 'cow'?")
    refused(tmp_path / "folder", "class 'cow' is in training but not in val/")
    write_tar(tmp_path / "tar" / "train.tar", [(f"{n}.{e}", encoded(n) if e == "png" else t) for n, t in
              enumerate((b"ant", b"bee")) for e in ("png", "cls")])  # fmt: skip
    write_tar(tmp_path / "tar" / "val.tar", [("a.png", encoded(0)), ("a.cls", b"wasp")])
    refused(tmp_path / "tar", "validation has other classes (wasp) than training (ant, bee)")


def test_validation_without_training_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "folder" / "val")
    refused(tmp_path / "folder", "has val/ but no train/")
    write_tar(tmp_path / "tar" / "val-0.tar", samples(range(6)))
    refused(tmp_path / "tar", "has val-0.tar, but there are none for training", "--train PATH --val PATH")
    write_parquet(tmp_path / "parquet" / "test-0.parquet", range(6))
    refused(tmp_path / "parquet", "has test-0.parquet, but there are none for training")


def test_classes_are_sorted_folders_as_torchvision_has_them(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    write_folder(tmp_path / "train", classes=("b", "A", "a10", "a2"), per_class=3)
    (tmp_path / "train" / "b" / "deeper").mkdir()
    (tmp_path / "train" / "b" / "deeper" / "0.JPEG").write_bytes(encoded(5, "jpeg"))
    (tmp_path / "train" / "b" / "z.txt").touch()
    theirs = ImageFolder(tmp_path / "train")
    data = open_data(tmp_path)
    assert data.classes == tuple(theirs.classes)
    ours = [(s.describe(i), int(s.strata[i])) for s in (data.train, data.val) for i in range(len(s))]
    assert sorted(ours) == sorted(theirs.samples)


def test_hidden_files_are_passed_over_and_animations_are_not(tmp_path: Path) -> None:
    write_folder(tmp_path, classes=CLASSES[:2])
    (tmp_path / ".cache").mkdir()
    (tmp_path / "ant" / "._0000.png").touch()
    Image.fromarray(pixels(0)).save(tmp_path / "ant" / "moving.gif")
    data = open_data(tmp_path)
    assert data.classes == CLASSES[:2] and len(data.train) + len(data.val) == 9


def test_the_digits_held_out_are_those_of_scikit_learns_split() -> None:
    from sklearn.model_selection import train_test_split

    digits, data = load_digits(), open_data("digits")
    parts = train_test_split(np.arange(1797), test_size=360, stratify=digits.target, random_state=0)
    for source, indices in zip((data.train, data.val), map(np.sort, parts), strict=True):
        pixels = np.stack([np.asarray(source.sample(i).media)[..., 0] for i in range(len(source))])
        assert (pixels == np.round(digits.images[indices] * (255 / 16))).all()
        assert (source.strata == digits.target[indices]).all()
