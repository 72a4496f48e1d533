"""Rows that train a judge: the question as it was asked, and what is to be answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from triptych.instantiation.comparisons import judgement_pairs
from triptych.instantiation.scored import MakesExamples, Names
from triptych.instantiation.scores import verdicts
from triptych.records import Judgement, Message, Objective
from triptych.store.tables import column, records, schema

if TYPE_CHECKING:
    import polars as pl


_TOLD = (*("id", "prompt_id", "response_ids", "step", "criterion", "criterion_id", "evaluator", "evaluator_id", "check"),
         *("scores", "ranks", "rationale"))  # fmt: skip
"""What of a judgement its question and answer are told by."""


class _Tables(NamedTuple):
    """What judges were shown and what they said."""

    prompts: pl.LazyFrame
    responses: pl.LazyFrame
    judgements: pl.LazyFrame


class JudgeRows(MakesExamples):
    """Makes training rows for a judge of what judges said of responses.

    The question is written anew from the evaluator's settings and the tables, as it was asked, with criterion and
    reference; the answer is the judgement in the form in which the evaluator asks for it, with the reasons first. A
    judgement is left out whose question can't be told from these: of a judge that was shown a critique, a debate or the
    words of others, or of an item that a model wrote for a checklist; and one that was read by log-probabilities, which
    gave no reasons.

    `sft` imitates answers: Prometheus (arXiv:2310.08491), Prometheus 2 (arXiv:2405.01535), GenRM (arXiv:2408.15240).
    `unpaired` asks for one word, and marks "yes" right (label 1) or wrong (0), of items of a checklist: RLBFF
    (arXiv:2509.21319). `pair` takes of several judgements of one response the one that wins most of its comparisons by
    `compare_judgements` against the one that wins fewest: Meta-Rewarding (arXiv:2407.19594).
    """

    kind: Literal["judge_rows"] = "judge_rows"
    form: Literal["sft", "unpaired", "pair"] = "sft"
    """What kind of rows are made."""
    criteria: Names | None = None
    """The criteria whose judgements count; None takes all."""
    evaluators: Names | None = None
    """The evaluators whose judgements are learnt from, by name; None takes all."""
    agrees_with: str | None = None
    """With `sft` and `unpaired`: the name of an evaluator that knows better, such as a verifier; only judgements are
    kept that fall on its side of the middle, or that put first what it finds best."""
    reference: bool = True
    """Whether questions show the reference answer where the judge was shown it; a verifier will have none later."""
    distinct: bool = True
    """Never make two rows of one question that say the same."""
    position_weights: bool = True
    """With `pair`: whether a win in one position counts by how seldom that position wins, over all comparisons."""
    max_characters: int | None = Field(default=None, ge=1)
    """With `pair`: longest chosen answer, in characters; a pair with a longer one is dropped. None sets no limit."""

    @model_validator(mode="after")
    def _fits(self) -> JudgeRows:
        if self.form == "pair" and self.agrees_with is not None:
            raise ValueError("agrees_with chooses single answers, and pairs are made of comparisons; leave it out")
        return self

    @property
    def across_prompts(self) -> bool:
        """Whether positions are weighed by all comparisons."""
        return self.form == "pair" and self.position_weights

    @property
    def wants(self) -> tuple[Literal["prompts", "judges"], ...]:
        """The prompts that judges saw, and the judges."""
        return ("prompts", "judges")

    def instantiate(
        self,
        responses: pl.LazyFrame,
        judgements: pl.LazyFrame,
        objective: Objective,
        seed: int,
        prompts: pl.LazyFrame,
        judges: Mapping[str, Any],
    ) -> pl.LazyFrame:
        """Make the rows, in the order of the judgements."""
        import polars as pl

        shown = prompts if self.reference else prompts.with_columns(reference=pl.lit(None, dtype=pl.String))
        rows = self._rows(_Tables(shown, responses, judgements), objective, judges)
        return self.as_examples(rows, kind=self.form, strategy="judge_rows", version=objective.version)

    def _rows(self, tables: _Tables, objective: Objective, judges: Mapping[str, Any]) -> pl.LazyFrame:
        import polars as pl

        learnt = self._learnt(tables.judgements, judges)
        if self.form == "pair":
            chosen = judgement_pairs(tables.judgements, weigh_positions=self.position_weights)
            return self._pairs(learnt, chosen, tables, objective, judges)
        if self.agrees_with is not None:
            learnt = learnt.join(self._agreeing(tables.judgements), on="id", how="semi", maintain_order="left")
        said = _said_again(learnt, tables, objective, judges, one_word=self.form == "unpaired").lazy()
        if self.distinct:
            said = said.unique(["question", "output"], keep="first", maintain_order=True)
        marked = self.form == "unpaired"
        labels = {"labels": pl.concat_list(pl.col("scores").list.first())} if marked else {}
        return said.join(_verdicts(tables.judgements), on="id", maintain_order="left").select(
            "prompt_id",
            "response_ids",
            "scores",
            "input",
            **labels,
            outputs=pl.concat_list(pl.lit("yes") if marked else "output"),
            judgement_ids=pl.concat_list("id"),
        )

    def _learnt(self, judgements: pl.LazyFrame, judges: Mapping[str, Any]) -> pl.LazyFrame:
        """The judgements that may be learnt from."""
        import polars as pl

        known = [name for name, judge in judges.items() if self.form != "unpaired" or judge.kind == "checklist"]
        fit = (pl.col("status") == "ok") & (pl.col("about").list.len() == 0) & pl.col("evaluator_id").is_in(known)
        if self.criteria is not None:
            fit &= pl.col("criterion").is_in(list(self.criteria))
        if self.evaluators is not None:
            fit &= pl.col("evaluator").is_in(list(self.evaluators))
        return judgements.filter(fit).unique("id", keep="first", maintain_order=True)

    def _agreeing(self, judgements: pl.LazyFrame) -> pl.LazyFrame:
        """The ids of the judgements on whole responses that agree with those of the evaluator that knows better."""
        import polars as pl

        said = verdicts(judgements)
        truth = (
            said.filter(pl.col("evaluator") == self.agrees_with)
            .group_by("response_id")
            .agg(pl.col("verdict").mean().alias("truth"))
        )
        verdict, true = pl.col("verdict"), pl.col("truth")
        alone = (verdict.first() > 0.5) == (true.first() > 0.5)
        first = true.filter(verdict == verdict.max()).min()
        among = (first == true.max()) & (true.min() < true.max())
        return (
            said.join(truth, on="response_id", how="left")
            .group_by(pl.col("judgement_id").alias("id"))
            .agg(
                pl.when(pl.len() == 1).then(alone).otherwise(among).alias("agrees"), true.is_null().any().alias("open")
            )
            .filter(pl.col("agrees") & ~pl.col("open"))
            .select("id")
        )

    def _pairs(
        self,
        learnt: pl.LazyFrame,
        chosen: pl.LazyFrame,
        tables: _Tables,
        objective: Objective,
        judges: Mapping[str, Any],
    ) -> pl.LazyFrame:
        import polars as pl

        sides = chosen.collect()
        taken = pl.concat([sides["chosen"], sides["rejected"]])
        said = _said_again(learnt.filter(pl.col("id").is_in(taken.implode())), tables, objective, judges).lazy()
        rows = (
            said.join(sides.lazy(), left_on="id", right_on="chosen", maintain_order="left")
            .join(said.select("id", "output"), left_on="rejected", right_on="id", suffix="_b", maintain_order="left")
            .filter(pl.col("output") != pl.col("output_b"))
        )
        if self.max_characters is not None:
            rows = rows.filter(pl.col("output").str.len_chars() <= self.max_characters)
        about = pl.col("response_ids").list.first()
        return rows.select(
            "prompt_id",
            "input",
            response_ids=pl.concat_list(about, about),
            scores=pl.concat_list("share", "share_b"),
            labels=pl.lit([1.0, 0.0]),
            margin=(pl.col("share") - pl.col("share_b")).round(12),
            outputs=pl.concat_list("output", "output_b"),
            judgement_ids=pl.concat_list(pl.concat_list("id", "rejected"), "comparison_ids"),
        )


def _verdicts(judgements: pl.LazyFrame) -> pl.LazyFrame:
    """What each judgement says of the responses that it shows, in their order, from 0 to 1: columns id, scores."""
    import polars as pl

    kinds = [verdicts(judgements, of=of).select("judgement_id", "verdict") for of in ("responses", "steps")]
    return (
        pl.concat(kinds)
        .group_by(pl.col("judgement_id").alias("id"), maintain_order=True)
        .agg(pl.col("verdict").alias("scores"))
    )


def _said_again(
    learnt: pl.LazyFrame, tables: _Tables, objective: Objective, judges: Mapping[str, Any], *, one_word: bool = False
) -> pl.DataFrame:
    """The judgements whose question and answer can be told.

    Columns: id, prompt_id, response_ids, question (a number), input, output. A question that was asked several times is
    written once. Templates are filled in for each, since every text is another one.
    """
    import polars as pl

    rows = learnt.select(_TOLD).collect()
    prompts = _by_id("prompts", tables.prompts, rows["prompt_id"])
    responses = _by_id("responses", tables.responses, rows["response_ids"].explode())
    questions: dict[Any, tuple[int, tuple[Message, ...] | None]] = {}

    def asked(one: Judgement) -> tuple[int, tuple[Message, ...] | None]:
        key = (one.evaluator_id, one.criterion_id, one.check, one.response_ids, one.step)
        if key not in questions:
            judge = judges[one.evaluator_id]
            judge = judge.model_copy(update={"read": "logprobs"}) if one_word else judge
            shown = tuple(responses[name] for name in one.response_ids)
            questions[key] = len(questions), judge.asked(one, prompts[one.prompt_id], shown, objective)
        return questions[key]

    def told() -> Iterator[tuple[str, int, tuple[Message, ...], str]]:
        for one in records("judgements", rows.iter_rows(named=True)):
            assert isinstance(one, Judgement)
            (number, question), answer = asked(one), judges[one.evaluator_id].answered(one)
            if question is not None and (answer is not None or one_word):
                yield one.id, number, question, answer or ""

    found = list(told())
    ids, numbers, inputs, outputs = map(list, zip(*found, strict=True)) if found else ([], [], [], [])
    said = pl.DataFrame(
        [
            pl.Series("id", ids, dtype=pl.String),
            pl.Series("question", numbers, dtype=pl.Int64),
            column("input", inputs, schema("examples")["input"])
            if found
            else pl.Series("input", [], schema("examples")["input"]),
            pl.Series("output", outputs, dtype=pl.String),
        ]
    )
    return said.join(rows.select("id", "prompt_id", "response_ids"), on="id", maintain_order="left")


def _by_id(table: str, frame: pl.LazyFrame, ids: pl.Series) -> dict[str, Any]:
    import polars as pl

    wanted = pl.LazyFrame({"id": ids.unique()}, schema={"id": pl.String})
    found = frame.join(wanted, on="id", how="semi").collect()
    return {record.id: record for record in records(table, found.iter_rows(named=True))}
