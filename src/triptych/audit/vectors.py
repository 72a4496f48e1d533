"""Responses as vectors: TF-IDF of hashed words and pairs of words, or embeddings; and how alike siblings are by them.

Without a model a vector counts words: two answers are alike if they say the same in the same words. They are taken of a
sample of prompts, since a few hundred tell as much as all; the sample goes by the prompts' ids, so that rounds of a loop
sample the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from triptych.audit.features import texts
from triptych.records.ids import draw

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

MOST_PROMPTS = 1500
MOST_SIBLINGS = 8
"""Responses of a prompt that are looked at, the first ones in table order."""
MOST_CHARS = 2000
"""Characters of a response that are looked at, from its beginning."""
SAME_CLUSTER, NEAR_DUPLICATE = 0.8, 0.9
"""Cosines from which on two responses say much the same, and nearly the same words."""
_DIMENSIONS = 1 << 18
_WORD = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]|[\w']+"
_ODD = 0x9E3779B97F4A7C15

Floats = Any
"""An array of floats."""
Matrix = Any
"""A sparse matrix (scipy, CSR) or a dense one (numpy), a row for each response."""


class NGrams(NamedTuple):
    """How often each word and each pair of words stands in a response."""

    table: pl.DataFrame
    """response_id, prompt_id; row i is row i of `counts`."""
    counts: Matrix
    """Sparse, shape (responses, 2**18): the words' hashes."""
    pairs_of_words: pl.DataFrame
    """For each prompt: prompt_id, said and distinct (pairs of words over all its responses)."""


class Vectors(NamedTuple):
    """Responses as rows of length 1 (or 0, where nothing is said)."""

    table: pl.DataFrame
    """response_id, prompt_id; row i is row i of `matrix`."""
    matrix: Matrix
    embedded: bool
    """Whether a model made them."""


def sampled(prompt_ids: Sequence[str], most: int = MOST_PROMPTS) -> list[str]:
    """Choose up to `most` prompts by what their ids hash to: of two sets mostly the same ones, where both have them."""
    if len(prompt_ids) <= most:
        return sorted(prompt_ids)
    return sorted(prompt_ids, key=lambda prompt: (draw(0, "vectors", prompt), prompt))[:most]


def ngrams(responses: pl.LazyFrame) -> NGrams:
    """Count words in the responses of sampled prompts."""
    import numpy as np
    import polars as pl
    from scipy.sparse import coo_matrix

    said = texts(responses)
    chosen = sampled(said.select(pl.col("prompt_id").unique()).collect()["prompt_id"].drop_nulls().to_list())
    some = (
        said.filter(pl.col("prompt_id").is_in(chosen))
        .with_columns(place=pl.int_range(pl.len()).over("prompt_id"))
        .filter(pl.col("place") < MOST_SIBLINGS)
        .select("response_id", "prompt_id", pl.col("text").str.head(MOST_CHARS))
        .collect()
        .sort("prompt_id", maintain_order=True)
    )
    row, word = _words(some["text"])
    follows = row[:-1] == row[1:]
    first = row[:-1][follows]
    pair = word[:-1][follows] * np.uint64(_ODD) + word[1:][follows]
    place = np.concatenate([row, first])
    grams = (np.concatenate([word, pair]) % np.uint64(_DIMENSIONS)).astype(np.int64)
    counts = coo_matrix((np.ones(len(place)), (place, grams)), shape=(some.height, _DIMENSIONS)).tocsr()
    counts.sum_duplicates()
    by_prompt = pl.DataFrame({"prompt_id": some["prompt_id"].gather(first), "pair": pair})
    distinct = by_prompt.group_by("prompt_id").agg(said=pl.len(), distinct=pl.col("pair").n_unique())
    return NGrams(some.drop("text"), counts, distinct)


