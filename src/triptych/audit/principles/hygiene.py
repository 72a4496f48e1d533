"""What all principles presuppose: no near-identical pairs, no contradictions, no leakage, groups that vary."""

from __future__ import annotations

from triptych.audit.principles.rule import Rule

RULES = (
    Rule(
        id="R7.1",
        asks="chosen and rejected are not nearly the same, in text or in hidden states (arXiv:2410.08847)",
        modes=("I4",),
        statistics=("identical_pairs", "near_identical_pairs", "gradient_on_near_identical", "ches"),
    ),
    Rule(
        id="R7.2",
        asks="no label contradicts another",
        modes=("I6",),
        statistics=("contradictory_pairs", "preference_cycles"),
    ),
    Rule(
        id="R7.3",
        asks="no prompt is in training and test, and no prompt or row is a copy of another",
        modes=("I12", "S9"),
        statistics=(
            "same_question_apart",
            "test_prompts_in_training",
            "tests_seen",
            "near_duplicate_prompts",
            "repeated_rows",
        ),
    ),
    Rule(
        id="R7.4",
        asks="groups are not all right or all wrong (arXiv:2503.14476)",
        modes=("S4",),
        statistics=("no_contrast", "always_or_never_solved", "groups_without_spread", "zero_advantage_groups"),
    ),
    Rule(
        id="R7.5",
        asks="the recipe is of the kind that its scenario calls for",
        unchecked="a recipe does not declare its scenario",
    ),
)
