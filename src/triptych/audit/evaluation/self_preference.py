"""Whether a judge favours what its own family of models wrote (E3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from triptych.audit.agreement import each_evaluator
from triptych.audit.diagnostic import Diagnostic
from triptych.audit.estimates import cluster_sums, difference_of_shares, smooth
from triptych.audit.finding import Finding
from triptych.audit.mitigations import judging
from triptych.audit.needs import GOLD, JUDGED, LIBRARIES, SEVERAL_JUDGES, Need

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_FAMILY = (
    r"(claude|gpt|chatgpt|davinci|llama|vicuna|alpaca|tulu|mixtral|mistral|gemma|gemini|palm|qwen|qwq|deepseek|phi|yi|falcon|"
    r"command|nova|grok|glm|smollm|olmo|internlm)"
)
_SAME = {
    "chatgpt": "gpt", "davinci": "gpt", "vicuna": "llama", "alpaca": "llama", "tulu": "llama", "mixtral": "mistral",
    "gemma": "gemini", "palm": "gemini", "qwq": "qwen",
}  # fmt: skip


def family(model: pl.Expr) -> pl.Expr:
    """The family of a model by its name, such as `gpt`; the whole name where none is known, null of `given`.

    A tuned model counts to the family that its name says, Vicuna, Alpaca and Tulu to Llama.
    """
    import polars as pl

    name = model.str.to_lowercase().str.split("/").list.last()
    known = name.str.extract(r"(?:^|[^a-z])" + _FAMILY).fill_null(
        name.str.extract(r"^(o[1-9])(?:$|-)").replace({f"o{i}": "gpt" for i in range(1, 10)})
    )
    return pl.coalesce(known.replace(_SAME), pl.when(name != "given").then(name))


def _with_sides(data: Data, rows: pl.DataFrame) -> pl.DataFrame:
    """Verdicts on pairs of which exactly one response is by the judge's own family. `own` is 1 if that is a, -1 if b."""
    import polars as pl

    models = data.choices.select("evaluator_id", "model").unique()
    models = (
        pl.concat([models, data.scored.select("evaluator_id", "model").unique()]).drop_nulls().unique("evaluator_id")
    )
    authors = data.features.select("response_id", author=family(pl.col("model")))
    a_own, b_own = (pl.col(side) == pl.col("family") for side in ("author", "author_b"))
    return (
        rows.join(models.with_columns(family=family(pl.col("model"))), on="evaluator_id")
        .join(authors, left_on="a", right_on="response_id")
        .join(authors.rename({"author": "author_b"}), left_on="b", right_on="response_id")
        .drop_nulls(["author", "author_b", "family"])
        .filter(a_own != b_own)
        .with_columns(own=pl.when(a_own).then(1.0).otherwise(-1.0))
    )


def _has_own(data: Data) -> bool:
    return _with_sides(data, data.preferences.select("prompt_id", "evaluator_id", "a", "b")).height > 0


OWN = Need(
    "pairs of a response by the judge's family and one by another",
    "name the models; sample from several families",
    _has_own,
)


class SelfPreferenceGap(Diagnostic):
    """How much more often a judge names its own family's response where that is the better one than another's where that is.

    P(names own | gold says own) - P(names other | gold says other), over pairs with one response by the judge's family of
    models (arXiv:2410.21819, with families for single models). 0 without self-preference. Ties count half.
    """

    name = "self_preference_gap"
    failure_mode = "E3"
    needs = (LIBRARIES, GOLD, OWN)
    good = (-0.1, 0.1)
    error = (-0.4, 0.4)
    change = "judge with a model of another family, or with a panel of several"
    mitigations = (judging.another_judge, judging.verified_too)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Compare, for each judge."""
        import polars as pl

        for judge, rows in each_evaluator(_with_sides(data, data.judged)):
            deserved = pl.col("own") == pl.col("truth")
            told = rows.with_columns(
                n_own=deserved.cast(pl.Float64),
                n_other=(~deserved).cast(pl.Float64),
                own_right=deserved * pl.col("right"),
                other_right=(~deserved) * pl.col("right"),
            )
            sums = cluster_sums(told, ["other_right", "n_other", "own_right", "n_own"])
            found = difference_of_shares(sums, n=rows.height)
            if found is not None:
                unfair = rows.filter(~deserved & (pl.col("right") < 0.5))["judgement_id"].sort()[:10].to_list()
                said = f"{judge} names the better response more often where its own family wrote it, by a share of"
                yield self.found(found, said, subject=judge, rows=unfair, data=data)


class OwnFamilyAgainstOtherJudges(Diagnostic):
    """How much more often a judge prefers its own family's response than judges of other families do, on the same pairs.

    It needs no gold labels. Clear preferences count; what the other judges say is their mean on the pair and criterion.
    """

    name = "own_family_against_other_judges"
    failure_mode = "E3"
    needs = (LIBRARIES, JUDGED, SEVERAL_JUDGES, OWN)
    good = (-0.1, 0.1)
    error = (-0.4, 0.4)
    change = "judge with a model of another family, or with a panel of several"
    mitigations = (judging.another_judge, judging.verified_too)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Compare, for each judge."""
        import polars as pl

        models = data.by_models.select("evaluator_id", other=family(pl.col("model"))).unique("evaluator_id").collect()
        others = (
            data.preferences.join(models, on="evaluator_id")
            .group_by("prompt_id", "criterion", "a", "b", "other")
            .agg(pl.col("prefers").sum().alias("sum"), pl.len().alias("n"))
        )
        rows = _with_sides(data, data.preferences)
        key = ["prompt_id", "criterion", "a", "b"]
        against = (
            rows.select(*key, "family")
            .unique()
            .join(others, on=key)
            .filter(pl.col("other") != pl.col("family"))
            .group_by(*key, "family")
            .agg(expected=pl.col("sum").sum() / pl.col("n").sum())
        )
        rows = rows.join(against, on=[*key, "family"]).with_columns(
            excess=(pl.col("prefers") - pl.col("expected")) * pl.col("own") / 2, one=1.0
        )
        for judge, part in each_evaluator(rows):
            sums = cluster_sums(part, ["excess", "one"])
            found = smooth(sums, lambda s: s[..., 0] / s[..., 1], n=part.height, within=(-1.0, 1.0))
            if found is not None:
                alone = part.filter(pl.col("excess") > 0)["judgement_id"].sort()[:10].to_list()
                said = f"{judge} prefers its own family's response more often than other judges do, by a share of"
                yield self.found(found, said, subject=judge, rows=alone, data=data)
