"""Networks as values: names, files, identity and rejected input."""

import json
from dataclasses import asdict, field, fields, make_dataclass, replace

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rescale.errors import UserError
from rescale.families.resnet import BASIC, BLOCKS, PARTS, layers_and_width
from rescale.lookup import names, network
from rescale.network import LATER, Conv, Head, Input, Network, Stage, Stem, problems, stride, to_yaml


@st.composite
def resnet_names(draw: st.DrawFn) -> str:
    """Names from the whole grammar: any blocks, widths, compatible parts and resolutions."""
    family = draw(st.sampled_from(["resnet", "resnetrs"]))
    depth = draw(
        st.one_of(
            st.sampled_from([str(d) for d in BLOCKS]),
            st.sampled_from([str(d) for d in BASIC]) if family == "resnet" else st.just("26"),
            st.lists(st.integers(1, 4), min_size=1, max_size=5).map(
                lambda b: "-".join(map(str, b)) if len(b) > 1 else "26"
            ),
        )
    )
    width = draw(st.sampled_from(["", "x0.25", "x.5", "x1.5", "x2", "x0.3"]))
    stem = draw(
        st.sampled_from(["", "+deepstem", "+smallstem", "+convpool", "+blockpool", "+deepstem+convpool"])
    )
    choices = ["se", "poolshortcut", *(["stride1x1"] if depth not in ("18", "34") else [])]
    options = "".join(f"+{p}" for p in draw(st.sets(st.sampled_from(choices))))
    size = draw(st.integers(128, 320))
    return f"{family}{depth}{width}{stem}{options}@{size}"


@given(resnet_names())
@settings(max_examples=60, deadline=None)
def test_yaml_and_mapping_round_trip(name: str) -> None:
    net = network(name)
    assert network(yaml.safe_load(to_yaml(net))) == net
    assert network(json.loads(json.dumps(asdict(net)))) == net


def test_published_resolutions_and_at() -> None:
    expected = {
        "resnetrs50": 160,
        "resnetrs101": 192,
        "resnetrs152": 256,
        "resnetrs270": 256,
        "resnetrs420": 320,
        "resnet50": 224,
    }
    assert {name: network(name).resolution for name in expected} == expected
    assert network("resnetrs50@224") == network("resnetrs50").at(224)


def test_identity_is_structure_not_name() -> None:
    rs = network("resnetrs50")
    by_parts = network("resnet50+deepstem+convpool+poolshortcut+se@160")
    assert rs.identity == by_parts.identity
    others = {network(f"resnet50+{part}").identity for part in PARTS} | {
        network("resnet50").identity,
        rs.identity,
    }
    assert len(others) == len(PARTS) + 2


def rebuilt(net: Network, kind: type, with_field: type, value: int | None) -> Network:
    """The network with each `kind` replaced by its subclass `with_field`; None: the new field's default."""

    def as_new(part):
        if type(part) is not kind:
            return part
        old = {item.name: getattr(part, item.name) for item in fields(part)}
        return with_field(**old, **({} if value is None else {"frames": value}))

    stem = replace(net.stem, convs=tuple(map(as_new, net.stem.convs)))
    stages = tuple(map(as_new, net.stages))
    parts = {"input": as_new(net.input), "stem": as_new(stem), "head": as_new(net.head), "stages": stages}
    return as_new(replace(net, **parts))


@pytest.mark.parametrize("kind", [Network, Input, Stem, Conv, Stage, Head])
def test_a_new_field_changes_no_identity_at_its_default(kind: type) -> None:
    new = make_dataclass(
        "New", [("frames", int, field(default=1, metadata=LATER))], bases=(kind,), frozen=True
    )
    unmarked = make_dataclass("Unmarked", [("frames", int, field(default=1))], bases=(kind,), frozen=True)
    net = network("efficientnet_b0")
    for value in (None, 1):
        same = rebuilt(net, kind, new, value)
        assert same != net and same.identity == net.identity and to_yaml(same) == to_yaml(net)
    other = rebuilt(net, kind, new, 2)
    assert other.identity != net.identity and "frames: 2" in to_yaml(other)
    assert rebuilt(net, kind, unmarked, None).identity != net.identity  # so the mark makes the difference


