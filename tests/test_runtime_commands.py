"""rescale calibrate; cost, scale and search by a device file: what they print, and their bad inputs."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import fake_study
from fake_runtime import SETTINGS, runtime
from rescale import search
from rescale.cli.app import app
from rescale.cli.quantities import duration
from rescale.errors import JobError, UserError
from rescale.latency import RuntimeModel, calibration
from rescale.lookup import network


def run(*words: str) -> str:
    result = CliRunner().invoke(app, list(words))
    if result.exception:
        raise result.exception
    return result.stdout


@pytest.fixture
def device(tmp_path: Path) -> str:
    path = tmp_path / "device.json"
    runtime().write(path)
    return str(path)


TINY = {
    "resnet": ("resnet1-1x0.125@32", "resnet2-1x0.25@32"),
    "regnety": ("regnety_002@32", "regnety_004@32"),
}


@pytest.fixture(autouse=True)
def few(monkeypatch) -> None:
    """Searches draw fewer candidates."""
    monkeypatch.setattr(search, "FEWEST", 20)
    monkeypatch.setattr(search, "DRAWS", 1000)


@pytest.fixture
def tiny(monkeypatch) -> None:
    """A calibration of seconds: four networks at 32 pixels."""
    monkeypatch.setattr(calibration, "NETWORKS", TINY)
    monkeypatch.setattr(calibration, "STEPS", 3)
    monkeypatch.setattr(calibration, "BUSY", float("inf"))  # tests run side by side


def calibrate(out: Path, *words: str) -> str:
    return run("calibrate", "--out", str(out), "--batch", "2", "--device", "cpu", "--threads", "1", *words)


def test_a_tiny_calibration_from_end_to_end(tmp_path, tiny) -> None:
    out = tmp_path / "device.json"
    assert "written: " in calibrate(out)
    model = RuntimeModel.read(out)
    assert model.batch == 2 and set(model.coefficients) == {"train", "infer"}
    assert {(point.network, point.mode) for point in model.points} == {
        (name, mode) for names in TINY.values() for name in names for mode in ("train", "infer")
    }
    assert all(min(point.visits) <= point.seconds <= max(point.visits) for point in model.points)
    assert all(len(point.visits) == 3 for point in model.points)
    assert {"device", "threads", "precision", "fast", "date", "torch"} <= model.settings.keys()
    assert model.settings["threads"] == 1 and model.settings["runs_on"] == "cpu"
    assert not list(tmp_path.glob("*.part"))
    (row,) = json.loads(run("cost", "resnet2-1x0.25@32", "--device", str(out), "--force", "--json"))
    assert 0 < row["step_seconds"]["infer"] < 5
    with pytest.raises(UserError, match="exists"):
        calibrate(out)


def test_an_interrupted_calibration_goes_on(tmp_path, tiny, monkeypatch) -> None:
    out, visited = tmp_path / "device.json", []
    whole = calibration._visited

    def two_only(plan, one):
        if len(visited) == 2:
            raise KeyboardInterrupt
        visited.append(one.name)
        return whole(plan, one)

    monkeypatch.setattr(calibration, "_visited", two_only)
    with pytest.raises(JobError, match="repeat the command to continue"):
        calibrate(out, "--mode", "infer")
    part = tmp_path / "device.json.part"
    assert len(part.read_text().splitlines()) == 3
    part.write_text(part.read_text() + '{"visits": [{"netw')  # killed while it wrote
    with pytest.raises(UserError, match="other settings"):
        calibrate(out, "--mode", "both")

    def counted(plan, one):
        visited.append(one.name)
        return whole(plan, one)

    monkeypatch.setattr(calibration, "_visited", counted)
    (row,) = json.loads(calibrate(out, "--mode", "infer", "--json"))
    assert len(visited) == 12 and sorted(visited) == sorted(3 * [n for names in TINY.values() for n in names])
    assert row["errors"]["infer"]["work"]["networks"]["n"] == 4
    assert set(RuntimeModel.read(out).coefficients) == {"infer"}


def test_a_disturbed_visit_is_made_again() -> None:
    def visits(*busy):
        left = iter(busy)
        return lambda: {"others_busy_cores": next(left)}

    for busy, kept in (((0.0, 9), 0.0), ((0.9, None, 9), None), ((0.9, 0.4, 0.6, 0.0), 0.4)):
        assert calibration._undisturbed(visits(*busy), 3) == {"others_busy_cores": kept}


def test_every_network_of_a_calibration_has_a_name_and_its_family() -> None:
    for family, some in calibration.NETWORKS.items():
        for name in some:
            assert network(name).name == name and calibration.family_of(name) == family
    assert calibration.family_of("timm:vit") == "other"


def test_cost_shows_times(device) -> None:
    text = run("cost", "resnet50", "efficientnet_b0@160", "--device", device)
    assert {"train", "infer", "(ms)"} <= set(" ".join(text.split()).split())
    assert "A processor that does not exist" in text and "median error 4.0 %" in " ".join(text.split())
    rows = json.loads(run("cost", "resnet50", "--device", device, "--json"))
    assert rows[0]["step_seconds"]["train"] == pytest.approx(runtime().seconds(network("resnet50"), "train"))
    assert "extrapolated" in run("cost", "resnet50", "--device", device, "--batch", "64")


def test_scale_to_a_latency_of_another_machine_is_not_measured(device, tmp_path) -> None:
    words = [
        "scale",
        "regnety_500mf",
        "--latency",
        "20ms",
        "--device",
        device,
        "-o",
        str(tmp_path / "a.yaml"),
    ]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0 and "another machine" in result.stderr and "does not exist" in result.stderr
    assert "not measured" in result.stdout and "wanted 20.0 ms, predicted" in result.stdout
    assert runtime().seconds(network(tmp_path / "a.yaml")) == pytest.approx(0.02, rel=0.05)


def test_scale_measures_what_it_proposes_on_this_machine(tmp_path, monkeypatch) -> None:
    from rescale import machine
    from rescale.latency import scale

    machine.set_threads(1)
    model, asked = runtime(**(machine.describe() | {"precision": "fp32"})), []
    model.write(tmp_path / "device.json")

    def timed(net, protocol, *_):
        asked.append(protocol)
        return fake_study.timing(net.name, 1.4 * model.seconds(net))

    monkeypatch.setattr(scale, "time_network", timed)
    words = ("scale", "regnety_500mf", "--latency", "20ms", "--device", str(tmp_path / "device.json"))
    (row,) = json.loads(run(*words, "--json"))
    assert len(row["rounds"]) == 2 == len(asked) and row["met"]
    assert row["rounds"][1]["measured_s"] == pytest.approx(0.02, rel=0.05)
    assert {(one.mode, one.batch, one.precision, one.threads) for one in asked} == {("infer", 8, "fp32", 1)}
    text = run(*words)
    assert "round 1: " in text and "round 2: " in text and "measured" in text.splitlines()[-2]
    (row,) = json.loads(run(*words, "--no-measure", "--json", "--mode", "train"))
    assert len(row["rounds"]) == 1 and row["rounds"][0]["measured_s"] is None and len(asked) == 4
    assert row["reached"] == pytest.approx(0.02, rel=0.05)


def test_search_by_latency(device) -> None:
    words = ("search", "regnety", "--latency", "10ms", "--device", device, "--samples", "3")
    rows = json.loads(run(*words, "--json"))
    assert len(rows) == 3 and all(0.005 < row["step_seconds"]["infer"] <= 0.01 for row in rows)
    assert [row["macs"] for row in rows] == sorted((row["macs"] for row in rows), reverse=True)
    result = CliRunner().invoke(
        app, [*words, "--mode", "train", "--params", "4M", "--band", "0.6", "--latency", "30ms"]
    )
    assert "train" in result.stdout and "median error" in result.stdout
    assert "At most 30.0 ms a step, predicted, not measured" in " ".join(result.stdout.split())
    assert "another machine" in result.stderr


def test_search_measures_on_this_machine(tmp_path, monkeypatch) -> None:
    from rescale import machine
    from rescale.latency import scale

    machine.set_threads(1)
    model, asked = runtime(batch=1, **(machine.describe() | {"precision": "fp32", "threads": 1})), []
    model.write(tmp_path / "device.json")

    def timed(net, protocol, *_):
        asked.append(protocol)
        return fake_study.timing(net.name, 0.9 * model.seconds(net))

    monkeypatch.setattr(scale, "time_network", timed)
    out = tmp_path / "nets"
    words = ("search", "regnety", "--latency", "10ms", "--device", str(tmp_path / "device.json"))
    text = run(*words, "--samples", "2", "--out", str(out))
    assert {(one.mode, one.batch, one.precision, one.threads) for one in asked} == {("infer", 1, "fp32", 1)}
    assert "At most 10.0 ms a step, measured" in " ".join(text.split()) and len(list(out.iterdir())) == 2
    assert "--mode infer --batch 1 --threads 1" in " ".join(text.split())  # of the study that follows
    (row, _) = json.loads(run(*words, "--samples", "2", "--json"))
    assert row["measured_seconds"] == pytest.approx(0.9 * row["step_seconds"]["infer"])
    assert row["measured_seconds"] <= 0.01


def test_a_poor_calibration_is_refused_without_force(tmp_path) -> None:
    good, path = runtime(), str(tmp_path / "poor.json")
    assert good.weakness("infer") == good.weakness("train") == ""
    for poor, reason in (
        ({"median": 0.3}, "30 %"),
        ({"spearman": 0.5}, "0.50"),
        ({"spearman": math.nan}, "nan"),
    ):
        wrong = good.errors["infer"]["work"]["networks"]._replace(**poor)
        infer = {**good.errors["infer"], "work": {**good.errors["infer"]["work"], "networks": wrong}}
        replace(good, errors={**good.errors, "infer": infer}).write(Path(path))
        for words in (
            ["cost", "resnet50", "--device", path],
            ["scale", "regnety_500mf", "--latency", "20ms", "--device", path],
            ["search", "regnety", "--latency", "20ms", "--device", path],
        ):
            with pytest.raises(UserError, match=f"too poor to use: infer has .*{reason}") as caught:
                run(*words)
            assert len(caught.value.lines) == 1 and "--force" in str(caught.value)
    assert "infer" in run("cost", "resnet50", "--device", path, "--force")
    run(
        "scale", "regnety_500mf", "--latency", "60ms", "--device", path, "--mode", "train"
    )  # that mode is good


def test_durations() -> None:
    assert [
        duration(text, "--latency") for text in ("8ms", "0.5s", "800us", "1.5 ms", "2µs")
    ] == pytest.approx([0.008, 0.5, 0.0008, 0.0015, 2e-6])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["calibrate", "--mode", "both-of-them"], "did you mean 'both'"),
        (["calibrate", "--precision", "fp8", "--device", "cpu"], "precision 'fp8'"),
        (["calibrate", "--device", "tpu"], "--device tpu"),
        (["calibrate", "--fast", "auto", "--device", "cpu"], "covers one execution mode"),
        (["calibrate", "--out", "no/such/folder/device.json", "--device", "cpu"], "cannot be written"),
        (["cost", "resnet50", "--device", "none.json"], "rescale calibrate --out none.json"),
        (["cost", "resnet50", "--device", "."], "cannot be read"),
        (["scale", "resnet50", "--latency", "8ms"], "go together"),
        (["scale", "resnet50", "--macs", "4G", "--device", "DEVICE"], "go together"),
        (["scale", "resnet50", "--latency", "8", "--device", "DEVICE"], "8ms, 0.5s or 800us"),
        (["scale", "resnet50", "--latency", "0ms", "--device", "DEVICE"], "above 0"),
        (["scale", "resnet50", "--latency", "8ms", "--macs", "4G", "--device", "DEVICE"], "give one of"),
        (["scale", "resnet50", "--latency", "8ms", "--device", "DEVICE", "--mode", "training"], "'train'"),
        (["scale", "resnet50", "--latency", "1us", "--device", "DEVICE"], "out of reach"),
        (["search", "regnety", "--latency", "8ms"], "go together"),
        (["search", "regnety", "--macs", "4G", "--device", "DEVICE"], "go together"),
        (["search", "regnety", "--latency", "fast", "--device", "DEVICE"], "--latency fast"),
        (
            ["search", "regnety", "--latency", "8ms", "--device", "DEVICE", "--mode", "x"],
            "no calibration for x",
        ),
    ],
)
def test_bad_input_gets_one_line(words: list[str], message: str, device: str) -> None:
    with pytest.raises(UserError) as caught:
        run(*(device if word == "DEVICE" else word for word in words))
    assert message in str(caught.value) and len(caught.value.lines) == 1


def test_a_quick_calibration_warns_of_a_busy_machine(tmp_path, tiny, monkeypatch) -> None:
    monkeypatch.setattr(calibration, "BUSY", -1.0)
    words = ["calibrate", "--out", str(tmp_path / "device.json"), "--batch", "2", "--device", "cpu"]
    result = CliRunner().invoke(app, [*words, "--threads", "1", "--mode", "infer", "--quick"])
    assert result.exit_code == 0 and "calibrate again when nothing else runs" in result.stderr
    assert "10 visits" not in result.stderr and "of 2 visits to networks" in result.stderr  # no terminal
    model = RuntimeModel.read(tmp_path / "device.json")
    assert model.settings["visits"] == 1 and SETTINGS.keys() <= model.settings.keys()
