"""The fields of a recipe that depend on the length of the run, and the learning rate of small batches."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from rescale.cli.app import app
from rescale.errors import UserError
from rescale.lookup import network
from rescale.models import External
from rescale.recipes import FINETUNE_RATES, FINETUNE_STEPS, NAMED, Recipe, held_out, recipe, resolve
from rescale.recipes.rules import OWN, RULES

METHODS = ("dropout", "stochastic_depth", "label_smoothing", "augment")
LARGE = network("resnetrs200@256")  # all four at 350 epochs


def methods(chosen: Recipe, model=LARGE, images: int | None = None) -> tuple:
    value = resolve(chosen, model, images).recipe
    return tuple(getattr(value, field) for field in METHODS)


@pytest.mark.parametrize(("name", "long"), [
    ("resnet-rs", (0.25, 0.1, 0.1, "randaugment")),
    ("resnet-rs-study", (0.25, 0.2, 0.1, "randaugment")),
])  # fmt: skip
def test_short_runs_have_none_of_the_four(name: str, long: tuple) -> None:
    """arXiv v1, Appendix E: none in runs of 10 and 100 epochs, weight decay 4e-5; own rules above."""
    for epochs, expected, own in (
        (1, False, False), (10, False, False), (100, False, False), (101, False, True), (199, False, True),
        (200, True, True), (349, True, True), (350, True, False), (1000, True, False),
    ):  # fmt: skip
        resolved = resolve(recipe(name, epochs=epochs), LARGE)
        assert methods(recipe(name, epochs=epochs)) == (long if expected else (0, 0, 0, "none")), epochs
        assert resolved.recipe.weight_decay == 4e-5
        published = [resolved.sources[f] for f in METHODS if name == "resnet-rs" or f != "stochastic_depth"]
        assert {source.startswith(OWN) for source in published} == {own}, epochs


def test_explicit_values_are_not_overridden() -> None:
    explicit = {"dropout": 0.25, "stochastic_depth": 0.05, "label_smoothing": 0.2, "augment": "autoaugment"}
    assert methods(recipe("resnet-rs", epochs=10, **explicit)) == tuple(explicit.values())
    assert resolve(recipe("resnet-rs", epochs=10, **explicit), LARGE).notes == ()
    assert methods(recipe("resnet-rs", dropout=0, augment="none")) == (0, 0.1, 0.1, "none")


def test_recipes_that_do_not_depend_on_the_length() -> None:
    for name in ("efficientnet", "resnet-2015", "finetune", "modern"):
        assert methods(recipe(name, epochs=1, steps=None)) == methods(recipe(name, epochs=350, steps=None))


def test_methods_that_are_off_give_one_note() -> None:
    (note,) = resolve(recipe("resnet-rs", epochs=10), LARGE).notes
    assert note == (
        "epochs 10 <= 100: dropout, stochastic depth, label smoothing and RandAugment are off "
        "(ResNet-RS, Appendix E); --set dropout=0.25 sets one"
    )
    (note,) = resolve(recipe("resnet-rs", epochs=150, augment="none"), network("resnetrs50")).notes
    assert note == (
        "epochs 150 < 200: dropout and label smoothing are off (own rule: on from 200); "
        "--set dropout=0.25 sets one"
    )
    chosen = recipe("resnet-rs-study", epochs=10, label_smoothing=0.1)
    (note,) = resolve(chosen, network("resnet50x0.25@224")).notes  # dropout and depth are 0 at any length
    assert "100: RandAugment is off" in note and "augment=randaugment sets one" in note
    assert resolve(recipe("resnet-rs", epochs=200), LARGE).notes == ()


def test_the_command_prints_the_note() -> None:
    arguments = ["recipes", "resnet-rs", "--model", "resnetrs50", "--set", "epochs=10"]
    out = " ".join(CliRunner().invoke(app, arguments).stdout.split())
    assert "note: epochs 10 <= 100: dropout, label smoothing and RandAugment are off" in out
    arguments = ["recipes", "finetune", "--model", "resnet50", "--images", "50000", "--json"]
    rows = {row["key"]: row["value"] for row in json.loads(CliRunner().invoke(app, arguments).stdout)}
    assert (rows["epochs"], rows["steps"], rows["task"]) == (104, 10_000, {"name": "classification"})


def test_a_model_of_unknown_depth_has_no_notes_about_what_is_off() -> None:
    (note,) = resolve(recipe("resnet-rs", epochs=10), External("timm:vit_tiny", 224)).notes
    assert note.startswith("epochs 10 <= 100")


@given(st.integers(1, 400), st.integers(1, 3000), st.sampled_from(sorted(NAMED)))
@settings(max_examples=60, deadline=None)
def test_a_length_in_steps_resolves_as_the_same_length_in_epochs(epochs: int, images: int, name: str) -> None:
    batch = 16 if images >= 16 else 1
    in_epochs = recipe(name, epochs=epochs, batch=batch, steps=None)
    in_steps = recipe(name, epochs=5, batch=batch, steps=epochs * (images // batch))
    first, second = resolve(in_epochs, LARGE), resolve(in_steps, LARGE, images)
    assert second.recipe.model_copy(update={"steps": None}) == first.recipe
    assert resolve(second.recipe, LARGE, images).recipe == second.recipe


def test_a_length_within_an_epoch_is_rounded_up_to_epochs() -> None:
    chosen = recipe("resnet-rs", batch=100, steps=101)
    resolved = resolve(chosen, LARGE, 1099)  # ten full batches per epoch
    assert resolved.recipe.epochs == 11 and resolved.recipe.warmup_epochs == pytest.approx(0.05 * 10.1)
    assert resolved.notes[0].startswith("steps 101, epochs 10.1 <= 100: ")


def test_an_unknown_length_counts_as_long_and_is_noted() -> None:
    resolved = resolve(recipe("resnet-rs", steps=10), LARGE)
    assert methods(recipe("resnet-rs", steps=10)) == methods(recipe("resnet-rs"))
    assert resolved.recipe.warmup_epochs == 5 and resolved.recipe.epochs == 350
    (note,) = resolved.notes
    assert note.startswith("steps 10: without the number of training images")
    for field in ("warmup_epochs", *METHODS):
        assert field in note
    independent = resolve(Recipe(steps=10, warmup_epochs=0.0), LARGE)
    assert independent.notes == ()  # nothing in it depends on the length


def test_a_warm_up_as_long_as_the_run_is_rejected() -> None:
    """With the cosine schedule its rate would always be 0."""
    for chosen, images in (
        (Recipe(epochs=5, warmup_epochs=5), None),
        (Recipe(steps=9, warmup_epochs=1.0), 2560),
    ):
        with pytest.raises(UserError, match="is not shorter than the run"):
            resolve(chosen, LARGE, images)
    assert resolve(Recipe(epochs=6, warmup_epochs=5), LARGE).recipe.warmup_epochs == 5


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("model", ["resnetrs50@160", "resnetrs420@320", "efficientnet_b0"])
@pytest.mark.parametrize(
    "changes", [{}, {"keep_best": True}, {"minival": 0.1}, {"minival": 0.0, "keep_best": False}]
)
def test_the_share_held_out_is_known_first(name: str, model: str, changes: dict) -> None:
    chosen = recipe(name, **changes)
    assert held_out(chosen, network(model)) == resolve(chosen, network(model), 50_000).recipe.minival


def test_shares_held_out() -> None:
    assert held_out(recipe("resnet-rs"), network("resnetrs420@320")) == 0.02
    assert held_out(recipe("resnet-rs"), network("resnetrs50@160")) == 0
    assert held_out(recipe("resnet-rs", minival=0.1), network("resnetrs50@160")) == 0.1


@pytest.mark.parametrize("name", ["resnet-rs", "resnet-rs-study", "resnet-2015"])
def test_below_batch_128_the_rate_is_constant(name: str) -> None:
    for batch, rate in ((32, 0.05), (127, 0.05), (128, 0.05), (256, 0.1), (4096, 1.6)):
        resolved = resolve(recipe(name, batch=batch), network("resnet50"))
        assert resolved.recipe.lr == rate
        assert resolved.sources["lr"].startswith(OWN) == (batch < 128)
    resolved = resolve(recipe(name, batch=64, optimizer="rmsprop", lr_per_256=0.016), network("resnet50"))
    assert resolved.recipe.lr == 0.004 and not resolved.sources["lr"].startswith(OWN)
    assert resolve(recipe(name, batch=64, lr="scaled"), network("resnet50")).recipe.lr == 0.025
    assert resolve(recipe(name, batch=64, lr=0.3), network("resnet50")).recipe.lr == 0.3


def test_other_recipes_use_the_linear_rule() -> None:
    assert resolve(recipe("efficientnet", batch=64), network("resnet50")).recipe.lr == 0.004
    assert resolve(Recipe(batch=64), network("resnet50")).recipe.lr == 0.025
    assert resolve(recipe("finetune", batch=64), network("resnet50")).recipe.lr == 0.005


def test_fine_tuning_is_that_of_appendix_f() -> None:
    resolved = resolve(recipe("finetune"), network("resnet152@256"), 50_000)
    value = resolved.recipe
    assert (value.schedule, value.weight_decay, value.batch, value.freeze) == ("cosine", 1e-4, 512, "none")
    assert (value.lr, value.steps, value.ema, value.augment) == (0.005, 10_000, 0, "none")
    assert value.warmup_epochs * (50_000 // 512) == pytest.approx(500)  # steps, as in the authors' detection
    assert {0.005, 0.01, 0.16} <= set(FINETUNE_RATES) and (min(FINETUNE_RATES), max(FINETUNE_RATES)) == (
        0.005,
        0.32,
    )
    assert (min(FINETUNE_STEPS), max(FINETUNE_STEPS)) == (5_000, 20_000) and value.steps in FINETUNE_STEPS


USED = """accumulate optimizer momentum nesterov weight_decay weight_decay_on clip_grad lr schedule
    schedule_by warmup_epochs warmup_from label_smoothing dropout stochastic_depth ema bn_momentum mixup
    augment crop interpolation flip eval_crop minival keep_best steps freeze batch epochs precision"""


def test_every_used_value_of_fine_tuning_has_a_source() -> None:
    sources = resolve(recipe("finetune"), network("resnet152@256"), 50_000).sources
    assert not set(USED.split()) - set(sources)


def test_a_magnitude_below_ten_is_not_milder() -> None:
    chosen = recipe("resnet-rs", randaugment_magnitude=5.0)
    assert any("randaugment-torchvision at 3" in note for note in resolve(chosen, LARGE).notes)
    for changes in ({"randaugment_magnitude": 10.0}, {"randaugment_magnitude": 5.0, "augment": "none"}):
        assert resolve(recipe("resnet-rs", **changes), LARGE).notes == ()


def test_efficientnets_of_another_eps_are_noted() -> None:
    (note,) = resolve(recipe("efficientnet"), network("efficientnet_b0")).notes
    assert note.startswith("efficientnet_b0: its batch norm has eps 1e-05; 0.001 in the networks")
    assert resolve(recipe("efficientnet"), network("tf_efficientnet_b0")).notes == ()
    assert resolve(recipe("resnet-2015"), network("tf_efficientnet_b0")).notes == ()


def test_every_rule_is_a_valid_value_of_its_field() -> None:
    for field, name in RULES:
        assert getattr(Recipe(**{field: name}), field) == name
