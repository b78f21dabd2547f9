"""Fields added by later versions, which keep identities and stored recipes; the options of a task."""

import hashlib
import json
import pickle
from typing import Annotated

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rescale.errors import UserError
from rescale.recipes import MEANING, NAMED, Recipe, changed, from_file, recipe, to_yaml, with_changes
from rescale.recipes.options import Options
from rescale.recipes.recipe import ADDED_LATER

# values other than the defaults
ADDED = {
    "steps": 10,
    "task": {"name": "other"},
    "freeze": "backbone",
    "orientation": "stored",
    "white": 4095.0,
    "adam_beta1": 0.8,
    "adam_beta2": 0.95,
    "adam_eps": 1e-6,
    "cutmix": 1.0,
    "cutmix_chance": 0.3,
    "random_erasing": 0.25,
    "randaugment_chance": 0.5,
    "randaugment_noise": 0.5,
}


class Later(Recipe):
    """A recipe of a future version."""

    mean_teacher: Annotated[float, ADDED_LATER] = 0.0


def test_an_added_field_at_its_default_is_not_in_the_identity_or_the_file() -> None:
    for value in (Recipe(), Recipe(epochs=3, task={"name": "other"})):
        later = Later.model_validate(value.model_dump())
        assert later.identity_text() == value.identity_text()
        assert to_yaml(later) == to_yaml(value)
    other = Later(mean_teacher=0.5)
    assert json.loads(other.identity_text())["mean_teacher"] == 0.5
    assert yaml.safe_load(to_yaml(other))["mean_teacher"] == 0.5


def test_the_added_fields_are_marked_and_each_changes_the_identity() -> None:
    assert Recipe().additions_at_default() == set(ADDED)
    texts = {changed(Recipe(), {field: value}).identity_text() for field, value in ADDED.items()}
    assert len(texts | {Recipe().identity_text()}) == len(ADDED) + 1
    assert Recipe(name="other", precision="fp16").identity_text() == Recipe().identity_text()


def test_the_identity_text_is_the_first_versions() -> None:
    """Recipe().model_dump_json(exclude={"name", "precision"}) of commit f8dfc49."""
    digest = hashlib.sha256(Recipe().identity_text().encode()).hexdigest()
    assert digest == "08a2e396d837a3f7e061349ac7009e428ae9431561c0afa6977291aef4b6de3d"


def test_every_field_has_a_meaning() -> None:
    assert set(MEANING) == set(Recipe.model_fields) - {"name"}
    assert max(map(len, MEANING)) < 22  # the column of `rescale recipes`


def test_setting_one_option_of_a_task_keeps_the_others() -> None:
    first = with_changes(Recipe(), ["task.name=python:module:factory", "task.scale_min=1e-1"])
    second = with_changes(first, ["task.flips=true", "task.sizes=3"])
    expected = {"name": "python:module:factory", "scale_min": 0.1, "flips": True, "sizes": 3}
    assert second.task == expected and list(second.task) == ["name", "flips", "scale_min", "sizes"]
    assert [type(second.task[name]) for name in ("flips", "scale_min", "sizes")] == [bool, float, int]
    assert recipe("resnet-rs", **{"task.a": 1}).task == {"name": "classification", "a": 1}


def test_a_task_cannot_be_changed_and_is_equal_by_its_items() -> None:
    value = Recipe(task={"b": 1, "name": "x", "a": "y"})
    with pytest.raises(TypeError):
        value.task["a"] = "z"
    twin = Recipe(task={"a": "y", "name": "x", "b": 1})
    assert value == twin and hash(value) == hash(twin) and value.identity_text() == twin.identity_text()
    assert value != Recipe(task={"a": "y", "name": "x", "b": 2})
    assert pickle.loads(pickle.dumps(value)) == value
    assert Recipe.model_validate_json(value.model_dump_json()) == value


NAMES = st.text("abcz_09", min_size=1, max_size=5)
SCALARS = st.one_of(
    st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8),
    st.sampled_from(["1e-4", "1", "null", "yes", "~", "1e5x", "nan", "python:a:b", "# no"]),
)  # fmt: skip


@given(st.dictionaries(NAMES, SCALARS, max_size=4), st.text(min_size=1, max_size=8), st.integers(1, 10**6))
@settings(max_examples=80, deadline=None)
def test_yaml_round_trip_of_options(tmp_path_factory, options: dict, name: str, steps: int) -> None:
    value = Recipe(name=name, task={**options, "name": "x"}, steps=steps, freeze="backbone")
    path = tmp_path_factory.mktemp("recipe") / "r.yaml"
    path.write_text(to_yaml(value, {"task": "somewhere"}))
    read = from_file(path)
    assert read == value and read.identity_text() == value.identity_text()


def test_a_file_sets_one_option_or_all(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("base: finetune\ntask.scale_min: 1e-1\n")
    assert from_file(path).task == {"name": "classification", "scale_min": 0.1}
    path.write_text("task: {name: other, scale_min: 1e-1}\n")
    assert from_file(path).task == {"name": "other", "scale_min": 0.1}


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("task=5", "options by name"),
        ("task={a: 1}", "expected a name"),
        ("task.name=", "expected a name"),
        ("task.a=[1]", "for its option a"),
        ("task.a=.inf", "for its option a"),
        ("taks.a=1", "did you mean 'task'"),
        ("steps=0", "greater than or equal to 1"),
        ("freeze=head", "'none' or 'backbone'"),
    ],
)
def test_rejected_changes(pair: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        with_changes(Recipe(), [pair])
    assert len(caught.value.lines) == 1


def test_named_recipes_train_the_whole_classifier() -> None:
    for named in NAMED.values():
        assert named.recipe.task == Options({"name": "classification"}) and named.recipe.freeze == "none"
