"""Whether a judge's scores rise from version to version of the policy while gold does not (E10)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from triptych.audit.agreement import each_evaluator
from triptych.audit.diagnostic import Diagnostic
from triptych.audit.estimates import Floats, cluster_sums, smooth
from triptych.audit.finding import Finding
from triptych.audit.mitigations import judging, scoring
from triptych.audit.needs import LIBRARIES, SCORES, Need

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

GOLD_SCORES = Need(
    "gold scores of responses beside a judge's",
    "let a verifier or people score some of what the judge scores",
    lambda data: proxies(data).height > 0,
)


def proxies(data: Data) -> pl.DataFrame:
    """A judge's score of each response beside the gold score, both over their standard deviation.

    Columns: prompt_id, response_id, evaluator, evaluator_id, proxy, gold, judgement_id, model_version. Scores are means over criteria. Judges or gold without spread are left out.
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
    about = data.features.select("response_id", "model_version")
    both = proxy.join(gold, on=key).join(about, on="response_id")
    spread = [pl.col(name).std().over("evaluator_id") for name in ("proxy", "gold")]
    return both.filter((spread[0] > 0) & (spread[1] > 0)).with_columns(
        (pl.col(name) - pl.col(name).mean().over("evaluator_id")) / pl.col(name).std().over("evaluator_id")
        for name in ("proxy", "gold")
    )


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
    mitigations = (scoring.lower_bound, scoring.calibrated, judging.another_judge)

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
