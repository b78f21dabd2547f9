"""The kinds of studies: their plans, presets, rows from a file, and what --list says about them."""

import json
import re

import pytest
from typer.testing import CliRunner

from fake_study import ADDITIVE, additive_study
from rescale.cli.app import app
from rescale.duration import roughly
from rescale.errors import UserError
from rescale.lookup import network
from rescale.network import to_yaml as network_to_yaml
from rescale.recipes import recipe, resolve, with_changes
from rescale.report import gather
from rescale.report.steps import note, steps
from rescale.studies import Item
from rescale.studies.kinds import KINDS, Request, kind_of
from rescale.studies.kinds.additive import PUBLISHED, Change, cumulative
from rescale.studies.listing import MEASURED_MACS, in_proportion, offers
from rescale.studies.plan_file import from_file, to_yaml

TABLE_1 = (79.0, 79.3, 78.8, 79.1, 80.4, 80.6, 81.0, 80.7, 82.2, 82.9, 83.4)  # ResNet-RS, in its order


def asked(kind, **wanted):
    return KINDS[kind].plan(Request(**wanted))


@pytest.mark.parametrize("kind", KINDS)
def test_every_preset_is_a_plan_that_can_be_resolved_and_stored(kind, tmp_path):
    for name, preset in KINDS[kind].PRESETS.items():
        plan = asked(kind, preset=name, data=preset.data or "images", command=f"rescale study {kind}")
        assert plan.kind == kind and kind_of(plan) is KINDS[kind]
        (tmp_path / "plan.yaml").write_text(to_yaml(plan))
        assert from_file(tmp_path / "plan.yaml") == plan
        for item in plan.items:
            resolve(with_changes(recipe(item.recipe), item.changes), network(item.model), preset.images)
        for line in plan.notes:  # each departure from the recipe has its reason
            assert line.partition(": ")[0] in plan.items[0].changes


def test_the_additive_study_is_the_papers_table():
    assert tuple(PUBLISHED.values()) == TABLE_1
    plan = asked("additive", preset="paper", data="imagenet")
    assert plan.labels == list(PUBLISHED) and len(plan.items) == 5 * len(TABLE_1)
    first, last = plan.items[0], plan.items[len(TABLE_1) - 1]
    assert (first.model, first.changes) == ("resnet200@256", ("epochs=90",))
    assert network(last.model).with_classes(1000).identity == network("resnetrs200@256").identity
    values = with_changes(recipe(last.recipe), last.changes)
    rates = (values.epochs, values.ema, values.label_smoothing, values.stochastic_depth, values.dropout)
    assert rates == (350, 0.9999, 0.1, 0.1, 0.25) and values.weight_decay == 4e-5
    assert (values.augment, values.randaugment_layers, values.randaugment_magnitude) == ("randaugment", 2, 15)


@pytest.mark.parametrize("preset", KINDS["additive"].PRESETS)
def test_no_rule_for_short_runs_meets_an_additive_study(preset):
    """Each of its rates is the number of its row, however short the runs are."""
    data = KINDS["additive"].PRESETS[preset].data or "images"
    for item in asked("additive", preset=preset, data=data, changes=("epochs=2", "warmup_epochs=0")).items:
        written = with_changes(recipe(item.recipe), item.changes)
        resolved = resolve(written, network(item.model), 10_000).recipe
        for field in ("label_smoothing", "stochastic_depth", "dropout", "augment", "weight_decay", "ema"):
            assert getattr(resolved, field) == getattr(written, field)


def test_each_row_keeps_what_the_rows_above_have():
    rows = [
        Change("a"),
        Change("b", ("x=1", "y=1")),
        Change("c", ("x=2",), ("se",)),
        Change("d", (), ("deepstem",)),
    ]
    items = cumulative(Item("resnet50@64", "resnet-2015", "digits", changes=("z=0",)), rows)
    assert [item.changes for item in items] == [
        ("z=0",), ("z=0", "x=1", "y=1"), ("z=0", "y=1", "x=2"), ("z=0", "y=1", "x=2"),
    ]  # fmt: skip
    assert [item.model for item in items][2:] == ["resnet50+se@64", "resnet50+se+deepstem@64"]
    assert cumulative(Item("resnet50", "r", "d"), rows)[2].model == "resnet50+se"


