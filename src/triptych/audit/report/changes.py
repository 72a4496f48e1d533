"""The change that findings ask for, as a diff of the recipe that loads."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from triptych.audit.finding import Finding
from triptych.errors import RecipeError
from triptych.recipes.edit import Setting, edited
from triptych.recipes.load import END, read_plain
from triptych.recipes.secrets import secrets
from triptych.recipes.write import flow_yaml
from triptych.store.run import RECIPE


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a recipe, and what they make of it."""

    settings: tuple[str, ...]
    """Each as `--set` takes it: `place=value`."""
    diff: str
    """A unified diff of the recipe's file; `patch` and `git apply` apply it, and the recipe that comes out loads."""
    refused: dict[str, str] = {}
    """Settings that do not go with the others or with this recipe, and why."""


def change(text: str, findings: Iterable[Finding], file: str = RECIPE) -> Change | None:
    """What findings would change in a recipe's text, the gravest first; None where they change nothing.

    The settings of a finding are taken all together or not at all. Where two findings want different values of one
    setting, the graver one has it. Secrets are left out of the diff, which is of `file`.
    """
    taken, refused, after = _taken(text, findings)
    if not taken and not refused:
        return None
    settings = tuple(as_option(setting) for setting in taken)
    return Change(settings=settings, diff=_clean(text, diff(text, after, file)), refused=refused)


def mended(text: str, findings: Iterable[Finding]) -> str:
    """A recipe's text with what findings would change in it."""
    return _taken(text, findings)[2]


def diff(before: str, after: str, file: str = RECIPE) -> str:
    """A unified diff of a recipe's file."""
    made = difflib.unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), file, file)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in made)


def as_option(setting: Setting) -> str:
    """A setting as `--set` takes it."""
    place, value = setting
    return f"{place}={flow_yaml(value)}"


def _taken(text: str, findings: Iterable[Finding]) -> tuple[list[Setting], dict[str, str], str]:
    """The settings that hold together, those that don't and why, and the text with the former."""
    taken: list[Setting] = []
    refused: dict[str, str] = {}
    after = text
    for name, wanted in _wanted(findings):
        new = [setting for setting in wanted if setting not in taken]
        held = dict(taken)
        lost = [place for place, _ in new if not place.endswith(f".{END}") and place in held]
        if lost:
            refused |= {as_option(each): f"{name}: a graver finding has {lost[0]}" for each in new}
            continue
        try:
            after = edited(after, new)
        except RecipeError as error:
            refused |= {as_option(each): f"{name}: {error}"[:300] for each in new}
        else:
            taken += new
    return taken, refused, after


def _wanted(findings: Iterable[Finding]) -> Iterator[tuple[str, list[Setting]]]:
    """What each finding wants, by the statistic's name; what several want alike once."""
    told: list[Any] = []
    for finding in findings:
        if finding.edits and finding.edits not in told:
            told.append(finding.edits)
            yield finding.name, list(finding.edits.items())


def _clean(text: str, diff: str) -> str:
    for secret in secrets(read_plain(text)):
        diff = diff.replace(secret, "[left out]")
    return diff
