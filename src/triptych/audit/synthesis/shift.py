"""Whether the responses are such as the policy would give (S1)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Diagnostic, Share
from triptych.audit.estimates import cluster_sums, difference, effective_share
from triptych.audit.finding import FEWEST_PROMPTS, Finding, Histogram
from triptych.audit.mitigations import pairing, sampling
from triptych.audit.needs import LIBRARIES, LOGPROBS, POLICY, RESPONSES
from triptych.audit.told_apart import told_apart

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_REWEIGHT = (
    "sample anew from the policy, mix its samples in, or weigh pairs by how likely the policy finds them (`wpo`)"
)


def by_policy(data: Data) -> pl.Expr:
    """Whether a response is a sample of the policy, as it is now."""
    import polars as pl

    policy = data.policy
    assert policy is not None
    same = pl.col("model").fill_null("") == policy.model
    return same if policy.version is None else same & (pl.col("model_version").fill_null("") == policy.version)


class OffPolicyShare(Share):
    """Share of the responses in training examples that the policy did not give: of another model or another version of it.

    Where there are no examples, of all responses.
    """

    name = "off_policy_share"
    failure_mode = "S1"
    needs = (POLICY, RESPONSES)
    good = (0.0, 0.5)
    change = _REWEIGHT
    mitigations = (sampling.policy_too, pairing.by_likelihood)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each response, as often as it stands in an example."""
        import polars as pl

        off = ~by_policy(data)
        made = data.features.lazy().select("response_id", "prompt_id", off.alias("part"))
        used = data.examples.select(pl.col("response_ids").alias("response_id")).explode("response_id").drop_nulls()
        if not used.limit(1).collect().is_empty():
            made = used.join(made, on="response_id")
        return made.with_columns(whole=1, id="response_id", shows="part")

    def say(self) -> tuple[str, str]:  # type: ignore[override]
        """About all responses."""
        return "", "Responses that are not the policy's make up"


class PolicyTellable(Diagnostic):
    """How well a classifier tells the data's responses from the policy's own: an area under the curve.

    A logistic model on TF-IDF of words and pairs of words (see `sibling_cosine`), fitted on one half of the
    prompts and measured on the other (arXiv:1610.06545). Only prompts count that have both, one response of each kind, so that topics tell nothing. One half where the
    data could be the policy's.
    """

    name = "policy_auc_from_text"
    failure_mode = "S1"
    needs = (LIBRARIES, POLICY, RESPONSES)
    good = (0.0, 0.75)
    error = (0.0, 0.95)
    unit = "share"
    change = _REWEIGHT
    mitigations = (pairing.by_likelihood, sampling.policy_too)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it on the sampled prompts that have both kinds."""
        import polars as pl

        made = data.features.select("response_id", off=~by_policy(data))
        rows = data.ngrams.table.with_row_index("row").join(made, on="response_id", maintain_order="left")
        one = rows.unique(["prompt_id", "off"], keep="first", maintain_order=True)
        both = one.filter(pl.len().over("prompt_id") == 2)
        if both["prompt_id"].n_unique() < FEWEST_PROMPTS:
            return
        found = told_apart(both, data.word_vectors.matrix[both["row"].to_numpy()], "off")
        if found is not None:
            said = "Words tell responses of the data from the policy's own with an area under the curve of"
            yield self.found(found, said, data=data)


class ExtraSurprise(Diagnostic):
    """How much more surprised the policy is, in nats a token, by the data's responses than by its own.

    The mean of -log pi(y|x) / |y| over responses that it did not give, less that over its own samples.
    """

    name = "extra_nats_per_token"
    failure_mode = "S1"
    needs = (LIBRARIES, POLICY, LOGPROBS, RESPONSES)
    good = (-math.inf, 0.5)
    error = (-math.inf, 2.0)
    change = _REWEIGHT
    mitigations = (pairing.by_likelihood, sampling.policy_too)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it on responses with log-probabilities."""
        told = _surprise(data).join(
            data.features.select("response_id", "prompt_id", off=~by_policy(data)), on="response_id"
        )
        if told["off"].n_unique() < 2:
            return
        found = difference(told, "nats", "off")
        if found is not None:
            worst = told.filter("off").sort(["nats", "response_id"], descending=[True, False])["response_id"].head(10)
            said = "The policy finds the data's responses less likely than its own, in nats a token, by"
            yield self.found(found, said, rows=worst.to_list(), data=data)


class EffectiveSampleShare(Diagnostic):
    """The effective sample size over the number of pairs, (sum w)^2 / (n sum w^2), with the weights of WPO (arXiv:2406.11827).

    A pair weighs exp(log pi(y_w|x) / |y_w|) exp(log pi(y_l|x) / |y_l|): how likely the policy is to give it, by the mean
    token. WPO's alignment of the weights is left out. Where there are no pairs, over single responses. What it may be at
    least is only said of 100 rows or more whose weights have no heavy tail: a Pareto tail of shape k below 0.25 with 97.5 %
    confidence, so that the fourth moment is finite (the k of arXiv:1507.02646).
    """

    name = "effective_sample_share"
    failure_mode = "S1"
    needs = (LIBRARIES, LOGPROBS, RESPONSES)
    good = (0.2, 1.0)
    error = (0.05, 1.0)
    unit = "share"
    change = _REWEIGHT
    mitigations = (sampling.policy_too,)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it on pairs both of whose responses have log-probabilities."""
        import polars as pl

        nats = _surprise(data)
        if data.pairs.height:
            weighed = (
                data.pairs.select("prompt_id", "chosen", "rejected")
                .join(nats, left_on="chosen", right_on="response_id")
                .join(nats.rename({"nats": "other"}), left_on="rejected", right_on="response_id")
                .with_columns(w=(-pl.col("nats") - pl.col("other")).exp())
            )
        else:
            weighed = data.features.select("response_id", "prompt_id").join(nats, on="response_id")
            weighed = weighed.with_columns(w=(-pl.col("nats")).exp())
        weighed = weighed.with_columns(ww=pl.col("w") ** 2, one=1.0)
        told = effective_share(cluster_sums(weighed, ["w", "ww", "one"]), weighed["w"].to_numpy())
        if told is not None:
            found, bound = told
            said = f"Weighed by how likely the policy finds them, the rows count as many as{bound}"
            yield self.found(found, said, plot=_weights(weighed), data=data)


def _surprise(data: Data) -> pl.DataFrame:
    """Columns: response_id, nats (-log pi / tokens)."""
    import polars as pl

    assert data.logprobs is not None
    nats = -pl.col("logprob") / pl.col("tokens")
    told = data.logprobs.filter(pl.col("tokens") > 0).select("response_id", nats=nats)
    return told.filter(pl.col("nats").is_finite()).unique("response_id", keep="first", maintain_order=True)


def _weights(weighed: pl.DataFrame) -> Histogram:
    import numpy as np

    counts, edges = np.histogram(weighed["w"].to_numpy(), bins=20, range=(0, 1))
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()), "weight of a row")
