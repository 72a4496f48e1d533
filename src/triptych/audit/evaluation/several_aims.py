"""What becomes of several aims in one number (E11)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Diagnostic, Share
from triptych.audit.estimates import Floats, cluster_sums, smooth
from triptych.audit.finding import Finding
from triptych.audit.needs import LIBRARIES, PAIRS, SEVERAL_CRITERIA

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_MOST_CRITERIA = 30


def criterion_means(data: Data) -> pl.DataFrame:
    """Each response's mean score on each criterion. Columns: prompt_id, response_id, criterion, score, judgement_id."""
    import polars as pl

    key = ["prompt_id", "response_id", "criterion"]
    return data.scored.group_by(key).agg(pl.col("score").mean().round(9), pl.col("judgement_id").min())


class CriteriaConflict(Share):
    """Share of pairs of responses and pairs of criteria, where both criteria tell the responses apart, that disagree.

    Scores are means over evaluators.
    """

    name = "criteria_conflict"
    failure_mode = "E11"
    needs = (SEVERAL_CRITERIA,)
    good = (0.0, 0.3)
    error = (0.0, 0.6)
    change = "keep a pair for each criterion, or take pairs that no criterion speaks against"

    def rows(self, data: Data) -> pl.LazyFrame:
        """Of each two responses, how many pairs of criteria disagree, of those that both decide."""
        import polars as pl

        scores = criterion_means(data).lazy()
        difference = (pl.col("score") - pl.col("score_b")).sign()
        up, down = (difference == 1).sum(), (difference == -1).sum()
        decided = pl.col("up") + pl.col("down")
        return (
            scores.join(scores, on=["prompt_id", "criterion"], suffix="_b")
            .filter(pl.col("response_id") < pl.col("response_id_b"))
            .group_by("prompt_id", "response_id", "response_id_b")
            .agg(up=up.cast(pl.Float64), down=down.cast(pl.Float64), id=pl.col("judgement_id").min())
            .with_columns(
                part=pl.col("up") * pl.col("down"),
                whole=decided * (decided - 1) / 2,
                shows=(pl.col("up") > 0) & (pl.col("down") > 0),
            )
        )

    def say(self, *group: str) -> tuple[str, str]:
        """Of all criteria."""
        return "", "Two criteria that both tell two responses apart prefer different ones in"


class StrictOnIncomparable(Share):
    """Share of training pairs, both of whose responses have scores on two or more criteria, where one speaks against the label.

    The chosen response is then not better in every respect (Pareto), and the pair takes a side that weights decide.
    """

    name = "strict_on_incomparable"
    failure_mode = "E11"
    needs = (SEVERAL_CRITERIA, PAIRS)
    good = (0.0, 0.15)
    error = (0.0, 0.6)
    by = ("strategy", "strategy_id")
    change = "choose pairs with `pareto`, or keep one pair for each criterion"

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each pair, and whether a criterion speaks against it."""
        import polars as pl

        scores = criterion_means(data).lazy().select("response_id", "criterion", "score")
        against = pl.col("score_b") > pl.col("score")
        return (
            data.pairs.lazy()
            .join(scores, left_on="chosen", right_on="response_id")
            .join(scores, left_on=["rejected", "criterion"], right_on=["response_id", "criterion"], suffix="_b")
            .group_by("id", "prompt_id", *self.by)
            .agg(part=against.any(), criteria=pl.len())
            .filter(pl.col("criteria") > 1)
            .with_columns(whole=1, shows="part")
        )

    def say(self, strategy: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the strategy."""
        return strategy, f"A criterion prefers the rejected response in {strategy} pairs for"


class DominantCriterion(Diagnostic):
    """The share of the variance of the objective's score that one criterion explains (R^2), for the one that explains most.

    Both less their means over the prompt's responses. Near 1, the other criteria say nothing.
    """

    name = "dominant_criterion"
    failure_mode = "E11"
    needs = (LIBRARIES, SEVERAL_CRITERIA)
    good = (0.0, 0.95)
    change = "look whether the criteria say the same; weigh those that say something else more"

    def measure(self, data: Data) -> Iterator[Finding]:
        """Find the criterion that explains most."""
        import polars as pl

        rows = (
            criterion_means(data)
            .join(data.overall.rename({"score": "all"}), on=["prompt_id", "response_id"])
            .with_columns(
                pl.col("score") - pl.col("score").mean().over("prompt_id", "criterion"),
                pl.col("all") - pl.col("all").mean().over("prompt_id", "criterion"),
            )
            .with_columns(
                xx=pl.col("score") ** 2, yy=pl.col("all") ** 2, xy=pl.col("score") * pl.col("all"), one=pl.lit(1.0)
            )
        )
        found = []
        for name in sorted(rows["criterion"].unique())[:_MOST_CRITERIA]:
            part = rows.filter(pl.col("criterion") == name)
            share = smooth(cluster_sums(part, ["xx", "yy", "xy"]), _explained, n=part.height, within=(0.0, 1.0))
            if share is not None:
                found.append((share.value, name, share))
        if found:
            _, name, share = max(found, key=lambda each: each[:2])
            said = f"{name} alone explains a share of the objective's score of"
            yield self.found(share, said, subject=name, data=data)


def _explained(s: Floats) -> Floats:
    return s[..., 2] ** 2 / (s[..., 0] * s[..., 1])
