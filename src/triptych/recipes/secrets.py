"""What a recipe may hold that must not be published."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

_SECRET_NAME = re.compile(r"key|secret|password|authorization|credential|token$", re.IGNORECASE)


def secrets(recipe: Mapping[str, Any]) -> Iterator[str]:
    """What must not be published, longest first: the keys' values, and secrets in `extra_body`."""
    models = [spec for spec in (recipe.get("models") or {}).values() if isinstance(spec, dict)]
    variables = {spec.get("api_key_env") for spec in models} | {"OPENAI_API_KEY"}
    values = {os.environ.get(name, "") for name in variables if name}
    values |= {text for spec in models for text in _named_secret(spec.get("extra_body"))}
    return iter(sorted((value for value in values if len(value) >= 4), key=len, reverse=True))


def _named_secret(value: Any, secret: bool = False) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _named_secret(inner, secret or bool(_SECRET_NAME.search(str(name))))
    elif isinstance(value, list):
        for inner in value:
            yield from _named_secret(inner, secret)
    elif secret and isinstance(value, str):
        yield value
