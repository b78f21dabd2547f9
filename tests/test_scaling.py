"""Scaling against the papers' tables, their closed forms, brute force, and properties of any network."""

import itertools
import json
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rescale.cost import cost
from rescale.errors import UserError
from rescale.families.resnet import blocks_of
from rescale.families.schedule import slow_resolution
from rescale.lookup import network
from rescale.models import build
from rescale.network import Network, problems, to_yaml
from rescale.rounding import COMPOUND, NEAREST, compatible, group_width, group_width_jumps
from rescale.scaling import (
    STRATEGIES,
    Strategy,
    analytic,
    fast,
    rule_for,
    scale,
    scale_to,
    scaled,
    solve,
    strategy_of,
)
from rescale.scaling.factor import jumps, rounded
from test_network import any_networks

REFERENCE = Path(__file__).parent.parent.parent / "shared" / "reference"

# Fast and Accurate Model Scaling, Table 8: depths, widths, group width, resolution of the scaled networks
TABLE_8 = {
    "efficientnet_b0_4gf": ((1, 3, 3, 4, 4, 5, 1), (40, 64, 104, 208, 296, 504, 832), 1, 252),
    "efficientnet_b0_16gf": ((1, 3, 3, 4, 4, 6, 1), (72, 112, 192, 376, 528, 904, 1504), 1, 272),
    "regnety_500mf_4gf": ((1, 5, 11, 4), (72, 208, 576, 1600), 8, 248),
    "regnety_500mf_16gf": ((1, 6, 13, 4), (128, 352, 992, 2784), 16, 268),
    "regnety_4gf_16gf": ((2, 7, 18, 2), (168, 336, 896, 2128), 56, 256),
    "regnetz_500mf_4gf": ((1, 5, 11, 9), (40, 96, 240, 592), 8, 248),
    "regnetz_500mf_16gf": ((1, 6, 13, 10), (64, 160, 416, 1016), 16, 268),
    "regnetz_4gf_16gf": ((2, 7, 16, 7), (80, 176, 416, 912), 16, 272),
}
# the fast-scaling paper's tables of growth: parameters and activations as powers of s
GROWTH = {
    "d": (1, 1), "w": (1, 1 / 2), "r": (0, 1), "dw": (1, 3 / 4), "dr": (1 / 2, 1), "wr": (1 / 2, 3 / 4),
    "dwr": (2 / 3, 5 / 6), "dWr": (0.9, 0.6),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE_8)
def test_the_papers_scaled_networks(name: str) -> None:
    net = network(name)
    depths, widths, group, resolution = TABLE_8[name]
    assert tuple(stage.depth for stage in net.stages) == depths
    assert tuple(stage.width for stage in net.stages) == widths
    assert {stage.group_width for stage in net.stages} == {group}
    assert net.resolution == resolution
    ends = {"efficientnet_b0_4gf": (80, 3344), "efficientnet_b0_16gf": (152, 6024)}
    stem, head = ends.get(name, (32, 1000 if "regnetz" in name else 0))
    assert (net.stem.convs[0].width, net.head.width) == (stem, head)


def test_every_published_row_to_the_integer() -> None:
    path = REFERENCE / "fast-scaling-models.json"
    if not path.is_file():
        pytest.skip(f"no {path.name} beside the project")
    rows = [row for row in json.loads(path.read_text()) if row["computed"]]
    assert len(rows) == 30
    for row in rows:
        counted = row["computed"]
        net = network(our_name(row["name"]))
        assert cost(net) == (counted["flops"], counted["params"], counted["acts"]), row["name"]
        printed = row["flops_B"], row["params_M"], row["acts_M"]
        units = (1e9, 1e6, 1e6)
        assert tuple(round(v / u, 1) for v, u in zip(cost(net), units, strict=True)) == printed


def our_name(theirs: str) -> str:
    name = theirs.removeprefix("FAMS/")
    zoo = {"RegNetX-400MF": "regnetx_004", "RegNetX-8.0GF": "regnetx_080", "RegNetY-400MF": "regnety_004",
           "RegNetY-4.0GF": "regnety_040", "RegNetY-16GF": "regnety_160"}  # fmt: skip
    if name in zoo:
        return zoo[name]
    if name.replace("-", "") == "ResNet50":
        return "resnet50"
    if name.replace("-", "") == "ResNeXt50":
        return "resnext50_32x4d"
    return name.lower().replace("->", "_").replace("-", "_")


