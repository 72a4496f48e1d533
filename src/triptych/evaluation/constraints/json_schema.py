"""The constraint that the whole answer is JSON of a given schema."""

from __future__ import annotations

from typing import Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field

from triptych.errors import MissingExtra
from triptych.evaluation.constraints.check import Check
from triptych.evaluation.constraints.json_object import read_json


class JsonSchema(BaseModel):
    """The whole answer is JSON, bare or in a code fence, and valid under a JSON Schema (any draft, 2020-12 by default).

    Patterns in the schema can't have look-around or back-references, so that their time is bounded; references to
    other documents are not fetched. A schema that breaks either rule is reported when first checked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    kind: Literal["json_schema"] = "json_schema"
    json_schema: dict[str, Any] | bool = Field(alias="schema")
    """The schema; in YAML and JSON this field is called `schema`."""

    def check(self, text: str) -> Check:
        """Read the answer and hold it against the schema.

        Raises `MissingExtra` where jsonschema-rs is not installed, and `ValueError` where the schema is no schema.
        """
        validator = self._validator()
        try:
            value = read_json(text)
        except ValueError as error:
            return Check(False, str(error))
        error = next(validator.iter_errors(value), None)
        if error is None:
            return Check(True, "valid under the schema")
        return Check(False, f"{_path(error.instance_path)}: {error.message}")

    def _validator(self) -> Any:
        try:
            import jsonschema_rs
        except ImportError as error:
            raise MissingExtra("json_schema needs jsonschema-rs: pip install 'triptych[verify]'") from error
        try:
            return jsonschema_rs.validator_for(
                self.json_schema, retriever=_refuse, pattern_options=jsonschema_rs.RegexOptions()
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            raise ValueError(f"the schema of json_schema can't be used: {_first_line(error)}") from error


def _refuse(uri: str) -> NoReturn:
    # Schemas come with data that others made: checking an answer must not make requests for them.
    raise ValueError(f"{uri} is another document, and those are not fetched")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _path(places: list[str | int]) -> str:
    return "$" + "".join(f"[{place}]" if isinstance(place, int) else f".{place}" for place in places)
