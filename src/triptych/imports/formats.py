"""The formats that there are, and which of them a file is in."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from triptych.errors import PromptError
from triptych.imports.item import Format, Row
from triptych.operators import suggestion

BUILT_IN = {
    "judgebench": "triptych.imports.judgebench:FORMAT",
    "llmbar": "triptych.imports.llmbar:FORMAT",
    "alpaca-eval": "triptych.imports.alpaca_eval:FORMAT",
    "openai": "triptych.imports.openai:FORMAT",
    "prm800k": "triptych.imports.prm800k:FORMAT",
    "nemo-rl": "triptych.imports.nemo_rl:FORMAT",
    "nectar": "triptych.imports.nectar:FORMAT",
    "ultrafeedback": "triptych.imports.ultrafeedback:FORMAT",
    "distilabel": "triptych.imports.distilabel:FORMAT",
    "helpsteer2": "triptych.imports.helpsteer2:FORMAT",
    "arena": "triptych.imports.arena:FORMAT",
    "llama-factory": "triptych.imports.llama_factory:FORMAT",
    "openrlhf": "triptych.imports.openrlhf:FORMAT",
    "axolotl": "triptych.imports.axolotl:FORMAT",
    "hh-rlhf": "triptych.imports.hh_rlhf:FORMAT",
    "trl": "triptych.imports.trl:FORMAT",
}
"""Triptych's own formats, those first that say most by their columns. Packages add theirs through entry points of the
group `triptych.imports`."""


@cache
def formats() -> dict[str, Format]:
    """All formats by their names; those of installed packages are looked at first when guessing."""
    found: dict[str, Format] = {}
    for entry in entry_points(group="triptych.imports"):
        try:
            form = entry.load()
            found[form.name] = form
        except Exception as error:  # another's broken package must not break every import
            warnings.warn(f"the format {entry.name!r} of an installed package can't be loaded: {error}", stacklevel=2)
    for name, target in BUILT_IN.items():
        module, attribute = target.split(":")
        found.setdefault(name, getattr(import_module(module), attribute))
    return found


def find_format(name: str) -> Format:
    """The format of that name. Raises `PromptError` where there is none."""
    found = formats().get(name)
    if found is None:
        raise PromptError(f"there is no format {name!r}{suggestion(name, formats())}")
    return found


def guess(rows: Sequence[Row], file: str) -> Format:
    """The format that most of these rows look like; of several, the one that says most by its columns.

    Raises `PromptError` where it is not half of the rows.
    """
    counts = {name: sum(form.looks_like(row) for row in rows) for name, form in formats().items()}
    best = max(counts, key=counts.__getitem__)
    if 2 * counts[best] < len(rows) or counts[best] == 0:
        shown = ", ".join(list(rows[0])[:20]) if rows else "none"
        names = ", ".join(sorted(formats()))
        raise PromptError(f"{file}: its columns do not tell the format ({shown}); say which it is with --as: {names}")
    return formats()[best]
