"""The objective's score of each response, from raw judgements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from triptych.instantiation.join import Join, joined
from triptych.instantiation.panel import Panel
from triptych.records import Objective

if TYPE_CHECKING:
    import polars as pl

_DECIMALS = 12
"""Scores are rounded here, so that the order in which floats are added can't make or break a tie."""

_OF_A_VERDICT = (
    *("judgement", "judgement_id", "response_id"),
    *("criterion", "evaluator", "evaluator_id", "counts", "verdict"),
)
"""What a score rests on; to carry more from join to join takes time."""


def _without_halves(judgements: pl.LazyFrame) -> pl.LazyFrame:
    """Leave out what is half of a verdict whose other half failed."""
    import polars as pl

    known = judgements.collect_schema().names()
    bad = judgements.filter(pl.col("status") != "ok")
    by, ids = ["evaluator_id", "criterion"], pl.col("response_ids")
    one, two = ids.list.len() == 1, ids.list.len() == 2
    if "check" in known:
        checks = (
            bad.filter(one & pl.col("check").is_not_null())
            .select(*by, ids.list.first().alias("halved"))
            .unique()
            .collect()
        )
        if checks.height:
            made = judgements.with_columns(halved=pl.when(one & pl.col("check").is_not_null()).then(ids.list.first()))
            judgements = made.join(checks.lazy(), on=[*by, "halved"], how="anti", maintain_order="left").drop("halved")
    both = pl.when(two).then(ids.list.sort().list.join(" "))
    orders = bad.filter(two).select(*by, both.alias("halved")).unique().collect()
    if orders.height:
        made = judgements.with_columns(halved=both)
        judgements = made.join(orders.lazy(), on=[*by, "halved"], how="anti", maintain_order="left").drop("halved")
    return judgements


Fold = Literal["min", "prod", "last", "mean"]


def verdicts(
    judgements: pl.LazyFrame,
    criteria: Sequence[str] | None = None,
    evaluators: Sequence[str] | None = None,
    of: Literal["responses", "steps"] = "responses",
) -> pl.LazyFrame:
    """What each judgement says of each response that it shows, in [0, 1]: a row for each of them.

    A score counts as its place on the judgement's scale (and is held to it). A rank counts as (k - r) / (k -
    1) among the k responses shown, where tied responses share the mean of their ranks: a choice between two
    gives 1 and 0, a tie 0.5 to both. Where a judgement has scores and ranks, its scores count.

    What does not enter: judgements whose status is not ok, scores without a scale, the rank of a response shown
    alone, judgements about judgements, and probabilities. A verdict does not enter either that is half of one: a choice
    between two whose other order could not be read, since the order alone may have decided it, and the checks of a
    verifier on a response of which it could not make one. Judgements of single steps are by themselves: `of` says which are meant. `criteria` and
    `evaluators` are names; None takes all.

    Columns: judgement (its row number), judgement_id, prompt_id, response_id, criterion, evaluator,
    evaluator_id, model, step (its number from 0, null of whole responses), counts (its weight), verdict; of steps also
    unit, message, start and end (where they stand).
    """
    import polars as pl

    k = pl.col("response_ids").list.len()
    low, high = (pl.col("scale").list.get(place, null_on_oob=True) for place in (0, 1))
    step = pl.col("step").struct.field("index")
    place = ("unit", "message", "start", "end") if of == "steps" else ()
    locator = pl.col("step").struct.field
    counts = (pl.col("status") == "ok") & (step.is_null() if of == "responses" else step.is_not_null())
    if criteria is not None:
        counts &= pl.col("criterion").is_in(list(criteria))
    if evaluators is not None:
        counts &= pl.col("evaluator").is_in(list(evaluators))
    known = judgements.collect_schema().names()  # runs of before have no weights, and no judgements on judgements
    if "about" in known:
        counts &= pl.col("about").list.len().fill_null(0) == 0
    told = (
        _without_halves(judgements.with_row_index("judgement"))
        .filter(counts)
        .select(
            "judgement",
            pl.col("id").alias("judgement_id"),
            "prompt_id",
            pl.col("response_ids").alias("response_id"),
            *("criterion", "evaluator", "evaluator_id", "model", "scores", "ranks"),
            step.alias("step"),
            *(
                locator(name).fill_null(0) if name == "message" else locator(name) for name in place
            ),  # 0 goes without saying
            (pl.col("weight") if "weight" in known else pl.lit(1.0)).alias("counts"),
            k.alias("k"),
            low.alias("low"),
            high.alias("high"),
            ((pl.col("scores").list.len() == k) & (low < high)).fill_null(False).alias("has_scores"),
            ((pl.col("ranks").list.len() == k) & (k > 1)).fill_null(False).alias("has_ranks"),
        )
    )
    chosen, k = ~pl.col("has_scores") & pl.col("has_ranks"), pl.col("k")
    place_on_scale = (pl.col("scores") - pl.col("low")) / (pl.col("high") - pl.col("low"))
    # Most judgements are of one response each, and to explode a table copies all of it.
    of_one = told.filter("has_scores", k == 1).with_columns(pl.col("response_id", "scores").list.first())
    of_more = told.filter("has_scores", k > 1).explode("response_id", "scores")
    by_score = pl.concat([of_one, of_more]).with_columns(verdict=place_on_scale.clip(0, 1))
    # The other's rank less one's own; so that the many choices between two need no ranking of each list.
    ahead = pl.col("both") - 2 * pl.col("ranks")
    by_choice = (
        told.filter(chosen & (k == 2))
        .with_columns(both=pl.col("ranks").list.sum())
        .explode("response_id", "ranks")
        .with_columns(verdict=(1 + ahead.sign()) / 2)
    )
    by_ranking = (
        told.filter(chosen & (k > 2))
        .with_columns(pl.col("ranks").list.eval(pl.element().rank("average")))
        .explode("response_id", "ranks")
        .with_columns(verdict=(k - pl.col("ranks")) / (k - 1))
    )
    columns = [
        "judgement",
        "judgement_id",
        "prompt_id",
        "response_id",
        "criterion",
        "evaluator",
        "evaluator_id",
        "model",
        "step",
        *place,
        "counts",
    ]
    said = [part.select(*columns, pl.col("verdict").cast(pl.Float64)) for part in (by_score, by_choice, by_ranking)]
    return pl.concat(said).filter(pl.col("verdict").is_finite())