def test_full_convolutions_stay_full() -> None:
    last = scaled(network("resnet50"), STRATEGIES["dWr"], 4).stages[-1]
    assert (last.width, last.inner(last.width), last.group_width) == (3552, 888, None)
    narrow = scaled(network("resnet50"), strategy_of({"width": 1, "group": 0}), 4)
    assert [stage.group_width for stage in narrow.stages] == [64, 128, 256, 512]  # grouped, as in their code


def test_group_widths_are_theirs() -> None:
    assert [group_width(value) for value in (0.4, 1, 1.5, 2, 2.6, 5.4, 5.6, 11, 12, 20, 28)] == [
        1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32,
    ]  # fmt: skip
    assert compatible(80, 1.0, 120) == (80, 80)  # RegNetX-8.0GF's first stage
    twelve = replace(network("regnety_500mf").stages[0], width=48, group_width=12)
    user = replace(network("regnety_500mf"), stages=(twelve,))
    assert scaled(user, STRATEGIES["d"], 1).stages[0].group_width == 16


@given(st.integers(1, 3000), st.sampled_from([0.25, 0.5, 1.0, 2.0, 4.0]), st.integers(1, 512))
def test_fitting_groups_moves_a_width_by_a_third_at_most(width: int, ratio: float, group: int) -> None:
    width *= 8
    group = group_width(group)
    fitted, g = compatible(width, ratio, group)
    assert int(fitted * ratio) % g == 0
    if ratio <= 1:
        assert abs(fitted - width) <= width / 3 + 1e-9


@pytest.mark.parametrize("name", GROWTH)
def test_growth_is_the_papers(name: str) -> None:
    growth = analytic(STRATEGIES[name])
    assert growth.macs == pytest.approx(1)
    assert (growth.params, growth.activations) == pytest.approx(GROWTH[name])


@given(st.floats(0, 1))
def test_growth_of_any_alpha(alpha: float) -> None:
    growth = analytic(fast(alpha))
    assert growth == pytest.approx((1, (1 + alpha) / 2, (2 - alpha) / 2))


@pytest.mark.parametrize("name", [*GROWTH, "compound"])
def test_real_networks_grow_as_the_tables_say(name: str) -> None:
    base, factor = network("regnety_4gf"), 16
    real = cost(scaled(base, STRATEGIES[name], factor))
    for now, before, exponent in zip(real, cost(base), analytic(STRATEGIES[name]), strict=True):
        assert math.log(now / before, factor) == pytest.approx(exponent, abs=0.09)


@pytest.mark.parametrize("rounding", [NEAREST, COMPOUND])
@given(st.floats(0.3, 4000), st.floats(1.0001, 1.5))
def test_roundings_jump_only_at_their_jumps(rounding, low: float, times: float) -> None:
    high = low * times
    for round_, jumps_of in (
        (rounding.depth, rounding.depth_jumps),
        (rounding.width, rounding.width_jumps),
        (group_width, group_width_jumps),
    ):
        inside = sorted({low, high, *(j for j in jumps_of(low, high) if low < j < high)})
        for start, end in itertools.pairwise(inside):
            if end - start < 1e-9 * end:
                continue  # too close to tell apart
            values = [start + (end - start) * share for share in (0.001, 0.3, 0.7, 0.999)]
            assert len({round_(value) for value in values}) == 1


@st.composite
def small_networks(draw: st.DrawFn) -> Network:
    """Networks of each block, with and without groups, at odd resolutions."""
    names = ["regnety_500mf", "regnetz_500mf", "resnet26", "resnet18", "efficientnet_b0", "resnext26_8x4d"]
    return network(draw(st.sampled_from(names))).at(draw(st.integers(40, 300)))


@settings(max_examples=25, deadline=None)
@given(
    small_networks(),
    st.sampled_from([*STRATEGIES.values(), fast(0.55), Strategy("c", 0.2, 0.7, 0.1, 0.3)]),
    st.floats(0.3, 40),
)
def test_solving_beats_brute_force(base: Network, strategy: Strategy, factor: float) -> None:
    target = cost(base).macs * factor

    def measure(candidate: Network) -> float:
        return cost(candidate).macs

    solved = solve(base, strategy, measure, target)
    assert solved.reached == measure(solved.network) and not problems(solved.network)
    assert cost(scaled(base, strategy, solved.factor)).macs == solved.reached
    low, high = solved.interval
    assert low <= solved.factor * (1 + 1e-9) and solved.factor <= high * (1 + 1e-9)
    best = min(
        abs(measure(candidate) - target)
        for candidate in (rounded(base, strategy, s) for s in np.geomspace(factor / 5, factor * 5, 400))
        if not problems(candidate)
    )
    assert abs(solved.reached - target) <= best


