"""CIFAR's pickles, tar shards, Parquet: what each format may hold, and the damage that each must notice."""

import hashlib
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100

from data_files import CLASSES, encoded, pixels, refused, samples, write_cifar, write_parquet, write_tar
from rescale.data import BadImage, open_data, shard_index
from rescale.data.source import Source
from rescale.errors import UserError


def held(source: Source) -> list[tuple[bytes, int]]:
    """Pixels and class of each image."""
    return [(source.sample(i).media.pixels().tobytes(), int(source.strata[i])) for i in range(len(source))]


def expected(numbers: range) -> list[tuple[bytes, int]]:
    return [(pixels(n).tobytes(), n % 3) for n in numbers]


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_files_of_the_same_name_have_keys_of_their_own(kind: str, tmp_path: Path) -> None:
    """The keys do not change with the place of the data, nor for files of different names."""
    for folder in ("a", "b"):
        if kind == "tar":
            write_tar(tmp_path / folder / "0.tar", samples(range(15)))
        else:
            write_parquet(tmp_path / folder / "0.parquet", range(15))
    data = open_data(tmp_path)
    keys = {source.key(i) for source in (data.train, data.val) for i in range(len(source))}
    assert len(keys) == 30 and all(key.startswith((f"a/0.{kind}:", f"b/0.{kind}:")) for key in keys)
    (tmp_path / "b" / f"0.{kind}").rename(tmp_path / "b" / f"1.{kind}")
    data = open_data(tmp_path)
    keys = {source.key(i) for source in (data.train, data.val) for i in range(len(source))}
    assert len(keys) == 30 and all(key.startswith((f"0.{kind}:", f"1.{kind}:")) for key in keys)


