"""Checkable constraints on the text of an answer, in the manner of IFEval (arXiv 2311.07911), found by their `kind`.

Each is a frozen pydantic model whose `check` says of one text whether it holds, and what was seen. They can be read
from the dictionaries of `Prompt.constraints` with `TypeAdapter(Constraint)`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from triptych.evaluation.constraints.casing import AllLowercase, AllUppercase, CapitalWords
from triptych.evaluation.constraints.check import Check
from triptych.evaluation.constraints.choice import OneOf
from triptych.evaluation.constraints.final_answer import FinalAnswer
from triptych.evaluation.constraints.json_object import Json
from triptych.evaluation.constraints.json_schema import JsonSchema
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
from triptych.evaluation.constraints.lists import Bullets, NumberedList
from triptych.evaluation.constraints.marks import Highlights, NoCommas, Placeholders, Quoted
from triptych.evaluation.constraints.parts import Postscript, Sections, Separator, Title
from triptych.evaluation.constraints.pattern import Regex

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
    | FinalAnswer,
    Field(discriminator="kind"),
]
"""Any constraint, told apart by its `kind`."""

__all__ = ["Check", "Constraint"]
