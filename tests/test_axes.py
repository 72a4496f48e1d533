"""The table of the survey's axes: whatever it says gives an option is there, and no operator is left out of it."""

import re
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import msgspec
import pytest
import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from triptych.models.spec import ModelSpec
from triptych.operators import BUILT_IN, operator_classes
from triptych.recipes.load import shipped_recipes
from triptych.recipes.loop import Loop
from triptych.recipes.recipe import Recipe
from triptych.records import Criterion, Judgement, Response

PAGE = (Path(__file__).parent.parent / "docs" / "axes.md").read_text()
KINDS = {
    kind: next(cls for cls in operator_classes(panel) if cls.model_fields["kind"].default == kind)
    for panel, kinds in BUILT_IN.items()
    for kind in kinds
}
ROOTS: dict[str, Any] = KINDS | {
    "recipe": Recipe,
    "loop": Loop,
    "models": ModelSpec,
    "criteria": Criterion,
    "Response": Response,
    "Judgement": Judgement,
}
ROWS = re.findall(r"^\| (.*?) ?\| (.+?) \| (.+) \|$", PAGE, re.MULTILINE)
ROWS = [row for row in ROWS if row[1] != "option" and set(row[0]) != {"-"}]
REFERENCES = [(row[1], said) for row in ROWS for said in re.findall(r"`([^`]+)`", row[2]) if "{{" not in said]


def fields(owner: Any) -> dict[str, Any]:
    """The fields of a type and what may be written there; of a union, of any of its members."""
    if isinstance(owner, type) and issubclass(owner, BaseModel):
        return {name: field.rebuild_annotation() for name, field in owner.model_fields.items()}
    if isinstance(owner, type) and issubclass(owner, msgspec.Struct):
        return {field.name: field.type for field in msgspec.structs.fields(owner)}
    return {name: kind for member in get_args(owner) for name, kind in fields(member).items()}


def there(said: str) -> bool:
    path, _, value = said.partition(": ")
    root, *names = path.split(".")
    if root not in ROOTS:
        return not names and not value and root in shipped_recipes()
    found = ROOTS[root]
    for name in names:
        known = fields(found)
        if name not in known:
            return False
        found = known[name]
    return not value or takes(found, yaml.safe_load(value))


def takes(kind: Any, value: Any) -> bool:
    """Whether a value may be written there, or in a list there; a text of free form takes nothing for certain."""
    for each in (value, [value]):
        try:
            TypeAdapter(kind).validate_python(each)
        except ValidationError:
            continue
        return kind is not str and not (isinstance(kind, UnionType) and str in get_args(kind))
    return False


@pytest.mark.parametrize(("option", "said"), REFERENCES)
def test_what_gives_an_option_is_there(option, said):
    assert there(said), f"{option}: there is no {said}"


@pytest.mark.parametrize("said", ["sample.m", "nothing", "pairs.choose: worst", "pairs.keep.of: luck", "recipe.rope"])
def test_what_is_not_there_is_noticed(said):
    assert not there(said)


def test_each_option_is_given_by_something_or_says_that_it_is_not_and_why():
    assert len(ROWS) > 100
    for _, option, given in ROWS:
        named = [said for name, said in REFERENCES if name == option]
        assert named or given.startswith(("not here", "always: ")), option
        assert not given.startswith("not here") or len(given) > 40, option


def test_every_operator_of_the_two_panels_gives_some_option():
    named = {said.partition(".")[0].partition(":")[0] for _, said in REFERENCES}
    assert {*BUILT_IN["synthesis"], *BUILT_IN["evaluation"]} <= named
