"""The prompt: what a policy is asked, and what is known about good answers to it."""

from __future__ import annotations

from typing import Any

import msgspec

from triptych.records.ids import content_id
from triptych.records.messages import Message


class Prompt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One prompt. Its id is the hash of what bears on the answer; where it came from does not count."""

    id: str
    """Hash of its content."""
    messages: tuple[Message, ...]
    """The chat so far; the policy continues it."""
    tools: tuple[dict[str, Any], ...] = ()
    """Tool declarations in OpenAI's form."""
    reference: str | None = None
    """A known good or correct answer."""
    constraints: tuple[dict[str, Any], ...] = ()
    """Checkable demands on the answer, each `{"kind": ..., ...}` (see `triptych.evaluation.constraints`)."""
    criteria: tuple[dict[str, Any], ...] = ()
    """Criteria of this prompt alone, each with the fields of `Criterion` and a name."""
    source: str = ""
    """Where the prompt comes from: a data set, a file, a generator."""
    tags: tuple[str, ...] = ()
    """Free labels."""
    parent_id: str | None = None
    """The prompt that this one was evolved or paraphrased from."""
    family_id: str | None = None
    """Prompts of one family must get consistent behaviour, and belong on one side of a train and test split."""
    call_ids: tuple[str, ...] = ()
    """The calls in the call log that wrote it, where a model did."""

    @property
    def text(self) -> str:
        """The last user message: what a person would call the prompt."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")


def make_prompt(messages: tuple[Message, ...], **fields: Any) -> Prompt:
    """Build a prompt, with its id from messages, tools, reference, constraints and criteria."""
    content = {key: fields.get(key) for key in ("tools", "reference", "constraints", "criteria") if fields.get(key)}
    return Prompt(id=content_id("p", {"messages": messages, **content}), messages=messages, **fields)
