"""Pairs that somebody compared, as they decided: the pairs of preference data, and of pairwise judges."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from triptych.instantiation.scored import MakesExamples, Names
from triptych.instantiation.scores import shown_responses
from triptych.records import Objective

if TYPE_CHECKING:
    import polars as pl

OUTCOMES = ("pair", "tied or contradicted", "not compared")
"""What can become of a prompt."""


class ComparedPairs(MakesExamples):
    """Makes a pair of every two responses that an evaluator ranked against each other, in the order that it gave them.

    Other instantiations score responses and pair them by that; this one takes each comparison for a pair, as data of
    people's preferences does (arXiv:2204.05862). Several verdicts that say the same of two responses make one pair.

    The scores of a pair are the mean place in [0, 1] that scores of single responses by the same evaluators take on their
    scales; where both are known, the margin is their difference, below 0 where scores and preference disagree. Where they
    are not known there is no margin.
    """

    reads: ClassVar[dict[str, frozenset[str]]] = {
        "responses": frozenset({"id", "prompt_id", "status"}),
        "judgements": frozenset(
            {"id", "prompt_id", "response_ids", "criterion", "evaluator", "status", "step"}
            | {"scores", "ranks", "scale", "weight"}
        ),
    }

    kind: Literal["compared_pairs"] = "compared_pairs"
    criteria: Names | None = None
    """The criteria whose comparisons count; None takes all."""
    evaluators: Names | None = None
    """The evaluators that count, by name; None takes all."""
    margins: str | None = None
    """The criterion on which two scores of a comparison say by how much the one is better, as some data does. It goes
    before the difference of scores, and is in the units of the data."""
    ties: Literal["drop", "keep"] = "drop"
    """What becomes of a comparison that ended in a tie: no pair, or one with labels 0.5 and 0.5."""
    contradictions: Literal["drop", "keep"] = "drop"
    """What becomes of two responses each of which was found better once: no pair, or two, one each way."""

    def instantiate(
        self, responses: pl.LazyFrame, judgements: pl.LazyFrame, objective: Objective, seed: int
    ) -> pl.LazyFrame:
        """Make the pairs, prompt by prompt, in the order of the first comparison."""
        import polars as pl

        pairs = self._with_scores(self._pairs(responses, judgements), judgements)
        tied = pl.col("tied")
        rows = pairs.sort("prompt", "first").select(
            "prompt_id",
            "judgement_ids",
            "weight",
            "margin",
            response_ids=pl.concat_list("chosen", "rejected"),
            scores=pl.when(pl.col("score").is_not_null() & pl.col("score_b").is_not_null())
            .then(pl.concat_list("score", "score_b"))
            .otherwise(pl.lit([], dtype=pl.List(pl.Float64))),
            labels=pl.when(tied).then(pl.lit([0.5, 0.5])).otherwise(pl.lit([1.0, 0.0])),
        )
        return self.as_examples(rows, kind="pair", strategy="compared", version=objective.version)

    def tally(self, responses: pl.LazyFrame, judgements: pl.LazyFrame, objective: Objective, seed: int) -> pl.DataFrame:
        """Count what became of the prompts: one row for each of `OUTCOMES`, so that the prompts add up.

        Columns: strategy, strategy_id, outcome, prompts, pairs.
        """
        import polars as pl

        pairs = self._pairs(responses, judgements).group_by("prompt_id").agg(pl.len().alias("pairs"))
        compared = self._comparisons(responses, judgements).select("prompt_id", compared=True).unique()
        pair, tied, none = OUTCOMES
        outcome = (
            pl.when(pl.col("pairs") > 0).then(pl.lit(pair)).when("compared").then(pl.lit(tied)).otherwise(pl.lit(none))
        )
        counted = (
            responses.select("prompt_id")
            .unique()
            .join(pairs, on="prompt_id", how="left")
            .join(compared, on="prompt_id", how="left")
            .group_by(outcome.alias("outcome"))
            .agg(pl.len().cast(pl.Int64).alias("prompts"), pl.col("pairs").sum().cast(pl.Int64))
        )
        return (
            pl.LazyFrame({"outcome": OUTCOMES})
            .join(counted, on="outcome", how="left", maintain_order="left")
            .select(
                pl.lit("compared").alias("strategy"),
                pl.lit(self.identity()).alias("strategy_id"),
                "outcome",
                pl.col("prompts", "pairs").fill_null(0),
            )
            .collect()
        )

    def _counted(self, judgements: pl.LazyFrame) -> pl.LazyFrame:
        """The verdicts on whole responses by the evaluators that count."""
        import polars as pl

        counts = (pl.col("status") == "ok") & pl.col("step").struct.field("index").is_null()
        if self.evaluators is not None:
            counts &= pl.col("evaluator").is_in(list(self.evaluators))
        return judgements.with_row_index("judgement").filter(counts)

    def _comparisons(self, responses: pl.LazyFrame, judgements: pl.LazyFrame) -> pl.LazyFrame:
        """What each verdict on two responses says: columns chosen, rejected, tied and those of the judgement."""
        import polars as pl

        ids, ranks = pl.col("response_ids"), pl.col("ranks")
        counts = (ids.list.len() == 2) & (ranks.list.len() == 2)
        if self.criteria is not None:
            counts &= pl.col("criterion").is_in(list(self.criteria))
        one, other = ids.list.get(0, null_on_oob=True), ids.list.get(1, null_on_oob=True)
        first, second = ranks.list.get(0, null_on_oob=True), ranks.list.get(1, null_on_oob=True)
        shown = shown_responses(responses)
        return (
            self._counted(judgements)
            .filter(counts)
            .select(
                *("judgement", "prompt_id", "weight"),
                pl.col("id").alias("judgement_id"),
                pl.when(first <= second).then(one).otherwise(other).alias("chosen"),
                pl.when(first <= second).then(other).otherwise(one).alias("rejected"),
                (first == second).alias("tied"),
            )
            .join(shown.select("prompt", chosen="response_id"), on="chosen")
            .join(shown.select(rejected="response_id"), on="rejected", how="semi")
        )

    def _pairs(self, responses: pl.LazyFrame, judgements: pl.LazyFrame) -> pl.LazyFrame:
        """One row for each two responses and which of them was preferred."""
        import polars as pl

        said = self._comparisons(responses, judgements)
        if self.ties == "drop":
            said = said.filter(~pl.col("tied"))
        pairs = (
            said.sort("judgement")
            .group_by("chosen", "rejected", "tied", maintain_order=True)
            .agg(
                pl.first("prompt", "prompt_id"),
                pl.col("judgement").min().alias("first"),
                pl.col("weight").mean(),
                pl.col("judgement_id").alias("judgement_ids"),
            )
        )
        if self.contradictions == "drop":
            other_way = pairs.select(chosen="rejected", rejected="chosen")
            pairs = pairs.join(other_way, on=["chosen", "rejected"], how="anti", maintain_order="left")
        return pairs

    def _with_scores(self, pairs: pl.LazyFrame, judgements: pl.LazyFrame) -> pl.LazyFrame:
        """Add score and score_b of the two responses, and the margin."""
        import polars as pl

        low, high = (pl.col("scale").list.get(place, null_on_oob=True) for place in (0, 1))
        place = ((pl.col("scores").list.first() - low) / (high - low)).clip(0, 1)
        counted = self._counted(judgements)
        scores = (
            counted.filter((pl.col("response_ids").list.len() == 1) & (pl.col("scores").list.len() == 1) & (low < high))
            .group_by(pl.col("response_ids").list.first().alias("response_id"))
            .agg(place.mean().round(12).alias("score"))
        )
        scored = pairs.join(scores, left_on="chosen", right_on="response_id", how="left").join(
            scores, left_on="rejected", right_on="response_id", how="left", suffix="_b"
        )
        margin = (pl.col("score") - pl.col("score_b")).round(12)
        if self.margins is None:
            return scored.with_columns(margin=margin)
        said = self._said_margins(counted, self.margins)
        both = scored.join(said, on=["chosen", "rejected"], how="left")
        return both.with_columns(margin=pl.col("said").fill_null(margin))

    @staticmethod
    def _said_margins(counted: pl.LazyFrame, criterion: str) -> pl.LazyFrame:
        """The margins that the data gives, both ways round: columns chosen, rejected, said."""
        import polars as pl

        ids, scores = pl.col("response_ids"), pl.col("scores")
        said = counted.filter(
            (pl.col("criterion") == criterion) & (ids.list.len() == 2) & (scores.list.len() == 2)
        ).select(
            ids.list.get(0, null_on_oob=True).alias("chosen"),
            ids.list.get(1, null_on_oob=True).alias("rejected"),
            (scores.list.get(0, null_on_oob=True) - scores.list.get(1, null_on_oob=True)).alias("said"),
        )
        turned = said.select(chosen="rejected", rejected="chosen", said=-pl.col("said"))
        return pl.concat([said, turned]).group_by("chosen", "rejected").agg(pl.col("said").mean())
