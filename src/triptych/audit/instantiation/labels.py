"""Labels that are turned round, or contradict one another (I6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from triptych.audit import agreement
from triptych.audit.diagnostic import Share
from triptych.audit.instantiation.settings import setting
from triptych.audit.needs import PAIRS
from triptych.instantiation.rescale import raw_scores, unscaled

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_CHANGE = "drop what contradicts itself, have somebody judge it again, or smooth the labels"
_ROUNDS = 64
"""Longer chains of pairs than that are no longer followed, so that nothing runs for ever."""


def _as_texts(data: Data) -> pl.LazyFrame:
    """Pairs by what their responses say, apart from case and white space: w and l are equal for equal texts."""
    import polars as pl

    named = {"w": "chosen_alike", "l": "rejected_alike"}
    return data.pair_features.lazy().select("id", "prompt_id", "strategy", **named).filter(pl.col("w") != pl.col("l"))


class ContradictoryPairs(Share):
    """Share of pairs whose opposite is in the data too: the same two texts in answer to the same prompt, the other one chosen.

    Texts that differ in case and white space alone count as the same. The two pull in opposite directions, and teach nothing.
    """

    name = "contradictory_pairs"
    failure_mode = "I6"
    needs = (PAIRS,)
    good = (0.0, 0.01)
    error = (0.0, 0.1)
    change = _CHANGE
    repair = "drop_contradictions"

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each pair, and whether its opposite is there."""
        import polars as pl

        pairs = _as_texts(data)
        opposite = pairs.select("prompt_id", w="l", l="w", part=pl.lit(1)).unique()
        return pairs.join(opposite, on=["prompt_id", "w", "l"], how="left").with_columns(
            part=pl.col("part").fill_null(0), whole=1, shows=pl.col("part").is_not_null()
        )

    def say(self) -> tuple[str, str]:  # type: ignore[override]
        """About all pairs."""
        return "", "The opposite of a pair is in the data too for"


