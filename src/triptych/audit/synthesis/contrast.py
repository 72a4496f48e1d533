"""Whether the responses to one prompt differ at all, and in quality (S2, S3 and S4)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from triptych.audit.diagnostic import Diagnostic, Share
from triptych.audit.estimates import cluster_sums, mean, smooth
from triptych.audit.finding import Finding, Histogram
from triptych.audit.intervals import Estimate
from triptych.audit.mitigations import judging, pairing, sampling
from triptych.audit.needs import GRADED, LIBRARIES, LOGPROBS, MARGINS, PAIRS, SEVERAL_RESPONSES
from triptych.instantiation.scores import verdicts

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

SMALL_MARGIN, WIDE_MARGIN = 0.05, 0.9


class UniqueAnswers(Share):
    """Different answers over all answers, of prompts with two or more whose status is ok. Answers differ if their texts do."""

    name = "unique_answers"
    failure_mode = "S2"
    needs = (SEVERAL_RESPONSES,)
    good = (0.5, 1.0)
    change = "raise the temperature, or sample from several models, system prompts or principles"
    mitigations = (sampling.hotter, sampling.verbalized_too)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each prompt: how many different answers, of how many."""
        import polars as pl

        says = pl.struct("messages").struct.json_encode().hash()
        return (
            data.responses.filter(pl.col("status") == "ok")
            .select("prompt_id", says.alias("says"))
            .group_by("prompt_id")
            .agg(pl.col("says").n_unique().alias("part"), pl.len().alias("whole"))
            .filter(pl.col("whole") > 1)
            .with_columns(id="prompt_id", shows=pl.col("part") < pl.col("whole"))
        )

    def say(self) -> tuple[str, str]:  # type: ignore[override]
        """About all responses."""
        return "", "Responses that differ from their siblings make up"


class NoContrast(Share):
    """Share of prompts all of whose responses a verifier scores alike, so that no pair has a contrast.

    Counts prompts with two or more verified responses. The threshold is the share of groups that DAPO's dynamic sampling
    is meant for (arXiv:2503.14476), in our number.
    """

    name = "no_contrast"
    failure_mode = "S4"
    needs = (SEVERAL_RESPONSES,)
    counts = (
        "several responses to a prompt that a program checked",
        "check answers with `verify`, or import data whose answers are marked by a program",
    )
    good = (0.0, 0.3)
    error = (0.0, 0.9)
    by = ("evaluator", "evaluator_id")
    change = "choose prompts that the policy solves sometimes, or sample more responses to each"
    mitigations = (sampling.until_contrast, sampling.more_samples)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each prompt of each verifier, and whether all its responses score alike."""
        import polars as pl

        return (
            verdicts(data.judgements.filter(pl.col("check").is_not_null()))
            .group_by("evaluator", "evaluator_id", "prompt_id", "response_id")
            .agg(pl.col("verdict").mean().round(9))
            .group_by("evaluator", "evaluator_id", "prompt_id")
            .agg(pl.len(), pl.col("verdict").n_unique().alias("levels"))
            .filter(pl.col("len") > 1)
            .with_columns(part=pl.col("levels") == 1, whole=1, id="prompt_id", shows=pl.col("levels") == 1)
        )

    def say(self, evaluator: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the verifier."""
        return evaluator, f"{evaluator} scores all responses alike for"


class PairsWithoutMargin(Share):
    """Share of training pairs whose margin is below 0.05: the responses are about equally good, so the label is noise.

    Margins are differences of the objective's scores, each in [0, 1]; pairs without a margin do not count.
    """

    name = "pairs_without_margin"
    failure_mode = "S3"
    needs = (PAIRS, MARGINS)
    good = (0.0, 0.3)
    error = (0.0, 0.6)
    by = ("strategy", "strategy_id")
    change = "raise min_margin, sample more responses to each prompt, or judge on a finer scale"
    repair = "drop_small_margins"
    mitigations = (pairing.at_least(SMALL_MARGIN), sampling.more_samples)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each pair with a margin, and whether it is next to nothing."""
        import polars as pl

        small = pl.col("margin").abs() < SMALL_MARGIN
        return _with_margin(data).with_columns(part=small, whole=1, shows=small)

    def say(self, strategy: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the strategy."""
        return strategy, f"The margin of {strategy} pairs is below {SMALL_MARGIN} in"