def test_solving_works_where_cost_falls() -> None:
    """RegNetY-4GF falls by 0.85 % at s = 20.7: bisection would stop on the wrong side of it."""
    base = network("regnety_4gf")
    before, after = (cost(scaled(base, STRATEGIES["dWr"], s)).macs for s in (20.6, 20.75))
    costs = [cost(scaled(base, STRATEGIES["dWr"], s)).macs for s in np.linspace(20.4, 21, 400)]
    assert min(np.diff(costs)) < -0.008 * before
    for target in (before, after):
        assert scale_to(base, "dWr", "macs", target).reached == target


@pytest.mark.parametrize(
    ("base", "target", "reached"),
    [
        ("efficientnet_b0", 4e9, 4.014), ("efficientnet_b0", 16e9, 15.978), ("regnety_500mf", 4e9, 4.005),
        ("regnety_500mf", 16e9, 15.994), ("regnetz_500mf", 16e9, 15.937),
    ],
)  # fmt: skip
def test_closest_networks_of_the_specification(base: str, target: float, reached: float) -> None:
    assert round(scale_to(network(base), "dWr", "macs", target).reached / 1e9, 3) == reached


@pytest.mark.parametrize("measure", ["macs", "params", "activations"])
def test_each_measure_can_be_the_budget(measure: str) -> None:
    base = network("efficientnet_b0")
    wanted = 3 * getattr(cost(base), measure)
    assert getattr(cost(scale(base, "dWr", **{measure: wanted})), measure) == pytest.approx(wanted, rel=0.03)


def test_scaling_again_and_names() -> None:
    once = scale(network("regnety_500mf"), "dWr", macs=4e9)
    twice = scale(once, "dWr", macs=16e9)
    assert network(twice.name) == twice
    assert network(yaml.safe_load(to_yaml(twice))) == twice
    assert cost(twice).macs == pytest.approx(16e9, rel=0.02)
    assert network(f"{twice.name}@224").resolution == 224


@settings(max_examples=40, deadline=None)
@given(small_networks(), st.sampled_from(list(STRATEGIES)), st.floats(0.5, 60))
def test_scaled_networks_can_be_named_and_written(base: Network, strategy: str, factor: float) -> None:
    try:
        result = scaled(base, STRATEGIES[strategy], factor)
    except UserError:
        assume(False)
    assert network(result.name) == result
    assert network(yaml.safe_load(to_yaml(result))) == result


@st.composite
def any_strategies(draw: st.DrawFn) -> Strategy:
    """Strategies by name and by exponents, also such that shrink one dimension or scale groups alone."""
    exponents = [draw(st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0, -0.5])) for _ in range(3)]
    group = draw(st.sampled_from([None, 0.0, 0.3, 1.0, 2.0]))
    return draw(st.sampled_from([*STRATEGIES.values(), Strategy("custom", *exponents, group)]))


@settings(max_examples=12, deadline=None)
@given(st.one_of(small_networks(), any_networks()), any_strategies(), st.floats(0.1, 32))
def test_a_scaled_network_can_be_built(base: Network, strategy: Strategy, factor: float) -> None:
    """Or the factor is refused; nothing is priced that `build` would refuse."""
    for make in (
        lambda: scale(base, strategy, factor=factor),
        lambda: scale(base, strategy, macs=cost(base).macs * factor),
        lambda: scale(base, "rs-width", macs=cost(base).macs * min(factor, 2)),
    ):
        try:
            result = make()
        except UserError:
            continue
        assert not problems(result)
        if cost(result).params < 1e9 and max(stage.depth for stage in result.stages) < 50:
            with torch.device("meta"):
                assert sum(p.numel() for p in build(result).parameters()) == cost(result).params


def test_groups_wider_than_the_inner_width_on_the_way_to_a_budget_do_no_harm() -> None:
    """Halved, a bottleneck of its input has fewer channels than a group, and cannot be built."""
    stage = {"depth": 1, "width": 8, "stride": 1, "kernel": 1}
    narrow = {**stage, "bottleneck": 0.25, "inner_of": "input", "group_width": 2}
    base = network(
        {
            "name": "any",
            "input": {"resolution": 40, "channels": 1},
            "stem": {"convs": [{"width": 8, "kernel": 3, "stride": 1}], "pool": "none"},
            "stages": [stage, narrow],
            "head": {"classes": 1},
        }
    )
    assert not problems(scale(base, "w", macs=cost(base).macs))


