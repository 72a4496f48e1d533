"""What goes stale, narrows or is forgotten as a loop goes on (L1 to L4)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.estimates import bounded_mean, cluster_sums, mean
from triptych.audit.finding import Finding
from triptych.audit.intervals import Estimate
from triptych.audit.mitigations import judging, sampling, scoring, training
from triptych.audit.needs import LIBRARIES, LOGPROBS, POLICY, RESPONSES, ROUNDS
from triptych.audit.series import ByRound, curve, drawn
from triptych.audit.stability import stability
from triptych.audit.synthesis.shift import by_policy
from triptych.audit.told_apart import every, form, told_apart
from triptych.audit.vectors import siblings

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_MOST_ROWS = 2000
_REFRESH = (
    "sample anew from the present policy in each round, and let old examples expire (`decay`, a smaller `replay`)"
)
_RECALIBRATE = "judge a fresh sample with gold, and retrain or recalibrate the evaluator where it is off"
_BINS = 10


class PolicyAge(Diagnostic):
    """How many rounds old the responses in this round's training examples are, in the mean.

    The age of a response is this round's number less that of the last round in which its model and version are those of
    that round's policy; 0 where the present policy gave it, and this round's number where no round's policy did. Where
    there are no examples, all responses count.
    """

    name = "policy_age"
    failure_mode = "L1"
    needs = (LIBRARIES, ROUNDS, POLICY, RESPONSES)
    good = (0.0, 1.0)
    error = (0.0, 5.0)
    change = _REFRESH
    mitigations = (training.less_replay, training.older_for_less)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it on this round, and draw all of them."""
        ages = [_ages(data.history[: number + 1]) for number in range(len(data.history))]
        found = mean(ages[-1], "age")
        if found is None:
            return
        found = Estimate(found.value, max(found.low, 0.0), found.high, found.n, found.prompts)
        oldest = ages[-1].sort(["age", "response_id"], descending=[True, False])["response_id"].head(10).to_list()
        plot = curve(ages, "age", "age of responses, in rounds")
        yield self.found(
            found, "Responses in this round's examples are old, in rounds,", rows=oldest, plot=plot, data=data
        )


class RoundsSinceGold(Diagnostic):
    """How many rounds ago gold last judged anything beside each model that judges this round: its last calibration.

    Gold is whoever judges without a model, or the evaluators named as gold. Where gold never judged, the number of rounds.
    """

    name = "rounds_since_gold"
    failure_mode = "L1"
    needs = (ROUNDS,)
    good = (0.0, 2.0)
    change = _RECALIBRATE
    mitigations = (judging.verified_too, scoring.calibrated)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Count it for the judges of this round."""
        import polars as pl

        history = data.history
        judges = data.by_models.select("evaluator", "prompt_id").collect()
        if not judges.height:
            return
        had = [not each.by_gold.filter(pl.col("status") == "ok").limit(1).collect().is_empty() for each in history]
        since = float(next((ago for ago, gold in enumerate(reversed(had)) if gold), len(history)))
        found = Estimate(since, since, since, judges.height, judges["prompt_id"].n_unique())
        yield self.found(found, "The judges were last seen beside gold, in rounds before this one,", data=data)


class DiversityRatio(ByRound):
    """The diversity of responses to one prompt in this round over that in the first: D_t / D_0.

    Diversity is 1 less the mean cosine of a prompt's responses, by TF-IDF with the first round's weights (see
    `sibling_cosine`), in the mean over prompts.
    """

    name = "diversity_ratio"
    failure_mode = "L2"
    good = (0.7, math.inf)
    error = (0.3, math.inf)
    axis = "1 - mean cosine of a prompt's responses"
    compared = "quotient"
    change = "explore more: a higher temperature, `verbalized`, prompts of middling difficulty"
    mitigations = (sampling.hotter, sampling.verbalized_too)

    def values(self, data: Data) -> Sequence[pl.DataFrame]:
        """The diversity of each prompt, by round."""
        import polars as pl

        return [siblings(each).select("prompt_id", value=1 - pl.col("cosine")) for each in data.by_round]

    def said(self, subject: str) -> str:
        """About all prompts."""
        return "The diversity of responses to one prompt is that of the first round times"


class DivergenceFromReference(Diagnostic):
    """The divergence KL(pi_t, ref) of the policy from the reference, in nats a response, over the policy's own samples.

    The mean of log pi(y|x) - log ref(y|x), which is unbiased for samples drawn at temperature 1. The reference is that of
    the log-probabilities: the policy of the first round, say.
    """

    name = "divergence_from_reference"
    failure_mode = "L2"
    needs = (LIBRARIES, POLICY, LOGPROBS, RESPONSES)
    good = (-math.inf, 50.0)
    error = (-math.inf, 200.0)
    change = "raise beta, train for fewer steps, or begin anew from the reference"
    mitigations = (training.higher_beta,)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it on samples that have both log-probabilities."""
        import polars as pl

        assert data.logprobs is not None
        if "reference_logprob" not in data.logprobs.columns:
            return
        own = data.features.filter(by_policy(data)).select("response_id", "prompt_id")
        apart = (pl.col("logprob") - pl.col("reference_logprob")).alias("apart")
        told = own.join(data.logprobs.select("response_id", apart), on="response_id").filter(
            pl.col("apart").is_finite()
        )
        found = mean(told, "apart")
        if found is not None:
            yield self.found(found, "The policy has moved from the reference, in nats a response, by", data=data)


