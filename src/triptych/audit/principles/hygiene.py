"""What all principles presuppose: no near-identical pairs, no contradictions, no leakage, groups that vary."""

from __future__ import annotations

from triptych.audit.principles.rule import Rule

RULES = (
    Rule(id="R7.1", asks="chosen and rejected are not nearly the same text (arXiv:2410.08847)", modes=("I4",)),
    Rule(id="R7.2", asks="no label contradicts another", modes=("I6",)),
    Rule(id="R7.3", asks="no prompt is in training and test, and none is a copy of another", modes=("I12", "S9")),
    Rule(id="R7.4", asks="groups are not all right or all wrong (arXiv:2503.14476)", modes=("S4",)),
    Rule(
        id="R7.5",
        asks="the recipe is of the kind that its scenario calls for",
        unchecked="a recipe does not declare its scenario",
    ),
)
