"""Whether a judge's scores follow what gold does not value: shortcuts that a policy will find (E10)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.estimates import Floats, cluster_sums, smooth
from triptych.audit.finding import Finding
from triptych.audit.mitigations import judging, scoring
from triptych.audit.needs import LIBRARIES, Need
from triptych.instantiation.scores import verdicts

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_TOP = 0.9
_NEARLY = 1e-9
_CHANGE = "take {what} out of the score, tell the judge to disregard it, or train against the lowest of several judges"


def proxies(data: Data) -> pl.DataFrame:
    """What each judging model says of responses of which gold says something too, all less their means over the prompt's
    responses.

    Columns: prompt_id, response_id, evaluator, evaluator_id, proxy, gold; chars, bullets, hedges, flatteries (logarithms of
    1 + their number). The proxy is the mean over criteria.
    """
    import polars as pl

    gold = (
        verdicts(data.by_gold.filter(pl.col("response_ids").list.len() != 2))
        .group_by("response_id")
        .agg(gold=pl.col("verdict").mean())
    )
    judges = verdicts(data.by_models.filter(pl.col("response_ids").list.len() != 2))
    key = ["prompt_id", "response_id", "evaluator", "evaluator_id"]
    counted = data.features.lazy().select(
        "response_id",
        *((pl.col(name) + 1).cast(pl.Float64).log() for name in ("chars", "bullets", "hedges", "flatteries")),
    )
    numbers = pl.col("proxy", "gold", "chars", "bullets", "hedges", "flatteries")
    return (
        judges.group_by(key)
        .agg(proxy=pl.col("verdict").mean())
        .join(gold, on="response_id")
        .join(counted, on="response_id")
        .with_columns(numbers - numbers.mean().over("prompt_id", "evaluator_id"))
        .sort("evaluator", "evaluator_id", "prompt_id", "response_id")
        .collect()
    )


PROXY_AND_GOLD = Need(
    "scores by a model beside gold scores of the same responses",
    "let people or a verifier score some of the responses that the judge scores",
    lambda data: data.once(proxies).height > 0,
)


class _ProxyFollows(Diagnostic):
    failure_mode = "E10"
    needs = (LIBRARIES, PROXY_AND_GOLD)
    good = (-0.3, 0.3)
    error = (-0.7, 0.7)
    feature: ClassVar[str]
    what: ClassVar[str]

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each judge."""
        import polars as pl

        rows = data.once(proxies)
        x, y, z = (pl.col(name) for name in ("proxy", self.feature, "gold"))
        products = {"xx": x * x, "yy": y * y, "zz": z * z, "xy": x * y, "xz": x * z, "yz": y * z}
        for (evaluator, _), its in sorted(
            rows.partition_by("evaluator", "evaluator_id", as_dict=True).items(), key=str
        ):
            sums = cluster_sums(its.select("prompt_id", **products), list(products))
            found = smooth(sums, _partial, n=its.height, within=(-1.0, 1.0))
            if found is not None:
                said = f"What {evaluator} says beyond gold goes with {self.what} by a partial correlation of"
                farthest = its.with_columns(pull=x * y * (1 if found.value >= 0 else -1)).sort(
                    "pull", "response_id", descending=[True, False]
                )
                shown = farthest["response_id"][:10].to_list()
                yield self.found(found, said, subject=str(evaluator), rows=shown, data=data)


def _partial(s: Floats) -> Floats:
    """The correlation of x and y, given z, of sums of products; where z does not vary, without it; not defined where x or y is
    said by z."""
    import numpy as np

    xx, yy, zz, xy, xz, yz = (s[..., i] for i in range(6))
    known = np.where(zz > _NEARLY, zz, np.inf)
    x, y = xx - xz**2 / known, yy - yz**2 / known
    left = (x > _NEARLY * np.maximum(xx, 1)) & (y > _NEARLY * np.maximum(yy, 1))
    return np.where(left, (xy - xz * yz / known) / np.sqrt(np.where(left, x * y, 1.0)), np.nan)


class ProxyFollowsLength(_ProxyFollows):
    """Partial correlation of a judge's score of a response with its length, given what gold says of it; length is the
    logarithm of 1 + characters, and all three are less their means over the prompt's responses.

    Where it is not 0, the judge pays for length that gold does not pay for, and a policy trained on it will find that out.
    """

    name = "proxy_follows_length"
    feature, what = "chars", "length"
    change = _CHANGE.format(what=what)
    mitigations = (scoring.without_length, judging.disregard_length)


