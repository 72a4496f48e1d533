"""Prompts of a test set that are in the training set too (I12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Share
from triptych.audit.needs import Need

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_TRAIN = ("train", "training", "split:train")
_TEST = ("test", "validation", "valid", "dev", "eval", "held_out", "split:test", "split:validation")


def _has_prompts(data: Data) -> bool:
    return not data.prompts.head(1).collect().is_empty()


def _is_split(data: Data) -> bool:
    return all(bool(data.asked.select(_in(names).any()).item()) for names in (_TRAIN, _TEST))


def _in(names: tuple[str, ...]) -> pl.Expr:
    """Whether one of a prompt's tags is among these."""
    import polars as pl

    return pl.any_horizontal(pl.col("tags").list.contains(name) for name in names).fill_null(False)


PROMPTS = Need("prompts", "run a recipe, or import data that has them", _has_prompts)
SPLIT = Need("prompts tagged as train and test", "tag each prompt with the split that it is in", _is_split)


class SameQuestionApart(Share):
    """Share of prompts that ask the same as a prompt of another family, apart from case, white space and the marks at the ends of
    words.

    Exports split by families, and a prompt without a family is its own, so that a split is likely to put the two on
    different sides: what is then measured on the held-out rows was trained on.
    """

    name = "same_question_apart"
    failure_mode = "I12"
    needs = (PROMPTS,)
    good = (0.0, 0.02)
    error = (0.0, 0.3)
    change = "drop prompts that are there twice, or give those that ask the same the same family_id"
    repair = "resplit"

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each prompt, and whether one of another family asks the same; prompts that ask the same are one cluster."""
        import polars as pl

        apart = pl.col("family").n_unique().over("asks") > 1
        # Copies of a prompt come and go together, so they are what the interval must take for one.
        return data.asked.lazy().select(
            part=apart, whole=1, id="prompt_id", prompt_id=pl.col("asks").cast(pl.String), shows=apart
        )

    def say(self) -> tuple[str, str]:  # type: ignore[override]
        """About all prompts."""
        return "", "A prompt of another family asks the same as one of"


class TestPromptsInTraining(Share):
    """Share of prompts tagged as test (or validation, dev, held_out) that ask the same as a prompt tagged as train, apart from
    case, white space and the marks at the ends of words, or are of the same family."""

    __test__ = False  # no test, though it is called one

    name = "test_prompts_in_training"
    failure_mode = "I12"
    needs = (PROMPTS, SPLIT)
    good = (0.0, 0.0)
    error = (0.0, 0.1)
    change = "split by families of prompts, and give prompts that ask the same the same family_id"
    repair = "resplit"

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each test prompt, and whether it is in the training set."""
        import polars as pl

        asked = data.asked.lazy()
        train = asked.filter(_in(_TRAIN))
        leaked = pl.col("asks").is_in(train.select("asks").collect().to_series().implode()) | pl.col("family").is_in(
            train.select("family").collect().to_series().implode()
        )
        return asked.filter(_in(_TEST)).select("prompt_id", part=leaked, whole=1, id="prompt_id", shows=leaked)

    def say(self) -> tuple[str, str]:  # type: ignore[override]
        """About all test prompts."""
        return "", "Test prompts are in the training set too for"
