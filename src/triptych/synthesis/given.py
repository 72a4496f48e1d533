"""Responses that come with the prompts: from people, other models, or a data set."""

from __future__ import annotations

from typing import Literal

from triptych.models.chat import Ask
from triptych.operators import Case, Load, Operator, Outlook
from triptych.records import Message, Response, content_id, make_response


class Given(Operator):
    """Takes over the responses that the source of prompts holds (its `responses` column). Makes no call."""

    kind: Literal["given"] = "given"

    @property
    def needs(self) -> tuple[str, ...]:
        """What it needs of prompts, in words."""
        return ("prompts with responses",)

    async def respond(self, case: Case, ask: Ask) -> list[Response]:
        """Make one response of each that came with the prompt."""
        return [
            make_response(
                prompt_id=case.prompt.id,
                generator="given",
                generator_id=content_id("o", ["given", given.source]),
                sample_index=index,
                model=given.source,
                messages=(Message("assistant", given.text),),
            )
            for index, given in enumerate(case.given)
        ]

    def forecast(self, outlook: Outlook) -> tuple[list[Load], Outlook]:
        """Expect no call."""
        return [], outlook.with_responses(outlook.given, outlook.given_tokens, outlook.given_tokens)