class ProxyFollowsBullets(_ProxyFollows):
    """Partial correlation of a judge's score of a response with its number of bullet points, given what gold says of
    it; the number is taken as the logarithm of 1 + it, and all three are less their means over the prompt's responses.
    """

    name = "proxy_follows_bullets"
    feature, what = "bullets", "bullet points"
    counts = (
        "scored responses that differ in bullet points",
        "none is needed where no response has any of it",
    )
    change = _CHANGE.format(what=what)
    mitigations = (scoring.without_style, judging.disregard_form)


class ProxyFollowsHedges(_ProxyFollows):
    """Partial correlation of a judge's score of a response with its number of hedges, such as "perhaps" or "I think", given
    what gold says of it; the number is taken as the logarithm of 1 + it, and all three are less their means over the
    prompt's responses.
    """

    name = "proxy_follows_hedges"
    feature, what = "hedges", "hedges"
    counts = (
        "scored responses that differ in hedges",
        "none is needed where no response has any of it",
    )
    change = _CHANGE.format(what=what)
    mitigations = (scoring.lower_bound, scoring.calibrated)


class ProxyFollowsFlattery(_ProxyFollows):
    """Partial correlation of a judge's score of a response with its number of flatteries, such as "great question", given
    what gold says of it; the number is taken as the logarithm of 1 + it, and all three are less their means over the
    prompt's responses.
    """

    name = "proxy_follows_flattery"
    feature, what = "flatteries", "flattery"
    counts = (
        "scored responses that differ in flattery",
        "none is needed where no response has any of it",
    )
    change = _CHANGE.format(what=what)
    mitigations = (scoring.lower_bound, scoring.calibrated)


_SEVERAL_SCORE = Need(
    "scores of the same responses by two or more models",
    "score with two or more models",
    lambda data: data.scored.filter(data.scored["model"].is_not_null())["evaluator_id"].n_unique() > 1,
)


class DisagreementAtTheTop(Diagnostic):
    """How much more judges disagree on the responses that they score highest than on all: the mean variance between judges in the
    top tenth by mean score, over the mean variance.

    Scores are in units of each judge's standard deviation on that criterion. Where it is far above 1, what
    stands highest is there because one judge errs, and that is what a policy learns (arXiv:2310.02743 takes the variance of an
    ensemble of reward models off for this).
    """

    name = "disagreement_at_the_top"
    failure_mode = "E10"
    needs = (LIBRARIES, _SEVERAL_SCORE)
    good = (0.0, 1.5)
    error = (0.0, 5.0)
    change = "train against the mean less the standard deviation of several judges (panel: lower_bound)"
    mitigations = (scoring.lower_bound,)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it over all responses and criteria that two or more models scored."""
        import polars as pl

        score, by = pl.col("score"), ["evaluator_id", "criterion"]
        standard = (
            data.scored.filter(
                pl.col("model").is_not_null() & ~pl.col("evaluator").is_in(list(data.gold_evaluators or ()))
            )
            .with_columns((score - score.mean().over(by)) / score.std().over(by))
            .filter(score.is_finite())
        )
        each = (
            standard.group_by("prompt_id", "response_id", "criterion")
            .agg(judges=pl.len(), mean=score.mean(), variance=score.var())
            .filter(pl.col("judges") > 1)
            .with_columns(top=pl.col("mean") >= pl.col("mean").quantile(_TOP))
        )
        if each.height == 0:
            return
        at_top = each.with_columns(v=pl.col("top") * pl.col("variance"), t=pl.col("top").cast(pl.Float64), one=1.0)
        sums = cluster_sums(at_top, ["v", "t", "variance", "one"])
        if sums.sum(axis=0)[2] <= _NEARLY:
            return
        found = smooth(
            sums, lambda s: s[..., 0] / s[..., 1] * s[..., 3] / s[..., 2], n=each.height, within=(0.0, float("inf"))
        )
        if found is not None:
            most = each.filter("top").sort("variance", "response_id", descending=[True, False])
            said = "Judges' variance on the tenth of responses that they score highest is, over that on all,"
            yield self.found(found, said, rows=most["response_id"][:10].to_list(), data=data)