def test_files_contain_an_initialisation_other_than_the_default_and_identities_none() -> None:
    b0, plain = network("efficientnet_b0"), network("resnet50")
    assert "init: efficientnet" in to_yaml(b0) and "init" not in to_yaml(plain)
    assert network(yaml.safe_load(to_yaml(b0))).init == "efficientnet"
    assert replace(b0, init="auto").identity == b0.identity
    with pytest.raises(UserError, match=r"init.*'resnet-rs'.*'xavier'"):
        network({**yaml.safe_load(to_yaml(plain)), "init": "xavier"})


def test_authors_depths() -> None:
    assert [layers_and_width(network(name)) for name in ("resnet18", "resnet34x0.5")] == [(18, 1), (34, 0.5)]
    assert {depth: layers_and_width(network(f"resnet{depth}"))[0] for depth in BLOCKS} == {
        26: 26, 50: 50, 101: 101, 152: 152, 200: 200, 270: 272, 300: 296, 350: 350, 400: 398, 420: 419,
    }  # fmt: skip


def test_a_named_part_replaces_the_one_of_resnet_rs() -> None:
    small = network("resnetrs26x0.25+smallstem@32")
    assert [conv.stride for conv in small.stem.convs] == [1]
    assert small.stages[0].se and small.stages[1].shortcut == "pool"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnetsr50", ["resnetsr50", "did you mean", "resnetrs50"]),
        ("resnet51", ["resnet51", "did you mean"]),
        ("resnext50", ["did you mean 'resnext50_32x4d'"]),
        (
            "mobilenet_v2",
            ["no network is named 'mobilenet_v2'; rescale models", "written timm:NAME"],
        ),
        ("vgg16", ["no network is named 'vgg16'; rescale models"]),
        ("timm:resnet50", ["timm:resnet50: an external model"]),
        ("resnet50++se", ["each + is followed by a part"]),
        ("resnet50+", ["each + is followed by a part"]),
        ("resnet50+se+se", ["each named once"]),
        ("resnet50+sse", ["'sse'", "did you mean 'se'"]),
        ("resnet50@abc", ["@abc is not a resolution", "resnet50@224"]),
        ("regnety_040@", ["not a resolution"]),
        ("regnety_040@²", ["not a resolution"]),
        ("resnet50@99999999", ["resolution 99,999,999: at most"]),
        ("resnet50x" + "9" * 400, ["multiplier is at most"]),
        ("resnet" + "9" * 5000, ["no network is named"]),
        ("regnety_d999999999w32a28.1m2.78g4", ["at most 1000 blocks"]),
        ("resnet18+stride1x1", ["stride1x1 is for bottlenecks"]),
        ("resnet50+deepstem+smallstem", ["exclude each other"]),
        ("resnetrs50@16", ["resolution 16", "32"]),
        ("resnet50x0.001", ["width 0.001"]),
        ("no/such.yaml", ["no/such.yaml", "no such network file"]),
    ],
)
def test_wrong_names_get_one_line(name: str, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        network(name)
    assert len(caught.value.lines) == 1
    for word in words:
        assert word in str(caught.value)


def test_every_mistake_in_a_file_is_reported_at_once(tmp_path) -> None:
    mapping = yaml.safe_load(to_yaml(network("resnet50")))
    mapping["stages"][0]["depht"] = 3
    mapping["stages"][1]["depth"] = "4"
    mapping["stem"]["pool"] = "mx"
    del mapping["input"]
    path = tmp_path / "net.yaml"
    path.write_text(yaml.safe_dump(mapping))
    with pytest.raises(UserError) as caught:
        network(path)
    text = str(caught.value)
    assert len(caught.value.lines) == 4
    assert "did you mean 'depth'" in text and "'4'" in text and "'mx'" in text and "input is missing" in text
    assert str(path) in text


@pytest.mark.parametrize("text", ["", "- 1", "name: [", "\x00"])
def test_files_that_do_not_describe_a_network(tmp_path, text: str) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"net\.yaml"):
        network(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bottleneck": 0.5}, r"stages\[1\].bottleneck 0.5: a basic block has bottleneck: 1"),
        ({"inner_of": "input"}, "inner_of input: a basic block has inner_of: output"),
        ({"group_width": 2}, "group_width 2: a basic block has group_width: None"),
        ({"stride_at": "conv2"}, "stride_at conv2: a basic block has stride_at: conv1"),
        ({"se": 0.25, "se_at": "inner"}, "a basic block has it at the output"),
    ],
)
def test_fields_that_a_basic_block_does_not_have(change, words: str) -> None:
    net = network("resnet18")
    wrong = replace(net, stages=(net.stages[0], replace(net.stages[1], **change), *net.stages[2:]))
    with pytest.raises(UserError, match=words) as caught:
        network(yaml.safe_load(to_yaml(wrong)))
    assert len(caught.value.lines) == 1


