"""preprocess.json: round trips, and errors that name the wrong key."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rescale.errors import UserError
from rescale.preprocess import BEFORE, INTERPOLATIONS, ORIENTATIONS, Decoding, Preprocess

GOOD = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1], "resolution": 224}
NUMBERS = st.floats(-10, 10)
POSITIVE = st.floats(1e-6, 10)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.tuples(NUMBERS, POSITIVE), min_size=1, max_size=4),
    resolution=st.integers(1, 2000),
    crop=st.floats(0.01, 1.2),
    interpolation=st.sampled_from(INTERPOLATIONS),
    labels=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5),
    orientation=st.sampled_from(ORIENTATIONS),
    white=st.none() | st.floats(0.5, 1e6),
)
def test_round_trip(tmp_path, values, resolution, crop, interpolation, labels, orientation, white) -> None:
    mean, std = zip(*values, strict=True)
    ranges = None if white is None else {"uint16": (0.0, white), "float32": (-white, white)}
    first = Preprocess(mean, std, resolution, crop, interpolation, tuple(labels), orientation, ranges)
    first.write(tmp_path / "preprocess.json")
    assert Preprocess.read(tmp_path / "preprocess.json") == first


def test_defaults() -> None:
    read = Preprocess.from_json(GOOD)
    assert read == Preprocess((0.5, 0.4, 0.3), (0.2, 0.2, 0.1), 224, 0.875, "bicubic", (), "stored", None)


def test_files_that_do_not_say_how_images_were_decoded() -> None:
    """Those of versions that turned no images; new ones say it."""
    assert Preprocess.from_json(GOOD).decoding == BEFORE
    assert Preprocess((0.5,), (0.5,), 8).decoding == Decoding("exif", {})
    assert Preprocess.from_json(GOOD | {"orientation": "exif", "ranges": {}}).decoding == Decoding("exif", {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": None}, "mean: expected a list of numbers"),
        ({"mean": []}, "mean: expected a list of numbers"),
        ({"mean": "abc"}, "mean: expected a list of numbers"),
        ({"mean": [True, 1, 1]}, "mean: expected a list of numbers"),
        ({"mean": [float("nan"), 1, 1]}, "mean: expected a list of numbers"),
        ({"std": [1, 1]}, "std: 2 values, but mean has 3"),
        ({"std": [1, 0, 1]}, "std: expected values above 0"),
        ({"resolution": 224.0}, "resolution: expected a whole number"),
        ({"resolution": 0}, "resolution: expected a whole number"),
        ({"resolution": True}, "resolution: expected a whole number"),
        ({"crop": 0}, "crop: expected a share"),
        ({"crop": "0.9"}, "crop: expected a share"),
        ({"interpolation": "lanczos"}, "interpolation: expected bicubic, bilinear, tf1-bicubic"),
        ({"interpolation": ["bicubic"]}, "interpolation: expected bicubic"),
        ({"labels": "ab"}, "labels: expected a list of names"),
        ({"labels": [1, 2]}, "labels: expected a list of names"),
        ({"orientation": "up"}, "orientation: expected exif or stored; found 'up'"),
        ({"ranges": {"uint16": [0]}}, "ranges: expected the values of black and white by kind"),
        ({"ranges": {"uint16": [1, 1]}}, "ranges: expected the values of black and white by kind"),
        ({"ranges": [0, 1]}, "ranges: expected the values of black and white by kind"),
        ({"label": []}, "no key 'label'; did you mean 'labels'?"),
    ],
)
def test_errors_name_the_wrong_key(change, message: str, tmp_path: Path) -> None:
    path = tmp_path / "preprocess.json"
    path.write_text(json.dumps(GOOD | change))
    with pytest.raises(UserError) as caught:
        Preprocess.read(path)
    assert len(caught.value.lines) == 1 and str(caught.value).startswith(f"{path}: {message}")


def test_other_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "preprocess.json"
    with pytest.raises(UserError, match="cannot be read"):
        Preprocess.read(path)
    for content, message in ((b"{", "not JSON"), (b"[]", "expected an object"), (b"\xff", "not JSON")):
        path.write_bytes(content)
        with pytest.raises(UserError, match=message):
            Preprocess.read(path)
    path.write_text(json.dumps({"mean": [1]}))
    with pytest.raises(UserError) as caught:
        Preprocess.read(path)
    assert [line.split(": ")[1] for line in caught.value.lines] == ["std is missing", "resolution is missing"]
    with pytest.raises(UserError, match="std: expected values above 0"):
        Preprocess((0.5,), (-1.0,), 8)
