"""What DPO would make of each pair under a policy, and which pairs its gradient would come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from triptych.audit.diagnostic import Diagnostic, Share
from triptych.audit.estimates import cluster_sums, correlation, effective_share, mean, share
from triptych.audit.finding import Finding, Histogram
from triptych.audit.instantiation.similarity import NEAR
from triptych.audit.instantiation.strategies import each_strategy
from triptych.audit.intervals import Estimate
from triptych.audit.mitigations import pairing, sampling, training
from triptych.audit.needs import LIBRARIES, LOGPROBS, PAIRS, Need

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

BETA = 0.1
"""What TRL's trainers take where a recipe says nothing."""
_BINS = 20


def _has_reference(data: Data) -> bool:
    return data.logprobs is not None and data.logprobs["reference_logprob"].count() > 0


REFERENCE = Need(
    "log-probabilities of the responses under a policy and a reference",
    "name both: --policy MODEL --reference MODEL",
    _has_reference,
)


def beta(data: Data) -> float:
    """The beta that the recipe's trainer is given, or else 0.1."""
    method: Any = data.recipe.method if data.recipe is not None else None
    trl = (method.trl if method is not None else None) or {}
    return float(trl.get("beta", BETA))


def dpo(pairs: pl.DataFrame, beta: float) -> pl.DataFrame:
    """What DPO's loss (arXiv:2305.18290) makes of pairs, as TRL's trainer computes it.

    `pairs` has chosen_logprob, rejected_logprob and the same as ..._reference, in nats; the result has in addition
    chosen_reward and rejected_reward (beta times policy less reference), implicit (their difference), gradient (the weight of
    the pair in the gradient, sigmoid(-implicit), in [0, 1]) and loss (-log sigmoid(implicit)).
    """
    import polars as pl

    reward = [(pl.col(f"{side}_logprob") - pl.col(f"{side}_reference")) * beta for side in ("chosen", "rejected")]
    m = pl.col("implicit")
    return (
        pairs.with_columns(chosen_reward=reward[0], rejected_reward=reward[1])
        .with_columns(implicit=pl.col("chosen_reward") - pl.col("rejected_reward"))
        .with_columns(
            gradient=1 / (1 + m.exp()),
            loss=(1 + (-m.abs()).exp()).log() - pl.min_horizontal(m, 0.0),  # never the exponential of something great
        )
    )


def told_pairs(data: Data) -> pl.DataFrame:
    """Pairs with what the policy says of both responses: `Data.pairs` with chosen_ and rejected_ logprob, tokens and reference."""
    import polars as pl

    told = data.logprobs
    if told is None:
        told = pl.DataFrame(
            schema={
                "response_id": pl.String,
                "logprob": pl.Float64,
                "tokens": pl.Int64,
                "reference_logprob": pl.Float64,
            }
        )
    good = told.filter(pl.col("logprob").is_finite() & (pl.col("tokens") > 0)).unique("response_id")
    pairs = data.pairs
    for side in ("chosen", "rejected"):
        names = {"logprob": f"{side}_logprob", "tokens": f"{side}_tokens", "reference_logprob": f"{side}_reference"}
        its = good.select("response_id", *names).rename(names)
        pairs = pairs.join(its, left_on=side, right_on="response_id", how="inner", maintain_order="left")
    return pairs


def with_dpo(data: Data) -> pl.DataFrame:
    """`told_pairs` of which the reference says something too, with what `dpo` adds."""
    import polars as pl

    pairs = told_pairs(data)
    both = pl.col("chosen_reference").is_finite() & pl.col("rejected_reference").is_finite()
    return dpo(pairs.filter(both.fill_null(False)), beta(data))


class ImplicitAccuracy(Share):
    """Share of pairs that the policy has satisfied already: its implicit reward, beta (log pi - log pi_ref), of the chosen
    response is the greater one (TRL's `rewards/accuracies`).

    What is satisfied by far has no gradient left. A policy that has not been trained yet satisfies half of the pairs, or, as its
    own reference, none.
    """

    name = "implicit_accuracy"
    failure_mode = "S3"
    needs = (PAIRS, REFERENCE)
    good = (0.0, 0.9)
    by = ("strategy", "strategy_id")
    change = (
        "keep pairs whose margin exceeds what the policy knows already (a band on `potential`), or sample anew from it"
    )
    mitigations = (pairing.by_potential,)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each pair, and whether the policy has it right."""
        import polars as pl

        right = pl.col("implicit") > 0
        return with_dpo(data).lazy().with_columns(part=right, whole=1, shows=right)

    def say(self, strategy: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the strategy."""
        return strategy, f"The policy has satisfied {strategy} pairs already for"


class RankingAccuracy(Share):
    """Share of pairs of which the policy finds the chosen response the likelier one, per token.

    Far below one half the labels go against what the policy says by itself, as where rejected responses are its own and chosen
    ones another's; far above there is little left to learn. Pairs of equal likelihood are left out.
    """

    name = "ranking_accuracy"
    failure_mode = "S1"
    needs = (PAIRS, LOGPROBS)
    good = (0.2, 0.9)
    by = ("strategy", "strategy_id")
    change = "sample both responses from the policy, weigh pairs by their likelihood, or mix sources on both sides"
    mitigations = (pairing.by_likelihood, sampling.policy_too)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each pair, and whether its chosen response is the likelier one."""
        import polars as pl

        w, l = (pl.col(f"{side}_logprob") / pl.col(f"{side}_tokens") for side in ("chosen", "rejected"))  # noqa: E741
        return told_pairs(data).lazy().filter(w != l).with_columns(part=w > l, whole=1, shows=w < l)

    def say(self, strategy: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the strategy."""
        return strategy, f"The policy finds the chosen response of {strategy} pairs the likelier one, per token, for"