def folded(steps: pl.LazyFrame, fold: Fold) -> pl.LazyFrame:
    """Verdicts on steps as verdicts on the responses: each of them says what they come to together.

    Together means what one evaluator says of one response on one criterion. `prod` multiplies, as if steps went wrong
    on their own; `last` takes the last step that was judged.
    """
    import polars as pl

    verdict, each = pl.col("verdict"), ["response_id", "criterion", "evaluator_id"]
    one = steps.group_by(*each, "step", maintain_order=True).agg(verdict.mean())
    how = {
        "min": verdict.min(),
        "prod": verdict.product(),
        "last": verdict.sort_by("step").last(),
        "mean": verdict.mean(),
    }[fold]
    return steps.drop("verdict").join(one.group_by(each).agg(how.alias("verdict")), on=each, how="left")


def step_scores(
    said: pl.LazyFrame,
    responses: pl.LazyFrame,
    objective: Objective,
    panel: Panel | None,
    adjust: Callable[[pl.LazyFrame], pl.LazyFrame],
) -> pl.LazyFrame:
    """The objective's score of each part of responses, in [0, 1], from verdicts on steps (see `verdicts`).

    It is made as `objective_scores` makes that of a response. A part that lacks a criterion on which another part of
    its response is judged has no row. `aligned` says whether all verdicts on a part are on the same stretch of text.

    Columns: response_id, unit, step, score, aligned, judgement_ids (in table order). In no set order.
    """
    import polars as pl

    weight = _weight(objective)
    part = ["response_id", "unit", "step"]
    told = said.filter(weight > 0).join(shown_responses(responses).select("response_id", "prompt"), on="response_id")
    told = adjust(told.with_columns(row=pl.struct("prompt", *part).rank("dense").cast(pl.UInt32)).collect().lazy())
    extent = [pl.col(name).drop_nulls().n_unique() <= 1 for name in ("start", "end")]
    about = told.group_by("row").agg(
        *(pl.first(name) for name in part),
        (extent[0] & extent[1]).alias("aligned"),
        pl.col("judgement_id").sort_by("judgement").alias("judgement_ids"),
    )
    per_criterion = (
        _criterion_means(told, panel)
        .with_columns(weight=weight)
        .join(about, on="row")
        .with_columns(asked=pl.col("criterion").n_unique().over("response_id", "unit"))
    )
    return (
        per_criterion.group_by("row")
        .agg(
            *(pl.first(name) for name in (*part, "aligned", "judgement_ids", "asked")),
            ((pl.col("score") * pl.col("weight")).sum() / pl.col("weight").sum()).round(_DECIMALS).alias("score"),
            pl.len().alias("judged_on"),
        )
        .filter(pl.col("judged_on") == pl.col("asked"))
        .select(*part, "score", "aligned", "judgement_ids")
    )


