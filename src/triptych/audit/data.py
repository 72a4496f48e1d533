"""What is audited: the tables of a run, and the smaller tables that many diagnostics look at, each made once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from triptych.audit import agreement
from triptych.audit import vectors as vector
from triptych.audit.features import features
from triptych.audit.intervals import Estimate
from triptych.audit.lineage import evaluators_there, judged_here, rounds_before, whole_recipe_text
from triptych.audit.prompts import prompt_features
from triptych.audit.similarity import pair_similarity
from triptych.instantiation.scores import objective_scores, verdicts
from triptych.recipes.load import parse_recipe
from triptych.recipes.recipe import Recipe
from triptych.records import Objective
from triptych.store.run import Run
from triptych.store.tables import TABLES, schema

if TYPE_CHECKING:
    import polars as pl


Made = TypeVar("Made")

_OF_TEXTS_AND_VERDICTS = (
    "asked",
    "choices",
    "judged",
    "pair_differences",
    "style_coefficients",
    "confidences",
    "rounds",
    "policy",
    "ngrams",
    "vectors",
    "word_vectors",
    "by_round",
    "siblings",
    "prompt_texts",
    "features",
    "chars",
    "asked",
    "said",
    "scored",
    "overall",
    "duels",
    "preferences",
    "gold",
)
"""Tables that don't depend on the examples."""


_BETWEEN_WORDS = r"""(?:[.,;:!?…"'“”‘’)\]]+(?:\s|$)|(?:^|\s)["'“‘(\[]+|\s)+"""


class Policy(NamedTuple):
    """The policy that is to be trained, as responses name it."""

    model: str
    version: str | None
    """None counts every version."""