# --- CIFAR


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("theirs, hundred", [(CIFAR10, False), (CIFAR100, True)])
def test_cifar_is_read_as_torchvision_reads_it(
    theirs: Any, hundred: bool, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_cifar(tmp_path, hundred=hundred, protocol=protocol)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    for spec in (tmp_path, folder):
        data = open_data(spec)
        assert data.classes == CLASSES
        for source, train in ((data.train, True), (data.val, False)):
            wanted = [(image.tobytes(), label) for image, label in theirs(tmp_path, train=train)]
            assert held(source) == wanted


class Evil:
    """Unpickling it would run a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple:
        return os.system, (self.command,)


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_pickle_that_would_run_something_is_refused(name: str, tmp_path: Path) -> None:
    folder = write_cifar(tmp_path)
    ran = tmp_path / "ran"
    (folder / name).write_bytes(pickle.dumps({"data": [], "label_names": Evil(f"touch {ran}")}))
    refused(tmp_path, f"{folder / name}: damaged", "system")
    assert not ran.exists()
    pickle.loads((folder / name).read_bytes())  # the test's own check: this pickle is a dangerous one
    assert ran.exists()


@pytest.mark.parametrize(
    "harmful",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.fill\x93.",
    ],
)
def test_names_off_the_list_are_refused(harmful: bytes, tmp_path: Path) -> None:
    folder = write_cifar(tmp_path)
    (folder / "data_batch_1").write_bytes(harmful)
    refused(tmp_path, "data_batch_1: damaged", "it asks for")


def test_damaged_and_missing_batches_are_named(tmp_path: Path) -> None:
    folder = write_cifar(tmp_path)
    whole = (folder / "data_batch_2").read_bytes()
    for damage in (b"", whole[: len(whole) // 2], bytes(100), b"<html>", pickle.dumps([1]), pickle.dumps({})):
        (folder / "data_batch_2").write_bytes(damage)
        refused(tmp_path, "data_batch_2")
    for content in (
        {"data": np.zeros((4, 3072), np.uint8), "labels": [0, 1, 2]},
        {"data": np.zeros((3, 3072), np.float32), "labels": [0, 1, 2]},
        {"data": np.zeros((3, 100), np.uint8), "labels": [0, 1, 2]},
        {"data": np.zeros((3, 3072), np.uint8), "labels": [0, 1, 3]},
    ):
        (folder / "data_batch_2").write_bytes(pickle.dumps(content))
        refused(tmp_path, "data_batch_2")
    (folder / "data_batch_2").unlink()
    refused(tmp_path, "data_batch_2: missing")


def test_a_folder_with_both_is_not_guessed_at(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    write_cifar(tmp_path, hundred=True)
    refused(tmp_path, "cifar-10-batches-py", "cifar-100-python", "give one of them")


# --- tar shards


@pytest.mark.parametrize("label", ["cls", "text", "json"])
def test_shards_hold_what_was_put_in(label: str, tmp_path: Path) -> None:
    write_tar(tmp_path / "train-0.tar", samples(range(9), label))
    write_tar(tmp_path / "train-1.tar", samples(range(9, 12), label))
    write_tar(tmp_path / "val-0.tar", samples(range(20, 26), label))
    write_tar(tmp_path / "test-0.tar", samples(range(30, 36), label))
    data = open_data(tmp_path)
    assert held(data.train) == expected(range(12)) and held(data.val) == expected(range(20, 26))
    assert data.classes == (CLASSES if label == "text" else ("0", "1", "2"))
    assert data.train.describe(9) == f"{tmp_path / 'train-1.tar'}:0009.png"


def test_shards_in_folders_of_their_own_and_a_list_of_classes(tmp_path: Path) -> None:
    write_tar(tmp_path / "train" / "0.tar", samples(range(9)))
    write_tar(tmp_path / "val" / "0.tar", samples(range(9, 15)))
    (tmp_path / "classes.txt").write_text("0\tn1\tant\n1\tn2\tqueen bee\n2\tn3\tcow\n")
    data = open_data(tmp_path)
    assert data.classes == ("ant", "queen bee", "cow")
    assert held(data.train) == expected(range(9)) and held(data.val) == expected(range(9, 15))


def test_the_class_is_asked_before_the_json_and_captions_are_passed_over(tmp_path: Path) -> None:
    extra = [
        m for n in range(9) for m in ((f"{n:04d}.json", b'{"width": 8}'), (f"{n:04d}.txt", b"a caption"))
    ]
    labelled = [(name, content.replace(b"width", b"label")) for name, content in extra]
    for number, members in enumerate((extra, labelled)):
        shard = write_tar(tmp_path / f"{number}.tar", [*members, ("about.json", b"{}"), *samples(range(9))])
        data = open_data(shard)
        assert data.classes == ("0", "1", "2") and np.bincount(data.train.strata).tolist() == [2, 2, 2]


def test_further_images_of_a_sample_are_passed_over_and_counted(tmp_path: Path) -> None:
    """WebDataset's samples: one name up to the first dot, such as an image and its mask."""
    members = [member for n in range(3) for member in (
        (f"{n}.seg.png", encoded(50 + n)), (f"./x.y/{n}.jpg", encoded(n)), (f"./x.y/{n}.cls", b"%d" % n),
        (f"{n}.png", encoded(n)), (f"{n}.cls", b"%d" % n), (f"{n}.depth.json", b'{"label": 7}'),
    )]  # fmt: skip
    data = open_data(write_tar(tmp_path / "a.tar", members))
    assert sorted(held(data.train) + held(data.val)) == sorted([*expected(range(3)), *expected(range(3))])
    assert (
        data.notes[0]
        == "a.tar: passed over: 3 files: 3 beside the first image of a sample (such as 0.seg.png)"
    )
    own = [("0.png", encoded(0)), ("0.cls", b"0"), ("0.b.png", encoded(1)), ("0.b.cls", b"1")]
    assert held(open_data(write_tar(tmp_path / "a.tar", own)).train) == expected(range(2))


def test_a_shard_may_be_given_by_itself(tmp_path: Path) -> None:
    data = open_data(write_tar(tmp_path / "one.tar", samples(range(30))))
    assert len(data.train) == 27 and len(data.val) == 3 and list(data.files) == ["one.tar"]


def test_names_that_lead_outside_links_and_devices_do_no_harm(tmp_path: Path) -> None:
    outside, shard = tmp_path / "outside.png", tmp_path / "data" / "train.tar"
    members = [(name.replace("0000", "../../outside").replace("0001", str(outside)[:-4]), content)
               for name, content in samples(range(9))]  # fmt: skip
    write_tar(shard, members)
    with tarfile.open(shard, "a") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            info = tarfile.TarInfo(f"strange{kind!r}.png")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    data = open_data(shard.parent)
    assert sorted(held(data.train) + held(data.val)) == sorted(expected(range(9)))
    assert not outside.exists()
    assert {path.name for path in shard.parent.iterdir()} <= {"train.tar", ".train.tar.index.json"}


def test_hard_links_are_read_and_others_counted(tmp_path: Path) -> None:
    """tarfile stores a file that has several names once, as GNU tar does."""
    for name, content in samples(range(6)):
        (tmp_path / name).write_bytes(content)
    for ending in ("png", "cls"):
        os.link(tmp_path / f"0000.{ending}", tmp_path / f"0006.{ending}")
        (tmp_path / f"0007.{ending}").symlink_to(f"0001.{ending}")
    with tarfile.open(tmp_path / "train.tar", "w") as tar:
        for path in sorted(tmp_path.glob("000*")):
            tar.add(path, path.name)
        assert sum(member.islnk() for member in tar.getmembers()) == 2
    data = open_data(tmp_path / "train.tar")
    assert sorted(held(data.train) + held(data.val)) == sorted([*expected(range(6)), *expected(range(1))])
    assert any("2 as a link or device" in note for note in data.notes), data.notes


def test_a_tar_of_class_folders_is_to_be_unpacked(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "train.tar", [(f"{n % 3}/{n}.png", encoded(n)) for n in range(6)])
    with pytest.raises(UserError, match=r"none of its images has a class; .* or unpack it if its folders"):
        open_data(shard)


@pytest.mark.parametrize("where", [0.2, 0.5, 0.9, 0.999])
def test_a_shard_that_is_cut_off_is_refused(where: float, tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "train.tar", samples(range(30)))
    with tarfile.open(shard) as tar:
        last = list(tar)[-1]
        end = last.offset_data + 512
    shard.write_bytes(shard.read_bytes()[: int(where * end)])
    refused(tmp_path, f"{shard}: ", "get the file again")


def test_a_shard_that_is_cut_between_two_images_is_refused(tmp_path: Path) -> None:
    """Here tarfile, and what is built on it, sees a whole file of fewer images."""
    shard = write_tar(tmp_path / "train.tar", samples(range(30)))
    with tarfile.open(shard) as tar:
        third = tar.getmember("0003.png").offset
    shard.write_bytes(shard.read_bytes()[:third])
    with tarfile.open(shard) as tar:
        assert len(tar.getnames()) == 6
    refused(tmp_path, f"{shard}: truncated after 3 images")


@pytest.mark.parametrize("damage", ["header", "joined"])
def test_images_that_tarfile_would_not_reach_are_noticed(damage: str, tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "train.tar", samples(range(30)))
    content = bytearray(shard.read_bytes())
    if damage == "header":
        with tarfile.open(shard) as tar:
            content[tar.getmember("0003.png").offset + 20] ^= 1
    else:
        content = content * 2
    shard.write_bytes(content)
    with tarfile.open(shard) as tar:
        assert len(tar.getnames()) == (6 if damage == "header" else 60)
    refused(tmp_path, f"{shard}: damaged after {3 if damage == 'header' else 30} images")


def test_strange_shards_are_refused(tmp_path: Path) -> None:
    shard = tmp_path / "train.tar"
    for content, words in (
        (b"", "not a tar file"),
        (b"<html>" * 1000, "not a tar file"),
    ):
        shard.write_bytes(content)
        refused(tmp_path, words)
    for members, words in (
        ([("a.txt", b"1")], "holds no image"),
        (
            [("a.png", encoded(0)), ("b.png", encoded(1)), ("b.cls", b"1")],
            "1 image without a class, such as a; add its .cls",
        ),
        ([("a.png", encoded(0)), ("a.cls", b" ")], "a.cls has no label (empty)"),
        ([("a.png", encoded(0)), ("a.cls", b"\xff")], "a.cls: not UTF-8"),
        (
            [("a.png", encoded(0)), ("b.png", encoded(0)), ("b.cls", b"1"), ("c.png", encoded(1))],
            "2 images without a class, such as a; add its .cls",
        ),
        (
            [("a.png", encoded(0)), ("a.cls", b"1"), ("b.heic", b"x"), ("b.cls", b"1")],
            "1 class without an image, such as that of b (passed over: 1 file: 1 .heic (such as b.heic))",
        ),
        (
            [("b.heic", b"x"), ("b.cls", b"1")],
            "holds no images (.jpg, .jpeg, .jpe, .jfif, .mpo, .png, "
            ".apng, .webp, ...) (passed over: 1 file: 1 .heic",
        ),
        ([("a.png", encoded(0))], "none of its images has a class; add NAME.cls"),
        ([("a.png", encoded(0)), ("a.json", b"[1]")], 'a.json: JSON without "label"; the class of its'),
        ([("a.png", encoded(0)), ("a.json", b"{")], "a.json: not JSON in UTF-8; the class of its"),
        (
            [("a.png", encoded(0)), ("a.json", b'{"class": 1, "width": 8}')],
            'a.json: JSON without "label": '
            'its entries are class, width; the class of its image belongs in an entry "label", or in a.cls',
        ),
        ([("a.png", encoded(0)), ("a.jpg", encoded(0)), ("a.cls", b"1")], "two images called a"),
        ([("a.png", encoded(0)), ("a.cls", b"-1")], "label -1"),
        ([("a.png", encoded(0)), ("a.cls", b"99999999999")], "label 99999999999"),
        ([("a.png", encoded(0)), ("a.json", b'{"label": null}')], "a.json has no label (null)"),
        ([("a.png", encoded(0)), ("a.json", b'{"label": NaN}')], "a.json has no label (NaN)"),
        (
            [("a.png", encoded(0)), ("a.json", b'{"label": [1, 2]}')],
            "a.json has a list as its label ([1, 2])",
        ),
        ([("a.png", encoded(0)), ("a.json", b'{"label": 1.5}')], "a.json has the label 1.5"),
    ):
        write_tar(shard, members)
        refused(tmp_path, words)


def test_the_index_is_made_once_and_again_when_the_shard_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = []
    scan = shard_index._scan
    monkeypatch.setattr(shard_index, "_scan", lambda path: scans.append(path) or scan(path))
    shard = write_tar(tmp_path / "a.tar", samples(range(9)))
    first = shard_index.index(shard)
    assert shard_index.index(shard) == first and len(scans) == 1
    write_tar(shard, samples(range(12)))
    assert len(shard_index.index(shard).rows) == 12 and len(scans) == 2
    for strange in ("", "[]", "{}", '{"stamp": 3}', "\x00"):
        (tmp_path / ".a.tar.index.json").write_text(strange)
        assert len(shard_index.index(shard).rows) == 12


def test_a_user_without_a_home_directory_reads_shards(tmp_path: Path, monkeypatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert len(shard_index.index(write_tar(tmp_path / "a.tar", samples(range(9)))).rows) == 9


def test_in_a_read_only_folder_the_index_goes_to_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shard = write_tar(tmp_path / "data" / "a.tar", samples(range(9)))
    shard.parent.chmod(0o555)
    try:
        assert shard_index.index(shard) == shard_index.index(shard)
        assert [path.name for path in shard.parent.iterdir()] == ["a.tar"]
        assert len(list((tmp_path / "cache").rglob("*.json"))) == 1
    finally:
        shard.parent.chmod(0o755)


def test_a_damaged_member_is_named_when_it_is_read(tmp_path: Path) -> None:
    members = [(name, content[:40] if name == "0004.png" else content) for name, content in samples(range(9))]
    write_tar(tmp_path / "train.tar", members)
    write_tar(tmp_path / "val.tar", samples(range(9)))
    with pytest.raises(BadImage, match=r"train\.tar:0004\.png: "):
        open_data(tmp_path).train.sample(4)


# --- Parquet


def test_parquet_holds_what_was_put_in(tmp_path: Path) -> None:
    write_parquet(tmp_path / "data" / "train-00000-of-00002.parquet", range(9))
    write_parquet(tmp_path / "data" / "train-00001-of-00002.parquet", range(9, 12), rows_per_group=2)
    write_parquet(tmp_path / "data" / "validation-00000-of-00001.parquet", range(20, 26))
    write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", range(30, 36))
    data = open_data(tmp_path)
    assert data.classes == CLASSES
    assert held(data.train) == expected(range(12)) and held(data.val) == expected(range(20, 26))
    assert data.train.describe(11).endswith("train-00001-of-00002.parquet:group 1 row 0")


def test_a_change_in_one_of_two_files_of_one_name_changes_the_digest(tmp_path: Path) -> None:
    for part, numbers in (("train", range(12)), ("val", range(20, 26))):
        write_parquet(tmp_path / part / "0000.parquet", numbers)
    before = open_data(tmp_path)
    assert len(before.files) == 2
    for part, numbers in (("train", range(30, 42)), ("val", range(50, 56))):
        kept = (tmp_path / part / "0000.parquet").read_bytes()
        write_parquet(tmp_path / part / "0000.parquet", numbers)
        assert open_data(tmp_path).digest != before.digest
        (tmp_path / part / "0000.parquet").write_bytes(kept)
    assert open_data(tmp_path).digest == before.digest


@pytest.mark.parametrize(
    "name", ["plain_text/train/0000.parquet", "plain_text/train-0.parquet", "all.parquet"]
)
def test_parquet_in_other_places(name: str, tmp_path: Path) -> None:
    write_parquet(tmp_path / name, range(30), classes=None)
    data = open_data(tmp_path)
    assert data.classes == ("0", "1", "2") and len(data.train) == 27
    assert len(open_data(write_parquet(tmp_path / "one.parquet", range(30))).val) == 3


def test_row_groups_beyond_the_limit_are_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rescale.data.parquet_file._CACHE_BYTES", 1)
    source: Any = open_data(write_parquet(tmp_path / "a.parquet", range(30))).train.source
    assert held(source) == expected(range(30))
    assert len(source._cache) == 1
    assert not pickle.loads(pickle.dumps(source))._cache  # workers get a light copy


@pytest.mark.parametrize("where", [0.1, 0.5, 0.9, 0.999])
def test_a_table_that_is_cut_off_is_refused(where: float, tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "train-0.parquet", range(9))
    write_parquet(tmp_path / "test-0.parquet", range(9))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(where * len(whole))])
    refused(tmp_path, f"{path}: truncated, damaged or not a Parquet file")
    path.write_bytes(b"")
    refused(tmp_path, f"{path}: truncated, damaged or not a Parquet file")


