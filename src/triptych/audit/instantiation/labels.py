"""Labels that are turned round, or contradict one another (I6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triptych.audit import agreement
from triptych.audit.diagnostic import Share
from triptych.audit.mitigations import pairing, scoring
from triptych.audit.needs import LIBRARIES, PAIRS
from triptych.instantiation.rescale import raw_scores, unscaled

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_CHANGE = "drop what contradicts itself, have somebody judge it again, or smooth the labels"


def as_texts(data: Data) -> pl.LazyFrame:
    """Pairs by what they say: the prompt apart from case, white space and the marks at the ends of words, the responses apart
    from case and white space.

    Columns: id, prompt_id, asks, w (chosen), l (rejected); numbers that are equal for equal texts.
    """
    import polars as pl

    asked = data.asked.lazy().select("prompt_id", "asks")
    pairs = data.pair_features.lazy().select("id", "prompt_id", w="chosen_alike", l="rejected_alike")
    return pairs.join(asked, on="prompt_id", how="left").with_columns(
        asks=pl.coalesce("asks", pl.col("prompt_id").hash())
    )


class ContradictoryPairs(Share):
    """Share of pairs whose opposite is in the data too: the same two texts in answer to the same prompt, the other one chosen.

    Texts that differ in case and white space alone count as the same, prompts also where the marks at the ends of words differ.
    The two pull in opposite directions, and teach nothing.
    """

    name = "contradictory_pairs"
    failure_mode = "I6"
    needs = (PAIRS,)
    good = (0.0, 0.01)
    error = (0.0, 0.1)
    change = _CHANGE
    repair = "drop_contradictions"
    mitigations = (pairing.without_contradictions, pairing.smoothed)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each pair, and whether its opposite is there."""
        import polars as pl

        pairs = as_texts(data).filter(pl.col("w") != pl.col("l"))
        opposite = pairs.select("asks", w="l", l="w", part=pl.lit(1)).unique()
        return pairs.join(opposite, on=["asks", "w", "l"], how="left").with_columns(
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
    needs = (LIBRARIES, PAIRS)
    counts = (
        "prompts with three or more pairs among three or more responses",
        "make several pairs of a prompt, such as choose: all_pairs of three responses or more",
    )
    good = (0.0, 0.05)
    error = (0.0, 0.3)
    change = (
        "make pairs of one score or ranking of each response, which can't go round in circles, or drop these prompts"
    )
    repair = "break_cycles"
    mitigations = (pairing.scored_pairs,)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each prompt with enough pairs, and whether they go round in a circle."""
        import polars as pl

        edges = edges_of(data)
        texts = pl.concat_list("w", "l").explode().n_unique()
        wide = edges.group_by("asks").agg(pl.len(), texts.alias("texts"), pl.col("prompt_id").min())
        wide = wide.filter((pl.col("len") > 2) & (pl.col("texts") > 2)).select("asks", "prompt_id")
        found = in_circles(edges).group_by("asks").agg(pl.col("id").min(), part=pl.lit(1))
        return (
            wide.lazy()
            .join(found.lazy(), on="asks", how="left")
            .with_columns(pl.col("part").fill_null(0), whole=1, shows=pl.col("id").is_not_null())
        )

    def say(self) -> tuple[str, str]:  # type: ignore[override]
        """About all prompts with enough pairs."""
        return "", "The pairs of a prompt go round in a circle for"


def edges_of(data: Data) -> pl.DataFrame:
    """Of pairs that say the same one, without those whose opposite is there. Columns: as in `as_texts`."""
    import polars as pl

    key = ["asks", "w", "l"]
    edges = as_texts(data).filter(pl.col("w") != pl.col("l")).unique(key).collect()
    return edges.join(edges.select("asks", w="l", l="w"), on=key, how="anti")


def in_circles(edges: pl.DataFrame) -> pl.DataFrame:
    """The pairs that stand in a circle: those whose two texts lie in one strongly connected component."""
    import numpy as np
    import polars as pl
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ends = [edges.select(pl.struct("asks", text=side).hash()).to_series() for side in ("w", "l")]
    place: Any = np.unique(pl.concat(ends).to_numpy(), return_inverse=True)[1]
    w, l = place[: edges.height], place[edges.height :]  # noqa: E741
    size = int(place.max()) + 1 if place.size else 0
    if not size:
        return edges
    graph = coo_matrix((np.ones(edges.height), (w, l)), shape=(size, size))
    component = connected_components(graph, directed=True, connection="strong")[1]
    return edges.filter(pl.Series(component[w] == component[l]))


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
    mitigations = (scoring.everybody, pairing.smoothed)

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
        rests_on = data.rests_on.select("id", "evaluator_id").unique()
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

