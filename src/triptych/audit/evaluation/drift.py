"""Whether what a judge judges still looks like what gold labels say of it (E9)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.estimates import Floats, cluster_sums
from triptych.audit.finding import Bars, Finding
from triptych.audit.mitigations import judging, scoring
from triptych.audit.needs import LIBRARIES, Need
from triptych.audit.stability import stability
from triptych.audit.told_apart import every, form, told_apart

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_MOST = 2000
_BINS = 10
_CHANGE = "let people or a verifier judge a fresh sample of these responses, and calibrate the judge anew"


def judged_with_gold(data: Data) -> pl.DataFrame:
    """Responses that a model judged, and whether gold says something of them or of a pair that they are in: response_id, gold."""
    import polars as pl

    def shown(judgements: pl.LazyFrame) -> pl.LazyFrame:
        ok = judgements.filter(pl.col("status") == "ok")
        return ok.select(response_id="response_ids").explode("response_id").unique().drop_nulls()

    return (
        shown(data.by_models)
        .join(shown(data.by_gold).with_columns(gold=True), on="response_id", how="left")
        .with_columns(pl.col("gold").fill_null(False))
        .collect()
    )


PARTLY_GOLD = Need(
    "responses with gold labels and others without, judged by a model",
    "let people or a verifier judge some of what the judge judges",
    lambda data: data.once(judged_with_gold)["gold"].n_unique() > 1,
)


class GoldCoverageAuc(Diagnostic):
    """How well length and format tell the responses of which gold says something from the others that a model judged: the
    area under the ROC curve of a logistic model, fitted on one half of the prompts and measured on the other, on up to 2,000 of each.

    One half where gold labels are on responses like the others. The better they are told apart, the less the judge's
    measured fidelity says of the rest.
    """

    name = "gold_coverage_auc"
    failure_mode = "E9"
    needs = (LIBRARIES, PARTLY_GOLD)
    good = (0.0, 0.75)
    error = (0.0, 0.95)
    change = _CHANGE
    mitigations = (judging.verified_too, scoring.calibrated)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it over all judges."""
        import polars as pl

        rows = data.features.join(data.once(judged_with_gold), on="response_id", maintain_order="left")
        kept = [every(its, _MOST) for its in rows.partition_by("gold")]
        if len(kept) < 2:
            return
        some = pl.concat(kept)
        found = told_apart(some, form(some), "gold")
        if found is not None:
            without = some.filter(~pl.col("gold")).sort("chars", "response_id", descending=[True, False])
            said = "Length and format tell responses with gold labels from those without by an AUC of"
            yield self.found(found, said, rows=without["response_id"][:10].to_list(), data=data)


class GoldCoverageIndex(Diagnostic):
    """The population stability index of a judge's scores between responses of which gold says something and the others.

    The sum over ten bins of [0, 1] of (q - p) log(q / p), less what it would be by chance: the sum of var(q - p) / ((p + q)
    / 2), with variances clustered by prompt. Each bin that is filled has half a response more, times the design effect
    where responses to a prompt score alike. By a rule of thumb in credit scoring 0.1 is some change and 0.25 a great one.
    """

    name = "gold_coverage_index"
    failure_mode = "E9"
    needs = (LIBRARIES, PARTLY_GOLD)
    good = (-math.inf, 0.25)
    error = (-math.inf, 1.0)
    change = _CHANGE
    mitigations = (judging.verified_too, scoring.calibrated)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each judge and criterion."""
        import polars as pl

        scored = data.scored.filter(pl.col("model").is_not_null() & pl.col("score").is_finite()).join(
            data.once(judged_with_gold), on="response_id"
        )
        parts = scored.partition_by("evaluator", "evaluator_id", "criterion", as_dict=True)
        for (evaluator, _, criterion), rows in sorted(parts.items(), key=str):
            if rows["gold"].n_unique() < 2:
                continue
            sums = _binned(rows)
            found = stability(sums, n=rows.height)
            if found is not None:
                said = (
                    f"Where there is no gold label, the scores of {evaluator} on {criterion} are shifted by an index of"
                )
                yield self.found(found, said, subject=f"{evaluator}: {criterion}", plot=_bars(sums), data=data)


def _binned(rows: pl.DataFrame) -> Floats:
    """How many responses of each prompt are in each bin, first of those with gold labels, then of the others."""
    import polars as pl

    place = (pl.col("score") * _BINS + 1e-9).floor().clip(0, _BINS - 1)
    side = pl.when("gold").then(0).otherwise(_BINS)
    cells = {f"cell_{number}": (place + side == number).cast(pl.Float64) for number in range(2 * _BINS)}
    return cluster_sums(rows.select("prompt_id", **cells), list(cells))


def _bars(sums: Floats) -> Bars:
    total = sums.sum(axis=0)
    without = total[_BINS : 2 * _BINS]
    shares = without / without.sum()
    return Bars(
        labels=tuple(f"{place / _BINS:.1f}" for place in range(_BINS)),
        values=tuple(float(each) for each in shares),
        axis="share of the scores without gold labels, by score",
    )
