"""What can be counted in a response's text, of all responses in one pass. Later statistics see these numbers, not texts."""

from __future__ import annotations

import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

_BULLET = r"(?m)^\s*(?:[-*•+]|\d+[.)])\s"
_HEADING = r"(?m)^#{1,6}\s"
_BOLD = r"\*\*[^*\n]+\*\*"
_CODE = r"(?m)^\s*```"
_REFUSAL = (
    r"(?i)^\W*(?:(?:no|unfortunately|regrettably),? )?(?:"
    r"i['’]?m (?:very |really |so |truly |terribly )?sorry|sorry[,.]|sorry but\b|my apologies|i apologi[sz]e|"
    r"(?:i(?:['’]m| am) afraid (?:that )?)?i can(?:no|['’]| no)t\b|"
    r"i(?:['’]m| am) (?:not comfortable|(?:unable|not (?:able|allowed|permitted|willing|programmed|designed|in a position)) to)\b|"
    r"i (?:do not|don['’]t) (?:feel (?:comfortable|right)|think i (?:can|should|ought))\b|"
    r"i (?:won['’]t|will not|refuse|(?:respectfully )?decline|wouldn['’]t be able)\b|"
    r"i(?:['’]d| would) (?:rather|prefer) not\b|i (?:must|(?:will )?have to|need to) (?:respectfully |politely )?(?:decline|refuse)\b|"
    r"(?:that|this)(?:['’]s| is) not something (?:that )?i\b|"
    r"as an? (?:ai\b|(?:large )?language model)|i(?:['’]m| am) (?:just|only) an ai\b)|"
    r"(?i)^\W*unfortunately,? i (?:can|am)"
)
_HEDGE = (
    r"(?i)\b(?:perhaps|maybe|might|possibly|it seems|i think|i believe|probably|likely|could be|generally|typically)\b"
)
_FLATTERY = (
    r"(?i)\b(?:great|excellent|good|wonderful|fantastic|brilliant|insightful) (?:question|point|idea|observation)\b|"
    r"\byou(?:['’]re| are) (?:absolutely|completely|so|totally) right\b"
)
_TEMPLATE = (
    r"<[|｜][A-Za-z0-9_▁]{2,40}[|｜]>|\[/?INST\]|<</?SYS>>|</?s>|<(?:start|begin|end)_of_(?:turn|utterance|text|message)>|<(?:bos|eos)>|"
    r"(?m)^###? (?:Human|Assistant|Instruction|Response):|^(?:Human|Assistant|USER|ASSISTANT): "
)

_SCRIPTS = ("Latin", "Cyrillic", "Greek", "Arabic", "Hebrew", "Devanagari", "Thai", "Hangul")
_EAST_ASIAN = r"[\p{Han}\p{Hiragana}\p{Katakana}]"
_SHORTEST_PACKED, _MOST_PACKED = 400, 8000
_LEAST_LETTERS = 10
_BEGINNING = 120


def texts(responses: pl.LazyFrame) -> pl.LazyFrame:
    """What the assistant says in each response whose status is ok. Columns: response_id, prompt_id, text."""
    import polars as pl

    message = pl.element().struct
    spoken = pl.when(message.field("role") == "assistant").then(message.field("content"))
    text = pl.col("messages").list.eval(spoken).list.drop_nulls().list.join("\n").alias("text")
    ok = responses.filter(pl.col("status") == "ok") if "status" in responses.collect_schema() else responses
    return ok.select(pl.col("id").alias("response_id"), "prompt_id", text).unique("response_id", maintain_order=True)


