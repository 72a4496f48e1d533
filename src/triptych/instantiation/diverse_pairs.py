"""Pairs of a rare good response and a common bad one, against mode collapse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from triptych.instantiation.scored import Scored, Unit
from triptych.instantiation.scores import at_once, criterion_scores, shown_responses, what_counts
from triptych.records import Objective

if TYPE_CHECKING:
    import polars as pl


class DiversePairs(Scored):
    """Chooses the most diverse of the good responses to a prompt, and rejects the least diverse of the bad ones.

    So does DivPO (arXiv:2501.18101). Good are those whose score is within `band` of the way down from the best to the
    worst of the prompt, bad those within `band` of the way up from the worst. The criterion of diversity decides among
    them and does not enter the score.
    """

    kind: Literal["diverse_pairs"] = "diverse_pairs"
    diversity: str = "diversity"
    """The criterion that says how unlike the others a response is, as the evaluator `diversity` does."""
    band: Unit = Field(default=0.25, lt=0.5)
    """How far from the best score a good response may be, and from the worst a bad one, as a share of their distance."""
    min_margin: Unit = 0.0
    """Least difference of scores between the two, exclusive."""

    def instantiate(
        self, responses: pl.LazyFrame, judgements: pl.LazyFrame, objective: Objective, seed: int
    ) -> pl.LazyFrame:
        """Make at most one pair of each prompt, in the order of the prompts."""
        import polars as pl

        shown = at_once(shown_responses(responses))
        unlike = what_counts(shown, judgements, Objective(), (self.diversity,))
        rarity = criterion_scores(unlike).select("response_id", pl.col("score").alias("rarity"))
        quality = judgements.filter(pl.col("criterion") != self.diversity)
        score, best, worst = pl.col("score"), pl.col("score").max().over("prompt"), pl.col("score").min().over("prompt")
        reach = self.band * (best - worst) + 1e-9
        ranked = (
            self.ranked(responses, quality, objective, seed)
            .join(rarity, on="response_id", maintain_order="left")
            .with_columns(good=score >= best - reach, bad=score <= worst + reach)
            .filter(best > worst)
        )
        columns = ["prompt", "prompt_id", "response_id", "score", "judgement_ids"]
        chosen = (
            ranked.filter("good")
            .sort("prompt", "rarity", "place", descending=[False, True, False])
            .unique("prompt", keep="first", maintain_order=True)
            .select(columns)
        )
        rejected = (
            ranked.filter("bad")
            .sort("prompt", "rarity", "place")
            .unique("prompt", keep="first", maintain_order=True)
            .select(columns)
        )
        rows = (
            chosen.join(rejected.drop("prompt_id"), on="prompt", suffix="_b", maintain_order="left")
            .with_columns(margin=(score - pl.col("score_b")).round(12))
            .filter(pl.col("margin") > self.min_margin)
            .select(
                "prompt_id",
                "margin",
                response_ids=pl.concat_list("response_id", "response_id_b"),
                scores=pl.concat_list("score", "score_b"),
                labels=pl.lit([1.0, 0.0]),
                judgement_ids=pl.concat_list("judgement_ids", "judgement_ids_b").list.unique(maintain_order=True),
            )
        )
        return self.as_examples(rows, kind="pair", strategy="rare_good_vs_common_bad", version=objective.version)
