"""Small data sets that tests write, in every layout that open_data knows, and how they are refused."""

import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from rescale.data import DataSpec, open_data
from rescale.errors import UserError

CLASSES = ("ant", "bee", "cow")


def refused(spec: str | Path | DataSpec, *words: str) -> None:
    """Assert that opening the data raises an error of one line that holds all words."""
    with pytest.raises(UserError) as caught:
        open_data(spec)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def pixels(number: int, size: int = 8) -> np.ndarray:
    """Noise, uint8 [size, size, 3], different for each number."""
    return np.random.default_rng(number).integers(0, 256, (size, size, 3), dtype=np.uint8)


def encoded(number: int, kind: str = "png") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels(number)).save(file, kind)
    return file.getvalue()


def write_folder(path: Path, per_class: int = 4, start: int = 0, classes: tuple[str, ...] = CLASSES) -> Path:
    """Folder of class folders; image number n is n.png, its pixels are pixels(n)."""
    for label, name in enumerate(classes):
        (path / name).mkdir(parents=True)
        for n in range(start + label * per_class, start + (label + 1) * per_class):
            (path / name / f"{n:04d}.png").write_bytes(encoded(n))
    return path


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def samples(numbers: range, label: str = "cls") -> list[tuple[str, bytes]]:
    """Members of a shard: image n has class n % 3, as a number, a text or in JSON."""
    members = []
    for n in numbers:
        members.append((f"{n:04d}.png", encoded(n)))
        if label == "json":
            members.append((f"{n:04d}.json", json.dumps({"label": n % 3, "width": 8}).encode()))
        else:
            text = CLASSES[n % 3] if label == "text" else str(n % 3)
            members.append((f"{n:04d}.cls", text.encode()))
    return members


def write_parquet(
    path: Path, numbers: range, classes: tuple[str, ...] | None = CLASSES, rows_per_group: int = 3
) -> Path:
    """Image n has class n % 3; with the hub's description of the classes, or without."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": encoded(n), "path": f"{n}.png"} for n in numbers]
    table = pa.table({"image": images, "label": [n % 3 for n in numbers]})
    if classes is not None:
        label = {"names": list(classes), "_type": "ClassLabel"}
        features = {"image": {"_type": "Image"}, "label": label}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=rows_per_group)
    return path


def write_cifar(path: Path, per_file: int = 6, hundred: bool = False, protocol: int = 2) -> Path:
    """torchvision's layout of CIFAR-10 or CIFAR-100: file f, row r holds noise of its own and class r % 3."""
    folder = path / ("cifar-100-python" if hundred else "cifar-10-batches-py")
    folder.mkdir(parents=True)
    files = ["train", "test"] if hundred else [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    key = "fine_labels" if hundred else "labels"
    for number, name in enumerate(files):
        noise = np.random.default_rng(number).integers(0, 256, (per_file, 3072), dtype=np.uint8)
        content = {"data": noise, key: [r % 3 for r in range(per_file)], "coarse_labels": [0] * per_file}
        (folder / name).write_bytes(pickle.dumps(content, protocol=protocol))
    names = {"fine_label_names": list(CLASSES)} if hundred else {"label_names": list(CLASSES)}
    (folder / ("meta" if hundred else "batches.meta")).write_bytes(pickle.dumps(names, protocol=protocol))
    return folder
