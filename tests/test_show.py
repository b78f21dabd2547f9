"""Pictures of networks: parts sum to the total, tables fit, figures can be opened, errors are clear."""

import io
import json
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from PIL import Image

import rescale
from rescale.cli import main
from rescale.cost import Cost, by_part, cost
from rescale.geometry import layers
from rescale.lookup import names, network
from rescale.network import Conv, Network, Stem, to_yaml
from rescale.report import picture

SCALED = (
    "resnetrs50x0.5+smallstem@32",
    "regnety_500mf-dWr-8.2@200",
    "efficientnet_b0-d-3",
    "resnetrs101-rs-depth-200",
)
PAIRS = [("resnetrs152@256",), ("efficientnet_b0",), ("regnety_500mf", "regnety_500mf_16gf")]


def run(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["rescale", "show", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
        sys.exit(0)
    return ended.value.code or 0


@pytest.mark.parametrize("name", [*names(), *SCALED])
def test_parts_sum_to_the_network(name: str) -> None:
    net = network(name)
    parts = by_part(net)
    assert Cost(*(sum(getattr(part, field) for part in parts) for field in Cost._fields)) == cost(net)
    assert [part.name for part in parts[1:-1]] == [f"stage {i + 1}" for i in range(len(net.stages))]


@pytest.mark.parametrize("name", [*names(), *SCALED])
def test_parts_look_as_the_network_says(name: str) -> None:
    net = network(name)
    stem, *stages, head = by_part(net)
    assert (stem.depth, stem.width) == (len(net.stem.convs), net.stem.convs[-1].width)
    side = net.resolution
    for part, stage in zip(stages, net.stages, strict=True):
        assert (part.depth, part.width, part.stride) == (stage.depth, stage.width, stage.stride)
        assert part.group_width == stage.group_width or (
            stage.group_width is None and part.group_width == part.inner_width
        )
    for part in (stem, *stages):
        side = -(-side // part.stride)
        assert part.size_out == side
    assert (head.width, head.size_out, head.stride) == (net.head.classes, 1, 1)


def test_parts_of_efficientnet_b0() -> None:
    """Values from the paper's Table 1; head and stem counted by hand."""
    stem, *stages, head = by_part(network("efficientnet_b0"))
    assert [part.depth for part in stages] == [1, 2, 2, 3, 3, 4, 1]
    assert [part.width for part in stages] == [16, 24, 40, 80, 112, 192, 320]
    assert [part.size_out for part in stages] == [112, 56, 28, 14, 14, 7, 7]
    assert (stem.macs, stem.params) == (3 * 3 * 3 * 32 * 112 * 112, 3 * 3 * 3 * 32 + 2 * 32)
    assert head.params == 320 * 1280 + 2 * 1280 + 1281 * 1000
    assert head.macs == 320 * 1280 * 7 * 7 + 1281 * 1000
    assert head.activations == 1280 * 7 * 7 + 1000


@pytest.mark.parametrize("name", [*names(), *SCALED])
def test_text_fits_a_terminal(name: str) -> None:
    for room, plain in ((80, True), (80, False), (100, True)):
        text = picture.text([network(name)], plain=plain, line_width=room)
        assert max(map(len, text.splitlines())) <= room
        assert text.isascii() or not plain
        assert "…" not in text and ("Left out" in text) == (room == 80)
        row = next(line for line in text.splitlines() if line.startswith("stage 1"))
        assert row.count("%") == 3


@pytest.mark.parametrize("second", ["efficientnet_b7", "resnetrs420", "regnetx_320", "resnet101x4@320"])
def test_two_networks_fit_beside_each_other(second: str) -> None:
    text = picture.text([network("resnext50_32x4d"), network(second)], line_width=80)
    assert max(map(len, text.splitlines())) <= 80
    heads = [line for line in text.splitlines() if line.startswith("part  ")]
    assert len(heads) == 2 and heads[0] == heads[1]  # the same columns


def test_a_long_name_and_odd_stems_fit() -> None:
    base = network("resnet26")
    stem = Stem((Conv(24, 3, 2), Conv(48, 5)), "max")
    odd = replace(
        base, name="n" * 150, stem=stem, stages=tuple(replace(s, width=20 * s.width) for s in base.stages)
    )
    text = picture.text([odd, odd], line_width=80)
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    assert "2 conv, maxpool" in text


def test_text_says_where_the_cost_is() -> None:
    """ResNet-RS-152 at 256: shares computed from the list of layers."""
    net = network("resnetrs152@256")
    inside = [layer for layer in layers(net) if layer.name.startswith("stages.2.")]
    weights = sum(
        layer.kernel.height**2 * layer.width_in // layer.groups * layer.width_out
        + layer.bias * layer.width_out
        + 2 * layer.norm * layer.width_out
        for layer in inside
        if layer.kind == "conv"
    )
    row = next(
        line for line in picture.text([net], line_width=100).splitlines() if line.startswith("stage 3")
    )
    assert row.split()[:10] == ["stage", "3", "bottleneck", "3x3", "SE", "36", "1024", "256", "256", "2"]
    assert f" {100 * weights / 86_621_576:.1f}% " in row


def test_bars_show_shares() -> None:
    for plain, full in ((False, "█"), (True, "#")):
        for filled in (0, 0.01, 0.5, 0.99, 1):
            bar = picture._bar(filled, 8, plain)
            assert len(bar) == 8
            assert abs(bar.count(full) - 8 * filled) <= 1


def test_ratios_compare_the_second_to_the_first(monkeypatch, capsys) -> None:
    assert run(monkeypatch, "regnety_500mf", "regnety_500mf_16gf") == 0
    last = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("second / first"))
    small, big = cost(network("regnety_500mf")), cost(network("regnety_500mf_16gf"))
    ratios = [float(word.removesuffix("x")) for word in last.split()[3:]]
    expected = [268 / 224, 24 / 17, *(b / a for a, b in zip(small, big, strict=True))]
    assert ratios == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("shown", PAIRS, ids="+".join)
@pytest.mark.parametrize("suffix", [".svg", ".png", ".PNG"])
def test_figures_are_written_and_open(shown, suffix: str, tmp_path: Path, monkeypatch, capsys) -> None:
    path = tmp_path / f"net{suffix}"
    assert run(monkeypatch, *shown, "-o", str(path)) == 0
    assert f"written: {path}" in capsys.readouterr().out
    if suffix == ".svg":
        words = " ".join(ET.parse(path).getroot().itertext())
        for word in (*shown, "stem", "stage 4", "multiply-adds", "channels", "px"):
            assert word in words
    else:
        with Image.open(path) as image:
            image.verify()
            assert image.width > 900 * len(shown)


def test_figures_are_reproducible(tmp_path: Path) -> None:
    nets = [network("resnet26")]
    for name in ("a.svg", "b.svg"):
        picture.draw(nets, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize(
    "shown", [*PAIRS, ("resnet420", "tf_efficientnet_b7"), ("resnet26x4", "regnetx_320")], ids="+".join
)
def test_no_text_hides_another(shown, tmp_path: Path, monkeypatch) -> None:
    from matplotlib.text import Text

    seen, draw = {}, Text.draw

    def record(self, renderer):
        draw(self, renderer)
        if self.get_text().strip():
            seen[self] = self.get_window_extent(renderer)  # the last call counts, when the layout is final

    monkeypatch.setattr(Text, "draw", record)
    picture.draw([network(name) for name in shown], tmp_path / "net.png")
    with Image.open(tmp_path / "net.png") as image:
        wide, high = image.size
    boxes = [(text.get_text(), box) for text, box in seen.items()]
    assert len(boxes) > 80
    assert [a for a, box in boxes if min(box.x0, box.y0) < 0 or box.x1 > wide or box.y1 > high] == []
    assert [
        (a, b)
        for (a, one), (b, two) in combinations(boxes, 2)
        if min(one.x1, two.x1) - max(one.x0, two.x0) > 1 and min(one.y1, two.y1) - max(one.y0, two.y0) > 1
    ] == []


def test_json(monkeypatch, capsys) -> None:
    assert run(monkeypatch, "efficientnet_b0", "resnetrs50@160", "--json") == 0
    first, second = json.loads(capsys.readouterr().out)
    for row, name in ((first, "efficientnet_b0"), (second, "resnetrs50@160")):
        net: Network = network(name)
        assert (row["name"], row["resolution"]) == (name, net.resolution)
        assert len(row["parts"]) == len(net.stages) + 2
        for kind, total in cost(net)._asdict().items():
            assert row[kind] == total == sum(part[kind] for part in row["parts"])
        for part in row["parts"]:
            assert {"name", "depth", "width", "group_width", "stride", "size_out"} <= set(part)


def test_a_network_file(tmp_path: Path, monkeypatch, capsys) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(to_yaml(replace(rescale.network("resnet26"), name="mine")))
    assert run(monkeypatch, str(path)) == 0
    assert capsys.readouterr().out.startswith("mine\n224 x 224 pixels, 8 blocks")


def test_an_output_that_knows_only_ascii(monkeypatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert run(monkeypatch, "resnet26") == 0
    sys.stdout.flush()
    assert b"##" in raw.getvalue()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet26", "-o", "net.pdf"], "net.pdf: a picture's name ends in .svg or .png"),
        (["resnet26", "-o", "net"], "net: a picture's name ends in .svg or .png"),
        (["resnet26", "-o", "no/such/folder/net.svg"], "no/such/folder/net.svg: cannot be written"),
        (["resnet26", "resnet50", "resnet101"], "3 networks: show draws one, or two side by side"),
        (["timm:resnet50"], "timm:resnet50: only rescale's own networks can be drawn"),
        (["resnet26", "python:my.module:net"], "python:my.module:net: only rescale's own networks"),
        (["resnet27"], "no network is named 'resnet27'; did you mean"),
    ],
)
def test_mistakes_are_one_line(arguments, message: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {message}")
    assert printed.err.count("\n") == 1 and not printed.out
    assert not list(tmp_path.iterdir())
