"""Which files of a data folder are read, and that all others are counted."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_files import encoded, pixels, samples, write_folder, write_parquet, write_tar
from rescale.data import DataSpec, open_data, shard_index
from rescale.data.files import EXTENSIONS

COMPANION = bytes.fromhex("0005160700020000") + b"Mac OS X        " + bytes(80)  # what a Mac writes


def passed_over(path: Path) -> list[str]:
    return [note for note in open_data(path).notes if "passed over" in note]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_every_ending_is_one_that_pillow_opens(extension: str) -> None:
    assert Image.registered_extensions()[extension] in {*Image.OPEN, "MPO"}  # MPO is opened as JPEG


@pytest.mark.parametrize("extension", [".jfif", ".JPE", ".avif", ".mpo", ".tga", ".jp2", ".Dib"])
@pytest.mark.parametrize("layout", ["folder", "tar"])
def test_images_by_any_of_these_names_are_read(tmp_path: Path, extension: str, layout: str) -> None:
    file = io.BytesIO()
    options = {"save_all": True} if extension == ".mpo" else {}
    Image.fromarray(pixels(0)).save(file, Image.registered_extensions()[extension.lower()], **options)
    if layout == "folder":
        write_folder(tmp_path)
        (tmp_path / "bee" / f"new{extension}").write_bytes(file.getvalue())
    else:
        write_tar(
            tmp_path / "a.tar", [*samples(range(12)), (f"new{extension}", file.getvalue()), ("new.cls", b"1")]
        )
    data = open_data(tmp_path)
    assert len(data.train) + len(data.val) == 13 and not passed_over(tmp_path)
    parts = [(part, i) for part in (data.train, data.val) for i in range(len(part))]
    (part, index) = next((part, i) for part, i in parts if part.key(i).endswith(f"new{extension}"))
    with Image.open(file) as image:
        assert np.array_equal(part.sample(index).media.pixels(), np.array(image.convert("RGB")))


def test_linked_folders_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    write_folder(tmp_path / "data")
    write_folder(tmp_path / "store", per_class=5, start=100)
    (tmp_path / "data" / "ant" / "more").symlink_to(tmp_path / "store" / "ant")
    (tmp_path / "data" / "ant" / "back").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "ant" / "up").symlink_to(tmp_path)
    (tmp_path / "store" / "ant" / "again").symlink_to(tmp_path / "data" / "ant")
    data = open_data(tmp_path / "data")
    assert len(data.train) + len(data.val) == 12 + 5  # other classes' images are no ants
    stated = open_data(DataSpec.of({"train": str(tmp_path / "data")}))
    assert len(stated.train) + len(stated.val) == 12 + 5


def test_a_link_to_nothing_is_a_damaged_image(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "bee" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "bee" / "gone.txt").symlink_to(tmp_path / "nowhere.txt")
    data = open_data(tmp_path)
    assert len(data.train) + len(data.val) == 13
    assert passed_over(tmp_path) == ["passed over: 1 file: 1 .txt (such as bee/gone.txt)"]


def test_whatever_is_not_read_is_counted(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write_folder(tmp_path / part)
    for name in ("train/ant/a.heic", "train/ant/below/b.HEIC", "train/bee/c.heic", "val/bee/boxes.xml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    for name in (
        "README",
        "train/loose.png",
        "train/.DS_Store",
        "val/ant/.hidden/x.png",
        "a",
        "b.md",
        "c.npy",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert passed_over(tmp_path) == [
        "passed over: 11 files: 3 .heic (such as train/ant/a.heic), 2 without an ending (such as README), "
        "2 hidden (such as train/.DS_Store), 1 .md (such as b.md), 1 .npy (such as c.npy), 2 more kinds"
    ]
    manifest = open_data(tmp_path).manifest()
    assert any("3 .heic" in note for note in manifest["notes"])


def test_files_in_folders_that_are_not_used_are_counted(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write_folder(tmp_path / part)
    for name in ("test/0.heic", "test/ant/1.heic", "extra/2.heic", "extra/more/3.txt", "extra/.git/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "extra" / "5.png").write_bytes(encoded(5))
    assert passed_over(tmp_path) == [
        "passed over: extra/ with 1 image",
        "passed over: 5 files: 3 .heic (such as extra/2.heic), 1 hidden (such as extra/.git/4.png), "
        "1 .txt (such as extra/more/3.txt)",
    ]


@pytest.mark.parametrize("write", ["tar", "parquet"])
def test_a_file_that_a_note_names_is_not_counted_again(write: str, tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        if write == "tar":
            write_tar(tmp_path / f"{part}.tar", samples(range(6)))
        else:
            write_parquet(tmp_path / f"{part}.parquet", range(6))
    if write == "parquet":
        pq.write_table(pa.table({"file": ["a.png"]}), tmp_path / "facts.parquet")
        write_tar(tmp_path / "archive.tar", [("a.png", encoded(0))])
    notes = open_data(tmp_path).notes
    assert sum("test." in note for note in notes) == 2 - (write == "parquet") - (write == "tar")
    assert not any("file" in note and ":" in note.partition("passed over: ")[2] for note in notes)


def test_beside_and_inside_tars(tmp_path: Path) -> None:
    members = [*samples(range(12)), ("a.txt", b"x"), ("._0001.png", COMPANION), ("._0001.cls", COMPANION)]
    members += [("__MACOSX/0001.png", COMPANION), ("./0002.npy", b"")]
    shard = write_tar(tmp_path / "train.tar", members)
    with tarfile.open(shard, "a") as tar:
        link = tarfile.TarInfo("linked.png")
        link.type, link.linkname = tarfile.SYMTYPE, "0001.png"
        tar.addfile(link)
    write_tar(tmp_path / "val.tar", samples(range(50, 56)))
    (tmp_path / "._train.tar").write_bytes(COMPANION)
    (tmp_path / "notes.md").write_text("x")
    (tmp_path / "classes.txt").write_text("ant\nbee\ncow\n")
    expected = [
        "train.tar: passed over: 6 files: 3 hidden (such as ._0001.png), 1 .txt (such as a.txt), "
        "1 .npy (such as ./0002.npy), 1 as a link or device (such as linked.png)",
        "passed over: 2 files: 1 hidden (such as ._train.tar), 1 .md (such as notes.md)",
    ]
    assert passed_over(tmp_path) == expected
    assert passed_over(tmp_path) == expected  # from the index files, which are not counted themselves
    assert len(open_data(tmp_path).train) == 12


def test_beside_parquet(tmp_path: Path) -> None:
    write_parquet(tmp_path / "data" / "train-0.parquet", range(30))
    (tmp_path / "data" / "._train-0.parquet").write_bytes(COMPANION)
    (tmp_path / "README.md").write_text("x")
    assert passed_over(tmp_path) == [
        "passed over: 2 files: 1 .md (such as README.md), 1 hidden (such as data/._train-0.parquet)"
    ]


@pytest.mark.parametrize("name", ["__MACOSX", "@eaDir", "lost+found", ".git"])
def test_folders_that_systems_leave_behind_are_no_classes(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path)
    (tmp_path / name / "ant").mkdir(parents=True)
    (tmp_path / name / "ant" / "0.png").write_bytes(encoded(0))
    (tmp_path / "bee" / name).mkdir()
    (tmp_path / "bee" / name / "0.png").write_bytes(encoded(0))
    data = open_data(tmp_path)
    assert data.classes == ("ant", "bee", "cow") and len(data.train) + len(data.val) == 12
    (line,) = passed_over(tmp_path)
    assert line.startswith("passed over: 2 files: 2 hidden (such as ")


def test_tar_shards_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    shard = write_tar(tmp_path / "data" / "a.tar", samples(range(9)))
    shard.parent.chmod(0o555)
    try:
        assert len(shard_index.index(shard).rows) == 9
    finally:
        shard.parent.chmod(0o755)
