"""What a full audit asks models for: how likely a policy finds the responses, and their embeddings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from triptych.audit.data import Data
from triptych.audit.embeddings import embedded
from triptych.audit.signal import Scoring, score_responses
from triptych.audit.signal.scoring import EMBEDDED, own_log
from triptych.errors import Problem, RecipeError, TriptychError
from triptych.models.budget import Budget
from triptych.models.calls import Counts
from triptych.models.spec import EmbeddedModel, ModelSpec
from triptych.operators import suggestion
from triptych.store.run import Run

if TYPE_CHECKING:
    import polars as pl


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be asked for; nothing makes a quick audit, which calls no model."""

    policy: str | None = None
    """A model of the run's recipe, or `embedded`."""
    reference: str | None = None
    embeddings: str | None = None
    models: Mapping[str, ModelSpec] = {}
    """Models beside those of the recipe, by name."""
    calls: str | Path | None = None
    """The call log; the run's own if not given."""
    budget: Budget | None = None
    """Of the log-probabilities, and again of the embeddings."""

    @property
    def anything(self) -> bool:
        """Whether a model is called at all."""
        return self.policy is not None or self.reference is not None or self.embeddings is not None


def full_data(
    run: Run,
    asked: Asked,
    *,
    gold: Sequence[str] | None = None,
    test_sets: Mapping[str, Sequence[str]] | None = None,
    scoring: Callable[[Scoring], None] | None = None,
    embedding: Callable[[Counts], None] | None = None,
) -> Data:
    """Take a run's tables, and ask what is to be asked.

    `scoring` and `embedding` are told how far it is and what it has cost. Raises what `score_responses` and `embedded` raise,
    and `RecipeError` where a model is not declared, or a reference is named without a policy.
    """
    if asked.reference is not None and asked.policy is None:
        raise RecipeError(run.called, [Problem("a reference is compared with a policy: name one", "--policy")])
    data = Data.of(run, gold=gold, test_sets=test_sets)
    declared: dict[str, Any] = dict(data.recipe.models if data.recipe is not None else {}) | dict(asked.models)
    log = Path(asked.calls) if asked.calls is not None else own_log(run)
    logprobs = policy = embeddings = None
    if asked.embeddings is not None:
        declared.setdefault(EMBEDDED, EmbeddedModel(pooling="mean"))
        model = _embeds(run, asked.embeddings, declared)
    if asked.policy is not None:
        logprobs = score_responses(
            run,
            asked.policy,
            asked.reference,
            models=asked.models,
            calls=log,
            budget=asked.budget,
            progress=scoring,
        )
        policy = declared[asked.policy].model if asked.policy in declared else EmbeddedModel().model
    if asked.embeddings is not None:
        counts = Counts()
        embeddings = embedded(data, model, log, budget=asked.budget, counts=counts)
        if embedding is not None:
            embedding(counts)
    if not asked.anything:
        return data
    return Data.of(run, gold=gold, logprobs=logprobs, policy=policy, embeddings=_some(embeddings), test_sets=test_sets)


def _some(embeddings: pl.DataFrame | None) -> pl.DataFrame | None:
    if embeddings is not None and not embeddings.height:
        raise TriptychError("the model gave no embedding of any response; does it have `pooling`, or /v1/embeddings?")
    return embeddings


def _embeds(run: Run, name: str, declared: Mapping[str, Any]) -> ModelSpec:
    if name not in declared:
        said = f"model {name!r} is not declared{suggestion(name, declared)}"
        raise RecipeError(run.called, [Problem(said, "--embeddings")])
    found: ModelSpec = declared[name]
    return found


def read_tests(path: str | Path) -> list[str]:
    """Read the texts of tests: a text for each line, or for each JSON string, or `prompt`, `question` or `text` of an object, of JSONL.

    Raises `TriptychError` where the file can't be read.
    """
    path = Path(path)
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise TriptychError(f"texts of tests can't be read from {path}: {error}") from error
    if path.suffix != ".jsonl":
        return lines
    return [_test(path, number, line) for number, line in enumerate(lines, 1)]


def _test(path: Path, number: int, line: str) -> str:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise TriptychError(f"{path}, line {number} is not JSON: {error}") from error
    if isinstance(row, dict):
        row = next((row[key] for key in ("prompt", "question", "text") if isinstance(row.get(key), str)), None)
    if not isinstance(row, str):
        raise TriptychError(f"{path}, line {number} has no text: a string, or an object with prompt, question or text")
    return row
