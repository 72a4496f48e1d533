"""The example: one training row, and all that it rests on."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from triptych.records.ids import content_id
from triptych.records.messages import Message
from triptych.records.span import Span

ExampleKind = Literal["pair", "unpaired", "group", "ranking", "stepwise", "sft"]

RARE = frozenset({"spans", "input", "outputs"})
"""Fields that count towards an id only where there is something in them."""


class Example(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One training row. The texts are found by the response ids; the reasons by the judgement ids."""

    id: str
    """Hash of its content."""
    kind: ExampleKind
    """What sort of example it is."""
    prompt_id: str
    """The prompt that it belongs to."""
    response_ids: tuple[str, ...]
    """A pair is (chosen, rejected); a ranking goes from best to worst."""
    scores: tuple[float, ...] = ()
    """The objective's score of each response, in [0, 1]."""
    labels: tuple[float, ...] = ()
    """What the loss is told of each response or step: 1 and 0, a soft label, an advantage."""
    margin: float | None = None
    """Score of the chosen less score of the rejected, in [0, 1]."""
    weight: float = 1.0
    """How much the example counts in training."""
    spans: tuple[Span, ...] = ()
    """Weights of parts of the responses, where the loss weighs tokens, sentences or steps by themselves."""
    input: tuple[Message, ...] = ()
    """What the model is shown in training, where that is not the prompt as it is: the prompt with attributes that the
    response has, or the question that a judge was asked."""
    outputs: tuple[str, ...] = ()
    """What it learns to say or not to say, in the order of `response_ids`, where that is not what the responses say: a
    judge's answer about them. An answer about several responses is one output."""
    strategy: str
    """The instantiation that made the row, such as `best_vs_worst`."""
    strategy_id: str
    """Hash of the instantiation's settings."""
    objective_version: str = ""
    """The version that the objective declared."""
    judgement_ids: tuple[str, ...] = ()
    """Every judgement that entered the scores."""


def make_example(**fields: Any) -> Example:
    """Build an example, with its id from all of its content."""
    content = {name: value for name, value in fields.items() if value or name not in RARE}
    return Example(id=content_id("e", msgspec.to_builtins(content)), **fields)