@pytest.mark.parametrize("model", ["timm:resnet18@32", "efficientnet_b0", "net.yaml"])
def test_rows_that_a_network_cannot_have_are_left_out_and_named(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.yaml").write_text(network_to_yaml(network("resnet26x0.25@32")))
    plan = asked("additive", preset="small", data="digits", models=(model,))
    assert plan.labels == list(PUBLISHED)[:-2] and {item.model for item in plan.items} == {model}
    assert plan.notes[-1].startswith("left out: + squeeze-and-excitation, + ResNet-D: ")
    (tmp_path / "rows.yaml").write_text(ROWS)
    with pytest.raises(UserError, match=r"rows.yaml: \+ SE: .* has no parts se"):
        asked("additive", rows=tmp_path / "rows.yaml", data="digits", models=(model,))


ROWS = """
model: resnet26x0.25@32
recipe: resnet-2015
changes: [epochs=4]
rows:
- {label: plain}
- {label: + smoothing, changes: [label_smoothing=0.1]}
- {label: + SE, parts: [se]}
"""


def test_rows_come_from_a_file(tmp_path):
    file = tmp_path / "rows.yaml"
    file.write_text(ROWS)
    plan = asked("additive", rows=file, data="digits", seeds=2, changes=("epochs=9",))
    assert plan.labels == ["plain", "+ smoothing", "+ SE"] and len(plan.items) == 6
    assert plan.items[2].model == "resnet26x0.25+se@32"
    assert plan.items[2].changes == ("epochs=9", "label_smoothing=0.1")
    other = asked("additive", rows=file, data="digits", models=("resnet50@32",), recipes=("resnet-rs",))
    assert (other.items[0].model, other.items[0].recipe) == ("resnet50@32", "resnet-rs")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ROWS.replace("parts", "part"), r"no key 'rows\.2\.part'; did you mean 'parts'"),
        (ROWS.replace("label: plain", "labels: plain"), r"rows\.0\.label is missing"),
        ("model: resnet50\nrows:\n- {label: a}\n", "two rows or more, found 1"),
        (ROWS.replace("model: resnet26x0.25@32\n", ""), "--models missing"),
        (ROWS.replace("recipe: resnet-2015\n", ""), "--recipe missing"),
        (ROWS.replace("+ smoothing", "plain"), "name each once"),
    ],
)  # fmt: skip
def test_mistakes_in_a_file_of_rows(text, expected, tmp_path):
    (tmp_path / "rows.yaml").write_text(text)
    with pytest.raises(UserError, match=expected):
        asked("additive", rows=tmp_path / "rows.yaml", data="digits")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("study additive --out a --data digits --preset medium", "did you mean 'small'|--preset medium"),
        ("study additive --preset tiny", "--out missing"),
        ("study additive --out a", "--data missing"),
        ("study additive --out a --data digits --models resnet50,resnet26", "one network and one recipe"),
        ("study pareto --out a --models resnet50 --data digits --rows rows.yaml", "--rows is for"),
        ("study pareto --out a", "--models and --data missing"),
        ("study additive --out a --data digits --rows none.yaml", "none.yaml"),
    ],
)
def test_mistakes_on_the_command_line(words, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.yaml").write_text(ROWS)
    ended = CliRunner().invoke(app, words.split())
    assert isinstance(ended.exception, UserError) and re.search(expected, str(ended.exception))
    assert not (tmp_path / "a").exists()


def test_an_unknown_kind_in_a_file_is_refused(tmp_path):
    (tmp_path / "plan.yaml").write_text(
        "kind: aditive\nitems:\n- {model: resnet50, data: digits, recipe: resnet-rs}\n"
    )
    with pytest.raises(UserError, match="did you mean 'additive'"):
        from_file(tmp_path / "plan.yaml")


def test_every_preset_is_listed_with_its_price_and_what_it_can_show():
    listed = offers(lambda net, by: 0.001)
    assert [(offer.kind, offer.preset) for offer in listed] == [
        (kind, preset) for kind in KINDS for preset in KINDS[kind].PRESETS
    ]
    tiny = next(offer for offer in listed if (offer.kind, offer.preset) == ("additive", "tiny"))
    steps = 1437 // 32
    assert tiny.seconds == pytest.approx(5 * (2 * 2 + 9 * 8) * steps * 32 * 0.001)
    assert tiny.runs == 55 and tiny.seeds == 5 and tiny.smallest == pytest.approx(1.6, abs=0.05)
    assert next(offer for offer in listed if offer.kind == "pareto").smallest is None  # one seed


def test_large_networks_are_priced_in_proportion_to_measured_ones():
    measured = []

    def measure(net, by):
        measured.append(net.name)
        return 0.002

    seconds = in_proportion(measure)
    small, large = network("resnetrs26x0.25@32"), network("resnetrs50@160")
    first = recipe("resnet-rs")
    assert seconds(small, first) == seconds(small, first) == 0.002 and len(measured) == 1
    from rescale.cost import cost

    assert cost(large).macs > MEASURED_MACS
    assert seconds(large, first) == pytest.approx(0.002 * cost(large).macs / cost(small).macs)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0.4 s"), (40, "40 s"), (90, "1.5 min"), (2000, "33 min"), (12 * 3600, "12 h"),
     (86400 * 3, "3 days"), (86400 * 365.25 * 1400, "1,400 years")],
)  # fmt: skip
def test_long_times_are_rounded(seconds, text):
    assert roughly(seconds) == text


def test_the_list_as_json(monkeypatch):
    monkeypatch.setattr("rescale.cli.study_list._measured", lambda server, threads: lambda net, by: 0.001)
    ended = CliRunner().invoke(app, ["study", "--list", "--json"])
    assert ended.exit_code == 0, ended.exception
    rows = json.loads(ended.stdout[ended.stdout.index("[") :])
    assert len(rows) == sum(len(kind.PRESETS) for kind in KINDS.values())
    ended = CliRunner().invoke(app, ["study", "--list"])
    lines = ended.stdout.splitlines()
    assert max(map(len, lines)) <= 80 and any(line.startswith("additive: ") for line in lines)


def test_the_figure_of_an_additive_study_shows_its_differences_and_the_papers(tmp_path):
    findings = gather(additive_study(tmp_path / "s").path)
    shown = steps(findings)
    assert [step.label for step in shown] == list(ADDITIVE)[1:]
    for step in shown:
        difference = findings.analysis.differences[step.label]
        assert (step.mean, step.low, step.high) == (difference.mean, difference.low, difference.high)
        assert step.told_apart == difference.told_apart and step.published is None
    assert "Grey diamonds" not in note(findings)
