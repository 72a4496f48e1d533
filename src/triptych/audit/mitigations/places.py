"""Where in a recipe something stands: what mitigations are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from triptych.audit.mitigations.mitigation import Edits, Mitigation
from triptych.operators import with_inner

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data


def panel(data: Data, name: str) -> dict[str, Any]:
    """The operators of a panel, by their dotted places."""
    made = getattr(data.recipe, name) if data.recipe is not None else ()
    return {f"{name}.{place}": one for place, one in enumerate(made)}


def of_kind(data: Data, name: str, *kinds: str) -> dict[str, Any]:
    """The operators of some kinds in a panel."""
    return {place: one for place, one in panel(data, name).items() if one.kind in kinds}


def samplers(data: Data) -> dict[str, Any]:
    """What samples responses, also inside of other operators."""
    every = (each for place, one in panel(data, "synthesis").items() for each in with_inner(place, one))
    return {place: one for place, one in every if one.kind == "sample"}


def called(operator: Any) -> str:
    """The name in its rows."""
    return str(getattr(operator, "name", None) or operator.kind)


def judges(data: Data, subject: str) -> dict[str, Any]:
    """The evaluators that a finding is about, by their name (`judge`, or `judge: criterion`) or that of their model.

    If it is about none, all whom a model answers in words.
    """
    models = data.recipe.models if data.recipe is not None else {}
    asking = [each for each in _voices(data) if isinstance(getattr(each[2], "model", None), str)]
    if not subject:
        return {place: one for place, _, one in asking if getattr(one, "asks_for", "chat") == "chat"}
    return {
        place: one
        for place, name, one in asking
        if subject in (name, models[one.model].model) or subject.startswith(f"{name}:")
    }


def _voices(data: Data) -> Iterator[tuple[str, str, Any]]:
    """The evaluators with their places and their names in judgements, which are those of who passes questions on to them."""
    for place, one in panel(data, "evaluation").items():
        if one.kind == "acquire":
            yield f"{place}.evaluator", called(one), one.evaluator
        else:
            yield place, called(one), one


def instantiations(data: Data, kind: str, subject: str = "", **has: Any) -> Edits:
    """The instantiations of a kind that a finding is about, and whose settings have some values.

    The subject is a strategy, such as `best_vs_worst` or `best_vs_worst/honesty`; if no instantiation has it, all are meant.
    """
    every = of_kind(data, "instantiation", kind)
    meant = {place: one for place, one in every.items() if subject.partition("/")[0] == _strategy(one)}
    return {
        place: one
        for place, one in (meant or every).items()
        if all(getattr(one, name, None) == value for name, value in has.items())
    }


def _strategy(one: Any) -> str | None:
    return next((getattr(one, name) for name in ("choose", "advantage") if hasattr(one, name)), None)


def setting(kind: str, changes: Mapping[str, Any], does: str, **has: Any) -> Mitigation:
    """Settings of each instantiation of a kind whose settings have the values `has`."""

    def of(data: Data, subject: str) -> Edits:
        places = instantiations(data, kind, subject, **has)
        return {f"{place}.{name}": value for place in places for name, value in changes.items()}

    return Mitigation(does, of)


def scored(data: Data, **has: Any) -> dict[str, Any]:
    """The instantiations that rest on scores, and whose settings have some values."""
    return {
        place: one
        for place, one in panel(data, "instantiation").items()
        if hasattr(one, "calibrate") and all(getattr(one, name, None) == value for name, value in has.items())
    }


def written(operator: Any) -> dict[str, Any]:
    """An operator as it is written in a recipe."""
    made: dict[str, Any] = operator.model_dump(mode="json", exclude_unset=True)
    return made


def added(data: Data, name: str, operator: dict[str, Any]) -> Edits:
    """An operator more; an evaluator also counts where instantiations name those that do."""
    edits: Edits = {f"{name}.+": operator}
    if name == "evaluation":
        heard = operator.get("name", operator["kind"])
        for place, one in panel(data, "instantiation").items():
            named = getattr(one, "evaluators", None)
            if named is not None and heard not in named and one.kind != "judge_rows":
                edits[f"{place}.evaluators"] = [*named, heard]
    return edits


def criteria(data: Data) -> list[str]:
    """The criteria on which models give verdicts, the first judge's first."""
    named = [getattr(one, "criteria", None) or () for one in judges(data, "").values()]
    return list(dict.fromkeys(name for names in named for name in names))


def references(data: Data) -> bool:
    """Whether most prompts that have a reference have a number for one, which a program can check answers by."""
    import polars as pl

    number = pl.col("reference").str.contains(r"^\s*\$?-?[\d.,/ ]*\d\s*%?\s*$")
    told: pl.DataFrame = data.prompts.filter(pl.col("reference").is_not_null()).select(number.mean()).collect()
    share = told.item()
    return share is not None and share >= 0.5


def trainer(data: Data, *names: str) -> dict[str, Any]:
    """What TRL's trainer is given, where the recipe says so and it is one of these."""
    method = data.recipe.method if data.recipe is not None else None
    given = dict(method.trl) if method is not None else {}
    return given if given.get("trainer") in names else {}