def features(responses: pl.LazyFrame) -> pl.DataFrame:
    """Count what there is in each response whose status is ok, in table order.

    Columns: response_id, prompt_id, model, generator, generator_id, model_version, finish_reason, completion_tokens; chars,
    words, lines; bullets, headings, bold, code_blocks, exclamations, questions; hedges, flatteries; refuses,
    leaks_template (booleans); packs (see `packs`); script (see `scripts`); same (a number that is equal for equal texts) and alike (the same, of texts whose case and
    white space don't count).
    """
    import polars as pl

    text = pl.col("text")
    known = responses.collect_schema().names()
    about = [
        name if name in known else pl.lit(None, dtype=kind).alias(name)
        for name, kind in (
            ("model", pl.String),
            ("generator", pl.String),
            ("generator_id", pl.String),
            ("model_version", pl.String),
            ("finish_reason", pl.String),
            ("completion_tokens", pl.Int32),
        )
    ]
    made_by = responses.select(pl.col("id").alias("response_id"), *about).unique("response_id")
    flat = text.str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()
    return (
        texts(responses)
        .with_columns(
            chars=text.str.len_chars().cast(pl.Int64),
            words=text.str.count_matches(r"\S+").cast(pl.Int64),
            lines=text.str.count_matches("\n", literal=True).cast(pl.Int64) + 1,
            bullets=text.str.count_matches(_BULLET).cast(pl.Int64),
            headings=text.str.count_matches(_HEADING).cast(pl.Int64),
            bold=text.str.count_matches(_BOLD).cast(pl.Int64),
            code_blocks=text.str.count_matches(_CODE).cast(pl.Int64) // 2,
            exclamations=text.str.count_matches("!", literal=True).cast(pl.Int64),
            questions=text.str.count_matches("?", literal=True).cast(pl.Int64),
            hedges=text.str.count_matches(_HEDGE).cast(pl.Int64),
            flatteries=text.str.count_matches(_FLATTERY).cast(pl.Int64),
            refuses=text.str.head(300).str.contains(_REFUSAL),
            leaks_template=text.str.contains(_TEMPLATE),
            packs=text.map_batches(packs, return_dtype=pl.Float32),
            script=text.map_batches(scripts, return_dtype=pl.String),
            same=text.hash(),
            alike=flat.hash(),
        )
        .drop("text")
        .join(made_by, on="response_id", how="left", maintain_order="left")
        .collect()
    )


def packs(texts: pl.Series) -> pl.Series:
    """How many times shorter DEFLATE makes the end of each text (its last 8,000 characters); null for short texts.

    Prose comes to about two, a table to five, a text that goes round in circles to ten and more.
    """
    import polars as pl

    ends = texts.str.tail(_MOST_PACKED)
    workers = min(os.cpu_count() or 1, 8)
    step = max(-(-len(ends) // (4 * workers)), 1)
    with ThreadPoolExecutor(workers) as pool:
        parts = pool.map(_packed, (ends.slice(at, step) for at in range(0, len(ends), step)))
    return pl.Series(texts.name, [ratio for part in parts for ratio in part], dtype=pl.Float32)


def _packed(texts: pl.Series) -> list[float | None]:
    found: list[float | None] = []
    for text in texts:
        said = text.encode("utf-8", "replace") if text is not None and len(text) >= _SHORTEST_PACKED else b""
        found.append(len(said) / len(zlib.compress(said, 1)) if said else None)
    return found


def scripts(texts: pl.Series) -> pl.Series:
    """The script that most letters of each text's beginning are in: a Unicode script, or `East Asian` for Han and the
    kana; null with fewer than ten letters."""
    import polars as pl

    beginning = texts.str.head(_BEGINNING)
    rest = pl.DataFrame({"at": pl.int_range(len(texts), eager=True, dtype=pl.UInt32), "text": beginning}).filter(
        pl.col("text").str.len_bytes() > pl.col("text").str.len_chars()  # most are ASCII, which is quickly told
    )
    text = pl.col("text")
    counts = [text.str.count_matches(f"\\p{{{name}}}") for name in _SCRIPTS]
    counts.append(text.str.count_matches(_EAST_ASIAN))
    most = pl.max_horizontal(counts)
    found: Any = pl.when(False).then(pl.lit(None, dtype=pl.String))
    for name, count in zip((*_SCRIPTS, "East Asian"), counts, strict=True):
        found = found.when((count == most) & (most >= _LEAST_LETTERS)).then(pl.lit(name))
    letters = beginning.str.count_matches("[A-Za-z]")
    told = pl.select(pl.when(letters >= _LEAST_LETTERS).then(pl.lit("Latin"))).to_series()
    return told.scatter(rest["at"], rest.select(found.otherwise(None)).to_series()).alias(texts.name)