def test_every_name_is_a_network() -> None:
    for name in names():
        assert isinstance(network(name), Network) and network(name).name == name


@pytest.mark.parametrize(
    "name", [*names(), "regnety_500mf-dWr-2.5", "resnetrs50-rs-width-1.5", "resnetrs230"]
)
def test_a_file_has_the_identity_of_its_name(name: str) -> None:
    """Also where 6 and 6.0 are equal as numbers but differ as text."""
    assert network(yaml.safe_load(to_yaml(network(name)))).identity == network(name).identity


@st.composite
def any_networks(draw: st.DrawFn) -> Network:
    """All networks that a file can describe: all blocks, groups, both SE positions, both paddings."""
    stages, width_in = [], draw(st.sampled_from([8, 12, 16]))
    stem = Stem((Conv(width_in, draw(st.sampled_from([3, 5, 7])), draw(st.integers(1, 2))),))
    stem = replace(stem, pool=draw(st.sampled_from(["none", "max"])))
    for _ in range(draw(st.integers(1, 4))):
        stage = Stage(
            depth=draw(st.integers(1, 3)),
            width=8 * draw(st.integers(1, 6)),
            stride=draw(st.integers(1, 3)),
            kernel=draw(st.sampled_from([1, 3, 5])),
            block=draw(st.sampled_from(["bottleneck", "inverted"])),
            bottleneck=draw(st.sampled_from([0.25, 0.5, 1.0, 4.0, 6.0])),
            inner_of=draw(st.sampled_from(["input", "output"])),
            group_width=draw(st.sampled_from([None, 1, 2])),
            se=draw(st.sampled_from([0.0, 0.25, 0.3])),
            se_at=draw(st.sampled_from(["inner", "output"])),
            shortcut=draw(st.sampled_from(["conv", "pool"])),
            stride_at=draw(st.sampled_from(["conv1", "conv2"])),
        )
        if draw(st.integers(0, 3)) == 0:
            basic = {"bottleneck": 1.0, "inner_of": "output", "group_width": None, "stride_at": "conv1"}
            stage = replace(stage, block="basic", **basic, se_at="output")
        stages.append(stage)
    net = Network(
        "any",
        Input(draw(st.integers(40, 97)), draw(st.sampled_from([1, 3]))),
        stem,
        tuple(stages),
        Head(draw(st.integers(1, 9)), draw(st.sampled_from([0, 20]))),
        activation=draw(st.sampled_from(["relu", "silu"])),
        padding=draw(st.sampled_from(["symmetric", "same"])),
    )
    assume(not problems(net) and stride(net) <= 40)
    return net


@given(any_networks())
@settings(max_examples=60, deadline=None)
def test_any_network_round_trips(net: Network) -> None:
    assert network(yaml.safe_load(to_yaml(net))) == net
    assert net.identity == network(json.loads(json.dumps(asdict(net)))).identity
