"""What a plan expects: of a prompt when an operator's turn comes, and of the calls that the operator then makes."""

from __future__ import annotations

import msgspec


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan expects of one prompt when an operator's turn comes; tokens are estimates."""

    prompt_tokens: float
    """Mean length of a prompt."""
    prompts: float = 1.0
    """Prompts that come of one row of the source; all other figures are of one prompt."""
    criteria: float = 0.0
    """Criteria that a prompt has of its own."""
    given: float = 0.0
    """Responses that come with a prompt."""
    given_tokens: float = 0.0
    """Mean length of those."""
    responses: float = 0.0
    """Responses made so far."""
    response_tokens: float = 0.0
    """Mean length of a response."""
    longest_response_tokens: float = 0.0

    def evolved(self, made: float, tokens: float, kept: bool) -> Outlook:
        """The outlook after each prompt has become so many new ones of so many tokens, and has itself stayed or not.

        New prompts come without responses and criteria.
        """
        total = made + kept
        old = kept / total if total else 0.0
        return msgspec.structs.replace(
            self,
            prompts=self.prompts * total,
            prompt_tokens=old * self.prompt_tokens + (1 - old) * tokens,
            criteria=old * self.criteria,
            given=old * self.given,
        )

    def with_responses(self, responses: float, tokens: float, longest: float) -> Outlook:
        """The outlook after so many more responses, of so many tokens each."""
        total = self.responses + responses
        mean = (self.responses * self.response_tokens + responses * tokens) / total if total else 0.0
        return msgspec.structs.replace(
            self,
            responses=total,
            response_tokens=mean,
            longest_response_tokens=max(self.longest_response_tokens, longest),
        )


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that an operator is expected to make for one prompt, all taken together."""

    model: str
    calls: float
    prompt_tokens: float
    completion_tokens: float
    most_calls: float
    """Should every question that may be asked again be asked again. Attempts that fail are not counted."""
    most_prompt_tokens: float
    most_completion_tokens: float
    """Should every answer be as long as its `max_tokens` allows, too."""

    def at_most(self, most: Load) -> Load:
        """This load, with the bounds of another one."""
        return msgspec.structs.replace(
            self,
            most_calls=most.most_calls,
            most_prompt_tokens=most.most_prompt_tokens,
            most_completion_tokens=most.most_completion_tokens,
        )
