"""What a diagnostic needs to find in the data, and how to get it where it is not there."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from triptych.audit.data import Data


class Need(msgspec.Struct, frozen=True):
    """One thing that is needed."""

    what: str
    """In words, such as `several responses to a prompt`."""
    how: str
    """How to get it."""
    met: Callable[[Data], bool]


def _library(data: Data) -> bool:
    return all(find_spec(name) is not None for name in ("numpy", "scipy", "sklearn", "statsmodels", "krippendorff"))


def _any_prompt_with_two(data: Data) -> bool:
    return bool(data.features.height > data.features["prompt_id"].n_unique())


LIBRARIES = Need("the extra `audit`", "pip install 'triptych[audit]'", _library)
RESPONSES = Need("responses", "run a recipe, or import data that has them", lambda data: data.features.height > 0)
IMPORTED = Need("rows of a file", "import data; a run asks each prompt once", lambda data: data.rows_read > 0)
SEVERAL_RESPONSES = Need(
    "several responses to a prompt", "sample n of 2 or more, or import data that has them", _any_prompt_with_two
)
PAIRS = Need("training pairs", "instantiate pairs", lambda data: data.pairs.height > 0)
MARGINS = Need(
    "pairs with margins", "make pairs of scores, or import a margin; scores of a file count once their scale is told: --scale LOW HIGH", lambda data: data.pairs["margin"].count() > 0
)
SCORES = Need(
    "scores of responses", "judge with a rubric, a reward model or a verifier", lambda data: data.scored.height > 0
)
GRADED = Need(
    "scores other than yes or no",
    "judge on a scale, by several criteria or several judges: between yes and no all margins are alike",
    lambda data: set(data.overall["score"].unique()) != {0.0, 1.0},
)
BOTH_ORDERS = Need(
    "pairs judged in both orders",
    "use `pairwise` with both orders",
    lambda data: data.duels["a_first"].is_not_null().any() and data.duels["b_first"].is_not_null().any(),
)
JUDGED = Need(
    "judgements by a model", "judge with a model, or import its verdicts", lambda data: data.preferences.height > 0
)
GOLD = Need(
    "gold labels beside a judge's",
    "let people or a verifier judge some of it, or name the evaluator that is gold",
    lambda data: data.gold.height > 0 and data.preferences.height > 0,
)
SEVERAL_JUDGES = Need(
    "verdicts of several evaluators",
    "judge with two or more models",
    lambda data: data.preferences["evaluator_id"].n_unique() > 1,
)
SEVERAL_CRITERIA = Need(
    "scores on several criteria", "declare two or more criteria", lambda data: data.scored["criterion"].n_unique() > 1
)
RECIPE = Need("a recipe", "audit a run folder", lambda data: data.recipe is not None)
LOGPROBS = Need(
    "log-probabilities of the responses under a policy",
    "name a policy: --policy MODEL",
    lambda data: data.logprobs is not None,
)
POLICY = Need(
    "the policy's name",
    "audit a run whose recipe declares the model `policy`, or name one: --policy MODEL",
    lambda data: data.policy is not None,
)
ROUNDS = Need("rounds of a loop", "audit a loop that has come to its second round", lambda data: len(data.rounds) > 0)
TEST_SETS = Need("texts of tests", "name files of them: --test-set NAME=FILE", lambda data: bool(data.test_sets))
PROMPTS = Need(
    "texts of prompts",
    "audit data whose prompts are there",
    lambda data: not data.prompts.limit(1).collect().is_empty(),
)
EMBEDDINGS = Need(
    "embeddings of the responses",
    "name a model of embeddings: --embeddings MODEL",
    lambda data: data.embeddings is not None,
)
