"""Whether a policy that learns from itself grows worse, or has nothing new to learn from (S6 and S7)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.estimates import bounded_mean
from triptych.audit.finding import Finding
from triptych.audit.mitigations import sampling, scoring, training
from triptych.audit.needs import LIBRARIES, PAIRS, ROUNDS
from triptych.audit.series import ByRound, drawn
from triptych.instantiation.scores import verdicts

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_ANCHOR = "keep rounds short, filter with gold, and mix human or gold-checked examples in (`replay`, `join`)"
_EXPLORE = "explore more (temperature, `verbalized`), or take weaker or older policies' responses as rejected ones"


class AnchorGold(ByRound):
    """The mean gold score, in [0, 1], of the responses to prompts that the first round has too: this round less the first.

    Gold is whoever judges without a model, or the evaluators named as gold. The prompts that all rounds share are the
    anchors: that they score worse says that the policy got worse, whatever its judge says.
    """

    name = "anchor_gold_change"
    failure_mode = "S6"
    good = (-0.02, math.inf)
    error = (-0.1, math.inf)
    axis = "gold score of the anchors"
    shared_prompts = True
    within = (0.0, 1.0)
    change = _ANCHOR
    mitigations = (training.more_replay, scoring.calibrated)

    def values(self, data: Data) -> Sequence[pl.DataFrame]:
        """The gold score of each response, by round."""
        import polars as pl

        return [
            verdicts(each.by_gold)
            .group_by("prompt_id", "response_id")
            .agg(pl.col("verdict").mean().alias("value"))
            .collect()
            for each in data.history
        ]

    def said(self, subject: str) -> str:
        """About all anchors."""
        return "From the first round to this one, the gold score of responses to the same prompts changed by"


class GoldPrefersRejected(Diagnostic):
    """Share of this round's training pairs, among those that gold tells apart, in which gold prefers the rejected response.

    The plot shows it by round: errors that a policy learns from come back in its next samples.
    """

    name = "gold_prefers_rejected"
    failure_mode = "S6"
    needs = (LIBRARIES, ROUNDS, PAIRS)
    good = (0.0, 0.3)
    error = (0.0, 0.5)
    unit = "share"
    change = _ANCHOR
    mitigations = (scoring.calibrated, training.more_replay)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it on this round, and draw all of them."""
        import polars as pl

        rounds = [_wrong(each) for each in data.history]
        told = [(number, found) for number, each in enumerate(rounds, 1) if (found := bounded_mean(each, "wrong"))]
        now = bounded_mean(rounds[-1], "wrong")
        if now is None:
            return
        rows = rounds[-1].filter(pl.col("wrong") == 1)["id"].sort().head(10).to_list()
        said = "Gold prefers the rejected response in pairs of this round:"
        plot = drawn(told, "share of pairs whose rejected response gold prefers")
        yield self.found(now, said, rows=rows, plot=plot, data=data)