def _words(said: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Each word of each text: the text's number and the word's hash."""
    import numpy as np
    import polars as pl

    words = (
        pl.DataFrame({"text": said})
        .with_row_index("row")
        .lazy()
        .select("row", pl.col("text").str.to_lowercase().str.extract_all(_WORD).alias("word"))
        .explode("word")
        .drop_nulls()
        .select("row", pl.col("word").hash())
        .collect()
    )
    return words["row"].to_numpy().astype(np.int64), words["word"].to_numpy()


def rarity(grams: NGrams) -> Floats:
    """What each dimension weighs: the smoothed inverse document frequency."""
    import numpy as np

    seen = np.bincount(grams.counts.indices, minlength=_DIMENSIONS)
    return np.log((1 + grams.counts.shape[0]) / (1 + seen)) + 1


def tfidf(grams: NGrams, weights: Floats) -> Vectors:
    """Weigh counts, in logarithms, by how rare a word is, and give each row the length 1."""
    import numpy as np
    from scipy.sparse import diags

    matrix = grams.counts.copy()
    matrix.data = (1 + np.log(matrix.data)) * weights[matrix.indices]
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return Vectors(grams.table, (diags(1 / np.where(length > 0, length, 1)) @ matrix).tocsr(), False)


def from_embeddings(embeddings: pl.DataFrame, responses: pl.LazyFrame) -> Vectors:
    """Take a model's embeddings. Columns: response_id, vector (a list of numbers, the same many in each)."""
    import numpy as np
    import polars as pl

    known = responses.select(pl.col("id").alias("response_id"), "prompt_id").unique("response_id", maintain_order=True)
    found = (
        known.collect()
        .join(embeddings, on="response_id", maintain_order="left")
        .filter(pl.int_range(pl.len()).over("prompt_id") < MOST_SIBLINGS)
        .sort("prompt_id", maintain_order=True)
    )
    matrix = np.array(found["vector"].to_list(), dtype=np.float64).reshape(found.height, -1)
    length = np.sqrt((matrix**2).sum(axis=1, keepdims=True))
    return Vectors(found.drop("vector"), matrix / np.where(length > 0, length, 1), True)


def siblings(vectors: Vectors) -> pl.DataFrame:
    """How alike the responses of each prompt are, for prompts with two or more.

    Columns: prompt_id; k (responses); cosine (the mean over pairs of them); vendi (the Vendi score, the exponential of
    the entropy of the eigenvalues of the matrix of cosines over k, between 1 and k; arXiv:2210.02410); clusters (the
    entropy of the sizes of clusters, over log k: 0 if all are in one, 1 if each is alone; two are in one cluster if a
    chain of cosines of 0.8 or more leads from one to the other); copies (how many are nearly the same as an earlier one:
    cosine of 0.9 or more).
    """
    import numpy as np
    import polars as pl

    numbered = vectors.table.with_row_index("row").group_by("prompt_id", maintain_order=True).agg("row")
    parts = []
    for (k,), group in sorted(
        numbered.with_columns(k=pl.col("row").list.len()).partition_by("k", as_dict=True).items()
    ):
        if int(k) < 2:
            continue
        rows = np.array(group["row"].to_list(), dtype=np.int64)
        alike = _cosines(vectors.matrix, rows)
        upper = np.triu_indices(int(k), 1)
        parts.append(
            pl.DataFrame(
                {
                    "prompt_id": group["prompt_id"],
                    "k": np.full(len(rows), int(k)),
                    "cosine": alike[:, upper[0], upper[1]].mean(axis=1),
                    "vendi": vendi(alike),
                    "clusters": cluster_entropy(alike),
                    "copies": (np.tril(alike, -1) >= NEAR_DUPLICATE).any(axis=2).sum(axis=1),
                }
            )
        )
    empty = {"prompt_id": pl.String, "k": pl.Int64, "cosine": pl.Float64, "vendi": pl.Float64}
    return pl.concat(parts) if parts else pl.DataFrame(schema=empty | {"clusters": pl.Float64, "copies": pl.Int64})


def _cosines(matrix: Matrix, rows: np.ndarray) -> np.ndarray:
    """Cosines within groups of rows of equal size: from shape (groups, k) to (groups, k, k)."""
    import numpy as np

    groups, k = rows.shape
    found = np.tile(np.eye(k), (groups, 1, 1))
    for i in range(k):
        for j in range(i):
            found[:, i, j] = found[:, j, i] = rowwise(matrix, rows[:, i], rows[:, j])
    return np.clip(found, -1, 1)


def rowwise(matrix: Matrix, some: np.ndarray, others: np.ndarray, other: Matrix = None) -> np.ndarray:
    """The cosine of row `some[i]` of a matrix with row `others[i]` of another, or of the same."""
    import numpy as np

    a, b = matrix[some], (matrix if other is None else other)[others]
    return np.asarray((a.multiply(b) if hasattr(a, "multiply") else a * b).sum(axis=1)).ravel()


def vendi(alike: Floats) -> Floats:
    """The Vendi score of each of some matrices of similarities, of shape (groups, k, k)."""
    import numpy as np

    share = np.clip(np.linalg.eigvalsh(alike / alike.shape[-1]), 0, None)
    share /= share.sum(axis=-1, keepdims=True)
    return np.exp(-(share * np.log(np.where(share > 0, share, 1))).sum(axis=-1))


def cluster_entropy(alike: Floats) -> Floats:
    """The entropy of the sizes of clusters, over log k, for each of some matrices of shape (groups, k, k)."""
    import numpy as np

    k = alike.shape[-1]
    linked = (alike >= SAME_CLUSTER).astype(np.int64)
    for _ in range(k.bit_length()):  # each step doubles how long a chain may be
        linked = (linked @ linked > 0).astype(np.int64)
    size = linked.sum(axis=2)  # of the cluster that each is in
    return np.log(k / size).mean(axis=1) / np.log(k)
