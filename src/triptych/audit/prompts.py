"""What prompts say: which are near copies of others, and which share stretches of words with the texts of tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from triptych.audit.features import scripts
from triptych.records.ids import draw

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

NEAR = 0.8
"""The Jaccard similarity from which on two prompts are near copies."""
NGRAM = 8
"""Words of a stretch that a prompt and a test share."""
COVERED = 0.5
"""The share of a test's words that such stretches must cover, from one prompt."""
_SHINGLE = 3
_BANDS, _ROWS = 16, 4
_MOST_WORDS = 200
_WORD = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]|[\w']+"
_WORD_OR_SIGN = _WORD + r"|[+*/^=<>%×÷−-]"
"""With what tells one sum from another: `7 + 5` is no copy of `7 - 5`."""
_ODD = 0x9E3779B97F4A7C15


def asked(prompts: pl.LazyFrame) -> pl.LazyFrame:
    """What the user says in each prompt, in all of its turns. Columns: prompt_id, text."""
    import polars as pl

    message = pl.element().struct
    spoken = pl.when(message.field("role") == "user").then(message.field("content"))
    text = pl.col("messages").list.eval(spoken).list.drop_nulls().list.join("\n").fill_null("")
    return prompts.select(pl.col("id").alias("prompt_id"), text.alias("text")).unique("prompt_id", maintain_order=True)


def prompt_features(prompts: pl.LazyFrame) -> pl.DataFrame:
    """Numbers on what the user says. Columns: prompt_id, chars, script (see `triptych.audit.features.scripts`)."""
    import polars as pl

    text = pl.col("text")
    script = text.map_batches(scripts, return_dtype=pl.String)
    return asked(prompts).select("prompt_id", chars=text.str.len_chars().cast(pl.Int64), script=script).collect()


def near_copies(prompts: pl.LazyFrame) -> pl.DataFrame:
    """Which prompts are near copies of an earlier one. Columns: prompt_id, copy_of (an earlier prompt's id, or null).

    Candidates share all rows of one of 16 bands of 4 MinHash values (Broder, 1997); each is compared with the first
    prompt in its band. They are near copies if the sets of their stretches of three words, among their first 200 words and
    without case, have a Jaccard similarity of 0.8 or more.
    """
    import polars as pl

    said = asked(prompts).collect().with_row_index("row")
    row, word = _words(said["text"].str.head(_MOST_WORDS * 12), _MOST_WORDS, _WORD_OR_SIGN)
    row, shingle = _stretches(row, word, _SHINGLE)
    sets = pl.DataFrame({"row": row, "shingle": shingle})  # in the order of rows
    first_of = _linked(sets)
    if first_of is None:
        return said.select("prompt_id", copy_of=pl.lit(None, dtype=pl.String))
    names = said.select(pl.col("row").cast(pl.Int64), pl.col("prompt_id").alias("copy_of"))
    copies = _verified(sets, first_of).join(names, left_on="earlier", right_on="row")
    found = said.with_columns(pl.col("row").cast(pl.Int64)).join(
        copies, left_on="row", right_on="copy", how="left", maintain_order="left"
    )
    return found.select("prompt_id", "copy_of")


def _linked(sets: pl.DataFrame) -> pl.DataFrame | None:
    """Candidates: each row, in each band, with the first row of that band. Columns: copy, earlier."""
    import numpy as np
    import polars as pl

    if not sets.height:
        return None
    rows, starts = np.unique(sets["row"].to_numpy(), return_index=True)
    shingles = sets["shingle"].to_numpy()
    parts = []
    for band in range(_BANDS):
        values = []
        for number in range(_ROWS):
            a, b = (np.uint64(draw(0, "minhash", band, number, which)) for which in "ab")
            mixed = shingles * (a | np.uint64(1)) + b
            values.append(np.minimum.reduceat(mixed ^ (mixed >> np.uint64(29)), starts))
        bucket = pl.DataFrame({str(i): value for i, value in enumerate(values)}).with_columns(row=pl.Series(rows))
        linked = bucket.with_columns(earlier=pl.col("row").min().over([str(i) for i in range(_ROWS)]))
        parts.append(linked.filter(pl.col("row") != pl.col("earlier")).select(pl.col("row").alias("copy"), "earlier"))
    return pl.concat(parts).unique()


def _verified(sets: pl.DataFrame, candidates: pl.DataFrame) -> pl.DataFrame:
    """Candidates whose sets are alike, each copy with its earliest. Columns: copy, earlier."""
    import polars as pl

    of = candidates.select(pl.col("copy", "earlier").cast(pl.Int64))
    sets = sets.join(pl.concat([of["copy"], of["earlier"]]).unique().to_frame("row"), on="row", how="semi").unique()
    sizes = sets.group_by("row").len()
    shared = (
        of.lazy()
        .join(sets.lazy(), left_on="copy", right_on="row")
        .join(sets.lazy().with_columns(both=1), left_on=["earlier", "shingle"], right_on=["row", "shingle"])
        .group_by("copy", "earlier")
        .agg(pl.len().cast(pl.Float64).alias("shared"))
        .join(sizes.lazy(), left_on="copy", right_on="row")
        .join(sizes.lazy(), left_on="earlier", right_on="row", suffix="_earlier")
    )
    shared_of = pl.col("shared") / (pl.col("len") + pl.col("len_earlier") - pl.col("shared"))
    return shared.filter(shared_of >= NEAR).group_by("copy").agg(pl.col("earlier").min()).collect()


def seen_tests(prompts: pl.LazyFrame, tests: Sequence[str]) -> pl.DataFrame:
    """Which tests a prompt holds: their stretches of 8 words that the prompt has too cover more than half of their words.

    The prompt that covers the most of a test counts, as in the tool of Tulu 3 (arXiv:2411.15124). Tests of fewer than 8
    words have no stretch, and are left out. Columns: test (its number from 0), prompt_id (null where none holds it).
    """
    import polars as pl

    said = asked(prompts).collect().with_row_index("row")
    test, word = _words(pl.Series(list(tests), dtype=pl.String))
    words = pl.DataFrame({"test": test}).group_by("test").len("words").filter(pl.col("words") >= NGRAM)
    of, stretch = _stretches(test, word, NGRAM, whole=False)
    wanted = pl.DataFrame({"test": of, "stretch": stretch}).with_columns(start=pl.int_range(pl.len()).over("test"))
    row, has = _stretches(*_words(said["text"]), NGRAM, whole=False)
    have = pl.LazyFrame({"row": row, "stretch": has}).join(wanted.lazy(), on="stretch", how="semi").unique()
    until_next = pl.col("start").shift(-1).over("test", "row") - pl.col("start")
    best = (
        wanted.lazy()
        .join(have, on="stretch")
        .sort("test", "row", "start")
        .with_columns(adds=pl.min_horizontal(until_next.fill_null(NGRAM), pl.lit(NGRAM)))
        .group_by("test", "row")
        .agg(pl.col("adds").sum())
        .join(words.lazy(), on="test")
        .filter(pl.col("adds") > COVERED * pl.col("words"))
        .sort("test", "adds", "row", descending=[False, True, False])
        .unique("test", keep="first")
        .join(said.lazy().select(pl.col("row").cast(pl.Int64), "prompt_id"), on="row")
        .select("test", "prompt_id")
    )
    return words.select("test").sort("test").join(best.collect(), on="test", how="left", maintain_order="left")


def _words(said: pl.Series, most: int | None = None, word: str = _WORD) -> tuple[np.ndarray, np.ndarray]:
    """Each word of each text, without case: the text's number and the word's hash."""
    import numpy as np
    import polars as pl

    words = pl.col("text").str.to_lowercase().str.extract_all(word)
    told = (
        pl.DataFrame({"text": said})
        .with_row_index("row")
        .lazy()
        .select("row", (words if most is None else words.list.head(most)).alias("word"))
        .explode("word")
        .drop_nulls()
        .select("row", pl.col("word").hash())
        .collect()
    )
    return told["row"].to_numpy().astype(np.int64), told["word"].to_numpy()


def _stretches(row: np.ndarray, word: np.ndarray, n: int, *, whole: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Stretches of n words: the text's number and the hash. With `whole` a shorter text is one stretch."""
    import numpy as np

    mixed = word.copy()
    for step in range(1, n):
        mixed *= np.uint64(_ODD)
        same = row[step:] == row[:-step]
        mixed[: len(same)] += np.where(same, word[step:], np.uint64(0))
    ends = np.arange(len(row)) + n - 1
    full = np.zeros(len(row), dtype=bool)
    inside = ends < len(row)
    full[inside] = row[ends[inside]] == row[inside]
    if whole:
        first = np.ones(len(row), dtype=bool)
        first[1:] = row[1:] != row[:-1]
        full |= first
    return row[full], mixed[full]
