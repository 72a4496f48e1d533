"""Labels that are finer or coarser than the verdicts that they rest on (I1)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Diagnostic, Share
from triptych.audit.estimates import mean
from triptych.audit.finding import Finding
from triptych.audit.mitigations import judging, pairing
from triptych.audit.needs import LIBRARIES, Need

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_OUTCOMES = ("pair", "unpaired", "group", "ranking", "sft")


def _of_steps(data: Data) -> pl.LazyFrame:
    """Good verdicts on parts of responses."""
    import polars as pl

    step = pl.col("step").struct.field("index").is_not_null()
    return data.judgements.filter(step & (pl.col("status") == "ok"))


def _any_of_steps(data: Data) -> bool:
    return not _of_steps(data).head(1).collect().is_empty()


def _any_fine(data: Data) -> bool:
    return not _fine(data).head(1).collect().is_empty()


def _fine(data: Data) -> pl.LazyFrame:
    """Rows that tell a loss about parts of responses."""
    import polars as pl

    return data.examples.filter((pl.col("kind") == "stepwise") | (pl.col("spans").list.len().fill_null(0) > 0))


JUDGED_STEPS = Need("verdicts on steps", "judge steps: rollouts, or a rubric with unit: step", _any_of_steps)
FINE_ROWS = Need("rows with labels or weights of parts", "instantiate stepwise rows, or token weights", _any_fine)


class StepsFoldedIntoLabel(Diagnostic):
    """How many judged parts of a response become one label: their mean number, over responses of rows that label whole responses
    and rest on verdicts on parts.

    1 loses nothing. More of them become one number, which does not say where the response went wrong.
    """

    name = "steps_folded_into_label"
    failure_mode = "I1"
    needs = (LIBRARIES, JUDGED_STEPS)
    counts = (
        "rows made of responses whose steps were judged",
        "judge steps, and make rows of the same responses",
    )
    good = (-math.inf, 1.0)
    change = "make stepwise rows of verdicts on steps, or pairs that share a prefix (within: prefix)"
    mitigations = (pairing.steps_apart,)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each kind of rows."""
        import polars as pl

        steps = _of_steps(data).select(
            judgement_ids="id",
            response_id=pl.col("response_ids").list.first(),
            step=pl.col("step").struct.field("index"),
        )
        rows = data.examples.filter(pl.col("kind").is_in(_OUTCOMES)).select("id", "kind", "prompt_id", "judgement_ids")
        folded = (
            rows.explode("judgement_ids")
            .join(steps, on="judgement_ids")
            .group_by("kind", "prompt_id", "response_id")
            .agg(pl.col("step").n_unique().alias("steps"), pl.col("id").min())
            .collect()
        )
        for (kind,), its in sorted(folded.partition_by("kind", as_dict=True).items(), key=str):
            found = mean(its, "steps")
            if found is not None:
                said = f"Verdicts on parts of a response that become one label in {kind} rows number, in the mean,"
                yield self.found(
                    found,
                    said,
                    subject=str(kind),
                    data=data,
                    rows=tuple(its.top_k(10, by="steps")["id"].unique().sort()),
                )


class FineLabelsWithoutVerdicts(Share):
    """Share of rows with labels or weights of parts (steps, tokens) to whose responses there is no verdict on parts: what a whole
    response is worth does not say which part is worth it.

    Verdicts that say something of each token count as verdicts on parts. Rows without any verdict on their responses are left
    out.
    """

    name = "fine_labels_without_verdicts"
    failure_mode = "I1"
    needs = (FINE_ROWS,)
    good = (0.0, 0.01)
    error = (0.0, 0.5)
    by = ("kind",)
    change = "judge the parts: rollouts, a rubric with unit: step, or implicit_reward with tokens"
    mitigations = (judging.judged_by_steps_too,)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each row, and whether no verdict is on a part of its responses."""
        import polars as pl

        parts = pl.col("step").struct.field("index").is_not_null() | (pl.col("spans").list.len().fill_null(0) > 0)
        judged = (
            data.judgements.filter(pl.col("status") == "ok")
            .select("response_ids", fine=parts)
            .explode("response_ids")
            .group_by("response_ids")
            .agg(pl.col("fine").any())
        )
        return (
            _fine(data)
            .select("id", "kind", "prompt_id", "response_ids")
            .explode("response_ids")
            .join(judged, on="response_ids")
            .group_by("id", "kind", "prompt_id")
            .agg(part=~pl.col("fine").any())
            .with_columns(whole=1, shows=pl.col("part"))
        )

    def say(self, kind: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the kind of rows."""
        return kind, f"Labels or weights of parts in {kind} rows rest on no verdict on parts for"
