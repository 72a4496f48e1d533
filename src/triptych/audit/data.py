"""What is audited: the tables of a run, and the smaller tables that many diagnostics look at, each made once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from triptych.audit import agreement
from triptych.audit.features import features
from triptych.instantiation.scores import objective_scores, verdicts
from triptych.recipes.load import parse_recipe
from triptych.recipes.recipe import Recipe
from triptych.records import Objective
from triptych.store.run import Run
from triptych.store.tables import TABLES, schema

if TYPE_CHECKING:
    import polars as pl


_OF_TEXTS_AND_VERDICTS = (
    "features",
    "chars",
    "prompt_keys",
    "said",
    "scored",
    "overall",
    "duels",
    "preferences",
    "gold",
)
"""Tables that don't depend on the examples."""


class Data:
    """A run's tables as the audit sees them.

    `tables` has any of `prompts`, `responses`, `judgements`, `examples`; those that are not there are empty.
    `gold` names the evaluators whose verdicts count as true; if not given, all that judge without a model: people and
    verifiers. `logprobs` is what a policy says of the responses (see `triptych.audit.signal`).
    """

    def __init__(
        self,
        tables: Mapping[str, pl.LazyFrame],
        *,
        recipe: Recipe | None = None,
        gold: Sequence[str] | None = None,
        logprobs: pl.DataFrame | None = None,
    ) -> None:
        import polars as pl

        def table(name: str) -> pl.LazyFrame:
            return tables[name] if name in tables else pl.LazyFrame(schema=schema(name))

        self.prompts, self.responses = table("prompts"), table("responses")
        self.judgements, self.examples = table("judgements"), table("examples")
        self.recipe: Recipe | None = recipe
        self.gold_evaluators = None if gold is None else tuple(gold)
        self.logprobs: pl.DataFrame | None = logprobs

    @classmethod
    def of(cls, run: Run, *, gold: Sequence[str] | None = None, logprobs: pl.DataFrame | None = None) -> Data:
        """Take a run's tables. Raises `RunFolderError` where one is missing, `RecipeError` where the recipe is broken."""
        tables = {name: run.table(name) for name in TABLES}
        return cls(tables, recipe=parse_recipe(run.recipe_text(), str(run.path)), gold=gold, logprobs=logprobs)

    def with_examples(self, examples: pl.DataFrame) -> Data:
        """The same data with other examples; what is known of the texts is kept."""
        tables = {
            "prompts": self.prompts,
            "responses": self.responses,
            "judgements": self.judgements,
            "examples": examples.lazy(),
        }
        other = Data(tables, recipe=self.recipe, gold=self.gold_evaluators, logprobs=self.logprobs)
        other.__dict__.update({name: self.__dict__[name] for name in _OF_TEXTS_AND_VERDICTS if name in self.__dict__})
        return other

    @cached_property
    def features(self) -> pl.DataFrame:
        """Numbers on each response's text; see `triptych.audit.features`."""
        return features(self.responses)

    @cached_property
    def chars(self) -> pl.DataFrame:
        """How many characters the assistant says in each response. Columns: response_id, chars."""
        import polars as pl

        message = pl.element().struct
        by_assistant = (message.field("role") == "assistant").cast(pl.UInt32)
        spoken = by_assistant * message.field("content").str.len_chars()
        chars = pl.col("messages").list.eval(spoken).list.sum().cast(pl.Int64)
        told = self.responses.select(pl.col("id").alias("response_id"), chars.alias("chars"))
        return told.unique("response_id").collect()

    @cached_property
    def prompt_keys(self) -> pl.DataFrame:
        """Columns: prompt_id, prompt_alike (a number that is equal for prompts that differ in case and white space alone),
        family_id."""
        import polars as pl

        said = pl.col("messages").list.eval(pl.element().struct.field("content").fill_null("")).list.join("\n")
        flat = said.str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()
        keys = self.prompts.select(pl.col("id").alias("prompt_id"), flat.hash().alias("prompt_alike"), "family_id")
        return keys.unique("prompt_id", maintain_order=True).collect()

    @cached_property
    def pairs(self) -> pl.DataFrame:
        """Training pairs that have a winner. Columns: id, prompt_id, chosen, rejected (response ids), margin, weight, strategy,
        strategy_id, row (its place in the table)."""
        import polars as pl

        place = pl.col("response_ids").list
        return (
            self.examples.with_row_index("row")
            .filter((pl.col("kind") == "pair") & (pl.col("margin").is_null() | (pl.col("margin") > 0)))
            .select(
                *("id", "prompt_id", "margin", "weight", "strategy", "strategy_id", "row"),
                chosen=place.get(0, null_on_oob=True),
                rejected=place.get(1, null_on_oob=True),
            )
            .collect()
        )

    @cached_property
    def pair_features(self) -> pl.DataFrame:
        """`pairs` with the features of both responses, as chosen_... and rejected_...; pairs that lack a text are left out."""
        import polars as pl

        numbers = self.features.drop("prompt_id")
        sides = [numbers.select(pl.all().name.prefix(f"{side}_")) for side in ("chosen", "rejected")]
        return self.pairs.join(
            sides[0], left_on="chosen", right_on="chosen_response_id", how="inner", maintain_order="left"
        ).join(sides[1], left_on="rejected", right_on="rejected_response_id", how="inner", maintain_order="left")

    @cached_property
    def said(self) -> pl.DataFrame:
        """What each judgement says of each whole response, in [0, 1]; see `triptych.instantiation.scores.verdicts`."""
        return verdicts(self.judgements).collect()

    @cached_property
    def scored(self) -> pl.DataFrame:
        """What each evaluator says of a response that it judged by itself or in a list, in the mean over repeats.

        Columns: prompt_id, response_id, evaluator, evaluator_id, model, criterion, score in [0, 1], judgement_id (one).
        """
        import polars as pl

        alone = self.judgements.filter(pl.col("response_ids").list.len() != 2)
        key = ["prompt_id", "response_id", "evaluator", "evaluator_id", "model", "criterion"]
        return (
            verdicts(alone)
            .group_by(key, maintain_order=True)
            .agg(pl.col("verdict").mean().alias("score"), pl.col("judgement_id").first())
            .collect()
        )

    @cached_property
    def overall(self) -> pl.DataFrame:
        """The objective's score of each response. Columns: prompt_id, response_id, score in [0, 1].

        A criterion on which not all responses to a prompt are judged is left out of the scores of that prompt.
        """
        import polars as pl

        objective = self.recipe.objective if self.recipe is not None else Objective()
        judged = (
            self.said.lazy()
            .group_by("prompt_id", "criterion")
            .agg(pl.col("response_id").n_unique().alias("judged"))
            .with_columns(most=pl.col("judged").max().over("prompt_id"))
        )
        partly = judged.filter(pl.col("judged") < pl.col("most")).select("prompt_id", "criterion").collect()
        judgements = self.judgements
        if partly.height:
            judgements = judgements.join(partly.lazy(), on=["prompt_id", "criterion"], how="anti")
        scored = objective_scores(self.responses, judgements, objective)
        return scored.select("prompt_id", "response_id", "score").filter(pl.col("score").is_not_null()).collect()

    @property
    def by_models(self) -> pl.LazyFrame:
        """Judgements by models that don't count as gold."""
        import polars as pl

        gold = pl.col("evaluator").is_in(list(self.gold_evaluators or ()))
        return self.judgements.filter(pl.col("model").is_not_null() & ~gold)

    @property
    def by_gold(self) -> pl.LazyFrame:
        """Judgements that count as true."""
        import polars as pl

        if self.gold_evaluators is not None:
            return self.judgements.filter(pl.col("evaluator").is_in(list(self.gold_evaluators)))
        return self.judgements.filter(pl.col("model").is_null())

    @cached_property
    def duels(self) -> pl.DataFrame:
        """What judges said of the pairs that they were shown; see `triptych.audit.agreement.pair_verdicts`."""
        return agreement.pair_verdicts(self.by_models).collect()

    @cached_property
    def preferences(self) -> pl.DataFrame:
        """Which of two responses a judge clearly prefers; see `triptych.audit.agreement.preferences`."""
        return agreement.preferences(self.by_models).collect()

    @cached_property
    def gold(self) -> pl.DataFrame:
        """Which of two responses is truly the better one, where all that count as gold say the same.

        Columns: prompt_id, a, b (response ids, a < b), truth (1 for a, -1 for b).
        """
        import polars as pl

        return (
            agreement.preferences(self.by_gold)
            .group_by("prompt_id", "a", "b")
            .agg(pl.col("prefers").min().alias("truth"), pl.col("prefers").max().alias("other"))
            .filter(pl.col("truth") == pl.col("other"))
            .drop("other")
            .collect()
        )

    @cached_property
    def asked(self) -> pl.DataFrame:
        """Prompts by what they ask. Columns: prompt_id, family (the prompt's own id where it has none), tags (in lower case), asks
        (a number that is equal for chats of the same letters and digits, whatever their case, marks and spaces)."""
        import polars as pl

        message = pl.element().struct
        said = pl.concat_str(message.field("role"), pl.lit("\n"), message.field("content"), ignore_nulls=True)
        bare = pl.col("messages").list.eval(said).list.join("\n").str.to_lowercase()
        return self.prompts.select(
            prompt_id="id",
            family=pl.coalesce("family_id", "id"),
            tags=pl.col("tags").list.eval(pl.element().str.to_lowercase()),
            asks=bare.str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars().hash(),
        ).collect()

    @cached_property
    def proxies(self) -> pl.DataFrame:
        """Judges' scores beside gold scores and features of the text; see `triptych.audit.evaluation.hacking.proxies`."""
        from triptych.audit.evaluation.hacking import proxies

        return proxies(self).collect()

    @cached_property
    def repeated(self) -> pl.DataFrame:
        """Responses that models scored several times; see `triptych.audit.evaluation.repeats.repeated`."""
        from triptych.audit.evaluation.repeats import repeated

        return repeated(self)

    @cached_property
    def ratings(self) -> pl.DataFrame:
        """What several people say of the same; see `triptych.audit.evaluation.annotators.ratings`."""
        from triptych.audit.evaluation.annotators import ratings

        return ratings(self)

    @cached_property
    def step_ends(self) -> pl.DataFrame:
        """Scores of steps beside how the response ends; see `triptych.audit.evaluation.steps.step_ends`."""
        from triptych.audit.evaluation.steps import step_ends

        return step_ends(self).collect()

    @cached_property
    def with_gold(self) -> pl.DataFrame:
        """Judged responses, with gold labels or not; see `triptych.audit.evaluation.drift.judged_with_gold`."""
        from triptych.audit.evaluation.drift import judged_with_gold

        return judged_with_gold(self)

    @cached_property
    def probed(self) -> pl.DataFrame:
        """What the recipe's verifiers say of planted answers; see `triptych.audit.evaluation.verifier_leaks.probed`."""
        from triptych.audit.evaluation.verifier_leaks import probed

        return probed(self)