class EvaluatorDrift(Diagnostic):
    """How well length and format tell this round's judged responses from those of the first round that a judge judged.

    The area under the curve of a logistic model, fitted on one half of the prompts and measured on the other, up to 2,000
    responses of a round; told of each model that judges both rounds unchanged: by the same settings, under the same version. The
    further they are apart, the less its calibration then says of now.
    """

    name = "evaluator_drift_auc"
    failure_mode = "L3"
    needs = (LIBRARIES, ROUNDS)
    good = (0.0, 0.75)
    error = (0.0, 0.95)
    unit = "share"
    change = _RECALIBRATE
    mitigations = (judging.verified_too, scoring.calibrated)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each judge, and draw it by round."""
        judged = [_judged(each) for each in data.history]
        for (evaluator, evaluator_id), first in _unchanged(judged):
            its = [_of(each, evaluator_id) for each in judged]
            told = [
                (number + 1, found)
                for number in range(first + 1, len(its))
                if (found := _apart(data, first, number, its)) is not None
            ]
            if told and told[-1][0] == len(its):
                said = f"Length and format tell what {evaluator} judges now from what it judged first, by an area of"
                plot = drawn(told, "area under the curve, against the first round")
                yield self.found(told[-1][1], said, subject=evaluator, plot=plot, data=data)


class ScoreShift(Diagnostic):
    """The population stability index of an unchanged judge's scores between the first round that it judged and this one.

    The sum over ten bins of [0, 1] of (q - p) log(q / p), less what it would be by chance (see `gold_coverage_index`). By a rule of thumb in credit scoring 0.1 is some change and 0.25 a great one.
    """

    name = "score_stability_index"
    failure_mode = "L3"
    needs = (LIBRARIES, ROUNDS)
    good = (-math.inf, 0.25)
    error = (-math.inf, 1.0)
    change = _RECALIBRATE
    mitigations = (judging.verified_too, scoring.calibrated)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each judge and criterion."""
        scored = [_scores(each).drop_nulls("model") for each in data.history]
        for (evaluator, evaluator_id), first in _unchanged(scored):
            before, after = (_of(scored[place], evaluator_id) for place in (first, -1))
            for criterion in sorted(set(before["criterion"]) & set(after["criterion"])):
                found = score_shift(before, after, criterion)
                if found is not None:
                    said = f"The scores of {evaluator} on {criterion} have shifted since its first round by an index of"
                    yield self.found(found, said, subject=f"{evaluator}: {criterion}", data=data)


class AnchorRegression(ByRound):
    """What responses to the same prompts score on a criterion in this round, less what they scored in the first round.

    Scores are in [0, 1], by an evaluator whose settings and version are the same in both. Only prompts count that both
    rounds have: the anchors. Below 0 something is forgotten, or has come to be valued otherwise.
    """

    name = "anchor_criterion_change"
    failure_mode = "L4"
    good = (-0.05, math.inf)
    error = (-0.15, math.inf)
    axis = "score of the anchors"
    shared_prompts = True
    within = (0.0, 1.0)
    change = "replay examples of earlier rounds (`loop.replay`), or constrain what must not get worse"
    mitigations = (training.more_replay,)

    def values(self, data: Data) -> Sequence[pl.DataFrame]:
        """The score of each response on each criterion, by round."""
        import polars as pl

        rounds = [_scores(each) for each in data.history]
        kept = rounds[-1].select("evaluator_id", "version").unique()
        subject = pl.format("{}: {}", "evaluator", "criterion")
        return [
            each.join(kept, on=["evaluator_id", "version"], how="semi").select(
                "prompt_id", pl.col("score").alias("value"), subject=subject
            )
            for each in rounds
        ]

    def said(self, subject: str) -> str:
        """Name the evaluator and the criterion."""
        return f"From the first round to this one, what the same prompts score by {subject} changed by"


