"""Parts of a data set: recognised by their names in every format, stated by their paths, or asked about."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_files import CLASSES, encoded, refused, samples, write_cifar, write_folder, write_parquet, write_tar
from rescale.data import DataSpec, open_data
from rescale.data.parts import part_of, parts_among

SPELLINGS = (  # training, held out
    ("Training", "Testing"), ("Train", "Val"), ("TRAIN", "TEST"), ("training_set", "test_set"),
    ("seg_train", "seg_test"), ("imgs_train", "imgs_val"), ("train", "Test"), ("train", "dev"),
    ("train", "eval"), ("train", "testing"), ("Training Data", "Validation Data"), ("TrainSet", "TestSet"),
    ("trainset", "valset"), ("train2017", "val2017"), ("cars_train", "cars_test"), ("trn", "tst"),
    ("train-images", "valid-images"), ("training", "evaluation"), ("train", "Holdout"),
)  # fmt: skip


def flat(folder: Path, images: int = 3) -> Path:
    """A folder with images in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(images):
        (folder / f"{n:04d}.png").write_bytes(encoded(n))
    return folder


@pytest.mark.parametrize("kind", ["folder", "tar", "tar in folders", "parquet", "parquet in folders"])
@pytest.mark.parametrize(("train", "held_out"), SPELLINGS)
def test_parts_are_recognised_in_every_spelling_and_format(
    kind: str, train: str, held_out: str, tmp_path: Path
) -> None:
    for name, numbers in ((train, range(9)), (held_out, range(9, 15))):
        if kind == "folder":
            write_folder(tmp_path / name, per_class=len(numbers) // 3, start=numbers[0])
        elif kind.startswith("tar"):
            write_tar(
                tmp_path / (f"{name}/0.tar" if "in" in kind else f"{name}-0.tar"), samples(numbers, "text")
            )
        else:
            write_parquet(tmp_path / (f"{name}/0.parquet" if "in" in kind else f"{name}-0.parquet"), numbers)
    data = open_data(tmp_path)
    assert data.classes == CLASSES
    assert (len(data.train), len(data.val)) == (9, 6)
    (note,) = data.notes
    assert (
        note.index(train) < note.index("for training") < note.index(held_out) < note.index("for validation")
    )


def test_names_that_state_no_part_or_several() -> None:
    for name in (
        "contest",
        "strain",
        "devil",
        "vale",
        "latest",
        "attrain",
        "trainval",
        "train_val",
        "val-test",
        "7",
    ):
        assert part_of(name) == ""
    assert parts_among(["freight_train", "passenger_train", "bus"]) == {}
    assert parts_among(["freight_train", "freight_test"]) == {
        "freight_train": "train",
        "freight_test": "test",
    }


@pytest.mark.parametrize("names", [("train", "car", "bus"), ("test", "control"), ("valid", "invalid"),
                                   ("freight_train", "bullet_train"), ("car", "Train", "val")])  # fmt: skip
def test_a_class_may_be_called_like_a_part(names: tuple[str, ...], tmp_path: Path) -> None:
    write_folder(tmp_path / "whole", classes=names)
    data = open_data(tmp_path / "whole")
    assert data.classes == tuple(sorted(names)) and len(data.train) + len(data.val) == 4 * len(names)
    for part in ("train", "val"):
        write_folder(tmp_path / "parts" / part, classes=names)
    assert open_data(tmp_path / "parts").classes == tuple(sorted(names))


def test_folders_named_after_parts_that_hold_images_are_asked_about(tmp_path: Path) -> None:
    write_folder(tmp_path, classes=("train", "test"))
    refused(tmp_path, "test/ and train/ hold no class folders", f"--train {tmp_path}")
    stated = open_data(DataSpec.of({"train": str(tmp_path)}))
    assert stated.classes == ("test", "train") and (len(stated.train), len(stated.val)) == (6, 2)


def test_two_folders_of_one_part_are_asked_about(tmp_path: Path) -> None:
    for name in ("train", "Training", "val"):
        write_folder(tmp_path / name)
    refused(tmp_path, "Training/ and train/ are the same part", "--train PATH --val PATH")
    (tmp_path / "Training").rename(tmp_path / "valid")
    refused(tmp_path, "val/ and valid/ are the same part", "--train PATH --val PATH")


def test_a_training_part_beside_other_images_is_asked_about(tmp_path: Path) -> None:
    write_folder(tmp_path / "train")
    flat(tmp_path / "bus")
    refused(tmp_path, "is train/ a part or a class, beside bus/", f"--train {tmp_path / 'train'} for a part")
    write_folder(tmp_path / "test")
    data = open_data(tmp_path)  # two parts are no accident
    assert data.classes == CLASSES and "passed over: bus/ with 3 images" in data.notes


def test_folders_without_images_do_not_matter(tmp_path: Path) -> None:
    write_folder(tmp_path / "train")
    (tmp_path / "labels" / "deep").mkdir(parents=True)
    (tmp_path / "labels" / "deep" / "list.txt").touch()
    assert open_data(tmp_path).classes == CLASSES


def test_a_test_part_beside_a_validation_part_is_named_and_not_used(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        write_folder(tmp_path / "folder" / part)
        write_tar(tmp_path / "tar" / f"{part}.tar", samples(range(6)))
        write_parquet(tmp_path / "parquet" / f"{part}.parquet", range(6))
    for kind, name in (("folder", "test/ with 12 images"), ("tar", "test.tar"), ("parquet", "test.parquet")):
        data = open_data(tmp_path / kind)
        assert not any("test" in source.describe(0).split(kind)[1] for source in (data.train, data.val))
        assert any(note.startswith(f"not used: {name}") for note in data.notes)


def test_unlabelled_test_images_are_passed_over_and_counted(tmp_path: Path) -> None:
    """Kaggle's layouts: images lie in test/ or in test/test/."""
    write_folder(tmp_path / "train", per_class=10)
    for folder in ("test", "Test/Test"):
        images = flat(tmp_path / folder, images=5)
        data = open_data(tmp_path)
        assert (len(data.train), len(data.val)) == (27, 3)
        assert any(f"{folder.split('/')[0]}/ with 5 images" in note for note in data.notes)
        assert "no validation part: 3 images held out for it, a tenth of each class" in data.notes
        for image in images.iterdir():
            image.unlink()
    flat(tmp_path / "val")
    refused(tmp_path, "val/ holds no class folders", f"--train {tmp_path / 'train'}")


def test_a_part_may_be_wrapped_in_a_folder_of_its_name(tmp_path: Path) -> None:
    """Kaggle's Intel images: seg_train/seg_train/CLASS, and seg_pred without classes."""
    write_folder(tmp_path / "seg_train" / "seg_train")
    write_folder(tmp_path / "seg_test" / "seg_test", per_class=2)
    flat(tmp_path / "seg_pred" / "seg_pred")
    data = open_data(tmp_path)
    assert data.classes == CLASSES and (len(data.train), len(data.val)) == (12, 6)
    assert "passed over: seg_pred/ with 3 images" in data.notes


def test_parts_inside_of_classes_are_not_trained_on(tmp_path: Path) -> None:
    for name in CLASSES:
        for part in ("train", "test"):
            flat(tmp_path / "a" / name / part)
    refused(tmp_path / "a", "the class folder ant/ holds test/", "test/ant/")
    assert len(open_data(DataSpec.of({"train": str(tmp_path / "a")})).train) == 15
    write_folder(tmp_path / "b" / "flowers" / "train")
    write_folder(tmp_path / "b" / "flowers" / "val")
    refused(tmp_path / "b", f"give {tmp_path / 'b' / 'flowers'} as the data")


def test_files_without_a_part_in_their_names(tmp_path: Path) -> None:
    write_tar(tmp_path / "tar" / "train-0.tar", samples(range(6)))
    write_tar(tmp_path / "tar" / "more-0.tar", samples(range(6)))
    refused(tmp_path / "tar", "train-0.tar is named after its part and more-0.tar is not",
            f"--train {tmp_path / 'tar' / 'train-0.tar'}")  # fmt: skip
    for name in ("0.tar", "train/0.tar", "train/1.tar", "val/0.tar"):
        write_tar(tmp_path / "twice" / name, samples(range(6)))
    where = tmp_path / "twice"
    refused(where, "train/0.tar is named after its part and 0.tar is not",
            f"--train '{where}/train/*.tar' --val {where}/val/0.tar")  # fmt: skip
    write_parquet(tmp_path / "parquet" / "train-0.parquet", range(6))
    write_parquet(tmp_path / "parquet" / "more-0.parquet", range(6))
    refused(tmp_path / "parquet", "train-0.parquet is named after its part and more-0.parquet is not")
    write_tar(tmp_path / "two" / "test" / "train-0.tar", samples(range(6)))
    refused(tmp_path / "two", "test/train-0.tar: its name states test and train")


def test_training_parts_in_several_folders_are_asked_about(tmp_path: Path) -> None:
    """The hub's data sets of several configurations."""
    for folder in ("small", "large"):
        for part in ("train", "test"):
            write_parquet(tmp_path / folder / part / "0.parquet", range(6))
    refused(tmp_path, "large/ and small/ hold files of the parts; give one of them")
    assert len(open_data(tmp_path / "small").train) == 6
    (tmp_path / "large" / "train" / "0.parquet").unlink()
    refused(tmp_path, "small/ and large/ hold files of the parts")


@pytest.mark.parametrize("names", [("train_aug", "val_clean"), ("test_raw", "train_aug", "val_clean"),
                                   ("pre_train", "clean_test", "other_val")])  # fmt: skip
def test_several_parts_with_other_words_beside_them_are_asked_about(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    for name in names:
        write_folder(tmp_path / "parts" / name)
        write_tar(tmp_path / "tar" / f"{name}.tar", samples(range(6)))
        flat(tmp_path / "flat" / name)
    where, train = tmp_path / "parts", next(name for name in names if "train" in name)
    refused(where, "parts or classes? Give ", f"--train {where / train} --val {where}/", f"--train {where} ")
    refused(tmp_path / "flat", "parts or classes?")
    flat(tmp_path / "flat" / "car")
    assert open_data(tmp_path / "flat").classes == tuple(sorted(("car", *names)))
    assert len(open_data(tmp_path / "tar").val) == 6  # files are no classes


@pytest.mark.parametrize("kind", ["folder", "tar", "parquet"])
@pytest.mark.parametrize("held_out", ["te", "va"])
def test_short_words_are_parts_if_that_for_training_and_another_occur(
    kind: str, held_out: str, tmp_path: Path
) -> None:
    for name, numbers in (("tr", range(9)), (held_out, range(9, 15))):
        if kind == "folder":
            write_folder(tmp_path / kind / name, per_class=len(numbers) // 3, start=numbers[0])
        elif kind == "tar":
            write_tar(tmp_path / kind / f"{name}-0.tar", samples(numbers, "text"))
        else:
            write_parquet(tmp_path / kind / f"{name}-0.parquet", numbers)
    data = open_data(tmp_path / kind)
    assert data.classes == CLASSES and (len(data.train), len(data.val)) == (9, 6)
    write_folder(tmp_path / "languages", classes=("te", "en", "hi"))
    assert open_data(tmp_path / "languages").classes == ("en", "hi", "te")


def test_parts_at_any_depth_below_a_class_are_not_trained_on(tmp_path: Path) -> None:
    for version in ("v1", "v2"):
        for part in ("train", "test"):
            write_folder(tmp_path / "deep" / version / "imgs" / part)
    refused(tmp_path / "deep", "v1/ holds imgs/test/, a part by its name", f"give {tmp_path}/deep/v1/imgs as")
    flat(tmp_path / "flat" / "ant" / "a" / "b" / "test")
    flat(tmp_path / "flat" / "bee")
    refused(tmp_path / "flat", "ant/ holds a/b/test/, a part by its name", "(test/ant/)")
    for part in ("train_aug", "val_clean"):
        flat(tmp_path / "words" / "ant" / part)
        flat(tmp_path / "words" / "bee" / part)
    refused(tmp_path / "words", "the class folder ant/ holds val_clean/")
    assert len(open_data(DataSpec.of({"train": str(tmp_path / "flat")})).train) == 4


@pytest.mark.parametrize("parts", [("train", "valid"), ("train",)])
def test_the_folder_of_the_parts_is_named_where_it_is_deeper(parts: tuple[str, ...], tmp_path: Path) -> None:
    inner = tmp_path / "archive" / "real-vs-fake"
    for part in parts:
        write_folder(inner / part, classes=("real", "fake"))
    refused(tmp_path, f"give {inner} as the data")
    refused(tmp_path / "archive", f"give {inner} as the data")
    assert open_data(inner).classes == ("fake", "real")


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_the_folder_of_shards_is_named_where_it_is_deeper(kind: str, tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b" / "c"
    for part in ("train", "test"):
        if kind == "tar":
            write_tar(inner / part / "0.tar", samples(range(6)))
        else:
            write_parquet(inner / part / "0.parquet", range(6))
    refused(tmp_path, f"give {inner} as the data")
    assert len(open_data(inner).train) == 6


@pytest.mark.parametrize("missing", ["null", "-1", "no column"])
def test_tables_for_tests_without_labels_are_not_used(missing: str, tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-0.parquet", range(30))
    images = [{"bytes": encoded(n), "path": ""} for n in range(3)]
    label = (
        {}
        if missing == "no column"
        else {"label": pa.array([None if missing == "null" else -1] * 3, pa.int64())}
    )
    pq.write_table(pa.table({"image": images, **label}), tmp_path / "test-0.parquet")
    data = open_data(tmp_path)
    assert (len(data.train), len(data.val)) == (27, 3)
    assert any(note.startswith("not used: test-0.parquet") for note in data.notes)


def test_shards_for_tests_without_labels_are_not_used(tmp_path: Path) -> None:
    write_tar(tmp_path / "train.tar", samples(range(30)))
    write_tar(tmp_path / "test.tar", [(f"{n}.png", encoded(n)) for n in range(3)])
    data = open_data(tmp_path)
    assert (len(data.train), len(data.val)) == (27, 3)
    assert data.notes[1] == "not used: test.tar (without labels)"
    for end, content in (("cls", b"-1"), ("json", b'{"label": -1}'), ("json", b'{"label": null}')):
        images = [(f"{n}.png", encoded(n)) for n in range(3)]
        write_tar(tmp_path / "test.tar", [*images, *((f"{n}.{end}", content) for n in range(3))])
        assert open_data(tmp_path).notes == data.notes


def test_advice_for_a_shard_depends_on_its_labels(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write_tar(tmp_path / f"{part}.tar", samples(range(6)))
    test = write_tar(tmp_path / "test.tar", [("0.png", encoded(0))])
    assert "not used: test.tar (without labels)" in open_data(tmp_path).notes
    test.write_bytes(b"cut off")
    note = f"not used: test.tar (rescale eval RUN --val {test} judges a run on it)"
    assert note in open_data(tmp_path).notes


def test_labels_that_follow_all_images_are_labels(tmp_path: Path) -> None:
    """As in `tar cf test.tar *.png *.cls`."""
    members = sorted(samples(range(99)), key=lambda member: member[0].endswith(".cls"))
    write_tar(tmp_path / "both" / "train.tar", samples(range(30)))
    write_tar(tmp_path / "both" / "test.tar", members)
    assert len(open_data(tmp_path / "both").val) == 99
    flat(tmp_path / "beside" / "assets" / "a")
    write_tar(tmp_path / "beside" / "a.tar", members)
    assert open_data(tmp_path / "beside").format == "tar shards"


def test_shards_in_a_folder_of_another_name(tmp_path: Path) -> None:
    for part, numbers in (("train", range(9)), ("val", range(3))):
        write_tar(tmp_path / "shards" / f"{part}.tar", samples(numbers))
    data = open_data(tmp_path)
    assert (data.format, len(data.train), len(data.val)) == ("tar shards", 9, 3)


def test_a_test_part_of_other_classes_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path / "train")
    flat(tmp_path / "test" / "unknown")
    refused(tmp_path, "test/ has other classes (unknown) than training (ant, bee, cow)", "--train PATH")


# --- parts that are stated


def test_stated_parts_are_those_that_names_give(tmp_path: Path) -> None:
    write_folder(tmp_path / "train")
    write_folder(tmp_path / "val", per_class=2)
    whole = open_data(tmp_path)
    parts = open_data(DataSpec.of({"train": str(tmp_path / "train"), "val": str(tmp_path / "val")}))
    assert parts.digest == whole.digest and parts.notes == ()
    assert [parts.val.describe(i) for i in range(6)] == [whole.val.describe(i) for i in range(6)]


def test_stated_parts_of_other_formats_match_by_class_name(tmp_path: Path) -> None:
    write_folder(tmp_path / "folder", classes=("cow", "ant", "bee", "dog"))
    write_tar(tmp_path / "a.tar", samples(range(6), "text"))
    write_parquet(tmp_path / "b.parquet", range(6))
    for file in ("a.tar", "b.parquet"):
        data = open_data(DataSpec.of({"train": str(tmp_path / "folder"), "val": str(tmp_path / file)}))
        assert data.classes == ("ant", "bee", "cow", "dog")
        assert data.val.strata.tolist() == [0, 1, 2, 0, 1, 2]
    data = open_data(DataSpec.of({"train": str(tmp_path / "a.tar"), "val": str(tmp_path / "b.parquet")}))
    assert set(data.files) == {"train/a.tar", "val/b.parquet"}
    refused(
        DataSpec.of({"train": str(tmp_path / "a.tar"), "val": str(tmp_path / "folder")}),
        "class 'dog' is in validation but not in training",
    )


def test_a_validation_part_alone_has_no_training_images(tmp_path: Path) -> None:
    write_folder(tmp_path / "test")
    data = open_data(DataSpec.of({"val": str(tmp_path / "test")}))
    assert (len(data.train), len(data.val)) == (0, 12) and data.classes == CLASSES


def test_stated_parts_that_overlap_or_have_parts_of_their_own_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "all" / "val")
    (tmp_path / "link").symlink_to(tmp_path / "all")
    refused(
        DataSpec.of({"train": str(tmp_path / "all"), "val": str(tmp_path / "link" / "val")}),
        "one lies in the other",
    )
    write_cifar(tmp_path / "cifar")
    refused(DataSpec.of({"train": str(tmp_path / "cifar")}), "CIFAR has its own parts")
    refused(DataSpec.of({"train": "digits"}), "digits: has its own parts")
    refused(DataSpec.of({"train": str(tmp_path / "nothing")}), "nothing: no such data")


def test_a_reference_is_stored_without_what_it_lacks_and_named_by_its_folder() -> None:
    assert DataSpec.of("digits").stored() == {"source": "digits"}
    parts = DataSpec.of({"train": "/data/pets/Training", "val": "/data/pets/Testing"})
    assert parts.stored() == {"train": "/data/pets/Training", "val": "/data/pets/Testing"}
    assert DataSpec.of(parts.stored()) == parts and parts.plain() == parts
    assert parts.name == "pets" and str(parts) == "/data/pets/Training and /data/pets/Testing"
    assert DataSpec.of("a").plain() == str(Path("a").absolute())


# --- which of several formats is read


def archive(path: Path, folder: Path) -> None:
    """The folder as an archive: images without labels."""
    members = [(str(file.relative_to(folder)), file.read_bytes()) for file in sorted(folder.rglob("*.png"))]
    write_tar(path, members)


@pytest.mark.parametrize("layout", ["parts", "classes"])
def test_an_archive_or_a_table_beside_an_image_folder_is_passed_over(layout: str, tmp_path: Path) -> None:
    for name in ("train", "val") if layout == "parts" else ("",):
        write_folder(tmp_path / name, per_class=10)
    archive(tmp_path / "pets.tar", tmp_path)
    pq.write_table(pa.table({"file": ["a.png"], "photographer": ["x"]}), tmp_path / "metadata.parquet")
    (tmp_path / "broken.tar").write_bytes(b"cut off")
    data = open_data(tmp_path)
    assert (data.format, data.classes) == ("image folder", CLASSES)
    assert "passed over: broken.tar and 1 more (tar shards)" in data.notes
    assert "passed over: metadata.parquet (parquet)" in data.notes


@pytest.mark.parametrize("place", ["metadata.parquet", "data/facts.parquet", "deep/er/metadata.parquet"])
def test_a_table_without_images_beside_tables_with_images_is_passed_over(place: str, tmp_path: Path) -> None:
    write_parquet(tmp_path / "data" / "train-0.parquet", range(9))
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"file": ["a.png"]}), tmp_path / place)
    data = open_data(tmp_path)
    assert len(data.train) + len(data.val) == 9 and f"passed over: {place}" in data.notes


def test_images_in_two_formats_are_asked_about(tmp_path: Path) -> None:
    write_folder(tmp_path)
    write_tar(tmp_path / "a.tar", samples(range(6)))
    refused(tmp_path, "a.tar (tar shards) and ant/, bee/, cow/ (image folder)", "--train PATH --val PATH")
    for name in CLASSES:
        (tmp_path / name).rename(tmp_path.parent / f"{tmp_path.name}-{name}")
    write_parquet(tmp_path / "train-0.parquet", range(6))
    refused(tmp_path, "a.tar (tar shards) and train-0.parquet (parquet)")


def test_pictures_beside_shards_are_passed_over(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", samples(range(30)))
    flat(tmp_path / "assets")
    data = open_data(tmp_path)
    assert data.format == "tar shards" and "passed over: assets/ (image folder)" in data.notes


def test_images_of_one_each_leave_nothing_to_validate_on(tmp_path: Path) -> None:
    """It is said before training; see test_training.py for the command."""
    data = open_data(write_tar(tmp_path / "a.tar", samples(range(3))))
    assert len(data.val) == 0 and np.bincount(data.train.strata).tolist() == [1, 1, 1]