class Data:
    """A run's tables as the audit sees them.

    `tables` has any of `prompts`, `responses`, `judgements`, `examples`; those that are not there are empty.
    `gold` names the evaluators whose verdicts count as true; if not given, all that judge without a model: people and
    verifiers. `logprobs` is what a policy says of the responses, with columns response_id, logprob, tokens and
    reference_logprob (see `triptych.audit.signal.score_responses`), `ches` what `triptych.audit.signal.ches` says of pairs.
    `policy` names the model that is to be trained, as the responses name theirs; if not given, it is the recipe's model of
    the name `policy`. `embeddings` are a model's vectors of responses: response_id, vector. `test_sets` are the texts of
    tests that the policy is to pass, by their names. `rows_read` is how many rows were read where the data was imported;
    `rows_repeated` of them repeat an earlier one, and `rows_unusable` could not be used: they are in no table. `rounds` are
    the earlier rounds of a loop, the oldest first, or what gives them. `whole_recipe` is the recipe that findings change, where it is not `recipe`: of a round, that of its loop.
    """

    def __init__(
        self,
        tables: Mapping[str, pl.LazyFrame],
        *,
        recipe: Recipe | None = None,
        gold: Sequence[str] | None = None,
        logprobs: pl.DataFrame | None = None,
        ches: pl.DataFrame | None = None,
        policy: str | None = None,
        embeddings: pl.DataFrame | None = None,
        test_sets: Mapping[str, Sequence[str]] | None = None,
        rows_read: int = 0,
        rows_repeated: int = 0,
        rows_unusable: int = 0,
        rounds: Sequence[Data] | Callable[[], Sequence[Data]] = (),
        whole_recipe: Recipe | None = None,
    ) -> None:
        import polars as pl

        def table(name: str) -> pl.LazyFrame:
            return tables[name] if name in tables else pl.LazyFrame(schema=schema(name))

        self.prompts: pl.LazyFrame = table("prompts")
        self.responses: pl.LazyFrame = table("responses")
        self.judgements: pl.LazyFrame = table("judgements")
        self.examples: pl.LazyFrame = table("examples")
        self.recipe: Recipe | None = recipe
        self.whole_recipe = recipe if whole_recipe is None else whole_recipe
        self.gold_evaluators = None if gold is None else tuple(gold)
        self.logprobs: pl.DataFrame | None = logprobs
        self.ches = ches
        self.embeddings: pl.DataFrame | None = embeddings
        self.test_sets: dict[str, Sequence[str]] = dict(test_sets or {})
        self.rows_read: int = rows_read
        self.rows_repeated: int = rows_repeated
        self.rows_unusable: int = rows_unusable
        self._policy = policy
        self._rounds = rounds
        self._made: dict[Callable[[Data], Any], Any] = {}

    @classmethod
    def of(
        cls,
        run: Run,
        *,
        gold: Sequence[str] | None = None,
        logprobs: pl.DataFrame | None = None,
        ches: pl.DataFrame | None = None,
        policy: str | None = None,
        embeddings: pl.DataFrame | None = None,
        test_sets: Mapping[str, Sequence[str]] | None = None,
    ) -> Data:
        """Take a run's tables; of a round of a loop, also those of the rounds before it, once they are asked for.

        Raises `RunFolderError` where a table is missing, `RecipeError` where the recipe is broken, `TriptychError` where
        `gold` names an evaluator that judged nothing here.
        """
        judged_here(run, gold or ())
        tables = {name: run.table(name) for name in TABLES}
        return cls(
            tables,
            recipe=parse_recipe(run.recipe_text(), run.called),
            whole_recipe=parse_recipe(whole_recipe_text(run), run.called),
            gold=gold,
            logprobs=logprobs,
            ches=ches,
            policy=policy,
            embeddings=embeddings,
            test_sets=test_sets,
            rows_read=run.manifest.rows,
            rows_repeated=run.manifest.repeated,
            rows_unusable=run.manifest.set_aside - run.manifest.repeated,
            rounds=lambda: [cls.of(each, gold=evaluators_there(each, gold), policy=policy) for each in rounds_before(run)],
        )

    def with_examples(self, examples: pl.DataFrame) -> Data:
        """The same data with other examples; what is known of the texts and verdicts is kept."""
        other = copy(self)
        other._made = {}
        for name, value in vars(type(self)).items():
            if isinstance(value, cached_property) and name not in _OF_TEXTS_AND_VERDICTS:
                other.__dict__.pop(name, None)
        other.examples = examples.lazy()
        return other

    @cached_property
    def rounds(self) -> Sequence[Data]:
        """The earlier rounds of the loop, the oldest first; none where it is no loop's."""
        return tuple(self._rounds() if callable(self._rounds) else self._rounds)

    @property
    def history(self) -> Sequence[Data]:
        """All rounds, the oldest first and this one last."""
        return (*self.rounds, self)

    @cached_property
    def policy(self) -> Policy | None:
        """The policy, where it is known."""
        if self._policy is not None:
            return Policy(self._policy, None)
        spec = self.recipe.models.get("policy") if self.recipe is not None else None
        return Policy(spec.model, spec.version) if spec is not None else None

    @cached_property
    def ngrams(self) -> vector.NGrams:
        """How often words stand in the responses of some prompts; see `triptych.audit.vectors`."""
        return vector.ngrams(self.responses)

    @cached_property
    def vectors(self) -> vector.Vectors:
        """Responses of some prompts as vectors: the embeddings, where there are any, or TF-IDF."""
        if self.embeddings is not None:
            return vector.from_embeddings(self.embeddings, self.responses)
        return self.word_vectors

    @cached_property
    def word_vectors(self) -> vector.Vectors:
        """Responses of some prompts as vectors of TF-IDF."""
        return vector.tfidf(self.ngrams, vector.rarity(self.ngrams))

    @cached_property
    def by_round(self) -> Sequence[vector.Vectors]:
        """Vectors of each round in the history, with the weights of the oldest, so that they can be compared."""
        rare = vector.rarity(self.history[0].ngrams)
        return tuple(vector.tfidf(each.ngrams, rare) for each in self.history)

    @cached_property
    def siblings(self) -> pl.DataFrame:
        """How alike the responses to one prompt are; see `triptych.audit.vectors.siblings`."""
        return vector.siblings(self.vectors)

    @cached_property
    def features(self) -> pl.DataFrame:
        """Numbers on each response's text; see `triptych.audit.features`."""
        return features(self.responses)

    @cached_property
    def prompt_texts(self) -> pl.DataFrame:
        """Numbers on what the user says in each prompt; see `triptych.audit.prompts.prompt_features`."""
        return prompt_features(self.prompts)

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
    def pairs(self) -> pl.DataFrame:
        """Training pairs that have a winner, which a tie has not. Columns: id, prompt_id, chosen, rejected (response ids),
        margin (below 0 where scores contradict the label), weight, strategy, strategy_id, row (its place in the table)."""
        import polars as pl

        place, label = pl.col("response_ids").list, pl.col("labels").list
        even = (label.get(0, null_on_oob=True) == label.get(1, null_on_oob=True)).fill_null(False)
        return (
            self.examples.with_row_index("row")
            .filter((pl.col("kind") == "pair") & ~even)
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

    @property
    def rests_on(self) -> pl.LazyFrame:
        """Whose verdicts, on what, the label of a training pair rests on. Columns: id (of the pair), evaluator_id, criterion."""
        import polars as pl

        by_whom = self.judgements.select("evaluator_id", "criterion", judgement_ids="id")
        return (
            self.examples.filter(pl.col("kind") == "pair")
            .select("id", "judgement_ids")
            .explode("judgement_ids")
            .join(by_whom, on="judgement_ids")
            .select("id", "evaluator_id", "criterion")
            .unique()
        )

    @cached_property
    def similarity(self) -> pl.DataFrame:
        """How alike the responses of up to 10,000 pairs are; see `triptych.audit.similarity`. Columns: id, similarity."""
        return pair_similarity(self.pairs, self.responses)

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
        (a number that is equal for chats that differ in case, white space and the marks at the ends of words alone: `2 + 2` is
        not `2 - 2`)."""
        import polars as pl

        message = pl.element().struct
        said = pl.concat_str(message.field("role"), pl.lit("\n"), message.field("content"), ignore_nulls=True)
        bare = pl.col("messages").list.eval(said).list.join("\n").str.to_lowercase()
        return self.prompts.select(
            prompt_id="id",
            family=pl.coalesce("family_id", "id"),
            tags=pl.col("tags").list.eval(pl.element().str.to_lowercase()),
            asks=bare.str.replace_all(_BETWEEN_WORDS, " ").str.strip_chars().hash(),
        ).collect()

    @cached_property
    def choices(self) -> pl.DataFrame:
        """What judges said of each pair, every time; see `triptych.audit.agreement.choices`."""
        return agreement.choices(self.by_models).collect()

    @cached_property
    def judged(self) -> pl.DataFrame:
        """Each verdict of a judge on a pair whose better response is known, each time that it was asked.

        A judge that scores responses apart has one verdict on each pair. What can't be read is left out. Columns: prompt_id,
        evaluator, evaluator_id, criterion, a, b, a_first (null where they were not shown together), prefers (1 for a, -1 for
        b, 0), truth (1 for a, -1 for b), right (1, 0, and 0.5 for a tie), judgement_id.
        """
        import polars as pl

        key = ["prompt_id", "evaluator", "evaluator_id", "criterion", "a", "b"]
        shown = self.choices.select(*key, "a_first", "prefers", "judgement_id").drop_nulls("prefers")
        apart = agreement.preferences(self.by_models.filter(pl.col("response_ids").list.len() != 2))
        scored = apart.with_columns(a_first=pl.lit(None, pl.Boolean)).select(shown.columns).collect()
        told = pl.concat([shown, scored]).join(self.gold, on=["prompt_id", "a", "b"])
        return told.with_columns(right=(1 + pl.col("prefers") * pl.col("truth")) / 2)

    @cached_property
    def pair_differences(self) -> pl.DataFrame:
        """`judged` with the differences of style between a and b, each over its standard deviation where it has one.

        Columns beside: longer (of characters), markup (of bullets, headings and bold), hedges, flatteries; votes (0 to 1:
        whether the judge prefers a).
        """
        import polars as pl

        markup = pl.col("bullets") + pl.col("headings") + pl.col("bold")
        style = self.features.select("response_id", "chars", markup.alias("markup"), "hedges", "flatteries")
        both = self.judged.join(style, left_on="a", right_on="response_id").join(
            style, left_on="b", right_on="response_id", suffix="_b"
        )
        names = {"chars": "longer", "markup": "markup", "hedges": "hedges", "flatteries": "flatteries"}
        differences = [(pl.col(n) - pl.col(f"{n}_b")).cast(pl.Float64).alias(to) for n, to in names.items()]
        both = both.select(*self.judged.columns, *differences, votes=(1 + pl.col("prefers")) / 2)
        size = {name: (both[name] ** 2).mean() for name in names.values()}
        scale = {name: float(value) ** 0.5 if value else 1.0 for name, value in size.items()}  # type: ignore[arg-type]
        return both.with_columns(pl.col(name) / by for name, by in scale.items())

    @cached_property
    def style_coefficients(self) -> dict[str, dict[str, Estimate]]:
        """Coefficients of logit P(judge prefers a) = g truth + c longer + m markup, by evaluator_id and name."""
        from triptych.audit.estimates import logit

        parts = agreement.each_evaluator(self.pair_differences)
        return {rows["evaluator_id"][0]: logit(rows, "votes", ["truth", "longer", "markup"]) for _, rows in parts}

    @cached_property
    def confidences(self) -> pl.DataFrame:
        """Each verdict on a pair with a gold label that comes with a probability.

        Columns: prompt_id, evaluator, evaluator_id, criterion, a, b, truth (1 for a, -1 for b), probability (that a is
        better), judgement_id.
        """
        key = ["prompt_id", "evaluator", "evaluator_id", "criterion", "a", "b"]
        told = self.choices.select(*key, "probability", "judgement_id").drop_nulls("probability")
        return told.join(self.gold, on=["prompt_id", "a", "b"])

    def once(self, make: Callable[[Data], Made]) -> Made:
        """What `make` makes of these data, made once: a table that the diagnostics of one file share."""
        if make not in self._made:
            self._made[make] = make(self)
        made: Made = self._made[make]
        return made
