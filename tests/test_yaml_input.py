"""YAML from users: limits on size and depth, errors of one line; networks, recipes and plans alike."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from rescale.errors import UserError
from rescale.lookup import network
from rescale.network import to_yaml
from rescale.recipes import recipe
from rescale.recipes.text import with_changes
from rescale.studies.plan import pareto_plan
from rescale.studies.plan_file import from_file as plan_from_file
from rescale.yaml_input import DEEPEST, MOST_BYTES, parse_yaml

BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
READERS = {"network": network, "recipe": recipe, "plan": plan_from_file}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "more than 100,000 values; too many aliases"),
        (BOMB + "epochs: *i\n", "too many aliases"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested more than 50 levels"),
        ("a: &a\n- b: *a\n", r"\*a stands for a value that contains itself"),
        ("epochs: *f\n", "not YAML: found undefined alias"),
        ("epochs: 10\nepochs: 20\n", "the key 'epochs' occurs twice"),
        ("epochs: 2026-13-45\n", "not YAML"),
        (f"epochs: {'9' * 5000}\n", "not YAML"),
        ("#" + "x" * MOST_BYTES, "larger than 2 MiB"),
        ("a: \x00", "not YAML"),
    ],
    ids=["bomb", "used", "deep", "cycle", "undefined", "twice", "date", "digits", "large", "zero"],
)
def test_files_beyond_the_limits_are_refused_at_once(
    reader: str, text: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    started = time.process_time()
    with pytest.raises(UserError, match=words) as caught:
        READERS[reader](path)
    assert time.process_time() - started < 5
    assert len(caught.value.lines) == 1 and "a.yaml" in str(caught.value) and len(str(caught.value)) < 600


def test_many_mistakes_are_found_in_little_time(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("base: resnet-rs\n" + "".join(f"key{i}: 1\n" for i in range(4000)))
    started = time.process_time()
    with pytest.raises(UserError, match="no key 'key0'; known: epochs") as caught:
        recipe(path)
    assert time.process_time() - started < 5 and caught.value.lines[-1] == "and 3980 more mistakes like these"


def test_numbers_with_an_exponent_are_numbers_in_every_file(tmp_path: Path) -> None:
    """PyYAML reads 1e-5 as text, as YAML 1.1 says."""
    net = network("resnet18")
    (tmp_path / "a.yaml").write_text(to_yaml(net).replace("norm_eps: 1.0e-05", "norm_eps: 1e-6"))
    assert network(tmp_path / "a.yaml") == replace(net, norm_eps=1e-6)
    named = replace(net, name="1e5")
    assert network(yaml.safe_load(to_yaml(named))) == named
    (tmp_path / "b.yaml").write_text(to_yaml(named))
    assert network(tmp_path / "b.yaml").name == "1e5"


def test_a_plan_has_a_limited_number_of_trainings(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    items = "items: [{model: resnet18}, {model: resnet34}]\n"
    for seeds in ("100000000", f"[{', '.join(map(str, range(2000)))}]"):
        path.write_text(f"data: digits\nrecipe: resnet-rs\nseeds: {seeds}\n{items}")
        with pytest.raises(
            UserError, match=r"2 networks with \d+ seeds are [\d,]+ trainings; .*at most 2,000"
        ):
            plan_from_file(path)
    with pytest.raises(UserError, match="at most 2,000"):
        pareto_plan(["resnet18"], ["resnet-rs"], "digits", seeds=10**9)


def test_a_long_value_is_shortened_in_messages(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"epochs: &f {list(range(3000))}\nbatch: *f\n")
    with pytest.raises(UserError, match=r"epochs: expected .*found .0, 1, 2") as caught:
        recipe(path)
    assert max(map(len, caught.value.lines)) < 300
    with pytest.raises(UserError, match="epochs") as caught:
        with_changes(recipe("resnet-rs"), [f"epochs={list(range(3000))}"])
    assert max(map(len, caught.value.lines)) < 300


def test_many_mistakes_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("title: a\nitems:\n" + "- {modle: a}\n" * 300)
    with pytest.raises(UserError, match="more mistakes like these") as caught:
        plan_from_file(path)
    assert len(caught.value.lines) == 21


def test_what_is_read_is_what_yaml_reads() -> None:
    """Aliases and merge keys within the limits, and nesting up to the limit."""
    text = "a: &a {x: 1, y: [1, 2]}\nn: {b: &b {<<: *a, x: 2}}\nc: [*a, {<<: *b}]\n"
    assert parse_yaml(text, "here") == yaml.safe_load(text)
    deep = "[" * DEEPEST + "]" * DEEPEST
    assert parse_yaml(deep, "here") == yaml.safe_load(deep)
    with pytest.raises(UserError, match="nested"):
        parse_yaml(f"[{deep}]", "here")
    net = network("efficientnet_b0")
    assert parse_yaml(to_yaml(net), "here") == yaml.safe_load(to_yaml(net))


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
def test_numbers_of_a_network_are_finite(value: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    text = to_yaml(network("resnet50"))
    for old in ("bottleneck: 0.25", "norm_eps: 1.0e-05", "se: 0.0"):
        key = old.split(":", maxsplit=1)[0]
        assert old in text
        path.write_text(text.replace(old, f"{key}: {value}"))
        with pytest.raises(UserError, match=f"{key}: expected a finite number"):
            network(path)
