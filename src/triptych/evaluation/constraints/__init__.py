"""Checkable constraints on a text, in the manner of IFEval (arXiv:2311.07911), found by their `kind`."""

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
from triptych.evaluation.constraints.structured import Json, JsonSchema, Regex

Constraint = Annotated[
    AllLowercase
    | AllUppercase
    | Bullets
    | CapitalWords
    | Characters
    | EndsWith
    | Excludes
    | FinalAnswer
    | Highlights
    | Includes
    | Json
    | JsonSchema
    | KeywordCount
    | Language
    | LetterCount
    | Lines
    | NoCommas
    | NumberedList
    | OneOf
    | Paragraphs
    | Placeholders
    | Postscript
    | Quoted
    | Regex
    | Sentences
    | StartsWith
    | Title
    | Words,
    Field(discriminator="kind"),
]

__all__ = ["Check", "Constraint"]
