"""How alike the two responses of a pair are, by their words: of a sample of pairs, a block at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.features import texts

if TYPE_CHECKING:
    import polars as pl

MOST_PAIRS = 10_000
_MOST_CHARS = 20_000
_BLOCK = 4_000
"""Pairs whose words are in memory at one time."""
_UNSPACED = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])"


def pair_similarity(pairs: pl.DataFrame, responses: pl.LazyFrame, most: int = MOST_PAIRS) -> pl.DataFrame:
    """How many of their words chosen and rejected response share, in their order, estimated from neighbours.

    The estimate is (2J / (1 + J))^(1/2), where J is Jaccard's index of the sets of pairs of neighbouring words, in the first
    20,000 characters (that of Mash, B. Ondov et al., Genome Biology 17, 2016, with words in place of bases). `pairs` are as in
    `Data.pairs`; if there are more than `most`, those with the least ids count, which are drawn at random, for ids are hashes.

    Columns: id (of the pair), similarity in [0, 1]. Pairs that lack a text are left out.
    """
    import polars as pl

    pairs = pairs.select("id", "chosen", "rejected").unique("id").sort("id").head(most)
    wanted = pl.concat([pairs.select(response_id=side) for side in ("chosen", "rejected")]).unique()
    theirs = responses.join(wanted.lazy(), left_on="id", right_on="response_id", how="semi")
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