class WidestMargins(Share):
    """Share of training pairs whose margin is above 0.9: the responses are trivially apart, and little is to be learnt.

    The works that prefer moderate margins to large ones do not agree on where these begin.
    """

    name = "widest_margins"
    failure_mode = "S3"
    needs = (PAIRS, MARGINS, GRADED)
    good = (0.0, 0.5)
    error = (0.0, 0.9)
    by = ("strategy", "strategy_id")
    change = "pair with a better rejected response: another choice than the worst, or a max_margin"
    mitigations = (pairing.not_the_worst, pairing.at_most(WIDE_MARGIN))

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each pair with a margin, and whether it is nearly all that there can be."""
        import polars as pl

        wide = pl.col("margin") > WIDE_MARGIN
        return _with_margin(data).with_columns(part=wide, whole=1, shows=wide)

    def say(self, strategy: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the strategy."""
        return strategy, f"The margin of {strategy} pairs is above {WIDE_MARGIN} in"


class MarginEntropy(Diagnostic):
    """The entropy of the margins of training pairs, over ten bins of [0, 1], over log 10.

    0 if all margins fall into one bin, so that they tell no pair from another; 1 if they are spread evenly. The
    estimate is corrected for its bias (Miller and Madow: bins that are filled less one, over twice the pairs).
    """

    name = "margin_entropy"
    failure_mode = "S3"
    needs = (LIBRARIES, PAIRS, MARGINS, GRADED)
    good = (0.1, 1.0)
    change = "judge on a finer scale, by several criteria or several judges, so that margins differ"
    mitigations = (judging.finer_scale, judging.expected_scores)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it over all pairs with a margin."""
        import numpy as np
        import polars as pl

        bins = [f"bin_{number}" for number in range(10)]
        place = (pl.col("margin").abs() * 10).floor().clip(0, 9)
        rows = (
            _with_margin(data)
            .collect()
            .with_columns((place == number).cast(pl.Float64).alias(name) for number, name in enumerate(bins))
        )

        def entropy(counts: Any) -> Any:
            total = counts.sum(axis=-1, keepdims=True)
            share = counts / total
            plain = -(share * np.log(np.where(share > 0, share, 1))).sum(axis=-1)
            bias = ((counts > 0).sum(axis=-1) - 1) / (2 * total[..., 0])
            return np.clip((plain + bias) / math.log(10), 0, 1)

        found = smooth(cluster_sums(rows, bins), entropy, n=rows.height, within=(0.0, 1.0))
        if found is None:
            return
        counts = tuple(float(each) for each in rows.select(pl.col(bins).sum()).row(0))
        plot = Histogram(tuple(number / 10 for number in range(11)), counts, "margin")
        yield self.found(found, "Margins of pairs have a relative entropy of", plot=plot, data=data)


class AlignmentPotential(Diagnostic):
    """How far the margin of the scores lies above the policy's own, in the mean over training pairs (arXiv:2503.01864).

    The policy's own is that of the implicit reward, log pi(y|x) - log ref(y|x). Both margins are divided by their root
    mean square over all pairs, since neither says how it compares with the other; so the potential is about 0 where the
    policy tells pairs apart as the scores do, and 1 or more where it does not yet. The paper subtracts the margins as they
    are and selects pairs by the difference.
    """

    name = "alignment_potential"
    failure_mode = "S3"
    needs = (LIBRARIES, PAIRS, MARGINS, LOGPROBS)
    good = (0.0, math.inf)
    change = "keep pairs by `of: potential`, or sample anew from the policy: these pairs have little left to teach"
    mitigations = (pairing.by_potential,)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it over pairs with a margin whose responses have log-probabilities under policy and reference."""
        import polars as pl

        assert data.logprobs is not None
        if "reference_logprob" not in data.logprobs.columns:
            return
        implicit = data.logprobs.select(
            "response_id", reward=pl.col("logprob") - pl.col("reference_logprob")
        ).drop_nulls()
        pairs = (
            _with_margin(data)
            .collect()
            .join(implicit, left_on="chosen", right_on="response_id")
            .join(implicit.rename({"reward": "other"}), left_on="rejected", right_on="response_id")
            .with_columns(own=pl.col("reward") - pl.col("other"))
            .filter(pl.col("own").is_finite())
        )
        size = [(pl.col(name) ** 2).mean().sqrt() for name in ("margin", "own")]
        scaled = [
            pl.when(each > 0).then(pl.col(name) / each).otherwise(0.0)
            for name, each in zip(("margin", "own"), size, strict=True)
        ]
        told = pairs.with_columns(potential=scaled[0] - scaled[1])
        found = mean(told, "potential")
        if found is not None:
            rows = told.sort("potential", "id")["id"].head(10).to_list()
            yield self.found(found, "The scores' margin exceeds the policy's own by", rows=rows, data=data)


