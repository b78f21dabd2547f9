"""The picture of training samples that `rescale data show` writes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from classified import Classified
from rescale.data import BadImage, Data, Loading, open_data
from rescale.data.augment import train_transform
from rescale.data.loading import batches
from rescale.errors import JobError, UserError
from rescale.recipes import Recipe, recipe
from rescale.report import samples
from rescale.report.samples import caption, draw_samples

RECIPE = Recipe(name="mine", augment="randaugment")


@pytest.fixture(scope="module")
def digits() -> Data:
    return open_data("digits")


def test_pictures_are_those_of_training(digits: Data, tmp_path: Path, monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr(samples, "_draw", lambda axis, pixels: drawn.append(pixels))
    draw_samples(digits, RECIPE, 8, 3, tmp_path / "grid.png")
    assert len(drawn) == samples.ROWS * (samples.EPOCHS + 1)
    transform = train_transform(RECIPE, 8)
    first = next(iter(batches(digits.train, Classified(transform), Loading(batch=samples.ROWS, seed=3))))
    for row, index in enumerate(first.indices):
        start = row * (samples.EPOCHS + 1)
        assert np.array_equal(drawn[start], digits.train.sample(int(index)).media)
        assert np.array_equal(drawn[start + 1], first.tensors["images"][row].permute(1, 2, 0))


def test_the_file_is_a_png_and_the_same_each_time(digits: Data, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(samples, "ROWS", 2)
    for name in ("a.png", "b.png"):
        draw_samples(digits, RECIPE, 8, 0, tmp_path / name)
    assert Image.open(tmp_path / "a.png").format == "PNG"
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_captions_say_what_is_done() -> None:
    assert caption(RECIPE, 32) == (
        "random crop of 0.08 to 1 of the image; bicubic; mirrored by 0.5; "
        "randaugment, 2 operations at 10; its constants scaled for small images"
    )
    plain = Recipe(crop="centre", interpolation="bilinear", flip=0.0)
    assert caption(plain, 224) == "centre crop, 0.875 of the shorter side; bilinear; mirrored by 0"
    assert caption(recipe("modern"), 224).endswith(
        "; randaugment-torchvision, 2 operations at 9 +- 0.5, each by 0.5; erased by 0.25"
    )


def test_nowhere_to_write(digits: Data, tmp_path: Path) -> None:
    for out in (tmp_path, tmp_path / "missing" / "grid.png"):
        with pytest.raises(UserError, match=str(out)):
            draw_samples(digits, RECIPE, 8, 0, out)


def test_a_damaged_image_is_named(digits: Data, tmp_path: Path, monkeypatch) -> None:
    def damaged(index: int) -> Image.Image:
        raise BadImage("cat.jpg: cut off")

    monkeypatch.setattr(type(digits.train), "image", lambda self, index: damaged(index))
    with pytest.raises(JobError, match=r"cat\.jpg: cut off"):
        draw_samples(digits, RECIPE, 8, 0, tmp_path / "grid.png")
    assert not list(tmp_path.iterdir())


def test_class_names_that_are_no_text_or_look_like_formulas(tmp_path: Path) -> None:
    classes = ("caf\udce9", "$\\frac{$")
    for number, name in enumerate(classes):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (8, 8), (90 * number, 50 * i, 0)).save(tmp_path / "data" / name / f"{i}.png")
    data = open_data(tmp_path / "data")
    assert data.classes == tuple(sorted(classes))
    draw_samples(data, RECIPE, 8, 0, tmp_path / "grid.png")
    assert Image.open(tmp_path / "grid.png").format == "PNG"
