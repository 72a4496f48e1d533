"""The judgement: one evaluator's verdict on one criterion, raw."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from triptych.records.ids import content_id
from triptych.records.span import Span

JudgementStatus = Literal["ok", "unparsed", "refused", "failed"]


class StepLocator(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The part of a response that a judgement is about, where it is not the whole."""

    unit: Literal["step", "sentence", "span", "turn", "segment", "fact"]
    index: int
    """Which one, from 0."""
    message: int = 0
    """The message of the response that holds it, from 0."""
    start: int | None = None
    """First character of the part in that message's content."""
    end: int | None = None
    """One past its last character."""


class Judgement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One verdict. Weights, thresholds, ties and pairing are not here: they are applied when instantiating."""

    id: str
    """Hash of its content."""
    prompt_id: str
    """The prompt that it belongs to."""
    response_ids: tuple[str, ...]
    """The responses judged, in the order in which they were shown."""
    step: StepLocator | None = None
    """The part of the response that is judged, where it is not the whole."""
    about: tuple[str, ...] = ()
    """The judgements that are judged, in the order in which they were shown, where it is they and not the response. Its
    scores or ranks are then theirs, and enter no response's score."""
    criterion: str
    """The criterion's name in the objective."""
    criterion_id: str
    """Hash of the criterion's text: another wording is another criterion."""
    evaluator: str
    """The evaluator's name: its declared `name`, or its kind."""
    evaluator_id: str
    """Hash of the evaluator's settings and its model's identity."""
    check: str | None = None
    """The single check that a verifier made, such as `words` or `final_answer`."""
    model: str | None = None
    """The judging model; None for verifiers and people."""
    model_version: str = ""
    """The version that the recipe declares for the model."""
    objective_version: str = ""
    """The version that the objective declared."""
    scores: tuple[float, ...] | None = None
    """A score for each response shown, on `scale`."""
    ranks: tuple[int, ...] | None = None
    """A rank for each response shown: 1 is best, equal ranks are a tie. A choice between two is (1, 2) or (2, 1)."""
    probability: float | None = None
    """In [0, 1]: the probability that the first response shown is the better one, or that the verdict holds."""
    weight: float = 1.0
    """What it counts for among the verdicts of one evaluator on one criterion, as the prompt's own criteria declare."""
    scale: tuple[float, float] | None = None
    """Lowest and highest score that the evaluator could have given."""
    spans: tuple[Span, ...] = ()
    """What it says of single tokens or other parts of the responses, where it tells them apart, beside its scores."""
    rationale: str | None = None
    """The reasons that the evaluator gave; what a verifier found."""
    raw: str | None = None
    """What the judge said, in full, where it could not be parsed."""
    status: JudgementStatus = "ok"
    """`ok`, `unparsed`, `refused` or `failed`."""
    error: str | None = None
    """What went wrong, where the status is not `ok`."""
    cost_usd: float = 0.0
    """What its calls cost, in US dollars."""
    call_ids: tuple[str, ...] = ()
    """The calls in the call log that it rests on."""
    created_at: datetime | None = None
    """When the answer came in (UTC)."""


def make_judgement(
    *,
    prompt_id: str,
    response_ids: tuple[str, ...],
    evaluator_id: str,
    criterion_id: str,
    check: str | None = None,
    step: StepLocator | None = None,
    about: tuple[str, ...] = (),
    repeat: int = 0,
    **fields: Any,
) -> Judgement:
    """Build a judgement, with its id from what was judged, by whom, on which criterion.

    `repeat` tells apart several askings of the same question.
    """
    identity = [prompt_id, response_ids, step, evaluator_id, criterion_id, check, repeat, *([about] if about else [])]
    return Judgement(
        id=content_id("j", identity),
        prompt_id=prompt_id,
        response_ids=response_ids,
        evaluator_id=evaluator_id,
        criterion_id=criterion_id,
        check=check,
        step=step,
        about=about,
        **fields,
    )