class PreferenceCycles(Share):
    """Share of prompts with three or more pairs among three or more texts, whose pairs go round in a circle: no order of the
    responses agrees with all of them.

    Two pairs that are each other's opposite are left out here; `contradictory_pairs` counts them.
    """

    name = "preference_cycles"
    failure_mode = "I6"
    needs = (PAIRS,)
    counts = (
        "prompts with three or more pairs among three or more responses",
        "make several pairs of a prompt, such as choose: all_pairs of three responses or more",
    )
    good = (0.0, 0.05)
    error = (0.0, 0.3)
    change = (
        "make pairs of one score or ranking of each response, which can't go round in circles, or drop these prompts"
    )
    repair = "drop_contradictions"

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each prompt with enough pairs, and whether they go round in a circle."""
        import polars as pl

        edges = _as_texts(data).select("id", "prompt_id", "w", "l").unique(["prompt_id", "w", "l"]).collect()
        opposite = edges.select("prompt_id", w="l", l="w")
        edges = edges.join(opposite, on=["prompt_id", "w", "l"], how="anti")
        texts = pl.concat_list("w", "l").explode().n_unique()
        wide = edges.group_by("prompt_id").agg(pl.len(), texts.alias("texts"))
        wide = wide.filter((pl.col("len") > 2) & (pl.col("texts") > 2)).select("prompt_id")
        circles = _circles(edges.join(wide, on="prompt_id", how="semi"))
        found = circles.group_by("prompt_id").agg(pl.col("id").min(), part=pl.lit(1))
        return (
            wide.lazy()
            .join(found.lazy(), on="prompt_id", how="left")
            .with_columns(pl.col("part").fill_null(0), whole=1, shows=pl.col("id").is_not_null())
        )

    def say(self) -> tuple[str, str]:  # type: ignore[override]
        """About all prompts with enough pairs."""
        return "", "The pairs of a prompt go round in a circle for"


def _circles(edges: pl.DataFrame) -> pl.DataFrame:
    """What is left of pairs when those are taken away, again and again, whose winner never loses or whose loser never wins.

    Something is left of exactly those prompts whose pairs go round in a circle.
    """
    for _ in range(_ROUNDS):
        losers, winners = edges.select("prompt_id", w="l"), edges.select("prompt_id", l="w")
        left = edges.join(losers, on=["prompt_id", "w"], how="semi").join(winners, on=["prompt_id", "l"], how="semi")
        if left.height == edges.height:
            break
        edges = left
    return edges


class SecondOpinionAgainst(Share):
    """Share of pairs of which an evaluator that the pair does not rest on clearly prefers the rejected response, among those on
    which it has a clear preference.

    Clear: the same winner in every order asked, or different mean scores. One half is what a coin would say. What a model says
    against labels that rest on gold verdicts speaks against the model, not the label: `gold_accuracy` tells it, and it is left out
    here.
    """

    name = "second_opinion_against_label"
    failure_mode = "I6"
    needs = (PAIRS,)
    counts = (
        "a clear preference on pairs by somebody on whom they do not rest",
        "let another judge, people or a verifier look at some of the pairs",
    )
    good = (0.0, 0.35)
    error = (0.0, 0.5)
    by = ("evaluator", "evaluator_id")
    change = "have both evaluators count (a panel), leave out pairs on which they disagree, or smooth the labels"

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each clear preference of an evaluator on a pair that does not rest on it, and whether it is for the rejected."""
        import polars as pl

        a_chosen = pl.col("chosen") < pl.col("rejected")
        pairs = data.pairs.lazy().select(
            "id",
            "prompt_id",
            a=pl.min_horizontal("chosen", "rejected"),
            b=pl.max_horizontal("chosen", "rejected"),
            label=pl.when(a_chosen).then(1.0).otherwise(-1.0),
        )
        by_whom = data.judgements.select("evaluator_id", judgement_ids="id")
        rests_on = (
            data.examples.filter(pl.col("kind") == "pair")
            .select("id", "judgement_ids")
            .explode("judgement_ids")
            .join(by_whom, on="judgement_ids")
            .select("id", "evaluator_id")
            .unique()
        )
        true = data.by_gold.select("evaluator_id").unique()
        on_gold = rests_on.join(true, on="evaluator_id", how="semi").select("id").unique()
        against = pl.col("prefers") != pl.col("label")
        return (
            pl.concat(
                [
                    data.preferences.lazy().join(pairs.join(on_gold, on="id", how="anti"), on=["prompt_id", "a", "b"]),
                    agreement.preferences(data.by_gold).join(pairs, on=["prompt_id", "a", "b"]),
                ]
            )
            .join(rests_on, on=["id", "evaluator_id"], how="anti")
            .with_columns(part=against, whole=1, shows=against)
        )

    def say(self, evaluator: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the evaluator."""
        return evaluator, f"{evaluator}, on whom these pairs do not rest, prefers the rejected response in"

    def edits(self, data: Data, subject: str) -> Mapping[str, Any]:
        """Have everybody count who judged."""
        made = setting(data, "pairs", {"evaluators": None})
        return {place: value for place, value in made.items() if _names_evaluators(data, place)}


class ScoresAgainstLabel(Share):
    """Share of training pairs whose rejected response scores higher than the chosen one, among those of known scores.

    Two scores are held against one another by the pair's margin, or as they came where data has scores on one criterion and
    no scale for them.
    """

    name = "scores_against_label"
    failure_mode = "I6"
    needs = (PAIRS,)
    counts = (
        "pairs of responses that score apart",
        "import score_chosen and score_rejected, or score with a rubric or a reward model",
    )
    good = (0.0, 0.05)
    error = (0.0, 0.3)
    change = "look whether labels or scores are turned round, and drop or judge again what contradicts itself"
    repair = "drop_against_scores"

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each pair whose responses score apart, and whether the rejected one is above."""
        import polars as pl

        raw = _raw_scores(data)
        rows = data.pairs.lazy().join(raw, left_on="chosen", right_on="id", how="left")
        rows = rows.join(raw, left_on="rejected", right_on="id", how="left", suffix="_b")
        apart = pl.coalesce(pl.col("margin").fill_nan(None), pl.col("raw") - pl.col("raw_b"))
        against = pl.col("apart") < 0
        return (
            rows.with_columns(apart=apart)
            .filter(pl.col("apart") != 0)
            .with_columns(part=against, whole=1, shows=against)
        )

    def say(self) -> tuple[str, str]:  # type: ignore[override]
        """About all pairs."""
        return "", "The rejected response scores higher than the chosen one in"


def _raw_scores(data: Data) -> pl.LazyFrame:
    """Scores without a scale, where all are on one criterion. Columns: id (of the response), raw."""
    import polars as pl

    of_one = data.judgements.filter(unscaled(), pl.col("response_ids").list.len() == 1)
    criteria = of_one.select(pl.col("criterion").unique()).collect()["criterion"].to_list()
    if len(criteria) != 1:
        return pl.LazyFrame(schema={"id": pl.String, "raw": pl.Float64})
    return raw_scores(of_one, criteria[0])


def _names_evaluators(data: Data, place: str) -> bool:
    number = int(place.split(".")[1])
    return data.recipe is not None and getattr(data.recipe.instantiation[number], "evaluators", None) is not None
