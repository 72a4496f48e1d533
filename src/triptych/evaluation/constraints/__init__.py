"""Checkable constraints on an answer, in the manner of IFEval (arXiv:2311.07911), found by their `kind`.

Each is a frozen pydantic model whose `check` says of one text whether it holds, and what was seen. The
dictionaries of `Prompt.constraints` are read with `TypeAdapter(Constraint)`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from triptych.evaluation.constraints.casing import AllLowercase, AllUppercase, CapitalWords
from triptych.evaluation.constraints.check import Check
from triptych.evaluation.constraints.final_answer import FinalAnswer
from triptych.evaluation.constraints.formats import (
    Bullets,
    Highlights,
    NoCommas,
    NumberedList,
    OneOf,
    Placeholders,
    Postscript,
    Quoted,
    Title,
)
from triptych.evaluation.constraints.keywords import (
    EndsWith,
    Excludes,
    Includes,
    KeywordCount,
    LetterCount,
    StartsWith,
)
from triptych.evaluation.constraints.language import Language
from triptych.evaluation.constraints.length import Characters, Lines, Paragraphs, Sentences, Words
from triptych.evaluation.constraints.parts import Sections, Separator
from triptych.evaluation.constraints.structured import Json, JsonSchema, Regex
from triptych.evaluation.constraints.unit_tests import UnitTests

Constraint = Annotated[
    Words
    | Sentences
    | Paragraphs
    | Lines
    | Characters
    | Includes
    | Excludes
    | KeywordCount
    | LetterCount
    | StartsWith
    | EndsWith
    | Bullets
    | NumberedList
    | Title
    | Sections
    | Postscript
    | Separator
    | Highlights
    | Placeholders
    | Quoted
    | NoCommas
    | OneOf
    | AllLowercase
    | AllUppercase
    | CapitalWords
    | Json
    | JsonSchema
    | Regex
    | Language
    | FinalAnswer
    | UnitTests,
    Field(discriminator="kind"),
]
"""Any constraint, told apart by its `kind`."""

__all__ = ["Check", "Constraint"]
