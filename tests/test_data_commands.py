"""rescale data info and verify: what they say of whole and of damaged data, and how they end."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_files import encoded, pixels, samples, write_folder, write_parquet, write_tar
from rescale.cli import main


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Runs `rescale data ...`; returns the exit code, what was printed, and errors."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rescale", "data", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0), *capsys.readouterr()

    return run


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write_folder(tmp_path / "train")
    write_folder(tmp_path / "val", per_class=2, start=100)
    Image.new("RGB", (30, 20)).save(tmp_path / "train" / "ant" / "0000.png")
    Image.new("RGB", (9, 3)).save(tmp_path / "train" / "bee" / "0004.png")
    return tmp_path


def test_info(command, tree: Path) -> None:
    code, out, _ = command("info", tree)
    out = " ".join(out.split())  # lines are broken to fit
    assert code == 0
    assert "image folder, 3 classes (ant, bee, cow)" in out
    assert "12 for training, 6 for validation" in out
    assert "9x3 to 30x20 (of 12 sampled)" in out
    assert "mean 0.485 0.456 0.406" in out
    (manifest,) = json.loads(command("info", tree, "--json")[1])
    assert (manifest["format"], manifest["train"], manifest["val"]) == ("image folder", 12, 6)
    assert manifest["sizes"] == {"looked_at": 12, "smallest": [9, 3], "largest": [30, 20]}
    assert manifest["classes"] == ["ant", "bee", "cow"] and manifest["damaged"] == []


def test_info_of_one_class(command, tmp_path: Path) -> None:
    write_folder(tmp_path, classes=("ant",))
    assert "image folder, 1 class (ant)" in " ".join(command("info", tmp_path)[1].split())


def test_info_of_damaged_images(command, tree: Path) -> None:
    (tree / "train" / "ant" / "0001.png").write_bytes(b"no image")
    code, out, _ = command("info", tree)
    out = " ".join(out.split())
    assert code == 0 and "0001.png: not an image" in out and "9x3 to 30x20" in out
    for file in (tree / "train").rglob("*.png"):
        file.write_bytes(b"")
    code, _, err = command("info", tree)
    assert code == 1 and err.startswith("stopped: ") and err.count("\n") == 1


def test_wrong_data_is_a_user_s_mistake(command) -> None:
    for word in ("info", "verify"):
        code, _, err = command(word, "digit")
        assert code == 2 and "'digits'" in err and "Traceback" not in err


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["folder", "tar", "parquet"])
def test_verify_lists_every_damaged_image(command, tmp_path: Path, kind: str, workers: int) -> None:
    if kind == "folder":
        write_folder(tmp_path, per_class=20)
    elif kind == "tar":
        write_tar(tmp_path / "0.tar", samples(range(60)))
    else:
        write_parquet(tmp_path / "0.parquet", range(60), rows_per_group=7)
    code, out, _ = command("verify", tmp_path, "--workers", workers)
    assert code == 0 and "60 images decoded, none damaged" in out

    if kind == "folder":
        (tmp_path / "bee" / "0033.png").write_bytes(encoded(33)[:100])
        (tmp_path / "cow" / "0059.png").write_bytes(b"")
        names = ["0033.png", "0059.png"]
    elif kind == "tar":
        content = samples(range(60))
        content[66], content[118] = (content[66][0], encoded(33)[:80]), (content[118][0], b"")
        write_tar(tmp_path / "0.tar", content)
        names = ["0.tar:0033.png", "0.tar:0059.png"]
    else:
        cells = [encoded(n)[: 80 if n in (33, 59) else None] for n in range(60)]
        table = pa.table({"image": cells, "label": [n % 3 for n in range(60)]})
        pq.write_table(table, tmp_path / "0.parquet", row_group_size=7)
        names = ["0.parquet:group 4 row 5", "0.parquet:group 8 row 3"]
    code, out, err = command("verify", tmp_path, "--workers", workers)
    assert code == 1 and f"\nstopped: {tmp_path}: {len(names)} of 60 images" in err
    assert len(out.splitlines()) == len(names)
    assert all(any(name in line for line in out.splitlines()) for name in names)
    code, out, _ = command("verify", tmp_path, "--json")
    assert code == 1 and len(json.loads(out)[0]["damaged"]) == len(names)


def test_sums_tell_what_decodes_and_is_not_what_it_was(command, tree: Path, tmp_path: Path) -> None:
    sums = tmp_path / "sums.json"
    code, out, _ = command("verify", tree, "--sums", sums)
    assert code == 0 and ", and match" not in out and len(json.loads(sums.read_text())) == 18
    code, out, _ = command("verify", tree, "--sums", sums, "--workers", 2)
    assert code == 0 and "18 images decoded, none damaged; they match" in out
    kept = sums.read_text()

    with Image.open(tree / "val" / "cow" / "0105.png") as image:
        changed = image.convert("RGB")
    changed.putpixel((3, 3), (1, 2, 3))
    changed.save(tree / "val" / "cow" / "0105.png")
    (tree / "train" / "ant" / "0002.png").unlink()
    code, out, _ = command("verify", tree, "--sums", sums)
    assert code == 1 and len(out.splitlines()) == 2
    assert "val/cow/0105.png: pixels differ from" in out and "train/ant/0002.png: in" in out
    assert sums.read_text() == kept

    for content in ("", "[]"):
        sums.write_text(content)
        code, _, err = command("verify", tree, "--sums", sums)
        assert code == 2 and "not a file of checksums" in err


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """A process of its own: standard output is then strict, as in most terminals."""
    write_folder(tmp_path / "data", classes=("caf\udce9", "tea"))
    code = "import sys; from rescale.cli import main; sys.argv = ['rescale', *sys.argv[1:]]; main()"
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    words = [sys.executable, "-c", code, "data", "info", str(tmp_path / "data")]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and r"2 classes (caf\udce9, tea)" in done.stdout


def test_sums_are_of_the_images_as_stored(command, tmp_path: Path) -> None:
    """So sums of versions that turned no images stay valid; verify finds what training would refuse."""
    exif = Image.Exif()
    exif[0x0112] = 6
    grey = np.arange(64, dtype=np.uint16).reshape(8, 8) * 64
    for name in ("ant", "bee"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(3):
            noise = Image.fromarray(pixels(i, size=16)[:9])
            noise.save(tmp_path / "data" / name / f"{i}.jpg", exif=exif)
            Image.fromarray(grey + i).save(tmp_path / "data" / name / f"{i}.png")
    sums = tmp_path / "sums.json"
    assert command("verify", tmp_path / "data", "--sums", sums)[0] == 0
    turned = json.loads(sums.read_text())
    for i, name in enumerate(("ant", "ant", "ant", "bee", "bee", "bee")):
        with Image.open(tmp_path / "data" / name / f"{i % 3}.jpg") as image:
            content = b"16 9 " + np.array(image).tobytes()
        key = next(key for key in turned if key.endswith(f"{name}/{i % 3}.jpg"))
        assert turned[key] == hashlib.blake2b(content, digest_size=12).hexdigest()
    unknown = np.full((8, 8), np.nan, np.float32)
    Image.fromarray(unknown).save(tmp_path / "data" / "ant" / "unknown.tif")
    code, out, _ = command("verify", tmp_path / "data")
    assert code == 1 and "unknown.tif: holds values that are infinite or no numbers" in out