class BackwardTransfer(Diagnostic):
    """The mean over prompts of what their responses score now, less what they scored in the round in which each first came.

    The backward transfer of continual learning, over prompts rather than tasks: the objective's scores, in [0, 1], of
    prompts of earlier rounds that this round asks again. Below 0 the policy forgets.
    """

    name = "backward_transfer"
    failure_mode = "L4"
    needs = (LIBRARIES, ROUNDS)
    good = (-0.05, math.inf)
    error = (-0.15, math.inf)
    change = "replay examples of earlier rounds (`loop.replay`), or ask fewer new prompts a round"
    mitigations = (training.more_replay,)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it on prompts that an earlier round has scored."""
        import polars as pl

        score = pl.col("score").mean()
        rounds = [
            each.overall.filter(pl.col("score").is_finite()).group_by("prompt_id").agg(score) for each in data.history
        ]
        first = pl.concat(rounds[:-1]).unique("prompt_id", keep="first", maintain_order=True)
        told = (
            rounds[-1]
            .join(first, on="prompt_id", suffix="_then")
            .with_columns(change=pl.col("score") - pl.col("score_then"))
        )
        found = bounded_mean(told, "change", (-1.0, 1.0))
        if found is not None:
            rows = told.sort("change", "prompt_id")["prompt_id"].head(10).to_list()
            said = "Prompts of earlier rounds score now, beside the round that they first came in,"
            yield self.found(found, said, rows=rows, data=data)


def _ages(history: Sequence[Data]) -> pl.DataFrame:
    """The age of each response in the last of some rounds' examples. Columns: response_id, prompt_id, age."""
    import polars as pl

    now = history[-1]
    age = pl.lit(float(len(history)))
    for ago in range(len(history) - 1, -1, -1):
        if history[-1 - ago].policy is not None:
            age = pl.when(by_policy(history[-1 - ago])).then(float(ago)).otherwise(age)
    made = now.features.select("response_id", "prompt_id", age=age)
    used = (
        now.examples.select(pl.col("response_ids").alias("response_id")).explode("response_id").drop_nulls().collect()
    )
    return used.join(made, on="response_id") if used.height else made


def _judged(data: Data) -> pl.DataFrame:
    """Which responses models judge. Columns: evaluator, evaluator_id, version, response_id."""
    import polars as pl

    return (
        data.by_models.filter(pl.col("status") == "ok")
        .select("evaluator", "evaluator_id", _version(), pl.col("response_ids").alias("response_id"))
        .explode("response_id")
        .unique()
        .collect()
        .sort("response_id")
    )


def _scores(data: Data) -> pl.DataFrame:
    """Scores of whole responses. Columns: evaluator, evaluator_id, version, criterion, prompt_id, response_id, score."""
    import polars as pl

    versions = data.judgements.select(pl.col("id").alias("judgement_id"), _version()).unique("judgement_id").collect()
    return data.scored.join(versions, on="judgement_id").filter(pl.col("score").is_finite())


def _version() -> pl.Expr:
    import polars as pl

    return pl.col("model_version").fill_null("").alias("version")


def _unchanged(rounds: Sequence[pl.DataFrame]) -> Iterator[tuple[tuple[str, str], int]]:
    """Who judges the last round and an earlier one, unchanged, and the first such round, from 0."""
    now = (
        rounds[-1].select("evaluator", "evaluator_id", "version").unique().sort("evaluator", "evaluator_id", "version")
    )
    for evaluator, evaluator_id, version in now.iter_rows():
        for place, each in enumerate(rounds[:-1]):
            if each.filter((each["evaluator_id"] == evaluator_id) & (each["version"] == version)).height:
                yield (evaluator, evaluator_id), place
                break


def _of(rows: pl.DataFrame, evaluator_id: str) -> pl.DataFrame:
    return rows.filter(rows["evaluator_id"] == evaluator_id)


def _apart(data: Data, first: int, number: int, judged: Sequence[pl.DataFrame]) -> Estimate | None:
    """How well two rounds' judged responses are told apart by their form."""
    import polars as pl

    sides = [
        every(data.history[place].features.join(judged[place], on="response_id", how="semi"), _MOST_ROWS).with_columns(
            now=pl.lit(place == number)
        )
        for place in (first, number)
    ]
    if not all(side.height for side in sides):
        return None
    both = pl.concat(sides)
    return told_apart(both.select("prompt_id", "now"), form(both), "now")


def score_shift(before: pl.DataFrame, after: pl.DataFrame, criterion: str) -> Estimate | None:
    """The population stability index of two rounds' scores on a criterion, from columns criterion, prompt_id and score."""
    import polars as pl

    place = (pl.col("score") * _BINS + 1e-9).floor().clip(0, _BINS - 1)
    both = pl.concat(
        [
            each.filter(pl.col("criterion") == criterion).select("prompt_id", bin=place + side * _BINS)
            for side, each in enumerate((before, after))
        ]
    )
    cells = {f"cell_{number}": (pl.col("bin") == number).cast(pl.Float64) for number in range(2 * _BINS)}
    return stability(cluster_sums(both.select("prompt_id", **cells), list(cells)), n=both.height)