def test_damage_inside_a_table_is_named_when_it_is_read(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "train-0.parquet", range(9))
    write_parquet(tmp_path / "test-0.parquet", range(9))
    content = bytearray(path.read_bytes())
    content[4:200] = bytes(196)  # the first page of the first group of images
    path.write_bytes(content)
    source = open_data(tmp_path).train
    with pytest.raises(BadImage, match=r"train-0\.parquet:group 0 row 1: "):
        source.sample(1)
    assert source.sample(8).media.pixels().tobytes() == pixels(8).tobytes()


def test_strange_tables_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "train-0.parquet"
    good = {"image": [{"bytes": encoded(0), "path": ""}] * 3, "label": [0, 1, 0]}
    for change, word in (
        ({"image": None, "pixels": good["image"]}, "no column image or img; its columns are label, pixels"),
        ({"label": None}, "no column label"),
        ({"label": [0, None, 1]}, "row 1 has no label"),
        ({"label": [0, -1, 1]}, "label -1"),
    ):
        columns = {key: value for key, value in {**good, **change}.items() if value is not None}
        pq.write_table(pa.table(columns), path)
        refused(tmp_path, f"{word}")


def test_images_that_are_none_are_named(tmp_path: Path) -> None:
    images = [
        {"bytes": None, "path": "x.png"},
        {"bytes": b"no", "path": None},
        {"bytes": encoded(0), "path": None},
    ]
    table = pa.table({"image": [*images, None], "label": [0, 1, 0, 1]})
    pq.write_table(table, tmp_path / "train-0.parquet")
    write_parquet(tmp_path / "test-0.parquet", range(2), classes=None)
    source = open_data(tmp_path).train
    for index, word in ((0, "no image bytes"), (1, "not an image"), (3, "no image bytes")):
        with pytest.raises(BadImage, match=f"row {index}: {word}"):
            source.sample(index)
    assert source.sample(2).media.pixels().tobytes() == pixels(0).tobytes()


