"""Prompts that stand in the recipe itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator

from triptych.operators import BadRow, Operator, PromptRow
from triptych.prompts.row import NAMES, Record, prompt_rows
from triptych.records import canonical_json


def _known(item: Any) -> Any:
    """Refuse what can't be meant as a prompt. What it holds is looked at when it is read, as in files."""
    if not isinstance(item, str | Mapping):
        raise ValueError("a prompt is text, or an object with the field prompt and others")
    if isinstance(item, Mapping):
        for name in item:
            if name not in NAMES:
                near = get_close_matches(str(name), NAMES, n=1, cutoff=0.6)
                meant = f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(NAMES)}"
                raise ValueError(f"{name!r} is not a field of a prompt{meant}")
        if "prompt" not in item:
            raise ValueError("has no field prompt")
    try:
        canonical_json(item)
    except UnicodeEncodeError:
        raise ValueError("has half of a surrogate pair, which is not a character") from None
    except (TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"can't be written as JSON: {error}") from None
    return item


def _some(items: tuple[Any, ...]) -> tuple[Any, ...]:
    if not items:
        raise ValueError("must list at least one prompt")
    return items


_Item = Annotated[str | dict[str, Any], BeforeValidator(_known)]


class InlinePrompts(Operator):
    """Takes the prompts that the recipe lists. A row's number is its place in the list, from 1.

    A prompt that is empty or broken in another way, or that repeats an earlier one, is set aside as in files.
    """

    kind: Literal["inline"] = "inline"
    prompts: Annotated[tuple[_Item, ...], AfterValidator(_some)]
    """Texts, or objects with `prompt` and, as wanted, `system`, `reference`, `constraints`, `criteria`,
    `tools`, `responses`, `source`, `tags`, `parent_id` and `family_id`, as in `triptych.prompts.Columns`."""

    def rows(self, folder: Path) -> Iterator[PromptRow | BadRow]:
        """Read the prompts in their order, one at a time."""
        items = ({"prompt": item} if isinstance(item, str) else item for item in self.prompts)
        records = (Record(row, item) for row, item in enumerate(items, 1))
        return prompt_rows(records, lambda item: item, "recipe")

    def count(self, folder: Path) -> int:
        """Say how many rows there are."""
        return len(self.prompts)
