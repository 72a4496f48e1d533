"""Magpie: an aligned model continues the bare beginning of a user's message, and so writes prompts from nothing."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from triptych.models.chat import Ask, CallFailed, Reply, TextRequest
from triptych.models.spec import ModelSpec
from triptych.operators import Case, Load, Outlook, Unmade, estimate_tokens
from triptych.prompts._writing import MOST, Writer
from triptych.records import Message, Prompt, draw, make_prompt

_USUAL_TOKENS = 40


class Magpie(Writer):
    """Has a model write `n` prompts for each row, shown nothing but its chat template up to the user's first word.

    The way of Magpie (arXiv:2406.08464). The prompts of the source are not shown and are nobody's parents: they say how
    many are made, and `keep` whether they stay. The model's endpoint must complete raw texts.
    """

    not_in_identity: ClassVar[frozenset[str]] = frozenset({"name", "n", "keep", "min_words"})

    kind: Literal["magpie"] = "magpie"
    opening: Annotated[str, Field(min_length=1)] = "<|im_start|>user\n"
    """The model's chat template up to where the user's message begins; what stands here is that of ChatML."""
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ("<|im_end|>", "<|im_start|>")
    """Texts at which the message ends."""
    max_tokens: int = Field(default=256, ge=1)
    """Longest prompt, in tokens. One that is cut off there is left out."""
    min_words: int = Field(default=3, ge=1)
    """Fewest words of a new prompt, parted by white space."""

    async def evolve(self, case: Case, ask: Ask) -> list[Prompt | Unmade]:
        """Make up to `n` prompts, each by a call of its own."""
        spec = ask.model(self.model)
        replies = await ask(self.model, [self._request(case, spec, index) for index in range(self.n)])
        made = [self._made(spec, reply) for reply in replies]
        return [case.prompt, *made] if self.keep else made

    def forecast(self, outlook: Outlook) -> tuple[list[Load], Outlook]:
        """Expect prompts of 40 tokens."""
        length, shown = min(_USUAL_TOKENS, self.max_tokens), estimate_tokens(self.opening)
        load = Load(
            model=self.model,
            calls=self.n,
            prompt_tokens=self.n * shown,
            completion_tokens=self.n * length,
            most_calls=self.n,
            most_prompt_tokens=self.n * shown,
            most_completion_tokens=self.n * self.max_tokens,
        )
        return [load], outlook.evolved(self.n, length, self.keep)

    def _request(self, case: Case, spec: ModelSpec, index: int) -> TextRequest:
        seeded = spec.send_seed and self.temperature > 0
        number = draw(case.seed, case.prompt.id, "magpie", case.turn, index)
        return TextRequest(
            prompt=self.opening,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            stop=self.stop,
            seed=number % 2**31 if seeded else None,
            # All rows show the same, so that their number alone would make one call of the calls of all.
            sample_index=number % 2**53 // MOST * MOST + index,
        )

    def _made(self, spec: ModelSpec, reply: Reply | CallFailed) -> Prompt | Unmade:
        if isinstance(reply, CallFailed):
            return self.unmade(reply.error)
        choice = reply.choices[0]
        text = choice.text.strip()
        if choice.finish_reason == "length":
            return self.unmade("it was cut off at max_tokens", text)
        if len(text.split()) < self.min_words:
            return self.unmade(f"it has {len(text.split())} words, fewer than {self.min_words}", text)
        return make_prompt((Message("user", text),), source=self.made_by(spec), call_ids=(reply.call_id,))