def test_classes_declared_differently_or_without_images_are_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-0.parquet", range(9))
    write_parquet(tmp_path / "test-0.parquet", range(9), classes=("ant", "cow", "bee"))
    refused(tmp_path, "test-0.parquet: its classes differ from those of train-0.parquet; their order differs")
    write_parquet(tmp_path / "test-0.parquet", range(9), classes=("ant", "bee", "wasp"))
    refused(tmp_path, "not in both: cow, wasp")
    for name in ("train-0", "test-0"):
        write_parquet(tmp_path / f"{name}.parquet", range(9), classes=(*CLASSES, "dog"))
    refused(tmp_path, "no training images of class 'dog'")
    for name in ("train-0", "test-0"):
        write_parquet(tmp_path / f"{name}.parquet", range(9), classes=CLASSES[:2])
    refused(tmp_path, "class '2' is not among the 2 classes")


# --- real data


def run_reader(folder: Path, name: str, *arguments: object) -> None:
    subprocess.run([sys.executable, folder / name, *map(str, arguments)], check=True)


@pytest.fixture(scope="session")
def tiny(data_folder: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny_imagenet20 as an image folder."""
    folder, out = data_folder("tiny_imagenet20"), tmp_path_factory.mktemp("tiny")
    for part in ("train", "val"):
        run_reader(folder, "read_tiny.py", folder / f"tiny20_{part}.npz", out / part)
    return out


def test_real_cifar(data_folder: Any, tmp_path: Path) -> None:
    folder = data_folder("cifar10")
    run_reader(folder, "read_cifar10.py", tmp_path)
    data = open_data(tmp_path)
    assert len(data.train) == 50_000 and len(data.val) == 10_000 and data.classes[2] == "bird"
    source: Any = data.train
    assert data.mean == pytest.approx(list(source.pixels.mean((0, 1, 2)) / 255), abs=1e-5)
    assert data.std == pytest.approx(list(source.pixels[::10].std((0, 1, 2)) / 255), abs=5e-3)
    assert (
        hashlib.md5(source.pixels.tobytes()).hexdigest() == "17e2cb5a4119d89a4a13e02b91701bff"
    )  # its README


def test_real_folder(tiny: Path) -> None:
    data = open_data(tiny, minival=0.02)
    assert data.minival is not None
    assert [len(s) for s in (data.train, data.minival, data.val)] == [9800, 200, 1000]
    assert len(data.classes) == 20 and data.classes == tuple(sorted(data.classes))
    for index in range(0, 9800, 500):
        assert data.train.sample(index).media.size == (64, 64)


def test_real_images_as_parquet_and_as_shards(tiny: Path, tmp_path: Path) -> None:
    """The same JPEGs in three layouts are the same images."""
    files = sorted(path for path in (tiny / "val").rglob("*.JPEG") if int(path.stem.split("_")[-1]) % 5 == 0)
    labels = {name: label for label, name in enumerate(sorted({path.parent.name for path in files}))}
    rows = [{"bytes": path.read_bytes(), "path": path.name} for path in files]
    table = pa.table({"image": rows, "label": [labels[path.parent.name] for path in files]})
    (tmp_path / "p").mkdir()
    pq.write_table(table, tmp_path / "p" / "train-0.parquet", row_group_size=50)
    members = [(f"{path.parent.name}/{path.stem}{end}", content) for path in files for end, content in
               ((".jpg", path.read_bytes()), (".cls", path.parent.name.encode()))]  # fmt: skip
    write_tar(tmp_path / "t" / "train-0.tar", members)
    wanted = sorted((Image.open(f).convert("RGB").tobytes(), labels[f.parent.name]) for f in files)
    for layout in ("p", "t"):
        data = open_data(tmp_path / layout)
        assert sorted(held(data.train) + held(data.val)) == wanted


def test_real_shard(data_folder: Any, tmp_path: Path) -> None:
    (tmp_path / "sample.tar").symlink_to(data_folder("imagenet_sample") / "imagenet_sample400.tar")
    data = open_data(tmp_path)
    assert len(data.train) == 400 and data.train.strata[:3].tolist() == [0, 2, 5]
    assert all(data.train.sample(i).media.pixels().shape[2] == 3 for i in range(0, 400, 50))