class AlwaysOrNeverSolved(Share):
    """Share of prompts whose responses all pass or all fail a verifier's check, among prompts with two or more verified.

    Groups of such prompts have no advantage, and give no gradient (arXiv:2503.14476 drops them). The plot has the whole
    histogram of pass rates.
    """

    name = "always_or_never_solved"
    told_by = "no_contrast"
    failure_mode = "S4"
    needs = (SEVERAL_RESPONSES,)
    counts = (
        "several responses to a prompt that a program checked",
        "check answers with `verify`, or import data whose answers are marked by a program",
    )
    good = (0.0, 0.3)
    error = (0.0, 0.9)
    by = ("evaluator", "evaluator_id")
    change = (
        "choose prompts that the policy solves sometimes (`prompts: {kind: run, keep: ...}`), or sample more responses"
    )
    mitigations = (sampling.until_contrast, sampling.more_samples)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each prompt of each verifier, and whether its pass rate is 0 or 1."""
        import polars as pl

        rate = pl.col("rate")
        return self._rates(data).with_columns(
            part=(rate == 0) | (rate == 1), whole=1, id="prompt_id", shows=(rate == 0) | (rate == 1)
        )

    def say(self, evaluator: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the verifier."""
        return evaluator, f"{evaluator} passes all responses or none for"

    def tell(
        self, share: Estimate, shown: tuple[str, ...], group: tuple[str, ...], data: Data | None
    ) -> Finding | None:
        """Draw the pass rates too."""
        import polars as pl

        subject, said = self.say(*group)
        plot = None
        if data is not None:
            its = (pl.col("evaluator") == group[0]) & (pl.col("evaluator_id") == group[1])
            place = (pl.col("rate") * 10).floor().clip(0, 9).cast(pl.Int64)
            counted = self._rates(data).filter(its).group_by(place.alias("bin")).len().collect()
            counts = dict(counted.iter_rows())
            plot = Histogram(
                tuple(number / 10 for number in range(11)),
                tuple(float(counts.get(number, 0)) for number in range(10)),
                "share of a prompt's responses that pass",
            )
        return self.found(share, said, subject=subject, rows=shown, plot=plot, data=data)

    def _rates(self, data: Data) -> pl.LazyFrame:
        """The pass rate of each prompt of each verifier."""
        import polars as pl

        return (
            verdicts(data.judgements.filter(pl.col("check").is_not_null()))
            .group_by("evaluator", "evaluator_id", "prompt_id", "response_id")
            .agg(passed=pl.col("verdict").mean().round(9) >= 1)
            .group_by("evaluator", "evaluator_id", "prompt_id")
            .agg(pl.len(), rate=pl.col("passed").mean())
            .filter(pl.col("len") > 1)
        )


class GroupsWithoutSpread(Share):
    """Share of prompts all of whose responses have the same objective score: groups whose advantages are all zero.

    Counts prompts with two or more scored responses, whoever scored them.
    """

    name = "groups_without_spread"
    failure_mode = "S4"
    needs = (SEVERAL_RESPONSES,)
    counts = (
        "two or more scored responses to a prompt",
        "score all responses: with a rubric, a reward model or a verifier",
    )
    good = (0.0, 0.3)
    error = (0.0, 0.9)
    change = "choose prompts of middling difficulty, sample more responses to each, or judge on a finer scale"
    mitigations = (sampling.until_contrast, sampling.more_samples)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each prompt, and whether all scores are the same."""
        import polars as pl

        same = pl.col("levels") == 1
        return (
            data.overall.lazy()
            .filter(pl.col("score").is_finite())
            .group_by("prompt_id")
            .agg(pl.len(), pl.col("score").round(9).n_unique().alias("levels"))
            .filter(pl.col("len") > 1)
            .with_columns(part=same, whole=1, id="prompt_id", shows=same)
        )

    def say(self) -> tuple[str, str]:  # type: ignore[override]
        """About all prompts."""
        return "", "All responses have the same score for"


def _with_margin(data: Data) -> pl.LazyFrame:
    import polars as pl

    return data.pairs.lazy().filter(pl.col("margin").is_finite())