def shown_responses(responses: pl.LazyFrame) -> pl.LazyFrame:
    """The responses whose status is ok, in table order.

    Columns: row (of the response), prompt (the row of its prompt's first response), prompt_id, response_id.
    """
    import polars as pl

    return (
        responses.select("id", "prompt_id", "status")
        .with_row_index("row")
        .filter(pl.col("status") == "ok")
        .unique("id", keep="first", maintain_order=True)
        .select(
            "row",
            pl.col("row").min().over("prompt_id").alias("prompt"),
            "prompt_id",
            pl.col("id").alias("response_id"),
        )
    )


def evaluator_means(said: pl.LazyFrame) -> pl.LazyFrame:
    """What each evaluator says of each response on each criterion, in the mean, in [0, 1].

    The mean is over all that it says: repeats, opponents, several checks, each by its weight.

    Columns: unit (a number for each row and criterion, in order), row, criterion, evaluator_id, evaluator, prompt,
    verdict.
    """
    import polars as pl

    # One number to sort by, since rows that are in order are put together many times faster than by several columns.
    criterion, evaluator = _numbered("criterion"), _numbered("evaluator_id")
    unit = pl.col("row").cast(pl.UInt64) * criterion.max() + criterion - 1
    counts = pl.col("counts")
    return (
        said.with_columns(unit=unit, evaluators=evaluator.max(), weighted=pl.col("verdict") * counts)
        .with_columns(key=pl.col("unit") * pl.col("evaluators") + evaluator - 1)
        .sort("key", maintain_order=True)
        .group_by("key", maintain_order=True)
        .agg(
            pl.first("unit", "row", "criterion", "evaluator_id", "evaluator", "prompt"),
            pl.mean("verdict"),
            pl.sum("weighted", "counts"),
        )
        .with_columns(
            unit=pl.col("unit").set_sorted(),
            verdict=pl.when(counts > 0).then(pl.col("weighted") / counts).otherwise("verdict"),
        )
        .drop("key", "weighted", "counts")
    )


def _numbered(name: str) -> pl.Expr:
    """The column's texts as numbers from 1 on, equal ones the same."""
    import polars as pl

    codes = pl.col(name).cast(pl.Categorical).to_physical()
    return codes.unique().sort().search_sorted(codes).cast(pl.UInt64) + 1  # in a quarter of the time of a rank


def _criterion_means(said: pl.LazyFrame, panel: Panel | None) -> pl.LazyFrame:
    """Each response's score on each criterion, in [0, 1], from verdicts on responses that were shown.

    First the mean over all that one evaluator says of the response on the criterion, so that none counts more for
    having said more; then the panel's way over evaluators, or their mean.

    Columns: row, criterion, prompt, score. In no set order.
    """
    import polars as pl

    # Names are compared as numbers, since there are few of them.
    names = [pl.col(name).cast(pl.Categorical) for name in ("criterion", "evaluator", "evaluator_id")]
    combined = (panel or Panel()).combined(evaluator_means(said.with_columns(names)))
    return combined.with_columns(pl.col("score").round(_DECIMALS))


def criterion_scores(said: pl.LazyFrame, panel: Panel | None = None) -> pl.LazyFrame:
    """Each response's score on each criterion, in [0, 1], as it enters the objective's score, from `what_counts`.

    Columns: response_id, criterion, score. In no set order.
    """
    import polars as pl

    responses = said.select("row", "response_id").unique("row")
    scores = _criterion_means(said, panel).select("row", pl.col("criterion").cast(pl.String), "score")
    return responses.join(scores, on="row").drop("row")


def _weight(objective: Objective) -> pl.Expr:
    """What the objective declares that a row's criterion weighs; 1 where it does not declare it."""
    import polars as pl

    weight = pl.lit(1.0)
    for name, criterion in objective.criteria.items():
        weight = pl.when(pl.col("criterion") == name).then(criterion.weight).otherwise(weight)
    return weight


