"""Labels of tar shards and Parquet: the same rules in both, checked against what was written."""

import io
import json
import subprocess
import tarfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_files import encoded, pixels, refused, write_tar
from rescale.data import open_data


def write_shard(folder: Path, end: str, contents: Sequence[bytes]) -> None:
    members = []
    for n, content in enumerate(contents):
        members += [(f"{n:04d}.png", encoded(n)), (f"{n:04d}{end}", content)]
    write_tar(folder / "a.tar", members)


def as_cls(folder: Path, labels: Sequence[Any]) -> None:
    write_shard(folder, ".cls", [str(label).encode() for label in labels])


def as_json(folder: Path, labels: Sequence[Any]) -> None:
    write_shard(folder, ".json", [json.dumps({"label": label}).encode() for label in labels])


def as_parquet(folder: Path, labels: Any) -> None:
    images = [{"bytes": encoded(n), "path": None} for n in range(len(labels))]
    pq.write_table(pa.table({"image": images, "label": labels}), folder / "a.parquet")


Write = Callable[[Path, Any], None]
WRITERS = [as_cls, as_json, as_parquet]


def counts(folder: Path) -> dict[str, int]:
    data = open_data(folder)
    return dict(Counter(data.classes[k] for source in (data.train, data.val) for k in source.strata.tolist()))


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("kinds", [
    ("1", "2", "3", "none"), ("10", "2", "3", "4", "5", "6", "7", "8", "9", "A", "J", "K", "Q"),
    tuple("123456789ABC"), ("0", "1", "cat"), ("00", "01", "02"), ("000", "007", "100"), ("-1", "cat"),
    ("1.5", "2"), ("b c", "ä"), ("10-20", "20-30"), ("0", "1", "2"), ("Mild", "None"), ("1st", "2"),
])  # fmt: skip
def test_each_text_is_a_class_of_its_own(write: Write, kinds: tuple[str, ...], tmp_path: Path) -> None:
    write(tmp_path, [*kinds] * 3)
    assert open_data(tmp_path).classes == kinds
    assert counts(tmp_path) == dict.fromkeys(kinds, 3)


@pytest.mark.parametrize("write", [as_json, as_parquet])
def test_numbers_and_whole_floats_are_class_numbers(write: Write, tmp_path: Path) -> None:
    for values in ([0, 1, 11], [0.0, 1.0, 11.0]):
        write(tmp_path, values * 2)
        data = open_data(tmp_path)
        assert data.classes == tuple(map(str, range(12)))
        assert "labels are the class numbers 0 to 11; 9 of them have no images" in data.notes
        assert counts(tmp_path) == {"0": 2, "1": 2, "11": 2}


def test_one_number_without_images_is_spoken_of_in_the_singular(tmp_path: Path) -> None:
    as_cls(tmp_path, ["0", "2"] * 2)
    assert "labels are the class numbers 0 to 2; 1 of them has no images" in open_data(tmp_path).notes


def test_numbers_stored_as_numbers_beside_texts_are_names(tmp_path: Path) -> None:
    as_json(tmp_path, [1, 2, "none"] * 2)
    assert counts(tmp_path) == {"1": 2, "2": 2, "none": 2}


def test_booleans_and_bytes_are_texts(tmp_path: Path) -> None:
    for values, wanted in (
        ([True, False], {"True": 2, "False": 2}),
        ([b"cat", b"dog"], {"cat": 2, "dog": 2}),
    ):
        as_parquet(tmp_path, values * 2)
        assert counts(tmp_path) == wanted


@pytest.mark.parametrize("write", [as_json, as_parquet])
@pytest.mark.parametrize("label, words", [
    (None, "has no label (null)"), (float("nan"), "has no label (NaN)"), (1.5, "has the label 1.5"),
    (float("inf"), "has the label inf"),
])  # fmt: skip
def test_what_is_no_label_is_named(write: Write, label: Any, words: str, tmp_path: Path) -> None:
    write(tmp_path, [0.0, 1.0, label])
    refused(tmp_path, "0002.json" if write is as_json else "row 2", words)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("label, words", [
    ("", "has no label (empty)"), ("nan", "has no label ('nan')"), ("NULL", "has no label ('NULL')"),
    ("[0, 2]", "has a list as its label ([0, 2])"), ("[]", "has a list"), ("3 7", "has a list"),
    ("1,2", "has a list"), ("-nan", "has no label ('-nan')"), ("0\n2", r"has a list as its label ('0\n2')"),
    ("cat\ndog", r"has a list as its label ('cat\ndog')"),
])  # fmt: skip
def test_texts_of_missing_labels_and_lists_are_named(
    write: Write, label: str, words: str, tmp_path: Path
) -> None:
    write(tmp_path, ["cat", "dog", label])
    refused(tmp_path, "row 2" if write is as_parquet else "0002.", words)


