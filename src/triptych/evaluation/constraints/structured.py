"""Constraints on structured answers: JSON, JSON Schema, regular expressions."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic_core import SchemaError

from triptych.errors import MissingExtra
from triptych.evaluation.constraints.check import Check, Checkable

_FENCE = re.compile(r"```[a-zA-Z]*\s*")


class Json(Checkable):
    """Is one JSON object or list as a whole; a code fence around it is allowed, as in IFEval."""

    kind: Literal["json"] = "json"
    keys: tuple[str, ...] = ()
    """Keys that the JSON object must have."""

    def check(self, text: str) -> Check:
        """Parse the whole text."""
        value, error = _parse(text)
        if error is not None:
            return Check(False, error)
        if not isinstance(value, dict | list):
            return Check(False, "is JSON, but neither an object nor a list")
        missing = [key for key in self.keys if not isinstance(value, dict) or key not in value]
        return Check(not missing, f"lacks the keys {', '.join(missing)}" if missing else "is JSON")


class JsonSchema(Checkable):
    """Is JSON that follows a JSON Schema; a code fence around it is allowed. Needs the extra `verify`."""

    kind: Literal["json_schema"] = "json_schema"
    json_schema: dict[str, Any] = Field(alias="schema")
    """The schema that the JSON must follow."""

    @field_validator("json_schema")
    @classmethod
    def _is_a_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
        try:
            _schema_validator(json.dumps(schema))
        except MissingExtra:
            pass  # said when something is checked
        except ValueError as error:
            raise ValueError(f"is no JSON Schema: {error}") from error
        except RecursionError:
            raise ValueError("is no JSON Schema: it nests too deeply") from None
        return schema

    def check(self, text: str) -> Check:
        """Parse the whole text and validate it; references to other documents are not followed."""
        value, error = _parse(text)
        if error is not None:
            return Check(False, error)
        validator = _schema_validator(json.dumps(self.json_schema))
        from jsonschema_rs import ValidationError as DoesNotFollow

        try:
            validator.validate(value)
        except DoesNotFollow as failure:
            place = ".".join(map(str, failure.instance_path)) or "the whole"
            return Check(False, f"{place}: {failure.message}"[:300])
        return Check(True, "follows the schema")


class Regex(Checkable):
    r"""Matches a regular expression of Rust's `regex` crate, the engine that pydantic brings with it.

    It takes time in proportion to pattern times text and refuses patterns that compile to more than 10 MiB: a
    pattern from a data set can't hang a run, and a verdict does not depend on how fast the machine is. For that it
    has no look-around and no back-references; `$` matches at the very end only, and Python's `\Z` is `\z`.
    """

    kind: Literal["regex"] = "regex"
    pattern: str = Field(min_length=1)
    """The expression, in the syntax of the Rust crate `regex`."""
    mode: Literal["search", "fullmatch"] = "search"
    """Whether a match anywhere will do, or the whole text, without the white space around it, must match."""

    @model_validator(mode="after")
    def _compiles(self) -> Self:
        # the bare pattern first: "a)(?:b" is no pattern, though it would be one inside the brackets of fullmatch
        for pattern in (self.pattern, self._anchored()):
            _matcher(pattern)
        return self

    def check(self, text: str) -> Check:
        """Look for a match."""
        try:
            _matcher(self._anchored()).validate_python(text.strip() if self.mode == "fullmatch" else text)
        except ValidationError:
            return Check(False, "does not match")
        return Check(True, "matches")

    def _anchored(self) -> str:
        return self.pattern if self.mode == "search" else rf"\A(?:{self.pattern})\z"


@lru_cache(maxsize=512)
def _matcher(pattern: str) -> TypeAdapter[str]:
    try:
        return TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)])
    except SchemaError as error:
        raise ValueError(f"is no usable regular expression: {str(error).partition('SchemaError: ')[2]}") from error


@lru_cache(maxsize=512)
def _schema_validator(schema: str) -> Any:
    try:
        import jsonschema_rs
    except ImportError as error:
        raise MissingExtra("the constraint json_schema needs: pip install 'triptych[verify]'") from error

    def refuse(address: str) -> Any:
        raise ValueError(f"it refers to another document ({address})")

    return jsonschema_rs.validator_for(
        json.loads(schema), retriever=refuse, pattern_options=jsonschema_rs.RegexOptions()
    )


def _parse(text: str) -> tuple[Any, str | None]:
    try:
        return json.loads(_without_fence(text), parse_constant=_refuse_constant), None
    except (ValueError, RecursionError) as error:
        return None, f"is not JSON: {error}"[:200]


def _without_fence(text: str) -> str:
    plain = text.strip()
    first, line_end, rest = plain.partition("\n")
    fenced = line_end and rest.endswith("```") and _FENCE.fullmatch(first)
    return rest.removesuffix("```").strip() if fenced else text


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
