"""From what a row says to the records of a run."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from triptych.imports.item import Format, Item, Verdict, criterion
from triptych.records import (
    Judgement,
    Prompt,
    Response,
    content_id,
    draw,
    make_judgement,
    make_prompt,
    make_response,
)

Records = tuple[Prompt, tuple[Response, ...], tuple[Judgement, ...]]

GENERATOR = "given"
"""Responses of imported data came with it, as those do that a source of prompts holds."""


class RecordMaker:
    """Makes records of the rows of one format. The same row gives the same ids, wherever it stands in which file."""

    def __init__(self, form: Format, source: str) -> None:
        """`source` is where prompts come from that do not say so themselves."""
        self._form = form
        self._source = source
        self._criterion_id = cache(lambda name: criterion(form, name).id)
        self._evaluator_id = cache(lambda name, annotator: content_id("o", ["imported", name, annotator]))
        self._generator_id = cache(lambda model: content_id("o", [GENERATOR, model]))

    def __call__(self, item: Item) -> Records:
        """The prompt, the responses and the judgements of a row; none of them twice."""
        prompt = make_prompt(item.messages, **{"source": self._source, **item.about})
        responses = self._responses(prompt.id, item)
        ids = tuple(response.id for response in responses)
        judgements = {one.id: one for one in (self._judgement(prompt.id, ids, said) for said in item.verdicts)}
        return prompt, responses, tuple(judgements.values())

    def _responses(self, prompt_id: str, item: Item) -> tuple[Response, ...]:
        found: list[Response] = []
        said: dict[Any, int] = {}
        for answer in item.answers:
            # Two answers of a row that say the same are two samples; the same answer in another row is the same one.
            key = (answer.model, answer.messages)
            number = said[key] = said.get(key, -1) + 1
            found.append(
                make_response(
                    prompt_id=prompt_id,
                    generator=GENERATOR,
                    generator_id=self._generator_id(answer.model),
                    sample_index=number,
                    model=answer.model,
                    messages=answer.messages,
                    params=answer.params,
                    parent_id=None if answer.parent is None else found[answer.parent].id,
                )
            )
        return tuple(found)

    def _judgement(self, prompt_id: str, ids: tuple[str, ...], said: Verdict) -> Judgement:
        if not said.shown and len(said.of) > 1:
            said = _in_no_order(ids, said)
        name = said.evaluator or self._form.name
        verdict = [said.scores, said.ranks, said.probability, said.rationale, said.raw]
        return make_judgement(
            prompt_id=prompt_id,
            response_ids=tuple(ids[place] for place in said.of),
            step=said.step,
            criterion=said.criterion,
            criterion_id=self._criterion_id(said.criterion),
            evaluator=name,
            evaluator_id=self._evaluator_id(name, said.annotator),
            # The data may hold several verdicts of unnamed people on the same thing: they are as many as they differ.
            repeat=draw(0, verdict),
            model=said.model,
            scores=said.scores,
            ranks=said.ranks,
            probability=said.probability,
            scale=said.scale,
            weight=said.weight,
            rationale=said.rationale,
            raw=said.raw,
            status=said.status,
            error=said.error,
            objective_version="v1",
        )


def _in_no_order(ids: tuple[str, ...], said: Verdict) -> Verdict:
    """A verdict with its responses in the order of their ids: of the order in which they were shown nothing is known.

    In the data the better one mostly comes first; left there, it would look as if judges took what comes first.
    """
    order = sorted(range(len(said.of)), key=lambda place: ids[said.of[place]])
    if order == list(range(len(order))):
        return said
    turned = len(order) == 2 and said.probability is not None
    return msgspec.structs.replace(
        said,
        of=tuple(said.of[place] for place in order),
        scores=None if said.scores is None else tuple(said.scores[place] for place in order),
        ranks=None if said.ranks is None else tuple(said.ranks[place] for place in order),
        probability=round(1 - said.probability, 12) if turned and said.probability is not None else said.probability,
    )
