"""What instantiations share that can weigh examples by age, and parts of their responses by what was said of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from triptych.instantiation.decay import Decay
from triptych.instantiation.part_weights import PartWeights
from triptych.instantiation.scored import Scored
from triptych.records import Objective

if TYPE_CHECKING:
    import polars as pl


class Weighed(Scored):
    """An instantiation whose examples may be weighed by age, and by sentence or step."""

    decay: Decay | None = None
    """Weights by age: a `Decay`; None leaves age out."""
    part_weights: PartWeights | None = None
    """Weights of sentences or steps, from the verdicts on them: a `PartWeights`; None makes none."""

    @property
    def reads(self) -> dict[str, frozenset[str]]:
        """The columns that it looks at; age is told by some more of the responses."""
        of_age = frozenset({"model_version", "created_at"} if self.decay is not None else ())
        return super().reads | {"responses": super().reads["responses"] | of_age}

    @property
    def across_prompts(self) -> bool:
        """Whether examples are weighed by age, or verdicts on other prompts bear on a score."""
        return super().across_prompts or self.decay is not None

    @property
    def wants(self) -> tuple[Literal["prompts", "judges"], ...]:
        """The prompts, where their tags tell the age."""
        return ("prompts",) if self.decay is not None and self.decay.of == "tag" else ()

    def weighed(
        self,
        rows: pl.LazyFrame,
        responses: pl.LazyFrame,
        judgements: pl.LazyFrame,
        objective: Objective,
        prompts: pl.LazyFrame | None,
    ) -> pl.LazyFrame:
        """Weigh rows as `as_examples` takes them."""
        if self.part_weights is not None:
            rows = self.part_weights.with_spans(rows, judgements, objective)
        return rows if self.decay is None else self.decay.weighed(rows, responses, prompts)
