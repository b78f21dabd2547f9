"""A run keeps how its images are decoded: in training, on resume, in evaluation, and in preprocess.json."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import rescale
from rescale.data import decode
from rescale.errors import JobError
from rescale.preprocess import BEFORE, Decoding
from rescale.recipes import recipe, with_changes
from rescale.training import Run, Settings, evaluate_folder, recipe_for, resume, train

NET = "resnet2-2x0.125+smallstem@16"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Turned photos and 12-bit images."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for part, count in (("train", 5), ("val", 2)):
        for label, name in enumerate("ab"):
            folder = tmp_path / "images" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                noise = np.random.default_rng(10 * i + label).integers(0, 4096, (20, 30), dtype=np.uint16)
                noise[0, 0] = 4095
                Image.fromarray(noise).save(folder / f"{i}.png")
                Image.fromarray((noise >> 4).astype(np.uint8)).save(folder / f"{i}.jpg", exif=exif)
    return tmp_path / "images"


def go(images: Path, out: Path, *changes: str) -> Run:
    chosen = with_changes(recipe("resnet-rs", epochs=1, batch=4), changes)
    return train(rescale.network(NET), chosen, str(images), out, settings=Settings(threads=1), quiet=True)


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[Decoding]:
    """The decodings by which images are opened."""
    seen: list[Decoding] = []
    rgb = decode.rgb

    def recorded(encoded: bytes, where: str, decoding: Decoding):
        seen.append(decoding)
        return rgb(encoded, where, decoding)

    monkeypatch.setattr("rescale.data.raw.rgb", recorded)
    return seen


def test_a_run_keeps_its_decoding(images: Path, tmp_path: Path, decodings: list[Decoding]) -> None:
    run = go(images, tmp_path / "run")
    expected = Decoding("exif", {"uint16": (0, 4095)})
    stored = json.loads((run.path / "preprocess.json").read_text())
    assert (stored["orientation"], stored["ranges"]) == ("exif", {"uint16": [0, 4095]})
    assert run.preprocess.decoding == expected and run.recipe.orientation == "exif"
    assert decodings and all(decoding == expected for decoding in decodings)
    notes = json.loads((run.path / "data.json").read_text())["notes"]
    assert any(note.startswith("orientation: 14 of 28 images") for note in notes)
    assert any("4095 is white" in note for note in notes)
    assert (
        run.facts["identity"]
        == go(images, tmp_path / "again", "white=0", "orientation=exif").facts["identity"]
    )

    decodings.clear()
    evaluate_folder(run.path)
    assert decodings and all(decoding == expected for decoding in decodings)

    decodings.clear()
    changed = with_changes(recipe_for(run.path), ["orientation=stored", "white=65535"])
    evaluate_folder(run.path, recipe=changed)
    assert {decoding.orientation for decoding in decodings} == {"stored"}
    assert {decoding.ranges["uint16"] for decoding in decodings if decoding.ranges} == {(0, 65535)}


def test_darker_images_than_those_of_the_run_are_told(images: Path, tmp_path: Path) -> None:
    """The range of the run is right for its weights, so 8-bit values in 16 bits come out black."""
    run = go(images, tmp_path / "run")
    for name in "ab":
        for i in range(3):
            (tmp_path / "darker" / name).mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(i).integers(0, 256, (20, 30), dtype=np.uint16)
            Image.fromarray(noise).save(tmp_path / "darker" / name / f"{i}.png")
    notes = evaluate_folder(run.path, str(tmp_path / "darker")).notes
    (line,) = [note for note in notes if "almost black" in note]
    assert "6 of 6 images" in line and "4095 is white" in line
    assert not any("almost black" in note for note in evaluate_folder(run.path).notes)


def test_images_as_stored(images: Path, tmp_path: Path, decodings: list[Decoding]) -> None:
    run = go(images, tmp_path / "run", "orientation=stored", "white=8191")
    assert run.preprocess.orientation == "stored" and run.recipe.orientation == "stored"
    assert run.preprocess.ranges["uint16"] == (0, 8191) and run.recipe.white == 8191
    assert {decoding.orientation for decoding in decodings} == {"stored"}
    other = go(images, tmp_path / "other")
    assert run.facts["identity"] != other.facts["identity"]


def test_runs_of_earlier_versions_mean_as_before(
    images: Path, tmp_path: Path, decodings: list[Decoding]
) -> None:
    run = go(images, tmp_path / "run")
    path = run.path / "preprocess.json"
    values = json.loads(path.read_text())
    del values["orientation"], values["ranges"]
    path.write_text(json.dumps(values))
    assert run.recipe.orientation == "stored"
    for again in (lambda: evaluate_folder(run.path), lambda: resumed(run)):
        decodings.clear()
        again()
        assert decodings and all(decoding == BEFORE for decoding in decodings)


def resumed(run: Run) -> None:
    """Resume a finished run as if it had stopped before its first checkpoint."""
    (run.path / "result.json").unlink()
    shutil.rmtree(run.path / "checkpoints")
    resume(run.path, quiet=True)


def test_open_data_passes_through_train(images: Path, tmp_path: Path) -> None:
    data = rescale.open_data(str(images))
    chosen = recipe("resnet-rs", epochs=1, batch=4, orientation="stored")
    settings = Settings(threads=1)
    run = train(rescale.network(NET), chosen, data, tmp_path / "run", settings=settings, quiet=True)
    assert run.preprocess.decoding == Decoding("stored", {"uint16": (0, 4095)})


def test_an_image_that_does_not_fit_stops_with_advice(images: Path, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"\.png: values from .* do not fit .*--set white="):
        go(images, tmp_path / "run", "white=100")
