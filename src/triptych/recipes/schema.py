"""The JSON Schema of recipes, for editors, with what each field means."""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache
from itertools import pairwise
from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import ModelSchema

from triptych.recipes.recipe import Recipe


def recipe_schema() -> dict[str, Any]:
    """The JSON Schema of recipes, with the operators of all installed packages."""
    schema = Recipe.model_json_schema(schema_generator=_WithMeanings)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def field_meanings(cls: type) -> dict[str, str]:
    """The sentences that stand under the fields of a class and of its bases, by the names that users write."""
    found = {}
    for each in reversed(cls.__mro__):
        for name, said in _documented(each).items():
            alias = getattr(cls, "model_fields", {}).get(name)
            found[(alias and alias.alias) or name] = said
    return found


class _WithMeanings(GenerateJsonSchema):
    """Adds the meanings. Pydantic can do so itself, but then reads all sources each time that Triptych is imported."""

    def model_schema(self, schema: ModelSchema) -> dict[str, Any]:
        made = super().model_schema(schema)
        meanings = field_meanings(schema["cls"])
        for name, field in made.get("properties", {}).items():
            if name in meanings:
                field.setdefault("description", meanings[name])
        return made


@cache
def _documented(cls: type) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):  # built in, or made at run time
        return {}
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, after in pairwise(definition.body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            found[field.target.id] = " ".join(str(after.value.value).split())
    return found
