"""Recipes: the papers' numbers, conversion to and from text, and rejected values."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from rescale.cli.app import app
from rescale.errors import UserError
from rescale.lookup import network
from rescale.models import External
from rescale.recipes import (
    NAMED,
    Recipe,
    changed,
    differences,
    from_file,
    recipe,
    resolve,
    to_yaml,
    with_changes,
)
from rescale.recipes.rules import OWN, RULES, width_dropout

ROOT = Path(__file__).parent.parent

# ResNet-RS, Table 8: depth, resolution, RandAugment magnitude, stochastic depth, dropout
TABLE_8 = [
    (50, 160, 10, 0.0, 0.25),
    (101, 160, 10, 0.0, 0.25),
    (101, 192, 15, 0.0, 0.25),
    (152, 192, 15, 0.0, 0.25),
    (152, 224, 15, 0.0, 0.25),
    (152, 256, 15, 0.0, 0.25),
    (200, 256, 15, 0.1, 0.25),
    (270, 256, 15, 0.1, 0.25),
    (350, 256, 15, 0.1, 0.25),
    (350, 320, 15, 0.1, 0.4),
    (420, 320, 15, 0.1, 0.4),
]


@pytest.mark.parametrize(("depth", "size", "magnitude", "stochastic_depth", "dropout"), TABLE_8)
def test_table_8(depth: int, size: int, magnitude: float, stochastic_depth: float, dropout: float) -> None:
    resolved = resolve(recipe("resnet-rs"), network(f"resnetrs{depth}@{size}"))
    value = resolved.recipe
    assert (value.randaugment_magnitude, value.stochastic_depth, value.dropout) == (
        magnitude,
        stochastic_depth,
        dropout,
    )
    assert (value.epochs, value.weight_decay, value.ema, value.randaugment_layers) == (350, 4e-5, 0.9999, 2)
    assert (value.label_smoothing, value.lr, value.warmup_epochs, value.bn_momentum) == (0.1, 1.6, 5, 1.0)
    assert value.keep_best == (size == 320) and value.minival == (0.02 if size == 320 else 0)
    for field in ("dropout", "stochastic_depth", "randaugment_magnitude"):
        assert resolved.sources[field] == "Table 8"


def test_table_8_agrees_with_the_reference_tables() -> None:
    path = ROOT.parent / "shared" / "reference" / "resnet-rs-tables.json"
    if not path.exists():
        pytest.skip(f"no {path.name} next to the project")
    rows = json.loads(path.read_text())["arxiv_v1"]["table8"]["rows"]
    keys = ("depth", "resolution", "randaug_magnitude", "stochastic_depth", "dropout")
    assert [tuple(row[key] for key in keys) for row in rows] == TABLE_8


@pytest.mark.parametrize(
    ("name", "magnitude", "stochastic_depth", "dropout"),
    [  # Appendix E, Table 12: 10 for widths .25, .5 or sizes up to 160; 15 at 224 and 320; 20 at 448
        ("resnet101x0.25@448", 10, 0.0, 0.0),
        ("resnet101x0.5@224", 10, 0.2, 0.1),
        ("resnet50x1@128", 10, 0.0, 0.25),
        ("resnet50x1.5@224", 15, 0.2, 0.6),
        ("resnet350x2@320", 15, 0.2, 0.75),
        ("resnet26x1@448", 20, 0.2, 0.25),
    ],
)
def test_scaling_study(name: str, magnitude: float, stochastic_depth: float, dropout: float) -> None:
    resolved = resolve(recipe("resnet-rs-study"), network(name))
    value = resolved.recipe
    assert (value.randaugment_magnitude, value.stochastic_depth, value.dropout) == (
        magnitude,
        stochastic_depth,
        dropout,
    )
    assert not any(resolved.sources[f].startswith(OWN) for f in ("dropout", "stochastic_depth"))


def test_width_dropout_between_and_outside_the_rows() -> None:
    assert [width_dropout(w) for w in (0.1, 0.25, 0.5, 1, 1.5, 2, 3)] == [0, 0, 0.1, 0.25, 0.6, 0.75, 0.75]
    assert width_dropout(0.75) == pytest.approx(0.175) and width_dropout(1.75) == pytest.approx(0.675)


def test_own_rules_are_marked() -> None:
    resolved = resolve(recipe("resnet-rs", epochs=80), network("resnetrs26x0.75@32"))
    assert resolved.recipe.warmup_epochs == 4
    assert resolved.sources["warmup_epochs"].startswith(OWN)
    resolved = resolve(recipe("resnet-rs"), network("resnetrs26x0.75@32"))
    for field in ("dropout", "stochastic_depth", "randaugment_magnitude", "precision"):
        assert resolved.sources[field].startswith(OWN), field


def test_the_papers_lengths_warm_up_for_five_epochs() -> None:
    for name in NAMED:
        chosen = recipe(name)
        if chosen.steps is None:
            expected = 20 if name == "modern" else 5
            assert resolve(chosen, network("resnet50")).recipe.warmup_epochs == expected


def test_bn_momentum_follows_the_average() -> None:
    net = network("resnet50")
    assert resolve(recipe("resnet-2015"), net).recipe.bn_momentum == 0.1
    assert resolve(recipe("resnet-2015", ema=0.9999), net).recipe.bn_momentum == 1.0
    assert resolve(recipe("efficientnet"), net).recipe.bn_momentum == 0.01


def test_a_model_without_depth_is_noted() -> None:
    resolved = resolve(recipe("resnet-rs"), External("timm:vit_tiny", 224))
    assert resolved.recipe.stochastic_depth == 0 and resolved.recipe.dropout == 0.25
    assert {"dropout", "stochastic_depth", "randaugment_magnitude"} == {
        field for field in resolved.sources for note in resolved.notes if f"; {field} is" in note
    }


def test_precision_follows_the_device() -> None:
    net = network("resnet50")
    assert resolve(recipe("resnet-rs"), net, native_bf16=True).recipe.precision == "bf16"
    assert resolve(recipe("resnet-rs"), net, native_bf16=False).recipe.precision == "fp32"
    assert resolve(recipe("resnet-rs", precision="fp16"), net).recipe.precision == "fp16"


@pytest.mark.parametrize("name", NAMED)
def test_resolved_recipes_hold_numbers_only_and_resolve_to_themselves(name: str) -> None:
    resolved = resolve(recipe(name), network("resnet50"))
    texts = {name for _, name in RULES}
    assert not texts & {
        value
        for value in resolved.recipe.model_dump(exclude={"small_images"}).values()
        if isinstance(value, str)
    }
    assert resolve(resolved.recipe, network("resnet50")).recipe == resolved.recipe


def test_every_difference_of_the_baselines() -> None:
    assert differences(recipe("resnet-rs"), recipe("resnet-rs")) == {}
    changes = differences(recipe("resnet-2015"), recipe("resnet-rs"))
    assert set(changes) == {
        "epochs", "schedule", "weight_decay", "label_smoothing", "dropout", "stochastic_depth",
        "ema", "augment", "randaugment_magnitude", "keep_best",
    }  # fmt: skip
    assert changes["epochs"] == (90, 350)


@given(
    st.builds(
        Recipe,
        epochs=st.integers(1, 400),
        lr=st.one_of(st.just("scaled"), st.floats(0, 10)),
        dropout=st.one_of(st.just("table-8"), st.floats(0, 0.99)),
        weight_decay=st.floats(0, 1),
        schedule=st.sampled_from(["cosine", "stepwise", "exponential", "constant"]),
        milestones=st.lists(st.floats(0, 1), max_size=4).map(lambda m: tuple(sorted(m))),
        keep_best=st.sampled_from([False, "table-8"]),
        minival=st.one_of(st.just("when-kept"), st.floats(0, 0.9)),
    )
)
@settings(max_examples=60, deadline=None)
def test_yaml_round_trip(tmp_path_factory, value: Recipe) -> None:
    path = tmp_path_factory.mktemp("recipe") / "r.yaml"
    path.write_text(to_yaml(value, {"lr": "somewhere"}))
    assert from_file(path) == value
    assert changed(Recipe(), yaml.safe_load(path.read_text()) | {"milestones": value.milestones}) == value


def test_a_file_can_be_based_on_another_recipe(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("base: resnet-rs\nepochs: 12\nlr: 1e-3\n")
    value = recipe(path)
    assert (value.epochs, value.lr, value.ema) == (12, 1e-3, 0.9999)


def test_changes_are_typed() -> None:
    value = with_changes(
        recipe("resnet-rs"),
        ["lr=1e-4", "milestones=[.1, .2]", "nesterov=false", "dropout=0", "minival=0.1", "epochs=3"],
    )
    assert (value.lr, value.milestones, value.nesterov, value.dropout) == (1e-4, (0.1, 0.2), False, 0)
    assert (value.minival, value.epochs) == (0.1, 3)


def test_every_mistake_is_reported_at_once() -> None:
    pairs = [
        "epoch=3",
        "batch=x",
        "dropout=1.5",
        "flip=2",
        "foo",
        "schedule=cos",
        "epochs=3.0",
        "keep_best=maybe",
        "lr=nan",
    ]
    with pytest.raises(UserError) as caught:
        with_changes(recipe("resnet-rs"), pairs)
    lines = caught.value.lines
    assert len(lines) == len(pairs)
    text = str(caught.value)
    for words in (
        "did you mean 'epochs'",
        "found 'x'",
        "1.5",
        "found 2",
        "write key=value",
        "'cosine'",
        "3.0",
        "'maybe'",
    ):
        assert words in text, words


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (["batch=10", "accumulate=3"], "accumulate=3 equal parts"),
        (["keep_best=true", "minival=0"], "needs a minival"),
        (["crop_area_min=.9", "crop_area_max=.5"], "above crop_area_max"),
        (["milestones=[.5,.2]"], "are not in ascending order"),
    ],
)
def test_fields_are_checked_together(pairs: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        with_changes(recipe("resnet-rs"), pairs)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("text", ["- 1", "epochs: [", "epochz: 3", "base: resnet-sr"])
def test_bad_files(tmp_path, text: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(UserError):
        from_file(path)


def test_without_held_out_images_there_is_no_early_stopping() -> None:
    value = resolve(recipe("resnet-rs", minival=0.0), network("resnetrs350@320")).recipe
    assert value.keep_best is False and value.minival == 0


def test_only_the_two_largest_stop_early() -> None:
    for name in ("resnetrs400@320", "resnetrs420@448", "resnetrs350@256"):
        assert resolve(recipe("resnet-rs"), network(name)).recipe.keep_best is False


def test_sources_report_changes() -> None:
    resolved = resolve(recipe("resnet-rs", epochs=10, dropout=0.3), network("resnetrs50@160"))
    assert resolved.sources["epochs"] == "changed; resnet-rs has 350"
    assert resolved.sources["dropout"] == "changed; resnet-rs has table-8"
    assert resolved.sources["weight_decay"] == "Table 8"


def test_every_source_belongs_to_a_field() -> None:
    for named in NAMED.values():
        assert set(named.sources) <= set(Recipe.model_fields)


def test_modern_is_convnexts_and_deits() -> None:
    """ConvNeXt, Table 5 and its training commands; DeiT, Table 9."""
    value = resolve(recipe("modern"), External("timm:convnext_tiny", 224)).recipe
    assert (value.optimizer, value.epochs, value.batch, value.warmup_epochs) == ("adamw", 300, 4096, 20)
    assert value.lr == pytest.approx(4e-3) and (value.adam_beta1, value.adam_beta2) == (0.9, 0.999)
    assert (value.weight_decay, value.ema, value.label_smoothing) == (0.05, 0.9999, 0.1)
    assert (value.mixup, value.cutmix, value.random_erasing) == (0.8, 1.0, 0.25)
    assert (value.randaugment_magnitude, value.randaugment_noise, value.stochastic_depth) == (9, 0.5, 0.1)
    deit = resolve(recipe("modern", batch=1024), External("timm:deit_tiny_patch16_224", 224)).recipe
    assert deit.lr == pytest.approx(5e-4 * 1024 / 512)


def test_every_number_of_modern_has_a_source() -> None:
    unused = {
        "nesterov", "momentum", "rmsprop_decay", "rmsprop_eps", "milestones", "step_factor", "decay_rate",
        "decay_epochs", "staircase", "small_images",
    }  # fmt: skip
    of_any_recipe = {
        "name", "accumulate", "minival", "keep_best", "steps", "task", "freeze", "orientation", "white",
    }  # fmt: skip
    sources = resolve(recipe("modern"), network("resnetrs50")).sources
    assert set(Recipe.model_fields) - set(sources) - {"minival"} == unused | of_any_recipe - {"minival"}
    assert {field for field, source in sources.items() if source.startswith(OWN)} <= {
        "augment", "ema_ramp", "bn_momentum", "precision",
    }  # fmt: skip


def test_short_runs_of_modern_warm_up_for_the_same_share() -> None:
    for epochs, warmup in ((10, 2 / 3), (150, 10), (300, 20), (600, 20)):
        resolved = resolve(recipe("modern", epochs=epochs, batch=64), network("resnetrs50"))
        assert resolved.recipe.warmup_epochs == pytest.approx(warmup)
        assert resolved.sources["warmup_epochs"].startswith(OWN) == (epochs < 300)
        assert resolved.recipe.lr == pytest.approx(2.5e-4 * 64 / 256)  # no least rate, as published


def test_a_first_epoch_at_rate_0_is_noted() -> None:
    resolved = resolve(recipe("resnet-rs", schedule_by="epoch"), network("resnetrs50"))
    assert any("first epoch" in note for note in resolved.notes)


def test_a_file_gives_the_name_and_its_base_must_be_known(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("base: resnet-rs\nepochs: 3\n")
    assert recipe(path).name == "mine"
    path.write_text("base: mine.yaml\n")
    with pytest.raises(UserError, match="base: no recipe"):
        recipe(path)


@given(st.text(min_size=1, max_size=12), st.floats(0, 5), st.sampled_from([0.0, 0.1, 1e-4, 1e-12]))
@settings(max_examples=60, deadline=None)
def test_changes_with_any_text_are_applied_or_rejected(key: str, rate: float, decay: float) -> None:
    value = with_changes(Recipe(), [f"lr={rate!r}", f"weight_decay={decay!r}", f"name={key}"])
    assert (value.lr, value.weight_decay, value.name) == (rate, decay, key)
    with pytest.raises(UserError, match="no key"):
        with_changes(Recipe(), [f"x{key.replace('=', '')}x=1"])


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["recipes", *arguments])
    assert result.exit_code == 0, result.exception
    return result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("resnet-rs",),
        ("resnet-rs", "--model", "resnetrs26x0.75@32", "--set", "epochs=3"),
        ("resnet-rs", "--model", "timm:resnet18", "--set", "augment=randaugment-torchvision"),
        ("resnet-2015", "efficientnet"),
        ("modern",),
        ("modern", "resnet-rs", "--model", "resnetrs50"),
        ("finetune", "--model", "resnet152@256", "--images", "50000"),
    ],
)
def test_tables_fit_a_terminal(arguments: tuple[str, ...]) -> None:
    assert max(len(line) for line in run(*arguments).splitlines()) <= 80


def test_the_command_prints_the_source_of_each_value(tmp_path: Path) -> None:
    rows = {row["key"]: row for row in json.loads(run("resnet-rs", "--model", "resnetrs152@256", "--json"))}
    assert (rows["dropout"]["value"], rows["dropout"]["source"]) == (0.25, "Table 8")
    assert OWN.strip(": ") in run("resnet-rs", "--model", "resnetrs26@32")
    path = tmp_path / "resnet-rs.yaml"
    path.write_text(to_yaml(recipe("resnet-rs", epochs=7)))
    assert json.loads(run("resnet-rs", str(path), "--json")) == [
        {"key": "epochs", "resnet-rs": 350, str(path): 7}
    ]
    assert "no difference" in run("resnet-rs", "resnet-rs")


def test_recipes_load_without_torch() -> None:
    text = "import sys, rescale.recipes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", text], check=False).returncode == 0


def test_unknown_recipe() -> None:
    with pytest.raises(UserError, match="did you mean 'resnet-rs'"):
        recipe("resnetrs")
