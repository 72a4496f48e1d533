"""Principle 2: coverage precedes optimisation. What is not sampled can't be aligned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.finding import FEWEST_PROMPTS, OURS, Finding
from triptych.audit.needs import Need
from triptych.audit.principles.parts import generators, policy
from triptych.audit.principles.rule import Broken, Rule, gravity
from triptych.recipes.made import made_per_prompt

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data
    from triptych.recipes.recipe import Recipe

_GROUPS = frozenset({"groups", "rankings"})
_SHOWN = 10


def _groups_of_two(recipe: Recipe) -> Iterator[Broken]:
    made = made_per_prompt(recipe)
    instantiation: tuple[Any, ...] = recipe.instantiation
    for place, operator in enumerate(instantiation):
        if operator.kind in _GROUPS and made is not None and made <= 2:
            said = f"{operator.kind} of {made} responses to a prompt say no more than a pair; make more of them"
            yield Broken(gravity(recipe), said, f"instantiation.{place}")


def _offline_uncorrected(recipe: Recipe) -> Iterator[Broken]:
    trained = policy(recipe)
    if trained is None or trained in generators(recipe) or not recipe.instantiation:
        return
    if not any(_corrects(operator) for operator in recipe.instantiation):
        said = (
            f"no response is by {trained}, the model that is trained, and no instantiation weighs rows by how likely they are "
            "under it: what it would never say is learnt from as much as what it would"
        )
        yield Broken("warn", said, "synthesis")


def _corrects(operator: object) -> bool:
    """Whether an instantiation weighs responses, sentences or tokens by what the policy makes of them."""
    weight = getattr(operator, "weight", None)
    likelihood = getattr(weight, "likelihood", None) is not None
    return likelihood or any(getattr(operator, name, None) is not None for name in ("token_weights", "part_weights"))


def _by_tag(data: Data) -> pl.LazyFrame:
    """Each prompt that has the tag, for tags that two prompts or more have. Columns: tag, prompt_id."""
    import polars as pl

    tagged = data.prompts.select(prompt_id="id", tag="tags").explode("tag").drop_nulls().unique()
    return tagged.filter(pl.len().over("tag") > 1)


TAGS = Need(
    "tags that several prompts share",
    "tag the prompts with what they should cover, such as a topic or a difficulty",
    lambda data: not _by_tag(data).head(1).collect().is_empty(),
)


class ThinTags(Diagnostic):
    """Share of the prompts' tags of which fewer than 20 prompts have a usable contrast.

    Tags are the categories that prompts are declared to cover; one that a single prompt has is a name, and is left out. A
    prompt has a usable contrast if a training pair, a ranking or a group of unequal advantages is made of it, or where no
    examples are made, if its responses score unequally or a judge prefers one of two. All tags are looked at, so the share
    has no interval.
    """

    name = "thin_tags"
    failure_mode = "R2.3"
    needs = (TAGS,)
    good = (0.0, 0.0)
    unit = "share"
    change = "add prompts with these tags, or sample more responses to those that are there until some of them differ"

    def measure(self, data: Data) -> Iterator[Finding]:
        """Count the prompts with a contrast for each tag."""
        import polars as pl

        usable = _with_contrast(data).with_columns(usable=pl.lit(True))
        counted = (
            _by_tag(data)
            .join(usable, on="prompt_id", how="left")
            .group_by("tag")
            .agg(pl.col("usable").sum(), pl.len())
            .sort("usable", "tag")
            .collect()
        )
        prompts = int(_by_tag(data).select(pl.col("prompt_id").n_unique()).collect().item())
        thin = counted.filter(pl.col("usable") < FEWEST_PROMPTS)
        share = thin.height / counted.height
        least = ", ".join(f"{tag} ({few})" for tag, few in thin.select("tag", "usable").head(_SHOWN).iter_rows())
        said = f"{thin.height:,} of {counted.height:,} tags have fewer than {FEWEST_PROMPTS} prompts with a usable contrast"
        yield Finding(
            name=self.name,
            failure_mode=self.failure_mode,
            value=share,
            low=share,
            high=share,
            n=counted.height,
            prompts=prompts,
            threshold=0.0,
            threshold_source=OURS,
            severity="warn" if thin.height else "info",
            message=f"{said}: {least}." if thin.height else f"{said}.",
            change=self.change if thin.height else "",
        )


def _with_contrast(data: Data) -> pl.LazyFrame:
    """The prompts that give something to learn from. Columns: prompt_id."""
    import polars as pl

    level = (pl.col("kind") == "group") & (pl.col("labels").list.max() <= pl.col("labels").list.min())
    made = data.examples.filter(pl.col("kind").is_in(["pair", "ranking", "group"]) & ~level.fill_null(False))
    if not data.examples.head(1).collect().is_empty():
        return made.select("prompt_id").unique()
    score = pl.col("score")
    spread = data.overall.lazy().group_by("prompt_id").agg(apart=score.max() - score.min())
    differ = spread.filter(pl.col("apart") > 1e-9).select("prompt_id")
    return pl.concat([differ, data.preferences.lazy().select("prompt_id")]).unique()


DIAGNOSTICS: tuple[Diagnostic, ...] = (ThinTags(),)
RULES = (
    Rule(
        id="R2.1",
        asks="two responses to a prompt, and more than two for groups and rankings",
        static=_groups_of_two,
        refused="pairs and groups of a single response are refused when a recipe is read",
    ),
    Rule(
        id="R2.2",
        asks="the responses to a prompt differ",
        modes=("S2",),
        statistics=(
            "unique_answers",
            "sibling_cosine",
            "sibling_cosine_of_embeddings",
            "vendi_share",
            "cluster_entropy",
            "distinct_2",
            "near_duplicate_siblings",
        ),
    ),
    Rule(
        id="R2.3",
        asks="every declared category of prompts has enough of them with a usable contrast",
        modes=("R2.3",),
        statistics=("thin_tags",),
        limits="the prompts' tags are the categories: of one that no prompt has nothing is known",
    ),
    Rule(
        id="R2.4",
        asks="responses are the policy's own, or weighed by how likely they are under it",
        static=_offline_uncorrected,
        modes=("S1",),
        statistics=("off_policy_share", "policy_auc_from_text", "extra_nats_per_token", "effective_sample_share"),
    ),
    Rule(
        id="R2.5",
        asks="the label can't be told from the generator, the length or the format",
        modes=("S5", "I5"),
        statistics=(
            "label_auc_from_source_and_form",
            "label_source_information",
            "chosen_longer",
            "label_auc_from_length",
            "chosen_length_effect",
        ),
    ),
)
