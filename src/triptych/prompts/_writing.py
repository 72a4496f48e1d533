"""What operators share that have a model write new prompts."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from triptych.models.asking import Asked, Unparsable
from triptych.models.spec import ModelSpec
from triptych.operators import Load, Operator, Outlook, Unmade
from triptych.records import Message, Prompt, make_prompt

MOST = 1000
"""Most new prompts of a prompt."""
_USUAL_TOKENS, _CORRECTION_TOKENS = 60, 100


class Writer(Operator):
    """An operator that has a model write new prompts."""

    not_in_identity: ClassVar[frozenset[str]] = frozenset({"name", "n", "keep"})

    name: str | None = None
    """What the new prompts' `source` calls the operator; its kind if not given."""
    model: str
    """The name of a declared model."""
    n: int = Field(default=1, ge=1, le=MOST)
    """New prompts that are asked for."""
    keep: bool = False
    """Whether the prompt that they come from stays, too."""
    temperature: float = Field(default=1.0, ge=0, le=2)
    """The model's sampling temperature."""
    max_tokens: int = Field(default=1024, ge=1)
    """Longest answer, in tokens."""

    def child(
        self, parent: Prompt, before: tuple[Message, ...], text: str, spec: ModelSpec, asked: Asked[Any]
    ) -> Prompt:
        """A new prompt after the messages `before` it.

        The parent's tools and tags stay. A reference, constraints and criteria were those of the parent alone.
        """
        return make_prompt(
            (*before, Message("user", text)),
            tools=parent.tools,
            source=self.made_by(spec),
            tags=parent.tags,
            parent_id=parent.id,
            call_ids=asked.call_ids,
        )

    def made_by(self, spec: ModelSpec) -> str:
        """Who made a new prompt, as its `source` says it."""
        return f"{self._called} by {spec.model} {spec.version}".rstrip()

    def unmade(self, reason: str | None, content: str | None = "") -> Unmade:
        """A prompt that did not come about, under the operator's name."""
        return Unmade(f"{self._called}: {reason}", content or "")

    def load(self, outlook: Outlook, calls: float, shown: float) -> tuple[Load, float]:
        """What `calls` calls that show so many tokens take for `n` prompts; and the tokens of a new prompt."""
        length = min(max(outlook.prompt_tokens, _USUAL_TOKENS), self.max_tokens * calls / self.n)
        load = Load(
            model=self.model,
            calls=calls,
            prompt_tokens=calls * shown,
            completion_tokens=self.n * length,
            most_calls=2 * calls,
            most_prompt_tokens=2 * calls * shown + calls * (self.max_tokens + _CORRECTION_TOKENS),
            most_completion_tokens=2 * calls * self.max_tokens,
        )
        return load, length

    @property
    def _called(self) -> str:
        return self.name or str(getattr(self, "kind", ""))


def stated(text: object) -> str:
    """The text of a new prompt as an answer gives it. Raises `Unparsable`."""
    if not isinstance(text, str) or not text.strip():
        raise Unparsable("a prompt in it is empty or no text")
    return text.strip()