@pytest.mark.parametrize("strategy", ["dWr", "w", "dwr"])
def test_basic_blocks_are_scaled_like_any_others(strategy: str) -> None:
    base = network("resnet18")
    for factor in (0.3, 1, 2.5, 7):
        result = scaled(base, STRATEGIES[strategy], factor)
        widths = [stage.width for stage in result.stages]
        wider = factor ** (STRATEGIES[strategy].width / 2)
        assert widths == pytest.approx([stage.width * wider for stage in base.stages], rel=0.1)
        assert {(stage.block, stage.group_width, stage.bottleneck) for stage in result.stages} == {
            ("basic", None, 1)
        }
        assert cost(result).macs == pytest.approx(factor * cost(base).macs, rel=0.45)
    assert scaled(base, STRATEGIES["dw"], 1).identity == base.identity
    assert scaled(base, strategy_of("g"), 4).identity == base.identity  # it has no groups


def test_groups_of_their_own() -> None:
    """The authors' types: g multiplies the group width alone; depthwise convolutions stay depthwise."""
    base = network("regnety_500mf")
    assert [s.group_width for s in scaled(base, strategy_of("g"), 4).stages] == [16] * 4
    assert scaled(base, strategy_of("wg"), 4).identity == scaled(base, STRATEGIES["w"], 4).identity
    assert scaled(base, strategy_of("dwgr"), 9).identity == scaled(base, STRATEGIES["dwr"], 9).identity
    assert strategy_of("g").group == 2 and strategy_of("dwg").width == strategy_of("dwg").depth == 1 / 2
    for name in ("efficientnet_b0", "regnetz_500mf_g1"):
        depthwise, factor = network(name), 32
        for strategy in ("g", "d1_w8_g2_r1"):
            result = scaled(depthwise, strategy_of(strategy), factor)
            assert {stage.group_width for stage in result.stages} == {1}
        same = scaled(depthwise, strategy_of("g"), factor)
        assert [s.width for s in same.stages] == [s.width for s in depthwise.stages]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("regnety_500mf", {"strategy": {"group": 2}, "macs": 1e11}),
        ("regnety_500mf", {"strategy": "r", "params": 1e7}),
        ("regnety_500mf", {"strategy": {"resolution": 2}, "params": 1e7}),
        ("resnet50", {"strategy": "w", "macs": 1e30}),
        ("resnet18", {"strategy": {"depth": -1}, "macs": 9e20}),
        ("resnet50", {"strategy": {"width": 0.0001}, "macs": 1e10}),
        ("efficientnet_b0", {"strategy": {"group": 1, "width": 0.0001}, "macs": 1e9}),
    ],
)
def test_a_budget_out_of_reach_is_found_out_quickly(name: str, arguments) -> None:
    started = time.process_time()
    with pytest.raises(UserError, match="out of reach"):
        scale(network(name), **arguments)
    assert time.process_time() - started < 20  # each took minutes, or did not end


def test_groups_alone_can_meet_a_budget() -> None:
    result = scale(network("regnety_500mf"), "g", macs=1e9)
    assert cost(result).macs == pytest.approx(1e9, rel=0.1)


def test_exponents_below_zero() -> None:
    base = network("resnet1-2x0.25@64")
    result = scale(base, {"depth": -1}, macs=1e8)
    assert cost(result).macs == pytest.approx(1e8, rel=0.05) and sum(s.depth for s in result.stages) > 8


@pytest.mark.parametrize(("name", "macs"), [("resnext50_32x4d", 2e9), ("regnety_500mf", 1e9)])
def test_rs_width_of_grouped_convolutions(name: str, macs: float) -> None:
    result = scale(network(name), "rs-width", macs=macs)
    assert cost(result).macs == pytest.approx(macs, rel=0.05) and not problems(result)
    assert network(result.name) == result


def test_every_jump_is_listed() -> None:
    base, strategy = network("regnetz_500mf"), STRATEGIES["dWr"]
    listed = np.array(jumps(base, strategy, 1, 8))
    grid = np.geomspace(1, 8, 20_000)
    nets = [scaled(base, strategy, s) for s in grid]
    for i in range(len(grid) - 1):
        if (nets[i].stages, nets[i].input) != (nets[i + 1].stages, nets[i + 1].input):
            assert ((listed >= grid[i]) & (listed <= grid[i + 1])).any()


def test_depth_by_resnet_rs() -> None:
    assert blocks_of(152) == (3, 8, 36, 3)
    assert blocks_of(403) == (6, 47, 74, 6)  # 3/20 of the way from 400 to 420
    assert blocks_of(840) == (8, 88, 174, 8)
    assert network("resnetrs230").stages[1].depth == 26
    with pytest.raises(UserError, match="26"):
        blocks_of(18)


