"""rescale scale, rescale search: what they print and write, and their bad inputs one by one."""

import json

import pytest
from typer.testing import CliRunner

from rescale.cli.app import app
from rescale.cli.quantities import quantity
from rescale.cost import cost
from rescale.errors import UserError
from rescale.lookup import network


def run(*words: str) -> str:
    result = CliRunner().invoke(app, list(words))
    if result.exception:
        raise result.exception
    return result.stdout


def test_scale_prints_writes_and_says_what_was_reached(tmp_path) -> None:
    out = tmp_path / "big.yaml"
    text = run("scale", "regnety_500mf", "--macs", "4G", "-o", str(out))
    assert "reached 4.01 G (+0.13 %)" in text and "7.942" in text
    net = network(out)
    (row,) = json.loads(run("scale", "regnety_500mf", "--macs", "4G", "--json"))
    assert row["macs"] == cost(net).macs and row["name"] == net.name
    assert row["depths"] == [1, 5, 11, 4] and row["group_widths"] == [8] * 4 and row["factor"] == 7.942
    assert row["wanted"] == 4e9 and row["interval"][0] < 7.942 < row["interval"][1]


def test_scaling_what_was_scaled(tmp_path) -> None:
    run("scale", "efficientnet_b0", "--macs", "4G", "-o", str(tmp_path / "a.yaml"))
    run(
        "scale",
        str(tmp_path / "a.yaml"),
        "--strategy",
        "dwr",
        "--macs",
        "16G",
        "-o",
        str(tmp_path / "b.yaml"),
    )
    assert cost(network(tmp_path / "b.yaml")).macs == pytest.approx(16e9, rel=0.03)


def test_every_strategy_can_be_asked_for() -> None:
    for words in (
        ["--strategy", "compound"], ["--strategy", "fast", "--alpha", "0.6"], ["--strategy", "d1_w8_g8_r1"],
        ["--exponents", "depth=.1,width=.8,resolution=.1,group=.8"],
    ):  # fmt: skip
        (row,) = json.loads(run("scale", "regnety_500mf", "--factor", "4", "--json", *words))
        assert row["macs"] == pytest.approx(4 * cost(network("regnety_500mf")).macs, rel=0.2)
    (row,) = json.loads(
        run("scale", "resnetrs50", "--strategy", "rs", "--epochs", "350", "--macs", "20G", "--json")
    )
    assert row["depths"] == [3, 24, 36, 3] and row["resolution"] == 256


def test_exponents_that_do_not_sum_to_one_are_warned_of() -> None:
    result = CliRunner().invoke(app, ["scale", "regnety_500mf", "--factor", "4", "--exponents", "group=2"])
    assert "sum to 0, not 1" in result.stderr and result.exit_code == 0


def test_table_and_plot(tmp_path) -> None:
    text = run("scale", "regnety_4gf", "--table", "--factor", "8")
    line = next(line for line in text.splitlines() if line.startswith("dWr "))
    assert "6.50 >" in line and "3.48 >" in line  # 8 ^ 0.9 and 8 ^ 0.6
    assert max(map(len, text.splitlines())) <= 110
    rows = json.loads(run("scale", "regnety_4gf", "--table", "--json"))
    assert {row["strategy"] for row in rows} > {"d", "w", "r", "dWr"}
    run("scale", "regnety_4gf", "--plot", str(tmp_path / "growth.svg"))
    assert "<svg" in (tmp_path / "growth.svg").read_text()


def test_search_writes_a_folder(tmp_path) -> None:
    out = tmp_path / "found"
    text = run("search", "regnety", "--macs", "400M", "--samples", "3", "-o", str(out))
    assert "3 of " in text and len(list(out.glob("*.yaml"))) == 3
    again = json.loads(run("search", "regnety", "--macs", "400M", "--samples", "3", "--json"))
    assert sorted(row["name"] for row in again) == sorted(network(p).name for p in out.iterdir())
    with pytest.raises(UserError, match="is not empty"):
        run("search", "regnety", "--macs", "400M", "-o", str(out))


def test_quantities() -> None:
    assert [quantity(t, "--macs") for t in ("4G", "400M", "1.5k", "2e9", "3b")] == [4e9, 4e8, 1500, 2e9, 3e9]
    with pytest.raises(UserError, match="--macs 4Q"):
        quantity("4Q", "--macs")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["scale", "regnety_500mf"], "give one of --factor"),
        (["scale", "regnety_500mf", "--macs", "four"], "--macs four"),
        (["scale", "regnety_500mf", "--macs", "10k"], "out of reach; the smallest"),
        (["scale", "regnety_500mf", "--macs", "4G", "--strategy", "dWW"], "did you mean"),
        (["scale", "regnety_50mf", "--macs", "4G"], "did you mean"),
        (["scale", "regnety_500mf", "--macs", "4G", "--exponents", "width"], "not of the form"),
        (["scale", "resnetrs50", "--macs", "4G", "--strategy", "rs"], "--epochs"),
        (["scale", "resnetrs50", "--macs", "4G", "--strategy", "rs", "--epochs", "90"], "compare both"),
        (["scale", "efficientnet_b0", "--macs", "4G", "--strategy", "rs-depth"], "four stages"),
        (["scale", "regnety_500mf", "--macs", "4G", "--strategy", "rs-depth"], "narrower inside"),
        (["scale", "resnet50", "--factor", "2", "-o", "a.png"], "a.png: must end in .yaml or .yml"),
        (["scale", "resnet50", "--table", "--plot", "a.pdf"], "a.pdf: must end in .png or .svg"),
        (["scale", "resnet50", "--macs", "0"], "write a number above 0"),
        (["scale", "resnet50", "--macs=-1G"], "write a number above 0"),
        (["scale", "timm:resnet50", "--factor", "2"], "an external model"),
        (["scale", "resnetrs50", "--macs", "4G", "--strategy", "rs-depth", "--alpha", ".5"], "alpha belongs"),
        (
            ["scale", "resnetrs50", "--macs", "4G", "--strategy", "rs-depth", "--exponents", "depth=1"],
            "leave out --strategy rs-depth",
        ),
        (["scale", "resnetrs50", "--macs", "4G", "--strategy", "w", "--exponents", "depth=1"], "leave out"),
        (["scale", "resnetrs50", "--macs", "4G", "--exponents", "depth=1,depth=2"], "depth is given twice"),
        (["scale", "resnetrs50", "--table", "--macs", "4G"], "compare all strategies"),
        (["scale", "resnetrs50", "--macs", "4G", "--epochs", "10"], "belongs to the strategy rs"),
        (
            ["scale", "efficientnet_b0", "--factor", "0.000001", "--strategy", "r"],
            "resolution 4 is too small",
        ),
        (["scale", "regnety_4gf", "--plot", "x.pdf"], "must end in .png or .svg"),
        (["search", "resnet", "--macs", "4G"], "design space"),
        (["search", "regnety"], "give a budget"),
        (["search", "regnety", "--macs", "4G", "--depth", "a..b"], "--depth a..b"),
    ],
)
def test_bad_input_gets_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        run(*words)
    assert message in str(caught.value) and len(caught.value.lines) == 1
