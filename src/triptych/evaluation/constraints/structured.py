"""Constraints on structured answers: JSON, JSON Schema, regular expressions."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field, field_validator

from triptych.errors import MissingExtra
from triptych.evaluation.constraints.check import Check, Checkable

_FENCE = re.compile(r"\A\s*```[a-zA-Z]*\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)
_REGEX_TIMEOUT_S = 1.0


class Json(Checkable):
    """Is JSON as a whole; a code fence around it is allowed, as in IFEval."""

    kind: Literal["json"] = "json"
    keys: tuple[str, ...] = ()
    """Keys that the JSON object must have."""

    def check(self, text: str) -> Check:
        """Parse the whole text."""
        value, error = _parse(text)
        if error is not None:
            return Check(False, error)
        missing = [key for key in self.keys if not isinstance(value, dict) or key not in value]
        return Check(not missing, f"lacks the keys {', '.join(missing)}" if missing else "is JSON")


class JsonSchema(Checkable):
    """Is JSON that follows a JSON Schema; a code fence around it is allowed. Needs the extra `verify`."""

    kind: Literal["json_schema"] = "json_schema"
    json_schema: dict[str, Any] = Field(alias="schema")

    @field_validator("json_schema")
    @classmethod
    def _is_a_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
        try:
            _schema_validator(json.dumps(schema))
        except MissingExtra:
            pass  # said when something is checked
        except ValueError as error:
            raise ValueError(f"is no JSON Schema: {error}") from error
        return schema

    def check(self, text: str) -> Check:
        """Parse the whole text and validate it; references to other documents are not followed."""
        value, error = _parse(text)
        if error is not None:
            return Check(False, error)
        failure = next(iter(_schema_validator(json.dumps(self.json_schema)).iter_errors(value)), None)
        if failure is None:
            return Check(True, "follows the schema")
        place = ".".join(map(str, failure.instance_path)) or "the whole"
        return Check(False, f"{place}: {failure.message}"[:300])


class Regex(Checkable):
    """Matches a regular expression, somewhere or as a whole. Needs the extra `verify`."""

    kind: Literal["regex"] = "regex"
    pattern: str = Field(min_length=1)
    mode: Literal["search", "fullmatch"] = "search"

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"is no regular expression: {error}") from error
        return pattern

    def check(self, text: str) -> Check:
        """Match within a second: patterns come from data, and some would never end."""
        try:
            import regex
        except ImportError as error:
            raise MissingExtra("the constraint regex needs: pip install 'triptych[verify]'") from error
        try:
            subject = text.strip() if self.mode == "fullmatch" else text
            found = getattr(regex, self.mode)(self.pattern, subject, timeout=_REGEX_TIMEOUT_S)
        except TimeoutError:
            return Check(False, f"the pattern did not end in {_REGEX_TIMEOUT_S:g} s")
        return Check(found is not None, "matches" if found else "does not match")


@lru_cache(maxsize=512)
def _schema_validator(schema: str) -> Any:
    try:
        import jsonschema_rs
    except ImportError as error:
        raise MissingExtra("the constraint json_schema needs: pip install 'triptych[verify]'") from error

    def refuse(address: str) -> Any:
        raise ValueError(f"it refers to another document ({address})")

    return jsonschema_rs.validator_for(json.loads(schema), retriever=refuse)


def _parse(text: str) -> tuple[Any, str | None]:
    fenced = _FENCE.match(text)
    try:
        return json.loads(fenced.group(1) if fenced else text), None
    except (ValueError, RecursionError) as error:
        return None, f"is not JSON: {error}"[:200]
