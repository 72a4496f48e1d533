"""The four records that all data is made of, their ids, chat messages and the objective."""

from triptych.records.example import Example, ExampleKind, make_example
from triptych.records.ids import canonical_json, content_id, content_ids, draw, hashed
from triptych.records.judgement import Judgement, JudgementStatus, StepLocator, make_judgement
from triptych.records.messages import Message, Role, ToolCall, message_from_openai, message_to_openai
from triptych.records.objective import Criterion, Objective
from triptych.records.prompt import Prompt, make_prompt
from triptych.records.response import Response, ResponseStatus, make_response
from triptych.records.span import Span

__all__ = [
    "Criterion",
    "Example",
    "ExampleKind",
    "Judgement",
    "JudgementStatus",
    "Message",
    "Objective",
    "Prompt",
    "Response",
    "ResponseStatus",
    "Role",
    "Span",
    "StepLocator",
    "ToolCall",
    "canonical_json",
    "content_id",
    "content_ids",
    "draw",
    "hashed",
    "make_example",
    "make_judgement",
    "make_prompt",
    "make_response",
    "message_from_openai",
    "message_to_openai",
]