@pytest.mark.parametrize("write", [as_json, as_parquet])
def test_lists_are_named(write: Write, tmp_path: Path) -> None:
    write(tmp_path, [[0], [1, 2]])
    refused(tmp_path, "0000.json" if write is as_json else "row 0", "has a list as its label ([0])")


@pytest.mark.parametrize("write", WRITERS)
def test_numbers_like_identifiers_are_asked_about(write: Write, tmp_path: Path) -> None:
    ids = [1004, 5301, 88211]
    write(tmp_path, ids * 2)
    refused(tmp_path, "3 labels from 1004 to 88211", f"{tmp_path / 'classes.txt'}")
    (tmp_path / "classes.txt").write_text("88211\n1004\n5301\n")
    assert open_data(tmp_path).classes == ("88211", "1004", "5301")
    assert counts(tmp_path) == {"1004": 2, "5301": 2, "88211": 2}


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("other", ["01", "1.0", "1.", "+1"])
def test_one_number_in_two_spellings_is_refused(write: Write, other: str, tmp_path: Path) -> None:
    write(tmp_path, ["1", other, "2"])
    refused(tmp_path, f"label '{other}' is the same number as label '1'")


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("missing", ["None", "NA", "n/a"])
def test_a_word_for_no_value_beside_numbers_is_asked_about(
    write: Write, missing: str, tmp_path: Path
) -> None:
    write(tmp_path, ["0", "1", missing])
    refused(tmp_path, "row 2" if write is as_parquet else "0002.", f"label '{missing}' stands beside numbers")
    write(tmp_path, ["cat", "1", missing])
    assert counts(tmp_path) == {"cat": 1, "1": 1, missing: 1}
    (tmp_path / "classes.txt").write_text(f"zero\none\n{missing}\n")
    write(tmp_path, ["zero", "one", missing])
    assert counts(tmp_path) == {"zero": 1, "one": 1, missing: 1}


@pytest.mark.parametrize("write", WRITERS)
def test_spaces_around_a_label_do_not_count(write: Write, tmp_path: Path) -> None:
    write(tmp_path, ["cat", "cat ", " dog", "dog"])
    assert counts(tmp_path) == {"cat": 2, "dog": 2}


@pytest.mark.parametrize("write", WRITERS)
def test_declared_classes_are_numbers_or_names(write: Write, tmp_path: Path) -> None:
    def of(names: str, labels: list[str]) -> dict[str, int]:
        (tmp_path / "classes.txt").write_text(names)
        write(tmp_path, labels)
        return counts(tmp_path)

    assert of("ant\nbee\ncow\n", ["2", "0", "2"]) == {"cow": 2, "ant": 1}
    assert of("0\tn1\tant\n1\tn2\tbee\n", ["bee", "bee", "ant"]) == {"bee": 2, "ant": 1}
    assert of("1\n2\n3\n", ["1", "2", "3", "3"]) == {"1": 1, "2": 1, "3": 2}  # 3 can only be a name
    assert of("1\n2\n3\n", ["0", "2", "2"]) == {"1": 1, "3": 2}  # 0 can only be a number
    assert of("nan\nant\n", ["nan", "ant"]) == {"nan": 1, "ant": 1}
    for names, labels, words in (
        ("1\n2\n3\n", ["1", "2"], "label '1' may be the name of a class or the number of class '2'"),
        ("ant\nbee\n", ["ant", "1"], "class '1' is not among the 2 classes"),
        ("ant\nbee\n", ["ant", "wasp"], "class 'wasp' is not among the 2 classes"),
        ("ant\nbee\n", ["0", "2"], "class '2' is not among the 2 classes"),
        ("crane\ncrane\nant\n", ["crane", "ant"], "'crane' is the name of several classes"),
    ):
        (tmp_path / "classes.txt").write_text(names)
        write(tmp_path, labels)
        refused(tmp_path, words)
    (tmp_path / "classes.txt").write_bytes(b"caf\xe9\n")
    refused(tmp_path, "classes.txt: not UTF-8 text")


def hub_table(path: Path, names: list[str] | None, labels: list[int]) -> None:
    as_parquet(path.parent, labels)
    table = pq.read_table(path.parent / "a.parquet")
    (path.parent / "a.parquet").unlink()
    features = {"label": {"names": names}} if names is not None else {}
    pq.write_table(
        table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), path
    )


