"""What all instantiations share that rest on the objective's scores of responses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import msgspec
from pydantic import Field, model_validator

from triptych.instantiation.adjust import Calibration, without_length, without_style
from triptych.instantiation.bradley_terry import BradleyTerry
from triptych.instantiation.join import Join
from triptych.instantiation.panel import Panel
from triptych.instantiation.rescale import Rescale, rescaled
from triptych.instantiation.schedule import Schedule
from triptych.instantiation.scores import (
    Fold,
    at_once,
    criterion_scores,
    objective_scores,
    shown_responses,
    what_counts,
)
from triptych.operators import Operator
from triptych.records import Objective, content_ids, draw, hashed
from triptych.records.example import RARE
from triptych.store.tables import schema, without_nulls

if TYPE_CHECKING:
    import polars as pl

Unit = Annotated[float, Field(ge=0, le=1)]
Names = Annotated[tuple[str, ...], Field(min_length=1)]


class MakesExamples(Operator):
    """An instantiation that gives its rows the columns that all examples have."""

    not_in_identity: ClassVar[frozenset[str]] = frozenset({"schedule"})
    has_margins: ClassVar[bool] = True
    """Whether its examples have a margin."""

    schedule: Schedule | None = None
    """The order of the examples, over all prompts: a `Schedule`; None leaves them in the order of the prompts."""

    @model_validator(mode="after")
    def _has_what_it_is_ordered_by(self) -> Self:
        if self.schedule is not None and self.schedule.by == "margin" and not self.has_margins:
            raise ValueError("its examples have no margin to be ordered by; schedule them by difficulty")
        return self

    @property
    def across_prompts(self) -> bool:
        """Whether the examples of all prompts are put in one order."""
        return self.schedule is not None

    def scheduled(self, examples: pl.LazyFrame) -> pl.LazyFrame:
        """Put examples in the order that is asked for."""
        return examples if self.schedule is None else self.schedule.ordered(examples)

    def as_examples(self, rows: pl.LazyFrame, *, kind: str, strategy: str, version: str) -> pl.LazyFrame:
        """Make examples of rows that have prompt_id, response_ids, scores and judgement_ids.

        They may have labels, a margin, a weight, spans, input and outputs as well; without, they have no labels, no margin
        and the weight 1.
        """
        import polars as pl

        types, there = schema("examples"), rows.collect_schema().names()
        shared = {
            "id": pl.lit(None),
            "kind": pl.lit(kind),
            "strategy": pl.lit(strategy),
            "strategy_id": pl.lit(self.identity()),
            "objective_version": pl.lit(version),
        }
        usual = {"margin": pl.lit(None), "weight": pl.lit(1.0)}
        usual |= {name: pl.lit([], dtype=types[name]) for name in ("labels", *RARE)}
        shared |= {name: value for name, value in usual.items() if name not in there}
        columns = [shared.get(name, pl.col(name)).cast(dtype).alias(name) for name, dtype in types.items()]
        return self.scheduled(rows.select(columns)).map_batches(_with_ids)


class Scored(MakesExamples):
    """An instantiation that rests on the objective's score of each response (see `objective_scores`)."""

    criteria: Names | None = None
    """The criteria that count; None takes all that were judged. How much each counts, the objective says."""
    evaluators: Names | None = None
    """The evaluators that count, by name; None takes all."""
    fold: Fold | None = None
    """What verdicts on the steps of a response come to as one on the response, which loses where it went wrong: the
    least, their product, the last, or the mean. None leaves them out."""

    join: Join = "mean"
    """How the scores on several criteria become one: their weighted mean, the least of them, by the weightiest criterion
    and the next one only where that is equal, or under the constraint that hard criteria are met first."""
    bradley_terry: BradleyTerry | None = None
    """Scores by a model of the choices between responses: a `BradleyTerry`; None takes the share that a response won."""
    panel: Panel | None = None
    """How the verdicts of several evaluators become one score: a `Panel`; None takes their mean."""
    calibrate: Calibration | None = None
    """Calibration of evaluators on gold verdicts: a `Calibration`."""
    length: Literal["keep", "residual"] = "keep"
    """Whether verdicts are taken as they are, or without what the length of responses explains of them."""
    style: Literal["keep", "residual"] = "keep"
    """The same of length, headings, lists and bold text together."""
    rescale: Rescale | None = None
    """How scores without a scale, such as rewards, come between 0 and 1: by a `sigmoid`, as `standard` scores over all
    prompts, or by their `rank` within the prompt. None leaves them out."""

    @property
    def reads(self) -> dict[str, frozenset[str]]:
        """The columns of responses and judgements that it looks at, so that others need not be read from the disk."""
        return {
            "responses": frozenset({"id", "prompt_id", "status", "messages", "params", "parent_id"}) - self._unread,
            "judgements": frozenset(
                {"id", "prompt_id", "response_ids", "criterion", "evaluator", "evaluator_id", "model", "check", "status"}
                | {"step", "about", "scores", "ranks", "probability", "scale", "weight", "spans"}
            )
            - self._unread,
        }

    @property
    def _unread(self) -> frozenset[str]:
        """Columns that these settings leave alone: texts and lists are the most of what there is to read."""
        return frozenset()

    @property
    def across_prompts(self) -> bool:
        """Whether verdicts on other prompts bear on the score of a response, or on the place of an example."""
        if super().across_prompts:
            return True
        panel = self.panel is not None and self.panel.across_prompts
        residual = "residual" in (self.length, self.style)
        modelled = self.bradley_terry is not None and self.bradley_terry.across_prompts
        return panel or modelled or self.calibrate is not None or residual or self.rescale == "standard"

    def problems(self, models: Mapping[str, Any], objective: Objective) -> Iterator[tuple[str, str]]:
        """Criteria that are probably misspelt.

        Verifiers judge on criteria that the objective need not declare, so an unknown name alone is no error;
        one that all but equals a declared name is.
        """
        if self.join == "constrained" and not any(each.kind == "hard" for each in objective.criteria.values()):
            yield "join", "constrained needs a criterion of kind hard in the objective, and there is none"
        for place, name in enumerate(self.criteria or ()):
            if name not in objective.criteria:
                near = get_close_matches(name, objective.criteria, n=1, cutoff=0.8)
                if near:
                    yield (
                        f"criteria.{place}",
                        f"criterion {name!r} is not in the objective; did you mean {near[0]!r}?",
                    )

    def ranked(
        self, responses: pl.LazyFrame, judgements: pl.LazyFrame, objective: Objective, seed: int
    ) -> pl.LazyFrame:
        """The responses that have a score, from best to worst within each prompt; a draw orders equal ones.

        Columns: place (counts the rows), row and prompt (where the response, and the first one to its prompt,
        stand in the table), prompt_id, response_id, score, drawn, lacks, judgement_ids.
        """
        scored = with_draw(self.with_scores(responses, judgements, objective), seed)
        order = ["prompt", "score", "drawn", "response_id"]
        return scored.sort(order, descending=[False, True, False, False]).with_row_index("place")

    def with_scores(self, responses: pl.LazyFrame, judgements: pl.LazyFrame, objective: Objective) -> pl.LazyFrame:
        """The responses that have a score, in the order of the table; columns as those of `ranked`, less place and drawn."""
        import polars as pl

        told = rescaled(judgements, self.rescale)
        scores = objective_scores(
            responses,
            told,
            objective,
            self.criteria,
            self._evaluators,
            fold=self.fold,
            panel=self.panel,
            adjust=self._adjustment(responses, told),
            join=self.join,
        )
        return scores.filter(pl.col("score").is_not_null())

    def what_counts(self, responses: pl.LazyFrame, judgements: pl.LazyFrame, objective: Objective) -> pl.LazyFrame:
        """The verdicts that enter the scores, rescaled, folded and adjusted as these settings say (see `what_counts`)."""
        told = rescaled(judgements, self.rescale)
        return what_counts(
            at_once(shown_responses(responses)),
            told,
            objective,
            self.criteria,
            self._evaluators,
            fold=self.fold,
            adjust=self._adjustment(responses, told),
        )

    def on_criterion(
        self, name: str, responses: pl.LazyFrame, judgements: pl.LazyFrame, objective: Objective
    ) -> pl.LazyFrame:
        """Each response's score on one criterion, in [0, 1], as it enters the objective's score.

        A criterion that does not enter it, such as the policy's own implicit reward, is scored in the same way, but not
        calibrated: gold verdicts are on what counts. Columns: id (of the response), score.
        """
        import polars as pl

        declared = objective.criteria.get(name)
        counts = (self.criteria is None or name in self.criteria) and (declared is None or declared.weight > 0)
        if counts:
            said = self.what_counts(responses, judgements, objective).filter(pl.col("criterion") == name)
        else:
            alone = self.model_copy(update={"criteria": (name,), "calibrate": None})
            said = alone.what_counts(responses, judgements, Objective())
        return criterion_scores(said, self.panel).select(id="response_id", score="score")

    def _adjustment(
        self, responses: pl.LazyFrame, told: pl.LazyFrame
    ) -> Callable[[pl.LazyFrame], pl.LazyFrame] | None:
        """What is done to single verdicts before they are joined; None for nothing."""
        if not self._adjusts:
            return None
        return lambda said: self._adjusted(self._modelled(said, told), responses)

    @property
    def _evaluators(self) -> tuple[str, ...] | None:
        """The evaluators that are looked at: gold ones too, though they do not count."""
        if self.evaluators is None or self.calibrate is None or self.calibrate.gold in self.evaluators:
            return self.evaluators
        return (*self.evaluators, self.calibrate.gold)

    def _modelled(self, said: pl.LazyFrame, judgements: pl.LazyFrame) -> pl.LazyFrame:
        return said if self.bradley_terry is None else self.bradley_terry.scored(said, judgements)

    @property
    def _adjusts(self) -> bool:
        return bool(self.calibrate or self.bradley_terry) or self._minds_texts

    @property
    def _minds_texts(self) -> bool:
        return "residual" in (self.length, self.style)

    def _adjusted(self, said: pl.LazyFrame, responses: pl.LazyFrame) -> pl.LazyFrame:
        if self.calibrate is not None:
            said = self.calibrate.calibrated(said)
        if self.style == "residual":
            said = without_style(said, responses)
        elif self.length == "residual":
            said = without_length(said, responses)
        return said


