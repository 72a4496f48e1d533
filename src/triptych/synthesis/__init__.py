"""Panel 1: generators of responses."""

from triptych.synthesis.given import Given
from triptych.synthesis.sample import Sample

__all__ = ["Given", "Sample"]