def test_numbers_in_the_hub_s_tables_are_indices_even_of_names_that_are_numbers(tmp_path: Path) -> None:
    hub_table(tmp_path / "train.parquet", ["1", "2", "3"], [0, 1, 2, 2])
    hub_table(tmp_path / "test.parquet", ["1", "2", "3"], [1])
    data = open_data(tmp_path)
    assert data.train.strata.tolist() == [0, 1, 2, 2] and data.classes == ("1", "2", "3")


@pytest.mark.parametrize("names, words", [
    (["a", "b", ""], "not in both: '', c"), (None, "only one of the two declares names"),
    (["a", "b", "c", "c"], "4 names, not 3"), (["a", "c", "b"], "their order differs"),
])  # fmt: skip
def test_how_declared_names_differ(names: list[str] | None, words: str, tmp_path: Path) -> None:
    hub_table(tmp_path / "train.parquet", ["a", "b", "c"], [0, 1, 2])
    hub_table(tmp_path / "test.parquet", names, [0, 1, 2])
    refused(tmp_path, f"test.parquet: its classes differ from those of train.parquet; {words}")


def test_subsets_of_classified_sources_have_labels(tmp_path: Path) -> None:
    as_cls(tmp_path, ["0", "1"] * 10)
    data: Any = open_data(tmp_path)
    assert data.train.labels.tolist() == data.train.strata.tolist() and len(data.val.labels) == 2


# --- sparse members: the holes of a file are left out of the archive


def sparse_member(name: str, content: bytes, kept: list[tuple[int, int]]) -> tuple[tarfile.TarInfo, bytes]:
    """A member in GNU's sparse format 1.0, of which these pieces (offset, size) are stored."""
    numbers = [len(kept), *(number for piece in kept for number in piece)]
    head = "".join(f"{number}\n" for number in numbers).encode()
    stored = head.ljust(-(-len(head) // 512) * 512, b"\0") + b"".join(content[o : o + n] for o, n in kept)
    info = tarfile.TarInfo(f"GNUSparseFile.0/{name}")
    info.size = len(stored)
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": name,
                        "GNU.sparse.realsize": str(len(content))}  # fmt: skip
    return info, stored


def image_with_a_hole(hole: int) -> tuple[bytes, int]:
    """A PNG with a chunk of zeros that decoders skip, and where the zeros start."""
    file = io.BytesIO()
    Image.fromarray(pixels(3, 64)).save(file, "PNG")
    content = file.getvalue()
    start = content.index(b"IDAT") - 4
    chunk = b"juNk" + bytes(hole)
    chunk = hole.to_bytes(4, "big") + chunk + crc32(chunk).to_bytes(4, "big")
    return content[:start] + chunk + content[start:], start + 8


def test_sparse_members_are_read_whole(tmp_path: Path) -> None:
    content, start = image_with_a_hole(5000)
    kept = [(0, start), (start + 5000, len(content) - start - 5000)]
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for n in range(2):
            info, stored = sparse_member(f"{n}.png", content, kept)
            tar.addfile(info, io.BytesIO(stored))
            info = tarfile.TarInfo(f"{n}.cls")
            info.size = 1
            tar.addfile(info, io.BytesIO(str(n).encode()))
    with tarfile.open(tmp_path / "a.tar") as tar:
        member = tar.getmember("0.png")
        stored_file = tar.extractfile(member)
        assert member.issparse() and stored_file and stored_file.read() == content  # the test's own check
    for _ in range(2):  # from the file, and from the cached index
        source = open_data(tmp_path).train
        assert source.sample(0).media.pixels().tobytes() == pixels(3, 64).tobytes()


@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_sparse_members_that_tar_writes(form: str, tmp_path: Path) -> None:
    content, start = image_with_a_hole(1 << 20)
    with (tmp_path / "0.png").open("wb") as file:
        file.write(content[:start])
        file.seek(1 << 20, io.SEEK_CUR)
        file.write(content[start + (1 << 20) :])
    (tmp_path / "0.cls").write_text("0")
    shard = tmp_path / "a.tar"
    make = ["tar", "-C", str(tmp_path), "-S", "-cf", str(shard), f"--format={form}", "0.png", "0.cls"]
    if subprocess.run(make, capture_output=True, check=False).returncode or shard.stat().st_size > 1 << 20:
        pytest.skip("no GNU tar, or no holes in files, here")
    assert open_data(shard).train.sample(0).media.pixels().tobytes() == pixels(3, 64).tobytes()
