"""The change that findings ask for, as a diff of the recipe that loads."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import yaml

from triptych.audit.finding import Finding
from triptych.errors import RecipeError
from triptych.export.card import secrets
from triptych.recipes.load import parse_recipe
from triptych.recipes.write import recipe_yaml
from triptych.store.run import RECIPE


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a recipe, and what they make of it."""

    settings: dict[str, Any]
    """By their dotted places, as `--set` takes them."""
    diff: str
    """A unified diff of the recipe's file; `patch` applies it, and the recipe that comes out loads."""
    refused: dict[str, str] = {}
    """Settings that do not go with the others or with this recipe, and why."""


def change(text: str, findings: Iterable[Finding]) -> Change | None:
    """What findings would change in a recipe's text, the gravest first; None where they change nothing.

    Where two want different values of one setting, the graver finding has it. Secrets are left out of the diff.
    """
    wanted: dict[str, Any] = {}
    for finding in findings:
        for place, value in finding.edits.items():
            wanted.setdefault(place, value)
    taken, refused, after = _taken(text, wanted)
    before = recipe_yaml(parse_recipe(text))
    if not taken or after == before:
        return None if not refused else Change(settings={}, diff="", refused=refused)
    return Change(settings=taken, diff=_clean(text, _diff(text, before, after)), refused=refused)


def _taken(text: str, wanted: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str], str]:
    """The settings that hold together: all at once if they do, else one after the other."""
    try:
        return dict(wanted), {}, _with(text, wanted)
    except RecipeError:
        taken: dict[str, Any] = {}
        refused: dict[str, str] = {}
        after = recipe_yaml(parse_recipe(text))
        for place, value in wanted.items():
            try:
                after = _with(text, {**taken, place: value})
                taken[place] = value
            except RecipeError as error:
                refused[place] = str(error)[:300]
        return taken, refused, after


def _with(text: str, settings: Mapping[str, Any]) -> str:
    """The recipe with settings, written anew; raises `RecipeError` where it does not load."""
    changes = [f"{place}={json.dumps(value)}" for place, value in settings.items()]
    return recipe_yaml(parse_recipe(text, "recipe", changes))


def _diff(text: str, before: str, after: str) -> str:
    """Of the file itself where Triptych wrote it, else of the recipe as Triptych would write it."""
    comment = text[: len(text) - len(before)]
    if text == comment + before and all(line.startswith("#") for line in comment.splitlines()):
        before, after = text, comment + after
    lines = [part.splitlines(keepends=True) for part in (before, after)]
    return "".join(difflib.unified_diff(lines[0], lines[1], f"a/{RECIPE}", f"b/{RECIPE}"))


def _clean(text: str, diff: str) -> str:
    for secret in secrets(yaml.safe_load(text)):
        diff = diff.replace(secret, "[left out]")
    return diff