def test_slow_resolution_meets_its_table() -> None:
    for flops, size in ((4.6, 160), (12, 192), (18, 192), (24, 224), (31, 256), (69, 256), (107, 320)):
        assert slow_resolution(flops * 1e9) == size
    assert slow_resolution(1e9) == 160 and slow_resolution(1e12) == 320
    sizes = [network(f"efficientnetrs_b{i}").resolution for i in range(8)]
    assert sizes == sorted(sizes) and sizes[0] == 160
    assert sizes[-1] < network("efficientnet_b7").resolution


def test_resnet_rs_rules() -> None:
    base = network("resnetrs50")
    deep, wide = (scale(base, rule, macs=20e9) for rule in ("rs-depth", "rs-width"))
    assert deep.resolution == wide.resolution == 256
    assert [stage.depth for stage in deep.stages] == [3, 24, 36, 3]  # ResNet-RS-200 at 256: 20.1 G
    assert [stage.depth for stage in wide.stages] == [3, 4, 6, 3] and wide.stages[0].width > 256
    assert (rule_for(350), rule_for(10)) == ("rs-depth", "rs-width")
    assert network(deep.name) == deep and network(wide.name) == wide
    for budget in (3e9, 7e9, 11e9, 17e9, 31e9):  # the name holds the exact width
        wide = scale(base, "rs-width", macs=budget)
        assert network(wide.name) == wide
    with pytest.raises(UserError, match="compare both"):
        rule_for(100)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"strategy": "dWR", "macs": 4e9}, "'dWr'"),
        ({"strategy": "width", "macs": 4e9}, "strateg"),
        ({"strategy": "fast", "macs": 4e9}, "alpha"),
        ({"strategy": "dWr", "alpha": 0.5, "macs": 4e9}, "alpha belongs"),
        ({"strategy": "fast", "alpha": 1.5, "macs": 4e9}, "between 0"),
        ({"strategy": "dWr"}, "give one of"),
        ({"strategy": "dWr", "factor": 2, "macs": 4e9}, "give one of"),
        ({"strategy": "dWr", "factor": -2}, "above 0"),
        ({"strategy": "dWr", "factor": 1e300}, "from 1e-06 to 1e\\+06; found 1e\\+300"),
        ({"strategy": "rs-width", "factor": 1e300}, "from 1e-06 to 1e\\+06; found 1e\\+300"),
        ({"strategy": "d", "factor": 1e5}, "depth 100,000: at most 10,000"),
        ({"strategy": {"width": 1e3}, "factor": 2}, "width=1000 is not a number from -10 to 10"),
        ({"strategy": {"width": math.nan}, "factor": 2}, "width=nan is not a number"),
        ({"strategy": {"width": 1}, "alpha": 0.5, "factor": 2}, "alpha belongs"),
        ({"strategy": STRATEGIES["w"], "alpha": 0.5, "factor": 2}, "alpha belongs"),
        ({"strategy": "fast0.8", "alpha": 0.5, "factor": 2}, "alpha in its name"),
        ({"strategy": "dWr", "macs": 1e4}, "out of reach; the smallest"),
        ({"strategy": "d", "macs": 1e4}, "out of reach; the smallest"),
        ({"strategy": "dWr", "macs": -1}, "above 0"),
        ({"strategy": {"dept": 1}, "macs": 4e9}, "did you mean 'depth'"),
        ({"strategy": {"depth": 0}, "macs": 4e9}, "all are 0"),
        ({"strategy": "rs-depth", "params": 1e9}, "give macs"),
        ({"strategy": "rs-depth", "alpha": 0.5, "macs": 4e9}, "alpha belongs"),
        ({"strategy": "rs-width", "alpha": 0.5, "factor": 2}, "alpha belongs"),
    ],
)  # fmt: skip
def test_invalid_scaling_gives_one_line(arguments, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        scale(network("regnety_500mf"), **arguments)
    assert len(caught.value.lines) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"group_width": 5}, "group_width 5 does not divide the inner width 32"),
        ({"kernel": 4}, "kernel is odd"),
        ({"bottleneck": 0.001}, "leaves no channel"),
        ({"bottleneck": math.nan}, "bottleneck nan: a number above 0"),
        ({"bottleneck": -1.0}, "bottleneck -1.0: a number above 0"),
        ({"bottleneck": 1e300}, "for at most 1,048,576 channels"),
        ({"depth": 10**6}, "depth 1,000,000: at most 10,000"),
        ({"width": 10**400}, "at most 1,048,576"),
    ],
)
def test_invalid_networks(change, words: str) -> None:
    net = network("regnety_500mf")
    wrong = replace(net, stages=(replace(net.stages[0], **change), *net.stages[1:]))
    assert any(words in line for line in problems(wrong))
