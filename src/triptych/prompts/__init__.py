"""Prompts: reading them from files or from the recipe itself."""

from triptych.prompts.columns import Columns
from triptych.prompts.file import PromptFile
from triptych.prompts.inline import InlinePrompts

__all__ = ["Columns", "InlinePrompts", "PromptFile"]