def with_draw(responses: pl.LazyFrame, seed: int) -> pl.LazyFrame:
    """Add `drawn`, a number in [0, 2**32) that comes from `seed` and the response's id and nothing else.

    The last twelve characters of `response_id`, as three words of 32 bits, go through the finaliser of
    MurmurHash3 (A. Appleby, public domain), set off by `triptych.records.draw`. All in 64-bit integers that
    never overflow, so it is the same on every machine and with every version of Polars.
    """
    import polars as pl

    start, low32, drawn = draw(seed, "pairs"), 0xFFFFFFFF, pl.col("drawn")
    digits = pl.col("response_id").str.tail(12).str.encode("hex")
    words = [
        digits.str.slice(8 * i, 8).str.to_integer(base=16, strict=False).fill_null(0).cast(pl.UInt64) for i in range(3)
    ]
    responses = responses.with_columns(drawn=pl.lit(start & low32, dtype=pl.UInt64))
    for word in (*words, pl.lit(start >> 32, dtype=pl.UInt64)):
        # One step a line: nested, each step would double the expression.
        responses = responses.with_columns(drawn=drawn ^ word)
        responses = responses.with_columns(drawn=drawn ^ (drawn // 2**16))
        responses = responses.with_columns(drawn=(drawn * 0x85EBCA6B) & low32)
        responses = responses.with_columns(drawn=drawn ^ (drawn // 2**13))
        responses = responses.with_columns(drawn=(drawn * 0xC2B2AE35) & low32)
        responses = responses.with_columns(drawn=drawn ^ (drawn // 2**16))
    return responses


_CONTENT = (
    *("judgement_ids", "kind", "labels", "margin", "objective_version", "prompt_id", "response_ids", "scores"),
    *("strategy", "strategy_id", "weight"),
)
"""What an example's id is the hash of, in the order of canonical JSON."""
_HUGE = 1e16
"""From here up Polars may write a number with another exponent (1e+16) than canonical JSON has (1e16)."""


class _Content(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The same in Python, with what is rare."""

    input: list[dict[str, Any]] = []
    judgement_ids: list[str]
    kind: str
    labels: list[float]
    margin: float | None
    objective_version: str
    outputs: list[str] = []
    prompt_id: str
    response_ids: list[str]
    scores: list[float]
    spans: list[dict[str, Any]] = []
    strategy: str
    strategy_id: str
    weight: float


def _with_ids(rows: pl.DataFrame) -> pl.DataFrame:
    """Give each row the id that `make_example` would.

    Polars writes the JSON, byte for byte as `canonical_json` does where no number is huge; hashing goes row by row, since
    Polars has no such hash.
    """
    import polars as pl

    rare = [name for name in sorted(RARE) if rows[name].list.len().sum()]
    numbers = [rows["margin"], rows["weight"], rows["scores"].explode(), rows["labels"].explode()]
    if rare or not all((each.abs() < _HUGE).all() for each in numbers):
        ids = content_ids("e", _contents(rows, rare))
    else:
        lines = rows.select(pl.struct(_CONTENT).struct.json_encode().cast(pl.Binary)).to_series()
        ids = hashed("e", lines.to_list())
    return rows.with_columns(pl.Series("id", ids, dtype=pl.String))


def _contents(rows: pl.DataFrame, rare: list[str]) -> list[Any]:
    names = _Content.__struct_fields__
    columns = [rows[name].to_list() for name in names]
    if "input" in rare:
        place = names.index("input")
        columns[place] = [without_nulls(messages) for messages in columns[place]]
    return [_Content(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]