class Novelty(Diagnostic):
    """How new this round's responses are: 1 less the greatest cosine with an earlier round's response to the same prompt.

    In the mean over responses whose prompt an earlier round has. Vectors are of TF-IDF (see `sibling_cosine`), with the
    weights of the first round. 0 where each was said before.
    """

    name = "novelty"
    failure_mode = "S7"
    needs = (LIBRARIES, ROUNDS)
    good = (0.1, 1.0)
    error = (0.02, 1.0)
    change = _EXPLORE
    mitigations = (sampling.hotter, sampling.verbalized_too)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it on this round, and draw all from the second on."""
        rounds = [_novelty(data, number) for number in range(1, len(data.history))]
        told = [(number, found) for number, each in enumerate(rounds, 2) if (found := bounded_mean(each, "value"))]
        now = bounded_mean(rounds[-1], "value")
        if now is not None:
            rows = rounds[-1].sort("value", "response_id")["response_id"].head(10).to_list()
            plot = drawn(told, "1 - greatest cosine with an earlier response")
            yield self.found(now, "This round's responses are new, by their words, to", rows=rows, plot=plot, data=data)


class MarginDecline(ByRound):
    """The mean margin of this round's training pairs over that of the first round's.

    Where it falls the rejected responses come to be as good as the chosen ones, and there is less and less to learn from.
    """

    name = "margin_ratio"
    failure_mode = "S7"
    needs = (LIBRARIES, ROUNDS, PAIRS)
    good = (0.5, math.inf)
    error = (0.1, math.inf)
    axis = "mean margin of training pairs"
    compared = "quotient"
    change = _EXPLORE
    mitigations = (sampling.hotter, sampling.verbalized_too)

    def values(self, data: Data) -> Sequence[pl.DataFrame]:
        """The margin of each pair, by round."""
        import polars as pl

        return [each.pairs.select("prompt_id", value=pl.col("margin")).drop_nulls() for each in data.history]

    def said(self, subject: str) -> str:
        """About all pairs."""
        return "The mean margin of pairs is that of the first round times"


class EntropyRatio(ByRound):
    """The entropy of the policy's samples a token in this round over that in the first: H_t / H_0.

    Estimated as the mean of -log pi(y|x) / |y| over the samples whose log-probabilities were recorded when they were
    drawn. It is the policy's own entropy if they were drawn at temperature 1 without cutting the distribution.
    """

    name = "entropy_ratio"
    failure_mode = "S7"
    good = (0.5, math.inf)
    error = (0.1, math.inf)
    axis = "nats a token"
    compared = "quotient"
    change = _EXPLORE
    mitigations = (sampling.hotter, sampling.verbalized_too)

    def values(self, data: Data) -> Sequence[pl.DataFrame]:
        """The mean surprise of each response, by round."""
        import polars as pl

        known = (pl.col("status") == "ok") & pl.col("logprob").is_finite() & (pl.col("token_logprobs").list.len() > 0)
        nats = -pl.col("logprob") / pl.col("token_logprobs").list.len()
        return [each.responses.filter(known).select("prompt_id", value=nats).collect() for each in data.history]

    def said(self, subject: str) -> str:
        """About all samples."""
        return "The entropy of samples, a token, is that of the first round times"


def _wrong(data: Data) -> pl.DataFrame:
    """Pairs that gold tells apart. Columns: id, prompt_id, wrong (1 where gold prefers the rejected one)."""
    import polars as pl

    first = pl.min_horizontal("chosen", "rejected")
    return (
        data.pairs.with_columns(a=first, b=pl.max_horizontal("chosen", "rejected"))
        .join(data.gold, on=["prompt_id", "a", "b"])
        .with_columns(better=pl.when(pl.col("truth") > 0).then("a").otherwise("b"))
        .select("id", "prompt_id", wrong=(pl.col("better") == pl.col("rejected")).cast(pl.Float64))
    )


def _novelty(data: Data, number: int) -> pl.DataFrame:
    """How new each response of a round is (its place in the history, from 0). Columns: response_id, prompt_id, value."""
    import polars as pl

    from triptych.audit.vectors import rowwise

    now = data.by_round[number]
    here = now.table.with_row_index("row")
    nearest = []
    for earlier in data.by_round[:number]:
        there = earlier.table.with_row_index("other").select("prompt_id", "other")
        met = here.join(there, on="prompt_id")
        if met.height:
            cosine = rowwise(now.matrix, met["row"].to_numpy(), met["other"].to_numpy(), earlier.matrix)
            nearest.append(met.select("response_id", "prompt_id").with_columns(cosine=pl.Series(cosine)))
    if not nearest:
        return here.select("response_id", "prompt_id", value=pl.lit(None, dtype=pl.Float64)).clear()
    most = pl.concat(nearest).group_by("response_id", "prompt_id").agg(pl.col("cosine").max())
    return most.select("response_id", "prompt_id", value=(1 - pl.col("cosine")).clip(0, 1))
