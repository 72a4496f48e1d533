"""Pairs of a chosen and a rejected response, for DPO and its kin and for reward models."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from triptych.instantiation.bands import Band, with_certainty, with_features
from triptych.instantiation.labels import SoftLabels
from triptych.instantiation.panel import Panel
from triptych.instantiation.scored import Unit
from triptych.instantiation.scores import at_once, criterion_scores
from triptych.instantiation.token_weights import TokenWeights
from triptych.instantiation.weighed import Weighed
from triptych.instantiation.weights import Likelihood
from triptych.records import Objective

if TYPE_CHECKING:
    import polars as pl


OUTCOMES = (
    "pair",
    "fewer than two scored responses",
    "identical texts",
    "no two of like length",
    "all tied",
    "margin below the band",
    "margin above the band",
    "left out by keep, labels or weights",
)
"""What can become of a prompt, in the order in which it is decided."""


Choice = Literal[
    "best_vs_worst", "best_vs_random", "best_vs_low", "best_vs_rest", "adjacent", "random_pairs", "all_pairs"
]


class Pairs(Weighed):
    """Pairs responses to one prompt by the objective's score (see `objective_scores`).

    `best_vs_worst`, `best_vs_random` and `best_vs_low` make at most one pair a prompt; `best_vs_rest` pairs the best
    with each that is worse (PRO, arXiv:2306.17492), `adjacent` each with the next one, `random_pairs` two
    by two in drawn order (the first round of RSO's ranking, arXiv:2309.06657), `all_pairs` every two; the better one
    is chosen. `best_vs_low` rejects the response whose score is nearest to `deviations` standard
    deviations below the mean of its prompt, which was found better than the worst of many (arXiv:2502.16825).

    Which responses are paired is settled first; the band and `keep` then keep or drop the pair. Responses of equal
    score are put in order by a draw that depends on the seed and on their ids alone.
    """

    kind: Literal["pairs"] = "pairs"
    choose: Choice = "best_vs_worst"
    """Which responses are paired. `best_vs_random` draws among those scored lower than the best."""
    deviations: float = Field(default=2.0, ge=0)
    """With `best_vs_low`: how many standard deviations (of a sample, n - 1) below the mean."""
    tier: float = Field(default=0.0, ge=0, lt=0.5)
    """With `best_vs_worst`: how far from the best score a response may be, and from the worst, as a share of their
    distance, to count as equally good. The shortest of the best is then chosen and the longest of the worst rejected
    (the length control of Meta-Rewarding, arXiv:2407.19594); 0 goes by scores alone."""
    like_length: float | None = Field(default=None, ge=0, le=1)
    """How much longer one of a pair may be than the other, as a share of the longer one's characters, so that length tells
    them apart but little. It holds whatever `choose` says; `best_vs_worst` then takes, of all two that are alike in
    length, those whose scores lie furthest apart. None sets no limit."""
    within: Literal["prompt", "prefix"] = "prompt"
    """Which responses are paired: any to one prompt, or only branches of one response from the same place, with one
    another and with that response, so that the two differ from there on (Step-DPO, arXiv:2406.18629)."""
    dimensions: Literal["joined", "each", "pareto"] = "joined"
    """What several criteria make of a pair. `joined`: the objective's weighted mean decides. `each`: pairs for every
    criterion by itself, with its name in their strategy. `pareto`: as joined, but only where the chosen response is
    on no criterion the worse and on one the better."""
    min_margin: Unit = 0.0
    """Least difference of scores, in [0, 1], inclusive."""
    max_margin: Unit | None = None
    """Greatest difference of scores, in [0, 1], inclusive; None sets no limit."""
    ties: Literal["drop", "keep"] = "drop"
    """What becomes of two responses of equal score where nothing better is to be had: no pair, or one with
    margin 0 and labels 0.5 and 0.5, in drawn order. (A `min_margin` above 0 drops it all the same.)"""
    weight: Literal["one", "margin", "certainty"] | Likelihood = "one"
    """The example's weight: 1, its margin, the chance that the margin is above 0 given its standard error (see the
    band `certainty`), which is from 0.5 to 1, or by a `Likelihood`."""
    unestimated: Literal["one", "drop"] = "one"
    """With `weight: certainty`: whether a pair whose margin has no standard error, since a response has one verdict
    alone, gets the weight 1 or is dropped."""
    soft_labels: SoftLabels | None = None
    """Labels between 0 and 1, by a `SoftLabels`; None gives 1 and 0, and 0.5 to both of a tie."""
    keep: tuple[Band, ...] = ()
    """Bands on what can be said of a pair, one after another; each is a `Band`."""
    token_weights: TokenWeights | None = None
    """Weights of the tokens of both responses, by a `TokenWeights`; None gives none."""
    most: int | None = Field(default=None, ge=1)
    """Most pairs of a prompt, those with the greatest margin first, so that prompts with many pairs don't outweigh the
    others; None sets no limit."""
    distinct: bool = True
    """Never pair two responses that say the same; an equal of the best is passed over for the next."""

    @model_validator(mode="after")
    def _fits_together(self) -> Pairs:
        if self.max_margin is not None and self.max_margin < self.min_margin:
            raise ValueError(f"max_margin {self.max_margin:g} is below min_margin {self.min_margin:g}: no pair fits")
        if self.tier and self.choose != "best_vs_worst":
            raise ValueError(f"tier says which are the best and which the worst; it does not go with {self.choose}")
        if self.dimensions == "each" and self.criteria is None:
            raise ValueError("dimensions: each needs the names of the criteria")
        estimated = self.weight == "certainty" or any(band.of_variances for band in self.keep)
        by_the_mean = self.join == "mean" and (self.panel is None or self.panel == Panel())
        if estimated and not by_the_mean:
            raise ValueError(
                "certainty and noise are of a margin between means of verdicts, and panel or join makes other scores; leave out "
                "the one or the other"
            )
        return self

    @property
    def _unread(self) -> frozenset[str]:
        return frozenset() if self.token_weights is not None else frozenset({"spans"})

    @property
    def across_prompts(self) -> bool:
        """Whether a quantile over all pairs is asked for, or verdicts on other prompts bear on a score."""
        return super().across_prompts or any(band.of_all_pairs for band in self.keep)

    def instantiate(
        self,
        responses: pl.LazyFrame,
        judgements: pl.LazyFrame,
        objective: Objective,
        seed: int,
        prompts: pl.LazyFrame | None = None,
    ) -> pl.LazyFrame:
        """Make the pairs, ordered as the responses are: by prompt, then by chosen, then by rejected."""
        import polars as pl

        return self.scheduled(
            pl.concat(one._examples(responses, judgements, objective, seed, prompts) for one in self._dimensions())
        )

    def _dimensions(self) -> list[Pairs]:
        """The settings of each criterion by itself, where each is asked for; otherwise these alone."""
        if self.dimensions != "each":
            return [self]
        return [Pairs(**(dict(self) | {"criteria": (name,)})) for name in self.criteria or ()]

    def _examples(
        self,
        responses: pl.LazyFrame,
        judgements: pl.LazyFrame,
        objective: Objective,
        seed: int,
        prompts: pl.LazyFrame | None,
    ) -> pl.LazyFrame:
        import polars as pl

        tables = (responses, judgements, objective)
        scored = self._scored(*tables, seed)
        pairs = self._kept(self._picked(self._couples(scored, *tables)), *tables)
        pairs = pairs.with_columns(labels=self._labels()).sort("prompt", "row", "row_b")
        rests_on = scored.select("row", "judgement_ids").unique("row", keep="first", maintain_order=True)
        spans = ["spans"] if self.token_weights is not None else []
        rows = (
            pairs.join(rests_on, on="row", how="left", maintain_order="left")
            .join(rests_on, left_on="row_b", right_on="row", how="left", suffix="_b", maintain_order="left")
            .select(
                "prompt_id",
                "margin",
                "labels",
                *spans,
                response_ids=pl.concat_list("response_id", "response_id_b"),
                scores=pl.concat_list("score", "score_b"),
                weight=self._weight(),
                judgement_ids=pl.concat_list("judgement_ids", "judgement_ids_b").list.unique(maintain_order=True),
            )
        )
        rows = self.weighed(rows, responses, judgements, objective, prompts)
        return self.as_examples(rows, kind="pair", strategy=self._strategy, version=objective.version)

    def _weight(self) -> pl.Expr:
        import polars as pl

        match self.weight:
            case "margin":
                return pl.col("margin")
            case "certainty":
                return pl.col("certainty").fill_null(1.0)
            case "one":
                return pl.lit(1.0)
            case _:
                return pl.col("likelihood")

    @property
    def _strategy(self) -> str:
        return f"{self.choose}/{self.criteria[0]}" if self.dimensions == "each" and self.criteria else self.choose

    def _labels(self) -> pl.Expr:
        import polars as pl

        if self.soft_labels is not None:
            return pl.concat_list(pl.col("chance"), (1 - pl.col("chance")).round(12))
        return pl.when(pl.col("margin") == 0).then(pl.lit([0.5, 0.5])).otherwise(pl.lit([1.0, 0.0]))

    def tally(self, responses: pl.LazyFrame, judgements: pl.LazyFrame, objective: Objective, seed: int) -> pl.DataFrame:
        """Count what became of the prompts: one row for each of `OUTCOMES`, so that the prompts add up.

        A prompt without a pair is counted under the first thing that left it with none. Where `all_pairs`
        loses pairs at both ends of the band, the prompt counts as above it.

        Columns: strategy, strategy_id, outcome, prompts, pairs.
        """
        import polars as pl

        return pl.concat(one._tally(responses, judgements, objective, seed) for one in self._dimensions())

    def _tally(
        self, responses: pl.LazyFrame, judgements: pl.LazyFrame, objective: Objective, seed: int
    ) -> pl.DataFrame:
        import polars as pl

        tables = (responses, judgements, objective)
        scored = self._scored(*tables, seed)
        couples = self._couples(scored, *tables)
        picked = self._picked(couples)
        stages = {
            "scored": scored.group_by("prompt_id").agg(pl.len().alias("scored")),
            "unlike": couples.filter(self._unlike()).group_by("prompt_id").agg(pl.len().alias("unlike")),
            "matched": couples.filter(self._unlike() & self._alike_in_length()).group_by("prompt_id").agg(pl.len().alias("matched")),
            "picked": picked.group_by("prompt_id").agg((pl.col("margin").max() < self.min_margin).alias("low")),
            "banded": self._in_band(picked).group_by("prompt_id").agg(pl.len().alias("banded")),
            "pairs": self._kept(picked, *tables).group_by("prompt_id").agg(pl.len().alias("pairs")),
        }
        per_prompt = responses.select("prompt_id").unique()
        for stage in stages.values():
            per_prompt = per_prompt.join(stage, on="prompt_id", how="left")
        pair, few, identical, lengths, tied, below, above, outside = OUTCOMES
        outcome = (
            pl.when(pl.col("pairs") > 0).then(pl.lit(pair))
            .when(pl.col("scored").fill_null(0) < 2).then(pl.lit(few))
            .when(pl.col("unlike").is_null()).then(pl.lit(identical))
            .when(pl.col("matched").is_null()).then(pl.lit(lengths))
            .when(pl.col("low").is_null()).then(pl.lit(tied))
            .when(pl.col("banded") > 0).then(pl.lit(outside))
            .when("low").then(pl.lit(below))
            .otherwise(pl.lit(above))
        )  # fmt: skip
        counted = per_prompt.group_by(outcome.alias("outcome")).agg(
            pl.len().cast(pl.Int64).alias("prompts"), pl.col("pairs").sum().cast(pl.Int64)
        )
        return (
            pl.LazyFrame({"outcome": OUTCOMES})
            .join(counted, on="outcome", how="left", maintain_order="left")
            .select(
                pl.lit(self._strategy).alias("strategy"),
                pl.lit(self.identity()).alias("strategy_id"),
                "outcome",
                pl.col("prompts", "pairs").fill_null(0),
            )
            .collect()
        )

    def _scored(
        self, responses: pl.LazyFrame, judgements: pl.LazyFrame, objective: Objective, seed: int
    ) -> pl.LazyFrame:
        """The responses that can be paired, from best to worst within each prompt; `place` counts them."""
        import polars as pl

        says = pl.struct("messages").struct.json_encode().hash().alias("says")  # numbers are compared faster
        said = responses.select(says).with_row_index("row")
        # The first row of the prompt that says the same stands for what is said: numbers are cheap to carry.
        says_first = pl.col("row").min().over("prompt", "says")
        ranked = (
            self.ranked(responses, judgements, objective, seed)
            .join(said, on="row", how="left", maintain_order="left")
            .with_columns(says=says_first)
        )
        if self._minds_length:
            characters = pl.col("messages").list.eval(pl.element().struct.field("content").str.len_chars()).list.sum()
            lengths = responses.select(characters.alias("length")).with_row_index("row")
            ranked = ranked.join(lengths, on="row", how="left", maintain_order="left")
        if self.within == "prefix":
            ranked = _by_prefix(ranked, responses)
        return at_once(ranked)

    def _couples(
        self, scored: pl.LazyFrame, responses: pl.LazyFrame, judgements: pl.LazyFrame, objective: Objective
    ) -> pl.LazyFrame:
        """Two responses to one prompt in a row, the better one first; the other's columns end in `_b`.

        All that score as the best does can be chosen: the first drawn may say what all that are worse say.
        """
        import polars as pl

        length = ["length"] if self._minds_length else []
        each = scored.select("place", "prompt", "prompt_id", "row", "response_id", "score", "drawn", "says", *length)
        if self.choose == "random_pairs":
            each = each.with_columns(turn=pl.col("drawn").rank("ordinal").over("prompt").cast(pl.Int64) - 1)
        if self.choose == "best_vs_low":
            spread = pl.col("score").std().over("prompt")
            each = each.with_columns(low=pl.col("score").mean().over("prompt") - self.deviations * spread)
        score = pl.col("score")
        greatest, least = score.max().over("prompt"), score.min().over("prompt")
        reach = (self.tier * (greatest - least)).round(12)
        furthest_apart = self.like_length is not None and self.choose == "best_vs_worst" and not self.tier
        any_first = furthest_apart or self.choose in ("all_pairs", "adjacent", "random_pairs")
        best = (greatest - score).round(12) <= reach if self.tier else score == greatest
        first = each if any_first else each.filter(best)
        second = each.filter((score - least).round(12) <= reach) if self.tier else each
        couples = (
            first.join(second.drop("prompt_id"), on="prompt", suffix="_b")
            .filter(pl.col("place") < pl.col("place_b"))
            .with_columns(margin=(pl.col("score") - pl.col("score_b")).round(12))
        )
        if self.dimensions == "pareto":
            scores = criterion_scores(self.what_counts(responses, judgements, objective), self.panel)
            couples = couples.join(_dominating(couples, scores), on=["row", "row_b"], how="semi", maintain_order="left")
        return couples

    def _unlike(self) -> pl.Expr:
        """Whether the two may be paired for what they say."""
        import polars as pl

        return pl.col("says") != pl.col("says_b") if self.distinct else pl.lit(True)

    @property
    def _minds_length(self) -> bool:
        return self.tier > 0 or self.like_length is not None

    def _alike_in_length(self) -> pl.Expr:
        """Whether the two may be paired for how long they are."""
        import polars as pl

        if self.like_length is None:
            return pl.lit(True)
        longer, shorter = (each("length", "length_b").cast(pl.Float64) for each in (pl.max_horizontal, pl.min_horizontal))
        return longer - shorter <= self.like_length * longer + 1e-9

    def _picked(self, couples: pl.LazyFrame) -> pl.LazyFrame:
        """The couples that the strategy takes."""
        import polars as pl

        fit = couples.filter(self._unlike() & self._alike_in_length())
        if self.ties == "drop":
            fit = fit.filter(pl.col("margin") > 0)
        match self.choose:
            case "all_pairs":
                return fit
            case "adjacent":
                return fit.filter(pl.col("place_b") == pl.col("place") + 1)
            case "random_pairs":
                return fit.filter(pl.col("turn") // 2 == pl.col("turn_b") // 2)
            case "best_vs_rest":
                return fit.filter(pl.col("place") == pl.col("place").min().over("prompt"))
            case "best_vs_worst":
                lengths = [pl.col("length"), -pl.col("length_b").cast(pl.Int64)] if self.tier else []
                if not self.tier:  # there is less to sort
                    fit = fit.filter(pl.col("margin") == pl.col("margin").max().over("prompt"))
                order = fit.sort(*lengths, -pl.col("margin"), "place", -pl.col("place_b").cast(pl.Int64))
            case "best_vs_low":
                away = (pl.col("score_b") - pl.col("low")).abs().round(12)
                order = fit.sort(pl.col("margin") == 0, away, "place", "place_b")
            case "best_vs_random":
                order = fit.sort(pl.col("margin") == 0, "place", "drawn_b", "place_b")
        return order.unique("prompt", keep="first", maintain_order=True)

    def _kept(
        self, picked: pl.LazyFrame, responses: pl.LazyFrame, judgements: pl.LazyFrame, objective: Objective
    ) -> pl.LazyFrame:
        """The pairs that the band of margins, `keep`, labels and weights leave, with what these say of them."""
        import polars as pl

        pairs, tables = self._in_band(picked), (responses, judgements, objective)
        if self.keep:
            said = partial(self.what_counts, *tables)
            pairs = with_features(pairs, self.keep, responses, said, lambda name: self.on_criterion(name, *tables))
            pairs = pairs.filter(*(band.fits() for band in self.keep))
        if self.weight == "certainty":
            pairs = with_certainty(pairs, self.what_counts(*tables))
            if self.unestimated == "drop":
                pairs = pairs.filter(pl.col("certainty").is_not_null())
        if self.most is not None:
            pairs = pairs.sort("prompt", "margin", "place", "place_b", descending=[False, True, False, False])
            pairs = pairs.filter(pl.int_range(pl.len()).over("prompt") < self.most)
        if self.soft_labels is not None:
            pairs = self.soft_labels.labelled(pairs, judgements)
        if isinstance(self.weight, Likelihood):
            pairs = self.weight.weighed(pairs, judgements)
        return pairs if self.token_weights is None else self.token_weights.weighed(pairs, judgements)

    def _in_band(self, picked: pl.LazyFrame) -> pl.LazyFrame:
        import polars as pl

        highest = 1.0 if self.max_margin is None else self.max_margin
        return picked.filter(pl.col("margin").is_between(self.min_margin, highest))


def _dominating(couples: pl.LazyFrame, scores: pl.LazyFrame) -> pl.LazyFrame:
    """The couples of which the first is on no criterion the worse, and on one the better."""
    import polars as pl

    ids = couples.select("row", "row_b", "response_id", "response_id_b")
    return (
        ids.join(scores, on="response_id")
        .join(scores, left_on=["response_id_b", "criterion"], right_on=["response_id", "criterion"], suffix="_b")
        .group_by("row", "row_b")
        .agg(worst=(pl.col("score") - pl.col("score_b")).min(), best=(pl.col("score") - pl.col("score_b")).max())
        .filter((pl.col("worst") >= 0) & (pl.col("best") > 0))
    )


def _by_prefix(ranked: pl.LazyFrame, responses: pl.LazyFrame) -> pl.LazyFrame:
    """The responses anew, once for each place at which one branched off; those of a place take that of a prompt.

    `prompt` then counts the places, in the order of the responses; `place` counts the rows as before.
    """
    import polars as pl

    prefix = pl.col("params").str.json_path_match("$.prefix").cast(pl.Int64, strict=False).alias("prefix")
    branches = responses.select("id", "parent_id", prefix).drop_nulls()
    at = ["parent_id", "prefix"]
    members = pl.concat(
        [branches.select(*at, response_id="id"), branches.select(*at, response_id="parent_id")]
    ).unique()
    found = members.join(ranked.drop("place"), on="response_id")
    first = pl.struct("prompt", pl.col("row").min().over(at), "prefix", "parent_id")
    return (
        found.with_columns(prompt=first.rank("dense").cast(pl.UInt32))
        .drop(at)
        .sort("prompt", "score", "drawn", "response_id", descending=[False, True, False, False])
        .with_row_index("place")
    )
