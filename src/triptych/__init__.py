"""Triptych: alignment data as a pipeline of response synthesis, preference evaluation and preference instantiation.

import triptych as tp

recipe = tp.load_recipe("recipe.yaml")
run = tp.run(recipe, out="runs/first")
run.examples()                                   # a Polars LazyFrame
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "Assumed": "evaluation.assumed",
    "Budget": "models.budget",
    "ClassifierModel": "models.spec",
    "CompareJudgements": "evaluation.compare_judgements",
    "Conditioned": "instantiation.conditioned",
    "Criterion": "records",
    "Decay": "instantiation.decay",
    "EmbeddedModel": "models.spec",
    "Example": "records",
    "Given": "synthesis",
    "Groups": "instantiation.groups",
    "InlinePrompts": "prompts.inline",
    "JudgeRows": "instantiation.judge_rows",
    "Judgement": "records",
    "Listwise": "evaluation.listwise",
    "ManyOutputs": "instantiation.many_outputs",
    "Message": "records",
    "Objective": "records",
    "OpenAIModel": "models.spec",
    "Pairs": "instantiation.pairs",
    "Pairwise": "evaluation.pairwise",
    "PartWeights": "instantiation.part_weights",
    "Price": "models.spec",
    "Prompt": "records",
    "PromptFile": "prompts.file",
    "Rankings": "instantiation.rankings",
    "Recipe": "recipes.recipe",
    "Response": "records",
    "Revise": "synthesis.revise",
    "RewardModel": "models.spec",
    "Rubric": "evaluation.rubric",
    "Run": "store.run",
    "Sample": "synthesis",
    "Sft": "instantiation.sft",
    "TriptychError": "errors",
    "Unpaired": "instantiation.unpaired",
    "Verify": "evaluation.verify",
    "audit_run": "audit.source",
    "export_run": "export",
    "import_data": "engines.imports",
    "instantiate": "engines.instantiate",
    "load_recipe": "recipes.load",
    "open_run": "store.run",
    "plan": "planning.plan",
    "reward_function": "export.reward",
    "run": "engines.rounds",
}
__all__ = sorted(_WHERE)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import each public name when it is first used, so that `import triptych` costs next to nothing."""
    if name not in _WHERE:
        raise AttributeError(f"module 'triptych' has no attribute {name!r}")
    return getattr(import_module(f"triptych.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
