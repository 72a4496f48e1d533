"""Pairs whose two responses are nearly the same, which drag the chosen one down too (I4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from triptych.audit.diagnostic import Share
from triptych.audit.features import texts
from triptych.audit.needs import PAIRS

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_CHANGE = "drop pairs that hardly differ, add a term for the likelihood of the chosen response to the loss, or sample more diversely"
NEAR = 0.95
_MOST_PAIRS = 10_000
_MOST_CHARS = 20_000
_BLOCK = 4_000
"""Pairs whose words are in memory at one time."""
_UNSPACED = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])"


class IdenticalPairs(Share):
    """Share of pairs whose chosen and rejected response say the same, apart from case and white space: there is nothing to learn."""

    name = "identical_pairs"
    failure_mode = "I4"
    needs = (PAIRS,)
    good = (0.0, 0.005)
    error = (0.0, 0.05)
    by = ("strategy", "strategy_id")
    change = "drop them"
    repair = "drop_near_identical"

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each pair, and whether its two texts are the same."""
        import polars as pl

        same = pl.col("chosen_alike") == pl.col("rejected_alike")
        return data.pair_features.lazy().with_columns(part=same, whole=1, shows=same)

    def say(self, strategy: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the strategy."""
        return strategy, f"Chosen and rejected response of {strategy} pairs say the same for"


class NearIdenticalPairs(Share):
    """Share of pairs of which chosen and rejected response share at least 95 % of their words, in their order.

    The share of words in common is estimated from sets of pairs of neighbouring words as (2J / (1 + J))^(1/2), where J is
    Jaccard's index (the estimate of Mash, B. Ondov et al., Genome Biology 17, 2016, with words in place of bases). The first
    20,000 characters of each text count, of at most 10,000 pairs, those with the least ids. Such pairs lower the likelihood of
    the chosen response with that of the rejected (arXiv:2402.13228, arXiv:2410.08847).
    """

    name = "near_identical_pairs"
    failure_mode = "I4"
    needs = (PAIRS,)
    good = (0.0, 0.05)
    error = (0.0, 0.3)
    by = ("strategy", "strategy_id")
    change = _CHANGE
    repair = "drop_near_identical"

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each pair, and whether it is nearly the same text twice."""
        import polars as pl

        near = pl.col("similarity") >= NEAR
        return data.pairs.join(pair_similarity(data), on="id").lazy().with_columns(part=near, whole=1, shows=near)

    def say(self, strategy: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the strategy."""
        return strategy, f"Chosen and rejected response of {strategy} pairs share nearly all their words for"

    def edits(self, data: Data, subject: str) -> Mapping[str, Any]:
        """Sample at a higher temperature, so that responses to a prompt differ more."""
        made: tuple[Any, ...] = data.recipe.synthesis if data.recipe is not None else ()
        return {
            f"synthesis.{place}.temperature": round(one.temperature + 0.3, 2)
            for place, one in enumerate(made)
            if getattr(one, "kind", "") == "sample" and isinstance(one.temperature, float) and one.temperature < 1.0
        }


def pair_similarity(data: Data, most: int = _MOST_PAIRS) -> pl.DataFrame:
    """How many of their words chosen and rejected response share, in their order, estimated as `NearIdenticalPairs` says.

    Columns: id (of the pair), similarity in [0, 1]. Pairs that lack a text are left out.
    """
    import polars as pl

    pairs = data.pairs.select("id", "chosen", "rejected").unique("id").sort("id").head(most)
    wanted = pl.concat([pairs.select(response_id=side) for side in ("chosen", "rejected")]).unique()
    theirs = data.responses.join(wanted.lazy(), left_on="id", right_on="response_id", how="semi")
    said = texts(theirs).select("response_id", pl.col("text").str.head(_MOST_CHARS)).collect()
    parts = [_similarity(block, said) for block in pairs.iter_slices(_BLOCK)]
    return pl.concat(parts) if parts else pl.DataFrame(schema={"id": pl.String, "similarity": pl.Float64})


def _similarity(pairs: pl.DataFrame, said: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    wanted = pl.concat([pairs.select(response_id=side) for side in ("chosen", "rejected")]).unique()
    sets = said.join(wanted, on="response_id", how="semi").select("response_id", grams=_neighbours("text"))
    both, each = pl.col("w").list.set_intersection("l").list.len(), pl.col("w").list.len() + pl.col("l").list.len()
    jaccard = pl.col("both") / (pl.col("each") - pl.col("both"))
    return (
        pairs.join(sets.rename({"grams": "w"}), left_on="chosen", right_on="response_id")
        .join(sets.rename({"grams": "l"}), left_on="rejected", right_on="response_id")
        .select("id", both=both.cast(pl.Float64), each=each.cast(pl.Float64))
        .select("id", similarity=(2 * jaccard / (1 + jaccard)).sqrt())
    )


def _neighbours(column: str) -> pl.Expr:
    """The set of a text's pairs of neighbouring words, as numbers; the ends of the text count as words."""
    import polars as pl

    words = pl.col(column).str.to_lowercase().str.replace_all(_UNSPACED, " $1 ").str.strip_chars()
    words = pl.concat_str(pl.lit("^ "), words, pl.lit(" $")).str.replace_all(r"\s+", " ").str.split(" ")
    number = pl.element().hash() // 8
    return words.list.eval((number + 7 * (number.shift(-1) // 8)).drop_nulls().unique())
