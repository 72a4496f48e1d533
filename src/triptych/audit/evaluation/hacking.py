"""Whether a judge's scores can be had without quality (E10)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from triptych.audit.agreement import each_evaluator
from triptych.audit.diagnostic import Diagnostic
from triptych.audit.estimates import Floats, cluster_sums, correlation, smooth
from triptych.audit.finding import Finding
from triptych.audit.needs import LIBRARIES, SCORES, Need

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_SIGNS = {"chars": "length", "markup": "markup", "hedges": "hedges", "flatteries": "flattery"}

GOLD_SCORES = Need(
    "gold scores of responses beside a judge's",
    "let a verifier or people score some of what the judge scores",
    lambda data: proxies(data).height > 0,
)


def proxies(data: Data) -> pl.DataFrame:
    """A judge's score of each response beside the gold score, both over their standard deviation, with what is in the text.

    Columns: prompt_id, response_id, evaluator, evaluator_id, proxy, gold, judgement_id; chars, markup, hedges, flatteries,
    model_version. Scores are means over criteria. Judges or gold without spread are left out.
    """
    import polars as pl

    key = ["prompt_id", "response_id"]
    names = list(data.gold_evaluators or ())
    is_gold = pl.col("evaluator").is_in(names) if names else pl.col("model").is_null()
    gold = data.scored.filter(is_gold).group_by(key).agg(gold=pl.col("score").mean())
    proxy = (
        data.scored.filter(~is_gold & pl.col("model").is_not_null())
        .group_by(*key, "evaluator", "evaluator_id")
        .agg(proxy=pl.col("score").mean(), judgement_id=pl.col("judgement_id").min())
    )
    markup = pl.col("bullets") + pl.col("headings") + pl.col("bold")
    about = data.features.select(
        "response_id", "chars", markup.alias("markup"), "hedges", "flatteries", "model_version"
    )
    both = proxy.join(gold, on=key).join(about, on="response_id")
    spread = [pl.col(name).std().over("evaluator_id") for name in ("proxy", "gold")]
    return both.filter((spread[0] > 0) & (spread[1] > 0)).with_columns(
        (pl.col(name) - pl.col(name).mean().over("evaluator_id")) / pl.col(name).std().over("evaluator_id")
        for name in ("proxy", "gold")
    )


class ExcessWithSigns(Diagnostic):
    """Spearman's correlation of what a judge gives a response beyond gold with signs that quality does not need.

    Beyond gold: the judge's score less the gold score, both standardised, less the mean over the prompt's responses. The
    signs are length, markup, hedges and flattery, also less their means over the prompt's responses.
    """

    name = "excess_with_signs"
    failure_mode = "E10"
    needs = (LIBRARIES, SCORES, GOLD_SCORES)
    good = (-0.3, 0.3)
    error = (-0.7, 0.7)
    change = "correct the judge's scores for this sign, take the lower bound of several judges, or another judge"

    def measure(self, data: Data) -> Iterator[Finding]:
        """Correlate, for each judge and sign."""
        import polars as pl

        by = ["prompt_id", "evaluator_id"]
        rows = proxies(data).filter(pl.len().over(by) > 1).with_columns(excess=pl.col("proxy") - pl.col("gold"))
        names = ["excess", *_SIGNS]
        rows = rows.with_columns(pl.col(name) - pl.col(name).mean().over(by) for name in names)
        for judge, part in each_evaluator(rows):
            for sign, called in _SIGNS.items():
                found = correlation(part, "excess", sign, ranks=True)
                if found is not None:
                    worst = part.sort(pl.col("excess") * pl.col(sign), descending=True)["judgement_id"][:10].to_list()
                    said = f"What {judge} gives beyond gold goes with {called} by a rank correlation of"
                    yield self.found(found, said, subject=f"{judge}: {called}", rows=worst, data=data)


class ProxyWithoutGold(Diagnostic):
    """How much faster a judge's scores rise over the policy's declared versions than gold scores do, a version.

    Slope of the judge's less slope of gold, both standardised, by least squares over the versions in the order of their
    names (numbers in them count as numbers). Positive is the sign of over-optimisation (arXiv:2210.10760).
    """

    name = "proxy_without_gold"
    failure_mode = "E10"
    needs = (
        LIBRARIES,
        SCORES,
        GOLD_SCORES,
        Need(
            "responses of several versions of the policy",
            "run rounds, or declare `version` of the model",
            lambda data: data.features["model_version"].n_unique() > 1,
        ),
    )
    good = (-float("inf"), 0.1)
    error = (-float("inf"), 0.5)
    change = "stop at the version where gold stops rising; take another judge, or several"

    def measure(self, data: Data) -> Iterator[Finding]:
        """Compare slopes, for each judge."""
        import polars as pl

        rows = proxies(data).with_columns(
            number=pl.col("model_version").str.extract(r"(\d+)").cast(pl.Float64, strict=False)
        )
        rows = rows.with_columns(version=pl.struct("number", "model_version").rank("dense").cast(pl.Float64))
        for judge, part in each_evaluator(rows):
            told = part.with_columns(
                e=pl.col("proxy") - pl.col("gold"), one=1.0, v=pl.col("version") - pl.col("version").mean()
            ).with_columns(vv=pl.col("v") ** 2, ve=pl.col("v") * pl.col("e"))
            found = smooth(cluster_sums(told, ["one", "v", "e", "vv", "ve"]), _slope, n=part.height)
            if found is not None:
                said = f"A version, the scores of {judge} rise faster than gold, in standard deviations, by"
                yield self.found(found, said, subject=judge, data=data)


def _slope(s: Floats) -> Floats:
    n, v, e, vv, ve = (s[..., i] for i in range(5))
    return (ve - v * e / n) / (vv - v * v / n)


class DisagreementAtTheTop(Diagnostic):
    """How far judges are apart on the tenth of responses that they score highest, over how far they are apart on all.

    How far apart: the variance over judges of the score on one criterion, each judge's scores standardised. Where a policy
    has learnt what pleases one judge, the others disagree there.
    """

    name = "disagreement_at_the_top"
    failure_mode = "E10"
    needs = (
        LIBRARIES,
        SCORES,
        Need(
            "scores by several models",
            "score with two or more judges",
            lambda data: data.scored.filter(data.scored["model"].is_not_null())["evaluator_id"].n_unique() > 1,
        ),
    )
    good = (0.0, 1.5)
    error = (0.0, 4.0)
    change = "take the mean less a multiple of the spread over judges (a lower bound) as the score"

    def measure(self, data: Data) -> Iterator[Finding]:
        """Compare over all judges."""
        import polars as pl

        z = (pl.col("score") - pl.col("score").mean().over("evaluator_id")) / pl.col("score").std().over("evaluator_id")
        rows = (
            data.scored.filter(pl.col("model").is_not_null())
            .with_columns(z=z)
            .filter(pl.col("z").is_finite())
            .group_by("prompt_id", "response_id", "criterion")
            .agg(apart=pl.col("z").var(), best=pl.col("z").max(), id=pl.col("judgement_id").min(), judges=pl.len())
            .filter((pl.col("judges") > 1) & pl.col("apart").is_not_null())
        )
        if rows.height < 10:
            return
        top = pl.col("best") >= rows["best"].quantile(0.9, "lower")
        told = rows.with_columns(top=top.cast(pl.Float64), at_top=top * pl.col("apart"), one=1.0)
        sums = cluster_sums(told, ["top", "at_top", "one", "apart"])
        found = smooth(
            sums, lambda s: (s[..., 1] / s[..., 0]) / (s[..., 3] / s[..., 2]), n=rows.height, within=(0.0, float("inf"))
        )
        if found is not None:
            worst = rows.filter(top).sort("apart", descending=True)["id"][:10].to_list()
            said = "On the responses scored highest, over all responses, the variance among judges is larger by a factor of"
            yield self.found(found, said, rows=worst, data=data)