class GradientWeight(Diagnostic):
    """The mean weight of a pair in DPO's gradient, sigmoid(-beta (log-ratio of chosen - log-ratio of rejected)), where a log-ratio
    is log pi - log pi_ref (arXiv:2305.18290).

    One half for a policy that is its own reference; near 0 where the pairs are learnt, near 1 where the policy believes the
    opposite of the labels. beta is that of the recipe's trainer, or 0.1.
    """

    name = "dpo_gradient_weight"
    failure_mode = "S3"
    needs = (LIBRARIES, PAIRS, REFERENCE)
    good = (0.1, 0.9)
    error = (0.01, 0.99)
    change = "make pairs that the policy does not know yet: sample anew from it, or keep those of great potential"
    mitigations = (pairing.by_potential,)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each strategy."""
        for strategy, pairs in each_strategy(with_dpo(data)):
            found = mean(pairs, "gradient")
            if found is not None:
                said = f"The mean weight of {strategy} pairs in DPO's gradient is"
                shown = tuple(pairs.top_k(10, by="gradient").sort("id")["id"])
                yield self.found(found, said, subject=strategy, data=data, rows=shown, plot=_implicit(pairs))


class GradientSampleSize(Diagnostic):
    """How many pairs DPO's gradient comes from, as a share of all: (sum of v)^2 / (n sum of v^2), where v is the pair's weight times
    sigmoid(-implicit margin).

    1 where all count alike; 0.1 where it is as if a tenth of the pairs were all there is. Where v has a heavy tail, or there
    are fewer than 100 pairs, it is only said how many it may be at most (see `effective_sample_share`).
    """

    name = "dpo_effective_pairs"
    failure_mode = "S3"
    needs = (LIBRARIES, PAIRS, REFERENCE)
    good = (0.5, 1.0)
    error = (0.1, 1.0)
    unit = "share"
    change = "bound the weights, lower beta, or keep pairs of moderate implicit margin"
    mitigations = (training.lower_beta, pairing.by_potential)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each strategy."""
        import polars as pl

        for strategy, pairs in each_strategy(with_dpo(data)):
            told = effective(pairs)
            if told is not None:
                found, bound = told
                said = f"DPO's gradient from {strategy} pairs comes from as many as{bound}"
                shown = tuple(pairs.top_k(10, by=pl.col("weight") * pl.col("gradient")).sort("id")["id"])
                yield self.found(found, said, subject=strategy, data=data, rows=shown)


def effective(pairs: pl.DataFrame) -> tuple[Estimate, str] | None:
    """The effective number of pairs with columns prompt_id, weight and gradient, as a share of all, and whether it is a bound."""
    import polars as pl

    v = pairs.select("prompt_id", v=pl.col("weight").fill_null(1.0) * pl.col("gradient")).filter(
        pl.col("v").is_finite()
    )
    sums = cluster_sums(v.with_columns(vv=pl.col("v") ** 2, one=1.0), ["v", "vv", "one"])
    return effective_share(sums, v["v"].to_numpy())


class ImplicitFollowsExplicit(Diagnostic):
    """Spearman's rank correlation of the evaluators' margins with the policy's implicit ones.

    Explicit margins that the implicit ones do not know of yet are what there is to learn (arXiv:2503.01864 picks pairs by their
    difference). For you to judge.
    """

    name = "implicit_follows_explicit_margin"
    failure_mode = "S3"
    needs = (LIBRARIES, PAIRS, REFERENCE)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each strategy that has margins."""
        import polars as pl

        for strategy, pairs in each_strategy(with_dpo(data).filter(pl.col("margin").is_finite())):
            found = correlation(pairs, "margin", "implicit", ranks=True)
            if found is not None:
                said = f"The policy's implicit margins of {strategy} pairs follow the evaluators' with a rank correlation of"
                yield self.found(found, said, subject=strategy, data=data)


class GradientOnNearIdentical(Diagnostic):
    """Share of DPO's gradient weight that is on pairs whose two responses share at least 95 % of their words (see
    `near_identical_pairs`), of which the likelihood of the chosen response may fall (arXiv:2410.08847).

    Of at most 10,000 pairs, those with the least ids.
    """

    name = "gradient_on_near_identical"
    failure_mode = "I4"
    needs = (LIBRARIES, PAIRS, REFERENCE)
    good = (0.0, 0.05)
    error = (0.0, 0.3)
    unit = "share"
    change = "drop pairs that hardly differ, or add a term for the likelihood of the chosen response to the loss"
    repair = "drop_near_identical"
    mitigations = (training.likelihood_term, sampling.hotter)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each strategy."""
        import polars as pl

        near = pl.when(pl.col("similarity") >= NEAR).then(pl.col("gradient")).otherwise(0.0)
        for strategy, pairs in each_strategy(with_dpo(data).join(data.similarity, on="id")):
            rows = pairs.with_columns(near=near)
            sums = cluster_sums(rows, ["near", "gradient"])
            found = share(sums, n=rows.height)
            if found is not None:
                said = f"DPO's gradient weight of {strategy} pairs is on those that hardly differ for"
                shown = tuple(rows.filter(pl.col("near") > 0).top_k(10, by="near").sort("id")["id"])
                yield self.found(found, said, subject=strategy, data=data, rows=shown)


def _implicit(pairs: pl.DataFrame) -> Histogram:
    import numpy as np

    counts, edges = np.histogram(pairs["implicit"].to_numpy(), bins=_BINS)
    return Histogram(tuple(map(float, edges)), tuple(map(float, counts)), "implicit margin")
