"""Diagnostics of panel 1: prompts and responses."""

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.synthesis.contrast import NoContrast, UniqueAnswers
from triptych.audit.synthesis.no_answer import ResponsesWithoutAnswer

DIAGNOSTICS: tuple[Diagnostic, ...] = (
    ResponsesWithoutAnswer(),
    UniqueAnswers(),
    NoContrast(),
)