def objective_scores(
    responses: pl.LazyFrame,
    judgements: pl.LazyFrame,
    objective: Objective,
    criteria: Sequence[str] | None = None,
    evaluators: Sequence[str] | None = None,
    fold: Fold | None = None,
    panel: Panel | None = None,
    adjust: Callable[[pl.LazyFrame], pl.LazyFrame] | None = None,
    join: Join = "mean",
) -> pl.LazyFrame:
    """The objective's score of each response whose status is ok, in [0, 1], in the order of the responses.

    The score is the mean of the criteria's scores, weighted as the objective declares, or another way to `join` them
    (see `joined`); a criterion that it does not declare weighs 1, and one of weight 0 is left out. A response that lacks every verdict on a
    criterion that another response to its prompt has is incomplete: its score is null, since a mean over
    other criteria is no fair comparison, and `lacks` names what it lacks. A response without any verdict has
    a null score as well. Judgements of steps enter where `fold` says what they come to (see `folded`). `panel` says how
    evaluators are joined, by their mean if not given; `adjust` changes the single verdicts before (it is given the
    columns of `verdicts`, and row and prompt as below).

    Columns: row, prompt, prompt_id, response_id, score, lacks, judgement_ids (all that entered, in table
    order).
    """
    import polars as pl

    shown = at_once(shown_responses(responses))
    said = what_counts(shown, judgements, objective, criteria, evaluators, fold=fold, adjust=adjust)
    per_criterion = at_once(_criterion_means(said, panel).with_columns(weight=_weight(objective)))
    scored = joined(per_criterion, join, objective).with_columns(pl.col("score").round(_DECIMALS))
    asked = per_criterion.group_by("prompt").agg(pl.col("criterion").n_unique().alias("asked"))
    rests_on = said.select("row", "judgement", "judgement_id").sort("row", "judgement").group_by("row", maintain_order=True)
    found = at_once(
        shown.join(scored, on="row", how="left", maintain_order="left")
        .join(asked, on="prompt", how="left", maintain_order="left")
        .with_columns(whole=pl.col("judged_on").fill_null(0) == pl.col("asked").fill_null(0))
    )
    nothing = pl.lit([], dtype=pl.List(pl.String))
    return (
        found.join(rests_on.agg(judgement_ids=pl.col("judgement_id")), on="row", how="left", maintain_order="left")
        .join(_lacking(found, per_criterion), on="row", how="left", maintain_order="left")
        .select(
            *("row", "prompt", "prompt_id", "response_id"),
            pl.when("whole").then("score").alias("score"),
            pl.col("lacks", "judgement_ids").fill_null(nothing),
        )
    )


def what_counts(
    shown: pl.LazyFrame,
    judgements: pl.LazyFrame,
    objective: Objective,
    criteria: Sequence[str] | None = None,
    evaluators: Sequence[str] | None = None,
    *,
    fold: Fold | None = None,
    adjust: Callable[[pl.LazyFrame], pl.LazyFrame] | None = None,
) -> pl.LazyFrame:
    """The verdicts on `shown_responses` that enter the objective's score, as they enter it (see `objective_scores`).

    Columns: those of `verdicts` that scores rest on, or all of them where they are adjusted; row and prompt.
    """
    import polars as pl

    idle = [name for name, criterion in objective.criteria.items() if criterion.weight == 0]
    counted = judgements.filter(~pl.col("criterion").is_in(idle)) if idle else judgements
    told = verdicts(counted, criteria, evaluators)
    if fold is not None:
        told = pl.concat(
            [
                told,
                folded(verdicts(counted, criteria, evaluators, of="steps"), fold).select(told.collect_schema().names()),
            ]
        )
    where = shown.select("response_id", "row", "prompt")
    if adjust is None:
        told = told.select(*_OF_A_VERDICT)
    said = at_once(told.join(where, on="response_id", how="left", maintain_order="left").filter(pl.col("row") >= 0))
    return said if adjust is None else at_once(adjust(said))


def at_once(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Work rows out now that are used several times, since Polars would work them out anew for each."""
    return rows.collect(engine="in-memory").lazy()


def _lacking(found: pl.LazyFrame, per_criterion: pl.LazyFrame) -> pl.LazyFrame:
    """The criteria, by name and in order, that other responses to its prompt are judged on and a response is not."""
    import polars as pl

    lacking = found.filter(~pl.col("whole")).select("row", "prompt")
    there = per_criterion.join(lacking, on="prompt", how="semi").select("row", "prompt", "criterion")
    return (
        lacking.join(there.select("prompt", "criterion").unique(), on="prompt")
        .join(there, on=["row", "criterion"], how="anti")
        .group_by("row")
        .agg(pl.col("criterion").cast(pl.String).sort().alias("lacks"))
    )
