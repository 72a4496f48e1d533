"""Mitigations in instantiation, of what becomes of scores: which responses are paired, kept, weighed and labelled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from triptych.audit.mitigations.mitigation import Edits, Mitigation, mitigation
from triptych.audit.mitigations.places import criteria, instantiations, of_kind, panel, setting
from triptych.audit.principles.parts import policy
from triptych.recipes.judged import of_steps
from triptych.recipes.made import made_per_prompt

if TYPE_CHECKING:
    from triptych.audit.data import Data


def at_least(margin: float) -> Mitigation:
    """Leave pairs of small margin out."""

    def of(data: Data, subject: str) -> Edits:
        return {
            f"{place}.min_margin": margin
            for place, one in instantiations(data, "pairs", subject).items()
            if one.min_margin < margin
        }

    return Mitigation(f"Leave out pairs whose margin is below {margin:g} (`min_margin`)", of)


def at_most(margin: float) -> Mitigation:
    """Leave pairs of great margin out."""
    does = f"Leave out pairs whose margin is above {margin:g} (`max_margin`)"
    return setting("pairs", {"max_margin": margin}, does, max_margin=None)


def kept(band: Mapping[str, Any], does: str) -> Mitigation:
    """Keep pairs by one band more (see `triptych.instantiation.bands.Band`), where none is on the same."""

    def of(data: Data, subject: str) -> Edits:
        return {
            f"{place}.keep.+": dict(band)
            for place, one in instantiations(data, "pairs", subject).items()
            if all(each.of != band["of"] for each in one.keep)
        }

    return Mitigation(does, of)


def chosen_from(score: float) -> Mitigation:
    """Keep pairs whose chosen response is good by itself."""
    does = f"Keep pairs whose chosen response scores {score:g} or more (`keep`, `chosen`)"
    return kept({"of": "chosen", "min": score}, does)


good_rejected = kept(
    {"of": "rejected", "min_quantile": 0.25},
    "Drop the quarter of pairs whose rejected response scores lowest, as RIP does (`keep`, `rejected`)",
)
like_length = setting(
    "pairs",
    {"like_length": 0.2},
    "Pair responses of which none is more than a fifth longer than the other (`like_length`)",
    like_length=None,
)
pareto = setting(
    "pairs",
    {"dimensions": "pareto"},
    "Pair responses of which one is on no criterion the worse (`dimensions: pareto`)",
    dimensions="joined",
)
by_margin = setting("pairs", {"weight": "margin"}, "Weigh pairs by their margins (`weight: margin`)", weight="one")
soft = setting(
    "pairs",
    {"soft_labels": {"by": "sigmoid"}},
    "Give labels between 0 and 1, by the margin (`soft_labels`)",
    soft_labels=None,
)
smoothed = setting(
    "pairs",
    {"soft_labels": {"by": "certain", "smoothing": 0.1}},
    "Smooth the labels, as if a tenth were flipped (`soft_labels`)",
    soft_labels=None,
)
without_contradictions = setting(
    "compared_pairs",
    {"contradictions": "drop"},
    "Make no pair of what was compared once each way (`contradictions: drop`)",
    contradictions="keep",
)
distinct = setting(
    "pairs", {"distinct": True}, "Never pair two responses that say the same (`distinct`)", distinct=False
)
centred = setting(
    "groups",
    {"advantage": "mean"},
    "Only centre the scores of a group (`advantage: mean`)",
    advantage="mean_std",
)
without_zero_groups = setting(
    "groups",
    {"zero_variance": "drop"},
    "Leave groups of equal scores out (`zero_variance: drop`)",
    zero_variance="keep",
)
against_their_mean = setting(
    "unpaired",
    {"against": "prompt_mean", "good": 0.0, "bad": None},
    "Mark a response good where it scores above its prompt's mean (`against: prompt_mean`)",
    against="scale",
    labels="hard",
)


@mitigation
def certain(data: Data, subject: str) -> Edits:
    """Keep pairs whose margin is above twice its standard error (`keep`, `certainty`), where responses have several verdicts."""
    judging = panel(data, "evaluation").values()
    several = len(judging) + len(criteria(data)) > 2 or any(getattr(one, "repeats", 1) > 1 for one in judging)
    two_errors = {"of": "certainty", "min": 0.977}  # the chance of a normal variable to be above -2
    return kept(two_errors, "").of(data, subject) if several else {}


@mitigation
def rather_by_margin(data: Data, subject: str) -> Edits:
    """Weigh pairs by their margins, and by nothing else (`weight: margin`)."""
    pairs = instantiations(data, "pairs", subject)
    by_age = {f"{place}.decay": None for place, one in pairs.items() if one.decay is not None}
    return by_age | {f"{place}.weight": "margin" for place, one in pairs.items() if one.weight != "margin"}


def _chosen_so(data: Data, subject: str, instead_of: tuple[str, ...], how: str) -> Edits:
    pairs = instantiations(data, "pairs", subject)
    return {f"{place}.choose": how for place, one in pairs.items() if one.choose in instead_of and not one.tier}


@mitigation
def not_the_worst(data: Data, subject: str) -> Edits:
    """Reject what is nearest to two standard deviations below the mean (`choose: best_vs_low`)."""
    assert data.recipe is not None
    return {} if made_per_prompt(data.recipe) == 2 else _chosen_so(data, subject, ("best_vs_worst",), "best_vs_low")


@mitigation
def best_against_each(data: Data, subject: str) -> Edits:
    """Pair the best response with each that is worse (`choose: best_vs_rest`)."""
    return _chosen_so(data, subject, ("best_vs_worst", "best_vs_random", "best_vs_low"), "best_vs_rest")


@mitigation
def best_chosen(data: Data, subject: str) -> Edits:
    """Choose the best response to each prompt (`choose: best_vs_rest`)."""
    return _chosen_so(data, subject, ("adjacent", "random_pairs", "all_pairs"), "best_vs_rest")


@mitigation
def capped(data: Data, subject: str) -> Edits:
    """Keep no more pairs of a prompt than the median prompt has (`most`)."""
    import polars as pl

    counts = data.examples.group_by("prompt_id").agg(pl.len().alias("rows"))
    median = counts.select(pl.col("rows").median()).collect().item()
    most = max(int(median or 1), 1)
    return {
        f"{place}.most": most
        for place, one in instantiations(data, "pairs").items()
        if one.most is None or one.most > most
    }


@mitigation
def scored_pairs(data: Data, subject: str) -> Edits:
    """Make pairs of one score of each response, fitted to all comparisons (`pairs` with `bradley_terry`)."""
    return {place: {"kind": "pairs", "bradley_terry": {}} for place in of_kind(data, "instantiation", "compared_pairs")}


@mitigation
def steps_apart(data: Data, subject: str) -> Edits:
    """Make rows of steps as well, which keep the verdicts on steps apart (`stepwise`)."""
    judged = any(of_steps(one) for one in panel(data, "evaluation").values())
    if not judged or of_kind(data, "instantiation", "stepwise"):
        return {}
    return {"instantiation.+": {"kind": "stepwise"}}


@mitigation
def by_likelihood(data: Data, subject: str) -> Edits:
    """Weigh pairs by how likely the policy finds both responses, as WPO does (`weight: {likelihood: ...}`)."""
    assert data.recipe is not None
    name, pairs = policy(data.recipe), instantiations(data, "pairs", subject, weight="one")
    if name is None or not pairs or "given" not in data.recipe.models[name].answers:
        return {}
    told = next((one for one in _implicit(data).values() if one.reference is None and one.normalise), None)
    edits: Edits = {}
    if told is None:
        edits["evaluation.+"] = {
            "kind": "implicit_reward", "name": "likelihood", "criterion": "likelihood", "model": name, "beta": 1, "normalise": True,
        }  # fmt: skip
    for place in pairs:
        edits[f"{place}.weight"] = {"likelihood": told.criterion if told is not None else "likelihood"}
    return edits | _without_rewards(data)


@mitigation
def by_potential(data: Data, subject: str) -> Edits:
    """Keep the half of the pairs whose margin is furthest above the policy's own (`keep`, `potential`)."""
    assert data.recipe is not None
    models, name = data.recipe.models, policy(data.recipe)
    pairs = {
        place: one
        for place, one in instantiations(data, "pairs", subject).items()
        if all(each.of != "potential" for each in one.keep)
    }
    told = next((one for one in _implicit(data).values() if one.reference is not None), None)
    edits: Edits = {}
    if told is None:
        if name is None or "reference" not in models or not pairs:
            return {}
        edits["evaluation.+"] = {"kind": "implicit_reward", "model": name, "reference": "reference"}
    for place, one in pairs.items():
        criterion = told.criterion if told is not None else "implicit_reward"
        edits[f"{place}.keep.+"] = {"of": "potential", "criterion": criterion, "min_quantile": 0.5}
        if one.rescale is None:
            edits[f"{place}.rescale"] = "standard"
    return edits | _without_rewards(data) if pairs else {}


def _implicit(data: Data) -> dict[str, Any]:
    return of_kind(data, "evaluation", "implicit_reward")


def _without_rewards(data: Data) -> Edits:
    """Say which criteria count where nothing does, so that the policy's own rewards do not."""
    named = criteria(data)
    every = panel(data, "instantiation")
    return {
        f"{place}.criteria": named for place, one in every.items() if named and getattr(one, "criteria", ()) is None
    }
